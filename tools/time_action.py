"""How long does one action take on this machine, and what is it made of? At tiny size, and at
the size of ViT-B/32 with Qwen2.5-0.5B (random weights: time does not depend on them).

    python tools/time_action.py --out nbs/images/time_action.json
    python tools/time_action.py --encoder FOLDER --llm FOLDER     the recipe of real_study.py too

The fastest of several repeats, in milliseconds. Nothing is downloaded; the models are written to
a temporary folder (1.2 GB) and removed.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import torch
from publish_demo import cpu_name
from real_study import BASE

from vlm_vla.agent import ChangeAgent
from vlm_vla.config import Config
from vlm_vla.data.sources import open_pairs
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.evaluation.jobs import as_pair
from vlm_vla.evaluation.report import markdown_table
from vlm_vla.model import create_model, quiet
from vlm_vla.nets.tiny import make_real_size_models, make_tiny_models

SIZES = {"tiny": make_tiny_models, "real size": make_real_size_models}
STEPS = dict(
    decode="decode two PNG of 256 x 256",
    resize="resize and normalise",
    look="frozen encoder, both dates",
    read="language model",
    point="projector, fusion, pointer, head",
    rest="checks, copies, Python",
)
WHOLE = ("one action", "ten captions, encoded once", "ten calls")


def timed(f, agent, repeats):
    "(seconds of the fastest call, what it returned); the first call does not count."
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        out = f()
        if agent.model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]), out


@torch.inference_mode()
def steps_of(agent, t1, t2, caption, repeats) -> dict:
    "Step -> seconds: decode, resize, look (both dates), read, point."
    model, out = agent.model, {}
    out["decode"], images = timed(lambda: as_pair(t1, t2, agent.ranges), agent, repeats)
    transform = agent.transform
    out["resize"], pixels = timed(
        lambda: torch.stack([transform(x) for x in images]), agent, repeats
    )
    out["look"], seen = timed(lambda: model.look(pixels), agent, repeats)
    with model.autocast():
        out["read"], _ = timed(lambda: model.language([caption]), agent, repeats)
    whole, _ = timed(lambda: model(seen[:1], seen[1:], [caption]), agent, repeats)
    return {**out, "point": max(0.0, whole - out["read"])}


def time_action(agent, t1, t2, caption, repeats) -> dict:
    "Seconds of the steps of one action, of one action, and of ten questions."
    out, ten = steps_of(agent, t1, t2, caption, repeats), [f"{caption} {i}" for i in range(10)]
    whole = {
        "one action": lambda: agent.act(t1, t2, caption),
        "ten captions, encoded once": lambda: (agent.encode(t1, t2), agent.act(ten)),
        "ten calls": lambda: [agent.act(t1, t2, c) for c in ten],
    }
    seconds = {k: timed(f, agent, repeats)[0] for k, f in whole.items()}
    out["rest"] = max(0.0, seconds["one action"] - sum(out.values()))
    return {**out, **seconds}


def settings(root: Path, size: str, args) -> dict:
    "The models of a size; they are written where they are random."
    if size == "real weights":
        return BASE | dict(CLIP_PATH=args.encoder, LLM_PATH=args.llm)
    with quiet():
        return SIZES[size](root / size.replace(" ", "_")) | dict(USE_4BIT=False)


def measure(root: Path, size: str, args) -> dict:
    "Milliseconds of each step, and the precision."
    places = dict(DATASET_PATH=str(root / "data"), OUTPUT_DIR=str(root / "outputs"))
    config, repeats = Config(**settings(root, size, args), **places), args.repeats
    agent = ChangeAgent(create_model(config))
    sample = next(
        s
        for s in open_pairs(config.DATASET_PATH, split="test", config=config).samples
        if s.box is not None
    )
    found = time_action(agent, sample.pair.t1.path, sample.pair.t2.path, sample.caption, repeats)
    return dict(
        dtype=str(agent.model.compute_dtype).removeprefix("torch."),
        device=str(agent.model.device),
        grid=list(agent.model.grid),
        ms={k: round(1000 * v, 2) for k, v in found.items()},
    )


def table(found: dict) -> str:
    "All sizes side by side."
    rows = [
        [STEPS.get(k, k), *(f"{f['ms'][k]:.1f} ms" for f in found.values())]
        for k in (*STEPS, *WHOLE)
    ]
    return markdown_table(["", *(f"{size}, {f['dtype']}" for size, f in found.items())], rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="JSON file for the figures")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--encoder", help="image encoder in Hugging Face format")
    parser.add_argument("--llm", help="language model in Hugging Face format")
    args = parser.parse_args()
    sizes = args.sizes + ["real weights"] * bool(args.encoder and args.llm)
    with tempfile.TemporaryDirectory() as work:
        make_dataset(Path(work) / "data", 0, 0, 3, seed=0, changed_fraction=1.0)
        found = {size: measure(Path(work), size, args) for size in sizes}
    machine = dict(
        cpu=cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
    )
    print(
        f"{machine['cpu']}, {machine['threads']} threads, torch"
        f" {machine['torch']}\n\n{table(found)}"
    )
    if args.out:
        Path(args.out).write_text(
            json.dumps(dict(machine=machine, sizes=found), indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
