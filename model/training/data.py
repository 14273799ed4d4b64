"""What training reads: graphs that are written anew each time, or texts as they are; from files or made."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch

from model.coconut import codec_named
from model.codec import Codec, Samples
from model.errors import InputError
from model.formats.graph import load_problems
from model.problems.arrays import ProblemTensors
from model.problems.generate import ProblemArrays, Recipe, generate_arrays
from model.problems.texts import load_texts
from model.rows import TextRows, WritesWords
from model.training.config import TrainConfig, stages

Problems = ProblemTensors | TextRows


def samples_of(codec: Codec, problems: Problems, generator: torch.Generator, *, align: int = 1) -> Samples:
    """A fresh prompt sample of every problem, or the text that it always has."""
    if isinstance(problems, TextRows):
        return problems.samples(codec, align=align)
    return codec.samples(problems, generator, align=align)


def longest_text(codec: Codec, problems: Problems) -> int:
    """Most tokens after the thoughts of any problem."""
    if isinstance(problems, TextRows):
        return int(problems.text_length(codec).max())
    return codec.continuation_length(problems.path.shape[1])


def load_data(
    config: TrainConfig, say: Callable[[str], None] = lambda message: None, *, n_positions: int | None = None
) -> tuple[Problems, Problems]:
    """(training problems, validation problems) on the CPU, from files or made.

    Made ones are the first ``n_val`` (validation) and the following ``n_train`` of one seeded series, so runs that
    differ in ``n_train`` alone are validated on the same. ``n_positions``: of the model, where it is not that of the
    settings. Raises InputError, naming file and row or setting.
    """
    codec, n_positions = codec_named(config.codec_name, config.codec_format), n_positions or config.n_positions
    if config.verbatim:
        assert config.train_path is not None
        assert config.val_path is not None
        paths = (config.train_path, config.val_path)
        train_rows, val_rows = (_rows(config, codec, n_positions, path, say) for path in paths)
        return train_rows, val_rows[: config.n_val]
    train_set, val = (None if path is None else _read(path) for path in (config.train_path, config.val_path))
    if train_set is None or val is None:
        n = config.n_val + (config.n_train if train_set is None else 0)
        recipe = Recipe(
            "balanced",
            hops=config.n_hops,
            nodes=config.n_nodes,
            deep_share=config.deep_share,
            depth_gap=config.depth_gap,
        )
        say(f"making {n:,} problems")
        processes = min(os.cpu_count() or 1, 16) if n > 50_000 else 1
        made = generate_arrays(recipe, n, config.data_seed, processes=processes)
        train_set = made[config.n_val :] if train_set is None else train_set
        val = made if val is None else val
    val = val[: config.n_val]
    for problems, path in ((train_set, config.train_path), (val, config.val_path)):
        _check_graphs(config, codec, n_positions, problems, path or "generated problems")
    return ProblemTensors.from_arrays(train_set), ProblemTensors.from_arrays(val)


def _read(path: str) -> ProblemArrays:
    return ProblemArrays.from_problems(load_problems(path))


def _check_graphs(config: TrainConfig, codec: Codec, n_positions: int, problems: ProblemArrays, where: str) -> None:
    """Raise InputError for the first problem with too many nodes or tokens, naming the setting to raise."""
    prompt = np.array([codec.prompt_length(int(n)) for n in problems.n_edges])
    # Arrays have the root in their paths, as tensors have not; one hop more is left room for.
    after = _most_thoughts(config) + codec.continuation_length(problems.path.shape[1])
    # Facts that are recited take what the prompt does and a line break each, at most.
    needed = prompt + np.maximum(after, prompt + problems.n_edges if config.recite_epochs else 0)
    n_nodes, n_parentless = problems.n_nodes, problems.n_parentless
    room = np.array([codec.has_room(int(n), int(m)) for n, m in zip(n_nodes, n_parentless, strict=True)])
    for i in np.flatnonzero(~room | (needed > n_positions))[:1]:
        if n_nodes[i] > codec.n_keys:
            remedy = "slots; raise n_slots" if codec.vocabulary is None else "names; give codec_format more"
            raise InputError(f"{where}, row {i}: {n_nodes[i]} nodes need as many {remedy}")
        if not room[i]:
            raise InputError(
                f"{where}, row {i}: {n_nodes[i]} nodes, {n_parentless[i]} of them without parents, are more than "
                "there are names of each kind; give codec_format more"
            )
        raise InputError(f"{where}, row {i}: needs {needed[i]} token positions; raise n_positions")


def _rows(config: TrainConfig, codec: Codec, n_positions: int, path: str, say: Callable[[str], None]) -> TextRows:
    """The texts of a file, cut into tokens once. Raises InputError, naming the file and the row."""
    if not isinstance(codec, WritesWords) or codec.opened:
        raise InputError(f"{path}: texts as they are (verbatim) need codec text, and not opened")
    problems = load_texts(path)
    stepless = sum(not problem.steps for problem in problems)
    if stepless:
        say(f"{path}: {stepless:,} of {len(problems):,} problems have no steps, only an answer")
    rows = TextRows.of(codec, problems)
    needed = rows.size + _most_thoughts(config) + rows.text_length(codec)
    for i in (needed > n_positions).nonzero().flatten().tolist()[:1]:
        raise InputError(f"{path}, row {i}: needs {int(needed[i])} token positions; the model has {n_positions}")
    return rows


def _most_thoughts(config: TrainConfig) -> int:
    return max(stage.n_thoughts for stage in stages(config))
