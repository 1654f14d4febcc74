"""Which small files of a table become one: chosen so that each row is rewritten a few times at most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lapwing_collector.lake.files import NewFile, StoredFile, TableName
from lapwing_collector.lake.rewriting import MOST_BYTES, MOST_ROWS

TIERS_BYTES: Final = (64 << 10, 1 << 20, 16 << 20, MOST_BYTES)
"""Files between one tier and the next are merged with each other, and become one of the next tier or so."""

_CROWD: Final = 16
"""So many files of a tier are worth a merge."""
_FULL: Final = 4
"""So many are, where together they are as much as a file may be."""


def choose(files: Sequence[StoredFile]) -> list[StoredFile]:
    """The next files of one table to become one; none if it is fine as it is.

    Args:
        files: All of the table's, in the order in which they were added, which is about that of time.
    """
    for number in range(len(TIERS_BYTES)):
        *full, rest = _groups([file for file in files if _tier(file.rows, file.size_bytes) == number])
        for group in full:
            if len(group) >= _FULL:
                return group
        if len(rest) >= _CROWD:
            return rest
    return []


def choose_any(files: Sequence[StoredFile]) -> list[StoredFile]:
    """As `choose`, for somebody who wants as few files as there can be: two that fit are worth a merge."""
    return next((group for group in _groups(files) if len(group) > 1), [])


def _tier(rows: int, size_bytes: int) -> int | None:
    """The number of the tier that a file is in; None where it is as large as files become."""
    if rows >= MOST_ROWS:
        return None
    return next((number for number, below in enumerate(TIERS_BYTES) if size_bytes < below), None)


def _groups(files: Sequence[StoredFile]) -> list[list[StoredFile]]:
    """Files in their order, in groups that are each as much as one file may hold; the last has room left."""
    groups: list[list[StoredFile]] = [[]]
    rows = size_bytes = 0
    for file in files:
        rows += file.rows
        size_bytes += file.size_bytes
        if groups[-1] and (rows > MOST_ROWS or size_bytes > MOST_BYTES):
            groups.append([])
            rows, size_bytes = file.rows, file.size_bytes
        groups[-1].append(file)
    return groups


@dataclass(slots=True)
class _Crowd:
    """Files of one tier of one table."""

    files: int = 0
    rows: int = 0
    size_bytes: int = 0

    @property
    def worth_a_look(self) -> bool:
        full = self.rows > MOST_ROWS or self.size_bytes > MOST_BYTES
        return self.files >= _CROWD or (full and self.files >= _FULL)


class Crowds:
    """Counts the files of every table by tier, so that nobody has to look through thousands of tables."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tables: dict[TableName, list[_Crowd]] = {}
        self._crowded: dict[TableName, None] = {}

    def add(self, files: Iterable[NewFile]) -> None:
        """Count files that came."""
        for file in files:
            self._count(file.table, file.rows, file.size_bytes)

    def recount(self, table: TableName, files: Iterable[StoredFile]) -> None:
        """Forget what was counted of a table: these are its files."""
        self._tables.pop(table, None)
        self._crowded.pop(table, None)
        for file in files:
            self._count(table, file.rows, file.size_bytes)

    def settle(self, table: TableName) -> None:
        """Do not name a table again before more files come."""
        self._crowded.pop(table, None)

    def next(self) -> TableName | None:
        """A table that may have files to merge: the one that has waited longest."""
        return next(iter(self._crowded), None)

    def _count(self, table: TableName, rows: int, size_bytes: int) -> None:
        tier = _tier(rows, size_bytes)
        if tier is None:
            return
        crowd = self._tables.setdefault(table, [_Crowd() for _ in TIERS_BYTES])[tier]
        crowd.files += 1
        crowd.rows += rows
        crowd.size_bytes += size_bytes
        if crowd.worth_a_look:
            self._crowded[table] = None
