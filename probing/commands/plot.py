"""The command ``plot``: a saved report as a figure, a table or a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.files import write_bytes
from probing.draw.export import ENDINGS, KINDS, export_report, format_of
from probing.draw.marks import THEMES
from probing.read.report import VALUES, ProbeReport


def plot(
    source: Annotated[Path, typer.Argument(metavar="REPORT", help="A probe report, as `report` writes it.")],
    kind: Annotated[str, typer.Option(help=f"{', '.join(KINDS)}.")],
    out: Annotated[Path, typer.Option(help=f"File to write; its ending says the format: {', '.join(ENDINGS)}.")],
    state: Annotated[
        int | None, typer.Option(help="dag: only state h_K (thought K+1); default: every thought up to the answer.")
    ] = None,
    value: Annotated[str, typer.Option(help=f"What colours a node: {', '.join(VALUES)}.")] = "probability",
    theme: Annotated[str, typer.Option(help=f"{', '.join(THEMES)}.")] = "light",
) -> None:
    """Draw a report: the graph, nodes by thoughts, or frontier metrics beside their controls."""
    format = format_of(out)
    data = export_report(ProbeReport.load(source), kind, format, state=state, value=value, theme=theme)
    write_bytes(out, data)


def register(app: typer.Typer) -> None:
    app.command()(plot)
