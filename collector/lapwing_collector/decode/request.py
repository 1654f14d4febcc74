"""One request, read both ways: columns for what every record has, objects for what is odd."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs

from lapwing.semconv import PROCESS_ID
from lapwing_collector.decode.attributes import Attributes
from lapwing_collector.decode.columns import (
    AmbiguousValueError,
    Entries,
    Index,
    Kinds,
    numpy,
    read_entries,
    read_values,
)
from lapwing_collector.decode.deep import DeepRecord, Mended, mend
from lapwing_collector.decode.identity import digest, process_id
from lapwing_collector.decode.values import plain, plain_map
from lapwing_collector.decode.wire import parse, read_columns
from lapwing_collector.errors import DecodeError


@dataclass(frozen=True)
class Request:
    """A request of `count` records.

    Attributes:
        message: The protobuf runtime's objects.
        records: One row per record: its times, event name and ids.
        resources: Position in `message.resource_logs` of each record's resource.
        scopes: Position in `scope_logs` of each record's scope.
        attributes: The records' attributes.
        bodies: Kind of each record's body.
        sections: Entries of the bodies that are maps; owned by records.
        fields: Entries of the sections that are maps; owned by sections.
        deep: By place, the records that `message` and the columns hold in part only.
        unreadable: By place, why a record can not be read.
        received_at_ns: When the request arrived, in nanoseconds since the epoch.
    """

    message: ExportLogsServiceRequest
    records: pa.StructArray
    resources: Index
    scopes: Index
    attributes: Attributes
    bodies: Kinds
    sections: Entries
    fields: Entries
    deep: Mapping[int, DeepRecord]
    unreadable: Mapping[int, str]
    received_at_ns: int

    @property
    def count(self) -> int:
        """The number of records."""
        return len(self.records)

    @cached_property
    def scope_logs(self) -> list[ScopeLogs]:
        """The scopes of all resources, as objects."""
        return [scope for resource in self.message.resource_logs for scope in resource.scope_logs]

    @cached_property
    def objects(self) -> list[LogRecord]:
        """The records, as objects."""
        return [record for scope in self.scope_logs for record in scope.log_records]

    def plain_body(self, row: int) -> Any:
        """The body of a record, as plain value."""
        deep = self.deep.get(row)
        return plain(self.objects[row].body) if deep is None else deep.body

    def plain_attributes(self, row: int) -> dict[str, Any]:
        """The attributes of a record, as plain values."""
        deep = self.deep.get(row)
        return plain_map(self.objects[row].attributes) if deep is None else dict(deep.attributes)

    def plain_attribute(self, row: int, place: int) -> Any:
        """The attribute at one place of a record, as plain value."""
        deep = self.deep.get(row)
        return plain(self.objects[row].attributes[place].value) if deep is None else deep.attributes[place][1]

    def content(self, row: int) -> bytes:
        """The bytes of a record."""
        deep = self.deep.get(row)
        return self.objects[row].SerializeToString() if deep is None else deep.content

    def digest(self, row: int) -> bytes:
        """What identifies a record, however grouped with others: a hash of it, its resource and scope."""
        resource = self.message.resource_logs[self.resources[row]]
        scope = self.scope_logs[self.scopes[row]]
        return digest(
            resource.resource.SerializeToString(),
            resource.schema_url,
            scope.scope.SerializeToString(),
            scope.schema_url,
            self.content(row),
        )

    @cached_property
    def resource_attributes(self) -> list[dict[str, object]]:
        """The attributes of each resource, as plain values."""
        return [plain_map(logs.resource.attributes) for logs in self.message.resource_logs]

    def resource_texts(self, key: str) -> list[str | None]:
        """The attribute `key` of each resource where it is text, None elsewhere."""
        found = (attributes.get(key) for attributes in self.resource_attributes)
        return [value if isinstance(value, str) else None for value in found]

    @cached_property
    def processes(self) -> list[str | None]:
        """The process id of each resource, None where it gives none."""
        return [process_id(attributes.get(PROCESS_ID)) for attributes in self.resource_attributes]

    @cached_property
    def times(self) -> npt.NDArray[np.uint64]:
        """When each record happened, in nanoseconds: its time, else when it was observed, else received."""
        time = numpy(self.records.field("time_unix_nano"))
        observed = numpy(self.records.field("observed_time_unix_nano"))
        return np.where(time > 0, time, np.where(observed > 0, observed, np.uint64(self.received_at_ns)))


def read_request(payload: bytes, received_at_ns: int) -> Request:
    """Read a request both ways.

    Raises:
        DecodeError: The bytes are not an ExportLogsServiceRequest.
    """
    mended = Mended(payload)
    try:
        message = parse(payload)
    except DecodeError:
        mended = mend(payload)
        message = parse(mended.payload)
    try:
        return _with_columns(message, mended, received_at_ns)
    except AmbiguousValueError:  # the runtime has decided, and writes only what it chose
        return _with_columns(message, replace(mended, payload=message.SerializeToString()), received_at_ns)


def _with_columns(message: ExportLogsServiceRequest, mended: Mended, received_at_ns: int) -> Request:
    scopes = read_columns(mended.payload).values.field("scope_logs")
    logs = scopes.values.field("log_records")
    records = logs.values
    resource_of_scope = np.repeat(np.arange(len(scopes)), np.diff(numpy(scopes.offsets)))
    scope_of_record = np.repeat(np.arange(len(logs)), np.diff(numpy(logs.offsets)))
    body = records.field("body")
    sections = body.field("kvlist_value").field("values")
    fields = sections.values.field("value").field("kvlist_value").field("values")
    return Request(
        message=message,
        records=records,
        resources=resource_of_scope[scope_of_record],
        scopes=scope_of_record,
        attributes=Attributes(read_entries(records.field("attributes")), len(records)),
        bodies=read_values(body).kinds,
        sections=read_entries(sections),
        fields=read_entries(fields),
        deep=mended.deep,
        unreadable=mended.unreadable,
        received_at_ns=received_at_ns,
    )
