"""Interventions on data sets, for measuring: resumable rows, and their summaries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.checkpoint import fingerprint
from model.coconut import CoconutGPT2
from model.errors import ProblemTooLargeError
from model.files import held, read_json, write_csv, write_json
from model.problems.prosqa import ProsQAProblem, digest
from model.stats import Estimate, Floats, mean, means, share
from model.store import RunStore
from model.store import read_rows as read_rows
from model.values import Progress, Value, silent, validated
from probing.edit.batch import prompt_batches
from probing.edit.directions import Directions
from probing.edit.effects import Seen, decodability
from probing.edit.kinds import CONTROLS, SOURCES
from probing.edit.run import Prepared, build, prepare, run_built, runs_of
from probing.edit.spec import EditPlan, EditSpec

Row = dict[str, Any]
Controls = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of CONTROLS to run beside every plan, or those of plans by the kind of their first edit."""
CLEAN = "clean"


def _gap(clean: Row, plan: EditPlan) -> str | None:
    if clean.get("other_hops") is None:
        return None
    gap = clean["other_hops"] - clean["hops"]
    return "both candidates as deep" if not gap else f"other candidate {abs(gap)} {'deeper' if gap > 0 else 'nearer'}"


def _greedy(clean: Row, plan: EditPlan) -> str | None:
    leads = [clean.get("best_leads", [None] * t)[t - 1] for spec in plan for t in spec.thoughts if t]
    known = [each for each in leads if each is not None]
    return None if not known else "a greedy walk arrives" if all(known) else "a greedy walk fails"


STRATA: dict[str, Callable[[Row, EditPlan], str | None]] = {
    "hops": lambda clean, plan: f"{clean['hops']} hops",
    "other-hops": lambda clean, plan: clean.get("other_hops") and f"other candidate {clean['other_hops']} hops deep",
    "gap": _gap,
    "greedy": _greedy,
}
"""What problems can be told apart by, from their clean rows and the edit: hops; hops of the counterfactual question,
alone and against those of the question; whether the nodes that stand out most in the edited thoughts lead to the target
(``best_leads``). None: not known."""


def dataset_rows(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    plans: Sequence[Sequence[EditSpec]],
    *,
    directions: Directions | None,
    controls: Controls = tuple(CONTROLS),
    seed: int = 0,
    batch_size: int = 64,
    skip: int = 0,
) -> Iterator[list[Row]]:
    """Rows of every problem, plan and control, one list per batch; the first ``skip`` problems are left out.

    Problem i is written under prompt sample (seed, i). ``skip`` must be a multiple of ``batch_size`` or all: what
    stands in one batch is part of the arithmetic. Raises InputError as ``intervene`` does; an edit that does not exist
    for a problem gives a row with ``defined`` false.
    """
    runs = _runs(model, plans, directions, controls)
    for rows, prompts in prompt_batches(model, problems, seed=seed, size=batch_size, skip=skip):
        yield _batch_rows(model, prepare(model, prompts, rows, directions), runs)


def _runs(
    model: CoconutGPT2, plans: Sequence[Sequence[EditSpec]], directions: Directions | None, controls: Controls
) -> list[dict[str, EditPlan]]:
    def names(plan: Sequence[EditSpec]) -> Sequence[str]:
        return controls.get(plan[0].kind, ()) if isinstance(controls, Mapping) else controls

    return [runs_of(model, plan, directions, names(plan)) for plan in plans]


@torch.inference_mode()
def _batch_rows(model: CoconutGPT2, prepared: Prepared, runs: Sequence[dict[str, EditPlan]]) -> list[Row]:
    plain, shared = prepared.base(), {}
    decoded = decodability(model, plain.clean, plain.context.run.prompts, plain.context.directions)
    found: list[Row] = [
        {"row": number, "edit": CLEAN, "control": "", "defined": True, "hops": problem.n_hops}
        | {"other_hops": problem.counterfactual and problem.counterfactual.n_hops}
        | measures
        | {name: _short(values[i]) for name, values in decoded.items()}
        for i, (number, problem, measures) in enumerate(
            zip(plain.context.run.ids, plain.context.run.problems, _measures(plain.clean, plain.clean), strict=True)
        )
    ]
    for text, control, plan in ((str(each[""]), *run) for each in runs for run in each.items()):
        base = prepared.base(plan)
        built = build(plan, base.context)
        key = (base.context.run, control, built.places) if plan.shared else plan
        if key not in shared:
            shared[key] = _measures(run_built(model, base, built, plan), base.clean)
        for i, number in enumerate(base.context.run.ids):
            row: Row = {"row": number, "edit": text, "control": control, "defined": built.defined[i]}
            if row["defined"]:
                row |= shared[key][i]
                if control and CONTROLS[control].elsewhere:
                    row["at"] = built.touched[i][0].t
            found.append(row)
    return found


def _measures(seen: Seen, clean: Seen) -> list[Row]:
    """Of every row of a batch."""
    kl, answers, before = seen.kl(clean), seen.answers, clean.answers.log_odds
    return [
        {
            "log_odds": float(answers.log_odds[i, 0]),
            "neither": bool(answers.neither[i, 0]),
            "escape": float(f"{1 - answers.p_target[i, 0] - answers.p_other[i, 0]:.6g}"),
            "clean_log_odds": float(before[i, 0]),
            "kl": _short(kl[i]),
            "mass": _short(seen.mass[i]),
            "other_mass": _short(seen.other_mass[i]),
        }
        for i in range(len(before))
    ]


def _short(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


class EffectSummary(Value):
    """One edit (or one control of it) over a data set. Intervals are 95 %."""

    edit: str
    """As text; CLEAN for the unedited runs."""
    control: str
    """Empty for the edit itself."""
    stratum: str = ""
    """Which of the problems (STRATA); empty for all."""
    n: int
    """Problems it exists for; the rest of the data set is ``n_undefined``."""
    n_undefined: int
    follows: Estimate | None = None
    """The answer is the other candidate."""
    flips: Estimate | None = None
    """The answer is not the one of the clean run."""
    neither: Estimate | None = None
    """The most probable token is neither candidate."""
    escape: Estimate | None = None
    """Probability on anything but the two candidates, when an answer is forced."""
    accuracy: Estimate | None = None
    clean_accuracy: Estimate | None = None
    """Of the clean run on the same problems."""
    log_odds_change: Estimate | None = None
    """Change of log P(target) - log P(other), nats."""
    kl: tuple[Estimate | None, ...] = ()
    """Per state h_0..h_K: KL(clean || edited), nats."""
    mass_change: tuple[Estimate | None, ...] = ()
    """Per state: change of the probability on its frontier."""
    other_mass_change: tuple[Estimate | None, ...] = ()
    """Per state: change of the probability on the counterfactual question's frontier."""

    @property
    def plan(self) -> EditPlan | None:
        """None for the unedited runs."""
        return None if self.edit == CLEAN else EditPlan.parse(self.edit)


ANSWER_EFFECTS = ("follows", "flips", "neither", "escape", "accuracy", "clean_accuracy", "log_odds_change")


def summarise(rows: Iterable[Row], by: str = "") -> list[EffectSummary]:
    """One summary per edit and control, in the order of first appearance; with ``by``, one of STRATA, behind each
    those of its strata."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["edit"], row["control"]), []).append(row)
    clean, found = {row["row"]: row for row in groups.get((CLEAN, ""), [])}, []
    for (edit, control), members in groups.items():
        found.append(_summary(edit, control, members, clean))
        if by and edit != CLEAN:
            plan, strata = EditPlan.parse(edit), dict[str, list[Row]]()
            for row in members:
                if stratum := STRATA[by](clean[row["row"]], plan):
                    strata.setdefault(stratum, []).append(row)
            for stratum, some in sorted(strata.items()) if len(strata) > 1 else ():
                found.append(_summary(edit, control, some, clean).model_copy(update={"stratum": stratum}))
    return found


def _summary(edit: str, control: str, members: list[Row], clean: dict[int, Row]) -> EffectSummary:
    here = [row for row in members if row["defined"]]
    found = EffectSummary(edit=edit, control=control, n=len(here), n_undefined=len(members) - len(here))
    if not here:
        return found
    source = SOURCES.get(found.plan.source) if found.plan else None

    def values(name: str) -> Floats:
        return np.array([row[name] for row in here])

    def change(name: str) -> tuple[Estimate | None, ...]:
        if source and source.base_reads_other:
            return ()  # the clean rows are of the graph as given; the other one has no clean row of its own
        after = values(name)
        return means(after - np.array([clean[row["row"]][name][: after.shape[1]] for row in here]), within=(-1, 1))

    after, before = values("log_odds"), values("clean_log_odds")
    return found.model_copy(
        update={
            "follows": share(after <= 0),
            "flips": share((after > 0) != (before > 0)),
            "neither": share(values("neither")),
            "escape": mean([row.get("escape", math.nan) for row in here], within=(0, 1)),
            "accuracy": share(after > 0),
            "clean_accuracy": share(before > 0),
            "log_odds_change": mean(after - before),
            "kl": means(values("kl"), within=(0, None)),
            "mass_change": change("mass"),
            "other_mass_change": change("other_mass"),
        }
    )


def run_to_folder(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    plans: Sequence[Sequence[EditSpec]],
    out: str | Path,
    *,
    directions: Directions | None,
    source: str,
    controls: Controls = tuple(CONTROLS),
    by: str = "",
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = silent,
    what: str = "edits",
) -> list[EffectSummary]:
    """``dataset_rows`` to ``out/rows.jsonl``, resuming where an interrupted run stopped; then the summaries.

    ``out`` gets ``run.json`` (what was run), ``rows.jsonl``, ``summary.json`` and ``summary.csv``. ``progress`` is
    told (``what``, problems done, of how many). Raises InputError if ``out`` holds another run or another process
    writes there, or as ``dataset_rows`` does.
    """
    _runs(model, plans, directions, controls)
    for i, problem in enumerate(problems):
        try:
            model.config.check_fits(problem)
        except ProblemTooLargeError as error:
            raise ProblemTooLargeError(f"problem {i} of {source}: {error}") from None
    header = {
        "version": 2,
        "checkpoint": fingerprint(model),
        "precision": model.precision,
        "directions": None if directions is None else directions.digest,
        "data": source,
        "problems": digest(problems),
        "n_problems": len(problems),
        "edits": [str(EditPlan(plan)) for plan in plans],
        "controls": (
            {kind: list(names) for kind, names in controls.items()} if isinstance(controls, Mapping) else list(controls)
        ),
        "seed": seed,
        "batch_size": batch_size,
    }
    out = Path(out)
    with held(out):
        kept = RunStore(out, header).rows("rows.jsonl", total=len(problems), batch=batch_size)
        progress(what, kept.done, len(problems))
        for rows in dataset_rows(
            model, problems, plans, directions=directions, controls=controls, seed=seed, batch_size=batch_size,
            skip=kept.done,
        ):  # fmt: skip
            kept.append(rows, sum(row["edit"] == CLEAN for row in rows))
            progress(what, kept.done, len(problems))
        summaries = summarise(kept.read(), by)
        write_json(out / "summary.json", header | {"summary": [one.model_dump(mode="json") for one in summaries]})
        summary_csv(summaries, out / "summary.csv")
    return summaries


def read_summaries(path: str | Path) -> list[EffectSummary]:
    """The summaries in a ``summary.json``. Raises InputError for another file."""
    found = read_json(path)
    entries = found.get("summary") if isinstance(found, dict) else found
    summaries: list[EffectSummary] = validated(
        list[EffectSummary], entries, where=f"{path}: not the summary of an intervention run"
    )
    return summaries


def summary_csv(summaries: Sequence[EffectSummary], path: str | Path | None = None) -> str:
    """The answer effects as a table, written to ``path``, if given."""
    columns = [f"{name}{ending}" for name in ANSWER_EFFECTS for ending in ("", "_low", "_high")]
    rows = []
    for summary in summaries:
        found = (getattr(summary, name) for name in ANSWER_EFFECTS)
        cells = [value for each in found for value in (each.cells()[:3] if each else (None,) * 3)]
        numbers = [None if value is None else f"{value:.6g}" for value in cells]
        rows.append((summary.edit, summary.control, summary.n, summary.n_undefined, *numbers, summary.stratum))
    return write_csv(path, ["edit", "control", "n", "n_undefined", *columns, "stratum"], rows)
