"""The exporter: a thread that sends what the others record, one request at a time and in order."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from threading import Lock, Thread
from typing import Final, Protocol, runtime_checkable
from uuid import uuid4

from opentelemetry import context

from lapwing._backlog import Backlog
from lapwing._config import Settings
from lapwing._deliver import Accepted, Fate, Refused, Transport, Unavailable, deliver
from lapwing._policy import Policy
from lapwing._queue import Entry, Queue, Stats
from lapwing._request import Envelope
from lapwing._spool import SUPPORTED, Spool, has_leftovers
from lapwing._timer import ThreadTimer

_UNAVAILABLE: Final = "%s is unavailable: %s"
_PER_BATCH: Final = 2
"""Requests on disk that are sent for each one that goes behind them, so that they become fewer."""
_SPOOL_S: Final = 1.0
"""Seconds of the time for a shutdown that are kept for writing to disk."""

_logger: Final = logging.getLogger("lapwing")


class Sink(Protocol):
    """Where encoded records go. None of it raises into the host, except where tests ask for that."""

    @property
    def recording(self) -> bool:
        """Whether records are wanted at all."""
        ...

    @property
    def policy(self) -> Policy:
        """What is done to records before they are encoded."""
        ...

    def put(self, record: bytes) -> None:
        """Take a record."""
        ...

    def drop(self, reason: str, error: Exception) -> None:
        """Count a record that an error kept from being made."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Send what was recorded; True if all of it, ever, was acknowledged."""
        ...

    def shutdown(self, timeout_s: float) -> bool:
        """Send what was recorded and take no more; True as from `flush`."""
        ...

    def stats(self) -> Stats:
        """Count what became of the records."""
        ...


@runtime_checkable
class Closable(Protocol):
    """A way out that is to be told when nothing more comes."""

    def close(self) -> None:
        """Send what may be kept back, and end."""
        ...


class Disabled:
    """Takes nothing, because `OTEL_SDK_DISABLED` says so."""

    recording: Final = False
    policy: Final = Policy()

    def put(self, record: bytes) -> None:
        """Forget the record."""

    def drop(self, reason: str, error: Exception) -> None:
        """Forget that there could have been one."""

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002  # part of a sink
        """Nothing was recorded, so all of it was acknowledged."""
        return True

    def shutdown(self, timeout_s: float) -> bool:  # noqa: ARG002  # part of a sink
        """As `flush`."""
        return True

    def stats(self) -> Stats:
        """Count nothing."""
        return Stats(0, 0, 0, {})


class Absent:
    """Counts what it is given as dropped, because the way out that is asked for cannot be had."""

    recording: Final = True
    policy: Final = Policy()

    def __init__(self) -> None:
        """Begin to count."""
        self._queue = Queue(capacity=0, batch_size=1, delay_s=0, wait_when_full=False)

    def renewed(self) -> "Absent":
        """Make one that has counted nothing, for the child of a fork."""
        return Absent()

    def put(self, record: bytes) -> None:  # noqa: ARG002  # part of a sink
        """Count the record."""
        self._queue.drop("no_exporter")

    def drop(self, reason: str, error: Exception) -> None:  # noqa: ARG002  # part of a sink
        """Count a record that an error kept from being made."""
        self._queue.drop(reason)

    def flush(self, timeout_s: float) -> bool:
        """True if there was nothing."""
        return self._queue.flush(timeout_s)

    def shutdown(self, timeout_s: float) -> bool:
        """As `flush`."""
        return self._queue.flush(timeout_s)

    def stats(self) -> Stats:
        """Count what there was."""
        return self._queue.stats()


class Exporter:
    """Sends records to an OTLP receiver. Starts its thread with the first record.

    With a spool the thread does not wait with a request that cannot be delivered: it goes to disk, and as
    long as something waits there, newer requests go behind it.
    """

    recording: Final = True

    def __init__(
        self,
        settings: Settings,
        policy: Policy = Policy(),  # noqa: B008  # immutable
        connect: Callable[[Settings], Transport] | None = None,
        *,
        adopts: bool = True,
    ) -> None:
        """Make a sender of its own, with a process id and numbers from 1.

        Args:
            settings: Where to send to, and how.
            policy: What is done to records before they are encoded.
            connect: Makes the way out, in the exporter's thread; default: the one of the `protocol`.
            adopts: Whether to begin at once where former processes left something in the spool.

        Raises:
            ValueError: A spool is asked for where there are no locks for it.
        """
        self.settings: Final = settings
        self.policy: Final = policy
        self._connect: Final = connect or _connect
        self._process_id = str(uuid4())
        self._queue = Queue(
            capacity=settings.queue_size,
            batch_size=min(settings.batch_size, settings.queue_size),
            delay_s=settings.delay_s,
            wait_when_full=settings.on_full == "wait",
        )
        self._timer = ThreadTimer()
        self._told: set[str] = set()
        self._start_lock = Lock()
        self._thread: Thread | None = None
        self._backlog: Backlog | None = None
        self._settling = Lock()  # not held while a request is on its way
        self._over = False
        if settings.spool is not None:
            if not SUPPORTED:
                raise ValueError("spool: needs file locks that this system does not have; leave it out")
            if adopts and has_leftovers(settings.spool):
                self._start()

    def renewed(self) -> "Exporter":
        """Make another that has recorded nothing, for the child of a fork."""
        return Exporter(self.settings, self.policy, self._connect, adopts=False)

    def put(self, record: bytes) -> None:
        """Take a record."""
        try:
            if self._thread is None:
                self._start()
            reason = self._queue.put(record)
        except Exception as error:  # noqa: BLE001  # the host must not notice
            self.drop("internal_error", error)
        else:
            if reason is not None:
                self._tell(reason, "a record was dropped (%s); lapwing.stats() counts them", reason)

    def drop(self, reason: str, error: Exception) -> None:
        """Count a record that an error kept from being made."""
        self._queue.drop(reason)
        self._tell(reason, "a record was dropped (%s): %r", reason, error)

    def flush(self, timeout_s: float) -> bool:
        """Send what was recorded, spooled or not; True if all of it was acknowledged."""
        return self._queue.flush(timeout_s)

    def shutdown(self, timeout_s: float) -> bool:
        """Send what was recorded and take no more, spool what could not be sent; True as from `flush`."""
        spool_s = 0.0 if self.settings.spool is None else min(_SPOOL_S, timeout_s / 2)
        self._queue.close()
        self._timer.end_within(timeout_s - spool_s)
        if self._thread is not None:
            self._thread.join(timeout_s - spool_s)
            if self._backlog is not None:
                self._leave()
        if pending := self._queue.stats().pending:
            self._tell("pending", "%d records were not acknowledged when time ran out", pending)
        return self._queue.flush(0)

    def stats(self) -> Stats:
        """Count what became of the records."""
        adopted = self._backlog.adopted if self._backlog else 0
        return replace(self._queue.stats(), adopted=adopted)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                thread = Thread(target=self._run, name="lapwing-export", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        context.attach(context.set_value("suppress_instrumentation", True))  # no telemetry about telemetry
        self._backlog = self._open_backlog()
        while not self._over and self._timer.now() < self._timer.give_up_at():
            batch = self._queue.take(self._wait_s())
            if batch:
                self._send(batch)
            went = self._send_backlog(at_once=not batch)
            if self._queue.closed and not batch and not went:
                break
        self._leave()
        if isinstance(transport := self.__dict__.get("_transport"), Closable):
            transport.close()

    def _open_backlog(self) -> Backlog | None:
        root = self.settings.spool
        if root is None:
            return None
        try:
            spool = Spool(root, self._process_id, self.settings.spool_bytes)
        except OSError as error:
            self._tell("spool_error", "records wait in memory only, the spool cannot be used: %r", error)
            return None
        return Backlog(spool, self._queue, self._tell)

    def _wait_s(self) -> float | None:
        """Seconds until the oldest request on disk is due; None where there is none."""
        if self._backlog is None or not self._backlog.waits:
            return None
        return max(self._backlog.try_at - self._timer.now(), 0.0)

    def _send(self, batch: list[Entry]) -> None:
        """Send a batch, or put it on disk where others wait or the receiver is unavailable."""
        backlog, request = self._backlog, b""
        fate: Fate | Exception | None = None  # for a request that is not sent now
        try:
            request = self._envelope.request(batch)
            if backlog is None or not backlog.waits:
                fate = self._deliver(request, self.settings.retry_for_s if backlog is None else 0)
        except Exception as error:  # noqa: BLE001  # the thread must live on
            fate = error
        with self._settling:
            if self._over:  # shutdown ran out of time, and put the batch on disk
                return
            if isinstance(fate, Unavailable) and backlog is not None:
                self._postpone(backlog, fate)
                fate = None
            if fate is not None:
                self._queue.settle(batch, *self._judge(fate, len(batch)))
            elif backlog is not None:
                backlog.put(batch, request, time.time_ns())

    def _send_backlog(self, *, at_once: bool) -> bool:
        """Send some of what waits on disk, if it is due; tells whether there was something and it went."""
        for _ in range(_PER_BATCH):
            backlog = self._backlog
            if backlog is None or not (at_once or self._timer.now() >= backlog.try_at):
                return False
            with self._settling:
                request = None if self._over else backlog.oldest(self._timer.now())
            if request is None:
                return False
            fate: Fate | Exception
            try:
                fate = self._deliver(request, 0)
            except Exception as error:  # noqa: BLE001  # the thread must live on
                fate = error
            with self._settling:
                if self._over:
                    return False
                if isinstance(fate, Unavailable):
                    self._postpone(backlog, fate)
                    return False
                backlog.settle(*self._judge(fate, backlog.records()))
        return True

    def _deliver(self, request: bytes, retry_for_s: float) -> Fate:
        endpoint = self.settings.endpoint
        return deliver(
            self._transport,
            request,
            timeout_s=self.settings.timeout_s,
            retry_for_s=retry_for_s,
            timer=self._timer,
            tell=lambda message: self._tell("unavailable", _UNAVAILABLE, endpoint, message),
        )

    def _postpone(self, backlog: Backlog, fate: Unavailable) -> None:
        self._tell("unavailable", _UNAVAILABLE, self.settings.endpoint, fate.message)
        backlog.postpone(self._timer.now(), fate.retry_after_s)

    def _judge(self, fate: Fate | Exception, records: int) -> tuple[int, str]:
        """Say how many of a request's records were acknowledged, and why the others were not."""
        endpoint = self.settings.endpoint
        if isinstance(fate, Accepted):
            if fate.rejected or fate.message:
                self._tell("rejected", "%s rejected %d records: %s", endpoint, fate.rejected, fate.message)
            return min(max(records - fate.rejected, 0), records), "rejected"
        if isinstance(fate, Exception):
            reason, why = "internal_error", repr(fate)
        else:
            reason = "rejected" if isinstance(fate, Refused) else "undeliverable"
            why = f"{endpoint}: {fate.message}"
        self._tell(reason, "%d records were dropped (%s): %s", records, reason, why)
        return 0, reason

    def _leave(self) -> None:
        """Put what is left on disk, or drop it; the thread, if it is busy still, changes nothing any more."""
        with self._settling:
            if self._over:
                return
            self._over = True
            if self._backlog is None:
                self._queue.abandon("undeliverable")
                return
            try:
                while batch := self._queue.take(0):
                    self._backlog.put(batch, self._envelope.request(batch), time.time_ns())
            except Exception as error:  # noqa: BLE001  # the host must not notice
                self._judge(error, self._queue.stats().pending)
                self._queue.abandon("internal_error")
            self._backlog.close()

    @cached_property
    def _transport(self) -> Transport:
        return self._connect(self.settings)

    @cached_property
    def _envelope(self) -> Envelope:
        from lapwing._resource import resource_attributes  # noqa: PLC0415  # heavy, as in `_connect`

        resource: Mapping[str, object] = resource_attributes(self.settings, self._process_id)
        if self.policy.redact is not None:
            resource = self.policy.redact.fields("resource", resource)
        return Envelope(resource)

    def _tell(self, kind: str, message: str, *details: object) -> None:
        """Log a warning, the first of its kind only."""
        if kind not in self._told:
            self._told.add(kind)
            with suppress(Exception):  # of the host's log handlers
                _logger.warning(message, *details, extra={"action": f"lapwing.{kind}"})


def _connect(settings: Settings) -> Transport:
    # Imported in the exporter's thread: it costs 50 ms, which no caller should wait for.
    if settings.protocol == "grpc":
        from lapwing._grpc import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(settings)
    from lapwing._http import HttpTransport  # noqa: PLC0415

    return HttpTransport(settings)
