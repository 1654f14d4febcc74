"""The pages of metrics are what their headers and their SQL make them."""

import re
import runpy
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "metrics"
PAGES = runpy.run_path(str(FOLDER / "pages.py"))["pages"]()


def test_pages_are_up_to_date() -> None:
    """Who changed a metric has its page written anew; one that is no more has no page."""
    written = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.md")}
    stale = {name for name in written | PAGES if written.get(name) != PAGES.get(name)}
    assert not stale, "run: python docs/metrics/pages.py"


def test_every_metric_is_in_the_index() -> None:
    """The index leads to each page."""
    linked = set(re.findall(r"\]\((\w+\.md)\)", PAGES["README.md"]))
    assert linked >= set(PAGES) - {"README.md"}
