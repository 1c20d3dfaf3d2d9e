#!/usr/bin/env bash
# Documents that are made from others are up to date, and links lead somewhere. Needs Python and ruff.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check nbs tools
ruff check --quiet --select F821 vlm_vla # a name that a notebook has from a hidden cell
ruff format --check --quiet nbs tools
python3 tools/make_readme.py --check
python3 tools/room_map.py --check
python3 tools/install_cell.py --check
python3 tools/check_links.py
python3 tools/check_cells.py
python3 tools/check_docs.py
python3 tools/check_figures.py
