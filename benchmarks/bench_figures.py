"""Time and crossings of the layout, and time of each drawing: ``python -m benchmarks.bench_figures``.

The reference of the layout is networkx's multipartite layout on the same columns; crossings are of straight edges.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import networkx as nx
import numpy as np

from model import checkpoint
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.draw.export import export_report
from probing.draw.layout import Point, crossings, layout
from probing.read.probe import probe

N_PROBLEMS = 100
REPEATS = 5


def milliseconds(call: Callable[[], Any]) -> float:
    """Processor time of one call: steadier than wall time on a machine that others use."""
    started = time.process_time()
    call()
    return 1000 * (time.process_time() - started)


def plain(problem: ProsQAProblem) -> list[Point]:
    """The same columns, nodes in each in the order of their numbers; the block below is set to the right."""
    shown, graph = layout(problem), nx.DiGraph()
    for node in range(problem.n_nodes):
        away = 0 if shown.reachable[node] else problem.depth + 1
        graph.add_node(node, subset=shown.column[node] + away)
    graph.add_edges_from(problem.edges)
    where = nx.multipartite_layout(graph)
    return [tuple(where[node]) for node in range(problem.n_nodes)]


def main() -> None:
    problems = list(generate("balanced", N_PROBLEMS, 0))
    layout(problems[0])
    layout.cache_clear()
    times = [milliseconds(partial(layout, problem)) for problem in problems]
    plain_times = [milliseconds(partial(plain, problem)) for problem in problems]
    ours = [crossings(list(zip((s := layout(p)).x, s.y, strict=True)), p.edges) for p in problems]
    theirs = [crossings(plain(problem), problem.edges) for problem in problems]
    result: dict[str, float] = {
        "layout_ms": median(times),
        "layout_ms_p95": float(np.percentile(times, 95)),
        "multipartite_ms": median(plain_times),
        "crossings": float(np.mean(ours)),
        "crossings_multipartite": float(np.mean(theirs)),
        "fewer_or_equal_share": float(np.mean(np.array(ours) <= np.array(theirs))),
    }
    report = probe(checkpoint.load(), problems[0], n_samples=4)
    for kind in ("dag", "heatmap", "frontier"):
        for format in ("svg", "png", "pdf", "html"):
            draw = partial(export_report, report, kind, format)
            draw()
            result[f"{kind}_{format}_ms"] = median(milliseconds(draw) for _ in range(REPEATS))
    for name, value in result.items():
        print(f"{name:<24}{value:>10.2f}")
    print(json.dumps({"benchmark": "figures", "n": N_PROBLEMS} | {k: round(v, 3) for k, v in result.items()}))


if __name__ == "__main__":
    main()
