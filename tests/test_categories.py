"""The six categories: one hand-made graph for all, each by name; an oracle by enumeration; exactly one for anything."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.codec import NO_NODE, Written
from model.codec_slots import ANSWER, EDGE, EOS, SlotCodec
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.read.categories import (
    CATEGORIES,
    categorise,
    walk_end,
)

#  X -> a -> b -> T      the shortest path, 3 hops
#  X -> c -> d -> e -> T a longer one, 4 hops
#  X -> f -> g           a dead end
#  O -> h -> N           the other candidate
NAMES = ["X", "a", "b", "T", "c", "d", "e", "f", "g", "O", "h", "N"]
EDGES = ["Xa", "ab", "bT", "Xc", "cd", "de", "eT", "Xf", "fg", "Oh", "hN"]
PROBLEM = ProsQAProblem.from_names([tuple(edge) for edge in EDGES], root="X", candidates=("T", "N"), nodes=NAMES)


def written(path: str, answer: str = "T") -> Written:
    nodes = tuple(NO_NODE if name == "?" else NAMES.index(name) for name in path)
    return Written(nodes, NAMES.index(answer) if answer else NO_NODE)


@pytest.mark.parametrize(
    ("path", "answer", "k", "category"),
    [
        ("abT", "T", 0, "correct path"),
        ("bT", "T", 1, "correct path"),  # the hidden step can be X -> a
        ("T", "T", 2, "correct path"),
        ("abT", "N", 0, "correct path"),  # judged by the path, not by the answer
        ("cdeT", "T", 0, "longer path"),
        ("deT", "T", 1, "longer path"),
        ("T", "T", 3, "longer path"),  # 3 hidden edges and one more: only by c, d, e
        ("aT", "T", 0, "hallucination"),  # no such edge
        ("bT", "T", 0, "hallucination"),  # not joined to the root
        ("abT", "T", 1, "hallucination"),  # a is not two edges from X
        ("hN", "N", 0, "hallucination"),  # true edges, disconnected from X
        ("T", "T", 4, "hallucination"),  # no walk of 5 edges
        ("ab?", "T", 0, "hallucination"),
        ("fg", "T", 0, "wrong target"),
        ("g", "N", 1, "wrong target"),
        ("ab", "T", 0, "wrong target"),  # stops halfway
        ("", "T", 0, "correct label"),
        ("", "T", 6, "correct label"),
        ("", "N", 6, "incorrect label"),
        ("", "a", 2, "incorrect label"),
        ("", "", 2, "incorrect label"),
    ],
)
def test_each_category_by_hand(path: str, answer: str, k: int, category: str) -> None:
    assert categorise(PROBLEM, written(path, answer), k) == category


def test_parsing_stops_at_the_first_answer_marker() -> None:
    codec = SlotCodec()
    prompt = codec.encode(PROBLEM, codec.draw(PROBLEM, np.random.default_rng(0)))
    token = prompt.sample.tokens
    a, b, t, n = (token[NAMES.index(name)] for name in "abTN")
    assert codec.parse([a, b, t, ANSWER, t, EOS, a], prompt) == written("abT", "T")
    assert codec.parse([ANSWER, n, ANSWER, t], prompt) == written("", "N")
    assert codec.parse([a, EDGE, b, ANSWER, t], prompt) == written("a?b", "T")
    assert codec.parse([a, b], prompt) == written("ab", "")
    assert codec.parse([EOS, ANSWER, t], prompt) == written("", "")
    assert codec.parse([a, ANSWER], prompt) == written("a", "")
    free = next(i for i in codec.slot_tokens if i not in token)
    assert codec.parse([free, ANSWER, free], prompt) == written("?", "")


def test_a_walk_is_longer_than_a_shortest_path() -> None:
    assert walk_end(PROBLEM, 0) == {0}
    assert {NAMES[v] for v in walk_end(PROBLEM, 3)} == {"T", "e"}
    assert {NAMES[v] for v in walk_end(PROBLEM, 4)} == {"T"}
    assert walk_end(PROBLEM, 5) == frozenset()
    assert SlotCodec().longest_generation(PROBLEM) == 6


PROBLEMS = list(generate("public", 12, 5))


def by_enumeration(problem: ProsQAProblem, text: Written, k: int) -> set[str]:
    """Every category whose definition holds, from all walks from the root written out."""
    if not text.path:
        return {"correct label" if text.answer == problem.target else "incorrect label"}
    walks = [[problem.root]]
    for _ in range(k):
        walks = [[*walk, child] for walk in walks for child in problem.children[walk[-1]]]
    complete = [
        [*walk, *text.path]
        for walk in walks
        if all(edge in set(problem.edges) for edge in pairwise([walk[-1], *text.path]))
    ]
    if not complete:
        return {"hallucination"}
    if text.path[-1] != problem.target:
        return {"wrong target"}
    return {"correct path" if any(len(walk) - 1 == problem.n_hops for walk in complete) else "longer path"}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_output_falls_in_exactly_one_category(data: st.DataObject) -> None:
    problem = data.draw(st.sampled_from(PROBLEMS))
    k = data.draw(st.integers(0, 6))
    path: list[int] = []
    # Half of the time walk along real edges, or hardly any path would be one.
    for _ in range(data.draw(st.integers(0, 6))):
        here = [*problem.children[path[-1]]] if path else sorted(walk_end(problem, k + 1))
        nodes = st.integers(-1, problem.n_nodes - 1)
        path.append(data.draw(st.sampled_from(here) | nodes if here else nodes))
    text = Written(tuple(path), data.draw(st.sampled_from([problem.target, problem.neg_target, NO_NODE])))
    found = categorise(problem, text, k)
    assert found in CATEGORIES
    assert {found} == by_enumeration(problem, text, k)
