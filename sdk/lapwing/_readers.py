"""How the values of settings are read, from arguments and from the text of variables."""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from os import fspath
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from lapwing._policy import EVERY_MODEL

Read = Callable[[Any], Any]
"""Turns an argument, or the text of a variable, into a setting's value; ValueError says what was expected."""

LOGS_PATH: Final = "/v1/logs"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")  # what HTTP and gRPC both allow


def expecting(expected: str, read: Read, valid: Callable[[Any], bool] = lambda _: True) -> Read:
    """Make a reader whose every failure says what was expected."""

    def checked(value: Any) -> Any:
        try:
            found = read(value)
            accepted = valid(found)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            accepted = False
        if not accepted:
            raise ValueError(expected)
        return found

    return checked


def one_of(*choices: str) -> Read:
    """Make a reader of words, in whatever case."""
    return expecting(f"one of {', '.join(choices)}", lambda value: value.lower(), choices.__contains__)


def protocol(value: Any) -> str:
    """Read the name of a protocol, gRPC only where it is installed."""
    found: str = one_of("http/protobuf", "grpc")(value)
    if found == "grpc" and find_spec("grpc") is None:  # found, but not imported: that takes 40 ms
        raise ValueError("http/protobuf as long as grpcio is not installed (pip install 'lapwing[grpc]')")
    return found


def exporter(value: Any) -> Any:
    """Read the name of an exporter, or take a `LoggerProvider` or `LogRecordExporter` as it is."""
    if hasattr(value, "get_logger") or hasattr(value, "export"):
        return value
    return _exporter_name(value)


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0


def _is_target(value: str) -> bool:
    return _is_url(value) if value.startswith(("http:", "https:")) else bool(re.fullmatch(r"\S+", value))


def _with_path(base: str) -> str:
    base = base.rstrip("/")
    return base if base.endswith(LOGS_PATH) else base + LOGS_PATH


def _is_headers(headers: Mapping[str, str]) -> bool:
    return all(
        _HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()
        for name, value in headers.items()
    )


def _folder(value: Any) -> Path:
    path = fspath(value)
    if not path.strip():
        raise ValueError
    return Path(path).absolute()  # wherever the host goes


def _rates(value: Any) -> dict[str, float]:
    rates = value if isinstance(value, Mapping) else {EVERY_MODEL: value}
    return {str(model): float(rate) for model, rate in rates.items()}


def _rules(value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, Mapping)):
        raise TypeError
    return tuple(value)


_HEADERS: Final = "a mapping of names (letters, digits, . _ -) to text that is printable ASCII"
_EXPORTERS: Final = ("lapwing", "opentelemetry", "host", "console", "none")
_exporter_name = expecting(
    f"one of {', '.join(_EXPORTERS)}, a LoggerProvider or a LogRecordExporter",
    lambda value: value.lower(),
    _EXPORTERS.__contains__,
)

url = expecting("an http:// or https:// URL", str, _is_url)
base_url = expecting("an http:// or https:// URL", lambda value: _with_path(str(value)), _is_url)
target = expecting("an http:// or https:// URL, or host:port", str, _is_target)
text = expecting("text", str.strip, bool)
headers = expecting(_HEADERS, dict, _is_headers)
header_list = expecting(
    "name=value,…",
    lambda value: dict(parse_env_headers(value, liberal=True)),
    lambda found: bool(found) and _is_headers(found),
)
seconds = expecting("seconds, more than 0", float, lambda value: 0 < value < float("inf"))
milliseconds = expecting("milliseconds, 0 or more", lambda value: int(value) / 1000, lambda value: value >= 0)
delay = expecting("seconds, 0 or more", float, lambda value: 0 <= value < float("inf"))
count = expecting("a whole number, 1 or more", int, lambda value: value >= 1)
compression = one_of("none", "gzip")
switch = expecting("True or False", lambda value: value, lambda value: isinstance(value, bool))
flag = expecting("true or false", lambda value: {"true": True, "false": False}[value.lower()])
folder = expecting("the path of a folder", _folder)
rates = expecting(
    "a rate, more than 0 and at most 1, or a mapping of model names to rates",
    _rates,
    lambda found: all(0 < rate <= 1 for rate in found.values()),
)
rules = expecting("a list of redaction rules", _rules)
standard_exporter = expecting(
    "one of otlp, console, none",
    lambda value: {"otlp": "lapwing", "console": "console", "none": "none"}[value.lower()],
)
