"""Charts of a data set result as ECharts options: one pure function for every kind that ``probing.dataset.findings``
knows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from probing.dataset.findings import Chart, Series
from probing.draw.echarts import Option, safe, shown
from probing.draw.marks import DARK, LIGHT, Theme
from probing.draw.of_training import band
from probing.draw.static_chart import COLOURS, GREYS, GROUPS, MANY

SYMBOLS = ("circle", "rect", "triangle", "diamond", "pin", "arrow")
DASHES = ("dashed", "dotted")
_ON_DARK = {
    LIGHT.sources["model"]: DARK.sources["model"],
    LIGHT.frontier: DARK.frontier,
    LIGHT.path: DARK.path,
    LIGHT.outline: DARK.outline,
    LIGHT.parts["reached before"]: DARK.parts["reached before"],
    "#0b3c73": "#2b73b8",
    "#8c1d5c": "#c0508e",
    "#009e73": "#2bc397",
    "#7a5c00": "#c9a227",
}
"""The same colour on the dark background."""
_QUIET = {"show": False}


def option(chart: Chart, theme: Theme) -> Option:
    """What ECharts draws for a chart, from the same data as its files."""
    draw = {
        "lines": _lines,
        "stacked": _stacked,
        "bars": _intervals,
        "histogram": _histogram,
        "points": _points,
        "heatmap": _heatmap,
        "tree": _tree,
    }[chart.kind]
    return {"animation": False, **draw(chart, theme)}


def height(chart: Chart) -> int:
    """Pixels: more for trees and for heatmaps of many rows."""
    if chart.kind == "tree":
        column = [list(group) for _, group in groupby(sorted(float(x) for s in chart.series for x in s.x))]
        return 140 + 46 * max(len(group) for group in column)
    return 130 + 34 * max(len(chart.series), 5) if chart.kind == "heatmap" else 310


def colours(chart: Chart, theme: Theme) -> list[str]:
    """A colour a series: groups have theirs everywhere, controls are grey."""
    found, own, controls = [], 0, 0
    for series in chart.series:
        if series.control:
            found.append(GREYS[controls % len(GREYS)] if theme.name == "light" else theme.muted)
            controls += 1
        else:
            known = GROUPS.get(series.name.split(" (")[0].split(",")[0])
            colour = known or COLOURS[own % len(COLOURS)]
            found.append(colour if theme.name == "light" else _ON_DARK.get(colour, colour))
            own += 1
    return found


def problem_of(chart: Chart, series: int, index: int) -> int | None:
    """The number of the problem that a point stands for, where points are problems."""
    if not 0 <= series < len(chart.series):
        return None
    labels = chart.series[series].labels or ()
    words = labels[index].split() if 0 <= index < len(labels) else []
    return int(words[1]) if len(words) == 2 and words[0] == "problem" and words[1].isdecimal() else None


def _lines(chart: Chart, theme: Theme) -> Option:
    many = len(chart.series) > MANY
    items: list[Option] = []
    controls = 0
    for i, (series, colour) in enumerate(zip(chart.series, colours(chart, theme), strict=True)):
        x = [float(value) for value in series.x]
        if series.low is not None and series.high is not None and not many:
            items += band(x, series.low, series.high, colour, i)
        dash = DASHES[controls % 2] if series.control else "solid"
        controls += series.control
        items.append(
            {
                "type": "line",
                "name": series.name,
                "data": [[at, _round(value)] for at, value in zip(x, series.y, strict=True)],
                "symbol": "none" if many or len(x) > 12 else SYMBOLS[i % len(SYMBOLS)],
                "symbolSize": 7,
                "color": theme.sources["model"] if many else colour,
                "lineStyle": {"width": 1 if many else 2, "opacity": 0.4 if many else 1, "type": dash},
            }
        )
    whole = {"minInterval": 1} if all(float(x).is_integer() for series in chart.series for x in series.x) else {}
    return _frame(chart, items, theme, legend=not many, tooltip="item" if many else "axis") | {
        "xAxis": _value_axis(chart.x_label, theme) | whole
    }


def _stacked(chart: Chart, theme: Theme) -> Option:
    label = {
        "show": True,
        "formatter": "{b}",
        "fontSize": 10,
        "textBorderColor": theme.background,
        "textBorderWidth": 2,
    }
    items: list[Option] = [
        {
            "type": "bar",
            "stack": "all",
            "name": series.name,
            "color": colour,
            "barCategoryGap": "18%",
            "label": label,
            "itemStyle": {"borderColor": theme.background, "borderWidth": 1},
            "data": [
                {
                    "value": _round(y),
                    "name": f"{100 * y:.0f}" if y is not None and y >= 0.06 else "",
                    "label": {"color": theme.ink(colour), "textBorderColor": colour},
                    "tooltip": {"formatter": f"<b>{safe(series.name)}</b>, {safe(str(x))}<br>{_said(series, j)}"},
                }
                for j, (x, y) in enumerate(zip(series.x, series.y, strict=True))
            ],
        }
        for series, colour in zip(chart.series, colours(chart, theme), strict=True)
    ]
    names = [str(x) for x in chart.series[0].x]
    return _frame(chart, items, theme, tooltip="item") | {"xAxis": _category_axis(names, chart.x_label, theme)}


def _intervals(chart: Chart, theme: Theme) -> Option:
    """Each value as its interval with a stroke at the mean; side by side where there are several series."""
    names = list(dict.fromkeys(str(x) for series in chart.series for x in series.x))
    items: list[Option] = []
    for series, colour in zip(chart.series, colours(chart, theme), strict=True):
        place = {str(x): i for i, x in enumerate(series.x)}
        data: list[Option | str] = []
        for name in names:
            i = place.get(name)
            if i is None or series.y[i] is None:
                data.append("-")
                continue
            y = series.y[i]
            low, high = (y if ends is None or ends[i] is None else ends[i] for ends in (series.low, series.high))
            size = f"<br>{safe(series.labels[i])}" if series.labels else ""
            tip = f"<b>{safe(series.name)}</b>, {safe(name)}<br>{_said(series, i)}{size}"
            data.append({"value": [_round(v) for v in (low, low, y, high, high)], "tooltip": {"formatter": tip}})
        items.append(
            {
                "type": "boxplot",
                "name": series.name,
                "color": colour,
                "boxWidth": [10, 34],
                "itemStyle": {"color": _faded(colour), "borderColor": colour, "borderWidth": 2},
                "data": data,
            }
        )
    sizes = chart.series[0].labels or ()
    if [str(x) for x in chart.series[0].x] == names and len(sizes) == len(names):
        names = [f"{name}\n{size}" for name, size in zip(names, sizes, strict=True)]
    axis = _category_axis(names, chart.x_label, theme) | {"nameGap": 40}
    return _frame(chart, items, theme, tooltip="item") | {"xAxis": axis}


def _histogram(chart: Chart, theme: Theme) -> Option:
    items: list[Option] = []
    for series, colour in zip(chart.series, colours(chart, theme), strict=True):
        left = [float(x) for x in series.x]
        width = left[1] - left[0] if len(left) > 1 else 1.0
        data = [[round(at, 5), _round(y)] for at, y in zip(left, series.y, strict=True)]
        items.append(
            {
                "type": "line",
                "step": "end",
                "name": series.name,
                "symbol": "none",
                "color": colour,
                "lineStyle": {"width": 1.6, "type": "dashed" if series.control else "solid"},
                "areaStyle": {"opacity": 0.14},
                "data": [*data, [round(left[-1] + width, 5), data[-1][1]]],
            }
        )
    return _frame(chart, items, theme) | {"xAxis": _value_axis(chart.x_label, theme, scale=True)}


def _points(chart: Chart, theme: Theme) -> Option:
    items: list[Option] = [
        {
            "type": "scatter",
            "name": series.name,
            "symbol": SYMBOLS[i % len(SYMBOLS)],
            "symbolSize": 8,
            "color": colour,
            "itemStyle": {"opacity": 0.7},
            "selectedMode": "single",
            "select": {"itemStyle": {"borderColor": theme.text, "borderWidth": 2, "opacity": 1}},
            "data": [
                {
                    "value": [round(float(x), 5), _round(y)],
                    "tooltip": {"formatter": f"{safe(label)}<br>{safe(series.name)}"},
                }
                for x, y, label in zip(series.x, series.y, series.labels or ("",) * len(series.x), strict=True)
            ],
        }
        for i, (series, colour) in enumerate(zip(chart.series, colours(chart, theme), strict=True))
    ]
    return _frame(chart, items, theme, tooltip="item") | {"xAxis": _value_axis(chart.x_label, theme, scale=True)}


def _heatmap(chart: Chart, theme: Theme) -> Option:
    known = [y for series in chart.series for y in series.y if y is not None]
    low, high = chart.y_range or (min(known, default=0.0), max(known, default=1.0))
    data = []
    for row, series in enumerate(chart.series):
        for column, y in enumerate(series.y):
            fill = theme.background if y is None else theme.colour(y, low, high)
            tip = f"<b>{safe(series.name)}</b>, {safe(str(series.x[column]))}<br>{_said(series, column)}"
            data.append(
                {
                    "value": [column, row, _round(y) if y is not None else "-"],
                    "name": "–" if y is None else f"{y:.2f}",
                    "itemStyle": {"color": fill},
                    "label": {"color": theme.ink(fill)},
                    "tooltip": {"formatter": tip},
                }
            )
    frame = _frame(
        chart,
        [{"type": "heatmap", "data": data, "label": {"show": True, "formatter": "{b}", "fontSize": 11}}],
        theme,
        legend=False,
        tooltip="item",
    )
    rows = [shown(series.name, 30) for series in chart.series]
    return frame | {
        "xAxis": _category_axis([str(x) for x in chart.series[0].x], chart.x_label, theme),
        "yAxis": {"type": "category", "data": rows, "inverse": True, "axisTick": _QUIET, "axisLine": _QUIET},
        "visualMap": {"show": False, "min": low, "max": high, "inRange": {"color": [theme.background, theme.text]}},
    }


def _tree(chart: Chart, theme: Theme) -> Option:
    """Nodes in a column each distance, the greatest values on top; size grows with the value."""
    found = [
        (float(x), 0.0 if y is None else y, label, series.name, colour)
        for series, colour in zip(chart.series, colours(chart, theme), strict=True)
        for x, y, label in zip(series.x, series.y, series.labels or (), strict=True)
    ]
    found.sort(key=lambda node: (node[0], -node[1]))
    columns = [list(group) for _, group in groupby(found, key=lambda node: node[0])]
    categories = [series.name for series in chart.series]
    data: list[Option] = []
    names = set()
    for column in columns:
        for i, (x, value, label, role, colour) in enumerate(column):
            name = label.split(" ")[0]
            names.add(name)
            data.append(
                {
                    "id": name,
                    "name": shown(label, 30),
                    "value": [x, (len(column) - 1) / 2 - i],
                    "symbolSize": 12 + 26 * value**0.5,
                    "category": categories.index(role),
                    "itemStyle": {"color": colour, "borderColor": theme.outline, "borderWidth": 1},
                    "tooltip": {"formatter": f"<b>{safe(label)}</b><br>{safe(role)}<br>value {value:.3f}"},
                }
            )
    links = [{"source": a, "target": b} for a, b in chart.edges if a in names and b in names]
    series: Option = {
        "type": "graph",
        "coordinateSystem": "cartesian2d",
        "layout": "none",
        "edgeSymbol": ["none", "arrow"],
        "edgeSymbolSize": 6,
        "data": data,
        "links": links,
        "categories": [
            {"name": n, "itemStyle": {"color": c}} for n, c in zip(categories, colours(chart, theme), strict=True)
        ],
        "lineStyle": {"color": theme.edge},
        "emphasis": {"focus": "adjacency"},
        "label": {
            "show": True,
            "position": "bottom",
            "formatter": "{b}",
            "color": theme.text,
            "textBorderColor": theme.background,
            "textBorderWidth": 3,
        },
    }
    frame = _frame(chart, [series], theme, tooltip="item")
    frame["legend"] |= {"data": categories, "show": True}
    half = max(len(column) for column in columns) / 2
    axis = _value_axis(chart.x_label, theme) | {
        "interval": 1,
        "nameGap": 8,
        "min": columns[0][0][0] - 0.4,
        "max": columns[-1][0][0] + 0.4,
        "axisLine": _QUIET,
        "axisTick": _QUIET,
        "axisLabel": _QUIET,
    }
    return frame | {"xAxis": axis, "yAxis": {"type": "value", "show": False, "min": -half - 0.4, "max": half}}


# --- shared -----------------------------------------------------------------------------------------------------------


def _frame(chart: Chart, series: list[Option], theme: Theme, *, legend: bool = True, tooltip: str = "axis") -> Option:
    """Everything but the horizontal axis."""
    legend = legend and len(chart.series) > 1
    names = [item["name"] for item in series if "name" in item]
    y: Option = {"scale": chart.kind != "bars"}  # whoever compares differences must see where zero is
    if chart.y_range is not None:
        y = {"min": chart.y_range[0], "max": chart.y_range[1]}
    return {
        "grid": {"left": 36, "right": 22, "top": 44 if legend else 22, "bottom": 26, "containLabel": True},
        "legend": {
            "show": legend,
            "type": "scroll",
            "data": names,
            "top": 0,
            "left": 0,
            "itemWidth": 18,
            "itemHeight": 9,
            "textStyle": {"fontSize": 11, "color": theme.text},
        },
        "tooltip": {"trigger": tooltip, "valueFormatter": "%.3f", "confine": True, "textStyle": {"fontSize": 12}},
        "yAxis": {
            "type": "value",
            "name": chart.y_label,
            "nameLocation": "middle",
            "nameGap": 40,
            "nameTextStyle": {"color": theme.muted},
            "splitLine": {"lineStyle": {"color": theme.faint, "opacity": 0.6}},
            **y,
        },
        "series": series,
    }


def _value_axis(name: str, theme: Theme, *, scale: bool = False) -> Option:
    return {
        "type": "value",
        "scale": scale,
        "splitLine": _QUIET,
        "name": name,
        "nameLocation": "middle",
        "nameGap": 26,
        "nameTextStyle": {"color": theme.muted},
    }


def _category_axis(names: Sequence[str], name: str, theme: Theme) -> Option:
    return _value_axis(name, theme) | {
        "type": "category",
        "data": names,
        "axisTick": _QUIET,
        "axisLabel": {"interval": 0 if len(names) <= 12 else "auto", "lineHeight": 14},
    }


def _said(series: Series, i: int) -> str:
    y = series.y[i]
    if y is None:
        return "not defined"
    low = None if series.low is None else series.low[i]
    high = None if series.high is None else series.high[i]
    return f"{y:.3f}" if low is None or high is None else f"{y:.3f} [{low:.3f}, {high:.3f}]"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _faded(colour: str) -> str:
    return f"rgba({','.join(str(int(colour[p : p + 2], 16)) for p in (1, 3, 5))},0.18)"
