"""Requests as envelopes: their resources and scopes, with the records still as bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
from google.protobuf.message import DecodeError as MalformedError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from lapwing_collector.decode.definitions import Definitions
from lapwing_collector.decode.tags import resource_texts
from lapwing_collector.decode.values import plain_map
from lapwing_collector.errors import DecodeError

ROW_BYTES: Final = 1024
"""About what a row takes besides what its record says."""

BATCH_BYTES: Final = 36 * 1024
"""About what the columns of a batch take, however few its rows; each process has a batch of its own."""

MAX_ROWS_BYTES: Final = 1 << 28
"""What the rows of one request may take besides what its records say. As every row has its own copy of its
resource and scope, few bytes on the wire can ask for more memory than there is."""


MAX_RECORDS: Final = MAX_ROWS_BYTES // ROW_BYTES
"""Records of a request; more would take that memory however little they say."""

_COUNTED_BYTES: Final = 8 << 20
"""Larger requests are counted before they are parsed: two bytes may be a record, and each takes an object."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The records that share a resource and a scope.

    Attributes:
        resource: The bytes of the resource.
        resource_url: Its schema URL.
        scope: The bytes of the scope.
        scope_url: Its schema URL.
        records: The bytes of each record.
    """

    resource: bytes
    resource_url: str
    scope: bytes
    scope_url: str
    records: list[bytes]


class Envelope:
    """One request.

    Attributes:
        scopes: In their order.
        count: The number of records.
        rows_bytes: About what its rows take besides what their records say.
    """

    def __init__(self, payload: bytes) -> None:
        """Open the envelope.

        Raises:
            DecodeError: It is none (400), or its rows would take too much memory (413).
        """
        self._payload = payload
        if len(payload) > _COUNTED_BYTES:
            _check_count(count_records(payload, MAX_RECORDS))
        try:
            self._message = _ENVELOPE.FromString(payload)
            self.count = sum(len(scope.log_records) for scope in _scope_messages(self._message))
            _check_count(self.count)
            self.scopes = list(_scopes(self._message))
        except MalformedError as error:
            raise malformed(payload, error) from error
        self.rows_bytes = _rows_bytes(self.scopes)

    def with_records(self, places: list[int]) -> bytes:
        """The request with only the records at these places (ascending)."""
        if len(places) == self.count:
            return self._payload
        wanted = {*places}
        place = 0
        for resource in self._message.resource_logs:
            for scope in resource.scope_logs:
                records = list(scope.log_records)
                del scope.log_records[:]
                scope.log_records.extend(
                    record for number, record in enumerate(records, place) if number in wanted
                )
                place += len(records)
        payload: bytes = self._message.SerializeToString()
        return payload


def malformed(payload: bytes, error: MalformedError) -> DecodeError:
    """What to tell of a request that protobuf does not read."""
    return DecodeError(
        f"The body ({len(payload)} bytes) is not an OTLP ExportLogsServiceRequest in protobuf: {error}. "
        "Check that it is sent whole, with text in UTF-8."
    )


def resource_attributes(resource: bytes) -> dict[str, Any]:
    """The attributes of a resource, as plain values. Not to be changed.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no resource.
    """
    return (_kept_attributes if len(resource) <= _KEPT_BYTES else _attributes)(resource)


def resource_map(resource: bytes) -> pa.MapArray:
    """The attributes of a resource as text, in one row."""
    return (_kept_map if len(resource) <= _KEPT_BYTES else _map)(resource)


def check_scope(scope: bytes) -> None:
    """Look whether the bytes are a scope.

    Raises:
        google.protobuf.message.DecodeError: They are not.
    """
    if scope:
        InstrumentationScope.FromString(scope)


def _attributes(resource: bytes) -> dict[str, Any]:
    return plain_map(Resource.FromString(resource).attributes)


def _map(resource: bytes) -> pa.MapArray:
    return resource_texts([resource_attributes(resource)])


_KEPT_BYTES: Final = 8192
_kept_attributes: Final = lru_cache(maxsize=1024)(_attributes)
_kept_map: Final = lru_cache(maxsize=1024)(_map)
"""A service sends the same resource with each request."""


def count_records(payload: bytes, limit: int) -> int:
    """The number of records in a request, as far as it is well-formed; counting ends above `limit`."""
    count = 0
    open_: list[tuple[int, int]] = [(0, len(payload))]
    while open_ and count <= limit:
        depth = len(open_)
        place, end = open_.pop()
        if place >= end:
            continue
        try:
            tag, place = _varint(payload, place)
            if tag & 7 != _SIZED:
                continue  # no part of an envelope that is not hostile: the runtime says what it is
            size, place = _varint(payload, place)
        except IndexError:
            return count  # cut short, or a number without end
        open_.append((place + size, end))
        if tag == _LEVEL_TAGS[depth - 1]:
            if depth == len(_LEVEL_TAGS):
                count += 1
            else:
                open_.append((place, min(place + size, end)))
    return count


def _varint(payload: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        byte = payload[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return number, place
    raise IndexError


_SIZED: Final = 2
_LEVEL_TAGS: Final = tuple(
    message.DESCRIPTOR.fields_by_name[name].number << 3 | _SIZED
    for message, name in (
        (ExportLogsServiceRequest, "resource_logs"),
        (ResourceLogs, "scope_logs"),
        (ScopeLogs, "log_records"),
    )
)


def _check_count(count: int) -> None:
    if count > MAX_RECORDS:
        raise DecodeError(
            f"This request has more than {MAX_RECORDS} records: send fewer records per request.", 413
        )


def _scope_messages(message: Any) -> Iterator[Any]:
    for logs in message.resource_logs:
        yield from logs.scope_logs


def _scopes(message: Any) -> Iterator[Scope]:
    """The scopes of all resources; those that protobuf does not read raise its DecodeError."""
    for logs in message.resource_logs:
        resource = b"".join(logs.resource)
        resource_attributes(resource)
        for each in logs.scope_logs:
            scope = b"".join(each.scope)
            check_scope(scope)
            yield Scope(resource, logs.schema_url, scope, each.schema_url, list(each.log_records))


def _rows_bytes(scopes: list[Scope]) -> int:
    """Refuse a request whose rows, by repeating a long resource or by their number, would fill the memory."""
    needed = BATCH_BYTES * len({each.resource for each in scopes})
    needed += sum(len(each.records) * (len(each.resource) + len(each.scope) + ROW_BYTES) for each in scopes)
    if needed > MAX_ROWS_BYTES:
        raise DecodeError(
            f"The rows of this request would take about {needed >> 20} MiB (limit {MAX_ROWS_BYTES >> 20}): "
            "each repeats its resource and scope. Send fewer records, of fewer resources, per request.",
            413,
        )
    return needed


_definitions: Final = Definitions("lapwing.decode.envelope")
_definitions.add("Scope", ScopeLogs, "schema_url", scope=bytes, log_records=bytes)
_definitions.add("Resource", ResourceLogs, "schema_url", resource=bytes, scope_logs="Scope")
_definitions.add("Envelope", ExportLogsServiceRequest, resource_logs="Resource")
_ENVELOPE: Final = _definitions.message("Envelope")
