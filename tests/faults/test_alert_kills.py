"""kill -9 at random moments while alerts fire, wait and resolve: none is lost, none invented, none told anew.

The collector evaluates a rule five times a second and tells a webhook. It is killed while it starts, while it
works, and at the very moment at which the webhook has taken a message and nobody has noted that. In the end
its history is compared with what had to happen slot by slot, and what the webhook heard with that.
"""

import random
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from helpers.collector import prediction, request
from helpers.faults_alerts import CALM, INTERVAL, STEPS, TURNING, Event, alerts_of, expected
from helpers.faults_plan import ALERT_KILLS, SEED, long_only
from helpers.faults_victim import Victim, wait_until
from helpers.notify_receivers import Webhook, webhook
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.model.alerts import Status, Transition
from lapwing_collector.state import Delivery, Place, PostgresServer, SqliteFile, Store

if TYPE_CHECKING:
    from helpers.postgres import Server

KILLS_PER_FOLDER = 20
CAMPAIGNS = max(1, ALERT_KILLS // KILLS_PER_FOLDER)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("campaign", range(CAMPAIGNS))
def test_killed_while_alerts_come_and_go(campaign: int, victim: Victim, tmp_path: Path) -> None:
    """Fault 25: every alert that had to fire and resolve did, was told, and twice only with one key."""
    dice = random.Random(f"{SEED} {campaign}")
    victim.settings = {"alerts": {"ingest_stalled": False}}
    rules = tmp_path / "rules" / "kills.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)
    with webhook() as receiver:
        notify(tmp_path / "notify.yaml", receiver)
        for _ in range(KILLS_PER_FOLDER):
            victim.launch()
            match dice.choices(["starting", "working", "telling"], [1, 3, 3])[0]:
                case "starting":
                    victim.run_for(dice.uniform(0, 2))
                case "working":
                    wait_for_slots(victim)
                    victim.run_for(dice.uniform(0, 1))
                case "telling":
                    wait_for_message(receiver)
            victim.kill()
            receiver.gate.set()
        rules.write_text(CALM)
        victim.start()
        place = SqliteFile(DataDirectory(victim.data).state)
        settle(place)
        assert victim.stop() == 0
        judge(place, receiver)


@long_only
@pytest.mark.timeout(900)
def test_a_database_that_crashes_loses_no_alert(victim: Victim, tmp_path: Path, postgres: "Server") -> None:
    """Collector and PostgreSQL are killed in turn: all that had to happen did and was told; rows came in."""
    place = PostgresServer(postgres.empty())
    victim.settings = {"alerts": {"ingest_stalled": False}, "state": {"url": postgres.url}}
    rules = tmp_path / "rules" / "kills.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)

    def wait_for_slots() -> None:
        before = slots()
        wait_until(lambda: slots() > before, "a slot is committed")

    def slots() -> int:
        [[newest]] = postgres.execute("SELECT coalesce(extract(epoch FROM max(slot)) * 1000, 0) FROM rules")
        return int(newest)

    with webhook() as receiver:
        notify(tmp_path / "notify.yaml", receiver)
        victim.start()
        wait_until(lambda: postgres.execute("SELECT to_regclass('rules')") != [[None]], "there are tables")
        wait_for_slots()
        wait_for_message(receiver)
        postgres.stop()
        receiver.gate.set()
        wait_until(lambda: victim.told("/readyz")["alerts_wait"], "it says that the state is away")
        assert victim.post(request([prediction("m", "a", 1, inputs={"x": 1})])) == 200
        postgres.start()
        wait_for_slots()
        assert not victim.told("/readyz")["alerts_wait"]
        wait_for_message(receiver)
        victim.kill()
        receiver.gate.set()
        victim.start()
        wait_for_slots()
        for _ in range(2):
            postgres.stop()
            postgres.start()
            wait_for_slots()
        victim.kill()
        rules.write_text(CALM)
        victim.start()
        settle(place)
        assert victim.stop() == 0
        judge(place, receiver)


def notify(file: Path, receiver: Webhook) -> None:
    """Tell one webhook of everything at once, each alert by itself."""
    config = {"name": "hook", "url": receiver.url()}
    route = {
        "receiver": "all",
        "group_by": ["alertname", "name"],
        "group_wait": "0s",
        "group_interval": "1ms",
        "repeat_interval": "1d",
    }
    receivers = [{"name": "all", "apprise_configs": [config]}]
    file.write_text(yaml.safe_dump({"route": route, "receivers": receivers}))


def wait_for_message(receiver: Webhook) -> None:
    """Wait until the webhook has taken a message that it never got before; it is not answered any more."""
    keys = {request.headers["Idempotency-Key"] for request in receiver.inbox.items}

    def is_new() -> bool:
        receiver.gate.clear()
        if any(request.headers["Idempotency-Key"] not in keys for request in receiver.inbox.items):
            return True
        receiver.gate.set()
        return False

    wait_until(is_new, "a message is under way")


def wait_for_slots(victim: Victim) -> None:
    """Wait until a slot is committed that was not."""
    before = newest_slot(victim)
    wait_until(lambda: newest_slot(victim) != before, "a slot is committed")


def newest_slot(victim: Victim) -> str | None:
    """The newest slot that is committed, None before there is one."""
    path = DataDirectory(victim.data).state
    if not path.exists():
        return None
    database = sqlite3.connect(path, timeout=30)
    try:
        return next((slot for (slot,) in database.execute("SELECT slot FROM rules")), None)
    except sqlite3.OperationalError:  # there are no tables yet
        return None
    finally:
        database.close()


def settle(place: Place) -> None:
    """Wait until nothing fires any more and everything is told."""
    store = Store.open(place)
    try:
        wait_until(lambda: reasons(store)["rule_changed"] and not store.alerts(), "the new rule is in use")
        wait_until(lambda: not store.groups() and store.unsent() == 0, "everything is told")
    finally:
        store.close()


def reasons(store: Store) -> Counter[str]:
    """Why alerts resolved."""
    return Counter(transition.reason for transition in store.history(100_000))


def judge(place: Place, receiver: Webhook) -> None:
    """Compare what happened, and what was heard, with what had to."""
    store = Store.open(place)
    history = store.history(100_000)[::-1]
    (state,) = store.load_rules().values()
    rows = store.outbox_rows(limit=100_000)[::-1]
    store.close()
    sent = [row for row in rows if row.delivery is Delivery.SENT]
    assert not [row for row in rows if row.delivery is Delivery.DEAD]

    # What happened: from the rule's first slot on up to the one before it was changed.
    changed = min(t.slot for t in history if t.reason == "rule_changed")
    assert state.since is not None
    events, firing = expected(state.since, changed - INTERVAL)
    assert [event(t) for t in history if t.slot < changed] == events
    over = [event(t) for t in history if t.slot >= changed]
    assert over == [Event(changed, name, "resolved") for name in sorted(firing)]

    # What was heard: what the outbox says, each message once, or twice with equal key and content.
    came = [(r.headers["Idempotency-Key"], r.body["title"], r.body["message"]) for r in receiver.inbox.items]
    keys = {key for key, _, _ in came}
    assert {row.message.key for row in sent} <= keys <= {row.message.key for row in rows}
    assert len(set(came)) == len(keys)
    assert len(came) - len(keys) <= KILLS_PER_FOLDER

    # What that says: of each alert what happened and nothing else, in order, and in the end that it is over.
    happened: dict[str, list[tuple[str, str]]] = defaultdict(list)
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for t in history:
        happened[t.instance.fingerprint].append((t.status.value, t.slot.isoformat() + "Z"))
    for row in sent:
        for fingerprint, status, slot in alerts_of(row.message.payload):
            told[fingerprint].append((status, slot))
    missing = 0
    for fingerprint, all_of_it in happened.items():
        heard = told.pop(fingerprint, [])
        left = iter(all_of_it)
        assert all(each in left for each in heard), (heard, all_of_it)
        assert [status for status, _ in heard] == ["firing", "resolved"] * (len(heard) // 2)
        missing += (len(all_of_it) - len(heard)) // 2
    assert not told
    # What fired and was over while nobody was there to tell it is no news any more.
    assert missing <= KILLS_PER_FOLDER * len(STEPS)


def event(transition: Transition) -> Event:
    """A transition as the oracle has it."""
    status = "firing" if transition.status is Status.FIRING else "resolved"
    return Event(transition.slot, transition.instance.labels["name"], status)
