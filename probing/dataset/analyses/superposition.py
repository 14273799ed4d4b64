"""Superposition: logits of nodes in thoughts, inner products with their embeddings, by node group (Zhu et al. 2025,
table 5)."""

from __future__ import annotations

import numpy as np

from model.metrics import group_mean
from probing.dataset.analyses.common import GROUPINGS, SHUFFLED, Runs, node_groups, shuffled_mean
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart, Series

SHOWN = ("beyond", "passed", "frontier", "optimal")
INNER = "inner product"
N_BINS = 30


def superposition(runs: Runs) -> Section:
    """Logits of nodes in thoughts, by group and thought."""
    cells, main = Cells("superposition"), runs.main
    for r in runs.thinking:
        score = r.logit[:, :-1]
        for grouping in GROUPINGS:
            groups = {f"{grouping}: {name}": members for name, members in node_groups(r, grouping).items()}
            for name, members in groups.items():
                cells.means(group_mean(score, members), first=1, metric=INNER, source=r.name, group=name, unit="logit")
            for name, members in groups.items() if r is main else ():
                null = shuffled_mean(score, r.is_node[:, None, :], members)
                cells.means(null, first=1, metric=INNER, source=SHUFFLED, group=name, unit="logit")
    beside = [(SHUFFLED, "frontier, labels shuffled", True)]
    beside += [(r.name, f"frontier, {r.name}", runs.is_untrained(r)) for r in runs.thinking[1:]]
    charts = [
        Chart(
            name="inner_product_by_thought", title="Logits of nodes in thought t, by node group",
            kind="lines", x_label="thought t", y_label="mean logit",
            series=(
                *(cells.line(INNER, main.name, f"strict: {name}", name=name) for name in SHOWN),
                *(
                    cells.line(INNER, source, "strict: frontier", name=name, control=control)
                    for source, name, control in beside
                ),
            ),
        ),
        *histograms(main),
    ]  # fmt: skip
    first = {name: cells.of(INNER, main.name, f"strict: {name}")[0].text() for name in SHOWN}
    return runs.section(
        cells,
        charts,
        [
            f"Thought 1 of {main.name}: frontier {first['frontier']}, optimal {first['optimal']}, beyond "
            f"{first['beyond']}."
        ],
        title="Superposition: logits of nodes in thoughts (inner products with their embeddings)",
        shows="How strongly each thought points at the nodes beyond, at those passed, at the frontier and at the "
        "optimal ones among it.",
        definition="Logit: the inner product of thought t (the state h_(t-1), after ln_f) with the node's token "
        "embedding; where a name is several tokens, the log-probability of the name in nats, which is no inner product "
        "and compares with no published value. Groups of thought t: beyond (not reached); reached (at most t hops), "
        "which holds passed (fewer) and frontier (t hops), which holds optimal (on a shortest path to the target). Two "
        "groupings: "
        + "; ".join(f"{name}: {text}" for name, text in GROUPINGS.items())
        + ". Values are averaged within a problem, then over problems; histograms pool nodes.",
        interval="Over problems, 95 %.",
        control="Node labels shuffled within each problem (the exact mean over all shuffles), and the untrained model.",
        does_not_show="A high logit of many nodes at once is a pattern that can be read out, not proof that "
        "the model uses those nodes: see the verdict sheet. Groups of later thoughts rest on fewer problems (n).",
        paper="Zhu et al. 2025 (arXiv 2505.12514), section 5 and table 5.",
    )


def histograms(recording: Recording) -> list[Chart]:
    """One chart per thought: logits of all nodes of a group, pooled over problems, N_BINS bins."""
    groups, charts = node_groups(recording), []
    for t in range(1, min(4, recording.n_thoughts) + 1):
        score = recording.logit[:, t - 1]
        low, high = np.nanmin(score), np.nanmax(score)
        bins = np.linspace(low, high if high > low else low + 1, N_BINS + 1)
        series = []
        for name in SHOWN:
            members = score[groups[name][:, t - 1]]
            if len(members):
                density = np.histogram(members, bins)[0] / len(members)
                label = f"{name} (mean {members.mean():.2f}, {len(members):,} nodes)"
                series.append(Series(name=label, x=tuple(bins[:-1].tolist()), y=tuple(density.tolist())))
        charts.append(
            Chart(
                name=f"inner_product_histogram_{t}", title=f"Thought {t}: logits, share of each group's nodes",
                kind="histogram", x_label="logit", y_label="share of the group's nodes", series=tuple(series),
            )
        )  # fmt: skip
    return charts
