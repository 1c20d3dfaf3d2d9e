#!/usr/bin/env bash
# Render nbs/ to _docs/ and check its links. `quarto` must be on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
export MPLBACKEND=Agg
nbdev_docs
python3 tools/check_links.py _docs
