#!/usr/bin/env bash
# Render nbs/ to _docs/ and check its links. `quarto` must be on PATH (tools/render_standin.sh brings something that will do where Quarto cannot be had).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v quarto > /dev/null || { echo "quarto is not on PATH: https://quarto.org/docs/get-started, or bash tools/render_standin.sh"; exit 1; }
export MPLBACKEND=Agg HF_HUB_OFFLINE=1
rm -rf _proc _docs
touch README.md                                   # it is made by tools/make_readme.py; nbdev would make another when index.ipynb is newer
nbdev_docs --n_workers "${WORKERS:-$(nproc)}"
python3 tools/check_links.py _docs
