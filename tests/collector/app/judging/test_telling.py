"""From the commit of an alert to its message: what is looked up in between keeps nothing back for long."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers.notify_desk import policy_of
from helpers.rule_bench import RuleBench, alert, group, rule_bench
from lapwing_collector.model.alerts import AlertState, Context, Status, Transition
from lapwing_collector.rules import Outcome, Rule
from lapwing_collector.state import OutboxRow, Store

START = datetime(2026, 1, 1)
FOUND = Context(recent=(1.0, 2.0), step_s=60.0)
ROWS = ({"prediction_id": "p1"},)
AT_ONCE = """
route: {receiver: team, group_by: [alertname], group_wait: 0s, group_interval: 1m, repeat_interval: 1h}
receivers: [{name: team, apprise_configs: [{name: chat, url: "json://127.0.0.1/"}]}]
"""
LATER = AT_ONCE.replace("group_wait: 0s", "group_wait: 10s")
FLIPS = group(alert("a", "CASE WHEN minute($slot) % 2 = 1 THEN 1 ELSE 0 END"))

Look = Callable[[Sequence[Transition]], Sequence[Transition]]


def looking(look: Look) -> Callable[..., Sequence[Transition]]:
    """What looks transitions up."""

    def brief(
        _rule: Rule,
        _tables: Collection[str],
        transitions: Sequence[Transition],
        _outcome: Outcome,
        _as_of: datetime,
    ) -> Sequence[Transition]:
        return look(transitions)

    return brief


def found(transitions: Sequence[Transition]) -> Sequence[Transition]:
    """What was found out at once."""
    return [replace(each, context=FOUND, sample=ROWS) for each in transitions]


def messages(store: Store) -> list[OutboxRow]:
    """What is in the outbox for the one target."""
    return store.due_messages("chat", datetime(2030, 1, 1), 100)


def shown(message: OutboxRow) -> Any:
    """What a message says of its first alert."""
    return json.loads(message.message.payload)["alerts"][0]


def test_an_alert_is_committed_before_anything_is_looked_up(tmp_path: Path) -> None:
    """State, history and group are there as looking begins; message and history have what it found."""
    seen = []

    def look(transitions: Sequence[Transition]) -> Sequence[Transition]:
        (known,) = bench.store.alerts([AlertState.FIRING])
        (told,) = bench.store.history()
        (member,) = bench.store.groups()[0].members.values()
        seen.append((known[1] == transitions[0].instance, told.sample, member.alert.awaits_context))
        bench.dispatcher.look()  # as another rule has it do meanwhile
        assert not messages(bench.store)
        return found(transitions)

    with rule_bench(tmp_path, FLIPS, START, policy=policy_of(AT_ONCE), brief=looking(look)) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        assert seen == [(True, (), True)]
        (message,) = messages(bench.store)
        assert shown(message)["recent"] == [1.0, 2.0]
        assert [each.sample for each in bench.store.history()] == [ROWS]


def test_what_is_looked_up_fits_into_the_wait_of_a_group(tmp_path: Path) -> None:
    """With a wait that is longer than looking takes, the message has what was found, and is as punctual."""
    with rule_bench(tmp_path, FLIPS, START, policy=policy_of(LATER), brief=looking(found)) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        assert bench.store.next_look() == START + timedelta(seconds=70)
        assert not messages(bench.store)
        bench.let_pass(10)
        bench.dispatcher.look()
        (message,) = messages(bench.store)
        assert shown(message)["recent"] == [1.0, 2.0]


def test_a_message_does_not_wait_for_long(tmp_path: Path) -> None:
    """Where looking takes its time, people are told without; what is found then is kept all the same."""

    def look(transitions: Sequence[Transition]) -> Sequence[Transition]:
        bench.let_pass(1)
        bench.dispatcher.look()
        assert not messages(bench.store)
        bench.let_pass(0.5)
        bench.dispatcher.look()
        assert len(messages(bench.store)) == 1
        return found(transitions)

    with rule_bench(tmp_path, FLIPS, START, policy=policy_of(AT_ONCE), brief=looking(look)) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        (message,) = messages(bench.store)
        assert "recent" not in shown(message) or not shown(message)["recent"]
        assert [each.sample for each in bench.store.history()] == [ROWS]
        (member,) = bench.store.groups()[0].members.values()
        assert (member.alert.context, member.alert.awaits_context) == (FOUND, False)


class Killed(BaseException):
    """The process dies."""


def fail(_: Sequence[Transition]) -> Sequence[Transition]:
    """Looking ends in an error that nobody foresaw."""
    raise RuntimeError("broken")


def die(_: Sequence[Transition]) -> Sequence[Transition]:
    """The process dies while it looks."""
    raise Killed


def work(bench: RuleBench, seconds: float) -> None:
    """Let time pass, and evaluate what is due."""
    bench.let_pass(seconds)
    try:
        bench.alerting.work()
    except Killed:
        bench.alerting.close(0)


@pytest.mark.parametrize("look", [fail, die])
def test_what_cannot_be_looked_up_keeps_no_alert_back(tmp_path: Path, look: Look) -> None:
    """An error, and a death between commit and look, cost the message what it would have had beside it."""
    with rule_bench(tmp_path, FLIPS, START, policy=policy_of(AT_ONCE), brief=looking(look)) as bench:
        work(bench, 60)
        assert [each.status for each in bench.store.history()] == [Status.FIRING]
        assert not messages(bench.store)
    start = START + timedelta(seconds=62)
    with rule_bench(tmp_path, FLIPS, start, policy=policy_of(AT_ONCE), brief=looking(found)) as bench:
        bench.dispatcher.look()
        bench.alerting.work()
        (message,) = messages(bench.store)
        assert message.message.status is Status.FIRING
        assert not shown(message).get("recent")
        work(bench, 60)
        assert [each.status for each in bench.store.history()] == [Status.RESOLVED, Status.FIRING]


def test_what_is_found_late_does_not_bring_back_what_is_over(tmp_path: Path) -> None:
    """An alert that has resolved since in its group stays resolved there."""
    with rule_bench(tmp_path, FLIPS, START, policy=policy_of(AT_ONCE)) as bench:
        work(bench, 61)
        (fired,) = bench.store.history()
        work(bench, 59)  # the group waits for its interval
        bench.dispatcher.know_more(0, [replace(fired, context=FOUND)], "value > 0")
        (member,) = bench.store.groups()[0].members.values()
        assert member.alert.status is Status.RESOLVED
        assert member.alert.context != FOUND
