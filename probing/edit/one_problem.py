"""An edit on one problem, for looking at: before, after, and beside every matched control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2
from model.codec_slots import ANSWER
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import candidate_tokens, draw_prompt, n_thoughts_of
from probing.edit.directions import Directions
from probing.edit.effects import state_effects
from probing.edit.kinds import CONTROLS
from probing.edit.run import Outcome, Touched, prepare, run_edit, touched_by
from probing.edit.spec import EditPlan, EditSpec


@dataclass(frozen=True, eq=False)
class Side:
    """One run of a problem, under R draws. K thoughts, n nodes; log-probabilities in nats."""

    states: np.ndarray
    """``R K+1 n``: log-probability of each node as next token, from states h_0..h_K as the model produced them."""
    fed: np.ndarray
    """``R K n``: the same read from thoughts 1..K as they were fed, edits included."""
    weights: np.ndarray | None
    """``R K n``: weight of each node's write direction in the thoughts fed (1: as fitted; NaN where not defined);
    None without fitted directions."""
    log_odds: np.ndarray
    """``R K+1``: log P(target) - log P(other candidate) when the answer is forced after k = 0..K thoughts."""
    neither: np.ndarray
    """``R K+1`` (bool): the most probable answer is neither candidate."""
    kl: np.ndarray
    """``R K+1``: KL(clean || this run) of each state's next-token distribution."""
    mass: np.ndarray
    """``R K+1``: probability on the nodes at distance k + 1."""
    other_mass: np.ndarray
    """``R K+1``: probability on the nodes at distance k + 1 in the other question's search."""

    @property
    def p_target(self) -> np.ndarray:
        """``R K+1``: P(target) of the two candidates."""
        return 1 / (1 + np.exp(-self.log_odds))


@dataclass(frozen=True, eq=False)
class Intervention:
    """One problem before and after some edits, with the edits' matched controls."""

    problem: ProsQAProblem
    """As the edited run read it (``rewire`` changes it)."""
    plan: EditPlan
    n_thoughts: int
    n_draws: int
    seed: int
    clean: Side
    edited: Side
    controls: dict[str, Side]
    """By name; only those that exist for this problem."""
    touched: tuple[Touched, ...]
    """Nodes whose directions went out of and into a thought; in JSON by name."""
    warnings: tuple[str, ...]

    @property
    def edits(self) -> tuple[str, ...]:  # until step 4: plan
        return tuple(map(str, self.plan))

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` gives it back exactly."""
        names = self.problem.idx_to_symbol
        return {
            "version": 1,
            "problem": self.problem.to_row(),
            "edits": [str(spec) for spec in self.plan],
            "n_thoughts": self.n_thoughts,
            "n_draws": self.n_draws,
            "seed": self.seed,
            "clean": _side_json(self.clean),
            "edited": _side_json(self.edited),
            "controls": {name: _side_json(side) for name, side in self.controls.items()},
            "touched": [
                {"t": entry.t, "out": [names[v] for v in entry.out], "put": [names[v] for v in entry.put]}
                for entry in self.touched
            ],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Intervention:
        """From what ``to_json`` gave. Raises InputError for anything else."""
        try:
            if value["version"] != 1:
                raise InputError(f"an intervention of version {value['version']}; this program reads version 1")
            problem = ProsQAProblem.from_row(value["problem"])
            node = {name: v for v, name in enumerate(problem.idx_to_symbol)}.__getitem__
            return cls(
                problem=problem,
                plan=EditPlan(map(EditSpec.parse, value["edits"])),
                n_thoughts=value["n_thoughts"],
                n_draws=value["n_draws"],
                seed=value["seed"],
                clean=_side_from(value["clean"]),
                edited=_side_from(value["edited"]),
                controls={name: _side_from(side) for name, side in value["controls"].items()},
                touched=tuple(
                    Touched(entry["t"], tuple(map(node, entry["out"])), tuple(map(node, entry["put"])))
                    for entry in value["touched"]
                ),
                warnings=tuple(value["warnings"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a saved intervention ({error!r:.80})") from None


@torch.inference_mode()
def intervene(
    model: CoconutGPT2,
    problem: ProsQAProblem,
    plan: Sequence[EditSpec],
    *,
    directions: Directions | None,
    controls: Sequence[str] = tuple(CONTROLS),
    n_draws: int = 1,
    seed: int = 0,
    fill: bool = False,
) -> Intervention:
    """One problem with a plan's edits, and each matched control, under ``n_draws`` draws in one batch.

    ``fill`` brings a graph smaller than any in training up to the training size with unrelated facts
    (``SlotCodec.draw``), without which such graphs are answered at chance. Raises InputError if the edits contradict
    each other, do not fit the checkpoint, or do not exist for this problem.
    """
    plan = EditPlan(plan)
    plan.check_fits(n_thoughts=n_thoughts_of(model), n_layer=model.config.n_layer, directions=directions)
    prompts = [draw_prompt(model, problem, seed=seed, number=i, fill=fill) for i in range(n_draws)]
    # One problem: the same nodes, steps and graph in every draw, but noise of its own.
    prepared = prepare(model, prompts, [0] * n_draws, directions, noise_ids=range(n_draws))
    outcome = run_edit(model, prepared, plan)
    if not all(outcome.built.defined):
        raise InputError(f"edit {plan} does not exist for this problem: {_why_not(plan, problem)}")
    beside = {name: run_edit(model, prepared, each) for name, each in plan.controls().items() if name in controls}
    host = outcome.host
    before = replace(
        outcome,
        trace=host.context.run.trace,
        log_probs=host.log_probs,
        states=state_effects(host.log_probs, host.log_probs, host.sets),
    )
    return Intervention(
        problem=host.context.run.problems[0],
        plan=plan,
        n_thoughts=host.context.run.n_thoughts,
        n_draws=n_draws,
        seed=seed,
        clean=_side(model, before, directions),
        edited=_side(model, outcome, directions),
        controls={
            name: _side(model, result, directions) for name, result in beside.items() if all(result.built.defined)
        },
        touched=tuple(dict.fromkeys(outcome.built.touched[0])),
        warnings=plan.warnings(problem),
    )


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


def _side(model: CoconutGPT2, outcome: Outcome, directions: Directions | None) -> Side:
    prompts, trace = outcome.host.context.run.prompts, outcome.trace
    n_thoughts, n_draws, n_nodes = trace.n_thoughts, len(prompts), prompts[0].problem.n_nodes
    tokens = torch.tensor([prompt.node_tokens for prompt in prompts], device=outcome.log_probs.device)
    slots = torch.tensor([prompt.keys for prompt in prompts])

    def of_nodes(log_probs: Tensor) -> np.ndarray:
        index = tokens[:, None].expand(-1, log_probs.shape[1], -1)
        return log_probs.gather(2, index).double().cpu().numpy()

    forced = model.logits_after(trace, ANSWER).log_softmax(dim=-1)
    pair_tokens = candidate_tokens(prompts).to(forced.device)
    pair = forced.gather(2, pair_tokens[:, None].expand(-1, forced.shape[1], -1))
    neither = (forced.argmax(dim=-1, keepdim=True) != pair_tokens[:, None]).all(dim=-1)
    weights = None
    if directions is not None:
        weights = np.full((n_draws, n_thoughts, n_nodes), np.nan)
        for t in directions.defined:
            if t <= n_thoughts:
                found = directions.weights(trace.thoughts[:, t - 1], t)
                weights[:, t - 1] = found.gather(1, slots).double().numpy()
    states = outcome.states
    return Side(
        states=of_nodes(outcome.log_probs),
        fed=of_nodes(model.logits(trace.thoughts).log_softmax(dim=-1)),
        weights=weights,
        log_odds=(pair[..., 0] - pair[..., 1]).double().cpu().numpy(),
        neither=neither.cpu().numpy(),
        kl=states.kl,
        mass=states.mass,
        other_mass=states.other_mass,
    )


def _why_not(plan: EditPlan, problem: ProsQAProblem) -> str:
    """Why an edit is not defined for a problem, in words."""
    asks = plan.source != "plain" or any(name.startswith("other-") for spec in plan for name in spec.set_names)
    if problem.counterfactual is None and asks:
        return "no other root makes the other candidate right, so there is no counterfactual question to take from"
    if plan.source == "rewired":
        return f"no exchange of two edges at depth {plan[0].depth} makes the other candidate right"
    return "a set of nodes it names is empty at that thought (the search may be over by then)"


def _side_json(side: Side) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(side).items():
        if value is None:
            found[name] = None
        elif value.dtype == bool:
            found[name] = value.tolist()
        else:
            plain = value.astype(object)
            plain[np.isnan(value)] = None
            found[name] = plain.tolist()
    return found


def _side_from(value: Mapping[str, Any]) -> Side:
    entries: dict[str, Any] = {
        name: None if entry is None else np.array(entry, dtype=bool if name == "neither" else float)
        for name, entry in value.items()
    }
    return Side(**entries)
