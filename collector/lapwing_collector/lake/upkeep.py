"""The work that keeps a lake small and fast, in slices between which everybody else gets on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from lapwing_collector.engine import identifier
from lapwing_collector.engine.place import Location
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.expiry import delete_files, delete_orphans, expire_snapshots
from lapwing_collector.lake.files import Newcomers, NewFile, StoredFile, TableName, table_files, timed_files
from lapwing_collector.lake.freezing import AddRows, Freezing
from lapwing_collector.lake.merging import Crowds, choose, choose_any
from lapwing_collector.lake.profiles import Profiles
from lapwing_collector.lake.retention import PROFILES, Removal, Retention, plan
from lapwing_collector.lake.rewriting import (
    MOST_ROWS,
    ConflictError,
    Pause,
    Rewriter,
    Rewritten,
    no_pause,
)
from lapwing_collector.lake.rollup import rolled_up
from lapwing_collector.lake.statements import statement


@dataclass(slots=True)
class Tally:
    """What upkeep has done.

    Attributes:
        files_merged: Small files that became part of a larger one.
        rows_removed: Rows that retention removed.
        files_removed: Files that retention took out of a table, or wrote anew without their old rows.
        snapshots_expired: Old states of the lake that cannot be read any more.
        files_deleted: Files that no state of the lake referred to.
        files_untimed: Files that retention by age had to skip when it last looked: their times are unknown.
    """

    files_merged: int = 0
    rows_removed: int = 0
    files_removed: int = 0
    snapshots_expired: int = 0
    files_deleted: int = 0
    files_untimed: int = 0


class Upkeep:
    """Merging, retention, expiry and cleaning of one lake. For one thread at a time."""

    def __init__(
        self, catalog: Catalog, profiles: Profiles | None = None, add_rows: AddRows | None = None
    ) -> None:
        """Look after the lake of a catalog.

        Args:
            catalog: Whose.
            profiles: Those of its models, where they are kept.
            add_rows: The lake's way to add rows beside flushes; for profiles.
        """
        self._catalog = catalog
        self._profiles = profiles
        self._newcomers = Newcomers(catalog)
        self._crowds = Crowds()
        self.rewriter = Rewriter(catalog)
        self.freezing = (
            None
            if profiles is None or add_rows is None
            else Freezing(catalog, profiles, self.rewriter, add_rows)
        )
        self.tally = Tally()

    def look(self) -> list[NewFile]:
        """Learn which files were added since the last look; these."""
        new = self._newcomers.look()
        self._crowds.add(new)
        return new

    def freeze_next(self, at: datetime, pause: Pause = no_pause) -> bool:
        """Begin to count fields of a model that have values enough; False where no model may have such."""
        return self.freezing is not None and self.freezing.freeze_next(at, pause)

    def merge_next(self, pause: Pause = no_pause) -> bool:
        """Merge some small files of the table that has waited longest; False where no table has enough."""
        table = self._crowds.next()
        if table is None:
            return False
        files = table_files(self._catalog, table)
        group = choose(files)
        merged = False
        try:
            merged = bool(group) and self._merge(table, group, pause)
        finally:  # whatever is wrong with it, others have their turn
            self._crowds.recount(table, [file for file in files if not merged or file not in group])
            if not merged:
                self._crowds.settle(table)  # until more files come
        return True

    def merge_all(self, pause: Pause = no_pause) -> Iterator[tuple[int, int]]:
        """Leave every table with as few files as can be; yields the tables done, and how many there are."""
        self.look()
        tables = self._tables()
        for done, table in enumerate(tables, 1):
            while group := choose_any(table_files(self._catalog, table)):
                if not self._merge(table, group, pause):
                    break
            self._crowds.recount(table, table_files(self._catalog, table))
            self._crowds.settle(table)
            yield done, len(tables)

    def plan_retention(self, retention: Retention, now: datetime | None) -> list[Removal]:
        """What is to be removed by now, the oldest first: one pass over the catalog.

        Args:
            retention: What is kept.
            now: From when ages are counted back; from the newest row if None.
        """
        files = timed_files(self._catalog) if retention.limits_anything else []
        times = [each.last for each in files if each.last is not None]
        self.tally.files_untimed = len(files) - len(times)
        if now is None and not times:
            return []
        return plan(files, retention, now or max(times))

    def remove(self, removals: Sequence[Removal], pause: Pause = no_pause) -> int:
        """Remove a few of what was planned, the first ones; their number, at least one.

        Whole files of one table go together; one that holds younger rows too is written anew.
        """
        first = removals[0]
        table = first.timed.table
        if first.before is not None:
            taken = removals[:1]
            done = self._try_to_rewrite(first, pause)
        else:
            taken = _together(removals)
            done = self._try_to_drop(table, [each.timed.file for each in taken])
        if done is not None:
            self.tally.rows_removed += done.rows_removed
            self.tally.files_removed += done.files
        return len(taken)

    def expire(self, before: datetime) -> int:
        """Expire some of the snapshots made before a time; their number."""
        expired = expire_snapshots(self._catalog, before)
        self.tally.snapshots_expired += expired
        return expired

    def delete(self, before: datetime) -> list[Location]:
        """Delete some of the files that no snapshot sees since before a time; those deleted."""
        deleted = delete_files(self._catalog, before)
        self.tally.files_deleted += len(deleted)
        return deleted

    def delete_orphans(self, before: datetime) -> list[Location]:
        """Delete files written before a time that the catalog does not know; those deleted."""
        deleted = delete_orphans(self._catalog, before)
        self.tally.files_deleted += len(deleted)
        return deleted

    def interrupt(self) -> None:
        """Have another thread's work fail where it reads rows; nothing of it is kept."""
        self.rewriter.interrupt()

    def close(self) -> None:
        """Let go of the second connection."""
        self.rewriter.close()

    def _merge(self, table: TableName, group: Sequence[StoredFile], pause: Pause) -> bool:
        try:
            if table == PROFILES and self._profiles is not None:
                self.rewriter.rewrite(
                    table, group, pause=pause, read=rolled_up(self._profiles.profiling.add_up)
                )
            else:
                self.rewriter.rewrite(table, group, pause=pause)
        except ConflictError:
            return False
        self.tally.files_merged += len(group)
        return True

    def _try_to_drop(self, table: TableName, files: Sequence[StoredFile]) -> Rewritten | None:
        try:
            return self.rewriter.drop(table, files)
        except ConflictError:
            return None  # the next plan has them again

    def _try_to_rewrite(self, removal: Removal, pause: Pause) -> Rewritten | None:
        try:
            return self.rewriter.rewrite(
                removal.timed.table,
                [removal.timed.file],
                keep=f"{identifier('time')} >= $before",
                parameters={"before": removal.before},
                pause=pause,
            )
        except ConflictError:
            return None  # the next plan has it again

    def _tables(self) -> list[TableName]:
        return [TableName(schema, name) for schema, name in self._catalog.native(statement("tables_by_name"))]


def _together(removals: Sequence[Removal]) -> list[Removal]:
    """As many of the first removals as may be dropped at once: whole files of one table."""
    table = removals[0].timed.table
    taken: list[Removal] = []
    rows = 0
    for removal in removals:
        if removal.before is not None or removal.timed.table != table:
            break
        if taken and rows + removal.timed.file.rows > MOST_ROWS:
            break
        taken.append(removal)
        rows += removal.timed.file.rows
    return taken
