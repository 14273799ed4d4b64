"""Linear probes: can a fitted read-out tell from a state whether a node is in the frontier, reachable, on the path?

One probe serves all nodes: its features are the elementwise product of the state with the node's embedding, so the
logit lens is the probe whose weights are all one, and a probe has as many weights as the state. It is ridge
regression onto 0/1 labels (scikit-learn), scored by rank within each held-out graph.

Controls are fitted and scored in the same folds: labels shuffled within each graph; Hewitt and Liang's control task
(2019), a random but fixed label for each node name; other hops' frontiers; and the same probes on an untrained model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import false_discovery_control, rankdata, wilcoxon
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model.files import atomic_path, write_json
from model.metrics import Bools, auroc, average_precision, shuffled
from model.stats import Floats
from probing.dataset.analyses.common import Runs, heat
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording

N_FOLDS = 5
ALPHA = 100.0
"""Ridge penalty, on standardised features."""
FEW = 13
"""Graphs, up to which every choice of signs is tried."""
TARGETS = {
    "frontier": "at distance t from the root",
    "reachable": "at distance t or less",
    "path": "on a shortest path from the root to the target",
}


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Rows of (problem, node), M problems of up to N nodes."""

    states: Floats
    """``M L+1 K+1 n_embd``."""
    embedding: Floats
    """``M N n_embd``: of each node's token; 0 on padding."""
    slot: NDArray[np.int64]
    """``M N``: -1 on padding."""
    distance: Floats
    """``M N``: NaN on padding."""
    on_path: Bools

    @property
    def is_node(self) -> Bools:
        return self.slot >= 0

    def features(self, layer: int, t: int) -> Floats:
        """``M N n_embd``: thought t at a layer, times each node's embedding."""
        return self.states[:, layer, t - 1, None, :] * self.embedding

    def labels(self, target: str, t: int) -> Bools:
        """``M N``."""
        if target == "frontier":
            return self.distance == t
        return self.distance <= t if target == "reachable" else self.on_path


def probe_data(recording: Recording, n_problems: int) -> ProbeData:
    """From the kept states of the first problems."""
    rows = np.array(recording.rows_with_states()[:n_problems], dtype=np.int64)
    most = max((recording.problems[row].n_nodes for row in rows), default=0)
    slot = np.full((len(rows), most), -1)
    for i, row in enumerate(rows):
        slots = recording.columns["slots"][row]
        slot[i, : len(slots)] = slots
    embedding = recording.states["embedding"][slot] * (slot >= 0)[..., None]
    return ProbeData(
        recording.states["states"][: len(rows)],
        embedding.astype(np.float32),
        slot,
        recording.distance[rows][:, :most],
        recording.on_path[rows][:, :most],
    )


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """Held-out scores of the probes of one layer and thought: column -> ``M N``, and the labels they were for."""

    score: dict[str, Floats]
    label: dict[str, Bools]

    def auroc(self, column: str, members: Bools) -> Floats:
        """``M``: AUROC within each graph; NaN where a class is missing."""
        label = self.label[column]
        return auroc(self.score[column], label & members, ~label & members)

    def average_precision(self, column: str, members: Bools) -> Floats:
        """``M``."""
        return average_precision(self.score[column], self.label[column] & members, members)


def fit_scores(data: ProbeData, layer: int, t: int, *, seed: int) -> ProbeScores:
    """Scores of every probe of a layer and thought, each graph scored by probes fitted on other graphs.

    Columns: each of TARGETS; ``T, shuffled``; ``T, unseen names``, scored by probes that were fitted on other graphs
    **and** other node names; ``frontier s`` for every hop s; ``control task``.
    """
    rng = np.random.default_rng([seed, layer, t])
    members = data.is_node
    label = {target: data.labels(target, t) for target in TARGETS}
    label |= {f"{target}, shuffled": _shuffled(label[target], members, rng) for target in TARGETS}
    n_thoughts = data.states.shape[2] - 1
    label |= {f"frontier {s}": data.distance == s for s in range(1, n_thoughts + 1)}
    of_name = rng.random(int(data.slot.max(initial=0)) + 1) < max(0.1, label["frontier"][members].mean())
    label["control task"] = of_name[data.slot] & members
    columns = list(label)
    rows, nodes = np.nonzero(members)
    x = data.features(layer, t)[rows, nodes]
    y = np.stack([label[column][rows, nodes] for column in columns], axis=1).astype(np.float32)
    names = data.slot[rows, nodes]
    half = rng.permutation(int(names.max(initial=0)) + 1) % 2
    seen, unseen = np.zeros_like(y), np.zeros_like(y[:, : len(TARGETS)])
    folds = GroupKFold(min(N_FOLDS, len(np.unique(rows))), shuffle=True, random_state=seed)
    for fit, test in folds.split(x, y, rows):
        seen[test] = _probe().fit(x[fit], y[fit]).predict(x[test])
        for part in (0, 1):
            # Neither the graphs nor the names of the nodes it scores are known to this probe.
            others, mine = fit[half[names[fit]] != part], test[half[names[test]] == part]
            if len(others) and len(mine):
                unseen[mine] = _probe().fit(x[others], y[others, : len(TARGETS)]).predict(x[mine])
    score = {column: _place(seen[:, i], rows, nodes, members.shape) for i, column in enumerate(columns)}
    for i, target in enumerate(TARGETS):
        column = f"{target}, unseen names"
        score[column] = _place(unseen[:, i], rows, nodes, members.shape)
        label[column] = label[target]
    return ProbeScores(score, label)


def linear_probes(runs: Runs) -> Section:
    """Every probe of every layer and thought, with its controls, for the models that have thoughts."""
    cells, charts, main = Cells("probes"), [], runs.main
    tests: list[tuple[dict[str, Any], float]] = []
    chosen = [r for r in runs.thinking if len(r.states.get("number", ())) >= 2 * N_FOLDS]
    total, done = sum((r.n_layer + 1) * r.n_thoughts for r in chosen), 0
    for r in chosen:
        data, thoughts = probe_data(r, runs.n_probe_problems), range(1, r.n_thoughts + 1)
        for layer in range(r.n_layer + 1):
            for t in thoughts:
                what: dict[str, Any] = {"source": r.name, "group": f"layer {layer}", "step": t}
                tests += _score(cells, data, layer, t, what, seed=runs.seed)
                done += 1
                runs.progress("linear probes", done, total)
        layers = [f"layer {i}" for i in range(r.n_layer + 1)]
        for target in ("frontier", "path"):
            rows = {layer: [c.value for c in cells.of(f"AUROC: {target}", r.name, layer)] for layer in layers}
            charts.append(
                heat(
                    map(str, thoughts), rows, name=f"probe_{target}_{r.name}",
                    title=f"{r.name}: AUROC of a linear probe for '{target}' ({TARGETS[target]})",
                    x_label="thought t", y_label="layer",
                )
            )  # fmt: skip
        by_hop = [[c.value for c in cells.of(f"AUROC: frontier {s}", r.name, layers[-1])] for s in thoughts]
        charts.append(
            heat(
                (f"hop {s}" for s in thoughts),
                {f"thought {t}": row for t, row in zip(thoughts, zip(*by_hop, strict=True), strict=True)},
                name=f"probe_steps_{r.name}",
                title=f"{r.name}, {layers[-1]}: which hop's frontier each thought tells",
                x_label="frontier of hop", y_label="thought",
            )
        )  # fmt: skip
    if tests:
        adjusted = false_discovery_control([p for _, p in tests])
        for (what, _), q in zip(tests, adjusted, strict=True):
            cells.add(float(q), **what)
    for r, model in zip(runs.recordings, runs.models, strict=True):
        if runs.out is not None and r.n_thoughts:
            save_probes(r, runs.out / model.folder, n_problems=runs.n_probe_problems)
    n = min(runs.n_probe_problems, len(main.states.get("number", ())))

    def of(column: str) -> str:
        found = cells.of(f"AUROC: {column}", main.name, f"layer {main.n_layer}")
        return found[0].text() if found else "undefined"

    return runs.section(
        cells,
        charts,
        [
            f"Thought 1, last layer: frontier AUROC {of('frontier')}; unseen names {of('frontier, unseen names')}; "
            f"shuffled {of('frontier, shuffled')}; control task {of('control task')} (n = {n})."
        ],
        n=n,
        title="Linear probes of states",
        shows="What a fitted linear read-out finds in each layer and thought, beside what it finds where there is "
        "nothing to find.",
        definition="Ridge regression onto 0/1 labels; features are the state times the node's embedding, elementwise. "
        "Targets: " + "; ".join(f"{name}: {text}" for name, text in TARGETS.items()) + ". "
        f"{N_FOLDS} folds by graph. AUROC and average precision within each held-out graph, then averaged. Unseen "
        "names: fitted without the graphs, and on the other half of the node names. Selectivity: AUROC for the "
        "frontier minus AUROC for the control task.",
        interval="Over graphs, 95 %. q: one-sided Wilcoxon test over graphs that the probe is above its "
        "shuffled twin, corrected over all layers, thoughts, targets and models (Benjamini-Hochberg).",
        control="In the same folds: labels shuffled within each graph; a control task that gives each node name a "
        "fixed random label (Hewitt and Liang 2019); the frontier of every other hop; the base rate; the untrained "
        "model.",
        does_not_show="That the model uses what a probe finds. A probe has as many weights as the state, so it can "
        "learn names by heart: read selectivity and unseen names.",
        paper="Martin 2026 (probes by layer and position, selectivity); Hewitt and Liang 2019.",
    )


def _score(
    cells: Cells, data: ProbeData, layer: int, t: int, what: dict[str, Any], *, seed: int
) -> list[tuple[dict[str, Any], float]]:
    """Adds the cells of one layer and thought; (cell, p) of its tests against shuffled labels."""
    scores, members, tests = fit_scores(data, layer, t, seed=seed), data.is_node, []
    found = {column: scores.auroc(column, members) for column in scores.score}
    for target in TARGETS:
        size = (scores.label[target] & members).sum(axis=1)
        base = np.where(size > 0, size / members.sum(axis=1), np.nan)
        cells.mean(scores.average_precision(target, members), metric=f"average precision: {target}", **what)
        cells.mean(base, metric=f"base rate: {target}", **what)
        change = found[target] - found[f"{target}, shuffled"]
        change = change[~np.isnan(change)]
        if len(change) >= 10 and bool(np.any(change)):
            tests.append(({**what, "metric": f"q: {target} above shuffled", "n": len(change)}, above_zero(change)))
    for column, values in found.items():
        cells.mean(values, metric=f"AUROC: {column}", **what)
    cells.mean(found["frontier"] - found["control task"], metric="selectivity: frontier", **what)
    return tests


def above_zero(change: Floats) -> float:
    """p of Wilcoxon's signed-rank test, one-sided: that the changes are no larger than none."""
    if len(change) > FEW:
        return float(wilcoxon(change, alternative="greater").pvalue)
    # What scipy gives, which of few changes that tie ranks all anew for each of the 2^n choices of signs.
    moved = change[change != 0]
    ranks, up = rankdata(np.abs(moved)), np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
    return float(np.mean(up @ ranks >= ranks[moved > 0].sum()))


def save_probes(recording: Recording, folder: str | Path, *, n_problems: int) -> None:
    """Probes for TARGETS fitted on all kept problems, as ``probes.safetensors`` and ``probes.json``: no pickle.

    For each layer l and thought t: ``l.t.coef`` (3 n_embd), ``l.t.intercept`` (3), ``l.t.mean`` and ``l.t.scale``
    (n_embd); the score of a node is ``coef @ ((state * embedding - mean) / scale) + intercept``.
    """
    data = probe_data(recording, n_problems)
    rows, nodes = np.nonzero(data.is_node)
    tensors = {}
    for layer in range(recording.n_layer + 1):
        for t in range(1, recording.n_thoughts + 1):
            y = np.stack([data.labels(target, t)[rows, nodes] for target in TARGETS], axis=1).astype(np.float32)
            fitted = _probe().fit(data.features(layer, t)[rows, nodes], y)
            scaler, ridge = fitted[0], fitted[1]
            for name, values in (
                ("coef", ridge.coef_), ("intercept", ridge.intercept_), ("mean", scaler.mean_), ("scale", scaler.scale_)
            ):  # fmt: skip
                tensors[f"{layer}.{t}.{name}"] = np.ascontiguousarray(values, dtype=np.float32)
    with atomic_path(Path(folder) / "probes.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(
        Path(folder) / "probes.json",
        {
            "version": 1,
            "targets": list(TARGETS),
            "alpha": ALPHA,
            "n_problems": len(data.slot),
            "features": "state (h_(t-1) at the layer) times the node's token embedding, elementwise, standardised",
        },
    )


def _probe():  # type: ignore[no-untyped-def]
    return make_pipeline(StandardScaler(), Ridge(alpha=ALPHA))


def _shuffled(label: Bools, members: Bools, rng: np.random.Generator) -> Bools:
    return shuffled(label.astype(float), members, rng) > 0.5


def _place(values: np.ndarray, rows: np.ndarray, nodes: np.ndarray, shape: tuple[int, ...]) -> Floats:
    found = np.full(shape, np.nan)
    found[rows, nodes] = values
    return found
