"""A client of its own process that sends prebuilt requests, as light as Python allows.

Each round over the requests is a process of the SDK's by another id, so that nothing is a repeat. Reads what
to do as JSON from standard input and the requests from a file, prints what came of it as JSON.
"""

import json
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROCESS = b"bench-process-000000"
"""The process id in prebuilt requests; the digits are replaced by the number of the round."""


@dataclass
class Load:
    """What to send.

    Attributes:
        address: host:port.
        transport: http or grpc.
        seconds: For how long.
        clients: Connections, each with one request at a time.
        rate: Requests a second of all connections together; as fast as they are answered where it is None.
        first_round: Number of the first round.
    """

    address: str
    transport: str = "http"
    seconds: float = 10.0
    clients: int = 4
    rate: float | None = None
    first_round: int = 0


@dataclass
class Result:
    """What came of it.

    Attributes:
        seconds: From the first request to the last answer.
        latencies: Seconds of each request that was accepted.
        refusals: Seconds of each request that was told to come again.
        accepted: By the place among the requests, how often it was accepted.
        cpu: Seconds of CPU that the client took.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    cpu: float = 0.0


def drive(bodies: Sequence[bytes], load: Load) -> Result:
    """Send `bodies` again and again from another process."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps(list(bodies)))
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "bench.load", file.name],
            input=json.dumps(asdict(load)).encode(),
            stdout=subprocess.PIPE,
            check=True,
        )
    return Result(**json.loads(done.stdout))


class _Turns:
    """Gives out requests one after the other, at their time."""

    def __init__(self, bodies: Sequence[bytes], load: Load) -> None:
        self._parts = [body.split(PROCESS) for body in bodies]
        self._load = load
        self._start = time.perf_counter()
        self._number = 0
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while True:
            with self._lock:
                number = self._number
                self._number += 1
            if self._load.rate is not None:
                due = self._start + number / self._load.rate
                time.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() - self._start > self._load.seconds:
                return
            round_, place = divmod(number, len(self._parts))
            process = PROCESS[:-6] + b"%06d" % (round_ + self._load.first_round)
            yield place, process.join(self._parts[place])


def _over_http(load: Load) -> Any:
    host, _, port = load.address.rpartition(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        b"POST /v1/logs HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: %d\r\n\r\n"
    )

    def send(body: bytes) -> bool:
        connection.sendall(head % len(body) + body)
        answer = connection.recv(65536)
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        headers, _, rest = answer.partition(b"\r\n\r\n")
        length = int(headers.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(rest) < length:
            rest += connection.recv(65536)
        status = headers.split(b" ", 2)[1]
        assert status in {b"200", b"503", b"429"}, answer
        return status == b"200"

    return send


def _over_grpc(load: Load) -> Any:
    import grpc  # noqa: PLC0415  # the HTTP client is lighter without

    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(load.address, options=options)
    export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")

    def send(body: bytes) -> bool:
        try:
            export(body, timeout=30)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    return send


def main() -> None:
    """Read what to do, do it, print what came of it."""
    bodies = pickle.loads(Path(sys.argv[1]).read_bytes())
    load = Load(**json.load(sys.stdin))
    result = Result(accepted=[0] * len(bodies))
    lock = threading.Lock()
    turns = _Turns(bodies, load)

    def client() -> None:
        send = (_over_http if load.transport == "http" else _over_grpc)(load)
        for place, body in turns:
            sent = time.perf_counter()
            taken = send(body)
            took = time.perf_counter() - sent
            with lock:
                (result.latencies if taken else result.refusals).append(took)
                result.accepted[place] += taken

    started, cpu = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=client) for _ in range(load.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds = time.perf_counter() - started
    result.cpu = time.process_time() - cpu
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
