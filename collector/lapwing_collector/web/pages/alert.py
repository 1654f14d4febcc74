"""One alert: what it is about, who was told what, and what can be done about it."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.web.pages.alerts import completed, distinguishing
from lapwing_collector.web.pages.page import Page, View

_FIRING: Final = ("firing", "recovering")


def show(view: View) -> Mapping[str, Any]:
    """Everything that is known of the alert whose fingerprint the address tells as `alert`.

    Raises:
        NotSeenYetError: It tells none, or there is no such alert.
    """
    asked = view.asked.get("alert")
    if not asked:
        raise NotSeenYetError("say which alert: ?alert=FINGERPRINT; the page of alerts lists them")
    (alert,) = completed(view, [view.read("alerts/{fingerprint}", fingerprint=asked)])
    runbook = alert["annotations"].get("runbook_url") or ""
    return {
        "alert": alert,
        "title": alert["labels"].get("alertname", "Alert"),
        "fires": alert["state"] in _FIRING,
        # What a rule file says is shown, and followed only where it leads to a page.
        "runbook": runbook if urlsplit(runbook).scheme in {"http", "https"} else None,
        "told_by": distinguishing,
    }


PAGE: Final = Page(path="/alert", name="alert", title="Alert", show=show)
