"""What only a browser can show: clicks in the graph, the slider, a link and a download, against one running server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from playwright.sync_api import TimeoutError
from served import BROWSER, PATIENCE, chromium, new_page, running_app, settled

from app.compute import example
from app.explore.state import View
from model.formats.graph import read_graph
from model.problems.prosqa import ProsQAProblem
from probing.draw.marks import contrast

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_app() as app:
        yield app.address


@pytest.fixture(scope="module")
def browser(address):
    with chromium() as opened:
        new_page(opened, 300, 200).goto(f"{address}/_stcore/health")  # the process stays as long as a page does
        yield opened


@pytest.fixture
def show(browser, address):
    """Opens a view and waits until it is drawn; no error may have been written to the console."""
    pages, complaints = [], []

    def opened(view: View):
        page = new_page(browser, 1440, 1100)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        pages.append(page)
        page.goto(view.url(address))
        page.get_by_role("slider", name="Thought").wait_for()
        page.locator(".st-key-x_dag svg text").first.wait_for()
        settled(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not complaints


def place(page, locator) -> dict[str, float]:
    """The box of an element once it has stood still for half a second: charts move in, and what is above grows."""
    locator.evaluate("element => element.scrollIntoView({ block: 'nearest' })")  # waits for nothing that is drawn anew
    found, still = locator.bounding_box(), 0
    while found is None or still < 5:
        page.wait_for_timeout(100)
        now = locator.bounding_box()
        found, still = now, still + 1 if now == found else 0
    return found


def click(page, x: float, y: float) -> None:
    """As a hand does: go there, let the chart draw what hovering changes, press, release."""
    page.mouse.move(x, y)
    page.wait_for_timeout(500)
    page.mouse.click(x, y, delay=50)


def chosen(page, name: str) -> None:
    """Until the node is the one in the list."""
    page.wait_for_function("name => document.querySelector('.st-key-x_node input').value === name", arg=name)


def stands(page, thought: str) -> None:
    """Until Explore's slider stands on a thought, and all is drawn."""
    page.locator(f"input[aria-label=Thought][aria-valuetext='{thought}']").wait_for(state="attached")
    settled(page)


def back(page, address: str, thought: str) -> None:
    """Press the browser's Back; the address, and the thought that it brings."""
    settled(page)
    page.go_back()
    assert page.evaluate("location.search") == address
    stands(page, thought)
    assert page.evaluate("location.search") == address


def address_is(page, wanted: str) -> None:
    """Wait until the address bar says so; what it says instead where it does not in time."""
    with suppress(TimeoutError):
        page.wait_for_function("address => location.search === address", arg=wanted, polling=50)
    assert page.evaluate("location.search") == wanted


def words(page, key: str) -> list[str]:
    return page.locator(f".st-key-{key} svg text").all_text_contents()


def test_a_click_on_a_node_shows_its_trajectory_and_survives_the_slider(show) -> None:
    page, problem = show(View(samples=2)), example()
    node = next(v for v in problem.frontier(2) if v not in (problem.root, problem.target))
    name = problem.idx_to_symbol[node]
    box = place(page, page.locator(".st-key-x_dag svg text", has_text=name))
    click(page, box["x"] + box["width"] / 2, box["y"] - 14)  # the node is above its name
    chosen(page, name)
    page.get_by_role("slider", name="Thought").press("ArrowRight")
    page.get_by_text("Thought 3: ").wait_for()
    settled(page)
    chosen(page, name)
    # Every card counts as the slider does.
    page.get_by_role("heading", name="Next token at thought 3").wait_for()
    page.get_by_text("Free generation after 3 thoughts").wait_for()
    for chart in ("x_parts", "x_trajectory"):
        counted = [word for word in words(page, chart) if word == "answer" or (word.isdigit() and word != "0")]
        assert [*map(str, range(1, 7)), "answer"] == [word for word in counted if word in "123456answer"][-7:], chart


def test_the_slider_moves_the_picture_by_keyboard(show) -> None:
    page = show(View(samples=2, k=0))
    before = words(page, "x_dag")
    for k in range(1, 6):
        page.get_by_role("slider", name="Thought").press("ArrowRight")
        page.get_by_text(re.compile(f"Thought {k + 1}[:,] ?")).first.wait_for()
    settled(page)
    page.get_by_text("search finished").wait_for()
    page.wait_for_timeout(600)
    after = words(page, "x_dag")
    assert before != after
    names = set(example().idx_to_symbol)
    assert [word for word in before if word in names] == [word for word in after if word in names]


def test_a_click_in_the_heatmap_goes_to_that_thought(show) -> None:
    page, problem = show(View(samples=2, k=0)), example()
    name = problem.idx_to_symbol[problem.target]
    row = place(page, page.locator(".st-key-x_stairs svg text", has_text=name))
    column = place(page, page.locator(".st-key-x_stairs svg text").get_by_text("4", exact=True))
    click(page, column["x"] + column["width"] / 2, row["y"] + row["height"] / 2)
    page.get_by_text("Thought 4: ").wait_for()
    # A name, a thought's number and the answer token's row are pressed as cells are; each keeps the other part.
    stairs = page.locator(".st-key-x_stairs svg text")
    other = problem.idx_to_symbol[min(problem.frontier(2))]
    for press, thought, node in ((other, "4", other), ("2", "2", other), (name, "2", name), ("4", "4", name)):
        word = place(page, stairs.get_by_text(press, exact=True))
        click(page, word["x"] + word["width"] / 2, word["y"] + word["height"] / 2)
        chosen(page, node)
        stands(page, thought)
    row = place(page, stairs.filter(has_text="[A]").first)
    click(page, column["x"] + column["width"] / 2 - 2 * 40, row["y"] + row["height"] / 2)
    page.wait_for_function("document.querySelector('input[aria-label=Thought]').getAttribute('aria-valuetext') !== '4'")
    settled(page)
    chosen(page, name)
    chosen(page, name)


def test_a_name_or_a_thought_of_the_text_is_chosen_by_click_or_key(show) -> None:
    page = show(View(checkpoint="prosqa-tiny", k=1, samples=1))
    page.get_by_text("In words: the run as text").click()
    page.locator(".strip [data-k='2']").click()
    page.locator(".strip [data-k='2'].on").wait_for()
    name = page.locator(".strip [data-node]").first
    node, said = name.get_attribute("data-node"), name.inner_text().strip()
    name.click()
    chosen(page, said)
    page.locator(".strip [data-k='0']").press("Enter")
    stands(page, "1")
    settled(page)
    assert f"node={node}" in page.evaluate("location.search")
    assert "k=0" in page.evaluate("location.search")


def test_the_link_on_the_page_restores_a_custom_graph_with_hostile_names(show) -> None:
    text = "<img src=x onerror=alert(1)> -> {b}\n{b} -> **c**\nAda -> مرحبا"
    view = View(
        source="custom", text=text, root="<img src=x onerror=alert(1)>", candidates=("**c**", "مرحبا"), samples=2, k=2,
    )  # fmt: skip
    page = show(view)
    page.get_by_role("button", name="Share", exact=True).click()
    page.mouse.move(2, 2)
    page.get_by_role("button", name="Copy to clipboard").wait_for()  # it need not be found by hovering
    link = page.locator("[data-testid=stCode] code").first.inner_text().strip()
    assert link == view.url(link.partition("?")[0])
    assert "{b}" in words(page, "x_dag")
    assert "onerror=alert(1)>" in page.get_by_role("heading", level=2).inner_text()
    assert page.locator("img[src=x]").count() == 0
    point = place(page, page.locator(".st-key-x_dag svg text", has_text="{b}"))
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] - 14)
    page.wait_for_timeout(500)
    assert page.locator("img[src=x]").count() == 0


def test_downloads_are_the_files_they_say(show, tmp_path) -> None:
    page, problem = show(View(samples=2)), example()
    page.get_by_role("button", name="Download", exact=True).click()
    for label, begins in (("SVG", b"<?xml"), ("PDF", b"%PDF"), ("GraphML", b"<?xml"), ("CSV", b"state,")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label, exact=True).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.read_bytes().startswith(begins), label
        if label == "GraphML":
            graph = read_graph(path.read_text(encoding="utf-8"))
            assert (graph.names, graph.root) == (problem.idx_to_symbol, problem.root)


def test_the_answer_is_flipped_by_clicks_alone(browser, address) -> None:
    page, problem = new_page(browser, 1440, 1300), example()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/intervene?draws=1")
    page.locator(".st-key-i_before svg text").first.wait_for()
    settled(page)
    other = problem.counterfactual
    assert other is not None
    (out,) = problem.frontier(1) & problem.leads_to(problem.target)
    (put,) = other.frontier(1) & problem.leads_to(problem.neg_target) - problem.reachable
    edit = page.get_by_role("textbox", name="Edit as text")
    for chart, node, text in (
        ("i_before", out, "remove:t=1"),
        ("i_after", put, "swap:t=1"),
    ):
        name = problem.idx_to_symbol[node]
        box = place(page, page.locator(f".st-key-{chart} svg text").get_by_text(name, exact=True))
        click(page, box["x"] + box["width"] / 2, box["y"] - 13)  # the node is above its name
        page.wait_for_function(
            "text => [...document.querySelectorAll('input')].some(i => i.value.startsWith(text))", arg=text
        )
        settled(page)
    assert "strength=1.5" in edit.input_value()
    page.get_by_text("answer flips").first.wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("answer flips").first.wait_for(state="hidden")
    page.get_by_role("button", name="Start over").click()
    page.get_by_role("button", name="Swap branches (steer)").click()
    page.get_by_text("answer flips").first.wait_for()
    page.get_by_role("link", name="Explore").click()
    page.locator(".st-key-x_dag svg text").first.wait_for()
    page.get_by_role("link", name="Intervene").click()
    page.get_by_text("answer flips").first.wait_for()
    page.close()
    assert not complaints


def test_a_run_from_ghost_to_staircase_and_the_link_to_each(browser, address) -> None:
    page = new_page(browser, 1366, 768)
    page.goto(f"{address}/training?run=prosqa-gap")
    page.get_by_role("button", name="See all of it in a second run").click()
    page.get_by_role("button", name="Pause").click()  # it plays by itself
    page.locator(".st-key-t_graph svg text").first.wait_for()
    # No folder of this machine; no moment either where it had played to its end.
    page.wait_for_function("/^([?]at=[0-9]+)?$/.test(location.search)", polling=50)
    settled(page)
    page.locator(".st-key-t_run [role=combobox], .st-key-t_run input").first.click()
    page.get_by_role("option", name="prosqa-symbol-2l", exact=True).click()
    page.get_by_text("the slider has its two ends").wait_for()
    page.locator(".st-key-t_graph svg text").get_by_text("Carol").wait_for()
    address_is(page, "?run=prosqa-symbol-2l")
    settled(page)
    page.go_back()
    page.locator(".st-key-t_graph svg text").first.wait_for()
    page.close()


@pytest.mark.parametrize(("width", "columns"), [(1366, 4), (390, 1)])
def test_the_gallery_of_dataset_is_of_small_cards_equally_high(browser, address, width, columns) -> None:
    page = new_page(browser, width, 768)
    page.goto(f"{address}/dataset")
    page.locator("[class*=st-key-d_thumb] svg path").first.wait_for()
    settled(page)
    charts, cards = (
        [item.bounding_box() for item in page.locator(f"[class*=st-key-{key}]").all()] for key in ("d_thumb", "d_open")
    )
    assert len({round(card["x"]) for card in cards}) == columns
    rows = sorted({round(card["y"]) for card in cards})
    assert len({round(below - above) for above, below in pairwise(rows)}) == 1
    assert all(card["height"] <= 200 for card in charts)
    page.close()


def test_two_models_stand_on_the_first_screen_with_both_candidates(browser, address) -> None:
    page, problem = new_page(browser, 1366, 768), example()
    target, other = (problem.idx_to_symbol[v] for v in (problem.target, problem.neg_target))
    page.goto(View(k=6, samples=16, against="prosqa-gap-pause").url(address))
    page.locator(".st-key-x_rival_dag svg text").first.wait_for()
    settled(page)
    for key in ("x_dag", "x_rival_dag"):
        for name in (target, other):
            drawn = page.locator(f".st-key-{key} svg text").get_by_text(name, exact=True).bounding_box()
            assert drawn["y"] + drawn["height"] <= 768, (key, name)
    one, two = (page.locator(f".st-key-{key} [data-testid=stEChartsChart]") for key in ("x_dag", "x_rival_dag"))
    assert one.bounding_box()["y"] == two.bounding_box()["y"]
    for name in (target, other):
        said = page.get_by_text(re.compile(rf"P\({name}\) = "))
        assert said.count() == 2, name  # once of each model
        assert all(line.bounding_box()["y"] < 768 for line in said.all())
    page.close()


def test_a_click_in_the_charts_of_training_goes_to_that_step(browser, address) -> None:
    page = new_page(browser, 1366, 1000)
    page.goto(f"{address}/training?run=prosqa-symbol-rerun")
    step = page.locator("input[aria-label='Training step']")
    for chart, share in (("t_auroc", 0.5), ("t_mass", 0.3)):
        page.locator(f".st-key-{chart} svg path").first.wait_for()
        settled(page)
        box = place(page, page.locator(f".st-key-{chart} [data-testid=stEChartsChart]"))
        before = step.get_attribute("aria-valuetext")
        click(page, box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        page.locator(f"input[aria-label='Training step']:not([aria-valuetext='{before}'])").wait_for(state="attached")
        settled(page)
        problems = int((step.get_attribute("aria-valuetext") or "").split()[0].replace(",", ""))
        assert abs(problems / 2_997_760 - share) < 0.12  # the plot begins right of its axis
    # A thought's number in the heatmap chooses that thought.
    number = place(page, page.locator(".st-key-t_stairs svg text").get_by_text("2", exact=True).first)
    click(page, number["x"] + number["width"] / 2, number["y"] + number["height"] / 2)
    page.get_by_role("heading", name="Frontier decoding, thought 2").wait_for()
    page.close()


def test_a_first_visitor_finds_nothing_broken(browser, address) -> None:
    """What was once broken, in one visit: the saved picture, narrow windows, cells of equal text, addresses in names,
    white on light blue, complaints in the console."""
    page = new_page(browser, 1024, 900)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: complaints.append(told.text) if "nvalid" in told.text else None)
    page.goto(f"{address}?draws=2&k=1")
    page.locator(".st-key-x_dag svg text").first.wait_for()
    settled(page)
    for width in (1024, 1180, 768, 360):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)
        drawn = place(page, page.locator(".st-key-x_dag [data-testid=stEChartsChart]").first)["width"]
        assert drawn >= min(440, width - 60), width
        top = page.evaluate(
            "document.querySelector('.st-key-x_dag').getBoundingClientRect().top"
            " + document.querySelector('[data-testid=stMain]').scrollTop"
        )
        assert top < 640, width  # the graph begins on the first screen of a phone
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    page.set_viewport_size({"width": 1440, "height": 1000})
    # The picture that the chart's own toolbar saves is XML.
    chart = page.locator(".st-key-x_dag")
    chart.hover()
    page.wait_for_timeout(400)
    tools, colours = (
        place(page, page.locator(f".st-key-{key}")) for key in ("x_dag [data-testid=stElementToolbar]", "x_value")
    )
    assert tools["y"] >= colours["y"] + colours["height"]  # they cover nothing that can be pressed
    with page.expect_download() as download:
        chart.get_by_role("button", name="Download as SVG").click()
    ElementTree.parse(download.value.path())
    # Two cells that print the same are two cells.
    problem = example()
    names = [problem.idx_to_symbol[v] for v in sorted(problem.frontier(2))]
    cells = page.locator(".st-key-x_stairs svg text")
    same = [name for name in names if name in ("rompus", "chorpus")]
    for name in same:
        row, column = place(page, cells.get_by_text(name, exact=True)), place(page, cells.get_by_text("2", exact=True))
        click(page, column["x"] + column["width"] / 2, row["y"] + row["height"] / 2)
        chosen(page, name)
    # What is drawn while the input is wrong is paler.
    page.goto(View(source="custom", text="a => b", samples=1).url(address))
    page.get_by_text("Showing the previous problem").wait_for()
    drawn = page.locator(".st-key-x_dag [data-testid=stEChartsChart]").first
    drawn.wait_for()
    assert float(drawn.evaluate("e => getComputedStyle(e).opacity")) < 0.5
    # An address in a name is no link.
    page.goto(View(source="custom", text="http://x.y a\nb c", candidates=("a", "c"), samples=1).url(address))
    page.locator(".st-key-x_dag svg text").first.wait_for()
    settled(page)
    assert page.locator("a[href*='x.y']").count() == 0
    page.close()
    dark = browser.new_page(color_scheme="dark")
    dark.goto(address)
    dark.locator(".st-key-x_play button").wait_for()
    settled(dark)
    ink, fill = dark.locator(".st-key-x_play button p").evaluate(
        "e => [getComputedStyle(e).color, getComputedStyle(e.closest('button')).backgroundColor]"
    )
    colours = ["#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", one)[:3]) for one in (ink, fill)]
    assert contrast(*colours) >= 4.5, colours
    dark.close()
    assert not complaints


READ = """() => {
  const parse = (text) => { const m = text.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1] }
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1)
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0)
  const skip = 'svg, style, script, [disabled], [aria-disabled=true], [data-testid=stIconMaterial]'
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = []
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement
    if (!text || !e || e.closest(skip) || e.closest('[data-testid^=stSliderThumb]')) continue
    if (e.getBoundingClientRect().width < 2 || !e.checkVisibility({ opacityProperty: true })) continue
    let ground = [255, 255, 255, 1], opacity = 1
    const line = []
    for (let x = e; x; x = x.parentElement) line.unshift(getComputedStyle(x))
    for (const style of line) {
      ground = over(parse(style.backgroundColor), ground)
      opacity *= Number(style.opacity)
    }
    const ink = parse(getComputedStyle(e).color)
    ink[3] *= opacity
    const [dark, bright] = [light(over(ink, ground)), light(ground)].sort((a, b) => a - b)
    if ((bright + 0.05) / (dark + 0.05) < 4.5) found.push(text.slice(0, 40))
  }
  return found
}"""
"""Texts of a page that are less than 4.5 : 1 on what is behind them."""


DRAWN_TEXTS = """() => {
  const parse = (text) => { const m = text.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1] }
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1)
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0)
  const page = parse(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor)
  const inked = (e) => {
    const style = getComputedStyle(e)
    if (style.fill === 'none') return null
    const ink = parse(style.fill)
    ink[3] *= Number(style.fillOpacity)
    for (let x = e; x.tagName !== 'DIV'; x = x.parentElement) ink[3] *= Number(getComputedStyle(x).opacity)
    return ink
  }
  const found = [], seen = []
  for (const svg of document.querySelectorAll('[data-testid=stEChartsChart] svg')) {
    const before = []
    for (const e of svg.querySelectorAll('path, rect, circle, text')) {
      if (e.closest('defs, clipPath')) continue
      const box = e.getBoundingClientRect(), ink = inked(e)
      if (e.tagName !== 'text') { if (ink) before.push([e, ink]); continue }
      if (!e.textContent.trim() || !ink || ink[3] === 0) continue
      const spot = new DOMPoint(box.x + box.width / 2, box.y + box.height / 2)
      const hit = ([shape]) => shape.isPointInFill(spot.matrixTransform(shape.getScreenCTM().inverse()))
      const ground = before.filter(hit).reduce((below, [, fill]) => over(fill, below), page)
      const [dark, bright] = [light(over(ink, ground)), light(ground)].sort((a, b) => a - b)
      const ratio = (bright + 0.05) / (dark + 0.05)
      seen.push(e.textContent)
      if (ratio < 4.5) found.push(`${e.textContent} ${ratio.toFixed(2)}`)
    }
  }
  return [seen, found]
}"""
"""Texts of the charts of a page, and those less than 4.5 : 1 on what is drawn below their middle, opacity included."""


def test_every_text_can_be_read_in_both_themes(browser, address) -> None:
    """Of the pages, and of the pictures on them."""
    names = set(example().idx_to_symbol)
    views = ("?k=1&draws=2", "?k=6&draws=2", "intervene?draws=1&edit=swap:t=1,strength=1.5", "training", "dataset")
    for theme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=theme)
        page.set_default_timeout(PATIENCE)
        for view in views:
            page.goto(f"{address}/{view}")
            page.locator("[data-testid=stEChartsChart] svg text").first.wait_for()
            settled(page)
            assert page.evaluate(READ) == [], (theme, view)
            page.wait_for_timeout(500)
            seen, pale = page.evaluate(DRAWN_TEXTS)
            assert names <= set(seen) or view in ("training", "dataset")
            assert pale == [], (theme, view)
        page.close()


def test_no_name_beside_a_heatmap_is_cut(show) -> None:
    """Bold ones either: those of the root and the candidates."""
    long = "verylongnamewithcommonprefix-"
    edges = [("Tom", "one"), ("Tom", "two"), ("one", "three"), ("two", "four"), ("Eva", "five"), ("five", "six")]
    lines = "\n".join(" ".join(name if name in ("Tom", "Eva") else long + name for name in edge) for edge in edges)
    page = show(View(source="custom", text=lines, root="Tom", candidates=(long + "three", long + "six"), samples=1))
    picture = page.locator(".st-key-x_stairs [data-testid=stEChartsChart] svg")
    names = picture.locator("text", has_text="…")
    names.first.wait_for()
    assert len(set(names.all_text_contents())) == 6  # those that differ look different
    left = picture.bounding_box()["x"]
    assert all(name.bounding_box()["x"] >= left for name in names.all())


def test_the_gallery_shows_what_is_chosen_and_its_link(show) -> None:
    page = show(View(samples=2, k=1))
    page.set_viewport_size({"width": 1366, "height": 768})
    for name, asks in (("A family", "Ann"), ("Many branches", "Gabriel")):
        page.get_by_role("button", name="Gallery").click()
        page.get_by_role("menuitem", name=name).click()
        page.get_by_role("heading", level=2, name=asks).wait_for()
        settled(page)
        bar = "document.querySelector('[data-testid=stSidebarContent]')"
        page.wait_for_function(f"{bar}.scrollHeight <= {bar}.clientHeight")  # once what was there before is gone
    assert "seed=47" in page.evaluate("location.search")
    page.reload()
    page.get_by_role("heading", level=2, name="Gabriel").wait_for()
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="Gallery").click()
    listed = place(page, page.get_by_test_id("stMenuButtonBody"))
    assert 0 <= listed["x"] <= listed["x"] + listed["width"] <= 360


def test_a_reader_without_a_mouse_and_one_before_an_audience(show) -> None:
    """Tour, nodes by Tab, terms, themes, the big picture: each begun and ended on the page."""
    page, problem = show(View(samples=2, k=1)), example()
    page.set_viewport_size({"width": 1366, "height": 768})
    settled(page)
    length = "document.querySelector('[data-testid=stMain]').scrollHeight"
    long = page.evaluate(length)
    for step in range(5):
        page.get_by_role("button", name="Tour" if step == 0 else "Next", exact=True).click()
        page.get_by_text(f"{step + 1} of 5").wait_for()
        settled(page)
        assert page.evaluate(length) == long, step
        # One thing is framed, on the screen and not behind what is told of it.
        (framed,) = page.locator("[data-toured]").all()
        box, told = framed.bounding_box(), page.locator(".st-key-x_tour").bounding_box()
        assert box["y"] > 0, step
        assert (
            told["x"] >= box["x"] + box["width"] or told["x"] + told["width"] <= box["x"] or told["y"] > box["y"] + 100
        )
    page.get_by_role("button", name="Done").click()
    page.locator(".st-key-x_tour").wait_for(state="detached")
    page.wait_for_function("!document.querySelector('[data-toured]')")
    page.get_by_role("button", name="Tour", exact=True).click()
    page.get_by_role("button", name="Skip").click()
    page.locator(".st-key-x_tour").wait_for(state="detached")
    settled(page)
    node = min(problem.frontier(1))
    page.locator(f".st-key-x_dag_tab_{problem.root} button").focus()
    for _ in range(problem.n_nodes):
        page.keyboard.press("Tab")
        if problem.idx_to_symbol[node] in page.evaluate("document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    chosen(page, problem.idx_to_symbol[node])
    settled(page)
    small = page.locator(".st-key-x_dag svg text").first.bounding_box()["height"]
    page.keyboard.press("p")
    page.get_by_role("button", name="Stop presenting").wait_for()
    page.locator("[data-testid=stSidebar]").wait_for(state="hidden")
    page.wait_for_function("location.search.includes('present=1')")
    settled(page)
    assert page.locator(".st-key-x_dag svg text").first.bounding_box()["height"] > 1.2 * small
    lowest = page.locator(".st-key-x_dag svg text").evaluate_all(
        "all => Math.max(...all.map(e => e.getBoundingClientRect().bottom))"
    )
    assert lowest < 768, "all of the graph is on the screen"
    target = problem.idx_to_symbol[problem.target]
    name = place(page, page.locator(".st-key-x_dag svg text").get_by_text(target, exact=True))
    page.mouse.click(name["x"] + name["width"] / 2, name["y"] - 16)  # its node, where it is drawn
    chosen(page, target)
    settled(page)
    page.get_by_role("button", name="Stop presenting").click()
    page.locator("[data-testid=stSidebar]").wait_for()
    settled(page)
    page.get_by_test_id("stMainMenu").get_by_role("button").click()
    page.get_by_role("menuitemradio", name="Dark").click()
    page.wait_for_function("getComputedStyle(document.querySelector('.stApp')).backgroundColor === 'rgb(14, 17, 23)'")


def test_a_click_while_the_example_plays_does_what_it_says(browser, address) -> None:
    page, complaints = new_page(browser, 1366, 768), list[str]()
    page.on("console", lambda told: complaints.append(told.text) if "fragment" in told.text else None)
    page.goto(address)
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Change its mind").click()
    page.locator(".st-key-x_mind_1 svg text").first.wait_for()
    page.get_by_text("answer flips").wait_for()  # the replay plays to its end
    page.close()
    page = new_page(browser, 1366, 768)
    page.goto(address)
    page.get_by_role("button", name="Pause").wait_for()
    page.mouse.click(700, 130)
    page.get_by_role("button", name="Play", exact=True).wait_for()
    assert page.locator("input[aria-label=Thought][aria-valuetext=answer]").count() == 0
    page.close()
    assert not complaints


def test_the_first_minute(browser, address) -> None:
    """The example plays by itself and ends on its answer; one click changes the model's mind; keys step, the address
    is the view, and a click more is Intervene with the same edit."""
    page, problem = new_page(browser, 1366, 768), example()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    target, other = (problem.idx_to_symbol[v] for v in (problem.target, problem.neg_target))
    page.get_by_text("Answer: search finished").wait_for()  # nobody pressed Play
    page.get_by_role("button", name="Play", exact=True).wait_for()
    settled(page)
    drawn = page.locator(".st-key-x_dag svg text")
    shown = [drawn.get_by_text(name, exact=True) for name in (target, other)] + [page.locator(".st-key-x_legend")]
    assert all(place(page, one)["y"] < 740 for one in shown)  # the answer, what else it might be, and what rings mean
    page.keyboard.press("1")
    stands(page, "1")
    page.get_by_role("button", name="Play", exact=True).click()
    address_is(page, "?k=6")
    back(page, "?k=0", "1")  # what played is one step of the browser's, not one a frame
    page.go_forward()
    stands(page, "answer")
    page.get_by_role("button", name="Change its mind").click()
    page.locator(".st-key-x_mind_1 svg text").first.wait_for()
    page.get_by_text(f"answers {other}").wait_for()  # the edited search
    page.get_by_text("answer flips").wait_for()
    flipped = place(page, page.locator(".st-key-x_mind_1 svg text").get_by_text(other, exact=True))
    assert flipped["y"] < 768  # on the first screen
    # Both searches and the control side by side, and the way to Intervene, on the first screen.
    three = [page.locator(f".st-key-x_mind_{i} [data-testid=stEChartsChart]").bounding_box() for i in range(3)]
    assert all(box["width"] >= 320 and box["y"] == three[0]["y"] and box["y"] + 350 < 768 for box in three)
    assert page.get_by_role("button", name="Open in Intervene").bounding_box()["y"] < three[0]["y"]
    page.set_viewport_size({"width": 768, "height": 1024})
    first, second = (place(page, page.locator(f".st-key-x_mind_{i}")) for i in (0, 1))
    assert first["y"] == second["y"]  # side by side
    page.set_viewport_size({"width": 1366, "height": 768})
    assert page.get_by_text(f"answers {target}, ").count() == 2  # the search as it was, and the control
    page.get_by_role("button", name="Play", exact=True).wait_for()
    settled(page)
    for key, query in (("3", "?k=2&mind=1"), ("ArrowRight", "?k=3&mind=1"), ("0", "?k=6&mind=1")):
        page.keyboard.press(key)
        address_is(page, query)
        settled(page)
    back(page, "?k=3&mind=1", "4")
    page.reload()
    page.locator(".st-key-x_mind_1 svg text").first.wait_for()
    stands(page, "4")
    page.get_by_role("button", name="Open in Intervene").click()
    page.get_by_text("answer flips").first.wait_for()
    settled(page)
    strip = place(page, page.locator(".st-key-i_strip [data-testid=stEChartsChart]"))
    assert strip["y"] + strip["height"] < 768  # the flip is on the first screen
    assert "edit=swap" in page.url
    page.close()
    still = browser.new_page(reduced_motion="reduce")
    still.goto(address)
    still.locator(".st-key-x_dag svg text").first.wait_for()
    settled(still)
    still.wait_for_timeout(2000)
    assert still.get_by_role("slider", name="Thought").get_attribute("aria-valuetext") == "2"
    still.close()
    assert not complaints


def arrived(page, path: str, query: str = "", question: str = "") -> None:
    """Until a page of the app is drawn, with its address and its question."""
    page.wait_for_function("([path, query]) => location.pathname === path && location.search === query",
                           arg=[path, query])  # fmt: skip
    page.get_by_role("heading", level=2, name=question).wait_for()  # Back changes the address first
    page.locator("[data-testid=stEChartsChart] svg").first.wait_for()
    settled(page)
    assert page.evaluate("location.pathname + location.search") == path + query


def asks(page) -> str:
    return page.get_by_role("heading", level=2).inner_text()


def prompt_samples(page) -> str:
    page.get_by_role("button", name="Prompt samples").click()
    n = page.get_by_role("spinbutton", name="R", exact=True).input_value()
    page.keyboard.press("Escape")
    settled(page)
    return n


def test_back_returns_to_the_page_and_the_problem_one_left(browser, address) -> None:
    page = new_page(browser, 1366, 768)
    page.goto("about:blank")
    asked = "?source=generated&hops=1-2&nodes=14-20"
    page.goto(f"{address}/{asked}")
    arrived(page, "/", asked)
    question, n = asks(page), prompt_samples(page)
    page.get_by_role("link", name="Intervene").click()
    arrived(page, "/intervene", asked, question)  # the address holds the problem that is shown
    page.get_by_role("button", name="Swap branches").click()
    page.get_by_text("answer flips").first.wait_for()
    settled(page)
    page.go_back()
    arrived(page, "/intervene", asked, question)
    page.go_back()
    arrived(page, "/", asked, question)
    assert prompt_samples(page) == n
    # The bar leads to what is chosen now, Back to what was there.
    page.get_by_role("link", name="Intervene").click()
    arrived(page, "/intervene", asked)
    page.get_by_text("Example", exact=True).click()
    arrived(page, "/intervene")
    example = asks(page)
    assert example != question
    page.get_by_role("link", name="Explore").click()
    arrived(page, "/", "", example)
    assert prompt_samples(page) == n
    for path, query, shown in (("/intervene", "", example), ("/intervene", asked, question), ("/", asked, question)):
        page.go_back()
        arrived(page, path, query, shown)
    page.go_back()
    page.wait_for_function("location.href === 'about:blank'")
    page.close()


def test_back_from_where_a_button_led(browser, address) -> None:
    page = new_page(browser, 1366, 768)
    page.goto(f"{address}/?seed=3&source=generated&k=3&mind=1")
    arrived(page, "/", "?seed=3&source=generated&k=3&mind=1")  # in whatever order, it says what is shown
    question = asks(page)
    page.get_by_role("button", name="Open in Intervene").click()
    page.get_by_text("answer flips").first.wait_for()
    page.wait_for_function("location.search.includes('edit=swap')")
    settled(page)
    assert asks(page) == question
    page.go_back()
    arrived(page, "/", "?seed=3&source=generated&k=3&mind=1")
    page.locator(".st-key-x_mind_1 svg text").first.wait_for()
    assert asks(page) == question
    page.goto(f"{address}/training?thought=2&run=prosqa-gap")
    arrived(page, "/training", "?thought=2&run=prosqa-gap")
    page.get_by_role("button", name="Open in Explore").click()
    arrived(page, "/", "?checkpoint=prosqa-gap")
    page.go_back()
    arrived(page, "/training", "?thought=2&run=prosqa-gap")
    page.close()


@pytest.mark.parametrize("query", ["?k=1", "?k=99", "?k=-1", "?draws=016&k=3"])
def test_back_leaves_the_app_at_once_where_nothing_was_done(browser, address, query: str) -> None:
    """Whatever a link's way of writing: usual or not, out of range, damaged."""
    page = new_page(browser, 1366, 768)
    page.goto("about:blank")
    page.goto(f"{address}/{query}")
    page.locator(".st-key-x_dag svg text").first.wait_for()
    settled(page)
    page.wait_for_timeout(500)
    page.go_back()
    page.wait_for_function("location.href === 'about:blank'")
    page.close()


PAGES = ("?k=1&draws=2", "intervene?draws=1&edit=swap:t=1", "training", "dataset")


@pytest.mark.parametrize("at", PAGES)
def test_no_page_scrolls_sideways_and_no_graph_is_too_small_to_read(browser, address, at: str) -> None:
    page = new_page(browser, 1366, 900)
    page.goto(f"{address}/{at}")
    page.locator("[data-testid=stEChartsChart] svg").first.wait_for()
    settled(page)
    for width in (360, 390, 683, 768, 1024):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(800)
        # Streamlit scrolls its main part, not the window.
        for scrolled in ("document.scrollingElement", "document.querySelector('[data-testid=stMain]')"):
            assert page.evaluate(f"{scrolled}.scrollWidth <= {scrolled}.clientWidth"), (width, scrolled)
        for graph in page.locator(":is(.st-key-i_before, .st-key-i_after) [data-testid=stEChartsChart]").all():
            assert graph.bounding_box()["width"] >= min(440, width - 60), width
    page.close()


def test_names_of_a_long_search_stand_apart_on_a_phone(browser, address) -> None:
    chain = [
        "Tom",
        *(f"{syllable}pus" for syllable in ("ab", "bel", "cor", "dim", "est", "fal", "gor", "hel", "ist", "kam")),
    ]
    problem = ProsQAProblem.from_names(
        [*pairwise(chain), ("Ada", "rompus")], root="Tom", candidates=(chain[-1], "rompus")
    )
    page = new_page(browser, 390, 844)
    page.goto(View(source="file", samples=1, k=1).of(problem).url(address))
    page.locator(".st-key-x_dag svg text").first.wait_for()
    settled(page)
    boxes = [page.locator(".st-key-x_dag svg text").get_by_text(name, exact=True).bounding_box() for name in chain]
    assert all(one["x"] + one["width"] < other["x"] for one, other in pairwise(boxes))
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= 390")
    page.close()


def test_reaching_the_nodes_by_tab_moves_nothing(show) -> None:
    page, problem = show(View(samples=2, k=1)), example()
    chart = page.locator(".st-key-x_dag [data-testid=stEChartsChart]")
    before = place(page, chart)
    page.locator(f".st-key-x_dag_tab_{problem.root} button").focus()
    page.wait_for_timeout(300)
    assert chart.bounding_box() == before
    names = page.locator("[class*=-tab_nodes]").first
    assert names.bounding_box()["height"] >= 24  # they are seen
    assert "distractor" in names.inner_text()


def test_every_page_has_its_link_to_copy(browser, address) -> None:
    page = new_page(browser, 1366, 768)
    page.goto(f"{address}/dataset?section=kswitch")
    page.locator("[data-testid=stEChartsChart] svg").first.wait_for()
    settled(page)
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_role("button", name="Copy to clipboard").wait_for()
    assert page.locator("[data-testid=stCode] code").first.inner_text().strip().endswith("/dataset?section=kswitch")
    page.close()
