"""The notify file: who is told. Alertmanager's words, with Apprise addresses as the one kind of receiver."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from lapwing_collector.config import read_document
from lapwing_collector.notify.target import Target


def _refuse(_value: Any) -> None:
    raise ValueError("is not supported yet; remove it")


def _keys(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("a mapping of keys to values")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


def _entries(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("a list of entries")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


# Pydantic's own messages about a wrong shape would show the value, and an address in it.
Item = TypeVar("Item")
Keys = Annotated[Item, BeforeValidator(_keys)]
Entries = Annotated[list[Keys[Item]], Field(min_length=1), BeforeValidator(_entries)]

NotYet = Annotated[None, BeforeValidator(_refuse)]
"""A key of Alertmanager's file, or of its planned extensions, that is refused in plain words."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AppriseConfig(_Section):
    """One target: one Apprise address with one recipient."""

    name: str = Field(min_length=1)
    url: str
    send_resolved: bool = True
    resolve_silenced: NotYet = None
    rate: NotYet = None
    max_age: NotYet = None

    @field_validator("url", mode="before")
    @classmethod
    def _opens(cls, url: Any) -> Any:
        Target("", url if isinstance(url, str) else "")
        return url


class Receiver(_Section):
    """A name for some targets."""

    name: str = Field(min_length=1)
    apprise_configs: Entries[AppriseConfig]
    fallback: NotYet = None


class Route(_Section):
    """Which receiver hears of alerts."""

    receiver: str
    routes: NotYet = None
    matchers: NotYet = None
    match: NotYet = None
    match_re: NotYet = None
    group_by: NotYet = None
    group_wait: NotYet = None
    group_interval: NotYet = None
    repeat_interval: NotYet = None
    mute_time_intervals: NotYet = None
    active_time_intervals: NotYet = None
    escalate: NotYet = None


class NotifyFile(_Section):
    """The whole file. Receivers stand first so that the route can be checked against them."""

    receivers: Entries[Receiver]
    route: Keys[Route]
    inhibit_rules: NotYet = None
    time_intervals: NotYet = None
    mute_time_intervals: NotYet = None
    templates: NotYet = None

    @field_validator("receivers")
    @classmethod
    def _unique(cls, receivers: list[Receiver]) -> list[Receiver]:
        for kind, names in (
            ("receivers", [receiver.name for receiver in receivers]),
            (
                "apprise_configs",
                [config.name for receiver in receivers for config in receiver.apprise_configs],
            ),
        ):
            if twice := _repeated(names):
                raise ValueError(f"two {kind} are named {twice}; names must be unique")
        return receivers

    @field_validator("route")
    @classmethod
    def _known(cls, route: Route, info: ValidationInfo) -> Route:
        names = [receiver.name for receiver in info.data.get("receivers", ())]
        if names and route.receiver not in names:
            raise ValueError(f"receiver {route.receiver!r} is not among the receivers: {', '.join(names)}")
        return route


def _repeated(names: Iterable[str]) -> str:
    return ", ".join(name for name, count in Counter(names).items() if count > 1)


def read_notify_file(path: Path) -> tuple[Target, ...]:
    """Read notify.yaml and make the targets that its route leads to.

    Raises:
        ConfigError: It is wrong; the message names file, line, key and what was expected, and no address.
    """
    file = read_document(path, NotifyFile)
    return tuple(
        Target(config.name, config.url, send_resolved=config.send_resolved)
        for receiver in file.receivers
        if receiver.name == file.route.receiver
        for config in receiver.apprise_configs
    )
