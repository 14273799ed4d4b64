"""ProntoQA: the public kind leaks whole, the balanced kind does not; texts and graphs say the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.__main__ import app
from model.errors import InputError
from model.formats.graph import read_problems
from model.problems.audit import RULES, audit
from model.problems.prontoqa import KINDS, generate, problem_of
from model.problems.texts import TextProblem, in_words

PUBLIC, BALANCED = (list(generate(kind, 400, 0)) for kind in KINDS)


def test_the_public_kind_is_as_the_public_files_are() -> None:
    """Figures of 1,000 public problems: 25 facts, 14 concepts, 11 is-a edges, 2 of the entity, 12 of properties."""
    for problem in PUBLIC:
        facts = problem.question.split(". ")[:-1]
        assert len(facts) == 25
        assert len(problem.steps) == 6
        assert problem.n_nodes == 14 + 1 + 2
        assert len(problem.children[problem.root]) == 2
        assert len(problem.edges) == 11 + 2 + 2
        assert problem.n_hops == 6
    negated = Counter(" not " in fact for problem in PUBLIC for fact in problem.question.split(". ")[:-1])
    assert negated[True] / (12 * len(PUBLIC)) == pytest.approx(0.326, abs=0.06)
    answers = Counter(problem.answer for problem in PUBLIC)
    assert answers["True"] / len(PUBLIC) == pytest.approx(0.5, abs=0.08)
    plural = sum("uses are " in fact for problem in PUBLIC for fact in problem.question.split(". "))
    assert plural / (23 * len(PUBLIC)) == pytest.approx(0.5, abs=0.03)


def test_the_public_kind_leaks_and_the_balanced_kind_does_not() -> None:
    leaks = audit(PUBLIC)
    assert leaks["more_ancestors"].accuracy.value == leaks["deeper_backward"].accuracy.value == 1.0
    # The published rule, from sentences alone: believe the concept that is somebody's parent.
    for problem in PUBLIC:
        carriers = {node: problem.parents[node][0] for node in (problem.target, problem.neg_target)}
        is_parent = {node: bool(problem.parents[concept]) for node, concept in carriers.items()}
        assert is_parent == {problem.target: True, problem.neg_target: False}
    balanced = list(generate(KINDS[1], 2000, 1))
    for rule in RULES:
        assert audit(balanced)[rule].accuracy.value == pytest.approx(0.5, abs=0.02)
    # Not by chance: from the other entity the same graph has the other answer, and the same shape.
    for problem in BALANCED:
        other = problem.counterfactual
        assert other is not None
        assert other.n_hops == problem.n_hops
        shapes = [sorted(Counter(each.distance).items()) for each in (problem, other)]
        assert shapes[0] == shapes[1]


def test_no_walk_tells_its_way_by_dead_ends() -> None:
    """Wherever the chain forks, both ways go on; in the public kind one of two has no child."""

    def forks(problem: object) -> list[int]:
        path = problem.shortest_path  # type: ignore[attr-defined]
        return [
            sum(bool(problem.children[child]) for child in problem.children[node])  # type: ignore[attr-defined]
            for node in path[1:-2]
            if len(problem.children[node]) > 1  # type: ignore[attr-defined]
        ]

    assert {n for problem in PUBLIC for n in forks(problem)} == {1}
    for problem in BALANCED[:50]:
        below = [problem.children[node] for node in problem.shortest_path[1:4]]
        assert all(len(children) == 2 for children in below)


def test_a_text_says_its_graph_and_chain() -> None:
    for problem in (*PUBLIC[:40], *BALANCED[:40]):
        text = TextProblem(problem.question, problem.steps, problem.answer)
        again = problem_of(text)
        names, theirs = problem.idx_to_symbol, again.idx_to_symbol
        assert {(names[a], names[b]) for a, b in problem.edges} == {(theirs[a], theirs[b]) for a, b in again.edges}
        assert names[problem.target] == theirs[again.target]
        statement = problem.question.rsplit(" is ", 1)[1].removesuffix(".")
        assert (statement == names[problem.target]) == (problem.answer == "True")
        said = f"{names[problem.root]} is {names[problem.target]}."
        assert problem.steps[-1] == said
        path = [names[node] for node in problem.shortest_path]
        for before, after, step in zip(path[1:-1], path[2:], problem.steps, strict=False):
            assert before in step.lower()  # who it has come to, and the rule that leads on
            assert after in step.lower()


def test_raw_and_converted_files_are_read(tmp_path: Path) -> None:
    problem = PUBLIC[0]
    question, query = problem.question.split(" True or false: ")
    chain = [f"{part.removesuffix('.')}." for step in problem.steps for part in step.split(". ")]
    assert len(chain) == 11
    raw = {
        "example1": {
            "test_example": {
                "question": question, "query": f"True or false: {query}", "chain_of_thought": chain,
                "answer": problem.answer,
            }
        }
    }  # fmt: skip
    rows = [{"question": problem.question, "steps": list(problem.steps), "answer": problem.answer}]
    for form in (raw, rows):
        (found,) = read_problems(json.dumps(form))
        assert found.question == problem.question
        assert found.steps == problem.steps
        assert found.idx_to_symbol[found.target] == problem.idx_to_symbol[problem.target]
    out = tmp_path / "made.json"
    command = ["generate", "--kind", "prontoqa-balanced", "--n", "60", "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert in_words(out)
    made = CliRunner().invoke(app, ["audit", "--data", str(out)])
    assert made.exit_code == 0, made.output
    assert "deeper_backward" in made.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TextProblem("Tom has 3 pens. How many?", (), "3"), "not a ProntoQA question.*can be learned and evaluated"),
        (TextProblem("Rex walks. True or false: Rex is hot.", (), "True"), "not a fact of ProntoQA: 'Rex walks'"),
        (
            TextProblem("Rex is hot. Max is not hot. True or false: Rex is hot.", (), "False"),
            "do not lead to 'not hot'",
        ),
    ],
)
def test_other_texts_are_one_sentence(text: TextProblem, says: str) -> None:
    with pytest.raises(InputError, match=says):
        problem_of(text)
    with pytest.raises(InputError, match="2 to 6"):
        generate(KINDS[0], 1, hops=7)


@pytest.mark.parametrize(("options", "says"), [
    (("--kind", "foo"), "prontoqa-balanced"), (("--kind", "prontoqa", "--nodes", "5"), "--nodes"),
    (("--kind", "prontoqa-balanced", "--depth-gap", "1"), "--depth-gap"),
])  # fmt: skip
def test_what_does_not_go_with_a_kind_is_said(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(app, ["generate", *options, "--n", "3", "--out", str(tmp_path / "x.json")])
    assert isinstance(done.exception, InputError)
    assert says in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_lines_of_questions_say_that_no_graph_is_known_of_them() -> None:
    with pytest.raises(InputError, match=r"a file, row 0: no graph.*python -m probing texts"):
        read_problems("Tom has 3 pens. How many?||<<3=3>> #### 3\n", where="a file")
