#!/usr/bin/env bash
# The site without Quarto: nbdev processes every notebook as for Quarto (import cells run alone), smalldocs renders the result, and all links are checked.
# It shows structure, outputs and links; Quarto's looks it does not show. Needs Python 3.11 or newer, and the package installed with its dev extra.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
env -u PYTHONPATH "$work/venv/bin/pip" install --quiet smalldocs==0.5.4 2>&1 | grep -v -e '^WARNING: Location' -e '^$' -e notice || true
mkdir "$work/bin"
cat > "$work/bin/quarto" <<P
#!/bin/sh
# As nbdev calls it: "quarto render --no-cache" in _proc, or "quarto render index.ipynb ..." for a README, which has its own tool here.
case "\$*" in *.ipynb*) exit 0 ;; render*) exec "$work/venv/bin/smalldocs" render . ;; esac
P
chmod +x "$work/bin/quarto"
PATH="$work/bin:$PATH" bash tools/make_site.sh
