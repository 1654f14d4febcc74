"""What the arguments of metrics may be, as far as a query writes them out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from lapwing_collector.errors import QueryError
from lapwing_collector.query.library import Metric

Argument = Mapping[str, Any]
"""A node of the syntax tree."""

_STAGES: Final = ("production", "shadow", "candidate")
_BY_SCORE: Final = frozenset({"classification", "estimation", "fairness"})
"""Groups of metrics whose threshold is a probability."""
_DISTANCES: Final = (
    "psi",
    "js_distance",
    "kl_divergence",
    "hellinger",
    "total_variation",
    "wasserstein_binned",
    "ks_binned",
    "chi2",
    "g_test",
    "z_test",
)
_METHODS: Final = {
    "correlation": ("pearson", "spearman"),
    "drift": _DISTANCES,
    "dataset_drift": _DISTANCES,
    "embedding_drift": ("classifier", "euclidean", "cosine", "components", "mmd"),
}
_BINNINGS: Final = ("reference", "evidently")
_DRIFT: Final = frozenset({"drift", "embeddings", "text"})
"""Groups of metrics that compare two sides."""
_WHOLE: Final = {"samples": 2, "min_rows": 0, "components": 1, "bins": 2, "top": 1}
"""The least that whole numbers of these may be."""
_LEAST: Final = {**_WHOLE, "min_effect": 0, "threshold": 0}
_SHARES: Final = ("significance", "share")
_OPTIONAL: Final = frozenset({"bins", "components", "threshold"})
"""Which of them may be NULL."""
_YES_OR_NO: Final = ("adjust", "nulls", "weighted")
_SPANS: Final = (
    ("since", "until"),
    ("reference_since", "reference_until"),
    ("calibrate_since", "calibrate_until"),
    ("popular_since", "popular_until"),
)
_ZONED: Final = "TIMESTAMP WITH TIME ZONE"


def check_values(metric: Metric, given: Mapping[str, Argument], place: int | None) -> None:
    """Refuse what a metric would silently make nonsense of.

    Raises:
        QueryError: An argument is of another kind, or out of its range.
    """
    for message in _mistakes(metric, given):
        raise QueryError(f"{metric.name}: {message}", position=place)


def check_parameters(names: Sequence[str], parameters: Mapping[str, Any]) -> None:
    """Refuse texts of times that are ahead of or behind UTC, whose offset would be dropped.

    Args:
        names: The parameters of a query that stand for times of metrics.
        parameters: The values that a query is given.

    Raises:
        QueryError: One is.
    """
    for name in names:
        value = parameters.get(name)
        if isinstance(value, str) and _has_offset(value):
            raise QueryError(
                f"the parameter {name} is {value}, and times are UTC without an offset: {_in_utc(value)}"
            )


def is_moment(name: str) -> bool:
    """Whether an argument of this name is a time."""
    return name in {"since", "until", "as_of"} or name.endswith(("_since", "_until"))


def _mistakes(metric: Metric, given: Mapping[str, Argument]) -> Iterator[str]:
    values = {name: _constant(argument) for name, argument in given.items()}
    yield from _shapes(metric, given, values)
    yield from _numbers(metric, values)
    if metric.group in _DRIFT:
        yield from _of_drift(given, values)
    yield from _texts(metric, values)
    yield from _times(given, values)


def _shapes(metric: Metric, given: Mapping[str, Argument], values: Mapping[str, Any]) -> Iterator[str]:
    if (segments := values.get("segments")) is not None:
        yield f"segments is a STRUCT of names and columns, {{'plan': inputs.plan}}, and not {segments!r}"
    default = next((parameter.default for parameter in metric.parameters if parameter.name == "fields"), None)
    if "fields" not in given or default is None:
        return
    if default == "NULL" and isinstance(name := values["fields"], str):
        yield f"fields is a list of names, ['{name}'], and not a text"
    if default != "NULL" and given["fields"].get("function_name") == "list_value":
        yield f"fields is one pattern as a text, {default}, and not a list"


def _numbers(metric: Metric, values: Mapping[str, Any]) -> Iterator[str]:
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float | Decimal)}
    confidence, k, beta = (numbers.get(name) for name in ("confidence", "k", "beta"))
    threshold = numbers.get("threshold") if metric.group in _BY_SCORE else None
    if confidence is not None and not 0 <= confidence < 1:
        yield f"confidence is at least 0 (no interval) and less than 1, as 0.95, and not {confidence}"
    if k is not None and k < 1:
        yield f"k is at least 1, and not {k}"
    if beta is not None and beta < 0:
        yield f"beta is at least 0, and not {beta}"
    if threshold is not None and not 0 <= threshold <= 1:
        yield f"threshold is a probability from 0 to 1, as 0.5, and not {threshold}"


def _of_drift(given: Mapping[str, Argument], values: Mapping[str, Any]) -> Iterator[str]:
    constants = {name for name, argument in given.items() if _is_constant(argument)}
    for name in given:
        if name in constants and not (name in _OPTIONAL and values[name] is None):
            wanted = _expected(name, given[name], values[name])
            if wanted is not None:
                null = ", or NULL" if name in _OPTIONAL else ""
                yield f"{name} is {wanted}{null}, and not {_shown(values[name])}"
    told = {name for name in given if name not in constants or values[name] is not None}
    ends = told & {"reference_since", "reference_until"}
    if len(ends) == 1:
        yield "a span to compare with has both ends: reference_since and reference_until"
    elif ends and "reference" in told:
        yield "either a reference is compared with or a span, and both are given"


def _expected(name: str, argument: Argument, value: Any) -> str | None:
    """What an argument has to be, if it is not."""
    is_number = isinstance(value, int | float | Decimal)
    if name in _YES_OR_NO:
        is_told = argument.get("cast_type", {}).get("id") == "BOOLEAN"  # how DuckDB writes true and false
        return None if is_told else "true or false"
    if name in _SHARES:
        return None if is_number and 0 <= value <= 1 else "a number from 0 to 1, as 0.05"
    if name in _WHOLE:
        fits = is_number and value >= _WHOLE[name] and value == int(value)
        return None if fits else f"a whole number from {_WHOLE[name]} on"
    if name in _LEAST:
        return None if is_number and value >= _LEAST[name] else f"a number from {_LEAST[name]} on"
    return None


def _shown(value: Any) -> str:
    return "NULL" if value is None else repr(value) if isinstance(value, str) else str(value)


def _is_constant(argument: Argument) -> bool:
    while argument.get("type") == "OPERATOR_CAST":
        argument = argument["child"]
    return argument.get("type") == "VALUE_CONSTANT"


def _texts(metric: Metric, values: Mapping[str, Any]) -> Iterator[str]:
    stages = ("stage", "challenger_stage")
    methods = _METHODS.get(metric.name, ())
    told = [*((stage, _STAGES) for stage in stages), ("binning", _BINNINGS), ("method", methods)]
    for name, known in told:
        value = values.get(name)
        if known and value is not None and value not in known:
            ending = "; NULL for all" if name == "stage" else ""
            yield f"{name} is {', '.join(known[:-1])} or {known[-1]}{ending}, and not {value}"


def _times(given: Mapping[str, Argument], values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if is_moment(name) and isinstance(value, str) and not _is_zoned(given[name]) and _has_offset(value):
            yield f"the offset of {name}, {value!r}, would be dropped: write TIMESTAMPTZ '{value}'"
    for first, last in _SPANS:
        since, until = (_moment(values.get(name)) for name in (first, last))
        if since is not None and until is not None and since > until:
            yield f"{first}, {values[first]}, is after {last}, {values[last]}"


def _constant(argument: Argument) -> Any:
    """What is written out; None for NULL and whatever has to be computed."""
    while argument.get("type") == "OPERATOR_CAST":
        argument = argument["child"]
    if argument.get("type") != "VALUE_CONSTANT":
        return None
    value, kind = argument["value"].get("value"), argument["value"]["type"]
    if kind["id"] == "DECIMAL" and isinstance(value, int):
        return Decimal(value).scaleb(-kind["type_info"]["scale"])
    return value


def _is_zoned(argument: Argument) -> bool:
    while argument.get("type") == "OPERATOR_CAST":
        if argument["cast_type"]["id"] == _ZONED:
            return True
        argument = argument["child"]
    return False


def _moment(text: Any) -> datetime | None:
    """The time in UTC; None where DuckDB has to say."""
    try:
        moment = datetime.fromisoformat(text.strip()) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment and (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))


def _has_offset(text: str) -> bool:
    moment = _moment(text)
    return moment is not None and moment.replace(tzinfo=None) != datetime.fromisoformat(text.strip()).replace(
        tzinfo=None
    )


def _in_utc(text: str) -> str:
    moment = _moment(text)
    return "" if moment is None else moment.replace(tzinfo=None).isoformat()
