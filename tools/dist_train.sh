#!/usr/bin/env bash
# Train on several GPUs, or CPU processes where there is no GPU: tools/dist_train.sh CONFIG NUM_PROCESSES [OPTIONS]
# Several machines: set NNODES, NODE_RANK and MASTER_ADDR on each. PORT chooses another port than 29500.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG NUM_PROCESSES [options of train.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/dist.sh" train.py "$2" "$1" "${@:3}"
