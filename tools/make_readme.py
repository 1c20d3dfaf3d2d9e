#!/usr/bin/env python3
"""README.md from nbs/index.ipynb: prose as it is, code in fences, text outputs below; hidden
cells and progress bars left out.
And the site's copies of CONTRIBUTING.md and CHANGELOG.md, with their links bent.

    python tools/make_readme.py           write them
    python tools/make_readme.py --check   exit 1 if one is not what would be written
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "nbs/index.ipynb"
PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}  # on the site: at the top


def hidden(source):
    "Is a cell marked so that it does not show?"
    return re.search(r"^#\|\s*(hide|include:\s*false)\s*$", source, re.M) is not None


def code(source):
    "A code cell without its directives, in a fence; nothing if only its output shows."
    echo = re.search(r"^#\|\s*echo:\s*false\s*$", source, re.M) is None
    body = re.sub(r"^#\|.*\n?", "", source, flags=re.M).strip()
    return [f"```python\n{body}\n```"] if echo and body else []


def outputs(cell):
    "The text that a code cell printed or returned."
    texts = []
    for out in cell["outputs"]:
        if out.get("name") == "stderr":
            continue
        data = out.get("data", {})
        if "text/markdown" in data:
            texts.append(relink("".join(data["text/markdown"]).strip()))
        elif text := "".join(out.get("text") or data.get("text/plain") or []).strip():
            texts.append(f"```\n{text}\n```")
    return texts


def relink(text):
    "Links of the notebook, relative to nbs/, as links relative to the top folder."

    def bend(m):
        target = m[2].split("#")[0]
        return m[1] + (PAGES[target] + m[2][len(target) :] if target in PAGES else "nbs/" + m[2])

    return re.sub(r"(\]\(|src=\")(?!https?:|#|mailto:)([^)\s\"]+)", bend, text)


def convert(notebook):
    "The whole document as Markdown."
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if hidden(source):
            continue
        if cell["cell_type"] == "markdown":
            parts.append(relink(source.strip()))
        elif cell["cell_type"] == "code":
            parts += code(source) + outputs(cell)
    return (
        "<!-- Made from nbs/index.ipynb by tools/make_readme.py; edit that. -->\n\n"
        + "\n\n".join(p for p in parts if p)
        + "\n"
    )


def documents():
    "File -> its text."
    yield ROOT / "README.md", convert(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](nbs/", "](")
        title, body = re.fullmatch(r"# ([^\n]+)\n+(.*)", text, re.S).groups()
        yield (
            ROOT / "nbs" / page,
            (
                f"---\ntitle: {title}\n---\n<!-- A copy of {source}, made by tools/make_readme.py."
                f" -->\n\n{body}"
            ),
        )


def main():
    stale = [
        (file, text)
        for file, text in documents()
        if not file.is_file() or file.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for file, _ in stale:
            print(
                f"{file.relative_to(ROOT)} is out of date; run: python tools/make_readme.py",
                file=sys.stderr,
            )
        return 1 if stale else 0
    for file, text in stale:
        file.write_text(text, encoding="utf-8")
    (ROOT / "README.md").touch()  # nbdev asks whether it is newer than the notebook
    print(
        "written: "
        + (", ".join(str(f.relative_to(ROOT)) for f, _ in stale) or "nothing, all were up to date")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
