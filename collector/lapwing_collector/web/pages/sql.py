"""SQL: a query, its rows and a chart of them, beside the tables and metrics that it may ask for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lapwing_collector.engine import identifier
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.sources import KnownModel

_MOST: Final = 40
"""Models whose tables are listed at once."""

_TABLES: Final = """
SELECT
    table_schema, table_name,
    list(column_name || chr(31) || data_type ORDER BY ordinal_position) AS columns
FROM information_schema.columns
WHERE table_schema = 'main'
    OR (table_schema IN ('predictions', 'labeled', 'labels') AND list_contains($tables, table_name))
GROUP BY table_schema, table_name
ORDER BY list_position(['predictions', 'labeled', 'labels', 'main'], table_schema), table_name
"""
"""Of large lakes, DuckDB is shown only tables that a query names (`engine/lens.py`): this names them."""
_LONGEST_TYPE: Final = 60


def show(view: View) -> Mapping[str, Any]:
    """The query that the address has as `q`, and what there is to ask for."""
    known = list(view.models.all().values())
    found = _found(view, known)
    tables = [_table(row) for row in view.rows(_TABLES, tables=[each.table for each in found[:_MOST]])]
    first = next((each["name"] for each in tables), "models")
    return {
        "query": view.asked.get("q") or f"SELECT * FROM {first} ORDER BY 1 DESC LIMIT 100",
        "asked": bool(view.asked.get("q")),
        "tables": tables,
        "find": view.asked.get("find", ""),
        "known": len(known),
        "more": max(0, len(found) - _MOST),
        "metrics": view.read("metrics"),
    }


def _found(view: View, known: Sequence[KnownModel]) -> list[KnownModel]:
    """The models whose tables are looked for, by a part of their names; all if nothing is."""
    wanted = view.asked.get("find", "").strip().lower()
    return [each for each in known if wanted in each.name.lower() or wanted in each.table.lower()]


def _table(row: Mapping[str, Any]) -> dict[str, Any]:
    parts = [row["table_schema"]] if row["table_schema"] != "main" else []
    name = ".".join(map(_plain, [*parts, row["table_name"]]))
    return {"name": name, "columns": [_column(each) for each in row["columns"]]}


def _plain(name: str) -> str:
    """A name, quoted where it has to be."""
    return name if name.isidentifier() and name.islower() else identifier(name)


def _column(told: str) -> dict[str, str]:
    name, _, kind = told.partition("\x1f")
    return {"name": name, "type": kind if len(kind) <= _LONGEST_TYPE else f"{kind[:_LONGEST_TYPE]}…"}


PAGE: Final = Page(path="/sql", name="sql", title="SQL", nav="SQL", show=show)
