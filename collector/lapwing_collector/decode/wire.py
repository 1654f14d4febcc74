"""Reads the bytes of a request: once into the protobuf runtime's objects, once into Arrow columns.

ptars turns bytes into columns without an object per value, but it trusts its input: it does not check
UTF-8, deep nesting overflows its stack, and a length near 2^64 makes it panic. The runtime therefore parses
first and refuses all of these, and its objects serve whatever columns can not express. (What becomes of a
request that it refuses for one record's sake is `deep`'s business, and ptars never sees it.)

The columns follow a definition of our own with only the fields that become columns, and with the recursive
`AnyValue` unrolled as far as a typical body goes (body → section → field → list element). A container below
that is kept as mere presence.
"""

from typing import Any, Final

import ptars
import pyarrow as pa
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError as MalformedError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from lapwing_collector.decode.definitions import SCALARS, Definitions
from lapwing_collector.errors import DecodeError

_RECORD_FIELDS: Final = ("time_unix_nano", "observed_time_unix_nano", "event_name", "trace_id", "span_id")


def parse(payload: bytes) -> ExportLogsServiceRequest:
    """Parse a request into the protobuf runtime's objects.

    Raises:
        DecodeError: The bytes are not an ExportLogsServiceRequest, or one nested too deep for the runtime.
    """
    try:
        request: ExportLogsServiceRequest = ExportLogsServiceRequest.FromString(payload)
    except MalformedError as error:
        raise DecodeError(
            f"The body ({len(payload)} bytes) is not an OTLP ExportLogsServiceRequest in protobuf: {error}. "
            "Check that it is sent whole, with text in UTF-8, and nested at most 100 messages deep."
        ) from error
    return request


def read_columns(payload: bytes) -> pa.ListArray:
    """Read a request that `parse` has accepted as one nested column: the list of its `resource_logs`.

    Raises:
        DecodeError: ptars refuses what the runtime accepted.
    """
    try:
        return _HANDLER.list_to_record_batch([payload]).column(0)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a Rust panic is no Exception, and costs one request, not the process
        raise DecodeError(f"The body ({len(payload)} bytes) can not be read as columns: {error}") from error


def _definition() -> Descriptor:
    """The message that `read_columns` reads requests as."""
    definitions = Definitions("lapwing.decode")
    definitions.add_empty("Presence")

    def add_value(name: str, array: str = "Presence", kvlist: str = "Presence") -> None:
        definitions.add(name, AnyValue, *SCALARS, array_value=array, kvlist_value=kvlist)

    add_value("Leaf")
    definitions.add("List", ArrayValue, values="Leaf")
    add_value("Field", array="List")
    definitions.add("FieldEntry", KeyValue, "key", value="Field")
    definitions.add("Fields", KeyValueList, values="FieldEntry")
    add_value("Section", kvlist="Fields")
    definitions.add("SectionEntry", KeyValue, "key", value="Section")
    definitions.add("Sections", KeyValueList, values="SectionEntry")
    add_value("Body", kvlist="Sections")
    definitions.add("Attribute", KeyValue, "key", value="Leaf")
    definitions.add("Record", LogRecord, *_RECORD_FIELDS, attributes="Attribute", body="Body")
    definitions.add("Scope", ScopeLogs, log_records="Record")
    definitions.add("Resource", ResourceLogs, scope_logs="Scope")
    definitions.add("Request", ExportLogsServiceRequest, resource_logs="Resource")
    return definitions.descriptor("Request")


def _handler() -> Any:
    definition = _definition()
    return ptars.HandlerPool([definition.file]).get_for_message(definition)


_HANDLER: Final = _handler()
