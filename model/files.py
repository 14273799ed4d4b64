"""Reading and writing files so that nothing is lost: bounded reads, and writes that appear whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from model.errors import InputError, OutputError

MAX_UPLOAD_BYTES = 5 * 1024 * 1024


def short_hash(parts: Iterable[bytes]) -> str:
    """SHA-256 of the parts in order, first 16 hex digits: what everything is told apart by."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def read_text(path: str | Path, *, max_bytes: int | None = None) -> str:
    """The UTF-8 text of a file. Raises InputError if it is missing, unreadable, too large or not UTF-8."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be read ({'a folder' if path.is_dir() else 'no regular file'})")
    try:
        size = path.stat().st_size
        if max_bytes is not None and size > max_bytes:
            raise InputError(f"{path}: {size:,} bytes; at most {max_bytes:,} are accepted")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_json(path: str | Path, *, max_bytes: int | None = None) -> Any:
    """The JSON value in a file. Raises InputError naming line and column where it is malformed."""
    return parse_json(read_text(path, max_bytes=max_bytes), where=str(path))


def parse_json(text: str, *, where: str) -> Any:
    """The JSON value in a text. Raises InputError naming line and column where it is malformed."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON at line {error.lineno}, column {error.colno} ({error.msg})") from None
    except ValueError:
        raise InputError(f"{where}: JSON with a number of too many digits") from None
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply") from None


@contextmanager
def held(folder: str | Path, *, share: str = "") -> Iterator[None]:
    """Keeps an output folder for this process. Raises InputError at once if another writes there.

    ``share`` tells apart processes that write one folder together. Locks lie in the system's temporary folder, so
    nothing is left behind, and what is killed holds none.
    """
    name = short_hash([str(Path(folder).resolve()).encode(), share.encode()])
    place = Path(tempfile.gettempdir()) / f"coconut-locks-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(place / f"{name}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another process is writing there; wait until it is done, or choose another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error.strerror or error})") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` on success, removed on any failure.

    Raises OutputError if the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """As ``atomic_path``, for a folder; an existing folder of that name is replaced only once the new one is whole."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        mask = _umask()
        temporary.chmod(0o777 & ~mask)
        for file in temporary.rglob("*"):  # some libraries write files that only their owner may read
            file.chmod((0o777 if file.is_dir() else 0o666) & ~mask)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except OSError as error:
        if old.exists() and not path.exists():
            old.replace(path)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: str | Path) -> None:
    """Mend what a process killed inside ``atomic_folder`` left behind: the old folder is put back, scraps removed.

    Replacing a folder takes two renames. Whoever is killed between them leaves the old one under a temporary name.
    Not for a folder that another process may be writing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        return
    scraps = [scrap for scrap in path.parent.glob(f".{path.name}.*") if scrap.is_dir()]
    try:
        if not path.exists():
            for old in (scrap for scrap in scraps if scrap.suffix == ".old"):
                old.replace(path)
                break
        for scrap in scraps:
            shutil.rmtree(scrap, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON value (NaN and infinity are refused), whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_csv(path: str | Path | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under named columns as CSV text, None as an empty cell; written to ``path``, if given."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    if path is not None:
        write_text(path, text.getvalue())
    return text.getvalue()


def html(text: object) -> str:
    """Text as HTML that shows it exactly: the one escape, for elements and for quoted attributes alike."""
    return escape(str(text))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
