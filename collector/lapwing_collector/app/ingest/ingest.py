"""The way of a request: decoded, freed of what is known already, made durable, acknowledged.

Requests that come while others are decoded wait, and are then taken together: they are decoded in one go,
become one entry of the log, and are durable and acknowledged at the same time.
"""

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import numpy as np

from lapwing import semconv
from lapwing_collector import crashpoints
from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import Requests, request_hash, row_count, split_new
from lapwing_collector.app.ingest.pending import LogEntry
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.dedup import NO_HASHES, Hashes, Ledger
from lapwing_collector.errors import DecodeError, UnavailableError
from lapwing_collector.model.records import Batch, DecodedGroup, Outcome
from lapwing_collector.receive import Accepted

logger = logging.getLogger(__name__)

_GROUP_REQUESTS: Final = 64
_GROUP_BYTES: Final = 8 << 20
_GROUP_ROWS_BYTES: Final = 16 << 20
"""As much as the rows of a group should take: narrow tables become ten times what they were on the way."""
_GROUP_S: Final = 0.25
"""As long as reading a group should take, out of a client's patience."""
_QUEUE_S: Final = 1.2
"""How long a request waits for its turn before it is refused: later, reading it would often be in vain."""
_PATIENCE_S: Final = 2.8
"""How long a request may take here before it is answered 503: less than the receiver gives it in all."""
_ROOM_POLL_S: Final = 0.02
_STEP_NS: Final = 10_000_000_000
"""How far the clock may be set back before requests seem older than those that came before them."""
_NUMBERED: Final = semconv.PROCESS_ID.encode()

Decode = Callable[[Sequence[bytes], int], DecodedGroup]
Prepare = Callable[[bytes], bytes]


class DurableLog(Protocol):
    """What ingestion asks of the log."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be appended; None while the log works."""
        ...

    def append(self, head: bytes, body: Sequence[bytes]) -> "Future[int]":
        """Append durably; the future holds the position."""
        ...

    def barrier(self) -> "Future[None]":
        """Resolved when every append so far is durable or failed."""
        ...


@dataclass(slots=True, eq=False)
class _Request:
    """A request on its way.

    Attributes:
        payload: Its body, in protobuf.
        answer: What its client is told.
        prepared: Whether the body was prepared; what redaction hashes must not be hashed again.
    """

    payload: bytes
    answer: "asyncio.Future[Accepted]"
    prepared: bool = False


@dataclass(slots=True)
class _Part:
    """Requests of a group that share their fate.

    Attributes:
        requests: They.
        batches: Their rows, as far as they are not in the log yet.
        outcomes: What decoding said of each.
        hashes: What identifies the requests as a whole, of those that no process of ours has sent.
        repeats: Whether the one request was known as a whole before.
        left_out: Rows that decoding left out, since they came earlier in the part.
    """

    requests: list[_Request]
    batches: tuple[Batch, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    hashes: Hashes = field(default_factory=lambda: NO_HASHES)
    repeats: bool = False
    left_out: int = 0

    @property
    def readable(self) -> list[_Request]:
        """Those that could be decoded."""
        pairs = zip(self.requests, self.outcomes, strict=True)
        return [request for request, outcome in pairs if outcome.error is None]


class Ingest:
    """Takes request bodies in; `Accepted` means as durable as the log makes it."""

    def __init__(
        self,
        *,
        log: DurableLog,
        ledger: Ledger,
        accounts: Accounts,
        decode: Decode,
        clock: Clock,
        has_room: Callable[[int], bool],
        on_durable: Callable[[LogEntry, Requests], None],
        compare_content: bool = True,
        answer_early: bool = False,
        prepare: Prepare | None = None,
    ) -> None:
        """Wire the parts.

        Args:
            log: Appended to by nobody else.
            ledger: What was accepted before.
            accounts: Where rows are booked once their requests are acknowledged.
            decode: Reads several requests; called in a thread of its own.
            clock: Tells when requests come.
            has_room: Whether what is behind can take more, beside rows of so many bytes that it will be
                handed anyway; requests wait while it can not.
            on_durable: Told of each durable entry in the order of the log: its new rows, and what it holds.
            compare_content: Whether records without a number are compared with others by their content.
            answer_early: Whether to answer before requests are durable, while the log works.
            prepare: Changes a request before anything else is done with it; called where `decode` is.
        """
        self._log = log
        self._ledger = ledger
        self._accounts = accounts
        self._decode = decode
        self._clock = clock
        self._has_room = has_room
        self._on_durable = on_durable
        self._compare_content = compare_content
        self._answer_early = answer_early
        self._prepare = prepare
        self._group_bytes = _GROUP_BYTES
        self._unsettled_bytes = 0
        self._failed = 0
        self._in_hand: Counter[int] = Counter()
        self._newest_ns = 0
        self._unsettled_lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._finishing: set[asyncio.Task[None]] = set()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="lapwing-decode")

    async def __call__(self, payload: bytes) -> Accepted:
        """Accept one request body.

        Raises:
            DecodeError: It is not what it claims to be.
            UnavailableError: The collector is overloaded, or the log refuses, or is slow. What became
                durable too late for its client is known when it comes again.
        """
        request = _Request(payload, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._take_groups())
        done, _ = await asyncio.wait([request.answer], timeout=_QUEUE_S)
        if not done and request in self._waiting:
            self._waiting.remove(request)
            raise UnavailableError(
                "overloaded: rows arrive faster than they can be written; try again shortly"
            )
        if not done:
            done, _ = await asyncio.wait([request.answer], timeout=_PATIENCE_S - _QUEUE_S)
        if done:
            return request.answer.result()
        request.answer.cancel()
        raise UnavailableError("the disk takes too long to make the request durable; try again shortly")

    @property
    def oldest_in_hand(self) -> datetime | None:
        """When the oldest request came that was not handed over or refused yet; None while there is none."""
        with self._unsettled_lock:
            return utc_datetime(min(self._in_hand)) if self._in_hand else None

    def close(self) -> None:
        """Stop the decoder."""
        self._decoder.shutdown()

    async def _take_groups(self) -> None:
        """Take groups of waiting requests in until none waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            if not self._has_room(self._unsettled_bytes):
                await asyncio.sleep(_ROOM_POLL_S)
                continue
            began_s = loop.time()
            with self._receiving() as received_at_ns:
                group = await self._prepared(self._next_group())
                if not group:
                    continue
                parts = await self._read_group(group, received_at_ns)
                self._adapt(sum(len(request.payload) for request in group), parts, loop.time() - began_s)
                # Between admitting and appending nothing else may run, so that ledger and log agree on the
                # order.
                self._begin(parts, received_at_ns)

    async def _prepared(self, group: list[_Request]) -> list[_Request]:
        """Prepare the requests of a group, each once; those that can not be prepared are answered."""
        if self._prepare is None:
            return group
        loop = asyncio.get_running_loop()
        prepared = []
        for request in group:
            try:
                if not request.prepared:
                    request.payload = await loop.run_in_executor(
                        self._decoder, self._prepare, request.payload
                    )
                    request.prepared = True
            except DecodeError as error:
                _answer_all([request], error)
            except Exception as error:
                logger.exception("a request could not be redacted", extra={"action": "ingest_failed"})
                _answer_all([request], error)
            else:
                prepared.append(request)
        return prepared

    async def _read_group(self, group: list[_Request], received_at_ns: int) -> list[_Part]:
        """Decode a group, one by one if one of its requests makes that fail as it never should."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._decoder, self._read, group, received_at_ns)
        except MemoryError as error:
            if len(group) == 1:
                _answer_all(group, UnavailableError(str(error)))
                return []
            # They are read when there is room for them, as far as somebody waits for it then.
            self._waiting.extendleft(request for request in reversed(group[1:]) if not request.answer.done())
            del group[1:]
            self._group_bytes = len(group[0].payload)
            return await self._read_group(group, received_at_ns)
        except Exception as error:
            if len(group) == 1:
                logger.exception("a request could not be read", extra={"action": "ingest_failed"})
                _answer_all(group, error)
                return []
        apart = [await self._read_group([request], received_at_ns) for request in group]
        return [part for parts in apart for part in parts]

    def _next_group(self) -> list[_Request]:
        group = [self._waiting.popleft()]
        size = len(group[0].payload)
        while self._waiting and len(group) < _GROUP_REQUESTS:
            size += len(self._waiting[0].payload)
            if size > self._group_bytes:
                break
            group.append(self._waiting.popleft())
        return group

    def _adapt(self, size: int, parts: list[_Part], took_s: float) -> None:
        """Let the next groups be as large as one that takes no more time and memory to read than it may."""
        rows_bytes = sum(batch.size_bytes for part in parts for batch in part.batches)
        used = max(took_s / _GROUP_S, rows_bytes / _GROUP_ROWS_BYTES)
        if used > 1:
            self._group_bytes = int(size / used)
        else:
            more = 2 if used < 0.5 else 1 / used
            self._group_bytes = min(int(self._group_bytes * more) + 1, _GROUP_BYTES)

    def _read(self, group: list[_Request], received_at_ns: int) -> list[_Part]:
        """Decode the requests of a group; those that were sent before are parts of their own."""
        crashpoints.reach("ingest.before_decode")
        first = _Part([])
        parts = [first]
        fresh: dict[bytes, _Request] = {}
        for request in group:
            if not self._compare_content or _NUMBERED in request.payload:
                first.requests.append(request)
                continue
            digest = request_hash(request.payload)
            known = digest in fresh or self._ledger.knows_requests(_as_hashes([digest]))[0]
            if known:
                parts.append(_Part([request], hashes=_as_hashes([digest]), repeats=True))
            else:
                fresh[digest] = request
                first.requests.append(request)
        first.hashes = _as_hashes(list(fresh))
        for part in parts:
            decoded = self._decode([request.payload for request in part.requests], received_at_ns)
            part.batches, part.outcomes = decoded.batches, decoded.outcomes
            part.left_out = sum(outcome.rows for outcome in part.outcomes) - row_count(part.batches)
        crashpoints.reach("ingest.after_decode")
        return [part for part in parts if part.requests]

    def _begin(self, parts: list[_Part], received_at_ns: int) -> None:
        """Accept what is new of each part and append it; the answers follow when it is durable."""
        for part in parts:
            try:
                appended = self._append(part, received_at_ns)
            except Exception as error:
                logger.exception("requests could not be compared", extra={"action": "ingest_failed"})
                _answer_all(part.requests, error)
                continue
            self._hold(received_at_ns)
            task = asyncio.create_task(self._finish(part, appended, received_at_ns))
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)
            task.add_done_callback(lambda _: self._let_go(received_at_ns))

    async def _finish(self, part: _Part, appended: "Future[int] | None", received_at_ns: int) -> None:
        """Wait until `part` is durable as a whole, and answer its requests."""
        try:
            if self._answer_early and self._log.problem is None:
                self._answer(part)
            if appended is not None:
                await asyncio.wrap_future(appended)
            while part.batches:
                # The rest was sent before, which is no promise yet: what it is known by may fail.
                failed = self._failed
                appended = self._append(part, received_at_ns)
                if appended is not None:
                    await asyncio.wrap_future(appended)
                    continue
                await asyncio.wrap_future(self._log.barrier())
                if failed == self._failed:
                    break
        except Exception as error:  # noqa: BLE001  # it belongs to those who wait
            _answer_all(part.readable, error)
        else:
            self._book(part)
        crashpoints.reach("ingest.before_reply")
        self._answer(part)

    @staticmethod
    def _answer(part: _Part) -> None:
        for request, outcome in zip(part.requests, part.outcomes, strict=True):
            if request.answer.done():
                continue
            if outcome.error is None:
                request.answer.set_result(Accepted(outcome.rejected, outcome.message))
            else:
                request.answer.set_exception(outcome.error)

    def _append(self, part: _Part, received_at_ns: int) -> "Future[int] | None":
        """Accept what is new of `part`, which keeps the other rows, and append it; None if nothing is new."""
        if part.repeats and self._ledger.knows_requests(part.hashes).all():
            return None
        keep_all = not self._compare_content
        with self._ledger.admitting(received_at_ns) as admitting:
            batches, part.batches = split_new(part.batches, admitting, keep_all=keep_all)
            if not batches:
                return None
            rows, size_bytes = row_count(batches), sum(batch.size_bytes for batch in batches)
            # A request of which some rows stand in earlier entries is not known as a whole: these may fail.
            admission = admitting.done(NO_HASHES if part.batches else part.hashes)
        payloads = [request.payload for request in part.readable]
        requests = Requests(received_at_ns, payloads, rows, admission, keeps_all=keep_all)
        self._count_unsettled(size_bytes)
        try:
            appended = self._log.append(requests.head(), payloads)
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing may stay accepted
            appended = Future()
            appended.set_exception(error)
        appended.add_done_callback(lambda done: self._settle(done, requests, batches))
        return appended

    def _settle(self, appended: "Future[int]", requests: Requests, batches: tuple[Batch, ...]) -> None:
        """Hand over rows that are durable, take back others; the log calls in the order of positions."""
        self._count_unsettled(-sum(batch.size_bytes for batch in batches))
        if appended.exception() is not None:
            self._ledger.forget(requests.admission)
            self._failed += 1
            return
        self._ledger.keep(requests.admission)
        self._accounts.add(received=requests.rows)
        entry = LogEntry(appended.result(), utc_datetime(requests.received_at_ns), batches)
        self._on_durable(entry, requests)

    @contextmanager
    def _receiving(self) -> Iterator[int]:
        """The present, which counts as the time of requests in hand until the end of the block."""
        with self._unsettled_lock:  # whoever asks for the oldest after this moment is told of it
            received_at_ns = self._clock.now_ns()
            if 0 < self._newest_ns - received_at_ns < _STEP_NS:  # the clock was set: no request is overtaken
                received_at_ns = self._newest_ns
            self._newest_ns = received_at_ns
            self._in_hand[received_at_ns] += 1
        try:
            yield received_at_ns
        finally:
            self._let_go(received_at_ns)

    def _hold(self, received_at_ns: int) -> None:
        with self._unsettled_lock:
            self._in_hand[received_at_ns] += 1

    def _let_go(self, received_at_ns: int) -> None:
        with self._unsettled_lock:
            self._in_hand[received_at_ns] -= 1
            if not self._in_hand[received_at_ns]:
                del self._in_hand[received_at_ns]

    def _count_unsettled(self, size_bytes: int) -> None:
        with self._unsettled_lock:
            self._unsettled_bytes += size_bytes

    def _book(self, part: _Part) -> None:
        """Book the rows that are not new: those that are were booked when they became durable."""
        repeated = row_count(part.batches) + part.left_out
        rejected = sum(outcome.rejected_rows for outcome in part.outcomes)
        if repeated or rejected:
            self._accounts.add(received=repeated + rejected, deduplicated=repeated, rejected=rejected)


def _as_hashes(digests: Sequence[bytes]) -> Hashes:
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def _answer_all(requests: Sequence[_Request], error: Exception) -> None:
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)
