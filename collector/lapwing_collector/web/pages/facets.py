"""Facets of predictions: how many rows there are, and the most frequent values of some fields among them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lapwing_collector.engine import identifier
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.web.fields import expression_of
from lapwing_collector.web.pages.narrowing import Column, columns_of, narrowing_of, schema_of
from lapwing_collector.web.pages.newest import Newest
from lapwing_collector.web.pages.page import Page, View

_FACETS: Final = 8
_FACET_VALUES: Final = 8
_MOST_ROWS: Final = 300_000
"""Rows that are counted while somebody waits; of more, the newest."""


def show(view: View) -> Mapping[str, Any]:
    """How many rows there are, and the most frequent values of some fields among them."""
    table = view.table()
    described = view.description()
    schema = schema_of(view, table)
    columns = columns_of(schema)
    narrowing = narrowing_of(view.asked, columns)
    fields = facets_of(described, columns)
    condition, bound = narrowing.where()
    kept = ", ".join(f"({expression_of(each)})::VARCHAR AS f{number}" for number, each in enumerate(fields))
    each_facet = "".join(
        f"\nUNION ALL BY NAME (SELECT {number} AS place, f{number} AS value, count(*) AS n FROM kept "
        f"GROUP BY ALL ORDER BY n DESC, value LIMIT {_FACET_VALUES + 1})"
        for number in range(len(fields))
    )
    newest = Newest.of(view, table, narrowing.stage)
    begin = newest.begin_of(_MOST_ROWS) if newest.rows > _MOST_ROWS else view.span.since
    found = view.rows(
        f"WITH kept AS MATERIALIZED (SELECT {kept or '1'} FROM predictions_all.{identifier(table)}\n"
        f"WHERE time >= $from AND time < $to AND {condition})\n"
        f"SELECT -1 AS place, NULL::VARCHAR AS value, count(*) AS n FROM kept{each_facet}",
        **bound,
        **{"from": begin, "to": view.span.until},
    )
    total = next(row["n"] for row in found if row["place"] == -1)
    facets = []
    for number, name in enumerate(fields):
        values = [row for row in found if row["place"] == number]
        distinct = [row for row in values if row["value"] is not None]
        if len(values) > 1 and len(distinct) > 0 and (distinct[0]["n"] > 1 or total <= _FACET_VALUES):
            facets.append(
                {"field": name, "values": values[:_FACET_VALUES], "more": len(values) > _FACET_VALUES}
            )
    return {
        "total": total,
        "of_newest": None if begin == view.span.since else begin,
        "in_all": newest.rows if begin != view.span.since and not narrowing.filters else None,
        "facets": facets,
        "chosen": {each.field: each for each in narrowing.filters},
    }


def facets_of(described: ModelDescription, columns: Sequence[Column]) -> list[str]:
    """Fields whose most frequent values say most: versions, segments, classes, then categories."""
    known = {column.field: column for column in columns}
    wanted = [
        "version",
        "error_type",
        *(described.segments or ()),
        described.prediction,
        *(name for name, feature in described.features.items() if feature.type == "category"),
        *(column.field for column in columns if column.kind == "bool"),
        *(column.field for column in columns if column.kind == "text" and "." in column.field),
    ]
    chosen = [
        name for name in dict.fromkeys(wanted) if name and (name in known or str(name).startswith("tags."))
    ]
    numbers = {name for name in chosen if name in known and known[name].kind == "number"}
    return [name for name in chosen if name not in numbers or name != described.prediction][:_FACETS]


PAGE: Final = Page(path="/model/rows/facets", name="facets", title="Facets", show=show, of_model=True)
