"""The questions a sceptic asks of a search in thoughts, each as the edits that answer it and how their problems part.

A study is one row of STUDIES: edits over a data set (``probing.edit.data_set.run_to_folder``), with their matched
controls and one way of telling problems apart. The tables say what happened; what it means is said in ``reads``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.coconut import CoconutGPT2
from model.errors import InputError
from probing.edit.batch import n_thoughts_of
from probing.edit.data_set import EffectSummary
from probing.edit.directions import Directions
from probing.edit.spec import EditPlan

ALL = 1_000
"""More thoughts than any model has."""


@dataclass(frozen=True)
class Study:
    """One question."""

    name: str
    question: str
    edits: tuple[str, ...]
    """Text forms; ``{t}``: one for each thought with node directions, ``{held}``: all of those together, ``{all}``:
    every thought, ``{upto}`` and ``{depth}``: thoughts 1 to k and a depth, for every pair."""
    reads: str
    """How to read the table."""
    controls: tuple[str, ...] = ()
    by: str = ""
    """One of ``probing.edit.data_set.STRATA``."""

    def plans(self, model: CoconutGPT2, directions: Directions | None, last: int | None = None) -> list[EditPlan]:
        """Its edits for a checkpoint, of thoughts up to ``last``. Raises InputError where none of them exists."""
        thoughts = range(1, min(n_thoughts_of(model), last or ALL) + 1)
        held = [t for t in thoughts if directions is not None and t in directions.defined]
        found = []
        for text in self.edits:
            if "{t}" in text:
                found += [text.format(t=t) for t in held]
            elif "{depth}" in text:
                found += [text.format(upto=f"1-{k}", depth=d) for k in thoughts for d in thoughts]
            elif "{all}" in text or len(held) > 1:
                found.append(text.format(held="+".join(map(str, held)), all=f"1-{len(thoughts)}"))
        plans = [EditPlan.parse(text) for text in found]
        if directions is None or directions.null_space is None:
            plans = [plan for plan in plans if "null-space" not in plan.needs]
        if not plans:
            raise InputError(f"study {self.name}: needs node directions of more than one thought; fit them first")
        return list(dict.fromkeys(plans))


_COLLAPSES = ("collapse:{},top=1", "collapse:{},top=2", "collapse:{},top=3", "collapse:{},top=m", "sample:{},top=1",
              "collapse:{},nodes=rest,top=1", "write:{},nodes=frontier")  # fmt: skip
_BASES = ("remove:{},directions=unembedding", "remove:{}", "remove:{},directions=difference", "erase:{}", "jacobian:{}")

# fmt: off
STUDIES: dict[str, Study] = {row.name: row for row in (
    Study("parallel", "Is the superposition necessary?",
          tuple(text.format(f"t={at}") for at in ("{t}", "{held}") for text in _COLLAPSES),
          "Each thought is written anew from its best node, its best two, three, or as many as there are at distance t "
          "(m, the control: only the number differs), from a sampled one, and from the best on no path. A walk that "
          "follows the best node alone fails where that node does not lead to the target.", by="greedy"),
    Study("feed", "Is it the state, or the depth?",
          tuple(text.format("t={all}") for text in ("identity:{}", "argmax:{}", "token:{}", "expected:{}", "mean:{}")),
          "The same weights with something else fed back in place of every state: the embedding of the most probable "
          "token, of a sampled one, the expected embedding, and as the floor the mean thought.", by="hops"),
    Study("direction", "Does it search forward, backward or from both ends?", ("rewire:t={upto},depth={depth}",),
          "Two edges at one depth are exchanged after thoughts 1 to k, so that the other candidate becomes right. A "
          "forward search has passed depths 1 to k by then and answers as in the old graph, a backward search those "
          "within k of the candidates.", by="hops"),
    Study("subtract", "Can branches be subtracted?",
          (*(text.format("t={t}") for text in _BASES), "swap:t={t},coefficient=measured", "transplant:t={t}",
           "donor:t={t}", "reorder:t={t}", "resample:t={t}", "transplant:t={all}", "donor:t={all}"),
          "Subtracting the target's branch in five bases (embedding, ridge, difference of means, iterated null space, "
          "gradient of the answer), beside the swap, whole thoughts interchanged, a donor with the same answer and the "
          "placebo (the same question with its facts in another order). Escape is probability on neither candidate.",
          controls=("manifold",), by="gap"),
)}
# fmt: on

PATTERNS: dict[str, Callable[[int, int, int], bool]] = {
    "forward": lambda k, depth, hops: depth <= k,
    "backward": lambda k, depth, hops: depth > hops - k,
    "both ends": lambda k, depth, hops: depth <= k or depth > hops - k,
    "no search in thoughts": lambda k, depth, hops: False,
}
"""Whether a search of that direction answers as in the old graph, after k thoughts in it, by depth of the change."""


def directions_found(summaries: Sequence[EffectSummary]) -> dict[str, float]:
    """Of the study "direction": by pattern, the mean distance of the shares that follow the old graph from what it
    predicts, in [0, 1], over (k, depth, hops) with equal weight. The best comes first."""
    cells = []
    for one in summaries:
        if one.plan is not None and one.stratum and one.follows is not None:
            spec, hops = one.plan[0], int(one.stratum.split()[0])
            assert spec.depth is not None
            if spec.depth <= hops:
                cells.append((max(spec.thoughts), spec.depth, hops, one.follows.value))
    found = {
        name: float(np.mean([abs(share - told(k, depth, hops)) for k, depth, hops, share in cells]))
        for name, told in PATTERNS.items()
    }
    return dict(sorted(found.items(), key=lambda item: item[1])) if cells else {}
