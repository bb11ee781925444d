#!/bin/bash
# A run on all GPUs of one machine. Usage: torchrun_one_machine.sh DATA RUN [key=value ...]
# The same command goes on after any interruption. torchrun exits with 1 if a process ends with an error: the codes of divcon
# (75: requeue me) are in its output, and the state of each stage is in `divcon status RUN`.
set -euo pipefail
DATA=$1 RUN=$2
shift 2

exec torchrun --standalone --nproc-per-node=gpu --max-restarts=0 --shutdown-timeout=300 \
  -m divcon run "$DATA" out="$RUN" "$@"
