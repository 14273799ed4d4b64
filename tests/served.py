"""The app on a free port and a browser to look at it: for the browser tests, the pictures and the benchmark."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
"""The path of a Chromium; None where there is none."""
ALONE = ("--no-sandbox", "--process-per-site", "--disable-features=SpareRendererForSitePerProcess")
"""One process for all pages and none in reserve, so that the app's code is compiled once, not with every page."""
PATIENCE = 60_000
"""Milliseconds. The first page of a new server imports torch and loads a model: over 30 s on a machine that is busy."""
DRAWN = (
    "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
    " && !document.querySelector('[data-testid=stSkeleton], [data-testid=stEChartsChart][aria-busy=true]')"
)
"""True in a page where no script is running and nothing waits for its code: while a widget is a grey box, what is below
moves."""


class App(NamedTuple):
    address: str
    pid: int


@contextmanager
def running_app(threads: int = 1, **environment: str) -> Iterator[App]:
    """The app as ``streamlit run app/main.py`` starts it, answering, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.headless=true", f"--server.port={port}",
        "--server.address=127.0.0.1",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(threads)} | environment, **quiet
    )
    try:
        for _ in range(3000):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as health:
                    if health.read() == b"ok":
                        break
            except OSError:  # nobody listens yet
                time.sleep(0.02)
        yield App(address, server.pid)
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=list(ALONE))
        yield opened
        opened.close()


def new_page(browser: Any, width: int, height: int) -> Any:
    """A page beside those the browser has."""
    context = browser.contexts[0] if browser.contexts else browser.new_context(color_scheme="light")
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    return page


def settled(page: Any) -> None:
    page.wait_for_function(DRAWN, polling=50)  # not with every frame: a busy browser may draw none for long
