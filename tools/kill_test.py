#!/usr/bin/env python3
"""Kill a training again and again, resume it each time, and see whether it ends as one that was never stopped: the same weights to the bit, the same metrics file.

    python tools/kill_test.py                   twenty kills, some minutes
    python tools/kill_test.py --kills 3         as in CI
    python tools/kill_test.py --threads 2       PyTorch with two threads

A tiny run on generated data and tiny models, on the CPU, started as `vlm_vla_train`. SIGKILL comes at random moments (--seed): at any time, while the feature cache is made, while a checkpoint is
written, between two steps. Exit code 0: every run came out equal.
"""

import argparse, os, random, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

from vlm_vla.config import Config
from vlm_vla.model import quiet
from vlm_vla.rundir import read_metrics, same_run, step_folders
from vlm_vla.synthetic import make_dataset
from vlm_vla.tiny import make_tiny_models

SETTINGS = dict(
    DEVICE="cpu",
    COMPUTE_DTYPE="float32",
    IMAGE_SIZE=128,
    TILES=1,
    NUM_WORKERS=0,
    MAX_EPOCHS=3,
    BATCH_SIZE=8,
    GRADIENT_ACCUMULATION_STEPS=2,
    NO_CHANGE_SHARE=0.5,
    EMA_DECAY=0.9,
    SAVE_INTERVAL=3,
    EVAL_INTERVAL=5,
    LOG_INTERVAL=1,
    KEEP_CHECKPOINTS=2,
)
KINDS = ("cache", "checkpoint", "step", "any")
PER_RUN = 5  # kills before a run may finish


def prepare(home):
    "Data, models and the file of settings."
    make_dataset(home / "data", 60, 12, 2, image_size=128, seed=0)
    with quiet():
        models = make_tiny_models(home / "models")
    return Config.preset(
        "tiny", DATASET_PATH=home / "data", OUTPUT_DIR=home / "runs", **SETTINGS, **models
    ).save_json(home / "settings.json")


def launch(home, run, threads):
    "Start `vlm_vla_train` on a run; its process."
    typed = Path(sys.executable).with_name("vlm_vla_train")
    command = (
        [sys.executable, str(typed)] if typed.is_file() else [sys.executable, "-m", "vlm_vla.train"]
    )
    env = dict(
        os.environ,
        OMP_NUM_THREADS=str(threads),
        MKL_NUM_THREADS=str(threads),
        HF_HUB_OFFLINE="1",
        MPLBACKEND="Agg",
    )
    with open(home / f"{run.name}.log", "a") as log:
        return subprocess.Popen(
            [
                *command,
                "--config",
                str(home / "settings.json"),
                "--resume",
                str(run),
                "--set",
                f"CACHE_DIR={home / 'cache' / run.name}",
            ],
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )


def moment(kind, run, cache, rng, seconds):
    "A function that becomes true when it is time, and the delay in seconds after that."
    start, rows = time.monotonic(), len(read_metrics(run))
    being_made = lambda: set(
        cache.glob(".features-*") if kind == "cache" else (run / "checkpoints").glob(".step_*")
    )
    before = being_made()  # by the one that was killed before
    if kind in ("cache", "checkpoint"):
        return lambda: bool(being_made() - before), rng.uniform(0, 0.2 if kind == "cache" else 0.04)
    more = rng.randint(1, 6)
    if kind == "step":
        return (
            lambda: (run / "metrics.jsonl").is_file() and len(read_metrics(run)) >= rows + more,
            rng.uniform(0, 0.1),
        )
    when = rng.uniform(0, seconds)
    return lambda: time.monotonic() - start > when, 0.0


def kill_once(process, is_time, delay):
    "SIGKILL when it is time; False if the process ended before."
    while process.poll() is None:
        if is_time():
            time.sleep(delay)
            if process.poll() is not None:
                return False
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    return False


def left_behind(run, cache):
    "What a killed run left, in words."
    steps = [p.name for p in step_folders(run / "checkpoints")]
    torn = [
        p.name.split(".")[1]
        for folder, pattern in ((run / "checkpoints", ".step_*"), (cache, ".features-*"))
        for p in folder.glob(pattern)
    ]
    return (
        f"{len(read_metrics(run)):>3} rows, newest checkpoint {steps[-1] if steps else 'none'}"
        + (f", half written: {', '.join(torn)}" if torn else "")
    )


def torture(home, number, kills, done, rng, threads, seconds):
    "One run with so many kills, then to its end; (kills that hit, does it equal the unbroken run?)."
    run, cache, hits = home / "runs" / f"killed-{number}", home / "cache" / f"killed-{number}", 0
    kinds = [k for _ in range(-(-kills // len(KINDS))) for k in rng.sample(KINDS, len(KINDS))][
        :kills
    ]
    for kind in sorted(kinds, key=lambda k: k != "cache"):  # while there is none yet
        if kind == "cache" and any(cache.glob("features-*/meta.json")):
            kind = "any"
        process, start = launch(home, run, threads), time.monotonic()
        if not kill_once(process, *moment(kind, run, cache, rng, seconds)):
            break
        hits += 1
        print(
            f"kill {done + hits:>3}  run {number}  {kind:<11}{time.monotonic() - start:5.1f} s after its start  {left_behind(run, cache)}",
            flush=True,
        )
    code = process.returncode if process.returncode == 0 else launch(home, run, threads).wait()
    if code:
        sys.exit(
            f"{run.name} ended with exit code {code}:\n"
            + (home / f"{run.name}.log").read_text()[-3000:]
        )
    return hits, same_run(home / "runs/unbroken", run)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    args = parser.parse_args()
    home, rng = Path(tempfile.mkdtemp(prefix="kill_test.")), random.Random(args.seed)
    prepare(home)
    start = time.monotonic()
    if launch(home, home / "runs/unbroken", args.threads).wait():
        sys.exit((home / "unbroken.log").read_text()[-3000:])
    seconds = time.monotonic() - start
    rows = read_metrics(home / "runs/unbroken")
    print(
        f"the unbroken run: {rows[-1]['step']} steps, {len(rows)} rows, {seconds:.1f} s, {args.threads} thread{'s' * (args.threads > 1)}",
        flush=True,
    )
    kills, equal, number = 0, [], 0
    while kills < args.kills:
        number += 1
        hits, same = torture(
            home, number, min(PER_RUN, args.kills - kills), kills, rng, args.threads, seconds
        )
        kills, equal = kills + hits, equal + [same]
        print(
            f"          run {number}  {'equal to' if same else 'DIFFERENT from'} the unbroken run after {hits} kills",
            flush=True,
        )
    print(
        f"{kills} kills in {number} runs, {sum(equal)} of {number} runs equal to the unbroken one: weights to the bit, metrics to the byte"
    )
    if all(equal):
        shutil.rmtree(home)
    else:
        print(f"kept for inspection: {home}")
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
