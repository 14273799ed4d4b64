"""GraphML, directed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import networkx as nx
from defusedxml.common import DefusedXmlException

from model.errors import InputError
from model.formats.builder import Builder, ByKey


def read(text: str, where: str) -> Builder:
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
    graph, found = graphs[0], ByKey(where)
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
    return found.found()


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


# What XML 1.0 can hold: tab, line feed, carriage return, and everything from space on but surrogates and two more.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(graph: nx.DiGraph, order: Callable[[Any], int], where: str) -> str:
    """The graph with its nodes' attributes, edges in this order. Raises InputError for a name that XML cannot hold."""
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
