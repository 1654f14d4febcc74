"""`lapwing demo` from start to end: train, replay, watch, and tell what was found."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import lapwing
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.rule_tools.admin import advance_rules
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.clock import SystemClock
from lapwing_collector.demo.findings import (
    BY_ORIGIN,
    Check,
    Episode,
    accuracy_by_origin,
    check_lake,
    check_messages,
    episodes,
)
from lapwing_collector.demo.flights import INPUTS, REPLAY_FROM, events, load_flights, replayed, training
from lapwing_collector.demo.inbox import Delivery as Received
from lapwing_collector.demo.inbox import Inbox
from lapwing_collector.demo.model import Service, compile_service, train
from lapwing_collector.demo.process import COMMAND, CollectorProcess
from lapwing_collector.demo.replay import MODEL, Replayed, replay
from lapwing_collector.errors import DataDirectoryError, LapwingError
from lapwing_collector.model.alerts import Transition
from lapwing_collector.state import Delivery, Store

REPLAY_UNTIL: Final = datetime(2014, 1, 1)  # noqa: DTZ001  # naive UTC
"""The end of the last day of the flights."""

_LANDING: Final = timedelta(hours=12)
"""After a day's end, until its last flights have landed and no rule waits for their labels any more."""

_FURTHER_QUERIES: Final = (
    "SELECT time, inputs.flight, error_message FROM predictions.flights WHERE error_type IS NOT NULL LIMIT 5",
    "SELECT metric, series, window_start, value, label_coverage FROM metric_values LIMIT 10",
)

_MARK: Final = "this-is-a-lapwing-demo"
_CATCH_UP_S: Final = 180.0
_POLL_S: Final = 0.1
_GRACE_S: Final = 1.5
"""For the SDK to send what it has when the demo is interrupted."""


def run_demo(data: Path, *, once: bool, until: datetime = REPLAY_UNTIL) -> int:
    """Run the demo over the data directory `data`, which is emptied first.

    Args:
        data: New, empty, or left by an earlier demo.
        once: End with the summary; otherwise the collector runs on until Ctrl-C.
        until: The end of the last day that is replayed, in UTC.

    Returns:
        0 if everything the summary says is true, else 1.

    Raises:
        LapwingError: It cannot run here.
    """
    _stop_on_sigterm()
    console = Console(highlight=False)
    started = time.monotonic()
    _prepare(data)
    with console.status("Reading the flights of 2013 …"):
        flights = load_flights()
    with console.status("Training on January and February …"):
        service = _trained(flights, data)
    console.print(
        f"A model says at departure whether a flight will be late. It learned from {_span(training(flights))}"
    )
    with _inbox(console) as (inbox, environment):
        collector = CollectorProcess.start(
            data, config=example_folder() / "lapwing.yaml", environment=environment
        )
        dashboard = dashboard_link(collector.dashboard, until)
        try:
            console.print(f"Look at it on {dashboard}", soft_wrap=True)
            flights = replayed(flights[flights["departed_at"] < until + _LANDING])
            checks, found = _replay_and_check(console, collector, data, flights, service, inbox, until)
            _tell(console, data, checks, found, time.monotonic() - started)
            if not once:
                console.print(f"\nLook at it on {dashboard}", soft_wrap=True)
                console.print("The collector runs on. Stop with Ctrl-C.")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
        finally:
            # While somebody listens: at exit the SDK would try to reach the collector that is gone.
            lapwing.shutdown(timeout_s=_GRACE_S)
            collector.stop()
    return 0 if all(check.holds for check in checks) else 1


def example_folder() -> Path:
    """The example's files: packed into the wheel, or in the repository."""
    packed = Path(__file__).parent / "example"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "examples" / "flights"


def dashboard_link(address: str, until: datetime) -> str:
    """Where a dashboard shows all that is replayed, which is long ago."""
    span = urlencode({"name": MODEL, "from": f"{REPLAY_FROM:%Y-%m-%d}", "to": f"{until:%Y-%m-%d}"})
    return f"{address}/model?{span}"


def _stop_on_sigterm() -> None:
    """End as on Ctrl-C, which a job in the background does not hear: the collector is to be stopped, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _prepare(data: Path) -> None:
    """Empty the data directory of an earlier demo; anything else is left alone."""
    if data.is_dir() and any(data.iterdir()):
        if not (data / _MARK).exists():
            raise DataDirectoryError(
                f"{data}: is not empty and not from an earlier demo; choose another with --data"
            )
        shutil.rmtree(data)
    try:
        data.mkdir(parents=True, exist_ok=True)
        (data / _MARK).touch()
    except OSError as error:
        raise DataDirectoryError(
            f"{data}: the demo cannot write here: {error.strerror}; choose another with --data"
        ) from error


def _trained(flights: pd.DataFrame, data: Path) -> Service:
    """Train the model, and freeze what its inputs looked like as the reference `train`."""
    known = training(flights)
    inputs = pa.Table.from_pandas(known[list(INPUTS)], preserve_index=False)
    set_reference(None, {"data": data}, tell_nobody, model=MODEL, name="train", rows=inputs)
    return compile_service(train(known))


@contextmanager
def _inbox(console: Console) -> Iterator[tuple[Inbox, dict[str, str]]]:
    """Receivers for webhooks and mail, and the variables that tell the collector where they are."""

    def show(delivery: Received) -> None:
        if delivery.via == "http":
            summary = delivery.body.partition("\n")[0]
            console.print(
                Text("✉ ", style="yellow")
                .append(delivery.title, style="default")
                .append(f"\n    {summary}", style="dim")
            )

    with Inbox(SystemClock(), show) as inbox:
        yield (
            inbox,
            {
                "LAPWING_DEMO_HTTP_PORT": str(inbox.http_port),
                "LAPWING_DEMO_SMTP_PORT": str(inbox.smtp_port),
            },
        )


def _replay_and_check(  # noqa: PLR0917  # the parts of one demo
    console: Console,
    collector: CollectorProcess,
    data: Path,
    flights: pd.DataFrame,
    service: Service,
    inbox: Inbox,
    until: datetime,
) -> tuple[list[Check], list[Episode]]:
    question = _Question(data)
    lapwing.init(endpoint=collector.endpoint, service="flights-demo", environment="demo", on_full="wait")
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("Replaying", total=len(flights), done="")

        def tell(done: Replayed) -> None:
            _show(progress, task, done)
            if done.predictions > len(flights) // 2:
                question.ask_once()

        done = replay(events(flights), service, tell)
        acknowledged = lapwing.flush(timeout_s=30)
        progress.update(task, description="Waiting for the last rules")
        history = _settled(data, until)
    checks = [
        Check(f"{done.predictions + done.labels:,} records were sent and acknowledged", acknowledged),
        question.check(done.predictions),
        *check_lake(data, done),
        *check_messages(history, inbox.deliveries),
    ]
    return checks, episodes(history)


class _Question:
    """`lapwing sql` from another process, asked in the middle of the replay."""

    def __init__(self, data: Path) -> None:
        self._command = [
            *COMMAND,
            "sql",
            f"SELECT count(*) AS n FROM predictions.{MODEL}",
            "-f",
            "json",
            "--data",
            str(data),
        ]
        self._process: subprocess.Popen[str] | None = None

    def ask_once(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own

    def check(self, predictions: int) -> Check:
        self.ask_once()
        assert self._process is not None  # noqa: S101  # asked above at the latest
        answer, _ = self._process.communicate()
        count = json.loads(answer)[0]["n"] if self._process.returncode == 0 else 0
        return Check(
            f"`lapwing sql` answered during the replay: {count:,} flights by then", 0 < count < predictions
        )


def _show(progress: Progress, task: TaskID, done: Replayed) -> None:
    when = f"{done.last_event:%d %b %Y}" if done.last_event else ""
    progress.update(task, completed=done.predictions, description=when, done=f"{done.predictions:,} flights")


def _settled(data: Path, until: datetime) -> list[Transition]:
    """Close the last slots, wait until each was evaluated and told; the whole history, oldest first."""
    advance_rules(example_folder() / "lapwing.yaml", {"data": data}, (until + _LANDING).isoformat())
    store = Store.open(DataDirectory(data).state)
    try:
        deadline = time.monotonic() + _CATCH_UP_S
        while time.monotonic() < deadline:
            slots = [state.slot for state in store.load_rules().values()]
            if slots and all(slot is not None and slot >= until for slot in slots) and not _unsent(store):
                return store.history(limit=10_000)[::-1]
            time.sleep(_POLL_S)
    finally:
        store.close()
    raise LapwingError(
        f"rules or messages did not catch up within {_CATCH_UP_S:g} s; see {data / 'collector.log'}"
    )


def _unsent(store: Store) -> bool:
    return any(delivery in {Delivery.QUEUED, Delivery.SENDING} for _, delivery in store.outbox_counts())


def _tell(console: Console, data: Path, checks: list[Check], found: list[Episode], seconds: float) -> None:
    alerts = Table(title="Alerts, in event time", title_justify="left", box=None, pad_edge=False)
    for heading in ("alert", "", "fired", "resolved", "peak"):
        alerts.add_column(heading, justify="right" if heading == "peak" else "left")
    for episode in found:
        resolved = f"{episode.resolved_at:%d %b}" if episode.resolved_at else "still firing"
        peak = "" if episode.peak is None else f"{episode.peak:.3f}"
        alerts.add_row(episode.name, episode.labels, f"{episode.fired_at:%d %b}", resolved, peak)
    console.print()
    console.print(alerts)
    console.print()
    for row in accuracy_by_origin(data):
        console.print(f"accuracy from {row['origin']}: {row['accuracy']:.2%}")
    console.print()
    for check in checks:
        mark = Text("✓ ", style="green") if check.holds else Text("✗ ", style="red")
        console.print(mark.append(check.text, style="default"))
    console.print(f"\n{seconds:.0f} s in all. Now try:")
    for query in (BY_ORIGIN, *_FURTHER_QUERIES):
        console.print(Text(f'  {_command()} sql --data {data} "{query}"'), soft_wrap=True)  # to be copied


def _command() -> str:
    """How the person at this terminal can call `lapwing`: by name, or by path where that is not on theirs."""
    own = Path(sys.executable).with_name("lapwing")
    found = shutil.which("lapwing")
    return "lapwing" if found and Path(found).samefile(own) else os.path.relpath(own)


def _span(flights: pd.DataFrame) -> str:
    first, last = flights["departed_at"].min(), flights["departed_at"].max()
    return f"{len(flights):,} flights from {first:%d %B} to {last:%d %B %Y}"
