"""Colours of every figure, light and dark: safe for colour-blind readers, and empty where a value is zero.

Values run from the background to deep blue (light theme) or bright blue (dark theme), so only what a thought holds is
seen. Orange means one thing, the true frontier. Roles are told apart by shape and by word, never by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from model.errors import InputError

ThemeName = Literal["light", "dark"]
Stops = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Theme:
    """One set of colours, all as ``#rrggbb``."""

    name: ThemeName
    background: str
    text: str
    muted: str
    """Secondary text; at least 4.5 : 1 on the background."""
    faint: str
    """Grid lines and dividers."""
    away: str
    """Edges and outlines of what the root cannot reach."""
    outline: str
    """Outlines of nodes."""
    edge: str
    frontier: str
    """The true frontier, and nothing else."""
    path: str
    """Edges on a shortest path to the target."""
    positive: Stops
    """From zero to the largest value."""
    negative: Stops
    """From zero to the most negative value."""
    parts: dict[str, str]
    """Colours of the groups that a thought's probability falls into."""
    sources: dict[str, str]
    """Colours of the model and its controls."""

    def colour(self, value: float, low: float, high: float) -> str:
        """The colour of a value on a scale from ``low`` to ``high``; zero is always the background's."""
        largest = max(abs(low), abs(high), 1e-12)
        share = min(abs(value) / largest, 1.0)
        return _between(self.positive if value >= 0 else self.negative, share)

    def ink(self, fill: str) -> str:
        """Black or white, whichever is read more easily on a fill; always 4.5 : 1 or more."""
        light, dark = "#ffffff", "#000000"
        return light if contrast(light, fill) > contrast(dark, fill) else dark

    def stops(self, low: float, high: float, n: int = 33) -> list[tuple[float, str]]:
        """The scale from ``low`` to ``high`` as (share, colour) pairs, as a colour bar needs."""
        return [(i / (n - 1), self.colour(low + (high - low) * i / (n - 1), low, high)) for i in range(n)]


LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#16202c",
    muted="#5a6675",
    faint="#d5dbe2",
    away="#b4bfca",
    outline="#8895a4",
    edge="#a3aebb",
    frontier="#e36c09",
    path="#16202c",
    positive=((0, "#ffffff"), (0.04, "#e6f0f9"), (0.2, "#b3d3ec"), (0.45, "#69a8d8"), (0.7, "#2c74b3"), (1, "#0b3c73")),
    negative=((0, "#ffffff"), (0.2, "#f0cbdc"), (0.5, "#d786ae"), (1, "#8c1d5c")),
    parts={
        "frontier": "#e36c09",
        "reached before": "#5b9bd0",
        "not reached": "#a9b3be",
        "other": "#dde2e8",
        "answer marker": "#2b3642",
    },
    sources={"model": "#0b4f94", "shuffled": "#a05a00", "untrained": "#6b7683"},
)
DARK = Theme(
    name="dark",
    background="#0e1117",
    text="#eef2f6",
    muted="#a3afbd",
    faint="#2b333e",
    away="#465261",
    outline="#6c7a8a",
    edge="#5a6776",
    frontier="#ff9a3c",
    path="#f4f7fa",
    positive=((0, "#0e1117"), (0.04, "#15253a"), (0.2, "#1b4470"), (0.45, "#2b73b8"), (0.7, "#62ade8"), (1, "#d9efff")),
    negative=((0, "#0e1117"), (0.2, "#43203a"), (0.5, "#93416f"), (1, "#f3a5cb")),
    parts={
        "frontier": "#ff9a3c",
        "reached before": "#4f93cc",
        "not reached": "#6c7785",
        "other": "#3a4450",
        "answer marker": "#e3e9ef",
    },
    sources={"model": "#6fb7f2", "shuffled": "#e0a050", "untrained": "#93a0ae"},
)
THEMES: dict[str, Theme] = {"light": LIGHT, "dark": DARK}


def theme_of(name: str) -> Theme:
    """Raises InputError if there is no such theme."""
    if name not in THEMES:
        raise InputError(f"theme {name!r} is unknown; themes are {', '.join(THEMES)}")
    return THEMES[name]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _between(stops: Stops, share: float) -> str:
    for (start, before), (end, after) in pairwise(stops):
        if share <= end:
            part = (share - start) / (end - start)
            mixed = [a + (b - a) * part for a, b in zip(_rgb(before), _rgb(after), strict=True)]
            return "#" + "".join(f"{round(c * 255):02x}" for c in mixed)
    return stops[-1][1]


def _rgb(colour: str) -> tuple[float, float, float]:
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255
