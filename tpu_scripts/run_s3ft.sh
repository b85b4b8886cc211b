#!/usr/bin/env bash
# The recipe, one stage a line: what `s3ft run` does, for running stages apart (sampling on a pod, judging on any CPU).
# Usage: tpu_scripts/run_s3ft.sh CONFIG WORKDIR [METHOD ...]      restartable: what is done is skipped
set -euo pipefail
config=$1 workdir=$2
shift 2
methods=("${@:-s3ft}")
s3ft() { command s3ft "$@" --config="$config" --workdir="$workdir"; }

s3ft import
s3ft prepare
s3ft sample own
s3ft judge own
s3ft sample paraphrase
s3ft judge paraphrase
# with --config.select.paraphrase_gate=likelier: s3ft gate; for methods with a repair rung: s3ft sample repair, judge repair
s3ft evaluate base
for method in "${methods[@]}"; do
  s3ft select "$method"
  s3ft train "$method"
  s3ft evaluate "$method"
done
s3ft report
