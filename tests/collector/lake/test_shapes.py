"""Fields of any kind, brought to columns without losing a value."""

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.batches import Json, predictions
from helpers.faults_plan import examples
from lapwing_collector.lake.shapes import EXACT_INTEGER, MAX_FIELDS, MAX_NAME, Reconciled, reconcile
from lapwing_collector.model.records import Batch

ORDINARY = pa.default_memory_pool()
MEASURED: list[pa.MemoryPool] = []
"""Each lives as long as anything that was made with it."""


def bring_measured(*batches: Batch, known: Any = None) -> tuple[Reconciled, int]:
    """What `bring` does, and the most memory that Arrow held for it."""
    MEASURED.append(pa.proxy_memory_pool(ORDINARY))
    pa.set_memory_pool(MEASURED[-1])
    try:
        return bring(*batches, known=known), MEASURED[-1].max_memory()
    finally:
        pa.set_memory_pool(ORDINARY)


def bring(*batches: Batch, known: Any = None, exact: bool = True, declared: Any = None) -> Reconciled:
    return reconcile(batches, known or {}, stored_integers_exact=lambda _: exact, declared=declared)


def field(reconciled: Reconciled, *path: str) -> list[Any]:
    values = reconciled.rows.column(path[0]).to_pylist()
    for part in path[1:]:
        values = [None if value is None else value[part] for value in values]
    return values


def extras(reconciled: Reconciled) -> list[dict[str, Any]]:
    return [json.loads(text or "{}") for text in reconciled.rows.column("extra").to_pylist()]


def test_types_are_inferred_from_what_arrives() -> None:
    """Each field gets the type of its values, in the order in which fields appear."""
    reconciled = bring(
        predictions(
            "m", [{"inputs.n": 1, "inputs.x": 1.5, "inputs.s": "a", "inputs.b": True, "inputs.e": [0.5, 1.0]}]
        )
    )
    assert reconciled.shape["inputs"] == pa.struct(
        [
            ("n", pa.int64()),
            ("x", pa.float64()),
            ("s", pa.string()),
            ("b", pa.bool_()),
            ("e", pa.list_(pa.float32())),
        ]
    )


def test_integers_and_floats_become_double() -> None:
    """A field that is sometimes whole is a DOUBLE from the start when both kinds come together."""
    reconciled = bring(predictions("m", [{"inputs.x": 1}, {"inputs.x": 2.5}]))
    assert field(reconciled, "inputs", "x") == [1.0, 2.5]
    assert extras(reconciled) == [{}, {}]


def test_bigint_widens_only_while_exact() -> None:
    """A BIGINT column takes floats by becoming DOUBLE, but not when stored integers would lose digits."""
    known = {"inputs": pa.struct([("x", pa.int64())])}
    arriving = predictions("m", [{"inputs.x": 2.5}, {"inputs.x": 3.0}])
    widened = bring(arriving, known=known, exact=True)
    assert widened.shape["inputs"].field("x").type == pa.float64()
    kept = bring(arriving, known=known, exact=False)
    assert kept.shape == known
    assert field(kept, "inputs", "x") == [None, 3]
    assert extras(kept) == [{"inputs.x": 2.5}, {}]


def test_integers_beyond_double_go_to_extra() -> None:
    """An integer that a DOUBLE column would round is kept whole in `extra`."""
    known = {"inputs": pa.struct([("x", pa.float64())])}
    reconciled = bring(predictions("m", [{"inputs.x": EXACT_INTEGER + 1}, {"inputs.x": 7}]), known=known)
    assert field(reconciled, "inputs", "x") == [None, 7.0]
    assert extras(reconciled) == [{"inputs.x": EXACT_INTEGER + 1}, {}]


def test_text_where_numbers_were_goes_to_extra() -> None:
    """Fault 24: text does not turn a number column into text; it waits in `extra`."""
    known = {"inputs": pa.struct([("x", pa.int64())])}
    reconciled = bring(predictions("m", [{"inputs.x": "unknown"}, {"inputs.x": 4}]), known=known)
    assert field(reconciled, "inputs", "x") == [None, 4]
    assert extras(reconciled) == [{"inputs.x": "unknown"}, {}]


def test_case_variants_and_empty_names_go_to_extra() -> None:
    """SQL cannot tell `Age` from `age`, so the first spelling is the column."""
    reconciled = bring(predictions("m", [{"inputs.age": 1, "inputs.Age": 2, "inputs.": 3}]))
    assert reconciled.shape["inputs"] == pa.struct([("age", pa.int64())])
    assert extras(reconciled) == [{"inputs.Age": 2, "inputs.": 3}]


def test_names_that_sql_does_not_take_go_to_extra() -> None:
    """A name with a NUL, or longer than a column's may be, keeps its value in `extra`."""
    odd = {f"inputs.{name}": 1 for name in ("a\0b", "x" * (MAX_NAME + 1))}
    reconciled = bring(predictions("m", [{**odd, f"inputs.{'y' * MAX_NAME}": 1}]))
    assert reconciled.shape["inputs"] == pa.struct([("y" * MAX_NAME, pa.int64())])
    assert extras(reconciled) == [odd]


def test_a_field_is_either_a_value_or_a_group() -> None:
    """Where a field was a value first, fields inside it go to `extra`, and the other way round."""
    first = bring(predictions("m", [{"inputs.user": 1}]))
    inside = bring(predictions("m", [{"inputs.user.age": 2}]), known=first.shape)
    assert extras(inside) == [{"inputs.user.age": 2}]
    group = bring(predictions("m", [{"inputs.user.age": 2}]))
    around = bring(predictions("m", [{"inputs.user": 1}]), known=group.shape)
    assert extras(around) == [{"inputs.user": 1}]
    assert field(around, "inputs") == [None]


def test_columns_do_not_explode() -> None:
    """Fault 24: beyond the cap new fields go to `extra`, and known ones go on."""
    many = bring(predictions("m", [{f"inputs.f{i}": i for i in range(MAX_FIELDS + 5)}]))
    assert many.shape["inputs"].num_fields == MAX_FIELDS
    assert len(extras(many)[0]) == 5
    again = bring(predictions("m", [{"inputs.f0": 1, "inputs.new": 2}]), known=many.shape)
    assert extras(again) == [{"inputs.new": 2}]


def test_thousands_of_names_take_memory_for_columns_only() -> None:
    """What fields beyond the cap cost depends on their values, not on the rows of others; none is lost."""
    batches = [
        predictions("m", [{f"inputs.f{batch}_{i}": i for i in range(10)}] * 4) for batch in range(1_000)
    ]
    reconciled, most_bytes = bring_measured(*batches)
    column_bytes = 4_000 * 8
    assert most_bytes < 3 * MAX_FIELDS * column_bytes  # 10 000 names as columns would be 320 MB
    in_columns = sum(
        int(pc.sum(child.is_valid()).as_py())
        for child in reconciled.rows.column("inputs").combine_chunks().flatten()
    )
    kept = extras(reconciled)
    assert (in_columns, sum(map(len, kept))) == (4 * MAX_FIELDS, 4 * (10_000 - MAX_FIELDS))
    assert kept[-1] == {f"inputs.f999_{i}": i for i in range(10)}


def test_columns_without_values_take_no_memory_each() -> None:
    """Rows of a table with thousands of columns cost what their own fields do."""
    known = {"inputs": pa.struct([(f"f{number}", pa.float64()) for number in range(MAX_FIELDS)])}
    batch = predictions("m", [{"inputs.f7": 0.5}] * 5_000)
    reconciled, most_bytes = bring_measured(batch, known=known)
    assert most_bytes < 8 << 20  # all columns by themselves would be 80 MB
    assert reconciled.shape == known
    assert reconciled.rows.column("inputs").combine_chunks().field("f7").to_pylist() == [0.5] * 5_000
    assert reconciled.rows.column("inputs").combine_chunks().field("f8").null_count == 5_000


def test_extra_of_the_record_is_kept() -> None:
    """What decoding put into `extra` stays beside what the columns could not take."""
    reconciled = bring(predictions("m", [{"extra": '{"exception.stacktrace": "…"}', "inputs.": 1}]))
    assert extras(reconciled) == [{"exception.stacktrace": "…", "inputs.": 1}]


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.binary(max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3),
    st.lists(st.floats(width=32), min_size=1, max_size=3),
    st.lists(st.text(max_size=2), min_size=1, max_size=2),
    st.sampled_from([Json('[1, "a"]'), Json("{}")]),
)
fields = st.sampled_from(
    ["inputs.a", "inputs.A", "inputs.b", "inputs.b.c", "inputs.b.d", "output.value", "inputs."]
)
rows = st.dictionaries(fields, scalars, max_size=4)


@settings(deadline=None, max_examples=examples(75))
@given(st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_value_is_ever_lost(flushes: list[list[dict[str, Any]]]) -> None:
    """Whatever arrives: each value is in its column, equal, or in `extra`, and nothing is invented."""
    shape: dict[str, pa.DataType] = {}
    for logged in flushes:
        reconciled = bring(predictions("m", logged), known=shape)
        for root, kind in shape.items():
            assert set(names(kind)) <= set(names(reconciled.shape[root])), "no column disappears"
        shape = reconciled.shape
        stored = reconciled.rows.to_pylist()
        for row, kept, extra in zip(logged, stored, extras(reconciled), strict=True):
            for path, value in row.items():
                column = at(kept, path.split("."))
                if column is None:
                    assert same(extra[path], json.loads(value) if isinstance(value, Json) else value)
                else:
                    assert path not in extra
                    assert same(column, value)
            assert set(extra) <= set(row)
            assert leaves(kept) <= len(row)


def names(kind: pa.DataType) -> list[str]:
    return [f.name for f in kind] if pa.types.is_struct(kind) else []


def at(row: Any, path: list[str]) -> Any:
    for part in path:
        row = row.get(part) if isinstance(row, dict) else None
    return None if isinstance(row, dict) else row


def leaves(row: dict[str, Any]) -> int:
    def count(value: Any) -> int:
        if isinstance(value, dict):
            return sum(count(child) for child in value.values())
        return value is not None

    return sum(count(row.get(root)) for root in ("inputs", "output"))


def same(stored: Any, logged: Any) -> bool:
    """Equal as the contract has it: numbers by value, text of numbers as JSON, bytes in base64."""
    if isinstance(stored, str) and isinstance(logged, bytes):
        return True
    if isinstance(logged, list):
        return len(stored) == len(logged) and all(same(s, v) for s, v in zip(stored, logged, strict=True))
    if isinstance(logged, float) and isinstance(stored, str):
        return float(stored) == logged or math.isnan(logged)
    if isinstance(logged, float) and math.isnan(logged):
        return math.isnan(stored)
    if isinstance(stored, str) and isinstance(logged, bool | int) and not isinstance(logged, str):
        return stored == json.dumps(logged)
    return bool(stored == logged)


def test_a_declared_type_wins_over_what_arrives() -> None:
    """A field that is declared as text is one from its first number on; what does not fit goes to `extra`."""
    declared = {("inputs", "zip"): pa.string(), ("inputs", "n"): pa.int64(), ("inputs", "never"): pa.bool_()}
    first = bring(predictions("m", [{"inputs.zip": 1011, "inputs.n": 1.5, "inputs.x": 1}]), declared=declared)
    assert first.shape["inputs"] == pa.struct([("zip", pa.string()), ("n", pa.int64()), ("x", pa.int64())])
    assert (field(first, "inputs", "zip"), field(first, "inputs", "n")) == (["1011"], [None])
    assert extras(first) == [{"inputs.n": 1.5}]
    later = bring(predictions("m", [{"inputs.n": 0.5}]), known=first.shape, declared=declared)
    assert later.shape == first.shape  # a declared integer is not widened
    assert extras(later) == [{"inputs.n": 0.5}]


MAPS = {("output", "scores"): pa.map_(pa.string(), pa.float64())}


def test_a_declared_map_has_no_column_per_key() -> None:
    """Keys of a map that is declared as one stay keys, also later; what fits none of it goes to `extra`."""
    first = predictions("m", [{"output.scores.cat": 0.5, "output.scores.dog": 1}, {"output.value": "cat"}])
    second = predictions(
        "m", [{"output.scores.Cat": 2**60}, {"output.scores.a.b": 0.5, "output.scores.x": 0.25}]
    )
    third = predictions("m", [{"output.scores": 0.75}, {"output.scores.l": Json("[1, null]")}])
    found = bring(first, second, third, declared=MAPS)
    assert found.shape["output"] == pa.struct([("scores", MAPS["output", "scores"]), ("value", pa.string())])
    assert field(found, "output", "scores") == [
        [("cat", 0.5), ("dog", 1.0)],
        None,
        None,
        [("x", 0.25)],
        None,
        None,
    ]
    assert extras(found)[2:] == [
        {"output.scores.Cat": 2**60},
        {"output.scores.a.b": 0.5},
        {"output.scores": 0.75},
        {"output.scores.l": [1, None]},
    ]
    later = bring(predictions("m", [{"output.scores.new": 1.5}]), known=found.shape)
    assert (later.shape, field(later, "output", "scores")) == (found.shape, [[("new", 1.5)]])


def test_a_map_that_came_as_fields_before_it_was_declared_stays_fields() -> None:
    """A column never changes what it held: a declaration that comes too late does not count."""
    found = bring(predictions("m", [{"output.scores.cat": 0.5}]))
    later = bring(predictions("m", [{"output.scores.dog": 0.5}]), known=found.shape, declared=MAPS)
    assert later.shape["output"].field("scores").type == pa.struct(
        [("cat", pa.float64()), ("dog", pa.float64())]
    )
