"""An edit on one problem, for looking at: before, after, and beside every matched control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from model.coconut import CoconutGPT2
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.readout import forced_answers, vector_log_probs
from model.transformer import Precision
from model.values import Value
from probing.edit.batch import draw_prompt
from probing.edit.directions import Directions
from probing.edit.effects import Seen
from probing.edit.kinds import CONTROLS, SOURCES
from probing.edit.run import Built, Prepared, Touched, build, prepare, run_built, runs_of, touched_by
from probing.edit.spec import EditPlan, EditSpec


def _read_array(value: Any) -> np.ndarray:
    found = np.asarray(value)
    return found if found.dtype == bool else found.astype(float)  # None: NaN


def _write_array(value: np.ndarray) -> list[Any]:
    plain = value.astype(object)
    plain[value != value] = None  # NaN
    found: list[Any] = plain.tolist()
    return found


def _read_problem(value: Any) -> ProsQAProblem:
    return value if isinstance(value, ProsQAProblem) else ProsQAProblem.from_row(value)


def _read_plan(value: Any) -> EditPlan:
    return value if isinstance(value, EditPlan) else EditPlan(map(EditSpec.parse, value))


Array = Annotated[np.ndarray, PlainValidator(_read_array), PlainSerializer(_write_array)]
"""Numbers, in JSON nested lists with null for NaN; or truth values."""


class Side(Value):
    """One run of a problem, under R prompt samples. K thoughts, n nodes; log-probabilities in nats."""

    renamed: ClassVar[dict[str, str]] = {"weights": "coefficients"}

    states: Array
    """``R K+1 n``: log-probability of each node as the next step, from states h_0..h_K as the model produced them."""
    fed: Array
    """``R K n``: the same read from thoughts 1..K as they were fed, edits included."""
    coefficients: Array | None
    """``R K n``: coefficient of each node's direction in the thoughts fed (1: as fitted; NaN where not defined);
    None without fitted directions."""
    log_odds: Array
    """``R K+1``: log P(target) - log P(other candidate) when the answer is forced after k = 0..K thoughts."""
    neither: Array
    """``R K+1`` (bool): the most probable answer is neither candidate."""
    kl: Array
    """``R K+1``: KL(clean || this run) of each state's next-token distribution."""
    mass: Array
    """``R K+1``: probability on the nodes at distance k + 1."""
    other_mass: Array
    """``R K+1``: probability on the nodes at distance k + 1 in the counterfactual question's search."""

    @property
    def p_target(self) -> np.ndarray:
        """``R K+1``: P(target) of the two candidates."""
        return 1 / (1 + np.exp(-self.log_odds))


class Intervention(Value):
    """One problem before and after some edits, with the edits' matched controls."""

    model_config = ConfigDict(serialize_by_alias=True)
    called: ClassVar[str] = "a saved intervention"
    renamed: ClassVar[dict[str, str]] = {"edits": "plan", "n_draws": "n_samples"}

    version: Literal[1] = 1
    problem: Annotated[ProsQAProblem, PlainValidator(_read_problem), PlainSerializer(ProsQAProblem.to_row)]
    """As the edited run read it (``rewire`` changes it)."""
    plan: Annotated[EditPlan, PlainValidator(_read_plan), PlainSerializer(lambda plan: list(map(str, plan)))] = Field(
        serialization_alias="edits"
    )
    n_thoughts: int
    n_samples: int
    """Prompt samples."""
    seed: int
    precision: Precision = "float32"
    """What passes multiplied in."""
    clean: Side
    edited: Side
    controls: dict[str, Side]
    """By name; only those that exist for this problem."""
    touched: tuple[Touched, ...]
    """Nodes whose directions went out of and into a thought; in JSON by name."""
    warnings: tuple[str, ...]

    @field_validator("touched", mode="before")
    @classmethod
    def _from_names(cls, touched: Any, info: ValidationInfo) -> Any:
        names = info.data["problem"].idx_to_symbol if "problem" in info.data else ()

        def node(name: Any) -> int:
            if name not in names:
                raise ValueError(f"{name!r:.40} is no node of the problem")
            return names.index(name)

        if not isinstance(touched, list) or not all(isinstance(entry, dict) for entry in touched):
            return touched
        sides = ("out", "put")
        return [entry | {side: tuple(map(node, entry.get(side, ()))) for side in sides} for entry in touched]

    @field_serializer("touched")
    def _to_names(self, touched: tuple[Touched, ...]) -> list[dict[str, Any]]:
        names = self.problem.idx_to_symbol
        return [{"t": e.t, "out": [names[v] for v in e.out], "put": [names[v] for v in e.put]} for e in touched]


@torch.inference_mode()
def intervene(
    model: CoconutGPT2,
    problem: ProsQAProblem,
    plan: Sequence[EditSpec],
    *,
    directions: Directions | None,
    controls: Sequence[str] = tuple(CONTROLS),
    n_samples: int = 1,
    seed: int = 0,
    pad: bool = False,
    unedited: Unedited | None = None,
) -> Intervention:
    """One problem with a plan's edits, and each matched control, under ``n_samples`` prompt samples in one batch.

    ``pad`` pads a graph smaller than any in training to the training size with distractor facts, without which such
    graphs are answered at chance. ``unedited`` is what ``run_unedited`` gave for the same problem and options, so that
    several plans share it. Raises InputError if the edits contradict each other, do not fit the checkpoint, or do not
    exist for this problem.
    """
    runs = runs_of(model, plan, directions, controls)
    plan = runs.pop("")
    unedited = unedited or run_unedited(model, problem, directions=directions, n_samples=n_samples, seed=seed, pad=pad)
    base = unedited.prepared.base(plan)
    built, run = build(plan, base.context), base.context.run
    if not all(built.defined):
        raise InputError(f"edit {plan} does not exist for this problem: {_why_not(plan, problem)}")
    beside = {name: build(each, base.context) for name, each in runs.items()}

    def side(plan: EditPlan, built: Built) -> Side:
        return _side(run_built(model, base, built, plan), base.clean, directions)

    def control(name: str, built: Built) -> Side:
        if not runs[name].shared:
            return side(runs[name], built)
        return unedited.once((run, name, built.places), lambda: side(runs[name], built))

    return Intervention(
        problem=run.problems[0],
        plan=plan,
        n_thoughts=run.n_thoughts,
        n_samples=n_samples,
        seed=seed,
        precision=model.precision,
        clean=unedited.once((run,), lambda: _side(base.clean, base.clean, directions)),
        edited=side(plan, built),
        controls={name: control(name, each) for name, each in beside.items() if all(each.defined)},
        touched=tuple(dict.fromkeys(built.touched[0])),
        warnings=plan.warnings(problem),
    )


@dataclass(frozen=True, eq=False)
class Unedited:
    """A problem's runs without edits, and what all edits or all of the same thoughts share; each is made once."""

    prepared: Prepared
    _sides: dict[tuple[object, ...], Side] = field(default_factory=dict)

    def once(self, key: tuple[object, ...], make: Callable[[], Side]) -> Side:
        if key not in self._sides:
            self._sides[key] = make()
        return self._sides[key]


def run_unedited(
    model: CoconutGPT2,
    problem: ProsQAProblem,
    *,
    directions: Directions | None,
    n_samples: int = 1,
    seed: int = 0,
    pad: bool = False,
) -> Unedited:
    """The runs of ``intervene`` without edits, which all plans on a problem start from.

    Raises InputError if the problem does not fit the model.
    """
    prompts = [draw_prompt(model, problem, seed=seed, number=i, pad=pad) for i in range(n_samples)]
    # One problem: the same nodes, steps and graph in every sample, but noise of its own.
    return Unedited(prepare(model, prompts, [0] * n_samples, directions, noise_ids=range(n_samples)))


def preview(plan: EditPlan, problem: ProsQAProblem) -> tuple[Touched, ...]:
    """What ``Intervention.touched`` of a plan will be, without a run: the same nodes are drawn.

    Thoughts at which the edit does not exist are left out, and so is a control at another step, which the checkpoint
    decides on. Raises InputError for a node that is not in the graph.
    """
    found: list[Touched] = []
    for spec in plan:
        for t in () if spec.control and CONTROLS[spec.control].elsewhere else spec.thoughts:
            change = spec.change(problem, t)
            found += touched_by(spec, change, t) if change else ()
    return tuple(dict.fromkeys(found))


def _side(seen: Seen, clean: Seen, directions: Directions | None) -> Side:
    answers, thoughts = forced_answers(seen.model, seen.trace, seen.prompts), seen.trace.thoughts
    return Side(
        states=seen.nodes.nodes,
        fed=vector_log_probs(seen.model, thoughts, seen.prompts).nodes,
        coefficients=None if directions is None else directions.of_nodes(thoughts, seen.prompts),
        log_odds=answers.log_odds,
        neither=answers.neither,
        kl=seen.kl(clean),
        mass=seen.mass,
        other_mass=seen.other_mass,
    )


def _why_not(plan: EditPlan, problem: ProsQAProblem) -> str:
    """Why an edit is not defined for a problem, in words."""
    source, named = SOURCES.get(plan.source), (name for spec in plan for name in spec.set_names)
    if problem.counterfactual is None and (source or any(name.startswith("other-") for name in named)):
        return SOURCES["counterfactual"].missing
    if source and source.base_reads_other:
        return source.missing.format(depth=plan[0].depth)
    return "a set of nodes it names is empty at that thought (the search may be over by then)"
