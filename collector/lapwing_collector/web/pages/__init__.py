"""The pages of the dashboard. A new one is a line in `PAGES`; docs/making-pages.md says how they are made."""

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

__all__ = ["NAVIGATION", "PAGES", "Page", "View"]

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
