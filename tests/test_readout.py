"""What states say of nodes, against a computation from scratch of every node's every token, for both codecs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import oracle
import pytest
import torch
from two_tokens import two_token_model

from model.coconut import CoconutGPT2, codec_for
from model.codec import NO_NODE, Written
from model.codec_slots import ANSWER, FIRST_SLOT
from model.problems.generate import generate
from model.readout import (
    forced_answers,
    generated_answers,
    key_vectors,
    next_log_probs,
    node_log_probs,
    vector_log_probs,
)
from probing.read.attention import copy_map, edge_attention, replay
from probing.read.probe import probe

PROBLEMS = list(generate("balanced", 3, 5, hops=(2, 3), nodes=(8, 14)))
K = 3


@pytest.fixture(params=["slots", "two tokens"])
def model(request, tiny) -> CoconutGPT2:
    return tiny if request.param == "slots" else two_token_model()


@pytest.fixture
def prompts(model):
    return [model.codec.prompt(problem, np.random.default_rng(i)) for i, problem in enumerate(PROBLEMS)]


@pytest.fixture
def trace(model, prompts):
    with torch.no_grad():
        return model.think(model.codec.collate(prompts), K)


def from_scratch(model, prompt, k: int, prefix, sequence) -> float:
    """Log-probability of a token sequence written behind a prefix after k thoughts."""
    _, embeddings = oracle.think(model, prompt.input_ids, k)
    written = torch.cat([embeddings, model.transformer.wte.weight[[*prefix, *sequence]]])
    log_probs = model.lm_head(oracle.hidden(model, written)).log_softmax(dim=-1)
    start = len(embeddings) + len(prefix) - 1
    return sum(float(log_probs[start + i, token]) for i, token in enumerate(sequence))


@torch.no_grad()
def test_node_log_probs_are_those_of_every_token_from_scratch(model, prompts, trace) -> None:
    found = node_log_probs(model, trace, prompts)
    most = max(prompt.problem.n_nodes for prompt in prompts)
    assert found.nodes.shape == (3, K + 1, most)
    for row, prompt in enumerate(prompts):
        n = prompt.problem.n_nodes
        assert np.isnan(found.nodes[row, :, n:]).all()
        for k in range(K + 1):
            reading = model.codec.reading(prompt, k)
            for node, sequence in enumerate(reading.sequences):
                expected = from_scratch(model, prompt, k, reading.prefix, sequence)
                assert found.nodes[row, k, node] == pytest.approx(expected, abs=1e-4)
            for column, token in enumerate(model.codec.special.values()):
                expected = np.exp(from_scratch(model, prompt, k, reading.prefix, (token,)))
                assert found.special[row, k, column] == pytest.approx(expected, abs=1e-5)
    assert np.nansum(found.probability, axis=-1) + found.left_over == pytest.approx(1, abs=1e-6)
    assert found.probability == pytest.approx(np.exp(found.nodes), abs=1e-12, nan_ok=True)
    assert found.logit - found.log_norm[..., None] == pytest.approx(found.nodes, abs=1e-5, nan_ok=True)
    assert np.nansum(found.normalised, axis=-1) == pytest.approx(1)
    keys = key_vectors(model)
    for row, prompt in enumerate(prompts):
        for node, key in enumerate(prompt.keys):
            cosine = torch.cosine_similarity(trace.states[row], keys[key][None], dim=-1)
            assert found.cosine[row, :, node] == pytest.approx(cosine.numpy(), abs=1e-5)


@torch.no_grad()
def test_forced_answers_are_those_from_scratch(model, prompts, trace) -> None:
    found, last = forced_answers(model, trace, prompts), forced_answers(model, trace, prompts, last_only=True)
    for row, prompt in enumerate(prompts):
        reading = model.codec.answer_reading(prompt)
        target, other = (reading.sequences[node] for node in (prompt.problem.target, prompt.problem.neg_target))
        for k in range(K + 1):
            assert found.log_p_target[row, k] == pytest.approx(
                from_scratch(model, prompt, k, reading.prefix, target), abs=1e-4
            )
            assert found.log_p_other[row, k] == pytest.approx(
                from_scratch(model, prompt, k, reading.prefix, other), abs=1e-4
            )
            first = [
                from_scratch(model, prompt, k, reading.prefix, (token,)) for token in range(model.config.vocab_size)
            ]
            assert found.neither[row, k] == (int(np.argmax(first)) not in (target[0], other[0]))
    assert last.log_odds == pytest.approx(found.log_odds[:, -1:], abs=1e-4)
    assert last.p_target == pytest.approx(np.exp(found.log_p_target[:, -1:]), abs=1e-5)
    assert np.array_equal(last.neither, found.neither[:, -1:])


@torch.no_grad()
def test_generated_answers_are_what_is_written_from_scratch(model, prompts, trace) -> None:
    codec, found = model.codec, generated_answers(model, trace, prompts)
    for row, prompt in enumerate(prompts):
        for k in range(K + 1):
            _, embeddings = oracle.think(model, prompt.input_ids, k)
            start = torch.cat([embeddings, model.transformer.wte.weight[list(codec.after)]])
            tokens = oracle.write(model, start, codec.longest_generation(prompt.problem), None)
            assert found[row][k] == codec.parse(tokens, prompt)


@torch.no_grad()
def test_vectors_are_read_by_the_tokens_of_keys(model, prompts, trace) -> None:
    found, tokens = vector_log_probs(model, trace.thoughts, prompts), model.codec.key_tokens()
    log_probs = next_log_probs(model, trace.thoughts)
    for row, prompt in enumerate(prompts):
        for node, key in enumerate(prompt.keys):
            expected = log_probs[row][:, list(tokens[key])].sum(dim=-1)
            assert found.nodes[row, :, node] == pytest.approx(expected.numpy(), abs=1e-4)
    for key, vector in enumerate(key_vectors(model)):
        assert torch.allclose(vector, model.lm_head.weight[list(tokens[key])].mean(dim=0))


@torch.inference_mode()
def test_one_token_a_node_costs_no_further_pass_and_no_bit(tiny) -> None:
    """What readers of slots computed by hand before there was a codec, to the last bit."""
    prompts = tiny.codec.prompts(PROBLEMS[0], 4, seed=1)
    trace = tiny.think(tiny.codec.collate(prompts), K)
    tokens = torch.tensor([[FIRST_SLOT + slot for slot in prompt.sample.slots] for prompt in prompts])
    index = tokens[:, None].expand(-1, K + 1, -1)
    logits = tiny.logits(trace.states).float()
    norm = trace.states.norm(dim=-1)
    found = node_log_probs(tiny, trace, prompts)
    probability = logits.double().softmax(dim=-1)
    assert np.array_equal(found.probability, probability.gather(2, index).numpy())
    assert np.array_equal(found.special, probability[..., :FIRST_SLOT].numpy())
    assert np.array_equal(found.logit, logits.gather(2, index).double().numpy())
    cosine = logits / (norm[..., None] * tiny.lm_head.weight.norm(dim=-1))
    assert np.array_equal(found.cosine, cosine.gather(2, index).double().numpy())
    assert np.array_equal(found.norm, norm.double().numpy())
    assert torch.equal(key_vectors(tiny), tiny.lm_head.weight[FIRST_SLOT:])
    forced = tiny.logits_after(trace, ANSWER).double().log_softmax(dim=-1)
    target = tokens[:, PROBLEMS[0].target]
    assert np.array_equal(forced_answers(tiny, trace, prompts).log_p_target, forced[torch.arange(4), :, target].numpy())


@torch.inference_mode()
def test_an_identity_edit_changes_no_reading(model, prompts) -> None:
    batch = model.codec.collate(prompts)
    one, other = (model.think(batch, K, edit=lambda t, thought: thought) for _ in range(2))
    for read in (node_log_probs, forced_answers):
        for a, b in zip(vars(read(model, one, prompts)).values(), vars(read(model, other, prompts)).values()):  # noqa: B905
            assert np.array_equal(a, b, equal_nan=a.dtype != bool)


def test_what_a_codec_promises(model, prompts) -> None:
    codec = model.codec
    assert codec == codec_for(model.config)
    names = codec.key_tokens()
    assert len(names) == codec.n_keys
    for one, other in pairwise(sorted(names)):
        assert other[: len(one)] != one  # no name begins another
    for prompt in prompts:
        problem = prompt.problem
        assert codec.reading(prompt, 1).sequences == tuple(names[key] for key in prompt.keys)
        for (source, target), span in zip(problem.edges, prompt.edge_spans, strict=True):
            assert prompt.input_ids[span.start : span.target] == names[prompt.keys[source]]
            assert prompt.input_ids[span.target : span.mark] == names[prompt.keys[target]]
            assert span.mark < span.end
        end = len(names[prompt.keys[problem.root]])
        assert prompt.input_ids[-end:] == names[prompt.keys[problem.root]]
        asked = problem.counterfactual
        assert asked is not None
        again = codec.rewritten(prompt, asked)
        assert (again.keys, again.edge_spans, again.problem) == (prompt.keys, prompt.edge_spans, asked)
        mark = codec.special[codec.answer_mark]
        said = codec.parse([mark, *names[prompt.keys[problem.target]]], prompt)
        assert said == Written((), problem.target)
        assert codec.parse([], prompt) == Written((), NO_NODE)
    one, again = (codec.prompts(PROBLEMS[0], 2, seed=4) for _ in range(2))
    assert one == again
    assert one[0] != one[1]


@torch.inference_mode()
def test_attention_to_edges_is_summed_over_their_tokens(model, prompts, trace) -> None:
    batch = model.codec.collate(prompts)
    replayed = replay(model, batch, trace)
    assert torch.allclose(replayed.states, trace.states, atol=1e-4)
    assert torch.allclose(replayed.attention.sum(dim=-1), torch.tensor(2.0))
    maps = copy_map(model, batch, prompts)
    assert torch.allclose(maps.sum(dim=-1), torch.tensor(1.0))
    for row, prompt in enumerate(prompts):
        start = batch.input_ids.shape[1] - len(prompt.input_ids)
        found = edge_attention(replayed, batch, row, prompt)
        for edge, span in enumerate(prompt.edge_spans):
            expected = replayed.attention[:, row, :, start + span.start : start + span.end].sum(dim=-1)
            assert torch.allclose(found[..., edge], expected)


def test_a_report_of_several_tokens_a_node() -> None:
    model = two_token_model()
    report = probe(model, PROBLEMS[0], n_samples=2, pad=False)
    assert report.marker_names == ("so", "eos", "step")
    assert report.answer_column == 0
    total = np.array(report.probability.mean).sum(axis=1) + np.array(report.marker.mean).sum(axis=1) + report.other
    assert total == pytest.approx(1)
    assert type(report).parse(report.to_json()) == report
