"""Interventions over a data set as charts: effect by edit, and dose-response curves, each beside its controls.

Made from the very summaries that ``summary.json`` and ``summary.csv`` hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from probing.draw.values import Chart, Reference, Series
from probing.edit.data_set import CLEAN, EffectSummary
from probing.edit.spec import Scene, parse_scene, scene_text

LABELS = {
    "": "the edit",
    "identity": "identity",
    "random": "random direction",
    "unreachable": "unreachable nodes",
    "neither": "leads to neither",
    "other-step": "other step",
}
MIN_DOSES = 3
FOLLOWS = "answers with the other candidate"
COIN = (Reference(axis="y", at=0.5),)


def charts(summaries: Sequence[EffectSummary]) -> dict[str, Chart | tuple[Chart, ...]]:
    """File name without ending -> picture: ``effects``, and ``dose`` where an edit was run at enough strengths."""
    doses = dose_response(summaries)
    return {"effects": effects(summaries)} | ({"dose": doses} if doses else {})


def families(summaries: Sequence[EffectSummary]) -> dict[str, list[EffectSummary]]:
    """Edits that differ in strength alone, at MIN_DOSES strengths or more: name without strength -> summaries."""
    groups: dict[str, list[EffectSummary]] = {}
    for summary in summaries:
        if summary.edit != CLEAN:
            groups.setdefault(scene_text(_at(parse_scene(summary.edit), 1.0)), []).append(summary)
    return {name: members for name, members in groups.items() if len({one.edit for one in members}) >= MIN_DOSES}


def dose_response(summaries: Sequence[EffectSummary]) -> tuple[Chart, ...]:
    """Share of answers that follow against strength, a chart a family, a line for the edit and each control."""
    found = []
    for number, (name, members) in enumerate(families(summaries).items(), 1):
        n = [member.n for member in members if not member.control]
        sizes = f"n = {min(n):,}" + (f"-{max(n):,}" if max(n) > min(n) else "")
        members.sort(key=lambda one: parse_scene(one.edit)[0].strength)
        series = _series(members, lambda one: parse_scene(one.edit)[0].strength)
        found.append(
            Chart(
                name=f"dose-{number}", title=name, kind="lines", x_label="strength (1: as fitted)", y_label=FOLLOWS,
                series=series, y_range=(0, 1), references=COIN, note=f"{sizes}; bands: Wilson 95 %",
            )
        )  # fmt: skip
    return tuple(found)


def effects(summaries: Sequence[EffectSummary]) -> Chart:
    """Share of answers that follow for every edit, a row each, with a mark for every control and 95 % intervals."""
    own = {one.edit: f"{one.edit}  (n = {one.n:,})" for one in summaries if not one.control}
    rows = {one.edit: own.get(one.edit, one.edit) for one in summaries}
    return Chart(
        name="effects", title="Effect of every edit beside its controls", kind="strip", x_label="edit",
        y_label=f"{FOLLOWS} (lines: Wilson 95 %)", y_range=(0, 1), categories=tuple(rows.values()),
        series=_series(summaries, lambda one: rows[one.edit]), references=COIN,
    )  # fmt: skip


def _series(summaries: Sequence[EffectSummary], x: Callable[[EffectSummary], float | str]) -> tuple[Series, ...]:
    """One series for the edits and one for each control."""
    groups: dict[str, list[EffectSummary]] = {}
    for summary in summaries:
        if summary.follows is not None:
            groups.setdefault(summary.control, []).append(summary)
    found = []
    for control, members in groups.items():
        rates = [one.follows for one in members if one.follows is not None]
        found.append(
            Series(
                name=LABELS[control], x=tuple(map(x, members)), y=tuple(rate.value for rate in rates),
                low=tuple(rate.ci95[0] for rate in rates), high=tuple(rate.ci95[1] for rate in rates),
                source=control or "after",
            )
        )  # fmt: skip
    return tuple(found)


def _at(scene: Scene, strength: float) -> Scene:
    return tuple(replace(spec, strength=strength) for spec in scene)
