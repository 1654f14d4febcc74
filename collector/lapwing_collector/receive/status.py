"""Answers as OTLP wants them: every refusal carries a `google.rpc.Status` for the client's developer."""

import math
from collections.abc import Mapping
from typing import Final

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from starlette.requests import Request
from starlette.responses import Response

from lapwing_collector.errors import UnavailableError

PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_LONGEST_RETRY_AFTER_S: Final = 3
"""Stock clients drop their data at once where waiting would exceed what is left of their 10 seconds."""
_LONGEST_MESSAGE: Final = 16 * 1024
"""Characters; clients may refuse answers of more than 4 MiB."""
_CODES: Final = {
    400: code_pb2.INVALID_ARGUMENT,
    404: code_pb2.NOT_FOUND,
    405: code_pb2.UNIMPLEMENTED,
    408: code_pb2.DEADLINE_EXCEEDED,
    413: code_pb2.RESOURCE_EXHAUSTED,
    415: code_pb2.INVALID_ARGUMENT,
    503: code_pb2.UNAVAILABLE,
}


def media_type(request: Request) -> str:
    """The request's Content-Type without parameters, in lower case; empty if it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def success(rejected: int, message: str) -> Response:
    """Say that all records were taken but `rejected`; `message` says why not those, or warns."""
    answer = ExportLogsServiceResponse()
    if rejected or message:
        answer.partial_success.rejected_log_records = rejected
        answer.partial_success.error_message = message[:_LONGEST_MESSAGE]
    return Response(answer.SerializeToString(), media_type=PROTOBUF)


def refusal(
    request: Request, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Refuse `request`, in protobuf to clients that speak protobuf, in JSON to all others."""
    message = message[:_LONGEST_MESSAGE]
    body = status_pb2.Status(code=_CODES.get(status, code_pb2.UNKNOWN), message=message)
    if status == 400:
        violation = error_details_pb2.BadRequest.FieldViolation(field="body", description=message)
        body.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if media_type(request) == PROTOBUF:
        return Response(body.SerializeToString(), status, headers, PROTOBUF)
    return Response(json_format.MessageToJson(body, indent=None), status, headers, _JSON)


def try_again(request: Request, error: UnavailableError) -> Response:
    """Ask for `request` again soon."""
    wait_s = min(max(math.ceil(error.retry_after_s), 1), _LONGEST_RETRY_AFTER_S)
    return refusal(request, 503, str(error), {"Retry-After": str(wait_s)})
