"""From what happened to an alert to the messages that tell it. Pure."""

from lapwing_collector.model.alerts import Alert, Message, Notification, Status, Transition
from lapwing_collector.notify.render import render
from lapwing_collector.notify.target import Target


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
        # What a rule tells of itself is not judged by its condition.
        condition=condition if instance.labels.get("alertname") == transition.rule.name else None,
        active_at=instance.active_at,
        fired_at=instance.fired_at,
        resolved_at=transition.slot if resolved else None,
        window_start=transition.window_start,
        window_end=transition.window_end,
        slot=transition.slot,
        sample=transition.sample,
        context=transition.context,
        late=transition.late,
        attach=transition.attach,
    )


def message_of(notification: Notification, key: str, addressee: Target) -> Message:
    """Put into words what a target is told; `key` is its idempotency key."""
    words = render(notification, addressee)
    return Message(
        key=key,
        target=addressee.name,
        status=notification.status,
        group=notification.group,
        title=words.title,
        body=words.body,
        body_format=words.body_format,
        payload=words.payload,
    )
