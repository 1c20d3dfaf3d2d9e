#!/usr/bin/env python3
"""Does a scan of a large map find what an agent finds in single tiles, and what does it cost?

    python tools/scan_study.py RUN --out scan.json

Draws a map of scenes with known changes, scans it with the agent of RUN, and counts what was found,
missed and false at an IoU of 0.3: whole in a tile of its own, in a scan with overlapping tiles, and
in one whose tiles only touch. A scan of a small map tells how memory grows; one that is killed
again and again, whether it ends the same. With --work the map is kept and used again.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import torch
from rasterio.features import shapes
from rasterio.transform import Affine, from_origin
from rasterio.windows import Window
from shapely import union_all
from shapely.affinity import affine_transform
from shapely.geometry import shape

from vlm_vla.agent import ChangeAgent
from vlm_vla.data.facts import Fact, say
from vlm_vla.data.scenes import make_scene
from vlm_vla.evaluation.windows import without_place
from vlm_vla.maps.ground import Ground
from vlm_vla.maps.mosaic import CELL, Strip, tiles, trace
from vlm_vla.maps.scan import look_of
from vlm_vla.nets.region import at_size
from vlm_vla.utils import progress_bar

SCENE, TILE, METRES = 1000, 256, 0.5  # pixels, pixels, side of a pixel
CRS, CORNER = "EPSG:32614", (500_000, 3_400_000)
KINDS = ("building", "built"), ("building", "removed"), ("road", "built"), ("parking", "built")
SENTENCES = {say(Fact(*kind)): kind for kind in KINDS}
LEAST_IOU = 0.3


def drawn(job: tuple) -> tuple:
    "(both dates, truth as (kind, event, polygon in the scene's pixels)) of one scene."
    scene, truth = make_scene(np.random.SeedSequence(job), SCENE, True, 1.0), []
    for c in scene.changes:
        for thing, event in ((c.new, "built"), (c.old, "removed")):
            if thing:
                mask, at = thing.alpha >= 0.5, Affine.translation(thing.x, thing.y)
                parts = shapes(mask.astype(np.uint8), mask, transform=at)
                truth.append((thing.kind, event, union_all([shape(g) for g, _ in parts])))
    return scene.image_t1, scene.image_t2, truth


def make_map(folder: Path, n: int, workers: int):
    "Two GeoTIFFs of n x n scenes, and what changed between them, in their pixels."
    folder.mkdir(parents=True)
    side, truth = n * SCENE, []
    grid = dict(crs=CRS, transform=from_origin(*CORNER, METRES, METRES), tiled=True)
    grid |= dict(width=side, height=side, count=3, dtype="uint8", blockxsize=512, blockysize=512)
    jobs = [(n, row, column) for row in range(n) for column in range(n)]
    with (
        rasterio.open(folder / "t1.tif", "w", driver="GTiff", **grid) as first,
        rasterio.open(folder / "t2.tif", "w", driver="GTiff", **grid) as second,
        ProcessPoolExecutor(workers) as pool,
    ):
        scenes = progress_bar(pool.map(drawn, jobs), total=len(jobs), desc="draw", unit="scene")
        for (_, row, column), (a, b, things) in zip(jobs, scenes):
            window = Window(column * SCENE, row * SCENE, SCENE, SCENE)
            for f, picture in ((first, a), (second, b)):
                f.write(np.moveaxis(picture, -1, 0), window=window)
            to = Affine.translation(column * SCENE, row * SCENE)
            truth += [(k, e, affine_transform(g, to.to_shapely())) for k, e, g in things]
    kinds, events, geometry = zip(*truth)
    table = gpd.GeoDataFrame(dict(kind=kinds, event=events), geometry=list(geometry), crs=CRS)
    table.to_file(folder / "truth.gpkg")  # its coordinates are pixels


def matched(found: list, true: list) -> dict:
    "Found, missed and false things: each polygon counts for one thing, the best pairs first."
    tree = gpd.GeoSeries(true).sindex
    pairs = []
    for i, g in enumerate(found):
        for j in tree.query(g):
            iou = g.intersection(true[j]).area / g.union(true[j]).area
            if iou >= LEAST_IOU:
                pairs.append((iou, i, int(j)))
    used, hit = set(), set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in used and j not in hit:
            used.add(i)
            hit.add(j)
    return dict(true=len(true), found=len(hit), false=len(found) - len(used))


def in_own_tiles(agent, ground, truth: dict) -> dict:
    "The same changes, each whole in a tile of its own."
    look, found, rng = look_of(agent), {s: dict(true=0, found=0) for s in truth}, random.Random(0)
    cells = TILE // CELL
    with tempfile.TemporaryDirectory() as work:
        for sentence, things in truth.items():
            for g in progress_bar(things, desc=sentence, unit="tile"):
                x1, y1, x2, y2 = map(int, g.bounds)
                x, y = rng.randint(x2 - TILE, x1), rng.randint(y2 - TILE, y1)
                x, y = (min(max(0, v), ground.width - TILE) for v in (x, y))
                pictures, _ = ground.read(x, y, TILE)
                (change,), (p,) = look(pictures, [without_place(sentence)])
                p = at_size(torch.from_numpy(p).float()[None], cells, cells)[0].numpy()
                strip = Strip(0, p * (change >= 0.5), p, np.ones_like(p, bool))
                at = Affine.translation(x, y) * Affine.scale(CELL)
                parts = trace(lambda s=strip: [s], agent.threshold, p.shape, at, Path(work))
                found[sentence]["true"] += 1
                found[sentence]["found"] += matched([q for q, *_ in parts], [g])["found"]
    return dict(found, **total(found.values()))


SCAN = """
import re, sys
from pathlib import Path
from vlm_vla.cli import scan_command
code = scan_command(sys.argv[2:])
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
Path(sys.argv[1]).write_text(peak)
sys.exit(code)
"""  # Linux: the peak of the memory of this process alone, in KiB


def command(run: str, folder: Path, out: Path, overlap: int) -> list:
    "A scan of a map that leaves its peak of memory in peak.txt."
    asked = [word for s in SENTENCES for word in ("--caption", s)]
    maps = ["--t1", str(folder / "t1.tif"), "--t2", str(folder / "t2.tif")]
    more = ["--overlap", str(overlap), "--out", str(out)]
    return [sys.executable, "-c", SCAN, str(folder / "peak.txt"), run, *maps, *asked, *more]


def remove(out: Path):
    "A scan's results, and what it left unfinished."
    for path in out.parent.glob(out.stem + "*"):
        if path.is_file():
            path.unlink()


def scanned(run: str, folder: Path, name: str, overlap: int, truth: dict = None) -> dict:
    "Seconds and memory of a scan, and what it found."
    out = folder / f"{name}.gpkg"
    remove(out)
    start = time.perf_counter()
    subprocess.run(command(run, folder, out, overlap), check=True)
    with rasterio.open(folder / "t1.tif") as f:
        km2 = f.width * f.height * METRES**2 / 1e6
    row = dict(seconds=time.perf_counter() - start, km2=km2)
    row["mib"] = int((folder / "peak.txt").read_text()) / 1024
    if truth is None:
        return row
    to = ~from_origin(*CORNER, METRES, METRES)
    for sentence, things in truth.items():
        layer = gpd.read_file(out, layer=sentence)
        row[sentence] = matched(list(layer.geometry.affine_transform(to.to_shapely())), things)
    return dict(row, **total(row[s] for s in truth))


def total(counts) -> dict:
    "Counts of all sentences together."
    counts = list(counts)
    return {k: sum(c[k] for c in counts) for k in counts[0]}


def n_seen(out: Path) -> int:
    "How many tiles an unfinished scan has kept."
    path = out.with_name(out.name + ".tiles.sqlite")
    if not path.is_file():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        try:
            return base.execute("select count(*) from seen where k = 0").fetchone()[0]
        except sqlite3.OperationalError:  # not there yet, or being written
            return 0


def killed(run: str, folder: Path, n_tiles: int, times: int) -> dict:
    "Is a scan that is killed again and again the same as one that was not?"
    out, kills = folder / "killed.gpkg", 0
    remove(out)
    for least in sorted(random.Random(0).sample(range(1, n_tiles), times)):
        job = subprocess.Popen(command(run, folder, out, 64))
        while job.poll() is None and n_seen(out) < least:
            time.sleep(0.02)
        kills += job.poll() is None
        job.send_signal(signal.SIGKILL)
        job.wait()
    subprocess.run(command(run, folder, out, 64), check=True)
    whole = folder / "whole.gpkg"
    for layer in gpd.list_layers(whole).name:
        a, b = (gpd.read_file(p, layer=layer) for p in (whole, out))
        if not a.equals(b):
            raise AssertionError(f"layer {layer!r} differs after {kills} kills")
    for k in range(len(SENTENCES)):
        a, b = (p.with_name(f"{p.stem}_{k + 1}.tif").read_bytes() for p in (whole, out))
        if a != b:
            raise AssertionError(f"raster {k + 1} differs after {kills} kills")
    return dict(kills=kills, same=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="a trained agent with a region head")
    parser.add_argument("--out", type=Path, default=Path("scan.json"), help="results")
    parser.add_argument("--work", type=Path, help="folder for the maps; kept")
    parser.add_argument("--scenes", type=int, default=20, help="of 1,000 pixels, a side")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    agent = ChangeAgent.from_pretrained(args.run)
    with tempfile.TemporaryDirectory() as home:
        root, told = args.work or Path(home), {}
        large, small = (root / f"map-{n}" for n in (args.scenes, 2))
        for folder, n in ((large, args.scenes), (small, 2)):
            if not (folder / "truth.gpkg").is_file():
                make_map(folder, n, args.workers)
        table = gpd.read_file(large / "truth.gpkg")
        truth = {
            s: list(table.geometry[(table.kind == kind) & (table.event == event)])
            for s, (kind, event) in SENTENCES.items()
        }
        with Ground(large / "t1.tif", large / "t2.tif") as ground:
            told["own tile"] = in_own_tiles(agent, ground, truth)
        told["small"] = scanned(args.run, small, "whole", 64)
        with rasterio.open(small / "t1.tif") as f:
            n_tiles = len(tiles(f.width, f.height))
        told["killed"] = killed(args.run, small, n_tiles, args.kills)
        told["overlap 64"] = scanned(args.run, large, "overlap64", 64, truth)
        told["overlap 0"] = scanned(args.run, large, "overlap0", 0, truth)
        told |= dict(sentences=list(SENTENCES), pixels=args.scenes * SCENE, metres=METRES)
    args.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
