"""Finds out what a model is that metrics are called for: its description, and the fields that have come."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import duckdb
import pyarrow as pa

from lapwing_collector.engine import LAKE, METADATA, identifier
from lapwing_collector.errors import NotSeenYetError, QueryError
from lapwing_collector.model.description import ModelDescription, Source, Task, dotted, infer, merged, parts
from lapwing_collector.query.calls import Call
from lapwing_collector.query.library import views_behind
from lapwing_collector.query.mistakes import query_error
from lapwing_collector.query.views import FIELDS, Fields, Kept, Subject, Types, known_roles, views

_DECLARED: Final = """
    SELECT description FROM main.model_descriptions WHERE lower(table_name) = lower($table)
    ORDER BY described_at DESC LIMIT 1
"""  # the newest holds

_REFERENCES: Final = """
    SELECT reference, coalesce(has_rows, false), policy IS NOT NULL, role = 'drift'
    FROM main.reference_sets WHERE lower(table_name) = lower($table)
    QUALIFY row_number() OVER (PARTITION BY reference ORDER BY created_at DESC, version DESC) = 1
    ORDER BY ALL
"""  # of each name, the newest version

_REACH: Final = """
    SELECT max((policy->>'seconds')::BIGINT) FROM main.reference_sets WHERE lower(table_name) = lower($table)
"""

_BINNED: Final = """
    SELECT DISTINCT field, field GLOB $pattern FROM main.binnings
    WHERE lower(table_name) = lower($table) ORDER BY ALL
"""

_SEGMENTS: Final = """
    SELECT 1 FROM main.profiles
    WHERE lower(table_name) = lower($table) AND (segment = $segment OR starts_with(segment, $segment || '='))
    LIMIT 1
"""

_UNTIMED: Final = f"""
    SELECT 1
    FROM {METADATA}.ducklake_table AS t
    JOIN {METADATA}.ducklake_schema AS s
        ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
    JOIN {METADATA}.ducklake_column AS k
        ON k.table_id = t.table_id AND k.column_name = 'prediction_time' AND k.parent_column IS NULL
    JOIN {METADATA}.ducklake_data_file AS f
        ON f.table_id = t.table_id AND f.end_snapshot IS NULL
    LEFT JOIN {METADATA}.ducklake_file_column_stats AS c
        ON c.data_file_id = f.data_file_id AND c.column_id = k.column_id
    WHERE s.schema_name = 'labels' AND lower(t.table_name) = lower($table) AND t.end_snapshot IS NULL
        AND k.end_snapshot IS NULL AND c.null_count IS DISTINCT FROM 0
    LIMIT 1
"""


def make_views(connection: duckdb.DuckDBPyConnection, views: Mapping[str, str]) -> None:
    """Make views.

    Args:
        connection: What they are made for; they last as long as its transaction, or itself.
        views: The SELECT behind each, by name.
    """
    made = [f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS {sql}" for name, sql in views.items()]
    if made:
        connection.execute(";".join(made))


def views_of(connection: duckdb.DuckDBPyConnection, calls: Sequence[Call]) -> dict[str, str]:
    """The views that metrics read, for every model that they are called for: the SELECT behind each, by name.

    Raises:
        NotSeenYetError: Nothing has come of a model or of what has to play a role.
        QueryError: Nobody told what plays a role that a metric needs, or there is no reference of a name.
    """
    subjects = {model: subject_of(connection, model) for call in calls for model in call.models}
    apart = {model for call in calls if FIELDS in call.metric.needs for model in call.models}
    kinds: dict[str, set[str]] = {model: set() for model in subjects}
    for call in calls:
        for model in call.models:
            kinds[model] |= views_behind(call.metric.name)
            _check_roles(call, subjects[model])
            _check_fields(call, subjects[model])
            _check_reference(connection, call, model)
            _check_segments(call, subjects[model])
            _check_bins(connection, call, subjects[model])
    found: dict[str, str] = {}
    for model, subject in subjects.items():
        kept = _kept(connection, subject.table) if "referenced" in kinds[model] else None
        reach_s = _reach_s(connection, subject.table) if "moving" in kinds[model] else None
        told = replace(subject, apart=model in apart, kept=kept, reach_s=reach_s)
        found |= views(told, kinds[model])
    return found


def subject_of(connection: duckdb.DuckDBPyConnection, table: str) -> Subject:
    """What is known of the model whose tables are called `table`.

    Raises:
        NotSeenYetError: Nothing has come of it.
    """
    fields = _fields(connection, "predictions_all", table)
    if fields is None:
        raise _unknown(connection, table)
    labels = _fields(connection, "labels", table)
    declared = _declared(connection, table)
    inferred = infer(fields, labels or {}, declared)
    description = merged({Source.SDK: declared, Source.INFERRED: inferred})
    return Subject(table, description, fields, labels, untimed=_has_untimed(connection, table))


def _fields(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> Fields | None:
    try:
        rows = connection.execute(f"SELECT * FROM {LAKE}.{schema}.{identifier(table)} LIMIT 0")
    except duckdb.CatalogException:
        return None
    return dict(_leaves((), rows.to_arrow_table().schema))


def _kept(connection: duckdb.DuckDBPyConnection, table: str) -> Kept:
    """What columns the rows of a model's references have, and what they are to look like."""
    labels = _types(connection, "labels", table) or {}
    return Kept(
        columns=_types(connection, "reference_rows", table),
        predictions=_types(connection, "predictions_all", table) or {},
        label=labels.get("label"),
    )


def _reach_s(connection: duckdb.DuckDBPyConnection, table: str) -> int | None:
    """How far back the references of a model reach that are policies; None where none is."""
    try:
        ((seconds,),) = connection.execute(_REACH, {"table": table}).fetchall()
    except duckdb.CatalogException:
        return None  # these tables are in no lake
    return None if seconds is None else int(seconds)


def _types(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> Types | None:
    try:
        found = connection.sql(f"SELECT * FROM {LAKE}.{schema}.{identifier(table)} LIMIT 0")
    except duckdb.CatalogException:
        return None
    return dict(zip(found.columns, found.types, strict=True))


def _leaves(path: tuple[str, ...], fields: Sequence[pa.Field]) -> Iterator[tuple[str, pa.DataType]]:
    for each in fields:
        if pa.types.is_struct(each.type):
            yield from _leaves(
                (*path, each.name), [each.type.field(at) for at in range(each.type.num_fields)]
            )
        else:
            yield dotted((*path, each.name)), each.type


def _declared(connection: duckdb.DuckDBPyConnection, table: str) -> ModelDescription:
    try:
        row = connection.execute(_DECLARED, {"table": table}).fetchone()
    except duckdb.CatalogException:
        return ModelDescription()
    return ModelDescription() if row is None else ModelDescription.from_json(row[0])


def _has_untimed(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether some file of labels may have rows without the prediction's time, by the catalog's statistics.

    DuckDB would open every file to find out.
    """
    try:
        row = connection.execute(_UNTIMED, {"table": table}).fetchone()
    except duckdb.CatalogException:
        return True  # these tables are in no lake
    return row is not None


_SCHEMAS: Final = frozenset({"predictions", "predictions_all", "labels", "labeled"})


def _unknown(connection: duckdb.DuckDBPyConnection, table: str) -> QueryError:
    schema, _, name = table.partition(".")
    if schema.lower() in _SCHEMAS and name:
        return NotSeenYetError(
            f"no prediction of a model {table!r} has come yet; a metric names the model without a schema: "
            f"{name!r}",
            candidates=(name,),
        )
    sql = f"SELECT 1 FROM {LAKE}.predictions_all.{identifier(table)}"
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        meant = query_error(error, sql).candidates
    else:  # it came this moment
        meant = ()
    near = f"; did you mean {' or '.join(meant)}?" if meant else "; `lapwing models` lists those that have"
    return NotSeenYetError(f"no prediction of a model {table!r} has come yet{near}", candidates=meant)


_ROLES: Final = {
    "prediction": "the predicted class or number (`prediction: output.value`)",
    "score": "the probability of the positive class (`score: output.score`, and `positive_class`)",
    "probabilities": "the probability of the positive class (`score: output.score`, and `positive_class`) "
    "or of each class (`scores: output.scores`)",
    "scores": "a probability per class, or a score per item (`scores: output.scores`)",
    "items": "the list of ranked items (`items: output.items`)",
    "truth": "the field of the label that holds the truth (`label: label.value`)",
    "positive_class": "which class is the positive one (`positive_class: churned`)",
    "threshold": "the score from which on the positive class is predicted (`threshold: 0.5`)",
    "label_delay": "when labels can be expected (`label_delay: 7d`)",
}
"""What plays a role, and how it is declared."""
_DECLARED_AS: Final = {"truth": "label", "probabilities": "scores"}
_TASKS: Final = frozenset(Task)


def _check_roles(call: Call, subject: Subject) -> None:
    known = known_roles(subject)
    role = next((role for role in call.metric.needs if role not in known), None)
    if role is None:
        return
    described = subject.description
    show = f"`lapwing models show {subject.table}` shows what is known and where from"
    if role in _TASKS:
        told = (
            f"that of {subject.table} is {described.task}" if described.task else "nothing tells which it is"
        )
        raise QueryError(
            f"{call.metric.name} is for models whose task is {role}, and {told}: "
            f"`task: {role}` in models/*.yaml declares it; {show}"
        )
    declared = getattr(described, _DECLARED_AS.get(role, role))
    if declared is not None:
        raise NotSeenYetError(
            f"{call.metric.name} needs {_ROLES[role]} of {subject.table}: that is {declared}, "
            f"of which nothing has come yet; {show}"
        )
    raise QueryError(
        f"{call.metric.name} needs {_ROLES[role]} of {subject.table}, and nothing tells it: "
        f"declare it in models/*.yaml; {show}"
    )


def _check_fields(call: Call, subject: Subject) -> None:
    unknown = next((name for name in call.fields if name not in subject.fields), None)
    if unknown is not None:
        near = tuple(difflib.get_close_matches(unknown, subject.fields, n=3))
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotSeenYetError(
            f"no prediction of {subject.table} has brought {unknown}{meant}", candidates=near
        )


@dataclass(frozen=True, slots=True)
class _Reference:
    """The newest version of a reference."""

    has_rows: bool
    chooses: bool
    drifts: bool


def _check_reference(connection: duckdb.DuckDBPyConnection, call: Call, table: str) -> None:
    parameters = {parameter.name for parameter in call.metric.parameters}
    if "reference" not in parameters:
        return
    known = _references(connection, table)
    reference = call.texts.get("reference")
    if reference is not None and reference not in known:
        near = tuple(difflib.get_close_matches(reference, known, n=3))
        meant = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"it has {', '.join(known)}"
            if known
            else "`lapwing reference set` makes one"
        )
        raise QueryError(f"{table} has no reference {reference!r}; {meant}", candidates=near)
    if call.metric.reads_references and not call.given & {"reference_since", "reference_until"}:
        _check_rows(call, table, known, reference)


def _check_rows(call: Call, table: str, known: Mapping[str, _Reference], reference: str | None) -> None:
    """Methods over values need values: a reference that has rows, or a span."""
    span = "or name a span: reference_since := …, reference_until := …"
    if reference is None:
        if "reference" not in call.given and not any(
            each.has_rows and each.drifts for each in known.values()
        ):
            raise QueryError(
                f"{call.metric.name} needs something to compare with, and {table} has no reference of the "
                f"role drift with rows: `lapwing reference set` makes one; {span}"
            )
    elif known[reference].chooses:
        raise QueryError(
            f"{call.metric.name} looks at values, and the reference {reference!r} of {table} keeps none: "
            f"it is a choice of profiles; {span}"
        )
    elif not known[reference].has_rows:
        raise QueryError(
            f"{call.metric.name} looks at values, and no rows are kept of the reference {reference!r} of "
            f"{table}: `lapwing reference set {table} {reference} …` keeps those of a new version; {span}"
        )


def _references(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, _Reference]:
    try:
        rows = connection.execute(_REFERENCES, {"table": table}).fetchall()
    except duckdb.CatalogException:
        return {}
    return {name: _Reference(*told) for name, *told in rows}


def _check_segments(call: Call, subject: Subject) -> None:
    column = call.segments
    if column is not None and column in subject.fields:
        raise QueryError(
            f"{call.metric.name}: segments is a STRUCT of names and columns, and {column} is one column: "
            f"segments := {{'{parts(column)[-1]}': {column}}}"
        )


def _check_bins(connection: duckdb.DuckDBPyConnection, call: Call, subject: Subject) -> None:
    """Metrics over counts in bins would bring no rows, and no reason, for what has none."""
    if not call.metric.reads_bins:
        return
    table, pattern = subject.table, call.texts.get("fields", "*")
    try:
        binned = dict(connection.execute(_BINNED, {"table": table, "pattern": pattern}).fetchall())
    except duckdb.CatalogException:
        return  # these tables are in no lake
    if not binned:
        raise NotSeenYetError(
            f"no field of {table} has bins yet, in which values are counted to tell drift: they are made "
            "once 10,000 rows have come, or at once of a reference (`lapwing reference set`)"
        )
    if not any(binned.values()):
        known = sorted({*binned, *subject.fields})
        last = {name: name.rpartition(".")[2] for name in known}
        near = tuple(
            [name for name in known if last[name] == pattern][:3]
            or difflib.get_close_matches(pattern, known, n=3)
        )
        if pattern in subject.fields:
            raise NotSeenYetError(f"{pattern} of {table} has no bins yet, as not enough rows have brought it")
        meant = f"; did you mean {' or '.join(near)}?" if near else f"; {', '.join(binned)} do"
        raise NotSeenYetError(
            f"no field of {table} that has bins is called {pattern}{meant}", candidates=near
        )
    segment = call.texts.get("segment", "")
    if segment and not connection.execute(_SEGMENTS, {"table": table, "segment": segment}).fetchone():
        raise NotSeenYetError(
            f"no profile of {table} is kept by {segment} yet; `segments` in models/*.yaml names such fields"
        )
