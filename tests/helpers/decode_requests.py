"""Builds OTLP requests from plain values, one by one or by hypothesis."""

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

TIME_NS = 1_760_000_000_123_456_789


def any_value(value: Any) -> AnyValue:
    """An AnyValue; a tuple of pairs is a map that may repeat keys, None is a value with nothing set."""
    if value is None:
        return AnyValue()
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    if isinstance(value, dict | tuple):
        return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
    return AnyValue(**{_MEMBERS[type(value)]: value})


_MEMBERS = {
    str: "string_value",
    bool: "bool_value",
    int: "int_value",
    float: "double_value",
    bytes: "bytes_value",
}


def key_values(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> list[KeyValue]:
    """KeyValues of a dict or of pairs."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return [KeyValue(key=key, value=any_value(value)) for key, value in items]


def prediction(body: Any, attributes: Mapping[str, Any] | None = None, **fields: Any) -> LogRecord:
    """A prediction of the model `churn` with an id, unless `attributes` say otherwise."""
    given = {"ml.model.name": "churn", "ml.prediction.id": "p1"} | dict(attributes or {})
    return record("ml.prediction", body, given, **fields)


def label(body: Any, attributes: Mapping[str, Any] | None = None, **fields: Any) -> LogRecord:
    """A label of the model `churn`, unless `attributes` say otherwise."""
    given = {"ml.model.name": "churn", "ml.prediction.id": "p1"} | dict(attributes or {})
    return record("ml.label", body, given, **fields)


def record(event: str, body: Any, attributes: Any = (), **fields: Any) -> LogRecord:
    """A log record at TIME_NS, unless `fields` say otherwise."""
    return LogRecord(
        event_name=event,
        body=any_value(body),
        attributes=key_values(attributes),
        **{"time_unix_nano": TIME_NS} | fields,
    )


def request(*records: LogRecord, resource: Any = ()) -> bytes:
    """The bytes of a request with all records in one scope."""
    scope = ScopeLogs(log_records=records)
    logs = ResourceLogs(resource=Resource(attributes=key_values(resource)), scope_logs=[scope])
    return ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString()


def requests() -> st.SearchStrategy[bytes]:
    """Requests of every shape the wire allows, mostly of the shapes that are usual."""
    return st.lists(_resource_logs(), max_size=3).map(
        lambda logs: ExportLogsServiceRequest(resource_logs=logs).SerializeToString()
    )


_KEYS = st.sampled_from(["age", "name", "scores", "é", ""])
_SCALARS = st.one_of(
    st.none(),
    st.sampled_from(["", "EWR", "x\x00y", "🐦"]),
    st.booleans(),
    st.sampled_from([0, 1, -(2**63), 2**63 - 1, 2**53 + 1]),
    st.floats(width=64),
    st.binary(max_size=3),
)
_LISTS = st.one_of(
    st.lists(st.floats(allow_nan=False) | st.integers(-9, 9) | st.none(), max_size=3),
    st.lists(st.sampled_from([1, 2.5, 2**53 + 1]), max_size=3),
    st.lists(st.sampled_from(["a", "b"]) | st.none(), max_size=3),
    st.lists(st.booleans(), max_size=3),
    st.lists(st.binary(max_size=2), max_size=3),
    st.lists(_SCALARS, max_size=3),
)


def _maps(values: st.SearchStrategy[Any], keys: st.SearchStrategy[str] = _KEYS) -> st.SearchStrategy[Any]:
    return st.dictionaries(keys, values, max_size=4) | st.lists(st.tuples(keys, values), max_size=4).map(
        tuple
    )


_VALUES = st.one_of(
    _SCALARS,
    _LISTS,
    st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | _maps(inner), max_leaves=4),
)
_USUAL_ROWS = st.fixed_dictionaries(
    {"age": st.integers(-9, 9) | st.none(), "name": st.sampled_from(["a", "b"])},
    optional={"late": st.booleans(), "scores": st.lists(st.floats(allow_nan=False), min_size=1, max_size=2)},
)
_BODIES = st.one_of(
    st.fixed_dictionaries({"inputs": _USUAL_ROWS}, optional={"output": _USUAL_ROWS}),
    st.fixed_dictionaries({"label": _SCALARS | _USUAL_ROWS}),
    st.fixed_dictionaries({"inputs": _maps(_SCALARS), "output": _maps(_SCALARS)}),
    st.fixed_dictionaries({"inputs": _maps(_VALUES), "output": _maps(_VALUES)}),
    _maps(
        _maps(_VALUES) | _VALUES,
        st.sampled_from(["inputs", "output", "label", "more", "exception.stacktrace"]),
    ),
    _VALUES,
)
_NAMES = st.sampled_from(["churn", "churn", "churn", "fraud", "", "tab\there", "n" * 128, "n" * 129, 7])
_TYPED = {
    "ml.prediction.id": st.sampled_from(["p1", "p2", ""]),
    "ml.model.version": st.sampled_from(["1", ""]),
    "ml.prediction.duration": st.floats() | st.integers(0, 9),
    "ml.prediction.stage": st.sampled_from(["shadow", ""]),
    "ml.prediction.fallback": st.booleans(),
    "ml.prediction.weight": st.sampled_from([2.5, 3, "heavy"]),
    "ml.prediction.time": st.sampled_from([0, TIME_NS, -1, 2**63 - 1, "soon"]),
    "ml.request.id": st.sampled_from(["r1", 9]),
    "ml.label.source": st.sampled_from(["manual", None]),
    "lapwing.sequence": st.sampled_from([1, 2**63 - 1, -1, "one"]),
    "error.type": st.just("ValueError"),
    "exception.message": st.sampled_from(["boom", None]),
    "exception.stacktrace": st.sampled_from(["File …", None]),
    "segment": st.one_of(_SCALARS, _VALUES),
    "shop": st.sampled_from(["a", "b"]),
    "vip": st.booleans() | st.integers(-9, 9),
}


@st.composite
def _attributes(draw: st.DrawFn) -> list[tuple[str, Any]]:
    pairs = list(draw(st.fixed_dictionaries({"ml.model.name": _NAMES}, optional=_TYPED)).items())
    if draw(st.integers(0, 4)) == 0:
        pairs += draw(st.lists(st.tuples(st.sampled_from(list(_TYPED)), _VALUES), max_size=3))
    return pairs


_TIMES = st.sampled_from([0, 1, TIME_NS, TIME_NS + 999, 2**63, 2**64 - 1])
_RECORDS = st.builds(
    lambda event, body, attributes, fields: record(event, body, attributes, **fields),
    st.sampled_from(["ml.prediction"] * 3 + ["ml.label"] * 2 + ["", "ml.prediction.batch", "checkout.done"]),
    _BODIES,
    _attributes(),
    st.fixed_dictionaries(
        {"time_unix_nano": _TIMES},
        optional={
            "observed_time_unix_nano": _TIMES,
            "severity_number": st.sampled_from([1, 9, 24, 99, -1]),
            "severity_text": st.just("INFO"),
            "flags": st.sampled_from([1, 0x101, 0xFFFFFFFF]),
            "trace_id": st.sampled_from([b"", bytes(16), b"\xab" * 16, b"\x01" * 15]),
            "span_id": st.sampled_from([b"", bytes(8), b"\xcd" * 8, b"\x01" * 9]),
            "dropped_attributes_count": st.integers(0, 2**32 - 1),
        },
    ),
)
_RESOURCES = st.builds(
    lambda attributes: Resource(
        attributes=key_values(attributes), dropped_attributes_count=len(attributes) % 2
    ),
    _maps(
        _SCALARS | st.sampled_from(["one", "two"]),
        st.sampled_from(["service.name", "deployment.environment.name", "lapwing.process.id", "host"]),
    ),
)
_SCOPES = st.builds(
    lambda name, attributes: InstrumentationScope(name=name, attributes=key_values(attributes)),
    st.sampled_from(["", "lib"]),
    _maps(_SCALARS),
)


def _scope_logs() -> st.SearchStrategy[ScopeLogs]:
    return st.builds(
        lambda scope, records, url: ScopeLogs(scope=scope, log_records=records, schema_url=url),
        st.none() | _SCOPES,
        st.lists(_RECORDS, max_size=6),
        st.sampled_from(["", "https://example.org/1"]),
    )


def _resource_logs() -> st.SearchStrategy[ResourceLogs]:
    return st.builds(
        lambda resource, scopes, url: ResourceLogs(resource=resource, scope_logs=scopes, schema_url=url),
        st.none() | _RESOURCES,
        st.lists(_scope_logs(), max_size=2),
        st.sampled_from(["", "https://example.org/2"]),
    )
