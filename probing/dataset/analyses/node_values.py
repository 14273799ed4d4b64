"""Node values (Hao et al. 2024, section 5): the search tree, parallelism, height, and entropy over candidates.

The **value** of a node after k thoughts is the probability of its name as the next thing written: the product of the
probabilities of its tokens, here one token. Raw values leave mass over for everything that is no node; normalised
values are divided by the sum over the graph's nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from model import metrics
from model.stats import Floats
from probing.dataset.analyses.common import (
    Runs,
    mean_of,
    node_groups,
    shuffled_mean,
)
from probing.dataset.analyses.superposition import SHUFFLED, _plain
from probing.dataset.cells import Cell, mean_cell, mean_cells
from probing.dataset.findings import Chart, Published, Section, Series, lines
from probing.dataset.recording import Recording

TOP = (1, 2, 3)
PERCENTILES = tuple(range(0, 101, 2))


def cumulative_top(value: Floats) -> Floats:
    """``... 3``: sum of the highest 1, 2 and 3 values along the last axis; NaN counts as nothing."""
    best = -np.sort(-np.nan_to_num(value), axis=-1)[..., : len(TOP)]
    best = np.concatenate([best, np.zeros((*best.shape[:-1], len(TOP) - best.shape[-1]))], axis=-1)
    return best.cumsum(axis=-1)


def parallelism(runs: Runs) -> Section:
    """Cumulative top-1/2/3 values and their gap, by thought."""
    cells: list[Cell] = []
    for recording in runs.thinking:
        raw = recording.value[:, :-1]
        share = raw / np.nansum(raw, axis=-1, keepdims=True)
        for kind, values in (("raw", raw), ("normalised", share)):
            tops = cumulative_top(values)
            what: dict[str, Any] = {
                "analysis": "parallelism",
                "source": recording.name,
                "group": kind,
                "unit": "probability",
            }
            for i, top in enumerate(TOP):
                cells += mean_cells(tops[..., i], first_step=1, metric=f"top-{top}", **what)
            cells += mean_cells(tops[..., 2] - tops[..., 0], first_step=1, metric="top-3 minus top-1", **what)
        cells += mean_cells(
            recording.left_over[:, :-1], first_step=1, analysis="parallelism", metric="left over",
            source=recording.name, unit="probability",
        )  # fmt: skip
    main = runs.main
    tops = cumulative_top(main.value[:, :-1])
    charts = [
        Chart(
            name=f"parallelism_{t}", title=f"Thought {t}: cumulative value of the best nodes", kind="lines",
            x_label="percentile of problems", y_label="cumulative value", y_range=(0, 1),
            series=tuple(
                Series(
                    name=f"top-{top}", x=PERCENTILES,
                    y=tuple(np.percentile(tops[:, t - 1, i], PERCENTILES).tolist()),
                )
                for i, top in enumerate(TOP)
            ),
        )
        for t in range(1, min(4, main.n_thoughts) + 1)
    ]  # fmt: skip
    gap = [c for c in cells if c.source == main.name and c.metric == "top-3 minus top-1" and c.group == "raw"]
    charts.append(
        Chart(
            name="parallelism_gap", title="Top-3 minus top-1: how much is held beside the best node", kind="lines",
            x_label="thought t", y_label="probability",
            series=tuple(
                lines(
                    [
                        c for c in cells
                        if c.source == r.name and c.metric == "top-3 minus top-1" and c.group == "raw"
                    ],
                    r.name, control=runs.is_untrained(r),
                )
                for r in runs.thinking
            ),
        )
    )  # fmt: skip
    return Section(
        name="parallelism",
        title="Parallelism: how many nodes a thought holds",
        shows="The cumulative value of the best one, two and three nodes in each thought, problem by problem (sorted).",
        definition="Value of a node in thought t: its probability as the next token at h_(t-1); one token a node. "
        "Top-i: sum of the i highest values of any nodes of the graph, right or wrong. Wide gaps mean that several "
        "nodes are held. Raw and normalised among nodes; 'left over' is what raw values leave to non-nodes.",
        interval="Bootstrap over problems, 95 %.",
        control="The untrained model. A shuffle of labels changes nothing here, so a gap alone does not say that the "
        "nodes held are the right ones: see the frontier section.",
        does_not_show="A model that is unsure and a model that searches in parallel both have wide gaps. Narrowing "
        "gaps also come with the frontier's own size, which shrinks after hop 2 in these graphs.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5, parallelism figure (no numbers printed).",
        n=len(main),
        says=tuple(f"Thought {c.step}: top-3 minus top-1 is {_plain(c)} (n = {c.n:,})." for c in gap[:4]),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(
            Published(
                what="top-3 minus top-1 by k",
                source="Aswal et al. 2026 (arXiv 2606.12689), table file, 496 items",
                columns=("k", "pause as thought", "Coconut", "Coconut, uniform_prob 0.3"),
                rows=(
                    ("0", ".000", ".000", ".189"),
                    ("1", ".001", ".000", ".200"),
                    ("2", ".001", ".000", ".131"),
                    ("3", ".003", ".001", ".043"),
                    ("4", ".005", ".001", ".014"),
                ),
                differs="Fine-tuned GPT-2, public test file, values over candidate next concepts. Their k is our "
                "thought k + 1.",
            ),
        ),
    )


# --- height ---------------------------------------------------------------------------------------------------------

HEIGHTS = {"longest": "longest distance down to a leaf", "shortest": "shortest distance down to a leaf"}
MOST_HEIGHT = 6


def heights(recording: Recording, which: str) -> Floats:
    """``M N``: height of each node (HEIGHTS), NaN on padding."""
    found = np.full(recording.is_node.shape, np.nan)
    for row, problem in enumerate(recording.problems):
        found[row, : problem.n_nodes] = problem.height_longest if which == "longest" else problem.height_shortest
    return found


def height(runs: Runs) -> Section:
    """Value of frontier nodes against their height, for correct and incorrect nodes."""
    cells: list[Cell] = []
    main = runs.main
    charts: list[Chart] = []
    for recording in runs.thinking:
        frontier = node_groups(recording)["frontier"]
        value = recording.value[:, :-1]
        correct = np.isfinite(recording.distance_to_target)
        for which in HEIGHTS:
            tall = heights(recording, which)
            for right in (True, False):
                side = frontier & (correct == right)[:, None, :] & recording.is_node[:, None, :]
                for h in range(MOST_HEIGHT + 1):
                    members = side & (tall == h)[:, None, :]
                    if not members.any():
                        continue
                    beside = [(recording.name, metrics.group_mean(value, members))]
                    if recording is main:
                        beside.append((SHUFFLED, shuffled_mean(value, frontier, members)))
                    for source, values in beside:
                        cells += [
                            cell
                            for cell in mean_cells(
                                values, first_step=1, analysis="height", metric="value", source=source,
                                unit="probability",
                                group=f"{which} height {h}, {'correct' if right else 'incorrect'}",
                            )
                            if cell.n
                        ]  # fmt: skip
    for which, text in HEIGHTS.items():
        for t in range(1, min(2, main.n_thoughts) + 1):
            series = []
            for source, label in ((main.name, ""), (SHUFFLED, ", shuffled in the frontier")):
                for side in ("correct", "incorrect"):
                    found = {
                        int(c.group.split()[2].rstrip(",")): c
                        for c in cells
                        if c.source == source and c.step == t and c.group.startswith(which)
                        and c.group.endswith(f" {side}")
                    }  # fmt: skip
                    chosen = [found[h] for h in sorted(found)]
                    series.append(
                        Series(
                            name=side + label, x=tuple(sorted(found)), y=tuple(c.value for c in chosen),
                            low=tuple(c.low for c in chosen), high=tuple(c.high for c in chosen),
                            control=source == SHUFFLED,
                        )
                    )  # fmt: skip
            charts.append(
                Chart(
                    name=f"height_{which}_{t}", title=f"Thought {t}: value against height ({text})", kind="lines",
                    x_label=f"height ({which})", y_label="mean value of a frontier node", series=tuple(series),
                )
            )  # fmt: skip
    low = {
        side: next(
            (c for c in cells if c.source == main.name and c.step == 1 and c.group == f"shortest height 1, {side}"),
            None,
        )
        for side in ("correct", "incorrect")
    }
    says = [
        f"Thought 1, mean value of {side} frontier nodes one step above a leaf (shortest): {_plain(c)} (n = {c.n:,})."
        for side, c in low.items()
        if c is not None
    ]
    return Section(
        name="height",
        title="Height: value against distance to the leaves",
        shows="Whether nodes near the leaves are judged better: the value of correct and incorrect frontier nodes by "
        "their height.",
        definition="Nodes at distance t from the root, in thought t. Correct: the target can be reached from it. "
        "Height by both of the paper's definitions, longest (caption of its tree figure) and shortest (its text) "
        "distance down to a leaf. Averaged within a problem, then over the problems that have such a node.",
        interval="Bootstrap over problems, 95 %; n counts problems, and differs from point to point.",
        control="Values shuffled among the frontier nodes of the same thought (exact mean over shuffles), which keeps "
        "how much the frontier holds and loses which node holds it; the untrained model is in the table.",
        does_not_show="Height goes with distance from the root, number of siblings and frontier size, so a slope is "
        "not by itself foresight.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5, height figure (no numbers printed).",
        n=len(main),
        says=tuple(says),
        cells=tuple(cells),
        charts=tuple(charts),
    )


# --- entropy --------------------------------------------------------------------------------------------------------


def entropy(runs: Runs) -> Section:
    """Entropy, top-1 and mass over the candidate next nodes by k."""
    cells: list[Cell] = []
    for recording in runs.thinking:
        groups = node_groups(recording)
        frontier, value = groups["frontier"], recording.value[:, :-1]
        sources = [(recording.name, [value])]
        if recording is runs.main:
            rngs = [np.random.default_rng([runs.seed, i]) for i in range(metrics.N_SHUFFLES)]
            shuffles = [metrics.shuffled(value, recording.is_node[:, None, :], rng) for rng in rngs]
            sources.append((SHUFFLED, shuffles))
        searching = np.arange(recording.n_thoughts) < recording.n_hops[:, None]
        for source, versions in sources:
            found: dict[str, list[Floats]] = {}
            for v in versions:
                best = np.nanargmax(v, axis=-1)[..., None]
                right = np.take_along_axis(groups["optimal"], best, axis=-1)[..., 0]
                tops = cumulative_top(np.where(frontier, v, 0))
                for name, values in (
                    ("entropy over the frontier", metrics.entropy(v, frontier, normalised=True)),
                    ("entropy over all nodes", metrics.entropy(v, recording.is_node[:, None, :], normalised=True)),
                    ("top-1 correct", right.astype(float)),
                    ("mass on the frontier", np.where(frontier, v, 0).sum(axis=-1)),
                    ("frontier top-3 minus top-1", tops[..., 2] - tops[..., 0]),
                ):
                    found.setdefault(name, []).append(np.where(searching, values, np.nan))
            for name, parts in found.items():
                cells += mean_cells(mean_of(parts), first_step=0, analysis="entropy", metric=name, source=source)
    main = runs.main

    def by(metric: str, source: str) -> list[Cell]:
        return [c for c in cells if c.metric == metric and c.source == source]

    charts = [
        Chart(
            name=f"entropy_{name}", title=title, kind="lines", x_label="thoughts k", y_label=label, y_range=(0, 1),
            series=tuple(
                lines(by(metric, source), source, control=source in (SHUFFLED, *untrained(runs)))
                for source in (*(r.name for r in runs.thinking), SHUFFLED)
            ),
        )
        for metric, name, title, label in (
            ("entropy over the frontier", "frontier", "Normalised entropy over the frontier", "entropy / log n"),
            ("entropy over all nodes", "nodes", "Normalised entropy over all nodes", "entropy / log n"),
            ("top-1 correct", "top1", "The best node is on a shortest path, at hop k + 1", "share of problems"),
        )
    ]  # fmt: skip
    over = by("entropy over the frontier", main.name)
    return Section(
        name="entropy",
        title="Entropy over candidates",
        shows="How spread each thought is over the nodes it could go to next.",
        definition="After k thoughts: entropy of the values among the candidates, over the log of their number (1: all "
        "alike, 0: one node). Candidates are the nodes at hop k + 1, or all nodes of the graph. Only problems whose "
        "target is more than k hops away; the frontier entropy needs two candidates or more. Top-1 correct: the "
        "highest node of the whole graph lies on a shortest path at hop k + 1.",
        interval="Bootstrap over problems, 95 %.",
        control="Node labels shuffled within each problem; the untrained model.",
        does_not_show="Low entropy on the right node can come from the curriculum alone: pause models, which carry "
        "nothing from thought to thought, show the same fall on the public data (Aswal et al.).",
        paper="Aswal et al. 2026 (arXiv 2606.12689).",
        n=len(main),
        says=tuple(f"k = {c.step}: entropy over the frontier {_plain(c)} (n = {c.n:,})." for c in over[:4]),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(
            Published(
                what="Normalised entropy, top-1 correct (%), mass on candidates, by k",
                source="Aswal et al. 2026, table file, 496 items; pause as thought / Coconut / Coconut .3 mixed",
                columns=("k", "entropy", "top-1 correct", "mass"),
                rows=(
                    ("0", ".51 / .43 / .44", "65 / 64 / 91", ".00 / .00 / .95"),
                    ("1", ".51 / .47 / .46", "65 / 65 / 91", ".00 / .00 / .97"),
                    ("2", ".48 / .48 / .32", "72 / 63 / 89", ".01 / .00 / .81"),
                    ("3", ".23 / .26 / .37", "89 / 85 / 87", ".34 / .37 / .40"),
                    ("4", ".13 / .14 / .38", "97 / 93 / 71", ".59 / .63 / .24"),
                ),
                differs="Fine-tuned GPT-2, public test file, log base 2 of the number of candidates.",
            ),
        ),
    )


def untrained(runs: Runs) -> tuple[str, ...]:
    """Names of the untrained models."""
    return tuple(r.name for r in runs.recordings if runs.is_untrained(r))


# --- the tree of one problem ----------------------------------------------------------------------------------------


def tree(runs: Runs, number: int | None = None) -> Section:
    """The search tree of one problem: the value of each node in the thought of its distance."""
    main = runs.main
    row = 0
    if number is not None and number in main.numbers:
        row = int(np.flatnonzero(main.numbers == number)[0])
    problem = main.problems[row]
    value = main.value[row]
    share = value / np.nansum(value, axis=-1, keepdims=True)
    cells: list[Cell] = []
    names = problem.idx_to_symbol
    for t in range(1, main.n_thoughts + 1):
        for node in range(problem.n_nodes):
            for metric, values in (("value", value), ("value, normalised", share)):
                cells.append(
                    mean_cell(
                        values[t - 1, node : node + 1], analysis="tree", metric=metric, source=main.name,
                        group=names[node], step=t, unit="probability",
                    )
                )  # fmt: skip
        cells.append(
            mean_cell(
                main.left_over[row, t - 1 : t], analysis="tree", metric="left over", source=main.name, step=t,
                unit="probability",
            )
        )  # fmt: skip
    shown = [node for node in range(problem.n_nodes) if math.isfinite(problem.distance[node])]
    leads = problem.leads_to(problem.target)
    groups = {
        "root": [problem.root],
        "target": [problem.target],
        "leads to the target": [v for v in shown if v in leads and v not in (problem.root, problem.target)],
        "does not": [v for v in shown if v not in leads],
    }
    series = []
    for name, nodes in groups.items():
        labels = []
        for v in nodes:
            t = int(problem.distance[v])
            known = 1 <= t <= main.n_thoughts
            labels.append(f"{names[v]} {value[t - 1, v]:.2f}" if known else names[v])
        series.append(
            Series(
                name=name,
                x=tuple(float(problem.distance[v]) for v in nodes),
                y=tuple(
                    float(value[int(problem.distance[v]) - 1, v])
                    if 1 <= problem.distance[v] <= main.n_thoughts
                    else None
                    for v in nodes
                ),
                labels=tuple(labels),
            )
        )
    kept = {names[v] for v in shown}
    edges = tuple((names[s], names[e]) for s, e in problem.edges if names[s] in kept and names[e] in kept)
    return Section(
        name="tree",
        title=f"The search tree of one problem (number {main.numbers[row]})",
        shows="Each node the root can reach, at its distance, with its value in the thought of that distance.",
        definition="Value of a node at distance t: its probability as the next token at h_(t-1), raw. The table has "
        "every node in every thought, raw and normalised, and what is left over for non-nodes.",
        interval="None: this is one problem under one prompt. Explore gives the interval over prompts.",
        control="Not for one problem; the frontier and height sections set the same values beside their controls.",
        does_not_show="Anything about other problems. It is the first of the file that the model can take unless "
        "another was asked for, not a chosen one.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5, tree figure: k = 1 lempus .33, grimpus .32, zhorpus .16, "
        "sterpus .01; k = 2 rorpus .87.",
        n=1,
        says=(
            f"{names[problem.root]} is a {names[problem.target]}, not a {names[problem.neg_target]}: "
            f"{problem.n_hops} hops.",
        ),
        cells=tuple(cells),
        charts=(
            Chart(
                name="tree", title=f"Is {names[problem.root]} a {names[problem.target]} or a "
                f"{names[problem.neg_target]}? Value of each node in the thought of its distance",
                kind="tree", x_label="distance from the root = number of the thought", y_label="",
                series=tuple(series), edges=edges,
            ),
        ),
    )  # fmt: skip
