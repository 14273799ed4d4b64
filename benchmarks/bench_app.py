"""Start, slider, edits and memory of the app, in a real browser: ``python -m benchmarks.bench_app``.

Starts ``streamlit run app/main.py`` on a free port and opens it in Chromium (headless, found on the path), which needs
processor time of its own. Prints a table, then one JSON line. ``server_ms`` is processor time of the server alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
IDLE = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
TICK = os.sysconf("SC_CLK_TCK")


def server_times(pid: int) -> tuple[float, float]:
    """Processor seconds and resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def slide(page: Page, pid: int) -> tuple[list[float], list[float]]:
    """Milliseconds from key press to the new picture, and processor milliseconds of the server, for each move."""
    slider = page.get_by_role("slider", name="after k thoughts")
    slider.press("Home")
    page.get_by_text("Thought 1", exact=True).first.wait_for()
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
    """The same for edits that were not made before, each with its controls under 4 draws (Intervene)."""
    strength = page.get_by_role("slider", name="Strength")
    text = page.get_by_role("textbox", name="The same as text")
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
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser_path is None:
        sys.exit("no Chromium on the path")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(120_000)
        started = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app/main.py", *options], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            page.goto(f"http://127.0.0.1:{port}")
            page.locator(".st-key-x_dag svg text").first.wait_for()
            drawn = time.perf_counter() - started
            start_cpu = server_times(server.pid)[0]
            page.wait_for_function(IDLE)
            shown, cpu = slide(page, server.pid)
            page.goto(f"http://127.0.0.1:{port}/intervene")
            page.locator(".st-key-i_before svg text").first.wait_for()
            page.wait_for_function(IDLE)
            edited, edit_cpu = edits(page, server.pid)
            memory = server_times(server.pid)[1]
        finally:
            server.terminate()
            server.wait()
        browser.close()
    load = os.getloadavg()[0]
    for what, value in (
        ("start to drawn example", f"{drawn:.1f} s"),
        ("  processor time of the server until then", f"{start_cpu:.1f} s"),
        ("slider, key press to new picture, median", f"{median(shown):.0f} ms"),
        ("  slowest of", f"{len(shown)}: {max(shown):.0f} ms"),
        ("  processor time of the server, median", f"{median(cpu):.0f} ms"),
        ("edit with its controls, R = 4, median", f"{median(edited):.0f} ms"),
        ("  slowest of", f"{len(edited)}: {max(edited):.0f} ms"),
        ("  processor time of the server, median", f"{median(edit_cpu):.0f} ms"),
        ("server memory (resident)", f"{memory:.0f} MB"),
        ("load average of the machine, its cores", f"{load:.1f}, {os.cpu_count()}"),
    ):
        print(f"{what:<46}{value}")
    print(
        json.dumps(
            {
                "drawn_s": round(drawn, 2),
                "start_cpu_s": round(start_cpu, 2),
                "slider_ms": round(median(shown)),
                "slider_max_ms": round(max(shown)),
                "slider_server_ms": round(median(cpu)),
                "edit_ms": round(median(edited)),
                "edit_max_ms": round(max(edited)),
                "edit_server_ms": round(median(edit_cpu)),
                "rss_mb": round(memory),
                "load": round(load, 2),
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()
