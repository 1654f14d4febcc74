"""References say what the rows that they are made of say, in the bins of the model."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lapwing
from helpers.batches import START, labels, predictions
from helpers.collector import prediction, project, request, running
from helpers.ducklake import ducklake
from helpers.query_lake import session_over
from helpers.waiting import wait_until
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.upkeep import references
from lapwing_collector.app.upkeep.keeping import promoted, remove_reference, set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.app.upkeep.references import rolling, same_hours
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import Session
from lapwing_collector.web.forms import FORMS, told_by

ROWS = 300


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A test set with what real ones have: nulls, ties, an infinity, a constant."""
    rng = np.random.default_rng(4)
    age = np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(40, 12, ROWS))
    age[5] = np.inf
    return pd.DataFrame(
        {
            "age": age,
            "visits": rng.poisson(2, ROWS),
            "plan": rng.choice(["free", "pro", None], ROWS),
            "constant": 1.5,
            "output.score": rng.random(ROWS),
            "time": START,
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame) -> Path:
    """A data directory in which references came before the first row of their model, and after."""
    folder = tmp_path_factory.mktemp("references")
    first = pa.Table.from_pandas(frame, preserve_index=False)
    keep(folder, "train", rows=first)
    lake = Lake.open(folder / "lake", profiling=PROFILING)
    rows = [
        {
            "prediction_id": str(number),
            "time": START + timedelta(hours=number),
            "inputs.age": float(number),
            "inputs.plan": "pro",
            "output.leaves": number % 2 == 0,
        }
        for number in range(100)
    ]
    lake.flush([predictions("churn", rows)], [], Progress(1, 0))
    lake.flush([labels("churn", [{"prediction_id": "3", "label": True}])], [], Progress(2, 0))
    lake.close()
    keep(folder, "train", rows=first.slice(0, 50))
    window = ((START + timedelta(hours=10)).isoformat(), f"{(START + timedelta(hours=30)).isoformat()}Z")
    keep(folder, "past", window=window, role="conditions")
    keep(folder, "lately", policy=rolling("28d"))
    keep(folder, "week", policy=same_hours("4w"))
    return folder


def keep(data: Path, name: str, **options: Any) -> dict[str, Any]:
    flags = {"data": data}
    return dict(set_reference(None, flags, tell_nobody, model="churn", name=name, **options))


@pytest.fixture(scope="module")
def session(data: Path) -> Iterator[Session]:
    with session_over(data / "lake") as opened:
        yield opened


def bins(session: Session, name: str, version: int) -> dict[str, dict[str, Any]]:
    rows = session.run(
        "SELECT r.*, b.edges, b.categories FROM reference_bins AS r JOIN binnings AS b USING (binning_id) "
        "WHERE reference = $name AND version = $version",
        {"name": name, "version": version},
    )
    return {row["field"]: row for row in rows.to_pylist()}


def test_a_file_is_kept_as_counts_and_exact_statistics(session: Session, frame: pd.DataFrame) -> None:
    """Counts, moments, distinct values and quantiles are those that pandas computes of the file."""
    found = bins(session, "train", 1)
    assert found.keys() == {
        "inputs.age",
        "inputs.visits",
        "inputs.plan",
        "inputs.constant",
        "output.score",
    }
    for field, row in found.items():
        values = frame[field.removeprefix("inputs.")]
        assert sum(row["counts"]) == ROWS
        assert row["counts"][0] == values.isna().sum()
        assert row["distinct_count"] == values.nunique()
        if field != "inputs.plan":
            finite = values[np.isfinite(values)].astype(float)
            assert row["counts"][1] == np.isinf(values).sum()
            assert row["sum"] == pytest.approx(finite.sum(), rel=1e-12)
            assert row["sum_squares"] == pytest.approx((finite**2).sum(), rel=1e-12)
            assert (row["minimum"], row["maximum"]) == (finite.min(), finite.max())
            assert row["quantiles"] == pytest.approx(finite.quantile(np.linspace(0, 1, 101)).tolist())
    plans = frame["plan"].value_counts()
    assert dict(
        zip(found["inputs.plan"]["categories"], found["inputs.plan"]["counts"][2:], strict=True)
    ) == dict(plans)


def test_versions_are_in_the_same_bins(session: Session) -> None:
    """Setting a reference again makes a version; the bins stay those of the first."""
    first, second = bins(session, "train", 1), bins(session, "train", 2)
    assert first.keys() == second.keys()
    assert all(first[field]["binning_id"] == second[field]["binning_id"] for field in first)
    assert {sum(row["counts"]) for row in second.values()} == {50}
    sets = session.run(
        "SELECT version, role, sample_count FROM reference_sets WHERE reference = 'train' ORDER BY 1"
    )
    assert [tuple(row.values()) for row in sets.to_pylist()] == [(1, "drift", ROWS), (2, "drift", 50)]


def test_rows_are_counted_in_the_bins_of_the_first_reference(session: Session) -> None:
    """From the first row on; a field that rows do not have is null in all of them."""
    counted = session.run(
        "SELECT field, sum(n) AS n, sum(n) FILTER (kind = 'null') AS nulls FROM profile_bins GROUP BY 1"
    ).to_pylist()
    assert {row["field"]: (int(row["n"]), int(row["nulls"])) for row in counted} == {
        "duration_ms": (100, 100),
        "error_type": (100, 100),
        "inputs.age": (100, 0),
        "inputs.visits": (100, 100),
        "inputs.plan": (100, 0),
        "inputs.constant": (100, 100),
        "output.score": (100, 100),
        "output.leaves": (100, 0),
    }


def test_a_window_is_made_of_production_and_its_labels(session: Session) -> None:
    """Its end is left out; what has no bins yet gets some, but for labels where there are none."""
    found = bins(session, "past", 1)
    assert found["inputs.age"]["minimum"] == 10
    assert found["inputs.age"]["maximum"] == 29
    assert sum(found["output.leaves"]["counts"][2:]) == 20
    assert "label" not in found, "no prediction of the window has a label"


def test_a_policy_is_kept_as_it_was_asked_for(session: Session) -> None:
    """It has no counts of its own."""
    sets = session.run(
        "SELECT reference, policy::VARCHAR AS policy FROM reference_sets WHERE policy IS NOT NULL"
    )
    assert {row["reference"]: row["policy"] for row in sets.to_pylist()} == {
        "lately": '{"kind": "rolling", "seconds": 2419200}',
        "week": '{"kind": "same_hours", "seconds": 2419200}',
    }
    assert bins(session, "lately", 1) == {}


def test_references_are_removed_by_version_or_whole(tmp_path: Path, frame: pd.DataFrame) -> None:
    """What is removed is gone for readers; the bins that were made of it stay."""
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    for name in ("train", "train", "other"):
        keep(tmp_path, name, rows=rows)
    remove_reference(None, {"data": tmp_path}, tell_nobody, model="churn", name="train", version=1)
    lake = Lake.open(tmp_path / "lake")
    left = "SELECT DISTINCT reference, version FROM reference_bins ORDER BY ALL"
    assert ducklake(lake.catalog, left) == [("other", 1), ("train", 2)]
    lake.close()
    done = remove_reference(None, {"data": tmp_path}, tell_nobody, model="churn", name="train", version=None)
    assert done == {"versions": [2]}
    lake = Lake.open(tmp_path / "lake")
    assert ducklake(lake.catalog, left) == [("other", 1)]
    assert lake.catalog.rows("SELECT count(*) FROM reference_sets") == [(1,)]
    assert lake.catalog.rows("SELECT count(*) FROM binnings WHERE field = 'inputs.age'") == [(1,)]
    lake.close()
    with pytest.raises(ConfigError, match="no reference 'train'"):
        remove_reference(None, {"data": tmp_path}, tell_nobody, model="churn", name="train", version=None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": ("2026-02-01", "2026-01-01")}, "ends after it begins"),
        ({"window": ("yesterday", "2026-01-01")}, "expected a time"),
        ({"window": ("2020-01-01", "2020-01-02")}, "no production predictions"),
        ({"rows": pa.table({"age": pa.array([], pa.float64())})}, "has no rows"),
        ({"rows": pa.table({"time": [1], "age": [[1.0]]})}, "no column holds numbers"),
        ({"policy": {"kind": "moon"}}, "expected the absolute path"),
        ({"policy": {"kind": "rolling", "seconds": 5}, "role": "fun"}, "drift or conditions"),
    ],
)
def test_what_is_no_reference_is_refused_in_words(data: Path, options: dict[str, Any], said: str) -> None:
    """And changes nothing."""
    with pytest.raises(ConfigError, match=said):
        keep(data, "wrong", **options)


@pytest.mark.parametrize(("make", "span"), [(rolling, "soon"), (rolling, "30m"), (same_hours, "10d")])
def test_policies_reach_back_by_hours_or_whole_weeks(make: Any, span: str) -> None:
    """Profiles know hours, and weeks are what hours of the week come back in."""
    with pytest.raises(ConfigError):
        make(span)


def test_the_collector_keeps_references_while_it_runs(tmp_path: Path, frame: pd.DataFrame) -> None:
    """It is asked over its socket; rows that come afterwards are counted in the bins of the reference."""
    with running(project(tmp_path)) as collector:
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        assert keep(tmp_path, "train", rows=rows)["version"] == 1
        assert collector.post(request([prediction("churn", "p", 10**18)]))[0] == 200
        counted = "SELECT field, sum(n)::INT AS n FROM profile_bins WHERE field = 'inputs.visits' GROUP BY 1"
        wait_until(lambda: bool(collector.ask(counted)))
        assert collector.ask(counted) == [{"field": "inputs.visits", "n": 1}]
        with pytest.raises(ConfigError, match="no reference 'gone'"):
            remove_reference(None, {"data": tmp_path}, tell_nobody, model="churn", name="gone", version=None)


def test_python_sets_references_of_tables(tmp_path: Path, frame: pd.DataFrame) -> None:
    """A DataFrame of pandas or Polars, or an Arrow table, by the folder of the lake."""
    Lake.open(tmp_path / "lake").close()
    with lapwing.connect(tmp_path) as lake:
        versions = [
            lake.set_reference("churn", "train", rows)
            for rows in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame))
        ]
        assert versions == [1, 2, 3]
        assert lake.set_reference("churn", "lately", rolling="28d") == 1
        assert lake.set_reference("churn", "bare", frame, keep_rows=False) == 1
        kept = lake.sql("SELECT reference, version FROM reference_sets WHERE has_rows")
        assert [(row["reference"], row["version"]) for row in kept] == [("train", 3)]
        counted = list(
            lake.sql("SELECT version, counts FROM reference_bins WHERE field = 'inputs.visits' ORDER BY 1")
        )
        assert len({tuple(row["counts"]) for row in counted}) == 1
        assert len(counted) == 4
        with pytest.raises(lapwing.QueryError, match="one of rows"):
            lake.set_reference("churn", "train")
        with pytest.raises(lapwing.QueryError, match="whole weeks"):
            lake.set_reference("churn", "train", same_hours="10d")


def test_columns_find_their_fields(tmp_path: Path) -> None:
    """By their whole name, by the last part of a field that the model has, or out of structs."""
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    lake.flush([predictions("churn", [{"output.score": 0.5, "inputs.a": 1}])], [], Progress(1, 0))
    lake.close()
    file = tmp_path / "rows.parquet"
    inside = pa.StructArray.from_arrays([pa.array([1, 2])], names=["b"])
    pq.write_table(
        pa.table({"score": [0.1, 0.2], "a": [1, 2], "inputs": inside, "label": [True, False]}), file
    )
    keep(tmp_path, "train", rows=file)
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    fields = lake.catalog.rows("SELECT field FROM reference_bins ORDER BY 1")
    assert [name for (name,) in fields] == ["inputs.a", "inputs.b", "label", "output.score"]
    lake.flush([predictions("churn", [{"output.score": 0.5}])], [], Progress(2, 0))
    counted = lake.catalog.rows("SELECT DISTINCT field FROM profiles ORDER BY 1")
    assert "label" not in [name for (name,) in counted]
    lake.close()


def test_one_field_of_a_struct_is_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many fields it has, nested ones too: what is read at once is never more than one."""
    rows = 1_000
    values = pa.array(np.arange(rows, dtype=float))
    deep = pa.StructArray.from_arrays([values, values], names=["x", "y"])
    inputs = pa.StructArray.from_arrays([values, values, deep], names=["a", "a.b", "deep"])
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"inputs": inputs, "time": values}), file)
    taken: list[int] = []
    read = pq.ParquetFile.read

    def reading(self: pq.ParquetFile, **options: Any) -> pa.Table:
        taken.append(read(self, **options).nbytes)
        return read(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", reading)
    assert keep(tmp_path / "data", "train", rows=file)["fields"] == 4
    assert len(taken) == 4 + 5, "to count them, and to keep rows of them and of their time"
    assert max(taken) < 1.5 * values.nbytes


def test_a_window_of_too_many_rows_is_refused_before_any_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted first, so that no disk fills for a refusal."""
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    rows = [{"prediction_id": str(number), "time": START, "inputs.a": number} for number in range(6)]
    lake.flush([predictions("churn", rows)], [], Progress(1, 0))
    lake.close()
    copied: list[object] = []
    monkeypatch.setattr(references, "MOST_ROWS", 5)
    monkeypatch.setattr(pq, "ParquetWriter", lambda *given, **_: copied.append(given))
    window = (START.isoformat(), (START + timedelta(hours=1)).isoformat())
    with pytest.raises(ConfigError, match="has 6 rows; take 5"):
        keep(tmp_path, "past", window=window)
    assert copied == []


def test_a_window_is_promoted_as_the_command_would_set_it() -> None:
    """The form of the drift page asks for a reference of a window, and for nothing else."""
    asked = {"model": "m", "name": "good", "from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00"}
    window = (asked["from"], asked["to"])
    source = "2026-01-01T00:00:00 to 2026-01-02T00:00:00"
    assert references.Wanted.of(promoted(asked)) == references.Wanted(
        "m", "good", "drift", source, window=window
    )
    told = told_by(FORMS["promote"], {**asked, "back": "/", "file": "/etc/passwd"})
    assert told == asked
    for wrong in ({}, {**asked, "to": 3}, {**asked, "name": None}):
        with pytest.raises(ConfigError, match="promote-window: expected the texts"):
            promoted(wrong)
    with pytest.raises(ConfigError, match="a window ends after it begins"):
        references.Wanted.of(promoted({**asked, "to": asked["from"]}))
