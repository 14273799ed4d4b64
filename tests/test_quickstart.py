"""The notebook of the quickstart runs, from its first cell to its last, and shows what its text says."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import plotly.graph_objects as go

NOTEBOOK = Path(__file__).parent.parent / "docs" / "quickstart.ipynb"


def test_the_quickstart_runs(capsys) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    shown = []
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]  # nothing of a machine, and no megabytes of figures
            *body, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names))
    graph, heatmap, effects = (one for one in shown if one is not None)
    assert all(isinstance(one, go.Figure) for one in (graph, heatmap, effects))
    assert len(graph.frames) == names["report"].n_thoughts + 1
    assert {trace.type for trace in heatmap.data} >= {"heatmap", "bar"}
    said = capsys.readouterr().out
    assert "Before: " in said
    assert "After swapping the branches in thought 1: " in said
    result = names["result"]
    assert {"identity", "random"} <= set(result.controls)
    assert (result.controls["identity"].log_odds == result.clean.log_odds).all()
