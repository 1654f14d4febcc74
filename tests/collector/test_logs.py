"""What the collector says on standard error: one record, one line, whatever users sent."""

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.logs import Format, JsonFormatter, TextFormatter, set_up_logging

logger = logging.getLogger("lapwing_collector.room")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave logging to other tests as they expect it."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    logging.captureWarnings(capture=False)  # what was set up in a test before is nobody's by now
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)


def said(format_: Format, level: str = "info", stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    set_up_logging(format_, level, stream)
    return stream


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "lapwing_collector.room", "levelno": 20, "levelname": "INFO"})
    made.msg = message
    vars(made).update(extra)
    return made


def test_json_has_the_message_and_its_fields() -> None:
    """Machines get an object a line: when, how bad, who, what, and every field of `extra` by its name."""
    lines = said("json")
    logger.warning(
        "read back %d requests", 3, extra={"action": "recovered", "took_s": 0.5, "nan": float("nan")}
    )
    found = json.loads(lines.getvalue())
    assert datetime.fromisoformat(found.pop("time")).utcoffset() is not None
    assert isinstance(found.pop("pid"), int)
    assert found == {
        "level": "warning",
        "logger": "lapwing_collector.room",
        "message": "read back 3 requests",
        "action": "recovered",
        "took_s": 0.5,
        "nan": "nan",
    }


def test_fields_cannot_pose_as_the_record() -> None:
    """A field that is called like a part of the record stands beside it."""
    lines = said("json")
    logger.info("hello", extra={"level": "error", "logger": "x"})
    found = json.loads(lines.getvalue())
    assert (found["level"], found["logger"], found["level_"], found["logger_"]) == (
        "info",
        "lapwing_collector.room",
        "error",
        "x",
    )


def test_text_has_the_message_and_its_fields() -> None:
    """People get a line with the fields at its end."""
    lines = said("text")
    logger.info("restarted", extra={"action": "restart", "why": "it asked", "worker": 7})
    _, _, rest = lines.getvalue().partition(" ")
    assert rest == 'INFO    lapwing_collector.room: restarted [action=restart why="it asked" worker=7]\n'


@given(
    text=st.text() | st.sampled_from(["a\nERROR b", "\r\x1b[2J", "\u2028", "\u202eabc", "\x9b31m", "\ud800"]),
    name=st.sampled_from(["action", "model", "odd name"]),
)
def test_no_record_breaks_out_of_its_line(text: str, name: str) -> None:
    """Nobody can write a line of their own, or steer a terminal, with what they send."""
    for formatter in (TextFormatter(), JsonFormatter()):
        line = formatter.format(record(text, **{name: text}))
        assert len(line.splitlines()) == 1
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)
        assert "\u202e" not in line
    assert json.loads(line)[name] == text


def test_tracebacks_stay_below_their_line() -> None:
    """Lines of a traceback are indented, so that none of them looks like a record; in JSON it is a field."""
    for format_ in ("text", "json"):
        lines = said(format_)
        try:
            int("wrong\n2026-01-01T00:00:00.000Z ERROR forged: line\x1b[31m")
        except ValueError:
            logger.exception("it failed")
        if format_ == "text":
            first, *rest = lines.getvalue().splitlines()
            assert first.endswith("it failed")
            assert rest
            assert all(line.startswith("    ") for line in rest)
            assert "\x1b" not in lines.getvalue()
        else:
            assert "ValueError: " in json.loads(lines.getvalue())["exception"]


def test_terminals_get_text_and_others_json() -> None:
    """What nobody chose follows from who reads it."""
    terminal = said("auto", stream=Terminal())
    logger.info("hello")
    assert terminal.getvalue().endswith("hello\n")
    file = said("auto")
    logger.info("hello")
    assert json.loads(file.getvalue())["message"] == "hello"


def test_levels_below_are_left_out() -> None:
    """`logging.level` is the least severe that is shown."""
    lines = said("text", "error")
    logger.warning("hush")
    logger.error("heard")
    assert "hush" not in lines.getvalue()
    assert "heard" in lines.getvalue()


def test_everybody_is_heard() -> None:
    """Uvicorn, warnings and threads that fail speak the same way as the collector."""
    lines = said("json")
    logging.getLogger("uvicorn.error").warning("odd request", extra={"color_message": "\x1b[31modd"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="worn")
    thread.start()
    thread.join()
    server, warning, failed = map(json.loads, lines.getvalue().splitlines())
    assert (server["logger"], server["message"]) == ("uvicorn.error", "odd request")
    assert "color_message" not in server
    assert "UserWarning: old" in warning["message"]
    assert "worn" in failed["message"]
    assert "ZeroDivisionError" in failed["exception"]
