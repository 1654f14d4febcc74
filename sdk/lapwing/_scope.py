"""What is said about predictions from around them and from inside, and which ids they were given.

All of it follows the context, as tracing does: a task that is started inside keeps it, a thread does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lapwing import _time
from lapwing._time import Time, to_ns


@dataclass(frozen=True, slots=True)
class Details:
    """What may be said about a prediction beside what its function is given and answers.

    Attributes:
        request_id: Pairs predictions of several models for one request.
        variant: Arm of an experiment.
        upstream: The model or step before this one.
        fallback: The answer is a default, not the model's.
        tags: Segments to tell predictions apart by.
    """

    request_id: str | None = None
    variant: str | None = None
    upstream: str | None = None
    fallback: bool | None = None
    tags: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take what is no mapping for a tag of its own: nothing here may raise into the host."""
        tags: object = self.tags
        if not isinstance(tags, Mapping):
            object.__setattr__(self, "tags", {} if tags is None else {"tags": tags})

    def over(self, other: "Details | None") -> "Details":
        """Join two: what this one says wins, tag by tag."""
        if other is None:
            return self
        said = {name: value for name in _SINGLE if (value := getattr(self, name)) is not None}
        return replace(other, **said, tags={**other.tags, **self.tags})


_SINGLE: Final = ("request_id", "variant", "upstream", "fallback")

_event_time: ContextVar[Time | None] = ContextVar("lapwing_event_time", default=None)
_around: ContextVar[Details | None] = ContextVar("lapwing_scope", default=None)
_inside: ContextVar[Details | None] = ContextVar("lapwing_annotations", default=None)
_last_ids: ContextVar[Sequence[str]] = ContextVar("lapwing_last_prediction_ids", default=())

around = _around.get
"""Details given by `scope`; None outside."""
annotations = _inside.get
"""Details given by `annotate` to the prediction being made; None where there are none."""
set_annotations = _inside.set
remember_prediction_ids = _last_ids.set


def restore(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Give a variable its former value, if this is still the context in which it was set.

    A generator may be ended in another one, as some web frameworks do with those of their thread pool.
    """
    with suppress(ValueError):
        variable.reset(token)


@contextmanager
def scope(
    *,
    time: Time | None = None,
    request_id: str | None = None,
    variant: str | None = None,
    upstream: str | None = None,
    fallback: bool | None = None,
    tags: Mapping[str, object] | None = None,
) -> Iterator[None]:
    """Say something about all predictions made inside, as a middleware does for those of a request.

    Scopes lie inside each other: the inner one wins. It follows the context, as tracing does: tasks started
    inside keep it, threads do not.

    Args:
        time: When they were made, as for `at`.
        request_id: Pairs predictions of several models for one request.
        variant: Arm of an experiment.
        upstream: The model or step before.
        fallback: The answers are defaults, not the model's.
        tags: Segments to tell predictions apart by.
    """
    details = Details(request_id, variant, upstream, fallback, tags or {})
    token = _around.set(details.over(_around.get()))
    try:
        with nullcontext() if time is None else at(time):
            yield
    finally:
        restore(_around, token)


@contextmanager
def at(time: Time) -> Iterator[None]:
    """Set the event time of the predictions made inside, for replays and backfills.

    If the time is none, the predictions inside are not recorded, and counted as `encode_error`: none gets a
    wrong one.

    Args:
        time: A datetime (a naive one is UTC) or nanoseconds since the epoch.
    """
    token = _event_time.set(time)
    try:
        yield
    finally:
        restore(_event_time, token)


def annotate(
    *,
    request_id: str | None = None,
    variant: str | None = None,
    upstream: str | None = None,
    fallback: bool | None = None,
    tags: Mapping[str, object] | None = None,
) -> None:
    """Say something about the prediction that is being made, from inside its function.

        except Timeout:
            lapwing.annotate(fallback=True)
            return 0.5

    Of several calls, the later one wins. Outside of a watched function it does nothing.

    Args:
        request_id: Pairs predictions of several models for one request.
        variant: Arm of an experiment.
        upstream: The model or step before.
        fallback: The answer is a default, not the model's.
        tags: Segments to tell predictions apart by.
    """
    _inside.set(Details(request_id, variant, upstream, fallback, tags or {}).over(_inside.get()))


def event_time_ns(time: Time | None = None) -> int:
    """Give the event time of a prediction: the given one, else that of the scope, else the clock's.

    Raises:
        TypeError: The time is none.
    """
    if time is None:
        time = _event_time.get()
    return _time.clock.time_ns() if time is None else to_ns(time)


def last_prediction_id() -> str | None:
    """Give the id of the newest prediction made in this context; None before the first.

    After a call with a table it is the id of the last row; `last_prediction_ids` has them all. Predictions
    made in another thread, or in a task that was started and not awaited in place, are not seen.
    """
    ids = _last_ids.get()
    return ids[-1] if ids else None


def last_prediction_ids() -> Sequence[str]:
    """Give the ids of the newest call in this context, one per prediction, in the order of its rows."""
    return _last_ids.get()
