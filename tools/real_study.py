"""Train and evaluate variants of the agent on real pairs with pretrained weights.

    python tools/real_study.py --data PAIRS --encoder FOLDER --llm FOLDER --seeds 0 1 2
    python tools/real_study.py ... --rows "block 6" "block 12" --threads 2
    python tools/real_study.py --list                      the rows and their settings

Results go to one JSON file, an entry per row and seed. Entries that are there already are kept,
and a training that was stopped is resumed, so the same command goes on where it was. Each row is
a process of its own, so that its peak of memory is its own. An agent is evaluated as it is after
its last step, on the validation split, which chooses no more than the threshold of the masks.
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from results import cpu_seconds, keep_entry, read_entries, same
from transformers import AutoConfig, AutoModel

from vlm_vla.config import PRESETS, Config
from vlm_vla.data.sources import open_pairs
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.eval import evaluate
from vlm_vla.evaluation.measure import lookup
from vlm_vla.model import VLM_ActionAgent
from vlm_vla.nets.tiny import make_tiny_models
from vlm_vla.train import Trainer
from vlm_vla.utils import Stopwatch, count_parameters, peak_memory

BASE = dict(
    IMAGE_SIZE=336,
    TILES=1,
    VISION_LAYERS=(4, 6, 8),
    AUGMENT="grid",
    FEATURE_DROPOUT=0.15,
    WEIGHT_DECAY=0.05,
    USE_LORA=False,
    BATCH_SIZE=32,
    BATCH_ORDER="pair",
    LEARNING_RATE=1e-3,
    WARMUP_STEPS=50,
    MAX_EPOCHS=4,
    EMA_DECAY=0.99,
    MAX_TEXT_LENGTH=48,
    USE_4BIT=False,
    NUM_WORKERS=2,
    LOG_INTERVAL=20,
    EVAL_INTERVAL=100_000,
    SAVE_INTERVAL=50,
)
LOSSES = Config.setting("LOSS_WEIGHTS").default
MODEL = """VISION_FEATURES VISION_LAYERS REGION_HEAD FUSION TEXT_POOLING TILES LOSS_WEIGHTS
BORROWED_CAPTIONS FALSE_CAPTIONS AUGMENT FEATURE_DROPOUT EMA_DECAY WEIGHT_DECAY"""
GUIDE = {k: PRESETS["guide"][k] for k in MODEL.split()} | dict(USE_LORA=True)
# Names in capitals are settings. encoder: random (same shape) or tiny; llm: second or tiny;
# drawn: drawn scenes trained on first, in a style; real: training pairs used, None: all.
SMALL = {  # what decides less is measured at 224 pixels, beside the row "224 pixels"
    "block 6": dict(VISION_LAYERS=(6,)),
    "block 12": dict(VISION_LAYERS=(12,)),
    "blocks 6 and 12": dict(VISION_LAYERS=(6, 12)),
    "encoder's own end": dict(VISION_LAYERS=None),
    "tiny encoder": dict(encoder="tiny", VISION_LAYERS=None),
    "tiny language model": dict(llm="tiny"),
    "LoRA": dict(USE_LORA=True),
    "LoRA rank 32": dict(USE_LORA=True, LORA_R=32, LORA_ALPHA=64),
    "LoRA rate 1e-4": dict(USE_LORA=True, LORA_LEARNING_RATE=1e-4),
    "rate 1e-4": dict(LEARNING_RATE=1e-4),
    "rate 3e-4": dict(LEARNING_RATE=3e-4),
    "rate 3e-3": dict(LEARNING_RATE=3e-3),
    "tiles 2": dict(TILES=2),
    "not turned": dict(AUGMENT=False),
    "pictures turned": dict(AUGMENT=True),
    "no feature dropout": dict(FEATURE_DROPOUT=0.0, WEIGHT_DECAY=0.01),
    "no region head": dict(REGION_HEAD=False),
    "no average": dict(EMA_DECAY=0.0),
    "no warm-up": dict(WARMUP_STEPS=0),
    "no attention loss": dict(LOSS_WEIGHTS={k: w for k, w in LOSSES.items() if k != "attention"}),
    "no GIoU loss": dict(LOSS_WEIGHTS={k: w for k, w in LOSSES.items() if k != "giou"}),
    "change loss 1": dict(LOSS_WEIGHTS={**LOSSES, "change": 1.0}),
    "batch 16": dict(BATCH_SIZE=16),
    "batch 4, rate 1e-4": dict(BATCH_SIZE=4, LEARNING_RATE=1e-4, WARMUP_STEPS=500, EMA_DECAY=0.999),
    "baseline preset": GUIDE,
}
ROWS = {
    "recipe": {},
    "recipe, 8 epochs": dict(MAX_EPOCHS=8, EMA_DECAY=0.995),
    "random encoder": dict(encoder="random"),
    "second language model": dict(llm="second"),
    "224 pixels": dict(IMAGE_SIZE=224),
    **{name: dict(IMAGE_SIZE=224, **row) for name, row in SMALL.items()},
    "drawn only": dict(drawn=1000, real=0),
    "drawn only, 224 pixels": dict(drawn=1000, real=0, IMAGE_SIZE=224),
    "drawn only, no region head": dict(drawn=1000, real=0, IMAGE_SIZE=224, REGION_HEAD=False),
    "drawn suburbs only": dict(drawn=1000, style="suburb", real=0),
    "drawn suburbs, 50 real": dict(drawn=1000, style="suburb", real=50, MAX_EPOCHS=20),
    "drawn suburbs, 200 real": dict(drawn=1000, style="suburb", real=200, MAX_EPOCHS=10),
    "drawn suburbs, all real": dict(drawn=1000, style="suburb"),
    "50 real": dict(real=50, MAX_EPOCHS=40),
    "200 real": dict(real=200, MAX_EPOCHS=20),
}
KEY = ("row", "seed")  # what makes an entry another one
KEEP = dict(
    pointing="pointing",
    miou="miou",
    miou_square="miou_square",
    error_px="center_error_px",
    other_sentence="probes.shuffled.pointing",
    blank_images="probes.blank.pointing",
    mean_action="baselines.mean_action.pointing",
    difference="baselines.difference.pointing",
    oracle_miou="baselines.oracle.miou",
    auroc="change.own.auroc",
    auroc_borrowed="change.borrowed.auroc",
    borrowed_right="change.accuracy_borrowed",
    changed_right="change.accuracy_changed",
    borrowed_right_halves="change.across_halves.accuracy_borrowed",
    changed_right_halves="change.across_halves.accuracy_changed",
    mask_miou="region.agent.miou",
    mask_oiou="region.agent.oiou",
    mask_other="region.probes.shuffled.miou",
    box_iou="region.box_iou",
    places_found="region.places.recall",
    false_places="region.places.false_places",
)  # column -> metric


def random_encoder(source, folder):
    "An encoder of the same shape with random weights; its folder."
    if not (folder / "config.json").is_file():
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        AutoModel.from_config(config, trust_remote_code=False).save_pretrained(folder)
        shutil.copy(Path(source) / "preprocessor_config.json", folder)
    return folder


def models(args, row):
    "CLIP_PATH and LLM_PATH of a row."
    tiny = make_tiny_models(args.work / "tiny")
    encoders = dict(random=args.work / "random", tiny=tiny["CLIP_PATH"])
    readers = dict(second=args.second_llm, tiny=tiny["LLM_PATH"])
    if row.get("encoder") == "random":
        random_encoder(args.encoder, encoders["random"])
    encoder = encoders[row["encoder"]] if "encoder" in row else args.encoder
    llm = readers[row["llm"]] if "llm" in row else args.llm
    if llm is None:
        raise SystemExit("this row needs --second-llm")
    return dict(CLIP_PATH=str(encoder), LLM_PATH=str(llm))


def configuration(args, row, run, seed, data, **changes):
    "The settings of one training."
    settings = {k: v for k, v in row.items() if k.isupper()}
    places = dict(OUTPUT_DIR=str(args.work / "runs"), CACHE_DIR=str(args.work / "cache"))
    places |= dict(DATASET_PATH=str(data), RUN_NAME=run, SEED=seed, DEBUG=args.debug)
    if args.debug:
        places |= dict(BATCH_SIZE=4, NUM_WORKERS=0)
    return Config(**{**BASE, **models(args, row), **settings, **places, **changes})


def some_pairs(config, count, seed):
    "The data with `count` of its training pairs, drawn at random; None: all."
    pairs = open_pairs(config.DATASET_PATH, config=config)
    if count is None:
        return pairs
    train = pairs.select("train").rows
    chosen = np.random.default_rng(seed).permutation(train)[:count]
    return pairs.with_rows(np.sort(np.concatenate([chosen, pairs.select("val").rows])))


def train(config, model=None, data=None):
    "Train, or go on with a training that was stopped; (trainer, was it resumed?)."
    run = Path(config.OUTPUT_DIR) / config.RUN_NAME
    resume = (run / "checkpoints/last").is_file()
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    trainer = Trainer(config, model, data)
    trainer.train(resume=resume)
    if trainer.stop_reason:
        raise SystemExit(f"stopped: {trainer.stop_reason}; the same command goes on from here")
    return trainer, resume


def run_name(text, seed):
    "A name for a folder."
    return "".join(c if c.isalnum() else "_" for c in f"{text}_{seed}")


def train_drawn(args, row, seed):
    "The last checkpoint of an agent that was trained on drawn scenes; rows share it."
    style = row.get("style", "mixed")
    kind = dict(seed=0, workers=args.threads, style=style)
    data = make_dataset(args.work / f"drawn_{style}", row["drawn"], 40, 40, **kind)
    own = {k: v for k, v in row.items() if k != "MAX_EPOCHS"}
    changed = "".join(f" {k} {v}" for k, v in own.items() if k.isupper())
    config = configuration(
        args, own, run_name(f"drawn {style} {row['drawn']}{changed}", seed), seed, data
    )
    done = Path(config.OUTPUT_DIR) / config.RUN_NAME / "done"
    if not done.is_file():
        train(config)
        done.touch()  # a training that was stopped leaves none, and goes on
    return done.parent / "checkpoints/last"


def run_row(args, name, seed):
    "Train and evaluate one row with one seed; its entry."
    torch.set_num_threads(args.threads)
    row, watch, used, trainer, resumed = ROWS[name], Stopwatch(), cpu_seconds(), None, False
    run = run_name(name, seed)
    config = configuration(args, row, run, seed, args.data)
    start = train_drawn(args, row, seed) if "drawn" in row else None
    checkpoint = start
    if row.get("real") != 0:
        model = None if start is None else VLM_ActionAgent.from_pretrained(start, config=config)
        if model is not None:
            model.config = config
        trainer, resumed = train(config, model, some_pairs(config, row.get("real"), seed))
        checkpoint = trainer.run / "checkpoints/last"
    times = dict(seconds=round(watch.seconds, 1), cpu_seconds=round(cpu_seconds() - used, 1))
    limits = dict(limit=20, replicates=20) if args.debug else dict(probe_limit=None, replicates=200)
    report = evaluate(checkpoint, config, split="val", name=name, progress=False, **limits)
    report.save(args.work / "reports" / run)
    found = {column: lookup(report.metrics, metric) for column, metric in KEEP.items()}
    return dict(
        row=name,
        seed=seed,
        **{k: None if v is None else round(v, 4) for k, v in found.items()},
        steps=trainer.state["step"] if trainer else None,
        trainable=count_parameters(trainer.model)["trainable"] if trainer else None,
        **times,
        peak_gib=round(peak_memory() / 2**10, 2),
        threads=args.threads,
        resumed=resumed,  # then the seconds are those since the last start
        settings=row,
        debug=args.debug,
    )


def work_on(args, name, seed):
    "One row in a process of its own."
    entry = run_row(args, name, seed)
    with FileLock(f"{args.out}.lock"):
        keep_entry(args.out, entry, KEY)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", help="folder of real pairs with a train and a val split")
    add("--encoder", help="image encoder in Hugging Face format")
    add("--llm", help="language model in Hugging Face format")
    add("--second-llm", help="another one, for the row that compares them")
    add("--rows", nargs="+", metavar="ROW", default=list(ROWS), choices=list(ROWS))
    add("--seeds", type=int, nargs="+", default=[0])
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--out", type=Path, default=Path("real_study.json"), help="results")
    work = Path(tempfile.gettempdir()) / "vlm_vla-real-study"
    add("--work", type=Path, default=work, help="models, caches, runs and reports")
    add("--debug", action="store_true", help="five steps of each row and 20 pairs")
    add("--list", action="store_true", help="show the rows and stop")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{name:<24}{settings}" for name, settings in ROWS.items()))
        return
    if not (args.data and args.encoder and args.llm):
        parser.error("give --data, --encoder and --llm")
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    for seed in args.seeds:
        for name in args.rows:
            asked = dict(row=name, seed=seed)
            if any(same(entry, asked, KEY) for entry in read_entries(args.out)):
                continue
            process = multiprocessing.get_context("spawn").Process(
                target=work_on, args=(args, name, seed)
            )
            process.start()
            process.join()
            if process.exitcode:
                print(f"{name}, seed {seed}: failed (exit code {process.exitcode})", flush=True)


if __name__ == "__main__":
    main()
