#!/usr/bin/env bash
# The experiment behind the README's results: three tasks, four methods, SEEDS seeds each, with the near-gold control.
# Resumable. Usage: benchmarks/pocket_experiment.sh [SEEDS] [TASK ...]     results go to runs/experiment/
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-3}
shift || true
tasks=("${@:-programs}")
[ $# -gt 0 ] || tasks=(programs arithmetic reading)
for task in "${tasks[@]}"; do
  near="runs/experiment/$task-near"
  s3ft run --config="configs/quickstart.py:task=$task,gold=near,seeds=$seeds" --workdir="$near" --config.methods=sft,s3ft
  s3ft run --config="configs/quickstart.py:task=$task,seeds=$seeds" --workdir="runs/experiment/$task" \
    --config.report.control="$near"
done
python -m benchmarks.results_table runs/experiment
