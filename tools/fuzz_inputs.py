"""The inputs of `fuzz.py`: ten known pairs and a tiny agent, the ways to damage them, and how an outcome is judged."""

import contextlib, csv, io, json, os, re, shutil, struct, traceback, unicodedata, warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vlm_vla import cli
from vlm_vla.agent import ChangeAgent, as_image, predict_rows
from vlm_vla.config import Config, parse_sets
from vlm_vla.dataset import LevirCCActionDataset
from vlm_vla.features import with_features
from vlm_vla.images import BadImage
from vlm_vla.model import create_model, quiet
from vlm_vla.rundir import seal
from vlm_vla.sources import open_pairs
from vlm_vla.tiny import make_tiny_models

SIDE, CHANGED, ALL = 64, 8, 10  # pixels; pairs with a change; pairs
WORDS = "first second third fourth fifth sixth seventh eighth".split()
STILL = ("nothing has changed", "the two scenes are the same")
DATA = ("annotations", "pictures", "masks", "tables")
SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
SETTINGS = dict(IMAGE_SIZE=SIDE, TILES=1, DEVICE="cpu", NUM_WORKERS=0, BATCH_SIZE=4)
MUTATIONS = []


# ---------------------------------------------------------------- what is true


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
    return np.array(found.cache.array)


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


# ---------------------------------------------------------------- writing


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


def damage(rng, data):
    "(bytes, what was done): flipped bits, a cut, zeros, a doubled part, a foreign start, nothing left."
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


# ---------------------------------------------------------------- judging


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
        seen[key, s.caption] = (s.split if hasattr(s, "split") else s.pair.split, s.changed, s.box)
    r = pairs.report()
    counted = len(r.bad) + len(r.unmatched) + sum(r.left_out.values())
    return seen, counted, str(r)


def agrees(value, allowed):
    "Is a reading one of those that are allowed?"
    same_box = lambda a, b: a is b or (a and b and np.allclose(a, b, atol=0.02))
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
        words |= set(Config._settings)
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
    return compare(case, seen, counted, text + " ".join(str(w.message) for w in told))


# ---------------------------------------------------------------- annotations

STYLES = ("annotations.json", "annotations.jsonl", "annotations.csv")
NAMES = dict(  # column -> what people call it
    image1=("image1", "image_a", "img1", "t1", "before", "A", "pre_image", "Image-1", "imageA"),
    image2=("image2", "image_b", "img2", "t2", "after", "B", "post_image", "Image-2", "imageB"),
    caption=("caption", "sentence", "text", "Caption", "change_caption", "description"),
    bbox=("bbox", "box", "BBox", "bounding_box", "boxes"),
    split=("split", "Split", "subset", "partition"),
    changed=("changed", "changeflag", "is_changed", "has_change"),
    id=("id", "pair_id", "ID"),
)
CORNERS = "x1 y1 x2 y2;x_min y_min x_max y_max;xMin yMin xMax yMax;Xmin Ymin Xmax Ymax;X1 Y1 X2 Y2;bbox_x1 bbox_y1 bbox_x2 bbox_y2;left top right bottom"


def annotated(case, rows, name=None, **how):
    "Pictures and rows; the file."
    write_pictures(case.data, case.world.pairs)
    name = name or case.rng.choice(STYLES)
    case.what += f" {name}"
    return write_rows(case.data / name, rows, **how)


@mutation("annotations")
def other_columns(case):
    "The same rows under other column names; the box in one column or in four."
    chosen = {k: case.rng.choice(v) for k, v in NAMES.items()}
    corners = case.rng.choice([None, *CORNERS.split(";")])
    case.what = " ".join(chosen.values()) + (f" {corners}" if corners else "")
    rows = []
    for r in case.row_list():
        row = {chosen[k]: v for k, v in r.items()}
        if corners:
            row.pop(chosen["bbox"])
            row.update(zip(corners.split(), r["bbox"] or [None] * 4))
        rows.append(row)
    annotated(case, rows)


@mutation("annotations")
def other_encoding(case):
    "The same rows in another encoding, with another separator or line end."
    encoding = case.rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "utf-8"))
    how = dict(delimiter=case.rng.choice(",;\t"), end=case.rng.choice(("\n", "\r\n", "\n\n")))
    case.what = f"{encoding} {how}"
    annotated(case, case.row_list(), encoding=encoding, **how)


@mutation("annotations")
def other_layout(case):
    "JSON with its rows in another arrangement."
    rows = case.row_list()
    several = [
        dict(r[0], caption=[x["caption"] for x in r], bbox=r[0]["bbox"])
        for r in (p.rows() for p in case.world.pairs)
    ]
    forms = dict(
        wrapped={"info": {"year": 2024}, "annotations": rows},
        keyed={p.key: dict(several[i]) for i, p in enumerate(case.world.pairs)},
        lists=several,
        raw=[dict(r, caption={"raw": r["caption"], "tokens": r["caption"].split()}) for r in rows],
        nested=[dict(s, caption=[{"raw": c} for c in s["caption"]]) for s in several],
    )
    case.what = case.rng.choice(list(forms))
    annotated(case, forms[case.what], "annotations.json")


def numpy_text(b):
    return str(np.array(b, float))


BOXES = dict(  # way to write a box -> (function of x1, y1, x2, y2; other fields of the row)
    floats=(lambda *b: [float(v) for v in b], {}),
    names=(lambda *b: dict(zip(("x1", "y1", "x2", "y2"), b)), {}),
    sizes=(lambda a, b, c, d: dict(x=a, y=b, width=c - a, height=d - b), {}),
    xywh=(lambda a, b, c, d: [a, b, c - a, d - b], dict(bbox_format="xywh")),
    fraction=(lambda *b: [v / SIDE for v in b], dict(bbox_units="fraction")),
    percent=(lambda *b: [v * 100 / SIDE for v in b], dict(bbox_units="percent")),
    thousandth=(lambda *b: [v * 1000 / SIDE for v in b], dict(bbox_units="thousandth")),
    list_of_one=(lambda *b: [list(b)], {}),
    spaces=(lambda *b: " ".join(map(str, b)), {}),
    semicolons=(lambda *b: ";".join(map(str, b)), {}),
    round_brackets=(lambda *b: str(tuple(b)), {}),
    numpy=(lambda *b: numpy_text(b), {}),
    numpy_many=(lambda *b: f"[{numpy_text(b)}]", {}),
    decimal_comma=(lambda *b: ";".join(f"{v},0" for v in b), {}),
)


@mutation("annotations")
def other_boxes(case):
    "The same boxes, written in another way that says what it is."
    way = case.rng.choice(list(BOXES))
    write, more = BOXES[way]
    rows = [dict(r, bbox=r["bbox"] and write(*r["bbox"]), **more) for r in case.row_list()]
    case.what = way
    is_text = isinstance(write(1, 2, 3, 4), str)
    annotated(case, rows, "annotations.csv" if is_text else None)


@mutation("annotations")
def label_studio(case):
    "Percent in x, y, width, height, with the size of the picture beside them."
    rows, size = [], dict(original_width=SIDE, original_height=SIDE)
    for r in case.row_list():
        box = r.pop("bbox")
        place = BOXES["sizes"][0](*(v * 100 / SIDE for v in box)) if box else {}
        rows.append({**r, **dict.fromkeys(("x", "y", "width", "height")), **place, **size})
    annotated(case, rows)


@mutation("annotations")
def class_column(case):
    "A column named as masks are, that holds classes."
    name = case.rng.choice(("label", "mask", "gt", "labels"))
    value = case.rng.choice(("building", "house", 1, "0", "new building"))
    case.what = f"{name}={value!r}"
    annotated(case, [{**r, name: value} for r in case.row_list()])


@mutation("annotations")
def untold_unit(case):
    "Boxes of another unit or order, and nothing in the data that says so."
    way = case.rng.choice(("fraction", "xywh", "thousandth"))
    rows = [dict(r, bbox=r["bbox"] and BOXES[way][0](*r["bbox"])) for r in case.row_list()]
    case.what, case.said = way, ("BBOX_", "fraction", "thousandth", "xywh")
    annotated(case, rows)


@mutation("annotations")
def over_the_edge(case):
    "A box that rounding took over the edge."
    rows = case.row_list()
    for r in case.some([r for r in rows if r["bbox"]]):
        x1, y1, x2, y2 = r["bbox"]
        over = case.rng.choice((0.3, 0.5, 1.0))
        r["bbox"] = [-over, y1, x2, SIDE + over]
        told = (r["split"], True)
        case.truth[r["id"], r["caption"]] = [(*told, (0, y1, x2, SIDE))]
    annotated(case, rows)


@mutation("annotations")
def other_names(case):
    "Pictures with dots, blanks, accents in either form, other letters; paths written in another way."
    form = case.rng.choice(("tile.{}.5", "s {}", "café {}", "村 {}", "Tile{}_A", "x#{}", "a,b {}"))
    if "é" in form:
        on_disk, in_file = case.rng.sample(("NFC", "NFD"), 2)
    else:
        on_disk = in_file = "NFC"
    way = case.rng.choice(("{}/{}", "./{}/{}", "{}\\{}", str(case.data / "{}/{}"), "{}/../{0}/{}"))
    way = way.replace("{}/../{0}/{}", "{0}/../{0}/{1}")
    suffix = case.rng.choice((".png", ".PNG"))
    case.what, rows = f"{form} {way} {suffix} {on_disk}/{in_file}", []
    for p in case.world.pairs:
        name = form.format(p.key[-2:]) + suffix
        for part, pixels in (("A", p.a), ("B", p.b)):
            file = case.data / part / unicodedata.normalize(on_disk, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        told = unicodedata.normalize(in_file, name)
        paths = dict(image1=way.format("A", told), image2=way.format("B", told))
        rows += [{**r, **paths} for r in p.rows()]
    write_rows(case.data / case.rng.choice(STYLES), rows)


@mutation("annotations")
def other_splits(case):
    "Splits in other words, in files of their own, or in the names of the files."
    way = case.rng.choice(("words", "lists", "files"))
    case.what, rows = way, case.row_list()
    said = dict(train=("Training", "TRAIN"), val=("validation", "dev"), test=("testing", "Test"))
    if way == "words":
        annotated(case, [dict(r, split=case.rng.choice(said[r["split"]])) for r in rows])
        return
    write_pictures(case.data, case.world.pairs)
    bare = [({k: v for k, v in r.items() if k != "split"}, r["split"]) for r in rows]
    for split in said:
        if way == "files":
            write_rows(case.data / f"{split}.jsonl", [r for r, s in bare if s == split])
            continue
        (case.data / "list").mkdir(exist_ok=True)
        mine = [f"{p.key}.png\n" for p in case.world.pairs if p.split == split]
        (case.data / f"list/{split}.txt").write_text("".join(mine))
        case.said = ("list/", "list folder", "train.txt")
    if way == "lists":
        write_rows(case.data / "annotations.jsonl", [r for r, _ in bare])


@mutation("annotations")
def lost_column(case):
    "Some rows lack a column, or have it misspelt."
    column, rows = case.rng.choice(("caption", "image1", "image2")), case.row_list()
    bad = case.some(rows, 10)
    for r in bad:
        case.gone(r)
    how = case.rng.choice((None, column[:-2] + column[-1], "note"))
    case.what = f"{len(bad)} rows with {how} for {column}"
    out = [
        {how if k == column else k: v for k, v in r.items() if k != column or how}
        if r in bad
        else r
        for r in rows
    ]
    annotated(case, out, case.rng.choice(STYLES[:2]))


NAN, INF = float("nan"), float("inf")
NO_VALUES = dict(  # values that no row can be used with
    caption=(None, "", "   ", 5, NAN, {}, [], [None], True, "x " * 2000, "\n"),
    image1=("A/none.png", "", None, 5, "../out.png", "A", "A/\0.png", "A/" + "x" * 5000, [], NAN),
    image2=("B/\ud800.png", "//host/b.png", "B/tile_00", {}, True, "B/tile_00.png/", " "),
    bbox=(
        *([1, 2, 3], [1, 2, 3, 4, 5], "none of these", [20, 20, 10, 10], [1, 2, INF, 4], {"a": 1}),
        *([-30, -30, 9, 9], [9, 9, 300, 300], [9, 9, 9, 30], [NAN] * 4, [], None, NAN, 7, "", True),
        *([70, 70, 90, 90], [1, 2, [3], 4], [1, 2, "c", 4], [1, 2, None, 4], [1, 2, True, 4]),
    ),
    split=("trian", 5, ["train"], {"a": 1}, "train/val", True),
    changed=("maybe", 2, [], "changed?", {}, -1),
)


@mutation("annotations")
def bad_value(case):
    "Some rows have a value that cannot be used."
    rows = case.row_list()
    column = case.rng.choice(list(NO_VALUES))
    value = case.rng.choice(NO_VALUES[column])
    text = isinstance(value, str) and not re.search("[\ud800\0]", value)
    style = case.rng.choice(STYLES[: 3 if text else 2])
    for r in case.some(rows if column != "bbox" else [r for r in rows if r["bbox"]]):
        case.gone(r)
        r[column] = value
    case.what = f"{column} {value!r:.40}"
    annotated(case, rows, style)


@mutation("annotations")
def all_bad(case):
    "Every row has the same fault; masks or nothing lie beside them."
    column = case.rng.choice(("caption", "image1", "bbox", "split"))
    value = case.rng.choice(NO_VALUES[column][:3])
    case.what, case.must = f"every {column} is {value!r:.40}", ("annotations",)
    case.said, case.truth = ("annotations",), {k: [] for k in case.truth}
    write_pictures(case.data, case.world.pairs, case.rng.choice((None, moved_mask)))
    rows = [{**r, column: value} for r in case.row_list()]
    write_rows(case.data / case.rng.choice(STYLES[:2]), rows)


def moved_mask(p):
    "A mask that says something else than the box."
    return np.roll(p.mask, (-12, -8), (0, 1)).astype(np.uint8) * 255


@mutation("annotations")
def boxes_beside_masks(case):
    "Rows with boxes beside masks that say something else: the boxes count, or the file is named."
    rows = case.row_list()
    case.what, case.must = "masks beside", ("annotations",)
    write_pictures(case.data, case.world.pairs, moved_mask)
    path = write_rows(case.data / case.rng.choice(STYLES), rows)
    if case.rng.random() < 0.6:
        how = case.rng.choice(("utf-16", "cut", "latin-1"))
        text = path.read_text("utf-8")
        data = text.encode(how) if how != "cut" else text.encode()[: len(text) // 3]
        path.write_bytes(data)
        case.what += f", {how} {path.name}"
        if how == "cut":
            case.unknown = set(case.world.by_key)


ROWS = (None, 5, "text", [], [1], True, NAN, {}, {"a": 1}, [[]])


@mutation("annotations")
def strange_row(case):
    "Something else stands among the rows."
    rows, value = case.row_list(), case.rng.choice(ROWS)
    bad = case.some(rows)
    for r in bad:
        case.gone(r)
    case.what = f"{len(bad)} rows {value!r}"
    annotated(case, [value if r in bad else r for r in rows], case.rng.choice(STYLES[:2]))


@mutation("annotations")
def cut_file(case):
    "A file that ends too early: a row that is cut is named, whole rows before it are read."
    path = annotated(case, case.row_list(), end="\n")
    data = path.read_bytes()
    at = case.rng.randrange(1, len(data))
    path.write_bytes(data[:at])
    whole, case.what = data[:at].count(b"\n") - (path.suffix == ".csv"), f"at {at}{case.what}"
    rows = case.row_list()[max(0, whole) :] if path.suffix != ".json" else []
    case.unknown = {r["id"] for r in rows}


@mutation("annotations")
def bad_bytes(case):
    "Bytes in one row's sentence that are no text of the file's encoding."
    path = annotated(case, case.row_list())
    row = case.rng.choice(case.row_list())
    bad = case.rng.choice((b"\xff", b"\xe9", b"\x00", b"\xed\xa0\x80", b"\xf0\x9f"))
    own, data = row["caption"].encode(), path.read_bytes()
    at = data.index(own, data.index(row["id"].encode()))
    path.write_bytes(data[: at + 3] + bad + data[at + 3 :])
    case.unknown, case.what = {row["id"]}, f"{bad}{case.what}"


@mutation("annotations")
def strange_file(case):
    "A file that was meant to hold rows and holds none."
    deep = "[" * 100_000
    texts = (
        "",
        "[]",
        "{}",
        "null",
        "5",
        '"a"',
        deep,
        "[1" + "0" * 6000 + "]",
        "\ufeff",
        "[{}]",
        "\0" * 99,
    )
    head = "id,image1,image2,caption,bbox\n"
    path = annotated(case, [])
    text = case.rng.choice((*texts, head) if path.suffix == ".csv" else texts)
    path.write_text(text, encoding="utf-8")
    case.what, case.must, case.truth = f"{text[:20]!r}{case.what}", ("annotations",), {}
    return must_refuse


@mutation("annotations")
def contradiction(case):
    "Two rows of one pair say different things."
    rows = case.row_list()
    r = case.rng.choice(rows)
    case.what = case.rng.choice(("split", "changed"))
    r["split" if case.what == "split" else "changed"] = (
        ("val" if r["split"] == "train" else "train") if case.what == "split" else not r["changed"]
    )
    case.unknown = {r["id"]}

    annotated(case, rows)


@mutation("annotations")
def captions_by_file(case):
    "Folders with masks, and a file of sentences in one of its usual forms."
    pairs = case.world.pairs
    write_pictures(case.data, pairs, lambda p: p.mask.astype(np.uint8) * 255)
    flat = [
        dict(filename=f"{p.key}.png", caption=c, split=p.split) for p in pairs for c in p.captions
    ]
    sentences = lambda p: [dict(raw=c, tokens=c.split()) for c in p.captions]
    forms = dict(
        levir=dict(images=[dict(filename=f"{p.key}.png", split=p.split, changeflag=int(p.box is not None), sentences=sentences(p)) for p in pairs]),
        rows=flat,
        lists=[dict(filename=f"{p.key}.png", captions=p.captions, split=p.split) for p in pairs],
        by_name={f"{p.key}.png": list(p.captions) for p in pairs},
        coco=dict(images=[dict(id=i, file_name=f"{p.key}.png") for i, p in enumerate(pairs)],
                  annotations=[dict(image_id=i, id=9 * i + k, caption=c) for i, p in enumerate(pairs) for k, c in enumerate(p.captions)]),
    )  # fmt: skip
    case.what = case.rng.choice(list(forms))
    style = (
        case.rng.choice(("captions.json", "captions.csv", "captions.jsonl"))
        if case.what == "rows"
        else "captions.json"
    )
    write_rows(case.data / style, forms[case.what])
    if case.what in ("by_name", "coco"):
        free_splits(case)


def free_splits(case):
    "The data says nothing about splits: any will do."
    case.truth = {
        k: [(s, *w[1:]) for w in v for s in ("train", "val", "test")] for k, v in case.truth.items()
    }


@mutation("annotations")
def bad_caption_entry(case):
    "Folders with masks; some entries of the file of sentences cannot be used."
    write_pictures(case.data, case.world.pairs, lambda p: p.mask.astype(np.uint8) * 255)
    rows = [
        dict(filename=f"{p.key}.png", caption=c, split=p.split)
        for p in case.world.pairs
        for c in p.captions
    ]
    bad = case.some(rows)
    field_ = case.rng.choice(("filename", "caption", "lost", "split"))
    value = case.rng.choice(
        dict(
            filename=("none.png", None, 5, ""),
            caption=NO_VALUES["caption"],
            split=NO_VALUES["split"],
            lost=(0,),
        )[field_]
    )
    for r in bad:
        case.gone(dict(r, id=r["filename"][:-4]))
        r.pop("caption") if field_ == "lost" else r.update({field_: value})
    case.what = f"{field_} {value!r:.30}"
    write_rows(case.data / case.rng.choice(("captions.json", "captions.jsonl")), rows)


# ---------------------------------------------------------------- pictures


def picture_case(case):
    "Annotated data; the (pair, side, file) of one picture."
    annotated(case, case.row_list(), "annotations.json")
    p, side = case.rng.choice(case.world.pairs), case.rng.choice("ab")
    return p, side, case.data / side.upper() / f"{p.key}.png"


def lose(case, p):
    "A pair that must be left out."
    for c in p.captions:
        case.truth[p.key, c] = []


def alike(true, least=0.97):
    "A test of pixels: the same picture, perhaps with another contrast, and not dark."

    def test(x):
        if x.shape != true.shape or x.max() < 100:
            return False
        return np.corrcoef(x.ravel().astype(float), true.ravel().astype(float))[0, 1] > least

    return test


def encoded(pixels, form="PNG", **how):
    "A file's bytes."
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, form, **how)
    return out.getvalue()


@mutation("pictures")
def other_format(case):
    "The same pixels in another format or mode, whatever the file is called."
    p, side, file = picture_case(case)
    true = getattr(p, side)
    image, grey = Image.fromarray(true), np.asarray(Image.fromarray(true).convert("L"))
    flat = np.repeat(grey[..., None], 3, 2)
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray((grey > 99).astype(np.uint8) * 255))
    palette = image.quantize(32)
    forms = dict(
        jpeg=(encoded(image, "JPEG", quality=95), alike(true)),
        tiff=(encoded(image, "TIFF"), None),
        bmp=(encoded(image, "BMP"), None),
        webp=(encoded(image, "WEBP", lossless=True), None),
        grey=(encoded(grey), lambda x: np.array_equal(x, flat)),
        grey_alpha=(encoded(Image.fromarray(grey).convert("LA")), lambda x: np.array_equal(x, flat)),
        palette=(encoded(palette), lambda x: np.array_equal(x, np.asarray(palette.convert("RGB")))),
        opaque=(encoded(image.convert("RGBA")), None),
        alpha=(encoded(clear), None),
        cmyk=(encoded(image.convert("CMYK"), "JPEG", quality=95), alike(true, 0.8)),
        bits=(encoded(Image.fromarray(grey > 127)), lambda x: np.array_equal(x, np.repeat(np.uint8(255) * (grey > 127)[..., None], 3, 2))),
    )  # fmt: skip
    case.what = case.rng.choice(list(forms))
    data, test = forms[case.what]
    replace_bytes(file, data)
    case.pictures[p.key, side] = test or (lambda x: np.array_equal(x, true))


@mutation("pictures")
def orientation(case):
    "A picture that says how it has to be turned: turned or refused, in training as in prediction."
    p, side, file = picture_case(case)
    value, form = case.rng.randint(2, 8), case.rng.choice(("PNG", "TIFF", "JPEG"))
    true = getattr(p, side)
    exif = Image.Exif()
    exif[0x0112] = value
    how = dict(quality=95) if form == "JPEG" else {}
    replace_bytes(file, encoded(true, form, exif=exif, **how))
    from PIL import ImageOps

    turned = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    case.pictures[p.key, side] = lambda x: (
        np.array_equal(x, turned) and np.array_equal(np.asarray(as_image(file)), x)
    )
    case.what = f"orientation {value} in {form}"


@mutation("pictures")
def deep_pixels(case):
    "Pictures of 16 bits or floats, one or all of a data set, using a part of their range."
    annotated(case, case.row_list(), "annotations.json")
    kind = case.rng.choice(("u16", "u12", "u10", "unit", "float255", "i32"))
    some = case.world.pairs if case.rng.random() < 0.7 else case.some(case.world.pairs)
    for p in some:
        side = "b"
        grey = np.asarray(Image.fromarray(p.b).convert("L"))
        values = dict(
            u16=grey.astype(np.uint16) * 257, u12=grey.astype(np.uint16) * 16, u10=grey.astype(np.uint16) * 4,
            unit=grey.astype(np.float32) / 255, float255=grey.astype(np.float32), i32=grey.astype(np.int32) * 200,
        )[kind]  # fmt: skip
        form = "PNG" if kind[0] == "u" and kind != "unit" else "TIFF"
        replace_bytes(case.data / "B" / f"{p.key}.png", encoded(Image.fromarray(values), form))
        case.pictures[p.key, side] = alike(np.repeat(grey[..., None], 3, 2))
    case.what = f"{kind}, {len(some)} of {ALL}"


@mutation("pictures")
def no_pixels(case):
    "A file that is no picture, or one whose pixels cannot be shown."
    p, side, file = picture_case(case)
    true = getattr(p, side)
    bomb = bytearray(encoded(true))
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    zero = bytearray(encoded(true))
    zero[16:24] = bytes(8)
    files = dict(
        empty=b"", text=b"no picture", html=b"<html></html>", bomb=bytes(bomb), zero=bytes(zero),
        nan=encoded(Image.fromarray(np.full((SIDE, SIDE), np.nan, np.float32)), "TIFF"),
        negative=encoded(Image.fromarray(np.full((SIDE, SIDE), -5.0, np.float32)), "TIFF"),
        svg=b"<svg xmlns='http://www.w3.org/2000/svg'/>", gif=b"GIF89a", jpeg=b"\xff\xd8\xff\xd9",
    )  # fmt: skip
    case.what = case.rng.choice([*files, "folder", "link"])
    file.unlink()
    if case.what == "folder":
        file.mkdir()
    elif case.what == "link":
        file.symlink_to("nowhere.png")
    else:
        file.write_bytes(files[case.what])
    lose(case, p)


@mutation("pictures")
def damaged_picture(case):
    "A file with flipped bits, or cut: formats with checksums prove themselves, a cut is seen in all."
    p, side, file = picture_case(case)
    true, form = (
        getattr(p, side),
        case.rng.choice(("PNG", "PNG", "PNG", "JPEG", "TIFF", "BMP", "WEBP")),
    )
    data = encoded(true, form, **(dict(quality=95) if form == "JPEG" else {}))
    right = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if form == "PNG":
        data, case.what = damage(case.rng, data)
    else:
        cut = case.rng.randint(1, len(data) - 1)
        data, case.what = data[:cut], f"cut at {cut} of {len(data)}"
    replace_bytes(file, data)
    case.what += f" in {form}"
    case.pictures[p.key, side] = lambda x: np.array_equal(x, right)


@mutation("pictures")
def link_out(case):
    "A picture, or the folder of one date, is a link that leads out of the data folder."
    p, side, file = picture_case(case)
    out = case.home / "elsewhere"
    out.mkdir()
    case.what = case.rng.choice(("file", "folder"))
    if case.what == "file":
        file.rename(out / file.name)
        file.symlink_to(out / file.name)
        lose(case, p)
    else:
        file.parent.rename(out / "x")
        file.parent.symlink_to(out / "x")
        case.truth = {k: [] for k in case.truth}


@mutation("pictures")
def linked_root(case):
    "The data folder itself is a link: that is fine."
    annotated(case, case.row_list())
    case.data.rename(case.home / "real")
    case.data.symlink_to(case.home / "real")
    case.what, case.promise = "linked root", True


@mutation("pictures")
def snapshot(case):
    "A folder of the hub's cache, whose files are links to its blobs; one link may lead elsewhere."
    annotated(case, case.row_list())
    blobs, shot = case.home / "datasets--a--b/blobs", case.home / "datasets--a--b/snapshots/1"
    blobs.mkdir(parents=True)
    shutil.move(case.data, shot)
    for i, file in enumerate(sorted(p for p in shot.rglob("*") if p.is_file())):
        file.rename(blobs / f"{i:040x}")
        file.symlink_to(os.path.relpath(blobs / f"{i:040x}", file.parent))
    case.data, case.promise = shot, True
    if case.rng.random() < 0.3:
        p, case.promise = case.rng.choice(case.world.pairs), False
        file = shot / f"A/{p.key}.png"
        file.unlink()
        (case.home / "secret.png").write_bytes(encoded(p.a))
        file.symlink_to(case.home / "secret.png")
        lose(case, p)
    case.what = "all in the blobs" if case.promise else "one elsewhere"


@mutation("pictures")
def other_size(case):
    "Both dates of a pair, or one, have another size."
    p, side, file = picture_case(case)
    case.what = case.rng.choice(("one", "both"))
    for s in "ab" if case.what == "both" else side:
        big = Image.fromarray(getattr(p, s)).resize((80, 96))
        replace_bytes(case.data / s.upper() / file.name, encoded(big))
    case.unknown = {p.key, f"wrong pixels of {p.key}, date a", f"wrong pixels of {p.key}, date b"}


# ---------------------------------------------------------------- masks


def masked(case, draw, pairs=None):
    "Folders with masks; `draw` makes one of a pair."
    plain = lambda p: p.mask.astype(np.uint8) * 255
    own = case.world.pairs if pairs is None else pairs
    write_pictures(case.data, case.world.pairs, lambda p: draw(p) if p in own else plain(p))
    rows = [
        dict(filename=f"{p.key}.png", caption=c, split=p.split)
        for p in case.world.pairs
        for c in p.captions
    ]
    write_rows(case.data / case.rng.choice(("captions.csv", "captions.json")), rows)


def coloured(mask, colour, ground, mode="RGB"):
    "A mask in colours."
    a = np.where(mask[..., None], np.array(colour, np.uint8), np.array(ground, np.uint8))
    return Image.fromarray(a.astype(np.uint8), mode if len(colour) == 4 else "RGB")


def as_palette(mask, colour, ground):
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([*ground, *colour])
    return image


def with_ignore(mask, one):
    "0, 1 and 255 where nothing is known."
    a = mask.astype(np.uint8) * one
    a[:4] = 255
    return a


@mutation("masks")
def other_mask(case):
    "The same masks in other values, colours or modes: decoded right, or refused with the values."
    grey = lambda v: lambda p: p.mask.astype(np.uint8) * np.uint8(v)
    ways = dict(
        one=grey(1), white=grey(255), bits=lambda p: Image.fromarray(p.mask),
        sixteen=lambda p: p.mask.astype(np.uint16) * 65535, sixteen_ids=lambda p: p.mask.astype(np.uint16),
        class_id=grey(case.rng.randint(2, 9)), odd=grey(case.rng.choice((20, 100, 200))),
        ignore=lambda p: with_ignore(p.mask, 1), ignore_class=lambda p: with_ignore(p.mask, 3),
        red=lambda p: coloured(p.mask, (255, 0, 0), (0, 0, 0)), green=lambda p: coloured(p.mask, (0, 255, 0), (0, 0, 0)),
        blue=lambda p: coloured(p.mask, (0, 0, 255), (0, 0, 0)), any_colour=lambda p: coloured(p.mask, (10, 80, 200), (0, 0, 0)),
        second=lambda p: coloured(p.mask, (128, 0, 0), (255, 255, 255)), second_green=lambda p: coloured(p.mask, (0, 128, 0), (255, 255, 255)),
        transparent=lambda p: coloured(p.mask, (255, 255, 255, 255), (0, 0, 0, 0), "RGBA"),
        transparent_white=lambda p: coloured(p.mask, (255, 0, 0, 255), (255, 255, 255, 0), "RGBA"),
        palette=lambda p: as_palette(p.mask, (255, 255, 255), (0, 0, 0)), palette_green=lambda p: as_palette(p.mask, (0, 200, 0), (0, 0, 0)),
        palette_white=lambda p: as_palette(p.mask, (200, 0, 0), (255, 255, 255)), black_palette=lambda p: as_palette(p.mask, (0, 0, 0), (0, 0, 0)),
        unit=lambda p: Image.fromarray(p.mask.astype(np.uint8)).convert("L"), grey_alpha=lambda p: Image.fromarray(p.mask.astype(np.uint8) * 255).convert("LA"),
    )  # fmt: skip
    case.what = case.rng.choice(list(ways))
    masked(case, ways[case.what])


@mutation("masks")
def other_folders(case):
    "Folders and files as other data sets call them; splits around them."
    first, second, label = case.rng.choice(
        (
            ("A", "B", "label"),
            ("t1", "t2", "mask"),
            ("im1", "im2", "gt"),
            ("before", "after", "change"),
            ("A", "B", "OUT"),
            ("T1", "T2", "cm"),
            ("time1", "time2", "label"),
        )
    )
    around, suffixed = case.rng.choice((True, False)), case.rng.random() < 0.3
    ends = ("_pre_disaster", "_post_disaster", "_post_disaster") if suffixed else ("", "", "")
    rows = []
    for p in case.world.pairs:
        root = case.data / p.split if around else case.data
        mask = p.mask.astype(np.uint8) * 255
        for name, pixels, end in zip((first, second, label), (p.a, p.b, mask), ends):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{p.key}{end}.png")
        told = {} if around else dict(split=p.split)
        rows += [dict(filename=f"{p.key}.png", caption=c, **told) for c in p.captions]
    case.what = f"{first} {second} {label} {'in splits ' * around}{'_pre_disaster' * suffixed}"
    write_rows(case.data / "captions.csv", rows)


@mutation("masks")
def bad_mask(case):
    "Some masks are missing, broken, of another shape, or hold what no mask holds."
    p = case.rng.choice(case.world.pairs[:CHANGED])
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    ways = dict(
        missing=lambda _: None, empty=lambda _: np.zeros((SIDE, SIDE), np.uint8), noise=lambda _: noise,
        shape=lambda _: np.zeros((SIDE, SIDE // 2), np.uint8) + np.uint8(255), picture=lambda q: q.b,
    )  # fmt: skip
    case.what = case.rng.choice([*ways, "broken", "text", "folder"])
    masked(case, ways.get(case.what, lambda q: q.mask.astype(np.uint8) * 255), [p])
    file = case.data / "label" / f"{p.key}.png"
    if case.what == "broken":
        replace_bytes(file, file.read_bytes()[:-20])
    elif case.what == "text":
        replace_bytes(file, b"no mask")
    elif case.what == "folder":
        file.unlink()
        file.mkdir()
    if case.what != "broken":
        lose(case, p)


@mutation("masks")
def damaged_mask(case):
    "Flipped bits in one mask: PNG proves itself."
    p = case.rng.choice(case.world.pairs[:CHANGED])
    masked(case, None, [])
    file = case.data / "label" / f"{p.key}.png"
    data, case.what = damage(case.rng, file.read_bytes())
    replace_bytes(file, data)


@mutation("masks")
def stray_pixel(case):
    "One mask has one pixel of the value for road: the others mean what they meant."
    p = case.rng.choice(case.world.pairs[:CHANGED])

    def draw(q):
        a = q.mask.astype(np.uint8) * 255
        a[2, 2] = 128
        return a

    masked(case, draw, [p])
    case.unknown, case.what = {p.key}, f"128 in {p.key}"


@mutation("masks")
def other_mask_size(case):
    "Masks of half or twice the size."
    side = case.rng.choice((SIDE // 2, SIDE * 2, SIDE * 4))
    small = lambda p: Image.fromarray(p.mask.astype(np.uint8) * 255).resize(
        (side, side), Image.Resampling.NEAREST
    )
    case.what = f"{side} pixels"
    masked(case, small)


# ---------------------------------------------------------------- tables


def arrow_table(case):
    "The rows with their pictures, as a dict of columns."
    rows = case.row_list()
    png = {p.key: (encoded(p.a), encoded(p.b)) for p in case.world.pairs}
    columns = {k: [r[k] for r in rows] for k in ("id", "caption", "bbox", "split", "changed")}
    for k, name in enumerate(("image1", "image2")):
        columns[name] = [dict(bytes=png[r["id"]][k], path=None) for r in rows]
    return columns


def save_table(case, columns, way, **how):
    "Write a table as parquet, as one Arrow file, or as `datasets` does; the file."
    import pyarrow as pa, pyarrow.parquet as pq

    case.data.mkdir(exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if way == "parquet":
        path = case.data / "pairs.parquet"
        pq.write_table(table, path, **how)
    else:
        path = case.data / "data-00000-of-00001.arrow"
        writer = pa.ipc.new_stream if way == "stream" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as f, writer(f, table.schema) as w:
            w.write_table(table, max_chunksize=7)
        if way == "saved":
            state = dict(_data_files=[dict(filename=path.name)], _indices_data_files=None)
            (case.data / "state.json").write_text(json.dumps(state))
            (case.data / "dataset_info.json").write_text("{}")
    return path


TABLES = ("parquet", "stream", "file", "saved")


@mutation("tables")
def other_types(case):
    "The same table with other column types, names, chunks or compression."
    import pyarrow as pa

    columns, kind = (
        arrow_table(case),
        case.rng.choice(
            ("binary", "large", "dictionary", "struct", "text", "names", "ints", "extra")
        ),
    )
    pictures = lambda k: [v["bytes"] for v in columns[k]]
    if kind in ("binary", "large"):
        t = pa.binary() if kind == "binary" else pa.large_binary()
        columns.update({k: pa.array(pictures(k), t) for k in ("image1", "image2")})
    elif kind == "dictionary":
        columns.update(
            {k: pa.array(columns[k]).dictionary_encode() for k in ("split", "caption", "id")}
        )
    elif kind == "struct":
        columns["bbox"] = [b and dict(zip(("x1", "y1", "x2", "y2"), b)) for b in columns["bbox"]]
    elif kind == "text":
        write_pictures(case.data, case.world.pairs)
        columns.update(
            {
                k: [f"{s}/{i}.png" for i in columns["id"]]
                for k, s in (("image1", "A"), ("image2", "B"))
            }
        )
    elif kind == "names":
        columns = {case.rng.choice(NAMES[k]): v for k, v in columns.items()}
    elif kind == "ints":
        columns["bbox"] = pa.array(columns["bbox"], pa.list_(pa.int16()))
    else:
        columns.update(seen=[None] * 20, score=[NAN] * 20, size=[[SIDE, SIDE]] * 20)
    way = case.rng.choice(TABLES)
    how = (
        dict(
            compression=case.rng.choice(("none", "snappy", "zstd")),
            row_group_size=case.rng.choice((3, 20)),
        )
        if way == "parquet"
        else {}
    )
    case.what = f"{kind} {way}"
    save_table(case, columns, way, **how)


@mutation("tables")
def bad_cell(case):
    "Some cells of a table are empty or cannot be used."
    columns, rows = arrow_table(case), case.row_list()
    name = case.rng.choice(("image1", "image2", "caption", "bbox"))
    values = dict(
        caption=(None, "", " "),
        bbox=([1.0], [9.0, 9.0, 3.0, 3.0], [NAN] * 4, None, [9.0, 9.0, 500.0, 500.0]),
    )
    pictures = (
        None,
        dict(bytes=b"", path=None),
        dict(bytes=b"no", path=None),
        dict(bytes=None, path=None),
        dict(bytes=None, path="../x.png"),
    )
    value = case.rng.choice(values.get(name, pictures))
    for k in case.rng.sample(range(2 * CHANGED), case.rng.randint(1, 3)):
        case.gone(rows[k])
        columns[name][k] = value
    if name == "bbox":
        columns["bbox"] = [b and [float(v) for v in b] for b in columns["bbox"]]
    case.what = f"{name} {value!r:.30}"
    save_table(case, columns, case.rng.choice(TABLES))


@mutation("tables")
def damaged_table(case):
    "Damaged bytes: Arrow proves nothing, so only a crash or a wrong exception counts."
    way = case.rng.choice(TABLES)
    path = save_table(case, arrow_table(case), way)
    data, case.what = damage(case.rng, path.read_bytes())
    path.write_bytes(data)
    case.what += f" in {way}"
    case.said = ("",)


@mutation("tables")
def damaged_state(case):
    "The small files beside a saved dataset are damaged or do not fit."
    save_table(case, arrow_table(case), "saved")
    state = case.data / "state.json"
    texts = (
        "",
        "{",
        "[]",
        "null",
        '{"_data_files": 5}',
        '{"_data_files": [{}]}',
        '{"_data_files": [{"filename": "gone.arrow"}]}',
        '{"_data_files": []}',
        "\xff",
        '{"_data_files": [{"filename": 5}]}',
    )
    text = case.rng.choice(texts)
    state.write_bytes(text.encode("latin-1"))
    case.what = text


@mutation("tables")
def no_table(case):
    "A table without rows, columns or pairs."
    import pyarrow as pa

    columns = arrow_table(case)
    case.what = case.rng.choice(("rows", "pictures", "numbers"))
    if case.what == "rows":
        table = pa.table(columns).slice(0, 0)
    elif case.what == "pictures":
        table = pa.table({k: v for k, v in columns.items() if k != "image2"})
    else:
        table = pa.table({**columns, "image1": [1.0] * 20})
    path = save_table(case, table, case.rng.choice(TABLES))
    case.data, case.truth = case.rng.choice((case.data, path)), {}
    return must_refuse


# ---------------------------------------------------------------- caches


def spoil(case, pattern, folder="cache"):
    "Damage one file of a cache, or put another's in its place; nothing may be refused."
    shutil.copytree(case.world.home / "cache", case.home / folder)
    files = sorted(p for p in (case.home / folder).rglob(pattern) if p.is_file())
    file = case.rng.choice(files)
    way = case.rng.choice(("damage", "damage", "damage", "damage", "remove", "number", "folder"))
    if way == "damage":
        data, way = damage(case.rng, file.read_bytes())
        replace_bytes(file, data)
    elif way == "number":
        data = bytearray(file.read_bytes())
        at = case.rng.randrange(max(1, len(data) - 8))
        data[at : at + 4] = case.rng.choice((b"\xff" * 4, b"\0\0\0\x7f", b"1234"))
        replace_bytes(file, bytes(data))
    else:
        file.unlink()
        if way == "folder":
            file.mkdir()
    case.what, case.promise = f"{way} in {re.sub('[0-9a-f]{12,}', '*', file.name)}", True


@mutation("caches")
def index_or_boxes(case):
    "The index or the boxes of a data set that was opened before."
    spoil(case, "*.safetensors")
    case.data = case.world.data


@mutation("caches")
def feature_cache(case):
    "The features of a frozen encoder, or the files beside them."
    spoil(case, "features-*/*")

    def run(case, told):
        config = case.world.settings(case.home, DATASET_PATH=case.world.data, **case.world.models)
        pairs = open_pairs(case.world.data, config=config)
        with quiet():
            found = features_of(pairs, case.world.agent.model, config)
        same = found.shape == case.world.features.shape and np.array_equal(
            found, case.world.features
        )
        return ("right", "") if same else ("silent wrong", "other features")

    return run


@mutation("caches")
def parquet_copy(case):
    "The unpacked copy of a parquet file."
    save_table(case, arrow_table(case), "parquet")
    open_pairs(case.data, config=case.world.settings(case.home))
    copy = next((case.home / "cache/pairs").glob("*.arrow"))
    time = copy.stat().st_mtime_ns
    data, case.what = damage(case.rng, copy.read_bytes())
    replace_bytes(copy, data)
    os.utime(copy, ns=(time, time + 1000))
    case.promise = True


@mutation("caches")
def stale_cache(case):
    "The data changes after it was indexed: the new data is read."
    path = annotated(case, case.row_list(), end="\n")
    open_pairs(case.data, config=case.world.settings(case.home))
    rows = case.row_list()
    r = case.rng.choice([r for r in rows if r["bbox"]])
    case.truth[r["id"], r["caption"]] = [(r["split"], True, (4, 4, 20, 20))]
    r["bbox"] = [4, 4, 20, 20]
    write_rows(path, rows)
    case.what, case.promise = "one box changed", True


# ---------------------------------------------------------------- checkpoints


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
    "The base models are others than in training: the same shape with other weights, damaged, or gone."
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


# ---------------------------------------------------------------- settings


def typed(case):
    "(name, declaration) of a setting."
    name = case.rng.choice(sorted(Config._settings))
    return name, Config._settings[name]


def as_text(value):
    return (
        ",".join(value)
        if isinstance(value, tuple)
        else json.dumps(value)
        if isinstance(value, dict)
        else str(value)
    )


@mutation("settings")
def right_setting(case):
    "A value that a setting may have, typed or in a file, is what it becomes."
    name, s = typed(case)
    base = s.default if s.default is not None else "some/place"
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
        if case.rng.random() < 0.5:
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


MATTER = "TILES=2 IMAGE_SIZE=32 FUSION=concat TEXT_POOLING=first VISION_FEATURES=pooled CLIP_PATH=/nowhere LLM_PATH=/nowhere MAX_TEXT_LENGTH=4 POINTER_DIM=16 LORA_R=4 DEVICE=nonsense"


@mutation("settings")
def predict_with_setting(case):
    "A setting typed for a prediction is used, or refused, or named."
    text, p = case.rng.choice(MATTER.split()), case.world.pairs[0]
    write_pictures(case.data, [p])
    argv = [case.world.agent_folder, "--t1", case.data / f"A/{p.key}.png", "--t2", case.data / f"B/{p.key}.png", "--caption", p.captions[0], "--out", case.home / "a.png", "--set", text]  # fmt: skip
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


# ---------------------------------------------------------------- jobs

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
            return ("counted skip", "") if counts["failed"] else ("silent wrong", f"{counts}")

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
