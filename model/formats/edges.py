"""Edge lists: one edge per line, as ``Tom terpus``, ``Tom -> terpus``, ``Tom,terpus`` or with a tab."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from model.errors import InputError
from model.formats.builder import Builder
from model.formats.sentences import is_question, with_question

MAX_LINE_LENGTH = 10_000
ARROWS = ("->", "=>", "→")
HEADERS = (("source", "target"), ("from", "to"), ("child", "parent"))
"""First lines of tables, which name their columns and no nodes; between these two stands a comma or a tab."""


def read(text: str, where: str) -> Builder:
    builder = Builder(where)
    asked = []
    for number, line in enumerate(text.splitlines() if "\n" not in text else text.split("\n"), start=1):
        line = line.strip("\ufeff \t\r")
        if not line or line[0] == "#":
            continue
        if len(line) > MAX_LINE_LENGTH:
            raise InputError(f"{where}, line {number}: {len(line):,} characters; at most {MAX_LINE_LENGTH:,} in a line")
        if line.endswith("?") and is_question(line):
            asked.append((number, line))
            continue
        place = f"line {number}"
        names = _edge_names(line, f"{where}, {place}")
        if not builder.number and ("," in line or "\t" in line) and tuple(map(str.casefold, names)) in HEADERS:
            continue
        for name in names[:1]:
            builder.node(name)
        for source, target in pairwise(names):
            builder.edge(source, target, place)
    return with_question(builder, asked)


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
        separator = next((mark for mark in (*ARROWS, "\t", ",") if line.startswith(mark, at)), None)
        if separator:
            yield ("->" if separator in ARROWS else separator), separator
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
_PLAIN = re.compile(r"""(?:.(?!->|=>|→|\t|,|(?<=\s)["#]))*.""", re.S)


def write(names: Sequence[str], edges: Sequence[tuple[int, int]]) -> str:
    """An edge a line; every name on a line of its own first, where the edges would number the nodes otherwise."""

    def quoted(name: str) -> str:
        return json.dumps(name, ensure_ascii=False)

    def simple(name: str) -> bool:
        # The first word of Graphviz DOT is not left to begin a line.
        return bool(_SIMPLE.fullmatch(name)) and name.lower() not in ("graph", "digraph", "strict")

    order = dict.fromkeys(node for edge in edges for node in edge)
    lines = [] if list(order) == list(range(len(names))) else [quoted(name) for name in names]
    plain = [name if simple(name) else quoted(name) for name in names]
    lines += [f"{plain[source]} {plain[target]}" for source, target in edges]
    return "\n".join(lines) + "\n"


# Names that mean themselves in an edge list.
_SIMPLE = re.compile(r"[\w.']+")
