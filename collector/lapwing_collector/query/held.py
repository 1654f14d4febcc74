"""The lake's own tables in memory, as the newest snapshot has them: what pages ask for all the time.

DuckLake looks each table of each query up in its catalog and opens each of its files. That takes ten
milliseconds and more, which a page of a dozen questions would spend a dozen times. A copy takes that once for
each snapshot, and of a snapshot that only added files it reads these. Models' rows stay in their files.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import duckdb

from lapwing_collector.engine import LAKE, identifier, literal
from lapwing_collector.engine.place import CatalogFile, Place

_TABLES: Final = (
    "annotations",
    "models",
    "model_descriptions",
    "profile_segments",
    "reference_sets",
    "reference_bins",
    "binnings",
    "profiles",
)
"""Which, the small ones first."""
NAMES: Final = re.compile(rf"\b(?:{'|'.join(_TABLES)})\b", re.IGNORECASE)
"""What SQL says that reads them by itself; metrics may, too."""
_COUNTED: Final = frozenset({"annotations", "profiles"})
"""Those of which no view for metrics is made: a commit that adds to these alone leaves all as they are."""
_ORDER: Final = {"profiles": "table_name, field, time"}
"""How rows are put: who asks for one field passes over all others, and DuckDB does not read their counts."""
_GROWTH: Final = 12
"""How much larger rows are in memory than in a file, at most; measured on profiles: 10."""
_RACY_S: Final = 0.03
"""What was written to this lately may be written to again without looking any different: files have the times
of ticks of the system's clock, of which there are a hundred a second or more."""

_NEWEST: Final = "SELECT max(snapshot_id) FROM ducklake_snapshot"

_FILES: Final = f"""
SELECT
    t.table_name,
    f.data_file_id,
    f.file_size_bytes,
    CASE
        WHEN f.path_is_relative AND NOT EXISTS (
            SELECT 1 FROM ducklake_delete_file AS d WHERE d.table_id = t.table_id AND d.end_snapshot IS NULL
        )
        THEN s.path || t.path || f.path
    END AS path,
    (SELECT max(schema_version) FROM ducklake_snapshot) AS changes,
    (
        SELECT max(f.data_file_id) FROM ducklake_data_file AS f
        JOIN ducklake_table AS t ON t.table_id = f.table_id
        JOIN ducklake_schema AS s ON s.schema_id = t.schema_id
        WHERE s.schema_name = 'labels'
    ) AS labelled
FROM ducklake_table AS t
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
JOIN ducklake_data_file AS f ON f.table_id = t.table_id AND f.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL AND s.schema_name = 'main'
    AND t.table_name IN ({", ".join(map(literal, _TABLES))})
"""
"""Number, size and place of each file of these tables, no place where some of their rows are deleted; how
often tables were changed; the newest file of labels."""


class Held:
    """Tables in the memory of one connection, which it reads in place of those of the lake."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, place: Place, memory_bytes: int, origin: str
    ) -> None:
        """Hold nothing yet.

        Args:
            connection: Reads the lake at `place`, which is its default.
            place: Where that is.
            memory_bytes: What the tables may take together; those that would take more stay in the lake.
            origin: What the catalog of the lake is attached as.
        """
        self._connection = connection
        self._place = place
        self._origin = origin
        self._memory_bytes = memory_bytes
        self._seen: object = None
        self._newest: object = None
        self._behind_views: object = None
        self._held: dict[str, set[int]] = {}

    @property
    def began(self) -> bool:
        """Whether tables are held, or were found to be too large for that."""
        return self._newest is not None

    @property
    def is_newest(self) -> bool:
        """Whether nothing was committed since `follow` had a look, as far as that is known without asking."""
        seen = self._looks()
        return seen is not None and seen == self._seen

    @property
    def lags(self) -> bool:
        """Whether something was committed since `follow` had a look, as far as that shows."""
        seen = self._looks()
        return self._newest is not None and seen is not None and seen != self._seen

    def follow(self) -> bool:
        """Have the tables as the newest snapshot has them; only between transactions.

        Returns:
            Whether what views for metrics are made of may have changed: types of tables, labels whose times
                are not known, what is told of models, their bins and references.

        Raises:
            duckdb.Error: The catalog cannot be read.
        """
        seen = self._looks()
        if seen is not None and seen == self._seen:
            return False
        with self._transaction():  # for each by itself the catalog would be opened anew
            newest = self._asked(_NEWEST)
            found = [] if newest == self._newest else self._asked(_FILES)
        if newest == self._newest:
            self._seen = seen
            return False
        told = sorted((table, number, *more) for table, number, _, *more in found if table not in _COUNTED)
        known = told and None not in {path for _, _, path, *_ in told}
        left = self._memory_bytes
        wanted: dict[str, Mapping[int, str] | None] = {}
        for table in _TABLES:
            files = [row[1:4] for row in found if row[0] == table]
            left -= sum(int(size) for _, size, _ in files) * _GROWTH
            paths = {int(number): path for number, _, path in files}
            fits = left >= 0 and None not in paths.values()
            wanted[table] = (
                {number: f"{self._place.prefix}{path}" for number, path in paths.items()} if fits else None
            )
        self._have(wanted)
        changed = not known or told != self._behind_views
        self._seen, self._newest, self._behind_views = seen, newest, told
        return changed

    def _asked(self, sql: str) -> list[tuple[Any, ...]]:
        """What the catalog answers."""
        return self._connection.execute(
            f"SELECT * FROM {self._place.catalog.asked(self._origin, sql)}"
        ).fetchall()

    def _looks(self) -> object:
        """What tells one state of the catalog from another; None if it has to be asked.

        A commit is in SQLite's log before anybody can read it, for as long as a disk may take. Who commits
        changes the time of the catalog's own file once it can be read.
        """
        if not isinstance(self._place.catalog, CatalogFile):
            return None
        path = self._place.catalog.path
        try:
            found = [file.stat() for file in (path, path.with_name(f"{path.name}-wal"))]
        except OSError:
            return None
        if time.time() - max(each.st_mtime for each in found) < _RACY_S:
            return None
        return [(each.st_ino, each.st_size, each.st_mtime_ns) for each in found]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._connection.begin()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def _have(self, wanted: Mapping[str, Mapping[int, str] | None]) -> None:
        """Hold tables with the rows of these files, and those without files no more."""
        before = dict(self._held)
        try:
            with self._transaction():
                for table, files in wanted.items():
                    self._hold(table, files)
        except duckdb.Error:  # a file is damaged or gone; the lake itself tells of it, or has another one
            self._held = before
            for table, files in wanted.items():
                try:
                    self._hold(table, files)
                except duckdb.Error:
                    self._hold(table, None)

    def _hold(self, table: str, files: Mapping[int, str] | None) -> None:
        """Have the rows of these files, reading no more of them than has to be; or none, if None."""
        held = self._held.get(table)
        name = identifier(table)
        if files is None:
            if self._held.pop(table, None) is not None:
                self._connection.execute(f"DROP TABLE IF EXISTS temp.main.{name}")
            return
        if held is None or not held <= files.keys():
            held = self._held[table] = set()
            self._connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {LAKE}.main.{name} LIMIT 0"
            )
        if new := files.keys() - held:
            paths = ", ".join(literal(files[number]) for number in sorted(new))
            rows = f"read_parquet([{paths}], union_by_name = true)"
            order = f"ORDER BY {_ORDER[table]}" if table in _ORDER else ""
            self._connection.execute(f"INSERT INTO temp.main.{name} BY NAME FROM {rows} {order}")
        self._held[table] = set(files)
