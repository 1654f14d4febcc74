"""Overview: is anything wrong?"""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.web.pages.page import Page, View


def show(view: View) -> Mapping[str, Any]:
    """Firing alerts first, then every model."""
    alerts = [each for each in view.read("alerts") if each["state"] in {"firing", "recovering"}]
    return {"alerts": alerts, "known": view.read("models")}


PAGE: Final = Page(path="/", name="overview", title="Overview", nav="Overview", show=show)
