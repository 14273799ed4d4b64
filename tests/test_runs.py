"""Run folders: nothing is lost to kill -9, a full disk or a bad loss; wrong inputs are refused in one sentence."""

from __future__ import annotations

import importlib.machinery
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError
from test_train import settings

from benchmarks import train_table
from model import checkpoint
from model.checkpoint import untrained
from model.codec_slots import EOS, SlotCodec
from model.errors import CheckpointError, InputError, OutputError
from model.files import read_json, recover_folder, write_text
from model.formats.graph import write_problems
from model.problems.arrays import ProblemTensors
from model.problems.generate import Recipe, generate, generate_arrays
from model.training import run as runs
from model.training.config import TrainConfig
from model.training.dynamics import DynamicsRecord
from model.training.loop import TrainingError, model_config
from model.training.run import load_data, train_run
from model.training.stopping import StopClassifier, fit_stop_classifier

ROOT = Path(__file__).parent.parent
RUN = {"n_train": 48, "n_val": 16, "n_probe": 8, "n_evals": 4, "n_dynamics": 6, "log_every": 2, "uniform_prob": 0.3}


def run_settings(**values: object) -> TrainConfig:
    return settings(**(RUN | {"stop_classifier": True, "dropout": 0.1} | values))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted: 24 steps of 3 stages, saved at steps 6, 12, 18 and 24."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert [step.step for step in train_run(run_settings(), out)][-1] == 24
    return out


def outcome(out: Path) -> dict[str, object]:
    """Everything a run leaves but its clocks."""
    clocks = ("seconds", "problems_per_second")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, object] = {
        "metrics": [{key: value for key, value in line.items() if key not in clocks} for line in lines],
        "emergence": read_json(out / "emergence.json"),
        "result": read_json(out / "result.json"),
        "trainer": {key: v for key, v in read_json(out / "last" / "trainer.json").items() if key not in clocks},
    }
    for name in ("last/model.safetensors", "last/trainer.safetensors", "best/model.safetensors", "last/config.json"):
        found[name] = (out / name).read_bytes()
    return found


def killed(work: Callable[[], object]) -> None:
    """Run ``work`` in a forked process that is expected to die by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(3)  # the moment never came
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), os.waitstatus_to_exitcode(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def die_at_step(out: Path, step: int) -> None:
    for value in train_run(run_settings(), out, resume=out.exists()):
        if value.step >= step:
            os.kill(os.getpid(), signal.SIGKILL)


def die_at_rename(out: Path, n: int, *, after: bool) -> None:
    """Die at the n-th rename of a file or folder, before or after it: every stage of every save is one of these."""
    rename, count = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == n and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = rename(self, target)
        if count == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Path.replace = replace  # type: ignore[method-assign]
    for _ in train_run(run_settings(), out, resume=out.exists()):
        pass


def renames_of_a_run(out: Path) -> int:
    count, rename = 0, Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        for _ in train_run(run_settings(), out):
            pass
    return count


@pytest.mark.parametrize("step", [2, 6, 14, 24])
def test_killed_between_steps_and_resumed_equals_uninterrupted(step: int, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed(lambda: die_at_step(out, step))
    for _ in train_run(run_settings(), out, resume=True):
        pass
    assert outcome(out) == outcome(whole)


def test_killed_at_renames_all_through_the_run_and_resumed_equals_uninterrupted(whole: Path, tmp_path: Path) -> None:
    """Including between the two renames that replace a checkpoint, and killed again while resuming."""
    n = renames_of_a_run(tmp_path / "counted")
    assert n > 30
    out = tmp_path / "run"
    for at, after in [(n // 3, False), (n // 4, True), (5, False), (n // 4 + 1, True)]:
        killed(lambda at=at, after=after: die_at_rename(out, at, after=after))
    for _ in train_run(run_settings(), out, resume=True):
        pass
    assert outcome(out) == outcome(whole)


def test_killed_while_replacing_the_last_checkpoint_gets_the_old_one_back(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def die_between_the_renames() -> None:
        rename = Path.replace

        def replace(self: Path, target: Path) -> Path:
            result = rename(self, target)
            if self.name == "last":  # moved away; the new one is not in place yet
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        Path.replace = replace  # type: ignore[method-assign]
        for _ in train_run(run_settings(), out):
            pass

    killed(die_between_the_renames)
    assert not (out / "last").exists()
    steps = [step.step for step in train_run(run_settings(), out, resume=True)]
    assert steps[0] == 8  # went on from the save at step 6
    assert outcome(out) == outcome(whole)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_the_command_line_run_killed_and_resumed_equals_uninterrupted(whole: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "run", tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(run_settings().model_dump(mode="json")))
    command = [sys.executable, "-m", "model", "train", str(config), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and '"step": 8' in metrics.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = subprocess.run(
        [*command, "--resume"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "stage=2" in done.stderr
    assert "loss=" in done.stderr
    assert outcome(out) == outcome(whole)


def test_a_run_folder_holds_loadable_checkpoints_records_and_results(whole: Path) -> None:
    for name in ("last", "best"):
        model = checkpoint.load(whole / name)
        assert (model.config.method, model.config.codec, model.config.trained_stage) == ("coconut", "slots-10", 2)
        assert model.config.uniform_prob == 0.3
    for name, weights in checkpoint.load(whole / "best").state_dict().items():
        assert torch.equal(checkpoint.load(whole).state_dict()[name], weights)  # a run stands for its best
    record = DynamicsRecord.load(whole / "last" / "emergence.json")
    assert record == DynamicsRecord.load(whole / "emergence.json")
    assert [point.step for point in record.points] == [0, 4, 8, 12, 16, 20, 24]
    result = read_json(whole / "result.json")
    assert set(result) == {"fixed", "learned_stop"}
    for value in result.values():
        assert value["low"] <= value["accuracy"] <= value["high"]
        assert value["n"] == 16
    assert result["fixed"]["n_thoughts"] == 2
    kinds = [json.loads(line)["kind"] for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert (kinds.count("step"), kinds.count("validation")) == (12, 4)
    assert set(read_json(whole / "run.json")["versions"]) == {"python", "torch", "transformers"}
    assert {"best", "last-before"} == {path.name for path in whole.iterdir()} - {
        "config.yaml", "run.json", "metrics.jsonl", "emergence.json", "last", "result.json",
    }  # fmt: skip


def test_the_table_of_runs_shows_what_they_recorded(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "p.json", write_problems(list(generate("balanced", 5, 0, hops=(2, 3), nodes=(8, 10)))))
    monkeypatch.setattr(sys, "argv", ["train_table", str(whole.parent), "--public", str(tmp_path / "p.json")])
    train_table.main()
    *table, facts = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| run | balanced % [95 %] (n) | thoughts |")
    assert len(table) == 3
    row = json.loads(facts)["rows"][0]
    assert {key: row[key] for key in ("fixed", "learned_stop")} == read_json(whole / "result.json")
    assert row["public"]["n"] == 5


# --- refusals -----------------------------------------------------------------------------------------------------


def refused(message: str, out: Path, *, resume: bool = False, error: type = InputError, **values: object) -> None:
    with pytest.raises(error, match=message):
        list(train_run(run_settings(**values), out, resume=resume))


def test_folders_that_hold_something_are_refused(whole: Path, tmp_path: Path) -> None:
    before = outcome(whole)
    refused("holds another run; continue it by --resume", whole)
    refused("started with method 'coconut', not 'no_thought'", whole, resume=True, method="no_thought")
    refused("started with n_slots 10, not 11", whole, resume=True, n_slots=11)
    refused("started with lr 0.001, not 0.002", whole, resume=True, lr=0.002)
    assert outcome(whole) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    refused("is not empty", tmp_path / "mine")
    refused("no run to resume", tmp_path / "mine", resume=True)
    refused("no run to resume", tmp_path / "none", resume=True)
    refused("is a file", tmp_path / "mine" / "thesis.txt")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_a_finished_run_resumed_changes_nothing(whole: Path) -> None:
    before = outcome(whole)
    assert list(train_run(run_settings(), whole, resume=True)) == []
    assert outcome(whole) == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no json": lambda last: (last / "trainer.json").write_text("{"),
    "keys gone": lambda last: (last / "trainer.json").write_text("{}"),
    "another step": lambda last: (last / "trainer.json").write_text(
        (last / "trainer.json").read_text().replace('"step": 24', '"step": 1000000000')
    ),
    "no tensors": lambda last: (last / "trainer.safetensors").write_text("x"),
    "a flipped bit": lambda last: flip(last / "model.safetensors"),
    "cut short": lambda last: (last / "model.safetensors").write_bytes(b""),
    "a file gone": lambda last: (last / "trainer.safetensors").unlink(),
    "a step in words": lambda last: edited(last, step="x"),
    "a step below 0": lambda last: edited(last, step=-1),
    "a step past the end": lambda last: edited(last, step=10**9),
    "no best": lambda last: edited(last, best=[]),
    "a pipe": lambda last: piped(last / "trainer.safetensors"),
}


def edited(last: Path, **values: object) -> None:
    """By hand, by somebody who knew of the seal."""
    (last / "checksums.json").unlink()
    file = last / "trainer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def piped(file: Path) -> None:
    (file.parent / "checksums.json").unlink()
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("line", ["[1, 2]", '{"step": "x"}', '{"step": {}}', "3", "9" * 5000, "[" * 100_000])
def test_a_line_of_metrics_that_is_none_is_said(whole: Path, tmp_path: Path, line: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    metrics = out / "metrics.jsonl"
    metrics.write_text(f"{line}\n{metrics.read_text()}")
    refused("line 1: not a record of a training step", out, resume=True)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    DAMAGE[damage](out / "last")
    said: list[str] = []
    list(train_run(run_settings(), out, resume=True, say=said.append))
    assert sum("going on from the checkpoint before it" in line for line in said) == 1
    assert outcome(out) == outcome(whole)
    for folder in ("last", "last-before"):
        flip(out / folder / "model.safetensors")
    refused("damaged", out, resume=True)
    for folder in ("last", "last-before"):
        shutil.rmtree(out / folder)
    said.clear()
    list(train_run(run_settings(), out, resume=True, say=said.append))
    assert any("holds no checkpoint yet: the run is begun again" in line for line in said)
    assert outcome(out) == outcome(whole)


def test_bad_data_files_and_devices_are_refused(tmp_path: Path) -> None:
    out, path = tmp_path / "run", tmp_path / "data.json"
    refused("cannot be read", tmp_path / "a", train_path=str(tmp_path / "none.json"))
    for i, (text, message) in enumerate(
        [("", "not JSON"), ("[]", "no rows"), ("[{}]", "row 0: missing field"), ("3", "expected a ProsQA row")]
    ):
        path.write_text(text)
        refused(message, tmp_path / f"b{i}", train_path=str(path))
        refused(message, tmp_path / f"c{i}", val_path=str(path))
    write_text(path, write_problems(list(generate("balanced", 10, 0, hops=(2, 3), nodes=(8, 10)))))
    refused("need as many slots; raise n_slots", tmp_path / "d", train_path=str(path),
            n_slots=7, n_nodes=[6, 7], n_hops=[2, 2])  # fmt: skip
    refused("positions", tmp_path / "e", train_path=str(path), n_positions=20)
    refused("batch_size_training is 16, but there are only 10", tmp_path / "f", train_path=str(path),
            batch_size_training=16)  # fmt: skip
    if not torch.cuda.is_available():
        refused("is not there: 0 CUDA", out, device="cuda")
    refused("device 'tpu' is", out, device="tpu")
    refused("deeper|hops", tmp_path / "g", n_hops=[20, 30])
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]  # nothing stands in the way of the next try


def test_generated_problems_that_do_not_fit_are_refused_before_training(tmp_path: Path) -> None:
    refused("raise n_positions", tmp_path / "run", n_positions=24)
    english = {"codec": "text", "n_slots": 0, "codec_format": {"compact": True}}
    # Room for the chain, none for all facts once more
    next(iter(train_run(run_settings(**english, n_positions=320), tmp_path / "chain")))
    refused("raise n_positions", tmp_path / "recited", **english, n_positions=320, recite_epochs=1)


def test_a_prompt_format_that_is_not_known_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    refused("the codec is 'bpe-10'; this version reads slots-N", tmp_path / "run", error=CheckpointError, codec="bpe")
    assert not (tmp_path / "run").exists()


def test_training_from_files_uses_their_problems(tmp_path: Path) -> None:
    problems = list(generate("balanced", 12, 0, hops=(2, 3), nodes=(8, 10)))
    write_text(tmp_path / "t.json", write_problems(problems[:8]))
    write_text(tmp_path / "v.json", write_problems(problems[8:]))
    train_set, val_set = load_data(
        run_settings(train_path=str(tmp_path / "t.json"), val_path=str(tmp_path / "v.json"), n_val=3)
    )
    assert (len(train_set), len(val_set)) == (8, 3)
    assert train_set.n_hops.tolist() == [problem.n_hops for problem in problems[:8]]
    assert val_set.root.tolist() == [problem.root for problem in problems[8:11]]


def test_a_start_checkpoint_must_fit_in_shape_codec_and_method(whole: Path, tmp_path: Path) -> None:
    start = str(whole / "last")
    for name in (str(whole), start):  # a run folder stands for its best
        out = tmp_path / f"ok-{Path(name).name}"
        assert list(train_run(run_settings(load_model_path=name, num_epochs=0.2), out))
    for i, (values, message) in enumerate(
        [
            ({"n_embd": 32}, "n_embd is 16, but the settings need 32"),
            ({"n_slots": 11}, "codec is 'slots-10', but the settings need 'slots-11'"),
            ({"method": "pause"}, "trained by method coconut; pause can start from pause or cot"),
        ]
    ):
        refused(message, tmp_path / str(i), error=CheckpointError, load_model_path=start, **values)
    refused("no such folder", tmp_path / "x", error=CheckpointError, load_model_path=str(tmp_path / "none"))


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    refused("log_with trackio: the package is not installed", tmp_path / "run", log_with=["trackio"])
    assert not (tmp_path / "run").exists()


def test_a_tracker_gets_every_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged: list[tuple[int, float]] = []
    fake = types.ModuleType("trackio")
    fake.__spec__ = importlib.machinery.ModuleSpec("trackio", None)
    run = types.SimpleNamespace(log=lambda values, step: logged.append((step, values["loss"])))
    fake.init = lambda project, name, config: run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    steps = list(train_run(run_settings(log_with=["trackio"], num_epochs=1), tmp_path / "run"))
    assert logged == [(step.step, step.loss) for step in steps]


# --- trouble on the way -----------------------------------------------------------------------------------------------


def failing_save(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    from safetensors.torch import save_file

    calls = 0

    def save(*arguments: object, **options: object) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_file(*arguments, **options)

    monkeypatch.setattr("model.checkpoint.save_file", save)


def test_a_full_disk_stops_clearly_and_the_last_checkpoint_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    failing_save(monkeypatch, after=5)  # in the middle of a later checkpoint
    with pytest.raises(OutputError, match=r"cannot be written .*No space left"):
        list(train_run(run_settings(), out))
    monkeypatch.undo()
    assert checkpoint.load(out / "last").config.n_embd == 16
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    list(train_run(run_settings(), out, resume=True))
    assert outcome(out) == outcome(whole)


def test_a_disk_quota_is_reported_in_one_sentence(tmp_path: Path) -> None:
    """A real refusal by the operating system: files of this process may not grow beyond 4 kB."""
    import resource

    def quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            list(train_run(run_settings(), tmp_path / "run"))
        except OutputError:
            os.kill(os.getpid(), signal.SIGKILL)

    killed(quota)
    assert not (tmp_path / "run" / "last").exists()


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(
        "model.training.loop.learning_rate", lambda config, step, total: 1e-3 if step < 14 else float("inf")
    )
    with pytest.raises(TrainingError, match=r"not finite in steps 1[57] to 1[68]"):
        list(train_run(run_settings(), out))
    assert read_json(out / "last" / "trainer.json")["step"] == 12
    checkpoint.load(out / "last")


def test_checkpoints_are_readable_by_whoever_may_read_new_files(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("x")
    usual = (tmp_path / "new").stat().st_mode
    assert {path.stat().st_mode for path in (whole / "last").iterdir()} == {usual}


def test_recover_folder_puts_the_old_one_back_and_clears_scraps(tmp_path: Path) -> None:
    (tmp_path / ".last.abc.old").mkdir()
    (tmp_path / ".last.abc.old" / "x").write_text("old")
    (tmp_path / ".last.abc").mkdir()
    (tmp_path / ".lastly").mkdir()
    recover_folder(tmp_path / "last")
    assert (tmp_path / "last" / "x").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lastly", "last"]
    (tmp_path / ".last.def.old").mkdir()
    recover_folder(tmp_path / "last")
    assert (tmp_path / "last" / "x").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lastly", "last"]


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def problems() -> ProblemTensors:
    return ProblemTensors.from_arrays(generate_arrays(Recipe("balanced", (2, 3), (8, 10)), 40, 0))


def test_accuracy_of_a_planted_model_is_what_it_writes(problems: ProblemTensors) -> None:
    """An untrained model writes no answers; one whose writing is planted is right exactly where it was planted."""
    config = run_settings()
    model, codec = untrained(model_config(config, problems)), SlotCodec(10)
    stage = runs.Stage(2, 2)
    found = runs.accuracy(model, problems, stage)
    assert (found.n, found.n_thoughts) == (40, 2)

    generator = torch.Generator().manual_seed(runs.PROBE_SEED)
    tokens = codec.samples(problems, generator).tokens
    target = tokens.gather(1, problems.target.long()[:, None])[:, 0]
    target[:10] = 0
    model.write = lambda trace, n, stop, first: torch.stack(  # type: ignore[method-assign]
        [torch.full_like(target, 5), target, torch.full_like(target, EOS), target], dim=1
    )
    found = runs.accuracy(model, problems, stage)
    assert (found.right, found.n_written) == (30, 3)
    assert found.low < 0.75 < found.high


def test_the_stop_classifier_learns_a_planted_signal_and_stops_there(problems: ProblemTensors, tmp_path: Path) -> None:
    config = run_settings(max_latent_stage=4)
    model, codec = untrained(model_config(config, problems)), SlotCodec(10)
    think = model.think

    def planted(prompt: object, n: int) -> object:
        import dataclasses

        trace = think(prompt, n)
        over = (torch.arange(n + 1) >= problems.n_hops.long()[:, None]).float()
        states = trace.states.clone()
        states[:, :, 0] = 5 * over
        return dataclasses.replace(trace, states=states)

    model.think = planted  # type: ignore[method-assign]
    stop = fit_stop_classifier(model, problems, 4, seed=0)
    prompt = codec.samples(problems, torch.Generator().manual_seed(0)).prompts
    assert torch.equal(stop.first_stop(planted(prompt, 4).states), problems.n_hops.long())
    stop.save(tmp_path / "stop.json")
    assert StopClassifier.load(tmp_path / "stop.json") == stop
    never = StopClassifier(weight=(0.0,) * 16, bias=-1.0)
    assert never.first_stop(torch.zeros(3, 5, 16)).tolist() == [4, 4, 4]
    (tmp_path / "stop.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a stop classifier"):
        StopClassifier.load(tmp_path / "stop.json")
