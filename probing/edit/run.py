"""Edits made ready for one batch, and run.

``prepare`` runs a batch clean (and, when an edit first asks, the runs that thoughts are taken from), ``run_edit``
branches off at the first edited thought: all edits and controls share the prompt pass and everything before the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import CleanRun, clean_run, rewritten, start_before
from probing.edit.directions import Directions
from probing.edit.effects import Answers, FrontierSets, StateEffects, answers_of, frontier_sets, state_effects
from probing.edit.kinds import CONTROLS, Change, Context, Members, Site, put_in
from probing.edit.rewire import rewire
from probing.edit.spec import EditPlan, EditSpec


@dataclass(frozen=True)
class Touched:
    """Nodes whose directions an edit took out of and put into one thought of one problem."""

    t: int
    out: tuple[int, ...] = ()
    put: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Built:
    """Edits made ready for one batch."""

    changes: tuple[tuple[int | None, int, Change], ...]
    """(None for the thought itself or the block behind which the stream is changed, the thought, the change)."""
    defined: tuple[bool, ...]
    """Rows the edits exist for; the others are fed what they would be."""
    touched: tuple[tuple[Touched, ...], ...]
    """Per row; none by a control that feeds something else."""

    @property
    def first(self) -> int:
        """The first thought that any row's edit touches."""
        return min(at for _, at, _ in self.changes)

    def edit(self, t: int, thought: Tensor) -> Tensor:
        """``CoconutGPT2.think``'s ``edit``."""
        return self.stream(t, None, thought)

    def stream(self, t: int, layer: int | None, hidden: Tensor) -> Tensor:
        """``CoconutGPT2.think``'s ``stream``; with ``layer`` None, its ``edit``."""
        for block, at, change in self.changes:
            if (block, at) == (layer, t):
                hidden = change(hidden)
        return hidden


def touched_by(spec: EditSpec, change: tuple[Members, Members], at: int) -> tuple[Touched, ...]:
    """What an edit of nodes touches at one thought, given what goes out and in (``EditSpec.change``)."""
    if spec.nodes is None or (spec.control and CONTROLS[spec.control].feeds):
        return ()
    return (Touched(at, *(tuple(sorted(nodes)) for nodes in change)),)


def build(plan: EditPlan, context: Context) -> Built:
    """The edits of a plan for one batch. Callers have checked it (``EditPlan.check_fits``)."""
    parts = [_build_one(spec, context) for spec in plan]
    return Built(
        tuple(change for part in parts for change in part.changes),
        tuple(all(flags) for flags in zip(*(part.defined for part in parts), strict=True)),
        tuple(sum(entries, ()) for entries in zip(*(part.touched for part in parts), strict=True)),
    )


def _build_one(spec: EditSpec, context: Context) -> Built:
    n_rows, row, control = len(context.run.prompts), spec.row, CONTROLS.get(spec.control)
    everyone, defined = np.ones(n_rows, bool), np.ones(n_rows, bool)
    touched: list[tuple[Touched, ...]] = [()] * n_rows
    places = [(t, t, everyone) for t in spec.thoughts]  # content of thought t, fed as thought .. in which rows
    if control and control.elsewhere:
        steps = _other_steps(spec, context)
        places = [(spec.thoughts[0], at, steps == at) for at in sorted(set(steps.tolist()))]
    if row.source != "plain":
        defined &= np.array(context.source_rows) if context.source else False
    made = []
    for t, at, here in places:
        found = [
            spec.change(problem, t, number)
            for number, problem in zip(context.run.ids, context.run.problems, strict=True)
        ]
        for i, each in enumerate(found):
            if here[i] and each is None:
                defined[i] = False
            elif here[i] and each is not None:
                entries = touched_by(spec, each, at)
                touched[i] += entries or ((Touched(at),) if control and control.elsewhere else ())
        site = _site(spec, context, t, at, found)
        change = row.apply(site)
        made.append((at, here, control.feeds(site, change) if control and control.feeds else change))
    device = context.run.trace.states.device

    def masked(change: Change, rows: Tensor) -> Change:
        def masked_change(thought: Tensor) -> Tensor:
            edited = change(thought)
            if spec.keep_norm:
                norm, new_norm = (each.norm(dim=-1, keepdim=True) for each in (thought, edited))
                edited = edited * (norm / new_norm.clamp(min=1e-12))
            return torch.where(rows, edited, thought)

        return masked_change

    changes = tuple(
        (spec.layer, at, masked(change, torch.from_numpy(here & defined)[:, None].to(device)))
        for at, here, change in made
    )
    return Built(changes, tuple(defined.tolist()), tuple(touched))


def _site(spec: EditSpec, context: Context, t: int, at: int, changes: Sequence[tuple[Members, Members] | None]) -> Site:
    """``changes``: per row what goes out and in, None where the edit does not exist."""
    device, out, put, reference = context.run.trace.states.device, *[torch.empty(0)] * 3
    if spec.nodes:
        out, put = (context.members([each[i] if each else frozenset() for each in changes]).to(device) for i in (0, 1))
    if spec.dose == "held":
        plain, problems = replace(spec, control=""), context.run.problems
        if spec.row.sets is put_in:
            own = [problem.frontier(t) for problem in problems]
        else:
            found = [plain.change(problem, t, i) for i, problem in zip(context.run.ids, problems, strict=True)]
            own = [each[0] if each else frozenset() for each in found]
        reference = context.members(own).to(device)
    return Site(
        context, t, at, out, put, reference, spec.thoughts, spec.strength, spec.dose == "held", spec.directions,
        spec.layer, spec.seed,
    )  # fmt: skip


def _other_steps(spec: EditSpec, context: Context) -> NDArray[np.int64]:
    """Per row, the step that the content of the one thought edited is put at."""
    (t,), steps = spec.thoughts, list(range(1, context.run.n_thoughts + 1))
    if "directions" in spec.row.needs:
        assert context.directions is not None
        steps = [step for step in steps if step in context.directions.defined]
    steps = [step for step in steps if step != t]
    if not steps:
        raise InputError(f"edit {spec}: there is no other step to put it at")
    return np.array([np.random.default_rng([spec.seed, number, t, 2]).choice(steps) for number in context.run.ids])


# --- one batch ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Host:
    """A batch that edits are made on: its base run and what may be put into it, what it answers and holds."""

    context: Context
    answers: Answers
    log_probs: Tensor
    """``B K+1 vocab``: next-token log-probabilities of the clean states, nats."""
    sets: FrontierSets


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one plan made of a batch."""

    host: Host
    built: Built
    trace: ThoughtTrace
    answers: Answers
    states: StateEffects
    log_probs: Tensor
    """``B K+1 vocab``."""


class Prepared:
    """Hosts of one batch, each run once, when the first plan asks for it."""

    def __init__(self, model: CoconutGPT2, run: CleanRun, directions: Directions | None) -> None:
        self._model, self._run, self._directions = model, run, directions
        self._hosts: dict[tuple[object, ...], Host] = {}

    @property
    def plain(self) -> Host:
        """The problems as asked, with nothing to take from."""
        return self._cached(("plain",), lambda: self._host(self._run, None, ()))

    def host(self, plan: EditPlan) -> Host:
        """The host that a plan needs (``Kind.source``): the problems as asked, or rewired; with the right source."""
        if plan.source == "rewired":
            return self._cached(("rewired", plan[0].depth, plan[0].seed), lambda: self._rewired(plan[0]))
        return self._cached((plan.source,), self._with_counterfactual) if plan.source != "plain" else self.plain

    def _cached(self, key: tuple[object, ...], make: Callable[[], Host]) -> Host:
        if key not in self._hosts:
            self._hosts[key] = make()
        return self._hosts[key]

    def _with_counterfactual(self) -> Host:
        source, rows = self._run_on([problem.counterfactual for problem in self._run.problems])
        return replace(self.plain, context=replace(self.plain.context, source=source, source_rows=rows))

    def _rewired(self, spec: EditSpec) -> Host:
        depth = spec.depth
        assert depth is not None
        base, rows = self._run_on(
            [
                rewire(problem, depth, rng=np.random.default_rng([spec.seed, number, depth, 6]))
                for number, problem in zip(self._run.ids, self._run.problems, strict=True)
            ]
        )
        return self._host(base, self._run, rows)

    def _run_on(self, problems: Sequence[ProsQAProblem | None]) -> tuple[CleanRun, tuple[bool, ...]]:
        """The batch with other problems over the same nodes, as given where there is none; and where there is one."""
        prompts = [
            prompt if problem is None else rewritten(self._model, prompt, problem)
            for prompt, problem in zip(self._run.prompts, problems, strict=True)
        ]
        run = clean_run(self._model, prompts, self._run.ids, self._run.noise_ids)
        return run, tuple(problem is not None for problem in problems)

    def _host(self, run: CleanRun, source: CleanRun | None, rows: tuple[bool, ...]) -> Host:
        log_probs = self._model.logits(run.trace.states).log_softmax(dim=-1)
        return Host(
            Context(self._model, run, source, rows, self._directions),
            answers_of(self._model, run.trace, run.prompts),
            log_probs,
            frontier_sets(run.prompts, run.n_thoughts + 1, log_probs.shape[-1]),
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
def run_edit(model: CoconutGPT2, prepared: Prepared, plan: EditPlan) -> Outcome:
    """The batch with a plan's edits. Callers have checked it (``EditPlan.check_fits``)."""
    host = prepared.host(plan)
    run, built = host.context.run, build(plan, host.context)
    trace, log_probs = run.trace, host.log_probs
    if built.changes:
        stream = built.stream if any(spec.layer is not None for spec in plan) else None
        start, n = start_before(model, run, built.first), run.n_thoughts - max(built.first - 1, 0)
        trace = model.think(start, n, edit=built.edit, stream=stream)
        log_probs = model.logits(trace.states).log_softmax(dim=-1)
    for spec in plan:
        if spec.k is not None and not spec.control:
            trace = trace.upto(spec.k)
    n_states = trace.n_thoughts + 1
    log_probs, sets = log_probs[:, :n_states], FrontierSets(host.sets.own[:, :n_states], host.sets.other[:, :n_states])
    return Outcome(
        host,
        built,
        trace,
        answers_of(model, trace, run.prompts),
        state_effects(host.log_probs[:, :n_states], log_probs, sets),
        log_probs,
    )
