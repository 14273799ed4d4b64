#!/usr/bin/env bash
# Every method at the tiny budget on the CPU, then the table of docs/results/training.md.
# A run that is there already is gone on with, so the script may be stopped and started again.
#
#     bash benchmarks/train_tiny_all.sh [OUT] [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/tiny-all}
seed=${2:-0}

train() { # name settings...
    local dir="$out/$1" resume=() settings=()
    for setting in "name=$1" "seed=$seed" "${@:2}"; do settings+=(--set "$setting"); done
    if [ -e "$dir/config.yaml" ]; then resume=(--resume); fi
    python -m model train configs/tiny.yaml --out "$dir" "${settings[@]}" "${resume[@]}"
}

one_stage=(uniform_prob=0 epochs_per_stage=7)
train tiny
train tiny-pause_as_thought method=pause_as_thought
train tiny-no_thought method=no_thought
train tiny-no_curriculum method=no_curriculum "${one_stage[@]}"
train tiny-pause method=pause "${one_stage[@]}"
train tiny-no_cot method=no_cot "${one_stage[@]}"
train tiny-cot method=cot "${one_stage[@]}"
train tiny-icot method=icot uniform_prob=0 advance=schedule "epochs_per_stage=[3, 2]" removal_smoothing=4 reset_optimizer=stage
python -m benchmarks.train_table "$out"
