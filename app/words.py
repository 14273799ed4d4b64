"""Words of all pages: names as they are, the question, and what was wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.values import display_name

T = TypeVar("T")


def literal(text: str) -> str:
    """Text for markdown, shown character by character: no markup, links, HTML, emoji codes or maths."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:^=&@/\"'" else c for c in flat)


def bold(name: str) -> str:
    return f"**{literal(display_name(name, 40))}**"


def heading(problem: ProsQAProblem) -> None:
    """The question, candidates in the order of their numbers so that the order says nothing about the answer."""
    nodes = (problem.root, *sorted((problem.target, problem.neg_target)))
    root, first, second = (bold(problem.idx_to_symbol[v]) for v in nodes)
    st.markdown(f"## Is {root} a {first} or a {second}?")


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


def files_stem(name: str) -> str:
    """A name fit for a file, without its ending."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)[:60] or "figure"
