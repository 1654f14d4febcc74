"""When a request is tried again, and when not, on a clock that only the waiting moves."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from google.rpc.status_pb2 import Status

from helpers.sdk_receiver import PROTOBUF, partial_success
from lapwing._deliver import Accepted, Refused, Reply, Unavailable, deliver, judge

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Clock:
    """Time that passes by waiting."""

    def __init__(self, give_up_at: float = float("inf")) -> None:
        """Start at zero."""
        self.waits: list[float] = []
        self._give_up_at = give_up_at

    def now(self) -> float:
        """Give the time waited."""
        return sum(self.waits)

    def wall(self) -> float:
        """Give a fixed date."""
        return NOW.timestamp()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.waits.append(seconds)

    def give_up_at(self) -> float:
        """Give the end."""
        return self._give_up_at


class Script:
    """A transport that plays replies, the last one for ever."""

    def __init__(self, *replies: Reply | OSError) -> None:
        """Take what to play."""
        self.sent: list[tuple[bytes, float]] = []
        self._replies: Iterator[Reply | OSError] = iter(replies)

    def post(self, body: bytes, timeout_s: float) -> Reply:
        """Play the next reply."""
        self.sent.append((body, timeout_s))
        self._reply = next(self._replies, None) or self._reply
        if isinstance(self._reply, OSError):
            raise self._reply
        return self._reply


def send(transport: Script, clock: Clock, tell: Callable[[str], None] = lambda _: None) -> object:
    """Deliver a request with the usual limits."""
    return deliver(transport, b"request", timeout_s=10, retry_for_s=60, timer=clock, tell=tell)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_unavailable_receivers_are_tried_again_with_the_same_bytes(status: int) -> None:
    """The retryable statuses and lost connections are tried again until one attempt is accepted."""
    transport, clock = Script(Reply(status), ConnectionError("reset"), Reply(200)), Clock()
    assert send(transport, clock) == Accepted()
    assert [body for body, _ in transport.sent] == [b"request"] * 3


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 415, 500, 501])
def test_other_answers_are_final(status: int) -> None:
    """No other status is ever tried again."""
    transport, clock = Script(Reply(status)), Clock()
    assert send(transport, clock) == Refused(f"status {status}")
    assert len(transport.sent) == 1


def test_waiting_grows_with_jitter_and_ends() -> None:
    """Delays double from a quarter second to five, less up to half, and the last attempt is at the end."""
    transport, clock, told = Script(Reply(503)), Clock(), []
    assert send(transport, clock, told.append) == Unavailable("status 503")
    assert clock.now() == pytest.approx(60)
    for number, wait in enumerate(clock.waits[:-1]):
        longest = min(5.0, 0.25 * 2**number)
        assert longest / 2 <= wait <= longest
    assert len(set(clock.waits)) > 10
    assert told == ["status 503"] * len(clock.waits) == ["status 503"] * (len(transport.sent) - 1)


def test_the_end_of_the_process_ends_the_trying() -> None:
    """With two seconds to live, trying ends after two, and no attempt may take longer than is left."""
    transport, clock = Script(TimeoutError("slow")), Clock(give_up_at=2)
    assert send(transport, clock) == Unavailable("TimeoutError: slow")
    assert clock.now() == pytest.approx(2)
    assert transport.sent[0][1] == 2
    assert transport.sent[-1][1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        ("3", 3),
        ("0", 0),
        ("-5", 0),
        (format_datetime(NOW + timedelta(seconds=7), usegmt=True), 7),
        (format_datetime(NOW - timedelta(seconds=7), usegmt=True), 0),
        ("3600", 60),
    ],
)
def test_retry_after_is_honoured(retry_after: str, wait: float) -> None:
    """Seconds and dates in `Retry-After` are waited for exactly, at most for the time that is left."""
    transport, clock = Script(Reply(503, retry_after=retry_after), Reply(200)), Clock()
    assert send(transport, clock) == Accepted()
    assert clock.waits == [wait]


@pytest.mark.parametrize("retry_after", ["soon", "inf", "nan", ""])
def test_a_senseless_retry_after_does_not_count(retry_after: str) -> None:
    """A `Retry-After` that says nothing leaves the usual delay."""
    transport, clock = Script(Reply(503, retry_after=retry_after), Reply(200)), Clock()
    send(transport, clock)
    assert 0.125 <= clock.waits[0] <= 0.25


def test_a_partial_success_is_final_and_counts_the_rejected() -> None:
    """The rejected records and the reason are read from a reply in protobuf."""
    body = partial_success(3, "no such model").body
    assert judge(Reply(200, PROTOBUF, body=body), 0) == Accepted(3, "no such model")


def test_refusals_say_why() -> None:
    """The message of the Status in a refusal is part of what is told."""
    body = Status(code=3, message="not OTLP").SerializeToString()
    assert judge(Reply(400, PROTOBUF, body=body), 0) == Refused("status 400 not OTLP")


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        (Reply(200, "application/json", body=b"{}"), Accepted()),
        (Reply(200, PROTOBUF, body=b"\xff\xff"), Accepted()),
        (Reply(503, "text/html", body=b"<h1>"), Unavailable("status 503")),
        (Reply(400, PROTOBUF, body=b"\xff\xff"), Refused("status 400")),
        (
            Reply(200, PROTOBUF, body=None),
            Refused("status 200 with more of an answer than a collector gives"),
        ),
    ],
)
def test_strange_replies_are_judged_by_their_status(reply: Reply, fate: object) -> None:
    """A body that cannot be read changes nothing about the status; one that is too large is no answer."""
    assert judge(reply, 0) == fate
