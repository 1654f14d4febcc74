"""Errors as RFC 9457 problem details: what is wrong, where, and what to do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from lapwing_collector.errors import (
    ConfigError,
    DamagedFileError,
    DecodeError,
    LapwingError,
    NotSeenYetError,
    QueryError,
    QueryLimitError,
    RefusedQueryError,
    UnavailableError,
    UnknownEvaluationError,
    UnknownMetricError,
    UnknownModelError,
    UnknownRuleError,
)

_STATUS: Final[tuple[tuple[type[LapwingError], int, str], ...]] = (
    (NotSeenYetError, 400, "unknown-name"),
    (RefusedQueryError, 403, "query-refused"),
    (DamagedFileError, 500, "lake-damaged"),
    (QueryLimitError, 422, "query-over-limit"),
    (QueryError, 400, "query-failed"),
    (UnavailableError, 503, "busy"),
    (UnknownModelError, 404, "unknown-model"),
    (UnknownMetricError, 404, "unknown-metric"),
    (UnknownRuleError, 404, "unknown-rule"),
    (UnknownEvaluationError, 404, "unknown-evaluation"),
    (ConfigError, 400, "wrong-request"),
    (LapwingError, 409, "not-possible"),
)
"""The first that fits holds."""


def problem(
    status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """An answer that says what is wrong.

    Args:
        status: The HTTP status.
        kind: A short name for programs; once published it does not change.
        detail: For people: what happened and what to do.
        headers: Further headers.
        more: What else programs may want to know; None is left out.
    """
    body = {
        "type": f"urn:lapwing:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    body |= {name: value for name, value in more.items() if value is not None}
    return JSONResponse(
        body,
        status,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
        "application/problem+json",
    )


def status_of(error: LapwingError) -> int:
    """The HTTP status that tells `error`."""
    if isinstance(error, DecodeError):
        return error.status_hint
    return next(status for known, status, _ in _STATUS if isinstance(error, known))


def problem_of(error: LapwingError) -> JSONResponse:
    """The answer that tells `error`."""
    status, kind = next((status, kind) for known, status, kind in _STATUS if isinstance(error, known))
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, UnavailableError) else None
    if isinstance(error, QueryError):
        candidates = list(error.candidates) or None
        return problem(status, kind, str(error), headers, position=error.position, candidates=candidates)
    return problem(status, kind, str(error), headers)
