"""The verdict sheet: for each thought of a checkpoint, is it decodable, used, necessary, sufficient?

Four different claims that are easily taken for one another. Each is measured on held-out problems against its own
control, and each gets one of four words: **shown**, **partly**, **not shown**, **not tested**. "Not shown" is a normal
outcome and not a proof of absence. The thresholds below were written down before the first sheet was made and are
printed on every sheet; a threshold is met by the unfavourable end of the 95 % interval, never by the estimate.

decodable
    A linear read-out fitted on other problems (``probing.edit.directions``) tells the frontier of thought t from the
    nodes farther away or unreachable: AUROC per problem. Control: the same thoughts scored for the frontier of the
    *counterfactual question* about the same graph. Selectivity is the difference.
used
    Taking the target's branch out of the thought and putting the other candidate's in (``swap``, strength 1.5) turns
    the answer over, where the clean answer was right. Control: the worst of a random direction of equal length, the
    same edit on unreachable nodes, and the same edit on frontier nodes that lead to neither candidate.
necessary
    The answer is at chance when something else stands in the thought's place: zeros, the mean thought, or another
    problem's thought; the mildest of the three counts. Control: a random direction as long as that change.
sufficient
    The thought of the counterfactual question's run, put in alone (``transplant``), turns the answer over, where the
    clean answer was right. Control: another problem's thought in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator

from model.checkpoint import fingerprint
from model.coconut import CoconutGPT2
from model.errors import InputError
from model.files import read_json
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, mean, paired, share, text
from model.store import read_rows
from model.values import Progress, Value, silent, validated
from probing.edit.batch import n_thoughts_of
from probing.edit.data_set import CLEAN, Row, run_to_folder
from probing.edit.directions import Directions
from probing.edit.spec import EditPlan, EditSpec

Outcome = Literal["shown", "partly", "not shown", "not tested"]
Claim = Literal["decodable", "used", "necessary", "sufficient"]
CLAIMS: tuple[Claim, ...] = ("decodable", "used", "necessary", "sufficient")

MIN_N = 100
"""Fewest problems for a claim to be tested at one thought, and for a control to count."""
SWAP_STRENGTH = 1.5
THRESHOLDS = {
    "decodable_auroc": 0.90,
    "decodable_selectivity": 0.25,
    "partly_decodable_selectivity": 0.10,
    "used_difference": 0.50,
    "partly_used_difference": 0.05,
    "necessary_accuracy": 0.60,
    "necessary_difference": 0.25,
    "partly_necessary_difference": 0.05,
    "sufficient_rate": 0.90,
    "sufficient_difference": 0.25,
    "partly_sufficient_difference": 0.05,
}
RULES: dict[Claim, str] = {
    "decodable": "shown: AUROC >= .90 and selectivity >= .25; partly: selectivity >= .10",
    "used": "shown: flips minus the worst control >= 50 points; partly: >= 5 points",
    "necessary": "shown: accuracy <= 60 % and control minus that >= 25 points; partly: control minus that >= 5 points",
    "sufficient": "shown: flips >= 90 % and minus control >= 25 points; partly: minus control >= 5 points",
}
REMOVALS = {"zero": "zeros", "mean": "the mean thought", "resample": "another problem's thought"}
"""Kind of edit to what it puts in a thought's place."""
SWAP_CONTROLS = ("random", "unreachable", "neither")


class Finding(Value):
    """One claim about one thought."""

    claim: Annotated[Claim, BeforeValidator(lambda claim: "necessary" if claim == "needed" else claim)]
    """"needed" in older files."""
    thought: int
    outcome: Outcome
    n: int
    """Problems it was measured on."""
    value: Estimate | None = None
    """decodable: AUROC; used, sufficient: share of flips; necessary: accuracy left."""
    control: Estimate | None = None
    control_name: str = ""
    difference: Estimate | None = None
    """In favour of the claim: value minus control (necessary: control minus value), paired by problem."""
    words: str


class Sheet(Value):
    """Everything on a verdict sheet."""

    called: ClassVar[str] = "a verdict sheet"

    version: Literal[1] = 1
    name: str
    checkpoint: str
    """Fingerprint of the weights."""
    method: str
    data: str
    n_problems: int
    seed: int
    n_thoughts: int
    accuracy: Estimate
    without: dict[str, Estimate]
    """Accuracy with no thoughts, and with all of them replaced."""
    findings: tuple[Finding, ...]
    thresholds: dict[str, float]
    lens_auroc: tuple[Estimate | None, ...]
    """AUROC (beyond, logit lens, which fits nothing) per thought."""
    propagation: tuple[tuple[Estimate | None, ...], ...]
    """Row t, column k: KL(clean || swapped in thought t) of state h_k, nats."""

    def finding(self, claim: Claim, thought: int) -> Finding:
        return next(f for f in self.findings if f.claim == claim and f.thought == thought)

    def outcomes(self, claim: Claim) -> tuple[Outcome, ...]:
        """The outcome for thoughts 1..K."""
        return tuple(self.finding(claim, t).outcome for t in range(1, self.n_thoughts + 1))

    def thoughts(self, claim: Claim, outcome: Outcome) -> list[int]:
        """Thoughts of which the claim has this outcome."""
        return [t for t, found in enumerate(self.outcomes(claim), 1) if found == outcome]


def read_sheets(path: str | Path) -> list[Sheet]:
    """The sheets of a ``verdict.json``. Raises InputError for another file."""
    sheets: list[Sheet] = validated(list[Sheet], read_json(path), where=f"{path}: not verdict sheets")
    return sheets


def plans_for(n_thoughts: int, directions: Directions) -> list[EditPlan]:
    """Every edit that a sheet is made from."""
    everything = tuple(range(1, n_thoughts + 1))
    plans = []
    for t in everything:
        plans += [_plan(kind, t) for kind in (*REMOVALS, "transplant")]
        if t in directions.defined:
            plans.append(_swap(t))
    return [*plans, *(_plan(kind, *everything) for kind in REMOVALS), _NO_THOUGHTS]


def make_sheet(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    out: str | Path,
    *,
    directions: Directions,
    name: str,
    source: str,
    seed: int = 0,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Sheet:
    """Run every edit of a sheet on ``problems`` (not those the directions were fitted on) and judge.

    Rows go to ``out``, resumable (``run_to_folder``). Raises InputError as that does, and for too few problems.
    """
    if len(problems) < MIN_N:
        raise InputError(f"a verdict needs at least {MIN_N} problems; got {len(problems)}")
    directions.check_fits(model)
    n_thoughts = n_thoughts_of(model)
    run_to_folder(
        model,
        problems,
        plans_for(n_thoughts, directions),
        out,
        directions=directions,
        source=source,
        controls=SWAP_CONTROLS,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
        what=f"verdict, {name}",
    )
    return judge(
        read_rows(Path(out) / "rows.jsonl"),
        n_thoughts=n_thoughts,
        name=name,
        checkpoint=fingerprint(model),
        method=model.config.method,
        data=source,
        seed=seed,
    )


def judge(
    rows: Iterable[Row], *, n_thoughts: int, name: str, checkpoint: str, method: str, data: str, seed: int
) -> Sheet:
    """The sheet of finished rows."""
    runs = _Runs(rows)
    everything = tuple(range(1, n_thoughts + 1))
    without = {"no thoughts": _NO_THOUGHTS} | {
        f"all {words}": _plan(kind, *everything)
        for kind, words in zip(REMOVALS, ("zeros", "their mean", "another problem's"), strict=True)
    }
    return Sheet(
        name=name,
        checkpoint=checkpoint,
        method=method,
        data=data,
        n_problems=len(runs.clean),
        seed=seed,
        n_thoughts=n_thoughts,
        accuracy=runs.accuracy(CLEAN),
        without={words: runs.accuracy(plan) for words, plan in without.items()},
        findings=tuple(judged(t, runs) for t in everything for judged in (_decodable, _used, _necessary, _sufficient)),
        thresholds=dict(THRESHOLDS),
        lens_auroc=tuple(mean(list(runs.auroc("lens_auroc", t).values()), within=(0, 1)) for t in everything),
        propagation=tuple(
            tuple(
                mean([row["kl"][k] for row in runs.of(_swap(t)).values()], within=(0, None))
                for k in range(n_thoughts + 1)
            )
            for t in everything
        ),
    )


class _Runs:
    """Rows by run, then by problem."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._of: dict[tuple[str, str], dict[int, Row]] = {}
        for row in rows:
            if row["defined"]:
                self._of.setdefault((row["edit"], row["control"]), {})[row["row"]] = row
        self.clean = self._of[CLEAN, ""]

    def of(self, plan: EditPlan | str, control: str = "") -> dict[int, Row]:
        return self._of.get((str(plan), control), {})

    def right(self, plan: EditPlan | str, control: str = "") -> dict[int, bool]:
        """Whether the answer is the target, by problem."""
        return {number: row["log_odds"] > 0 for number, row in self.of(plan, control).items()}

    def flips(self, plan: EditPlan, control: str = "") -> dict[int, bool]:
        """Whether the answer is flipped, by problem whose clean answer is right: only there can it be."""
        clean = self.right(CLEAN)
        return {number: not right for number, right in self.right(plan, control).items() if clean[number]}

    def accuracy(self, plan: EditPlan | str) -> Estimate:
        found = share(list(self.right(plan).values()))
        assert found is not None
        return found

    def auroc(self, name: str, t: int) -> dict[int, float]:
        """By problem where it is defined."""
        return {number: row[name][t - 1] for number, row in self.clean.items() if row[name][t - 1] is not None}


def _plan(kind: str, *thoughts: int) -> EditPlan:
    return EditPlan([EditSpec(kind, thoughts)])


def _swap(t: int) -> EditPlan:
    return EditPlan([EditSpec("swap", (t,), strength=SWAP_STRENGTH)])


_NO_THOUGHTS = EditPlan([EditSpec("truncate", k=0)])

Numbers = dict[int, float] | dict[int, bool]


def _both(ours: Numbers, control: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Values of the problems that have both, in one order."""
    both = sorted(ours.keys() & control.keys())
    return np.array([ours[number] for number in both], float), np.array([control[number] for number in both], float)


def _decodable(t: int, runs: _Runs) -> Finding:
    ours, theirs = _both(runs.auroc("auroc", t), runs.auroc("auroc_other", t))
    if len(ours) < MIN_N:
        return _untested("decodable", t, len(ours), "problems with a frontier to decode")
    value, control = mean(ours, within=(0, 1)), mean(theirs, within=(0, 1))
    words = f"AUROC {text(value)}; for the counterfactual question's frontier {text(control)}"
    enough, name = _ends(value)[0] >= THRESHOLDS["decodable_auroc"], "the counterfactual question's frontier"
    return _found("decodable", t, value, control, name, paired(ours, theirs), words, enough=enough)


def _used(t: int, runs: _Runs) -> Finding:
    edited = runs.flips(_swap(t))
    if len(edited) < MIN_N:
        return _untested("used", t, len(edited), "rightly answered problems where the branches can be swapped")
    pairs = {name: _both(edited, runs.flips(_swap(t), name)) for name in SWAP_CONTROLS}
    gaps = {name: paired(*pair) for name, pair in pairs.items() if len(pair[0]) >= MIN_N}
    name = min(gaps, key=lambda name: _ends(gaps[name])[0])  # the random control exists wherever the edit does
    value, control = share(list(edited.values())), share(pairs[name][1])
    words = f"swapping the branches flips {_percent(value)}; the worst control ({name}) {_percent(control)}"
    return _found("used", t, value, control, name, gaps[name], words)


def _necessary(t: int, runs: _Runs) -> Finding:
    kind = max(REMOVALS, key=lambda kind: (runs.accuracy(_plan(kind, t)).value, kind))
    ours, theirs = _both(runs.right(_plan(kind, t)), runs.right(_plan(kind, t), "random"))
    if len(ours) < MIN_N:
        return _untested("necessary", t, len(ours), "problems")
    value, control = share(ours), share(theirs)
    words = (
        f"accuracy {_percent(value)} with {REMOVALS[kind]} in its place (the mildest removal; chance 50 %), "
        f"{_percent(control)} after a random change of that length"
    )
    enough, name = _ends(value)[1] <= THRESHOLDS["necessary_accuracy"], f"random change as long as {kind}"
    return _found("necessary", t, value, control, name, paired(theirs, ours), words, enough=enough)


def _sufficient(t: int, runs: _Runs) -> Finding:
    ours, theirs = _both(runs.flips(_plan("transplant", t)), runs.flips(_plan("resample", t)))
    if len(ours) < MIN_N:
        return _untested("sufficient", t, len(ours), "rightly answered problems with a counterfactual question")
    value, control = share(ours), share(theirs)
    enough, name = _ends(value)[0] >= THRESHOLDS["sufficient_rate"], "another problem's thought"
    words = f"the counterfactual question's thought {t} alone flips {_percent(value)}; {name} {_percent(control)}"
    return _found("sufficient", t, value, control, name, paired(ours, theirs), words, enough=enough)


def _found(
    claim: Claim,
    t: int,
    value: Estimate | None,
    control: Estimate | None,
    control_name: str,
    gap: Estimate | None,
    words: str,
    *,
    enough: bool = True,
) -> Finding:
    """Judged by the difference to the control; ``enough``: the value itself reaches its threshold, without which a
    claim is shown partly at most."""
    assert value is not None
    (low, _), name = _ends(gap), f"{claim}_{'selectivity' if claim == 'decodable' else 'difference'}"
    outcome: Outcome = "partly" if low >= THRESHOLDS[f"partly_{name}"] else "not shown"
    if enough and low >= THRESHOLDS[name]:
        outcome = "shown"
    return Finding(
        claim=claim, thought=t, outcome=outcome, n=value.n, value=value, control=control, control_name=control_name,
        difference=gap, words=words,
    )  # fmt: skip


def _percent(found: Estimate | None) -> str:
    return text(found, "percent")


def _ends(found: Estimate | None) -> tuple[float, float]:
    """The interval of what MIN_N problems were asked for."""
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def _untested(claim: Claim, t: int, n: int, what: str) -> Finding:
    words = f"only {n} {what}; at least {MIN_N} are needed"
    return Finding(claim=claim, thought=t, outcome="not tested", n=n, words=words)
