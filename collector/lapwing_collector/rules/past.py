"""What a rule would have done in the past, gathered slot by slot in bounded memory, and what to try instead.

Pure. Everything is counted from what the engine itself says; for other values of `for` the engine is asked
beside, with the same rows.
"""

import re
from array import array
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.model.alerts import AlertState, Health, Instance, RuleState, Status, Transition
from lapwing_collector.rules.evaluate import Evaluation, Outcome, evaluate
from lapwing_collector.rules.rule import Rule

_FACTORS: Final = (1, 2, 3, 6, 12, 24)
"""What `for` is tried with, in intervals."""
_FLAP: Final = timedelta(hours=1)
_FLAP_SLOTS: Final = 6
"""An alert flaps that fires again this soon after it resolved, whichever is longer."""
_DAY: Final = timedelta(days=1)
_MOST_EPISODES: Final = 10_000
_MOST_VALUES: Final = 100_000
_MOST_FOLLOWED: Final = 200
_MOST_SHOWN: Final = 20
"""Alerts that are shown slot by slot, of those that are followed."""
_AT_REST: Final = frozenset({Health.OK, Health.INSUFFICIENT})
"""An alert that is inactive stays so where too little is behind its row."""
_RARE: Final = 0.001
"""Share of the values that a suggested threshold lets through."""
_SIMPLE: Final = re.compile(
    r"\s*value\s*(?P<sign>>=?|<=?)\s*(?P<threshold>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Episode:
    """One time that an alert would have fired.

    Attributes:
        labels: Of the alert.
        began: The slot at which it fired.
        ended: The slot at which it resolved; None if it still fires.
        seconds: How long it fired, up to the last slot if it still does.
        peak: The value furthest into the condition.
        reason: Why it resolved.
    """

    labels: Mapping[str, str]
    began: datetime
    ended: datetime | None
    seconds: float
    peak: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Values:
    """How the values of a rule are spread: over all slots and rows that say something."""

    count: int
    least: float
    median: float
    p95: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Variant:
    """What another `for` would have done.

    Attributes:
        for_s: Its seconds.
        fired: How often alerts would have fired.
        flaps: How often they would have flapped.
    """

    for_s: float
    fired: int
    flaps: int


@dataclass(frozen=True, slots=True)
class Series:
    """One alert slot by slot.

    Attributes:
        labels: Of the alert.
        values: Its value at each slot; None where it had none, or too little was behind it.
        states: What it was after each slot; None before it was first seen.
    """

    labels: Mapping[str, str]
    values: Sequence[float | None]
    states: Sequence[AlertState | None]


@dataclass(frozen=True, slots=True)
class Course:
    """What a rule was slot by slot.

    Attributes:
        slots: When.
        series: Its alerts, those that fired longest first.
        left_out: Further alerts.
    """

    slots: Sequence[datetime]
    series: Sequence[Series]
    left_out: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a rule would have done in the past.

    Attributes:
        fired: How often alerts would have fired.
        firing_s: How long in all.
        share: Of the time of all alert instances, that in which the condition held, or they fired on.
        flaps: How often one fired again soon after it had resolved.
        busiest: The most changes of one alert within a day.
        episodes: When, in order of time; the first ten thousand.
        health: Slots by what they could say.
        values: How its values are spread; None if there were none.
        variants: What other values of `for` would have done.
        suggested_for_s: One of them that does not flap, if this one does.
        suggested_condition: A threshold that one in a thousand values passes, for a condition of `value`
            alone that many pass or none does.
    """

    fired: int
    firing_s: float
    share: float
    flaps: int
    busiest: int
    episodes: Sequence[Episode]
    health: Mapping[str, int]
    values: Values | None
    variants: Sequence[Variant]
    suggested_for_s: float | None
    suggested_condition: str | None


def tried_with(
    rule: Rule, *, condition: str | None = None, threshold: float | None = None, for_: timedelta | None = None
) -> Rule:
    """The rule as it would be with another condition, another number in it, or another `for`.

    Raises:
        ValueError: It has no such number; the message says what it has.
    """
    if threshold is not None:
        simple = _SIMPLE.fullmatch(condition or rule.condition or "")
        if simple is None:
            raise ValueError(
                f"{rule.id} is not judged by `value` and a number alone, so it has no threshold that could "
                "be another; give the condition"
            )
        condition = f"value {simple['sign']} {repr(threshold).removesuffix('.0')}"
    return replace(
        rule,
        condition=rule.condition if condition is None else condition,
        for_=rule.for_ if for_ is None else for_,
    )


class Gathering:
    """Takes note of what a rule does slot by slot."""

    def __init__(self, rule: Rule) -> None:
        """Begin before the first slot of `rule`."""
        self._rule = rule
        self._told = _Told(rule)
        # Texts decide nothing, and making them takes longer than all the rest.
        bare = replace(rule, labels={}, annotations={})
        tried = [replace(bare, for_=factor * rule.slots.step) for factor in _FACTORS]
        self._others = [_Other(each) for each in tried if each.for_ > rule.for_]
        self._health: Counter[str] = Counter()
        self._values = _Sample()
        self._held = self._seen = 0

    def take(self, slot: datetime, outcome: Outcome, evaluation: Evaluation, *, incomplete: bool) -> None:
        """Take note of the next slot."""
        self._told.take(slot, evaluation.transitions)
        self._health[evaluation.state.health] += 1
        for instance in evaluation.state.instances.values():
            self._seen += 1
            self._held += instance.state is not AlertState.INACTIVE
            if _says_something(instance, slot):
                self._values.add(instance.value or 0.0)
        # Where nothing holds and nothing is pending, a longer `for` changes nothing.
        quiet = _is_quiet(evaluation.state)
        for other in self._others:
            if not (quiet and other.is_at_rest(evaluation.state)):
                other.take(slot, outcome, incomplete=incomplete)

    def summary(self) -> Summary:
        """What came out."""
        told = self._told
        episodes = told.all_episodes()
        variants = [
            Variant(each.rule.for_.total_seconds(), each.told.fired, each.told.flaps) for each in self._others
        ]
        values = self._values.summary()
        return Summary(
            fired=told.fired,
            firing_s=sum(each.seconds for each in episodes) + told.beyond_s,
            share=self._held / self._seen if self._seen else 0.0,
            flaps=told.flaps,
            busiest=told.busiest,
            episodes=episodes,
            health=dict(self._health),
            values=values,
            variants=variants,
            suggested_for_s=_steadier(told, variants),
            suggested_condition=self._other_condition(),
        )

    def _other_condition(self) -> str | None:
        simple = _SIMPLE.fullmatch(self._rule.condition or "")
        if simple is None or not self._values.count:
            return None
        above = simple["sign"].startswith(">")
        rare = self._values.quantile(1 - _RARE if above else _RARE)
        passing = self._values.share(float(simple["threshold"]), above=above)
        # A rule that never came near its threshold says as little as one that is always past it.
        if 0 < passing <= 2 * _RARE:
            return None
        beyond = self._values.most if above else self._values.least
        if rare == beyond:  # which none would pass
            return None
        suggested = f"{rare:.3g}"
        return (
            None
            if suggested == f"{float(simple['threshold']):.3g}"
            else f"value {simple['sign']} {suggested}"
        )


class Following:
    """Takes note of every slot, of as many alerts as can be shown."""

    def __init__(self) -> None:
        """Begin before the first slot."""
        self._slots: list[datetime] = []
        self._series: dict[str, _Line] = {}
        self._left_out: set[str] = set()

    def take(self, slot: datetime, evaluation: Evaluation) -> None:
        """Take note of the next slot."""
        for key, instance in evaluation.state.instances.items():
            line = self._series.get(key)
            if line is None:
                if len(self._series) >= _MOST_FOLLOWED:
                    self._left_out.add(key)
                    continue
                line = self._series[key] = _Line(dict(instance.labels))
            line.add(
                len(self._slots), instance.value if _says_something(instance, slot) else None, instance.state
            )
        self._slots.append(slot)

    def course(self) -> Course:
        """What came out."""
        lines = sorted(self._series.values(), key=lambda line: -line.states.count(AlertState.FIRING))
        shown = lines[:_MOST_SHOWN]
        for line in shown:
            line.reach(len(self._slots))
        left_out = len(lines) - len(shown) + len(self._left_out)
        return Course(
            self._slots, [Series(line.labels, line.values, line.states) for line in shown], left_out
        )


class _Line:
    """One alert; what it was at slots at which nothing was known of it is filled in."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.values: list[float | None] = []
        self.states: list[AlertState | None] = []

    def add(self, place: int, value: float | None, state: AlertState) -> None:
        self.reach(place)
        self.values.append(value)
        self.states.append(state)

    def reach(self, place: int) -> None:
        gap = place - len(self.values)
        self.values += [None] * gap
        self.states += [None] * gap


class _Told:
    """Turns transitions into episodes and counts."""

    def __init__(self, rule: Rule) -> None:
        self._soon = max(_FLAP, _FLAP_SLOTS * rule.slots.step)
        self._open: dict[str, Transition] = {}
        self._resolved: dict[str, datetime] = {}
        self._recent: dict[str, deque[datetime]] = {}
        self._episodes: list[Episode] = []
        self._last: datetime | None = None
        self.fired = self.flaps = self.busiest = 0
        self.beyond_s = 0.0

    def take(self, slot: datetime, transitions: Sequence[Transition]) -> None:
        self._last = slot
        for each in transitions:
            key = each.instance.fingerprint
            recent = self._recent.setdefault(key, deque())
            recent.append(slot)
            while recent[0] <= slot - _DAY:
                recent.popleft()
            self.busiest = max(self.busiest, len(recent))
            if each.status is Status.FIRING:
                before = self._resolved.get(key)
                self.fired += 1
                self.flaps += before is not None and slot - before <= self._soon
                self._open[key] = each
            else:
                self._resolved[key] = slot
                self._keep(_episode(self._open.pop(key), each, slot))

    def all_episodes(self) -> list[Episode]:
        left = [_episode(each, None, self._last or each.slot) for each in self._open.values()]
        return sorted(self._episodes + left, key=lambda each: each.began)

    def _keep(self, episode: Episode) -> None:
        if len(self._episodes) < _MOST_EPISODES:
            self._episodes.append(episode)
        else:
            self.beyond_s += episode.seconds


class _Other:
    """The engine with another `for`, over the same rows."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.told = _Told(rule)
        self._state = RuleState(rule.definition)

    def is_at_rest(self, state: RuleState) -> bool:
        """Whether it knows the same instances as `state`, and all of them are inactive."""
        return _is_quiet(self._state) and self._state.instances.keys() == state.instances.keys()

    def take(self, slot: datetime, outcome: Outcome, *, incomplete: bool) -> None:
        evaluation = evaluate(self.rule, outcome, self._state, slot, incomplete=incomplete)
        self._state = evaluation.state
        self.told.take(slot, evaluation.transitions)


class _Sample:
    """Numbers, of which at most some are kept: every second one, fourth one, … once there are too many."""

    def __init__(self) -> None:
        self._kept = array("d")
        self._stride = 1
        self.count = 0
        self.least = float("inf")
        self.most = float("-inf")

    def add(self, value: float) -> None:
        if self.count % self._stride == 0:
            self._kept.append(value)
            if len(self._kept) >= _MOST_VALUES:
                self._kept = self._kept[::2]
                self._stride *= 2
        self.count += 1
        self.least = min(self.least, value)
        self.most = max(self.most, value)

    def quantile(self, share: float) -> float:
        ordered = sorted(self._kept)
        return ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)]

    def share(self, threshold: float, *, above: bool) -> float:
        past = sum(value > threshold if above else value < threshold for value in self._kept)
        return past / len(self._kept)

    def summary(self) -> Values | None:
        if not self.count:
            return None
        median, p95, p99 = (self.quantile(share) for share in (0.5, 0.95, 0.99))
        return Values(self.count, self.least, median, p95, p99, self.most)


def _is_quiet(state: RuleState) -> bool:
    return state.health is Health.OK and all(
        each.state is AlertState.INACTIVE and each.health in _AT_REST for each in state.instances.values()
    )


def _episode(fired: Transition, resolved: Transition | None, end: datetime) -> Episode:
    last = resolved or fired
    return Episode(
        labels=dict(fired.instance.labels),
        began=fired.slot,
        ended=None if resolved is None else end,
        seconds=(end - fired.slot).total_seconds(),
        peak=last.instance.peak,
        reason=last.reason,
    )


def _says_something(instance: Instance, slot: datetime) -> bool:
    return instance.value is not None and instance.last_seen_at == slot and instance.health is Health.OK


def _steadier(told: _Told, variants: Sequence[Variant]) -> float | None:
    """The shortest `for` that flaps a tenth as often at most, and still fires."""
    if not told.flaps:
        return None
    steady = (each for each in variants if each.fired and each.flaps * 10 <= told.flaps)
    return next((each.for_s for each in steady), None)
