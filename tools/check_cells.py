#!/usr/bin/env python3
"""Does every import cell run alone? nbdev executes the exported cells and those with an import
when it makes the site, and no others. So, in notebooks, imports and other code never share a
cell.
(Exported functions may import inside; what a cell runs in another process may, too.) Stored
outputs hold no progress bars: tools/strip_progress.py takes them out. And a cell that is exported
or shown has at most 30 lines of code.

    python tools/check_cells.py
"""

import ast
import json
import sys
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
MOST_LINES = 30


def mixed(source):
    "Does a cell hold an import, and something else that is executed?"
    if source.startswith("%%"):
        return False  # `%%writefile`: nothing of it is executed
    tree = ast.parse(source)

    def is_import(node):
        return isinstance(node, (ast.Import, ast.ImportFrom))

    return any(map(is_import, ast.walk(tree))) and not all(map(is_import, tree.body))


def wrong(file):
    "(number of the cell, what is wrong with it)."
    for n, cell in enumerate(json.loads(file.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if any(o.get("name") == "stderr" for o in cell.get("outputs", [])):
            yield (
                n,
                (
                    "progress bars in its output; run tools/strip_progress.py"
                    f" nbs/{file.relative_to(NBS)}"
                ),
            )
        flags = [line[2:].strip() for line in source.splitlines() if line.startswith("#|")]
        if cell["cell_type"] == "code" and not {"hide", "echo: false"} & set(flags):
            lines = [x for x in source.splitlines() if x.strip() and not x.startswith("#|")]
            if len(lines) > MOST_LINES:
                yield n, f"{len(lines)} lines; cut it in two, {MOST_LINES} are the most"
        if (
            cell["cell_type"] != "code"
            or "eval: false" in flags
            or any(f.split()[0] in ("export", "exporti", "exports") for f in flags if f)
        ):
            continue
        if mixed(source):
            yield (
                n,
                "move `"
                + next(line.strip() for line in source.splitlines() if "import " in line)
                + "` to the import cell at the top",
            )


def main():
    assert (
        mixed("import a\nb = 1")
        and mixed("if x:\n  import a")
        and not mixed("import a\nfrom b import *")
        and not mixed("'import a'; c = 1")
    )
    found = [
        f"{f.relative_to(NBS)}, cell {n}: {what}"
        for f in sorted(NBS.rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in f.parts
        for n, what in wrong(f)
    ]
    print("\n".join(found) or "every import cell runs alone")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
