"""SQL of the views that metrics read one model through: its rows, with what plays which role beside them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from lapwing_collector.engine import LAKE, identifier, literal
from lapwing_collector.model.description import ModelDescription, Task, parts

_types = pa.types

Fields = Mapping[str, pa.DataType]
"""Types of columns and of what is inside structs, by dotted name."""

FIELDS: Final = "fields"
"""What a metric needs that goes over many fields."""

_BOOLEANS: Final = {"1": "true", "0": "false", "True": "true", "False": "false"}
_OPPOSITES: Final = {"true": "false", "false": "true", "1": "0", "0": "1", "yes": "no", "no": "yes"}
_NO_LABELS: Final = (
    "NULL::VARCHAR AS prediction_id, NULL::VARCHAR AS request_id, NULL::TIMESTAMP AS prediction_time, "
    "NULL::TIMESTAMP AS time, NULL::TIMESTAMP AS received_at, NULL::VARCHAR AS source, NULL::VARCHAR AS label"
)


Types = Mapping[str, DuckDBPyType]
"""DuckDB's types of columns."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of references, which need not have the columns of predictions, nor these their types.

    Attributes:
        columns: What they have; None where no rows are kept of the model.
        predictions: What predictions have.
        label: The type of labels, where there are some.
    """

    columns: Types | None
    predictions: Types
    label: DuckDBPyType | None


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, as metrics see it.

    Attributes:
        table: Name of its tables.
        description: What is known of it, what is inferred included.
        fields: Fields of its predictions that have come.
        labels: Fields of its labels that have come; None while it has no table of labels.
        untimed: Whether there may be labels that do not know the time of their prediction.
        apart: Whether each field is wanted as a column of its own, for metrics that go over many.
        kept: What is known of the rows of its references; None where no metric looks at them.
        reach_s: How far back references reach that move along, in seconds; None where there are none.
    """

    table: str
    description: ModelDescription
    fields: Fields
    labels: Fields | None = None
    untimed: bool = True
    apart: bool = False
    kept: Kept | None = None
    reach_s: int | None = None


def views(subject: Subject, kinds: Collection[str]) -> dict[str, str]:
    """The views of a model, those of some kinds: the SELECT behind each, by name."""
    return {f"{kind}:{subject.table}": select(subject) for kind, select in _VIEWS.items() if kind in kinds}


def known_roles(subject: Subject) -> frozenset[str]:
    """What metrics can need of the model and have: roles, and its task.

    The truth counts as known as long as no label has come: it is to come, and nothing has to be declared yet.
    """
    told = subject.description
    has = {
        "prediction": _has(subject, told.prediction) or _decided(subject),
        "score": _has(subject, told.score)
        or (_has(subject, told.scores) and told.positive_class is not None),
        "scores": _has(subject, told.scores),
        "items": _has(subject, told.items),
        "probabilities": _has(subject, told.scores)
        or (_has(subject, told.score) and told.positive_class is not None),
        "truth": subject.labels is None or _kind(subject.labels, told.label) is not None,
        "positive_class": told.positive_class is not None,
        "threshold": told.threshold is not None,
        "label_delay": told.label_delay is not None,
    }
    always = {FIELDS} | ({told.task} if told.task is not None else set())
    return frozenset(always | {role for role, known in has.items() if known})


def _roles(subject: Subject) -> dict[str, str]:
    return {
        "prediction": _prediction(subject),
        "score": _score(subject),
        "scores": _scores(subject),
        "items": _items(subject),
    }


def _scored(subject: Subject) -> str:
    columns = _roles(subject)
    if subject.apart:
        columns |= _apart(subject.fields)
    added = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    return f"SELECT *, {added} FROM {_table('predictions_all', subject)}"


def _apart(fields: Fields) -> dict[str, str]:
    """Each field of predictions as a column: as it is, if a number as one, if a category as text.

    A column without a name for each kind lets metrics go over fields that a model has none of.
    """
    columns = {'"leaf:"': "NULL::VARCHAR", '"number:"': "NULL::DOUBLE", '"text:"': "NULL::VARCHAR"}
    for name, kind in fields.items():
        if parts(name)[0] not in {"inputs", "output", "descriptors"} or parts(name)[1:] == ():
            continue
        place = _place(name)
        if _types.is_floating(kind):
            place = f"CASE WHEN NOT isnan({place}) THEN {place} END"
            columns[identifier(f"number:{name}")] = (
                f"CASE WHEN isfinite({_place(name)}) THEN {_place(name)}::DOUBLE END"
            )
        elif _types.is_integer(kind):
            columns[identifier(f"number:{name}")] = f"{place}::DOUBLE"
        elif _types.is_string(kind) or _types.is_boolean(kind):
            columns[identifier(f"text:{name}")] = f"{place}::VARCHAR"
        columns[identifier(f"leaf:{name}")] = place
    return columns


def _truths(subject: Subject) -> str:
    if subject.labels is None:
        return f"SELECT {_NO_LABELS}, NULL::{_truth_type(subject)} AS truth WHERE false"
    return f"SELECT *, {_truth(subject, subject.labels)} AS truth FROM {_table('labels', subject)}"


def _listed(subject: Subject) -> str:
    return f"SELECT unnest([{', '.join(map(literal, subject.fields))}]) AS field_name"


def _moving(subject: Subject) -> str:
    """Profiles that references may reach which move along with a window, and how far these reach."""
    there = "true" if subject.reach_s is not None else "false"
    return f"SELECT *, INTERVAL {subject.reach_s or 0} SECONDS AS farthest FROM profiles WHERE {there}"


def _referenced(subject: Subject) -> str:
    """Rows of references as predictions are, and `truth`: what is asked of these can be asked of them."""
    kept = subject.kept
    assert kept is not None  # noqa: S101  # looked up for those whose references are read
    there = {} if kept.columns is None else {name.lower(): kind for name, kind in kept.columns.items()}
    own = ("reference", "reference_version", "row_number")
    is_regression = subject.description.task is Task.REGRESSION
    columns = {
        name: _brought(identifier(name), there.get(name), kind, fractions=is_regression or name != "output")
        for name, kind in kept.predictions.items()
    }
    if kept.columns is not None:
        columns["prediction_id"] = "coalesce(prediction_id, row_number::VARCHAR)"  # rows are drawn by it
    if kept.label is not None:
        columns["label"] = _brought("label", there.get("label"), kept.label, fractions=is_regression)
    told = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in columns.items())
    truth = "NULL" if subject.labels is None else _truth(subject, subject.labels)
    roles = ", ".join(f"{sql} AS {name}" for name, sql in (_roles(subject) | {"truth": truth}).items())
    if kept.columns is None:
        nobody = "NULL::VARCHAR AS reference, NULL::BIGINT AS reference_version, NULL::BIGINT AS row_number"
        return f"SELECT *, {roles} FROM (SELECT {nobody}, {told}) WHERE false"
    return (
        f"SELECT *, {roles} FROM (SELECT {', '.join(own)}, {told} FROM {_table('reference_rows', subject)})"
    )


def _brought(sql: str, have: DuckDBPyType | None, want: DuckDBPyType, *, fractions: bool) -> str:
    """A column, or what is inside one, as another type: NULL where a value is none of it.

    Numbers with fractions are not rounded to whole ones. With `fractions` they stay as they are, to be
    compared with whole numbers; else, where numbers are classes, they are none of the type.
    """
    if have is None:
        return f"NULL::{want}"
    if have == want:
        return sql
    if have.id == "double" and want.id == "bigint":
        return sql if fractions else f"CASE WHEN {sql} = trunc({sql}) THEN TRY_CAST({sql} AS {want}) END"
    if have.id != "struct" or want.id != "struct":
        return f"TRY_CAST({sql} AS {want})"
    inside = {name.lower(): kind for name, kind in _children(have)}
    fields = (
        f"{identifier(name)}: "
        + _brought(f"{sql}.{identifier(name)}", inside.get(name.lower()), kind, fractions=fractions)
        for name, kind in _children(want)
    )
    return f"CASE WHEN {sql} IS NOT NULL THEN {{{', '.join(fields)}}} END"


def _children(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """What a struct holds."""
    return [(name, each) for name, each in kind.children if isinstance(each, DuckDBPyType)]


def _untimed(subject: Subject) -> str:
    condition = "prediction_time IS NULL" if subject.untimed else "false"
    return f"SELECT * FROM ({_truths(subject)}) WHERE {condition}"


def _described(subject: Subject) -> str:
    told = subject.description
    delay = told.label_delay
    positive = _positive(subject)
    # Only who has to know how old rows are by now pays for it.
    newest = f"(SELECT max(time) FROM {_table('predictions_all', subject)})"
    if subject.labels is not None:
        newest = f"greatest({newest}, (SELECT max(time) FROM {_table('labels', subject)}))"
    columns = {
        "task": _text(told.task),
        "positive_class": _text(positive),
        "negative_class": _text(None if positive is None else _negative(positive)),
        "threshold": f"{'NULL' if told.threshold is None else repr(float(told.threshold))}::DOUBLE",
        "label_delay": "NULL::INTERVAL"
        if delay is None
        else f"to_microseconds({round(delay.total_seconds() * 1e6)})",
        "newest": "NULL::TIMESTAMP" if delay is None else newest,
    }
    return "SELECT " + ", ".join(f"{sql} AS {name}" for name, sql in columns.items())


def _prediction(subject: Subject) -> str:
    told = subject.description
    kind = _kind(subject.fields, told.prediction)
    if told.prediction is None or kind is None:
        return _by_threshold(subject) if _decided(subject) else f"NULL::{_single_type(subject)}"
    sql = _place(told.prediction)
    if told.task is Task.REGRESSION:
        return _number(sql, kind)
    return _class(sql, kind, boolean=_is_boolean(subject))


def _by_threshold(subject: Subject) -> str:
    positive = _positive(subject) or ""
    threshold = float(subject.description.threshold or 0)
    return (
        f"CASE WHEN {_score(subject)} >= {threshold!r} THEN {literal(positive)} "
        f"WHEN {_score(subject)} < {threshold!r} THEN {literal(_negative(positive))} END"
    )


def _score(subject: Subject) -> str:
    told = subject.description
    kind = _kind(subject.fields, told.score)
    if told.score is not None and kind is not None:
        return _number(_place(told.score), kind)
    positive = _positive(subject)
    if _has(subject, told.scores) and positive is not None and told.task is not Task.RANKING:
        return f"({_scores(subject)})[{literal(positive)}]"
    return "NULL::DOUBLE"


def _scores(subject: Subject) -> str:
    told = subject.description
    kind = "DOUBLE[]" if told.task is Task.RANKING else "MAP(VARCHAR, DOUBLE)"
    if told.scores is None or not _has(subject, told.scores):
        return f"NULL::{kind}"
    if told.task is Task.RANKING:
        return f"{_place(told.scores)}::{kind}"
    return _map(told.scores, subject.fields)


def _items(subject: Subject) -> str:
    items = subject.description.items
    if items is None or not _has(subject, items):
        return "NULL::VARCHAR[]"
    return f"{_place(items)}::VARCHAR[]"


def _truth(subject: Subject, labels: Fields) -> str:
    told = subject.description
    kind = _kind(labels, told.label)
    if told.label is None or kind is None:
        return f"NULL::{_truth_type(subject)}"
    sql = _place(told.label)
    if told.task is Task.RANKING:
        return _relevance(sql, kind, told.label, labels)
    if told.task is Task.REGRESSION:
        return _number(sql, kind)
    text = _class(sql, kind, boolean=_is_boolean(subject))
    if not _has(subject, told.prediction) and _decided(subject):
        positive = _positive(subject) or ""
        if positive not in _OPPOSITES:
            # Whatever else the truth is called, it is the class that a score below the threshold means.
            negative = literal(_negative(positive))
            return (
                f"CASE WHEN {text} = {literal(positive)} THEN {text} "
                f"WHEN {sql} IS NOT NULL THEN {negative} END"
            )
    return text


def _relevance(sql: str, kind: pa.DataType, name: str, labels: Fields) -> str:
    if _types.is_map(kind) or _types.is_struct(kind):
        return _map(name, labels)
    listed = f"{sql}::VARCHAR[]" if _types.is_list(kind) else f"[{sql}::VARCHAR]"
    pairs = f"list_transform(list_distinct({listed}), lambda item: {{'key': item, 'value': 1.0::DOUBLE}})"
    return f"CASE WHEN {sql} IS NOT NULL THEN map_from_entries({pairs}) END"


def _map(name: str, fields: Fields) -> str:
    """A map of text to numbers, of a map or of a struct."""
    place = _place(name)
    if _types.is_map(fields.get(name, pa.null())):
        return f"{place}::MAP(VARCHAR, DOUBLE)"
    inside = [
        each for each in fields if each.startswith(f"{name}.") and len(parts(each)) == len(parts(name)) + 1
    ]
    pairs = ", ".join(
        f"{{'key': {literal(parts(each)[-1])}, 'value': {_place(each)}::DOUBLE}}" for each in inside
    )
    present = f"list_filter([{pairs}], lambda pair: pair.value IS NOT NULL)"
    return f"CASE WHEN {place} IS NOT NULL THEN map_from_entries({present}) END"


def _number(sql: str, kind: pa.DataType) -> str:
    if _types.is_floating(kind):
        return f"CASE WHEN NOT isnan({sql}) THEN {sql}::DOUBLE END"
    if _types.is_integer(kind) or _types.is_boolean(kind) or _types.is_decimal(kind):
        return f"{sql}::DOUBLE"
    return f"TRY_CAST({sql} AS DOUBLE)"


def _class(sql: str, kind: pa.DataType, *, boolean: bool) -> str:
    """A class as text, the same for 1, 1.0 and, where the other side is true or false, true."""
    text = f"{sql}::VARCHAR"
    if _types.is_floating(kind):
        whole = f"{sql} = trunc({sql}) AND abs({sql}) < 1e15"
        text = f"CASE WHEN {whole} THEN {sql}::BIGINT::VARCHAR WHEN NOT isnan({sql}) THEN {text} END"
    if boolean and (_types.is_floating(kind) or _types.is_integer(kind)):
        return f"CASE WHEN {sql} = 1 THEN 'true' WHEN {sql} = 0 THEN 'false' ELSE {text} END"
    return text


def _is_boolean(subject: Subject) -> bool:
    told = subject.description
    kinds = (_kind(subject.fields, told.prediction), _kind(subject.labels or {}, told.label))
    return any(kind is not None and _types.is_boolean(kind) for kind in kinds)


def _positive(subject: Subject) -> str | None:
    positive = subject.description.positive_class
    return _BOOLEANS.get(positive, positive) if positive is not None and _is_boolean(subject) else positive


def _negative(positive: str) -> str:
    """What a class is called that is only known not to be the positive one."""
    return _OPPOSITES.get(positive, f"not {positive}")


def _decided(subject: Subject) -> bool:
    """Whether classes follow from scores and a threshold."""
    told = subject.description
    scored = _has(subject, told.score) or _has(subject, told.scores)
    is_classifier = told.task in {None, Task.CLASSIFICATION}
    return is_classifier and scored and None not in (told.threshold, told.positive_class)


def _single_type(subject: Subject) -> str:
    return "DOUBLE" if subject.description.task is Task.REGRESSION else "VARCHAR"


def _truth_type(subject: Subject) -> str:
    return "MAP(VARCHAR, DOUBLE)" if subject.description.task is Task.RANKING else _single_type(subject)


def _has(subject: Subject, name: str | None) -> bool:
    return name is not None and _kind(subject.fields, name) is not None


def _kind(fields: Fields, name: str | None) -> pa.DataType | None:
    """The type of a field that may be a struct, of which only what is inside is listed."""
    if name is None or name in fields:
        return fields.get(name or "")
    inside = [each for each in fields if each.startswith(f"{name}.")]
    return pa.struct([(each, fields[each]) for each in inside]) if inside else None


def _place(name: str) -> str:
    return ".".join(identifier(part) for part in parts(name))


def _table(schema: str, subject: Subject) -> str:
    return f"{LAKE}.{schema}.{identifier(subject.table)}"


def _text(value: str | None) -> str:
    return "NULL::VARCHAR" if value is None else f"{literal(value)}::VARCHAR"


_VIEWS: Final[Mapping[str, Callable[[Subject], str]]] = {
    "scored": _scored,
    "truths": _truths,
    "untimed": _untimed,
    "described": _described,
    "fields": _listed,
    "moving": _moving,
    "referenced": _referenced,
}
"""By kind: how pieces of the library name them."""
