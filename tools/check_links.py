#!/usr/bin/env python3
"""Do links lead somewhere? In notebooks and Markdown pages: relative links and pictures, and
headings they name; the sidebar: every notebook is in it, and nothing else.

python tools/check_links.py              sources (nbs/, README.md, CONTRIBUTING.md, CHANGELOG.md)
python tools/check_links.py _docs        the rendered site: links between its pages
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
MARKDOWN = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def prose(file):
    "The Markdown text of a page, without code."
    if file.suffix == ".ipynb":
        text = "\n\n".join(
            "".join(c["source"])
            for c in json.loads(file.read_text(encoding="utf-8"))["cells"]
            if c["cell_type"] == "markdown"
        )
    else:
        text = file.read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def broken(file, links):
    "Relative links of a page that lead nowhere."
    for link in links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not parts.path:
            continue
        if not (file.parent / unquote(parts.path)).exists():
            yield (
                f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}: {link} leads"
                " nowhere"
            )


def pages():
    "Notebooks and Markdown pages."
    found = [
        p
        for p in sorted((ROOT / "nbs").rglob("*"))
        if p.suffix in (".ipynb", ".md", ".qmd")
        and ".ipynb_checkpoints" not in p.parts
        and not p.is_symlink()
    ]
    return found + [
        p for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (p := ROOT / n).is_file()
    ]


def sidebar():
    "What is wrong with nbs/sidebar.yml."
    named = re.findall(
        r"^\s*- ([\w./-]+\.(?:ipynb|md|qmd))\s*$",
        (ROOT / "nbs/sidebar.yml").read_text(encoding="utf-8"),
        re.M,
    )
    there = {
        p.relative_to(ROOT / "nbs").as_posix()
        for p in (ROOT / "nbs").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in p.parts
    }
    yield from (
        f"nbs/sidebar.yml names {n}, which is not there"
        for n in named
        if not (ROOT / "nbs" / n).exists()
    )
    yield from (f"nbs/sidebar.yml lacks {n}" for n in sorted(there - set(named)))


class Anchors(HTMLParser):
    "Links and names of an HTML page."

    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get("id"):
            self.ids.add(a["id"])
        for key in ("href", "src"):
            if a.get(key):
                self.links.append(a[key])


def site(folder):
    "What is wrong with the links of a rendered site."
    read = {
        p.resolve(): Anchors(p.read_text(encoding="utf-8", errors="replace"))
        for p in folder.rglob("*.html")
    }
    if not read:
        yield f"{folder} holds no pages"
    for page, anchors in read.items():
        yield from broken(page, anchors.links)
        for link in anchors.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.fragment:
                continue
            target = read.get((page.parent / unquote(parts.path)).resolve() if parts.path else page)
            if target and unquote(parts.fragment) not in target.ids:
                yield f"{page}: {link} names a heading that is not there"


def main():
    if len(sys.argv) > 1:
        wrong, n = list(site(Path(sys.argv[1]))), len(list(Path(sys.argv[1]).rglob("*.html")))
    else:
        files = pages()
        wrong, n = (
            [w for f in files for w in broken(f, MARKDOWN.findall(prose(f)))] + list(sidebar()),
            len(files),
        )
    print("\n".join(wrong + [f"{n} pages, {len(wrong)} wrong links"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
