#!/usr/bin/env bash
# Build sdist and wheel into dist/, and try the wheel in clean environments: commands are there, the small demo runs, and the notebooks' first cell finds it in an attached folder.
# With an argument such as v0.1.0: that must be the version.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH
root=$PWD
version=$(sed -n 's/^version *= *//p' settings.ini)
if [ -n "${1:-}" ] && [ "$1" != "v$version" ]; then echo "the tag is $1, settings.ini says $version"; exit 1; fi
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
rm -rf dist
python3 -m venv "$work/build"
"$work/build/bin/pip" install --quiet build
"$work/build/bin/python" -m build --outdir dist . > "$work/log" 2>&1 || { tail -30 "$work/log"; exit 1; }
python3 -m venv "$work/clean"
"$work/clean/bin/pip" install --quiet dist/*.whl
"$work/clean/bin/pip" check
for name in demo check train eval predict; do "$work/clean/bin/vlm_vla_$name" --help > /dev/null; done
(cd "$work" && HF_HUB_OFFLINE=1 MPLBACKEND=Agg "$work/clean/bin/vlm_vla_demo" --small --out demo | tail -20)

mkdir -p "$work/kaggle/input/datasets/somebody/wheels" "$work/kaggle/working"      # as on Kaggle with the Internet off
cp dist/*.whl "$work/kaggle/input/datasets/somebody/wheels"
python3 -m venv "$work/bare"
(cd "$work" && PIP_NO_INDEX=1 VLM_VLA_KAGGLE_ROOT="$work/kaggle" PYTHONPATH="$root/tools" "$work/bare/bin/python" -c "
import install_cell
from importlib.metadata import version
exec(install_cell.CELL)
print('the first cell installed vlm_vla', version('vlm_vla'), 'from the attached folder')")
ls -l dist
