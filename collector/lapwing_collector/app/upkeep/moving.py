"""`lapwing migrate-lake` and `migrate-state`: take lake and alert state to where other settings say."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from lapwing_collector.app.places.arrangement import Arrangement
from lapwing_collector.app.places.departing import Departure, travelling, why_held
from lapwing_collector.app.places.directory import DataDirectory, collector_name
from lapwing_collector.app.places.lake_place import expect_lake, lake_of
from lapwing_collector.app.places.owner_socket import ask_owner
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.replicas.presence import expect_one_writer, is_gone
from lapwing_collector.app.upkeep.maintenance import Tell
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import Settings
from lapwing_collector.engine.place import Place
from lapwing_collector.errors import ConfigError, DataDirectoryError
from lapwing_collector.lake.catalog import exists
from lapwing_collector.lake.migrating import Migration
from lapwing_collector.state import Store, move_state, schema_of

_FEW: Final = 20
"""Files that are copied in a moment: with fewer than that to come, the rest may be."""

_PASSES: Final = 20


def migrate_lake(
    file: Path | None, flags: Mapping[str, Any], to: Path, tell: Tell, *, switch: bool = False
) -> Mapping[str, Any]:
    """Copy the files of a lake; where no collector runs, or with `switch`, make it be at its new place.

    The alert state goes along where the settings name another place for that, too. While a collector runs,
    readers and senders are not disturbed. From the switch on it writes no more, and keeps what comes in its
    log, until it is started with the other settings. No file is copied twice.

    Args:
        file: The settings file, if any, that says where the lake is.
        flags: Settings given on the command line.
        to: The settings file that says where it is to be; its data directory is the same.
        tell: Told how far it is.
        switch: Whether to come to the end though a collector runs.

    Raises:
        ConfigError: The two do not say what there could be.
        DataDirectoryError: It cannot be done; nothing was changed where the lake is.
        StateUnavailableError: One of the two states is away.
    """
    here, there = _both(file, flags, to)
    directory = DataDirectory(here.data)
    source, target = expect_lake(here), lake_of(there)
    if source == target:
        raise ConfigError(f"{to}: says that the lake is where it is, {source}")
    running = _ask(directory, "status") is not None
    if running and switch and state_of(here).name != state_of(there).name:
        raise ConfigError(
            f"{to}: says that alerts are kept elsewhere, too; take them there first, for which the collector "
            "stops a moment (`lapwing migrate-state`), or stop it and say this without --switch"
        )
    with ExitStack() as parts:
        if not running:
            parts.callback(Ownership.take(directory.root).release)
            _expect_one_writer(here, source)
        parts.enter_context(travelling(directory))
        try:
            before = Departure.of(directory)
            journey = Departure.after(before, source, target)
            if before == journey and exists(target):
                raise DataDirectoryError(f"{target}: the lake is there; start the collector with {to}")
            if before != journey and (why := why_held(directory, source)):
                raise DataDirectoryError(why)
            migration = parts.enter_context(
                closing(Migration(source, target, directory.migration, collector_name(directory.root)))
            )
            copied = _copy(migration, tell)
            outcome: dict[str, Any] = {"from": str(source), "to": str(target), "collector_runs": running}
            if running and not switch:
                return outcome | {"files_copied": copied, "finished": False}
            if running:
                _hold(directory, target)
                copied += _copy(migration, tell)
            moved = _take_state(here, there, tell)  # first: it can be taken again where the catalog is not
            tables = _arrive(migration, directory, before, journey, target, running=running)
        except (OSError, duckdb.Error) as error:
            raise DataDirectoryError(f"{target}: the lake cannot be taken there: {error}") from error
        directory.migration.unlink(missing_ok=True)
    return outcome | {
        "files_copied": copied,
        "finished": True,
        "rows": sum(rows for rows, _ in tables.values()),
        "tables": {table: {"rows": rows, "checksum": checksum} for table, (rows, checksum) in tables.items()},
        "state": moved,
    }


def migrate_state(file: Path | None, flags: Mapping[str, Any], to: Path, tell: Tell) -> Mapping[str, Any]:
    """Make the alert state be at another place, while nobody works with it; the lake stays where it is.

    Args:
        file: The settings file, if any, that says where the state is.
        flags: Settings given on the command line.
        to: The settings file that says where it is to be; data directory and lake are the same.
        tell: Told how far it is.

    Raises:
        ConfigError: The two do not say what there could be.
        DataDirectoryError: It cannot be done; nothing was changed where the state is.
        StateUnavailableError: One of the two is away.
    """
    here, there = _both(file, flags, to)
    if lake_of(here) != lake_of(there):
        raise ConfigError(f"{to}: says that the lake is elsewhere, too; `lapwing migrate-lake` takes both")
    source, target = state_of(here), state_of(there)
    if source.name == target.name:
        raise ConfigError(f"{to}: says that the alert state is where it is, {source.name}")
    ownership = Ownership.take(here.data)
    try:
        rows = _take_state(here, there, tell)
    finally:
        ownership.release()
    if rows is None:
        raise DataDirectoryError(f"{source.name}: no collector has run here yet; `lapwing up` starts one")
    return {"from": source.name, "to": target.name, "rows": rows}


def _both(file: Path | None, flags: Mapping[str, Any], to: Path) -> tuple[Settings, Settings]:
    """The settings of now, and those to come.

    Raises:
        ConfigError: The two do not say what there could be.
    """
    here, there = settings_for(file, flags), settings_for(to, flags)
    if here.data.resolve() != there.data.resolve():
        raise ConfigError(f"{to}: names another data directory; its log and the lake belong together")
    Arrangement.UP.check(there)
    return here, there


def _expect_one_writer(here: Settings, source: Place) -> None:
    """See that no collector elsewhere writes a lake whose own collector is stopped.

    Raises:
        DataDirectoryError: One does.
        StateUnavailableError: Nobody can say whether one does.
    """
    state = state_of(here)
    if source.shared and state.shared and schema_of(state) is not None:
        with closing(Store.find(state)) as store:
            expect_one_writer(store, collector_name(DataDirectory(here.data).root), _now())


def _now() -> datetime:
    return utc_datetime(SystemClock().now_ns())


def _take_state(here: Settings, there: Settings, tell: Tell) -> Mapping[str, int] | None:
    """Take the alert state along where it is to be elsewhere: its rows by table; None if none is to be taken.

    Raises:
        DataDirectoryError: It cannot be done, or somebody works with it.
        StateUnavailableError: One of the two places is away.
    """
    source, target = state_of(here), state_of(there)
    if source.name == target.name or schema_of(source) is None:
        return None
    if source.shared:
        with closing(Store.find(source)) as store:
            now = _now()
            working = [each.address for each in store.replicas() if not is_gone(each.seen_at, now)]
        if working:
            raise DataDirectoryError(
                f"{source.name}: {', '.join(working)} work with this alert state; stop all that do first"
            )
    return move_state(source, target, lambda done, total: tell("rows of the alert state", done, total))


def _ask(
    directory: DataDirectory, order: str, arguments: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | None:
    """Ask the collector, if it runs; not who serves beside it, which only reads."""
    return ask_owner(directory.root, order, arguments or {}, lambda *_: None, beside=False)


def _copy(migration: Migration, tell: Tell) -> int:
    """Copy files until hardly any came meanwhile; how many that were."""
    copied = 0
    for _ in range(_PASSES):
        newly = migration.copy_files(lambda done, total: tell("files", done, total))
        copied += newly
        if newly < _FEW:
            break
    return copied


def _hold(directory: DataDirectory, target: Place) -> None:
    """Have the collector that runs write no more.

    Raises:
        DataDirectoryError: None does.
    """
    if _ask(directory, "hold-lake", {"to": str(target)}) is None:
        raise DataDirectoryError(f"{directory.root}: the collector ended; say it again")


def _arrive(
    migration: Migration,
    directory: DataDirectory,
    before: Departure | None,
    journey: Departure,
    target: Place,
    *,
    running: bool,
) -> Mapping[str, tuple[int, str]]:
    """Make the lake be at its new place; from then on it is not written where it was."""
    journey.mark(directory)
    try:
        if running:  # once more: a worker that began since it was asked could not see the mark
            _hold(directory, target)
        return migration.copy_catalog()
    except BaseException:
        if not exists(target):  # where nobody can tell, the mark stays: it is said again
            if before is None:
                directory.departure.unlink()
            else:
                before.mark(directory)
        raise
