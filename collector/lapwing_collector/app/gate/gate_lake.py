"""What a gate reads of a lake that there is: a model, what it is compared with, rows of a window."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import lapwing
from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.app.gate.mounting import Reference, binnings_in
from lapwing_collector.app.gate.tabled import Known
from lapwing_collector.config import Settings, parse_duration
from lapwing_collector.engine import identifier
from lapwing_collector.errors import (
    ConfigError,
    NotSeenYetError,
    QueryError,
    QueryLimitError,
    UnknownModelError,
)
from lapwing_collector.metrics import columns_of, file_places
from lapwing_collector.model.description import ModelDescription, parts
from lapwing_collector.model.profiles import Binning
from lapwing_collector.rules import parse_moment

Ask = Callable[[str, Mapping[str, Any]], pa.Table]
"""Answers one SELECT with all its rows."""

Span = tuple[datetime, datetime]

PRODUCTION: Final = "production"
STAGES: Final = (PRODUCTION, "shadow", "candidate")
REFERENCE: Final = "reference"

_SHORTEST: Final = timedelta(seconds=1)
"""A window whose rows are too many for one answer is halved, but not below this."""

MOST_ROWS: Final = 5_000_000

_PLACE: Final = re.compile(rf"({'|'.join((*STAGES, REFERENCE))}):(.+)")

_OWN_LABELS: Final = """
    LEFT JOIN (
        SELECT prediction_id, arg_max(label, time) AS label, max(time) AS label_time
        FROM labels.$table WHERE label IS NOT NULL AND prediction_id IS NOT NULL GROUP BY prediction_id
    ) AS own ON own.prediction_id = p.prediction_id
"""
_STAGED: Final = """
SELECT p.*, coalesce($own_label asked.label) AS label, coalesce($own_time asked.label_time) AS label_time
FROM predictions_all.$table AS p
LEFT JOIN (
    SELECT request_id, arg_max(label, label_time) AS label, max(label_time) AS label_time
    FROM labeled.$table
    WHERE request_id IS NOT NULL AND label IS NOT NULL
        AND time >= $$since - INTERVAL 1 HOUR AND time < $$until + INTERVAL 1 HOUR
    GROUP BY request_id
) AS asked ON asked.request_id = p.request_id
$own_labels
WHERE p.stage = $$stage AND p.time >= $$since AND p.time < $$until
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a lake knows of a model.

    Attributes:
        ask: Asks it.
        table: What the model's tables are called.
        description: What is known of the model.
        known: Types of its fields.
        labels: Types of the fields of its labels.
        binnings: The bins of its fields.
    """

    ask: Ask
    table: str
    description: ModelDescription = field(default_factory=ModelDescription)
    known: Known = field(default_factory=dict)
    labels: Known = field(default_factory=dict)
    binnings: Sequence[Binning] = ()


@contextmanager
def opened(settings: Settings, where: str | None, token: str | None) -> Iterator[Ask]:
    """Ask a collector at an address, or the lake of a data directory, that of the settings by default.

    Raises:
        LapwingError: There is none.
    """
    if where is not None and where.startswith(("http://", "https://")):
        with lapwing.connect(where, token) as connection:
            yield lambda sql, parameters: _over_http(connection, sql, parameters)
        return
    asking = Asking(settings) if where is None else Asking.over_folder(Path(where))
    with asking:
        yield lambda sql, parameters: asking.run(sql, parameters, 0)


def seen(ask: Ask, model: str) -> Seen | None:
    """What a lake knows of a model; None where it has no such.

    Raises:
        LapwingError: It cannot be asked.
    """
    named = ask("SELECT table_name FROM models WHERE model = $model LIMIT 1", {"model": model})
    if not named.num_rows:
        return None
    table = named.column(0)[0].as_py()
    known = _fields(ask, "predictions_all", table, {"inputs", "output", "descriptors"})
    labels = _fields(ask, "labels", table, {"label"})
    described = (
        ask(
            "SELECT description::VARCHAR AS text FROM model_descriptions WHERE model = $model "
            "ORDER BY described_at DESC LIMIT 1",
            {"model": model},
        )
        .column(0)
        .to_pylist()
    )
    description = ModelDescription.from_json(described[0]) if described else ModelDescription()
    binnings = ask("SELECT * FROM binnings WHERE table_name = $table", {"table": table})
    return Seen(ask, table, description, known, labels, binnings_in(binnings))


def references_of(found: Seen, wanted: str | None, named: Collection[str], at: datetime) -> list[Reference]:
    """The newest version of each reference of a model; rows of those that are asked for.

    Args:
        found: The model.
        wanted: The one that drift is to be compared with; the newest of the role drift if None.
        named: Others whose rows may be asked for.
        at: The time of the evaluation.

    Raises:
        ConfigError: There is no reference `wanted`.
    """
    of_table = {"table": found.table}
    sets = found.ask(
        "SELECT * FROM reference_sets WHERE table_name = $table "
        "QUALIFY row_number() OVER (PARTITION BY reference ORDER BY created_at DESC, version DESC) = 1 "
        "ORDER BY created_at, reference",
        of_table,
    ).to_pylist()
    if wanted is not None and wanted not in {each["reference"] for each in sets}:
        known = ", ".join(each["reference"] for each in sets) or "none"
        raise ConfigError(
            f"the model has no reference {wanted!r}; there is {known}: `lapwing reference list`"
        )
    newest = [each["reference"] for each in sets if each["role"] == "drift" and each["has_rows"]][-1:]
    binnings = found.ask("SELECT * FROM binnings WHERE table_name = $table", of_table)
    made = []
    for each in sets:
        its = {**of_table, "name": each["reference"], "version": each["version"]}
        bins = found.ask(
            "SELECT * FROM reference_bins "
            "WHERE table_name = $table AND reference = $name AND version = $version",
            its,
        )
        rows = None
        if each["has_rows"] and each["reference"] in {wanted, *named, *newest}:
            rows = _flat(
                found.ask(_rows_of_reference(found.table), {"name": its["name"], "version": its["version"]})
            )
        if each["reference"] == wanted:
            each |= {"role": "drift", "created_at": at}
        columns = {name: [value] for name, value in each.items()}
        made.append(Reference(pa.table(columns), bins, binnings, rows))
        binnings = binnings.slice(0, 0)  # once is enough
    return made


def reference_rows(found: Seen, name: str) -> pa.Table:
    """The rows that are kept of the newest version of a reference.

    Raises:
        ConfigError: There are none.
    """
    told = (
        found.ask(
            "SELECT max(version) AS version FROM reference_sets "
            "WHERE table_name = $table AND reference = $name AND has_rows",
            {"table": found.table, "name": name},
        )
        .column(0)[0]
        .as_py()
    )
    if told is None:
        raise ConfigError(
            f"no rows are kept of a reference {name!r}: `lapwing reference list` shows those there are"
        )
    rows = _flat(found.ask(_rows_of_reference(found.table), {"name": name, "version": told}))
    return rows.drop_columns(["reference", "reference_version", "row_number"])


def window_of_stage(found: Seen, stage: str, span: Span) -> pa.Table:
    """The predictions of a stage between two times, with their labels beside them.

    Raises:
        ConfigError: There are none, or too many.
    """
    table = identifier(found.table)
    if stage == "production":
        sql = f"SELECT * FROM labeled.{table} WHERE time >= $since AND time < $until"
        rows = _halved(lambda within: found.ask(sql, {"since": within[0], "until": within[1]}), span)
    else:
        rows = _halved(lambda within: _staged(found, stage, within), span)
    if not rows.num_rows:
        raise ConfigError(f"there is no {stage} prediction from {span[0]} to {span[1]}")
    return rows


def span_of(found: Seen, stage: str, text: str) -> Span:
    """The span that `7d` or `2026-01-01..2026-02-01` is; a duration ends with the stage's newest prediction.

    Raises:
        ConfigError: It is none, or there is no prediction.
    """
    first, dots, last = text.partition("..")
    if dots:
        try:
            since, until = parse_moment(first.strip()), parse_moment(last.strip())
        except ValueError as error:
            raise ConfigError(f"{stage}:{text}: expected {error}") from error
        if since >= until:
            raise ConfigError(f"{stage}:{text}: {first} is not before {last}")
        return since, until
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise ConfigError(
            f"{stage}:{text}: expected a span such as 2026-01-01..2026-02-01, or {error}"
        ) from error
    newest = (
        found.ask(
            f"SELECT max(time) AS newest FROM predictions_all.{identifier(found.table)} WHERE stage = $stage",
            {"stage": stage},
        )
        .column(0)[0]
        .as_py()
    )
    if newest is None:
        raise ConfigError(f"there is no {stage} prediction yet")
    until = newest + timedelta(microseconds=1)
    return until - length, until


def place(text: str) -> tuple[str, str] | None:
    """Take `shadow:7d` or `reference:golden` apart; None for what is a file."""
    found = _PLACE.fullmatch(text)
    return None if found is None or Path(text).exists() else (found[1], found[2])


def known_model(found: Seen | None, model: str) -> Seen:
    """What a lake knows of a model.

    Raises:
        UnknownModelError: It knows nothing of it.
    """
    if found is None:
        raise UnknownModelError(
            f"there is no model {model!r} in the lake; `lapwing models` lists those there are"
        )
    return found


def _fields(ask: Ask, schema: str, table: str, roots: Collection[str]) -> dict[str, pa.DataType]:
    try:
        shape = ask(f"SELECT * FROM {schema}.{identifier(table)} LIMIT 0", {}).schema
    except NotSeenYetError:
        return {}
    return {name: kind for name, (path, kind) in file_places(shape).items() if path[0] in roots}


def _staged(found: Seen, stage: str, span: Span) -> pa.Table:
    table = identifier(found.table)
    sql = _STAGED.replace("$$", "\0").replace("$table", table)
    own = _OWN_LABELS.replace("$table", table)
    both = (
        sql.replace("$own_labels", own)
        .replace("$own_label", "own.label,")
        .replace("$own_time", "own.label_time,")
    )
    alone = sql.replace("$own_labels", "").replace("$own_label", "").replace("$own_time", "")
    told = {"stage": stage, "since": span[0], "until": span[1]}
    try:
        return found.ask(both.replace("\0", "$"), told)
    except NotSeenYetError:  # no label has come of the model
        return found.ask(alone.replace("\0", "$"), told)


def _halved(ask: Callable[[Span], pa.Table], span: Span) -> pa.Table:
    """All rows of a span, however many an answer may have."""
    try:
        return ask(span)
    except QueryLimitError:
        since, until = span
        middle = since + (until - since) / 2
        if until - since <= _SHORTEST:
            raise
        halves = [_halved(ask, (since, middle)), _halved(ask, (middle, until))]
    rows = pa.concat_tables(
        [each for each in halves if each.num_rows] or halves, promote_options="permissive"
    )
    if rows.num_rows > MOST_ROWS:
        raise ConfigError(f"more than {MOST_ROWS:,} rows from {span[0]} to {span[1]}: take a shorter window")
    return rows


def _rows_of_reference(table: str) -> str:
    return (
        f"SELECT * FROM reference_rows.{identifier(table)} "
        "WHERE reference = $name AND reference_version = $version ORDER BY row_number"
    )


def _flat(rows: pa.Table) -> pa.Table:
    columns = columns_of(rows)
    return pa.table({name: values for name, values in columns.items() if parts(name)[0] != "extra"})


def _over_http(connection: lapwing.Connection, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
    try:
        return connection.sql(sql, **parameters).arrow()
    except lapwing.QueryError as error:
        kind = {"unknown-name": NotSeenYetError, "query-over-limit": QueryLimitError}.get(
            error.kind, QueryError
        )
        raise kind(str(error), position=error.position, candidates=error.candidates) from error
