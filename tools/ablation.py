"""Train and evaluate variants of the agent on the demo's generated data; results go to a JSON
file, one entry per variant and seed, which pages/method.ipynb shows.

    python tools/ablation.py --seeds 0 1 2 --variants default       the default, three seeds
    python tools/ablation.py                                        every variant, seed 0

Entries that are there already (same variant, seed, epochs and number of pairs) are kept, so a
stopped run goes on where it was, and several may run side by side.
`cpu_seconds` is the processor time of the training, all cores together: it hardly depends on
what else the machine does. The cache of frozen features is made before and not counted.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock
from results import cpu_seconds, keep_entry, read_entries, same

from vlm_vla.cli import SIZES
from vlm_vla.config import PRESETS, Config
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.dataset import LevirCCActionDataset
from vlm_vla.eval import evaluate
from vlm_vla.evaluation.measure import lookup
from vlm_vla.model import create_model
from vlm_vla.nets.features import with_features
from vlm_vla.nets.tiny import make_tiny_models
from vlm_vla.train import Trainer
from vlm_vla.utils import Stopwatch, count_parameters

HERE = Path(__file__).resolve().parent.parent
POOLED = dict(
    VISION_FEATURES="pooled", TILES=1, LOSS_WEIGHTS={"smooth_l1": 1.0, "giou": 1.0, "change": 0.5}
)
OWN = (*PRESETS["tiny"], "BATCH_ORDER")  # how all variants are trained
GUIDE = {k: v for k, v in PRESETS["guide"].items() if k not in OWN}
LOSSES = Config.setting("LOSS_WEIGHTS").default
VARIANTS = {
    "default": {},
    "guide": GUIDE,
    "pooled, concat": dict(POOLED, FUSION="concat"),
    "pooled, film": dict(POOLED, FUSION="film"),
    "patch, add": dict(FUSION="add"),
    "patch, concat": dict(FUSION="concat"),
    "first token": dict(TEXT_POOLING="first"),
    "mean of tokens": dict(TEXT_POOLING="mean"),
    "no LoRA": dict(USE_LORA=False),
    "grid 7 x 7": dict(TILES=1),
    "grid 14 x 14 by size": dict(TILES=1, IMAGE_SIZE=448),
    "no attention loss": dict(LOSS_WEIGHTS={k: w for k, w in LOSSES.items() if k != "attention"}),
    "no region head": dict(REGION_HEAD=False),
}
KEY = ("variant", "seed", "epochs", "pairs")  # what makes an entry another one
KEEP = dict(
    pointing="pointing",
    miou="miou",
    miou_square="miou_square",
    iou50_square="iou50_square",
    pointing_shuffled="probes.shuffled.pointing",
    auroc="change.own.auroc",
    auroc_described="change.borrowed.auroc",
)  # column -> metric


def make_features(config) -> None:
    "The cache of frozen features of both splits that a training reads."
    model = create_model(config)
    for split in ("train", "val"):
        with_features(LevirCCActionDataset(split, config=config, grid=model.grid), model)


def run_one(root: Path, paths: dict, variant: str, seed: int, epochs: int) -> dict:
    "Train one variant with one seed; its figures on the test split."
    name = f"{variant}-{seed}".replace(" ", "_").replace(",", "")
    shutil.rmtree(root / "runs" / name, ignore_errors=True)
    config = Config(
        **{
            **PRESETS["tiny"],
            **paths,
            "DATASET_PATH": str(root / "data"),
            "OUTPUT_DIR": str(root / "runs"),
            "CACHE_DIR": str(root / "cache"),
            "COMPUTE_DTYPE": "bfloat16",
            **VARIANTS[variant],
            "RUN_NAME": name,
            "SEED": seed,
            "MAX_EPOCHS": epochs,
        }
    )
    make_features(config)
    trainer, watch, start = Trainer(config), Stopwatch(), cpu_seconds()
    run = trainer.train()
    seconds, used = watch.seconds, cpu_seconds() - start
    metrics = evaluate(run, name=variant, replicates=100).metrics
    return dict(
        variant=variant,
        seed=seed,
        epochs=epochs,
        seconds=round(seconds, 1),
        cpu_seconds=round(used, 1),
        trainable=count_parameters(trainer.model)["trainable"],
        grid=list(trainer.model.grid),
        **{k: round(lookup(metrics, name), 4) for k, name in KEEP.items()},
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=str(HERE / "nbs/images/ablation.json"), help="results")
    parser.add_argument(
        "--work",
        default=os.path.join(tempfile.gettempdir(), "vlm_vla-ablation"),
        help="data, models, caches and runs",
    )
    parser.add_argument("--pairs", type=int, default=SIZES[False]["n_train"], help="training pairs")
    parser.add_argument("--epochs", type=int, default=PRESETS["tiny"]["MAX_EPOCHS"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    args = parser.parse_args()
    root, out = Path(args.work), Path(args.out)
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / "lock")
    with lock:
        make_dataset(
            root / "data",
            **{**SIZES[False], "n_train": args.pairs},
            seed=0,
            workers=os.cpu_count() or 1,
        )
        paths = make_tiny_models(root / "models")
    for seed in args.seeds:
        for variant in args.variants:
            asked = dict(variant=variant, seed=seed, epochs=args.epochs, pairs=args.pairs)
            if any(same(entry, asked, KEY) for entry in read_entries(out)):
                continue
            entry = run_one(root, paths, variant, seed, args.epochs)
            with lock:
                keep_entry(out, dict(entry, pairs=args.pairs), KEY)


if __name__ == "__main__":
    main()
