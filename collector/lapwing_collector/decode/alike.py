"""The rows of records that follow one plan, made of whole columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.attributes import KIND_OF, fitting
from lapwing_collector.decode.columns import (
    BOOL,
    BYTES,
    DOUBLE,
    INT,
    LIST_OF,
    NULL,
    SCALARS,
    STRING,
    TYPES,
    Index,
    Mask,
    any_of,
    encode,
    groups,
    scatter,
    select,
)
from lapwing_collector.decode.events import MAX_MODELS, Event, is_model_name, with_extra
from lapwing_collector.decode.fixed import hex_ids
from lapwing_collector.decode.labels import LABEL
from lapwing_collector.decode.lockstep import Bytes, Matched, Slot, Words, match, read_doubles
from lapwing_collector.decode.merge import Part, first_of_each
from lapwing_collector.decode.plan import (
    OBSERVED_TIME,
    SEVERITY_TEXT,
    SPAN_ID,
    TIME,
    TRACE_ID,
    Attribute,
    Body,
    Plan,
    Sample,
    Section,
)
from lapwing_collector.decode.predictions import PREDICTION
from lapwing_collector.decode.records import Records
from lapwing_collector.decode.tags import as_texts, text_maps
from lapwing_collector.model.records import Batch, FieldColumn

_EVENTS: Final = {event.name: event for event in (PREDICTION, LABEL)}
_ID_FIELDS: Final = {"trace_id": TRACE_ID, "span_id": SPAN_ID}


class _NotReadableError(ValueError):
    """Some record has to be rejected: the general way of reading tells which, and why."""


@dataclass(frozen=True, slots=True)
class Alike:
    """What the records are that follow one plan.

    Attributes:
        records: The records, ascending.
        parts: Their rows; a record that came earlier has none. Empty where one of the records has to be
            rejected, and all have to be read the general way, which tells which.
    """

    records: Index
    parts: list[Part]


@lru_cache(maxsize=32)
def event_of(plan: Plan) -> Event | None:
    """The event whose rows can be made of records with this plan; None where they must be read one by one."""
    event = _EVENTS.get(plan.event)
    attributes = {step.key.decode() for step in plan.steps if isinstance(step, Attribute)}
    sections = [section for step in plan.steps if isinstance(step, Body) for section in step.sections]
    if event is None or semconv.MODEL_NAME not in attributes:
        return None
    if event is PREDICTION and semconv.PREDICTION_ID not in attributes:
        return None
    if any(event.in_extra(key) for key in attributes - event.columns - {semconv.EXCEPTION_STACKTRACE}):
        return None
    return event if all(_is_usual(event, section) for section in sections) else None


def _is_usual(event: Event, section: Section) -> bool:
    if section.key.decode() not in event.roots.keys:
        return False
    return event.roots.scalar if section.fields is None else bool(section.fields) or not event.roots.scalar


def read_alike(sample: Sample, event: Event, records: Records, candidates: Index) -> Alike:
    """Make rows of those of the records `candidates` (ascending) that follow a plan."""
    matched = match(sample, records.data, records.starts[candidates], records.ends[candidates])
    if len(matched.records):
        usable = _usable(event, matched)
        matched = matched if usable.all() else matched.filter(usable)
    places = candidates[matched.records]
    try:
        parts = list(_Alike(event, matched, records, places).parts()) if len(places) else []
    except _NotReadableError:
        return Alike(places, [])
    return Alike(places, parts)


def _usable(event: Event, matched: Matched) -> Mask:
    """Which records have nothing that needs a closer look."""
    usable = np.ones(len(matched.records), bool)
    for key, slot in matched.attributes.items():
        kinds = _ATTRIBUTE_KINDS[key] if key in event.columns else _SCALAR_OR_NULL
        usable &= kinds[slot.kinds]
    for key in (semconv.MODEL_NAME, semconv.EXCEPTION_STACKTRACE):
        if key in matched.attributes:
            usable &= matched.attributes[key].kinds == STRING
    if event is PREDICTION:
        ids = matched.attributes[semconv.PREDICTION_ID]
        usable &= (ids.kinds == STRING) & (ids.sizes > 0)
    for path, slot in matched.fields.items():
        if len(path) == 1:
            usable &= _SCALAR_OR_NULL[slot.kinds]
    return usable


_SCALAR_OR_NULL: Final = any_of(NULL, *SCALARS)
_ATTRIBUTE_KINDS: Final = {key: any_of(NULL, *fitting(kind)) for key, kind in KIND_OF.items()}


class _Alike:
    """Matched records as the source of rows."""

    def __init__(self, event: Event, matched: Matched, records: Records, places: Index) -> None:
        self.received_at_ns = records.received_at_ns
        self._event = event
        self._matched = matched
        self._records = records
        self._places = places
        self._values = _Values(records.data)
        self._resources = records.resources_of[places]

    def parts(self) -> Iterator[Part]:
        """The rows of each model and process."""
        models, names = self._models
        if len(names) > MAX_MODELS or not all(is_model_name(name) for name in names):
            raise _NotReadableError
        if SEVERITY_TEXT in self._matched.texts:
            self._values.text(*self._matched.texts[SEVERITY_TEXT])  # not kept, but it must be text
        fixed = self._event.rows(self)
        fields = self._fields()
        sequence = self.attribute(semconv.SEQUENCE)
        traces = self._stacktraces()
        processes, process_ids = self._records.processes_of(self._resources)
        for group in groups(models, processes):
            process = process_ids[processes[group[0]]]
            fresh = group if process is None else group[first_of_each(select(sequence, group))]
            numbers = select(sequence, fresh)
            extras = (
                {}
                if traces is None
                else {
                    place: {semconv.EXCEPTION_STACKTRACE: trace}
                    for place, trace in enumerate(select(traces, fresh).to_pylist())
                }
            )
            batch = Batch(
                self._event.kind,
                names[models[group[0]]],
                process,
                numbers,
                with_extra(select(fixed, fresh), extras),
                tuple(_selected(fields, fresh)),
                self._records.digests(self._places[fresh], process, numbers),
            )
            yield Part(batch, self._places[fresh])

    @property
    def count(self) -> int:
        return len(self._places)

    @property
    def times(self) -> Words:
        none = np.zeros(self.count, np.uint64)
        time = self._matched.scalars.get(TIME, none)
        observed = self._matched.scalars.get(OBSERVED_TIME, none)
        if (time > 0).all():
            return time
        return np.where(time > 0, time, np.where(observed > 0, observed, np.uint64(self.received_at_ns)))

    def attribute(self, key: str) -> pa.Array:
        wanted = TYPES[KIND_OF[key]]
        slot = self._matched.attributes.get(key)
        found = [] if slot is None else list(self._values.by_kind(slot).values())
        if not found:
            return pa.nulls(self.count, wanted)
        return pc.coalesce(*(values.cast(wanted, safe=False) for values in found))

    def prediction_ids(self) -> pa.StringArray:
        return self.attribute(semconv.PREDICTION_ID)

    def tags(self, known: frozenset[str]) -> pa.MapArray:
        texts = {key: self._text(slot) for key, slot in self._matched.attributes.items() if key not in known}
        return text_maps(texts, self.count)

    def of_resource(self, key: str) -> pa.StringArray:
        return self._records.of_resources(key, self._resources)

    def resources(self) -> pa.MapArray:
        return self._records.resource_maps(self._resources)

    def hex_id(self, field: str, width: int) -> pa.StringArray:
        found = self._matched.texts.get(_ID_FIELDS[field])
        if found is None:
            return pa.nulls(self.count, pa.string())
        return hex_ids(self._values.raw(*found), width)

    def _text(self, slot: Slot) -> pa.StringArray:
        found = [as_texts(values) for values in self._values.by_kind(slot).values()]
        return pc.coalesce(*found) if found else pa.nulls(self.count, pa.string())

    @cached_property
    def _models(self) -> tuple[Index, list[str]]:
        return encode(self.attribute(semconv.MODEL_NAME))

    def _stacktraces(self) -> pa.StringArray | None:
        slot = self._matched.attributes.get(semconv.EXCEPTION_STACKTRACE)
        if slot is None or not self._event.in_extra(semconv.EXCEPTION_STACKTRACE):
            return None
        return self._text(slot)

    def _fields(self) -> list[FieldColumn]:
        return [
            FieldColumn(path, values)
            for path, slot in self._matched.fields.items()
            for values in self._values.by_kind(slot).values()
        ]


def _selected(fields: Sequence[FieldColumn], places: Index) -> Iterator[FieldColumn]:
    for field in fields:
        values = select(field.values, places)
        if values.null_count < len(values):
            yield FieldColumn(field.path, values)


class _Values:
    """Makes Arrow arrays of what stands at places in the joined records."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._buffer = pa.py_buffer(data)

    def by_kind(self, slot: Slot) -> dict[int, pa.Array]:
        """The values of each kind, null where a record has none of it."""
        kinds = np.bincount(slot.kinds).nonzero()[0].tolist()
        if len(kinds) == 1:
            return {kind: self._array(kind, slot.bits, slot.sizes) for kind in kinds if kind != NULL}
        found = {}
        for kind in kinds:
            if kind != NULL:
                chosen = np.flatnonzero(slot.kinds == kind)
                index = np.full(len(slot.kinds), -1)
                index[chosen] = np.arange(len(chosen))
                found[kind] = scatter(self._array(kind, slot.bits[chosen], slot.sizes[chosen]), index)
        return found

    def raw(self, at: Index, sizes: Index) -> pa.BinaryArray:
        """The bytes at places (one at least) that rise."""
        # What lies between two of them is an element, too, so that nothing is copied to tell them apart.
        offsets = np.empty(2 * len(at), np.int32)
        offsets[::2] = at
        offsets[1::2] = at + sizes
        both = pa.BinaryArray.from_buffers(
            pa.binary(), 2 * len(at) - 1, [None, pa.py_buffer(offsets), self._buffer]
        )
        return both.take(pa.array(np.arange(0, 2 * len(at), 2)))

    def text(self, at: Index, sizes: Index) -> pa.StringArray:
        """The texts at places (one at least) that rise.

        Raises:
            _NotReadableError: One is not UTF-8.
        """
        try:
            return self.raw(at, sizes).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise _NotReadableError from error

    def _array(self, kind: int, bits: Words, sizes: Index) -> pa.Array:
        if kind == DOUBLE:
            return pa.array(bits.view(np.float64))
        if kind == INT:
            return pa.array(bits.view(np.int64))
        if kind == BOOL:
            return pa.array(bits.astype(bool))
        if kind == LIST_OF | DOUBLE:
            offsets, elements = read_doubles(self._data, bits.view(np.int64), sizes)
            return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(elements))
        return (self.raw if kind == BYTES else self.text)(bits.view(np.int64), sizes)
