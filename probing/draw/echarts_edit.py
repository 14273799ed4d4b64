"""What ECharts draws on Intervene: pure functions from the scenes of an intervention to option objects.

Names are treated as in ``probing.draw.echarts``: plain in labels, escaped in tooltips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probing.draw import echarts as figures
from probing.draw.echarts import BARE, NOTHING, Option
from probing.draw.layout import layout
from probing.draw.marks import Theme
from probing.draw.of_intervention import AFTER, BEFORE, Later, Run
from probing.draw.of_report import DagScene, NodeMark
from probing.read.report import Estimate

RUN_SHAPES = {
    BEFORE: "circle",
    AFTER: "diamond",
    "random": "rect",
    "unreachable": "triangle",
    "neither": "triangle",
    "other-step": "pin",
    "identity": "circle",
}


def dag(scene: DagScene, theme: Theme, *, out: Sequence[int] = (), put: Sequence[int] = ()) -> Option:
    """The graph before or after; nodes that the edit takes out and puts in wear a badge."""

    def tip(mark: NodeMark) -> str:
        printed = f"{mark.value:.3f}"
        if mark.low is not None and mark.high is not None:
            least, most = (0.0, 1.0) if scene.scale.value == "probability" else (-np.inf, np.inf)
            printed += f" [{max(mark.low, least):.3f}, {min(mark.high, most):.3f}]"
        return figures.node_tip(mark, [(scene.scale.value, printed)], scene.heading)

    size = 28 if scene.width <= 8 else 22
    option = figures.graph(scene, theme, tip, size=size)
    marks = {mark.node: mark for mark in scene.nodes}
    target, other = figures.candidate_colours(theme)
    badges = [
        {
            "value": [marks[node].x, marks[node].y],
            "name": sign,
            "itemStyle": {"color": colour, "borderColor": theme.background, "borderWidth": 1.5},
            "label": {"color": theme.ink(colour)},
        }
        for nodes, sign, colour in ((out, "−", other), (put, "+", target))
        for node in nodes
        if node in marks
    ]
    option["series"].append(
        {
            "type": "scatter",
            "silent": True,
            "z": 7,
            "tooltip": NOTHING,
            "symbolSize": 17,
            "symbolOffset": [round(-size / 2), round(-size / 2)],
            "label": {"show": True, "formatter": "{b}", "fontSize": 14, "fontWeight": "bold"},
            "data": badges,
        }
    )
    return option


def dag_height(scene: DagScene) -> int:
    """Pixels that let a node's name stand between it and the one below."""
    return round(min(max(40 + 46 * (scene.height + 1.6), 340), 680))


def run_colour(name: str, theme: Theme) -> str:
    return {BEFORE: theme.muted, AFTER: theme.sources["model"]}.get(name, theme.sources["shuffled"])


def effects(found: Sequence[Run], target: str, other: str, theme: Theme) -> Option:
    """Where each run's answer lies between the two candidates: every draw, the mean, and its interval."""
    names = [run.label for run in found]
    dots, means, strokes = [], [], []
    for i, run in enumerate(found):
        colour = run_colour(run.name, theme)
        strong = run.name in (BEFORE, AFTER)
        dots += [{"value": [round(p, 4), i], "itemStyle": {"color": colour, "opacity": 0.35}} for p in run.draws]
        means.append(
            {
                "value": [round(run.p_other.mean, 4), i],
                "name": f"{run.follows} of {run.n}",
                "symbol": RUN_SHAPES.get(run.name, "roundRect"),
                "symbolSize": 14 if strong else 11,
                "itemStyle": {"color": colour, "borderColor": theme.background, "borderWidth": 1},
                "tooltip": {"formatter": _run_tip(run, other)},
            }
        )
        if run.p_other.low is not None and run.p_other.high is not None:
            low, high = max(0.0, run.p_other.low), min(1.0, run.p_other.high)
            strokes.append(
                [
                    {"coord": [round(low, 4), i], "lineStyle": {"color": colour}},
                    {"coord": [round(high, 4), i]},
                ]
            )
    first, second = figures.candidate_colours(theme)
    return {
        "animation": False,
        "grid": [{"left": 4, "right": 78, "top": 42, "bottom": 8, "containLabel": True}],
        "tooltip": {"trigger": "item", "confine": True, "textStyle": {"fontSize": 12}},
        "title": [
            {
                "text": f"{figures.shown(target, 16)} ✓",
                "left": "34%",
                "top": 0,
                "textStyle": {"color": first, "fontSize": 13, "fontWeight": "bold"},
            },
            {
                "text": f"{figures.shown(other, 16)} ✗",
                "right": 78,
                "top": 0,
                "textStyle": {"color": second, "fontSize": 13, "fontWeight": "bold"},
            },
        ],
        "xAxis": {
            "type": "value",
            "min": 0,
            "max": 1,
            "position": "top",
            "interval": 0.5,
            "axisLabel": {"color": theme.muted, "fontSize": 11},
            "axisLine": NOTHING,
            "axisTick": NOTHING,
            "splitLine": {"lineStyle": {"color": theme.faint}},
        },
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [
                {
                    "value": name,
                    "textStyle": {
                        "color": theme.text,
                        "fontWeight": "bold" if run.name in (BEFORE, AFTER) else "normal",
                    },
                }
                for name, run in zip(figures.unique(names), found, strict=True)
            ],
            "axisLabel": {"fontSize": 12, "interval": 0, "margin": 14},
            **BARE,
        },
        "series": [
            {"type": "scatter", "silent": True, "symbolSize": 8, "data": dots, "z": 2, "tooltip": NOTHING},
            {
                "type": "scatter",
                "z": 4,
                "data": means,
                "markLine": {
                    "silent": True,
                    "symbol": ["rect", "rect"],
                    "symbolSize": [1.5, 9],
                    "label": NOTHING,
                    "animation": False,
                    "lineStyle": {"type": "solid", "width": 1.6},
                    "data": strokes,
                },
            },
            {
                "type": "scatter",
                "silent": True,
                "symbolSize": 0.1,
                "tooltip": NOTHING,
                "data": [{"value": [1, i], "name": f"{run.follows} of {run.n}"} for i, run in enumerate(found)],
                "label": {
                    "show": True,
                    "formatter": "{b}",
                    "position": "right",
                    "distance": 16,
                    "color": theme.text,
                    "fontSize": 12,
                },
            },
        ],
    }


def _run_tip(run: Run, other: str) -> str:
    printed = f"{run.p_other.mean:.3f}"
    if run.p_other.low is not None and run.p_other.high is not None:
        printed += f" [{max(0.0, run.p_other.low):.3f}, {min(1.0, run.p_other.high):.3f}]"
    neither = f"<br>the likeliest token is no candidate in {run.neither} of {run.n}" if run.neither else ""
    return (
        f"<b>{figures.safe(run.label)}</b><br>P({figures.safe(other)}) of the two: {printed}"
        f"<br>answered in {run.follows} of {run.n} draws{neither}"
    )


def searches(states: Sequence[Later], shown: int, theme: Theme) -> Option:
    """Probability of every thought on the asked question's frontier and on the other question's, before and after."""
    first, second = figures.candidate_colours(theme)
    series: list[Option] = []
    for name, colour, symbol, pairs in (
        ("the question asked", first, "circle", [state.own for state in states]),
        ("the other question", second, "diamond", [state.other for state in states]),
    ):
        series.append(
            {
                "type": "line",
                "data": [round(pair[0].mean, 5) for pair in pairs],
                "symbol": "none",
                "color": colour,
                "lineStyle": {"type": "dotted", "width": 2, "opacity": 0.75},
                "name": f"{name}, before",
            }
        )
        series += figures.with_bars(f"{name}, after", [pair[1] for pair in pairs], colour, symbol)
    legend = [item["name"] for item in series if "name" in item]
    option = figures.chart(_names(states), "thought, as the model made it", series, theme, legend=legend, min=0, max=1)
    return _lit(option, states, shown, theme)


def drift(states: Sequence[Later], labels: dict[str, str], shown: int, theme: Theme) -> Option:
    """How far every state moved from the run before (KL), for the edit and for each control."""
    names = [name for name in labels if name in states[0].kl and name not in (BEFORE, "identity")]
    palette = {AFTER: theme.sources["model"], "random": theme.sources["untrained"]}
    dashes = {"unreachable": "dashed", "neither": "dotted"}
    series: list[Option] = []
    for name in names:
        found: list[Estimate | None] = [state.kl.get(name) for state in states]
        drawn = figures.with_bars(labels[name], found, palette.get(name, theme.sources["shuffled"]), RUN_SHAPES[name])
        drawn[0]["lineStyle"] = {"width": 2.4 if name == AFTER else 1.5, "type": dashes.get(name, "solid")}
        series += drawn if name == AFTER else drawn[:1]
    option = figures.chart(
        _names(states), "thought, as the model made it", series, theme, legend=[labels[n] for n in names], min=0
    )
    option["grid"]["top"] = 66
    return _lit(option, states, shown, theme)


def changes(scene: DagScene, found: np.ndarray, order: Sequence[int], shown: int, theme: Theme) -> Option:
    """Nodes down, thoughts across: probability after minus before."""
    marks = {mark.node: mark for mark in scene.nodes}
    n_states = len(found)
    data = []
    for row, node in enumerate(order):
        for state in range(n_states):
            value = float(found[state, node])
            if not np.isfinite(value):
                continue
            fill = theme.colour(value, -1, 1)
            cell: Option = {
                "value": [state, row, round(value, 4)],
                "name": f"{value:+.2f}".replace("0.", ".", 1) if abs(value) >= 0.03 else "",
                "itemStyle": {"color": fill},
                "label": {"color": theme.ink(fill)},
                "tooltip": {
                    "formatter": f"<b>{figures.safe(marks[node].name)}</b>, {_state(state, n_states)}<br>{value:+.3f}"
                },
            }
            if marks[node].distance == state + 1 and state + 1 < n_states:
                cell["itemStyle"] |= {"borderColor": theme.frontier, "borderWidth": 1.6}
            data.append(cell)
    data.sort(key=lambda cell: "borderColor" in cell["itemStyle"])
    names = figures.unique([figures.shown(marks[node].name, 14) for node in order])
    return {
        "animation": False,
        "grid": {"left": 4, "right": 6, "top": 44, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "item", "confine": True, "textStyle": {"fontSize": 12}},
        "xAxis": {
            "type": "category",
            "position": "top",
            "data": [
                {
                    "value": str(k + 1) if k + 1 < n_states else "answer",
                    "textStyle": figures.lit(k + 1 == (shown or n_states), theme),
                }
                for k in range(n_states)
            ],
            "name": "thought, as it was fed",
            "nameLocation": "middle",
            "nameGap": 24,
            "nameTextStyle": {"color": theme.muted},
            "axisLabel": {"interval": 0, "fontSize": 12},
            **BARE,
        },
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [
                {"value": name, "textStyle": {"color": theme.text if marks[node].reachable else theme.muted}}
                for name, node in zip(names, order, strict=True)
            ],
            "axisLabel": {"interval": 0, "fontSize": 11},
            **BARE,
            "splitLine": {"show": True, "lineStyle": {"color": theme.faint, "opacity": 0.5}},
        },
        # Cells carry their own colours; a heatmap cannot be drawn without a visual map.
        "visualMap": [{"show": False, "min": -1, "max": 1, "dimension": 2, "inRange": {"opacity": [1, 1]}}],
        "series": [{"type": "heatmap", "data": data, "label": {"show": True, "formatter": "{b}", "fontSize": 10}}],
    }


def node_order(scene_problem: Any) -> tuple[int, ...]:
    return layout(scene_problem).order


def _names(states: Sequence[Later]) -> list[str]:
    return [str(state.thought or "answer") for state in states]


def _state(state: int, n_states: int) -> str:
    return f"thought {state + 1}" if state + 1 < n_states else "the answer state"


def _lit(option: Option, states: Sequence[Later], shown: int, theme: Theme) -> Option:
    option["xAxis"]["data"] = [
        {"value": name, "textStyle": figures.lit((state.thought or 0) == shown, theme)}
        for name, state in zip(_names(states), states, strict=True)
    ]
    return option
