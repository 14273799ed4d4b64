"""The sidebar as one frozen ``Setup`` and one valid problem. Every mistake is told where it was made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import DeletedFile

from app import compute, hosted, uploads
from app.links import MAX_HOPS, MAX_NODES, MAX_SAMPLES, MAX_SEED, Setup, Source
from app.words import attempt, bold, capital, choice, kept, literal, wrong
from model.errors import InputError
from model.files import MAX_UPLOAD_BYTES
from model.formats.graph import MAX_UPLOAD_ROWS, Graph, read_graph, try_graph, write_graph
from model.problems.generate import KINDS
from model.problems.prosqa import ProsQAProblem

NAMES: dict[Source, str] = {"example": "Example", "generated": "Generated", "file": "File", "custom": "Custom"}
FORMS = (
    "sentences (Tom is a terpus. Cats are animals. Is Tom a lempus or scrompus?), one edge per line (Tom terpus, "
    "Tom -> terpus, Tom,terpus), node-link JSON or GraphML"
)
"""What a graph can be written in."""
MOST_LISTED = 1000
"""Nodes of a graph whose names are offered to be chosen."""
FITS = 10
"""Characters of a name that a box of half the sidebar shows."""
OTHER_FOLDER, UPLOAD = "another folder …", "upload a model …"
START = """\
Tom is a terpus. Tom is a gorpus.
Every terpus is a brimpus. Every gorpus is a lempus.
Every lempus is a yumpus.
Ada is a wumpus. Every wumpus is a rompus.
Is Tom a yumpus or rompus?
"""


@dataclass(frozen=True)
class Choice:
    """What the sidebar says, and its problem."""

    setup: Setup
    problem: ProsQAProblem
    stale: bool
    """The problem is the last one that was sound, as what is entered now is not."""


def put(setup: Setup) -> None:
    """Set every widget to a setup; before the widgets are drawn."""
    state = st.session_state
    state.update({f"x_{name}": getattr(setup, name) for name in Setup.model_fields if name != "candidates"})
    state.update(
        x_mode="Text",
        x_setup=setup,
        x_text=setup.text or START,
        x_first=setup.candidates and setup.candidates[0],
        x_second=setup.candidates and setup.candidates[1],
    )
    put_folder("x_checkpoint", "x_folder", setup.checkpoint, compute.models())


def sidebar(samples: str = "x_samples", why: str = "") -> Choice:
    """Draw the sidebar and read it; ``samples`` is the key of the number of prompt samples, which pages may have of
    their own, and say ``why``."""
    state = st.session_state
    if state.get("x_page") != samples:
        # What a widget of another page held does not always reach the same widget here, so it is set anew.
        put(state.x_setup)
    state.x_page = samples
    source: Source = state.x_setup.source
    problem: ProsQAProblem | None = state.get("x_problem") or compute.example()
    with st.sidebar:
        if not compute.graphless(_checkpoint()):
            source, problem = _problem()
        st.markdown("#### Model")
        folder_or(
            "Checkpoint", "x_checkpoint", "x_folder", compute.models(), placeholder="folder, file or Hub id (org/repo)"
        )
        checkpoint = _checkpoint()
        if not compute.graphless(checkpoint):  # a question in words is written in one way
            with st.popover("Prompt samples", icon=":material/shuffle:", width="stretch"):
                _prompts(samples, why)
    stale = problem is None and not (source == "file" and not state.get("x_upload_held"))  # nothing was chosen
    if problem is not None:
        state.x_problem = problem
    held = {name: state[f"x_{name}"] for name in ("kind", "hops", "nodes", "seed", "pad", "samples", "sample_seed")}
    asked: dict[str, Any] = {"text": state.x_text or ""}
    if source in ("custom", "file") and problem is not None and state.get("x_first"):
        text = state.x_table_text if source == "custom" and state.x_mode == "Table" else state.x_text
        asked = {"text": text, "root": state.x_root, "candidates": (state.x_first, state.x_second)}
    state.x_setup = Setup(source=source, checkpoint=checkpoint, **held, **asked)
    setup = state.x_setup.model_copy(update={"samples": state[samples]})
    return Choice(setup, state.get("x_problem") or compute.example(), stale)


def _problem() -> tuple[Source, ProsQAProblem | None]:
    st.markdown("#### Problem")
    source = st.segmented_control(
        "Source", list(NAMES), format_func=NAMES.__getitem__, **kept("x_source"), required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    assert source is not None
    made = {"example": _example, "generated": _generated, "file": _file, "custom": _custom}
    return source, made[source]()


def _example() -> ProsQAProblem:
    return compute.example(_checkpoint())


def _checkpoint() -> str:
    """The checkpoint chosen; while no path is typed yet, the one from before."""
    state = st.session_state
    typed = (state.get("x_folder") or "").strip()
    return (typed or state.x_setup.checkpoint) if state.x_checkpoint == OTHER_FOLDER else state.x_checkpoint


def _generated() -> ProsQAProblem | None:
    state = st.session_state
    ranges("x")
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.number_input("Seed", 0, MAX_SEED, step=1, **kept("x_seed"))

    def following() -> None:
        state.x_seed = (state.x_seed + 1) % MAX_SEED
        state.x_node = None

    right.button("Next", on_click=following, icon=":material/skip_next:", width="stretch")
    wanted = (state.x_kind, state.x_hops, state.x_nodes, state.x_seed)
    return attempt(lambda: compute.named(_checkpoint(), compute.generated(*wanted)))


def ranges(page: str) -> None:
    """Kind, hops and nodes of generated problems, as widgets of a page."""
    st.selectbox(
        "Kind", KINDS, **kept(f"{page}_kind"),
        help="balanced: the shortcut baseline, which never looks at the queried entity, is right half of the time. "
        "public: like the public ProsQA file, where that baseline is right more often. hard: rules that look at the "
        "root and follow no path are at chance too; at least 5 hops and 24 nodes.",
    )  # fmt: skip
    st.slider("Hops from root to target", 1, MAX_HOPS, **kept(f"{page}_hops"))
    st.slider("Nodes", 4, MAX_NODES, **kept(f"{page}_nodes"))


def _file() -> ProsQAProblem | None:
    found = upload("x_upload")
    if found is None:
        return None
    _, problems = found
    if isinstance(problems, Graph):
        return _question(problems)
    state, last = st.session_state, len(problems) - 1

    def within() -> None:
        state.x_row = min(state.get("x_row", 0), last)

    within()
    # Without an upper bound of its own: beyond one, a browser keeps what was typed and tells nobody.
    return problems[st.number_input(f"Row, 0 to {last:,}", 0, step=1, on_change=within, **kept("x_row"))]


def upload(key: str, *, larger: str = "") -> tuple[str, tuple[ProsQAProblem, ...] | Graph] | None:
    """The name of an uploaded file and its problems or its graph, kept while other pages are visited; None where there
    is none, or where it is wrong, which is said."""
    state, held = st.session_state, f"{key}_held"

    def changed() -> None:
        file = state[key]
        if not isinstance(file, DeletedFile):  # room was made of it for others; what it held is here
            state[held] = None if file is None else (file.name, file.getvalue())

    limit = f"at most {MAX_UPLOAD_BYTES // 2**20} MB and {MAX_UPLOAD_ROWS:,} rows"
    file = st.file_uploader(
        "A graph, or ProsQA JSON", key=key, on_change=changed, max_upload_size=MAX_UPLOAD_BYTES // 2**20,
        help=f"A graph: {FORMS}. Problems: one row or a list of rows with idx_to_symbol, edges, root, target, "
        f"neg_target; {limit}.",
    )  # fmt: skip
    if not state.get(held):
        st.caption(f"Edge list, CSV, English, node-link JSON, GraphML or ProsQA JSON; {limit}{larger}.")
        return None
    name, data = state[held]
    if file is None:
        st.caption(f"{literal(name)}, uploaded before.")
    problems = attempt(lambda: compute.uploaded(name, data))
    return None if problems is None else (name, problems)


# --- custom graphs ----------------------------------------------------------------------------------------------------


def _custom() -> ProsQAProblem | None:
    state = st.session_state
    st.segmented_control(
        "Enter as", ["Text", "Table"], **kept("x_mode"), required=True, on_change=_mode_changed,
        label_visibility="collapsed",
    )  # fmt: skip
    found = _table() if state.x_mode == "Table" else _text()
    if not isinstance(found, InputError):
        return _question(found)
    wrong(found)
    # While the text cannot be read, the question of the last graph stands where it was.
    last = state.get("x_graph")
    return None if last is None else _question(last, broken=True)


def _question(graph: Graph, *, broken: bool = False) -> ProsQAProblem | None:
    """The question that root and candidates ask of a graph; None where they ask none, the graph is too large for the
    model, or it is ``broken``: not the one that is entered."""
    state, most = st.session_state, compute.slots(_checkpoint())
    if graph.remark and not broken:
        st.caption(f"{literal(capital(graph.remark))}.")
    too_large = most is not None and len(graph.names) > most
    if too_large and not broken:
        wrong(
            f"This graph has {len(graph.names):,} nodes; {_checkpoint()} has {most} node slots. Keep the facts between "
            "the root and the candidates, or choose a model with more slots."
        )
    if len(graph.names) > MOST_LISTED:
        return None
    _suggest(graph)
    options: dict[str, Any] = {
        "options": list(graph.names), "persist_state": "session", "filter_mode": "contains", "disabled": broken,
    }  # fmt: skip
    st.selectbox("Root: the queried entity", key="x_root", on_change=_root_changed, args=(graph,), **options)
    beside = max(map(len, graph.names)) <= FITS
    left, right = st.columns(2) if beside else (st.container(), st.container())
    left.selectbox("Candidate", key="x_first", **options)
    right.selectbox("Other candidate", key="x_second", **options)
    if broken or too_large:
        return None
    try:
        return graph.ask(state.x_root, (state.x_first, state.x_second))
    except InputError as error:
        wrong(error)
        reached, missed = graph.candidates_for(state.x_root)
        if reached and missed:
            st.caption(
                f"{len(reached)} leaves can be reached from this root and {len(missed)} cannot; choose one of each, as "
                f"{bold(reached[0])} and {bold(missed[0])}."
            )
        return None


def _root_changed(graph: Graph) -> None:
    """Another root needs other candidates, unless those chosen make a question for it too."""
    state = st.session_state
    try:
        graph.ask(state.x_root, (state.x_first, state.x_second))
    except InputError:
        state.x_first = state.x_second = None


def _mode_changed() -> None:
    state = st.session_state
    if state.x_mode == "Text":
        state.x_text = state.get("x_table_text", state.x_text)
    else:
        state.x_table_version = state.get("x_table_version", 0) + 1
        state.pop("x_table_base", None)


def _text() -> Graph | InputError:
    st.text_area(
        "Facts", **kept("x_text"), height=150,
        help=f"A graph: {FORMS}; or a row of ProsQA JSON. Ctrl+Enter to check.",
    )  # fmt: skip
    return try_graph(st.session_state.x_text or "", where="facts")


def _table() -> Graph | InputError:
    state = st.session_state
    if "x_table_base" not in state:
        graph = try_graph(state.x_text or "", where="facts")
        edges = [] if isinstance(graph, InputError) else [(graph.names[a], graph.names[b]) for a, b in graph.edges]
        state.x_table_base = pd.DataFrame(edges, columns=["every", "is a"], dtype="string")
    edited = st.data_editor(
        state.x_table_base, num_rows="dynamic", hide_index=True, height=240, width="stretch",
        key=f"x_table_{state.get('x_table_version', 0)}",
    )  # fmt: skip
    lines = []
    for number, (source, target) in enumerate(edited.fillna("").astype(str).itertuples(index=False), start=1):
        if bool(source.strip()) != bool(target.strip()):
            return InputError(f"row {number}: one of the two names is empty")
        pair = (source.strip(), target.strip())
        lines.append(" ".join(json.dumps(name, ensure_ascii=False) for name in pair) if source.strip() else "")
    try:
        graph = read_graph("\n".join(lines), "edges", where="table")
    except InputError as error:
        return error
    state.x_table_text = write_graph(graph, "edges")
    return graph


def _suggest(graph: Graph) -> None:
    """Keep the question while it can be asked; of another graph, or where a name is gone, take the graph's own, else
    the first that can be."""
    state = st.session_state
    before, state.x_graph = state.get("x_graph", graph), graph
    own = (graph.root, graph.candidates)
    asked_anew = graph.root is not None and own != (before.root, before.candidates)
    if before != graph and not asked_anew:
        try:
            graph.ask(state.get("x_root"), (state.get("x_first") or "", state.get("x_second") or ""))
        except InputError:
            asked_anew = True
    if state.get("x_root") not in graph.names or asked_anew:
        state.x_root = (graph.roots or graph.names)[0] if graph.root is None else graph.names[graph.root]
        state.x_first = state.x_second = None
    if any(state.get(key) not in graph.names for key in ("x_first", "x_second")):
        reached, missed = graph.candidates_for(state.x_root)
        pair = graph.candidates and tuple(graph.names[node] for node in graph.candidates)
        first, second = pair or ((*reached, *graph.names)[0], (*missed, *graph.names)[0])
        state.x_first, state.x_second = first, second


# --- model and prompts ------------------------------------------------------------------------------------------------


def folder_or(
    label: str,
    key: str,
    folder_key: str,
    options: Sequence[str],
    *,
    placeholder: str,
    show: Callable[[str], str] = str,
    titled: bool = False,
    models: bool = True,
) -> str:
    """One of the options (the first, unless the session has chosen), or the path of another folder, typed below; on a
    server for strangers, one of ``models`` that is uploaded there."""
    strangers = hosted.LIMITS.hosted
    chosen = st.selectbox(
        label, **choice(key, [*options, *([OTHER_FOLDER] if models or not strangers else [])]),
        format_func=lambda name: UPLOAD if strangers and name == OTHER_FOLDER else show(name),
        label_visibility="visible" if titled else "collapsed",
    )  # fmt: skip
    if chosen != OTHER_FOLDER:
        return chosen
    if strangers:
        _upload_model(key, folder_key)
        return ""
    typed = st.text_input(f"{label}: folder", **kept(folder_key), placeholder=placeholder)
    return (typed or "").strip()


def _upload_model(key: str, folder_key: str) -> None:
    """Files of a model to keep with the visit; it is then the one chosen."""
    state, said, turn = st.session_state, f"{folder_key}_error", f"{folder_key}_turn"
    box = f"{folder_key}_files_{state.setdefault(turn, 0)}"

    def chosen(*, asked: bool = False) -> None:
        files, state[said] = state[box], None
        try:
            contents = uploads.contents(files)
            if not asked:
                return
            state[key] = hosted.keep_model(contents, compute.load)
        except InputError as error:
            state[said] = str(error)
        uploads.forget(files)
        state[turn] += 1  # an empty widget

    st.file_uploader(f"Its config.json and model.safetensors, or one file of another code; {uploads.most()} together",
                     accept_multiple_files=True, key=box, on_change=chosen)  # fmt: skip
    st.button("Open", key=f"{folder_key}_open", on_click=partial(chosen, asked=True))
    if state.get(said):
        wrong(state[said])


def put_folder(key: str, folder_key: str, chosen: str, options: Sequence[str]) -> None:
    """Set the widgets of ``folder_or`` to one of its options, or to another folder."""
    listed = chosen in options
    st.session_state.update({key: chosen if listed else OTHER_FOLDER, folder_key: "" if listed else chosen})


def _prompts(samples: str, why: str) -> None:
    left, right = st.columns(2, vertical_alignment="bottom")
    left.number_input(
        "R", 1, MAX_SAMPLES, step=1, **kept(samples),
        help="The same problem written R times: nodes relabelled, edges and candidates reordered. Values are means "
        "over these prompt samples with 95 % intervals; a single one has none.",
    )  # fmt: skip
    right.number_input("Sample seed", 0, MAX_SEED, step=1, **kept("x_sample_seed"))
    if why:
        st.caption(why)
    st.toggle(
        "Pad with distractor facts", **kept("x_pad"),
        help="The model guesses on graphs smaller than those it was trained on. With this on, facts about other things "
        "are added to the prompt until it has the usual size. They change neither the question nor any distance.",
    )  # fmt: skip
