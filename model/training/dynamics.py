"""How the search appears during training: a few numbers on a fixed set of problems, measured at many points.

Thought t = h_(t-1) is read at the graph's nodes as its codec says (``model.readout``). With c thoughts per
step it should hold the **frontier** at distance d = ceil(t / c) from the root. Nodes are *passed* (nearer than d),
*frontier* (at d), *optimal* (frontier nodes on a shortest path to the target) or *beyond* (farther than d, or
unreachable), as in ``model.metrics``; groups and mean logits as in Zhu et al. 2025, table 5, with strict layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import field_validator, model_validator

from model.coconut import THOUGHTLESS_METHODS, CoconutGPT2, ThoughtTrace
from model.codec import Samples
from model.metrics import GROUPS, auroc_beyond, auroc_other_root, mass, node_groups
from model.problems.arrays import ProblemTensors
from model.problems.prosqa import ProsQAProblem
from model.readout import node_scores
from model.stats import Estimate, Floats, from_error
from model.training.data import Problems, longest_text, samples_of
from model.values import Value

OLD_GROUPS = {"reached": "passed", "not_reached": "beyond"}


class ThoughtNumbers(Value):
    """One thought on the probe set. None where no problem has what is asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"auroc": "auroc_beyond"}

    thought: int
    """t: 1, 2, ..."""
    distance: int
    """Hops from the root that it should hold."""
    n: int
    """Problems with nodes both in the frontier and beyond it: those that the AUROC is a mean over."""
    auroc_beyond: float | None
    """Frontier against nodes beyond, by logit: mean over problems. .5 is chance."""
    auroc_se: float | None
    """Standard error of that mean over problems."""
    auroc_control: float | None
    """The same from another problem's thought, read at this problem's tokens: knows the format, not the graph."""
    auroc_other_root: float | None = None
    """Frontier against the counterfactual question's, head to head (``model.metrics.auroc_other_root``), a mean over
    the problems that have both; None in older records too. Who does not know the root is at .5."""
    auroc_depth: float | None = None
    """``auroc_beyond`` of the depth reader (``model.metrics.depth_reader``), which knows neither root nor model."""
    mass: dict[str, float]
    """Mean probability (softmax over the whole vocabulary) on each of GROUPS, over problems with a frontier."""
    logit: dict[str, float | None]
    """Mean logit of the nodes of each of GROUPS, over the nodes of those problems."""

    @field_validator("mass", "logit", mode="before")
    @classmethod
    def _new_groups(cls, values: Any) -> Any:
        return {OLD_GROUPS.get(name, name): v for name, v in values.items()} if isinstance(values, dict) else values

    @property
    def estimate(self) -> Estimate | None:
        """The AUROC with its interval over problems."""
        return None if self.auroc_beyond is None else from_error(self.auroc_beyond, self.auroc_se, self.n)

    @property
    def logit_gap(self) -> float | None:
        """Mean logit of frontier nodes minus that of nodes beyond."""
        frontier, beyond = self.logit["frontier"], self.logit["beyond"]
        return None if frontier is None or beyond is None else frontier - beyond


class DynamicsPoint(Value):
    """One moment of a run."""

    step: int
    problems: int
    """Problems seen in training by then."""
    stage: int
    thoughts: tuple[ThoughtNumbers, ...]
    accuracy_by_k: tuple[float, ...]
    """Share of probe problems answered right in free generation after k = 0, 1, ... thoughts."""
    example: tuple[tuple[float, ...], ...] | None = None
    """By thought, then by node: probability of each node of the record's example, read in one prompt sample; None in
    older records."""


class DynamicsRecord(Value):
    """A run's points in order, the first before training: the untrained control."""

    called: ClassVar[str] = "a record of training dynamics"

    format: Literal[1, 2] = 2
    """1: groups and AUROC under their old names."""
    name: str
    method: str
    seed: int
    n_problems: int
    """Problems in the probe set: the n of every accuracy."""
    example: dict[str, Any] | None = None
    """The first problem of the probe set as a row of ProsQA JSON; None in older records."""
    points: tuple[DynamicsPoint, ...] = ()

    @property
    def problem(self) -> ProsQAProblem | None:
        """The problem that every point reads node by node."""
        return None if self.example is None else ProsQAProblem.from_row(self.example, where=f"{self.name}: example")

    @property
    def has_thoughts(self) -> bool:
        """Whether the method thinks; of one that does not, each point's one entry is of the state after the prompt."""
        return self.method not in THOUGHTLESS_METHODS

    def called_state(self, thought: int) -> str:
        """``thought 2``, or what a model without thoughts has in its place."""
        return f"thought {thought}" if self.has_thoughts else "state after the prompt"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (problem := self.problem) is not None:
            width = {len(row) for point in self.points for row in point.example or ()}
            if width > {problem.n_nodes}:
                raise ValueError("its points are not about its example")
        shapes = {(tuple(t.thought for t in point.thoughts), len(point.accuracy_by_k)) for point in self.points}
        groups = {frozenset(values) for point in self.points for t in point.thoughts for values in (t.mass, t.logit)}
        if len(shapes) > 1 or groups > {frozenset(GROUPS)}:
            raise ValueError("its points differ in thoughts or groups")
        if self.points and self.n_problems < 1:
            raise ValueError("points, but no problem")
        return self

    def upto(self, step: int) -> DynamicsRecord:
        """The record as it stood after ``step``."""
        return self.with_points(point for point in self.points if point.step <= step)

    def with_points(self, points: Iterable[DynamicsPoint]) -> DynamicsRecord:
        return self.model_copy(update={"points": tuple(points)})

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
                numbers = t.model_dump(exclude={"mass", "logit"}) | {"logit_gap": t.logit_gap}
                numbers |= {f"mass_{group}": t.mass[group] for group in GROUPS}
                numbers |= {f"logit_{group}": t.logit[group] for group in GROUPS}
                rows.append(at | numbers)
            rows += [at | {"k": k, "n": self.n_problems, "accuracy": a} for k, a in enumerate(point.accuracy_by_k)]
        return rows


@torch.no_grad()
def measure(model: CoconutGPT2, problems: Problems, *, seed: int, step: int, n_seen: int, stage: int) -> DynamicsPoint:
    """The numbers of a model now, all problems in one batch, as prompt samples that follow from ``seed`` alone.

    A method with thoughts is read at every thought that any stage trains; one without at h_0 alone. Texts without a
    graph have no thoughts to compare: their points hold accuracies alone.
    """
    config, codec = model.config, model.codec
    samples = samples_of(codec, problems, torch.Generator(problems.device).manual_seed(seed))
    n_thoughts = 0 if config.method in THOUGHTLESS_METHODS else config.c_thought * config.max_latent_stage
    trace = model.think(samples.prompts, n_thoughts)
    thoughts: tuple[ThoughtNumbers, ...] = ()
    example = None
    if isinstance(problems, ProblemTensors):
        n_read = min(max(n_thoughts, 1), config.c_thought * int(problems.n_hops.max()))
        lag = min(codec.lag, n_thoughts)
        read = read_thoughts(model, trace.upto(n_read - 1 + lag), samples, skip=lag)
        thoughts = tuple(thought_numbers(read, problems, t, -(-t // config.c_thought)) for t in range(1, n_read + 1))
        first = read[2][0, :, : int(problems.n_nodes[0])]
        example = tuple(tuple(float(f"{p:.4g}") for p in row) for row in first)
    longest = longest_text(codec, problems)
    written = model.write_after_each(trace, longest, stop=codec.has_ended, first=codec.after)
    right = (samples.answers(written) == problems.target[:, None]).double().mean(dim=0)
    return DynamicsPoint(
        step=step, problems=n_seen, stage=stage, thoughts=thoughts, accuracy_by_k=tuple(right.tolist()),
        example=example,
    )  # fmt: skip


def read_thoughts(
    model: CoconutGPT2, trace: ThoughtTrace, samples: Samples, *, skip: int = 0
) -> tuple[Floats, Floats, Floats]:
    """``B n V`` at the nodes: logit, logit in the thought of the problem before, probability; read after ``skip``..K
    thoughts."""
    readings = list(zip(*(samples.readings(k) for k in range(skip, trace.n_thoughts + 1)), strict=True))
    logit, p = node_scores(model, trace, readings)
    others, _ = node_scores(model, trace, readings[1:] + readings[:1])
    return logit, np.roll(others, 1, axis=0), p


def thought_numbers(
    read: tuple[Floats, Floats, Floats], problems: ProblemTensors, thought: int, distance: int
) -> ThoughtNumbers:
    """Numbers of one thought from what ``read_thoughts`` read."""
    logit, others, p = (values[:, thought - 1] for values in read)
    hops = problems.distance.double()
    masks = node_groups(
        torch.where(hops < 0, torch.inf, hops).cpu().numpy(),
        [distance],
        on_path=problems.optimal.cpu().numpy(),
        is_node=problems.real.cpu().numpy(),
    )
    groups = {name: members[:, 0, : logit.shape[1]] for name, members in masks.items()}  # no graph has more nodes
    other, depth = problems.below_parentless(distance)
    groups["other_frontier"] = other.cpu().numpy()[:, : logit.shape[1]]
    reader = depth.double().cpu().numpy()[:, : logit.shape[1]]
    used = np.any(groups["frontier"], axis=1)
    each, control = (auroc_beyond(values, groups) for values in (logit, others))
    each, control = each[~np.isnan(each)], control[~np.isnan(control)]
    n = len(each)

    def mean_logit(members: np.ndarray) -> float | None:
        values = logit[members & used[:, None]]
        return float(values.mean()) if len(values) else None

    return ThoughtNumbers(
        thought=thought,
        distance=distance,
        n=n,
        auroc_beyond=float(each.mean()) if n else None,
        auroc_se=float(each.std(ddof=1) / n**0.5) if n > 1 else None,
        auroc_control=float(control.mean()) if n else None,
        auroc_other_root=_mean(auroc_other_root(logit, groups)),
        auroc_depth=_mean(auroc_beyond(reader, groups)),
        mass={name: float(mass(p, groups[name])[used].mean()) if used.any() else 0.0 for name in GROUPS},
        logit={name: mean_logit(groups[name]) for name in GROUPS},
    )


def _mean(values: Floats) -> float | None:
    """Of what is defined."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None
