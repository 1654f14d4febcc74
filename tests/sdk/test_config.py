"""Where settings come from, and what happens to wrong ones."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import lapwing
from lapwing._config import SETTINGS, Settings, resolve
from lapwing._resource import resource_attributes


def read(environ: dict[str, str] | None = None, **arguments: Any) -> tuple[Settings, list[str]]:
    """Resolve settings; gives the mistakes told about as well."""
    mistakes: list[str] = []
    return resolve(arguments, environ or {}, mistakes.append), mistakes


def test_the_defaults_are_those_of_opentelemetry() -> None:
    """With nothing set, endpoint, timeout, queue and batches are OpenTelemetry's defaults."""
    settings, mistakes = read()
    assert mistakes == []
    assert settings == Settings(
        endpoint="http://localhost:4318/v1/logs",
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
        ("OTEL_SERVICE_NAME", "shop", "service", "shop"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "4096", "queue_size", 4096),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "100", "batch_size", 100),
        ("OTEL_BLRP_SCHEDULE_DELAY", "250", "delay_s", 0.25),
        ("OTEL_SDK_DISABLED", "true", "disabled", True),
        ("OTEL_SDK_DISABLED", "False", "disabled", False),
    ],
)
def test_variables_are_read(variable: str, text: str, name: str, value: object) -> None:
    """Each of OpenTelemetry's variables sets its setting."""
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
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "seconds, more than 0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf", "seconds, more than 0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "one of none, gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "===", "name=value,…"),
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
            "headers: expected a mapping of text to text that is printable ASCII",
        ),
        ({"headers": "a=b"}, "headers: expected a mapping"),
        ({"compression": 3}, "compression: expected one of none, gzip, not 3"),
        ({"service": " "}, "service: expected text, not ' '"),
    ],
)
def test_wrong_arguments_raise(arguments: dict[str, Any], message: str) -> None:
    """`init` says at once which argument is wrong and what was expected, and changes nothing."""
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        lapwing.init(**arguments)


def test_the_resource_says_who_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource joins OpenTelemetry's variables with the settings, which win, and the process's id."""
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "service.name=env,deployment.environment.name=test,team=a%20b"
    )
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    settings, _ = read()
    assert resource_attributes(settings, "p-1") == {
        "service.name": "env",
        "deployment.environment.name": "test",
        "team": "a b",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "lapwing",
        "telemetry.sdk.version": lapwing.__version__,
        "lapwing.process.id": "p-1",
    }
    settings, _ = read(service="mine", environment="live")
    attributes = resource_attributes(settings, "p-1")
    assert (attributes["service.name"], attributes["deployment.environment.name"]) == ("mine", "live")
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES")
    assert str(resource_attributes(read()[0], "p")["service.name"]).startswith("unknown_service:python")


def test_the_table_is_the_signature_and_the_guide() -> None:
    """Table, `init`, `Settings` and the user guide name the same settings in the same order."""
    names = [setting.name for setting in SETTINGS]
    assert names == list(inspect.signature(lapwing.init).parameters)
    assert names == [field.name for field in fields(Settings)]
    guide = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text(encoding="utf-8")
    for setting in SETTINGS:
        variables = ", ".join(f"`{name}`" for name in setting.variables) or "none"
        default = "not set" if setting.default in (None, {}) else f"`{setting.default}`"
        assert f"| `{setting.name}` | {variables} | {default} | {setting.help} |" in guide
