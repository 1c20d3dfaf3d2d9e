#!/usr/bin/env python3
"""The map of rooms in CONTRIBUTING.md: notebook, module, what it holds, what it imports.

python tools/room_map.py           write the map
python tools/room_map.py --check   exit 1 if it is out of date, or if imports do not run downwards
"""

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- rooms: written by tools/room_map.py -->", "<!-- end of rooms -->"


# From the ground up; a room may import from its own stage and from those before it.
STAGES = (
    "base config utils data maps.ground training.order dataset nets model evaluation.metrics"
    " training train evaluation eval agent maps app commands cli"
).split()


def stage(module):
    "Where a module stands in STAGES."
    return STAGES.index(module if module in STAGES else module.split(".")[0])


def rooms():
    "Module -> (notebook, subtitle, modules that it imports), from the ground up."
    found = {}
    for file in sorted((ROOT / "nbs").rglob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        text = ["".join(c["source"]) for c in cells]
        module = next(
            (m[1] for t in text if (m := re.match(r"#\| *default_exp ([\w.]+)", t))), None
        )
        if module is None:
            continue
        title = (m[1].strip() for t in text if (m := re.search(r"^# .*\n+> (.*(?:\n> .*)*)", t)))
        subtitle = next(title, "").replace("\n> ", " ")
        notebook = file.relative_to(ROOT / "nbs").with_suffix("").as_posix()
        found[module] = (notebook, subtitle, imports(module))
    return dict(sorted(found.items(), key=lambda kv: (stage(kv[0]), kv[0])))


def imports(own):
    "Names of this package's modules that a module imports."
    path = ROOT / "vlm_vla" / (own.replace(".", "/") + ".py")
    folder, out = ["vlm_vla", *own.split(".")[:-1]], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            up = folder[: len(folder) + 1 - node.level] if node.level else []
            out.add(".".join([*up, node.module or ""]).strip("."))
        elif isinstance(node, ast.Import):
            out |= {a.name for a in node.names}
    return sorted({n.removeprefix("vlm_vla.") for n in out if n.startswith("vlm_vla.")} - {own})


def upward(found):
    "Imports that do not run downwards, as sentences."
    wrong = [
        f"{m} imports {i}, which stands above it in STAGES"
        for m, r in found.items()
        for i in r[2]
        if i in found and stage(i) > stage(m)
    ]
    done, left = set(), dict(found)
    while left:
        ready = [m for m, r in left.items() if all(i in done or i not in found for i in r[2])]
        if not ready:
            return wrong + [f"imports go round in a circle among {', '.join(sorted(left))}"]
        done |= set(ready)
        left = {m: r for m, r in left.items() if m not in done}
    return wrong


def table(found):
    "The map as Markdown."
    rows = ["| notebook | module | holds | imports |", "|---|---|---|---|"]
    return "\n".join(
        rows
        + [
            f"| [`{nb}`](nbs/{nb}.ipynb) | `{m}` | {what} | "
            f"{', '.join(needs) or 'nothing of ours'} |"
            for m, (nb, what, needs) in found.items()
        ]
    )


def main():
    found, file = rooms(), ROOT / "CONTRIBUTING.md"
    wrong, text = upward(found), file.read_text(encoding="utf-8")
    new = (
        text[: text.index(BEGIN) + len(BEGIN)]
        + "\n"
        + table(found)
        + "\n"
        + text[text.index(END) :]
    )
    if "--check" in sys.argv[1:] and new != text:
        wrong.append(
            "the map of rooms in CONTRIBUTING.md is out of date; run: python tools/room_map.py"
        )
    elif new != text:
        file.write_text(new, encoding="utf-8")
    for w in wrong:
        print(w, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
