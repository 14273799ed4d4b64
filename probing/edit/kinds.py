"""Everything an edit can be, a row each: kinds of edits, the sets of nodes they take, and their matched controls.

A new kind is one function from a ``Site`` to a ``Change`` and one row of ``KINDS``; a new control is one function and
one row of ``CONTROLS``. Nothing else asks which kind or control an edit is. The command line's help, the page's list
and the tables of docs/causal.md (``make docs-tables``) are made from rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace, fed_back
from model.problems.prosqa import ProsQAProblem
from model.readout import answer_log_odds
from probing.edit.batch import CleanRun, start_before
from probing.edit.directions import Directions
from probing.edit.rewire import rewire

Members = frozenset[int]
Change = Callable[[Tensor], Tensor]
"""From what would be fed, ``B n_embd``, to what is."""


# --- sets of nodes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NodeSet:
    """Nodes named by what they are in the search, so that one edit serves a whole data set."""

    name: str
    """Text form; never renamed."""
    words: str
    """Its definition, with t for the thought."""
    phrase: str
    """In a sentence, and on the page."""
    members: Callable[[ProsQAProblem, int], Members]
    """Of a problem at thought t; empty where the counterfactual question it needs does not exist."""


def _of_other(name: str) -> Callable[[ProsQAProblem, int], Members]:
    def members(problem: ProsQAProblem, t: int) -> Members:
        other = problem.counterfactual
        return frozenset() if other is None else NODE_SETS[name].members(other, t)

    return members


def _unreachable(problem: ProsQAProblem, t: int) -> Members:
    leading = problem.leads_to(problem.target) | problem.leads_to(problem.neg_target)
    return frozenset(range(problem.n_nodes)) - problem.reachable - leading


# fmt: off
NODE_SETS: dict[str, NodeSet] = {row.name: row for row in (
    NodeSet("frontier", "nodes at distance t from the root: what thought t should hold", "the whole frontier",
            lambda problem, t: problem.frontier(t)),
    NodeSet("target-branch", "those of the frontier that lead to the target", "the target's branch",
            lambda problem, t: problem.frontier(t) & problem.leads_to(problem.target)),
    NodeSet("rest", "those of the frontier that lead to neither candidate", "the rest of the frontier",
            lambda problem, t: problem.frontier(t) - problem.leads_to(problem.target)),
    NodeSet("other-frontier", "the frontier of the counterfactual question about the same graph",
            "the counterfactual frontier", _of_other("frontier")),
    NodeSet("other-branch", "those of the counterfactual frontier that lead to the other candidate",
            "the counterfactual branch", _of_other("target-branch")),
    NodeSet("other-rest", "those of the counterfactual frontier that lead to neither candidate",
            "the rest of the counterfactual frontier", _of_other("rest")),
    NodeSet("toward-target",
            "nodes that the root reaches and that lead to the target, at any distance, both ends included",
            "the nodes between root and target",
            lambda problem, t: problem.reachable & problem.leads_to(problem.target)),
    NodeSet("unreachable", "nodes that the root cannot reach and that lead to neither candidate",
            "nodes out of reach", _unreachable),
    NodeSet("graph", "all nodes of the graph", "all nodes", lambda problem, t: frozenset(range(problem.n_nodes))),
    NodeSet("nothing", "no node", "no node", lambda problem, t: frozenset()),
)}
# fmt: on


def node_set(name: str, problem: ProsQAProblem, t: int) -> Members:
    """The members of one of NODE_SETS at thought t."""
    return NODE_SETS[name].members(problem, t)


# --- what a kind works with -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Context:
    """What edits of one batch of B problems may draw on."""

    model: CoconutGPT2
    run: CleanRun
    """The base run: all K thoughts, unedited."""
    source: CleanRun | None
    """The run that thoughts and activations are taken from."""
    source_rows: tuple[bool, ...]
    """Which rows of ``source`` mean something."""
    directions: Directions | None

    def members(self, sets: Sequence[Members]) -> Tensor:
        """``B n_keys``: 1 at the keys of the nodes of each row's set."""
        assert self.directions is not None
        found = torch.zeros(len(sets), next(iter(self.directions.vectors.values())).shape[1])
        for row, (nodes, prompt) in enumerate(zip(sets, self.run.prompts, strict=True)):
            for node in nodes:
                found[row, prompt.key(node)] = 1
        return found.to(self.run.trace.states.device)


@dataclass(frozen=True, eq=False)
class Site:
    """One thought that is edited in B rows, and the edit's options (``probing.edit.spec.EditSpec``)."""

    context: Context
    t: int
    """The thought whose content is meant."""
    at: int
    """The thought it is fed as: ``t``, but for the control that puts it at another step."""
    out: Tensor
    """``B n_keys``: 1 at nodes that are taken out; of kinds that take nodes."""
    put: Tensor
    """``B n_keys``: 1 at nodes that are put in."""
    reference: Tensor
    """``B n_keys``: nodes whose mean coefficient nodes put in are given, where coefficients are measured: those that
    the edit itself (not its control) takes out, or the frontier if its kind takes none out."""
    thoughts: tuple[int, ...]
    strength: float
    measured: bool
    estimator: str
    layer: int | None
    top: int | None
    seed: int

    @property
    def directions(self) -> Directions:
        assert self.context.directions is not None
        return self.context.directions

    @property
    def vectors(self) -> Tensor:
        """``n_keys n_embd``: node directions."""
        return self.directions.vectors[self.estimator][self.at - 1].to(self.out.device)

    def toward(self, new: Change) -> Change:
        """thought + strength * (new - thought); at strength 1 the new one to the last bit."""
        if self.strength == 1:
            return new
        return lambda thought: thought + self.strength * (new(thought) - thought)

    def unit(self, like: Tensor, *, seed: int) -> Tensor:
        """``B n_embd``: one random direction of length 1 per row, from (seed, the row's noise id, t) alone."""
        rows = [
            np.random.default_rng([seed, number, self.t, 1]).standard_normal(like.shape[-1], dtype=np.float32)
            for number in self.context.run.noise_ids
        ]
        noise = torch.from_numpy(np.stack(rows)).to(like)
        return noise / noise.norm(dim=-1, keepdim=True)

    def source_stream(self) -> Tensor:
        """``B n_embd``: the source run's residual stream after ``layer`` blocks at thought t (0: the root token)."""
        model, source = self.context.model, self.context.source or self.context.run
        seen: list[Tensor] = []

        def keep(step: int, after: int, hidden: Tensor) -> Tensor:
            if (step, after) == (self.t, self.layer):
                seen.append(hidden)
            return hidden

        model.think(start_before(model, source, self.t), min(self.t, 1), stream=keep)
        (value,) = seen
        return value


# --- where thoughts come from ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A second problem over the same nodes beside the one as given; thoughts are taken from the run of one of the two,
    and the base run reads the other."""

    other: Callable[[ProsQAProblem, int | None, np.random.Generator], ProsQAProblem | None]
    """From (problem, ``depth`` of the edit, rng); None where there is none."""
    missing: str
    """Why there is none; may quote {depth}."""
    base_reads_other: bool = False


SOURCES: dict[str, Source] = {
    "counterfactual": Source(
        lambda problem, depth, rng: problem.counterfactual,
        "no other root makes the other candidate right, so there is no counterfactual question to take from",
    ),
    "relabelled": Source(lambda problem, depth, rng: problem.relabelled(rng), ""),  # exists for every problem
    "reordered": Source(
        lambda problem, depth, rng: problem.with_edges_in(rng.permutation(len(problem.edges)).tolist()),
        "",  # exists for every problem
    ),
    "rewired": Source(
        lambda problem, depth, rng: rewire(problem, depth or 0, rng=rng),
        "no exchange of two edges at depth {depth} makes the other candidate right",
        base_reads_other=True,
    ),
}


# --- kinds ----------------------------------------------------------------------------------------------------------

Sets = Callable[[frozenset[Any], frozenset[Any], frozenset[Any]], tuple[frozenset[Any], frozenset[Any]]]
"""From the nodes of ``nodes`` and of ``to``, and the frontier, to what goes out of and into a thought."""


MOVES: dict[str, Sets] = {
    "out": lambda nodes, to, frontier: (nodes, frozenset()),
    "in": lambda nodes, to, frontier: (frozenset(), nodes),
    "exchange": lambda nodes, to, frontier: (nodes, to),
    "all but": lambda nodes, to, frontier: (frontier - nodes, frozenset()),
}


@dataclass(frozen=True)
class Kind:
    """What a kind of edit does, which options it takes, and what it needs."""

    name: str
    """Text form; never renamed."""
    words: str
    """For the command line's help and the docs."""
    phrase: str
    """What continues "After": may quote {where}, {nodes}, {to}, {strength}, {k}, {layer}, {depth} and {top}."""
    apply: Callable[[Site], Change]
    """The new thought; where the kind takes ``layer``, the new residual stream after that block at thought t."""
    hand: str = ""
    """Label on the page; empty: can only be typed. Kinds of one label are one entry."""
    also: tuple[str, ...] = ()
    """Other names it may be typed by."""
    phrases: Mapping[str, str] | None = None
    """Phrases for these node sets (text forms of ``nodes``, and of ``to`` behind a ``>``)."""
    nodes: str = ""
    """Default node set; empty for kinds without nodes."""
    to: str = ""
    """Default of the set put in place; empty for kinds without."""
    options: frozenset[str] = frozenset({"t"})
    """Of t, coefficient, layer (a residual stream is edited), depth (of rewiring), k (the run exits early, after k),
    top (how many nodes the thought itself chooses among ``nodes``)."""
    moves: str = "out"
    """One of MOVES."""
    empty: bool = False
    """Whether it exists where nothing goes out or in."""
    opposes: bool = True
    """Whether another edit that does the opposite with the same node contradicts it."""
    replaces: bool = False
    """Whether it throws the thought away, so that it must come first and alone at its thought."""
    alone: bool = False
    """Whether it cannot be combined with other edits."""
    first: int = 1
    """The first thought it can edit."""
    least: int = 1
    """How many thoughts it needs at least ..."""
    most: int | None = None
    """... and takes at most."""
    start: float = 1.0
    """The steering coefficient that the page begins with."""
    needs: frozenset[str] = frozenset()
    """"directions" of the thoughts edited, "null-space" of theirs, "fitted": any of the fitted values."""
    source: str = ""
    """One of SOURCES; empty where thoughts come from the base run alone."""
    chooses: bool = False
    """Whether the thought itself says which of ``nodes`` are put in, so that they are known only in the run."""

    @property
    def sets(self) -> Sets:
        return MOVES[self.moves]

    @property
    def takes(self) -> frozenset[str]:
        """Options it takes, beside those that every kind does."""
        return self.options | {name for name in ("nodes", "to") if getattr(self, name)}


def _same(value: Tensor) -> Tensor:
    return value


def _unchanged(site: Site) -> Change:
    return _same


def _zero(site: Site) -> Change:
    return site.toward(torch.zeros_like)


def _mean(site: Site) -> Change:
    mean = site.directions.mean[site.t - 1]
    return site.toward(lambda thought: mean.to(thought).expand_as(thought))


def _noise(site: Site) -> Change:
    return site.toward(lambda thought: site.unit(thought, seed=site.seed + 1) * thought.norm(dim=-1, keepdim=True))


def _resample(site: Site) -> Change:
    bank = site.directions.bank[:, site.t - 1]
    picks = [np.random.default_rng([site.seed, i, 3]).integers(len(bank)) for i in site.context.run.noise_ids]
    return site.toward(lambda thought: bank[torch.tensor(picks)].to(thought))


def _permute(site: Site) -> Change:
    """The thought whose place is drawn for t, by a random permutation of the thoughts that moves every one."""
    thoughts = np.array(site.thoughts)
    places = []
    for number in site.context.run.noise_ids:
        rng = np.random.default_rng([site.seed, number, 5])
        order = rng.permutation(thoughts)
        while (order == thoughts).any():
            order = rng.permutation(thoughts)
        places.append(order[site.thoughts.index(site.t)])
    # The model's own thoughts come from the base run: a later one cannot be known yet in the edited run.
    own = site.context.run.trace.thoughts[torch.arange(len(places)), torch.tensor(places) - 1]
    return site.toward(lambda thought: own)


def _from_source(site: Site) -> Change:
    source = site.context.source
    if source is None:
        return _same
    taken = source.trace.thoughts[:, site.t - 1]
    return site.toward(lambda thought: taken)


def _patch(site: Site) -> Change:
    value = site.source_stream()
    return lambda stream: stream + site.strength * (value - stream)


def _shift(site: Site) -> Change:
    return _shifted(site, site.strength)


def _scale(site: Site) -> Change:
    return _shifted(site, 1 - site.strength)


def _shifted(site: Site, factor: float) -> Change:
    """thought + factor * (sum of directions put in - sum of those taken out), each times its coefficient."""
    if not site.measured:
        change = factor * ((site.put - site.out) @ site.vectors)
        return lambda thought: thought + change.to(thought)

    def measured(thought: Tensor) -> Tensor:
        found = site.directions.coefficients(thought.float(), site.at, site.estimator).to(site.out.device)
        n = site.reference.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (found * site.reference).sum(dim=1, keepdim=True) / n
        return thought + (factor * ((mean * site.put - found * site.out) @ site.vectors)).to(thought)

    return measured


def _written(site: Site, put: Tensor) -> Tensor:
    base = site.directions.base[site.estimator][site.at - 1].to(site.out.device)
    return base + site.strength * (put @ site.vectors)


def _write(site: Site) -> Change:
    written = _written(site, site.put)
    return lambda thought: written.to(thought)


def _collapse(site: Site, gumbel: Tensor | None = None) -> Change:
    """Only the ``top`` nodes by coefficient in the thought as it comes, among those put in; with noise, sampled."""
    problems = site.context.run.problems
    many = torch.tensor([site.top or max(len(problem.frontier(site.t)), 1) for problem in problems])[:, None]

    def collapsed(thought: Tensor) -> Tensor:
        score = site.directions.coefficients(thought.float(), site.at, site.estimator).to(site.put)
        if gumbel is not None:
            score = score.clamp(min=1e-6).log() + gumbel.to(score)
        order = score.masked_fill(site.put == 0, -math.inf).argsort(dim=1, descending=True).argsort(dim=1)
        return _written(site, site.put * (order < many.to(order))).to(thought)

    return collapsed


def _gumbel(site: Site, size: int) -> Tensor:
    """``B size``: standard Gumbel noise, a row from (seed, the row's noise id, t) alone."""
    rngs = (np.random.default_rng([site.seed, number, site.t, 9]) for number in site.context.run.noise_ids)
    return torch.from_numpy(np.stack([rng.gumbel(size=size).astype(np.float32) for rng in rngs]))


def _sample(site: Site) -> Change:
    return _collapse(site, _gumbel(site, site.put.shape[1]))


def _fed_back(feed: str) -> Callable[[Site], Change]:
    def change(site: Site) -> Change:
        model = site.context.model
        noise = _gumbel(site, model.config.vocab_size) if feed == "sampled" else None
        return site.toward(lambda state: fed_back(model, state, feed, None if noise is None else noise.to(state)))

    return change


def _project(site: Site) -> Change:
    return _without_span(site, site.vectors[:, None])


def _erase(site: Site) -> Change:
    spaces = site.directions.null_space
    assert spaces is not None
    return _without_span(site, spaces[site.at - 1].to(site.out.device), site.directions.mean[site.at - 1])


def _without_span(site: Site, spaces: Tensor, origin: Tensor | None = None) -> Change:
    """Projects what lies in the span of the ``n_keys r n_embd`` spaces of the nodes taken out of thought - origin."""
    most = int(site.out.sum(dim=1).max()) * spaces.shape[1] if len(site.out) else 0
    bases = spaces.new_zeros(len(site.out), max(most, 1), spaces.shape[2])  # orthonormal, padded with zeros
    for row, mask in enumerate(site.out.bool()):
        if mask.any():
            q, _ = torch.linalg.qr(spaces[mask].flatten(0, 1).T)
            bases[row, : q.shape[1]] = q.T

    def projected(thought: Tensor) -> Tensor:
        spanned, content = bases.to(thought), thought if origin is None else thought - origin.to(thought)
        return thought - site.strength * torch.einsum("brd,be,bre->bd", spanned, content, spanned)

    return projected


def _jacobian(site: Site) -> Change:
    """Takes out what thought - mean has along the gradient of the answer's log-odds with respect to the thought."""
    gradient, mean = _gradient(site), site.directions.mean[site.at - 1]

    def changed(thought: Tensor) -> Tensor:
        along = ((thought - mean.to(thought)) * gradient.to(thought)).sum(dim=-1, keepdim=True)
        return thought - site.strength * along * gradient.to(thought)

    return changed


def _gradient(site: Site) -> Tensor:
    """``B n_embd``, of length 1: of log P(target) - log P(other) after all thoughts, at thought ``at`` of the run."""
    model, run = site.context.model, site.context.run
    with torch.inference_mode(mode=False), torch.enable_grad():
        before = run.trace.upto(site.at - 1)
        start = ThoughtTrace(
            before.states.clone(), before.thoughts.clone(), before.attention_mask.clone(),
            tuple((keys.clone(), values.clone()) for keys, values in before.cache),
        )  # fmt: skip
        leaf = run.trace.thoughts[:, site.at - 1].clone().requires_grad_()
        trace = model.think(
            start, run.n_thoughts - site.at + 1, edit=lambda t, thought: leaf if t == site.at else thought
        )
        (found,) = torch.autograd.grad(answer_log_odds(model, trace, run.prompts).sum(), leaf)
    return found / found.norm(dim=-1, keepdim=True).clamp(min=1e-12)


_DIRECTIONS, _FITTED, _MEASURED = frozenset({"directions"}), frozenset({"fitted"}), frozenset({"t", "coefficient"})
_BRANCHES = "Take nodes out, put nodes in"

# fmt: off
KINDS: dict[str, Kind] = {row.name: row for row in (
    Kind("swap", "subtract the directions of one set, add those of another",
         "taking {nodes} out of {where} and putting {to} in", _shift, hand=_BRANCHES,
         phrases={"target-branch>other-branch": "swapping the branches in {where}"}, nodes="target-branch",
         to="other-branch", options=_MEASURED, moves="exchange", needs=_DIRECTIONS),
    Kind("remove", "ablate: subtract the nodes' directions", "taking {nodes} out of {where}", _shift, hand=_BRANCHES,
         also=("ablate",), nodes="target-branch", options=_MEASURED, needs=_DIRECTIONS),
    Kind("add", "steer: add the nodes' directions", "adding {nodes} to {where}", _shift, hand=_BRANCHES,
         nodes="other-branch", options=_MEASURED, moves="in", needs=_DIRECTIONS),
    Kind("write", "replace by base + sum of the nodes' directions", "writing {where} as a sum of {nodes}", _write,
         hand="Compose: write it as a sum of nodes", phrases={"nothing": "writing an empty {where}"}, nodes="frontier",
         moves="in", empty=True, replaces=True, needs=_DIRECTIONS),
    Kind("transplant", "interchange intervention: replace by thought t of the counterfactual question's run",
         "transplanting {where} from the counterfactual question", _from_source,
         hand="Interchange intervention (transplant)", also=("interchange",), replaces=True, source="counterfactual"),
    Kind("reorder", "replace by thought t of the same question about the same graph, its facts in another order: a "
         "placebo of interchange", "putting {where} of the same question, its facts in another order, in place",
         _from_source, hand="The same question, facts in another order", replaces=True, source="reordered"),
    Kind("donor", "replace by thought t of another graph of the same shape with the same root, candidates and answer, "
         "its other nodes exchanged at random", "putting {where} of another graph with the same answer in place",
         _from_source, hand="Another graph with the same answer", replaces=True, source="relabelled"),
    Kind("keep", "subtract the directions of all frontier nodes but these", "keeping only {nodes} in {where}", _shift,
         hand="Keep only these nodes", nodes="target-branch", options=_MEASURED, moves="all but", empty=True,
         needs=_DIRECTIONS),
    Kind("collapse", "replace by base + the directions of the `top` nodes that stand out most in the thought itself "
         "(m: as many as are at distance t)", "collapsing {where} to the best {top} of {nodes}", _collapse,
         hand="Collapse to its best nodes", nodes="graph", options=frozenset({"t", "top"}), moves="in", replaces=True,
         needs=_DIRECTIONS, chooses=True),
    Kind("sample", "the same with nodes drawn in proportion to how much they stand out",
         "collapsing {where} to {top} sampled from {nodes}", _sample, nodes="graph", options=frozenset({"t", "top"}),
         moves="in", replaces=True, needs=_DIRECTIONS, chooses=True),
    Kind("scale", "multiply the nodes' directions by the steering coefficient",
         "scaling {nodes} in {where} by {strength}", _scale, hand="Scale these nodes", nodes="target-branch",
         options=_MEASURED, opposes=False, start=0.0, needs=_DIRECTIONS),
    Kind("project", "directional ablation: project the span of the nodes' directions out of the thought",
         "projecting {nodes} out of {where}", _project, hand="Directional ablation",
         also=("directional-ablation", "project-out"), nodes="target-branch", needs=_DIRECTIONS),
    Kind("erase", "project the nodes' iterated null spaces out of the thought (`directions --null-space R`)",
         "erasing {nodes} from {where}", _erase, nodes="target-branch", needs=_DIRECTIONS | {"null-space"}),
    Kind("jacobian", "take out what the thought has along the gradient of the answer's log-odds",
         "taking the answer's gradient out of {where}", _jacobian, needs=_FITTED),
    Kind("zero", "replace by zeros", "setting {where} to zero", _zero, hand="Zero", replaces=True),
    Kind("mean", "replace by the mean of thought t over many problems",
         "putting the mean over many problems in place of {where}", _mean, hand="Mean over many problems",
         replaces=True, needs=_FITTED),
    Kind("noise", "replace by Gaussian noise of the same norm", "putting noise in place of {where}", _noise,
         hand="Noise of the same norm", replaces=True),
    Kind("resample", "replace by thought t of another problem",
         "putting another problem's thought in place of {where}", _resample, hand="Another problem's thought",
         replaces=True, needs=_FITTED),
    Kind("argmax", "replace by the embedding of the most probable next token", "feeding the most probable token as "
         "{where}", _fed_back("argmax"), hand="The most probable token", replaces=True),
    Kind("token", "replace by the embedding of a token sampled from the next-token distribution",
         "feeding a sampled token as {where}", _fed_back("sampled"), hand="A sampled token", replaces=True),
    Kind("expected", "replace by the expected embedding under the next-token distribution",
         "feeding the expected embedding as {where}", _fed_back("expected"), hand="The expected embedding",
         replaces=True),
    Kind("permute", "exchange the model's own thoughts among the steps given", "exchanging {where} among each other",
         _permute, hand="Exchange thoughts among each other", replaces=True, least=2),
    Kind("identity", "feed the thought unchanged", "feeding {where} unchanged", _unchanged),
    Kind("truncate", "early exit: answer after k thoughts", "answering after {k} thoughts", _unchanged,
         also=("early-exit",), options=frozenset({"k"}), alone=True),
    Kind("patch", "put the counterfactual question's residual stream after block `layer` in place, at thought t "
         "(0: the root token)", "patching {where} after block {layer}", _patch, options=frozenset({"t", "layer"}),
         alone=True, first=0, most=1, source="counterfactual"),
    Kind("rewire", "change the graph at one depth so that the other candidate is right, and feed thought t of the old "
         "graph", "changing the graph at depth {depth} and feeding {where} of the old graph", _from_source,
         options=frozenset({"t", "depth"}), alone=True, source="rewired"),
)}
# fmt: on


# --- matched controls -----------------------------------------------------------------------------------------------

Instead = Callable[[ProsQAProblem, int, np.random.Generator, int, int, bool], tuple[list[int], list[int]]]
"""From (problem, t, rng, how many go out, how many in, whether sets are exchanged) to what goes out and in instead."""
Exists = Callable[[Kind, int, frozenset[str] | None], bool]
"""From (kind, how many thoughts are edited, names of the node sets if the edit has nodes) to whether it can be made."""


@dataclass(frozen=True)
class Control:
    """The same edit but for exactly one respect."""

    name: str
    """Text form; never renamed."""
    words: str
    label: str
    """Of its run, in figures."""
    phrase: str
    """As ``Kind.phrase``, of the {edit} it controls."""
    keeps: str
    loses: str
    exists: Exists
    matched: bool
    """Whether it puts content of the edit's kind into the thought: a node's direction, or a thought of the model."""
    feeds: Callable[[Site, Callable[[Site], Change]], Change] | None = None
    """What is fed in place of the edit, from the edit (``Kind.apply``)."""
    instead: Instead | None = None
    """Which nodes it takes in place of the edit's."""
    elsewhere: bool = False
    """Whether it puts the edit at another thought."""
    shared: bool = False
    """Whether its run is the same for every edit of the same thoughts, and made once for all of them."""
    fitted: bool = False
    """Whether it needs what ``probing.edit.directions`` fits."""


def _along(unit: Callable[[Site, Tensor], Tensor]) -> Callable[[Site, Callable[[Site], Change]], Change]:
    """A change as long as the edit's, along other directions, ``B n_embd`` of length 1."""

    def feeds(site: Site, apply: Callable[[Site], Change]) -> Change:
        edit = apply(site)
        return lambda thought: thought + (edit(thought) - thought).norm(dim=-1, keepdim=True) * unit(site, thought)

    return feeds


def _between_problems(site: Site, like: Tensor) -> Tensor:
    bank = site.directions.bank[:, site.t - 1]
    rngs = (np.random.default_rng([site.seed, number, site.t, 8]) for number in site.context.run.noise_ids)
    first, second = np.array([rng.choice(len(bank), 2, replace=False) for rng in rngs]).T
    between = (bank[first] - bank[second]).to(like)
    return between / between.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def as_long(change: Change, edit: Change, base: Tensor | None) -> Change:
    """A change in the same direction, as long as that which ``edit`` makes of ``base``, or else of what is changed."""

    def scaled(thought: Tensor) -> Tensor:
        found, of = change(thought) - thought, thought if base is None else base
        return (
            thought
            + (edit(of) - of).norm(dim=-1, keepdim=True) / found.norm(dim=-1, keepdim=True).clamp(min=1e-12) * found
        )

    return scaled


def _out_of_reach(
    problem: ProsQAProblem, t: int, rng: np.random.Generator, n_out: int, n_put: int, exchanged: bool
) -> tuple[list[int], list[int]]:
    pool = rng.permutation(sorted(node_set("unreachable", problem, t))).tolist()
    return pool[:n_out], pool[n_out:][:n_put]


def _to_neither(
    problem: ProsQAProblem, t: int, rng: np.random.Generator, n_out: int, n_put: int, exchanged: bool
) -> tuple[list[int], list[int]]:
    own = rng.permutation(sorted(node_set("rest", problem, t))).tolist()[:n_out]
    others = rng.permutation(sorted(node_set("other-rest" if exchanged else "rest", problem, t))).tolist()
    return own, [node for node in others if node not in own][:n_put]


def _changes(kind: Kind, n: int, sets: frozenset[str] | None) -> bool:
    return kind.apply is not _unchanged


def _without(*names: str) -> Exists:
    """Edits with nodes, none of them from these sets."""
    return lambda kind, n, sets: sets is not None and sets != {"nothing"} and not sets & set(names)


# fmt: off
CONTROLS: dict[str, Control] = {row.name: row for row in (
    Control("identity", "the same run with the thought fed unchanged; exactly zero effect",
            "no edit", "changing nothing in place of {edit}",
            "everything; the difference is exactly zero", "the edit", exists=lambda kind, n, sets: True,
            matched=False, feeds=lambda site, apply: _same, shared=True),
    Control("random", "a random direction of the same length as the edit's change", "random direction, same length",
            "a random change of the same length as {edit}", "the length of the change", "its direction",
            exists=_changes, matched=False, feeds=_along(lambda site, like: site.unit(like, seed=site.seed))),
    Control("manifold", "the difference of two other problems' thoughts, as long as the edit's change",
            "two other thoughts' difference", "the difference of two other problems' thoughts, as long as "
            "{edit}", "the length of the change, and that it lies where thoughts differ",
            "what it says of this graph",
            exists=lambda kind, *rest: "layer" not in kind.takes and _changes(kind, *rest),
            matched=True, feeds=_along(_between_problems), fitted=True),
    Control("unreachable",
            "the same edit on as many nodes that the root cannot reach and that lead to neither candidate",
            "nodes out of reach instead", "{edit}, with nodes out of reach instead",
            "kind, number of nodes, length of the change", "that the nodes can be reached or lead anywhere",
            exists=_without("unreachable", "graph"), matched=True, instead=_out_of_reach),
    Control("neither", "the same edit on frontier nodes that lead to neither candidate",
            "neutral nodes", "{edit}, with nodes that lead to neither candidate instead",
            "kind, number of nodes, length of the change, that the nodes are on a frontier",
            "that they lead to a candidate",
            exists=lambda kind, *rest: kind.moves != "all but" and _without("rest", "other-rest", "graph")(kind, *rest),
            matched=True, instead=_to_neither),
    Control("other-step", "the same content at another thought, drawn at random", "same edit, wrong thought",
            "{edit}, but at another thought", "the content, the length of the change", "the step it belongs to",
            exists=lambda kind, n, sets: n == 1 and "layer" not in kind.takes and _changes(kind, n, sets),
            matched=True, elsewhere=True),
)}
# fmt: on
