#!/usr/bin/env bash
# Train through Slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [OPTIONS]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), MASTER_PORT (from the job's number), SRUN_ARGS.
#
# In a batch job (sbatch) that is about to be preempted, or that asked for a warning (#SBATCH --signal=USR1@120), training
# saves and exits with 75; the job is put back into the queue and goes on with --resume. It needs #SBATCH --requeue.
set -euo pipefail

REQUEUE=75 # EXIT_REQUEUE in detrove/engine/hooks/checkpoint.py

if [ $# -lt 4 ]; then
    echo "usage: [GPUS=8] [GPUS_PER_NODE=8] $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    exit 2
fi
options=("${@:5}")
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [[ " ${options[*]-} " != *" --resume"[\ =]* ]]; then
    options+=(--resume)
fi
command=("$(dirname "$0")/slurm.sh" train.py "$1" "$2" "$3" --work-dir="$4" ${options[@]+"${options[@]}"})
if [ -z "${SLURM_JOB_ID:-}" ]; then
    exec "${command[@]}"
fi

# A signal to this script must not end it before training has saved: srun hands it on to every process.
"${command[@]}" &
step=$!
trap 'kill -TERM "$step"' TERM
trap 'kill -USR1 "$step"' USR1
while :; do
    wait "$step" && code=0 || code=$?
    kill -0 "$step" 2>/dev/null || break
done
if [ "$code" -eq "$REQUEUE" ]; then
    echo "training was interrupted and has saved: job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
