"""Log records as lines, text for people or JSON for machines: the one place that sets logging up.

Whatever stands in a record, it stays one record: control characters of what users sent are escaped, so that
nobody can write a line of their own, or steer a terminal.
"""

import json
import logging
import math
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

Format = Literal["auto", "text", "json"]

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
"""What every record has, or uvicorn adds for terminals; anything else came as `extra`."""
_FIELDS: Final = frozenset({"time", "level", "logger", "message", "pid", "exception"})
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\\\\]")
"""Characters that end a line, steer a terminal or turn the reading direction, and the one that escapes."""
_WORD: Final = re.compile(r"[\w.,:;/@+*%#~<>|()'-]+", re.ASCII)


def set_up_logging(format_: Format, level: str, stream: TextIO | None = None) -> None:
    """Send every record of this process, warnings and failed threads included, to `stream`.

    Args:
        format_: `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.
        level: The least severe level that is shown, such as `info`.
        stream: Standard error if None.
    """
    stream = stream or sys.stderr
    as_text = format_ == "text" or (format_ == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    threading.excepthook = tell_failed_thread


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, fields; tracebacks below it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line of `record`."""
        line = f"{_time(record)} {record.levelname:7} {record.name}: {escaped(record.getMessage())}"
        fields = " ".join(f"{escaped(name)}={_value(value)}" for name, value in _extra(record))
        lines = [f"{line} [{fields}]" if fields else line]
        lines += [f"    {escaped(part)}" for part in _traceback(self, record).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """A JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line of `record`."""
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        for name, value in _extra(record):
            fields[f"{name}_" if name in _FIELDS else name] = _plain(value)
        if traceback := _traceback(self, record):
            fields["exception"] = traceback
        return json.dumps(fields)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in vars(record).items() if name not in _OWN)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    parts += [formatter.formatStack(record.stack_info)] if record.stack_info else []
    return "\n".join(parts)


def escaped(text: str, keep: str = "") -> str:
    """`text` without what ends a line, steers a terminal or turns the reading direction, but for `keep`."""
    return _CONTROL.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode("ascii"),
        text,
    )


def _value(value: Any) -> str:
    """A field's value as text: in quotes where it would not be one word."""
    text = str(value)
    return text if _WORD.fullmatch(text) else json.dumps(text)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


def tell_failed_thread(failed: threading.ExceptHookArgs) -> None:
    """Say that a thread ended with an error that nobody expected."""
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        name = failed.thread.name if failed.thread else "unknown"
        logging.getLogger("lapwing_collector").error(
            "the thread %s failed", name, exc_info=failed.exc_value, extra={"action": "thread_failed"}
        )
