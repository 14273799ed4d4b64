"""Seeded random ProsQA problems: the public file's kind, and a kind without its shortcut.

Graphs grow as in Hao et al. 2024, appendix A.2, algorithm 1. Nodes 0 and 1 are parentless. A node's **label** is which
of the two it descends from (bit 1: node 0, bit 2: node 1). For each further node draw u uniformly: with u <= .35 its
parents may have label 0 or 1 only, with .35 < u <= .7 label 0 or 2 only, else any. Its in-degree is 0 with probability
.028, else Poisson(1.5) drawn again until it is not 0, and at most the number of nodes allowed. Parents are drawn one
after another without replacement, with weight 1.5 * depth + 1.

``public``
    The target is the leaf farthest from its root among the leaves of label 1 or 2 (ties: at random), and that root is
    asked about; the other candidate is any leaf of the other label. This is not stated in the paper; it holds for every
    problem of the public validation file, and is why a rule that never looks at the root is right nine times in ten.
``balanced``
    A leaf of label 1 and a leaf of label 2 whose distances from their roots differ by a number within ``depth_gap``
    (none by default); a fair coin says which root is asked about. Any rule that looks only at the graph and the two
    candidates is then right exactly half of the time, whatever the gap: it names the same candidate for both roots.
    With probability ``deep_share`` a graph is kept only for a pair that is not at the fewest hops on both sides.
``hard``
    Rules that follow no directed path are at chance even if they look at the root. From either root a way of h >= 5
    edges leads to either candidate, with the first and the last edge shared; on the way to the wrong one, one edge
    between the two is turned round. So both candidates are as far from the root if edges had no direction. The nodes at
    the ends of that edge, and of the same edge on the right way, get another parent or child until their in- and
    out-degrees are the same. Exchanging roots and candidates leaves the graph as it is; further nodes hang on at
    random. A fair coin says which root is asked about.

Construction order does not leave this module: nodes are numbered at random and edges are listed in random order, in
both kinds. (In the public file every edge goes from a lower to a higher number and the root is node 0 or 1.)
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence, Sized
from concurrent.futures import Future
from dataclasses import dataclass, fields
from itertools import count, islice, pairwise
from typing import Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError, check_known
from model.problems.prosqa import ProsQAProblem
from model.processes import check_number, pool

Kind = Literal["balanced", "public", "hard"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FEWEST_HARD_HOPS = 5
MAX_NODES = 100
MAX_PROBLEMS = 10_000_000
GRAPHS_PER_BLOCK = 512
MAX_BARREN_GRAPHS = 200_000
"""Graphs tried without finding one more problem before the request is given up."""

PEOPLE = (  # noqa: SIM905
    "Alex Bob Carol Davis Eva Fae Gabriel Jack Max Oliver Polly Rex Sally Sam Stella Tom Wren "
    "Anna Ben Clara Dan Ella Finn Grace Hugo Iris Jonas Kira Leo Mia Noah Olga Paul Rosa Sven Tara Udo Vera Will Yara"
).split()
"""Names for parentless nodes. Those after the public file's 17 are used only in graphs that need more."""
N_PUBLIC_PEOPLE = 17
CONCEPTS = (  # noqa: SIM905
    "bompus boompus brimpus chorpus dumpus felpus fompus gerpus gorpus grimpus gwompus hilpus impus jelpus jompus "
    "kerpus lempus lorpus numpus quimpus rempus rompus rorpus scrompus shumpus sterpus storpus terpus timpus tumpus "
    "vumpus worpus wumpus yerpus yimpus yumpus zhorpus zumpus"
).split()
"""The public file's 38 names for all other nodes; ``concept_names`` makes more for graphs that need them."""

IntArray = NDArray[np.int16]
UNREACHABLE = -1
A = TypeVar("A", bound=Sized)


@dataclass(frozen=True)
class Recipe:
    """What to generate; validated, hashable.

    Raises InputError for ranges that are empty or too large, and for hops that do not fit into the nodes.
    """

    kind: Kind = "balanced"
    hops: tuple[int, int] = (3, 6)
    """Fewest and most hops from the root to the target. In ``balanced`` both candidates are so far from their roots."""
    nodes: tuple[int, int] = (14, 28)
    """Fewest and most nodes. Sizes are normal, clipped: mean and deviation at .629 and .129 of the range, which for
    14..28 is the public file's 22.8 +- 1.8."""
    in_degree: float = 1.5
    """Mean of the Poisson that in-degrees are drawn from: the graph's density."""
    deep_share: float = 0.75
    """``balanced`` only: the probability that a graph must offer more than the fewest hops, if the range allows it."""
    depth_gap: tuple[int, int] = (0, 0)
    """``balanced`` only: least and most difference between the two candidates' distances from their roots."""

    def __post_init__(self) -> None:
        check_known("kind", self.kind, KINDS)
        (few, most), (small, large) = self.hops, self.nodes
        if not 1 <= few <= most:
            raise InputError(f"hops {few}-{most}: the fewest must be at least 1 and at most the most")
        if not 4 <= small <= large <= MAX_NODES:
            raise InputError(f"nodes {small}-{large}: expected a range within 4-{MAX_NODES}")
        if self.kind == "hard" and most < FEWEST_HARD_HOPS:
            raise InputError(f"hops {few}-{most}: hard problems need at least {FEWEST_HARD_HOPS}")
        needed = self.fewest_nodes(few)
        if large < needed:
            raise InputError(
                f"{few} hops need at least {needed} nodes in a {self.kind} problem, but at most {large} are allowed"
            )
        if not 0.1 <= self.in_degree <= 10:
            raise InputError(f"in_degree {self.in_degree}: expected 0.1 to 10")
        if not 0 <= self.deep_share <= 1:
            raise InputError(f"deep_share {self.deep_share}: expected a probability, 0 to 1")
        least, widest = self.depth_gap
        if not 0 <= least <= widest:
            raise InputError(f"depth_gap {least}-{widest}: the least must be at least 0 and at most the most")
        if self.kind != "balanced" and self.depth_gap != (0, 0):
            raise InputError(f"depth_gap is for balanced problems, not {self.kind}")
        if least > most - few:
            raise InputError(f"depth_gap {least}-{widest}: {few}-{most} hops allow a gap of at most {most - few}")

    def fewest_nodes(self, hops: int) -> int:
        """Nodes that a problem of this kind and so many hops cannot do without: two chains, or one and a short one, or
        four ways and eight nodes that even out degrees."""
        if self.kind == "hard":
            return 4 * max(hops, FEWEST_HARD_HOPS) + 4
        return 2 * (hops + 1) + self.depth_gap[0] if self.kind == "balanced" else hops + 3

    @property
    def sharpness(self) -> float:
        """Exponent on the parents' weights: 1 as in the paper, more where at least 5 hops are asked for.

        With 1, balanced problems of 10 hops are never found. Deeper ones have narrower frontiers for it.
        """
        return min(15.0, 1.0 + 2.0 * max(0, self.hops[0] - 4))  # 15: the weights of 100 nodes still fit a float32


@dataclass(frozen=True)
class PaddedProblems(Generic[A]):
    """Many problems; row i of every array is problem i. Padding is -1."""

    n_nodes: A
    """``problem``"""
    n_edges: A
    """``problem``"""
    edges: A
    """``problem edge 2``: source and target node."""
    root: A
    """``problem``"""
    target: A
    """``problem``"""
    neg_target: A
    """``problem``"""
    n_hops: A
    """``problem``: hops from the root to the target."""
    distance: A
    """``problem node``: hops from the root; -1 where it cannot reach, and on padding."""
    to_target: A
    """``problem node``: hops to the target; -1 where it cannot be reached from, and on padding.
    A node is on a shortest path where both are known and ``distance + to_target == n_hops``."""
    path: A
    """``problem hop``: the shortest path of lowest node numbers, root and target included."""

    def __len__(self) -> int:
        return len(self.root)


@dataclass(frozen=True)
class ProblemArrays(PaddedProblems[IntArray]):
    """Problems as int16 arrays.

    Nodes are numbered and edges ordered as in the ``ProsQAProblem`` that ``generate`` makes of the row.
    """

    def __getitem__(self, rows: slice | NDArray) -> ProblemArrays:
        """The problems of these rows, in this order."""
        return ProblemArrays(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def n_parentless(self) -> IntArray:
        """``N``: nodes without parents."""
        n, most = len(self.n_nodes), int(self.n_nodes.max(initial=0)) + 1
        has_parents = np.zeros((n, most), dtype=bool)
        has_parents[np.arange(n)[:, None], self.edges[:, :, 1]] = True  # padding marks the last place, which is no node
        return (self.n_nodes - has_parents[:, :-1].sum(axis=1)).astype(np.int16)

    @classmethod
    def concatenate(cls, parts: Sequence[ProblemArrays]) -> ProblemArrays:
        """One after another; shorter paddings are extended."""

        def join(name: str) -> IntArray:
            arrays = [getattr(part, name) for part in parts]
            size = tuple(max(array.shape[axis] for array in arrays) for axis in range(1, arrays[0].ndim))
            joined = np.full((sum(map(len, arrays)), *size), -1, dtype=np.int16)
            start = 0
            for array in arrays:
                joined[(slice(start, start + len(array)), *map(slice, array.shape[1:]))] = array
                start += len(array)
            return joined

        return cls(**{field.name: join(field.name) for field in fields(cls)})

    @classmethod
    def from_problems(cls, problems: Sequence[ProsQAProblem]) -> ProblemArrays:
        """The arrays of any problems, as of a file that was read."""

        def one(problem: ProsQAProblem) -> ProblemArrays:
            from_root, to_target = (
                [int(d) if d != np.inf else UNREACHABLE for d in distance]
                for distance in (problem.distance, problem.distance_to_target)
            )
            values = (
                problem.n_nodes, len(problem.edges), problem.edges, problem.root, problem.target, problem.neg_target,
                problem.n_hops, from_root, to_target, problem.shortest_path,
            )  # fmt: skip
            return cls(*(np.asarray([value], dtype=np.int16) for value in values))

        return cls.concatenate([one(problem) for problem in problems])


def generate(
    kind: Kind = "balanced",
    n: int = 1,
    seed: int = 0,
    *,
    hops: tuple[int, int] = (3, 6),
    nodes: tuple[int, int] = (14, 28),
    in_degree: float = 1.5,
    deep_share: float = 0.75,
    depth_gap: tuple[int, int] = (0, 0),
    processes: int = 1,
) -> Iterator[ProsQAProblem]:
    """``n`` problems of a kind, one after another; the arguments are ``Recipe``'s.

    The same arguments give the same problems whatever ``processes`` is, and a longer run begins with the problems of a
    shorter one. Parentless nodes get names of people, the others made-up concepts, both in random order.
    Raises InputError at once for what cannot be, and where the search for one more problem is given up.
    """
    recipe = Recipe(kind, hops, nodes, in_degree, deep_share, depth_gap)
    check_run(n, seed, processes)
    return _named(recipe, n, seed, processes)


def generate_arrays(recipe: Recipe, n: int, seed: int, *, processes: int = 1) -> ProblemArrays:
    """The problems ``generate`` makes, as arrays and without names; what training at speed reads. Raises as it does."""
    check_run(n, seed, processes)
    return ProblemArrays.concatenate(list(generate_blocks(recipe, n, seed, processes=processes)))


def concept_names(n: int) -> list[str]:
    """At least ``n`` different made-up concepts, always in the same order."""
    made = (f"{onset}{vowel}{end}pus" for end in "mlr" for vowel in "aeiou" for onset in "bdfghjklmnprstvwz")
    names = dict.fromkeys(CONCEPTS)
    for name in made:
        if len(names) >= n:
            break
        names[name] = None
    assert len(names) >= n
    return list(names)


# --- from arrays to problems ------------------------------------------------------------------------------------------


def _named(recipe: Recipe, n: int, seed: int, processes: int) -> Iterator[ProsQAProblem]:
    for i_block, block in enumerate(generate_blocks(recipe, n, seed, processes=processes)):
        rng = np.random.default_rng([seed, KINDS.index(recipe.kind), i_block, 1])
        for row in range(len(block)):
            yield _problem(block, row, rng)


def _problem(block: ProblemArrays, row: int, rng: np.random.Generator) -> ProsQAProblem:
    edges = block.edges[row, : block.n_edges[row]].tolist()
    n_nodes = int(block.n_nodes[row])
    described = {target for _, target in edges}
    n_people = n_nodes - len(described)
    people = _shuffled(_people(n_people), rng)
    concepts = _shuffled(concept_names(len(described)), rng)
    names = [concepts.pop() if node in described else people.pop() for node in range(n_nodes)]
    root, target, neg_target = int(block.root[row]), int(block.target[row]), int(block.neg_target[row])
    return ProsQAProblem(tuple(names), tuple((s, t) for s, t in edges), root, target, neg_target)


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [names[i] for i in rng.permutation(len(names)).tolist()]


def _people(n: int) -> list[str]:
    more = (f"{name}{i}" for i in count(2) for name in PEOPLE)
    return [*PEOPLE, *islice(more, max(0, n - len(PEOPLE)))][: max(n, N_PUBLIC_PEOPLE)]


# --- blocks of graphs -------------------------------------------------------------------------------------------------


def generate_blocks(recipe: Recipe, n: int, seed: int, *, processes: int = 1) -> Iterator[ProblemArrays]:
    """As ``generate_arrays``, some hundred problems at a time (a block may be empty): for progress and streaming."""
    check_run(n, seed, processes)
    found = barren = 0
    for i, block in enumerate(_made(recipe, seed, processes)):
        yield block[: n - found]
        found += len(block)
        if found >= n:
            return
        barren = 0 if len(block) else barren + GRAPHS_PER_BLOCK
        if barren >= MAX_BARREN_GRAPHS:
            raise InputError(
                f"{found} of {n} problems found in {(i + 1) * GRAPHS_PER_BLOCK:,} graphs, none in the last {barren:,}: "
                f"{recipe.hops[0]}-{recipe.hops[1]} hops with {recipe.nodes[0]}-{recipe.nodes[1]} nodes are too rare; "
                "allow fewer hops or more nodes"
            )


def _made(recipe: Recipe, seed: int, processes: int) -> Iterator[ProblemArrays]:
    """Blocks without end. Block i depends on (recipe, seed, i) alone, so it does not matter which process makes it."""
    if processes == 1:
        for i in count():
            yield _block(recipe, seed, i)
    with pool(processes) as workers:
        waiting: deque[Future[ProblemArrays]] = deque()
        for i in count():
            waiting.append(workers.submit(_block, recipe, seed, i))
            if len(waiting) > 3 * processes:
                yield waiting.popleft().result()


def _block(recipe: Recipe, seed: int, i: int) -> ProblemArrays:
    """The problems found in one block of ``GRAPHS_PER_BLOCK`` graphs."""
    rng = np.random.default_rng([seed, KINDS.index(recipe.kind), i, 0])
    if recipe.kind == "hard":
        return _written(*_hard(recipe, rng), rng)
    graphs = _grow(recipe, rng)
    asked = _ask_balanced(graphs, recipe, rng) if recipe.kind == "balanced" else _ask_public(graphs, recipe, rng)
    return _written(graphs, asked, rng)


@dataclass(frozen=True)
class _Graphs:
    """Graphs in construction order: every edge goes to a higher number. Nodes past ``n_nodes`` do not exist."""

    n_nodes: NDArray[np.int64]
    """``graph``"""
    parent: NDArray[np.bool_]
    """``graph child parent``"""
    label: NDArray[np.uint8]
    """``graph node``: 1 below node 0, 2 below node 1, 3 both, 0 neither."""
    depth: NDArray[np.float32]
    """``graph node``: hops from the nearer of nodes 0 and 1; 0 for label 0."""

    @property
    def exists(self) -> NDArray[np.bool_]:
        """``graph node``"""
        return np.arange(self.label.shape[1]) < self.n_nodes[:, None]

    @property
    def leaf(self) -> NDArray[np.bool_]:
        """``graph node``"""
        return self.exists & ~self.parent.any(axis=1)


@dataclass(frozen=True)
class _Asked:
    """Questions in construction order, one entry per problem."""

    graph: NDArray[np.int64]
    """Which graph of the block."""
    root: NDArray[np.int64]
    target: NDArray[np.int64]
    neg_target: NDArray[np.int64]


def _grow(recipe: Recipe, rng: np.random.Generator) -> _Graphs:
    small, large = recipe.nodes
    n_graphs = GRAPHS_PER_BLOCK
    mean, deviation = small + 0.6286 * (large - small), 0.1286 * (large - small)
    n_nodes = np.clip(np.rint(rng.normal(mean, deviation, n_graphs)), small, large).astype(np.int64)
    in_degree = _in_degrees(recipe.in_degree, (n_graphs, large), rng)
    in_degree[np.arange(large) >= n_nodes[:, None]] = 0
    # Which labels a parent may have, as a bit for each of the labels 0..3: {0, 1}, {0, 2} or any.
    u = rng.random((n_graphs, large))
    allowed = np.where(u <= 0.35, 0b0011, np.where(u <= 0.7, 0b0101, 0b1111)).astype(np.uint8)

    parent = np.zeros((n_graphs, large, large), dtype=np.bool_)
    label = np.zeros((n_graphs, large), dtype=np.uint8)
    depth = np.zeros((n_graphs, large), dtype=np.float32)
    label[:, 0], label[:, 1] = 1, 2
    for node in range(2, large):
        # Weighted sampling without replacement: the k least of exponential variables whose rates are the weights
        # (Efraimidis & Spirakis 2006).
        weight = (1.5 * depth[:, :node] + 1) ** recipe.sharpness
        wait = rng.standard_exponential((n_graphs, node), dtype=np.float32) / weight
        wait[(allowed[:, node, None] >> label[:, :node]) & 1 == 0] = np.inf
        k = in_degree[:, node]
        last = np.take_along_axis(np.sort(wait, axis=1), np.clip(k - 1, 0, node - 1)[:, None], axis=1)
        chosen = (wait <= last) & (wait < np.inf) & (k > 0)[:, None]
        parent[:, node, :node] = chosen
        label[:, node] = np.bitwise_or.reduce(chosen * label[:, :node], axis=1)
        nearest = np.where(chosen & (label[:, :node] > 0), depth[:, :node], np.inf).min(axis=1)
        depth[:, node] = np.where(label[:, node] > 0, nearest + 1, 0)
    return _Graphs(n_nodes, parent, label, depth)


def _in_degrees(mean: float, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """0 with probability .028, else Poisson(mean) given that it is not 0, by inversion."""
    n = np.arange(1, shape[1] + 1)
    cumulative = np.cumsum(np.exp(n * np.log(mean) - mean - np.cumsum(np.log(n))))
    drawn = 1 + np.searchsorted(cumulative / cumulative[-1], rng.random(shape))
    return np.where(rng.random(shape) < 0.028, 0, drawn)


def _ask_balanced(graphs: _Graphs, recipe: Recipe, rng: np.random.Generator) -> _Asked:
    few, most = recipe.hops
    hops = np.arange(few, most + 1)
    leaf, key = graphs.leaf, rng.random(graphs.label.shape)
    # ``graph hop node``: the leaves of each label at each distance. ``graph hop hop``: the pairs of them.
    at = leaf[:, None, :] & (graphs.depth[:, None, :] == hops[:, None])
    below_0, below_1 = (at & (graphs.label == label)[:, None, :] for label in (1, 2))
    pairs = below_0.sum(axis=2)[:, :, None] * below_1.sum(axis=2)[:, None, :]
    gap = np.abs(hops[:, None] - hops)
    pairs *= (gap >= recipe.depth_gap[0]) & (gap <= recipe.depth_gap[1])
    if most > few:
        pairs[rng.random(len(pairs)) < recipe.deep_share, 0, 0] = 0
    u = rng.random(len(pairs))
    flat = pairs.reshape(len(pairs), -1)
    graph = np.flatnonzero(flat.sum(axis=1))
    # A pair at random: first its distances, by how many pairs have them, then one leaf of each side.
    below = np.cumsum(flat[graph], axis=1)
    hop_0, hop_1 = np.divmod((u[graph, None] * below[:, -1:] >= below).sum(axis=1), len(hops))
    leaf_0, leaf_1 = (
        np.argmax(side[graph, hop] * key[graph], axis=1) for side, hop in ((below_0, hop_0), (below_1, hop_1))
    )
    swap = rng.random(len(graph)) < 0.5
    return _Asked(graph, swap.astype(np.int64), np.where(swap, leaf_1, leaf_0), np.where(swap, leaf_0, leaf_1))


def _ask_public(graphs: _Graphs, recipe: Recipe, rng: np.random.Generator) -> _Asked:
    few, most = recipe.hops
    leaf, key = graphs.leaf, rng.random(graphs.label.shape)
    one_sided = leaf & ((graphs.label == 1) | (graphs.label == 2))
    rank = np.where(one_sided, graphs.depth + key, -1)
    target = np.argmax(rank, axis=1)
    rows = np.arange(len(target))
    hops, label = graphs.depth[rows, target], graphs.label[rows, target]
    other = leaf & (graphs.label == (3 - label)[:, None])
    neg_target = np.argmax(other * rng.random(graphs.label.shape), axis=1)
    graph = np.flatnonzero((rank[rows, target] >= 0) & (hops >= few) & (hops <= most) & other.any(axis=1))
    return _Asked(graph, label[graph].astype(np.int64) - 1, target[graph], neg_target[graph])


def _hard(recipe: Recipe, rng: np.random.Generator) -> tuple[_Graphs, _Asked]:
    """A block of hard graphs, and one question about each: which root, by a fair coin."""
    large = recipe.nodes[1]
    hops = [h for h in range(*recipe.hops) if h >= FEWEST_HARD_HOPS] + [recipe.hops[1]]
    hops = [h for h in hops if recipe.fewest_nodes(h) <= large]
    parent = np.zeros((GRAPHS_PER_BLOCK, large, large), dtype=bool)
    n_nodes = np.zeros(GRAPHS_PER_BLOCK, dtype=np.int64)
    ends = np.zeros((GRAPHS_PER_BLOCK, 2, 2), dtype=np.int64)
    for i in range(GRAPHS_PER_BLOCK):
        h = int(rng.choice(hops))
        n = int(rng.integers(max(recipe.fewest_nodes(h), recipe.nodes[0]), large + 1))
        edges, place = _hard_graph(h, n, rng)
        order = {node: number for number, node in enumerate(sorted(place, key=place.__getitem__))}
        source, target = np.array([(order[a], order[b]) for a, b in edges]).T
        parent[i, target, source], n_nodes[i] = True, n
        ends[i] = [[order[what, side] for side in (0, 1)] for what in ("root", "candidate")]
    graph, root = np.arange(GRAPHS_PER_BLOCK), rng.integers(0, 2, GRAPHS_PER_BLOCK)
    label = np.zeros((GRAPHS_PER_BLOCK, large), dtype=np.uint8)
    asked = _Asked(graph, ends[graph, 0, root], ends[graph, 1, root], ends[graph, 1, 1 - root])
    return _Graphs(n_nodes, parent, label, label.astype(np.float32)), asked


Named = tuple[object, ...]


def _hard_graph(h: int, n: int, rng: np.random.Generator) -> tuple[list[tuple[Named, Named]], dict[Named, float]]:
    """Edges of a hard graph of h hops and n nodes, and a place of every node: an edge leads to a higher one."""
    turned = int(rng.integers(2, h - 2))  # the edge from here to the next place is turned round on wrong ways
    edges: list[tuple[Named, Named]] = []
    place: dict[Named, float] = {}

    def edge(a: Named, b: Named) -> None:
        edges.append((a, b))

    for i in (0, 1):
        place |= {("root", i): 0, ("first", i): 1, ("last", i): h - 1, ("candidate", i): h}
        edge(("root", i), ("first", i))
        edge(("last", i), ("candidate", i))
        for j in (0, 1):
            way = [("first", i), *((i, j, d) for d in range(2, h - 1)), ("last", j)]
            place |= {node: float(node[2]) for node in way[1:-1]}
            before, after = way[turned - 1], way[turned]
            for a, b in pairwise(way):
                edge(*((b, a) if i != j and a == before else (a, b)))
            if i != j:
                place[after] = 0.5
            # Both ends have two edges on one side and one on the other, on right and on wrong ways.
            below, above = (before, after) if i != j else (after, before)
            place |= {("child", i, j): h, ("parent", i, j): -1}
            edge(below, ("child", i, j))
            edge(("parent", i, j), above)
    core = [node for node in place if node[0] not in ("root", "candidate")]
    for extra in range(n - len(place)):
        beside = core[int(rng.integers(len(core)))]
        if rng.random() < 0.5:
            place["extra", extra] = place[beside] + 0.25
            edge(beside, ("extra", extra))
        else:
            place["extra", extra] = place[beside] - 0.25
            edge(("extra", extra), beside)
    return edges, place


def _written(graphs: _Graphs, asked: _Asked, rng: np.random.Generator) -> ProblemArrays:
    """The asked graphs with nodes numbered and edges ordered at random, and the facts training needs."""
    parent, n_nodes = graphs.parent[asked.graph], graphs.n_nodes[asked.graph]
    n_problems, large = n_nodes.shape[0], parent.shape[1]
    rows = np.arange(n_problems)
    key = np.where(graphs.exists[asked.graph], rng.random((n_problems, large)), 2)
    number = np.argsort(np.argsort(key, axis=1), axis=1)

    distance = _hops(parent, asked.root, forward=True)
    to_target = _hops(parent, asked.target, forward=False)
    n_hops = distance[rows, asked.target]

    # Along edges of shortest paths, always to the lowest number.
    child = parent.transpose(0, 2, 1)
    longest = int(n_hops.max(initial=0))
    path = np.full((n_problems, longest + 1), asked.root[:, None])
    for hop in range(1, longest + 1):
        here = path[:, hop - 1]
        nearer = child[rows, here] & (to_target == to_target[rows, here][:, None] - 1)
        after = np.argmin(np.where(nearer, number, large), axis=1)
        path[:, hop] = np.where(nearer.any(axis=1), after, asked.target)
    walked = np.where(np.arange(longest + 1) <= n_hops[:, None], number[rows[:, None], path], -1)

    problem, target, source = np.nonzero(parent)
    order = np.lexsort((rng.random(len(problem)), problem))
    problem, target, source = problem[order], target[order], source[order]
    n_edges = np.bincount(problem, minlength=n_problems)
    position = np.arange(len(problem)) - np.repeat(np.cumsum(n_edges) - n_edges, n_edges)
    edges = np.full((n_problems, int(n_edges.max(initial=0)), 2), -1)
    edges[problem, position, 0] = number[problem, source]
    edges[problem, position, 1] = number[problem, target]

    def renumbered(values: NDArray[np.float32]) -> NDArray:
        finite = np.where(np.isfinite(values), values, UNREACHABLE)
        out = np.empty_like(finite)
        np.put_along_axis(out, number, finite, axis=1)
        return out

    values = (
        n_nodes, n_edges, edges, number[rows, asked.root], number[rows, asked.target], number[rows, asked.neg_target],
        n_hops, renumbered(distance), renumbered(to_target), walked,
    )  # fmt: skip
    return ProblemArrays(*(np.asarray(value).astype(np.int16) for value in values))


def _hops(parent: NDArray[np.bool_], start: NDArray[np.int64], *, forward: bool) -> NDArray[np.float32]:
    """``problem node``: hops from ``start`` (forward) or to it, along edges in construction order; inf where none."""
    n_problems, large = parent.shape[:2]
    hops = np.full((n_problems, large), np.inf, dtype=np.float32)
    hops[np.arange(n_problems), start] = 0
    step = parent if forward else parent.transpose(0, 2, 1)
    for node in range(large) if forward else reversed(range(large)):
        through = np.where(step[:, node], hops, np.inf).min(axis=1) + 1
        hops[:, node] = np.minimum(hops[:, node], through)
    return hops


def check_run(n: int, seed: int, processes: int = 1) -> None:
    """Raise InputError for a number of problems, a seed or a number of processes that cannot be."""
    for what, value, least, most in (("n", n, 1, MAX_PROBLEMS), ("seed", seed, 0, sys.maxsize)):
        if not least <= value <= most:
            raise InputError(f"{what} {value}: expected at least {least}" + f" and at most {most:,}" * (value > most))
    check_number(processes)
