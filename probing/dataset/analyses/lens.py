"""Layer by position: what the logit lens says about nodes at the position of each state."""

from __future__ import annotations

import numpy as np

from model.metrics import auroc_beyond
from probing.dataset.analyses.common import Runs, heat, node_groups
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording

LEADS = "target above other candidate"
GRIDS = (
    ("auroc", "auroc_beyond", "AUROC of hop k + 1 against nodes beyond it (logit lens)"),
    ("target", LEADS, "share of problems where the target's logit is above the other candidate's"),
)


def lens(runs: Runs) -> Section:
    """Frontier AUROC and lead of the target by layer and number of thoughts."""
    cells, charts, main = Cells("lens"), [], runs.main
    for r in runs.thinking:
        groups, layers = node_groups(r), [f"layer {i}" for i in range(r.n_layer + 1)]
        for layer, group in enumerate(layers):
            logit = r.lens[:, layer]
            beyond = auroc_beyond(logit[:, :-1], groups)
            cells.means(beyond, first=0, metric="auroc_beyond", source=r.name, group=group)
            target, other = (_of(r, logit, which) for which in ("target", "neg_target"))
            leads = (target > other) + 0.5 * (target == other)
            cells.means(leads, first=0, metric=LEADS, source=r.name, group=group, unit="share")
        for name, metric, title in GRIDS:
            rows = {group: [c.value for c in cells.of(metric, r.name, group)] for group in layers}
            charts.append(
                heat(
                    (f"h{k}" for k in range(len(rows[layers[0]]))), rows, name=f"lens_{name}_{r.name}",
                    title=f"{r.name}: {title}", x_label="after k thoughts", y_label="layer",
                    note="layer 0: the embedding that is fed in; the last layer: after ln_f, the model's own output",
                )
            )  # fmt: skip
    below, output = (cells.of("auroc_beyond", main.name, f"layer {main.n_layer - i}")[0].text() for i in (1, 0))
    return runs.section(
        cells,
        charts,
        [f"After no thought, the next hop's AUROC is {below} one layer below the output and {output} at the output."],
        title="Layer by position: the logit lens over nodes",
        shows="Where in the network, and after how many thoughts, the next hop and the target can be read out with "
        "the model's own unembedding.",
        definition="The residual stream behind layer l at the position of h_k, through ln_f and lm_head. AUROC: nodes "
        "at hop k + 1 against nodes farther away or unreachable. Target leads: its logit is above the other "
        "candidate's (a tie counts half; 0.5 is chance).",
        interval="Over problems, 95 %.",
        control="The untrained model; chance is 0.5 in both.",
        does_not_show="A layer whose lens is at chance may hold the same content in another basis: see the linear "
        "probes. The lens reads layers before the last one that were not trained to be read.",
        paper="Rizvi-Martel et al. 2026 (arXiv 2604.06374), entity probe; logit lens.",
    )


def _of(recording: Recording, logit: np.ndarray, which: str) -> np.ndarray:
    """``M K+1``: logits of one node of each problem."""
    nodes = np.array([getattr(problem, which) for problem in recording.problems])
    return np.take_along_axis(logit, nodes[:, None, None], axis=2)[..., 0]
