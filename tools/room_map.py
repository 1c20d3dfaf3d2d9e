#!/usr/bin/env python3
"""The map of rooms in CONTRIBUTING.md: which notebook makes which module, what it holds, what it imports.

python tools/room_map.py           write the map
python tools/room_map.py --check   exit 1 if it is out of date, if a room imports one with a higher number, or if imports go round in a circle
"""

import ast, json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- rooms: written by tools/room_map.py -->", "<!-- end of rooms -->"


def rooms():
    "Module -> (notebook, subtitle, modules that it imports), in the order of the notebooks."
    found = {}
    for file in sorted((ROOT / "nbs").glob("*.ipynb")):
        text = ["".join(c["source"]) for c in json.loads(file.read_text(encoding="utf-8"))["cells"]]
        module = next((m[1] for t in text if (m := re.match(r"#\| *default_exp (\w+)", t))), None)
        if module is None:
            continue
        subtitle = next(
            (m[1].strip() for t in text if (m := re.search(r"^# .*\n+> (.*(?:\n> .*)*)", t))), ""
        ).replace("\n> ", " ")
        found[module] = (file.stem, subtitle, imports(ROOT / f"vlm_vla/{module}.py", module))
    return found


def imports(path, own):
    "Names of this package's modules that a module imports."
    out = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            out.add(node.module)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vlm_vla."):
            out.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            out |= {a.name.split(".")[1] for a in node.names if a.name.startswith("vlm_vla.")}
    return sorted(out - {own})


def upward(found):
    "Imports that do not run downwards, as sentences."
    number = {m: r[0][:2] for m, r in found.items()}
    wrong = [
        f"{m} ({number[m]}) imports {i} ({number[i]})"
        for m, r in found.items()
        for i in r[2]
        if i in number and number[i] > number[m]
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
            f"| [`{nb}`](nbs/{nb}.ipynb) | `{m}` | {what} | {', '.join(needs) or 'nothing of ours'} |"
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
