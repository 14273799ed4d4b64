"""ProntoQA (Saparov and He, 2023): is X floral, or not floral? A chain of "every X is a Y" ends in a property.

As a graph: the entity, the concepts, and the two literals of the property that is asked for ("floral", "not floral")
as candidates, so every rule and figure of ProsQA has its meaning here. Other properties are said in the text and are no
nodes.

``prontoqa``
    The public files' kind, 5 hops by default: of a chain of concepts all but the last have a second parent that leads
    nowhere, the concept before the last has the property, and one concept that nothing leads to has its opposite. So
    the concept that is somebody's parent is always right, and the question need not be read.
``prontoqa-balanced``
    Two chains of the same shape, one for each of two entities, with opposite signs of the property at the same depth;
    dead ends continue as deep as the chain. A fair coin says which entity is asked about, so that a rule which does not
    look at it names the same literal for both and is right half of the time. That the two share no concept is left:
    a rule that looks at the entity and ignores directions is right.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.errors import InputError, check_known
from model.problems.generate import CONCEPTS, check_run
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TRUE_OR_FALSE, TextProblem

KINDS = ("prontoqa", "prontoqa-balanced")
PEOPLE = ("Fae", "Rex", "Sally", "Max", "Alex", "Sam", "Polly", "Stella", "Wren")
PUBLIC_CONCEPTS = (  # noqa: SIM905
    "wumpus yumpus zumpus dumpus rompus numpus tumpus vumpus impus jompus gorpus shumpus lempus sterpus grimpus lorpus "
    "brimpus"
).split()
PROPERTIES = (  # noqa: SIM905
    "blue red brown orange small large metallic wooden luminous liquid transparent opaque nervous happy feisty shy "
    "bright dull sweet sour spicy bitter floral fruity earthy hot cold temperate kind mean angry amenable aggressive "
    "melodic muffled discordant loud slow moderate fast windy sunny overcast rainy snowy"
).split()
NEGATED = 0.326
"""Share of property facts with "not" in the public files (1,000 problems)."""
MOST_HOPS = 6
BRANCHES = 3
"""Concepts of each chain that have a second parent in ``prontoqa-balanced``: the first ones."""

_SINGULAR = re.compile(r"(?:(?P<all>Every|Each) )?(?P<subject>[\w'-]+) is (?P<what>.+)")
_PLURAL = re.compile(r"(?P<subject>[\w'-]+)es are (?P<what>.+)")
_KIND_OF = re.compile(r"an? ([\w'-]+)|([\w'-]+pus)es")
_QUERY = re.compile(r"True or false: (?P<subject>[\w'-]+) is (?P<what>.+)")


def generate(kind: str, n: int, seed: int = 0, *, hops: int = 5) -> Iterator[ProsQAProblem]:
    """``n`` problems; a longer run begins with those of a shorter one. ``hops``: rules that are applied after the fact
    about the entity, so the property is ``hops`` + 1 edges from it.

    Raises InputError at once as ``check_run`` does, for a kind that is unknown, and for hops that need more names than
    there are.
    """
    check_known("kind", kind, KINDS)
    check_run(n, seed)
    if not 2 <= hops <= MOST_HOPS:
        raise InputError(f"hops {hops}: ProntoQA has 2 to {MOST_HOPS}, or names run out")
    make = _public if kind == "prontoqa" else _balanced
    return (_written(make(hops), np.random.default_rng([seed, i])) for i in range(n))


def problem_of(text: TextProblem, *, where: str = "problem") -> ProsQAProblem:
    """The graph of a ProntoQA text. Raises InputError naming the sentence that is none of ProntoQA's."""
    *facts, query = (sentence.strip(" .") for sentence in re.split(r"(?<=[.?])\s+", text.question.strip()))
    asked = _QUERY.fullmatch(query)
    if asked is None or text.answer not in TRUE_OR_FALSE:
        raise InputError(
            f"{where}: no graph, and not a ProntoQA question: {query!r:.80}, answered {text.answer!r:.20}; questions "
            "without a graph can be learned and evaluated (python -m model train, evaluate), and their thoughts "
            "read (python -m probing texts)"
        )
    literal = asked["what"].removeprefix("not ")
    candidates = (literal, f"not {literal}")
    edges = []
    for sentence in facts:
        found = _SINGULAR.fullmatch(sentence) or _PLURAL.fullmatch(sentence)
        if found is None:
            raise InputError(f"{where}: not a fact of ProntoQA: {sentence!r:.80}")
        person = "all" in found.groupdict() and not found["all"]
        subject = found["subject"] if person else found["subject"].lower()
        kind = _KIND_OF.fullmatch(found["what"])
        if kind or found["what"] in candidates:
            edges.append((subject, (kind[1] or kind[2]).lower() if kind else found["what"]))
    said = found_answer(asked["what"], text.answer == "True")
    made = ProsQAProblem.from_names(edges, root=asked["subject"], candidates=candidates, nodes=[])
    if made.idx_to_symbol[made.target] != said:
        raise InputError(f"{where}: the facts do not lead to {said!r}, which its answer says")
    return ProsQAProblem(
        made.idx_to_symbol, made.edges, made.root, made.target, made.neg_target, text.steps, text.question, text.answer
    )


def found_answer(literal: str, true: bool) -> str:
    """The literal that holds where a statement of one is true, or is not."""
    if true:
        return literal
    return literal.removeprefix("not ") if literal.startswith("not ") else f"not {literal}"


# --- private ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """A problem before it has words. Nodes: people, then concepts."""

    n_people: int
    n_concepts: int
    edges: tuple[tuple[int, int], ...]
    chains: tuple[tuple[int, ...], ...]
    """Of each person, the nodes to the concept that has the property, the person included."""
    opposite: int | None
    """The concept that has the opposite property; None where the second chain's last has."""
    n_properties: int
    """Property facts in all."""
    concepts: tuple[str, ...]


def _public(hops: int) -> _Shape:
    """Chain c0..c_hops with dead ends, an aside for the entity, and a pair whose first has the opposite property."""
    chain = list(range(1, hops + 2))
    dead = [hops + 2 + i for i in range(hops)]
    aside, opposite, beyond = (2 * hops + 2 + i for i in range(3))
    edges = [(0, chain[0]), (0, aside), *itertools.pairwise(chain), *zip(chain, dead, strict=False)]
    edges.append((opposite, beyond))
    n = 2 * hops + 4
    return _Shape(1, n, tuple(edges), ((0, *chain[:hops]),), opposite, n - 2, tuple(PUBLIC_CONCEPTS))


def _balanced(hops: int) -> _Shape:
    edges: list[tuple[int, int]] = []
    chains = []
    free = 2
    for person in (0, 1):
        chain = [person, *range(free, free + hops)]
        free += hops
        edges += itertools.pairwise(chain)
        for depth in range(1, min(BRANCHES, hops - 1) + 1):  # as deep as the chain, from its first concepts
            branch = [chain[depth], *range(free, free + hops - depth)]
            free += hops - depth
            edges += itertools.pairwise(branch)
        chains.append(tuple(chain))
    return _Shape(2, free - 2, tuple(edges), tuple(chains), None, free - 2, tuple(CONCEPTS))


def _written(shape: _Shape, rng: np.random.Generator) -> ProsQAProblem:
    people = rng.permutation(PEOPLE)[: shape.n_people].tolist()
    concepts = rng.permutation(shape.concepts)[: shape.n_concepts].tolist()
    names = [*people, *concepts]
    asked, *properties = rng.permutation(PROPERTIES).tolist()
    holders = list(range(shape.n_people, len(names)))
    opposite = shape.opposite if shape.opposite is not None else shape.chains[1][-1]
    right = shape.chains[0][-1]
    others = [node for node in holders if node not in (right, opposite)]
    positive = bool(rng.random() < 0.5)
    literal = {right: asked if positive else f"not {asked}", opposite: f"not {asked}" if positive else asked}
    has = dict(literal)
    for node in rng.permutation(others)[: shape.n_properties - 2].tolist():
        word = properties.pop()
        has[node] = f"not {word}" if rng.random() < NEGATED else word
    facts = [(names[source], source, f"a {names[target]}", target) for source, target in shape.edges]
    facts += [(names[node], node, word, -1) for node, word in has.items()]
    sentences = []
    for name, node, what, target in facts:
        if node < shape.n_people:
            sentences.append(f"{name} is {what}.")
        elif rng.random() < 0.5:
            plural = f"{names[target]}es" if target >= 0 else what
            sentences.append(f"{name.capitalize()}es are {plural}.")
        else:
            sentences.append(f"{'Every' if rng.random() < 0.5 else 'Each'} {name} is {what}.")
    sentences = [re.sub(r" a (?=[aeiou])", " an ", sentence) for sentence in sentences]
    says = {
        (node, target if target >= 0 else what): sentence
        for sentence, (_, node, what, target) in zip(sentences, facts, strict=True)
    }
    # A fair coin: whom the question is about. Alone, there is nobody else.
    which = int(rng.integers(len(shape.chains)))
    chain = shape.chains[which]
    true = has[chain[-1]]
    person = names[chain[0]]
    statement, answer = (true, "True") if rng.random() < 0.5 else (found_answer(true, False), "False")
    written = [says[chain[0], chain[1]]]
    for node, after in zip(chain[1:], (*chain[2:], None), strict=True):
        written.append(says[node, true if after is None else after])
        what = true if after is None else f"a {names[after]}"
        written.append(re.sub(r" a (?=[aeiou])", " an ", f"{person} is {what}."))
    order = rng.permutation(len(sentences))
    text = TextProblem(
        " ".join([*(sentences[i] for i in order), f"True or false: {person} is {statement}."]),
        tuple(" ".join(written[i : i + 2]) for i in range(0, len(written), 2)),
        answer,
    )
    made = problem_of(text)
    # Numbered at random, so that numbers say nothing about the order of facts.
    to = rng.permutation(made.n_nodes).tolist()
    names_of = [""] * made.n_nodes
    for node, name in enumerate(made.idx_to_symbol):
        names_of[to[node]] = name
    edges = tuple((to[a], to[b]) for a, b in made.edges)
    return ProsQAProblem(
        tuple(names_of), edges, to[made.root], to[made.target], to[made.neg_target], text.steps, text.question, answer
    )
