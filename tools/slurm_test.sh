#!/usr/bin/env bash
# Test through Slurm: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [OPTIONS]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), MASTER_PORT (from the job's number), SRUN_ARGS.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: [GPUS=8] [GPUS_PER_NODE=8] $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/slurm.sh" test.py "$1" "$2" "$3" "$4" "${@:5}"
