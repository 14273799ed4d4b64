"""What an edit did: to the answer, to the thoughts after it, and how sure we are over many problems.

**The answer** is read one way everywhere: after all ``n_thoughts`` thoughts ``[A]`` is forced, and of the two
candidates the one with the higher log-probability is the answer. "The answer follows" means that it is the other
candidate. Separately it is always reported whether the most probable token of the whole vocabulary is **neither**
candidate: an answer that wins between two, but that the model would not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt
from model.metrics import auroc
from model.stats import mean_interval, wilson
from probing.edit.batch import candidate_tokens, final_answer
from probing.edit.directions import Directions


@dataclass(frozen=True, eq=False)
class Answers:
    """The forced answers of B runs. Log-probabilities in nats."""

    log_odds: np.ndarray
    """``B``: log P(target) - log P(other candidate)."""
    neither: np.ndarray
    """``B`` (bool): the most probable token is neither candidate."""

    @property
    def is_target(self) -> np.ndarray:
        """``B`` (bool): the answer is the target; on an exact tie it is not."""
        return self.log_odds > 0


def answers(log_probs: Tensor, prompts: Sequence[Prompt]) -> Answers:
    """Answers from ``B vocab`` log-probabilities (``probing.edit.batch.final_answer``)."""
    tokens = candidate_tokens(prompts).to(log_probs.device)
    pair = log_probs.gather(1, tokens)
    best = log_probs.argmax(dim=1, keepdim=True)
    return Answers(
        (pair[:, 0] - pair[:, 1]).double().cpu().numpy(), (best != tokens).all(dim=1).cpu().numpy().astype(bool)
    )


def answers_of(model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt]) -> Answers:
    """The forced answers of a run."""
    return answers(final_answer(model, trace), prompts)


@dataclass(frozen=True, eq=False)
class FrontierSets:
    """Token masks of B problems for K + 1 states, ``B K+1 vocab`` (bool): state h_k should hold distance k + 1."""

    own: Tensor
    other: Tensor
    """Of the other question; empty where there is none."""


def frontier_sets(prompts: Sequence[Prompt], n_states: int, vocab_size: int) -> FrontierSets:
    own, other = (torch.zeros(len(prompts), n_states, vocab_size, dtype=torch.bool) for _ in range(2))
    for row, prompt in enumerate(prompts):
        for problem, mask in ((prompt.problem, own), (prompt.problem.counterfactual, other)):
            if problem is not None:
                for node, distance in enumerate(problem.distance):
                    if 1 <= distance <= n_states:
                        mask[row, int(distance) - 1, prompt.node_tokens[node]] = True
    return FrontierSets(own, other)


@dataclass(frozen=True, eq=False)
class StateEffects:
    """What each of the K + 1 states of B edited runs says, against the clean run. All arrays are ``B K+1``."""

    kl: np.ndarray
    """KL(clean || edited) of the next-token distributions, nats. Exactly 0 for every state before the edit."""
    mass: np.ndarray
    """Probability on the nodes at distance k + 1 from the root, in the edited run."""
    other_mass: np.ndarray
    """Probability on the nodes at distance k + 1 in the other question's search, in the edited run."""


def state_effects(clean: Tensor, edited: Tensor, sets: FrontierSets) -> StateEffects:
    """From next-token log-probabilities ``B K+1 vocab`` of both runs."""
    kl = (clean.exp() * (clean - edited)).sum(dim=-1)
    p = edited.exp().cpu()
    return StateEffects(
        kl.clamp(min=0).double().cpu().numpy(),
        (p * sets.own).sum(dim=-1).double().numpy(),
        (p * sets.other).sum(dim=-1).double().numpy(),
    )


def decodability(
    trace: ThoughtTrace, log_probs: Tensor, prompts: Sequence[Prompt], directions: Directions | None
) -> dict[str, np.ndarray]:
    """AUROC of the frontier in each clean thought, per problem: ``B K`` each, NaN where it is not defined.

    Frontier nodes (distance t) against nodes farther away or unreachable, scored by the weights of ``directions``
    (``auroc``) and by the logit lens (``lens_auroc``). ``auroc_other`` and ``lens_auroc_other`` are the controls: the
    same scores for the other question's frontier, among nodes that are on neither question's way up to t.
    """
    n_rows, n_thoughts = len(prompts), trace.n_thoughts
    names = ("auroc", "auroc_other", "lens_auroc", "lens_auroc_other")
    found = {name: np.full((n_rows, n_thoughts), np.nan) for name in names}
    lens = log_probs.double().cpu().numpy()
    weights = {}
    if directions is not None:
        for t in directions.defined:
            weights[t] = directions.weights(trace.states[:, t - 1], t).double().numpy()
    for row, prompt in enumerate(prompts):
        other = prompt.problem.counterfactual
        distance = np.array(prompt.problem.distance)
        beyond = np.full(len(distance), np.inf) if other is None else np.array(other.distance)
        tokens, slots = list(prompt.node_tokens), list(prompt.draw.slots)
        for t in range(1, n_thoughts + 1):
            own = (distance == t, distance > t)
            theirs = ((beyond == t) & (distance > t), (beyond > t) & (distance > t))
            score = lens[row, t - 1, tokens]
            found["lens_auroc"][row, t - 1] = auroc(score, *own)
            found["lens_auroc_other"][row, t - 1] = auroc(score, *theirs)
            if t in weights:
                score = weights[t][row, slots]
                found["auroc"][row, t - 1] = auroc(score, *own)
                found["auroc_other"][row, t - 1] = auroc(score, *theirs)
    return found


# --- over many problems ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """A share of n cases with its Wilson 95 % interval."""

    k: int
    n: int
    value: float
    ci95: tuple[float, float]


def rate(flags: np.ndarray) -> Rate | None:
    """The share of true flags; None of no cases."""
    n, k = len(flags), int(np.count_nonzero(flags))
    if n == 0:
        return None
    return Rate(k, n, k / n, wilson(k, n))


@dataclass(frozen=True)
class Mean:
    """A mean over n problems with a 95 % interval."""

    n: int
    value: float
    ci95: tuple[float, float]


def mean(values: np.ndarray) -> Mean | None:
    """The mean of values, one per problem, with Student's t interval; None of no values.

    A single value has no interval: it is a point, with n = 1 beside it.
    """
    values = np.asarray(values, float)
    if len(values) == 0:
        return None
    value, low, high = mean_interval(values)
    if low is None or high is None:
        return Mean(1, float(value), (float(value), float(value)))
    return Mean(len(values), float(value), (float(low), float(high)))


def difference(ours: np.ndarray, control: np.ndarray, *, seed: int = 0, n_resamples: int = 1999) -> Mean | None:
    """Mean paired difference (same problems, same order); interval from the bootstrap over problems (percentiles).

    Where all differences are equal the interval is a point: judge it with n beside it.
    """
    assert ours.shape == control.shape
    values = np.asarray(ours, float) - np.asarray(control, float)
    if len(values) == 0:
        return None
    value = float(values.mean())
    if bool((values == values[0]).all()):
        return Mean(len(values), value, (value, value))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=n_resamples,
        method="percentile",
        vectorized=True,
        batch=max(1, 2_000_000 // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Mean(len(values), value, (float(found.low), float(found.high)))


def percent(value: Rate | Mean | None) -> str:
    """A share as text: ``97.5 % [96.1, 98.4]``."""
    if value is None:
        return "-"
    low, high = value.ci95
    return f"{100 * value.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def plain(value: Rate | Mean | None) -> str:
    """A number as text: ``0.975 [0.961, 0.984]``."""
    if value is None:
        return "-"
    return f"{value.value:.3f} [{value.ci95[0]:.3f}, {value.ci95[1]:.3f}]"


def points(value: Mean) -> str:
    """A difference of shares as text: ``+51.0 points [46.2, 55.9]``."""
    low, high = value.ci95
    return f"{100 * value.value:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
