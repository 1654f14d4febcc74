"""The notify file: who is told. Alertmanager's words, with Apprise addresses as the one kind of receiver."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, InstanceOf, ValidationInfo, field_validator

from lapwing_collector.config import Document, parse_duration, read_document
from lapwing_collector.notify import intervals
from lapwing_collector.notify.intervals import Span, TimeInterval
from lapwing_collector.notify.matchers import Matcher, parse_matchers
from lapwing_collector.notify.pace import Rate
from lapwing_collector.notify.policy import (
    BY_ALL_LABELS,
    FIRST_ROUTE,
    STALLED_INGEST,
    Escalation,
    InhibitRule,
    Policy,
    Receiver,
    Route,
)
from lapwing_collector.notify.retry import GIVE_UP_AFTER
from lapwing_collector.notify.target import Target

_GROUP_BY: Final = ("alertname", "model")
_GROUP_WAIT: Final = timedelta(seconds=30)
_GROUP_INTERVAL: Final = timedelta(minutes=5)
_REPEAT_INTERVAL: Final = timedelta(hours=4)
_RATE: Final = re.compile(r"(\d{1,6})/(\d*[smhd])", re.ASCII)
_MINUTES_A_DAY: Final = 24 * 60

Mistake = tuple[tuple[str | int, ...], str]


def _keys(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("a mapping of keys to values")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


def _entries(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("a list of entries")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


def _some(value: Any) -> Any:
    if not value:
        raise ValueError("a list of at least one entry")
    return value


# Pydantic's own messages about a wrong shape would show the value, and an address in it.
Item = TypeVar("Item")
Keys = Annotated[Item, BeforeValidator(_keys)]
Entries = Annotated[list[Keys[Item]], Field(min_length=1), BeforeValidator(_entries)]
Listed = Annotated[list[Keys[Item]], BeforeValidator(_entries)]
Names = Annotated[list[str], BeforeValidator(_entries)]


def _duration(value: Any) -> timedelta:
    return parse_duration(str(value))


def _positive(value: Any) -> timedelta:
    duration = _duration(value)
    if not duration:
        raise ValueError("a duration longer than 0s")
    return duration


def _matchers(value: Any) -> tuple[Matcher, ...]:
    return parse_matchers(value if isinstance(value, str) else "")


def _rate(value: Any) -> Rate:
    match = _RATE.fullmatch(str(value))
    if match is None or int(match[1]) == 0:
        raise ValueError(f"a rate such as 1/s, 20/m or 1/5s, not {value!r}")
    span = match[2] if match[2][0].isdigit() else f"1{match[2]}"
    per = parse_duration(span)
    if not per:
        raise ValueError(f"a rate such as 1/s, 20/m or 1/5s, not {value!r}")
    return Rate(int(match[1]), per)


def _span(read: Callable[[str], Span]) -> BeforeValidator:
    return BeforeValidator(lambda value: read(str(value)))


def _clock(value: Any) -> str:
    """A time of the day as text: YAML takes one without quotes for a number of minutes."""
    if isinstance(value, int) and 0 <= value <= _MINUTES_A_DAY:
        return f"{value // 60:02}:{value % 60:02}"
    return str(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(_positive)]
# One entry of a list may hold several matchers.
Matchers = Annotated[
    list[Annotated[InstanceOf[tuple], BeforeValidator(_matchers)]],  # type: ignore[type-arg]
    BeforeValidator(_entries),
]
SomeMatchers = Annotated[Matchers, BeforeValidator(_some)]
Weekdays = Annotated[InstanceOf[tuple], _span(intervals.weekdays)]  # type: ignore[type-arg]
Days = Annotated[InstanceOf[tuple], _span(intervals.days_of_month)]  # type: ignore[type-arg]
Months = Annotated[InstanceOf[tuple], _span(intervals.months)]  # type: ignore[type-arg]
Years = Annotated[InstanceOf[tuple], _span(intervals.years)]  # type: ignore[type-arg]
Zone = Annotated[InstanceOf[ZoneInfo], BeforeValidator(lambda value: intervals.zone(str(value)))]


class AppriseConfig(Document):
    """One target: one Apprise address with one recipient."""

    name: str = Field(min_length=1)
    url: str
    send_resolved: bool = True
    resolve_silenced: bool = True
    rate: Annotated[InstanceOf[Rate], BeforeValidator(_rate)] | None = None
    max_age: PositiveDuration = GIVE_UP_AFTER

    @field_validator("url", mode="before")
    @classmethod
    def _opens(cls, url: Any) -> Any:
        Target("", url if isinstance(url, str) else "")
        return url

    def target(self) -> Target:
        """The target that it says."""
        return Target(
            self.name,
            self.url,
            send_resolved=self.send_resolved,
            resolve_silenced=self.resolve_silenced,
            rate=self.rate,
            max_age=self.max_age,
        )


class ReceiverConfig(Document):
    """A name for some targets."""

    name: str = Field(min_length=1)
    apprise_configs: Entries[AppriseConfig]
    fallback: str | None = None


class EscalationConfig(Document):
    """Who else hears of what nobody has acknowledged."""

    after: PositiveDuration
    receiver: str


class RouteConfig(Document):
    """Which receiver hears of which alerts, and when; what is left out is as above it."""

    receiver: str | None = None
    matchers: Matchers = Field(default_factory=list)
    continue_: bool = Field(False, alias="continue")
    group_by: Names | None = None
    group_wait: Duration | None = None
    group_interval: Duration | None = None
    repeat_interval: PositiveDuration | None = None
    mute_time_intervals: Names = Field(default_factory=list)
    active_time_intervals: Names = Field(default_factory=list)
    escalate: Listed[EscalationConfig] = Field(default_factory=list)
    routes: Listed["RouteConfig"] = Field(default_factory=list)

    @field_validator("group_by")
    @classmethod
    def _all_or_some(cls, group_by: list[str] | None) -> list[str] | None:
        if group_by and BY_ALL_LABELS in group_by and len(group_by) > 1:
            raise ValueError("`...` stands for all labels: write it alone")
        if group_by and (twice := _repeated(group_by)):
            raise ValueError(f"names {twice} twice")
        return group_by

    def route(self, path: str, identity: str, above: Route) -> Route:
        """The node that it says, at `path`, with what it has from the node above it."""
        node = Route(
            path=path,
            id=identity,
            receiver=self.receiver or above.receiver,
            matchers=_flat(self.matchers),
            goes_on=self.continue_,
            group_by=above.group_by if self.group_by is None else tuple(self.group_by),
            group_wait=_given(self.group_wait, above.group_wait),
            group_interval=_given(self.group_interval, above.group_interval),
            repeat_interval=_given(self.repeat_interval, above.repeat_interval),
            muted_in=tuple(self.mute_time_intervals),
            active_in=tuple(self.active_time_intervals),
            escalate=tuple(Escalation(step.after, step.receiver) for step in self.escalate),
        )
        named = _told_apart(each.name() for each in self.routes)
        inner = (
            each.route(f"{path}.routes[{number}]", f"{identity}/{name}", node)
            for number, (each, name) in enumerate(zip(self.routes, named, strict=True))
        )
        return replace(node, routes=tuple(inner))

    def name(self) -> str:
        """What it is called among those beside it: its matchers, and the receiver that it names."""
        matchers = ", ".join(sorted(map(str, _flat(self.matchers))))
        return f"{{{matchers}}}" + ("" if self.receiver is None else f" {json.dumps(self.receiver)}")


class InhibitConfig(Document):
    """While one alert fires, others need not be told."""

    source_matchers: SomeMatchers
    target_matchers: SomeMatchers
    equal: Names = Field(default_factory=list)


class ClockConfig(Document):
    """A part of the day."""

    start_time: Annotated[str, BeforeValidator(_clock)]
    end_time: Annotated[str, BeforeValidator(_clock)]

    @field_validator("end_time")
    @classmethod
    def _in_order(cls, end: str, info: ValidationInfo) -> str:
        if "start_time" in info.data:
            intervals.minutes(info.data["start_time"], end)
        return end


class PartConfig(Document):
    """Moments that are in one span of each kind."""

    times: Entries[ClockConfig] | None = None
    weekdays: Annotated[list[Weekdays], BeforeValidator(_entries)] | None = None
    days_of_month: Annotated[list[Days], BeforeValidator(_entries)] | None = None
    months: Annotated[list[Months], BeforeValidator(_entries)] | None = None
    years: Annotated[list[Years], BeforeValidator(_entries)] | None = None
    location: Zone = ZoneInfo("UTC")

    def interval(self) -> TimeInterval:
        """The moments that it says."""
        return TimeInterval(
            tuple(intervals.minutes(each.start_time, each.end_time) for each in self.times or ()),
            tuple(self.weekdays or ()),
            tuple(self.days_of_month or ()),
            tuple(self.months or ()),
            tuple(self.years or ()),
            self.location,
        )


class IntervalConfig(Document):
    """A name for some moments."""

    name: str = Field(min_length=1)
    time_intervals: Entries[PartConfig]


class NotifyFile(Document):
    """The whole file."""

    route: Keys[RouteConfig]
    receivers: Entries[ReceiverConfig]
    inhibit_rules: Listed[InhibitConfig] = Field(default_factory=list)
    time_intervals: Listed[IntervalConfig] = Field(default_factory=list)

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterable[Mistake]:
        """Find names that lead nowhere, and what the first route may not say."""
        receivers, times = _names(raw, "receivers"), _names(raw, "time_intervals")
        route = raw.get("route")
        if isinstance(route, dict):
            yield from _wrong_root(route)
            yield from _wrong_names(route, ("route",), receivers, times)
        for number, each in enumerate(_listed(raw, "receivers")):
            if isinstance(each, dict) and isinstance(each.get("fallback"), str):
                place = ("receivers", number, "fallback")
                if each["fallback"] == each.get("name"):
                    yield place, "is the receiver itself; name another one"
                else:
                    yield from _unknown(each["fallback"], receivers, "receivers", place)

    @field_validator("receivers")
    @classmethod
    def _unique(cls, receivers: list[ReceiverConfig]) -> list[ReceiverConfig]:
        for kind, names in (
            ("receivers", [receiver.name for receiver in receivers]),
            (
                "apprise_configs",
                [config.name for receiver in receivers for config in receiver.apprise_configs],
            ),
        ):
            if twice := _repeated(names):
                raise ValueError(f"two {kind} are named {twice}; names must be unique")
        return receivers

    @field_validator("time_intervals")
    @classmethod
    def _unique_times(cls, times: list[IntervalConfig]) -> list[IntervalConfig]:
        if twice := _repeated([each.name for each in times]):
            raise ValueError(f"two time_intervals are named {twice}; names must be unique")
        return times

    def policy(self) -> Policy:
        """What the file says, with its targets."""
        defaults = Route(
            path="",
            receiver=self.route.receiver or "",
            group_by=_GROUP_BY,
            group_wait=_GROUP_WAIT,
            group_interval=_GROUP_INTERVAL,
            repeat_interval=_REPEAT_INTERVAL,
        )
        return Policy(
            root=self.route.route("route", FIRST_ROUTE, defaults),
            receivers={
                each.name: Receiver(
                    each.name, tuple(config.name for config in each.apprise_configs), each.fallback
                )
                for each in self.receivers
            },
            targets=tuple(config.target() for each in self.receivers for config in each.apprise_configs),
            inhibit=(
                *(
                    InhibitRule(_flat(each.source_matchers), _flat(each.target_matchers), tuple(each.equal))
                    for each in self.inhibit_rules
                ),
                STALLED_INGEST,
            ),
            intervals={
                each.name: tuple(part.interval() for part in each.time_intervals)
                for each in self.time_intervals
            },
        )


def read_notify_file(path: Path) -> Policy:
    """Read notify.yaml.

    Raises:
        ConfigError: It is wrong; the message names file, line, key and what was expected, and no address.
    """
    return read_document(path, NotifyFile).policy()


def _given(value: timedelta | None, above: timedelta) -> timedelta:
    return above if value is None else value


def _flat(entries: Iterable[tuple[Matcher, ...]]) -> tuple[Matcher, ...]:
    return tuple(matcher for entry in entries for matcher in entry)


def _repeated(names: Iterable[str]) -> str:
    return ", ".join(name for name, count in Counter(names).items() if count > 1)


def _told_apart(names: Iterable[str]) -> Iterator[str]:
    """The names, each but the first of equal ones with its number."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} #{seen[name]}"


def _names(raw: Mapping[Any, Any], section: str) -> list[str]:
    entries = raw.get(section)
    found = (
        [each.get("name") for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    )
    return [name for name in found if isinstance(name, str)]


def _wrong_root(route: Mapping[Any, Any]) -> Iterator[Mistake]:
    if "receiver" not in route:
        yield ("route",), "receiver: is missing; every alert that no inner route takes goes there"
    for key in ("matchers", "continue"):
        if key in route:
            yield (
                ("route", key),
                "cannot stand here: every alert comes to this route; write inner ones",
            )


def _wrong_names(
    route: Mapping[Any, Any], place: tuple[str | int, ...], receivers: list[str], times: list[str]
) -> Iterator[Mistake]:
    yield from _unknown(route.get("receiver"), receivers, "receivers", (*place, "receiver"))
    for key in ("mute_time_intervals", "active_time_intervals"):
        for number, name in enumerate(_listed(route, key)):
            yield from _unknown(name, times, "time_intervals", (*place, key, number))
    for number, step in enumerate(_listed(route, "escalate")):
        if isinstance(step, dict):
            where = (*place, "escalate", number, "receiver")
            yield from _unknown(step.get("receiver"), receivers, "receivers", where)
    for number, inner in enumerate(_listed(route, "routes")):
        if isinstance(inner, dict):
            yield from _wrong_names(inner, (*place, "routes", number), receivers, times)


def _listed(raw: Mapping[Any, Any], key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _unknown(name: Any, known: list[str], what: str, place: tuple[str | int, ...]) -> Iterator[Mistake]:
    if isinstance(name, str) and name not in known:
        yield place, f"{name!r} is not among the {what}: {', '.join(known) or 'there are none'}"
