"""Train an agent that describes generated scenes, and score what it says.

    python tools/words_study.py --out words.json                       tiny models
    python tools/words_study.py --encoder FOLDER --llm FOLDER          pretrained ones too
    python tools/words_study.py --rows pretrained --set USE_LORA=true  with another setting

The tiny language model knows no English; it reads the training sentences for 800 steps first.
Results go to one JSON file, an entry per row, settings and seed; entries that are there are kept.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from real_study import BASE, run_name, train
from results import cpu_seconds, keep_entry, read_entries, same

from vlm_vla.agent import ChangeAgent
from vlm_vla.config import PRESETS, Config, parse_sets
from vlm_vla.data.facts import all_facts, listing
from vlm_vla.data.sources import open_pairs
from vlm_vla.data.synthetic import make_dataset
from vlm_vla.eval import evaluate
from vlm_vla.evaluation.findings import findings_scores
from vlm_vla.evaluation.probes import open_split, random_pairs
from vlm_vla.evaluation.report import jsonable
from vlm_vla.evaluation.words import answer_questions
from vlm_vla.nets.tiny import make_tiny_models, teach_sentences

SPEAKS = dict(TASKS=("point", "describe"), QUESTIONS=0.2)
KEY = ("row", "seed", "settings")


def tiny_models(folder, data):
    "Tiny models whose language model has read the training sentences; the settings."
    models = make_tiny_models(folder)
    pairs = open_pairs(data, split="train")
    texts = [p.captions for p in pairs]
    read = [c for t in texts for c in t] + [listing(all_facts(t)) for t in texts] * 3
    teach_sentences(models["LLM_PATH"], read, steps=800)
    return {**PRESETS["tiny"], **models, "MAX_EPOCHS": 4}


def settings(args, row, data):
    "All settings of a row."
    if row == "tiny":
        found = tiny_models(args.work / "tiny", data)
    else:
        found = BASE | dict(IMAGE_SIZE=224, CLIP_PATH=args.encoder, LLM_PATH=args.llm)
    places = dict(OUTPUT_DIR=str(args.work / "runs"), CACHE_DIR=str(args.work / "cache"))
    return Config(
        **{**found, **SPEAKS, **places, "DATASET_PATH": str(data), **parse_sets(args.set)}
    )


def seconds_of_one(agent, sample, repeats=5):
    "Seconds of one description of two files: the fastest."
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        agent.describe(sample.pair.t1.path, sample.pair.t2.path)
        found.append(time.perf_counter() - start)
    return min(found)


def run_row(args, row, seed):
    "Train and score; the entry."
    data = make_dataset(args.work / "data", args.pairs, 40, 200, seed=0, workers=args.threads)
    run = run_name(" ".join([row, *args.set]), seed)
    config = settings(args, row, data).replace(SEED=seed, RUN_NAME=run)
    used = cpu_seconds()
    trainer, resumed = train(config)
    clock = json.loads((trainer.run / "metrics.json").read_text(encoding="utf-8"))["seconds"]
    times = dict(seconds=round(clock, 1), cpu_seconds=round(cpu_seconds() - used, 1))
    checkpoint = trainer.run / "checkpoints/last"
    how = dict(probe_limit=200, word_pairs=args.judged, replicates=50, progress=False)
    report = evaluate(checkpoint, baselines=(), **how)
    agent = ChangeAgent.from_pretrained(checkpoint)
    _, test = open_split(agent.config, "test")
    few = random_pairs(test, args.judged, seed)
    return dict(
        row=row,
        seed=seed,
        settings=args.set,
        words=jsonable(report.metrics["words"]),
        word_pairs=report.metrics["word_pairs"],
        answers=answer_questions(agent.model, few),
        findings=jsonable(findings_scores(agent, few.samples)),
        pointing=report.metrics["pointing"]["value"],
        steps=trainer.state["step"],
        description_seconds=round(seconds_of_one(agent, test.samples[0]), 2),
        resumed=resumed,
        threads=args.threads,
        **times,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", nargs="+", choices=("tiny", "pretrained"), help="default: those that can run")
    add("--encoder", help="image encoder in Hugging Face format")
    add("--llm", help="language model in Hugging Face format")
    add("--pairs", type=int, default=1000, help="pairs to train on")
    add("--judged", type=int, default=100, help="pairs whose texts and findings are judged")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="another setting")
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--out", type=Path, default=Path("words.json"), help="results")
    work = Path(tempfile.gettempdir()) / "vlm_vla-words-study"
    add("--work", type=Path, default=work, help="data, models, caches and runs")
    args = parser.parse_args()
    rows = args.rows or ["tiny"] + ["pretrained"] * bool(args.encoder and args.llm)
    if "pretrained" in rows and not (args.encoder and args.llm):
        parser.error("the row 'pretrained' needs --encoder and --llm")
    torch.set_num_threads(args.threads)
    for seed in args.seeds:
        for row in rows:
            asked = dict(row=row, seed=seed, settings=args.set)
            if not any(same(entry, asked, KEY) for entry in read_entries(args.out)):
                keep_entry(args.out, run_row(args, row, seed), KEY)


if __name__ == "__main__":
    main()
