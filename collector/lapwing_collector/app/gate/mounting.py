"""Rows of a model in a lake of their own, in memory: with profiles, and with what they are compared with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.app.gate.tabled import Brought
from lapwing_collector.app.judging.evaluating import RunQuery
from lapwing_collector.app.rule_tools.memory_lake import MemoryLake
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.importing import filled
from lapwing_collector.metrics import ProfileCounter, countable, freeze, reference_rows
from lapwing_collector.model.description import (
    FeatureType,
    ModelDescription,
    Source,
    infer,
    merged,
    parts,
)
from lapwing_collector.model.profiles import (
    BINNING_ROWS,
    DURATIONS,
    SEGMENTS,
    BinKind,
    Binning,
)

_UNCOUNTED: Final = frozenset({FeatureType.TEXT, FeatureType.EMBEDDING, FeatureType.TIME})
_CHALLENGERS: Final = ("shadow", "candidate")
"""Stages that rules may know a challenger by."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What rows are compared with, of a lake or of a file.

    Attributes:
        sets: As in `reference_sets`.
        bins: As in `reference_bins`.
        binnings: The bins that these are counted in, as in `binnings`.
        rows: As in `reference_rows`; None where none are kept.
    """

    sets: pa.Table
    bins: pa.Table
    binnings: pa.Table
    rows: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The model whose rows are looked at.

    Attributes:
        model: Its name.
        table: What its tables are called.
        description: What is known of it from files, or from the lake.
        binnings: The bins that it has in the lake.
    """

    model: str
    table: str
    description: ModelDescription = field(default_factory=ModelDescription)
    binnings: Sequence[Binning] = ()


@dataclass(slots=True)
class Mount:
    """Rows that can be asked about.

    Attributes:
        run: Answers SQL over them.
        since: Where their span begins.
        until: Where it ends, exclusive.
        not_seen: What the last query named that they have not; empty if it named nothing such.
    """

    run: RunQuery
    since: datetime
    until: datetime
    not_seen: str = ""

    def ask(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        """Answer, and keep what is not there."""
        self.not_seen = ""
        try:
            return self.run(sql, parameters, timeout_s)
        except NotSeenYetError as error:
            self.not_seen = str(error)
            raise


@contextmanager
def mounted(
    subject: Subject,
    rows: Brought,
    references: Sequence[Reference] = (),
    champion: Brought | None = None,
) -> Iterator[Mount]:
    """Rows as a model's production; or beside a champion, which is that then, as its challenger.

    Args:
        subject: The model.
        rows: Those of the candidate.
        references: What it is compared with.
        champion: What answered the same requests in production.
    """
    with MemoryLake() as lake:
        if champion is None:
            _put(lake, subject, rows)
        else:
            _put_pairs(lake, subject, rows, champion)
        lake.describe(subject.table, subject.description)
        binnings = _put_references(lake, subject, references)
        _profile(lake, subject, rows, [*subject.binnings, *binnings])
        session = lake.session()
        run: Callable[..., pa.Table] = lambda sql, parameters, _: session.run(sql, parameters)  # noqa: E731
        yield Mount(run, rows.since, rows.until)


def described(subject: Subject, rows: Brought) -> ModelDescription:
    """What is known of a model, what these rows tell included."""
    told = subject.description
    inferred = infer(rows.fields, rows.label_fields, told)
    return merged({Source.SDK: told, Source.INFERRED: inferred})


def reference_of(subject: Subject, name: str, source: str, rows: Brought, at: datetime) -> Reference:
    """A reference of rows that somebody brought.

    Args:
        subject: The model.
        name: What to call it.
        source: Where the rows are from, for people.
        rows: Theirs.
        at: When it was made: of the role drift, the newest holds.
    """
    flat = with_labels(rows)
    known = {each.field: each for each in subject.binnings}
    made = [
        each
        for each in freeze(
            _countable(flat, subject.description), f"{subject.model}@{name}", _categories(subject.description)
        )
        if each.field not in known
    ]
    used = {each.field: each for each in (*made, *known.values())}
    values = {each: flat.column(each).combine_chunks() for each in flat.column_names if each in used}
    owner = {"model": subject.model, "table_name": subject.table, "reference": name, "version": 1}
    bins = reference_rows(values, used)
    for at_column, (column, value) in enumerate(owner.items()):
        bins = bins.add_column(at_column, column, pa.repeat(pa.scalar(value), bins.num_rows))
    sets = pa.table(
        {
            **{column: [value] for column, value in owner.items()},
            "role": ["drift"],
            "source": [source],
            "sample_count": [rows.rows],
            "created_at": pa.array([at], pa.timestamp("us")),
            "has_rows": [True],
        }
    )
    if not rows.timed:  # what was made up is not kept
        flat = flat.drop_columns(["time"])
    numbered = flat.append_column("reference", pa.repeat(pa.scalar(name), rows.rows))
    numbered = numbered.append_column("reference_version", pa.repeat(pa.scalar(1), rows.rows))
    numbered = numbered.append_column("row_number", pa.array(range(rows.rows), pa.int64()))
    return Reference(sets, bins, binning_rows(subject, made, f"{name}:1", at), numbered)


def binning_rows(subject: Subject, binnings: Sequence[Binning], made_from: str, at: datetime) -> pa.Table:
    """Bins as the lake keeps them."""
    return pa.Table.from_pylist(
        [
            {
                "binning_id": each.binning_id,
                "model": subject.model,
                "table_name": subject.table,
                "field": each.field,
                "kind": each.kind.value,
                "edges": each.edges,
                "categories": each.categories,
                "created_from": made_from,
                "created_at": at,
            }
            for each in binnings
        ],
        BINNING_ROWS,
    )


def binnings_in(rows: pa.Table) -> list[Binning]:
    """The bins in use that rows of `binnings` tell of: of each field the newest."""
    newest: dict[str, tuple[datetime, Binning]] = {}
    for each in rows.to_pylist():
        if each["created_from"] == SEGMENTS:
            continue
        binning = Binning(
            each["binning_id"],
            each["field"],
            BinKind(each["kind"]),
            tuple(each["edges"] or ()),
            tuple(each["categories"] or ()),
        )
        if each["field"] not in newest or newest[each["field"]][0] <= each["created_at"]:
            newest[each["field"]] = each["created_at"], binning
    return [binning for _, binning in newest.values()]


def with_labels(rows: Brought) -> pa.Table:
    """Predictions with their labels beside them, as rows of references are."""
    if rows.labels is None or "prediction_id" not in rows.labels.column_names:
        return rows.predictions
    keys = rows.predictions.column("prediction_id")
    places = pc.index_in(keys, value_set=rows.labels.column("prediction_id").combine_chunks())
    flat = rows.predictions
    for name in rows.label_fields:
        flat = flat.append_column(name, rows.labels.column(name).combine_chunks().take(places))
    return flat


def key_of(rows: Brought, others: Brought) -> str:
    """What rows of two sides are found by: their requests, where both tell some, else their ids."""
    told = (each.predictions.column("request_id") for each in (rows, others))
    return "request_id" if all(each.null_count < len(each) for each in told) else "prediction_id"


def same_rows(rows: Brought, others: Brought) -> bool:
    """Whether two sides are the same rows in the same order, as what both were given, and the truth, tell."""
    if rows.rows != others.rows:
        return False
    one, other = with_labels(rows), with_labels(others)
    shared = [
        name
        for name in one.column_names
        if name in other.column_names and parts(name)[0] in {"inputs", "label"}
    ]
    return bool(shared) and all(_equal(one.column(name), other.column(name)) for name in shared)


def labels_for(others: Brought, rows: Brought) -> pa.Table | None:
    """The labels of rows, for others that answered the same requests; None where there are none."""
    labels = rows.labels
    if (
        labels is None
        or key_of(rows, others) == "prediction_id"
        or "prediction_id" not in labels.column_names
    ):
        return labels
    ids = rows.predictions.column("prediction_id").combine_chunks()
    requests = rows.predictions.column("request_id").combine_chunks()
    asked = requests.take(pc.index_in(labels.column("prediction_id"), value_set=ids))
    return _with(labels, "prediction_id", asked).rename_columns(
        ["request_id" if name == "prediction_id" else name for name in labels.column_names]
    )


# What is in the lake


def _put(lake: MemoryLake, subject: Subject, rows: Brought) -> None:
    lake.put(f"predictions.{subject.table}", rows.predictions)
    if rows.labels is not None:
        lake.put(f"labels.{subject.table}", rows.labels)


def _put_pairs(lake: MemoryLake, subject: Subject, rows: Brought, champion: Brought) -> None:
    """The champion in production; its challenger under other ids, with the requests that both answered.

    Labels are the champion's, and those of the candidate's file where that alone has some.
    """
    by = key_of(rows, champion)
    asked = _requested(rows.predictions, by)
    # What the same request was answered at another time, or at a time that nobody wrote down, is a pair.
    places = pc.index_in(
        asked.column("request_id"), value_set=champion.predictions.column(by).combine_chunks()
    )
    times = pc.coalesce(
        champion.predictions.column("time").combine_chunks().take(places), asked.column("time")
    )
    asked = _with(asked, "time", times)
    sides = [_requested(champion.predictions, by)]
    for stage in _CHALLENGERS:
        ids = pc.binary_join_element_wise(pa.scalar(stage), asked.column("prediction_id"), ":")
        own = _with(asked, "prediction_id", ids)
        sides.append(_with(own, "stage", pa.repeat(pa.scalar(stage), own.num_rows)))
    lake.put(f"predictions_all.{subject.table}", pa.concat_tables(sides, promote_options="permissive"))
    labels = champion.labels if champion.labels is not None else labels_for(champion, rows)
    if labels is not None:
        lake.put(f"labels.{subject.table}", labels)


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Whether two columns have the same values; one that is missing is NaN as well as NULL."""
    try:
        columns = [filled(each.combine_chunks()) for each in (one, other.cast(one.type))]
    except pa.ArrowException:
        return False
    return bool(columns[0].equals(columns[1]))


def _requested(rows: pa.Table, by: str) -> pa.Table:
    """Rows whose requests are what both sides are found by."""
    return _with(rows, "request_id", rows.column(by))


def _with(rows: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(column), column, values)


def _put_references(lake: MemoryLake, subject: Subject, references: Sequence[Reference]) -> list[Binning]:
    if not references:
        return []
    lake.put(
        "reference_sets", pa.concat_tables([each.sets for each in references], promote_options="permissive")
    )
    lake.put(
        "reference_bins", pa.concat_tables([each.bins for each in references], promote_options="permissive")
    )
    kept = [each.rows for each in references if each.rows is not None]
    if kept:
        lake.put(f"reference_rows.{subject.table}", pa.concat_tables(kept, promote_options="permissive"))
    return [each for reference in references for each in binnings_in(reference.binnings)]


def _profile(lake: MemoryLake, subject: Subject, rows: Brought, known: Sequence[Binning]) -> None:
    """Count the rows in the model's bins; fields without any get them from these rows."""
    flat = rows.predictions
    described_as = subject.description
    newest = {each.field: each for each in known if each is not DURATIONS}
    fresh = [
        each
        for each in freeze(_countable(flat, described_as), subject.model, _categories(described_as))
        if each.field not in newest
    ]
    binnings = [*known, *fresh]
    if "duration_ms" not in newest:
        binnings.append(DURATIONS)
    used = {each.field: each for each in binnings}
    segments = [
        used[name] for name in described_as.segments if name in used and used[name].kind is BinKind.CATEGORY
    ]
    counted = pa.concat_tables(
        [*ProfileCounter(list(used.values()), segments).count_columns(flat)], promote_options="permissive"
    )
    # A window takes the hours that begin in it, and the first one began before the first row.
    began = pc.max_element_wise(counted.column("time"), pa.scalar(rows.since, pa.timestamp("us")))
    counted = counted.set_column(counted.schema.get_field_index("time"), "time", began)
    owner = {"model": subject.model, "table_name": subject.table}
    for name, value in owner.items():
        counted = counted.append_column(name, pa.repeat(pa.scalar(value), counted.num_rows))
    lake.put("profiles", counted)
    made = binning_rows(subject, binnings, "rows", rows.since)
    lake.put("binnings", made)


def _countable(flat: pa.Table, told: ModelDescription) -> pa.Table:
    names = [
        each.name
        for each in flat.schema
        if countable(each.type) and parts(each.name)[0] in {"inputs", "output", "descriptors"}
    ]
    skipped = {name for name, feature in told.features.items() if feature.type in _UNCOUNTED}
    return flat.select([name for name in names if name not in skipped])


def _categories(told: ModelDescription) -> set[str]:
    return {name for name, feature in told.features.items() if feature.type is FeatureType.CATEGORY}
