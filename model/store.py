"""A folder that belongs to one run, and results in it that survive a stop: rows in a JSONL file, or numbered files.

``run.json`` says which run it is. Whoever comes with another is refused; whoever comes with the same resumes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import InputError, OutputError
from model.files import check_regular, parse_json, read_json, write_json

Row = Mapping[str, Any]


def other_run(folder: Path, differ: Sequence[str] = (), *, instead: str = "choose another folder or remove it") -> str:
    """The one sentence for a folder that is another run's."""
    which = f" ({', '.join(differ)} differ)" if differ else ""
    return f"{folder} holds another run{which}; {instead}"


BEFORE = {"precision": "float32"}
"""What a run did that says nothing of it, as older versions wrote none."""


class RunStore:
    """A folder claimed by a header: everything that decides what is written into it."""

    def __init__(
        self, folder: str | Path, header: Mapping[str, Any], *, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Nothing is written yet. ``header`` has a ``version``; ``notes`` are kept beside it and not compared.

        Raises InputError if the folder holds another run, or one made by an older version.
        """
        self.folder, self._header, self._notes = Path(folder), dict(header), dict(notes or {})
        if not self.is_claimed:
            return
        there = read_json(self._run)
        differ = [
            key for key in header if not isinstance(there, dict) or there.get(key, BEFORE.get(key)) != header[key]
        ]
        if "version" in differ:
            raise InputError(f"{self.folder} holds a run made by another version; choose another folder or remove it")
        if differ:
            raise InputError(other_run(self.folder, differ))

    @property
    def is_claimed(self) -> bool:
        return self._run.exists()

    @property
    def _run(self) -> Path:
        return self.folder / "run.json"

    def claim(self) -> None:
        """Write ``run.json`` unless it is there. Raises OutputError."""
        if not self.is_claimed:
            write_json(self._run, self._header | self._notes)

    def rows(self, name: str, *, total: int, batch: int) -> Rows:
        """The rows of ``total`` cases in batches of ``batch``; rows without their run are of no known run, and go."""
        if not self.is_claimed:
            (self.folder / name).unlink(missing_ok=True)
        return Rows(self, self.folder / name, total=total, batch=batch)

    def chunks(self, n: int, ending: str) -> Chunks:
        """n files that are made one by one; ``ending`` is that of the file which makes a chunk whole."""
        return Chunks(self.folder / "chunks", n, ending)


class Rows:
    """An append-only JSONL file: the rows of a batch of cases, then a line ``{"done": cases so far}``."""

    def __init__(self, store: RunStore, path: Path, *, total: int, batch: int) -> None:
        """Cuts the file back to its last whole batch. Raises InputError if it is no such file."""
        self._store, self.path = store, path
        self.done, end = 0, 0
        """Cases whose rows are there."""
        if not path.exists():
            return
        check_regular(path)
        try:
            with path.open("r+b") as file:
                while line := file.readline():
                    if line.startswith(b'{"done": ') and line.endswith(b"}\n"):
                        done = parse_json(line.decode(errors="replace"), where=str(path)).get("done")
                        if type(done) is not int or not self.done < done <= total:
                            raise InputError(f"{path}: not the rows of this run ({line!r:.60} after {self.done} cases)")
                        self.done, end = done, file.tell()
                file.truncate(end)
        except OSError as error:
            raise InputError(f"{path}: cannot be read as the rows of a run ({error})") from None
        if self.done % batch and self.done != total:
            raise InputError(f"{path}: not the rows of this run")

    def append(self, rows: Iterable[Row], n: int) -> None:
        """Add the rows of the next n cases, claiming the folder with the first. Raises OutputError."""
        self._store.claim()
        lines = [json.dumps(row, allow_nan=False) for row in (*rows, {"done": self.done + n})]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from None
        self.done += n

    def read(self) -> Iterator[dict[str, Any]]:
        return read_rows(self.path)


def read_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a finished or interrupted ``Rows`` file; a batch that was not finished is left out. Raises InputError
    for a line that is no row."""
    waiting: list[dict[str, Any]] = []
    check_regular(Path(path))
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                return
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: not a row of a run")
            if "done" in row:
                yield from waiting
                waiting = []
            else:
                waiting.append(row)


class Chunks:
    """Files numbered 0..n-1, some of them there already. Of several files of a chunk, that of ``ending`` comes last."""

    def __init__(self, folder: Path, n: int, ending: str) -> None:
        self.folder, self.n, self._ending = folder, n, ending

    def path(self, chunk: int, ending: str | None = None) -> Path:
        return self.folder / f"{chunk:05}.{ending or self._ending}"

    def missing(self, among: Iterable[int] | None = None) -> list[int]:
        """Chunks, of these or of all, that are still to be made."""
        return [chunk for chunk in (range(self.n) if among is None else among) if not self.path(chunk).exists()]
