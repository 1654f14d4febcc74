"""What notebooks show: rows as a table or a chart, models at a glance; all of it escaped."""

import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import altair as alt

Ask = Callable[..., Iterable[Mapping[str, Any]]]
"""Answers one SELECT with parameters, a mapping per row."""

MOST_ROWS: Final = 20
"""Rows of a table in a notebook."""

_LONGEST: Final = 200

_LATELY: Final = """
SELECT
    version,
    count(*) AS predictions,
    count(error_type) AS errors,
    count(label) AS labels,
    min(time) AS since,
    max(time) AS until
FROM labeled.{table}
WHERE time >= (SELECT max(time) FROM predictions.{table}) - INTERVAL 7 DAYS
GROUP BY version
ORDER BY max(time) DESC
"""
_DESCRIBED: Final = """
SELECT description::VARCHAR AS description FROM model_descriptions
WHERE model = $model ORDER BY described_at DESC LIMIT 1
"""


class Model:
    """A model at a glance: `connect(…).model(name)` makes it. In a notebook, it is shown as a table.

    Attributes:
        name: The model's.
        table: What its tables are called in SQL.
        description: What is known of it: task, roles, features.
        versions: Of its last seven days: `version`, `predictions`, `errors`, `labels`, `since`, `until`.
    """

    def __init__(
        self, name: str, table: str, description: Mapping[str, Any], versions: Sequence[Mapping[str, Any]]
    ) -> None:
        """Use `Connection.model` instead."""
        self.name = name
        self.table = table
        self.description = description
        self.versions = versions

    @classmethod
    def of(cls, ask: Ask, name: str) -> "Model | None":
        """Ask a lake for a model; None where it has no such."""
        found = list(ask("SELECT table_name FROM models WHERE model = $model LIMIT 1", model=name))
        if not found:
            return None
        table = str(found[0]["table_name"])
        quoted = '"' + table.replace('"', '""') + '"'
        described = [json.loads(row["description"]) for row in ask(_DESCRIBED, model=name)]
        return cls(name, table, described[0] if described else {}, list(ask(_LATELY.format(table=quoted))))

    def __repr__(self) -> str:
        predictions = sum(row["predictions"] for row in self.versions)
        return f"<model {self.name}: {predictions:,} predictions in its last seven days>"

    def _repr_html_(self) -> str:
        keys = ("task", "prediction", "score", "label", "positive_class", "threshold")
        told = {key: self.description[key] for key in keys if self.description.get(key) is not None}
        facts = ", ".join(f"{_cell(key)}: {_cell(value)}" for key, value in told.items())
        columns = ("version", "predictions", "errors", "labels", "since", "until")
        return f"<h4>{_cell(self.name)}</h4><p>{facts}</p>{table_html(columns, self.versions)}"


def table_html(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a table."""
    head = "".join(f"<th>{_cell(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row[name])}</td>' for name in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def chart(
    rows: Any, x: str, y: str, color: str | None, kind: Literal["line", "bar", "point", "area"]
) -> "alt.Chart":
    """A chart of the columns of an Arrow table.

    Raises:
        ModuleNotFoundError: Altair is missing; the message says what to install.
        ValueError: There is no such column.
    """
    try:
        import altair as alt  # noqa: PLC0415  # heavy, and only some have it
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"chart() needs Altair: pip install 'lapwing[notebook]' ({missing})", name=missing.name
        ) from missing
    wanted = [x, y] if color is None else [x, y, color]
    unknown = next((name for name in wanted if name not in rows.column_names), None)
    if unknown is not None:
        raise ValueError(f"there is no column {unknown}; there is {', '.join(rows.column_names)}")
    # Names hold what they like; as fields, Altair would read `:`, `.` and brackets in them as its own.
    names = {name: f"column{at}" for at, name in enumerate(dict.fromkeys(wanted))}
    plain = rows.select(list(names)).rename_columns(list(names.values()))
    encoded: dict[str, Any] = {
        "x": alt.X(field=names[x], type=_kind(plain, names[x]), title=x),
        "y": alt.Y(field=names[y], type=_kind(plain, names[y]), title=y),
    }
    if color is not None:
        encoded["color"] = alt.Color(field=names[color], type="nominal", title=color)
    drawn = alt.Chart(plain)
    marked: alt.Chart = getattr(drawn, f"mark_{kind}")().encode(**encoded)
    return marked


def _kind(rows: Any, name: str) -> Literal["temporal", "quantitative", "nominal"]:
    text = str(rows.schema.field(name).type)
    if text.startswith(("timestamp", "date")):
        return "temporal"
    numbers = ("int", "uint", "double", "float", "halffloat", "decimal")
    return "quantitative" if text.startswith(numbers) else "nominal"


def _cell(value: Any) -> str:
    """A value as text that no page obeys."""
    if value is None:
        return ""
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return html.escape(
        "".join(each if each.isprintable() else repr(each)[1:-1] for each in short), quote=True
    )
