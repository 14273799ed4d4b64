"""Edits of thoughts: small frozen descriptions, and the pure functions they become.

An ``EditSpec`` says what to do to which thoughts; it is a value with an exact text form, such as
``swap:t=1,strength=1.5`` or ``write:t=2,nodes=Tom+Bob``. ``build`` turns specs into the ``edit(t, thought)`` argument
of the one thought loop (``CoconutGPT2.think``), for one batch. Thought t is h_(t-1) and should hold the nodes at
distance t (``model/__init__.py``).

Sets of nodes are named by what they are in the search (``NODE_SETS``) or node by node, so one spec serves a whole
data set. The *other question* about a graph is ``ProsQAProblem.counterfactual``: the same graph asked from another
root, so that the other candidate is right.

Matched controls are the same spec with ``control=`` set (``CONTROLS``): they differ from the edit in exactly one
respect, and exist by construction for every edit they make sense for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import torch
from torch import Tensor

from model.coconut import Edit, ThoughtTrace
from model.codec import Prompt
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.directions import ESTIMATORS, Directions

MAX_STRENGTH = 100.0
DOSES = ("fitted", "held")
HELD_KINDS = ("remove", "add", "swap", "scale", "keep")
"""Kinds that can take nodes out with the weight they are held with."""

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


@dataclass(frozen=True)
class NodePart:
    """One named set, or one node by its name; ``at_most`` draws that many of a set at random."""

    name: str
    is_set: bool
    at_most: int | None = None


@dataclass(frozen=True)
class Nodes:
    """A union of parts. Text form: parts joined by ``+``; ``frontier/1`` draws one node of the frontier; a bare word
    that is no set is a node's name; ``name:frontier`` is the node of that name; special characters as in a URL."""

    parts: tuple[NodePart, ...]

    @classmethod
    def parse(cls, text: str) -> Nodes:
        parts = []
        for item in text.split("+"):
            if item.startswith("name:"):
                parts.append(NodePart(unquote(item.removeprefix("name:")), False))
                continue
            name, slash, most = item.partition("/")
            if name in NODE_SETS:
                if slash and not (most.isdecimal() and int(most) > 0):
                    raise InputError(f"nodes {item!r}: after the slash comes how many nodes to draw, such as {name}/1")
                parts.append(NodePart(name, True, int(most) if slash else None))
            elif slash:
                raise InputError(f"nodes {item!r}: {name!r} is not a set of nodes; sets are {', '.join(NODE_SETS)}")
            else:
                parts.append(NodePart(unquote(name), False))
        return cls(tuple(parts))

    @classmethod
    def named(cls, names: Sequence[str]) -> Nodes:
        """The nodes of these names; "nothing" for none."""
        return cls(tuple(NodePart(name, False) for name in names) or (NodePart("nothing", True),))

    def __str__(self) -> str:
        return "+".join(_part_text(part) for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes given by name."""
        return tuple(part.name for part in self.parts if not part.is_set)

    @property
    def sets(self) -> tuple[str, ...]:
        """Sets given by name."""
        return tuple(part.name for part in self.parts if part.is_set)


@dataclass(frozen=True)
class EditSpec:
    """One edit of one or several thoughts. Validated on construction (InputError); ``parse(str(spec)) == spec``."""

    kind: str
    thoughts: tuple[int, ...] = ()
    """Which thoughts, from 1 (``patch`` also takes 0, the root token). Empty for ``truncate``."""
    nodes: Nodes | None = None
    to: Nodes | None = None
    directions: str = "ridge"
    """Estimator of the write directions."""
    strength: float = 1.0
    """Dose. Replacing kinds mix: thought + strength * (new - thought); ``write`` scales the sum of directions."""
    dose: str = "fitted"
    """``fitted``: a node counts as its direction, times the strength. ``held``: nodes taken out are subtracted with the
    weight that this very thought holds them with (``Directions.weights``), and nodes put in get the mean weight of
    those taken out (``add``: of the frontier nodes), again times the strength."""
    keep_norm: bool = False
    """Rescale the edited thought to the norm it had."""
    layer: int | None = None
    depth: int | None = None
    k: int | None = None
    seed: int = 0
    """Of everything drawn at random: noise, the problem resampled from, sampled nodes, controls."""
    control: str = ""
    """Empty, or one of CONTROLS."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"edit {self.kind!r} is unknown; known are {', '.join(KINDS)}")
        kind = KINDS[self.kind]
        if kind.nodes and self.nodes is None:
            object.__setattr__(self, "nodes", Nodes.parse(kind.nodes))
        if kind.to and self.to is None:
            object.__setattr__(self, "to", Nodes.parse(kind.to))
        object.__setattr__(self, "thoughts", tuple(sorted(set(self.thoughts))))
        for name, given, takes in (
            ("nodes", self.nodes is not None, bool(kind.nodes)),
            ("to", self.to is not None, bool(kind.to)),
            ("layer", self.layer is not None, self.kind == "patch"),
            ("depth", self.depth is not None, self.kind == "rewire"),
            ("k", self.k is not None, self.kind == "truncate"),
            ("t", bool(self.thoughts), self.kind != "truncate"),
        ):
            if given and not takes:
                raise InputError(f"edit {self.kind!r} takes no {name}")
            if takes and not given:
                raise InputError(f"edit {self.kind!r} needs {name}=, such as {name}={_EXAMPLES.get(name, 1)}")
        first = 0 if self.kind == "patch" else 1
        if any(t < first for t in self.thoughts):
            raise InputError(f"edit {self.kind!r}: thoughts count from {first}, got t={min(self.thoughts)}")
        if self.kind == "permute" and len(self.thoughts) < 2:
            raise InputError("edit 'permute' needs at least two thoughts, such as t=1-6")
        if self.kind == "patch" and len(self.thoughts) > 1:
            raise InputError("edit 'patch' takes one thought at a time")
        for name, lowest in (("layer", 1), ("depth", 1), ("k", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise InputError(f"edit {self.kind!r}: {name} must be {lowest} or more, got {value}")
        if not (math.isfinite(self.strength) and abs(self.strength) <= MAX_STRENGTH):
            raise InputError(
                f"edit {self.kind!r}: strength must be a number from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}, "
                f"got {self.strength}"
            )
        if self.directions not in ESTIMATORS:
            raise InputError(f"directions {self.directions!r} are unknown; known are {', '.join(ESTIMATORS)}")
        if self.dose not in DOSES:
            raise InputError(f"dose {self.dose!r} is unknown; known are {', '.join(DOSES)}")
        if self.dose == "held" and self.kind not in HELD_KINDS:
            raise InputError(f"edit {self.kind!r} takes no dose=held; {', '.join(HELD_KINDS)} do")
        if self.kind == "swap":
            assert self.nodes is not None
            assert self.to is not None
            both = sorted(set(self.nodes.names) & set(self.to.names))
            if both:
                raise InputError(f"edit 'swap' takes out and puts in the same node: {', '.join(both)}")
        if self.control and self.control not in controls_of(replace(self, control="")):
            fit = ", ".join(controls_of(replace(self, control="")))
            raise InputError(f"edit {self.kind!r} has no control {self.control!r}; it has {fit}")

    @classmethod
    def parse(cls, text: str) -> EditSpec:
        """A spec from its text form ``kind:key=value,...``. Raises InputError naming what is wrong."""
        kind, _, rest = text.strip().partition(":")
        values: dict[str, Any] = {}
        for item in filter(None, rest.split(",")):
            key, equals, value = item.partition("=")
            if key not in _READERS or not equals:
                raise InputError(f"edit {text!r}: {item!r} is not an option; options are {', '.join(_READERS)}")
            name, read = _READERS[key]
            if name in values:
                raise InputError(f"edit {text!r}: {key} is given twice")
            try:
                values[name] = read(value)
            except InputError:
                raise
            except ValueError:
                raise InputError(
                    f"edit {text!r}: {key}={value!r} cannot be read; an example is {key}={_EXAMPLES[key]}"
                ) from None
        return cls(kind, **values)

    def __str__(self) -> str:
        kind = KINDS[self.kind]
        defaults = {"nodes": kind.nodes, "to": kind.to}
        options = []
        for key, (name, _) in _READERS.items():
            value = getattr(self, name)
            default = next(f.default for f in fields(self) if f.name == name)
            if value is None or value == default or (key in defaults and str(value) == defaults[key]):
                continue
            options.append(f"{key}={_write(key, value)}")
        return f"{self.kind}:{','.join(options)}" if options else self.kind


Scene = tuple[EditSpec, ...]
"""Edits made together in one run."""


def parse_scene(text: str) -> Scene:
    """Edits joined by ``&``. Raises InputError as ``EditSpec.parse`` and ``check_scene`` do."""
    scene = tuple(EditSpec.parse(part) for part in text.split("&"))
    check_scene(scene)
    return scene


def scene_text(scene: Scene) -> str:
    return "&".join(str(spec) for spec in scene)


def check_scene(scene: Scene) -> None:
    """Raise InputError where the edits contradict each other."""
    if not scene:
        raise InputError("no edit given")
    for spec in scene:
        if len(scene) > 1 and spec.kind in ("truncate", "patch", "rewire"):
            raise InputError(f"edit {spec.kind!r} cannot be combined with others")
    if len({spec.control for spec in scene}) > 1:
        raise InputError("edits made together are one control or none")
    seen: dict[int, list[EditSpec]] = {}
    for spec in scene:
        for t in spec.thoughts:
            earlier = seen.setdefault(t, [])
            if KINDS[spec.kind].replaces and earlier:
                raise InputError(
                    f"contradicting edits of thought {t}: {spec.kind!r} throws away what {earlier[-1].kind!r} made; "
                    "an edit that replaces a thought comes first and alone"
                )
            put, taken = _signed_names(spec)
            for before in earlier:
                put_before, taken_before = _signed_names(before)
                both = sorted((put & taken_before) | (taken & put_before))
                if both:
                    raise InputError(f"contradicting edits of thought {t}: {', '.join(both)} is put in and taken out")
            earlier.append(spec)


def controls_of(spec: EditSpec) -> tuple[str, ...]:
    """The matched controls that exist for an edit, in the order of CONTROLS."""
    sets = (*(spec.nodes.sets if spec.nodes else ()), *(spec.to.sets if spec.to else ()))
    has = {"identity"}
    if spec.kind not in ("truncate", "identity"):
        has.add("random")
    if spec.nodes is not None and sets != ("nothing",):
        if "unreachable" not in sets:
            has.add("unreachable")
        if spec.kind != "keep" and not set(sets) & {"rest", "other-rest"}:
            has.add("neither")
    if len(spec.thoughts) == 1 and spec.kind not in ("truncate", "patch", "permute", "identity"):
        has.add("other-step")
    return tuple(name for name in CONTROLS if name in has)


def scene_controls(scene: Scene) -> dict[str, Scene]:
    """Every control that exists for all edits of a scene, by name."""
    shared = [name for name in CONTROLS if all(name in controls_of(spec) for spec in scene)]
    return {name: tuple(replace(spec, control=name) for spec in scene) for name in shared}


# --- what an edit means for one problem -----------------------------------------------------------------------------


def resolve(nodes: Nodes, problem: ProsQAProblem, t: int, *, rng: np.random.Generator) -> tuple[int, ...] | None:
    """The nodes meant, ascending; None where a set does not exist for the problem or is empty at thought t.

    Raises InputError for a name that is not in the graph.
    """
    found: set[int] = set()
    for part in nodes.parts:
        if not part.is_set:
            if part.name not in problem.idx_to_symbol:
                names = ", ".join(problem.idx_to_symbol[:12]) + (" ..." if problem.n_nodes > 12 else "")
                raise InputError(f"node {part.name!r} is not in the graph; its nodes are {names}")
            found.add(problem.idx_to_symbol.index(part.name))
            continue
        if part.name == "nothing":
            continue
        members = node_set(part.name, problem, t)
        if not members:
            return None
        if part.at_most is not None and len(members) > part.at_most:
            members = frozenset(rng.permutation(sorted(members))[: part.at_most].tolist())
        found |= members
    return tuple(sorted(found))


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


def warnings_for(scene: Scene, problem: ProsQAProblem) -> tuple[str, ...]:
    """What is unusual about the nodes named, and what it means; nothing here stops the edit."""
    found = []
    for spec in scene:
        for name in (*(spec.nodes.names if spec.nodes else ()), *(spec.to.names if spec.to else ())):
            if name not in problem.idx_to_symbol:
                continue
            distance = problem.distance[problem.idx_to_symbol.index(name)]
            for t in spec.thoughts:
                if distance == t:
                    continue
                where = "not reachable from the root" if math.isinf(distance) else f"at distance {distance:.0f}"
                found.append(
                    f"{name} is {where}, so the search itself would not hold it in thought {t}: "
                    "the edit writes or removes something the model has hardly met there"
                )
    return tuple(dict.fromkeys(found))


# --- from specs to an edit of one batch -----------------------------------------------------------------------------


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


def check_defined(scene: Scene, *, n_thoughts: int, n_layer: int, directions: Directions | None) -> None:
    """Raise InputError if an edit is not defined for this checkpoint and its directions."""
    for spec in scene:
        if spec.thoughts and max(spec.thoughts) > n_thoughts:
            raise InputError(
                f"edit {spec}: thought {max(spec.thoughts)} is out of range; "
                f"this checkpoint has thoughts 1 to {n_thoughts}"
            )
        if spec.k is not None and spec.k > n_thoughts:
            raise InputError(f"edit {spec}: k={spec.k} is out of range; this checkpoint has {n_thoughts} thoughts")
        if spec.layer is not None and spec.layer > n_layer:
            raise InputError(
                f"edit {spec}: layer {spec.layer} is out of range; this checkpoint has blocks 1 to {n_layer} "
                "(for the thought itself, use transplant)"
            )
        needs = KINDS[spec.kind].needs
        if directions is None and ("directions" in needs or "fitted" in needs):
            raise InputError(
                f"edit {spec} needs what `python -m probing directions` fits for this checkpoint; run it first"
            )
        if directions is not None and "directions" in needs:
            missing = [t for t in spec.thoughts if t not in directions.defined]
            if missing:
                raise InputError(
                    f"edit {spec}: write directions are not defined for thought {missing[0]} of this checkpoint (too "
                    "few problems had a node at that distance); "
                    f"they are for thoughts {_listing(directions.defined)}"
                )


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


# --- private --------------------------------------------------------------------------------------------------------


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
        minus, plus = _sets_for(spec, prompt.problem, t, number)
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


def _sets_for(
    spec: EditSpec, problem: ProsQAProblem, t: int, number: int
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    rng = np.random.default_rng([spec.seed, number, t, 4])
    assert spec.nodes is not None
    nodes = resolve(spec.nodes, problem, t, rng=rng)
    if nodes is None:
        return None, None
    minus: tuple[int, ...] | None
    plus: tuple[int, ...] | None
    if spec.kind in ("add", "write"):
        minus, plus = (), nodes
    elif spec.kind == "swap":
        assert spec.to is not None
        minus, plus = nodes, resolve(spec.to, problem, t, rng=rng)
    elif spec.kind == "keep":
        minus, plus = tuple(sorted(problem.frontier(t) - set(nodes))), ()
    else:
        minus, plus = nodes, ()
    if plus is None or not spec.control or spec.control not in ("unreachable", "neither"):
        return minus, plus
    if spec.control == "unreachable":
        pool = rng.permutation(sorted(node_set("unreachable", problem, t))).tolist()
        pools = (pool[: len(minus)], pool[len(minus) :][: len(plus)])
    else:
        own = rng.permutation(sorted(node_set("rest", problem, t))).tolist()
        of_put = sorted(node_set("other-rest", problem, t) if spec.kind == "swap" else node_set("rest", problem, t))
        others = [node for node in rng.permutation(of_put).tolist() if node not in own[: len(minus)]]
        pools = (own[: len(minus)], others[: len(plus)])
    if any(wanted and not got for wanted, got in zip((minus, plus), pools, strict=True)):
        return None, None
    return tuple(sorted(pools[0])), tuple(sorted(pools[1]))


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
            members[row, prompt.draw.slots[node]] = 1
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


def _signed_names(spec: EditSpec) -> tuple[set[str], set[str]]:
    """Nodes given by name that the edit puts in, and that it takes out."""
    nodes, to = (set(part.names) if part else set() for part in (spec.nodes, spec.to))
    if spec.kind in ("add", "write"):
        return nodes, set()
    return to, nodes if spec.kind in ("remove", "swap", "project") else set()


def _part_text(part: NodePart) -> str:
    if part.is_set:
        return part.name + (f"/{part.at_most}" if part.at_most else "")
    text = quote(part.name, safe="")
    return f"name:{text}" if text in NODE_SETS or text == "" else text


def _read_thoughts(text: str) -> tuple[int, ...]:
    """``1``, ``1-3``, ``1+4``."""
    found: list[int] = []
    for item in text.split("+"):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", item)
        if match is None:
            raise ValueError(text)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(text)
        found += range(first, last + 1)
    return tuple(found)


def _read_norm(text: str) -> bool:
    if text not in ("keep", "free"):
        raise ValueError(text)
    return text == "keep"


def _write(key: str, value: Any) -> str:
    if key == "t":
        return "+".join(map(str, value))
    if key == "norm":
        return "keep" if value else "free"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _listing(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "t": ("thoughts", _read_thoughts),
    "nodes": ("nodes", Nodes.parse),
    "to": ("to", Nodes.parse),
    "directions": ("directions", str),
    "strength": ("strength", float),
    "dose": ("dose", str),
    "norm": ("keep_norm", _read_norm),
    "layer": ("layer", int),
    "depth": ("depth", int),
    "k": ("k", int),
    "seed": ("seed", int),
    "control": ("control", str),
}
_EXAMPLES = {
    "t": "1-3",
    "nodes": "target-branch",
    "to": "other-branch",
    "directions": "ridge",
    "strength": "1.5",
    "dose": "held",
    "norm": "keep",
    "layer": "1",
    "depth": "2",
    "k": "3",
    "seed": "0",
    "control": "random",
}
