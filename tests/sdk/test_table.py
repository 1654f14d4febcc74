"""Calls with tables: what is copied is what pyarrow's own reader gives back, row by row."""

import enum
import math
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing._rows import (
    MAX_STREAM_BYTES,
    STREAM_BYTES,
    STREAM_ROWS,
    copy_inputs,
    copy_output,
    label_columns,
    new_prediction_ids,
    streams,
)
from lapwing._table import has_table, is_table

AMSTERDAM = timezone(timedelta(hours=2))
NOON = datetime(2026, 3, 1, 12)
TIME_NS = 1_795_417_426_321_042_154


class Color(enum.Enum):
    """An enum, which Arrow does not know."""

    RED = "red"


@dataclass
class Point:
    """A dataclass, which Arrow does not know."""

    x: int


class Unreadable:
    """An object that cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Tensor:
    """What torch's tensors look like; NumPy cannot have this one without a copy to the CPU."""

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = rows

    @property
    def ndim(self) -> int:
        return 2

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._rows), len(self._rows[0])

    def __len__(self) -> int:
        return len(self._rows)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.__array__()

    def tolist(self) -> list[list[float]]:
        return self._rows


def sent(columns: Mapping[str, pa.Array | None]) -> pa.Table:
    """Read the streams of columns with pyarrow's own reader."""
    tables = []
    for rows, stream in streams(columns):
        table = pa.ipc.open_stream(stream).read_all()
        assert table.num_rows == rows
        tables.append(table)
    return pa.concat_tables(tables)


def inputs(arguments: Mapping[str, object], **options: Any) -> list[dict[str, Any]]:
    """Give the inputs of a call as a receiver reads them."""
    copied = copy_inputs(arguments, **options)
    assert copied is not None
    rows: list[dict[str, Any]] = sent({"inputs": copied.columns})["inputs"].to_pylist()
    assert len(rows) == copied.rows
    return rows


def values(column: object) -> list[Any]:
    """Give the values of one column, as a receiver reads them."""
    table = pd.DataFrame({"n": range(len(column))})  # type: ignore[arg-type]
    return [row["column"] for row in inputs({"table": table, "column": column})]


def output(result: object, rows: int, **options: Any) -> list[dict[str, Any]] | None:
    """Give the output of a call as a receiver reads it."""
    copied = copy_output(result, rows, **options)
    return None if copied is None else sent({"output": copied})["output"].to_pylist()


def kind(column: object) -> pa.DataType:
    """Give the type as which a column travels."""
    copied = copy_inputs({"table": pd.DataFrame({"n": range(len(column))}), "column": column})  # type: ignore[arg-type]
    assert copied is not None
    assert copied.columns is not None
    return copied.columns.type.field("column").type


def comparable(rows: Iterable[Mapping[str, Any]], *, nan_is_null: bool = False) -> list[dict[str, Any]]:
    """Make rows comparable by ==, in which NaN equals nothing."""

    def value(item: Any) -> Any:
        if isinstance(item, float) and math.isnan(item):
            return None if nan_is_null else "NaN"
        return item

    return [{name: value(item) for name, item in row.items()} for row in rows]


# What frames are made of: per kind of column, values that all libraries hold.
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1))
KINDS: Sequence[st.SearchStrategy[Any]] = (
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    TIMES,
    st.timedeltas(timedelta(-9999), timedelta(9999)),
    st.lists(st.integers(0, 9), max_size=3),
)


@st.composite
def columns(draw: st.DrawFn, *, missing: bool) -> dict[str, list[Any]]:
    """Draw the columns of a frame, each of one kind, all of one length."""
    names = draw(
        st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6, unique=True)
    )
    rows = draw(st.integers(1, 8))
    kinds = [draw(st.sampled_from(KINDS)) for _ in names]
    items = [st.none() | each if missing else each for each in kinds]
    return {
        name: draw(st.lists(item, min_size=rows, max_size=rows))
        for name, item in zip(names, items, strict=True)
    }


@given(columns(missing=False))
def test_pandas_frames_come_back_as_their_own_records(data: dict[str, list[Any]]) -> None:
    """A pandas frame of any types comes back as pandas lists its rows, NaN as null."""
    frame = pd.DataFrame(data)
    expected = comparable(frame.to_dict("records"), nan_is_null=True)
    assert comparable(inputs({"frame": frame})) == expected


@given(columns(missing=True))
def test_pandas_frames_of_objects_come_back(data: dict[str, list[Any]]) -> None:
    """A pandas frame whose columns are Python objects with missing values comes back as these objects."""
    frame = pd.DataFrame({name: pd.Series(items, dtype=object) for name, items in data.items()})
    expected = comparable(frame.to_dict("records"), nan_is_null=True)
    assert comparable(inputs({"frame": frame})) == expected


@given(columns(missing=True))
def test_polars_frames_come_back_as_their_own_rows(data: dict[str, list[Any]]) -> None:
    """A polars frame of any types comes back as polars lists its rows."""
    frame = pl.DataFrame(data, strict=False)
    assert comparable(inputs({"frame": frame})) == comparable(frame.rows(named=True))


@given(columns(missing=True), st.booleans())
def test_pyarrow_tables_come_back_as_their_own_rows(data: dict[str, list[Any]], as_batch: bool) -> None:
    """A pyarrow table or record batch comes back as pyarrow lists its rows."""
    table: Any = pa.RecordBatch.from_pydict(data) if as_batch else pa.table(data)
    assert comparable(inputs({"table": table})) == comparable(table.to_pylist())


@given(columns(missing=True))
def test_lists_of_dicts_come_back(data: dict[str, list[Any]]) -> None:
    """A list of dicts comes back as itself."""
    rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    assert comparable(inputs({"rows": rows})) == comparable(rows)


@given(st.lists(st.lists(st.floats(), min_size=3, max_size=3), min_size=1))
def test_arrays_come_back(rows: list[list[float]]) -> None:
    """A 2-D array comes back with its columns as x0, x1, …, NaN as NaN."""
    expected = [dict(zip(("x0", "x1", "x2"), row, strict=True)) for row in rows]
    assert comparable(inputs({"x": np.array(rows)})) == comparable(expected)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": [1]}),
        pd.DataFrame(),
        type("GeoFrame", (pd.DataFrame,), {})({"a": [1]}),
        pl.DataFrame({"a": [1]}),
        pa.table({"a": [1]}),
        pa.record_batch({"a": [1]}),
        np.zeros((2, 2)),
        Tensor([[1.0]]),
        [{"a": 1}, {}],
    ],
)
def test_tables_are_recognised(table: object) -> None:
    """Frames, tables, 2-D arrays and tensors, and lists of dicts are tables, among other arguments, too."""
    assert is_table(table)
    assert has_table([1, "text", table])


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        "text",
        {"a": 1},
        ({"a": 1},),
        [],
        [1, 2],
        [{"a": 1}, 2],
        np.float64(1),
        np.zeros(3),
        np.zeros((2, 2, 2)),
        pd.Series([1]),
        pl.Series([1]),
        pl.LazyFrame({"a": [1]}),
        pa.array([1]),
        pd.DataFrame,
        Unreadable(),
    ],
)
def test_other_values_are_no_tables(value: object) -> None:
    """Single values, one-dimensional columns, lazy frames and empty lists are no tables."""
    assert not is_table(value)
    assert not has_table([value])
    assert copy_inputs({"value": value}) is None


def test_a_failing_value_is_no_table() -> None:
    """A value whose own methods fail is no table, and nothing is raised."""

    class Failing:
        __array__ = None

        @property
        def ndim(self) -> int:
            raise RuntimeError("lost")

    assert not is_table(Failing())


def test_recognising_tables_imports_nothing() -> None:
    """Neither the SDK nor a look for tables among ordinary values loads pyarrow, NumPy or pandas."""
    code = (
        "import sys, lapwing; from lapwing._table import has_table\n"
        "assert not has_table([1, 'a', [1.0], {'a': 1}, object()])\n"
        "assert not {'numpy', 'pandas', 'polars', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("missing", ["pyarrow", "numpy"])
def test_missing_libraries_are_named(missing: str) -> None:
    """Without pyarrow or NumPy the error says what to install."""
    code = f"import sys; sys.modules[{missing!r}] = None; import lapwing._rows"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: DataFrame calls need pyarrow: pip install 'lapwing[tables]'" in done.stderr


def test_frames_changed_afterwards_keep_their_values() -> None:
    """What a function does to its table in place does not reach what was copied before."""
    frame = pd.DataFrame(
        {
            "f": [1.5, 2.5],
            "i": [1, 2],
            "b": [True, False],
            "t": [NOON, NOON],
            "s": ["a", "b"],
            "o": pd.Series([1, "x"], dtype=object),
            "n": pd.array([1, None], dtype="Int64"),
            "c": pd.Categorical(["a", "b"]),
            "z": pd.Series([NOON, NOON]).dt.tz_localize("UTC"),
        }
    )
    array, rows = np.array([[1.0, 2.0], [3.0, 4.0]]), [{"a": 1}, {"a": 2}]
    side = np.array([[1, 2], [3, 4]])
    before = (
        copy_inputs({"frame": frame, "side": side}),
        copy_inputs({"x": array}),
        copy_inputs({"rows": rows}),
    )
    expected = [copied and copied.columns.to_pylist() for copied in before if copied and copied.columns]
    with np.nditer([array, side], op_flags=[["readwrite"]] * 2) as cells:
        for each, other in cells:
            each[...] = other[...] = 0
    for name in frame.columns:
        frame.loc[0, name] = frame.loc[1, name]
        frame[name].array[0] = frame[name].array[1]
        if isinstance(frame[name].dtype, np.dtype):
            buffer = frame[name].to_numpy()
            buffer.flags.writeable = True
            buffer[0] = buffer[1]
    frame["n"].array._data[0] = 77
    rows[0]["a"] = 9
    assert [
        copied and copied.columns.to_pylist() for copied in before if copied and copied.columns
    ] == expected


def test_memory_is_not_shared() -> None:
    """Neither the numbers nor the masks of NumPy and pandas are those that Arrow holds afterwards."""
    masked = pd.array([1, 2], dtype="Int64")
    frame = pd.DataFrame({"f": [1.0, 2.0], "n": masked})
    number, mask = frame["f"].to_numpy(), frame["n"].array._mask
    copied = copy_inputs({"frame": frame})
    number.flags.writeable = True
    number[:] = 9
    mask[:] = True
    assert copied is not None
    assert copied.columns.to_pylist() == [{"f": 1.0, "n": 1}, {"f": 2.0, "n": 2}]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1.5, math.nan]), [1.5, None]),
        (pd.Series([1, pd.NA], dtype="Int64"), [1, None]),
        (pd.Series([True, pd.NA], dtype="boolean"), [True, None]),
        (pd.Series([math.nan, None, pd.NA, pd.NaT, "a"], dtype=object), [None, None, None, None, "a"]),
        (pd.Series([1, pd.NA, "a"], dtype=object), ["1", None, "a"]),
        (pd.Series(["a", None]), ["a", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series([NOON, pd.NaT]), [NOON, None]),
        (pd.Series([None, None], dtype=object), [None, None]),
        (np.ma.array([1.5, 2.5], mask=[False, True]), [1.5, None]),
        (np.array(["2026-03-01T12", "NaT"], "M8[s]"), [NOON, None]),
        (pl.Series([1, None]), [1, None]),
        (pa.array([1, None]), [1, None]),
        (["a", None], ["a", None]),
    ],
)
def test_missing_values_are_nulls(column: object, expected: list[Any]) -> None:
    """What a library calls missing is null."""
    assert values(column) == expected


@pytest.mark.parametrize(
    "column", [np.array([math.nan]), pl.Series([math.nan]), pa.array([math.nan]), [math.nan]]
)
def test_nan_stays_nan_outside_pandas(column: object) -> None:
    """NaN is a number, except in pandas."""
    assert math.isnan(values(column)[0])


@pytest.mark.parametrize(
    ("column", "expected", "type_"),
    [
        (pd.Series(["b", "a", None], dtype="category"), ["b", "a", None], pa.string()),
        (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"], pa.string()),
        (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), ["b", "a"], pa.string()),
        (pa.array(["b"]).dictionary_encode(), ["b"], pa.string()),
        (pa.chunked_array([["b"], ["a"]]), ["b", "a"], pa.string()),
        (pa.array([["b"]], pa.large_list(pa.large_string())), [["b"]], pa.list_(pa.string())),
        (pa.array([[1, 2]], pa.list_view(pa.int64())), [[1, 2]], pa.list_(pa.int64())),
        (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), [[1, 2]], pa.list_(pa.int64())),
        (
            pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            [[("k", 1)]],
            pa.map_(pa.string(), pa.int64()),
        ),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), [str(uuid.UUID(int=1))], pa.string()),
        (pa.RunEndEncodedArray.from_arrays([2], ["a"]), ["a", "a"], pa.string()),
        (pa.array([Decimal("1.50")]), ["1.50"], pa.string()),
        ([Decimal("1.50")], ["1.50"], pa.string()),
        (
            pd.Series([NOON]).dt.tz_localize(AMSTERDAM),
            [datetime(2026, 3, 1, 10, tzinfo=UTC)],
            pa.timestamp("us", "UTC"),
        ),
        (pd.Series([timedelta(seconds=1)]), [timedelta(seconds=1)], pa.duration("us")),
        (pd.Series(pd.period_range("2026-03", periods=1, freq="M")), ["2026-03"], pa.string()),
        (pd.Series(pd.interval_range(0, 1)), ["(0, 1]"], pa.string()),
        (pd.Series([1, 0], dtype=pd.SparseDtype(int)), [1, 0], pa.int64()),
        (pd.Series([1, 2], dtype="uint8"), [1, 2], pa.uint8()),
        (pd.Index([1, 2]), [1, 2], pa.int64()),
        (pl.Series([2**100, 1], dtype=pl.Int128), [str(2**100), "1"], pa.string()),
        (pl.Series("\0", [1]), [1], pa.int64()),
        (pl.Series([{"\0": 1}]), [{"\0": 1}], pa.struct([("\0", pa.int64())])),
        (pl.Series([Point(1)], dtype=pl.Object), [{"x": 1}], pa.struct([("x", pa.int64())])),
        (np.array([1.5], np.float16), [1.5], pa.float32()),
        (pa.array([1.5], pa.float16()), [1.5], pa.float32()),
        (np.array([1.5], np.longdouble), [1.5], pa.float64()),
        (np.array([1, 2], ">i4"), [1, 2], pa.int32()),
        (np.array(["a", "bc"]), ["a", "bc"], pa.string()),
        (np.array([b"a"]), [b"a"], pa.binary()),
        (np.array(["2026-03"], "M8[M]"), [datetime(2026, 3, 1)], pa.timestamp("us")),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], pa.list_(pa.int64())),
        (np.zeros((1, 2, 2)), [[[0, 0], [0, 0]]], pa.list_(pa.list_(pa.float64()))),
        (
            np.array([1j]),
            [{"real": 0.0, "imag": 1.0}],
            pa.struct([("real", pa.float64()), ("imag", pa.float64())]),
        ),
        ([1, None, 2.5], [1.0, None, 2.5], pa.float64()),
        ([1, "a", True, [1], {"k": None}], ["1", "a", "true", "[1]", '{"k": null}'], pa.string()),
        ([2**53 + 1, 0.5], [str(2**53 + 1), "0.5"], pa.string()),
        ([2**63, 1], [str(2**63), "1"], pa.string()),
        ([0.5, True], ["0.5", "true"], pa.string()),
        ([b"a", "b"], ["a", "b"], pa.string()),
        ([date(2026, 3, 1), NOON], ["2026-03-01", "2026-03-01T12:00:00"], pa.string()),
        ([NOON, 1], ["2026-03-01T12:00:00", "1"], pa.string()),
        ([timedelta(1), 1], [86400.0, 1.0], pa.float64()),
        ([time(12), 1], ["12:00:00", "1"], pa.string()),
        ([date(2026, 3, 1)], [date(2026, 3, 1)], pa.date32()),
        ([Color.RED], ["red"], pa.string()),
        ([Point(1), Point(2)], [{"x": 1}, {"x": 2}], pa.struct([("x", pa.int64())])),
        ([{1: "a"}], [{"1": "a"}], pa.struct([("1", pa.string())])),
        ([{"a": 1}, {"b": [1.5]}], [{"a": 1, "b": None}, {"a": None, "b": [1.5]}], None),
        ([[1], [1, "a"]], ["[1]", '[1, "a"]'], pa.string()),
        ([np.array([1.0]), np.array([])], [[1.0], []], pa.list_(pa.float64())),
        ([np.zeros((1, 1))], [[[0.0]]], pa.list_(pa.list_(pa.float64()))),
        (["ok", "\udc80"], ["ok", "\\udc80"], pa.string()),
        ([["\udc80"]], [["\\udc80"]], pa.list_(pa.string())),
        ([Unreadable(), 1], ["<Unreadable that cannot be read>", "1"], pa.string()),
        ([uuid.UUID(int=1)], [str(uuid.UUID(int=1))], pa.string()),
    ],
)
def test_odd_columns_have_a_plain_form(
    column: object, expected: list[Any], type_: pa.DataType | None
) -> None:
    """Every column becomes one of few types; what has none of them becomes text, and the call is kept."""
    assert values(column) == expected
    if type_ is not None:
        assert kind(column) == type_


def test_values_that_contain_themselves_become_text() -> None:
    """A value inside itself, at which Arrow would end the process, is text where it comes again."""
    circle: list[Any] = [1]
    circle.append(circle)
    knot: dict[str, Any] = {}
    knot["self"] = knot
    assert values([circle, [2]]) == ['[1, "[1, [...]]"]', "[2]"]
    assert values([knot]) == [{"self": "{'self': {...}}"}]


def test_open_keys_become_text() -> None:
    """Dicts with a key of its own in every row are JSON, not a struct with a field per row."""
    counts = [{f"user{n}": n} for n in range(1001)]
    assert values(counts)[7] == '{"user7": 7}'
    assert inputs({"rows": counts})[7] == {"rows": '{"user7": 7}'}
    assert len(inputs({"rows": counts[:1000]})[7]) == 1000


def test_list_rows_may_lack_keys() -> None:
    """A key that a dict lacks is null in its row."""
    assert inputs({"rows": [{"a": 1}, {"b": "x"}]}) == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_column_names_become_different_texts() -> None:
    """Names of any type become text; a name that comes again, also as another argument's, gets a number."""
    frame = pd.DataFrame([[1, 2, 3, 4, 5, 6]], columns=["a", "a", 0, ("b", 1), "a~2", "\udc80"])
    (row,) = inputs({"frame": frame, "a": 7, "0": 8})
    assert row == {"a": 1, "a~2": 2, "0": 3, "('b', 1)": 4, "a~2~2": 5, "\\udc80": 6, "a~3": 7, "0~2": 8}


def test_the_index_is_left_out() -> None:
    """The index of a pandas frame is no input, whatever it is."""
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "x"], name="key"))
    assert inputs({"frame": frame}) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("names", [["age", "fee"], np.array(["age", "fee"], dtype=object)])
def test_array_columns_take_the_names_given(names: Sequence[str]) -> None:
    """The columns of an array have the given names, if there are as many."""
    array = np.array([[1, 2], [3, 4]], order="F")
    assert inputs({"x": array}, names=names) == [{"age": 1, "fee": 2}, {"age": 3, "fee": 4}]
    assert inputs({"x": array[:, :1]}, names=names) == [{"x0": 1}, {"x0": 3}]


def test_tensors_are_arrays() -> None:
    """A tensor that NumPy cannot read directly is read as a list."""
    tensor = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert inputs({"x": tensor}) == [{"x0": 1.0, "x1": 2.0}, {"x0": 3.0, "x1": 4.0}]
    assert output(tensor, 2) == [{"scores": [1.0, 2.0]}, {"scores": [3.0, 4.0]}]


def test_other_arguments_are_columns_or_constants() -> None:
    """Arrays, Series and lists of one item per row are columns, frames structs, anything else constants."""
    frame = pd.DataFrame({"a": [1, 2]})
    row = inputs(
        {
            "array": np.array([3, 4]),
            "frame": frame,
            "series": pl.Series([5, 6]),
            "items": ["x", "y"],
            "vectors": np.array([[1.0], [2.0]]),
            "pair": (7, 8),
            "flag": True,
            "nothing": None,
            "settings": {"k": [1]},
            "short": [1],
            "other": pd.DataFrame({"b": [9, 10]}),
            "when": NOON,
            "model": Color,
        }
    )[1]
    assert next(iter(row)) == "a", "the table's columns come first"
    assert row == {
        "a": 2,
        "array": 4,
        "series": 6,
        "items": "y",
        "vectors": [2.0],
        "pair": [7, 8],
        "flag": True,
        "nothing": None,
        "settings": {"k": [1]},
        "short": [1],
        "other": {"b": 10},
        "when": NOON,
        "model": row["model"],
    }
    assert "Color" in row["model"]


@pytest.mark.parametrize(
    "large",
    [
        "ä" * 5000,
        list(range(5000)),
        [True] * 5000,
        np.zeros((5000, 2)),
        pd.DataFrame({"a": range(5000)}),
        {"k": "v" * 5000},
        ["v" * 5000],
    ],
)
def test_large_constants_are_cut(large: object) -> None:
    """A value that would be repeated in every row is the beginning of its text, if it is large."""
    rows = inputs({"frame": pd.DataFrame({"a": range(3)}), "large": large})
    assert [row["large"] for row in rows] == [rows[0]["large"]] * 3
    assert len(rows[0]["large"]) == 251
    assert rows[0]["large"].endswith("…")


def without_a(names: Iterable[str]) -> dict[str, str]:
    """Leave out `a`, call `b` something else."""
    return {name: "renamed" if name == "b" else name for name in names if name != "a"}


def test_selection_chooses_and_renames() -> None:
    """A selection sees all names, of columns and arguments; what it leaves out is not even looked at."""
    frame = pd.DataFrame({"a": [Unreadable()], "b": [2], "c": [3]})
    assert inputs({"frame": frame, "d": 4}, select=without_a) == [{"renamed": 2, "c": 3, "d": 4}]
    assert output(frame, 1, select=without_a) == [{"renamed": 2, "c": 3}]
    nothing = copy_inputs({"frame": frame}, select=lambda _: {})
    assert nothing is not None
    assert nothing.columns is None


def test_a_selection_that_renames_to_a_name_twice_loses_nothing() -> None:
    """Two columns renamed to one name are told apart by a number."""
    frame = pd.DataFrame({"a": [1], "b": [2]})
    assert inputs({"frame": frame}, select=lambda names: dict.fromkeys(names, "n")) == [{"n": 1, "n~2": 2}]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([1, 2], [{"value": 1}, {"value": 2}]),
        (np.array([0.5, 1.5]), [{"value": 0.5}, {"value": 1.5}]),
        (pd.Series(["a", "b"]), [{"value": "a"}, {"value": "b"}]),
        (pl.Series([True, False]), [{"value": True}, {"value": False}]),
        (pa.chunked_array([[1], [2]]), [{"value": 1}, {"value": 2}]),
        (np.array([[1], [2]]), [{"value": 1}, {"value": 2}]),
        (np.array([[0.25, 0.75], [1, 0]]), [{"scores": [0.25, 0.75]}, {"scores": [1.0, 0.0]}]),
        ([[1, 2], [3]], [{"value": [1, 2]}, {"value": [3]}]),
        (pd.DataFrame({"score": [0.5, 1.0]}), [{"score": 0.5}, {"score": 1.0}]),
        (pl.DataFrame({"score": [0.5, 1.0]}), [{"score": 0.5}, {"score": 1.0}]),
        ([{"score": 0.5}, {"score": 1.0}], [{"score": 0.5}, {"score": 1.0}]),
        ({"score": np.array([0.5, 1.0]), "by": "m"}, [{"score": 0.5, "by": "m"}, {"score": 1.0, "by": "m"}]),
    ],
)
def test_outputs_have_a_row_per_prediction(result: object, expected: list[dict[str, Any]]) -> None:
    """A result with an item per row gives the output of every row."""
    assert output(result, 2) == expected


@pytest.mark.parametrize(
    "result",
    [
        None,
        1,
        "ab",
        (1, 2),
        {1, 2},
        {"score": 0.5},
        {},
        [1],
        [{"a": 1}],
        np.zeros(3),
        np.zeros((3, 2)),
        np.float64(1),
        pd.DataFrame({"a": [1]}),
        pd.DataFrame(index=[0, 1]),
        Unreadable(),
        iter([1, 2]),
    ],
)
def test_results_of_another_length_are_no_output(result: object) -> None:
    """A result without an item per row gives no output."""
    assert copy_output(result, 2) is None


def test_classes_name_the_scores() -> None:
    """Scores have the names of the classes, where these are known."""
    scores = np.array([[0.25, 0.75]])
    assert output(scores, 1, classes=[False, True]) == [{"scores": {"False": 0.25, "True": 0.75}}]
    assert output(scores, 1, classes=["only"]) == [{"scores": [0.25, 0.75]}]


@given(st.integers(0, 2**62), st.integers(0, 300))
def test_ids_are_uuids_in_order(time_ns: int, rows: int) -> None:
    """The ids of a batch are UUIDv7s of its time, as Python's reader has them, each after the last."""
    ids = new_prediction_ids(time_ns, rows)
    ids.validate(full=True)
    texts = ids.to_pylist()
    assert texts == sorted(set(texts))
    assert len(texts) == rows
    for text in texts:
        read = uuid.UUID(text)
        assert str(read) == text
        assert (read.version, read.variant) == (7, uuid.RFC_4122)
        assert read.int >> 80 == time_ns // 1_000_000
        assert read.int >> 64 & 0xFFF == (time_ns % 1_000_000 << 12) // 1_000_000


def test_batches_of_one_moment_have_different_ids() -> None:
    """Batches made for the very same time share no id."""
    batches = [new_prediction_ids(TIME_NS, 1000).to_pylist() for _ in range(50)]
    assert len(set().union(*batches)) == 50_000


def test_streams_split_by_rows() -> None:
    """Many rows become several streams, each below the limit and compressed, all rows in order."""
    numbers = pa.array(np.arange(1_000_000))
    parts = list(streams({"n": numbers, "nothing": None}))
    assert len(parts) > 1
    tables = [pa.ipc.open_stream(stream).read_all() for _, stream in parts]
    assert [table.num_rows for table in tables] == [rows for rows, _ in parts]
    assert all(table.nbytes <= STREAM_BYTES for table in tables)
    assert pa.concat_tables(tables)["n"].combine_chunks() == numbers
    assert tables[0].column_names == ["n"]
    assert sum(len(stream) for _, stream in parts) < numbers.nbytes


def test_few_long_rows_share_a_stream() -> None:
    """Up to 1000 rows stay together below 8 MiB; beyond it they are parted, and one row is never."""
    long = "x" * (MAX_STREAM_BYTES // STREAM_ROWS - 100)
    assert [rows for rows, _ in streams({"t": pa.array([long] * STREAM_ROWS)})] == [STREAM_ROWS]
    huge = "x" * MAX_STREAM_BYTES
    assert [rows for rows, _ in streams({"t": pa.array([huge, "y", "z"])})] == [1, 2]
    assert [rows for rows, _ in streams({"t": pa.array([huge])})] == [1]


def test_parts_of_nested_columns_hold_their_own_rows() -> None:
    """Structs, lists, texts, bools and nulls come back whole from streams that are parts."""
    rows = [
        {"t": "é" * (n % 7), "l": list(range(n % 5)), "b": n % 3 == 0, "n": None if n % 2 else n}
        for n in range(60_000)
    ]
    copied = copy_inputs({"rows": rows})
    assert copied is not None
    assert len(list(streams({"inputs": copied.columns}))) > 1
    assert sent({"inputs": copied.columns})["inputs"].to_pylist() == rows


@pytest.mark.parametrize(
    "empty",
    [
        pd.DataFrame({"a": []}),
        pl.DataFrame({"a": []}),
        pa.table({"a": pa.chunked_array([], pa.large_string())}),
        np.zeros((0, 2)),
    ],
)
def test_no_rows_give_no_stream(empty: object) -> None:
    """An empty frame is a table without predictions: nothing is sent."""
    copied = copy_inputs({"empty": empty, "constant": 1})
    assert copied is not None
    assert copied.rows == 0
    result = copy_output(empty, 0)
    assert (
        list(
            streams(
                {"prediction_id": new_prediction_ids(TIME_NS, 0), "inputs": copied.columns, "output": result}
            )
        )
        == []
    )


def test_nothing_to_send_gives_no_stream() -> None:
    """Without any column there is nothing to send."""
    assert list(streams({"inputs": None})) == []


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_wide_frames(make: Callable[[dict[str, Any]], Any]) -> None:
    """A frame of 1000 columns comes back whole, and takes no more streams than its size needs."""
    data = {f"c{n}": [n, n + 1] * 50 for n in range(1000)}
    copied = copy_inputs({"frame": make(data)})
    assert copied is not None
    assert len(list(streams({"inputs": copied.columns}))) == 1
    assert (
        sent({"inputs": copied.columns})["inputs"].combine_chunks().field("c999").to_pylist() == data["c999"]
    )


LABELS = pd.DataFrame({"prediction_id": ["p1", "p2"], "label": [True, False]})


def labels(data: Any, beside: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Give labels as a receiver reads them."""
    rows: list[dict[str, Any]] = sent(label_columns(data, beside)).to_pylist()
    return rows


@pytest.mark.parametrize(
    "data", [LABELS, pl.from_pandas(LABELS), pa.Table.from_pandas(LABELS), LABELS.to_dict("records")]
)
def test_labels_come_in_tables(data: object) -> None:
    """Tables of labels are read by the names of their columns."""
    assert labels(data) == [{"prediction_id": "p1", "label": True}, {"prediction_id": "p2", "label": False}]


def test_labels_come_in_columns() -> None:
    """Labels may stand in one column, their ids in another, and what is common as a single value."""
    beside = {"prediction_id": ["p1", "p2"], "request_id": None, "time": NOON, "source": "billing"}
    time = NOON.replace(tzinfo=UTC)
    assert labels(np.array([0.5, 1.5]), beside) == [
        {"label": 0.5, "prediction_id": "p1", "time": time, "source": "billing"},
        {"label": 1.5, "prediction_id": "p2", "time": time, "source": "billing"},
    ]
    assert labels([{"a": 1}], {"request_id": ["r"]}) == [{"label": {"a": 1}, "request_id": "r"}]


def test_columns_of_labels_win_over_common_values() -> None:
    """What is given for all labels holds where the table has no column of that name."""
    data = [{"prediction_id": "p", "label": 1, "source": "bank"}]
    time = NOON.replace(tzinfo=UTC)
    assert labels(data, {"source": "billing", "time": NOON}) == [{**data[0], "time": time}]


def test_other_columns_are_the_label() -> None:
    """Without a column `label`, the columns of other names are one label of several fields."""
    data = [{"request_id": "r", "delay": 7, "reason": "fog"}]
    assert labels(data) == [{"request_id": "r", "label": {"delay": 7, "reason": "fog"}}]


def test_label_ids_become_text() -> None:
    """Ids that are numbers, also with missing values among them, or UUIDs are sent as text."""
    frame = pd.DataFrame(
        {"request_id": [7, None], "prediction_id": [None, uuid.UUID(int=1)], "label": [1, 2]}
    )
    assert [(row["request_id"], row["prediction_id"]) for row in labels(frame)] == [
        ("7", None),
        (None, str(uuid.UUID(int=1))),
    ]


@pytest.mark.parametrize(
    "times",
    [
        [NOON],
        [NOON.replace(tzinfo=UTC)],
        [(NOON + timedelta(hours=2)).replace(tzinfo=AMSTERDAM)],
        [int(NOON.replace(tzinfo=UTC).timestamp()) * 10**9],
        np.array([NOON], "M8[ns]"),
    ],
)
def test_label_times_are_moments(times: object) -> None:
    """Times of labels are datetimes, naive ones in UTC, or nanoseconds."""
    beside = {"prediction_id": ["p"], "time": times, "prediction_time": times}
    (row,) = labels([1], beside)
    assert row["time"] == row["prediction_time"] == NOON.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "beside", "message"),
    [
        ([1, 2], None, "not list"),
        ([{"prediction_id": "p"}], None, "column `label`"),
        ([{"label": 1}], None, "1 of 1 labels have neither"),
        (
            [{"prediction_id": "p", "label": 1}, {"prediction_id": None, "label": 2}],
            None,
            "1 of 2 labels have neither",
        ),
        ([{"prediction_id": "p", "label": 1, "extra": 2}], None, "not extra"),
        ([1, 2], {"prediction_id": ["p"]}, "2 labels need as many values of prediction_id, not 1"),
        ([1, 2], {"prediction_id": "p"}, "2 labels need as many values of prediction_id, not None"),
        ([1], {"prediction_id": [1.5]}, "prediction_id of labels is text, not double"),
        ([1], {"prediction_id": [["p"]]}, "prediction_id of labels is text, not list"),
        ([1], {"prediction_id": ["p"], "time": ["noon"]}, "time of labels is datetimes"),
    ],
)
def test_wrong_labels_are_refused(data: object, beside: Mapping[str, Any] | None, message: str) -> None:
    """Labels that cannot be right are refused with a message that names the column."""
    with pytest.raises(ValueError, match=message):
        label_columns(data, beside)


def test_no_labels_give_no_stream() -> None:
    """An empty table of labels is none."""
    assert list(streams(label_columns(LABELS[:0]))) == []
