"""The gRPC server: OTLP logs by LogsService.Export, and its health by grpc.health.v1.

Messages are not parsed here: who takes them gets the bytes that came, as over HTTP, and a client that sends
something else hears INVALID_ARGUMENT instead of an internal error. The call is served as one that streams in
(on the wire the same), because only so whose token it carries is known before its message is read.

How long a message is, decompressed, is known only when it is there. So few are read at once, until there is
room for them; the others wait on the wire, where they hold no more than their stream's window.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lapwing_collector.errors import ConfigError, DecodeError, LapwingError, UnavailableError
from lapwing_collector.listening import reserve
from lapwing_collector.receive.budget import Line
from lapwing_collector.receive.intake import Accepted, Guard, Intake, Readiness, refused
from lapwing_collector.receive.limits import Limits
from lapwing_collector.receive.status import response_of, retry_after_s, status_of

SERVICE: Final = "opentelemetry.proto.collector.logs.v1.LogsService"
_STREAMS: Final = 1000
"""Calls of one connection at the same time; clients keep others back."""
_LONGEST_MESSAGE: Final = 600
"""Bytes; it travels several times in trailers, of which clients take some 8 KiB."""
_LONGEST_ANSWER: Final = 4 * 1024 * 1024
_HEALTH_POLL_S: Final = 0.2
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class GrpcServer:
    """Serves OTLP over gRPC inside the running event loop."""

    def __init__(
        self,
        intake: Intake,
        host: str,
        port: int,
        *,
        readiness: Callable[[], Readiness],
        guard: Guard,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """Prepare to serve on `host` and `port`.

        Args:
            intake: Takes the messages.
            host: Where to listen.
            port: Where to listen; 0 means any port that is free.
            readiness: Asked for the health.
            guard: Asked whether a call may send, by its `authorization`.
            credentials: For TLS; None for none.
        """
        self._host = host
        self._port = port
        self._intake = intake
        self._guard = guard
        self._credentials = credentials
        self._health = _Health(readiness)
        self._server: Any = None
        self._following: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; the port is real once `start` is done."""
        return self._host, self._port

    async def start(self, reserved: socket.socket | None = None) -> None:
        """Listen; calls are accepted when this returns.

        Args:
            reserved: The socket of whoever keeps the port for this server and the one before it, which may
                still be about to leave; each then gets some of the new connections. None to make sure here
                that nobody else listens.

        Raises:
            AddressInUseError: Another process listens there.
            ConfigError: Nobody can listen there.
        """
        with reserved or reserve(self._host, self._port) as kept:
            self._port = kept.getsockname()[1]
            await self._listen()

    async def _listen(self) -> None:
        server = grpc.aio.server(options=_options(self._intake))
        export = grpc.stream_unary_rpc_method_handler(self._export)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": export}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        where = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        try:
            if self._credentials is None:
                self._port = server.add_insecure_port(where)
            else:
                self._port = server.add_secure_port(where, self._credentials)
        except RuntimeError as error:
            raise ConfigError(f"{where} cannot be listened on for gRPC; choose another address") from error
        await server.start()
        self._server = server
        self._following = asyncio.create_task(self._health.follow())

    async def stop(self, grace_s: float) -> None:
        """Accept no more, finish the calls in hand, then close; does nothing if it is not running.

        Args:
            grace_s: After so many seconds, calls still in hand are cancelled, which clients try again.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        if self._following is not None:
            self._following.cancel()
        await self._health.enter_graceful_shutdown()
        await server.stop(grace_s)

    async def _export(self, _messages: Any, context: Any) -> bytes:
        try:
            accepted = await self._take(context)
        except asyncio.CancelledError:
            raise  # the client has left, or the server stops: nobody listens
        except Exception as error:  # whatever it is, the client must be told to try again
            told = refused(error)
            self._intake.tally.add("grpc", _CODES[status_of(told)[1].code].name)
            await _abort(context, told)
            raise  # never reached: `abort` raises
        self._intake.tally.add("grpc", grpc.StatusCode.OK.name)
        answer: bytes = response_of(accepted).SerializeToString()
        return answer

    async def _take(self, context: Any) -> Accepted:
        metadata = dict(context.invocation_metadata() or ())
        self._guard(metadata.get("authorization"))
        limits, turns = self._intake.limits, self._intake.turns
        claim = self._intake.claim()
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        await turns.take(1, limits.turn_wait_s)
        claim.waited_s = loop.time() - start_s
        try:
            message = await _read(context, limits, turns)
            await claim.cover(len(message))
        except BaseException:
            claim.release()
            raise
        finally:
            turns.give_back(1)
        return await self._intake.take(message, claim)


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # it ships no types
    """Says what readiness says, to who asks and to who watches."""

    def __init__(self, readiness: Callable[[], Readiness]) -> None:
        super().__init__()
        self._readiness = readiness

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        await self._look()
        return await super().Check(request, context)

    async def follow(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_HEALTH_POLL_S)

    async def _look(self) -> None:
        status = _SERVING if self._readiness().ready else _NOT_SERVING
        for service in ("", SERVICE):
            await self.set(service, status)


async def _read(context: Any, limits: Limits, turns: Line) -> bytes:
    """The message; who does not send while others wait for their turn must come again."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + limits.message_s
    fair_s = limits.turn_wait_s / 2
    reading = asyncio.ensure_future(context.read())
    try:
        while not reading.done():
            await asyncio.wait([reading], timeout=min(fair_s, end_s - loop.time()))
            if not reading.done() and loop.time() >= end_s:
                raise DecodeError(f"the message did not come in {limits.message_s:g} seconds", 408)
            if not reading.done() and turns.longest_wait_s() >= fair_s:
                raise UnavailableError("the message takes long to come, and others wait; try again")
    finally:
        reading.cancel()
    message: bytes = reading.result()
    if message is grpc.aio.EOF:
        raise DecodeError("the call carries no message")
    return message


async def _abort(context: Any, error: LapwingError) -> None:
    _, status = status_of(error, _LONGEST_MESSAGE)
    trailers = []
    if status.code == grpc.StatusCode.UNAVAILABLE.value[0]:
        retry = RetryInfo(retry_delay=Duration(seconds=retry_after_s(error)))
        status.details.add().Pack(retry)
        trailers.append(
            ("google.rpc.retryinfo-bin", retry.SerializeToString())
        )  # where Python's exporter looks
    trailers.append(("grpc-status-details-bin", status.SerializeToString()))  # where all others do
    await context.abort(_CODES[status.code], status.message, tuple(trailers))


def _options(intake: Intake) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 1),  # a restart begins before the process before it has left
        ("grpc.max_receive_message_length", intake.limits.body_bytes),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_send_message_length", _LONGEST_ANSWER),
        ("grpc.max_allowed_incoming_connections", intake.limits.connections),
        ("grpc.server_handshake_timeout_ms", round(intake.limits.idle_s * 1000)),
        # Clients that ask every 10 seconds whether the connection is alive are welcome.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Those that are gone without a word are found.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
