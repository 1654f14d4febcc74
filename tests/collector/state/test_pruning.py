"""What goes with time, and what stays however old it is."""

from datetime import datetime, timedelta

import pytest

from helpers.notify_alerts import NOON, RULE, Wall, alert, instance, joining, message, put, transition
from lapwing_collector.app.judging.pruning import Pruner
from lapwing_collector.model.alerts import AlertState, RuleState, Status
from lapwing_collector.model.groups import Silence
from lapwing_collector.state import Delivery, Keep, Store

DAY = timedelta(days=1)
OLD = NOON - 100 * DAY
KEEP = Keep(alerts=NOON - 90 * DAY, messages=NOON - 30 * DAY)


def commit(store: Store, now: datetime, fingerprint: str, state: AlertState) -> None:
    """Commit a slot in which an alert began to fire; it is in a state by now."""
    of = instance(fingerprint=fingerprint, state=state)
    known = store.load_rules().get(RULE, RuleState("d", OLD))
    instances = {**known.instances, fingerprint: of}
    after = RuleState("d", (known.slot or OLD) + timedelta(minutes=1), instances=instances)
    store.commit(RULE, after, [transition(instance=of)], [], [], now)


def prune(store: Store, limit: int = 200) -> dict[str, int]:
    """Prune to the end; how many rows went."""
    gone: dict[str, int] = {}
    after: tuple[str, int] | None = ("history", 0)
    while after is not None:
        done = store.prune(KEEP, after, limit)
        for table, count in done.rows.items():
            gone[table] = gone.get(table, 0) + count
        after = done.after
    return gone


def ends(store: Store, key: str, delivery: Delivery) -> None:
    """Let a message come to its end."""
    assert store.mark_sending(key)
    if delivery is Delivery.SENT:
        store.mark_sent(key, OLD)
    elif delivery is Delivery.DEAD:
        store.mark_dead(key, "error=404", lambda _known, _unknown: (), OLD)


@pytest.mark.parametrize("limit", [1, 2, 200])
def test_old_history_goes_but_for_alerts_that_are_not_over(store: Store, limit: int) -> None:
    """Transitions go with age; those of an alert that fires, or that somebody was told of, stay."""
    for number in range(3):
        commit(store, OLD, f"over{number}", AlertState.INACTIVE)
    for state in (AlertState.FIRING, AlertState.PENDING, AlertState.RECOVERING):
        commit(store, OLD, str(state), state)
    store.announce([transition(instance=instance(fingerprint="told"))], [], OLD)
    store.forget_rule(RULE, [], [joining(alert(fingerprint="told"))], OLD)
    commit(store, OLD, "firing", AlertState.FIRING)
    for state in (AlertState.PENDING, AlertState.RECOVERING):
        commit(store, OLD, str(state), state)
    commit(store, NOON - 80 * DAY, "young", AlertState.INACTIVE)
    assert prune(store, limit) == {"history": 3}
    kept = {event.instance.fingerprint for event in store.history()}
    assert kept == {"firing", "pending", "recovering", "told", "young"}
    assert prune(store, limit) == {"history": 0}


@pytest.mark.parametrize("limit", [1, 200])
def test_old_messages_go_once_nobody_asks_for_them(store: Store, limit: int) -> None:
    """What was delivered goes after a month, what was given up after three; what waits stays."""
    put(store, *(message(key) for key in ("sent", "dead", "queued", "sending")), now=OLD)
    ends(store, "sent", Delivery.SENT)
    ends(store, "dead", Delivery.DEAD)
    store.mark_sending("sending")
    put(store, message("dropped"), message("given-up"), now=NOON - 40 * DAY)
    store.drop({"dropped": "superseded"})
    ends(store, "given-up", Delivery.DEAD)
    put(store, message("new"), now=NOON - DAY)
    ends(store, "new", Delivery.SENT)
    assert prune(store, limit) == {"outbox": 3}
    assert [row.message.key for row in store.outbox_rows()] == ["new", "given-up", "sending", "queued"]


def test_messages_of_an_alert_that_fires_stay(store: Store) -> None:
    """While a group is there its messages are: who heard what decides what is told next."""
    put(store, message("sent", group="g1"), now=OLD)
    ends(store, "sent", Delivery.SENT)
    store.forget_rule(RULE, [], [joining(alert(), "g1")], OLD)
    assert prune(store) == {"outbox": 0}


def test_a_dead_message_stays_outdated(store: Store) -> None:
    """As long as a firing may be queued again, what says that it is over is known."""
    put(store, message("fire", group="g"), now=NOON - 40 * DAY)
    ends(store, "fire", Delivery.DEAD)
    put(store, message("over", group="g", status=Status.RESOLVED), now=NOON - 39 * DAY)
    ends(store, "over", Delivery.SENT)
    assert prune(store) == {"outbox": 0}
    assert store.requeue(["fire"], NOON) == set()


def test_a_message_that_is_sent_again_is_new(store: Store) -> None:
    """Age counts from when somebody wanted it to be sent."""
    put(store, message("a"), now=OLD)
    ends(store, "a", Delivery.DEAD)
    store.requeue(["a"], NOON - DAY)
    ends(store, "a", Delivery.SENT)
    assert prune(store) == {"outbox": 0}


def test_a_pruner_follows_the_clock(store: Store) -> None:
    """As time goes by, each thing goes when its own time is over, silences too; all of it is counted."""
    wall = Wall()
    pruner = Pruner(store, wall, alerts=90 * DAY, messages=30 * DAY)
    commit(store, NOON, "over", AlertState.INACTIVE)
    put(store, message("sent"), message("dead"))
    ends(store, "sent", Delivery.SENT)
    ends(store, "dead", Delivery.DEAD)
    for key, end in (("over", NOON + DAY), ("holds", None)):
        store.silence(Silence(key, 'a="b"', NOON, end, "me", "", NOON))

    def left(days: int) -> tuple[int, int, int]:
        wall.now = NOON + days * DAY
        pruner.work()
        return len(store.history()), len(store.outbox_rows()), len(store.silences())

    assert [left(days) for days in (29, 31, 89, 92)] == [(1, 2, 2), (1, 1, 2), (1, 1, 2), (0, 0, 1)]
    assert pruner.counts() == {"history": 1, "outbox": 2, "silences": 1}
    counted = {table: count for table, count in store.row_counts().items() if count}
    assert counted == {"instances": 1, "silences": 1}
