"""`decode_logs` agrees with a slow walk over the runtime's objects, on requests of every shape."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.decode_oracle import actual, expected
from helpers.decode_requests import TIME_NS, label, prediction, record, request, requests
from helpers.faults_plan import examples
from lapwing_collector.decode import decode_logs


@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(requests())
def test_every_request_decodes_to_the_rows_of_the_oracle(payload: bytes) -> None:
    """Columns, fields, kinds, counts and batches are what the walk over objects gives."""
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


@pytest.mark.parametrize("models", [1, 3, 40])
@pytest.mark.parametrize("oddness", [0.0, 0.02])
def test_long_requests_decode_to_the_rows_of_the_oracle(models: int, oddness: float) -> None:
    """Hundreds of rows, of few or many models, with odd ones among them, come out as the walk says."""
    draw = random.Random(models)
    records = [_record(draw, f"m{draw.randrange(models)}", oddness) for _ in range(400)]
    payload = request(*records, resource={"lapwing.process.id": "a1", "service.name": "api"})
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


def _record(draw: random.Random, model: str, oddness: float) -> LogRecord:
    attributes = {"ml.model.name": model, "ml.prediction.id": f"{draw.random()}", "origin": draw.choice("ab")}
    if draw.random() < oddness:
        return record(draw.choice(["", "ml.prediction"]), [1, {"a": None}], attributes)
    truth = {"label": draw.choice([True, 3, {"late": True, "minutes": draw.randrange(9)}])}
    inputs = {
        "age": draw.randrange(99),
        "weight": draw.random(),
        "city": draw.choice("xyz"),
        "v": [draw.random()] * 4,
    }
    if draw.random() < 0.1:
        inputs = {"age": draw.choice([1.5, None, "old"]), "weight": draw.random()}
    if draw.random() < oddness:
        inputs["deep"] = {"a": {"b": draw.choice([1, "x", [], {}])}}
    return draw.choice(
        [
            prediction({"inputs": inputs, "output": {"value": draw.random()}}, attributes),
            label(truth, attributes),
        ]
    )
