"""Running interventions: on one problem for looking at, on data sets for measuring.

One way for both: ``prepare`` runs a batch clean (and the runs that thoughts are taken from), ``run_edit`` branches
off at the first edited thought. The prompt pass and everything before the edit are shared by all edits and controls.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt
from model.codec_slots import ANSWER
from model.errors import InputError, OutputError, ProblemTooLargeError
from model.files import atomic_path, read_json, write_json
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import CleanRun, candidate_tokens, clean_run, draw_prompt, n_thoughts_of, rewritten
from probing.edit.directions import Directions, batches, fingerprint
from probing.edit.effects import (
    Answers,
    FrontierSets,
    Mean,
    Rate,
    StateEffects,
    answers_of,
    decodability,
    frontier_sets,
    mean,
    rate,
    state_effects,
)
from probing.edit.rewire import rewire
from probing.edit.spec import (
    CONTROLS,
    Built,
    Context,
    EditSpec,
    Scene,
    build,
    check_defined,
    check_scene,
    random_unit,
    scene_controls,
    scene_text,
    warnings_for,
)


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


# --- one problem ----------------------------------------------------------------------------------------------------


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
    edits: tuple[str, ...]
    n_thoughts: int
    n_draws: int
    seed: int
    clean: Side
    edited: Side
    controls: dict[str, Side]
    """By name; only those that exist for this problem."""
    touched: tuple[dict[str, Any], ...]
    """Nodes by name whose directions went out of and into a thought: ``{"t", "out", "put"}``."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` gives it back exactly."""
        return {
            "version": 1,
            "problem": self.problem.to_row(),
            "edits": list(self.edits),
            "n_thoughts": self.n_thoughts,
            "n_draws": self.n_draws,
            "seed": self.seed,
            "clean": _side_json(self.clean),
            "edited": _side_json(self.edited),
            "controls": {name: _side_json(side) for name, side in self.controls.items()},
            "touched": list(self.touched),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Intervention:
        """From what ``to_json`` gave. Raises InputError for anything else."""
        try:
            if value["version"] != 1:
                raise InputError(f"an intervention of version {value['version']}; this program reads version 1")
            return cls(
                problem=ProsQAProblem.from_row(value["problem"]),
                edits=tuple(value["edits"]),
                n_thoughts=value["n_thoughts"],
                n_draws=value["n_draws"],
                seed=value["seed"],
                clean=_side_from(value["clean"]),
                edited=_side_from(value["edited"]),
                controls={name: _side_from(side) for name, side in value["controls"].items()},
                touched=tuple(value["touched"]),
                warnings=tuple(value["warnings"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a saved intervention ({error!r:.80})") from None


@torch.inference_mode()
def intervene(
    model: CoconutGPT2,
    problem: ProsQAProblem,
    edits: Sequence[EditSpec],
    *,
    directions: Directions | None,
    controls: Sequence[str] = tuple(CONTROLS),
    n_draws: int = 1,
    seed: int = 0,
    fill: bool = False,
) -> Intervention:
    """One problem with these edits made together, and each matched control, under ``n_draws`` draws in one batch.

    ``fill`` brings a graph smaller than any in training up to the training size with unrelated facts
    (``SlotCodec.draw``), without which such graphs are answered at chance. Raises InputError if the edits contradict
    each other, do not fit the checkpoint, or do not exist for this problem.
    """
    scene = tuple(edits)
    check_scene(scene)
    check_defined(scene, n_thoughts=n_thoughts_of(model), n_layer=model.config.n_layer, directions=directions)
    prompts = [draw_prompt(model, problem, seed=seed, number=i, fill=fill) for i in range(n_draws)]
    # One problem: the same nodes, steps and graph in every draw, but noise of its own.
    prepared = prepare(model, prompts, [0] * n_draws, directions, noise_ids=range(n_draws))
    outcome = run_edit(model, prepared, scene)
    if not all(outcome.built.defined):
        raise InputError(f"edit {scene_text(scene)} does not exist for this problem: {_why_not(scene, problem)}")
    sides = {}
    for name, control in scene_controls(scene).items():
        if name not in controls:
            continue
        result = run_edit(model, prepared, control)
        if all(result.built.defined):
            sides[name] = _side(model, result, directions)
    names = problem.idx_to_symbol
    touched = dict.fromkeys(entry for entry in outcome.built.touched[0])
    host = outcome.host
    before = replace(
        outcome,
        trace=host.context.clean,
        log_probs=host.log_probs,
        states=state_effects(host.log_probs, host.log_probs, host.sets),
    )
    return Intervention(
        problem=host.context.prompts[0].problem,
        edits=tuple(map(str, scene)),
        n_thoughts=host.context.clean.n_thoughts,
        n_draws=n_draws,
        seed=seed,
        clean=_side(model, before, directions),
        edited=_side(model, outcome, directions),
        controls=sides,
        touched=tuple(
            {"t": entry.t, "out": [names[v] for v in entry.out], "put": [names[v] for v in entry.put]}
            for entry in touched
        ),
        warnings=warnings_for(scene, problem),
    )


def _side(model: CoconutGPT2, outcome: Outcome, directions: Directions | None) -> Side:
    prompts, trace = outcome.host.context.prompts, outcome.trace
    n_thoughts, n_draws, n_nodes = trace.n_thoughts, len(prompts), prompts[0].problem.n_nodes
    tokens = torch.tensor([prompt.node_tokens for prompt in prompts], device=outcome.log_probs.device)
    slots = torch.tensor([prompt.draw.slots for prompt in prompts])

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


def _why_not(scene: Scene, problem: ProsQAProblem) -> str:
    """Why an edit is not defined for a problem, in words."""
    if problem.counterfactual is None and any(
        spec.kind in ("transplant", "patch", "rewire")
        or any(name.startswith("other-") for part in (spec.nodes, spec.to) if part for name in part.sets)
        for spec in scene
    ):
        return "no other root makes the other candidate right, so there is no other question to take from"
    if scene[0].kind == "rewire":
        return f"no exchange of two edges at depth {scene[0].depth} makes the other candidate right"
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


# --- data sets ------------------------------------------------------------------------------------------------------

Row = dict[str, Any]
CLEAN = "clean"


def dataset_rows(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    scenes: Sequence[Scene],
    *,
    directions: Directions | None,
    controls: Sequence[str] = tuple(CONTROLS),
    seed: int = 0,
    batch_size: int = 64,
    skip: int = 0,
) -> Iterator[list[Row]]:
    """Rows of every problem, scene and control, one list per batch; the first ``skip`` problems are left out.

    Problem i is written under draw (seed, i). ``skip`` must be a multiple of ``batch_size``: what stands in one batch
    is part of the arithmetic. Raises InputError as ``intervene`` does; an edit that does not exist for a problem gives
    a row with ``defined`` false.
    """
    assert skip % batch_size == 0, (skip, batch_size)
    runs = _runs(model, scenes, directions, controls)
    for rows in batches(len(problems), batch_size):
        if rows[0] < skip:
            continue
        prompts = [draw_prompt(model, problems[i], seed=seed, number=i) for i in rows]
        prepared = prepare(model, prompts, rows, directions)
        found: list[Row] = []
        for text, control, scene in runs:
            found += _rows(text, control, run_edit(model, prepared, scene))
        yield _clean_rows(prepared.host((EditSpec("identity", (1,)),))) + found


def _runs(
    model: CoconutGPT2, scenes: Sequence[Scene], directions: Directions | None, controls: Sequence[str]
) -> list[tuple[str, str, Scene]]:
    """(edit, control, scene) of every run, checked."""
    n_thoughts, n_layer = n_thoughts_of(model), model.config.n_layer
    runs: list[tuple[str, str, Scene]] = []
    for scene in scenes:
        check_scene(scene)
        check_defined(scene, n_thoughts=n_thoughts, n_layer=n_layer, directions=directions)
        runs.append((scene_text(scene), "", scene))
        runs += [(scene_text(scene), name, c) for name, c in scene_controls(scene).items() if name in controls]
    return runs


def _rows(text: str, control: str, outcome: Outcome) -> list[Row]:
    clean, states = outcome.host.answers, outcome.states
    found = []
    for i, number in enumerate(outcome.host.context.ids):
        row: Row = {"row": number, "edit": text, "control": control, "defined": outcome.built.defined[i]}
        if row["defined"]:
            row |= {
                "log_odds": float(outcome.answers.log_odds[i]),
                "neither": bool(outcome.answers.neither[i]),
                "clean_log_odds": float(clean.log_odds[i]),
                "kl": _short(states.kl[i]),
                "mass": _short(states.mass[i]),
                "other_mass": _short(states.other_mass[i]),
            }
            if control == "other-step":
                row["at"] = outcome.built.touched[i][0].t
        found.append(row)
    return found


def _clean_rows(host: Host) -> list[Row]:
    states = state_effects(host.log_probs, host.log_probs, host.sets)
    decoded = decodability(host.context.clean, host.log_probs, host.context.prompts, host.context.directions)
    return [
        {
            "row": number,
            "edit": CLEAN,
            "control": "",
            "defined": True,
            "hops": prompt.problem.n_hops,
            "log_odds": float(host.answers.log_odds[i]),
            "neither": bool(host.answers.neither[i]),
            "clean_log_odds": float(host.answers.log_odds[i]),
            "kl": _short(states.kl[i]),
            "mass": _short(states.mass[i]),
            "other_mass": _short(states.other_mass[i]),
            **{name: _short(values[i]) for name, values in decoded.items()},
        }
        for i, (number, prompt) in enumerate(zip(host.context.ids, host.context.prompts, strict=True))
    ]


def _short(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


@dataclass(frozen=True)
class EffectSummary:
    """One edit (or one control of it) over a data set. Intervals are 95 %."""

    edit: str
    control: str
    """Empty for the edit itself."""
    n: int
    """Problems it exists for; the rest of the data set is ``n_undefined``."""
    n_undefined: int
    follows: Rate | None = None
    """The answer is the other candidate."""
    flips: Rate | None = None
    """The answer is not the one of the clean run."""
    neither: Rate | None = None
    """The most probable token is neither candidate."""
    accuracy: Rate | None = None
    clean_accuracy: Rate | None = None
    """Of the clean run on the same problems."""
    log_odds_change: Mean | None = None
    """Change of log P(target) - log P(other), nats."""
    kl: tuple[Mean | None, ...] = ()
    """Per state h_0..h_K: KL(clean || edited), nats."""
    mass_change: tuple[Mean | None, ...] = ()
    """Per state: change of the probability on its frontier."""
    other_mass_change: tuple[Mean | None, ...] = ()
    """Per state: change of the probability on the other question's frontier."""


def summarise(rows: Iterable[Row]) -> list[EffectSummary]:
    """One summary per edit and control, in the order of first appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["edit"], row["control"]), []).append(row)
    clean = {row["row"]: row for row in groups.get((CLEAN, ""), [])}
    found = []
    for (edit, control), members in groups.items():
        here = [row for row in members if row["defined"]]
        if not here:
            found.append(EffectSummary(edit, control, 0, len(members)))
            continue
        after = np.array([row["log_odds"] for row in here])
        before = np.array([row["clean_log_odds"] for row in here])
        rewired = edit.startswith("rewire")

        def per_state(
            name: str, change: bool, here: list[Row] = here, rewired: bool = rewired
        ) -> tuple[Mean | None, ...]:
            values = np.array([row[name] for row in here])
            if change:
                # The clean rows are of the graph as given; a rewired graph has no clean row of its own.
                if rewired:
                    return ()
                values = values - np.array([clean[row["row"]][name][: values.shape[1]] for row in here])
            return tuple(mean(column) for column in values.T)

        found.append(
            EffectSummary(
                edit=edit,
                control=control,
                n=len(here),
                n_undefined=len(members) - len(here),
                follows=rate(after <= 0),
                flips=rate((after > 0) != (before > 0)),
                neither=rate(np.array([row["neither"] for row in here])),
                accuracy=rate(after > 0),
                clean_accuracy=rate(before > 0),
                log_odds_change=mean(after - before),
                kl=per_state("kl", False),
                mass_change=per_state("mass", True),
                other_mass_change=per_state("other_mass", True),
            )
        )
    return found


def run_to_folder(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    scenes: Sequence[Scene],
    out: str | Path,
    *,
    directions: Directions | None,
    source: str,
    controls: Sequence[str] = tuple(CONTROLS),
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[EffectSummary]:
    """``dataset_rows`` to ``out/rows.jsonl``, going on where an interrupted run stopped; then the summaries.

    ``out`` gets ``run.json`` (what was run), ``rows.jsonl``, ``summary.json`` and ``summary.csv``. ``progress`` is
    told (problems done, of how many). Raises InputError if ``out`` holds another run, or as ``dataset_rows`` does.
    """
    out = Path(out)
    _runs(model, scenes, directions, controls)
    for i, problem in enumerate(problems):
        try:
            model.codec.check_fits(problem, n_positions=model.config.n_positions, n_thoughts=model.config.n_thoughts)
        except ProblemTooLargeError as error:
            raise ProblemTooLargeError(f"problem {i} of {source}: {error}") from None
    header = {
        "version": 1,
        "checkpoint": fingerprint(model),
        "directions": None if directions is None else directions.digest,
        "data": source,
        "problems": _digest(problems),
        "n_problems": len(problems),
        "edits": [scene_text(scene) for scene in scenes],
        "controls": list(controls),
        "seed": seed,
        "batch_size": batch_size,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    if (out / "run.json").exists():
        there = read_json(out / "run.json")
        changed = [key for key in header if not isinstance(there, dict) or there.get(key) != header[key]]
        if changed:
            raise InputError(
                f"{out} holds another run ({', '.join(changed)} differ); choose another folder or remove it"
            )
    else:
        # Both files belong together: rows without their run are of no known run.
        (out / "rows.jsonl").unlink(missing_ok=True)
    path = out / "rows.jsonl"
    done = _keep_whole_batches(path, batch_size, len(problems))
    progress(done, len(problems))
    steps = (
        dataset_rows(
            model,
            problems,
            scenes,
            directions=directions,
            controls=controls,
            seed=seed,
            batch_size=batch_size,
            skip=done,
        )
        if done < len(problems)
        else iter(())
    )
    first = True
    for rows in steps:
        if first:
            write_json(out / "run.json", header)
            first = False
        try:
            with path.open("a", encoding="utf-8") as file:
                text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
                done += sum(row["edit"] == CLEAN for row in rows)
                file.write(text + json.dumps({"done": done}) + "\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
        progress(done, len(problems))
    summaries = summarise(read_rows(path))
    write_json(out / "summary.json", {**header, "summary": [asdict(summary) for summary in summaries]})
    with atomic_path(out / "summary.csv") as temporary:
        temporary.write_text(summary_csv(summaries), encoding="utf-8")
    return summaries


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of a finished or interrupted run; a batch that was not finished is left out."""
    waiting: list[Row] = []
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                return
            if "done" in row:
                yield from waiting
                waiting = []
            else:
                waiting.append(row)


def read_summaries(path: str | Path) -> list[EffectSummary]:
    """The summaries in a ``summary.json``. Raises InputError for another file."""
    try:
        return [_summary(entry) for entry in read_json(path)["summary"]]
    except (KeyError, TypeError):
        raise InputError(f"{path}: not the summary of an intervention run") from None


def _summary(entry: Mapping[str, Any]) -> EffectSummary:
    def number(value: Mapping[str, Any] | None) -> Any:
        if value is None:
            return None
        fields = {**value, "ci95": tuple(value["ci95"])}
        return Rate(**fields) if "k" in fields else Mean(**fields)

    found: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, list):
            found[name] = tuple(number(each) for each in value)
        else:
            found[name] = number(value) if isinstance(value, Mapping) else value
    return EffectSummary(**found)


def summary_csv(summaries: Sequence[EffectSummary]) -> str:
    """The answer effects as a table."""
    columns = ("follows", "flips", "neither", "accuracy", "clean_accuracy", "log_odds_change")
    head = ["edit", "control", "n", "n_undefined"]
    for name in columns:
        head += [name, f"{name}_low", f"{name}_high"]
    lines = [",".join(head)]
    for summary in summaries:
        text = summary.edit.replace('"', '""')
        cells = [f'"{text}"', summary.control, str(summary.n), str(summary.n_undefined)]
        for name in columns:
            value = getattr(summary, name)
            cells += ["", "", ""] if value is None else [f"{v:.6g}" for v in (value.value, *value.ci95)]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def _digest(problems: Sequence[ProsQAProblem]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(repr((problem.edges, problem.root, problem.target, problem.neg_target)).encode())
    return digest.hexdigest()[:16]


def _keep_whole_batches(path: Path, batch_size: int, n_problems: int) -> int:
    """Cut a rows file back to its last finished batch; how many problems it then holds."""
    if not path.exists():
        return 0
    done, end = 0, 0
    try:
        with path.open("rb") as file:
            while line := file.readline():
                if line.startswith(b'{"done": ') and line.endswith(b"}\n"):
                    done, end = json.loads(line)["done"], file.tell()
        with path.open("r+b") as file:
            file.truncate(end)
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as the rows of a run ({error})") from None
    if done % batch_size and done != n_problems:
        raise InputError(f"{path}: not the rows of this run")
    return done
