"""kill -9 at random moments while alerts fire, wait and resolve: none is lost, none invented, none told anew.

The collector evaluates a rule five times a second and tells a webhook. It is killed at random, and at the
very moment at which the webhook has taken a message and nobody has noted that. In the end its history is
compared with what had to happen slot by slot, and what the webhook heard with what the outbox says.
"""

import random
from collections import Counter
from pathlib import Path

import pytest
import yaml

from helpers.faults_alerts import CALM, INTERVAL, TURNING, Event, alerts_of, expected
from helpers.faults_plan import LONG, SEED
from helpers.faults_victim import Victim, wait_until
from helpers.notify_receivers import Webhook, webhook
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.model.alerts import Status, Transition
from lapwing_collector.state import Delivery, Store

KILLS_PER_FOLDER = 20
CAMPAIGNS = 50 if LONG else 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("campaign", range(CAMPAIGNS))
def test_killed_while_alerts_come_and_go(campaign: int, victim: Victim, tmp_path: Path) -> None:
    """Every alert that had to fire and resolve did, was told, and twice only with the same key."""
    dice = random.Random(f"{SEED} {campaign}")
    rules = tmp_path / "rules" / "kills.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)
    with webhook() as receiver:
        notify(tmp_path / "notify.yaml", receiver)
        for _ in range(KILLS_PER_FOLDER):
            victim.launch()
            if dice.random() < 0.5:
                die_in_a_delivery(victim, receiver)
            else:
                victim.run_for(dice.uniform(0, 2))
            victim.kill()
        rules.write_text(CALM)
        victim.start()
        settle(victim)
        assert victim.stop() == 0
        judge(victim.data, receiver)


def notify(file: Path, receiver: Webhook) -> None:
    """Tell one webhook of everything at once."""
    config = {"name": "hook", "url": receiver.url()}
    file.write_text(
        yaml.safe_dump(
            {"route": {"receiver": "all"}, "receivers": [{"name": "all", "apprise_configs": [config]}]}
        )
    )


def die_in_a_delivery(victim: Victim, receiver: Webhook) -> None:
    """Wait until the webhook has taken a message that it does not answer."""
    receiver.gate.clear()
    before = len(receiver.inbox.items)
    wait_until(lambda: len(receiver.inbox.items) > before, "a message is under way")
    victim.signal_all(9)
    receiver.gate.set()


def settle(victim: Victim) -> None:
    """Wait until nothing fires any more and everything is told."""
    store = Store.open(DataDirectory(victim.data).state)
    try:
        wait_until(lambda: reasons(store)["rule_changed"] and not store.alerts(), "the new rule is in use")
        wait_until(lambda: store.unsent() == 0, "everything is told")
    finally:
        store.close()


def reasons(store: Store) -> Counter[str]:
    """Why alerts resolved."""
    return Counter(transition.reason for transition in store.history(100_000))


def judge(data: Path, receiver: Webhook) -> None:
    """Compare what happened, and what was heard, with what had to."""
    store = Store.open(DataDirectory(data).state)
    history = store.history(100_000)[::-1]
    (state,) = store.load_rules().values()
    sent = store.outbox_rows(Delivery.SENT, 100_000)[::-1]
    assert len(sent) == len(store.outbox_rows(limit=100_000))
    store.close()

    # What happened: from the rule's first slot on up to the one before it was changed.
    changed = min(t.slot for t in history if t.reason == "rule_changed")
    assert state.since is not None
    events, firing = expected(state.since, changed - INTERVAL)
    assert [event(t) for t in history if t.slot < changed] == events
    over = [event(t) for t in history if t.slot >= changed]
    assert over == [Event(changed, name, "resolved") for name in sorted(firing)]

    # What was heard: what the outbox says, each message once, or twice with equal key and content.
    came = [(r.headers["Idempotency-Key"], r.body["title"], r.body["message"]) for r in receiver.inbox.items]
    assert {key for key, _, _ in came} == {row.message.key for row in sent}
    assert len(set(came)) == len(sent)
    assert len(came) - len(sent) <= KILLS_PER_FOLDER

    # What that says: all that happened and nothing else, in order, and in the end that nothing fires.
    told = [alert for row in sent for alert in alerts_of(row.message.payload)]
    happened = [(t.instance.fingerprint, t.status.value, t.slot.isoformat() + "Z") for t in history]
    assert [alert for alert in told if alert[1] == "firing"] == [h for h in happened if h[1] == "firing"]
    assert sorted(told) == sorted(happened)
    assert set({name: status for name, status, _ in told}.values()) == {"resolved"}


def event(transition: Transition) -> Event:
    """A transition as the oracle has it."""
    status = "firing" if transition.status is Status.FIRING else "resolved"
    return Event(transition.slot, transition.instance.labels["name"], status)
