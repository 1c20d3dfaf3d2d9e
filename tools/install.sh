#!/usr/bin/env bash
# Install the package for development: with the newest dependencies, or with the oldest that settings.ini allows and that have wheels for this Python.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-newest}" in
  newest) pip install --quiet -e '.[dev]' ;;
  oldest)
    python - > oldest.txt <<'P'
import re
from configparser import ConfigParser
c = ConfigParser(delimiters=["="]); c.read("settings.ini")
name = lambda r: re.match(r"[\w-]+", r)[0]
tools = {name(r) for r in c["DEFAULT"]["dev_requirements"].split()}         # nbdev needs a newer fastcore than the package does
print("\n".join(r.replace(">=", "==") for r in c["DEFAULT"]["requirements"].split() if name(r) not in tools))
print("pyarrow<19")                                                          # of datasets; newer ones need a newer NumPy than the oldest, and do not say so
P
    pip install --quiet -e '.[dev]' -c oldest.txt; rm oldest.txt ;;
  *) echo "usage: tools/install.sh [newest|oldest]"; exit 2 ;;
esac
pip check
python -c "import vlm_vla.train, nbdev; print('installed')"
