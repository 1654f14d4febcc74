"""The lake on a real disk: what one flush makes visible, what a crash leaves, what labels mean."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.batches import START, labels, logs, predictions
from helpers.flaky import make_flaky
from lapwing_collector import engine
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake import Lake, Progress, QueuedMetric
from lapwing_collector.lake.names import TableNames
from lapwing_collector.lake.store import FolderStore
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.alerts import MetricRow
from lapwing_collector.model.records import Batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(folder: Path) -> Iterator[Lake]:
    opened = Lake.open(folder)
    yield opened
    opened.close()


def read(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask as another process would: with a connection of its own."""
    connection = engine.connect()
    try:
        engine.attach(connection, folder.resolve(), read_only=True)
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*.parquet"))


def test_rows_and_progress_become_visible_together(lake: Lake, folder: Path) -> None:
    """After a flush, and after a restart, the lake knows how far in the log its rows go."""
    lake.flush([predictions("churn", [{"inputs.age": 41, "prediction_id": "a"}])], [], Progress(7, 0))
    assert lake.progress == Progress(7, 0)
    assert read(folder, "SELECT prediction_id, inputs.age FROM predictions.churn") == [("a", 41)]
    lake.close()
    reopened = Lake.open(folder)
    assert reopened.progress == Progress(7, 0)
    reopened.close()


def test_a_failed_flush_leaves_nothing(lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one of two tables cannot be written, neither is there, and a retry stores both once."""
    lake.flush([predictions("a", [{"inputs.x": 1}]), predictions("b", [{"inputs.x": 1}])], [], Progress(1, 0))
    before = files(folder)
    real, calls = FolderStore.write, []

    def full_disk(store: FolderStore, file: Path, *arguments: Any) -> Any:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(store, file, *arguments)

    more = [predictions("a", [{"inputs.x": 2, "inputs.new": "y"}]), predictions("b", [{"inputs.x": 2}])]
    monkeypatch.setattr(FolderStore, "write", full_disk)
    with pytest.raises(OSError, match="No space"):
        lake.flush(more, [], Progress(2, 0))
    monkeypatch.undo()
    assert files(folder) == before
    assert lake.progress == Progress(1, 0)
    lake.flush(more, [], Progress(2, 0))
    assert read(folder, "SELECT inputs.x, inputs.new FROM predictions.a ORDER BY 1") == [(1, None), (2, "y")]
    assert read(folder, "SELECT count(*) FROM predictions.b") == [(2,)]


def test_files_outlive_a_commit_that_failed(lake: Lake, folder: Path) -> None:
    """What COMMIT was asked for may be recovered after a crash, so its files stay until the next commit."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
    before = files(folder)
    make_flaky(lake, "COMMIT", takes_place=False)
    with pytest.raises(duckdb.TransactionException):
        lake.flush([predictions("m", [{"inputs.x": 2}])], [], Progress(2, 0))
    [doubtful] = files(folder) - before
    lake.flush([predictions("m", [{"inputs.x": 2}])], [], Progress(2, 0))
    assert not doubtful.exists()
    assert len(files(folder)) == len(before) + 1
    assert read(folder, "SELECT inputs.x FROM predictions.m ORDER BY 1") == [(1,), (2,)]


def test_files_of_a_commit_that_took_place_stay(lake: Lake, folder: Path) -> None:
    """A commit that only seemed to fail is one: its files stay, also after the next."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
    make_flaky(lake, "COMMIT", takes_place=True)
    lake.flush([predictions("m", [{"inputs.x": 2}])], [], Progress(2, 0))
    lake.flush([predictions("m", [{"inputs.x": 3}])], [], Progress(3, 0))
    assert read(folder, "SELECT inputs.x FROM predictions.m ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_change_of_a_table_that_took_place_is_seen(lake: Lake, folder: Path) -> None:
    """A new column whose commit only seemed to fail does not stand in the way of rows that have it."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
    make_flaky(lake, "COMMIT", takes_place=True)
    more = [predictions("m", [{"inputs.x": 2, "output.y": "new"}])]
    with pytest.raises(duckdb.TransactionException):
        lake.flush(more, [], Progress(2, 0))
    lake.flush(more, [], Progress(2, 0))
    assert read(folder, "SELECT inputs.x, output.y FROM predictions.m ORDER BY 1") == [(1, None), (2, "new")]


def test_files_of_an_unfinished_flush_are_cleared(lake: Lake, folder: Path) -> None:
    """A Parquet file that a crash left without a commit is gone after the next start; committed ones stay."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
    kept = files(folder)
    lake.close()
    orphan = next(iter(kept)).with_name("orphan.parquet")
    orphan.write_bytes(b"PAR1")
    Lake.open(folder).close()
    assert files(folder) == kept


def test_schema_follows_the_data(lake: Lake, folder: Path) -> None:
    """New fields, wider ones and a late label change tables and views, and no old row."""
    lake.flush([predictions("m", [{"inputs.x": 1, "prediction_id": "a"}])], [], Progress(1, 0))
    assert read(folder, "SELECT label FROM labeled.m") == [(None,)]
    lake.flush(
        [
            predictions(
                "m", [{"inputs.x": 1.5, "inputs.y": "new", "output.value": True, "prediction_id": "b"}]
            ),
            labels("m", [{"prediction_id": "b", "prediction_time": START, "label": True}]),
        ],
        [],
        Progress(2, 0),
    )
    rows = read(
        folder, "SELECT inputs.x, inputs.y, output.value, label FROM labeled.m ORDER BY prediction_id"
    )
    assert rows == [(1.0, None, None, None), (1.5, "new", True, True)]


def test_models_that_differ_by_case_get_tables_of_their_own(lake: Lake, folder: Path) -> None:
    """The first spelling has the plain name, also after a restart; `models` tells the other's."""
    lake.flush([predictions("Churn", [{"inputs.x": 1}])], [], Progress(1, 0))
    lake.flush([predictions("churn", [{"inputs.x": 2}])], [], Progress(2, 0))
    lake.close()
    reopened = Lake.open(folder)
    reopened.flush([predictions("churn", [{"inputs.x": 3}])], [], Progress(3, 0))
    reopened.close()
    assert read(folder, "SELECT model, table_name FROM models ORDER BY 1") == [
        ("Churn", "Churn"),
        ("churn", "churn~2"),
    ]
    assert read(folder, 'SELECT inputs.x FROM predictions."churn~2" ORDER BY 1') == [(2,), (3,)]


def test_many_models_that_differ_by_case_are_named_soon() -> None:
    """Naming a model takes no longer for all those before it; each keeps its name, also after a restart."""
    models = ["".join(letters) for letters in product(*["xX"] * 14)]
    names = TableNames()
    started = time.process_time()
    given = {model: names.of(model) for model in models}
    assert time.process_time() - started < 5  # counting from the start each time takes a minute
    assert len({name.lower() for name in given.values()}) == len(models)
    again = TableNames()
    for model, name in given.items():
        again.keep(model, name)
    assert {model: again.of(model) for model in models} == given


def test_stored_integers_are_looked_through_once(
    lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that cannot be widened without loss is not read again with every flush that has fractions."""
    lake.flush([predictions("m", [{"inputs.x": 2**53 + 1}])], [], Progress(1, 0))
    real, looks = lake.catalog.look, []

    def look(table: str, sql: str) -> Any:
        looks.append(sql)
        return real(table, sql)

    monkeypatch.setattr(lake.catalog, "look", look)
    for number in (2, 3):
        lake.flush([predictions("m", [{"inputs.x": 0.5}])], [], Progress(number, 0))
    assert len(looks) == 1
    found = read(folder, "SELECT inputs.x, extra ->> '$.\"inputs.x\"' FROM predictions.m ORDER BY ALL")
    assert found == [(2**53 + 1, None), (None, "0.5"), (None, "0.5")]


def test_any_model_name_is_a_table(lake: Lake, folder: Path) -> None:
    """Names with slashes, quotes, dots or many bytes are stored, merged and read like any other."""
    names = ["a b/c", '"quoted"; DROP', "été", "..", "x" * 128, "模" * 128]
    for number in range(3):
        batches = [predictions(name, [{"inputs.x": number, "output.of": name}]) for name in names]
        lake.flush(batches, [], Progress(number + 1, 0))
    upkeep = Upkeep(lake.catalog)
    list(upkeep.merge_all())
    upkeep.close()
    assert upkeep.tally.files_merged >= 3 * len(names)
    tables = dict(read(folder, "SELECT model, table_name FROM models"))
    assert tables.keys() == set(names)
    for name, table in tables.items():
        sums = f"SELECT output.of, sum(inputs.x) FROM predictions.{engine.identifier(table)} GROUP BY 1"
        assert read(folder, sums) == [(name, 3)]


def test_only_production_rows_are_predictions(lake: Lake, folder: Path) -> None:
    """Shadow rows are in predictions_all alone."""
    lake.flush([predictions("m", [{"inputs.x": 1}, {"inputs.x": 2, "stage": "shadow"}])], [], Progress(1, 0))
    assert read(folder, "SELECT inputs.x FROM predictions.m") == [(1,)]
    assert read(folder, "SELECT inputs.x, stage FROM predictions_all.m ORDER BY 1") == [
        (1, "production"),
        (2, "shadow"),
    ]


def test_logs_and_metrics_are_written_too(lake: Lake, folder: Path) -> None:
    """Other records land in `logs`, results of rules in `metric_values`, each covered by the progress."""
    metric = MetricRow("accuracy", "m", {"origin": "JFK"}, START, START + timedelta(days=1), 0.9, 100, 0.95)
    lake.flush(
        [logs([{"body": '{"a": 1}', "event_name": "order.placed"}])],
        [QueuedMetric(5, metric, START)],
        Progress(1, 5),
    )
    assert read(folder, "SELECT event_name, body->>'a' FROM logs") == [("order.placed", "1")]
    assert read(folder, "SELECT metric, series['origin'], value, label_coverage FROM metric_values") == [
        ("accuracy", "JFK", 0.9, 0.95)
    ]
    assert lake.progress == Progress(1, 5)


def test_labels_find_their_predictions(lake: Lake, folder: Path) -> None:
    """By time and id, by id alone, or by request; labels of unknown predictions wait without harm."""
    lake.flush(
        [
            predictions("m", [{"prediction_id": i, "request_id": f"r{i}", "inputs.x": 1} for i in "abcd"]),
            labels(
                "m",
                [
                    {"prediction_id": "a", "prediction_time": START, "label": 1},
                    {"prediction_id": "b", "label": 2},
                    {"request_id": "rc", "label": 3},
                    {"prediction_id": "zzz", "prediction_time": START, "label": 9},
                ],
            ),
        ],
        [],
        Progress(1, 0),
    )
    # A time window must not hide labels that do not know their prediction's time.
    window = f"time >= '{START}' AND time < '{START + timedelta(hours=1)}'"
    assert read(folder, f"SELECT prediction_id, label FROM labeled.m WHERE {window} ORDER BY 1") == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
        ("d", None),
    ]


label_rows = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.booleans(),
        st.sampled_from(["id", "id and time", "request"]),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=label_rows, order=st.randoms(use_true_random=False))
def test_order_of_arrival_never_decides_a_label(
    lake: Lake, folder: Path, rows: list[tuple[str, int, bool, str]], order: Any
) -> None:
    """Late, corrected and contradicting labels lead to the same joined table in any order of arrival."""

    def batches(model: str, arrival: Sequence[tuple[str, int, bool, str]]) -> Iterator[Batch]:
        yield predictions(model, [{"prediction_id": i, "request_id": i, "inputs.x": 1} for i in "abc"])
        for key, hours, value, how in arrival:
            where = {
                "id": {"prediction_id": key},
                "id and time": {"prediction_id": key, "prediction_time": START},
                "request": {"request_id": key},
            }[how]
            yield labels(model, [{**where, "time": START + timedelta(hours=hours), "label": value}])

    shuffled = list(rows)
    order.shuffle(shuffled)
    number = lake.progress.log + 1
    lake.flush([*batches(f"a{number}", rows), *batches(f"b{number}", shuffled)], [], Progress(number))
    joined = "SELECT prediction_id, label, label_time FROM lake.labeled.{} ORDER BY 1"
    assert lake.catalog.rows(joined.format(f"a{number}")) == lake.catalog.rows(joined.format(f"b{number}"))


def test_the_newest_truth_holds(lake: Lake, folder: Path) -> None:
    """A correction with a later time replaces the label, also when it arrives first."""
    lake.flush([predictions("m", [{"prediction_id": "a", "inputs.x": 1}])], [], Progress(1, 0))
    for hours, value in ((5, "corrected"), (1, "first")):
        row = {
            "prediction_id": "a",
            "prediction_time": START,
            "time": START + timedelta(hours=hours),
            "label": value,
        }
        lake.flush([labels("m", [row])], [], Progress(1 + hours, 0))
    assert read(folder, "SELECT label, label_time FROM labeled.m") == [
        ("corrected", START + timedelta(hours=5))
    ]


def test_declared_types_hold_for_their_model(folder: Path) -> None:
    """A field gets the type that was declared for it, in the tables of that model only."""
    weights = pa.map_(pa.string(), pa.float64())
    declared = {("inputs", "zip"): pa.string(), ("inputs", "w"): weights, ("label",): pa.float64()}
    lake = Lake.open(folder, {"m": declared})
    rows = [predictions(model, [{"inputs.zip": 1011, "inputs.w.a": 0.5}]) for model in ("m", "n")]
    lake.flush([*rows, labels("m", [{"prediction_id": "a", "label": 1}])], [], Progress(1, 0))
    lake.close()
    assert read(folder, "SELECT inputs.zip FROM predictions.m") == [("1011",)]
    assert read(folder, "SELECT inputs.zip FROM predictions.n") == [(1011,)]
    assert read(folder, "SELECT inputs.w['a'], typeof(inputs.w) FROM predictions.m") == [
        (0.5, "MAP(VARCHAR, DOUBLE)")
    ]
    assert read(folder, "SELECT typeof(label) FROM labels.m") == [("DOUBLE",)]


def described(model: str, description: str = "{}") -> pa.Table:
    return pa.table(
        {
            "table_name": [model],
            "model": [model],
            "described_at": [START],
            "description": [description],
            "said": pa.nulls(1, pa.string()),
            "facts": ["{}"],
            "logs_seen": [1],
        }
    )


def metric_rows() -> pa.Table:
    row = {"metric": "m", "model": "a", "window_start": START, "window_end": START, "as_of": START}
    rows = pa.Table.from_pylist([row | {"value": 1.0, "sample_count": 1, "label_coverage": None}])
    return rows.append_column("series", pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())))


def test_rows_of_several_tables_are_added_at_once(lake: Lake, folder: Path) -> None:
    """They are there for other processes, columns by name, and the lake covers as much as before."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(7, 0))
    lake.add_rows(
        {"model_descriptions": described("m", '{"task": "ranking"}'), "metric_values": metric_rows()}
    )
    lake.add_rows({"model_descriptions": described("n"), "metric_values": metric_rows().slice(1)})
    assert read(folder, "SELECT model, description->>'task' FROM model_descriptions ORDER BY 1") == [
        ("m", "ranking"),
        ("n", None),
    ]
    assert read(folder, "SELECT metric, series, value FROM metric_values") == [("m", {"k": "v"}, 1.0)]
    lake.close()
    reopened = Lake.open(folder)
    assert reopened.progress == Progress(7, 0)
    reopened.close()


def test_rows_that_do_not_fit_are_refused(lake: Lake, folder: Path) -> None:
    """A column too many, one too few, or a value that is none: nothing is added, to no table."""
    before = files(folder)
    with pytest.raises(KeyError, match="no column mood"):
        lake.add_rows({"model_descriptions": described("m").append_column("mood", pa.array(["good"]))})
    with pytest.raises(KeyError, match="described_at"):
        lake.add_rows(
            {"metric_values": metric_rows(), "model_descriptions": described("m").drop(["described_at"])}
        )
    bad = described("m").set_column(2, "described_at", pa.array(["yesterday"]))
    with pytest.raises(pa.ArrowInvalid):
        lake.add_rows({"metric_values": metric_rows(), "model_descriptions": bad})
    assert files(folder) == before


@pytest.mark.parametrize("takes_place", [True, False])
def test_whoever_adds_rows_knows_whether_they_were_added(lake: Lake, folder: Path, takes_place: bool) -> None:
    """A commit that fails is an error only if it did not take place, so that trying again doubles nothing."""
    make_flaky(lake, "COMMIT", takes_place=takes_place)
    with nullcontext() if takes_place else pytest.raises(duckdb.TransactionException):
        lake.add_rows({"model_descriptions": described("m")})
    assert read(folder, "SELECT count(*) FROM model_descriptions") == [(int(takes_place),)]


DIES = """
import sys
from datetime import datetime
from pathlib import Path
import pyarrow as pa
from lapwing_collector.lake import Lake

lake = Lake.open(Path(sys.argv[1]))
row = {"model": "m", "table_name": "m", "described_at": datetime(2026, 1, 1), "description": "{}"}
row |= {"said": "{}", "facts": "{}", "logs_seen": 1}
lake.add_rows({"model_descriptions": pa.Table.from_pylist([row])})
"""


@pytest.mark.parametrize(("moment", "rows"), [("lake.before_commit", 0), ("lake.after_commit", 1)])
def test_dying_while_rows_are_added_leaves_all_or_none(folder: Path, moment: str, rows: int) -> None:
    """Killed before the commit nothing is there, and the next start clears the file; after it, all is."""
    command = [sys.executable, "-c", DIES, str(folder)]
    dying = subprocess.run(command, env={**os.environ, "LAPWING_CRASH_AT": moment}, check=False)
    assert dying.returncode == 137
    Lake.open(folder).close()
    assert read(folder, "SELECT count(*) FROM model_descriptions") == [(rows,)]
    assert len(files(folder)) == rows


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path) -> None:
    """A catalog that is something else gives one clear error."""
    (tmp_path / "catalog.sqlite").write_text("not a database, surely not one at all" * 100)
    with pytest.raises(DataDirectoryError, match="cannot be opened"):
        Lake.open(tmp_path)


def test_a_moved_lake_is_read_where_it_is(lake: Lake, folder: Path, tmp_path: Path) -> None:
    """Files are found relative to the folder, so people can move or copy it."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
    lake.close()
    moved = folder.rename(tmp_path / "elsewhere")
    assert read(moved, "SELECT inputs.x FROM predictions.m") == [(1,)]


def test_time_filters_skip_files(lake: Lake, folder: Path) -> None:
    """A naive UTC window reads only the files that hold such times, not months of data."""
    for month in range(1, 7):
        when = datetime(2026, month, 1)
        lake.flush([predictions("m", [{"time": when, "inputs.x": month}])], [], Progress(month, 0))
    connection = engine.connect()
    engine.attach(connection, folder.resolve(), read_only=True)
    plan = connection.execute(
        "EXPLAIN ANALYZE SELECT sum(inputs.x) FROM predictions.m WHERE time >= $start AND time < $end",
        {"start": datetime(2026, 3, 1), "end": datetime(2026, 4, 1)},
    ).fetchall()[0][1]
    connection.close()
    assert "Total Files Read: 1" in plan


def test_errors_of_duckdb_are_not_swallowed(lake: Lake) -> None:
    """A closed lake refuses to flush, loudly."""
    lake.close()
    with pytest.raises(duckdb.Error):
        lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
