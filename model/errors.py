"""Errors that are the user's to mend: what was wrong, where, and what is accepted."""

from __future__ import annotations

from collections.abc import Collection


class InputError(ValueError):
    """Something handed in from outside (a file, an option, a typed graph) cannot be used.

    The message is one clear sentence for a person. The command line prints it and exits with code 2; the app
    shows it in place. Everything else that raises is a bug of ours.
    """


class GraphError(InputError):
    """The graph or the question asked of it is not a ProsQA problem."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or made for something else."""


class ProblemTooLargeError(InputError):
    """The problem is sound, but this model has too few node slots or positions for it."""


class OutputError(InputError):
    """A result cannot be written where it was asked for."""


class ProcessError(InputError):
    """A process that shared the work ended before it was done: killed, or out of memory."""


def check_known(what: str, name: str, names: Collection[str]) -> None:
    """Raise InputError, which lists the ``names`` there are, where a ``what`` (a kind, a format) is none of them."""
    if name not in names:
        raise InputError(f"{what} {name!r:.80} is unknown; {what}s are {', '.join(names)}")
