"""The kinds of edits, the sets of nodes they are told, and their matched controls: a row each."""

from __future__ import annotations

from dataclasses import dataclass

from model.problems.prosqa import ProsQAProblem

NODE_SETS = {
    "frontier": "nodes at distance t from the root: what thought t should hold",
    "target-branch": "those of the frontier that lead to the target",
    "rest": "those of the frontier that lead to neither candidate",
    "other-frontier": "the frontier of the other question about the same graph",
    "other-branch": "those of the other frontier that lead to the other candidate",
    "other-rest": "those of the other frontier that lead to neither candidate",
    "toward-target": "nodes that the root reaches and that lead to the target, at any distance, both ends included",
    "unreachable": "nodes that the root cannot reach and that lead to neither candidate",
    "nothing": "no node",
}


_OTHER = ("other-frontier", "other-branch", "other-rest")


@dataclass(frozen=True)
class Kind:
    """What a kind of edit does and which options it takes."""

    does: str
    nodes: str = ""
    """Default node set; empty for kinds without nodes."""
    to: str = ""
    """Default set put in place (swap only)."""
    replaces: bool = False
    """Whether it throws the thought away, so that it must come first and alone at its thought."""
    needs: tuple[str, ...] = ()
    """"directions", "fitted" (any of the fitted values) or "other" (the other question)."""


KINDS = {
    "identity": Kind("feed the thought unchanged"),
    "zero": Kind("replace by zeros", replaces=True),
    "mean": Kind("replace by the mean of thought t over many problems", replaces=True, needs=("fitted",)),
    "noise": Kind("replace by Gaussian noise of the same norm", replaces=True),
    "resample": Kind("replace by thought t of another problem", replaces=True, needs=("fitted",)),
    "permute": Kind("exchange the model's own thoughts among the steps given", replaces=True),
    "transplant": Kind("replace by thought t of the other question's run", replaces=True, needs=("other",)),
    "remove": Kind("subtract the nodes' directions", nodes="target-branch", needs=("directions",)),
    "add": Kind("add the nodes' directions", nodes="other-branch", needs=("directions",)),
    "swap": Kind(
        "subtract the directions of one set, add those of another",
        nodes="target-branch",
        to="other-branch",
        needs=("directions",),
    ),
    "scale": Kind("multiply the nodes' directions by the strength", nodes="target-branch", needs=("directions",)),
    "keep": Kind(
        "subtract the directions of all frontier nodes but these", nodes="target-branch", needs=("directions",)
    ),
    "project": Kind(
        "project the span of the nodes' directions out of the thought", nodes="target-branch", needs=("directions",)
    ),
    "write": Kind(
        "replace by base + sum of the nodes' directions", nodes="frontier", replaces=True, needs=("directions",)
    ),
    "truncate": Kind("answer after k thoughts"),
    "patch": Kind("put the other question's values after block `layer` in place, at thought t (0: the root token)"),
    "rewire": Kind(
        "change the graph at one depth so that the other candidate is right, and feed thought t of the old graph"
    ),
}


CONTROLS = {
    "identity": "the same run with the thought fed unchanged; exactly zero effect",
    "random": "a random direction of the same length as the edit's change",
    "unreachable": "the same edit on as many nodes that the root cannot reach and that lead to neither candidate",
    "neither": "the same edit on frontier nodes that lead to neither candidate",
    "other-step": "the same content at another thought, drawn at random",
}


PRESETS = {
    "cut the target's branch": "remove:t={t}",
    "keep only the target's branch": "keep:t={t}",
    "swap the branches": "swap:t={t},strength=1.5",
    "swap the branches at the weights they are held with": "swap:t={t},dose=held",
    "transplant the other question's thought": "transplant:t={t}",
    "write one node of the other branch": "write:t={t},nodes=other-branch/1",
    "write an empty thought": "write:t={t},nodes=nothing",
    "put another problem's thought in its place": "resample:t={t}",
}
"""Edits to start from, by name; put the thought's number in for ``{t}``."""


def node_set(name: str, problem: ProsQAProblem, t: int) -> frozenset[int]:
    """The members of one of NODE_SETS at thought t; empty where the other question it needs does not exist."""
    if name in _OTHER:
        if problem.counterfactual is None:
            return frozenset()
        return node_set(
            {"other-frontier": "frontier", "other-branch": "target-branch", "other-rest": "rest"}[name],
            problem.counterfactual,
            t,
        )
    if name == "frontier":
        return problem.frontier(t)
    if name == "target-branch":
        return problem.frontier(t) & problem.leads_to(problem.target)
    if name == "rest":
        return problem.frontier(t) - problem.leads_to(problem.target)
    if name == "toward-target":
        return problem.reachable & problem.leads_to(problem.target)
    if name == "unreachable":
        leading = problem.leads_to(problem.target) | problem.leads_to(problem.neg_target)
        return frozenset(range(problem.n_nodes)) - problem.reachable - leading
    assert name == "nothing", name
    return frozenset()
