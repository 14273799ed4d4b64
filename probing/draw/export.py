"""Pictures and reports as files of any format; page and command line both come here, so their files are the same."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from model.errors import InputError, check_known
from model.files import write_csv
from model.formats.graph import write_graph
from probing.draw import of_report
from probing.draw.marks import LIGHT, Theme, theme_of
from probing.draw.of_report import thought_of
from probing.draw.values import Chart, Figure, Graph, HeatCell, Heatmap, HeatRow, Node, each
from probing.read.report import ProbeReport

MEDIA_TYPES = {
    "svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf", "html": "text/html",
    "csv": "text/csv", "json": "application/json", "node-link": "application/json",
    "graphml": "application/graphml+xml", "gif": "image/gif",
}  # fmt: skip
FORMATS = tuple(MEDIA_TYPES)
"""Figures, the figure's table, the report itself, and the graph with its scores in two formats."""
ENDINGS = {".node-link.json": "node-link"} | {f".{name}": name for name in FORMATS if name != "node-link"}


def format_of(path: str | Path) -> str:
    """The format that a file's ending asks for. Raises InputError if no format has it."""
    name = Path(path).name.lower()
    for ending, format in ENDINGS.items():
        if name.endswith(ending):
            return format
    raise InputError(f"{path}: the ending does not say a format; accepted are {', '.join(ENDINGS)}")


def export(value: Figure, format: str, *, theme: Theme = LIGHT) -> bytes:
    """The bytes of a picture, of its table (csv) or of its data (json). Raises InputError for another format."""
    if format == "csv":
        return table(value).encode()
    if format == "json":
        values = each(value)
        text = ",\n".join(one.model_dump_json(indent=1) for one in values)
        return (f"{text}\n" if len(values) == 1 else f"[{text}]\n").encode()
    if format == "html":
        from probing.draw import plotly  # takes a second to load, and not every command needs it

        return plotly.page(value, theme=theme).encode()
    if format == "gif":
        return _animated(each(value), theme)
    check_known("format", format, FORMATS[:6])
    from probing.draw import static

    return static.render(value, format, theme=theme)  # type: ignore[arg-type]  # checked above


def _animated(values: Sequence[Graph | Heatmap | Chart], theme: Theme) -> bytes:
    """Pictures one after the other, again and again; the last stands longest."""
    from PIL import Image

    from probing.draw import static

    pages = [Image.open(io.BytesIO(static.render(value, "png", theme=theme))) for value in values]
    size = max(page.width for page in pages), max(page.height for page in pages)
    frames = []
    for page in pages:
        frame = Image.new("RGB", size, theme.background)
        frame.paste(page)
        frames.append(frame.resize((size[0] // 2, size[1] // 2)))
    found = io.BytesIO()
    times = [1100] * (len(frames) - 1) + [3000]
    frames[0].save(found, "gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return found.getvalue()


def export_report(
    report: ProbeReport,
    kind: str,
    format: str,
    *,
    state: int | None = None,
    node: int | None = None,
    value: str = "probability",
    theme: str = "light",
) -> bytes:
    """The bytes of a file made from a report.

    ``kind`` is one of ``of_report.KINDS``, ``format`` one of FORMATS. ``state`` picks one state of the graph, or the
    one whose tokens are shown (default: h_0); without it the graph is drawn at every thought up to the answer (html: a
    slider over all states). ``node`` is the one of a trajectory (default: the target). ``value`` is one of
    ``probing.read.report.VALUES``, for the kinds that depend on it. For json, node-link and graphml the kind does not
    matter: they hold the whole report, and the graph with the scores of all states.
    Raises InputError for anything unknown or out of range.
    """
    chosen = of_report.kind_of(kind).chosen
    check_known("format", format, FORMATS)
    colours = theme_of(theme)
    for what, given in (("state", state), ("node", node)):
        if given is not None and what != chosen:
            able = " or ".join(of_report.choosing(what))
            raise InputError(f"a {what} can be chosen for the kind {able} only, not for {kind}")
    drawn = of_report.figure(report, kind, state=state, node=node, value=value, every=format in ("csv", "html", "gif"))
    if format == "json":
        return report.to_json().encode()
    if format in ("node-link", "graphml"):
        return graph_text(report, format, value=value).encode()
    return export(drawn, format, theme=colours)


# --- tables -----------------------------------------------------------------------------------------------------------

NODE_FIELDS = (
    "state", "thought", "value", "node", "name", "role", "distance", "frontier", "optimal", "mean", "low", "high", "n",
)  # fmt: skip
CHART_FIELDS = ("metric", "thought", "source", "mean", "low", "high", "n", "chance")


def table(value: Figure) -> str:
    """The numbers of a picture in long form, as CSV; a cell is empty where there is no such number.

    Graph and heatmap: one line for each state and node (``distance`` is empty for nodes out of reach); the heatmap adds
    lines with value ``mass`` for each group that a state's probability falls into. Charts: one line for each series and
    point; ``thought`` is the place across, ``source`` the series where it is no run, ``chance`` that of the same place.
    """
    rows: list[tuple[object, ...]] = []
    for one in each(value):
        if isinstance(one, Graph):
            rows += [_node_line(one.state, one.thought, one.scale.value, node, node) for node in one.nodes]
        elif isinstance(one, Heatmap):
            rows += _heatmap_lines(one)
        else:
            rows += _chart_lines(one)
    return write_csv(None, CHART_FIELDS if isinstance(one, Chart) else NODE_FIELDS, rows)


def _node_line(
    state: int, thought: int | None, value: str, row: Node | HeatRow, cell: Node | HeatCell
) -> tuple[object, ...]:
    found = (None,) * 4 if cell.found is None else cell.found.cells()
    return (
        state, thought, value, row.id, row.name, row.role, row.distance, int(cell.frontier), int(cell.optimal), *found
    )  # fmt: skip


def _heatmap_lines(value: Heatmap) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for j, column in enumerate(value.columns):
        at = (column.state, column.thought)
        nodes = zip(value.rows, value.cells, strict=True)
        rows += [_node_line(*at, value.scale.value, row, line[j]) for row, line in nodes if row.role != "marker"]
        known = dict(column.frontier)
        for part, share in column.parts:
            own = known.get("model") if part == "frontier" else None
            ends = (own.low, own.high) if own else (None, None)
            rows.append((*at, "mass", None, part, *(None,) * 4, share, *ends, value.n))
        for source, found in column.frontier:
            if source != "model":
                rows.append((*at, "mass", None, f"frontier, {source}", *(None,) * 4, *found.cells()))
    return rows


def _chart_lines(chart: Chart) -> list[tuple[object, ...]]:
    chance = {
        x: y for series in chart.series if series.source == "chance" for x, y in zip(series.x, series.y, strict=True)
    }
    rows: list[tuple[object, ...]] = []
    for series in chart.series:
        if series.source == "chance":
            continue
        for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            low, high, n = (None if of is None else of[i] for of in (series.low, series.high, series.n))
            rows.append((chart.name, x, series.source or series.name, y, low, high, n, chance.get(x)))
    return rows


# --- graphs -----------------------------------------------------------------------------------------------------------


def graph_text(report: ProbeReport, format: str, *, value: str = "probability") -> str:
    """The graph with ``distance`` (left out where out of reach), ``score_t1`` .. ``score_tK`` and ``score_answer``."""
    assert format in ("node-link", "graphml")
    problem = report.problem
    attributes: dict[str, Sequence[float]] = {"distance": [d if math.isinf(d) else int(d) for d in problem.distance]}
    for state, row in enumerate(report.values(value).mean):
        thought = thought_of(report, state)
        attributes[f"score_t{thought}" if thought else "score_answer"] = [float(number) for number in row]
    return write_graph(problem, format, attributes=attributes, where="report")  # type: ignore[arg-type]
