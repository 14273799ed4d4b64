"""``DatasetResult``: all numbers and charts of a data set run, as plain data that survives JSON exactly.

The table, the figures, their data, the report and the app are all made from this one object.
"""

from __future__ import annotations

from typing import Literal

from model.errors import InputError
from model.values import Value
from probing.dataset.cells import Cell
from probing.draw.values import Chart
from probing.read.report import ModelInfo


class Published(Value):
    """Numbers printed in a paper, to be set beside ours; never mixed with them."""

    what: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    differs: str
    """What is different there, so that the numbers need not agree."""


class Section(Value):
    """One analysis, with everything a reader needs to judge it."""

    name: str
    title: str
    shows: str
    definition: str
    interval: str
    control: str
    does_not_show: str
    paper: str
    n: int
    """Problems of the main model behind it."""
    says: tuple[str, ...]
    """The main numbers in sentences, written from the cells."""
    cells: tuple[Cell, ...]
    charts: tuple[Chart, ...]
    published: tuple[Published, ...] = ()

    @property
    def short_title(self) -> str:
        """The title up to a colon or a bracket."""
        return self.title.split(":")[0].split(" (")[0]

    def cell(self, metric: str, *, source: str | None = None, group: str = "", step: int | None = None) -> Cell:
        """The one cell with this metric, source (default: the first cell's), group and step."""
        source = self.cells[0].source if source is None else source
        found = [
            cell
            for cell in self.cells
            if (cell.metric, cell.source, cell.group, cell.step) == (metric, source, group, step)
        ]
        assert len(found) == 1, (self.name, metric, source, group, step, len(found))
        return found[0]


class RunModel(Value):
    """One model of a run."""

    info: ModelInfo
    folder: str
    """Where its recording lies, within the result's folder."""
    untrained: bool
    n_thoughts: int
    """Thoughts it was given."""
    c_thought: int
    n_problems: int
    n_taken: int
    """Problems it could take."""
    skipped: tuple[tuple[int, str], ...]
    """(number, reason) of the first problems it could not take; ``n_problems - n_taken`` in all."""
    n_padded: int = 0
    """Problems padded with distractor facts, being smaller than any in training."""


class DatasetResult(Value):
    """Everything found in one data set run."""

    called = "a data set result of version 1"

    version: Literal[1] = 1
    data: str
    data_hash: str
    """SHA-256 of the problems, first 16 hex digits."""
    n_problems: int
    seed: int
    models: tuple[RunModel, ...]
    """The main model first."""
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section:
        """Raises InputError if that analysis was not made."""
        for section in self.sections:
            if section.name == name:
                return section
        raise InputError(f"no analysis {name!r} in this result; it has {', '.join(s.name for s in self.sections)}")

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for section in self.sections for cell in section.cells)
