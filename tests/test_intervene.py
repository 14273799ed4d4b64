from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model import checkpoint
from model.coconut import CoconutGPT2
from model.codec_slots import ANSWER
from model.errors import InputError
from model.formats.graph import write_problems
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.values import silent
from probing.draw import of_effects as causal_figures
from probing.draw.export import export as draw
from probing.edit import directions as directions_module
from probing.edit import run as run_module
from probing.edit.batch import draw_prompt
from probing.edit.data_set import dataset_rows, read_rows, read_summaries, run_to_folder, summarise, summary_csv
from probing.edit.directions import Directions
from probing.edit.kinds import CONTROLS
from probing.edit.one_problem import Intervention, intervene, preview, run_unedited
from probing.edit.rewire import rewire
from probing.edit.run import prepare, run_edit
from probing.edit.spec import EditPlan

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def problems() -> list[ProsQAProblem]:
    return list(generate("balanced", 16, 41))


@pytest.fixture(scope="module")
def shipped() -> Directions:
    return directions_module.load(checkpoint.DEFAULT_CHECKPOINT / directions_module.FILE_NAME)


# --- what the shipped checkpoint does -------------------------------------------------------------------------------


def test_the_answer_follows_a_branch_and_no_control(
    trained: CoconutGPT2, shipped: Directions, problems: list[ProsQAProblem]
) -> None:
    scenes = [EditPlan.parse(text) for text in ("swap:t=1,strength=1.5", "transplant:t=2", "write:t=1,nodes=nothing")]
    rows = [
        row for batch in dataset_rows(trained, problems, scenes, directions=shipped, batch_size=16) for row in batch
    ]
    found = {(s.edit, s.control): s for s in summarise(rows)}
    for edit in ("swap:t=1,strength=1.5", "transplant:t=2"):
        assert found[edit, ""].follows.value == 1  # type: ignore[union-attr]
        assert found[edit, "random"].flips.value <= 1 / 16  # type: ignore[union-attr]
    assert found["swap:t=1,strength=1.5", "unreachable"].flips.value <= 1 / 16  # type: ignore[union-attr]
    nothing = found["write:t=1,nodes=nothing", ""]
    assert 2 / 16 <= nothing.accuracy.value <= 14 / 16  # type: ignore[union-attr]
    # Identity is not "small": it is zero, in every number of every row.
    identities = [row for row in rows if row["control"] == "identity"]
    assert len(identities) == 3 * 16
    for row in identities:
        assert row["log_odds"] == row["clean_log_odds"]
        assert row["kl"] == [0.0] * 7
    swapped = [row for row in rows if (row["edit"], row["control"]) == ("transplant:t=2", "")]
    for row in swapped:
        assert row["kl"][:2] == [0.0, 0.0]
        assert row["kl"][2] > 0.01
    # The search goes on from the counterfactual question: its next nodes are in the next thought.
    assert np.mean([row["other_mass"][2] for row in swapped]) > 0.8
    assert np.mean([row["mass"][2] for row in swapped]) < 0.6


def test_one_problem_with_everything_about_it(
    trained: CoconutGPT2, shipped: Directions, problems: list[ProsQAProblem]
) -> None:
    problem = problems[0]
    result = intervene(
        trained, problem, EditPlan.parse("swap:t=1,strength=1.5"), directions=shipped, n_samples=2, seed=3
    )
    assert set(result.controls) <= set(CONTROLS)
    assert {"identity", "random", "other-step"} <= set(result.controls)
    shape = (2, 7, problem.n_nodes)
    assert result.clean.states.shape == result.edited.states.shape == shape
    assert result.clean.fed.shape == (2, 6, problem.n_nodes)
    assert (result.clean.p_target[:, -1] > 0.9).all()
    assert (result.edited.p_target[:, -1] < 0.1).all()
    identity = result.controls["identity"]
    assert np.array_equal(identity.states, result.clean.states)
    assert np.array_equal(identity.log_odds, result.clean.log_odds)
    assert (identity.kl == 0).all()
    # Thoughts before the edit are as they were; the thought fed and those after it are not.
    assert np.array_equal(result.edited.states[:, 0], result.clean.states[:, 0])
    assert not np.array_equal(result.edited.fed[:, 0], result.clean.fed[:, 0])
    # What the fitted reading finds is what was taken out and put in.
    (touched,) = result.touched
    assert touched.t == 1
    for nodes, change in ((list(touched.out), -1.5), (list(touched.put), 1.5)):
        assert result.edited.coefficients is not None
        assert result.clean.coefficients is not None
        moved = (result.edited.coefficients - result.clean.coefficients)[:, 0, nodes]
        np.testing.assert_allclose(moved, change, atol=0.15)
    # The forced answers are those of the model's own read-out.
    prompts = [draw_prompt(trained, problem, seed=3, number=i) for i in range(2)]
    with torch.inference_mode():
        trace = trained.think(trained.codec.collate(prompts), 6)
        forced = trained.logits_after(trace, ANSWER).log_softmax(-1)
    for i, prompt in enumerate(prompts):
        target, other = prompt.sample.tokens[problem.target], prompt.sample.tokens[problem.neg_target]
        odds = (forced[i, :, target] - forced[i, :, other]).numpy()
        np.testing.assert_allclose(result.clean.log_odds[i], odds, rtol=1e-4, atol=1e-4)


def test_json_round_trip_is_exact(trained: CoconutGPT2, shipped: Directions, problems: list[ProsQAProblem]) -> None:
    result = intervene(trained, problems[1], EditPlan.parse("write:t=2,nodes=nothing"), directions=shipped)
    text = result.to_json()
    again = Intervention.parse(text, where="x")
    assert again.to_json() == text
    assert np.array_equal(again.edited.states, result.edited.states)
    assert again.problem == result.problem
    stranger = {**json.loads(text), "touched": [{"t": 1, "out": ["nobody"], "put": []}]}
    for wrong in ({}, {"version": 2}, [], {"version": 1, "problem": 3}, stranger):
        with pytest.raises(InputError, match="x: not a saved intervention"):
            Intervention.parse(json.dumps(wrong), where="x")


def test_a_written_thought_is_searched_on_from(
    trained: CoconutGPT2, shipped: Directions, problems: list[ProsQAProblem]
) -> None:
    """Compose: one node of the counterfactual branch, named, and the answer is the other candidate."""
    problem = problems[2]
    other = problem.counterfactual
    assert other is not None
    name = problem.idx_to_symbol[min(other.optimal(1))]
    result = intervene(
        trained, problem, EditPlan.parse(f"write:t=1,nodes={name}"), directions=shipped, controls=("identity",)
    )
    assert result.edited.p_target[0, -1] < 0.5
    assert any("not reachable from the root" in warning for warning in result.warnings)
    assert json.loads(result.to_json())["touched"] == [{"t": 1, "out": [], "put": [name]}]
    assert result.touched == preview(result.plan, problem)


def test_identity_is_exactly_zero_with_pauses_too(tiny: CoconutGPT2, problems: list[ProsQAProblem]) -> None:
    config = type(tiny.config).from_dict({**tiny.config.to_dict(), "method": "pause"})
    paused = checkpoint.untrained(config, seed=1)
    rows = [
        row
        for batch in dataset_rows(paused, problems[:5], [EditPlan.parse("zero:t=2")], directions=None)
        for row in batch
    ]
    for row in rows:
        if row["control"] == "identity":
            assert row["kl"] == [0.0] * 7
            assert row["log_odds"] == row["clean_log_odds"]
        elif row["edit"] == "zero:t=2":
            assert max(row["kl"]) > 0


def test_draws_share_the_nodes_and_not_the_noise(tiny: CoconutGPT2, problems: list[ProsQAProblem]) -> None:
    prompts = [draw_prompt(tiny, problems[0], seed=0, number=i) for i in range(3)]
    prepared = prepare(tiny, prompts, [0] * 3, None, noise_ids=range(3))
    rewired = run_edit(tiny, prepared, EditPlan.parse("rewire:t=2,depth=2")).base.context.run.prompts
    assert len({prompt.problem for prompt in rewired}) == 1
    noise = run_edit(tiny, prepared, EditPlan.parse("noise:t=1")).seen.trace.thoughts[:, 0]
    cosine = torch.nn.functional.cosine_similarity(noise[0], noise[1], dim=0)
    assert abs(float(cosine)) < 0.8


# --- layers, graphs, truncation -------------------------------------------------------------------------------------


@torch.inference_mode()
def test_patching_the_last_block_is_transplanting_the_next_thought(
    tiny: CoconutGPT2, problems: list[ProsQAProblem]
) -> None:
    prompts = [draw_prompt(tiny, problem, seed=0, number=i) for i, problem in enumerate(problems[:4])]
    prepared = prepare(tiny, prompts, range(4), None)
    last = tiny.config.n_layer
    for t in (1, 3):
        patched = run_edit(tiny, prepared, EditPlan.parse(f"patch:t={t},layer={last}")).seen.trace
        transplanted = run_edit(tiny, prepared, EditPlan.parse(f"transplant:t={t + 1}")).seen.trace
        torch.testing.assert_close(patched.thoughts[:, t], transplanted.thoughts[:, t], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(patched.states[:, t + 1 :], transplanted.states[:, t + 1 :], rtol=1e-3, atol=1e-4)
    asked = run_edit(tiny, prepared, EditPlan.parse(f"patch:t=0,layer={last}"))
    source = asked.base.context.source
    assert source is not None
    torch.testing.assert_close(asked.seen.trace.states[:, 0], source.trace.states[:, 0], rtol=1e-4, atol=1e-5)
    identity = run_edit(tiny, prepared, EditPlan.parse("patch:t=2,layer=1").controls()["identity"])
    assert torch.equal(identity.seen.trace.states, identity.base.context.run.trace.states)


def test_rewired_graphs_turn_the_answer_by_two_edges() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for problem in generate("balanced", 60, 5):
        for depth in range(1, problem.n_hops + 1):
            new = rewire(problem, depth, rng=rng)
            if new is None:
                continue
            found += 1
            assert (new.target, new.neg_target, new.root) == (problem.neg_target, problem.target, problem.root)
            assert new.n_hops == problem.n_hops
            changed = [i for i, (a, b) in enumerate(zip(problem.edges, new.edges, strict=True)) if a != b]
            assert len(changed) == 2
            assert {problem.edges[i][0] for i in changed} == {new.edges[i][0] for i in changed}
            assert all(new.frontier(t) == problem.frontier(t) for t in range(depth))
            assert new.frontier(depth) != problem.frontier(depth)
    assert found > 30
    assert rewire(problem, 99, rng=rng) is None


@torch.inference_mode()
def test_truncation_is_a_shorter_run(tiny: CoconutGPT2, problems: list[ProsQAProblem]) -> None:
    prepared = prepare(tiny, [draw_prompt(tiny, problems[0], seed=0, number=0)], [0], None)
    outcome = run_edit(tiny, prepared, EditPlan.parse("truncate:k=2"))
    assert outcome.seen.trace.n_thoughts == 2
    assert (outcome.seen.kl(outcome.base.clean) == 0).all()


# --- data sets ------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    tiny: CoconutGPT2, problems: list[ProsQAProblem], tmp_path: Path
) -> None:
    scenes = [EditPlan.parse("zero:t=2"), EditPlan.parse("transplant:t=1")]

    def go(out: str, progress: object = silent) -> None:
        run_to_folder(
            tiny, problems, scenes, tmp_path / out, directions=None, source="x", batch_size=4, progress=progress
        )  # type: ignore[arg-type]

    go("whole")

    def stop(what: str, done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("cut", stop)
    rows = tmp_path / "cut" / "rows.jsonl"
    assert len(list(read_rows(rows))) == 8 * 9
    with rows.open("a") as file:
        file.write('{"row": 8, "edit": "zero:t=2", "con')  # the power went off while writing
    assert len(list(read_rows(rows))) == 8 * 9
    go("cut")
    for name in ("rows.jsonl", "summary.json", "summary.csv", "run.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    go("cut")  # finished: nothing to do, nothing changed
    assert rows.read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds another run \\(problems, n_problems differ\\)"):
        run_to_folder(tiny, problems[:4], scenes, tmp_path / "cut", directions=None, source="x", batch_size=4)


def test_edits_that_do_not_exist_are_counted(tiny: CoconutGPT2) -> None:
    lonely = ProsQAProblem.from_names([("R", "T"), ("R", "q")], root="R", candidates=("T", "F"), nodes=["F"])
    problems = [lonely, *generate("balanced", 3, 1)]
    rows = [r for b in dataset_rows(tiny, problems, [EditPlan.parse("transplant:t=1")], directions=None) for r in b]
    (summary,) = [s for s in summarise(rows) if s.edit == "transplant:t=1" and not s.control]
    assert (summary.n, summary.n_undefined) == (3, 1)
    assert "transplant:t=1,,3,1," in summary_csv(summarise(rows))
    with pytest.raises(InputError, match="no other root makes the other candidate right"):
        intervene(tiny, lonely, EditPlan.parse("transplant:t=1"), directions=None)


def test_summaries_come_back_and_are_drawn(tiny: CoconutGPT2, problems: list[ProsQAProblem], tmp_path: Path) -> None:
    scenes = [EditPlan.parse(f"transplant:t=1,strength={s}") for s in (0.25, 0.5, 1)] + [EditPlan.parse("zero:t=2")]
    summaries = run_to_folder(tiny, problems[:4], scenes, tmp_path / "x", directions=None, source="x")
    assert read_summaries(tmp_path / "x" / "summary.json") == summaries
    (family,) = causal_figures.families(summaries)
    assert family == "transplant:t=1"
    (curve,) = causal_figures.dose_response(summaries)
    assert curve.series[0].x == (0.25, 0.5, 1.0)
    expected = [s.follows.value for s in summaries if s.edit.startswith("transplant") and not s.control]  # type: ignore[union-attr]
    assert list(curve.series[0].y) == expected
    pictures = causal_figures.charts(summaries)
    assert list(pictures) == ["effects", "dose"]
    assert draw(pictures["dose"], "svg").decode().count("random direction")
    assert draw(pictures["effects"], "png").startswith(b"\x89PNG")
    rows = pictures["effects"].names()
    assert [row.split("  ")[0] for row in rows] == list(dict.fromkeys(summary.edit for summary in summaries))
    assert list(causal_figures.charts([s for s in summaries if s.edit == "zero:t=2"])) == ["effects"]
    with pytest.raises(InputError, match="not the summary"):
        read_summaries(tmp_path / "x" / "run.json")


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "few.json"
    path.write_text(write_problems(list(generate("balanced", 6, 2))), encoding="utf-8")
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "probing", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_command_writes_rows_and_a_summary(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("intervene", "--data", str(data), "--edit", "swap:t=1", "--n", "3", "--out", str(out), "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert "other candidate above target" in done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert {entry["control"] for entry in summary["summary"]} == {"", *CONTROLS}
    assert all(entry["n"] + entry["n_undefined"] == 3 for entry in summary["summary"])


def test_one_row_and_two_checkpoints(data: Path, tmp_path: Path, tiny: CoconutGPT2) -> None:
    """In one process, for speed."""
    from typer.testing import CliRunner

    from probing.__main__ import app

    for name in ("ours", "theirs"):
        checkpoint.save(tiny, tmp_path / name)
    common = ["intervene", "--data", str(data), "--checkpoint", str(tmp_path / "ours"), "--edit", "interchange:t=1"]
    found = []
    for samples in ("--samples", "--draws"):  # --draws is what --samples was called
        done = CliRunner().invoke(app, [*common, "--row", "1", samples, "2", "--out", str(tmp_path / "one.json")])
        assert done.exit_code == 0, done.exception
        result = Intervention.load(tmp_path / "one.json")
        assert (result.n_samples, str(result.plan)) == (2, "transplant:t=1")
        found.append(result.to_json())
    assert found[0] == found[1]
    assert "other-step" in done.output
    pair = [*common, "--compare", str(tmp_path / "theirs"), "--controls", "random", "--out", str(tmp_path / "both")]
    done = CliRunner().invoke(app, pair)
    assert done.exit_code == 0, done.exception
    ours, theirs = (read_summaries(tmp_path / "both" / part / "summary.json") for part in ("", "compare-theirs"))
    assert ours == theirs
    assert {summary.control for summary in ours} == {"", "random"}
    assert (tmp_path / "both" / "effects.svg").stat().st_size > 1000


def test_a_shared_control_is_run_once(
    tiny: CoconutGPT2, problems: list[ProsQAProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identity, of edits of the same thought: the same rows as one by one."""
    plans = [EditPlan.parse(text) for text in ("zero:t=2", "transplant:t=2", "zero:t=1")]
    calls = []
    monkeypatch.setattr(run_module, "see", lambda *args, see=run_module.see: calls.append(1) or see(*args))

    def rows(*plans: EditPlan) -> list[dict]:
        found = dataset_rows(tiny, problems[:4], plans, directions=None, controls=("identity",))
        return [row for batch in found for row in batch if row["control"]]

    together = rows(*plans)
    assert len(calls) == 1 + 3 + 2  # the base, three edits, and identity at thought 2 and at thought 1
    assert together == [row for plan in plans for row in rows(plan)]


def test_edits_of_one_problem_share_its_run_and_what_changes_nothing(
    tiny: CoconutGPT2, problems: list[ProsQAProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are what they are alone."""
    calls = []
    monkeypatch.setattr(run_module, "see", lambda *args, see=run_module.see: calls.append(1) or see(*args))
    options = {"directions": None, "controls": ("identity", "random"), "n_samples": 3, "seed": 4}
    plans = [EditPlan.parse(text) for text in ("zero:t=2", "transplant:t=2", "zero:t=2")]
    unedited = run_unedited(tiny, problems[0], directions=None, n_samples=3, seed=4)
    together = [intervene(tiny, problems[0], plan, unedited=unedited, **options).to_json() for plan in plans]
    assert len(calls) == 1 + 3 * 2 + 1  # the base, each edit and its random direction, and identity at thought 2
    assert together == [intervene(tiny, problems[0], plan, **options).to_json() for plan in plans]


def test_directions_need_a_place_before_they_are_fitted(
    tmp_path: Path, tiny: CoconutGPT2, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from probing.__main__ import app

    checkpoint.save(tiny, tmp_path / "model")
    many = tmp_path / "many.json"
    many.write_text(write_problems(list(generate("balanced", 240, 2))), encoding="utf-8")
    arguments = ["directions", "--data", str(many), "--checkpoint", str(tmp_path / "model"), "--n-held-out", "30"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode, **options: mode != os.W_OK)
        refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InputError)
    assert "give --out FILE" in str(refused.exception)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    fitted = directions_module.load(tmp_path / "model" / directions_module.FILE_NAME)
    fitted.check_fits(checkpoint.load(tmp_path / "model"))
    assert f"written to {tmp_path / 'model'}" in done.output


def test_bad_input_is_one_sentence(data: Path, tmp_path: Path) -> None:
    """In one process, for speed: the same entry point as the command line."""
    from typer.testing import CliRunner

    from probing.__main__ import app

    out = str(tmp_path / "x")
    chain = [(f"n{i}", f"n{i + 1}") for i in range(40)]
    big = ProsQAProblem.from_names(chain, root="n0", candidates=("n40", "F"), nodes=["F"])
    large = tmp_path / "large.json"
    large.write_text(write_problems([big]), encoding="utf-8")
    base = ["intervene", "--data", str(data), "--out", out]
    for arguments, says in (
        ([*base, "--edit", "explode:t=1"], "is unknown"),
        ([*base, "--edit", "swap:t=9"], "out of range"),
        ([*base, "--edit", "swap:t=6"], "not defined for thought 6"),
        ([*base, "--edit", "swap:t=1,strength=nan"], "strength must be"),
        ([*base, "--edit", "zero:t=1", "--edit", "zero:t=1"], "given twice"),
        ([*base, "--edit", "write:t=1,nodes=Tom"], "add --row"),
        ([*base, "--edit", "write:t=1,nodes=nobody", "--row", "0"], "not in the graph"),
        ([*base, "--edit", "zero:t=1", "--row", "6"], "rows 0 to 5"),
        ([*base, "--edit", "zero:t=1", "--controls", "magic"], "control 'magic' is unknown"),
        ([*base, "--edit", "zero:t=1", "--directions", "nowhere"], "no node directions"),
        ([*base, "--edit", "zero:t=1", "--checkpoint", "nowhere"], "no such folder"),
        (["intervene", "--data", "nowhere", "--out", out, "--edit", "zero:t=1"], "cannot be read"),
        ([*base, "--edit", "zero:t=1", "--data", str(large)], "problem 0 of large.json: the graph has 42 nodes"),
        ([*base, "--edit", "zero:t=1", "--compare", str(checkpoint.DEFAULT_CHECKPOINT)], "has one twice"),
        (["directions", "--data", str(data), "--out", out], "at least 700 are needed"),
        (["directions", "--data", str(data), "--untrained"], "needs --out"),
        (["verdict", "--data", str(data), "--out", out], "at least 100 problems"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, InputError), (arguments, result.exception, result.output)
        assert says in str(result.exception), (says, str(result.exception))
        assert "\n" not in str(result.exception)
    assert not Path(out).exists()
    done = run(*base, "--edit", "swap:t=0")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_small_graphs_are_filled_up_only_when_asked(trained: CoconutGPT2) -> None:
    names = ["Tom", "terpus", "gorpus", "brimpus", "lempus", "yumpus", "Ada", "wumpus", "rompus"]
    edges = [[0, 1], [0, 2], [1, 3], [2, 4], [4, 5], [6, 7], [7, 8]]
    row = {"idx_to_symbol": names, "edges": edges, "root": 0, "target": 5, "neg_target": 8}
    problem, scene = ProsQAProblem.from_row(row), EditPlan.parse("identity:t=1")
    plain, filled = (
        intervene(trained, problem, scene, directions=None, controls=(), n_samples=6, pad=pad) for pad in (False, True)
    )
    assert filled.clean.p_target[:, -1].mean() > 0.9 > plain.clean.p_target[:, -1].mean()
    assert filled.problem == problem
