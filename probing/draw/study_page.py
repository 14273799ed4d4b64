"""A study as a self-contained HTML page: every edit, stratum and control in one table."""

from __future__ import annotations

from collections.abc import Sequence

from model.files import html
from model.stats import text
from probing.draw.html import frame, table
from probing.edit.data_set import CLEAN, EffectSummary
from probing.edit.kinds import CONTROLS
from probing.edit.study import Study, directions_found

COLUMNS = ("edit", "text form", "problems", "n", "accuracy", "other candidate above target", "escape")


def study_rows(summaries: Sequence[EffectSummary]) -> list[tuple[str, ...]]:
    """A row per edit, stratum and control, as COLUMNS."""
    found: list[tuple[str, ...]] = []
    for one in summaries:
        if not one.n and one.stratum:
            continue
        words = "nothing edited" if one.edit == CLEAN else one.plan.describe() if one.plan else ""
        if one.control:
            words = f"control: {CONTROLS[one.control].label}"
        numbers = (text(one.accuracy, "percent"), text(one.follows, "percent"), text(one.escape))
        found.append(
            (words, f"{one.edit}{one.control and f' [{one.control}]'}", one.stratum or "all", f"{one.n:,}", *numbers)
        )
    return found


def to_html(study: Study, name: str, data: str, summaries: Sequence[EffectSummary]) -> str:
    """The page of one checkpoint."""
    patterns = directions_found(summaries) if study.name == "direction" else {}
    body = f"<p>{html(name)} on {html(data)}. {html(study.reads)}</p>"
    if patterns:
        rows = [(pattern, f"{distance:.3f}") for pattern, distance in patterns.items()]
        body += table(("direction of search", "mean distance of the shares from its prediction"), rows)
    body += table(COLUMNS, study_rows(summaries))
    body += "<p class='caption'>Square brackets: 95 % intervals. Wilson for shares, Student's t for escape.</p>"
    return frame(study.question, body)
