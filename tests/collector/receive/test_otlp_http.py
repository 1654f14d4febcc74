"""The OTLP/HTTP receiver, item by item of the protocol's conformance list, over real connections."""

import gzip
import itertools
import json
import random
import zlib
from collections.abc import Iterator

import pytest
import zstandard
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from helpers.decode_json import json_request
from helpers.memory import PeakMemory
from helpers.receive_server import PROTOBUF, Answer, Recorder, Running, serving
from lapwing_collector.errors import DecodeError, UnavailableError
from lapwing_collector.receive import Accepted, Limits, Readiness
from lapwing_collector.receive.encodings import Decompressor, decompressor

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}
GZIP = PROTOBUF | {"Content-Encoding": "gzip"}


def unpacking(encoding: str) -> Decompressor:
    """What undoes an encoding."""
    unpack = decompressor(encoding)
    assert unpack is not None
    return unpack


def zstd(data: bytes, level: int = 3) -> bytes:
    """One zstd frame that does not say how long it becomes."""
    compressor = zstandard.ZstdCompressor(level=level).compressobj()
    return compressor.compress(data) + compressor.flush()


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """A server with the default limits, for tests that need no other."""
    with serving(Recorder()) as server:
        yield server


@pytest.mark.parametrize(
    "content_type",
    ["application/x-protobuf", "Application/X-Protobuf", "application/x-protobuf; charset=utf-8"],
)
def test_protobuf_is_answered_with_protobuf(shared: Running, content_type: str) -> None:
    """5a-2: case and parameters of the Content-Type do not matter, and the answer has the same."""
    answer = shared.post(b"records", {"Content-Type": content_type})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", 'application/json; charset="utf-8"']
)
def test_json_is_answered_with_json(shared: Running, content_type: str) -> None:
    """5a-2: JSON arrives as protobuf, and is answered with JSON."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        answer = server.post(b'{"resourceLogs":[{}]}', {"Content-Type": content_type})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.body) == {}
    assert recorder.bodies == [b"\n\x00"]


def test_rejections_of_both_readers_are_added_up(shared: Running) -> None:
    """What JSON's reader rejects and what is rejected behind it come in one partial success."""
    with shared.ingesting(Recorder(lambda: Accepted(2, "no name."))) as server:
        answer = server.post(json_request(7), JSON)
    assert json.loads(answer.body)["partialSuccess"] == {
        "rejectedLogRecords": "3",
        "errorMessage": "1 of 1 records rejected. "
        "For example record 0: a record must be an object, not 7. no name.",
    }


def test_json_that_is_none_is_400_in_json(shared: Running) -> None:
    """5a-13: what is refused is told in JSON to who sent JSON, with the reason and a BadRequest detail."""
    answer = shared.post(b"{", JSON)
    said = json.loads(answer.body)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert said["code"] == code_pb2.INVALID_ARGUMENT
    assert said["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert said["details"][0]["fieldViolations"] == [{"field": "body", "description": said["message"]}]


def test_success_has_no_partial_success(shared: Running) -> None:
    """5a-3: full success is an empty message, with partial_success unset."""
    answer = shared.post(b"records")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "accepted", [Accepted(rejected=3, message="model name too long"), Accepted(message="hm")]
)
def test_rejected_records_and_warnings_are_told(shared: Running, accepted: Accepted) -> None:
    """Rejected records, and warnings without any, come back as 200 with partial_success."""
    with shared.ingesting(Recorder(lambda: accepted)) as server:
        answer = server.post(b"records")
    partial = ExportLogsServiceResponse.FromString(answer.body).partial_success
    assert answer.status == 200
    assert (partial.rejected_log_records, partial.error_message) == (accepted.rejected, accepted.message)


def test_a_long_message_is_cut(shared: Running) -> None:
    """5a-21: the answer stays small however much there is to say."""
    with shared.ingesting(Recorder(lambda: Accepted(100_000, "x" * 10 * MIB))) as server:
        answer = server.post(b"records")
    assert ExportLogsServiceResponse.FromString(answer.body).partial_success.rejected_log_records == 100_000
    assert len(answer.body) < MIB


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PROTOBUF, b"records"),
        (PROTOBUF | {"Content-Encoding": "identity"}, b"records"),
        (GZIP, gzip.compress(b"records", mtime=0)),
        (PROTOBUF | {"Content-Encoding": "GZip"}, gzip.compress(b"records", mtime=0)),
        (
            GZIP,
            gzip.compress(b"rec", mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"ords", mtime=0),
        ),
        (PROTOBUF | {"Content-Encoding": "deflate"}, zlib.compress(b"records")),
        (PROTOBUF | {"Content-Encoding": "zstd"}, zstd(b"records")),
        (PROTOBUF | {"Content-Encoding": "zstd"}, zstd(b"rec") + zstd(b"") + zstd(b"ords")),
    ],
)
def test_encodings_are_undone(shared: Running, headers: dict[str, str], body: bytes) -> None:
    """5a-4: identity, gzip, deflate and zstd, also of several members, arrive as the same bytes."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        assert server.post(body, headers).status == 200
    assert recorder.bodies == [b"records"]


def test_an_empty_body_is_success(shared: Running) -> None:
    """5a-5: a request without anything in it is accepted."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        assert server.post(b"").status == 200
    assert recorder.bodies == [b""]


def test_what_cannot_be_decoded_is_400_with_details(shared: Running) -> None:
    """5a-13: a malformed body is 400 with INVALID_ARGUMENT, the reason, and a BadRequest detail."""
    with shared.ingesting(Recorder.failing(DecodeError("field 3 is cut off"))) as server:
        answer = server.post(b"records")
    detail = error_details_pb2.BadRequest()
    assert answer.status == 400
    assert (answer.error.code, answer.error.message) == (code_pb2.INVALID_ARGUMENT, "field 3 is cut off")
    assert answer.error.details[0].Unpack(detail)
    assert detail.field_violations[0].description == "field 3 is cut off"


def test_decode_errors_choose_their_status(shared: Running) -> None:
    """A DecodeError's status hint is the status of the answer."""
    with shared.ingesting(Recorder.failing(DecodeError("too many records", status_hint=413))) as server:
        assert server.post(b"records").status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"records",
        gzip.compress(b"records", mtime=0)[:-1],
        gzip.compress(b"records", mtime=0) + b"more",
        b"\x1f\x8b" + b"\xff" * 50,
    ],
)
def test_bad_gzip_is_400(shared: Running, body: bytes) -> None:
    """5a-14: what is not gzip, or only the beginning of it, is 400 with a Status."""
    answer = shared.post(body, GZIP)
    assert answer.status == 400
    assert "gzip" in answer.error.message


@pytest.mark.parametrize("encoding", ["deflate", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "more", "none of it", "nothing"])
def test_other_bad_encodings_are_400(shared: Running, encoding: str, damage: str) -> None:
    """5a-14: what is not of its encoding, or only the beginning of it, is 400 with a Status."""
    whole = zlib.compress(b"records") if encoding == "deflate" else zstd(b"records")
    body = {"cut": whole[:-1], "more": whole + b"more", "none of it": b"records", "nothing": b""}[damage]
    answer = shared.post(body, PROTOBUF | {"Content-Encoding": encoding})
    assert answer.status == 400
    assert f"not valid {encoding}" in answer.error.message


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application"}])
def test_other_content_types_are_415(shared: Running, headers: dict[str, str]) -> None:
    """5a-15: an unknown or missing Content-Type is 415 with a Status, as JSON for who sent no protobuf."""
    answer = shared.post(b"{}", headers)
    assert (answer.status, answer.headers["Content-Type"]) == (415, "application/json")
    assert "application/x-protobuf" in json.loads(answer.body)["message"]


def test_other_encodings_are_415(shared: Running) -> None:
    """5a-15: an unknown Content-Encoding is 415 with a Status that names it and what is known."""
    answer = shared.post(b"records", PROTOBUF | {"Content-Encoding": "br"})
    assert answer.status == 415
    assert "'br'" in answer.error.message
    assert "gzip" in answer.error.message


def test_get_is_405(shared: Running) -> None:
    """5a-15: another method is 405 with Allow and a Status."""
    answer = shared.request("GET", "/v1/logs", headers=PROTOBUF)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert answer.error.code == code_pb2.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/", "/v1/log", "/v1/logs/", "/v1/traces", "/v1/metrics"])
def test_other_paths_are_404(shared: Running, path: str) -> None:
    """5a-15, 5a-25: other paths, traces and metrics among them, are 404 with a Status, never OK."""
    answer = shared.post(b"records", path=path)
    assert answer.status == 404
    assert answer.error.code == code_pb2.NOT_FOUND


def test_64_mib_are_accepted_by_default(shared: Running) -> None:
    """5a-16: by default a body may have 64 MiB."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        assert server.post(bytes(64 * MIB)).status == 200
    assert [len(body) for body in recorder.bodies] == [64 * MIB]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_one_byte_more_is_413_that_the_client_can_read(
    shared: Running, chunked: bool, connection: str
) -> None:
    """5a-16: one byte over the limit is 413, read by a client that sends everything before it listens."""
    body = (bytes(MIB) for _ in range(65)) if chunked else bytes(64 * MIB + 1)
    answer = shared.post(body, PROTOBUF | {"Connection": connection})
    assert answer.status == 413
    assert answer.error.code == code_pb2.RESOURCE_EXHAUSTED
    assert not answer.error.details


def deflated_zeros(mebibytes: int) -> bytes:
    """So many MiB of zeros as one zlib stream, made of copies of a compressed MiB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 15)
    piece = bytes(MIB)
    head = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + again * (mebibytes - 1) + compressor.flush()


BOMBS = {
    "gzip": lambda: gzip.compress(bytes(MIB)) * 1024,
    "deflate": lambda: deflated_zeros(1024),
    "zstd": lambda: zstd(bytes(MIB)) * 1024,
}


@pytest.mark.parametrize("encoding", BOMBS)
def test_a_bomb_is_413_and_needs_little_memory(shared: Running, encoding: str) -> None:
    """5a-17: a body that decompresses to 1 GiB is 413, and the process grows by less than 100 MB."""
    body = BOMBS[encoding]()
    with PeakMemory() as peak:
        answer = shared.post(body, PROTOBUF | {"Content-Encoding": encoding})
    assert answer.status == 413
    assert peak.grown_bytes < 100 * MIB


def test_a_zstd_frame_may_not_ask_for_a_large_window(shared: Running) -> None:
    """A frame that makes its reader set aside more than 8 MiB is refused before it does."""
    large = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=large).compressobj()
    answer = shared.post(
        compressor.compress(b"records") + compressor.flush(), PROTOBUF | {"Content-Encoding": "zstd"}
    )
    assert answer.status == 400
    assert "too much memory" in answer.error.message


def test_many_empty_gzip_members_are_refused(shared: Running) -> None:
    """A body of nothing but gzip members, each of which costs time, is 400."""
    assert shared.post(gzip.compress(b"", mtime=0) * 5000, GZIP).status == 400


def test_limits_can_be_set() -> None:
    """5a-18: the limit holds for the body as sent and as decompressed, where it is set."""
    recorder = Recorder()
    with serving(recorder, Limits(body_bytes=1000)) as server:
        assert server.post(bytes(1000)).status == 200
        assert server.post(bytes(1001)).status == 413
        assert server.post(gzip.compress(bytes(1000)), GZIP).status == 200
        assert server.post(gzip.compress(bytes(1001)), GZIP).status == 413
        incompressible = gzip.compress(random.Random(0).randbytes(1000))  # not for secrets
        assert server.post(iter([incompressible]), GZIP).status == 413
    assert [len(body) for body in recorder.bodies] == [1000, 1000]


@pytest.mark.parametrize(("retry_after_s", "told"), [(1, "1"), (2, "2"), (30, "3"), (0, "1")])
def test_unavailable_is_503_with_a_short_retry_after(shared: Running, retry_after_s: int, told: str) -> None:
    """5a-19, 5a-20: what cannot be stored now is 503 with Retry-After from 1 to 3 seconds."""
    with shared.ingesting(Recorder.failing(UnavailableError("the disk is full", retry_after_s))) as server:
        answer = server.post(b"records")
    assert (answer.status, answer.headers["Retry-After"]) == (503, told)
    assert (answer.error.code, answer.error.message) == (code_pb2.UNAVAILABLE, "the disk is full")


def test_a_bug_is_503_and_logged(shared: Running, caplog: pytest.LogCaptureFixture) -> None:
    """5a-20: any other exception is 503 too, as clients drop their data at 500; its text stays inside."""
    with shared.ingesting(Recorder.failing(TimeoutError("secret"))) as server:
        answer = server.post(b"records")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "secret" not in answer.error.message
    assert "TimeoutError: secret" in caplog.text


@pytest.mark.parametrize(
    ("now", "status", "body"),
    [
        (Readiness(ready=True, replaying=False), 200, {"status": "ready", "replaying": False}),
        (Readiness(ready=True, replaying=True), 200, {"status": "ready", "replaying": True}),
        (Readiness(ready=False, replaying=False), 503, {"status": "not ready", "replaying": False}),
    ],
)
def test_health_and_readiness(now: Readiness, status: int, body: dict[str, object]) -> None:
    """5a-30: /healthz is 200 while the process serves; /readyz tells whether requests are accepted."""
    with serving(Recorder(), readiness=lambda: now) as server:
        ready: Answer = server.request("GET", "/readyz")
        assert server.request("GET", "/healthz").status == 200
    assert (ready.status, json.loads(ready.body)) == (status, body)


PACKERS = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd}


@pytest.mark.parametrize("encoding", PACKERS)
@given(
    members=st.lists(st.binary(max_size=2000), min_size=1, max_size=4), cuts=st.lists(st.integers(0, 3000))
)
def test_decompressing_gives_back_what_was_compressed(
    encoding: str, members: list[bytes], cuts: list[int]
) -> None:
    """However a body is cut into chunks, decompressing gives the bytes that went in."""
    members = members[:1] if encoding == "deflate" else members
    body = b"".join(PACKERS[encoding](member) for member in members)
    unpack = unpacking(encoding)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert b"".join(piece for chunk in chunks for piece in unpack.feed(chunk)) == b"".join(members)
    unpack.finish()


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 258])
def test_gunzip_makes_pieces_of_at_most_1_mib(size: int) -> None:
    """Whatever one chunk decompresses to comes in pieces of at most 1 MiB, to the last byte."""
    data = zlib.crc32(b"seed").to_bytes(4, "big") * (size // 4) + bytes(size % 4)
    gunzip = unpacking("gzip")
    pieces = list(gunzip.feed(gzip.compress(data, mtime=0)))
    gunzip.finish()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= MIB
