"""The drawn parts of Dataset: a run in progress, and a result with its analyses and problems."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import compute, hosted, jobs
from app.compute import typed_path
from app.dataset.state import begin
from app.explore.state import View, open_in_explore
from app.figures import cards, figure, files
from app.jobs import Job, Order
from app.words import SIDEBAR, attempt, capital, choice, files_stem, header, literal, theme
from model.formats.graph import write_problems
from model.problems.prosqa import ProsQAProblem
from probing.dataset.findings import DatasetResult, Section
from probing.dataset.report_page import file_name, table_csv, to_html
from probing.draw.thumbnail import thumbnail
from probing.draw.values import Chart

CARD = (225, 300)
"""Pixels of a card in the summary: least width, height."""
FILLED = """\
[class*=st-key-d_thumb] :is(div:has([data-testid=stEChartsChart]), [data-testid=stEChartsChart]) {
  height: 100%; min-height: 0; }
"""
"""Thumbnails fill what their sentence leaves of a card."""
FILES = {"html": "Report, HTML", "csv": "All numbers, CSV", "json": "Everything, JSON"}


def new_run(order: Callable[[], Order] | None) -> None:
    """What a new run does, and the button that begins it."""
    st.markdown("## Dataset analysis")
    st.markdown(
        f"Describe the run in {SIDEBAR}: problems, a model, and what is measured. Its untrained control always "
        "runs beside it. A run continues while you look at other pages, and one that was stopped resumes where it was."
    )
    if st.button("Run", type="primary", icon=":material/play_arrow:", disabled=order is None, key="d_run"):
        assert order is not None
        begin(order)
    if hosted.LIMITS.hosted:
        st.caption(hosted.LIMITS.of_runs())
        return
    st.caption("Larger data sets by the command line; its folder can be opened under *Results*:")
    st.code("python -m probing dataset --data FILE --checkpoint FOLDER --out FOLDER", language="bash")


def running(job: Job) -> None:
    """Progress and the cancel button; the whole page is drawn anew once the run is over."""
    if job.is_over:
        st.rerun()
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        stopping = job.stop.is_set()
        what = "Stopping after this part …" if stopping else f"Running on {len(job.order.problems):,} problems"
        left.markdown(f"**{what}** · {literal(job.order.data)}")
        if right.button("Cancel", icon=":material/stop_circle:", disabled=stopping, key="d_cancel", width="stretch"):
            job.stop.set()
            st.rerun()
        if not job.progress:
            before = job.before
            st.progress(0.0, f"waiting; runs before it: {before}" if before else "loading the model")
        for name, (done, total) in list(job.progress.items()):
            st.progress(done / total if total else 1.0, f"{literal(name)}: {done:,} of {total:,}")


def heading(result: DatasetResult, path: str) -> DeltaGenerator:
    """What was run, on what, beside what; problems that a model cannot take. Gives the place of the link to it."""
    main = result.models[0]

    def make(format: str) -> str:
        return {"html": to_html, "csv": lambda r: table_csv(r.cells), "json": DatasetResult.to_json}[format](result)

    row = header(f"{literal(main.info.name)} on {literal(result.data)}")
    with row:
        share = st.popover("Share", icon=":material/link:")
    with row, st.popover("Download", icon=":material/download:"):
        files(make, FILES, files_stem(Path(path).name), "d_get", labels=FILES)
    others = ", ".join(
        f"{literal(m.info.name)}{' (control)' if m.untrained else ''} on {m.n_taken:,}" for m in result.models[1:]
    )
    st.markdown(
        f"n = **{main.n_taken:,}** problems, {main.n_thoughts} thoughts, seed {result.seed}; beside it: "
        f"{others or '–'}. :gray[Data {result.data_hash}, weights {main.info.fingerprint}, passes in "
        f"{main.info.precision}. Intervals are 95 %; grey and dashed is a control.]"
    )
    for model in result.models:
        n = model.n_problems - model.n_taken
        if n:
            what = f"{n:,} problem{'s' if n > 1 else ''} that {literal(model.info.name)} cannot take"
            with st.expander(what, icon=":material/warning:"):
                for number, reason in model.skipped:
                    st.markdown(f"- problem {number}: {literal(reason)}")
                if n > len(model.skipped):
                    st.markdown(f"- and {n - len(model.skipped):,} more")
    return share


def contents(result: DatasetResult, path: str) -> str:
    """The analysis chosen by name; ``summary`` and ``problems`` are of all of them."""
    titles = {"summary": "Summary"}
    titles |= {section.name: literal(section.short_title) for section in result.sections}
    if (typed_path(path) / result.models[0].folder / "rows.parquet").is_file():
        titles |= {"problems": "Problem by problem"}
    return st.selectbox(
        "Analysis", **choice("d_section", titles), label_visibility="collapsed", width=340,
        format_func=titles.__getitem__,
    )  # fmt: skip


def summary(result: DatasetResult) -> None:
    """Every analysis as a thumbnail of its first figure and its first sentence; one click opens it."""
    st.html(f"<style>{FILLED}</style>")
    with st.grid(4, min_column_width=CARD[0], row_height=CARD[1], gap="small", border=True) as grid:
        for section in result.sections:
            with grid.cell():
                st.button(section.short_title, key=f"d_open_{section.name}", type="tertiary",
                          icon=":material/open_in_full:", on_click=st.session_state.update,
                          args=({"d_section": section.name},))  # fmt: skip
                if section.charts:
                    drawn = section.charts[0]
                    st.echarts_chart(
                        thumbnail(drawn, theme()), key=f"d_thumb_{section.name}", height="stretch", renderer="svg",
                        alt=drawn.about().alt,
                    )  # fmt: skip
                st.caption(literal(section.says[0]) if section.says else "")
    st.caption(
        "Decodable, used and necessary are different claims. This page is about what can be decoded, and about "
        "answers; whether the model uses it is a matter of interventions."
    )


def analysis(result: DatasetResult, section: Section, path: str) -> None:
    """One analysis with all that is needed to judge it."""
    st.markdown(f"### {literal(section.title)}")
    st.markdown("  \n".join(map(literal, section.says)))
    st.markdown(f"{literal(section.shows)} :gray[n = {section.n:,}. Control: {literal(section.control)}]")
    with st.expander("Definition, interval, and what it does not show", icon=":material/help:"):
        for title, text in (
            ("Definition", section.definition),
            ("Interval", section.interval),
            ("Control", section.control),
            ("Does not show", section.does_not_show),
            ("Source", section.paper),
        ):
            st.markdown(f"**{title}.** {literal(text)}")
    charts = [(literal(drawn.title), partial(chart, result, section, drawn, path)) for drawn in section.charts]
    cards(min(2, len(charts)) or 1, 340, charts)
    for table in section.published:
        st.markdown(f"##### Published: {literal(table.what)}")
        st.dataframe(pd.DataFrame(table.rows, columns=list(table.columns)), hide_index=True)
        st.caption(f"{literal(table.source)}. Differs from the above: {literal(table.differs)}")
    with st.expander(f"All {len(section.cells):,} numbers", icon=":material/table:"):
        st.dataframe(pd.DataFrame([cell.model_dump() for cell in section.cells]), hide_index=True)


def chart(result: DatasetResult, section: Section, drawn: Chart, path: str) -> None:
    """One figure; a click on a point that is a problem offers to open it."""
    state, key = st.session_state, f"d_chart_{section.name}_{re.sub(r'[^A-Za-z0-9]', '_', drawn.name)}"

    def clicked(series: int, point: int) -> None:
        state[f"{key}_problem"] = drawn.problem(series, point)

    more = {
        "bars": "lines are 95 % intervals; pale: fewer than 5 problems",
        "points": "click a point to open its problem",
    }
    notes = "; ".join(note for note in (drawn.note, more.get(drawn.kind)) if note)
    caption = literal(f"{capital(notes)}.") if notes else ""
    on_hit = clicked if drawn.kind == "points" else None
    figure(drawn, key, caption=caption, name=file_name(section, drawn), on_hit=on_hit)
    number = state.get(f"{key}_problem")
    if (
        number is None
        or (found := attempt(lambda: jobs.problems_table(compute.typed_path(path), result.models[0]))) is None
    ):
        return
    for row in (found[0].numbers == number).nonzero()[0]:
        to_explore(found[0].problems[row], number, result, path, key)


def browse(result: DatasetResult, path: str) -> None:
    """The problems of one model, a row each; a row chosen can be opened in Explore."""
    models = {model.info.name: model for model in result.models}
    left, right = st.columns(2)
    model = models[_choice(left, "Model", "d_model", {name: name for name in models})]
    found = attempt(lambda: jobs.problems_table(compute.typed_path(path), model))
    if found is None:
        return
    recording, table = found
    filters = {"all": table.index == table.index, "wrong": ~table["right"], "right": table["right"]}
    filters |= {name: table["category"] == name for name in sorted(set(table["category"]))}
    labels = {name: f"{name} ({int(members.sum()):,})" for name, members in filters.items()}
    shown = _choice(right, "Show", "d_filter", labels)
    chosen = table[filters[shown]]
    event: Any = st.dataframe(
        chosen, hide_index=True, key=f"d_rows_{model.info.name}_{shown}", on_select="rerun",
        selection_mode="single-row", height=420,
    )  # fmt: skip
    st.caption(
        f"Generated answer after all thoughts; *right after k*: ● right, ○ wrong, after 0 to {recording.n_thoughts} "
        "thoughts. Shortcut baseline: what the deeper backward search picks without looking at the queried entity. "
        "Choose a row to open it."
    )
    rows = event.selection.rows
    if rows and rows[0] < len(chosen):
        row = int(chosen.index[rows[0]])
        problem, number = recording.problems[row], int(recording.numbers[row])
        to_explore(problem, number, result, path, "d_row")
        files(lambda _: write_problems([problem]), ("json",), f"problem-{number}", "d_row",
              labels={"json": "This problem, ProsQA JSON"})  # fmt: skip


def _choice(place: Any, label: str, key: str, options: dict[str, str]) -> str:
    """One of the options by its label; the first, unless the session has chosen."""
    return place.selectbox(label, **choice(key, options), format_func=options.__getitem__)


def to_explore(problem: ProsQAProblem, number: int, result: DatasetResult, path: str, key: str) -> None:
    """A button that opens the problem in Explore with the result's checkpoint, where it is known where that is."""
    name = result.models[0].info.name
    known = st.session_state.get("d_checkpoint_of", {}).get(path, name if name in compute.shipped() else None)
    if st.button(f"Open problem {number} in Explore", icon=":material/account_tree:", key=f"{key}_open"):
        view = View(source="file") if known is None else View(source="file", checkpoint=known)
        open_in_explore(view.of(problem))
    if known is None:
        st.caption(f"Where {literal(name)} lies is not in the result: choose its folder again in Explore.")
