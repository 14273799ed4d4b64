"""Edits made ready for one batch, and run.

``prepare`` runs a batch clean (and, when an edit first asks, the runs that thoughts are taken from), ``run_edit``
branches off at the first edited thought: all edits and controls share the prompt pass and everything before the edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.coconut import CoconutGPT2
from model.codec import Prompt
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import CleanRun, clean_run, start_before
from probing.edit.directions import Directions
from probing.edit.effects import Seen, see
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
class Base:
    """A batch that edits are made on: its base run, what may be put into it, and what it says unedited."""

    context: Context
    clean: Seen


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one plan made of a batch."""

    base: Base
    built: Built
    seen: Seen


class Prepared:
    """Base runs of one batch, each made once, when the first plan asks for it."""

    def __init__(self, model: CoconutGPT2, run: CleanRun, directions: Directions | None) -> None:
        self._model, self._run, self._directions = model, run, directions
        self._bases: dict[tuple[object, ...], Base] = {}

    def base(self, plan: EditPlan | None = None) -> Base:
        """The base that a plan needs (``Kind.source``): the problems as asked, or rewired; with the right source."""
        source = "plain" if plan is None else plan.source
        rewired = plan[0] if plan is not None and source == "rewired" else None
        key = (source, rewired and rewired.depth, rewired and rewired.seed)
        if key not in self._bases:
            if rewired is not None:
                self._bases[key] = self._rewired(rewired)
            elif source == "counterfactual":
                self._bases[key] = self._with_counterfactual()
            else:
                self._bases[key] = self._base(self._run, None, ())
        return self._bases[key]

    def _with_counterfactual(self) -> Base:
        source, rows = self._run_on([problem.counterfactual for problem in self._run.problems])
        plain = self.base()
        return Base(replace(plain.context, source=source, source_rows=rows), plain.clean)

    def _rewired(self, spec: EditSpec) -> Base:
        depth = spec.depth
        assert depth is not None
        rewired = [
            rewire(problem, depth, rng=np.random.default_rng([spec.seed, number, depth, 6]))
            for number, problem in zip(self._run.ids, self._run.problems, strict=True)
        ]
        run, rows = self._run_on(rewired)
        return self._base(run, self._run, rows)

    def _run_on(self, problems: Sequence[ProsQAProblem | None]) -> tuple[CleanRun, tuple[bool, ...]]:
        """The batch with other problems over the same nodes, as given where there is none; and where there is one."""
        prompts = [
            prompt if problem is None else self._model.codec.rewritten(prompt, problem)
            for prompt, problem in zip(self._run.prompts, problems, strict=True)
        ]
        run = clean_run(self._model, prompts, self._run.ids, self._run.noise_ids)
        return run, tuple(problem is not None for problem in problems)

    def _base(self, run: CleanRun, source: CleanRun | None, rows: tuple[bool, ...]) -> Base:
        return Base(Context(self._model, run, source, rows, self._directions), see(self._model, run.trace, run.prompts))


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
    base = prepared.base(plan)
    run, built, seen = base.context.run, build(plan, base.context), base.clean
    if built.changes:
        stream = built.stream if any(spec.layer is not None for spec in plan) else None
        start, n = start_before(model, run, built.first), run.n_thoughts - max(built.first - 1, 0)
        seen = see(model, model.think(start, n, edit=built.edit, stream=stream), run.prompts)
    elif plan[0].k is not None and not plan[0].control:
        seen = seen.upto(model, plan[0].k, run.prompts)
    return Outcome(base, built, seen)
