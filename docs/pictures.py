"""The README's pictures, one a page of the app, taken from a running app in Chromium: ``make pictures``.

python -m docs.pictures [--out docs] [--width 1440] [--height 1000]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tests.served import BROWSER, BROWSERS, DRAWN, ROOT, chromium, new_page, running_app

PAGES = ("explore", "intervene", "training", "dataset")


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
        page.get_by_role("slider", name="Thought").wait_for()
        page.locator(".st-key-x_dag svg text").first.wait_for()
    if name == "intervene":
        page.locator(".st-key-i_preset_swap button").first.click()
        page.locator(".st-key-i_after svg text").first.wait_for()
    if name == "dataset":  # a finished run: what the page itself proposes, minutes the first time
        page.locator(".st-key-d_mode").get_by_text("Run", exact=True).click()
        settle(page)
        page.locator(".st-key-d_run button").click()
        settle(page)
        page.locator(".st-key-d_cancel").wait_for(state="hidden", timeout=1_800_000)
        settle(page)
        page.locator(".st-key-d_section").get_by_text("k-switch", exact=True).click()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=1000)
    options = parser.parse_args()
    if BROWSER is None:
        parser.exit(1, f"no browser on the path; one of {', '.join(BROWSERS)} is needed\n")
    with running_app(threads=2) as app, chromium() as browser:
        for name in options.pages:
            page = new_page(browser, options.width, options.height)
            page.goto(f"{app.address}/{name}" if name != PAGES[0] else app.address)
            settle(page)
            show(page, name)
            page.mouse.move(2, options.height - 2)  # no tooltip in the picture
            settle(page)
            page.screenshot(path=str(options.out / f"{name}.png"))
            page.close()
            print(f"{options.out / name}.png")


if __name__ == "__main__":
    main()
