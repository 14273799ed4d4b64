"""A data set result as files: a table, every figure with its data, and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

from model.files import write_text
from model.values import Progress, silent
from probing.dataset.cells import Cell
from probing.dataset.findings import Chart, DatasetResult, Published, Section
from probing.draw.static import svg as to_svg

COLUMNS = ("analysis", "metric", "source", "group", "step", "value", "low", "high", "n", "unit")


def write_result(
    result: DatasetResult,
    out: str | Path,
    *,
    progress: Progress = silent,
) -> None:
    """``result.json``, ``table.csv``, ``figures/NAME.svg`` with ``NAME.json``, and ``report.html`` in a folder."""
    out = Path(out)
    result.save(out / "result.json")
    write_text(out / "table.csv", table_csv(result.cells))
    charts = [(section, chart) for section in result.sections for chart in section.charts]
    drawn: dict[str, str] = {}
    progress("figures", 0, len(charts))
    for i, (section, chart) in enumerate(charts, 1):
        name = file_name(section, chart)
        drawn[name] = to_svg(chart)
        write_text(out / "figures" / f"{name}.svg", drawn[name])
        write_text(out / "figures" / f"{name}.json", chart.model_dump_json(indent=1) + "\n")
        progress("figures", i, len(charts))
    write_text(out / "report.html", to_html(result, drawn))


def table_csv(cells: Sequence[Cell]) -> str:
    """Every number with its interval and n, one a row; numbers in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in cells:
        writer.writerow(["" if (value := getattr(cell, name)) is None else value for name in COLUMNS])
    return buffer.getvalue()


def file_name(section: Section, chart: Chart) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{section.name}-{chart.name}")


def to_html(result: DatasetResult, drawn: dict[str, str] | None = None) -> str:
    """The page. ``drawn`` are the figures by file name, drawn here when missing."""
    parts = [_HEAD, _summary(result)]
    links = "".join(f'<li><a href="#{s.name}">{html.escape(s.title)}</a></li>' for s in result.sections)
    parts.append(f"<nav aria-label='Contents'><h2>Contents</h2><ol>{links}</ol></nav>")
    for section in result.sections:
        parts.append(_section(section, drawn or {}))
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _summary(result: DatasetResult) -> str:
    esc = html.escape
    rows, skipped = [], []
    for model in result.models:
        info = model.info
        kind = "fresh random weights (control)" if model.untrained else f"{info.method}, trained"
        rows.append(
            f"<tr><th scope='row'>{esc(info.name)}</th><td>{esc(kind)}</td><td>{info.n_layer}</td>"
            f"<td>{info.n_embd}</td><td>{model.n_thoughts}</td><td>{info.uniform_prob:g}</td>"
            f"<td>{model.n_taken:,} of {model.n_problems:,}</td><td><code>{info.fingerprint}</code></td></tr>"
        )
        if model.skipped:
            listed = "".join(f"<li>problem {number}: {esc(reason)}</li>" for number, reason in model.skipped)
            n = model.n_problems - model.n_taken
            more = f"<li>and {n - len(model.skipped):,} more</li>" if n > len(model.skipped) else ""
            skipped.append(f"<h3>{n:,} problems that {esc(info.name)} cannot take</h3><ul>{listed}{more}</ul>")
    found = "".join(
        f"<li><a href='#{section.name}'>{esc(section.title)}</a>: {esc(section.says[0])}</li>"
        for section in result.sections
        if section.says and section.name != "tree"
    )
    return f"""<p class='facts'>Data {esc(result.data)} (hash <code>{result.data_hash}</code>), {result.n_problems:,}
problems, seed {result.seed}.</p>
<div class='wide'><table><thead><tr><th scope='col'>model</th><th scope='col'>what it is</th><th scope='col'>layers</th>
<th scope='col'>width</th><th scope='col'>thoughts</th><th scope='col'>stage mixing</th>
<th scope='col'>problems taken</th><th scope='col'>weights</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>
{"".join(skipped)}
<h2>In short</h2><ul>{found}</ul>
<p><b>Decodable, used and needed are different claims.</b> This page is about what can be decoded, and about answers.
Whether the model uses what is decoded is a matter of interventions: the verdict sheet
(<code>python -m probing verdict</code>).</p>
<p class='facts'>h<sub>k</sub> is the last hidden state after k thoughts; thought t is h<sub>t-1</sub>, and should hold
the nodes at distance t from the root. Shaded bands, error bars and square brackets are 95 % intervals. Dashed or
dotted is a control.</p>"""


def _section(section: Section, drawn: dict[str, str]) -> str:
    esc = html.escape
    says = "".join(f"<p class='says'>{esc(text)}</p>" for text in section.says)
    facts = (
        ("What is shown", section.shows),
        ("Definition", section.definition),
        ("Sample", f"n = {section.n:,} problem{'s' if section.n != 1 else ''} of the main model"),
        ("Interval", section.interval),
        ("Control", section.control),
        ("What it does not show", section.does_not_show),
        ("Source", section.paper),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{esc(text)}</dd>" for name, text in facts)
    figures = []
    for chart in section.charts:
        name = file_name(section, chart)
        svg = _inline(drawn.get(name) or to_svg(chart), name)
        data = base64.b64encode(chart.model_dump_json().encode()).decode()
        figures.append(
            f"<figure role='group' aria-label='{esc(chart.title, quote=True)}'>{svg}<figcaption>"
            f"<a download='{name}.json' href='data:application/json;base64,{data}'>data of this figure</a></figcaption>"
            "</figure>"
        )
    published = "".join(_published(item) for item in section.published)
    return f"""<section id='{section.name}'><h2>{esc(section.title)}</h2>{says}
<div class='figures'>{"".join(figures)}</div>
<dl>{listed}</dl>
<details><summary>All numbers: value [interval], by step</summary>
<div class='wide'>{_table(section.cells)}</div></details>
{published}</section>"""


def _published(item: Published) -> str:
    esc = html.escape
    head = "".join(f"<th scope='col'>{esc(column)}</th>" for column in item.columns)
    body = "".join("<tr>" + "".join(f"<td>{esc(value)}</td>" for value in row) + "</tr>" for row in item.rows)
    return (
        f"<aside><h3>Published: {esc(item.what)}</h3><p class='facts'>{esc(item.source)}. "
        f"<b>Differs from the above:</b> {esc(item.differs)}</p><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></aside>"
    )


def _table(cells: Sequence[Cell]) -> str:
    steps = sorted({cell.step for cell in cells if cell.step is not None})
    columns: list[int | None] = [*steps]
    if any(cell.step is None for cell in cells):
        columns.insert(0, None)
    rows: dict[tuple[str, str, str], dict[int | None, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.metric, cell.group, cell.source), {})[cell.step] = cell
    head = "".join(f"<th scope='col'>{'all' if step is None else step}</th>" for step in columns)
    body = []
    for (metric, group, source), found in rows.items():
        sizes = [cell.n for cell in found.values()]
        n = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,}-{max(sizes):,}"
        values = "".join(f"<td>{_value(found.get(step))}</td>" for step in columns)
        body.append(
            f"<tr><th scope='row'>{html.escape(metric)}</th><td>{html.escape(group)}</td><td>{html.escape(source)}</td>"
            f"{values}<td>{n}</td></tr>"
        )
    return (
        "<table class='numbers'><thead><tr><th scope='col'>metric</th><th scope='col'>group</th><th scope='col'>source"
        f"</th>{head}<th scope='col'>n</th></tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _value(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "–"
    text = f"{cell.value:.3g}"
    if cell.low is None or cell.high is None:
        return text
    return f"{text} <small>[{cell.low:.3g}, {cell.high:.3g}]</small>"


def _inline(svg: str, name: str) -> str:
    """The figure without its XML head, its ids made the page's own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)


_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Data set report</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#fff;color:#16202c}
main{max-width:1240px;margin:0 auto;padding:24px}
h1{margin:0 0 4px} h2{margin:40px 0 6px;padding-top:10px;border-top:1px solid #d5dbe2}
h3{font-size:1em;margin:18px 0 4px}
.facts{color:#5a6675;margin:2px 0 10px} .says{font-weight:600;margin:4px 0}
table{border-collapse:collapse;font-size:13px} th,td{text-align:left;vertical-align:top;padding:4px 8px;
border:1px solid #d5dbe2} .numbers td{white-space:nowrap} small{color:#5a6675} .wide{overflow-x:auto}
dl{display:grid;grid-template-columns:170px 1fr;gap:4px 16px;margin:14px 0} dt{font-weight:600} dd{margin:0}
.figures{display:flex;flex-wrap:wrap;gap:14px} figure{margin:0;max-width:100%;flex:1 1 560px}
figure svg{max-width:100%;height:auto} figcaption{font-size:12px}
aside{background:#f4f7fa;padding:8px 14px;margin:12px 0}
details{margin:8px 0} summary{cursor:pointer;font-weight:600} a{color:#0b5394} nav ol{columns:2}
@media (max-width:700px){dl{grid-template-columns:1fr} nav ol{columns:1}}
@media print{details{display:none} figure{break-inside:avoid}}
</style></head><body><main><h1>Data set report</h1>"""
