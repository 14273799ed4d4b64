"""Our order of GPT-2's arithmetic against Hugging Face's own, forward and backward."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model import deferred, transformer
from model.coconut import CoconutConfig, CoconutGPT2
from model.codec import PromptBatch
from model.transformer import Cache, embed, linear, run

N = 11


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(8, 48, (3, N), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> torch.Tensor:
    return (torch.arange(N) >= torch.tensor([[0], [4], [2]])).long()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_a_pass_equals_hugging_faces_on_left_padded_rows(
    ids: torch.Tensor, mask: torch.Tensor, inverse: bool, activation: str
) -> None:
    config = GPT2Config(
        n_layer=3, n_head=4, n_embd=32, n_positions=16, vocab_size=48, bos_token_id=None, eos_token_id=None,
        scale_attn_by_inverse_layer_idx=inverse, activation_function=activation, initializer_range=0.3,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    position = (mask.cumsum(dim=1) - 1).clamp(min=0)
    allowed = torch.ones(N, N, dtype=torch.bool).tril() & mask[:, None].bool()
    with torch.no_grad():
        out = model(
            ids, attention_mask=mask, position_ids=position, output_hidden_states=True, use_cache=True
        )  # fmt: skip
        cache, streams = Cache(model), []

        def look(layer: int, hidden: torch.Tensor) -> torch.Tensor:
            streams.append(hidden)
            return hidden

        ours = run(model, embed(model, ids, position), cache.attend(allowed), stream=look)
        few = run(model, embed(model, ids, position), Cache(model).attend(allowed), n_read=2)
    real = mask.bool()
    torch.testing.assert_close(ours[real], out.hidden_states[-1][real], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(few, ours[:, -2:], atol=2e-5, rtol=1e-4)
    for mine, theirs in zip(streams[:-1], out.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(mine, theirs[:, -1], atol=2e-5, rtol=1e-4)
    for (k, v), layer in zip(cache.layers, out.past_key_values.layers, strict=True):
        torch.testing.assert_close(k.transpose(1, 2)[real], layer.keys.transpose(1, 2)[real], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(v.transpose(1, 2)[real], layer.values.transpose(1, 2)[real], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("columns", [slice(None), slice(0, 5), slice(5, None)])
def test_products_with_and_without_gradients_are_torchs_own(
    columns: slice, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradients they may go another way, whatever part of a weight is used and however it lies in memory."""
    monkeypatch.setattr(transformer, "ONEDNN", onednn and transformer.ONEDNN_IS_BUILT)
    x, weight, bias = (
        torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((2, 3, 7), (7, 9), 9)
    )
    expected = x @ weight[:, columns] + bias[columns]
    for matrix in (weight[:, columns].t(), weight[:, columns].t().contiguous()):
        torch.testing.assert_close(linear(x, matrix, bias[columns]), expected)
        with torch.no_grad():
            torch.testing.assert_close(linear(x, matrix, bias[columns]), expected)
            torch.testing.assert_close(linear(x.double(), matrix.double()).float(), expected - bias[columns])
    x.requires_grad_()
    linear(x, weight[:, columns].t()).sum().backward()
    torch.testing.assert_close(x.grad, weight[:, columns].sum(dim=1).expand_as(x))


@pytest.mark.parametrize(
    ("method", "feed"), [("coconut", "state"), ("pause", "state"), ("coconut", "argmax"), ("coconut", "expected")]
)
@pytest.mark.parametrize("n_thoughts", [0, 1, 3])
@pytest.mark.parametrize("after", [[3, 3, 3], [0, 3, 1], [0, 0, 0]])
@pytest.mark.parametrize("small", [8, 8192])
def test_training_logits_and_gradients_equal_those_of_the_plain_way(
    ids: torch.Tensor,
    mask: torch.Tensor,
    method: str,
    feed: str,
    n_thoughts: int,
    after: list[int],
    small: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While training, what all uses send to a weight or to the prompt's keys is summed in one product: the same sum."""
    monkeypatch.setattr(deferred, "SMALL", small)
    model = CoconutGPT2(CoconutConfig(
        n_layer=3, n_head=2, n_embd=16, n_positions=32, vocab_size=48, initializer_range=0.3, method=method, feed=feed,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    ))  # fmt: skip
    tokens = torch.tensor([[20, 5, 21], [9, 5, 9], [5, 30, 6]])
    prompt, leave = PromptBatch(ids, mask), torch.tensor(after).clamp(max=n_thoughts)
    for length in (3, 1):
        plain = model.continuation_logits(model.think(prompt, n_thoughts), tokens[:, :length], after=leave)
        found = model.training_logits(prompt, n_thoughts, tokens[:, :length], leave)
        torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-4)
        gradients = []
        for logits in (plain, found):
            model.zero_grad()
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, :length].flatten()).backward()
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()])
        for mine, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_the_stream_is_seen_and_replaced_where_asked_and_only_there(ids: torch.Tensor, mask: torch.Tensor) -> None:
    model = CoconutGPT2(CoconutConfig(n_layer=2, n_head=2, n_embd=16, n_positions=32, vocab_size=48)).eval()
    batch, seen = PromptBatch(ids, mask), []

    def look(t: int, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        seen.append((t, layer))
        last.update({(t, layer): hidden})
        return hidden

    last: dict[tuple[int, int], torch.Tensor] = {}
    with torch.no_grad():
        clean = model.think(batch, 2)
        assert torch.equal(model.think(batch, 2, stream=look).states, clean.states)
        assert seen == [(t, layer) for t in range(3) for layer in (1, 2)]
        for t in range(3):
            torch.testing.assert_close(model.transformer.ln_f(last[t, 2]), clean.states[:, t])
        cut = model.think(batch, 2, stream=lambda t, layer, h: torch.zeros_like(h) if (t, layer) == (1, 1) else h)
    assert torch.equal(cut.states[:, 0], clean.states[:, 0])
    assert not torch.allclose(cut.states[:, 1], clean.states[:, 1])


def test_a_training_step_leaves_nothing_behind(ids: torch.Tensor, mask: torch.Tensor) -> None:
    """No cycle keeps a step's graph alive: Python's collector does not see through autograd's nodes."""
    model = CoconutGPT2(CoconutConfig(
        n_layer=2, n_head=2, n_embd=16, n_positions=32, vocab_size=48, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    ))  # fmt: skip
    held = []

    def step() -> None:
        tokens, after = torch.tensor([[20, 5, 21]]).expand(3, -1), torch.tensor([2, 0, 1])
        logits = model.training_logits(PromptBatch(ids, mask), 2, tokens, after)
        node, todo, seen = logits.grad_fn, [logits.grad_fn], set()
        while todo:  # every node of the graph that is Python's own
            node = todo.pop()
            new = {before for before, _ in node.next_functions if before is not None} - seen
            todo, seen = [*todo, *new], seen | new
            if hasattr(node, "room") or hasattr(node, "uses"):
                held.append(weakref.ref(node))
        logits.sum().backward()

    gc.disable()
    try:
        step()
        assert len(held) > 10
        assert all(node() is None for node in held)
    finally:
        gc.enable()
