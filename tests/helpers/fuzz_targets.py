"""What is fuzzed: readers of bytes that anybody may send, or a disk may have changed.

A target takes any bytes, and fails only where the reader does what it must not: end in anything but its own
error, take too much memory or time, or find what nobody wrote.
"""

import random
import zlib
from collections.abc import Callable

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from helpers import decode_requests as otlp
from helpers import decode_tables as tables
from helpers.faults_claims import Claims, Shape
from lapwing_collector.decode import decode_logs, from_json
from lapwing_collector.errors import DecodeError
from lapwing_collector.receive.encodings import decompressor
from lapwing_collector.wal.record import Entry, Gap, Record, scan

TIME_NS = otlp.TIME_NS
SEAL = 0x5EA1
RECORDS = [
    Record(position, f"head {position}".encode(), (bytes([position]) * 40, b"\xffLW\x02" * position))
    for position in range(1, 9)
]
LOG = b"".join(part for record in RECORDS for part in record.encode(SEAL))
MOST_INFLATED = 1 << 20


def protobuf(data: bytes) -> None:
    """An OTLP request is decoded, or refused."""
    try:
        decoded = decode_logs(data, TIME_NS)
    except DecodeError:
        return
    assert decoded.rejected >= 0


def json(data: bytes) -> None:
    """An OTLP request in JSON is written anew as protobuf that the runtime reads, or refused."""
    try:
        converted = from_json(data)
    except DecodeError:
        return
    ExportLogsServiceRequest.FromString(converted.payload)
    protobuf(converted.payload)


def arrow(data: bytes) -> None:
    """A table in a record is decoded, or the record is rejected."""
    protobuf(otlp.request(tables.predictions(data, {"lapwing.sequence": 1})))


def log(data: bytes) -> None:
    """Of a damaged log only whole records are found, in order, and every byte is accounted for.

    The bytes say how the log is damaged.
    """
    changed = bytearray(LOG)
    dice = random.Random(data)
    for at in range(0, len(data) - 3, 4):
        place = int.from_bytes(data[at + 1 : at + 3], "little") % (len(changed) + 1)
        match data[at] % 5:
            case 0:
                changed[place : place + 1] = bytes([data[at + 3]])
            case 1:
                del changed[place : place + data[at + 3]]
            case 2:
                changed[place:place] = dice.randbytes(data[at + 3])
            case 3:
                changed[place:place] = LOG[place % len(LOG) :][: data[at + 3]]
            case _:
                del changed[place:]
    written = {record.position: record for record in RECORDS}
    offset = last = 0
    for found in scan(bytes(changed), SEAL, 1, 100):
        if isinstance(found, Gap):
            assert found.start == offset < found.end
            offset = found.end
            continue
        assert isinstance(found, Entry)
        record = written[found.position]
        assert found.position > last
        assert (found.head, bytes(found.body)) == (record.head, b"".join(record.body))
        last = found.position
        offset += record.size
    assert offset == len(changed)


def raw_log(data: bytes) -> None:
    """Bytes that were not sealed for this file hold no record of it."""
    assert not any(isinstance(found, Entry) for found in scan(data, SEAL, 1, 100))


def compressed(data: bytes) -> None:
    """What claims to be compressed is inflated up to a bound, or refused; the first byte names the claim."""
    if not data:
        return
    unpack = decompressor(("gzip", "deflate", "zstd")[data[0] % 3])
    assert unpack is not None
    size = 0
    try:
        for part in unpack.feed(data[1:]):
            size += len(part)
            if size > MOST_INFLATED:
                return
        unpack.finish()
    except DecodeError:
        return


def seeds() -> dict[str, list[bytes]]:
    """Good inputs that fuzzing starts from, by target."""
    claims = Claims()
    requests = [claims.make(shape, 3, "fuzz").body() for shape in Shape]
    texts = [MessageToJson(ExportLogsServiceRequest.FromString(body)).encode() for body in requests]
    streams = [
        ExportLogsServiceRequest.FromString(requests[2]).resource_logs[0].scope_logs[0].log_records[0].body
    ]
    zipped = [b"\0" + zlib.compress(requests[0], wbits=31), b"\1" + zlib.compress(requests[0])]
    return {
        "protobuf": requests,
        "json": texts,
        "arrow": [body.bytes_value for body in streams],
        "log": [bytes(range(40)), b"\0\1\0\xff"],
        "raw_log": [b"".join(part for record in RECORDS for part in record.encode(SEAL + 1))],
        "compressed": zipped,
    }


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (protobuf, json, arrow, log, raw_log, compressed)
}
