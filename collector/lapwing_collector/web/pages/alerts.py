"""Alerts: which fire, when each one fired, what keeps them quiet, and messages that did not arrive."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from lapwing_collector.clock import read_utc
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.pages.past import past_of
from lapwing_collector.web.span import Span

_OPEN: Final = ("firing", "recovering", "pending")
_URGENT: Final = ("page", "critical")
_MOST_STRIPS: Final = 60
_MOST_ROWS: Final = 200
_COMMON: Final = frozenset({"alertname", "severity", "model"})


@dataclass(frozen=True, slots=True)
class Strip:
    """When the alerts of one rule fired, as bars along the range of time.

    Attributes:
        rule: Whose.
        bars: Each with `left` and `width`, both of 1000, and what its title says.
        count: How often it fired.
        share: For how much of the range at least one did.
    """

    rule: str
    bars: Sequence[Mapping[str, Any]]
    count: int
    share: float


def show(view: View) -> Mapping[str, Any]:
    """What fires, the most urgent first; then the past, silences and messages that were given up."""
    known = completed(view, view.read_or([], "alerts"))
    known.sort(key=lambda each: (_OPEN.index(each["state"]), not urgent(each), each["fired_at"] or ""))
    past = past_of(view)
    found = strips(past.episodes, view.span, view.now)
    return {
        "alerts": known,
        "strips": found[:_MOST_STRIPS],
        "rules": len(found),
        "past": past,
        "episodes": past.episodes[:_MOST_ROWS],
        "silences": view.read_or([], "silences"),
        "dead": view.read_or([], "dead")[:200],
        "told_by": distinguishing,
    }


def completed(view: View, alerts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Alerts with the address of their `rows` on this server, and their condition where nobody was told."""
    known = list(alerts)
    told = all(
        each.get("window_start") and (each.get("rows_url") or "model" in each["labels"]) for each in known
    )
    rules = {} if told else {each["rule"]: each for each in view.read_or([], "rules")}
    made = []
    for each in known:
        rule = rules.get(each["rule"], {})
        made.append({"condition": rule.get("condition")} | dict(each) | {"rows": _rows_of(view, each, rule)})
    return made


def _rows_of(view: View, alert: Mapping[str, Any], rule: Mapping[str, Any]) -> str | None:
    """Where the rows behind an alert are: as it was told, by its window, or by when its condition held."""
    told = urlsplit(alert.get("rows_url") or "")
    if told.path:
        return f"{told.path}?{told.query}"
    labels = alert["labels"]
    model = labels.get("model") or rule.get("model")
    begun = _moment(alert["active_at"] or alert["fired_at"])
    if alert.get("window_start"):
        span = {"from": alert["window_start"], "to": alert["window_end"]}
    elif begun is not None:
        window = timedelta(seconds=rule.get("window_s") or 0)
        ended = _moment(alert["resolved_at"]) or max(begun, view.now)
        span = {"from": f"{(begun - window).isoformat()}Z", "to": f"{ended.isoformat()}Z"}
    else:
        return None
    if model is None:
        return None
    return view.link("/model/rows", **{"last": None, **distinguishing(labels), "name": model, **span})


def urgent(alert: Mapping[str, Any]) -> bool:
    """Whether somebody is to be woken for it."""
    return alert["labels"].get("severity") in _URGENT


def distinguishing(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that tell an alert from others of its rule."""
    return {name: value for name, value in labels.items() if name not in _COMMON}


def strips(episodes: Iterable[Mapping[str, Any]], span: Span, now: datetime) -> list[Strip]:
    """For each rule, when its alerts fired; those that fired most first."""
    by_rule = defaultdict(list)
    for each in episodes:
        by_rule[each["rule"]].append(each)
    made = [_strip(rule, found, span, now) for rule, found in by_rule.items()]
    return sorted(made, key=lambda strip: -strip.share)


def _strip(rule: str, episodes: Sequence[Mapping[str, Any]], span: Span, now: datetime) -> Strip:
    bars = []
    covered: list[tuple[float, float]] = []
    for each in episodes:
        begun = _moment(each["fired_at"]) or span.since
        ended = _moment(each["resolved_at"])
        left, width = span.along(begun, ended or min(now, span.until))
        covered.append((left, left + width))
        bars.append(
            {
                "left": round(left * 1000, 2),
                "width": round(max(2.0, width * 1000), 2),
                "fires": ended is None,
                "fingerprint": each["fingerprint"],
                "title": _title(each),
            }
        )
    return Strip(rule, bars, len(bars), _union(covered))


def _title(episode: Mapping[str, Any]) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in distinguishing(episode["labels"]).items())
    until = episode["resolved_at"] or "now"
    return f"{episode['fired_at']} to {until}" + (f": {labels}" if labels else "")


def _union(covered: Iterable[tuple[float, float]]) -> float:
    """How much of the range the intervals cover together."""
    total = reached = 0.0
    for left, right in sorted(covered):
        total += max(0.0, right - max(left, reached))
        reached = max(reached, right)
    return total


def _moment(text: str | None) -> datetime | None:
    return None if text is None else read_utc(text)


PAGE: Final = Page(path="/alerts", name="alerts", title="Alerts", nav="Alerts", show=show)
