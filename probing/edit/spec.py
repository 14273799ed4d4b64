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

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.directions import ESTIMATORS, Directions
from probing.edit.kinds import CONTROLS, KINDS, NODE_SETS, node_set

MAX_STRENGTH = 100.0


DOSES = ("fitted", "held")


HELD_KINDS = ("remove", "add", "swap", "scale", "keep")
"""Kinds that can take nodes out with the weight they are held with."""


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


def sets_for(
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
