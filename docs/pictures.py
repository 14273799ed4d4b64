"""The README's pictures, one a page of the app, taken from a running app in Chromium: ``make pictures``.

python docs/pictures.py [--out docs] [--width 1440] [--height 1000]
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = ("explore", "intervene", "training", "dataset")
DRAWN = (
    "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
    " && !document.querySelector('[data-testid=stSkeleton], [data-testid=stEChartsChart][aria-busy=true]')"
)


@contextmanager
def running_app() -> Iterator[str]:
    """The address of the app on a free port, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.headless=true", f"--server.port={port}",
        "--server.address=127.0.0.1", "--server.fileWatcherType=none",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"}, **quiet)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as health:
                    if health.read() == b"ok":
                        break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def settle(page: Any) -> None:
    """Until the page has stood still for two seconds."""
    still = 0
    while still < 4:
        page.wait_for_function(DRAWN)
        page.wait_for_timeout(500)
        still = still + 1 if page.evaluate(DRAWN) else 0


def show(page: Any, name: str) -> None:
    """What a page's picture is of, beyond opening it."""
    if name == "explore":
        page.get_by_role("slider", name="after k thoughts").wait_for()
        page.locator(".st-key-x_dag svg text").first.wait_for()
    if name == "intervene":
        page.locator(".st-key-i_preset_swap button").first.click()
        page.locator(".st-key-i_after svg text").first.wait_for()


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=1000)
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        parser.exit(1, f"no browser on the path; one of {', '.join(BROWSERS)} is needed\n")
    with running_app() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in options.pages:
            page = browser.new_page(viewport={"width": options.width, "height": options.height}, color_scheme="light")
            page.set_default_timeout(120_000)
            page.goto(f"{address}/{name}" if name != PAGES[0] else address)
            settle(page)
            show(page, name)
            page.mouse.move(2, options.height - 2)  # no tooltip in the picture
            settle(page)
            page.screenshot(path=str(options.out / f"{name}.png"))
            page.close()
            print(f"{options.out / name}.png")
        browser.close()


if __name__ == "__main__":
    main()
