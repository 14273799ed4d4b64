"""One pass of a model over a data set, written down so that every analysis can be made from it.

A **recording** holds, for each problem, what was written after every k and every number the analyses need: a few
kilobytes a problem, never the states themselves (those of the first problems are kept apart, for probes and
geometry). It is made in chunks of CHUNK problems; a finished chunk is a file, so an interrupted recording resumes
where it stopped, and chunks may be made by any number of processes with the same result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from model.coconut import CoconutGPT2
from model.codec import NO_KEY, Prompt
from model.errors import InputError
from model.files import atomic_path, check_regular
from model.metrics import Bools
from model.problems.prosqa import ProsQAProblem, graph_json
from model.readout import forced_answers, generated_answers, key_vectors, node_log_probs, vector_log_probs
from model.stats import Floats
from model.store import Chunks
from probing.read.attention import copy_map, edge_attention, replay
from probing.read.categories import CATEGORIES, categorise
from probing.read.probe import shortcut_baseline

VERSION = 1
CHUNK = 64
BATCH = 16
N_COPY_MAPS = 256
"""Problems whose layer-1 copy map is recorded."""

Ints = NDArray[np.int64]

_FLOATS = pa.list_(pa.float32())
_INTS = pa.list_(pa.int16())
SCHEMA = pa.schema(
    {
        "number": pa.int32(),
        "skipped": pa.string(),
        "problem": pa.string(),
        "blind_rule": pa.string(),
        "slots": _INTS,
        "n_filler": pa.int16(),
        "category": _INTS,
        "answer": _INTS,
        "path": pa.list_(_INTS),
        "p_target": _FLOATS,
        "p_neg_target": _FLOATS,
        "logit": _FLOATS,
        "log_norm": _FLOATS,
        "p_answer_marker": _FLOATS,
        "norm": _FLOATS,
        "embedding_norm": pa.float32(),
        "similarity": _FLOATS,
        "lens": _FLOATS,
        "edge_attention": _FLOATS,
        "copy_map": _FLOATS,
    },
    metadata={"format": "coconut recording", "version": str(VERSION)},
)
"""Columns of ``rows.parquet``, one row per problem. With K thoughts, N nodes, E edges and L layers, lists are:
``category answer path p_target p_neg_target log_norm p_answer_marker norm`` K+1; ``logit`` K+1 N; ``similarity``
K+1 K+1; ``lens`` L K+1 N (layers 0..L-1; layer L is ``logit``); ``edge_attention`` L K+1 E; ``copy_map`` n_head 4.
``category`` counts into CATEGORIES, ``answer`` and ``path`` are nodes or -1. ``problem`` is JSON without the English;
a problem the model cannot take has a reason in ``skipped`` and nothing else but its number and itself."""


def record_chunk(
    model: CoconutGPT2, problems: Sequence[ProsQAProblem], numbers: Sequence[int], *, n_thoughts: int, seed: int,
    pad: bool, n_states: int, done: Callable[[int], None] = lambda n: None,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:  # fmt: skip
    """Rows of the problems with these numbers, in order, and the states of those numbered below ``n_states``.

    ``done`` is told before every batch but the first how many of the problems are through, and may raise to stop.
    A problem's prompt depends on (seed, number) alone. Problems the model cannot take become rows with a reason.
    States: ``number`` (n), ``states`` ``n L+1 K+1 n_embd`` float32 (the residual stream, layer L after ``ln_f``),
    ``slots`` ``n n_keys``: the node that has each key, -1 for none, and ``embedding`` ``n_keys n_embd``: of each key.
    """
    codec = model.codec
    rows: dict[int, dict[str, Any]] = {}
    prompts: dict[int, Prompt] = {}
    for number, problem in zip(numbers, problems, strict=True):
        row = {name: None for name in SCHEMA.names} | {"number": number, "problem": graph_json(problem)}
        rows[number] = row
        try:
            size = model.config.padding_for(problem) if pad else None
            model.config.check_fits(problem, n_thoughts, generates=True)
        except InputError as error:
            row["skipped"] = str(error)
            continue
        prompts[number] = codec.prompt(problem, np.random.default_rng([seed, number]), pad_to=size)
    order = sorted(prompts, key=lambda number: (len(prompts[number].input_ids), number))
    states: dict[int, np.ndarray] = {}
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        if start:
            done(len(problems) - len(order) + start)
        found, of_batch = _record_batch(model, [prompts[number] for number in batch], batch, n_thoughts, n_states)
        for number, values in zip(batch, found, strict=True):
            rows[number] |= values
        states |= of_batch
    kept_numbers = sorted(states)
    shape = (len(states), model.config.n_layer + 1, n_thoughts + 1, model.config.n_embd)
    whole, slots = np.zeros(shape, np.float32), np.full((len(states), codec.n_keys), -1, np.int64)
    for i, number in enumerate(kept_numbers):
        whole[i] = states[number]
        for node, key in enumerate(prompts[number].keys):
            if key != NO_KEY:
                slots[i, key] = node
    embedding = key_vectors(model).float().cpu().numpy()
    kept: dict[str, np.ndarray] = {
        "number": np.array(kept_numbers, np.int64),
        "states": whole,
        "slots": slots,
        "embedding": embedding,
    }
    return [rows[number] for number in numbers], kept


@torch.inference_mode()
def _record_batch(
    model: CoconutGPT2, prompts: Sequence[Prompt], numbers: Sequence[int], n_thoughts: int, n_states: int
) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
    batch = model.codec.collate(prompts).to(model.device)
    trace = model.think(batch, n_thoughts)
    replayed = replay(model, batch, trace)
    found, forced = node_log_probs(model, trace, prompts), forced_answers(model, trace, prompts)
    marker = found.special[..., list(model.codec.special).index(model.codec.answer_mark)]
    lens = [vector_log_probs(model, model.transformer.ln_f(layer), prompts).logit for layer in replayed.residual]
    written = generated_answers(model, trace, prompts)
    unit = torch.nn.functional.normalize(trace.states, dim=-1)
    similarity = (unit @ unit.transpose(1, 2)).cpu().numpy()
    embedding_norm = float(key_vectors(model).norm(dim=-1).mean())
    mapped = [i for i, number in enumerate(numbers) if number < N_COPY_MAPS]
    maps: dict[int, list[float]] = {}
    if mapped:
        index = torch.tensor(mapped, device=batch.input_ids.device)
        part = type(batch)(batch.input_ids[index], batch.attention_mask[index])
        copied = copy_map(model, part, [prompts[i] for i in mapped]).cpu()
        maps = {i: copied[j].flatten().tolist() for j, i in enumerate(mapped)}
    rows = []
    for i, prompt in enumerate(prompts):
        problem, n, texts = prompt.problem, prompt.problem.n_nodes, written[i]
        rows.append(
            {
                "blind_rule": shortcut_baseline(problem),
                "slots": list(prompt.keys),
                "n_filler": prompt.n_distractors,
                "category": [
                    CATEGORIES.index(categorise(problem, text, k // model.config.c_thought))
                    for k, text in enumerate(texts)
                ],
                "answer": [text.answer for text in texts],
                "path": [list(text.path) for text in texts],
                "p_target": forced.p_target[i].tolist(),
                "p_neg_target": forced.p_other[i].tolist(),
                "logit": found.logit[i, :, :n].ravel().tolist(),
                "log_norm": found.log_norm[i].tolist(),
                "p_answer_marker": marker[i].tolist(),
                "norm": found.norm[i].tolist(),
                "embedding_norm": embedding_norm,
                "similarity": similarity[i].ravel().tolist(),
                "lens": np.stack([layer[i, :, :n] for layer in lens]).ravel().tolist(),
                "edge_attention": edge_attention(replayed, batch, i, prompt).flatten().tolist(),
                "copy_map": maps.get(i),
            }
        )
    layers = torch.cat([replayed.residual, trace.states[None]]).float().cpu().numpy()
    return rows, {number: layers[:, i] for i, number in enumerate(numbers) if number < n_states}


# --- files ----------------------------------------------------------------------------------------------------------


def write_chunk(chunks: Chunks, i: int, rows: Sequence[dict[str, Any]], states: dict[str, np.ndarray]) -> None:
    """A chunk as two files, each whole or not at all; rows come last: a chunk is done once they are there."""
    with atomic_path(chunks.path(i, "safetensors")) as temporary:
        save_file(states, temporary)
    with atomic_path(chunks.path(i)) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), temporary, compression="zstd")


def merge(folder: Path, chunks: Chunks) -> None:
    """One ``rows.parquet`` and one ``states.safetensors`` of the folder's chunks, which are removed."""
    with atomic_path(folder / "states.safetensors") as temporary:
        parts = [load_file(chunks.path(i, "safetensors")) for i in range(chunks.n)]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in ("number", "states", "slots")}
        save_file(whole | {"embedding": parts[0]["embedding"]}, temporary)
    with (
        atomic_path(folder / "rows.parquet") as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
    ):
        for i in range(chunks.n):
            writer.write_table(pq.read_table(chunks.path(i), schema=SCHEMA))
    shutil.rmtree(chunks.folder)


# --- reading back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Recording:
    """A model's recording over the M problems it could take, as padded arrays.

    K thoughts, N = the most nodes of any graph, E = the most edges, L layers. Padding is NaN (or -1, or False).
    """

    name: str
    n_thoughts: int
    n_layer: int
    c_thought: int
    numbers: Ints
    """``M``: number of each problem in the data set."""
    problems: tuple[ProsQAProblem, ...]
    skipped: tuple[tuple[int, str], ...]
    """(number, reason) of each problem the model could not take."""
    columns: dict[str, list[Any]]
    states: dict[str, np.ndarray]
    """Of the first problems; see ``record_chunk``."""

    def __len__(self) -> int:
        return len(self.problems)

    # Answers

    @cached_property
    def category(self) -> Ints:
        """``M K+1``: index into CATEGORIES."""
        return self._by_k("category").astype(np.int64)

    @cached_property
    def answer(self) -> Ints:
        """``M K+1``: node answered, -1 for none."""
        return self._by_k("answer").astype(np.int64)

    @cached_property
    def correct(self) -> Bools:
        """``M K+1``: the target was answered in free generation after k thoughts."""
        return self.answer == np.array([problem.target for problem in self.problems])[:, None]

    @cached_property
    def p_target(self) -> Floats:
        """``M K+1``: probability of the target if [A] is written at once after k thoughts."""
        return self._by_k("p_target")

    @cached_property
    def p_neg_target(self) -> Floats:
        """``M K+1``: the same for the other candidate."""
        return self._by_k("p_neg_target")

    @cached_property
    def norm(self) -> Floats:
        """``M K+1``: Euclidean norm of h_k."""
        return self._by_k("norm")

    @cached_property
    def similarity(self) -> Floats:
        """``M K+1 K+1``: cosine between the states of one problem."""
        return self._by_k("similarity").reshape(len(self), self.n_thoughts + 1, self.n_thoughts + 1)

    # Nodes

    @cached_property
    def logit(self) -> Floats:
        """``M K+1 N``: logit, as in ``model.readout.NodeLogProbs``; NaN on padding."""
        return self._ragged("logit", self._n_nodes, self.n_thoughts + 1)

    @cached_property
    def value(self) -> Floats:
        """``M K+1 N``: value of a node after k thoughts, raw: the product of its tokens' probabilities (one token)."""
        return np.exp(self.logit - self._by_k("log_norm")[:, :, None])

    @cached_property
    def left_over(self) -> Floats:
        """``M K+1``: probability on anything that is no node of the graph."""
        return np.clip(1 - np.nansum(self.value, axis=2), 0, 1)

    @cached_property
    def lens(self) -> Floats:
        """``M L+1 K+1 N``: logits by layer; layer L is ``logit``."""
        below = self._ragged("lens", self._n_nodes, self.n_layer, self.n_thoughts + 1)
        return np.concatenate([below, self.logit[:, None]], axis=1)

    @cached_property
    def is_node(self) -> Bools:
        """``M N``: False on padding."""
        sizes = np.array(self._n_nodes, dtype=np.int64)
        return np.arange(sizes.max(initial=0)) < sizes[:, None]

    def of_nodes(self, facts: Sequence[Sequence[float]]) -> Floats:
        """``M N``: what is known of each problem's nodes, NaN on padding."""
        found = np.full(self.is_node.shape, np.nan)
        for row, values in enumerate(facts):
            found[row, : len(values)] = values
        return found

    @property
    def _n_nodes(self) -> list[int]:
        return [problem.n_nodes for problem in self.problems]

    @cached_property
    def distance(self) -> Floats:
        """``M N``: hops from the root, inf where unreachable, NaN on padding."""
        return self.of_nodes([problem.distance for problem in self.problems])

    @cached_property
    def other_distance(self) -> Floats:
        """``M N``: hops from the counterfactual question's root, inf where there is none, NaN on padding."""
        others = [problem.counterfactual for problem in self.problems]
        return self.of_nodes(
            [(np.inf,) * n if other is None else other.distance for n, other in zip(self._n_nodes, others, strict=True)]
        )

    @cached_property
    def distance_to_target(self) -> Floats:
        """``M N``: hops to the target, inf where it cannot be reached, NaN on padding."""
        return self.of_nodes([problem.distance_to_target for problem in self.problems])

    @cached_property
    def on_path(self) -> Bools:
        """``M N``: on a shortest path from the root to the target."""
        return self.distance + self.distance_to_target == self.n_hops[:, None]

    @cached_property
    def n_hops(self) -> Ints:
        """``M``: hops from the root to the target."""
        return np.array([problem.n_hops for problem in self.problems])

    def rows_with_states(self) -> list[int]:
        """Rows of the problems whose states are kept, in the order of ``states``."""
        place = {number: row for row, number in enumerate(self.numbers.tolist())}
        return [place[number] for number in self.states["number"].tolist()]

    # Edges

    @cached_property
    def edges(self) -> Ints:
        """``M E 2``: (source, target); -1 on padding."""
        found = np.full((len(self), max((len(p.edges) for p in self.problems), default=0), 2), -1)
        for row, problem in enumerate(self.problems):
            found[row, : len(problem.edges)] = problem.edges
        return found

    @cached_property
    def edge_attention(self) -> NDArray[np.float32]:
        """``M L K+1 E``: attention of the position of h_k to each edge, summed over heads and the edge's tokens."""
        sizes = [len(problem.edges) for problem in self.problems]
        return self._ragged("edge_attention", sizes, self.n_layer, self.n_thoughts + 1, dtype=np.float32)

    # Private

    def _by_k(self, column: str) -> Floats:
        values = self.columns[column]
        return np.array(values, dtype=np.float64).reshape(len(values), -1)

    def _ragged(self, column: str, sizes: Sequence[int], *lead: int, dtype: type = np.float64) -> NDArray:
        """``M *lead N`` from lists of ``*lead n``, n of each problem; NaN on padding."""
        found: NDArray = np.full((len(self), *lead, max(sizes, default=0)), np.nan, dtype=dtype)
        for row, (n, values) in enumerate(zip(sizes, self.columns[column], strict=True)):
            found[row, ..., :n] = np.reshape(values, (*lead, n))
        return found


def read_recording(
    folder: str | Path, *, name: str, n_thoughts: int, n_layer: int, c_thought: int, with_states: bool = True
) -> Recording:
    """A finished recording. Raises InputError if it is missing, damaged or of another version."""
    path = Path(folder) / "rows.parquet"
    for file in (path, path.with_name("states.safetensors")):
        check_regular(file)
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        if metadata.get(b"version") != str(VERSION).encode() or table.schema.names != SCHEMA.names:
            raise InputError(f"{path}: not a recording of version {VERSION}")
        states = load_file(Path(folder) / "states.safetensors") if with_states else {}
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    reasons = zip(table.column("number").to_pylist(), table.column("skipped").to_pylist(), strict=True)
    skipped = tuple((number, reason) for number, reason in reasons if reason is not None)
    table = table.filter(table.column("skipped").is_null())
    numeric = [name for name in SCHEMA.names if name not in ("problem", "number", "skipped")]
    return Recording(
        name=name,
        n_thoughts=n_thoughts,
        n_layer=n_layer,
        c_thought=c_thought,
        numbers=table.column("number").to_numpy().astype(np.int64),
        problems=tuple(ProsQAProblem.from_row(json.loads(text)) for text in table.column("problem").to_pylist()),
        skipped=skipped,
        columns={name: _lists(table.column(name)) for name in numeric},
        states=states,
    )


def _lists(column: pa.ChunkedArray) -> list[Any]:
    # Lists of numbers stay arrays: as Python lists 10,000 problems would not fit in memory.
    flat = column.combine_chunks()
    if pa.types.is_list(flat.type) and not pa.types.is_list(flat.type.value_type):
        values = flat.values.to_numpy(zero_copy_only=False)
        offsets = flat.offsets.to_numpy()
        return [
            values[start:end] if valid else None
            for start, end, valid in zip(offsets, offsets[1:], flat.is_valid().to_pylist(), strict=False)
        ]
    return flat.to_pylist()
