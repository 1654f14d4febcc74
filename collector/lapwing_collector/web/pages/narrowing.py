"""Which rows an address asks for: its filters over the fields of a model, as SQL."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.engine import identifier
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import dotted, parts
from lapwing_collector.web.fields import expression_of
from lapwing_collector.web.pages.page import View

_OWN: Final = frozenset(
    {
        "name",
        "model",
        "from",
        "to",
        "last",
        "format",
        "stage",
        "sort",
        "after",
        "field",
        "id",
        "at",
        "add",
        "how",
        "value",
    }
)
"""What an address says beside filters."""
FIRST: Final = ("time", "prediction_id", "version", "duration_ms", "error_type")
_SHOWN_LAST: Final = ("environment", "service", "variant", "upstream", "request_id", "fallback", "weight")
HOWS: Final[Mapping[str, tuple[str, str]]] = {
    "": ("=", "({value})::VARCHAR = {bound}"),
    "not": ("is not", "({value})::VARCHAR IS DISTINCT FROM {bound}"),
    "min": ("≥", "{value} >= {bound}::DOUBLE"),
    "max": ("≤", "{value} <= {bound}::DOUBLE"),
    "has": ("contains", "contains(lower(({value})::VARCHAR), lower({bound}))"),
    "missing": ("is missing", "({value} IS NULL) = ({bound} <> 'no')"),
}
"""Ways to narrow, by the ending of a parameter: what people read, and the SQL."""
FILTERS: Final = {"*": "a field, as inputs.plan, or with __not, __min, __max, __has or __missing"}
"""What a panel over narrowed rows can be asked for."""
STAGES: Final = ("production", "shadow", "candidate")
_FILTER: Final = re.compile(r"(?P<field>.+?)(?:__(?P<how>not|min|max|has|missing|is))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        field: Its dotted name.
        kind: `number`, `time`, `text`, or `nested` for lists and maps.
    """

    field: str
    kind: str

    @property
    def label(self) -> str:
        """What stands above it: the name in its struct."""
        return parts(self.field)[-1]


@dataclass(frozen=True, slots=True)
class Filter:
    """One way in which rows are narrowed.

    Attributes:
        parameter: As the address has it.
        field: Which field.
        how: The ending of the parameter.
        value: With what it is compared.
    """

    parameter: str
    field: str
    how: str
    value: str

    @property
    def in_full(self) -> str:
        """The parameter with the whole name of its field, which may itself end as if it said how."""
        how = self.how or ("is" if _split(self.field)[0] != self.field else "")
        return f"{self.field}__{how}" if how else self.field

    @property
    def told(self) -> str:
        """How it reads."""
        words = HOWS[self.how][0]
        return f"{self.field} {words}" + ("" if self.how == "missing" else f" {self.value}")


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What rows are wanted.

    Attributes:
        filters: All of them hold.
        unknown: Parameters that name no field of this model, which narrow nothing.
        stage: Of which stage rows are.
    """

    filters: Sequence[Filter] = ()
    unknown: Sequence[str] = ()
    stage: str = "production"

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition in SQL, without the range of time, and its parameters."""
        conditions, bound = ["stage = $stage"], {"stage": self.stage}
        for number, each in enumerate(self.filters):
            name = f"value_{number}"
            told = HOWS[each.how][1]
            conditions.append(told.format(value=expression_of(each.field), bound=f"${name}"))
            bound[name] = each.value
        return "\n    AND ".join(conditions), bound


def narrowing_of(asked: Mapping[str, str], columns: Sequence[Column]) -> Narrowing:
    """What an address wants of the rows of a model with these columns.

    A field may be told by the last part of its name alone, as labels of alerts do.

    Raises:
        DecodeError: A number is expected, and something else told.
    """
    stage = asked.get("stage") or "production"
    if stage not in STAGES:
        raise DecodeError(f"stage: expected {', '.join(STAGES)}, not {stage[:40]!r}")
    known = {column.field: column for column in columns}
    short: dict[str, str] = {}
    for name in reversed(known):
        short[parts(name)[-1]] = name
    filters, unknown = [], []
    for parameter, value in asked.items():
        if parameter in _OWN or value == "":
            continue
        # Whatever a field's name ends with.
        name, how = (parameter, "") if parameter in known else _split(parameter)
        is_tag = name.startswith("tags.") and len(name) > len("tags.")
        place = name if name in known or is_tag else short.get(name)
        if place is None:
            unknown.append(parameter)
            continue
        if how in {"min", "max"}:
            _check_number(parameter, value, known.get(place))
        filters.append(Filter(parameter, place, how, value))
    return Narrowing(tuple(filters), tuple(unknown), stage)


def told_in_full(asked: Mapping[str, str]) -> Narrowing:
    """The filters of an address whose fields are told in full, as this page writes them."""
    filters = []
    for parameter, value in asked.items():
        if parameter in _OWN or parameter == "" or value == "":
            continue
        filters.append(Filter(parameter, *_split(parameter), value))
    return Narrowing(tuple(filters), (), asked.get("stage") or "production")


def is_mark(value: Any) -> bool:
    """Whether a text stands where redaction took something out."""
    return isinstance(value, str) and value in {"***", "<redaction failed>"}


def columns_of(schema: pa.Schema) -> list[Column]:
    """The columns of a table of predictions: what people look for first, then its fields, then the rest."""
    found = {name: kind for column in schema for name, kind in _leaves((column.name,), column.type)}
    fields = [name for name in found if name.split(".")[0] in {"inputs", "output", "descriptors"}]
    outputs = [name for name in fields if name.split(".")[0] == "output"]
    others = [name for name in fields if name not in outputs]
    order = [*FIRST, *outputs, *others, *_SHOWN_LAST, "tags"]
    return [Column(name, found[name]) for name in order if name in found]


def schema_of(view: View, table: str) -> pa.Schema:
    """The columns of a model's predictions, as Arrow has them.

    Raises:
        LapwingError: The lake cannot be asked.
    """
    return view.sources.rows(f"SELECT * FROM predictions_all.{identifier(table)} LIMIT 0").schema


def _split(parameter: str) -> tuple[str, str]:
    """The field of a parameter, and how it narrows."""
    found = _FILTER.fullmatch(parameter)
    if found is None:
        return parameter, ""
    return found["field"], "" if found["how"] in {None, "is"} else found["how"]


def _leaves(path: tuple[str, ...], kind: pa.DataType) -> Iterator[tuple[str, str]]:
    if pa.types.is_struct(kind):
        for inner in kind:
            yield from _leaves((*path, inner.name), inner.type)
    else:
        yield dotted(path), _kind(kind)


def _kind(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    return "nested" if types.is_nested(kind) else "text"


def _check_number(parameter: str, value: str, column: Column | None) -> None:
    try:
        float(value)
    except ValueError:
        raise DecodeError(f"{parameter}: expected a number, not {value[:40]!r}") from None
    if column is None or column.kind != "number":
        raise DecodeError(
            f"{parameter}: the field is no number; use {parameter[:-5]}=TEXT, or __has for a part"
        )
