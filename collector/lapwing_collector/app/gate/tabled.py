"""Files and tables that people bring to be looked at: their columns as those of predictions and labels."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.json
import pyarrow.parquet as pq

from lapwing_collector.decode import reference_batch
from lapwing_collector.errors import ConfigError, reason
from lapwing_collector.importing import ROW_TIME, filled, open_source, texts, times, usual
from lapwing_collector.metrics import columns_of
from lapwing_collector.model.description import ModelDescription, dotted, parts
from lapwing_collector.model.profiles import REFERENCE_ROWS
from lapwing_collector.model.records import PREDICTION_ROWS, UNTYPED

Known = Mapping[str, pa.DataType]
"""Types of fields that a model has, by dotted name."""

_ROOTS: Final = ("inputs", "output", "descriptors", "label", "tags")
_FIXED: Final = frozenset(PREDICTION_ROWS.names) - {"tags"}
_UNUSED: Final = frozenset({"extra", "resource", "received_at", "label_received_at"})
"""Columns of predictions that say how they came, which nobody asks of a candidate."""
_OWN: Final = frozenset({"reference", "reference_version", "row_number", *_UNUSED})
_MOMENT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are what, as far as somebody said.

    Attributes:
        time: When predictions were made.
        key: What names them.
        label: The truth.
        prediction: What was predicted.
        score: The probability of the positive class.
    """

    time: str | None = None
    key: str | None = None
    label: str | None = None
    prediction: str | None = None
    score: str | None = None

    def among(self, names: Collection[str]) -> "Columns":
        """Those that a file has, where they were said of another one."""
        return Columns(*(name if name in names else None for name in astuple(self)))


@dataclass(frozen=True, slots=True)
class Brought:
    """Rows of predictions with their labels, as a lake has them but in one table each.

    Attributes:
        predictions: Columns named as in SQL: `time`, `prediction_id`, `inputs.age`.
        labels: `prediction_id`, `time` and `label`, or `label.x`; None without any.
        since: The time of the first one.
        until: Just after that of the last one.
        named: Whether the file names its rows, so that they can be found in another one.
        versions: Of the model, as far as told.
        timed: Whether the file says when they were made.
    """

    predictions: pa.Table
    labels: pa.Table | None
    since: datetime
    until: datetime
    named: bool
    versions: tuple[str, ...] = ()
    timed: bool = True

    @property
    def rows(self) -> int:
        """How many predictions."""
        return int(self.predictions.num_rows)

    @property
    def fields(self) -> dict[str, pa.DataType]:
        """Types of users' fields of predictions."""
        return {
            each.name: each.type for each in self.predictions.schema if each.name not in PREDICTION_ROWS.names
        }

    @property
    def label_fields(self) -> dict[str, pa.DataType]:
        """Types of users' fields of labels."""
        if self.labels is None:
            return {}
        return {each.name: each.type for each in self.labels.schema if parts(each.name)[0] == "label"}


@dataclass(frozen=True, slots=True)
class Means:
    """What is known of a model before its file is opened.

    Attributes:
        description: From files, or from the lake.
        known: Types of its fields in the lake, if it is in one.
        columns: What somebody said of the file's columns.
        at: The time of the evaluation: rows without a time were made before it, labels are known by it.
    """

    at: datetime
    description: ModelDescription = field(default_factory=ModelDescription)
    known: Known = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)

    def of_another(self, table: pa.Table) -> "Means":
        """The same for a table that is not the one whose columns somebody spoke of."""
        return replace(self, columns=self.columns.among(table.column_names))

    @property
    def names(self) -> list[str]:
        """Fields that columns may stand for, the roles first."""
        told = self.description
        roles = [told.prediction, told.score, told.scores, told.items, told.label]
        return [*filter(None, roles), *told.features, *told.types, *self.known]


def read_file(path: Path) -> pa.Table:
    """The rows of a file: Parquet, Arrow, JSON lines or CSV, by its name.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        match path.suffix.lower():
            case ".parquet" | ".pq":
                return pq.read_table(path)
            case ".arrow" | ".feather" | ".ipc":
                return pyarrow.feather.read_table(path)
            case ".jsonl" | ".ndjson" | ".json":
                return pyarrow.json.read_json(path)
            case _:
                return _csv(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from error


def predictions_of(table: pa.Table, means: Means, where: str, version: str | None = None) -> Brought:
    """The predictions of a table, and the labels that are among its columns.

    A missing id is the number of the row, a missing time the evaluation's.

    Args:
        table: A row per prediction.
        means: What is known of the model.
        where: What to call the table in errors.
        version: Of the model, for rows that tell none.

    Raises:
        ConfigError: It has no rows, or a column cannot be what it is said to be.
    """
    if not table.num_rows:
        raise ConfigError(f"{where}: has no rows")
    columns = columns_of(_plain(table))
    places = _places(list(columns), means, where)
    placed = {place: columns[name] for name, place in places.items()}
    rows = table.num_rows
    named = "prediction_id" in placed or "request_id" in placed
    if "prediction_id" not in placed:
        placed["prediction_id"] = pa.array(map(str, range(rows)), pa.string())
    timed = "time" in placed
    placed["time"] = _moments(placed.get("time"), rows, means, where)
    truth = {name: filled(values) for name, values in placed.items() if parts(name)[0] == "label"}
    told = {name: values for name, values in placed.items() if name not in {*truth, "label_time"}}
    flat = as_rows(told)
    flat = _with_default(flat, "version", version)
    flat = flat.set_column(
        flat.schema.get_field_index("stage"), "stage", pa.repeat(pa.scalar("production"), rows)
    )
    bounds = pc.min_max(flat.column("time")).as_py()
    labels = None
    if truth:
        moment = placed.get("label_time")
        known_at = None if moment is None else times(moment)[0]
        labels = _labels(flat.column("prediction_id"), truth, known_at, means.at)
    return Brought(
        predictions=flat,
        labels=labels,
        since=bounds["min"],
        until=bounds["max"] + _MOMENT,
        named=named,
        versions=tuple(sorted(filter(None, pc.unique(flat.column("version")).to_pylist()))),
        timed=timed,
    )


def labels_of(table: pa.Table, predictions: Brought, means: Means, where: str) -> pa.Table:
    """The labels of a table for predictions that are known, which it names by their ids.

    Where neither names its rows and there are as many of both, they belong together in their order.

    Raises:
        ConfigError: There is no column of labels, or none that says of what.
    """
    columns = columns_of(_plain(table))
    said = means.columns
    fields = {name: name for name in columns if name.startswith("label.")}
    one = _chosen(columns, said.label, usual.LABELS, where) if said.label or not fields else None
    if one is None and not fields:
        raise ConfigError(f"{where}: there is no column of labels among {', '.join(columns)}")
    truth = {"label": one} if one is not None else fields
    values = {place: filled(columns[name]) for place, name in truth.items()}
    key = _chosen(columns, said.key, (*usual.PREDICTION_IDS, "request_id"), where)
    if key is None:
        if predictions.named or table.num_rows != predictions.rows:
            raise ConfigError(
                f"{where}: no column says which predictions its labels are of (prediction_id) among "
                f"{', '.join(columns)}"
            )
        ids = predictions.predictions.column("prediction_id").combine_chunks()
        return _labels(ids, values, None, means.at)
    moment = _chosen(columns, None, usual.LABEL_TIMES, where)
    known_at = None if moment is None else times(columns[moment])[0]
    keys = texts(columns[key])
    return _labels(keys, values, known_at, means.at, "request_id" if key == "request_id" else "prediction_id")


def as_rows(columns: Mapping[str, pa.Array]) -> pa.Table:
    """Columns in the types that a lake has them in; those of no type are left out.

    Args:
        columns: By the name of the field, `inputs.age`, or as a column of predictions is called.
    """
    count = len(next(iter(columns.values())))
    batch = reference_batch("", "", 0, columns, pa.array(range(count), pa.int64()))
    found = {name: batch.rows.column(name) for name in REFERENCE_ROWS.names if name not in _OWN}
    for each in batch.fields:
        name = dotted(each.path)
        kept = found.get(name)
        if each.values.type != UNTYPED and (kept is None or kept.null_count > each.values.null_count):
            found[name] = each.values
    return pa.table(found)


def _csv(path: Path) -> pa.Table:
    source = open_source(path)
    chunks = []
    for chunk in source.chunks(source.names):
        if chunk.rejected:
            first = chunk.rejected[0]
            raise ConfigError(f"{path}:{first.line}: {first.reason}")
        chunks.append(pa.table(dict(chunk.columns)))
    return pa.concat_tables(chunks) if chunks else pa.table({name: pa.nulls(0) for name in source.names})


def _plain(table: pa.Table) -> pa.Table:
    """A table with columns of values that are stored once each, not by number."""
    for at, each in enumerate(table.schema):
        if pa.types.is_dictionary(each.type):
            table = table.set_column(at, each.name, table.column(at).cast(each.type.value_type))
    return table


def _places(names: Sequence[str], means: Means, where: str) -> dict[str, str]:
    """What each column is: a column of predictions, or a field; those that are nothing are left out."""
    said = _said(names, means, where)
    taken = set(said.values())
    spelled: dict[str, str] = {}
    for name in means.names:
        spelled.setdefault(parts(name)[-1].lower(), name)
        if parts(name)[0] == "inputs":  # what is not said to be an output is more likely an input
            spelled.setdefault(name.lower(), name)
    roles = {parts(name)[-1].lower(): name for name in filter(None, _roles(means.description))}
    found = dict(said)
    for name in names:
        if name in found or name in _UNUSED:
            continue
        place = _place(name, means, roles, spelled)
        if place in taken:
            place = f"inputs.{name}"
        taken.add(place)
        found[name] = place
    return found


def _roles(told: ModelDescription) -> tuple[str | None, ...]:
    return (told.label, told.items, told.scores, told.score, told.prediction)


def _place(name: str, means: Means, roles: Mapping[str, str], spelled: Mapping[str, str]) -> str:
    root = name.partition(".")[0]
    if name in _FIXED or name in {"label_time", "label_source"} or root in _ROOTS:
        return spelled.get(name.lower(), name) if root == "inputs" else name
    low = name.lower()
    known = next((each for each in (f"inputs.{name}", f"output.{name}") if each in means.known), None)
    if low in roles or known is not None or low in spelled:
        return roles.get(low) or known or spelled[low]
    if low in usual.TIMES:
        return "time"
    if low in usual.LABELS:
        return means.description.label or "label"
    if low in usual.OUTPUTS:
        output = usual.OUTPUTS[low]
        role = means.description.score if output == "score" else means.description.prediction
        return role or f"output.{output}"
    return dotted(("inputs", name))


def _said(names: Sequence[str], means: Means, where: str) -> dict[str, str]:
    told, said = means.description, means.columns
    wanted = {
        "time": said.time,
        "prediction_id": said.key,
        told.label or "label": said.label,
        told.prediction or "output.value": said.prediction,
        told.score or "output.score": said.score,
    }
    for name in filter(None, wanted.values()):
        _chosen(names, name, (), where)
    return {name: place for place, name in wanted.items() if name is not None}


def _chosen(names: Iterable[str], said: str | None, usual: Sequence[str], where: str) -> str | None:
    """The column that somebody named, or the first usual one."""
    there = list(names)
    if said is not None:
        if said not in there:
            raise ConfigError(f"{where}: has no column {said}; it has {', '.join(there)}")
        return said
    return next((name for name in usual if name in there), None)


def _moments(values: pa.Array | None, rows: int, means: Means, where: str) -> pa.Array:
    """The time of each row; without any, one after another up to when labels could be known."""
    if values is None:
        delay = means.description.label_delay or timedelta(0)
        first = (means.at - delay).replace(microsecond=0) - timedelta(seconds=1) - rows * _MOMENT
        start = pa.scalar(first, ROW_TIME).cast(pa.int64()).as_py()
        return pa.array(range(start, start + rows), pa.int64()).cast(ROW_TIME)
    moments, wrong = times(values)
    if any(wrong) or moments.null_count:
        row = next(at for at in range(rows) if wrong[at] or not moments[at].is_valid)
        raise ConfigError(f"{where}: row {row + 1} has no time, or one that is none")
    return moments


def _labels(
    keys: pa.Array | pa.ChunkedArray,
    values: Mapping[str, pa.Array],
    known_at: pa.Array | None,
    at: datetime,
    called: str = "prediction_id",
) -> pa.Table | None:
    flat = as_rows({"label_key": keys, **values})  # in the types that a lake has
    fields = [name for name in flat.column_names if parts(name)[0] == "label"]
    moments = pa.repeat(pa.scalar(at, ROW_TIME), len(keys))
    if known_at is not None:
        moments = pc.coalesce(known_at, moments)
    told = {called: keys, "time": moments, **{name: flat.column(name) for name in fields}}
    some = None
    for name in fields:
        valid = pc.is_valid(flat.column(name))
        some = valid if some is None else pc.or_(some, valid)
    return None if some is None else pa.table(told).filter(some)


def _with_default(rows: pa.Table, column: str, value: str | None) -> pa.Table:
    if value is None:
        return rows
    at = rows.schema.get_field_index(column)
    return rows.set_column(at, column, pc.coalesce(rows.column(column), pa.scalar(value)))
