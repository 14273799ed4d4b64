"""The two ends of a training that left no record, as ``emergence.json``: an untrained model of a checkpoint's config,
and the checkpoint itself, on the opening problem of the app and further balanced ones of the trained sizes.

    python -m benchmarks.record_ends model/checkpoints/prosqa-symbol-2l 3700000
"""

from __future__ import annotations

import argparse
from pathlib import Path

from app.compute import example
from model import checkpoint
from model.problems.arrays import ProblemTensors
from model.problems.generate import ProblemArrays, generate
from model.training.dynamics import DynamicsRecord, measure
from model.training.run import PROBE_SEED

BATCH = 256
"""Problems in a training step of the superposition config."""
PROBE, SEED = 256, 30
"""Problems measured on, and the seed of those generated."""


def record_ends(folder: Path, n_seen: int) -> DynamicsRecord:
    """Two moments, before any training and after ``n_seen`` problems."""
    model, first = checkpoint.load(folder), example()
    config = model.config
    few, _, many = config.trained_nodes
    more = generate("balanced", PROBE - 1, SEED, hops=config.trained_hops, nodes=(few, many))
    problems = ProblemTensors.from_arrays(ProblemArrays.from_problems([first, *more]))
    ends = ((checkpoint.untrained(config), 0, 0), (model, n_seen, config.trained_stage))
    points = [
        measure(end, problems, seed=PROBE_SEED, step=seen // BATCH, n_seen=seen, stage=stage)
        for end, seen, stage in ends
    ]
    about = {"name": folder.name, "method": config.method, "seed": 0, "n_problems": PROBE, "example": first.to_row()}
    return DynamicsRecord(**about, points=tuple(points))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("n_seen", type=int, help="problems seen in training")
    options = parser.parse_args()
    record_ends(options.folder, options.n_seen).save(options.folder / "emergence.json")
