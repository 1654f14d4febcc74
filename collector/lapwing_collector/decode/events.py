"""What the two events of ours, predictions and labels, have in common."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lapwing_collector.decode.attributes import KIND_OF, fitting
from lapwing_collector.decode.columns import Index, Mask, as_json
from lapwing_collector.decode.fields import Extras, Roots
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.values import json_text, kind_of
from lapwing_collector.model.records import Kind


@dataclass(frozen=True, slots=True)
class Event:
    """How the records of one event become rows.

    Attributes:
        kind: The family of tables.
        name: The `event_name`.
        columns: The attributes that become columns (or identify the record).
        in_extra: Tells of any other attribute whether it goes to `extra`.
        roots: The keys of the body that hold fields.
        rows: Makes the fixed columns of some records, with `extra` still null.
    """

    kind: Kind
    name: str
    columns: frozenset[str]
    in_extra: Callable[[str], bool]
    roots: Roots
    rows: Callable[[Request, Index], pa.RecordBatch]


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
