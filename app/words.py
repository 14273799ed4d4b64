"""Words of all pages: names as they are, the question, and what was wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.values import display_name

T = TypeVar("T")


STYLE = """\
[data-testid=stMainBlockContainer] { padding-inline: clamp(1rem, 2.5vw, 3rem); }
.st-key-x_pair > div { min-width: min(440px, 100%); }
.st-key-x_keys, .st-key-x_autoplay { position: absolute; width: 1px; height: 1px; overflow: hidden; opacity: 0; }
.st-key-x_said { min-height: 3.2rem; }
"""
"""Less margin, graphs that wrap rather than shrink beyond reading, keys without buttons, and room for two lines."""
PRESENTING = """\
html { font-size: 19px; }
[data-testid=stSidebar], [data-testid=stExpandSidebarButton] { display: none; }
"""
DARK_STYLE = """\
button[kind=primary], button[kind=primary] *, [data-baseweb=tag], [data-baseweb=tag] * { color: #0e1117; }
"""
"""White on the dark theme's blue cannot be read."""


def style() -> None:
    """What the theme cannot say."""
    dark = DARK_STYLE if st.context.theme.type == "dark" else ""
    presenting = PRESENTING if st.session_state.get("x_present") else ""
    st.html(f"<style>{STYLE}{dark}{presenting}</style>")


def literal(text: str) -> str:
    """Text for markdown, shown character by character: no markup, links, HTML, emoji codes or maths."""
    flat = re.sub(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", "\u2060", " ".join(text.split()))  # no address becomes a link
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:^=&@/\"'" else c for c in flat)


def bold(name: str) -> str:
    return f"**{literal(display_name(name, 40))}**"


def header(title: str) -> DeltaGenerator:
    """A page's title (markdown); what is drawn in the row that it gives stands to the right."""
    row = st.container(horizontal=True, vertical_alignment="center")
    with row, st.container(width="stretch"):
        st.markdown(f"## {title}")
    return row


def asked(problem: ProsQAProblem) -> str:
    """The question, candidates in the order of their numbers so that the order says nothing about the answer."""
    nodes = (problem.root, *sorted((problem.target, problem.neg_target)))
    return "Is {} a {} or a {}?".format(*(bold(problem.idx_to_symbol[v]) for v in nodes))


def capital(text: str) -> str:
    """Text that begins with a capital, as a sentence does; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def wrong(error: object, *, icon: str = ":material/error:") -> None:
    """An error, or one sentence, in a red box."""
    st.error(literal(str(error)), icon=icon)


def attempt(make: Callable[[], T]) -> T | None:
    """What ``make`` gives; None where it raises InputError, which is said."""
    try:
        return make()
    except InputError as error:
        wrong(error)
        return None


def kept(key: str) -> dict[str, Any]:
    """Arguments of a widget whose value survives a visit to another page."""
    return {"key": key, "persist_state": "session"}


def choice(key: str, options: Iterable[Any]) -> dict[str, Any]:
    """Arguments of a kept widget that stands on the first option, unless the session has chosen another of them."""
    listed = list(options)
    if st.session_state.get(key) not in listed:
        st.session_state[key] = listed[0]
    return kept(key) | {"options": listed}


def files_stem(name: str) -> str:
    """A name fit for a file, without its ending."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)[:60] or "figure"
