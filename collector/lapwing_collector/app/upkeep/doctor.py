"""`lapwing doctor`: examines a data directory from the outside, whether a collector runs on it or not."""

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

import lapwing
from lapwing_collector.app.places.arrangement import Arrangement
from lapwing_collector.app.places.departing import why_held
from lapwing_collector.app.places.directory import WHOSE, DataDirectory
from lapwing_collector.app.places.lake_place import lake_of
from lapwing_collector.app.places.owner_socket import ask_owner
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.project import load_project, settings_for
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.replicas.presence import who_shares
from lapwing_collector.app.upkeep.keeping import scrub
from lapwing_collector.app.upkeep.maintenance import Tell
from lapwing_collector.app.upkeep.rebuilding import rebuild_catalog
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import Settings
from lapwing_collector.engine import METADATA
from lapwing_collector.engine.place import CatalogFile, Location, Place
from lapwing_collector.errors import ConfigError, DataDirectoryError, LapwingError
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.catalog_file import check_catalog
from lapwing_collector.lake.files import all_files, known_paths
from lapwing_collector.state import Store
from lapwing_collector.wal import Log

_RESERVE_SHARE: Final = 0.05
_FOREIGN_AFTER: Final = timedelta(minutes=10)
"""Younger files may be about to be committed."""
_CLOCK_SLACK: Final = timedelta(minutes=5)
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What.
        text: How it is; what to do where it is wrong.
        wrong: Whether somebody has to do something.
    """

    subject: str
    text: str
    wrong: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def examine(
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    *,
    scrub_files: bool = False,
    rebuild: bool = False,
) -> list[Finding]:
    """Look at everything, one finding each.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        scrub_files: Read every page of every Parquet file, and set damaged ones aside.
        rebuild: Put the last copy of the catalog in its place first.
    """
    findings = [_versions()]
    try:
        load_project(file, flags)
        settings = settings_for(file, flags)
        Arrangement.UP.check(settings)
    except ConfigError as error:
        return [*findings, Finding("settings", str(error), wrong=True)]
    findings.append(Finding("settings", "read, with the rules and targets that they name"))
    directory = DataDirectory(settings.data)
    if not directory.root.is_dir():
        none = f"{directory.root}: there is none yet; `lapwing up` makes it"
        text = f"{directory.root}: is no folder" if directory.root.exists() else none
        return [*findings, Finding("data directory", text, wrong=True)]
    if not os.access(directory.root, os.W_OK | os.X_OK):
        text = f"{directory.root}: this user may not write it; {WHOSE}"
        return [*findings, Finding("data directory", text, wrong=True)]
    findings.append(Finding("data directory", str(directory.root.resolve())))
    if rebuild:
        findings.append(_rebuild(directory, settings))
    findings += _owner(directory)
    findings += _state(settings)
    findings.append(_disk(directory))
    place = lake_of(settings)
    try:
        why = why_held(directory, place)
    except DataDirectoryError as error:
        why = str(error)
    if why is not None:
        findings.append(Finding("lake", why, wrong=True))
    if not isinstance(place.catalog, CatalogFile) or place.catalog.path.exists():
        findings += _catalog(directory, place, tell)
        if scrub_files and not any(each.wrong and each.subject == "catalog" for each in findings):
            findings.append(_scrub(file, flags, tell))
    findings += _set_aside(directory)
    return findings


def _rebuild(directory: DataDirectory, settings: Settings) -> Finding:
    try:
        if (place := lake_of(settings)).folder is None:
            text = f"{place}: only a catalog in the data directory can be; restore a backup of it"
            return Finding("rebuilding", text, wrong=True)
        done = rebuild_catalog(directory, utc_datetime(SystemClock().now_ns()))
    except LapwingError as error:
        return Finding("rebuilding", str(error), wrong=True)
    text = f"the catalog is that of {done['copied_at']} UTC; the old one is kept as {done['broken']}"
    if done["files_aside"]:
        text += (
            f"; {done['files_aside']:,} files with {done['rows_aside']:,} rows that it does not know are in "
            f"{done['aside']}: rows written since, except those that the log still has, and copies that "
            "merging made of rows that are there"
        )
    return Finding("rebuilding", text)


def _versions() -> Finding:
    python = platform.python_version()
    return Finding(
        "versions",
        f"lapwing {lapwing.__version__}, duckdb {duckdb.__version__}, pyarrow {pa.__version__}, "
        f"python {python}",
    )


def _owner(directory: DataDirectory) -> Iterator[Finding]:
    """Who owns the directory; where nobody does, its log is read too."""
    try:
        status = ask_owner(directory.root, "status", {}, lambda *_: None)
    except LapwingError as error:
        yield Finding("owner", str(error), wrong=True)
        return
    if status is not None:
        yield Finding("owner", f"a collector runs (pid {status['pid']})")
        failing = status["failing"]
        yield Finding(
            "writing",
            "the newest flush failed; the collector's log says why" if failing else _waiting(status),
            wrong=failing,
        )
        yield Finding(
            "rows since the start", ", ".join(f"{n:,} {name}" for name, n in status["books"].items())
        )
        yield Finding("senders", _missing(status["senders"]))
        yield _log_size(directory)
        return
    try:
        ownership = Ownership.take(directory.root)
    except LapwingError as error:
        yield Finding("owner", f"{error}; it takes no orders", wrong=True)
        return
    try:
        yield Finding("owner", "no collector runs")
        yield from _log(directory)
    finally:
        ownership.release()


def _state(settings: Settings) -> Iterator[Finding]:
    """Where alerts and messages are kept, whether they can be read, and who shares them."""
    try:
        place = state_of(settings)
        if not place.exists():
            yield Finding("alert state", "none yet")
            return
        with closing(Store.find(place)) as store:
            shared = who_shares(store, utc_datetime(SystemClock().now_ns()))
    except LapwingError as error:
        yield Finding("alert state", str(error), wrong=True)
        return
    yield Finding("alert state", place.name)
    if place.shared:
        yield _replicas(shared)


def _replicas(shared: Mapping[str, Any]) -> Finding:
    """Which processes share the alert state."""
    there = [each for each in shared["replicas"] if not each["gone"]]
    gone = [each for each in shared["replicas"] if each["gone"]]
    leader = next((each for each in there if each["leads"]), None)
    text = f"{len(there):,} share the alert state"
    if leader is not None:
        text += f"; {leader['address']} ({leader['kind']}) leads since {shared['since']}"
    elif there:
        text += "; none of them leads: look again in a moment, then into their logs"
    if gone:
        heard = ", ".join(f"{each['address']} since {each['seen_at']}" for each in gone[:_SHOWN])
        text += (
            f"; {len(gone):,} are gone ({heard}): start them again, or wait a day until they are forgotten"
        )
    return Finding("replicas", text, wrong=bool(gone) or (bool(there) and leader is None))


def _waiting(status: Mapping[str, Any]) -> str:
    return f"{status['pending_bytes']:,} bytes of rows wait for the lake"


def _missing(senders: Mapping[str, Any]) -> str:
    """Which records of the SDK's processes never came; a gap may still close."""
    found = f"{senders['processes']:,} processes number their records; {senders['missing']:,} never came"
    if senders["worst"]:
        worst = senders["worst"][0]
        found += f"; most of {worst['process_id']}: {worst['missing']:,} of {worst['highest']:,}"
    return found


def _log(directory: DataDirectory) -> Iterator[Finding]:
    yield _log_size(directory)
    if not directory.log.is_dir():
        return
    with Log.open(directory.log) as log:
        for _ in log.replay(after=0):
            pass
        damage = log.damage
    for each in damage:
        yield Finding("log", f"{each.file}: at byte {each.offset}: {each.what}", wrong=True)


def _log_size(directory: DataDirectory) -> Finding:
    parts = list(directory.log.glob("*.log")) if directory.log.is_dir() else []
    held = sum(found.st_size for part in parts if (found := _stat(part)))
    return Finding("log", f"{held:,} bytes")


def _disk(directory: DataDirectory) -> Finding:
    usage = shutil.disk_usage(directory.root)
    short = usage.free < usage.total * _RESERVE_SHARE
    text = f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} GB are free"
    if short:
        text += "; free some, or let `retention` keep less: requests are refused before the disk is full"
    return Finding("disk", text, wrong=short)


def _catalog(directory: DataDirectory, place: Place, tell: Tell) -> Iterator[Finding]:
    problems = check_catalog(place.catalog.path) if isinstance(place.catalog, CatalogFile) else []
    if problems:
        copy = directory.catalog_copy
        advice = (
            "`lapwing doctor --rebuild-catalog` restores its last copy"
            if copy.exists()
            else "restore a backup with `lapwing restore`"
        )
        yield Finding("catalog", f"damaged: {problems[0]}; stop the collector, then {advice}", wrong=True)
        return
    try:
        catalog = Catalog.read(place)
    except LapwingError as error:
        yield Finding("catalog", str(error), wrong=True)
        return
    try:
        yield (
            _copy_of_catalog(directory)
            if isinstance(place.catalog, CatalogFile)
            else Finding("catalog", f"{place.catalog} answers; its server's means copy it")
        )
        yield _clock(catalog)
        yield from _files(catalog, tell)
    finally:
        catalog.close()


def _copy_of_catalog(directory: DataDirectory) -> Finding:
    try:
        copied_ns = directory.catalog_copy.stat().st_mtime_ns
    except FileNotFoundError:
        return Finding("catalog", "whole; not copied yet")
    age = utc_datetime(SystemClock().now_ns()) - utc_datetime(copied_ns)
    return Finding("catalog", f"whole; copied {_ago(age)} ago")


def _clock(catalog: Catalog) -> Finding:
    [(newest,)] = catalog.rows(
        f"SELECT max(snapshot_time::TIMESTAMPTZ::TIMESTAMP) FROM {METADATA}.ducklake_snapshot"
    )
    ahead = newest - utc_datetime(SystemClock().now_ns())
    if ahead > _CLOCK_SLACK:
        text = f"the newest commit is {_ago(ahead)} in the future: this machine's clock was set back"
        return Finding("clock", text, wrong=True)
    return Finding("clock", "not behind the newest commit")


def _files(catalog: Catalog, tell: Tell) -> Iterator[Finding]:
    held = all_files(catalog)
    missing = []
    try:
        there = {each.path: each for each in catalog.store.listed(catalog.store.root)}
    except OSError as error:
        yield Finding("files", f"{catalog.store.root}: {error}", wrong=True)
        return
    for done, (path, (_, file)) in enumerate(held.items(), 1):
        if path not in there or there[path].size_bytes != file.size_bytes:
            missing.append(path)
        tell("files", done, len(held))
    size_bytes = sum(file.size_bytes for _, file in held.values())
    if missing:
        yield Finding(
            "files",
            f"{len(missing):,} of {len(held):,} are missing or have another size ({_some(missing)}): queries "
            "that need them fail; `lapwing doctor --scrub` sets them aside, so that the rest is answered",
            wrong=True,
        )
    else:
        yield Finding("files", f"{len(held):,} with {size_bytes:,} bytes are there")
    known = known_paths(catalog)
    young = utc_datetime(SystemClock().now_ns()) - _FOREIGN_AFTER
    foreign = [path for path, found in there.items() if path not in known and found.changed_at < young]
    if foreign:
        yield Finding(
            "foreign files",
            f"{len(foreign):,} in the lake's folder belong to no table ({_some(foreign)}); what a crash left "
            "goes at the next start, move away anything else",
            wrong=True,
        )


def _scrub(file: Path | None, flags: Mapping[str, Any], tell: Tell) -> Finding:
    try:
        done = scrub(file, flags, tell)
    except LapwingError as error:
        return Finding("scrub", str(error), wrong=True)
    damaged, unchecked = done["damaged"], done.get("unchecked", ())
    if not damaged and not unchecked:
        return Finding("scrub", f"every page of {done['files']:,} files is whole")
    told = []
    if damaged:
        lost = sum(each["rows_lost"] for each in damaged)
        told.append(
            f"{len(damaged):,} of {done['files']:,} files were damaged and are set aside in "
            f"{done['quarantine']}; {lost:,} rows are lost, the others are kept: "
            + "; ".join(f"{each['table']}: {each['file']} {each['problem']}" for each in damaged[:_SHOWN])
        )
    if unchecked:
        told.append(
            f"{len(unchecked):,} of {done['files']:,} files could not be checked, try again later: "
            + "; ".join(f"{each['file']}: {each['problem']}" for each in unchecked)
        )
    return Finding("scrub", ". ".join(told), wrong=True)


def _set_aside(directory: DataDirectory) -> Iterator[Finding]:
    for subject, folder, meaning in (
        ("dead letters", directory.dead_letters, "were acknowledged and cannot be stored"),
        ("log quarantine", directory.log / "quarantine", "hold damaged parts of the log"),
        ("unclaimed files", directory.lake_unclaimed, "are unknown to the catalog that was rebuilt"),
        ("lake quarantine", directory.lake_quarantine, "are damaged files of the lake"),
    ):
        held = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        if held:
            yield Finding(
                subject, f"{len(held):,} files in {folder} {meaning}; look, then delete", wrong=True
            )
        else:
            yield Finding(subject, "none")


def _stat(path: Path) -> os.stat_result | None:
    """What is known of a file; None where a collector that runs removed it meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _some(paths: list[Location]) -> str:
    shown = ", ".join(str(path) for path in paths[:_SHOWN])
    return shown + (", …" if len(paths) > _SHOWN else "")


def _ago(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
