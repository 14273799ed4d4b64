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
from probing.edit.batch import CleanRun, clean_run, n_thoughts_of, start_before
from probing.edit.directions import Directions
from probing.edit.effects import Seen, see
from probing.edit.kinds import CONTROLS, SOURCES, Change, Context, Members, Site, as_long
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
    def places(self) -> tuple[tuple[int | None, int], ...]:
        """(block or None, thought) of each change."""
        return tuple((layer, at) for layer, at, _ in self.changes)

    @property
    def first(self) -> int:
        """The first thought that any row's edit touches."""
        return min(at for _, at in self.places)

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
    if spec.nodes is None or spec.row.chooses or (spec.control and CONTROLS[spec.control].feeds):
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
    run, row, control = context.run, spec.row, CONTROLS.get(spec.control)
    device, everyone = run.trace.states.device, np.ones(len(run.prompts), bool)
    touched: list[tuple[Touched, ...]] = [()] * len(run.prompts)
    places = [(t, t, everyone) for t in spec.thoughts]  # content of thought t, fed as thought .. in which rows
    if control and control.elsewhere:
        steps = _other_steps(spec, context)
        places = [(spec.thoughts[0], at, steps == at) for at in sorted(set(steps.tolist()))]
    defined = everyone.copy()
    if row.source:
        defined &= np.array(context.source_rows) if context.source else False
    made = []
    for t, at, here in places:
        found = [spec.change(problem, t, number) for number, problem in zip(run.ids, run.problems, strict=True)]
        for i in np.flatnonzero(here).tolist():
            if (each := found[i]) is None:
                defined[i] = False
            else:
                elsewhere = (Touched(at),) if control and control.elsewhere else ()
                touched[i] += touched_by(spec, each, at) or elsewhere
        site = _site(spec, context, t, at, found)
        change = control.feeds(site, row.apply) if control and control.feeds else row.apply(site)
        if control and (control.instead or control.elsewhere) and not row.replaces:
            # Put at another thought, the edit's own length is that at its thought.
            base = run.trace.thoughts[:, t - 1] if control.elsewhere else None
            change = as_long(change, _uncontrolled(spec, context, t), base)
        made.append((at, here, change))

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
    run, (out, put, reference) = context.run, [torch.empty(0)] * 3
    if spec.nodes:
        out, put = (context.members([each[i] if each else frozenset() for each in changes]) for i in (0, 1))
    if spec.measured:
        own = [problem.frontier(t) for problem in run.problems]
        if spec.row.moves != "in":
            plain = replace(spec, control="")
            found = [plain.change(problem, t, number) for number, problem in zip(run.ids, run.problems, strict=True)]
            own = [each[0] if each else frozenset() for each in found]
        reference = context.members(own)
    return Site(
        context, t, at, out, put, reference, spec.thoughts, spec.strength, spec.measured, spec.directions, spec.layer,
        spec.top, spec.seed,
    )  # fmt: skip


def _uncontrolled(spec: EditSpec, context: Context, t: int) -> Change:
    """What the edit that a control belongs to makes of thought t."""
    run, plain = context.run, replace(spec, control="")
    found = [plain.change(problem, t, number) for number, problem in zip(run.ids, run.problems, strict=True)]
    return plain.row.apply(_site(plain, context, t, t, found))


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


def runs_of(
    model: CoconutGPT2, plan: Sequence[EditSpec], directions: Directions | None, controls: Sequence[str]
) -> dict[str, EditPlan]:
    """A plan (under "") and those of ``controls`` that exist for it, by name.

    Raises InputError if the edits contradict each other or do not fit the checkpoint.
    """
    plan = EditPlan(plan)
    plan.check_fits(n_thoughts=n_thoughts_of(model), n_layer=model.config.n_layer, directions=directions)
    return {"": plan} | {
        name: each
        for name, each in plan.controls().items()
        if name in controls and (directions is not None or not CONTROLS[name].fitted)
    }


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
        """The base that a plan needs (``Kind.source``): the problems as given, or other ones; with the right source."""
        name = plan.source if plan else ""
        spec = plan[0] if plan and name else None
        key = (name, spec and spec.depth, spec and spec.seed)
        if key not in self._bases:
            self._bases[key] = self._base(self._run, None, ()) if spec is None else self._with_source(name, spec)
        return self._bases[key]

    def _with_source(self, name: str, spec: EditSpec) -> Base:
        given, depth = self._run, spec.depth or 0
        others = [
            SOURCES[name].other(prompt.problem, spec.depth, np.random.default_rng([spec.seed, number, depth, 6]))
            for number, prompt in zip(given.ids, given.prompts, strict=True)
        ]
        rows = tuple(other is not None for other in others)
        prompts = [
            prompt if other is None else self._model.codec.rewritten(prompt, other)
            for prompt, other in zip(given.prompts, others, strict=True)
        ]
        run = clean_run(self._model, prompts, given.ids, given.noise_ids)
        if SOURCES[name].base_reads_other:
            return self._base(run, given, rows)
        plain = self.base()
        return Base(replace(plain.context, source=run, source_rows=rows), plain.clean)

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
    built = build(plan, base.context)
    return Outcome(base, built, run_built(model, base, built, plan))


@torch.inference_mode()
def run_built(model: CoconutGPT2, base: Base, built: Built, plan: EditPlan) -> Seen:
    """What the batch says with edits that were made ready for it."""
    run, seen = base.context.run, base.clean
    if built.changes:
        stream = built.stream if any(layer is not None for layer, _ in built.places) else None
        start, n = start_before(model, run, built.first), run.n_thoughts - max(built.first - 1, 0)
        seen = see(model, model.think(start, n, edit=built.edit, stream=stream), run.prompts)
    elif plan[0].k is not None and not plan[0].control:
        seen = seen.upto(plan[0].k)
    return seen
