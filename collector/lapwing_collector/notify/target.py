"""One place that messages go to. The only module that knows Apprise.

Apprise is the transport and nothing more: one service with one recipient, called once and synchronously in
the caller's thread. Retries, order and the record of what happened are the outbox's and the deliverer's.
"""

import logging
import re
import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from apprise import (
    Apprise,
    AppriseAsset,
    NotifyBase,
    NotifyFormat,
    NotifyType,
    PersistentStoreMode,
)
from apprise.plugins import url_to_dict

from lapwing_collector.model.alerts import Message, Status

READ_TIMEOUT_S: Final = 10.0
"""How long a service may be silent while it answers, where its address has no `?rto=`."""

_PERMANENT: Final = frozenset({400, 401, 403, 404, 410, 422})
"""HTTP statuses that the same request will meet again."""

_HTTP_STATUS: Final = re.compile(r"error=(\d{3})\b")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9]{0,20})://", re.IGNORECASE)
_ERROR_MAX: Final = 500
_TITLE_IN_BODY_MAX: Final = 250
_KINDS: Final = {Status.FIRING: NotifyType.WARNING, Status.RESOLVED: NotifyType.SUCCESS}

# Why an attempt failed is known from Apprise's log alone: its results carry no status. The log must therefore
# pass warnings whatever the root logger's level, and stays apart from ours because it may name addresses.
_apprise_log = logging.getLogger("apprise")
_apprise_log.setLevel(logging.WARNING)
_apprise_log.propagate = False

_ASSET: Final = AppriseAsset(
    app_id="Lapwing",
    app_desc="Lapwing",
    app_url="",
    # Without a time limit of its own Apprise calls a single service in our thread, not in its process-wide
    # pool, where a few targets that hang would keep all others waiting.
    service_timeout=0,
    # A redirected POST arrives as a GET without its body, and is answered 200.
    http_redirects=False,
    # Otherwise chat services fetch pictures from the internet.
    image_url_mask="",
    image_url_logo="",
    image_path_mask="",
    interpret_emojis=False,
    pgp_autogen=False,
    pem_autogen=False,
    storage_mode=PersistentStoreMode.MEMORY,
)


class Verdict(StrEnum):
    """What an attempt came to."""

    SENT = "sent"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on an attempt, and why it failed where it did."""

    verdict: Verdict
    error: str = ""


class Target:
    """One service with one recipient; only one thread may send.

    Attributes:
        name: What people call it; its address is a secret and is never shown.
        kind: The scheme of its address, which says what service it is: `slack`, `mailtos`, `json`.
        send_resolved: Whether it wants to hear that an alert is over.
        title_max: Characters it takes as a title.
    """

    def __init__(self, name: str, url: str, *, send_resolved: bool = True) -> None:
        """Make the service behind the Apprise address `url`.

        Raises:
            ValueError: The address is none, or names several recipients; the message leaves it out.
        """
        self.name = name
        self.send_resolved = send_resolved
        self._service = _open(url)
        self._apprise = Apprise(asset=_ASSET)
        self._apprise.add(self._service)
        self.kind = str(self._service.schema)
        self.title_max: int = self._service.title_maxlen or _TITLE_IN_BODY_MAX

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    def body_max(self, title: str) -> int:
        """Characters that it takes as a body beside `title`."""
        service = self._service
        shared = not service.title_maxlen or service.overflow_amalgamate_title
        taken = len(title) + len("\r\n") if shared else 0
        return int(service.body_maxlen - service.overflow_buffer - taken)

    def send(self, message: Message) -> Outcome:
        """Try once to deliver `message`, in this thread, bounded by the socket timeouts alone."""
        _stamp(self._service, message)
        with self._apprise.notify(
            body=message.body,
            title=message.title,
            notify_type=_KINDS[message.status],
            body_format=NotifyFormat(message.body_format),
        ) as result:
            if result:
                return Outcome(Verdict.SENT)
            error = (
                "; ".join(entry.message for entry in result.logs())[:_ERROR_MAX] or "failed without a reason"
            )
            # Where nothing was attempted the message itself was refused, and would be each time.
            return Outcome(_verdict(error) if len(result) else Verdict.DEAD, error)


def _verdict(error: str) -> Verdict:
    """Judge a failure by the HTTP status in its text; where there is none, the network or server failed."""
    status = _HTTP_STATUS.search(error)
    return Verdict.DEAD if status and int(status[1]) in _PERMANENT else Verdict.RETRY


# A service's own attributes differ from one to the next and are untyped: it is `Any` from here on.
def _open(url: str) -> Any:
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError("an Apprise address such as jsons://HOST/PATH, mailtos://… or slack://…")
    called = f"{scheme[1].lower()}:// address (not shown, it may hold a secret)"
    with warnings.catch_warnings():
        # The first call loads every service; one of them asks for a module that Python 3.13 removed.
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        parsed = url_to_dict(url)  # type: ignore[no-untyped-call]
    settled = (
        {"rto": READ_TIMEOUT_S} | (parsed or {}) | {"retry": 0, "optional": False, "overflow": "truncate"}
    )
    service: Any = Apprise.instantiate(settled, asset=_ASSET) if parsed else None
    if service is None:
        raise ValueError(
            f"Apprise does not accept this {called}; https://appriseit.com/services/ has the form for each "
            "service, json:// and jsons:// are plain webhooks"
        )
    if _recipients(service) != 1:
        raise ValueError(
            f"this {called} must name exactly one recipient, so that a retry reaches nobody twice; "
            "write one entry of apprise_configs for each"
        )
    if service.request_rate_per_sec == NotifyBase.request_rate_per_sec:
        # Apprise's default, seconds asleep between two sends; services that need a pace set their own.
        service.request_rate_per_sec = 0
    if _resolves_incidents(service) and "action" not in settled:
        service.action = "map"
    return service


def _recipients(service: Any) -> int:
    named = len(getattr(service, "targets", None) or ())
    if _is_mail(service) and not named:
        return 0
    copies = sum(len(getattr(service, kind, None) or ()) for kind in ("cc", "bcc"))
    return max(len(service), named) + copies


def _stamp(service: Any, message: Message) -> None:
    """Put the idempotency key, and what ties a resolve to its firing, where the service has a place."""
    if "headers" in service.template_kwargs:
        service.headers["Idempotency-Key"] = message.key
    if _is_mail(service):
        service.headers["References"] = f"<{message.group}@lapwing>"
    if _resolves_incidents(service):
        service.dedup = message.group


def _is_mail(service: Any) -> bool:
    return service.schema in ("mailto", "mailtos")


def _resolves_incidents(service: Any) -> bool:
    """Whether it is PagerDuty or its like, which by default opens an incident for a resolve too."""
    arguments = service.template_args
    return "dedup" in arguments and "map" in arguments.get("action", {}).get("values", ())
