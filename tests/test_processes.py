"""Processes that share the work: they do not run the caller's script, and the death of one is told, not waited for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_none_is_left_when_the_caller_is_killed() -> None:
    words = "import os, signal; from model.processes import pool\nwith pool(1) as workers:\n"
    words += " print(workers.submit(os.getpid).result(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    # Its output ends with the last process that could write there.
    subprocess.run([sys.executable, "-c", words], cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
