"""Commands about the rules of a collector: its files, and the slots of a replay."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import ask_owner
from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.clock import read_utc
from lapwing_collector.errors import ConfigError, DataDirectoryError
from lapwing_collector.state import Store


def reload_files(file: Path | None, flags: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let the collector that runs go on with rules and targets as their files are now; tells what is another.

    Raises:
        ConfigError: A file has mistakes; all goes on as it was.
        DataDirectoryError: No collector runs there.
    """
    data = DataDirectory(settings_for(file, flags).data).root
    answer = ask_owner(data, "reload", {}, lambda *_: None)
    if answer is None:
        raise DataDirectoryError(f"{data}: no collector runs here; it reads its files when it starts")
    return answer


def advance_rules(file: Path | None, flags: Mapping[str, Any], to: str) -> datetime:
    """Let rules close their slots up to `to`, an ISO time, UTC unless it says otherwise.

    Raises:
        ConfigError: `to` is no time, or time is not what the data says.
        DataDirectoryError: There is no such data directory.
    """
    settings = settings_for(file, flags)
    if settings.clock != "data":
        raise ConfigError("rules advance is for replays: the settings must say `clock: data` (see --config)")
    try:
        moment = read_utc(to)
    except ValueError as error:
        raise ConfigError(f"--to: expected a time such as 2026-01-31T12:00, not {to!r}") from error
    store = Store.find(state_of(settings))
    try:
        store.advance_to(moment)
    finally:
        store.close()
    return moment
