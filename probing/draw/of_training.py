"""What ECharts draws on Training: pure functions from a run folder to option objects. Across: problems seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.stats import wilson
from model.training.dynamics import EmergenceRecord, ThoughtNumbers
from model.training.folder import RunFolder, StageSpan, Validation
from probing.draw.echarts import Option
from probing.draw.marks import Theme

MOST = 600
"""Points of a line that are drawn; longer ones are thinned evenly."""


@dataclass(frozen=True)
class Line:
    """One line: (problems seen, value), with its interval where it has one."""

    name: str
    points: tuple[tuple[int, float | None], ...]
    colour: str
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    dash: str = "solid"
    width: float = 2.0
    symbol: str = "none"


def interval(value: ThoughtNumbers) -> tuple[float, float] | None:
    """95 % interval of the AUROC over problems (normal, cut to 0..1); None where it has none."""
    if value.auroc is None or value.auroc_se is None:
        return None
    return max(0.0, value.auroc - 1.96 * value.auroc_se), min(1.0, value.auroc + 1.96 * value.auroc_se)


def auroc(run: RunFolder, thought: int, at: int, theme: Theme, other: RunFolder | None = None) -> Option:
    """Frontier AUROC of a thought beside its control, the other thoughts faint."""
    record = _record(run)
    found = [point.thoughts[thought - 1] for point in record.points]
    bands = [interval(value) for value in found]
    lines = [
        Line(f"thought {t}", _over(record, [point.thoughts[t - 1].auroc for point in record.points]), theme.away,
             width=1.3)
        for t in range(1, _n_thoughts(record) + 1)
        if t != thought
    ]  # fmt: skip
    lines += [
        Line("another problem's thought", _over(record, [v.auroc_control for v in found]), theme.sources["shuffled"],
             dash="dashed", width=1.6),
        Line(f"thought {thought}", _over(record, [v.auroc for v in found]), theme.sources["model"],
             low=tuple(band and band[0] for band in bands), high=tuple(band and band[1] for band in bands), width=2.8),
    ]  # fmt: skip
    lines += _beside(other, thought, lambda value: value.auroc, theme)
    lines.append(_level("chance", 0.5, record, theme))
    return _chart(lines, run.stages, at, theme, min=0, max=1)


def masses(run: RunFolder, thought: int, at: int, theme: Theme, other: RunFolder | None = None) -> Option:
    """Where a thought's probability is: on the frontier, on nodes reached before, on nodes not reached."""
    record = _record(run)
    found = [point.thoughts[thought - 1] for point in record.points]
    parts = {"frontier": "frontier", "passed": "reached before", "beyond": "not reached"}
    lines = [
        Line(title, _over(record, [value.mass[group] for value in found]), theme.parts[title],
             width=2.8 if group == "frontier" else 2, dash="solid" if group == "frontier" else "dashed")
        for group, title in parts.items()
    ]  # fmt: skip
    optimal = _over(record, [value.mass["optimal"] for value in found])
    lines.append(Line("of it on a shortest path", optimal, theme.path, dash="dotted", width=1.8))
    lines += _beside(other, thought, lambda value: value.mass["frontier"], theme)
    return _chart(lines, run.stages, at, theme, min=0, max=1)


def logits(run: RunFolder, thought: int, at: int, theme: Theme, other: RunFolder | None = None) -> Option:
    """Mean logit of frontier minus not-reached nodes: the chosen thought, the others faint; 0 is no difference."""
    record = _record(run)
    lines = [
        Line(f"thought {t}", _over(record, [point.thoughts[t - 1].logit_gap for point in record.points]),
             theme.sources["model"] if t == thought else theme.away, width=2.8 if t == thought else 1.3)
        for t in range(1, _n_thoughts(record) + 1)
    ]  # fmt: skip
    lines += _beside(other, thought, lambda value: value.logit_gap, theme)
    lines.append(_level("no difference", 0.0, record, theme))
    return _chart(lines, run.stages, at, theme)


def accuracies(run: RunFolder, at: int, theme: Theme, other: RunFolder | None = None) -> Option:
    """Accuracy by number of thoughts k, later ones darker; the interval is that of the last."""
    record = _record(run)
    most = len(record.points[0].accuracy_by_k) - 1
    lines = []
    for k in range(most + 1):
        values = [point.accuracy_by_k[k] for point in record.points]
        bands = [wilson(value * record.n_problems, record.n_problems) for value in values]
        last = k == most
        lines.append(
            Line(
                f"k = {k}", _over(record, values), theme.colour(0.35 + 0.65 * k / max(most, 1), 0, 1),
                low=tuple(low for low, _ in bands) if last else None,
                high=tuple(high for _, high in bands) if last else None, width=2.8 if last else 1.8,
            )
        )  # fmt: skip
    if other is not None and other.record is not None:
        values = [point.accuracy_by_k[-1] for point in other.record.points]
        k = len(other.record.points[0].accuracy_by_k) - 1
        lines.append(Line(f"{other.record.name}, k = {k}", _over(other.record, values), theme.sources["untrained"],
                          dash="dashed"))  # fmt: skip
    lines.append(_level("one of two by coin", 0.5, record, theme))
    return _chart(lines, run.stages, at, theme, min=0, max=1)


def losses(run: RunFolder, at: int | None, theme: Theme) -> Option:
    """Loss a token, loss on the first token after the thoughts, and what guessing in the true frontier would cost."""
    steps = _thinned(run.steps)
    lines = [
        Line("loss per token", tuple((s.problems, s.loss) for s in steps), theme.sources["model"], width=2.4),
        Line("first token after the thoughts", tuple((s.problems, s.first_token_loss) for s in steps),
             theme.sources["shuffled"], width=1.8),
        Line("a guess in the true frontier", tuple((s.problems, s.first_token_bound) for s in steps), theme.muted,
             dash="dotted", width=1.6),
    ]  # fmt: skip
    return _chart(lines, run.stages, at, theme, min=0)


def validations(run: RunFolder, at: int | None, theme: Theme) -> Option:
    """Accuracy on the validation problems with its interval, beside the training batches' (given the true chain)."""
    steps = _thinned(run.steps)
    per_step = run.steps[-1].problems / run.steps[-1].step
    found = _thinned(run.validations)
    lines = [
        Line("training, given the true chain", tuple((s.problems, s.accuracy) for s in steps), theme.away, width=1.3),
        Line("validation", tuple((round(v.step * per_step), v.accuracy) for v in found), theme.sources["model"],
             low=tuple(v.low for v in found), high=tuple(v.high for v in found), width=2.6, symbol="circle"),
        Line("one of two by coin", ((0, 0.5), (run.steps[-1].problems, 0.5)), theme.muted, dash="dotted", width=1.5),
    ]  # fmt: skip
    return _chart(lines, run.stages, at, theme, min=0, max=1)


def band(
    x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], colour: str, number: int
) -> list[Option]:
    """An interval as two stacked lines, the upper one's height shaded; ``number`` tells the bands of a chart apart."""
    edge = {"type": "line", "stack": f"band {number}", "stackStrategy": "all", "symbol": "none", "silent": True}
    edge |= {"lineStyle": {"opacity": 0}, "tooltip": {"show": False}}
    known = [(at, a, b) for at, a, b in zip(x, low, high, strict=True) if a is not None and b is not None]
    shade = {"areaStyle": {"color": colour, "opacity": 0.2}}
    return [
        {**edge, "data": [[at, round(a, 5)] for at, a, _ in known]},
        {**edge, "data": [[at, round(b - a, 5)] for at, a, b in known], **shade},
    ]


def said(value: Validation) -> str:
    """An accuracy with its interval, in percent."""
    return f"{100 * value.accuracy:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}]"


# --- private ----------------------------------------------------------------------------------------------------------


def _record(run: RunFolder) -> EmergenceRecord:
    assert run.record is not None
    return run.record


def _n_thoughts(record: EmergenceRecord) -> int:
    return len(record.points[0].thoughts)


def _over(record: EmergenceRecord, values: Sequence[float | None]) -> tuple[tuple[int, float | None], ...]:
    return tuple((point.problems, value) for point, value in zip(record.points, values, strict=True))


def _beside(other: RunFolder | None, thought: int, value: Any, theme: Theme) -> list[Line]:
    """The same thought of another run, where it has it."""
    if other is None or other.record is None or thought > _n_thoughts(other.record):
        return []
    values = [value(point.thoughts[thought - 1]) for point in other.record.points]
    return [Line(other.record.name, _over(other.record, values), theme.sources["untrained"], dash="dashed")]


def _level(name: str, value: float, record: EmergenceRecord, theme: Theme) -> Line:
    ends = record.points[0].problems, record.points[-1].problems
    return Line(name, tuple((end, value) for end in ends), theme.muted, dash="dotted", width=1.5)


def _thinned(values: Sequence[Any]) -> list[Any]:
    step = -(-len(values) // MOST)
    return [*values[:: max(step, 1)], *(values[-1:] if step > 1 else ())]


def _chart(lines: Sequence[Line], stages: Sequence[StageSpan], at: int | None, theme: Theme, **y: Any) -> Option:
    series: list[Option] = []
    for i, line in enumerate(lines):
        if line.low is not None and line.high is not None:
            series += band([x for x, _ in line.points], line.low, line.high, line.colour, i)
        series.append(
            {
                "type": "line",
                "name": line.name,
                "data": [[x, None if value is None else round(value, 5)] for x, value in line.points],
                "symbol": line.symbol if len(line.points) > 1 else "circle",
                "symbolSize": 6,
                "color": line.colour,
                "lineStyle": {"width": line.width, "type": line.dash},
            }
        )
    series[0] |= {"markArea": _stages(stages, theme)}
    if at is not None:
        here = {"xAxis": at, "lineStyle": {"color": theme.text, "width": 1.2, "type": "solid", "opacity": 0.7}}
        series[-1] |= {
            "markLine": {"silent": True, "symbol": "none", "label": {"show": False}, "animation": False, "data": [here]}
        }
    end = max(x for line in lines for x, _ in line.points)
    return {
        "animation": False,
        "grid": {"left": 4, "right": 22, "top": 56, "bottom": 24, "containLabel": True},
        "legend": {
            "data": [line.name for line in lines],
            "type": "scroll",
            "top": 0,
            "left": 0,
            "itemWidth": 18,
            "itemHeight": 9,
            "itemGap": 10,
            "textStyle": {"fontSize": 11, "color": theme.text},
        },
        "tooltip": {"trigger": "axis", "valueFormatter": "%.3f", "confine": True, "textStyle": {"fontSize": 12}},
        "xAxis": {
            "type": "value",
            "min": 0,
            "max": max(end, 1),
            "name": "problems seen in training",
            "nameLocation": "middle",
            "nameGap": 26,
            "nameTextStyle": {"color": theme.muted},
            "splitLine": {"show": False},
            "splitNumber": 4,
        },
        "yAxis": {"type": "value", "splitLine": {"lineStyle": {"color": theme.faint, "opacity": 0.6}}, **y},
        "series": series,
    }


def _stages(stages: Sequence[StageSpan], theme: Theme) -> Option:
    areas = []
    for span in stages:
        style = {"color": theme.muted, "opacity": 0.0 if span.stage % 2 == 0 else 0.09}
        areas.append([{"xAxis": span.start, "name": f"stage {span.stage}", "itemStyle": style}, {"xAxis": span.end}])
    label = {"show": len(stages) <= 10, "position": "top", "distance": 3, "color": theme.muted, "fontSize": 11}
    return {"silent": True, "animation": False, "label": label, "data": areas}
