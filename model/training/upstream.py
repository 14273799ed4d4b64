"""Settings from a YAML of the public Coconut code (github.com/facebookresearch/coconut, ``args/*.yaml``), unchanged.

Every key is honoured, or named as left aside. What the public code does without saying is set too: no warm-up, decay or
clipping, AdamW's own betas, GPT-2's dropout, texts as the files have them, four processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from model.errors import InputError
from model.files import read_yaml
from model.training.config import TrainConfig, parse_train_config

N_GPUS = 4
"""Processes that the public code's files are written for; its batch size is that of each."""
METHODS = {"coconut": "coconut", "cot": "cot", "no_thoughts": "no_thought", "no_cot": "no_cot"}
"""Key that is true to method; the first of cot, no_cot, no_thoughts and coconut that is."""
PLAIN: dict[str, list[str]] = {"start": [], "end_marks": [], "added": []}
"""How texts are written that have neither thoughts nor their marks."""
ASIDE = {
    "project": "no tracker is used unless log_with says so",
    "save_path": "--out says where",
    "save_only_improve": "the last and the best checkpoint are kept",
    "debug": "--set n_val=... makes a run smaller",
}
_HONOURED = {
    "name", *METHODS, "c_thought", "epochs_per_stage", "max_latent_stage", "pad_latent_to_max", "uniform_prob",
    "model_id", "load_model_path", "seed", "resume", "bf16", "train_path", "val_path", "reset_optimizer",
    "batch_size_training", "gradient_accumulation_steps", "num_epochs", "lr", "weight_decay", "only_eval",
}  # fmt: skip


@dataclass(frozen=True)
class Upstream:
    """A run of the public code, here."""

    config: TrainConfig
    aside: tuple[str, ...]
    """Keys that were left aside, each with the reason."""


def load_upstream(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Upstream:
    """The settings of a public YAML, with ours over them. Raises InputError naming the file and the key."""
    values = read_yaml(path)
    if not isinstance(values, dict) or "epochs_per_stage" not in values:
        raise InputError(f"{path}: not a YAML of the public Coconut code, which has epochs_per_stage, c_thought, ...")
    values = {str(key): None if value == "None" else value for key, value in values.items()}
    if values.get("only_eval"):
        raise InputError(f"{path}: only_eval is true, nothing is trained; use python -m model import and evaluate")

    def given(key: str, default: Any, kind: type, *, least: float | None = None) -> Any:
        value = values.get(key, default)
        try:
            found = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{path}: {key} is {value!r:.80}, expected {kind.__name__}") from None
        if not isfinite(found) or (least is not None and found < least):
            more = "" if least is None else f", {least:g} or more"
            raise InputError(f"{path}: {key} is {value!r:.80}, expected a finite number{more}")
        return found

    method = next((METHODS[key] for key in ("cot", "no_cot", "no_thoughts", "coconut") if values.get(key)), None)
    if method is None:
        raise InputError(f"{path}: none of {', '.join(METHODS)} is true; one of them must be")
    most, per_stage = given("max_latent_stage", 0, int, least=0), given("epochs_per_stage", 1, float, least=1)
    resume, epochs = given("resume", 0, float, least=0), given("num_epochs", 1, float)
    if resume >= epochs:
        raise InputError(f"{path}: resume {resume:g} leaves none of the {epochs:g} epochs")
    # Past the last stage of thoughts the public code drops every step that is left.
    final = method in ("coconut", "no_thought") and epochs > per_stage * (most + 1)
    stage = min(int(resume // per_stage), most + final) if method in ("coconut", "no_thought") else 0
    paths = f"{values.get('train_path')} {values.get('val_path')}".lower()
    found = {
        "name": str(values.get("name") or Path(path).stem),
        "method": method,
        "c_thought": given("c_thought", 1, int),
        "max_latent_stage": most,
        "final_stage": final,
        "pad_latent_to_max": bool(values.get("pad_latent_to_max", False)),
        "uniform_prob": given("uniform_prob", 0, float),
        "mix": "steps",
        "advance": "schedule",
        "epochs_per_stage": per_stage,
        "num_epochs": epochs - resume,
        "first_stage": stage,
        "batch_size_training": N_GPUS
        * given("batch_size_training", 32, int)
        * given("gradient_accumulation_steps", 1, int),
        "lr": given("lr", 1e-4, float),
        "weight_decay": given("weight_decay", 0.01, float),
        "warmup_steps": 0,
        "decay_share": 0,
        "betas": (0.9, 0.999),
        "clip": 1e9,
        "dropout": 0.1,
        "reset_optimizer": "epoch" if values.get("reset_optimizer") else False,
        "precision": "bfloat16" if values.get("bf16") else "float32",
        "codec": "text",
        "codec_format": None if method == "coconut" else PLAIN,
        "base_model": values.get("model_id"),
        "load_model_path": values.get("load_model_path"),
        "train_path": values.get("train_path"),
        "val_path": values.get("val_path"),
        "verbatim": True,
        "task": next((task for task in ("gsm", "prontoqa") if task in paths), "prosqa"),
        "seed": given("seed", 0, int),
        "n_val": 10**9,
        "n_evals": max(1, round(epochs - resume)),
        "n_dynamics": 8,
    }
    aside = [f"{key}: {ASIDE[key]}" for key in values if key in ASIDE]
    aside += [f"{key}: unknown here" for key in values if key not in _HONOURED and key not in ASIDE]
    chosen = next(key for key, name in METHODS.items() if name == method)
    aside += [
        f"{key}: {chosen} is true too, and goes before it" for key in METHODS if key != chosen and values.get(key)
    ]
    if per_stage and resume % per_stage and stage < most + final:
        aside.append(f"resume: {resume % per_stage:g} epochs into stage {stage}; the stage is begun whole")
    config = parse_train_config(found | dict(overrides or {}), where=str(path))
    return Upstream(config, tuple(aside))
