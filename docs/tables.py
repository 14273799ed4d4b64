"""The tables of docs/causal.md, from the rows of ``probing.edit.kinds``: ``make docs-tables``."""

from __future__ import annotations

from pathlib import Path

from probing.edit.kinds import CONTROLS, KINDS, NODE_SETS
from probing.edit.spec import OPTIONS

PAGE = Path(__file__).parent / "causal.md"


def documented(text: str) -> str:
    """Markdown with the tables between ``<!-- kinds -->`` (``sets``, ``controls``) and ``<!-- end -->`` made anew."""
    tables = {
        "kinds": [
            ("kind", "what it does", "takes"),
            *(
                (
                    ", ".join(f"`{name}`" for name in (row.name, *row.also)),
                    row.words,
                    ", ".join(name for name in OPTIONS if name in row.takes),
                )
                for row in KINDS.values()
            ),
        ],
        "sets": [("set", "nodes"), *((f"`{row.name}`", row.words) for row in NODE_SETS.values())],
        "controls": [
            ("control", "what is kept", "what is lost", "content-matched"),
            *((row.name, row.keeps, row.loses, "yes" if row.matched else "no") for row in CONTROLS.values()),
        ],
    }
    for name, (head, *rows) in tables.items():
        made = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        text = before + start + made + end + after if end else text
    return text


if __name__ == "__main__":
    PAGE.write_text(documented(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
