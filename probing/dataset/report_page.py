"""A data set result as files: a table, every figure with its data, and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from model.files import html, write_csv_of, write_text
from model.values import Progress, silent
from probing.dataset.cells import Cell
from probing.dataset.findings import DatasetResult, Published, RunModel, Section
from probing.draw.html import frame, inline, table
from probing.draw.static import svg as to_svg
from probing.draw.values import Chart

COLUMNS = tuple(Cell.model_fields)


def write_result(result: DatasetResult, out: str | Path, *, progress: Progress = silent) -> None:
    """``result.json``, ``table.csv``, ``figures/NAME.svg`` with ``NAME.json``, and ``report.html`` in a folder."""
    out = Path(out)
    result.save(out / "result.json")
    write_text(out / "table.csv", table_csv(result.cells))
    charts = [(file_name(section, chart), chart) for section in result.sections for chart in section.charts]
    drawn: dict[str, str] = {}
    progress("figures", 0, len(charts))
    for i, (name, chart) in enumerate(charts, 1):
        drawn[name] = to_svg(chart)
        write_text(out / "figures" / f"{name}.svg", drawn[name])
        chart.save(out / "figures" / f"{name}.json")
        progress("figures", i, len(charts))
    write_text(out / "report.html", to_html(result, drawn))


def table_csv(cells: Sequence[Cell]) -> str:
    """Every number with its interval and n, one a row; numbers in full precision."""
    return write_csv_of(None, [dict(cell) for cell in cells])


def file_name(section: Section, chart: Chart) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{section.name}-{chart.name}")


def to_html(result: DatasetResult, drawn: dict[str, str] | None = None) -> str:
    """The page. ``drawn`` are the figures by file name, drawn here when missing."""
    links = "".join(f'<li><a href="#{html(s.name)}">{html(s.title)}</a></li>' for s in result.sections)
    contents = f"<nav aria-label='Contents'><h2>Contents</h2><ol>{links}</ol></nav>"
    sections = (_section(section, drawn or {}) for section in result.sections)
    return frame("Data set report", "\n".join((_summary(result), contents, *sections)), style=_STYLE)


def _mixing(uniform_prob: float | None) -> str:
    return "unknown" if uniform_prob is None else f"{uniform_prob:g}"


def _summary(result: DatasetResult) -> str:
    models = table(
        (
            "model", "what it is", "layers", "width", "thoughts", "stage mixing", "problems taken", "padded", "weights",
            "passes",
        ),
        (
            (
                m.info.name, "fresh random weights (control)" if m.untrained else f"{m.info.method}, trained",
                m.info.n_layer, m.info.n_embd, m.n_thoughts, _mixing(m.info.uniform_prob),
                f"{m.n_taken:,} of {m.n_problems:,}", f"{m.n_padded:,}", m.info.fingerprint, m.info.precision,
            )
            for m in result.models
        ),
    )  # fmt: skip
    found = "".join(
        f"<li><a href='#{html(section.name)}'>{html(section.title)}</a>: {html(section.says[0])}</li>"
        for section in result.sections
        if section.says and section.name != "tree"
    )
    return f"""<p>Data {html(result.data)} (hash <code>{html(result.data_hash)}</code>), {result.n_problems:,} problems,
seed {result.seed}.</p>
<div class='wide'>{models}</div>
{"".join(_skipped(model) for model in result.models if model.skipped)}
<h2>Summary</h2><ul>{found}</ul>
<p><b>Decodable, used and necessary are different claims.</b> This page is about what can be decoded, and about
answers. Whether the model uses what is decoded is a matter of interventions: the verdict sheet
(<code>python -m probing verdict</code>).</p>
<p>h<sub>k</sub> is the last hidden state after k thoughts; thought t is h<sub>t-1</sub>, and should hold
the nodes at distance t from the root. Shaded bands, error bars and square brackets are 95 % intervals. Dashed or
dotted is a control.</p>"""


def _skipped(model: RunModel) -> str:
    n = model.n_problems - model.n_taken
    lines = [f"problem {number}: {reason}" for number, reason in model.skipped]
    if n > len(lines):
        lines.append(f"and {n - len(lines):,} more")
    listed = "".join(f"<li>{html(line)}</li>" for line in lines)
    return f"<h3>{n:,} problems that {html(model.info.name)} cannot take</h3><ul>{listed}</ul>"


def _section(section: Section, drawn: dict[str, str]) -> str:
    facts = (
        ("What is shown", section.shows),
        ("Definition", section.definition),
        ("Sample", f"n = {section.n:,} problem{'s' if section.n != 1 else ''} of the main model"),
        ("Interval", section.interval),
        ("Control", section.control),
        ("What it does not show", section.does_not_show),
        ("Source", section.paper),
    )
    figures = ((file_name(section, chart), chart) for chart in section.charts)
    return f"""<section id='{html(section.name)}'><h2>{html(section.title)}</h2>
{"".join(f"<p class='says'>{html(text)}</p>" for text in section.says)}
<div class='figures'>{"".join(_figure(name, chart, drawn.get(name)) for name, chart in figures)}</div>
<dl>{"".join(f"<dt>{html(name)}</dt><dd>{html(text)}</dd>" for name, text in facts)}</dl>
<details><summary>All numbers: value [interval], by step</summary>
<div class='wide'>{_numbers(section.cells)}</div></details>
{"".join(_published(item) for item in section.published)}</section>"""


def _figure(name: str, chart: Chart, svg: str | None) -> str:
    data = base64.b64encode(chart.model_dump_json().encode()).decode()
    return (
        f"<figure role='group' aria-label='{html(chart.title)}'>{inline(svg or to_svg(chart), name)}<figcaption>"
        f"<a download='{name}.json' href='data:application/json;base64,{data}'>data of this figure</a></figcaption>"
        "</figure>"
    )


def _published(item: Published) -> str:
    return (
        f"<aside><h3>Published: {html(item.what)}</h3><p>{html(item.source)}. <b>Differs from the above:</b> "
        f"{html(item.differs)}</p><div class='wide'>{table(item.columns, item.rows)}</div></aside>"
    )


def _numbers(cells: Sequence[Cell]) -> str:
    steps = sorted({cell.step for cell in cells}, key=lambda step: -1 if step is None else step)
    rows: dict[tuple[str, str, str], dict[int | None, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.metric, cell.group, cell.source), {})[cell.step] = cell
    body = []
    for what, found in rows.items():
        least, most = (of(cell.n for cell in found.values()) for of in (min, max))
        n = f"{least:,}" if least == most else f"{least:,}-{most:,}"
        body.append((*what, *(_value(found.get(step)) for step in steps), n))
    named = ("all" if step is None else str(step) for step in steps)
    return table(("metric", "group", "source", *named, "n"), body, name="numbers")


def _value(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "–"
    interval = "" if cell.low is None or cell.high is None else f" [{cell.low:.3g}, {cell.high:.3g}]"
    return f"{cell.value:.3g}{interval}"


_STYLE = """
h2 { margin: 40px 0 6px; padding-top: 10px; border-top: 1px solid #d5dbe2; } h3 { font-size: 1em; margin: 18px 0 4px; }
.says { font-weight: 600; color: inherit; margin: 4px 0; } .numbers td { white-space: nowrap; }
.wide { overflow-x: auto; } dl { display: grid; grid-template-columns: 170px 1fr; gap: 4px 16px; margin: 14px 0; }
dt { font-weight: 600; } dd { margin: 0; } .figures { display: flex; flex-wrap: wrap; gap: 14px; }
figure { margin: 0; max-width: 100%; flex: 1 1 560px; } figure svg { max-width: 100%; height: auto; }
figcaption { font-size: 12px; } aside { background: #f4f7fa; padding: 8px 14px; margin: 12px 0; }
details { margin: 8px 0; } summary { cursor: pointer; font-weight: 600; } a { color: #0b5394; } nav ol { columns: 2; }
@media (max-width: 700px) { dl { grid-template-columns: 1fr; } nav ol { columns: 1; } }
@media print { details { display: none; } figure { break-inside: avoid; } }
"""
