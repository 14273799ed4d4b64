"""A chart small enough to be known by its shape alone."""

from __future__ import annotations

from typing import Any

from probing.draw import echarts
from probing.draw.echarts import NOTHING, Option
from probing.draw.marks import Theme
from probing.draw.values import Chart

SMALLER = 0.6
"""Size of a tree's nodes beside those of the whole picture."""


def thumbnail(chart: Chart, theme: Theme) -> Option:
    """What ECharts draws of a chart without its legend, the titles of its axes, the names of its categories and what is
    printed on its points; nothing in it answers to a pointer."""
    found = echarts.option(chart, theme)
    axes = {part: _quiet(found[part]) for part in ("xAxis", "yAxis")}
    room = {"left": 4, "right": 10, "top": 10, "bottom": 4, "containLabel": True}
    shown = {"grid": room, "legend": NOTHING, "tooltip": NOTHING, "series": [_bare(one) for one in found["series"]]}
    return found | axes | shown


def _quiet(axis: Any) -> Any:
    """An axis, or several, without a title; the numbers stay, names of categories do not."""
    if isinstance(axis, list):
        return [_quiet(one) for one in axis]
    labels = NOTHING if axis["type"] == "category" else axis.get("axisLabel", {}) | {"fontSize": 10}
    return axis | {"name": "", "axisLabel": labels}


def _bare(series: Option) -> Option:
    """A series without labels, its own or its points'."""
    return series | {"label": NOTHING, "silent": True, "data": list(map(_unprinted, series["data"]))}


def _unprinted(point: Any) -> Any:
    """A point without what is printed on it, smaller where it has a size of its own."""
    if not isinstance(point, dict):
        return point
    size = {"symbolSize": SMALLER * point["symbolSize"]} if "symbolSize" in point else {}
    return point | {"label": NOTHING} | size
