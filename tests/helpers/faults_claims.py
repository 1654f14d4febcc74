"""What producers claim and send: records whose whole content follows from their id.

A `Claim` is one request. Its records have ids of their own, and everything in a record is computed from its
id, so that whoever finds a row in the lake knows what it must hold, and whether anybody ever sent it.
"""

import enum
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers import decode_requests as otlp
from helpers import decode_tables as tables
from lapwing_collector.clock import epoch_ns

START = datetime(2026, 1, 1)


class Shape(enum.StrEnum):
    """What the records of a request are."""

    NUMBERED = "numbered"
    """Predictions with process id and sequence number, as Lapwing's SDK sends them."""
    STOCK = "stock"
    """Predictions that nobody numbered, as other clients send them."""
    TABLE = "table"
    """A table of predictions in one record."""
    LABEL = "label"
    """Truths."""
    LOG = "log"
    """Ordinary log records."""

    @property
    def has_numbers(self) -> bool:
        """Whether records have a process id and a number; else they are known by their content."""
        return self not in {Shape.STOCK, Shape.LOG}


class Outcome(enum.Enum):
    """What the producer knows of a claim."""

    UNKNOWN = "unknown"
    """Never answered with yes: its records may be stored once, or not at all."""
    PROMISED = "promised"
    """Answered with yes: an obligation."""


@dataclass(slots=True)
class Claim:
    """One request.

    Attributes:
        number: Its number; no two claims of a campaign share one.
        shape: What its records are.
        count: How many records (of a table: rows).
        process: Who sends it.
        first_sequence: Sequence number of its first record.
        outcome: What came of it.
    """

    number: int
    shape: Shape
    count: int
    process: str
    first_sequence: int
    outcome: Outcome = Outcome.UNKNOWN

    @property
    def ids(self) -> list[str]:
        """The ids of its records."""
        return [f"{self.shape}-{self.number}-{i}" for i in range(self.count)]

    def body(self) -> bytes:
        """The request, the same bytes each time."""
        resource = {"service.name": "campaign"}
        if self.shape.has_numbers:
            resource["lapwing.process.id"] = self.process
        return otlp.request(*self._records(), resource=resource)

    def _records(self) -> Iterator[LogRecord]:
        if self.shape is Shape.TABLE:
            yield _table(self.ids, self.first_sequence)
            return
        build = {Shape.NUMBERED: _prediction, Shape.STOCK: _prediction, Shape.LABEL: _label, Shape.LOG: _log}
        for i, name in enumerate(self.ids):
            sequence = {"lapwing.sequence": self.first_sequence + i} if self.shape.has_numbers else {}
            yield build[self.shape](name, sequence)


@dataclass
class Claims:
    """All claims of a campaign; threads share it."""

    made: list[Claim] = field(default_factory=list)
    _sequences: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def make(self, shape: Shape, count: int, process: str) -> Claim:
        """Claim ids that nobody had before."""
        with self._lock:
            first = self._sequences.get(process, 1)
            self._sequences[process] = first + (1 if shape is Shape.TABLE else count)
            claim = Claim(len(self.made), shape, count, process, first)
            self.made.append(claim)
            return claim

    def promised(self) -> int:
        """Records that were answered with yes."""
        return sum(claim.count for claim in tuple(self.made) if claim.outcome is Outcome.PROMISED)


def seed_of(name: str) -> int:
    """A number that follows from an id."""
    return zlib.crc32(name.encode())


def time_of(name: str) -> datetime:
    """When the record with this id happened: microseconds, so that no digit is lost in the lake."""
    return START + timedelta(microseconds=seed_of(name))


def prediction_fields(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and output of the prediction with this id."""
    seed = seed_of(name)
    inputs = {
        "number": seed * 2_097_143,
        "ratio": seed / 7,
        "text": f"é {seed:x}\n",
        "even": seed % 2 == 0,
        "vector": [seed % 1000 / 8, -1.0],
        "nested": {"deep": f"{name}!"},
    }
    if seed % 3 == 0:
        inputs["seldom"] = str(seed)
    return inputs, {"score": seed / 2**32}


def expected_row(shape: Shape, name: str) -> dict[str, Any]:
    """What the lake must hold of the record with this id; see `faults_judge` for the columns."""
    seed = seed_of(name)
    match shape:
        case Shape.LABEL:
            return {
                "prediction_time": time_of(name),
                "time": time_of(name) + timedelta(days=1),
                "label": seed % 2 == 0,
                "source": "campaign",
            }
        case Shape.LOG:
            return {
                "time_unix_nano": epoch_ns(time_of(name)) + 7,
                "severity_number": 9,
                "body": {"text": f"é {seed:x}", "number": seed},
                "attributes": {"campaign.id": name, "list": [1, "x", None]},
            }
        case _:
            inputs, output = prediction_fields(name)
            return {
                "time": time_of(name),
                "inputs": {"seldom": None} | inputs,
                "output": output,
                "version": f"v{seed % 3}" if shape is not Shape.TABLE else "table",
                "region": f"r{seed % 5}" if shape is not Shape.TABLE else "everywhere",
            }


def _prediction(name: str, sequence: dict[str, Any]) -> LogRecord:
    inputs, output = prediction_fields(name)
    seed = seed_of(name)
    attributes = {
        "ml.model.name": name.split("-", maxsplit=1)[0],
        "ml.prediction.id": name,
        "ml.model.version": f"v{seed % 3}",
        "region": f"r{seed % 5}",
        **sequence,
    }
    fields = {"time_unix_nano": epoch_ns(time_of(name))}
    return otlp.prediction({"inputs": inputs, "output": output}, attributes, **fields)


def _label(name: str, sequence: dict[str, Any]) -> LogRecord:
    attributes = {
        "ml.model.name": "label",
        "ml.prediction.id": name,
        "ml.prediction.time": epoch_ns(time_of(name)),
        "ml.label.source": "campaign",
        **sequence,
    }
    known = epoch_ns(time_of(name) + timedelta(days=1))
    return otlp.label({"label": seed_of(name) % 2 == 0}, attributes, time_unix_nano=known)


def _log(name: str, sequence: dict[str, Any]) -> LogRecord:
    seed = seed_of(name)
    attributes = {"campaign.id": name, "list": [1, "x", None], **sequence}
    body = {"text": f"é {seed:x}", "number": seed}
    time_ns = epoch_ns(time_of(name)) + 7
    return otlp.record("campaign.log", body, attributes, time_unix_nano=time_ns, severity_number=9)


def _table(names: list[str], sequence: int) -> LogRecord:
    rows = [prediction_fields(name) for name in names]
    table = pa.table(
        {
            "prediction_id": names,
            "time": pa.array([epoch_ns(time_of(name)) for name in names], pa.timestamp("ns", "UTC")),
            "inputs": [{"seldom": None} | inputs for inputs, _ in rows],
            "output": [output for _, output in rows],
        }
    )
    attributes = {
        "ml.model.name": "table",
        "ml.model.version": "table",
        "region": "everywhere",
        "ml.batch.rows": len(names),
        "lapwing.sequence": sequence,
    }
    return tables.predictions(table, attributes, time_unix_nano=epoch_ns(time_of(names[0])))
