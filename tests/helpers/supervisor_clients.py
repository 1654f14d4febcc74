"""Stock OpenTelemetry clients that send predictions all the time, and remember what was acknowledged."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)

from helpers.waiting import wait_until
from lapwing import semconv

PER_REQUEST = 20
_PAUSE_S = 0.02
"""Between requests of one: what they meet does not change with more of them, which take the processors."""


class Exporter(Protocol):
    """What stock exporters have in common."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send a batch, trying again as its authors see fit."""
        ...

    def shutdown(self) -> None:
        """Close connections."""
        ...


class Clients:
    """What some clients had acknowledged, and what went wrong.

    Attributes:
        acknowledged: Ids of predictions.
        given_up: Batches that an exporter dropped.
    """

    def __init__(self, model: str) -> None:
        self.acknowledged: list[str] = []
        self.given_up = 0
        self._model = model
        self._stop = threading.Event()

    def send_until_stopped(self, name: str, exporter: Exporter) -> None:
        """Send batch after batch."""
        made = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(made))
        logger = provider.get_logger("test")
        number = 0
        while not self._stop.is_set():
            ids = [f"{name}-{number + i}" for i in range(PER_REQUEST)]
            number += PER_REQUEST
            for prediction_id in ids:
                logger.emit(self._record(prediction_id))
            if exporter.export(made.get_finished_logs()) is LogRecordExportResult.SUCCESS:
                self.acknowledged += ids
            else:
                self.given_up += 1
            made.clear()
            self._stop.wait(_PAUSE_S)
        exporter.shutdown()

    def wait_for_more(self, batches: int = 5) -> None:
        """Wait until some more batches are acknowledged."""
        enough = len(self.acknowledged) + batches * PER_REQUEST
        wait_until(lambda: len(self.acknowledged) >= enough, 60)

    def stop(self) -> None:
        """Let everybody finish the batch in hand."""
        self._stop.set()

    def _record(self, prediction_id: str) -> LogRecord:
        return LogRecord(
            timestamp=1_767_225_600_000_000_000,
            event_name=semconv.EVENT_PREDICTION,
            attributes={semconv.MODEL_NAME: self._model, semconv.PREDICTION_ID: prediction_id},
            body={semconv.BODY_INPUTS: {"x": 1}},
        )


@contextmanager
def sending(model: str, exporters: Sequence[Callable[[], Exporter]]) -> Iterator[Clients]:
    """Send with every exporter, each in a thread of its own, until the block ends."""
    clients = Clients(model)
    threads = [
        threading.Thread(target=clients.send_until_stopped, args=(f"{model}-{n}", make()))
        for n, make in enumerate(exporters)
    ]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop()
        for thread in threads:
            thread.join(60)


class Complaints(logging.Handler):
    """What stock exporters complain of: attempts that failed, whatever came of them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        self.texts.append(record.getMessage())


@contextmanager
def complaints() -> Iterator[list[str]]:
    """The complaints of exporters inside the block."""
    handler = Complaints()
    loggers = [logging.getLogger("opentelemetry.exporter"), logging.getLogger("urllib3")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler.texts
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
