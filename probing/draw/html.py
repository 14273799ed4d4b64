"""The one frame of every HTML page that is written, and its tables and inline figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from model.files import html
from probing.draw.marks import FONT, LIGHT, Theme, unbroken


def frame(title: str, body: str, *, theme: Theme = LIGHT, style: str = "") -> str:
    """A page that needs nothing else: ``title`` as text, ``body`` as HTML, ``style`` as further CSS."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html(title)}</title>
<style>
body {{ margin: 0 auto; max-width: 1280px; padding: 24px; font-family: {FONT};
  background: {theme.background}; color: {theme.text}; color-scheme: {theme.name}; line-height: 1.45; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .3rem; }}
p {{ margin: .3rem 0; color: {theme.muted}; }}
.caption {{ font-size: .85rem; max-width: 75em; }}
table {{ border-collapse: collapse; font-size: .85rem; margin: .6em 0; }}
th, td {{ text-align: left; vertical-align: top; padding: 4px 10px; border: 1px solid {theme.faint}; }}
{style}</style></head><body><main>
<h1><bdi>{html(title)}</bdi></h1>
{_in_texts(body)}
</main></body></html>
"""


def _in_texts(body: str) -> str:
    """HTML with the texts between its elements unbroken; scripts, styles and drawings as they are."""
    parts = re.split(r"(?s)(<(script|style|svg)\b.*?</\2>|<[^>]*>)", body)
    # Texts, elements and the names of three of them by turns.
    return "".join(
        unbroken(text) + (parts[i + 1] if i + 1 < len(parts) else "") for i, text in enumerate(parts) if i % 3 == 0
    )


class Markup(str):
    """A text that is HTML already."""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, name: str = "") -> str:
    """A table of texts, or of Markup; the first cell of a row is its heading."""
    head = "".join(f"<th scope='col'>{html(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><th scope='row'>{html(first)}</th>{''.join(f'<td>{_shown(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<table class='{html(name)}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(cell: object) -> str:
    return cell if isinstance(cell, Markup) else html(cell)


def inline(svg: str, name: str) -> str:
    """A figure inside a page: without its XML head, its ids made the page's own by ``name``."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
