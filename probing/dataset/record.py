"""Record models over a data set: in chunks that survive a stop, by one process, several, or ``torchrun`` ranks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from model import checkpoint
from model.coconut import CoconutGPT2
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem, digest
from model.processes import check_number, pool
from model.store import Chunks, RunStore
from model.values import Cancelled, Progress, Wanted, silent
from probing.dataset.findings import RunModel
from probing.dataset.recording import CHUNK, Recording, merge, read_recording, record_chunk, write_chunk
from probing.read.probe import describe

VERSION = 2
"""Of what decides a recording; 1 told models apart by a part of their weights and problems without their names."""
N_SKIPPED_LISTED = 50


@dataclass(frozen=True)
class Source:
    """A model to record: a checkpoint folder, or fresh random weights of its config."""

    name: str
    path: Path
    untrained: bool = False

    def load(self, device: str, seed: int, precision: Wanted) -> CoconutGPT2:
        """Raises CheckpointError as ``checkpoint.load`` does."""
        return checkpoint.open(self.path, device=device, trained=not self.untrained, seed=seed, precision=precision)

    @property
    def folder(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name)


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of a recording."""

    seed: int = 0
    n_thoughts: int | None = None
    """Thoughts to give; None: as many as the model was trained for. Models trained without thoughts get none."""
    pad: bool = False
    """Pad graphs smaller than any in training up to its size with distractor facts (``Codec.prompt``)."""
    n_states: int = 1000
    """Problems, from the start, whose states are kept for probes and geometry."""
    n_control: int = 500
    """Problems, from the start, that the untrained control is run on."""
    device: str = "auto"
    precision: Wanted = "float32"
    """Of the passes of all models; ``auto``: as is found for the first of them."""
    processes: int = 1

    def thoughts_of(self, model: CoconutGPT2) -> int:
        trained = model.config.n_thoughts
        return trained if self.n_thoughts is None or trained == 0 else self.n_thoughts


def make_sources(main: Path, compare: Sequence[Path] = (), *, untrained: bool = True) -> tuple[Source, ...]:
    """The main model, its untrained control and the models to compare; names are folder names made different."""
    names: list[str] = []
    for path in (main, *compare):
        base = path.resolve().name or "model"
        name, i = base, 2
        while name in (*names, "untrained", "shuffled"):
            name, i = f"{base}-{i}", i + 1
        names.append(name)
    sources = [Source(names[0], main)]
    if untrained:
        sources.append(Source("untrained", main, untrained=True))
    return (*sources, *(Source(name, path) for name, path in zip(names[1:], compare, strict=True)))


def record_all(
    sources: Sequence[Source],
    problems: Sequence[ProsQAProblem],
    out: str | Path,
    *,
    data: str,
    settings: Settings,
    progress: Progress = silent,
    cancelled: Cancelled = lambda: False,
) -> list[RunModel] | None:
    """Record every source on the problems into ``out``, which the caller keeps for the run (``files.held``); None if it
    was cancelled or if another rank continues.

    Under ``torchrun`` each rank makes its share of the chunks and the first puts them together. Raises InputError if
    there is no problem, a model takes none of them, or ``out`` holds another run; OutputError if it cannot be written.
    """
    if not problems:
        raise InputError("no problem to run")
    check_number(settings.processes)
    for source in sources:
        check_takes(source, problems, settings)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    models, precision = list[RunModel](), settings.precision
    for source in sources:
        model = source.load(settings.device, settings.seed, precision)
        precision = model.precision
        job = _Job.open(source, model, problems, Path(out), data, settings)
        if not (job.folder / "rows.parquet").exists():
            if not job.make(model, range(rank, job.chunks.n, world), progress, cancelled):
                return None
            if world > 1:
                _wait_for_all_ranks()
            if rank == 0:
                merge(job.folder, job.chunks)
        if rank == 0:
            models.append(job.result())
    return models if rank == 0 else None


def check_takes(source: Source, problems: Sequence[ProsQAProblem], settings: Settings) -> None:
    """Raise InputError for a checkpoint that is none, or takes none of the problems, before anything is recorded."""
    config, first = checkpoint.load_config(source.path), ""
    for problem in problems[: settings.n_control] if source.untrained else problems:
        try:
            config.check_fits(problem, settings.n_thoughts, generates=True)
        except InputError as error:
            first = first or str(error)
        else:
            return
    raise InputError(none_taken(source.name, len(problems), first))


def none_taken(name: str, n: int, first: str) -> str:
    return f"{name} can take none of the {n:,} problems; the first: {first}"


def open_recording(out: str | Path, model: RunModel, *, with_states: bool = True) -> Recording:
    """The recording of one model of a finished run. Raises InputError as ``read_recording``."""
    sizes = {"n_thoughts": model.n_thoughts, "n_layer": model.info.n_layer, "c_thought": model.c_thought}
    return read_recording(Path(out) / model.folder, name=model.info.name, with_states=with_states, **sizes)


# --- one model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Job:
    """One model to record into one folder; without the model itself, so that processes can be told."""

    source: Source
    problems: tuple[ProsQAProblem, ...]
    out: Path
    chunks: Chunks
    settings: Settings
    found: RunModel
    """As ``result`` returns it, with nothing taken yet."""

    @classmethod
    def open(
        cls,
        source: Source,
        model: CoconutGPT2,
        problems: Sequence[ProsQAProblem],
        out: Path,
        data: str,
        settings: Settings,
    ) -> _Job:
        """Claims the folder. Raises InputError if it holds another run."""
        taken = tuple(problems[: settings.n_control] if source.untrained else problems)
        found = RunModel(
            info=describe(model, name=source.name), folder=source.folder, untrained=source.untrained,
            n_thoughts=settings.thoughts_of(model), c_thought=model.config.c_thought, n_problems=len(taken), n_taken=0,
            skipped=(),
        )  # fmt: skip
        header = {
            "version": VERSION, "model": found.info.model_dump(mode="json", exclude={"precision"}),
            "precision": found.info.precision, "data_hash": digest(taken),
            "n_problems": len(taken), "n_thoughts": found.n_thoughts, "seed": settings.seed, "fill": settings.pad,
            "n_states": settings.n_states,
        }  # fmt: skip
        store = RunStore(out / source.folder, header, notes={"data": data})
        store.claim()
        return cls(source, taken, out, store.chunks(-(-len(taken) // CHUNK), "parquet"), settings, found)

    @property
    def folder(self) -> Path:
        return self.out / self.source.folder

    def numbers(self, chunk: int) -> range:
        """The problems of a chunk."""
        return range(len(self.problems))[chunk * CHUNK : (chunk + 1) * CHUNK]

    def make(self, model: CoconutGPT2, chunks: Sequence[int], progress: Progress, cancelled: Cancelled) -> bool:
        """Make those of these chunks that are not there yet; False if cancelled."""
        waiting = self.chunks.missing(chunks)
        total = sum(len(self.numbers(chunk)) for chunk in chunks)
        done = total - sum(len(self.numbers(chunk)) for chunk in waiting)
        what = f"running {self.source.name}"
        progress(what, done, total)

        def part(n: int) -> None:
            progress(what, done + n, total)

        for chunk in self._made(model, waiting, cancelled, part):
            done += len(self.numbers(chunk))
            progress(what, done, total)
        return done == total

    def make_one(self, model: CoconutGPT2, chunk: int, done: Callable[[int], None] = lambda n: None) -> None:
        numbers, settings = self.numbers(chunk), self.settings
        rows, states = record_chunk(
            model, [self.problems[number] for number in numbers], numbers, n_thoughts=self.found.n_thoughts,
            seed=settings.seed, pad=settings.pad, n_states=settings.n_states, done=done,
        )  # fmt: skip
        write_chunk(self.chunks, chunk, rows, states)

    def result(self) -> RunModel:
        """What was recorded. Raises InputError if the model could take no problem."""
        recording = open_recording(self.out, self.found, with_states=False)
        if not len(recording):
            raise InputError(none_taken(self.source.name, len(self.problems), recording.skipped[0][1]))
        return self.found.model_copy(
            update={
                "n_taken": len(recording),
                "skipped": recording.skipped[:N_SKIPPED_LISTED],
                "n_padded": sum(n > 0 for n in recording.columns["n_filler"]),
            }
        )

    def _made(
        self, model: CoconutGPT2, chunks: Sequence[int], cancelled: Cancelled, part: Callable[[int], None]
    ) -> Iterator[int]:
        """The chunks as they are made; one process tells ``part`` how much of a chunk is done, and stops within it."""

        def done(n: int) -> None:
            part(n)
            if cancelled():
                raise _Stopped

        n = min(self.settings.processes, len(chunks))
        if n < 2:
            for chunk in chunks:
                if cancelled():
                    return
                try:
                    self.make_one(model, chunk, done)
                except _Stopped:
                    return
                yield chunk
            return
        with pool(n, _start, (self, n)) as workers:
            futures = [workers.submit(_make_one, chunk) for chunk in chunks]
            for future in as_completed(futures):
                yield future.result()
                if cancelled():
                    for other in futures:
                        other.cancel()
                    return


class _Stopped(Exception):
    """Cancelled in the middle of a chunk, which is begun again when the run goes on."""


_here: tuple[_Job, CoconutGPT2] | None = None


def _start(job: _Job, n_processes: int) -> None:
    global _here
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // n_processes))
    model = job.source.load(job.settings.device, job.settings.seed, job.found.info.precision)
    _here = job, model


def _make_one(chunk: int) -> int:
    assert _here is not None
    job, model = _here
    job.make_one(model, chunk)
    return chunk


def _wait_for_all_ranks() -> None:
    import torch.distributed as distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    distributed.barrier()
