"""``python -m probing``: probe a problem, draw what was found, test whether it is used."""

from __future__ import annotations

from model.cli import make_app, run
from probing.commands import dataset, directions, intervene, lens, plot, report, residual, study, texts, verdict

app = make_app("Open up continuous thoughts: decode, score against the frontier, draw, intervene.")
app.command()(report.report)
app.command()(dataset.dataset)
app.command()(directions.directions)
intervene.register(app)
app.command()(verdict.verdict)
app.command()(study.study)
app.command()(residual.residual)
app.command()(texts.texts)
app.command()(lens.lens)
plot.register(app)

if __name__ == "__main__":
    run(app)
