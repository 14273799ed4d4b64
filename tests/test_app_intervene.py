"""Intervene under Streamlit's AppTest: presets, clicks' keyboard path, composing, undo, links, bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.compute import example
from app.lab_links import Lab, decode, encode

MAIN = str(Path(__file__).parent.parent / "app" / "main.py")


def start(**params: str) -> AppTest:
    page = AppTest.from_file(MAIN, default_timeout=120)
    for name, value in ({"draws": "1"} | params).items():
        page.query_params[name] = value
    page.switch_page("app_pages/intervene.py")
    return page.run()


def texts(page: AppTest) -> str:
    return "\n".join(item.value for item in (*page.markdown, *page.caption)).replace("\\", "")


def errors(page: AppTest) -> str:
    assert not page.exception, page.exception[0].message
    return "\n".join(item.value for item in page.error).replace("\\", "")


def after(page: AppTest) -> str:
    """The sentence with the answer after the edit."""
    return next(line for line in texts(page).splitlines() if line.startswith("**Before:**")).partition("**After")[2]


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
    assert "nothing is edited yet" in texts(opened)
    assert opened.session_state.i_edit == ""
    assert opened.multiselect(key="i_out").value == ["target-branch"]
    assert not opened.button(key="i_preset_swap").disabled
    assert opened.button(key="i_undo").disabled


def test_swapping_branches_flips_the_answer_and_a_random_direction_does_not(opened: AppTest) -> None:
    target, other = names()
    press(opened, "i_preset_swap")
    assert f"swapping the branches in thought 1:** **{other}**" in after(opened)
    assert "the answer follows" in texts(opened)
    assert "random direction, same length 0 of 1" in texts(opened)
    press(opened, "i_preset_random")
    assert f":** **{target}**" in after(opened)
    assert "the answer stays" in texts(opened)
    press(opened, "i_undo")
    assert f":** **{other}**" in after(opened)
    press(opened, "i_undo")
    assert "nothing is edited yet" in texts(opened)
    press(opened, "i_redo")
    assert f":** **{other}**" in after(opened)


def test_links_round_trip() -> None:
    for lab in (Lab(), Lab(edit="swap:t=1,strength=1.5", shown=0, value="weight", against="untrained")):
        assert decode(encode(lab)) == lab
