"""Reports: what the gate said of candidates, the newest first."""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.web.pages.page import Page, View


def show(view: View) -> Mapping[str, Any]:
    """The runs that are kept, of one model where the address tells `model`."""
    kept = view.read("evaluations")
    asked = view.asked.get("model") or None
    return {
        "of": asked,
        "judged": sorted({each["model"] for each in kept}),
        "runs": [each for each in kept if asked in {None, each["model"]}],
    }


PAGE: Final = Page(path="/reports", name="reports", title="Reports", nav="Reports", show=show)
