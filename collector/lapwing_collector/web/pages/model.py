"""Model: traffic, latency, errors and predictions of one model."""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.web.pages.charts import Chart, Kind, Series, Unit
from lapwing_collector.web.pages.page import Page, View


def show(view: View) -> Mapping[str, Any]:
    """The charts of a model."""
    view.table()
    return {
        "charts": [
            Chart(
                panel="model/traffic",
                title="Predictions",
                kind=Kind.AREA,
                unit=Unit.COUNT,
                by="version",
                series=(Series("predictions"),),
                empty="No predictions in this range of time",
            )
        ]
    }


PAGE: Final = Page(path="/model", name="model", title="Model", nav="Model", show=show, of_model=True)
