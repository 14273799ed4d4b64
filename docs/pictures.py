"""The README's pictures, one per page of the app, and a contact sheet of all pages at all sizes, light and dark, taken
from a running app in Chromium: ``make pictures``.

python -m docs.pictures [--out docs] [--width 1440] [--height 1000] [--sheet out/sheet.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

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
        page.locator(".st-key-x_dag svg text").first.wait_for()
    if name == "intervene":
        page.locator(".st-key-i_preset_swap button").first.click()
        page.locator(".st-key-i_after svg text").first.wait_for()


ADDRESSES = {"explore": "?k=1", "intervene": "intervene", "training": "training", "dataset": "dataset"}
STATES = {
    "mind": "?k=6&mind=1",
    "compare": "?k=1&against=untrained",
    "edited": "intervene?edit=swap:t=1,strength=1.5",
    "analysis": "dataset?section=kswitch",
}
"""What else is on the contact sheet."""
SIZES = ((360, 740), (390, 844), (768, 1024), (1024, 768), (1280, 800), (1366, 768), (1440, 900), (1920, 1080))
"""Of the contact sheet; 200 % zoom is 720 by 450 at scale 2."""
THUMB = 330


def sheet(browser: Any, address: str, views: Mapping[str, str], out: Path) -> None:
    """All pages at all sizes, light and dark, each as a picture and all as one to look at."""
    rows, singles = [], out.with_suffix("")
    singles.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        for name, view in views.items():
            row = []
            for width, height, scale in [(*size, 1) for size in SIZES] + [(720, 450, 2)]:
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
                )
                page.goto(f"{address}/{view}")
                settle(page)
                path = singles / f"{name}-{scheme}-{width}.png"
                page.screenshot(path=str(path))
                row.append(Image.open(path).convert("RGB"))
                page.close()
            rows.append([image.resize((THUMB, THUMB * image.height // image.width)) for image in row])
    tall = [max(image.height for image in row) for row in rows]
    whole = Image.new("RGB", ((THUMB + 8) * len(rows[0]), sum(tall) + 8 * len(rows)), "#888")
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            whole.paste(image, (j * (THUMB + 8), sum(tall[:i]) + 8 * i))
    whole.save(out)
    print(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--sheet", type=Path, default=ROOT / "out" / "sheet.png", help="contact sheet of all sizes")
    options = parser.parse_args()
    if BROWSER is None:
        parser.exit(1, f"no browser on the path; one of {', '.join(BROWSERS)} is needed\n")
    with running_app(threads=2) as app, chromium() as browser:
        for name in options.pages:
            page = new_page(browser, options.width, options.height)
            page.goto(f"{app.address}/{ADDRESSES[name]}")
            settle(page)
            show(page, name)
            page.mouse.move(2, options.height - 2)  # no tooltip in the picture
            settle(page)
            page.screenshot(path=str(options.out / f"{name}.png"))
            page.close()
            print(f"{options.out / name}.png")
        sheet(browser, app.address, {name: ADDRESSES[name] for name in options.pages} | STATES, options.sheet)


if __name__ == "__main__":
    main()
