"""The tour: five steps through Explore, each beside what it is about; skipped by one click."""

from __future__ import annotations

import streamlit as st

STEPS = (
    (
        "st-key-head",
        "One question, answered by search",
        "The model has read facts (*every yumpus is a rorpus*) and must say which of two things someone is. No fact "
        "says it: it has to walk the graph from the **root** to one of the two candidates.",
    ),
    (
        "st-key-x_steps",
        "It thinks in states, not in words",
        "Before it answers, its last hidden state is fed back as its next input, six times. Press **Play**, move the "
        "slider, or use the keys: Space, ← and →, 1 to 9, 0 for the answer.",
    ),
    (
        "st-key-x_dag",
        "What a thought holds",
        "Colour is the probability of each node as the next step, read from the thought by the model's own output "
        "layer (the logit lens). Orange is the true **frontier**: the nodes that thought t should hold, t hops from "
        "the root. It holds several at once.",
    ),
    (
        "st-key-x_stairs",
        "The staircase",
        "All thoughts at once. Where the colour fills the orange steps, the model searches breadth first; then the "
        "answer token **[A]** takes over. Below stand the same measures beside their controls.",
    ),
    (
        "st-key-x_change",
        "Is it used, or only readable?",
        "That a node can be read from a thought does not show that the model uses it. **Change its mind** swaps two "
        "branches inside one thought: see whether the answer follows, beside a random change as large.",
    ),
)
"""What is framed, a title, and what to say of it."""
FRAME = """\
export default function ({ data }) {
  document.querySelectorAll('[data-toured]').forEach((e) => {
    e.style.outline = ''
    delete e.dataset.toured
  })
  if (!data) return
  const [framed, told, main] = [data, 'st-key-x_tour', 'stMain'].map((name) => document.querySelector('.' + name))
  if (!framed) return
  framed.dataset.toured = true
  Object.assign(framed.style, { outline: '3px solid #e36c09', outlineOffset: '5px', scrollMarginTop: '4.5rem' })
  const { left, right, bottom, top } = framed.getBoundingClientRect()
  const block = bottom - top < innerHeight / 2 ? 'center' : 'start'
  if (top < 60 || bottom > innerHeight - 60) framed.scrollIntoView({ block })
  const besides = left + right > innerWidth && right - left < innerWidth / 2
  const edge = `${main.getBoundingClientRect().left + 16}px`
  Object.assign(told.style, besides ? { left: edge, right: 'auto' } : { left: 'auto', right: '16px' })
}
"""
"""Frames a part of the page, brings it on the screen, and moves what is told of it out of its way."""


def offer() -> None:
    """The button that begins it."""
    if st.button("Tour", icon=":material/tour:", type="tertiary", key="x_tour_begin", on_click=_go, args=(0,)):
        st.rerun()  # a second model is not of this part of the page


def tour() -> None:
    """The step the reader is at, in a corner of the window."""
    at = st.session_state.get("x_tour_at")
    if at is not None:
        _tell(at)
    framed = "" if at is None else STEPS[at][0]
    st.components.v2.component("coconut_tour", js=FRAME)(key="x_tour_frame", data=framed, height=1)


def _tell(at: int) -> None:
    _, title, said = STEPS[at]
    with st.container(key="x_tour"):
        st.markdown(f"**{title}** :gray[{at + 1} of {len(STEPS)}]  \n{said}")
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Skip", type="tertiary", key="x_tour_skip", on_click=_go, args=(None,))
            if at:
                st.button("Before", key="x_tour_before", on_click=_go, args=(at - 1,))
            last = at == len(STEPS) - 1
            st.button(
                "Done" if last else "Next", type="primary", key="x_tour_next", on_click=_go,
                args=(None if last else at + 1,),
            )  # fmt: skip


def _go(at: int | None) -> None:
    st.session_state.x_tour_at = at
    if at is not None:
        st.session_state.update(x_mind=False, x_rival="")
