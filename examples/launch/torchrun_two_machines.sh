#!/bin/bash
# A run on two machines of 8 GPUs. Type the same line on both, at about the same time:
#     HEAD=machine-1 JOB=photos-1 torchrun_two_machines.sh DATA RUN [key=value ...]
# Both must see DATA and RUN (a shared file system). HEAD is the name of one of the two, and its port 29400 must be open to the
# other. Use another JOB for each attempt: what an attempt that ended has left at the meeting place must not meet the next one.
set -euo pipefail
: "${HEAD:?the name of one of the machines}" "${JOB:?a name for this attempt}"
DATA=$1 RUN=$2
shift 2

exec torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint="$HEAD:29400" --rdzv-id="$JOB" \
  --max-restarts=0 --shutdown-timeout=300 \
  -m divcon run "$DATA" out="$RUN" "$@"
