"""Settings of the SDK, in one table.

An argument wins over the variable for logs, which wins over the one for all signals, then comes the default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lapwing import _readers as read
from lapwing._readers import LOGS_PATH, Read


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
    protocol: Literal["http/protobuf", "grpc"]
    insecure: bool
    exporter: Any
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
    spool: Path | None
    spool_bytes: int
    sample: Mapping[str, float]
    redact: tuple[Any, ...]
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

    def value(setting: Setting) -> Any:
        return _value(setting, arguments, environ, complain)

    protocol = value(_PROTOCOL)
    endpoint = value(_GRPC_ENDPOINT if protocol == "grpc" else _ENDPOINT)
    others = {setting.name: value(setting) for setting in SETTINGS if setting not in (_ENDPOINT, _PROTOCOL)}
    return Settings(endpoint=endpoint, protocol=protocol, **others)


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
    for variable, read_variable in setting.variables.items():
        if text := environ.get(variable, "").strip():
            try:
                return read_variable(text)
            except ValueError as error:
                complain(f"{variable}: expected {error}, not {text!r}; it does not count")
    return setting.default


def _exporter_variables(name: str, read_variable: Read) -> dict[str, Read]:
    return {f"OTEL_EXPORTER_OTLP_LOGS_{name}": read_variable, f"OTEL_EXPORTER_OTLP_{name}": read_variable}


_ENDPOINT: Final = Setting(
    "endpoint",
    "http://localhost:4318" + LOGS_PATH,
    read.base_url,
    {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": read.url, "OTEL_EXPORTER_OTLP_ENDPOINT": read.base_url},
    "URL of the collector. `/v1/logs` is added, but not to OTEL_EXPORTER_OTLP_LOGS_ENDPOINT. With gRPC "
    "nothing is added, `host:port` will do, and the default is `http://localhost:4317`.",
)
_GRPC_ENDPOINT: Final = Setting(
    "endpoint",
    "http://localhost:4317",
    read.target,
    _exporter_variables("ENDPOINT", read.target),
    _ENDPOINT.help,
)
_PROTOCOL: Final = Setting(
    "protocol",
    "http/protobuf",
    read.protocol,
    _exporter_variables("PROTOCOL", read.protocol),
    "`http/protobuf`, or `grpc`, which needs `pip install 'lapwing[grpc]'`.",
)

SETTINGS: Final = (
    _ENDPOINT,
    _PROTOCOL,
    Setting(
        "insecure",
        False,
        read.switch,
        _exporter_variables("INSECURE", read.flag),
        "gRPC without TLS, where the endpoint is `host:port`; else its scheme decides.",
    ),
    Setting(
        "exporter",
        "lapwing",
        read.exporter,
        {"OTEL_LOGS_EXPORTER": read.standard_exporter},
        "`lapwing` (in the variable: `otlp`), `opentelemetry` (the stock exporter), `host` (the host's own "
        "LoggerProvider), `console`, `none`, or a LoggerProvider or LogRecordExporter.",
    ),
    Setting(
        "service",
        None,
        read.text,
        {"OTEL_SERVICE_NAME": read.text},
        "`service.name`. Else OTEL_RESOURCE_ATTRIBUTES decides, then it is `unknown_service:` + executable.",
    ),
    Setting(
        "environment",
        None,
        read.text,
        {},
        "`deployment.environment.name`. Else OTEL_RESOURCE_ATTRIBUTES decides.",
    ),
    Setting(
        "headers",
        {},
        read.headers,
        _exporter_variables("HEADERS", read.header_list),
        "HTTP headers, or gRPC metadata, of every request, for authentication.",
    ),
    Setting(
        "timeout_s",
        10.0,
        read.seconds,
        _exporter_variables("TIMEOUT", read.seconds),
        "Seconds that one attempt at a request may take, once the name of the receiver is looked up.",
    ),
    Setting(
        "compression",
        "none",
        read.compression,
        _exporter_variables("COMPRESSION", read.compression),
        "`none` or `gzip`.",
    ),
    Setting(
        "certificate",
        None,
        read.text,
        _exporter_variables("CERTIFICATE", read.text),
        "File of certificates to trust; default: those of the system, with gRPC those that come with it.",
    ),
    Setting(
        "client_certificate",
        None,
        read.text,
        _exporter_variables("CLIENT_CERTIFICATE", read.text),
        "File of the certificate to show.",
    ),
    Setting(
        "client_key",
        None,
        read.text,
        _exporter_variables("CLIENT_KEY", read.text),
        "File of its private key, without a password; default: it is in the same file.",
    ),
    Setting(
        "on_full",
        "drop",
        read.one_of("drop", "wait"),
        {},
        "What a call does when the queue is full: `drop` its record, or `wait` for room.",
    ),
    Setting(
        "retry_for_s",
        60.0,
        read.delay,
        {"OTEL_BLRP_EXPORT_TIMEOUT": read.milliseconds},
        "Seconds for which a request is tried again while the collector is unavailable (the variable: "
        "milliseconds).",
    ),
    Setting(
        "queue_size",
        2048,
        read.count,
        {"OTEL_BLRP_MAX_QUEUE_SIZE": read.count},
        "Records that may wait for the collector's acknowledgement.",
    ),
    Setting(
        "batch_size",
        512,
        read.count,
        {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": read.count},
        "Records in a request, at most; never more than the queue holds.",
    ),
    Setting(
        "delay_s",
        1.0,
        read.delay,
        {"OTEL_BLRP_SCHEDULE_DELAY": read.milliseconds},
        "Seconds that a record waits for others to share its request (the variable: milliseconds).",
    ),
    Setting(
        "spool",
        None,
        read.folder,
        {},
        "Folder that keeps what cannot be delivered, until the collector is back.",
    ),
    Setting(
        "spool_bytes",
        512 * 1024 * 1024,
        read.count,
        {},
        "Bytes that the folder may hold.",
    ),
    Setting(
        "sample",
        {},
        read.rates,
        {},
        "Share of the predictions to record, more than 0 and at most 1; or a mapping of model names to "
        "shares, `*` for the others.",
    ),
    Setting(
        "redact",
        (),
        read.rules,
        {},
        "Rules for what must not leave the process.",
    ),
    Setting(
        "disabled",
        False,
        read.switch,
        {"OTEL_SDK_DISABLED": read.flag},
        "Record nothing.",
    ),
)
"""The table. `docs/sdk.md` shows it, and a test compares the two."""
