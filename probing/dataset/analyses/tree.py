"""The search tree of one problem (Hao et al. 2024, section 5): each node's value in the thought of its distance."""

from __future__ import annotations

import math

import numpy as np

from probing.dataset.analyses.common import READ, Runs
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.draw.values import Chart, Series, article


def tree(runs: Runs) -> Section:
    """The value of every node of one problem in every thought, and the tree of those the root can reach."""
    cells, main = Cells("tree"), runs.main
    places = main.numbers.tolist()
    row = places.index(runs.tree_problem) if runs.tree_problem in places else 0
    problem, value = main.problems[row], main.value[row]
    share, names = value / np.nansum(value, axis=-1, keepdims=True), problem.idx_to_symbol
    for t in range(1, main.n_thoughts + 1):
        for node, name in enumerate(names):
            for metric, values in (("value", value), ("value, normalised", share)):
                found = values[t - 1, [node]]
                cells.mean(found, metric=metric, source=main.name, group=name, step=t, unit="probability")
        cells.mean(main.left_over[row, [t - 1]], metric="left over", source=main.name, step=t, unit="probability")
    shown = [node for node in range(problem.n_nodes) if math.isfinite(problem.distance[node])]
    leads = problem.leads_to(problem.target)
    groups = {
        "root": [problem.root],
        "target": [problem.target],
        "leads to the target": [v for v in shown if v in leads and v not in (problem.root, problem.target)],
        "does not": [v for v in shown if v not in leads],
    }

    def of(node: int) -> float | None:
        t = int(problem.distance[node])
        return float(value[t - 1, node]) if 1 <= t <= main.n_thoughts else None

    series = tuple(
        Series(
            name=name, x=tuple(float(problem.distance[v]) for v in nodes), y=tuple(of(v) for v in nodes),
            labels=tuple(names[v] if (found := of(v)) is None else f"{names[v]} {found:.2f}" for v in nodes),
        )
        for name, nodes in groups.items()
    )  # fmt: skip
    kept = {names[v] for v in shown}
    edges = tuple((names[s], names[e]) for s, e in problem.edges if names[s] in kept and names[e] in kept)
    root, target, other = (names[v] for v in (problem.root, problem.target, problem.neg_target))
    chart = Chart(
        name="tree", title=f"Is {root} a {target} or a {other}? Value of each node in the thought of its distance",
        kind="tree", x_label="distance from the root = number of the thought", y_label="", series=series, edges=edges,
    )  # fmt: skip
    return runs.section(
        cells,
        [chart],
        [f"{root} is {article(target)} {target}, not {article(other)} {other}: {problem.n_hops} hops."],
        n=1,
        title=f"The search tree of one problem (number {main.numbers[row]})",
        shows="Each node the root can reach, at its distance, with its value in the thought of that distance.",
        definition=f"Value of a node at distance t: {READ}; raw. The table has "
        "every node in every thought, raw and normalised, and what is left over for non-nodes.",
        interval="None: this is one problem under one prompt. Explore gives the interval over prompts.",
        control="Not for one problem; the frontier and height sections set the same values beside their controls.",
        does_not_show="Anything about other problems. It is the first of the file that the model can take unless "
        "another was asked for, not a chosen one.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5, tree figure: k = 1 lempus .33, grimpus .32, zhorpus .16, "
        "sterpus .01; k = 2 rorpus .87.",
    )
