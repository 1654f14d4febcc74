"""The decorator: what a function was given and what it answered, recorded."""

from collections.abc import Callable
from typing import Any, TypeVar, Unpack, cast, overload

from lapwing._estimator import methods_of, watch_estimator
from lapwing._observe import Observer, Options
from lapwing._wrap import Renaming, own_signature_of, signature_of, wrap

_Target = TypeVar("_Target")


@overload
def watch(target: None = None, /, **options: Unpack[Options]) -> Callable[[_Target], _Target]: ...


@overload
def watch(target: _Target, /, **options: Unpack[Options]) -> _Target: ...


def watch(target: Any = None, /, **options: Unpack[Options]) -> Any:
    """Record every call of a function as a prediction.

        @lapwing.watch(model="churn", version="3")
        def predict(age: int, plan: str = "free") -> float: ...

        classifier = lapwing.watch(joblib.load("churn.pkl"), model="churn")

    Works on functions, coroutine functions, generators and asynchronous generators, methods, static and class
    methods, `functools.partial` and other callables, in either form. They keep their kind, signature, types
    and documentation; results and exceptions pass untouched. Of an estimator (an object with `predict`,
    `predict_proba` or `forward`) a twin is given whose methods are watched.

    Inputs are the call's arguments by name, defaults included; `**kwargs` as if they were parameters, `*args`
    as a list, `self` and `cls` left out. A result that is a mapping, or an object with fields, is the output;
    any other is `output.value`. A call with a table (a DataFrame, a two-dimensional array, a list of dicts)
    whose result has an item per row is a prediction per row.

    Args:
        target: What to watch; left out in the form of a decorator.
        **options:
            model (str): The model's name, 1 to 128 characters, no control characters. Required.
            version (str): The model's version.
            stage (str): `production`; `shadow` for a model that only watches along; `candidate` for one under
                test.
            include (list of str): Inputs to record, also columns of a table; `output.score` is of the output.
            exclude (list of str): Inputs, and outputs, to leave out.
            rename (mapping): New names of inputs and outputs: `{"output.p": "score"}`.
            capture (callable): Given the arguments by name in a dict, returns the inputs.
            capture_output (callable): Given the result, returns the output.
            reduce (callable): Given the list of a generator's items, returns the output. Default: texts are
                joined, others stay a list.
            prediction (str): The output's field that is the prediction, where it is not `value`.
            score (str): The output's field that is the probability of the positive class, where it is not
                `score`.
            task, scores, items, label, positive_class, classes, threshold, label_delay, features, segments:
                What else there is to know of the model, sent once; `log_model` says what each is. An
                estimator's task, classes and importances of features are found by themselves.
            prediction_id (str): The argument, or the field of one (`request.id`), that is the prediction's
                id; with a table its column. Default: an id is made.
            request_id (str): Likewise, the request's id: pairs predictions of several models.
            fallback (bool or str): Whether answers are defaults and not the model's, or the output's field
                that says so.
            variant (str): Arm of an experiment.
            upstream (str): The model or step before.
            tags (mapping): Segments to tell predictions apart by.
            sample (float): Share of the calls to record, above 0 and up to 1; those that fail all are.
            batch (bool): False records a call with a table as one prediction.

    Raises:
        ValueError: The value of an option is not allowed.
        TypeError: An option is unknown or of a wrong type, or what is watched is no callable.
    """
    if target is not None:
        return _watched(target, options)
    Observer(signature_of(lambda: None), options)  # tells of wrong options where they stand

    def decorate(target: _Target) -> _Target:
        return cast("_Target", _watched(target, options))

    return decorate


def _watched(target: Any, options: Options) -> Any:
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(_watched(target.__func__, options))
    if methods_of(target):
        return watch_estimator(target, options)
    if not callable(target) or isinstance(target, type):
        raise TypeError(f"watch takes functions, methods, callables and estimators, not {target!r}")
    shown, own = signature_of(target), own_signature_of(target)
    observer = Observer(shown, options)
    if own.parameters.keys() == shown.parameters.keys():
        return wrap(target, own, observer.captured, observer)
    renaming = Renaming(own, shown, observer, Observer(own, options))
    return wrap(target, own, renaming.captured, renaming)
