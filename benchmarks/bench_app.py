"""Start, slider, edits and memory of the app, in a real browser: ``python -m benchmarks.bench_app``.

Starts ``streamlit run app/main.py`` on a free port and opens it in Chromium (headless, found on the path), which needs
processor time of its own. Prints a table, then one JSON line. ``server_ms`` is processor time of the server alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page

from tests.served import BROWSER, chromium, new_page, running_app

IDLE = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
TICK = os.sysconf("SC_CLK_TCK")


def server_times(pid: int) -> tuple[float, float]:
    """Processor seconds and resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def slide(page: Page, pid: int) -> tuple[list[float], list[float]]:
    """Milliseconds from key press to the new picture, and processor milliseconds of the server, for each move."""
    slider = page.get_by_role("slider", name="Thought")
    page.get_by_role("button", name="Play", exact=True).wait_for()  # the example plays once
    slider.press("Home")
    page.get_by_text("Thought 1: ").first.wait_for()
    shown, server = [], []
    for key, stops in (("ArrowRight", range(2, 6)), ("ArrowLeft", range(4, 0, -1))) * 2:
        for thought in stops:
            page.wait_for_timeout(600)
            before, started = server_times(pid)[0], time.perf_counter()
            slider.press(key)
            header = f"[...document.querySelectorAll('.st-key-x_stairs svg text')].some(e => \
e.textContent === '{thought}' && getComputedStyle(e).fontWeight >= 600)"
            page.wait_for_function(header, polling=5)
            shown.append(1000 * (time.perf_counter() - started))
            page.wait_for_function(IDLE)
            server.append(1000 * (server_times(pid)[0] - before))
    return shown, server


def edits(page: Page, pid: int) -> tuple[list[float], list[float]]:
    """The same for edits that were not made before, each with its controls over 4 prompt samples (Intervene)."""
    strength = page.get_by_role("slider", name="Steering coefficient")
    text = page.get_by_role("textbox", name="Edit as text")
    shown, server = [], []
    for _ in range(8):
        page.wait_for_timeout(600)
        old, before, started = text.input_value(), server_times(pid)[0], time.perf_counter()
        strength.press("ArrowRight")
        page.wait_for_function("old => [...document.querySelectorAll('.st-key-i_text input')]"
                               ".every(i => i.value !== old)", arg=old, polling=5)  # fmt: skip
        page.wait_for_function(IDLE, polling=5)
        shown.append(1000 * (time.perf_counter() - started))
        server.append(1000 * (server_times(pid)[0] - before))
    return shown, server


def main() -> None:
    if BROWSER is None:
        sys.exit("no Chromium on the path")
    with chromium() as browser:
        page = new_page(browser, 1440, 1000)
        started = time.perf_counter()
        with running_app(threads=os.cpu_count() or 1) as app:
            page.goto(app.address)
            page.locator(".st-key-x_dag svg text").first.wait_for()
            drawn = time.perf_counter() - started
            start_cpu = server_times(app.pid)[0]
            page.wait_for_function(IDLE)
            shown, cpu = slide(page, app.pid)
            page.goto(f"{app.address}/intervene")
            page.locator(".st-key-i_before svg text").first.wait_for()
            page.wait_for_function(IDLE)
            edited, edit_cpu = edits(page, app.pid)
            memory = server_times(app.pid)[1]
    load = os.getloadavg()[0]
    figures = {
        "drawn_s": ("start to drawn example", round(drawn, 2)),
        "start_cpu_s": ("  processor time of the server until then", round(start_cpu, 2)),
        "slider_ms": ("slider, key press to new picture, median", round(median(shown))),
        "slider_max_ms": (f"  slowest of {len(shown)}", round(max(shown))),
        "slider_server_ms": ("  processor time of the server, median", round(median(cpu))),
        "edit_ms": ("edit with its controls, R = 4, median", round(median(edited))),
        "edit_max_ms": (f"  slowest of {len(edited)}", round(max(edited))),
        "edit_server_ms": ("  processor time of the server, median", round(median(edit_cpu))),
        "rss_mb": ("server memory (resident)", round(memory)),
        "load": ("load average of the machine", round(load, 2)),
        "cores": ("its cores", os.cpu_count()),
    }
    for name, (what, value) in figures.items():
        print(f"{what:<46}{value} {name.rpartition('_')[2] if '_' in name else ''}".rstrip())
    print(json.dumps({name: value for name, (_, value) in figures.items()}))


if __name__ == "__main__":
    main()
