#!/usr/bin/env python3
"""Does every import cell run alone? nbdev executes the exported cells and those with an import when it makes the site, and no others. So, in notebooks, imports and other code never share a cell.
(Exported functions may import inside; what a cell runs in another process may, too.)

    python tools/check_cells.py
"""
import ast, json, sys
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent/"nbs"


def mixed(source):
    "Does a cell hold an import, and something else that is executed?"
    tree = ast.parse(source)
    is_import = lambda node: isinstance(node, (ast.Import, ast.ImportFrom))
    return any(map(is_import, ast.walk(tree))) and not all(map(is_import, tree.body))


def wrong(file):
    "(number of the cell, its first import) of cells that do not run alone."
    for n, cell in enumerate(json.loads(file.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        flags = [line[2:].strip() for line in source.splitlines() if line.startswith("#|")]
        if cell["cell_type"] != "code" or "eval: false" in flags or any(f.split()[0] in ("export", "exporti", "exports") for f in flags if f): continue
        if mixed(source): yield n, next(line.strip() for line in source.splitlines() if "import " in line)


def main():
    assert mixed("import a\nb = 1") and mixed("if x:\n  import a") and not mixed("import a\nfrom b import *") and not mixed("'import a'; c = 1")
    found = [f"{f.relative_to(NBS)}, cell {n}: move `{line}` to the import cell at the top" for f in sorted(NBS.rglob("*.ipynb")) if ".ipynb_checkpoints" not in f.parts for n, line in wrong(f)]
    print("\n".join(found) or "every import cell runs alone")
    return 1 if found else 0


if __name__ == "__main__": sys.exit(main())
