"""Norms, principal components, similarity, and representational similarity of thoughts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from model.metrics import group_mean
from model.stats import Floats, percent
from probing.dataset.analyses.common import Runs, heat
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart, Series

RSA_GROUP = 40
"""Problems in one group for representational similarity; the interval is over groups."""
N_POINTS = 250
EMBEDDING = "norm of a node embedding (mean)"
DIAGONALITY = "RSA diagonality"


def geometry(runs: Runs) -> Section:
    """Norms, similarity, PCA and RSA of the states."""
    cells, main = Cells("geometry"), runs.main
    charts: list[Chart] = []
    for r in runs.thinking:
        ks = range(r.n_thoughts + 1)
        cells.means(r.norm, first=0, metric="norm", source=r.name)
        cells.mean(np.array(r.columns["embedding_norm"][:1], float), metric=EMBEDDING, source=r.name)
        for i in ks:
            group = f"h{i}, same problem"
            cells.means(r.similarity[:, i], first=0, metric="cosine", source=r.name, group=group)
        names = [f"h{i}" for i in ks]
        charts.append(
            heat(
                names, dict(zip(names, r.similarity.mean(axis=0).tolist(), strict=True)), name=f"similarity_{r.name}",
                title=f"{r.name}: cosine between states of one problem", x_label="state", y_label="state",
                y_range=(-1, 1),
            )
        )  # fmt: skip
        if len(r.states.get("number", ())) < 2:
            continue
        states = r.states["states"][:, -1].astype(float)
        for k in ks:
            cells.mean(_other_problem(states[:, k]), metric="cosine, other problem", source=r.name, step=k)
        charts += _pca_charts(r, states) if r is main else []
        if rows := _rsa_cells(cells, r, states, runs.seed):
            charts.append(
                heat(
                    (f"hop {s}" for s in ks[1:]), rows, name=f"rsa_{r.name}", y_range=(-1, 1),
                    title=f"{r.name}: RSA of thoughts (rows) with frontier sets (columns), Spearman",
                    x_label="frontier of hop", y_label="thought",
                )
            )  # fmt: skip
    embedding = cells.of(EMBEDDING, main.name)[0]
    ks = range(main.n_thoughts + 1)
    level = Series(name=f"node embedding, {main.name}", x=tuple(ks), y=(embedding.value,) * len(ks), control=True)
    charts.insert(
        0,
        Chart(
            name="norm_by_k", title="Norm of the state h_k", kind="lines", x_label="thoughts k", y_label="norm",
            series=(*runs.lines(cells, "norm"), level),
        ),
    )  # fmt: skip
    says = [
        f"|h_0| is {cells.of('norm', main.name)[0].text()}; a node embedding has norm {embedding.text()} on average."
    ]
    for found in cells.of(DIAGONALITY, main.name):
        controls = [c for r in runs.thinking if runs.is_untrained(r) for c in cells.of(DIAGONALITY, r.name)]
        beside = "".join(f"; untrained {c.text()}" for c in controls[:1])
        says.append(f"{DIAGONALITY} {found.text()} ({found.n} groups){beside}.")
    return runs.section(
        cells,
        charts,
        says,
        title="Geometry of thoughts",
        shows="How long thoughts are beside the embeddings they stand in for, how alike they are, where they lie, and "
        "whether problems with like frontiers have like thoughts.",
        definition="Norms are Euclidean, of h_k after ln_f. Cosine between states of one problem. PCA: two components "
        "of all thoughts of all kept problems together. RSA: over pairs of problems, Spearman correlation of the "
        "cosine of their thoughts t with the overlap (Jaccard, by key) of their frontiers at hop s. Diagonality: mean "
        "RSA with the thought's own hop minus the mean with other hops, over hops with 30 defined pairs or more.",
        interval=f"Over problems, 95 %; for RSA over disjoint groups of {RSA_GROUP} problems.",
        control="The untrained model throughout; for similarity, the same thought of the next problem in the file; "
        "for RSA, the frontier of another hop (off the diagonal).",
        does_not_show="Closeness in two components or by cosine says little about what later layers read.",
        paper="Norms: facebookresearch/coconut, issue 29. RSA and diagonality: Cheng and Zhang 2026. PCA: Zhang et "
        "al. 2025 (arXiv 2512.21711).",
    )


def rsa(states: Floats, frontiers: np.ndarray) -> tuple[float, int]:
    """(Spearman, pairs) of the cosines of ``n d`` states with the Jaccard overlaps of ``n keys`` sets, over pairs.

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


def frontier_keys(recording: Recording) -> np.ndarray:
    """``n K n_keys`` (bool): keys of the nodes in the frontier of hop 1..K, for the problems whose states are kept."""
    nodes = recording.states["slots"]
    found = np.zeros((len(nodes), recording.n_thoughts, nodes.shape[1]), dtype=bool)
    for i, row in enumerate(recording.rows_with_states()):
        distance = np.array([*recording.problems[row].distance, np.inf])
        found[i] = distance[nodes[i]] == np.arange(1, recording.n_thoughts + 1)[:, None]
    return found


def _rsa_cells(cells: Cells, recording: Recording, states: Floats, seed: int) -> dict[str, list[float | None]]:
    """Adds the cells; the mean RSA of each thought with each hop, or nothing where there are too few problems."""
    frontiers, n_thoughts, name = frontier_keys(recording), recording.n_thoughts, recording.name
    order = np.random.default_rng(seed).permutation(len(states))
    n_groups = len(order) // RSA_GROUP
    if not n_groups:
        return {}
    found = np.full((n_groups, n_thoughts, n_thoughts), np.nan)
    for g, t, s in np.ndindex(*found.shape):
        rows = order[g * RSA_GROUP : (g + 1) * RSA_GROUP]
        value, n_pairs = rsa(states[rows, t], frontiers[rows, s])
        found[g, t, s] = value if n_pairs >= 30 else np.nan
    grid = {}
    for t in range(n_thoughts):
        group = f"thought {t + 1}"
        of_thought = cells.means(found[:, t], first=1, metric="RSA", source=name, group=group)
        grid[group] = [cell.value for cell in of_thought]
    flat, same = found.reshape(n_groups, -1), np.eye(n_thoughts, dtype=bool).ravel()
    own, other = (group_mean(flat, np.isfinite(flat) & members) for members in (same, ~same))
    cells.mean(own - other, metric=DIAGONALITY, source=name)
    return grid


def _other_problem(states: Floats) -> Floats:
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    return (unit * np.roll(unit, 1, axis=0)).sum(axis=1)


def _pca_charts(recording: Recording, states: Floats) -> list[Chart]:
    n, n_thoughts = len(states), recording.n_thoughts
    thoughts = states[:, :n_thoughts].reshape(n * n_thoughts, -1)
    pca = PCA(n_components=2, random_state=0).fit(thoughts)
    points = pca.transform(thoughts).reshape(n, n_thoughts, 2)
    explained = " and ".join(map(percent, pca.explained_variance_ratio_.tolist()))
    rows = recording.rows_with_states()[:N_POINTS]
    labels = tuple(f"problem {recording.numbers[row]}" for row in rows)
    found = _branches(recording, rows)

    def chart(name: str, title: str, series: list[Series]) -> Chart:
        return Chart(
            name=name, title=title, kind="points", x_label="component 1", y_label="component 2", series=tuple(series),
            note=f"the components explain {explained} of the variance",
        )  # fmt: skip

    def cloud(name: str, t: int, chosen: Sequence[int]) -> Series:
        x, y = points[list(chosen), t].T.tolist()
        return Series(name=name, x=tuple(x), y=tuple(y), labels=tuple(labels[i] for i in chosen))

    by_thought = [cloud(f"thought {t + 1}", t, range(len(rows))) for t in range(n_thoughts)]
    by_branch = [cloud(name, 0, [i for i, branch in enumerate(found) if branch == name]) for name in sorted(set(found))]
    return [
        chart("pca_by_thought", f"PCA of thoughts, coloured by distance t (first {len(rows)} problems)", by_thought),
        chart("pca_by_branch", "PCA of thought 1, coloured by the number of branches it should hold", by_branch),
    ]


def _branches(recording: Recording, rows: list[int]) -> list[str]:
    sizes = [len(recording.problems[row].frontier(1)) for row in rows]
    return [f"{size} branch{'es' if size > 1 else ''}" if size < 5 else "5 branches or more" for size in sizes]
