"""Dataset: the papers' figures over many problems, each with its control, run here or opened from a folder."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import compute
from app import jobs as dataset_jobs
from app import problem_picker as controls
from app.explore import panels
from app.explore.state import MAX_HOPS, MAX_NODES, View
from app.jobs import Job, Order
from app.problem_picker import OTHER_FOLDER, literal
from model import checkpoint
from model.errors import InputError
from model.files import MAX_UPLOAD_BYTES
from model.formats.graph import MAX_UPLOAD_ROWS, write_problems
from model.problems.generate import KINDS
from model.problems.prosqa import ProsQAProblem
from probing.dataset.findings import Chart, DatasetResult, RunModel, Section
from probing.dataset.report_page import file_name, table_csv, to_html
from probing.dataset.run import ANALYSES
from probing.draw import echarts as chart_options
from probing.draw.static import svg as to_svg

OTHER_RESULT = "another folder …"
NONE = "none"
MODES = {"Run": ":material/play_arrow: Run", "Open": ":material/folder_open: Open"}
MAX_PROBLEMS = 10_000
SLOW = ("probes",)
USUAL = View()


def defaults() -> None:
    """Once a session: what the widgets begin with, and the result that ``?result=`` names."""
    state = st.session_state
    if "d_source" in state:
        return
    asked = st.query_params.get("result", "")
    shipped = compute.shipped()
    usual = checkpoint.DEFAULT_CHECKPOINT.name
    state.update(
        d_mode="Open" if asked or dataset_jobs.saved() else "Run",
        d_source="Generated",
        d_kind=KINDS[0],
        d_n=200,
        d_seed=0,
        d_hops=USUAL.hops,
        d_nodes=USUAL.nodes,
        d_checkpoint=usual if usual in shipped else OTHER_FOLDER,
        d_compare=NONE,
        d_analyses=[name for name in ANALYSES if name not in SLOW],
        d_result=OTHER_RESULT if asked else None,
        d_folder=asked,
        d_shown=asked,
    )


def sidebar() -> None:
    """Draw the sidebar; a run is begun, or the folder to show is set, in the session's state."""
    state = st.session_state
    with st.sidebar:
        st.segmented_control(
            "Mode", list(MODES), key="d_mode", required=True, label_visibility="collapsed",
            format_func=MODES.__getitem__,
            persist_state="session", width="stretch",
        )  # fmt: skip
        if state.d_mode == "Open":
            _open()
            return
        st.markdown("#### Problems")
        problems, data = _problems()
        st.markdown("#### Models", help="Fresh random weights of the first model's config are always run beside it.")
        main = _model("d_checkpoint", "Checkpoint", [])
        beside = _model("d_compare", "Beside it", [NONE])
        st.markdown("#### Analyses")
        chosen = st.multiselect(
            "Analyses", list(ANALYSES), key="d_analyses", label_visibility="collapsed", persist_state="session",
            format_func=lambda name: f"{name} (slow)" if name in SLOW else name,
        )  # fmt: skip
        job: Job | None = state.get("d_job")
        running = job is not None and not job.is_over
        ready = problems is not None and main and chosen and not running
        if st.button("Run", type="primary", icon=":material/play_arrow:", disabled=not ready, width="stretch"):
            assert problems is not None
            compare = (beside,) if beside and beside != NONE else ()
            order = Order(problems, data, main, compare, tuple(name for name in ANALYSES if name in chosen), 0)
            try:
                state.d_job = dataset_jobs.start(order)
            except InputError as error:
                st.error(literal(str(error)), icon=":material/error:")
            else:
                st.rerun()


def _open() -> None:
    state = st.session_state
    options = [*(str(path) for path in dataset_jobs.saved()), OTHER_RESULT]
    if state.get("d_result") not in options:
        state.d_result = state.d_shown if state.get("d_shown") in options else options[0]
    chosen = st.selectbox(
        "Result", options, key="d_result", persist_state="session",
        format_func=lambda text: text if text == OTHER_RESULT else Path(text).name,
    )  # fmt: skip
    if chosen == OTHER_RESULT:
        typed = st.text_input(
            "Folder", key="d_folder", placeholder="a folder with result.json", persist_state="session"
        )
        chosen = (typed or "").strip()
    state.d_shown = chosen


def _problems() -> tuple[tuple[ProsQAProblem, ...] | None, str]:
    """The problems and what they are called; None where there are none yet, or where they are wrong."""
    state = st.session_state
    source = st.segmented_control(
        "Source", ["Generated", "File"], key="d_source", required=True, label_visibility="collapsed",
        persist_state="session",
    )  # fmt: skip
    if source == "Generated":
        st.selectbox(
            "Kind", KINDS, key="d_kind", persist_state="session",
            help="balanced: a rule that never looks at the asked entity is right half of the time. public: like the "
            "public ProsQA file, whose shortcut such a rule finds.",
        )  # fmt: skip
        left, right = st.columns(2)
        left.number_input("Problems (n)", 1, MAX_PROBLEMS, step=100, key="d_n", persist_state="session")
        right.number_input("Seed", 0, 2**31 - 1, step=1, key="d_seed", persist_state="session")
        st.slider("Hops from root to target", 1, MAX_HOPS, key="d_hops", persist_state="session")
        st.slider("Nodes", 4, MAX_NODES, key="d_nodes", persist_state="session")
        name = f"{state.d_n} {state.d_kind} problems, seed {state.d_seed}"
        if (state.d_hops, state.d_nodes) != (USUAL.hops, USUAL.nodes):
            name += ", {}-{} hops, {}-{} nodes".format(*state.d_hops, *state.d_nodes)
        try:
            return dataset_jobs.made(state.d_kind, state.d_n, state.d_seed, state.d_hops, state.d_nodes), name
        except InputError as error:
            st.error(literal(str(error)), icon=":material/error:")
            return None, ""
    file = st.file_uploader("ProsQA JSON", key="d_upload", max_upload_size=MAX_UPLOAD_BYTES // 2**20)
    if file is None:
        st.caption(
            f"One row or a list of rows, at most {MAX_UPLOAD_BYTES // 2**20} MB and {MAX_UPLOAD_ROWS:,} rows; larger "
            "files by the command `python -m probing dataset`, whose folder can be opened here."
        )
        return None, ""
    try:
        found = compute.uploaded(file.name, file.getvalue())
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return None, ""
    state.setdefault("d_first", len(found))
    state.d_first = min(max(state.d_first, 1), len(found))
    n = st.number_input(
        f"The first n of {len(found):,} problems", 1, len(found), step=1, key="d_first", persist_state="session"
    )
    return found[:n], file.name


def _model(key: str, label: str, more: list[str]) -> str:
    options = [*more, *compute.shipped(), OTHER_FOLDER]
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    chosen = st.selectbox(label, options, key=key, persist_state="session")
    if chosen != OTHER_FOLDER:
        return chosen
    typed = st.text_input(
        f"{label}: folder", key=f"{key}_folder", placeholder="a checkpoint or run folder", persist_state="session"
    )
    return (typed or "").strip()


# --- a run that goes on -----------------------------------------------------------------------------------------------


def going_on(job: Job) -> None:
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
            st.progress(0.0, "waiting for another run, or loading the model")
        for name, (done, total) in list(job.progress.items()):
            st.progress(done / total if total else 1.0, f"{literal(name)}: {done:,} of {total:,}")


def ended(job: Job) -> None:
    """What became of a run, once."""
    state = st.session_state
    if job.outcome == "finished":
        state.d_shown = str(job.out)
        state.d_checkpoint_of = {str(job.out): job.order.checkpoint}
    elif job.outcome == "cancelled":
        st.info(
            "Cancelled. Nothing is lost: the same run goes on from where it stopped.", icon=":material/stop_circle:"
        )
    elif job.error:
        st.error(literal(job.error), icon=":material/error:")
    else:
        st.error("The run failed by a mistake of ours; the server's log has the details.", icon=":material/bug_report:")


# --- a result ---------------------------------------------------------------------------------------------------------


def show(path: str) -> None:
    """A result: what was run, the main numbers, one analysis at a time, and the problems."""
    try:
        result = dataset_jobs.result(path)
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    main = result.models[0]
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.markdown(f"## {literal(main.info.name)} on {literal(result.data)}")
        with st.popover("Download", icon=":material/download:"):
            downloads(result, path)
    others = ", ".join(
        f"{literal(m.info.name)}{' (control)' if m.untrained else ''} on {m.n_taken:,}" for m in result.models[1:]
    )
    st.markdown(
        f"n = **{main.n_taken:,}** problems, {main.n_thoughts} thoughts, seed {result.seed}; beside it: "
        f"{others or '–'}. :gray[Data {result.data_hash}, weights {main.info.fingerprint}. Intervals are 95 %; grey "
        "and dashed is a control.]"
    )
    for model in result.models:
        skipped(model)
    names = {section.name: section.title for section in result.sections}
    state = st.session_state
    titles = {
        "summary": "In short",
        **{n: _short(title) for n, title in names.items()},
        "problems": "Problem by problem",
    }
    options = list(titles)
    if state.get("d_section") not in options:
        state.d_section = "summary"
    left, right = st.columns([1, 4], gap="medium")
    with left:
        st.radio(
            "Analysis", options, key="d_section", label_visibility="collapsed", persist_state="session",
            format_func=titles.__getitem__,
        )  # fmt: skip
    with right:
        if state.d_section == "summary":
            summary(result)
        elif state.d_section == "problems":
            browse(result, path)
        else:
            analysis(result, result.section(state.d_section), path)


def _short(title: str) -> str:
    return literal(title.split(":")[0].split(" (")[0])


def skipped(model: RunModel) -> None:
    n = model.n_problems - model.n_taken
    if n:
        with st.expander(
            f"{n:,} problem{'s' if n > 1 else ''} that {literal(model.info.name)} cannot take",
            icon=":material/warning:",
        ):
            for number, reason in model.skipped:
                st.markdown(f"- problem {number}: {literal(reason)}")
            if n > len(model.skipped):
                st.markdown(f"- and {n - len(model.skipped):,} more")


def summary(result: DatasetResult) -> None:
    for section in result.sections:
        if section.says:
            st.markdown(f"**{literal(section.title)}**  \n{literal(section.says[0])}")
    st.caption(
        "Decodable, used and needed are different claims. This page is about what can be decoded, and about answers; "
        "whether the model uses it is a matter of interventions."
    )


def analysis(result: DatasetResult, section: Section, path: str) -> None:
    """One analysis with all that is needed to judge it."""
    st.markdown(f"### {literal(section.title)}")
    for sentence in section.says:
        st.markdown(f"**{literal(sentence)}**")
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
    with st.grid(min(2, len(section.charts)) or 1, min_column_width=340, gap="small", border=True) as grid:
        for drawn in section.charts:
            with grid.cell():
                chart(result, section, drawn, path)
    for table in section.published:
        st.markdown(f"##### Published: {literal(table.what)}")
        st.dataframe(pd.DataFrame(table.rows, columns=list(table.columns)), hide_index=True)
        st.caption(f"{literal(table.source)}. Differs from the above: {literal(table.differs)}")
    with st.expander(f"All {len(section.cells):,} numbers", icon=":material/table:"):
        st.dataframe(pd.DataFrame([cell.model_dump() for cell in section.cells]), hide_index=True)


def chart(result: DatasetResult, section: Section, drawn: Chart, path: str) -> None:
    """One figure with its files; a click on a point that is a problem offers to open it."""
    name, key = file_name(section, drawn), f"d_chart_{section.name}_{re.sub(r'[^A-Za-z0-9]', '_', drawn.name)}"
    st.markdown(f"##### {literal(drawn.title)}")
    options: dict[str, Any] = {}
    if drawn.kind == "points":
        options["on_select"] = partial(_clicked, drawn, key)
    st.echarts_chart(
        chart_options.option(drawn, panels.theme()),
        key=key,
        height=chart_options.height(drawn),
        renderer="svg",
        alt=f"{drawn.title}: {drawn.y_label} by {drawn.x_label}",
        **options,
    )
    notes = [drawn.note] if drawn.note else []
    if drawn.kind == "bars":
        notes.append("each box is a 95 % interval, the stroke across it the value")
    if drawn.kind == "points":
        notes.append("click a point to open its problem")
    if notes:
        text = "; ".join(notes)
        st.caption(literal(f"{text[0].upper()}{text[1:]}."))
    number = st.session_state.get(f"{key}_problem")
    if number is not None:
        try:
            recording, _ = dataset_jobs.problems_table(path, result.models[0])
        except InputError as error:
            st.error(literal(str(error)), icon=":material/error:")
        else:
            row = dataset_jobs.number_rows(recording.numbers.tolist()).get(number)
            if row is not None:
                to_explore(recording.problems[row], number, result, path, key)
    with st.container(horizontal=True, gap="xsmall"):
        st.download_button(
            "SVG", partial(to_svg, drawn), file_name=f"{name}.svg", mime="image/svg+xml", on_click="ignore",
            key=f"{key}_svg", type="tertiary",
        )  # fmt: skip
        st.download_button(
            "JSON", partial(drawn.model_dump_json, indent=1), file_name=f"{name}.json", mime="application/json",
            on_click="ignore", key=f"{key}_json", type="tertiary",
        )  # fmt: skip


def _clicked(drawn: Chart, key: str) -> None:
    groups: Any = st.session_state[key].selection.selected
    hit = chart_options.hit(drawn, groups)
    if hit:
        st.session_state[f"{key}_problem"] = drawn.problem(*hit)


def browse(result: DatasetResult, path: str) -> None:
    """The problems of one model, a row each; a row chosen can be opened in Explore."""
    state = st.session_state
    models = {model.info.name: model for model in result.models}
    if state.get("d_model") not in models:
        state.d_model = result.models[0].info.name
    left, right = st.columns(2)
    left.selectbox("Model", list(models), key="d_model", persist_state="session")
    try:
        recording, table = dataset_jobs.problems_table(path, models[state.d_model])
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    filters = {"all": table.index == table.index, "wrong": ~table["right"], "right": table["right"]}
    filters |= {name: table["category"] == name for name in sorted(set(table["category"]))}
    sizes = {name: int(members.sum()) for name, members in filters.items()}
    if state.get("d_filter") not in filters:
        state.d_filter = "all"
    right.selectbox(
        "Show", list(filters), key="d_filter", persist_state="session", format_func=lambda f: f"{f} ({sizes[f]:,})"
    )
    chosen = table[filters[state.d_filter]]
    event: Any = st.dataframe(
        chosen, hide_index=True, key=f"d_rows_{state.d_model}_{state.d_filter}", on_select="rerun",
        selection_mode="single-row", height=420,
    )  # fmt: skip
    st.caption(
        f"After all thoughts, left to write on; *right after k*: ● right, ○ wrong, after 0 to {recording.n_thoughts} "
        "thoughts. Blind rule: what the deeper backward search picks without looking at who is asked about. Choose a "
        "row to open it."
    )
    rows = event.selection.rows
    if rows and rows[0] < len(chosen):
        row = int(chosen.index[rows[0]])
        to_explore(recording.problems[row], int(recording.numbers[row]), result, path, "d_row")
        st.download_button(
            "This problem, ProsQA JSON", partial(write_problems, [recording.problems[row]]), key="d_row_json",
            file_name=f"problem-{int(recording.numbers[row])}.json", mime="application/json", on_click="ignore",
        )  # fmt: skip


def to_explore(problem: ProsQAProblem, number: int, result: DatasetResult, path: str, key: str) -> None:
    """A button that opens the problem in Explore with the result's checkpoint, where it is known where that is."""
    name = result.models[0].info.name
    known = st.session_state.get("d_checkpoint_of", {}).get(path, name if name in compute.shipped() else None)
    if st.button(f"Open problem {number} in Explore", icon=":material/account_tree:", key=f"{key}_open"):
        view = View(source="file") if known is None else View(source="file", checkpoint=known)
        controls.open_in_explore(view.of(problem))
    if known is None:
        st.caption(f"Where {literal(name)} lies is not in the result: choose its folder again in Explore.")


def downloads(result: DatasetResult, path: str) -> None:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).name) or "result"
    with st.container(horizontal=True, gap="xsmall"):
        for label, data, ending, mime in (
            ("Report, HTML", partial(to_html, result), "html", "text/html"),
            ("All numbers, CSV", partial(table_csv, result.cells), "csv", "text/csv"),
            ("Everything, JSON", partial(result.model_dump_json, indent=1), "json", "application/json"),
        ):
            st.download_button(
                label, data, file_name=f"{stem}.{ending}", mime=mime, on_click="ignore", key=f"d_get_{ending}"
            )


def nothing() -> None:
    st.markdown("## The papers' figures over many problems")
    st.markdown(
        "Choose problems and a checkpoint on the left and press **Run**: k-switch with its six categories, values and "
        "the search tree, parallelism, superposition, attention, logit lens, probes, geometry, commitment, and where "
        "it breaks out of distribution, each with n, intervals and an untrained control. Or open the folder that this "
        "command wrote:"
    )
    st.code("python -m probing dataset --data FILE --checkpoint FOLDER --out FOLDER", language="bash")


defaults()
sidebar()
job: Job | None = st.session_state.get("d_job")
if job is not None and job.is_over:
    ended(job)
    del st.session_state.d_job
    job = None
if job is not None:
    st.fragment(going_on, run_every=1)(job)
if st.session_state.get("d_shown"):
    show(st.session_state.d_shown)
elif job is None:
    nothing()
