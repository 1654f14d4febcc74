"""The replay: a service that predicts at each departure, and learns the truth at each arrival."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import lapwing
from lapwing_collector.demo.flights import Arrival, Departure
from lapwing_collector.demo.model import Service, UnknownDestinationError

MODEL: Final = "flights"
VERSION: Final = "2013-03-01"

_TELL_EVERY: Final = 500


@dataclass(slots=True)
class Replayed:
    """What the service itself knows of the replay, to hold against what the lake says.

    Attributes:
        predictions: Calls, failed ones among them.
        failures: Calls that the model refused.
        labels: Truths that became known.
        judged: Truths about flights that the model had predicted.
        right: Those where it was right.
        last_event: Event time of the newest event.
    """

    predictions: int = 0
    failures: int = 0
    labels: int = 0
    judged: int = 0
    right: int = 0
    last_event: datetime | None = None
    waiting: dict[str, tuple[str, bool | None]] = field(default_factory=dict)


def watched(service: Service) -> Callable[..., dict[str, bool | float]]:
    """The service's predict function as its author would watch it."""

    @lapwing.watch(model=MODEL, version=VERSION)
    def predict(*, flight: str, **inputs: Any) -> dict[str, bool | float]:  # noqa: ARG001  # recorded, not used
        return service.predict(**inputs)

    return predict


def replay(
    events: Iterable[Departure | Arrival], service: Service, tell: Callable[[Replayed], None] = lambda _: None
) -> Replayed:
    """Run the service through `events`, in event time, one by one.

    Args:
        events: In order of time.
        service: The model.
        tell: Called now and then with how far it is.
    """
    predict = watched(service)
    done = Replayed()
    for event in events:
        if isinstance(event, Departure):
            late = None
            with lapwing.at(event.time):
                try:
                    late = bool(predict(flight=event.flight_id, **event.inputs)["late"])
                except UnknownDestinationError:
                    done.failures += 1
            prediction_id = lapwing.last_prediction_id()
            done.predictions += 1
            done.waiting[event.flight_id] = (prediction_id or "", late)
        else:
            prediction_id, late = done.waiting.pop(event.flight_id)
            lapwing.log_label(
                model=MODEL,
                label=event.late,
                prediction_id=prediction_id,
                prediction_time=event.departed_at,
                time=event.time,
            )
            done.labels += 1
            if late is not None:
                done.judged += 1
                done.right += late == event.late
        done.last_event = event.time
        if (done.predictions + done.labels) % _TELL_EVERY == 0:
            tell(done)
    tell(done)
    return done
