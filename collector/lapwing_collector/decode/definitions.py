"""Messages that are wire-compatible with OTLP's and read only what they are made for.

They are descriptors copied from OTLP's, with only the fields that are wanted. A message may be read as bytes:
joined, the parts of one that came in several are the bytes of the whole.
"""

from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

SCALARS: Final = ("string_value", "bool_value", "int_value", "double_value", "bytes_value")
"""The fields of an AnyValue that are no containers."""


class Definitions:
    """Messages of one package, which may refer to each other."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")

    def add(self, name: str, source: type[Message], *kept: str, **replaced: str | type[bytes]) -> None:
        """Define a message with fields of `source`.

        Args:
            name: The message's name.
            source: The message of OTLP.
            kept: Fields that stay as they are.
            replaced: Fields that have another message's name as their type, or are repeated bytes.
        """
        whole = DescriptorProto()
        source.DESCRIPTOR.CopyToProto(whole)
        part = self._file.message_type.add(name=name, oneof_decl=whole.oneof_decl)
        for field in whole.field:
            kind = replaced.get(field.name)
            if kind is bytes:
                field.ClearField("type_name")
                field.type = FieldDescriptorProto.TYPE_BYTES
                field.label = FieldDescriptorProto.LABEL_REPEATED
            elif kind is not None:
                field.type_name = f".{self._package}.{kind}"
            if kind is not None or field.name in kept:
                part.field.append(field)

    def add_empty(self, name: str) -> None:
        """Define a message without fields."""
        self._file.message_type.add(name=name)

    def descriptor(self, name: str) -> Descriptor:
        """The definition of a message; none can be added after it."""
        pool = DescriptorPool()
        pool.AddSerializedFile(self._file.SerializeToString())
        return pool.FindMessageTypeByName(f"{self._package}.{name}")

    def message(self, name: str) -> Any:
        """The class of a message."""
        return GetMessageClass(self.descriptor(name))
