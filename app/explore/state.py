"""The whole view of Explore as one frozen value, and as the query string that restores it.

A link holds everything the page shows depends on, a custom graph included (deflated, base64url), and nothing that
does not change the picture. Links come from strangers: whatever they hold, ``decode`` gives a ``View`` or raises
InputError with one sentence.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args
from urllib.parse import quote, urlencode

from model.checkpoint import CHECKPOINTS, DEFAULT_CHECKPOINT
from model.errors import InputError
from model.formats.graph import write_graph
from model.problems.generate import KINDS, Kind
from model.problems.prosqa import ProsQAProblem
from probing.read.report import VALUES

Source = Literal["example", "generated", "file", "custom"]
SOURCES: tuple[Source, ...] = get_args(Source)

MAX_HOPS, MAX_NODES, MAX_DRAWS, MAX_SEED = 10, 40, 64, 2**31 - 1
MAX_PACKED, MAX_UNPACKED = 12_000, 400_000
"""Letters of a packed graph, and bytes of an unpacked one, in a link."""


@dataclass(frozen=True)
class View:
    """What the page shows. Fields that belong to another source than ``source`` keep their defaults in links."""

    source: Source = "example"
    kind: Kind = "balanced"
    hops: tuple[int, int] = (3, 6)
    """Fewest and most hops of a generated problem."""
    nodes: tuple[int, int] = (14, 28)
    """Fewest and most nodes of a generated problem."""
    seed: int = 0
    """Seed of a generated problem."""
    text: str = ""
    """The custom graph as typed."""
    root: str | None = None
    """Root of a custom graph; None to take the graph's own, or the first that fits."""
    candidates: tuple[str, str] | None = None
    """Candidates of a custom graph; None as for ``root``."""
    fill: bool = True
    """Whether a small graph is filled up with unrelated facts."""
    checkpoint: str = DEFAULT_CHECKPOINT.name
    """Name of a folder among the shipped checkpoints, or the path of one."""
    draws: int = 16
    """Draws of the prompt (R)."""
    draw_seed: int = 0
    """Seed of the draws."""
    value: str = "probability"
    """What nodes are coloured by: one of ``probing.read.report.VALUES``."""
    k: int = 1
    """The state shown: h_k."""
    node: int | None = None
    """The node whose trajectory is shown; None for the target."""

    def of(self, problem: ProsQAProblem) -> View:
        """The same view with an uploaded row's problem written out, as a link cannot hold the file."""
        if self.source != "file":
            return self
        names = problem.idx_to_symbol
        return replace(
            self,
            source="custom",
            text=write_graph(problem, "edges"),
            root=names[problem.root],
            candidates=(names[problem.target], names[problem.neg_target]),
        )


_OF_SOURCE = {
    "example": (),
    "generated": ("kind", "hops", "nodes", "seed"),
    "file": (),
    "custom": ("text", "root", "candidates"),
}
_ALWAYS = ("fill", "checkpoint", "draws", "draw_seed", "value", "k", "node")


def encode(view: View) -> dict[str, str]:
    """The query parameters of a view; what is at its default is left out, so the example has none.

    Raises InputError if the graph is too large for a link.
    """
    assert view.source != "file", "write the row out first (View.of)"
    defaults = View()
    params: dict[str, str] = {} if view.source == defaults.source else {"source": view.source}
    if view.source == "custom":
        params["graph"] = pack([view.text, view.root, view.candidates])
        if len(params["graph"]) > MAX_PACKED:
            raise InputError(
                f"this graph needs {len(params['graph']):,} letters, and a link holds at most {MAX_PACKED:,}; "
                "download it as GraphML or JSON instead"
            )
    for name in (*_OF_SOURCE[view.source], *_ALWAYS):
        value = getattr(view, name)
        if value == getattr(defaults, name) or name in ("text", "root", "candidates"):
            continue
        if isinstance(value, tuple):
            params[name] = "-".join(map(str, value))
        else:
            params[name] = str(int(value)) if isinstance(value, bool) else str(value)
    return params


def url(base: str, view: View) -> str:
    """The link to a view on the page at ``base``."""
    query = urlencode(encode(view), quote_via=quote)
    return base.partition("?")[0].partition("#")[0] + (f"?{query}" if query else "")


def decode(params: Mapping[str, str]) -> View:
    """The view that query parameters ask for. Parameters of other names are none of ours and are left alone.

    Raises InputError naming the parameter that is wrong and what is accepted.
    """
    found: dict[str, Any] = {}
    readers = {
        "source": lambda text: _one_of(text, ("example", "generated", "custom")),
        "kind": lambda text: _one_of(text, KINDS),
        "hops": lambda text: _range(text, 1, MAX_HOPS),
        "nodes": lambda text: _range(text, 4, MAX_NODES),
        "seed": lambda text: _whole(text, 0, MAX_SEED),
        "fill": lambda text: bool(_whole(text, 0, 1)),
        "checkpoint": _path,
        "draws": lambda text: _whole(text, 1, MAX_DRAWS),
        "draw_seed": lambda text: _whole(text, 0, MAX_SEED),
        "value": lambda text: _one_of(text, tuple(VALUES)),
        "k": lambda text: _whole(text, 0, 99),
        "node": lambda text: _whole(text, 0, 999),
    }
    assert readers.keys() <= {field.name for field in fields(View)}
    for name, read in readers.items():
        if name in params:
            try:
                found[name] = read(params[name])
            except InputError as error:
                raise InputError(f"the link's {name} is {params[name]!r:.40}; {error}") from None
    if found.get("source") == "custom":
        if "graph" not in params:
            raise InputError("the link says it holds a custom graph, but has none")
        found |= _graph(params["graph"])
    return View(**found)


def pack(value: object) -> str:
    """A JSON value as deflated base64url text."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


def unpack(text: str) -> Any:
    """The value that ``pack`` was given. Raises InputError for anything damaged or too large."""
    damaged = InputError("the graph in the link is damaged; links are copied whole or not at all")
    if len(text) > MAX_PACKED:
        raise InputError(f"the graph in the link has {len(text):,} letters; at most {MAX_PACKED:,} are accepted")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise damaged
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), MAX_UNPACKED)
        if inflate.unconsumed_tail:
            raise InputError(f"the graph in the link is larger than {MAX_UNPACKED:,} bytes")
        if not inflate.eof:
            raise damaged
        return json.loads(data)
    except (binascii.Error, zlib.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise damaged from None


def _graph(text: str) -> dict[str, Any]:
    value = unpack(text)
    wrong = InputError("the graph in the link is not one that this page wrote")
    if not (isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)):
        raise wrong
    graph, root, candidates = value
    if not (root is None or isinstance(root, str)):
        raise wrong
    if candidates is not None:
        if not (isinstance(candidates, list) and len(candidates) == 2 and all(isinstance(c, str) for c in candidates)):
            raise wrong
        candidates = (candidates[0], candidates[1])
    return {"text": graph, "root": root, "candidates": candidates}


def _one_of(text: str, options: tuple[str, ...]) -> str:
    if text not in options:
        raise InputError(f"expected {', '.join(options[:-1])} or {options[-1]}")
    return text


def _whole(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise InputError(f"expected a whole number from {least:,} to {most:,}")
    return int(text)


def _range(text: str, least: int, most: int) -> tuple[int, int]:
    few, dash, many = text.partition("-")
    try:
        pair = _whole(few, least, most), _whole(many if dash else few, least, most)
    except InputError:
        pair = (1, 0)
    if pair[0] > pair[1]:
        raise InputError(f"expected a range such as {least}-{most}")
    return pair


def _path(text: str) -> str:
    if not text or len(text) > 500 or not text.isprintable():
        raise InputError(f"expected the name of a checkpoint in {CHECKPOINTS.name}/ or the path of a folder")
    return text
