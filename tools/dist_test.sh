#!/usr/bin/env bash
# Test on several GPUs, or CPU processes where there is no GPU: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [OPTIONS]
# Several machines: set NNODES, NODE_RANK and MASTER_ADDR on each. PORT chooses another port than 29500.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT NUM_PROCESSES [options of test.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/dist.sh" test.py "$3" "$1" "$2" "${@:4}"
