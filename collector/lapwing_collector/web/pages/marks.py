"""What happened meanwhile: alerts, new versions and notes, for the time axis of charts."""

from datetime import datetime
from typing import Any, Final

from lapwing_collector.web.pages.charts import Mark
from lapwing_collector.web.pages.page import View

_MOST: Final = 200
_USUAL: Final = frozenset({"alertname", "model", "severity"})


def marks_of(view: View) -> list[Mark]:
    """What happened to the model of a view, or to all, in its range of time; the newest if there is much."""
    span = {"from": view.span.since.isoformat(), "to": view.span.until.isoformat()}
    alerts = (each for each in view.read("episodes", **span) if _is_of(each, view.model))
    found = [*_versions(view), *_notes(view), *map(_alert, alerts)]
    known = [each for each in found if _concerns(each, view)]
    return sorted(known, key=lambda mark: mark.at)[-_MOST:]


def _versions(view: View) -> list[Mark]:
    shown = [view.known_model()] if view.model else view.models.all().values()
    return [
        Mark(
            at=_iso(first),
            kind="version",
            label=f"version {version} begins" if view.model else f"{known.name}: version {version} begins",
        )
        for known in shown
        for version, first in known.versions
        if first is not None and version
    ]


def _notes(view: View) -> list[Mark]:
    rows = view.rows(
        "SELECT time, ended_at, kind, version, text, author FROM annotations "
        "WHERE time < $until AND coalesce(ended_at, time) >= $since "
        "AND ($model IS NULL OR model IS NULL OR model = $model) ORDER BY time DESC LIMIT 100",
        since=view.span.since,
        until=view.span.until,
        model=view.model,
    )
    return [
        Mark(
            at=_iso(row["time"]),
            kind=row["kind"],
            label=" ".join(filter(None, (row["text"], row["version"] and f"(version {row['version']})"))),
            until=None if row["ended_at"] is None else _iso(row["ended_at"]),
        )
        for row in rows
    ]


def _is_of(episode: dict[str, Any], model: str | None) -> bool:
    return model is None or episode["labels"].get("model") in {None, model}


def _alert(episode: dict[str, Any]) -> Mark:
    told = ", ".join(f"{name}={value}" for name, value in episode["labels"].items() if name not in _USUAL)
    return Mark(
        at=episode["fired_at"],
        kind="alert",
        label=f"{episode['rule']} {told}".strip(),
        until=episode["resolved_at"],
        href=f"/alert?alert={episode['fingerprint']}",
    )


def _concerns(mark: Mark, view: View) -> bool:
    since, until = _iso(view.span.since), _iso(view.span.until)
    return mark.at < until and (mark.until or (mark.at if mark.kind != "alert" else until)) >= since


def _iso(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"
