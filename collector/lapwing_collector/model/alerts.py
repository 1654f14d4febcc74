"""What `rules`, `state` and `notify` tell each other about alerts. Times are naive UTC, in event time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class AlertState(StrEnum):
    """Where an alert instance stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"


class Health(StrEnum):
    """How much the newest evaluation could say, beside the state."""

    OK = "ok"
    NO_DATA = "no_data"
    MISSING = "missing"
    ERROR = "error"
    INSUFFICIENT = "insufficient"


class Status(StrEnum):
    """What a notification announces."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class RuleId:
    """A rule's identity, kept across reloads: state belongs to it."""

    group: str
    name: str

    def __str__(self) -> str:
        """`group/name`, as messages and tables show it."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, slots=True)
class Instance:
    """What is remembered of one alert instance: one row of a rule's result, identified by its labels.

    Attributes:
        fingerprint: Identity of rule and labels, hexadecimal; never depends on the value.
        labels: The row's label columns over the rule's and the group's static labels, with `alertname`; they
            stay as they are from firing until resolved.
        annotations: Texts of the newest evaluation that had a row for it; none while it is inactive.
        value: The newest value; None until one was seen.
        peak: The value furthest into the condition while active (largest magnitude change is not judged: the
            largest value for conditions that fire above, the smallest for those that fire below).
        sample_count: Rows behind the newest value, where the rule's SQL says so.
        active_at: Slot at which the condition began to hold; slots without evidence move it while pending.
        fired_at: Slot at which it turned firing.
        recovering_at: Slot at which the condition stopped holding while `keep_firing_for` runs; slots without
            evidence move it.
        resolved_at: Slot at which it resolved, until it becomes active again.
        last_seen_at: Slot of the newest evaluation that had a row for it.
        missing_slots: Evaluations in a row without a row for it.
    """

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    state: AlertState = AlertState.INACTIVE
    health: Health = Health.OK
    value: float | None = None
    peak: float | None = None
    sample_count: int | None = None
    active_at: datetime | None = None
    fired_at: datetime | None = None
    recovering_at: datetime | None = None
    resolved_at: datetime | None = None
    last_seen_at: datetime | None = None
    missing_slots: int = 0


@dataclass(frozen=True, slots=True)
class RuleState:
    """What is remembered of one rule.

    Attributes:
        definition: Hash of what decides the rule's meaning (expr, conditions, identity); a change resolves
            the old instances.
        slot: The newest evaluated slot, None before the first.
        since: The slots after this one, up to `slot`, were evaluated.
        health: Of the newest evaluation.
        no_data_since: Slot since which evaluations returned no rows at all.
        error_since: Slot since which evaluations failed.
        error: The newest failure's message, or what `limit` kept out; None after a good evaluation.
        instances: By fingerprint.
    """

    definition: str
    slot: datetime | None = None
    since: datetime | None = None
    health: Health = Health.OK
    no_data_since: datetime | None = None
    error_since: datetime | None = None
    error: str | None = None
    instances: Mapping[str, Instance] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert instance that began firing or resolved: what people are told.

    Attributes:
        rule: Whose instance.
        status: Firing or resolved.
        reason: Why it resolved: `condition`, `missing`, `no_data`, `rule_changed` or `rule_deleted`.
        instance: As it stands after the transition.
        slot: The evaluation that decided.
        window_start: Start of the window that was judged, inclusive.
        window_end: Its end, exclusive.
    """

    rule: RuleId
    status: Status
    reason: str
    instance: Instance
    slot: datetime
    window_start: datetime
    window_end: datetime


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One row that a `record:` rule stores in `metric_values`.

    One that has neither value, nor count, nor coverage says that there is no such series any more.

    Attributes:
        series: The label columns of the row over the rule's and the group's static labels.
        label_coverage: Column `label_coverage` of the rule's SQL where it has one.
    """

    metric: str
    model: str | None
    series: Mapping[str, str]
    window_start: datetime
    window_end: datetime
    value: float | None
    sample_count: int | None
    label_coverage: float | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one target: a row of the outbox, rendered when it is put in.

    Attributes:
        key: Idempotency key: equal for every attempt and every duplicate of the same announcement.
        target: Name of the target in notify.yaml.
        status: Firing or resolved.
        fingerprint: The alert instance it speaks of.
        title: One line.
        body: Plain text.
    """

    key: str
    target: str
    status: Status
    fingerprint: str
    title: str
    body: str
