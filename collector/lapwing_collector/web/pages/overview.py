"""Overview: is anything wrong? What fires, then every model; before the first one, how to begin."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lapwing_collector.engine import literal
from lapwing_collector.errors import LapwingError
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.web.pages.alerts import completed, distinguishing, urgent
from lapwing_collector.web.pages.drift import verdicts, worst_first
from lapwing_collector.web.pages.newest import Newest
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.sources import KnownModel
from lapwing_collector.web.span import interval

_SHOWN: Final = 60
"""Models on one page."""
_POINTS: Final = 48
_HOUR: Final = timedelta(hours=1)
_LOOKED_AT: Final = 100_000
"""Of the newest predictions, to tell how many have a label: more would take longer, and say the same."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a model: over the whole range of time, and in steps of it.

    Attributes:
        label: What it is.
        unit: How it is written: `number`, `share` or `ms`.
        whole: Over the whole range; None where there is nothing to tell.
        steps: In each step.
    """

    label: str
    unit: str
    whole: float | None
    steps: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Card:
    """One model at a glance.

    Attributes:
        name: As people call it.
        firing: How many alerts of it fire.
        version: The newest one.
        measures: Its traffic, failures, latency, and what it says.
        newest: The newest hour that has predictions; None where none has in the range of time.
    """

    name: str
    firing: int
    version: str
    measures: Sequence[Measure]
    newest: datetime | None


def show(view: View) -> Mapping[str, Any]:
    """Firing alerts first, then every model."""
    alerts = view.read_or([], "alerts")
    open_ = completed(view, (each for each in alerts if each["state"] in {"firing", "recovering"}))
    open_.sort(key=lambda each: (not urgent(each), each["fired_at"] or ""))
    known = list(view.models.all().values())
    page = max(0, int(told) if (told := view.asked.get("page", "0")).isdecimal() and len(told) < 7 else 0)
    wanted = view.asked.get("find", "").strip().lower()
    found = [each for each in known if wanted in each.name.lower()]
    firing: dict[str, int] = defaultdict(int)
    for each in open_:
        firing[each["labels"].get("model", "")] += 1
    found.sort(key=lambda each: (-firing[each.name], each.name))
    shown = found[page * _SHOWN : (page + 1) * _SHOWN]
    return {
        "alerts": open_,
        "pending": sum(each["state"] == "pending" for each in alerts),
        "told_by": distinguishing,
        "cards": _cards(view, shown, firing) if shown else [],
        "known": len(known),
        "found": len(found),
        "find": view.asked.get("find", ""),
        "more": page + 1 if len(found) > (page + 1) * _SHOWN else None,
        "endpoint": view.sources.endpoint(),
        "demo": view.read("demo") if "demo" in view.sources.reads and not known else None,
    }


def show_glance(view: View) -> Mapping[str, Any]:
    """What of a card takes longer: how many of its newest predictions have a label, and what drifted most."""
    table = view.table()
    try:
        drifts = [each for each in verdicts(view, table, None) if each["value"] is not None]
        problem = "no field can be compared"
    except LapwingError as error:
        drifts, problem = [], str(error)
    return {
        "coverage": _coverage(view, table),
        "worst": min(drifts, key=worst_first, default=None),
        "problem": problem,
    }


def _coverage(view: View, table: str) -> Mapping[str, Any] | None:
    begin = Newest.of(view, table, "production").begin_of(_LOOKED_AT)
    sql = f"SELECT value, sample_count, label_maturity FROM label_coverage({literal(table)}, $since, $until)"
    return next(iter(view.rows(sql, since=begin, until=view.span.until)), None)


def _cards(view: View, shown: Sequence[KnownModel], firing: Mapping[str, int]) -> list[Card]:
    described = view.models.descriptions([each.table for each in shown])
    outputs = {table: _output(told) for table, told in described.items()}
    span = view.span
    step = max(_HOUR, -(-span.length // (_HOUR * _POINTS)) * _HOUR)
    start = span.since.replace(minute=0, second=0, microsecond=0)
    rows = view.rows(
        _COUNTED,
        tables=[each.table for each in shown],
        fields=[outputs[each.table][0] for each in shown],
        classes=[outputs[each.table][1] for each in shown],
        since=start,
        until=span.until,
        step=interval(step),
    )
    told: dict[tuple[str, str], dict[datetime, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        told[row["table_name"], row["field"]][row["time"]] = row
    times = [start + step * at for at in range(-(-(span.until - start) // step))]
    return [
        Card(
            name=each.name,
            firing=firing.get(each.name, 0),
            version=next((version for version, _ in reversed(each.versions) if version), ""),
            measures=_measures(
                [told[each.table, name] for name in ("duration_ms", "error_type", outputs[each.table][0])],
                times,
                outputs[each.table],
            ),
            newest=max((row["newest"] for row in told[each.table, "duration_ms"].values()), default=None),
        )
        for each in shown
    ]


def _measures(
    told: Sequence[Mapping[datetime, Mapping[str, Any]]], times: Sequence[datetime], output: tuple[str, str]
) -> list[Measure]:
    calls, failures, said = told
    is_class = any(row["is_class"] for row in said.values())
    name = output[0].removeprefix("output.") + (f" = {output[1]}" if is_class else "")
    known = (
        ("Predictions", "number", calls, "rows", None),
        ("Failed", "share", failures, "other", "rows"),
        ("Mean latency", "ms", calls, "total", "known"),
        (name, "share", said, "hits", "rows")
        if is_class
        else (f"Mean {name}", "number", said, "total", "known"),
    )
    return [
        Measure(
            label,
            unit,
            _ratio(list(counted.values()), part, whole),
            [_ratio([counted[time]] if time in counted else [], part, whole) for time in times],
        )
        for label, unit, counted, part, whole in known
        if counted or label in {"Predictions", "Failed"}
    ]


def _ratio(rows: Sequence[Mapping[str, Any]], part: str, whole: str | None) -> float | None:
    """What rows have together of one thing, divided by another where there is one."""
    parts: list[float] = [row[part] for row in rows if row[part] is not None]
    if whole is None:
        return sum(parts)
    of = sum(row[whole] for row in rows)
    return float(sum(parts) / of) if of and parts else None


def _output(described: ModelDescription) -> tuple[str, str]:
    """The field that says most of what a model says, and its positive class where it has two."""
    if described.score:
        return described.score, ""
    classes = [str(each) for each in described.classes or ()]
    positive = described.positive_class or (classes[-1] if len(classes) == 2 else "")
    return described.prediction or "", str(positive)


_COUNTED: Final = """
SELECT
    p.table_name,
    p.field,
    time_bucket($step::INTERVAL, p.time, $since) AS time,
    max(p.time) AS newest,
    sum(list_sum(p.counts))::BIGINT AS rows,
    sum(p.counts[2])::BIGINT AS other,
    sum(list_sum(p.counts) - p.counts[1] - p.counts[2])::BIGINT AS known,
    sum(p.sum) AS total,
    bool_or(b.kind = 'category') AS is_class,
    sum(p.counts[
        list_position(b.categories, $classes[list_position($tables, p.table_name)]) + 2
    ])::BIGINT AS hits
FROM profiles AS p
LEFT JOIN (SELECT DISTINCT binning_id, kind, categories FROM binnings) AS b USING (binning_id)
WHERE list_contains($tables, p.table_name) AND p.segment = '' AND p.stage = 'production'
    AND (
        p.field IN ('duration_ms', 'error_type')
        OR p.field = $fields[list_position($tables, p.table_name)]
    )
    AND p.time >= $since AND p.time < $until
GROUP BY ALL
""".strip()
"""Counts of every model that is shown, at once."""

PAGE: Final = Page(
    path="/", name="overview", title="Overview", nav="Overview", show=show, in_place=True, begins=True
)

GLANCE: Final = Page(
    path="/model/glance", name="glance", title="At a glance", show=show_glance, of_model=True
)
