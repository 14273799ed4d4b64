"""Open up continuous thoughts: decode them, score them against the true search frontier, edit them.

Layers: ``app`` draws, ``probing`` measures, ``model`` thinks; imports point only downward. The index convention
(state h_k, thought t = h_(t-1)) is written in ``model/__init__.py``.
"""

from __future__ import annotations

from typing import Any

import model  # noqa: F401  # first: it makes an interrupt while the rest is being loaded one word
from probing.read.report import ProbeReport, drawn_by


@drawn_by
def figure(report: ProbeReport, kind: str, **options: Any) -> Any:
    """``ProbeReport.figure``: reading and drawing meet here, above both, so that any report shows itself."""
    from probing.draw import of_report, plotly  # takes a second to load, and few who read also draw

    return plotly.figure(of_report.figure(report, kind, every=True, **options))
