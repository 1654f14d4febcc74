"""Removes every row of a subject from the lake, and proves it: rows, old states of the lake, files, traces.

What holds a row: the Parquet files that the newest snapshot sees, those that only older snapshots see, those
that wait to be deleted, and the smallest and greatest values that the catalog keeps for pruning, which stay
in freed pages of its file. All of them go.
"""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import duckdb
import pyarrow as pa

from lapwing_collector.engine import identifier, literal
from lapwing_collector.engine.place import Location
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.expiry import delete_files, expire_snapshots
from lapwing_collector.lake.files import StoredFile, TableName, table_files
from lapwing_collector.lake.rewriting import ConflictError, Rewriter
from lapwing_collector.lake.snapshots import DataFile, add_files
from lapwing_collector.lake.statements import sharing, statement
from lapwing_collector.lake.tables import Tables
from lapwing_collector.model.description import dotted, parts
from lapwing_collector.model.records import PREDICTION_ROWS

_END_OF_TIME: Final = datetime(9999, 1, 1)  # noqa: DTZ001  # times are naive UTC
_ATTEMPTS: Final = 5
_STRUCTS: Final = ("inputs", "output")
_MAPS: Final = ("tags", "resource")
_SCHEMAS: Final = ("predictions_all", "labels", "reference_rows")

_ERASURE_ROWS: Final = pa.schema(
    [
        ("erased_at", pa.timestamp("us")),
        ("requested_by", pa.string()),
        ("model", pa.string()),
        ("salt", pa.string()),
        ("asked", pa.list_(pa.string())),
        ("predictions", pa.int64()),
        ("labels", pa.int64()),
        ("files_rewritten", pa.int64()),
        ("files_deleted", pa.int64()),
        ("verified", pa.bool_()),
        ("remaining", pa.list_(pa.string())),
        ("reference_rows", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose rows are to go: any prediction that one of these names, and its labels.

    Attributes:
        table: The model's table.
        ids: Prediction ids.
        request_ids: Request ids.
        values: Fields, named as `dotted` does, with the text of a value: `("tags.user", "u-17")`.
    """

    table: str
    ids: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    @property
    def needles(self) -> list[str]:
        """The texts that must be nowhere afterwards."""
        return [*self.ids, *self.request_ids, *(value for _, value in self.values)]

    @property
    def asked(self) -> list[str]:
        """What was asked, each by itself, as it is hashed for the record."""
        return [
            *(f"id={each}" for each in self.ids),
            *(f"request_id={each}" for each in self.request_ids),
            *(f"{path}={value}" for path, value in self.values),
        ]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed.

    Attributes:
        predictions: Rows of predictions.
        labels: Rows of labels.
        reference_rows: Rows of references.
        files_rewritten: Files that held such rows.
        files_deleted: Files that are gone from the disk; other work's leftovers among them.
    """

    predictions: int
    labels: int
    reference_rows: int
    files_rewritten: int
    files_deleted: int


def erase(catalog: Catalog, rewriter: Rewriter, subject: Subject) -> Erased:
    """Remove the subject's rows from every file, and every trace of them from catalog and disk.

    Rows that still wait to be flushed are not met: flush them first.

    Raises:
        ConfigError: There is no such model, or no such field.
        ConflictError: The table kept changing.
        OSError: The disk is full, or refuses.
        duckdb.Error: A file cannot be read, or the catalog refuses.
    """
    predictions, labels, references = _tables(catalog, subject)
    ids, requests = set(subject.ids), set(subject.request_ids)
    for table in (predictions, references):
        if table is not None:
            condition, parameters = _prediction_condition(catalog, table, subject)
            found = _read(rewriter, table, condition, parameters)
            ids.update(each for each in found.column("prediction_id").to_pylist() if each)
            requests.update(each for each in found.column("request_id").to_pylist() if each)
    removed = {}
    rewritten = 0
    for table in (predictions, labels, references):
        if table is None:
            continue
        if table is predictions:
            condition, parameters = _prediction_condition(catalog, table, subject)
        elif table is labels:
            condition, parameters = _condition(tuple(ids), tuple(requests), ())
        else:
            condition, parameters = _prediction_condition(
                catalog, table, subject, tuple(ids), tuple(requests)
            )
        rows, files = _erase_from(catalog, rewriter, table, condition, parameters)
        removed[table] = rows
        rewritten += files
    described = Tables(catalog).find([table for table in (predictions, labels, references) if table])
    numbers = ", ".join(str(each.number) for each in described.values())
    # They bound the values of whole tables.
    catalog.change(statement("forget_column_totals", tables=numbers))
    while expire_snapshots(catalog, _END_OF_TIME):
        pass
    deleted = 0
    while files_gone := delete_files(catalog, _END_OF_TIME):
        deleted += len(files_gone)
    return Erased(
        predictions=removed.get(predictions, 0) if predictions else 0,
        labels=removed.get(labels, 0) if labels else 0,
        reference_rows=removed.get(references, 0) if references else 0,
        files_rewritten=rewritten,
        files_deleted=deleted,
    )


def remaining_in_lake(catalog: Catalog, rewriter: Rewriter, subject: Subject) -> list[str]:
    """Where the lake still has rows of the subject, or says a value of it, for people; empty if not."""
    found = []
    predictions, labels, references = _tables(catalog, subject)
    for table in (predictions, references):
        if table is not None:
            condition, parameters = _prediction_condition(catalog, table, subject)
            if _count(rewriter, table, condition, parameters):
                found.append(f"rows of {table.sql}")
    if labels is not None and (subject.ids or subject.request_ids):
        condition, parameters = _condition(subject.ids, subject.request_ids, ())
        if _count(rewriter, labels, condition, parameters):
            found.append(f"rows of {labels.sql}")
    for table in (predictions, labels, references):
        if table is not None:
            found += [str(file) for file in unknown_files(catalog, table)]
    for path, value in subject.values:
        found += _numbers_and_categories(catalog, subject.table, path, value)
    return found


def mentions_in_catalog(catalog: Catalog, texts: Sequence[str]) -> list[str]:
    """The tables of a catalog on a server that say one of some texts; of one in a file, its bytes tell."""
    if not catalog.place.shared or not texts:
        return []
    # As rows are written as text, with quotes and backslashes doubled.
    written = {*texts, *(text.replace("\\", "\\" * 2).replace('"', '""') for text in texts)}
    says = " OR ".join(f"strpos(t::text, {literal(text)}) > 0" for text in sorted(written))
    each = [
        sharing("table_that_says", told=literal(table), table=identifier(table), says=says)
        for (table,) in catalog.native(sharing("own_tables"))
    ]
    return [table for (table,) in catalog.native(" UNION ALL ".join(each))]


def unknown_files(catalog: Catalog, table: TableName) -> list[Location]:
    """Parquet files in a table's folder that the catalog does not know: what a crash left, or foreign."""
    with catalog.exclusive():
        folder = catalog.table_folder(*table)
        if folder is None:
            return []
        known = {each.path for each in table_files(catalog, table)}
        there = (each.path for each in catalog.store.listed(folder) if each.path.name.endswith(".parquet"))
        return sorted({*there} - known, key=str)


def record_erasure(
    catalog: Catalog, subject: Subject, erased: Erased, *, by: str, at: datetime, remaining: Sequence[str]
) -> None:
    """Keep the proof in the table `erasures`: what was asked only as salted hashes.

    Whoever knows what was asked can hash it with the salt and find it.
    """
    salt = os.urandom(16).hex()
    row = {
        "erased_at": at,
        "requested_by": by,
        "model": subject.table,
        "salt": salt,
        "asked": [hashed(each, salt) for each in subject.asked],
        "predictions": erased.predictions,
        "labels": erased.labels,
        "files_rewritten": erased.files_rewritten,
        "files_deleted": erased.files_deleted,
        "verified": not remaining,
        "remaining": list(remaining),
        "reference_rows": erased.reference_rows,
    }
    table = Tables(catalog)["main", "erasures"]
    file = table.folder / f"{uuid.uuid4()}.parquet"
    written = catalog.store.write(file, [pa.Table.from_pylist([row], _ERASURE_ROWS)], table.columns)
    with catalog.transaction([file]):
        add_files(catalog, [DataFile(table, file, written)], None)


def hashed(asked: str, salt: str) -> str:
    """What the record keeps of `id=…`, `request_id=…` or `tags.user=…`: scrypt, so that guessing is slow."""
    return hashlib.scrypt(asked.encode(), salt=bytes.fromhex(salt), n=2**12, r=8, p=1, dklen=16).hex()


def _numbers_and_categories(catalog: Catalog, table: str, path: str, value: str) -> list[str]:
    """Where what was counted and found out of a field still says a value, for people."""
    path = dotted(_place(path))  # as it was counted under
    numbers = _as_stored(value)
    [(category, edge)] = catalog.rows(statement("bins_that_name"), [table, path, value, numbers])
    found = []
    if category:
        found.append(f"the bins of {path}, where the value is a category that others may have, too")
    if edge:
        found.append(f"the bins of {path}, where the value is an edge that others may have, too")
    if numbers and catalog.rows(statement("profiles_that_name"), [table, path, numbers])[0][0]:
        found.append(f"the profile of {path}, where the value is the smallest or greatest of an hour")
    if numbers:
        named = catalog.rows(statement("references_that_name"), [table, path, numbers])
        found += [
            f"version {version} of reference {name}, where the value is a quantile of {path}"
            for name, version in named
        ]
    described = catalog.rows(statement("descriptions_of", table=literal(table)))
    if any(_describes(facts, description, path, value, numbers) for description, facts in described):
        found.append(f"the description of the model, of what values {path} has")
    return found


def _as_stored(value: str) -> list[float]:
    """The numbers that the text of a field's value may have been counted as: of a FLOAT it is another."""
    try:
        number = float(value)
    except ValueError:
        return []
    if not math.isfinite(number):
        return []
    return sorted({number, pa.scalar(number, pa.float32()).as_py()})


def _describes(
    facts: str | None, description: str | None, path: str, value: str, numbers: Sequence[float]
) -> bool:
    """Whether a model's description, or the facts that it was made of, say a value of a field."""
    fields = json.loads(facts).get("fields", {}) if facts else {}
    seen = [each for name, each in fields.items() if name.lower() == path.lower()]
    if any(value in each.get("classes", ()) for each in seen):
        return True
    if any(bound in numbers for each in seen for bound in (each.get("least"), each.get("greatest"))):
        return True
    told = json.loads(description) if description else {}
    return told.get("prediction", "").lower() == path.lower() and value in told.get("classes", ())


def _tables(catalog: Catalog, subject: Subject) -> tuple[TableName | None, ...]:
    """The subject's tables of predictions, labels and references' rows, as far as they exist."""
    found = tuple(
        table if catalog.table_folder(*table) else None
        for table in (TableName(schema, subject.table) for schema in _SCHEMAS)
    )
    if not any(found):
        raise ConfigError(f"there is no model {subject.table}; `SELECT table_name FROM models` lists them")
    return found


def _erase_from(
    catalog: Catalog, rewriter: Rewriter, table: TableName, condition: str, parameters: dict[str, Any]
) -> tuple[int, int]:
    rows = files = 0
    for _ in range(_ATTEMPTS):
        try:
            for file in _files_with(catalog, rewriter, table, condition, parameters):
                done = rewriter.rewrite(
                    table,
                    [file],
                    keep=f"NOT coalesce({condition}, false)",
                    parameters=parameters,
                    carry_progress=True,
                )
                rows += done.rows_removed
                files += 1
        except ConflictError:
            continue
        return rows, files
    raise ConflictError(f"{table.sql} kept changing while rows were being erased; try again")


def _files_with(
    catalog: Catalog, rewriter: Rewriter, table: TableName, condition: str, parameters: dict[str, Any]
) -> list[StoredFile]:
    found = rewriter.read(f"SELECT DISTINCT filename FROM {table.sql} WHERE {condition}", parameters)
    by_path = {each.path: each for each in table_files(catalog, table)}
    try:
        return [by_path[catalog.located(None, name)] for name in found.column("filename").to_pylist()]
    except KeyError as error:
        raise ConflictError(f"{table.sql}: {error} left it while rows were looked for") from error


def _read(rewriter: Rewriter, table: TableName, condition: str, parameters: dict[str, Any]) -> pa.Table:
    try:
        return rewriter.read(
            f"SELECT DISTINCT prediction_id, request_id FROM {table.sql} WHERE {condition}", parameters
        )
    except duckdb.BinderException as error:
        raise ConfigError(f"{table.name} has no such field: {error}") from error


def _count(rewriter: Rewriter, table: TableName, condition: str, parameters: dict[str, Any]) -> int:
    found = rewriter.read(f"SELECT count(*) AS n FROM {table.sql} WHERE {condition}", parameters)
    return int(found.column("n")[0].as_py())


def _prediction_condition(
    catalog: Catalog,
    table: TableName,
    subject: Subject,
    ids: Sequence[str] = (),
    requests: Sequence[str] = (),
) -> tuple[str, dict[str, Any]]:
    """What is true for the subject's rows of predictions, or of references, and for those of more ids."""
    every_id, every_request = {*subject.ids, *ids}, {*subject.request_ids, *requests}
    absent = _absent(catalog, table, [path for path, _ in subject.values])
    return _condition(tuple(every_id), tuple(every_request), subject.values, absent)


def _absent(catalog: Catalog, table: TableName, paths: Sequence[str]) -> frozenset[str]:
    """Those of some fields that references have no column for; that predictions have none is a mistake."""
    if table.schema == "predictions_all":
        return frozenset()
    known = {tuple(part.lower() for part in path) for path in Tables(catalog)[table].columns}
    return frozenset(path for path in paths if not _is_known(_place(path), known))


def _is_known(place: tuple[str, ...], known: Collection[tuple[str, ...]]) -> bool:
    return tuple(part.lower() for part in place) in known or (place[0] in _MAPS and (place[0],) in known)


def _condition(
    ids: tuple[str, ...],
    request_ids: tuple[str, ...],
    values: tuple[tuple[str, str], ...],
    absent: Collection[str] = (),
) -> tuple[str, dict[str, Any]]:
    """What is true for rows that have one of the ids or values, and its parameters.

    Fields that are absent have no column; values of theirs may be in `extra`.
    """
    terms = ["false"]
    parameters: dict[str, Any] = {}
    if ids:
        terms.append("list_contains($ids, prediction_id)")
        parameters["ids"] = list(ids)
    if request_ids:
        terms.append("list_contains($request_ids, request_id)")
        parameters["request_ids"] = list(request_ids)
    for number, (path, value) in enumerate(values):
        places = [place for place in _places(path) if path not in absent or place.startswith("extra")]
        if places:
            terms.append(f"list_contains([{', '.join(places)}], $value{number})")
            parameters[f"value{number}"] = value
    return "(" + " OR ".join(terms) + ")", parameters


def _places(path: str) -> list[str]:
    """Where the text of a field's value may stand: in its column, or in `extra` where it did not fit."""
    root, *inner = _place(path)
    if root in _MAPS and inner:
        return [f"{root}[{literal(inner[0])}]"]
    if root in _STRUCTS and inner:
        column = ".".join(map(identifier, (root, *inner)))
        # A pointer names any key as it is; a path cannot say all of them.
        key = ".".join((root, *inner)).replace("~", "~0").replace("/", "~1")
        return [f"CAST({column} AS VARCHAR)", _same_number(column), f"extra ->> {literal('/' + key)}"]
    if not inner and root in PREDICTION_ROWS.names:
        return [f"CAST({identifier(root)} AS VARCHAR)"]
    raise ConfigError(
        f"{path}: expected a field such as tags.user or inputs.customer, or a column of predictions"
    )


def _place(path: str) -> tuple[str, ...]:
    """The parts of a field's name; keys of a map have no parts, and need no quotes."""
    root, _, key = path.partition(".")
    try:
        place = parts(path)
    except ValueError as error:
        if root in _MAPS and key:
            return root, key
        raise ConfigError(f"expected {error}") from error
    return (root, ".".join(place[1:])) if root in _MAPS and key else place


def _same_number(column: str) -> str:
    """The other text of a whole number: references may have 17.0 where predictions have 17, and reversed."""
    text = f"CAST({column} AS VARCHAR)"
    return (
        f"CASE WHEN typeof({column}) IN ('DOUBLE', 'FLOAT') THEN regexp_replace({text}, '\\.0$', '') "
        f"WHEN typeof({column}) = 'BIGINT' THEN {text} || '.0' END"
    )
