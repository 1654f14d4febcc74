"""The decorator: what a function was given and what it answered, recorded."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from lapwing import _process
from lapwing._record import Stage, encode_inputs, encode_output, encode_prediction, prediction_head
from lapwing._time import event_time_ns, new_prediction_id, remember_prediction_id

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NOT_AN_OUTCOME: Final = (GeneratorExit, KeyboardInterrupt, SystemExit)
"""The interpreter stops, the model did not fail. A cancelled task is an outcome: it took too long."""


def watch(
    *,
    model: str,
    version: str | None = None,
    stage: Stage = "production",
    tags: Mapping[str, object] | None = None,
) -> Callable[[_Function], _Function]:
    """Record every call of a function as a prediction.

    Works on plain and `async` functions and on methods; it stands under `@staticmethod` and `@classmethod`.
    The function keeps its signature, types and documentation; its result and exceptions pass untouched.

    Inputs are the call's arguments by name, defaults included; `**kwargs` as if they were parameters,
    `*args` as a list, `self` and `cls` left out. A result that is a mapping is the output; any other is
    `output.value`.

    Args:
        model: The model's name, 1 to 128 characters, no control characters.
        version: The model's version.
        stage: `production`; `shadow` for a model that only watches along; `candidate` for one under test.
        tags: Segments to tell predictions apart by.

    Raises:
        ValueError: A name, stage or tag is not allowed.
        TypeError: What is decorated is no function.
    """
    head = prediction_head(model, version, stage, tags)

    def decorate(function: _Function) -> _Function:
        if isinstance(function, (staticmethod, classmethod)) or not callable(function):
            raise TypeError(f"watch decorates functions; put it under @{type(function).__name__}")
        parameters = _Parameters(function)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with _Call(head, parameters, args, kwargs) as observed:
                observed.result = function(*args, **kwargs)
            return observed.result

        @wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with _Call(head, parameters, args, kwargs) as observed:
                observed.result = await function(*args, **kwargs)
            return observed.result

        return cast("_Function", call_async if inspect.iscoroutinefunction(function) else call)

    return decorate


class _Parameters:
    """A function's signature, reduced to what binding the arguments of a call needs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        kinds = inspect.Parameter
        by_position = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        parameters = list(inspect.signature(function).parameters.values())
        self._positional = [p.name for p in parameters if p.kind in by_position]
        self._owner = self._positional[0] if self._positional[:1] in (["self"], ["cls"]) else None
        self._rest = next((p.name for p in parameters if p.kind is kinds.VAR_POSITIONAL), None)
        self._defaults = {p.name: p.default for p in parameters if p.default is not kinds.empty}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Give the arguments of a call by name; of a call that does not fit, those that can be named."""
        inputs = dict(zip(self._positional, args, strict=False))
        inputs.update(kwargs)
        for name, value in self._defaults.items():
            inputs.setdefault(name, value)
        if self._rest is not None:
            inputs[self._rest] = args[len(self._positional) :]
        if self._owner is not None:
            inputs.pop(self._owner, None)
        return inputs


class _Call:
    """One call of a watched function, entered just before it starts; only the call itself raises from it."""

    __slots__ = ("_head", "_inputs", "_started_ns", "_time", "result")
    result: Any

    def __init__(
        self, head: bytes, parameters: _Parameters, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._head = head
        self._inputs: bytes | None = None
        sink = _process.sink()
        if sink.recording:
            try:
                self._time = event_time_ns()
                # Now, and not when the call has ended: the function may change what it was given.
                self._inputs = encode_inputs(parameters.bind(args, kwargs))
            except Exception as failure:  # noqa: BLE001  # the host must not notice
                sink.drop("encode_error", failure)

    def __enter__(self) -> Self:
        self._started_ns = perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        duration_ns = perf_counter_ns() - self._started_ns
        if self._inputs is None or isinstance(error, _NOT_AN_OUTCOME):
            return
        sink = _process.sink()  # again: the function may have forked, or taken its time
        try:
            prediction_id = new_prediction_id(self._time)
            record = encode_prediction(
                self._head,
                time=self._time,
                prediction_id=prediction_id,
                inputs=self._inputs,
                output=encode_output(self.result) if error is None else b"",
                duration_s=duration_ns / 1e9,
                error=error,
            )
        except Exception as failure:  # noqa: BLE001  # the host must not notice
            sink.drop("encode_error", failure)
        else:
            sink.put(record)
            remember_prediction_id(prediction_id)
