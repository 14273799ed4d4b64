"""The drawn parts of Explore. Each takes values and draws them; nothing is computed about thoughts here."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app import compute
from app.explore.state import View, url
from app.problem_picker import literal
from model.errors import InputError
from model.metrics import METRICS
from model.problems.prosqa import ProsQAProblem
from probing.draw import echarts as figures
from probing.draw import of_report
from probing.draw.export import MEDIA_TYPES, export_report
from probing.draw.layout import layout
from probing.draw.marks import THEMES, Theme
from probing.draw.of_report import SOURCES
from probing.draw.values import display_name
from probing.read.report import VALUES, Estimate, ProbeReport

SMALL = 230


def theme() -> Theme:
    return THEMES["dark" if st.context.theme.type == "dark" else "light"]


def question(report: ProbeReport) -> None:
    problem = report.problem
    first, second = sorted((problem.target, problem.neg_target))
    st.markdown(f"## Is {_bold(problem, problem.root)} a {_bold(problem, first)} or a {_bold(problem, second)}?")


def verdict(report: ProbeReport) -> None:
    """What the model answers and whether it is true, with the blind rule's answer beside it; then any warnings."""
    problem, last = report.problem, report.answers[-1]
    root, target, other = (_bold(problem, v) for v in (problem.root, problem.target, problem.neg_target))
    right, wrong = (round(share * report.n_draws) for share in (last.written_target, last.written_neg_target))
    neither = report.n_draws - right - wrong
    if neither > max(right, wrong):
        badge, text, count = ":orange-badge[no answer]", "names neither candidate", neither
    elif right == wrong:
        badge, text, count = ":orange-badge[undecided]", f"answers {target} and {other} equally often", right
    elif right > wrong:
        badge, text, count = ":green-badge[:material/check: true]", f"answers {target}", right
    else:
        badge, text, count = ":red-badge[:material/close: wrong]", f"answers {other}", wrong
    probability = f"P({target}) = {estimate(last.p_target)}"
    blind = {
        "target": f"picks {target} (right)",
        "neg_target": f"picks {other} (wrong)",
        "tie": "cannot tell (a tie)",
    }[report.blind_rule]
    st.markdown(
        f"After {thoughts(last.k)} the model {text} {badge} in {count} of {report.n_draws} draws; {probability}. "
        f":gray[Beside it, the blind rule, which never looks at {root}, {blind}.]",
        help="Blind rule: choose the candidate with the deeper backward search. It is right on 9 of 10 problems of the "
        "public ProsQA file without knowing who is asked about, and half of the time on balanced ones.",
    )
    if report.warnings:
        st.warning("  \n".join(literal(warning) for warning in report.warnings), icon=":material/warning:")
    if report.n_filler:
        st.info(
            f"This graph is smaller than any the model was trained on, where it would only guess. So {report.n_filler} "
            "unrelated facts about other things were added to each prompt; the question and all distances stay as "
            "they are. Switch this off under *Draws* to see the guess.",
            icon=":material/library_add:",
        )


def estimate(value: Estimate) -> str:
    """A probability with its interval, cut to what is possible."""
    if value.low is None or value.high is None:
        return f"{value.mean:.2f} (single draw)"
    return f"{value.mean:.2f} [{max(value.low, 0):.2f}, {min(value.high, 1):.2f}]"


def thoughts(k: int) -> str:
    return "no thought" if k == 0 else "1 thought" if k == 1 else f"{k} thoughts"


def sentence(report: ProbeReport, k: int) -> None:
    """What the state shown should hold and what it does, beside the controls."""
    problem, scene = report.problem, of_report.graph(report, k)
    root = literal(display_name(problem.idx_to_symbol[problem.root], 40))
    hops = "1 hop" if k == 0 else f"{k + 1} hops"
    first, *rest = (literal(line) for line in scene.subtitle)
    if scene.thought is None:
        should = f"**The answer state** h{_sub(k)} is where the model answers"
    elif problem.frontier(k + 1):
        should = f"**Thought {k + 1}** (state h{_sub(k)}) should hold what is {hops} from {root}"
    else:
        should = f"**Thought {k + 1}** (state h{_sub(k)}) comes after the search"
    st.markdown(f"{should}: **{first}** :gray[· {' · '.join([*rest, f'n = {report.n_draws}'])}]")


def steps(report: ProbeReport, *, playing: bool) -> int:
    """The thought slider with its step buttons; gives k."""
    state, last = st.session_state, report.n_thoughts
    state.x_k = min(max(int(state.get("x_k", 0)), 0), last)

    def move(by: int) -> None:
        state.x_k = min(max(state.x_k + by, 0), last)

    def play() -> None:
        state.x_playing = not playing
        if state.x_playing and state.x_k == last:
            state.x_k = 0
        st.rerun()

    if last == 0:
        st.caption("This model has no thoughts: what follows is its state after the prompt.")
        return 0
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "Pause" if playing else "Play",
            icon=":material/pause:" if playing else ":material/play_arrow:",
            on_click=play,
            key="x_play",
            type="primary",
        )
        st.button(
            "Back", icon=":material/chevron_left:", on_click=move, args=(-1,), key="x_back", disabled=state.x_k == 0
        )
        st.slider(
            "after k thoughts (thought k+1, should hold distance k+1)", 0, last, key="x_k", persist_state="session"
        )
        st.button(
            "Step", icon=":material/chevron_right:", on_click=move, args=(1,), key="x_step", disabled=state.x_k == last
        )
    return int(state.x_k)


def _height(report: ProbeReport) -> int:
    return 78 + max(24 * (report.n_nodes + 1), 330)


def colours() -> None:
    """What nodes and cells are coloured by."""
    st.segmented_control(
        "Colour",
        list(VALUES),
        key="x_value",
        required=True,
        persist_state="session",
        label_visibility="collapsed",
        help="; ".join(f"**{value}**: {meaning}" for value, meaning in VALUES.items()),
    )


def fits_beside(report: ProbeReport) -> bool:
    """Whether the graph is narrow enough to stand beside the heatmap."""
    return layout(report.problem).width <= 7


def graph(report: ProbeReport, value: str, k: int, node: int) -> None:
    """The DAG; a click chooses the node whose trajectory is shown."""

    def clicked() -> None:
        state = st.session_state
        groups: Any = state.x_dag.selection.selected
        hits = figures.hit(scene, groups)
        # A second click on a node takes the selection back; it is chosen all the same.
        hit = hits[1] if hits else state.get("x_clicked")
        if hit is not None and 0 <= hit < report.n_nodes:
            state.x_node = state.x_clicked = hit

    scene = of_report.graph(report, k, value=value)
    st.echarts_chart(
        figures.option(scene, theme(), selected=node),
        key="x_dag",
        on_select=clicked,
        height=_height(report),
        renderer="svg",
        alt=scene.words.alt,
    )


def staircase(report: ProbeReport, value: str, k: int, node: int) -> None:
    """Nodes by thoughts; a click goes to that thought and chooses that node."""
    scene = of_report.heatmap(report, value=value, state=k)

    def clicked() -> None:
        groups: Any = st.session_state.x_stairs.selection.selected
        hit = figures.hit(scene, groups) or st.session_state.get("x_clicked_cell")
        if hit is not None and hit[0] <= report.n_thoughts and hit[1] < report.n_nodes:
            st.session_state.update(x_k=hit[0], x_node=hit[1], x_clicked_cell=hit)

    st.echarts_chart(
        figures.option(scene, theme(), selected=node),
        key="x_stairs",
        on_select=clicked,
        height=_height(report),
        renderer="svg",
        alt=scene.words.alt,
    )


def masses(report: ProbeReport, k: int) -> None:
    """Where the probability of each state is."""
    st.echarts_chart(
        figures.option(of_report.parts(report, state=k), theme()),
        key="x_parts",
        height=SMALL,
        renderer="svg",
        alt="Probability of each thought on the frontier, on nodes passed, on nodes beyond, and the answer marker",
    )
    beside = "".join(
        f"; frontier mass of the {literal(line)}"
        for line in of_report.graph(report, k).subtitle
        if line.startswith("controls")
    )
    st.caption(f"Mean, n = {report.n_draws}{beside}.")


def metrics(report: ProbeReport, k: int) -> None:
    """One frontier metric beside its controls."""
    panels = {chart.name: chart for chart in of_report.frontier(report, state=k)}
    chosen = st.selectbox(
        "Metric",
        list(panels),
        format_func=lambda name: panels[name].y_label,
        key="x_metric",
        persist_state="session",
        label_visibility="collapsed",
    )
    st.echarts_chart(
        figures.option(panels[chosen], theme()),
        key="x_metric_chart",
        height=SMALL,
        renderer="svg",
        alt=panels[chosen].about().alt,
    )
    draws = f"n = {report.n_draws}, bars: 95 % intervals" if report.n_draws > 1 else "a single draw: no intervals"
    st.caption(f"{panels[chosen].note[0].upper()}{panels[chosen].note[1:]}; {draws}.")


def one_node(report: ProbeReport, value: str, k: int, node: int) -> None:
    """A node's value over the thoughts, with its interval."""
    names = report.problem_row.idx_to_symbol
    st.selectbox(
        "Node, by name or by a click in the graph",
        range(report.n_nodes),
        format_func=lambda v: figures.shown(names[v], 40),
        key="x_node",
        persist_state="session",
    )
    st.echarts_chart(
        figures.option(of_report.trajectory(report, node, value=value, state=k), theme()),
        key="x_trajectory",
        height=210,
        renderer="svg",
        alt=f"{value} of one node after 0 to {report.n_thoughts} thoughts with 95 % intervals",
    )
    st.caption(
        f"Mean, n = {report.n_draws}{', band: 95 % interval' if report.n_draws > 1 else ''}; dashed: its own distance."
    )


def answers(report: ProbeReport, k: int) -> None:
    """The two candidates by k, and what the model writes by itself."""
    problem, now = report.problem, report.answers[k]
    st.echarts_chart(
        figures.option(of_report.answers(report, state=k), theme()),
        key="x_answers",
        height=SMALL,
        renderer="svg",
        alt=f"Probability of target and other candidate if answered after 0 to {report.n_thoughts} thoughts",
    )
    n = report.n_draws
    st.caption(
        f"Left to write on by itself after {thoughts(k)}, the model answers "
        f"{_bold(problem, problem.target)} in {round(now.written_target * n)} and "
        f"{_bold(problem, problem.neg_target)} in {round(now.written_neg_target * n)} of {n} draws."
    )


def tokens(report: ProbeReport, k: int) -> None:
    st.echarts_chart(
        figures.option(of_report.tokens(report, k), theme()),
        key="x_tokens",
        height=SMALL,
        renderer="svg",
        alt=f"The likeliest next tokens of state h{k}, and the mass on everything else",
    )
    st.caption(f"Mean probability, n = {report.n_draws}; orange: the frontier, grey: beyond, blue: passed.")


def numbers(report: ProbeReport, k: int) -> None:
    """Every metric of one thought, the model beside its controls."""
    if report.n_thoughts == 0:
        st.markdown("##### No thoughts to measure")
        st.caption("The metrics compare thoughts with the frontier, and this model has none.")
        return
    t = min(k + 1, report.n_thoughts)
    rows = []
    for name, metric in METRICS.items():
        row = {"metric": metric.label}
        for source, title in SOURCES.items():
            if source in report.metrics:
                row[title] = _short(report.metrics[source][name][t - 1])
        rows.append(row | {"what it is": metric.definition})
    st.markdown(f"##### Thought {t} beside its controls")
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=SMALL + 30, key="x_numbers")
    st.caption(f"Mean [95 % interval] over n = {report.n_draws} draws; – where a metric has no value.")


def _short(value: Estimate | None) -> str:
    if value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.mean:.2f}"
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"


def share(view: View, problem: ProsQAProblem) -> None:
    """The link to what is on the screen."""
    try:
        st.caption("This link restores the whole view, the graph included.")
        st.code(url(st.context.url or "", view.of(problem)), language=None, wrap_lines=True)
    except InputError as error:
        st.error(literal(str(error)))


def downloads(report: ProbeReport, problem: ProsQAProblem, value: str, k: int) -> None:
    """Figures, tables and graphs as files, all made from the report that is drawn. Made only when asked for."""
    kinds = {
        f"Graph after {thoughts(k)}": ("dag", k),
        "Graph, one panel a thought": ("dag", None),
        "Heatmap": ("heatmap", None),
        "Frontier metrics": ("frontier", None),
    }
    titles = list(kinds)
    picked = st.selectbox("Figure", range(len(kinds)), format_func=titles.__getitem__, key="x_figure")
    kind, state = kinds[titles[picked]]
    name = f"{kind}-h{state}" if state is not None else kind
    _buttons(report, ("svg", "png", "pdf", "html", "csv"), f"coconut-{name}", kind, state, value)
    st.caption("The report with every number, and the graph with its scores:")
    _buttons(report, ("json", "graphml", "node-link"), "coconut-report", kind, None, value)
    unfit = compute.not_graphml(problem)
    if unfit:
        st.caption(literal(unfit))


def _buttons(
    report: ProbeReport, formats: tuple[str, ...], stem: str, kind: str, state: int | None, value: str
) -> None:
    style = theme().name
    with st.container(horizontal=True, gap="xsmall"):
        for format in formats:
            st.download_button(
                {"html": "HTML", "node-link": "node-link"}.get(format, format.upper().replace("GRAPHML", "GraphML")),
                partial(export_report, report, kind, format, state=state, value=value, theme=style),
                file_name=f"{stem}.node-link.json" if format == "node-link" else f"{stem}.{format}",
                mime=MEDIA_TYPES[format],
                on_click="ignore",
                key=f"x_get_{format}",
                disabled=format == "graphml" and compute.not_graphml(report.problem) is not None,
            )


def about() -> None:
    with st.popover("What am I looking at?", icon=":material/help:", type="tertiary"):
        st.markdown(
            """
**The task.** The model reads facts (*every gorpus is a lempus*) and must say which of two things someone is. To know,
it has to search the graph outward from the **root**.

**The thoughts.** Before it answers, Coconut feeds its own last hidden state back as its next input, several times. Such
a *continuous thought* is no word. Read with the model's own output layer, it turns out to hold many nodes at once.

**The picture.** Blue is what a thought holds. Orange outlines are the exact search frontier: the nodes one hop further
out than those of the thought before. Where the blue fills the orange steps, thoughts walk the graph as breadth-first
search does. When the search is over, the mass moves to the answer marker **[A]**: those are finished, not broken.

**Every number** is a mean over R draws (the same problem written with other slots and orders) with a 95 % interval.
Beside the metrics stand their controls: node labels shuffled within the graph, and an untrained model.

**What it does not show.** That a node can be *decoded* from a thought does not show that the model *uses* it, nor that
it *needs* it. That takes interventions: change the thought, and see whether the answer follows. And this is one
problem; what holds for the model is a question for many.
"""
        )


def _bold(problem: ProsQAProblem, node: int) -> str:
    return f"**{literal(display_name(problem.idx_to_symbol[node], 40))}**"


def _sub(k: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(k))
