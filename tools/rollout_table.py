"""Is a second look worth it? Train a tiny agent on generated scenes of 1024 x 1024 pixels and on
windows in them, and compare one look with two and three on scenes that it has not seen.

    python tools/rollout_table.py --out rollout.json

Prints a Markdown table, and writes the figures with their intervals to --out. Nothing is
downloaded. With --work the data, the models and the run are kept and used again.
"""

import argparse
import json
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vlm_vla.agent import ChangeAgent, write_looks
from vlm_vla.config import Config
from vlm_vla.data.sources import open_pairs
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.evaluation.measure import grounding
from vlm_vla.evaluation.metrics import pair_weights
from vlm_vla.evaluation.probes import read_questions
from vlm_vla.evaluation.report import between, markdown_table, number
from vlm_vla.nets.tiny import make_tiny_models
from vlm_vla.train import Trainer
from vlm_vla.utils import Stopwatch

SIZE = 1024  # pixels: side of a scene
SCALES = (
    1,
    2,
    4,
)  # of the objects; 1: boxes of 24 to 90 pixels, 4: as large a part of the scene as in the demo


def scenes(root: Path, config: Config, name: str, seed: int, workers: int, **counts) -> list:
    "Opened scenes with objects of each size."
    return [
        open_pairs(
            make_dataset(
                root / f"{name}-{s}",
                image_size=SIZE,
                object_scale=s,
                changed_fraction=1.0,
                seed=seed + s,
                workers=workers,
                **counts,
            ),
            config=config,
        )
        for s in SCALES
    ]


def trained(root: Path, config: Config, n_train: int, workers: int) -> tuple:
    "(agent, seconds of training)."
    looks = root / "looks"
    if not (looks / "annotations.jsonl").is_file():
        write_looks(
            scenes(root, config, "train", 100, workers, n_train=n_train, n_val=6, n_test=0),
            looks,
            config,
        )
    with Stopwatch() as took:
        run = Trainer(config.replace(DATASET_PATH=str(looks))).train(
            resume=(root / "runs/twice/checkpoints").is_dir()
        )
    return ChangeAgent.from_pretrained(run), took.seconds


def compare_looks(agent, samples: list, steps: tuple) -> dict:
    "Number of looks -> metrics with intervals, and `looks`: how many were taken on average."
    q = read_questions(SimpleNamespace(samples=samples))
    weights, answers = pair_weights(q.pair), {n: [] for n in steps}
    for p in range(int(q.pair.max()) + 1):
        mine = np.flatnonzero(q.pair == p)
        pair = samples[int(mine[0])].pair
        t1, t2 = pair.t1.open(), pair.t2.open()
        for n in steps:
            answers[n] += [(i, agent.rollout(t1, t2, q.caption[i], n)) for i in mine]
    out = {}
    for n, found in answers.items():
        rows = np.array([i for i, _ in found])
        actions = np.array([(a.cx, a.cy, a.scale) for _, a in found])
        looks = float(np.mean([len(a.looks) for _, a in found]))
        out[n] = {**grounding(actions, rows, q, weights), "looks": looks}
    return out


def rows(scale: int, found: dict) -> list:
    "Lines of the table."
    return [
        [
            f"{scale if n == min(found) else ''}",
            n,
            number(f["pointing"]["value"], "pct"),
            number(f["miou"]["value"]),
            between(f["miou"]["ci"], "num"),
            number(f["miou_square"]["value"]),
            number(f["center_error_px"]["value"], "px"),
            f"{f['looks']:.2f}",
            f["n"],
        ]
        for n, f in found.items()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="JSON file for the figures")
    parser.add_argument(
        "--work", help="folder for data, models and run; by default a temporary one"
    )
    parser.add_argument(
        "--train", type=int, default=170, help="training scenes for each size of objects"
    )
    parser.add_argument("--test", type=int, default=40, help="test scenes for each size of objects")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    workers = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as work:
        root = Path(work)
        config = Config.preset(
            "tiny",
            OUTPUT_DIR=str(root / "runs"),
            RUN_NAME="twice",
            MAX_EPOCHS=args.epochs,
            SEED=args.seed,
            **make_tiny_models(root / "models"),
        )
        agent, seconds = trained(root, config, args.train, workers)
        found = {}
        for scale, pairs in zip(
            SCALES, scenes(root, config, "test", 900, workers, n_train=0, n_val=0, n_test=args.test)
        ):
            found[scale] = compare_looks(
                agent, [s for s in pairs.select("test").samples if s.box is not None], (1, 2, 3)
            )
    print(
        f"{len(SCALES)} x {args.train} training scenes, {args.epochs} epochs, {seconds:.0f} s of"
        " training"
    )
    print(
        markdown_table(
            [
                "objects",
                "looks at most",
                "pointing",
                "mIoU",
                "95 %",
                "mIoU□",
                "error",
                "looks taken",
                "n",
            ],
            [r for scale, f in found.items() for r in rows(scale, f)],
        )
    )
    if args.out:
        Path(args.out).write_text(
            json.dumps(
                dict(
                    train=args.train,
                    epochs=args.epochs,
                    seed=args.seed,
                    seconds=round(seconds, 1),
                    found=found,
                ),
                indent=1,
            )
            + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
