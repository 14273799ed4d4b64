"""A training run in a folder: started, validated, recorded, saved, and resumed after anything.

::

    config.yaml          every setting              metrics.jsonl    one line per TrainStep and per validation
    run.json             versions, device           emergence.json   the training dynamics so far
    last/                checkpoint + trainer state, what --resume starts from
    last-before/         the one before it, where that is damaged
    best/                checkpoint of the highest validation accuracy in the latest stage
    result.json          final accuracies, written at the end

``last`` and ``best`` are ordinary checkpoints (HF folders), each with the training dynamics up to its moment. Folders
are replaced whole, and everything after the last one is made again on resume, bit for bit on the CPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.distributed as dist
from pydantic import ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model import checkpoint
from model.coconut import CoconutGPT2, codec_named
from model.errors import CheckpointError, InputError, OutputError
from model.files import (
    LOCK,
    atomic_folder,
    check_regular,
    check_seal,
    held,
    read_text,
    recover_folder,
    seal,
    write_json,
    write_text,
)
from model.imports.source import Source, read
from model.imports.start import size_of, started
from model.problems.arrays import ProblemTensors
from model.problems.generate import concept_names
from model.problems.prosqa import ProsQAProblem
from model.stats import percent
from model.store import other_run
from model.training import dynamics
from model.training.config import Stage, TrainConfig, load_train_config, save_train_config, stages
from model.training.data import Problems, load_data, longest_text, samples_of
from model.training.dynamics import DynamicsRecord
from model.training.folder import Validation
from model.training.loop import (
    batch_order,
    learned,
    make_optimizer,
    model_config,
    n_steps,
    train,
)
from model.training.state import TrainState, TrainStep, World
from model.training.stopping import StopClassifier, fit_stop_classifier
from model.values import Progress, Value, silent

FREE_ON_RESUME = ("device", "log_with")
"""Settings that may differ when a run is resumed."""
BEFORE = "last-before"
PROBE_SEED = 20_000
"""Of the prompt samples of validation and probe problems, the same in every run."""
EVAL_BATCH = {"cpu": 250, "cuda": 2000}
"""Problems in one pass of a validation, by type of device."""


class Kept(Value):
    """What of a ``TrainState`` is kept in ``trainer.json``."""

    model_config = ConfigDict(extra="ignore")  # older versions wrote more
    called: ClassVar[str] = "the trainer state of a run"

    step: Annotated[int, Field(ge=0)]
    stage: Annotated[int, Field(ge=0)]
    stage_start: Annotated[int, Field(ge=0)]
    history: list[tuple[int, float, float]]
    seconds: float
    best: tuple[int, float]


MOMENT = {"step", "stage"}
"""What a final result leaves out of its Validation."""

Say = Callable[[str], None]


def train_run(
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    world: World = World(),
    data: tuple[Problems, Problems] | None = None,
    say: Say = lambda message: None,
) -> Iterator[TrainStep]:
    """Train into a folder; values as ``model.training.loop.train`` gives them, each after it was recorded.

    Refuses a folder that holds anything unless ``resume``, which continues from ``last`` (or from the start where the
    run was stopped before its first checkpoint). Only the main process writes. ``data`` saves ``load_data`` where
    several runs learn from the same problems. Raises InputError, also while another process trains there.
    """
    with held(out) if world.is_main else nullcontext():
        yield from _train_run(config, Path(out), resume=resume, world=world, data=data, say=say)


def _train_run(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool,
    world: World,
    data: tuple[Problems, Problems] | None,
    say: Say,
) -> Iterator[TrainStep]:
    device = checkpoint.pick_device(config.device)
    if config.batch_size_training % world.size:
        raise InputError(
            f"batch_size_training {config.batch_size_training} cannot be shared evenly by {world.size} processes"
        )
    _check_trackers(config)
    if world.is_main:
        _check_folder(config, out, resume=resume)
    source, size = _base(config)
    train_set, val_set = data or load_data(config, say, n_positions=size["n_positions"])
    train_set, val_set = train_set.to(device), val_set.to(device)
    order = batch_order(config, train_set)
    total, plan = n_steps(config, order.steps_per_epoch), stages(config)
    probe = val_set[: config.n_probe]
    _barrier(world)
    state, record = _restore(config, out, device, total, say if resume and world.is_main else None) or _begin(
        config, train_set, device, probe, source, size
    )
    _barrier(world)
    trackers = []
    if world.is_main:
        if not resume:
            save_train_config(config, out / "config.yaml")
        trackers = _trackers(config, out)
        _rewind(out, state.step, record)
        write_json(out / "run.json", _facts(config, device, world, total))
        if not record.points and config.n_dynamics:
            record = _measured(record, state, probe, 0, config)
            record.save(out / "emergence.json")
    previous = state.step
    for step in train(state, config, train_set, world=world, say=say):
        if world.is_main:
            stage = plan[step.stage]
            _log(out, "step", step.model_dump())
            for track in trackers:
                track(step.model_dump(), step.step)
            if step.stage_ended:
                say(_stage_end(step))
            if config.n_dynamics and _due(previous, step.step, config.n_dynamics, total):
                record = _measured(record, state, probe, step.stage, config)
                record.save(out / "emergence.json")
            if _due(previous, step.step, config.n_evals, total):
                found = accuracy(state.model, val_set, stage, at=step)
                _log(out, "validation", found.model_dump())
                shown = f"{percent(found.accuracy)} of {found.n} after {found.n_thoughts:g} thoughts"
                say(f"validation: {shown} (stage {step.stage})")
                # best before last: whoever is killed in between makes both again.
                if (step.stage, found.accuracy) > state.best:
                    state.best = (step.stage, found.accuracy)
                    _save(out / "best", state, record)
                _save(out / "last", state, record, trainer=True)
        previous = step.step
        yield step
    if world.is_main:
        _finish(config, out, train_set, val_set, plan[-1], say)
    _barrier(world)


def train_process(
    config: TrainConfig, out: str | Path, *, resume: bool, progress: Progress = silent, say: Say = lambda message: None
) -> None:
    """``train_run`` to its end as one of several processes where torchrun says so; only the main one tells."""
    world = World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if world.size > 1:
        cuda = config.device != "cpu" and torch.cuda.is_available()
        if cuda:
            config = config.model_copy(update={"device": f"cuda:{os.environ['LOCAL_RANK']}"})
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")
    if not world.is_main:
        progress, say = silent, lambda message: None
    try:
        for step in train_run(config, out, resume=resume, world=world, say=say):
            state = (
                f"stage={step.stage}, loss={step.loss:.3f}, first={step.first_token_loss:.3f}, "
                f"acc={percent(step.accuracy)}, rate={step.problems_per_second:.0f}/s"
            )
            progress(f"{config.name}: {state}", step.problems, step.n_steps * config.batch_size_training)
    finally:
        if world.size > 1:
            dist.destroy_process_group()


@torch.no_grad()
def accuracy(
    model: CoconutGPT2,
    problems: Problems,
    stage: Stage,
    *,
    stop: StopClassifier | None = None,
    at: TrainStep | None = None,
) -> Validation:
    """Accuracy after the stage's number of thoughts, or after as many as ``stop`` asks for (at most those).

    ``at`` is the moment of training; without it step and stage are 0.
    """
    codec = model.codec
    longest = longest_text(codec, problems)
    right = thoughts = written = 0
    size = EVAL_BATCH[problems.device.type]
    for start in range(0, len(problems), size):
        part = problems[start : start + size]
        samples = samples_of(codec, part, torch.Generator(part.device).manual_seed(PROBE_SEED + start))
        trace = model.think(samples.prompts, stage.n_thoughts)
        if stop is None:
            wrote = model.write(trace, longest, stop=codec.end, first=codec.after)
            thoughts += len(part) * stage.n_thoughts
        else:
            k = stop.first_stop(trace.states)
            each = model.write_after_each(trace, longest, stop=codec.end, first=codec.after)
            wrote = each[torch.arange(len(part)), k]
            thoughts += int(k.sum())
        right += int((samples.answers(wrote) == part.target).sum())
        ends = (wrote == codec.end).int()
        written += int((ends.cumsum(dim=1) == ends).sum())  # where nothing has ended before
    n = len(problems)
    step, number = (at.step, at.stage) if at else (0, 0)
    return Validation.of(right, n, step=step, stage=number, n_thoughts=thoughts / n, n_written=written / n)


# --- private: folder --------------------------------------------------------------------------------------------------


def _check_folder(config: TrainConfig, out: Path, *, resume: bool) -> None:
    """Refuse a folder that is not this run's; mend what a kill left behind. Nothing is written for a new run yet."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out needs a folder")
    settings = out / "config.yaml"
    if not resume:
        if out.exists() and any(each.name != LOCK for each in out.iterdir()):
            instead = "continue it by --resume, or choose another folder"
            raise InputError(other_run(out, instead=instead) if settings.exists() else f"{out} is not empty; {instead}")
        return
    if not settings.is_file():
        raise InputError(f"{out}: no run to resume (there is no config.yaml)")
    mine, theirs = config.model_dump(mode="json"), load_train_config(settings).model_dump(mode="json")
    for key, value in mine.items():
        if key not in FREE_ON_RESUME and value != theirs[key]:
            raise InputError(f"{out}: this run was started with {key} {theirs[key]!r}, not {value!r}; give the same")
    for name in ("last", "best"):
        recover_folder(out / name)


def _base(config: TrainConfig) -> tuple[Source | None, dict[str, Any]]:
    """What ``base_model`` holds, and the size of the model: its own, else that of the settings."""
    if config.base_model is not None:
        source = read(config.base_model)
        return source, size_of(source)
    return None, {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "n_positions")}


def _begin(
    config: TrainConfig,
    train_set: Problems,
    device: torch.device,
    probe: Problems,
    source: Source | None,
    size: Mapping[str, Any],
) -> tuple[TrainState, DynamicsRecord]:
    wanted = model_config(config, train_set, size)
    path = config.load_model_path
    if path is None and source is None:
        model = checkpoint.untrained(wanted, seed=config.seed)
    elif path is None or (Path(path).exists() and not (checkpoint.checkpoint_folder(path) / "config.json").exists()):
        # The public code's, a CoT model's with fewer rows: those of the marks are added.
        model = started(source if path is None and source is not None else read(str(path)), wanted)
    else:
        model = checkpoint.load(path)
        for key in ("codec", "codec_format", "n_layer", "n_head", "n_embd", "n_positions"):
            if getattr(model.config, key) != getattr(wanted, key):
                raise CheckpointError(
                    f"{path}: {key} is {getattr(model.config, key)!r}, but the settings need {getattr(wanted, key)!r}"
                )
        if model.config.method not in (config.method, "cot"):
            raise CheckpointError(
                f"{path}: trained by method {model.config.method}; {config.method} can start from "
                f"{config.method} or cot"
            )
        weights = model.state_dict()
        model = CoconutGPT2(wanted)
        model.load_state_dict(weights)
    torch.nn.Module.to(model, device)
    example = None
    if isinstance(probe, ProblemTensors):
        (first,) = probe[:1].problems()
        names = tuple(concept_names(first.n_nodes)[: first.n_nodes])
        example = ProsQAProblem(names, first.edges, first.root, first.target, first.neg_target).to_row()
    record = DynamicsRecord(
        name=config.name, method=config.method, seed=config.seed, n_problems=len(probe), example=example
    )
    return TrainState(model.eval(), make_optimizer(config, model), stage=config.first_stage), record


def _restore(
    config: TrainConfig, out: Path, device: torch.device, total: int, say: Say | None
) -> tuple[TrainState, DynamicsRecord] | None:
    """The state that ``last`` holds, or where that is damaged the one before it; None where there is none yet."""
    folders = [folder for folder in (out / "last", out / BEFORE) if folder.exists()]
    damaged: list[InputError] = []
    for folder in folders:
        try:
            check_seal(folder)
            found = _restored(config, folder, device, total)
        except InputError as error:
            damaged.append(error)
            continue
        if damaged and say is not None:
            say(f"{damaged[0]}; going on from the checkpoint before it")
            shutil.rmtree(folders[0], ignore_errors=True)  # or it would be the one before the next
        return found
    if damaged:
        raise damaged[0]
    if say is not None:
        say(f"{out} holds no checkpoint yet: the run is begun again")
    return None


def _restored(config: TrainConfig, folder: Path, device: torch.device, total: int) -> tuple[TrainState, DynamicsRecord]:
    model = checkpoint.load(folder, device=device)
    if model.config.method != config.method or model.codec != codec_named(config.codec_name, config.codec_format):
        raise CheckpointError(f"{folder}: a checkpoint of {model.config.method}, {model.config.codec}")
    optimizer = make_optimizer(config, model)
    try:
        check_regular(folder / "trainer.safetensors")
        kept = Kept.load(folder / "trainer.json")
        if kept.step > total or kept.stage >= config.n_stages:
            raise CheckpointError(
                f"{folder}: its trainer state is of step {kept.step:,}, stage {kept.stage}: past the end"
            )
        tensors = load_file(folder / "trainer.safetensors")
        _load_optimizer(optimizer, model, tensors)
        state = TrainState(model, optimizer, **dict(kept))
    except (KeyError, TypeError, ValueError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder}: the trainer state is damaged ({error})") from None
    return state, DynamicsRecord.load(folder / "emergence.json")


def _save(folder: Path, state: TrainState, record: DynamicsRecord, *, trainer: bool = False) -> None:
    """A checkpoint; ``trainer``: with all that ``_restore`` needs."""
    with atomic_folder(folder, before=folder.with_name(BEFORE) if trainer else None) as temporary:
        checkpoint.write_files(state.model, temporary)
        record.save(temporary / "emergence.json")
        if trainer:
            tensors = {
                f"{name}.{key}": value
                for name, parameter in state.model.named_parameters()
                for key, value in state.optimizer.state[parameter].items()
            }
            checkpoint.write_tensors(temporary / "trainer.safetensors", tensors)
            write_json(temporary / "trainer.json", {key: getattr(state, key) for key in Kept.model_fields})
            seal(temporary)


def _load_optimizer(optimizer: torch.optim.AdamW, model: CoconutGPT2, tensors: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        prefix = f"{name}."
        state = {key: tensors[prefix + key] for key in ("step", "exp_avg", "exp_avg_sq") if prefix + key in tensors}
        if state:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}


def _rewind(out: Path, step: int, record: DynamicsRecord) -> None:
    """Take back what was recorded after the checkpoint that the run continues from."""
    path = out / "metrics.jsonl"
    if path.exists():
        kept = []
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                break  # the line that was being written when the process ended
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict) or not isinstance(value.get("step"), int):
                raise InputError(f"{path}, line {number}: not a record of a training step")
            if value["step"] <= step:
                kept.append(line + "\n")
        write_text(path, "".join(kept))
    (out / "result.json").unlink(missing_ok=True)
    if record.points:
        record.save(out / "emergence.json")


def _log(out: Path, kind: str, values: dict[str, Any]) -> None:
    try:
        with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")
    except OSError as error:
        raise OutputError(f"{out / 'metrics.jsonl'}: cannot be written ({error.strerror or error})") from None


def _facts(config: TrainConfig, device: torch.device, world: World, total: int) -> dict[str, Any]:
    import transformers

    return {
        "name": config.name,
        "method": config.method,
        "seed": config.seed,
        "n_steps": total,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _finish(
    config: TrainConfig,
    out: Path,
    train_set: Problems,
    val_set: Problems,
    stage: Stage,
    say: Say,
) -> None:
    """Report the best checkpoint, with the fixed number of thoughts and, if asked for, with the learned stop."""
    model = checkpoint.load(out / "best", device=val_set.device)
    result = {"fixed": accuracy(model, val_set, stage)}
    if config.stop_classifier and stage.n_thoughts:
        stop = fit_stop_classifier(model, train_set[:2000], stage.n_thoughts, seed=config.seed)
        stop.save(out / "best" / "stop.json")
        result["learned_stop"] = accuracy(model, val_set, stage, stop=stop)
    write_json(out / "result.json", {name: value.model_dump(exclude=MOMENT) for name, value in result.items()})
    for name, value in result.items():
        say(f"{name}: {value.estimate.text('percent')} of {value.n}")


# --- private: the rest ------------------------------------------------------------------------------------------------


def _measured(
    record: DynamicsRecord, state: TrainState, probe: Problems, stage: int, config: TrainConfig
) -> DynamicsRecord:
    n_seen = state.step * config.batch_size_training
    point = dynamics.measure(state.model, probe, seed=PROBE_SEED, step=state.step, n_seen=n_seen, stage=stage)
    return record.with_points([*record.points, point])


def _due(previous: int, step: int, n: int, total: int) -> bool:
    """Whether one of ``n`` evenly spaced moments, the last at ``total``, lies in (previous, step]."""
    return step * n // total > previous * n // total


def _stage_end(step: TrainStep) -> str:
    text = f"stage {step.stage} ended ({step.stage_ended}) at {step.problems:,} problems, loss {step.loss:.3f}"
    if step.first_token_bound is None or learned(step.first_token_loss, step.first_token_bound):
        return text
    return (
        f"{text}; its first-token loss {step.first_token_loss:.2f} is above {step.first_token_bound:.2f}, "
        "what a guess in the true frontier costs: give the stage more epochs"
    )


def _barrier(world: World) -> None:
    if world.size > 1:
        dist.barrier()


def _check_trackers(config: TrainConfig) -> None:
    """Raise InputError for a tracker whose package is not installed."""
    for name in config.log_with:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"log_with {name}: the package is not installed; pip install {name}")


def _trackers(config: TrainConfig, out: Path) -> list[Callable[[dict[str, Any], int], None]]:
    """One function of (values, step) for each of ``log_with``."""
    found: list[Callable[[dict[str, Any], int], None]] = []
    if "tensorboard" in config.log_with:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(out / "tensorboard"))

        def to_tensorboard(values: dict[str, Any], step: int) -> None:
            for key, value in _numbers(values).items():
                writer.add_scalar(key, value, step)

        found.append(to_tensorboard)
    if "trackio" in config.log_with:
        import trackio

        run = trackio.init(project="coconut", name=config.name, config=config.model_dump(mode="json"))
        found.append(lambda values, step: run.log(_numbers(values), step=step))
    return found


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in values.items() if isinstance(value, int | float)}
