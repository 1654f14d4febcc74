"""OpenTelemetry's own SDKs as clients, in Python and JavaScript, and a way from them to the collector."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from grpc import Compression as GrpcCompression
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from helpers.faults_producer import HttpClient
from helpers.faults_victim import Victim

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "clients"
TIME_MS = 1_767_225_600_123


@dataclass(frozen=True)
class Sample:
    """One record that a client is to send."""

    event: str
    body: Any
    attributes: dict[str, Any]


def samples(client: str, count: int) -> list[Sample]:
    """Predictions of a model named after the client, and ordinary records."""
    found = []
    for n in range(count):
        values = {
            "text": f"é 🐦 {n}\n",
            "empty": "",
            "whole": n - 2**52,
            "real": n + 0.5,
            "flag": n % 2 == 0,
            "texts": ["a", ""],
            "reals": [n + 0.25, -0.5],
        }
        named = {"ml.model.name": client, "ml.prediction.id": f"{client}-{n}", "region": "eu"}
        body = {"inputs": {**values, "nested": {"deep": {"er": n}}}, "output": {"score": n / 64 + 0.001}}
        found += [Sample("ml.prediction", body, named), Sample(f"{client}.log", values, values)]
    return found


def send_by_python(kind: str, victim: Victim, records: Sequence[Sample], *, http: str | None = None) -> None:
    """Send through OpenTelemetry for Python, by `http` or `grpc`, compressed."""
    if kind == "http":
        url = f"http://{http or victim.http}/v1/logs"
        exporter: HttpExporter | GrpcExporter = HttpExporter(url, compression=Compression.Gzip)
    else:
        exporter = GrpcExporter(victim.grpc, insecure=True, compression=GrpcCompression.Gzip)
    provider = LoggerProvider(Resource({"service.name": "python"}), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("clients", "1.0")
    for n, sample in enumerate(records):
        logger.emit(
            timestamp=(TIME_MS + n) * 1_000_000,
            severity_number=SeverityNumber.INFO,
            body=sample.body,
            attributes={**sample.attributes, "bytes": b"\x00\x01\xff"},
            event_name=sample.event,
        )
    provider.force_flush()
    provider.shutdown()


def send_by_javascript(
    kind: str, victim: Victim, records: Sequence[Sample], *, http: str | None = None
) -> None:
    """Send through OpenTelemetry for JavaScript, by its exporter `Protobuf`, `Json` or `Grpc`, compressed."""
    url = f"http://{http or victim.http}/v1/logs"
    if kind == "Grpc":
        url = f"http://{victim.grpc}"
    lines = [
        json.dumps(
            {
                "eventName": sample.event,
                "body": sample.body,
                "attributes": sample.attributes,
                "time": TIME_MS + n,
            }
        )
        for n, sample in enumerate(records)
    ]
    done = subprocess.run(
        ["node", "send.mjs", kind, url],
        cwd=javascript(),
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "sent", done.stderr


def javascript() -> Path:
    """The folder with the JavaScript clients, installed on first use; a test is skipped where that fails."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js with npm")
    package = (CLIENTS / "package.json").read_bytes()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    folder = cache / f"clients-{hashlib.sha256(package).hexdigest()[:16]}"
    with (cache / "clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            folder.mkdir(exist_ok=True)
            (folder / "package.json").write_bytes(package)
            done = subprocess.run(
                ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"npm cannot install OpenTelemetry for JavaScript: {done.stderr[-300:]}")
            (folder / "installed").touch()
        shutil.copyfile(CLIENTS / "send.mjs", folder / "send.mjs")
    return folder


class Detour(ThreadingHTTPServer):
    """Stands before a collector and hands requests on, but for those that the script says something else of.

    Steps of the script are `busy` (answer 503, hand nothing on), `cut` (hand it on, and hang up instead of
    answering) and `pass`; after its end everything passes.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, victim: Victim, script: Sequence[str], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Detoured)
        self.victim = victim
        self.steps = iter(script)
        self.taken: list[str] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_port}"


@contextmanager
def detour(victim: Victim, *script: str, port: int = 0) -> Iterator[Detour]:
    """Run a detour."""
    server = Detour(victim, script, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Detoured(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Detour

    def do_POST(self) -> None:
        body = self._body()
        step = next(self.server.steps, "pass")
        self.server.taken.append(step)
        status, answer = 503, b""
        if step != "busy":
            names = ("Content-Type", "Content-Encoding")
            headers = {name: self.headers[name] for name in names if name in self.headers}
            with HttpClient(self.server.victim.http) as client:
                status, answer = client.post_raw(body, headers)
        if step == "cut":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", self.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as inherited
        """Say nothing."""


Send = Callable[..., None]
