"""One ProsQA problem: a graph of "is a" facts, a question about it, and every exact fact about the search.

ProsQA (Hao et al. 2024, appendix A.2) asks "Is X an A or a B?" over a directed acyclic graph. Exactly one of the
two candidates can be reached from X. The facts here are exact graph facts; nothing in this module knows a model.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from model.errors import GraphError
from model.files import short_hash

MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class ProsQAProblem:
    """A validated problem, with the field names of the public data (github.com/facebookresearch/coconut, ``data/``).

    Frozen, hashable and compared by value. Raises GraphError on a cycle, an unknown node, a duplicate or self edge,
    a duplicate or empty name, or when not exactly one candidate can be reached from the root.
    """

    idx_to_symbol: tuple[str, ...]
    """Name of each node; nodes are numbered by position."""
    edges: tuple[tuple[int, int], ...]
    """(source, target) pairs: "every source is a target"."""
    root: int
    """The queried entity."""
    target: int
    """The candidate that the root is."""
    neg_target: int
    """The candidate that the root is not."""
    steps: tuple[str, ...] = ()
    """One shortest path in sentences; written from the graph when empty."""
    question: str = ""
    """All edges as sentences, then the question; written from the graph when empty, the candidates in node order."""
    answer: str = ""
    """"X is a T."; written from the graph when empty."""

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("idx_to_symbol", tuple(self.idx_to_symbol))
        put("edges", tuple((source, target) for source, target in self.edges))
        put("steps", tuple(self.steps))
        self._validate()
        if not self.steps:
            put("steps", self.path_sentences(self.shortest_path))
        if not self.question:
            # In the order of their numbers, so that the order says nothing about the answer.
            first, second = sorted((self.target, self.neg_target))
            put("question", self.question_text((first, second)))
        if not self.answer:
            put("answer", f"{self.idx_to_symbol[self.root]} is a {self.idx_to_symbol[self.target]}.")

    # --- construction -------------------------------------------------------------------------------------------

    @classmethod
    def from_names(
        cls, edges: Iterable[tuple[str, str]], *, root: str, candidates: tuple[str, str], nodes: Iterable[str] = ()
    ) -> ProsQAProblem:
        """A problem from named edges and a question; which candidate is the target is read off the graph.

        The question is written with the candidates in the order given. ``nodes`` lists names that must exist beyond
        those on edges, in the order they should be numbered.
        Raises GraphError as the class does, and when the root or a candidate is not in the graph.
        """
        edges = list(edges)
        names = list(dict.fromkeys([*nodes, *(name for edge in edges for name in edge)]))
        index = {name: node for node, name in enumerate(names)}
        for what, name in (("root", root), ("candidate", candidates[0]), ("candidate", candidates[1])):
            if name not in index:
                raise GraphError(f"{what} {name!r} is not in the graph; its nodes are {_listing(names)}")
        pairs = [(index[source], index[target]) for source, target in edges]
        return cls.asking(names, pairs, root=index[root], candidates=(index[candidates[0]], index[candidates[1]]))

    @classmethod
    def asking(
        cls, names: Sequence[str], edges: Sequence[tuple[int, int]], *, root: int, candidates: tuple[int, int]
    ) -> ProsQAProblem:
        """A problem from a numbered graph and a question; which candidate is the target is read off the graph.

        The question is written with the candidates in the order given. Raises GraphError as the class does.
        """
        check_graph(names, edges)
        target, other = candidates
        for node in (root, target, other):
            if not 0 <= node < len(names):
                raise GraphError(f"the question names node {node!s:.60}; {_numbering(len(names))}")
        distance = distances(adjacency(len(names), edges), root)
        if math.isfinite(distance[other]) and not math.isfinite(distance[target]):
            target, other = other, target
        problem = cls(tuple(names), tuple(edges), root, target, other)
        object.__setattr__(problem, "question", problem.question_text(candidates))
        return problem

    @classmethod
    def from_row(cls, row: Mapping[str, Any], *, where: str = "row") -> ProsQAProblem:
        """A problem from one row of ProsQA JSON. Raises GraphError naming ``where`` and the field."""
        if not isinstance(row, Mapping):
            raise GraphError(f"{where}: expected an object with the ProsQA fields, got {type(row).__name__}")
        missing = [key for key in ("idx_to_symbol", "edges", "root", "target", "neg_target") if key not in row]
        if missing:
            raise GraphError(
                f"{where}: missing field {', '.join(missing)}; "
                "a ProsQA row has idx_to_symbol, edges, root, target, neg_target"
            )
        names, edges = row["idx_to_symbol"], row["edges"]
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise GraphError(f"{where}: idx_to_symbol must be a list of names")
        if not isinstance(edges, list | tuple):
            raise GraphError(f"{where}: edges must be a list of [source, target] pairs")
        for i, edge in enumerate(edges):
            if not (isinstance(edge, list | tuple) and len(edge) == 2 and all(_is_index(node) for node in edge)):
                raise GraphError(f"{where}: edges[{i}] must be a pair of node numbers, got {edge!r:.60}")
        for key in ("root", "target", "neg_target"):
            if not _is_index(row[key]):
                raise GraphError(f"{where}: {key} must be a node number, got {row[key]!r:.60}")
        steps = row.get("steps") or ()
        if not isinstance(steps, list | tuple) or not all(isinstance(step, str) for step in steps):
            raise GraphError(f"{where}: steps must be a list of sentences")
        for key in ("question", "answer"):
            if not isinstance(row.get(key) or "", str):
                raise GraphError(f"{where}: {key} must be text")
        try:
            return cls(
                idx_to_symbol=tuple(names),
                edges=tuple((edge[0], edge[1]) for edge in edges),
                root=row["root"],
                target=row["target"],
                neg_target=row["neg_target"],
                steps=tuple(steps),
                question=row.get("question") or "",
                answer=row.get("answer") or "",
            )
        except GraphError as error:
            raise GraphError(f"{where}: {error}") from None

    def to_row(self) -> dict[str, Any]:
        """The problem as one row of ProsQA JSON; ``from_row`` gives it back unchanged."""
        return {
            "question": self.question,
            "answer": self.answer,
            "steps": list(self.steps),
            "idx_to_symbol": list(self.idx_to_symbol),
            "edges": [list(edge) for edge in self.edges],
            "root": self.root,
            "target": self.target,
            "neg_target": self.neg_target,
        }

    def asked_from(self, root: int, *, target: int, neg_target: int) -> ProsQAProblem:
        """The same graph with another question; English is written anew. Raises GraphError as the class does."""
        return ProsQAProblem(self.idx_to_symbol, self.edges, root, target, neg_target)

    def undirected(self, node: int) -> tuple[float, ...]:
        """Edges from a node to every node if edges had no direction; inf where there is no way."""
        both = adjacency(self.n_nodes, [*self.edges, *((b, a) for a, b in self.edges)])
        return tuple(distances(both, node))

    def with_edges_in(self, order: Sequence[int]) -> ProsQAProblem:
        """The same problem with its edges in another order; English is written anew."""
        return ProsQAProblem(
            self.idx_to_symbol, tuple(self.edges[i] for i in order), self.root, self.target, self.neg_target
        )

    def relabelled(self, rng: np.random.Generator) -> ProsQAProblem:
        """Another graph of the same shape with the same root and candidates: the other nodes that have parents are
        exchanged by a random cycle, and so are those that have none."""
        others = [v for v in range(self.n_nodes) if v not in (self.root, self.target, self.neg_target)]
        to = list(range(self.n_nodes))
        for parentless in (False, True):
            cycle = rng.permutation([v for v in others if (not self.parents[v]) == parentless]).tolist()
            for v, other in zip(cycle, cycle[1:] + cycle[:1], strict=True):
                to[v] = other
        edges = tuple((to[a], to[b]) for a, b in self.edges)
        return ProsQAProblem(self.idx_to_symbol, edges, self.root, self.target, self.neg_target)

    @cached_property
    def counterfactual(self) -> ProsQAProblem | None:
        """The same graph asked from another root, so that the other candidate is right; None if no node allows it.

        Of the parentless nodes that reach ``neg_target`` and not ``target``, the one whose search is as deep as
        this problem's, else the nearest in depth, else the lowest number.
        """
        options = []
        for node in range(self.n_nodes):
            if node in (self.root, self.neg_target) or self.parents[node]:
                continue
            distance = distances(self.children, node)
            if math.isfinite(distance[self.neg_target]) and not math.isfinite(distance[self.target]):
                options.append((abs(distance[self.neg_target] - self.n_hops), node))
        if not options:
            return None
        return self.asked_from(min(options)[1], target=self.neg_target, neg_target=self.target)

    # --- exact graph facts --------------------------------------------------------------------------------------

    @property
    def n_nodes(self) -> int:
        return len(self.idx_to_symbol)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Nodes one edge after each node, ascending."""
        return adjacency(self.n_nodes, self.edges)

    @cached_property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """Nodes one edge before each node, ascending."""
        return adjacency(self.n_nodes, [(target, source) for source, target in self.edges])

    @cached_property
    def distance(self) -> tuple[float, ...]:
        """Hops from the root to each node (breadth-first); ``math.inf`` where the root cannot reach."""
        return distances(self.children, self.root)

    @cached_property
    def n_hops(self) -> int:
        """Hops from the root to the target."""
        return int(self.distance[self.target])

    @cached_property
    def depth(self) -> int:
        """The largest finite distance from the root."""
        return int(max(d for d in self.distance if math.isfinite(d)))

    def frontier(self, hop: int) -> frozenset[int]:
        """Nodes at exactly ``hop`` hops from the root: the breadth-first layer, what thought ``hop`` should hold."""
        return frozenset(node for node, d in enumerate(self.distance) if d == hop)

    def reached(self, hop: int) -> frozenset[int]:
        """Nodes at most ``hop`` hops from the root, the root included."""
        return frozenset(node for node, d in enumerate(self.distance) if d <= hop)

    @cached_property
    def reachable(self) -> frozenset[int]:
        """Every node the root can reach, itself included."""
        return self.reached(self.n_nodes)

    def leads_to(self, node: int) -> frozenset[int]:
        """Every node from which ``node`` can be reached, itself included."""
        return frozenset(v for v, d in enumerate(distances(self.parents, node)) if math.isfinite(d))

    @cached_property
    def distance_to_target(self) -> tuple[float, ...]:
        """Hops from each node to the target; ``math.inf`` where the target cannot be reached."""
        return distances(self.parents, self.target)

    @cached_property
    def shortest_path_nodes(self) -> frozenset[int]:
        """Nodes on any shortest path from the root to the target, both ends included."""
        both = zip(self.distance, self.distance_to_target, strict=True)
        return frozenset(node for node, (before, after) in enumerate(both) if before + after == self.n_hops)

    def optimal(self, hop: int) -> frozenset[int]:
        """Frontier nodes at ``hop`` that lie on a shortest path to the target."""
        return self.frontier(hop) & self.shortest_path_nodes

    @cached_property
    def shortest_path(self) -> tuple[int, ...]:
        """The path the steps are written from: of all shortest paths, the one of lowest node numbers."""
        path = [self.root]
        while path[-1] != self.target:
            after = [
                v for v in self.children[path[-1]] if v in self.shortest_path_nodes and self.distance[v] == len(path)
            ]
            path.append(min(after))
        return tuple(path)

    def backward_depth(self, node: int) -> int:
        """The longest breadth-first distance from any ancestor down to ``node``: what a shortcut baseline compares."""
        return int(max(d for d in distances(self.parents, node) if math.isfinite(d)))

    @cached_property
    def height_longest(self) -> tuple[int, ...]:
        """Longest distance from each node down to a leaf (Hao et al., caption of the tree figure)."""
        return self._heights(max)

    @cached_property
    def height_shortest(self) -> tuple[int, ...]:
        """Shortest distance from each node down to a leaf (Hao et al., text of section 5)."""
        return self._heights(min)

    # --- English ------------------------------------------------------------------------------------------------

    def edge_sentence(self, edge: tuple[int, int]) -> str:
        """ "X is a Y." for a parentless source, else "Every X is a Y.", as the public data is written."""
        source, target = edge
        subject = self.idx_to_symbol[source]
        return f"{'Every ' if self.parents[source] else ''}{subject} is a {self.idx_to_symbol[target]}."

    def path_sentences(self, path: Sequence[int]) -> tuple[str, ...]:
        """The edges along a path of nodes, in sentences."""
        return tuple(self.edge_sentence(edge) for edge in pairwise(path))

    def question_sentence(self, candidates: tuple[int, int]) -> str:
        """ "Is X a A or B?" with the candidates in the order given."""
        first, second = (self.idx_to_symbol[node] for node in candidates)
        return f"Is {self.idx_to_symbol[self.root]} a {first} or {second}?"

    def question_text(self, candidates: tuple[int, int]) -> str:
        """All edges as sentences, in order, then the question."""
        facts = " ".join([self.edge_sentence(edge) for edge in self.edges])
        return f"{facts} {self.question_sentence(candidates)}".strip()

    # --- private ------------------------------------------------------------------------------------------------

    def _heights(self, pick: Any) -> tuple[int, ...]:
        import networkx as nx

        heights, graph = [0] * self.n_nodes, nx.DiGraph(dict(enumerate(self.children)))
        for node in reversed(list(nx.topological_sort(graph))):
            if self.children[node]:
                heights[node] = 1 + pick(heights[child] for child in self.children[node])
        return tuple(heights)

    def _validate(self) -> None:
        check_graph(self.idx_to_symbol, self.edges)
        names = self.idx_to_symbol
        for text in (self.question, self.answer, *self.steps):
            _check_unicode(text)
        for what in ("root", "target", "neg_target"):
            if not 0 <= getattr(self, what) < self.n_nodes:
                raise GraphError(f"{what} is node {getattr(self, what)!s:.60}; {_numbering(self.n_nodes)}")
        root, target, other = names[self.root], names[self.target], names[self.neg_target]
        if self.target == self.neg_target:
            raise GraphError(f"both candidates are {target!r}; two different nodes are needed")
        if self.root in (self.target, self.neg_target):
            raise GraphError(f"{root!r} is asked about and is a candidate too; the candidates must be other nodes")
        reaches = [math.isfinite(self.distance[node]) for node in (self.target, self.neg_target)]
        if all(reaches):
            raise GraphError(f"{root!r} is both a {target!r} and a {other!r}; exactly one candidate must be reachable")
        if not any(reaches):
            raise GraphError(
                f"{root!r} is neither a {target!r} nor a {other!r}; exactly one candidate must be reachable"
            )
        if reaches[1]:
            raise GraphError(f"{root!r} is a {other!r}, not a {target!r}: target and neg_target are exchanged")


def digest(problems: Iterable[ProsQAProblem]) -> str:
    """SHA-256 of the graphs and questions in order, names included, first 16 hex digits."""
    return short_hash(graph_json(problem).encode() for problem in problems)


def graph_json(problem: ProsQAProblem) -> str:
    """A problem as compact JSON without its English, which can be written again from it."""
    row = problem.to_row()
    return json.dumps(
        {key: row[key] for key in ("idx_to_symbol", "edges", "root", "target", "neg_target")},
        ensure_ascii=False,
        separators=(",", ":"),
    )


def check_graph(names: Sequence[str], edges: Sequence[tuple[int, int]]) -> None:
    """Raise GraphError unless names are usable and differ, and edges join known nodes, once each, without a cycle."""
    seen: set[str] = set()
    for node, name in enumerate(names):
        if not name or name.isspace():
            raise GraphError(f"node {node} has an empty name")
        if len(name) > MAX_NAME_LENGTH:
            raise GraphError(
                f"node {node} has a name of {len(name):,} characters; at most {MAX_NAME_LENGTH} are accepted"
            )
        _check_unicode(name)
        if name in seen:
            raise GraphError(f"two nodes are named {name!r}; names must differ")
        seen.add(name)
    known: set[tuple[int, int]] = set()
    for i, edge in enumerate(edges):
        source, target = edge
        for node in edge:
            if not 0 <= node < len(names):
                raise GraphError(f"edges[{i}] names node {node!s:.60}; {_numbering(len(names))}")
        if source == target:
            raise GraphError(f"{names[source]!r} has an edge to itself")
        if edge in known:
            raise GraphError(f"the edge {names[source]} -> {names[target]} is given twice")
        known.add(edge)
    cycle = find_cycle(adjacency(len(names), edges))
    if cycle is not None:
        shown = [names[node] for node in cycle]
        if len(shown) > 12:
            shown = [*shown[:6], f"... {len(shown) - 12} more ...", *shown[-6:]]
        raise GraphError(f"the graph has a cycle: {' -> '.join(shown)}; ProsQA graphs have none")


def distances(adjacency: Sequence[Sequence[int]], start: int) -> tuple[float, ...]:
    """Breadth-first hops from ``start`` to every node along ``adjacency``; ``math.inf`` where there is no path."""
    found: list[float] = [math.inf] * len(adjacency)
    found[start] = 0
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for after in adjacency[node]:
            if found[after] == math.inf:
                found[after] = found[node] + 1
                queue.append(after)
    return tuple(found)


def find_cycle(adjacency: Sequence[Sequence[int]]) -> list[int] | None:
    """Nodes of one cycle, the first repeated at the end, or None when there is none."""
    # Taking away what no edge leads to leaves nothing unless there is a cycle. networkx takes three times as long to
    # see that, and every problem that is made or read waits for it.
    before = [0] * len(adjacency)
    for targets in adjacency:
        for target in targets:
            before[target] += 1
    free = [node for node, n in enumerate(before) if n == 0]
    for node in free:
        for target in adjacency[node]:
            before[target] -= 1
            if before[target] == 0:
                free.append(target)
    if len(free) == len(adjacency):
        return None
    import networkx as nx  # not at the top: it takes .2 s, and processes that make problems need it never

    cycle = nx.find_cycle(nx.DiGraph(dict(enumerate(adjacency))))
    return [*(source for source, _ in cycle), cycle[0][0]]


def adjacency(n_nodes: int, edges: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The nodes one edge after each node, ascending."""
    lists: list[list[int]] = [[] for _ in range(n_nodes)]
    for source, target in edges:
        lists[source].append(target)
    return tuple([tuple(sorted(targets)) for targets in lists])


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_unicode(text: str) -> None:
    # JSON can spell half of a surrogate pair, which no file or page can hold.
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise GraphError(f"{text!r:.60} is not valid Unicode: it has half of a surrogate pair")


def _numbering(n_nodes: int) -> str:
    return f"nodes are 0 to {n_nodes - 1}" if n_nodes else "there are no nodes"


def _listing(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
