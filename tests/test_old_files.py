"""Files and links that an earlier version (commit 810b344) wrote still open and mean the same.

Names in the code may move; what is asserted here may not. ``tests/data/old`` is never written again.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.explore.state import View
from app.intervene.state import Lab
from model import checkpoint
from model.formats.graph import load_graph, load_problems, read_graph
from model.training.config import load_train_config
from model.training.dynamics import DynamicsRecord
from model.training.folder import read_run_folder
from model.training.stopping import StopClassifier
from probing.dataset.findings import DatasetResult
from probing.dataset.record import open_recording
from probing.draw.values import Chart
from probing.edit import directions
from probing.edit.data_set import read_rows, read_summaries
from probing.edit.one_problem import Intervention
from probing.edit.spec import EditPlan
from probing.edit.verdict import read_sheets
from probing.read.report import ProbeReport

approx = pytest.approx
ROOT = Path(__file__).parent.parent
OLD = ROOT / "tests" / "data" / "old"
EDGES = [
    ("Ada", "warm grey"),
    ("warm grey", "мост"),
    ("Bo", "x->y"),
    ("x->y", 'say "b"'),
    ("Ada", "<i>z</i>"),
    ("Bo", "<i>z</i>"),
]
QUESTION = ("Ada", "мост", 'say "b"')


def named_edges(graph) -> list[tuple[str, str]]:
    names = graph.idx_to_symbol if hasattr(graph, "idx_to_symbol") else graph.names
    return [(names[source], names[target]) for source, target in graph.edges]


def asked(problem) -> tuple[str, str, str]:
    """Names of root, target and the other candidate."""
    return tuple(problem.idx_to_symbol[node] for node in (problem.root, problem.target, problem.neg_target))


# --- problems


def test_rows_of_prosqa_json() -> None:
    problems = load_problems(OLD / "problems" / "prosqa.json")
    assert named_edges(problems[0]) == EDGES
    assert [asked(problem) for problem in problems] == [
        QUESTION,
        ("Bob", "felpus", "yumpus"),
        ("Jack", "vumpus", "rempus"),
    ]
    assert problems[1].steps == ("Bob is a jompus.", "Every jompus is a felpus.")
    assert problems[1].question.endswith("Every jompus is a felpus. Is Bob a felpus or yumpus?")
    generated = load_problems(OLD / "problems" / "generated.json")
    assert (len(generated), {problem.n_hops for problem in generated}) == (12, {2})


@pytest.mark.parametrize("name", ["node-link.json", "graph.graphml"])
def test_graphs_that_hold_their_question(name: str) -> None:
    graph = load_graph(OLD / "problems" / name)
    assert (named_edges(graph), asked(graph.ask())) == (EDGES, QUESTION)


def test_a_list_of_edges() -> None:
    graph = load_graph(OLD / "problems" / "edges.txt")
    assert (named_edges(graph), asked(graph.ask("Ada", ("мост", 'say "b"')))) == (EDGES, QUESTION)


def test_sentences() -> None:
    problem = load_graph(OLD / "problems" / "sentences.txt").ask()
    assert named_edges(problem) == [("Bob", "felpus"), ("felpus", "gorpus"), ("Max", "yumpus"), ("yumpus", "zumpus")]
    assert asked(problem) == ("Bob", "gorpus", "zumpus")


@pytest.mark.parametrize("name", ["explore.json", "explore.graphml"])
def test_graphs_downloaded_from_explore(name: str) -> None:
    graph = load_graph(OLD / "problems" / name)
    assert set(named_edges(graph)) == set(named_edges(load_problems(OLD / "problems" / "generated.json")[0]))
    assert asked(graph.ask()) == ("Bob", "felpus", "yumpus")


# --- what probing saves


def test_probe_reports() -> None:
    report = ProbeReport.load(OLD / "report.json")
    assert asked(report.problem) == ("Bob", "felpus", "yumpus")
    assert (report.model.name, report.model.method, report.model.n_thoughts) == ("prosqa-tiny", "coconut", 2)
    assert (report.n_samples, report.seed, report.n_distractors, report.shortcut_baseline) == (2, 0, 0, "tie")
    auroc = report.metrics["shuffled"]["auroc_all"][0]
    assert (auroc.value, auroc.low, auroc.high, auroc.n) == approx((0.4208333333333333, -0.26741942, 1.10908609, 2))
    assert [found.value for found in report.metrics["model"]["auroc_all"]] == [1.0, 1.0]
    assert report.metrics["model"]["mass_frontier"][0].value == approx(0.9960308828045672)
    assert report.probability.mean[0][5] == approx(0.9960308828045672)
    assert (report.answers[-1].k, report.answers[-1].written_target) == (2, 1.0)
    assert report.answers[-1].p_target.value == approx(0.9998566332144583)


def test_a_probe_report_of_a_pause_model() -> None:
    report = ProbeReport.load(OLD / "report-pause.json")
    assert (report.model.name, report.model.method) == ("prosqa-tiny-pause", "pause_as_thought")
    assert report.answers[-1].p_target.value == approx(0.7328409806342923)
    assert report.metrics["model"]["mass_frontier"][1].value == approx(0.7344093108947345)


def test_an_intervention() -> None:
    found = Intervention.load(OLD / "intervention.json")
    assert list(map(str, found.plan)) == ["swap:t=1,strength=1.5"]
    assert asked(found.problem) == ("Bob", "felpus", "yumpus")
    assert (found.n_thoughts, found.n_samples, found.seed) == (2, 2, 0)
    assert found.clean.log_odds[:, -1] == approx([10.318708419799805, 9.988987922668457])
    assert found.edited.log_odds[:, -1] == approx([-6.291451454162598, -8.511314392089844])
    assert found.edited.coefficients[0, 0, 1] == approx(1.4219083786010742)
    assert found.edited.p_target[:, -1].max() < 0.002
    assert list(found.controls) == ["identity", "random", "other-step"]
    np.testing.assert_array_equal(found.controls["identity"].log_odds, found.clean.log_odds)
    (touched,), names = found.touched, found.problem.idx_to_symbol
    assert (touched.t, [names[v] for v in touched.out], [names[v] for v in touched.put]) == (
        1,
        ["jompus"],
        ["bompus", "terpus"],
    )


def test_edits_over_a_data_set() -> None:
    rows = list(read_rows(OLD / "edits" / "rows.jsonl"))
    clean = [row for row in rows if row["edit"] == "clean"]
    assert [row["row"] for row in clean] == [0, 1, 2, 3]
    assert clean[0]["log_odds"] == approx(10.318707466125488)
    assert (clean[0]["auroc_other"][0], clean[1]["lens_auroc"][1]) == approx((0.5, 0.833333))
    found = {(str(s.edit), s.control): s for s in read_summaries(OLD / "edits" / "summary.json")}
    assert len(found) == 19
    edits = ["swap:t=1,strength=1.5", "remove:t=1,dose=held", "project:t=1,nodes=frontier&zero:t=2", "truncate:k=1"]
    assert list(dict.fromkeys(edit for edit, _ in found)) == ["clean", *edits]
    held = found["remove:t=1,dose=held", ""]
    assert (held.n, held.n_undefined, held.accuracy.n, held.accuracy.value) == (4, 0, 4, 0.5)
    assert interval(held.accuracy) == approx((0.150039, 0.849961), abs=1e-6)
    change = found["swap:t=1,strength=1.5", ""].log_odds_change
    assert (change.value, *interval(change)) == approx((-16.0135, -18.2448, -13.7822), abs=1e-4)
    nowhere = found["swap:t=1,strength=1.5", "unreachable"]
    assert (nowhere.n, nowhere.n_undefined, nowhere.accuracy) == (0, 4, None)


def interval(found) -> tuple[float, float]:
    return found.low, found.high


def test_a_verdict() -> None:
    sheets = read_sheets(OLD / "verdict.json")
    tiny, pause = sheets
    assert [(s.name, s.method, s.n_problems) for s in sheets] == [
        ("prosqa-tiny", "coconut", 160),
        ("prosqa-tiny-pause", "pause_as_thought", 160),
    ]
    outcomes = [
        [list(sheet.outcomes(claim)) for claim in ("decodable", "used", "necessary", "sufficient")] for sheet in sheets
    ]
    assert outcomes == [
        [["shown", "not tested"], ["shown", "shown"], ["partly", "partly"], ["shown", "shown"]],
        [["shown", "not tested"], ["not tested"] * 2, ["not shown"] * 2, ["not tested"] * 2],
    ]
    assert (pause.accuracy.value, *interval(pause.accuracy)) == approx((0.44375, 0.36898269, 0.52115500))
    assert tiny.without["no thoughts"].value == 0.575
    assert tiny.lens_auroc[1].value == approx(0.97586803)
    needed = tiny.finding("necessary", 1)
    assert (needed.n, needed.value.value, needed.control.value, needed.difference.value) == (
        160,
        0.54375,
        0.99375,
        0.45,
    )
    assert interval(needed.difference) == (0.36875, 0.53125)
    assert needed.words.startswith("accuracy 54.4 % [46.6, 61.9] with the mean thought in its place")


def test_a_data_set_result() -> None:
    result = DatasetResult.load(OLD / "dataset" / "result.json")
    assert (result.n_problems, result.seed) == (12, 0)
    assert [section.name for section in result.sections] == [
        "kswitch",
        "tree",
        "frontier",
        "lens",
        "geometry",
        "compare",
    ]
    assert [(m.info.name, m.untrained, m.n_thoughts, m.n_taken) for m in result.models] == [
        ("prosqa-tiny", False, 2, 12),
        ("untrained", True, 2, 12),
    ]
    accuracy = result.section("kswitch").cell("accuracy", step=0)
    assert (accuracy.value, accuracy.low, accuracy.high, accuracy.n) == approx(
        (10 / 12, 0.5519691377, 0.9530348578, 12)
    )
    every = [found for found in result.section("frontier").cells if found.source == "prosqa-tiny" and found.step == 2]
    assert [found.value for found in every[:2]] == approx([0.9638888888888889, 0.9479166666666666])  # all, beyond
    kinds = {chart.name: chart.kind for section in result.sections for chart in section.charts}
    assert set(kinds.values()) == {"lines", "stacked", "bars", "points", "heatmap", "tree"}


def test_figures_of_a_data_set() -> None:
    folder = OLD / "dataset" / "figures"
    charts = {path.stem: Chart.model_validate_json(path.read_text(encoding="utf-8")) for path in folder.iterdir()}
    assert len(charts) == 7
    by_k = charts["kswitch-accuracy_by_k"]
    assert by_k.series[0].name == "prosqa-tiny"
    assert by_k.series[0].y == approx((10 / 12, 1, 1))
    assert by_k.series[0].low[0] == approx(0.5519691377)
    assert ("Bob", "jompus") in charts["tree-tree"].edges


def test_a_recording_of_a_data_set() -> None:
    result = DatasetResult.load(OLD / "dataset" / "result.json")
    recording = open_recording(OLD / "dataset", result.models[0])
    assert recording.problems == tuple(load_problems(OLD / "problems" / "generated.json"))
    assert recording.correct.mean(axis=0) == approx([10 / 12, 1, 1])
    assert recording.norm[:, 0].mean() == approx(7.967050472895305)
    assert len(next(iter(recording.states.values()))) == 3


# --- what training saves


def test_a_training_run() -> None:
    folder = read_run_folder(OLD / "training")
    assert folder.share_done == 1
    assert [(span.stage, span.start, span.end, span.why) for span in folder.stages] == [
        (0, 0, 640, "limit"),
        (1, 640, 1216, "limit"),
        (2, 1216, 1280, ""),
    ]
    assert folder.steps[0].loss == approx(2.1008953857421875)
    last = folder.validations[-1]
    assert (last.stage, last.accuracy, last.low, last.high, last.n) == approx((2, 0.109375, 0.05400113, 0.20898641, 64))
    assert folder.result["learned_stop"].accuracy == 0.109375
    record = DynamicsRecord.load(OLD / "training" / "emergence.json")
    assert (record.name, record.method, record.n_problems) == ("tiny", "coconut", 64)
    assert [(point.step, point.stage) for point in record.points] == [(0, 0), (10, 0), (19, 1), (20, 2)]
    assert list(record.points[2].accuracy_by_k) == [0.125, 0.1875, 0.125]
    first = next(row for row in record.rows() if row["step"] == 10 and row.get("thought") == 1)
    assert approx(0.5779947952833027) in first.values()  # AUROC of the frontier against nodes beyond it


def test_the_settings_of_a_training_run() -> None:
    config = load_train_config(OLD / "training" / "config.yaml")
    assert (config.name, config.method, config.max_latent_stage, config.uniform_prob) == ("tiny", "coconut", 2, 0.1)
    assert (config.n_train, config.n_hops, config.advance) == (640, (2, 2), "settled")
    assert config.stage_epochs(0) == 1


def test_a_stop_classifier() -> None:
    found = StopClassifier.load(OLD / "training" / "stop.json")
    assert (len(found.weight), found.weight[0], found.bias) == approx((64, -1.1544383326, -0.4704037518))


def test_what_lies_beside_the_shipped_checkpoints() -> None:
    config = checkpoint.load_config(OLD / "training")
    assert (config.n_embd, config.method, config.n_thoughts) == (64, "coconut", 2)
    tiny = directions.load(checkpoint.CHECKPOINTS / "prosqa-tiny" / "directions.safetensors")
    assert (tiny.about.n_problems, tiny.defined, tiny.about.scores[0].estimator) == (3000, (1, 2), "ridge")
    assert tiny.about.scores[0].r2 == approx(0.6545203588)
    assert tiny.vectors["ridge"].shape == (2, 8, 64)


# --- what a person typed or was sent


@pytest.mark.parametrize("text", (OLD / "edits.txt").read_text(encoding="utf-8").split())
def test_edits_as_text(text: str) -> None:
    assert str(EditPlan.parse(text)) == text


def test_an_edit_as_text_is_what_it_says() -> None:
    (spec,) = EditPlan.parse(
        "swap:t=1,nodes=target-branch+felpus,to=other-rest/2,strength=1.5,dose=held,norm=keep,seed=3"
    )
    assert (spec.kind, spec.thoughts, spec.strength, spec.measured, spec.keep_norm, spec.seed) == (
        "swap",
        (1,),
        1.5,
        True,
        True,
        3,
    )
    assert (spec.nodes.sets, spec.nodes.names, spec.to.sets) == (("target-branch",), ("felpus",), ("other-rest",))


LINKS = json.loads((OLD / "links.json").read_text(encoding="utf-8"))


def link(name: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(LINKS[name]).query, strict_parsing="?" in LINKS[name]))


def test_links_to_explore() -> None:
    view = View.decode(link("explore: the example"))
    assert (view.source, view.samples, view.value, view.k, view.node, view.pad) == (
        "example",
        16,
        "probability",
        1,
        None,
        True,
    )
    assert view.checkpoint == "prosqa-symbol-2l"
    view = View.decode(link("explore: a state"))
    assert (view.k, view.value, view.node, view.samples, view.sample_seed) == (3, "cosine", 5, 4, 11)
    view = View.decode(link("explore: generated"))
    assert (view.source, view.kind, view.hops, view.nodes, view.seed, view.pad) == (
        "generated",
        "public",
        (2, 4),
        (10, 20),
        123,
        False,
    )
    view = View.decode(link("explore: a custom graph"))
    assert (view.source, view.k, view.checkpoint) == ("custom", 2, "prosqa-tiny")
    problem = read_graph(view.text).ask(view.root, view.candidates)
    assert (named_edges(problem), asked(problem)) == (EDGES, QUESTION)
    view = View.decode(link("explore: a row of a file"))
    problem = read_graph(view.text).ask(view.root, view.candidates)
    row = load_problems(OLD / "problems" / "generated.json")[0]
    assert (problem.idx_to_symbol, problem.edges, asked(problem)) == (row.idx_to_symbol, row.edges, asked(row))


def test_links_to_intervene() -> None:
    lab = Lab.decode(link("intervene: nothing yet"))
    assert (lab.source, lab.samples, lab.edit, lab.shown, lab.value, lab.against) == (
        "example",
        4,
        "",
        1,
        "probability",
        "",
    )
    lab = Lab.decode(link("intervene: a swap"))
    assert (lab.edit, lab.shown) == ("swap:t=1,strength=1.5", 2)
    lab = Lab.decode(link("intervene: a swap on a custom graph"))
    assert (lab.samples, lab.pad, lab.shown, lab.value, lab.against) == (
        1,
        False,
        0,
        "weight",
        "prosqa-tiny-pause",
    )
    problem = read_graph(lab.text).ask(lab.root, lab.candidates)
    assert (named_edges(problem), asked(problem)) == (EDGES, QUESTION)
    (spec,) = EditPlan.parse(lab.edit)
    assert (spec.kind, spec.nodes.names, spec.to.names, spec.measured) == ("swap", ("warm grey",), ("x->y",), True)
    lab = Lab.decode(link("intervene: beside untrained weights"))
    assert (lab.source, lab.seed, lab.checkpoint) == ("generated", 9, "prosqa-tiny")
    assert (lab.samples, lab.sample_seed, lab.edit, lab.against) == (2, 5, "patch:t=1,layer=1", "untrained")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("training: a run", ["10.9 %", "64"]),
        ("dataset: a result", ["prosqa-tiny on problems12.json", "**12** problems, 2 thoughts"]),
    ],
)
def test_links_to_folders(name: str, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = AppTest.from_file(str(ROOT / "app" / "pages.py"), default_timeout=120)
    for key, value in link(name).items():
        page.query_params[key] = value
    stem = urlsplit(LINKS[name]).path.strip("/")
    page.switch_page(f"{stem}/{stem}.py").run()
    assert not page.exception
    assert [item.value for item in page.error] == []
    text = "\n".join(item.value for item in (*page.markdown, *page.caption)).replace("\\", "").replace("\u00a0", " ")
    for part in shown:
        assert part in text
