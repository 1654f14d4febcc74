"""Cells of CSV files, which are all text, and what they stand for; times of any file."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

ROW_TIME: Final = pa.timestamp("us")
"""Type of times in a batch: UTC."""

_INTEGER: Final = re.compile(r"[+-]?(0|[1-9]\d{0,18})")
_NUMBER: Final = re.compile(
    r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE
)
_TRUTHS: Final = {"true": True, "false": False}
_COUNTED_TRUTHS: Final = _TRUTHS | {"1": True, "0": False, "1.0": True, "0.0": False}
"""Where it is known that cells are true or false."""
_MOST: Final = 0.95
"""Share of cells from which on the others are mistakes."""
_WORD: Final = 40
"""Characters of a cell that are told."""
_LARGEST: Final = 2**63 - 1
_DATE: Final = r"(?:19|2[012])\d{6}"
_NUMBERED: Final = re.compile(rf"(?!{_DATE}(?:\d{{6}})?$)\d{{1,19}}(?:\.\d{{1,19}})?")
"""Times since the epoch."""
_RUN_TOGETHER: Final = re.compile(rf"({_DATE})(\d{{6}})")
"""A date and a time with nothing between them."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))
"""Numbers up to the first of a pair are times in units of so many microseconds: seconds, milliseconds, …"""


class Kind(StrEnum):
    """What the cells of a column stand for."""

    NOTHING = "nothing"
    BOOL = "bool"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"


_TYPES: Final = {
    Kind.NOTHING: pa.null(),
    Kind.BOOL: pa.bool_(),
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.TEXT: pa.string(),
}


_NOT_A: Final = {
    Kind.BOOL: "neither true nor false",
    Kind.INTEGER: "no whole number",
    Kind.NUMBER: "no number",
}


def kind_of(cells: Iterable[str | None], so_far: Kind = Kind.NOTHING) -> Kind:
    """What all `cells` can stand for, and those before them that stood for `so_far`."""
    for cell in cells:
        if so_far is Kind.TEXT:
            break
        if cell:
            so_far = _joined(so_far, _kind(cell))
    return so_far


def values(cells: Sequence[str | None], kind: Kind) -> pa.Array:
    """The cells of a column of this kind; an empty one is null."""
    read: Any = {Kind.BOOL: lambda cell: _TRUTHS[cell.lower()], Kind.INTEGER: int, Kind.NUMBER: float}.get(
        kind, str
    )
    return pa.array([read(cell) if cell else None for cell in cells], _TYPES[kind])


def known_kind(kind: pa.DataType | None) -> Kind | None:
    """What the values of a column of this type are; None if cells do not stand for such."""
    if kind is None:
        return None
    for found, is_such in (
        (Kind.BOOL, pa.types.is_boolean),
        (Kind.INTEGER, pa.types.is_integer),
        (Kind.NUMBER, pa.types.is_floating),
        (Kind.TEXT, pa.types.is_string),
        (Kind.TEXT, pa.types.is_large_string),
    ):
        if is_such(kind):
            return found
    return None


def kind_inside(kind: pa.DataType | None, path: Sequence[str]) -> Kind | None:
    """What values of a field in a column of this type are; None if there is none, or cells are no such."""
    for step in path:
        place = kind.get_field_index(step) if kind is not None and pa.types.is_struct(kind) else -1
        kind = None if kind is None or place < 0 else kind.field(place).type
    return known_kind(kind)


def counted(cells: Iterable[str | None]) -> Counter[Kind]:
    """How many cells stand for what; empty ones are passed over."""
    return Counter(_kind(cell) for cell in cells if cell)


def whole_kind(counts: Counter[Kind]) -> Kind:
    """What all cells can stand for that are so many of each kind."""
    return reduce(_joined, counts, Kind.NOTHING)


def kind_to_read(counts: Counter[Kind], known: Kind | None) -> Kind | None:
    """What to read cells as that are meant to be of one kind; None where all of them are of one.

    Args:
        counts: What the cells are.
        known: What values of the same field were so far, if any were; else nearly all cells decide.
    """
    whole = whole_kind(counts)
    if whole is Kind.NOTHING or known is Kind.TEXT:
        return None
    number = Kind.NUMBER if counts[Kind.NUMBER] else Kind.INTEGER
    if known is not None:
        wanted = Kind.BOOL if known is Kind.BOOL else number
    else:
        least = _MOST * counts.total()
        numbers = counts[Kind.INTEGER] + counts[Kind.NUMBER]
        wanted = Kind.BOOL if counts[Kind.BOOL] >= least else number if numbers >= least else whole
    return None if wanted is whole else wanted


def fitting(cells: Sequence[str | None], kind: Kind) -> tuple[pa.Array, dict[int, str]]:
    """The cells of a column read as this kind, and rows where one is something else, each with why: null."""
    kept: list[str | None] = []
    odd: dict[int, str] = {}
    for row, cell in enumerate(cells):
        if cell and not _fits(cell, kind):
            odd[row] = f"is {_NOT_A[kind]}: {cell[:_WORD]}"
            kept.append(None)
        else:
            kept.append(cell)
    if kind is Kind.BOOL:
        truths = [_COUNTED_TRUTHS[cell.lower()] if cell else None for cell in kept]
        return pa.array(truths, pa.bool_()), odd
    return values(kept, kind), odd


def filled(column: pa.Array) -> pa.Array:
    """A column with null where there is no value, which tables of numbers often say by NaN."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def texts(column: pa.Array) -> pa.Array:
    """A column as texts; whole numbers without the decimals that a table gives all when one is missing."""
    if not pa.types.is_floating(column.type):
        try:
            return column.cast(pa.string())
        except pa.ArrowException:  # lists, fields, bytes: the row says what is wrong with them, not the file
            cells = column.to_pylist()
            return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())
    return pa.array(
        [None if cell is None else _written(cell) for cell in filled(column).to_pylist()], pa.string()
    )


def parse_time(text: str) -> datetime:
    """A time as people write it: ISO 8601, UTC unless it says otherwise, or a number since the epoch.

    Eight and fourteen digits of a year like ours are a date (`20260131`), and one with its time.

    Raises:
        ValueError: It is none, or not between the years 1970 and 2262.
    """
    if _NUMBERED.fullmatch(text):
        return _moment(_microseconds(Decimal(text)))
    if whole := _RUN_TOGETHER.fullmatch(text):
        text = f"{whole[1]}T{whole[2]}"
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    since = moment - _EPOCH
    return _moment((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds)


def times(column: pa.Array) -> tuple[pa.Array, list[bool]]:
    """A column of times, null where it has none; which of its rows hold something that is no time."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit))  # the same moment, in UTC
        found = pc.cast(column, ROW_TIME, safe=False)
        return found, [False] * len(column)
    cells = texts(column).to_pylist()
    read: list[datetime | None] = []
    wrong = []
    for cell in cells:
        try:
            read.append(None if cell is None or cell == "" else parse_time(cell))
            wrong.append(False)
        except (ValueError, OverflowError):
            read.append(None)
            wrong.append(True)
    return pa.array(read, ROW_TIME), wrong


def _written(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)


def _kind(cell: str) -> Kind:
    if cell.lower() in _TRUTHS:
        return Kind.BOOL
    if _INTEGER.fullmatch(cell) and abs(int(cell)) <= _LARGEST:
        return Kind.INTEGER
    return Kind.NUMBER if _NUMBER.fullmatch(cell) else Kind.TEXT


def _fits(cell: str, kind: Kind) -> bool:
    if kind is Kind.BOOL:
        return cell.lower() in _COUNTED_TRUTHS
    return _joined(_kind(cell), kind) is kind


def _joined(one: Kind, other: Kind) -> Kind:
    if one is Kind.NOTHING or one is other:
        return other
    return Kind.NUMBER if {one, other} == {Kind.INTEGER, Kind.NUMBER} else Kind.TEXT


def _microseconds(number: Decimal) -> int:
    for most, factor in _UNITS:
        if number < most:
            return int(number * factor)
    return int(number // 1000)


def _moment(microseconds: int) -> datetime:
    if not 0 < microseconds <= _LARGEST // 1000:
        raise ValueError("a time between the years 1970 and 2262")
    seconds, rest = divmod(microseconds, 10**6)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest, tzinfo=None)
