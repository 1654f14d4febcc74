"""All that scales out at once: collectors and servers over PostgreSQL and an object store, hurt in turn.

Each acknowledged record is in the lake once, each alert fires and resolves as with one collector, somebody
leads again after each blow, and people's queries are answered throughout.
"""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection, HTTPException
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from helpers.collector import prediction, request
from helpers.faults_alerts import CALM, TURNING
from helpers.faults_judge import counters
from helpers.faults_plan import LONG, SEED
from helpers.faults_telling import judge, notify, reasons, settle, wait_for_slots
from helpers.faults_victim import Victim, wait_until
from helpers.notify_receivers import webhook
from lapwing_collector.state import PostgresServer, Store

if TYPE_CHECKING:
    from helpers.objects import ObjectStore
    from helpers.postgres import Server

pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")

ARRANGED = [["collect"] * 3, ["serve"] * 2] if LONG else [["up"] * 3]
"""Who receives, and who answers and leads: others, or the same, which is sooner there."""
KINDS = ["collector", "leader", "database"] if LONG else ["leader", "database"]
"""Who is hurt, in turn."""
BLOWS = 40 if LONG else len(KINDS)
RECORDS = 20
LONGEST_S = 60.0
"""For which no query is answered: some seconds while the database restarts, where nothing else is done."""
_PATIENCE_S = 300.0
_AGAIN_S = 0.05
_REST_S = _AGAIN_S if LONG else 0.5
"""Between two requests, and between two questions."""
COUNT = """
SELECT count(*) AS n, count(DISTINCT prediction_id) AS ids, sum(inputs.x)::BIGINT AS x FROM predictions.m
"""
RECENT = (
    "SELECT count(*) AS n, count(DISTINCT prediction_id) AS ids FROM predictions.m WHERE time > '{since}'"
)
_RECENT = timedelta(seconds=10)
"""People look at what is new; all there is are hundreds of files, of a store that answers one at a time."""


@dataclass
class Sender:
    """Sends records without end, each until a collector acknowledges it, to another one after a failure."""

    victims: list[Victim]
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        turn = 0
        while not self.stop.is_set():
            first = self.sent + 1
            records = [
                prediction("m", f"p{n}", time.time_ns(), inputs={"x": n}, sequence=n)
                for n in range(first, first + RECORDS)
            ]
            body = request(records, process_id="sender")
            while not self.victims[turn % len(self.victims)].takes(body):
                turn += 1
                if self.stop.wait(_AGAIN_S) and not any(victim.ready for victim in self.victims):
                    return  # none is left that could take it
            turn += 1
            self.sent += RECORDS
            self.stop.wait(_REST_S)


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes:
        server: Who was asked.
        asked_at: When.
        took_s: How long the answer took.
        said: Its status, and how it begins where it is no answer; or what went wrong.
        rows: What was answered.
    """

    server: str
    asked_at: float
    took_s: float
    said: str
    rows: Sequence[dict[str, int]] = ()

    def __str__(self) -> str:
        at = time.strftime("%H:%M:%S", time.gmtime(self.asked_at))
        return f"{at} {self.server} after {self.took_s:.2f} s: {self.said}"


@dataclass
class Asker:
    """Asks a server again and again, and another one after a failure: one that is starting lets it wait."""

    victims: list[Victim]
    longest_s: float = 0.0
    answers: int = 0
    doubled: list[Answer] = field(default_factory=list)
    last: deque[Answer] = field(default_factory=lambda: deque(maxlen=20))
    stop: threading.Event = field(default_factory=threading.Event)
    turn: int = 0

    def run(self) -> None:
        while not self.stop.is_set():
            began_s = time.monotonic()
            while not (answered := self.is_answered()) and not self.stop.wait(_AGAIN_S):
                pass
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)
            self.answers += answered
            self.stop.wait(_REST_S)

    def is_answered(self) -> bool:
        """Whether a server says what is new."""
        since = datetime.now(UTC).replace(tzinfo=None) - _RECENT
        answer = self.ask(self.victims[self.turn % len(self.victims)], RECENT.format(since=since))
        if not answer.rows:
            self.turn += 1
        elif answer.rows[0]["n"] != answer.rows[0]["ids"]:
            self.doubled.append(answer)
        return bool(answer.rows)

    def ask(self, victim: Victim, sql: str) -> Answer:
        """Ask one of them."""
        answer = ask(victim, sql)
        self.last.append(answer)
        return answer

    @contextmanager
    def explains(self) -> Iterator[None]:
        """Tell the last answers beside whatever fails."""
        try:
            yield
        except BaseException as error:
            for answer in self.last:
                error.add_note(str(answer))
            raise


def ask(victim: Victim, sql: str) -> Answer:
    """What a server answers."""
    asked_at, began_s = time.time(), time.monotonic()

    def answer(said: str, rows: Sequence[dict[str, int]] = ()) -> Answer:
        return Answer(victim.web, asked_at, time.monotonic() - began_s, said, rows)

    connection = HTTPConnection(victim.web, timeout=_PATIENCE_S)
    try:
        connection.request("GET", f"/api/v1/sql?sql={quote(sql)}")
        got = connection.getresponse()
        body = got.read()
        if got.status != 200:
            return answer(f"{got.status} {body[:500].decode(errors='replace')}")
        return answer(str(got.status), json.loads(body))
    except (OSError, HTTPException, ValueError) as error:
        return answer(repr(error))
    finally:
        connection.close()


def leads(victim: Victim) -> bool:
    """Whether a server says that it leads; one that does not answer does not say so."""
    try:
        return bool(victim.told("/readyz")["leads"])
    except (OSError, HTTPException, ValueError):
        return False


def is_done(victim: Victim) -> bool:
    """Whether all that a collector has acknowledged is in the lake."""
    books = counters(victim)
    return not (books["lapwing_replaying"] or books["lapwing_rows_waiting"])


def reload(victim: Victim) -> None:
    """Have it read its rules again."""
    connection = HTTPConnection(victim.web, timeout=60)
    connection.request("POST", "/api/v1/admin/reload", "{}", {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def bring_back(victim: Victim) -> None:
    """Start it again if it was killed, and wait until it answers."""
    if victim.process is None or victim.process.poll() is None:
        return

    def answers() -> bool:
        try:
            return victim.told("/healthz") == {"status": "ok"}
        except (OSError, HTTPException, ValueError):
            return False

    process = victim.launch()
    wait_until(lambda: answers() or process.poll() is not None, "it is back")
    assert process.poll() is None, f"it did not start:\n{victim.said()}"


@contextmanager
def working(*workers: Sender | Asker) -> Iterator[None]:
    """Let them work for the length of the block."""
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop.set()
        for thread in threads:
            thread.join(120)


@pytest.fixture
def everything(tmp_path: Path, postgres: "Server", objects: "ObjectStore") -> Iterator[list[list[Victim]]]:
    """Who is arranged, not started yet; none of their processes outlive the test."""
    data = objects.empty()
    settings = {
        "alerts": {"ingest_stalled": False},
        "query": {"timeout": f"{_PATIENCE_S:g}s"},
        "state": {"url": postgres.empty()},
        "lake": {"catalog": postgres.database(), **objects.settings(data)},
    }
    made = [
        [Victim(tmp_path / f"{each}{n}", settings, arrangement=each) for n, each in enumerate(alike)]
        for alike in ARRANGED
    ]
    yield made
    for victim in chain(*made):
        victim.clear()


@pytest.mark.timeout(1800)
def test_nothing_is_lost_whatever_dies(
    everything: list[list[Victim]],
    tmp_path: Path,
    postgres: "Server",
    record_property: Callable[[str, object], None],
) -> None:
    """Collectors and leaders die, the database restarts: rows and alerts are as if nothing had been."""
    collectors, servers, victims = everything[0], everything[-1], [*chain(*everything)]
    dice = random.Random(SEED)
    rules = tmp_path / "rules" / "turning.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)
    state = PostgresServer(postgres.url)

    sender, asker = Sender(collectors), Asker(servers)
    with webhook() as receiver, asker.explains():
        notify(tmp_path / "notify.yaml", receiver)
        for victim in victims:
            victim.launch()
        wait_until(lambda: any(map(leads, servers)), "one leads")
        with working(sender):
            wait_until(asker.is_answered, "rows are there")
            with working(asker):
                longest_s = 0.0
                for kind in islice(cycle(KINDS), BLOWS):
                    hurt = dice.choice(collectors)
                    match kind:
                        case "collector":
                            hurt.kill()
                        case "leader":
                            hurt = wait_until(lambda: next(filter(leads, servers), None), "one leads")
                            hurt.kill()
                        case _:
                            postgres.stop()
                            postgres.start()
                    began_s = time.monotonic()
                    wait_for_slots(postgres)
                    longest_s = max(longest_s, time.monotonic() - began_s)
                    bring_back(hurt)
                wait_until(lambda: sum(map(leads, servers)) == 1, "one leads, and no other")
                answers = asker.answers
                wait_until(lambda: asker.answers > answers, "a query is answered")
        rules.write_text(CALM)
        hurt = wait_until(lambda: next(filter(leads, servers), None), "one leads")
        reload(hurt)
        settle(state)
        for victim in collectors:
            wait_until(partial(is_done, victim), "all rows are in the lake")
        [counted] = asker.ask(hurt, COUNT).rows
        for victim in reversed(victims):
            assert victim.stop() == 0
        judge(state, receiver, BLOWS + 1)
    assert asker.longest_s < LONGEST_S
    assert not asker.doubled
    assert counted == {"n": sender.sent, "ids": sender.sent, "x": sender.sent * (sender.sent + 1) // 2}

    with closing(Store.open(state)) as store:
        transitions = reasons(store).total()
    told = len(receiver.inbox.items)
    record_property(
        "judged",
        f"{BLOWS} blows, {sender.sent} records, {transitions} transitions, {told} messages, "
        f"{asker.answers} queries; longest without an answer {asker.longest_s:.1f} s, "
        f"without a slot {longest_s:.1f} s",
    )
