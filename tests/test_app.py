"""Explore under Streamlit's AppTest: every source, every control, bad input in every place, links, downloads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from streamlit.testing.v1 import AppTest
from test_imports import WIDTH, base, saved, upstream
from test_lens import english
from transformers import GPT2Config, GPT2LMHeadModel

from app import compute
from app.compute import example
from app.explore.gallery import FAMILY, GALLERY
from app.explore.state import View
from app.words import PRESENTING, STYLE, explained
from model import checkpoint
from model.coconut import CoconutConfig
from model.codec_text import TextCodec
from model.errors import InputError
from model.formats.graph import read_graph, write_graph, write_problems
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.stats import leaning
from probing.draw.export import export_report
from probing.read.probe import probe
from probing.read.report import VALUES, ProbeReport

MAIN = str(Path(__file__).parent.parent / "app" / "pages.py")
FEW = {"draws": "1"}  # one prompt sample is enough where the picture is not looked at


def start(**params: str) -> AppTest:
    page = AppTest.from_file(MAIN, default_timeout=120)
    for name, value in params.items():
        page.query_params[name] = value
    return page.run()


def custom(text: str, **rest) -> dict[str, str]:
    return View(source="custom", text=text, samples=1, **rest).encode()


def texts(page: AppTest) -> str:
    return "\n".join(item.value for item in page.markdown).replace("\\", "").replace("\u00a0", " ")


def errors(page: AppTest) -> str:
    assert not page.exception, page.exception[0].message
    return "\n".join(item.value for item in page.error).replace("\\", "").replace("\u00a0", " ")


def charts(page: AppTest) -> dict[str, dict]:
    return {item.proto.id.split("-")[-1]: json.loads(item.proto.spec) for item in page.get("echarts_chart")}


def graph(page: AppTest) -> dict:
    return next(spec for spec in charts(page).values() if spec["series"][0]["type"] == "graph")


@pytest.fixture
def opened() -> AppTest:
    return start(**FEW)


def test_opens_on_the_finished_example() -> None:
    page = start()
    assert errors(page) == ""
    problem = example()
    root, target = problem.idx_to_symbol[problem.root], problem.idx_to_symbol[problem.target]
    assert f"Is **{root}** a" in texts(page)
    assert f"answers **{target}** :green-badge" in texts(page)
    assert "16 of 16 prompt samples" in texts(page)
    assert "Shortcut baseline (ignores Carol): tie" in texts(page)
    assert "**Thought 2: 97.6 %" in texts(page)
    assert "controls: shuffled labels" in texts(page)
    assert len(page.get("echarts_chart")) == 7
    assert len(graph(page)["series"][0]["data"]) == problem.n_nodes
    for chart in page.get("echarts_chart"):
        assert chart.proto.alt or "aria" in chart.proto.spec


def test_moving_the_slider_recolours_and_moves_nothing(opened: AppTest) -> None:
    before = graph(opened)["series"][0]["data"]
    after = graph(opened.select_slider(key="x_k").set_value(3).run())["series"][0]["data"]
    assert [node["value"] for node in before] == [node["value"] for node in after]
    assert [node["itemStyle"]["color"] for node in before] != [node["itemStyle"]["color"] for node in after]
    assert "Thought 4" in texts(opened)
    opened.button(key="x_step").click().run()
    assert opened.select_slider(key="x_k").value == 4
    opened.button(key="x_back").click().run()
    assert opened.select_slider(key="x_k").value == 3


def test_the_wrong_candidate_has_one_name(opened: AppTest) -> None:
    said = [button.label for button in opened.button if (button.key or "").startswith("x_dag_tab_")]
    said += [json.dumps(graph(opened), ensure_ascii=False), *texts(opened).splitlines()]
    assert any("distractor" in one for one in said)
    assert not any("other candidate" in one for one in said)


def test_states_after_the_search_read_as_finished(opened: AppTest) -> None:
    opened.select_slider(key="x_k").set_value(5).run()
    assert "search finished; > 99.9 % on the answer token [A]" in texts(opened)
    assert opened.select_slider(key="x_k").set_value(6).run().button(key="x_step").disabled


@pytest.mark.parametrize("value", VALUES)
def test_every_value_can_be_shown(value: str) -> None:
    page = start(value=value, **FEW)
    assert errors(page) == ""
    assert page.segmented_control(key="x_value").value == value


def test_every_metric_and_node_can_be_chosen_from_the_keyboard(opened: AppTest) -> None:
    for metric in opened.selectbox(key="x_metric").options:
        assert errors(opened.selectbox(key="x_metric").select(metric).run()) == ""
    opened.selectbox(key="x_node").select_index(0).run()
    assert errors(opened) == ""
    assert opened.session_state.x_node == 0


def test_generated_problems_and_the_next_one() -> None:
    page = start(source="generated", kind="public", hops="3-4", nodes="16-20", seed="7", **FEW)
    problem = next(iter(generate("public", 1, 7, hops=(3, 4), nodes=(16, 20))))
    assert f"Is **{problem.idx_to_symbol[problem.root]}** a" in texts(page)
    next(button for button in page.button if button.label == "Next").click().run()
    assert page.number_input(key="x_seed").value == 8
    problem = next(iter(generate("public", 1, 8, hops=(3, 4), nodes=(16, 20))))
    assert f"Is **{problem.idx_to_symbol[problem.root]}** a" in texts(page)
    assert errors(page) == ""


def test_ranges_that_cannot_be_met_are_said_and_the_page_stays() -> None:
    page = start(source="generated", hops="9-10", nodes="4-8", **FEW)
    assert "9 hops need at least" in errors(page)
    assert len(page.get("echarts_chart")) == 7


def test_problems_beyond_training_run_with_a_warning() -> None:
    page = start(source="generated", hops="8-9", nodes="30-40", **FEW)
    assert errors(page) == ""
    assert "hops away" in page.warning[0].value
    assert "-0.00" not in texts(page)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ((1, 0), "answers **T** :green-badge[:material/check: correct] in 4 of 4 prompt samples"),
        ((0, 1), "answers **N** :red-badge[:material/close: incorrect] in 4 of 4 prompt samples"),
        ((0.75, 0.25), "is :orange-badge[at chance]: P(**T**) = .02, P(**N**) = .02; **T** in 3 and **N** in 1"),
        ((0.25, 0.0), "names neither candidate :orange-badge[no answer] in 3 of 4 prompt samples"),
    ],
)
def test_the_verdict_says_what_was_written(written: tuple[float, float], said: str, tiny) -> None:
    report = probe(
        tiny, ProsQAProblem.from_names([("R", "T"), ("S", "N")], root="R", candidates=("T", "N")), n_samples=4
    )
    last = report.answers[-1].model_copy(update={"written_target": written[0], "written_neg_target": written[1]})
    report = report.model_copy(update={"answers": (*report.answers[:-1], last)})

    def page(report) -> None:
        from app.explore import panels

        panels.verdict(report)

    assert said in texts(AppTest.from_function(page, args=(report,)).run())


def test_another_problem_shows_its_own_target() -> None:
    page = start(source="generated", seed="1", node="0", **FEW)
    assert page.session_state.x_node == 0
    page.select_slider(key="x_k").set_value(3).run()
    assert page.session_state.x_node == 0
    page.number_input(key="x_seed").set_value(2).run()
    assert page.session_state.x_node == next(iter(generate("balanced", 1, 2))).target


# --- files


def upload(name: str, data: bytes) -> AppTest:
    page = start(**FEW)
    page.segmented_control(key="x_source").set_value("file").run()
    page.file_uploader(key="x_upload").upload(name, data, "application/json").run()
    return page


def test_a_row_of_an_uploaded_file() -> None:
    problems = list(generate("balanced", 3, 1))
    page = upload("three.json", write_problems(problems).encode())
    assert f"Is **{problems[0].idx_to_symbol[problems[0].root]}** a" in texts(page)
    page.number_input(key="x_row").set_value(2).run()
    assert f"Is **{problems[2].idx_to_symbol[problems[2].root]}** a" in texts(page)
    page.number_input(key="x_row").set_value(999_999).run()
    assert page.number_input(key="x_row").value == 2  # the last
    assert errors(page) == ""


def test_nothing_is_wrong_while_no_file_is_chosen(opened: AppTest) -> None:
    opened.segmented_control(key="x_source").set_value("file").run()
    assert not opened.info
    assert len(opened.get("echarts_chart")) == 7


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"[]", "no rows"),
        (b'{"a": [1,\n2', "line 2"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'[{"edges": []}]', "row 0"),
        (b"[" + b"{}," * 10_001 + b"{}]", "at most 10,000"),
        (b" " * (5 * 2**20 + 1), "at most 5,242,880"),
    ],
)
def test_bad_uploads_are_one_sentence(data: bytes, said: str) -> None:
    page = upload("bad.json", data)
    assert said in errors(page)
    assert len(page.error) == 1
    assert len(page.get("echarts_chart")) == 7


def test_an_uploaded_file_is_still_there_after_a_visit_to_another_page() -> None:
    problems = list(generate("balanced", 3, 1))
    page = upload("three.json", write_problems(problems).encode())
    page.number_input(key="x_row").set_value(2).run()
    page.switch_page("training/training.py").run()
    page.switch_page("explore/explore.py").run()
    assert errors(page) == ""
    assert page.number_input(key="x_row").value == 2
    assert any("three.json" in item.value.replace("\\", "").replace("\u00a0", " ") for item in page.caption)
    assert f"Is **{problems[2].idx_to_symbol[problems[2].root]}** a" in texts(page)


@pytest.mark.parametrize(
    "name", ["graph.csv", "graph.txt", "graph.graphml", "graph.json", "english.txt", "prosqa.json"]
)
def test_a_file_takes_every_format_that_can_be_typed(name: str) -> None:
    graph = read_graph("Tom -> red cat\nred cat -> b\nAda -> e\ne -> f")
    english = "Tom is a red cat. Every red cat is a b. Ada is a e. Every e is a f."
    made = {
        "graph.csv": "child,parent\nTom,red cat\nred cat,b\nAda,e\ne,f\ne,f\n", "english.txt": english,
        "graph.graphml": write_graph(graph, "graphml"), "graph.json": write_graph(graph, "node-link"),
        "prosqa.json": write_graph(graph.ask("Tom", ("b", "f")), "prosqa"), "graph.txt": write_graph(graph, "edges"),
    }  # fmt: skip
    page = upload(name, made[name].encode())
    assert errors(page) == ""
    assert "Is **Tom** a **b** or a **f**?" in texts(page) or "Is **Tom** a **f** or a **b**?" in texts(page)
    assert any(item.value.startswith("Given twice, read once") for item in page.caption) == (name == "graph.csv")
    if name != "prosqa.json":
        page.selectbox(key="x_root").select("Ada").run()
        assert "Is **Ada** a" in texts(page)
        page.switch_page("training/training.py").run()
        page.switch_page("explore/explore.py").run()
        assert page.selectbox(key="x_root").value == "Ada"


def test_a_file_that_is_not_chosen_yet_is_no_mistake() -> None:
    page = start(**FEW)
    page.segmented_control(key="x_source").set_value("file").run()
    assert errors(page) == ""
    assert not [item for item in page.info if "previous problem" in item.value]


# --- custom graphs

EIGHT = "Tom a\na b\nb c\nTom d\nd b\nAda e\ne f"


def test_a_small_graph_is_padded_and_says_so() -> None:
    page = start(**custom(EIGHT, root="Tom", candidates=("c", "f")))
    assert errors(page) == ""
    assert "answers **c** :green-badge" in texts(page)
    assert any("distractor facts" in item.value for item in page.caption)
    page.toggle(key="x_pad").set_value(False).run()
    assert not any("distractor facts" in item.value for item in page.caption)
    assert any("may guess" in item.value for item in page.warning)


@pytest.mark.parametrize(
    "text",
    [
        "Tom is a terpus. Every terpus is a lempus. Ada is a wumpus. Is Tom a lempus or wumpus?",
        "Tom -> terpus\nterpus -> lempus\nAda -> wumpus",
        '{"nodes": [{"id": "Tom"}, {"id": "x"}, {"id": "y"}, {"id": "z"}], '
        '"edges": [{"source": "Tom", "target": "x"}, {"source": "y", "target": "z"}]}',
    ],
)
def test_every_format_can_be_typed_and_gets_a_question(text: str) -> None:
    page = start(**FEW)
    page.segmented_control(key="x_source").set_value("custom").run()
    page.text_area(key="x_text").set_value(text).run()
    assert errors(page) == ""
    assert "Is **Tom** a" in texts(page)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a b\nb c\nc a", "a -> b -> c -> a"),
        ("a b\na b c", "line 2"),
        ("a a", "itself"),
        ("one two three", "line 1"),
        ('{"nodes": [', "line 1"),
        ("<graphml><graph>", "line 1"),
        ('<!DOCTYPE g [<!ENTITY a "b">]><graphml>&a;</graphml>', "entities"),
        ("digraph { a -> ", "DOT is not read"),
        ("Is Tom a lempus or wumpus?", "not in the graph"),
    ],
)
def test_bad_graphs_are_one_sentence_and_the_last_good_one_stays(text: str, said: str) -> None:
    page = start(**custom(EIGHT, root="Tom", candidates=("c", "f")))
    page.text_area(key="x_text").set_value(text).run()
    assert said in errors(page)
    assert len(page.error) == 1
    assert "Is **Tom** a" in texts(page)
    assert any("previous problem" in item.value for item in page.info)
    assert (page.selectbox(key="x_root").value, page.selectbox(key="x_root").disabled) == ("Tom", True)
    page.text_area(key="x_text").set_value(EIGHT).run()
    assert errors(page) == ""
    assert not page.selectbox(key="x_root").disabled


@pytest.mark.parametrize(
    ("candidates", "said"), [(("c", "b"), "both"), (("e", "f"), "neither"), (("c", "c"), "both candidates")]
)
def test_a_question_that_cannot_be_asked(candidates: tuple[str, str], said: str) -> None:
    page = start(**custom(EIGHT, root="Tom", candidates=candidates))
    assert said in errors(page)
    assert len(page.get("echarts_chart")) == 7


README_GRAPH = "Tom terpus\nTom brimpus\nterpus lempus\nbrimpus gorpus\nlempus zumpus\nEva yumpus\nyumpus rompus\n"


def test_another_graph_gets_a_question_that_can_be_asked() -> None:
    page = start(**FEW)
    page.segmented_control(key="x_source").set_value("custom").run()
    for text in (README_GRAPH, "Tom a\nEva c\nIs Tom a Tom or c?", "Tom,a\na,b\nEva,c\nc,d"):
        page.text_area(key="x_text").set_value(text).run()
    assert errors(page) == ""
    assert {page.selectbox(key="x_first").value, page.selectbox(key="x_second").value} == {"b", "d"}
    page.text_area(key="x_text").set_value(README_GRAPH).run()
    assert errors(page) == ""
    page.text_area(key="x_text").set_value("\n".join(f"n{i} n{i + 1}" for i in range(500))).run()
    assert "501 nodes" in errors(page)
    assert len(page.error) == 1


def test_another_root_brings_candidates_that_fit_it() -> None:
    page = start(**custom(EIGHT, root="Tom", candidates=("c", "f")))
    page.selectbox(key="x_root").select("Ada").run()
    assert errors(page) == ""
    assert {page.selectbox(key="x_first").value, page.selectbox(key="x_second").value} == {"c", "f"}
    page.selectbox(key="x_root").select("a").run()
    assert "Is **a** a" in texts(page)


def test_the_edge_table_begins_with_the_typed_graph() -> None:
    page = start(**custom(EIGHT, root="Tom", candidates=("c", "f")))
    page.segmented_control(key="x_mode").set_value("Table").run()
    assert errors(page) == ""
    table = page.session_state.x_table_base
    assert table.values.tolist() == [line.split() for line in EIGHT.splitlines()]
    page.segmented_control(key="x_mode").set_value("Text").run()
    assert page.text_area(key="x_text").value.split() == EIGHT.split()


def test_names_are_shown_character_by_character() -> None:
    lines = ["<b>Tom</b> -> **x**", "**x** -> :red[y]", "Ada -> مرحبا 🥥"]
    page = start(**custom("\n".join(lines), root="<b>Tom</b>", candidates=(":red[y]", "مرحبا 🥥")))
    assert errors(page) == ""
    shown = "\n".join(item.value for item in page.markdown)
    assert r"\<b\>Tom\<\/b\>" in shown
    assert r"\:red\[y\]" in shown


def test_a_graph_too_large_for_the_model_is_said() -> None:
    lines = [f"n{i} n{i + 1}" for i in range(45)]
    page = start(**custom("\n".join([*lines, "p q"]), root="n0", candidates=("n45", "q")))
    assert "48 nodes; prosqa-symbol-2l has 40 node slots" in errors(page)
    assert [page.selectbox(key=f"x_{of}").value for of in ("root", "first", "second")] == ["n0", "n45", "q"]
    assert page.segmented_control(key="x_source").value == "custom"


# --- model and prompt samples


def test_intervals_need_more_than_one_prompt_sample(opened: AppTest) -> None:
    assert "single prompt sample" in texts(opened)
    opened.number_input(key="x_samples").set_value(4).run()
    assert "of 4 prompt samples" in texts(opened)
    opened.number_input(key="x_sample_seed").set_value(3).run()
    assert errors(opened) == ""


@pytest.mark.parametrize("path", ["/no/such/folder", "."])
def test_a_checkpoint_that_is_none_is_said(path: str) -> None:
    page = start(checkpoint=path, **FEW)
    assert "config.json" in errors(page)
    page.selectbox(key="x_checkpoint").select("prosqa-symbol-2l").run()
    assert errors(page) == ""
    assert len(page.get("echarts_chart")) == 7


def test_a_wrong_path_leaves_the_picture_of_before(opened: AppTest) -> None:
    opened.selectbox(key="x_checkpoint").select("prosqa-tiny").run()
    asked = next(text for text in texts(opened).splitlines() if "Is **" in text)
    opened.selectbox(key="x_checkpoint").select_index(-1).run()
    opened.text_input(key="x_folder").set_value("/no/such/folder").run()
    assert "config.json" in errors(opened)
    assert len(opened.error) == 1
    assert any("previous problem" in item.value for item in opened.info)
    assert asked in texts(opened)
    assert len(opened.get("echarts_chart")) == 7


def test_another_folder_waits_for_its_path(opened: AppTest) -> None:
    opened.selectbox(key="x_checkpoint").select_index(-1).run()
    assert errors(opened) == ""
    assert len(opened.get("echarts_chart")) == 7


def test_a_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    from model.checkpoint import DEFAULT_CHECKPOINT

    (tmp_path / "config.json").write_bytes((DEFAULT_CHECKPOINT / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((DEFAULT_CHECKPOINT / "model.safetensors").read_bytes()[:1000])
    page = start(checkpoint=str(tmp_path), **FEW)
    assert "damaged" in errors(page)


# --- links and files


def test_a_link_restores_the_whole_view() -> None:
    view = View(
        source="custom", text=EIGHT, root="Ada", candidates=("f", "c"), pad=False, samples=2, sample_seed=5,
        value="cosine", k=2, node=3,
    )  # fmt: skip
    page = start(**view.encode())
    assert errors(page) == ""
    link = next(item.value for item in page.code)
    assert link.partition("?")[2].split("&") == [f"{k}={v}" for k, v in view.encode().items()]
    assert "Is **Ada** a" in texts(page)
    assert page.select_slider(key="x_k").value == 2
    assert page.segmented_control(key="x_value").value == "cosine"


@pytest.mark.parametrize(
    "params", [{"k": "<script>"}, {"source": "custom", "graph": "AAAA"}, {"source": "elsewhere"}, {"nodes": "1"}]
)
def test_a_damaged_link_is_one_sentence_and_the_example(params: dict[str, str]) -> None:
    page = start(**params)
    assert "Showing the example instead" in errors(page)
    assert len(page.get("echarts_chart")) == 7


def test_a_link_beyond_the_model_is_brought_into_range() -> None:
    page = start(k="50", node="600", **FEW)
    assert errors(page) == ""
    assert page.select_slider(key="x_k").value == 6


def test_every_format_is_offered(opened: AppTest) -> None:
    buttons = opened.get("download_button")
    labels = [item.proto.label for item in buttons if "-x_get_" in item.proto.id]
    assert labels == ["SVG", "PNG", "PDF", "HTML", "CSV", "The search, GIF", "JSON", "GraphML", "node-link"]
    for item in opened.get("echarts_chart"):  # every chart as a picture and as its numbers
        key = item.proto.id.split("-")[-1]
        files = [item.proto.label for item in buttons if f"-{key}_" in item.proto.id]
        assert files == ["SVG", "PNG", "CSV", "JSON"], key


def test_the_view_is_still_there_after_a_visit_to_another_page() -> None:
    page = start(**custom(EIGHT, root="Tom", candidates=("c", "f"), k=2, value="logit", node=4))
    page.switch_page("training/training.py").run()
    page.switch_page("explore/explore.py").run()
    assert errors(page) == ""
    assert "Is **Tom** a" in texts(page)
    assert page.select_slider(key="x_k").value == 2
    assert page.segmented_control(key="x_value").value == "logit"
    assert page.session_state.x_node == 4


def test_every_shipped_checkpoint_opens_on_an_example_that_fits_it(opened: AppTest) -> None:
    page = opened
    for name in page.selectbox(key="x_checkpoint").options[:-1]:
        page.selectbox(key="x_checkpoint").select(name).run()
        assert errors(page) == "", name
        assert len(graph(page)["series"][0]["data"]) > 4


def test_the_view_is_kept_from_page_to_page(opened: AppTest) -> None:
    page = opened
    page.segmented_control(key="x_source").set_value("generated").run()
    page.number_input(key="x_seed").set_value(7).run()
    page.select_slider(key="x_k").set_value(3).run()
    asked = next(text for text in texts(page).splitlines() if "Is **" in text)
    page.switch_page("intervene/intervene.py").run()
    assert errors(page) == ""
    assert not page.exception
    assert page.segmented_control(key="x_source").value == "generated"
    assert page.number_input(key="x_seed").value == 7
    page.switch_page("explore/explore.py").run()
    assert not page.exception
    assert page.select_slider(key="x_k").value == 3
    assert asked in texts(page)


def test_thoughts_can_follow_the_problem() -> None:
    """As many thoughts as hops, by a link and by the sidebar; the link holds it."""
    page = start(thoughts="hops", source="generated", hops="4", seed="3", **FEW)
    assert page.select_slider(key="x_k").max == 4
    page.selectbox(key="x_thoughts").set_value("hops+1").run()
    assert page.select_slider(key="x_k").max == 5
    page.selectbox(key="x_thoughts").set_value("2").run()
    assert page.select_slider(key="x_k").max == 2
    assert View.decode(View(thoughts="hops+1").encode()).thoughts == "hops+1"
    with pytest.raises(InputError, match="trained, hops, hops"):
        View.decode({"thoughts": "hops+9"})


@pytest.mark.parametrize("kind", ["slots", "english"])
def test_a_run_is_shown_in_words_and_layer_by_layer(kind: str, tmp_path: Path) -> None:
    """Of a slot model and of one that reads English, on an example that its positions hold."""
    folder = "prosqa-tiny"
    if kind == "english":
        folder = str(tmp_path / "model")
        checkpoint.save(english(), folder)
    page = start(checkpoint=folder, **FEW)
    assert errors(page) == ""
    before = len(charts(page))
    page = next(each for each in page.toggle if each.key == "x_words").set_value(True).run()
    assert errors(page) == ""
    assert len(charts(page)) == before + 3
    said = "\n".join(caption.value for caption in page.caption)
    assert "n = 1" in said
    assert "a guess has probability" in said


def test_words_beside_thoughts_on_one_problem() -> None:
    """Given no thought the model writes its steps: one node a word, where a thought holds several."""
    page = start(draws="4", k="1", against="words")
    assert not errors(page)
    assert "Word 2" in texts(page)
    assert "Word 2: writes " in texts(page)
    held, written = (
        [node for node in charts(page)[key]["series"][0]["data"] if node["name"]] for key in ("x_dag", "x_rival_dag")
    )
    assert len(held) > len(written) >= 1


# --- a second model, and a mind that is changed


def infos(page: AppTest) -> str:
    return "\n".join(item.value for item in page.info).replace("\\", "")


@pytest.mark.parametrize(
    ("checkpoint", "against", "unfit"),
    [("prosqa-symbol-2l", "prosqa-text", "prosqa-text"), ("prosqa-text", "prosqa-tiny", ""),
     ("prosqa-text", "prosqa-symbol-2l", ""), ("prosqa-tiny", "prosqa-text", "")],
)  # fmt: skip
def test_text_and_slots_are_compared_on_a_problem_that_both_can_take(checkpoint: str, against: str, unfit: str) -> None:
    page = start(checkpoint=checkpoint, against=against, **FEW)
    assert errors(page) == ""
    assert {"x_dag", "x_rival_dag"} <= set(charts(page))
    said = f"{unfit} cannot take this problem, so both are shown on the example of prosqa-text." if unfit else ""
    assert infos(page) == said
    names = {item["name"] for key in ("x_dag", "x_rival_dag") for item in charts(page)[key]["series"][1]["data"]}
    (n,) = {len(charts(page)[key]["series"][0]["data"]) for key in ("x_dag", "x_rival_dag")}
    assert len(names) == n  # both call nodes the same


@pytest.mark.parametrize("against", ["/no/such/folder", "prosqa-text"])
def test_a_second_model_that_cannot_be_shown_leaves_the_first(against: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "example", lambda name=None: example())  # too large for the text model
    page = start(against=against, **FEW)
    assert errors(page) == ""
    assert "The second model is not shown: " in infos(page)
    assert len(page.get("echarts_chart")) == 7


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"checkpoint": "prosqa-tiny-cot"}, "has no thoughts to edit"),
        ({"checkpoint": "prosqa-tiny-no-thought"}, "has no thoughts to edit"),
        (custom("Tom a\na b\nc d", root="Tom", candidates=("b", "c")), "no counterfactual question"),
        ({"thoughts": "2"}, "as many thoughts as in training, 6; here it is given 2"),
        ({"thoughts": "0"}, "as many thoughts as in training, 6; here it is given 0"),
        ({"thoughts": "hops"}, "as many thoughts as in training, 6; here it is given 4"),
    ],
)
def test_a_mind_that_cannot_be_changed_is_said_with_the_way_out(params: dict[str, str], said: str) -> None:
    page = start(mind="1", k="9", **(FEW | params))
    assert errors(page) == ""
    assert said in infos(page)
    assert "x_dag" in charts(page)
    assert "answer" in texts(page)
    page.button(key="x_change").click().run()
    assert errors(page) == ""
    assert infos(page) == ""
    assert not page.session_state.x_mind


def test_a_mind_changed_says_of_how_many_prompt_samples_and_what_is_put_aside() -> None:
    page = start(mind="1", k="6", against="untrained")
    assert errors(page) == ""
    assert "answer flips] from **lempus** to **rempus**, > 99.9 % (4 of 4 prompt samples)" in texts(page)
    said = "\n".join(item.value for item in page.caption)
    assert "means of 4 prompt samples, one search of 16." in said
    assert "The comparison with its untrained control is put aside" in said
    page.selectbox(key="x_checkpoint").select("prosqa-tiny-cot").run()
    assert "has no thoughts to edit" in infos(page)
    page = start(mind="1", draws="2")
    assert "means of 2 prompt samples. " in "\n".join(item.value for item in page.caption)


def test_at_chance_no_candidate_is_named_on_any_page() -> None:
    chances = r"at chance\]?: P\(\*?\*?lempus\*?\*?\) = \.\d\d[^,]*(, .\d+\])?, P\(\*?\*?rempus\*?\*?\) = \.\d\d"
    explore = start(checkpoint="prosqa-gap-pause", k="6")
    assert re.search(chances, texts(explore))
    assert "answers **" not in texts(explore)
    mind = start(checkpoint="prosqa-gap-pause", k="6", mind="1")
    assert re.search(f"Still {chances}", texts(mind))
    assert "to at chance" not in texts(mind)
    mind.switch_page("intervene/intervene.py").run()
    assert errors(mind) == ""
    assert re.search(rf"\*\*Before:\*\* {chances}", texts(mind))


def test_every_term_of_a_caption_is_explained_behind_it() -> None:
    assert explained("Mean, n = 4") is None
    found = explained("the frontier, read by the logit lens") or ""
    assert "**frontier**" in found
    assert "**logit lens**" in found


def test_a_checkpoint_of_the_public_code_is_opened_where_a_path_is_typed_or_said_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "RUNS", tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    file = saved(tmp_path / "pause.pt", upstream(base()) | {"pause_embedding": torch.ones(WIDTH)})
    page = start(checkpoint=str(file), **FEW)
    assert "--thoughts" in errors(page)
    assert "python -m model import" in errors(page)
    page = start(checkpoint="somebody/coconut", **FEW)
    assert "somebody/coconut: no such file or folder here" in errors(page)
    assert not (tmp_path / "imported").exists()
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=256, n_embd=768, n_layer=2, n_head=8))
    page = start(checkpoint=str(saved(tmp_path / "checkpoint_300", upstream(theirs))), **FEW)
    assert errors(page) == ""
    (made,) = (tmp_path / "imported").iterdir()
    assert checkpoint.load_config(made).imported == "superposition"


def test_the_gallery_keeps_what_it_promises() -> None:
    def of(name: str) -> ProbeReport:
        view = GALLERY[name][1]
        loaded = compute.load(view.checkpoint)
        problem = compute.generated(view.kind, view.hops, view.nodes, view.seed)
        return compute.report(loaded, problem, samples=view.samples, seed=view.sample_seed, pad=view.pad)

    wrong, shortcut = of("A wrong answer"), of("The shortcut fails")
    assert {GALLERY[name][1].k for name in ("A wrong answer", "The shortcut fails", "The smallest")} == {6}
    assert wrong.n_thoughts == shortcut.n_thoughts == 6  # these open on the answer
    assert leaning(round(wrong.answers[-1].written_neg_target * wrong.n_samples), wrong.n_samples) > 0
    assert shortcut.shortcut_baseline == "neg_target"
    assert shortcut.answers[-1].written_target == 1
    text = of("A text model")
    assert text.answers[-1].written_target == 1
    assert text.answers[0].p_target.value < text.answers[-1].p_target.value
    family = read_graph(FAMILY).ask()
    own = compute.report(compute.load(View().checkpoint), family, samples=16, seed=0, pad=True)
    assert family.idx_to_symbol[family.target] == "sibling"
    assert own.answers[-1].written_target == 1


def test_a_chain_of_thought_writes_its_steps_beside_thoughts() -> None:
    view = GALLERY["Words against thoughts"][1]
    problem = compute.generated(view.kind, view.hops, view.nodes, view.seed)
    thinks, writes = (
        compute.report(compute.load(name), problem, samples=16, seed=0, pad=True)
        for name in (view.checkpoint, view.against)
    )
    assert thinks.n_thoughts == 2
    assert writes.n_thoughts == 0
    assert writes.chains
    assert thinks.answers[-1].written_target == writes.answers[-1].written_target == 1
    said = texts(start(**view.encode()))
    assert "in 16 of 16 prompt samples after it has written its steps; P(" in said
    assert "if it must answer before it writes its steps" in said


def test_a_model_of_questions_without_a_graph_shows_what_there_is(tmp_path: Path) -> None:
    """GSM's: the run in words, the answer after each thought beside zeroed thoughts, and where nothing can be shown."""
    codec = TextCodec()
    config = CoconutConfig(
        n_layer=1, n_head=2, n_embd=16, n_positions=96, vocab_size=codec.vocab_size, codec=codec.name,
        trained_stage=2, task="gsm",
    )  # fmt: skip
    checkpoint.save(checkpoint.untrained(config), tmp_path / "gsm")
    page = start(checkpoint=str(tmp_path / "gsm"), question="Is Alex a wumpus?", k="9")
    assert errors(page) == ""
    assert page.text_area(key="x_question").value == "Is Alex a wumpus?"
    assert "After 2 of 2 thoughts the model answers" in texts(page)  # a link's k is no more than there are thoughts
    assert "all thoughts fed as zeros" in texts(page)
    assert not [box for box in page.sidebar.text_area if box.key == "x_text"]
    # Neither prompt samples nor a second model mean anything here.
    asked = {box.key for kind in (page.sidebar.selectbox, page.sidebar.number_input) for box in kind}
    assert not asked & {"x_samples", "x_sample_seed", "x_thoughts", "x_rival"}
    assert {spec["series"][0]["type"] for spec in charts(page).values()} >= {"heatmap"}
    page.text_area(key="x_question").set_value("Is Alex a wumpus?||<<1+1=2>> #### wumpus").run()
    assert errors(page) == ""
    assert any("most probable of 20 others" in json.dumps(spec) for spec in charts(page).values())
    page.text_area(key="x_question").set_value("||").run()
    assert "question" in errors(page)
    page.switch_page("intervene/intervene.py").run()
    assert "no graph is known" in errors(page)


def test_a_page_that_is_drawn_again_reads_no_config_again(monkeypatch: pytest.MonkeyPatch) -> None:
    page, read = start(), []
    monkeypatch.setattr(checkpoint, "load_config", read.append)
    page.run()
    assert errors(page) == ""
    assert read == []


def test_the_page_says_what_passes_are_in_and_the_environment_decides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in ("bfloat16", "float32"):
        monkeypatch.setenv(compute.PRECISION, wanted)
        compute._load.clear()
        page = start(**FEW)
        assert errors(page) == ""
        assert f"Passes in {wanted}." in "\n".join(item.value for item in page.caption)
        loaded = compute.load("prosqa-symbol-2l")
        assert loaded.model.precision == loaded.control.precision == wanted
        report = compute.report(loaded, example(), samples=1, seed=0, pad=True)
        assert f"passes in {wanted}".encode() in export_report(report, "dag", "html")  # as the page's files
    # Auto is settled once: a model opened again gives the same numbers, however busy the processor is now.
    monkeypatch.setenv(compute.PRECISION, "auto")
    compute._precision.clear()
    before = compute._load.clear() or compute.load("prosqa-symbol-2l").model.precision
    monkeypatch.setattr("model.precision.worth_it", lambda model: before == "float32")
    compute._load.clear()
    assert compute.load("prosqa-symbol-2l").model.precision == before
    monkeypatch.setenv(compute.PRECISION, "float8")
    compute._load.clear()
    assert "COCONUT_PRECISION" in errors(start(**FEW))
    compute._load.clear()


@pytest.mark.parametrize("style", [STYLE, PRESENTING])
def test_no_rule_of_the_style_makes_the_browser_search_every_drawing(style: str) -> None:
    """Such rules doubled the time of a move of the slider: a browser tries them on every part of every drawing."""
    assert not re.findall(r":has\((?!>)", style)
    assert not re.findall(r"\*=[^{},]*> \*", style)
