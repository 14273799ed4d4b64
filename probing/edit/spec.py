"""Edits of thoughts as values: ``EditSpec`` says what to do to which thoughts, ``EditPlan`` which edits go together.

Both have an exact text form, ``swap:t=1,strength=1.5`` or ``write:t=2,nodes=Tom+Bob``, for the command line, links and
files. Thought t is h_(t-1) and should hold the nodes at distance t (``model/__init__.py``). Sets of nodes are named by
what they are in the search (``NODE_SETS``) or node by node, so one edit serves a whole data set. The *counterfactual
question* about a graph is ``ProsQAProblem.counterfactual``: the same graph asked from another root, so that the other
candidate is right.

A matched control is the same spec with ``control=`` set (``CONTROLS``): it differs from the edit in exactly one
respect, and exists by construction for every edit it makes sense for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from itertools import combinations, pairwise
from typing import Any, Self
from urllib.parse import quote, unquote

import numpy as np

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.directions import ESTIMATORS, Directions
from probing.edit.kinds import CONTROLS, KINDS, NODE_SETS, Kind, Members, node_set

MAX_STRENGTH = 100.0

PRESETS = {
    "ablate the target's branch": "remove:t={t}",
    "keep only the target's branch": "keep:t={t}",
    "swap the branches": "swap:t={t},strength=1.5",
    "swap the branches, coefficients measured": "swap:t={t},dose=held",
    "interchange the thought with the counterfactual question's": "transplant:t={t}",
    "write one node of the counterfactual branch": "write:t={t},nodes=other-branch/1",
    "collapse the thought to its best node": "collapse:t={t},top=1",
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

    def __str__(self) -> str:
        if self.is_set:
            return self.name + (f"/{self.at_most}" if self.at_most else "")
        text = quote(self.name, safe="")
        return f"name:{text}" if text in NODE_SETS or text == "" else text

    def describe(self, show: Callable[[str], str] = str) -> str:
        """In words; ``show`` is how a node's name is written."""
        if not self.is_set:
            return show(self.name)
        words = NODE_SETS[self.name].phrase
        return words if self.at_most is None else f"{_count(self.at_most)} of {words}"


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
                    raise InputError(
                        f"nodes {item!r:.80}: after the slash comes how many nodes to draw, such as {name}/1"
                    )
                parts.append(NodePart(name, True, int(most) if slash else None))
            elif slash:
                raise InputError(
                    f"nodes {item!r:.80}: {name!r:.80} is not a set of nodes; sets are {', '.join(NODE_SETS)}"
                )
            else:
                parts.append(NodePart(unquote(name), False))
        return cls(tuple(parts))

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes given by name."""
        return tuple(part.name for part in self.parts if not part.is_set)

    @property
    def sets(self) -> tuple[str, ...]:
        """Sets given by name."""
        return tuple(part.name for part in self.parts if part.is_set)

    def members(self, problem: ProsQAProblem, t: int, *, rng: np.random.Generator) -> Members | None:
        """The nodes meant; None where a set does not exist for the problem or is empty at thought t.

        Raises InputError for a name that is not in the graph.
        """
        found: set[int] = set()
        for part in self.parts:
            if not part.is_set:
                if part.name not in problem.idx_to_symbol:
                    names = ", ".join(problem.idx_to_symbol[:12]) + (" ..." if problem.n_nodes > 12 else "")
                    raise InputError(f"node {part.name!r:.80} is not in the graph; its nodes are {names}")
                found.add(problem.idx_to_symbol.index(part.name))
            elif part.name != "nothing":
                members = node_set(part.name, problem, t)
                if not members:
                    return None
                if part.at_most is not None and len(members) > part.at_most:
                    members = frozenset(rng.permutation(sorted(members))[: part.at_most].tolist())
                found |= members
        return frozenset(found)


@dataclass(frozen=True)
class EditSpec:
    """One edit of one or several thoughts. Validated on construction (InputError); ``parse(str(spec)) == spec``."""

    kind: str
    thoughts: tuple[int, ...] = ()
    """Which thoughts, from 1 (``patch`` also takes 0, the root token). Empty for ``truncate``."""
    nodes: Nodes | None = None
    to: Nodes | None = None
    directions: str = "ridge"
    """Estimator of the node directions."""
    strength: float = 1.0
    """The steering coefficient: times the directions added, subtracted or written. Replacing kinds mix: thought +
    strength * (new - thought)."""
    measured: bool = False
    """Whether a node's coefficient is fixed (as fitted) or measured. Measured: nodes taken out are subtracted with the
    coefficient measured in this very thought (``Directions.coefficients``), and nodes put in get the mean of
    those of nodes taken out (``add``: of the frontier nodes). Both times the steering coefficient."""
    keep_norm: bool = False
    """Rescale the edited thought to the norm it had."""
    layer: int | None = None
    depth: int | None = None
    k: int | None = None
    top: int | None = None
    """How many nodes the thought itself chooses; 0 (written m): as many as are at distance t."""
    seed: int = 0
    """Of everything drawn at random: noise, the problem resampled from, sampled nodes, controls."""
    control: str = ""
    """Empty, or one of CONTROLS."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"edit {self.kind!r:.80} is unknown; known are {', '.join(KINDS)}")
        row = self.row
        for name in ("nodes", "to"):
            if getattr(row, name) and getattr(self, name) is None:
                object.__setattr__(self, name, Nodes.parse(getattr(row, name)))
        object.__setattr__(self, "thoughts", tuple(sorted(set(self.thoughts))))
        for name in ("nodes", "to", "layer", "depth", "k", "top", "t"):
            given, takes = getattr(self, OPTIONS[name].field) not in (None, ()), name in row.takes
            if given and not takes:
                raise InputError(f"edit {self.kind!r} takes no {name}")
            if takes and not given:
                raise InputError(f"edit {self.kind!r} needs {name}=, such as {name}={OPTIONS[name].example}")
        if any(t < row.first for t in self.thoughts):
            raise InputError(f"edit {self.kind!r}: thoughts count from {row.first}, got t={min(self.thoughts)}")
        if self.thoughts and len(self.thoughts) < row.least:
            raise InputError(f"edit {self.kind!r} needs at least two thoughts, such as t=1-6")
        if row.most is not None and len(self.thoughts) > row.most:
            raise InputError(f"edit {self.kind!r} takes one thought at a time")
        for option in OPTIONS.values():
            value = getattr(self, option.field)
            if option.lowest is not None and value is not None and value < option.lowest:
                raise InputError(f"edit {self.kind!r}: {option.field} must be {option.lowest} or more, got {value}")
        if not (math.isfinite(self.strength) and abs(self.strength) <= MAX_STRENGTH):
            raise InputError(
                f"edit {self.kind!r}: strength must be a number from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g} "
                f"(the steering coefficient), got {self.strength}"
            )
        if self.directions not in ESTIMATORS:
            raise InputError(f"directions {self.directions!r:.80} are unknown; known are {', '.join(ESTIMATORS)}")
        if self.measured and "coefficient" not in row.takes:
            doing = ", ".join(kind.name for kind in KINDS.values() if "coefficient" in kind.takes)
            raise InputError(f"edit {self.kind!r} takes no coefficient=measured; {doing} do")
        if self.nodes and self.to and (both := sorted(set(self.nodes.names) & set(self.to.names))):
            raise InputError(f"edit {self.kind!r} takes out and puts in the same node: {', '.join(both)}")
        if self.control and self.control not in (fit := replace(self, control="").controls):
            raise InputError(f"edit {self.kind!r} has no control {self.control!r:.80}; it has {', '.join(fit)}")

    @property
    def row(self) -> Kind:
        return KINDS[self.kind]

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes given by name."""
        return tuple(name for part in (self.nodes, self.to) if part for name in part.names)

    @property
    def set_names(self) -> tuple[str, ...]:
        """Sets of nodes given by name."""
        return tuple(name for part in (self.nodes, self.to) if part for name in part.sets)

    @property
    def controls(self) -> tuple[str, ...]:
        """The matched controls that exist for it, in the order of CONTROLS."""
        sets = None if self.nodes is None else frozenset(self.set_names)
        return tuple(row.name for row in CONTROLS.values() if row.exists(self.row, len(self.thoughts), sets))

    def members(
        self, problem: ProsQAProblem, t: int, rng: np.random.Generator | None = None
    ) -> tuple[Members | None, Members | None]:
        """The nodes of ``nodes`` and of ``to`` at thought t, sampled as for problem 0 of a run by default."""
        rng = rng or self._rng(0, t)
        nodes, to = (part.members(problem, t, rng=rng) if part else frozenset() for part in (self.nodes, self.to))
        return nodes, to

    def change(self, problem: ProsQAProblem, t: int, number: int = 0) -> tuple[Members, Members] | None:
        """What goes out of and into thought t of problem ``number`` of a run; None where the edit does not exist."""
        if self.nodes is None:
            return frozenset(), frozenset()
        rng = self._rng(number, t)
        nodes, to = self.members(problem, t, rng)
        if nodes is None or to is None:
            return None
        out, put = self.row.sets(nodes, to, problem.frontier(t))
        if not (out or put or self.row.empty):
            return None
        instead = CONTROLS[self.control].instead if self.control else None
        if instead is None:
            return out, put
        others = instead(problem, t, rng, len(out), len(put), self.to is not None)
        if [len(out), len(put)] != [*map(len, others)]:
            return None
        return frozenset(others[0]), frozenset(others[1])

    def _rng(self, number: int, t: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, t, 4])

    def describe(self, show: Callable[[str], str] = str) -> str:
        """What it does, in words that continue "After": "swapping the branches in thought 1"."""
        parts = [part for part in (self.nodes, self.to) if part]
        phrase = (self.row.phrases or {}).get(">".join(map(str, parts)), self.row.phrase)
        nodes, to, *_ = (*(" + ".join(part.describe(show) for part in each.parts) for each in parts), "", "")
        text = phrase.format(
            where=_where(self.thoughts), nodes=nodes, to=to, strength=f"{self.strength:g}", k=self.k, layer=self.layer,
            depth=self.depth, top="as many as are at its distance" if self.top == 0 else self.top,
        )  # fmt: skip
        return CONTROLS[self.control].phrase.format(edit=text) if self.control else text

    @classmethod
    def parse(cls, text: str) -> EditSpec:
        """A spec from its text form ``kind:key=value,...``. Raises InputError naming what is wrong."""
        kind, _, rest = text.strip().partition(":")
        values: dict[str, Any] = {}
        for item in filter(None, rest.split(",")):
            key, equals, value = item.partition("=")
            option = next((each for each in OPTIONS.values() if key in (each.name, each.also)), None)
            if option is None or not equals:
                raise InputError(f"edit {text!r:.200}: {item!r:.80} is not an option; options are {', '.join(OPTIONS)}")
            if option.field in values:
                raise InputError(f"edit {text!r:.200}: {key} is given twice")
            try:
                values[option.field] = option.read(value)
            except InputError:
                raise
            except (ValueError, KeyError):
                raise InputError(
                    f"edit {text!r:.200}: {key}={value!r:.80} cannot be read; an example is "
                    f"{option.name}={option.example}"
                ) from None
        return cls(next((row.name for row in KINDS.values() if kind in row.also), kind), **values)

    def __str__(self) -> str:
        usual = {each.name: each.default for each in fields(self)}
        options = []
        for option in OPTIONS.values():
            value = getattr(self, option.field)
            text = option.write(value) if value not in (None, usual[option.field]) else ""
            if text and text != getattr(self.row, option.field, None):  # the kind's own ``nodes`` and ``to``
                options.append(f"{option.also or option.name}={text}")
        return f"{self.kind}:{','.join(options)}" if options else self.kind


class EditPlan(tuple[EditSpec, ...]):
    """Edits made together in one run, in order. Raises InputError on construction where they contradict each other.

    Text form: those of the edits, joined by ``&``; ``parse(str(plan)) == plan``.
    """

    __slots__ = ()

    def __new__(cls, specs: Iterable[EditSpec]) -> Self:
        plan = super().__new__(cls, specs)
        if not plan:
            raise InputError("no edit given")
        for spec in plan:
            if len(plan) > 1 and spec.row.alone:
                raise InputError(f"edit {spec.kind!r} cannot be combined with others")
        if len({spec.control for spec in plan}) > 1:
            raise InputError("edits made together are one control or none")
        for before, spec in combinations(plan, 2):
            for t in sorted(set(before.thoughts) & set(spec.thoughts)):
                if spec.row.replaces:
                    raise InputError(
                        f"contradicting edits of thought {t}: {spec.kind!r} throws away what {before.kind!r} made; "
                        "an edit that replaces a thought comes first and alone"
                    )
                (out_before, put_before), (out, put) = _named(before), _named(spec)
                if both := sorted((put & out_before) | (out & put_before)):
                    raise InputError(f"contradicting edits of thought {t}: {', '.join(both)} is put in and taken out")
        return plan

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(map(EditSpec.parse, text.split("&")))

    def __str__(self) -> str:
        return "&".join(map(str, self))

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes given by name."""
        return tuple(name for spec in self for name in spec.names)

    @property
    def needs(self) -> frozenset[str]:
        """What must have been fitted: "directions" of the thoughts edited, "fitted" (any of the fitted values)."""
        return frozenset().union(*(spec.row.needs for spec in self))

    @property
    def source(self) -> str:
        """Where thoughts come from (``Kind.source``)."""
        return next((spec.row.source for spec in self if spec.row.source), "")

    def controls(self) -> dict[str, EditPlan]:
        """Every control that exists for all its edits, by name."""
        shared = [name for name in CONTROLS if all(name in spec.controls for spec in self)]
        return {name: EditPlan(replace(spec, control=name) for spec in self) for name in shared}

    @property
    def shared(self) -> bool:
        """Whether it is a control whose run is the same for all edits of the same thoughts (``Control.shared``)."""
        return all(spec.control and CONTROLS[spec.control].shared for spec in self)

    def describe(self, show: Callable[[str], str] = str) -> str:
        """What it does, in words that continue "After"; ``show`` is how a node's name is written."""
        return " and ".join(spec.describe(show) for spec in self)

    def check_fits(self, *, n_thoughts: int, n_layer: int, directions: Directions | None) -> None:
        """Raise InputError if an edit is not defined for this checkpoint and its directions."""
        for spec in self:
            last, layer = max(spec.thoughts, default=0), spec.layer or 0
            for found, most, what, has in (
                (last, n_thoughts, f"thought {last}", f"thoughts 1 to {n_thoughts}"),
                (spec.k or 0, n_thoughts, f"k={spec.k}", f"{n_thoughts} thoughts"),
                (layer, n_layer, f"layer {layer}", f"blocks 1 to {n_layer} (for the thought itself, use transplant)"),
            ):
                if found > most:
                    raise InputError(f"edit {spec}: {what} is out of range; this checkpoint has {has}")
            if directions is None and spec.row.needs:
                raise InputError(
                    f"edit {spec} needs what `python -m probing directions` fits for this checkpoint; run it first"
                )
            if directions is not None and "null-space" in spec.row.needs and directions.null_space is None:
                raise InputError(f"edit {spec} needs null spaces: python -m probing directions --null-space 8")
            if directions is not None and "directions" in spec.row.needs:
                missing = [t for t in spec.thoughts if t not in directions.defined]
                if missing:
                    raise InputError(
                        f"edit {spec}: node directions are not defined for thought {missing[0]} of this checkpoint "
                        "(too few problems had a node at that distance); they are for thoughts "
                        f"{', '.join(map(str, directions.defined)) or 'none'}"
                    )

    def warnings(self, problem: ProsQAProblem) -> tuple[str, ...]:
        """What is unusual about the nodes named, and what it means; nothing here stops the edit."""
        found = []
        for spec in self:
            for name in spec.names:
                if name not in problem.idx_to_symbol:
                    continue
                distance = problem.distance[problem.idx_to_symbol.index(name)]
                where = "not reachable from the root" if math.isinf(distance) else f"at distance {distance:.0f}"
                found += [
                    f"{name} is {where}, so the search itself would not hold it in thought {t}: "
                    "the edit writes or ablates something the model has hardly met there"
                    for t in spec.thoughts
                    if distance != t
                ]
        return tuple(dict.fromkeys(found))


# --- private --------------------------------------------------------------------------------------------------------


def _named(spec: EditSpec) -> tuple[frozenset[str], frozenset[str]]:
    """Nodes given by name that the edit takes out, and that it puts in."""
    if not spec.row.opposes:
        return frozenset(), frozenset()
    nodes, to = (frozenset(part.names if part else ()) for part in (spec.nodes, spec.to))
    return spec.row.sets(nodes, to, frozenset())


def _count(n: int) -> str:
    return "one node" if n == 1 else f"{n} nodes"


def _where(thoughts: tuple[int, ...]) -> str:
    """``thought 1``, ``thoughts 1, 2 and 4``, ``thoughts 1 to 3``, ``the root token``."""
    if len(thoughts) < 2:
        return ("the root token" if thoughts[0] == 0 else f"thought {thoughts[0]}") if thoughts else "no thought"
    if len(thoughts) > 2 and all(b == a + 1 for a, b in pairwise(thoughts)):
        return f"thoughts {thoughts[0]} to {thoughts[-1]}"
    return f"thoughts {', '.join(map(str, thoughts[:-1]))} and {thoughts[-1]}"


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


@dataclass(frozen=True)
class Option:
    """One option of the text form."""

    name: str
    field: str
    """Of EditSpec."""
    read: Callable[[str], Any]
    """Raises ValueError or KeyError for what cannot be read, and may raise InputError."""
    example: str
    write: Callable[[Any], str] = str
    lowest: int | None = None
    also: str = ""
    """Its older name, which is still the one written: links and saved runs hold it."""


# fmt: off
OPTIONS = {row.name: row for row in (
    Option("t", "thoughts", _read_thoughts, "1-3", lambda thoughts: "+".join(map(str, thoughts))),
    Option("nodes", "nodes", Nodes.parse, "target-branch"),
    Option("to", "to", Nodes.parse, "other-branch"),
    Option("directions", "directions", str, "ridge"),
    Option("strength", "strength", float, "1.5", lambda value: repr(float(value)).removesuffix(".0")),
    Option("coefficient", "measured", {"fixed": False, "measured": True, "fitted": False, "held": True}.__getitem__,
           "measured", lambda measured: "held" if measured else "fitted", also="dose"),
    Option("norm", "keep_norm", {"keep": True, "free": False}.__getitem__, "keep",
           lambda keep: "keep" if keep else "free"),
    Option("layer", "layer", int, "1", lowest=1),
    Option("depth", "depth", int, "2", lowest=1),
    Option("k", "k", int, "3", lowest=0),
    Option("top", "top", lambda text: 0 if text == "m" else int(text), "1", lambda top: str(top or "m"), lowest=0),
    Option("seed", "seed", int, "0", lowest=0),
    Option("control", "control", str, "random"),
)}
# fmt: on
