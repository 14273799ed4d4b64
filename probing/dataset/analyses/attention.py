"""Attention to edges when a thought is produced, and the first layer's copy map (Zhu et al. 2025, table 1)."""

from __future__ import annotations

import numpy as np

from model.metrics import Bools, group_mean
from model.stats import Floats
from probing.dataset.analyses.common import GROUPINGS, SHUFFLED, Runs, heat, node_groups, shuffled_mean
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart
from probing.read.attention import COPY_COLUMNS

EDGE_GROUPS = ("beyond", "reached", "frontier", "optimal")


def edge_groups(recording: Recording, grouping: str = "strict") -> dict[str, Bools]:
    """Masks ``M K E`` of EDGE_GROUPS, by an edge's source, at the position that produces thought 1, 2, ....

    There t - 1 hops are behind: an edge is reached if its source is at most t - 1 hops away, in the frontier if it is
    exactly that far (its target is then a candidate for thought t), optimal if moreover it lies on a shortest path.
    """
    nodes, real = node_groups(recording, grouping, first=0), recording.edges[..., 0] >= 0
    source, target = np.moveaxis(np.where(real[..., None], recording.edges, 0), -1, 0)
    found = {
        name: np.take_along_axis(nodes[name], source[:, None, :], axis=2) & real[:, None, :] for name in EDGE_GROUPS
    }
    hops = [np.take_along_axis(recording.distance, ends, axis=1) for ends in (source, target)]
    best = np.take_along_axis(recording.on_path, target, axis=1) & (hops[1] == hops[0] + 1)
    found["optimal"] &= best[:, None, :]
    return found


def attention(runs: Runs) -> Section:
    """Attention of every layer to edge groups by step, and the first layer's copy map."""
    cells, main = Cells("attention"), runs.main
    for r in runs.thinking:
        for layer in range(r.n_layer):
            weights, last = r.edge_attention[:, layer, :-1].astype(float), layer == r.n_layer - 1
            for grouping in GROUPINGS if last else ("strict",):
                for name, members in edge_groups(r, grouping).items():
                    what = {"group": f"layer {layer + 1}, {grouping}: {name}", "unit": "heads"}
                    found = cells.means(
                        group_mean(weights, members), first=1, metric="attention", source=r.name, **what
                    )
                    for k, cell in enumerate(found):
                        pooled = weights[:, k][members[:, k]]
                        spread = float(pooled.std()) if len(pooled) else None
                        cells.add(spread, n=cell.n, metric="sd over edges", source=r.name, step=k + 1, **what)
                    if r is main and last:
                        null = shuffled_mean(weights, r.edges[:, None, :, 0] >= 0, members)
                        cells.means(null, first=1, metric="attention", source=SHUFFLED, **what)
        for head, of_head in enumerate(np.moveaxis(_copies(r), 1, 0)):
            for where, values in zip(COPY_COLUMNS, of_head.T, strict=True):
                cells.mean(values, metric="copy map", source=r.name, group=f"head {head}: {where}", unit="share")
    top, strict = main.n_layer, f"layer {main.n_layer}, strict: "
    charts = [
        Chart(
            name="edge_attention", title=f"Layer {top}: attention to an edge when thought t is produced", kind="lines",
            x_label="thought t", y_label="attention to an edge (sum over heads)",
            series=(
                *(cells.line("attention", main.name, strict + name, name=name) for name in EDGE_GROUPS),
                cells.line("attention", SHUFFLED, f"{strict}frontier", name="frontier, edges shuffled", control=True),
                *(
                    cells.line(
                        "attention", r.name, f"layer {r.n_layer}, strict: frontier", name=f"frontier, {r.name}",
                        control=runs.is_untrained(r),
                    )
                    for r in runs.thinking[1:]
                ),
            ),
        ),
        *(
            heat(
                COPY_COLUMNS, {f"head {head}": row for head, row in enumerate(_copies(r).mean(axis=0).tolist())},
                name=f"copy_map_{r.name}", title=f"{r.name}, layer 1: where edge markers look", x_label="attends to",
                y_label="head", note=f"mean over edges and the first {len(_copies(r)):,} problems",
            )
            for r in runs.thinking if len(_copies(r))
        ),
    ]  # fmt: skip
    first = {name: cells.of("attention", main.name, strict + name)[0].text() for name in ("frontier", "beyond")}
    return runs.section(
        cells,
        charts,
        [
            f"When thought 1 is produced, the summed layer-{top} attention to a frontier edge is "
            f"{first['frontier']}, to an edge beyond {first['beyond']}."
        ],
        title="Attention: edges looked up by thoughts, and the copy map",
        shows="Which edges the last layer attends to when each thought is produced, and which tokens the edge markers "
        "look at in layer 1.",
        definition="Attention weights from the position of h_(t-1), where thought t is produced, to the tokens "
        "of an edge, added over tokens and heads. Edges are grouped by their source: reached (at most t - 1 hops from "
        "the root), frontier (exactly), optimal (a frontier edge on a shortest path), beyond (not reached). Both "
        "groupings. Copy map: mean attention of the edge markers in layer 1 to their source, their target and "
        "themselves. Weights come from the eager attention path.",
        interval="Over problems, 95 %; 'sd over edges' is the spread that the paper prints.",
        control="Edges shuffled within each problem (the exact mean over all shuffles); the untrained model.",
        does_not_show="Attention weights are not effects: a head may look where nothing is copied from.",
        paper="Zhu et al. 2025 (arXiv 2505.12514), section 5 and table 1; copy map as in its notebook.",
    )


def _copies(recording: Recording) -> Floats:
    """``n heads 4``: the copy maps of the problems that have one."""
    maps = [np.asarray(values, float) for values in recording.columns["copy_map"] if values is not None]
    return np.array(maps).reshape(len(maps), -1, 4) if maps else np.zeros((0, 0, 4))
