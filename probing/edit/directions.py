"""Node directions: how a node is written in thought t, fitted on many problems.

The model of a thought is additive over keys (what the model knows a node by, ``model.codec.Prompt.keys``)::

    thought t  ~  base_t + sum over keys s in the frontier of w_t(s)

where the frontier is the set of nodes at distance t from the root. Three estimators of ``w_t(s)``, all of shape
``n_thoughts n_keys n_embd``:

- ``ridge``: ridge regression of the thought on the 0/1 membership of the keys, with one direction shared by all
  keys beside the keys' own. Keys are exchangeable, so what they have in common is estimated from all of them.
- ``difference``: mean thought with the key in the frontier minus mean thought without it.
- ``unembedding``: the key's vector (``model.readout.key_vectors``: what the logit lens reads), times one length per
  thought fitted by least squares. No direction is fitted at all.

Beside them, if asked for, the **null space** of every key (``null_space``; INLP, Ravfogel et al. 2020): r orthonormal
directions, each the least-squares classifier of membership in what the ones before it leave of the thought.

The same directions **read**: with the residual covariance ``C`` (Ledoit-Wolf) the generalised least-squares estimate
of the coefficients of a thought ``y`` is ``(W C^-1 W^T)^-1 W C^-1 (y - base)``; a node counts as active when its
coefficient exceeds one threshold per thought. Fit and threshold come from one set of problems, scores from another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import fingerprint, tensor_bytes
from model.coconut import CoconutGPT2
from model.codec import NO_KEY, Prompt
from model.errors import InputError
from model.files import atomic_path, short_hash
from model.problems.prosqa import ProsQAProblem, digest
from model.readout import key_vectors
from model.stats import Estimate, Floats, share, sure
from model.values import Progress, Value, silent
from probing.edit.batch import clean_run, n_thoughts_of, prompt_batches

ESTIMATORS = ("ridge", "difference", "unembedding")
FILE_NAME = "directions.safetensors"
HOW_TO_FIT = "fit with: python -m probing directions --checkpoint DIR --data FILE"
MIN_FIT = 200
"""Problems with a node at distance t that a fit of thought t needs; with fewer, its directions are not defined."""


class ReadingScore(Value):
    """How well one estimator describes and reads one thought, on problems that were not fitted on."""

    estimator: str
    thought: int
    n_fit: int
    """Fitted problems with a node at distance t."""
    n: int
    """Held-out problems with a node at distance t."""
    r2: float
    """Share of the held-out thoughts' variance (about the fitted mean) that base + sum of directions explains."""
    exact: Estimate
    """Share of held-out thoughts whose active nodes are exactly the true frontier."""
    exact_other: float
    """The control: they are exactly the frontier of the counterfactual question about the same graph."""
    chance: float
    """Mean probability that a random set of the right size is exactly the frontier."""

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, values: Any) -> Any:
        """``exact`` as a number beside ``exact_ci95``, as older files have it."""
        if not isinstance(values, dict) or "exact_ci95" not in values:
            return values
        rest = {key: value for key, value in values.items() if key != "exact_ci95"}
        return rest | {"exact": {"value": values.get("exact"), "ci95": values["exact_ci95"], "n": values.get("n")}}


class SymmetryScore(Value):
    """Are keys exchangeable in thought t? Then the Gram matrix of the directions has one diagonal and one
    off-diagonal value, and these spreads are sampling error only."""

    thought: int
    norm_mean: float
    norm_spread: float
    """Standard deviation of the norms over their mean."""
    cosine_mean: float
    cosine_spread: float
    """Standard deviation of the cosine between two keys' directions."""
    common_share: float
    """Share of the directions' squared length that lies in their mean; 1 / n_keys for orthogonal directions."""
    to_unembedding: float
    """Mean cosine of a key's direction with its own unembedding vector."""
    to_other_unembedding: float
    """The control: mean cosine with another key's vector."""


class About(Value):
    """How directions were fitted and how well: what their file holds beside tensors."""

    called: ClassVar[str] = "node directions"

    version: Literal[1] = 1
    fingerprint: str
    """Of the checkpoint they were fitted on."""
    n_problems: int
    seed: int
    ridge_lambda: float
    thresholds: dict[str, tuple[float | None, ...]]
    """Per estimator and thought; None where not defined."""
    scores: tuple[ReadingScore, ...]
    symmetry: tuple[SymmetryScore, ...]
    seen: tuple[str, ...] | None = None
    """A short hash of every problem that was fitted or scored on; None in files of older versions."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Everything fitted on one checkpoint. Tensors are float32 on the CPU, rounded to what is stored (float16).

    T thoughts, S keys: ``mean`` is ``T n_embd``; ``base`` is ``T n_embd`` and ``vectors``, ``readout_vectors`` are
    ``T S n_embd`` per estimator; ``bank`` is ``N T n_embd``, the thoughts of some problems, to resample from.
    """

    about: About
    mean: Tensor
    bank: Tensor
    base: dict[str, Tensor]
    vectors: dict[str, Tensor]
    readout_vectors: dict[str, Tensor]
    null_space: Tensor | None = None
    """``T S r n_embd``, orthonormal over r; None where not fitted."""

    @property
    def n_thoughts(self) -> int:
        return self.mean.shape[0]

    @cached_property
    def defined(self) -> tuple[int, ...]:
        """Thoughts whose directions could be fitted (enough problems had a node at that distance)."""
        vectors = self.vectors[ESTIMATORS[0]]
        return tuple(t for t in range(1, self.n_thoughts + 1) if bool(torch.isfinite(vectors[t - 1]).all()))

    @cached_property
    def digest(self) -> str:
        """A short hash of what was fitted: two fits of one checkpoint differ in it."""
        tensors = (self.mean, self.bank, *self.base.values(), *self.vectors.values())
        return short_hash([self.about.fingerprint.encode(), *map(tensor_bytes, tensors)])

    def check_fits(self, model: CoconutGPT2) -> None:
        """Raise InputError unless these were fitted on this very model, and every tensor has the shape of its."""
        if self.about.fingerprint != fingerprint(model):
            raise InputError(f"the node directions were fitted on another checkpoint; for this one, {HOW_TO_FIT}")
        width, keys = model.config.n_embd, model.codec.n_keys
        shape = (self.n_thoughts if self.mean.ndim else 0, keys, width)
        tensors = [("mean", self.mean, shape[::2]), ("bank", self.bank, (None, *shape[::2]))]
        tensors += [(f"base.{name}", tensor, shape[::2]) for name, tensor in self.base.items()]
        tensors += [(f"vectors.{name}", tensor, shape) for name, tensor in self.vectors.items()]
        tensors += [(f"readers.{name}", tensor, shape) for name, tensor in self.readout_vectors.items()]
        if self.null_space is not None:
            tensors.append(("null_space", self.null_space, (*shape[:2], None, width)))
        for name, tensor, wanted in tensors:
            found = tuple(tensor.shape)
            if len(found) != len(wanted) or any(b not in (None, a) for a, b in zip(found, wanted, strict=True)):
                raise InputError(
                    f"the node directions are damaged: {name} is {found}, expected {wanted}; for this checkpoint, "
                    f"{HOW_TO_FIT}"
                )

    def check_unseen(self, problems: Sequence[ProsQAProblem]) -> None:
        """Raise InputError if any of these is a problem that the directions were fitted or scored on."""
        seen = set(self.about.seen or ())
        n = sum(problem_hash(problem) in seen for problem in problems)
        if n:
            raise InputError(
                f"{n:,} of the {len(problems):,} problems are among those that the node directions were fitted on; "
                "give others"
            )

    def coefficients(self, thoughts: Tensor, t: int, estimator: str = "ridge") -> Tensor:
        """``... n_keys``: how much of each key's direction is in thoughts t (``... n_embd``); 1 is as fitted."""
        return (thoughts.cpu() - self.base[estimator][t - 1]) @ self.readout_vectors[estimator][t - 1].T

    def active(self, thoughts: Tensor, t: int, estimator: str = "ridge") -> Tensor:
        """``... n_keys`` (bool): keys whose coefficient exceeds the threshold of thought t."""
        threshold = self.about.thresholds[estimator][t - 1]
        return self.coefficients(thoughts, t, estimator) > (math.inf if threshold is None else threshold)

    def of_nodes(self, thoughts: Tensor, prompts: Sequence[Prompt]) -> Floats:
        """``B K N``: coefficients of each problem's nodes in thoughts 1..K (``B K n_embd``); NaN where not defined."""
        size = (len(prompts), thoughts.shape[1], max(prompt.problem.n_nodes for prompt in prompts))
        found = np.full(size, np.nan)
        for t in self.defined:
            if t <= thoughts.shape[1]:
                of_keys = self.coefficients(thoughts[:, t - 1], t).double().numpy()
                for row, prompt in enumerate(prompts):
                    keys = np.array(prompt.keys)
                    found[row, t - 1, : len(keys)] = np.where(keys == NO_KEY, np.nan, of_keys[row, keys])
        return found


@dataclass(frozen=True, eq=False)
class Sample:
    """Thoughts of N problems with the sets they should hold. K thoughts, S keys."""

    thoughts: np.ndarray
    """``N K n_embd``: what they hold (``CoconutGPT2.held``)."""
    frontier: np.ndarray
    """``N K S`` (bool): keys at distance t from the root."""
    other: np.ndarray
    """``N K S`` (bool): the same for the counterfactual question about the same graph; empty where there is none."""
    present: np.ndarray
    """``N S`` (bool): keys that are nodes of the graph."""
    hashes: tuple[str, ...]
    """Of the problems."""


def problem_hash(problem: ProsQAProblem) -> str:
    """What a problem is told by among those seen: 12 hex digits of ``model.problems.prosqa.digest``."""
    return digest([problem])[:12]


def collect(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    *,
    seed: int,
    batch_size: int = 64,
    progress: Progress = silent,
    what: str = "thoughts",
) -> Sample:
    """Clean thoughts of every problem under one prompt sample each (sample i from (seed, i)), and their frontiers."""
    n_thoughts, n_keys = n_thoughts_of(model), model.codec.n_keys
    frontier, other = (np.zeros((len(problems), n_thoughts, n_keys), bool) for _ in range(2))
    present = np.zeros((len(problems), n_keys), bool)
    thoughts = np.zeros((len(problems), n_thoughts, model.config.n_embd), np.float32)
    for rows, prompts in prompt_batches(model, problems, seed=seed, size=batch_size):
        run = clean_run(model, prompts, rows)
        thoughts[rows] = model.held(run.trace).float().cpu().numpy()
        for row, prompt in zip(rows, prompts, strict=True):
            keys = np.array([prompt.key(node) for node in range(prompt.problem.n_nodes)])
            present[row, keys] = True
            for problem, members in ((prompt.problem, frontier), (prompt.problem.counterfactual, other)):
                if problem is not None:
                    for t in range(1, n_thoughts + 1):
                        members[row, t - 1, keys[sorted(problem.frontier(t))]] = True
        progress(what, rows.stop, len(problems))
    return Sample(thoughts, frontier, other, present, tuple(map(problem_hash, problems)))


def fit(
    model: CoconutGPT2,
    sample: Sample,
    held_out: Sample,
    *,
    seed: int,
    ridge_lambda: float = 1.0,
    n_bank: int = 64,
    n_null: int = 0,
) -> Directions:
    """Fit all estimators on ``sample`` and score them on ``held_out``; ``n_null``: rank of the null spaces, 0 for none.

    Raises InputError if not even thought 1 has MIN_FIT problems with a node at its distance.
    """
    n_problems, n_thoughts, n_keys = sample.frontier.shape
    counts = sample.frontier.any(axis=2).sum(axis=0)
    if counts[0] < MIN_FIT:
        raise InputError(f"node directions need at least {MIN_FIT} problems to fit on; got {counts[0]}")
    unembedding, n_embd = key_vectors(model).float().cpu().numpy(), sample.thoughts.shape[2]
    base, vectors, readout_vectors = (
        {name: torch.full(shape, torch.nan) for name in ESTIMATORS}
        for shape in ((n_thoughts, n_embd), *[(n_thoughts, n_keys, n_embd)] * 2)
    )
    thresholds: dict[str, list[float | None]] = {name: [None] * n_thoughts for name in ESTIMATORS}
    null_space = torch.full((n_thoughts, n_keys, n_null, n_embd), torch.nan) if n_null else None
    scores, symmetry = [], []
    for t in range(1, n_thoughts + 1):
        some = sample.frontier[:, t - 1].any(axis=1)
        if some.sum() < MIN_FIT:
            continue
        x, y = sample.frontier[some, t - 1].astype(np.float32), sample.thoughts[some, t - 1]
        for name in ESTIMATORS:
            w, b = map(_stored, _estimate(name, x, y, unembedding, ridge_lambda))
            readout = _stored(_readout_vectors(w, y - b - x @ w))
            threshold = _best_threshold((y - b) @ readout.T, sample.frontier[some, t - 1], sample.present[some])
            for table, found in ((base, b), (vectors, w), (readout_vectors, readout)):
                table[name][t - 1] = torch.from_numpy(found)
            thresholds[name][t - 1] = threshold
            if held_out.frontier[:, t - 1].any():
                scores.append(_score(name, t, y, held_out, w, b, readout, threshold))
            if name == "ridge" and np.isfinite(w).all():
                symmetry.append(_symmetry(t, w, unembedding))
        if null_space is not None:
            null_space[t - 1] = _null_spaces(x, y, n_null, ridge_lambda)
    keep = np.random.default_rng([seed, 1]).permutation(n_problems)[:n_bank]
    return Directions(
        about=About(
            fingerprint=fingerprint(model),
            n_problems=n_problems,
            seed=seed,
            ridge_lambda=ridge_lambda,
            thresholds={name: tuple(value) for name, value in thresholds.items()},
            scores=tuple(scores),
            symmetry=tuple(symmetry),
            seen=(*sample.hashes, *held_out.hashes),
        ),
        mean=torch.from_numpy(_stored(sample.thoughts.mean(axis=0))),
        bank=torch.from_numpy(_stored(sample.thoughts[np.sort(keep)])),
        base=base,
        vectors=vectors,
        readout_vectors=readout_vectors,
        null_space=null_space,
    )


def save(directions: Directions, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all."""
    tensors = {"mean": directions.mean, "bank": directions.bank}
    for key, of_name in _TENSORS.items():
        tensors |= {f"{key}.{name}": tensor for name, tensor in getattr(directions, of_name).items()}
    if directions.null_space is not None:
        tensors["null_space"] = directions.null_space
    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.half().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"directions": directions.about.model_dump_json()},
        )


def load(path: str | Path) -> Directions:
    """Directions as ``save`` wrote them. Raises InputError if the file is missing, damaged or something else."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no node directions there; {HOW_TO_FIT}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get("directions", "null")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged or not safetensors ({error})") from None
    about = About.parse(metadata, where=str(path))
    try:
        of_name = {field: {name: tensors[f"{key}.{name}"] for name in ESTIMATORS} for key, field in _TENSORS.items()}
        return Directions(
            about=about, mean=tensors["mean"], bank=tensors["bank"], **of_name, null_space=tensors.get("null_space")
        )
    except KeyError as error:
        raise InputError(f"{path}: not node directions (no tensor {error})") from None


# --- private --------------------------------------------------------------------------------------------------------

_TENSORS = {"base": "base", "vectors": "vectors", "readers": "readout_vectors"}
"""Name in the file to field."""


def _stored(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def _estimate(
    name: str, x: np.ndarray, y: np.ndarray, unembedding: np.ndarray, ridge_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """(vectors ``n_keys n_embd``, base ``n_embd``) from membership ``N n_keys`` and thoughts ``N n_embd``."""
    if name == "ridge":
        from sklearn.linear_model import (
            Ridge,  # not at the top: it takes half a second, and few who read directions fit
        )

        design = np.concatenate([x, x.sum(axis=1, keepdims=True)], axis=1)
        ridge = Ridge(alpha=ridge_lambda).fit(design, y)
        w = ridge.coef_[:, :-1].T + ridge.coef_[:, -1]
    elif name == "difference":
        n_with = x.sum(axis=0)[:, None]
        total = y.sum(axis=0)
        with_key = x.T @ y
        # A key that was never (or always) in the frontier has nothing to compare: no direction.
        both = (n_with > 0) & (n_with < len(x))
        w = np.where(both, with_key / np.maximum(n_with, 1) - (total - with_key) / np.maximum(len(x) - n_with, 1), 0.0)
    else:
        spread, centred = (x - x.mean(axis=0)) @ unembedding, y - y.mean(axis=0)
        w = unembedding * float((spread * centred).sum() / (spread * spread).sum())
    return w.astype(np.float32), (y.mean(axis=0) - x.mean(axis=0) @ w).astype(np.float32)


def _null_spaces(x: np.ndarray, y: np.ndarray, rank: int, ridge_lambda: float) -> Tensor:
    """``n_keys rank n_embd`` from membership ``N n_keys`` and thoughts ``N n_embd``."""
    thoughts, members = (torch.from_numpy(each - each.mean(axis=0)).double() for each in (y, x))
    gram, with_key = thoughts.T @ thoughts, thoughts.T @ members
    kept = torch.eye(len(gram), dtype=gram.dtype)
    found = []
    for key in range(members.shape[1]):
        left, directions = kept, list[Tensor]()
        for _ in range(rank):
            direction = torch.linalg.solve(left @ gram @ left + ridge_lambda * kept, left @ with_key[:, key])
            direction = left @ direction / (left @ direction).norm().clamp(min=1e-12)
            left = left - torch.outer(direction, direction)
            directions.append(direction)
        found.append(torch.stack(directions))
    return torch.stack(found).half().float()


def _readout_vectors(w: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Generalised least-squares reading vectors, ``n_keys n_embd``."""
    from sklearn.covariance import ledoit_wolf  # as Ridge

    covariance, _ = ledoit_wolf(residual.astype(np.float64))
    covariance += (1e-6 * np.trace(covariance) / len(covariance) + 1e-9) * np.eye(len(covariance))
    whitened = np.linalg.solve(covariance, w.T.astype(np.float64)).T
    # Keys that share tokens have dependent directions up to rounding: what cannot be told apart is not told apart.
    return (np.linalg.pinv(w @ whitened.T, rcond=1e-6) @ whitened).astype(np.float32)


def _best_threshold(coefficients: np.ndarray, members: np.ndarray, present: np.ndarray) -> float:
    grid = np.linspace(0.2, 0.8, 61)
    exact = [float((((coefficients > level) & present) == members).all(axis=1).mean()) for level in grid]
    best = np.flatnonzero(np.array(exact) == max(exact))
    return float(grid[best[len(best) // 2]])


def _score(
    name: str, t: int, fitted: np.ndarray, held_out: Sample, w: np.ndarray, b: np.ndarray, readout: np.ndarray,
    threshold: float,
) -> ReadingScore:  # fmt: skip
    """``fitted``: the thoughts fitted on, ``n_fit n_embd``."""
    some = held_out.frontier[:, t - 1].any(axis=1)
    y, members, present = held_out.thoughts[some, t - 1], held_out.frontier[some, t - 1], held_out.present[some]
    active = ((y - b) @ readout.T > threshold) & present
    sizes = zip(present.sum(axis=1).tolist(), members.sum(axis=1).tolist(), strict=True)
    total = float(((y - fitted.mean(axis=0)) ** 2).sum())
    return ReadingScore(
        estimator=name,
        thought=t,
        n_fit=len(fitted),
        n=len(y),
        r2=1 - float(((y - b - members.astype(np.float32) @ w) ** 2).sum()) / total if total > 0 else 0.0,
        exact=sure(share((active == members).all(axis=1))),
        exact_other=float((active == held_out.other[some, t - 1]).all(axis=1).mean()),
        chance=float(np.mean([1 / math.comb(n, k) for n, k in sizes])),
    )  # fmt: skip


def _symmetry(t: int, w: np.ndarray, unembedding: np.ndarray) -> SymmetryScore:
    norms = np.linalg.norm(w, axis=1)
    unit = w / np.maximum(norms, 1e-12)[:, None]
    off = ~np.eye(len(w), dtype=bool)
    cosines = (unit @ unit.T)[off]
    unit_u = unembedding / np.linalg.norm(unembedding, axis=1, keepdims=True)
    to_u = unit @ unit_u.T
    return SymmetryScore(
        thought=t,
        norm_mean=float(norms.mean()),
        norm_spread=float(norms.std() / max(norms.mean(), 1e-12)),
        cosine_mean=float(cosines.mean()),
        cosine_spread=float(cosines.std()),
        common_share=float((w.mean(axis=0) ** 2).sum() * len(w) / max((w**2).sum(), 1e-12)),
        to_unembedding=float(np.diag(to_u).mean()),
        to_other_unembedding=float(to_u[off].mean()),
    )
