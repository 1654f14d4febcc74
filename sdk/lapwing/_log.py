"""Predictions and labels recorded by hand: without a decorator, in replays, and when the truth comes late."""

from collections.abc import Mapping, Sequence
from typing import cast

from lapwing import _process, _time, semconv
from lapwing._policy import weight_of
from lapwing._record import (
    Stage,
    as_output,
    encode_batch,
    encode_body_map,
    encode_label,
    encode_prediction,
    label_head,
    prediction_head,
)
from lapwing._scope import Details, around, event_time_ns, remember_prediction_ids
from lapwing._table import table_kind
from lapwing._time import Time, new_prediction_id, to_ns


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
    variant: str | None = None,
    upstream: str | None = None,
    fallback: bool | None = None,
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
        variant: Arm of an experiment.
        upstream: The model or step before.
        fallback: The answer is a default, not the model's.
        tags: Segments to tell predictions apart by.

    Returns:
        The prediction's id, for `log_label`.
    """
    try:
        moment = event_time_ns(time)
        prediction_id = new_prediction_id(moment) if prediction_id is None else str(prediction_id)
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        remember_prediction_ids(())
        _process.sink().drop("encode_error", failure)
        return prediction_id or ""
    put_prediction(
        model=model,
        version=version,
        stage=stage,
        details=Details(request_id, variant, upstream, fallback, tags or {}),
        time=moment,
        prediction_id=prediction_id,
        inputs=inputs,
        output=output,
        has_output=output is not None or error is None,
        duration_s=duration_s,
        error=error,
    )
    return prediction_id


def put_prediction(
    *,
    model: str,
    version: str | None,
    stage: Stage,
    details: Details,
    time: int,
    prediction_id: str,
    inputs: Mapping[str, object],
    output: object,
    has_output: bool,
    duration_s: float | None,
    error: BaseException | str | None,
) -> None:
    """Record a prediction of which all is known; the time in nanoseconds since the epoch. Never raises."""
    sink = _process.sink()
    remember_prediction_ids((prediction_id,))
    if not sink.recording:
        return
    try:
        details = details.over(around())
        rate = 1.0 if error is not None else sink.policy.rate(model)
        weight = weight_of(details.request_id or prediction_id, rate)
        if not weight:
            return
        redaction = None if sink.policy.redact is None else sink.policy.redact.record()
        body = encode_body_map(semconv.BODY_INPUTS, inputs, redaction)
        if has_output:
            body += encode_body_map(semconv.BODY_OUTPUT, as_output(output), redaction)
        record = encode_prediction(
            prediction_head(model, version, stage, details, redaction=redaction),
            time=time,
            prediction_id=prediction_id,
            body=body,
            duration_s=duration_s,
            error=error,
            weight=weight,
            redaction=redaction,
        )
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        sink.drop("encode_error", failure)
    else:
        sink.put(record)


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
    if not sink.recording:
        return
    try:
        if not prediction_id and not request_id:
            raise ValueError("a label needs the prediction_id or the request_id of its prediction")  # noqa: TRY301
        redaction = None if sink.policy.redact is None else sink.policy.redact.record()
        head = label_head(
            model,
            source=source,
            prediction_id=prediction_id,
            request_id=request_id,
            prediction_time=None if prediction_time is None else to_ns(prediction_time),
            redaction=redaction,
        )
        moment = _time.clock.time_ns() if time is None else to_ns(time)
        record = encode_label(head, label, moment, redaction)
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        sink.drop("encode_error", failure)
    else:
        sink.put(record)


def log_labels(
    labels: object,
    *,
    model: str,
    prediction_ids: Sequence[str] | None = None,
    request_ids: Sequence[str] | None = None,
    time: Time | None = None,
    source: str | None = None,
) -> None:
    """Record the truth about many predictions. Never raises: what cannot be recorded is counted, see `stats`.

    Needs pyarrow: `pip install 'lapwing[tables]'`.

    Args:
        labels: A DataFrame, Table or list of dicts with the columns `label`, `prediction_id` or `request_id`
            or both, and if wanted `prediction_time`, `time` and `source`. Without `label`, the columns of
            other names together are it. Or a list, array or Series of labels, with the ids beside it.
        model: The model that predicted.
        prediction_ids: The predictions' ids, one per label, where they are no column.
        request_ids: The requests' ids, likewise.
        time: When the truth became known, where there is no such column; default: now.
        source: Where the truth comes from, where there is no such column.
    """
    sink = _process.sink()
    if not sink.recording:
        return
    try:
        from lapwing._rows import label_columns, streams  # noqa: PLC0415  # brings pyarrow, only for tables

        redaction = None if sink.policy.redact is None else sink.policy.redact.record()
        rows_redacted = redaction is not None and table_kind(labels) == "list"
        if redaction is not None and rows_redacted:  # as columns, what is mixed would be text
            labels = [redaction.fields("", row) for row in cast("list[Mapping[str, object]]", labels)]
        ids = {"prediction_id": _listed(prediction_ids), "request_id": _listed(request_ids)}
        columns = label_columns(_listed(labels), ids)
        kept = columns if redaction is None or rows_redacted else redaction.table("", columns)
        head = label_head(model, source=source, event=semconv.EVENT_LABEL_BATCH, redaction=redaction)
        moment = _time.clock.time_ns() if time is None else to_ns(time)
        for rows, stream in streams(kept):
            sink.put(encode_batch(head, time=moment, rows=rows, stream=stream))
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        sink.drop("encode_error", failure)


def _listed(values: object) -> object:
    """Give a sequence that is no column, such as a tuple or `last_prediction_ids()`, as a list."""
    return list(values) if isinstance(values, Sequence) and not isinstance(values, (str, bytes)) else values
