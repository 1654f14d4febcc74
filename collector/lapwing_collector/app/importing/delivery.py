"""How rows that a command brings get into a data directory: through its owner, or as its owner."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from lapwing._config import resolve
from lapwing._deliver import Accepted, Refused, Unavailable
from lapwing._http import HttpTransport
from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.inflow import ingestion_of
from lapwing_collector.app.ingest.ingestion import Ingestion
from lapwing_collector.app.ingest.pending import Pending
from lapwing_collector.app.ingest.poison import DeadLetters
from lapwing_collector.app.ingest.recovery import Recovery
from lapwing_collector.app.ingest.redaction import redaction
from lapwing_collector.app.ingest.writing import Flushed, MetricQueue, Writer
from lapwing_collector.app.places.owning import OwnedData
from lapwing_collector.app.places.project import Project
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.replicas.marking import POLICIES, Brought
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.errors import ConfigError, DataDirectoryError, UnavailableError
from lapwing_collector.state import Store

_ATTEMPT_S: Final = 30.0
_PATIENCE_S: Final = 120.0
_AGAIN_S: Final = 0.5
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # what to connect to instead


class Delivery(Protocol):
    """A way in."""

    def send(self, request: bytes) -> int | None:
        """Have a request accepted: durable, once however often it is sent.

        Returns:
            Rows of it that were there already; None if that is not told.

        Raises:
            LapwingError: It is not taken.
        """
        ...


class HttpDelivery:
    """Sends to a collector's OTLP/HTTP port as an SDK does; OpenTelemetry's variables say headers and TLS."""

    def __init__(self, url: str) -> None:
        """Send to the collector at `url`.

        Raises:
            ConfigError: It is none.
        """
        try:
            settings = resolve({"endpoint": url, "protocol": "http/protobuf"}, os.environ, lambda _: None)
        except ValueError as error:
            raise ConfigError(f"--endpoint: {error}") from error
        self._url = url
        self._transport = HttpTransport(settings)

    def send(self, request: bytes) -> None:
        """Have a request accepted; it is sent again while the collector has no room."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            match self._transport.post(request, _ATTEMPT_S):
                case Accepted(rejected=0):
                    return
                case Accepted(message=message) | Refused(message=message):
                    raise ConfigError(f"{self._url}: the collector does not take these rows: {message}")
                case Unavailable(message=message, retry_after_s=wait_s):
                    if time.monotonic() > deadline:
                        raise UnavailableError(f"{self._url}: the collector cannot be reached: {message}")
                    time.sleep(wait_s or _AGAIN_S)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class OwnDelivery:
    """Takes requests in as a collector does, in a data directory that this process owns."""

    def __init__(self, ingestion: Ingestion, pending: Pending) -> None:
        """Hand requests to `ingestion`, to which nobody else does; their rows go to `pending`."""
        self._ingestion = ingestion
        self._pending = pending
        self._loop = asyncio.Runner()

    def send(self, request: bytes) -> int:
        """Have a request accepted; it waits for room."""
        before = self._ingestion.accounts.read().deduplicated
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                accepted = self._loop.run(self._ingestion.ingest(request))
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                # What makes room is rows that get into the lake; a slow disk is the other reason.
                self._pending.wait_until_below(self._pending.size_bytes, _AGAIN_S)
                continue
            if accepted.rejected:
                raise ConfigError(f"these rows cannot be stored: {accepted.message}")
            return self._ingestion.accounts.read().deduplicated - before

    def close(self) -> None:
        """Let what was begun end."""
        self._loop.run(_end_of_all())
        self._loop.close()


def collector_url(address: str) -> str:
    """Where to connect to reach a collector that listens at the URL `address`."""
    parts = urlsplit(address)
    host, _, port = parts.netloc.rpartition(":")
    return f"{parts.scheme}://{_EVERYWHERE.get(host, host)}:{port}"


@dataclass(frozen=True, slots=True)
class Owned:
    """A data directory that this process owns.

    Attributes:
        delivery: The way in.
        store: State; metric rows in its queue get into the lake, too.
    """

    delivery: OwnDelivery
    store: Store


@contextmanager
def owned(project: Project, *, leads: bool = False) -> Iterator[Owned]:
    """Own the data directory of a project for the length of the block; at its end the lake has every row.

    Args:
        project: Whose.
        leads: Whether rules are evaluated; of a state that others share, nobody else leads meanwhile.

    Raises:
        DataDirectoryError: Somebody owns it, or it cannot be used, or the lake does not take the rows.
        LakeHeldError: The lake was taken elsewhere.
        OwnedElsewhereError: Another process leads.
    """
    settings = project.settings
    clock = SystemClock()
    with ExitStack() as parts:
        data = OwnedData.take(project)
        parts.callback(data.close)
        directory, lake = data.directory, data.lake
        lake.catalog.expect_free()  # what came would wait in the log for as long as this did for the lake
        accounts, pending = Accounts(), Pending(settings.write.max_pending_bytes)
        ingestion = ingestion_of(project, data, pending, accounts, clock, redaction(project.policy))
        parts.callback(ingestion.close)
        place = state_of(settings)
        # Of a state that others share, one of those takes to the lake what rules record.
        records = leads or not place.shared
        store = Store.own(place) if records else Store.join(place)
        parts.callback(store.close)
        brought = Brought(POLICIES[settings.clock], lambda: utc_datetime(clock.now_ns()))
        flushed = threading.Event()

        def tell_of(what: Flushed) -> None:
            brought.saw(what)
            flushed.set()

        writer = Writer(
            lake=lake,
            pending=pending,
            settle=ingestion.memory.settle,
            accounts=accounts,
            dead_letters=DeadLetters(directory.dead_letters),
            metrics=MetricQueue.of(store, lambda: records),
            interval_s=settings.write.flush_interval.total_seconds(),
            on_flushed=tell_of,
        )
        refused = DataDirectoryError(
            f"{directory.root}: the rows are in the log, but the lake does not take them now; "
            "the collector writes them when it starts (`lapwing doctor` says more)"
        )
        ingestion.recovery.learn()
        writer.start()

        def wait_for_lake() -> None:
            while not writer.failing:
                flushed.clear()
                if waiting := pending.size_bytes:
                    pending.wait_until_below(waiting, _AGAIN_S)
                elif records and store.queued_metrics(0, 1):
                    flushed.wait(_AGAIN_S)
                else:
                    return

        try:
            if not _read_back(ingestion.recovery, writer, pending):
                raise refused
            wait_for_lake()  # what an earlier process left can be looked up then
            delivery = OwnDelivery(ingestion, pending)
            try:
                yield Owned(delivery, store)
            finally:
                delivery.close()
            wait_for_lake()
        finally:
            whole = writer.close(_PATIENCE_S)
            if place.shared:
                brought.tell(store)
        if not whole:
            raise refused


def _read_back(recovery: Recovery, writer: Writer, pending: Pending) -> bool:
    """Queue what the log has and the lake has not; False where the lake takes nothing to make room for it."""
    with ThreadPoolExecutor(1, "lapwing-recovery") as reader:
        reading = reader.submit(recovery.replay)
        deadline = time.monotonic() + _PATIENCE_S
        try:
            while wait([reading], _AGAIN_S).not_done:
                if not writer.failing:
                    deadline = time.monotonic() + _PATIENCE_S
                elif time.monotonic() > deadline:
                    pending.close()
        except BaseException:
            pending.close()  # else it would wait for room, and this for it
            raise
        reading.result()
    return not recovery.replaying


async def _end_of_all() -> Any:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
