"""The drawn parts of Explore. Each takes values and draws them; nothing is computed about thoughts here."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import streamlit as st

from app import compute
from app.figures import cards, figure, files
from app.problem_picker import folder_or
from app.words import bold, candidates, capital, explained, kept, literal, scale, theme
from model.metrics import METRICS
from model.problems.prosqa import ProsQAProblem
from model.stats import text
from probing.draw import echarts, of_report
from probing.draw.echarts import ALL, shown
from probing.draw.export import export_report
from probing.draw.marks import SHAPE, unbroken
from probing.draw.of_report import SOURCES, thoughts_text
from probing.draw.values import Graph, Heatmap, display_name
from probing.read.report import VALUES, ProbeReport

SMALL = 230


def hero() -> None:
    """What this is, in one sentence."""
    with st.container(key="x_hero"):
        st.markdown(
            "**Coconut explorer** · Watch a language model search a graph in *continuous thoughts*, without a word."
        )


AUTOPLAY = """\
export default function ({ data, parentElement, setTriggerValue }) {
  parentElement.quiet?.()  // what listened when this was drawn before
  const told = () => setTriggerValue('stop', true)
  const stop = (event) => { if (event.isTrusted) { off(); setTimeout(told, 200) } }
  const off = () => ['pointerdown', 'keydown'].forEach((kind) => removeEventListener(kind, stop, true))
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches
  if (data.greeting && !still) setTriggerValue('play', true)
  if (data.playing) ['pointerdown', 'keydown'].forEach((kind) => addEventListener(kind, stop, true))
  return (parentElement.quiet = off)
}
"""
"""Tells whether the reader likes motion, and of the first key or click while the picture plays: after what that key or
click does, which is of another part of the page."""


def autoplay() -> None:
    """Let the example play once, on a first visit; any key or click stops it."""
    state = st.session_state
    greeting, state.x_greeting = state.get("x_greeting", False), False

    def play() -> None:
        state.update(x_playing=True, x_auto=True, x_k=0)

    def stop() -> None:
        if state.get("x_auto"):  # else the same click has begun something else
            state.update(x_playing=False, x_auto=False)

    st.components.v2.component("coconut_autoplay", js=AUTOPLAY)(
        key="x_autoplay", data={"greeting": greeting, "playing": bool(state.get("x_auto"))},
        on_play_change=play, on_stop_change=stop, height=1,
    )  # fmt: skip


def verdict(report: ProbeReport, *, answered: bool = True) -> None:
    """What the model answers and whether it is correct (unless that is said elsewhere), beside the shortcut baseline's
    answer; then any warnings."""
    problem, said = report.problem, unbroken(f"{answer(report)} ") if answered else ""
    target, other = candidates(problem)
    baseline = {"target": f"{target} (correct)", "neg_target": f"{other} (incorrect)", "tie": "tie"}
    st.markdown(
        f"{said}:gray[Shortcut baseline (ignores "
        f"{literal(display_name(problem.idx_to_symbol[problem.root], 40))}): {baseline[report.shortcut_baseline]}.]",
        help="Shortcut baseline: choose the candidate with the deeper backward search. It is right on 9 of 10 problems "
        "of the public ProsQA file without knowing the queried entity, and half of the time on balanced ones.",
    )
    if report.warnings:
        st.warning("  \n".join(map(literal, report.warnings)), icon=":material/warning:")
    if report.n_distractors:
        st.caption(
            f":material/library_add: Padded with {report.n_distractors} distractor facts: smaller than any graph in "
            "training. Distances stay; switch it off under *Prompt samples* to see the model guess."
        )


def answer(report: ProbeReport, *, both: bool = False) -> str:
    """What the model answers after all its thoughts, in how many prompt samples, and whether that is correct; the
    target's probability, or briefly ``both`` candidates', as always where it is at chance: then neither is named as
    the answer."""
    problem, last = report.problem, report.answers[-1]
    target, other = candidates(problem)
    found, n = of_report.outcome(report)
    who = "" if both else f"After {thoughts_text(last.k, report.model.method)} the model "
    single = " (a single prompt sample)" if report.n_samples == 1 else ""
    early, written = "", ""
    if report.model.method == "cot" or wordy(report):
        early, written = " if it must answer before it writes its steps", " after it has written its steps"
    if found == "at chance":
        listed = of_report.chances(problem, last.p_target, last.p_neg_target, bold)
        wrong = round(last.written_neg_target * report.n_samples)
        return (
            f"{who and f'{who}is '}:orange-badge[at chance]: {listed}{early}; {target} in {n} and {other} in {wrong} "
            f"of {report.n_samples} prompt samples{written}{single}."
        )
    said = {
        "correct": f"answers {target} :green-badge[:material/check: correct]",
        "incorrect": f"answers {other} :red-badge[:material/close: incorrect]",
        "no answer": "names neither candidate :orange-badge[no answer]",
    }[found]
    chances = {target: last.p_target} | ({other: last.p_neg_target} if both else {})
    listed = ", ".join(f"P({name}) = {chance.text(bounds=(0, 1))}" for name, chance in chances.items())
    return capital(f"{who}{said} in {n} of {report.n_samples} prompt samples{written}; {listed}{early}{single}.")


def wordy(report: ProbeReport) -> bool:
    """Whether the model has no thoughts and writes its steps in their place."""
    return report.n_thoughts == 0 and any(report.chains)


def sentence(report: ProbeReport, drawn: Graph) -> None:
    """What the state drawn holds, beside the controls; what is answered is said by ``verdict``."""
    lines = drawn.subtitle[1:] if drawn.scale == of_report.ANSWER else drawn.subtitle
    first, *rest = map(literal, lines)
    name = "Answer" if drawn.thought is None else f"Thought {drawn.thought}"
    st.markdown(
        f"**{name}: {first}** :gray[· {' · '.join([*rest, f'n = {report.n_samples}'])}]",
        help=explained("frontier, logit lens, control, prompt sample"),
    )


def steps(report: ProbeReport, blocked: str, *, playing: bool) -> int:
    """The thought slider, its buttons and keys; gives the state k. ``blocked`` says why no thought can be swapped."""
    state, last = st.session_state, report.n_thoughts
    state.x_k = min(max(int(state.get("x_k", 0)), 0), last)

    def go(k: int) -> None:
        state.update(x_k=min(max(k, 0), last), x_playing=False)

    def play() -> None:
        state.update(x_playing=not playing, x_auto=False)
        if state.x_playing and state.x_k == last:
            state.x_k = 0

    # Under load one press can be told twice, so each means what was drawn, not the other of what is.
    changed, present = not state.x_mind, not state.x_present

    def change() -> None:
        state.update(x_mind=changed, x_k=0, x_playing=changed, x_auto=False)

    def mind() -> None:
        label = "Back to one search" if state.x_mind else "Change its mind"
        help_text = blocked or "Swap the branches in thought 1, and replay both searches side by side."
        st.button(
            label, icon=":material/psychology_alt:", on_click=change, key="x_change", help=help_text,
            disabled=bool(blocked) and not state.x_mind,
        )  # fmt: skip

    if last == 0:
        st.caption("This model has no thoughts: what follows is its state after the prompt.")
        if state.x_mind:
            mind()
        return 0
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="x_steps"):
        icon = ":material/pause:" if playing else ":material/play_arrow:"
        st.button(
            "Pause" if playing else "Play",
            icon=icon,
            on_click=play,
            key="x_play",
            type="primary",
            width=round(100 * scale()),
        )
        st.button(
            "Back", icon=":material/chevron_left:", on_click=go, args=(state.x_k - 1,), key="x_back",
            disabled=state.x_k == 0,
        )  # fmt: skip
        st.select_slider(
            "Thought", range(last + 1), format_func=lambda k: str(k + 1) if k < last else "answer", **kept("x_k"),
            help="Thought t should hold the nodes t hops away. Keys: Space plays, ← and → step, 1 to 9 and 0 (answer).",
        )  # fmt: skip
        st.button(
            "Step", icon=":material/chevron_right:", on_click=go, args=(state.x_k + 1,), key="x_step",
            disabled=state.x_k == last,
        )  # fmt: skip
        mind()
    with st.container(horizontal=True, key="x_keys"):
        keys = [(str(k + 1), k) for k in range(min(last, 9))] + [("0", last)]
        keys += [("Left", state.x_k - 1), ("Right", state.x_k + 1)]
        for key, k in keys:
            st.button(key, key=f"x_key_{key}", on_click=go, args=(k,), shortcut=key)
        if st.button("P", key="x_key_P", on_click=state.update, args=({"x_present": present},), shortcut="P"):
            state.x_tick = False  # the frame begun with has not been seen yet
            st.rerun()
        st.button("Space", key="x_key_Space", on_click=play, shortcut="Space")
    return int(state.x_k)


def side_by_side(report: ProbeReport, rival: ProbeReport, drawn: Graph, k: int, value: str, *, playing: bool) -> None:
    """Two models on one problem, at the same thought, as far as each has thoughts; one that has none writes its steps
    in words, drawn in their place."""
    writes = wordy(rival)
    other = of_report.chain(rival, k + 1) if writes else of_report.graph(rival, min(k, rival.n_thoughts), value=value)
    high = max(echarts.height(graph, small=True) for graph in (drawn, other))
    with st.container(horizontal=True, gap="medium", key="x_both"):
        for one, graph in ((report, drawn), (rival, other)):
            with st.container(width="stretch"):
                in_words = writes and one is rival
                lines = () if graph.scale == of_report.ANSWER else graph.subtitle[: 2 if in_words else 1]
                holds = graph.heading + ": " * bool(lines) + ". ".join((*lines[:1], *map(capital, lines[1:])))
                name = literal(one.model.name) + (", in words" if in_words else "")
                st.markdown(f"**{name}** :gray[· {literal(holds)}]  \n{answer(one, both=True)}")
                side = "x_dag" if one is report else "x_rival_dag"
                figure(graph, side, name=f"coconut-{side}-h{graph.state}", height=high, moving=playing, small=True)


LEGEND = (
    f"{SHAPE['root'].glyph} root · {SHAPE['target'].glyph} target · {SHAPE['other candidate'].glyph} distractor · "
    "**orange**: the true frontier, which this thought should hold · colour: its value · thick: "
    "shortest path · thick ring: the answer"
)


def legend() -> None:
    """What shapes, colours and lines mean: above the graphs, so that it is on the screen when they are; on a phone
    below (STYLE)."""
    with st.container(key="x_legend"):
        st.caption(LEGEND, help=explained(LEGEND))


def colours() -> None:
    """What nodes and cells are coloured by."""
    st.segmented_control(
        "Colour", list(VALUES), **kept("x_value"), required=True, label_visibility="collapsed",
        help="; ".join(f"**{value}**: {meaning}" for value, meaning in VALUES.items()),
    )  # fmt: skip


def graph(drawn: Graph, node: int, *, playing: bool) -> None:
    """The DAG; a click chooses the node whose trajectory is shown."""

    def clicked(_: int, node: int) -> None:
        st.session_state.x_node = node

    legend()
    figure(
        drawn, "x_dag", name=f"coconut-graph-h{drawn.state}", selected=node,
        caption="Click a node to follow it below.", on_hit=clicked, moving=playing, small=drawn.height > 5,
    )  # fmt: skip


def staircase(drawn: Heatmap, node: int) -> None:
    """Nodes by thoughts; a click goes to that thought and chooses that node."""

    def clicked(state: int, node: int) -> None:
        chosen = {"x_k": state, "x_node": node}
        st.session_state.update({key: one for key, one in chosen.items() if one != ALL})

    caption = "Click a cell, a node's name or a thought's number to go there."
    figure(drawn, "x_stairs", name="coconut-heatmap", selected=node, caption=caption, on_hit=clicked)


def below(report: ProbeReport, drawn: Graph, value: str, node: int) -> None:
    """The charts and numbers of the state drawn."""
    k, last, n = drawn.state, report.n_thoughts, report.n_samples
    problem, now = report.problem, report.answers[min(k + 1, last)]
    target, other = candidates(problem)
    controls = (line for line in drawn.subtitle if line.startswith("controls"))
    beside = "".join(f"; frontier mass of the {literal(line)}" for line in controls)
    generated = (
        f"Free generation after {thoughts_text(now.k)}: {target} in {round(now.written_target * n)} and {other} in "
        f"{round(now.written_neg_target * n)} of {n} prompt samples."
    )
    colours = f"Mean probability, n = {n}; orange: the frontier, grey: beyond, blue: passed, dark: [A]."
    chart = partial(figure, height=SMALL)
    measured = f"Thought {min(k + 1, last)} and its controls" if last else "No thoughts to measure"
    cards(3, 310, {
        "Frontier decoding": lambda: metrics(report, k),
        "Probability mass": lambda: chart(
            of_report.parts(report, state=k), "x_parts", caption=f"Mean, n = {n}{beside}."),
        "Answer by number of thoughts": lambda: chart(
            of_report.answers(report, state=k), "x_answers", caption=generated),
        "Node across thoughts": lambda: one_node(report, value, k, node),
        f"Next token at {of_report.state_name(report, k)}": lambda: chart(
            of_report.tokens(report, k), "x_tokens", caption=colours),
        measured: lambda: numbers(report, k),
    }.items(), spans={"Node across thoughts": 2, measured: "all"})  # fmt: skip


RIVALS = {"": "nothing", compute.UNTRAINED: "its untrained control", compute.WORDS: "itself without thoughts, in words"}


def options(checkpoint: str, *, graphs: bool) -> str:
    """The sidebar's choice of presenting and, of a model of ``graphs``, of how many thoughts it is given and of a
    second model; gives the second model."""
    names, against = {"trained": "as in training", "hops": "as many as hops", "hops+1": "one more than hops"}, ""
    if graphs:
        st.selectbox(
            "Thoughts", [*names, *map(str, range(20))], format_func=lambda n: names.get(n, n), **kept("x_thoughts"),
            help="The shipped model was trained with 6 thoughts for up to 6 hops; given as many as a target is hops "
            "away, it answers deeper ones too.",
        )  # fmt: skip
        against = folder_or(
            "Compare with", "x_rival", "x_rival_folder",
            [*RIVALS, *(name for name in compute.models() if name != checkpoint)], titled=True,
            placeholder="folder, file or Hub id (org/repo)", show=lambda name: RIVALS.get(name, name),
        )  # fmt: skip
    st.toggle("Presenting mode", **kept("x_present"), help="Big type and no sidebar; key P.")
    return against


def metrics(report: ProbeReport, k: int) -> None:
    """One frontier metric beside its controls."""
    charts = {chart.name: chart for chart in of_report.frontier(report, state=k)}
    chosen = st.selectbox(
        "Metric", list(charts), **kept("x_metric"), label_visibility="collapsed",
        format_func=lambda name: charts[name].y_label,
    )  # fmt: skip
    note, n = charts[chosen].note, report.n_samples
    bars = f"n = {n}, bars: 95 % intervals" if n > 1 else "a single prompt sample: no intervals"
    caption = f"{capital(note)}, read by the logit lens; {bars}."
    figure(charts[chosen], "x_metric_chart", height=SMALL, caption=caption)


def one_node(report: ProbeReport, value: str, k: int, node: int) -> None:
    """A node's value over the thoughts, with its interval."""
    names = report.problem_row.idx_to_symbol
    st.selectbox(
        "Node, by name or by a click in the graph", range(report.n_nodes), format_func=lambda v: shown(names[v], 40),
        **kept("x_node"),
    )  # fmt: skip
    band = ", band: 95 % interval" if report.n_samples > 1 else ""
    caption = f"Mean, n = {report.n_samples}{band}; dashed: its own distance."
    figure(of_report.trajectory(report, node, value=value, state=k), "x_trajectory", height=210, caption=caption)


def numbers(report: ProbeReport, k: int) -> None:
    """Every metric of one thought, the model beside its controls."""
    if report.n_thoughts == 0:
        st.caption("The metrics compare thoughts with the frontier, and this model has none.")
        return
    t = min(k + 1, report.n_thoughts)
    sources = {source: title for source, title in SOURCES.items() if source in report.metrics}
    rows = []
    for name, metric in METRICS.items():
        least, most = metric.bounds
        bounds = (-math.inf if least is None else least, math.inf if most is None else most)
        found = {title: report.metrics[source][name][t - 1] for source, title in sources.items()}
        values = {title: text(value, bounds=bounds) for title, value in found.items()}
        rows.append({"metric": metric.label} | values | {"what it is": metric.definition})
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height="content", key="x_numbers",
        column_config={"metric": st.column_config.TextColumn(width=190)},
    )  # fmt: skip
    st.caption(
        f"Mean [95 % interval] over n = {report.n_samples} prompt samples; – where a metric has no value. Passes in "
        f"{report.model.precision}."
    )


def downloads(report: ProbeReport, problem: ProsQAProblem, value: str, k: int) -> None:
    """Figures, tables and graphs as files, all made from the report that is drawn. Made only when asked for."""
    kinds: dict[str, tuple[str, int | None]] = {f"Graph at {of_report.state_name(report, k)}": ("dag", k)}
    kinds |= {row.title: (name, k if name == "tokens" else None) for name, row in of_report.KINDS.items()}
    title = st.selectbox("Figure", range(len(kinds)), format_func=list(kinds).__getitem__, key="x_figure")
    kind, state = kinds[list(kinds)[title]]

    def make(format: str, state: int | None = state) -> bytes:
        return export_report(report, kind, format, state=state, value=value, theme=theme().name)

    name = f"{kind}-h{state}" if state is not None else kind
    files(make, ("svg", "png", "pdf", "html", "csv"), f"coconut-{name}", "x_get")
    search = partial(export_report, report, "dag", value=value, theme=theme().name)
    files(search, ("gif",), "coconut-search", "x_get", labels={"gif": "The search, GIF"})
    st.caption("The report with every number, and the graph with its scores:")
    unfit = compute.not_graphml(problem)
    without = ("graphml",) if unfit else ()
    files(partial(make, state=None), ("json", "graphml", "node-link"), "coconut-report", "x_get", without=without)
    if unfit:
        st.caption(literal(unfit))


def about() -> None:
    with st.popover("What am I looking at?", icon=":material/help:", type="tertiary"):
        st.markdown(unbroken("""
**The task.** The model reads facts (*every gorpus is a lempus*) and must say which of two things someone is. To know,
it has to search the graph outward from the **root**.

**The thoughts.** Before it answers, Coconut feeds its own last hidden state back as its next input, several times. Such
a *continuous thought* is no word. Read with the model's own output layer, it turns out to hold many nodes at once.

**The picture.** The colour of a node is what a thought holds of it. Orange outlines are the exact search frontier: the
nodes one hop further out than those of the thought before. Where colour fills the orange steps, thoughts walk the graph
as breadth-first search does. When the search is over, the mass moves to the answer token **[A]**: such thoughts are
finished, not broken.

**Every number** is a mean over R prompt samples (the same problem, relabelled and reordered) with a 95 % interval.
Beside the metrics stand their controls: node labels shuffled within the graph, an untrained model, a *depth
reader* that knows how deep nodes lie but not who is queried, and the frontier of the other root, head to head.

**What it does not show.** That a node can be *decoded* from a thought does not show that the model *uses* it, nor that
it is *necessary*. That takes interventions: change the thought, and see whether the answer follows. And this is one
problem; what holds for the model is a question for many.
"""))  # fmt: skip
