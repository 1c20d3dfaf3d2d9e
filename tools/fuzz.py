#!/usr/bin/env python3
"""Damage small inputs in ways that happen, and see whether the answer is right, or the trouble
is told.

    python tools/fuzz.py                       1,000 mutations
    python tools/fuzz.py --seconds 75          as many as fit into 75 seconds, as in CI
    python tools/fuzz.py --seed 3 --only 17    one mutation again, with all that is known about it
    python tools/fuzz.py --kinds masks jobs    some kinds only
    python tools/fuzz.py --list                the table of mutations

Ten pairs of 64 x 64 pixels whose every sentence, box, split and pixel is known, and a tiny agent
whose every answer is known. Each mutation says what is true after it. Outcomes:

    right          everything is read as it is
    counted skip   something is left out, and the report counts it; the rest is right
    clear          refused in a sentence that names a file, a row or a setting, or a word about
    the doubt
    unclear        refused in a sentence that names none
    traceback      another kind of exception, a crash, or over the time limit
    silent wrong   something else than the truth, and not a word

The mutations run in a process of their own. Exit code 1: a silent wrong or a traceback, or 1 %
unclear. The inputs are in `fuzz_parts/`.
"""

import argparse
import collections
import io
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback

os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg", TQDM_DISABLE="1")
from pathlib import Path

OUTCOMES = ("right", "counted skip", "clear", "unclear", "traceback", "silent wrong")
LIMIT = 30  # seconds for one mutation
WEIGHTS = dict(  # share of each kind
    annotations=26,
    pictures=13,
    masks=10,
    rowmasks=12,
    tables=9,
    caches=9,
    checkpoints=8,
    settings=8,
    jobs=5,
)


def choose(seed, number, kinds):
    "The mutation of a number, and its random numbers."
    from fuzz_parts import MUTATIONS

    rng = random.Random(f"{seed}/{number}")
    kind = rng.choices(kinds, [WEIGHTS[k] for k in kinds])[0]
    return rng.choice([m for m in MUTATIONS if m.kind == kind]), rng


def run_one(world, seed, number, kinds, keep=None):
    "(kind, name, outcome, detail) of one mutation."
    from fuzz_parts import Case, judge

    mutation, rng = choose(seed, number, kinds)
    home = Path(keep or tempfile.mkdtemp(dir=world.home))
    try:
        outcome, detail = judge(Case(world, home, rng, mutation.kind), mutation)
    finally:
        if keep is None:
            shutil.rmtree(home, ignore_errors=True)
    return mutation.kind, mutation.name, outcome, detail.replace(str(home), "...")


def work(pipe, home):
    "The process that runs mutations: numbers come in, outcomes go out."
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout = sys.stderr = io.StringIO()  # bars and warnings of the product
    from fuzz_parts import World

    world = World(home)
    pipe.send("ready")
    while job := pipe.recv():
        sys.stdout.truncate(0)
        try:
            pipe.send(run_one(world, *job))
        except Exception:
            pipe.send(("fuzz", "the script itself", "traceback", traceback.format_exc()[-900:]))


class Worker:
    "A process that is replaced when it dies or hangs."

    def __init__(self, home):
        self.home, self.process = home, None

    def start(self):
        here = multiprocessing.get_context("spawn")
        self.pipe, other = here.Pipe()
        self.process = here.Process(target=work, args=(other, self.home), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def stop(self, wait=0):
        "End the process: at once, or let it end by itself for so many seconds."
        if self.process and wait:
            self.pipe.send(None)
            self.process.join(wait)
        if self.process:
            self.process.kill()
            self.process.join()
        self.process = None

    def __call__(self, seed, number, kinds):
        "The outcome of one mutation."
        if self.process is None:
            self.start()
        why = f"more than {LIMIT} s"
        try:
            self.pipe.send((seed, number, kinds))
            if self.pipe.poll(LIMIT):
                return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            why = f"the process died (exit code {self.process.exitcode})"
        self.stop()
        mutation, _ = choose(seed, number, kinds)
        return mutation.kind, mutation.name, "traceback", why


def table(counts):
    "Kinds x outcomes, as text."
    width = max(map(len, WEIGHTS)) + 2
    lines = [" " * width + "".join(f"{o:>14}" for o in OUTCOMES) + f"{'all':>8}"]
    for kind in (*[k for k in (*WEIGHTS, "fuzz") if any(counts[k].values())], "all"):
        of = sum(counts.values(), collections.Counter()) if kind == "all" else counts[kind]
        lines.append(
            f"{kind:<{width}}"
            + "".join(f"{of[o]:>14}" for o in OUTCOMES)
            + f"{sum(of.values()):>8}"
        )
    return "\n".join(lines)


def show_bad(bad, seed, most):
    "The first examples of each bad outcome, one for each mutation."
    for outcome in OUTCOMES[:2:-1]:
        for name, found in bad[outcome].items():
            print(f"\n{outcome}: {name} ({len(found)} times)")
            for number, detail in found[:most]:
                print(f"  --seed {seed} --only {number}: {detail}")


def fuzz(args):
    "Run the mutations; the exit code."
    home, start = Path(tempfile.mkdtemp(prefix="fuzz.")), time.monotonic()
    worker, counts = Worker(home), collections.defaultdict(collections.Counter)
    bad = {o: collections.defaultdict(list) for o in OUTCOMES}
    for number in range(args.n):
        if args.seconds and time.monotonic() - start > args.seconds:
            break
        kind, name, outcome, detail = worker(args.seed, number, args.kinds)
        counts[kind][outcome] += 1
        bad[outcome][f"{kind}, {name}"].append((number, detail))
    worker.stop(wait=10)
    shutil.rmtree(home, ignore_errors=True)
    seconds, n = time.monotonic() - start, sum(sum(c.values()) for c in counts.values())
    show_bad(bad, args.seed, args.examples)
    print(f"\n{n} mutations, seed {args.seed}, {seconds:.0f} s\n{table(counts)}")
    total = sum(counts.values(), collections.Counter())
    return int(
        n == 0 or total["silent wrong"] + total["traceback"] > 0 or total["unclear"] >= 0.01 * n
    )


def only(args):
    "One mutation again; its input is kept."
    os.environ["FUZZ_TRACEBACK"] = "1"
    from fuzz_parts import World

    home, keep = (Path(tempfile.mkdtemp(prefix="fuzz.")) for _ in range(2))
    kind, name, outcome, detail = run_one(World(home), args.seed, args.only, args.kinds, keep)
    shutil.rmtree(home, ignore_errors=True)
    print(f"{kind}, {name}: {outcome}\n{detail}\nthe input is in {keep}")
    return int(outcome in OUTCOMES[3:])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one mutation")
    parser.add_argument("--kinds", nargs="+", choices=tuple(WEIGHTS), default=list(WEIGHTS))
    parser.add_argument("--examples", type=int, default=1, help="shown of each mutation")
    parser.add_argument("--list", action="store_true", help="show the mutations and stop")
    args = parser.parse_args()
    if args.list:
        from fuzz_parts import MUTATIONS

        print("\n".join(f"{m.kind:<12} {m.name:<24} {m.__doc__}" for m in MUTATIONS))
        return 0
    return fuzz(args) if args.only is None else only(args)


if __name__ == "__main__":
    sys.exit(main())
