#!/usr/bin/env python3
"""README.md from nbs/index.ipynb: prose as it is, code in fences, text outputs below; hidden cells and progress bars left out.

    python tools/make_readme.py           write README.md
    python tools/make_readme.py --check   exit 1 if README.md is not what would be written
"""
import json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK, README = ROOT/"nbs/index.ipynb", ROOT/"README.md"


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
        if out.get("name") == "stderr": continue
        data = out.get("data", {})
        if "text/markdown" in data: texts.append(relink("".join(data["text/markdown"]).strip()))
        elif (text := "".join(out.get("text") or data.get("text/plain") or []).strip()): texts.append(f"```\n{text}\n```")
    return texts


def relink(text):
    "Links of the notebook, relative to nbs/, as links relative to the top folder."
    return re.sub(r"(\]\(|src=\")(?!https?:|#|mailto:|\.\./)", r"\1nbs/", text).replace("](../", "](").replace('src="../', 'src="')


def convert(notebook):
    "The whole document as Markdown."
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if hidden(source): continue
        if cell["cell_type"] == "markdown": parts.append(relink(source.strip()))
        elif cell["cell_type"] == "code": parts += code(source) + outputs(cell)
    return f"<!-- Made from nbs/index.ipynb by tools/make_readme.py; edit that. -->\n\n" + "\n\n".join(p for p in parts if p) + "\n"


def main():
    text = convert(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    if "--check" in sys.argv[1:]:
        if README.read_text(encoding="utf-8") == text: return 0
        print("README.md is not what nbs/index.ipynb gives; run: python tools/make_readme.py", file=sys.stderr)
        return 1
    README.write_text(text, encoding="utf-8")
    print(f"{README.relative_to(ROOT)}: {len(text):,} characters")
    return 0


if __name__ == "__main__": sys.exit(main())
