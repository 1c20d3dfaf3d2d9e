#!/usr/bin/env python3
"""Do the pages show the figures that were measured last? Their cells that turn nbs/images/*.json
into text are run again, and compared with the stored outputs.

python tools/check_figures.py
"""

import ast
import json
import os
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
PAGES = (
    *("index", "pages/benchmark", "pages/method", "pages/real_weights"),
    *("pages/regions", "tutorials/maps", "zh/quickstart"),
)


def shows_figures(source):
    "Is it a cell whose code is not shown and whose output is Markdown?"
    return re.match(r"#\| *echo: *false", source) and "Markdown(" in source


def only_defines(source):
    "Are there functions in it, and beside them nothing but assignments?"
    body = [] if source.startswith("%%") else ast.parse(source).body
    kinds = {type(node) for node in body}
    return ast.FunctionDef in kinds and kinds <= {ast.FunctionDef, ast.Assign}


def stored(cell):
    "The Markdown that a cell gave when it was executed; None if it gave none."
    return next(
        (
            "".join(o["data"]["text/markdown"])
            for o in cell["outputs"]
            if "text/markdown" in o.get("data", {})
        ),
        None,
    )


def now(source, namespace):
    "What the last expression of a cell gives now."
    tree = ast.parse(source)
    last = tree.body.pop()
    exec(compile(tree, "cell", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


def stale(page):
    "Is a stored output of a page not what its cell gives now?"
    file = NBS / f"{page}.ipynb"
    os.chdir(file.parent)
    namespace = dict(json=json, Path=Path, Markdown=str)
    if find_spec("numpy"):
        namespace["np"] = import_module("numpy")
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        if shows_figures(source) and now(source, namespace) != stored(cell):
            return True
        if only_defines(source):
            exec(source, namespace)
    return False


def main():
    found = [p for p in PAGES if (p != "pages/method" or find_spec("numpy")) and stale(p)]
    print(
        f"not up to date with nbs/images: {', '.join(found)}; run: bash tools/refresh_pages.sh"
        if found
        else "pages show the figures that were measured last"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
