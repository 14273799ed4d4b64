"""Reading and writing graphs and problems in the formats people have them in.

========== ============================================================================ ==== =====
format     looks like                                                                   read write
========== ============================================================================ ==== =====
prosqa     ProsQA JSON: one row, or a list of rows                                       yes  yes
sentences  ``Tom is a terpus. Every terpus is a lempus. Is Tom a lempus or scrompus?``   yes  no
edges      one edge a line: ``Tom terpus``, ``Tom -> terpus``, ``Tom,terpus`` or a tab   yes  yes
node-link  networkx node-link JSON; edges under ``edges`` or ``links``                   yes  yes
graphml    GraphML, directed                                                             yes  yes
========== ============================================================================ ==== =====

``read_*`` take text and ``load_*`` take a path. Whatever they are given, they return a value or raise InputError with
one sentence that says where the mistake is. Names are kept letter by letter; nothing in them is interpreted.
A node's role in the question is kept in a node attribute ``role``: root, target and neg_target, or candidate_1 and _2.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import networkx as nx
from defusedxml.common import DefusedXmlException

from model.errors import GraphError, InputError
from model.files import MAX_UPLOAD_BYTES, parse_json, read_text
from model.problems.prosqa import ProsQAProblem, adjacency, check_graph, distances

Format = Literal["prosqa", "sentences", "edges", "node-link", "graphml"]
FORMATS: tuple[Format, ...] = get_args(Format)

MAX_UPLOAD_ROWS = 10_000
MAX_LINE_LETTERS = 10_000

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

    def __post_init__(self) -> None:
        check_graph(self.names, self.edges)

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
        """Nodes a question can be asked about: some leaf can be reached and some cannot. Parentless ones first."""
        described = {target for _, target in self.edges}
        fit = [node for node in range(len(self.names)) if all(self._split(node))]
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
    graph = _READERS[format](text, where)
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
    """The problems in ProsQA JSON: one row or a list. Raises InputError naming ``where`` and the row (from 0)."""
    rows = parse_json(text, where=where)
    if isinstance(rows, Mapping):
        return [ProsQAProblem.from_row(rows, where=where)]
    if not isinstance(rows, list):
        raise InputError(f"{where}: expected a ProsQA row or a list of rows, got {type(rows).__name__}")
    if not rows:
        raise InputError(f"{where}: no rows")
    if max_rows is not None and len(rows) > max_rows:
        raise InputError(f"{where}: {len(rows):,} rows; at most {max_rows:,} are accepted")
    return [ProsQAProblem.from_row(row, where=f"{where}, row {i}") for i, row in enumerate(rows)]


def load_problems(
    path: str | Path, *, max_bytes: int | None = None, max_rows: int | None = None
) -> list[ProsQAProblem]:
    """The problems in a ProsQA JSON file. Raises InputError naming the file and the row (from 0)."""
    return read_problems(read_text(path, max_bytes=max_bytes), where=str(path), max_rows=max_rows)


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
    if any(_SENTENCE.search(" ".join(line.split())) and not _SEPARATOR.search(line) for line in lines[:20]):
        return "sentences"
    return "edges"


_IS_A = re.compile(r"(?<=[^ ]) is an? ", re.I)
_SENTENCE = re.compile(r"(?<=[^ ]) is an?( |$)|^every .* is\b", re.I)
_SEPARATOR = re.compile(r'->|→|\t|"')


class _Builder:
    """Collects named nodes and edges, remembering where each was said."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.number: dict[str, int] = {}
        self.edges: dict[tuple[int, int], str] = {}

    def node(self, name: str) -> int:
        return self.number.setdefault(name, len(self.number))

    def edge(self, source: str, target: str, place: str) -> None:
        pair = (self.node(source), self.node(target))
        if source == target:
            raise GraphError(f"{self.where}, {place}: {source!r:.80} has an edge to itself")
        if pair in self.edges:
            raise GraphError(
                f"{self.where}, {place}: the edge {source:.80} -> {target:.80} was given before, at {self.edges[pair]}"
            )
        self.edges[pair] = place

    def graph(self, root: str | None = None, candidates: tuple[str, str] | None = None) -> Graph:
        for what, name in (("root", root), *(("candidate", name) for name in candidates or ())):
            if name is not None and name not in self.number:
                raise GraphError(f"{self.where}: the question's {what} {name!r:.80} is not in the graph")
        try:
            return Graph(
                tuple(self.number),
                tuple(self.edges),
                None if root is None else self.number[root],
                None if candidates is None else (self.number[candidates[0]], self.number[candidates[1]]),
            )
        except GraphError as error:
            raise GraphError(f"{self.where}: {error}") from None


def _check_text(text: str, where: str) -> None:
    if len(text) > MAX_UPLOAD_BYTES:
        raise InputError(f"{where}: {len(text):,} letters; at most {MAX_UPLOAD_BYTES:,} are accepted")
    if not text.strip("\ufeff \t\r\n"):
        raise InputError(f"{where}: empty; expected a graph in one of the formats {', '.join(FORMATS)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not valid Unicode at letter {error.start} (half of a surrogate pair)") from None


def _read_prosqa(text: str, where: str) -> Graph:
    problems = read_problems(text, where=where)
    if len(problems) > 1:
        raise InputError(f"{where}: {len(problems):,} problems where one graph is expected; choose one row")
    return Graph.of(problems[0])


# --- sentences


def _read_sentences(text: str, where: str) -> Graph:
    builder = _Builder(where)
    asked: list[tuple[int, str]] = []
    for line, sentence in _sentences(text):
        if _is_question(sentence):
            asked.append((line, sentence))
            continue
        fact = _fact(sentence)
        if fact is None:
            raise InputError(
                f"{where}, line {line}: expected 'Tom is a terpus.', 'Every terpus is a lempus.' or "
                f"'Is Tom a lempus or scrompus?', got {sentence!r:.80}"
            )
        builder.edge(*fact, f"line {line}")
    return _with_question(builder, asked)


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """Sentences with the line each starts on. A line break ends a sentence only where both sides make sense."""
    line = 1
    for chunk in re.split(r"(?<=[.?!])(?=\s)", text):
        lines = [(i, " ".join(part.split()).rstrip(".!")) for i, part in enumerate(chunk.split("\n"), start=line)]
        lines = [(i, part) for i, part in lines if part and not part.startswith("#")]
        line += chunk.count("\n")
        whole = " ".join(part for _, part in lines)
        if len(lines) > 1 and not all(_is_question(part) or _fact(part) for _, part in lines) and _fact(whole):
            lines = [(lines[0][0], whole)]
        yield from lines


def _fact(sentence: str) -> tuple[str, str] | None:
    parts = _IS_A.split(sentence)
    if len(parts) != 2:
        return None
    source, target = (part.strip() for part in parts)
    if source[:6].casefold() == "every ":
        source = source[6:].strip()
    return (source, target) if source and target else None


def _is_question(sentence: str) -> bool:
    return sentence[:3].casefold() == "is " and " or " in sentence.casefold()


def _with_question(builder: _Builder, asked: list[tuple[int, str]]) -> Graph:
    if not asked:
        return builder.graph()
    if len(asked) > 1:
        raise InputError(f"{builder.where}, line {asked[1][0]}: a second question; one is accepted")
    line, sentence = asked[0]
    if len(sentence) > 1000:
        raise InputError(f"{builder.where}, line {line}: a question of {len(sentence):,} letters; at most 1,000")
    body = sentence[3:].rstrip("?").strip()
    readings = [
        (body[: article.start()].strip(), body[article.end() : either.start()].strip(), body[either.end() :].strip())
        for article in re.finditer(r" an? ", body, re.I)
        for either in re.finditer(r" or (an? )?", body, re.I)
        if article.end() <= either.start()
    ]
    if not readings:
        raise InputError(f"{builder.where}, line {line}: expected 'Is Tom a lempus or scrompus?', got {sentence!r:.80}")
    # Names may hold " a " or " or " themselves, so the reading that names known nodes wins.
    root, first, second = max(readings, key=lambda names: sum(name in builder.number for name in names))
    try:
        return builder.graph(root, (first, second))
    except GraphError as error:
        if "the question's" in str(error):
            raise GraphError(str(error).replace(builder.where, f"{builder.where}, line {line}", 1)) from None
        raise


# --- edge list


def _read_edges(text: str, where: str) -> Graph:
    builder = _Builder(where)
    asked = []
    for number, line in enumerate(text.splitlines() if "\n" not in text else text.split("\n"), start=1):
        line = line.strip("\ufeff \t\r")
        if not line or line[0] == "#":
            continue
        if len(line) > MAX_LINE_LETTERS:
            raise InputError(f"{where}, line {number}: {len(line):,} letters; at most {MAX_LINE_LETTERS:,} in a line")
        if line.endswith("?") and _is_question(line):
            asked.append((number, line))
            continue
        place = f"line {number}"
        names = _edge_names(line, f"{where}, {place}")
        for name in names[:1]:
            builder.node(name)
        for source, target in pairwise(names):
            builder.edge(source, target, place)
    return _with_question(builder, asked)


def _edge_names(line: str, where: str) -> list[str]:
    """The names on a line: two, more for a chain ``a -> b -> c``, one for a quoted node alone, none for a comment."""
    tokens = list(_edge_tokens(line, where))
    if not tokens:
        return []
    for separator in ("->", "\t", ","):
        if any(kind == separator for kind, _ in tokens):
            groups: list[list[tuple[str, str]]] = [[]]
            for kind, value in tokens:
                if kind == separator:
                    groups.append([])
                else:
                    groups[-1].append((kind, value))
            if separator == "\t":
                groups = [group for group in groups if "".join(value for _, value in group).strip()]
            names = [_one_name(group, where) for group in groups]
            break
    else:
        names = []
        for kind, value in tokens:
            names += [value] if kind == "quoted" else value.split()
        if len(names) == 1 and tokens[0][0] == "quoted":
            return names
        separator = " "
    if len(names) == 2 or (len(names) > 2 and separator == "->"):
        return names
    hint = '; put names with spaces in "quotes" or write ->' if separator == " " and len(names) > 2 else ""
    raise InputError(f"{where}: expected two names, as 'Tom terpus' or 'Tom -> terpus', got {line!r:.80}{hint}")


def _one_name(group: list[tuple[str, str]], where: str) -> str:
    filled = [(kind, value) for kind, value in group if kind == "quoted" or value.strip()]
    if len(filled) == 1 and filled[0][0] == "quoted":
        return filled[0][1]
    if any(kind == "quoted" for kind, _ in filled):
        raise InputError(f"{where}: a name is either all in quotes or not at all")
    name = "".join(value for _, value in group).strip()
    if not name:
        raise InputError(f"{where}: a name is missing beside the separator")
    return name


def _edge_tokens(line: str, where: str) -> Iterator[tuple[str, str]]:
    """(kind, value) pairs; kinds are "quoted", "text", "->", tab and comma. Quoted names are JSON strings."""
    at = 0
    while at < len(line):
        if line[at] == '"':
            try:
                name, at = _JSON.raw_decode(line, at)
            except json.JSONDecodeError as error:
                raise InputError(f"{where}, column {error.colno}: a quoted name is wrong ({error.msg})") from None
            yield "quoted", name
            continue
        separator = next((mark for mark in ("->", "→", "\t", ",") if line.startswith(mark, at)), None)
        if separator:
            yield ("->" if separator == "→" else separator), separator
            at += len(separator)
            continue
        if line[at] == "#" and (at == 0 or line[at - 1].isspace()):
            return
        match = _PLAIN.match(line, at)
        assert match is not None
        yield "text", match.group()
        at = match.end()


_JSON = json.JSONDecoder()
# Up to the next separator, the next quote or comment after a space; a quote or # inside a word is part of it.
_PLAIN = re.compile(r"""(?:.(?!->|→|\t|,|(?<=\s)["#]))*.""", re.S)


# --- node-link JSON


def _read_node_link(text: str, where: str) -> Graph:
    data = parse_json(text, where=where)
    if not isinstance(data, Mapping) or not isinstance(data.get("nodes"), list):
        raise InputError(f"{where}: expected node-link JSON, an object with lists 'nodes' and 'edges'")
    edges = data["edges"] if "edges" in data else data.get("links")
    if not isinstance(edges, list):
        raise InputError(f"{where}: expected a list 'edges' (or 'links') beside 'nodes'")
    if data.get("directed") is False:
        raise InputError(f"{where}: the graph is undirected; 'is a' edges need a direction")
    found = _ByKey(where)
    for i, node in enumerate(data["nodes"]):
        place = f"nodes[{i}]"
        if not isinstance(node, Mapping) or not _is_key(node.get("id")):
            raise InputError(f"{where}, {place}: expected an object with an 'id', got {node!r:.80}")
        name = next((node[key] for key in ("name", "label") if isinstance(node.get(key), str)), str(node["id"]))
        found.node(node["id"], name, node.get("role"), place)
    for i, edge in enumerate(edges):
        place = f"edges[{i}]"
        if not isinstance(edge, Mapping) or not all(_is_key(edge.get(end)) for end in ("source", "target")):
            raise InputError(f"{where}, {place}: expected an object with 'source' and 'target', got {edge!r:.80}")
        found.edge(edge["source"], edge["target"], place)
    return found.graph()


def _is_key(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


class _ByKey:
    """A graph whose file refers to nodes by a key, with names and roles beside it."""

    def __init__(self, where: str) -> None:
        self.builder = _Builder(where)
        self.names: dict[object, str] = {}
        self.roles: dict[str, str] = {}

    def node(self, key: object, name: str, role: object, place: str) -> None:
        where = self.builder.where
        if key in self.names:
            raise GraphError(f"{where}, {place}: the node {key!r:.80} is given twice")
        if name in self.builder.number:
            raise GraphError(f"{where}, {place}: two nodes are named {name!r:.80}; names must differ")
        self.names[key] = name
        self.builder.node(name)
        if isinstance(role, str) and role in _ROLES:
            if role in self.roles:
                raise GraphError(f"{where}, {place}: a second node has the role {role}")
            self.roles[role] = name

    def edge(self, source: object, target: object, place: str) -> None:
        for key in (source, target):
            if key not in self.names:
                raise GraphError(f"{self.builder.where}, {place}: the node {key!r:.80} is not among the nodes")
        self.builder.edge(self.names[source], self.names[target], place)

    def graph(self) -> Graph:
        first = self.roles.get("target", self.roles.get("candidate_1"))
        second = self.roles.get("neg_target", self.roles.get("candidate_2"))
        pair = None if first is None or second is None else (first, second)
        return self.builder.graph(self.roles.get("root"), pair)


_ROLES = ("root", "target", "neg_target", "candidate_1", "candidate_2")


# --- GraphML


def _read_graphml(text: str, where: str) -> Graph:
    body = text.lstrip("\ufeff \t\r\n")
    try:
        top = defusedxml.ElementTree.fromstring(body)
    except ParseError as error:
        line, column = error.position
        line += text[: len(text) - len(body)].count("\n")
        said = str(error).partition(":")[0]
        raise InputError(f"{where}: not XML at line {line}, column {column + 1} ({said})") from None
    except DefusedXmlException:
        raise InputError(f"{where}: XML that defines entities is not accepted") from None
    except ValueError as error:  # an encoding that Python has not
        raise InputError(f"{where}: not XML that can be read ({error})") from None
    graphs = [element for element in top if _tag(element) == "graph"]
    if _tag(top) != "graphml" or len(graphs) != 1:
        raise InputError(f"{where}: expected GraphML with one graph, got <{_tag(top):.40}> with {len(graphs)} graphs")
    meaning = {key.get("id"): (key.get("attr.name") or "").casefold() for key in top if _tag(key) == "key"}
    graph, found = graphs[0], _ByKey(where)
    by_default = graph.get("edgedefault") != "undirected"
    for i, node in enumerate(element for element in graph if _tag(element) == "node"):
        key = node.get("id")
        if key is None:
            raise InputError(f"{where}, node {i}: expected an 'id'")
        data = {meaning.get(part.get("key")): part.text or "" for part in node if _tag(part) == "data"}
        # yEd keeps the label inside its own drawing elements.
        drawn = next((part.text for part in node.iter() if _tag(part) == "NodeLabel" and part.text), None)
        name = data.get("name") or data.get("label") or (drawn and drawn.strip()) or key
        found.node(key, name, data.get("role"), f"node {i}")
    for i, edge in enumerate(element for element in graph if _tag(element) == "edge"):
        source, target = edge.get("source"), edge.get("target")
        if source is None or target is None:
            raise InputError(f"{where}, edge {i}: expected a 'source' and a 'target'")
        if edge.get("directed", str(by_default)).casefold() == "false":
            raise InputError(f"{where}, edge {i}: undirected; 'is a' edges need a direction")
        found.edge(source, target, f"edge {i}")
    return found.graph()


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


_READERS = {
    "prosqa": _read_prosqa,
    "sentences": _read_sentences,
    "edges": _read_edges,
    "node-link": _read_node_link,
    "graphml": _read_graphml,
}


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
        return _write_edges(graph if isinstance(graph, Graph) else Graph.of(graph))
    if format == "node-link":
        data = nx.node_link_data(_networkx(graph, attributes), edges="edges")
        data["edges"].sort(key=_edge_order(graph))
        return json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    if format == "graphml":
        return _write_graphml(_networkx(graph, attributes), _edge_order(graph), where)
    raise InputError(f"format {format!r} cannot be written; formats are prosqa, edges, node-link, graphml")


def write_problems(problems: Sequence[ProsQAProblem]) -> str:
    """ProsQA JSON, a row on each line."""
    return "[\n" + ",\n".join(json.dumps(problem.to_row(), ensure_ascii=False) for problem in problems) + "\n]\n"


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


# What XML 1.0 can hold: tab, line feed, carriage return, and everything from space on but surrogates and two more.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _write_graphml(graph: nx.DiGraph, order: Callable[[Any], int], where: str) -> str:
    for name in graph:
        bad = _NOT_XML.search(name)
        if bad:
            raise InputError(
                f"{where}: GraphML cannot hold U+{ord(bad.group()):04X} of the name {name!r:.80}; write node-link JSON"
            )
    writer = nx.GraphMLWriter(graph=graph, named_key_ids=True)
    element = writer.xml.find("graph")
    n_nodes = len(element.findall("node"))
    element[n_nodes:] = sorted(element[n_nodes:], key=order)
    buffer = io.BytesIO()
    writer.dump(buffer)
    return buffer.getvalue().decode() + "\n"


def _write_edges(graph: Graph) -> str:
    def quoted(name: str) -> str:
        return json.dumps(name, ensure_ascii=False)

    order = dict.fromkeys(node for edge in graph.edges for node in edge)
    lines = [] if list(order) == list(range(len(graph.names))) else [quoted(name) for name in graph.names]
    plain = [name if _SIMPLE.fullmatch(name) else quoted(name) for name in graph.names]
    lines += [f"{plain[source]} {plain[target]}" for source, target in graph.edges]
    return "\n".join(lines) + "\n"


# Names that mean themselves in an edge list.
_SIMPLE = re.compile(r"[\w.']+")
