"""One watched function: what is captured of its calls, and the records made of them."""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from lapwing import _process, _time, semconv
from lapwing._encode import EntryEncoder, Field, encode_fields
from lapwing._export import Sink
from lapwing._model import Description, declared
from lapwing._policy import read_rate, weight_of
from lapwing._record import (
    Stage,
    as_output,
    body_entry,
    encode_batch,
    encode_body_map,
    encode_model,
    encode_prediction,
    prediction_head,
)
from lapwing._scope import (
    Details,
    annotations,
    around,
    event_time_ns,
    remember_prediction_ids,
    set_annotations,
)
from lapwing._select import ALL, selections
from lapwing._table import has_table, is_table
from lapwing._table_call import TableCall

if TYPE_CHECKING:
    from lapwing._redactor import RecordRedactor

NOT_AN_OUTCOME: Final = (GeneratorExit, KeyboardInterrupt, SystemExit)
"""The interpreter stops, the model did not fail. A cancelled task is an outcome: it took too long."""


class _Model(TypedDict):
    model: str


class Options(_Model, Description, total=False):
    """Options of `watch`, which documents them."""

    version: str | None
    stage: Stage
    include: Iterable[str] | None
    exclude: Iterable[str] | None
    rename: Mapping[str, str] | None
    capture: Callable[[dict[str, Any]], Mapping[str, object]] | None
    capture_output: Callable[[Any], object] | None
    reduce: Callable[[list[Any]], object] | None
    prediction_id: str | None
    request_id: str | None
    fallback: bool | str | None
    variant: str | None
    upstream: str | None
    tags: Mapping[str, object] | None
    sample: float | None
    batch: bool


class _Call(NamedTuple):
    """What else is remembered of a call while it runs."""

    prediction_id: str | None = None
    request_id: str | None = None
    table: TableCall | None = None
    redaction: "RecordRedactor | None" = None
    around: Details | None = None
    """What the scope says; a generator may outlive its scope."""
    outer: Details | None = None
    """Annotations of the prediction during which this one is made."""


State = tuple[int, bytes, int, _Call]
"""Event time, encoded inputs, reading of the clock at the start, and the rest."""

_ORDINARY: Final = _Call()


class _Outcome(NamedTuple):
    """How a call ended."""

    result: Any
    error: BaseException | None
    duration_s: float
    said: Details | None
    """Annotations made from inside."""


class _TableGiven(Exception):  # noqa: N818  # a signal, no error
    """One of the arguments is a table."""


class _Argument(Field):
    """Encodes one parameter's arguments; says when one is a table."""

    def _encoder(self, kind: type) -> EntryEncoder:
        encoder = super()._encoder(kind)
        if kind in (int, float, str, bool, type(None)):
            return encoder

        def unless_table(value: Any) -> bytes:
            if is_table(value):
                raise _TableGiven
            return encoder(value)

        return unless_table


class Observer:
    """Records the calls of one function."""

    def __init__(self, signature: Signature, options: Options) -> None:
        """Decide what is captured; `captured` names the parameters whose values `begin` wants.

        Raises:
            TypeError: An option is unknown, or of the wrong type.
            ValueError: An option's value is not allowed.
        """
        if unknown := options.keys() - Options.__annotations__.keys():
            known = ", ".join(Options.__annotations__)
            raise TypeError(f"watch does not know {', '.join(sorted(unknown))}; its options are {known}")
        _check(options)
        self._model = options["model"]
        self._version = options.get("version")
        self._stage = options.get("stage", semconv.STAGE_PRODUCTION)
        fallback = options.get("fallback")
        self._details = Details(
            variant=options.get("variant"),
            upstream=options.get("upstream"),
            fallback=fallback if isinstance(fallback, bool) else None,
            tags=options.get("tags") or {},
        )
        self._head = prediction_head(self._model, self._version, self._stage, self._details)
        self._fallback_field = fallback.removeprefix("output.") if isinstance(fallback, str) else None
        self._inputs, self._output = selections(
            options.get("include"), options.get("exclude"), options.get("rename")
        )
        self._capture = options.get("capture")
        self._capture_output = options.get("capture_output")
        self._reduce = options.get("reduce") or _joined
        self._declared = declared({name: options.get(name) for name in Description.__annotations__})
        self._told: Sink | None = None
        rate = options.get("sample")
        self._rate = None if rate is None else read_rate(rate)
        self._batch = options.get("batch", True)
        self._id_path, self._request_path = options.get("prediction_id"), options.get("request_id")

        names = [p.name for p in signature.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        named = names[1:] if names[:1] in (["self"], ["cls"]) else names
        inputs = self._inputs.names(named)
        self.captured: Final = [*inputs, *(name for name in names if name not in inputs)]
        argument = _Argument if self._batch else Field
        self._fields = [argument(name) for name in inputs.values()]
        self._named = named
        self._answers_plainly = self._output is ALL and not (
            self._capture_output or self._fallback_field or self._rate
        )
        chooses_columns = not (self._inputs.include or frozenset()).issubset(names)
        self._is_simple = not (self._capture or self._id_path or self._request_path or chooses_columns)

    def begin(self, captured: tuple[Any, ...], keywords: dict[str, Any] | None = None) -> State | None:
        """A call begins: encode its inputs now, for the function may change what it was given."""
        sink = _process.sink()
        if not sink.recording:
            remember_prediction_ids(())
            return None
        try:
            time = event_time_ns()
            is_bare = annotations() is None and around() is None
            if is_bare and self._is_simple and sink.policy.redact is None:
                try:
                    arguments = zip(self._fields, captured, strict=False)
                    entries = b"".join([field[type(value)](value) for field, value in arguments])
                except _TableGiven:
                    return self._begin(sink, time, captured, keywords or {})
                if not keywords or not (self._batch and has_table(keywords.values())):
                    if keywords:
                        entries += encode_fields(self._inputs.apply(keywords))
                    inputs = body_entry(semconv.BODY_INPUTS, entries)
                    return time, inputs, _time.clock.perf_counter_ns(), _ORDINARY
            return self._begin(sink, time, captured, keywords or {})
        except Exception as failure:  # noqa: BLE001  # the host must not notice
            remember_prediction_ids(())
            sink.drop("encode_error", failure)
            return None

    def _begin(self, sink: Sink, time: int, captured: tuple[Any, ...], keywords: dict[str, Any]) -> State:
        """Begin a call that is not as simple as most."""
        arguments = dict(zip(self.captured, captured, strict=True)) | keywords
        if self._capture is not None:
            inputs = dict(self._capture(arguments))
        else:
            inputs = {name: arguments[name] for name in (*self._named, *keywords)}
        redaction = None if (redact := sink.policy.redact) is None else redact.record()
        if redaction is not None and (self._capture or self._inputs is not ALL):
            redaction.fields(semconv.BODY_INPUTS, arguments)  # an error may repeat what is not recorded
        table = None
        if self._batch:
            left_out = self._inputs.exclude - {self._id_path}  # whose column is needed, and left out later
            kept = {name: value for name, value in inputs.items() if name not in left_out}
            table = self._table(kept, arguments, redaction)
        call = _Call(
            prediction_id=None if table else _at_path(self._id_path, arguments),
            request_id=_at_path(self._request_path, arguments),
            table=table,
            redaction=redaction,
            around=around(),
            outer=annotations(),
        )
        set_annotations(None)
        body = b""
        if table is None:
            body = encode_body_map(semconv.BODY_INPUTS, self._inputs.apply(inputs), redaction)
        return time, body, _time.clock.perf_counter_ns(), call

    def _table(
        self, inputs: Mapping[str, Any], _arguments: Mapping[str, Any], redaction: "RecordRedactor | None"
    ) -> TableCall | None:
        """Take the inputs for a table's, where one of them is a table."""
        if not has_table(inputs.values()):
            return None
        return TableCall(inputs, self._inputs, id_column=self._id_path, redaction=redaction)

    def finish(self, state: State | None, result: Any) -> None:
        """The call ended with a result."""
        if state is None:
            return
        if self._answers_plainly and state[3] is _ORDINARY and annotations() is None:
            sink = _process.sink()  # again: the function may have forked, or taken its time
            if not sink.policy.sample and (not self._declared or self._told is sink):
                self._put_ordinary(sink, state, result)
                return
        self._end(state, result, None)

    def finish_stream(self, state: State | None, items: list[Any]) -> None:
        """The call's generator ended, or nobody wants more of its items."""
        if state is None:
            return
        try:
            result = self._reduce(items)
        except Exception as failure:  # noqa: BLE001  # the host must not notice
            remember_prediction_ids(())
            _process.sink().drop("encode_error", failure)
        else:
            self._end(state, result, None)

    def fail(self, state: State | None, error: BaseException) -> None:
        """The call ended with an exception."""
        if state is None:
            return
        if isinstance(error, NOT_AN_OUTCOME):
            set_annotations(state[3].outer)
        else:
            self._end(state, None, error)

    def _tell(self, sink: Sink, redaction: "RecordRedactor | None") -> None:
        """Say what is declared of the model, unless it was said."""
        self._told = sink
        if _process.is_news((self._model, self._version, repr(self._declared))):
            sink.put(encode_model(self._model, self._version, self._declared, redaction))

    def _put_ordinary(self, sink: Sink, state: State, result: Any) -> None:
        """Record a call about which nothing special is to be done, as most are: this is where time counts."""
        duration_s = (_time.clock.perf_counter_ns() - state[2]) / 1e9
        try:
            output = encode_fields(result if type(result) is dict else as_output(result))
            prediction_id = _time.new_prediction_id(state[0])
            record = encode_prediction(
                self._head,
                time=state[0],
                prediction_id=prediction_id,
                body=state[1] + body_entry(semconv.BODY_OUTPUT, output),
                duration_s=duration_s,
            )
        except Exception as failure:  # noqa: BLE001  # the host must not notice
            remember_prediction_ids(())
            sink.drop("encode_error", failure)
        else:
            sink.put(record)
            remember_prediction_ids((prediction_id,))

    def _end(self, state: State, result: Any, error: BaseException | None) -> None:
        duration_s = (_time.clock.perf_counter_ns() - state[2]) / 1e9
        call = state[3]
        sink = _process.sink()
        try:
            said = annotations()
            if said is not call.outer:
                set_annotations(call.outer)
            if self._declared and self._told is not sink:
                self._tell(sink, call.redaction)
            if error is None and self._capture_output is not None:
                result = self._capture_output(result)
            outcome = _Outcome(result, error, duration_s, said)
            if call.table is None or not self._put_rows(sink, state, call.table, outcome):
                self._put_one(sink, state, outcome)
        except Exception as failure:  # noqa: BLE001  # the host must not notice
            remember_prediction_ids(())
            sink.drop("encode_error", failure)

    def _put_one(self, sink: Sink, state: State, outcome: _Outcome) -> None:
        """Record one prediction."""
        result, error, duration_s, said = outcome
        time, body, _, call = state
        if call.table is not None:
            body = encode_body_map(semconv.BODY_INPUTS, call.table.as_values(), call.redaction)
        answer: Mapping[Any, Any] = {}
        weight = 1.0  # all errors are kept
        if error is None:
            answer = result if type(result) is dict else as_output(result)
        if call is _ORDINARY and said is None and self._fallback_field is None:
            head, request_id = self._head, None
        else:
            details = self._details_of(call, said)
            if self._fallback_field in answer:
                details = Details(fallback=bool(answer[self._fallback_field])).over(details)
            head, request_id = self._head_for(details, call), details.request_id
        prediction_id = call.prediction_id or _time.new_prediction_id(time)
        remember_prediction_ids((prediction_id,))
        if error is None:
            weight = weight_of(request_id or prediction_id, self._rate_in(sink))
            if not weight:
                return
            output = answer if self._output is ALL else self._output.apply(answer)
            body += encode_body_map(semconv.BODY_OUTPUT, output, call.redaction)
        record = encode_prediction(
            head,
            time=time,
            prediction_id=prediction_id,
            body=body,
            duration_s=duration_s,
            error=error,
            weight=weight,
            redaction=call.redaction,
        )
        sink.put(record)

    def _put_rows(self, sink: Sink, state: State, table: TableCall, outcome: _Outcome) -> bool:
        """Record a prediction per row; False if the call was none of a table after all."""
        result, error, duration_s, said = outcome
        time, _, _, call = state
        output = None if error is not None else table.outcome(result, self._output, self._fallback_field)
        if output is None and not (error is not None and table.is_certain):
            return False
        details = self._details_of(call, said)
        ids, streams = table.streams(
            output,
            time=time,
            rate=1.0 if error is not None else self._rate_in(sink),
            identity=details.request_id,
        )
        remember_prediction_ids(ids)
        head = self._head_for(details, call, semconv.EVENT_PREDICTION_BATCH)
        for rows, stream in streams:
            sink.put(
                encode_batch(
                    head,
                    time=time,
                    rows=rows,
                    stream=stream,
                    duration_s=duration_s,
                    error=error,
                    redaction=call.redaction,
                )
            )
        return True

    def _details_of(self, call: _Call, said: Details | None) -> Details:
        """Join what is said about a call; what is said nearest to it wins."""
        details = Details(request_id=call.request_id).over(call.around).over(self._details)
        return details if said is None else said.over(details)

    def _head_for(self, details: Details, call: _Call, event: str = semconv.EVENT_PREDICTION) -> bytes:
        return prediction_head(
            self._model, self._version, self._stage, details, event=event, redaction=call.redaction
        )

    def _rate_in(self, sink: Sink) -> float:
        return sink.policy.rate(self._model) if self._rate is None else self._rate


_EXPECTED: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    **dict.fromkeys(("capture", "capture_output", "reduce"), (callable, "a function")),
    **dict.fromkeys(
        ("prediction_id", "request_id"),
        (lambda value: isinstance(value, str), "the name of a field, as text"),
    ),
    "fallback": (lambda value: isinstance(value, (bool, str)), "True, False or the name of a field"),
    "tags": (lambda value: isinstance(value, Mapping), "a mapping of names to values"),
    "rename": (lambda value: isinstance(value, Mapping), "a mapping of names to new names"),
    "batch": (lambda value: isinstance(value, bool), "True or False"),
}


def _check(options: Mapping[str, Any]) -> None:
    """Tell of options that could never work."""
    if "model" not in options:
        raise TypeError("watch needs the model's name: @lapwing.watch(model=…)")
    for name, (is_right, expected) in _EXPECTED.items():
        value = options.get(name)
        if value is not None and not is_right(value):
            raise TypeError(f"{name}: expected {expected}, not {value!r}")


def _joined(items: list[Any]) -> object:
    """Join what a generator gave: texts to one text, anything else stays a list."""
    return "".join(items) if items and all(isinstance(item, str) for item in items) else items


def _at_path(path: str | None, arguments: Mapping[str, Any]) -> str | None:
    """Find an argument, or what lies in one under a key or attribute; None where there is none."""
    if path is None:
        return None
    found: Any = arguments
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
    return None if found is None else str(found)
