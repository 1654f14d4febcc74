"""Whom a drill is told to: as an alert with its labels would be, at once and apart from real ones. Pure."""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import timedelta

from lapwing_collector.model.alerts import Alert, Notification, Reason, Spoken, Status
from lapwing_collector.notify.groups import Hush, Telling
from lapwing_collector.notify.policy import Policy, Route

_KEY_CHARS = 32


def drill_tellings(
    policy: Policy,
    alert: Alert,
    hush: Callable[[Alert, Route], Hush | None],
    target: str | None = None,
) -> list[Telling]:
    """What each target is told of the alert of a drill.

    Args:
        policy: Who hears of what.
        alert: The alert; nothing waits for others of its group.
        hush: Tells why nobody is to hear of an alert that comes by a route, None where they are.
        target: Only this one is told, whatever the routes and silences say.
    """
    if target is not None:
        return [_telling(policy.root, alert, target, "")]
    tellings: dict[str, Telling] = {}
    for route in policy.routes(alert.labels):
        hushed = hush(alert, route)
        for listener in policy.listeners(route, ()):
            wanted = alert.status is Status.FIRING or listener.send_resolved
            if listener.after == timedelta(0) and wanted:
                reason = "" if hushed is None else hushed.reason
                tellings.setdefault(listener.name, _telling(route, alert, listener.name, reason))
    return list(tellings.values())


def _telling(route: Route, alert: Alert, target: str, suppressed: str) -> Telling:
    fires = alert.status is Status.FIRING
    notification = Notification(
        # Not the group of real alerts: what they know of each other stays as it is.
        group=_hash([route.receiver, "drill", alert.fingerprint]),
        receiver=route.receiver,
        group_labels=route.group_labels(alert.labels),
        status=alert.status,
        firing=(alert,) if fires else (),
        resolved=() if fires else (alert,),
        changed=frozenset({alert.fingerprint}),
        reason=Reason.FIRST if fires else Reason.RESOLVED,
        drill=True,
    )
    return Telling(
        _hash([notification.group, target, alert.status]),
        target,
        notification,
        {alert.fingerprint: Spoken(alert.status)},
        suppressed,
    )


def _hash(identity: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(identity)).encode()).hexdigest()[:_KEY_CHARS]
