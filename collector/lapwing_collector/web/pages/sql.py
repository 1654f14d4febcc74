"""SQL: a query, its rows and a chart of them, beside the tables and metrics that it may ask for."""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.engine import identifier
from lapwing_collector.web.pages.page import Page, View

_TABLES: Final = """
SELECT
    table_schema, table_name,
    list(column_name || chr(31) || data_type ORDER BY ordinal_position) AS columns
FROM information_schema.columns
WHERE table_schema IN ('main', 'predictions', 'labeled', 'labels')
GROUP BY table_schema, table_name
ORDER BY list_position(['predictions', 'labeled', 'labels', 'main'], table_schema), table_name
LIMIT 400
"""
_LONGEST_TYPE: Final = 60


def show(view: View) -> Mapping[str, Any]:
    """The query that the address has as `q`, and what there is to ask for."""
    tables = [_table(row) for row in view.rows(_TABLES)]
    first = next((each["name"] for each in tables), "models")
    return {
        "query": view.asked.get("q") or f"SELECT * FROM {first} ORDER BY 1 DESC LIMIT 100",
        "asked": "q" in view.asked,
        "tables": tables,
        "metrics": view.read("metrics"),
    }


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
