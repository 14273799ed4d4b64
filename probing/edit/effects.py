"""What a run says, and what an edit did to it.

**The answer** is read one way everywhere: after all ``n_thoughts`` thoughts an answer is forced, and of the two
candidates the one with the higher log-probability is the answer. "The answer follows" means that it is the other
candidate. Separately it is always reported whether the most probable token of the whole vocabulary is **neither**
candidate: an answer that wins between two, but that the model would not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt
from model.metrics import auroc_beyond, auroc_other_root, depth_reader, mass, problem_groups
from model.problems.prosqa import ProsQAProblem
from model.readout import ForcedAnswers, NodeLogProbs, forced_answers, next_log_probs, node_log_probs
from model.stats import Floats
from probing.edit.directions import Directions


@dataclass(frozen=True, eq=False)
class Seen:
    """What B runs of K thoughts say."""

    model: CoconutGPT2
    prompts: Sequence[Prompt]
    """In the order of the batch."""
    trace: ThoughtTrace
    nodes: NodeLogProbs
    """Of the states h_0..h_K."""
    log_probs: Tensor
    """``B K+1 vocab``: next-token log-probabilities of the states, nats."""
    mass: Floats
    """``B K+1``: probability on the nodes at distance k + 1 from the root, which state h_k should hold."""
    other_mass: Floats
    """``B K+1``: the same in the search of the counterfactual question; 0 where there is none."""

    @cached_property
    def answers(self) -> ForcedAnswers:
        """Forced after all thoughts: ``B 1`` each. Read when first asked for."""
        return forced_answers(self.model, self.trace, self.prompts, last_only=True)

    def upto(self, k: int) -> Seen:
        """The runs as they stood after k thoughts, answering then; states are not read again, so nothing differs."""
        n = k + 1
        return replace(
            self,
            trace=self.trace.upto(k),
            nodes=NodeLogProbs(**{name: value[:, :n] for name, value in vars(self.nodes).items()}),
            log_probs=self.log_probs[:, :n],
            mass=self.mass[:, :n],
            other_mass=self.other_mass[:, :n],
        )

    def kl(self, clean: Seen) -> Floats:
        """``B K+1``: KL(clean || this run) of the next-token distributions, nats; exactly 0 before an edit."""
        before = clean.log_probs[:, : self.log_probs.shape[1]]
        return (before.exp() * (before - self.log_probs)).sum(dim=-1).clamp(min=0).double().cpu().numpy()


@torch.inference_mode()
def see(model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt]) -> Seen:
    """What a trace says."""
    nodes = node_log_probs(model, trace, prompts)
    return Seen(
        model=model,
        prompts=prompts,
        trace=trace,
        nodes=nodes,
        log_probs=next_log_probs(model, trace.states),
        mass=_frontier_mass(nodes, [prompt.problem for prompt in prompts]),
        other_mass=_frontier_mass(nodes, [prompt.problem.counterfactual for prompt in prompts]),
    )


def _frontier_mass(nodes: NodeLogProbs, problems: Sequence[ProsQAProblem | None]) -> Floats:
    found = np.zeros_like(nodes.norm)
    for row, problem in enumerate(problems):
        if problem is not None:
            frontier = problem_groups(problem, found.shape[1])["frontier"]
            found[row] = mass(nodes.probability[row, :, : problem.n_nodes], frontier)
    return found


def decodability(
    model: CoconutGPT2, seen: Seen, prompts: Sequence[Prompt], directions: Directions | None
) -> dict[str, Floats]:
    """AUROC (beyond) of the frontier in each clean thought, per problem: ``B K`` each, NaN where it is not defined.

    Frontier nodes (distance t) against the nodes beyond it, scored by the coefficients of ``directions`` (``auroc``)
    and by the logit lens (``lens_auroc``). ``..._root``: head to head against the counterfactual question's frontier
    (``model.metrics.auroc_other_root``). ``depth_auroc``: what the depth reader reaches on the nodes of ``auroc``.
    ``best_leads``: whether the node that stands out most leads to the target (1 or 0): where it does not, a walk that
    follows it alone is lost.
    """
    n_thoughts = seen.trace.n_thoughts
    scores = {"lens_auroc": seen.nodes.logit[:, :n_thoughts]}
    if directions is not None:
        scores["auroc"] = directions.of_nodes(model.held(seen.trace), prompts)
    names = ("auroc", "auroc_root", "lens_auroc", "lens_auroc_root", "depth_auroc", "best_leads")
    found = {name: np.full((len(prompts), n_thoughts), np.nan) for name in names}
    for row, prompt in enumerate(prompts):
        groups = problem_groups(prompt.problem, n_thoughts)
        found["depth_auroc"][row] = auroc_beyond(depth_reader(prompt.problem, n_thoughts), groups)
        for name, of_batch in scores.items():
            score = of_batch[row, :, : prompt.problem.n_nodes]
            defined = np.isfinite(score).all(axis=1)
            if name == "auroc":
                leads = np.isin(np.arange(score.shape[1]), list(prompt.problem.leads_to(prompt.problem.target)))
                best = leads[np.argmax(score, axis=1)]
                some = np.array([bool(prompt.problem.frontier(t)) for t in range(1, n_thoughts + 1)])
                found["best_leads"][row] = np.where(defined & some, best, np.nan)
            for ending, measure in (("", auroc_beyond), ("_root", auroc_other_root)):
                found[name + ending][row] = np.where(defined, measure(score, groups), np.nan)
    return found
