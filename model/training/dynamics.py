"""How the search appears during training: a few numbers on a fixed set of problems, measured at many points.

Thought t = h_(t-1) is read by the logit lens (``lm_head``) at the tokens of the graph's nodes. With c thoughts per
step it should hold the **frontier** at distance d = ceil(t / c) from the root. Nodes are *reached* (nearer than d),
*frontier* (at d), *optimal* (frontier nodes on a shortest path to the target) or *not reached* (farther, or
unreachable): groups and mean logits as in Zhu et al. 2025, table 5, with strict breadth-first layers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from model.coconut import THOUGHTLESS_METHODS, CoconutGPT2
from model.codec import SlotCodec
from model.errors import InputError
from model.evaluate import written_answers
from model.files import read_json, write_json
from model.problems.arrays import ProblemTensors

GROUPS = ("not_reached", "reached", "frontier", "optimal")
FORMAT = 1


@dataclass(frozen=True)
class ThoughtNumbers:
    """One thought on the probe set. None where no problem has what is asked for."""

    thought: int
    """t: 1, 2, ..."""
    distance: int
    """Hops from the root that it should hold."""
    n: int
    """Problems with both frontier and not-reached nodes at this distance: those that the AUROC is a mean over."""
    auroc: float | None
    """Frontier against not-reached nodes, by logit: mean over problems. .5 is chance."""
    auroc_se: float | None
    """Standard error of that mean over problems."""
    auroc_control: float | None
    """The same from another problem's thought, read at this problem's tokens: knows the format, not the graph."""
    mass: dict[str, float]
    """Mean probability (softmax over the whole vocabulary) on each of GROUPS, over problems with a frontier."""
    logit: dict[str, float | None]
    """Mean logit of the nodes of each of GROUPS, over the nodes of those problems."""

    @property
    def logit_gap(self) -> float | None:
        """Mean logit of frontier minus not-reached nodes."""
        frontier, rest = self.logit["frontier"], self.logit["not_reached"]
        return None if frontier is None or rest is None else frontier - rest


@dataclass(frozen=True)
class EmergencePoint:
    """One moment of a run."""

    step: int
    problems: int
    """Problems seen in training by then."""
    stage: int
    thoughts: tuple[ThoughtNumbers, ...]
    accuracy_by_k: tuple[float, ...]
    """Share of probe problems answered right when the model writes freely after k = 0, 1, ... thoughts."""


@dataclass(frozen=True)
class EmergenceRecord:
    """A run's points in order, the first before training: the untrained control."""

    name: str
    method: str
    seed: int
    n_problems: int
    """Problems in the probe set: the n of every accuracy."""
    points: tuple[EmergencePoint, ...] = ()

    def upto(self, step: int) -> EmergenceRecord:
        """The record as it stood after ``step``."""
        return self.with_points(point for point in self.points if point.step <= step)

    def with_points(self, points: Any) -> EmergenceRecord:
        return EmergenceRecord(self.name, self.method, self.seed, self.n_problems, tuple(points))

    @property
    def stage_starts(self) -> tuple[tuple[int, int], ...]:
        """(stage, problems seen) where each stage is first met among the points."""
        first: dict[int, int] = {}
        for point in self.points:
            first.setdefault(point.stage, point.problems)
        return tuple(first.items())

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per point and thought, and per point and k: what is drawn, as a table."""
        rows: list[dict[str, Any]] = []
        for point in self.points:
            at = {"step": point.step, "problems": point.problems, "stage": point.stage}
            for t in point.thoughts:
                numbers = {"thought": t.thought, "distance": t.distance, "n": t.n, "auroc": t.auroc}
                numbers |= {"auroc_se": t.auroc_se, "auroc_control": t.auroc_control, "logit_gap": t.logit_gap}
                numbers |= {f"mass_{group}": t.mass[group] for group in GROUPS}
                numbers |= {f"logit_{group}": t.logit[group] for group in GROUPS}
                rows.append(at | numbers)
            rows += [at | {"k": k, "n": self.n_problems, "accuracy": a} for k, a in enumerate(point.accuracy_by_k)]
        return rows


def save_record(record: EmergenceRecord, path: str | Path) -> None:
    write_json(path, {"format": FORMAT, **asdict(record)})


def load_record(path: str | Path) -> EmergenceRecord:
    """Raises InputError if the file is missing or is not an emergence record of this version."""
    values = read_json(path)
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: emergence record of format {found!r}; this version reads {FORMAT}")
    try:
        json.dumps(values, allow_nan=False)
        record = TypeAdapter(EmergenceRecord).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: not an emergence record ({place}: {first['msg']})") from None
    except ValueError:
        raise InputError(f"{path}: not an emergence record (a number is not finite)") from None
    shapes = {(tuple(t.thought for t in point.thoughts), len(point.accuracy_by_k)) for point in record.points}
    groups = {frozenset(values) for point in record.points for t in point.thoughts for values in (t.mass, t.logit)}
    if len(shapes) > 1 or groups > {frozenset(GROUPS)}:
        raise InputError(f"{path}: not an emergence record (its points differ in thoughts or groups)")
    if record.points and record.n_problems < 1:
        raise InputError(f"{path}: not an emergence record (points, but no problem)")
    return record


@torch.no_grad()
def measure(
    model: CoconutGPT2,
    codec: SlotCodec,
    problems: ProblemTensors,
    *,
    seed: int,
    step: int,
    n_seen: int,
    stage: int,
) -> EmergencePoint:
    """The numbers of a model now, all problems in one batch, written under draws that follow from ``seed`` alone.

    A method with thoughts is read at every thought that any stage trains; one without at h_0 alone.
    """
    config = model.config
    generator = torch.Generator(problems.device).manual_seed(seed)
    prompt, node_tokens = codec.encode_arrays(problems, generator)
    n_thoughts = 0 if config.method in THOUGHTLESS_METHODS else config.c_thought * config.max_latent_stage
    trace = model.think(prompt, n_thoughts)
    most_hops = int(problems.n_hops.max())
    read = range(1, min(max(n_thoughts, 1), config.c_thought * most_hops) + 1)
    thoughts = tuple(
        thought_numbers(
            model.logits(trace.states[:, t - 1]).float(), node_tokens, problems, t, -(-t // config.c_thought)
        )
        for t in read
    )
    target = node_tokens.gather(1, problems.target.long()[:, None])
    right = (written_answers(model, trace, max_new_tokens=most_hops + 3) == target).double().mean(dim=0)
    return EmergencePoint(step, n_seen, stage, thoughts, tuple(right.tolist()))


def thought_numbers(
    logits: Tensor, node_tokens: Tensor, problems: ProblemTensors, thought: int, distance: int
) -> ThoughtNumbers:
    """Numbers of one thought from its logits, ``B vocab``, at the tokens of the nodes, ``B V``."""
    scores, others = logits.gather(1, node_tokens), logits.roll(1, dims=0).gather(1, node_tokens)
    mass = logits.softmax(dim=1).gather(1, node_tokens)
    found, real = problems.distance, problems.real
    frontier = real & (found == distance)
    reached = real & (found >= 0) & (found < distance)
    groups = {
        "not_reached": real & ~frontier & ~reached,
        "reached": reached,
        "frontier": frontier,
        "optimal": frontier & problems.optimal,
    }
    used = frontier.any(dim=1)
    each, n_pairs = auroc(scores, frontier, groups["not_reached"])
    each_control, _ = auroc(others, frontier, groups["not_reached"])
    counted = n_pairs > 0
    n = int(counted.sum())
    values, controls = each[counted].double(), each_control[counted].double()

    def mean_logit(group: Tensor) -> float | None:
        members = scores[group & used[:, None]]
        return float(members.double().mean()) if len(members) else None

    return ThoughtNumbers(
        thought=thought,
        distance=distance,
        n=n,
        auroc=float(values.mean()) if n else None,
        auroc_se=float(values.std() / n**0.5) if n > 1 else None,
        auroc_control=float(controls.mean()) if n else None,
        mass={
            name: float((mass * group).sum(dim=1)[used].double().mean()) if bool(used.any()) else 0.0
            for name, group in groups.items()
        },
        logit={name: mean_logit(group) for name, group in groups.items()},
    )


def auroc(scores: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Per row of ``B V``: the share of (positive, negative) pairs in which the positive scores higher, ties half.

    Returns (``B`` in 0..1, 0 where a row has no pair; ``B``: number of pairs).
    """
    pair = positive[:, :, None] & negative[:, None, :]
    higher = (scores[:, :, None] > scores[:, None, :]).float() + 0.5 * (scores[:, :, None] == scores[:, None, :])
    n_pairs = pair.sum(dim=(1, 2))
    return (higher * pair).sum(dim=(1, 2)) / n_pairs.clamp(min=1), n_pairs
