"""The lens grid and the run as a line of text, for slots and for English, against Hugging Face's own forward."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model import checkpoint
from model.coconut import CoconutConfig, CoconutGPT2, ThoughtTrace
from model.codec import PromptBatch
from model.codec_text import TextCodec
from model.errors import InputError
from model.files import read_json, write_json
from model.problems.generate import generate
from probing.__main__ import app
from probing.draw import of_lens
from probing.read.lens import lens_grid
from probing.read.probe import probe
from probing.read.strip import token_strip

(PROBLEM,) = generate("balanced", 1, 5, hops=(2, 2), nodes=(6, 8))
COMPACT = TextCodec(compact=True)


def english(n_positions: int = 256, codec: TextCodec = COMPACT) -> CoconutGPT2:
    """A model with fresh weights that reads English, its embedding large enough for choices to be clear."""
    config = CoconutConfig(
        n_layer=2, n_head=2, n_embd=32, n_positions=n_positions, vocab_size=codec.vocab_size, codec=codec.name,
        codec_format=codec.format, trained_stage=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    made = checkpoint.untrained(config, seed=1)
    with torch.no_grad():
        made.transformer.wte.weight.mul_(20)
    return made


@pytest.fixture(scope="module", params=["slots", "english"])
def model(request: pytest.FixtureRequest) -> CoconutGPT2:
    return english() if request.param == "english" else checkpoint.load(checkpoint.CHECKPOINTS / "prosqa-tiny")


@torch.inference_mode()
def test_cells_are_the_residual_stream_read_as_the_last_layer_is(model: CoconutGPT2) -> None:
    grid = lens_grid(model, PROBLEM, seed=3)
    config, codec = model.config, model.codec
    assert (grid.n_layer, grid.n_states, grid.n_tokens) == (config.n_layer, 3, config.vocab_size)
    (prompt,) = codec.prompts(PROBLEM, 1, seed=3, pad_to=config.padding_for(PROBLEM))
    trace = model.think(codec.collate([prompt]), 2)
    # Hugging Face's own forward, prompt and thoughts as embeddings, without a cache.
    tokens = model.transformer.wte(torch.tensor([prompt.input_ids]))
    fed = torch.cat([tokens, trace.thoughts], dim=1)
    hidden = model.transformer(inputs_embeds=fed, output_hidden_states=True).hidden_states
    for layer in range(1, config.n_layer + 1):
        x = hidden[layer][0, -3:]
        x = x if layer == config.n_layer else model.transformer.ln_f(x)  # the last is normed already
        expected = (x @ model.transformer.wte.weight.T).softmax(dim=-1)
        for k, cell in enumerate(grid.cells[layer - 1]):
            assert cell.probability == pytest.approx(expected[k].sort(descending=True).values[:10].tolist(), abs=1e-4)
            best = int(expected[k].argmax())
            assert cell.words[0] == codec.words(best, prompt)
            way = np.array(grid.way(cell.words[0]))
            assert way[layer - 1, k] == pytest.approx(cell.probability[0], abs=1e-4)
    with pytest.raises(InputError, match="on top of no cell"):
        grid.way("no such token")


@torch.inference_mode()
def test_a_strip_says_the_prompt_and_what_is_written(model: CoconutGPT2) -> None:
    strip, codec = token_strip(model, PROBLEM, seed=3), model.codec
    (prompt,) = codec.prompts(PROBLEM, 1, seed=3, pad_to=model.config.padding_for(PROBLEM))
    whole = "".join(piece.text for piece in strip.prompt)
    if codec.vocabulary is not None:
        assert whole == codec.vocabulary.text(prompt.input_ids)
        names = prompt.sample.names
    else:
        assert whole.split() == [codec.words(token, prompt) for token in prompt.input_ids]
        names = PROBLEM.idx_to_symbol
    degree = np.bincount(np.array(PROBLEM.edges).flatten(), minlength=PROBLEM.n_nodes)
    degree[[PROBLEM.root, PROBLEM.target, PROBLEM.neg_target]] += 1
    said = [piece for piece in strip.prompt if piece.node is not None]
    # A person who begins the text has no space before the name, so other tokens.
    missed = degree - np.bincount([piece.node for piece in said], minlength=PROBLEM.n_nodes)
    assert missed.sum() in (0, 1)
    assert all(piece.text.strip() == names[piece.node] for piece in said)
    assert len(strip.thoughts) == 2
    assert len(strip.written) == 3
    if codec.vocabulary is None:  # trained: after both thoughts the answer follows, names and all
        *_, answer = [piece for piece in strip.written[2] if piece.node is not None]
        assert answer.node == PROBLEM.target


def test_pictures_say_what_the_grid_says(model: CoconutGPT2, tmp_path: Path) -> None:
    grid = lens_grid(model, PROBLEM)
    chart = of_lens.grid(grid)
    assert chart.categories == ("1", "2", "answer")
    assert [series.labels for series in chart.series] == [
        tuple(of_lens.visible(cell.words[0]) for cell in row) for row in grid.cells
    ]
    assert of_lens.visible(" a\n") == "·a⏎"
    checkpoint.save(model, tmp_path / "model")
    write_json(tmp_path / "p.json", [PROBLEM.to_row()])
    told = ["lens", "--data", str(tmp_path / "p.json"), "--checkpoint", str(tmp_path / "model")]
    for ending in ("svg", "html", "csv", "json"):
        made = CliRunner().invoke(app, [*told, "--out", str(tmp_path / f"grid.{ending}")])
        assert made.exit_code == 0, made.output
    assert read_json(tmp_path / "grid.json")["n_tokens"] == grid.n_tokens
    with (tmp_path / "grid.csv").open(newline="") as file:  # tokens may be line breaks
        assert len(list(csv.reader(file))) == 1 + 10 * 3 * model.config.n_layer
    svg = (tmp_path / "grid.svg").read_text()
    shown = [series.labels[0] for series in chart.series if series.labels[0].isalpha()]
    assert all(label in svg for label in shown)
    for more, says in ((["--row", "1"], "out of range"), (["--token", "nothing"], "on top of no cell")):
        made = CliRunner().invoke(app, [*told, *more, "--out", str(tmp_path / "x.svg")])
        assert says in str(made.exception or made.output)


def test_what_is_read_from_the_prompt_is_said_not_to_be_from_the_thoughts() -> None:
    """Planted: what is written behind the thoughts sees zeros in their place, or little else than them."""
    said = "from the prompt, not from the thoughts"

    class Blind(CoconutGPT2):
        def think(self, start: PromptBatch | ThoughtTrace, n_thoughts: int, **_: object) -> ThoughtTrace:
            return super().think(start, n_thoughts, edit=lambda t, thought: torch.zeros_like(thought))

    class Sighted(CoconutGPT2):
        def think(self, start: PromptBatch | ThoughtTrace, n_thoughts: int, **given: Any) -> ThoughtTrace:
            trace = super().think(start, n_thoughts, **given)
            loud = torch.ones(trace.attention_mask.shape[1], 1)
            loud[len(loud) - n_thoughts :] = 1_000_000 * bool(trace.thoughts.any())
            return replace(trace, cache=tuple((keys, values * loud) for keys, values in trace.cache))

    def warned(kind: type[CoconutGPT2]) -> bool:
        model = kind(english().config).eval()
        model.load_state_dict(english().state_dict())
        return any(said in warning for warning in probe(model, PROBLEM, n_samples=2).warnings)

    assert warned(Blind)
    assert not warned(Sighted)
    slots = checkpoint.load(checkpoint.CHECKPOINTS / "prosqa-tiny")  # read from the states themselves
    assert not any(said in warning for warning in probe(slots, PROBLEM, n_samples=2).warnings)
