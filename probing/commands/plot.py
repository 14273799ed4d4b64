"""The command ``plot``: a saved report as a figure, a table or a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.errors import InputError
from model.files import write_bytes
from probing.draw.export import ENDINGS, export_report, format_of
from probing.draw.marks import THEMES
from probing.draw.of_report import KINDS, choosing
from probing.read.report import VALUES, ProbeReport


def plot(
    source: Annotated[Path, typer.Argument(metavar="REPORT", help="A probe report, as `report` writes it.")],
    kind: Annotated[str, typer.Option(help=f"{', '.join(KINDS)}.")],
    out: Annotated[Path, typer.Option(help=f"File to write; its ending says the format: {', '.join(ENDINGS)}.")],
    state: Annotated[
        int | None,
        typer.Option(
            help=f"{', '.join(choosing('state'))}: only state h_K (thought K+1); "
            "default: every thought up to the answer, or h_0."
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(help=f"{', '.join(choosing('node'))}: name of the node; default: the target.")
    ] = None,
    value: Annotated[str, typer.Option(help=f"What colours a node: {', '.join(VALUES)}.")] = "probability",
    theme: Annotated[str, typer.Option(help=f"{', '.join(THEMES)}.")] = "light",
) -> None:
    """Draw a report."""
    format = format_of(out)
    report = ProbeReport.load(source)
    names = report.problem_row.idx_to_symbol
    if node is not None and node not in names:
        raise InputError(f"--node {node!r}: {source} has no node of this name")
    chosen = None if node is None else names.index(node)
    data = export_report(report, kind, format, state=state, node=chosen, value=value, theme=theme)
    write_bytes(out, data)


def help_text() -> str:
    """What ``--kind`` understands."""
    return "\n\b\n" + "\n".join(["Kinds:", *(f"  {name:11} {kind.title}" for name, kind in KINDS.items())])


def register(app: typer.Typer) -> None:
    """Add the command to a command group."""
    app.command("plot", help=f"{plot.__doc__}\n\n{help_text()}")(plot)
