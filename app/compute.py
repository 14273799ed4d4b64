"""The only caches of the app, all bounded, and the one queue of forward passes.

Keys are what results really depend on: a checkpoint's path and the time and size of its files, a model's weights and
config, the problem written out, and every option. What is cached is frozen or never changed. What several ask for at
once is computed once.
"""

from __future__ import annotations

import gc
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import streamlit as st
import torch

from app import hosted
from app.turns import Turns, cost
from model import checkpoint
from model.checkpoint import fingerprint
from model.coconut import CoconutConfig, CoconutGPT2, codec_for
from model.codec import Codec
from model.errors import CheckpointError, InputError
from model.files import MAX_UPLOAD_BYTES, short_hash
from model.formats.graph import MAX_UPLOAD_ROWS, Graph, read_file, write_graph
from model.imports import source
from model.imports.run import import_checkpoint
from model.imports.told import NotToldError
from model.precision import settled, use
from model.problems.generate import Kind, generate
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem
from model.rows import WritesWords
from model.training.dynamics import DynamicsRecord
from model.training.folder import RunFolder, find_run_folders, read_run_folder
from model.transformer import Precision
from model.values import Wanted, validated
from probing.draw import of_training
from probing.draw.values import display_name
from probing.edit import directions as directions_file
from probing.edit.directions import Directions
from probing.edit.kinds import CONTROLS
from probing.edit.one_problem import Intervention, Unedited, intervene, run_unedited
from probing.edit.spec import EditPlan
from probing.read.lens import LensGrid, lens_grid
from probing.read.numbers import NumbersRead, numbers_read
from probing.read.probe import probe
from probing.read.report import ProbeReport
from probing.read.strip import Strip, token_strip

queue = Turns(together=checkpoint.pick_device().type == "cpu")
PRECISION = "COCONUT_PRECISION"
"""Environment variable: what passes of pages multiply in, one of ``model.values.Wanted``; by default auto."""
UNTRAINED, WORDS = "untrained", "words"
"""What stands in links for the untrained control, and for the model itself without thoughts, which writes its steps."""
FIT_ON, FIT_TEST, FIT_SEED = 260, 40, 20
"""Problems that directions are fitted and scored on in the app, and the seed of both."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory, with the untrained model of the same config that is its control."""

    name: str
    path: str
    fingerprint: str
    model: CoconutGPT2
    control: CoconutGPT2

    @cached_property
    def settings(self) -> str:
        return self.model.config.to_json_string()


RUNS = checkpoint.CHECKPOINTS.parent.parent / "runs"
FILES = ("config.json", "model.safetensors", "emergence.json", "metrics.jsonl", "result.json")
"""What is read here of the folders of checkpoints and runs."""


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Name, time (nanoseconds since the epoch) and bytes of a file, or of a folder's FILES that are there."""
    found = []
    for file in [path / name for name in FILES] if path.is_dir() else [path]:
        with suppress(OSError):
            stat = file.stat()
            found.append((file.name, stat.st_mtime_ns, stat.st_size))
    return found


KEYS: dict[Any, Callable[[Any], object]] = {
    type(Path()): lambda path: (str(path), _stamps(path)),
    Loaded: lambda loaded: (loaded.name, loaded.fingerprint, loaded.settings, loaded.model.precision),
    Directions: lambda found: found.digest,
    ProsQAProblem: lambda problem: json.dumps(problem.to_row()),
    TextProblem: lambda problem: json.dumps(problem.to_row()),
    EditPlan: str,
}
"""What stands for each in the keys of the caches."""


def shipped() -> list[str]:
    """Names of the checkpoint folders that come with the project."""
    return list(_shipped(checkpoint.CHECKPOINTS))


@st.cache_resource(ttl=5, max_entries=4, show_spinner=False, hash_funcs={type(Path()): str})
def _shipped(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in root.glob("*/config.json")))


def models() -> list[str]:
    """Names of the checkpoints that can be chosen: the shipped ones, and what a visitor uploaded."""
    return [*shipped(), *hosted.uploads()]


def folder(name: str) -> Path:
    """The folder of a shipped checkpoint's name, of a path, or that a file, a stranger's folder or a Hub id became.

    Raises InputError as ``typed_path`` does, and CheckpointError for what cannot be opened.
    """
    if name in shipped():
        return checkpoint.CHECKPOINTS / name
    path = typed_path(name)
    if not is_foreign(path):
        return path
    made = _imported(name, path)
    if isinstance(made, str):
        raise CheckpointError(made)
    return made


def is_foreign(path: Path) -> bool:
    """Whether it is something to import: a file, a folder with weights and none of our configs, or a Hub id."""
    if not path.is_dir():
        return path.is_file() or re.fullmatch(source.HUB, str(path)) is not None
    if (config := checkpoint.checkpoint_folder(path) / "config.json").is_file():
        with suppress(InputError):
            _config(config.parent)
            return False
        return "latent_id" in config.read_text(errors="replace")
    return bool(source.weights(path))


@st.cache_resource(ttl=60, max_entries=16, show_spinner="Opening the checkpoint …", hash_funcs=KEYS)
def _imported(name: str, path: Path) -> Path | str:
    """The folder that a checkpoint of another code became, once for each of its states; else why not, in a sentence.

    It is named by what it was made of.
    """
    known = repr((str(path.resolve()) if path.exists() else name, _stamps(path)))
    made = hosted.root(RUNS) / "imported" / f"{Path(name).name.replace(':', '-')}-{short_hash([known.encode()])[:8]}"
    if made.is_dir():
        return made
    try:
        import_checkpoint(name if not path.exists() else path, made, check=False)
    except NotToldError as error:
        file, then = (path.name, "upload the files of FOLDER") if hosted.LIMITS.hosted else (name, "choose FOLDER")
        return f"{error}: python -m model import {file} --out FOLDER, then {then} here"
    except InputError as error:
        return str(error)
    return made


def typed_path(text: str) -> Path:
    """A path as somebody typed it; it need not exist. Raises InputError if the system cannot even look for it, and on
    a server for strangers as ``hosted.path_of`` does."""
    if hosted.LIMITS.hosted:
        return hosted.path_of(text)
    if not text.isprintable():
        raise InputError(f"{text!r}: not a path, as it holds unprintable characters")
    try:
        path = Path(text).expanduser()
        path.exists()
    except RuntimeError:
        raise InputError(f"{text}: there is no such user") from None
    except OSError as error:
        raise InputError(f"{text:.100}: cannot be opened ({error.strerror or error})") from None
    return path


def load(name: str) -> Loaded:
    """The checkpoint of a shipped name or a path. Raises CheckpointError as ``model.checkpoint.load`` does, and
    InputError where the environment asks for an unknown precision."""
    own = folder(name)
    path = checkpoint.checkpoint_folder(own)
    _config(path)
    return _load(path.resolve(), own.resolve().name)


@st.cache_resource(max_entries=2, show_spinner="Loading the model …", hash_funcs=KEYS)
def _load(path: Path, name: str) -> Loaded:
    device = checkpoint.pick_device()
    wanted = validated(Wanted, os.environ.get(PRECISION, "auto"), where=PRECISION)
    model = checkpoint.open(path, device=str(device))
    control = checkpoint.untrained(model.config)
    torch.nn.Module.to(control.requires_grad_(False), device)
    precision = _precision(path, wanted, model)
    for one in (model, control):
        use(one, precision)
    # Streamlit collects garbage after every run; without this it would look through all of torch each time (0.3 s).
    gc.freeze()
    return Loaded(name, str(path), fingerprint(model), model.requires_grad_(False), control)


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=KEYS)
def _precision(path: Path, wanted: Wanted, _model: CoconutGPT2) -> Precision:
    """What passes of a checkpoint multiply in. Where that is measured it is so once: numbers of a model that is opened
    again are those of before."""
    return settled(_model, wanted)


@contextmanager
def _passes(
    loaded: Loaded, problem: ProsQAProblem | TextProblem, n_thoughts: int | None, *, samples: int = 1, passes: int = 1
) -> Iterator[None]:
    """The block, which runs a model, when it is its turn. Raises InputError where it costs more than a page may."""
    config = loaded.model.config
    if n_thoughts is None:
        n_thoughts = config.n_thoughts if isinstance(problem, TextProblem) else config.thoughts_for(problem)
    each = cost(loaded.model, problem, n_thoughts, passes=passes)
    hosted.check_cost(samples, each)
    with queue.turn(samples * each):
        yield


@st.cache_resource(max_entries=64, show_spinner="The model is thinking …", hash_funcs=KEYS)
def report(
    loaded: Loaded, problem: ProsQAProblem, *, samples: int, seed: int, pad: bool, n_thoughts: int | None = None
) -> ProbeReport:
    """The probe report of a problem, its untrained control included. Raises InputError if the problem does not fit."""
    with _passes(loaded, problem, n_thoughts, samples=samples, passes=2):
        return probe(
            loaded.model, problem, n_samples=samples, seed=seed, n_thoughts=n_thoughts, pad=pad,
            control=loaded.control, name=loaded.name,
        )  # fmt: skip


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=KEYS)
def lens(loaded: Loaded, problem: ProsQAProblem | TextProblem, *, seed: int, n_thoughts: int) -> LensGrid:
    """``lens_grid``."""
    with _passes(loaded, problem, n_thoughts):
        return lens_grid(loaded.model, problem, seed=seed, n_thoughts=n_thoughts)


@st.cache_resource(max_entries=16, show_spinner="The model is thinking …", hash_funcs=KEYS)
def strip(loaded: Loaded, problem: ProsQAProblem | TextProblem, *, seed: int, n_thoughts: int) -> Strip:
    """``token_strip``."""
    with _passes(loaded, problem, n_thoughts):
        return token_strip(loaded.model, problem, seed=seed, n_thoughts=n_thoughts)


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=KEYS)
def numbers(loaded: Loaded, problem: TextProblem, wanted: tuple[str, ...], *, n_thoughts: int) -> NumbersRead:
    """``numbers_read``."""
    with _passes(loaded, problem, n_thoughts):
        return numbers_read(loaded.model, problem, wanted, n_thoughts=n_thoughts)


def untrained(loaded: Loaded) -> Loaded:
    """The untrained control of a checkpoint, as a checkpoint of its own."""
    return Loaded(UNTRAINED, f"{loaded.path} {UNTRAINED}", fingerprint(loaded.control), loaded.control, loaded.control)


def directions(loaded: Loaded) -> Directions | None:
    """The node directions stored beside a checkpoint; None where there are none. Raises InputError if they do not
    fit it."""
    path = Path(loaded.path)
    for place in (path, path.parent) if path.name == "best" else (path,):  # a run folder stands for its best
        file = place / directions_file.FILE_NAME
        if file.is_file():
            return _directions(loaded, file)
    return None


@st.cache_resource(max_entries=3, show_spinner=False, hash_funcs=KEYS)
def _directions(loaded: Loaded, file: Path) -> Directions:
    found = directions_file.load(file)
    found.check_fits(loaded.model)
    return found


@st.cache_resource(max_entries=2, show_spinner=False, hash_funcs=KEYS)
def fitted_here(loaded: Loaded) -> Directions:
    """Node directions fitted while the reader waits, on few problems: enough for the unembedding, which has one
    length to fit, less so for the others."""
    problems = list(generate("balanced", FIT_ON + FIT_TEST, seed=FIT_SEED))
    bar = st.progress(0.0, "Fitting node directions …")
    each = cost(loaded.model, problems[0], loaded.model.config.n_thoughts, passes=1)
    with queue.turn(len(problems) * each) as step_aside:

        def told(what: str, done: int, total: int) -> None:
            bar.progress(done / total, f"Fitting node directions: {what}, {done} of {total} problems")
            step_aside()

        fit, test = (
            directions_file.collect(loaded.model, part, seed=FIT_SEED, batch_size=20, progress=told, what=what)
            for what, part in (("reading thoughts", problems[:FIT_ON]), ("held out", problems[FIT_ON:]))
        )
    found = directions_file.fit(loaded.model, fit, test, seed=FIT_SEED)
    bar.empty()
    return found


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=KEYS)
def intervention(
    loaded: Loaded,
    fitted: Directions | None,
    problem: ProsQAProblem,
    plan: EditPlan,
    *,
    samples: int,
    seed: int,
    pad: bool,
) -> Intervention:
    """A problem before and after edits, with their controls. Raises InputError as ``probing.edit.one_problem`` does."""
    with _passes(loaded, problem, loaded.model.config.n_thoughts, samples=samples, passes=2 + len(CONTROLS)):
        unedited = _unedited(loaded, fitted, problem, samples=samples, seed=seed, pad=pad)
        return intervene(
            loaded.model, problem, plan, directions=fitted, n_samples=samples, seed=seed, pad=pad, unedited=unedited
        )


@st.cache_resource(max_entries=4, show_spinner=False, hash_funcs=KEYS)
def _unedited(
    loaded: Loaded, fitted: Directions | None, problem: ProsQAProblem, *, samples: int, seed: int, pad: bool
) -> Unedited:
    """``run_unedited``: the same for every edit of a problem."""
    return run_unedited(loaded.model, problem, directions=fitted, n_samples=samples, seed=seed, pad=pad)


@st.cache_resource(max_entries=128, show_spinner=False)
def generated(kind: Kind, hops: tuple[int, int], nodes: tuple[int, int], seed: int) -> ProsQAProblem:
    """One generated problem. Raises InputError for ranges that cannot be met."""
    return next(iter(generate(kind, 1, seed, hops=hops, nodes=nodes)))


def slots(name: str) -> int | None:
    """How many nodes a checkpoint can tell apart; None where that cannot be known, which is said where it is loaded."""
    config = known_config(name)
    return None if config is None else room(codec_for(config))


def known_config(name: str) -> CoconutConfig | None:
    """The config of a checkpoint; None where it cannot be read, which is said where the checkpoint is loaded."""
    try:
        return _config(checkpoint.checkpoint_folder(folder(name)))
    except InputError:
        return None


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=KEYS)
def _config(path: Path) -> CoconutConfig:
    """The config in a checkpoint folder, read again when its files change. Raises CheckpointError."""
    return checkpoint.load_config(path)


def graphless(name: str) -> bool:
    """Whether a checkpoint was trained on questions in words of which no graph is known; no where that is unknown."""
    config = known_config(name)
    return config is not None and config.task == "gsm"


def need_graphs(*names: str) -> None:
    """Raise InputError for the first of these checkpoints that is ``graphless``."""
    for name in filter(graphless, names):
        raise InputError(
            f"{name} answers questions in words of which no graph is known, so there are no nodes to score or swap "
            "here. Explore shows such a question; python -m probing texts measures many, and feeds each the thoughts "
            "of another"
        )


def room(codec: Codec) -> int | None:
    """How many nodes a prompt format can tell apart; None in text, where names stand as they are."""
    return codec.n_keys if codec.vocabulary is None else None


def example(name: str | None = None) -> ProsQAProblem:
    """The problem the app opens on: a wide frontier (3, 5 and 5 nodes), four hops, every node reachable by eye.

    A checkpoint that it does not fit gets one of the graphs it was trained on, or where those are unknown, a small one.
    """
    opening = generated("balanced", (4, 5), (19, 24), 185)
    config = None if name is None else known_config(name)
    if name is None or config is None:
        return opening
    codec = codec_for(config)
    try:
        config.check_fits(opening)
    except InputError:
        pass
    else:
        return opening
    nodes, hops = config.trained_nodes, config.trained_hops
    if nodes is None or hops is None:
        deepest = max(1, min(config.max_latent_stage, 3))
        most = max(min(codec.n_keys, 2 * deepest + 4), 4)
        return generated("balanced", (deepest, deepest), (max(most - 2, 4), most), 0)
    return named(name, generated("balanced", (hops[0], hops[1]), (nodes[2], nodes[2]), 0))


def named(name: str, problem: ProsQAProblem) -> ProsQAProblem:
    """A made problem as a checkpoint names its nodes in prompts, so that page and prompt say the same."""
    config = known_config(name)
    codec = None if config is None else codec_for(config)
    if not isinstance(codec, WritesWords) or (names := codec.names_of(problem)) == problem.idx_to_symbol:
        return problem
    return ProsQAProblem(names, problem.edges, problem.root, problem.target, problem.neg_target)


@st.cache_resource(max_entries=4, show_spinner="Reading the file …")
def uploaded(name: str, data: bytes) -> tuple[ProsQAProblem, ...] | Graph:
    """The problems of an uploaded file, or its one graph. Raises InputError for what is neither, or beyond the
    limits."""
    name = display_name(name, 60)  # a message is of the file, and not most of it the name
    if len(data) > MAX_UPLOAD_BYTES:
        raise InputError(f"{name}: {len(data):,} bytes; at most {MAX_UPLOAD_BYTES:,} are accepted")
    if not data.strip():
        raise InputError(f"{name}: the file is empty; expected a graph, or ProsQA JSON")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text (byte {error.start})") from None
    found = read_file(text, name, max_rows=MAX_UPLOAD_ROWS)
    return found if isinstance(found, Graph) else tuple(found)


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=KEYS)
def not_graphml(problem: ProsQAProblem) -> str | None:
    """Why a problem's names cannot be held by GraphML, which some control characters cannot; None if they can."""
    try:
        write_graph(Graph(problem.idx_to_symbol, ()), "graphml")
    except InputError as error:
        return str(error)
    return None


# --- runs -------------------------------------------------------------------------------------------------------------


def run_folders() -> list[Path]:
    """Runs in ``runs/``, or a visitor's, and checkpoints that came with a record."""
    return find_run_folders((hosted.root(RUNS), checkpoint.CHECKPOINTS))


def short_path(path: str) -> str:
    """A shipped checkpoint's name, or a path as seen from the project's folder, where it is inside."""
    root = checkpoint.CHECKPOINTS if Path(path).parent == checkpoint.CHECKPOINTS else RUNS.parent
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def long_path(text: str, listed: Iterable[str]) -> str:
    """The path among those listed that ``short_path`` gave as this; any other text as it is."""
    return {short_path(path): path for path in listed}.get(text, text)


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=KEYS)
def run_folder(path: Path) -> RunFolder:
    """What a folder tells about its training, read again when its files change. Raises InputError."""
    return read_run_folder(path)


def last_written(path: Path) -> float:
    """When anything of a run was last written, in seconds since the epoch."""
    return max((time for _, time, _ in _stamps(path)), default=0) / 1e9


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, not a checkpoint's with the record of its moment."""
    return (path / "config.yaml").is_file() or (path / "metrics.jsonl").is_file()


def has_weights(path: Path) -> bool:
    return (checkpoint.checkpoint_folder(path) / "model.safetensors").is_file()


def record_file(record: DynamicsRecord, kind: str) -> bytes:
    """Training dynamics as the command line writes them: svg, png, csv or json."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"record.{kind}"
        (record.save if kind == "json" else partial(of_training.write, record))(path)
        return path.read_bytes()
