"""Producers: send claims as clients do, and turn each yes into an obligation."""

import gzip
import http.client
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import grpc

from helpers.faults_claims import Claim, Claims, Outcome, Shape
from helpers.faults_victim import Victim

PROTOBUF = "application/x-protobuf"
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
NO_ANSWER = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
_TIMEOUT_S = 15.0


@dataclass
class Tally:
    """What producers were answered, counted."""

    answers: dict[int, int] = field(default_factory=dict)
    broken: int = 0
    """Requests without an answer: refused, reset or cut."""
    refused: int = 0
    """Of these, connections that nobody took."""


class HttpClient:
    """Posts request bodies over one connection that is kept."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, *, compress: bool = False) -> tuple[int, bytes]:
        """Send one body; status and body of the answer.

        Raises:
            OSError: There was no answer.
        """
        if compress:
            return self.post_raw(gzip.compress(body, 1), {"Content-Encoding": "gzip"})
        return self.post_raw(body, {})

    def post_raw(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send bytes as they are, with these headers beside the content type.

        Raises:
            OSError: There was no answer.
        """
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_S)
        try:
            self._connection.request("POST", "/v1/logs", body, {"Content-Type": PROTOBUF, **headers})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise (error if isinstance(error, OSError) else OSError(f"no answer: {error!r}")) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class GrpcClient:
    """Calls LogsService.Export over one channel; answers with the HTTP status of that meaning."""

    def __init__(self, address: str) -> None:
        options = {
            "grpc.use_local_subchannel_pool": 1,
            "grpc.initial_reconnect_backoff_ms": 50,
            "grpc.max_reconnect_backoff_ms": 200,
        }
        self._channel = grpc.insecure_channel(address, options=list(options.items()))
        self._export = self._channel.unary_unary(EXPORT)

    def post(self, body: bytes, *, compress: bool = False) -> tuple[int, bytes]:
        """Send one message; 200 and the answer, or 503.

        Raises:
            OSError: There was no answer.
        """
        compression = grpc.Compression.Gzip if compress else grpc.Compression.NoCompression
        try:
            return 200, self._export(body, timeout=_TIMEOUT_S, compression=compression)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            if error.code() is grpc.StatusCode.UNAVAILABLE and "google.rpc.retryinfo-bin" in trailers:
                return 503, b""
            if error.code() in NO_ANSWER:
                raise OSError(f"no answer: {error.code()} {error.details()}") from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


Client = HttpClient | GrpcClient


def send(client: Client, claim: Claim, *, compress: bool = False) -> int:
    """Send a claim once, and note an obligation if the answer is yes; the status.

    Raises:
        OSError: There was no answer.
    """
    status, body = client.post(claim.body(), compress=compress)
    if status == 200:
        assert body == b"", f"{claim} was answered with partial success: {body!r}"
        claim.outcome = Outcome.PROMISED
    return status


class Producer:
    """A thread that claims and sends until told to stop, whatever becomes of the collector.

    What is not answered with yes it sends again, as clients do, and now and then gives up: both are then
    allowed, stored once or not at all.
    """

    def __init__(
        self,
        claims: Claims,
        victim: Victim,
        seed: object,
        *,
        shapes: Sequence[Shape] = tuple(Shape),
        pace_s: float = 0.01,
        most: int = 20,
        over_grpc: bool = True,
    ) -> None:
        self.tally = Tally()
        self._claims = claims
        self._clients: list[Client] = [HttpClient(victim.http)]
        if over_grpc:
            self._clients.append(GrpcClient(victim.grpc))
        self._dice = random.Random(str(seed))
        self._shapes = shapes
        self._pace_s = pace_s
        self._most = most
        self._process = f"process-{seed}"
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"producer-{seed}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish the request under way, and no more."""
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                shape = self._dice.choice(self._shapes)
                self._deliver(self._claims.make(shape, self._dice.randint(1, self._most), self._process))
                self._stop.wait(self._dice.expovariate(1 / self._pace_s))
        except BaseException as error:  # noqa: BLE001  # raised where the test stops this
            self._failure = error

    def _deliver(self, claim: Claim) -> None:
        tries = self._dice.choice((1, 30, 100))
        client = self._dice.choice(self._clients)
        for _ in range(tries):
            try:
                status = send(client, claim, compress=self._dice.random() < 0.3)
            except OSError as error:
                self.tally.broken += 1
                self.tally.refused += isinstance(error, ConnectionRefusedError)
            else:
                self.tally.answers[status] = self.tally.answers.get(status, 0) + 1
                if status == 200:
                    return
                assert status in {429, 503}, f"{claim} was answered with {status}"
            if self._stop.wait(self._dice.uniform(0.02, 0.2)):
                return
