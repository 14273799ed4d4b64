"""Problems per second of the generator: ``python -m benchmarks.bench_generate``.

The reference makes the same balanced problems one graph at a time in plain Python (tests/oracle_generate.py).
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from model.problems.generate import KINDS, Kind, Recipe, generate, generate_arrays
from tests.oracle_generate import balanced

REPEATS = 3


def rate(n: int, make: Callable[[int], object]) -> tuple[float, float]:
    """Median problems per second of wall time and of processor time (children's too); the seed differs each time.

    On a machine that others use, processor time is the steadier of the two.
    """
    wall, processor = [], []
    for seed in range(REPEATS):
        started, before = time.perf_counter(), sum(os.times()[:4])
        make(seed)
        wall.append(time.perf_counter() - started)
        processor.append(sum(os.times()[:4]) - before)
    return n / median(wall), n / median(processor)


def reference(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = 0
    while found < n:
        found += balanced(rng) is not None


def problems(kind: Kind, n: int, processes: int, seed: int) -> None:
    deque(generate(kind, n, seed, processes=processes), maxlen=0)


def arrays(kind: Kind, n: int, processes: int, seed: int) -> None:
    generate_arrays(Recipe(kind), n, seed, processes=processes)


def main() -> None:
    cores = os.cpu_count() or 1
    rates = {"plain Python, balanced, 1 process": rate(100, partial(reference, 100))}
    for kind in KINDS:
        for processes in sorted({1, cores}):
            name = f"{kind}, {processes} process{'es' if processes > 1 else ''}"
            rates[f"problems with English, {name}"] = rate(10_000, partial(problems, kind, 10_000, processes))
            rates[f"arrays, {name}"] = rate(30_000, partial(arrays, kind, 30_000, processes))
    slow = next(iter(rates.values()))
    print(f"{'':<48}{'per s':>10}{'ratio':>8}{'per CPU s':>12}{'ratio':>8}")
    for what, (wall, processor) in rates.items():
        print(f"{what:<48}{wall:>10,.0f}{wall / slow[0]:>8.1f}{processor:>12,.0f}{processor / slow[1]:>8.1f}")
    values = {what: {"wall": round(wall, 1), "cpu": round(cpu, 1)} for what, (wall, cpu) in rates.items()}
    print(json.dumps({"benchmark": "generate", "cores": cores, "per_second": values}))


if __name__ == "__main__":
    main()
