"""Processes that share the work: they do not run the caller's script, and the death of one is told, not waited for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loky.backend.process import LokyProcess

from model.errors import ProcessError
from model.processes import pool

ROOT = Path(__file__).parent.parent


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    """The standard library's processes run it again: a page of the app, or this script, and die of what it does."""
    script = tmp_path / "mine.py"
    script.write_text(
        "from model.problems.generate import Recipe, generate_arrays\n"
        "print('run')\n"
        "print(len(generate_arrays(Recipe(), 300, 3, processes=2)))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["run", "300"], done.stderr


def test_a_process_that_ends_is_one_sentence() -> None:
    with pytest.raises(ProcessError, match="one of 2 processes ended"), pool(2) as workers:
        workers.submit(os._exit, 1).result()


def test_what_the_work_raises_arrives() -> None:
    with pytest.raises(ZeroDivisionError), pool(1) as workers:
        workers.submit(divmod, 1, 0).result()


def test_a_block_left_by_an_exception_waits_for_no_work() -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), pool(2) as workers:
        _ = [workers.submit(time.sleep, 60) for _ in range(20)], 1 / 0
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("n_started", [0, 1, 2])
def test_told_to_end_while_they_are_being_started_they_end(n_started: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python waits at its end for every process that was started: one that nobody has told is waited for for ever."""
    start = LokyProcess.start

    def told_to_end(process: LokyProcess) -> None:
        if len(started) == n_started:
            signal.raise_signal(signal.SIGINT)
        start(process)
        started.append(process)

    started: list[LokyProcess] = []
    monkeypatch.setattr(LokyProcess, "start", told_to_end)
    with pytest.raises(KeyboardInterrupt), pool(3):
        raise AssertionError("begun")
    assert len(started) == 3
    for process in started:
        process.join(30)
        assert process.exitcode is not None


def test_an_interrupt_from_a_terminal_reaches_the_caller_alone() -> None:
    """A terminal interrupts a whole process group; each process printed a traceback of its own."""
    with pool(1) as workers:
        os.kill(workers.submit(os.getpid).result(), signal.SIGINT)
        assert workers.submit(abs, -1).result() == 1


def test_none_is_left_when_the_caller_is_killed() -> None:
    words = "import os, signal; from model.processes import pool\nwith pool(1) as workers:\n"
    words += " print(workers.submit(os.getpid).result(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    # Its output ends with the last process that could write there.
    subprocess.run([sys.executable, "-c", words], cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
