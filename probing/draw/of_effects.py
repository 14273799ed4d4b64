"""Pictures of interventions over a data set: effect by edit, and dose-response curves, each with its controls.

Drawn from the very summaries that ``summary.json`` and ``summary.csv`` hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.files import atomic_path
from probing.edit.data_set import CLEAN, EffectSummary
from probing.edit.spec import Scene, parse_scene, scene_text

STYLE = {
    "": ("the edit", "#0072b2", "o"),
    "identity": ("identity", "#000000", "|"),
    "random": ("random direction", "#777777", "s"),
    "unreachable": ("unreachable nodes", "#e69f00", "^"),
    "neither": ("leads to neither", "#009e73", "v"),
    "other-step": ("other step", "#cc79a7", "D"),
}
"""Label, colour (Okabe-Ito) and marker of the edit and of each control."""
MIN_DOSES = 3


def families(summaries: Sequence[EffectSummary]) -> dict[str, list[EffectSummary]]:
    """Edits that differ in strength alone, at MIN_DOSES strengths or more: name without strength -> summaries."""
    groups: dict[str, list[EffectSummary]] = {}
    for summary in summaries:
        if summary.edit != CLEAN:
            scene = parse_scene(summary.edit)
            groups.setdefault(scene_text(_at(scene, 1.0)), []).append(summary)
    return {
        name: members for name, members in groups.items() if len({summary.edit for summary in members}) >= MIN_DOSES
    }


def dose_response(summaries: Sequence[EffectSummary]) -> Figure | None:
    """Share of answers that follow against strength, a panel a family, a line for the edit and each control.

    Shaded: Wilson 95 %. None if no edit was run at MIN_DOSES strengths.
    """
    groups = families(summaries)
    if not groups:
        return None
    figure = Figure(figsize=(min(15.0, 1.0 + 3.6 * len(groups)), 3.8), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (name, members) in zip(panels, groups.items(), strict=True):
        for control in dict.fromkeys(member.control for member in members):
            points = [
                (parse_scene(member.edit)[0].strength, member.follows)
                for member in members
                if member.control == control and member.follows is not None
            ]
            points.sort(key=lambda point: point[0])
            label, color, marker = STYLE[control]
            x = [strength for strength, _ in points]
            axes.plot(x, [r.value for _, r in points], color=color, marker=marker, markersize=4, label=label)
            low, high = [r.ci95[0] for _, r in points], [r.ci95[1] for _, r in points]
            axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
        n = {member.n for member in members if not member.control}
        _frame(axes, f"{name}\nn = {min(n):,}" + (f"-{max(n):,}" if len(n) > 1 else ""))
        axes.set_xlabel("strength (1: as fitted)")
    panels[0].set_ylabel("answers with the other candidate")
    panels[0].legend(fontsize="small", loc="center right")
    return figure


def effects(summaries: Sequence[EffectSummary]) -> Figure:
    """Share of answers that follow for every edit, a row each, with a mark for every control and 95 % intervals."""
    edits = list(dict.fromkeys(summary.edit for summary in summaries))
    figure = Figure(figsize=(9.5, 1.4 + 0.34 * len(edits)), layout="constrained")
    axes = figure.subplots()
    seen: set[str] = set()
    for summary in summaries:
        if summary.follows is None:
            continue
        controls = list(dict.fromkeys(s.control for s in summaries if s.edit == summary.edit))
        shift = (controls.index(summary.control) - (len(controls) - 1) / 2) * 0.7 / max(len(controls), 1)
        label, color, marker = STYLE[summary.control]
        value, (low, high) = summary.follows.value, summary.follows.ci95
        axes.errorbar(
            [value],
            [edits.index(summary.edit) + shift],
            xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            color=color,
            marker=marker,
            markersize=4,
            linewidth=1,
            label=None if label in seen else label,
        )
        seen.add(label)
    names = {summary.edit: f"{summary.edit}  (n = {summary.n:,})" for summary in reversed(summaries)}
    own = {summary.edit: f"{summary.edit}  (n = {summary.n:,})" for summary in summaries if not summary.control}
    axes.set_yticks(range(len(edits)), [(names | own)[edit] for edit in edits], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(-0.03, 1.03)
    axes.axvline(0.5, color="0.75", linewidth=0.8, zorder=0)
    axes.set_xlabel("answers with the other candidate (lines: Wilson 95 %)")
    figure.legend(fontsize="small", loc="outside upper center", ncols=6, frameon=False)
    return figure


def write(figure: Figure, path: str | Path) -> None:
    """Save as the file's ending says, whole or not at all."""
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=150)


def _at(scene: Scene, strength: float) -> Scene:
    return tuple(replace(spec, strength=strength) for spec in scene)


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize="small")
    axes.set_ylim(-0.03, 1.03)
    axes.axhline(0.5, color="0.75", linewidth=0.8, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
