"""What all analyses of a data set share: the models side by side, node groups by thought, and the label shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.metrics import group_mean
from model.stats import Floats
from probing.dataset.findings import RunModel
from probing.dataset.recording import Bools, Recording


@dataclass(frozen=True, eq=False)
class Runs:
    """The recordings of one data set, the main model's first."""

    recordings: tuple[Recording, ...]
    models: tuple[RunModel, ...]
    seed: int = 0

    @property
    def main(self) -> Recording:
        return self.recordings[0]

    @property
    def thinking(self) -> tuple[Recording, ...]:
        """Those that have thoughts."""
        return tuple(recording for recording in self.recordings if recording.n_thoughts > 0)

    def is_untrained(self, recording: Recording) -> bool:
        return self.models[self.recordings.index(recording)].untrained


GROUPS = ("not reached", "reached", "earlier", "frontier", "optimal")
"""Node groups of thought t. *reached* holds *earlier* (before the frontier) and *frontier*, which holds *optimal*."""
GROUPINGS = {
    "strict": "breadth-first layers: a node belongs to the thought of its distance from the root",
    "walk": "as in the published notebook: the frontier of thought t is every node at the end of a walk of t edges",
}


def node_groups(recording: Recording, grouping: str = "strict", *, first: int = 1) -> dict[str, Bools]:
    """Masks ``M K N`` of GROUPS for thoughts ``first``..``first + K - 1``; padding is in none.

    With ``first=0`` the groups are those of the position that **produces** thought 1, 2, ...: what is reached before.
    """
    distance, t = recording.distance[:, None, :], np.arange(first, first + recording.n_thoughts)[:, None]
    best = recording.on_path[:, None, :] & (distance == t)
    if grouping == "strict":
        frontier, reached = distance == t, distance <= t
    else:
        assert grouping == "walk", grouping
        walks = walk_layers(recording, first + recording.n_thoughts)
        frontier = walks[:, first:]
        reached = np.logical_or.accumulate(walks, axis=1)[:, first:]
    return {
        "not reached": recording.is_node[:, None, :] & ~reached,
        "reached": reached,
        "earlier": reached & ~frontier,
        "frontier": frontier,
        "optimal": best,
    }


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


def mean_of(parts: Sequence[Floats]) -> Floats:
    """Mean of arrays of one shape; NaN where all are."""
    total: Floats = np.sum(parts, axis=0)
    return total / len(parts)
