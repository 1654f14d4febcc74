"""Upkeep on a real lake: whatever is merged, expired, removed or erased, what is left is what should be."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.batches import START, labels, logs, predictions
from helpers.ducklake import ducklake
from lapwing_collector import engine
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.catalog_file import check_catalog, copy_catalog, vacuum_catalog
from lapwing_collector.lake.erasure import Subject, erase, hashed, record_erasure, remaining_in_lake
from lapwing_collector.lake.files import StoredFile, TableName, known_paths, table_files
from lapwing_collector.lake.merging import choose, choose_any
from lapwing_collector.lake.retention import Keep, Retention, cutoff
from lapwing_collector.lake.rewriting import MOST_BYTES, MOST_ROWS, ConflictError, Rewriter
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.description import dotted
from lapwing_collector.model.records import Batch
from lapwing_collector.query import Session

FOREVER = datetime(9999, 1, 1)
M = TableName("predictions_all", "m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(folder: Path) -> Iterator[Lake]:
    opened = Lake.open(folder)
    yield opened
    opened.close()


@pytest.fixture
def upkeep(lake: Lake) -> Iterator[Upkeep]:
    made = Upkeep(lake.catalog)
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def reader() -> Iterator[None]:
    """One DuckDB for the questions of all tests: loading its extensions costs more than they do."""
    READER.append(engine.connect(threads=1))
    yield
    READER.pop().close()


READER: list[duckdb.DuckDBPyConnection] = []


def read(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask as another process would: with a connection of its own."""
    engine.attach(READER[0], folder.resolve(), read_only=True)
    try:
        return READER[0].execute(sql).fetchall()
    finally:
        READER[0].execute("USE memory; DETACH lake")


def files(folder: Path, table: str = "m") -> set[Path]:
    return set(folder.glob(f"data/*/{table}/*.parquet"))


def flush_some(lake: Lake, count: int, *, first: int = 1) -> None:
    """One prediction per flush, an hour apart."""
    for number in range(first, first + count):
        row = {"inputs.x": number, "prediction_id": f"p{number}", "time": START + timedelta(hours=number)}
        lake.flush([predictions("m", [row])], [], Progress(number, 0))


def merge(upkeep: Upkeep) -> None:
    upkeep.look()
    while upkeep.merge_next():
        pass


def removed(upkeep: Upkeep, retention: Retention, now: datetime) -> None:
    plan = upkeep.plan_retention(retention, now)
    while plan:
        del plan[: upkeep.remove(plan)]


def clean(upkeep: Upkeep) -> None:
    while upkeep.expire(FOREVER):
        pass
    while upkeep.delete(FOREVER):
        pass


def test_merging_keeps_every_row(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Many small files of changing shape become one, and the rows and the progress stay."""
    for number in range(18):
        row = {"inputs.x": number if number < 9 else number + 0.5, f"inputs.f{number // 9}": "a"}
        lake.flush([predictions("m", [row])], [], Progress(number + 1, 0))
    merge(upkeep)
    assert upkeep.tally.files_merged == 18
    assert len(table_files(lake.catalog, M)) == 1
    assert lake.progress == Progress(18, 0)
    expected = [(18, sum(range(18)) + 4.5, 9, 9)]
    sql = "SELECT count(*), sum(inputs.x), count(inputs.f0), count(inputs.f1) FROM predictions.m"
    assert read(folder, sql) == expected
    lake.close()
    Lake.open(folder).close()
    assert read(folder, sql) == expected


def test_a_merged_file_is_written_as_flushed_ones_are(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Every value of every column survives, JSON and maps included, and pages have checksums."""
    row = {"inputs.x": [1.5, 2.5], "inputs.deep.er": "b", "tags": [("k", "v")], "extra": '{"inputs.y": 1}'}
    for number in range(20):
        lake.flush([predictions("m", [{**row, "prediction_id": str(number)}])], [], Progress(number + 1, 0))
        lake.flush([logs([{"body": '{"a": [1, null]}'}])], [], Progress(number + 1, 0))
    sql = "SELECT * FROM predictions_all.m ORDER BY prediction_id::INT"
    before, before_logs = read(folder, sql), read(folder, "SELECT * FROM logs")
    merge(upkeep)
    assert read(folder, sql) == before
    assert read(folder, "SELECT * FROM logs") == before_logs
    assert read(folder, "SELECT typeof(extra), extra->>'inputs.y' FROM predictions.m LIMIT 1") == [
        ("JSON", "1")
    ]
    [merged] = table_files(lake.catalog, M)
    assert pq.read_table(merged.path, page_checksum_verification=True).num_rows == 20


def test_only_tables_with_new_files_are_looked_at(lake: Lake, upkeep: Upkeep, folder: Path) -> None:
    """Once everything is merged there is nothing to do until enough files came."""
    flush_some(lake, 16)
    merge(upkeep)
    upkeep.look()
    assert not upkeep.merge_next()
    flush_some(lake, 14, first=17)
    upkeep.look()
    assert not upkeep.merge_next()
    flush_some(lake, 1, first=31)
    merge(upkeep)
    assert len(table_files(lake.catalog, M)) == 1


def test_small_files_are_merged_with_their_like() -> None:
    """A large file is left alone until files of about its size have gathered, or fill one together."""
    small = [StoredFile(n, Path(f"s{n}"), 10, 10_000) for n in range(16)]
    large = StoredFile(98, Path("l"), 100_000, 8 << 20)
    huge = StoredFile(99, Path("h"), MOST_ROWS, MOST_BYTES)
    assert choose([large, huge, *small]) == small
    assert choose([large, *small[:15]]) == []
    assert choose([large] * 6) == [large] * 5
    assert choose([huge] * 20) == []
    assert choose_any([large, huge, *small[:2]]) == small[:2]
    assert choose_any([huge, small[0]]) == []


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, MOST_ROWS * 2), st.integers(1, MOST_BYTES * 2)), min_size=1, max_size=60
    )
)
def test_what_is_merged_at_once_is_bounded(sizes: list[tuple[int, int]]) -> None:
    """However large the files, a group is several files that one may hold, and merging comes to an end."""
    held = [StoredFile(n, Path(str(n)), rows, size) for n, (rows, size) in enumerate(sizes)]
    for number in range(len(sizes)):
        group = choose_any(held)
        if not group:
            break
        assert len(group) > 1
        assert sum(each.rows for each in group) <= MOST_ROWS
        assert sum(each.size_bytes for each in group) <= MOST_BYTES
        held = [each for each in held if each not in group]
        rows, size_bytes = sum(each.rows for each in group), sum(each.size_bytes for each in group)
        held.append(StoredFile(1000 + number, Path(f"m{number}"), rows, size_bytes))
    assert not choose_any(held)


def test_a_table_may_change_while_its_files_are_merged(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """A field that comes, or widens, while small files are read costs no row and no value."""
    flush_some(lake, 16)

    def widen(_worked_s: float) -> None:
        lake.flush([predictions("m", [{"inputs.x": 0.5, "inputs.y": "new"}])], [], Progress(17, 0))

    upkeep.look()
    upkeep.merge_next(pause=widen)
    assert len(table_files(lake.catalog, M)) == 2
    list(upkeep.merge_all())
    assert len(table_files(lake.catalog, M)) == 1
    found = read(folder, "SELECT count(*), sum(inputs.x), count(inputs.y) FROM predictions.m")
    assert found == [(17, 136.5, 1)]


def test_rows_removed_meanwhile_do_not_come_back(lake: Lake, folder: Path) -> None:
    """An exchange of files whose rows somebody removed since they were read is refused."""
    flush_some(lake, 2)
    rewriter = Rewriter(lake.catalog)

    def remove(_worked_s: float) -> None:
        ducklake(lake.catalog, "DELETE FROM predictions_all.m WHERE prediction_id = 'p1'")

    with pytest.raises(ConflictError):
        rewriter.rewrite(M, table_files(lake.catalog, M), pause=remove)
    rewriter.close()
    assert read(folder, "SELECT prediction_id FROM predictions.m") == [("p2",)]


def test_files_of_which_a_query_sees_too_little_are_not_merged(lake: Lake, folder: Path) -> None:
    """Where reading gives other rows than the catalog counts, nothing is exchanged, and no row is lost."""
    flush_some(lake, 2)
    rewriter = Rewriter(lake.catalog)
    first, second = table_files(lake.catalog, M)
    before = files(folder)
    with pytest.raises(ConflictError):
        rewriter.rewrite(M, [first, replace(second, path=folder / "elsewhere.parquet")])
    rewriter.close()
    assert files(folder) == before
    assert read(folder, "SELECT prediction_id FROM predictions.m ORDER BY ALL") == [("p1",), ("p2",)]


def test_a_file_that_is_replaced_keeps_its_deletions(lake: Lake, folder: Path) -> None:
    """Rows that were deleted do not come back with what can be read of a file; a conflict leaves no file."""
    row = [{"prediction_id": f"p{number}", "inputs.x": number} for number in range(6)]
    lake.flush([predictions("m", row)], [], Progress(1, 0))
    ducklake(lake.catalog, "DELETE FROM predictions_all.m WHERE inputs.x IN (1, 4)")
    [file] = table_files(lake.catalog, M)
    rows = pq.read_table(file.path)
    rewriter = Rewriter(lake.catalog)
    before = files(folder)

    def conflicting() -> Iterator[tuple[int, pa.Table]]:
        yield 3, rows.slice(3)
        ducklake(lake.catalog, "DELETE FROM predictions_all.m WHERE inputs.x = 5")

    with pytest.raises(ConflictError):
        rewriter.replace(M, file, conflicting())
    assert {each for each in files(folder) - before if "delete" not in each.name} == set()
    lost = rewriter.replace(M, file, iter([(0, rows.slice(0, 2)), (3, rows.slice(3))]))
    rewriter.close()
    assert lost == 1
    assert read(folder, "SELECT inputs.x FROM predictions.m ORDER BY ALL") == [(0,), (3,)]


def test_old_snapshots_go_and_the_progress_stays(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Expiry leaves the newest snapshot, and the one that says how far the lake covers the log."""
    flush_some(lake, 20)
    merge(upkeep)
    before = read(folder, "SELECT count(*) FROM ducklake_snapshots('lake')")[0][0]
    clean(upkeep)
    [(left,)] = read(folder, "SELECT count(*) FROM ducklake_snapshots('lake')")
    assert before > 20
    assert left == 2
    lake.close()
    reopened = Lake.open(folder)
    assert reopened.progress == Progress(20, 0)
    reopened.close()
    assert read(folder, "SELECT count(*) FROM predictions.m") == [(20,)]


def test_young_snapshots_and_files_stay(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Nothing younger than the limits is expired or deleted, were it by seconds."""
    flush_some(lake, 20)
    merge(upkeep)
    [(newest,)] = lake.catalog.rows(
        "SELECT max(snapshot_time::TIMESTAMPTZ::TIMESTAMP) FROM __ducklake_metadata_lake.ducklake_snapshot"
    )
    assert upkeep.expire(newest - timedelta(hours=1)) == 0
    flush_some(lake, 1, first=21)
    while upkeep.expire(FOREVER):
        pass
    held = files(folder)
    assert upkeep.delete(newest - timedelta(hours=1)) == []
    assert files(folder) == held
    assert len(upkeep.delete(newest + timedelta(hours=1))) == 20
    assert len(files(folder)) == 2


def test_rows_beyond_their_age_go(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Whole files go where all rows are too old, single rows where some are; other models keep their own."""
    hours = [{"inputs.x": n, "time": START + timedelta(hours=n)} for n in range(96)]
    for part in (hours[:30], hours[30:60], hours[60:]):
        lake.flush([predictions("m", part), predictions("kept", part)], [], Progress(1, 0))
    lake.flush(
        [labels("m", [{"label": n, "time": START + timedelta(hours=n)} for n in range(96)])],
        [],
        Progress(2, 0),
    )
    lake.flush([logs([{"time": START}, {"time": START + timedelta(days=3)}])], [], Progress(3, 0))
    now = START + timedelta(days=4, hours=5)
    retention = Retention(
        Keep(timedelta(days=1000)), {"m": Keep(timedelta(days=2, hours=1))}, Keep(timedelta(days=3))
    )
    removed(upkeep, retention, now)
    limit = START + timedelta(days=2)
    assert cutoff(timedelta(days=2, hours=1), now) == limit
    assert read(folder, "SELECT min(time), count(*) FROM predictions.m") == [(limit, 48)]
    assert read(folder, "SELECT min(time), count(*) FROM labels.m") == [(limit, 48)]
    assert read(folder, "SELECT count(*) FROM predictions.kept") == [(96,)]
    assert read(folder, "SELECT count(*) FROM logs") == [(1,)]
    assert upkeep.tally.rows_removed == 48 + 48 + 1
    assert upkeep.plan_retention(retention, now) == []


def test_files_of_unknown_times_stay(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """A file whose times the catalog does not tell is skipped and counted; old rows of others go."""
    flush_some(lake, 3)
    odd = table_files(lake.catalog, M)[0].number
    lake.catalog.rows(
        "UPDATE __ducklake_metadata_lake.ducklake_file_column_stats SET min_value = NULL, max_value = NULL "
        f"WHERE data_file_id = {odd}"
    )
    now = START + timedelta(days=400)
    removed(upkeep, Retention(Keep(timedelta(days=30))), now)
    assert upkeep.tally.files_untimed == 1
    assert [each.number for each in table_files(lake.catalog, M)] == [odd]
    removed(upkeep, Retention(Keep(size_bytes=1)), now)
    assert table_files(lake.catalog, M) == []


def test_the_oldest_go_where_there_are_too_many(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """A limit of size drops the oldest files of a model, or of all models together."""
    flush_some(lake, 6)
    lake.flush([predictions("other", [{"inputs.x": 1, "time": START}])], [], Progress(9, 0))
    each = max(file.size_bytes for file in table_files(lake.catalog, M))
    removed(upkeep, Retention(models={"m": Keep(size_bytes=4 * each)}), START)
    assert read(folder, "SELECT min(inputs.x), count(*) FROM predictions.m") == [(3, 4)]
    assert read(folder, "SELECT count(*) FROM predictions.other") == [(1,)]
    removed(upkeep, Retention(Keep(size_bytes=2 * each)), START)
    assert read(folder, "SELECT min(inputs.x), count(*) FROM predictions.m") == [(5, 2)]
    assert read(folder, "SELECT count(*) FROM predictions.other") == [(0,)]


def traces(folder: Path, needle: str) -> list[str]:
    """Files of the lake in whose bytes a text stands, and Parquet files in whose values it does."""
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file()
        and (
            needle.encode() in path.read_bytes()
            or (path.suffix == ".parquet" and needle in str(pq.read_table(path).to_pylist()))
        )
    ]


def test_a_subject_is_erased_from_every_file(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """After an erasure no file of the lake holds the subject's id, and the rows of others are all there."""
    canary = "zz-canary-7f"
    for number in range(20):
        rows = [{"prediction_id": f"p{number}", "inputs.x": number, "inputs.who": f"w{number}"}]
        if number % 5 == 0:
            rows.append(
                {"prediction_id": f"{canary}-{number}", "inputs.who": canary, "tags": [("u", canary)]}
            )
        lake.flush([predictions("m", rows)], [], Progress(number + 1, 0))
    lake.flush(
        [labels("m", [{"prediction_id": f"{canary}-0", "label": 1}, {"prediction_id": "p0", "label": 0}])],
        [],
        Progress(21, 0),
    )
    merge(upkeep)
    flush_some(lake, 1, first=22)
    subject = Subject("m", values=(("tags.u", canary),))
    assert traces(folder, canary)
    erased = erase(lake.catalog, upkeep.rewriter, subject)
    assert (erased.predictions, erased.labels) == (4, 1)
    assert remaining_in_lake(lake.catalog, upkeep.rewriter, subject) == []
    flush_some(lake, 1, first=23)
    with lake.catalog.exclusive():
        assert vacuum_catalog(folder / "catalog.sqlite")
    assert traces(folder, canary) == []
    assert read(folder, "SELECT count(*) FROM predictions.m") == [(22,)]
    assert read(folder, "SELECT prediction_id FROM labels.m") == [("p0",)]
    assert lake.progress == Progress(23, 0)
    lake.close()
    reopened = Lake.open(folder)
    assert reopened.progress == Progress(23, 0)
    reopened.close()


def test_an_erasure_goes_on_while_rows_come(
    lake: Lake, upkeep: Upkeep, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that come, or are merged away, while the subject's rows are looked for do not stop an erasure."""
    flush_some(lake, 16)
    real, looks = upkeep.rewriter.read, []

    def read_while_writing(sql: str, *arguments: Any) -> pa.Table:
        found = real(sql, *arguments)
        if "DISTINCT filename" in sql:
            looks.append(sql)
            if len(looks) == 1:
                merge(Upkeep(lake.catalog))
            flush_some(lake, 1, first=16 + len(looks))
        return found

    monkeypatch.setattr(upkeep.rewriter, "read", read_while_writing)
    assert erase(lake.catalog, upkeep.rewriter, Subject("m", ids=("p3",))).predictions == 1
    assert len(looks) == 2
    assert read(folder, "SELECT count(*) FROM predictions.m WHERE prediction_id != 'p3'") == [(17,)]


def test_erasure_by_id_takes_the_labels_with_it(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """A prediction id, a request id or a field's value find the prediction; its labels go by either id."""
    lake.flush(
        [
            predictions(
                "m",
                [
                    {"prediction_id": "a", "request_id": "r1", "inputs.n": 1},
                    {"prediction_id": "b", "request_id": "r2", "inputs.n": 2},
                    {"prediction_id": "c", "inputs.n": 3, "extra": '{"inputs.odd": "x y"}'},
                    {"prediction_id": "d", "inputs.n": None, "inputs.odd": 4},
                ],
            ),
            labels("m", [{"request_id": "r1", "label": 1}, {"prediction_id": "b", "label": 1}]),
            labels("m", [{"prediction_id": "gone", "label": 1}, {"prediction_id": "d", "label": 1}]),
        ],
        [],
        Progress(1, 0),
    )
    for subject, predictions_gone, labels_gone in [
        (Subject("m", ids=("a", "nobody")), 1, 1),
        (Subject("m", request_ids=("r2",)), 1, 1),
        (Subject("m", values=(("inputs.odd", "x y"),)), 1, 0),
        (Subject("m", ids=("gone",)), 0, 1),
    ]:
        erased = erase(lake.catalog, upkeep.rewriter, subject)
        assert (erased.predictions, erased.labels) == (predictions_gone, labels_gone)
    assert read(folder, "SELECT prediction_id, label FROM labeled.m") == [("d", 1)]


@pytest.mark.parametrize(
    "name",
    ["user.email", "a.b.c", 'a"b', "it's", "a/b~c", "back\\slash", "x y", "*", "0", "$[0].x", "Größe.é"],
)
def test_a_field_of_any_name_is_erased_by_value(lake: Lake, folder: Path, upkeep: Upkeep, name: str) -> None:
    """A field is found by its name as SQL has it, in its column and in `extra`, whatever is in that name."""
    field = dotted(("inputs", name))
    canary = "zz-canary-7f"
    extra = json.dumps({f"inputs.{name}": canary}, ensure_ascii=False)
    rows = [
        {"prediction_id": "a", field: canary, "inputs.n": 1},
        {"prediction_id": "b", "extra": extra},
        {"prediction_id": "c", field: "else"},
        {"prediction_id": "d", "inputs.n": 4, "extra": json.dumps({"inputs.other": canary})},
    ]
    lake.flush([predictions("m", rows)], [], Progress(1, 0))
    assert erase(lake.catalog, upkeep.rewriter, Subject("m", values=((field, canary),))).predictions == 2
    assert read(folder, "SELECT prediction_id FROM predictions.m ORDER BY 1") == [("c",), ("d",)]


def test_a_key_of_a_map_may_have_dots(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Rows are found by a tag or an attribute of a resource whose key has dots, in quotes or without."""
    rows = [
        {"prediction_id": "a", "tags": [("user.id", "u1")]},
        {"prediction_id": "b", "resource": [("user.id", "u1")]},
        {"prediction_id": "c", "tags": [("user", "u1")], "resource": [("id", "u1")]},
    ]
    lake.flush([predictions("m", rows)], [], Progress(1, 0))
    for field in ('tags."user.id"', "resource.user.id"):
        assert erase(lake.catalog, upkeep.rewriter, Subject("m", values=((field, "u1"),))).predictions == 1
    assert read(folder, "SELECT prediction_id FROM predictions.m") == [("c",)]


def test_erasure_asks_for_what_is_there(lake: Lake, upkeep: Upkeep) -> None:
    """A model or field that nobody has seen is a mistake that is told, not an erasure of nothing."""
    flush_some(lake, 1)
    for subject in (
        Subject("nosuch", ids=("a",)),
        Subject("m", values=(("inputs.nosuch", "a"),)),
        Subject("m", values=(("nosuch", "a"),)),
        Subject("m", values=(("x') OR true --", "a"),)),
        Subject("m", values=(('inputs."x', "a"),)),
        Subject("m", values=(("inputs..x", "a"),)),
    ):
        with pytest.raises(ConfigError):
            erase(lake.catalog, upkeep.rewriter, subject)


def test_the_proof_names_nobody(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """The record of an erasure can be found by who knows what was asked, and tells nobody else."""
    flush_some(lake, 2)
    subject = Subject("m", ids=("p1",))
    erased = erase(lake.catalog, upkeep.rewriter, subject)
    record_erasure(lake.catalog, subject, erased, by="ann", at=START, remaining=[])
    [(at, by, model, salt, asked, rows, verified)] = read(
        folder,
        "SELECT erased_at, requested_by, model, salt, asked, predictions, verified FROM erasures",
    )
    assert (at, by, model, rows, verified) == (START, "ann", "m", 1, True)
    assert asked == [hashed("id=p1", salt)]
    expected = hashlib.scrypt(b"id=p1", salt=bytes.fromhex(salt), n=2**12, r=8, p=1, dklen=16).hex()
    assert asked == [expected]


def test_the_catalog_is_copied_while_it_is_written(lake: Lake, folder: Path, tmp_path: Path) -> None:
    """A copy is a whole catalog of one moment, and a broken one is told."""
    flush_some(lake, 3)
    copy = tmp_path / "copy" / "catalog.sqlite"
    copy.parent.mkdir()
    copy_catalog(folder / "catalog.sqlite", copy)
    flush_some(lake, 1, first=4)
    assert check_catalog(copy) == []
    (copy.parent / "data").symlink_to(folder / "data")
    assert read(copy.parent, "SELECT count(*) FROM predictions.m") == [(3,)]
    damaged = bytearray(copy.read_bytes())
    damaged[8192:12288] = b"\xff" * 4096
    copy.write_bytes(damaged)
    assert check_catalog(copy)


class Model:
    """A lake, and what it should hold: the time of each prediction and label by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[int, datetime] = {}
        self.labels: dict[int, datetime] = {}
        self._following = self._position = 0
        self._open()
        self._put(predictions("m", [{"prediction_id": "start", "inputs.x": -1, "time": FOREVER}]))

    def flush(self, count: int, hours: int) -> None:
        time = START + timedelta(hours=hours)
        new = range(self._following, self._following + count)
        self._following += count
        self._put(predictions("m", [{"prediction_id": str(n), "inputs.x": n, "time": time} for n in new]))
        self.rows |= dict.fromkeys(new, time)

    def label(self, number: int, hours: int) -> None:
        if number not in self.labels:
            self.labels[number] = START + timedelta(hours=hours)
            row = {"prediction_id": str(number), "label": number, "time": self.labels[number]}
            self._put(labels("m", [row]))

    def merge(self, everything: int, _: int) -> None:
        if everything % 2:
            list(self._upkeep.merge_all())
        else:
            merge(self._upkeep)

    def clean(self, *_: int) -> None:
        clean(self._upkeep)

    def retain(self, hours: int, _: int) -> None:
        now = START + timedelta(hours=72)
        removed(self._upkeep, Retention(Keep(timedelta(hours=hours))), now)
        limit = cutoff(timedelta(hours=hours), now)
        self.rows = {n: time for n, time in self.rows.items() if time >= limit}
        self.labels = {n: time for n, time in self.labels.items() if time >= limit}

    def erase(self, number: int, _: int) -> None:
        erase(self._lake.catalog, self._upkeep.rewriter, Subject("m", ids=(str(number),)))
        self.rows.pop(number, None)
        self.labels.pop(number, None)

    def reopen(self, *_: int) -> None:
        self.close()
        self._open()
        assert self._lake.progress == Progress(self._position, 0)

    def close(self) -> None:
        self._upkeep.close()
        self._lake.close()

    def _open(self) -> None:
        self._lake = Lake.open(self.folder)
        self._upkeep = Upkeep(self._lake.catalog)

    def _put(self, batch: Batch) -> None:
        self._position += 1
        self._lake.flush([batch], [], Progress(self._position, 0))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=st.lists(
        st.tuples(
            st.sampled_from(["flush", "flush", "label", "merge", "clean", "retain", "erase", "reopen"]),
            st.integers(1, 20),
            st.integers(0, 72),
        ),
        min_size=4,
        max_size=12,
    )
)
def test_any_order_of_work_leaves_the_right_rows(
    operations: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Flushes, merges, expiry, retention, erasure and restarts in any order leave what a plain model says."""
    model = Model(tmp_path_factory.mktemp("upkeep") / "lake")
    for name, first, second in operations:
        getattr(model, name)(first, second)
    model.close()
    stored = read(model.folder, "SELECT inputs.x FROM predictions.m WHERE inputs.x >= 0 ORDER BY 1")
    assert stored == [(n,) for n in sorted(model.rows)]
    if model.labels:
        known = read(model.folder, "SELECT prediction_id::INT, label FROM labels.m ORDER BY 1")
        assert known == [(n, n) for n in sorted(model.labels)]


def test_queries_see_one_state_while_files_come_and_go(lake: Lake, folder: Path, upkeep: Upkeep) -> None:
    """Fault 29: while rows are flushed, merged and cleaned, every query succeeds and sees a prefix."""
    flush_some(lake, 1)
    session = Session.open(folder)
    done = threading.Event()
    problems: list[str] = []
    asked = [0]

    def ask() -> None:
        while not done.is_set():
            [row] = session.run("SELECT count(*) AS n, max(inputs.x) AS x FROM predictions.m").to_pylist()
            asked[0] += 1
            if row["n"] != row["x"]:
                problems.append(str(row))

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        try:
            for number in range(8):
                flush_some(lake, 3, first=2 + 3 * number)
                list(upkeep.merge_all())
                clean(upkeep)
        finally:
            done.set()
        asking.result()
    session.close()
    assert asked[0] > 0
    assert problems == []
    assert len(files(folder)) <= 5


DIES = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from lapwing_collector.lake import Lake
from lapwing_collector.lake.retention import Keep, Retention
from lapwing_collector.lake.upkeep import Upkeep

lake = Lake.open(Path(sys.argv[1]))
upkeep = Upkeep(lake.catalog)
list(upkeep.merge_all())
plan = upkeep.plan_retention(Retention(Keep(timedelta(hours=30))), datetime(2026, 1, 2, 12))
while plan:
    del plan[: upkeep.remove(plan)]
while upkeep.expire(datetime(9999, 1, 1)):
    pass
while upkeep.delete(datetime(9999, 1, 1)):
    pass
"""
"""Merges everything into one file, removes rows before six in the morning, and cleans up."""


@pytest.mark.parametrize(
    "moment",
    [
        "maintenance.before_exchange",
        "maintenance.in_exchange",
        "maintenance.after_exchange",
        "maintenance.after_expiry",
        "maintenance.after_unlink",
    ],
)
def test_dying_at_any_moment_loses_and_doubles_nothing(lake: Lake, folder: Path, moment: str) -> None:
    """Killed in the middle of merging, retention or cleaning, the next start finds each row once."""
    flush_some(lake, 12)
    lake.close()
    command = [sys.executable, "-c", DIES, str(folder)]
    dying = subprocess.run(command, env={**os.environ, "LAPWING_CRASH_AT": moment}, check=False)
    assert dying.returncode == 137
    after = "maintenance.after_expiry", "maintenance.after_unlink"
    expected = range(6, 13) if moment in after else range(1, 13)
    reopened = Lake.open(folder)
    assert reopened.progress == Progress(12, 0)
    stored = read(folder, "SELECT inputs.x FROM predictions.m ORDER BY 1")
    assert stored == [(number,) for number in expected]
    upkeep = Upkeep(reopened.catalog)
    list(upkeep.merge_all())
    clean(upkeep)
    upkeep.close()
    assert files(folder) <= known_paths(reopened.catalog)
    reopened.close()
    assert read(folder, "SELECT inputs.x FROM predictions.m ORDER BY 1") == stored
