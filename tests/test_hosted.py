"""A server for strangers: nothing of it can be reached by a path, everybody has their own, and all of it ends."""

from __future__ import annotations

import asyncio
import codecs
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fuzz import LINKS, TINY
from packaging.requirements import Requirement
from served import BROWSER, chromium, new_page, running_app, settled
from starlette.types import Message, Scope
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.testing.v1 import AppTest

from app import compute, hosted, jobs, uploads
from app.dataset.state import SHIPPED
from app.hosted import ENVIRONMENT, OWN, REFUSED, Limits, Visit, limits_of
from app.jobs import Job, Order
from model.errors import CheckpointError, InputError
from model.imports import source
from model.problems.generate import generate

ROOT = Path(__file__).parent.parent
PAGES = {
    "explore": ("checkpoint", "against"),
    "intervene": ("checkpoint", "against"),
    "training": ("run", "beside"),
    "dataset": ("result",),
}
"""Pages, and what in their links names a folder."""
CHEAP = {"explore": {"draws": "1"}, "intervene": {"draws": "1"}}


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "LIMITS", Limits(away=0.3))


def start(page: str, **params: str) -> AppTest:
    found = AppTest.from_file(str(ROOT / "app" / page / f"{page}.py"), default_timeout=120)
    for name, value in (CHEAP.get(page, {}) | params).items():
        found.query_params[name] = value
    return found.run()


def errors(page: AppTest) -> str:
    assert not page.exception, page.exception[0].message
    return "\n".join(item.value for item in page.error).replace("\\", "").replace("\u00a0", " ")


def until(what: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 60
    while not what() and time.monotonic() < ends:
        time.sleep(0.05)
    return what()


def test_the_environment_says_who_visits() -> None:
    assert limits_of("") is limits_of("0") is OWN
    assert not OWN.hosted
    assert limits_of("1") == Limits()
    assert limits_of('{"problems": 50}') == Limits(problems=50)
    for text in ("yes", "{", '{"problem": 5}', "[]"):
        with pytest.raises(InputError, match=ENVIRONMENT) as said:
            limits_of(text)
        assert "\n" not in str(said.value)


@pytest.mark.parametrize(("value", "details"), [("1", "none"), ("0", "full")])
def test_a_stranger_sees_no_details_of_an_error(value: str, details: str) -> None:
    code = "import app.hosted, streamlit; print(streamlit.get_option('client.showErrorDetails'))"
    told = {ENVIRONMENT: value, "PYTHONPATH": str(ROOT), "PATH": ""}
    assert subprocess.check_output([sys.executable, "-c", code], env=told, text=True).split() == [details]


def test_the_lock_file_has_every_requirement_by_its_hash_and_names_no_index() -> None:
    locked: dict[str, str] = {}
    for name, least in (("requirements.lock", 50), ("requirements-cuda.lock", 15)):
        lock = (ROOT / name).read_text()
        here = dict(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:", lock, flags=re.MULTILINE))
        assert len(here) == len(re.findall("==", lock)) > least
        assert not locked.keys() & here.keys()
        assert "://" not in lock
        assert f"pip install --require-hashes --no-deps -r {name}" in (ROOT / "Dockerfile").read_text()
        locked |= here
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        asked = Requirement(line)
        assert asked.specifier.contains(locked[asked.name]), line


FOREIGN = (
    str(TINY), str(SHIPPED), "/", "/etc", "/no/such/folder", "/dev/zero", "~", "~root", "~nobody", ".", "..",
    "../checkpoints/prosqa-tiny", "prosqa-tiny/../prosqa-gap", "model/checkpoints/prosqa-tiny", "somebody/coconut",
    "somebody/coconut:checkpoint_25", "file:///etc/passwd", "https://example.com/x", "ü" * 200, "x" * 300, "upload-1",
)  # fmt: skip


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in PAGES.items() for name in names])
def test_no_link_names_a_folder_of_the_server_or_of_the_hub(
    page: str, name: str, visitor: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the Hub was asked")

    for function in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(source, function, asked)
    for value in FOREIGN:
        with pytest.raises(InputError, match=re.escape(f"the link's {name} is not one: {REFUSED}")):
            LINKS[page].decode({name: value})
    monkeypatch.undo()
    monkeypatch.setattr(hosted, "LIMITS", Limits())
    said = errors(start(page, **{name: str(TINY)}))
    assert said == f"The link's {name} is not one: {REFUSED}. Showing the example instead."


@pytest.mark.parametrize("page", PAGES)
def test_there_is_no_box_to_type_a_path_into(page: str) -> None:
    shown = start(page)
    assert errors(shown) == ""
    assert not [box for box in shown.text_input if "older" in f"{box.label} {box.placeholder}"]
    for box in shown.selectbox:
        assert "another folder …" not in box.options
        assert not [option for option in box.options if option.startswith("/")]


@pytest.fixture
def visitor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Visit]:
    """Somebody whose page is drawn."""
    found = Visit()
    monkeypatch.setattr(hosted, "visit", lambda: found)
    yield found
    found.end()


def test_what_is_typed_or_sent_goes_nowhere_else(visitor: Visit) -> None:
    """Whatever a page is made to ask for, by any way."""
    for value in FOREIGN:
        for ask in (compute.load, compute.folder, compute.typed_path):
            with pytest.raises(InputError, match="this server opens only"):
                ask(value)
        assert compute.slots(value) is None


def test_links_hold_names_of_what_is_shipped_and_no_path() -> None:
    page = start("training", run="prosqa-tiny", beside="prosqa-gap")
    assert errors(page) == ""
    page = start("training", run="prosqa-symbol-rerun")
    assert errors(page) == ""
    links = [code.value for code in page.code] + [str(value) for value in page.query_params.values()]
    assert any("prosqa-symbol-rerun" in link for link in links)
    assert not [link for link in links if str(ROOT) in link]
    assert errors(start("explore", checkpoint="prosqa-tiny", against="untrained")) == ""
    assert errors(start("dataset", section="kswitch")) == ""


def upload(page: AppTest, *files: Path) -> AppTest:
    page.selectbox(key="x_checkpoint").select("another folder …").run()
    (box,) = (each for each in page.file_uploader if each.key.startswith("x_folder_files"))
    box.set_value([(file.name, file.read_bytes(), "application/octet-stream") for file in files])
    return next(each for each in page.button if each.label == "Open").click().run()


def test_a_model_that_is_uploaded_is_its_visitors_alone_and_goes_with_them() -> None:
    page = upload(start("explore"), TINY / "config.json", TINY / "model.safetensors")
    assert errors(page) == ""
    assert page.selectbox(key="x_checkpoint").value == "upload-1"
    visit = page.session_state["visit"]
    folder = visit.root()
    assert {path.name for path in (folder / "upload-1").iterdir()} == {"config.json", "model.safetensors"}
    assert page.query_params["checkpoint"] == "upload-1"
    assert REFUSED in errors(start("explore", checkpoint="upload-1"))
    assert REFUSED in errors(start("explore", checkpoint=str(folder / "upload-1")))
    visit.leave()
    assert until(lambda: not folder.exists())
    assert errors(page.run()) == ""
    assert page.selectbox(key="x_checkpoint").value in compute.shipped()


def test_uploads_that_are_no_models_are_one_sentence_without_the_servers_folders(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"0" * 20)
    (tmp_path / "checkpoint_3").write_bytes(b"0" * 20)
    (tmp_path / "a b").write_bytes(b"")
    for files in (("config.json", "model.safetensors"), ("checkpoint_3",), ("model.safetensors",), ("a b",), ()):
        page = upload(start("explore"), *(tmp_path / name for name in files))
        said = errors(page)
        assert said
        assert "coconut-" not in said
        assert str(ROOT) not in said
        assert page.session_state["x_checkpoint"]
        visit = page.session_state["visit"]
        assert not list(visit.root().glob("upload-*"))
        assert (visit.uploads, visit.n_bytes) == ([], 0)


@pytest.mark.parametrize(("names", "says"), [
    (["config.json"], "config.json: holds no weights by itself; a model is its config.json and model.safetensors"),
    (["empty.pt"], "empty.pt: the file is empty; a model is its config.json and model.safetensors"),
    (["config.json", "notes.md"], "model.safetensors"),
    (["no.pt"], "no.pt: damaged, cut short or not written by torch.save (ValueError); expected weights written by"),
])  # fmt: skip
def test_an_upload_without_weights_is_told_what_is_accepted_and_of_no_hub(
    names: list[str], says: str, tmp_path: Path
) -> None:
    contents = {"config.json": (TINY / "config.json").read_bytes(), "notes.md": b"mine", "empty.pt": b"", "no.pt": b"x"}
    for name in names:
        (tmp_path / name).write_bytes(contents[name])
    said = errors(upload(start("explore"), *map(tmp_path.joinpath, names)))
    assert says in said
    assert "Hub" not in said


def test_a_name_too_long_is_shown_with_both_its_ends_and_what_is_wrong_with_it(visitor: Visit) -> None:
    for name, why in (
        (f"first{'x' * 200}last.pt", "at most 100 letters, digits, dots, - and _"),
        ("a b.pt", "at most"),
    ):
        with pytest.raises(InputError, match=why) as said:
            hosted.keep_model([(name, b"0")], str)
        assert len(str(said.value)) < 130
        assert name in str(said.value) or re.match(r"firstx+…x+last\.pt: ", str(said.value))


def test_a_visitors_models_have_a_size_together(visitor: Visit) -> None:
    assert hosted.keep_model([("a.pt", b"0" * 3 * 2**20)], str) == "upload-1/a.pt"
    with pytest.raises(InputError, match="5 MB together"):
        hosted.keep_model([("b.pt", b"0" * 3 * 2**20)], str)


def test_a_tab_holds_as_many_chosen_files_as_one_model_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest: what was left behind on another page is in nobody's way."""
    manager = MemoryUploadedFileManager("/upload")
    monkeypatch.setattr(runtime, "get_instance", lambda: SimpleNamespace(uploaded_file_mgr=manager))
    most: list[int] = []

    async def held(scope: Scope, _receive: object, _send: object) -> None:
        """As Streamlit, which reads a file and then holds it; how much is held is seen here."""
        session, name = scope["path"].split("/")[-2:]
        content = b"0" * int(dict(scope["headers"])[b"content-length"])
        await asyncio.sleep(0)
        manager.add_file(session, UploadedFileRec(name, name, "", content))
        most.append(sum(len(file.data) for file in manager.file_storage[session].values()))

    async def answer(message: Message) -> None:
        answers.append(message)

    def put(*names: str, n_bytes: int | None, session: str = "a") -> None:
        async def together() -> None:
            bounded = uploads.Bounded(held)
            headers = [] if n_bytes is None else [(b"content-length", str(n_bytes).encode())]
            scope = {"type": "http", "method": "PUT", "headers": headers}
            paths = [f"/coconut/_stcore/upload_file/{session}/{name}" for name in names]
            await asyncio.gather(*(bounded(scope | {"path": path}, asyncio.sleep, answer) for path in paths))

        asyncio.run(together())

    answers: list[Message] = []
    put("other", n_bytes=2**20, session="b")
    put("first", "second", "third", "fourth", n_bytes=2 * 2**20)  # 5 MB may be
    assert set(manager.file_storage["a"]) == {"third", "fourth"}
    assert max(most) <= 5 * 2**20
    put(*(f"small-{number}" for number in range(30)), n_bytes=1)
    assert set(manager.file_storage["a"]) == {f"small-{number}" for number in range(10, 30)}
    put("untold", n_bytes=None)
    assert answers[0]["status"] == 411
    assert "untold" not in manager.file_storage["a"]
    assert set(manager.file_storage["b"]) == {"other"}
    monkeypatch.setattr(hosted, "LIMITS", OWN)
    put("mine", "too", n_bytes=4 * 2**20)
    assert {"mine", "too", "small-29"} < set(manager.file_storage["a"])


def test_an_upload_that_cannot_be_kept_leaves_room_for_the_next(
    visitor: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as there:
        there.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="No space left"):
            hosted.keep_model([("a.pt", b"0")], str)
    with pytest.raises(InputError, match="File name too long"):
        hosted.keep_model([("中" * 95, b"0")], str)
    assert hosted.keep_model([("a.pt", b"0")], str) == "upload-1/a.pt"
    assert [path.name for path in visitor.root().iterdir()] == ["upload-1"]


def test_what_visitors_of_a_server_that_was_killed_had_is_removed_at_the_next_start(
    visitor: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (f"coconut-{dead.pid}-abc", f"coconut-{os.getppid()}-abc", "coconut-mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"0")
    hosted.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {f"coconut-{os.getppid()}-abc", "coconut-mine", "other"}
    assert visitor.root().name.startswith(f"coconut-{os.getpid()}-")


def test_only_folders_of_what_is_shipped_have_names(visitor: Visit) -> None:
    assert hosted.path_of("prosqa-tiny") == TINY
    with pytest.raises(InputError, match="this server opens only"):
        hosted.path_of("prosqa-tiny/README.md")


class Calls:
    """What a pickle says to call, with what."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_call_what_makes_no_tensor_end_in_one_sentence_before_it_is_called(
    tmp_path: Path, zipped: bool
) -> None:
    loop: dict[str, object] = {}
    loop["model"] = loop
    made = OrderedDict, Counter, torch.Size, torch._utils._rebuild_tensor_v2
    values = [loop, Calls(bytearray, 6 * 10**9), *(Calls(each, 5) for each in made), Calls(codecs.encode, "a", "evil")]
    values += [{"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}, {"a\x1b[31m\n<b>": torch.zeros(2)}, [1], {"model": {}}]
    for number, value in enumerate(values):
        path = tmp_path / f"{number}.pt"
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(CheckpointError) as found:
            source.read(path)
        assert str(found.value).isprintable()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6  # kilobytes


def test_no_archive_behind_a_pickle_and_no_second_entry_hides_what_it_calls(tmp_path: Path) -> None:
    good, bad = {"w": torch.zeros(2)}, Calls(bytearray, 6 * 10**9)
    for name, value, zipped in (("good", good, True), ("old", good, False), ("bad", bad, True), ("raw", bad, False)):
        torch.save(value, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert all(set(source.read(tmp_path / name).tensors) == {"w"} for name in ("good", "old"))
    (tmp_path / "behind.pt").write_bytes((tmp_path / "raw").read_bytes() + (tmp_path / "good").read_bytes())
    shutil.copy(tmp_path / "good", tmp_path / "twice.pt")
    with zipfile.ZipFile(tmp_path / "bad") as other, zipfile.ZipFile(tmp_path / "twice.pt", "a") as twice:
        twice.writestr("good/DATA.PKL", other.read("bad/data.pkl"))
    for name in ("behind.pt", "twice.pt"):
        with pytest.raises(CheckpointError, match="holds more than tensors"):
            source.read(tmp_path / name)


def test_files_that_grow_when_opened_are_refused(tmp_path: Path) -> None:
    packed = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(10**6)}, packed)
    with zipfile.ZipFile(packed) as plain, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as small:
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry))
    torch.save({"w": torch.zeros(1).expand(10**10)}, tmp_path / "c.pt")
    torch.save({"w": torch.sparse_coo_tensor([[0]], [1.0], (10**10,))}, tmp_path / "d.pt")
    torch.save({"w": torch.empty(10**10, device="meta")}, tmp_path / "e.pt")
    assert set(source.read(packed).tensors) == {"w"}
    for name in ("b.pt", "c.pt", "d.pt", "e.pt"):
        with pytest.raises(CheckpointError, match=r"more than its size|larger than what is stored|more than tensors"):
            source.read(tmp_path / name)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Runs that go on until they are stopped; set once one began."""
    began = threading.Event()

    def work(*_: object, cancelled: Callable[[], bool], **__: object) -> None:
        began.set()
        until(cancelled)

    monkeypatch.setattr(jobs, "run_dataset", work)
    return began


def run(page: AppTest, **described: object) -> AppTest:
    page.segmented_control(key="d_mode").select("Run").run()
    for key, value in described.items():
        page.number_input(key=key).set_value(value).run()
    return page.button(key="d_run").click().run()


def test_a_run_ends_when_its_tab_is_gone_and_not_before(slow: threading.Event) -> None:
    page = run(start("dataset"), d_n=3)
    assert errors(page) == ""
    job, visit = page.session_state["d_job"], page.session_state["visit"]
    assert slow.wait(30)
    assert job.out.is_relative_to(visit.root())
    visit.leave()
    visit.arrive()  # a bad connection
    time.sleep(0.8)
    assert not job.is_over
    folder = visit.root()
    visit.leave()
    assert until(lambda: job.is_over and not folder.exists())
    assert job.outcome == "cancelled"


def test_a_run_is_seen_by_its_owner_only(slow: threading.Event) -> None:
    mine, other = run(start("dataset"), d_n=3), start("dataset")
    assert mine.session_state["d_job"].out.name
    assert "d_job" not in other.session_state
    assert mine.session_state["visit"].root() != other.session_state["visit"].root()
    other.segmented_control(key="d_mode").select("Run").run()
    assert not [button for button in other.button if button.key == "d_cancel"]
    mine.session_state["visit"].end()
    assert mine.session_state["d_job"].is_over


def test_runs_are_limited_in_size_number_and_time(slow: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "LIMITS", Limits(problems=20, runs=1, minutes=0.001))
    page = start("dataset")
    page.segmented_control(key="d_mode").select("Run").run()
    assert page.number_input(key="d_n").max == 20
    assert "20 problems" in " ".join(caption.value for caption in page.caption)
    page = run(page, d_n=3)
    assert until(lambda: page.session_state["d_job"].is_over)
    assert "Stopped after 0.001 minutes" in errors(page.run())
    page = page.button(key="d_run").click().run()
    assert "a visitor may begin 1 runs" in errors(page)
    assert "d_job" not in page.session_state


def test_a_run_that_is_too_large_is_refused_whoever_asks(visitor: Visit) -> None:
    problems = tuple(generate("balanced", Limits().problems + 1, 0, hops=(2, 2), nodes=(6, 8)))
    with pytest.raises(InputError, match="a run may have 500"):
        jobs.start(Order(problems, "x", "prosqa-tiny", (), ("kswitch",)))
    assert visitor.runs == 0


def test_a_run_and_its_result_stay_with_the_visit() -> None:
    page = run(start("dataset", checkpoint="prosqa-tiny"), d_n=2)
    job: Job = page.session_state["d_job"]
    job.stop.set()
    assert until(lambda: job.is_over)
    assert errors(page.run()) == ""
    assert not (compute.RUNS / "datasets" / job.out.name).exists()
    page.session_state["visit"].end()


def test_a_page_costs_only_so_much_and_says_what_is_possible() -> None:
    page = start("intervene", draws="64")
    said = errors(page)
    assert said.startswith("this would take too long on a server that many share: R = ")
    most = int(said.split("R = ")[1].split()[0])
    assert 4 <= most < 64
    assert errors(start("intervene", draws=str(most))) == ""


def test_on_ones_own_machine_nothing_is_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hosted, "LIMITS", OWN)
    assert hosted.root(tmp_path) == tmp_path
    assert compute.typed_path(str(TINY)) == TINY
    assert hosted.name_of(TINY) == str(TINY)
    assert hosted.said(str(TINY)) == str(TINY)
    hosted.check_cost(64, 10**6)
    shown = start("explore")
    shown.selectbox(key="x_checkpoint").select("another folder …").run()
    assert shown.text_input(key="x_folder").label == "Checkpoint: folder"


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
@pytest.mark.xdist_group("browser")
def test_what_a_visitor_has_goes_when_the_tab_is_closed(tmp_path: Path) -> None:
    """On a real server: a run begun in a tab, which is closed."""
    told = {ENVIRONMENT: json.dumps({"away": 1}), "TMPDIR": str(tmp_path)}
    with chromium() as browser, running_app(**told) as app:
        page = new_page(browser, 1440, 1000)
        page.goto(f"{app.address}/dataset")
        page.get_by_text("New run").click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("button", name="Cancel").wait_for()
        assert until(lambda: len(list(tmp_path.glob("coconut-*/datasets/*"))) == 1)
        other = new_page(browser, 1440, 1000)
        other.goto(f"{app.address}/?checkpoint=/etc")
        other.get_by_text(REFUSED).wait_for()
        settled(other)
        page.close()
        assert until(lambda: not list(tmp_path.glob("coconut-*/datasets")))
        other.close()


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
@pytest.mark.xdist_group("browser")
def test_files_that_are_chosen_are_held_until_they_are_opened_or_too_much(tmp_path: Path) -> None:
    """On a real server, which says what it holds: at most 5 MB of a tab."""
    large = [tmp_path / f"{number}.pt" for number in range(4)]
    for path in large:
        path.write_bytes(b"0" * 3 * 2**20)
    with chromium() as browser, running_app(**{ENVIRONMENT: "1", "TMPDIR": str(tmp_path)}) as app:

        def held() -> int:
            with urllib.request.urlopen(f"{app.address}/_stcore/metrics", timeout=20) as said:
                found = re.findall(r"UploadedFileManager.* (\d+)$", said.read().decode(), flags=re.MULTILINE)
            return sum(map(int, found))

        page = new_page(browser, 1440, 1000)
        page.goto(app.address)
        page.locator(".st-key-x_checkpoint input").click()
        page.get_by_text("upload a model …").last.click()
        box = page.get_by_test_id("stFileUploaderDropzoneInput")
        box.set_input_files(large)
        page.get_by_text("at most 20 files and 5 MB together").wait_for()
        settled(page)
        assert held() == 0
        assert page.get_by_test_id("stFileChip").count() == 0
        box.set_input_files(large[:1])
        page.get_by_test_id("stFileChip").wait_for()
        assert until(lambda: held() == 3 * 2**20)
        settled(page)
        assert not page.get_by_test_id("stAlert").count()
        opened = page.locator(".st-key-x_folder_open button")
        opened.click()
        page.get_by_test_id("stAlert").get_by_text("0.pt").wait_for()
        assert until(lambda: held() == 0)
        settled(page)
        box.set_input_files([TINY / "config.json", TINY / "model.safetensors"])
        assert until(lambda: held() > 400_000)
        settled(page)
        opened.click()
        page.wait_for_url(re.compile("checkpoint=upload-1"))
        assert until(lambda: held() == 0)
