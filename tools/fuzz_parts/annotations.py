"""Files of rows: their habits and their faults."""

import re
import unicodedata

import numpy as np
from PIL import Image

from .world import (
    SIDE,
    must_refuse,
    mutation,
    write_pictures,
    write_rows,
)

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
CORNERS = (
    "x1 y1 x2 y2;x_min y_min x_max y_max;xMin yMin xMax yMax;Xmin Ymin Xmax Ymax;X1 Y1 X2"
    " Y2;bbox_x1 bbox_y1 bbox_x2 bbox_y2;left top right bottom"
)


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
    """Pictures with dots, blanks, accents in either form, other letters; paths written in another
    way."""
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
        (
            {how if k == column else k: v for k, v in r.items() if k != column or how}
            if r in bad
            else r
        )
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

    def sentences(p):
        return [dict(raw=c, tokens=c.split()) for c in p.captions]

    forms = dict(
        levir=dict(
            images=[
                dict(
                    filename=f"{p.key}.png",
                    split=p.split,
                    changeflag=int(p.box is not None),
                    sentences=sentences(p),
                )
                for p in pairs
            ]
        ),
        rows=flat,
        lists=[dict(filename=f"{p.key}.png", captions=p.captions, split=p.split) for p in pairs],
        by_name={f"{p.key}.png": list(p.captions) for p in pairs},
        coco=dict(
            images=[dict(id=i, file_name=f"{p.key}.png") for i, p in enumerate(pairs)],
            annotations=[
                dict(image_id=i, id=9 * i + k, caption=c)
                for i, p in enumerate(pairs)
                for k, c in enumerate(p.captions)
            ],
        ),
    )
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
