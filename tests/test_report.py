"""Probing one problem end to end: what a report says, its controls, its exact round trip and its refusals."""

from __future__ import annotations

import json
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
import typer

from model import checkpoint
from model.checkpoint import fingerprint
from model.codec_slots import ANSWER
from model.errors import InputError, ProblemTooLargeError
from model.metrics import OLD_NAMES
from model.problems.prosqa import ProsQAProblem
from model.readout import node_log_probs
from probing.__main__ import app
from probing.read.probe import probe, shortcut_baseline
from probing.read.report import VALUES, ProbeReport

#  r fans out to two children, each to two more; the target is three hops down one branch, as is the other root's leaf.
EDGES = [
    ("Tom", "a"), ("Tom", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("b", "f"), ("c", "t"),
    ("Eva", "g"), ("Eva", "h"), ("g", "i"), ("h", "j"), ("i", "n"),
]  # fmt: skip
PROBLEM = ProsQAProblem.from_names(EDGES, root="Tom", candidates=("t", "n"))


@pytest.fixture(scope="module")
def report(trained) -> ProbeReport:
    return probe(trained, PROBLEM, n_samples=8, seed=3, control=checkpoint.untrained(trained.config), name="shipped")


def test_the_shipped_model_searches_and_its_controls_do_not(report) -> None:
    """Thoughts 1 and 2 are the frontier; shuffled labels and an untrained model show what chance looks like."""
    model, shuffled, untrained = (report.metrics[source] for source in ("model", "shuffled", "untrained"))
    for t in (0, 1, 2):
        assert model["auroc_all"][t].value > 0.95
        assert model["mass_frontier"][t].value > 0.7
        assert 0.35 < shuffled["auroc_all"][t].value < 0.65
        assert shuffled["mass_frontier"][t].value < 0.5
        assert untrained["mass_frontier"][t].value < 0.35
        assert model["auroc_all"][t].n == 8
    assert model["auroc_all"][4] is None  # nothing is 5 hops away
    assert report.answers[6].p_target.value > 0.9
    assert report.answers[6].written_target == 1
    assert report.base_rate[:3] == pytest.approx([2 / 14, 4 / 14, 1 / 14])


def test_values_are_distributions(report) -> None:
    probability, marker = np.array(report.probability.mean), np.array(report.marker.mean)
    assert probability.sum(axis=1) + marker.sum(axis=1) + np.array(report.other) == pytest.approx(1, abs=1e-6)
    assert np.array(report.normalised.mean).sum(axis=1) == pytest.approx(1)
    low, high = np.array(report.logit.low), np.array(report.logit.high)
    assert np.all(low <= np.array(report.logit.mean))
    assert np.all(high >= np.array(report.logit.mean))


@torch.inference_mode()
def test_scores_put_draws_back_in_node_order(tiny) -> None:
    codec = tiny.codec
    prompts = codec.prompts(PROBLEM, 3, seed=5)
    trace = tiny.think(codec.collate(prompts), 2)
    scores = node_log_probs(tiny, trace, prompts)
    for r, prompt in enumerate(prompts):
        logits = tiny.lm_head(trace.states[r])
        for node, token in enumerate(prompt.sample.tokens):
            embedding = tiny.transformer.wte.weight[token]
            assert scores.logit[r, :, node] == pytest.approx(logits[:, token].numpy(), abs=1e-5)
            cosine = torch.cosine_similarity(trace.states[r], embedding[None], dim=-1)
            assert scores.cosine[r, :, node] == pytest.approx(cosine.numpy(), abs=1e-5)
    probability = tiny.lm_head(trace.states).softmax(-1)
    assert scores.special[..., ANSWER] == pytest.approx(probability[..., ANSWER].numpy(), abs=1e-6)
    assert scores.probability.sum(-1) + scores.left_over == pytest.approx(1, abs=1e-6)


def test_json_round_trip_is_exact(report, tmp_path) -> None:
    assert ProbeReport.parse(report.to_json()) == report
    report.save(tmp_path / "r.json")
    assert ProbeReport.load(tmp_path / "r.json") == report
    assert report.problem == PROBLEM


def test_one_draw_has_no_interval_and_the_same_seed_the_same_report(tiny) -> None:
    one = probe(tiny, PROBLEM, n_samples=1, seed=4)
    assert one.probability.low is None
    assert one.metrics["model"]["auroc_all"][0].low is None
    assert one == probe(tiny, PROBLEM, n_samples=1, seed=4)
    assert one != probe(tiny, PROBLEM, n_samples=1, seed=5)


def test_draws_are_batched_without_changing_them(tiny) -> None:
    """R draws in one batch give the mean of R single draws."""
    three = np.array(probe(tiny, PROBLEM, n_samples=3, seed=9).logit.mean)
    codec = tiny.codec
    single = []
    with torch.inference_mode():
        for prompt in codec.prompts(PROBLEM, 3, seed=9):
            trace = tiny.think(codec.collate([prompt]), tiny.config.n_thoughts)
            single.append(node_log_probs(tiny, trace, [prompt]).logit[0])
    assert three == pytest.approx(np.mean(single, axis=0), abs=1e-5)


def test_blind_rule_compares_backward_depth() -> None:
    assert shortcut_baseline(PROBLEM) == "tie"
    shallow = ProsQAProblem.from_names([*EDGES[:-1], ("Eva", "n")], root="Tom", candidates=("t", "n"))
    assert shortcut_baseline(shallow) == "target"
    assert (
        shortcut_baseline(shallow.asked_from(8, target=shallow.neg_target, neg_target=shallow.target)) == "neg_target"
    )


def test_fingerprint_names_the_weights(tiny) -> None:
    assert fingerprint(tiny) == fingerprint(checkpoint.untrained(tiny.config, seed=1))
    assert fingerprint(tiny) != fingerprint(checkpoint.untrained(tiny.config, seed=2))


def test_out_of_range_requests_are_refused_or_warned_of(tiny) -> None:
    for bad in ({"n_samples": 0}, {"n_samples": 10_000}, {"n_thoughts": -1}):
        with pytest.raises(InputError):
            probe(tiny, PROBLEM, **bad)
    names = [f"x{i}" for i in range(41)]
    edges = [*pairwise(names), ("o", "p")]
    big = ProsQAProblem.from_names(edges, root="x0", candidates=("x40", "p"))
    with pytest.raises(ProblemTooLargeError, match="43 nodes; this model has 40"):
        probe(tiny, big)
    long = ProsQAProblem.from_names([*edges[:8], ("o", "p")], root="x0", candidates=("x8", "p"))
    assert "8 hops away" in probe(tiny, long, n_samples=1).warnings[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(version=99), "version"),
        (lambda row: row.pop("answers"), "answers"),
        (lambda row: row["probability"]["mean"].pop(), "probability must be"),
        (lambda row: row["metrics"]["model"].update(auroc=[]), "metrics.model.auroc"),
        (lambda row: row["problem_row"].update(root=99), "root is node 99"),
        (lambda row: row.update(extra=1), "extra"),
    ],
)
def test_a_damaged_report_is_refused_with_the_place(report, change, message) -> None:
    row = json.loads(report.to_json())
    change(row)
    with pytest.raises(InputError, match=message):
        ProbeReport.parse(json.dumps(row))


def test_what_a_node_can_be_coloured_by(report) -> None:
    for what in VALUES:
        assert len(report.values(what).mean) == report.n_thoughts + 1


def test_command_line(tmp_path, capsys) -> None:
    graph, out = tmp_path / "graph.txt", tmp_path / "report.json"
    graph.write_text("\n".join(f"{a} {b}" for a, b in EDGES))
    app(
        ["report", "--graph", str(graph), "--root", "Tom", "--candidates", "n", "t", "--draws", "2", "--out", str(out)],
        standalone_mode=False,
    )
    probed = ProbeReport.load(out).problem
    assert (probed.edges, probed.root, probed.target) == (PROBLEM.edges, PROBLEM.root, PROBLEM.target)
    assert ProbeReport.load(out).n_distractors == 36 - len(EDGES)
    assert "Right: t." in capsys.readouterr().out
    for bad in (["--root", "Tim"], ["--candidates", "c", "t"], ["--candidates", "n", "n"], ["--draws", "0"]):
        options = {"--root": ["Tom"], "--candidates": ["n", "t"], "--draws": ["1"]} | {bad[0]: bad[1:]}
        flat = [word for option, values in options.items() for word in (option, *values)]
        with pytest.raises(InputError):
            app(["report", "--graph", str(graph), "--out", str(out), *flat], standalone_mode=False)
    with pytest.raises(InputError, match="either --data"):
        app(["report", "--out", str(out)], standalone_mode=False)


def test_reports_of_older_versions_open(tiny) -> None:
    report = probe(tiny, PROBLEM, n_samples=2)
    old = json.loads(report.to_json())
    names = {new: name for name, new in OLD_NAMES.items()}
    for source, found in old["metrics"].items():
        for values in found.values():
            for value in filter(None, values):
                value["mean"] = value.pop("value")
                del value["k"]
        old["metrics"][source] = {names.get(name, name): values for name, values in found.items()}
    assert "auroc_ahead" in old["metrics"]["model"]
    assert ProbeReport.parse(json.dumps(old)) == report


def test_new_and_old_spellings_of_options_are_the_same(tmp_path) -> None:
    graph = tmp_path / "graph.txt"
    graph.write_text("\n".join(f"{a} {b}" for a, b in EDGES))
    base = ["report", "--graph", str(graph), "--root", "Tom", "--candidates", "n", "t", "--no-untrained"]
    for n_added, *spellings in (
        (36 - len(EDGES), ("--samples", "--pad"), ("--draws", "--fill")),
        (0, ("--samples", "--no-pad"), ("--draws", "--no-fill")),
    ):
        found = []
        for i, (samples, pad) in enumerate(spellings):
            app([*base, samples, "2", pad, "--out", str(tmp_path / f"{i}.json")], standalone_mode=False)
            found.append(ProbeReport.load(tmp_path / f"{i}.json"))
        assert found[0] == found[1]
        assert (found[0].n_samples, found[0].n_distractors) == (2, n_added)


def test_every_command_takes_both_spellings() -> None:
    named = {}
    for package in ("model", "probing"):
        group = typer.main.get_command(import_module(f"{package}.__main__").app)
        for name, command in group.commands.items():
            named |= {(name, option.opts[0]): (option.opts, option.secondary_opts) for option in command.params}
    for name in ("report", "dataset", "evaluate"):
        assert named[name, "--pad"] == (["--pad", "--fill"], ["--no-pad", "--no-fill"])
    for name in ("report", "evaluate", "intervene"):
        assert named[name, "--samples"] == (["--samples", "--draws"], [])
