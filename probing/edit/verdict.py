"""The verdict sheet: for each thought of a checkpoint, is it decodable, used, needed, sufficient?

Four different claims that are easily taken for one another. Each is measured on held-out problems against its own
control, and each gets one of four words: **shown**, **partly**, **not shown**, **not tested**. "Not shown" is a normal
outcome and not a proof of absence. The thresholds below were written down before the first sheet was made and are
printed on every sheet; a threshold is met by the unfavourable end of the 95 % interval, never by the estimate.

decodable
    A linear read-out fitted on other problems (``probing.edit.directions``) tells the frontier of thought t from the
    nodes farther away or unreachable: AUROC per problem. Control: the same thoughts scored for the frontier of the
    *other question* about the same graph. Selectivity is the difference.
used
    Taking the target's branch out of the thought and putting the other candidate's in (``swap``, strength 1.5) turns
    the answer over, where the clean answer was right. Control: the worst of a random direction of equal length, the
    same edit on unreachable nodes, and the same edit on frontier nodes that lead to neither candidate.
needed
    The answer is at chance when something else stands in the thought's place: zeros, the mean thought, or another
    problem's thought; the mildest of the three counts. Control: a random direction as long as that change.
sufficient
    The thought of the other question's run, put in alone (``transplant``), turns the answer over, where the clean
    answer was right. Control: another problem's thought in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model.coconut import CoconutGPT2
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import n_thoughts_of
from probing.edit.data_set import CLEAN, Row, read_rows, run_to_folder
from probing.edit.directions import Directions, fingerprint
from probing.edit.effects import Mean, Rate, difference, mean, percent, plain, rate
from probing.edit.spec import EditSpec, Scene, scene_text

Outcome = Literal["shown", "partly", "not shown", "not tested"]
CLAIMS = ("decodable", "used", "needed", "sufficient")

MIN_N = 100
"""Fewest problems for a claim to be tested at one thought, and for a control to count."""
SWAP_STRENGTH = 1.5
THRESHOLDS = {
    "decodable_auroc": 0.90,
    "decodable_selectivity": 0.25,
    "partly_decodable_selectivity": 0.10,
    "used_difference": 0.50,
    "partly_used_difference": 0.05,
    "needed_accuracy": 0.60,
    "needed_difference": 0.25,
    "partly_needed_difference": 0.05,
    "sufficient_rate": 0.90,
    "sufficient_difference": 0.25,
    "partly_sufficient_difference": 0.05,
}
RULES = {
    "decodable": "shown: AUROC >= .90 and selectivity >= .25; partly: selectivity >= .10",
    "used": "shown: flips minus the worst control >= 50 points; partly: >= 5 points",
    "needed": "shown: accuracy <= 60 % and control minus that >= 25 points; partly: control minus that >= 5 points",
    "sufficient": "shown: flips >= 90 % and minus control >= 25 points; partly: minus control >= 5 points",
}
REMOVALS = ("zero", "mean", "resample")
SWAP_CONTROLS = ("random", "unreachable", "neither")


@dataclass(frozen=True)
class Finding:
    """One claim about one thought."""

    claim: str
    thought: int
    outcome: Outcome
    n: int
    """Problems it was measured on."""
    value: Rate | Mean | None
    """decodable: AUROC; used, sufficient: share of flips; needed: accuracy left."""
    control: Rate | Mean | None
    control_name: str
    difference: Mean | None
    """In favour of the claim: value minus control (needed: control minus value), paired by problem."""
    words: str


@dataclass(frozen=True)
class Sheet:
    """Everything on a verdict sheet."""

    name: str
    checkpoint: str
    """Fingerprint of the weights."""
    method: str
    data: str
    n_problems: int
    seed: int
    n_thoughts: int
    accuracy: Rate
    without: dict[str, Rate]
    """Accuracy with no thoughts, and with all of them replaced."""
    findings: tuple[Finding, ...]
    thresholds: dict[str, float]
    lens_auroc: tuple[Mean | None, ...]
    """AUROC of the logit lens per thought, which fits nothing."""
    propagation: tuple[tuple[Mean | None, ...], ...]
    """Row t, column k: KL(clean || swapped in thought t) of state h_k, nats."""

    def finding(self, claim: str, thought: int) -> Finding:
        return next(f for f in self.findings if f.claim == claim and f.thought == thought)

    def outcomes(self, claim: str) -> tuple[Outcome, ...]:
        """The outcome for thoughts 1..K."""
        return tuple(self.finding(claim, t).outcome for t in range(1, self.n_thoughts + 1))

    def to_json(self) -> dict[str, Any]:
        return {"version": 1, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sheet:
        """From what ``to_json`` gave. Raises InputError for anything else."""
        try:
            if value["version"] != 1:
                raise InputError(f"a verdict sheet of version {value['version']}; this program reads version 1")
            entries = {key: entry for key, entry in value.items() if key != "version"}
            entries["accuracy"] = _number(entries["accuracy"])
            entries["without"] = {name: _number(entry) for name, entry in entries["without"].items()}
            entries["lens_auroc"] = tuple(_number(entry) for entry in entries["lens_auroc"])
            entries["propagation"] = tuple(tuple(_number(cell) for cell in row) for row in entries["propagation"])
            entries["findings"] = tuple(
                Finding(**{**f, **{key: _number(f[key]) for key in ("value", "control", "difference")}})
                for f in entries["findings"]
            )
            return cls(**entries)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a verdict sheet ({error!r:.80})") from None


def scenes_for(n_thoughts: int, directions: Directions) -> list[Scene]:
    """Every edit that a sheet is made from."""
    scenes: list[Scene] = []
    for t in range(1, n_thoughts + 1):
        scenes += [(EditSpec(kind, (t,)),) for kind in REMOVALS]
        scenes.append((EditSpec("transplant", (t,)),))
        if t in directions.defined:
            scenes.append((_swap(t),))
    everything = tuple(range(1, n_thoughts + 1))
    scenes += [(EditSpec(kind, everything),) for kind in REMOVALS]
    scenes.append((EditSpec("truncate", k=0),))
    return scenes


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
    progress: Callable[[int, int], None] = lambda done, total: None,
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
        scenes_for(n_thoughts, directions),
        out,
        directions=directions,
        source=source,
        controls=SWAP_CONTROLS,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
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
    table: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        if row["defined"]:
            table.setdefault((row["edit"], row["control"]), {})[row["row"]] = row
    clean = table[CLEAN, ""]
    findings: list[Finding] = []
    for t in range(1, n_thoughts + 1):
        findings += [
            _decodable(t, clean),
            _used(t, table, clean),
            _needed(t, table, clean),
            _sufficient(t, table, clean),
        ]
    everything = tuple(range(1, n_thoughts + 1))
    without = {"no thoughts": _accuracy(table, EditSpec("truncate", k=0))}
    for kind, words in zip(REMOVALS, ("zeros", "their mean", "another problem's"), strict=True):
        without[f"all {words}"] = _accuracy(table, EditSpec(kind, everything))
    accuracy = rate(np.array([row["log_odds"] > 0 for row in clean.values()]))
    assert accuracy is not None
    return Sheet(
        name=name,
        checkpoint=checkpoint,
        method=method,
        data=data,
        n_problems=len(clean),
        seed=seed,
        n_thoughts=n_thoughts,
        accuracy=accuracy,
        without=without,
        findings=tuple(findings),
        thresholds=dict(THRESHOLDS),
        lens_auroc=tuple(mean(_column(clean, "lens_auroc", t)[1]) for t in everything),
        propagation=tuple(
            tuple(
                mean(np.array([row["kl"][k] for row in table.get((scene_text((_swap(t),)), ""), {}).values()]))
                for k in range(n_thoughts + 1)
            )
            for t in everything
        ),
    )


def _swap(t: int) -> EditSpec:
    return EditSpec("swap", (t,), strength=SWAP_STRENGTH)


def _decodable(t: int, clean: dict[int, Row]) -> Finding:
    rows, ours = _column(clean, "auroc", t)
    other_rows, other = _column(clean, "auroc_other", t)
    both = sorted(set(rows) & set(other_rows))
    if len(both) < MIN_N:
        return _untested("decodable", t, len(both), "problems with a frontier to decode")
    at, at_other = dict(zip(rows, ours, strict=True)), dict(zip(other_rows, other, strict=True))
    value, control = mean(np.array([at[row] for row in both])), mean(np.array([at_other[row] for row in both]))
    gap = difference(np.array([at[row] for row in both]), np.array([at_other[row] for row in both]))
    assert value is not None
    assert gap is not None
    low = gap.ci95[0]
    outcome: Outcome = "not shown"
    if value.ci95[0] >= THRESHOLDS["decodable_auroc"] and low >= THRESHOLDS["decodable_selectivity"]:
        outcome = "shown"
    elif low >= THRESHOLDS["partly_decodable_selectivity"]:
        outcome = "partly"
    words = f"AUROC {plain(value)}; for the other question's frontier {plain(control)}"
    return Finding("decodable", t, outcome, len(both), value, control, "the other question's frontier", gap, words)


def _used(t: int, table: dict[tuple[str, str], dict[int, Row]], clean: dict[int, Row]) -> Finding:
    edit = scene_text((_swap(t),))
    edited = _right(table.get((edit, ""), {}), clean)
    if len(edited) < MIN_N:
        return _untested("used", t, len(edited), "rightly answered problems where the branches can be swapped")
    worst: tuple[Mean, Rate, str, Rate] | None = None
    for name in SWAP_CONTROLS:
        control = _right(table.get((edit, name), {}), clean)
        both = sorted(edited.keys() & control.keys())
        if len(both) < MIN_N:
            continue
        ours, theirs = _flips(edited, both), _flips(control, both)
        gap, ours_rate, theirs_rate = difference(ours, theirs), rate(ours), rate(theirs)
        assert gap is not None
        assert ours_rate is not None
        assert theirs_rate is not None
        if worst is None or gap.ci95[0] < worst[0].ci95[0]:
            worst = (gap, theirs_rate, name, ours_rate)
    assert worst is not None, "the random control exists wherever the edit does"
    gap, control_rate, name, _ = worst
    outcome = _by_difference(gap, "used")
    value = rate(_flips(edited, sorted(edited)))
    words = f"swapping the branches flips {percent(value)}; the worst control ({name}) {percent(control_rate)}"
    return Finding("used", t, outcome, len(edited), value, control_rate, name, gap, words)


def _needed(t: int, table: dict[tuple[str, str], dict[int, Row]], clean: dict[int, Row]) -> Finding:
    options: list[tuple[float, str]] = []
    for kind in REMOVALS:
        left = _accuracy(table, EditSpec(kind, (t,)))
        options.append((left.value, kind))
    _, kind = max(options)
    edit = str(EditSpec(kind, (t,)))
    removed, control = table[edit, ""], table[edit, "random"]
    both = sorted(removed.keys() & control.keys())
    if len(both) < MIN_N:
        return _untested("needed", t, len(both), "problems")
    ours = np.array([removed[row]["log_odds"] > 0 for row in both])
    theirs = np.array([control[row]["log_odds"] > 0 for row in both])
    value, control_rate, gap = rate(ours), rate(theirs), difference(theirs, ours)
    assert value is not None
    assert gap is not None
    outcome: Outcome = "not shown"
    if value.ci95[1] <= THRESHOLDS["needed_accuracy"] and gap.ci95[0] >= THRESHOLDS["needed_difference"]:
        outcome = "shown"
    elif gap.ci95[0] >= THRESHOLDS["partly_needed_difference"]:
        outcome = "partly"
    words = (
        f"accuracy {percent(value)} with {_STANDS_IN[kind]} in its place (the mildest removal; chance 50 %), "
        f"{percent(control_rate)} after a random change of that length"
    )
    return Finding("needed", t, outcome, len(both), value, control_rate, f"random change as long as {kind}", gap, words)


def _sufficient(t: int, table: dict[tuple[str, str], dict[int, Row]], clean: dict[int, Row]) -> Finding:
    edited = _right(table.get((str(EditSpec("transplant", (t,))), ""), {}), clean)
    control = _right(table.get((str(EditSpec("resample", (t,))), ""), {}), clean)
    both = sorted(edited.keys() & control.keys())
    if len(both) < MIN_N:
        return _untested("sufficient", t, len(both), "rightly answered problems with another question")
    ours, theirs = _flips(edited, both), _flips(control, both)
    value, control_rate, gap = rate(ours), rate(theirs), difference(ours, theirs)
    assert value is not None
    assert gap is not None
    outcome: Outcome = _by_difference(gap, "sufficient")
    if outcome == "shown" and value.ci95[0] < THRESHOLDS["sufficient_rate"]:
        outcome = "partly"
    words = f"the other question's thought {t} alone flips {percent(value)}; another problem's {percent(control_rate)}"
    return Finding("sufficient", t, outcome, len(both), value, control_rate, "another problem's thought", gap, words)


def _by_difference(gap: Mean, claim: str) -> Outcome:
    if gap.ci95[0] >= THRESHOLDS[f"{claim}_difference"]:
        return "shown"
    return "partly" if gap.ci95[0] >= THRESHOLDS[f"partly_{claim}_difference"] else "not shown"


def _untested(claim: str, t: int, n: int, what: str) -> Finding:
    words = f"only {n} {what}; at least {MIN_N} are needed"
    return Finding(claim, t, "not tested", n, None, None, "", None, words)


def _right(rows: dict[int, Row], clean: dict[int, Row]) -> dict[int, Row]:
    """Rows whose clean answer is right: only there can an answer be flipped to the other candidate."""
    return {number: row for number, row in rows.items() if clean[number]["log_odds"] > 0}


def _flips(rows: dict[int, Row], numbers: Sequence[int]) -> np.ndarray:
    return np.array([rows[number]["log_odds"] <= 0 for number in numbers], dtype=float)


def _accuracy(table: dict[tuple[str, str], dict[int, Row]], spec: EditSpec) -> Rate:
    found = rate(np.array([row["log_odds"] > 0 for row in table[str(spec), ""].values()]))
    assert found is not None
    return found


def _column(clean: dict[int, Row], key: str, t: int) -> tuple[list[int], np.ndarray]:
    found = [(number, row[key][t - 1]) for number, row in clean.items() if row[key][t - 1] is not None]
    return [number for number, _ in found], np.array([value for _, value in found], float)


_STANDS_IN = {"zero": "zeros", "mean": "the mean thought", "resample": "another problem's thought"}


def _number(entry: Mapping[str, Any] | None) -> Any:
    if entry is None:
        return None
    return (
        Rate(**{**entry, "ci95": tuple(entry["ci95"])})
        if "k" in entry
        else Mean(**{**entry, "ci95": tuple(entry["ci95"])})
    )
