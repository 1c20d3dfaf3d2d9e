#!/usr/bin/env python3
"""How fast is a training step at real size, beside the baseline's way and beside
what the machine can do at all?

    python tools/benchmark.py                             everything, into
    nbs/images/benchmark.json, which pages/benchmark.ipynb shows
    python tools/benchmark.py --parts ours baseline        some parts; the others stay as they are
    in the file
    python tools/benchmark.py --tiny --out /tmp/x.json    tiny models, to try the script

ViT-B/32 and Qwen2.5-0.5B with random weights (time does not depend on them), generated data; 1.3
GB in --work, nothing is downloaded. The trainer's own steps are timed, data loading included.
Every
row is a process of its own, so that no peak of memory hides another. On a GPU the same: CUDA
memory is then what PyTorch allocated at most.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import torch
import transformers
from publish_demo import cpu_name
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from vlm_vla.config import PRESETS, Config
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.model import create_model
from vlm_vla.nets.base import quiet
from vlm_vla.nets.features import with_features
from vlm_vla.nets.language import LanguageEncoder, pool_tokens
from vlm_vla.nets.tiny import make_real_size_models, make_tiny_models
from vlm_vla.train import Trainer
from vlm_vla.utils import Stopwatch, memory_used

LANGUAGE = "language model"
HERE = Path(__file__).resolve().parent.parent
OURS = dict(EVAL_INTERVAL=10**6, SAVE_INTERVAL=10**6)
BASELINE = dict(PRESETS["guide"], CACHE_FEATURES=False, BATCH_SIZE=4, **OURS)
# name -> settings; the baseline's also compute the LM head and pad to MAX_TEXT_LENGTH
VARIANTS = {
    "ours, batch 4": dict(OURS, BATCH_SIZE=4, BATCH_ORDER="length"),
    "ours, batch 32": dict(OURS, BATCH_SIZE=32, BATCH_ORDER="length"),
    "ours, batch 32, by pair": dict(OURS, BATCH_SIZE=32, BATCH_ORDER="pair"),
    "baseline, NF4": dict(BASELINE, USE_4BIT="always"),
    "baseline, not quantised": dict(BASELINE, USE_4BIT=False),
}
PARTS = {
    "ours": ["features", *(n for n in VARIANTS if n.startswith("ours"))],
    "baseline": [n for n in VARIANTS if n.startswith("baseline")],
    "limit": ["limit, batch 32", "limit, batch 64"],
    "profile": ["profile, batch 32"],
}


class BaselineLanguage(LanguageEncoder):
    """Sentences as the baseline reads them: all of them, padded to MAX_TEXT_LENGTH, through a
    causal language model whose logits are computed and not used."""

    def forward(self, captions):
        t = self.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        ).to(self.model.device)
        out = self.model(**t, output_hidden_states=True)
        return pool_tokens(out.hidden_states[-1], t["attention_mask"], self.pooling)


def causal(*args, **settings):
    "`AutoModelForCausalLM` with its own choice of attention, as the baseline loads it."
    return AutoModelForCausalLM.from_pretrained(
        *args, **{**settings, "attn_implementation": "sdpa", "trust_remote_code": False}
    )


def prepare(root: Path, tiny: bool) -> dict:
    "Data and models below `root`, made once; the settings that point to them."
    data = make_dataset(root / "data", 240, 8, 0, seed=0, workers=os.cpu_count() or 1)
    models = root / ("tiny" if tiny else "real")
    if not (models / "llm/tokenizer.json").is_file():
        with quiet():
            (make_tiny_models if tiny else make_real_size_models)(models)
    return dict(
        DATASET_PATH=str(data), CLIP_PATH=str(models / "clip"), LLM_PATH=str(models / "llm")
    )


def trainer_of(paths: dict, settings: dict, root: Path) -> Trainer:
    "A trainer that is ready for its first step; the baseline's reads with its own language model."
    c = Config(
        **{
            **settings,
            **paths,
            "OUTPUT_DIR": str(root / "runs"),
            "CACHE_DIR": str(root / "cache"),
            "RUN_NAME": f"run-{os.getpid()}",
        }
    )
    t = Trainer(c)
    t.load_data()
    baseline = mock.patch.multiple(
        "vlm_vla.model",
        LanguageEncoder=BaselineLanguage,
        AutoModel=mock.Mock(from_pretrained=causal),
    )
    with baseline if not c.CACHE_FEATURES else nullcontext():
        t.setup_model()
    t.wrapped.train()
    return t


def steps(t: Trainer):
    "Endless optimizer steps, as `train_epoch` takes them; yields each batch after its step."
    while True:
        for batch in t.loader("train"):
            if len(batch["caption"]) < t.config.BATCH_SIZE:
                continue  # the last one of an epoch
            if not math.isfinite(t.step([batch])):
                raise RuntimeError("a step was not finite")
            yield batch


def timed(t: Trainer, seconds: float, warm: int = 2, least: int = 5) -> tuple:
    """(seconds of each step, batches, cores used) after some to warm up; for `seconds`, and at
    least so many."""
    going, times, seen = steps(t), [], []
    for _ in range(warm):
        next(going)
    start, cpu = time.perf_counter(), time.process_time()
    while len(times) < least or sum(times) < seconds:
        with Stopwatch() as watch:
            seen.append(next(going))  # ends with the loss as a number, so a GPU is done too
        times.append(watch.seconds)
    return times, seen, round((time.process_time() - cpu) / (time.perf_counter() - start), 2)


def count_tokens(t: Trainer) -> list:
    "A list that grows by (real, computed) tokens with each pass through the language model."
    counts, body, pad = [], t.model.language.model, t.model.language.tokenizer.pad_token_id
    body.get_input_embeddings().register_forward_hook(
        lambda _, args, out: counts.append((int((args[0] != pad).sum()), args[0].numel()))
    )
    return counts


def peak_memory(device) -> int:
    "MiB: of PyTorch on a GPU, of the process on a CPU."
    return round(memory_used()[device.type])


def features(name, paths, root, seconds) -> dict:
    "What the feature cache costs, once."
    t = Trainer(
        Config(
            **paths,
            **OURS,
            BATCH_SIZE=32,
            DEBUG=True,
            OUTPUT_DIR=str(root / "runs"),
            CACHE_DIR=str(root / "fresh" / str(os.getpid())),
            RUN_NAME=f"run-{os.getpid()}",
        )
    )
    t.load_data()
    model = create_model(t.config, t.accelerator.device)
    with Stopwatch() as watch:
        made = with_features(t.train_data, model, t.config, progress=False)
    n = len(made.cache.images)
    return {
        "pairs": n // 2,
        "images per second": round(n / watch.seconds, 2),
        "seconds per 1,000 pairs": round(2000 * watch.seconds / n, 1),
        "MiB per 1,000 pairs": round(2000 * made.cache.gigabytes * 1024 / n, 1),
    }


def speed(name, paths, root, seconds) -> dict:
    "Samples per second of a variant's steps, peak memory, and what a checkpoint costs."
    t = trainer_of(paths, VARIANTS[name], root)
    counts = count_tokens(t)
    times, _, used = timed(t, seconds)
    size, (real, computed) = t.config.BATCH_SIZE, map(sum, zip(*counts))
    spread = statistics.quantiles(
        [size / s for s in times], n=10, method="inclusive"
    )  # batches differ: long sentences and short ones
    with Stopwatch() as watch:
        t.save_checkpoint(1)
    written = sum(
        f.stat().st_size for f in (t.run / "checkpoints/step_000001").rglob("*") if f.is_file()
    )
    return {
        "variant": name,
        "samples per second": round(size * len(times) / sum(times), 3),
        "peak memory, MiB": peak_memory(t.accelerator.device),
        "checkpoint, MiB": round(written / 2**20, 1),
        "seconds to write it": round(watch.seconds, 2),
        "10 % to 90 %": f"{spread[0]:.3g} to {spread[-1]:.3g}",
        "steps": len(times),
        "cores used": used,
        "tokens a step": round(computed / len(counts)),
        "of them real, %": round(100 * real / computed),
        "precision": str(t.dtype).split(".")[-1],
    }


def matmul_peak(dtype, device, sizes=(1024, 2048, 4096)) -> float:
    "FLOP/s of large square matrix products: the best size's median."

    def once(n, a, b):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        return 2 * n**3 / (time.perf_counter() - start)

    return max(
        statistics.median([once(n, a, b) for _ in range(9)][2:])
        for n in sizes
        for a, b in [torch.randn(2, n, n, device=device).to(dtype)]
    )


def limit(name, paths, root, seconds) -> dict:
    "Matrix-product FLOP/s that a step needs, over the machine's peak in the same process."
    size = int(name.split()[-1])
    t = trainer_of(paths, dict(OURS, BATCH_SIZE=size), root)
    peaks = [matmul_peak(t.dtype, t.accelerator.device)]
    counts = count_tokens(t)
    times, seen, used = timed(t, 0, least=6)
    peaks.append(matmul_peak(t.dtype, t.accelerator.device))
    needs = []
    for batch in seen:  # the same batches once more, counted
        with FlopCounterMode(display=False) as counter:
            t.step([batch])
        found = counter.get_flop_counts()
        every, language = (
            sum(found.get(k, {}).values()) for k in ("Global", "VLM_ActionAgent.language")
        )
        real, computed = counts[-1]
        needs.append(
            every - language + language * real / computed
        )  # what padding costs is not needed
    achieved = sum(needs) / sum(times)
    return {
        "batch": size,
        "share of the peak, %": round(100 * achieved / max(peaks), 1),
        "GFLOP/s of the step": round(achieved / 1e9, 1),
        "GFLOP/s, matmul peak": round(max(peaks) / 1e9, 1),
        "GFLOP needed per sample": round(sum(needs) / len(needs) / size / 1e9, 2),
        "seconds a step": round(sum(times) / len(times), 3),
        "steps": len(times),
        "cores used": used,
        "peak memory, MiB": peak_memory(t.accelerator.device),
        "precision": str(t.dtype).split(".")[-1],
    }


def mark(owner, name: str, label: str) -> None:
    "What the function `owner.name` computes carries `label` in a profile."
    inner = getattr(owner, name)

    def run(*args, **more):
        with record_function(f"part:{label}"):
            return inner(*args, **more)

    setattr(owner, name, run)


def mark_parts(t: Trainer) -> None:
    "Label the parts of a step; inner labels win."
    m = t.model
    mark(m, "forward", "losses")
    mark(m.language, "forward", LANGUAGE)
    for part in (m.projector, m.fusion, m.pointer, m.text_norm, m.action_head, m.change_head):
        mark(part, "forward", "projector, fusion, pointer, heads")
    for n, part in m.language.named_modules():
        if n.endswith(("lora_A.default", "lora_B.default", "lora_dropout.default")):
            mark(part, "forward", f"{LANGUAGE}: LoRA")
    for owner, name in ((t.optimizer.optimizer, "step"), (t.accelerator, "clip_grad_norm_")):
        mark(owner, name, "optimizer and clipping")


def sort_of_work(op: str, backward: bool) -> str:
    "What sort of work an operation of the language model is."
    if any(w in op for w in ("bmm", "softmax", "attention")):
        return "attention"
    if any(w in op for w in ("mm", "linear")):
        return f"matrix products, {'backward' if backward else 'forward'}"
    return (
        "casts and copies"
        if any(w in op for w in ("copy", "clone", "cat", "aten::to"))
        else "norms, activations, sums"
    )


def rows_of(events: list, attribute: str) -> dict:
    """Seconds of a profile by what they were spent on. A backward operation belongs to the part
    whose forward operation has its sequence number."""
    part_of, found = {}, {}

    def chain(e):
        while e is not None:
            yield e
            e = e.cpu_parent

    def label(e):
        return next((p.name[5:] for p in chain(e) if p.name.startswith("part:")), None)

    for e in events:
        if e.sequence_nr >= 0 and not e.name.startswith("autograd") and (here := label(e)):
            part_of[e.sequence_nr] = here
    for e in events:
        if e.name.startswith(("part:", "ProfilerStep")):
            continue
        back = next((p for p in chain(e) if p.name.startswith("autograd::engine::evaluate")), None)
        part = label(e) or (part_of.get(back.sequence_nr, "other") if back else "data and the rest")
        if part == LANGUAGE:
            part = f"{LANGUAGE}: {sort_of_work(e.name, back is not None)}"
        found[part] = found.get(part, 0.0) + getattr(e, attribute) / 1e6
    return found


def time_of_parts(name, paths, root, seconds) -> list:
    "Milliseconds of a step by what they are spent on."
    t = trainer_of(paths, dict(OURS, BATCH_SIZE=int(name.split()[-1])), root)
    timed(t, 0, least=2)
    mark_parts(t)
    cuda, going, n = t.accelerator.device.type == "cuda", steps(t), 4
    next(going)
    with (
        profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as found,
        Stopwatch() as watch,
    ):
        for _ in range(n):
            next(going)
    parts = rows_of(found.events(), "self_device_time_total" if cuda else "self_cpu_time_total")
    parts["outside any operation (Python, waiting)"] = max(0.0, watch.seconds - sum(parts.values()))
    return [
        {
            "what": k,
            "ms a step": round(1000 * v / n, 1),
            "share, %": round(100 * v / watch.seconds, 1),
        }
        for k, v in sorted(parts.items(), key=lambda kv: -kv[1])
    ]


MEASURES = {
    "prepare": lambda name, paths, *_: paths,
    "features": features,
    "limit": limit,
    "profile": time_of_parts,
}


def measure(name: str, args):
    "One measurement in a process of its own."
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--work",
        args.work,
        "--seconds",
        str(args.seconds),
        *["--tiny", "--out", args.out] * args.tiny,
    ]
    found = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()[-1]
    print(f"{name}: {found}", flush=True)
    return json.loads(found)


def machine(args) -> dict:
    "What was measured on, and when."
    gpu = {"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return dict(
        gpu,
        CPU=cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        date=time.strftime("%Y-%m-%d"),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        bitsandbytes=version("bitsandbytes"),
        models="tiny" if args.tiny else "ViT-B/32, Qwen2.5-0.5B, random weights",
    )


def with_ratios(rows: list) -> list:
    "The rows, each with how many times as fast as the baseline's way it is."
    base = next((r["samples per second"] for r in rows if r["variant"] == "baseline, NF4"), None)
    return [
        {
            **dict.fromkeys(("variant", "samples per second", "times the baseline")),
            **r,
            "times the baseline": base and round(r["samples per second"] / base, 1),
        }
        for r in rows
    ]


def keep(out: Path, args, name: str, found) -> None:
    "Put one measurement into the file, in place of an older one."
    page = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    page = {"command": "python tools/benchmark.py", **page}
    page.pop("machine", None)  # the present one comes last
    kind = name.split(",")[0]
    if kind == "features":
        page["feature_cache,_made_once"] = found
    elif kind == "limit":
        page["beside_the_limit"] = sorted(
            [r for r in page.get("beside_the_limit", []) if r["batch"] != found["batch"]] + [found],
            key=lambda r: r["batch"],
        )
    elif kind == "profile":
        page["where_the_time_of_a_step_goes" + (args.label and f",_{args.label}")] = found
    else:
        rows = {r["variant"]: r for r in [*page.get("samples_per_second", []), found]}
        page["samples_per_second"] = with_ratios([rows[n] for n in VARIANTS if n in rows])
    out.write_text(
        json.dumps({**page, "machine": machine(args)}, indent=1) + "\n", encoding="utf-8"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=str(HERE / "nbs/images/benchmark.json"), help="results")
    parser.add_argument(
        "--work",
        default=os.path.join(tempfile.gettempdir(), "vlm_vla-benchmark"),
        help="data, models, caches and runs",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        default=list(PARTS),
        choices=list(PARTS),
        help="what to measure; the rest stays as it is in the file",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="time for the steps of each row, after two to warm up; at least five steps",
    )
    parser.add_argument(
        "--label", default="", help="goes into the name of the profile, such as 'before'"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="tiny models, to try the script; --out must be given"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tiny and args.out == parser.get_default("out"):
        parser.error("--tiny needs --out: its figures mean nothing")
    root, out = Path(args.work), Path(args.out)
    if args.one:
        return print(
            "\n"
            + json.dumps(
                MEASURES.get(args.one.split(",")[0], speed)(
                    args.one, prepare(root, args.tiny), root, args.seconds
                )
            )
        )
    measure("prepare", args)
    for name in (n for part in args.parts for n in PARTS[part]):
        keep(out, args, name, measure(name, args))


if __name__ == "__main__":
    main()
