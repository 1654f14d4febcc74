"""The values of a table in Arrow become the fields that row records with the same values give."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from helpers.decode_oracle import actual
from helpers.decode_requests import TIME_NS, prediction, request
from helpers.decode_tables import predictions
from helpers.faults_plan import examples
from lapwing_collector.decode import arrow, decode_logs, fields
from lapwing_collector.model.records import UNTYPED

HIGHEST = 2**63 - 1


def cells(inputs: pa.Array) -> dict[tuple[tuple[str, ...], pa.DataType], list[Any]]:
    """The fields of a batch with the column `inputs.a`, by path below it and by type."""
    table = pa.table({"inputs": pa.StructArray.from_arrays([inputs], ["a"])})
    decoded = decode_logs(request(predictions(table)), TIME_NS)
    assert decoded.message == ""
    (batch,) = decoded.batches
    return {(column.path[2:], column.values.type): column.values.to_pylist() for column in batch.fields}


SCALARS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "bool": (pa.bool_(), st.booleans()),
    **{
        f"int{n}": (kind, st.integers(-(2 ** (n - 1)), 2 ** (n - 1) - 1))
        for n, kind in zip((8, 16, 32, 64), (pa.int8(), pa.int16(), pa.int32(), pa.int64()), strict=True)
    },
    **{
        f"uint{n}": (kind, st.integers(0, 2**n - 1))
        for n, kind in zip((8, 16, 32, 64), (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), strict=True)
    },
    "float16": (pa.float16(), st.floats(width=16)),
    "float32": (pa.float32(), st.floats(width=32)),
    "float64": (pa.float64(), st.floats(width=64)),
    "decimal128": (pa.decimal128(30, 9), st.decimals(-(10**9), 10**9, places=9)),
    "decimal256": (pa.decimal256(60, 2), st.decimals(-(10**9), 10**9, places=2)),
    "string": (pa.string(), st.text(max_size=9)),
    "large_string": (pa.large_string(), st.text(max_size=9)),
    "string_view": (pa.string_view(), st.text(max_size=30)),
    "categories": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b", ""])),
    "numbers in a dictionary": (pa.dictionary(pa.int32(), pa.int16()), st.integers(-3, 3)),
    "binary": (pa.binary(), st.binary(max_size=9)),
    "large_binary": (pa.large_binary(), st.binary(max_size=9)),
    "binary_view": (pa.binary_view(), st.binary(max_size=30)),
    "fixed_size_binary": (pa.binary(3), st.binary(min_size=3, max_size=3)),
    "date32": (pa.date32(), st.dates()),
    "date64": (pa.date64(), st.dates()),
    "time32": (
        pa.time32("ms"),
        st.times().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    ),
    "time64": (pa.time64("us"), st.times()),
    "timestamp s": (pa.timestamp("s"), st.datetimes().map(lambda at: at.replace(microsecond=0))),
    "timestamp ms": (
        pa.timestamp("ms"),
        st.datetimes().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    ),
    "timestamp us": (
        pa.timestamp("us"),
        st.datetimes() | st.datetimes().map(lambda at: at.replace(microsecond=0)),
    ),
    "timestamp UTC": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "timestamp offset": (
        pa.timestamp("us", "+05:30"),
        st.datetimes(timezones=st.just(timezone(timedelta(minutes=330)))),
    ),
    "duration": (pa.duration("us"), st.timedeltas(timedelta(-(10**4)), timedelta(10**4))),
}


def plain(value: Any) -> Any:
    """What the SDK makes of a value in a row record."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):  # a map, which may repeat keys
        return tuple((key, plain(item)) for key, item in value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return next((write(value) for kind, write in _PLAIN if isinstance(value, kind)), value)


_PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (datetime | date | time, lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    (Decimal, str),
    (bool, bool),
    (int, lambda value: value if value <= HIGHEST else str(value)),
)


def typed(depth: int = 2) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    """An Arrow type, and its values."""
    scalars = st.sampled_from(list(SCALARS.values()))
    if not depth:
        return scalars
    inner = typed(depth - 1)
    return (
        scalars
        | inner.map(_list)
        | inner.map(_fixed_size_list)
        | inner.map(_map)
        | st.lists(inner, min_size=1, max_size=3).map(_struct)
    )


def _list(item: tuple[pa.DataType, st.SearchStrategy[Any]]) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    # The first item is no null: rows cannot tell the kind of a list without values, and a table can.
    kind, values = item
    return pa.large_list(kind), st.tuples(values, st.lists(st.none() | values, max_size=2)).map(
        lambda parts: [parts[0], *parts[1]]
    )


def _fixed_size_list(
    item: tuple[pa.DataType, st.SearchStrategy[Any]],
) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    kind, values = item
    return pa.list_(kind, 2), st.tuples(values, st.none() | values).map(list)


def _map(item: tuple[pa.DataType, st.SearchStrategy[Any]]) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    kind, values = item
    return pa.map_(pa.string(), kind), st.lists(
        st.tuples(st.sampled_from(["a", "b", "é"]), st.none() | values), max_size=3
    ).map(tuple)


def _struct(
    items: list[tuple[pa.DataType, st.SearchStrategy[Any]]],
) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    names = ["x", "y", "z"][: len(items)]
    kind = pa.struct([pa.field(name, kind) for name, (kind, _) in zip(names, items, strict=True)])
    return kind, st.fixed_dictionaries(
        {name: st.none() | values for name, (_, values) in zip(names, items, strict=True)}
    )


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.Table, list[dict[str, Any]]]:
    """A table with columns of any type below `inputs`, and its rows as Python values."""
    count = draw(st.integers(1, 4))
    kinds = {name: draw(typed()) for name in draw(st.sampled_from(["", "u", "uv", "uvw"]))}
    rows = [{name: draw(st.none() | values) for name, (_, values) in kinds.items()} for _ in range(count)]
    arrays = [pa.array([row[name] for row in rows], kind) for name, (kind, _) in kinds.items()]
    inputs = (
        pa.StructArray.from_arrays(arrays, list(kinds)) if kinds else pa.array([{}] * count, pa.struct([]))
    )
    table = pa.table({"inputs": inputs})
    assume(_is_sound(table))
    return table, rows


def _is_sound(table: pa.Table) -> bool:
    """Whether pyarrow made it well: below nulls, it gives indices into empty dictionaries."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


@settings(max_examples=examples(80), suppress_health_check=list(HealthCheck))
@given(columns())
def test_a_table_decodes_to_what_its_rows_decode_to(
    given_columns: tuple[pa.Table, list[dict[str, Any]]],
) -> None:
    """Columns of every type, nested in lists, maps and structs, equal one record per row."""
    table, rows = given_columns
    ids = [f"p{place}" for place in range(len(rows))]
    table = table.append_column("prediction_id", pa.array(ids))
    records = [
        prediction({"inputs": plain(row)}, {"ml.prediction.id": identifier})
        for identifier, row in zip(ids, rows, strict=True)
    ]
    of_table = decode_logs(request(predictions(table)), TIME_NS)
    assert of_table.message == ""
    assert actual(of_table).batches == actual(decode_logs(request(*records), TIME_NS)).batches


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([1_500_000_000], pa.timestamp("ns")), "1970-01-01T00:00:01.500000"),
        (pa.array([10**9], pa.timestamp("ns", "UTC")), "1970-01-01T00:00:01+00:00"),
        (pa.array([-1], pa.timestamp("us")), "1969-12-31T23:59:59.999999"),
        (pa.array([0], pa.timestamp("ms", "Europe/Vienna")), "1970-01-01T01:00:00+01:00"),
        (pa.array([250], pa.timestamp("ms", "America/St_Johns")), "1969-12-31T20:30:00.250000-03:30"),
        (pa.array([0], pa.timestamp("s", "Nowhere/Land")), "1970-01-01T00:00:00+00:00"),
        (pa.array([0], pa.timestamp("s", "../../../dev/zero")), "1970-01-01T00:00:00+00:00"),
        (pa.array([2**62], pa.timestamp("s")), f"<value out of range: {2**62}>"),
        (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
        (pa.array([-1], pa.date32()), "1969-12-31"),
        (pa.array([Decimal("1E-7")]), "1E-7"),
        (pa.array([b"0" * 16], pa.uuid()), "30303030-3030-3030-3030-303030303030"),
        (
            pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
            "MonthDayNano(months=1, days=2, nanoseconds=3)",
        ),
        (pa.UnionArray.from_sparse(pa.array([1], pa.int8()), [pa.array([1]), pa.array([2.5])]), "2.5"),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else given[:12],
)
def test_times_and_what_has_no_kind_become_text(array: pa.Array, text: str) -> None:
    """Times are ISO 8601 as the SDK writes them, in UTC where the zone is unknown; others as Python's str."""
    assert cells(array) == {((), pa.string()): [text]}


def test_integers_beyond_64_bits_become_text() -> None:
    """An unsigned integer that int64 cannot hold is text beside integers, and makes its list JSON."""
    numbers = pa.array([1, 2**64 - 1, None], pa.uint64())
    assert cells(numbers) == {
        ((), pa.int64()): [1, None, None],
        ((), pa.string()): [None, str(2**64 - 1), None],
    }
    assert cells(pa.array([[1, 2**64 - 1]], pa.list_(pa.uint64()))) == {
        ((), UNTYPED): [f'[1, "{2**64 - 1}"]']
    }


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float32())])
def test_lists_keep_the_type_that_the_table_says(kind: pa.DataType) -> None:
    """Empty lists, and lists of nulls, are of their column's kind."""
    assert cells(pa.array([[], [None], None, [0.5]], kind)) == {
        ((), pa.list_(pa.float64())): [[], [None], None, [0.5]]
    }


def test_embeddings_become_lists_of_doubles() -> None:
    """A fixed-size list, and a tensor of fixed shape, are lists."""
    vectors = pa.array([[0.5, 1.5], None, [2.5, None]], pa.list_(pa.float32(), 2))
    assert cells(vectors) == {((), pa.list_(pa.float64())): [[0.5, 1.5], None, [2.5, None]]}
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), vectors)
    assert cells(tensor) == {((), pa.list_(pa.float64())): [[0.5, 1.5], None, [2.5, None]]}


def test_values_without_a_column_type_are_json() -> None:
    """Lists of nulls only, lists in lists, lists of structs and empty structs and maps are JSON text."""
    assert cells(pa.array([[], [None]], pa.list_(pa.null()))) == {((), UNTYPED): ["[]", "[null]"]}
    assert cells(pa.array([[[1], []], None])) == {((), UNTYPED): ["[[1], []]", None]}
    moments = pa.array([[{"at": datetime(2026, 1, 1)}]])
    assert cells(moments) == {((), UNTYPED): ['[{"at": "2026-01-01T00:00:00"}]']}
    assert cells(pa.array([{}, None], pa.struct([]))) == {((), UNTYPED): ["{}", None]}
    assert cells(pa.array([[], None], pa.map_(pa.string(), pa.int8()))) == {((), UNTYPED): ["{}", None]}


def test_columns_of_nulls_are_no_fields() -> None:
    """What is null in every row has no column, whatever its type."""
    for kind in (
        pa.null(),
        pa.int32(),
        pa.list_(pa.string()),
        pa.map_(pa.string(), pa.string()),
        pa.date32(),
    ):
        assert cells(pa.nulls(2, kind)) == {}


def test_maps_have_text_as_keys_and_the_last_of_a_repeated_one() -> None:
    """Keys of other types become text; a key that comes again replaces the one before, even by null."""
    numbered = pa.array(
        [[(1, True), (2, False)], None, [(1, False), (1, None)]], pa.map_(pa.int32(), pa.bool_())
    )
    assert cells(numbered) == {
        (("1",), pa.bool_()): [True, None, None],
        (("2",), pa.bool_()): [False, None, None],
    }


def test_of_a_repeated_field_the_last_one_counts() -> None:
    """A struct with two fields of one name has the values of the second."""
    twice = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["x", None])], ["f", "f"])
    assert cells(twice) == {(("f",), pa.string()): ["x", None]}


def test_maps_that_share_few_keys_are_read_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where columns for all keys would be mostly empty, fields over the limit of cells go to extra."""
    maps = pa.array([[("a", 1)], [("b", 2), ("b", 3)], [("a", 4)]], pa.map_(pa.string(), pa.int8()))
    body = request(predictions(pa.table({"inputs": maps})))
    monkeypatch.setattr(arrow, "MAX_CELLS", 5)
    monkeypatch.setattr(fields, "MAX_CELLS", 5)
    (batch,) = decode_logs(body, TIME_NS).batches
    assert {field.path: field.values.to_pylist() for field in batch.fields} == {("inputs", "a"): [1, None, 4]}
    assert batch.rows["extra"].storage.to_pylist() == [None, '{"inputs.b": 3}', None]


def test_a_table_of_more_cells_than_there_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times fields are bounded."""
    monkeypatch.setattr(fields, "MAX_CELLS", 5)
    decoded = decode_logs(request(predictions(pa.table({"inputs": [{"a": 1, "b": 2}] * 3}))), TIME_NS)
    assert decoded.message.endswith("there are more than 5 values: send fewer rows at once.")


@pytest.mark.parametrize(
    "array",
    [
        pa.RunEndEncodedArray.from_arrays([2], ["a"]),
        pa.array([[1], [2]], pa.list_view(pa.int8())),
        pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([[1]])),
    ],
    ids=lambda array: str(array.type)[:20],
)
def test_types_that_repeat_values_without_bound_are_refused(array: pa.Array) -> None:
    """Where few bytes can stand for very many values, the record is rejected and the column named."""
    table = pa.table({"inputs": pa.StructArray.from_arrays([array], ["a"])})
    decoded = decode_logs(request(predictions(table)), TIME_NS)
    assert decoded.rejected == 1
    assert f"its column 'inputs': the type {array.type} is not read: send plain arrays" in decoded.message
