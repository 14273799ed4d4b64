"""The verdict sheet: for each thought of a checkpoint, is it decodable, used, necessary, sufficient, parallel?

Five different claims that are easily taken for one another. Each is measured on held-out problems against its own
control, and each gets one of four words: **shown**, **partly**, **not shown**, **not tested**. "Not shown" is a normal
outcome and not a proof of absence. The thresholds are printed on every sheet. They are no pre-registration: effects on
the shipped model were known when they were chosen, and the present ones answer an independent check. A threshold is
met by the unfavourable end of the 95 % interval, never by the estimate.

What each claim says and what its control is stands in ABOUT, which the sheet prints too.

"Used", "sufficient" and "parallel" ask whether the answer follows an edit, which is so of any channel that steers the
answer, whatever the model's own thoughts hold. So they are not tested where the model does not answer clearly better
than chance, where a control (used) or the placebo (sufficient) turns too many answers over by itself, and where nothing
is fed back (pause methods): there a patch of the residual stream at that position stands beside the claim instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field

from model.checkpoint import fingerprint, untrained
from model.coconut import PAUSE_METHODS, CoconutGPT2
from model.errors import InputError
from model.files import read_json
from model.flags import idle, norms, off_norm, unmixed
from model.precision import use
from model.problems.prosqa import ProsQAProblem
from model.readout import node_log_probs
from model.stats import Estimate, Floats, Style, mean, paired, share, sure, text
from model.store import read_rows
from model.transformer import Precision
from model.values import Progress, Value, silent, validated
from probing.edit.batch import n_thoughts_of
from probing.edit.data_set import CLEAN, STRATA, Row, run_to_folder
from probing.edit.directions import Directions
from probing.edit.kinds import CONTROLS
from probing.edit.spec import EditPlan, EditSpec

Outcome = Literal["shown", "partly", "not shown", "not tested"]
Claim = Literal["decodable", "used", "necessary", "sufficient", "parallel"]
CLAIMS: tuple[Claim, ...] = ("decodable", "used", "necessary", "sufficient", "parallel")

ABOUT: dict[Claim, str] = {
    "decodable": "A linear read-out fitted on other problems tells the frontier (nodes at distance t) from that of the "
    "counterfactual question about the same graph, nodes of both left out. A reader that does not know the root has "
    ".5, however well it knows how deep nodes lie; against all nodes beyond t such a reader comes close too.",
    "used": "Swapping the target's branch for the other candidate's inside the thought, as strongly as the thought "
    "holds its own, flips the right answer. Control: the worst of a random direction, the difference of two other "
    "problems' thoughts, unreachable nodes, frontier nodes that lead to neither candidate (as many), and the same "
    "content at another thought, each of equal length.",
    "necessary": "Accuracy with zeros, the mean thought or another problem's thought in its place, whichever harms "
    "least. Control: a random change of that length.",
    "sufficient": "The thought of the run that asks the counterfactual question, put in alone, flips the right answer. "
    "Control: another problem's thought. Placebo: the same question's thought, its facts in another order.",
    "parallel": "Several nodes in the thought at once are necessary. Accuracy with the thought collapsed to the one "
    "node that stands out most in it, in problems where that node does not lead to the target, so that a walk that "
    "follows it alone is lost. Control: collapsed to as many of its best nodes as there are at distance t.",
}
"""What each claim says, and what its control is."""
MIN_N = 100
"""Fewest problems for a claim to be tested at one thought, and for a control to count."""
THRESHOLDS = {
    "decodable_auroc": 0.90,
    "partly_decodable_auroc": 0.60,
    "used_difference": 0.50,
    "partly_used_difference": 0.05,
    "necessary_accuracy": 0.60,
    "necessary_difference": 0.25,
    "partly_necessary_difference": 0.05,
    "sufficient_rate": 0.90,
    "sufficient_difference": 0.25,
    "partly_sufficient_difference": 0.05,
    "parallel_accuracy": 0.60,
    "parallel_difference": 0.25,
    "partly_parallel_difference": 0.05,
    "tested_accuracy": 0.60,
    "tested_flips": 0.10,
}
_HUNDREDTHS = {name: f"{100 * value:.0f}" for name, value in THRESHOLDS.items()}
_RULES: dict[Claim, str] = {
    "decodable": "shown: AUROC head to head >= .{decodable_auroc}; partly: >= .{partly_decodable_auroc}",
    "used": "shown: flips minus the worst control >= {used_difference} points, with a content-matched control; partly: "
    ">= {partly_used_difference} points",
    "necessary": "shown: accuracy <= {necessary_accuracy} % and control minus that >= {necessary_difference} points; "
    "partly: control minus that >= {partly_necessary_difference} points",
    "sufficient": "shown: flips >= {sufficient_rate} % and minus control >= {sufficient_difference} points; partly: "
    "minus control >= {partly_sufficient_difference} points",
    "parallel": "shown: accuracy <= {parallel_accuracy} % and control minus that >= {parallel_difference} points; "
    "partly: control minus that >= {partly_parallel_difference} points",
}
RULES = {claim: rule.format(**_HUNDREDTHS) for claim, rule in _RULES.items()}
TESTED = (
    "used, sufficient and parallel are not tested unless clean accuracy > {tested_accuracy} % and (used) the worst "
    "control or (sufficient) the placebo flips < {tested_flips} %"
).format(**_HUNDREDTHS)
BARS = {
    "decodable": "decodable_auroc", "necessary": "necessary_accuracy", "sufficient": "sufficient_rate",
    "parallel": "parallel_accuracy",
}  # fmt: skip
"""Claim -> the threshold of the value itself, beside that of its difference to the control."""
CHANCE_READER = "a reader that does not know the root"
REMOVALS = {"zero": "zeros", "mean": "the mean thought", "resample": "another problem's thought"}
"""Kind of edit to what it puts in a thought's place."""
SWAP_CONTROLS = ("random", "manifold", "unreachable", "neither", "other-step")
RUN_CONTROLS = {"swap": SWAP_CONTROLS, "transplant": ("other-step",)} | dict.fromkeys(REMOVALS, ("random",))
"""Kind of edit to its controls on a sheet."""


FLAG_ON, FLAG_BATCH = 256, 64
"""Problems that flags are measured on, at most, and in one pass."""
IDLE_WITHIN = 0.01
"""Accuracies that differ by no more are the same."""
CHANCE = 0.5


class Finding(Value):
    """One claim about one thought."""

    claim: Annotated[Claim, BeforeValidator(lambda claim: "necessary" if claim == "needed" else claim)]
    """"needed" in older files."""
    thought: int
    outcome: Outcome
    n: int
    """Problems it was measured on."""
    value: Estimate | None = None
    """decodable: AUROC; used, sufficient: share of flips; necessary, parallel: accuracy left."""
    control: Estimate | None = None
    control_name: str = ""
    difference: Estimate | None = None
    """In favour of the claim: value minus control (necessary, parallel: control minus value), paired by problem."""
    words: str


class Sheet(Value):
    """Everything on a verdict sheet."""

    called: ClassVar[str] = "a verdict sheet"

    version: Literal[1] = 1
    name: str
    checkpoint: str
    """Fingerprint of the weights."""
    precision: Precision = "float32"
    """What passes multiplied in."""
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
    by_gap: dict[str, tuple[Estimate | None, ...]] = Field(default_factory=dict)
    """Edit and how deep the other candidate lies against the target -> share of right answers flipped, per thought."""
    flags: tuple[str, ...] = ()
    """What must be known before any of it is believed (``flags_of``); one sentence each."""
    propagation: tuple[tuple[Estimate | None, ...], ...]
    """Row t, column k: KL(clean || swapped in thought t) of state h_k, nats."""

    def finding(self, claim: Claim, thought: int) -> Finding:
        untested = Finding(claim=claim, thought=thought, outcome="not tested", n=0, words="not run by that version")
        return next((f for f in self.findings if f.claim == claim and f.thought == thought), untested)

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


def plans_for(model: CoconutGPT2, directions: Directions) -> list[EditPlan]:
    """Every edit that a sheet is made from."""
    everything = tuple(range(1, n_thoughts_of(model) + 1))
    plans = []
    for t in everything:
        plans += [_plan(kind, t) for kind in (*REMOVALS, "transplant", "reorder")]
        if model.config.method in PAUSE_METHODS:
            plans += [_patch(t, layer) for layer in range(1, model.config.n_layer + 1)]
        if t in directions.defined:
            plans += [_swap(t), _collapsed(1, t), _collapsed(0, t)]
    held = [t for t in everything if t in directions.defined]
    plans += [_collapsed(top, *held) for top in (1, 0) if len(held) > 1]
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

    Rows go to ``out``, resumable (``run_to_folder``). Raises InputError as that does, for too few problems, and for
    problems that the directions were fitted on.
    """
    if len(problems) < MIN_N:
        raise InputError(f"a verdict needs at least {MIN_N} problems; got {len(problems)}")
    directions.check_fits(model)
    directions.check_unseen(problems)
    run_to_folder(
        model, problems, plans_for(model, directions), out, directions=directions, source=source,
        controls=RUN_CONTROLS, seed=seed, batch_size=batch_size, progress=progress, what=f"verdict, {name}",
    )  # fmt: skip
    sheet = judge(
        read_rows(Path(out) / "rows.jsonl"), n_thoughts=n_thoughts_of(model), name=name,
        checkpoint=fingerprint(model), method=model.config.method, data=source, seed=seed,
    )  # fmt: skip
    flags = flags_of(model, problems[:FLAG_ON], sheet, seed=seed)
    return sheet.model_copy(update={"flags": flags, "precision": model.precision})


@torch.inference_mode()
def flags_of(model: CoconutGPT2, problems: Sequence[ProsQAProblem], sheet: Sheet, *, seed: int = 0) -> tuple[str, ...]:
    """Winner decodable at thought 1, thoughts idle, their length, stage mixing: those of them that are so.

    The winner: in thought 1, by the logit lens, of problems of two hops or more and candidates equally deep, the share
    in which the target is above the other candidate; chance and the control, fresh weights, are one half.
    """
    codec, config, found = model.codec, model.config, [unmixed(model.config, sheet.n_thoughts)]
    deep = [p for p in problems if p.n_hops > 1 and p.backward_depth(p.target) == p.backward_depth(p.neg_target)]
    prompts = [codec.prompt(p, np.random.default_rng([seed, i])) for i, p in enumerate(deep)]
    if prompts and sheet.n_thoughts:
        shares, lengths = [], []
        control = untrained(config, seed=seed)
        torch.nn.Module.to(control, model.device)
        for thinker in (model, use(control, model.precision)):
            above = []
            for start in range(0, len(prompts), FLAG_BATCH):
                part = prompts[start : start + FLAG_BATCH]
                trace = thinker.think(codec.collate(part).to(model.device), max(codec.lag, 1))
                logit = node_log_probs(thinker, trace, part).logit[:, codec.lag]
                pairs = [(row[p.target], row[p.neg_target]) for row, p in zip(logit, deep[start:], strict=False)]
                above += [(a > b) + (a == b) / 2 for a, b in pairs]
                lengths += [norms(thinker, trace)] * (thinker is model)
            shares.append(share(above))
        ours, chance = shares
        if ours and ours.low is not None and chance and ours.low > max(CHANCE, chance.high or CHANCE):
            found.append(
                f"Winner decodable at thought 1: the target is read above the other candidate in "
                f"{ours.text('percent')} of {ours.n} problems of two hops or more, candidates equally deep "
                f"(untrained {chance.text('percent')})."
            )
        found.append(off_norm(lengths[0]))
        zeroed = sheet.without.get("all zeros")
        if zeroed is not None:
            found.append(idle(sheet.accuracy.value, zeroed.value, within=IDLE_WITHIN))
    return tuple(sentence for sentence in found if sentence)


def judge(
    rows: Iterable[Row], *, n_thoughts: int, name: str, checkpoint: str, method: str, data: str, seed: int
) -> Sheet:
    """The sheet of finished rows."""
    runs = _Runs(rows)
    everything = tuple(range(1, n_thoughts + 1))
    names = zip(REMOVALS, ("all zeros", "all their mean", "all another problem's"), strict=True)
    without = {"no thoughts": _NO_THOUGHTS} | {words: _plan(kind, *everything) for kind, words in names}
    swapped = [t for t in everything if runs.of(_collapsed(1, t))]
    if len(swapped) > 1:
        words = f"thoughts {', '.join(map(str, swapped))} collapsed to the best"
        without |= {f"{words} node of each": _collapsed(1, *swapped)}
        without |= {f"{words} nodes, as many as are at distance t": _collapsed(0, *swapped)}
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
        findings=tuple(
            judged(t, runs, method)
            for t in everything
            for judged in (_decodable, _used, _necessary, _sufficient, _parallel)
        ),
        thresholds=dict(THRESHOLDS),
        by_gap=_by_gap(runs, everything),
        lens_auroc=tuple(mean(list(runs.auroc("lens_auroc", t).values()), within=(0, 1)) for t in everything),
        propagation=tuple(
            tuple(
                mean([row["kl"][k] for row in runs.of(_swap(t)).values()], within=(0, None))
                for k in range(n_thoughts + 1)
            )
            for t in everything
        ),
    )


def _by_gap(runs: _Runs, thoughts: Sequence[int]) -> dict[str, tuple[Estimate | None, ...]]:
    gap = {number: STRATA["gap"](row, _NO_THOUGHTS) for number, row in runs.clean.items()}
    return {
        f"{words}, {stratum}": tuple(
            share([flip for number, flip in runs.flips(plan(t)).items() if gap[number] == stratum]) for t in thoughts
        )
        for stratum in sorted({each for each in gap.values() if each})
        for words, plan in (("swap", _swap), ("transplant", lambda t: _plan("transplant", t)))
    }


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
        return sure(share(list(self.right(plan).values())))

    def auroc(self, name: str, t: int) -> dict[int, float]:
        """By problem where it is defined."""
        return {number: row[name][t - 1] for number, row in self.clean.items() if row[name][t - 1] is not None}


def _plan(kind: str, *thoughts: int) -> EditPlan:
    return EditPlan([EditSpec(kind, thoughts)])


def _swap(t: int) -> EditPlan:
    return EditPlan([EditSpec("swap", (t,), measured=True)])


def _patch(t: int, layer: int) -> EditPlan:
    return EditPlan([EditSpec("patch", (t,), layer=layer)])


def _collapsed(top: int, *thoughts: int) -> EditPlan:
    return EditPlan([EditSpec("collapse", thoughts, top=top)])


_NO_THOUGHTS = EditPlan([EditSpec("truncate", k=0)])

Numbers = dict[int, float] | dict[int, bool]


def _both(ours: Numbers, control: Numbers) -> tuple[Floats, Floats]:
    """Values of the problems that have both, in one order."""
    both = sorted(ours.keys() & control.keys())
    return np.array([ours[number] for number in both], float), np.array([control[number] for number in both], float)


def _decodable(t: int, runs: _Runs, method: str) -> Finding:
    ours = runs.auroc("auroc_root", t)
    beyond, depth = (text(mean(list(runs.auroc(name, t).values()), within=(0, 1))) for name in ("auroc", "depth_auroc"))
    words = (
        "AUROC {value} of its own frontier against the counterfactual question's (node directions; {name} has .5); "
        f"against all nodes beyond {beyond}, the depth reader {depth}"
    )
    pair = _both(ours, dict.fromkeys(ours, 0.5))
    return _judged("decodable", t, pair, CHANCE_READER, words, "problems with two frontiers to tell apart")


def _used(t: int, runs: _Runs, method: str) -> Finding:
    edited = runs.flips(_swap(t))
    pairs = {name: _both(edited, runs.flips(_swap(t), name)) for name in SWAP_CONTROLS}
    gaps = {name: _ends(paired(*pair))[0] for name, pair in pairs.items() if len(pair[0]) >= MIN_N}
    name = min(gaps, key=lambda name: gaps[name], default="random")  # that one exists wherever the edit does
    lacking = ", ".join(f"{other} (n = {len(pair[0])})" for other, pair in pairs.items() if other not in gaps)
    words = "swapping the branches flips {value}; the worst control ({name}) {control}"
    found = _judged(
        "used", t, pairs[name], name, words + (f"; not run: {lacking}" if lacking else ""),
        "rightly answered problems where the branches can be swapped", np.array(list(edited.values()), float),
    )  # fmt: skip
    if found.outcome == "shown" and not any(CONTROLS[name].matched for name in gaps):
        found = found.model_copy(update={"outcome": "partly"})
    return _tested(found, runs, method, found.control)


def _necessary(t: int, runs: _Runs, method: str) -> Finding:
    kind = max(REMOVALS, key=lambda kind: (runs.accuracy(_plan(kind, t)).value, kind))
    pair = _both(runs.right(_plan(kind, t)), runs.right(_plan(kind, t), "random"))
    words = (
        f"accuracy {{value}} with {REMOVALS[kind]} in its place (the mildest removal; chance 50 %), "
        "{control} after a random change of that length"
    )
    return _judged("necessary", t, pair, f"random change as long as {kind}", words, "problems")


def _sufficient(t: int, runs: _Runs, method: str) -> Finding:
    pair = _both(runs.flips(_plan("transplant", t)), runs.flips(_plan("resample", t)))
    placebo, elsewhere = (
        share(list(runs.flips(plan, control).values()))
        for plan, control in ((_plan("reorder", t), ""), (_plan("transplant", t), "other-step"))
    )
    words = (
        f"the counterfactual question's thought {t} alone flips {{value}}; {{name}} {{control}}; the same question's, "
        f"facts in another order, {text(placebo, 'percent')}; put at another thought {text(elsewhere, 'percent')}"
    )
    what = "rightly answered problems with a counterfactual question"
    return _tested(_judged("sufficient", t, pair, "another problem's thought", words, what), runs, method, placebo)


def _parallel(t: int, runs: _Runs, method: str) -> Finding:
    ours, theirs = (runs.right(_collapsed(top, t)) for top in (1, 0))
    lost = {number for number in ours if runs.clean[number]["best_leads"][t - 1] == 0}
    few = len(lost) < MIN_N
    pair = _both({number: right for number, right in ours.items() if few or number in lost}, theirs)
    every = text(share(list(ours.values())), "percent")
    words = (
        "collapsed to the node that stands out most, {value} are right"
        + ("" if few else " where that node does not lead to the target")
        + f" (all problems: {every}); collapsed to as many best nodes as there are at distance {t}, {{control}}"
        + (f"; in only {len(lost)} problems that node does not lead there, so at most partly" if few else "")
    )
    what = "problems where the thought can be collapsed"
    found = _judged("parallel", t, pair, "as many nodes as at distance t", words, what)
    if few and found.outcome == "shown":
        found = found.model_copy(update={"outcome": "partly"})
    return _tested(found, runs, method, None)


def _tested(found: Finding, runs: _Runs, method: str, control: Estimate | None) -> Finding:
    """The finding, or why the answer's following an edit says nothing about the model's own thoughts."""
    accuracy, why = runs.accuracy(CLEAN), ""
    if method in PAUSE_METHODS:
        flips = takewhile(bool, (runs.flips(_patch(found.thought, layer)) for layer in count(1)))
        patched = (
            f"{text(share(list(each.values())), 'percent')} after block {layer}" for layer, each in enumerate(flips, 1)
        )
        why = "nothing is fed back here; patching the residual stream at that position flips " + ", ".join(patched)
    elif _ends(accuracy)[0] <= THRESHOLDS["tested_accuracy"]:
        why = f"clean accuracy {accuracy.text('percent')} is not clearly above {_HUNDREDTHS['tested_accuracy']} %"
    elif control is not None and control.value >= THRESHOLDS["tested_flips"] and found.outcome != "not shown":
        why = f"a control flips {control.text('percent')} by itself, {_HUNDREDTHS['tested_flips']} % or more"
    if not why:
        return found
    return found.model_copy(update={"outcome": "not tested", "words": f"{why}. Measured all the same: {found.words}"})


def _judged(
    claim: Claim, t: int, pair: tuple[Floats, Floats], name: str, words: str, what: str, every: Floats | None = None
) -> Finding:
    """By the difference to the control, and by the value itself where it has a threshold (BARS), without which a claim
    is shown partly at most. ``pair``: values under the edit and under the control ``name``, of the same problems;
    ``every``: those under the edit of all problems, where the control lacks some. ``what``: what problems they are."""
    ours, theirs = pair
    every = ours if every is None else every
    if len(every) < MIN_N:
        said = f"only {len(every)} {what}; at least {MIN_N} are needed"
        return Finding(claim=claim, thought=t, outcome="not tested", n=len(every), words=said)
    value, control = (mean(each, within=(0, 1)) if claim == "decodable" else share(each) for each in (every, theirs))
    fewer = claim in ("necessary", "parallel")
    gap = paired(theirs, ours) if fewer else paired(ours, theirs)
    bar, (low, high) = THRESHOLDS.get(BARS.get(claim, "")), _ends(value)
    enough = bar is None or (high <= bar if fewer else low >= bar)
    outcome: Outcome = "not shown"
    if claim == "decodable":
        outcome = "shown" if enough else "partly" if low >= THRESHOLDS["partly_decodable_auroc"] else outcome
    elif _ends(gap)[0] >= THRESHOLDS[f"partly_{claim}_difference"]:
        outcome = "shown" if enough and _ends(gap)[0] >= THRESHOLDS[f"{claim}_difference"] else "partly"
    style: Style = "plain" if claim == "decodable" else "percent"
    said = words.format(value=text(value, style), control=text(control, style), name=name)
    return Finding(
        claim=claim, thought=t, outcome=outcome, n=len(every), value=value, control=control, control_name=name,
        difference=gap, words=said,
    )  # fmt: skip


def _ends(found: Estimate | None) -> tuple[float, float]:
    """The interval of what MIN_N problems were asked for."""
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high
