"""What thoughts say about node groups, by thought and by layer (Zhu et al. 2025, section 5, tables 1 and 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.metrics import METRICS, N_SHUFFLES, auroc, frontier_metrics, group_mean, shuffled
from model.stats import Floats
from probing.dataset.analyses.common import (
    GROUPINGS,
    GROUPS,
    Runs,
    mean_of,
    node_groups,
    shuffled_mean,
)
from probing.dataset.cells import Cell, mean_cells
from probing.dataset.findings import Chart, Published, Section, Series, lines
from probing.dataset.recording import Bools, Recording

SHUFFLED = "shuffled"
N_BINS = 30

_ZHU_INNER = Published(
    what="Inner product of thought and node embedding, range over 3 seeds",
    source="Zhu et al. 2025 (arXiv 2505.12514), table 5",
    columns=("group", "step 1", "step 2", "step 3", "step 4"),
    rows=(
        ("not reached", "-0.37..-0.25", "-0.26..-0.04", "-0.09..0.02", "-0.27..-0.23"),
        ("reached", "3.59..3.71", "1.37..1.55", "0.62..0.80", "0.53..0.66"),
        ("frontier", "5.09..5.38", "2.45..2.69", "1.95..2.11", "2.12..2.29"),
        ("optimal", "6.41..6.84", "4.67..5.11", "5.44..6.43", "8.98..9.58"),
    ),
    differs="Another checkpoint, trained for 24 h on the public problems of at most 4 hops; walk grouping; its "
    "thoughts and embeddings have other norms, so compare the order and the ratios, not the height.",
)

_ZHU_ATTENTION = Published(
    what="Layer-2 attention to an edge, summed over 8 heads and its 3 tokens, mean ± sd over edges",
    source="Zhu et al. 2025 (arXiv 2505.12514), table 1",
    columns=("group", "step 1", "step 2", "step 3", "step 4"),
    rows=(
        ("not reached", "0.04 ±0.07", "0.03 ±0.09", "0.08 ±0.17", "0.12 ±0.20"),
        ("reached", "2.12 ±1.07", "0.71 ±0.92", "0.38 ±0.72", "0.29 ±0.66"),
        ("frontier", "2.12 ±1.07", "1.00 ±0.96", "0.67 ±0.87", "0.61 ±0.95"),
        ("optimal", "2.54 ±1.03", "1.72 ±1.13", "1.67 ±1.20", "2.23 ±1.35"),
    ),
    differs="Another checkpoint on the public problems of at most 4 hops; walk grouping.",
)


def superposition(runs: Runs) -> Section:
    """Inner products of thoughts with node embeddings, by group and thought."""
    cells: list[Cell] = []
    for recording in runs.thinking:
        for grouping in GROUPINGS:
            groups = node_groups(recording, grouping)
            score = recording.logit[:, :-1]
            cells += _group_cells(score, groups, recording.name, grouping, "superposition", "inner product")
            if recording is runs.main:
                for name, members in groups.items():
                    cells += mean_cells(
                        shuffled_mean(score, recording.is_node[:, None, :], members), first_step=1,
                        analysis="superposition", metric="inner product", source=SHUFFLED,
                        group=f"{grouping}: {name}", unit="logit",
                    )  # fmt: skip
    main = runs.main
    strict = {name: [c for c in cells if c.source == main.name and c.group == f"strict: {name}"] for name in GROUPS}
    charts = [
        Chart(
            name="inner_product_by_thought", title="Inner product of thought t with node embeddings, by node group",
            kind="lines", x_label="thought t", y_label="mean inner product",
            series=(
                *(lines(found, name) for name, found in strict.items() if name != "reached"),
                lines(
                    [c for c in cells if c.source == SHUFFLED and c.group == "strict: frontier"],
                    "frontier, labels shuffled", control=True,
                ),
                *(
                    lines(
                        [c for c in cells if c.source == r.name and c.group == "strict: frontier"],
                        f"frontier, {r.name}", control=runs.is_untrained(r),
                    )
                    for r in runs.thinking[1:]
                ),
            ),
        ),
        *histograms(main),
    ]  # fmt: skip
    first = {name: found[0] for name, found in strict.items()}
    return Section(
        name="superposition",
        title="Superposition: inner products of thoughts with node embeddings",
        shows="How strongly each thought points at the nodes not reached yet, at those passed earlier, at the frontier "
        "and at the optimal ones among it.",
        definition="Inner product of thought t (the state h_(t-1), after ln_f) with the node's token embedding, which "
        "is also its logit. Groups of thought t: not reached; reached (at most t hops), which holds earlier (fewer) "
        "and frontier (t hops), which holds optimal (on a shortest path to the target). Two groupings: "
        + "; ".join(f"{name}: {text}" for name, text in GROUPINGS.items())
        + ". Values are averaged within a problem, then over problems; histograms pool nodes.",
        interval="Bootstrap over problems, 95 %.",
        control="Node labels shuffled within each problem (the exact mean over all shuffles), and the untrained model.",
        does_not_show="A high inner product with many nodes at once is a pattern that can be read out, not proof that "
        "the model uses those nodes: see the verdict sheet. Groups of later thoughts rest on fewer problems (n).",
        paper="Zhu et al. 2025 (arXiv 2505.12514), section 5 and table 5.",
        n=len(main),
        says=(
            f"Thought 1 of {main.name}: frontier {_plain(first['frontier'])}, optimal {_plain(first['optimal'])}, not "
            f"reached {_plain(first['not reached'])}.",
        ),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(_ZHU_INNER,),
    )


def histograms(recording: Recording) -> list[Chart]:
    """One chart a thought: inner products of all nodes of a group, pooled over problems, N_BINS bins."""
    groups = node_groups(recording)
    charts = []
    for t in range(1, min(4, recording.n_thoughts) + 1):
        score = recording.logit[:, t - 1]
        low, high = np.nanmin(score), np.nanmax(score)
        bins = np.linspace(low, high if high > low else low + 1, N_BINS + 1)
        series = []
        for name in ("not reached", "earlier", "frontier", "optimal"):
            members = score[groups[name][:, t - 1]]
            if len(members):
                density = np.histogram(members, bins)[0] / len(members)
                label = f"{name} (mean {members.mean():.2f}, {len(members):,} nodes)"
                series.append(Series(name=label, x=tuple(bins[:-1].tolist()), y=tuple(density.tolist())))
        charts.append(
            Chart(
                name=f"inner_product_histogram_{t}", title=f"Thought {t}: inner products, share of each group's nodes",
                kind="histogram", x_label="inner product", y_label="share of the group's nodes", series=tuple(series),
            )
        )  # fmt: skip
    return charts


# --- frontier metrics -----------------------------------------------------------------------------------------------

FRONTIER_METRICS = (
    "auroc_all",
    "auroc_beyond",
    "average_precision",
    "mass_frontier",
    "mass_optimal",
    "mass_passed",
    "mass_beyond",
    "effective_nodes",
    "best_rank",
)


def frontier_values(recording: Recording, logit: Floats, value: Floats) -> dict[str, Floats]:
    """FRONTIER_METRICS for thoughts 1..K from scores ``M K N``, ``M K`` each; as ``model.metrics`` defines them.

    The one difference: the mass of an empty group is undefined here, where there it is 0.
    """
    strict = node_groups(recording)
    groups = {"passed": strict["earlier"], "beyond": strict["not reached"]}
    groups |= {name: strict[name] for name in ("frontier", "optimal")}
    found = frontier_metrics(value, logit, groups, is_node=recording.is_node[:, None, :])
    found |= {f"mass_{name}": np.where(groups[name].any(axis=-1), found[f"mass_{name}"], np.nan) for name in groups}
    return {name: found[name] for name in FRONTIER_METRICS}


def frontier_over_data(runs: Runs) -> Section:
    """Every frontier metric by thought, beside shuffled labels and the untrained model."""
    cells: list[Cell] = []
    for recording in runs.thinking:
        logit, value = recording.logit[:, :-1], recording.value[:, :-1]
        cells += _metric_cells(frontier_values(recording, logit, value), recording.name)
        if recording is runs.main:
            found = []
            for i in range(N_SHUFFLES):
                rngs = [np.random.default_rng([runs.seed, i]) for _ in range(2)]
                members = recording.is_node[:, None, :]
                found.append(
                    frontier_values(recording, shuffled(logit, members, rngs[0]), shuffled(value, members, rngs[1]))
                )
            means = {name: mean_of([values[name] for values in found]) for name in FRONTIER_METRICS}
            cells += _metric_cells(means, SHUFFLED)
            members = node_groups(recording)["frontier"]
            size = members.sum(axis=-1)
            base = np.where(size > 0, size / recording.is_node.sum(axis=1)[:, None], np.nan)
            cells += mean_cells(
                base, first_step=1, analysis="frontier", metric="average_precision", source="base rate", unit="share"
            )
    names = [r.name for r in runs.thinking]
    charts = []
    for metric in FRONTIER_METRICS:
        what = METRICS[metric]
        sources = [*names, SHUFFLED, *(["base rate"] if metric == "average_precision" else [])]
        untrained = [r.name for r in runs.thinking if runs.is_untrained(r)]
        charts.append(
            Chart(
                name=f"frontier_{metric}", title=f"{what.label}: {what.definition}", kind="lines",
                x_label="thought t", y_label=what.label if not what.unit else f"{what.label} ({what.unit})",
                series=tuple(
                    lines(
                        [c for c in cells if c.source == source and c.metric == metric], source,
                        control=source in (SHUFFLED, "base rate", *untrained),
                    )
                    for source in sources
                ),
            )
        )  # fmt: skip
    main = runs.main.name
    ahead = [c for c in cells if c.source == main and c.metric == "auroc_beyond"]
    null = [c for c in cells if c.source == SHUFFLED and c.metric == "auroc_beyond"]
    return Section(
        name="frontier",
        title="Is each thought the search frontier?",
        shows="How well the nodes at distance t stand out in thought t, from its logits alone: nothing is fitted.",
        definition="; ".join(f"{METRICS[m].label}: {METRICS[m].definition}" for m in FRONTIER_METRICS)
        + ". Strict breadth-first layers; a metric is undefined where a group it needs is empty.",
        interval="Bootstrap over problems, 95 %; n counts the problems where the metric is defined.",
        control=f"Node labels shuffled within each problem (mean of {N_SHUFFLES}), the untrained model, and for "
        "average precision the base rate.",
        does_not_show="Decodable is not used: a frontier that can be read out need not decide the answer. AUROC counts "
        "nodes nearer than t among the negatives, AUROC beyond leaves them out; neither says how the "
        "frontier came about.",
        paper="Zhu et al. 2025 (arXiv 2505.12514), section 5, in numbers with controls.",
        n=len(runs.main),
        says=tuple(
            f"Thought {t + 1}: AUROC of the frontier against nodes beyond it {_plain(ahead[t])}; shuffled "
            f"{_plain(null[t])} (n = {ahead[t].n:,})."
            for t in range(min(3, len(ahead)))
        ),
        cells=tuple(cells),
        charts=tuple(charts),
    )


def _metric_cells(values: dict[str, Floats], source: str) -> list[Cell]:
    return [
        cell
        for name, found in values.items()
        for cell in mean_cells(
            found, first_step=1, analysis="frontier", metric=name, source=source, unit=METRICS[name].unit
        )
    ]


# --- layers ---------------------------------------------------------------------------------------------------------


def lens(runs: Runs) -> Section:
    """Layer by position: what the logit lens says about nodes at the position of each state."""
    cells: list[Cell] = []
    charts: list[Chart] = []
    for recording in runs.thinking:
        scores = recording.lens
        groups = node_groups(recording)
        grids: dict[str, list[tuple[float | None, ...]]] = {"auroc": [], "target leads": []}
        for layer in range(scores.shape[1]):
            logit = scores[:, layer]
            what: dict[str, Any] = {"analysis": "lens", "source": recording.name, "group": f"layer {layer}"}
            beyond = auroc(logit[:, :-1], groups["frontier"], groups["not reached"])
            found = mean_cells(beyond, first_step=0, metric="auroc_beyond", **what)
            target, other = (
                np.take_along_axis(logit, _column(recording, which), axis=2)[..., 0]
                for which in ("target", "neg_target")
            )
            leads = (target > other) + 0.5 * (target == other)
            led = mean_cells(leads, first_step=0, metric="target above other candidate", unit="share", **what)
            cells += found + led
            grids["auroc"].append(tuple(c.value for c in found))
            grids["target leads"].append(tuple(c.value for c in led))
        for what_, title, first in (
            ("auroc", "AUROC of hop k + 1 against nodes beyond it", "auroc"),
            ("target leads", "share of problems where the target's logit is above the other candidate's", "target"),
        ):
            charts.append(
                Chart(
                    name=f"lens_{first}_{recording.name}", title=f"{recording.name}: {title}", kind="heatmap",
                    x_label="after k thoughts", y_label="layer", y_range=(0, 1),
                    series=tuple(
                        Series(name=f"layer {i}", x=tuple(f"h{k}" for k in range(len(row))), y=row)
                        for i, row in enumerate(grids[what_])
                    ),
                    note="layer 0: the embedding that is fed in; the last layer: after ln_f, the model's own output",
                )
            )  # fmt: skip
    main = runs.main
    last = [c for c in cells if c.source == main.name and c.group == f"layer {main.n_layer}"]
    middle = [c for c in cells if c.source == main.name and c.group == f"layer {main.n_layer - 1}"]
    return Section(
        name="lens",
        title="Layer by position: the logit lens over nodes",
        shows="Where in the network, and after how many thoughts, the next hop and the target can be read out with "
        "the model's own unembedding.",
        definition="The residual stream behind layer l at the position of h_k, through ln_f and lm_head. AUROC: nodes "
        "at hop k + 1 against nodes farther away or unreachable. Target leads: its logit is above the other "
        "candidate's (a tie counts half; 0.5 is chance).",
        interval="Bootstrap over problems, 95 %.",
        control="The untrained model; chance is 0.5 in both.",
        does_not_show="A layer whose lens is at chance may hold the same content in another basis: see the linear "
        "probes. The lens reads layers before the last one that were not trained to be read.",
        paper="Rizvi-Martel et al. 2026 (arXiv 2604.06374), entity probe; logit lens.",
        n=len(main),
        says=(
            f"After no thought, the next hop's AUROC is {_plain(middle[0])} one layer below the output and "
            f"{_plain(last[0])} at the output.",
        ),
        cells=tuple(cells),
        charts=tuple(charts),
    )


def _column(recording: Recording, which: str) -> np.ndarray:
    nodes = np.array([getattr(problem, which) for problem in recording.problems])
    return np.broadcast_to(nodes[:, None, None], (len(nodes), recording.n_thoughts + 1, 1))


# --- attention ------------------------------------------------------------------------------------------------------

EDGE_GROUPS = ("not reached", "reached", "frontier", "optimal")


def edge_groups(recording: Recording, grouping: str = "strict") -> dict[str, Bools]:
    """Masks ``M K E`` of EDGE_GROUPS, by an edge's source, at the position that produces thought 1, 2, ....

    There t - 1 hops are behind: an edge is reached if its source is at most t - 1 hops away, in the frontier if it is
    exactly that far (its target is then a candidate for thought t), optimal if moreover it lies on a shortest path.
    """
    nodes = node_groups(recording, grouping, first=0)
    source, target = recording.edges[..., 0], recording.edges[..., 1]
    real = source >= 0
    index = np.broadcast_to(np.where(real, source, 0)[:, None, :], (len(source), recording.n_thoughts, source.shape[1]))
    found = {
        name: np.take_along_axis(nodes[name], index, axis=2) & real[:, None, :]
        for name in ("not reached", "reached", "frontier", "optimal")
    }
    best = np.take_along_axis(recording.on_path, np.where(real, target, 0), axis=1)
    rows = np.arange(len(source))[:, None]
    safe_source, safe_target = np.where(real, source, 0), np.where(real, target, 0)
    onward = recording.distance[rows, safe_target] == recording.distance[rows, safe_source] + 1
    found["optimal"] = found["optimal"] & (best & onward)[:, None, :]
    return found


def attention(runs: Runs) -> Section:
    """Attention of the last layer to edge groups by step, and the first layer's copy map."""
    cells: list[Cell] = []
    for recording in runs.thinking:
        for layer in range(recording.n_layer):
            weights = recording.edge_attention[:, layer, :-1].astype(float)
            for grouping in GROUPINGS if layer == recording.n_layer - 1 else ("strict",):
                groups = edge_groups(recording, grouping)
                for name in EDGE_GROUPS:
                    what: dict[str, Any] = {
                        "analysis": "attention",
                        "group": f"layer {layer + 1}, {grouping}: {name}",
                        "unit": "heads",
                    }
                    means = group_mean(weights, groups[name])
                    cells += mean_cells(means, first_step=1, metric="attention", source=recording.name, **what)
                    pooled = [weights[:, k][groups[name][:, k]] for k in range(recording.n_thoughts)]
                    cells += [
                        Cell.model_validate(
                            {**what, "metric": "sd over edges", "source": recording.name, "step": k + 1,
                             "value": float(values.std()) if len(values) else None,
                             "n": int((~np.isnan(means[:, k])).sum())}
                        )
                        for k, values in enumerate(pooled)
                    ]  # fmt: skip
                    if recording is runs.main and layer == recording.n_layer - 1:
                        real = recording.edges[:, None, :, 0] >= 0
                        null = shuffled_mean(weights, real, groups[name])
                        cells += mean_cells(null, first_step=1, metric="attention", source=SHUFFLED, **what)
        cells += _copy_cells(recording)
    main, top = runs.main, runs.main.n_layer
    prefix = f"layer {top}, strict: "
    chosen = {
        name: [c for c in cells if c.source == main.name and c.metric == "attention" and c.group == prefix + name]
        for name in EDGE_GROUPS
    }
    charts = [
        Chart(
            name="edge_attention", title=f"Layer {top}: attention to an edge when thought t is produced", kind="lines",
            x_label="thought t", y_label="attention to an edge (sum over heads)",
            series=(
                *(lines(found, name) for name, found in chosen.items()),
                lines(
                    [c for c in cells if c.source == SHUFFLED and c.group == prefix + "frontier"],
                    "frontier, edges shuffled", control=True,
                ),
                *(
                    lines(
                        [
                            c for c in cells
                            if c.source == r.name and c.metric == "attention"
                            and c.group == f"layer {r.n_layer}, strict: frontier"
                        ],
                        f"frontier, {r.name}", control=runs.is_untrained(r),
                    )
                    for r in runs.thinking[1:]
                ),
            ),
        ),
        *(_copy_chart(r, cells) for r in runs.thinking if len(_copies(r))),
    ]  # fmt: skip
    return Section(
        name="attention",
        title="Attention: edges looked up by thoughts, and the copy map",
        shows="Which edges the last layer attends to when each thought is produced, and which tokens the edge markers "
        "look at in layer 1.",
        definition="Attention weights from the position of h_(t-1), where thought t is produced, to the three tokens "
        "of an edge, added over tokens and heads. Edges are grouped by their source: reached (at most t - 1 hops from "
        "the root), frontier (exactly), optimal (a frontier edge on a shortest path), not reached. Both groupings. "
        "Copy map: mean attention of the edge markers in layer 1 to their source, their target and themselves. "
        "Weights come from the eager attention path.",
        interval="Bootstrap over problems, 95 %; 'sd over edges' is the spread that the paper prints.",
        control="Edges shuffled within each problem (the exact mean over all shuffles); the untrained model.",
        does_not_show="Attention weights are not effects: a head may look where nothing is copied from.",
        paper="Zhu et al. 2025 (arXiv 2505.12514), section 5 and table 1; copy map as in its notebook.",
        n=len(main),
        says=(
            f"When thought 1 is produced, a frontier edge gets {_plain(chosen['frontier'][0])} heads' worth of "
            f"layer-{top} attention, an edge not reached {_plain(chosen['not reached'][0])}.",
        ),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(_ZHU_ATTENTION,),
    )


def _copies(recording: Recording) -> Floats:
    maps = [np.asarray(values, float) for values in recording.columns["copy_map"] if values is not None]
    return np.array(maps).reshape(len(maps), -1, 4) if maps else np.zeros((0, 0, 4))


def _copy_cells(recording: Recording) -> list[Cell]:
    maps = _copies(recording)
    return [
        cell.model_copy(update={"step": None})
        for head in range(maps.shape[1])
        for i, where in enumerate(("source", "target", "itself", "elsewhere"))
        for cell in mean_cells(
            maps[:, head, i : i + 1], first_step=0, analysis="attention", metric="copy map", source=recording.name,
            group=f"head {head}: {where}", unit="share",
        )
    ]  # fmt: skip


def _copy_chart(recording: Recording, cells: list[Cell]) -> Chart:
    maps = _copies(recording).mean(axis=0)
    return Chart(
        name=f"copy_map_{recording.name}", title=f"{recording.name}, layer 1: where edge markers look",
        kind="heatmap", x_label="attends to", y_label="head", y_range=(0, 1),
        series=tuple(
            Series(name=f"head {head}", x=("source", "target", "itself", "elsewhere"), y=tuple(row.tolist()))
            for head, row in enumerate(maps)
        ),
        note=f"mean over edges and the first {len(_copies(recording)):,} problems",
    )  # fmt: skip


def _group_cells(
    score: Floats, groups: dict[str, Bools], source: str, grouping: str, analysis: str, metric: str
) -> list[Cell]:
    return [
        cell
        for name, members in groups.items()
        for cell in mean_cells(
            group_mean(score, members), first_step=1, analysis=analysis, metric=metric, source=source,
            group=f"{grouping}: {name}", unit="logit",
        )
    ]  # fmt: skip


def _plain(cell: Cell) -> str:
    if cell.value is None:
        return "undefined"
    text = f"{cell.value:.3f}"
    return text if cell.low is None or cell.high is None else f"{text} [{cell.low:.3f}, {cell.high:.3f}]"
