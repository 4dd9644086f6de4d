#!/usr/bin/env bash
# What slurm_train.sh and slurm_test.sh have in common: tools/slurm.sh SCRIPT PARTITION JOB_NAME ARGUMENTS_OF_SCRIPT
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), MASTER_PORT (from the job's number), SRUN_ARGS.
set -euo pipefail

GPUS_PER_NODE=${GPUS_PER_NODE:-8}

# shellcheck disable=SC2086  # SRUN_ARGS holds several words
exec srun -p "$2" \
    --job-name="$3" \
    --gres=gpu:"$GPUS_PER_NODE" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/$1" "${@:4}" --launcher slurm
