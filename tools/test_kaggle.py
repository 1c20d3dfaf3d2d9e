#!/usr/bin/env python3
"""Notebooks as people run them: plain Jupyter, top to bottom, without network. In a made-up
Kaggle tree, and with no data at all.

    python tools/test_kaggle.py [--notebooks 00_config tutorials/kaggle ...] [--trees new old
    empty none] [--keep]

Trees: 'new' has Kaggle's present mounts (input/datasets/<owner>/<name>,
input/models/<owner>/<model>/<framework>/<variation>/<version>), 'old' the earlier ones
(input/<name>),
each with data, models and the run of an earlier session; 'empty' has nothing attached; 'none' is
no Kaggle at all. Inputs are read-only. Nothing is written into the repository.
"""

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
STORY = [
    "00_config",
    "01_dataset",
    "02_model",
    "03_train",
    "04_eval",
    "05_agent",
    "tutorials/kaggle",
]
MOUNTS = dict(
    new=dict(
        data="datasets/somebody/levir-mci/LEVIR-MCI-dataset",
        clip="models/openai/clip/transformers/vit-base-patch32/1",
        llm="models/qwen-lm/qwen2.5/transformers/0.5b/1",
        run="notebooks/somebody/first-session/outputs/earlier",
    ),
    old=dict(
        data="levir-mci-dateset/LEVIR-MCI",
        clip="clip-vit-b32",
        llm="qwen2.5/transformers/0.5b/1",
        run="first-session/outputs/earlier",
    ),
)


def parts(folder):
    """Data in LEVIR-MCI's layout (masks, no boxes), two models, and a run that was stopped; made
    once."""
    from vlm_vla.config import Config
    from vlm_vla.data.synthetic import make_dataset
    from vlm_vla.nets.tiny import make_tiny_models
    from vlm_vla.train import Trainer

    make_dataset(folder / "data", 60, 12, 12, image_size=128, seed=1)
    for name in ("annotations.json", "dataset.json"):
        (folder / "data" / name).unlink()
    models = make_tiny_models(folder / "models")

    class ShortSession(Trainer):
        def time_to_stop(self):
            if self.state["step"] >= 2:
                self.stop_reason = "the session is over"
            return bool(self.stop_reason)

    run = ShortSession(
        Config(
            DATASET_PATH=folder / "data",
            OUTPUT_DIR=folder / "runs",
            RUN_NAME="earlier",
            DEBUG=True,
            CACHE_FEATURES=False,
            NUM_WORKERS=0,
            **models,
        )
    ).train()
    return dict(
        data=folder / "data", clip=folder / "models/clip", llm=folder / "models/llm", run=run
    )


def make_tree(root, made, mounts):
    "A folder that stands for /kaggle."
    (root / "working").mkdir(parents=True)
    (root / "input").mkdir()
    for what, name in mounts.items():
        shutil.copytree(made[what], root / "input" / name)
    for p in (root / "input").rglob("*"):
        p.chmod(p.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    return root


def snapshot(folder):
    "Names and sizes below a folder."
    return {p: p.stat().st_size for p in folder.rglob("*") if p.is_file()}


def run(name, tree, work):
    "Execute a copy of a notebook; the last lines of the error, or ''."
    copy = work / f"{name}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(NBS / f"{name}.ipynb", copy)
    env = dict(
        os.environ,
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
        TMPDIR=str(work / "tmp"),
    )
    env.pop("VLM_VLA_KAGGLE_ROOT", None)
    if tree:
        env["VLM_VLA_KAGGLE_ROOT"] = str(tree)
    (work / "tmp").mkdir(exist_ok=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jupyter",
            "nbconvert",
            "--log-level",
            "ERROR",
            "--to",
            "notebook",
            "--execute",
            "--output",
            f"{copy.stem}.run.ipynb",
            copy.name,
            "--ExecutePreprocessor.kernel_name=python3",
        ],
        cwd=copy.parent,
        env=env,
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)[-1500:]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notebooks", nargs="+", default=STORY)
    parser.add_argument(
        "--trees", nargs="+", default=["new", "none"], choices=("new", "old", "empty", "none")
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the work folder, with the executed notebooks"
    )
    args = parser.parse_args()
    work, passed, failed = Path(tempfile.mkdtemp(prefix="kaggle-")), 0, []
    made = parts(work / "parts") if {"new", "old"} & set(args.trees) else {}
    for kind in args.trees:
        tree = (
            None
            if kind == "none"
            else make_tree(work / kind / "kaggle", made, MOUNTS.get(kind, {}))
        )
        before = snapshot(tree / "input") if tree else {}
        for name in args.notebooks:
            start = time.perf_counter()
            error = run(name, tree, work / kind)
            if tree and not error and snapshot(tree / "input") != before:
                error = "it wrote into the attached inputs, which are read-only on Kaggle"
            print(
                f"{kind:<6}{name:<24}{'failed' if error else 'passed'} in"
                f" {time.perf_counter() - start:.0f} s" + (f"\n{error}" if error else ""),
                flush=True,
            )
            if error:
                failed.append(name)
            else:
                passed += 1
    if args.keep:
        print(work)
    else:
        shutil.rmtree(work)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
