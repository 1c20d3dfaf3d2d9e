#!/usr/bin/env bash
# Build sdist and wheel into dist/, and try the wheel in clean environments: commands are there, the small demo runs, and then the first cell of the notebooks installs it from an attached folder.
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
# The cell installs with --no-deps, so that Kaggle's torch stays; all that vlm_vla needs is there, as in this environment.
"$work/clean/bin/pip" uninstall --quiet --yes vlm_vla
(cd "$work" && PIP_NO_INDEX=1 VLM_VLA_KAGGLE_ROOT="$work/kaggle" PYTHONPATH="$root/tools" "$work/clean/bin/python" -c "
import install_cell
exec(install_cell.CELL)
import vlm_vla.train
print('the first cell installed vlm_vla', vlm_vla.__version__, 'from the attached folder')")
ls -l dist
