"""``python -m model``: make problems, train, evaluate."""

from __future__ import annotations

from model.cli import make_app, run

app = make_app("Make ProsQA problems, train Coconut GPT-2 models and evaluate them.")

if __name__ == "__main__":
    run(app)
