"""What the public codes computed from their own files, where the environment says these are (COCONUT_GOLDEN)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import checkpoint
from model.coconut import CoconutGPT2
from model.codec import PromptBatch
from model.imports.run import import_checkpoint
from model.imports.told import Told
from model.problems.prosqa import ProsQAProblem

GOLDEN = Path(os.environ.get("COCONUT_GOLDEN", "not-there"))
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="COCONUT_GOLDEN names no folder")


def imported(tmp_path: Path, file: str, told: Told, yaml: str | None = None) -> CoconutGPT2:
    import_checkpoint(
        GOLDEN / file, tmp_path / "made", told=told, yaml=GOLDEN / yaml if yaml else None, check=False
    )  # fmt: skip
    return checkpoint.load(tmp_path / "made")


def rows(folder: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / folder / "golden.json").read_text())


def test_the_text_model_says_what_the_public_code_says(tmp_path) -> None:
    yaml = "upstream-text/prosqa_coconut_eval.yaml"
    model = imported(tmp_path, "upstream-text/checkpoint_40", Told(n_head=4), yaml)
    assert model.config.n_thoughts == 6
    codec, worst = model.codec, 0.0
    for row in rows("upstream-text"):
        ids = [i for i in row["input_ids"] if i not in (50258, 50259)]
        assert codec.vocabulary.ids(row["question"] + "\n<|start-latent|>") == tuple(ids)
        mask = torch.ones(1, len(ids), dtype=torch.long)
        with torch.inference_mode():
            trace = model.think(PromptBatch(torch.tensor([ids]), mask), row["k"])
            if row["k"]:
                found = trace.thoughts[0, :, :8].numpy()
                worst = max(worst, float(np.abs(found - np.array(row["thoughts_first8"])).max()))
                norms = trace.thoughts[0].norm(dim=-1).numpy()
                worst = max(worst, float(np.abs(norms - np.array(row["thought_norms"])).max()))
            logits = model.logits_after(trace, codec.after[0])[0, -1]
            for token, value in row["logits_top5"].items():
                worst = max(worst, abs(float(logits[int(token)]) - value))
            worst = max(worst, abs(float(logits.logsumexp(0)) - row["logsumexp"]))
            n = len(row["generated_ids"])
            written = model.write(trace, 24, stop=codec.has_ended, first=codec.after)[0].tolist()
        assert written[:n] == row["generated_ids"]
        assert n == 24 or written[n] == codec.end
        assert codec.vocabulary.text(row["generated_ids"]) == row["generated"]
    assert worst < 1e-4


def test_the_symbol_model_says_what_the_public_code_says(tmp_path) -> None:
    model = imported(tmp_path, "upstream-symbol/checkpoint_300", Told(n_head=8))
    codec, worst = model.codec, 0.0
    for row in rows("upstream-symbol"):
        problem = ProsQAProblem.asking(
            row["idx_to_symbol"], [tuple(edge) for edge in row["edges"]], root=row["root"],
            candidates=tuple(row["candidates"]),
        )  # fmt: skip
        prompt = codec.prompt(problem, np.random.default_rng(0))
        assert [*prompt.input_ids, *[33] * row["n_thoughts"], *codec.after] == row["input_ids"]
        assert model.config.thoughts_for(problem) == row["n_thoughts"]
        with torch.inference_mode():
            trace = model.think(codec.collate([prompt]), row["n_thoughts"])
            scores = (trace.thoughts[0] @ model.transformer.wte.weight[:31].T).numpy()
            answer = model.logits_after(trace, *codec.after)[0, -1].numpy()
        worst = max(worst, float(np.abs(scores - np.array(row["frontier_scores"])).max()))
        worst = max(worst, float(np.abs(answer - np.array(row["answer_logits"])).max()))
        assert int(answer.argmax()) == row["answer"]
    assert worst < 1e-4
