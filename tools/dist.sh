#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh have in common: tools/dist.sh SCRIPT NUM_PROCESSES ARGUMENTS_OF_SCRIPT
# Several machines: set NNODES, NODE_RANK and MASTER_ADDR on each. PORT chooses another port than 29500.
set -euo pipefail

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --nproc_per_node="$2" \
    --master_port="${PORT:-29500}" \
    "$(dirname "$0")/$1" "${@:3}" --launcher pytorch
