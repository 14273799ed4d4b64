"""Norms, principal components, similarity, and representational similarity of thoughts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from model.stats import Floats
from probing.dataset.analyses.common import Runs
from probing.dataset.analyses.node_values import untrained
from probing.dataset.analyses.superposition import _plain
from probing.dataset.cells import Cell, mean_cell, mean_cells
from probing.dataset.findings import Chart, Published, Section, Series, lines
from probing.dataset.recording import Recording

RSA_GROUP = 40
"""Problems in one group for representational similarity; the interval is over groups."""
N_POINTS = 250


def geometry(runs: Runs) -> Section:
    """Norms, similarity, PCA and RSA of the states."""
    cells: list[Cell] = []
    charts: list[Chart] = []
    for recording in runs.thinking:
        what: dict[str, Any] = {"analysis": "geometry", "source": recording.name}
        cells += mean_cells(recording.norm, first_step=0, metric="norm", **what)
        embedding = np.array(recording.columns["embedding_norm"], float)
        cells.append(mean_cell(embedding[:1], metric="norm of a node embedding (mean)", **what))
        similarity = recording.similarity
        for i in range(recording.n_thoughts + 1):
            cells += mean_cells(similarity[:, i], first_step=0, metric="cosine", group=f"h{i}, same problem", **what)
        charts.append(
            _heat(
                f"similarity_{recording.name}", f"{recording.name}: cosine between states of one problem",
                similarity.mean(axis=0), "h", (-1, 1),
            )
        )  # fmt: skip
        if len(recording.states.get("number", ())) > 1:
            states = _last_layer(recording)
            cells += [
                mean_cell(_other_problem(states[:, k]), metric="cosine, other problem", step=k, **what)
                for k in range(recording.n_thoughts + 1)
            ]
            cells += _rsa_cells(recording, states, runs.seed)
            charts += _pca_charts(recording, states) if recording is runs.main else []
            grid = [
                tuple(c.value for c in cells if c.source == recording.name and c.group == f"thought {t}")
                for t in range(1, recording.n_thoughts + 1)
            ]
            if all(grid):
                charts.append(
                    Chart(
                        name=f"rsa_{recording.name}", kind="heatmap", y_range=(-1, 1),
                        title=f"{recording.name}: RSA of thoughts (rows) with frontier sets (columns), Spearman",
                        x_label="frontier of hop", y_label="thought",
                        series=tuple(
                            Series(name=f"thought {t}", x=tuple(f"hop {s}" for s in range(1, len(row) + 1)), y=row)
                            for t, row in enumerate(grid, 1)
                        ),
                    )
                )  # fmt: skip
    off = set(untrained(runs))
    charts.insert(
        0,
        Chart(
            name="norm_by_k", title="Norm of the state h_k", kind="lines", x_label="thoughts k", y_label="norm",
            series=(
                *(
                    lines(
                        [c for c in cells if c.source == r.name and c.metric == "norm"], r.name, control=r.name in off
                    )
                    for r in runs.thinking
                ),
                *(
                    Series(
                        name=f"node embedding, {c.source}", x=tuple(range(runs.main.n_thoughts + 1)),
                        y=(c.value,) * (runs.main.n_thoughts + 1), control=True,
                    )
                    for c in cells if c.metric.startswith("norm of a node") and c.source == runs.main.name
                ),
            ),
        ),
    )  # fmt: skip
    main = runs.main
    norms = [c for c in cells if c.source == main.name and c.metric == "norm"]
    embedding_cell = next(c for c in cells if c.source == main.name and c.metric.startswith("norm of a node"))
    says = [f"|h_0| is {_plain(norms[0])}; a node embedding has norm {_plain(embedding_cell)} on average."]
    diagonal = [c for c in cells if c.source == main.name and c.metric == "RSA diagonality"]
    if diagonal:
        control = [c for c in cells if c.metric == "RSA diagonality" and c.source in off]
        beside = f"; untrained {_plain(control[0])}" if control else ""
        says.append(f"RSA diagonality {_plain(diagonal[0])} ({diagonal[0].n} groups){beside}.")
    return Section(
        name="geometry",
        title="Geometry of thoughts",
        shows="How long thoughts are beside the embeddings they stand in for, how alike they are, where they lie, and "
        "whether problems with like frontiers have like thoughts.",
        definition="Norms are Euclidean, of h_k after ln_f. Cosine between states of one problem. PCA: two components "
        "of all thoughts of all kept problems together. RSA: over pairs of problems, Spearman correlation of the "
        "cosine of their thoughts t with the overlap (Jaccard, by slot) of their frontiers at hop s. Diagonality: mean "
        "RSA with the thought's own hop minus the mean with other hops, over hops with 30 defined pairs or more.",
        interval=f"Bootstrap over problems, 95 %; for RSA over disjoint groups of {RSA_GROUP} problems.",
        control="The untrained model throughout; for similarity, the same thought of the next problem in the file; "
        "for RSA, the frontier of another hop (off the diagonal).",
        does_not_show="Closeness in two components or by cosine says little about what later layers read.",
        paper="Norms: facebookresearch/coconut, issue 29. RSA and diagonality: Cheng and Zhang 2026. PCA: Zhang et "
        "al. 2025 (arXiv 2512.21711).",
        n=len(main),
        says=tuple(says),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(
            Published(
                what="Norms",
                source="facebookresearch/coconut, issue 29, confirmed by the first author",
                columns=("finding",),
                rows=(("thoughts have much larger norms than embeddings",),),
                differs="Fine-tuned GPT-2; no number given.",
            ),
        ),
    )


def rsa(states: Floats, frontiers: np.ndarray) -> tuple[float, int]:
    """(Spearman, pairs) of the cosines of ``n d`` states with the Jaccard overlaps of ``n slots`` sets, over pairs.

    Pairs in which both sets are empty have no overlap and are left out. NaN if either side does not vary.
    """
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    members = frontiers.astype(float)
    both = members @ members.T
    size = members.sum(axis=1)
    either = size[:, None] + size[None] - both
    rows, columns = np.triu_indices(len(states), 1)
    kept = either[rows, columns] > 0
    rows, columns = rows[kept], columns[kept]
    alike = (unit @ unit.T)[rows, columns]
    overlap = both[rows, columns] / either[rows, columns]
    if len(rows) < 3 or np.ptp(overlap) == 0 or np.ptp(alike) < 1e-9:
        return float("nan"), len(rows)
    return float(np.corrcoef(rankdata(alike), rankdata(overlap))[0, 1]), len(rows)


def frontier_slots(recording: Recording) -> np.ndarray:
    """``n K n_slots`` (bool): which slots the frontier of hop 1..K fills, for the problems whose states are kept."""
    nodes = recording.states["slots"]
    place = {number: row for row, number in enumerate(recording.numbers.tolist())}
    found = np.zeros((len(nodes), recording.n_thoughts, nodes.shape[1]), dtype=bool)
    for i, number in enumerate(recording.states["number"].tolist()):
        distance = np.array([*recording.problems[place[number]].distance, np.inf])
        found[i] = distance[nodes[i]] == np.arange(1, recording.n_thoughts + 1)[:, None]
    return found


def _rsa_cells(recording: Recording, states: Floats, seed: int) -> list[Cell]:
    frontiers = frontier_slots(recording)
    n_thoughts = recording.n_thoughts
    order = np.random.default_rng(seed).permutation(len(states))
    n_groups = len(order) // RSA_GROUP
    found = np.full((n_groups, n_thoughts, n_thoughts), np.nan)
    for g in range(n_groups):
        rows = order[g * RSA_GROUP : (g + 1) * RSA_GROUP]
        for t in range(n_thoughts):
            for s in range(n_thoughts):
                value, n_pairs = rsa(states[rows, t], frontiers[rows, s])
                found[g, t, s] = value if n_pairs >= 30 else np.nan
    if not n_groups:
        return []
    cells = []
    for t in range(n_thoughts):
        cells += mean_cells(
            found[:, t], first_step=1, analysis="geometry", metric="RSA", source=recording.name,
            group=f"thought {t + 1}",
        )  # fmt: skip
    same = np.eye(n_thoughts, dtype=bool)
    diagonal = np.array(
        [
            np.nanmean(grid[same]) - np.nanmean(grid[~same])
            if np.isfinite(grid[same]).any() and np.isfinite(grid[~same]).any()
            else np.nan
            for grid in found
        ]
    )
    cells.append(mean_cell(diagonal, analysis="geometry", metric="RSA diagonality", source=recording.name))
    return cells


def _last_layer(recording: Recording) -> Floats:
    return recording.states["states"][:, -1].astype(float)


def _other_problem(states: Floats) -> Floats:
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    return (unit * np.roll(unit, 1, axis=0)).sum(axis=1)


def _pca_charts(recording: Recording, states: Floats) -> list[Chart]:
    n, n_thoughts = len(states), recording.n_thoughts
    thoughts = states[:, :n_thoughts].reshape(n * n_thoughts, -1)
    pca = PCA(n_components=2, random_state=0).fit(thoughts)
    points = pca.transform(thoughts).reshape(n, n_thoughts, 2)
    explained = " and ".join(f"{100 * share:.1f} %" for share in pca.explained_variance_ratio_)
    place = {number: row for row, number in enumerate(recording.numbers.tolist())}
    rows = [place[number] for number in recording.states["number"].tolist()][:N_POINTS]
    labels = tuple(f"problem {recording.numbers[row]}" for row in rows)
    found = _branches(recording, rows)

    def chart(name: str, title: str, series: list[Series]) -> Chart:
        return Chart(
            name=name, title=title, kind="points", x_label="component 1", y_label="component 2", series=tuple(series),
            note=f"the components explain {explained} of the variance",
        )  # fmt: skip

    by_thought = [
        Series(
            name=f"thought {t + 1}", x=tuple(points[: len(rows), t, 0].tolist()),
            y=tuple(points[: len(rows), t, 1].tolist()), labels=labels,
        )
        for t in range(n_thoughts)
    ]  # fmt: skip
    by_branch = []
    for name in sorted(set(found)):
        chosen = [i for i, branch in enumerate(found) if branch == name]
        by_branch.append(
            Series(
                name=name, x=tuple(points[chosen, 0, 0].tolist()), y=tuple(points[chosen, 0, 1].tolist()),
                labels=tuple(labels[i] for i in chosen),
            )
        )  # fmt: skip
    return [
        chart("pca_by_thought", f"PCA of thoughts, coloured by distance t (first {len(rows)} problems)", by_thought),
        chart("pca_by_branch", "PCA of thought 1, coloured by the number of branches it should hold", by_branch),
    ]


def _branches(recording: Recording, rows: list[int]) -> list[str]:
    sizes = [len(recording.problems[row].frontier(1)) for row in rows]
    return [f"{size} branch{'es' if size > 1 else ''}" if size < 5 else "5 branches or more" for size in sizes]


def _heat(name: str, title: str, values: Floats, letter: str, scale: tuple[float, float]) -> Chart:
    return Chart(
        name=name, title=title, kind="heatmap", x_label="state", y_label="state", y_range=scale,
        series=tuple(
            Series(name=f"{letter}{i}", x=tuple(f"{letter}{j}" for j in range(len(row))), y=tuple(row.tolist()))
            for i, row in enumerate(values)
        ),
    )  # fmt: skip
