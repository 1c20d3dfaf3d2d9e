#!/usr/bin/env bash
# Run every notebook as nbdev does, slow cells included; then those of the evaluation as a simpler chip rounds; then kill
# trainings and other jobs three times each; then damaged inputs. Ends with "N passed, N failed".
# --chips: nothing but all notebooks, as each of three simpler chips rounds (before a release).
set -uo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" HF_HUB_OFFLINE=1 MPLBACKEND=Agg
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# How sums are rounded depends on the vector units of the chip. Each of these switches some off, as if it were a simpler chip:
# in oneDNN those beyond AVX-512 (AMX), or beyond AVX2; in PyTorch itself all of them.
simpler=("ONEDNN_MAX_CPU_ISA=AVX512_CORE" "ONEDNN_MAX_CPU_ISA=AVX2" "ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=default")
if [ "${1:-}" = --chips ]; then
  failed=0
  for chip in "${simpler[@]}"; do
    echo "all notebooks with $chip"
    env $chip nbdev_test || failed=$((failed + 1))
  done
  echo "$((${#simpler[@]} - failed)) chips passed, $failed failed"
  [ "$failed" -eq 0 ]
  exit
fi

count=$(find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -not -path '*/_proc/*' | wc -l)
VLM_VLA_SLOW=1 nbdev_test --flags slow --timing 2>&1 | tee "$log"
failed=$(sed -n '/^nbdev Tests Failed/,$p' "$log" | grep -c $'^\t' || true)
grep -q -e '^Success' -e '^nbdev Tests Failed' "$log" || { echo "nbdev_test did not finish"; failed=$count; }

echo "evaluation with ${simpler[2]}"
count=$((count + 1))
env ${simpler[2]} nbdev_test --path nbs --file_re '^(04_eval|probes)\.ipynb$' || failed=$((failed + 1))

echo "trainings and other jobs killed three times each"
count=$((count + 1))
python tools/kill_test.py --kills 3 || failed=$((failed + 1))

echo "damaged inputs for 75 seconds"
count=$((count + 1))
python tools/fuzz.py --seconds 75 || failed=$((failed + 1))
echo "$((count - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
