"""What there is to say of the models: which there are, what is known of them, what became of their fields."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pyarrow as pa

from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.engine import identifier
from lapwing_collector.errors import NotSeenYetError, QueryError, UnknownModelError
from lapwing_collector.lake import ROOTS, sql_type
from lapwing_collector.model.description import (
    Feature,
    ModelDescription,
    Source,
    dotted,
    infer,
    merged,
)

_LIST: Final = """
SELECT
    model,
    table_name,
    count(DISTINCT version) AS versions,
    max_by(version, first_seen) AS newest_version,
    min(first_seen) AS first_seen
FROM models
GROUP BY model, table_name
ORDER BY model
"""

_TASKS: Final = """
SELECT model, max_by(description->>'task', described_at) AS task FROM model_descriptions GROUP BY model
"""

_DESCRIBED: Final = """
SELECT description::VARCHAR AS description, described_at FROM model_descriptions
WHERE model = $model ORDER BY described_at DESC LIMIT 1
"""

_COUNTED: Final = """
SELECT s.field
FROM profile_segments AS s
JOIN binnings AS b ON b.table_name = s.table_name AND b.field = s.field AND b.kind = 'category'
WHERE s.table_name = $table
"""

_REFERENCES: Final = """
SELECT model, reference, version, role, source, policy::VARCHAR AS policy, sample_count, has_rows, created_at
FROM reference_sets
WHERE $model IS NULL OR model = $model
ORDER BY ALL
"""


_LOOK_UP_S: Final = 30.0


class RowsOf(Protocol):
    """Answers a query with all its rows."""

    def __call__(self, sql: str, **parameters: Any) -> pa.Table:
        """Answer.

        Raises:
            LapwingError: The lake cannot be asked.
        """


def asking_rows(asking: Asking) -> RowsOf:
    """Ask over the lake of a data directory."""

    def rows_of(sql: str, **parameters: Any) -> pa.Table:
        with asking.answer(sql, parameters, whole=True) as answer:
            return answer.table()

    return rows_of


def list_models(rows_of: RowsOf) -> pa.Table:
    """Each model with its table, its task, its versions and the event time of its first row.

    Raises:
        LapwingError: The lake cannot be asked.
    """
    rows = rows_of(_LIST)
    tasks = dict(
        zip(*(column.to_pylist() for column in _described_rows(rows_of, _TASKS).columns), strict=True)
    )
    told = [tasks.get(model) for model in rows.column("model").to_pylist()]
    return rows.add_column(2, "task", pa.array(told, pa.string()))


def list_references(rows_of: RowsOf, model: str | None) -> pa.Table:
    """The references of every model, or of one, each version by itself.

    Raises:
        LapwingError: The lake cannot be asked.
    """
    return rows_of(_REFERENCES, model=model)


def jsonable(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows for JSON, their times as ISO 8601 has them."""
    return [
        {name: _iso(value) if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows.to_pylist()
    ]


def describe_model(rows_of: RowsOf, model: str) -> dict[str, Any]:
    """What is known of a model: its description, where each value comes from, and its fields, for JSON.

    A field whose every value went to `extra` has no type.

    Raises:
        UnknownModelError: There is no such model.
        LapwingError: The lake cannot be asked.
    """
    names = rows_of("SELECT table_name, version, first_seen FROM models WHERE model = $model", model=model)
    if not names.num_rows:
        raise UnknownModelError(f"there is no model {model!r}; `lapwing models` lists those there are")
    table = names.column("table_name")[0].as_py()
    types: dict[str, dict[str, pa.DataType]] = {"predictions_all": {}, "labels": {}}
    extra: dict[str, int] = {}
    for schema, found in types.items():
        source = f"{schema}.{identifier(table)}"
        try:
            columns = rows_of(f"SELECT * FROM {source} LIMIT 0").schema
        except QueryError:
            continue  # labels without predictions, or the other way round
        for column in columns:
            if column.name in ROOTS:
                found |= dict(_leaves((column.name,), column.type))
        kept = rows_of(
            "SELECT field, count(*) FROM "
            f"(SELECT unnest(json_keys(extra)) AS field FROM {source}) GROUP BY field"
        )
        extra |= dict(zip(*(column.to_pylist() for column in kept.columns), strict=True))
    at, described = _described(rows_of, model, types)
    return {
        "model": model,
        "table_name": table,
        "versions": sorted(filter(None, names.column("version").to_pylist())),
        "first_seen": _iso(min(names.column("first_seen").to_pylist())),
        "described_at": _iso(at),
        **described.as_json(),
        "segments_not_counted": _uncounted(rows_of, table, described),
        "fields": _fields(types["predictions_all"] | types["labels"], extra, described),
    }


def _uncounted(rows_of: RowsOf, table: str, described: ModelDescription) -> list[str]:
    """Declared segments by which no counts are kept: their fields have no categories yet."""
    if not described.segments:
        return []
    counted = set(_described_rows(rows_of, _COUNTED, table=table).column("field").to_pylist())
    return [name for name in described.segments if name not in counted]


def _described(
    rows_of: RowsOf, model: str, types: Mapping[str, Mapping[str, pa.DataType]]
) -> tuple[datetime | None, ModelDescription]:
    """The newest description that the lake has, with its time; else what types tell."""
    rows = _described_rows(rows_of, _DESCRIBED, model=model)
    if rows.num_rows:
        text, at = (column[0].as_py() for column in rows.columns)
        return at, ModelDescription.from_json(text)
    return None, merged({Source.INFERRED: infer(types["predictions_all"], types["labels"])})


def _described_rows(rows_of: RowsOf, sql: str, **parameters: Any) -> pa.Table:
    """The rows of a query about descriptions; none where no collector that makes any has run yet."""
    try:
        return rows_of(sql, **parameters)
    except NotSeenYetError:
        return pa.table({"model": [], "task": [], "field": []})


def _fields(
    types: Mapping[str, pa.DataType], extra: Mapping[str, int], described: ModelDescription
) -> list[dict[str, Any]]:
    """Each field: its type, what it is as a feature, and how many rows have its value in `extra`."""
    known = sorted(types, key=lambda name: ROOTS.index(name.split(".")[0]))  # in order of appearance within
    names = [*known, *sorted(field for field in extra if field not in types)]
    features, sources = described.features, described.sources
    return [
        {
            "field": name,
            "type": sql_type(types[name]) if name in types else None,
            "feature": features.get(name, Feature()).type,
            "feature_source": sources.get(f"features.{name}.type"),
            "importance": features.get(name, Feature()).importance,
            "importance_source": sources.get(f"features.{name}.importance"),
            "rows_in_extra": extra.get(name, 0),
        }
        for name in names
    ]


def _leaves(path: tuple[str, ...], kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for inner in kind:
            yield from _leaves((*path, inner.name), inner.type)
    else:
        yield dotted(path), kind


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def models_in(run_query: Callable[[str, Mapping[str, Any], float], pa.Table]) -> dict[str, str]:
    """The models of which something has come: the name of each, and of its tables.

    Args:
        run_query: Answers SQL with parameters within seconds.

    Raises:
        QueryError: The lake does not answer.
    """
    rows = run_query("SELECT DISTINCT model, table_name FROM models", {}, _LOOK_UP_S).to_pylist()
    return {row["model"]: row["table_name"] for row in rows}
