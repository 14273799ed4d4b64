"""What every state says about every node of the graph, and about everything that is no node.

The logit lens for thoughts: a state h_k has already passed ``ln_f``, so ``lm_head`` alone decodes it
(Zhu et al. 2025, section 5). Node tokens differ between draws of one problem; here they are put back in the order
of the problem's nodes, so draws can be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import ANSWER, FIRST_SLOT, Prompt
from model.metrics import METRICS, Bools, frontier_metrics, shuffled
from model.stats import Floats


@dataclass(frozen=True)
class NodeScores:
    """Scores of one problem's N nodes in the states h_0..h_K, for R draws of the prompt.

    ``probability + marker + other`` sum to 1 over everything the model could say next.
    """

    probability: Floats
    """``R K+1 N``: probability that the next token is this node; in [0, 1], raw (over the whole vocabulary)."""
    logit: Floats
    """``R K+1 N``: inner product of the state with the node's token embedding (the tied head has no bias)."""
    cosine: Floats
    """``R K+1 N``: the same product over both norms; in [-1, 1]."""
    marker: Floats
    """``R K+1 8``: probability of each marker (``model.codec.MARKERS``)."""
    other: Floats
    """``R K+1``: probability on slots that no node of this graph has."""
    norm: Floats
    """``R K+1``: Euclidean norm of the state."""

    @property
    def normalised(self) -> Floats:
        """``R K+1 N``: probability among the nodes alone; sums to 1 over nodes."""
        return self.probability / self.probability.sum(axis=-1, keepdims=True)

    @property
    def left_over(self) -> Floats:
        """``R K+1``: probability on anything that is no node of this graph, so what ``normalised`` leaves out."""
        return self.marker.sum(axis=-1) + self.other

    @property
    def answer_marker(self) -> Floats:
        """``R K+1``: probability that the model would now write [A]."""
        return self.marker[..., ANSWER]

    def metrics(self, groups: Mapping[str, Bools]) -> dict[str, Floats]:
        """Every metric of METRICS for thoughts 1..K, ``R K`` each; the groups are ``problem_groups``."""
        n_thoughts = len(groups["frontier"])
        found = frontier_metrics(self.probability[:, :n_thoughts], self.logit[:, :n_thoughts], groups)
        found["mass_answer"] = self.answer_marker[:, :n_thoughts]
        found["mass_other"] = (self.left_over - self.answer_marker)[:, :n_thoughts]
        found["norm"] = self.norm[:, :n_thoughts]
        return {name: found[name] for name in METRICS}

    def shuffled(self, *, seed: int) -> NodeScores:
        """The same scores with the node labels permuted at random, anew for every draw and state."""

        def permuted(values: Floats) -> Floats:
            return shuffled(values, None, np.random.default_rng(seed))

        return replace(
            self, probability=permuted(self.probability), logit=permuted(self.logit), cosine=permuted(self.cosine)
        )


def node_scores(model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt]) -> NodeScores:
    """Scores of the states of a trace; the prompts are draws of one problem, in the order of the batch."""
    assert len({prompt.problem for prompt in prompts}) == 1
    assert len(prompts) == trace.batch_size
    with torch.inference_mode():
        states = trace.states.float()
        logits = model.logits(trace.states).float()
        norm = states.norm(dim=-1)
        embedding_norm = model.lm_head.weight.float().norm(dim=-1)
        cosine = logits / (norm[..., None] * embedding_norm)
        probability = logits.double().softmax(dim=-1)
        tokens = torch.tensor([prompt.node_tokens for prompt in prompts], device=logits.device)
        index = tokens[:, None, :].expand(-1, logits.shape[1], -1)
        of_nodes = probability.gather(2, index)
        slots = probability[..., FIRST_SLOT:].sum(dim=-1)
        return NodeScores(
            probability=_array(of_nodes),
            logit=_array(logits.gather(2, index)),
            cosine=_array(cosine.gather(2, index)),
            marker=_array(probability[..., :FIRST_SLOT]),
            other=_array((slots - of_nodes.sum(dim=-1)).clamp(min=0)),
            norm=_array(norm),
        )


def _array(tensor: torch.Tensor) -> Floats:
    return tensor.double().cpu().numpy()
