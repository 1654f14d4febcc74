"""What the two events of ours, predictions and labels, have in common."""

import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapwing_collector.decode.attributes import KIND_OF, fitting
from lapwing_collector.decode.columns import Index, Mask, as_json
from lapwing_collector.decode.fields import Extras, Roots
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.values import json_text, kind_of
from lapwing_collector.model.records import Kind

MAX_MODEL_NAME: Final = 128
"""Characters a model name may have."""

MAX_MODELS: Final = 1024
"""Models that the records of one request may name; each has a table of its own."""


class Source(Protocol):
    """Some records, as whatever has read them gives what they say: one value per record."""

    received_at_ns: int

    @property
    def count(self) -> int:
        """The number of records."""
        ...

    @property
    def times(self) -> npt.NDArray[np.uint64]:
        """When each happened, in nanoseconds: its time, else when it was observed, else received."""
        ...

    def attribute(self, key: str) -> pa.Array:
        """A known attribute; null where absent or not fitting."""
        ...

    def prediction_ids(self) -> pa.StringArray:
        """The prediction ids; where a record gives none, one that a retry gets again."""
        ...

    def tags(self, known: frozenset[str]) -> pa.MapArray:
        """The attributes other than `known`, as text."""
        ...

    def of_resource(self, key: str) -> pa.StringArray:
        """An attribute of the resource where it is text."""
        ...

    def resources(self) -> pa.MapArray:
        """All attributes of the resource, as text."""
        ...

    def hex_id(self, field: str, width: int) -> pa.StringArray:
        """The field `trace_id` or `span_id` in hexadecimal, null where it is not `width` bytes long."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """How the records of one event become rows.

    Attributes:
        kind: The family of tables.
        name: The `event_name`.
        columns: The attributes that become columns (or identify the record).
        in_extra: Tells of any other attribute whether it goes to `extra`.
        roots: The keys of the body that hold fields.
        rows: Makes the fixed columns of some records (ascending), with `extra` still null.
    """

    kind: Kind
    name: str
    columns: frozenset[str]
    in_extra: Callable[[str], bool]
    roots: Roots
    rows: Callable[[Source], pa.RecordBatch]


def is_model_name(name: str) -> bool:
    """Whether a model may be called so: 1 to 128 characters, none of them a control character."""
    return 1 <= len(name) <= MAX_MODEL_NAME and not any(unicodedata.category(char) == "Cc" for char in name)


def odd_attributes(request: Request, event: Event) -> Mask:
    """Which records have an attribute that goes to `extra`."""
    odd = request.attributes.misplaced(event.columns)
    entries = request.attributes.entries
    in_extra = np.array([name not in event.columns and event.in_extra(name) for name in entries.names], bool)
    odd[entries.owners[in_extra[entries.keys]]] = True
    return odd


def add_attributes(request: Request, event: Event, rows: Index, odd: Mask, extras: Extras) -> None:
    """Add to the `extras` of the records `rows` the attributes that belong there.

    A key of the body that is also the key of such an attribute is renamed to `body.<key>`.
    """
    for place in np.flatnonzero(odd[rows]).tolist():
        attributes = {
            key: value
            for key, value in request.plain_attributes(rows[place]).items()
            if (not _fits(key, value) if key in event.columns else event.in_extra(key))
        }
        for key, value in extras[place].items():
            attributes[free_key(key, attributes)] = value
        extras[place] = attributes


def with_extra(rows: pa.RecordBatch, extras: Extras) -> pa.RecordBatch:
    """Set the column `extra`."""
    if not extras:
        return rows
    texts = [json_text(extras[place]) if place in extras else None for place in range(rows.num_rows)]
    return rows.set_column(rows.schema.get_field_index("extra"), rows.schema.field("extra"), as_json(texts))


def free_key(key: str, taken: Collection[str]) -> str:
    """The key, or where it is taken the key renamed to `body.<key>`."""
    return key if key not in taken else free_key(f"body.{key}", taken)


def _fits(key: str, value: Any) -> bool:
    return value is None or kind_of(value) in fitting(KIND_OF[key])
