"""The OTLP/gRPC receiver over real connections, with an ingest that remembers what it was given."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest
import uvloop
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from helpers.receive_grpc import EXPORT, Reply, call
from helpers.receive_server import GatedIngest, Recorder
from helpers.waiting import wait_until
from lapwing_collector.errors import (
    AccessError,
    AddressInUseError,
    ConfigError,
    DecodeError,
    UnavailableError,
)
from lapwing_collector.listening import listen, reserve
from lapwing_collector.receive import Accepted, GrpcServer, Guard, Ingest, Intake, Limits, Readiness

MIB = 1024 * 1024
OK = grpc.StatusCode.OK


class Running:
    """A gRPC server that runs in a thread; `ingest`, `guard` and `ready` can be exchanged while it does."""

    def __init__(self, limits: Limits) -> None:
        self.ingest: Ingest = Recorder()
        self.guard: Guard = lambda _: None
        self.ready = True
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._thread = threading.Thread(target=self._runner.get_loop().run_forever, daemon=True)
        self._thread.start()
        self._intake = Intake(self._ingest, limits)
        self.server = GrpcServer(
            self._intake,
            "127.0.0.1",
            0,
            readiness=lambda: Readiness(ready=self.ready, replaying=False),
            guard=self._guard,
        )
        self.run(self.server.start())
        self.target = "{}:{}".format(*self.server.address)
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(self.target, options)

    async def _ingest(self, body: bytes) -> Accepted:
        return await self.ingest(body)

    @property
    def free_turns(self) -> int:
        """How many messages more could be read now."""
        return self._intake.turns._free

    @property
    def waiting(self) -> dict[str, int]:
        """How many calls wait to be read, and how many were read and wait for room."""
        return {"turn": len(self._intake.turns._line), "room": len(self._intake._budget._line)}

    def _guard(self, header: str | None) -> None:
        self.guard(header)

    def run(self, work: Any) -> None:
        """Run `work` in the server's loop and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._runner.get_loop()).result(timeout=60)

    def call(self, body: bytes = b"records", **options: Any) -> Reply:
        """Export `body`."""
        return call(self.channel, body, **options)

    def end(self) -> None:
        """Stop the server and its thread."""
        self.channel.close()
        self.run(self.server.stop(5))
        self._runner.get_loop().call_soon_threadsafe(self._runner.get_loop().stop)
        self._thread.join()
        self._runner.close()


@contextmanager
def serving(limits: Limits | None = None) -> Iterator[Running]:
    running = Running(limits or Limits())
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """A server with the default limits."""
    with serving() as running:
        yield running


@pytest.fixture
def server(shared: Running) -> Iterator[Running]:
    """The shared server, as new."""
    yield shared
    shared.ingest, shared.guard, shared.ready = Recorder(), lambda _: None, True


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_messages_arrive_as_they_were_sent(server: Running, compression: grpc.Compression) -> None:
    """Bytes arrive unread, decompressed where they were compressed, and success is an empty message."""
    server.ingest = recorder = Recorder()
    assert server.call(b"records" * 1000, compression=compression) == Reply(OK, b"")
    assert recorder.bodies == [b"records" * 1000]


def test_rejected_records_are_told(server: Running) -> None:
    """Rejected records come back as OK with a partial success."""
    server.ingest = Recorder(lambda: Accepted(3, "model name too long"))
    partial = ExportLogsServiceResponse.FromString(server.call().body).partial_success
    assert (partial.rejected_log_records, partial.error_message) == (3, "model name too long")


def test_what_cannot_be_decoded_is_an_invalid_argument(server: Running) -> None:
    """A malformed message is INVALID_ARGUMENT, with the reason in a BadRequest detail."""
    server.ingest = Recorder.failing(DecodeError("field 3 is cut off"))
    reply = server.call()
    assert (reply.code, reply.message) == (grpc.StatusCode.INVALID_ARGUMENT, "field 3 is cut off")
    assert (reply.status.code, reply.status.message) == (code_pb2.INVALID_ARGUMENT, "field 3 is cut off")
    assert reply.detail(BadRequest).field_violations[0].description == "field 3 is cut off"


@pytest.mark.parametrize(
    ("error", "told", "delay_s"),
    [
        (UnavailableError("the disk is full", 2), "the disk is full", 2),
        (UnavailableError("the disk is full", 30), "the disk is full", 3),
        (TimeoutError("secret"), "the collector failed; its log says why", 1),
    ],
)
def test_unavailable_tells_twice_when_to_come_back(
    server: Running, error: Exception, told: str, delay_s: int
) -> None:
    """What may pass is UNAVAILABLE, with the delay in the trailer of the standard and in that of Python."""
    server.ingest = Recorder.failing(error)
    reply = server.call()
    assert (reply.code, reply.message) == (grpc.StatusCode.UNAVAILABLE, told)
    assert reply.detail(RetryInfo).retry_delay.seconds == delay_s
    assert reply.trailers is not None
    own = RetryInfo.FromString(reply.trailers["google.rpc.retryinfo-bin"])
    assert own.retry_delay.seconds == delay_s


@pytest.mark.parametrize("message", ["x" * MIB, "é" * MIB, "🐦" * MIB])
def test_a_long_reason_fits_into_the_trailers(server: Running, message: str) -> None:
    """However much there is to say, a client with usual limits gets the status."""
    server.ingest = Recorder.failing(DecodeError(message))
    reply = server.call()
    assert reply.code is grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith(reply.message)
    assert len(reply.message) >= 150


def test_the_guard_is_asked_before_the_message_is_read(server: Running) -> None:
    """Who may not send is refused while the message has not begun, whatever it would be."""

    def guard(header: str | None) -> None:
        if header != "Bearer yes":
            raise AccessError("no", 401 if header is None else 403)

    def never() -> Iterator[bytes]:
        done.wait(60)
        yield b""

    server.guard = guard
    server.ingest = recorder = Recorder()
    done = threading.Event()
    calls = server.channel.stream_unary(EXPORT)
    with pytest.raises(grpc.RpcError) as refused:
        calls(never(), timeout=60)
    done.set()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert server.call(metadata=(("authorization", "Bearer no"),)).code is grpc.StatusCode.PERMISSION_DENIED
    assert server.call(metadata=(("authorization", "Bearer yes"),)).code is OK
    assert recorder.bodies == [b"records"]


def test_a_message_too_large_is_not_tried_again() -> None:
    """A message over the limit, as sent or decompressed, is RESOURCE_EXHAUSTED without RetryInfo."""
    with serving(Limits(body_bytes=1000)) as server:
        assert server.call(bytes(1000)).code is OK
        for body, compression in [(bytes(1001), None), (bytes(9999), grpc.Compression.Gzip)]:
            reply = server.call(body, compression=compression)
            assert reply.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reply.trailers is not None
            assert not {"google.rpc.retryinfo-bin", "grpc-status-details-bin"} & reply.trailers.keys()


def test_health_follows_readiness(server: Running) -> None:
    """grpc.health.v1 says whether requests are accepted, to who asks and to who watches."""
    stub = health_pb2_grpc.HealthStub(server.channel)
    services = ["", "opentelemetry.proto.collector.logs.v1.LogsService"]
    request = health_pb2.HealthCheckRequest
    serving_, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    watch = stub.Watch(request(), timeout=60)
    assert next(watch).status == serving_
    server.ready = False
    assert [stub.Check(request(service=each), timeout=60).status for each in services] == [not_serving] * 2
    assert next(watch).status == not_serving
    server.ready = True
    assert next(watch).status == serving_
    watch.cancel()
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(request(service="other"), timeout=60)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["trace.v1.TraceService", "metrics.v1.MetricsService"])
def test_other_signals_are_unimplemented(server: Running, service: str) -> None:
    """Traces and metrics are UNIMPLEMENTED, never OK."""
    reply = call(server.channel, b"", f"/opentelemetry.proto.collector.{service}/Export")
    assert reply.code is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_without_a_message_is_an_invalid_argument(server: Running) -> None:
    """A call that ends before it has said anything is refused."""
    calls = server.channel.stream_unary(EXPORT)
    with pytest.raises(grpc.RpcError) as refused:
        calls(iter([]), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_that_does_not_come_is_given_up() -> None:
    """A call whose message does not arrive in time ends, and its room is free again."""
    limits = Limits(body_bytes=70_000, in_flight_bytes=70_000, message_s=0.05)
    with serving(limits) as server:
        done = threading.Event()

        def never() -> Iterator[bytes]:
            done.wait(60)
            yield b""

        calls = server.channel.stream_unary(EXPORT)
        with pytest.raises(grpc.RpcError) as given_up:
            calls(never(), timeout=60)
        done.set()
        assert given_up.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.call(bytes(69_000)).code is OK


def test_without_room_it_is_unavailable() -> None:
    """A call that finds no room in time is UNAVAILABLE, and later ones are taken."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=100_000, in_flight_bytes=150_000, room_wait_s=0.05)
    with serving(limits) as server, ThreadPoolExecutor() as clients:
        server.ingest = ingest
        first = clients.submit(server.call, bytes(99_000))
        ingest.entered.acquire()
        assert server.call(bytes(99_000)).code is grpc.StatusCode.UNAVAILABLE
        ingest.open()
        assert first.result().code is OK
        assert [server.call(bytes(99_000)).code for _ in range(3)] == [OK] * 3


def test_messages_are_read_only_as_many_at_once_as_have_room() -> None:
    """Of calls that come together, five are in hand and five are read, as many as fit; the others wait."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=100_000, in_flight_bytes=500_000, room_wait_s=20, turn_wait_s=20, answer_s=20)
    with serving(limits) as server:
        server.ingest = ingest
        export = server.channel.unary_unary(EXPORT)
        calls = [export.future(bytes(99_000), timeout=30) for _ in range(24)]
        wait_until(lambda: server.waiting == {"turn": 14, "room": 5})
        assert len(ingest.bodies) == 5
        ingest.open()
        assert [call_.code() for call_ in calls] == [OK] * 24


def test_by_default_few_messages_are_read_at_once(server: Running) -> None:
    """With the limits that a collector has when nothing is set, too, the fifth message waits for its turn."""
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(60)
        yield b""

    stream = server.channel.stream_unary(EXPORT)
    calls = [stream.future(never(), timeout=60) for _ in range(10)]
    wait_until(lambda: server.waiting["turn"] == 6)
    assert server.free_turns == 0
    done.set()
    assert [call_.code() for call_ in calls] == [OK] * 10
    assert server.free_turns == 4


def test_calls_that_send_nothing_do_not_keep_others_out() -> None:
    """Calls that never send their message make room for those that do, and are told to try again."""
    limits = Limits(body_bytes=100_000, in_flight_bytes=200_000, turn_wait_s=0.6)
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(60)
        yield b""

    with serving(limits) as server, ThreadPoolExecutor() as clients:
        stream = server.channel.stream_unary(EXPORT)
        silent = [stream.future(never(), timeout=60) for _ in range(4)]
        wait_until(lambda: server.free_turns == 0)
        assert [clients.submit(server.call, bytes(90_000)).result().code for _ in range(5)] == [OK] * 5
        assert grpc.StatusCode.UNAVAILABLE in {call_.code() for call_ in silent if call_.done()}
        done.set()


def test_a_client_that_leaves_frees_its_room() -> None:
    """A call that is cancelled while its message is stored is stored to its end, and frees its room then."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=100_000, in_flight_bytes=100_000)
    with serving(limits) as server:
        server.ingest = ingest
        left = server.channel.unary_unary(EXPORT).future(bytes(99_000))
        ingest.entered.acquire()
        left.cancel()
        ingest.open()
        assert server.call(bytes(99_000)).code is OK
        assert len(ingest.bodies) == 2


def test_five_hundred_calls_at_once(server: Running) -> None:
    """5a-23: five hundred calls that are in hand at the same time are all answered."""
    server.ingest = ingest = GatedIngest()
    export = server.channel.unary_unary(EXPORT)
    calls = [export.future(b"%d" % number, timeout=60) for number in range(500)]
    for _ in calls:
        ingest.entered.acquire()
    ingest.open()
    assert {call_.result() for call_ in calls} == {b""}
    assert sorted(map(int, ingest.bodies)) == list(range(500))


def test_stopping_finishes_what_is_in_hand() -> None:
    """5a-23: a server that stops says so, answers the calls in hand, and takes no new ones."""
    ingest = GatedIngest()
    with serving() as server, ThreadPoolExecutor() as clients:
        server.ingest = ingest
        in_hand = clients.submit(server.call)
        ingest.entered.acquire()
        server.ingest = Recorder()  # for calls that come before the server knows that it stops
        stopping = clients.submit(server.run, server.server.stop(20))
        with closing(grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])) as late:
            while call(late, b"late").code is not grpc.StatusCode.UNAVAILABLE:
                assert not stopping.done()
        assert not in_hand.done()
        ingest.open()
        assert in_hand.result().code is OK
        stopping.result()


def idle_server(port: int) -> GrpcServer:
    """A server without anybody who sends."""
    return GrpcServer(
        Intake(Recorder(), Limits()),
        "127.0.0.1",
        port,
        readiness=lambda: Readiness(ready=True, replaying=False),
        guard=lambda _: None,
    )


def test_a_port_in_use_is_told(server: Running) -> None:
    """A port on which another server listens is refused."""
    port = server.server.address[1]
    with pytest.raises(AddressInUseError, match=f"127.0.0.1:{port} is in use"):
        asyncio.run(idle_server(port).start())


def test_servers_may_share_a_port_that_is_kept_for_them() -> None:
    """One server can follow another at once, on a port that is theirs also while neither listens."""

    async def scenario() -> None:
        first, second = idle_server(port), idle_server(port)
        await first.start(kept.dup())
        await second.start(kept.dup())
        assert first.address == second.address == kept.getsockname()
        await first.stop(1)
        await second.stop(1)

    with reserve("127.0.0.1", 0) as kept:
        port = kept.getsockname()[1]
        asyncio.run(scenario())
        with pytest.raises(AddressInUseError):
            listen("127.0.0.1", port)


def test_an_address_that_is_not_here_is_told() -> None:
    """An address that this machine does not have is named."""

    async def scenario() -> None:
        await GrpcServer(
            Intake(Recorder(), Limits()),
            "192.0.2.1",
            1234,
            readiness=lambda: Readiness(ready=True, replaying=False),
            guard=lambda _: None,
        ).start()

    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:1234 cannot be listened on"):
        asyncio.run(scenario())


def test_too_many_connections_are_refused() -> None:
    """Connections beyond the limit are closed, those within it go on."""
    with serving(Limits(connections=2)) as server:
        assert server.call().code is OK
        sockets = [socket.create_connection(server.server.address, timeout=60) for _ in range(5)]
        assert any(each.recv(1) == b"" for each in sockets[1:])
        assert server.call().code is OK
        for each in sockets:
            each.close()
