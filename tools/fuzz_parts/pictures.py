"""Pictures and masks: formats, modes, values, damage."""

import io
import os
import shutil
import struct

import numpy as np
from PIL import Image, ImageOps

from vlm_vla.agent import as_image

from .annotations import annotated
from .world import (
    ALL,
    CHANGED,
    SIDE,
    damage,
    encoded,
    mutation,
    replace_bytes,
    write_pictures,
    write_rows,
)


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
        grey_alpha=(
            encoded(Image.fromarray(grey).convert("LA")),
            lambda x: np.array_equal(x, flat),
        ),
        palette=(encoded(palette), lambda x: np.array_equal(x, np.asarray(palette.convert("RGB")))),
        opaque=(encoded(image.convert("RGBA")), None),
        alpha=(encoded(clear), None),
        cmyk=(encoded(image.convert("CMYK"), "JPEG", quality=95), alike(true, 0.8)),
        bits=(
            encoded(Image.fromarray(grey > 127)),
            lambda x: np.array_equal(x, np.repeat(np.uint8(255) * (grey > 127)[..., None], 3, 2)),
        ),
    )
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
            u16=grey.astype(np.uint16) * 257,
            u12=grey.astype(np.uint16) * 16,
            u10=grey.astype(np.uint16) * 4,
            unit=grey.astype(np.float32) / 255,
            float255=grey.astype(np.float32),
            i32=grey.astype(np.int32) * 200,
        )[kind]
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
        empty=b"",
        text=b"no picture",
        html=b"<html></html>",
        bomb=bytes(bomb),
        zero=bytes(zero),
        nan=encoded(Image.fromarray(np.full((SIDE, SIDE), np.nan, np.float32)), "TIFF"),
        svg=b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        gif=b"GIF89a",
        jpeg=b"\xff\xd8\xff\xd9",
    )
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
    """A file with flipped bits, or cut: formats with checksums prove themselves, a cut is seen in
    all."""
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
    case.what, case.must = case.rng.choice(("file", "folder")), ("link", "tile_", "annotations")
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


def masked(case, draw, pairs=None):
    "Folders with masks; `draw` makes one of a pair."

    def plain(p):
        return p.mask.astype(np.uint8) * 255

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

    def grey(v):
        return lambda p: p.mask.astype(np.uint8) * np.uint8(v)

    ways = dict(
        one=grey(1),
        white=grey(255),
        bits=lambda p: Image.fromarray(p.mask),
        sixteen=lambda p: p.mask.astype(np.uint16) * 65535,
        sixteen_ids=lambda p: p.mask.astype(np.uint16),
        class_id=grey(case.rng.randint(2, 9)),
        odd=grey(case.rng.choice((20, 100, 200))),
        ignore=lambda p: with_ignore(p.mask, 1),
        ignore_class=lambda p: with_ignore(p.mask, 3),
        red=lambda p: coloured(p.mask, (255, 0, 0), (0, 0, 0)),
        green=lambda p: coloured(p.mask, (0, 255, 0), (0, 0, 0)),
        blue=lambda p: coloured(p.mask, (0, 0, 255), (0, 0, 0)),
        any_colour=lambda p: coloured(p.mask, (10, 80, 200), (0, 0, 0)),
        second=lambda p: coloured(p.mask, (128, 0, 0), (255, 255, 255)),
        second_green=lambda p: coloured(p.mask, (0, 128, 0), (255, 255, 255)),
        transparent=lambda p: coloured(p.mask, (255, 255, 255, 255), (0, 0, 0, 0), "RGBA"),
        transparent_white=lambda p: coloured(p.mask, (255, 0, 0, 255), (255, 255, 255, 0), "RGBA"),
        palette=lambda p: as_palette(p.mask, (255, 255, 255), (0, 0, 0)),
        palette_green=lambda p: as_palette(p.mask, (0, 200, 0), (0, 0, 0)),
        palette_white=lambda p: as_palette(p.mask, (200, 0, 0), (255, 255, 255)),
        black_palette=lambda p: as_palette(p.mask, (0, 0, 0), (0, 0, 0)),
        unit=lambda p: Image.fromarray(p.mask.astype(np.uint8)).convert("L"),
        grey_alpha=lambda p: Image.fromarray(p.mask.astype(np.uint8) * 255).convert("LA"),
    )
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
        missing=lambda _: None,
        empty=lambda _: np.zeros((SIDE, SIDE), np.uint8),
        noise=lambda _: noise,
        shape=lambda _: np.zeros((SIDE, SIDE // 2), np.uint8) + np.uint8(255),
        picture=lambda q: q.b,
    )
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

    def small(p):
        return Image.fromarray(p.mask.astype(np.uint8) * 255).resize(
            (side, side), Image.Resampling.NEAREST
        )

    case.what = f"{side} pixels"
    masked(case, small)
