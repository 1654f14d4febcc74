"""What happened meanwhile: alerts, new versions and notes, for the time axis of charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lapwing_collector.clock import read_utc
from lapwing_collector.web.pages.charts import Mark
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.pages.past import MOST, past_of

_MOST: Final = 200
_LEAST: Final = 3.0
_USUAL: Final = frozenset({"alertname", "model", "severity"})


@dataclass(frozen=True, slots=True)
class Marks:
    """What happened.

    Attributes:
        shown: The newest, in order of time.
        left_out: What is not among these, in a sentence; empty if nothing is.
    """

    shown: Sequence[Mark]
    left_out: str


def marks_of(view: View) -> Marks:
    """What happened to the model of a view, or to all, in its range of time; the newest if there is much."""
    past = past_of(view)
    alerts = (each for each in past.episodes if _is_of(each, view.model))
    found = [*_versions(view), *_notes(view), *(_alert(each, view.model) for each in alerts)]
    known = sorted((each for each in found if _concerns(each, view)), key=lambda mark: mark.at)
    left_out = ""
    if len(known) > _MOST:
        left_out = f"More happened than fits here: shown are the {_MOST} that began last."
    elif past.cut:
        left_out = f"Of the alerts of all models that are over, the last {MOST:,} were looked through."
    return Marks(known[-_MOST:], left_out)


@dataclass(frozen=True, slots=True)
class Placed:
    """A mark along the range of time, as a bar of which both are of 1000.

    Attributes:
        mark: What happened.
        left: Where it begins.
        width: Enough to be seen, at least.
    """

    mark: Mark
    left: float
    width: float


def show_meanwhile(view: View) -> Mapping[str, Any]:
    """What happened to all models, along the range of time: alerts, and all else."""
    marks = marks_of(view)
    bands = {
        "Alerts": [_placed(mark, view) for mark in marks.shown if mark.kind == "alert"],
        "Versions and notes": [_placed(mark, view) for mark in marks.shown if mark.kind != "alert"],
    }
    return {"marks": marks, "bands": bands}


def _placed(mark: Mark, view: View) -> Placed:
    begun = read_utc(mark.at)
    lasts = min(view.now, view.span.until) if mark.kind == "alert" else begun
    left, width = view.span.along(begun, lasts if mark.until is None else read_utc(mark.until))
    return Placed(mark, round(left * 1000, 2), round(max(_LEAST, width * 1000), 2))


def _versions(view: View) -> list[Mark]:
    shown = [view.known_model()] if view.model else view.models.all().values()
    return [
        Mark(
            at=_iso(first),
            kind="version",
            label=f"{_of(known.name, view.model)}version {version} begins",
        )
        for known in shown
        for version, first in known.versions
        if first is not None and version
    ]


def _notes(view: View) -> list[Mark]:
    rows = view.rows(
        "SELECT time, ended_at, kind, model, version, text FROM annotations "
        "WHERE time < $until AND coalesce(ended_at, time) >= $since "
        "AND ($model IS NULL OR model IS NULL OR model = $model) ORDER BY time DESC LIMIT $most",
        most=_MOST + 1,
        since=view.span.since,
        until=view.span.until,
        model=view.model,
    )
    return [
        Mark(
            at=_iso(row["time"]),
            kind=row["kind"],
            label=_of(row["model"], view.model)
            + " ".join(filter(None, (row["text"], row["version"] and f"(version {row['version']})"))),
            until=None if row["ended_at"] is None else _iso(row["ended_at"]),
        )
        for row in rows
    ]


def _is_of(episode: Mapping[str, Any], model: str | None) -> bool:
    return model is None or episode["labels"].get("model") in {None, model}


def _of(model: str | None, shown: str | None) -> str:
    """Whose something is, where a page shows more than one model."""
    return f"{model}: " if model and not shown else ""


def _alert(episode: Mapping[str, Any], shown: str | None) -> Mark:
    told = ", ".join(f"{name}={value}" for name, value in episode["labels"].items() if name not in _USUAL)
    return Mark(
        at=episode["fired_at"],
        kind="alert",
        label=f"{_of(episode['labels'].get('model'), shown)}{episode['rule']} {told}".strip(),
        until=episode["resolved_at"],
        href=f"/alert?alert={episode['fingerprint']}",
    )


def _concerns(mark: Mark, view: View) -> bool:
    since, until = _iso(view.span.since), _iso(view.span.until)
    return mark.at < until and (mark.until or (mark.at if mark.kind != "alert" else until)) >= since


def _iso(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"


MEANWHILE: Final = Page(path="/meanwhile", name="meanwhile", title="Meanwhile", show=show_meanwhile)
