"""Interventions over a data set as charts: effect by edit and by steering coefficient, each beside its controls.

Made from the very summaries that ``summary.json`` and ``summary.csv`` hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from model.stats import Estimate
from probing.draw.values import Chart, Reference, Series
from probing.edit.data_set import EffectSummary
from probing.edit.kinds import CONTROLS
from probing.edit.spec import EditPlan

MIN_DOSES = 3
FOLLOWS = "answers with the other candidate"
COIN = (Reference(axis="y", at=0.5),)


def charts(summaries: Sequence[EffectSummary]) -> dict[str, Chart | tuple[Chart, ...]]:
    """File name without ending -> picture: ``effects``, and ``dose`` where an edit was run with enough coefficients."""
    summaries = [one for one in summaries if not one.stratum]
    doses = dose_response(summaries)
    return {"effects": effects(summaries)} | ({"dose": doses} if doses else {})


def families(summaries: Sequence[EffectSummary]) -> dict[str, list[EffectSummary]]:
    """Edits that differ in the steering coefficient alone, MIN_DOSES or more: name without it -> summaries."""
    groups: dict[str, list[EffectSummary]] = {}
    for summary in summaries:
        if summary.plan is not None:
            name = str(EditPlan(replace(spec, strength=1.0) for spec in summary.plan))
            groups.setdefault(name, []).append(summary)
    return {name: members for name, members in groups.items() if len({one.edit for one in members}) >= MIN_DOSES}


def dose_response(summaries: Sequence[EffectSummary]) -> tuple[Chart, ...]:
    """Share of answers that follow by steering coefficient: a chart per family, a line per edit and control."""
    found = []
    for number, (name, members) in enumerate(families(summaries).items(), 1):
        n = [member.n for member in members if not member.control]
        sizes = f"n = {min(n):,}" + (f"-{max(n):,}" if max(n) > min(n) else "")
        found.append(
            Chart(
                name=f"dose-{number}", title=name, kind="lines", x_label="steering coefficient (1: as fitted)",
                series=_series(sorted(members, key=_strength), _strength), y_label=FOLLOWS, y_range=(0, 1),
                note=f"{sizes}; bands: Wilson 95 %", references=COIN,
            )
        )  # fmt: skip
    return tuple(found)


def _strength(summary: EffectSummary) -> float:
    return summary.plan[0].strength if summary.plan else 0.0


def effects(summaries: Sequence[EffectSummary]) -> Chart:
    """Share of answers that follow for every edit, a row each, with a mark per control and 95 % intervals."""
    own = {one.edit: f"{one.edit}  (n = {one.n:,})" for one in summaries if not one.control}
    rows = {one.edit: own.get(one.edit, one.edit) for one in summaries}
    return Chart(
        name="effects", title="Effect of every edit beside its controls", kind="strip", x_label="edit",
        y_label=f"{FOLLOWS} (lines: Wilson 95 %)", y_range=(0, 1), categories=tuple(rows.values()),
        series=_series(summaries, lambda one: rows[one.edit]), references=COIN,
    )  # fmt: skip


def _series(summaries: Sequence[EffectSummary], x: Callable[[EffectSummary], float | str]) -> tuple[Series, ...]:
    """One series for the edits and one for each control."""
    groups: dict[str, list[tuple[EffectSummary, Estimate]]] = {}
    for summary in summaries:
        if summary.follows is not None:
            groups.setdefault(summary.control, []).append((summary, summary.follows))
    return tuple(
        Series.of(
            CONTROLS[control].label if control else "the edit", [x(summary) for summary, _ in members],
            [follows for _, follows in members], source=control or "after",
        )
        for control, members in groups.items()
    )  # fmt: skip
