"""Functions around functions, compiled from source so that nothing can tell the two apart.

A wrapper that takes `*args, **kwargs` has to find out by itself which argument is which, refuses wrong calls
later than the function would, and is another kind of function to whoever inspects it. So the wrapper is
compiled with the very parameters of what it wraps: the interpreter binds the arguments, and all that is
captured is at hand as local variables. `dataclasses` makes `__init__` in the same way.
"""

import inspect
import linecache
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from itertools import count
from keyword import iskeyword
from textwrap import indent
from types import FunctionType
from typing import Any, Final, Protocol

from lapwing._stream import AsyncStream, Stream

State = Any
"""What an observer wants to know again when a call ends."""


class Observer(Protocol):
    """Told about the calls of one function; none of its methods raises."""

    def begin(self, captured: tuple[Any, ...], keywords: dict[str, Any] | None = None) -> State:
        """A call begins with these arguments; returns the state of the call."""
        ...

    def finish(self, state: State, result: Any) -> None:
        """The call ended with this result."""
        ...

    def finish_stream(self, state: State, items: list[Any]) -> None:
        """The call's generator gave these items and ended, or nobody wants more of them."""
        ...

    def fail(self, state: State, error: BaseException) -> None:
        """The call ended with this exception."""
        ...


class Capturing(Observer, Protocol):
    """An observer that says which parameters it wants."""

    @property
    def captured(self) -> Sequence[str]:
        """Their names, in its order."""
        ...


_CALL: Final = """\
{_}state = {_}begin({captured})
try:
    {_}result = {_}function({arguments})
except BaseException as {_}error:
    {_}fail({_}state, {_}error)
    raise
{_}finish({_}state, {_}result)
return {_}result
"""

_GENERATOR: Final = """\
{_}generator = {_}function({arguments})
{_}stream = {_}Stream({_}observer, {captured})
{_}advance, {_}given = {_}generator.send, None
try:
    while True:
        {_}more, {_}item = {_}stream.step({_}advance, {_}given)
        if not {_}more:
            return {_}item
        try:
            {_}advance, {_}given = {_}generator.send, (yield {_}item)
        except BaseException as {_}error:
            {_}advance, {_}given = {_}generator.throw, {_}error
finally:
    {_}given = None
"""
"""What `yield from` does, but what it closes could not go on or give a value, as a generator can.

What is thrown is passed on when it is no more handled here, or it would be the context of later exceptions,
and forgotten in the end, or it would hold itself through its traceback.
"""

_ASYNC_GENERATOR: Final = (
    _GENERATOR.replace("{_}Stream", "{_}AsyncStream")
    .replace("{_}stream.step", "await {_}stream.step")
    .replace("return {_}item", "return")
    .replace(".send", ".asend")
    .replace(".throw", ".athrow")
)

_numbers: Final = count(1)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Give the signature of a function; where it tells none, as some built-in ones, that of any function."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return inspect.signature(lambda *args, **kwargs: None)  # noqa: ARG005  # its parameters are all it is


def own_signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Give the signature that a function has, not the one that it shows for what it wraps."""
    if isinstance(function, FunctionType):
        code, defaults = function.__code__, function.__defaults__
        bare = FunctionType(code, {}, function.__name__, defaults, function.__closure__)
        bare.__kwdefaults__ = function.__kwdefaults__
        return inspect.signature(bare)
    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return signature_of(function)


class Renaming:
    """Tells an observer the arguments of a function that wraps another, by the names that it shows."""

    def __init__(
        self, own: inspect.Signature, shown: inspect.Signature, by_shown: "Capturing", by_own: "Capturing"
    ) -> None:
        """Name them.

        Args:
            own: The signature by which the function is called.
            shown: The one of what it wraps.
            by_shown: The observer, which knows the names shown.
            by_own: Its stand-in for calls that do not fit these: the function adds or takes away arguments.
        """
        kinds = inspect.Parameter

        def names(*wanted: object) -> list[str]:
            return [name for name, parameter in own.parameters.items() if parameter.kind in wanted]

        self._positional = names(kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        self._rest, self._keywords = names(kinds.VAR_POSITIONAL), names(kinds.KEYWORD_ONLY)
        self.captured = [*self._positional, *self._rest, *self._keywords]
        self._shown = shown
        self._extra = next((p.name for p in shown.parameters.values() if p.kind is kinds.VAR_KEYWORD), "")
        self._by_shown, self._by_own = by_shown, by_own
        self.finish, self.finish_stream, self.fail = by_shown.finish, by_shown.finish_stream, by_shown.fail

    def begin(self, captured: tuple[Any, ...], keywords: dict[str, Any] | None = None) -> State:
        """As an observer."""
        given = dict(zip(self.captured, captured, strict=True))
        positional = [given[name] for name in self._positional]
        for name in self._rest:
            positional += given[name]
        named = {name: given[name] for name in self._keywords} | (keywords or {})
        try:
            bound = self._shown.bind(*positional, **named)
        except TypeError:
            return self._by_own.begin(tuple(given[name] for name in self._by_own.captured), keywords)
        bound.apply_defaults()
        arguments = bound.arguments
        return self._by_shown.begin(
            tuple(arguments[name] for name in self._by_shown.captured), arguments.get(self._extra)
        )


def wrap(
    function: Callable[..., Any], signature: inspect.Signature, captured: Iterable[str], observer: Observer
) -> Callable[..., Any]:
    """Make a function that behaves as `function` and tells `observer` about its calls.

    Args:
        function: Any callable. A coroutine function, generator function or asynchronous generator function
            gives a function of the same kind.
        signature: Of the function.
        captured: Names of the parameters whose values the observer wants, in its order.
        observer: Told about the calls.
    """
    parameters = signature.parameters.values()
    name = getattr(function, "__name__", "")
    name = name if name.isidentifier() and not iskeyword(name) else "call"
    mark = "_lapwing_"
    while any(taken.startswith(mark) for taken in (name, *signature.parameters)):
        mark += "_"
    defaults = {
        parameter.name: f"{mark}default_{number}"
        for number, parameter in enumerate(parameters)
        if parameter.default is not parameter.empty
    }
    keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    kind, body = _template(function)
    source = body.format(
        _=mark,
        captured=", ".join([f"({''.join(f'{name}, ' for name in captured)})", *keywords]),
        arguments=", ".join(map(_forwarded, parameters)),
    )
    declared = inspect.Signature([_declared(parameter, defaults) for parameter in parameters])
    wrapper = _compile(
        f"{kind} {name}{declared}:\n{indent(source, '    ')}",
        name,
        {
            f"{mark}function": function,
            f"{mark}observer": observer,
            f"{mark}begin": observer.begin,
            f"{mark}finish": observer.finish,
            f"{mark}fail": observer.fail,
            f"{mark}Stream": Stream,
            f"{mark}AsyncStream": AsyncStream,
            **{known_as: signature.parameters[name].default for name, known_as in defaults.items()},
        },
        getattr(function, "__globals__", {}),
    )
    return update_wrapper(wrapper, function)


def _template(function: Callable[..., Any]) -> tuple[str, str]:
    """Choose how the wrapper is defined, and the source of its body."""
    target: Any = function
    while isinstance(target, partial):
        target = target.func
    if not inspect.isroutine(target):  # an object that can be called
        target = type(target).__call__
    if inspect.isasyncgenfunction(target):
        return "async def", _ASYNC_GENERATOR
    if inspect.isgeneratorfunction(target):
        return "def", _GENERATOR
    if inspect.iscoroutinefunction(target):
        return "async def", _CALL.replace("{_}function(", "await {_}function(")
    return "def", _CALL


class _Name:
    """A name in source code where a signature shows a default value."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _declared(parameter: inspect.Parameter, defaults: Mapping[str, str]) -> inspect.Parameter:
    bare = parameter.replace(annotation=parameter.empty)
    return bare.replace(default=_Name(defaults[bare.name])) if bare.name in defaults else bare


def _forwarded(parameter: inspect.Parameter) -> str:
    """Give the source that passes a parameter on as it came."""
    name = parameter.name
    match parameter.kind:
        case inspect.Parameter.VAR_POSITIONAL:
            return f"*{name}"
        case inspect.Parameter.VAR_KEYWORD:
            return f"**{name}"
        case inspect.Parameter.KEYWORD_ONLY:
            return f"{name}={name}"
    return name


def _compile(
    definition: str, name: str, names: Mapping[str, object], global_names: dict[str, Any]
) -> Callable[..., Any]:
    """Compile a function that knows `names`; its globals are those of what it wraps, for its annotations."""
    source = f"def make({', '.join(names)}):\n{indent(definition, '    ')}    return {name}\n"
    file = f"<lapwing.watch {name} {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for tracebacks
    local_names: dict[str, Any] = {}
    exec(compile(source, file, "exec"), global_names, local_names)  # noqa: S102  # its parts are names
    wrapper: Callable[..., Any] = local_names["make"](**names)
    return wrapper
