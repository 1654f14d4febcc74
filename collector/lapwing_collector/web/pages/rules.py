"""Rules: everything that is judged or recorded, how it stands, and when it is looked at next."""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.web.pages.page import Page, View

_STATES: Final = ("firing", "recovering", "pending")
_TROUBLE: Final = ("error", "no_data", "missing", "insufficient")
_RECORDED: Final = """
SELECT metric, model, arg_max(value, window_start) AS value, count(DISTINCT series) AS series
FROM metric_values_latest
WHERE window_start >= $since AND window_start < $until
GROUP BY ALL
LIMIT 10000
""".strip()


def show(view: View) -> Mapping[str, Any]:
    """Every rule: those that fire first, then those in trouble, then the others as their files have them."""
    known = [with_standing(each) for each in view.read_or([], "rules")]
    if any(each["kind"] == "record" for each in known):
        values = _recorded(view)
        for each in known:
            if each["kind"] == "record":
                each["value"], each["series"] = values.get((each["name"], each["model"]), (None, 0))
    known.sort(key=lambda each: each["rank"])
    return {
        "rules": known,
        "firing": sum(each["standing"] in _STATES[:2] for each in known),
        "troubled": sum(each["health"] in _TROUBLE for each in known),
    }


def with_standing(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule with one word for how it stands: what its worst alert is, else what its last evaluation was."""
    standing = next((state for state in _STATES if rule["alerts"].get(state)), None)
    health = rule["health"]
    if standing is None:
        standing = "off" if not rule["enabled"] else health or "not yet"
    order = (*_STATES, *_TROUBLE)
    firing = rule["alerts"].get("firing", 0) + rule["alerts"].get("recovering", 0)
    rank = order.index(standing) if standing in order else len(order)
    return dict(rule) | {"standing": standing, "firing": firing, "rank": rank}


def _recorded(view: View) -> dict[tuple[str, str | None], tuple[float | None, int]]:
    """The newest value of what is recorded, where it has one series, and how many; by metric and model."""
    try:
        rows = view.rows(_RECORDED, since=view.span.since, until=view.span.until)
    except NotSeenYetError:
        return {}
    return {
        (row["metric"], row["model"]): (row["value"] if row["series"] == 1 else None, row["series"])
        for row in rows
    }


PAGE: Final = Page(path="/rules", name="rules", title="Rules", nav="Rules", show=show)
