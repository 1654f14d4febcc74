"""Rows as the records that any sender could send: one for each part of a file.

They are numbered as those of a process are, so that a part that is brought again is known.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Final

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from lapwing import semconv
from lapwing_collector.importing.rows import Part

_SERVICE: Final = "lapwing import"


class Sender:
    """What sends the parts of one file; the same file brought the same way has the same sender again.

    Where what a part becomes depends on more than the file, each part is a sender of its own, by its content.

    Attributes:
        by_content: Whether that is so.
    """

    def __init__(
        self, fingerprint: bytes, event: str, model: str, said: str, *, by_content: bool = False
    ) -> None:
        """Stand for a file.

        Args:
            fingerprint: What identifies its content.
            event: The event's name.
            model: Whose rows they are.
            said: What else decides on what its rows become.
            by_content: There is more that decides on that.
        """
        self._identity = hashlib.blake2b(fingerprint, digest_size=16)
        for text in (event, model, said):
            self._identity.update(len(text.encode()).to_bytes(8, "big") + text.encode())
        self._event = event
        self._model = model
        self.by_content = by_content

    def request(
        self, number: int, part: Part, time_ns: int, attributes: Mapping[str, str] | None = None
    ) -> bytes:
        """An `ExportLogsServiceRequest` with the rows of a part.

        Args:
            number: Which of the file's parts it is, from 1 on; by number, without those that are not sent.
            part: The rows.
            time_ns: The time of rows that have none.
            attributes: What holds for all rows.
        """
        stream = _stream(part)
        identity = self._identity.copy()
        if self.by_content:
            identity.update(number.to_bytes(8, "big") + stream)
            number = 1
        process_id = str(uuid.UUID(bytes=identity.digest(), version=5))
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        said = {semconv.SERVICE_NAME: _SERVICE, semconv.PROCESS_ID: process_id}
        resource.resource.attributes.extend(_attribute(name, text) for name, text in said.items())
        record = resource.scope_logs.add().log_records.add(event_name=self._event, time_unix_nano=time_ns)
        named = {semconv.MODEL_NAME: self._model, **(attributes or {})}
        record.attributes.extend(_attribute(name, text) for name, text in named.items())
        record.attributes.append(KeyValue(key=semconv.BATCH_ROWS, value=AnyValue(int_value=part.rows)))
        record.attributes.append(KeyValue(key=semconv.SEQUENCE, value=AnyValue(int_value=number)))
        record.body.bytes_value = stream
        return request.SerializeToString()


def _stream(part: Part) -> bytes:
    batch = pa.RecordBatch.from_pydict(dict(part.columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _attribute(name: str, text: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=text))
