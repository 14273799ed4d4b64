"""A verdict sheet in plain sentences and as a self-contained HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from model.files import write_json, write_text
from probing.edit.effects import percent, plain, points
from probing.edit.verdict import CLAIMS, MIN_N, RULES, SWAP_STRENGTH, Sheet

CHANCE = 0.5


def summary_sentences(sheet: Sheet) -> list[str]:
    """The sheet in plain sentences, the first of which is the answer to "are the thoughts used?"."""
    sentences = []
    used = [t for t in range(1, sheet.n_thoughts + 1) if sheet.finding("used", t).outcome == "shown"]
    partly = [t for t in range(1, sheet.n_thoughts + 1) if sheet.finding("used", t).outcome == "partly"]
    if used:
        sentences.append(f"Content of {_thoughts(used)} is used: editing one branch inside it turns the answer.")
    if partly:
        sentences.append(f"Content of {_thoughts(partly)} is used in part of the problems.")
    if not used and not partly:
        sentences.append("No thought is shown to be used: editing branches does no more than the controls do.")
    for claim in ("decodable", "needed", "sufficient"):
        shown = [t for t in range(1, sheet.n_thoughts + 1) if sheet.finding(claim, t).outcome == "shown"]
        some = [t for t in range(1, sheet.n_thoughts + 1) if sheet.finding(claim, t).outcome == "partly"]
        text = f"{_thoughts(shown)}" if shown else "no thought"
        text += f"; partly {_thoughts(some)}" if some else ""
        sentences.append(f"{claim.capitalize()}: {text}.")
    unused = [
        t
        for t in range(1, sheet.n_thoughts + 1)
        if sheet.finding("decodable", t).outcome == "shown" and sheet.finding("used", t).outcome == "not shown"
    ]
    if unused:
        sentences.append(f"Decodable, but not shown to be used: {_thoughts(unused)}.")
    if sheet.accuracy.ci95[0] <= CHANCE:
        sentences.append("The model does not answer better than chance, so there is no answer for a thought to carry.")
    return sentences


def _thoughts(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"thought {numbers[0]}"
    return f"thoughts {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


_LOOK = {"shown": ("●", "#1b6ca8"), "partly": ("◐", "#7a5c00"), "not shown": ("○", "#555"), "not tested": ("–", "#777")}


def to_html(sheets: Sequence[Sheet]) -> str:
    """A self-contained page: one section per checkpoint, nothing loaded from elsewhere."""
    parts = [_HEAD]
    for sheet in sheets:
        parts.append(_section(sheet))
    parts.append(_LEGEND)
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _section(sheet: Sheet) -> str:
    esc = html.escape
    sentences = summary_sentences(sheet)
    head = "".join(f"<th scope='col'>{claim}</th>" for claim in CLAIMS)
    body = []
    for t in range(1, sheet.n_thoughts + 1):
        cells = []
        for claim in CLAIMS:
            found = sheet.finding(claim, t)
            mark, colour = _LOOK[found.outcome]
            gap = ""
            if found.difference is not None:
                text = plain(found.difference) if claim == "decodable" else points(found.difference)
                gap = f"<br>in favour of the claim: {text}"
            cells.append(
                f"<td><b style='color:{colour}'>{mark} {found.outcome}</b>"
                f"<small>{esc(found.words)}{gap}<br>n = {found.n:,}</small></td>"
            )
        body.append(f"<tr><th scope='row'>{t}</th>{''.join(cells)}</tr>")
    without = "".join(
        f"<tr><th scope='row'>{esc(name)}</th><td>{percent(value)}</td></tr>" for name, value in sheet.without.items()
    )
    lens = "".join(f"<td>{plain(value)}</td>" for value in sheet.lens_auroc)
    states = "".join(f"<th scope='col'>h<sub>{k}</sub></th>" for k in range(sheet.n_thoughts + 1))
    spread = "".join(
        f"<tr><th scope='row'>thought {t}</th>"
        + "".join(f"<td>{'-' if cell is None else f'{cell.value:.2f}'}</td>" for cell in row)
        + "</tr>"
        for t, row in enumerate(sheet.propagation, 1)
    )
    thoughts = "".join(f"<th scope='col'>{t}</th>" for t in range(1, sheet.n_thoughts + 1))
    return f"""<section>
<h2>{esc(sheet.name)}</h2>
<p class='facts'>method {esc(sheet.method)} · weights {esc(sheet.checkpoint)} · data {esc(sheet.data)},
{sheet.n_problems:,} problems, seed {sheet.seed} · {sheet.n_thoughts} thoughts ·
accuracy {percent(sheet.accuracy)} (chance 50 %)</p>
<p class='lead'>{esc(sentences[0])}</p>
<ul>{"".join(f"<li>{esc(text)}</li>" for text in sentences[1:])}</ul>
<table class='sheet'><thead><tr><th scope='col'>thought</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>
<div class='row'>
<div><h3>Accuracy without the thoughts</h3><table><tbody>
<tr><th scope='row'>as trained</th><td>{percent(sheet.accuracy)}</td></tr>{without}</tbody></table></div>
<div><h3>Logit lens, which fits nothing: AUROC by thought</h3>
<table><thead><tr>{thoughts}</tr></thead><tbody><tr>{lens}</tr></tbody></table></div>
</div>
<h3>Where a branch swap goes: KL(clean || swapped) of each later state, nats</h3>
<table><thead><tr><th scope='col'>swapped in</th>{states}</tr></thead><tbody>{spread}</tbody></table>
</section>"""


_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Verdict sheet</title><style>
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#fff;color:#1a1a1a}
main{max-width:1180px;margin:0 auto;padding:24px}
h1{margin:0 0 4px} h2{margin:32px 0 4px} h3{font-size:1em;margin:20px 0 6px}
.facts{color:#555;margin:0 0 10px} .lead{font-size:1.2em;font-weight:600;margin:8px 0}
table{border-collapse:collapse} th,td{text-align:left;vertical-align:top;padding:6px 10px;border:1px solid #d6d6d6}
.sheet td{width:24%} small{display:block;color:#444;margin-top:2px} .row{display:flex;flex-wrap:wrap;gap:32px}
@media (prefers-color-scheme:dark){body{background:#14171a;color:#e8e8e8}.facts,small{color:#b5b5b5}
th,td{border-color:#3a3f44} td b{filter:brightness(1.7)}}
</style></head><body><main><h1>Verdict sheet</h1>
<p>Are a checkpoint's continuous thoughts decodable, used, needed, sufficient? Four different claims, each against
its own control. Square brackets are 95 % intervals: Wilson for shares, Student's t for means, bootstrap over problems
for differences.</p>"""

_LEGEND = f"""<section><h2>How to read this</h2>
<dl>
<dt><b>● shown · ◐ partly · ○ not shown · – not tested</b></dt>
<dd>A threshold is met by the unfavourable end of the interval. The thresholds were written down before the first
sheet was made. "Not shown" is a normal outcome, not a proof of absence. Claims with fewer than {MIN_N} problems are
not tested.</dd>
<dt><b>decodable</b></dt>
<dd>A linear read-out fitted on other problems tells the frontier (nodes at distance t) from nodes farther away or
unreachable. Control: the frontier of the other question about the same graph. {RULES["decodable"]}.</dd>
<dt><b>used</b></dt>
<dd>Swapping the target's branch for the other candidate's inside the thought (strength {SWAP_STRENGTH}) flips the
right answer. Control: the worst of a random direction of equal length, unreachable nodes, and frontier nodes that lead
to neither candidate. {RULES["used"]}.</dd>
<dt><b>needed</b></dt>
<dd>Accuracy with zeros, the mean thought or another problem's thought in its place, whichever harms least. Control: a
random change of that length. {RULES["needed"]}.</dd>
<dt><b>sufficient</b></dt>
<dd>The thought of the run that asks the other question, put in alone, flips the right answer. Control: another
problem's thought. {RULES["sufficient"]}.</dd>
<dt><b>What this does not show</b></dt>
<dd>That a thought is used does not say how. That one thought is not needed does not say that it holds nothing: later
thoughts can make up for it. The answer is the candidate with the higher probability when [A] is forced after the last
thought.</dd>
</dl></section>"""


def write_sheets(sheets: Sequence[Sheet], out: str | Path) -> None:
    """``verdict.json`` (a list) and ``verdict.html`` in a folder."""
    write_json(Path(out) / "verdict.json", [sheet.to_json() for sheet in sheets])
    write_text(Path(out) / "verdict.html", to_html(sheets))
