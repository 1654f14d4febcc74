"""`lapwing labels import` and `lapwing predictions import`: files into a data directory, whoever owns it."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lapwing import semconv
from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.app.importing.delivery import Delivery, HttpDelivery, collector_url, owned
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import Tell, ask_owner
from lapwing_collector.app.places.project import load_project, settings_for
from lapwing_collector.clock import SystemClock
from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import ConfigError, NotSeenYetError
from lapwing_collector.importing import (
    Key,
    Part,
    Reject,
    Sender,
    Source,
    open_source,
    plan_labels,
    plan_predictions,
)

_LOOK_UP: Final = """
SELECT key, prediction_id, time
FROM (SELECT CAST($field AS VARCHAR) AS key, prediction_id, time FROM predictions.$table)
WHERE key IN (SELECT unnest($$keys::VARCHAR[]))
ORDER BY ALL
"""

Found = dict[str, list[tuple[str, datetime]]]


@dataclass(slots=True)
class Imported:
    """What became of a file's rows.

    Attributes:
        stored: Labels or predictions that were taken, for the first time or again.
        rejected: Rows that were left out.
        left_out: Columns that were.
        known: How many of `stored` had been brought before; None if the collector does not say.
        unknown: That nothing has come of the model that the labels are of, for a person; else empty.
    """

    stored: int = 0
    rejected: list[Reject] = field(default_factory=list)
    left_out: tuple[str, ...] = ()
    known: int | None = 0
    unknown: str = ""


def import_labels(  # noqa: PLR0917  # each is an option of the command
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    path: Path,
    model: str,
    on: str,
    columns: Mapping[str, str | None],
    endpoint: str | None = None,
    *,
    new_model: bool = False,
) -> Imported:
    """Import a file of labels.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        path: The file.
        model: Whose labels they are.
        on: What its rows name predictions by.
        columns: Which columns are `key`, `label`, `time`, `prediction_time`, `source`, if said.
        endpoint: The collector to send to, where it is none of this machine.
        new_model: Take labels of a model of which no prediction has come yet; an endpoint always does.

    Raises:
        LapwingError: The file cannot be read, the model is not known, or the rows are not taken.
    """
    source = open_source(path)
    plan = plan_labels(source.names, on, **columns)
    if endpoint is not None and not plan.key.is_id:
        raise ConfigError(f"--endpoint: labels by {on} are looked up in the lake, on the collector's machine")
    # Ids are joined fastest with the time of their prediction; requests have several.
    looks_up = on != "request_id" and (not plan.key.is_id or plan.prediction_time is None)
    looks_up = looks_up and endpoint is None
    with (
        _way_in(file, flags, endpoint) as delivery,
        _known(file, flags, model, asked=endpoint is None) as known,
    ):
        if known.unknown and not new_model:
            raise ConfigError(
                f"{known.unknown} (--new-model takes labels that come before their predictions)"
            )
        read_as = source.kinds(plan.kinds(known.label))
        said = repr((on, sorted(columns.items()), *sorted(read_as.items())))
        sender = Sender(
            source.fingerprint(), semconv.EVENT_LABEL_BATCH, model, said, by_content=not plan.key.is_id
        )
        find = known.finder(plan.key) if looks_up else lambda _: {}
        parts = ((plan.part(chunk, find), chunk.done) for chunk in source.chunks(plan.typed, read_as))
        imported = _send(parts, source, sender, delivery, tell)
    imported.unknown = known.unknown
    return imported


def import_predictions(  # noqa: PLR0917  # each is an option of the command
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    path: Path,
    model: str,
    time: str | None,
    outputs: Sequence[str],
    key: str | None,
    version: str | None,
    stage: str | None,
    endpoint: str | None = None,
) -> Imported:
    """Import a file of predictions.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        path: The file.
        model: Whose predictions they are.
        time: The column that says when they were made.
        outputs: Columns that are outputs.
        key: The column with prediction ids.
        version: The model's version, for rows that have none.
        stage: `production`, `shadow` or `candidate`, for rows that have none.
        endpoint: The collector to send to, where it is none of this machine.

    Raises:
        LapwingError: The file cannot be read, or the rows are not taken.
    """
    source = open_source(path)
    plan = plan_predictions(source.names, time, outputs, key)
    said = {semconv.MODEL_VERSION: version, semconv.PREDICTION_STAGE: stage}
    attributes = {name: text for name, text in said.items() if text}
    with (
        _way_in(file, flags, endpoint) as delivery,
        _known(file, flags, model, asked=endpoint is None) as known,
    ):
        read_as = source.kinds(plan.kinds(known.fields))
        options = repr(
            (plan.time, sorted(outputs), key, sorted(attributes.items()), *sorted(read_as.items()))
        )
        sender = Sender(source.fingerprint(), semconv.EVENT_PREDICTION_BATCH, model, options)
        parts = ((plan.part(chunk), chunk.done) for chunk in source.chunks(plan.typed, read_as))
        imported = _send(parts, source, sender, delivery, tell, attributes)
    imported.left_out = plan.left_out
    return imported


def _send(  # noqa: PLR0917  # what takes part
    parts: Iterator[tuple[Part, int]],
    source: Source,
    sender: Sender,
    delivery: Delivery,
    tell: Tell,
    attributes: Mapping[str, str] | None = None,
) -> Imported:
    imported = Imported()
    now_ns = SystemClock().now_ns()
    tell("rows", 0, source.total)
    sent = 0
    for place, (part, done) in enumerate(parts, start=1):
        if part.rows:
            sent += 1
            # A gap between numbers would tell of records that were lost. By content, a part keeps its place,
            # whichever parts before it have rows this time.
            number = place if sender.by_content else sent
            again = delivery.send(sender.request(number, part, now_ns, attributes))
            imported.known = None if again is None else (imported.known or 0) + again
        imported.stored += part.rows
        imported.rejected += part.rejected
        tell("rows", done, source.total)
    return imported


@contextmanager
def _way_in(file: Path | None, flags: Mapping[str, Any], endpoint: str | None) -> Iterator[Delivery]:
    """To the collector that was named, to the one that owns the data directory, or as its owner."""
    if endpoint is None:
        directory = DataDirectory(settings_for(file, flags).data)
        status = ask_owner(directory.root, "status", {}, lambda *_: None)
        if status is None:
            with owned(load_project(file, flags)) as directory_owned:
                yield directory_owned.delivery
            return
        endpoint = collector_url(status["address"])
    sending = HttpDelivery(endpoint)
    try:
        yield sending
    finally:
        sending.close()


@dataclass(frozen=True, slots=True)
class _Known:
    """What the lake has of a model; nothing, where it is not asked.

    Attributes:
        asking: What answers queries.
        tables: The model's tables.
        label: The type of its labels, if it has any.
        fields: The types of its `inputs` and `output`, as far as it has any.
        unknown: That no prediction of it has come, for a person; else empty.
    """

    asking: Asking | None = None
    tables: Sequence[str] = ()
    label: pa.DataType | None = None
    fields: Mapping[str, pa.DataType | None] = field(default_factory=dict)
    unknown: str = ""

    def finder(self, key: Key) -> Callable[[list[str]], Found]:
        """What finds predictions by their keys."""
        asking = self.asking
        if asking is None:
            return lambda _: {}
        sql = _LOOK_UP.replace("$field", _expression(key)).replace("$$", "$")

        def find(keys: list[str]) -> Found:
            found: Found = {}
            for table in self.tables:
                query = sql.replace("$table", identifier(table))
                try:
                    with asking.answer(query, {"keys": keys}, whole=True) as answer:
                        rows = answer.table().to_pylist()
                except NotSeenYetError:
                    continue
                for row in rows:
                    found.setdefault(row["key"], []).append((row["prediction_id"], row["time"]))
            return found

        return find


@contextmanager
def _known(file: Path | None, flags: Mapping[str, Any], model: str, *, asked: bool) -> Iterator[_Known]:
    if not asked:
        yield _Known()
        return
    with Asking.over(file, flags) as asking:
        with asking.answer("SELECT DISTINCT model, table_name FROM models ORDER BY ALL") as answer:
            named = answer.table().to_pylist()
        tables = [row["table_name"] for row in named if row["model"] == model]
        label = _type_of(asking, "labels", "label", tables)
        fields = {name: _type_of(asking, "predictions_all", name, tables) for name in ("inputs", "output")}
        unknown = ""
        if _type_of(asking, "predictions_all", "time", tables) is None:
            near = difflib.get_close_matches(model, {row["model"] for row in named} - {model}, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            unknown = f"no prediction of a model {model!r} has come yet{meant}"
        yield _Known(asking, tables, label, fields, unknown)


def _type_of(asking: Asking, schema: str, column: str, tables: Sequence[str]) -> pa.DataType | None:
    """The type of a column of the first of these tables that is there; None if none is."""
    for table in tables:
        try:
            with asking.answer(f"SELECT {column} FROM {schema}.{identifier(table)} LIMIT 0") as answer:
                return answer.table().schema.field(0).type
        except NotSeenYetError:
            continue
    return None


def _expression(key: Key) -> str:
    if key.is_id:
        return "prediction_id"
    root, _, name = key.on.partition(".")
    if root == "tags":
        return f"tags[{literal(name)}]"
    return ".".join(["inputs", *map(identifier, name.split("."))])
