"""What a server for strangers allows (``COCONUT_HOSTED=1``), all in one place: limits, a folder for each visitor that
is removed with their visit, and what stands for paths in widgets and links.

On one's own machine the limits are out of reach, paths are paths, and there are no visits.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from secrets import token_hex

import streamlit as st

from model.checkpoint import CHECKPOINTS
from model.errors import InputError, OutputError
from model.files import atomic_folder, is_running
from model.values import Value
from probing.draw.values import display_name

ENVIRONMENT = "COCONUT_HOSTED"
PREFIX = "coconut-"
"""What the names of visitors' folders begin with; the server's process follows."""
ACCEPTED = "a model is its config.json and model.safetensors together, or one file written by torch.save or safetensors"
"""Of uploads."""
REFUSED = "this server opens only the models that come with it and what you upload"


class Limits(Value):
    """What one visitor may ask for; as it stands here, of a server with two cores."""

    called = 'limits: expected 0, 1 or a JSON object such as {"problems": 200}'

    hosted: bool = True
    """Whether strangers visit. If not, any path of this machine and any Hub id may be typed or linked."""
    problems: int = 500
    """Problems of a data set run."""
    runs: int = 10
    """Data set runs of a visit."""
    minutes: float = 10
    """Length of a data set run."""
    cost: float = 3
    """Seconds of two cores that one page's forward passes may take, by ``turns.cost``."""
    away: float = 120
    """Seconds that what a visitor has here outlives their tab."""

    def of_runs(self) -> str:
        """What a visitor is told of data set runs."""
        return (
            f"On this server a run may have {self.problems:,} problems and {self.minutes:g} minutes, and a visitor "
            f"{self.runs:,} runs. Download what you want to keep: a run and its result are removed "
            f"{self.away:g} seconds after this tab is closed."
        )


OWN = Limits(hosted=False, problems=10_000, runs=sys.maxsize, minutes=sys.maxsize, cost=sys.float_info.max)
"""What one's own machine allows."""


def limits_of(text: str) -> Limits:
    """What the environment asks for: nothing or 0, 1, or limits as a JSON object. Raises InputError for all else."""
    return {"": OWN, "0": OWN, "1": Limits()}.get(text) or Limits.parse(text, where=ENVIRONMENT)


LIMITS = limits_of(os.environ.get(ENVIRONMENT, ""))
if LIMITS.hosted:
    st.set_option("client.showErrorDetails", "none")


@dataclass(eq=False)
class Visit:
    """What a visitor has here. It ends when their tab has been gone for ``Limits.away`` seconds."""

    name: str = field(default_factory=token_hex)
    runs: int = 0
    uploads: list[str] = field(default_factory=list)
    """Models, as ``path_of`` takes them."""
    n_bytes: int = 0
    """Of all uploads."""
    ends: list[Callable[[], None]] = field(default_factory=list)
    """What is to be called, and waited for, at the end."""
    _root: tempfile.TemporaryDirectory[str] | None = None
    _leaving: threading.Timer | None = None

    def root(self) -> Path:
        """The visitor's folder, made when it is first needed. Raises OutputError where that cannot be."""
        if self._root is None:
            try:
                self._root = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True)
            except OSError as error:
                raise OutputError(f"nothing can be kept on this server ({error.strerror or error})") from None
        return Path(self._root.name).resolve()

    def arrive(self) -> None:
        """The tab is there, for the first time or again."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def leave(self) -> None:
        """The tab is gone; it may come back, as after a bad connection."""
        self._leaving = threading.Timer(LIMITS.away, self.end)
        self._leaving.daemon = True
        self._leaving.start()

    def end(self) -> None:
        """Stop what runs, and remove what was kept."""
        for end in self.ends:
            end()
        if self._root is not None:
            self._root.cleanup()
        self._root, self.uploads, self.ends, self.n_bytes = None, [], [], 0


def sweep() -> None:
    """Remove what visitors had on a server that was killed; for the start, when this one has no visitor yet, and
    for the end."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and (int(pid) == os.getpid() or not is_running(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def visit() -> Visit:
    """The visit that the page drawn belongs to."""
    found: Visit = st.session_state.setdefault("visit", Visit())
    _connected(found.name, found)
    return found


@st.cache_resource(scope="session", show_spinner=False, on_release=Visit.leave)
def _connected(name: str, _visit: Visit) -> Visit:
    """Once for each connection of a tab; released when that is lost."""
    _visit.arrive()
    return _visit


def root(own: Path) -> Path:
    """Where results and imported models are kept: with the visit, on one's own machine in ``own``."""
    return visit().root() if LIMITS.hosted else own


def uploads() -> list[str]:
    """Names of the models that the visitor uploaded."""
    return visit().uploads if LIMITS.hosted else []


def name_of(path: Path) -> str:
    """What stands for a path in widgets and links: here the name below where it is kept, elsewhere the path."""
    if LIMITS.hosted:
        for place in (CHECKPOINTS, visit().root()):
            if path.is_relative_to(place):
                return str(path.relative_to(place))
    return str(path)


def path_of(name: str) -> Path:
    """The reverse of ``name_of``, for strangers. Raises InputError, in the same words whatever is there, for all that
    is neither a shipped checkpoint nor in the visitor's folder."""
    given = PurePath(name)
    inside = given.parts and not given.is_absolute() and ".." not in given.parts
    if name.isprintable() and len(name.encode()) < 250 and inside:
        if (CHECKPOINTS / given).is_dir():
            return CHECKPOINTS / given
        if (visit().root() / given).exists():
            return visit().root() / given
    raise InputError(REFUSED)


def said(text: str) -> str:
    """A message without the folders of this server."""
    if not LIMITS.hosted:
        return text
    own = re.escape(str(Path(tempfile.gettempdir()).resolve() / PREFIX))
    return re.sub(own + r"\d+-\w+/|" + re.escape(f"{CHECKPOINTS}/"), "", text)


def keep_model(files: Sequence[tuple[str, bytes]], check: Callable[[str], object]) -> str:
    """Keep the files (name, content) of a model with the visit; its name, as ``path_of`` takes it. One file alone is
    a checkpoint of another code. Raises InputError for odd names, where a visit's uploads get too large or the disk is
    full, and as ``check`` of the name does: nothing is kept then."""
    mine, n_bytes = visit(), sum(len(content) for _, content in files)
    if not files:
        raise InputError("choose the files of a model first")
    for name, content in files:
        shown = display_name(name, 60)
        if not re.fullmatch(r"\w[\w.-]{0,99}", name):
            raise InputError(f"{shown}: name the file with at most 100 letters, digits, dots, - and _")
        if not content:
            raise InputError(f"{shown}: the file is empty; {ACCEPTED}")
        if len(files) == 1 and PurePath(name).suffix in (".json", ".md", ".txt"):
            raise InputError(f"{shown}: holds no weights by itself; {ACCEPTED}")
    if mine.n_bytes + n_bytes > 2**20 * (most := st.get_option("server.maxUploadSize")):
        raise InputError(f"{n_bytes / 2**20:.0f} MB: a visitor's models may have {most} MB together on this server")
    folder = mine.root() / f"upload-{len(mine.uploads) + 1}"
    with atomic_folder(folder) as temporary:
        for name, content in files:
            (temporary / name).write_bytes(content)
    found = folder.name if len(files) > 1 else f"{folder.name}/{files[0][0]}"
    try:
        check(found)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    mine.uploads.append(found)
    mine.n_bytes += n_bytes
    return found


def count_run(n_problems: int, end: Callable[[], None]) -> None:
    """A data set run is about to begin, which ``end`` stops and waits for. Raises InputError where it is one too
    many, or too large."""
    if n_problems > LIMITS.problems:
        raise InputError(f"{n_problems:,} problems; a run may have {LIMITS.problems:,} on this server")
    if not LIMITS.hosted:
        return
    mine = visit()
    if mine.runs >= LIMITS.runs:
        raise InputError(f"a visitor may begin {LIMITS.runs} runs on this server, and these are used up")
    mine.runs += 1
    mine.ends.append(end)


def check_cost(samples: int, each: float) -> None:
    """Raises InputError where so many prompt samples, of so many seconds each, cost more than a page may."""
    if samples * each > LIMITS.cost:
        most = int(LIMITS.cost / each)
        instead = (
            f"R = {most} is the most with this graph, model and number of thoughts" if most else "take a smaller one"
        )
        raise InputError(f"this would take too long on a server that many share: {instead}")
