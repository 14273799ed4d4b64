"""What a file of weights does not say, and where it was told: options, or the public code's own YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from model.errors import InputError
from model.files import read_yaml

TASKS = ("prosqa", "prontoqa", "gsm")
PASSES = ("single", "multi")
PLAIN = ("cot", "no-cot", "no-thoughts")
FAMILIES = ("coconut", "multimode", *PLAIN, "superposition", "pause", "codi", "sim-cot", "latent-tts")


@dataclass(frozen=True)
class Told:
    """Answers to what a file does not say; None where nothing was said."""

    family: str | None = None
    """One of FAMILIES, where keys and shapes leave it open."""
    thoughts: int | None = None
    """Thoughts before the answer."""
    c_thought: int | None = None
    """Thoughts per reasoning step."""
    task: str | None = None
    """One of TASKS."""
    n_head: int | None = None
    passes: str | None = None
    """One of PASSES: how a model with pause tokens was trained."""
    uniform_prob: float | None = None
    lora_scale: float | None = None
    """What LoRA's product is multiplied by: alpha / r."""

    def __post_init__(self) -> None:
        for name, known in (("family", FAMILIES), ("task", TASKS), ("passes", PASSES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InputError(f"--{name} {value!r:.80} is unknown; known are {', '.join(known)}")
        for name, least in (("thoughts", 0), ("c_thought", 1), ("n_head", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name.replace('_', '-')} must be {least} or more, got {value}")
        if self.lora_scale is not None and not isfinite(self.lora_scale):
            raise InputError(f"--lora-scale must be finite, got {self.lora_scale}")

    def over(self, other: Told) -> Told:
        """These answers, and the other's where there are none."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in mine.items() if value is not None})

    @classmethod
    def of_words(cls, words: Mapping[str, str]) -> Told:
        """From words as a person types them. Raises InputError for what is no number or unknown."""
        found: dict[str, Any] = {}
        for name, word in words.items():
            try:
                if name == "lora_scale":
                    found[name] = float(word)
                else:
                    found[name] = int(word) if name in ("thoughts", "c_thought", "n_head") else word
            except ValueError:
                raise InputError(f"{name.replace('_', '-')} {word!r:.80} is not a number") from None
        return cls(**found)


class NotToldError(InputError):
    """The file does not say something that nobody has told either."""

    def __init__(self, where: str, names: Mapping[str, str]) -> None:
        self.names = tuple(names)
        options = ", ".join(f"--{name.replace('_', '-')} ({what})" for name, what in names.items())
        super().__init__(f"{where}: the file does not say {options}; give it as an option, or --yaml where it says so")


def of_yaml(path: Path, epoch: int | None) -> Told:
    """What the public code's YAML says of a checkpoint of its run (``checkpoint_N``: ``epoch`` N).

    Thoughts are ``c_thought * min(max_latent_stage, resume // epochs_per_stage)`` where the YAML evaluates
    (``only_eval``); where it trains, the stage of epoch N is what N was trained at. Raises InputError if it is not
    such a YAML.
    """
    values = read_yaml(path)
    if not isinstance(values, dict) or "c_thought" not in values:
        raise InputError(f"{path}: not a YAML of the public Coconut code, which has c_thought, max_latent_stage, ...")

    def number(name: str, kind: type, *, least: float = 0) -> Any:
        try:
            found = kind(values[name])
        except KeyError:
            raise InputError(f"{path}: {name} is missing") from None
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{path}: {name} is {values[name]!r:.80}, not a number") from None
        if not isfinite(found) or found < least:
            raise InputError(f"{path}: {name} must be {least:g} or more, got {found}")
        return found

    task = next(
        (task for task in TASKS if task in f"{values.get('train_path')} {values.get('val_path')}".lower()), None
    )
    family = next(
        (name for name in PLAIN if values.get({"no-thoughts": "no_thoughts", "no-cot": "no_cot"}.get(name, name))), None
    )
    if family is not None or not values.get("coconut"):
        return Told(family=family, task=task)
    c_thought, most = number("c_thought", int, least=1), number("max_latent_stage", int)
    per_stage, resume = number("epochs_per_stage", int, least=1), number("resume", int)
    if not values.get("only_eval"):
        if epoch is None:
            raise InputError(
                f"{path}: a training YAML says the stage of an epoch, and the file is not called checkpoint_N; "
                "give --thoughts and --c-thought"
            )
        resume = max(epoch - 1, 0)
    return Told(
        thoughts=c_thought * min(most, resume // per_stage), c_thought=c_thought, task=task,
        uniform_prob=number("uniform_prob", float) if "uniform_prob" in values else None,
    )  # fmt: skip
