#!/bin/bash
# A run on two machines of 8 GPUs. Type the same line on both; one may come some minutes later:
#     HEAD=machine-1 torchrun_two_machines.sh DATA RUN [key=value ...]
# Both must see DATA and RUN (a shared file system). HEAD is the name that `hostname` prints on one of the two; its port 29400, and
# between the two all ports that the kernel gives to programs, must be open. The same line goes on after any interruption.
# torchrun's other way to meet (--rdzv-backend=c10d) works too. But a torchrun that was cut off from the machine HEAD then waits up to a
# quarter of an hour until it ends, unless net.ipv4.tcp_retries2 is lower than 15.
set -euo pipefail
: "${HEAD:?the name of one of the machines}"
DATA=$1 RUN=$2
shift 2
NODE=1
if [ "$(uname -n)" = "$HEAD" ]; then NODE=0; fi

exec torchrun --nnodes=2 --nproc-per-node=8 --node-rank=$NODE --master-addr="$HEAD" --master-port=29400 \
  --max-restarts=0 --shutdown-timeout=300 \
  -m divcon run "$DATA" out="$RUN" "$@"
