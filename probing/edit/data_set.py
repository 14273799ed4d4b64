"""Interventions on data sets, for measuring: resumable rows, and their summaries."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.coconut import CoconutGPT2
from model.errors import InputError, OutputError, ProblemTooLargeError
from model.files import atomic_path, read_json, write_json
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import draw_prompt, n_thoughts_of
from probing.edit.directions import Directions, batches, fingerprint
from probing.edit.effects import Mean, Rate, decodability, mean, rate, state_effects
from probing.edit.kinds import CONTROLS
from probing.edit.run import Host, Outcome, prepare, run_edit
from probing.edit.spec import EditPlan, EditSpec

Row = dict[str, Any]


CLEAN = "clean"


def dataset_rows(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    plans: Sequence[Sequence[EditSpec]],
    *,
    directions: Directions | None,
    controls: Sequence[str] = tuple(CONTROLS),
    seed: int = 0,
    batch_size: int = 64,
    skip: int = 0,
) -> Iterator[list[Row]]:
    """Rows of every problem, plan and control, one list per batch; the first ``skip`` problems are left out.

    Problem i is written under draw (seed, i). ``skip`` must be a multiple of ``batch_size``: what stands in one batch
    is part of the arithmetic. Raises InputError as ``intervene`` does; an edit that does not exist for a problem gives
    a row with ``defined`` false.
    """
    assert skip % batch_size == 0, (skip, batch_size)
    runs = _runs(model, plans, directions, controls)
    for rows in batches(len(problems), batch_size):
        if rows[0] < skip:
            continue
        prompts = [draw_prompt(model, problems[i], seed=seed, number=i) for i in rows]
        prepared = prepare(model, prompts, rows, directions)
        found: list[Row] = []
        for text, control, plan in runs:
            found += _rows(text, control, run_edit(model, prepared, plan))
        yield _clean_rows(prepared.plain) + found


def _runs(
    model: CoconutGPT2, plans: Sequence[Sequence[EditSpec]], directions: Directions | None, controls: Sequence[str]
) -> list[tuple[str, str, EditPlan]]:
    """(edit, control, plan) of every run, checked."""
    runs: list[tuple[str, str, EditPlan]] = []
    for plan in map(EditPlan, plans):
        plan.check_fits(n_thoughts=n_thoughts_of(model), n_layer=model.config.n_layer, directions=directions)
        runs.append((str(plan), "", plan))
        runs += [(str(plan), name, each) for name, each in plan.controls().items() if name in controls]
    return runs


def _rows(text: str, control: str, outcome: Outcome) -> list[Row]:
    clean, states = outcome.host.answers, outcome.states
    found = []
    for i, number in enumerate(outcome.host.context.run.ids):
        row: Row = {"row": number, "edit": text, "control": control, "defined": outcome.built.defined[i]}
        if row["defined"]:
            row |= {
                "log_odds": float(outcome.answers.log_odds[i]),
                "neither": bool(outcome.answers.neither[i]),
                "clean_log_odds": float(clean.log_odds[i]),
                "kl": _short(states.kl[i]),
                "mass": _short(states.mass[i]),
                "other_mass": _short(states.other_mass[i]),
            }
            if control and CONTROLS[control].elsewhere:
                row["at"] = outcome.built.touched[i][0].t
        found.append(row)
    return found


def _clean_rows(host: Host) -> list[Row]:
    states = state_effects(host.log_probs, host.log_probs, host.sets)
    run = host.context.run
    decoded = decodability(run.trace, host.log_probs, run.prompts, host.context.directions)
    return [
        {
            "row": number,
            "edit": CLEAN,
            "control": "",
            "defined": True,
            "hops": problem.n_hops,
            "log_odds": float(host.answers.log_odds[i]),
            "neither": bool(host.answers.neither[i]),
            "clean_log_odds": float(host.answers.log_odds[i]),
            "kl": _short(states.kl[i]),
            "mass": _short(states.mass[i]),
            "other_mass": _short(states.other_mass[i]),
            **{name: _short(values[i]) for name, values in decoded.items()},
        }
        for i, (number, problem) in enumerate(zip(run.ids, run.problems, strict=True))
    ]


def _short(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


@dataclass(frozen=True)
class EffectSummary:
    """One edit (or one control of it) over a data set. Intervals are 95 %."""

    edit: str
    control: str
    """Empty for the edit itself."""
    n: int
    """Problems it exists for; the rest of the data set is ``n_undefined``."""
    n_undefined: int
    follows: Rate | None = None
    """The answer is the other candidate."""
    flips: Rate | None = None
    """The answer is not the one of the clean run."""
    neither: Rate | None = None
    """The most probable token is neither candidate."""
    accuracy: Rate | None = None
    clean_accuracy: Rate | None = None
    """Of the clean run on the same problems."""
    log_odds_change: Mean | None = None
    """Change of log P(target) - log P(other), nats."""
    kl: tuple[Mean | None, ...] = ()
    """Per state h_0..h_K: KL(clean || edited), nats."""
    mass_change: tuple[Mean | None, ...] = ()
    """Per state: change of the probability on its frontier."""
    other_mass_change: tuple[Mean | None, ...] = ()
    """Per state: change of the probability on the other question's frontier."""


def summarise(rows: Iterable[Row]) -> list[EffectSummary]:
    """One summary per edit and control, in the order of first appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["edit"], row["control"]), []).append(row)
    clean = {row["row"]: row for row in groups.get((CLEAN, ""), [])}
    found = []
    for (edit, control), members in groups.items():
        here = [row for row in members if row["defined"]]
        if not here:
            found.append(EffectSummary(edit, control, 0, len(members)))
            continue
        after = np.array([row["log_odds"] for row in here])
        before = np.array([row["clean_log_odds"] for row in here])
        rewired = edit != CLEAN and EditPlan.parse(edit).source == "rewired"

        def per_state(
            name: str, change: bool, here: list[Row] = here, rewired: bool = rewired
        ) -> tuple[Mean | None, ...]:
            values = np.array([row[name] for row in here])
            if change:
                # The clean rows are of the graph as given; a rewired graph has no clean row of its own.
                if rewired:
                    return ()
                values = values - np.array([clean[row["row"]][name][: values.shape[1]] for row in here])
            return tuple(mean(column) for column in values.T)

        found.append(
            EffectSummary(
                edit=edit,
                control=control,
                n=len(here),
                n_undefined=len(members) - len(here),
                follows=rate(after <= 0),
                flips=rate((after > 0) != (before > 0)),
                neither=rate(np.array([row["neither"] for row in here])),
                accuracy=rate(after > 0),
                clean_accuracy=rate(before > 0),
                log_odds_change=mean(after - before),
                kl=per_state("kl", False),
                mass_change=per_state("mass", True),
                other_mass_change=per_state("other_mass", True),
            )
        )
    return found


def run_to_folder(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    plans: Sequence[Sequence[EditSpec]],
    out: str | Path,
    *,
    directions: Directions | None,
    source: str,
    controls: Sequence[str] = tuple(CONTROLS),
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[EffectSummary]:
    """``dataset_rows`` to ``out/rows.jsonl``, going on where an interrupted run stopped; then the summaries.

    ``out`` gets ``run.json`` (what was run), ``rows.jsonl``, ``summary.json`` and ``summary.csv``. ``progress`` is
    told (problems done, of how many). Raises InputError if ``out`` holds another run, or as ``dataset_rows`` does.
    """
    out = Path(out)
    _runs(model, plans, directions, controls)
    for i, problem in enumerate(problems):
        try:
            model.codec.check_fits(problem, n_positions=model.config.n_positions, n_thoughts=model.config.n_thoughts)
        except ProblemTooLargeError as error:
            raise ProblemTooLargeError(f"problem {i} of {source}: {error}") from None
    header = {
        "version": 1,
        "checkpoint": fingerprint(model),
        "directions": None if directions is None else directions.digest,
        "data": source,
        "problems": _digest(problems),
        "n_problems": len(problems),
        "edits": [str(EditPlan(plan)) for plan in plans],
        "controls": list(controls),
        "seed": seed,
        "batch_size": batch_size,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    if (out / "run.json").exists():
        there = read_json(out / "run.json")
        changed = [key for key in header if not isinstance(there, dict) or there.get(key) != header[key]]
        if changed:
            raise InputError(
                f"{out} holds another run ({', '.join(changed)} differ); choose another folder or remove it"
            )
    else:
        # Both files belong together: rows without their run are of no known run.
        (out / "rows.jsonl").unlink(missing_ok=True)
    path = out / "rows.jsonl"
    done = _keep_whole_batches(path, batch_size, len(problems))
    progress(done, len(problems))
    steps = (
        dataset_rows(
            model,
            problems,
            plans,
            directions=directions,
            controls=controls,
            seed=seed,
            batch_size=batch_size,
            skip=done,
        )
        if done < len(problems)
        else iter(())
    )
    first = True
    for rows in steps:
        if first:
            write_json(out / "run.json", header)
            first = False
        try:
            with path.open("a", encoding="utf-8") as file:
                text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
                done += sum(row["edit"] == CLEAN for row in rows)
                file.write(text + json.dumps({"done": done}) + "\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
        progress(done, len(problems))
    summaries = summarise(read_rows(path))
    write_json(out / "summary.json", {**header, "summary": [asdict(summary) for summary in summaries]})
    with atomic_path(out / "summary.csv") as temporary:
        temporary.write_text(summary_csv(summaries), encoding="utf-8")
    return summaries


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of a finished or interrupted run; a batch that was not finished is left out."""
    waiting: list[Row] = []
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                return
            if "done" in row:
                yield from waiting
                waiting = []
            else:
                waiting.append(row)


def read_summaries(path: str | Path) -> list[EffectSummary]:
    """The summaries in a ``summary.json``. Raises InputError for another file."""
    try:
        return [_summary(entry) for entry in read_json(path)["summary"]]
    except (KeyError, TypeError):
        raise InputError(f"{path}: not the summary of an intervention run") from None


def _summary(entry: Mapping[str, Any]) -> EffectSummary:
    def number(value: Mapping[str, Any] | None) -> Any:
        if value is None:
            return None
        fields = {**value, "ci95": tuple(value["ci95"])}
        return Rate(**fields) if "k" in fields else Mean(**fields)

    found: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, list):
            found[name] = tuple(number(each) for each in value)
        else:
            found[name] = number(value) if isinstance(value, Mapping) else value
    return EffectSummary(**found)


def summary_csv(summaries: Sequence[EffectSummary]) -> str:
    """The answer effects as a table."""
    columns = ("follows", "flips", "neither", "accuracy", "clean_accuracy", "log_odds_change")
    head = ["edit", "control", "n", "n_undefined"]
    for name in columns:
        head += [name, f"{name}_low", f"{name}_high"]
    lines = [",".join(head)]
    for summary in summaries:
        text = summary.edit.replace('"', '""')
        cells = [f'"{text}"', summary.control, str(summary.n), str(summary.n_undefined)]
        for name in columns:
            value = getattr(summary, name)
            cells += ["", "", ""] if value is None else [f"{v:.6g}" for v in (value.value, *value.ci95)]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def _digest(problems: Sequence[ProsQAProblem]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(repr((problem.edges, problem.root, problem.target, problem.neg_target)).encode())
    return digest.hexdigest()[:16]


def _keep_whole_batches(path: Path, batch_size: int, n_problems: int) -> int:
    """Cut a rows file back to its last finished batch; how many problems it then holds."""
    if not path.exists():
        return 0
    done, end = 0, 0
    try:
        with path.open("rb") as file:
            while line := file.readline():
                if line.startswith(b'{"done": ') and line.endswith(b"}\n"):
                    done, end = json.loads(line)["done"], file.tell()
        with path.open("r+b") as file:
            file.truncate(end)
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as the rows of a run ({error})") from None
    if done % batch_size and done != n_problems:
        raise InputError(f"{path}: not the rows of this run")
    return done
