"""The four studies on models whose search is planted, and what their edits compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import Planted, _parse, _prompt_end
from torch import Tensor
from typer.testing import CliRunner

from model.coconut import CoconutGPT2
from model.formats.graph import write_problems
from model.problems.generate import generate
from model.readout import answer_log_odds
from probing.__main__ import app
from probing.edit import directions as d
from probing.edit.batch import clean_run, draw_prompt
from probing.edit.data_set import STRATA, run_to_folder, summarise
from probing.edit.kinds import Context, _gradient
from probing.edit.run import _site, build
from probing.edit.spec import EditPlan, EditSpec
from probing.edit.study import PATTERNS, STUDIES, directions_found

FORWARD, FIRST, SECOND = 1.0, 10.0, 100.0
"""What is added at a node's coordinate by the front from the root and by those from the two candidates."""


class Searcher(Planted):
    """Steps on from the thought it was fed, along the edges of the prompt: forward from the root, backward from both
    candidates, or both; answers what it has met by the end in the thoughts as they were fed."""

    def __init__(self, way: str, n_thoughts: int = 4) -> None:
        super().__init__((), n_thoughts)
        self.way = way

    def _layer(self, fed: Tensor, distance: int) -> Tensor:
        return torch.stack([self._step(sequence, distance) for sequence in fed[:, 0]])

    def _step(self, sequence: Tensor, distance: int) -> Tensor:
        adjacency, root, candidates = _parse(sequence)
        before = sequence[-1] if distance > 1 else torch.zeros(48)
        if distance == 1:
            before[root] += FORWARD
            before[candidates[0]] += FIRST
            before[candidates[1]] += SECOND
        state = torch.zeros(48)
        for source, ends in enumerate(adjacency):
            for end in ends:
                if self.way != "backward" and before[source] % 10 >= FORWARD:
                    state[end] += FORWARD if state[end] % 10 == 0 else 0
                for mark in (FIRST, SECOND) if self.way != "forward" else ():
                    if before[end] // mark % 10 and not state[source] // mark % 10:
                        state[source] += mark
        return state

    def _answer(self, fed: Tensor) -> Tensor:
        logits = torch.full((len(fed), 48), -20.0)
        for row, sequence in enumerate(fed):
            _, root, candidates = _parse(sequence)
            thoughts = sequence[_prompt_end(sequence) :]
            forward = (thoughts % 10 >= 1).any(dim=0)
            forward[root] = True
            for candidate, mark in zip(candidates, (FIRST, SECOND), strict=True):
                back = (thoughts // mark % 10 >= 1).any(dim=0)
                back[candidate] = True
                logits[row, candidate] = float((forward & back).any())
        return logits


@pytest.mark.parametrize("way", ["forward", "backward", "both ends"])
def test_the_direction_of_a_planted_search_is_found(way: str, tmp_path: Path) -> None:
    model = Searcher(way)
    problems = list(generate("balanced", 60, 3, nodes=(14, 20), hops=(3, 4)))
    study = STUDIES["direction"]
    summaries = run_to_folder(
        model, problems, study.plans(model, None), tmp_path, directions=None, source="x", controls=(), by=study.by
    )
    assert summaries[0].accuracy is not None
    assert summaries[0].accuracy.value == 1
    found = directions_found(summaries)
    best, second, *_ = found.items()
    assert best[0] == way
    assert best[1] < 0.1 < second[1]
    assert set(found) == set(PATTERNS)


class Greedy(Planted):
    """Answers from thought 2, each of whose thoughts holds one node alone: the first on the way to a candidate."""

    def _layer(self, fed: Tensor, distance: int) -> Tensor:
        full = super()._layer(fed, distance)
        for row, sequence in enumerate(fed[:, 0]):
            adjacency, _, candidates = _parse(sequence)
            leads = [v for v in full[row].nonzero().flatten().tolist() if _reaches(adjacency, v, candidates)]
            full[row] = torch.zeros(48)
            for v in leads[:1]:
                full[row, v] = 8.0
        return full


def _reaches(adjacency: list[list[int]], start: int, goals: tuple[int, ...]) -> bool:
    seen, todo = {start}, [start]
    while todo:
        ends = [end for end in adjacency[todo.pop()] if end not in seen]
        seen.update(ends)
        todo += ends
    return bool(seen & set(goals))


@pytest.fixture(scope="module")
def fitted() -> tuple[Planted, d.Directions]:
    model, problems = Planted((2,), 3), list(generate("balanced", 260, 17))
    samples = (d.collect(model, part, seed=seed) for seed, part in enumerate((problems[:240], problems[240:])))
    return model, d.fit(model, *samples, seed=0, n_null=2)


def test_several_nodes_at_once_are_needed_where_a_walk_fails_and_by_no_greedy_model(
    fitted: tuple[Planted, d.Directions], tmp_path: Path
) -> None:
    """A thought that holds its whole frontier alike, collapsed to one node of it, answers only if that is the right
    one; a thought that never held more than the right node loses nothing."""
    problems = list(generate("balanced", 60, 4, hops=(3, 4)))
    plans = [EditPlan.parse(text) for text in ("collapse:t=2,top=1", "collapse:t=2,top=m")]

    def table(model: CoconutGPT2, directions: d.Directions) -> dict[tuple[str, str], float]:
        rows = run_to_folder(
            model, problems, plans, tmp_path / type(model).__name__, directions=directions, source="x", controls=(),
            by="greedy",
        )  # fmt: skip
        return {(one.edit, one.stratum): one.accuracy.value for one in rows if one.accuracy is not None}

    wide = table(*fitted)
    assert wide["collapse:t=2,top=1", "a greedy walk arrives"] == 1
    assert wide["collapse:t=2,top=1", "a greedy walk fails"] < 0.6
    assert wide["collapse:t=2,top=m", "a greedy walk fails"] == 1
    greedy, many = Greedy((2,), 3), list(generate("balanced", 260, 17))
    samples = (d.collect(greedy, part, seed=seed) for seed, part in enumerate((many[:240], many[240:])))
    narrow = table(greedy, d.fit(greedy, *samples, seed=0))
    assert narrow["collapse:t=2,top=1", ""] == 1


def context_of(model: CoconutGPT2, directions: d.Directions | None) -> Context:
    problems = list(generate("balanced", 5, 11, hops=(3, 4)))
    prompts = [draw_prompt(model, problem, seed=4, number=i) for i, problem in enumerate(problems)]
    run = clean_run(model, prompts, range(len(prompts)))
    return Context(model=model, run=run, source=None, source_rows=(False,) * 5, directions=directions)


def test_an_erased_node_can_no_longer_be_told(fitted: tuple[Planted, d.Directions]) -> None:
    model, directions = fitted
    assert directions.null_space is not None
    space = directions.null_space[1]
    torch.testing.assert_close(space @ space.mT, torch.eye(2).expand(len(space), 2, 2), atol=2e-3, rtol=0)
    context = context_of(model, directions)
    thought = context.run.trace.thoughts[:, 1]
    erased = build(EditPlan.parse("erase:t=2,nodes=frontier"), context).edit(2, thought)
    for row, prompt in enumerate(context.run.prompts):
        for node in prompt.problem.frontier(2):
            left = space[prompt.keys[node]] @ (erased[row] - directions.mean[1])
            torch.testing.assert_close(left, torch.zeros(2), atol=2e-2, rtol=0)
    kept = torch.linalg.vector_norm(erased - thought, dim=-1)
    assert (kept > 1).all()


def test_the_gradient_of_the_answer_is_that_of_finite_differences(tiny: CoconutGPT2) -> None:
    context = context_of(tiny, None)
    nothing = [(frozenset[int](), frozenset[int]())] * 5
    gradient, run = _gradient(_site(EditSpec("zero", (2,)), context, 2, 2, nothing)), context.run

    def log_odds(step: float) -> Tensor:
        with torch.no_grad():
            trace = tiny.think(
                run.trace.upto(1), run.n_thoughts - 1,
                edit=lambda t, thought: thought + step * gradient.to(thought) if t == 2 else thought,
            )  # fmt: skip
            return answer_log_odds(tiny, trace, run.prompts)

    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(5))
    along = (log_odds(0.05) - log_odds(-0.05)) / 0.1
    assert (along > 0).all(), "the gradient is the way up"
    other = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))
    other = other - (other * gradient).sum(dim=-1, keepdim=True) * gradient
    gradient = other / other.norm(dim=-1, keepdim=True)
    across = (log_odds(0.05) - log_odds(-0.05)) / 0.1
    assert (across.abs() < 0.1 * along).all(), "nothing across it"


def test_strata_part_the_problems_of_each_edit() -> None:
    clean = {"row": 0, "edit": "clean", "control": "", "defined": True, "hops": 3, "other_hops": 1,
             "best_leads": [1.0, 0.0, None]}  # fmt: skip
    assert STRATA["gap"](clean, EditPlan.parse("zero:t=1")) == "other candidate 2 nearer"
    assert STRATA["gap"](clean | {"other_hops": 3}, EditPlan.parse("zero:t=1")) == "both candidates as deep"
    assert STRATA["gap"](clean | {"other_hops": None}, EditPlan.parse("zero:t=1")) is None
    greedy = {text: STRATA["greedy"](clean, EditPlan.parse(text)) for text in ("zero:t=1", "zero:t=1-2", "zero:t=3")}
    assert list(greedy.values()) == ["a greedy walk arrives", "a greedy walk fails", None]
    old = {key: value for key, value in clean.items() if key not in ("other_hops", "best_leads")}
    assert {STRATA[name](old, EditPlan.parse("zero:t=1")) for name in ("gap", "greedy", "other-hops")} == {None}
    assert summarise([], by="gap") == []


def test_the_command_writes_a_page(tmp_path: Path) -> None:
    data = tmp_path / "held.json"
    runner = CliRunner()
    data.write_text(write_problems(list(generate("balanced", 6, 5, nodes=(6, 8), hops=(2, 2)))), encoding="utf-8")
    tiny = "model/checkpoints/prosqa-tiny"
    done = runner.invoke(
        app, ["study", "feed", "--data", str(data), "--checkpoint", tiny, "--out", str(tmp_path / "o")]
    )
    assert done.exit_code == 0, done.output
    page = (tmp_path / "o" / "study.html").read_text(encoding="utf-8")
    assert "Is it the state, or the depth?" in page
    assert "feeding the expected embedding as thoughts 1 and 2" in page
    assert "n = " in done.output
    wrong = runner.invoke(app, ["study", "nothing", "--data", str(data), "--out", str(tmp_path / "x")])
    assert wrong.exit_code != 0
