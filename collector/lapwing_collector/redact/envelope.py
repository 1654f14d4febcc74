"""A request as an envelope that keeps its records as bytes: where one can not be read, the others can.

Its messages are copies of OTLP's descriptors with only the fields on the way to the records, and there a
record is bytes. What the other fields hold is taken along unread.
"""

from collections.abc import Collection, Iterator, MutableSequence
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError as MalformedError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs

from lapwing_collector.errors import DecodeError

_UNREADABLE: Final = b"\xff"
"""Stands for a record that is withheld. It is none, and is therefore rejected, alone, where it is decoded."""


def without_unreadable(payload: bytes) -> tuple[bytes, list[int]]:
    """Put empty records in the place of those that the protobuf runtime can not read.

    Returns:
        The request, and the places of those records in it.

    Raises:
        DecodeError: What the runtime refuses is not in a record.
    """
    try:
        envelope = _ENVELOPE.FromString(payload)
    except MalformedError as error:
        raise _refusal(payload, error) from error
    unreadable = []
    for number, (siblings, place) in enumerate(_records(envelope)):
        if not _is_readable(siblings[place]):
            siblings[place] = b""
            unreadable.append(number)
    return envelope.SerializeToString(), unreadable


def parse(payload: bytes) -> ExportLogsServiceRequest:
    """Parse a request.

    Raises:
        DecodeError: The runtime can not read it.
    """
    try:
        request: ExportLogsServiceRequest = ExportLogsServiceRequest.FromString(payload)
    except MalformedError as error:
        raise _refusal(payload, error) from error
    return request


def with_withheld(payload: bytes, places: Collection[int]) -> bytes:
    """Put what is no record in some places of a request."""
    envelope = _ENVELOPE.FromString(payload)
    for number, (siblings, place) in enumerate(_records(envelope)):
        if number in places:
            siblings[place] = _UNREADABLE
    content: bytes = envelope.SerializeToString()
    return content


def _records(envelope: Any) -> Iterator[tuple[MutableSequence[bytes], int]]:
    """Where each record is: in which sequence, and at which place of it."""
    for resource in envelope.resource_logs:
        for scope in resource.scope_logs:
            for place in range(len(scope.log_records)):
                yield scope.log_records, place


def _is_readable(content: bytes) -> bool:
    """Whether the runtime reads the record where it stands, inside three messages."""
    alone = _ENVELOPE(resource_logs=[{"scope_logs": [{"log_records": [content]}]}])
    try:
        ExportLogsServiceRequest.FromString(alone.SerializeToString())
    except MalformedError:
        return False
    return True


def _refusal(payload: bytes, error: MalformedError) -> DecodeError:
    return DecodeError(
        f"The body ({len(payload)} bytes) is not an OTLP ExportLogsServiceRequest in protobuf: {error}. "
        "Check that it is sent whole, with text in UTF-8."
    )


def _envelope() -> Any:
    package = "lapwing.redact"
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    steps: tuple[tuple[str, type[Message], str, str | None], ...] = (
        ("Scope", ScopeLogs, "log_records", None),
        ("Resource", ResourceLogs, "scope_logs", "Scope"),
        ("Envelope", ExportLogsServiceRequest, "resource_logs", "Resource"),
    )
    for name, source, kept, inside in steps:
        whole = DescriptorProto()
        source.DESCRIPTOR.CopyToProto(whole)
        (field,) = [field for field in whole.field if field.name == kept]
        if inside is None:
            field.ClearField("type_name")
            field.type = FieldDescriptorProto.TYPE_BYTES
        else:
            field.type_name = f".{package}.{inside}"
        file.message_type.add(name=name, field=[field])
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{package}.Envelope"))


_ENVELOPE: Final = _envelope()
