"""The port of people over a small lake, in a thread of its own."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any

from helpers.query_lake import Readers
from lapwing_collector.app.alerts.alerts import alert_reads
from lapwing_collector.app.alerts.undelivered import dead_reads
from lapwing_collector.app.judging.thresholds import threshold_reads
from lapwing_collector.app.rule_tools.rule_works import RuleWorks
from lapwing_collector.app.serving.metrics import rule_reads
from lapwing_collector.app.serving.serving import Serving
from lapwing_collector.auth import TlsFiles
from lapwing_collector.config import Settings, load_settings
from lapwing_collector.notify import NOBODY
from lapwing_collector.query import QueryPool
from lapwing_collector.rules import Rule
from lapwing_collector.state import Store
from lapwing_collector.web import Authorize, Duty, Live, Read, Work

NOW = datetime(2026, 1, 1, 1)
"""The time of pages: an hour after the predictions of `make_lake`."""


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass
class Web:
    """A running server."""

    address: str
    pool: QueryPool
    settings: Settings
    live: Live

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a path."""
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: bytes | str, content_type: str, **headers: str) -> Answer:
        """Send a body to a path."""
        return self.request("POST", path, body, {"Content-Type": content_type, **headers})

    def sql(self, sql: str, **asked: Any) -> Answer:
        """Send a query as JSON."""
        return self.post("/api/v1/sql", json.dumps({"sql": sql, **asked}), "application/json")

    def request(self, method: str, path: str, body: bytes | str | None, headers: Mapping[str, str]) -> Answer:
        """Send one request on a connection of its own."""
        connection = HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@contextmanager
def web_server(
    shared: Readers,
    folder: Path,
    *,
    readiness: Callable[[], tuple[bool, Mapping[str, Any]]] = lambda: (True, {"replaying": False}),
    metrics: Callable[[], bytes] = lambda: b"",
    duties: Mapping[str, Duty] | None = None,
    works: Mapping[str, Work] | None = None,
    reads: Mapping[str, Read] | None = None,
    rules: Sequence[Rule] = (),
    authorize: Authorize | None = None,
    tls: TlsFiles | None = None,
    now: Callable[[], datetime] = lambda: NOW,
    **flags: Any,
) -> Iterator[Web]:
    """Serve the lake of `shared` on a free port of loopback until the block ends."""
    settings = load_settings(None, flags={"web.listen": "127.0.0.1:0", **flags}, environment={})
    loop = asyncio.new_event_loop()
    live = Live()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with (
            closing(Store.open(folder / "state.sqlite")) as store,
            shared.pool(settings.query.workers, settings.query.queue, holding=True) as pool,
        ):
            serving = Serving(
                settings,
                pool,
                readiness=readiness,
                metrics=metrics,
                reads=alert_reads(store, lambda: NOBODY)
                | dead_reads(store)
                | rule_reads(lambda: rules, store.load_rules)
                | threshold_reads(lambda: rules)
                | {
                    "telemetry": lambda _: [],
                    "replicas": lambda _: {"term": 1, "since": None, "replicas": []},
                }
                | (reads or {}),
                duties=duties or {},
                works=works or RuleWorks(None, folder).works(),
                authorize=authorize,
                tls=tls,
                address_file=folder / "web.address",
                now=now,
                firing=store.firing_count,
                endpoint=lambda: "http://127.0.0.1:4318",
                live=live,
            )
            asyncio.run_coroutine_threadsafe(serving.start(), loop).result(60)
            try:
                yield Web(serving.address, pool, settings, live)
            finally:
                pool.close()
                asyncio.run_coroutine_threadsafe(serving.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
