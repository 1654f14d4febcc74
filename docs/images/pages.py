"""Takes pictures of the dashboard's pages, for the documentation.

    lapwing demo --data .demo &            # or any collector with a model; wait until it says "runs on"
    python docs/images/pages.py http://127.0.0.1:4319 flights

Needs Playwright for Python and Chromium; see `bench/ui.py`.
"""

import sys
from pathlib import Path
from shutil import which
from urllib.parse import quote

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent / "pages"
CHROMIUM = which("chromium-headless-shell") or which("chromium")
PAGES = {
    "overview": "/?last=30d",
    "model": "/model?name={model}&last=30d",
    "drift": "/model/drift?name={model}&last=30d",
    "explore": "/model/explore?name={model}&last=30d",
    "rows": "/model/rows?name={model}&last=24h",
    "alerts": "/alerts?last=90d",
    "rules": "/rules",
    "rule": "/rule?rule={model}/LateShareHigh&last=90d",
    "sql": "/sql",
    "reports": "/reports",
    "advice": "/model/advice?name={model}",
    "system": "/system",
}
DARK = ("overview", "model")
"""Pages that are shown in both themes."""
WIDTH, HEIGHT = 1280, 860


def main() -> None:
    """Take a picture of each page."""
    address, model = sys.argv[1:]
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme)
            for name, path in PAGES.items():
                if theme == "dark" and name not in DARK:
                    continue
                page.goto(address + path.format(model=quote(model)))
                page.wait_for_selector("html[data-ready]")
                page.wait_for_function("() => !document.querySelector('[data-part][aria-busy=true]')")
                page.screenshot(path=FOLDER / f"{name}-{theme}.jpg", type="jpeg", quality=65)
        browser.close()


if __name__ == "__main__":
    main()
