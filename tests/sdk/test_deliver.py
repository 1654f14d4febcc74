"""When a request is tried again, and when not, on a clock that only the waiting moves."""

from collections.abc import Callable, Iterator

import pytest

from lapwing._deliver import Accepted, Fate, Refused, Unavailable, deliver, unreachable

BUSY = Unavailable("busy")


class Clock:
    """Time that passes by waiting."""

    def __init__(self, give_up_at: float = float("inf")) -> None:
        """Start at zero."""
        self.waits: list[float] = []
        self._give_up_at = give_up_at

    def now(self) -> float:
        """Give the time waited."""
        return sum(self.waits)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.waits.append(seconds)

    def give_up_at(self) -> float:
        """Give the end."""
        return self._give_up_at


class Script:
    """A transport that plays fates, the last one for ever."""

    def __init__(self, *fates: Fate) -> None:
        """Take what to play."""
        self.sent: list[tuple[bytes, float]] = []
        self._fates: Iterator[Fate] = iter(fates)

    def post(self, body: bytes, timeout_s: float) -> Fate:
        """Play the next fate."""
        self.sent.append((body, timeout_s))
        self._fate = next(self._fates, None) or self._fate
        return self._fate


def send(transport: Script, clock: Clock, tell: Callable[[str], None] = lambda _: None) -> object:
    """Deliver a request with the usual limits."""
    return deliver(transport, b"request", timeout_s=10, retry_for_s=60, timer=clock, tell=tell)


def test_unavailable_receivers_are_tried_again_with_the_same_bytes() -> None:
    """A request goes again, byte for byte, until an attempt is accepted."""
    transport, clock = Script(BUSY, Unavailable("reset"), Accepted(2, "two were bad")), Clock()
    assert send(transport, clock) == Accepted(2, "two were bad")
    assert [body for body, _ in transport.sent] == [b"request"] * 3


def test_refusals_are_final() -> None:
    """What is refused is never tried again."""
    transport, clock = Script(Refused("no")), Clock()
    assert send(transport, clock) == Refused("no")
    assert len(transport.sent) == 1


def test_waiting_grows_with_jitter_and_ends() -> None:
    """5a-34: delays double from 0.25 s to 5, less up to half, and the last attempt is at the end."""
    transport, clock, told = Script(BUSY), Clock(), []
    assert send(transport, clock, told.append) == BUSY
    assert clock.now() == pytest.approx(60)
    for number, wait in enumerate(clock.waits[:-1]):
        longest = min(5.0, 0.25 * 2**number)
        assert longest / 2 <= wait <= longest
    assert len(set(clock.waits)) > 10
    assert told == ["busy"] * len(clock.waits) == ["busy"] * (len(transport.sent) - 1)


def test_the_end_of_the_process_ends_the_trying() -> None:
    """With two seconds to live, trying ends after two, and no attempt may take longer than is left."""
    transport, clock = Script(BUSY), Clock(give_up_at=2)
    assert send(transport, clock) == BUSY
    assert clock.now() == pytest.approx(2)
    assert transport.sent[0][1] == 2
    assert transport.sent[-1][1] == pytest.approx(0.1)


@pytest.mark.parametrize("retry_after_s", [0, 0.001])
def test_who_asks_for_no_delay_is_not_overrun(retry_after_s: float) -> None:
    """A receiver that says it may be asked again at once is asked as seldom as one that says nothing."""
    transport, clock = Script(Unavailable("busy", retry_after_s)), Clock()
    send(transport, clock)
    assert clock.now() == pytest.approx(60)
    assert all(wait >= 0.125 for wait in clock.waits[:-1])
    assert all(wait >= 2.5 for wait in clock.waits[6:-1])


@pytest.mark.parametrize(("retry_after_s", "wait"), [(3, 3), (3600, 60)])
def test_the_delay_that_the_receiver_asks_for_is_honoured(retry_after_s: float, wait: float) -> None:
    """The receiver's own delay is waited for exactly, at most for the time that is left."""
    transport, clock = Script(Unavailable("busy", retry_after_s), Accepted()), Clock()
    assert send(transport, clock) == Accepted()
    assert clock.waits == [wait]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            "SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed",
            "set certificate (OTEL_EXPORTER_OTLP_CERTI",
        ),
        (
            "tlsv13 alert: TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "set client_certificate and client_key (OTEL_EXP",
        ),
    ],
)
def test_errors_of_tls_come_with_advice(error: str, advice: str) -> None:
    """Where it is known what helps, the message says so; other messages stay as they are."""
    assert unreachable(error).message.startswith(f"{error}; {advice}")
    assert unreachable("ConnectionRefusedError: no") == Unavailable("ConnectionRefusedError: no")
