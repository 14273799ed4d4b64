"""What stands in a thought beside its frontier: the variance that further features of the graph explain.

A thought is regressed (ridge) on the nodes at distance t, as the directions are (``probing.edit.directions``), and on
those together with one further group of FEATURES at a time. R2 is of problems that were not fitted on. The control of
every group is the same group of *another* problem: it has the same number of columns and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from model.coconut import CoconutGPT2
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.stats import Floats
from model.values import Progress, Value, silent
from probing.edit.batch import clean_run, n_thoughts_of, prompt_batches

Keys = Sequence[int]
Feature = Callable[[ProsQAProblem, Keys, int, int], list[int]]
"""From (problem, its nodes' keys, t, number of keys) to the columns that are 1."""
MIN_RESIDUAL = 200
"""Fewest problems with a node at distance t for its thought to be described."""


def _nodes(which: Callable[[ProsQAProblem, int], frozenset[int] | set[int]]) -> Feature:
    return lambda problem, keys, t, n: [keys[v] for v in which(problem, t)]


def _pairs(pairs: Callable[[ProsQAProblem, int], list[tuple[int, int]]]) -> Feature:
    return lambda problem, keys, t, n: [keys[a] * n + keys[b] for a, b in pairs(problem, t)]


def _edges_in(problem: ProsQAProblem, t: int) -> list[tuple[int, int]]:
    return [(a, b) for a, b in problem.edges if a in problem.frontier(t - 1) and b in problem.frontier(t)]


def _edges_out(problem: ProsQAProblem, t: int) -> list[tuple[int, int]]:
    return [(a, b) for a, b in problem.edges if a in problem.frontier(t)]


def _other(problem: ProsQAProblem, t: int) -> frozenset[int]:
    return problem.counterfactual.frontier(t) if problem.counterfactual else frozenset()


FEATURES: dict[str, tuple[int, Feature]] = {
    "nodes at distance t - 1": (1, _nodes(lambda problem, t: problem.frontier(t - 1))),
    "nodes at distance t + 1": (1, _nodes(lambda problem, t: problem.frontier(t + 1))),
    "the candidates": (1, _nodes(lambda problem, t: {problem.target, problem.neg_target})),
    "the target": (1, _nodes(lambda problem, t: {problem.target})),
    "those at distance t that lead to the target": (
        1, _nodes(lambda problem, t: problem.frontier(t) & problem.leads_to(problem.target))
    ),
    "the counterfactual frontier": (1, _nodes(_other)),
    "number of edges out of each": (1, lambda problem, keys, t, n: [keys[a] for a, _ in _edges_out(problem, t)]),
    "edges into them (from, to)": (2, _pairs(_edges_in)),
    "edges out of them (from, to)": (2, _pairs(_edges_out)),
    "products of two of them": (2, _pairs(lambda problem, t: list(combinations(sorted(problem.frontier(t)), 2)))),
}  # fmt: skip
"""Words -> (1: a column per key, 2: a column per pair of keys; the columns)."""
TOGETHER = ("nodes at distance t - 1", "nodes at distance t + 1", "the candidates", "number of edges out of each")


class Explained(Value):
    """One row: R2 of a thought on held-out problems, from its frontier and a further group of features."""

    thought: int
    features: str
    n_fit: int
    n: int
    """Held-out problems."""
    r2: float
    control: float
    """With the group of another problem in its place."""


def explained(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    *,
    last: int | None = None,
    seed: int = 0,
    ridge_lambda: float = 10.0,
    batch_size: int = 64,
    progress: Progress = silent,
) -> list[Explained]:
    """Rows for thoughts 1 to ``last``: the frontier alone, with each group, and with those of TOGETHER. The last fifth
    of the problems is held out. Raises InputError if none of the thoughts has enough problems."""
    n_thoughts, n_keys = min(n_thoughts_of(model), last or 99), model.codec.n_keys
    thoughts, keys = np.zeros((len(problems), n_thoughts, model.config.n_embd), np.float32), list[Keys]()
    for rows, prompts in prompt_batches(model, problems, seed=seed, size=batch_size):
        thoughts[rows] = model.held(clean_run(model, prompts, rows).trace)[:, :n_thoughts].float().cpu().numpy()
        keys += [prompt.keys for prompt in prompts]
        progress("thoughts", rows.stop, len(problems))
    rng, found = np.random.default_rng([seed, 11]), list[Explained]()
    for t in range(1, n_thoughts + 1):
        some = [i for i, problem in enumerate(problems) if problem.frontier(t)]
        if len(some) < MIN_RESIDUAL:
            continue

        def columns(feature: Feature, order: int, rows: Sequence[int], t: int = t) -> Floats:
            made = np.zeros((len(rows), n_keys**order), np.float32)
            for row, i in enumerate(rows):
                np.add.at(made[row], feature(problems[i], keys[i], t, n_keys), 1)
            return made[:, made.any(axis=0)]

        y, others = thoughts[some, t - 1], [some[i] for i in rng.permutation(len(some))]
        base = columns(_nodes(lambda problem, t: problem.frontier(t)), 1, some)
        groups = {name: (columns(each, order, some), columns(each, order, others))
                  for name, (order, each) in FEATURES.items()}  # fmt: skip
        groups = {"nodes at distance t": (base[:, :0], base[:, :0])} | groups
        groups["together: " + "; ".join(TOGETHER)] = tuple(
            np.concatenate([groups[name][which] for name in TOGETHER], axis=1) for which in (0, 1)
        )  # type: ignore[assignment]
        for name, (own, control) in groups.items():
            r2, null = (_r2(np.concatenate([base, each], axis=1), y, ridge_lambda) for each in (own, control))
            n_fit = len(some) * 4 // 5
            found.append(
                Explained(thought=t, features=name, n_fit=n_fit, n=len(some) - n_fit, r2=r2, control=null)
            )  # fmt: skip
        progress("regressions", t, n_thoughts)
    if not found:
        raise InputError(f"at least {MIN_RESIDUAL} problems are needed; got {len(problems)}")
    return found


def _r2(x: np.ndarray, y: np.ndarray, ridge_lambda: float) -> float:
    from sklearn.linear_model import Ridge  # takes a second, which every other command would wait for
    from sklearn.metrics import r2_score

    n_fit = len(x) * 4 // 5
    fit = Ridge(alpha=ridge_lambda).fit(x[:n_fit], y[:n_fit])
    return float(r2_score(y[n_fit:], fit.predict(x[n_fit:]), multioutput="variance_weighted"))
