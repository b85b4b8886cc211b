#!/usr/bin/env bash
# The recipe, one stage a line: what `s3ft run` does, for running stages apart (sampling on a pod, judging on any CPU).
# Usage: tpu_scripts/run_s3ft.sh CONFIG WORKDIR [METHOD ...] [--config.KEY=VALUE ...]
#        SEEDS="0 1" tpu_scripts/run_s3ft.sh ...      restartable: what is done is skipped
set -euo pipefail
config=$1 workdir=$2
shift 2
methods=() overrides=() seeds=${SEEDS:-0}
for word; do case $word in --*) overrides+=("$word") ;; *) methods+=("$word") ;; esac done
[ ${#methods[@]} -gt 0 ] || methods=(s3ft)
list() { local IFS=,; echo "$*"; }
# shellcheck disable=SC2086
overrides+=("--config.methods=$(list "${methods[@]}")" "--config.train.seeds=$(list $seeds)") # what the report is of
s3ft() { command s3ft "$@" --config="$config" --workdir="$workdir" "${overrides[@]}"; }

s3ft import
s3ft prepare
s3ft measure
s3ft sample own
s3ft judge own
s3ft sample paraphrase
s3ft judge paraphrase
# with --config.select.paraphrase_gate=likelier: s3ft gate; for methods with a repair rung: s3ft sample repair, judge repair
s3ft evaluate base
for method in "${methods[@]}"; do
  s3ft select "$method"
  for seed in $seeds; do
    s3ft train "$method" --seed="$seed"
    s3ft evaluate "$method" --seed="$seed"
  done
done
s3ft report
