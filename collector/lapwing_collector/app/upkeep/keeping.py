"""Commands that keep a data directory in order: its owner does the work where one runs, else they do."""

import getpass
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lapwing_collector.app.ingest.remembering import Memory
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.lake_place import expect_lake
from lapwing_collector.app.places.owner_socket import Order, ask_owner
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.owning import open_lake
from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.upkeep import references
from lapwing_collector.app.upkeep.backup import restore_backup
from lapwing_collector.app.upkeep.maintenance import Maintenance, Tell, tell_nobody
from lapwing_collector.app.upkeep.references import Wanted
from lapwing_collector.clock import SystemClock
from lapwing_collector.config import Settings
from lapwing_collector.errors import ConfigError, reason
from lapwing_collector.lake.erasure import Subject
from lapwing_collector.wal import Log, sync_data

logger = logging.getLogger(__name__)

HARMLESS: Final = ("compact", "retain", "status", "requeue", "keep-evaluation", "annotate")
"""What whoever reaches the HTTP port may order: no more than the settings have done anyway, was done before,
or is added for what it is. What takes rows away or writes where the caller says is ordered over the owner's
socket, whose file says who may."""

_Work = Callable[[Maintenance, Mapping[str, Any], Tell], Mapping[str, Any]]


def compact(file: Path | None, flags: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    """Merge the files of every table as far as they can be.

    Raises:
        LapwingError: It cannot be done now.
    """
    return _do("compact", {}, settings_for(file, flags), tell)


def retain(file: Path | None, flags: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    """Remove what the settings say is kept no longer.

    Raises:
        LapwingError: It cannot be done now.
    """
    return _do("retain", {}, settings_for(file, flags), tell)


def erase(
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    *,
    table: str,
    ids: list[str],
    request_ids: list[str],
    where: list[str],
) -> Mapping[str, Any]:
    """Erase a subject's predictions and labels, with proof.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        table: The model's table.
        ids: Prediction ids.
        request_ids: Request ids.
        where: Fields and values, `tags.user=u-17`.

    Raises:
        ConfigError: Nothing, or no such field, is named.
        LapwingError: It cannot be done now.
    """
    if not ids and not request_ids and not where:
        raise ConfigError("say whose rows are to go: --id, --request-id or --where FIELD=VALUE")
    values = []
    for condition in where:
        path, equals, value = condition.partition("=")
        if not equals or not path or not value:
            raise ConfigError(f"--where: expected FIELD=VALUE such as tags.user=u-17, not {condition!r}")
        values.append([path.strip(), value])
    arguments = {"table": table, "ids": ids, "request_ids": request_ids, "values": values}
    return _do("erase", {**arguments, "by": user()}, settings_for(file, flags), tell)


def user() -> str:
    """Who runs this: a name, or the number of a user who has none, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them is up to the Python
        return str(os.getuid())


def backup(file: Path | None, flags: Mapping[str, Any], tell: Tell, target: Path) -> Mapping[str, Any]:
    """Copy the data directory into a new folder, while it is used.

    Raises:
        LapwingError: It cannot be done now.
    """
    return _do("backup", {"target": str(target.resolve())}, settings_for(file, flags), tell)


def retype(  # noqa: PLR0917  # a field, its type, and where they are
    file: Path | None, flags: Mapping[str, Any], tell: Tell, model: str, field: str, kind: str
) -> Mapping[str, Any]:
    """Give a field of a model another type.

    Raises:
        ConfigError: There is no such model, field or type.
        LapwingError: It cannot be done now.
    """
    return _do("retype", {"model": model, "field": field, "type": kind}, settings_for(file, flags), tell)


def restore(file: Path | None, flags: Mapping[str, Any], tell: Tell, source: Path) -> Mapping[str, Any]:
    """Make a data directory of a backup, verified.

    Raises:
        DataDirectoryError: It is no whole backup, or the data directory is there already.
    """
    return restore_backup(source, DataDirectory(settings_for(file, flags).data), tell)


def scrub(file: Path | None, flags: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    """Read every page of every file of the lake, and set damaged files aside.

    Raises:
        LapwingError: It cannot be done now.
    """
    return _do("scrub", {}, settings_for(file, flags), tell)


def set_reference(
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    *,
    model: str,
    name: str,
    rows: Path | pa.Table | None = None,
    window: tuple[str, str] | None = None,
    policy: Mapping[str, Any] | None = None,
    role: str = "drift",
    keeps_rows: bool = True,
) -> Mapping[str, Any]:
    """Keep what a model is compared with: one of a file or table, a past window, or a policy.

    A data directory that is not there yet is made, so that a model's reference can come before its rows.

    Raises:
        ConfigError: The rows cannot be read, or what is asked for is no reference.
        LapwingError: It cannot be done now.
    """
    settings = settings_for(file, flags)
    wanted: dict[str, Any] = {"model": model, "name": name, "role": role, "keeps_rows": keeps_rows}
    with ExitStack() as stack:
        if rows is not None:
            folder = stack.enter_context(TemporaryDirectory(prefix="lapwing-"))
            wanted["file"] = str(_as_parquet(rows, Path(folder)).resolve())
            wanted["source"] = str(rows) if isinstance(rows, Path) else "a table"
        elif window is not None:
            wanted |= {"window": list(window), "source": f"{window[0]} to {window[1]}"}
        else:
            wanted |= {"policy": policy, "source": "policy"}
        Wanted.of(wanted)
        return _do("set-reference", wanted, settings, tell, make=True)


def set_reference_in(
    folder: Path,
    model: str,
    name: str,
    rows: pa.Table | None,
    *,
    window: tuple[str, str] | None,
    rolling: str | None,
    same_hours: str | None,
    role: str,
    keep_rows: bool,
) -> int:
    """Keep a reference in the data directory `folder`, for `lapwing.connect`; its version.

    Raises:
        LapwingError: It is no reference, or cannot be kept now.
    """
    policy = references.rolling(rolling) if rolling is not None else None
    policy = references.same_hours(same_hours) if same_hours is not None else policy
    done = set_reference(
        None,
        {"data": folder},
        tell_nobody,
        model=model,
        name=name,
        rows=rows,
        window=window,
        policy=policy,
        role=role,
        keeps_rows=keep_rows,
    )
    for warning in done["warnings"]:
        logger.warning("reference %s of %s: %s", name, model, warning, extra={"action": "odd_reference"})
    return int(done["version"])


def remove_reference(
    file: Path | None, flags: Mapping[str, Any], tell: Tell, *, model: str, name: str, version: int | None
) -> Mapping[str, Any]:
    """Forget a reference, or one version of it.

    Raises:
        ConfigError: There is none.
        LapwingError: It cannot be done now.
    """
    arguments = {"model": model, "name": name, "version": version}
    return _do("remove-reference", arguments, settings_for(file, flags), tell)


def drop_reference_rows(
    file: Path | None, flags: Mapping[str, Any], tell: Tell, *, model: str, name: str, version: int | None
) -> Mapping[str, Any]:
    """Forget the rows of a reference, or of one version of it; its counts stay.

    Raises:
        ConfigError: There is none.
        LapwingError: It cannot be done now.
    """
    arguments = {"model": model, "name": name, "version": version}
    return _do("drop-reference-rows", arguments, settings_for(file, flags), tell)


def keep_evaluation(settings: Settings, document: Mapping[str, Any]) -> None:
    """Keep a run of the gate in a data directory; one that is not there yet is made.

    Raises:
        LapwingError: It cannot be done now.
    """
    _do("keep-evaluation", {"evaluation": document}, settings, tell_nobody, make=True)


def annotate_in(settings: Settings, note: Mapping[str, str]) -> Mapping[str, Any]:
    """Keep a note on the time axis in a data directory.

    Raises:
        ConfigError: It is none.
        LapwingError: It cannot be done now.
    """
    return _do("annotate", note, settings, tell_nobody)


def _as_parquet(rows: Path | pa.Table, folder: Path) -> Path:
    """A file that holds the rows in Parquet: the same if it does already."""
    if isinstance(rows, Path) and rows.suffix != ".csv":
        try:
            pq.read_metadata(rows)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{rows}: cannot be read as Parquet: {reason(error)}") from error
        return rows
    try:
        table = pa.csv.read_csv(rows) if isinstance(rows, Path) else rows
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{rows}: cannot be read as CSV: {reason(error)}") from error
    written = folder / "reference.parquet"
    pq.write_table(table, written)
    return written


def orders(maintenance: Maintenance) -> Mapping[str, Order]:
    """What an owner does to its data directory for commands, by name."""

    def order(work: _Work) -> Order:
        return lambda arguments, tell: work(maintenance, arguments, tell)

    return {name: order(work) for name, work in _WORK.items()}


def _erase(maintenance: Maintenance, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    match arguments:
        case {
            "table": str(table),
            "ids": [*ids],
            "request_ids": [*requests],
            "values": [*values],
            "by": str(by),
        } if all(isinstance(each, str) for each in (*ids, *requests)):
            subject = Subject(table, tuple(ids), tuple(requests), tuple(map(_field_and_value, values)))
            return maintenance.erase(subject, by, tell)
    raise ConfigError("erase: expected the texts `table` and `by`, and lists `ids`, `request_ids`, `values`")


def _field_and_value(pair: Any) -> tuple[str, str]:
    match pair:
        case [str(path), str(value)]:
            return path, value
    raise ConfigError("erase: each of `values` must be a field and the text of its value")


def _backup(maintenance: Maintenance, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    match arguments:
        case {"target": str(target)} if Path(target).is_absolute():
            return maintenance.backup(Path(target), tell)
    raise ConfigError("backup: expected the absolute path of a folder as `target`")


def _retype(maintenance: Maintenance, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    match arguments:
        case {"model": str(model), "field": str(field), "type": str(kind)}:
            return maintenance.retype(model, field, kind, tell)
    raise ConfigError("retype: expected the texts `model`, `field` and `type`")


def _set_reference(maintenance: Maintenance, arguments: Mapping[str, Any], _tell: Tell) -> Mapping[str, Any]:
    return maintenance.set_reference(Wanted.of(arguments))


def promoted(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `set-reference` is told where a window of a model becomes what its drift is compared with.

    Raises:
        ConfigError: It is no such window.
    """
    match arguments:
        case {"model": str(model), "name": str(name), "from": str(since), "to": str(until)}:
            window = [since, until]
            return {
                "model": model,
                "name": name,
                "role": "drift",
                "window": window,
                "source": f"{since} to {until}",
            }
    raise ConfigError("promote-window: expected the texts `model`, `name`, `from` and `to`")


def _remove_reference(
    maintenance: Maintenance, arguments: Mapping[str, Any], _tell: Tell
) -> Mapping[str, Any]:
    match arguments:
        case {"model": str(model), "name": str(name), "version": int() | None as version}:
            return maintenance.remove_reference(model, name, version)
    raise ConfigError("remove-reference: expected the texts `model` and `name`, and `version`")


def _drop_reference_rows(
    maintenance: Maintenance, arguments: Mapping[str, Any], _tell: Tell
) -> Mapping[str, Any]:
    match arguments:
        case {"model": str(model), "name": str(name), "version": int() | None as version}:
            return maintenance.drop_reference_rows(model, name, version)
    raise ConfigError("drop-reference-rows: expected the texts `model` and `name`, and `version`")


def _keep_evaluation(
    maintenance: Maintenance, arguments: Mapping[str, Any], _tell: Tell
) -> Mapping[str, Any]:
    document = arguments.get("evaluation")
    if isinstance(document, dict):
        return maintenance.keep_evaluation(document)
    raise ConfigError("keep-evaluation: expected the object `evaluation`")


_WORK: Mapping[str, _Work] = {
    "compact": lambda maintenance, _, tell: maintenance.compact(tell),
    "retain": lambda maintenance, _, tell: maintenance.retain(tell),
    "erase": _erase,
    "retype": _retype,
    "scrub": lambda maintenance, arguments, tell: maintenance.scrub(tell, arguments.get("only")),
    "backup": _backup,
    "set-reference": _set_reference,
    "remove-reference": _remove_reference,
    "drop-reference-rows": _drop_reference_rows,
    "keep-evaluation": _keep_evaluation,
    "annotate": lambda maintenance, arguments, _: maintenance.annotate(arguments),
}


def _do(
    name: str, arguments: Mapping[str, Any], settings: Settings, tell: Tell, *, make: bool = False
) -> Mapping[str, Any]:
    directory = DataDirectory(settings.data)
    if not make:
        expect_lake(settings)
    answer = ask_owner(directory.root, name, arguments, tell)
    if answer is not None:
        return answer
    with owning(directory, settings) as maintenance:
        return _WORK[name](maintenance, arguments, tell)


@contextmanager
def owning(directory: DataDirectory, settings: Settings) -> Iterator[Maintenance]:
    """Own a data directory that nobody owns for the length of the block.

    Raises:
        DataDirectoryError: Somebody owns it, or it cannot be used.
    """
    with ExitStack() as parts:
        parts.callback(Ownership.take(directory.root).release)
        lake = open_lake(directory, settings)
        parts.callback(lake.close)
        log = Log.open(directory.log, after=lake.progress.log)
        parts.callback(log.close)
        memory = Memory.open(log, directory.ledger, sync=sync_data)
        parts.callback(memory.close)
        maintenance = Maintenance(
            lake=lake,
            log=log,
            remembered=lambda: memory.covers,
            directory=directory,
            settings=settings,
            clock=SystemClock(),
        )
        parts.callback(maintenance.close, 1.0)
        yield maintenance
