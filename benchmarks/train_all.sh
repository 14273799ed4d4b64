#!/usr/bin/env bash
# Everything that needs a GPU, in one go: the flagship and the pause control with three seeds each, every other method
# once, all at equal budget; the speed benchmark; then a table. About an hour on one H200 by the recipe's speeds.
# A run that is there already is gone on with, so the script may be stopped and started again.
#
#     bash benchmarks/train_all.sh [OUT] [PUBLIC_VALIDATION_JSON]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/all}
public=${2:-}

mkdir -p "$out"

train() { # config seed
    local dir="$out/$1-$2"
    local resume=()
    if [ -e "$dir/config.yaml" ]; then resume=(--resume); fi
    python -m model train "configs/$1.yaml" --out "$dir" --set "seed=$2" "${resume[@]}"
}

python -m pytest -q -m gpu tests # captured graphs against eager steps
python -m benchmarks.bench_train configs/superposition.yaml --thoughts 0 1 2 3 4 5 6 | tee "$out/speed.txt"

for seed in 0 1 2; do
    train superposition "$seed"
    train pause_as_thought "$seed"
done
for method in no_thought icot no_curriculum pause no_cot cot; do
    train "$method" 0
done
for dir in "$out"/*/; do
    python -m model plot-training "$dir" --out "${dir%/}/emergence.svg"
done
python -m benchmarks.train_table "$out" ${public:+--public "$public"}
