"""Profiles count every row once, in the bin that a plain reading of the edges says, whatever the values."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.memory import PeakMemory
from lapwing_collector.metrics import ProfileCounter, add_up, countable_fields, counting, freeze
from lapwing_collector.metrics.binning import MOST_CATEGORIES, number_edges
from lapwing_collector.metrics.counting import locator
from lapwing_collector.model.profiles import (
    BINS,
    DURATIONS,
    PROFILE_KEYS,
    PROFILE_ROWS,
    BinKind,
    Binning,
)

START = datetime(2026, 1, 1)
ANY_FLOAT = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308, 1.0, 2.0])
FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 5e-324, 1.0, 2.0])


def table(values: dict[str, pa.Array], rows: Sequence[dict[str, Any]] | None = None) -> pa.Table:
    """Rows of predictions with these inputs; time, version and stage as told."""
    size = len(next(iter(values.values())))
    told = rows or [{}] * size
    return pa.table(
        {
            "time": pa.array([row.get("time", START) for row in told], pa.timestamp("us")),
            "version": pa.array([row.get("version", "1") for row in told], pa.string()),
            "stage": pa.array([row.get("stage", "production") for row in told]),
            "tags": pa.array([row.get("tags", []) for row in told], pa.map_(pa.string(), pa.string())),
            "inputs": pa.StructArray.from_arrays(list(values.values()), names=list(values)),
        }
    )


def count(counter: ProfileCounter, rows: pa.Table) -> pa.Table:
    """What rows add to a profile, all parts together."""
    return pa.concat_tables(counter.count(rows))


def place(value: float | None, edges: Sequence[float]) -> int:
    """Where the documentation says that a number is counted."""
    if value is None or math.isnan(value):
        return 0
    if math.isinf(value):
        return 1
    if value < edges[0]:
        return 2
    if value > edges[-1]:
        return len(edges) + 2
    return 3 + max(at for at, edge in enumerate(edges[:-1]) if edge <= value)


@given(st.lists(FINITE, min_size=2, unique=True), st.lists(ANY_FLOAT, min_size=1))
@settings(max_examples=100, deadline=None)
def test_numbers_are_located_as_by_halves(edges: list[float], numbers: list[float]) -> None:
    """The quick way to a number's place agrees with NumPy's search, whatever the edges are."""
    ascending = np.unique(np.array(edges) + 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        some = np.array([*numbers, *edges, *np.nextafter(edges, np.inf), *np.nextafter(edges, -np.inf)])
        found = locator(ascending)(some)
    expected = ascending.searchsorted(some, side="right")
    known = ~np.isnan(some)
    assert (np.asarray(found)[known] == expected[known]).all()


@pytest.mark.parametrize("draw", ["normal", "lognormal", "exponential", "integers", "heavy"])
def test_real_distributions_are_located_quickly(draw: str) -> None:
    """For usual distributions a table says the place, and says it right."""
    rng = np.random.default_rng(5)
    values = {
        "normal": lambda n: rng.normal(size=n),
        "lognormal": lambda n: np.exp(3 * rng.normal(size=n)),
        "exponential": lambda n: rng.exponential(size=n) - 0.0,
        "integers": lambda n: rng.integers(0, 100, n).astype(float),
        "heavy": lambda n: rng.pareto(0.5, n),
    }[draw]
    edges = np.array(number_edges(values(10_000)))
    locate = locator(edges)
    assert hasattr(locate, "crowd"), "a table, no search by halves"
    some = values(5_000)
    assert (locate(some) == edges.searchsorted(some, side="right")).all()


@given(
    st.lists(FINITE, min_size=1, max_size=300),
    st.lists(st.none() | ANY_FLOAT, min_size=1, max_size=50),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_counted_once_in_its_bin(
    sample: list[float], values: list[float | None], data: st.DataObject
) -> None:
    """Counts, sums and bounds of each hour, version and stage are those of a loop over the rows."""
    rows = [
        {
            "time": START + timedelta(minutes=data.draw(st.integers(0, 200))),
            "version": data.draw(st.sampled_from([None, "1", "2"])),
            "stage": data.draw(st.sampled_from(["production", "shadow"])),
        }
        for _ in values
    ]
    [binning] = freeze(pa.table({"inputs.x": sample}), "m")
    counted = count(ProfileCounter([binning]), table({"x": pa.array(values, pa.float64())}, rows))
    expected: dict[tuple[Any, ...], Counter[int]] = {}
    finite: dict[tuple[Any, ...], list[float]] = {}
    for value, row in zip(values, rows, strict=True):
        key = (row["time"].replace(minute=0), row["version"], row["stage"])
        expected.setdefault(key, Counter())[place(value, binning.edges)] += 1
        finite.setdefault(key, [])
        if value is not None and math.isfinite(value):
            finite[key].append(value)
    found = {(row["time"], row["version"], row["stage"]): row for row in counted.to_pylist()}
    assert found.keys() == expected.keys()
    for key, row in found.items():
        assert len(row["counts"]) == binning.length
        assert {at: n for at, n in enumerate(row["counts"]) if n} == dict(expected[key])
        assert row["minimum"] == min(finite[key], default=None)
        assert row["maximum"] == max(finite[key], default=None)
        assert row["sum"] == pytest.approx(sum(finite[key]), rel=1e-9, abs=1e-300) or any(
            abs(value) > 1e100 for value in finite[key]
        )
        assert (row["field"], row["segment"], row["grain"]) == ("inputs.x", "", "hour")


@given(st.lists(FINITE, min_size=1, max_size=500))
@settings(max_examples=60, deadline=None)
def test_edges_ascend_and_hold_every_number_they_were_made_of(numbers: list[float]) -> None:
    """No number of the sample is under or over, and there are no more bins than promised."""
    edges = number_edges(np.array(numbers))
    assert list(edges) == sorted(set(edges))
    assert 2 <= len(edges) <= BINS + 1
    assert edges[0] <= min(numbers)
    assert max(numbers) <= edges[-1]


def test_bins_of_many_numbers_hold_equally_many() -> None:
    """Of a continuous sample each bin has a 64th, as NumPy's quantiles say."""
    numbers = np.random.default_rng(1).normal(size=6_400)
    edges = number_edges(numbers)
    assert len(edges) == BINS + 1
    counts, _ = np.histogram(numbers, edges)
    assert set(counts.tolist()) <= {99, 100, 101}


def test_a_frequent_number_has_a_bin_of_its_own() -> None:
    """Zeros among amounts are told apart from small amounts; of few numbers each is."""
    rng = np.random.default_rng(2)
    amounts = np.where(rng.random(5_000) < 0.4, 0.0, rng.exponential(size=5_000))
    edges = number_edges(amounts)
    assert edges[:2] == (0.0, 5e-324)
    rounded = number_edges(np.round(rng.normal(size=5_000), 1))
    assert len(set(np.round(rounded, 1))) == len(rounded), "nothing is between 0.1 and 0.2"
    assert number_edges(np.array([3.0, 1.0, 2.0, 1.0]))[:3] == (1.0, 2.0, 3.0)
    assert number_edges(np.array([7.0])) == (7.0, np.nextafter(7.0, np.inf))


def test_categories_are_the_most_frequent_texts() -> None:
    """The rest is other; booleans have both of theirs; names of single things are no categories."""
    texts = [f"t{i % 150}" for i in range(10_000)] + ["common"] * 100 + [None] * 3 + ["x" * 201] * 500
    flags, ids = [True] * len(texts), [f"user-{i}" for i in range(len(texts))]
    sample = pa.table(
        {"inputs.t": texts, "inputs.b": flags, "inputs.id": ids, "inputs.l": [[1]] * len(texts)}
    )
    text, flag, name = freeze(sample, "m")
    assert text.categories[0] == "common"
    assert len(text.categories) == MOST_CATEGORIES
    assert text.kind is BinKind.CATEGORY
    assert flag.categories == ("false", "true")
    assert name.categories == ()
    counted = count(
        ProfileCounter([text, flag, name]),
        table(
            {
                "t": pa.array(["common", "new", None]),
                "b": pa.array([True, None, False]),
                "id": pa.array(["a", "b", "c"]),
            }
        ),
    )
    counts = counted.column("counts").to_pylist()
    assert counts[0][:3] == [1, 1, 1]
    assert counts[1] == [1, 0, 1, 1]
    assert counts[2] == [0, 3]


def test_values_of_another_type_than_the_bins_are_other() -> None:
    """Texts where numbers were binned are not null; numbers where texts were are taken as texts."""
    number, text = freeze(pa.table({"inputs.n": [1.0, 2.0], "inputs.t": ["1", "2"]}), "m")
    rows = table({"n": pa.array(["1", None, "x"]), "t": pa.array([1, None, 3])})
    counted = count(ProfileCounter([number, text]), rows)
    assert counted.column("counts").to_pylist() == [[1, 2, 0, 0, 0, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    "values",
    [pa.array([[1.0], None, [2.0]]), pa.array([b"\xff", None, b"\xfe"]), pa.array([1, None, 2], "date32")],
)
def test_lists_and_bytes_where_texts_were_binned_are_other(values: pa.Array) -> None:
    """A field that was a text once and is a vector now is counted, and stands in the way of no flush."""
    [text] = freeze(pa.table({"inputs.t": ["a", "b", "a"]}), "m")
    counted = count(ProfileCounter([text], [text]), table({"t": values}))
    assert counted.column("counts").to_pylist() == [[1, 2, 0, 0]], "and they are in no segment"


def test_values_that_cannot_be_placed_are_other_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with a field costs its profile, not the flush, and the log says so once."""

    def refuse(*_: object) -> None:
        raise pa.ArrowNotImplementedError("no such cast")

    monkeypatch.setattr(counting, "numbers_of", refuse)
    number, text = freeze(pa.table({"inputs.n": [1.0, 2.0], "inputs.t": ["a", "b"]}), "m")
    counter = ProfileCounter([number, text])
    rows = table({"n": pa.array([1.0, None]), "t": pa.array(["a", "b"])})
    for _ in range(2):
        assert count(counter, rows).column("counts").to_pylist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1]]
    assert [record.getMessage() for record in caplog.records] == [
        "values of inputs.n have no place in its bins and are counted as other"
    ]


def test_a_field_that_rows_do_not_have_is_null() -> None:
    """So that the counts of a field always add up to the number of rows."""
    [binning] = freeze(pa.table({"inputs.gone": [1.0, 2.0, 3.0]}), "m")
    counted = count(ProfileCounter([binning, DURATIONS]), table({"x": pa.array([1, 2])}))
    assert [sum(row) for row in counted.column("counts").to_pylist()] == [2, 2]
    assert [row[0] for row in counted.column("counts").to_pylist()] == [2, 2]


def test_segments_are_told_apart_by_fields_and_tags() -> None:
    """Each frequent value has counts of its own, which agree with those of its rows alone."""
    rng = np.random.default_rng(3)
    size = 500
    carriers = rng.choice(["AA", "B6", "rare"], size, p=[0.5, 0.4, 0.1])
    regions = rng.choice(["eu", "us"], size)
    numbers = rng.normal(size=size)
    rows = table(
        {"x": pa.array(numbers), "carrier": pa.array(carriers)},
        [{"tags": [("region", region)]} for region in regions],
    )
    x, carrier, region = freeze(
        pa.table({"inputs.x": numbers, "inputs.carrier": carriers, "tags.region": regions}), "m"
    )
    carrier = Binning(carrier.binning_id, carrier.field, carrier.kind, categories=("AA", "B6"))
    counted = count(ProfileCounter([x], [carrier, region]), rows)
    found = dict(
        zip(counted.column("segment").to_pylist(), counted.column("counts").to_pylist(), strict=True)
    )
    assert found.keys() == {"", "inputs.carrier=AA", "inputs.carrier=B6", "tags.region=eu", "tags.region=us"}
    for name, chosen in {
        "inputs.carrier=AA": carriers == "AA",
        "inputs.carrier=B6": carriers == "B6",
        "tags.region=eu": regions == "eu",
    }.items():
        alone = count(ProfileCounter([x]), rows.filter(pa.array(chosen)))
        assert found[name] == alone.column("counts")[0].as_py()


@given(st.integers(1, 400), st.booleans(), st.integers(0, 1_000))
@settings(max_examples=25, deadline=None)
def test_parts_are_together_what_one_part_is(most: int, sort: bool, seed: int) -> None:
    """However many groups there are, rows are counted a few groups at a time, and none is lost or doubled."""
    rng = np.random.default_rng(seed)
    hours = rng.integers(0, 30, 150)
    if sort:
        hours.sort()
    told = [{"time": START + timedelta(hours=int(hour))} for hour in hours]
    values = pa.array(rng.normal(size=150), mask=rng.random(150) < 0.1)
    names = pa.array(rng.choice(["a", "b", "rare"], 150), mask=rng.random(150) < 0.1)
    rows = table({"x": values, "s": names}, told)
    x, s = freeze(pa.table({"inputs.x": [0.0, 1.0, 2.0], "inputs.s": ["a", "b", "a"]}), "m")
    counter = ProfileCounter([x, s, DURATIONS], [s])
    [whole] = counter.count(rows)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(counting, "_PART_COUNTS", most)
        parts = list(counter.count(rows))
    assert len(parts) > 1
    longest = max(map(len, whole.column("counts").to_pylist()))
    for part in parts:
        assert sum(map(len, part.column("counts").to_pylist())) < most + max(most, longest)
    assert pa.concat_tables(parts).equals(whole)


def test_rows_of_many_hours_are_counted_in_little_memory() -> None:
    """Each row of an old history is a group of its own, and a group has a row of counts for each field."""
    rng = np.random.default_rng(4)
    size, fields = 8_000, 16
    values = {f"x{i}": pa.array(rng.normal(size=size)) for i in range(fields)}
    made = freeze(pa.table({f"inputs.{name}": column for name, column in values.items()}), "m")
    rows = table(values, [{"time": START - timedelta(hours=i)} for i in range(size)])
    with PeakMemory() as memory:
        counted = sum(part.num_rows for part in ProfileCounter(made).count(rows))
    assert counted == size * fields
    assert memory.grown_bytes < 50e6, "all counts together are 70 MB"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 3)), max_size=40))
@settings(max_examples=30, deadline=None)
def test_adding_up_leaves_one_row_of_each_key(deltas: list[tuple[str, int, int]]) -> None:
    """Counts and sums add up, bounds are the widest, whatever the rows were cut from."""
    fixed = dict.fromkeys(PROFILE_KEYS, "k") | {"time": START, "version": None}
    rows = [
        fixed
        | {
            "field": field,
            "time": START + timedelta(hours=hour),
            "counts": [n, 1] if field == "a" else [n, 1, 2],
            "sum": float(n),
            "sum_squares": 1.0,
            "minimum": float(n) if n else None,
            "maximum": float(n) if n else None,
        }
        for field, hour, n in deltas
    ]
    profile = pa.Table.from_pylist([fixed | {"counts": [9]}, *rows], PROFILE_ROWS).slice(1)
    added = add_up(profile.sort_by([(name, "ascending") for name in PROFILE_KEYS]))
    found = {(row["field"], row["time"]): row for row in added.to_pylist()}
    assert len(found) == added.num_rows
    expected: dict[tuple[str, datetime], list[int]] = {}
    for row in rows:
        expected.setdefault((row["field"], row["time"]), []).append(row["counts"][0])
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        tail = [len(numbers)] if key[0] == "a" else [len(numbers), 2 * len(numbers)]
        assert found[key]["counts"] == [sum(numbers), *tail]
        assert found[key]["sum"] == sum(numbers)
        assert found[key]["minimum"] == min((n for n in numbers if n), default=None)
        assert found[key]["maximum"] == max((n for n in numbers if n), default=None)


def test_fields_that_are_counted_hold_single_values() -> None:
    """Numbers, texts and booleans inside of structs; no lists, times or bytes."""
    inner = pa.struct([("b.c", pa.bool_()), ("l", pa.list_(pa.float32()))])
    types = {
        "inputs": pa.struct([("a", pa.int64()), ("s", inner)]),
        "label": pa.string(),
        "t": pa.timestamp("us"),
    }
    assert countable_fields(types) == ["inputs.a", 'inputs.s."b.c"', "label"]
