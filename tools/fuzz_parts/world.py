"""What is true: ten known pairs and a tiny agent; how files are written, and how an outcome is
judged."""

import contextlib
import csv
import io
import json
import os
import re
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vlm_vla.agent import ChangeAgent
from vlm_vla.config import Config
from vlm_vla.data.images import BadImage
from vlm_vla.data.sources import open_pairs
from vlm_vla.dataset import LevirCCActionDataset
from vlm_vla.model import create_model, quiet
from vlm_vla.nets.features import with_features
from vlm_vla.nets.tiny import make_tiny_models
from vlm_vla.training.rundir import seal

SIDE, CHANGED, ALL = 64, 8, 10  # pixels; pairs with a change; pairs
WORDS = "first second third fourth fifth sixth seventh eighth".split()
STILL = ("nothing has changed", "the two scenes are the same")
DATA = ("annotations", "pictures", "masks", "rowmasks", "tables")
SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
SETTINGS = dict(IMAGE_SIZE=SIDE, TILES=1, DEVICE="cpu", NUM_WORKERS=0, BATCH_SIZE=4)
MUTATIONS = []


@dataclass(frozen=True)
class Pair:
    "One known pair."

    key: str
    split: str
    captions: tuple
    box: tuple  # (x1, y1, x2, y2), or None
    a: np.ndarray  # (64, 64, 3) uint8
    b: np.ndarray

    @property
    def mask(self):  # (64, 64) bool
        out = np.zeros((SIDE, SIDE), bool)
        if self.box:
            out[self.box[1] : self.box[3], self.box[0] : self.box[2]] = True
        return out

    def rows(self):
        "An annotation row for each sentence."
        return [
            dict(
                id=self.key,
                image1=f"A/{self.key}.png",
                image2=f"B/{self.key}.png",
                caption=c,
                bbox=list(self.box) if self.box else None,
                split=self.split,
                changed=self.box is not None,
            )
            for c in self.captions
        ]


def make_pair(i):
    "The known pair of a number."
    rng = np.random.default_rng(i)
    small = rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    a, b = (np.asarray(Image.fromarray(x).resize((SIDE, SIDE))) for x in small)
    x, y, w, h = 4 * rng.integers([5, 5, 1, 1], [11, 11, 5, 5])
    box = tuple(int(v) for v in (x, y, x + w, y + h)) if i < CHANGED else None
    told = tuple(f"a {n} house is built near the café" for n in (f"{WORDS[i % 8]}", "new"))
    return Pair(f"tile_{i:02d}", SPLITS[i], told if box else STILL, box, a, b)


@contextlib.contextmanager
def silent():
    "Nothing on the screen."
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


class World:
    "What all mutations start from; made once."

    def __init__(self, home):
        self.home = Path(home) / f"world-{os.getpid()}"
        self.home.mkdir(parents=True)
        self.pairs = [make_pair(i) for i in range(ALL)]
        self.by_key = {p.key: p for p in self.pairs}
        self.owner = {
            x.tobytes(): (p.key, s) for p in self.pairs for s, x in (("a", p.a), ("b", p.b))
        }
        self.data = self.home / "data"
        write_pictures(self.data, self.pairs)
        write_rows(self.data / "annotations.json", [r for p in self.pairs for r in p.rows()])
        with quiet(), silent():
            self.models = make_tiny_models(self.home / "models")
            self.config = self.settings(self.home, DATASET_PATH=self.data, **self.models)
            model = create_model(self.config)
            self.agent_folder = self.home / "agent"
            model.save_pretrained(self.agent_folder)
            (self.agent_folder / "training").mkdir()
            seal(self.agent_folder)
            self.agent = ChangeAgent.from_pretrained(self.agent_folder)
            self.answers = {
                (p.key, c): self.agent.act(p.a, p.b, c) for p in self.pairs for c in p.captions
            }
            pairs = open_pairs(self.data, config=self.config)  # fills the caches
            self.features = features_of(pairs, self.agent.model, self.config)
        seen, counted, _ = look(self, pairs)
        assert not counted and all(seen.get(k) in v for k, v in self.truth().items()), "the base"

    def settings(self, home, **more):
        "The settings of a small agent that works in a folder."
        places = dict(OUTPUT_DIR=home / "out", CACHE_DIR=home / "cache")
        return Config.preset("tiny", **{**SETTINGS, **places, **more})

    def truth(self):
        "(pair, sentence) -> list of what may be read: (split, changed, box)."
        return {
            (p.key, c): [(p.split, p.box is not None, p.box)]
            for p in self.pairs
            for c in p.captions
        }


def features_of(pairs, model, config):
    "All cached features, in the order of the pictures."
    found = with_features(
        LevirCCActionDataset("train", config=config, pairs=pairs), model, config, False
    )
    return np.stack([found.cache.row(i) for i in range(len(found.cache.rows))])


@dataclass
class Case:
    "One mutation at work."

    world: World
    home: Path
    rng: object
    kind: str
    truth: dict = None
    unknown: set = field(default_factory=set)  # pairs about which nothing can be known
    pictures: dict = field(default_factory=dict)  # (pair, "a" | "b") -> function of the pixels
    regions: dict = field(default_factory=dict)  # (pair, sentence) -> (64, 64) bool, if it is seen
    report: str = ""  # what was said about the data
    said: tuple = ()  # words that excuse another reading, when they are said
    must: tuple = ()  # words of which a refusal has to name one; (): any file, row or setting
    promise: bool = False  # no refusal is allowed
    what: str = ""  # for the reader

    def __post_init__(self):
        self.truth, self.data = self.world.truth(), self.home / "data"

    def row_list(self):
        "Annotation rows of all pairs."
        return [r for p in self.world.pairs for r in p.rows()]

    def gone(self, row):
        "A row that has to be left out."
        self.truth[row["id"], row["caption"]] = []

    def some(self, rows, most=3):
        "A few of the rows."
        return self.rng.sample(rows, self.rng.randint(1, most))


def mutation(kind):
    "Decorator: add a function of a `Case` to the table."

    def add(f):
        f.kind, f.name = kind, f.__name__.replace("_", " ").strip()
        MUTATIONS.append(f)
        return f

    return add


def write_pictures(folder, pairs, label=None):
    "Folders A and B, and label where masks are wanted: function of a pair -> array."
    for name in ("A", "B") + (("label",) if label else ()):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for p in pairs:
        for name, pixels in (("A", p.a), ("B", p.b)):
            Image.fromarray(pixels).save(folder / name / f"{p.key}.png", compress_level=1)
        if label and (m := label(p)) is not None:
            m = m if isinstance(m, Image.Image) else Image.fromarray(m)
            m.save(folder / "label" / f"{p.key}.png")


def write_rows(path, rows, encoding="utf-8", delimiter=",", end="\n"):
    "JSON, JSON Lines or CSV, by the suffix."
    path.parent.mkdir(parents=True, exist_ok=True)
    lone = bool(re.search(r"\\ud[89a-f]", json.dumps(rows)))  # no text file can hold it as it is
    if path.suffix == ".csv":
        text = csv_text(rows, delimiter, end)
    elif path.suffix == ".jsonl":
        text = "".join(json.dumps(r, ensure_ascii=lone) + end for r in rows)
    else:
        text = json.dumps(rows, ensure_ascii=lone, indent=1)
    path.write_bytes(text.encode(encoding, "surrogatepass"))
    return path


def csv_text(rows, delimiter=",", end="\n"):
    "Rows as a table; lists as JSON."
    out = io.StringIO()
    names = list(dict.fromkeys(k for r in rows for k in r))
    writer = csv.DictWriter(out, names, delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    for r in rows:
        cells = {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in r.items()}
        writer.writerow(cells)
    return out.getvalue()


def replace_bytes(path, data):
    "New contents for a file that may be a link."
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def encoded(pixels, form="PNG", **how):
    "A file's bytes."
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, form, **how)
    return out.getvalue()


def damage(rng, data):
    """(bytes, what was done): flipped bits, a cut, zeros, a doubled part, a foreign start, nothing
    left."""
    data, at = bytearray(data), rng.randrange(max(1, len(data)))
    way = rng.choice(("flip", "flip", "flip", "cut", "zeros", "insert", "start", "empty"))
    if way == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del data[at:]
    elif way == "zeros":
        n = min(len(data) - at, rng.choice((4, 64, 512)))
        same = data[at : at + n] == bytes(n)
        data[at : at + n] = b"\1" * n if same else bytes(n)
    elif way == "insert":
        data[at:at] = data[at : at + 16] or b"0"
    elif way == "start":
        data[:8] = b"<html>\r\n"
    else:
        data.clear()
    return bytes(data), f"{way} at {at:,}"


def look(world, pairs, case=None):
    "({(pair, sentence): (split, changed, box)}, things that were counted, the report's text)."
    pairs.verify()
    seen, pictures = {}, case.pictures if case else {}
    for s in pairs.samples:
        try:
            found = [np.asarray(r.open()) for r in (s.pair.t1, s.pair.t2)]
        except BadImage:
            continue  # named by verify
        keys = [world.owner.get(x.tobytes(), (None, None)) for x in found]
        key = keys[0][0] or keys[1][0]
        for side, x, (k, true) in zip("ab", found, keys):
            test = pictures.get((key, side))
            fine = test(x) if test else (k, true) == (key, side)
            if key is None or not fine:
                key = f"wrong pixels of {s.pair_id}, date {side}"
        region = case.regions.get((key, s.caption)) if case and s.changed else None
        if region is not None and not np.array_equal(pairs.region_mask(s), region):
            key = f"wrong region of {s.pair_id}"
        seen[key, s.caption] = (s.split if hasattr(s, "split") else s.pair.split, s.changed, s.box)
    r = pairs.report()
    counted = len(r.bad) + len(r.unmatched) + sum(r.left_out.values())
    return seen, counted, str(r)


def agrees(value, allowed):
    "Is a reading one of those that are allowed?"

    def same_box(a, b):
        return a is b or (a and b and np.allclose(a, b, atol=0.02))

    return any(value[:2] == w[:2] and bool(same_box(value[2], w[2])) for w in allowed)


def compare(case, seen, counted, said):
    "(outcome, detail) of a reading."
    wrong = [
        f"{k}: {v}, expected {' or '.join(map(str, case.truth.get(k, []))) or 'nothing'}"
        for k, v in seen.items()
        if k[0] not in case.unknown and not agrees(v, case.truth.get(k, []))
    ]
    lost = {k[0] for k, v in case.truth.items() if k not in seen and k[0] not in case.unknown}
    lost = {k for k in lost if k not in case.unknown}
    doubt = next((w for w in case.said if w.lower() in said.lower()), None)
    if wrong and not doubt:
        return "silent wrong", wrong[0]
    if len(lost) > counted and not doubt:
        return "silent wrong", f"{len(lost)} pairs have lost a sentence, {counted} are counted"
    if wrong or doubt and lost:
        return "clear", f"says {doubt!r}"
    if lost and case.promise:
        return "silent wrong", f"{len(lost)} pairs have lost a sentence that is there"
    return ("counted skip", f"{counted} counted") if lost else ("right", "")


def must_refuse(case, told):
    "Nothing can be read: that is said by an exception, or every row is counted."
    outcome, detail = read_data(case, told)
    return (
        ("silent wrong", "opened as if nothing were there")
        if outcome == "right"
        else (outcome, detail)
    )


def names_something(text, case):
    "Does a message name what is wrong: a file, a row or a setting?"
    if case.must:
        return any(w in text for w in case.must)
    folders = (case.home, case.world.home)
    words = {p.name for f in folders for p in f.rglob("*") if p.suffix}
    if case.kind == "tables":
        words |= {str(case.data), "gone.arrow"}
    elif case.kind not in DATA:
        words |= {"there is no setting", *Config._settings}
    row = re.search(r"\b(line|row|entry) '?\w+(?! column)\b", text)
    return any(w in text for w in words) or bool(row)


def judge_error(case, e):
    "(outcome, detail) of an exception."
    where = traceback.extract_tb(e.__traceback__)[-1]
    detail = f"{type(e).__name__}: {e} [{Path(where.filename).name}:{where.lineno}]"
    if os.environ.get("FUZZ_TRACEBACK"):
        detail += "\n" + "".join(traceback.format_exception(e))
    told = (TypeError, AttributeError) if case.kind in ("settings", "checkpoints") else ()
    expected = (ValueError, OSError, *told)
    if not isinstance(e, expected) or case.promise:
        return "traceback", detail[:2000]
    return ("clear" if names_something(str(e), case) else "unclear"), detail[:600]


def judge(case, mutate):
    "(outcome, detail) of one mutation."
    with silent(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run = mutate(case) or read_data
        try:
            outcome, detail = run(case, told)
        except Exception as e:
            outcome, detail = judge_error(case, e)
    return outcome, f"{case.what}: {detail}"


def read_data(case, told, **settings):
    "Open the mutated data and compare."
    most = case.rng.choice((1.0, 1.0, 1.0, 0.01))
    config = case.world.settings(case.home, MAX_BAD_FRACTION=most, **settings)
    pairs = open_pairs(case.data, config=config)
    seen, counted, text = look(case.world, pairs, case)
    case.report = text + " ".join(str(w.message) for w in told)
    return compare(case, seen, counted, case.report)
