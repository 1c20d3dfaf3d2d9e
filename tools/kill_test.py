#!/usr/bin/env python3
"""Kill whatever writes files again and again, and see whether anything is lost, or torn and
taken for whole.

    python tools/kill_test.py                           twenty kills in each part, some minutes
    python tools/kill_test.py --kills 3                 as in CI
    python tools/kill_test.py --parts index predict     some parts only
    python tools/kill_test.py --threads 2               PyTorch with two threads, in trainings

    train      a training, resumed each time, ends as one that was never stopped: the same
    weights to the bit, the same metrics file
    index      the index and the boxes of a data set
    features   the features of a frozen encoder: the next run has what a run without kills has,
    and clears what the killed one left
    report     the report of an evaluation: the old one or the new one is there, whole, at every
    moment
    predict    a list of questions, resumed each time, ends with the same answers

Generated data and tiny models, on the CPU. SIGKILL comes at random moments (--seed): at any
time, and while something is written. Trainings are started as `vlm_vla_train`; the other parts
run in
forks of this process, so that a kill costs no import. Exit code 0: everything came out equal.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vlm_vla.agent import ChangeAgent, predict_rows
from vlm_vla.base.files import finish_files
from vlm_vla.config import Config
from vlm_vla.data.sources import open_pairs
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.dataset import LevirCCActionDataset
from vlm_vla.eval import evaluate
from vlm_vla.model import create_model, quiet
from vlm_vla.nets.features import with_features
from vlm_vla.nets.tiny import make_tiny_models
from vlm_vla.training.rundir import read_metrics, same_run, step_folders

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
PARTS = ("train", "index", "features", "report", "predict")
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

    def being_made():
        return set(
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
    """One run with so many kills, then to its end; (kills that hit, does it equal the unbroken
    run?)."""
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
            f"kill {done + hits:>3}  run {number}  {kind:<11}{time.monotonic() - start:5.1f} s"
            f" after its start  {left_behind(run, cache)}",
            flush=True,
        )
    code = process.returncode if process.returncode == 0 else launch(home, run, threads).wait()
    if code:
        sys.exit(
            f"{run.name} ended with exit code {code}:\n"
            + (home / f"{run.name}.log").read_text()[-3000:]
        )
    return hits, same_run(home / "runs/unbroken", run)


def test_train(home, args, rng):
    "Does every killed training end as the unbroken one?"
    start = time.monotonic()
    if launch(home, home / "runs/unbroken", args.threads).wait():
        sys.exit((home / "unbroken.log").read_text()[-3000:])
    seconds = time.monotonic() - start
    rows = read_metrics(home / "runs/unbroken")
    print(
        f"the unbroken run: {rows[-1]['step']} steps, {len(rows)} rows, {seconds:.1f} s,"
        f" {args.threads} thread{'s' * (args.threads > 1)}",
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
            f"          run {number}  {'equal to' if same else 'DIFFERENT from'} the unbroken run"
            f" after {hits} kills",
            flush=True,
        )
    print(
        f"train     {kills} kills in {number} runs, {sum(equal)} of {number} runs equal to the"
        " unbroken one: weights to the bit, metrics to the byte"
    )
    return all(equal)


# The other parts: `work(folder)` writes files there and returns what they hold, as JSON knows it.


def child(work, folder, answer):
    "In a fork: work, and write what came out; the errors go to a log beside it."
    log = os.open(f"{answer}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        answer.write_text(json.dumps(work(folder)))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()


def fork(work, folder, answer):
    "The process."
    answer.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=child, args=(work, folder, answer))
    process.start()
    return process


def undisturbed(work, folder, answer):
    "What a run that nobody kills gives."
    process = fork(work, folder, answer)
    process.join()
    if process.exitcode:
        raise RuntimeError(
            f"a run failed after a kill:\n{Path(f'{answer}.log').read_text()[-1500:]}"
        )
    return json.loads(answer.read_text())


def names(folder):
    "What lies in a folder: relative names, hidden ones too."
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def stamps(folder):
    "Names, sizes and times: changes as soon as something is written."
    found = []
    for p in folder.rglob("*"):
        try:
            s = p.stat()
        except FileNotFoundError:
            continue
        found.append((p.name, s.st_size, s.st_mtime_ns))
    return found


def kill_at(process, folder, rng, seconds, number):
    """SIGKILL: every other time at any moment, else soon after something was written. False: it
    ended before."""
    start, before = time.monotonic(), stamps(folder)
    when = rng.uniform(0, seconds) if number % 2 else math.inf
    while time.monotonic() - start < when:
        if not process.is_alive():
            return False
        if when == math.inf and stamps(folder) != before:
            time.sleep(rng.uniform(0, 0.01))
            break
        time.sleep(0.0005)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def measured(work, folder, answer):
    "(what a run gives, the names of its files, seconds)."
    start = time.monotonic()
    return undisturbed(work, folder, answer), names(folder), time.monotonic() - start


def say(part, kills, wrong, seconds, start):
    "The line of a part; did all go well?"
    for w in wrong[:3]:
        print(f"          {w}")
    print(
        f"{part:<10}{kills} kills of a work of {seconds:.2f} s, {len(wrong)} times something was"
        f" lost, torn or left; {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return not wrong


def test_cache(part, work, home, args, rng):
    "A cache that is made from nothing, and killed while it is made."
    start, folder, answer = time.monotonic(), home / part, home / f"{part}.json"
    folder.mkdir()
    truth, files, seconds = measured(work, folder, answer)
    kills, wrong, tries = 0, [], 0
    while kills < args.kills and tries < 4 * args.kills:
        tries += 1
        for name in files:  # made again from nothing; what a killed run left stays
            p = folder / name
            shutil.rmtree(p) if p.is_dir() and name.split("/")[-1] != "pairs" else None
            p.unlink() if p.is_file() else None
        kills += kill_at(fork(work, folder, answer), folder, rng, seconds, tries)
        found = undisturbed(work, folder, answer)
        left = sorted(set(names(folder)) - set(files))
        if found != truth:
            wrong.append(f"kill {kills}: the next run has something else")
        if left:
            wrong.append(f"kill {kills}: left behind: {', '.join(left[:3])}")
    return say(part, kills, wrong, seconds, start)


def test_index(home, config, args, rng):
    def work(folder):
        pairs = open_pairs(config.DATASET_PATH, config=config.replace(CACHE_DIR=folder))
        return [[s.id, s.caption, s.box, s.pair.split, s.changed] for s in pairs.samples]

    return test_cache("index", work, home, args, rng)


def test_features(home, config, args, rng):
    pairs = open_pairs(config.DATASET_PATH, config=config)
    with quiet():
        model = create_model(config)

    def work(folder):
        own = config.replace(CACHE_DIR=folder)
        dataset = with_features(
            LevirCCActionDataset("train", config=own, pairs=pairs), model, own, False
        )
        rows = [dataset.cache.row(i) for i in range(len(dataset.cache.rows))]
        return hashlib.sha256(np.stack(rows)).hexdigest(), dataset.cache.bad

    return test_cache("features", work, home, args, rng)


def contents(folder):
    "A hash of each file that a reader sees."
    seen = [n for n in names(folder) if not n.startswith(".")]
    return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in seen}


def test_report(home, config, args, rng):
    "A new report over an old one, and the old one again."
    start, folder, answer = time.monotonic(), home / "report/here", home / "report.json"
    with quiet():
        found = evaluate(
            create_model(config), config, probe_limit=20, replicates=20, progress=False
        )
    save = {n: lambda f, n=n: contents(replace(found, name=n).save(f)) for n in ("old", "new")}
    whole = {n: undisturbed(save[n], folder, answer) for n in ("new", "old")}
    around, kept = names(folder.parent), Path(shutil.copytree(folder, home / "report-kept"))
    begin = time.monotonic()
    undisturbed(save["old"], folder, answer)
    seconds, kills, wrong, tries = time.monotonic() - begin, 0, [], 0
    while kills < args.kills and tries < 4 * args.kills:
        tries += 1
        kills += kill_at(fork(save["new"], folder, answer), folder, rng, seconds, tries)
        seen = contents(folder)
        if not any(seen.items() <= one.items() for one in whole.values()):
            wrong.append(f"kill {kills}: old and new files side by side: {list(seen)}")
        finish_files(folder)  # as whoever reads a report does
        there = contents(folder)
        if there not in whole.values():
            torn = [
                n for n, h in there.items() if h not in (whole["old"].get(n), whole["new"].get(n))
            ]
            wrong.append(f"kill {kills}: torn or strange {torn or 'none'}, files {list(there)}")
        if there not in whole.values() or kills % 5 == 0:
            if undisturbed(save["old"], folder, answer) != whole["old"]:
                wrong.append(f"kill {kills}: the next report is another")
        elif there != whole["old"]:
            shutil.copytree(kept, folder, dirs_exist_ok=True)
    undisturbed(save["old"], folder, answer)
    if names(folder.parent) != around:
        wrong.append(f"left behind: {set(names(folder.parent)) - set(around)}")
    return say("report", kills, wrong, seconds, start)


def near(a, b):
    "The same answers? A batch of another size may differ in the last decimal."
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-4 * max(1, abs(a))
    if isinstance(a, (list, dict)) and type(a) is type(b) and len(a) == len(b):
        keys = a if isinstance(a, dict) else range(len(a))
        return all(k in b if isinstance(a, dict) else True for k in keys) and all(
            near(a[k], b[k]) for k in keys
        )
    return a == b


def test_predict(home, config, args, rng):
    "A list of questions; the same file of answers is gone on with until it is whole."
    start, answer = time.monotonic(), home / "predict.json"
    with quiet():
        agent = ChangeAgent(create_model(config))
    samples = open_pairs(config.DATASET_PATH, config=config).samples
    rows = [
        dict(t1=str(s.pair.t1.path), t2=str(s.pair.t2.path), caption=s.caption) for s in samples
    ]
    list_file = home / "questions.jsonl"
    list_file.write_text("".join(json.dumps(r) + "\n" for r in rows[:240]))

    def work(folder):
        predict_rows(agent, list_file, folder / "out.jsonl", batch_size=8, progress=False)
        return [json.loads(x) for x in (folder / "out.jsonl").read_text("utf-8").splitlines()]

    first = home / "predict-0"
    first.mkdir()
    truth, files, seconds = measured(work, first, answer)
    kills, wrong, number, tries = 0, [], 0, 0
    while kills < args.kills and number < args.kills:
        number += 1
        folder = home / f"predict-{number}"
        folder.mkdir()
        for _ in range(4):  # then it may finish
            tries += 1
            kills += kill_at(fork(work, folder, answer), folder, rng, seconds / 3, tries)
        if not near(undisturbed(work, folder, answer), truth):
            wrong.append(f"kill {kills}: other answers in the end")
        if names(folder) != files:
            wrong.append(f"kill {kills}: left behind: {set(names(folder)) - set(files)}")
    return say("predict", kills, wrong, seconds, start)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="in each part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, in trainings")
    args = parser.parse_args()
    torch.set_num_threads(1)  # a fork has no others
    home, rng = Path(tempfile.mkdtemp(prefix="kill_test.")), random.Random(args.seed)
    prepare(home)
    config, good = Config.from_json(home / "settings.json", CACHE_DIR=home / "cache/shared"), True
    tests = dict(index=test_index, features=test_features, report=test_report, predict=test_predict)
    for part in args.parts:
        if part == "train":
            good &= test_train(home, args, rng)
        else:
            good &= tests[part](home, config, args, rng)
    if good:
        shutil.rmtree(home)
    else:
        print(f"kept for inspection: {home}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
