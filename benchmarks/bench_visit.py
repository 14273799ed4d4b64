"""A first visit, in a real browser: ``python -m benchmarks.bench_visit``.

Starts the app on a free port, opens it in Chromium as somebody new does, and touches nothing until the answer is drawn;
then presses *Change its mind* once. Prints a table, then one JSON line. Needs the processor time of an idle machine.
"""

from __future__ import annotations

import json
import os
import sys
import time

from tests.served import BROWSER, chromium, new_page, running_app

FIRST_SCREEN = 1366, 768


def main() -> None:
    if BROWSER is None:
        sys.exit("no Chromium on the path")
    clicks, loaded = 0, 0
    with chromium() as browser:
        page = new_page(browser, *FIRST_SCREEN)
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")

        def count(event: dict[str, float]) -> None:
            nonlocal loaded
            loaded += int(event["encodedDataLength"])

        network.on("Network.loadingFinished", count)
        started = time.perf_counter()
        with running_app(threads=os.cpu_count() or 1) as app:
            page.goto(app.address)
            page.locator(".st-key-x_dag svg text").first.wait_for()
            first = time.perf_counter() - started
            page.locator("input[aria-label=Thought][aria-valuetext=answer]").wait_for(state="attached")
            answer = time.perf_counter() - started
            page.get_by_role("button", name="Play", exact=True).wait_for()
            pressed = time.perf_counter()
            page.get_by_role("button", name="Change its mind").click()
            clicks += 1
            page.locator(".st-key-x_mind_1 svg text").first.wait_for()
            replayed = time.perf_counter() - pressed
            page.get_by_text("answer flips").wait_for()
            flipped = time.perf_counter() - pressed
    figures = {
        "first_s": ("start to first frame", round(first, 2)),
        "answer_s": ("start to answer drawn, by itself", round(answer, 2)),
        "clicks": ("clicks to the first flipped answer", clicks),
        "replayed_s": ("  from the press to both searches on the screen", round(replayed, 2)),
        "flipped_s": ("  from the press to the flipped answer", round(flipped, 2)),
        "loaded_mb": ("bytes loaded by the browser", round(loaded / 1e6, 2)),
        "load": ("load average of the machine", round(os.getloadavg()[0], 2)),
        "cores": ("its cores", os.cpu_count()),
    }
    for name, (what, value) in figures.items():
        print(f"{what:<52}{value} {name.rpartition('_')[2] if '_' in name else ''}".rstrip())
    print(json.dumps({name: value for name, (_, value) in figures.items()}))


if __name__ == "__main__":
    main()
