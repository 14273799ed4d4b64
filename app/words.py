"""Words of all pages: names as they are, the question, and what was wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import hosted
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.marks import THEMES, Theme, unbroken
from probing.draw.of_report import question
from probing.draw.values import display_name

T = TypeVar("T")


SIDEBAR = "the sidebar (» at the top left opens it where it is closed)"
"""Where it is said to be on every screen: on a phone it is not beside the page, but behind a button."""
STYLE = """\
[data-testid=stMainBlockContainer] { padding-inline: clamp(1rem, 2.5vw, 3rem); }
[data-testid=stSidebarContent] { padding-inline: 1rem; }
[data-testid=stSidebarUserContent] { padding-inline: 0; padding-bottom: 1rem; }
[data-testid=stSidebarHeader] { height: 3rem; margin-bottom: 0; }
[data-testid=stSidebarUserContent] [data-testid=stVerticalBlock] { gap: 0.45rem; }
.st-key-x_source button { padding-inline: 5px; }
.st-key-x_source button p { font-size: 13px; }
:is(.st-key-x_pair, .st-key-i_pair) > div { min-width: min(440px, 100%); }
.st-key-i_first > div { min-width: min(410px, 100%); }
.st-key-x_minds > div { min-width: min(320px, 100%); }
.st-key-x_minds_wide > div, .st-key-x_both > div { min-width: min(440px, 100%); }
.st-key-x_told > div:first-child { min-width: min(22rem, 100%); }
.st-key-x_both { align-items: stretch; }
.st-key-x_both > div > [data-testid=stVerticalBlock] { height: 100%; }
:is(.st-key-x_both .st-key-x_dag, .st-key-x_rival_dag) { margin-top: auto; }
.st-key-x_keys, .st-key-x_autoplay, .st-key-x_tour_frame, .st-key-steps {
  position: absolute; width: 1px; height: 1px; overflow: hidden; opacity: 0; }
.st-key-x_keys { visibility: hidden; }
[data-testid=stLayoutWrapper]:has(> :is(.st-key-x_keys, .st-key-x_tour)) { position: absolute; width: 1px; }
[data-testid=stCode] > div { visibility: visible; }
:is(.st-key-x_dag, .st-key-x_stairs) [data-testid=stElementToolbar] { top: -0.9rem !important; }
.st-key-i_presets button { padding-inline: 0.5rem; }
.st-key-i_presets button p { font-size: 14px; }
.st-key-x_said { min-height: 3.2rem; }
[data-testid=stLayoutWrapper]:has(> [class*=-tab_nodes]) { height: 0; margin-bottom: -1rem; z-index: 10; }
[class*=-tab_nodes] { flex-wrap: nowrap; gap: 0 0.9rem; overflow: auto hidden; background: var(--ground); }
[class*=-tab_nodes]:focus-within { min-height: 2rem; }
[class*=-tab_nodes]:not(:focus-within) { height: 1px; opacity: 0; pointer-events: none; }
[class*=-tab_nodes] button { min-height: 0; padding: 0.1rem 0; }
[data-testid=stMenuButtonBody] { max-width: calc(100vw - 1rem); }
[data-testid=stMenuButtonBody] * { white-space: normal; height: auto; }
.st-key-x_tour { position: fixed; right: 1rem; bottom: 1rem; width: min(25rem, 100vw - 2rem); z-index: 1000;
  padding: 1rem; border-radius: 8px; box-shadow: 0 4px 24px #0004; background: var(--ground); }
@media (max-width: 1500px) { .st-key-i_presets span:has(> [data-testid=stIconMaterial]) { display: none; } }
@media (max-width: 1200px) {
  .st-key-head > div:first-child { min-width: 100%; }
}
@media (max-width: 640px) {
  [data-testid=stLayoutWrapper]:has(> .st-key-x_legend) { order: 1; }
  :is(.st-key-i_show, .st-key-x_value) button { padding-inline: 0.5rem; }
  .st-key-head { gap: 0.2rem; }
  .st-key-head button { padding: 0.1rem 0.35rem; min-height: 2.1rem; }
  [data-testid=stRadioGroup], [data-testid=stRadio] [role=radiogroup] { flex-flow: row wrap; gap: 0 0.8rem; }
  .st-key-head button p { font-size: 14px; }
  .st-key-head > div:nth-child(n+4) button p, .st-key-x_back p, .st-key-x_step p { font-size: 0; }
  .st-key-x_steps { gap: 0.5rem; }
  .st-key-x_back button, .st-key-x_step button { padding-inline: 0.4rem; }
}
"""
"""Less margin, graphs that wrap rather than shrink beyond reading, keys without buttons, nodes that show when they are
reached by Tab, room for two lines, and on a small screen small buttons, some of them without their word.

A browser tries every rule on every element of every drawing whenever something is drawn anew: what begins with
``:has(`` of a descendant, or ends with ``*`` behind part of a class, doubled the time of a move of the slider."""
MUTED = "[data-testid=stCaptionContainer], [data-testid=stCaptionContainer] * {{ color: {muted}; opacity: 1; }}"
"""A caption is 4.5 : 1 or more on its background."""
WIDE = range(7, 41)
"""Columns of graphs that are moved sideways where a screen has less room for them (STYLE), so that names stay apart."""
STYLE += "[class*=st-key-columns-] { overflow-x: auto; }\n" + "".join(
    f"[class*=st-key-columns-{n}-] > .stElementContainer {{ min-width: {48 * n}px; }}\n" for n in WIDE
)
BIG = 1.27
"""How much larger everything is before an audience."""
PRESENTING = f"""\
html {{ font-size: {15 * BIG:.0f}px; }}
[data-testid=stEChartsChart] {{ scale: {BIG}; transform-origin: 0 0; width: {100 / BIG:.2f}% !important; \
height: {100 / BIG:.2f}% !important; }}
[data-testid=stSidebar], [data-testid=stExpandSidebarButton], .st-key-x_hero {{ display: none; }}
[data-testid=stMainBlockContainer] {{ padding-top: 3.6rem; }}
[data-testid=stMain] [data-testid=stVerticalBlock] {{ gap: 0.4rem; }}
@media (max-height: 820px) {{ html {{ font-size: {15 * 1.1:.1f}px; }} }}
[data-testid=stLayoutWrapper]:has(> .st-key-x_legend) {{ order: 1; }}
"""
"""Before an audience: big type and charts, and as much of the graph on the screen as there is room for."""
DARK_STYLE = """\
button[kind=primary], button[kind=primary] *, [data-tag], [data-tag] * { color: #0e1117; }
"""
"""White on the dark theme's blue cannot be read."""
TERMS = {
    "frontier": "the nodes exactly t hops from the root: what thought t should hold in a breadth-first search.",
    "logit lens": "a state read by the model's own output layer, as if it had to name the next node now; in text, "
    "all tokens of the name, behind the words that training has there.",
    "[A]": "the answer token: a token that says *the search is over, the answer comes next*.",
    "AUROC": "how often a node that should stand out does so over one that should not: 1 always, .5 a coin.",
    "control": "the same measured where there is nothing to find (labels shuffled, a model without training, another "
    "thought), so what is seen there is what chance gives.",
    "prompt sample": "the same problem written once more: nodes relabelled, edges and candidates in another order.",
}
"""What a reader may not know, explained where it is met."""


def explained(text: str) -> str | None:
    """What the terms in a text mean, to stand behind it; None where it has none."""
    found = [f"**{term}**: {meaning}" for term, meaning in TERMS.items() if term in text]
    return "  \n".join(found) or None


def theme() -> Theme:
    """The colours of the page, as the reader's browser has it."""
    return THEMES["dark" if st.context.theme.type == "dark" else "light"]


def style() -> None:
    """What the theme cannot say."""
    own, dark = theme(), DARK_STYLE if theme().name == "dark" else ""
    st.html(f"<style>:root {{ --ground: {own.background}; }}{STYLE}{MUTED.format(muted=own.muted)}{dark}</style>")
    present()


def present() -> None:
    """Big type and no sidebar, where that is asked for."""
    if scale() > 1:
        st.html(f"<style>{PRESENTING}</style>")


def scale() -> float:
    """How large things are drawn."""
    return BIG if st.session_state.get("x_present") else 1


def literal(text: str) -> str:
    """Text for markdown, shown character by character: no markup, links, HTML, emoji codes or maths."""
    flat = re.sub(
        r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", "\u2060", unbroken(" ".join(hosted.said(text).split()))
    )  # no address becomes a link
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:^=&@/\"'" else c for c in flat)


def bold(name: str) -> str:
    return f"**{literal(display_name(name, 40))}**"


def candidates(problem: ProsQAProblem) -> tuple[str, str]:
    """The target and the distractor, by name (markdown)."""
    return bold(problem.idx_to_symbol[problem.target]), bold(problem.idx_to_symbol[problem.neg_target])


def header(title: str) -> DeltaGenerator:
    """A page's title (markdown); what is drawn in the row that it gives stands to the right."""
    if st.session_state.pop("x_stopped", False):
        st.rerun()  # the sidebar and the style are not of the part of a page that a title is in
    row = st.container(horizontal=True, vertical_alignment="center", key="head")
    with row, st.container(width="stretch"):
        st.markdown(f"## {title}")
    if scale() > 1:
        row.button(
            "Stop presenting", icon=":material/close:", type="tertiary", key="x_stop", on_click=st.session_state.update,
            args=({"x_present": False, "x_stopped": True},),
        )  # fmt: skip
    return row


def asked(problem: ProsQAProblem) -> str:
    """The question of a problem (markdown)."""
    return question(problem, bold)


def capital(text: str) -> str:
    """Text that begins with a capital, as a sentence does; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def previous() -> None:
    """Say that what is drawn is from before, and its charts paler for it."""
    st.html("<style>[data-testid=stEChartsChart] { opacity: 0.35; filter: grayscale(1); }</style>")
    st.info("Showing the previous problem until the input in the sidebar is valid.", icon=":material/history:")


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
