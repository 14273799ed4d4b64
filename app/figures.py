"""A figure on a page: drawn, captioned, clicked, offered as files. Every chart of the app is drawn by ``figure``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import streamlit as st

from app.words import WIDE, explained, literal, scale, theme
from probing.draw import echarts
from probing.draw.export import MEDIA_TYPES, export
from probing.draw.marks import ROLE_WORDS, printed, unbroken
from probing.draw.values import Chart, Graph, Heatmap, display_name

FORMATS = ("svg", "png", "csv", "json")
"""Every figure as a picture and as its numbers."""
LABELS = {"graphml": "GraphML", "node-link": "node-link"}


def figure(
    value: Graph | Heatmap | Chart,
    key: str,
    *,
    caption: str = "",
    name: str = "",
    height: int | None = None,
    selected: int | None = None,
    on_hit: Callable[[int, int], None] | None = None,
    moving: bool = False,
    small: bool = False,
    named: bool = True,
) -> None:
    """Draw a figure, with its caption (markdown) and its files below it.

    ``name`` is its files' (default: a chart's own name). ``selected`` is the node that is emphasised. ``on_hit`` is
    called with what a click means, as ``echarts.hits`` has it. ``moving``: dots
    run into the frontier of a graph; ``small``: its nodes are small; ``named``: as in ``echarts.option``.
    """

    def clicked() -> None:
        found = hit(value, key)
        if found is not None and on_hit is not None:
            on_hit(*found)

    words = value.about() if isinstance(value, Chart) else value.words
    height = height or echarts.height(value, small=small)
    if on_hit is not None and isinstance(value, Graph):
        _by_keyboard(value, key, on_hit)
    options: dict[str, Any] = {} if on_hit is None else {"on_select": clicked}
    columns = round(value.width) + 1 if isinstance(value, Graph) else 0
    with st.container(key=f"columns-{columns}-{key}") if columns in WIDE else nullcontext():
        st.echarts_chart(
            echarts.option(
                value, theme(), selected=selected, moving=moving, small=small, named=named,
                pressed=on_hit is not None, tall=height,
            ),
            key=key, height=round(height * scale()), renderer="svg", alt=words.alt, **options,
        )  # fmt: skip
    name = name or (value.name if isinstance(value, Chart) else type(value).__name__.lower())
    with st.container(horizontal=True, wrap=False):
        st.caption(unbroken(caption), width="stretch", help=explained(caption))
        with st.popover("Files", icon=":material/download:", type="tertiary", help="This figure and its numbers"):
            files(partial(export, value, theme=theme()), FORMATS, name, key)


def _by_keyboard(value: Graph, key: str, on_hit: Callable[[int, int], None]) -> None:
    """The nodes of a graph as buttons that Tab reaches, by distance; out of sight until it does."""
    with st.container(horizontal=True, key=f"{key}-tab_nodes"):
        for node in sorted(value.nodes, key=lambda node: (node.distance is None, node.distance or 0, node.id)):
            said = printed(node.value, value.scale) or "0"
            said += "" if node.role == "node" else f" ({ROLE_WORDS[node.role]})"
            st.button(
                f"{literal(display_name(node.name, 20))} {said}", key=f"{key}_tab_{node.id}", type="tertiary",
                on_click=on_hit, args=(value.state, node.id),
                icon=":material/trip_origin:" if node.frontier else None,
            )  # fmt: skip


def cards(
    columns: int,
    width: int,
    drawn: Iterable[tuple[str, Callable[[], None]]],
    spans: Mapping[str, int | Literal["all"]] = MappingProxyType({}),
) -> None:
    """Things side by side, each under its title (markdown), in as many columns of at least that width as fit; some
    span several."""
    with st.grid(columns, min_column_width=width, gap="small", border=True) as grid:
        for title, draw in drawn:
            with grid.cell(column_span=spans.get(title, 1)):
                st.markdown(f"##### {title}")
                draw()


def files(
    make: Callable[[str], str | bytes],
    formats: Collection[str],
    stem: str,
    key: str,
    *,
    labels: Mapping[str, str] = LABELS,
    without: Collection[str] = (),
) -> None:
    """A download button for each format, keyed ``key_FORMAT``; ``make(format)`` is called only when one is pressed."""
    with st.container(horizontal=True, gap="xsmall"):
        for format in formats:
            ending = "node-link.json" if format == "node-link" else format
            st.download_button(
                labels.get(format, format.upper()), partial(make, format), file_name=f"{stem}.{ending}",
                mime=MEDIA_TYPES[format], on_click="ignore", key=f"{key}_{format}", disabled=format in without,
            )  # fmt: skip


def hit(value: Graph | Heatmap | Chart, key: str) -> tuple[int, int] | None:
    """What the click on a figure meant, as ``echarts.hits`` has it.

    The browser tells all that is selected, in every series, so what is new was clicked; or what is missing, since a
    second click takes the selection back. That means the same again, as long as the same things are shown.
    """
    state = st.session_state
    parts = value.nodes if isinstance(value, Graph) else value.rows if isinstance(value, Heatmap) else value.series
    things = tuple(part.name for part in parts)
    now = Counter(echarts.hits(value, state[key].selection.selected))
    before, was = state.get(f"{key}_hit", ((), Counter()))
    state[f"{key}_hit"] = things, now
    return next(iter(now - was or (was - now if before == things else ())), None)
