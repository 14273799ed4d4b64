"""The thought loop against its oracle, and what every edit and every cut of a run must respect."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import oracle
import pytest
import torch

from model import checkpoint
from model.coconut import FEEDS, CoconutConfig, CoconutGPT2, ThoughtTrace, fed_back
from model.codec import PromptBatch, Size
from model.codec_slots import ANSWER, EOS, PAUSE, Draw, SlotCodec
from model.problems.prosqa import ProsQAProblem

CODEC = SlotCodec()
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def chain(n: int) -> ProsQAProblem:
    """x0 -> x1 -> ... -> x(n-1), and an unreachable edge y -> z: target x(n-1), the other candidate z."""
    names = [f"x{i}" for i in range(n)]
    edges = [*pairwise(names), ("y", "z")]
    return ProsQAProblem.from_names(edges, root="x0", candidates=("z", names[-1]))


@pytest.fixture
def prompts():
    return [CODEC.prompts(chain(n), 1, seed=n)[0] for n in (3, 7, 5)]


@pytest.fixture
def trace(tiny: CoconutGPT2, prompts) -> ThoughtTrace:
    with torch.no_grad():
        return tiny.think(CODEC.collate(prompts), 4)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, **TOLERANCE)


@torch.no_grad()
def test_loop_equals_oracle_and_batch_equals_single(tiny, prompts, trace) -> None:
    for row, prompt in enumerate(prompts):
        states, embeddings = oracle.think(tiny, prompt.input_ids, 4)
        close(trace.states[row], states)
        close(trace.thoughts[row], embeddings[-4:])
        close(tiny.think(CODEC.collate([prompt]), 4).states[0], states)


@torch.no_grad()
def test_read_outs_after_every_k_equal_writing_from_scratch(tiny, prompts, trace) -> None:
    after = tiny.logits_after(trace, ANSWER)
    written = tiny.write_after_each(trace, 5, stop=EOS)
    for row, prompt in enumerate(prompts):
        for k in range(5):
            _, embeddings = oracle.think(tiny, prompt.input_ids, k)
            answer = torch.cat([embeddings, tiny.transformer.wte.weight[ANSWER][None]])
            close(after[row, k], tiny.lm_head(oracle.hidden(tiny, answer)[-1]))
            expected = oracle.write(tiny, embeddings, 5, EOS)
            assert written[row, k, : len(expected)].tolist() == expected
            assert tiny.write(trace.upto(k), 5, stop=EOS)[row, : len(expected)].tolist() == expected


@torch.no_grad()
def test_no_thoughts_is_plain_gpt2(tiny, prompts) -> None:
    ids = torch.tensor([prompts[1].input_ids])
    close(tiny.logits(tiny.think(CODEC.collate(prompts[1:2]), 0).states)[:, 0], tiny(input_ids=ids).logits[:, -1])


@torch.no_grad()
def test_identity_edit_changes_nothing_and_edits_leave_earlier_thoughts(tiny, prompts, trace) -> None:
    batch = CODEC.collate(prompts)
    assert torch.equal(tiny.think(batch, 4, edit=lambda t, thought: thought).states, trace.states)
    zeroed = tiny.think(batch, 4, edit=lambda t, thought: torch.zeros_like(thought) if t == 3 else thought)
    assert torch.equal(zeroed.states[:, :3], trace.states[:, :3])
    assert torch.equal(zeroed.thoughts[:, 2], torch.zeros_like(zeroed.thoughts[:, 2]))
    assert not torch.allclose(zeroed.states[:, 3:], trace.states[:, 3:], atol=1e-4)
    states, _ = oracle.think(tiny, prompts[0].input_ids, 4, lambda t, h: torch.zeros_like(h) if t == 3 else h)
    close(zeroed.states[0], states)


@torch.no_grad()
def test_going_on_from_a_cut_run_is_the_same_run(tiny, trace) -> None:
    before = [tensor.clone() for pair in trace.cache for tensor in pair]
    steps: list[int] = []

    def note(t: int, thought: torch.Tensor) -> torch.Tensor:
        steps.append(t)
        return thought

    again = tiny.think(trace.upto(1), 3, edit=note)
    assert steps == [2, 3, 4]
    close(again.states, trace.states)
    rows = torch.tensor([2, 0, 2])
    close(tiny.think(trace.upto(2).select(rows), 2).states, trace.states[rows])
    tiny.write(trace, 3)
    for old, new in zip(before, (tensor for pair in trace.cache for tensor in pair), strict=True):
        assert torch.equal(old, new)  # a trace is a value


def test_gradients_flow_through_every_thought(tiny, prompts) -> None:
    captured = []

    def keep(t: int, thought: torch.Tensor) -> torch.Tensor:
        thought.retain_grad()
        captured.append(thought)
        return thought

    trace = tiny.think(CODEC.collate(prompts), 3, edit=keep)
    tiny.logits(trace.states)[:, -1, ANSWER].sum().backward()
    assert len(captured) == 3
    assert all(thought.grad is not None and thought.grad.abs().sum() > 0 for thought in captured)
    tiny.zero_grad()


@torch.no_grad()
def test_a_pause_model_is_fed_its_pause_embedding(tiny, prompts) -> None:
    config = CoconutConfig.from_dict(tiny.config.to_dict() | {"method": "pause_as_thought"})
    model = CoconutGPT2(config).eval()
    trace = model.think(CODEC.collate(prompts), 2)
    close(trace.thoughts, model.transformer.wte.weight[PAUSE].expand_as(trace.thoughts))


@torch.no_grad()
def test_what_is_fed_back_can_be_a_token_or_their_expectation(tiny, prompts, monkeypatch) -> None:
    batch, embedding = tiny.codec.collate(prompts), tiny.transformer.wte.weight
    fed = {}
    for feed in FEEDS:
        monkeypatch.setattr(tiny.config, "feed", feed)
        trace = fed[feed] = tiny.think(batch, 2)
        assert torch.equal(trace.thoughts, tiny.think(batch, 2).thoughts), feed
        seen = tiny.think(batch, 2, edit=lambda t, thought: thought)
        assert torch.equal(seen.states, trace.states), "edits are given what is fed"
    probability = tiny.logits(fed["state"].states[:, 0]).softmax(dim=-1)
    assert torch.equal(fed["state"].thoughts, fed["state"].states[:, :2])
    torch.testing.assert_close(fed["expected"].thoughts[:, 0], probability @ embedding)
    assert torch.equal(fed["argmax"].thoughts[:, 0], embedding[probability.argmax(dim=-1)])
    match = (fed["sampled"].thoughts[:, :, None] == embedding).all(dim=-1)
    assert (match.sum(dim=-1) == 1).all(), "one token each"
    # Tokens are drawn as often as they are probable.
    logits = torch.tensor([0.6, 0.3, 0.1]).log().expand(4000, 3)
    noise = -torch.log(-torch.log(torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))))
    wte = SimpleNamespace(weight=torch.eye(3))
    unit = SimpleNamespace(lm_head=lambda state: state, transformer=SimpleNamespace(wte=wte))
    torch.testing.assert_close(fed_back(unit, logits, "sampled", noise).mean(dim=0), logits[0].exp(), atol=0.03, rtol=0)


def test_an_edit_of_the_wrong_shape_is_refused(tiny, prompts) -> None:
    with pytest.raises(ValueError, match=r"edit\(t=1\) returned shape"):
        tiny.think(CODEC.collate(prompts), 1, edit=lambda t, thought: thought[:1])


@torch.no_grad()
def test_shipped_checkpoint_reproduces_its_golden_values(trained) -> None:
    """Prompts, thought norms, top-5 tokens after every k and the written answer, as its training code saw them."""
    golden = json.loads((Path(__file__).parent / "data" / "golden.json").read_text())
    assert len(golden) == 20
    for item in golden:
        ids = torch.tensor([item["input_ids"]])
        trace = trained.think(PromptBatch(ids, torch.ones_like(ids)), trained.config.n_thoughts)
        torch.testing.assert_close(
            trace.thoughts.norm(dim=-1)[0], torch.tensor(item["thought_norms"]), atol=1e-3, rtol=0
        )
        probability = trained.logits(trace.states).softmax(-1)[0]
        for k, top in enumerate(item["top5_after_k_thoughts"]):
            for token, p in top:
                assert probability[k, token].item() == pytest.approx(p, abs=1e-4)
        assert trained.write(trace, 3)[0].tolist() == item["generated_after_6_thoughts"] == item["expected"]


def test_prompt_layout() -> None:
    problem = ProsQAProblem.from_names([("a", "b"), ("c", "d")], root="a", candidates=("d", "b"))
    prompt = CODEC.encode(problem, Draw((5, 6, 7, 8), (1, 0), (problem.neg_target, problem.target)))
    assert prompt.input_ids == (1, 15, 16, 2, 13, 14, 2, 3, 16, 14, 4, 13)
    assert [CODEC.words(t, prompt) for t in (1, 13, 16, 47)] == ["<bos>", "a", "d", "slot 39"]


def test_checkpoint_round_trip(tiny, tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    checkpoint.save(tiny, tmp_path / "saved")
    again = checkpoint.load(tmp_path / "saved")
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    auto = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert type(auto) is CoconutGPT2
    assert auto.config.codec == tiny.config.codec
    assert auto.lm_head.weight is auto.transformer.wte.weight
    auto.save_pretrained(tmp_path / "by_hf")
    assert torch.equal(checkpoint.load(tmp_path / "by_hf").lm_head.weight, tiny.lm_head.weight)


def test_distractor_facts_touch_no_node_and_change_nothing_else() -> None:
    """Between unused slots only, acyclic, up to the size asked for; the problem's own edges are all still there."""
    problem = chain(4)
    size = Size(nodes=20, edges=30)
    for prompt in CODEC.prompts(problem, 20, seed=2, pad_to=size):
        distractors = prompt.sample.distractors
        assert len(problem.edges) + len(distractors) == 30
        assert len(set(distractors)) == len(distractors)
        used = {slot for edge in distractors for slot in edge}
        assert not used & set(prompt.sample.slots)
        assert len(used) + problem.n_nodes <= 20
        assert nx.is_directed_acyclic_graph(nx.DiGraph(distractors))
        triples = {prompt.input_ids[i : i + 2] for i in range(1, 91, 3)}
        assert triples >= {(prompt.sample.tokens[a], prompt.sample.tokens[b]) for a, b in problem.edges}
    assert not CODEC.prompts(problem, 1, seed=2, pad_to=Size(nodes=20, edges=3))[0].sample.distractors


def test_only_graphs_smaller_than_any_in_training_are_filled(trained) -> None:
    assert trained.config.padding_for(chain(6)) == Size(nodes=23, edges=36)
    dense = [(f"x{i}", f"x{j}") for i in range(14) for j in range(i + 1, 14, 3)]
    problem = ProsQAProblem.from_names([*dense, ("o", "p")], root="x0", candidates=("x13", "p"))
    assert trained.config.padding_for(problem) is None


@torch.no_grad()
def test_continuation_logits_equal_a_full_recomputation_for_every_row_and_k(tiny, prompts, trace) -> None:
    tokens = torch.tensor([[9, 12, ANSWER, 9], [30, ANSWER, 11, EOS], [ANSWER, 8, EOS, 0]])
    for after in ((4, 0, 2), (1, 4, 3)):
        logits = tiny.continuation_logits(trace, tokens, after=torch.tensor(after))
        for row, (prompt, k) in enumerate(zip(prompts, after, strict=True)):
            _, embeddings = oracle.think(tiny, prompt.input_ids, k)
            written = torch.cat([embeddings, tiny.transformer.wte.weight[tokens[row, :-1]]])
            close(logits[row], tiny.lm_head(oracle.hidden(tiny, written)[-4:]))
    close(tiny.continuation_logits(trace, tokens), tiny.continuation_logits(trace, tokens, after=torch.tensor([4] * 3)))
    assert len(trace.cache[0][0][0, 0]) == trace.attention_mask.shape[1]  # the trace is left as it was


def test_gradients_through_thoughts_and_continuation_equal_recomputation(tiny, prompts) -> None:
    """Back through the cache, the fed-back thoughts and the teacher-forced tokens, as if all were computed at once."""
    tokens = torch.tensor([[20, ANSWER, 21]])
    weight = tiny.transformer.wte.weight

    def gradient(logits: torch.Tensor) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(logits, tokens[0])
        return torch.autograd.grad(loss, weight)[0]

    trace = tiny.think(CODEC.collate(prompts[:1]), 3)
    _, embeddings = oracle.think(tiny, prompts[0].input_ids, 3)
    states = oracle.hidden(tiny, torch.cat([embeddings, weight[tokens[0, :-1]]]))
    close(gradient(tiny.continuation_logits(trace, tokens)[0]), gradient(tiny.lm_head(states[-3:])))


@torch.no_grad()
def test_pauses_in_one_pass_equal_pauses_one_by_one(tiny, prompts) -> None:
    model = CoconutGPT2(CoconutConfig.from_dict(tiny.config.to_dict() | {"method": "pause"})).eval()
    model.load_state_dict(tiny.state_dict())
    batch = CODEC.collate(prompts)
    one_pass, one_by_one = model.think(batch, 4), model.think(batch, 4, edit=lambda t, thought: thought)
    close(one_pass.states, one_by_one.states)
    assert torch.equal(one_pass.thoughts, one_by_one.thoughts)
    assert torch.equal(one_pass.attention_mask, one_by_one.attention_mask)
    close(model.think(one_pass.upto(2), 2).states, one_by_one.states)
