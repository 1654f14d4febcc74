"""Calls of a collector over gRPC."""

from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


@dataclass(frozen=True)
class Reply:
    """What a call came to: the answer's bytes, or the status and what its trailers say."""

    code: grpc.StatusCode
    body: bytes = b""
    message: str = ""
    trailers: dict[str, Any] | None = None

    @property
    def status(self) -> Status:
        """The Status among the trailers."""
        assert self.trailers is not None
        return Status.FromString(self.trailers["grpc-status-details-bin"])

    def detail(self, kind: type[BadRequest] | type[RetryInfo]) -> Any:
        """The one detail of the Status, which must be of this kind."""
        (packed,) = self.status.details
        detail = kind()
        assert packed.Unpack(detail)
        return detail


def call(channel: grpc.Channel, body: bytes, method: str = EXPORT, **options: Any) -> Reply:
    """Send bytes as they are, and wait for what comes of it."""
    try:
        answer: bytes = channel.unary_unary(method)(body, timeout=30, **options)
    except grpc.RpcError as error:
        return Reply(error.code(), b"", error.details() or "", dict(error.trailing_metadata() or ()))
    return Reply(grpc.StatusCode.OK, answer)
