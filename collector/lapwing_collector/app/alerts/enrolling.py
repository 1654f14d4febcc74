"""`lapwing notify add`: a new target, tried out and written into the notify file, its address kept apart."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import yaml

from lapwing_collector.app.places.project import NOTIFY_FILE
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import Settings, add_entry, load_settings, settings_file
from lapwing_collector.errors import ConfigError, UnavailableError, reason
from lapwing_collector.model.alerts import Message, Status
from lapwing_collector.notify import MailServer, Pasted, Reach, Target, Verdict, read_notify_file, recognise

SECRETS: Final = "secrets"
"""The folder of addresses, beside the notify file."""

_NAME: Final = re.compile(r"\w[\w.-]{0,99}")
"""Names of targets that are names of files, too."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What was added.

    Attributes:
        name: What the target is called.
        service: What service it is.
        receiver: The receiver that has it.
        file: The notify file.
        secret: Where its address is.
        tested: A message was sent and accepted.
        routed: Whether the top route leads to the receiver.
    """

    name: str
    service: str
    receiver: str
    file: Path
    secret: str
    tested: bool
    routed: bool


def enrol(
    config: Path | None,
    address: str | None,
    *,
    mail: MailServer | None = None,
    name: str | None = None,
    receiver: str | None = None,
    variable: str | None = None,
    test: bool = True,
) -> Enrolled:
    """Add a target to the notify file of a project.

    Args:
        config: The settings file; `lapwing.yaml` of this folder, if there is one, if None.
        address: What somebody pasted; a secret. None where `variable` has it.
        mail: Through which server mails go out.
        name: What the target is to be called; after its service if None.
        receiver: The receiver to add it to, made where there is none; the route's if None.
        variable: The environment variable that has the address; it is then read from there always.
        test: Send a message first, and add nothing where it is not accepted.

    Raises:
        ConfigError: The address or the file is wrong.
        UnavailableError: The message was not accepted.
    """
    config = settings_file(config)
    settings = load_settings(config)
    folder = config.parent if config is not None else Path()
    file = folder / (settings.notify or NOTIFY_FILE)
    text = _text(file)
    document = yaml.safe_load(text) if text.strip() else None
    if text.strip():
        read_notify_file(file)  # whatever is wrong with it is told before anything is sent
    if variable is not None:
        address = os.environ.get(variable)
        if not address:
            raise ConfigError(f"the environment variable {variable} is not set")
    pasted = recognise(address or "", mail)
    called = name or _free(pasted.name, _names(document))
    if not _NAME.fullmatch(called):
        raise ConfigError(f"--name: expected letters, digits and any of `.-_`, not {called!r}")
    if called in _names(document):
        raise ConfigError(f"{file}: a target is called {called!r} already; give another --name")
    if test:
        _try(called, pasted, settings)
    into = receiver or _routed(document) or "default"
    secret = f"env:{variable}" if variable is not None else f"file:{SECRETS}/{called}"
    if variable is None:
        _keep(file.parent / SECRETS, called, pasted.url)
    try:
        _write(file, _with_target(text, document, into, {"name": called, "url": f"${{{secret}}}"}, file))
        read_notify_file(file)
    except BaseException:
        _write(file, text) if text else file.unlink(missing_ok=True)
        if variable is None:
            (file.parent / SECRETS / called).unlink(missing_ok=True)
        raise
    routed = _routed(document) in (None, into)
    return Enrolled(called, pasted.service, into, file, secret, tested=test, routed=routed)


def _try(name: str, pasted: Pasted, settings: Settings) -> None:
    now = utc_datetime(SystemClock().now_ns())
    try:
        target = Target(name, pasted.url)
    except ValueError as error:
        raise ConfigError(f"this address cannot be used: {error}") from error
    group = uuid4().hex
    for status in Status if target.keeps_incidents else (Status.FIRING,):
        outcome = target.send(_greeting(name, group, status, now), Reach(settings.delivery.allow_networks))
        if outcome.verdict is not Verdict.SENT:
            raise UnavailableError(
                f"{pasted.service} did not accept a message, so nothing was added: {outcome.error} "
                "(--no-test adds it all the same)"
            )


def _greeting(name: str, group: str, status: Status, now: datetime) -> Message:
    return Message(
        key=uuid4().hex,
        target=name,
        status=status,
        group=group,
        title="[TEST] Lapwing reaches this place",
        body=(
            f"Alerts will be told here; Lapwing calls it {name}. "
            f"Nothing is wrong: somebody tried it at {now:%Y-%m-%d %H:%M} UTC."
        ),
    )


def _with_target(text: str, document: Any, receiver: str, entry: Mapping[str, str], file: Path) -> str:
    """The text of a notify file with one more target."""
    if document is None:
        fresh = {
            "route": {"receiver": receiver},
            "receivers": [{"name": receiver, "apprise_configs": [dict(entry)]}],
        }
        return (text.rstrip() + "\n\n" if text.strip() else "") + yaml.safe_dump(fresh, sort_keys=False)
    names = [each["name"] for each in document["receivers"]]
    if receiver in names:
        place: list[str | int] = ["receivers", names.index(receiver), "apprise_configs"]
        return add_entry(text, place, entry, str(file))
    return add_entry(text, ["receivers"], {"name": receiver, "apprise_configs": [dict(entry)]}, str(file))


def _names(document: Any) -> set[str]:
    receivers = document["receivers"] if document else ()
    return {each["name"] for receiver in receivers for each in receiver.get("apprise_configs") or ()}


def _routed(document: Any) -> str | None:
    return str(document["route"]["receiver"]) if document else None


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {reason(error)}") from error


def _keep(folder: Path, name: str, address: str) -> None:
    """Keep an address in a file that its owner alone may read, and git leaves alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignored = folder / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as secret:
            secret.write(address + "\n")
    except FileExistsError as error:
        raise ConfigError(
            f"{folder / name} is there already, and nothing in the notify file uses it: "
            "remove it, or give another --name"
        ) from error
    except OSError as error:
        raise ConfigError(f"{folder / name}: cannot be written: {error.strerror}") from error


def _write(file: Path, text: str) -> None:
    """Put `text` in the place of a file, whole or not at all, with the mode it had."""
    file = file.resolve()  # what a link stands for, and not the link
    new = file.with_name(f".{file.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        with suppress(FileNotFoundError):
            new.chmod(file.stat().st_mode & 0o777)
        new.replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
