"""What all analyses of a data set share: the models side by side, node groups by thought, and the label shuffle.

An analysis is a function ``Runs -> Section`` in a file of its own, and one row of ``run.ANALYSES``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from model import metrics
from model.files import read_json
from model.metrics import Bools, group_mean
from model.stats import Floats
from model.values import Progress, silent, validated
from probing.dataset.cells import Cells
from probing.dataset.findings import Published, RunModel, Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart, Series

SHUFFLED = "shuffled"
READ = (
    "its probability as the next step at h_(t-1) (in a model of words: the product over its name's tokens and what "
    "ends the name, read where training has a name next, which may be behind 'Every' once thought t was fed)"
)
"""What the value of a node in thought t is."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The recordings of one data set, the main model's first, and what is asked of them."""

    recordings: tuple[Recording, ...]
    models: tuple[RunModel, ...]
    seed: int = 0
    tree_problem: int | None = None
    """Number of the problem whose search tree is drawn; None: the first."""
    n_probe_problems: int = 300
    """Problems that linear probes are fitted and scored on."""
    out: Path | None = None
    """Where probes are saved, in each model's folder."""
    progress: Progress = silent

    @property
    def main(self) -> Recording:
        return self.recordings[0]

    @property
    def thinking(self) -> tuple[Recording, ...]:
        """Those that have thoughts."""
        return tuple(recording for recording in self.recordings if recording.n_thoughts > 0)

    def is_untrained(self, recording: Recording) -> bool:
        return self.models[self.recordings.index(recording)].untrained

    def lines(
        self, cells: Cells, metric: str, group: str = "", *, controls: Iterable[str] = (), all_: bool = False
    ) -> tuple[Series, ...]:
        """A metric by step: a line for each model that thinks (``all_``: for every model) and for each control."""
        models = self.recordings if all_ else self.thinking
        return (
            *(cells.line(metric, r.name, group, control=self.is_untrained(r)) for r in models),
            *(cells.line(metric, name, group, control=True) for name in controls),
        )

    def section(
        self, cells: Cells, charts: Iterable[Chart], says: Iterable[str], *, n: int | None = None, **texts: str
    ) -> Section:
        """The finished analysis; ``texts`` are the other fields of a Section, n is that of the main model."""
        return Section(
            name=cells.analysis,
            n=len(self.main) if n is None else n,
            says=tuple(says),
            cells=tuple(cells),
            charts=tuple(charts),
            published=published().get(cells.analysis, ()),
            **texts,
        )


@cache
def published() -> Mapping[str, tuple[Published, ...]]:
    """The numbers printed in papers that stand beside each analysis."""
    path = Path(__file__).parent.parent / "published.json"
    return validated(dict[str, tuple[Published, ...]], read_json(path), where=str(path))


def heat(
    columns: Iterable[str],
    rows: Mapping[str, Sequence[float | None]],
    *,
    y_range: tuple[float, float] = (0, 1),
    **what: Any,
) -> Chart:
    """A table of numbers in colour: each row's values under the columns."""
    x = tuple(columns)
    series = tuple(Series(name=name, x=x, y=tuple(values)) for name, values in rows.items())
    return Chart(kind="heatmap", y_range=y_range, series=series, **what)


GROUPS = ("beyond", "reached", "passed", "frontier", "optimal")
"""Node groups of thought t: those of ``model.metrics``, and *reached*, which is *passed* and *frontier* together."""
GROUPINGS = {
    "strict": "breadth-first layers: a node belongs to the thought of its distance from the root",
    "walk": "as in the published notebook: the frontier of thought t is every node at the end of a walk of t edges",
}


def node_groups(recording: Recording, grouping: str = "strict", *, first: int = 1) -> dict[str, Bools]:
    """Masks ``M K N`` of GROUPS for thoughts ``first``..``first + K - 1``, and of "other_frontier", the strict layer of
    the counterfactual question; padding is in none.

    With ``first=0`` the groups are those of the position that **produces** thought 1, 2, ...: what is reached before.
    """
    t = np.arange(first, first + recording.n_thoughts)
    found = metrics.node_groups(recording.distance, t, on_path=recording.on_path)
    found["reached"] = found["passed"] | found["frontier"]
    found["other_frontier"] = recording.other_distance[:, None] == t[:, None]
    if grouping == "walk":
        walks = walk_layers(recording, first + recording.n_thoughts)
        frontier, reached = walks[:, first:], np.logical_or.accumulate(walks, axis=1)[:, first:]
        beyond = recording.is_node[:, None, :] & ~reached
        found |= {"beyond": beyond, "reached": reached, "passed": reached & ~frontier, "frontier": frontier}
    return {name: found[name] for name in GROUPS} | {"other_frontier": found["other_frontier"]}


def walk_layers(recording: Recording, n: int) -> Bools:
    """``M n N``: nodes at the end of a walk of exactly 0, 1, ..., n - 1 edges from the root."""
    size = recording.is_node.shape[1]
    found = np.zeros((len(recording), n, size), dtype=bool)
    for row, problem in enumerate(recording.problems):
        step = np.zeros((size, size), dtype=bool)
        if problem.edges:
            step[tuple(np.array(problem.edges).T)] = True
        found[row, 0, problem.root] = True
        for i in range(1, n):
            found[row, i] = found[row, i - 1] @ step
    return found


def shuffled_mean(values: Floats, members: Bools, group: Bools) -> Floats:
    """What ``group_mean(values, group)`` is on average over all shuffles of the members; the group lies among them.

    The mean over all members, wherever the group is not empty: no shuffle need be drawn.
    """
    return np.where(group.any(axis=-1), group_mean(values, members), np.nan)
