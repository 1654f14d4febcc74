"""One way for each encoding of OTLP to send records to a whole collector, and to read what it stored."""

import gzip
import http.client
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.collector import Collector
from helpers.decode_json import as_json
from helpers.receive_grpc import call
from helpers.waiting import wait_until
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.query import Session

PROTOBUF, JSON = "application/x-protobuf", "application/json"
ENCODINGS = ("P", "J", "G")
"""HTTP with protobuf, HTTP with JSON, gRPC."""

_numbers = itertools.count(1)


def new_event() -> str:
    """The name of an event that no other test uses."""
    return f"conformance.{next(_numbers)}"


@dataclass(frozen=True)
class Reply:
    """What a client hears.

    Attributes:
        ok: Whether it is success.
        code: The HTTP status, or the name of the gRPC code.
        body: The answer's bytes.
        rejected: How many records were.
        message: What is said about it, or about the failure.
        status: What a failure carries for developers.
        headers: Of HTTP, or the trailers of gRPC.
    """

    ok: bool
    code: int | str
    body: bytes
    rejected: int
    message: str
    status: Status | None
    headers: Mapping[str, Any]


class Wire:
    """Sends to a collector, over connections of its own."""

    def __init__(self, collector: Collector) -> None:
        """Connect to nothing yet."""
        self.collector = collector
        self.channel = grpc.insecure_channel(
            collector.grpc_address,
            [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)],
        )
        self._session = Session.open(collector.data / "lake")

    def close(self) -> None:
        """Close what is open."""
        self.channel.close()
        self._session.close()

    def send(self, encoding: str, payload: bytes) -> Reply:
        """Send a request, given in protobuf."""
        return self.send_raw(encoding, as_json(payload) if encoding == "J" else payload)

    def send_raw(self, encoding: str, body: bytes, **headers: str) -> Reply:
        """Send bytes as they are, with headers whose names have underscores for hyphens.

        Where the collector asks to come back, it does, as clients do: a busy machine is no finding.
        """
        for _ in range(9):
            reply = self.send_once(encoding, body, **headers)
            if reply.code not in {503, "UNAVAILABLE"}:
                break
        return reply

    def send_once(self, encoding: str, body: bytes, **headers: str) -> Reply:
        """The same, whatever the answer."""
        if encoding == "G":
            return self._call(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        content_type = {"Content-Type": PROTOBUF if encoding == "P" else JSON}
        return self.request("POST", "/v1/logs", body, content_type | given)

    def gzipped(self, encoding: str, body: bytes) -> Reply:
        """Send bytes compressed."""
        if encoding == "G":
            return self._call(body, compression=grpc.Compression.Gzip)
        return self.send_raw(encoding, gzip.compress(body), content_encoding="gzip")

    def request(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Reply:
        """Send a request of any kind over HTTP."""
        with closing(http.client.HTTPConnection(self.collector.address, timeout=60)) as connection:
            connection.request(method, path, body, dict(headers), encode_chunked=isinstance(body, Iterator))
            answer = connection.getresponse()
            content, kind = answer.read(), answer.headers["Content-Type"]
        if answer.status == 200 and path == "/v1/logs":
            response = ExportLogsServiceResponse()
            _read(response, kind, content)
            partial = response.partial_success
            rejected, message = partial.rejected_log_records, partial.error_message
            return Reply(True, 200, content, rejected, message, None, answer.headers)
        status = Status()
        _read(status, kind, content)
        return Reply(False, answer.status, content, 0, status.message, status, answer.headers)

    def rows(self, event: str, count: int = 1, columns: str = "*") -> list[dict[str, Any]]:
        """The rows of an event once there are so many, in the order of their observed times."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            sql = f"SELECT {columns} FROM logs WHERE event_name = '{event}' ORDER BY observed_time, time"
            with suppress(NotSeenYetError):
                found[:] = self._session.run(sql).to_pylist()
            return len(found) >= count

        wait_until(enough)
        assert len(found) == count
        return found

    def count(self) -> int:
        """How many log rows there are."""
        with suppress(NotSeenYetError):
            count: int = self._session.run("SELECT count(*) AS n FROM logs").to_pylist()[0]["n"]
            return count
        return 0

    def _call(self, body: bytes, **options: Any) -> Reply:
        reply = call(self.channel, body, **options)
        if reply.code is grpc.StatusCode.OK:
            partial = ExportLogsServiceResponse.FromString(reply.body).partial_success
            rejected, message = partial.rejected_log_records, partial.error_message
            return Reply(True, "OK", reply.body, rejected, message, None, {})
        trailers = reply.trailers or {}
        status = reply.status if "grpc-status-details-bin" in trailers else None
        return Reply(False, reply.code.name, b"", 0, reply.message, status, trailers)


def request_of(*records: LogRecord) -> bytes:
    """A request of these records, in protobuf."""
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.extend(records)
    return request.SerializeToString()


def _read(message: Any, content_type: str, content: bytes) -> None:
    if content_type == PROTOBUF:
        message.ParseFromString(content)
    else:
        assert content_type == JSON
        json_format.ParseDict(json.loads(content), message)
