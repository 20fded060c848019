#!/usr/bin/env bash
# Trains on a Slurm cluster, over as many time limits as it takes: a job that has to stop writes a checkpoint, goes back
# to the queue, and goes on from there. Submit it from the folder of this repository:
#
#   sbatch [--nodes=2 and other options of sbatch] tools/slurm_train.sh CONFIG [arguments of tools/pretrain.py]
#
# It trains classifiers. Detectors and segmenters: TOOL=tools/train.py sbatch tools/slurm_train.sh CONFIG; they go on from
# the last whole epoch. A job that is submitted again goes on too; another training needs another --work-dir, which all
# nodes must see.
#
# Adapt the lines below to your cluster, or give sbatch others:
# - ntasks-per-node and gpus-per-node: the GPUs of a node, both the same number, as there is one process a GPU. Each must
#   see all GPUs of its node, so do not use --gpus-per-task.
# - cpus-per-task: the CPU cores of a node by its GPUs; the config's num_workers should be less.
# - signal: how many seconds before the time limit it stops. A validation is not interrupted, so take longer than one.
# - partition, account, time: add what your cluster wants.
# And activate your environment before sbatch, or set PYTHON=FILE.
#SBATCH --job-name=ss-backbones
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

fail() {
    echo "tools/slurm_train.sh: $1" >&2
    exit 2
}

[[ -n ${SLURM_JOB_ID:-} ]] || fail 'this is for sbatch; on one machine there is tools/dist_train.sh'
[[ $# -ge 1 ]] || fail 'expected sbatch [options] tools/slurm_train.sh CONFIG [arguments of tools/pretrain.py]'
tool=${TOOL:-tools/pretrain.py} # Slurm runs a copy of this script, so only where it was submitted says where it was
[[ -f $tool ]] || fail "there is no $tool in $PWD; submit from the folder of the repository"
[[ -f $1 || $1 == *::* ]] || fail "there is no config file $1 in $PWD"

read -r MASTER_ADDR < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000)) # other jobs on these nodes have others
export MASTER_ADDR MASTER_PORT
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # newer versions of srun do not take it from sbatch

# one that fails takes the others down after a minute; at once would leave no time for a checkpoint
srun --kill-on-bad-exit=0 --wait=60 "${PYTHON:-python}" -u "$tool" "$@" --launcher slurm --resume &
tasks=$!
stopping=
# SIGUSR1 whichever it was: srun hands it to the tasks, while on SIGTERM it kills them
trap 'stopping=1; interrupted=1; kill -USR1 "$tasks" || true' TERM USR1
while
    interrupted=
    code=0
    wait "$tasks" || code=$?
    [[ -n $interrupted ]]
do :; done
trap '' TERM USR1

# 75: a checkpoint is written. 128 and more: the signal came before there was anything to write
if [[ $code == 75 || (-n $stopping && ($code == 138 || $code == 143)) ]]; then
    # what scancel ends does not run any more and is not wanted back; what Slurm itself requeues need not be told
    if [[ $(scontrol show job "$SLURM_JOB_ID") == *JobState=RUNNING* ]]; then
        echo "tools/slurm_train.sh: back to the queue, to go on from the checkpoint"
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit "$code"
