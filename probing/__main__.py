"""``python -m probing``: measure what a checkpoint's thoughts hold, and what they do."""

from __future__ import annotations

from model.cli import make_app, run
from probing import causal_commands

app = make_app("Open up a checkpoint's continuous thoughts: decode them, edit them, and judge what they do.")
causal_commands.register(app)

if __name__ == "__main__":
    run(app)
