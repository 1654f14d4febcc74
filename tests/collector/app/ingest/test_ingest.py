"""Requests on their way in, with a log that can be made to fail."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from helpers.batches import logs, predictions
from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import Requests, request_hash
from lapwing_collector.app.ingest.ingest import Ingest
from lapwing_collector.app.ingest.pending import LogEntry
from lapwing_collector.clock import SteppingClock, epoch_ns
from lapwing_collector.dedup import Ledger
from lapwing_collector.errors import DecodeError, UnavailableError
from lapwing_collector.model.records import DIGEST, Batch, DecodedGroup, Outcome
from lapwing_collector.receive import Accepted

NOON = datetime(2026, 1, 1, 12)


def be_patient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let requests wait for so long, half of it for their turn."""
    monkeypatch.setattr("lapwing_collector.app.ingest.ingest._QUEUE_S", seconds / 2)
    monkeypatch.setattr("lapwing_collector.app.ingest.ingest._PATIENCE_S", seconds)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, nothing here takes too long unless a test wants it to."""
    be_patient(monkeypatch, 60)


class ScriptedLog:
    """A log whose appends are resolved by the test; barriers follow the appends before them."""

    def __init__(self) -> None:
        self.appends: list[Future[int]] = []
        self.heads: list[bytes] = []
        self.bodies: list[Sequence[bytes]] = []
        self.problem: str | None = None

    def append(self, head: bytes, body: Sequence[bytes]) -> "Future[int]":
        self.heads.append(head)
        self.bodies.append(body)
        self.appends.append(Future())
        return self.appends[-1]

    def barrier(self) -> "Future[None]":
        barrier: Future[None] = Future()
        before = [append for append in self.appends if not append.done()]
        if not before:
            barrier.set_result(None)
        else:
            before[-1].add_done_callback(lambda _: barrier.set_result(None))
        return barrier


class Harness:
    """An `Ingest` over a scripted log.

    The payload `b"7"` holds five records of process p, numbered from 7; `b"x"` and other letters hold one
    record without a number, with the letter as its content; `b"bad"` is no request, `b"bug"` makes decoding
    fail, and `b"70"` and `b"75"` do not fit the memory together.
    """

    def __init__(self, **options: Any) -> None:
        self.log = ScriptedLog()
        self.entries: list[LogEntry] = []
        self.requests: list[Requests] = []
        self.accounts = Accounts()
        self.ledger = Ledger()
        self.clock = SteppingClock(epoch_ns(NOON))
        self.room = True
        self.groups: list[list[bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.ingest = Ingest(
            log=self.log,
            ledger=self.ledger,
            accounts=self.accounts,
            decode=self.decode,
            clock=self.clock,
            has_room=self.has_room,
            on_durable=self.keep,
            **options,
        )

    def has_room(self, unsettled_bytes: int) -> bool:
        self.unsettled_bytes = unsettled_bytes
        return self.room

    def keep(self, entry: LogEntry, requests: Requests) -> None:
        self.entries.append(entry)
        self.requests.append(requests)

    def decode(self, payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
        self.groups.append(list(payloads))
        assert self.gate.wait(60)
        if b"bug" in payloads:
            raise ZeroDivisionError
        if {b"70", b"75"} <= {*payloads}:
            raise MemoryError
        batches, outcomes = [], []
        for payload in payloads:
            if payload == b"bad":
                outcomes.append(Outcome(error=DecodeError("not a request")))
                continue
            batch = self.batch(payload)
            batches.append(batch)
            outcomes.append(Outcome(records=batch.rows.num_rows, rows=batch.rows.num_rows))
        return DecodedGroup(tuple(batches), tuple(outcomes))

    @staticmethod
    def batch(payload: bytes) -> Batch:
        if payload.isdigit():
            rows = [{"inputs.x": number} for number in range(5)]
            return predictions("m", rows, process_id="p", first_sequence=int(payload))
        plain = logs([{"severity_text": payload.decode()}])
        digest = pa.array([request_hash(payload[:1])], DIGEST)
        return Batch(plain.kind, "", None, plain.sequence, plain.rows, digest=digest)

    def rows(self) -> int:
        return sum(batch.rows.num_rows for entry in self.entries for batch in entry.batches)

    def post(self, payload: bytes) -> "asyncio.Task[Accepted]":
        return asyncio.create_task(self.ingest(payload))

    async def stored(self, *payloads: bytes) -> None:
        """Take requests in, one after another, whose appends all succeed."""
        for payload in payloads:
            task = self.post(payload)
            await self.settle_all(task)

    async def settle_all(self, *tasks: "asyncio.Task[Accepted]") -> None:
        while not all(task.done() for task in tasks):
            for number, append in enumerate(self.log.appends, start=1):
                if not append.done():
                    append.set_result(number)
            await asyncio.sleep(0)
        for task in tasks:
            assert task.result() == Accepted()


async def until(condition: Sequence[object], length: int) -> None:
    for _ in range(1_000_000):  # yields to the loop, which has the work to do
        if len(condition) >= length:
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for did not come")


def run(scenario: "object") -> None:
    asyncio.run(scenario())  # type: ignore[operator]


def test_nothing_is_accepted_before_it_is_durable() -> None:
    """The answer waits for the log, and rows reach the writer only then."""

    async def scenario() -> None:
        harness = Harness()
        answer = harness.post(b"1")
        await until(harness.log.appends, 1)
        assert not answer.done()
        assert harness.rows() == 0
        harness.log.appends[0].set_result(1)
        assert await answer == Accepted()
        assert harness.rows() == 5

    run(scenario)


def test_requests_that_wait_are_taken_together() -> None:
    """While a request is decoded others gather; these are decoded in one go, and become one entry."""

    async def scenario() -> None:
        harness = Harness()
        harness.gate.clear()
        tasks = [harness.post(b"1")]
        await until(harness.groups, 1)
        tasks += [harness.post(b"%d" % number) for number in range(6, 46, 5)]
        await asyncio.sleep(0)
        harness.gate.set()
        await harness.settle_all(*tasks)
        assert [len(group) for group in harness.groups] == [1, 8]
        assert [len(body) for body in harness.log.bodies] == [1, 8]
        assert [entry.position for entry in harness.entries] == [1, 2]
        assert harness.rows() == 45

    run(scenario)


@pytest.mark.parametrize(("limit", "ample"), [("_GROUP_S", 60), ("_GROUP_ROWS_BYTES", 1 << 30)])
def test_groups_shrink_where_reading_takes_much(
    monkeypatch: pytest.MonkeyPatch, limit: str, ample: float
) -> None:
    """Fewer requests are taken together where that would take long, or rows of theirs much memory."""
    monkeypatch.setattr(f"lapwing_collector.app.ingest.ingest.{limit}", 1e-9)

    async def scenario() -> None:
        harness = Harness()
        tasks = [harness.post(b"%d" % number) for number in range(1, 41, 5)]
        await harness.settle_all(*tasks)
        assert [len(group) for group in harness.groups] == [8]
        tasks = [harness.post(b"%d" % number) for number in range(51, 91, 5)]
        await harness.settle_all(*tasks)
        assert [len(group) for group in harness.groups] == [8, *[1] * 8]
        monkeypatch.setattr(f"lapwing_collector.app.ingest.ingest.{limit}", ample)
        tasks = [harness.post(b"%d" % number) for number in range(101, 201, 5)]
        await harness.settle_all(*tasks)
        sizes = [len(group) for group in harness.groups][9:]
        assert sizes[0] == 1
        assert sizes == sorted(sizes)
        assert len(sizes) < 10

    run(scenario)


def test_each_request_of_a_group_gets_its_own_answer() -> None:
    """What cannot be read is refused and never reaches the log; the others of its group are accepted."""

    async def scenario() -> None:
        harness = Harness()
        harness.gate.clear()
        first = harness.post(b"1")
        await until(harness.groups, 1)
        bad, good = harness.post(b"bad"), harness.post(b"6")
        await asyncio.sleep(0)
        harness.gate.set()
        await harness.settle_all(first, good)
        with pytest.raises(DecodeError, match="not a request"):
            await bad
        assert harness.log.bodies == [[b"1"], [b"6"]]

    run(scenario)


def test_a_request_that_breaks_the_decoder_costs_no_other() -> None:
    """When decoding a group fails as it never should, its requests are decoded one by one."""

    async def scenario() -> None:
        harness = Harness()
        harness.gate.clear()
        first = harness.post(b"1")
        await until(harness.groups, 1)
        bug, good = harness.post(b"bug"), harness.post(b"6")
        await asyncio.sleep(0)
        harness.gate.set()
        await harness.settle_all(first, good)
        with pytest.raises(ZeroDivisionError):
            await bug
        assert harness.rows() == 10

    run(scenario)


def test_requests_that_do_not_fit_together_are_taken_one_by_one() -> None:
    """Where the decoder has no room for a group, its first request is read alone, and the others after it."""

    async def scenario() -> None:
        harness = Harness()
        harness.gate.clear()
        tasks = [harness.post(b"1")]
        await until(harness.groups, 1)
        tasks += [harness.post(payload) for payload in (b"70", b"75", b"80")]
        await asyncio.sleep(0)
        harness.gate.set()
        await harness.settle_all(*tasks)
        assert harness.groups[1:3] == [[b"70", b"75", b"80"], [b"70"]]
        assert [payload for group in harness.groups[3:] for payload in group] == [b"75", b"80"]
        assert harness.rows() == 20

    run(scenario)


def test_a_request_is_prepared_once() -> None:
    """One that has to wait for room after it was prepared is not prepared again: a hash would be hashed."""
    prepared: list[bytes] = []

    def prepare(payload: bytes) -> bytes:
        prepared.append(payload)
        return payload

    async def scenario() -> None:
        harness = Harness(prepare=prepare)
        harness.gate.clear()
        tasks = [harness.post(b"1")]
        await until(harness.groups, 1)
        tasks += [harness.post(payload) for payload in (b"70", b"75")]
        await asyncio.sleep(0)
        harness.gate.set()
        await harness.settle_all(*tasks)
        assert prepared == [b"1", b"70", b"75"]

    run(scenario)


def test_rows_that_decoding_left_out_are_booked() -> None:
    """A record that comes twice in a group has one row, and the books say what became of the other."""
    harness = Harness()

    def decode(payloads: Sequence[bytes], _: int) -> DecodedGroup:
        return DecodedGroup((harness.batch(b"1"),), (Outcome(records=7, rows=7),))

    async def scenario() -> None:
        harness.ingest._decode = decode
        await harness.settle_all(harness.post(b"1"))
        assert (harness.accounts.received, harness.accounts.deduplicated) == (7, 2)

    run(scenario)


@pytest.mark.parametrize("payload", [b"1", b"x"])
def test_a_repeat_waits_for_the_first_to_be_durable(payload: bytes) -> None:
    """The same request while the first is on its way is not stored again, nor acknowledged too soon."""

    async def scenario() -> None:
        harness = Harness()
        first = harness.post(payload)
        await until(harness.log.appends, 1)
        second = harness.post(payload)
        await until(harness.groups, 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not second.done()
        await harness.settle_all(first, second)
        assert len(harness.log.appends) == len(harness.entries) == 1
        assert harness.accounts.deduplicated == harness.accounts.received - harness.rows() == harness.rows()

    run(scenario)


@pytest.mark.parametrize("payload", [b"1", b"x"])
def test_what_could_not_be_made_durable_is_new_again(payload: bytes) -> None:
    """After a failed append the client's retry is stored, not taken for a repeat; only it is booked."""

    async def scenario() -> None:
        harness = Harness()
        answer = harness.post(payload)
        await until(harness.log.appends, 1)
        harness.log.appends[0].set_exception(UnavailableError("no space left"))
        with pytest.raises(UnavailableError):
            await answer
        await harness.settle_all(harness.post(payload))
        assert harness.accounts == Accounts(received=harness.rows())
        assert len(harness.entries) == 1

    run(scenario)


@pytest.mark.parametrize("payload", [b"1", b"x"])
def test_a_repeat_is_stored_when_the_first_failed_after_all(payload: bytes) -> None:
    """A request taken for a repeat is acknowledged only with its records in the log, by whose append ever."""

    async def scenario() -> None:
        harness = Harness()
        first = harness.post(payload)
        await until(harness.log.appends, 1)
        repeat = harness.post(payload)
        await until(harness.groups, 2)
        for _ in range(100):
            await asyncio.sleep(0)
        harness.log.appends[0].set_exception(UnavailableError("no space left"))
        with pytest.raises(UnavailableError):
            await first
        await until(harness.log.appends, 2)
        assert not repeat.done()
        await harness.settle_all(repeat)
        assert len(harness.entries) == 1

    run(scenario)


@pytest.mark.parametrize("payload", [b"1", b"x"])
def test_repeats_do_not_take_each_others_attempts_for_success(payload: bytes) -> None:
    """Of several repeats of what failed, none is acknowledged by the append of another that fails as well."""

    async def scenario() -> None:
        harness = Harness()
        first = harness.post(payload)
        await until(harness.log.appends, 1)
        repeats = [harness.post(payload) for _ in range(3)]
        await until(harness.groups, 2)
        for _ in range(100):
            await asyncio.sleep(0)
        for tried in range(4):
            await until(harness.log.appends, tried + 1)
            harness.log.appends[tried].set_exception(UnavailableError("no space left"))
        for answer in (first, *repeats):
            with pytest.raises(UnavailableError):
                await answer
        assert harness.entries == []

    run(scenario)


def test_what_cannot_even_be_appended_is_new_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error between accepting and appending leaves nothing accepted, and later requests are served."""

    async def scenario() -> None:
        harness = Harness()
        for broken in ("ingest.row_count", "ingest.Requests.head"):
            with monkeypatch.context() as patch:
                patch.setattr(f"lapwing_collector.app.ingest.{broken}", lambda _: 1 // 0)
                with pytest.raises(ZeroDivisionError):
                    await harness.ingest(b"1")
        await harness.stored(b"1")
        assert harness.rows() == 5

    run(scenario)


def test_an_overlap_is_stored_in_part() -> None:
    """Of a request that repeats some records the others are stored, and its entry says which they are."""

    async def scenario() -> None:
        harness = Harness()
        await harness.stored(b"1", b"3")
        assert harness.rows() == 7
        assert harness.requests[1].admission.numbers["p"].starts.tolist() == [6]
        assert harness.requests[1].admission.numbers["p"].ends.tolist() == [7]
        assert harness.accounts == Accounts(received=10, deduplicated=3)

    run(scenario)


def test_records_without_a_number_are_known_by_their_content() -> None:
    """A record that comes again in another request is stored once."""

    async def scenario() -> None:
        harness = Harness()
        await harness.stored(b"x", b"xx", b"y")
        assert harness.rows() == 2
        assert harness.accounts == Accounts(received=3, deduplicated=1)

    run(scenario)


def test_content_need_not_be_compared() -> None:
    """With `dedup.unnumbered: false` records without a number are all stored; numbered ones still once."""

    async def scenario() -> None:
        harness = Harness(compare_content=False)
        await harness.stored(b"x", b"x", b"1", b"1")
        assert harness.rows() == 7

    run(scenario)


def test_a_request_is_known_as_a_whole_only_if_all_of_it_was_stored() -> None:
    """Where a part of a request is taken for a repeat and then fails, its retry is stored after all."""

    async def scenario() -> None:
        harness = Harness()
        harness.gate.clear()
        first = harness.post(b"x")
        await until(harness.groups, 1)
        harness.gate.set()
        await until(harness.log.appends, 1)
        harness.gate.clear()
        warm = harness.post(b"w")
        await until(harness.groups, 2)
        both = [harness.post(b"xx"), harness.post(b"y")]  # a group: one repeats the record of the first
        await asyncio.sleep(0)
        harness.gate.set()
        await until(harness.log.appends, 3)
        failed = UnavailableError("no space left")
        harness.log.appends[0].set_exception(failed)
        for number in (1, 2):
            harness.log.appends[number].set_result(number + 1)
        await until(harness.log.appends, 4)
        harness.log.appends[3].set_exception(failed)
        for task in (first, *both):
            with pytest.raises(UnavailableError):
                await task
        assert await warm == Accepted()
        await harness.stored(b"xx", b"y")
        contents = [
            batch.rows.column("severity_text")[0].as_py() for e in harness.entries for batch in e.batches
        ]
        assert sorted(contents) == ["w", "xx", "y"]

    run(scenario)


def test_overload_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room behind for too long, clients are told to try again, and nothing is kept of the request."""

    async def scenario() -> None:
        be_patient(monkeypatch, 0.05)
        harness = Harness()
        harness.room = False
        with pytest.raises(UnavailableError, match="overloaded"):
            await harness.ingest(b"1")
        harness.room = True
        be_patient(monkeypatch, 60)
        await harness.stored(b"6")
        assert harness.groups == [[b"6"]]

    run(scenario)


def test_rows_on_their_way_to_the_disk_are_counted() -> None:
    """Whether there is room is asked with the rows that are decoded and not durable yet."""

    async def scenario() -> None:
        harness = Harness()
        first = harness.post(b"1")
        await until(harness.log.appends, 1)
        second = harness.post(b"6")
        await until(harness.log.appends, 2)
        assert harness.unsettled_bytes == harness.batch(b"1").size_bytes
        harness.log.appends[0].set_exception(UnavailableError("no space left"))
        harness.log.appends[1].set_result(2)
        assert await second == Accepted()
        with pytest.raises(UnavailableError):
            await first
        await harness.stored(b"11")
        assert harness.unsettled_bytes == 0

    run(scenario)


def test_a_request_counts_as_waiting_from_the_moment_it_came() -> None:
    """Whatever it waits for, decoding or the disk, until its rows are handed over or it is refused."""

    async def scenario() -> None:
        harness = Harness()
        assert harness.ingest.oldest_in_hand is None
        harness.gate.clear()
        first = harness.post(b"1")
        await until(harness.groups, 1)
        harness.clock.step(5)
        assert harness.ingest.oldest_in_hand == NOON
        harness.gate.set()
        await until(harness.log.appends, 1)
        second = harness.post(b"6")
        await until(harness.log.appends, 2)
        assert harness.ingest.oldest_in_hand == NOON
        harness.log.appends[0].set_result(1)
        assert await first == Accepted()
        await asyncio.sleep(0)
        assert harness.ingest.oldest_in_hand == NOON + timedelta(seconds=5)
        harness.log.appends[1].set_exception(UnavailableError("no space left"))
        with pytest.raises(UnavailableError):
            await second
        await asyncio.sleep(0)
        assert harness.ingest.oldest_in_hand is None

    run(scenario)


@pytest.mark.parametrize(("back_s", "came_s"), [(3, 0), (3600, -3600)])
def test_a_clock_that_is_set_back_a_little_overtakes_no_request(back_s: int, came_s: int) -> None:
    """A request never seems older than the one before, unless the clock was wrong by much."""

    async def scenario() -> None:
        harness = Harness()
        await harness.stored(b"1")
        harness.clock.step(-back_s)
        await harness.stored(b"6")
        assert [entry.received_at for entry in harness.entries] == [NOON, NOON + timedelta(seconds=came_s)]

    run(scenario)


def test_a_slow_disk_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 6: who waits too long for the disk is told to try again; the retry is then known."""

    async def scenario() -> None:
        harness = Harness()
        answer = harness.post(b"1")
        await until(harness.log.appends, 1)
        be_patient(monkeypatch, 0.05)
        late = harness.post(b"1")
        with pytest.raises(UnavailableError, match="disk takes too long"):
            await late
        assert not answer.done()
        be_patient(monkeypatch, 60)
        harness.log.appends[0].set_result(1)
        await harness.stored(b"1")
        assert await answer == Accepted()
        assert harness.rows() == 5
        assert harness.accounts == Accounts(received=15, deduplicated=10)

    run(scenario)


def test_the_weakest_durability_answers_before_the_disk_does() -> None:
    """With `durability: memory` the answer does not wait for the log, unless the log is known to fail."""

    async def scenario() -> None:
        harness = Harness(answer_early=True)
        assert await harness.ingest(b"1") == Accepted()
        assert harness.rows() == 0
        harness.log.appends[0].set_result(1)
        assert harness.rows() == 5
        harness.log.problem = "no space left"
        answer = harness.post(b"6")
        await until(harness.log.appends, 2)
        harness.log.appends[1].set_exception(UnavailableError("no space left"))
        with pytest.raises(UnavailableError):
            await answer

    run(scenario)
