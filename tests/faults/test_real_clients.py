"""OpenTelemetry's own SDKs as clients: all that they send is in the lake, once and unchanged."""

import json
import threading
from typing import Any

import pytest

from helpers.collector import ask
from helpers.faults_clients import TIME_MS, Sample, Send, detour, samples, send_by_javascript, send_by_python
from helpers.faults_victim import Victim
from helpers.ports import free_port

CLIENTS: dict[str, tuple[Send, str]] = {
    "python_http": (send_by_python, "http"),
    "python_grpc": (send_by_python, "grpc"),
    "javascript_protobuf": (send_by_javascript, "Protobuf"),
    "javascript_json": (send_by_javascript, "Json"),
    "javascript_grpc": (send_by_javascript, "Grpc"),
}
OVER_HTTP = ["python_http", "javascript_protobuf", "javascript_json"]
BYTES = "AAH/"


def stored(victim: Victim, client: str) -> list[dict[str, Any]]:
    """What is in the lake of a client, in the order of time, as the samples have it."""
    predictions = ask(
        victim.data,
        f"SELECT epoch_ms(time) AS ms, prediction_id AS id, inputs, output, tags, service "
        f'FROM predictions."{client}"',
    )
    logs = ask(
        victim.data,
        f"SELECT epoch_ms(time) AS ms, event_name, body, attributes, severity_number AS severity, scope "
        f"FROM logs WHERE event_name = '{client}.log'",
    )
    return sorted([*predictions, *logs], key=lambda row: row["ms"])


def expected(client: str, n: int, sample: Sample) -> dict[str, Any]:
    """The row that a sample becomes."""
    if sample.event == "ml.prediction":
        return {
            "ms": TIME_MS + n,
            "id": sample.attributes["ml.prediction.id"],
            **sample.body,
            "tags": [("bytes", BYTES), ("region", "eu")],
            "service": client.split("_", maxsplit=1)[0],
        }
    return {
        "ms": TIME_MS + n,
        "event_name": sample.event,
        "body": sample.body,
        "attributes": {**sample.attributes, "bytes": BYTES},
        "severity": 9,
        "scope": "clients",
    }


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the lake as `expected` writes it."""
    if "id" in row:
        return {**row, "tags": sorted(row["tags"])}
    read = {name: json.loads(row[name]) for name in ("body", "attributes", "scope")}
    return {**row, **read, "scope": read["scope"]["name"]}


def test_what_they_send_is_stored_field_by_field(victim: Victim) -> None:
    """5a-32: over HTTP and gRPC, protobuf and JSON, compressed: all arrives as it was."""
    victim.start()
    for client, (send, kind) in CLIENTS.items():
        send(kind, victim, samples(client, 3))
    assert victim.stop() == 0
    for client in CLIENTS:
        wanted = [expected(client, n, sample) for n, sample in enumerate(samples(client, 3))]
        assert [comparable(row) for row in stored(victim, client)] == wanted, client


@pytest.mark.parametrize("script", [("busy", "busy"), ("cut",)], ids="_".join)
def test_what_they_send_again_is_stored_once(script: tuple[str, ...], victim: Victim) -> None:
    """Fault 16, 5a-33: 503 twice, and a connection that ends once the request is in: all is there once."""
    victim.start()
    with detour(victim, *script) as way:
        for client in OVER_HTTP[:2]:
            way.steps = iter(script)
            send, kind = CLIENTS[client]
            send(kind, victim, samples(client, 5), http=way.address)
    assert way.taken == [*script, "pass"] * 2
    assert victim.stop() == 0
    for client in OVER_HTTP[:2]:
        wanted = [expected(client, n, sample) for n, sample in enumerate(samples(client, 5))]
        assert [comparable(row) for row in stored(victim, client)] == wanted, client


def test_a_port_that_is_closed_for_a_while_costs_nothing(victim: Victim) -> None:
    """5a-33: clients that find nobody listening for 4.5 s deliver then; each record is stored once."""
    port = free_port()
    victim.start()
    threads = [
        threading.Thread(
            target=CLIENTS[client][0],
            args=(CLIENTS[client][1], victim, samples(client, 5)),
            kwargs={"http": f"127.0.0.1:{port}"},
        )
        for client in OVER_HTTP
    ]
    for thread in threads:
        thread.start()
    threading.Event().wait(4.5)
    with detour(victim, port=port):
        for thread in threads:
            thread.join()
    assert victim.stop() == 0
    for client in OVER_HTTP:
        wanted = [expected(client, n, sample) for n, sample in enumerate(samples(client, 5))]
        assert [comparable(row) for row in stored(victim, client)] == wanted, client
