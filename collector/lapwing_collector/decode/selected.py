"""Some records of a request that was read both ways, as the source of rows."""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.columns import Index, select
from lapwing_collector.decode.fixed import hex_ids
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.tags import resource_texts, tag_maps


class Selected:
    """The records `rows` (ascending) of `request`."""

    def __init__(self, request: Request, rows: Index) -> None:
        self.received_at_ns = request.received_at_ns
        self._request = request
        self._rows = rows
        self._resources = pa.array(request.resources[rows])

    @property
    def count(self) -> int:
        """The number of records."""
        return len(self._rows)

    @property
    def times(self) -> npt.NDArray[np.uint64]:
        """When each happened, in nanoseconds: its time, else when it was observed, else received."""
        return self._request.times[self._rows]

    def attribute(self, key: str) -> pa.Array:
        """A known attribute; null where absent or not fitting."""
        return self._request.attributes.column(key, self._rows)

    def prediction_ids(self) -> pa.StringArray:
        """The prediction ids; a missing or empty one is replaced by one that a retry gets again.

        It is `<process id>-<sequence>` where the record has both, else a hash of the resource and the record.
        """
        ids = self.attribute(semconv.PREDICTION_ID)
        missing = pc.fill_null(pc.equal(ids, ""), fill_value=True)
        if not pc.any(missing).as_py():
            return ids
        places = pc.indices_nonzero(missing)
        sequences = self.attribute(semconv.SEQUENCE).take(places).to_pylist()
        made = [
            self._made_id(row, sequence)
            for row, sequence in zip(self._rows[places.to_numpy()].tolist(), sequences, strict=True)
        ]
        return pc.replace_with_mask(ids, missing, pa.array(made, pa.string()))

    def tags(self, known: frozenset[str]) -> pa.MapArray:
        """The attributes other than `known`, as text."""
        return tag_maps(self._request, self._rows, known)

    def of_resource(self, key: str) -> pa.StringArray:
        """An attribute of the resource where it is text."""
        return pa.array(self._request.resource_texts(key), pa.string()).take(self._resources)

    def resources(self) -> pa.MapArray:
        """All attributes of the resource, as text."""
        return resource_texts(self._request.resource_attributes).take(self._resources)

    def hex_id(self, field: str, width: int) -> pa.StringArray:
        """The field `trace_id` or `span_id` in hexadecimal, null where it is not `width` bytes long."""
        return hex_ids(select(self._request.records.field(field), self._rows), width)

    def _made_id(self, row: int, sequence: int | None) -> str:
        request = self._request
        resource = request.resources[row]
        process = request.processes[resource]
        if process is not None and sequence is not None:
            return f"{process}-{sequence}"
        content = hashlib.blake2b(digest_size=16)
        content.update(request.message.resource_logs[resource].resource.SerializeToString())
        content.update(request.content(row))
        return content.hexdigest()
