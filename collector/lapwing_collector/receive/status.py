"""Answers as OTLP wants them: every refusal carries a `google.rpc.Status` for the client's developer."""

import math
from collections.abc import Mapping
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from starlette.requests import Request
from starlette.responses import Response

from lapwing_collector.errors import AccessError, DecodeError, LapwingError, UnavailableError
from lapwing_collector.receive.intake import Accepted

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_LONGEST_RETRY_AFTER_S: Final = 3
"""Stock clients drop their data at once where waiting would exceed what is left of their 10 seconds."""
_LONGEST_MESSAGE: Final = 16 * 1024
"""Bytes; clients may refuse answers of more than 4 MiB."""
_CODES: Final = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
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


def response_of(accepted: Accepted) -> ExportLogsServiceResponse:
    """What OTLP answers to a request that was taken, all of it or in part."""
    answer = ExportLogsServiceResponse()
    if accepted.rejected or accepted.message:
        answer.partial_success.rejected_log_records = accepted.rejected
        answer.partial_success.error_message = accepted.message[:_LONGEST_MESSAGE]
    return answer


def status_of(error: LapwingError, longest: int = _LONGEST_MESSAGE) -> tuple[int, status_pb2.Status]:
    """The HTTP status of an error, and what OTLP says of it.

    Args:
        error: What went wrong.
        longest: Bytes that its message may have.
    """
    message = str(error).encode(errors="replace")[:longest].decode(errors="ignore")
    if not isinstance(error, DecodeError | AccessError):
        return 503, status_pb2.Status(code=code_pb2.UNAVAILABLE, message=message)
    status = status_pb2.Status(code=_CODES.get(error.status_hint, code_pb2.UNKNOWN), message=message)
    if error.status_hint == 400:
        violation = error_details_pb2.BadRequest.FieldViolation(field="body", description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return error.status_hint, status


def retry_after_s(error: LapwingError) -> int:
    """After how many seconds it is worth trying again."""
    wanted = error.retry_after_s if isinstance(error, UnavailableError) else 1
    return min(max(math.ceil(wanted), 1), _LONGEST_RETRY_AFTER_S)


def success(request: Request, accepted: Accepted) -> Response:
    """Say that all records of `request` were taken but the rejected ones."""
    return _answer(request, 200, response_of(accepted))


def refusal(request: Request, error: LapwingError, headers: Mapping[str, str] | None = None) -> Response:
    """Refuse `request`, or ask for it again soon."""
    http, status = status_of(error)
    response = _answer(request, http, status)
    if http == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if http == 503:
        response.headers["Retry-After"] = str(retry_after_s(error))
    response.headers.update(headers or {})
    return response


def _answer(request: Request, http: int, message: Message) -> Response:
    """An answer in protobuf to clients that speak protobuf, in JSON to all others."""
    if media_type(request) == PROTOBUF:
        return Response(message.SerializeToString(), http, media_type=PROTOBUF)
    return Response(json_format.MessageToJson(message, indent=None), http, media_type=JSON)
