"""A training run as charts over the problems seen: what the thoughts come to hold while a model learns.

Pure functions from a run folder or its dynamics record; ``write`` saves the record as a picture or a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from model.errors import InputError
from model.files import write_bytes, write_csv
from model.stats import Estimate, share
from model.training.dynamics import DynamicsRecord, ThoughtNumbers
from model.training.folder import RunFolder
from probing.draw.export import export
from probing.draw.values import Chart, Reference, Series, Words

KINDS = ("auroc", "mass", "logit", "accuracy", "loss", "validation")
FORMATS = ("svg", "png", "pdf", "csv")
MOST = 600
"""Points of a line that are drawn; longer ones are thinned evenly."""
COIN = (0.5, "one of two by coin")
T = TypeVar("T")
Of = Callable[[ThoughtNumbers], Estimate | None]


def figure(
    run: RunFolder, kind: str, *, thought: int = 1, at: int | None = None, other: RunFolder | None = None
) -> Chart:
    """A chart of one of KINDS over training.

    ``thought`` is the one looked at, ``at`` the moment (problems seen), ``other`` a run set beside it, dashed. The
    first four kinds need a dynamics record, the last two the run's losses. Raises InputError for an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; kinds are {', '.join(KINDS)}")
    beside = None if other is None else other.record
    if kind in ("loss", "validation"):
        chart = _losses(run) if kind == "loss" else _validations(run)
    else:
        assert run.record is not None
        if not 1 <= thought <= len(run.record.points[0].thoughts):
            raise InputError(f"thought {thought} is out of range; this run has {len(run.record.points[0].thoughts)}")
        chart = _accuracy(run.record, beside) if kind == "accuracy" else _of_thought(run.record, kind, thought, beside)
    stages = [
        Reference(axis="x", at=span.start, to=span.end, kind="stage", label=f"stage {span.stage}")
        for span in run.stages
    ]
    cursor = [] if at is None else [Reference(axis="x", at=at, kind="cursor")]
    end = max(float(x) for series in chart.series for x in series.x)
    update = {"references": (*stages, *chart.references, *cursor), "x_range": (0.0, max(end, 1.0))}
    return chart.model_copy(update=update)


def charts(record: DynamicsRecord) -> tuple[Chart, ...]:
    """Four charts over problems seen: frontier AUROC, frontier mass, logit gap, accuracy by number of thoughts.

    A line a thought (or k), darker for later ones; broken lines are the control, or nodes beyond the frontier. Raises
    InputError for a record without points.
    """
    if not record.points:
        raise InputError(f"{record.name}: the record of training dynamics is empty")
    thoughts = record.points[0].thoughts
    update = {
        "references": tuple(
            Reference(axis="x", at=start, to=end, kind="stage", label=f"stage {stage}")
            for (stage, start), end in zip(
                record.stage_starts, [*(s for _, s in record.stage_starts[1:]), record.points[-1].problems], strict=True
            )
        ),
        "words": Words(
            title=f"{record.name}: {record.method}, seed {record.seed}",
            caption="A line a thought or k, darker for later ones; bands: 95 % intervals over probe problems.",
            alt=f"What the thoughts of {record.name} come to hold over training",
        ),
    }

    def lines(of: Of, broken: Of | None = None, said: str = "") -> list[Series]:
        found = []
        for i, about in enumerate(thoughts):
            name, tint = f"thought {about.thought}", _tint(i, len(thoughts))
            found.append(_line(name, record, about.thought, of, tint=tint))
            if broken is not None:
                name = f"thought {about.thought}, {said}"
                found.append(_line(name, record, about.thought, broken, tint=tint, control=True, source="chance"))
        return found

    auroc = lines(lambda v: v.estimate, lambda v: _bare(v.auroc_control), "another problem's")
    mass = lines(lambda v: _bare(v.mass["frontier"]), lambda v: _bare(v.mass["beyond"]), "beyond")
    right = f"Answers right after k thoughts (n = {record.n_problems})"
    found = (
        _chart("auroc", "Frontier AUROC (beyond, logit lens; dotted: another problem's thought)", "AUROC", auroc),
        _chart("mass", "Probability on the frontier (dotted: on nodes beyond)", "probability", mass),
        _chart("logit", "Logit, frontier minus beyond", "nats", lines(lambda v: _bare(v.logit_gap)), y_range=None),
        _chart("accuracy", right, "accuracy", _accuracies(record)),
    )
    return tuple(chart.model_copy(update=update) for chart in found)


def write(record: DynamicsRecord, path: str | Path) -> None:
    """Save the charts, or their numbers, by the file's ending. Raises InputError for another than FORMATS."""
    format = Path(path).suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise InputError(f"{path}: the ending must be one of {', '.join(FORMATS)}")
    if format != "csv":
        return write_bytes(path, export(charts(record), format))
    rows = record.rows()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, columns, [[row.get(column) for column in columns] for row in rows])
    return None


# --- charts of a run --------------------------------------------------------------------------------------------------


def _of_thought(record: DynamicsRecord, kind: str, thought: int, other: DynamicsRecord | None) -> Chart:
    """AUROC, mass or logit gap of one thought; the others faint, its control, and the same thought of another run."""
    of: Of = {
        "auroc": lambda v: _bare(v.auroc_beyond),
        "mass": lambda v: _bare(v.mass["frontier"]),
        "logit": lambda v: _bare(v.logit_gap),
    }[kind]
    series: list[Series] = []
    if kind != "mass":
        rest = [numbers.thought for numbers in record.points[0].thoughts if numbers.thought != thought]
        series += [_line(f"thought {t}", record, t, of, faint=True) for t in rest]
    if kind == "auroc":
        name = "another problem's thought"
        series.append(_line(name, record, thought, lambda v: _bare(v.auroc_control), source="shuffled", control=True))
    if kind == "mass":
        for group in ("frontier", "passed", "beyond", "optimal"):
            title = "of it on a shortest path" if group == "optimal" else group
            series.append(_line(title, record, thought, lambda v, g=group: _bare(v.mass[g]), group=group))  # type: ignore[misc]
    else:
        own: Of = (lambda v: v.estimate) if kind == "auroc" else of
        series.append(_line(f"thought {thought}", record, thought, own, source="model"))
    if other is not None and thought <= len(other.points[0].thoughts):
        series.append(_line(other.name, other, thought, of, source="untrained", control=True))
    title, y_label = {
        "auroc": (f"Is thought {thought} the frontier?", "AUROC beyond (logit lens)"),
        "mass": (f"Where the probability of thought {thought} is", "probability"),
        "logit": ("Frontier above the rest", "logit, frontier minus beyond"),
    }[kind]
    level = {"auroc": (0.5, "chance"), "logit": (0.0, "no difference")}.get(kind)
    return _chart(kind, title, y_label, series, level=level, y_range=None if kind == "logit" else (0, 1))


def _accuracy(record: DynamicsRecord, other: DynamicsRecord | None) -> Chart:
    """Accuracy by number of thoughts, with the interval of the last."""
    bare = {"low": None, "high": None}
    *earlier, last = _accuracies(record)
    series = [*(line.model_copy(update=bare) for line in earlier), last]
    if other is not None:
        last = _accuracies(other)[-1]
        dashed = {"name": f"{other.name}, {last.name}", "source": "untrained", "control": True, "tint": None}
        series.append(last.model_copy(update=bare | dashed))
    return _chart("accuracy", "Answers after k thoughts", "accuracy", series, level=COIN)


def _losses(run: RunFolder) -> Chart:
    """Loss a token, loss on the first token after the thoughts, and what guessing in the true frontier would cost."""
    steps = _thinned(run.steps)
    lines: dict[str, tuple[list[float], dict[str, Any]]] = {
        "loss per token": ([s.loss for s in steps], {"source": "model"}),
        "first token after the thoughts": ([s.first_token_loss for s in steps], {"group": "hallucination"}),
        "a guess in the true frontier": ([s.first_token_bound for s in steps], {"source": "chance", "control": True}),
    }
    x = [step.problems for step in steps]
    series = [Series.of(name, x, map(_bare, y), **rest) for name, (y, rest) in lines.items()]
    return _chart(
        "loss", "Loss", "nats per scored token", series, y_range=(0, max(y or 0 for one in series for y in one.y))
    )


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
    name: str, title: str, y_label: str, series: list[Series], *, level: tuple[float, str] | None = None, **rest: Any
) -> Chart:
    """Lines over the problems seen; ``level`` is a value that they are read against, and its name."""
    data: dict[str, Any] = {"y_range": (0, 1)} | rest
    if level is not None:
        x = [float(at) for one in series for at in one.x]
        ends = (min(x), max(x))
        series = [*series, Series(name=level[1], x=ends, y=(level[0],) * 2, source="chance", control=True)]
    x_label = "problems seen in training"
    return Chart(name=name, title=title, kind="lines", x_label=x_label, y_label=y_label, series=tuple(series), **data)


def _line(name: str, record: DynamicsRecord, thought: int, of: Of, **rest: Any) -> Series:
    """A number of one thought over the points of a record."""
    found = [of(point.thoughts[thought - 1]) for point in record.points]
    return Series.of(name, [point.problems for point in record.points], found, **rest)


def _accuracies(record: DynamicsRecord) -> list[Series]:
    """Accuracy by number of thoughts k, with Wilson intervals."""
    n, most = record.n_problems, len(record.points[0].accuracy_by_k)
    x = [point.problems for point in record.points]
    return [
        Series.of(f"k = {k}", x, [share(p.accuracy_by_k[k] * n, n) for p in record.points], tint=_tint(k, most), n=None)
        for k in range(most)
    ]


def _bare(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value=value, n=0)


def _tint(i: int, n: int) -> float:
    return 0.35 + 0.65 * i / max(n - 1, 1)


def _thinned(values: Sequence[T]) -> list[T]:
    step = max(-(-len(values) // MOST), 1)
    return [*values[::step], *(values[-1:] if step > 1 else ())]
