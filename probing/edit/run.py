"""Edits made ready for one batch, and run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2, Edit, ThoughtTrace
from model.codec import Prompt
from model.errors import InputError
from probing.edit.batch import CleanRun, clean_run, rewritten
from probing.edit.directions import Directions
from probing.edit.effects import (
    Answers,
    FrontierSets,
    StateEffects,
    answers_of,
    frontier_sets,
    state_effects,
)
from probing.edit.kinds import KINDS
from probing.edit.rewire import rewire
from probing.edit.spec import EditSpec, Scene, sets_for


@dataclass(frozen=True, eq=False)
class Context:
    """What edits of one batch of B problems may draw on."""

    ids: tuple[int, ...]
    """A number for each problem: seeds which nodes and steps are drawn."""
    noise_ids: tuple[int, ...]
    """A number for each row: seeds noise, random directions, and whose thought is resampled."""
    prompts: tuple[Prompt, ...]
    clean: ThoughtTrace
    """The unedited run of all K thoughts."""
    donor: ThoughtTrace | None
    """The run that thoughts are transplanted from."""
    donor_rows: tuple[bool, ...]
    """Which rows of ``donor`` mean something."""
    directions: Directions | None


@dataclass(frozen=True)
class Touched:
    """Nodes whose directions an edit took out of and put into one thought of one problem."""

    t: int
    out: tuple[int, ...] = ()
    put: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Built:
    """Specs made ready for one batch."""

    edit: Edit
    first: int
    """The first thought that any row's edit touches."""
    defined: tuple[bool, ...]
    """Rows the edit exists for; the others are fed their thoughts unchanged."""
    touched: tuple[tuple[Touched, ...], ...]
    """Per row."""


Change = Callable[[Tensor], Tensor]


def build(scene: Scene, context: Context) -> Built:
    """The edit of a scene for one batch. Callers have checked the scene (``check_scene``, ``check_defined``)."""
    parts = [_build_one(spec, context) for spec in scene]
    if len(parts) == 1:
        return parts[0]

    def edit(t: int, thought: Tensor) -> Tensor:
        for part in parts:
            thought = part.edit(t, thought)
        return thought

    defined = tuple(all(flags) for flags in zip(*(part.defined for part in parts), strict=True))
    touched = tuple(
        tuple(entry for part in parts for entry in part.touched[row]) for row in range(len(context.prompts))
    )
    return Built(edit, min(part.first for part in parts), defined, touched)


def random_unit(context: Context, spec: EditSpec, t: int, like: Tensor) -> Tensor:
    """``B n_embd``: one random direction of length 1 per row, from (spec.seed, noise id of the row, t) alone."""
    rows = [
        np.random.default_rng([spec.seed, number, t, 1]).standard_normal(like.shape[-1], dtype=np.float32)
        for number in context.noise_ids
    ]
    noise = torch.from_numpy(np.stack(rows)).to(like)
    return noise / noise.norm(dim=-1, keepdim=True)


def _build_one(spec: EditSpec, context: Context) -> Built:
    n_rows, everywhere = len(context.prompts), spec.thoughts
    if spec.control == "identity" or spec.kind == "identity":
        defined = _rows_of(replace(spec, control=""), context)
        return Built(lambda t, thought: thought, min(everywhere), tuple(defined.tolist()), ((),) * n_rows)
    if spec.control == "other-step":
        return _build_other_step(spec, context)
    changes: dict[int, Change] = {}
    defined = np.ones(n_rows, bool)
    touched: list[list[Touched]] = [[] for _ in range(n_rows)]
    for t in everywhere:
        changes[t], rows, sets = _content(spec, context, t, t)
        defined &= rows
        for row in range(n_rows):
            touched[row] += sets[row]
    keep = torch.from_numpy(defined)[:, None].to(context.clean.states.device)

    def edit(t: int, thought: Tensor) -> Tensor:
        if t not in changes:
            return thought
        edited = changes[t](thought)
        if spec.control == "random":
            length = (edited - thought).norm(dim=-1, keepdim=True)
            edited = thought + length * random_unit(context, spec, t, thought)
        if spec.keep_norm:
            edited = _with_norm_of(edited, thought)
        return torch.where(keep, edited, thought)

    return Built(edit, min(everywhere), tuple(defined.tolist()), tuple(tuple(entries) for entries in touched))


def _build_other_step(spec: EditSpec, context: Context) -> Built:
    """The content of thought t, at a step drawn for each row."""
    (t,) = spec.thoughts
    steps = list(range(1, context.clean.n_thoughts + 1))
    if "directions" in KINDS[spec.kind].needs:
        assert context.directions is not None
        steps = [step for step in steps if step in context.directions.defined]
    steps = [step for step in steps if step != t]
    if not steps:
        raise InputError(f"edit {spec}: there is no other step to put it at")
    at = np.array([np.random.default_rng([spec.seed, number, t, 2]).choice(steps) for number in context.ids])
    built = {step: _content(spec, context, t, step) for step in sorted(set(at.tolist()))}
    rows = np.ones(len(at), bool)
    touched: list[tuple[Touched, ...]] = []
    for row, step in enumerate(at.tolist()):
        rows[row] = built[step][1][row]
        touched.append(tuple(built[step][2][row]) or (Touched(step),))
    device = context.clean.states.device

    def edit(step: int, thought: Tensor) -> Tensor:
        if step not in built:
            return thought
        edited = built[step][0](thought)
        if spec.keep_norm:
            edited = _with_norm_of(edited, thought)
        here = torch.from_numpy((at == step) & rows)[:, None].to(device)
        return torch.where(here, edited, thought)

    return Built(edit, min(built), tuple(rows.tolist()), tuple(touched))


def _content(spec: EditSpec, context: Context, t: int, at: int) -> tuple[Change, np.ndarray, list[list[Touched]]]:
    """What the edit makes of a thought: the content of thought t, fed as thought ``at``; rows it exists for."""
    n_rows = len(context.prompts)
    everyone = np.ones(n_rows, bool)
    no_nodes: list[list[Touched]] = [[] for _ in range(n_rows)]
    if not KINDS[spec.kind].nodes:
        new, rows = _replacement(spec, context, t)

        def mix(thought: Tensor) -> Tensor:
            there = new(thought)
            return there if spec.strength == 1 else thought + spec.strength * (there - thought)

        return mix, everyone & rows, no_nodes
    assert context.directions is not None
    out, put, rows = _node_sets(spec, context, t)
    device = context.clean.states.device
    vectors = context.directions.vectors[spec.directions][at - 1].to(device)
    n_slots = vectors.shape[0]
    minus, plus = _membership(out, context, n_slots).to(device), _membership(put, context, n_slots).to(device)
    touched = [[Touched(at, tuple(out[row]), tuple(put[row]))] if rows[row] else [] for row in range(n_rows)]
    if spec.kind == "write":
        written = context.directions.base[spec.directions][at - 1].to(device) + spec.strength * (plus @ vectors)
        return (lambda thought: written.to(thought)), rows, touched
    if spec.kind == "project":
        bases = _span(vectors, minus)
        return (
            (
                lambda thought: (
                    thought
                    - spec.strength * torch.einsum("brd,be,bre->bd", bases.to(thought), thought, bases.to(thought))
                )
            ),
            rows,
            touched,
        )
    factor = 1 - spec.strength if spec.kind == "scale" else spec.strength
    if spec.dose == "held":
        directions, reference = context.directions, _membership(_reference(spec, context, t), context, n_slots)

        def by_weight(thought: Tensor) -> Tensor:
            weights = directions.weights(thought.float(), at, spec.directions)
            mean = (weights * reference).sum(dim=1, keepdim=True) / reference.sum(dim=1, keepdim=True).clamp(min=1)
            change = factor * ((mean.to(device) * plus - weights.to(device) * minus) @ vectors)
            return thought + change.to(thought)

        return by_weight, rows, touched
    change = factor * ((plus - minus) @ vectors)
    return (lambda thought: thought + change.to(thought)), rows, touched


def _replacement(spec: EditSpec, context: Context, t: int) -> tuple[Change, np.ndarray]:
    everyone = np.ones(len(context.prompts), bool)
    if spec.kind == "zero":
        return torch.zeros_like, everyone
    if spec.kind == "noise":
        return (
            lambda thought: (
                random_unit(context, replace(spec, seed=spec.seed + 1), t, thought) * thought.norm(dim=-1, keepdim=True)
            )
        ), everyone
    if spec.kind == "mean":
        assert context.directions is not None
        mean = context.directions.mean[t - 1]
        return (lambda thought: mean.to(thought).expand_as(thought)), everyone
    if spec.kind == "resample":
        assert context.directions is not None
        bank = context.directions.bank[:, t - 1]
        picks = [np.random.default_rng([spec.seed, number, 3]).integers(len(bank)) for number in context.noise_ids]
        return (lambda thought: bank[torch.tensor(picks)].to(thought)), everyone
    if spec.kind == "permute":
        # The model's own thoughts come from the clean run: a later one cannot be known yet in the edited run.
        source = _derangement(spec, context)
        own = context.clean.thoughts[torch.arange(len(everyone)), torch.from_numpy(source[t]) - 1]
        return (lambda thought: own), everyone
    assert spec.kind in ("transplant", "rewire"), spec.kind
    if context.donor is None:
        return (lambda thought: thought), ~everyone
    donated = context.donor.thoughts[:, t - 1]
    return (lambda thought: donated), np.array(context.donor_rows)


def _node_sets(
    spec: EditSpec, context: Context, t: int
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], np.ndarray]:
    """Per row: nodes to take out, nodes to put in, and whether the edit exists."""
    out: list[tuple[int, ...]] = []
    put: list[tuple[int, ...]] = []
    rows = np.ones(len(context.prompts), bool)
    for row, (number, prompt) in enumerate(zip(context.ids, context.prompts, strict=True)):
        minus, plus = sets_for(spec, prompt.problem, t, number)
        rows[row] = minus is not None and plus is not None
        if rows[row] and spec.kind not in ("write", "keep") and not minus and not plus:
            rows[row] = False
        out.append(minus if rows[row] and minus else ())
        put.append(plus if rows[row] and plus else ())
    return out, put, rows


def _reference(spec: EditSpec, context: Context, t: int) -> list[tuple[int, ...]]:
    """Per row: the nodes whose mean weight nodes put in are given. A control's are those of the edit it controls."""
    if spec.kind == "add":
        return [tuple(prompt.problem.frontier(t)) for prompt in context.prompts]
    out, _, _ = _node_sets(replace(spec, control=""), context, t)
    return out


def _rows_of(spec: EditSpec, context: Context) -> np.ndarray:
    """Rows an edit exists for."""
    rows = np.ones(len(context.prompts), bool)
    for t in spec.thoughts if spec.kind != "identity" else ():
        rows &= _content(spec, context, t, t)[1]
    return rows


def _membership(sets: list[tuple[int, ...]], context: Context, n_slots: int) -> Tensor:
    members = torch.zeros(len(sets), n_slots)
    for row, (nodes, prompt) in enumerate(zip(sets, context.prompts, strict=True)):
        for node in nodes:
            members[row, prompt.keys[node]] = 1
    return members


def _span(vectors: Tensor, members: Tensor) -> Tensor:
    """``B r n_embd``: orthonormal bases of the spans of the member slots' directions, padded with zeros."""
    most = int(members.sum(dim=1).max()) if len(members) else 0
    bases = vectors.new_zeros(len(members), max(most, 1), vectors.shape[1])
    for row, mask in enumerate(members.bool()):
        if mask.any():
            q, _ = torch.linalg.qr(vectors[mask].T)
            bases[row, : q.shape[1]] = q.T
    return bases


def _derangement(spec: EditSpec, context: Context) -> dict[int, np.ndarray]:
    """For each thought t, per row, whose place it takes: a random permutation that moves every thought."""
    thoughts = np.array(spec.thoughts)
    orders = []
    for number in context.noise_ids:
        rng = np.random.default_rng([spec.seed, number, 5])
        order = rng.permutation(thoughts)
        while (order == thoughts).any():
            order = rng.permutation(thoughts)
        orders.append(order)
    stacked = np.stack(orders)
    return {t: stacked[:, i] for i, t in enumerate(spec.thoughts)}


def _with_norm_of(edited: Tensor, thought: Tensor) -> Tensor:
    return edited * (thought.norm(dim=-1, keepdim=True) / edited.norm(dim=-1, keepdim=True).clamp(min=1e-12))


@dataclass(frozen=True, eq=False)
class Host:
    """A batch that edits are made on: its clean run, what it answers, and the run that thoughts are taken from."""

    context: Context
    answers: Answers
    log_probs: Tensor
    """``B K+1 vocab``: next-token log-probabilities of the clean states, nats."""
    sets: FrontierSets
    donor_prompts: tuple[Prompt, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one scene made of a batch."""

    host: Host
    built: Built
    trace: ThoughtTrace
    answers: Answers
    states: StateEffects
    log_probs: Tensor
    """``B K+1 vocab``."""


class Prepared:
    """Hosts of one batch, each run once, when the first scene asks for it."""

    def __init__(self, model: CoconutGPT2, run: CleanRun, directions: Directions | None) -> None:
        self._model, self._run, self._directions = model, run, directions
        self._hosts: dict[tuple[object, ...], Host] = {}

    def host(self, scene: Scene) -> Host:
        """The host that a scene needs: the problems as asked, or rewired; with the right donor."""
        spec = scene[0]
        if spec.kind == "rewire":
            assert spec.depth is not None
            return self._cached(("rewire", spec.depth, spec.seed), lambda: self._rewired(spec))
        if any(other.kind in ("transplant", "patch") for other in scene):
            return self._cached(("other",), self._with_other)
        return self._cached(("plain",), lambda: self._host(self._run, None, (), ()))

    def _cached(self, key: tuple[object, ...], make: Callable[[], Host]) -> Host:
        if key not in self._hosts:
            self._hosts[key] = make()
        return self._hosts[key]

    def _with_other(self) -> Host:
        others = [prompt.problem.counterfactual for prompt in self._run.prompts]
        prompts = [
            prompt if other is None else rewritten(self._model, prompt, other)
            for prompt, other in zip(self._run.prompts, others, strict=True)
        ]
        donor = clean_run(self._model, prompts, self._run.ids, self._run.noise_ids)
        rows = tuple(other is not None for other in others)
        plain = self.host((EditSpec("identity", (1,)),))
        context = replace(plain.context, donor=donor.trace, donor_rows=rows)
        return replace(plain, context=context, donor_prompts=donor.prompts)

    def _rewired(self, spec: EditSpec) -> Host:
        assert spec.depth is not None
        new = [
            rewire(prompt.problem, spec.depth, rng=np.random.default_rng([spec.seed, number, spec.depth, 6]))
            for number, prompt in zip(self._run.ids, self._run.prompts, strict=True)
        ]
        prompts = [
            prompt if problem is None else rewritten(self._model, prompt, problem)
            for prompt, problem in zip(self._run.prompts, new, strict=True)
        ]
        rows = tuple(problem is not None for problem in new)
        return self._host(
            clean_run(self._model, prompts, self._run.ids, self._run.noise_ids),
            self._run.trace,
            rows,
            self._run.prompts,
        )

    def _host(
        self, run: CleanRun, donor: ThoughtTrace | None, rows: tuple[bool, ...], donor_prompts: tuple[Prompt, ...]
    ) -> Host:
        log_probs = self._model.logits(run.trace.states).log_softmax(dim=-1)
        return Host(
            Context(run.ids, run.noise_ids, run.prompts, run.trace, donor, rows, self._directions),
            answers_of(self._model, run.trace, run.prompts),
            log_probs,
            frontier_sets(run.prompts, run.n_thoughts + 1, log_probs.shape[-1]),
            donor_prompts,
        )


@torch.inference_mode()
def prepare(
    model: CoconutGPT2,
    prompts: Sequence[Prompt],
    ids: Sequence[int],
    directions: Directions | None,
    *,
    noise_ids: Sequence[int] | None = None,
) -> Prepared:
    """Run a batch clean and make it ready for edits (``clean_run``)."""
    return Prepared(model, clean_run(model, prompts, ids, noise_ids), directions)


@torch.inference_mode()
def run_edit(model: CoconutGPT2, prepared: Prepared, scene: Scene) -> Outcome:
    """The batch with a scene's edits. Callers have checked the scene (``check_scene``, ``check_defined``)."""
    host = prepared.host(scene)
    clean, spec = host.context.clean, scene[0]
    if spec.kind == "truncate":
        assert spec.k is not None
        k = clean.n_thoughts if spec.control else spec.k
        n_rows = clean.batch_size
        built, trace = Built(lambda t, thought: thought, 1, (True,) * n_rows, ((),) * n_rows), clean.upto(k)
    elif spec.kind == "patch":
        built, trace = _patched(model, host, spec)
    else:
        built = build(scene, host.context)
        before = built.first - 1
        trace = model.think(clean.upto(before), clean.n_thoughts - before, edit=built.edit)
    n_states = trace.n_thoughts + 1
    if trace.n_thoughts < clean.n_thoughts:
        log_probs = host.log_probs[:, :n_states]  # cut back, not changed
    else:
        log_probs = model.logits(trace.states).log_softmax(dim=-1)
    sets = FrontierSets(host.sets.own[:, :n_states], host.sets.other[:, :n_states])
    return Outcome(
        host,
        built,
        trace,
        answers_of(model, trace, host.context.prompts),
        state_effects(host.log_probs[:, :n_states], log_probs, sets),
        log_probs,
    )


def _patched(model: CoconutGPT2, host: Host, spec: EditSpec) -> tuple[Built, ThoughtTrace]:
    """The host's run with the donor's residual stream after ``spec.layer`` blocks at thought t (0: the root token)."""
    (t,), layer, context = spec.thoughts, spec.layer, host.context
    assert layer is not None
    assert context.donor is not None
    codec = model.codec
    rows = torch.tensor(context.donor_rows, device=model.device)[:, None]

    def read(prompts: Sequence[Prompt], trace: ThoughtTrace, change: Callable[[Tensor], Tensor]) -> ThoughtTrace:
        def stream(step: int, after: int, hidden: Tensor) -> Tensor:
            return change(hidden) if (step, after) == (t, layer) else hidden

        if t == 0:
            return model.think(codec.collate(prompts).to(model.device), 0, stream=stream)
        return model.think(trace.upto(t - 1), 1, stream=stream)

    seen: list[Tensor] = []

    def keep(stream: Tensor) -> Tensor:
        seen.append(stream)
        return stream

    read(host.donor_prompts, context.donor, keep)
    (value,) = seen

    def change(stream: Tensor) -> Tensor:
        if spec.control == "identity":
            return stream
        new = stream + spec.strength * (value - stream)
        if spec.control == "random":
            length = (new - stream).norm(dim=-1, keepdim=True)
            new = stream + length * random_unit(context, spec, t, stream)
        if spec.keep_norm:
            new = new * (stream.norm(dim=-1, keepdim=True) / new.norm(dim=-1, keepdim=True))
        return torch.where(rows, new, stream)

    trace = read(context.prompts, context.clean, change)
    built = Built(lambda step, thought: thought, t, context.donor_rows, ((),) * len(context.prompts))
    return built, model.think(trace, context.clean.n_thoughts - t)
