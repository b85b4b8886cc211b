#!/usr/bin/env bash
# Example: two GPU machines under Slurm, one process on each. Which process is which, Slurm says (SLURM_PROCID).
# Usage: sbatch tpu_scripts/slurm.sh --config=configs/gsm8k.py:model=FOLDER --workdir=/shared/runs/gsm8k
#SBATCH --job-name=s3ft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
code=0
srun --kill-on-bad-exit=0 .venv/bin/s3ft run "$@" || code=$?
# 75: stopped from outside (the time limit, a machine that went down): the same job goes on where it was
if [ "$code" = 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
