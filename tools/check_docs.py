#!/usr/bin/env python3
"""Is everything public explained? Every function and class in a module's __all__ has a
docstring; every parameter of a public function, of a public class's __init__ and every field of
a public
dataclass has a docment: a comment behind it, on its own line. Reads the source only, so it needs
nothing but Python.

    python tools/check_docs.py             what is missing, by module; exit 1 if anything is
    python tools/check_docs.py --count     one line for each module
"""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "vlm_vla"


def public(tree):
    "The names in __all__."
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            getattr(t, "id", "") == "__all__" for t in node.targets
        ):
            return set(ast.literal_eval(node.value))
    return set()


def comments(text):
    "Lines that end in a comment about their code, and lines that are nothing but one."
    lines, behind, alone = text.splitlines(), set(), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        code = lines[token.start[0] - 1][: token.start[1]].strip()
        if not code:
            alone.add(token.start[0])
        elif not re.search(r"\)\s*(->[^:]*)?:", code):
            behind.add(
                token.start[0]
            )  # where a signature ends the comment is about what is returned
    return behind, alone


def bare(places, behind, alone):
    """Of (name, first line, last line) those without a comment of their own: the last of a line has
    the one behind it, the first the one above."""
    last, first = {}, {}
    for name, start, end in places:
        last[end] = name
        first.setdefault(start, name)
    return [
        name
        for name, start, end in places
        if not (end in behind and last[end] == name)
        and not (start - 1 in alone and first[start] == name)
    ]


def parameters(function):
    "(name, first line, last line) of what a caller passes."
    a = function.args
    named = [
        *a.posonlyargs,
        *a.args,
        *([a.vararg] if a.vararg else []),
        *a.kwonlyargs,
        *([a.kwarg] if a.kwarg else []),
    ]
    ends = {
        id(arg): default.end_lineno
        for arg, default in [
            *zip(reversed([*a.posonlyargs, *a.args]), reversed(a.defaults)),
            *zip(a.kwonlyargs, a.kw_defaults),
        ]
        if default is not None
    }
    return [
        (arg.arg, arg.lineno, ends.get(id(arg), arg.end_lineno))
        for arg in named
        if arg.arg not in ("self", "cls", "mcs")
    ]


def is_dataclass(node):
    "Is a class decorated as a dataclass?"
    names = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(getattr(n, "id", getattr(n, "attr", "")) == "dataclass" for n in names)


def gaps(text):
    "(name, what is missing) for each public name of a module that lacks something."
    tree, (behind, alone) = ast.parse(text), comments(text)
    names = public(tree)
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name not in names:
            continue
        if not ast.get_docstring(node):
            yield node.name, "docstring"
        if isinstance(node, ast.FunctionDef):
            places = parameters(node)
        elif is_dataclass(node):
            places = [
                (f.target.id, f.lineno, f.end_lineno)
                for f in node.body
                if isinstance(f, ast.AnnAssign)
            ]
        else:
            places = next(
                (
                    parameters(m)
                    for m in node.body
                    if isinstance(m, ast.FunctionDef) and m.name == "__init__"
                ),
                [],
            )
        if missing := bare(places, behind, alone):
            yield node.name, "docments of " + ", ".join(missing)


def self_test():
    "The check can fail."
    text = (
        '__all__ = ["f", "g", "C"]\ndef f(a, # what\n      b=1, c=2 # c\n     ) -> int: # result\n '
        ' "Doc."\ndef g(\n    # above\n    x,\n    y # behind\n): pass\n@dataclass\nclass C:\n '
        ' "Doc."\n  p: int # p\n  q: int\ndef h(z): pass\n'
    )
    found = list(gaps(text))
    assert found == [("f", "docments of b"), ("g", "docstring"), ("C", "docments of q")], found


def main():
    self_test()
    total = 0
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name.startswith("_"):
            continue
        found = list(gaps(file.read_text(encoding="utf-8")))
        total += len(found)
        if "--count" in sys.argv[1:]:
            print(f"{file.stem:<12}{len(found)}")
        else:
            print(
                "\n".join(f"{file.stem}.{name}: {what}" for name, what in found),
                end="\n" if found else "",
            )
    print(
        f"{total} public names are not wholly explained"
        if total
        else "every public name and parameter is explained"
    )
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
