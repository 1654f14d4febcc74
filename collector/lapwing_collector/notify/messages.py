"""From what happened to an alert to the messages that tell it. Pure."""

import hashlib
import json
from collections.abc import Iterable
from typing import Final, Protocol

from lapwing_collector.model.alerts import Alert, Message, Notification, Reason, Status, Transition
from lapwing_collector.notify.render import Addressee, render

_KEY_CHARS: Final = 32


class Listener(Addressee, Protocol):
    """What is to be known of a target to tell it something."""

    @property
    def name(self) -> str:
        """Its name in the notify file."""
        ...

    @property
    def send_resolved(self) -> bool:
        """Whether it wants to hear that an alert is over."""
        ...


def alert_of(transition: Transition, condition: str | None) -> Alert:
    """What notifications say of an alert after `transition`; its rule is judged by `condition`."""
    instance = transition.instance
    resolved = transition.status is Status.RESOLVED
    return Alert(
        rule=transition.rule,
        fingerprint=instance.fingerprint,
        labels=instance.labels,
        annotations=instance.annotations,
        status=transition.status,
        reason=transition.reason,
        health=instance.health,
        value=instance.value,
        peak=instance.peak,
        sample_count=instance.sample_count,
        condition=condition,
        active_at=instance.active_at,
        fired_at=instance.fired_at,
        resolved_at=transition.slot if resolved else None,
        window_start=transition.window_start,
        window_end=transition.window_end,
        slot=transition.slot,
        sample=transition.sample,
        context=transition.context,
    )


def messages_for(transition: Transition, targets: Iterable[Listener], condition: str | None) -> list[Message]:
    """Put into words what `targets` are told about `transition`.

    Args:
        transition: What happened.
        targets: Who is told; those that do not want resolves get none.
        condition: The rule's condition as its file has it, shown beside the value; None where it has none.
    """
    alert = alert_of(transition, condition)
    resolved = alert.status is Status.RESOLVED
    notification = Notification(
        group=alert.fingerprint,
        receiver="",
        group_labels={},
        status=alert.status,
        firing=() if resolved else (alert,),
        resolved=(alert,) if resolved else (),
        changed=frozenset({alert.fingerprint}),
        reason=Reason.RESOLVED if resolved else Reason.FIRST,
    )
    return [
        _message(notification, _key(transition, target.name), target)
        for target in targets
        if target.send_resolved or not resolved
    ]


def _message(notification: Notification, key: str, target: Listener) -> Message:
    words = render(notification, target)
    return Message(
        key=key,
        target=target.name,
        status=notification.status,
        group=notification.group,
        title=words.title,
        body=words.body,
        body_format=words.body_format,
        payload=words.payload,
    )


def _key(transition: Transition, target: str) -> str:
    """The same for every attempt, and for the same announcement decided again after a crash."""
    rule = transition.rule
    identity = [
        rule.group,
        rule.name,
        transition.instance.fingerprint,
        transition.slot.isoformat(),
        transition.status,
        target,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_KEY_CHARS]
