"""Many training runs one after another on one device, from the same problems: ``python -m benchmarks.train_all``.

    python -m benchmarks.train_all OUT superposition:0 pause_as_thought:0 ... [--seconds 500] [--set key=value]

``NAME:SEED`` is ``configs/NAME.yaml`` with that seed. A run that is there already is gone on with; no further one is
begun after ``--seconds``. Each run's seconds (everything: problems sent, graphs captured, validations, records) go to
``OUT/RUN/time.json``. Then ``python -m benchmarks.train_table OUT`` makes the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tqdm import tqdm

from model import checkpoint
from model.files import write_json
from model.problems.arrays import ProblemTensors
from model.training.config import TrainConfig, load_train_config
from model.training.run import load_data, train_run

ROOT = Path(__file__).parent.parent
DATA_KEYS = ("train_path", "val_path", "n_train", "n_val", "n_nodes", "n_hops", "deep_share", "depth_gap", "data_seed")


def train_one(config: TrainConfig, out: Path, data: tuple[ProblemTensors, ProblemTensors]) -> float:
    """Seconds that the run took."""
    started = time.perf_counter()
    say = lambda message: tqdm.write(f"  {time.perf_counter() - started:6.1f} s  {message}", file=sys.stderr)  # noqa: E731
    rate, steps = 0.0, 0
    for step in train_run(config, out, resume=(out / "config.yaml").exists(), data=data, say=say):
        if step.stage_ended or step.step == step.n_steps:
            say(f"stage {step.stage}: {step.problems_per_second:,.0f} problems/s at its end, {step.problems:,} seen")
        rate, steps = step.problems / step.seconds, steps + 1
    seconds = time.perf_counter() - started
    say(f"{out.name}: {seconds:.1f} s, {rate:,.0f} problems/s in training steps")
    write_json(out / "time.json", {"seconds": seconds, "problems_per_second_in_steps": rate})
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME:SEED")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further run after so long")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    begun = time.perf_counter()
    data: dict[tuple[object, ...], tuple[ProblemTensors, ProblemTensors]] = {}
    for run in options.runs:
        if time.perf_counter() - begun > options.seconds:
            print(f"{run}: not begun, {options.seconds:g} s are over")
            continue
        name, _, seed = run.partition(":")
        config = load_train_config(ROOT / "configs" / f"{name}.yaml", [f"seed={seed or 0}", *options.set])
        key = tuple(str(getattr(config, key)) for key in DATA_KEYS)
        if key not in data:
            started = time.perf_counter()
            device = checkpoint.pick_device(config.device)
            made, held = load_data(config)
            data[key] = made.to(device), held.to(device)
            print(f"{len(made):,} problems made in {time.perf_counter() - started:.1f} s", flush=True)
        print(f"{run}", flush=True)
        train_one(config, options.out / f"{name}-{seed or 0}", data[key])


if __name__ == "__main__":
    main()
