"""Predictions made by code that cannot be decorated."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from lapwing import _process, _time
from lapwing._log import put_prediction
from lapwing._observe import NOT_AN_OUTCOME
from lapwing._record import Stage
from lapwing._scope import Details, annotations, event_time_ns, set_annotations
from lapwing._time import Time, new_prediction_id

_NOT_SET: Final = object()


@dataclass(slots=True)
class Prediction:
    """A prediction while it is made; what is set on it is recorded at the end.

    Attributes:
        prediction_id: Its id, for `log_label`.
        inputs: Features by name; to be filled or set.
        output: What the model answers: a mapping, or a single value; to be set.
        request_id: Pairs predictions of several models for one request.
        variant: Arm of an experiment.
        upstream: The model or step before.
        fallback: The answer is a default, not the model's.
        tags: Segments to tell predictions apart by; to be filled or set.
    """

    prediction_id: str
    inputs: dict[str, Any] = field(default_factory=dict)
    output: Any = _NOT_SET
    request_id: str | None = None
    variant: str | None = None
    upstream: str | None = None
    fallback: bool | None = None
    tags: dict[str, Any] = field(default_factory=dict)


@contextmanager
def prediction(
    *,
    model: str,
    version: str | None = None,
    stage: Stage = "production",
    inputs: Mapping[str, object] | None = None,
    time: Time | None = None,
    prediction_id: str | None = None,
) -> Iterator[Prediction]:
    """Record what happens inside a `with` as one prediction.

        with lapwing.prediction(model="churn", inputs={"age": 31}) as p:
            p.output = {"score": model.score(31)}

    An exception that leaves the block is recorded, and goes on. Never raises itself: what cannot be recorded
    is counted, see `stats`.

    Args:
        model: The model's name, 1 to 128 characters, no control characters.
        version: The model's version.
        stage: `production`, `shadow` or `candidate`.
        inputs: Features by name.
        time: When the prediction is made; default: the time of `at`, else now.
        prediction_id: An id of your own; default: a time-ordered one is made.

    Yields:
        The prediction: its output, and what else is to be said about it, is set on it.
    """
    failure: Exception | None = None
    try:
        moment = event_time_ns(time)
        made = Prediction(
            new_prediction_id(moment) if prediction_id is None else str(prediction_id), dict(inputs or {})
        )
    except Exception as error:  # noqa: BLE001  # the host must not notice
        failure, moment, made = error, 0, Prediction(prediction_id or "")
    outer = annotations()
    set_annotations(None)
    started_ns = _time.clock.perf_counter_ns()
    outcome: BaseException | None = None
    try:
        yield made
    except BaseException as error:
        outcome = error
        raise
    finally:
        duration_s = (_time.clock.perf_counter_ns() - started_ns) / 1e9
        said = annotations() or Details()
        set_annotations(outer)
        if failure is not None:
            _process.sink().drop("encode_error", failure)
        elif not isinstance(outcome, NOT_AN_OUTCOME):
            own = Details(made.request_id, made.variant, made.upstream, made.fallback, made.tags)
            put_prediction(
                model=model,
                version=version,
                stage=stage,
                details=own.over(said),
                time=moment,
                prediction_id=made.prediction_id,
                inputs=made.inputs,
                output=made.output,
                has_output=made.output is not _NOT_SET and outcome is None,
                duration_s=duration_s,
                error=outcome,
            )
