"""The services behind targets. The only module that knows Apprise, imported when the first target is made.

Apprise is the transport and nothing more: one service with one recipient, called once and synchronously in
the caller's thread. Retries, order, pace and the record of what happened are the outbox's and the
deliverer's.
"""

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import requests
from apprise import (
    Apprise,
    AppriseAsset,
    NotifyBase,
    NotifyFormat,
    NotifyType,
    PersistentStoreMode,
)
from apprise.attachment.memory import AttachMemory
from apprise.plugins import N_MGR, url_to_dict

from lapwing_collector.model.alerts import Message, Status
from lapwing_collector.notify.attachment import ATTACHMENTS
from lapwing_collector.notify.attempt import Attempt, observed

READ_TIMEOUT_S: Final = 10.0
"""How long a service may be silent while it answers, where its address has no `?rto=`."""

_SCHEME: Final = re.compile(r"([a-z][a-z0-9]{0,20})://", re.IGNORECASE)
_HTTP_STATUS: Final = re.compile(r"error=(\d{3})\b")
_MAIL_REPLY: Final = re.compile(r"\(?(\d{3}), b['\"]")
_DOCUMENTS: Final = ("json", "jsons", "pagerduty")
"""Services whose payload is the notification itself."""
_MENTION: Final = re.compile(r"@(?=everyone|here|[&!]?\d)")
_ERROR_MAX: Final = 500
_SECRET_MIN: Final = 4
_TITLE_IN_BODY_MAX: Final = 250
_ROOM: Final = {"workflow": 4000, "workflows": 4000}
"""Characters of a body; Teams takes 28 kB of JSON, in which a character can be six bytes."""
_KINDS: Final = {Status.FIRING: NotifyType.WARNING, Status.RESOLVED: NotifyType.SUCCESS}
_FROM_LOG: Final = "Socket Exception: "

# Why an attempt failed is known from Apprise's log alone: its results carry no status. The log must therefore
# pass everything whatever the root logger's level, and stays apart from ours because it may name addresses.
_apprise_log = logging.getLogger("apprise")
_apprise_log.setLevel(logging.DEBUG)
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

# A service makes a session of its own for each request; this is where all of their answers come by.
requests.Session.send = observed(requests.Session.send, requests.ConnectionError)  # type: ignore[method-assign]


class Service:
    """One service with one recipient.

    Attributes:
        kind: The scheme of its address: `slack`, `mailtos`, `json`.
        title_max: Characters it takes as a title.
        pause_s: Seconds that it asks for between two messages.
        takes_files: Files can come with a message.
        keeps_incidents: It opens an incident for a firing, and closes it for the resolve.
    """

    def __init__(self, url: str) -> None:
        """Make the service behind the Apprise address `url`.

        Raises:
            ValueError: The address is none, or names several recipients; the message leaves it out.
        """
        # A service's own attributes differ from one to the next and are untyped: it is `Any` from here on.
        self._service = service = _open(url)
        self._apprise = Apprise(asset=_ASSET)
        self._apprise.add(service)
        self.kind = str(service.schema)
        self.title_max: int = service.title_maxlen or _TITLE_IN_BODY_MAX
        # What a card may hold is far more than Apprise thinks good for one.
        service.body_maxlen = _ROOM.get(self.kind, service.body_maxlen)
        # Apprise's default is seconds asleep between two sends of any service; some ask for a pace
        # themselves.
        asked = service.request_rate_per_sec
        self.pause_s = 0.0 if asked == NotifyBase.request_rate_per_sec else float(asked)
        service.request_rate_per_sec = 0
        self.keeps_incidents = _resolves_incidents(service) or _closes_by_number(service)
        self.takes_files = bool(service.attachment_support)
        self._extras = dict(
            getattr(service, "payload_extras", None) or getattr(service, "details", None) or {}
        )
        self._version = getattr(service, "json_version", "")
        self._secrets = tuple(sorted(_secrets(service), key=len, reverse=True))

    def body_max(self, title: str) -> int:
        """Characters that it takes as a body beside `title`."""
        service = self._service
        room = service.body_maxlen - service.overflow_buffer
        if not service.title_maxlen:
            room -= len(title) + len("\r\n")
        elif service.overflow_amalgamate_title:
            # Apprise keeps room for the number of a part, however many parts there are.
            room -= min(len(title) + service.overflow_max_display_count_width, service.title_maxlen)
        return int(room)

    def send(self, message: Message, attempt: Attempt) -> str | None:
        """Try once to deliver `message`, in this thread; None where it was accepted, else why not.

        `attempt` learns the status and what else its error tells.

        Raises:
            ValueError: The service cannot send such a message.
        """
        self._stamp(message)
        with (
            attempt.running(),
            self._apprise.notify(
                body=self._harmless(message.body),
                title=self._harmless(message.title),
                notify_type=_KINDS[message.status],
                body_format=NotifyFormat(message.body_format),
                attach=self._files(message),
                log_level=logging.DEBUG,
            ) as result,
        ):
            if result:
                return None
            said = [
                entry.message
                for entry in result.logs()
                if entry.level in ("WARNING", "ERROR", "CRITICAL")
                or (_is_mail(self._service) and entry.message.startswith(_FROM_LOG))
            ]
        error = "; ".join(line.removeprefix(_FROM_LOG).rstrip(".") for line in said)
        # Where nothing was attempted the message itself was refused, and would be each time.
        if not len(result):
            raise ValueError(self._without_secrets(error) or "the message is refused without a reason")
        if attempt.status is None and (status := _HTTP_STATUS.search(error)):
            attempt.status = int(status[1])
        if _is_mail(self._service) and (reply := _MAIL_REPLY.search(error)):
            attempt.reply = int(reply[1])
        # Apprise says of some services itself what the attempt knows.
        told = [part for part in (error, attempt.trouble) if part and (part is error or part not in error)]
        return self._without_secrets(": ".join(told) or "failed without a reason")

    def _stamp(self, message: Message) -> None:
        """Put the idempotency key, and what ties a resolve to its firing, where the service has a place."""
        service = self._service
        if "headers" in service.template_kwargs:
            service.headers["Idempotency-Key"] = message.key
        if _is_mail(service):
            service.headers["References"] = f"<{message.group}@lapwing>"
        if _resolves_incidents(service):
            service.dedup = message.group
        if _closes_by_number(service):
            service.entity = service.alias = message.group
        document = json.loads(message.payload or "{}")
        if service.schema in ("json", "jsons"):
            service.json_version = document.pop("version", self._version)
            service.payload_extras = document | self._extras
        elif service.schema == "pagerduty":
            service.details = document | self._extras

    def _files(self, message: Message) -> list[Any] | None:
        """What comes with `message`; None for nothing."""
        if self._service.schema in _DOCUMENTS or not message.payload:
            return None
        attachment: Any = AttachMemory  # untyped, as all of Apprise
        return [
            attachment(content=file["text"].encode(), name=file["name"], mimetype="text/csv")
            for file in json.loads(message.payload)[ATTACHMENTS]
        ]

    def _harmless(self, text: str) -> str:
        """Text that calls nobody: Discord reads it for mentions, whatever it is said to be."""
        return _MENTION.sub("@\u200b", text) if self._service.schema == "discord" else text

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text[:_ERROR_MAX]


def _open(url: str) -> Any:
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError("an Apprise address such as jsons://HOST/PATH, mailtos://… or slack://…")
    called = f"{scheme[1].lower()}:// address (not shown, it may hold a secret)"
    parsed = _parse(url)
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
    if _resolves_incidents(service) and "action" not in settled:
        service.action = "map"
    if _closes_by_number(service):
        _close_by_name(service)
    return service


def service_of(url: str) -> tuple[str, str] | None:
    """The scheme of the service that an address belongs to, and the name of the service; None for no address.

    Links that services give out themselves are addresses, too.
    """
    parsed = _parse(url)
    if parsed is None:
        return None
    scheme = str(parsed["schema"])
    return scheme, str(N_MGR[scheme].service_name)


def _parse(url: str) -> dict[str, Any] | None:
    """What Apprise makes of an address; None for none."""
    with warnings.catch_warnings():
        # The first call loads every service; one of them asks for a module that Python 3.13 removed.
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        parsed: dict[str, Any] | None = url_to_dict(url)  # type: ignore[no-untyped-call]
    return parsed


def _recipients(service: Any) -> int:
    named = len(getattr(service, "targets", None) or ())
    if _is_mail(service) and not named:
        return 0
    copies = sum(len(getattr(service, kind, None) or ()) for kind in ("cc", "bcc"))
    return max(len(service), named) + copies


def _is_mail(service: Any) -> bool:
    return service.schema in ("mailto", "mailtos")


def _resolves_incidents(service: Any) -> bool:
    """Whether it is PagerDuty or its like, which by default opens an incident for a resolve too."""
    arguments = service.template_args
    return "dedup" in arguments and "map" in arguments.get("action", {}).get("values", ())


def _closes_by_number(service: Any) -> bool:
    """Whether it is Opsgenie or its like, which closes an alert by a number that it forgets when it ends."""
    arguments = service.template_args
    return {"alias", "entity"} <= arguments.keys() and "map" in arguments.get("action", {}).get("values", ())


def _close_by_name(service: Any) -> None:
    """Close alerts by their alias, which is the group: what is remembered would be gone after a restart."""
    fetch: Callable[..., Any] = service._fetch  # noqa: SLF001  # the one place where its requests are made

    def by_name(method: Any, url: str, payload: Any, params: Any = None) -> Any:
        return fetch(method, url, payload, params and {**params, "identifierType": "alias"})

    service._fetch = by_name  # noqa: SLF001
    service.store.get = lambda *_arguments, **_options: [service.alias]


def _secrets(service: Any) -> Iterator[str]:
    """What of an address must never be shown."""
    for name, described in {**service.template_tokens, **service.template_args}.items():
        if described.get("private"):
            yield from _texts(getattr(service, described.get("map_to", name), None))
    for name in ("password", "headers", "params", "fullpath"):
        yield from _texts(getattr(service, name, None))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value.strip("/")) >= _SECRET_MIN:
            yield value
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list() | tuple() | set():
            for each in value:
                yield from _texts(each)
