"""Sentences with a mask of their own: files, polygons, run lengths, QAG-360K, maps of classes."""

import io
import json

import numpy as np
import pyarrow as pa
from PIL import Image

from .annotations import annotated
from .pictures import as_palette, coloured
from .stores import TABLES, arrow_table, save_table
from .world import (
    ALL,
    CHANGED,
    SIDE,
    damage,
    encoded,
    mutation,
    read_data,
    replace_bytes,
)

WHITE, GRASS, HOUSE = (255, 255, 255), (0, 128, 0), (128, 0, 0)  # in SECOND's maps


def own_mask(p, k):
    "(64, 64) bool: what sentence k of a pair means: all of its box, or the left half."
    out = p.mask
    if k and p.box:
        out[:, (p.box[0] + p.box[2]) // 2 :] = False
    return out


def half(p, k):
    "The box of `own_mask`."
    x1, y1, x2, y2 = p.box
    return x1, y1, ((x1 + x2) // 2 if k else x2), y2


def own_rows(case):
    "(row, mask) of each sentence, without boxes; the truth is what the masks say."
    found = []
    for p in case.world.pairs:
        for k, row in enumerate(p.rows()):
            key, box = (p.key, row["caption"]), half(p, k) if p.box else None
            case.truth[key] = [(p.split, p.box is not None, box)]
            case.regions[key] = own_mask(p, k)
            del row["bbox"]
            found.append((row, own_mask(p, k)))
    return found


def with_files(case, draw, some=None):
    "Rows that name a mask file each; `draw` makes those of `some`, numbers of rows."
    rows = own_rows(case)
    folder = case.data / "mask"
    folder.mkdir(parents=True)
    for n, (row, mask) in enumerate(rows):
        row["mask"] = f"mask/{n}.png"
        plain = some is not None and n not in some
        image = mask.astype(np.uint8) * 255 if plain else draw(mask)
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(folder / f"{n}.png")
    annotated(case, own_names(case, [r for r, _ in rows]))
    return [r for r, _ in rows]


def own_names(case, rows):
    "The sentences are called captions, prompts or questions; flags are there or not."
    name, flags = case.rng.choice(("caption", "prompt", "question")), case.rng.random() < 0.3
    renamed = [{name if k == "caption" else k: v for k, v in r.items()} for r in rows]
    return [{k: v for k, v in r.items() if flags or k != "changed"} for r in renamed]


def resized(side):
    def draw(m):
        image = Image.fromarray(m.astype(np.uint8) * 255)
        return image.resize((side, side), Image.Resampling.NEAREST)

    return draw


@mutation("rowmasks")
def own_mask_files(case):
    "Own masks in other modes, values or sizes, all or some: the same pixels, or named."
    ways = dict(
        one=lambda m: m.astype(np.uint8),
        bits=Image.fromarray,
        sixteen=lambda m: m.astype(np.uint16) * 65535,
        sixteen_ids=lambda m: m.astype(np.uint16) * 1000,
        colour=lambda m: coloured(m, (10, 80, 200), (0, 0, 0)),
        transparent=lambda m: coloured(m, (255, 255, 255, 255), (0, 0, 0, 0), "RGBA"),
        opaque=lambda m: coloured(m, (255, 255, 255, 255), (0, 0, 0, 255), "RGBA"),
        palette=lambda m: as_palette(m, (200, 0, 0), (0, 0, 0)),
        palette_white=lambda m: as_palette(m, (200, 0, 0), (255, 255, 255)),
        grey_alpha=lambda m: Image.fromarray(m.astype(np.uint8) * 255).convert("LA"),
        half=resized(SIDE // 2),
        double=resized(SIDE * 2),
    )
    case.what = case.rng.choice(list(ways))
    some = case.rng.choice((None, {case.rng.randrange(2 * CHANGED)}, set(range(0, 2 * ALL, 3))))
    case.what += f" in {'all' if some is None else len(some)}"
    with_files(case, ways[case.what.split()[0]], some)


@mutation("rowmasks")
def inverted_own_masks(case):
    "Own masks of 255 where nothing is meant: turned round, refused or doubted."
    case.said = ("inverted",)
    with_files(case, lambda m: (~m).astype(np.uint8) * 255)


@mutation("rowmasks")
def bad_own_mask(case):
    "One own mask is missing, broken, of another shape, or holds what no mask holds."
    number = case.rng.randrange(2 * CHANGED)
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    ways = dict(
        noise=lambda _: noise,
        shape=lambda m: m[:, : SIDE // 2].astype(np.uint8) * 255,
        three=lambda m: m.astype(np.uint8) * 3,
        picture=lambda _: case.world.pairs[0].b,
        fractions=lambda m: m.astype(np.uint8) * 255,
    )
    way = case.rng.choice([*ways, "missing", "text", "nothing", "folder", "link"])
    case.what = way
    row = with_files(case, ways.get(way, ways["fractions"]), {number})[number]
    file = case.data / row["mask"]
    if way in ("text", "nothing"):
        replace_bytes(file, b"no mask" if way == "text" else b"")
    elif way == "fractions":
        half = np.full((SIDE, SIDE), 0.5, np.float32)
        replace_bytes(file, encoded(Image.fromarray(half), "TIFF"))
    elif way not in ways:
        file.unlink()
    if way == "folder":
        file.mkdir()
    elif way == "link":
        out = case.home / "elsewhere.png"
        out.write_bytes(encoded(own_mask(case.world.pairs[number // 2], number % 2)))
        file.symlink_to(out)
    case.gone(row)


@mutation("rowmasks")
def damaged_own_mask(case):
    "Flipped bits in one own mask: PNG proves itself."
    file = case.data / with_files(case, None, ())[case.rng.randrange(2 * CHANGED)]["mask"]
    data, case.what = damage(case.rng, file.read_bytes())
    replace_bytes(file, data)


@mutation("rowmasks")
def empty_own_mask(case):
    "A row that is marked as changed has an empty mask: no change, and the report says so."
    number = case.rng.randrange(2 * CHANGED)
    case.what = case.rng.choice(("file", "polygons", "runs"))
    if case.what == "file":
        row = with_files(case, lambda m: m.astype(np.uint8) * 0, {number})[number]
    else:
        empty = [] if case.what == "polygons" else runs(np.zeros((SIDE, SIDE), bool))
        row = with_segmentation(case, polygons, {number: empty})[number]
    key = row["id"], row["caption"]
    case.truth[key] = [(row["split"], False, None)]
    del case.regions[key]

    def run(case, told):
        outcome = read_data(case, told)
        expected = f"{1 + 2 * (ALL - CHANGED)} of these masks are empty"
        is_said = expected in case.report or outcome[0] != "right"
        return outcome if is_said else ("silent wrong", f"no word of {expected!r}")

    return run


def runs(mask):
    "Run lengths as numbers, column by column."
    flat = np.concatenate([[False], mask.T.ravel()])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], ends, [mask.size]]))
    return dict(size=list(mask.shape), counts=[int(c) for c in counts])


def letters(mask):
    "Run lengths as COCO's text."
    found, text = runs(mask), ""
    counts = found["counts"]
    for k, x in enumerate(counts):
        x, more = x - (counts[k - 2] if k > 2 else 0), True
        while more:
            bits, x = x & 31, x >> 5
            more = x != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return dict(found, counts=text)


def polygons(mask):
    "The rectangle of a mask as polygons, in two halves one above the other."
    if not mask.any():
        return []
    ys, xs = np.nonzero(mask)
    left, right, top, bottom = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    middle = int(top + bottom) // 2
    return [
        [float(v) for v in (left, a, right, a, right, b, left, b)]
        for a, b in ((top, middle), (middle, bottom))
    ]


def closed(mask):
    "Polygons whose last point is the first."
    return [[*p, *p[:2]] for p in polygons(mask)]


WAYS = dict(runs=runs, letters=letters, polygons=polygons, closed=closed)
NAMES = ("segmentation", "rle", "polygon", "polygons")


def with_segmentation(case, write, other=None, more=None, name=None):
    "Rows that draw their masks; `other`: number -> another value, `more`: fields for every row."
    rows, name = own_rows(case), name or case.rng.choice(NAMES)
    for n, (row, mask) in enumerate(rows):
        row[name] = other[n] if other and n in other else write(mask)
        row.update(more or {})
    rows = [r for r, _ in rows]
    annotated(case, own_names(case, rows))
    return rows


@mutation("rowmasks")
def own_segmentation(case):
    "The same pixels as polygons or run lengths, as JSON or its text, in rows or in a table."
    way, as_text = case.rng.choice(list(WAYS)), case.rng.random() < 0.3
    case.what = f"{way}{' as text' * as_text}"

    def write(mask):
        value = WAYS[way](mask)
        return json.dumps(value) if as_text else value

    if case.rng.random() < 0.6:
        with_segmentation(case, write)
        return
    masks = [m for _, m in own_rows(case)]
    columns = {k: v for k, v in arrow_table(case).items() if k != "bbox"}
    columns[case.rng.choice(NAMES)] = pa.array([write(m) for m in masks])
    table = case.rng.choice(TABLES)
    case.what += f" in {table}"
    save_table(case, columns, table)


@mutation("rowmasks")
def drawn_elsewhere(case):
    "Polygons or run lengths of a picture of another size, which is said; or boxes beside them."
    way = case.rng.choice(("twice", "runs", "box", "percent"))
    big = 2 * SIDE
    case.what = way

    def twice(mask):
        return [[2 * v for v in p] for p in polygons(mask)]

    if way == "twice":
        with_segmentation(case, twice, more=dict(width=big, height=big))
    elif way == "runs":
        with_segmentation(case, lambda m: runs(np.repeat(np.repeat(m, 2, 0), 2, 1)))
    elif way == "box":
        with_segmentation(case, polygons, more=dict(x=0, y=0, width=60, height=60))
    else:
        size = dict(original_width=SIDE, original_height=SIDE)
        with_segmentation(case, polygons, more=dict(x=0, y=0, width=90, height=90, **size))


def bad_values(mask):
    "name -> a value that makes no sense for a mask."
    good, text = runs(mask), letters(mask)["counts"]
    x = [float(v) for v in polygons(mask)[0]]
    return dict(
        short=dict(good, counts=good["counts"][:-1]),
        long=dict(good, counts=[*good["counts"], 5]),
        shape=runs(mask[:, : SIDE // 2]),
        no_size=dict(counts=good["counts"]),
        size=dict(good, size=[SIDE]),
        zero=dict(good, size=[0, 0], counts=[]),
        negative=dict(good, counts=[-5, *good["counts"][1:-1], good["counts"][-1] + 5]),
        halves=dict(good, counts=[c + 0.5 for c in good["counts"]]),
        words=dict(good, counts=["a"] * 3),
        huge=dict(size=[60000, 60000], counts=[60000**2]),
        cut=dict(good, counts=text[: len(text) // 2]),
        unfinished=dict(good, counts=text + "o"),
        letters=dict(good, counts="é" + text),
        nothing=dict(good, counts=None),
        in_list=[good],
        outside=[[v + SIDE for v in x]],
        left=[[v - SIDE for v in x]],
        far=[[*x[:4], 1e30, 1e30]],
        fractions=[[0.2, 0.2, 0.9, 0.2, 0.9, 0.9, 0.2, 0.9]],
        odd=[x[:7]],
        line=[[*x[:2], *x[:2], *x[:2]]],
        two=[x[:4]],
        nan=[[*x[:7], float("nan")]],
        text=[[str(v) for v in x]],
        true=[[True] * 8],
        points=[[x[0], x[1]], [x[2], x[3]], [x[4], x[5]]],
        deep=[[[x]]],
        json="[" * 40000,
        word="a polygon",
        number=7,
        null=None,
    )


@mutation("rowmasks")
def bad_segmentation(case):
    "One row draws what makes no sense: it is named and counted."
    number = case.rng.randrange(2 * CHANGED)
    values = bad_values(own_mask(case.world.pairs[number // 2], number % 2))
    case.what = case.rng.choice(list(values))
    rows = with_segmentation(
        case, case.rng.choice(list(WAYS.values())), {number: values[case.what]}
    )
    case.gone(rows[number])


@mutation("rowmasks")
def qag(case):
    "QAG-360K's layout; a question, its mask or its picture may be wrong."
    rows = own_rows(case)
    way = case.rng.choice(
        ("right", "names", "no mask", "no id", "no picture", "blank", "text", "twice", "cut")
    )
    case.what, bad = way, case.rng.randrange(2 * CHANGED)
    for split in ("train", "val", "test"):
        asked, home = [], case.data / split
        for name in ("image/im1", "image/im2", "mask", "json"):
            (home / name).mkdir(parents=True)
        for p in case.world.pairs:
            if p.split == split:
                for name, pixels in (("im1", p.a), ("im2", p.b)):
                    Image.fromarray(pixels).save(home / "image" / name / f"{p.key}.png")
        for n, (row, mask) in enumerate(rows):
            if row["split"] == split:
                Image.fromarray(mask.astype(np.uint8) * 255).save(home / "mask" / f"{n}.png")
                asked.append(dict(id=n, img_id=f"{row['id']}.png", question=row["caption"]))
                asked[-1].update(type="x", answer="no")
                if n == bad:
                    spoil_question(case, way, row, asked, home / "mask" / f"{n}.png")
        text = json.dumps(dict(question=asked))
        if way == "cut" and split == "train":
            text, case.said = text[: len(text) // 2], ("Train.json was looked at and not used",)
        (home / "json" / f"{split.title()}.json").write_text(text)


def spoil_question(case, way, row, asked, mask):
    "Make the last question wrong."
    last = asked[-1]
    if way == "names":
        last.update(id=str(last["id"]))
    elif way == "no mask":
        mask.unlink()
    elif way == "no id":
        del last["id"]
    elif way == "no picture":
        last["img_id"] = "gone.png"
    elif way == "blank":
        last["question"] = " "
    elif way == "text":
        asked[-1] = "a question"
    elif way == "twice":
        asked.append(dict(last))
    if way in ("no mask", "no id", "no picture", "blank", "text"):
        case.gone(row)


@mutation("rowmasks")
def class_maps(case):
    "SECOND's maps of both dates, which speak; some in another mode, damaged, of another size."
    p = case.rng.choice(case.world.pairs[:CHANGED])
    ways = ("right", "palette", "alpha", "colour", "size", "missing", "text", "swapped", "damage")
    case.what, case.truth = case.rng.choice(ways), {}
    for q in case.world.pairs:
        gone, new = "low vegetation has been removed", "a building has appeared"
        for sentence in (gone, new) if q.box else ():
            case.truth[q.key, sentence] = [(q.split, True, q.box)]
            case.regions[q.key, sentence] = q.mask
        for name, pixels in (("im1", q.a), ("im2", q.b)):
            folder = case.data / q.split / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{q.key}.png")
        for name, colour in (("label1", GRASS), ("label2", HOUSE)):
            folder = case.data / q.split / name
            folder.mkdir(parents=True, exist_ok=True)
            draw = case.what if q is p or case.what in ("palette", "alpha") else "right"
            write_map(case, draw, folder / f"{q.key}.png", q.mask, colour)
    case.unknown = {p.key} if case.what == "swapped" else set()
    if case.what in ("colour", "size", "missing", "text"):
        case.truth.update({k: [] for k in case.truth if k[0] == p.key})
    return lambda case, told: read_data(case, told, PROMPTS="classes")


def write_map(case, way, file, mask, colour):
    "One colour map."
    second = file.parent.name == "label2"
    image = coloured(mask, colour, WHITE)
    if way == "palette":
        image = as_palette(mask, colour, WHITE)
    elif way == "alpha":
        image = image.convert("RGBA")
    elif way == "colour" and second:
        image = coloured(mask, (1, 2, 3), WHITE)
    elif way == "size" and second:
        image = image.resize((SIDE // 2, SIDE // 2), Image.Resampling.NEAREST)
    elif way == "swapped":
        image = coloured(mask, HOUSE if colour == GRASS else GRASS, WHITE)
    data = io.BytesIO()
    image.save(data, "PNG")
    data = data.getvalue()
    if way == "damage" and second:
        data, how = damage(case.rng, data)
        case.what = f"damage: {how}"
    if way == "missing" and second:
        return
    file.write_bytes(b"no map" if way == "text" and second else data)
