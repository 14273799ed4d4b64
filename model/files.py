"""Reading and writing files so that nothing is lost: bounded reads, and writes that appear whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape as escape_glob
from html import escape
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from model.errors import InputError, OutputError

MAX_UPLOAD_BYTES = 5 * 1024 * 1024
MAX_SETTINGS_BYTES = 256 * 1024
MAX_DEPTH = 20
"""Of settings."""


def short_hash(parts: Iterable[bytes]) -> str:
    """SHA-256 of the parts in order, first 16 hex digits: what everything is told apart by."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def read_text(path: str | Path, *, max_bytes: int | None = None) -> str:
    """The UTF-8 text of a file. Raises InputError if it is missing, unreadable, too large or not UTF-8."""
    path = Path(path)
    try:
        check_regular(path)
        size = path.stat().st_size
        if max_bytes is not None and size > max_bytes:
            raise InputError(f"{path}: {size:,} bytes; at most {max_bytes:,} are accepted")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def check_regular(path: Path) -> None:
    """Raise InputError for what is there and no file: a folder, or a pipe or a device, which may never end."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be read ({'a folder' if path.is_dir() else 'no regular file'})")


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


def read_yaml(path: str | Path) -> Any:
    """The YAML value in a settings file. Raises InputError, naming the line where it is malformed."""
    return parse_yaml(read_text(path, max_bytes=MAX_SETTINGS_BYTES), where=str(path))


def parse_yaml(text: str, *, where: str) -> Any:
    """The YAML value in a text, of plain values only, nested at most MAX_DEPTH deep and without aliases, by which a
    short text can mean an endless one. Raises InputError, naming the line where it is malformed."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise InputError(f"{where}: YAML nested too deeply (more than {MAX_DEPTH} levels)")
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{where}: YAML with an alias (*{event.anchor:.40}); write the value out")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"{where}: not YAML{at} ({said:.160})") from None
    except (ValueError, OverflowError) as error:  # a date that is none, a number of too many digits
        raise InputError(f"{where}: YAML with a value that cannot be ({error})") from None


SEAL = "checksums.json"
WRITER = f"{short_hash([platform.node().encode()])[:4]}-"
"""This machine, in the names of files that are being written."""
LOCK = ".lock"
"""What a folder's lock is called where it lies in the folder."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def held(folder: str | Path, *, share: str = "") -> Iterator[None]:
    """Keeps an output folder for this process. Raises InputError at once if another writes there.

    ``share`` tells apart processes that write one folder together. The lock lies beside the folder (in it, where beside
    it nothing can be written, as beside a mounted one), where whoever writes there sees it, on other machines and in
    other containers too, and is removed in the end; what is killed holds none.
    """
    place = Path(os.path.realpath(folder))
    beside = not place.is_dir() or os.access(place.parent, os.W_OK)
    own = f".{share}" if share else ""
    file = place.with_name(f".{place.name}{own}.lock") if beside else place / f"{LOCK}{own}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=0)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another process is writing there; wait until it is done, or choose another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is held: who opened it meanwhile sees that it is gone
        lock.release()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` on success, removed on any failure.

    Raises OutputError if the folder cannot be written to or the disk is full, or if a folder, a pipe or a device is
    called so, whose place a file must not take.
    """
    path = _place(path)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: cannot be written ({'a folder' if path.is_dir() else 'no regular file'})")
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.{WRITER}{os.getpid()}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _to_disk(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:  # the latter is what a full disk is to its library
        raise OutputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def check_over(path: str | Path, over: Collection[str]) -> None:
    """Raise OutputError where a folder that is to be replaced holds anything but files of these names."""
    path = Path(path)
    try:
        others = sorted({each.name for each in path.iterdir()} - {*over}) if path.exists() else []
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    if others:
        raise OutputError(f"{path}: {others[0]} is in it and would be lost; name a new folder, or remove it first")


@contextmanager
def atomic_folder(
    path: str | Path, *, before: Path | None = None, over: Collection[str] | None = None
) -> Iterator[Path]:
    """As ``atomic_path``, for a folder; an existing folder of that name is replaced only once the new one is whole.

    ``before``: where the existing one is kept, in place of what was kept there; else it is removed. ``over``: as in
    ``check_over``; None: whatever is in it may go.
    """
    path = _place(path)
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path}: cannot be written (there is a file of that name, a folder is meant)")
        if over is not None:
            check_over(path, over)
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.{WRITER}{os.getpid()}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        mask = _umask()
        temporary.chmod(0o777 & ~mask)
        for file in temporary.rglob("*"):  # some libraries write files that only their owner may read
            file.chmod((0o777 if file.is_dir() else 0o666) & ~mask)
            _to_disk(file)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        if before is not None and old.exists():
            shutil.rmtree(before, ignore_errors=True)
            old.replace(before)
        _to_disk(path.parent)
    except OSError as error:
        if old.exists() and not path.exists():
            old.replace(path)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write down what every file of a folder is, so that ``check_seal`` sees one that changed."""
    write_json(folder / SEAL, {file.name: short_hash([file.read_bytes()]) for file in sorted(folder.iterdir())})


def check_seal(folder: Path) -> None:
    """Raise InputError for a file that is not what it was when the folder was sealed; older folders have no seal."""
    if not (folder / SEAL).exists():
        return
    sealed = read_json(folder / SEAL)
    for name in sealed if isinstance(sealed, dict) else ():
        check_regular(folder / name)
        try:
            found = short_hash([(folder / name).read_bytes()])
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror or error})") from None
        if found != sealed[name]:
            raise InputError(f"{folder / name}: damaged, it is not what was written")


def recover_folder(path: str | Path) -> None:
    """Mend what a process killed inside ``atomic_folder`` left behind: the old folder is put back, scraps removed.

    Replacing a folder takes two renames. Whoever is killed between them leaves the old one under a temporary name.
    Not for a folder that another process may be writing.
    """
    path = _place(path)
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
    """Rows under named columns as CSV text, None as an empty cell; written to ``path``, if given.

    Texts that begin as formulas do (FORMULAS) get an apostrophe before them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    if path is not None:
        write_text(path, text.getvalue())
    return text.getvalue()


def write_csv_of(path: str | Path | None, rows: Sequence[Mapping[str, object]]) -> str:
    """``write_csv`` of rows that name their cells; a column for every name, in the order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return write_csv(path, columns, ([row.get(column) for column in columns] for row in rows))


def html(text: object) -> str:
    """Text as HTML that shows it exactly: the one escape, for elements and for quoted attributes alike."""
    return escape(str(text))


def _sweep(path: Path) -> None:
    """Remove what a process of this machine that was killed left of its writing to ``path``; a folder that it had moved
    away and not yet replaced is put back."""
    begins = f".{path.name}.{WRITER}"
    for scrap in sorted(path.parent.glob(f"{escape_glob(begins)}*")):
        pid = scrap.name.removeprefix(begins).partition(".")[0]
        if not pid.isdecimal() or is_running(int(pid)):
            continue
        if scrap.suffix == ".old" and not path.exists():
            scrap.replace(path)
        elif scrap.is_dir():
            shutil.rmtree(scrap, ignore_errors=True)
        else:
            scrap.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Whether a process of that number is there."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def _place(path: str | Path) -> Path:
    """Where a path leads: what is written by the name of a link is written where the link points."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _to_disk(path: Path) -> None:
    """Have the system write a file or folder to the disk, so that what is renamed after it outlives a power cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _plain(cell: object) -> object:
    """A text that a spreadsheet would run as a formula, made one that it shows; numbers are left as they are."""
    if not isinstance(cell, str) or not cell.startswith(FORMULAS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
