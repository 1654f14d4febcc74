"""What a campaign against alerts does to a collector that tells a webhook, and how it is judged."""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from helpers.faults_alerts import INTERVAL, STEPS, Event, alerts_of, expected
from helpers.faults_victim import wait_until
from helpers.notify_receivers import Webhook
from lapwing_collector.model.alerts import Reason, Status, Transition
from lapwing_collector.state import Delivery, Place, Store

if TYPE_CHECKING:
    from helpers.postgres import Server


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


def wait_for_slots(postgres: "Server") -> None:
    """Wait until a slot is committed that was not."""
    before = _newest_slot(postgres)
    wait_until(lambda: _newest_slot(postgres) > before, "a slot is committed")


def _newest_slot(postgres: "Server") -> int:
    [[newest]] = postgres.execute("SELECT coalesce(extract(epoch FROM max(slot)) * 1000, 0) FROM rules")
    return int(newest)


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


def judge(place: Place, receiver: Webhook, blows: int) -> None:
    """Compare what happened, and what was heard, with what had to.

    Args:
        place: Where the state is.
        receiver: Who was told.
        blows: How often a collector ended, or lost the state, while it may have been telling something.
    """
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
    over = sorted(event(t) for t in history if t.slot >= changed)  # who leads anew finds them in any order
    assert over == [Event(changed, name, "resolved") for name in sorted(firing)]

    # What was heard: what the outbox says, each message once, or twice with equal key and content.
    came = [(r.headers["Idempotency-Key"], r.body["title"], r.body["message"]) for r in receiver.inbox.items]
    keys = {key for key, _, _ in came}
    assert keys == {row.message.key for row in sent}
    assert len(set(came)) == len(keys)
    assert len(came) - len(keys) <= blows

    # What that says: of each alert what happened and nothing else, in order, and in the end that it is over.
    # Of an end only who heard of the beginning; who hears that it fires again may not hear that it did not.
    happened: dict[str, list[tuple[str, str]]] = defaultdict(list)
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for t in history:
        happened[t.instance.fingerprint].append((t.status.value, t.slot.isoformat() + "Z"))
    for row in sent:
        of_the_past = json.loads(row.message.payload)["reason"] == Reason.DIGEST
        for fingerprint, status, slot in alerts_of(row.message.payload):
            if of_the_past:  # it came and went while rules caught up: one message tells both
                all_of_it = happened[fingerprint]
                told[fingerprint].append(all_of_it[all_of_it.index((status, slot)) - 1])
            told[fingerprint].append((status, slot))
    missing = 0
    for fingerprint, all_of_it in happened.items():
        heard = told.pop(fingerprint, [])
        left = iter(all_of_it)
        assert all(each in left for each in heard), (heard, all_of_it)
        statuses = ["resolved", *(status for status, _ in heard)]
        assert statuses[-1] == "resolved", (heard, all_of_it)
        assert ("resolved", "resolved") not in pairwise(statuses), (heard, all_of_it)
        missing += len(all_of_it) - len(heard)
    assert not told
    # What fired and was over while nobody was there to tell it is no news any more.
    assert missing <= 2 * blows * len(STEPS)


def event(transition: Transition) -> Event:
    """A transition as the oracle has it."""
    status = "firing" if transition.status is Status.FIRING else "resolved"
    return Event(transition.slot, transition.instance.labels["name"], status)
