"""Decoding predictions, against a walk over the protobuf runtime's objects that makes the same columns.

    python bench/decode.py

10 000 predictions of 10 features and 14 values in requests of 512. CPU time of one process, the best of some
rounds. Requests that wait together are decoded together: the last lines are of one and of several at a time.
Beside them stands what the runtime's parse and ptars alone cost, through which odd records still go.
"""

import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from lapwing_collector.decode import decode_group
from lapwing_collector.decode.wire import parse, read_columns

PREDICTIONS = 10_000
PER_REQUEST = 512
ROUNDS = 15
START_NS = 1_760_000_000_000_000_000


def main() -> None:
    """Print the CPU time of each way and its predictions per second."""
    draw = random.Random(7)
    payloads = [
        request_of(draw, min(PER_REQUEST, PREDICTIONS - first), first)
        for first in range(0, PREDICTIONS, PER_REQUEST)
    ]
    megabytes = sum(map(len, payloads)) / 1e6
    print(f"{PREDICTIONS} predictions, {megabytes:.1f} MB, requests of {PER_REQUEST}")
    ways: dict[str, tuple[int, Callable[[list[bytes]], Any]]] = {
        "runtime's parse": (1, lambda one: parse(*one)),
        "ptars": (1, lambda one: read_columns(*one)),
        "walk over objects": (1, lambda one: walk(*one)),
        "decode, 1 request": (1, lambda group: decode_group(group, START_NS)),
        "decode, 4 requests": (4, lambda group: decode_group(group, START_NS)),
        "decode, 16 requests": (16, lambda group: decode_group(group, START_NS)),
    }
    seconds = {name: best_of(way, payloads, size) for name, (size, way) in ways.items()}
    for name, spent in seconds.items():
        ratio = seconds["walk over objects"] / spent
        print(
            f"{name:20} {spent * 1e3:7.1f} ms {PREDICTIONS / spent:10,.0f} predictions/s/core, "
            f"{ratio:.1f} times the walk"
        )


def best_of(way: Callable[[list[bytes]], Any], payloads: list[bytes], size: int) -> float:
    """CPU seconds of the best round, `size` requests at a time."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for first in range(0, len(payloads), size):
            way(payloads[first : first + size])
        rounds.append(time.process_time() - start)
    return min(rounds)


def request_of(draw: random.Random, count: int, first: int) -> bytes:
    """The bytes of a request with `count` predictions."""
    resource = {"service.name": "api", "deployment.environment.name": "prod", "lapwing.process.id": "0af31c"}
    records = [prediction(draw, first + place) for place in range(count)]
    logs = ResourceLogs(
        resource=Resource(attributes=pairs(resource)), scope_logs=[ScopeLogs(log_records=records)]
    )
    return ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString()


def prediction(draw: random.Random, sequence: int) -> LogRecord:
    """A prediction as the SDK sends it: 10 inputs and 4 outputs."""
    attributes = {
        "ml.model.name": "churn",
        "ml.model.version": "2026-11",
        "ml.prediction.id": str(uuid.UUID(int=draw.getrandbits(128))),
        "ml.prediction.duration": draw.random() / 100,
        "lapwing.sequence": sequence,
    }
    inputs = {
        **{f"ratio_{n}": draw.gauss(0, 1) for n in range(5)},
        **{f"count_{n}": draw.randrange(1000) for n in range(3)},
        **{f"city_{n}": draw.choice(["EWR", "JFK", "LGA"]) for n in range(2)},
    }
    output = {"value": draw.random() < 0.3, "score": draw.random(), "margin": draw.random(), "segment": "b"}
    sections = [
        KeyValue(key=name, value=AnyValue(kvlist_value=KeyValueList(values=pairs(values))))
        for name, values in (("inputs", inputs), ("output", output))
    ]
    return LogRecord(
        time_unix_nano=START_NS + sequence * 1_000_000,
        event_name="ml.prediction",
        attributes=pairs(attributes),
        body=AnyValue(kvlist_value=KeyValueList(values=sections)),
        trace_id=draw.randbytes(16),
        span_id=draw.randbytes(8),
    )


def pairs(values: dict[str, Any]) -> list[KeyValue]:
    """Values as OTLP's KeyValues."""
    members = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    return [KeyValue(key=k, value=AnyValue(**{members[type(v)]: v})) for k, v in values.items()]


def walk(payload: bytes) -> pa.RecordBatch:
    """The straightforward way: an object at a time into lists, the lists into columns."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for resource in ExportLogsServiceRequest.FromString(payload).resource_logs:
        attributes = {pair.key: scalar(pair.value) for pair in resource.resource.attributes}
        for scope in resource.scope_logs:
            for record in scope.log_records:
                columns["time"].append(record.time_unix_nano // 1000)
                columns["trace_id"].append(record.trace_id.hex())
                columns["span_id"].append(record.span_id.hex())
                columns["service"].append(attributes["service.name"])
                columns["environment"].append(attributes["deployment.environment.name"])
                columns["resource"].append(list(attributes.items()))
                for pair in record.attributes:
                    columns[pair.key].append(scalar(pair.value))
                for section in record.body.kvlist_value.values:
                    for pair in section.value.kvlist_value.values:
                        columns[f"{section.key}.{pair.key}"].append(scalar(pair.value))
    types = {"resource": pa.map_(pa.string(), pa.string())}
    return pa.RecordBatch.from_pydict(
        {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    )


def scalar(value: AnyValue) -> Any:
    """The member that is set."""
    member = value.WhichOneof("value")
    return None if member is None else getattr(value, member)


if __name__ == "__main__":
    main()
