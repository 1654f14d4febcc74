"""What `state` keeps of groups of alerts for `notify`. Times are wall-clock, naive UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lapwing_collector.model.alerts import Alert, Message, Spoken


@dataclass(frozen=True, slots=True)
class Joining:
    """A group that an alert comes into.

    Attributes:
        group: Its identity.
        receiver: Who hears.
        route: The identity of the route that leads there.
        labels: What the alerts of the group share.
        skip: Targets that need not be told of the alert here, since they are told in another group.
        changed_at: When it began to fire, where it was in another group before; None for now.
        told_at: When somebody was first told in another group that it fires; None for never.
    """

    group: str
    receiver: str
    route: str
    labels: Mapping[str, str]
    skip: frozenset[str] = frozenset()
    changed_at: datetime | None = None
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What a transition means to groups.

    Attributes:
        alert: As it stands now.
        joins: Where it is told; empty for one that resolved, which does so in every group that it is in.
    """

    alert: Alert
    joins: tuple[Joining, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """An alert in a group.

    Attributes:
        alert: As it stands now.
        changed_at: When it began to fire, or resolved.
        told_at: When somebody was first told that it fires; None before.
        hushed: Why nobody was told when it was time to; empty if nobody was kept from it.
        skip: Targets that are not told of it here.
        leaving: No route leads it here any more; who heard of it hears here what becomes of it.
    """

    alert: Alert
    changed_at: datetime
    told_at: datetime | None = None
    hushed: str = ""
    skip: frozenset[str] = frozenset()
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What a target heard last about a group.

    Attributes:
        firing: Fingerprints of the alerts that fire, for all it knows.
        told_at: When its newest message was put into the outbox.
        message: The key of that message.
    """

    firing: frozenset[str]
    told_at: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that are told together.

    Attributes:
        key: Its identity.
        receiver: Who hears.
        route: The identity of the route that leads there.
        labels: What its alerts share.
        version: Grows with every change.
        members: By fingerprint.
        heard: By name of the target.
        look_at: When to look at it next, None if only after a change.
    """

    key: str
    receiver: str
    route: str
    labels: Mapping[str, str]
    version: int = 0
    members: Mapping[str, Member] = field(default_factory=dict)
    heard: Mapping[str, Heard] = field(default_factory=dict)
    look_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A message about a group that is put into the outbox.

    Attributes:
        message: For whom, and what.
        alerts: How it speaks of each alert, by fingerprint.
        suppressed: Why it is kept there and not sent; empty where it is sent.
    """

    message: Message
    alerts: Mapping[str, Spoken]
    suppressed: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a group came to.

    Attributes:
        before: The group that was looked at.
        after: As it is from now on; None where it is over.
        told: What is put into the outbox.
        look_at: When to look again, None if only after a change.
    """

    before: Group
    after: Group | None
    told: tuple[Told, ...]
    look_at: datetime | None


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that nobody is to be told of for a while.

    Attributes:
        key: Its identity, short enough to be typed.
        matchers: Which alerts, as Alertmanager writes it.
        starts_at: From when on.
        ends_at: Until when; None for as long as such an alert fires.
        author: Who wants it.
        comment: Why.
        created_at: When it was made.
    """

    key: str
    matchers: str
    starts_at: datetime
    ends_at: datetime | None
    author: str
    comment: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody has taken an alert on; until it resolves it is neither repeated nor escalated.

    Attributes:
        fingerprint: The alert's.
        author: Who.
        comment: What they say.
        created_at: When.
    """

    fingerprint: str
    author: str
    comment: str
    created_at: datetime
