"""Reading and writing graphs and problems in the formats people have them in.

========== ============================================================================ ==== =====
format     looks like                                                                   read write
========== ============================================================================ ==== =====
prosqa     ProsQA JSON: one row, or a list of rows                                       yes  yes
sentences  ``Tom is a terpus. Every terpus is a lempus. Is Tom a lempus or scrompus?``   yes  no
           or ``Cats are animals. Are cats animals or pets?``, words taken as they stand
edges      one edge per line: ``Tom terpus``, ``Tom -> terpus``, ``Tom,terpus`` or a tab yes  yes
node-link  networkx node-link JSON; edges under ``edges`` or ``links``                   yes  yes
graphml    GraphML, directed                                                             yes  yes
========== ============================================================================ ==== =====

``read_*`` take text and ``load_*`` take a path. Whatever they are given, they return a value or raise InputError with
one sentence that says where the mistake is. Names are kept character by character; nothing in them is interpreted.
A node's role in the question is kept in a node attribute ``role``: root, target and neg_target, or candidate_1 and _2.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, get_args

import networkx as nx

from model.errors import GraphError, InputError
from model.files import MAX_UPLOAD_BYTES, parse_json, read_text
from model.formats import edges, graphml, node_link, sentences
from model.formats.builder import Builder
from model.problems import prontoqa
from model.problems.prosqa import ProsQAProblem, adjacency, check_graph, distances
from model.problems.texts import TextProblem, read_texts

Format = Literal["prosqa", "sentences", "edges", "node-link", "graphml"]
FORMATS: tuple[Format, ...] = get_args(Format)

BY_ENDING: dict[str, Format] = {".csv": "edges", ".tsv": "edges", ".graphml": "graphml"}
"""Formats that a file's name tells; of other names the content is asked."""
MAX_UPLOAD_ROWS = 10_000
PRONTOQA_KEYS = {"test_example", "steps", "answer"}
"""Keys of rows that say their graph in sentences alone."""
MAX_REACH = 400_000_000
"""Nodes times leaves of a graph whose roots are sought: bits that are kept meanwhile."""

Attributes = Mapping[str, Sequence[float]]
"""Attribute name to one number per node, in the order of the graph's names."""


@dataclass(frozen=True)
class Graph:
    """A named graph, with the question if the file had one. Validated as a problem's graph is; raises GraphError."""

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    """(source, target) pairs: "every source is a target"."""
    root: int | None = None
    candidates: tuple[int, int] | None = None
    again: tuple[str, ...] = field(default=(), compare=False)
    """Edges that the text gave more than once, in words: where, which, and where before. Each is read once."""

    def __post_init__(self) -> None:
        check_graph(self.names, self.edges)

    @property
    def remark(self) -> str:
        """A word on edges given more than once, and on two names perhaps meant as one; empty where there are none."""
        more = f", and {len(self.again) - 1:,} more" if len(self.again) > 1 else ""
        said = [f"given twice, read once: {self.again[0]}{more}"] if self.again else []
        alike, pairs = dict[str, str](), list[str]()
        for name in self.names:
            first = alike.setdefault(re.sub("ies$", "y", name.casefold()).removesuffix("s"), name)
            if first != name:
                pairs.append(f"{first!r:.40} and {name!r:.40}")
        more = f", and {len(pairs) - 3:,} more pairs," if len(pairs) > 3 else ""
        said += [f"{'; '.join(pairs[:3])}{more} are two nodes, as names are taken as they stand"] if pairs else []
        return "; ".join(said)

    @classmethod
    def of(cls, problem: ProsQAProblem) -> Graph:
        """A problem's graph; the candidates are (target, neg_target)."""
        return cls(problem.idx_to_symbol, problem.edges, problem.root, (problem.target, problem.neg_target))

    def ask(self, root: str | None = None, candidates: tuple[str, str] | None = None) -> ProsQAProblem:
        """The problem that asks about a root and two candidates, by name; left out, they are the file's own.

        Raises GraphError when there is no question, a name is not in the graph, or not exactly one candidate can be
        reached.
        """
        numbers = []
        for what, name, own in (
            ("root", root, self.root),
            ("candidate", candidates and candidates[0], self.candidates and self.candidates[0]),
            ("candidate", candidates and candidates[1], self.candidates and self.candidates[1]),
        ):
            if name is not None and name not in self._number:
                shown = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
                raise GraphError(f"{what} {name!r:.80} is not in the graph; its nodes are {shown or 'none'}")
            number = own if name is None else self._number[name]
            if number is None:
                raise GraphError("the graph has no question: choose a root and two candidates")
            numbers.append(number)
        return ProsQAProblem.asking(self.names, self.edges, root=numbers[0], candidates=(numbers[1], numbers[2]))

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """Nodes a question can be asked about: some leaf can be reached and some cannot. Parentless ones first.

        None are sought in graphs with more than MAX_REACH nodes times leaves.
        """
        described = {target for _, target in self.edges}
        leaves = [node for node, children in enumerate(self._children) if not children]
        if len(self.names) * len(leaves) > MAX_REACH:
            return ()
        reach = {leaf: 1 << bit for bit, leaf in enumerate(leaves)}  # of each node, the leaves below it as bits
        parts = nx.condensation(nx.DiGraph(list(self.edges)))
        for part in reversed(list(nx.topological_sort(parts))):
            members = parts.nodes[part]["members"]
            below = {child for node in members for child in self._children[node]} - members
            found = reduce(or_, (reach[child] for child in below), 0)
            reach |= {node: reach.get(node, 0) | found for node in members}
        every = (1 << len(leaves)) - 1
        fit = [node for node, children in enumerate(self._children) if children and 0 < reach[node] < every]
        return tuple(self.names[node] for node in sorted(fit, key=lambda node: (node in described, node)))

    def candidates_for(self, root: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The leaves that ``root`` reaches and those it does not: one candidate from each makes a problem."""
        reached, missed = self._split(self._number[root])
        return tuple(self.names[node] for node in reached), tuple(self.names[node] for node in missed)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: node for node, name in enumerate(self.names)}

    @cached_property
    def _children(self) -> tuple[tuple[int, ...], ...]:
        return adjacency(len(self.names), self.edges)

    def _split(self, root: int) -> tuple[list[int], list[int]]:
        distance = distances(self._children, root)
        leaves = [node for node, children in enumerate(self._children) if not children and node != root]
        return (
            [node for node in leaves if math.isfinite(distance[node])],
            [node for node in leaves if math.isinf(distance[node])],
        )


# --- reading ----------------------------------------------------------------------------------------------------------


def read_graph(text: str, format: Format | Literal["auto"] = "auto", *, where: str = "graph") -> Graph:
    """The graph in a text of any format. Raises InputError naming ``where`` and, if it can, line and column."""
    _check_text(text, where)
    if format == "auto":
        format = detect_format(text, where=where)
    if format not in FORMATS:
        raise InputError(f"format {format!r} is not known; formats are auto, {', '.join(FORMATS)}")
    graph = _read_prosqa(text, where) if format == "prosqa" else _built(_READERS[format](text, where))
    if not graph.names:
        raise InputError(f"{where}: the graph is empty; expected at least one edge")
    return graph


def try_graph(text: str, format: Format | Literal["auto"] = "auto", *, where: str = "graph") -> Graph | InputError:
    """As ``read_graph``, returning the error: for checking a text while it is being typed."""
    try:
        return read_graph(text, format, where=where)
    except InputError as error:
        return error


def load_graph(path: str | Path, format: Format | Literal["auto"] = "auto") -> Graph:
    """The graph in a file of any format. Raises InputError naming the file and, if it can, line and column."""
    return read_graph(read_text(path, max_bytes=MAX_UPLOAD_BYTES), format, where=str(path))


def read_problems(text: str, *, where: str = "data", max_rows: int | None = None) -> list[ProsQAProblem]:
    """The problems in ProsQA JSON, one row or a list, or in ProntoQA's, raw or converted, whose graphs are read from
    their sentences. Raises InputError naming ``where`` and the row (from 0)."""
    if "||" in text and text.lstrip()[:1] not in ("[", "{"):  # lines of questions, as GSM8k-Aug has them
        return _of_texts(text, where, max_rows)
    rows = parse_json(text, where=where)
    if not isinstance(rows, list | Mapping):
        raise InputError(f"{where}: expected a ProsQA row or a list of rows, got {type(rows).__name__}")
    if not rows:
        raise InputError(f"{where}: no rows")
    first = rows[0] if isinstance(rows, list) else next(iter(rows.values())) if "question" not in rows else rows
    if isinstance(first, Mapping) and not {"edges", "idx_to_symbol"} & first.keys() and first.keys() & PRONTOQA_KEYS:
        return _of_texts(text, where, max_rows)
    if isinstance(rows, Mapping):
        return [ProsQAProblem.from_row(rows, where=where)]
    _check_rows(len(rows), where, max_rows)
    return [ProsQAProblem.from_row(row, where=f"{where}, row {i}") for i, row in enumerate(rows)]


def _of_texts(text: str, where: str, most: int | None) -> list[ProsQAProblem]:
    texts = read_texts(text, where=where)
    _check_rows(len(texts), where, most)
    return [prontoqa.problem_of(each, where=f"{where}, row {i}") for i, each in enumerate(texts)]


def _check_rows(n: int, where: str, most: int | None) -> None:
    if most is not None and n > most:
        raise InputError(f"{where}: {n:,} rows; at most {most:,} are accepted")


def load_problems(
    path: str | Path, *, max_bytes: int | None = None, max_rows: int | None = None
) -> list[ProsQAProblem]:
    """The problems in a ProsQA JSON file. Raises InputError naming the file and the row (from 0)."""
    return read_problems(read_text(path, max_bytes=max_bytes), where=str(path), max_rows=max_rows)


def read_file(text: str, name: str, *, max_rows: int | None = None) -> list[ProsQAProblem] | Graph:
    """What a file holds: problems, as ``read_problems``, or else one graph, in the format that the file's name or its
    content tells. Raises InputError naming the file and the place."""
    rows = "prosqa" if "||" in text else detect_format(text, where=name)
    format = BY_ENDING.get(Path(name).suffix.lower(), rows)
    if format == "prosqa":
        return read_problems(text, where=name, max_rows=max_rows)
    return read_graph(text, format, where=name)


def detect_format(text: str, *, where: str = "graph") -> Format:
    """The format a text looks like; ``edges`` when it looks like nothing else. Raises InputError for Graphviz DOT."""
    head = text.lstrip("\ufeff \t\r\n")
    if head.startswith(("{", "[")):
        # A list is rows of ProsQA; of objects, only node-link has a list of nodes.
        return "node-link" if head.startswith("{") and re.search(r'"nodes"\s*:', head) else "prosqa"
    if re.match(r"<(\?xml|!--|!DOCTYPE|([\w.-]+:)?graphml\b)", head):
        return "graphml"
    if re.match(r"((//|#)[^\n]*\n\s*)*(strict\s+)?(di)?graph\b[^{\n]{0,300}\{", head[:20_000], re.I):
        raise InputError(f"{where}: Graphviz DOT is not read; formats are {', '.join(FORMATS)}")
    lines = [line for line in head[:20_000].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if any(sentences.looks_like_sentence(line) for line in lines[:20]):
        return "sentences"
    return "edges"


def _check_text(text: str, where: str) -> None:
    if len(text) > MAX_UPLOAD_BYTES:
        raise InputError(f"{where}: {len(text):,} characters; at most {MAX_UPLOAD_BYTES:,} are accepted")
    if not text.strip("\ufeff \t\r\n"):
        raise InputError(f"{where}: empty; expected a graph in one of the formats {', '.join(FORMATS)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not valid Unicode at character {error.start} (half of a surrogate pair)") from None


_READERS = {"sentences": sentences.read, "edges": edges.read, "node-link": node_link.read, "graphml": graphml.read}


def _built(found: Builder) -> Graph:
    try:
        return Graph(tuple(found.number), tuple(found.edges), found.root, found.candidates, tuple(found.again))
    except GraphError as error:
        raise GraphError(f"{found.where}: {error}") from None


def _read_prosqa(text: str, where: str) -> Graph:
    problems = read_problems(text, where=where)
    if len(problems) > 1:
        raise InputError(f"{where}: {len(problems):,} problems where one graph is expected; choose one row")
    return Graph.of(problems[0])


# --- writing ----------------------------------------------------------------------------------------------------------


def write_graph(
    graph: Graph | ProsQAProblem, format: Format, *, attributes: Attributes | None = None, where: str = "graph"
) -> str:
    """The text of a graph in a format; ``read_graph`` gives the graph back, its question too but for ``edges``.

    ``attributes`` are numbers for each node (``score_t1``, ...), in node-link JSON and GraphML; numbers that are not
    finite are left out. Raises InputError where the format cannot hold the graph.
    """
    if format == "prosqa":
        problem = graph if isinstance(graph, ProsQAProblem) else graph.ask()
        return json.dumps(problem.to_row(), ensure_ascii=False) + "\n"
    if format == "edges":
        plain = graph if isinstance(graph, Graph) else Graph.of(graph)
        return edges.write(plain.names, plain.edges)
    if format == "node-link":
        return node_link.write(_networkx(graph, attributes), _edge_order(graph))
    if format == "graphml":
        return graphml.write(_networkx(graph, attributes), _edge_order(graph), where)
    raise InputError(f"format {format!r} cannot be written; formats are prosqa, edges, node-link, graphml")


def write_problems(problems: Iterable[ProsQAProblem | TextProblem]) -> str:
    """ProsQA JSON, a row on each line."""
    return "".join(problem_parts(problems))


def problem_parts(problems: Iterable[ProsQAProblem | TextProblem]) -> Iterator[str]:
    """The text of ``write_problems`` piece by piece, as the problems come."""
    before = "[\n"
    for problem in problems:
        yield before + json.dumps(problem.to_row(), ensure_ascii=False)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def _networkx(graph: Graph | ProsQAProblem, attributes: Attributes | None) -> nx.DiGraph:
    if isinstance(graph, ProsQAProblem):
        roles = {graph.root: "root", graph.target: "target", graph.neg_target: "neg_target"}
        graph = Graph.of(graph)
    else:
        roles = {} if graph.root is None else {graph.root: "root"}
        roles |= {node: f"candidate_{i}" for i, node in enumerate(graph.candidates or (), start=1)}
    result = nx.DiGraph()
    for node, name in enumerate(graph.names):
        result.add_node(name, **({"role": roles[node]} if node in roles else {}))
    result.add_edges_from((graph.names[source], graph.names[target]) for source, target in graph.edges)
    for key, values in (attributes or {}).items():
        assert key != "role"
        assert len(values) == len(graph.names), f"{key}: {len(values)} values for {len(graph.names)} nodes"
        whole = all(isinstance(value, int) for value in values)
        for name, value in zip(graph.names, values, strict=True):
            if math.isfinite(value):
                result.nodes[name][key] = int(value) if whole else float(value)
    return result


def _edge_order(graph: Graph | ProsQAProblem) -> Callable[[Any], int]:
    """Sorts edges of a file as the graph lists them; networkx groups them by their source."""
    names = graph.names if isinstance(graph, Graph) else graph.idx_to_symbol
    place = {(names[source], names[target]): i for i, (source, target) in enumerate(graph.edges)}
    return lambda edge: place[edge.get("source"), edge.get("target")]
