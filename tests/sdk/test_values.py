"""Values of Python and of other libraries become what the page of values says, and never fail."""

import enum
import re
import sys
import threading
from collections import OrderedDict, UserDict, UserList, UserString, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import scipy.sparse
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from helpers.contract_docs import ROOT, blocks, table
from lapwing import _values
from lapwing._encode import encode_value
from lapwing._values import as_text, plain, reset, text_counts
from lapwing.testing import decode_value

CARRIED = (type(None), bool, int, float, str, bytes, list, dict)
"""What OTLP can carry; the very classes, none derived from them."""


@pytest.fixture(autouse=True)
def _counted_from_zero() -> Iterator[None]:
    _values.reset()
    yield
    _values.reset()


def deep(value: Any) -> Any:
    """Turn a value and all that lies in it."""
    known = plain(value)
    assert type(known) in CARRIED
    if type(known) is dict:
        return {str(key): deep(item) for key, item in known.items()}
    return [deep(item) for item in known] if type(known) is list else known


class Tensor:
    """What torch's tensors do where gradients and devices are concerned, on a NumPy array."""

    def __init__(self, array: Any, *, requires_grad: bool = False, device: str = "cpu") -> None:
        self._array, self._requires_grad, self._device = np.asarray(array), requires_grad, device

    def detach(self) -> "Tensor":
        return Tensor(self._array, device=self._device)

    def cpu(self) -> "Tensor":
        return Tensor(self._array, requires_grad=self._requires_grad)

    def tolist(self) -> Any:
        if self._requires_grad or self._device != "cpu":
            raise RuntimeError("detach() and cpu() first")
        return self._array.tolist()

    def __array__(self) -> Any:
        raise TypeError("got unsupported ScalarType BFloat16")


class EagerTensor:
    """What TensorFlow's tensors do: they have no `tolist`."""

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)
        self.shape = self._array.shape

    shape: Any = None

    def numpy(self) -> Any:
        return self._array


class Listed:
    """Like arrays of libraries that follow NumPy: known by `tolist` alone."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def tolist(self) -> Any:
        return self._content


TENSORS = {
    "torch": SimpleNamespace(tensor=Tensor),
    "tf": SimpleNamespace(constant=EagerTensor),
    "jnp": SimpleNamespace(arange=lambda n: Listed(list(range(n)))),
}
TABLES = ("Python", "Fields", "NumPy", "pandas", "polars, pyarrow", "Tensor")
ROWS = [row for first_column in TABLES for row in table("docs/values.md", first_column)]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the blocks of code on the page define, and libraries that are not installed."""
    defined: dict[str, Any] = dict(TENSORS, __name__="page")
    for block in blocks("python"):
        if block.page == "docs/values.md":
            exec(block.code, defined)
    return defined


@pytest.mark.parametrize(("kind", "example", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_the_page_tells_the_truth(kind: str, example: str, expected: str, names: dict[str, Any]) -> None:
    """Each example on the page of values becomes what stands beside it, and is not counted as unknown."""
    found = deep(eval(example.strip("`"), names))
    assert repr(found) == repr(eval(expected.strip("`"), names))
    assert text_counts() == {}


def test_all_tables_of_the_page_are_tested() -> None:
    """No table on the page is left out of the test above."""
    text = (ROOT / "docs/values.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (.+?) \| Example \|", text, flags=re.MULTILINE) == list(TABLES)


class Word(str):
    """Text of a class of its own, whose text is of that class again."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Count(int):
    """A number of a class of its own."""


class Share(float):
    """Another one."""


class Blob(bytes):
    """Bytes of a class of its own."""


class Level(enum.IntEnum):
    """An enum that is an integer."""

    HIGH = 3


class Plan(enum.StrEnum):
    """An enum that is text."""

    PRO = "pro"


class Rights(enum.Flag):
    """Bits."""

    READ = 1
    WRITE = 2


class Spot(enum.Enum):
    """An enum whose values are no plain values."""

    HOME = (1, Level.HIGH)


@dataclass
class Parent:
    """A dataclass with what is no field."""

    name: str
    shared: ClassVar[int] = 1
    late: int = field(init=False)


@dataclass
class Empty:
    """A dataclass without a field."""


@dataclass(slots=True)
class Child(Parent):
    """One with slots and a parent."""

    age: int = 0


@dataclass
class Output(OrderedDict[str, Any]):
    """A mapping that is a dataclass."""

    logits: Any = None


class Account(pydantic.BaseModel):
    """A model with what is no field."""

    id: int
    old: int = pydantic.Field(1, deprecated="use new")
    token: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    _private: int = 2

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.id * 2


@attrs.define
class Leg:
    """An attrs class with slots, a private name and an alias."""

    _origin: str
    miles: float = attrs.field(default=1.0, alias="distance")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Word("a"), "a"),
        (UserString("a"), "a"),
        (Count(3), 3),
        (Count(2**63), str(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (-(2**63), -(2**63)),
        (Share(0.5), 0.5),
        (Blob(b"a"), b"a"),
        (memoryview(b"abcd")[::2], b"ac"),
        (Level.HIGH, 3),
        (Plan.PRO, "pro"),
        (Rights.READ | Rights.WRITE, 3),
        (Spot.HOME, [1, 3]),
        (Spot, f"{__name__}.Spot"),
        (MappingProxyType({1: Plan.PRO}), {"1": "pro"}),
        (UserDict({"a": 1}), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (UserList([1]), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({1, None}, None),
        (frozenset("ba"), ["a", "b"]),
        (Empty(), {}),
        (Parent("x"), {"name": "x"}),
        (Child("x", age=3), {"name": "x", "age": 3}),
        (Output(logits=[1]), {"logits": [1]}),
        (Account(id=1), {"id": 1, "old": 1, "token": "**********"}),
        (Account.model_construct(id=1), {"id": 1, "old": 1, "token": "**********"}),
        (Leg(origin="JFK"), {"_origin": "JFK", "miles": 1.0}),
        (len, "len"),
        ([].append, "list.append"),
        (KeyError("x"), "'x'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_python_values(value: Any, expected: Any) -> None:
    """Classes derived from the known ones are turned as these are, and give the plain classes."""
    if expected is None:
        expected = list(value)  # in whatever order
    assert repr(deep(value)) == repr(expected)
    assert text_counts() == {}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pydantic's version 1 does not work there")
def test_models_of_pydantics_first_version() -> None:
    """Models of pydantic 1 become their fields and extras, too."""
    from pydantic import v1

    class Old(v1.BaseModel):
        age: int

        class Config:
            extra = "allow"

    assert deep(Old(age=1, plan="pro")) == {"age": 1, "plan": "pro"}


@given(
    npst.arrays(
        npst.scalar_dtypes() | npst.nested_dtypes(), npst.array_shapes(min_dims=0, min_side=0, max_dims=3)
    )
)
def test_arrays_of_every_type(array: Any) -> None:
    """An array of any type becomes lists of its shape with the values that its scalars become."""
    assume(not array.dtype.str.endswith(("m8[Y]", "m8[M]")))  # of no certain length, so text
    found = deep(array)
    if array.ndim == 0:
        np.testing.assert_equal(found, deep(array[()]))
        return
    listed = np.empty(array.shape, dtype=object)
    for place in np.ndindex(array.shape):
        listed[place] = deep(array[place])
    np.testing.assert_equal(found, listed.tolist())


@given(npst.from_dtype(np.dtype("datetime64[us]"), min_value=-(2**55), max_value=2**55))
def test_moments_can_be_read_back(moment: np.datetime64) -> None:
    """The text of a datetime64 is the one that gives it again, and that of NaT is null."""
    text = deep(moment)
    assert (text is None) == np.isnat(moment)
    np.testing.assert_equal(np.datetime64("NaT" if text is None else text, "us"), moment)


@given(st.timedeltas(timedelta(days=-100_000_000), timedelta(days=100_000_000)))
def test_spans_are_seconds(span: Any) -> None:
    """Spans are the same number of seconds, whichever library holds them."""
    seconds = span.total_seconds()
    assert deep(span) == seconds
    assert deep(np.timedelta64(span, "us")) == pytest.approx(seconds, rel=1e-15)
    assert deep(pa.scalar(span)) == seconds


SERIES = [
    pd.Series([1.5, None]),
    pd.Series(["a", None]),
    pd.Series(["a", None], dtype="category"),
    pd.Series([True, None], dtype="boolean"),
    pd.Series([1, None], dtype="Int64"),
    pd.Series([1, None], dtype="int64[pyarrow]"),
    pd.Series(["a", None], dtype="string[pyarrow]"),
    pd.Series([pd.Timestamp("2026-01-02"), None]),
    pd.Series([pd.Timedelta("1s"), None]),
    pd.Series([pd.Period("2026-01"), None]),
    pd.Series([pd.Interval(0, 1), None]),
    pd.Series([0.5, None], dtype="Sparse[float]"),
    pd.Series([{"a": 1}, None], dtype=object),
]


@pytest.mark.parametrize("series", SERIES, ids=lambda series: str(series.dtype))
def test_what_is_missing_in_pandas_is_null(series: Any) -> None:
    """Every kind of column gives its values and nulls, also as an index, an array and in a frame."""
    found = deep(series)
    assert found[0] == deep(series.tolist()[0])
    assert found[1] is None
    assert deep(series.array) == found
    assert deep(pd.DataFrame({"x": series})) == [{"x": item} for item in found]
    assert series.dtype == object or deep(pd.Index(series)) == found


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["a", "b"], True),
        (["a", "a"], False),
        (["a", None], False),
        (["a", 1], False),
        ([0, 1], False),
        ([("a", "b"), ("a", "c")], False),
    ],
)
def test_a_row_has_names(labels: list[Any], named: bool) -> None:
    """A Series is a map only where its labels can be the keys of one, with none lost."""
    series = pd.Series([1, 2], index=pd.Index(labels, dtype=object, tupleize_cols=True))
    assert deep(series) == ({"a": 1, "b": 2} if named else [1, 2])


@pytest.mark.parametrize(
    "column",
    [
        pl.Series(["a", None], dtype=pl.Categorical),
        pl.Series([[1], None]),
        pl.Series([{"a": 1}, None]),
        pl.Series([1.5, None], dtype=pl.Decimal(10, 2)),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns_of_polars(column: Any) -> None:
    """Every kind of polars column gives what its Python values give, the same as through Arrow."""
    assert deep(column) == [deep(item) for item in column]
    assert deep(column) == deep(column.to_arrow()) == deep(pa.chunked_array([column.to_arrow()]))


@pytest.mark.parametrize("array", [np.float32([0.5, 1.5]), np.array(2), np.zeros((2, 0))], ids=str)
def test_tensors_are_detached_and_taken_from_their_device(array: Any) -> None:
    """A tensor with gradients on another device becomes the lists that it holds."""
    assert deep(Tensor(array, requires_grad=True, device="cuda:0")) == array.tolist()


class Moody:
    """A value none of whose methods works."""

    def __str__(self) -> str:
        raise RuntimeError

    tolist = numpy = isoformat = __iter__ = __str__


class MoodyError(Exception):
    """An error that cannot be told."""

    __str__ = Moody.__str__


class MoodyDict(UserDict[str, int]):
    """A mapping that cannot be read."""

    items = Moody.__str__  # type: ignore[assignment]


class Hostile(type):
    """A class of classes that do not even have a hash."""

    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Nameless(metaclass=Hostile):
    """One of them."""


def endless() -> Listed:
    """An object that lists itself over and over."""
    first, second = Listed(None), SubListed(None)
    first._content, second._content = second, first
    return first


class SubListed(Listed):
    """Another class, so that the two are not taken for one."""


@pytest.mark.parametrize(
    "value",
    [Moody(), MoodyError(), MoodyDict(), Nameless(), 10**5000, endless()],
    ids=lambda value: type(value).__qualname__,
)
def test_a_value_that_fails_costs_itself(value: Any) -> None:
    """What cannot be read becomes a text that says so, counted once."""
    kind = re.sub("Sub", "", type(value).__qualname__)
    assert re.sub("Sub", "", str(plain(value))) == f"<{kind} that cannot be read>"
    assert sum(text_counts().values()) == 1


def test_interrupts_pass() -> None:
    """Only errors stay inside: someone who stops the program stops it."""

    class Slow:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plain(Slow())


def numbers() -> Iterator[int]:
    """A generator that says that it was drawn from."""
    raise AssertionError("drawn from")
    yield 1


class Plain:
    """An object with neither fields nor text."""

    def __init__(self) -> None:
        self.secret = "x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Plain(), f"<{__name__}.Plain object>"),
        (numbers(), "<generator object numbers>"),
        (map(Plain, numbers()), "<map object>"),
        (iter([1]), "<list_iterator object>"),
        (re.compile("a"), "re.compile('a')"),
        (range(10**30), f"range(0, {10**30})"),
        (np.dtype("float32"), "float32"),
        (np.timedelta64(3, "M"), "3 months"),
        (np.array([3], "timedelta64[Y]"), "[3]"),
        (Listed(...), "Ellipsis"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_unknown_objects_become_text(value: Any, expected: str) -> None:
    """An object of an unknown class becomes its text, the same for each such object, and is counted."""
    assert plain(value) == expected
    assert sum(text_counts().values()) == 1


def test_text_of_unknown_objects_is_short() -> None:
    """Text is cut at 1 000 characters where nobody asked for text; where one did, it is whole."""
    long = SimpleNamespace(x="y" * 5000)
    assert as_text(long) == str(long)[:999] + "…"
    assert len(str(plain(scipy.sparse.random_array((300, 300), rng=1)))) <= 1000
    assert plain(Word("y" * 5000)) == "y" * 5000


def test_ranges_are_listed_up_to_a_length() -> None:
    """A range of 100 000 numbers is a list, a longer one text: it may be longer than the memory."""
    assert plain(range(1, 100_001)) == list(range(1, 100_001))
    assert plain(range(100_001)) == "range(0, 100001)"


def test_lazy_frames_are_not_computed() -> None:
    """A polars query becomes text without being run."""

    def run(_frame: Any) -> Any:
        raise AssertionError("run")

    query = pl.LazyFrame({"a": [1]}).map_batches(run)
    assert isinstance(plain(query), str)
    assert list(text_counts()) == ["polars.lazyframe.frame.LazyFrame"]


def test_counts_are_kept_for_a_hundred_classes() -> None:
    """Values are counted by the name of their class; beyond a hundred names, together."""
    classes = [type(f"C{number}", (), {"__module__": "shop"}) for number in range(105)]
    for made in classes:
        as_text(made())
        as_text(made())
    counts = text_counts()
    assert len(counts) == 101
    assert counts["shop.C99"] == 2
    assert counts["other"] == 10
    as_text(classes[0]())
    assert text_counts()["shop.C0"] == 3


def in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_counts_are_exact_in_threads() -> None:
    """Values that several threads turn at once are all counted."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(lambda: [as_text(Plain()) for _ in range(500)] and None)
    finally:
        sys.setswitchinterval(before)
    assert text_counts() == {f"{__name__}.Plain": 4000}


def test_counting_starts_anew_where_the_lock_is_held() -> None:
    """A child of a fork can start from zero though a thread of its parent was just counting."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with _values._tally._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        as_text_in_child = threading.Thread(target=lambda: (_values.reset(), as_text(Plain())))
        as_text_in_child.start()
        as_text_in_child.join(timeout=60)
        assert text_counts() == {f"{__name__}.Plain": 1}
    finally:
        release.set()
        thread.join()


TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.datetimes() | st.decimals() | st.uuids(),
    lambda inner: (
        st.lists(inner)
        | st.builds(tuple, st.lists(inner))
        | st.builds(Output, logits=inner)
        | st.builds(Listed, st.lists(inner))
        | st.builds(lambda items: np.array([*items, None], dtype=object), st.lists(inner, max_size=3))
        | st.dictionaries(st.text() | st.integers(), inner).map(MappingProxyType)
    ),
    max_leaves=20,
)


@given(TREES)
def test_any_nest_of_values_becomes_plain(value: Any) -> None:
    """However values of known kinds lie in each other, a receiver reads what each of them becomes."""
    _values.reset()
    np.testing.assert_equal(decode_value(AnyValue.FromString(encode_value(value))), deep(value))
    assert text_counts() == {}


def test_arrays_that_would_keep_the_caller_are_described() -> None:
    """An array of more than 100 000 items becomes a text with its type and shape, and is counted."""
    reset()
    assert plain(np.zeros((400, 400), np.float32)) == "<ndarray of float32, shape (400, 400)>"
    assert text_counts() == {"numpy.ndarray": 1}
    assert plain(np.zeros(100_000)) == [0.0] * 100_000
