"""Maintenance of a data directory: what the background duty does slice by slice, and commands at once."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.app.answers.evaluations import rows_of_document
from lapwing_collector.app.background.pacing import Pacing, StoppedError
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.lake_place import expect_folder
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.upkeep.backup import take_backup
from lapwing_collector.app.upkeep.notes import rows_of_note
from lapwing_collector.app.upkeep.references import References, Wanted
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.config.settings import RetentionSettings, Settings
from lapwing_collector.engine.place import CatalogFile
from lapwing_collector.errors import ConfigError, LakeHeldError, UnavailableError, UnknownModelError
from lapwing_collector.lake import Lake, declared_type
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.catalog_file import copy_catalog, vacuum_catalog
from lapwing_collector.lake.erasure import (
    Subject,
    erase,
    mentions_in_catalog,
    record_erasure,
    remaining_in_lake,
)
from lapwing_collector.lake.files import TableName, all_files
from lapwing_collector.lake.retention import Keep, Removal, Retention
from lapwing_collector.lake.retyping import retype
from lapwing_collector.lake.scrub import Damaged, Unchecked, scrub
from lapwing_collector.lake.upkeep import Tally, Upkeep
from lapwing_collector.model.description import parts
from lapwing_collector.state import Place, SqliteFile, Store, schema_of
from lapwing_collector.wal import Log

logger = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_CLEAN_EVERY_S: Final = 60.0
_CLEAN_SHARE: Final = 0.005
"""How much of the time expiring may keep others from the catalog: it reads all of it, and takes longer the
more files there are."""
_RETAIN_EVERY_S: Final = 3600.0
_TIDY_EVERY_S: Final = 3600.0
_ORPHANED_AFTER: Final = timedelta(days=1)
"""How old a file is that the catalog does not know before it counts as left by a crash: another collector
may be about to commit it."""
_RETRY_S: Final = 30.0
_FLUSH_WAIT_S: Final = 60.0
_FLUSH_LOOK_S: Final = 0.1
_AGAIN_S: Final = 0.1
_WIPE_ATTEMPTS: Final = 20
_WIPE_RETRY_S: Final = 0.25
_SHORTEST_NEEDLE_BYTES: Final = 6
"""Shorter texts stand everywhere by chance."""
_CHUNK_BYTES: Final = 1 << 20

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def tell_nobody(_what: str, _done: int, _total: int) -> None:
    """For work that nobody watches."""


class Maintenance:
    """Looks after one data directory, whose owner this process is; one thing at a time."""

    def __init__(
        self,
        *,
        lake: Lake,
        log: Log,
        remembered: Callable[[], int],
        directory: DataDirectory,
        settings: Settings,
        clock: Clock,
        busy: Callable[[], bool] = lambda: False,
        is_mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wire the parts.

        Args:
            lake: Its own.
            log: Its own.
            remembered: Up to which position the log is needed no more: the lake has the rows, and what
                they were accepted as is kept elsewhere.
            directory: Where everything is.
            settings: What is kept, and how much time maintenance may take.
            clock: The wall clock.
            busy: Whether rows wait to be written, so that maintenance had better wait.
            is_mine: Whether it is this process that looks after the lake, of all that write to it.
        """
        self._lake = lake
        catalog = lake.catalog.place.catalog
        # That of a server is copied and tidied by its own means.
        self._catalog_file = catalog.path if isinstance(catalog, CatalogFile) else None
        self._log = log
        self._remembered = remembered
        self._directory = directory
        self._settings = settings
        self._retention = retention_of(settings.retention)
        self._clock = clock
        self._is_mine = is_mine
        self._upkeep = Upkeep(lake.catalog, lake.profiles, lake.add_rows)
        self._pacing = Pacing(settings.maintenance.share, busy)
        self._working = threading.Lock()
        self._removals: list[Removal] = []
        self._retained_at: float | None = None
        self._clean_at_s = 0.0
        self._tidy_at_s = 0.0
        self._merge_first = True
        self._thread = threading.Thread(target=self._run, name="lapwing-maintenance", daemon=True)

    def start(self) -> None:
        """Begin the background duty."""
        self._thread.start()

    @property
    def tally(self) -> Tally:
        """What was done since the start."""
        return self._upkeep.tally

    def close(self, timeout_s: float) -> bool:
        """Leave what is being done as it is, and stop; tells whether that was in time."""
        self._pacing.stop()
        ends_s = time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s / 2)
        while self._thread.is_alive() and time.monotonic() < ends_s:
            self._upkeep.interrupt()  # again and again: it may just have come to its next query
            self._thread.join(_AGAIN_S)
        if self._thread.is_alive() or not self._working.acquire(timeout=timeout_s):
            return False
        self._upkeep.close()
        self._working.release()
        return True

    def compact(self, tell: Tell = tell_nobody) -> dict[str, Any]:
        """Merge the files of every table as far as they can be."""
        with self._at_once():
            before = _size(self._lake)
            merged = self.tally.files_merged
            for done, total in self._upkeep.merge_all(self._pacing.pause):
                tell("tables", done, total)
            after = _size(self._lake)
            return {
                "files_merged": self.tally.files_merged - merged,
                "files_before": before[0],
                "files_after": after[0],
                "bytes_before": before[1],
                "bytes_after": after[1],
            }

    def retain(self, tell: Tell = tell_nobody) -> dict[str, Any]:
        """Remove what is kept no longer, now, and every state of the lake that still shows it."""
        with self._at_once():
            started = asdict(self.tally)
            plan = self._plan_retention()
            total = len(plan)
            while plan:
                del plan[: self._upkeep.remove(plan, self._pacing.pause)]
                tell("files", total - len(plan), total)
            return {
                "rows_removed": self.tally.rows_removed - started["rows_removed"],
                "files_removed": self.tally.files_removed - started["files_removed"],
            }

    def erase(self, subject: Subject, by: str, tell: Tell = tell_nobody) -> dict[str, Any]:
        """Remove every row of a subject and every trace of it, prove it, and keep the proof.

        Rows that were acknowledged before the call are met wherever they are; those that come later are not.
        Once rows are gone there is a record of it, whatever fails afterwards: it is among what remains.

        Raises:
            ConfigError: There is no such model or field.
            UnavailableError: What waits in the log does not get into the lake.
        """
        with self._at_once():
            tell("rows that wait to be written", 0, 4)
            self._wait_for_flush()
            tell("rows", 1, 4)
            erased = erase(self._lake.catalog, self._upkeep.rewriter, subject)
            remaining = self._forget(subject, tell)
            at = self._now()
            record_erasure(self._lake.catalog, subject, erased, by=by, at=at, remaining=remaining)
            self._copy_catalog()
            tell("proof", 4, 4)
            logger.info(
                "erased %d predictions and %d labels of %s",
                erased.predictions,
                erased.labels,
                subject.table,
                extra={"action": "erased"},
            )
            return {**asdict(erased), "verified": not remaining, "remaining": remaining, "at": at.isoformat()}

    def retype(self, model: str, name: str, kind: str, tell: Tell = tell_nobody) -> dict[str, Any]:
        """Give a field of a model another type, and let values that fit it now come from `extra`.

        Raises:
            ConfigError: There is no such model, field or type.
            UnavailableError: New fields come all the time.
        """
        table = self._lake.table_names.get(model)
        if table is None:
            raise UnknownModelError(f"there is no model {model!r}; `lapwing models` lists those there are")
        try:
            path, wanted = parts(name), declared_type(kind)
        except ValueError as error:
            raise ConfigError(f"retype: expected {error}") from error
        if pa.types.is_map(wanted):
            raise ConfigError("retype: a MAP cannot be made of what is there; `types` in a file declares one")
        target = TableName("labels" if path[0] == "label" else "predictions_all", table)
        with self._at_once():
            try:
                done = retype(
                    self._lake.catalog,
                    self._upkeep.rewriter,
                    target,
                    path,
                    wanted,
                    lambda rows, total: tell("rows", rows, total),
                )
            finally:  # a commit that seems to fail may have taken place
                self._lake.forget(target)
            if self._upkeep.freezing is not None and target.schema == "predictions_all":
                self._upkeep.freezing.renew(model, table, name, self._now())
        logger.info("%s of %s is %s now", name, target.sql, kind, extra={"action": "retyped", **asdict(done)})
        return asdict(done)

    def backup(self, target: Path, tell: Tell = tell_nobody) -> dict[str, Any]:
        """Copy the data directory into the new folder `target`, as it is at one moment.

        Raises:
            DataDirectoryError: `target` holds something, or cannot be written.
        """
        with self._at_once():
            expect_folder(self._lake.catalog.place, "backup")
            place = state_of(self._settings)
            state = None if isinstance(place, SqliteFile) else place.name
            still = self._lake.catalog.exclusive
            return take_backup(self._directory, target, self._now(), tell, state=state, still=still)

    def set_reference(self, wanted: Wanted) -> dict[str, Any]:
        """Keep what a model is to be compared with.

        Raises:
            ConfigError: Its rows cannot be read, or are none.
        """
        with self._at_once():
            return self._references().keep(wanted, self._now())

    def remove_reference(self, model: str, name: str, version: int | None) -> dict[str, Any]:
        """Forget a reference, or a version of it.

        Raises:
            ConfigError: There is none.
        """
        with self._at_once():
            return self._references().remove(model, name, version)

    def drop_reference_rows(self, model: str, name: str, version: int | None) -> dict[str, Any]:
        """Forget the rows of a reference, or of a version of it; its counts stay.

        Raises:
            ConfigError: There is none.
        """
        with self._at_once():
            return self._references().drop_rows(model, name, version)

    def keep_evaluation(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a run of the gate, as `lapwing evaluate --json` writes it.

        Raises:
            ConfigError: It is no such document.
        """
        rows = rows_of_document(document)
        self._lake.add_rows({"evaluations": rows})
        return {"id": rows.column("evaluation_id")[0].as_py()}

    def annotate(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a note on the time axis.

        Raises:
            ConfigError: It is none.
        """
        rows = rows_of_note(asked, self._now())
        self._lake.add_rows({"annotations": rows})
        kept = {"time": f"{rows.column('time')[0].as_py().isoformat(timespec='seconds')}Z"}
        model = rows.column("model")[0].as_py()
        if model is not None and model not in self._lake.table_names:
            kept["warning"] = f"no prediction of a model {model!r} has come yet; it is shown once one has"
        return kept

    def scrub(self, tell: Tell = tell_nobody, only: str | None = None) -> dict[str, Any]:
        """Read every page of every file, and set damaged ones aside, so that queries answer from the rest.

        A file that cannot be read now stays, and keeps nobody from finding the damage of the others.

        Args:
            tell: Is told how far it is.
            only: Reads no file but this, from the folder of the lake's files on.
        """
        quarantine = self._directory.lake_quarantine
        damaged = []
        unchecked = []
        total = 0
        with self._at_once():
            for done, total, found in scrub(self._lake.catalog, self._upkeep.rewriter, quarantine, only):
                tell("files", done, total)
                if isinstance(found, Unchecked):
                    unchecked.append({"file": str(found.file), "problem": found.problem})
                elif isinstance(found, Damaged):
                    logger.error(
                        "%s: %s %s; %d rows are lost",
                        found.table.sql,
                        found.file,
                        found.problem,
                        found.rows_lost,
                        extra={"action": "file_set_aside"},
                    )
                    damaged.append(
                        {
                            "table": found.table.sql,
                            "file": str(found.file),
                            "problem": found.problem,
                            "rows_lost": found.rows_lost,
                        }
                    )
        if unchecked:
            logger.warning(
                "%d of %d files could not be checked, the first one %s: %s",
                len(unchecked),
                total,
                unchecked[0]["file"],
                unchecked[0]["problem"],
                extra={"action": "scrub_incomplete"},
            )
        return {"files": total, "damaged": damaged, "unchecked": unchecked, "quarantine": str(quarantine)}

    def work(self) -> bool:
        """Do one slice of what is most urgent; False where nothing is."""
        self._lake.heard(self._upkeep.look())
        return self._clean() or self._tidy() or self._copy_if_due() or self._remove() or self._improve()

    def _run(self) -> None:
        while self._pacing.rest(_TICK_S):
            try:
                self._work_until_done()
            except StoppedError:
                return
            except LakeHeldError:
                pass  # it was while there was work under way; there is none from now on
            except Exception:
                if not self._pacing.rest(0):
                    return  # interrupted
                # Whatever was not committed is as it was; rows are received and queried all the same.
                logger.exception("maintenance failed; it is tried again", extra={"action": "upkeep_failed"})
                if not self._pacing.rest(_RETRY_S):
                    return

    def _work_until_done(self) -> None:
        worked = False
        more = True
        while more:
            started = time.monotonic()
            with self._working:
                more = self._is_mine() and self.work()
            worked |= more
            self._pacing.pause(time.monotonic() - started)
        if worked:  # or what rows took until now is held for as long as nothing comes
            pa.default_memory_pool().release_unused()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Work for somebody who waits: what the duty is at ends soon, and nothing pauses.

        Raises:
            LakeHeldError: The lake is taken elsewhere.
        """
        self._lake.catalog.expect_free()
        self._pacing.hurry()
        try:
            with self._working:
                yield
        except StoppedError as error:
            raise UnavailableError("the collector is shutting down; try again when it is back") from error
        finally:
            self._pacing.relax()

    def _clean(self) -> bool:
        started = time.monotonic()
        if started < self._clean_at_s:
            return False
        unread = self._now() - self._settings.maintenance.longest_query
        if self._upkeep.expire(unread):
            self._clean_at_s = started + (time.monotonic() - started) / _CLEAN_SHARE
            return True
        # The last copy of the catalog must find its files.
        copied = unread if self._catalog_file is None else self._copied_at()
        if copied is not None and self._upkeep.delete(min(unread, copied)):
            return True
        self._clean_at_s = max(self._clean_at_s, started + _CLEAN_EVERY_S)
        return False

    def _tidy(self) -> bool:
        """Look after what only a lake has that several collectors write to; there is never more of it."""
        if not self._lake.catalog.place.shared or time.monotonic() < self._tidy_at_s:
            return False
        self._tidy_at_s = time.monotonic() + _TIDY_EVERY_S
        self._upkeep.delete_orphans(self._now() - _ORPHANED_AFTER)
        self._lake.forget_silent()
        return False

    def _copy_if_due(self) -> bool:
        if self._catalog_file is None:
            return False
        copied = self._copied_at()
        now = self._now()
        if copied is not None and timedelta() <= now - copied < self._settings.maintenance.copy_interval:
            return False
        self._copy_catalog()
        return True

    def _remove(self) -> bool:
        if not self._removals:
            if self._retained_at is not None and time.monotonic() - self._retained_at < _RETAIN_EVERY_S:
                return False
            self._retained_at = time.monotonic()
            self._removals = self._plan_retention()
        if self._removals:
            del self._removals[: self._upkeep.remove(self._removals, self._pacing.pause)]
        return bool(self._removals)

    def _improve(self) -> bool:
        """Freeze and merge by turns, so that neither waits until there is nothing left of the other."""
        self._merge_first = not self._merge_first
        if self._merge_first:
            return self._merge() or self._freeze()
        return self._freeze() or self._merge()

    def _freeze(self) -> bool:
        return self._upkeep.freeze_next(self._now(), self._pacing.pause)

    def _references(self) -> References:
        if self._upkeep.freezing is None:
            raise ConfigError("references need profiles, which this process does not keep")
        return References(self._lake, self._upkeep.rewriter, self._upkeep.freezing, self._directory.root)

    def _merge(self) -> bool:
        return self._upkeep.merge_next(self._pacing.pause)

    def _wait_for_flush(self) -> None:
        """Wait until the lake, and what is remembered of records, cover what the log has now."""
        newest = self._log.durable_position
        deadline = time.monotonic() + _FLUSH_WAIT_S
        while any(entry.position <= newest for entry in islice(self._log.replay(self._remembered()), 1)):
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise UnavailableError(
                    "the log holds rows that are not in the lake yet; erase them while the collector runs "
                    "and writes (`lapwing doctor` says what keeps it)"
                )
            self._pacing.rest(_FLUSH_LOOK_S)

    def _forget(self, subject: Subject, tell: Tell) -> list[str]:
        """Remove the traces of rows that were erased, and look what remains, for people."""
        try:
            tell("traces", 2, 4)
            self._wipe()
            self._copy_catalog()
            tell("proof", 3, 4)
            remaining = remaining_in_lake(self._lake.catalog, self._upkeep.rewriter, subject)
            needles = [each for each in subject.needles if len(each.encode()) >= _SHORTEST_NEEDLE_BYTES]
            remaining += _mentions_on_servers(self._lake.catalog, state_of(self._settings), needles)
            return remaining + list(_mentions(self._directory, needles))
        except Exception as error:
            logger.exception("the proof of an erasure failed", extra={"action": "erasure_unproven"})
            return [f"traces may be anywhere, erase again: {error}"]

    def _wipe(self) -> None:
        """Let the log and the catalog forget what was deleted from them."""
        self._log.release(self._remembered(), wipe=True).result()
        if self._catalog_file is None:
            return
        for _ in range(_WIPE_ATTEMPTS):
            with self._lake.catalog.exclusive():
                if vacuum_catalog(self._catalog_file):
                    return
            self._pacing.rest(_WIPE_RETRY_S)  # somebody reads an older state

    def _copy_catalog(self) -> None:
        if self._catalog_file is None:
            return
        copy = self._directory.catalog_copy
        copy.parent.mkdir(exist_ok=True)
        begun_ns = self._clock.now_ns()
        copy_catalog(self._catalog_file, copy)
        os.utime(copy, ns=(begun_ns, begun_ns))  # files that were let go of later must stay for it

    def _copied_at(self) -> datetime | None:
        try:
            return utc_datetime(self._directory.catalog_copy.stat().st_mtime_ns)
        except FileNotFoundError:
            return None

    def _plan_retention(self) -> list[Removal]:
        plan = self._upkeep.plan_retention(self._retention, self._newest_allowed())
        if self.tally.files_untimed:
            logger.warning(
                "retention by age skips %d files whose times the catalog does not tell",
                self.tally.files_untimed,
                extra={"action": "retention_skipped"},
            )
        return plan

    def _newest_allowed(self) -> datetime | None:
        """From when ages are counted back; None, in a replay, for the newest row."""
        return self._now() if self._settings.clock == "wall" else None

    def _now(self) -> datetime:
        return utc_datetime(self._clock.now_ns())


def retention_of(settings: RetentionSettings) -> Retention:
    """The settings as the lake takes them."""
    return Retention(
        default=Keep(settings.keep, settings.max_bytes),
        models={name.lower(): Keep(own.keep, own.max_bytes) for name, own in settings.models.items()},
        logs=Keep(settings.logs),
        profiles=Keep(settings.profiles),
    )


def _size(lake: Lake) -> tuple[int, int]:
    held = [file for _, file in all_files(lake.catalog).values()]
    return len(held), sum(file.size_bytes for file in held)


def _mentions_on_servers(catalog: Catalog, place: Place, needles: list[str]) -> list[str]:
    """Tables in PostgreSQL that say one of the texts: those of the catalog, and of the alert state."""
    found = [
        f"the table {table} of {catalog.place.catalog}" for table in mentions_in_catalog(catalog, needles)
    ]
    if place.shared and schema_of(place) is not None:
        with closing(Store.find(place)) as store:
            found += [f"the table {table} of {place.name}" for table in store.mentions(needles)]
    return found


def _mentions(directory: DataDirectory, needles: list[str]) -> Iterator[str]:
    """Files beside the lake's tables in whose bytes one of the texts stands, and what was set aside."""
    sought = [needle.encode() for needle in needles]
    tables = directory.lake / "data"
    set_aside = (directory.lake_quarantine, directory.lake_unclaimed)
    for path in _files_in(directory.root):
        if path.is_file() and not path.is_relative_to(tables):
            if any(path.is_relative_to(folder) for folder in set_aside):
                yield f"{path} (set aside; look into it, then delete it)"
                continue
            try:
                if _holds(path, sought):
                    yield str(path)
            except FileNotFoundError:
                continue  # the log let go of it meanwhile
            except OSError as error:
                yield f"{path} (cannot be read: {error.strerror})"


def _files_in(root: Path) -> list[Path]:
    """Everything below a folder that is no folder; parts of it may be removed meanwhile."""

    def tolerate(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    walk = os.walk(root, onerror=tolerate)
    return sorted(Path(folder, name) for folder, _, names in walk for name in names)


def _holds(path: Path, needles: list[bytes]) -> bool:
    overlap = max(map(len, needles), default=1) - 1
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            window = rest + chunk
            if any(needle in window for needle in needles):
                return True
            rest = window[len(window) - overlap :] if overlap else b""
    return False
