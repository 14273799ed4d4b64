"""A report as a file of any kind and format; page and command line both come here, so their files are the same."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from model.errors import InputError
from model.formats.graph import write_graph
from probing.draw.marks import theme_of
from probing.draw.of_report import (
    DagScene,
    FrontierScene,
    HeatmapScene,
    NodeMark,
    check_state,
    dag_scene,
    dag_scenes,
    frontier_scene,
    heatmap_scene,
    scale_of,
    thought_of,
)
from probing.read.report import ProbeReport

Scene = DagScene | HeatmapScene | FrontierScene
KINDS = ("dag", "heatmap", "frontier")
FORMATS = ("svg", "png", "pdf", "html", "csv", "json", "node-link", "graphml")
"""Figures, the figure's table, the report itself, and the graph with its scores in two formats."""
ENDINGS = {
    ".node-link.json": "node-link",
    ".svg": "svg",
    ".png": "png",
    ".pdf": "pdf",
    ".html": "html",
    ".csv": "csv",
    ".json": "json",
    ".graphml": "graphml",
}
MEDIA_TYPES = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "pdf": "application/pdf",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "node-link": "application/json",
    "graphml": "application/graphml+xml",
}


def format_of(path: str | Path) -> str:
    """The format that a file's ending asks for. Raises InputError if no format has it."""
    name = Path(path).name.lower()
    for ending, format in ENDINGS.items():
        if name.endswith(ending):
            return format
    raise InputError(f"{path}: the ending does not say a format; accepted are {', '.join(ENDINGS)}")


def export(
    report: ProbeReport,
    kind: str,
    format: str,
    *,
    state: int | None = None,
    value: str = "probability",
    theme: str = "light",
) -> bytes:
    """The bytes of a file.

    ``kind`` is one of KINDS, ``format`` one of FORMATS. ``state`` picks one state of the graph (kind dag); without it
    the graph is drawn at every thought up to the answer (html: a slider over all states). ``value`` is one of
    ``probing.read.report.VALUES``; the frontier metrics do not depend on it. For json, node-link and graphml the kind
    does not matter: they hold the whole report, and the graph with the scores of all states.
    Raises InputError for anything unknown or out of range.
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; kinds are {', '.join(KINDS)}")
    if format not in FORMATS:
        raise InputError(f"format {format!r} is unknown; formats are {', '.join(FORMATS)}")
    colours = theme_of(theme)
    scale_of(report, value)
    if state is not None:
        if kind != "dag":
            raise InputError(f"a state can be chosen for the kind dag only, not for {kind}, which shows them all")
        check_state(report, state)
    if format == "json":
        return report.to_json().encode()
    if format in ("node-link", "graphml"):
        return graph_text(report, format, value=value).encode()
    drawn = scenes(report, kind, state=state, value=value, every=format in ("csv", "html"))
    if format == "csv":
        return table(drawn).encode()
    if format == "html":
        # Plotly takes a second to load, and not every command needs it.
        from probing.draw import plotly as draw_plotly

        first = drawn[0]
        if isinstance(first, HeatmapScene):
            figure = draw_plotly.heatmap_figure(first, theme=colours)
        elif isinstance(first, FrontierScene):
            figure = draw_plotly.frontier_figure(first, theme=colours)
        else:
            figure = draw_plotly.dag_figure([s for s in drawn if isinstance(s, DagScene)], theme=colours)
        return draw_plotly.to_html(figure, first, theme=colours).encode()
    from probing.draw import static as draw_static

    first = drawn[0]
    if isinstance(first, DagScene):
        page: DagScene | HeatmapScene | FrontierScene | Sequence[DagScene] = [
            s for s in drawn if isinstance(s, DagScene)
        ]
    else:
        page = first
    return draw_static.render(page, format, theme=colours)  # type: ignore[arg-type]  # checked above


def scenes(
    report: ProbeReport, kind: str, *, state: int | None = None, value: str = "probability", every: bool = False
) -> Sequence[Scene]:
    """What a file of a kind shows; one scene, or the graph at several states (``every``: at all of them)."""
    if kind == "heatmap":
        return [heatmap_scene(report, value=value)]
    if kind == "frontier":
        return [frontier_scene(report)]
    if state is not None:
        return [dag_scene(report, state, value=value)]
    if every:
        return [dag_scene(report, k, value=value) for k in range(report.n_thoughts + 1)]
    return dag_scenes(report, value=value)


# --- tables -----------------------------------------------------------------------------------------------------------

NODE_FIELDS = (
    "state", "thought", "value", "node", "name", "role", "distance", "frontier", "optimal", "mean", "low", "high", "n",
)  # fmt: skip
METRIC_FIELDS = ("metric", "thought", "source", "mean", "low", "high", "n", "chance")


def table(drawn: Sequence[Scene]) -> str:
    """The numbers of scenes in long form, as CSV; a cell is empty where there is no such number.

    Graph and heatmap: one line for each state and node (``distance`` is empty for nodes out of reach); the heatmap adds
    lines with value ``mass`` for each group that a state's probability falls into. Frontier: one line for each metric,
    thought and source.
    """
    first = drawn[0]
    if isinstance(first, FrontierScene):
        lines = [
            (
                panel.metric,
                point.thought,
                series.source,
                *_estimate(point.estimate),
                dict(panel.chance).get(point.thought),
            )
            for panel in first.panels
            for series in panel.series
            for point in series.points
        ]
        return _csv(METRIC_FIELDS, lines)
    rows: list[tuple[object, ...]] = []
    for scene in drawn:
        if isinstance(scene, DagScene):
            rows += [_node_line(scene.state, scene.thought, scene.scale.value, node) for node in scene.nodes]
        elif isinstance(scene, HeatmapScene):
            for row in scene.rows:
                rows += [_node_line(row.state, row.thought, scene.scale.value, node) for node in row.cells]
                known = dict(row.frontier)
                for part, share in row.parts:
                    own = known.get("model") if part == "frontier" else None
                    low, high = (own.low, own.high) if own else (None, None)
                    rows.append(
                        (row.state, row.thought, "mass", None, part, None, None, None, None, share, low, high, scene.n)
                    )
                for source, found in row.frontier:
                    if source != "model":
                        rows.append(
                            (
                                row.state,
                                row.thought,
                                "mass",
                                None,
                                f"frontier, {source}",
                                *[None] * 4,
                                *_estimate(found),
                            )
                        )
    return _csv(NODE_FIELDS, rows)


def _node_line(state: int, thought: int | None, value: str, node: NodeMark) -> tuple[object, ...]:
    return (
        state, thought, value, node.node, node.name, node.role, node.distance, int(node.frontier), int(node.optimal),
        node.value, node.low, node.high, node.n,
    )  # fmt: skip


def _estimate(found: object) -> tuple[object, ...]:
    return (None,) * 4 if found is None else tuple(getattr(found, field) for field in ("mean", "low", "high", "n"))


def _csv(fields: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows(["" if cell is None else cell for cell in line] for line in lines)
    return text.getvalue()


# --- graphs -----------------------------------------------------------------------------------------------------------


def graph_text(report: ProbeReport, format: str, *, value: str = "probability") -> str:
    """The graph with ``distance`` (left out where out of reach), ``score_t1`` .. ``score_tK`` and ``score_answer``."""
    assert format in ("node-link", "graphml")
    problem = report.problem
    attributes: dict[str, Sequence[float]] = {
        "distance": [d if math.isinf(d) else int(d) for d in problem.distance],
    }
    for state, row in enumerate(report.values(value).mean):
        thought = thought_of(report, state)
        attributes[f"score_t{thought}" if thought else "score_answer"] = [float(number) for number in row]
    return write_graph(problem, format, attributes=attributes, where="report")  # type: ignore[arg-type]
