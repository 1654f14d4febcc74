"""Advice: whether to retrain a model, and how that follows."""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.web.pages.page import Page, View

_TONES: Final = {"fine": "good", "watch": "", "unknown": ""}


def show(view: View) -> Mapping[str, Any]:
    """The advice on the model's last seven days, with the questions that lead to it.

    Raises:
        LapwingError: There is no such model, or the lake cannot be asked.
    """
    made = view.read("advice/{model:path}", model=view.known_model().name)
    return {
        "report": made,
        "advice": made["advice"],
        "tone": _TONES.get(made["advice"]["state"], "bad"),
    }


PAGE: Final = Page(
    path="/model/advice", name="advice", title="Advice", nav="Advice", show=show, of_model=True
)
