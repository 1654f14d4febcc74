"""Connections, back-pressure, time limits, starting and stopping of the receiver."""

import asyncio
import gc
import http.client
import logging
import socket
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

from helpers.receive_server import PROTOBUF, Answer, GatedIngest, Recorder, Running, serving
from helpers.waiting import wait_until
from lapwing_collector.decode import from_json
from lapwing_collector.errors import AddressInUseError, ConfigError, UnavailableError
from lapwing_collector.listening import listen
from lapwing_collector.receive import Accepted, Intake, Limits, Readiness, Server, create_app
from lapwing_collector.receive.server import _Protocol

REQUEST = b"POST /v1/logs HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-protobuf\r\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """A server with the default limits, for tests that need no other."""
    with serving(Recorder()) as server:
        yield server


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Python's own garbage collector, which finds what holds itself some time later, is off."""
    gc.disable()
    yield
    gc.enable()


def read_all(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_health(connection: socket.socket) -> None:
    """Read the answer of /healthz, which may come in parts."""
    said = b""
    while not said.endswith(b"}"):
        said += connection.recv(65536)
    assert said.startswith(b"HTTP/1.1 200")


def test_keep_alive(shared: Running) -> None:
    """5a-22: one connection carries many requests, also after one of them was refused before its body."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        for headers, status in [(PROTOBUF, 200), ({}, 415), (PROTOBUF, 200)]:
            connection.request("POST", "/v1/logs", bytes(200_000), headers)
            assert Answer.read(connection).status == status
        connection.close()
    assert len(recorder.bodies) == 2


def test_chunked(shared: Running) -> None:
    """5a-22: a body without Content-Length arrives whole."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        assert server.post(iter([b"re", b"cor", b"ds"])).status == 200
    assert recorder.bodies == [b"records"]


def test_expect_100_continue(shared: Running) -> None:
    """5a-22: a client that asks first is told to continue, and its body arrives."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server, server.connect() as connection:
        connection.sendall(
            REQUEST + b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        assert read_all(connection).startswith(b"HTTP/1.1 200")
    assert recorder.bodies == [b"hi"]


def test_expect_100_continue_of_too_much() -> None:
    """A client that asks before it sends too much is refused at once, and the connection is closed."""
    with serving(Recorder(), Limits(body_bytes=1)) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 413")


def test_pipelined(shared: Running) -> None:
    """5a-22: requests sent without waiting are answered in order."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"Content-Length: 1\r\n\r\na" + REQUEST + b"Content-Length: 1\r\n\r\nb")
        connection.sendall(b"GET /v1/logs HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answers = read_all(connection)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"405"]
    assert recorder.bodies == [b"a", b"b"]


def test_http_1_0(shared: Running) -> None:
    """5a-22: an HTTP/1.0 client gets its answer and the end of the connection."""
    with shared.ingesting(Recorder()) as server, server.connect() as connection:
        connection.sendall(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: 1\r\n\r\na")
        assert b" 200 OK\r\n" in read_all(connection)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_stock_exporter_delivers(shared: Running, compression: Compression) -> None:
    """5a-32: OpenTelemetry's own Python SDK and exporter deliver a record."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        host, port = server.address
        provider = LoggerProvider()
        exporter = OTLPLogExporter(endpoint=f"http://{host}:{port}/v1/logs", compression=compression)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        provider.get_logger("test").emit(LogRecord(timestamp=1, body={"x": 1}, event_name="ml.prediction"))
        provider.shutdown()
    (request,) = map(ExportLogsServiceRequest.FromString, recorder.bodies)
    assert request.resource_logs[0].scope_logs[0].log_records[0].event_name == "ml.prediction"


def test_a_request_waits_for_room() -> None:
    """5a-19: a request that finds no room waits, and is taken once others are done."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=1000, in_flight_bytes=1500)
    with serving(ingest, limits) as server, ThreadPoolExecutor() as clients:
        answers = [clients.submit(server.post, bytes(1000))]
        ingest.entered.acquire()
        answers += [clients.submit(server.post, bytes(size)) for size in (1000, 400)]
        assert server.request("GET", "/healthz").status == 200
        assert len(ingest.bodies) <= 2, "not all three fit"
        ingest.open()
        assert [answer.result().status for answer in answers] == [200, 200, 200]


def test_a_request_larger_than_the_room_is_taken_beside_small_ones() -> None:
    """A body that is larger than all in hand may be together waits for large ones only."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=100_000, in_flight_bytes=80_000, room_wait_s=20)
    with serving(ingest, limits) as server, ThreadPoolExecutor() as clients:
        answers = [clients.submit(server.post, bytes(19_000))]
        ingest.entered.acquire()
        answers.append(clients.submit(server.post, bytes(100_000)))
        ingest.entered.acquire()
        ingest.open()
        assert [answer.result().status for answer in answers] == [200, 200]
        assert max(map(len, ingest.bodies)) == 100_000


def test_bodies_that_came_in_part_do_not_wait_for_each_other() -> None:
    """Of many large bodies that arrive at once some are read whole, while the others hold nothing yet."""
    recorder = Recorder()
    limits = Limits(body_bytes=200_000, in_flight_bytes=400_000, room_wait_s=20)
    with serving(recorder, limits) as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(12)]
        for connection in connections:
            connection.sendall(REQUEST + b"Content-Length: 200000\r\n\r\n" + bytes(100_000))
        with ThreadPoolExecutor(12) as clients:
            rests = [clients.submit(connection.sendall, bytes(100_000)) for connection in connections]
            answers = [clients.submit(connection.recv, 65_536) for connection in connections]
            assert all(rest.result() is None for rest in rests)
            assert [answer.result()[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 12


def test_a_slow_client_gives_back_the_room_that_it_announced() -> None:
    """Clients that announce large bodies and send little of them leave the room to others before long."""
    limits = Limits(body_bytes=100_000, in_flight_bytes=150_000, room_wait_s=20)
    with serving(Recorder(), limits) as server, server.connect() as slow:
        slow.sendall(REQUEST + b"Content-Length: 100000\r\n\r\n" + bytes(20_000))
        assert server.post(bytes(100_000)).status == 200


def test_without_room_it_is_503() -> None:
    """5a-19: a request that finds no room in time is 503 with Retry-After 1, and later ones are taken."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=1000, in_flight_bytes=1500, room_wait_s=0.05)
    with serving(ingest, limits) as server, ThreadPoolExecutor() as clients:
        first = clients.submit(server.post, bytes(1000))
        ingest.entered.acquire()
        refused = server.post(bytes(1000))
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        ingest.open()
        assert first.result().status == 200
        assert [server.post(bytes(1000)).status for _ in range(5)] == [200] * 5


def test_what_waits_for_room_holds_little() -> None:
    """Of the bodies of many clients that find no room, little is read while they wait for it."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=500_000, in_flight_bytes=500_000, room_wait_s=0.5, answer_s=20)
    body = bytes(500_000)
    with serving(ingest, limits) as server, ThreadPoolExecutor(41) as clients:
        first = clients.submit(server.post, body)
        ingest.entered.acquire()
        tracemalloc.start()
        try:
            refused = [clients.submit(server.post, body) for _ in range(40)]
            assert {answer.result().status for answer in refused} == {503}
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        ingest.open()
        assert first.result().status == 200
    assert most < 40 * len(body) / 2  # a third, on a machine that does nothing else


def test_a_refused_request_leaves_nothing_behind(without_collector: None) -> None:
    """What was done with a request that is refused in the end, its body included, is gone once it is told."""
    left = []

    class Work:
        """Something that whoever ingests holds beside the body."""

    async def ingest(body: bytes) -> Accepted:
        work = Work()
        left.append(weakref.ref(work))
        raise UnavailableError("not now")

    with serving(ingest) as server:
        assert server.post(b"").status == 503
        wait_until(lambda: left[0]() is None)


def test_a_slow_ingest_is_503_but_not_cancelled() -> None:
    """A request whose storing takes too long is 503, holds its room until it is stored, and is stored."""
    ingest = GatedIngest()
    limits = Limits(body_bytes=1000, in_flight_bytes=1000, room_wait_s=0.05, answer_s=0.2)
    with serving(ingest, limits) as server:
        assert server.post(bytes(1000)).status == 503
        assert server.post(bytes(1000)).status == 503
        assert len(ingest.bodies) == 1, "the first still holds all room"
        ingest.open()
        while server.post(bytes(1000)).status != 200:
            pass


def test_a_client_that_stops_sending_is_cut_off() -> None:
    """A body of which nothing comes for a while is 408, and its connection is closed."""
    with serving(Recorder(), Limits(idle_s=0.05)) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"Content-Length: 10\r\n\r\nabc")
        assert read_all(connection).startswith(b"HTTP/1.1 408")


def test_a_client_that_sends_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of which something comes all the time, but little, is 408 in the end."""
    monkeypatch.setattr("lapwing_collector.bodies.ANY_PACE_S", 0.3)
    with serving(Recorder()) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"Content-Length: 1000\r\n\r\n")
        connection.settimeout(0.02)
        told = b""
        while not told:
            connection.sendall(b"a")
            with suppress(TimeoutError):
                told = connection.recv(65536)
    assert told.startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_early_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A connection closed in the middle of a body reaches nobody and frees its room."""
    recorder = Recorder()
    with serving(recorder, Limits(body_bytes=10, in_flight_bytes=10)) as server:
        for _ in range(3):
            with server.connect() as connection:
                connection.sendall(REQUEST + b"Content-Length: 10\r\n\r\n123456789")
        assert server.post(bytes(10)).status == 200
    assert recorder.bodies == [bytes(10)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("sent", [b"", b"POST /v1/logs HTTP/1.1\r\nHost:"])
def test_a_head_that_does_not_come_is_cut_off(sent: bytes) -> None:
    """A connection whose request head is not complete in time is closed."""
    with serving(Recorder(), Limits(idle_s=0.05)) as server, server.connect() as connection:
        connection.sendall(sent)
        assert read_all(connection) == b""


def test_a_slow_second_head_is_cut_off() -> None:
    """The time limit for a head holds for each request of a connection, not for the pause between them."""
    with serving(Recorder(), Limits(idle_s=0.05)) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"Content-Length: 1\r\n\r\na")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(60)
        connection.sendall(b"POST")
        assert connection.recv(1) == b""


def test_an_endless_head_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request head that grows too large closes the connection, long before its time is over."""
    monkeypatch.setattr(_Protocol, "head_bytes", 1000)
    with serving(Recorder()) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"X: " + b"x" * 1000)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "before",
    [
        REQUEST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        REQUEST.replace(b"protobuf", b"nonsense") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
    ids=["in hand", "refused", "answered"],
)
@pytest.mark.parametrize("trailer", [b"X: " + b"x" * 1000 + b"\r\n", b"x" * 1000], ids=["many", "endless"])
def test_trailers_without_end_are_cut_off(before: bytes, trailer: bytes) -> None:
    """Who sends more trailers than a head may have is cut off, whether or not it was answered before."""
    sent = 0
    with serving(Recorder()) as server, server.connect() as connection:
        connection.sendall(before)
        with suppress(ConnectionError):
            while sent < 64 * 1024 * 1024:
                connection.sendall(trailer)
                sent += len(trailer)
    assert sent < 16 * 1024 * 1024, "no more than what the two ends buffer between them"


def test_trailers_are_dropped(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body with trailers is taken, and they do not become headers of the request."""
    seen: list[int] = []
    complete = _Protocol.on_message_complete
    monkeypatch.setattr(
        _Protocol, "on_message_complete", lambda self: (seen.append(len(self.headers)), complete(self))
    )
    recorder = Recorder()
    with shared.ingesting(recorder) as server, server.connect() as connection:
        connection.sendall(REQUEST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"2\r\nhi\r\n0\r\nX: a\r\nY: b\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")
    assert (recorder.bodies, seen) == ([b"hi"], [4])


def test_a_large_chunked_body_of_small_pieces_is_taken(shared: Running) -> None:
    """What pieces cost on the way counts only between them, however many there are."""
    recorder = Recorder()
    with shared.ingesting(recorder) as server:
        assert server.post(iter([b"ab"] * 50_000)).status == 200
    assert recorder.bodies == [b"ab" * 50_000]


def test_the_rest_of_an_answered_request_must_come() -> None:
    """A client that was answered before its body's end, and never sends that, does not stay for ever."""
    with serving(Recorder(), Limits(message_s=0.2)) as server, server.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
        read_health(connection)
        connection.sendall(b"a")
        assert read_all(connection) == b""


def test_after_the_rest_the_connection_goes_on() -> None:
    """Once the rest of an answered request has come, the connection carries another."""
    with serving(Recorder(), Limits(message_s=0.2)) as server, server.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        read_health(connection)
        connection.sendall(b"ab")
        connection.settimeout(0.4)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(60)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_a_port_in_use_is_told_in_one_line() -> None:
    """A taken port is named in one line that says what to do."""
    with serving(Recorder()) as server:
        host, port = server.address
        with pytest.raises(AddressInUseError, match=f"^{host}:{port} is in use.*choose another port$"):
            asyncio.run(Server(Recorder(), host, port).start())


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_here_is_told(host: str) -> None:
    """An address that this machine does not have is named."""
    with pytest.raises(ConfigError, match=f"^{host}:1234 cannot be listened on"):
        asyncio.run(Server(Recorder(), host, 1234).start())


def test_stop_finishes_what_is_in_hand() -> None:
    """Stopping refuses new connections, closes idle ones, and answers the requests in hand."""
    ingest = GatedIngest()
    with serving(ingest) as server, ThreadPoolExecutor() as clients:
        idle = server.connect()
        answer = clients.submit(server.post, b"records")
        ingest.entered.acquire()
        stopped = clients.submit(server.stop, 20)
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert not stopped.done()
        ingest.open()
        assert answer.result().status == 200
        stopped.result()
        idle.close()


def test_a_socket_handed_in_outlives_the_server() -> None:
    """Who connects after a server ended waits in line on the socket, and the next server answers."""

    async def serve_once(held: socket.socket, connection: http.client.HTTPConnection) -> Answer:
        server = Server(
            create_app(Intake(ingest, Limits()), from_json=from_json, readiness=ready, guard=lambda _: None),
            "127.0.0.1",
            0,
        )
        await server.start(held.dup())
        assert server.address == held.getsockname()
        answer = await asyncio.to_thread(Answer.read, connection)
        await server.stop(1)
        return answer

    def wait_in_line() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*held.getsockname(), timeout=60)
        connection.request("POST", "/v1/logs", b"records", PROTOBUF)
        return connection

    def ready() -> Readiness:
        return Readiness(ready=True, replaying=False)

    ingest = Recorder()
    with listen("127.0.0.1", 0) as held:
        for _ in range(2):
            with closing(wait_in_line()) as connection:
                assert asyncio.run(serve_once(held, connection)).status == 200
    assert ingest.bodies == [b"records", b"records"]


def test_a_request_on_its_way_is_answered_before_the_end() -> None:
    """What reaches an idle connection as the server stops is taken, and told that the connection ends."""
    ingest = Recorder()
    with serving(ingest) as server, closing(http.client.HTTPConnection(*server.address, timeout=60)) as late:
        late.connect()
        server.call(busy_until(lambda: late.request("POST", "/v1/logs", b"records", PROTOBUF), server))
        answer = Answer.read(late)
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert ingest.bodies == [b"records"]


async def busy_until(sent: Callable[[], None], server: Running) -> None:
    """Stop the server, and let the request be sent in the moment in which it does."""
    stopping = asyncio.ensure_future(server.server.stop(5))
    await asyncio.to_thread(wait_until, lambda: not server.server._uvicorn.servers[0].is_serving())
    await asyncio.to_thread(sent)
    await stopping


def test_stop_asks_to_try_again_when_the_grace_is_over() -> None:
    """A request that is not done within the grace is 503, never 500 or success."""
    ingest = GatedIngest()
    with serving(ingest) as server, ThreadPoolExecutor() as clients:
        answer = clients.submit(server.post, b"records")
        ingest.entered.acquire()
        server.stop(0)
        assert answer.result().status == 503
        ingest.open()


def test_stop_twice_is_no_error() -> None:
    """Stopping is done once, however often it is asked for."""
    with serving(Recorder()) as server:
        server.stop()
        server.stop()


def test_signals_stay_with_the_caller() -> None:
    """A server started in the main thread installs no signal handlers of its own."""
    import signal

    before = signal.getsignal(signal.SIGINT)

    async def scenario() -> object:
        server = Server(Recorder(), "127.0.0.1", 0)
        await server.start()
        during = signal.getsignal(signal.SIGINT)
        await server.stop(1)
        return during

    assert threading.current_thread() is threading.main_thread()
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.get_loop()
        during = runner.get_loop().run_until_complete(scenario())
    assert during is before
