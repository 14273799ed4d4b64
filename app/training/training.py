"""Training: see the search appear while a model learns, in a run that has ended or in one that goes on."""

from __future__ import annotations

import json
import re
import time
from functools import partial

import pandas as pd
import streamlit as st

from app import compute
from app import problem_picker as controls
from app.explore import panels
from app.problem_picker import literal
from model.errors import InputError
from model.stats import wilson
from model.training.dynamics import EmergencePoint, EmergenceRecord, ThoughtNumbers
from model.training.folder import RunFolder
from probing.draw import echarts as figures
from probing.draw import of_training
from probing.draw.values import Chart

NONE, OTHER = "none", "another folder …"
LIVE_SECONDS = 300  # a run without a result that wrote this recently is looked at again every few seconds
HEIGHT = 300
RECORD_KINDS = {"svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "json": "application/json"}


def open_link() -> None:
    """Once a session: choose the folder that ``?run=`` names."""
    state = st.session_state
    if "t_run" not in state:
        asked = st.query_params.get("run", "")
        listed = [str(path) for path in compute.run_folders()]
        state.t_run = asked if asked in listed else OTHER if asked or not listed else listed[0]
        state.t_folder = asked


def sidebar() -> tuple[str, str]:
    """The folder to show and the one to set beside it; empty for none."""
    with st.sidebar:
        st.markdown("#### Run")
        folder = _folder("t", [OTHER])
        st.markdown("#### Beside it", help="Another run in the same charts, dashed grey: a control trained by another "
                    "method, or another seed.")  # fmt: skip
        st.session_state.setdefault("t_beside_run", NONE)
        beside = _folder("t_beside", [NONE, OTHER])
    return folder, beside


def _folder(key: str, more: list[str]) -> str:
    state = st.session_state
    options = [*(str(path) for path in compute.run_folders()), *more]
    if state.get(f"{key}_run") not in options:
        state[f"{key}_run"] = options[0] if options[0] != OTHER else OTHER
    chosen = st.selectbox(
        "Folder",
        options,
        key=f"{key}_run",
        format_func=lambda text: text if text in (NONE, OTHER) else compute.short_path(text),
        label_visibility="collapsed",
        persist_state="session",
    )
    if chosen == OTHER:
        typed = st.text_input(
            "Path", key=f"{key}_folder", placeholder="a run folder, or a checkpoint folder", persist_state="session"
        )
        return (typed or "").strip()
    return "" if chosen == NONE else chosen


def nothing() -> None:
    """What to do where there is no run."""
    st.info("There is no run to show yet. This one command trains a small model in minutes:", icon=":material/school:")
    st.code("make train-tiny", language="bash")
    st.markdown(
        "It writes to `runs/tiny`, and this page shows it while it learns. Any other run is shown too: choose "
        f"*{OTHER}* on the left and give the path of what `python -m model train … --out FOLDER` wrote, or of a "
        "checkpoint folder with an `emergence.json`."
    )


def page(folder: str, beside: str, *, live: bool) -> None:
    """All of the page; for a run that goes on, read and drawn again every few seconds."""
    try:
        run = compute.run_folder(folder)
        other = compute.run_folder(beside) if beside else None
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    if live and not is_live(run):
        st.rerun()  # it has ended: the page without its clock
    headline(run)
    if run.record is not None:
        emergence(run, run.record, other)
    else:
        st.info("No point of the emergence record has been measured in this run.", icon=":material/info:")
    if run.steps:
        at = None if run.record is None else run.record.points[st.session_state.t_at].problems
        losses(run, at)


def is_live(run: RunFolder) -> bool:
    """Whether more is to be expected: no result yet, and something was written lately."""
    ours = run.result is None and compute.is_run(run.path)
    return ours and time.time() - compute.last_written(run.path) < LIVE_SECONDS


def headline(run: RunFolder) -> None:
    """What was trained, how far it is, and where it ended."""
    record, last = run.record, run.steps[-1] if run.steps else None
    name = literal(record.name if record else run.path.name)
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.markdown(f"## {name}: what its thoughts come to hold")
        if st.button("Open in Explore", icon=":material/account_tree:", disabled=not compute.has_weights(run.path)):
            in_explore(run)
        with st.popover("Download", icon=":material/download:", disabled=record is None):
            if record is not None:
                downloads(run, record)
    facts = [f"method **{literal(record.method)}**", f"seed {record.seed}"] if record else []
    if last is not None:
        facts.append(f"{last.problems:,} problems seen, stage {last.stage}")
    elif record is not None:
        facts.append(f"{record.points[-1].problems:,} problems seen, stage {record.points[-1].stage}")
    ended = [f"stage {span.stage}: {span.why}" for span in run.stages if span.why]
    facts += [f"ended: {', '.join(ended)}"] if ended else []
    badge = ":green-badge[:material/check: ended]"
    if run.result is None:
        ago = time.time() - compute.last_written(run.path)
        badge = f":blue-badge[:material/sync: running, written {ago:.0f} s ago]" if is_live(run) else (
            ":orange-badge[stopped]" if compute.is_run(run.path) else ":gray-badge[as it stood at this checkpoint]"
        )  # fmt: skip
    st.markdown(f"{badge} {' · '.join(facts)}")
    if run.result is None and last is not None:
        rate = f"{last.problems_per_second:,.0f} problems/s"
        st.progress(run.share_done or 0.0, f"{100 * (run.share_done or 0):.0f} % of {last.n_steps:,} steps, {rate}")
    elif run.result:
        shown = [
            f"{'fixed number of thoughts' if way == 'fixed' else way.replace('_', ' ')}: "
            f"**{value.estimate.text('percent')}** after {value.n_thoughts:g} thoughts (n = {value.n:,})"
            for way, value in run.result.items()
        ]
        st.markdown(f"Best checkpoint on the validation problems: {'; '.join(literal_but_bold(s) for s in shown)}.")
    if any(span.stage == 0 and span.why == "limit" for span in run.stages[:-1]):
        st.warning("Stage 0 ended by its limit, before its loss had settled: what follows is suspect.", icon="⚠️")


def in_explore(run: RunFolder) -> None:
    """Go to Explore with this run's checkpoint."""
    try:
        view = compute.first_view(run.path)
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    controls.open_in_explore(view)


def literal_but_bold(text: str) -> str:
    head, bold, rest = text.split("**")
    return f"{literal(head)} **{literal(bold)}** {literal(rest)}"


def emergence(run: RunFolder, record: EmergenceRecord, other: RunFolder | None) -> None:
    """The record: a thought, a moment, four charts, and the numbers of that moment."""
    thought, at = chosen(record)
    point = record.points[at]
    st.markdown(sentence(record, point, thought) + beside_it(other, point, thought))
    seen = point.problems
    numbers = point.thoughts[thought - 1]
    with st.grid(2, min_column_width=420, gap="small", border=True) as grid:
        with grid.cell():
            st.markdown(f"##### Is thought {thought} the frontier?")
            _draw("t_auroc", of_training.figure(run, "auroc", thought=thought, at=seen, other=other))
            st.caption(
                f"AUROC of nodes {numbers.distance} hop{'s' if numbers.distance > 1 else ''} from the root against "
                f"nodes not reached, by logit; mean over n = {numbers.n} problems, band: 95 % interval. Control: "
                "another problem's thought read at this problem's tokens."
            )
        with grid.cell():
            st.markdown(f"##### Where the probability of thought {thought} is")
            _draw("t_mass", of_training.figure(run, "mass", thought=thought, at=seen, other=other))
            st.caption(
                "Mean over problems of the probability on each group of nodes; what is missing to 1 is on markers and "
                "unused slots. The first point is the untrained model: the control."
            )
        with grid.cell():
            st.markdown("##### Frontier above the rest")
            _draw("t_logit", of_training.figure(run, "logit", thought=thought, at=seen, other=other))
            st.caption("Mean logit of frontier nodes minus that of nodes not reached, in nats; 0: no difference.")
        with grid.cell():
            st.markdown("##### Answers after k thoughts")
            _draw("t_accuracy", of_training.figure(run, "accuracy", at=seen, other=other))
            st.caption(
                f"Right answers when the model writes freely after k thoughts, n = {record.n_problems} problems; band: "
                "95 % Wilson interval of the largest k. A coin between the two candidates gets .50; text without an "
                "answer is wrong."
            )
    st.markdown(f"##### Every thought after {seen:,} problems")
    st.dataframe(table(record, point), hide_index=True, key="t_numbers")
    st.caption(
        "Start: the same before training. Decodable is not the same as used: that takes interventions, and a control "
        "trained without thoughts."
    )


def chosen(record: EmergenceRecord) -> tuple[int, int]:
    """The thought and the moment; at the newest moment the slider follows a run that goes on."""
    state, last = st.session_state, len(record.points) - 1
    thoughts = [numbers.thought for numbers in record.points[0].thoughts]
    same = state.get("t_shown") == (record.name, record.method, record.seed)
    if not same or state.get("t_at", 0) >= state.get("t_last", 0):
        state.t_at = last
    state.t_at = min(state.t_at, last)
    state.t_last, state.t_shown = last, (record.name, record.method, record.seed)
    if state.get("t_thought") not in thoughts:
        state.t_thought = thoughts[0]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        thought = st.segmented_control(
            "Thought", thoughts, key="t_thought", required=True, persist_state="session",
            help="Thought t is the state after t - 1 thoughts; it should hold the nodes at distance t "
            "(with c thoughts a step: t / c, rounded up).",
        )  # fmt: skip
        assert thought is not None
        if last:
            st.select_slider(
                "Moment of training",
                range(last + 1),
                key="t_at",
                format_func=lambda i: f"{record.points[i].problems:,} problems, stage {record.points[i].stage}",
                persist_state="session",
            )
    return thought, state.t_at


def sentence(record: EmergenceRecord, point: EmergencePoint, thought: int) -> str:
    """What the thought holds at the moment, beside its controls."""
    now, start = point.thoughts[thought - 1], record.points[0].thoughts[thought - 1]
    if now.auroc is None:
        return f"No probe problem has nodes both {now.distance} hops from the root and farther, so there is no AUROC."
    return (
        f"After {point.problems:,} problems (stage {point.stage}), **thought {thought}** tells the frontier from nodes "
        f"not reached with AUROC **{auroc_text(now)}** and puts **{100 * now.mass['frontier']:.0f} %** of its "
        f"probability on the frontier. :gray[Controls: another problem's thought {number(now.auroc_control)}; before "
        f"training {number(start.auroc)} and {100 * start.mass['frontier']:.0f} %; n = {now.n} problems]"
    )


def beside_it(other: RunFolder | None, point: EmergencePoint, thought: int) -> str:
    """The same numbers of the other run, at its moment nearest to this one."""
    if other is None or other.record is None:
        return ""
    name = literal(other.record.name)
    if thought > len(other.record.points[0].thoughts):
        return f"  \n:gray[Beside it, {name} ({literal(other.record.method)}) has no thought {thought}.]"
    near = min(other.record.points, key=lambda its: abs(its.problems - point.problems))
    its = near.thoughts[thought - 1]
    return (
        f"  \n:gray[Beside it, {name} ({literal(other.record.method)}) after {near.problems:,} problems: AUROC "
        f"{auroc_text(its)} and {100 * its.mass['frontier']:.0f} %; n = {its.n} problems]"
    )


def table(record: EmergenceRecord, point: EmergencePoint) -> pd.DataFrame:
    """The numbers of one moment, a row a thought, with those before training beside them."""
    rows = []
    for now, start in zip(point.thoughts, record.points[0].thoughts, strict=True):
        right = point.accuracy_by_k[now.thought] if now.thought < len(point.accuracy_by_k) else None
        rows.append(
            {
                "thought": now.thought,
                "distance": now.distance,
                "AUROC [95 %]": auroc_text(now),
                "another's": number(now.auroc_control),
                "start": number(start.auroc),
                "n": now.n,
                "on frontier": number(now.mass["frontier"]),
                "frontier, start": number(start.mass["frontier"]),
                "on shortest path": number(now.mass["optimal"]),
                "reached before": number(now.mass["passed"]),
                "not reached": number(now.mass["beyond"]),
                "logit gap": number(now.logit_gap),
                "accuracy after it [95 %]": share(right, record.n_problems),
            }
        )
    return pd.DataFrame(rows)


def auroc_text(value: ThoughtNumbers) -> str:
    """An AUROC with its interval; where all problems give the same there is none."""
    if value.auroc is not None and value.auroc_se == 0:
        return f"{number(value.auroc)} (the same in all {value.n})"
    found = value.estimate
    if found is None or found.low is None or found.high is None:
        return number(value.auroc)
    return f"{found.value:.2f} [{max(found.low, 0):.2f}, {min(found.high, 1):.2f}]"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def share(value: float | None, n: int) -> str:
    if value is None:
        return "–"
    low, high = wilson(value * n, n)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def losses(run: RunFolder, at: int | None) -> None:
    with st.grid(2, min_column_width=420, gap="small", border=True) as grid:
        with grid.cell():
            st.markdown("##### Loss")
            _draw("t_losses", of_training.figure(run, "loss", at=at))
            st.caption(
                "Nats per scored token, means over the interval. Dotted: what a uniform guess in the true frontier "
                "costs on the first token; a model above it at the end of stage 0 cannot look edges up."
            )
        with grid.cell():
            st.markdown("##### Accuracy at the stage trained")
            _draw("t_validation", of_training.figure(run, "validation", at=at))
            n = f"n = {run.validations[-1].n:,} problems, band: 95 % Wilson interval" if run.validations else "none yet"
            st.caption(
                f"Validation: the model writes freely after the stage's thoughts, {n}. Early stages write the rest of "
                "the path, so their tasks are easier: accuracies of different stages are not one curve."
            )


def downloads(run: RunFolder, record: EmergenceRecord) -> None:
    """The record as a picture, a table and itself; the losses as a table."""
    st.caption("The emergence record")
    with st.container(horizontal=True, gap="xsmall"):
        for kind, mime in RECORD_KINDS.items():
            st.download_button(
                kind.upper(),
                partial(compute.record_file, record, kind),
                file_name=f"{_stem(record)}-emergence.{kind}",
                mime=mime,
                on_click="ignore",
                key=f"t_get_{kind}",
            )
    if not run.steps:
        return
    rows = [{"kind": "step", **step.model_dump()} for step in run.steps]
    rows += [{"kind": "validation", **value.model_dump()} for value in run.validations]
    st.caption("Losses and validations")
    with st.container(horizontal=True, gap="xsmall"):
        st.download_button(
            "CSV",
            pd.DataFrame(rows).to_csv(index=False),
            file_name=f"{_stem(record)}-losses.csv",
            mime="text/csv",
            on_click="ignore",
            key="t_get_losses_csv",
        )
        st.download_button(
            "JSON",
            json.dumps(rows, indent=1),
            file_name=f"{_stem(record)}-losses.json",
            mime="application/json",
            on_click="ignore",
            key="t_get_losses_json",
        )


def _stem(record: EmergenceRecord) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", record.name)[:60] or "run"


def _draw(key: str, chart: Chart) -> None:
    st.echarts_chart(
        figures.option(chart, panels.theme()), key=key, height=HEIGHT, renderer="svg", alt=chart.about().alt
    )


open_link()
folder, beside = sidebar()
if not folder:
    nothing()
else:
    try:
        live = is_live(compute.run_folder(folder))
    except InputError:
        live = False  # said by the page itself
    st.fragment(page, run_every=3 if live else None)(folder, beside, live=live)
