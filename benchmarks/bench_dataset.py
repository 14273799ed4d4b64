"""Time of a data set run, all analyses but the probes: ``python -m benchmarks.bench_dataset [n]`` (``--help``: how).

500 problems on the shipped checkpoint and its untrained control, end to end: recording, analyses, figures, report. The
reference reads and thinks one problem at a time and writes after each k in turn, without sharing the prompt's cache
between the k; it records nothing and is timed on REFERENCE problems.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer

from model import checkpoint
from model.cli import Precision
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.dataset.record import Settings, make_sources
from probing.dataset.run import choose_analyses, run_dataset

REFERENCE = 12


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds, and processor seconds (children's too), which other users of the machine change less."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - started, sum(os.times()[:4]) - before


@torch.inference_mode()
def reference(problems: list[ProsQAProblem]) -> None:
    model = checkpoint.load()
    codec = model.codec
    for i, problem in enumerate(problems):
        batch = codec.collate(codec.prompts(problem, 1, seed=i))
        for k in range(model.config.n_thoughts + 1):
            model.write(model.think(batch, k), problem.depth + 4, stop=codec.end)


def main(n: Annotated[int, typer.Argument()] = 500, precision: Precision = "float32", threads: int = 0) -> None:
    cores = os.cpu_count() or 1
    torch.set_num_threads(threads or cores)
    problems = list(generate("balanced", n, 0))
    stages: dict[str, list[float]] = {}

    def progress(what: str, done: int, total: int) -> None:
        stages.setdefault(what, []).append(time.perf_counter())

    with tempfile.TemporaryDirectory() as out:
        sources = make_sources(checkpoint.DEFAULT_CHECKPOINT)
        wall, processor = timed(
            lambda: run_dataset(
                sources, problems, out, data="generated", settings=Settings(precision=precision),
                analyses=choose_analyses("all,-probes"),
                progress=progress,
            )
        )  # fmt: skip
    slow = [seconds / REFERENCE for seconds in timed(lambda: reference(problems[:REFERENCE]))]
    per = [wall / (2 * n), processor / (2 * n)]
    print(f"{'':<44}{'wall s':>10}{'CPU s':>10}")
    for what, times in stages.items():
        print(f"{what:<44}{times[-1] - times[0]:>10.1f}")
    print(f"{f'all, {n} problems and as many controls':<44}{wall:>10.1f}{processor:>10.1f}")
    print(f"{'per problem and model':<44}{per[0]:>10.3f}{per[1]:>10.3f}")
    print(f"{'reference, per problem, answers only':<44}{slow[0]:>10.3f}{slow[1]:>10.3f}")
    print(f"{'ratio':<44}{slow[0] / per[0]:>10.1f}{slow[1] / per[1]:>10.1f}")
    print(
        json.dumps(
            {
                "benchmark": "dataset", "cores": cores, "threads": torch.get_num_threads(), "precision": precision,
                "n": n, "wall_s": round(wall, 1), "cpu_s": round(processor, 1),
                "ratio_wall": round(slow[0] / per[0], 2), "ratio_cpu": round(slow[1] / per[1], 2),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
