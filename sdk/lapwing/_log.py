"""Predictions and labels recorded by hand: without a decorator, in replays, and when the truth comes late."""

from collections.abc import Mapping
from time import time_ns

from lapwing import _process
from lapwing._record import (
    Stage,
    encode_inputs,
    encode_label,
    encode_output,
    encode_prediction,
    prediction_head,
)
from lapwing._time import Time, event_time_ns, new_prediction_id, remember_prediction_id, to_ns


def log_prediction(
    *,
    model: str,
    inputs: Mapping[str, object],
    output: object,
    version: str | None = None,
    time: Time | None = None,
    prediction_id: str | None = None,
    duration_s: float | None = None,
    error: BaseException | str | None = None,
    stage: Stage = "production",
    request_id: str | None = None,
    tags: Mapping[str, object] | None = None,
) -> str:
    """Record one prediction. Never raises: what cannot be recorded is counted, see `stats`.

    Args:
        model: The model's name, 1 to 128 characters, no control characters.
        inputs: Features by name.
        output: A mapping (`value`, `score`, `scores`, … or names of your own), or a single value.
        version: The model's version.
        time: When the prediction was made; default: the time of `at`, else now.
        prediction_id: An id of your own; default: a time-ordered one is made.
        duration_s: Seconds that the model took.
        error: What went wrong, as an exception or the name of a kind of error; the output is then left out
            if it is None.
        stage: `production`, `shadow` or `candidate`.
        request_id: Pairs predictions of several models for one request.
        tags: Segments to tell predictions apart by.

    Returns:
        The prediction's id, for `log_label`.
    """
    sink = _process.sink()
    try:
        moment = event_time_ns() if time is None else to_ns(time)
        prediction_id = new_prediction_id(moment) if prediction_id is None else str(prediction_id)
        record = encode_prediction(
            prediction_head(model, version, stage, tags),
            time=moment,
            prediction_id=prediction_id,
            inputs=encode_inputs(inputs),
            output=b"" if output is None and error is not None else encode_output(output),
            duration_s=duration_s,
            error=error,
            request_id=request_id,
        )
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        sink.drop("encode_error", failure)
        return prediction_id or ""
    sink.put(record)
    remember_prediction_id(prediction_id)
    return prediction_id


def log_label(
    *,
    model: str,
    label: object,
    prediction_id: str | None = None,
    request_id: str | None = None,
    prediction_time: Time | None = None,
    time: Time | None = None,
    source: str | None = None,
) -> None:
    """Record the truth about a prediction; a later label corrects an earlier one.

    Never raises: what cannot be recorded is counted, see `stats`.

    Args:
        model: The model that predicted.
        label: What turned out: a single value, or a mapping.
        prediction_id: The prediction's id; this or `request_id` is needed.
        request_id: The request's id, as the prediction has it.
        prediction_time: When the prediction was made, where known: makes joining them fast.
        time: When the truth became known; default: now.
        source: Where the truth comes from.
    """
    sink = _process.sink()
    try:
        record = encode_label(
            model=model,
            label=label,
            time=time_ns() if time is None else to_ns(time),
            prediction_id=prediction_id,
            request_id=request_id,
            prediction_time=None if prediction_time is None else to_ns(prediction_time),
            source=source,
        )
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        sink.drop("encode_error", failure)
    else:
        sink.put(record)
