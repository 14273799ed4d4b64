"""What a page shows as one frozen value, and as the query string that restores it: the same for all pages.

A link holds everything the page shows depends on, a custom graph included (deflated, base64url), and nothing that
does not change the picture. Links come from strangers: whatever they hold, ``decode`` gives a value or raises
InputError with one sentence.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import streamlit as st
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app import hosted
from app.compute import UNTRAINED, WORDS
from app.words import attempt, capital, wrong
from model.checkpoint import CHECKPOINTS, DEFAULT_CHECKPOINT
from model.errors import InputError
from model.formats.graph import write_graph
from model.problems.generate import KINDS, Kind
from model.problems.prosqa import ProsQAProblem
from model.values import Value

MAX_HOPS, MAX_NODES, MAX_SAMPLES, MAX_SEED = 10, 40, 64, 2**31 - 1
MAX_PACKED, MAX_UNPACKED, MAX_PATH = 12_000, 400_000, 500
"""Characters of a packed graph, bytes of an unpacked one, and characters of a path, in a link."""


class Link(Value):
    """What a page shows. Fields are named as in links, by their alias where they have one, and described by what is
    accepted there; those that are excluded from what is written are in links by other means."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    def encode(self, without: Collection[str] = ()) -> dict[str, str]:
        """The query parameters; what is at its default is left out, so the page as it opens has none."""
        shown = self.model_dump(by_alias=True, exclude_defaults=True, exclude=set(without))
        return {name: str(value) for name, value in shown.items()}

    def url(self, base: str) -> str:
        """The link to the page at ``base``, with these parameters in place of its own."""
        query = urlencode(self.encode(), quote_via=quote, safe=":,=/")
        return base.partition("?")[0].partition("#")[0] + (f"?{query}" if query else "")

    @classmethod
    def decode(cls, params: Mapping[str, str]) -> Self:
        """What query parameters ask for. Parameters of other names are none of ours and are left alone.

        Raises InputError naming the parameter that is wrong and what is accepted.
        """
        fields = {field.alias or name: field for name, field in cls.model_fields.items() if not field.exclude}
        try:
            return cls.model_validate({name: params[name] for name in fields if params.get(name)}, context="link")
        except ValidationError as error:
            fault = error.errors()[0]
        name, cause = str(fault["loc"][0]), fault.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            raise InputError(f"the link's {name} is not one: {cause}")
        raise InputError(f"the link's {name} is {params[name]!r:.40}; expected {fields[name].description}")


L = TypeVar("L", bound=Link)
T = TypeVar("T", bound=int)


STEPS = """\
export default function () {
  if (history.acted !== undefined) return
  history.acted = false
  const act = (event) => { if (event.isTrusted) history.acted = true }
  ;['pointerdown', 'click', 'keydown'].forEach((kind) => addEventListener(kind, act, true))
  const push = history.pushState.bind(history)
  history.pushState = (...entry) => {
    history.acted ? push(...entry) : history.replaceState(...entry)
    history.acted = false
  }
}
"""
"""What the browser's Back goes to is what the reader did. Streamlit makes an entry of every address: of a page's bare
one when it is gone to, then of what the page writes there."""


def steps() -> None:
    """On every page: an address that is written without a click or a key takes the place of the one before."""
    st.components.v2.component("coconut_steps", js=STEPS)(key="steps", height=1)


class Left(NamedTuple):
    """How a page left the address bar."""

    meant: dict[str, str]
    """What the page showed, as ``encode`` says it."""
    stood: dict[str, str]
    """What stood in the bar: the same, unless it was read there in other words."""
    before: dict[str, str]
    """What stood there before."""
    setup: object
    """What the sidebar of Explore and Intervene said."""


def opened(kind: type[L], page: str) -> L | None:
    """What the link asks for: once a session, and whenever the address is another than the page wrote, or the problem
    is another since, as after Back. Where it is damaged, the page as it opens, with a sentence why. None else: the page
    shows what is chosen now, as one does that the bar on top leads to."""
    state, found, asked = st.session_state, st.query_params.to_dict(), None
    entered, first = "link_page" not in state, f"{page}_opened" not in state
    here, state.link_page = state.get("link_page") == page, page
    left: Left | None = state.get(f"{page}_left")
    turned = left is not None and found != left.stood
    if here and left is not None and found == left.before:
        turned = turned and _went_back()  # a click told before the browser had what was written last comes with this
    elif not here:
        turned = _went_back() and (left is None or turned or left.setup != state.get("x_setup"))
    state[f"{page}_read"] = entered or turned
    if first or turned:
        state.update({f"{page}_opened": True, f"{page}_link_error": None})
        try:
            asked = kind.decode(found)
        except InputError as error:
            asked = kind()
            state[f"{page}_link_error"] = f"{capital(str(error))}. Showing the example instead."
    if state.get(f"{page}_link_error"):
        wrong(state[f"{page}_link_error"], icon=":material/link_off:")
    return asked


def _went_back() -> bool:
    """Whether the page is shown because the reader went back, or forward."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def write(shown: Link, page: str) -> None:
    """Keep the address bar at what the page shows; as it was where no link can hold that, and as long as the page
    shows what it was read as, however that was put. Parameters of other names stay."""
    try:
        wanted = shown.encode()
    except InputError:
        return
    fields = {field.alias or name for name, field in type(shown).model_fields.items()} | {"graph"}
    state, found = st.session_state, st.query_params.to_dict()
    wanted |= {name: value for name, value in found.items() if name not in fields}
    left: Left | None = state.get(f"{page}_left")
    same = left is not None and (left.meant, left.stood) == (wanted, found)
    before = left.before if left is not None and left.stood == found else found
    if not state.pop(f"{page}_read", False) and not same:
        if wanted != found:
            st.query_params.from_dict(wanted)
            before = found
        found = wanted
    state[f"{page}_left"] = Left(wanted, found, before, state.get("x_setup"))


def share(shown: Link, caption: str) -> None:
    """The link to what is on the screen, or why there can be none."""
    found = attempt(lambda: shown.url(st.context.url or ""))
    if found is not None:
        st.code(found, language=None, wrap_lines=True)
        st.caption(caption)


# --- kinds of fields --------------------------------------------------------------------------------------------------


def whole(least: int, most: int, alias: str | None = None) -> Any:
    return Field(alias=alias, ge=least, le=most, description=f"a whole number from {least:,} to {most:,}")


def _ends(value: object) -> object:
    if not isinstance(value, str):
        return value
    few, dash, many = value.partition("-")
    return few, many if dash else few


def _in_order(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] > pair[1]:
        raise ValueError("the first is larger than the second")
    return pair


def _dashed(pair: tuple[int, int]) -> str:
    return "{}-{}".format(*pair)


def _path(text: str, info: ValidationInfo) -> str:
    if info.context == "link" and not (text.isprintable() and len(text) <= MAX_PATH):
        raise ValueError("not a path")
    if info.context == "link" and hosted.LIMITS.hosted and text not in (UNTRAINED, WORDS):
        hosted.path_of(text)
    return text


Source = Literal["example", "generated", "file", "custom"]
Seed = Annotated[int, whole(0, MAX_SEED)]
Samples = Annotated[int, whole(1, MAX_SAMPLES, alias="draws")]
Folder = Annotated[
    str,
    AfterValidator(_path),
    Field(description=f"the name of a checkpoint in {CHECKPOINTS.name}/ or the path of a folder"),
]
Flag = Annotated[bool, PlainSerializer(int), Field(description="0 or 1")]
Range = Annotated[tuple[T, T], BeforeValidator(_ends), AfterValidator(_in_order), PlainSerializer(_dashed)]
"""Two whole numbers, written 3-6 in links, or 3 for 3-3."""
Hops = Annotated[int, Field(ge=1, le=MAX_HOPS)]
Nodes = Annotated[int, Field(ge=4, le=MAX_NODES)]
OneKind = Annotated[Kind, Field(description=" or ".join(KINDS))]
HopRange = Annotated[Range[Hops], Field(description=f"a range such as 1-{MAX_HOPS}")]
NodeRange = Annotated[Range[Nodes], Field(description=f"a range such as 4-{MAX_NODES}")]


# --- a problem, a model and prompt samples ----------------------------------------------------------------------------

_GENERATED = ("kind", "hops", "nodes", "seed")
_GRAPH: TypeAdapter[Any] = TypeAdapter(tuple[str, str | None, tuple[str, str] | None])


class Setup(Link):
    """What Explore and Intervene have in common: what the sidebar says.

    Fields that belong to another source than ``source`` keep their defaults in links.
    """

    source: Annotated[Source, Field(description="example, generated or custom")] = "example"
    kind: OneKind = "balanced"
    hops: HopRange = (3, 6)
    """Fewest and most hops of a generated problem."""
    nodes: NodeRange = (14, 28)
    """Fewest and most nodes of a generated problem."""
    seed: Seed = 0
    """Seed of a generated problem."""
    text: Annotated[str, Field(exclude=True)] = ""
    """The custom graph as typed; in links, ``graph`` holds it with its root and candidates."""
    root: Annotated[str | None, Field(exclude=True)] = None
    """Root of a custom graph; None to take the graph's own, or the first that fits."""
    candidates: Annotated[tuple[str, str] | None, Field(exclude=True)] = None
    """Candidates of a custom graph; None as for ``root``."""
    pad: Annotated[Flag, Field(alias="fill", description="0 or 1")] = True
    """Whether a small graph is padded with distractor facts."""
    checkpoint: Folder = DEFAULT_CHECKPOINT.name
    samples: Samples = 16
    """Prompt samples (R)."""
    sample_seed: Annotated[int, whole(0, MAX_SEED, alias="draw_seed")] = 0
    """Seed of the prompt samples."""

    def of(self, problem: ProsQAProblem) -> Self:
        """The same with an uploaded row's problem written out, as a link cannot hold the file."""
        if self.source != "file":
            return self
        root, *candidates = (problem.idx_to_symbol[v] for v in (problem.root, problem.target, problem.neg_target))
        asked = {"text": write_graph(problem, "edges"), "root": root, "candidates": tuple(candidates)}
        return self.model_copy(update={"source": "custom"} | asked)

    def on(self, kind: type[L], **more: Any) -> L:
        """The same on another page, whose own fields are as given or at their defaults."""
        return kind(**{name: getattr(self, name) for name in Setup.model_fields} | more)

    def encode(self, without: Collection[str] = ()) -> dict[str, str]:
        """Raises InputError if the graph is too large for a link."""
        assert self.source != "file", "write the row out first (Setup.of)"
        graph: dict[str, str] = {}
        if self.source == "custom":
            graph["graph"] = pack([self.text, self.root, self.candidates])
            if (n := len(graph["graph"])) > MAX_PACKED:
                raise InputError(
                    f"this graph needs {n:,} characters, and a link holds at most {MAX_PACKED:,}; "
                    "download it as GraphML or JSON instead"
                )
        return graph | super().encode((*without, *(() if self.source == "generated" else _GENERATED)))

    @classmethod
    def decode(cls, params: Mapping[str, str]) -> Self:
        if params.get("source") == "file":
            raise InputError(
                "the link's source is a file, which no link can hold; expected example, generated or custom"
            )
        found = super().decode(params)
        if found.source != "custom":
            return found
        if "graph" not in params:
            raise InputError("the link says it holds a custom graph, but has none")
        try:
            text, root, candidates = _GRAPH.validate_python(unpack(params["graph"]))
        except ValidationError:
            raise InputError("the graph in the link is not one that this page wrote") from None
        return found.model_copy(update={"text": text, "root": root, "candidates": candidates})


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
