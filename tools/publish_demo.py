#!/usr/bin/env python3
"""Take what the demo measured into the documentation: nbs/images/demo.png, places.png and
demo.json, which the front page, the Chinese one and the page on regions show.

vlm_vla_demo                                  leaves outputs/demo
python tools/publish_demo.py outputs/demo     then tools/refresh_pages.sh
"""

import json
import os
import platform
import sys
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parent.parent / "nbs/images"


def first_table(text):
    "The first Markdown table of a text."
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return "\n".join(lines[start:end])


def sections(text, *titles):
    "The sections of a Markdown text that begin with these words, by title."
    parts = [p.partition("\n\n") for p in text.split("\n## ")[1:]]
    return {name: body.strip() for name, _, body in parts if name.startswith(titles)}


def shrink(image, width=1000):
    "The picture, at most so many pixels wide."
    if image.width <= width:
        return image
    size = width, round(image.height * width / image.width)
    return image.resize(size, Image.Resampling.LANCZOS)


def cpu_name():
    "What this machine calls its processor."
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def some_rows(image, n=6, rows=(0, 2, 5)):
    "Of a gallery of n cases from the best to the worst: the first, one in the middle, the last."
    cut = [
        image.crop((0, round(r * image.height / n), image.width, round((r + 1) * image.height / n)))
        for r in rows
    ]
    out = Image.new("RGB", (image.width, sum(c.height for c in cut)), "white")
    for i, c in enumerate(cut):
        out.paste(c, (0, sum(x.height for x in cut[:i])))
    return out


def main():
    demo = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/demo")
    text = (demo / "report/report.md").read_text(encoding="utf-8")
    run = json.loads((demo / "metrics.json").read_text(encoding="utf-8"))
    metrics = json.loads((demo / "report/metrics.json").read_text(encoding="utf-8"))
    change = next((x for x in text.splitlines() if x.startswith("Change score")), "")
    out = dict(
        table=first_table(text),
        change=change,
        regions=sections(text, "Masks"),
        n_pairs=metrics["n_pairs"],
        n=metrics["n"],
        n_boxes=metrics["n_boxes"],
        steps=run["steps"],
        epochs=run["epochs"],
        train_seconds=round(run["seconds"]),
        evaluate_seconds=round(metrics["seconds"]),
        peak_memory_mib=round(run["peak_memory_mib"]["cpu"]),
        cpu=cpu_name(),
        cores=os.cpu_count(),
        python=platform.python_version(),
    )
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "demo.json").write_text(
        json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    gallery, places = (Image.open(demo / f).convert("RGB") for f in ("gallery.png", "places.png"))
    for name, image in (("demo.png", some_rows(gallery)), ("places.png", some_rows(places))):
        image = shrink(image).quantize(256, dither=Image.Dither.NONE)
        image.save(IMAGES / name, optimize=True)
        print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1024:.0f} kB")
    print(IMAGES / "demo.json")


if __name__ == "__main__":
    main()
