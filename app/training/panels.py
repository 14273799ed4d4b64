"""The drawn parts of Training. Each takes values and draws them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import compute
from app import problem_picker as picker
from app.explore.state import View, open_in_explore, with_checkpoint
from app.figures import cards, figure, files
from app.training.state import is_live, show_one_problem
from app.words import SIDEBAR, capital, files_stem, header, literal
from model import checkpoint
from model.files import write_csv_of
from model.stats import Estimate, percent, share, text
from model.training.dynamics import DynamicsPoint, DynamicsRecord, ThoughtNumbers
from model.training.folder import RunFolder
from probing.draw import of_training
from probing.draw.marks import unbroken

HEIGHT = 300
KNOWS = 0.6
"""Lower end of the AUROC before training above which that moment is no model that knows nothing."""
FEW = 10
"""Nodes that a graph of that height can hold."""


def nothing() -> None:
    """What to do where there is no run."""
    st.info("There is no run to show yet. This one command trains a small model in minutes:", icon=":material/school:")
    st.code("make train-tiny", language="bash")
    st.markdown(
        "It writes to `runs/tiny`, and this page shows it while it learns. Any other run is shown too: choose "
        f"*{picker.OTHER_FOLDER}* in {SIDEBAR} and give the path of what `python -m model train … --out FOLDER` wrote, "
        "or of a checkpoint folder with an `emergence.json`."
    )


def headline(run: RunFolder) -> DeltaGenerator:
    """What was trained, how far it is, and where it ended; gives the place of the link."""
    record, last = run.record, run.steps[-1] if run.steps else None
    name = run.path.name if record is None or run.path.parent == checkpoint.CHECKPOINTS else record.name
    with header(f"{literal(name)}: emergence during training"):
        share = st.popover("Share", icon=":material/link:")
        weights = compute.has_weights(run.path)
        problem = None if weights or record is None else record.problem
        if st.button(
            "Its problem in Explore" if problem else "Open in Explore", icon=":material/account_tree:",
            disabled=not weights and problem is None,
            help="On the main model: there is a record of this run here, but no weights." if problem else None,
        ):  # fmt: skip
            open_in_explore(with_checkpoint(run.path) if problem is None else View().of(problem))
        with st.popover("Download", icon=":material/download:", disabled=record is None):
            if record is not None:
                downloads(run, record)
    facts = (
        [f"config **{literal(record.name)}**", f"method {literal(record.method)}", f"seed {record.seed}"]
        if record and not run.only_ends
        else []
    )
    now = last or (record.points[-1] if record else None)
    facts += [f"{now.problems:,} problems seen, stage {now.stage}"] if now else []
    ended = [f"stage {span.stage}: {span.why}" for span in run.stages if span.why]
    facts += [f"ended: {', '.join(ended)}"] if ended else []
    facts += [] if weights else ["a record without weights"]
    st.markdown(f"{_badge(run)} {' · '.join(facts)}")
    if run.only_ends:
        elsewhere(
            "No moment between was recorded when this model was trained: the slider has its two ends, an untrained "
            "model of its config and the model as it is, and a line between them is not measured."
        )
    if run.result is None and last is not None:
        done, rate = run.share_done or 0.0, f"{last.problems_per_second:,.0f} problems/s"
        st.progress(done, f"{100 * done:.0f} % of {last.n_steps:,} steps, {rate}")
    elif run.result:
        shown = (
            f"{'fixed number of thoughts' if way == 'fixed' else literal(way.replace('_', ' '))}: "
            f"**{literal(found.estimate.text('percent'))}** after {found.n_thoughts:g} thoughts (n = {found.n:,})"
            for way, found in run.result.items()
        )
        st.markdown(f"Best checkpoint on the validation problems: {'; '.join(shown)}.")
    if any(span.stage == 0 and span.why == "limit" for span in run.stages[:-1]):
        st.warning("Stage 0 ended by its limit, before its loss had settled: what follows is suspect.", icon="⚠️")
    return share


def elsewhere(missing: str) -> None:
    """What a record does not have, and the way to one that has it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(missing, width="stretch")
        label = "See all of it in a second run"
        if st.button(label, icon=":material/animation:", type="tertiary", on_click=show_one_problem):
            st.rerun()


def _badge(run: RunFolder) -> str:
    if run.result is not None:
        return ":green-badge[:material/check: ended]"
    if is_live(run):
        ago = time.time() - compute.last_written(run.path)
        return f":blue-badge[:material/sync: running, written {ago:.0f} s ago]"
    return ":orange-badge[stopped]" if compute.is_run(run.path) else ":gray-badge[finished]"


def sentence(record: DynamicsRecord, point: DynamicsPoint, thought: int, other: DynamicsRecord | None) -> None:
    """What the thought holds at the moment, beside its controls and the other run at its nearest moment."""
    now, start = point.thoughts[thought - 1], record.points[0].thoughts[thought - 1]
    if now.auroc_beyond is None:
        said = f"No probe problem has nodes both {now.distance} hops from the root and farther, so there is no AUROC."
    else:
        what = "thought" if record.has_thoughts else "state"
        said = (
            f"After {point.problems:,} problems (stage {point.stage}), **{the(record, thought)}** tells the frontier "
            f"from nodes beyond (logit lens) with AUROC **{auroc(now)}** and puts **{percent(now.mass['frontier'])}** "
            f"of its probability on the frontier. :gray[Controls: another problem's {what} "
            f"{number(now.auroc_control)}; before training {number(start.auroc_beyond)} and "
            f"{percent(start.mass['frontier'])}; n = {now.n} problems]"
        )
        if start.estimate is not None and (start.estimate.low or 0) > KNOWS:
            said += (
                "  \n:gray[Before training it was above chance already: the run began from weights made for it or "
                "trained before (`mimetic_start`, `load_model_path`, `base_model`), so that moment is no control.]"
            )
    if other is not None:
        who = f"Beside it, {literal(other.name)} ({literal(other.method)})"
        if thought > len(other.points[0].thoughts):
            said += f"  \n:gray[{who} has no thought {thought}.]"
        else:
            near = min(other.points, key=lambda its: abs(its.problems - point.problems))
            its = near.thoughts[thought - 1]
            said += (
                f"  \n:gray[{who} after {near.problems:,} problems: AUROC {auroc(its)} and "
                f"{percent(its.mass['frontier'])}; n = {its.n} problems]"
            )
    st.markdown(unbroken(said))


def answers(run: RunFolder, record: DynamicsRecord, other: RunFolder | None, at: int) -> None:
    """What there is to see of a run whose thoughts were not read at nodes: the answers alone."""
    st.caption(
        "Thoughts were not read during this run: its questions have no graph, or it has no thoughts. What is known "
        "over training are its answers."
    )
    chart = partial(_chart, run, "accuracy", _right(record), at=record.points[at].problems, other=other)
    cards(2, 420, {"Answers after k thoughts": chart}.items())


def _right(record: DynamicsRecord) -> str:
    return (
        f"Right answers in free generation after k thoughts, n = {record.n_problems} problems; band: 95 % Wilson "
        "interval of the largest k. The first point is the untrained model: the control."
    )


def dynamics(run: RunFolder, record: DynamicsRecord, other: RunFolder | None, thought: int, at: int) -> None:
    """Charts of one thought over training, with a cursor at a moment, and the numbers of that moment."""
    point = record.points[at]
    numbers, name = point.thoughts[thought - 1], record.called_state(thought)
    hops = f"{numbers.distance} hop{'s' if numbers.distance > 1 else ''}"
    auroc = (
        f"AUROC of nodes {hops} from the root against nodes beyond, by the logit lens; mean over n = {numbers.n} "
        "problems, band: 95 % interval. Control: another problem's thought read at this problem's nodes."
    )
    mass = (
        "Mean over problems of the probability on each group of nodes; what is missing to 1 is on markers and names "
        "not in the graph. The first point is the untrained model: the control."
    )
    logit = "Mean logit of frontier nodes minus that of nodes beyond, in nats; 0: no difference."
    accuracy = f"{_right(record)} A coin between the two candidates gets .50; text without an answer is wrong."
    chart = partial(_chart, run, at=point.problems, thought=thought, other=other)
    head = (
        f"Head to head with the counterfactual question's frontier at the same distance, n up to {record.n_problems}: "
        "who does not know the root gets .50. Dotted: what the depth reader, which knows neither root nor model, gets "
        "against all nodes beyond."
    )
    one = of_training.example(record, at, thought)
    drawn: dict[str, Callable[[], None]] = {}
    if one is not None:
        graph, heatmap = one
        height = HEIGHT if len(graph.nodes) <= FEW else None
        about = (
            "One problem, always the same, in one prompt sample (n = 1; Explore prints means over several, so other "
            "numbers). Orange: "
            + ("the frontier that this thought should hold." if record.has_thoughts else "the frontier one hop away.")
        )
        stairs = "The same problem, all thoughts: a ghost at first, the staircase at the end."

        def to_thought(state: int, _: int) -> None:
            if state + 1 in [numbers.thought for numbers in point.thoughts]:
                st.session_state.t_thought = state + 1

        drawn = {
            f"One problem, {name}": lambda: figure(graph, "t_graph", height=height, caption=about),
        }
        if record.has_thoughts:
            drawn["One problem, every thought"] = lambda: figure(
                heatmap, "t_stairs", height=height, caption=stairs, on_hit=to_thought
            )
    else:
        elsewhere("This record is older than the picture of one problem, from ghost to staircase.")
    known = {f"{capital(name)} against the other root's frontier": partial(chart, "other_root", head)}
    cards(2, 420, {
        **drawn,
        f"Frontier decoding, {name}": partial(chart, "auroc", auroc),
        f"Probability mass of {the(record, thought)}": partial(chart, "mass", mass),
        "Frontier above the rest": partial(chart, "logit", logit),
        "Answers after k thoughts": partial(chart, "accuracy", accuracy),
        **(known if of_training.has(record, "other_root") else {}),
    }.items())  # fmt: skip
    every = "Every thought" if record.has_thoughts else "The state after the prompt,"
    st.markdown(f"##### {every} after {point.problems:,} problems")
    st.dataframe(table(record, point), hide_index=True, key="t_numbers")
    st.caption(
        "AUROC: frontier against nodes beyond, by the logit lens. Shuffled: another problem's thought. Untrained: the "
        "moment before training. Decodable is not the same as used: that takes interventions, and a control without "
        "thoughts."
    )


def table(record: DynamicsRecord, point: DynamicsPoint) -> pd.DataFrame:
    """The numbers of one moment, a row per thought, with those before training beside them."""
    n = record.n_problems
    rows = []
    for now, start in zip(point.thoughts, record.points[0].thoughts, strict=True):
        right = point.accuracy_by_k[now.thought] if now.thought < len(point.accuracy_by_k) else None
        rows.append(
            {
                "thought": now.thought,
                "distance": now.distance,
                "AUROC beyond [95 %]": auroc(now),
                "other root": number(now.auroc_other_root),
                "shuffled": number(now.auroc_control),
                "depth reader": number(now.auroc_depth),
                "untrained": number(start.auroc_beyond),
                "n": now.n,
                "on frontier": number(now.mass["frontier"]),
                "frontier, untrained": number(start.mass["frontier"]),
                "on shortest path": number(now.mass["optimal"]),
                "passed": number(now.mass["passed"]),
                "beyond": number(now.mass["beyond"]),
                "logit gap": number(now.logit_gap),
                "accuracy after it [95 %]": text(None if right is None else share(right * n, n), "short"),
            }
        )
    return pd.DataFrame(rows)


def the(record: DynamicsRecord, thought: int) -> str:
    """A thought, or the state of a model without thoughts, in a sentence."""
    return f"{'' if record.has_thoughts else 'the '}{record.called_state(thought)}"


def auroc(value: ThoughtNumbers) -> str:
    """An AUROC with its interval, unless that is written as the value is: all problems give the same."""
    alone, whole = number(value.auroc_beyond), text(value.estimate, "short", bounds=(0, 1))
    return alone if whole == f"{alone} [{alone}, {alone}]" else whole


def number(value: float | None) -> str:
    return text(None if value is None else Estimate(value=value, n=1), "short")


def losses(run: RunFolder, at: int | None) -> None:
    """Loss and accuracy of the stage trained, over training."""
    n = f"n = {run.validations[-1].n:,} problems, band: 95 % Wilson interval" if run.validations else "none yet"
    loss = (
        "Nats per scored token, means over the interval. Dashed: what a uniform guess in the true frontier costs on "
        "the first token; a model above it at the end of stage 0 cannot look edges up."
    )
    accuracy = (
        f"Validation: free generation after the stage's thoughts, {n}. Early stages write the rest of the path, so "
        "their tasks are easier: accuracies of different stages are not one curve."
    )
    chart = partial(_chart, run, at=at)
    cards(2, 420, {
        "Loss": partial(chart, "loss", loss),
        "Accuracy at the stage trained": partial(chart, "validation", accuracy),
    }.items())  # fmt: skip


def _chart(run: RunFolder, kind: str, caption: str, **of: Any) -> None:
    drawn, record = of_training.figure(run, kind, **of), run.record

    def clicked(series: int, point: int) -> None:
        at = float(drawn.series[series].x[point])
        moments = [moment.problems for moment in record.points] if record else []
        st.session_state.update(t_at=min(range(len(moments)), key=lambda i: abs(moments[i] - at)), t_playing=False)

    others = "" if of_training.OTHERS not in drawn.title else " Grey: the other thoughts."
    about = f"{caption}{others} A click goes to that training step." if record else caption
    figure(drawn, f"t_{kind}", height=HEIGHT, caption=about, on_hit=clicked if record else None)


def downloads(run: RunFolder, record: DynamicsRecord) -> None:
    """The record as a picture, a table and itself; the losses as a table."""
    stem = files_stem(record.name)
    st.caption("Training dynamics")
    files(partial(compute.record_file, record), ("svg", "png", "csv", "json"), f"{stem}-dynamics", "t_get")
    if run.steps:
        st.caption("Losses and validations")
        files(partial(_losses_file, run), ("csv", "json"), f"{stem}-losses", "t_get_losses")


def _losses_file(run: RunFolder, format: str) -> str:
    rows = [{"kind": "step", **step.model_dump()} for step in run.steps]
    rows += [{"kind": "validation", **value.model_dump()} for value in run.validations]
    if format == "json":
        return json.dumps(rows, indent=1)
    return write_csv_of(None, rows)
