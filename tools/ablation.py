"""Train and evaluate variants of the agent on one generated dataset; results go to a JSON file, one entry per variant and seed.

    python tools/ablation.py --epochs 10 --seeds 0 1 2 --out nbs/tutorials/ablation.json

Entries that are there already (same variant, seed, epochs and number of pairs) are kept, so a stopped run goes on where it was.
"""
import argparse, json, os, shutil, tempfile
from pathlib import Path

from vlm_vla.config import PRESETS, Config
from vlm_vla.eval import evaluate
from vlm_vla.synthetic import make_dataset
from vlm_vla.tiny import make_tiny_models
from vlm_vla.train import Trainer
from vlm_vla.utils import Stopwatch

POOLED = dict(VISION_FEATURES="pooled", TILES=1, LOSS_WEIGHTS={"smooth_l1": 1., "giou": 1., "change": 0.5})
VARIANTS = {
    "default": {},
    "guide": PRESETS["guide"],
    "pooled, concat": dict(POOLED, FUSION="concat"),
    "pooled, film": dict(POOLED, FUSION="film"),
    "patch, add": dict(FUSION="add"),
    "patch, concat": dict(FUSION="concat"),
    "patch, prefix": dict(FUSION="prefix"),
    "first token": dict(TEXT_POOLING="first"),
    "mean of tokens": dict(TEXT_POOLING="mean"),
    "no LoRA": dict(USE_LORA=False),
    "grid 7 x 7": dict(TILES=1),
    "grid 14 x 14 by size": dict(TILES=1, IMAGE_SIZE=448),
    "no attention loss": dict(LOSS_WEIGHTS={"smooth_l1": 1., "giou": 1., "change": 0.5}),
}
KEEP = ("pointing", "miou", "miou_square", "iou50_square", "pointing_shuffled", "auroc", "auroc_described")


def run_one(root: Path, paths: dict, variant: str, seed: int, epochs: int) -> dict:
    "Train one variant with one seed; its figures on the test split."
    name = f"{variant}-{seed}".replace(" ", "_").replace(",", "")
    shutil.rmtree(root / "runs" / name, ignore_errors=True)
    config = Config(**{**PRESETS["tiny"], **VARIANTS[variant], **paths, "DATASET_PATH": str(root / "data"), "OUTPUT_DIR": str(root / "runs"), "CACHE_DIR": str(root / "cache"),
                       "RUN_NAME": name, "SEED": seed, "MAX_EPOCHS": epochs})
    trainer, watch = Trainer(config), Stopwatch()
    run = trainer.train()
    seconds = watch.seconds
    metrics = evaluate(run, name=variant, replicates=100).metrics
    return dict(variant=variant, seed=seed, epochs=epochs, seconds=round(seconds, 1), **{k: metrics.get(k) for k in KEEP})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="ablation.json", help="results")
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "vlm_vla-ablation"), help="data, models, caches and runs")
    parser.add_argument("--pairs", type=int, default=3000, help="training pairs")
    parser.add_argument("--epochs", type=int, default=PRESETS["tiny"]["MAX_EPOCHS"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    args = parser.parse_args()
    root, out = Path(args.work), Path(args.out)
    make_dataset(root / "data", args.pairs, 60, 500, seed=0, workers=os.cpu_count() or 1)
    paths = make_tiny_models(root / "models")
    rows = json.loads(out.read_text()) if out.is_file() else []
    for seed in args.seeds:
        for variant in args.variants:
            if any((r["variant"], r["seed"], r["epochs"], r["pairs"]) == (variant, seed, args.epochs, args.pairs) for r in rows): continue
            rows.append(dict(run_one(root, paths, variant, seed, args.epochs), pairs=args.pairs))
            out.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
