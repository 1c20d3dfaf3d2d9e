"""Arrow and parquet tables, and the caches of a data set."""

import json
import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_vla.data.sources import open_pairs
from vlm_vla.model import quiet

from .annotations import NAMES, NAN, annotated
from .world import (
    CHANGED,
    SIDE,
    damage,
    encoded,
    features_of,
    must_refuse,
    mutation,
    replace_bytes,
    write_pictures,
    write_rows,
)


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
    columns, kind = (
        arrow_table(case),
        case.rng.choice(
            ("binary", "large", "dictionary", "struct", "text", "names", "ints", "extra")
        ),
    )

    def pictures(k):
        return [v["bytes"] for v in columns[k]]

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
    case.said = ("pairs",)  # any report


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
    spoil(case, "*.arrows")
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
