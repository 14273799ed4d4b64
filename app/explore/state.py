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
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from model.checkpoint import CHECKPOINTS, DEFAULT_CHECKPOINT
from model.errors import InputError
from model.formats.graph import write_graph
from model.problems.generate import KINDS, Kind
from model.problems.prosqa import ProsQAProblem
from model.values import Value
from probing.read.report import VALUES

Source = Literal["example", "generated", "file", "custom"]

MAX_HOPS, MAX_NODES, MAX_SAMPLES, MAX_SEED = 10, 40, 64, 2**31 - 1
MAX_PACKED, MAX_UNPACKED, MAX_PATH = 12_000, 400_000, 500
"""Characters of a packed graph, bytes of an unpacked one, and characters of a path, in a link."""


def _in_order(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] > pair[1]:
        raise ValueError("the first is larger than the second")
    return pair


def _whole(least: int, most: int) -> Any:
    return Field(ge=least, le=most, description=f"a whole number from {least:,} to {most:,}")


Seed = Annotated[int, _whole(0, MAX_SEED)]
Hops = Annotated[int, Field(ge=1, le=MAX_HOPS)]
Nodes = Annotated[int, Field(ge=4, le=MAX_NODES)]


class View(Value):
    """What the page shows; fields are named as in links, and described by what is accepted there.

    Fields that belong to another source than ``source`` keep their defaults in links.
    """

    source: Annotated[Source, Field(description="example, generated or custom")] = "example"
    kind: Annotated[Kind, Field(description=" or ".join(KINDS))] = "balanced"
    hops: Annotated[
        tuple[Hops, Hops], AfterValidator(_in_order), Field(description=f"a range such as 1-{MAX_HOPS}")
    ] = (3, 6)
    """Fewest and most hops of a generated problem."""
    nodes: Annotated[
        tuple[Nodes, Nodes], AfterValidator(_in_order), Field(description=f"a range such as 4-{MAX_NODES}")
    ] = (14, 28)
    """Fewest and most nodes of a generated problem."""
    seed: Seed = 0
    """Seed of a generated problem."""
    text: str = ""
    """The custom graph as typed."""
    root: str | None = None
    """Root of a custom graph; None to take the graph's own, or the first that fits."""
    candidates: tuple[str, str] | None = None
    """Candidates of a custom graph; None as for ``root``."""
    fill: Annotated[bool, Field(description="0 or 1")] = True
    """Whether a small graph is padded with distractor facts."""
    checkpoint: Annotated[
        str, Field(description=f"the name of a checkpoint in {CHECKPOINTS.name}/ or the path of a folder")
    ] = DEFAULT_CHECKPOINT.name
    draws: Annotated[int, _whole(1, MAX_SAMPLES)] = 16
    """Prompt samples (R)."""
    draw_seed: Seed = 0
    """Seed of the prompt samples."""
    value: Annotated[str, Field(pattern=f"^({'|'.join(VALUES)})$", description=f"one of {', '.join(VALUES)}")] = (
        "probability"
    )
    """What nodes are coloured by: one of ``probing.read.report.VALUES``."""
    k: Annotated[int, _whole(0, 99)] = 1
    """The state shown: h_k."""
    node: Annotated[int | None, Field(ge=0, le=999, description="a whole number from 0 to 999")] = None
    """The node whose trajectory is shown; None for the target."""

    def of(self, problem: ProsQAProblem) -> View:
        """The same view with an uploaded row's problem written out, as a link cannot hold the file."""
        if self.source != "file":
            return self
        root, *candidates = (problem.idx_to_symbol[v] for v in (problem.root, problem.target, problem.neg_target))
        asked = {"text": write_graph(problem, "edges"), "root": root, "candidates": tuple(candidates)}
        return self.model_copy(update={"source": "custom"} | asked)


_OF_SOURCE = {"example": (), "generated": ("kind", "hops", "nodes", "seed"), "custom": ()}
_GRAPH: TypeAdapter[Any] = TypeAdapter(tuple[str, str | None, tuple[str, str] | None])
_ALWAYS = ("fill", "checkpoint", "draws", "draw_seed", "value", "k", "node")


def encode(view: View) -> dict[str, str]:
    """The query parameters of a view; what is at its default is left out, so the example has none.

    Raises InputError if the graph is too large for a link.
    """
    assert view.source != "file", "write the row out first (View.of)"
    params: dict[str, str] = {}
    if view.source == "custom":
        params["graph"] = pack([view.text, view.root, view.candidates])
        if len(params["graph"]) > MAX_PACKED:
            raise InputError(
                f"this graph needs {len(params['graph']):,} characters, and a link holds at most {MAX_PACKED:,}; "
                "download it as GraphML or JSON instead"
            )
    for name in ("source", *_OF_SOURCE[view.source], *_ALWAYS):
        value = getattr(view, name)
        if value != View.model_fields[name].default:
            params[name] = "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
            if isinstance(value, bool):
                params[name] = str(int(value))
    return params


def url(base: str, view: View) -> str:
    """The link to a view on the page at ``base``."""
    return address(base, encode(view))


def address(base: str, params: Mapping[str, str], *, safe: str = "") -> str:
    """The page at ``base`` with these parameters in place of its own."""
    query = urlencode(params, quote_via=quote, safe=safe)
    return base.partition("?")[0].partition("#")[0] + (f"?{query}" if query else "")


def decode(params: Mapping[str, str]) -> View:
    """The view that query parameters ask for. Parameters of other names are none of ours and are left alone.

    Raises InputError naming the parameter that is wrong and what is accepted.
    """
    asked = {name: params[name] for name in ("source", *_OF_SOURCE["generated"], *_ALWAYS) if name in params}
    found: dict[str, Any] = dict(asked)
    for name in {"hops", "nodes"} & asked.keys():
        few, dash, many = asked[name].partition("-")
        found[name] = (few, many if dash else few)
    if asked.get("source") == "custom":
        if "graph" not in params:
            raise InputError("the link says it holds a custom graph, but has none")
        found |= _graph(params["graph"])
    path, wrong = asked.get("checkpoint", "-"), "source" if asked.get("source") == "file" else ""
    if not path or len(path) > MAX_PATH or not path.isprintable():
        wrong = "checkpoint"
    try:
        if not wrong:
            return View.model_validate(found)
    except ValidationError as error:
        wrong = str(error.errors()[0]["loc"][0])
    expected = View.model_fields[wrong].description
    raise InputError(f"the link's {wrong} is {params[wrong]!r:.40}; expected {expected}")


def pack(value: object) -> str:
    """A JSON value as deflated base64url text."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


def unpack(text: str) -> Any:
    """The value that ``pack`` was given. Raises InputError for anything damaged or too large."""
    damaged = InputError("the graph in the link is damaged; links are copied whole or not at all")
    if len(text) > MAX_PACKED:
        raise InputError(f"the graph in the link has {len(text):,} characters; at most {MAX_PACKED:,} are accepted")
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
    try:
        graph, root, candidates = _GRAPH.validate_python(value)
    except ValidationError:
        raise InputError("the graph in the link is not one that this page wrote") from None
    return {"text": graph, "root": root, "candidates": candidates}
