"""Questions in words: read from files, learned as they are, started from other weights, evaluated beside a control."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import groupby, islice
from pathlib import Path

import pytest
import torch
from test_runs import outcome
from transformers import GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from model import checkpoint
from model.__main__ import app
from model.coconut import CoconutConfig, CoconutGPT2, ThoughtTrace
from model.codec import NO_NODE, PromptBatch
from model.codec_text import TextCodec
from model.errors import InputError
from model.evaluate import evaluate_texts
from model.files import read_json
from model.problems.generate import generate
from model.problems.texts import TextProblem, in_words, load_texts, read_question, read_texts
from model.rows import TextRows
from model.training.config import TrainConfig, parse_train_config, stages
from model.training.curriculum import make_batch
from model.training.dynamics import DynamicsRecord
from model.training.run import train_run
from model.training.upstream import load_upstream
from probing.__main__ import app as probing_app
from probing.draw import of_lens
from probing.edit.texts import text_findings
from probing.read.lens import lens_grid
from probing.read.numbers import numbers_read
from probing.read.strip import token_strip

CODEC = TextCodec()
GSM = """A pen costs 3 dollars. What do 60 cost?||<<3*60=180>> #### 180
Ann has 1000 beads and gets one more than half of them twice.||<<1000/2=500>> <<500*2=1000>> <<1000+1=1001>> #### 1,001
What is seven?|| #### 7
"""
PRONTO = {
    "example1": {
        "test_example": {
            "question": "Every wumpus is a tumpus. Rex is a wumpus.",
            "query": "True or false: Rex is a tumpus.",
            "chain_of_thought": ["Rex is a wumpus.", "Every wumpus is a tumpus.", "Rex is a tumpus."],
            "answer": "True",
        }
    }
}
PROBLEMS = read_texts(GSM)


def test_files_are_read_in_each_form(tmp_path: Path) -> None:
    assert PROBLEMS[0] == TextProblem("A pen costs 3 dollars. What do 60 cost?", ("<<3*60=180>>",), "180")
    assert PROBLEMS[1].results == ("500", "1000", "1001")
    assert PROBLEMS[2].steps == ()
    assert read_texts(json.dumps([problem.to_row() for problem in PROBLEMS])) == PROBLEMS
    (rex,) = read_texts(json.dumps(PRONTO))
    assert rex.question == "Every wumpus is a tumpus. Rex is a wumpus. True or false: Rex is a tumpus."
    assert rex.steps == ("Rex is a wumpus. Every wumpus is a tumpus.", "Rex is a tumpus.")
    assert rex.answer == "True"
    (tmp_path / "g.txt").write_text(GSM)
    graphs = list(generate("balanced", 2, 0))
    (tmp_path / "p.json").write_text(json.dumps([problem.to_row() for problem in graphs]))
    assert in_words(tmp_path / "g.txt")
    assert not in_words(tmp_path / "p.json")
    assert [each.question for each in load_texts(tmp_path / "p.json")] == [problem.question for problem in graphs]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("what||<<1+1=2>> 2", "line 1: expected question"),
        ("one #### 1\n", "line 1"),
        ("[1]", "row 0: expected an object"),
        ('[{"question": "a", "answer": 3}]', "answer is no text"),
        ('[{"question": "a", "answer": "b", "steps": "c"}]', "steps is no list"),
        ('{"example1": {}}', "example1: expected a list of rows"),
        ('[{"question": "\\ud800", "answer": "b"}]', "surrogate"),
        ("[]", "no problems"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        read_texts(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("skip", [0, 1, 3, 1000])
def test_what_is_taught_is_the_text_of_the_file(skip: int) -> None:
    rows = TextRows.of(CODEC, PROBLEMS)[torch.tensor([2, 0, 1])].narrow(30)
    samples = rows.samples(CODEC, align=8)
    text = samples.continuation(torch.full((3,), skip), least=0)
    for i, problem in enumerate([PROBLEMS[2], PROBLEMS[0], PROBLEMS[1]]):
        prompt = samples.prompts.input_ids[i][samples.prompts.attention_mask[i].bool()]
        assert CODEC.vocabulary.text(prompt.tolist()) == f"{problem.question}\n<|start-latent|>"
        taught = text.tokens[i][text.scored[i]].tolist()
        chain = "".join(f"{step}\n" for step in problem.steps[skip:])
        assert CODEC.vocabulary.text(taught) == f"{chain}### {problem.answer}<|endoftext|>"
        first = CODEC.vocabulary.text(text.tokens[i][text.first[i]].tolist())
        assert first == (f"{problem.steps[skip]}\n" if skip < len(problem.steps) else "###")
        assert CODEC.vocabulary.text(text.tokens[i][text.due[i]].tolist()) == f"### {problem.answer}<|endoftext|>"
        assert tuple(text.tokens[i, :1].tolist()) == CODEC.after
    assert samples.answers(text.tokens).tolist() == [0, 0, 0]
    assert samples.answers(text.tokens.roll(1, 0)).tolist() == [NO_NODE] * 3


PUBLIC = """
project: coconut
save_path: /somewhere
name: gsm-coconut
only_eval: False
coconut: True
cot: False
no_thoughts: False
no_cot: False
c_thought: 2
epochs_per_stage: 3
max_latent_stage: 3
pad_latent_to_max: True
save_only_improve: False
uniform_prob: 0.0
model_id: openai-community/gpt2
load_model_path: None
seed: 0
resume: 3
bf16: False
train_path: data/gsm_train.json
val_path: data/gsm_valid.json
reset_optimizer: True
batch_size_training: 32
debug: False
gradient_accumulation_steps: 1
num_epochs: 25
lr: !!float "1e-4"
weight_decay: 0.01
colour: blue
"""


def test_a_public_yaml_is_honoured_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "gsm_coconut.yaml"
    path.write_text(PUBLIC)
    found = load_upstream(path)
    config = found.config
    assert [line.split(":")[0] for line in found.aside] == [
        "project",
        "save_path",
        "save_only_improve",
        "debug",
        "colour",
    ]
    assert (config.method, config.task, config.c_thought, config.seed) == ("coconut", "gsm", 2, 0)
    assert [stage.n_thoughts for stage in stages(config)] == [0, 2, 4, 6, 6]
    assert [stage.n_skip for stage in stages(config)][:4] == [0, 1, 2, 3]
    assert stages(config)[4].n_skip > 100
    assert (config.first_stage, config.num_epochs, config.epochs_per_stage) == (1, 22, 3)
    assert (config.batch_size_training, config.lr, config.weight_decay) == (128, 1e-4, 0.01)
    assert (config.base_model, config.load_model_path, config.reset_optimizer) == (
        "openai-community/gpt2",
        None,
        "epoch",
    )
    assert (config.precision, config.verbatim, config.codec, config.mix) == ("float32", True, "text", "steps")
    assert (config.warmup_steps, config.decay_share, config.betas, config.dropout) == (0, 0, (0.9, 0.999), 0.1)
    cot = tmp_path / "cot.yaml"
    cot.write_text(PUBLIC.replace("coconut: True", "coconut: False").replace("cot: False", "cot: True", 1))
    assert load_upstream(cot).config.method == "cot"
    cot.write_text(PUBLIC.replace("cot: False", "cot: True", 1))
    assert "coconut: cot is true too, and goes before it" in load_upstream(cot).aside
    assert load_upstream(cot).config.codec_format == {"start": [], "end_marks": [], "added": []}
    for old, new, says in (
        ("only_eval: False", "only_eval: True", "only_eval"),
        ("coconut: True", "coconut: False", "none of"),
        ("resume: 3", "resume: 25", "leaves none"),
        ("c_thought: 2", "c_thought: two", "c_thought is 'two'"),
        ("epochs_per_stage: 3\n", "", "not a YAML of the public"),
        ("epochs_per_stage: 3", "epochs_per_stage: 0", "epochs_per_stage is 0, expected a finite number, 1 or more"),
        ("c_thought: 2", "c_thought: .inf", "c_thought is inf"),
        ("resume: 3", "resume: .nan", "resume is nan"),
    ):
        path.write_text(PUBLIC.replace(old, new))
        with pytest.raises(InputError, match=says):
            load_upstream(path)


def test_stages_are_mixed_up_to_the_problems_own_steps() -> None:
    """The public code's ``uniform_prob`` draws 0 to the number of steps, whatever stage the schedule is at."""
    config = parse_train_config(
        {"name": "m", "max_latent_stage": 2, "final_stage": True, "uniform_prob": 1.0, "mix": "steps",
         "epochs_per_stage": 1, "num_epochs": 4, "codec": "text"}, where="test",
    )  # fmt: skip
    rows = TextRows.of(CODEC, PROBLEMS)[torch.arange(3).repeat(400)]
    batch = make_batch(config, CODEC, rows, 0, torch.Generator().manual_seed(0))
    assert batch.n_thoughts == 2
    for problem, most in ((0, 1), (1, 2), (2, 0)):  # at most two thoughts
        of_problem = batch.after[torch.arange(problem, 1200, 3)]
        assert sorted(set(of_problem.tolist())) == list(range(most + 1))
    shares = torch.bincount(batch.after[1::3]) / 400  # of 0..3 steps, 2 and 3 both have two thoughts
    assert shares.tolist() == pytest.approx([0.25, 0.25, 0.5], abs=0.07)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 as transformers saves it."""
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=96, vocab_size=50257)
    folder = tmp_path_factory.mktemp("base") / "gpt2"
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def upstream_run(tmp_path: Path, base: Path, **values: object) -> TrainConfig:
    data = tmp_path / "gsm_rows.json"
    data.write_text(json.dumps([problem.to_row() for problem in PROBLEMS]))
    path = tmp_path / "public.yaml"
    path.write_text(PUBLIC)
    given = {
        "base_model": str(base), "train_path": str(data), "val_path": str(data), "batch_size_training": 3,
        "dropout": 0.1, "log_every": 4, "num_epochs": 16.0, "device": "cpu", "length_buckets": 1, "n_evals": 4,
    }  # fmt: skip
    return load_upstream(path, given | values).config


def test_a_public_run_starts_from_gpt2_and_resumes_to_the_bit(tmp_path: Path, base: Path) -> None:
    config = upstream_run(tmp_path, base)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said: list[str] = []
    steps = list(train_run(config, whole, say=said.append))
    assert [stage for stage, _ in groupby(step.stage for step in steps)] == [1, 2, 3, 4]
    assert [step.step for step in steps if step.stage_ended] == [3, 6, 9]
    assert any("1 of 3 problems have no steps" in line for line in said)
    list(islice(train_run(config, stopped), 3))
    list(train_run(config, stopped, resume=True))
    assert outcome(stopped) == outcome(whole)
    record = DynamicsRecord.load(whole / "emergence.json")
    assert len(record.points) >= 4
    assert {(point.thoughts, len(point.accuracy_by_k)) for point in record.points} == {((), 7)}
    for kind in ("svg", "csv"):
        made = CliRunner().invoke(app, ["plot-training", str(whole), "--out", str(tmp_path / f"it.{kind}")])
        assert made.exit_code == 0, made.output
    model = checkpoint.load(whole)
    assert (model.config.task, model.config.n_head, model.config.n_thoughts, model.config.vocab_size) == (
        "gsm",
        2,
        6,
        50260,
    )
    other = upstream_run(tmp_path, base, num_epochs=1e-3, lr=1e-30)
    list(train_run(other, tmp_path / "unmoved"))
    rows = checkpoint.load(tmp_path / "unmoved").transformer.wte.weight
    theirs = GPT2LMHeadModel.from_pretrained(base)
    torch.testing.assert_close(rows[:50257], theirs.transformer.wte.weight)
    torch.testing.assert_close(rows[50257:], theirs.transformer.wte.weight[[16791]].expand(3, -1))


def test_it_starts_from_a_public_checkpoint_of_chains(tmp_path: Path, base: Path) -> None:
    theirs = GPT2LMHeadModel.from_pretrained(base)
    with torch.no_grad():
        theirs.transformer.wte.weight.add_(1)
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save(state, tmp_path / "checkpoint_3")
    config = upstream_run(
        tmp_path, base, load_model_path=str(tmp_path / "checkpoint_3"), num_epochs=1e-3, lr=1e-30
    )  # fmt: skip
    list(train_run(config, tmp_path / "run"))
    found = checkpoint.load(tmp_path / "run").transformer.wte.weight
    torch.testing.assert_close(found[:50257], theirs.transformer.wte.weight)
    wrong = upstream_run(tmp_path, base, load_model_path=str(base / "nothing"))
    with pytest.raises(InputError, match="no such folder"):
        list(train_run(wrong, tmp_path / "wrong"))
    short = upstream_run(tmp_path, base)
    (tmp_path / "gsm_rows.json").write_text(json.dumps([{"question": "word " * 120, "answer": "1"}]))
    with pytest.raises(InputError, match=r"row 0: needs \d+ token positions; the model has 96"):
        list(train_run(short, tmp_path / "short"))


def test_texts_are_learned_and_evaluated_beside_zeroed_thoughts(tmp_path: Path, base: Path) -> None:
    config = upstream_run(tmp_path, base, num_epochs=150.0, epochs_per_stage=20, lr=4e-3, dropout=0.0, n_evals=1)
    list(train_run(config, tmp_path / "run"))
    model = checkpoint.load(tmp_path / "run")
    found = evaluate_texts(model, PROBLEMS, batch_size=2)
    assert found.said == evaluate_texts(model, PROBLEMS, batch_size=3).said
    assert found.correct[:, -2].all()
    assert [each[-2] for each in found.said] == ["180", "1,001", "7"]
    assert len(found.accuracy()) == model.config.n_thoughts + 2
    result = read_json(tmp_path / "run" / "result.json")
    assert result["fixed"]["accuracy"] == 1.0
    (tmp_path / "g.txt").write_text(GSM)
    told = {"data": tmp_path / "g.txt", "checkpoint": tmp_path / "run" / "best", "out": tmp_path / "e.json"}
    made = CliRunner().invoke(app, ["evaluate", *(word for key in told for word in (f"--{key}", str(told[key])))])
    assert made.exit_code == 0, made.output
    assert "all zeroed" in made.output
    assert "1 of 3 problems have no steps" in made.output
    values = read_json(tmp_path / "e.json")
    assert values["n"] == 3
    assert values["accuracy"]["6"] == 1.0
    assert values["thoughts_zeroed"]["n"] == 3
    with pytest.raises(InputError, match="need a text model"):
        evaluate_texts(checkpoint.open(checkpoint.CHECKPOINTS / "prosqa-tiny", device="cpu"), PROBLEMS)


@pytest.fixture(scope="module")
def thinker() -> CoconutGPT2:
    config = CoconutConfig(
        n_layer=2, n_head=2, n_embd=32, n_positions=96, vocab_size=CODEC.vocab_size, codec=CODEC.name,
        codec_format=CODEC.format, c_thought=1, max_latent_stage=2, trained_stage=2, task="gsm",
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    model = checkpoint.untrained(config, seed=3)
    with torch.no_grad():
        model.transformer.wte.weight.mul_(30)
    return model


@torch.inference_mode()
def test_results_of_a_chain_are_read_from_thoughts(thinker: CoconutGPT2) -> None:
    """Both spellings of a number, of one token or more, against a softmax written out; the control is another's."""
    problems = [
        TextProblem("Three times sixty?", ("<<3*60=180>>",), "180"),
        TextProblem("Twice 61728?", ("<<2*61728=123456>>", "<<123456+1=123457>>"), "123,457"),
        TextProblem("What?", (), "7"),
        TextProblem("Half of 8, and one?", ("<<8/2=4>>", "<<4+1=5>>"), "5"),
        TextProblem("Two sixties?", ("<<2*60=120>>",), "120"),
    ]
    found = text_findings(thinker, problems, batch_size=2)
    assert (found.n, found.n_stepless, found.n_thoughts) == (5, 1, 2)
    own: dict[tuple[int, int], list[float]] = defaultdict(list)
    ids = CODEC.vocabulary.ids
    for problem in problems:
        prompt = PromptBatch.padded([CODEC.asked(problem.question)], CODEC.end)
        trace = thinker.think(prompt, 2)
        for k in range(3):
            for step, number in enumerate(problem.results, start=1):
                total = 0.0
                for spelling in (ids(f" {number}"), ids(number)):
                    p = thinker.logits(trace.states[:, k]).softmax(dim=-1)[0, spelling[0]].item()
                    if spelling[1:]:
                        rest = thinker.continuation_logits(trace.upto(k), torch.tensor([spelling]))[0]
                        steps = rest[1:].log_softmax(dim=-1)
                        p *= math.exp(sum(steps[i, token].item() for i, token in enumerate(spelling[1:])))
                    total += p
                own[k + 1, step].append(total)
    assert {(one.thought, one.step) for one in found.numbers} == set(own)
    for one in found.numbers:
        expected = own[one.thought, one.step]
        assert one.probability.n == len(expected)
        assert one.probability.value == pytest.approx(sum(expected) / len(expected), rel=1e-3)
        assert 0 <= one.above.value <= 1
    assert {one.thought for one in found.numbers} == {1, 2, 3}
    for row, same in zip(text_findings(thinker, problems, batch_size=3).rows(), found.rows(), strict=True):
        assert row[:3] == same[:3]
        assert [x for x in row[3:] if x is not None] == pytest.approx([x for x in same[3:] if x is not None], rel=1e-3)


@torch.inference_mode()
def test_transplanted_thoughts_are_the_others(thinker: CoconutGPT2, tmp_path: Path) -> None:
    """Planted: a model whose answer is read from its last thought alone gives the other's answer, own none."""

    class ByThought(CoconutGPT2):
        """Writes the answer of the problem whose thoughts it is fed, by looking these up."""

        def write(self, trace: ThoughtTrace, *_: object, **__: object) -> torch.Tensor:
            best = torch.cdist(trace.thoughts[:, -1], self.known).argmin(dim=1)
            near = torch.cdist(trace.thoughts[:, -1], self.known).amin(dim=1) < 1e-3
            texts = [answers[i] if ok else answers[2] for i, ok in zip(best.tolist(), near.tolist(), strict=True)]
            longest = max(map(len, texts))
            return torch.tensor([[*text, *[CODEC.end] * (longest - len(text))] for text in texts])

    problems = [TextProblem("One and one?", ("<<1+1=2>>",), "2"), TextProblem("Two and two?", ("<<2+2=4>>",), "4")]
    answers = [CODEC.answered("2"), CODEC.answered("4"), CODEC.answered("none")]
    model = ByThought(thinker.config).eval()
    model.load_state_dict(thinker.state_dict())
    prompts = PromptBatch.padded([CODEC.asked(problem.question) for problem in problems], CODEC.end)
    model.known = model.think(prompts, 2).thoughts[:, -1]
    changes = {change.change: change for change in text_findings(model, problems).changes}
    shares = {name: (change.own.value, change.other.value) for name, change in changes.items()}
    assert shares == {"": (1, 0), "transplant": (0, 1), "zeroed": (0, 0), "noise": (0, 0)}

    checkpoint.save(thinker, tmp_path / "model")
    (tmp_path / "g.txt").write_text(GSM)
    told = {"data": tmp_path / "g.txt", "checkpoint": tmp_path / "model", "out": tmp_path / "out"}
    made = CliRunner().invoke(probing_app, ["texts", *(word for key in told for word in (f"--{key}", str(told[key])))])
    assert made.exit_code == 0, made.output
    assert "no graph is known" in made.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "texts.json", "texts.csv", "numbers.svg", "by_k.svg", "changes.svg",
    }  # fmt: skip
    with pytest.raises(InputError, match="at least two problems with different answers"):
        text_findings(thinker, problems[:1])
    with pytest.raises(InputError, match="no problems"):
        read_texts("\n")
    hops = [
        "evaluate",
        "--data",
        str(tmp_path / "g.txt"),
        "--checkpoint",
        str(tmp_path / "model"),
        "--thoughts",
        "hops",
    ]
    refused = CliRunner().invoke(app, [*hops, "--out", str(tmp_path / "e.json")])
    assert "have no hops" in str(refused.exception)
    lens = ["lens", "--data", str(tmp_path / "g.txt"), "--checkpoint", str(tmp_path / "model"), "--out"]
    assert CliRunner().invoke(probing_app, [*lens, str(tmp_path / "grid.svg")]).exit_code == 0


@torch.inference_mode()
def test_one_question_is_shown_as_it_is_measured(thinker: CoconutGPT2) -> None:
    """Answers as ``evaluate`` has them, numbers as ``texts`` does, the text as it is asked."""
    (problem,) = read_texts("Twice 61728?||<<2*61728=123456>> #### 123,456")
    run = token_strip(thinker, problem)
    assert "".join(piece.text for piece in run.prompt) == CODEC.vocabulary.text(CODEC.asked(problem.question))
    (said,) = evaluate_texts(thinker, [problem]).said
    assert (*run.said, run.zeroed) == said
    other = TextProblem("What?", ("<<1+1=2>>",), "2")
    asked = numbers_read(thinker, problem, ["123456"])
    whole = {
        one.thought: one.probability.value for one in text_findings(thinker, [problem, other]).numbers if one.step == 1
    }
    own = text_findings(thinker, [problem, TextProblem("What?", (), "2")]).numbers  # nothing to compare with, so none
    assert own == ()
    assert set(whole) == {1, 2, 3}
    (of_number,) = asked.probability
    (of_other,) = numbers_read(thinker, other, ["2"]).probability
    assert [(a + b) / 2 for a, b in zip(of_number, of_other, strict=True)] == pytest.approx(list(whole.values()))
    assert len(asked.control) == 3
    assert of_lens.numbers(asked).categories == of_lens.grid(lens_grid(thinker, problem)).categories
    for text, question in (("Why?", TextProblem("Why?", (), "")), (GSM.splitlines()[0], read_texts(GSM)[0])):
        assert read_question(text) == question
    with pytest.raises(InputError, match="is empty"):
        read_question(" \n")
    with pytest.raises(InputError, match="no room for an answer"):
        token_strip(thinker, TextProblem("word " * 200, (), ""))
    with pytest.raises(InputError, match="need a text model"):
        lens_grid(checkpoint.open(checkpoint.CHECKPOINTS / "prosqa-tiny", device="cpu"), problem)
