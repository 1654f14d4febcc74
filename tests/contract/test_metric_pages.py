"""The pages of metrics are what their headers and their SQL make them."""

import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "metrics"
PAGES = runpy.run_path(str(FOLDER / "pages.py"))["pages"]()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    """Who changed a metric has its page written anew: python docs/metrics/pages.py."""
    file = FOLDER / name
    written = file.read_text(encoding="utf-8") if file.exists() else ""
    assert written == PAGES[name], "run: python docs/metrics/pages.py"


def test_no_page_is_left_over() -> None:
    """A metric that is no more has no page."""
    assert {file.name for file in FOLDER.glob("*.md")} == set(PAGES)


def test_every_metric_is_in_the_index() -> None:
    """The index leads to each page."""
    linked = set(re.findall(r"\]\((\w+\.md)\)", PAGES["README.md"]))
    assert linked >= set(PAGES) - {"README.md"}
