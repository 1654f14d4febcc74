"""The port of people: SQL over HTTP, metrics, health, and commands to the owner."""

import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import lapwing
from lapwing_collector.app.answers.evaluations import evaluation_document, list_evaluations
from lapwing_collector.app.answers.models import describe_model, jsonable, list_models
from lapwing_collector.app.serving.metrics import describe_metric, list_metrics
from lapwing_collector.auth import TlsFiles, is_loopback
from lapwing_collector.clock import read_utc
from lapwing_collector.config import Settings
from lapwing_collector.model.queries import Ask, Cancellation
from lapwing_collector.query import QueryPool
from lapwing_collector.receive import Limits, Server
from lapwing_collector.web import (
    Authorize,
    Duty,
    Live,
    Read,
    RowsOf,
    Sources,
    Threads,
    Watched,
    Work,
    Write,
    create_app,
    create_bare_app,
)

GRACE_S: Final = 1.0
"""For answers under way when it stops."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _rows_of(queries: QueryPool, settings: Settings) -> RowsOf:
    """Answers queries with all their rows."""
    query = settings.query

    def rows_of(sql: str, **parameters: Any) -> pa.Table:
        ask = Ask(sql, parameters, max_rows=query.max_rows, max_bytes=query.max_bytes, whole=True)
        with queries.ask(ask, query.timeout.total_seconds(), Cancellation()) as answer:
            return answer.table()

    return rows_of


def _reads(rows_of: RowsOf) -> dict[str, Read]:
    """Documents that are made of what queries answer."""

    def models(_: Mapping[str, str]) -> Any:
        return jsonable(list_models(rows_of))

    def advice(parts: Mapping[str, str]) -> Any:
        from lapwing_collector.app.gate.reporting import advice_on  # noqa: PLC0415  # few ask, and starts wait

        return advice_on(lambda sql, parameters: rows_of(sql, **parameters), parts["model"])

    return {
        "models": models,
        "models/{model:path}": lambda parts: describe_model(rows_of, parts["model"]),
        "advice/{model:path}": advice,
        "evaluations": lambda _: list_evaluations(rows_of),
        "evaluations/{evaluation}": lambda parts: evaluation_document(rows_of, parts["evaluation"]),
        "metrics": lambda _: list_metrics(),
        "metrics/{metric}": lambda parts: describe_metric(parts["metric"]),
    }


def _standalone(rows_of: RowsOf) -> dict[str, Write]:
    """Pages that stand for themselves: a run of the gate that is kept, and a look at a window of a model."""

    def kept(asked: Mapping[str, str]) -> str:
        from lapwing_collector.gate import evaluation_of, evaluation_page  # noqa: PLC0415  # starts wait

        return evaluation_page(evaluation_of(evaluation_document(rows_of, asked.get("run", ""))))

    def looked_at(asked: Mapping[str, str]) -> str:
        from lapwing_collector.app.gate.reporting import window_report  # noqa: PLC0415  # starts wait
        from lapwing_collector.gate import report_page  # noqa: PLC0415

        since, until = (read_utc(asked[end]) for end in ("since", "until"))
        made = window_report(
            lambda sql, parameters: rows_of(sql, **parameters), asked.get("name", ""), since, until
        )
        return report_page(made)

    return {"/report.html": kept, "/model/report.html": looked_at}


def _picture(chart: Mapping[str, Any]) -> str:
    from lapwing_collector.gate import picture_of  # noqa: PLC0415  # starts wait

    return picture_of(chart)


class Serving:
    """The server of people and scripts."""

    def __init__(
        self,
        settings: Settings,
        queries: QueryPool | None,
        *,
        readiness: Callable[[], tuple[bool, Mapping[str, Any]]],
        metrics: Callable[[], bytes],
        reads: Mapping[str, Read],
        duties: Mapping[str, Duty],
        works: Mapping[str, Work],
        authorize: Authorize | None,
        tls: TlsFiles | None,
        address_file: Path,
        now: Callable[[], datetime],
        firing: Callable[[], int | None],
        endpoint: Callable[[], str],
        live: Live,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            settings: Where to listen, and what queries may use.
            queries: Answers them; None where only health, metrics and commands are served.
            readiness: Whether records are acknowledged, and what else /readyz tells.
            metrics: Gives the metrics as text.
            reads: Documents beside those that queries make, by their address under /api/v1.
            duties: What commands may have done, by name; each is called beside the others.
            works: What changes nothing and takes its time, about rules, by name.
            authorize: Asked before anything is read; None lets everybody in.
            tls: The certificates for HTTPS; None for HTTP.
            address_file: Told where this listens while it does, for commands to find it.
            now: The time that pages reach back from, naive UTC.
            firing: How many alerts fire; None while nobody knows.
            endpoint: Where predictions are sent to, as a URL.
            live: Tells browsers what is new; it is closed with this.
        """
        query = settings.query
        self._threads = Threads(
            # Some more than may run or wait, so that those too many are turned away and not kept waiting.
            ThreadPoolExecutor(query.workers + query.queue + 2, thread_name_prefix="lapwing-web"),
            # Of each duty one at a time. What they share locks itself, since orders come side by side, too.
            {name: ThreadPoolExecutor(1, thread_name_prefix=f"lapwing-{name}") for name in duties},
        )
        self._address_file = address_file
        self._scheme = "http" if tls is None else "https"
        host, _, port = settings.web.listen.rpartition(":")
        host = host.strip("[]")
        timeout_s = query.timeout.total_seconds()
        idle_s = settings.http.idle_timeout.total_seconds()
        self._live = live
        # Whoever has a token is let in under any name; without tokens, only this machine knows its own.
        local = authorize is None and is_loopback(settings.web.listen)
        watched = Watched(
            readiness=readiness,
            metrics=metrics,
            duties=duties,
            authorize=authorize or (lambda _header, _scope: 200),
            threads=self._threads,
            hosts=_LOOPBACK | {host.lower()} if local else None,
            idle_s=idle_s,
        )
        if queries is None:
            app = create_bare_app(watched, reads)
        else:
            rows_of = _rows_of(queries, settings)
            app = create_app(
                watched=watched,
                sources=Sources(
                    rows=rows_of,
                    reads={**_reads(rows_of), **reads},
                    standalone=_standalone(rows_of),
                    picture=_picture,
                    now=now,
                    firing=firing,
                    endpoint=endpoint,
                    version=lapwing.__version__,
                ),
                live=live,
                ask=lambda ask, cancellation: queries.ask(ask, timeout_s, cancellation),
                max_rows=query.max_rows,
                max_bytes=query.max_bytes,
                works=works,
            )
        limits = Limits(idle_s=idle_s)
        self._server = Server(app, host, int(port), limits=limits, tls=None if tls is None else tls.context())

    @property
    def address(self) -> str:
        """Where it listens, once it does."""
        return "{}:{}".format(*self._server.address)

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"{self._scheme}://{self.address}"

    async def start(self, listener: socket.socket | None = None) -> None:
        """Accept connections, from `listener` if there is one.

        Raises:
            AddressInUseError: Another process listens there.
            ConfigError: Nobody can listen there.
        """
        await self._server.start(listener)
        whole = self._address_file.with_suffix(".new")  # who finds the file finds all of it
        whole.write_text(self.address + "\n", encoding="ascii")
        whole.replace(self._address_file)

    async def stop(self) -> None:
        """Accept no more, and finish what is in hand. Harmless twice."""
        with suppress(OSError):
            self._address_file.unlink()
        self._live.close()
        await self._server.stop(GRACE_S)
        self._threads.queries.shutdown(wait=False, cancel_futures=True)
        for threads in self._threads.duties.values():
            threads.shutdown(wait=False)
