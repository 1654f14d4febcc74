"""docs/course.md, which says where the lessons of a course are found, leads to what there is."""

import re
from pathlib import Path

from lapwing_collector.query import METRICS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "course.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([\w/.-]+)(#[\w-]+)?\)", PAGE)))


def headings(page: str) -> set[str]:
    """What the headings of a page are linked by."""
    titles = re.findall(r"^#+ (.+)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    """Each page is there, and the heading on it where one is named."""
    assert [page for page, _ in LINKS if not (DOCS / page).exists()] == []
    assert [link for link in LINKS if link[1] and link[1] not in headings(link[0])] == []


def test_the_metrics_of_the_page_can_be_called() -> None:
    """Each metric that a lesson leads to is one of the library."""
    told = set(re.findall(r"\]\(metrics/(\w+)\.md\)", PAGE)) - {"README"}
    assert told <= {metric.name for metric in METRICS.values()}
    assert len(told) > 100
