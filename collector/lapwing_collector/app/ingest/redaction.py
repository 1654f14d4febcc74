"""Redaction of requests, joined with the reading of tables within bounds."""

from typing import Final

import pyarrow as pa

from lapwing_collector.decode import stream
from lapwing_collector.redact import Policy, Redaction

MAX_TABLE_BYTES: Final = 1 << 26
"""What a table may take to be redacted, decompressed; its distinct values take several times as much."""


def redaction(policy: Policy | None) -> Redaction | None:
    """What a policy does to requests; None where there is nothing to do."""
    return None if policy is None else Redaction(policy, _read_table)


def _read_table(content: bytes) -> pa.RecordBatch:
    size = stream.measure(content)
    if size.bytes > MAX_TABLE_BYTES:
        raise ValueError(f"a table of {size.bytes} bytes is too large to be redacted")
    return stream.read(content)
