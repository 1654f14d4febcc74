"""Reads the bytes of a request: once into the protobuf runtime's objects, once into Arrow columns.

ptars turns bytes into columns without an object per value, but it trusts its input: it does not check
UTF-8, deep nesting overflows its stack, and a length near 2^64 makes it panic. The runtime therefore parses
first and refuses all of these, and its objects serve whatever columns can not express.

The columns follow a definition of our own that is wire-compatible with OTLP: descriptors copied from OTLP's,
with only the fields that become columns, and with the recursive `AnyValue` unrolled as far as a typical body
goes (body → section → field → list element). A container below that is kept as mere presence.
"""

from typing import Any, Final

import ptars
import pyarrow as pa
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError as MalformedError
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from lapwing_collector.errors import DecodeError

_PACKAGE: Final = "lapwing.decode"
_SCALARS: Final = ("string_value", "bool_value", "int_value", "double_value", "bytes_value")
_RECORD_FIELDS: Final = ("time_unix_nano", "observed_time_unix_nano", "event_name", "trace_id", "span_id")


def parse(payload: bytes) -> ExportLogsServiceRequest:
    """Parse a request into the protobuf runtime's objects.

    Raises:
        DecodeError: The bytes are not an ExportLogsServiceRequest.
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
    file = FileDescriptorProto(name="lapwing/decode.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.add(name="Presence")

    def define(name: str, source: type[Message], *scalars: str, **messages: str) -> None:
        """Copy `source` with only the named fields; `messages` maps the name of a field to its new type."""
        whole = DescriptorProto()
        source.DESCRIPTOR.CopyToProto(whole)
        part = file.message_type.add(name=name, oneof_decl=whole.oneof_decl)
        for field in whole.field:
            if field.name in messages:
                field.type_name = f".{_PACKAGE}.{messages[field.name]}"
            if field.name in messages or field.name in scalars:
                part.field.append(field)

    def define_value(name: str, array: str = "Presence", kvlist: str = "Presence") -> None:
        define(name, AnyValue, *_SCALARS, array_value=array, kvlist_value=kvlist)

    define_value("Leaf")
    define("List", ArrayValue, values="Leaf")
    define_value("Field", array="List")
    define("FieldEntry", KeyValue, "key", value="Field")
    define("Fields", KeyValueList, values="FieldEntry")
    define_value("Section", kvlist="Fields")
    define("SectionEntry", KeyValue, "key", value="Section")
    define("Sections", KeyValueList, values="SectionEntry")
    define_value("Body", kvlist="Sections")
    define("Attribute", KeyValue, "key", value="Leaf")
    define("Record", LogRecord, *_RECORD_FIELDS, attributes="Attribute", body="Body")
    define("Scope", ScopeLogs, log_records="Record")
    define("Resource", ResourceLogs, scope_logs="Scope")
    define("Request", ExportLogsServiceRequest, resource_logs="Resource")
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindMessageTypeByName(f"{_PACKAGE}.Request")


def _handler() -> Any:
    definition = _definition()
    return ptars.HandlerPool([definition.file]).get_for_message(definition)


_HANDLER: Final = _handler()
