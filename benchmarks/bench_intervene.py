"""Time of 500 problems x 10 edits x all matched controls: ``python -m benchmarks.bench_intervene [--problems N]``.

Measured on N problems and scaled to 500, fitting of directions not included. The reference does the same runs one
after another without sharing: every edit and control reads the prompt again (and the source's, where it needs one).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import typer

from model import checkpoint
from model.coconut import CoconutGPT2
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.edit import directions as directions_module
from probing.edit.batch import draw_prompt
from probing.edit.data_set import run_to_folder
from probing.edit.directions import Directions
from probing.edit.one_problem import intervene
from probing.edit.run import prepare, run_edit
from probing.edit.spec import EditPlan

EDITS = (
    "swap:t=1,strength=1.5",
    "swap:t=2,strength=1.5",
    "swap:t=3,strength=1.5",
    "remove:t=1",
    "write:t=1,nodes=other-branch/1",
    "write:t=2,nodes=other-branch/1",
    "transplant:t=1",
    "transplant:t=3",
    "zero:t=2",
    "mean:t=3",
)
BATCH = 32


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, processor seconds) of one call. On a machine that others use, trust the second."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def unshared(model: CoconutGPT2, problems: list[ProsQAProblem], plans: list[EditPlan], fitted: Directions) -> None:
    for plan in plans:
        for each in (plan, *plan.controls().values()):
            prompts = [draw_prompt(model, problem, seed=0, number=i) for i, problem in enumerate(problems)]
            run_edit(model, prepare(model, prompts, range(len(prompts)), fitted), each)


def main(problems: int = 64, threads: int = 2) -> None:
    torch.set_num_threads(threads)
    model = checkpoint.load()
    fitted = directions_module.load(checkpoint.DEFAULT_CHECKPOINT / directions_module.FILE_NAME)
    data = list(generate("balanced", problems, 1))
    plans = [EditPlan.parse(text) for text in EDITS]
    n_runs = sum(1 + len(plan.controls()) for plan in plans)
    with TemporaryDirectory() as folder:
        shared = timed(
            lambda: run_to_folder(model, data, plans, Path(folder), directions=fitted, source="bench", batch_size=BATCH)
        )
    few = data[:BATCH]
    reference = timed(lambda: unshared(model, few, plans, fitted))
    intervene(model, data[0], plans[0], directions=fitted)
    singles = [timed(lambda: intervene(model, data[1], plans[0], directions=fitted)) for _ in range(5)]
    single = sorted(singles)[2]
    scale = 500 / problems
    rows = {
        f"500 problems x {len(EDITS)} edits with controls ({n_runs} runs each)": (shared[0] * scale, shared[1] * scale),
        "the same without sharing prompts": (reference[0] * 500 / len(few), reference[1] * 500 / len(few)),
        "one problem, one edit with all controls (the page)": single,
    }
    print(f"{'':58} {'wall s':>8} {'cpu s':>8}")
    for name, (wall, processor) in rows.items():
        print(f"{name:58} {wall:8.2f} {processor:8.2f}")
    print(
        json.dumps(
            {
                "benchmark": "intervene",
                "threads": threads,
                "cores": os.cpu_count(),
                "problems_measured": problems,
                "wall_s_500": round(rows[next(iter(rows))][0], 1),
                "cpu_s_500": round(rows[next(iter(rows))][1], 1),
                "ratio_to_unshared_cpu": round(reference[1] / len(few) / (shared[1] / problems), 2),
                "one_problem_wall_s": round(single[0], 3),
                "one_problem_cpu_s": round(single[1], 3),
            }
        )
    )


if __name__ == "__main__":
    typer.run(main)
