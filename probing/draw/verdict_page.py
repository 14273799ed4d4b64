"""A verdict sheet in plain sentences and as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.files import html, write_json, write_text
from model.metrics import METRICS
from model.stats import Estimate, text
from probing.draw.html import Markup, frame, table
from probing.edit.verdict import ABOUT, CHANCE, CLAIMS, MIN_N, RULES, TESTED, Claim, Finding, Sheet


def summary_sentences(sheet: Sheet) -> list[str]:
    """The sheet in plain sentences, the first of which is the answer to "are the thoughts used?"."""
    sentences = []
    used, partly = sheet.thoughts("used", "shown"), sheet.thoughts("used", "partly")
    if used:
        sentences.append(f"Content of {_thoughts(used)} is used: editing one branch inside it turns the answer.")
    if partly:
        sentences.append(f"Content of {_thoughts(partly)} is used in part of the problems.")
    if set(sheet.outcomes("used")) == {"not tested"}:
        sentences.append("Whether thoughts are used is not tested; the cells say why.")
    elif not used and not partly:
        sentences.append("No thought is shown to be used: editing branches does no more than the controls do.")
    others: tuple[Claim, ...] = ("decodable", "necessary", "sufficient", "parallel")
    for claim in others:
        shown, some = sheet.thoughts(claim, "shown"), sheet.thoughts(claim, "partly")
        found = (_thoughts(shown) if shown else "no thought") + (f"; partly {_thoughts(some)}" if some else "")
        sentences.append(f"{claim.capitalize()}: {found}.")
    unused = [t for t in sheet.thoughts("decodable", "shown") if t in sheet.thoughts("used", "not shown")]
    if unused:
        sentences.append(f"Decodable, but not shown to be used: {_thoughts(unused)}.")
    if (sheet.accuracy.low or 0) <= CHANCE:
        sentences.append("The model does not answer better than chance, so there is no answer for a thought to carry.")
    return [*sentences, *sheet.flags]


def to_html(sheets: Sequence[Sheet]) -> str:
    """A self-contained page: one section per checkpoint, nothing loaded from elsewhere."""
    body = "\n".join([_INTRODUCTION, *map(_section, sheets), _LEGEND])
    return frame("Verdict sheet", body, style=_STYLE)


def write_sheets(sheets: Sequence[Sheet], out: str | Path) -> None:
    """``verdict.json`` (a list) and ``verdict.html`` in a folder."""
    write_json(Path(out) / "verdict.json", [sheet.model_dump(mode="json") for sheet in sheets])
    write_text(Path(out) / "verdict.html", to_html(sheets))


# --- private --------------------------------------------------------------------------------------------------------


def _thoughts(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"thought {numbers[0]}"
    return f"thoughts {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _section(sheet: Sheet) -> str:
    first, *sentences = map(html, summary_sentences(sheet))
    thoughts = range(1, sheet.n_thoughts + 1)
    rows = [(t, *(_cell(sheet.finding(claim, t)) for claim in CLAIMS)) for t in thoughts]
    accuracy = {"as trained": sheet.accuracy} | sheet.without
    without = [(name, found.text("percent")) for name, found in accuracy.items()]
    spread = [(f"thought {t}", *(text(e, "short") for e in row)) for t, row in enumerate(sheet.propagation, 1)]
    return f"""<section>
<h2>{html(sheet.name)}</h2>
<p>method {html(sheet.method)} · weights {html(sheet.checkpoint)} · data {html(sheet.data)},
{sheet.n_problems:,} problems, seed {sheet.seed} · {sheet.n_thoughts} thoughts · passes in {sheet.precision} ·
accuracy {html(sheet.accuracy.text("percent"))} (chance 50 %)</p>
<p class='lead'>{first}</p>
<ul>{"".join(f"<li>{sentence}</li>" for sentence in sentences)}</ul>
{table(("thought", *CLAIMS), rows, name="sheet")}
<h3>Accuracy without the thoughts</h3>
{table(("thoughts", "accuracy"), without)}
<h3>Right answers flipped, by how deep the other candidate lies against the target</h3>
{table(("edit and problems", *thoughts), [(name, *map(_flips, row)) for name, row in sheet.by_gap.items()])}
<h3>Frontier AUROC by thought, without fitting</h3>
{table(("thought", *thoughts), [(METRICS["auroc_beyond"].label, *map(text, sheet.lens_auroc))])}
<h3>Where a branch swap goes: KL(clean || swapped) of each later state, nats</h3>
{table(("swapped in", *(f"h{k}" for k in range(sheet.n_thoughts + 1))), spread)}
</section>"""


def _flips(found: Estimate | None) -> str:
    return "–" if found is None else f"{found.text('percent')} (n = {found.n:,})"


def _cell(found: Finding) -> Markup:
    (mark, colour), gap = _LOOK[found.outcome], ""
    if found.difference is not None:
        shown = found.difference.text("plain" if found.claim == "decodable" else "points")
        gap = f"<br>in favour of the claim: {shown}"
    return Markup(
        f"<b style='color:{colour}'>{mark} {found.outcome}</b>"
        f"<small>{html(found.words)}{gap}<br>n = {found.n:,}</small>"
    )


_LOOK = {"shown": ("●", "#1b6ca8"), "partly": ("◐", "#7a5c00"), "not shown": ("○", "#555"), "not tested": ("–", "#777")}

_STYLE = """.lead{font-size:1.2em;font-weight:600} .sheet td{width:19%} small{display:block;margin-top:2px}
"""

_INTRODUCTION = """<p>Are a checkpoint's continuous thoughts decodable, used, necessary, sufficient, parallel? Five
different claims, each against its own control. Square brackets are 95 % intervals: Wilson for shares, Student's t over
problems for means and differences.</p>"""

_LEGEND = f"""<section><h2>How to read this</h2>
<dl>
<dt><b>● shown · ◐ partly · ○ not shown · – not tested</b></dt>
<dd>A threshold is met by the unfavourable end of the interval. The thresholds are no pre-registration: effects on the
shipped model were known when they were chosen. "Not shown" is a normal outcome, not a proof of absence. Claims with
fewer than {MIN_N} problems are not tested.</dd>
{"".join(f"<dt><b>{claim}</b></dt><dd>{html(ABOUT[claim])} {html(RULES[claim])}.</dd>" for claim in CLAIMS)}
<dt><b>not tested</b></dt>
<dd>An answer that follows an edit shows that the channel can steer it, not that the model's own thoughts do. So
{TESTED}; nor where nothing is fed back (pause methods).</dd>
<dt><b>What this does not show</b></dt>
<dd>That a thought is used does not say how. That one thought is not necessary does not say that it holds nothing: later
thoughts can make up for it. The answer is the candidate with the higher probability when an answer is forced after the
last thought.</dd>
</dl></section>"""
