#!/usr/bin/env bash
# Train through Slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [OPTIONS]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), MASTER_PORT (from the job's number), SRUN_ARGS.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: [GPUS=8] [GPUS_PER_NODE=8] $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/slurm.sh" train.py "$1" "$2" "$3" --work-dir="$4" "${@:5}"
