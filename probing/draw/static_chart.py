"""Charts of a data set result as matplotlib figures and SVG, drawn from the very data that is exported."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from probing.dataset.findings import Chart, Series
from probing.draw.marks import LIGHT

THEME = LIGHT
COLOURS = (THEME.sources["model"], "#009e73", "#cc79a7", "#56b4e9", "#7a5c00", "#8c1d5c", "#16202c", "#5b9bd0")
"""Of series without a meaning of their own. No orange: that is the true frontier, and nothing else."""
GROUPS = {
    "frontier": THEME.frontier,
    "optimal": THEME.path,
    "earlier": THEME.parts["reached before"],
    "reached": THEME.parts["reached before"],
    "not reached": THEME.outline,
    "correct path": "#0b3c73",
    "longer path": "#69a8d8",
    "hallucination": "#8c1d5c",
    "wrong target": "#d786ae",
    "correct label": "#009e73",
    "incorrect label": "#c7b26b",
    "correct": THEME.sources["model"],
    "incorrect": "#8c1d5c",
    "root": THEME.path,
    "target": "#009e73",
    "leads to the target": THEME.parts["reached before"],
    "does not": THEME.outline,
}
GREYS = ("#5a6675", "#8895a4", "#a3aebb", "#3a4450")
Dash = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dash, ...] = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX<>"
MANY = 12
"""More series than this are drawn thin and without a legend."""
HATCHES = ("", "//", "xx", "..", "\\\\", "++")


def draw(chart: Chart) -> Figure:
    """A chart as a figure; every kind of chart is handled."""
    wide = chart.kind in ("tree", "stacked", "bars")
    figure = Figure(figsize=(8.4 if wide else 6.2, 4.6 if chart.kind == "tree" else 3.7))
    axes = figure.subplots()
    {
        "lines": _lines,
        "stacked": _stacked,
        "bars": _bars,
        "histogram": _histogram,
        "points": _points,
        "heatmap": _heatmap,
        "tree": _tree,
    }[chart.kind](chart, axes)
    axes.set_title(_wrap(chart.title), fontsize=10, loc="left")
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    if chart.note:
        figure.text(0.01, -0.02, chart.note, fontsize=7.5, color=THEME.muted, va="top")
    return figure


def to_svg(chart: Chart) -> str:
    """A chart as SVG text with real text in it; the same chart gives the same bytes."""
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": chart.name, "font.size": 9, "font.family": "sans-serif"}
    ):
        buffer = io.StringIO()
        draw(chart).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return buffer.getvalue()


def _style(chart: Chart) -> list[tuple[Series, str, Dash, str]]:
    """(series, colour, dash, marker) of each series."""
    found: list[tuple[Series, str, Dash, str]] = []
    own, controls = 0, 0
    for series in chart.series:
        known = GROUPS.get(series.name.split(" (")[0].split(",")[0])
        if series.control:
            colour = THEME.sources.get(series.name.split(", ")[-1].split(" ")[-1], GREYS[controls % len(GREYS)])
            found.append((series, colour, DASHES[controls % len(DASHES)], ""))
            controls += 1
        else:
            colour = known or COLOURS[own % len(COLOURS)]
            found.append((series, colour, "-", MARKERS[own % len(MARKERS)]))
            own += 1
    return found


def _lines(chart: Chart, axes: Axes) -> None:
    many = len(chart.series) > MANY
    for series, colour, dash, marker in _style(chart):
        x, y = np.array(series.x, float), _numbers(series.y)
        if many:
            axes.plot(x, y, color=THEME.sources["model"], alpha=0.3, linewidth=0.8)
            continue
        plain = marker if len(x) <= 12 else ""
        axes.plot(x, y, color=colour, linestyle=dash, marker=plain, markersize=4, label=series.name)
        if series.low is not None and series.high is not None:
            axes.fill_between(x, _numbers(series.low), _numbers(series.high), color=colour, alpha=0.16, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(chart, axes, legend=not many)


def _stacked(chart: Chart, axes: Axes) -> None:
    labels = [str(label) for label in chart.series[0].x]
    floor = np.zeros(len(labels))
    for i, (series, colour, _, _) in enumerate(_style(chart)):
        y = np.nan_to_num(_numbers(series.y))
        axes.bar(
            labels, y, bottom=floor, color=colour, label=series.name, hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        for place, (base, part) in enumerate(zip(floor, y, strict=True)):
            if part >= 0.06:
                axes.text(
                    place, base + part / 2, f"{100 * part:.0f}", ha="center", va="center", fontsize=7.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
                )  # fmt: skip
        floor = floor + y
    _finish(chart, axes)


def _bars(chart: Chart, axes: Axes) -> None:
    labels = list(dict.fromkeys(str(label) for series in chart.series for label in series.x))
    width = 0.8 / max(1, len(chart.series))
    for i, (series, colour, _, _) in enumerate(_style(chart)):
        place = np.array([labels.index(str(label)) for label in series.x]) + (i - (len(chart.series) - 1) / 2) * width
        y = _numbers(series.y)
        errors = None
        if series.low is not None and series.high is not None:
            errors = np.nan_to_num(np.clip([y - _numbers(series.low), _numbers(series.high) - y], 0, None))
        axes.bar(place, y, width * 0.92, yerr=errors, color=colour, label=series.name, capsize=2, ecolor="#16202c")
        for at, label in zip(place, series.labels or (), strict=False):
            axes.annotate(
                label, (at, 0), (0, 3), textcoords="offset points", rotation=90, ha="center", va="bottom", fontsize=6.5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
            )  # fmt: skip
    axes.set_xticks(range(len(labels)), labels)
    axes.axhline(0, color=THEME.text, linewidth=0.6)
    _finish(chart, axes)


def _histogram(chart: Chart, axes: Axes) -> None:
    for series, colour, dash, _ in _style(chart):
        left = np.array(series.x, float)
        width = left[1] - left[0] if len(left) > 1 else 1.0
        axes.stairs(_numbers(series.y), [*left, left[-1] + width], color=colour, linestyle=dash, label=series.name)
        axes.stairs(_numbers(series.y), [*left, left[-1] + width], color=colour, alpha=0.18, fill=True)
    _finish(chart, axes)


def _points(chart: Chart, axes: Axes) -> None:
    for series, colour, _, marker in _style(chart):
        axes.scatter(np.array(series.x, float), _numbers(series.y), s=9, color=colour, marker=marker, alpha=0.6,
                     linewidths=0, label=series.name)  # fmt: skip
    _finish(chart, axes)


def _heatmap(chart: Chart, axes: Axes) -> None:
    grid = np.array([_numbers(series.y) for series in chart.series])
    low, high = chart.y_range or (float(np.nanmin(grid)), float(np.nanmax(grid)))
    scale = LinearSegmentedColormap.from_list("values", THEME.stops(low, high, 129))
    image = axes.imshow(np.ma.masked_invalid(grid), vmin=low, vmax=high, cmap=scale, aspect="auto")
    axes.set_xticks(range(grid.shape[1]), [str(x) for x in chart.series[0].x])
    axes.set_yticks(range(grid.shape[0]), [series.name for series in chart.series])
    for (i, j), value in np.ndenumerate(grid):
        text = f"{value:.2f}" if np.isfinite(value) else "–"
        ink = THEME.ink(THEME.colour(value, low, high)) if np.isfinite(value) else THEME.text
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=ink)
    axes.figure.colorbar(image, ax=axes, fraction=0.05)


def _tree(chart: Chart, axes: Axes) -> None:
    by_column: dict[float, list[tuple[str, Series, str, str, float]]] = {}
    for series, colour, _, marker in _style(chart):
        for x, y, label in zip(series.x, series.y, series.labels or (), strict=True):
            by_column.setdefault(float(x), []).append((label, series, colour, marker, 0.0 if y is None else y))
    place: dict[str, tuple[float, float]] = {}
    for x, nodes in by_column.items():
        nodes.sort(key=lambda node: -node[4])
        for i, (label, *_) in enumerate(nodes):
            place[label.split(" ")[0]] = (x, (len(nodes) - 1) / 2 - i)
    names = {label.split(" ")[0] for nodes in by_column.values() for label, *_ in nodes}
    for source, target in chart.edges:
        if source in names and target in names:
            axes.annotate(
                "", place[target], place[source],
                arrowprops={"arrowstyle": "-|>", "color": "#a3aebb", "shrinkA": 9, "shrinkB": 9, "linewidth": 0.8},
            )  # fmt: skip
    shown = set()
    for nodes in by_column.values():
        for label, series, colour, marker, value in nodes:
            x, y = place[label.split(" ")[0]]
            axes.scatter(
                [x], [y], s=40 + 500 * value, color=colour, marker=marker, edgecolors="#16202c", linewidths=0.8,
                zorder=3, label=None if series.name in shown else series.name, alpha=0.9,
            )  # fmt: skip
            shown.add(series.name)
            axes.annotate(label, (x, y), (0, -13), textcoords="offset points", ha="center", va="top", fontsize=8,
                          zorder=4,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7})  # fmt: skip
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.12)
    legend = axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _finish(chart: Chart, axes: Axes, *, legend: bool = True) -> None:
    if chart.y_range is not None:
        low, high = chart.y_range
        axes.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.grid(axis="y", color=THEME.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if legend and len(chart.series) > 1:
        axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _wrap(title: str, width: int = 78) -> str:
    words, rows = title.split(), [""]
    for word in words:
        if len(rows[-1]) + len(word) > width:
            rows.append("")
        rows[-1] += f" {word}" if rows[-1] else word
    return "\n".join(rows)
