"""OTLP export requests, put together from encoded log records, and what receivers say about them."""

from collections.abc import Iterable, Mapping
from typing import Final

from lapwing import semconv
from lapwing._encode import encode_entries, encode_text, entry_head, sized, varint
from lapwing._queue import Entry
from lapwing._version import __version__

_SCOPE: Final = sized(b"\x0a", sized(b"\x0a", b"lapwing") + sized(b"\x12", encode_text(__version__)))

_SEQUENCE_HEADS: Final = [entry_head(b"\x32", semconv.SEQUENCE, 1 + size) + b"\x18" for size in range(11)]
"""What stands before a sequence number, by the size of its varint."""


class Envelope:
    """What surrounds the log records of one process in every request."""

    def __init__(self, resource: Mapping[str, object]) -> None:
        """Encode the attributes of the resource, once."""
        self._resource = sized(b"\x0a", encode_entries(resource.items()))

    def request(self, entries: Iterable[Entry]) -> bytes:
        """Encode an `ExportLogsServiceRequest` of records, each with its sequence number."""
        parts = [_SCOPE]
        for number, record in entries:
            sequence = _sequence(number)
            parts += (b"\x12", varint(len(record) + len(sequence)), record, sequence)
        return sized(b"\x0a", self._resource + sized(b"\x12", b"".join(parts)))


def _sequence(number: int) -> bytes:
    """Encode the attribute that numbers a record."""
    content = varint(number)
    return _SEQUENCE_HEADS[len(content)] + content


def read_partial_success(body: bytes) -> tuple[int, str]:
    """Read from an `ExportLogsServiceResponse` how many records were rejected, and why."""
    if not body:
        return 0, ""
    # Imported here, in the exporter's thread: most receivers answer nothing, and it costs a process 30 ms.
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415
        ExportLogsServiceResponse,
    )

    try:
        partial = ExportLogsServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001  # whatever the answer is, it was a yes
        return 0, ""
    return partial.rejected_log_records, partial.error_message


def read_status_message(body: bytes) -> str:
    """Read the message of a `google.rpc.Status`; empty if it is not one."""
    if not body:
        return ""
    from google.rpc.status_pb2 import Status  # noqa: PLC0415  # only where a receiver refuses

    try:
        return str(Status.FromString(body).message)
    except Exception:  # noqa: BLE001  # the status code says enough
        return ""
