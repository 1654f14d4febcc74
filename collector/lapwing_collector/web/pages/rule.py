"""One rule: as its file has it, what it does to the lake, what it told, and what it would have told."""

import re
from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.errors import ConfigError, NotSeenYetError
from lapwing_collector.web.pages.alerts import completed, distinguishing, strips
from lapwing_collector.web.pages.charts import Chart, Series
from lapwing_collector.web.pages.limits import Limits
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.pages.past import past_of
from lapwing_collector.web.pages.rules import with_standing

_SIMPLE: Final = re.compile(
    r"\s*value\s*(?P<sign>>=?|<=?)\s*(?P<threshold>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.IGNORECASE
)
"""A condition with a number that can be pulled."""
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def show(view: View) -> Mapping[str, Any]:
    """Everything that is known of the rule that the address tells as `rule`.

    Raises:
        NotSeenYetError: It tells none.
        UnknownRuleError: There is no such rule.
    """
    asked = view.asked.get("rule")
    if not asked:
        raise NotSeenYetError("say which rule: ?rule=GROUP/NAME; the page of rules lists them")
    rule = with_standing(view.read("rules/{rule:path}", rule=asked))
    past = past_of(view, rule=rule["rule"])
    condition = rule["condition"]
    simple = _SIMPLE.fullmatch(condition or "")
    return {
        "rule": rule,
        "title": rule["name"],
        "alerts": completed(view, [each for each in view.read("alerts") if _is_of(each, rule)]),
        "past": past,
        "strips": strips(past.episodes, view.span, view.now),
        "told_by": distinguishing,
        "routes": _routes(view, rule) if rule["kind"] == "alert" else None,
        "charts": [_recorded(view, rule)] if rule["kind"] == "record" else [],
        "sign": simple["sign"] if simple else None,
        "threshold": float(simple["threshold"]) if simple else None,
        "for_text": _duration(rule["for_s"]),
    }


def _routes(view: View, rule: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Where an alert of the rule would arrive now, by the labels that it has whatever its row says."""
    fixed = {name: text for name, text in rule["labels"].items() if "{{" not in text}
    labels = {"alertname": rule["name"], **fixed}
    told = ", ".join(f"{_quoted(name)}={_quoted(text)}" for name, text in labels.items())
    try:
        found: list[Mapping[str, Any]] = view.read_or(None, "routes/{labels:path}", labels=told)
    except ConfigError:  # a label that no matcher can be written for
        return None
    return found


def _quoted(text: str) -> str:
    """A text as matchers have it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _is_of(alert: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    return bool(alert["rule"] == rule["rule"])


def _recorded(view: View, rule: Mapping[str, Any]) -> Chart:
    known = view.models.named(rule["model"] or "")
    limits = Limits() if known is None else Limits.of(view, known.table)
    return Chart(
        panel="model/recorded",
        title="Recorded",
        by="series",
        series=(Series("value"),),
        thresholds=limits.recorded(rule["name"]),
        coverage="label_coverage",
        from_zero=False,
        wide=True,
        empty="No window of this rule begins in this range of time",
        asked=(("metric", rule["name"]), ("model", rule["model"] or "")),
    )


def _duration(seconds: float) -> str:
    """A duration as rule files have it: `1h30m`."""
    left = round(seconds)
    parts = []
    for length, unit in _UNITS:
        if left >= length:
            parts.append(f"{left // length}{unit}")
            left %= length
    return "".join(parts) or "0s"


PAGE: Final = Page(path="/rule", name="rule", title="Rule", show=show)
