"""Estimators and modules whose methods predict: scikit-learn's, PyTorch's, and what is like them."""

from collections.abc import Mapping
from contextvars import ContextVar
from copyreg import __newobj__  # type: ignore[attr-defined]
from inspect import Signature, getattr_static, isclass, isroutine
from typing import TYPE_CHECKING, Any, Final

from lapwing._model import of_estimator
from lapwing._observe import Observer, Options
from lapwing._scope import restore
from lapwing._table import has_table
from lapwing._table_call import TableCall
from lapwing._wrap import signature_of, wrap

if TYPE_CHECKING:
    from lapwing._redactor import RecordRedactor

_METHODS: Final = ("predict", "predict_proba", "forward")
_PROBABILITIES: Final = "predict_proba"
_DENSE_CELLS: Final = 10_000_000
"""Cells up to which a sparse matrix is written out."""

_busy: ContextVar[tuple[int, ...]] = ContextVar("lapwing_busy_estimators", default=())
"""Identities of the estimators that are predicting: many a `predict` calls its own `predict_proba`."""


def methods_of(target: object) -> list[str]:
    """Name the methods that predict; none for what is no estimator."""
    if isclass(target) or isroutine(target):
        return []
    kind = type(target)
    return [name for name in _METHODS if hasattr(kind, name) and callable(getattr(target, name, None))]


def watch_estimator(target: Any, options: Options) -> Any:
    """Give a twin of an estimator that records what it predicts.

    The twin's class is derived from that of the original, with which it shares its parameters. Copies, clones
    and pickles of it are plain again: a stored model needs no Lapwing.

    Raises:
        TypeError: There can be no twin, or a method is none of the class's own.
        ValueError: An option is wrong.
    """
    known = of_estimator(target)
    if options.get("rename"):
        known.pop("features", None)  # which have other names then
    options = {**known, **options}
    kind = type(target)
    namespace: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    for name in methods_of(target):
        found = getattr_static(target, name)
        if isinstance(found, (staticmethod, classmethod)) or name in getattr(target, "__dict__", ()):
            raise TypeError(f"{kind.__qualname__}.{name} is no method of its instances: watch {name} itself")
        bound = getattr(target, name)
        method = getattr(bound, "__func__", getattr(kind, name))
        signature = signature_of(method)
        observer = _MethodObserver(signature, options, has_probabilities=name == _PROBABILITIES)
        namespace[name] = wrap(method, signature, observer.captured, observer)

    def reduce_to_plain(self: Any, protocol: Any) -> Any:
        """Pickle and copy as an instance of the original class."""
        reduced = _instance(kind, self).__reduce_ex__(protocol)
        if reduced[0] is not __newobj__:  # which pickle accepts only for the class of what it is given
            return reduced
        return (object.__new__, (kind,), *reduced[2:])

    def clone_plain(self: Any) -> Any:
        """Clone, as scikit-learn does, to an instance of the original class."""
        from sklearn.base import clone  # noqa: PLC0415  # it has just been called

        return clone(_instance(kind, self))

    namespace |= {"__doc__": kind.__doc__, "__reduce_ex__": reduce_to_plain, "__sklearn_clone__": clone_plain}
    try:
        twin_kind = type(kind.__name__, (kind,), namespace)
        return _instance(twin_kind, target)
    except (AttributeError, TypeError) as error:
        raise TypeError(
            f"watch cannot take over {kind.__qualname__} ({error}): decorate a function that calls it"
        ) from error


class _Plain:
    """Keeps all that it has in its `__dict__`."""


def _instance(kind: Any, of: Any) -> Any:
    if kind.__basicsize__ > _Plain.__basicsize__:
        raise TypeError("it keeps more than is in its __dict__, as in __slots__")
    instance = kind.__new__(kind)
    instance.__dict__.update(vars(of))
    return instance


class _MethodObserver(Observer):
    """Records the calls of one method of estimators, but not those that they make of themselves."""

    def __init__(self, signature: Signature, options: Options, *, has_probabilities: bool) -> None:
        super().__init__(signature, options)
        self._is_simple = False
        self._owner = next(iter(signature.parameters))
        self._has_probabilities = has_probabilities

    def begin(self, captured: tuple[Any, ...], keywords: dict[str, Any] | None = None) -> Any:
        """As an observer."""
        owner, busy = id(captured[self.captured.index(self._owner)]), _busy.get()
        if owner in busy:
            return None
        token = _busy.set((*busy, owner))
        return token, super().begin(captured, keywords)

    def finish(self, state: Any, result: Any) -> None:
        """As an observer."""
        if state is not None:
            restore(_busy, state[0])
            super().finish(state[1], result)

    def finish_stream(self, state: Any, items: list[Any]) -> None:
        """As an observer."""
        if state is not None:
            restore(_busy, state[0])
            super().finish_stream(state[1], items)

    def fail(self, state: Any, error: BaseException) -> None:
        """As an observer."""
        if state is not None:
            restore(_busy, state[0])
            super().fail(state[1], error)

    def _table(
        self, inputs: Mapping[str, Any], arguments: Mapping[str, Any], redaction: "RecordRedactor | None"
    ) -> TableCall | None:
        prepared = {name: _as_table(value) for name, value in inputs.items()}
        if not has_table(prepared.values()):
            return None
        estimator = arguments[self._owner]
        return TableCall(
            prepared,
            self._inputs,
            columns=_names(getattr(estimator, "feature_names_in_", None)),
            classes=_names(getattr(estimator, "classes_", None)) if self._has_probabilities else None,
            id_column=self._id_path,
            redaction=redaction,
        )


def _as_table(value: Any) -> Any:
    """Turn the other forms in which estimators take rows, lists of lists and sparse matrices, into arrays."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
        from lapwing._columns import as_numpy  # noqa: PLC0415  # only for tables

        return as_numpy(value)
    if hasattr(value, "toarray") and value.shape[0] * value.shape[1] <= _DENSE_CELLS:
        return value.toarray()
    return value


def _names(values: Any) -> list[str] | None:
    return None if values is None else [str(value) for value in values]
