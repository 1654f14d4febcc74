"""OTLP log records as the wire contract wants them (see `docs/conventions.md`), encoded.

Every field that leaves the process passes one of three functions here, `encode_body_map`, `_attributes` and
`encode_label_value`, each of which redacts before it encodes; tables are redacted before they get here.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from traceback import format_exception
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry import trace

from lapwing import _time, semconv
from lapwing._encode import (
    encode_attribute,
    encode_double,
    encode_entries,
    encode_fields,
    encode_map,
    encode_string,
    encode_text,
    encode_value,
    entry_head,
    sized,
    varint,
)
from lapwing._scope import Details
from lapwing._values import plain

if TYPE_CHECKING:
    from lapwing.redact import RecordRedactor

Stage = Literal["production", "shadow", "candidate"]

_STAGES: Final = (semconv.STAGE_PRODUCTION, semconv.STAGE_SHADOW, semconv.STAGE_CANDIDATE)
_RESERVED: Final = ("ml.", "lapwing.", "exception.", semconv.ERROR_TYPE)
_ERROR_LENGTH: Final = 100_000
"""Characters that are kept of an error's message, from its beginning, and of its stack trace, to its end."""
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")

ATTRIBUTES: Final = {
    "model": semconv.MODEL_NAME,
    "version": semconv.MODEL_VERSION,
    "stage": semconv.PREDICTION_STAGE,
    "variant": semconv.MODEL_VARIANT,
    "upstream": semconv.MODEL_UPSTREAM,
    "prediction_id": semconv.PREDICTION_ID,
    "request_id": semconv.REQUEST_ID,
    "source": semconv.LABEL_SOURCE,
    "error_type": semconv.ERROR_TYPE,
    "error_message": semconv.EXCEPTION_MESSAGE,
    "error_stacktrace": semconv.EXCEPTION_STACKTRACE,
}
"""Attributes that hold what users say, by the names that columns and redaction rules have."""

_SINGLE: Final = frozenset({NoneType, bool, int, float, str, bytes, list, tuple})

_pack_times: Final = Struct("<BQBQ").pack  # time_unix_nano, observed_time_unix_nano
_pack_trace: Final = Struct("<BIBB16sBB8s").pack  # flags, trace_id, span_id

_ID_SIZE: Final = 36
_ID_HEAD: Final = encode_attribute(semconv.PREDICTION_ID, encode_string("-" * _ID_SIZE))[:-_ID_SIZE]
_DURATION_HEAD: Final = encode_attribute(semconv.PREDICTION_DURATION, encode_double(0))[:-8]
_pack_id_and_duration: Final = Struct(f"<{len(_ID_HEAD)}s{_ID_SIZE}s{len(_DURATION_HEAD)}sd").pack


def prediction_head(
    model: str,
    version: object = None,
    stage: str = semconv.STAGE_PRODUCTION,
    details: Details = Details(),  # noqa: B008  # immutable
    *,
    event: str = semconv.EVENT_PREDICTION,
    redaction: "RecordRedactor | None" = None,
) -> bytes:
    """Encode what all predictions of a model's version, made in one situation, have in common.

    Raises:
        ValueError: A name, stage or tag is not allowed.
    """
    if stage not in _STAGES:
        raise ValueError(f"stage is one of {', '.join(_STAGES)}, not {stage!r}")
    for key in details.tags:
        if not isinstance(key, str) or not key or key.startswith(_RESERVED):
            raise ValueError(f"a tag's name is text outside {', '.join(_RESERVED)}, not {key!r}")
    named = {
        "model": model_name(model),
        "version": _text(version),
        "stage": stage,
        "variant": _text(details.variant),
        "upstream": _text(details.upstream),
        "request_id": _text(details.request_id),
    }
    tags = details.tags if redaction is None else redaction.fields("tags", details.tags)
    head = sized(b"\x62", encode_text(event)) + _attributes(named, redaction)
    if details.fallback is not None:
        head += encode_attribute(semconv.PREDICTION_FALLBACK, encode_value(details.fallback))
    return head + b"".join([encode_attribute(key, encode_value(value)) for key, value in tags.items()])


def encode_body_map(key: str, values: Mapping[Any, Any], redaction: "RecordRedactor | None") -> bytes:
    """Encode `inputs` or `output`, an entry of a prediction's body."""
    return body_entry(key, encode_fields(values if redaction is None else redaction.fields(key, values)))


def body_entry(key: str, entries: bytes) -> bytes:
    """Encode an entry of a body that is a map, from its encoded entries, which have been redacted."""
    return _body_entry_head(key, len(entries)) + entries


def as_output(output: object) -> Mapping[Any, Any]:
    """Give an answer as a map: a map, or an object with fields, keeps its keys, anything else is `value`."""
    if type(output) in _SINGLE:
        return {semconv.OUTPUT_VALUE: output}
    if isinstance(output, Mapping):
        return output
    known = plain(output)
    return known if isinstance(known, dict) else {semconv.OUTPUT_VALUE: output}


def encode_prediction(
    head: bytes,
    *,
    time: int,
    prediction_id: str,
    body: bytes,
    duration_s: float | None = None,
    error: BaseException | str | None = None,
    weight: float = 1.0,
    redaction: "RecordRedactor | None" = None,
) -> bytes:
    """Encode a prediction.

    Args:
        head: From `prediction_head`.
        time: Start of the call, nanoseconds since the epoch.
        prediction_id: Its id.
        body: The entries of its body.
        duration_s: Seconds that the call took, where known.
        error: What went wrong: an exception, or the name of a kind of error.
        weight: How many predictions it stands for.
        redaction: Takes out what must not leave.

    Raises:
        struct.error: The time is before 1970 or after 2554.
    """
    identity = prediction_id.encode() if redaction is None and prediction_id.isascii() else b""
    if len(identity) == _ID_SIZE and duration_s is not None:
        head += _pack_id_and_duration(_ID_HEAD, identity, _DURATION_HEAD, duration_s)
    else:
        head += _attributes({"prediction_id": prediction_id}, redaction) + _duration(duration_s)
    if error is not None:
        head += _attributes(_error(error), redaction)
    if weight != 1.0:
        head += encode_attribute(semconv.PREDICTION_WEIGHT, encode_double(weight))
    return _log_record(time, head, _body_head(len(body)) + body)


def encode_batch(
    head: bytes,
    *,
    time: int,
    rows: int,
    stream: bytes,
    duration_s: float | None = None,
    error: BaseException | str | None = None,
    redaction: "RecordRedactor | None" = None,
) -> bytes:
    """Encode a batch of predictions or labels, whose columns are an Arrow IPC stream, redacted before.

    Args:
        head: From `prediction_head` or `label_head`, made for the batch's event.
        time: Of the rows that have none of their own, nanoseconds since the epoch.
        rows: How many the stream holds.
        stream: The stream.
        duration_s: Seconds that the call took, where known.
        error: What went wrong.
        redaction: Takes out what must not leave.
    """
    head += encode_attribute(semconv.BATCH_ROWS, encode_value(rows)) + _duration(duration_s)
    if error is not None:
        head += _attributes(_error(error), redaction)
    return _log_record(time, head, sized(b"\x2a", encode_value(stream)))


def label_head(
    model: str,
    *,
    source: str | None = None,
    prediction_id: str | None = None,
    request_id: str | None = None,
    prediction_time: int | None = None,
    event: str = semconv.EVENT_LABEL,
    redaction: "RecordRedactor | None" = None,
) -> bytes:
    """Encode everything of a label but the truth itself; the time in nanoseconds since the epoch.

    Raises:
        ValueError: The model's name is not allowed.
    """
    named = {
        "model": model_name(model),
        "prediction_id": _text(prediction_id),
        "request_id": _text(request_id),
        "source": _text(source),
    }
    head = sized(b"\x62", encode_text(event)) + _attributes(named, redaction)
    if prediction_time is not None:
        head += encode_attribute(semconv.PREDICTION_TIME, encode_value(prediction_time))
    return head


def encode_label(head: bytes, label: object, time: int, redaction: "RecordRedactor | None" = None) -> bytes:
    """Encode a label.

    Args:
        head: From `label_head`.
        label: The truth.
        time: When it became known, nanoseconds since the epoch.
        redaction: Takes out what must not leave.

    Raises:
        struct.error: The time is before 1970 or after 2554.
    """
    known: Mapping[str, object] = {semconv.BODY_LABEL: label}
    if redaction is not None:
        known = redaction.fields("", known)
    return _log_record(time, head, sized(b"\x2a", encode_map(encode_entries(known.items()))))


def encode_model(
    model: str, version: object, declared: Mapping[str, object], redaction: "RecordRedactor | None" = None
) -> bytes:
    """Encode what a service declares about a model.

    Raises:
        ValueError: The model's name is not allowed.
    """
    named = {"model": model_name(model), "version": _text(version)}
    head = sized(b"\x62", encode_text(semconv.EVENT_MODEL)) + _attributes(named, redaction)
    body = sized(b"\x2a", encode_map(encode_entries(declared.items())))
    return _log_record(_time.clock.time_ns(), head, body)


def model_name(model: object) -> str:
    """Give back a model's name.

    Raises:
        ValueError: It is not allowed.
    """
    if not isinstance(model, str) or not 1 <= len(model) <= 128 or _CONTROL.search(model):
        raise ValueError(f"a model's name is 1 to 128 characters without control characters, not {model!r}")
    return model


def _attributes(values: Mapping[str, str | None], redaction: "RecordRedactor | None") -> bytes:
    """Encode attributes that hold what users say, given by their columns' names; None is left out."""
    known: Mapping[str, object] = {name: value for name, value in values.items() if value is not None}
    if redaction is not None:
        known = redaction.fields("", known)
    return b"".join(
        [encode_attribute(ATTRIBUTES[name], encode_value(value)) for name, value in known.items()]
    )


def _error(error: BaseException | str) -> dict[str, str | None]:
    if isinstance(error, str):
        return {"error_type": error}
    kind = type(error)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {
        "error_type": prefix + kind.__qualname__,
        "error_message": str(plain(error))[:_ERROR_LENGTH],
        "error_stacktrace": "".join(format_exception(error))[-_ERROR_LENGTH:],
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _duration(seconds: float | None) -> bytes:
    return b"" if seconds is None else encode_attribute(semconv.PREDICTION_DURATION, encode_double(seconds))


def _log_record(time: int, head: bytes, body: bytes) -> bytes:
    return _pack_times(0x09, time, 0x59, _time.clock.time_ns()) + head + body + _trace_context()


def _trace_context() -> bytes:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return b""
    trace_id, span_id = context.trace_id.to_bytes(16), context.span_id.to_bytes(8)
    return _pack_trace(0x45, context.trace_flags, 0x4A, 16, trace_id, 0x52, 8, span_id)


@lru_cache(maxsize=4096)
def _body_entry_head(key: str, size: int) -> bytes:
    """Encode all that stands before the entries of a map, `size` bytes, that is an entry of a body."""
    head = b"\x32" + varint(size)
    return entry_head(b"\x0a", key, len(head) + size) + head


@lru_cache(maxsize=4096)
def _body_head(size: int) -> bytes:
    """Encode all that stands before the entries, `size` bytes, of a body that is a map."""
    head = b"\x32" + varint(size)
    return b"\x2a" + varint(len(head) + size) + head
