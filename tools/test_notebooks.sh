#!/usr/bin/env bash
# Run every notebook as nbdev does; then those with slow cells again, slow cells included; then kill a training three times. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" HF_HUB_OFFLINE=1 MPLBACKEND=Agg
log=$(mktemp)
trap 'rm -f "$log"' EXIT

count=$(find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -not -path '*/_proc/*' | wc -l)
nbdev_test --timing 2>&1 | tee "$log"
failed=$(sed -n '/^nbdev Tests Failed/,$p' "$log" | grep -c $'^\t' || true)
grep -q -e '^Success' -e '^nbdev Tests Failed' "$log" || { echo "nbdev_test did not finish"; failed=$count; }

slow=0
if [ "$failed" -eq 0 ]; then
  for nb in $(grep -lE '"#\| ?slow' $(find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -not -path '*/_proc/*')); do
    slow=$((slow + 1))
    echo "slow cells of $nb"
    OMP_NUM_THREADS="$(nproc)" VLM_VLA_SLOW=1 nbdev_test --path "$nb" --flags slow || failed=$((failed + 1))
  done
fi
echo "slow cells were run in $slow notebooks"

echo "a training killed three times"
count=$((count + 1))
python tools/kill_test.py --kills 3 || failed=$((failed + 1))

echo "three minutes of damaged inputs"
count=$((count + 1))
python tools/fuzz.py --seconds 180 || failed=$((failed + 1))
echo "$((count - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
