#!/usr/bin/env bash
# Example: a slice of a GKE cluster, by xpk (pip install xpk). GKE tells the workers which is which.
# Usage: tpu_scripts/gke.sh CLUSTER gs://BUCKET --config=configs/gsm8k.py:model=HUB_ID --workdir=gs://BUCKET/runs/gsm8k
#        S3FT_TYPE=v6e-16 S3FT_SLICES=2 tpu_scripts/gke.sh ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cluster=$1 bucket=$2
shift 2
printf -v run '%q ' s3ft run "$@"
# exit code 75: stopped from outside, start it again; any other failure would come again
xpk workload create --cluster="$cluster" --workload="s3ft-$(date +%m%d-%H%M)" \
  --tpu-type="${S3FT_TYPE:-v5litepod-16}" --num-slices="${S3FT_SLICES:-1}" \
  --base-docker-image=python:3.11 --script-dir=. --max-restarts=100 --restart-on-exit-codes=75 \
  --command="pip install --quiet --constraint tpu_scripts/constraints.txt -e '.[tpu,eval]' &&
    JAX_COMPILATION_CACHE_DIR=$bucket/programs $run"
