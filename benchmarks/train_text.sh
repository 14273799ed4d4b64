#!/usr/bin/env bash
# The text models that come with the project, on one CPU core: the model and its pause control at equal budget.
# A run that is there already is gone on with, so the script may be stopped and started again.
#
#     bash benchmarks/train_text.sh [OUT] [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/text}
seed=${2:-0}

train() { # config folder method settings...
    local dir="$out/$2" resume=()
    if [ -e "$dir/config.yaml" ]; then resume=(--resume); fi
    python -m model train "configs/text-$1.yaml" --out "$dir" --set "seed=$seed" --set "method=$3" "${@:4}" "${resume[@]}"
}

for method in coconut pause_as_thought; do
    of=${method/coconut/}
    of=${of:+-pause}
    train facts "facts$of" "$method"
    train hop "hop$of" "$method" --set "load_model_path=$out/facts$of/last"
    train tiny "tiny$of" "$method" --set "name=text-tiny$of" --set "load_model_path=$out/hop$of/last"
done
