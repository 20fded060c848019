#!/usr/bin/env bash
# Measures this package on one GPU within 8 minutes: tools/gpu_evidence.sh OUT [--device cpu] [--quick] [--data DIR]
#
# OUT is a new folder; each step's output is there as it comes (NAME.txt, and CSV files), and a step that fails or runs
# out of its time does not stop the others. summary.txt says how each ended. Needed: torch, torchvision, timm, rich, and
# this checkout; nothing of OpenMMLab. DIR (default .gpu) may have cifar10.tar.xz (train/CLASS/*.png, val/CLASS/*.png) and
# reference/ (the outputs of the official models); what is not there is left out. --quick with --device cpu tries the
# script itself in a minute, or in as long as it takes. PYTHON names another Python than python3.
set -u
usage='usage: tools/gpu_evidence.sh OUT [--device cuda|cpu] [--quick] [--data DIR]'
out='' device=cuda quick='' data=.gpu
while [ $# -gt 0 ]; do
    case "$1" in
        --device) device=${2:?$usage}; shift ;;
        --data) data=${2:?$usage}; shift ;;
        --quick) quick=1 ;;
        -*) echo "$usage" >&2; exit 2 ;;
        *) [ -z "$out" ] || { echo "$usage" >&2; exit 2; }; out=$1 ;;
    esac
    shift
done
[ -n "$out" ] || { echo "$usage" >&2; exit 2; }
case "$device" in cpu | cuda) ;; *) echo "--device $device: cuda or cpu. $usage" >&2; exit 2 ;; esac
if [ -e "$out" ] && [ -n "$(ls -A "$out" 2> /dev/null)" ]; then
    echo "$out has something in it, and nothing is written over. Give a new folder." >&2
    exit 2
fi
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
data=$(cd "$data" 2> /dev/null && pwd || echo "$data")
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
python=${PYTHON:-python3}
began=$SECONDS

step() { # NAME SECONDS COMMAND...
    local name=$1 limit=$(($2 * patience)) code
    shift 2
    local start=$SECONDS
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.txt" 2>&1
    code=$?
    printf '%-24s code %3d  %4d s of %s\n' "$name" "$code" $((SECONDS - start)) "$limit" | tee -a "$out/summary.txt"
}

benchmark() { # NAME SECONDS ARGUMENTS...
    local name=$1 limit=$2
    shift 2
    step "$name" "$limit" "$python" -m ss_backbones benchmark --device "$device" --csv "$out/$name.csv" "$@"
}

if [ -n "$quick" ]; then
    small=b0 peers='' more='' infer='' large=1x32x64 train=1x32x32 crops='' dtype=fp32 runs=1
    few='--models b0' patience=20 length=1 seeds=0 ways=b0:bias
else
    small='b2 b2:uniform' peers='timm:pvt_v2_b2' more='timm:swin_tiny_patch4_window7_224 timm:convnext_tiny'
    infer=256x224x224 large=1x800x1344 train=2x800x1344 crops=16x512x512 dtype=bf16 runs=15
    few='' patience=1 length=100 seeds='0 1' ways='b0:plain b0:paper b0:bias b0:none vit:plain vit:bias'
fi

# shellcheck disable=SC2086
{
    [ "$device" = cpu ] || step machine 10 nvidia-smi
    step versions 30 "$python" -c 'import torch, torchvision, timm; print(torch.__version__, torchvision.__version__, timm.__version__)'

    # 1. is it right there
    if [ -d "$data/reference" ]; then
        step reference 30 "$python" tests/reference_on_device.py "$device" "$data/reference"
    fi
    step check 60 "$python" -m ss_backbones check-device --device "$device" --quick $few
    [ -n "$quick" ] || step check_compiled 60 "$python" -m ss_backbones check-device --device "$device" --models b0

    # 2. how fast, in bfloat16: everything first, then compiled
    benchmark infer 60 --models $small --against $peers $more --shapes $infer $large --dtype $dtype --runs $runs
    benchmark train 60 --models $small --against $peers $more --shapes $train $crops --dtype $dtype --runs $runs --mode train \
        --profile "$out/kernels.txt" # 3. and what the time goes to
    [ -n "$quick" ] || benchmark b0 30 --models b0 --against timm:pvt_v2_b0 --shapes $infer $large --dtype bf16
    [ -n "$quick" ] || benchmark b0_train 30 --models b0 --against timm:pvt_v2_b0 --shapes $train --dtype bf16 --mode train
    [ -n "$quick" ] || benchmark infer_compiled 60 --models b2 --against $peers --shapes $large --dtype bf16 --compile
    [ -n "$quick" ] || benchmark train_compiled 90 --models b2 --against $peers --shapes $train --dtype bf16 --mode train --compile

    # 4. what the ramp costs: all runs at once, as one of them waits for its Python more than for the GPU
    if [ -f "$data/cifar10.tar.xz" ]; then
        images=$(mktemp -d)
        tar -xf "$data/cifar10.tar.xz" -C "$images"
        for seed in $seeds; do
            for run in $ways; do
                network=ss_pvt_v2_b0
                [ "${run%:*}" = b0 ] || network=ss_vit_tiny_patch16_224
                step "ramps_${run/:/_}_$seed" $((length + 60)) "$python" experiments/ramps.py "$images" \
                    "$out/ramps_${run/:/_}_$seed.csv" --networks $network --ways "${run#*:}" --seeds $seed --epochs 1000 \
                    --seconds $length --device "$device" &
            done
        done
        wait
        rm -rf "$images"
    fi
}
echo "$((SECONDS - began)) s in all" | tee -a "$out/summary.txt"
