"""Joins batches of the same kind, model and process that were read in different ways."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.decode import fields as limits
from lapwing_collector.decode.columns import Index
from lapwing_collector.model.records import DIGEST, UNTYPED, Batch, FieldColumn

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that were made of records at once.

    Attributes:
        batch: The rows.
        records: The record of each row, by its number among all that were decoded together.
    """

    batch: Batch
    records: Index


def first_of_each(sequence: pa.Array) -> Index:
    """The places of those records of one process whose number did not come earlier."""
    values = sequence.drop_null().to_numpy()
    places = np.arange(len(sequence))
    if (values[1:] > values[:-1]).all():  # so it is where a process has sent its records in order
        return places
    valid = sequence.is_valid().to_numpy(zero_copy_only=False)
    _, first = np.unique(values, return_index=True)
    return np.sort(np.append(places[~valid], places[valid][first]))


def merge(parts: Iterable[Part], requests_of: Index) -> list[Batch]:
    """One batch for each kind, model and process, with its rows in the order of the records, each once.

    Records that nobody numbered stay apart by request: two that are the same are one record where they come
    in two requests, and two where they come in one. So do rows that share so few fields that their columns
    would be empty for the most part.

    Args:
        parts: What is joined.
        requests_of: The request of each record.
    """
    alike: dict[tuple[str, str, str | None, int | None], list[Part]] = {}
    for part in parts:
        for request, each in _by_request(part, requests_of):
            key = (each.batch.kind, each.batch.model, each.batch.process_id, request)
            alike.setdefault(key, []).append(each)
    return [batch for same in alike.values() for batch in _joined(same)]


def _by_request(part: Part, requests_of: Index) -> Iterator[tuple[int | None, Part]]:
    if part.batch.digest is None or requests_of[0] == requests_of[-1]:
        yield None, part
        return
    requests = requests_of[part.records]
    for request in np.unique(requests).tolist():
        keep = requests == request
        yield request, part if keep.all() else Part(part.batch.filter(pa.array(keep)), part.records[keep])


def _joined(parts: Sequence[Part]) -> list[Batch]:
    batches = [part.batch for part in parts]
    count = sum(batch.rows.num_rows for batch in batches)
    columns = {(field.path, field.values.type) for batch in batches for field in batch.fields}
    if len(batches) == 1 or len(columns) * count > limits.MAX_CELLS:
        return batches
    by_record = np.argsort(np.concatenate([part.records for part in parts]), kind="stable")
    sequence = pa.concat_arrays([batch.sequence for batch in batches])
    first = batches[0]
    if first.process_id is not None:
        by_record = by_record[first_of_each(sequence.take(pa.array(by_record)))]
    order = pa.array(by_record)
    (rows,) = pa.Table.from_batches([batch.rows for batch in batches]).combine_chunks().to_batches()
    return [
        Batch(
            first.kind,
            first.model,
            first.process_id,
            sequence.take(order),
            rows.take(order),
            tuple(
                FieldColumn(path, values.take(order))
                for path, kinds in _fields(batches).items()
                for values in kinds.values()
            ),
            _digests(batches, order),
        )
    ]


def _fields(batches: Sequence[Batch]) -> dict[Path, dict[pa.DataType, pa.Array]]:
    """The values of each field by their kind, over all batches."""
    found: dict[Path, dict[pa.DataType, dict[int, pa.Array]]] = {}
    for number, batch in enumerate(batches):
        for field in batch.fields:
            found.setdefault(field.path, {}).setdefault(field.values.type, {})[number] = field.values
    return {
        path: _settled(
            {
                kind: pa.concat_arrays(
                    [
                        values[number] if number in values else pa.nulls(batch.rows.num_rows, kind)
                        for number, batch in enumerate(batches)
                    ]
                )
                for kind, values in kinds.items()
            }
        )
        for path, kinds in found.items()
    }


def _settled(kinds: dict[pa.DataType, pa.Array]) -> dict[pa.DataType, pa.Array]:
    """Give empty lists the kind of the field's other lists, where it has such."""
    lists = [kind for kind in limits.LISTS if kind in kinds]
    if UNTYPED not in kinds or not lists:
        return kinds
    untyped = kinds[UNTYPED]
    empty = pc.equal(untyped.storage, "[]")
    typed = kinds[lists[0]]
    none = pa.array([[]], typed.type).take(pa.array(np.zeros(len(typed), np.int64)))
    rest = pc.if_else(empty, None, untyped.storage)
    settled = kinds | {lists[0]: pc.if_else(pc.fill_null(empty, fill_value=False), none, typed)}
    settled[UNTYPED] = pa.ExtensionArray.from_storage(UNTYPED, rest)
    return {kind: values for kind, values in settled.items() if values.null_count < len(values)}


def _digests(batches: Sequence[Batch], order: pa.Array) -> pa.Array | None:
    if all(batch.digest is None for batch in batches):
        return None
    return pa.concat_arrays(
        [pa.nulls(batch.rows.num_rows, DIGEST) if batch.digest is None else batch.digest for batch in batches]
    ).take(order)
