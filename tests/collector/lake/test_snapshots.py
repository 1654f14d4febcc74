"""What a flush tells the catalog of its files, as DuckLake and other readers take it."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.batches import START, labels, predictions
from helpers.ducklake import ducklake
from lapwing_collector.lake import Lake, Progress


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    opened = Lake.open(tmp_path / "lake")
    yield opened
    opened.close()


def test_the_catalog_tells_the_truth_about_files(lake: Lake) -> None:
    """Sizes, footers and numbers of rows are those of the files, and no two rows share a row number."""
    for number in range(3):
        batches = [
            predictions("m", [{"inputs.x": n} for n in range(number + 1)]),
            labels("m", [{"label": 1}]),
        ]
        lake.flush(batches, [], Progress(number + 1, 0))
    described = lake.catalog.rows(
        "SELECT path, record_count, file_size_bytes, footer_size "
        "FROM __ducklake_metadata_lake.ducklake_data_file"
    )
    files = {file.name: file for file in lake.catalog.store.root.rglob("*.parquet")}
    assert len(described) == 3 + 3 + 1
    for name, rows, size_bytes, footer_bytes in described:
        content = files[name].read_bytes()
        assert pq.read_metadata(files[name]).num_rows == rows
        assert (len(content), int.from_bytes(content[-8:-4], "little")) == (size_bytes, footer_bytes)
    assert ducklake(lake.catalog, "SELECT rowid FROM predictions_all.m ORDER BY 1") == [
        (n,) for n in range(6)
    ]
    totals = lake.catalog.rows(
        "SELECT file_size_bytes FROM ducklake_table_info('lake') WHERE table_name = 'm' ORDER BY 1"
    )
    assert sum(size for (size,) in totals) == sum(
        size for name, _, size, _ in described if "models" not in files[name].parts
    )


def test_no_filter_loses_a_row(lake: Lake) -> None:
    """Rows whose values are absent, huge, odd or beyond what Python can count are found by them."""
    odd = ["a", "b\0c", "x" * 5000, "ü", "", None, "~"]
    for number, text in enumerate(odd):
        row = {"prediction_id": text, "version": text, "error_type": text, "inputs.x": number}
        lake.flush([predictions("m", [row])], [], Progress(number + 1, 0))
    for number, text in enumerate(odd):
        for column in ("prediction_id", "version", "error_type"):
            found = ducklake(
                lake.catalog,
                f"SELECT inputs.x FROM predictions.m WHERE {column} IS NOT DISTINCT FROM ?",
                [text],
            )
            assert found == [(number,)]
    for least in ("", "a", "x", "~"):
        above = ducklake(lake.catalog, "SELECT count(*) FROM predictions.m WHERE prediction_id > ?", [least])
        assert above == [(sum(text is not None and text > least for text in odd),)]


def test_files_that_cannot_match_are_not_read(lake: Lake) -> None:
    """Time, ids, version, stage and error leave whole files out."""
    for number in range(6):
        row = {
            "time": datetime(2026, 1, number + 1),
            "prediction_id": f"id-{number}",
            "version": f"v{number}",
            "error_type": "ValueError" if number == 3 else None,
            "inputs.x": number,
        }
        lake.flush([predictions("m", [row])], [], Progress(number + 1, 0))
    for condition in (
        "time BETWEEN TIMESTAMP '2026-01-04' AND TIMESTAMP '2026-01-04 12:00'",
        "prediction_id = 'id-3'",
        "version = 'v3'",
        "error_type = 'ValueError'",
    ):
        [(_, plan)] = ducklake(
            lake.catalog, f"EXPLAIN ANALYZE SELECT inputs.x FROM predictions_all.m WHERE {condition}"
        )
        assert "Total Files Read: 1" in plan, condition
        assert ducklake(lake.catalog, f"SELECT inputs.x FROM predictions.m WHERE {condition}") == [(3,)]


def test_tables_written_before_by_other_means_go_on(lake: Lake) -> None:
    """Rows that DuckLake inserted and rows of flushes are one table; old bounds do not hide new rows."""
    lake.flush([predictions("m", [{"inputs.x": 1}])], [], Progress(1, 0))
    ducklake(
        lake.catalog,
        "INSERT INTO predictions_all.m SELECT * REPLACE ({'x': 2} AS inputs) FROM predictions_all.m",
    )
    later = predictions("m", [{"inputs.x": 3, "time": START.replace(year=2030), "prediction_id": "z"}])
    lake.flush([later], [], Progress(2, 0))
    assert ducklake(lake.catalog, "SELECT rowid, inputs.x FROM predictions_all.m ORDER BY 1") == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]
    assert ducklake(
        lake.catalog, "SELECT inputs.x FROM predictions.m WHERE time > TIMESTAMP '2029-01-01'"
    ) == [(3,)]
    assert ducklake(lake.catalog, "SELECT max(time) FROM predictions.m") == [(datetime(2030, 1, 1),)]
