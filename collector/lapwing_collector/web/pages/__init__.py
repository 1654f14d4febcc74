"""The pages of the dashboard. A new one is a line in `PAGES`; docs/making-pages.md says how they are made."""

from collections.abc import Iterable, Mapping
from typing import Final

from lapwing_collector.web.pages import (
    advice,
    alert,
    alerts,
    delta,
    drift,
    explore,
    facets,
    marks,
    model,
    overview,
    record,
    report,
    reports,
    rows,
    rule,
    rules,
    sql,
    system,
)
from lapwing_collector.web.pages.page import Page, View

__all__ = ["KEYS", "NAVIGATION", "PAGES", "Page", "View"]

PAGES: Final = (
    overview.PAGE,
    overview.GLANCE,
    marks.MEANWHILE,
    model.PAGE,
    model.TOTALS,
    drift.PAGE,
    explore.PAGE,
    delta.PAGE,
    advice.PAGE,
    rows.PAGE,
    facets.PAGE,
    record.PAGE,
    alerts.PAGE,
    alert.PAGE,
    rules.PAGE,
    rule.PAGE,
    sql.PAGE,
    reports.PAGE,
    report.PAGE,
    system.PAGE,
)

NAVIGATION: Final = {
    "main": tuple(page for page in PAGES if page.nav and not page.of_model),
    "model": tuple(page for page in PAGES if page.nav and page.of_model),
}


def _keys(pages: Iterable[Page]) -> Mapping[str, str]:
    """A letter of each name, the first one that no page before has."""
    found: dict[str, str] = {}
    for page in pages:
        found[page.name] = next(letter for letter in page.nav.lower() if letter not in found.values())
    return found


KEYS: Final = _keys(NAVIGATION["main"])
"""The key that leads to each page, after `g`."""
