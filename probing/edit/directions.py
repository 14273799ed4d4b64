"""Write directions: how a node is written in thought t, fitted on many problems.

The model of a thought is additive over slots (the notation of ``model.codec``)::

    thought t  ~  base_t + sum over slots s in the frontier of w_t(s)

where the frontier is the set of nodes at distance t from the root. Three estimators of ``w_t(s)``, all of shape
``n_thoughts n_slots n_embd``:

- ``ridge``: ridge regression of the thought on the 0/1 membership of the slots, with one direction shared by all
  slots beside the slots' own. Slots are exchangeable, so what they have in common is estimated from all of them.
- ``difference``: mean thought with the slot in the frontier minus mean thought without it.
- ``unembedding``: the slot's row of the unembedding matrix (what the logit lens reads), times one length per thought
  fitted by least squares. No direction is fitted at all.

The same directions **read**: with the residual covariance ``C`` (Ledoit-Wolf) the generalised least-squares estimate
of the membership weights of a thought ``y`` is ``(W C^-1 W^T)^-1 W C^-1 (y - base)``; a node counts as held when its
weight exceeds one threshold per thought. Fit and threshold come from one set of problems, every score from another.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import Ridge
from torch import Tensor

from model.checkpoint import fingerprint as fingerprint
from model.coconut import CoconutGPT2
from model.codec_slots import FIRST_SLOT
from model.errors import InputError
from model.files import atomic_path
from model.problems.prosqa import ProsQAProblem
from model.stats import wilson
from probing.edit.batch import clean_run, draw_prompt, n_thoughts_of

ESTIMATORS = ("ridge", "difference", "unembedding")
FILE_NAME = "directions.safetensors"
VERSION = 1
MIN_FIT = 200
"""Problems with a node at distance t that a fit of thought t needs; with fewer, its directions are not defined."""


@dataclass(frozen=True)
class ReadingScore:
    """How well one estimator describes and reads one thought, on problems that were not fitted on."""

    estimator: str
    thought: int
    n_fit: int
    """Fitted problems with a node at distance t."""
    n: int
    """Held-out problems with a node at distance t."""
    r2: float
    """Share of the held-out thoughts' variance (about the fitted mean) that base + sum of directions explains."""
    exact: float
    """Share of held-out thoughts whose decoded node set is exactly the true frontier."""
    exact_ci95: tuple[float, float]
    """Wilson interval of ``exact``."""
    exact_other: float
    """The control: the decoded set is exactly the frontier of the other question about the same graph."""
    chance: float
    """Mean probability that a random set of the right size is exactly the frontier."""


@dataclass(frozen=True)
class SymmetryScore:
    """Are slots exchangeable in thought t? Then the Gram matrix of the directions has one diagonal and one
    off-diagonal value, and these spreads are sampling error only."""

    thought: int
    norm_mean: float
    norm_spread: float
    """Standard deviation of the 40 norms over their mean."""
    cosine_mean: float
    cosine_spread: float
    """Standard deviation of the cosine between two slots' directions."""
    common_share: float
    """Share of the directions' squared length that lies in their mean; 1 / n_slots for orthogonal directions."""
    to_unembedding: float
    """Mean cosine of a slot's direction with its own unembedding row."""
    to_other_unembedding: float
    """The control: mean cosine with another slot's row."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Everything fitted on one checkpoint. Tensors are float32 on the CPU, rounded to what is stored (float16).

    T thoughts, S slots: ``mean`` is ``T n_embd``; ``base`` is ``T n_embd`` and ``vectors``, ``readers`` are
    ``T S n_embd`` per estimator; ``bank`` is ``N T n_embd``, the thoughts of some problems, to resample from.
    """

    fingerprint: str
    """Of the checkpoint they were fitted on."""
    n_problems: int
    seed: int
    ridge_lambda: float
    mean: Tensor
    bank: Tensor
    base: dict[str, Tensor]
    vectors: dict[str, Tensor]
    readers: dict[str, Tensor]
    thresholds: dict[str, tuple[float, ...]]
    scores: tuple[ReadingScore, ...]
    symmetry: tuple[SymmetryScore, ...]

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
        digest = hashlib.sha256(self.fingerprint.encode())
        for tensor in (self.mean, self.bank, *self.base.values(), *self.vectors.values()):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def check_fits(self, model: CoconutGPT2) -> None:
        """Raise InputError unless these were fitted on this very model."""
        if self.fingerprint != fingerprint(model):
            raise InputError(
                "the write directions were fitted on another checkpoint; "
                "fit this one with: python -m probing directions --checkpoint DIR --data FILE"
            )

    def weights(self, thoughts: Tensor, t: int, estimator: str = "ridge") -> Tensor:
        """``... n_slots``: how much of each slot's direction thoughts t (``... n_embd``) hold; 1 is as fitted."""
        return (thoughts.cpu() - self.base[estimator][t - 1]) @ self.readers[estimator][t - 1].T

    def held(self, thoughts: Tensor, t: int, estimator: str = "ridge") -> Tensor:
        """``... n_slots`` (bool): slots whose weight exceeds the threshold of thought t."""
        return self.weights(thoughts, t, estimator) > self.thresholds[estimator][t - 1]


@dataclass(frozen=True, eq=False)
class Sample:
    """Thoughts of N problems with the sets they should hold. K thoughts, S slots."""

    thoughts: np.ndarray
    """``N K n_embd``: h_0..h_(K-1)."""
    frontier: np.ndarray
    """``N K S`` (bool): slots at distance t from the root."""
    other: np.ndarray
    """``N K S`` (bool): the same for the other question about the same graph; empty where there is none."""
    present: np.ndarray
    """``N S`` (bool): slots that are nodes of the graph."""


def collect(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    *,
    seed: int,
    batch_size: int = 64,
    progress: Callable[[Iterable[range]], Iterable[range]] = iter,
) -> Sample:
    """Clean thoughts of every problem under one draw each (draw i from (seed, i)), and their frontiers."""
    n_thoughts, n_slots = n_thoughts_of(model), model.codec.n_keys
    shape = (len(problems), n_thoughts, n_slots)
    frontier, other = np.zeros(shape, bool), np.zeros(shape, bool)
    present = np.zeros((len(problems), n_slots), bool)
    thoughts = np.zeros((len(problems), n_thoughts, model.config.n_embd), np.float32)
    for rows in progress(list(batches(len(problems), batch_size))):
        prompts = [draw_prompt(model, problems[row], seed=seed, number=row) for row in rows]
        run = clean_run(model, prompts, rows)
        thoughts[rows] = run.trace.states[:, :-1].float().cpu().numpy()
        for row, prompt in zip(rows, prompts, strict=True):
            slots = np.array(prompt.draw.slots)
            present[row, slots] = True
            for problem, members in ((prompt.problem, frontier), (prompt.problem.counterfactual, other)):
                if problem is not None:
                    for t in range(1, n_thoughts + 1):
                        members[row, t - 1, slots[sorted(problem.frontier(t))]] = True
    return Sample(thoughts, frontier, other, present)


def fit(
    model: CoconutGPT2,
    sample: Sample,
    held_out: Sample,
    *,
    seed: int,
    ridge_lambda: float = 1.0,
    n_bank: int = 64,
) -> Directions:
    """Fit all estimators on ``sample`` and score them on ``held_out``.

    Raises InputError if not even thought 1 has MIN_FIT problems with a node at its distance.
    """
    n_problems, n_thoughts, n_slots = sample.frontier.shape
    counts = sample.frontier.any(axis=2).sum(axis=0)
    if counts[0] < MIN_FIT:
        raise InputError(f"write directions need at least {MIN_FIT} problems to fit on; got {counts[0]}")
    unembedding = model.lm_head.weight[FIRST_SLOT : FIRST_SLOT + n_slots].detach().float().cpu().numpy()
    n_embd = sample.thoughts.shape[2]
    base = {name: np.full((n_thoughts, n_embd), np.nan, np.float32) for name in ESTIMATORS}
    vectors = {name: np.full((n_thoughts, n_slots, n_embd), np.nan, np.float32) for name in ESTIMATORS}
    readers = {name: np.full((n_thoughts, n_slots, n_embd), np.nan, np.float32) for name in ESTIMATORS}
    thresholds = {name: [math.nan] * n_thoughts for name in ESTIMATORS}
    scores = []
    for t in range(1, n_thoughts + 1):
        some = sample.frontier[:, t - 1].any(axis=1)
        if some.sum() < MIN_FIT:
            continue
        x, y = sample.frontier[some, t - 1].astype(np.float32), sample.thoughts[some, t - 1]
        new: np.ndarray = np.asarray(held_out.frontier[:, t - 1].any(axis=1))
        for name in ESTIMATORS:
            w, b = _estimate(name, x, y, unembedding, ridge_lambda)
            w, b = _stored(w), _stored(b)
            reader = _stored(_reader(w, y - b - x @ w))
            threshold = _best_threshold((y - b) @ reader.T, sample.frontier[some, t - 1], sample.present[some])
            base[name][t - 1], vectors[name][t - 1], readers[name][t - 1] = b, w, reader
            thresholds[name][t - 1] = threshold
            if not new.any():
                continue
            mean = y.mean(axis=0)
            scores.append(_score(name, t, int(some.sum()), held_out, new, w, b, reader, threshold, mean))
    symmetry = tuple(
        _symmetry(t, vectors["ridge"][t - 1], unembedding)
        for t in range(1, n_thoughts + 1)
        if np.isfinite(vectors["ridge"][t - 1]).all()
    )
    keep = np.random.default_rng([seed, 1]).permutation(n_problems)[:n_bank]
    return Directions(
        fingerprint=fingerprint(model),
        n_problems=n_problems,
        seed=seed,
        ridge_lambda=ridge_lambda,
        mean=torch.from_numpy(_stored(sample.thoughts.mean(axis=0))),
        bank=torch.from_numpy(_stored(sample.thoughts[np.sort(keep)])),
        base={name: torch.from_numpy(value) for name, value in base.items()},
        vectors={name: torch.from_numpy(value) for name, value in vectors.items()},
        readers={name: torch.from_numpy(value) for name, value in readers.items()},
        thresholds={name: tuple(value) for name, value in thresholds.items()},
        scores=tuple(scores),
        symmetry=symmetry,
    )


def save(directions: Directions, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all."""
    tensors = {"mean": directions.mean, "bank": directions.bank}
    for name in ESTIMATORS:
        tensors |= {
            f"base.{name}": directions.base[name],
            f"vectors.{name}": directions.vectors[name],
            f"readers.{name}": directions.readers[name],
        }
    header = {
        "version": VERSION,
        "fingerprint": directions.fingerprint,
        "n_problems": directions.n_problems,
        "seed": directions.seed,
        "ridge_lambda": directions.ridge_lambda,
        "thresholds": {
            name: [None if math.isnan(v) else v for v in values] for name, values in directions.thresholds.items()
        },
        "scores": [asdict(score) for score in directions.scores],
        "symmetry": [asdict(score) for score in directions.symmetry],
    }
    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.half().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"directions": json.dumps(header, allow_nan=False)},
        )


def load(path: str | Path) -> Directions:
    """Directions as ``save`` wrote them. Raises InputError if the file is missing, damaged or something else."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no write directions there; "
            "fit them with: python -m probing directions --checkpoint DIR --data FILE"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get("directions")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged or not safetensors ({error})") from None
    try:
        header = json.loads(metadata or "null")
        if header["version"] != VERSION:
            raise InputError(f"{path}: write directions of version {header['version']}; this program reads {VERSION}")
        return Directions(
            fingerprint=header["fingerprint"],
            n_problems=header["n_problems"],
            seed=header["seed"],
            ridge_lambda=header["ridge_lambda"],
            mean=tensors["mean"],
            bank=tensors["bank"],
            base={name: tensors[f"base.{name}"] for name in ESTIMATORS},
            vectors={name: tensors[f"vectors.{name}"] for name in ESTIMATORS},
            readers={name: tensors[f"readers.{name}"] for name in ESTIMATORS},
            thresholds={
                name: tuple(math.nan if v is None else v for v in header["thresholds"][name]) for name in ESTIMATORS
            },
            scores=tuple(
                ReadingScore(**{**score, "exact_ci95": tuple(score["exact_ci95"])}) for score in header["scores"]
            ),
            symmetry=tuple(SymmetryScore(**score) for score in header["symmetry"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{path}: safetensors, but not write directions") from None


# --- private --------------------------------------------------------------------------------------------------------


def _stored(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def _estimate(
    name: str, x: np.ndarray, y: np.ndarray, unembedding: np.ndarray, ridge_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """(vectors ``n_slots n_embd``, base ``n_embd``) from membership ``N n_slots`` and thoughts ``N n_embd``."""
    if name == "ridge":
        design = np.concatenate([x, x.sum(axis=1, keepdims=True)], axis=1)
        ridge = Ridge(alpha=ridge_lambda).fit(design, y)
        w = ridge.coef_[:, :-1].T + ridge.coef_[:, -1]
    elif name == "difference":
        n_with = x.sum(axis=0)[:, None]
        total = y.sum(axis=0)
        with_slot = x.T @ y
        # A slot that was never (or always) in the frontier has nothing to compare: no direction.
        both = (n_with > 0) & (n_with < len(x))
        w = np.where(
            both, with_slot / np.maximum(n_with, 1) - (total - with_slot) / np.maximum(len(x) - n_with, 1), 0.0
        )
    else:
        spread, centred = (x - x.mean(axis=0)) @ unembedding, y - y.mean(axis=0)
        w = unembedding * float((spread * centred).sum() / (spread * spread).sum())
    return w.astype(np.float32), (y.mean(axis=0) - x.mean(axis=0) @ w).astype(np.float32)


def _reader(w: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Generalised least-squares reading vectors, ``n_slots n_embd``."""
    covariance, _ = ledoit_wolf(residual.astype(np.float64))
    covariance += 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)) + 1e-9 * np.eye(
        len(covariance)
    )
    whitened = np.linalg.solve(covariance, w.T.astype(np.float64)).T
    return (np.linalg.pinv(w @ whitened.T) @ whitened).astype(np.float32)


def _best_threshold(weights: np.ndarray, members: np.ndarray, present: np.ndarray) -> float:
    grid = np.linspace(0.2, 0.8, 61)
    exact = [float((((weights > level) & present) == members).all(axis=1).mean()) for level in grid]
    best = np.flatnonzero(np.array(exact) == max(exact))
    return float(grid[best[len(best) // 2]])


def _score(
    name: str,
    t: int,
    n_fit: int,
    held_out: Sample,
    new: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    reader: np.ndarray,
    threshold: float,
    mean: np.ndarray,
) -> ReadingScore:
    y, members, present = held_out.thoughts[new, t - 1], held_out.frontier[new, t - 1], held_out.present[new]
    n = len(y)
    decoded = ((y - b) @ reader.T > threshold) & present
    exact = (decoded == members).all(axis=1)
    chance = [
        1 / math.comb(int(size), int(k)) for size, k in zip(present.sum(axis=1), members.sum(axis=1), strict=True)
    ]
    total = float(((y - mean) ** 2).sum())
    return ReadingScore(
        estimator=name,
        thought=t,
        n_fit=n_fit,
        n=n,
        r2=1 - float(((y - b - members.astype(np.float32) @ w) ** 2).sum()) / total if total > 0 else 0.0,
        exact=float(exact.mean()),
        exact_ci95=wilson(int(exact.sum()), n),
        exact_other=float((decoded == held_out.other[new, t - 1]).all(axis=1).mean()),
        chance=float(np.mean(chance)),
    )


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


def batches(n: int, size: int) -> Iterator[range]:
    """Consecutive ranges of at most ``size`` that cover 0..n-1."""
    for start in range(0, n, size):
        yield range(start, min(start + size, n))
