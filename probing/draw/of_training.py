"""A training run as charts over the problems seen: what the thoughts come to hold while a model learns.

Pure functions from a run folder or its dynamics record; ``write`` saves the record as a picture or a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from model.errors import InputError, check_known
from model.files import write_bytes, write_csv_of
from model.metrics import mass, problem_groups
from model.stats import Estimate, percent, share
from model.training.dynamics import DynamicsRecord, ThoughtNumbers
from model.training.folder import RunFolder
from probing.draw import of_report
from probing.draw.export import export
from probing.draw.values import Chart, Graph, HeatColumn, Heatmap, Reference, Scale, Series, Words
from probing.read.report import VALUES

KINDS = ("auroc", "other_root", "mass", "logit", "accuracy", "loss", "validation")
FORMATS = ("svg", "png", "pdf", "csv")
OTHERS = "; grey: the other thoughts"
"""In the title of a chart in which they look all the same, and so have no keys."""
MOST = 600
"""Points of a line that are drawn; longer ones are thinned evenly."""
T = TypeVar("T")
Of = Callable[[ThoughtNumbers], Estimate | float | None]
Level = tuple[float, str]
"""A value that lines are read against, and its name."""
COIN: Level = (0.5, "chance")


@dataclass(frozen=True)
class Quantity:
    """What is followed of a thought over training."""

    title: str
    y_label: str
    of: Of
    level: Level | None = None
    y_range: tuple[float, float] | None = (0, 1)
    beside: str = ""
    """What it stands beside, dotted, in words."""
    control: Of = lambda v: None


QUANTITIES = {
    "auroc": Quantity(
        "Frontier AUROC, beyond (logit lens)", "AUROC, beyond (logit lens)", lambda v: v.estimate,
        level=(0.5, "chance"), beside="another problem's thought", control=lambda v: v.auroc_control,
    ),
    "other_root": Quantity(
        "Frontier AUROC, other root (logit lens)", "AUROC, other root (logit lens)", lambda v: v.auroc_other_root,
        level=(0.5, "who does not know the root"), beside="depth reader, beyond", control=lambda v: v.auroc_depth,
    ),
    "mass": Quantity(
        "Probability on the frontier", "probability", lambda v: v.mass["frontier"],
        beside="on nodes beyond", control=lambda v: v.mass["beyond"],
    ),
    "logit": Quantity(
        "Logit, frontier minus beyond", "nats", lambda v: v.logit_gap, level=(0, "no difference"), y_range=None
    ),
}  # fmt: skip


def figure(
    run: RunFolder, kind: str, *, thought: int = 1, at: int | None = None, other: RunFolder | None = None
) -> Chart:
    """A chart of one of KINDS over training.

    ``thought`` is the one looked at, ``at`` the moment (problems seen), ``other`` a run set beside it, dashed. The
    first four kinds need training dynamics, the last two the run's losses. Raises InputError for an unknown kind, or
    where the run does not have what the kind needs.
    """
    check_known("kind", kind, KINDS)
    if kind in ("loss", "validation"):
        if not run.steps:
            raise InputError(f"{run.path}: no training step is recorded, and {kind} needs them")
        chart = _losses(run) if kind == "loss" else _validations(run)
    else:
        if run.record is None or not run.record.points:
            raise InputError(f"{run.path}: no training dynamics are recorded, and {kind} needs them")
        n_thoughts = len(run.record.points[0].thoughts)
        if kind in QUANTITIES and not has(run.record, kind):
            raise InputError(f"{run.path}: the record is of an older version and has no {QUANTITIES[kind].y_label}")
        if kind != "accuracy" and not 1 <= thought <= n_thoughts:
            raise InputError(f"thought {thought} is out of range; this run has {n_thoughts}")
        beside = None if other is None else other.record
        chart = _accuracy(run.record, beside) if kind == "accuracy" else _of_thought(run.record, kind, thought, beside)
    cursor = [] if at is None else [Reference(axis="x", at=at, kind="cursor")]
    end = max(float(x) for series in chart.series for x in series.x)
    return chart.model_copy(update={"references": (*_stages(run), *cursor), "x_range": (0.0, max(end, 1.0))})


def charts(record: DynamicsRecord) -> tuple[Chart, ...]:
    """Charts over problems seen: QUANTITIES of every thought, and accuracy by number of thoughts.

    A line per thought (or k), darker for later ones; dotted is what it stands beside. Raises InputError for a record
    without points.
    """
    if not record.points:
        raise InputError(f"{record.name}: the record of training dynamics is empty")
    thoughts, found = record.points[0].thoughts, []
    for kind, quantity in QUANTITIES.items():
        if not has(record, kind):
            continue
        series = []
        for i, about in enumerate(thoughts):
            name, tint = record.called_state(about.thought), _tint(i, len(thoughts))
            series.append(_line(name, record, about.thought, quantity.of, tint=tint))
            if quantity.beside:
                dotted = {"tint": tint, "control": True, "source": "shuffled"}
                series.append(_line(f"{name}, {quantity.beside}", record, about.thought, quantity.control, **dotted))
        title = quantity.title + (f"; dotted: {quantity.beside}" if quantity.beside else "")
        found.append(_chart(kind, title, quantity.y_label, series, y_range=quantity.y_range))
    right = f"Answers right after k thoughts (n = {record.n_problems})"
    found.append(_chart("accuracy", right, "accuracy", _accuracies(record)))
    words = Words(
        title=f"{record.name}: {record.method}, seed {record.seed}",
        caption="A line per thought or k, darker for later ones; bands: 95 % intervals over probe problems.",
        alt=f"What the thoughts of {record.name} come to hold over training",
    )
    update = {"references": tuple(_stages(RunFolder(Path(record.name), record))), "words": words}
    return tuple(chart.model_copy(update=update) for chart in found)


def example(record: DynamicsRecord, at: int, thought: int) -> tuple[Graph, Heatmap] | None:
    """The record's one problem at its moment number ``at``: the graph as ``thought`` sees it, and all thoughts; None
    in older records."""
    problem, point = record.problem, record.points[at]
    if problem is None or point.example is None:
        return None
    values = [[Estimate(value=p, n=1) for p in row] for row in point.example]
    distances = [each.distance for each in point.thoughts]
    scale = Scale(value="probability", label=VALUES["probability"], low=0, high=1)
    words = Words(
        title=of_report.question(problem), answer="",
        caption=f"{record.name} ({record.method}) after {point.problems:,} problems; one problem, one prompt sample.",
        alt=f"What the thoughts of {record.name} hold of one problem after {point.problems:,} problems of training",
    )  # fmt: skip
    now, distance = values[thought - 1], distances[thought - 1]
    held = float(mass(np.array(point.example[thought - 1]), problem_groups(problem, distance)["frontier"][-1]))
    graph = of_report.graph_of(
        problem, now, state=thought - 1, thought=distance, scale=scale,
        heading=record.called_state(thought).capitalize(), subtitle=(f"{percent(held)} on the frontier",), words=words,
        tips=[(("probability", p.text(bounds=(0, 1))),) for p in now],
    )  # fmt: skip
    columns = tuple(HeatColumn(state=k, thought=t) for k, t in enumerate(distances))
    heatmap = of_report.heatmap_of(problem, values, columns, scale=scale, n=1, words=words, cursor=thought - 1)
    return graph, heatmap


def has(record: DynamicsRecord, kind: str) -> bool:
    """Whether any moment of a record has one of QUANTITIES; older versions did not record all."""
    return any(QUANTITIES[kind].of(thought) is not None for point in record.points for thought in point.thoughts)


def write(record: DynamicsRecord, path: str | Path) -> None:
    """Save the charts, or their numbers, by the file's ending. Raises InputError for another than FORMATS."""
    format = Path(path).suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise InputError(f"{path}: the ending must be one of {', '.join(FORMATS)}")
    if format != "csv":
        return write_bytes(path, export(charts(record), format))
    write_csv_of(path, record.rows())
    return None


# --- charts of a run --------------------------------------------------------------------------------------------------


def _of_thought(record: DynamicsRecord, kind: str, thought: int, other: DynamicsRecord | None) -> Chart:
    """One of QUANTITIES of one thought beside its control, the other thoughts faint, and the same of another run.

    The mass is shown beside that of every group of nodes instead.
    """
    quantity, series = QUANTITIES[kind], []
    if kind == "mass":
        for group in ("frontier", "passed", "beyond", "optimal"):
            name = "on a shortest path" if group == "optimal" else group
            series.append(_line(name, record, thought, lambda v, g=group: v.mass[g], group=group))  # type: ignore[misc]
    else:
        rest = [numbers.thought for numbers in record.points[0].thoughts if numbers.thought != thought]
        series += [_line(record.called_state(t), record, t, quantity.of, faint=True).bare for t in rest]
        if quantity.beside:
            series.append(_line(quantity.beside, record, thought, quantity.control, source="shuffled", control=True))
        series.append(_line(record.called_state(thought), record, thought, quantity.of, source="model"))
    if other is not None and other.points and thought <= len(other.points[0].thoughts):
        series.append(_line(other.name, other, thought, quantity.of, source="untrained", control=True).bare)
    title = "Probability mass" if kind == "mass" else quantity.title
    others = OTHERS if sum(one.faint for one in series) > 1 else ""
    return _chart(
        kind,
        f"{title}, {record.called_state(thought)}{others}",
        quantity.y_label,
        series,
        level=quantity.level,
        y_range=quantity.y_range,
    )


def _accuracy(record: DynamicsRecord, other: DynamicsRecord | None) -> Chart:
    """Accuracy by number of thoughts, with the interval of the last."""
    *earlier, last = _accuracies(record)
    series = [*(line.bare for line in earlier), last]
    if other is not None and other.points:
        last = _accuracies(other)[-1].bare
        dashed = {"name": f"{other.name}, {last.name}", "source": "untrained", "control": True, "tint": None}
        series.append(last.model_copy(update=dashed))
    candidates = record.example is not None or bool(record.points[0].thoughts)  # answers in words have no coin
    return _chart("accuracy", "Answers after k thoughts", "accuracy", series, level=COIN if candidates else None)


def _losses(run: RunFolder) -> Chart:
    """Loss per token, loss on the first token after the thoughts, and what guessing in the true frontier would cost."""
    steps = _thinned(run.steps)
    x = [step.problems for step in steps]
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("loss per token", "loss", {"source": "model"}),
        ("first token after the thoughts", "first_token_loss", {"group": "hallucination"}),
        ("a guess in the true frontier", "first_token_bound", {"source": "chance", "control": True}),
    )
    series = [Series.of(name, x, [_bare(getattr(s, of)) for s in steps], **look) for name, of, look in lines]
    most = max(y or 0 for one in series for y in one.y)
    return _chart("loss", "Loss", "nats per scored token", series, y_range=(0, most))


def _validations(run: RunFolder) -> Chart:
    """Accuracy on the validation problems with its interval, beside the training batches' (given the true chain)."""
    steps, found = _thinned(run.steps), _thinned(run.validations)
    per_step = run.steps[-1].problems / run.steps[-1].step
    training = [_bare(step.accuracy) for step in steps]
    series = [
        Series.of("training, given the true chain", [step.problems for step in steps], training, faint=True),
        Series.of("validation", [round(v.step * per_step) for v in found], [v.estimate for v in found], source="model"),
    ]
    return _chart("validation", "Accuracy at the stage trained", "accuracy", series, level=COIN)


# --- parts ------------------------------------------------------------------------------------------------------------


def _chart(
    name: str, title: str, y_label: str, series: list[Series], *, level: Level | None = None, **rest: Any
) -> Chart:
    """Lines over the problems seen."""
    data: dict[str, Any] = {"y_range": (0, 1)} | rest
    if level is not None:
        x = [float(at) for one in series for at in one.x]
        ends = (min(x), max(x))
        series = [*series, Series(name=level[1], x=ends, y=(level[0],) * 2, source="chance", control=True)]
    x_label = "problems seen in training"
    return Chart(name=name, title=title, kind="lines", x_label=x_label, y_label=y_label, series=tuple(series), **data)


def _stages(run: RunFolder) -> list[Reference]:
    return [
        Reference(axis="x", at=span.start, to=span.end, kind="stage", label=f"stage {span.stage}")
        for span in run.stages
    ]


def _line(name: str, record: DynamicsRecord, thought: int, of: Of, **rest: Any) -> Series:
    """A number of one thought over the points of a record."""
    found = [_bare(of(point.thoughts[thought - 1])) for point in record.points]
    return Series.of(name, [point.problems for point in record.points], found, **rest)


def _accuracies(record: DynamicsRecord) -> list[Series]:
    """Accuracy by number of thoughts k, with Wilson intervals."""
    n, most = record.n_problems, len(record.points[0].accuracy_by_k)
    x = [point.problems for point in record.points]
    return [
        Series.of(f"k = {k}", x, [share(p.accuracy_by_k[k] * n, n) for p in record.points], tint=_tint(k, most), n=None)
        for k in range(most)
    ]


def _bare(value: Estimate | float | None) -> Estimate | None:
    """A number without its interval, where it has none."""
    return value if value is None or isinstance(value, Estimate) else Estimate(value=value, n=0)


def _tint(i: int, n: int) -> float:
    return 0.35 + 0.65 * i / max(n - 1, 1)


def _thinned(values: Sequence[T]) -> list[T]:
    step = max(-(-len(values) // MOST), 1)
    return [*values[::step], *(values[-1:] if step > 1 else ())]
