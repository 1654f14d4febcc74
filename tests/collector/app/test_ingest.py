"""One request's way in, with a log that can be made to fail."""

import asyncio
from concurrent.futures import Future
from pathlib import Path

import pytest

from helpers.batches import predictions
from lapwing_collector.app.ingest import Ingest, frame, unframe
from lapwing_collector.app.pending import Pending
from lapwing_collector.clock import SteppingClock
from lapwing_collector.dedup import Ledger
from lapwing_collector.errors import DecodeError, UnavailableError
from lapwing_collector.model.records import Decoded
from lapwing_collector.receive import Accepted


class ScriptedLog:
    """A log whose appends are resolved by the test."""

    def __init__(self) -> None:
        self.appends: list[Future[int]] = []
        self.barriers: list[Future[None]] = []

    def append(self, payload: bytes) -> "Future[int]":
        self.appends.append(Future())
        return self.appends[-1]

    def barrier(self) -> "Future[None]":
        self.barriers.append(Future())
        return self.barriers[-1]


class Harness:
    """An `Ingest` over a scripted log; every request decodes to five numbered rows."""

    def __init__(self, capacity_bytes: int = 1 << 20) -> None:
        self.log = ScriptedLog()
        self.pending = Pending(capacity_bytes)
        self.ingest = Ingest(
            log=self.log, ledger=Ledger(), pending=self.pending, decode=self.decode, clock=SteppingClock()
        )

    @staticmethod
    def decode(payload: bytes, received_at_ns: int) -> Decoded:
        if payload == b"bad":
            raise DecodeError("not a request")
        batch = predictions(
            "m", [{"inputs.x": i} for i in range(5)], process_id="p", first_sequence=int(payload)
        )
        return Decoded((batch,), 5, 0, "")

    def rows(self) -> int:
        return sum(batch.rows.num_rows for entry in self.pending.peek(10**9) for batch in entry.batches)


async def until(condition: "list[Future[int]] | list[Future[None]]", length: int) -> None:
    for _ in range(100_000):  # yields to the loop, which has the work to do
        if len(condition) >= length:
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for did not come")


def test_nothing_is_accepted_before_it_is_durable() -> None:
    """The answer waits for the log, and rows reach the writer only then."""

    async def scenario() -> None:
        harness = Harness()
        answer = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.appends, 1)
        assert not answer.done()
        assert harness.rows() == 0
        harness.log.appends[0].set_result(1)
        assert await answer == Accepted()
        assert harness.rows() == 5

    asyncio.run(scenario())


def test_a_repeat_waits_for_the_first_to_be_durable() -> None:
    """The same request while the first is on its way is not stored again, nor acknowledged too soon."""

    async def scenario() -> None:
        harness = Harness()
        first = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.appends, 1)
        second = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.barriers, 1)
        assert not second.done()
        harness.log.appends[0].set_result(1)
        harness.log.barriers[0].set_result(None)
        assert await first == await second == Accepted()
        assert harness.rows() == 5
        assert len(harness.log.appends) == 1

    asyncio.run(scenario())


def test_what_could_not_be_made_durable_is_new_again() -> None:
    """After a failed append the client's retry is stored, not taken for a repeat."""

    async def scenario() -> None:
        harness = Harness()
        answer = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.appends, 1)
        harness.log.appends[0].set_exception(UnavailableError("no space left"))
        with pytest.raises(UnavailableError):
            await answer
        retry = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.appends, 2)
        harness.log.appends[1].set_result(2)
        await retry
        assert harness.rows() == 5

    asyncio.run(scenario())


def test_a_repeat_is_stored_when_the_first_failed_after_all() -> None:
    """A request taken for a repeat is acknowledged only with its records in the log, by whose append ever."""

    async def scenario() -> None:
        harness = Harness()
        first = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.appends, 1)
        repeat = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.barriers, 1)
        harness.log.appends[0].set_exception(UnavailableError("no space left"))
        with pytest.raises(UnavailableError):
            await first
        harness.log.barriers[0].set_result(None)
        await until(harness.log.appends, 2)
        assert not repeat.done()
        harness.log.appends[1].set_result(2)
        await until(harness.log.barriers, 2)
        harness.log.barriers[1].set_result(None)
        await repeat
        assert harness.rows() == 5

    asyncio.run(scenario())


def test_an_overlap_is_stored_in_part() -> None:
    """Of a request that repeats some records, the others are stored."""

    async def scenario() -> None:
        harness = Harness()
        for number, payload in enumerate((b"1", b"3")):
            answer = asyncio.create_task(harness.ingest(payload))
            await until(harness.log.appends, number + 1)
            harness.log.appends[number].set_result(number + 1)
            if number:
                await until(harness.log.barriers, 1)
                harness.log.barriers[0].set_result(None)
            await answer
        assert harness.rows() == 7

    asyncio.run(scenario())


def test_a_bad_body_touches_nothing() -> None:
    """What cannot be decoded never reaches the log."""

    async def scenario() -> None:
        harness = Harness()
        with pytest.raises(DecodeError):
            await harness.ingest(b"bad")
        assert not harness.log.appends

    asyncio.run(scenario())


def test_overload_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the queue full for too long, clients are told to try again."""
    monkeypatch.setattr("lapwing_collector.app.ingest._ROOM_WAIT_S", 0.0)

    async def scenario() -> None:
        harness = Harness(capacity_bytes=1)
        answer = asyncio.create_task(harness.ingest(b"1"))
        await until(harness.log.appends, 1)
        harness.log.appends[0].set_result(1)
        await answer
        with pytest.raises(UnavailableError, match="overloaded"):
            await harness.ingest(b"6")

    asyncio.run(scenario())


def test_frames_round_trip(tmp_path: Path) -> None:
    """What the log keeps of a request gives back its time and body."""
    assert unframe(frame(-5, b"body")) == (-5, b"body")
    assert unframe(frame(2**62, b"")) == (2**62, b"")
