#!/usr/bin/env bash
# Trains with several processes, one a GPU; where there is no GPU, on the CPU.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/pretrain.py]
#
# It trains classifiers. Detectors and segmenters: TOOL=tools/train.py tools/dist_train.sh CONFIG GPUS [...]
# On several nodes start it on each of them, with the same PORT, and NODE_RANK from 0 up:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=ADDRESS_OF_NODE_0 PORT=29500 tools/dist_train.sh CONFIG GPUS_OF_THIS_NODE [...]
# PYTHON=FILE takes another interpreter than python.
#
# On SIGTERM or SIGUSR1 a classifier's training writes a checkpoint and exits with 75; begin again with --resume.
set -euo pipefail

fail() {
    echo "tools/dist_train.sh: $1" >&2
    exit 2
}

[[ $# -ge 2 ]] || fail 'expected CONFIG GPUS [arguments of tools/pretrain.py]'
config=$1
gpus=$2
shift 2
[[ -f $config || $config == *::* ]] || fail "there is no config file $config"
[[ $gpus =~ ^[1-9][0-9]*$ ]] || fail "GPUS is $gpus, expected the number of processes, such as 8"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python}
command -v "$python" > /dev/null || fail "there is no $python; activate the environment or set PYTHON=FILE"
nodes=${NNODES:-1}
if [[ $nodes == 1 ]]; then
    # a free port, so that several trainings fit on one machine
    free='import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
    PORT=${PORT:-$("$python" -c "$free")}
else
    [[ -n ${NODE_RANK:-} && -n ${MASTER_ADDR:-} ]] || fail "NNODES=$nodes needs NODE_RANK and MASTER_ADDR, see its first lines"
fi

exec "$python" "$here/torchrun.py" --nnodes="$nodes" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "${TOOL:-$here/pretrain.py}" "$config" --launcher pytorch "$@"
