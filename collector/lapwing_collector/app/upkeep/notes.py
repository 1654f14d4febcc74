"""Notes on the time axis: deployments, and whatever else people want to see beside what followed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.clock import read_utc
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.annotations import ANNOTATION_ROWS, KINDS

_LONGEST: Final = 500


def rows_of_note(asked: Mapping[str, Any], now: datetime) -> pa.Table:
    """A note as a row of `annotations`; of `now`, naive UTC, unless it says otherwise.

    Raises:
        ConfigError: It is none.
    """
    unknown = sorted(asked.keys() - {"text", "kind", "model", "version", "at", "until", "author"})
    if unknown:
        raise ConfigError(f"annotate: {unknown[0]!r} is not known here")
    wrong = [name for name, value in asked.items() if not isinstance(value, str)]
    if wrong:
        raise ConfigError(f"annotate: {wrong[0]} is a text")
    text = asked.get("text", "").strip()
    if not text or len(text) > _LONGEST:
        raise ConfigError(f"annotate: expected a text of up to {_LONGEST} characters")
    kind = asked.get("kind", KINDS[0])
    if kind not in KINDS:
        raise ConfigError(f"annotate: kind is {' or '.join(KINDS)}, and not {kind!r}")
    at, until = _moment(asked, "at") or now, _moment(asked, "until")
    if until is not None and until < at:
        raise ConfigError("annotate: it would end before it begins")
    row = {
        "time": at,
        "ended_at": until,
        "kind": kind,
        "model": asked.get("model"),
        "version": asked.get("version"),
        "text": text,
        "author": asked.get("author"),
        "created_at": now,
    }
    return pa.Table.from_pylist([row], ANNOTATION_ROWS)


def _moment(asked: Mapping[str, Any], name: str) -> datetime | None:
    text = asked.get(name)
    if text is None:
        return None
    try:
        return read_utc(text)
    except ValueError:
        raise ConfigError(
            f"annotate: {name}: expected a time such as 2026-01-31T12:00, not {text!r}"
        ) from None
