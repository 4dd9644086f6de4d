#!/usr/bin/env bash
# Train on several GPUs, or CPU processes where there is no GPU: tools/dist_train.sh CONFIG NUM_PROCESSES [OPTIONS]
# Several machines: set NNODES, NODE_RANK and MASTER_ADDR on each. PORT chooses another port than 29500.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG NUM_PROCESSES [options of train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --nproc_per_node="$GPUS" \
    --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
