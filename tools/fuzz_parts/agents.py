"""Checkpoints, settings and lists of questions."""

import contextlib
import io
import json
import re
import shutil
import struct
from pathlib import Path

from vlm_vla import cli
from vlm_vla.agent import ChangeAgent, predict_rows
from vlm_vla.config import Config, parse_sets
from vlm_vla.model import create_model, quiet
from vlm_vla.nets.tiny import make_tiny_models
from vlm_vla.training.rundir import seal

from .annotations import INF, NAN, ROWS
from .world import (
    damage,
    mutation,
    write_pictures,
    write_rows,
)


def copied_agent(case):
    "A copy of the agent's checkpoint."
    return Path(shutil.copytree(case.world.agent_folder, case.home / "agent"))


def ask_agent(case, told):
    "Load the copy and ask it two questions."
    with quiet():
        agent = ChangeAgent.from_pretrained(case.home / "agent")
    for key, caption in case.rng.sample(sorted(case.world.answers), 2):
        true, p = case.world.answers[key, caption], case.world.by_key[key]
        found = agent.act(p.a, p.b, caption)
        for name in ("cx", "cy", "scale", "change"):
            if abs(getattr(found, name) - getattr(true, name)) > 1e-5:
                return "silent wrong", f"{name} {getattr(found, name)}, was {getattr(true, name)}"
    return "right", ""


@mutation("checkpoints")
def damaged_checkpoint(case):
    "A file of the checkpoint has flipped bits, is cut, or is gone."
    folder = copied_agent(case)
    file = case.rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    if case.rng.random() < 0.15:
        file.unlink()
        case.what = f"{file.name} removed"
    else:
        data, case.what = damage(case.rng, file.read_bytes())
        file.write_bytes(data)
        case.what += f" in {file.name}"
    return ask_agent


@mutation("checkpoints")
def other_weights(case):
    "A weight of head or adapter is another, still a number: the seal does not fit."
    folder = copied_agent(case)
    name = case.rng.choice(("head.safetensors", "adapter/adapter_model.safetensors"))
    data = bytearray((folder / name).read_bytes())
    at = 4 * case.rng.randrange(len(data) // 8, len(data) // 4 - 1) + 2
    data[at : at + 2] = struct.pack("<e", 9.0)
    (folder / name).write_bytes(bytes(data))
    case.what = f"{name} at {at}"
    return ask_agent


JSON_FAULTS = (
    "",
    "{",
    "[]",
    "null",
    "5",
    '{"a": 1}',
    "[" * 100_000,
    "\xff\xfe",
    "{\x00}",
    "1" * 6000,
)


@mutation("checkpoints")
def strange_json(case):
    "A JSON file of the checkpoint, sealed again or not, holds something else."
    folder = copied_agent(case)
    files = ("agent.json", "config.json", "adapter/adapter_config.json", "training/files.json")
    name, text = case.rng.choice(files), case.rng.choice(JSON_FAULTS)
    (folder / name).write_bytes(text.encode("latin-1"))
    sealed = case.rng.random() < 0.5 and name != "training/files.json"
    if sealed:
        (folder / "training/files.json").unlink()
        seal(folder)
    case.what = f"{name} is {text[:10]!r}{', sealed' if sealed else ''}"
    return ask_agent


@mutation("checkpoints")
def foreign_settings(case):
    "A checkpoint brings permissions and places of another machine: they do not count here."
    folder = copied_agent(case)
    path, evil = folder / "config.json", case.home / "evil"
    name, value = case.rng.choice(
        (("ALLOW_DOWNLOAD", True), ("OUTPUT_DIR", str(evil)), ("CACHE_DIR", str(evil)))
    )
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    (folder / "training/files.json").unlink()
    seal(folder)
    case.what = f"{name}={value!r}"

    def run(case, told):
        outcome = ask_agent(case, told)
        with quiet():
            config = ChangeAgent.from_pretrained(folder).config
        taken = getattr(config, name) == value
        return ("silent wrong", f"{name} is taken from the checkpoint") if taken else outcome

    return run


@mutation("checkpoints")
def other_base(case):
    """The base models are others than in training: the same shape with other weights, damaged, or
    gone."""
    folder, kind = copied_agent(case), case.rng.choice(("clip", "llm"))
    models = Path(shutil.copytree(case.world.home / "models", case.home / "models"))
    config = json.loads((folder / "config.json").read_text())
    moved = {k: str(models / n) for k, n in (("CLIP_PATH", "clip"), ("LLM_PATH", "llm"))}
    (folder / "config.json").write_text(json.dumps({**config, **moved}))
    (folder / "training/files.json").unlink()
    seal(folder)
    file = case.rng.choice(
        sorted(p for p in (models / kind).glob("*") if "generation" not in p.name)
    )
    if case.rng.random() < 0.4:
        file = models / kind / "model.safetensors"
        with quiet():
            make_tiny_models(case.home / "others", seed=1)
        shutil.copy(case.home / "others" / kind / file.name, file)
        case.what = f"{kind} of another seed"
    elif file.name == "tokenizer.json" or file.suffix != ".safetensors":
        text = case.rng.choice(JSON_FAULTS)
        file.write_bytes(text.encode("latin-1"))
        case.what = f"{kind}/{file.name} is {text[:10]!r}"
    else:
        data, case.what = damage(case.rng, file.read_bytes())
        file.write_bytes(data)
        case.what += f" in {kind}/{file.name}"
    return ask_agent


def typed(case):
    "(name, declaration) of a setting."
    name = case.rng.choice(sorted(Config._settings))
    return name, Config._settings[name]


def as_text(value):
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else json.dumps(value)
        if isinstance(value, dict)
        else str(value)
    )


@mutation("settings")
def right_setting(case):
    "A value that a setting may have, typed or in a file, is what it becomes."
    name, s = typed(case)
    unset = (6, -1) if s.items is int else "some/place"  # for a setting that is None
    base = s.default if s.default is not None else unset
    if s.choices:
        value = case.rng.choice([c for c in s.choices])
    elif s.type in (int, float):
        value = s.type(s.high if s.high is not None else (s.low or 0) + case.rng.randint(1, 5))
    else:
        value = not base if s.type is bool else base
    if s.type is str and not s.choices:
        value = case.rng.choice(("x y", "a=b", "été", value or "run"))
    case.what, case.promise = f"{name}={value!r}", True

    def run(case, told):
        by_set = name != "IMPORTS"  # which --set refuses in favour of --import
        if case.rng.random() < 0.5 and by_set:
            found = Config(**parse_sets([f"{name}={as_text(value)}"]))
        else:
            file = case.home / "c.json"
            file.write_text(json.dumps({name: value}), encoding="utf-8")
            found = Config.from_json(file)
        got = getattr(found, name)
        return (
            ("right", "")
            if got == value and type(got) is type(value)
            else ("silent wrong", f"{got!r}")
        )

    return run


@mutation("settings")
def wrong_setting(case):
    "A value that a setting cannot have, or a name that is none."
    name, s = typed(case)
    wrong = ["nonsense!"] if s.choices or s.type in (int, float, bool) else []
    if s.type in (int, float) and not s.choices:
        wrong += ["nan", "", "8,5", "0x10", "--1", "1e999x"]
        wrong += [str(s.low - 1)] if s.low is not None else []
        wrong += [str(s.high + 1)] if s.high is not None else []
    if s.type is dict:
        wrong += ["{", "[]", "5", '{"a"}', '{"nonsense": "x"}', "[" * 100_000]
    name, text = (name, case.rng.choice(wrong)) if wrong else (name[:-1] + "ZZ", "1")
    case.what, case.must = f"{name}={text[:20]}", (name, "setting")

    def run(case, told):
        found = parse_sets([f"{name}={text}"])
        return "silent wrong", f"taken as {Config(**found).to_dict()[name]!r}"

    return run


@mutation("settings")
def strange_settings_file(case):
    "A file of settings that is none."
    text = case.rng.choice(
        (
            *JSON_FAULTS,
            '{"BATCH_SIZE": "8"}',
            '{"BATCH_SIZE": 8.5}',
            '{"batch_size": 8}',
            '{"LEARNING_RATE": NaN}',
            '{"TILES": true}',
            '{"RUN_NAME": 5}',
            "\xef\xbb\xbf{",
            '{"CLIP_PATH": null}',
            '{"LORA_TARGET_MODULES": [1, 2]}',
        )
    )
    file, case.what = case.home / "settings.json", text[:30]
    case.must = ("settings.json", "no setting", *Config._settings)
    file.write_bytes(text.encode("latin-1"))

    def run(case, told):
        found = Config.from_json(file)
        return "silent wrong", f"taken as {found}"

    return run


MATTER = (
    "TILES=2 IMAGE_SIZE=32 FUSION=concat TEXT_POOLING=first VISION_FEATURES=pooled"
    " CLIP_PATH=/nowhere LLM_PATH=/nowhere MAX_TEXT_LENGTH=4 POINTER_DIM=16 LORA_R=4"
    " DEVICE=nonsense"
)


@mutation("settings")
def predict_with_setting(case):
    "A setting typed for a prediction is used, or refused, or named."
    text, p = case.rng.choice(MATTER.split()), case.world.pairs[0]
    write_pictures(case.data, [p])

    argv = [
        case.world.agent_folder,
        "--t1",
        case.data / f"A/{p.key}.png",
        "--t2",
        case.data / f"B/{p.key}.png",
        "--caption",
        p.captions[0],
        "--out",
        case.home / "a.png",
        "--set",
        text,
    ]
    case.what, name = text, text.split("=")[0]

    def run(case, told):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.predict([str(a) for a in argv])
        said = name in out.getvalue() + err.getvalue() + " ".join(str(w.message) for w in told)
        if code:
            return ("clear" if said else "unclear"), err.getvalue()[:300]
        true = case.world.answers[p.key, p.captions[0]]
        used = abs(json.loads(out.getvalue().splitlines()[-1])["cx"] - true.cx) > 1e-5
        return ("right", "") if said or used else ("silent wrong", "not used, nothing said")

    return run


STRANGE_TEXT = ("\ud800", "", "  ", "x " * 3000, None, 5, NAN, [], {}, True)
STRANGE_PATH = (
    "\ud800.png",
    "x" * 5000,
    None,
    5,
    NAN,
    [],
    {},
    "none.png",
    ".",
    "\0",
    "",
    True,
    "job.jsonl",
    INF,
)


def strict(text):
    "Decode a line of JSON that has to be valid everywhere."

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    text.encode("utf-8")
    return json.loads(text, parse_constant=refuse)


def job(case):
    "Pictures, and a list of questions with the sentences that they ask."
    write_pictures(case.data, case.world.pairs)
    chosen = case.rng.sample(sorted(case.world.answers), 6)
    return [dict(t1=f"A/{k}.png", t2=f"B/{k}.png", caption=c) for k, c in chosen], chosen


def answered(case, rows, chosen, bad, style, tear=False):
    "Run a list of questions, twice; (outcome, detail)."
    case.what += style
    file, out = write_rows(case.data / f"job{style}", rows), case.home / "out.jsonl"
    predict_rows(case.world.agent, file, out, batch_size=4, progress=False)
    first = out.read_bytes()
    lines = first.decode("utf-8").splitlines()
    if len(lines) != len(rows):
        return "silent wrong", f"{len(lines)} lines for {len(rows)} rows"
    for i, (line, ask) in enumerate(zip(lines, chosen)):
        try:
            found, true = strict(line), case.world.answers[ask]
        except ValueError as e:
            return "silent wrong", str(e)
        if ("error" in found) != (i in bad):
            return "silent wrong", f"row {i}: {line[:200]}"
        if i not in bad and abs(found["cx"] - true.cx) + abs(found["change"] - true.change) > 1e-4:
            return "silent wrong", f"row {i}: {line[:200]}, expected {true}"
    if tear:
        out.write_bytes(first[: case.rng.randrange(len(first))])
    predict_rows(case.world.agent, file, out, batch_size=4, progress=False)
    again = [json.loads(x) for x in out.read_text("utf-8").splitlines()]
    same = len(again) == len(lines) and all(
        x["row"] == y["row"] and ("error" in x or abs(x["cx"] - y["cx"]) < 1e-4)
        for x, y in zip(again, map(json.loads, lines))
    )
    if not same:
        return "silent wrong", "resumed with another result"
    return ("counted skip" if bad else "right"), ""


@mutation("jobs")
def strange_question(case):
    "A question has a value that cannot be used: that row has an error, the others their answers."
    rows, chosen = job(case)
    i, column = case.rng.randrange(6), case.rng.choice(("t1", "t2", "caption"))
    value = case.rng.choice(STRANGE_TEXT if column == "caption" else STRANGE_PATH)
    rows[i][column] = value
    text = isinstance(value, str) and not re.search("[\ud800\0]", value)
    style = case.rng.choice((".jsonl", ".json", ".csv")[: 3 if text else 2])
    case.what, case.promise = f"row {i} {column} {value!r:.30} {style}", True
    return lambda case, told: answered(case, rows, chosen, {i}, style)


@mutation("jobs")
def strange_line(case):
    "Something else stands in place of a question, or a column is missing there."
    rows, chosen = job(case)
    i = case.rng.randrange(1, 6)
    rows[i] = case.rng.choice((*ROWS, {"t1": rows[i]["t1"], "t2": rows[i]["t2"]}))
    case.what, case.promise = f"row {i} is {rows[i]!r:.40}", True
    return lambda case, told: answered(
        case, rows, chosen, {i}, case.rng.choice((".jsonl", ".json"))
    )


@mutation("jobs")
def torn_answers(case):
    "The file of answers was cut off: the rest is answered, with the same result."
    rows, chosen = job(case)
    case.what, case.promise = "torn", True
    style = case.rng.choice((".jsonl", ".json", ".csv"))
    return lambda case, told: answered(case, rows, chosen, set(), style, tear=True)


@mutation("jobs")
def other_answers(case):
    "The file of answers is damaged or another's: refused by name, and left as it is."
    rows, chosen = job(case)
    file, out = write_rows(case.data / "job.jsonl", rows), case.home / "out.jsonl"
    predict_rows(case.world.agent, file, out, progress=False)
    lines = out.read_bytes().splitlines(keepends=True)
    case.what = case.rng.choice(("order", "text", "other question", "other agent", "more"))
    if case.what == "order":
        lines[0], lines[1] = lines[1], lines[0]
    elif case.what == "text":
        lines[0] = b"this is a diary\n"
    elif case.what == "other question":
        lines[2] = lines[2].replace(b"caption", b"Caption")
    elif case.what == "more":
        lines.append(lines[-1])
    agent = case.world.agent
    if case.what == "other agent":
        with quiet():
            folder = create_model(case.world.config.replace(SEED=5)).save_pretrained(
                case.home / "b"
            )
            agent = ChangeAgent.from_pretrained(folder)
        del lines[3:]
    out.write_bytes(b"".join(lines))

    def run(case, told):
        predict_rows(agent, file, out, progress=False)
        return "silent wrong", "went on with answers that are not its own"

    return run


@mutation("jobs")
def job_file(case):
    "A list of questions in another encoding or with other columns, empty, or none at all."
    rows, chosen = job(case)
    case.what = case.rng.choice(
        ("utf-16", "cp1252", "utf-8-sig", "names", "empty", "deep", "no column", "cut")
    )
    style = case.rng.choice((".csv", ".jsonl"))
    if case.what in ("empty", "deep", "cut"):
        file = write_rows(case.data / f"job{style}", rows)
        data = file.read_bytes()
        file.write_bytes(
            {"empty": b"", "deep": b"[" * 100_000, "cut": data[: len(data) // 9]}[case.what]
        )
        case.must = ("job", "line")

        def run(case, told):
            counts = predict_rows(case.world.agent, file, case.home / "o.jsonl", progress=False)
            if counts["failed"]:
                return "counted skip", ""
            whole = case.what == "cut" and counts["answered"]  # cut just behind a row
            return ("right", "") if whole else ("silent wrong", f"{counts}")

        return run
    if case.what == "no column":
        rows = [{k: v for k, v in r.items() if k != "t2"} for r in rows]
    if case.what == "names":
        rows = [dict(Before=r["t1"], After=r["t2"], Sentence=r["caption"]) for r in rows]
    encoding = case.what if case.what[:2] in ("ut", "cp") else "utf-8"

    def run(case, told):
        text = write_rows(case.data / f"job{style}", rows).read_text("utf-8")
        write = (case.data / f"job{style}").write_bytes
        write(text.encode(encoding))
        file, out = case.data / f"job{style}", case.home / "o.jsonl"
        counts = predict_rows(case.world.agent, file, out, progress=False)
        found = [strict(x) for x in out.read_text("utf-8").splitlines()]
        for line, ask in zip(found, chosen):
            if "error" not in line and abs(line["cx"] - case.world.answers[ask].cx) > 1e-4:
                return "silent wrong", str(line)
        if case.what == "no column" or (len(found) != 6 and counts["answered"]):
            return "silent wrong", f"{counts}"
        return ("counted skip" if counts["failed"] else "right"), f"{counts}"

    return run
