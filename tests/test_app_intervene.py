"""Intervene under Streamlit's AppTest: presets, clicks' keyboard path, composing, undo, links, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import torch
from streamlit.testing.v1 import AppTest

from app import compute
from app.compute import example
from app.intervene.state import CLICKED, TYPED, Lab, hands
from model.checkpoint import CHECKPOINTS, load_config, save
from model.coconut import CoconutGPT2
from model.errors import InputError
from probing.draw.marks import contrast
from probing.edit.kinds import KINDS, Kind

MAIN = str(Path(__file__).parent.parent / "app" / "pages.py")


def start(**params: str) -> AppTest:
    page = AppTest.from_file(MAIN, default_timeout=120)
    for name, value in ({"draws": "1"} | params).items():
        page.query_params[name] = value
    page.switch_page("intervene/intervene.py")
    return page.run()


def texts(page: AppTest) -> str:
    return "\n".join(item.value for item in (*page.markdown, *page.caption)).replace("\\", "").replace("\u00a0", " ")


def errors(page: AppTest) -> str:
    assert not page.exception, page.exception[0].message
    return "\n".join(item.value for item in page.error).replace("\\", "").replace("\u00a0", " ")


def after(page: AppTest) -> str:
    """The sentence with the answer after the edit."""
    return next(line for line in texts(page).splitlines() if line.startswith("**Before:**")).partition("**After")[2]


def chart(page: AppTest, key: str) -> dict:
    """The option object of a chart."""
    return json.loads(next(c.proto.spec for c in page.get("echarts_chart") if c.proto.id.endswith(f"-{key}")))


def marked(page: AppTest) -> list[str]:
    """The presets that are shown as active."""
    return [b.key for b in page.button if str(b.key).startswith("i_preset_") and b.proto.type == "primary"]


def press(page: AppTest, key: str) -> AppTest:
    page.button(key=key).click().run()
    assert errors(page) == ""
    return page


@pytest.fixture
def opened() -> AppTest:
    page = start()
    assert errors(page) == ""
    return page


def names() -> tuple[str, str]:
    problem = example()
    return problem.idx_to_symbol[problem.target], problem.idx_to_symbol[problem.neg_target]


def test_opens_with_an_invitation_and_a_preset_ready(opened: AppTest) -> None:
    assert "Flip the answer by hand." in texts(opened)
    assert "Nothing is edited yet" in texts(opened)
    assert opened.session_state.i_edit == ""
    assert opened.multiselect(key="i_out").value == ["target-branch"]
    assert not opened.button(key="i_preset_swap").disabled
    assert opened.button(key="i_undo").disabled


def test_swapping_branches_flips_the_answer_and_a_random_direction_does_not(opened: AppTest) -> None:
    target, other = names()
    press(opened, "i_preset_swap")
    assert f"swapping the branches in thought 1:** **{other}**" in after(opened)
    assert "answer flips" in texts(opened)
    assert "random direction, same length" not in texts(opened)  # the controls are told once, by their chart
    behind = {
        row["name"] for series in chart(opened, "i_effects")["series"] for row in series["data"] if row.get("name")
    }
    assert {"0 of 1", "1 of 1"} <= behind
    press(opened, "i_preset_random")
    assert f":** **{target}**" in after(opened)
    assert "answer unchanged" in texts(opened)
    press(opened, "i_undo")
    assert f":** **{other}**" in after(opened)
    press(opened, "i_undo")
    assert "Nothing is edited yet" in texts(opened)
    press(opened, "i_redo")
    assert f":** **{other}**" in after(opened)


def test_a_new_kind_of_edit_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Kind("negate", "turn it around", "negating {where}", lambda site: site.toward(torch.neg), hand="Turn around")
    monkeypatch.setitem(KINDS, row.name, row)
    page = start()
    assert "Turn around" in page.selectbox(key="i_kind").options
    page.selectbox(key="i_kind").set_value("negate").run()
    assert errors(page) == ""
    assert page.session_state.i_edit == "negate:t=1,strength=1.5"
    assert "negating thought 1:**" in after(page)


def test_every_kind_on_the_list_runs_with_what_it_starts_from(opened: AppTest) -> None:
    for name in filter(lambda name: name != TYPED, hands()):
        opened.selectbox(key="i_kind").set_value(name).run()
        assert errors(opened) == ""
        if name != CLICKED:  # it is ready already, but Nothing is edited yet
            assert opened.session_state.i_edit.startswith(f"{name}:")
            assert "**Before:**" in texts(opened)


def test_every_chart_has_its_files(opened: AppTest) -> None:
    press(opened, "i_preset_swap")
    keys = {button.key for button in opened.get("download_button")}
    for chart in ("i_before", "i_after", "i_effects", "i_searches", "i_drift", "i_changes"):
        assert {f"{chart}_{format}" for format in ("svg", "png", "csv", "json")} <= keys
    assert {f"i_get_{format}" for format in ("svg", "png", "pdf", "html", "csv", "json")} <= keys


def test_links_round_trip() -> None:
    for lab in (
        Lab(),
        Lab(edit="swap:t=1,strength=1.5", shown=0, value="weight", against="untrained"),
        Lab(samples=16),
        Lab(edit="swap:t=1+3,to=other-branch"),
    ):
        query = urlsplit(lab.url("http://localhost:8501/intervene")).query
        assert Lab.decode(dict(parse_qsl(query))) == lab
    assert Lab.decode({"edit": "swap:t=1 3"}).edit == "swap:t=1+3"  # as earlier links, with a bare +, are read


def node_of_the_other_branch() -> str:
    problem = example()
    other = problem.counterfactual
    assert other is not None
    return problem.idx_to_symbol[min(other.frontier(1) & problem.leads_to(problem.neg_target) - problem.reachable)]


def test_a_thought_composed_of_one_node_of_the_other_branch_turns_the_answer(opened: AppTest) -> None:
    target, other = names()
    press(opened, "i_preset_compose")
    assert f"writing an empty thought 1:** **{target}**" in after(opened)  # what every sample answers, whatever P is
    assert "answer unchanged" in texts(opened)
    node = node_of_the_other_branch()
    opened.multiselect(key="i_out").set_value([node]).run()
    assert opened.session_state.i_edit == f"write:t=1,nodes={node}"
    assert f":** **{other}**" in after(opened)
    assert "the search itself would not hold it in thought 1" in opened.warning[0].value
    opened.segmented_control(key="i_show").set_value(3).run()
    assert "thought 3" in texts(opened)
    assert errors(opened) == ""


def test_widgets_and_text_are_two_ways_of_writing_one_edit(opened: AppTest) -> None:
    node = node_of_the_other_branch()
    opened.text_input(key="i_text").input(f"swap:t=2,to={node},strength=2").run()
    assert opened.pills(key="i_thoughts").value == [2]
    assert opened.multiselect(key="i_in").value == [node]
    assert opened.slider(key="i_coefficient").value == 2
    opened.slider(key="i_coefficient").set_value(0.5).run()
    opened.multiselect(key="i_in").set_value([]).run()
    opened.pills(key="i_thoughts").set_value([1, 2]).run()
    assert opened.text_input(key="i_text").value == "remove:t=1+2,strength=0.5"
    assert errors(opened) == ""
    press(opened, "i_clear")
    assert "Nothing is edited yet" in texts(opened)
    press(opened, "i_undo")
    assert opened.session_state.i_edit == "remove:t=1+2,strength=0.5"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("swap:t=1,strength=nan", "strength must be a number"),
        ("swap:t=1,strength=inf", "strength must be a number"),
        ("swap:t=99", "thought 99 is out of range"),
        ("remove:t=1,nodes=Nobody", "node 'Nobody' is not in the graph"),
        ("add:t=1,nodes=Bob&remove:t=1,nodes=Bob", "contradicting edits of thought 1"),
        ("remove:t=1&zero:t=1", "contradicting edits of thought 1"),
        ("swap:t=5", "empty at that thought"),
        ("nonsense", "edit 'nonsense' is unknown"),
    ],
)
def test_bad_edits_are_one_sentence_and_the_page_stays(text: str, sentence: str, opened: AppTest) -> None:
    opened.text_input(key="i_text").input(text).run()
    press(opened, "i_preset_swap")
    opened.text_input(key="i_text").input(text).run()
    assert sentence in errors(opened)
    assert len(opened.error) == 1
    assert opened.text_input(key="i_text").value == text
    assert opened.session_state.i_edit.startswith("swap:t=1,strength")  # the last that could be made
    assert "answer flips" in texts(opened)
    opened.text_input(key="i_text").input("swap:t=1,strength=1000").run()
    assert len(opened.error) == 1


def test_fitting_directions_of_a_second_model_leaves_the_edit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(loaded) -> None:
        raise InputError(f"{loaded.name} is fitted")

    monkeypatch.setattr(compute, "fitted_here", refuse)
    page = start(draws="1", edit="swap:t=1", against="untrained")
    edit = page.session_state.i_edit
    page.button(key="i_fit_untrained").click().run()
    assert errors(page) == "Second checkpoint: untrained is fitted"
    assert page.session_state.i_edit == edit
    assert page.session_state.i_estimator == "ridge"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"edit": "swap:t=1,strength=nan"}, "The link's edit is not one"),
        ({"edit": "swap:t=1", "show": "-1"}, "The link's show is '-1'"),
        ({"by": "magic"}, "The link's by is 'magic'"),
        ({"source": "custom", "graph": "x"}, "graph in the link is damaged"),
    ],
)
def test_a_damaged_link_is_one_sentence(params: dict[str, str], sentence: str) -> None:
    page = start(**params)
    assert sentence in errors(page)
    assert len(page.error) == 1
    assert "Flip the answer by hand." in texts(page)


def test_a_link_restores_the_edit() -> None:
    page = start(edit="swap:t=2,strength=1.5", show="3", by="weight")
    assert errors(page) == ""
    assert f"swapping the branches in thought 2:** **{names()[1]}**" in after(page)
    assert page.segmented_control(key="i_show").value == 3
    assert page.segmented_control(key="i_value").value == "weight"


def test_without_another_root_the_reason_is_said() -> None:
    lab = Lab(source="custom", text="Tom a\na b\nAda a\nAda c", root="Tom", candidates=("b", "c"), samples=1)
    page = start(**lab.encode())
    assert errors(page) == ""
    assert page.button(key="i_preset_transplant").disabled
    assert page.button(key="i_preset_swap").disabled
    assert "No other root" in page.button(key="i_preset_swap").help
    press(page, "i_preset_cut")


def test_a_checkpoint_without_directions_offers_what_it_can(tiny: CoconutGPT2, tmp_path: Path) -> None:
    save(tiny, tmp_path / "bare")
    page = start(checkpoint=str(tmp_path / "bare"))
    assert errors(page) == ""
    assert "No node directions are stored for bare" in page.info[0].value
    assert page.button(key="i_preset_swap").disabled
    press(page, "i_preset_transplant")
    assert "transplanting thought 1" in after(page)
    press(page, "i_fit_bare")
    assert page.selectbox(key="i_estimator").value == "unembedding"
    press(page, "i_preset_swap")


def test_a_second_checkpoint_stands_beside_the_controls() -> None:
    page = start(edit="transplant:t=1", against="untrained")
    assert errors(page) == ""
    chart = next(json.loads(c.proto.spec) for c in page.get("echarts_chart") if "untrained, the edit" in c.proto.spec)
    assert [row["value"] for row in chart["yAxis"][0]["data"]][-2:] == ["untrained, before", "untrained, the edit"]


def test_the_edit_is_still_there_after_a_visit_to_another_page(opened: AppTest) -> None:
    press(opened, "i_preset_swap")
    opened.switch_page("training/training.py").run()
    assert errors(opened) == ""
    opened.switch_page("intervene/intervene.py").run()
    assert f":** **{names()[1]}**" in after(opened)
    assert opened.multiselect(key="i_in").value == ["other-branch"]
    assert opened.number_input(key="i_samples").value == 1


@pytest.mark.parametrize("name", compute.shipped())
def test_every_shipped_checkpoint_opens_or_says_why_not(name: str) -> None:
    page = start(checkpoint=name)
    if load_config(CHECKPOINTS / name).n_thoughts:
        assert errors(page) == ""
        press(page, "i_preset_swap")
    else:
        assert "has no thoughts to edit" in errors(page)
        assert len(page.error) == 1


def test_only_the_active_preset_is_marked_in_whatever_words(opened: AppTest) -> None:
    assert marked(opened) == []
    assert "Press **Swap branches (steer)**" in texts(opened)  # the usual one is said, not shown as if pressed
    press(opened, "i_preset_swap")
    assert marked(opened) == ["i_preset_swap"]
    problem = example()
    (branch,) = problem.frontier(1) & problem.leads_to(problem.target)
    for text, active in (
        ("swap:t=1", ["i_preset_swap"]),
        ("swap:t=1+2,strength=2,to=other-branch", ["i_preset_swap"]),
        (f"remove:t=1,nodes={problem.idx_to_symbol[branch]}", ["i_preset_cut"]),
        ("remove:t=1,nodes=rest", []),
        ("swap:t=1,strength=-1", []),
        ("swap:t=1&remove:t=2", []),
    ):
        opened.text_input(key="i_text").input(text).run()
        assert (errors(opened), marked(opened)) == ("", active), text


def test_the_strip_says_what_its_rows_and_empty_cells_are(opened: AppTest) -> None:
    problem = example()
    press(opened, "i_preset_swap")
    (cells,) = chart(opened, "i_strip")["series"]
    shown = {tuple(cell["value"][:2]): cell["label"]["formatter"] for cell in cells["data"]}
    over = {column for (column, row), text in shown.items() if text == "over"}
    assert over == {column for column in range(6) if not problem.frontier(column + 1)}
    assert all(shown.values())
    assert "so the two may add to more than 1" in texts(opened)
    assert "*over*: the search is over" in texts(opened)


def test_signs_of_what_is_added_and_removed_can_be_read(opened: AppTest) -> None:
    press(opened, "i_preset_swap")
    assert [opened.multiselect(key=key).label for key in ("i_out", "i_in")] == ["Remove", "Add"]
    (badges,) = (series for series in chart(opened, "i_after")["series"] if series["id"] == "badges")
    assert {badge["name"] for badge in badges["data"]} == {"+", "−"}
    for badge in badges["data"]:
        assert badge["itemStyle"]["opacity"] == 1  # ECharts' own is .8
        assert contrast(badge["label"]["color"], badge["itemStyle"]["color"]) >= 4.5


def test_why_there_are_fewer_prompt_samples_than_on_explore_is_said(opened: AppTest) -> None:
    assert "R is smaller here than on Explore" in texts(opened)


def test_explore_keeps_its_own_number_of_prompt_samples() -> None:
    page = start(draws="2", source="generated", seed="3")
    page.switch_page("explore/explore.py").run()
    assert not page.exception
    assert (page.session_state.x_samples, page.session_state.x_seed, page.session_state.x_source) == (
        16,
        3,
        "generated",
    )
    page.number_input(key="x_samples").set_value(5).run()
    page.switch_page("intervene/intervene.py").run()
    assert page.number_input(key="i_samples").value == 2
    page.switch_page("explore/explore.py").run()
    assert page.number_input(key="x_samples").value == 5
