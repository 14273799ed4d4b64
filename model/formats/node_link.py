"""networkx node-link JSON; edges under ``edges`` or ``links``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import networkx as nx

from model.errors import InputError
from model.files import parse_json
from model.formats.builder import Builder, ByKey


def read(text: str, where: str) -> Builder:
    data = parse_json(text, where=where)
    if not isinstance(data, Mapping) or not isinstance(data.get("nodes"), list):
        raise InputError(f"{where}: expected node-link JSON, an object with lists 'nodes' and 'edges'")
    edges = data["edges"] if "edges" in data else data.get("links")
    if not isinstance(edges, list):
        raise InputError(f"{where}: expected a list 'edges' (or 'links') beside 'nodes'")
    if data.get("directed") is False:
        raise InputError(f"{where}: the graph is undirected; 'is a' edges need a direction")
    found = ByKey(where)
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
    return found.found()


def _is_key(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def write(graph: nx.DiGraph, order: Callable[[Any], int]) -> str:
    """The graph with its nodes' attributes, edges in this order."""
    data = nx.node_link_data(graph, edges="edges")
    data["edges"].sort(key=order)
    return json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
