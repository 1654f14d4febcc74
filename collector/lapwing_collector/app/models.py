"""What there is to say of the models: which there are, what their fields became, and what found no column."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.app.asking import Asking, ask
from lapwing_collector.engine import identifier
from lapwing_collector.errors import ConfigError, QueryError
from lapwing_collector.lake import ROOTS, sql_type

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

_FIELDS: Final = pa.schema([("field", pa.string()), ("type", pa.string()), ("rows_in_extra", pa.int64())])


def list_models(file: Path | None, flags: Mapping[str, Any]) -> pa.Table:
    """Each model with its table, its versions and the event time of its first row.

    Raises:
        LapwingError: There is no lake, or it cannot be asked.
    """
    return ask(file, flags, _LIST)


def describe_model(file: Path | None, flags: Mapping[str, Any], model: str) -> pa.Table:
    """Each field of a model: its name, its type, and in how many rows its value is in `extra` instead.

    A field whose every value went to `extra` has no type.

    Raises:
        ConfigError: There is no such model.
        LapwingError: There is no lake, or it cannot be asked.
    """
    with Asking.over(file, flags) as asking:

        def rows_of(sql: str, **parameters: Any) -> pa.Table:
            with asking.answer(sql, parameters, whole=True) as answer:
                return answer.table()

        names = rows_of("SELECT table_name FROM models WHERE model = $model", model=model)
        if not names.num_rows:
            raise ConfigError(f"there is no model {model!r}; `lapwing models` lists those there are")
        table = identifier(names.column(0)[0].as_py())
        types: dict[str, str | None] = {}
        extra: dict[str, int] = {}
        for schema in ("predictions_all", "labels"):
            try:
                columns = rows_of(f"SELECT * FROM {schema}.{table} LIMIT 0").schema
            except QueryError:
                continue  # labels without predictions, or the other way round
            for column in columns:
                if column.name in ROOTS:
                    types |= dict(_leaves(column.name, column.type))
            kept = rows_of(
                "SELECT field, count(*) FROM "
                f"(SELECT unnest(json_keys(extra)) AS field FROM {schema}.{table}) GROUP BY field"
            )
            extra |= dict(zip(*(column.to_pylist() for column in kept.columns), strict=True))
    fields = [*types, *sorted(field for field in extra if field not in types)]
    return pa.Table.from_pylist(
        [
            {"field": field, "type": types.get(field), "rows_in_extra": extra.get(field, 0)}
            for field in fields
        ],
        schema=_FIELDS,
    )


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, str]]:
    if pa.types.is_struct(kind):
        for inner in kind:
            yield from _leaves(f"{path}.{inner.name}", inner.type)
    else:
        yield path, sql_type(kind)
