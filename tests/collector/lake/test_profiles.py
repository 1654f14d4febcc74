"""Profiles in a real lake agree with its rows at any moment, whatever happens meanwhile."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.batches import START, predictions
from helpers.ducklake import ducklake, ducklake_table
from helpers.flaky import make_flaky
from lapwing_collector.app.ingest.poison import find_refused
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.upkeep.references import References, Wanted
from lapwing_collector.lake import Lake, Progress, declared_type, profiles
from lapwing_collector.lake.erasure import Subject, erase, remaining_in_lake
from lapwing_collector.lake.files import TableName, table_files
from lapwing_collector.lake.retention import Keep, Retention
from lapwing_collector.lake.retyping import retype
from lapwing_collector.lake.rollup import rolled_up
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.metrics import ProfileCounter, add_up
from lapwing_collector.model.description import Feature, FeatureType, ModelDescription
from lapwing_collector.model.facts import Facts, FieldFacts
from lapwing_collector.model.profiles import PROFILE_KEYS, PROFILE_ROWS, REFERENCE_BIN_ROWS, BinKind

NOW = datetime(2026, 2, 1)
PROFILES = TableName("main", "profiles")
TABLE = TableName("predictions_all", "m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeze after a thousand rows, so that tests need not write ten thousand."""
    monkeypatch.setattr("lapwing_collector.lake.freezing.FIRST_ROWS", 1_000)


@pytest.fixture
def lake(folder: Path) -> Iterator[Lake]:
    opened = Lake.open(folder, profiling=PROFILING)
    yield opened
    opened.close()


@pytest.fixture
def upkeep(lake: Lake) -> Iterator[Upkeep]:
    made = looking_after(lake)
    yield made
    made.close()


def looking_after(lake: Lake) -> Upkeep:
    return Upkeep(lake.catalog, lake.profiles, lake.add_rows)


class Traffic:
    """Rows of a model, flushed with the next position of the log."""

    def __init__(self, lake: Lake, seed: int = 1, model: str = "m") -> None:
        self.lake = lake
        self.model = model
        self._random = random.Random(seed)

    def rows(self, count: int, **more: Any) -> list[dict[str, Any]]:
        draw = self._random
        return [
            {
                "time": START + timedelta(minutes=draw.randrange(600)),
                "version": draw.choice(["1", "2", None]),
                "duration_ms": draw.random() * 100,
                "inputs.age": draw.choice([draw.gauss(40, 10), None]),
                "inputs.plan": draw.choice(["free", "pro", "team"]),
                "output.late": draw.random() < 0.3,
                **more,
            }
            for _ in range(count)
        ]

    def flush(self, count: int, **more: Any) -> None:
        self.send(self.rows(count, **more))

    def send(self, rows: list[dict[str, Any]]) -> None:
        self.lake.flush([predictions(self.model, rows)], [], Progress(self.lake.progress.log + 1, 0))


def summed(rows: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of a profile by what tells them apart, added up."""
    added = add_up(rows.sort_by([(name, "ascending") for name in PROFILE_KEYS]))
    return {tuple(row[name] for name in PROFILE_KEYS): row for row in added.to_pylist()}


def check(lake: Lake, table: str = "m") -> set[str]:
    """Compare the profile with all stored rows, counted anew; the fields that it has."""
    assert lake.profiles is not None

    def read(sql: str) -> pa.Table:
        return ducklake_table(lake.catalog, sql)

    binnings = lake.profiles.binnings(table)
    segments = [*lake.profiles.segments(table).values()]
    stored = read(f"SELECT * FROM predictions_all.{table}")
    counted = pa.concat_tables(ProfileCounter(list(binnings.values()), segments).count(stored))
    size = counted.num_rows
    columns = {name: counted.column(name) for name in counted.schema.names} | {
        "model": pa.array([table] * size),
        "table_name": pa.array([table] * size),
    }
    expected = summed(pa.table([columns[name] for name in PROFILE_ROWS.names], schema=PROFILE_ROWS))
    names = ", ".join(PROFILE_ROWS.names)
    found = summed(read(f"SELECT {names} FROM profiles WHERE table_name = '{table}'").cast(PROFILE_ROWS))
    assert found.keys() == expected.keys()
    for key, row in found.items():
        assert row["counts"] == expected[key]["counts"], key
        for name in ("sum", "sum_squares", "minimum", "maximum"):
            assert row[name] == (expected[key][name] and pytest.approx(expected[key][name], rel=1e-9))
    return {row["field"] for row in found.values()}


FIELDS = {"duration_ms", "error_type", "inputs.age", "inputs.plan", "output.late"}


def test_latency_is_counted_from_the_first_row(lake: Lake) -> None:
    """Its bins are the same for all models; other fields wait for theirs."""
    Traffic(lake).flush(10)
    assert check(lake) == {"duration_ms", "error_type"}
    [(n,)] = ducklake(lake.catalog, "SELECT sum(n) FROM profile_bins WHERE kind = 'range'")
    assert n == 10


def test_fields_get_bins_from_the_first_rows_and_every_row_is_counted(lake: Lake, upkeep: Upkeep) -> None:
    """Not before there are enough; then those that were stored before count as those that come after."""
    traffic = Traffic(lake)
    traffic.flush(999)
    assert upkeep.freeze_next(NOW)
    assert check(lake) == {"duration_ms", "error_type"}
    assert not upkeep.freeze_next(NOW)
    traffic.flush(300)
    assert upkeep.freeze_next(NOW)
    assert check(lake) == FIELDS
    traffic.flush(300)
    assert not upkeep.freeze_next(NOW)
    assert check(lake) == FIELDS
    found = ducklake(
        lake.catalog,
        "SELECT category, sum(n) FROM profile_bins WHERE field = 'inputs.plan' GROUP BY ALL ORDER BY ALL",
    )
    raw = ducklake(
        lake.catalog, "SELECT inputs.plan, count(*) FROM predictions_all.m GROUP BY ALL ORDER BY ALL"
    )
    assert [(name, n) for name, n in found if n] == raw


def test_a_profile_that_is_much_more_than_its_rows_is_written_in_parts(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush has one file of profiles, of as many row groups as it needs to stay in little memory."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    monkeypatch.setattr("lapwing_collector.metrics.counting._PART_COUNTS", 1_000)
    monkeypatch.setattr("lapwing_collector.lake.profiles._PART_ROWS", 50)
    assert upkeep.freeze_next(NOW)
    before = {file.path for file in table_files(lake.catalog, TableName("main", "profiles"))}
    traffic.flush(200)
    [file] = {file.path for file in table_files(lake.catalog, TableName("main", "profiles"))} - before
    footer = pq.read_metadata(file)
    sizes = [footer.row_group(at).num_rows for at in range(footer.num_row_groups)]
    assert len(sizes) > 1
    assert max(sizes) < 100
    assert check(lake) == FIELDS


def test_rows_that_come_while_bins_are_made_are_counted_once(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they come while files are read or between the last look and the commit."""
    monkeypatch.setattr("lapwing_collector.lake.freezing.FEW_ROWS", 50)
    traffic = Traffic(lake)
    traffic.flush(1_000)
    traffic.flush(100)
    more = iter([200, 30, 0])

    def meanwhile(_worked_s: float) -> None:
        if count := next(more, 0):
            traffic.flush(count)

    assert upkeep.freeze_next(NOW, meanwhile)
    assert ducklake(lake.catalog, "SELECT count(*) FROM predictions_all.m") == [(1_330,)]
    assert check(lake) == FIELDS


def test_a_new_field_gets_bins_later_and_is_null_before(lake: Lake, upkeep: Upkeep) -> None:
    """It waits for its own first rows; a rare one waits for values."""
    traffic = Traffic(lake)
    traffic.flush(1_100)
    upkeep.freeze_next(NOW)
    traffic.flush(400, **{"inputs.income": 7.5})
    traffic.flush(30, **{"inputs.rare": 1.5, "inputs.income": 2.5})
    while upkeep.freeze_next(NOW):
        pass
    assert check(lake) == FIELDS
    traffic.flush(600, **{"inputs.income": 7.5})
    while upkeep.freeze_next(NOW):
        pass
    assert check(lake) == {*FIELDS, "inputs.income"}
    [(nulls,)] = ducklake(
        lake.catalog, "SELECT sum(n) FROM profile_bins WHERE field = 'inputs.income' AND kind = 'null'"
    )
    assert nulls == 1_100
    kinds = dict(lake.catalog.rows("SELECT field, count(*) FROM binnings GROUP BY field"))
    assert set(kinds.values()) == {1}


def described(model: str, description: ModelDescription, at: datetime = NOW) -> pa.Table:
    return pa.table(
        {
            "table_name": [model],
            "model": [model],
            "described_at": [at],
            "description": [description.to_json()],
            "said": pa.nulls(1, pa.string()),
            "facts": ["{}"],
            "logs_seen": [1],
        }
    )


def test_segments_can_be_declared_at_any_time(lake: Lake, upkeep: Upkeep) -> None:
    """Their counts agree with all rows, too; numbers and tags can tell segments apart."""
    traffic = Traffic(lake)
    traffic.flush(600, **{"inputs.store": 17, "tags": [("region", "eu")]})
    traffic.flush(500, **{"inputs.store": 4, "tags": [("region", "eu")]})
    lake.add_rows({"model_descriptions": described("m", ModelDescription(segments=("inputs.store",)))})
    upkeep.freeze_next(NOW)
    check(lake)
    both = ModelDescription(segments=("inputs.store", "tags.region", "inputs.plan"))
    lake.add_rows({"model_descriptions": described("m", both, NOW + timedelta(seconds=1))})
    while upkeep.freeze_next(NOW):
        pass
    traffic.flush(100, **{"inputs.store": 4, "tags": [("region", "us")]})
    check(lake)
    segments = lake.catalog.rows("SELECT DISTINCT segment FROM profiles ORDER BY ALL")
    assert [segment for (segment,) in segments] == [
        "",
        "inputs.plan=free",
        "inputs.plan=pro",
        "inputs.plan=team",
        "inputs.store=17",
        "inputs.store=4",
        "tags.region=eu",
    ], "a region that came later has no bin of its own"


def test_a_reference_of_numbers_gets_the_bins_that_segments_need(
    lake: Lake, upkeep: Upkeep, tmp_path: Path
) -> None:
    """A number that tells segments apart is a category in the bins of a reference, too."""
    lake.add_rows({"model_descriptions": described("m", ModelDescription(segments=("inputs.store",)))})
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"inputs.store": [4, 17] * 100}), file)
    assert upkeep.freezing is not None
    references = References(lake, upkeep.rewriter, upkeep.freezing, tmp_path)
    references.keep(Wanted("m", "train", "drift", "train.parquet", file=str(file)), NOW)
    Traffic(lake).flush(1_000, **{"inputs.store": 17})
    while upkeep.freeze_next(NOW):
        pass
    check(lake)
    segments = lake.catalog.rows("SELECT DISTINCT segment FROM profiles ORDER BY ALL")
    assert segments == [("",), ("inputs.store=17",)]


def test_a_segment_declared_after_a_reference_is_counted_from_then_on(
    lake: Lake, upkeep: Upkeep, tmp_path: Path
) -> None:
    """Its numbers stay in the bins of the reference, and tell segments apart as categories."""
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"inputs.store": [4, 17] * 100}), file)
    assert upkeep.freezing is not None
    references = References(lake, upkeep.rewriter, upkeep.freezing, tmp_path)
    references.keep(Wanted("m", "train", "drift", "train.parquet", file=str(file)), NOW)
    traffic = Traffic(lake)
    traffic.flush(500, **{"inputs.store": 17})
    lake.add_rows({"model_descriptions": described("m", ModelDescription(segments=("inputs.store",)))})
    while upkeep.freeze_next(NOW):
        pass
    check(lake)
    kept = "SELECT DISTINCT segment FROM profiles ORDER BY ALL"
    assert lake.catalog.rows(kept) == [("",)], "too few rows yet"
    traffic.flush(600, **{"inputs.store": 4})
    while upkeep.freeze_next(NOW):
        pass
    traffic.flush(50, **{"inputs.store": 4})
    check(lake)
    assert lake.catalog.rows(kept) == [("",), ("inputs.store=17",), ("inputs.store=4",)]
    assert lake.profiles is not None
    assert lake.profiles.binnings("m")["inputs.store"].kind is BinKind.NUMBER
    compared = lake.catalog.rows(
        "SELECT count(*) FROM reference_bins AS r JOIN profiles AS p USING (binning_id) WHERE p.segment = ''"
    )
    assert compared[0][0] > 0, "the reference can be compared with all rows as before"
    assert not upkeep.freeze_next(NOW)


def test_declared_types_decide_what_is_counted(lake: Lake, upkeep: Upkeep) -> None:
    """A number that is a category has its values as bins, and texts that are prose have none."""
    features = {"inputs.code": Feature(FeatureType.CATEGORY), "inputs.plan": Feature(FeatureType.TEXT)}
    lake.add_rows({"model_descriptions": described("m", ModelDescription(features=features))})
    Traffic(lake).flush(1_000, **{"inputs.code": 404})
    upkeep.freeze_next(NOW)
    assert check(lake) == {*FIELDS, "inputs.code"} - {"inputs.plan"}
    assert lake.catalog.rows("SELECT categories FROM binnings WHERE field = 'inputs.code'") == [(["404"],)]


def test_merging_adds_rows_of_one_key_up(lake: Lake, upkeep: Upkeep) -> None:
    """What many flushes said of an hour becomes one row, and says the same."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    upkeep.freeze_next(NOW)
    for _ in range(5):
        traffic.flush(20)
    before = lake.catalog.rows("SELECT count(*) FROM profiles")
    list(upkeep.merge_all())
    assert check(lake) == FIELDS
    assert len(table_files(lake.catalog, PROFILES)) == 1
    [(rows, keys)] = lake.catalog.rows(
        f"SELECT count(*), count(DISTINCT ({', '.join(PROFILE_KEYS)})) FROM profiles"
    )
    assert rows == keys < before[0][0]
    ordered = lake.catalog.rows("SELECT table_name, time, segment, field FROM profiles")
    assert ordered == sorted(ordered)


def test_merging_takes_the_rows_of_many_models_in_parts(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few rows are in memory at a time, each key has one row afterwards."""
    monkeypatch.setattr("lapwing_collector.lake.rollup._ROWS_AT_ONCE", 30)
    for number in range(2):
        for model in ("b", "a", "c"):
            Traffic(lake, seed=number, model=model).flush(30)
    list(upkeep.merge_all())
    for model in ("a", "b", "c"):
        check(lake, model)
    [(rows, keys)] = lake.catalog.rows(
        f"SELECT count(*), count(DISTINCT ({', '.join(PROFILE_KEYS)})) FROM profiles"
    )
    assert rows == keys


@pytest.mark.parametrize("takes_place", [True, False])
def test_a_commit_that_seems_to_fail_counts_once(lake: Lake, upkeep: Upkeep, takes_place: bool) -> None:
    """Rows and counts are in one commit, that of a flush as that of new bins."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    make_flaky(lake, "COMMIT", takes_place=takes_place)
    if takes_place:
        upkeep.freeze_next(NOW)
    else:
        with pytest.raises(duckdb.TransactionException):
            upkeep.freeze_next(NOW)
    check(lake)
    rows = traffic.rows(100)
    make_flaky(lake, "COMMIT", takes_place=takes_place)
    if takes_place:
        traffic.send(rows)
    else:
        with pytest.raises(duckdb.TransactionException):
            traffic.send(rows)
        check(lake)
        traffic.send(rows)
    check(lake)


def test_counts_stay_where_nobody_knows_how_the_commit_went(lake: Lake, upkeep: Upkeep) -> None:
    """The commit took place, reports an error, and the look whether it did fails too: no file goes."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    make_flaky(lake, "COMMIT", "ducklake_data_file", takes_place=True)
    with pytest.raises(duckdb.TransactionException):
        upkeep.freeze_next(NOW)
    assert check(lake) == FIELDS
    traffic.flush(100)
    check(lake)


def test_counts_go_where_nothing_was_committed(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full before the commit: the file of counts that was written already goes."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    before = set(lake.catalog.store.root.rglob("*.parquet"))

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lake, "_write", full)
        with pytest.raises(OSError, match="no space"):
            upkeep.freeze_next(NOW)
    assert set(lake.catalog.store.root.rglob("*.parquet")) == before


def test_rows_that_the_lake_refuses_are_not_counted(lake: Lake, upkeep: Upkeep) -> None:
    """Trying rows out counts nothing; those that are left count once."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    upkeep.freeze_next(NOW)
    batch = predictions("m", traffic.rows(8))

    def try_out(batches: Any) -> None:
        lake.try_out(batches)
        if any(
            each.rows.num_rows and each.rows.column("time")[0] == batch.rows.column("time")[0]
            for each in batches
        ):
            raise ValueError("refused")

    fine, refused = find_refused([batch], try_out)
    assert [each.rows.num_rows for each, _ in refused] == [1]
    lake.flush(fine, [], Progress(50, 0))
    assert check(lake) == FIELDS
    assert ducklake(lake.catalog, "SELECT count(*) FROM predictions_all.m") == [(1_007,)]


def test_a_model_that_has_no_table_yet_has_nothing_to_count(lake: Lake) -> None:
    """A process may say what its model is before any row of it comes."""
    rows = described("ghost", ModelDescription(segments=("inputs.store",)))
    place = rows.schema.get_field_index("table_name")
    lake.add_rows({"model_descriptions": rows.set_column(place, "table_name", pa.nulls(1, pa.string()))})
    assert lake.profiles is not None
    assert lake.profiles.next_due() is None


def test_bins_are_known_after_a_restart(folder: Path) -> None:
    """The next process counts by the same bins, and looks again at fields that have none."""
    lake = Lake.open(folder, profiling=PROFILING)
    traffic = Traffic(lake)
    traffic.flush(1_000)
    upkeep = looking_after(lake)
    upkeep.freeze_next(NOW)
    upkeep.close()
    lake.close()
    lake = Lake.open(folder, profiling=PROFILING)
    Traffic(lake, seed=2).flush(1_000, **{"inputs.new": 5})
    upkeep = looking_after(lake)
    upkeep.freeze_next(NOW)
    assert check(lake) == {*FIELDS, "inputs.new"}
    upkeep.close()
    lake.close()


def test_rows_that_another_process_wrote_are_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with rows enough gets its bins after the start, even if no row comes any more."""
    monkeypatch.setattr(profiles, "FIRST_ROWS", 1_000)
    lake = Lake.open(folder, profiling=PROFILING)
    Traffic(lake).flush(1_000)
    Traffic(lake, model="small").flush(10)
    lake.close()
    lake = Lake.open(folder, profiling=PROFILING)
    upkeep = looking_after(lake)
    assert upkeep.freeze_next(NOW)
    assert not upkeep.freeze_next(NOW)
    assert check(lake) == FIELDS
    upkeep.close()
    lake.close()


def test_a_lake_with_profiles_takes_no_rows_that_nobody_counts(folder: Path) -> None:
    """Else its counts would be wrong for good."""
    Lake.open(folder, profiling=PROFILING).close()
    lake = Lake.open(folder)
    with pytest.raises(RuntimeError, match="keeps profiles"):
        Traffic(lake).flush(1)
    lake.close()


def test_few_models_are_kept_in_memory(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a model is forgotten when too many others had rows, and read again."""
    monkeypatch.setattr(profiles, "_FIELDS_KEPT", 2)
    for round_ in range(2):
        for number in range(3):
            Traffic(lake, seed=round_, model=f"m{number}").flush(5)
    assert lake.profiles is not None
    assert len(lake.profiles._known) <= 2
    for number in range(3):
        check(lake, f"m{number}")


def test_profiles_outlive_the_rows_that_they_count(lake: Lake, upkeep: Upkeep) -> None:
    """Retention of rows leaves them; with a limit of their own their oldest hours go."""
    traffic = Traffic(lake)
    traffic.flush(100)
    old = Retention(default=Keep(age=timedelta(days=1)))
    plan = upkeep.plan_retention(old, NOW)
    while plan:
        del plan[: upkeep.remove(plan)]
    assert ducklake(lake.catalog, "SELECT count(*) FROM predictions_all.m") == [(0,)]
    counted = "SELECT sum(list_sum(counts)) FROM profiles WHERE field = 'duration_ms'"
    assert lake.catalog.rows(counted) == [(100,)]
    cut = Retention(profiles=Keep(age=timedelta(hours=5)))
    plan = upkeep.plan_retention(cut, START + timedelta(hours=10))
    while plan:
        del plan[: upkeep.remove(plan)]
    [(first,)] = lake.catalog.rows("SELECT min(time) FROM profiles")
    assert first == START + timedelta(hours=5)


def test_bins_are_made_anew_for_a_field_of_another_type(lake: Lake, upkeep: Upkeep) -> None:
    """All rows are counted in the new ones, which are in use from then on; the old counts stay."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    upkeep.freeze_next(NOW)
    before = lake.catalog.rows("SELECT sum(list_sum(counts)) FROM profiles WHERE field = 'inputs.plan'")
    assert upkeep.freezing is not None
    upkeep.freezing.renew("m", "m", "inputs.plan", NOW + timedelta(days=1))
    upkeep.freezing.renew("m", "m", "inputs.unknown", NOW + timedelta(days=1))
    traffic.flush(100)
    counted = lake.catalog.rows(
        "SELECT binning_id, sum(list_sum(p.counts)) FROM profiles AS p JOIN binnings AS b USING (binning_id) "
        "WHERE p.field = 'inputs.plan' GROUP BY ALL ORDER BY any_value(b.created_at)"
    )
    assert [rows for _, rows in counted] == [before[0][0], 1_100]


def test_an_erasure_tells_of_a_category_that_names_the_subject(lake: Lake, upkeep: Upkeep) -> None:
    """Its rows are gone; that the value has a bin of its own is said, for somebody to judge."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    upkeep.freeze_next(NOW)
    for value, told in (("team", 1), ("nobody", 0)):
        subject = Subject("m", values=(("inputs.plan", value),))
        erase(lake.catalog, upkeep.rewriter, subject)
        assert len(remaining_in_lake(lake.catalog, upkeep.rewriter, subject)) == told


@pytest.mark.parametrize("field", ["inputs.customer", 'inputs."customer.no"'])
def test_an_erasure_tells_where_a_number_is_still_said(lake: Lake, upkeep: Upkeep, field: str) -> None:
    """Profiles, edges, references and descriptions keep single numbers; one that nobody keeps is gone."""
    traffic = Traffic(lake)
    rows = traffic.rows(1_000, **{field: 5})
    rows[0][field] = 987654321
    rows[1][field] = 7
    traffic.send(rows)
    upkeep.freeze_next(NOW)
    facts = Facts({field: FieldFacts(1_000, 3, least=5, greatest=987654321)})
    owner = {"model": "m", "table_name": "m"}
    reference = {
        "reference": "train",
        "version": 2,
        "field": field,
        "quantiles": [5.0, 987654321.0],
    }
    lake.add_rows(
        {
            "reference_bins": pa.Table.from_pylist([owner | reference], REFERENCE_BIN_ROWS),
            "model_descriptions": pa.table(
                {name: [value] for name, value in owner.items()}
                | {
                    "described_at": pa.array([NOW], pa.timestamp("us")),
                    "description": ["{}"],
                    "said": ["{}"],
                    "facts": [facts.to_json()],
                    "logs_seen": [0],
                }
            ),
        }
    )

    def remaining(value: str) -> list[str]:
        subject = Subject("m", values=((field, value),))
        erase(lake.catalog, upkeep.rewriter, subject)
        return remaining_in_lake(lake.catalog, upkeep.rewriter, subject)

    bins, profile, train, described = remaining("987654321")
    assert bins == f"the bins of {field}, where the value is an edge that others may have, too"
    assert profile == f"the profile of {field}, where the value is the smallest or greatest of an hour"
    assert train == f"version 2 of reference train, where the value is a quantile of {field}"
    assert described == f"the description of the model, of what values {field} has"
    assert remaining("6") == []


DIES = """
import sys
from datetime import datetime
from pathlib import Path
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.lake import Lake, freezing
from lapwing_collector.lake.upkeep import Upkeep

freezing.FIRST_ROWS, freezing.FEW_ROWS = 1_000, 50
lake = Lake.open(Path(sys.argv[1]), profiling=PROFILING)
lake.profiles.look_at("m", "m")
Upkeep(lake.catalog, lake.profiles, lake.add_rows).freeze_next(datetime(2026, 2, 1))
"""


@pytest.mark.parametrize(
    ("moment", "fields"),
    [
        ("freezing.before_last", {"duration_ms", "error_type"}),
        ("lake.after_commit", FIELDS),
    ],
)
def test_dying_while_bins_are_made_counts_nothing_twice(folder: Path, moment: str, fields: set[str]) -> None:
    """Killed before the commit there are no bins and no counts; after it, all; the next start goes on."""
    lake = Lake.open(folder, profiling=PROFILING)
    Traffic(lake).flush(1_000)
    lake.close()
    dying = subprocess.run(
        [sys.executable, "-c", DIES, str(folder)], env={**os.environ, "LAPWING_CRASH_AT": moment}, check=False
    )
    assert dying.returncode == 137
    lake = Lake.open(folder, profiling=PROFILING)
    assert check(lake) == fields
    Traffic(lake, seed=2).flush(10)
    upkeep = looking_after(lake)
    upkeep.freeze_next(NOW)
    assert check(lake) == FIELDS
    upkeep.close()
    lake.close()


def test_references_of_older_lakes_are_set_aside(folder: Path) -> None:
    """What an older version froze stays readable under another name."""
    lake = Lake.open(folder)
    ducklake(lake.catalog, "DROP TABLE reference_bins; DROP TABLE reference_sets")
    ducklake(lake.catalog, "CREATE TABLE reference_sets (model VARCHAR, reference VARCHAR)")
    ducklake(lake.catalog, "CREATE TABLE reference_bins (model VARCHAR, bin INTEGER)")
    ducklake(
        lake.catalog, "DELETE FROM __ducklake_metadata_lake.ducklake_metadata WHERE key = 'lapwing_format'"
    )
    lake.close()
    lake = Lake.open(folder, profiling=PROFILING)
    assert lake.catalog.rows("SELECT count(*) FROM reference_bins_0_1") == [(0,)]
    assert "counts" in lake.catalog.schema("reference_bins").names
    lake.close()


def test_the_rows_of_one_hour_are_taken_apart_too(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of many segments and fields has more rows of an hour than are read at a time."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    lake.add_rows({"model_descriptions": described("m", ModelDescription(segments=("inputs.plan",)))})
    upkeep.freeze_next(NOW)
    traffic.flush(50)
    monkeypatch.setattr("lapwing_collector.lake.rollup._ROWS_AT_ONCE", 8)
    sizes = []

    def counting(rows: pa.Table) -> pa.Table:
        sizes.append(rows.num_rows)
        return add_up(rows)

    first = "time = (SELECT min(time) FROM profiles)"
    [(rows,)] = lake.catalog.rows(f"SELECT count(*) FROM profiles WHERE {first}")
    merged = pa.concat_tables(rolled_up(counting)(upkeep.rewriter, first))
    assert sum(sizes) == rows > 40
    assert max(sizes) <= 8
    places = merged.select(["segment", "field"]).to_pylist()
    assert places == sorted(places, key=lambda each: (each["segment"], each["field"]))
    assert merged.num_rows == len(summed(merged))
    monkeypatch.setattr("lapwing_collector.lake.rollup._ROWS_AT_ONCE", rows // 2)  # two parts of each
    list(upkeep.merge_all())
    check(lake)


def test_a_table_that_cannot_be_merged_keeps_no_other_waiting(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, and the next one has its turn."""
    for _ in range(16):
        Traffic(lake).flush(1)
    upkeep.look()
    tried = []

    def failing(table: TableName, *_: Any, **__: Any) -> None:
        tried.append(table)
        raise duckdb.OutOfMemoryException("failed to allocate data")

    monkeypatch.setattr(upkeep.rewriter, "rewrite", failing)
    for _ in range(2):
        with pytest.raises(duckdb.OutOfMemoryException):
            upkeep.merge_next()
    assert set(tried) == {TABLE, PROFILES}


def test_bins_that_a_crash_left_behind_are_made_anew(lake: Lake, upkeep: Upkeep) -> None:
    """A field got another type, and whoever was to make its bins anew died: the next look does it."""
    traffic = Traffic(lake)
    traffic.flush(1_000, **{"inputs.size": "7"})
    upkeep.freeze_next(NOW)
    retype(lake.catalog, upkeep.rewriter, TABLE, ("inputs", "size"), declared_type("DOUBLE"), lambda *_: None)
    lake.forget(TABLE)
    assert lake.profiles is not None
    assert lake.profiles.binnings("m")["inputs.size"].kind is BinKind.CATEGORY
    lake.profiles.look_at("m", "m")
    upkeep.freeze_next(NOW + timedelta(days=1))
    made = lake.profiles.binnings("m")
    assert made["inputs.size"].kind is BinKind.NUMBER
    lake.profiles.look_at("m", "m")
    upkeep.freeze_next(NOW + timedelta(days=2))
    assert lake.profiles.binnings("m") == made, "what fits stays"


def test_what_is_told_of_a_model_while_it_is_looked_at_counts(lake: Lake, upkeep: Upkeep) -> None:
    """It is looked at once more, since the look began before."""
    traffic = Traffic(lake)
    traffic.flush(1_000)
    traffic.flush(20_000)  # more than are counted while nothing is flushed
    description = {"model_descriptions": described("m", ModelDescription(segments=("inputs.plan",)))}

    def meanwhile(_worked_s: float) -> None:
        if description:
            lake.add_rows({"model_descriptions": description.pop("model_descriptions")})

    assert upkeep.freeze_next(NOW, meanwhile)
    assert not description
    assert upkeep.freeze_next(NOW)
    assert lake.profiles is not None
    assert tuple(lake.profiles.segments("m")) == ("inputs.plan",)


def test_rare_values_are_looked_for_ever_less_often(
    lake: Lake, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look reads all rows, so the next waits for a part of as many more, of a model forgotten too."""
    monkeypatch.setattr(profiles, "_FIELDS_KEPT", 1)
    traffic = Traffic(lake)
    traffic.flush(10_000)
    upkeep.freeze_next(NOW)
    traffic.flush(2_500, **{"inputs.rare": None})
    traffic.flush(1, **{"inputs.rare": 0.5})
    assert lake.profiles is not None
    lake.profiles.look_at("m", "m")
    while upkeep.freeze_next(NOW):
        pass
    Traffic(lake, model="other").flush(1)
    while upkeep.freeze_next(NOW):
        pass
    traffic.flush(2_000)
    assert not upkeep.freeze_next(NOW)
    traffic.flush(1_200)
    assert upkeep.freeze_next(NOW)
