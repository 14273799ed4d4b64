"""The gallery: named problems to begin with, each a view, so each is one click and one link."""

from __future__ import annotations

import streamlit as st

from app.explore.state import View, put

FAMILY = """\
Ann is a Baker. Ann is a Carter.
Every Baker is a Dyer. Every Carter is a Fisher. Every Carter is a Glover.
Every Fisher is a Hunter. Every Dyer is a Mason.
Bob is a Tailor. Every Tailor is a Weaver. Every Weaver is a Smith.
Is Ann a Hunter or Smith?
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
        View(source="generated", kind="hard", hops=(6, 8), nodes=(30, 36), seed=0),
    ),
    "The shortcut fails": (
        "the shortcut baseline picks the wrong candidate, the model does not",
        View(source="generated", hops=(1, 2), nodes=(14, 20), seed=0),
    ),
    "Deeper than trained": (
        "eight hops, with as many thoughts; training ended at six",
        View(source="generated", hops=(8, 8), nodes=(28, 34), seed=1, thoughts="hops"),
    ),
    "The smallest": (
        "four nodes, padded with distractor facts",
        View(source="custom", text="a b\nc d", root="a", candidates=("b", "d")),
    ),
    "A family in own words": ("names the model has never seen", View(source="custom", text=FAMILY)),
}
"""Name -> (what is to be seen, view)."""
NO_TEXT = (
    "None comes with the project: a GPT-2 has half a gigabyte. Open yours under Model, another folder "
    "(docs/text-models.md says how), and these problems are read as English."
)


def gallery() -> None:
    """The gallery, closed."""
    with st.popover("Gallery", icon=":material/photo_library:", type="tertiary"):
        for name, (what, view) in GALLERY.items():
            st.button(name, help=what, on_click=put, args=(view,), type="tertiary", key=f"x_gallery_{name}")
        st.button("A text model", help=NO_TEXT, disabled=True, type="tertiary", key="x_gallery_text")
