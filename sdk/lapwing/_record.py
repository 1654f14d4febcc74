"""OTLP log records as the wire contract wants them (see `docs/conventions.md`), encoded."""

import re
from collections.abc import Mapping
from struct import Struct
from time import time_ns
from traceback import format_exception
from typing import Final, Literal

from opentelemetry import trace

from lapwing import semconv
from lapwing._encode import (
    encode_attribute,
    encode_double,
    encode_entries,
    encode_map,
    encode_string,
    encode_text,
    encode_value,
    map_entry,
    sized,
)

Stage = Literal["production", "shadow", "candidate"]

_STAGES: Final = (semconv.STAGE_PRODUCTION, semconv.STAGE_SHADOW, semconv.STAGE_CANDIDATE)
_RESERVED: Final = ("ml.", "lapwing.", "exception.", semconv.ERROR_TYPE)

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")

_pack_times: Final = Struct("<BQBQ").pack  # time_unix_nano, observed_time_unix_nano
_pack_trace: Final = Struct("<BIBB16sBB8s").pack  # flags, trace_id, span_id


def prediction_head(
    model: str,
    version: object = None,
    stage: str = semconv.STAGE_PRODUCTION,
    tags: Mapping[str, object] | None = None,
) -> bytes:
    """Encode what all predictions of a model's version have in common.

    Raises:
        ValueError: A name, stage or tag is not allowed.
    """
    if stage not in _STAGES:
        raise ValueError(f"stage is one of {', '.join(_STAGES)}, not {stage!r}")
    for key in tags or ():
        if not isinstance(key, str) or not key or key.startswith(_RESERVED):
            raise ValueError(f"a tag's name is text outside {', '.join(_RESERVED)}, not {key!r}")
    attributes = {semconv.MODEL_NAME: _model_name(model), semconv.PREDICTION_STAGE: stage, **(tags or {})}
    if version is not None:
        attributes[semconv.MODEL_VERSION] = str(version)
    return _event(semconv.EVENT_PREDICTION) + _attributes(attributes)


def encode_inputs(inputs: Mapping[str, object]) -> bytes:
    """Encode the inputs of a prediction, an entry of its body."""
    return map_entry(semconv.BODY_INPUTS, encode_map(encode_entries(inputs.items())))


def encode_output(output: object) -> bytes:
    """Encode what a model answered, an entry of its body: a map keeps its keys, anything else is `value`."""
    whole = output if isinstance(output, (dict, Mapping)) else {semconv.OUTPUT_VALUE: output}
    return map_entry(semconv.BODY_OUTPUT, encode_map(encode_entries(whole.items())))


def encode_prediction(
    head: bytes,
    *,
    time: int,
    prediction_id: str,
    inputs: bytes,
    output: bytes = b"",
    duration_s: float | None = None,
    error: BaseException | str | None = None,
    request_id: str | None = None,
) -> bytes:
    """Encode a prediction.

    Args:
        head: From `prediction_head`.
        time: Start of the call, nanoseconds since the epoch.
        prediction_id: Its id.
        inputs: From `encode_inputs`.
        output: From `encode_output`; empty when there was none.
        duration_s: Seconds that the call took, where known.
        error: What went wrong: an exception, or the name of a kind of error.
        request_id: Pairs predictions of several models for one request.

    Raises:
        struct.error: The time is before 1970 or after 2554.
    """
    attributes = encode_attribute(semconv.PREDICTION_ID, encode_string(prediction_id))
    if duration_s is not None:
        attributes += encode_attribute(semconv.PREDICTION_DURATION, encode_double(duration_s))
    if request_id is not None:
        attributes += encode_attribute(semconv.REQUEST_ID, encode_string(str(request_id)))
    if error is not None:
        attributes += _attributes(_error_attributes(error))
    return _log_record(time, head + attributes, inputs + output)


def encode_label(
    *,
    model: str,
    label: object,
    time: int,
    prediction_id: str | None,
    request_id: str | None,
    prediction_time: int | None,
    source: str | None,
) -> bytes:
    """Encode a label; times in nanoseconds since the epoch.

    Raises:
        ValueError: The model's name is not allowed, or nothing says which prediction is meant.
        struct.error: The time is before 1970 or after 2554.
    """
    if prediction_id is None and request_id is None:
        raise ValueError("a label needs the prediction_id or the request_id of its prediction")
    optional = {
        semconv.PREDICTION_ID: None if prediction_id is None else str(prediction_id),
        semconv.REQUEST_ID: None if request_id is None else str(request_id),
        semconv.PREDICTION_TIME: prediction_time,
        semconv.LABEL_SOURCE: None if source is None else str(source),
    }
    attributes = {semconv.MODEL_NAME: _model_name(model)} | {
        k: v for k, v in optional.items() if v is not None
    }
    head = _event(semconv.EVENT_LABEL) + _attributes(attributes)
    return _log_record(time, head, map_entry(semconv.BODY_LABEL, encode_value(label)))


def _log_record(time: int, head: bytes, body_entries: bytes) -> bytes:
    body = sized(b"\x2a", encode_map(body_entries))
    return _pack_times(0x09, time, 0x59, time_ns()) + head + body + _trace_context()


def _event(name: str) -> bytes:
    return sized(b"\x62", encode_text(name))


def _attributes(attributes: Mapping[str, object]) -> bytes:
    return b"".join([encode_attribute(key, encode_value(value)) for key, value in attributes.items()])


def _trace_context() -> bytes:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return b""
    trace_id, span_id = context.trace_id.to_bytes(16), context.span_id.to_bytes(8)
    return _pack_trace(0x45, context.trace_flags, 0x4A, 16, trace_id, 0x52, 8, span_id)


def _model_name(model: object) -> str:
    if not isinstance(model, str) or not 1 <= len(model) <= 128 or _CONTROL.search(model):
        raise ValueError(f"a model's name is 1 to 128 characters without control characters, not {model!r}")
    return model


def _error_attributes(error: BaseException | str) -> dict[str, object]:
    if isinstance(error, str):
        return {semconv.ERROR_TYPE: error}
    kind = type(error)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {
        semconv.ERROR_TYPE: prefix + kind.__qualname__,
        semconv.EXCEPTION_MESSAGE: error,
        semconv.EXCEPTION_STACKTRACE: "".join(format_exception(error)),
    }
