"""Records that the protobuf runtime can not read: one of these must not cost its whole request.

The runtime stops at 100 messages inside each other, which is 48 lists or 32 maps; OpenTelemetry allows 64.
Where it refuses a request, the request is read as an envelope that keeps records as bytes, and each record
that is refused is read here, a level at a time, by definitions that keep what is inside as bytes. In the
request that goes on, empty lists stand for the containers of such a record; what they hold is kept beside it.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError as MalformedError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from lapwing_collector.decode.columns import UnusableError
from lapwing_collector.decode.definitions import SCALARS, Definitions
from lapwing_collector.errors import DecodeError

MAX_DEPTH: Final = 66
"""Lists and maps inside each other: 64, as OpenTelemetry's limit says, in the two maps of a record's own."""


@dataclass(frozen=True, slots=True)
class DeepRecord:
    """What is in a record besides its scalar fields.

    Attributes:
        attributes: Its attributes, as plain values.
        body: Its body, as plain value.
        content: The bytes of the record.
    """

    attributes: list[tuple[str, Any]]
    body: Any
    content: bytes


@dataclass(frozen=True, slots=True)
class Mended:
    """A request that the runtime reads.

    Attributes:
        payload: Its bytes.
        deep: By place in the request, the records of which it does not hold all.
        unreadable: By place in the request, why a record can not be read; an empty one stands in its place.
    """

    payload: bytes
    deep: dict[int, DeepRecord] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)


def mend(payload: bytes) -> Mended:
    """Read a request that the runtime refused.

    Raises:
        DecodeError: What it refuses is not in a record.
    """
    try:
        envelope = _ENVELOPE.FromString(payload)
    except MalformedError as error:
        raise DecodeError(
            f"The body ({len(payload)} bytes) is not an OTLP ExportLogsServiceRequest in protobuf: {error}. "
            "Check that it is sent whole, with text in UTF-8."
        ) from error
    deep: dict[int, DeepRecord] = {}
    unreadable: dict[int, str] = {}
    scopes = (scope for resource in envelope.resource_logs for scope in resource.scope_logs)
    records = ((scope.log_records, place) for scope in scopes for place in range(len(scope.log_records)))
    for number, (siblings, place) in enumerate(records):
        content = siblings[place]
        if _is_readable(content):
            continue
        try:
            deep[number], siblings[place] = _read(content)
        except UnusableError as error:
            unreadable[number], siblings[place] = str(error), b""
    return Mended(envelope.SerializeToString(), deep, unreadable)


def _is_readable(content: bytes) -> bool:
    """Whether the runtime reads the record where it stands, inside three messages."""
    request = _ENVELOPE(resource_logs=[{"scope_logs": [{"log_records": [content]}]}])
    try:
        ExportLogsServiceRequest.FromString(request.SerializeToString())
    except MalformedError:
        return False
    return True


def _read(content: bytes) -> tuple[DeepRecord, bytes]:
    """Read a record; also gives its bytes with empty lists for containers."""
    try:
        record = _RECORD.FromString(content)
        attributes = [(pair.key, _plain(b"".join(pair.value))) for pair in record.attributes]
        body = _plain(b"".join(record.body))
    except MalformedError as error:
        raise UnusableError(_MALFORMED) from error
    for pair, (_, value) in zip(record.attributes, attributes, strict=True):
        if isinstance(value, list | dict):
            pair.value[:] = [_EMPTY_LIST]
    if isinstance(body, list | dict):
        record.body[:] = [_EMPTY_LIST]
    shallow = record.SerializeToString()
    if not _is_readable(shallow):  # it is another field that the runtime refuses
        raise UnusableError(_MALFORMED)
    return DeepRecord(attributes, body, content), shallow


def _plain(content: bytes, depth: int = 0) -> Any:
    """The bytes of an AnyValue as `values.plain` gives it."""
    value = _VALUE.FromString(content)
    member = value.WhichOneof("value")
    if member not in {"array_value", "kvlist_value"}:
        return None if member is None else getattr(value, member)
    if depth == MAX_DEPTH:
        raise UnusableError(f"its lists and maps are nested more than {MAX_DEPTH} deep")
    if member == "array_value":
        return [_plain(item, depth + 1) for item in value.array_value.values]
    return {pair.key: _plain(b"".join(pair.value), depth + 1) for pair in value.kvlist_value.values}


_MALFORMED: Final = "it is no LogRecord in protobuf, or has text that is not UTF-8"
_EMPTY_LIST: Final = AnyValue(array_value=ArrayValue()).SerializeToString()

_definitions: Final = Definitions("lapwing.decode.deep")
_definitions.add("Value", AnyValue, *SCALARS, array_value="Array", kvlist_value="Pairs")
_definitions.add("Array", ArrayValue, values=bytes)
_definitions.add("Pair", KeyValue, "key", value=bytes)
_definitions.add("Pairs", KeyValueList, values="Pair")
_definitions.add("Record", LogRecord, attributes="Pair", body=bytes)
_definitions.add("Scope", ScopeLogs, log_records=bytes)
_definitions.add("Resource", ResourceLogs, scope_logs="Scope")
_definitions.add("Envelope", ExportLogsServiceRequest, resource_logs="Resource")
_ENVELOPE: Final = _definitions.message("Envelope")
_RECORD: Final = _definitions.message("Record")
_VALUE: Final = _definitions.message("Value")
