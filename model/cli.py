"""What every command of this project shares: one way to fail, one progress bar, the options of both packages."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from tqdm import tqdm

from model.errors import InputError
from model.values import Progress, Wanted

T = TypeVar("T")

Data = Annotated[Path, typer.Option(help="A ProsQA JSON file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    Wanted,
    typer.Option(help="Of forward passes; auto: bfloat16 where this processor is faster with it and the model agrees."),
]
Samples = Annotated[
    int, typer.Option("--samples", "--draws", help="Prompt samples of each problem: node tokens, order of edges.")
]
Pad = Annotated[
    bool,
    typer.Option(
        "--pad/--no-pad", "--fill/--no-fill", help="Pad graphs smaller than any in training with distractor facts."
    ),
]


def make_app(help: str) -> typer.Typer:
    """A command group with plain error pages (no rich tracebacks around a user's mistake)."""
    app = typer.Typer(help=help, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)  # without one, Typer drops the command's name while there is only one command
    return app


def run(app: typer.Typer) -> None:
    """Run a command group; InputError becomes one sentence on stderr and exit code 2, Ctrl-C exit code 130.

    Told to end or hung up on, it cleans up as after Ctrl-C and exits with 128 and the signal's number. Where nobody
    reads on (``| head``) it ends without a word.
    """
    try:
        for name in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, _end)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if any(
            word.rstrip() == "--out=" or (not word.strip() and before == "--out")
            for before, word in pairwise(["", *sys.argv])
        ):
            raise InputError("--out is empty; give the name of a file or folder")
        for word in sys.argv:
            if not word.isascii() and word.encode(errors="replace").decode() != word:
                raise InputError(f"{word!r:.80}: not UTF-8, as what is written of it would have to be; rename it")
        try:
            app()
        finally:
            _write_out()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # what the system does to a path that nobody looked at before
        if error.errno == errno.EPIPE:
            sys.exit(1)
        print(f"error: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _write_out() -> None:
    """All that was printed: what Python finds unwritten when it ends is a complaint of its own and exit code 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left of it
        raise


def _end(number: int, _: object) -> None:
    print("stopped", file=sys.stderr)
    sys.exit(128 + number)


@contextmanager
def bars(unit: str = "problem", *, scale: bool = False) -> Iterator[Progress]:
    """A ``Progress`` that shows a bar on stderr for everything it is told of, by the words before a colon.

    What stands behind a colon may change from call to call. ``scale``: 1,500 is shown as 1.50k.
    """
    shown: dict[str, tqdm] = {}

    def progress(what: str, done: int, total: int) -> None:
        name, _, state = what.partition(": ")
        if name not in shown:
            shown[name] = tqdm(total=total, desc=name, unit=unit, unit_scale=scale, dynamic_ncols=True)
        bar = shown[name]
        bar.set_postfix_str(state, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    try:
        yield progress
    finally:
        for bar in shown.values():
            bar.close()


def say(message: str) -> None:
    """A line on stderr, above the bars."""
    tqdm.write(message, file=sys.stderr)


def progress(
    items: Iterable[T], *, total: int | None = None, what: str, unit: str = "problem", **options: Any
) -> Iterator[T]:
    """Iterate with a progress bar on stderr; ``unit`` is what is counted."""
    return iter(tqdm(items, total=total, desc=what, unit=unit, dynamic_ncols=True, **options))


def row_of(rows: Sequence[T], row: int, path: Path) -> T:
    """One row of what a file holds, from 0. Raises InputError where it has no such row."""
    if not 0 <= row < len(rows):
        raise InputError(f"{path}: row {row} is out of range; rows are 0 to {len(rows) - 1}")
    return rows[row]
