"""Where settings come from, and what happens to wrong ones."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk import environment_variables

import lapwing
from lapwing._config import SETTINGS, Settings, resolve


def read(environ: dict[str, str] | None = None, **arguments: Any) -> tuple[Settings, list[str]]:
    """Resolve settings; gives the mistakes told about as well."""
    mistakes: list[str] = []
    return resolve(arguments, environ or {}, mistakes.append), mistakes


def test_the_defaults_are_those_of_opentelemetry() -> None:
    """5a-34: with nothing set, endpoint, timeout, queue and batches are OpenTelemetry's defaults."""
    settings, mistakes = read()
    assert mistakes == []
    assert settings == Settings(
        endpoint="http://localhost:4318/v1/logs",
        protocol="http/protobuf",
        insecure=False,
        exporter="lapwing",
        service=None,
        environment=None,
        headers={},
        timeout_s=10,
        compression="none",
        certificate=None,
        client_certificate=None,
        client_key=None,
        on_full="drop",
        retry_for_s=60,
        queue_size=2048,
        batch_size=512,
        delay_s=1,
        spool=None,
        spool_bytes=512 * 1024 * 1024,
        sample={},
        redact=(),
        disabled=False,
    )


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318", "endpoint", "https://c:4318/v1/logs"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp/", "endpoint", "https://c/otlp/v1/logs"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c/here", "endpoint", "http://c/here"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "A=b%20c,d=e", "headers", {"a": "b c", "d": "e"}),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "api-key=k", "headers", {"api-key": "k"}),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5", "timeout_s", 2.5),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "3", "timeout_s", 3.0),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP", "compression", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", "certificate", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "/c.pem", "client_certificate", "/c.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem", "client_key", "/k.pem"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "protocol", "grpc"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf", "protocol", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true", "insecure", True),
        ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "False", "insecure", False),
        ("OTEL_LOGS_EXPORTER", "otlp", "exporter", "lapwing"),
        ("OTEL_LOGS_EXPORTER", "console", "exporter", "console"),
        ("OTEL_LOGS_EXPORTER", "none", "exporter", "none"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "30000", "retry_for_s", 30),
        ("OTEL_SERVICE_NAME", "shop", "service", "shop"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "4096", "queue_size", 4096),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "100", "batch_size", 100),
        ("OTEL_BLRP_SCHEDULE_DELAY", "250", "delay_s", 0.25),
        ("OTEL_SDK_DISABLED", "true", "disabled", True),
        ("OTEL_SDK_DISABLED", "False", "disabled", False),
    ],
)
def test_variables_are_read(variable: str, text: str, name: str, value: object) -> None:
    """5a-34: each of OpenTelemetry's variables sets its setting."""
    settings, mistakes = read({variable: text})
    assert (getattr(settings, name), mistakes) == (value, [])


def test_arguments_win_over_variables_and_logs_over_all() -> None:
    """An argument wins over a variable, the variable for logs over the common one, an empty one is none."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs/x",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": " ",
    }
    settings, mistakes = read(environ)
    assert (settings.endpoint, settings.timeout_s, mistakes) == ("http://logs/x", 7, [])
    settings, _ = read(environ, endpoint="http://mine", timeout_s=1)
    assert (settings.endpoint, settings.timeout_s) == ("http://mine/v1/logs", 1)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "an http:// or https:// URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1", "an http:// or https:// URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:99999", "an http:// or https:// URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "one of http/protobuf, grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1", "true or false"),
        ("OTEL_LOGS_EXPORTER", "logging", "one of otlp, console, none"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "1.5", "milliseconds, 0 or more"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "seconds, more than 0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf", "seconds, more than 0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "one of none, gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "===", "name=value,…"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ac", "name=value,…"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "0", "a whole number, 1 or more"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "-1", "milliseconds, 0 or more"),
        ("OTEL_SDK_DISABLED", "maybe", "true or false"),
    ],
)
def test_wrong_variables_do_not_count(variable: str, text: str, expected: str) -> None:
    """A variable that cannot be read is told about with what was expected, and the default holds."""
    settings, mistakes = read({variable: text})
    assert settings == read()[0]
    assert mistakes == [f"{variable}: expected {expected}, not {text!r}; it does not count"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"endpoint": "localhost:4318"},
            "endpoint: expected an http:// or https:// URL, not 'localhost:4318'",
        ),
        ({"timeout_s": 0}, "timeout_s: expected seconds, more than 0, not 0"),
        ({"on_full": "block"}, "on_full: expected one of drop, wait, not 'block'"),
        ({"queue_size": "many"}, "queue_size: expected a whole number, 1 or more, not 'many'"),
        (
            {"headers": {"a": "b\r\nc: d"}},
            "headers: expected a mapping of names (letters, digits, . _ -) to text that is printable ASCII",
        ),
        ({"headers": {"a b": "c"}}, "headers: expected a mapping of names"),
        ({"headers": {"a": 1}}, "headers: expected a mapping of names"),
        ({"headers": "a=b"}, "headers: expected a mapping"),
        ({"compression": 3}, "compression: expected one of none, gzip, not 3"),
        ({"service": " "}, "service: expected text, not ' '"),
    ],
)
def test_wrong_arguments_raise(arguments: dict[str, Any], message: str) -> None:
    """`init` says at once which argument is wrong and what was expected, and changes nothing."""
    with pytest.raises(ValueError, match=re.escape(message)):
        lapwing.init(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "http/json"}, "protocol: expected one of http/protobuf, grpc, not 'http/json'"),
        (
            {"protocol": "grpc", "endpoint": "a b"},
            "endpoint: expected an http:// or https:// URL, or host:port",
        ),
        ({"insecure": "false"}, "insecure: expected True or False, not 'false'"),
        ({"disabled": "false"}, "disabled: expected True or False, not 'false'"),
        (
            {"exporter": "otlp"},
            "exporter: expected one of lapwing, opentelemetry, host, console, none, a Logger",
        ),
        ({"exporter": 3}, "exporter: expected one of lapwing"),
        ({"spool": b"bytes"}, "spool: expected the path of a folder"),
        ({"spool": ""}, "spool: expected the path of a folder"),
        ({"spool_bytes": 0}, "spool_bytes: expected a whole number, 1 or more"),
        ({"sample": 0}, "sample: expected a rate, more than 0 and at most 1, or a mapping of model names"),
        ({"sample": 1.5}, "sample: expected a rate"),
        ({"sample": float("nan")}, "sample: expected a rate"),
        ({"sample": {"m": 0.5, "n": 2}}, "sample: expected a rate"),
        ({"redact": "drop"}, "redact: expected a list of redaction rules"),
        ({"redact": 3}, "redact: expected a list of redaction rules"),
    ],
)
def test_what_was_expected_is_said(arguments: dict[str, Any], message: str) -> None:
    """Every setting says which values it takes."""
    with pytest.raises(ValueError, match=re.escape(message)):
        read(**arguments)


@pytest.mark.parametrize(
    ("arguments", "environ", "endpoint"),
    [
        ({}, {}, "http://localhost:4317"),
        ({"endpoint": "https://c"}, {}, "https://c"),
        ({"endpoint": "collector:4317"}, {}, "collector:4317"),
        ({"endpoint": "unix:/run/otlp.sock"}, {}, "unix:/run/otlp.sock"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, "http://c:4317"),
        (
            {},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://all:4317", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "l:1"},
            "l:1",
        ),
    ],
)
def test_endpoints_of_grpc_are_taken_as_they_are(
    arguments: dict[str, str], environ: dict[str, str], endpoint: str
) -> None:
    """With gRPC the default is port 4317, no path is added, and any target of gRPC will do."""
    for given, variables in (
        ({"protocol": "grpc"}, {}),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
    ):
        settings, mistakes = read(environ | variables, **arguments, **given)
        assert (settings.endpoint, mistakes) == (endpoint, [])


def test_grpc_needs_grpcio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without grpcio the argument raises with what to install, and a variable does not count."""
    monkeypatch.setattr("lapwing._readers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape("(pip install 'lapwing[grpc]'), not 'grpc'")):
        read(protocol="grpc")
    settings, mistakes = read({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert (settings.protocol, settings.endpoint) == ("http/protobuf", "http://localhost:4318/v1/logs")
    assert len(mistakes) == 1
    assert "pip install 'lapwing[grpc]'" in mistakes[0]


def test_exporters_may_be_objects() -> None:
    """A LoggerProvider or a LogRecordExporter is taken as it is."""
    from opentelemetry._logs import NoOpLoggerProvider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    for exporter in (NoOpLoggerProvider(), OTLPLogExporter()):
        assert read(exporter=exporter)[0].exporter is exporter


def test_rates_paths_and_rules_become_what_they_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rate is that of every model, a folder does not move with the process, and rules stay in order."""
    monkeypatch.chdir(tmp_path)
    rules = [object(), object()]
    settings, _ = read(sample=0.25, spool="spool", redact=rules)
    assert (settings.sample, settings.spool, settings.redact) == (
        {"*": 0.25},
        tmp_path / "spool",
        tuple(rules),
    )
    assert read(sample={"churn": 1, "*": 0.5}, spool=tmp_path)[0].sample == {"churn": 1, "*": 0.5}


def test_no_variable_of_opentelemetry_is_forgotten() -> None:
    """Every variable of the SDK that concerns exporting, batching and disabling logs sets something."""
    standard = {
        name
        for name in vars(environment_variables)
        if re.fullmatch(r"OTEL_(EXPORTER_OTLP_(LOGS_)?[A-Z]+(_[A-Z]+)?|BLRP_\w+|SDK_DISABLED)", name)
        and not re.match(r"OTEL_EXPORTER_OTLP_(TRACES|METRICS)_", name)
    }
    known = {variable for setting in SETTINGS for variable in setting.variables}
    assert len(standard) > 20
    assert standard <= known


def test_the_table_is_the_signature_and_the_guide() -> None:
    """Table, `init`, `Settings` and the user guide name the same settings in the same order."""
    names = [setting.name for setting in SETTINGS]
    assert names == list(inspect.signature(lapwing.init).parameters)
    assert names == [field.name for field in fields(Settings)]
    guide = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text(encoding="utf-8")
    for setting in SETTINGS:
        variables = ", ".join(f"`{name}`" for name in setting.variables) or "none"
        default = "not set" if setting.default in (None, {}, ()) else f"`{setting.default}`"
        assert f"| `{setting.name}` | {variables} | {default} | {setting.help} |" in guide
