"""The English format: token for token what the public code writes, read back as it was meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_lens import english
from transformers import AutoTokenizer

from model import checkpoint
from model.coconut import CoconutGPT2, codec_for
from model.codec import NO_KEY, NO_NODE, Prompt, Samples, Size, Written
from model.codec_text import TextCodec
from model.errors import InputError
from model.problems.arrays import ProblemTensors
from model.problems.generate import PEOPLE, Recipe, generate, generate_arrays
from model.problems.prosqa import ProsQAProblem
from model.readout import forced_answers, node_log_probs
from model.rows import writes_words

PROBLEMS = list(generate("balanced", 4, 5, hops=(2, 3), nodes=(8, 14)))
WHOLE = TextCodec()
COMPACT = TextCodec(compact=True)
CONCEPT_NAMES = ("dumpus", "bompus", "gwompus", "jelpus", "impus", *(f"{letter}umpus" for letter in "cfghklmnrst"))
FEW = TextCodec(compact=True, names=(*CONCEPT_NAMES, "Tom", "Wren", "Yara", "Udo", "Hugo", "Jonas"))
OPENED = TextCodec(compact=True, opened=True, start=(), end_marks=(), names=FEW.names)
MARKED = TextCodec(compact=True, opened=True, newline=False, start=())


def test_gpt2s_tokens_follow_from_its_merges() -> None:
    assert WHOLE.vocab_size == 50260
    # Known ids of GPT-2's encoder.json.
    assert WHOLE.vocabulary.ids("Every Every<<\n### 18") == (6109, 3887, 16791, 198, 21017, 1248)
    assert WHOLE.vocabulary.ids("<|endoftext|><|start-latent|><|end-latent|><|latent|>") == (50256, 50257, 50258, 50259)
    assert WHOLE.end == 50256


@pytest.mark.parametrize("codec", [WHOLE, COMPACT], ids=["whole", "compact"])
def test_a_prompt_is_the_question_in_tokens(codec: TextCodec) -> None:
    for problem in PROBLEMS:
        for prompt in codec.prompts(problem, 3, seed=1):
            text = codec.vocabulary.text(prompt.input_ids)
            assert codec.vocabulary.ids(text) == prompt.input_ids  # cut as one text is
            names = prompt.sample.names
            assert sorted(names) == sorted(problem.idx_to_symbol)
            for edge, span in zip(problem.edges, prompt.edge_spans, strict=True):
                said = [codec.vocabulary.text(prompt.input_ids[a:b]) for a, b in
                        ((span.start, span.target), (span.target, span.mark), (span.mark, span.end))]  # fmt: skip
                assert said[0].strip().removeprefix("Every ") == f"{names[edge[0]]} is a"
                assert said[1:] == [f" {names[edge[1]]}", "."]
        first = codec.prompt(problem, np.random.default_rng(0))
        assert codec.vocabulary.text(first.input_ids) == f"{problem.question}\n<|start-latent|>"


def test_a_compact_vocabulary_cuts_names_as_gpt2_does() -> None:
    assert COMPACT.vocab_size < 300
    for name in (" shumpus", " zhorpus", "Every", " Wren"):
        cut = [[codec.vocabulary.text([i]) for i in codec.vocabulary.ids(name)] for codec in (WHOLE, COMPACT)]
        assert cut[0] == cut[1]
    assert len(COMPACT.vocabulary.ids(" shumpus")) == 3


def test_other_words_are_read_verbatim_and_other_names_have_no_key() -> None:
    problem = ProsQAProblem(
        ("Rex", "cat", "qu4rk", "Bo", "dog"), ((0, 1), (1, 2), (3, 4)), 0, 2, 4,
        question="Rex is a cat. Each cat is a qu4rk. Bo is a dog. True or false: is Rex a qu4rk or a dog?",
    )  # fmt: skip
    prompt = WHOLE.prompt(problem, np.random.default_rng(0))
    assert WHOLE.vocabulary.text(prompt.input_ids) == f"{problem.question}\n<|start-latent|>"
    span = prompt.edge_spans[1]
    assert WHOLE.vocabulary.text(prompt.input_ids[span.start : span.target]).strip() == "Each cat is a"
    assert WHOLE.vocabulary.text(prompt.input_ids[span.target : span.mark]) == " qu4rk"
    assert prompt.keys[1:3] == (NO_KEY, NO_KEY)
    assert prompt.keys[0] >= 0
    # Tokens that cannot write a name write all by names of training, people's among people.
    COMPACT.check_fits(problem, n_positions=1024, n_thoughts=6)
    own = COMPACT.prompt(problem, np.random.default_rng(0))
    assert COMPACT.vocabulary.text(own.input_ids).count(" is a ") == 3
    assert [name in PEOPLE for name in own.sample.names] == [True, False, False, True, False]
    assert set(COMPACT.drawn(problem, np.random.default_rng(1)).sample.names) == set(own.sample.names)
    wide = ProsQAProblem(tuple(f"qu4rk{i}" for i in range(99)), tuple((0, i) for i in range(1, 98)), 0, 1, 98)
    with pytest.raises(InputError, match=r"'qu4rk0' cannot be written.*more nodes than it has names"):
        COMPACT.check_fits(wide, n_positions=1024, n_thoughts=6)
    with pytest.raises(InputError, match="token positions"):
        WHOLE.check_fits(problem, n_positions=40, n_thoughts=6)


def sampled(codec: TextCodec, samples: Samples, row: int, problem: ProsQAProblem) -> Prompt:
    """The prompt that a row of a batch says, through names alone."""
    mask = samples.prompts.attention_mask[row].bool()
    question = codec.vocabulary.text(samples.prompts.input_ids[row][mask].tolist()).split("?")[0] + "?"
    names = tuple(codec.names[i] for i in samples.names[row, : problem.n_nodes])
    said = ProsQAProblem(names, problem.edges, problem.root, problem.target, problem.neg_target, question=question)
    return codec.prompt(said, np.random.default_rng(0))


def taught(codec: TextCodec, prompt: Prompt, n_skip: int) -> list[tuple[int, bool, bool, bool]]:
    """(token, scored, of what is written first, due), one after another: the oracle of ``TextSamples.continuation``."""
    problem, names, ids = prompt.problem, prompt.sample.names, codec.vocabulary.ids
    path = problem.shortest_path
    text = [(token, False, False, False) for token in codec.after]
    for hop in range(n_skip, problem.n_hops):
        source, target, every = names[path[hop]], names[path[hop + 1]], bool(problem.parents[path[hop]])
        first, last = hop == n_skip, hop == problem.n_hops - 1
        opening = [(token, True, False, False) for token in (ids("Every") if every else ())]
        opening += [(token, True, first and n_skip > 0, False) for token in ids(f" {source}" if every else source)]
        opening += [(token, True, False, False) for token in (*ids(" is"), *ids(" a"))]
        text += [] if first and codec.opened else opening
        text += [(token, True, first and (n_skip == 0 or codec.opened), last) for token in ids(f" {target}")]
        text += [(token, True, False, False) for token in (*ids("."), *ids("\n"))]
    none_left = n_skip >= problem.n_hops
    text += [(token, True, none_left, False) for token in ids(codec.answer)]
    text += [(token, True, False, False) for token in ids(f" {names[problem.root]} is a")]
    text += [(token, True, False, none_left) for token in ids(f" {names[problem.target]}")]
    return [*text, *((token, True, False, False) for token in (*ids("."), codec.end))]


@pytest.mark.parametrize("codec", [COMPACT, FEW, OPENED, MARKED])
@pytest.mark.parametrize("skip", [0, 1, 2, 3, 1000])
def test_batches_for_training_say_what_prompts_say(codec: TextCodec, skip: int) -> None:
    """Names of one length, of several, and people's of several; against problems written one at a time."""
    arrays = generate_arrays(Recipe("balanced", (2, 3), (8, 14)), 40, 0)
    problems, n_skip = ProblemTensors.from_arrays(arrays), torch.full((40,), skip)
    samples = codec.samples(problems, torch.Generator().manual_seed(skip), align=8)
    assert samples.prompts.input_ids.shape[1] % 8 == 0
    text = samples.continuation(n_skip, least=min(skip, 2))
    for row, problem in enumerate(problems.problems()):
        prompt = sampled(codec, samples, row, problem)
        mask = samples.prompts.attention_mask[row].bool()
        assert samples.prompts.input_ids[row][mask].tolist() == list(prompt.input_ids)
        columns = (text.tokens[row], text.scored[row], text.first[row], text.due[row])
        found = [tuple(place) for place in zip(*(column.tolist() for column in columns), strict=True)]
        expected = taught(codec, prompt, skip)
        assert found[: len(expected)] == expected
        assert not any(scored for _, scored, _, _ in found[len(expected) :])
        tokens = [token for token, scored, _, _ in expected if scored]
        assert codec.parse(tokens, prompt) == Written(problem.shortest_path[1 + skip :], problem.target)
        for k in (0, 1):
            assert samples.readings(k)[row] == codec.reading(prompt, k)
        if skip < problem.n_hops:  # what is read stands where it is taught
            reading, written = codec.reading(prompt, skip), tuple(token for token, *_ in expected)
            node = problem.shortest_path[skip + 1 - codec.lag if skip else 1]
            assert written[: len(reading.prefix)] == reading.prefix
            assert written[len(reading.prefix) :][: len(reading.sequences[node])] == reading.sequences[node]
    for words in ("Every x is a y.\n###", f" {prompt.sample.names[prompt.problem.root]}.\n###"):
        assert codec.parse(codec.vocabulary.ids(words), prompt) == Written((NO_NODE,), NO_NODE)
    assert len({tuple(row) for row in samples.names.tolist()}) == 40


@pytest.mark.parametrize("codec", [FEW, OPENED])
def test_facts_are_recited_in_a_random_order(codec: TextCodec) -> None:
    problems = ProblemTensors.from_arrays(generate_arrays(Recipe("balanced", (2, 3), (8, 14)), 20, 0))
    generator = torch.Generator().manual_seed(0)
    samples = codec.samples(problems, generator)
    text = samples.recited(generator)
    assert torch.equal(text.first, text.due)
    moved = 0
    for row, problem in enumerate(problems.problems()):
        prompt = sampled(codec, samples, row, problem)
        names = prompt.sample.names
        written = codec.vocabulary.text(text.tokens[row][text.scored[row]].tolist())
        said = written.removesuffix("<|endoftext|>").splitlines()
        facts = [f"{'Every ' if problem.parents[a] else ''}{names[a]} is a {names[b]}." for a, b in problem.edges]
        assert sorted(said) == sorted(facts)
        if codec.opened:  # what the prompt began is ended first
            unscored = codec.vocabulary.text(text.tokens[row][~text.scored[row]].tolist())
            assert unscored.startswith(f" {names[problem.shortest_path[1]]}.\n")
        asked = codec.vocabulary.text(prompt.input_ids).split(" Is ")[0]
        moved += asked != " ".join(said)
        targets = "".join(f" {line.removesuffix('.').split(' is a ')[1]}" for line in said)
        assert codec.vocabulary.text(text.tokens[row][text.first[row]].tolist()) == targets
    assert moved == 20


def test_answers_of_batches_are_those_of_the_parser() -> None:
    """Whole, cut short, with words after, of other nodes, with two marks; against the parser of one text."""
    problems = ProblemTensors.from_arrays(generate_arrays(Recipe("balanced", (2, 3), (8, 14)), 12, 1))
    samples, rng = COMPACT.samples(problems, torch.Generator().manual_seed(0)), np.random.default_rng(0)
    texts, expected = [], []
    for row, problem in enumerate(problems.problems()):
        prompt = sampled(COMPACT, samples, row, problem)
        whole = [token for token, *_ in taught(COMPACT, prompt, 1)][len(COMPACT.after) :]
        other, ids = prompt.sample.names[int(rng.integers(problem.n_nodes))], COMPACT.vocabulary.ids
        root = prompt.sample.names[problem.root]
        several = [
            whole, whole[:-1], whole[:-2], [*whole[:-1], *whole], whole[::-1], [COMPACT.end, *whole],
            list(ids(f"### {root} is a {other}.")), list(ids(f"### {root} is a {other}. Yes.")),
            [*ids(f"### {root} is a {other}."), *whole], [],
        ]  # fmt: skip
        texts.append([[*text, *[COMPACT.end] * (90 - len(text))] for text in several])
        expected.append([COMPACT.parse(text, prompt).answer for text in several])
    assert samples.answers(torch.tensor(texts)).tolist() == expected
    assert {node for row in expected for node in row} > {NO_NODE}


def test_an_opened_prompt_needs_a_root() -> None:
    assert writes_words(COMPACT) is COMPACT
    with pytest.raises(InputError, match="questions with a graph alone"):
        writes_words(OPENED)


def test_padding_adds_facts_of_other_names() -> None:
    prompt = COMPACT.drawn(PROBLEMS[0], np.random.default_rng(0), pad_to=Size(20, 30))
    assert prompt.n_distractors == 30 - len(PROBLEMS[0].edges)
    said = COMPACT.vocabulary.text(prompt.input_ids)
    assert said.count(" is a ") == 30


@pytest.fixture(scope="module")
def model() -> CoconutGPT2:
    return english(512)


def test_a_text_model_is_saved_with_its_tokenizer(model: CoconutGPT2, tmp_path: Path) -> None:
    checkpoint.save(model, tmp_path / "made")
    again = checkpoint.load(tmp_path / "made")
    assert checkpoint.fingerprint(again) == checkpoint.fingerprint(model)
    assert again.codec == codec_for(model.config) == COMPACT
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    assert tuple(tokenizer("Every shumpus is a rempus.\n<|start-latent|>")["input_ids"]) == COMPACT.vocabulary.ids(
        "Every shumpus is a rempus.\n<|start-latent|>"
    )


@pytest.mark.parametrize("codec", [COMPACT, OPENED], ids=["compact", "opened"])
def test_reading_shares_passes_and_equals_the_plain_product(codec: TextCodec) -> None:
    model = english(512, codec)
    assert model.codec == codec
    prompts = [codec.drawn(problem, np.random.default_rng(0)) for problem in PROBLEMS]
    with torch.no_grad():
        trace = model.think(codec.collate(prompts), 2)
        found = node_log_probs(model, trace, prompts)
        forced = forced_answers(model, trace, prompts, last_only=True)
        for row, prompt in enumerate(prompts):
            alone = model.think(codec.collate([prompt]), 2)
            of = [(k, codec.reading(prompt, k)) for k in range(3)]
            if codec.lag:  # thought t in row t - 1, read after it was fed; then the answer
                of = [*of[1:], (2, codec.answer_reading(prompt))]
            for i, (k, reading) in enumerate(of):
                for node in (0, prompt.problem.n_nodes - 1):
                    tokens = torch.tensor([[*reading.prefix, *reading.sequences[node]]])
                    each = model.continuation_logits(alone.upto(k), tokens)[0].log_softmax(dim=-1)
                    at = range(len(reading.prefix), tokens.shape[1])
                    expected = sum(float(each[i, tokens[0, i]]) for i in at)
                    assert found.nodes[row, i, node] == pytest.approx(expected, abs=2e-4)
        assert np.isfinite(forced.log_odds).all()
    total = found.probability[0, :, : PROBLEMS[0].n_nodes].sum(axis=-1) + found.left_over[0]
    np.testing.assert_allclose(total, 1, atol=1e-9)
