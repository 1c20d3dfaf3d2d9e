#!/usr/bin/env bash
# Execute the pages that show measured figures (nbs/images/*.json), and make README.md from the front page. To be run after tools/publish_demo.py, tools/ablation.py or a benchmark.
set -euo pipefail
cd "$(dirname "$0")/.."
for page in index pages/method pages/benchmark pages/real_weights pages/regions pages/words zh/quickstart; do
  HF_HUB_OFFLINE=1 jupyter nbconvert --log-level ERROR --to notebook --execute --inplace --ExecutePreprocessor.kernel_name=python3 "nbs/$page.ipynb"
  python3 tools/strip_progress.py "nbs/$page.ipynb"
  nbdev_clean --fname "nbs/$page.ipynb"
done
python3 tools/make_readme.py
