#!/usr/bin/env bash
# Notebooks and package in step: exporting and cleaning must leave the tree as it was.
set -euo pipefail
cd "$(dirname "$0")/.."
before=$(git status --porcelain; git diff | sha256sum)
nbdev_export
nbdev_clean
after=$(git status --porcelain; git diff | sha256sum)
if [ "$before" != "$after" ]; then
  echo "notebooks and package are out of step; run nbdev_export && nbdev_clean and commit:"
  git status --porcelain
  exit 1
fi
echo "notebooks and package are in step"
