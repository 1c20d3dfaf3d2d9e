#!/usr/bin/env bash
# Build sdist and wheel into dist/, and try the wheel in a clean environment: commands are there, the small demo runs. With an argument such as v0.1.0: that must be the version.
set -euo pipefail
cd "$(dirname "$0")/.."
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
ls -l dist
