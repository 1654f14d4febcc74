"""The rows that take part in an evaluation or a report: a candidate's, and what they are compared with."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from lapwing_collector.app.gate import gate_lake
from lapwing_collector.app.gate.gate_lake import Seen
from lapwing_collector.app.gate.mounting import Reference, Subject, described, labels_for, reference_of
from lapwing_collector.app.gate.tabled import Brought, Columns, Means, labels_of, predictions_of, read_file
from lapwing_collector.config import Settings
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.gate import Side
from lapwing_collector.model.description import ModelDescription, Source, merged

_QUOTED: Final = re.compile(r"'([^']+)'")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be evaluated.

    Attributes:
        model: Whose candidate.
        data: The candidate's predictions: a file, a table, or rows of the lake: `shadow:7d`,
            `reference:golden`.
        rules: Rule files.
        labels: The truth, where it is not beside the predictions.
        reference: What drift and `reference_value` compare with: a name, `NAME=FILE`, a file or a table.
        against: What `production_value` and pairs compare with: `production:7d`, a file or a table.
        columns: What somebody said of the columns of files.
        version: The candidate's, where its rows do not tell.
        only: Rules, by name; all of the files if there is none.
        skip: Rules that are left out.
        allow_insufficient: Whether rules that cannot be judged are let pass.
        lake: A data directory, or the address of a collector; that of the settings if None.
        token: For a collector that asks for one.
        keep: Whether the run is kept in the lake; None where `lake` names one.
        shown: Whether there is to be more to see than rules: curves, drift, the quality of the data.
    """

    model: str
    data: str | pa.Table
    rules: Sequence[Path] = ()
    labels: Path | pa.Table | None = None
    reference: str | pa.Table | None = None
    against: str | pa.Table | None = None
    columns: Columns = field(default_factory=Columns)
    version: str | None = None
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    allow_insufficient: bool = False
    lake: str | None = None
    token: str | None = None
    keep: bool | None = None
    shown: bool = True

    @property
    def kept(self) -> bool:
        """Whether the run is kept in the lake."""
        return self.lake is not None if self.keep is None else self.keep


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows that take part.

    Attributes:
        subject: The model.
        means: What is known of it.
        told: What is known of it, what the candidate's rows tell included.
        candidate: The candidate's rows.
        references: What they are compared with.
        found: The model in the lake, if it is there.
        notes: What people should know.
    """

    subject: Subject
    means: Means
    told: ModelDescription
    candidate: Brought
    references: Sequence[Reference]
    found: Seen | None
    notes: Sequence[str] = ()


def prepare(
    declared: ModelDescription, wanted: Wanted, found: Seen | None, at: datetime, texts: str = ""
) -> Prepared:
    """Read the rows that take part.

    Args:
        declared: What files say of the model.
        wanted: What is to be looked at.
        found: The model in the lake.
        at: Now.
        texts: SQL that may name references.

    Raises:
        ConfigError: Something cannot be read.
        LapwingError: The lake cannot be asked.
    """
    means = means_of(declared, wanted, found, at)
    description = means.description
    table = found.table if found is not None else wanted.model
    subject = Subject(wanted.model, table, description, found.binnings if found is not None else ())
    candidate = predictions_of(
        _table(wanted.data, found, wanted), means, source_of(wanted.data), wanted.version
    )
    if wanted.labels is not None:
        labels = read_file(wanted.labels) if isinstance(wanted.labels, Path) else wanted.labels
        where = str(wanted.labels) if isinstance(wanted.labels, Path) else "the labels"
        told = labels_of(labels, candidate, means, where)
        candidate = replace(candidate, labels=told)
    references = _references(wanted, subject, means, found, at, texts)
    return Prepared(
        subject, means, described(subject, candidate), candidate, references, found, _notes(candidate)
    )


def means_of(declared: ModelDescription, wanted: Wanted, found: Seen | None, at: datetime) -> Means:
    """What is known of a model before any of its rows is looked at."""
    stored = found.description if found is not None else ModelDescription()
    known = found.known if found is not None else {}
    return Means(at, merged({Source.FILE: declared, Source.SDK: stored}), known, wanted.columns)


def side_of(name: str, source: str, rows: Brought) -> Side:
    """What to say of rows that take part."""
    labels = 0 if rows.labels is None else rows.labels.num_rows
    span = (rows.since, rows.until) if rows.timed else (None, None)
    return Side(name, source, rows.rows, labels, rows.versions, *span)


def kept_rows(references: Sequence[Reference], means: Means) -> tuple[str, Brought] | None:
    """The name and rows of the reference that drift is compared with by default; None where none are kept."""
    drifts = [
        (each, each.rows)
        for each in references
        if each.rows is not None and each.sets.column("role")[0].as_py() == "drift"
    ]
    if not drifts:
        return None
    newest, rows = max(drifts, key=lambda each: each[0].sets.column("created_at")[0].as_py())
    name = newest.sets.column("reference")[0].as_py()
    there = set(rows.column_names)
    unused = there & {"reference", "reference_version", "row_number"}
    unused |= {each for each in there & {"time", "prediction_id"} if rows.column(each).null_count}
    plain = Means(means.at, means.description, means.known)
    return name, predictions_of(rows.drop_columns(sorted(unused)), plain, f"reference {name}")


def champion_of(wanted: Wanted, ready: Prepared) -> Brought:
    """The rows that stand for production; labels of the candidate hold for theirs, where they have none."""
    assert wanted.against is not None  # noqa: S101  # the caller's choice
    table = _table(wanted.against, ready.found, wanted)
    rows = predictions_of(table, ready.means.of_another(table), source_of(wanted.against))
    if rows.labels is None and rows.named:
        return replace(rows, labels=labels_for(rows, ready.candidate))
    return rows


# What is read


def looked_up(settings: Settings, wanted: Wanted, parts: ExitStack) -> Seen | None:
    """The model in the lake that was named, or that is needed or there anyway; None where there is none."""
    in_lake = any(
        isinstance(each, str) and gate_lake.place(each) is not None for each in (wanted.data, wanted.against)
    )
    named = isinstance(wanted.reference, str) and _file_of(wanted.reference) is None
    try:
        ask = parts.enter_context(gate_lake.opened(settings, wanted.lake, wanted.token))
        found = gate_lake.seen(ask, wanted.model)
    except DataDirectoryError:
        if wanted.lake is not None or in_lake or named:
            raise
        return None
    return gate_lake.known_model(found, wanted.model) if in_lake or named else found


def _table(data: str | pa.Table, found: Seen | None, wanted: Wanted) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    where = gate_lake.place(data)
    if where is None:
        return read_file(Path(data))
    stage, which = where
    model = gate_lake.known_model(found, wanted.model)
    if stage == gate_lake.REFERENCE:
        return gate_lake.reference_rows(model, which)
    return gate_lake.window_of_stage(model, stage, gate_lake.span_of(model, stage, which))


def source_of(data: str | pa.Table) -> str:
    """Where rows are from, for people."""
    return "a table" if isinstance(data, pa.Table) else data


def named_reference(reference: str | pa.Table | None) -> str | None:
    """The name of a reference, as it was asked for; None where none was."""
    if reference is None:
        return None
    if isinstance(reference, pa.Table):
        return gate_lake.REFERENCE
    brought = _file_of(reference)
    return reference if brought is None else brought[0]


def _file_of(reference: str) -> tuple[str, Path] | None:
    """The name and file of a reference that is brought; None for the name of one in the lake."""
    name, equals, path = reference.partition("=")
    if equals:
        return name, Path(path)
    return (Path(reference).stem, Path(reference)) if Path(reference).is_file() else None


def _references(  # noqa: PLR0917  # a reference and all that it is made of
    wanted: Wanted, subject: Subject, means: Means, found: Seen | None, at: datetime, texts: str
) -> list[Reference]:
    brought: list[Reference] = []
    name: str | None = None
    match wanted.reference:
        case None:
            pass
        case str(said):
            named = _file_of(said)
            if named is None:
                name = said
            else:
                brought_table = read_file(named[1])
                rows = predictions_of(brought_table, means.of_another(brought_table), str(named[1]))
                brought.append(reference_of(subject, named[0], str(named[1]), rows, at))
        case table:
            rows = predictions_of(table, means.of_another(table), "the reference")
            brought.append(reference_of(subject, gate_lake.REFERENCE, "a table", rows, at))
    if found is None:
        return brought
    mentioned = set(_QUOTED.findall(texts))
    kept = gate_lake.references_of(found, name, mentioned, at)
    taken = {each.sets.column("reference")[0].as_py() for each in brought}
    return [each for each in kept if each.sets.column("reference")[0].as_py() not in taken] + brought


def _notes(rows: Brought) -> list[str]:
    return (
        [] if rows.labels is not None else ["no row has a label, so that nothing is known of how good it is"]
    )
