"""Settings of the SDK: one table; an argument wins over OpenTelemetry's variables, these over the default."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

LOGS_PATH: Final = "/v1/logs"

Read = Callable[[Any], Any]
"""Turns an argument, or the text of a variable, into a setting's value; ValueError says what was expected."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the table.

    Attributes:
        name: Of the argument of `init` and the field of `Settings`.
        default: Where neither the argument nor a variable is given.
        read: For the argument.
        variables: Environment variables, the first that is set wins, each with its way of being read.
        help: What it is, with its unit.
    """

    name: str
    default: Any
    read: Read
    variables: Mapping[str, Read]
    help: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of all settings; the table `SETTINGS` says what they are."""

    endpoint: str
    service: str | None
    environment: str | None
    headers: Mapping[str, str]
    timeout_s: float
    compression: Literal["none", "gzip"]
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    on_full: Literal["drop", "wait"]
    retry_for_s: float
    queue_size: int
    batch_size: int
    delay_s: float
    disabled: bool


def resolve(
    arguments: Mapping[str, object], environ: Mapping[str, str], complain: Callable[[str], None]
) -> Settings:
    """Find the value of every setting.

    Args:
        arguments: By name; None means not given.
        environ: The environment's variables; an empty one counts as not set.
        complain: Told about each variable that cannot be read, and therefore does not count.

    Raises:
        ValueError: An argument cannot be read.
    """
    return Settings(**{setting.name: _value(setting, arguments, environ, complain) for setting in SETTINGS})


def _value(
    setting: Setting,
    arguments: Mapping[str, object],
    environ: Mapping[str, str],
    complain: Callable[[str], None],
) -> Any:
    argument = arguments.get(setting.name)
    if argument is not None:
        try:
            return setting.read(argument)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{setting.name}: expected {error}, not {argument!r}") from error
    for variable, read in setting.variables.items():
        if text := environ.get(variable, "").strip():
            try:
                return read(text)
            except ValueError as error:
                complain(f"{variable}: expected {error}, not {text!r}; it does not count")
    return setting.default


def _expecting(expected: str, read: Read, valid: Callable[[Any], bool] = lambda _: True) -> Read:
    """Make a reader whose every failure says what was expected."""

    def checked(value: Any) -> Any:
        try:
            found = read(value)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            raise ValueError(expected) from None
        if not valid(found):
            raise ValueError(expected)
        return found

    return checked


def _one_of(*choices: str) -> Read:
    return _expecting(f"one of {', '.join(choices)}", lambda value: value.lower(), choices.__contains__)


def _is_url(value: object) -> bool:
    parts = urlsplit(str(value))
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _with_path(base: str) -> str:
    base = base.rstrip("/")
    return base if base.endswith(LOGS_PATH) else base + LOGS_PATH


def _is_headers(headers: Mapping[str, str]) -> bool:
    return all(
        isinstance(text, str) and text.isascii() and text.isprintable()
        for pair in headers.items()
        for text in pair
    )


_url = _expecting("an http:// or https:// URL", str, _is_url)
_base_url = _expecting("an http:// or https:// URL", lambda value: _with_path(str(value)), _is_url)
_text = _expecting("text", str.strip, bool)
_headers = _expecting("a mapping of text to text that is printable ASCII", dict, _is_headers)
_header_list = _expecting("name=value,…", lambda text: dict(parse_env_headers(text, liberal=True)), bool)
_seconds = _expecting("seconds, more than 0", float, lambda value: 0 < value < float("inf"))
_milliseconds = _expecting("milliseconds, 0 or more", lambda text: int(text) / 1000, lambda value: value >= 0)
_delay = _expecting("seconds, 0 or more", float, lambda value: 0 <= value < float("inf"))
_count = _expecting("a whole number, 1 or more", int, lambda value: value >= 1)
_compression = _one_of("none", "gzip")
_flag = _expecting("true or false", lambda text: {"true": True, "false": False}[text.lower()])


def _exporter_variables(name: str, read: Read) -> dict[str, Read]:
    return {f"OTEL_EXPORTER_OTLP_LOGS_{name}": read, f"OTEL_EXPORTER_OTLP_{name}": read}


SETTINGS: Final = (
    Setting(
        "endpoint",
        "http://localhost:4318" + LOGS_PATH,
        _base_url,
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": _url, "OTEL_EXPORTER_OTLP_ENDPOINT": _base_url},
        "URL of the collector. `/v1/logs` is added, but not to OTEL_EXPORTER_OTLP_LOGS_ENDPOINT.",
    ),
    Setting(
        "service",
        None,
        _text,
        {"OTEL_SERVICE_NAME": _text},
        "`service.name`. Else OTEL_RESOURCE_ATTRIBUTES decides, then it is `unknown_service:` + executable.",
    ),
    Setting(
        "environment",
        None,
        _text,
        {},
        "`deployment.environment.name`. Else OTEL_RESOURCE_ATTRIBUTES decides.",
    ),
    Setting(
        "headers",
        {},
        _headers,
        _exporter_variables("HEADERS", _header_list),
        "HTTP headers of every request, for authentication.",
    ),
    Setting(
        "timeout_s",
        10.0,
        _seconds,
        _exporter_variables("TIMEOUT", _seconds),
        "Seconds that one attempt at a request may take.",
    ),
    Setting(
        "compression",
        "none",
        _compression,
        _exporter_variables("COMPRESSION", _compression),
        "`none` or `gzip`.",
    ),
    Setting(
        "certificate",
        None,
        _text,
        _exporter_variables("CERTIFICATE", _text),
        "File of certificates to trust; default: those that come with `requests`.",
    ),
    Setting(
        "client_certificate",
        None,
        _text,
        _exporter_variables("CLIENT_CERTIFICATE", _text),
        "File of the certificate to show.",
    ),
    Setting(
        "client_key",
        None,
        _text,
        _exporter_variables("CLIENT_KEY", _text),
        "File of its private key.",
    ),
    Setting(
        "on_full",
        "drop",
        _one_of("drop", "wait"),
        {},
        "What a call does when the queue is full: `drop` its record, or `wait` for room.",
    ),
    Setting(
        "retry_for_s",
        60.0,
        _delay,
        {},
        "Seconds for which a request is tried again while the collector is unavailable.",
    ),
    Setting(
        "queue_size",
        2048,
        _count,
        {"OTEL_BLRP_MAX_QUEUE_SIZE": _count},
        "Records that may wait for the collector's acknowledgement.",
    ),
    Setting(
        "batch_size",
        512,
        _count,
        {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": _count},
        "Records in a request, at most; never more than the queue holds.",
    ),
    Setting(
        "delay_s",
        1.0,
        _delay,
        {"OTEL_BLRP_SCHEDULE_DELAY": _milliseconds},
        "Seconds that a record waits for others to share its request (the variable: milliseconds).",
    ),
    Setting(
        "disabled",
        False,
        bool,
        {"OTEL_SDK_DISABLED": _flag},
        "Record nothing.",
    ),
)
"""The table. `docs/sdk.md` shows it, and a test compares the two."""
