"""The records of several requests, side by side in one buffer."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from lapwing.semconv import PROCESS_ID
from lapwing_collector.decode.columns import Index
from lapwing_collector.decode.envelope import Envelope, Scope, resource_attributes, resource_map
from lapwing_collector.decode.identity import canonical_record, digest, process_id
from lapwing_collector.decode.lockstep import PADDING, Bytes
from lapwing_collector.model.records import DIGEST


class Records:
    """The records of `envelopes`, numbered over all of them.

    Attributes:
        data: The bytes of all records, and `PADDING` more.
        starts: Where each record begins.
        ends: Where each ends.
        resources_of: The number of each record's resource.
        envelopes_of: The place of each record's envelope.
        received_at_ns: When they arrived, in nanoseconds since the epoch.
    """

    def __init__(self, envelopes: Sequence[Envelope], received_at_ns: int) -> None:
        self.received_at_ns = received_at_ns
        self._scopes = [scope for envelope in envelopes for scope in envelope.scopes]
        contents = [record for scope in self._scopes for record in scope.records]
        self.data: Bytes = np.frombuffer(b"".join([*contents, bytes(PADDING)]), np.uint8)
        self.ends: Index = np.cumsum(np.fromiter(map(len, contents), np.int64, len(contents)))
        self.starts: Index = np.append(0, self.ends)[:-1]
        counts = [len(scope.records) for scope in self._scopes]
        self._scopes_of: Index = np.repeat(np.arange(len(self._scopes)), counts)
        numbers = {
            resource: number for number, resource in enumerate({s.resource: None for s in self._scopes})
        }
        self._resources = list(numbers)
        self._texts: dict[str, pa.StringArray] = {}
        self._attributes = [resource_attributes(resource) for resource in numbers]
        of_scope = np.array([numbers[scope.resource] for scope in self._scopes], np.int64)
        self.resources_of: Index = of_scope[self._scopes_of]
        self.envelopes_of: Index = np.repeat(np.arange(len(envelopes)), [each.count for each in envelopes])

    def content(self, record: int) -> bytes:
        """The bytes of a record."""
        return self.data[self.starts[record] : self.ends[record]].tobytes()

    def digests(self, records: Index, process: str | None, sequence: pa.Array) -> pa.Array | None:
        """What identifies those of `records` that no process has numbered; None if all are."""
        if process is not None and not sequence.null_count:
            return None
        numbered = sequence.is_valid().to_pylist() if process is not None else [False] * len(records)
        found = [
            None if known else self._digest(record)
            for record, known in zip(records.tolist(), numbered, strict=True)
        ]
        return pa.array(found, DIGEST)

    def processes_of(self, resources: Index) -> tuple[Index, list[str | None]]:
        """The process of each resource as place in the list of process ids."""
        of_resource, ids = self._processes
        return of_resource[resources], ids

    def of_resources(self, key: str, resources: Index) -> pa.StringArray:
        """An attribute of each resource where it is text."""
        if key not in self._texts:
            found = (attributes.get(key) for attributes in self._attributes)
            texts = [value if isinstance(value, str) else None for value in found]
            self._texts[key] = pa.array(texts, pa.string())
        return self._texts[key].take(pa.array(resources))

    def resource_maps(self, resources: Index) -> pa.MapArray:
        """All attributes of each resource, as text."""
        return self._maps.take(pa.array(resources))

    @cached_property
    def _processes(self) -> tuple[Index, list[str | None]]:
        ids = [process_id(attributes.get(PROCESS_ID)) for attributes in self._attributes]
        distinct = list(dict.fromkeys(ids))
        number = {process: number for number, process in enumerate(distinct)}
        return np.array([number[process] for process in ids], np.int64), distinct

    @cached_property
    def _maps(self) -> pa.MapArray:
        return pa.concat_arrays([resource_map(each) for each in self._resources])

    def _digest(self, record: int) -> bytes:
        scope: Scope = self._scopes[self._scopes_of[record]]
        content = canonical_record(self.content(record))
        return digest(scope.resource, scope.resource_url, scope.scope, scope.scope_url, content)
