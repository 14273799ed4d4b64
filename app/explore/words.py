"""Explore in words: the run as a line of text, and what each layer says at each thought."""

from __future__ import annotations

import streamlit as st

from app import compute
from app.figures import figure, files
from app.words import attempt, bold, kept, literal
from model.files import html, write_csv
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import WITHOUT_GRAPH, TextProblem, read_question
from model.rows import bare
from probing.draw import of_lens
from probing.draw.of_report import state_labels
from probing.read.lens import COLUMNS, LensGrid
from probing.read.report import ProbeReport
from probing.read.strip import Piece, Strip

STRIP = """\
export default function ({ data, parentElement, setTriggerValue }) {
  parentElement.querySelector('.strip').innerHTML = data.line
  const chosen = (event) => {
    const box = event.target.closest('[data-node],[data-k]')
    if (!box || (event.type === 'keydown' && event.key !== 'Enter' && event.key !== ' ')) return
    event.preventDefault()
    if (box.dataset.k !== undefined) setTriggerValue('k', Number(box.dataset.k))
    else setTriggerValue('node', Number(box.dataset.node))
  }
  parentElement.addEventListener('click', chosen)
  parentElement.addEventListener('keydown', chosen)
  return () => ['click', 'keydown'].forEach((kind) => parentElement.removeEventListener(kind, chosen))
}
"""
"""Tells which node or thought was clicked, or chosen by Enter."""
CSS = """\
.strip { font-family: var(--st-code-font, monospace); font-size: 13px; line-height: 1.9; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 330px; overflow-y: auto; color: var(--st-text-color) }
.strip [data-node], .strip [data-k] { cursor: pointer; border-radius: 4px; padding: 1px 2px }
.strip [data-node]:hover, .strip .on { outline: 2px solid var(--st-primary-color) }
.strip [data-node] { background: var(--st-secondary-background-color) }
.strip [data-k] { border: 1.5px solid var(--st-primary-color); padding: 1px 6px; margin: 0 2px; white-space: nowrap }
.strip [data-k].on ~ [data-k] { border-style: dashed }
.strip [data-k].on { background: var(--st-primary-color); color: var(--st-background-color) }
"""


def words(loaded: compute.Loaded, problem: ProsQAProblem, report: ProbeReport, k: int, node: int) -> None:
    """The line of text and the lens grid, computed when they are first asked for."""
    if not st.toggle("In words: the run as text, and the logit lens layer by layer", key="x_words"):
        return
    asked = {"seed": report.seed, "n_thoughts": report.n_thoughts}
    run, grid = compute.strip(loaded, problem, **asked), compute.lens(loaded, problem, **asked)
    strip(run, k, node)
    layers(grid, k)


def question(loaded: compute.Loaded) -> TextProblem | None:
    """A question of which no graph is known, and all that can be shown of it; the question, where it can be read."""
    state = st.session_state
    st.markdown("## A question in words")
    st.text_area(
        "Question", **kept("x_question"), height=100, max_chars=4_000, label_visibility="collapsed",
        help="A question alone, or as GSM8k-Aug has it: question||<<6*30=180>> <<180-5=175>> #### 175. The results of "
        "the steps are then looked for in the thoughts. Ctrl+Enter to ask.",
    )  # fmt: skip
    problem = attempt(lambda: read_question(state.x_question or ""))
    if problem is None:
        return None
    n = loaded.model.config.n_thoughts
    run = compute.strip(loaded, problem, seed=0, n_thoughts=n)
    state.x_k = min(max(int(state.x_k), 0), n)
    names = state_labels(n)
    with st.container(horizontal=True, vertical_alignment="center"):
        k = st.select_slider("Thought", range(n + 1), key="x_k", format_func=names.__getitem__, width=360) if n else 0
        st.markdown(said(run, problem, k))
    strip(run, k, None)
    if problem.results and n:
        found = attempt(lambda: compute.numbers(loaded, problem, problem.results, n_thoughts=n))
        if found is not None:
            chart = of_lens.numbers(found)
            figure(chart, "x_numbers", caption=f"{chart.title}. {chart.note}")
    layers(compute.lens(loaded, problem, seed=0, n_thoughts=n), k)
    st.caption(
        f"No graph is known of this question: {WITHOUT_GRAPH}. "
        "`python -m probing texts` measures many questions: accuracy after every thought, results in thoughts, and "
        "answers when the thoughts of another question are fed."
    )
    return problem


def said(run: Strip, problem: TextProblem, k: int) -> str:
    """What is answered after k thoughts, and after all of them when they are fed as zeros (markdown)."""

    def told(answer: str) -> str:
        badge = ""
        if problem.answer and answer:
            right = bare(answer) == bare(problem.answer)
            badge = " :green-badge[:material/check: correct]" if right else " :red-badge[:material/close: incorrect]"
        return f"{bold(answer)}{badge}" if answer else "nothing"

    after = ", ".join(f"{i}: {literal(answer) or '–'}" for i, answer in enumerate(run.said))
    return (
        f"After {k} of {len(run.said) - 1} thoughts the model answers {told(run.said[k])}. Control, all thoughts fed "
        f"as zeros: {told(run.zeroed)}.  \n:gray[Answers after each number of thoughts: {after} (n = 1 question).]"
    )


def strip(run: Strip, k: int, node: int | None) -> None:
    """The line of text; names and boxes can be clicked."""
    state = st.session_state

    def pick() -> None:
        found = state["x_strip"]
        if found.k is not None:
            state.x_k = int(found.k)
        if found.node is not None:
            state.x_node = int(found.node)

    st.components.v2.component("coconut_strip", js=STRIP, css=CSS, html="<div class='strip'></div>")(
        data={"line": line(run, k, node)}, key="x_strip", on_k_change=pick, on_node_change=pick
    )
    st.caption(
        f"The first prompt sample (n = 1), {len(run.thoughts)} thoughts as boxes with their most probable token by the "
        "logit lens, then what is written when the filled box and those after it, dashed, are not fed any more. A name "
        "or a box can be clicked."
        + (f" Thoughts are {run.lengths[0]:.3g} long, embeddings {run.lengths[1]:.3g}." if run.lengths else "")
    )


def line(run: Strip, k: int, node: int | None) -> str:
    """The run as HTML: every text of it escaped."""

    def box(kind: str, number: int, text: str, *, on: bool) -> str:
        marked = " class='on'" if on else ""
        return f"<span role='button' tabindex='0' data-{kind}='{number}'{marked}>{html(text)}</span>"

    def of(pieces: tuple[Piece, ...]) -> str:
        return "".join(
            html(piece.text) if piece.node is None else box("node", piece.node, piece.text, on=piece.node == node)
            for piece in pieces
        )

    boxes = [f"{t}: {of_lens.visible(word)} {p:.2f}" for t, (word, p) in enumerate(run.thoughts, start=1)]
    drawn = "".join(box("k", i, text, on=i == k) for i, text in enumerate([*boxes, "answer"]))
    return f"{of(run.prompt)} {drawn} {of(run.written[k])}"


def layers(grid: LensGrid, k: int) -> None:
    """The lens grid; a cell shows its ten tokens and the way of the first."""
    state = st.session_state
    layer, column = state.get("x_lens", (grid.n_layer, k))
    layer, column = min(layer, grid.n_layer), min(column, grid.n_states - 1)

    def chosen(row: int, state_k: int) -> None:
        state.x_lens = (row + 1, state_k)

    figure(
        of_lens.grid(grid), "x_lens_grid", on_hit=chosen,
        caption=f"{of_lens.about(grid)} A click on a cell shows its ten tokens and the way of its first.",
    )  # fmt: skip
    files(lambda _: write_csv(None, COLUMNS, grid.rows()), ("csv",), "lens", "x_lens_all", labels={"csv": "All cells"})
    first, second = st.columns(2)
    with first:
        figure(of_lens.tokens(grid, layer, column), "x_lens_tokens", height=300)
    with second:
        figure(of_lens.way(grid, grid.cells[layer - 1][column].words[0]), "x_lens_way", height=300)
