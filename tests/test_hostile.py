"""What strangers may send: configs, files and texts that must end in one sentence, and soon."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fuzz import READERS, TINY, UNITS
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from model import checkpoint, cli
from model.config_file import MAX_THOUGHTS
from model.errors import CheckpointError, InputError, OutputError
from model.files import atomic_folder, atomic_path, held, read_text, write_csv, write_text
from model.formats.graph import Graph, load_problems, read_graph, read_problems, write_graph
from model.imports import source
from model.imports.told import of_yaml
from model.problems.generate import generate
from model.training.config import load_train_config, parse_overrides
from model.training.upstream import load_upstream
from probing.__main__ import app as probing_app
from probing.dataset import report_page
from probing.dataset.findings import DatasetResult
from probing.draw import html as html_frame
from probing.draw import study_page, verdict_page
from probing.edit import directions
from probing.edit.data_set import EffectSummary
from probing.edit.study import STUDIES
from probing.edit.verdict import Sheet

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    "change",
    [
        {"c_thought": 10**9}, {"n_layer": 100_000}, {"n_head": 0}, {"n_head": 3}, {"n_embd": 10**6},
        {"n_positions": -1}, {"dtype": "evil"}, {"n_layer": "2"}, {"trained_nodes": "abc"}, {"codec": None},
        {"activation_function": "x"}, {"vocab_size": 10**9}, {"n_layer": 2.5}, {"trained_stage": MAX_THOUGHTS + 1},
        {"resid_pdrop": -1}, {"n_embd": 8192, "n_head": 8, "n_layer": 128}, {"trained_hops": [1]}, {"feed": "x"},
        {"n_positions": 65}, {"n_layer": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_strangers_config_is_bounded_and_typed(change: dict[str, object], tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    started = time.process_time()
    with pytest.raises(CheckpointError) as said:
        checkpoint.load(folder)
    assert "\n" not in str(said.value)
    assert time.process_time() - started < 5


def test_what_a_config_may_not_choose_is_left_aside(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    hostile = {"_attn_implementation": "someone/flash", "attn_implementation": "someone/flash", "num_labels": 10**8,
               "auto_map": {"AutoModel": "x.Y"}, "trust_remote_code": True}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | hostile))
    assert checkpoint.fingerprint(checkpoint.load(folder)) == checkpoint.fingerprint(checkpoint.load(TINY))


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(TINY, folder)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(CheckpointError, match="no regular file"):
        checkpoint.load_config(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="no regular file"):
        checkpoint.load_config(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").write_text("{" + " " * 10**6 + "}")
    with pytest.raises(CheckpointError, match="at most"):
        checkpoint.load_config(folder)
    with pytest.raises(InputError, match="no regular file"):
        read_text("/dev/zero")


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from model.files import held
with held({str(tmp_path)!r}):
    print("held", flush=True); sys.stdin.readline()
"""
    elsewhere = os.environ | {"TMPDIR": str(tmp_path.parent)}  # as each job of a cluster has
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, env=elsewhere) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is writing there"), held(tmp_path):
            pass
        with held(tmp_path, share="1"), held(tmp_path / "other"):
            pass
        other.kill()
    with held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_beside_which_nothing_can_be_written_is_kept_from_within(tmp_path: Path, monkeypatch) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    can = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and can(path, mode))
    with held(mounted):
        assert [path.name for path in tmp_path.iterdir()] == ["mounted"]
        assert [path.name for path in mounted.iterdir()] == [".lock"]
        with pytest.raises(InputError, match="another process is writing there"), held(mounted):
            pass
        with held(mounted, share="1"):
            pass
    assert not list(mounted.iterdir())


@pytest.mark.parametrize("name", READERS)
def test_no_reader_backtracks_over_what_is_sent(name: str) -> None:
    """Four times the text takes about sixteen times as long at most, whatever it consists of: 2^n shows at once."""

    def seconds(text: str) -> float:
        gc.disable()  # looking through all that this process holds takes as long as a reader that backtracks
        try:
            started = time.thread_time()
            with contextlib.suppress(InputError):
                READERS[name](text)
            return time.thread_time() - started
        finally:
            gc.enable()

    for unit in UNITS:
        for before, after in (("", "x"), ("a b\n", "{"), ('[{"', '"}]'), ("digraph ", "x")):
            times = []
            for n in (16, 64, 256, 1024):
                times.append(seconds(before + unit * n + after))
                if times[-1] > 3:
                    break
            assert times[-1] < 3, (unit, times)
            assert len(times) < 2 or times[-1] < 0.1 or times[-1] < 40 * max(times[-2], 0.005), (unit, times)


def test_growth_is_capped_before_it_happens(tmp_path: Path) -> None:
    started = time.process_time()
    assert len(read_graph("\n".join(f"a{i} b{i}" for i in range(10_000))).roots) == 10_000
    assert read_graph("\n".join(f"a{i} b{i}" for i in range(40_000))).roots == (), "more than is kept"
    for deep in ("[" * 5_000, "{a: " * 5_000, "&a [" + "*a, " * 3 + "]"):
        (tmp_path / "it.yaml").write_text(deep)
        for load in (load_train_config, load_upstream, partial(of_yaml, epoch=1)):
            with pytest.raises(InputError, match=r"it\.yaml"):
                load(tmp_path / "it.yaml")
        with pytest.raises(InputError, match="--set"):
            parse_overrides([f"seed={deep}"])
    with pytest.raises(InputError, match="nested too deeply"):
        read_problems("[" * 200_000)
    with pytest.raises(InputError, match="processes 100000"):
        next(generate("balanced", 1, 0, processes=100_000))
    assert time.process_time() - started < 5


PAYLOAD = "'\"><img src=x onerror=alert(1)><script>alert(1)</script>"


class Tags(HTMLParser):
    """Elements and attributes that run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.active: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.active += [tag] if tag in ("script", "img", "iframe", "object") else []
        self.active += [name for name, _ in attrs if name.startswith("on")]


def poisoned(value: object, kept: frozenset[str] = frozenset()) -> object:
    """Every text that a stranger may choose, made hostile; what must be one of a few words is kept."""
    if isinstance(value, dict):
        return {key: each if key in kept else poisoned(each, kept) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, kept) for each in value]
    return value + PAYLOAD if isinstance(value, str) else value


def pages(escape: Callable[[object], str] | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every kind of HTML page that is written from a file of a stranger's; ``escape`` in place of the one that is."""
    with monkeypatch.context() as patch:
        if escape is not None:
            for module in (report_page, verdict_page, study_page, html_frame):
                patch.setattr(module, "html", escape)
        result = json.loads((DATA / "old" / "dataset" / "result.json").read_text(encoding="utf-8"))
        enums = frozenset({"kind", "tree_kind", "axis", "method", "unit", "source", "name", "charts", "version"})
        found = DatasetResult.model_validate_json(json.dumps(poisoned(result, enums)))
        found = found.model_copy(
            update={"sections": tuple(each.model_copy(update={"name": PAYLOAD}) for each in found.sections)}
        )
        sheet = json.loads((DATA / "old" / "verdict.json").read_text(encoding="utf-8"))[0]
        hostile = Sheet.model_validate_json(json.dumps(poisoned(sheet, frozenset({"claim", "outcome", "thresholds"}))))
        effects = [EffectSummary(edit="clean", control="", n=1, n_undefined=0, stratum=PAYLOAD)]
        return {
            "data set": report_page.to_html(found, {}),
            "verdict": verdict_page.to_html([hostile]),
            "study": study_page.to_html(STUDIES["feed"], PAYLOAD, PAYLOAD, effects),
        }


def test_nothing_in_a_page_runs_and_the_test_would_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, page in pages(None, monkeypatch).items():
        assert "alert(1)" in page, f"{name}: nothing of the stranger's is on it"
        assert Tags(page).active == [], name
    for name, page in pages(str, monkeypatch).items():
        assert "script" in Tags(page).active, f"{name}: unescaped, it would run"


def test_roots_by_bits_are_those_by_search() -> None:
    seen = 0
    for seed in range(400):
        rng = random.Random(seed)
        n = rng.randint(2, 8)
        edges = {(rng.randrange(n), rng.randrange(n)) for _ in range(rng.randint(1, 12))}
        with contextlib.suppress(InputError):
            graph = Graph(tuple(f"n{v}" for v in range(n)), tuple((a, b) for a, b in sorted(edges) if a != b))
            assert set(graph.roots) == {f"n{v}" for v in range(n) if all(graph.candidates_for(f"n{v}"))}
            seen += 1
    assert seen > 100


def test_names_that_are_formulas_are_shown_and_numbers_are_left(tmp_path: Path) -> None:
    text = write_csv(tmp_path / "x.csv", ("name", "value"), [("=cmd|' /C'!A0", -0.5), ("@x", "+.5"), ("-a", "-1e3")])
    rows = list(csv.reader(io.StringIO(text)))[1:]
    assert rows == [["'=cmd|' /C'!A0", "-0.5"], ["'@x", "+.5"], ["'-a", "-1e3"]]


def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True, **options)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """No traceback, no temporary file, no process; ``generate`` with several processes was left with three."""
    out = tmp_path / "o.json"
    process = started("model", "generate", "--n", "1000000", "--processes", "3", "--out", str(out))
    for _ in range(600):
        if list(tmp_path.iterdir()):
            break
        time.sleep(0.05)
    time.sleep(1)
    # A terminal interrupts a whole group; a supervisor tells the command alone.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert "stopped" in said or number == signal.SIGINT
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    for _ in range(100):  # its group ends with it
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes are left")


@pytest.mark.parametrize(
    ("package", "library"),
    [("probing", "numpy"), ("probing", "scipy"), ("probing", "torch"), ("model", "lib-dynload")],
)
def test_an_interrupt_while_it_is_being_loaded_is_one_word(package: str, library: str, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "x.json"))
    command = ("report", "--data", "none.json") if package == "probing" else ("generate", "--n", "1000000")
    process = started(package, *command, *out)
    maps = Path(f"/proc/{process.pid}/maps")
    for _ in range(2000):
        if f"/{library}/" in maps.read_text() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert process.returncode == 130


@pytest.mark.parametrize("empty", [["--out", ""], ["--out="]])
def test_an_empty_out_is_refused(empty: list[str], tmp_path: Path) -> None:
    process = started("model", "generate", "--n", "1", *empty)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--out is empty" in said


def test_the_app_asks_nothing_and_listens_on_this_machine() -> None:
    found = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert found["server"]["address"] == "localhost"
    assert found["server"]["showEmailPrompt"] is False
    assert found["browser"]["gatherUsageStats"] is False


@pytest.mark.parametrize("first", ["graph", "Digraph", "strict"])
def test_names_that_begin_another_format_are_quoted(first: str) -> None:
    graph = Graph((first, "{"), ((0, 1),))
    assert read_graph(write_graph(graph, "edges")) == graph


@pytest.mark.parametrize("name", ["mean", "bank", "base.ridge", "vectors.difference", "readers.ridge"])
def test_directions_of_other_shapes_are_one_sentence(name: str, tmp_path: Path) -> None:
    folder = checkpoint.CHECKPOINTS / "prosqa-tiny"
    model, path = checkpoint.load(folder), folder / directions.FILE_NAME
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    directions.load(path).check_fits(model)
    for change in (lambda t: t[..., :-1], lambda t: t[0], lambda t: t.flatten()):
        save_file(tensors | {name: change(tensors[name]).contiguous()}, tmp_path / "d.safetensors", metadata)
        with pytest.raises(InputError, match=f"damaged: {name}"):
            directions.load(tmp_path / "d.safetensors").check_fits(model)


@pytest.mark.parametrize(
    "setting",
    [
        "seed=100000000000000000000000",
        "betas=[1,1]",
        "num_epochs=1e30",
        "n_embd=1000000",
        "n_layer=100000",
        "n_train=1e12",
    ],
)
def test_settings_out_of_bounds_are_one_sentence(setting: str) -> None:
    with pytest.raises(InputError, match=setting.split("=")[0]) as error:
        load_train_config(ROOT / "configs" / "tiny.yaml", [setting])
    assert "\n" not in str(error.value)


def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / ("x" * 300)
    process = started("model", "train", "configs/tiny.yaml", "--out", str(out))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert "File name too long" in said


def test_a_disk_that_is_full_under_tensors_is_one_sentence(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with pytest.raises(OutputError, match="No space left"), atomic_path(tmp_path / "x.safetensors") as temporary:
        full(temporary)
    assert list(tmp_path.iterdir()) == []


AUDIT = ("model", "audit", "--data", str(DATA / "old/problems/prosqa.json"))


@pytest.mark.parametrize(("words", "unbuffered"), [(AUDIT, ""), (AUDIT, "1"), (("probing", "report", "--help"), "")])
def test_an_output_that_takes_nothing_is_one_sentence_and_one_that_nobody_reads_is_none(
    words: tuple[str, ...], unbuffered: str
) -> None:
    """``> /dev/full`` and ``| true``; Python adds nothing of its own at its end."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", *words]
    read, written = os.pipe()
    os.close(read)
    for output, code, says in (
        (os.open("/dev/full", os.O_WRONLY), 2, "error: the output: No space left on device"),
        (written, 1, ""),
    ):
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        os.close(output)
        said = [line for line in ended.stderr.splitlines() if line and "audit: " not in line]  # a bar
        assert (ended.returncode, said) == (code, [says] if says else [])


def test_a_file_takes_no_place_but_a_files(tmp_path: Path) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    real.write_text("before")
    link.symlink_to(real)
    for taken, why in ((pipe, "no regular file"), (tmp_path, "a folder")):
        with pytest.raises(OutputError, match=why):
            write_text(taken, "x")
    with pytest.raises(OutputError, match="a folder is meant"), atomic_folder(real):
        pass
    write_text(link, "after")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert real.read_text() == "after"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_a_killed_writer_left_is_swept_when_the_file_is_written_again(tmp_path: Path) -> None:
    writes = (
        "import sys, time; sys.path.insert(0, {root!r}); from model.files import atomic_path\n"
        "with atomic_path({path!r}) as temporary: print(temporary, flush=True); time.sleep(60)"
    ).format(root=str(ROOT), path=str(tmp_path / "a [1].json"))
    with subprocess.Popen([sys.executable, "-c", writes], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        scrap = Path(process.stdout.readline().strip())
        write_text(tmp_path / "a [1].json", "of one who lives")
        assert scrap.exists(), "another process writes to it"
        process.kill()
    assert scrap.exists()
    write_text(tmp_path / "b.json", "another file")
    assert scrap.exists()
    write_text(tmp_path / "a [1].json", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"a [1].json", "b.json"}


def test_a_folder_whose_writer_was_killed_is_put_back_and_its_scraps_are_swept(tmp_path: Path) -> None:
    model = tmp_path / "m"
    with atomic_folder(model) as temporary:
        (temporary / "a").write_text("old")
    for at in ("rename", "fsync"):  # after the old folder was moved away; before that
        killed = (
            f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from model import files\n"
            "end = lambda *_: os.kill(os.getpid(), 9)\n"
            "move = Path.replace\n"
            "def replace(path, to):\n    move(path, to); end()\n"
            f"if {at!r} == 'rename': Path.replace = replace\n"
            "else: os.fsync = end\n"
            f"with files.atomic_folder({str(model)!r}) as temporary: (temporary / 'a').write_text('new')"
        )
        assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
        assert model.exists() == (at == "fsync")
        with pytest.raises(KeyError), atomic_folder(model):
            raise KeyError
        assert (model / "a").read_text() == "old"
        assert list(tmp_path.iterdir()) == [model]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_file_can_have_is_one_sentence(name: str) -> None:
    for read in (read_text, checkpoint.load, load_problems):
        with pytest.raises(InputError):
            read(name)


def test_a_word_of_a_command_that_is_not_utf_8_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(sys, "argv", ["probing", "dataset", "--data", "b\udcff.json", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        cli.run(cli.make_app(""))
    assert stopped.value.code == 2
    assert "not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["org/repo:../../etc/passwd", "org/repo:/etc/passwd", "../x", "org/repo:a//b"])
def test_a_name_of_the_hub_leads_nowhere_else(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or folder; expected .* or a Hub id"):
        source.read(name)


@pytest.mark.parametrize(("more", "says"), [(["--compare", "none"], "none"), (["--thoughts", "500"], "can take none")])
def test_a_run_that_cannot_be_is_refused_before_anything_is_recorded(
    more: list[str], says: str, tmp_path: Path
) -> None:
    problems = [each.to_row() for each in generate("balanced", 3, 0, hops=(2, 2), nodes=(6, 8))]
    (tmp_path / "p.json").write_text(json.dumps(problems))
    told = {"data": tmp_path / "p.json", "out": tmp_path / "out", "checkpoint": checkpoint.CHECKPOINTS / "prosqa-tiny"}
    arguments = ["dataset", *(word for key in told for word in (f"--{key}", str(told[key])))]
    with pytest.raises(InputError, match=says):
        CliRunner().invoke(probing_app, [*arguments, *more], catch_exceptions=False)
    assert not (tmp_path / "out").exists()
