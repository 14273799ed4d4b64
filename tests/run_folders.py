"""A run folder with planted numbers, as ``model.training.run`` writes it: three stages, two thoughts, eight
intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.stats import wilson
from model.training.dynamics import DynamicsPoint, DynamicsRecord, ThoughtNumbers

N = 100
STAGES = (0, 0, 0, 1, 1, 1, 2, 2)


def thought(t: int, i: int) -> ThoughtNumbers:
    """Thought t at point i: AUROC from .5 by .06 (thought 1) or .05 (thought 2) a point, its control at .5."""
    auroc = 0.5 + (0.07 - 0.01 * t) * i
    mass = {"beyond": 0.6 - 0.05 * i, "passed": 0.1, "frontier": 0.1 + 0.1 * i, "optimal": 0.05 + 0.1 * i}
    logit = {"beyond": 0.0, "passed": 1.0, "frontier": float(i), "optimal": float(i)}
    return ThoughtNumbers(
        thought=t, distance=t, n=N - t, auroc_beyond=auroc, auroc_se=0.01, auroc_control=0.5 + 0.001 * i,
        auroc_other_root=auroc, auroc_depth=0.85, mass=mass, logit=logit,
    )  # fmt: skip


def record(name: str = "planted", method: str = "coconut", *, n_points: int = 9) -> DynamicsRecord:
    """Points before training and after each interval."""
    points = tuple(
        DynamicsPoint(
            step=i,
            problems=100 * i,
            stage=(0, *STAGES)[i],
            thoughts=(thought(1, i), thought(2, i)),
            accuracy_by_k=(0.1, 0.05 * i, 0.1 * i),
        )
        for i in range(n_points)
    )
    return DynamicsRecord(name=name, method=method, seed=3, n_problems=N, points=points)


def step(i: int) -> dict[str, Any]:
    ends = {3: "settled", 6: "limit"}
    return {
        "kind": "step", "step": i, "n_steps": 8, "stage": STAGES[i - 1], "n_thoughts": STAGES[i - 1], "loss": 4.0 / i,
        "first_token_loss": 3.0 / i, "first_token_bound": 0.7, "accuracy": i / 10, "grad_norm": 1.0, "lr": 1e-3,
        "problems": 100 * i, "seconds": 2.0 * i, "problems_per_second": 50.0, "stage_ended": ends.get(i, ""),
    }  # fmt: skip


def validation(i: int, stage: int, accuracy: float) -> dict[str, Any]:
    low, high = wilson(accuracy * N, N)
    return {
        "kind": "validation", "step": i, "stage": stage, "accuracy": accuracy, "low": low, "high": high,
        "right": round(accuracy * N), "n": N, "n_thoughts": float(stage), "n_written": 3.0,
    }  # fmt: skip


def metrics(n_steps: int = 8) -> list[dict[str, Any]]:
    lines = [step(i) for i in range(1, n_steps + 1)]
    if n_steps >= 4:
        lines.insert(4, validation(4, 1, 0.5))
    return [*lines, validation(8, 2, 1.0)] if n_steps == 8 else lines


def plant(
    folder: Path, *, name: str = "planted", method: str = "coconut", n_steps: int = 8, ended: bool = False
) -> Path:
    """Write the folder as it is after ``n_steps`` intervals."""
    record(name, method, n_points=n_steps + 1).save(folder / "emergence.json")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(n_steps)))
    if ended:
        values = validation(8, 2, 1.0)
        (folder / "result.json").write_text(json.dumps({"fixed": {k: values[k] for k in values if k != "kind"}}))
    return folder
