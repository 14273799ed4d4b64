"""Training settings: one YAML file, checked before anything starts.

Names follow the public code (github.com/facebookresearch/coconut, ``args/*.yaml``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from model.errors import InputError
from model.files import parse_yaml, read_yaml, write_text
from model.values import Value

Method = Literal["coconut", "cot", "no_cot", "icot", "pause", "no_curriculum", "no_thought", "pause_as_thought"]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Size = Annotated[int, Field(ge=1, le=8_192)]
"""Of a part of the model; GPT-2's largest is 1,600 wide."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Epochs = Annotated[float, Field(gt=0, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]

ALL = 1_000
"""More steps than any problem has: none is left."""


@dataclass(frozen=True)
class Stage:
    """What a problem looks like at one stage."""

    n_thoughts: int
    n_skip: int
    """Steps dropped from the start of the chain; ALL leaves the answer alone."""


class TrainConfig(Value):
    """One training run. An **epoch** is one visit to every training problem; epochs may be fractions."""

    renamed: ClassVar[Mapping[str, str]] = {"n_emergence": "n_dynamics"}

    name: str
    method: Method = "coconut"

    feed: Literal["state", "argmax", "sampled", "expected"] = "state"
    """What thoughts feed back: ``model.coconut.FEEDS``."""

    # Curriculum
    c_thought: Positive = 1
    """Thoughts per reasoning step."""
    max_latent_stage: Annotated[int, Field(ge=0)] = 6
    """Stage s has ``c_thought * s`` thoughts in place of the first s steps; this is the last s."""
    final_stage: bool = False
    """One more stage that keeps the thoughts of the last and drops whatever steps are left (Hao et al., GSM8k)."""
    pad_latent_to_max: bool = True
    """In the final stage: thoughts as in the stage before for every problem, else no more than it has steps."""
    uniform_prob: Share = 0.1
    """Probability that a problem is shown at another stage, drawn uniformly (``mix``)."""
    mix: Literal["reached", "steps"] = "reached"
    """Of which stages: 0 to the current one, or, as in the public code, 0 to the problem's number of steps, so ahead
    of the schedule too."""
    first_stage: Annotated[int, Field(ge=0)] = 0
    """The stage the run begins with, as after epochs that another run had."""
    recite_epochs: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Text only: so long at the start, every problem's facts are to be written in random order, in place of chain and
    answer and without thoughts. Edges are looked up in each problem as often as it has any, so it is learned sooner."""
    removal_smoothing: Annotated[float, Field(ge=0)] | None = None
    """icot only: o further steps are dropped with probability proportional to exp(-removal_smoothing * o)."""
    advance: Literal["settled", "schedule"] = "settled"
    """``settled``: a stage ends when its loss has; ``schedule``: after ``epochs_per_stage``."""
    epochs_per_stage: Epochs | Annotated[list[Epochs], Field(min_length=1)]
    """Length of every stage but the last, one for all or one each; with ``settled``, the most a stage may take."""
    min_epochs_per_stage: Annotated[float, Field(ge=0)] = 0.0
    """settled: the least a stage takes. The budget always leaves this much for every later stage."""
    settle_window: Annotated[float, Field(gt=0)] = 0.5
    """settled: epochs in each of the two windows whose mean losses are compared."""
    settle_tolerance: Annotated[float, Field(gt=0)] = 0.02
    """settled: the loss has settled when the later window is lower by less than this share of the earlier."""
    num_epochs: Epochs
    """Length of the whole run; the last stage takes what the others leave."""

    # Optimiser
    batch_size_training: Positive = 256
    """Problems per step, over all processes together."""
    lr: Annotated[float, Field(gt=0)] = 3e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    decay_share: Share = 0.25
    """The last share of the run over which the learning rate falls to 0 as a cosine; 0 keeps it constant."""
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """On matrices only."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    reset_optimizer: Literal[False, "stage", "epoch"] = False
    """When AdamW starts afresh. The public code's ``true`` resets at every epoch; write ``epoch`` for that."""

    # Model
    n_layer: Size = 2
    n_head: Size = 8
    n_embd: Size = 768
    n_positions: Size = 256
    codec: str = "slots"
    """Prompt format: one of ``model.coconut.CODECS``."""
    n_slots: Annotated[int, Field(ge=0)] = 40
    """Keys of the prompt format that nodes can have, so the largest graph; 0, and the default of all formats but slots:
    as many as the format has."""
    codec_format: dict[str, Any] | None = None
    """What else the prompt format is told (``Codec.format``), such as the names that text has for nodes."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    initializer_range: Annotated[float, Field(gt=0)] = 0.02
    mimetic_start: bool = False
    """Begin with positions as sinusoids and heads that attend to what is alike and copy it (``model.mimetic``)."""
    load_model_path: str | None = None
    """Checkpoint to start from instead of random weights; of the same shape and codec. Also one of the public code's,
    a ``checkpoint_N``, to which rows for further tokens are added as to a ``base_model``."""
    base_model: str | None = None
    """Pretrained GPT-2 to start from, a folder or a Hub id such as ``openai-community/gpt2``: it gives weights, size
    and activation; rows for further tokens begin as copies of that of "<<", as in the public code."""

    # Data: a ProsQA file each, or problems made by the balanced generator
    train_path: str | None = None
    val_path: str | None = None
    task: Literal["prosqa", "prontoqa", "gsm"] = "prosqa"
    """What the problems are; recorded in the checkpoint."""
    verbatim: bool = False
    """Learn the texts of the files as they are, graph or not; else graphs are written anew each time they are seen,
    with other names and in another order."""
    n_train: Positive = 300_000
    """Problems to generate when there is no train_path."""
    n_val: Positive = 2_000
    """Problems to generate when there is no val_path; from a file, the first so many are used."""
    n_nodes: tuple[Positive, Positive] = (14, 28)
    """Generated graphs: fewest and most nodes."""
    n_hops: tuple[Positive, Positive] = (3, 6)
    """Generated graphs: fewest and most hops from the root to the target."""

    deep_share: Share = 0.75
    """Generated graphs: probability that a graph is kept only if it offers more than the fewest hops."""
    depth_gap: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 0)
    """Generated graphs: least and most difference between the two candidates' distances from their roots."""
    data_seed: Seed = 0
    """Of the generator; the same problems whatever ``seed`` is."""

    # Run
    seed: Seed = 0
    """Of the weights, the order of problems and how each is written."""
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on CUDA, float32 on the CPU."""
    cuda_graphs: bool = True
    """On one CUDA device, replay each step as a captured graph; elsewhere without effect."""
    length_buckets: Positive = 3
    """Batches are formed of problems of like size: this many groups by number of edges."""
    log_every: Positive = 20
    """Steps between two records of loss and speed."""
    n_evals: Positive = 20
    """Validations and checkpoints in the run, evenly spaced, the last at its end."""
    n_dynamics: Annotated[int, Field(ge=0)] = 50
    """Points of the training dynamics after the first; 0 for none."""
    n_probe: Annotated[int, Field(ge=2)] = 256
    """Validation problems that the training dynamics are measured on."""
    stop_classifier: bool = False
    """At the end, fit a classifier of thoughts that says when to stop, and report accuracy with it as well."""
    log_with: tuple[Literal["tensorboard", "trackio"], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _own_keys(cls, values: Any) -> Any:
        other = isinstance(values, dict) and values.get("codec", "slots") != "slots" and "n_slots" not in values
        return {**values, "n_slots": 0} if other else values

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if isinstance(self.epochs_per_stage, list) and len(self.epochs_per_stage) != max(self.n_stages - 1, 1):
            raise ValueError(
                f"epochs_per_stage lists {len(self.epochs_per_stage)} lengths; {self.method} with max_latent_stage "
                f"{self.max_latent_stage} needs {max(self.n_stages - 1, 1)} (every stage but the last)"
            )
        if self.first_stage >= self.n_stages:
            raise ValueError(f"first_stage is {self.first_stage}; the last stage is {self.n_stages - 1}")
        if self.recite_epochs and (self.codec != "text" or self.verbatim):
            raise ValueError("recite_epochs is for codec text without verbatim, whose facts can be written anew")
        if self.verbatim and (self.train_path is None or self.val_path is None):
            raise ValueError("verbatim needs train_path and val_path")
        if self.removal_smoothing is not None and self.method != "icot":
            raise ValueError(f"removal_smoothing is for method icot, not {self.method}")
        for key, (low, high) in (
            ("n_nodes", self.n_nodes),
            ("n_hops", self.n_hops),
            ("depth_gap", self.depth_gap),
        ):
            if low > high:
                raise ValueError(f"{key} is [{low}, {high}]; the first must not be larger")
        if self.train_path is None and 0 < self.n_slots < self.n_nodes[1]:
            raise ValueError(f"graphs of up to {self.n_nodes[1]} nodes do not fit {self.n_slots} slots (n_slots)")
        return self

    @property
    def codec_name(self) -> str:
        """The codec as a checkpoint's config records it."""
        return f"{self.codec}-{self.n_slots}"

    @property
    def n_stages(self) -> int:
        """Stages of the method's curriculum; methods without one have a single stage."""
        return len(stages(self))

    def stage_epochs(self, stage: int) -> float:
        """``epochs_per_stage`` of one stage."""
        given = self.epochs_per_stage
        return given[min(stage, len(given) - 1)] if isinstance(given, list) else given


def stages(config: TrainConfig) -> tuple[Stage, ...]:
    """The method's stages in order."""
    thoughtful = config.method in ("coconut", "pause_as_thought", "no_curriculum")
    per_step = config.c_thought if thoughtful else 0
    steps = [Stage(per_step * s, s) for s in range(config.max_latent_stage + 1)]
    if config.final_stage:
        steps.append(Stage(per_step * config.max_latent_stage, ALL))
    match config.method:
        case "cot":
            return (Stage(0, 0),)
        case "no_cot":
            return (Stage(0, ALL),)
        case "pause":
            return (Stage(config.c_thought * config.max_latent_stage, ALL),)
        case "no_curriculum":
            return (steps[-1],)
        case _:
            return tuple(steps)


def load_train_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """The settings in a YAML file, with ``key=value`` overrides (values in YAML).

    Raises InputError naming the file and the key: not YAML, unknown (with the nearest known), wrong type or range.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected settings as 'key: value' lines, got {type(values).__name__}")
    values |= parse_overrides(overrides)
    return parse_train_config(values, where=str(path))


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts, values in YAML. Raises InputError for one that is none."""
    values: dict[str, Any] = {}
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key.strip():
            raise InputError(f"--set {override!r:.80}: write it as key=value")
        values[key.strip()] = parse_yaml(text, where=f"--set {override!r:.80}")
    return values


def parse_train_config(values: Mapping[str, Any], *, where: str) -> TrainConfig:
    """Settings from a mapping. Raises InputError naming ``where`` and the key."""
    known = TrainConfig.model_fields
    for key in values:
        if key not in known and key not in TrainConfig.renamed:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise InputError(f"{where}: unknown setting {key!r}{hint}")
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        got = f", got {first['input']!r:.60}" if key and first["type"] != "missing" else ""
        raise InputError(f"{where}: {f'{key}: ' if key else ''}{message}{got}") from None


def save_train_config(config: TrainConfig, path: str | Path) -> None:
    """Write every setting, defaults included, as YAML that ``load_train_config`` reads back to the same value."""
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
