"""A run or checkpoint folder read back: its training dynamics, its losses and its result, also while it is written.

``model.training.run`` writes such folders; here they are only read, by the app and by whoever makes tables of runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from model.errors import InputError
from model.files import read_json, read_text
from model.stats import Estimate, wilson
from model.training.dynamics import DynamicsRecord
from model.training.state import TrainStep
from model.values import Value, validated

MAX_BYTES = 50 * 1024 * 1024
"""Of a metrics file: some hundred thousand lines."""


class Validation(Value):
    """Answers to a fixed set of problems in free generation, at one moment; with the 95 % Wilson interval."""

    step: int
    stage: int
    accuracy: float
    low: float
    high: float
    right: int
    n: int
    n_thoughts: float
    """Mean thoughts had."""
    n_written: float
    """Mean tokens written, <eos> included."""

    @classmethod
    def of(cls, right: int, n: int, *, step: int, stage: int, n_thoughts: float, n_written: float) -> Validation:
        low, high = wilson(right, n)
        return cls(
            step=step, stage=stage, accuracy=right / n, low=low, high=high, right=right, n=n,
            n_thoughts=n_thoughts, n_written=n_written,
        )  # fmt: skip

    @property
    def estimate(self) -> Estimate:
        return Estimate(value=self.accuracy, low=self.low, high=self.high, n=self.n, k=self.right)


@dataclass(frozen=True)
class StageSpan:
    """The problems seen while a stage was trained."""

    stage: int
    start: int
    end: int
    why: str
    """Why it ended: ``settled``, ``limit`` or ``schedule``; empty where it continues or where that is not known."""


@dataclass(frozen=True)
class RunFolder:
    """What a folder tells about its training; at least one of ``record`` and ``steps`` is there."""

    path: Path
    record: DynamicsRecord | None
    """None where no point has been measured."""
    steps: tuple[TrainStep, ...] = ()
    validations: tuple[Validation, ...] = ()
    result: dict[str, Validation] | None = None
    """Final accuracy by way of stopping; None until the run has ended, and for checkpoint folders."""

    @property
    def share_done(self) -> float | None:
        """Of all steps, 0 to 1; None where no step is recorded."""
        return self.steps[-1].step / self.steps[-1].n_steps if self.steps else None

    @property
    def only_ends(self) -> bool:
        """Whether nothing is known between the moment before training and the last."""
        return not self.steps and self.record is not None and len(self.record.points) == 2

    @property
    def stages(self) -> tuple[StageSpan, ...]:
        """Stages in order: from the losses, else from the points of the record; none where only its ends are known."""
        if self.only_ends:
            return ()
        if self.steps:
            seen = [(step.stage, step.problems, step.stage_ended) for step in self.steps]
        else:
            seen = [(point.stage, point.problems, "") for point in self.record.points] if self.record else []
        spans: list[StageSpan] = []
        for stage, problems, why in seen:
            if spans and spans[-1].stage == stage:
                spans[-1] = replace(spans[-1], end=problems, why=why)
            else:
                spans.append(StageSpan(stage, spans[-1].end if spans else 0, problems, why))
        return tuple(spans)


def is_run_folder(path: str | Path) -> bool:
    """Whether a folder holds what ``read_run_folder`` reads."""
    return any((Path(path) / name).is_file() for name in ("emergence.json", "metrics.jsonl"))


def find_run_folders(roots: Iterable[str | Path]) -> list[Path]:
    """Run folders, and checkpoint folders with a record, directly in each root or one folder further down.

    The checkpoints inside a run folder are left out: they hold the same record, up to their moment.
    """
    found = []
    for root in map(Path, roots):
        folders = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
        for folder in folders:
            below = [] if is_run_folder(folder) else sorted(path for path in folder.glob("*") if path.is_dir())
            found += [path for path in (folder, *below) if is_run_folder(path)]
    return found


def read_run_folder(path: str | Path) -> RunFolder:
    """Raises InputError, naming file and line, where the folder is missing, holds no record, or is damaged.

    A last line of ``metrics.jsonl`` that is still being written is left out.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected a run folder, or a checkpoint folder with emergence.json")
    if not is_run_folder(path):
        raise InputError(f"{path}: no emergence.json and no metrics.jsonl; expected a folder written by 'model train'")
    record = DynamicsRecord.load(path / "emergence.json") if (path / "emergence.json").is_file() else None
    steps, validations = read_metrics(path / "metrics.jsonl") if (path / "metrics.jsonl").is_file() else ((), ())
    result = None
    if (path / "result.json").is_file():
        values = read_json(path / "result.json")
        if not isinstance(values, dict):
            raise InputError(f"{path / 'result.json'}: not the result of a run")
        last = {"step": steps[-1].step, "stage": steps[-1].stage} if steps else {"step": 0, "stage": 0}
        where = path / "result.json"
        result = {
            name: validated(Validation, last | value if isinstance(value, dict) else value, where=f"{where}, {name}")
            for name, value in values.items()
        }
    if record is not None and not record.points:
        record = None
    return RunFolder(path, record, steps, validations, result)


def read_metrics(path: str | Path) -> tuple[tuple[TrainStep, ...], tuple[Validation, ...]]:
    """The lines of ``metrics.jsonl`` by kind. Raises InputError naming the line that is damaged."""
    lines = read_text(path, max_bytes=MAX_BYTES).split("\n")
    steps: list[TrainStep] = []
    validations: list[Validation] = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line break is not whole yet
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
            kind = value.pop("kind")
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise InputError(f"{where}: not a line of training metrics") from None
        if kind == "step":
            steps.append(validated(TrainStep, value, where=where))
        elif kind == "validation":
            validations.append(validated(Validation, value, where=where))
    return tuple(steps), tuple(validations)
