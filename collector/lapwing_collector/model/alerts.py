"""What `rules`, `state` and `notify` tell each other about alerts. Times are naive UTC, in event time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


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


class Spoken(StrEnum):
    """How a message speaks of an alert."""

    FIRING = "firing"
    RESOLVED = "resolved"
    PAST = "past"
    """It came and went before anybody could be told."""


class Reason(StrEnum):
    """Why a notification is sent now."""

    FIRST = "first"
    CHANGED = "changed"
    RESOLVED = "resolved"
    REPEAT = "repeat"
    ESCALATION = "escalation"
    DIGEST = "digest"


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
        first_seen_at: Slot of the first evaluation that had a row for it; None where that is not known.
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
    first_seen_at: datetime | None = None


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
class SegmentValue:
    """What a rule gives for one part of the rows behind an alert.

    Attributes:
        segment: Which, as `inputs.carrier=UA`.
        value: Of the rule over these rows alone.
        sample_count: How many they are, where the rule's SQL says so.
    """

    segment: str
    value: float | None
    sample_count: int | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What helps to judge an alert, looked up as it began to fire or resolved; all of it may be missing.

    Attributes:
        recent: The values of the newest windows, the alert's own last; None where one had no value.
        step_s: Seconds from one of these windows to the next.
        values: Other numbers and times of the row that decided, by column, as JSON values.
        segments: The parts of the rows that have most to do with it, the worst first.
        examples: Ids of some of its predictions, where the rule does not say which rows are behind it.
        rows_url: Where the dashboard shows the rows behind it; empty where nobody said where that is.
    """

    recent: tuple[float | None, ...] = ()
    step_s: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[SegmentValue, ...] = ()
    examples: tuple[str, ...] = ()
    rows_url: str = ""


RESOLVED_BECAUSE: Final[Mapping[str, str]] = {
    "condition": "the condition no longer holds",
    "missing": "its row is no longer in the result",
    "no_data": "no data arrives any more",
    "rule_changed": "the rule was changed",
    "rule_deleted": "the rule was deleted",
    "rule_disabled": "the rule was switched off",
}
"""Why alerts resolve, as people read it."""


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert instance that began firing or resolved: what people are told.

    Attributes:
        rule: Whose instance.
        status: Firing or resolved.
        reason: Why it resolved, one of `RESOLVED_BECAUSE`.
        instance: As it stands after the transition.
        slot: The evaluation that decided.
        window_start: Start of the window that was judged, inclusive.
        window_end: Its end, exclusive.
        sample: Rows behind an instance that began firing, as JSON values without what is to stay secret.
        context: What helps to judge it; not kept in the history.
        late: It was decided long after its slot, while the rule caught up with the present.
        drill: Nothing happened; somebody tries whether people are told.
        attach: The sample is to come as a file, too; not kept in the history.
    """

    rule: RuleId
    status: Status
    reason: str
    instance: Instance
    slot: datetime
    window_start: datetime
    window_end: datetime
    sample: tuple[Mapping[str, Any], ...] = ()
    context: Context = field(default_factory=Context)
    late: bool = False
    drill: bool = False
    attach: bool = False


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
class Alert:
    """An alert instance as a notification speaks of it: what it was when it fired or resolved.

    Attributes:
        rule: Whose instance.
        fingerprint: Identity of rule and labels.
        labels: With `alertname`.
        annotations: Texts of the evaluation that decided.
        status: Firing or resolved.
        reason: Why it resolved, as in `Transition`; empty while it fires.
        health: How much the evaluation could say.
        value: At that evaluation.
        peak: The value furthest into the condition.
        sample_count: Rows behind the value, where known.
        condition: What it is judged by, as the rule file has it; None where the rule has none.
        active_at: Since when the condition held.
        fired_at: Since when it fires.
        resolved_at: When it resolved, None while it fires.
        window_start: Start of the window that was judged, inclusive.
        window_end: Its end, exclusive.
        slot: The evaluation that decided.
        sample: Rows behind it, redacted, as JSON values.
        context: What helps to judge it.
        late: It was decided long after its slot, while the rule caught up with the present.
        awaits_context: What helps to judge it is being looked up.
        attach: The sample is to come as a file, too.
    """

    rule: RuleId
    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    status: Status
    reason: str
    health: Health
    value: float | None
    peak: float | None
    sample_count: int | None
    condition: str | None
    active_at: datetime | None
    fired_at: datetime | None
    resolved_at: datetime | None
    window_start: datetime
    window_end: datetime
    slot: datetime
    sample: tuple[Mapping[str, Any], ...] = ()
    context: Context = field(default_factory=Context)
    late: bool = False
    awaits_context: bool = False
    attach: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    """What one target is told at once: the alerts of one group, before anybody chose words for it.

    Attributes:
        group: Identity of the group, hexadecimal; the same for all its messages to all its targets.
        receiver: Name of the receiver that the route leads to.
        group_labels: The labels that all of its alerts share because the route groups by them.
        status: Resolved where none fires any more.
        firing: The alerts that fire, those that are news first.
        resolved: Those that resolved since the target heard last.
        changed: Fingerprints of what is news since then.
        reason: Why it is sent now.
        truncated: Further alerts of the group that are left out.
        drill: Nothing happened; somebody tries whether messages arrive.
    """

    group: str
    receiver: str
    group_labels: Mapping[str, str]
    status: Status
    firing: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    changed: frozenset[str]
    reason: Reason
    truncated: int = 0
    drill: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one target: a row of the outbox, rendered when it is put in.

    Attributes:
        key: Idempotency key: equal for every attempt and every duplicate of the same announcement.
        target: Name of the target in notify.yaml.
        status: Firing or resolved.
        group: The group of alerts it speaks of; messages of one group reach a target in order.
        title: One line.
        body: What people read, in `body_format`.
        body_format: `text`, `markdown` or `html`.
        payload: The notification as JSON, for services that want more than a text; empty for none.
        origin: The key of the message that its target did not accept, where this one tells of it; else empty.
    """

    key: str
    target: str
    status: Status
    group: str
    title: str
    body: str
    body_format: str = "text"
    payload: str = ""
    origin: str = ""
