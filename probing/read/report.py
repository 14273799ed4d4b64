"""``ProbeReport``: all that was measured on one problem, as plain data that survives JSON exactly.

Every picture and every export is made from this one object, so page, file and figure cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from model.errors import InputError
from model.metrics import OLD_NAMES
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, Floats, Range, mean_interval
from model.transformer import Precision
from model.values import Number, Value

Row = tuple[Number, ...]
Table = tuple[Row, ...]


class Band(Value):
    """Means over prompt samples of a value per state and node, ``K+1 N``, 95 % intervals (none from one sample)."""

    mean: Table
    low: Table | None
    high: Table | None


class Answer(Value):
    """The answer after ``k`` thoughts, in two read-outs."""

    k: int
    p_target: Estimate
    """Probability of the target as next token if [A] is written at once."""
    p_neg_target: Estimate
    """The same for the other candidate; what is missing to 1 goes to neither."""
    written_target: Number
    """Share of prompt samples in which the generated answer is the target."""
    written_neg_target: Number
    """The same for the other candidate; the rest answered neither, or did not answer."""


class ModelInfo(Value):
    """Which model was probed."""

    name: str
    method: str
    n_layer: int
    n_embd: int
    n_thoughts: int
    """Thoughts it was trained to have."""
    uniform_prob: float | None
    """Mixing of earlier stages in training; with 0 the read-outs before the last thought were never trained; None:
    unknown."""
    fingerprint: str
    """SHA-256 of the weights, first 16 hex digits."""
    precision: Precision = "float32"
    """What its passes multiplied in."""


class Problem(Value):
    """The probed problem in the public field names."""

    idx_to_symbol: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    root: int
    target: int
    neg_target: int
    steps: tuple[str, ...]
    question: str
    answer: str


class ProbeReport(Value):
    """Values and metrics of one problem over ``n_samples`` prompt samples.

    K = ``n_thoughts`` thoughts give states h_0..h_K; N nodes in the problem's order; thought t is state h_(t-1).
    """

    called: ClassVar[str] = "a probe report of version 1"
    renamed: ClassVar[Mapping[str, str]] = {
        "n_draws": "n_samples",
        "n_filler": "n_distractors",
        "blind_rule": "shortcut_baseline",
    }

    version: Literal[1] = 1
    problem_row: Problem
    model: ModelInfo
    n_samples: int
    seed: int
    n_thoughts: int
    n_distractors: int
    """Distractor facts added to each prompt because the graph is smaller than any in training; 0 for none."""
    warnings: tuple[str, ...]
    """What a reader must know before trusting the numbers (say, more hops than the model was trained for)."""
    probability: Band
    """Probability of each node as next token, raw."""
    normalised: Band
    """Probability among the nodes alone."""
    logit: Band
    """Inner product of state and node embedding."""
    cosine: Band
    """The same over both norms."""
    marker: Band
    """``K+1 S``: probability of each of ``marker_names``."""
    marker_names: tuple[str, ...] = ("<pad>", "<bos>", "|", "[Q]", "[R]", "[A]", "<eos>", "<pause>")
    """What the model's codec has beside nodes; older files, which do not say, have these eight."""
    answer_mark: str = "[A]"
    """Which of ``marker_names`` begins an answer."""
    other: Row
    """``K+1``: mean probability on what is neither a node of the graph nor a marker."""
    metrics: dict[str, dict[str, tuple[Estimate | None, ...]]]
    """source -> metric -> thoughts 1..K; source is "model" or a control ("shuffled", "depth_reader", "untrained").
    None: undefined."""
    base_rate: Row
    """``K``: share of nodes in the frontier of thought t."""
    answers: tuple[Answer, ...]
    """For k = 0..K."""
    chains: tuple[tuple[int, ...], ...] = ()
    """``R``: the nodes that the model writes in words, before its answer, where it is given no thought; -1 for what is
    no node. Empty in older reports."""
    shortcut_baseline: Literal["target", "neg_target", "tie"]
    """What the shortcut baseline (deeper backward BFS) answers; it never looks at the queried entity."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _new_names(cls, metrics: Any) -> Any:
        if not isinstance(metrics, dict) or not all(isinstance(found, dict) for found in metrics.values()):
            return metrics
        return {k: {OLD_NAMES.get(name, name): v for name, v in found.items()} for k, found in metrics.items()}

    @property
    def problem(self) -> ProsQAProblem:
        return _problem(self.problem_row)

    @property
    def n_nodes(self) -> int:
        return len(self.problem_row.idx_to_symbol)

    @property
    def answer_column(self) -> int:
        """Column of ``marker`` that begins an answer."""
        return self.marker_names.index(self.answer_mark)

    def values(self, what: str) -> Band:
        """The band of one of VALUES."""
        assert what in VALUES, what
        return getattr(self, what)

    def figure(
        self, kind: str = "dag", *, state: int | None = None, node: int | None = None, value: str = "probability"
    ) -> Any:
        """A ``plotly.graph_objects.Figure``, which a notebook shows; its kinds are ``draw.of_report.KINDS``."""
        (drawing,) = _drawing
        return drawing(self, kind, state=state, node=node, value=value)

    @classmethod
    def parse(cls, text: str, *, where: str = "report") -> ProbeReport:
        """Raises InputError saying which field is wrong, or that the version is another."""
        report = super().parse(text, where=where)
        report._check(where)
        return report

    def _check(self, where: str) -> None:
        for what, columns in (dict.fromkeys(VALUES, self.n_nodes) | {"marker": len(self.marker_names)}).items():
            band: Band = getattr(self, what)
            for table in (band.mean, band.low, band.high):
                if table is not None and list(map(len, table)) != [columns] * (self.n_thoughts + 1):
                    raise InputError(f"{where}: {what} must be {self.n_thoughts + 1} states by {columns} columns")
        sizes = (len(self.other), len(self.answers), len(self.base_rate) + 1)
        if sizes != (self.n_thoughts + 1,) * 3 or "model" not in self.metrics:
            raise InputError(f"{where}: other, answers, base_rate or metrics do not fit {self.n_thoughts} thoughts")
        for source, metrics in self.metrics.items():
            for name, estimates in metrics.items():
                if len(estimates) != self.n_thoughts:
                    raise InputError(f"{where}: metrics.{source}.{name} must have {self.n_thoughts} entries")
        if self.answer_mark not in self.marker_names:
            raise InputError(f"{where}: answer_mark {self.answer_mark!r:.40} is none of marker_names")
        _ = self.problem


Drawing = Callable[..., Any]
_drawing: list[Drawing] = []


def drawn_by(drawing: Drawing) -> Drawing:
    """Say what draws ``ProbeReport.figure``, so that reading knows no drawing; ``probing/__init__.py`` says it."""
    _drawing[:] = [drawing]
    return drawing


@lru_cache(maxsize=64)
def _problem(row: Problem) -> ProsQAProblem:
    return ProsQAProblem.from_row(row.model_dump())


VALUES: dict[str, str] = {
    "probability": "probability of each node as the next step",
    "normalised": "probability among the nodes alone",
    "logit": "logit (inner product with the embedding; log-probability where a name is several tokens)",
    "cosine": "cosine with the node's embedding",
}
"""What a node can be coloured by."""


def band(values: Floats, within: Range = (None, None)) -> Band:
    """``R A B`` values as means and intervals over prompt samples."""
    mean, low, high = mean_interval(values, within=within)
    return Band(
        mean=_table(mean), low=None if low is None else _table(low), high=None if high is None else _table(high)
    )


def _table(values: Floats) -> Table:
    return tuple(map(tuple, values.tolist()))
