"""From a committed message to its acceptance, alone and beside 50 targets that are down.

The dead ones stall, drip, refuse, answer 500 or break off, in another process, and each has 20 messages of
its own to try. The healthy target gets a message at a time. Baselines: one bare POST, and Apprise's own
`notify` in the same company, which calls services in one pool.
"""

import http.client
import itertools
import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from apprise import Apprise, AppriseAsset

from lapwing_collector.model.alerts import Message, Status
from lapwing_collector.notify import ANYWHERE, Deliverer, Target
from lapwing_collector.state import Store

DEAD = 50
EACH = 20
MESSAGES = 200
PAUSE_S = 0.01
BODY = "x" * 1500
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def now() -> datetime:
    """The time."""
    return datetime.now(UTC).replace(tzinfo=None)


def message(key: str, target: str) -> Message:
    """A message of a group of its own."""
    return Message(key, target, Status.FIRING, f"group of {key}", f"[FIRING] {key}", BODY)


def _after_first_line(request: BufferedReader) -> BufferedReader:
    request.readline()
    return request


class Receiver:
    """Answers at once, and knows when each message came."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                with connection.makefile("rb") as request:
                    head = http.client.parse_headers(_after_first_line(request))
                    request.read(int(head["Content-Length"]))
                at = time.monotonic()
                connection.sendall(OK)
                key = str(head["Idempotency-Key"])
                with self._changed:
                    self.came[key] = at
                    self._changed.notify_all()

    def wait_for(self, key: str) -> float:
        """When the message came."""
        with self._changed:
            assert self._changed.wait_for(lambda: key in self.came, 60), key
            return self.came[key]


def _stall(_connection: socket.socket) -> None:
    time.sleep(3600)


def _fail(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")


def _drip(connection: socket.socket) -> None:
    for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nX-Slow: x"):
        time.sleep(0.5)
        connection.sendall(bytes([byte]))


def _break_off(connection: socket.socket) -> None:
    connection.close()


DOWN = (_stall, _fail, _drip, _break_off, None)
"""How servers are down; None refuses connections."""


def serve_dead() -> None:
    """Be 50 servers that are down, until the standard input ends; their ports are printed."""

    def treat(connection: socket.socket, how: Callable[[socket.socket], None]) -> None:
        with suppress(OSError), connection:
            connection.recv(1 << 16)
            how(connection)

    def accept(listener: socket.socket, how: Callable[[socket.socket], None]) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=treat, args=(connection, how), daemon=True).start()

    ports = []
    for number in range(DEAD):
        listener = socket.create_server(("127.0.0.1", 0))
        ports.append(str(listener.getsockname()[1]))
        how = DOWN[number % len(DOWN)]
        if how is None:
            listener.close()
        else:
            threading.Thread(target=accept, args=(listener, how), daemon=True).start()
    print(" ".join(ports), flush=True)
    sys.stdin.read()


@contextmanager
def dead_ports() -> Iterator[list[int]]:
    """The ports of the dead servers, while they run."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.notify", "dead"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield [int(port) for port in process.stdout.readline().split()]
        process.kill()


def through_lapwing(receiver: Receiver, ports: list[int]) -> list[float]:
    """Seconds from before a message's commit until it came."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "state.sqlite")
        dead = [Target(f"dead-{number}", f"json://127.0.0.1:{port}/") for number, port in enumerate(ports)]
        healthy = Target("healthy", f"json://127.0.0.1:{receiver.port}/")
        store.enqueue(
            [message(f"{target.name}/{n}", target.name) for target in dead for n in range(EACH)], now()
        )
        deliverer = Deliverer(store, [healthy, *dead], now, reach=ANYWHERE)
        deliverer.start()
        while sum(deliverer.down().values()) < len(ports) * 3 // len(DOWN):
            time.sleep(0.1)
        took = []
        for number in range(MESSAGES):
            key = f"healthy/{number}/{folder}"
            begun = time.monotonic()
            store.enqueue([message(key, "healthy")], now())
            deliverer.wake("healthy")
            took.append(receiver.wait_for(key) - begun)
            time.sleep(PAUSE_S)
        deliverer.stop(0)
        store.close()
    return took


def bare(receiver: Receiver) -> list[float]:
    """Seconds for a POST by hand."""
    took = []
    for number in range(MESSAGES):
        key = f"bare/{number}"
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", receiver.port)
        connection.request("POST", "/", BODY, {"Idempotency-Key": key})
        connection.getresponse().read()
        connection.close()
        took.append(receiver.wait_for(key) - begun)
    return took


def through_apprise(receiver: Receiver, ports: list[int]) -> str:
    """What becomes of one message through Apprise alone, with all targets in it."""
    alone = Apprise(asset=AppriseAsset(service_timeout=10))
    for port in [*ports, receiver.port]:
        alone.add(f"json://127.0.0.1:{port}/?+Idempotency-Key=apprise")
    begun = time.monotonic()
    alone.notify(body=BODY, title="t")
    over = time.monotonic() - begun
    came = receiver.came.get("apprise")
    return f"after {came - begun:.1f} s" if came else f"never; the call was over after {over:.0f} s"


def row(name: str, took: list[float]) -> None:
    """Print one line."""
    ordered = sorted(took)
    p99 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))]
    print(f"| {name} | {statistics.median(took) * 1e3:,.1f} | {p99 * 1e3:,.1f} | {ordered[-1] * 1e3:,.1f} |")


def main() -> None:
    """Print what a message takes, in milliseconds."""
    logging.disable(logging.CRITICAL)  # of hundreds of failures
    receiver = Receiver()
    print("| milliseconds from commit to acceptance | p50 | p99 | longest |\n|---|---:|---:|---:|")
    row("a POST by hand, without an outbox", bare(receiver))
    row("the healthy target alone", through_lapwing(receiver, []))
    with dead_ports() as ports:
        row(f"beside {DEAD} dead ones with {DEAD * EACH} messages", through_lapwing(receiver, ports))
        row("alone again", through_lapwing(receiver, []))
        print(
            f"\nThrough Apprise alone, beside {DEAD} dead ones, it came {through_apprise(receiver, ports)}."
        )


if __name__ == "__main__":
    serve_dead() if sys.argv[1:] == ["dead"] else main()
