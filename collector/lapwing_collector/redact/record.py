"""One record: which field of it is called what in rules, and redacted as that."""

from collections.abc import Callable, Mapping, MutableSequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lapwing import semconv
from lapwing._record import ATTRIBUTES
from lapwing.redact import Place
from lapwing_collector.redact.values import Walker

_NAMES: Final = {attribute: name for name, attribute in ATTRIBUTES.items() if name != "stage"}
"""What attributes that hold what users say are called in rules."""

_ERRORS: Final = frozenset((semconv.ERROR_TYPE, semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE))
_MADE: Final = frozenset(
    (
        semconv.PREDICTION_DURATION,
        semconv.PREDICTION_WEIGHT,
        semconv.PREDICTION_FALLBACK,
        semconv.PREDICTION_TIME,
        semconv.PREDICTION_STAGE,
        semconv.BATCH_ROWS,
        semconv.SEQUENCE,
    )
)
"""Attributes that hold numbers and the like, which no rule touches; any other value there is in `extra`."""
STAGES: Final = frozenset((semconv.STAGE_PRODUCTION, semconv.STAGE_SHADOW, semconv.STAGE_CANDIDATE))

_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """How the records of an event are laid out.

    Attributes:
        sections: Keys of the body that are fields or hold them; other keys are in `extra`.
        columns: The known attributes that have a column of their own.
        others: Where the other attributes go.
        made: The attributes with a column that holds numbers and the like.
        is_batch: Whether the body is a table.
    """

    sections: frozenset[str]
    columns: frozenset[str]
    others: str
    made: frozenset[str] = _MADE
    is_batch: bool = False


_PREDICTION: Final = (frozenset(("inputs", "output")), frozenset(_NAMES) - {semconv.LABEL_SOURCE}, "tags")
_LABEL: Final = (
    frozenset(("label",)),
    frozenset((semconv.MODEL_NAME, semconv.PREDICTION_ID, semconv.REQUEST_ID, semconv.LABEL_SOURCE)),
    "extra",
)
_SHAPES: Final[Mapping[str, Shape]] = {
    semconv.EVENT_PREDICTION: Shape(*_PREDICTION),
    semconv.EVENT_LABEL: Shape(*_LABEL),
    semconv.EVENT_PREDICTION_BATCH: Shape(*_PREDICTION, is_batch=True),
    semconv.EVENT_LABEL_BATCH: Shape(*_LABEL, is_batch=True),
}

_OTHER: Final = Shape(frozenset(), frozenset(), "attributes", frozenset((semconv.SEQUENCE,)))

RedactTable = Callable[[Walker, Shape, bytes], bytes]


def model_of(record: LogRecord) -> str:
    """The model that a record names, empty where it names none."""
    name = ""
    for attribute in record.attributes:
        if attribute.key == semconv.MODEL_NAME:
            name = attribute.value.string_value
    return name


def redact_record(walker: Walker, root: Place, record: LogRecord, redact_table: RedactTable) -> None:
    """Redact a record where it stands, its error last: what was taken out must not be repeated in it.

    Args:
        walker: Has the rules.
        root: The place of records.
        record: The record.
        redact_table: Redacts the table of a batch; an empty one stands for what can not be read.
    """
    event = record.event_name
    shape = _SHAPES.get(event, _OTHER)
    if shape is _OTHER:
        if event != semconv.EVENT_MODEL:
            record.event_name = walker.text(root["event_name"], event)
        record.severity_text = walker.text(root["severity_text"], record.severity_text)
        if root["body"].live and record.HasField("body") and not walker.value(root["body"], record.body):
            record.ClearField("body")
    elif shape.is_batch:
        if record.body.WhichOneof("value") == "bytes_value":
            record.body.bytes_value = redact_table(walker, shape, record.body.bytes_value)
        else:
            record.ClearField("body")  # it is no table, and rejected for that
    else:
        _redact_body(walker, root, shape, record)
    _redact_attributes(walker, root, shape, record)
    if len(record.trace_id) != _TRACE_ID_BYTES:  # it counts as absent, and may hold anything
        record.trace_id = b""
    if len(record.span_id) != _SPAN_ID_BYTES:
        record.span_id = b""


def _redact_body(walker: Walker, root: Place, shape: Shape, record: LogRecord) -> None:
    body, extra = record.body, root["extra"]
    if body.WhichOneof("value") != "kvlist_value":
        if extra["body"].live and record.HasField("body") and not walker.value(extra["body"], body):
            record.ClearField("body")
        return
    entries = body.kvlist_value.values
    rest = False
    for position in reversed(range(len(entries))):
        entry = entries[position]
        key = entry.key
        if key not in shape.sections:
            rest = True
        elif root[key].live and not _redact_section(walker, root[key], key, entry.value):
            del entries[position]
    if rest and extra.live:
        untouched = root["time"]
        walker.entries(lambda key: untouched if key in shape.sections else extra[key], entries)


def _redact_section(walker: Walker, place: Place, key: str, value: AnyValue) -> bool:
    if key != semconv.BODY_LABEL and value.WhichOneof("value") == "kvlist_value":
        walker.entries(place.__getitem__, value.kvlist_value.values)  # field by field, as the SDK does
        return True
    return walker.value(place, value)


def _redact_attributes(walker: Walker, root: Place, shape: Shape, record: LogRecord) -> None:
    others, extra = root[shape.others], root["extra"]
    live = {attribute for attribute, name in _NAMES.items() if root[name].live}
    taken = bool(walker.record.taken)
    if not (live or taken or others.live or extra.live):
        return
    attributes = record.attributes
    keys, odd = set(), set()
    for attribute in attributes:
        key = attribute.key
        keys.add(key)
        if key in shape.made and not _is_made(key, attribute.value):
            odd.add(key)
    if others.live or (odd and extra.live):
        untouched = root["time"]

        def place_of(key: str) -> Place:
            if key in shape.columns:
                return untouched
            if key in shape.made:
                return extra[key] if key in odd else untouched
            return others[key]

        walker.entries(place_of, attributes)
    if not keys.isdisjoint(live - _ERRORS):
        _redact_known(walker, root, shape, attributes, live - _ERRORS)
    if not keys.isdisjoint(_ERRORS):
        _redact_known(walker, root, shape, attributes, _ERRORS)


def _redact_known(
    walker: Walker, root: Place, shape: Shape, attributes: MutableSequence[KeyValue], wanted: AbstractSet[str]
) -> None:
    for position in reversed(range(len(attributes))):
        attribute = attributes[position]
        key = attribute.key
        if key not in wanted:
            continue
        name = _NAMES[key]
        if (
            key not in _ERRORS  # which may repeat what has been taken out
            and key not in shape.columns
            and root[name].rules == root[shape.others][key].rules
        ):
            continue  # these have been applied
        if not walker.field(name, attribute.value):
            del attributes[position]


def _is_made(key: str, value: AnyValue) -> bool:
    """Whether the value is one that no rule touches, because it can say nothing of anybody."""
    match value.WhichOneof("value"):
        case None | "int_value" | "double_value" | "bool_value":
            return True
        case "string_value":
            return key == semconv.PREDICTION_STAGE and value.string_value in STAGES
        case _:
            return False
