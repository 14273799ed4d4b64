"""The gallery: named problems to begin with, each a view, so each is one click and one link.

Where the point is the answer, the view is of the answer.
"""

from __future__ import annotations

import streamlit as st

from app.explore.state import View, put

FAMILY = """\
Ann is a mother. Ann is an aunt.
Every mother is a parent. Every aunt is a sister. Every aunt is a relative.
Every sister is a sibling. Every parent is an ancestor.
Bob is a groom. Every groom is a husband. Every husband is a spouse.
Is Ann a sibling or spouse?
"""
GALLERY = {
    "The example": ("four hops, three wide steps", View()),
    "Many branches": (
        "a thought that has to hold eleven nodes at once",
        View(source="generated", hops=(3, 4), nodes=(26, 28), seed=47),
    ),
    "A dead end": (
        "the widest step is passed, and most of it leads nowhere",
        View(source="generated", kind="public", hops=(4, 5), nodes=(20, 26), seed=3),
    ),
    "A wrong answer": (
        "eight hops, but six thoughts",
        View(source="generated", kind="hard", hops=(6, 8), nodes=(30, 36), seed=3, k=6),
    ),
    "The shortcut fails": (
        "the shortcut baseline picks the wrong candidate, the model does not",
        View(source="generated", hops=(1, 2), nodes=(14, 20), seed=0, k=6),
    ),
    "Deeper than trained": (
        "eight hops, with as many thoughts; training ended at six",
        View(source="generated", hops=(8, 8), nodes=(28, 34), seed=1, thoughts="hops", k=8),
    ),
    "The smallest": (
        "four nodes, padded with distractor facts; the model guesses",
        View(source="custom", text="Ann Baker\nBob Carter", root="Ann", candidates=("Baker", "Carter"), k=6),
    ),
    "A text model": (
        "English with names of several tokens: a small model trained from scratch",
        View(checkpoint="prosqa-text", source="generated", hops=(2, 2), nodes=(8, 8), seed=0),
    ),
    "Words against thoughts": (
        "a chain of thought writes one node a step where Coconut holds the whole frontier",
        View(checkpoint="prosqa-tiny", source="generated", hops=(2, 2), nodes=(8, 8), k=0, against="prosqa-tiny-cot"),
    ),
    "A family in own words": ("names the model has never seen", View(source="custom", text=FAMILY, k=6)),
}
"""Name -> (what is to be seen, view)."""


def gallery() -> None:
    """The gallery, closed."""
    shown = {name: f"**{name}**: {what}" for name, (what, _) in GALLERY.items()}

    def show() -> None:
        put(GALLERY[st.session_state.x_gallery][1])

    chosen = st.menu_button(
        "Gallery", [*GALLERY], format_func=lambda name: shown.get(name, name), on_click=show, key="x_gallery",
        icon=":material/photo_library:", type="tertiary",
    )  # fmt: skip
    if chosen:
        st.rerun()  # the sidebar and the problem are not of this part of the page
