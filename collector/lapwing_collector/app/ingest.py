"""The way of a request: decoded, freed of what is known already, made durable, acknowledged."""

import asyncio
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapwing_collector.app.pending import LogEntry, Pending
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.dedup import Ledger
from lapwing_collector.errors import UnavailableError
from lapwing_collector.model.records import Batch, Decoded
from lapwing_collector.receive import Accepted

_RECEIVED_AT: Final = struct.Struct("<q")

_ROOM_POLL_S: Final = 0.05
_ROOM_WAIT_S: Final = 3.0
"""How long a request waits for room before it is refused: clients give a collector 10 s in all."""

Decode = Callable[[bytes, int], Decoded]


class DurableLog(Protocol):
    """What ingestion asks of the log."""

    def append(self, payload: bytes) -> "Future[int]":
        """Append durably; the future holds the position."""
        ...

    def barrier(self) -> "Future[None]":
        """Resolved when everything appended so far is durable."""
        ...


class Ingest:
    """Takes request bodies in; `Accepted` means fsynced."""

    def __init__(
        self, *, log: DurableLog, ledger: Ledger, pending: Pending, decode: Decode, clock: Clock
    ) -> None:
        """Wire the parts; `ledger` is this object's own from now on."""
        self._log = log
        self._ledger = ledger
        self._pending = pending
        self._decode = decode
        self._clock = clock
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="lapwing-decode")

    async def __call__(self, payload: bytes) -> Accepted:
        """Accept one request body.

        Raises:
            DecodeError: It is not what it claims to be.
            UnavailableError: The collector is overloaded, or the log refuses.
        """
        await self._wait_for_room()
        received_at_ns = self._clock.now_ns()
        loop = asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self._decoder, self._decode, payload, received_at_ns)
        # Between `admit` and `append` nothing else may run, so that ledger and log agree on the order.
        batches = admit(self._ledger, decoded.batches)
        if batches:
            await self._store(batches, received_at_ns, payload)
        if _rows(batches) < _rows(decoded.batches):
            await self._settle_repeats(decoded.batches, received_at_ns, payload)
        return Accepted(rejected=decoded.rejected, message=decoded.message)

    def close(self) -> None:
        """Stop the decoder."""
        self._decoder.shutdown()

    async def _store(self, batches: tuple[Batch, ...], received_at_ns: int, payload: bytes) -> None:
        durable = self._log.append(frame(received_at_ns, payload))
        durable.add_done_callback(lambda done: self._hand_over(done, batches, received_at_ns))
        try:
            await asyncio.wrap_future(durable)
        except UnavailableError:
            take_back(self._ledger, batches)
            raise

    async def _settle_repeats(self, batches: tuple[Batch, ...], received_at_ns: int, payload: bytes) -> None:
        """Wait until what was sent before is durable; what then turns out not to be is stored after all."""
        numbered = tuple(_numbered_rows(batches))
        await asyncio.wrap_future(self._log.barrier())
        while taken_back := admit(self._ledger, numbered):
            await self._store(taken_back, received_at_ns, payload)
            await asyncio.wrap_future(self._log.barrier())

    async def _wait_for_room(self) -> None:
        deadline = asyncio.get_running_loop().time() + _ROOM_WAIT_S
        while self._pending.full:
            if asyncio.get_running_loop().time() >= deadline:
                raise UnavailableError(
                    "overloaded: rows arrive faster than they can be written; try again shortly"
                )
            await asyncio.sleep(_ROOM_POLL_S)

    def _hand_over(self, durable: "Future[int]", batches: tuple[Batch, ...], received_at_ns: int) -> None:
        """Queue durable rows; the log resolves its futures in the order of positions."""
        if not durable.cancelled() and durable.exception() is None:
            self._pending.put(LogEntry(durable.result(), utc_datetime(received_at_ns), batches))


def frame(received_at_ns: int, payload: bytes) -> bytes:
    """What the log keeps of a request: when it came, and its body."""
    return _RECEIVED_AT.pack(received_at_ns) + payload


def unframe(entry: bytes) -> tuple[int, bytes]:
    """Undo `frame`."""
    return _RECEIVED_AT.unpack_from(entry)[0], entry[_RECEIVED_AT.size :]


def admit(ledger: Ledger, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """The rows of `batches` that the ledger had not seen; rows without a sequence number are always new."""
    return tuple(_new_rows(ledger, batches))


def take_back(ledger: Ledger, batches: tuple[Batch, ...]) -> None:
    """Undo `admit` for rows that could not be made durable."""
    for batch in batches:
        if batch.process_id is not None:
            ledger.forget(batch.process_id, _numbers(batch.sequence))


def _new_rows(ledger: Ledger, batches: tuple[Batch, ...]) -> Iterator[Batch]:
    for batch in batches:
        if batch.process_id is None or batch.sequence.null_count == len(batch.sequence):
            yield batch
            continue
        new = np.ones(len(batch.sequence), dtype=bool)
        numbered = batch.sequence.is_valid().to_numpy(zero_copy_only=False)
        new[numbered] = ledger.admit(batch.process_id, _numbers(batch.sequence))
        if new.all():
            yield batch
        elif new.any():
            yield batch.filter(pa.array(new))


def _numbered_rows(batches: tuple[Batch, ...]) -> Iterator[Batch]:
    for batch in batches:
        if batch.process_id is not None:
            yield batch.filter(batch.sequence.is_valid())


def _rows(batches: tuple[Batch, ...]) -> int:
    return sum(batch.rows.num_rows for batch in batches)


def _numbers(sequence: pa.Array) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = sequence.drop_null().to_numpy(zero_copy_only=False)
    return numbers
