"""Families of Coconut checkpoints, told apart by keys and shapes, and each made a model of this project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.coconut import CoconutConfig, CoconutGPT2, codec_named
from model.config_file import Beside, check_config
from model.errors import CheckpointError
from model.imports.source import Source
from model.imports.told import PLAIN, NotToldError, Told
from model.values import validated

HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 36): 20, (1600, 48): 25}
"""Heads of GPT-2's four sizes by (width, layers); the public two-layer superposition model has 8."""
GPT2_ROWS, MARKED_ROWS, SYMBOL_ROWS = 50257, 50260, 40
LORA = {128: 0.25}
"""Published scale by rank (CODI: alpha 32, rank 128)."""
_WTE = "transformer.wte.weight"
_COPIES = ("lm_head.weight", "embedding.weight")
WHAT = {
    "family": "which of the families that look alike",
    "thoughts": "how many thoughts before the answer",
    "c_thought": "thoughts per reasoning step",
    "task": "prosqa, prontoqa or gsm",
    "n_head": "attention heads",
    "passes": "single or multi: how the pauses were fed in training",
    "lora_scale": "alpha / r",
}


@dataclass
class Converted:
    """A model, and what was done to make it."""

    model: CoconutGPT2
    family: str
    renamed: dict[str, str] = field(default_factory=dict)
    """From a name in the file to the name here."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Names of tensors that are not kept, and why."""
    copies: tuple[str, ...] = ()
    """Equal copies of the embedding."""
    notes: list[str] = field(default_factory=list)


def recognise(source: Source, told: Told) -> str:
    """The family of a source, by keys and shapes alone; ``told`` decides where two look alike."""
    tensors = source.tensors
    if any(name.startswith("codi.") for name in tensors):
        return "codi"
    if any(name.startswith("expainable_llm.") for name in tensors):
        return "sim-cot"
    if {"latent_id", "latent_start_id", "latent_end_id"} & source.config.keys():
        return "latent-tts"
    embeddings = [name for name in tensors if name.endswith(_WTE)]
    if not embeddings:
        raise CheckpointError(
            f"{source.name}: no tensor is called ...{_WTE}, so this is no GPT-2; its first names are "
            f"{', '.join(sorted(tensors)[:3]) or 'none'}"
        )
    if source.config.get("model_type") == CoconutConfig.model_type:
        raise CheckpointError(f"{source.name}: already a checkpoint of this project; nothing is to be imported")
    rows = next(iter(tensors[embeddings[0]].shape), 0)
    if "pause_embedding" in tensors:
        return "pause"
    if rows == SYMBOL_ROWS:
        return "superposition"
    if rows == GPT2_ROWS:
        if told.family in PLAIN:
            return str(told.family)
        raise NotToldError(source.name, {"family": f"{', '.join(PLAIN[:-1])} or {PLAIN[-1]}"})
    if rows in (MARKED_ROWS, MARKED_ROWS - 1):
        return told.family if told.family in ("multimode", "coconut") else "coconut"
    raise CheckpointError(
        f"{source.name}: the embedding has {rows:,} rows; known are {GPT2_ROWS:,} (GPT-2), {MARKED_ROWS:,} (with the "
        f"latent tokens) and {SYMBOL_ROWS} (a token per node)"
    )


def convert(source: Source, told: Told) -> Converted:
    """A source as a model. Raises CheckpointError for what does not fit, NotToldError for what is still to be told."""
    family = recognise(source, told)
    if told.family not in (None, family):
        raise CheckpointError(f"{source.name}: --family {told.family} was told, but by its keys it is {family}")
    prefixes = {name.removesuffix(_WTE) for name in source.tensors if name.endswith(_WTE)}
    prefix = min((p for p in prefixes if not p.startswith(("expainable_llm.", "decoder."))), key=len, default=None)
    if prefix is None:
        raise CheckpointError(f"{source.name}: the GPT-2 that thinks ({_WTE}) is missing")
    made = Converted(None, family)  # type: ignore[arg-type]  # filled below
    made.renamed.update(source.renamed)
    made.dropped.update(dict.fromkeys(source.dropped, "GPT-2 makes it by itself"))
    state = _body(source, prefix, told, made)
    settings = _settings(source, family, told, state, made)
    _feed_map(source, family, settings, state, made)
    check_config(settings, where=source.name)
    rest = [name for name in source.tensors if name not in made.renamed.values() and name not in made.dropped]
    _rest(rest, family, prefix, made)
    made.model = _filled(source, CoconutConfig(**settings), state)
    return made


# --- weights ----------------------------------------------------------------------------------------------------------


def _body(source: Source, prefix: str, told: Told, made: Converted) -> dict[str, Tensor]:
    """GPT-2's own tensors under HF's names, LoRA merged, copies of the embedding compared and left out."""
    state: dict[str, Tensor] = {}
    scale = _lora_scale(source, told)
    for name, found in source.tensors.items():
        tensor = found
        if not name.startswith(f"{prefix}transformer.") or ".lora_" in name:
            continue
        plain = name.removeprefix(prefix).replace(".base_layer.", ".")
        lora = name.replace(".base_layer.weight", ".lora_{}.default.weight")
        if ".base_layer.weight" in name and lora.format("A") in source.tensors:
            down, up = (source.tensors.get(lora.format(side)) for side in "AB")
            if down is None or up is None or not _fits(down, up, tensor):
                raise CheckpointError(f"{source.name}: LoRA's {lora.format('A')} and B do not fit {name}")
            tensor = tensor + scale * (up @ down).T
            made.dropped |= {lora.format(side): f"merged, times {scale:g}" for side in "AB"}
        state[plain] = tensor
        if plain != name:
            made.renamed[name] = plain
    if left := [name for name in source.tensors if ".lora_" in name and name not in made.dropped]:
        raise CheckpointError(f"{source.name}: {left[0]} has no weight or no other half to be merged with")
    embedding = state[_WTE]
    copies = []
    for copy in (f"{prefix}lm_head.weight", f"{prefix}lm_head.base_layer.weight", *_COPIES):
        other = source.tensors.get(copy)
        if other is None:
            continue
        if other.shape != embedding.shape or not torch.equal(other, embedding):
            raise CheckpointError(
                f"{source.name}: {copy} differs from {prefix}{_WTE}; the model ties them, so it cannot hold both"
            )
        copies.append(copy)
        made.dropped[copy] = "an equal copy of the embedding"
    made.copies = tuple(dict.fromkeys(copies))
    return state


def _fits(down: Tensor, up: Tensor, tensor: Tensor) -> bool:
    """Whether the transposed product of two matrices can be added to a weight."""
    return (
        down.ndim == up.ndim == 2 and len(down) == up.shape[1] and tuple(tensor.shape) == (down.shape[1], up.shape[0])
    )


def _lora_scale(source: Source, told: Told) -> float:
    """alpha / r, as told or as published for this rank."""
    factors = [tensor for name, tensor in source.tensors.items() if name.endswith(".lora_A.default.weight")]
    ranks = {len(tensor) if tensor.ndim else 0 for tensor in factors}
    if told.lora_scale is not None:
        return told.lora_scale
    if not ranks:
        return 1.0
    if len(ranks) > 1 or not ranks <= LORA.keys():
        raise NotToldError(source.name, {"lora_scale": WHAT["lora_scale"]})
    return LORA[ranks.pop()]


def _feed_map(source: Source, family: str, settings: dict[str, Any], state: dict[str, Tensor], made: Converted) -> None:
    """The pause token or the map from states to what is fed, put into settings and state."""
    width = settings["n_embd"]
    if family == "pause":
        pause = source.tensors["pause_embedding"]
        if pause.numel() != width:
            raise CheckpointError(
                f"{source.name}: pause_embedding has {pause.numel()} numbers; this model is {width} wide"
            )
        state["pause_embedding"] = pause.reshape(width)
        made.renamed["pause_embedding"] = "pause_embedding"
        settings["feed_map"] = "constant"
        return
    found = {name: t for name, t in source.tensors.items() if re.search(r"(^|\.)(prj|projector|projection)\.", name)}
    if not found:
        if family == "codi" or str(source.config.get("projector", "none")).lower() in ("mlp", "true"):
            made.notes.append("No projector is in the file: states are fed as they are.")
        return
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    matrices = sorted((name for name, shape in shapes.items() if len(shape) == 2), key=_natural)
    norms = [name for name, shape in shapes.items() if len(shape) == 1 and name.endswith(".weight")]
    if len(matrices) != 2 or len(norms) > 1 or shapes[matrices[0]][1] != width or shapes[matrices[1]][0] != width:
        raise CheckpointError(
            f"{source.name}: the projector is not linear, GELU, linear and at most one layer norm of width {width}: "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )
    settings |= {"feed_map": "mlp", "feed_width": shapes[matrices[0]][0], "feed_norm": bool(norms)}
    parts = {matrices[0]: "into", matrices[1]: "out"} | {name: "norm" for name in norms}
    for name, part in parts.items():
        for kind in ("weight", "bias"):
            old = f"{name.removesuffix('weight')}{kind}"
            if old not in found:
                raise CheckpointError(f"{source.name}: {old} is missing")
            state[f"feed_mlp.{part}.{kind}"] = found[old]
            made.renamed[old] = f"feed_mlp.{part}.{kind}"
    if left := [name for name in found if name not in made.renamed]:
        raise CheckpointError(f"{source.name}: {left[0]} is no part of a linear, GELU, linear, layer norm projector")


def _rest(names: list[str], family: str, prefix: str, made: Converted) -> None:
    """Say what becomes of tensors that nothing here reads."""
    for name in names:
        if name in made.renamed or name.startswith(f"{prefix}transformer."):
            continue
        decoder = family == "sim-cot" and not name.startswith(prefix)
        made.dropped[name] = "the step decoder, which only training needs" if decoder else "not read"


def _filled(source: Source, config: CoconutConfig, state: Mapping[str, Tensor]) -> CoconutGPT2:
    with torch.random.fork_rng(devices=[]):
        model = CoconutGPT2(config).eval()
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items() if name != "lm_head.weight"}
    found = {name: tuple(t.shape) for name, t in state.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{source.name}: {name} is {found.get(name, 'missing')}, expected {expected.get(name, 'none')}"
            )
    model.load_state_dict({**state, "lm_head.weight": state[_WTE]})
    return model


# --- settings ---------------------------------------------------------------------------------------------------------


def architecture(source: Source, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of a config that follow from GPT-2's tensors under HF's names, and from a config.json beside them;
    ``n_head`` is None where neither says it.

    Raises CheckpointError if they are not those of a GPT-2.
    """
    shapes = []
    for name in (_WTE, "transformer.wpe.weight", "transformer.h.0.mlp.c_fc.weight"):
        if name not in state:
            raise CheckpointError(f"{source.name}: {name} is missing")
        shape = tuple(state[name].shape)
        if len(shape) != 2 or 0 in shape:
            raise CheckpointError(f"{source.name}: {name} is {shape}, expected a matrix")
        shapes.append(shape)
    (rows, width), (positions, _), (_, inner) = shapes
    layers = 1 + max(int(match[1]) for name in state if (match := re.match(r"transformer\.h\.(\d+)\.", name)))
    beside: Beside = validated(Beside, source.config, where=f"{source.name}: config.json beside it")
    return {
        "n_layer": layers, "n_head": beside.n_head, "n_embd": width, "n_positions": positions, "vocab_size": rows,
        "n_inner": inner, "activation_function": beside.activation_function,
    }  # fmt: skip


def _settings(source: Source, family: str, told: Told, state: Mapping[str, Tensor], made: Converted) -> dict[str, Any]:
    """The config of the model, from shapes and from what was told."""
    size = architecture(source, state)
    rows, width, layers = size["vocab_size"], size["n_embd"], size["n_layer"]
    given = {name: getattr(told, name) for name in WHAT}
    if given["n_head"] is None:
        known = HEADS.get((width, layers)) if family != "superposition" else {(768, 2): 8}.get((width, layers))
        given["n_head"] = size["n_head"] or known
        if given["n_head"] is not None:
            where = "config.json" if size["n_head"] else "the published size"
            made.notes.append(f"{given['n_head']} attention heads, as {where} has.")
    needed = ["n_head"]
    if family == "superposition":
        given |= {"thoughts": 4 if told.thoughts is None else told.thoughts, "c_thought": 1, "task": "prosqa"}
    elif family in PLAIN:
        given |= {"thoughts": 0, "c_thought": 1}
        needed.append("task")
    else:
        needed += ["thoughts", "c_thought", "task"]
    if family == "pause":
        needed.append("passes")
    missing = [name for name in needed if given[name] is None]
    if missing:
        raise NotToldError(source.name, {name: WHAT[name] for name in missing})
    if width % given["n_head"]:
        raise CheckpointError(f"{source.name}: {given['n_head']} heads do not divide the width {width}")
    stage, uneven = divmod(given["thoughts"], given["c_thought"])
    if uneven:
        raise CheckpointError(f"{given['thoughts']} thoughts are no multiple of {given['c_thought']} per step")
    methods = {"cot": "cot", "no-cot": "no_cot", "no-thoughts": "no_thought", "pause": "pause_as_thought"}
    name, told_format = _format(source, family, rows, given["task"])
    codec = codec_named(name, told_format)
    return size | {
        "n_head": given["n_head"], "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        "bos_token_id": codec.end, "eos_token_id": codec.end, "pad_token_id": codec.end,
        "codec": name, "codec_format": told_format or None, "task": given["task"],
        "method": methods.get(family, "coconut"), "c_thought": given["c_thought"],
        "max_latent_stage": stage, "trained_stage": stage, "uniform_prob": told.uniform_prob,
        "single_pass": given["passes"] == "single", "thoughts_by": "hops" if family == "superposition" else "stage",
        "imported": family,
    }  # fmt: skip


def _format(source: Source, family: str, rows: int, task: str) -> tuple[str, dict[str, Any]]:
    """Name and format of the codec."""
    if family == "superposition":
        return f"symbols-{rows}", {}
    if family in PLAIN:
        return f"text-{rows}", {"start": [], "end_marks": [], "added": []}
    if family == "codi":
        told: dict[str, Any] = {
            "added": ["[PAD]", "<|bocot|>", "<|eocot|>"], "start": ["<|bocot|>"], "end_marks": ["<|eocot|>"],
            "answer": "The answer is:",
        }  # fmt: skip
        return f"text-{rows}", told | ({"newline": False} if task == "gsm" else {})
    if family == "multimode":
        added = ["<|bocot|>", "<|eocot|>", *(["<|latent|>"] if rows == MARKED_ROWS else [])]
        return f"text-{rows}", {"added": added, "start": added[:1], "end_marks": added[1:2]}
    if family == "latent-tts":
        ids = {}
        for key, name in (
            ("latent_start_id", "<|start-latent|>"),
            ("latent_end_id", "<|end-latent|>"),
            ("latent_id", "<|latent|>"),
        ):
            value = source.config.get(key)
            if not isinstance(value, int) or not GPT2_ROWS <= value < rows:
                raise CheckpointError(
                    f"{source.name}: config.json's {key} is {value!r:.80}; expected {GPT2_ROWS:,} to {rows - 1:,}"
                )
            ids[value] = name
        last = max(ids)
        return f"text-{rows}", {"added": [ids.get(row, f"<|row {row}|>") for row in range(GPT2_ROWS, last + 1)]}
    if rows != MARKED_ROWS:
        raise CheckpointError(
            f"{source.name}: the embedding has {rows:,} rows; the latent tokens need {MARKED_ROWS:,} "
            "(for <|bocot|> and <|eocot|> say --family multimode)"
        )
    return f"text-{rows}", {}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
