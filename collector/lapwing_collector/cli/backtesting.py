"""What `lapwing rules backtest` says."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from lapwing_collector.cli.output import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapwing_collector.app.rule_tools.backtest import Backtest, Tried
    from lapwing_collector.rules import Summary

_SHOWN: Final = 20
"""Episodes of a rule that people are shown."""
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def show_backtest(done: "Backtest", *, as_json: bool) -> None:
    """Print what rules would have done in the past."""
    if as_json:
        write_text(json.dumps(asdict(done), default=_iso) + "\n", as_json=True)
        return
    if not done.rules:
        write_text("there is no rule that alerts\n")
    for tried in done.rules:
        write_text(f"{_headline(tried, done.snapshot)}\n")
        for line in _about(tried):
            write_text(f"  {line}\n")


def duration(seconds: float) -> str:
    """A span in its two greatest units, as rule files have it: `2h10m`."""
    left, parts = round(seconds), []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def _headline(tried: "Tried", snapshot: int) -> str:
    if tried.first is None or tried.last is None:
        return f"{tried.rule}: no slots in that time"
    span = f"{tried.first:%Y-%m-%d %H:%M} to {tried.last:%Y-%m-%d %H:%M}"
    return f"{tried.rule}: {tried.slots:,} slots, {span}, snapshot {snapshot}"


def _about(tried: "Tried") -> "Iterator[str]":
    what = tried.summary
    if tried.failed:
        yield f"{tried.failed:,} slots failed: {(tried.error or '').partition(chr(10))[0]}"
    if tried.not_seen is not None:
        yield f"no data: {tried.not_seen.partition(chr(10))[0]}"
    silent = sorted((name, count) for name, count in what.health.items() if name not in {"ok", "error"})
    if silent:
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in silent)
        yield f"slots that could say nothing: {told}"
    if what.values is not None:
        known = what.values
        yield (
            f"value: median {known.median:.4g}, p95 {known.p95:.4g}, p99 {known.p99:.4g}, "
            f"from {known.least:.4g} to {known.most:.4g}"
        )
    yield from _fired(what)
    yield from _advice(what)


def _fired(what: "Summary") -> "Iterator[str]":
    if not what.fired:
        yield "would not have fired"
        return
    yield (
        f"would have fired {_times(what.fired)}, {duration(what.firing_s)} in all; "
        f"the condition held, or it fired on, for {what.share:.2%} of the time"
    )
    for episode in what.episodes[:_SHOWN]:
        until = "now" if episode.ended is None else f"{episode.ended:%Y-%m-%d %H:%M}"
        peak = "" if episode.peak is None else f"  peak {episode.peak:.4g}"
        labels = sorted((name, text) for name, text in episode.labels.items() if name != "alertname")
        told = ", ".join(f"{name}={text}" for name, text in labels)
        yield f"  {episode.began:%Y-%m-%d %H:%M} to {until}  {duration(episode.seconds)}{peak}  {told}"
    if what.fired > _SHOWN:
        yield f"  and {_times(what.fired - _SHOWN)} more; --json has them"
    if what.flaps:
        yield (
            f"flapped {_times(what.flaps)}: fired again soon after it had resolved; "
            f"at most {what.busiest} changes of one alert in a day"
        )


def _advice(what: "Summary") -> "Iterator[str]":
    if what.fired and what.variants:
        others = (
            f"{duration(each.for_s)} fires {_times(each.fired)}, flaps {_times(each.flaps)}"
            for each in what.variants
        )
        yield f"with another `for`: {'; '.join(others)}"
    tries = []
    if what.suggested_for_s is not None:
        tries.append(f"`for: {duration(what.suggested_for_s)}`")
    if what.suggested_condition is not None:
        tries.append(f"`condition: {what.suggested_condition}`, which one value in a thousand passes")
    if tries:
        yield f"try {', or '.join(tries)}"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count:,} times")


def _iso(value: Any) -> str:
    assert isinstance(value, datetime)  # noqa: S101  # all else is JSON already
    return value.isoformat()
