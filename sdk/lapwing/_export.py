"""The exporter: a thread that sends what the others record, one request at a time and in order."""

import logging
import time
from contextlib import suppress
from functools import cached_property
from threading import Event, Lock, Thread
from typing import Final, Protocol
from uuid import uuid4

from opentelemetry import context

from lapwing._config import Settings
from lapwing._deliver import Accepted, Refused, Transport, deliver
from lapwing._queue import Entry, Queue, Stats
from lapwing._request import Envelope

_logger: Final = logging.getLogger("lapwing")


class Sink(Protocol):
    """Where encoded records go. None of it raises into the host, except where tests ask for that."""

    @property
    def recording(self) -> bool:
        """Whether records are wanted at all."""
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


class Disabled:
    """Takes nothing, because `OTEL_SDK_DISABLED` says so."""

    recording: Final = False

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


class Exporter:
    """Sends records to an OTLP/HTTP receiver. Starts its thread with the first record."""

    recording: Final = True

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet; the exporter is a sender of its own, with a process id and numbers from 1."""
        self.settings: Final = settings
        self._process_id = str(uuid4())
        self._queue = Queue(
            capacity=settings.queue_size,
            batch_size=min(settings.batch_size, settings.queue_size),
            delay_s=settings.delay_s,
            wait_when_full=settings.on_full == "wait",
        )
        self._timer = _Timer()
        self._told: set[str] = set()
        self._start_lock = Lock()
        self._thread: Thread | None = None

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
        """Send what was recorded; True if all of it was acknowledged."""
        return self._queue.flush(timeout_s)

    def shutdown(self, timeout_s: float) -> bool:
        """Send what was recorded and take no more; True as from `flush`."""
        self._queue.close()
        self._timer.end_within(timeout_s)
        if self._thread is not None:
            self._thread.join(timeout_s)
        if pending := self._queue.stats().pending:
            self._tell("pending", "%d records were not acknowledged when time ran out", pending)
        return self._queue.flush(0)

    def stats(self) -> Stats:
        """Count what became of the records."""
        return self._queue.stats()

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                thread = Thread(target=self._run, name="lapwing-export", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        context.attach(context.set_value("suppress_instrumentation", True))  # no telemetry about telemetry
        while batch := self._queue.take():
            if self._timer.now() >= self._timer.give_up_at():
                self._queue.abandon("undeliverable")
                break
            acknowledged, reason = 0, "internal_error"
            try:
                acknowledged, reason = self._send(batch)
            except Exception as error:  # noqa: BLE001  # the thread must live on
                self._tell(reason, "%d records were dropped (%s): %r", len(batch), reason, error)
            self._queue.settle(batch, acknowledged, reason)

    def _send(self, batch: list[Entry]) -> tuple[int, str]:
        """Send a batch; returns how many records were acknowledged, and why the others were not."""
        endpoint = self.settings.endpoint
        fate = deliver(
            self._transport,
            self._envelope.request(batch),
            timeout_s=self.settings.timeout_s,
            retry_for_s=self.settings.retry_for_s,
            timer=self._timer,
            tell=lambda message: self._tell("unavailable", "%s is unavailable: %s", endpoint, message),
        )
        if isinstance(fate, Accepted):
            if fate.rejected or fate.message:
                self._tell("rejected", "%s rejected %d records: %s", endpoint, fate.rejected, fate.message)
            return max(len(batch) - fate.rejected, 0), "rejected"
        reason = "rejected" if isinstance(fate, Refused) else "undeliverable"
        self._tell(reason, "%d records were dropped (%s): %s: %s", len(batch), reason, endpoint, fate.message)
        return 0, reason

    @cached_property
    def _transport(self) -> Transport:
        # Imported in the exporter's thread: it costs 100 ms, which no caller should wait for.
        from lapwing._http import HttpTransport  # noqa: PLC0415

        return HttpTransport(self.settings)

    @cached_property
    def _envelope(self) -> Envelope:
        from lapwing._resource import resource_attributes  # noqa: PLC0415  # as above

        return Envelope(resource_attributes(self.settings, self._process_id))

    def _tell(self, kind: str, message: str, *details: object) -> None:
        """Log a warning, the first of its kind only."""
        if kind not in self._told:
            self._told.add(kind)
            with suppress(Exception):  # of the host's log handlers
                _logger.warning(message, *details, extra={"action": f"lapwing.{kind}"})


class _Timer:
    """Time as the exporter's thread sees it, and the moment at which it runs out."""

    def __init__(self) -> None:
        self._closing = Event()
        self._hurried = False
        self._give_up_at = float("inf")

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Let time pass, except once after the end was announced: what is waited for is then tried."""
        if self._hurried:
            time.sleep(seconds)
        else:
            self._hurried = self._closing.wait(seconds)

    def give_up_at(self) -> float:
        """Moment on the clock of `now` at which time runs out."""
        return self._give_up_at

    def end_within(self, seconds: float) -> None:
        """Announce the end."""
        self._give_up_at = min(self._give_up_at, self.now() + seconds)
        self._closing.set()
