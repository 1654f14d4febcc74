"""Whom alerts of a test would reach: the real routes, groups and outbox, on a clock that the test moves."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.notify import Policy
from lapwing_collector.rules import Evaluation, Rule
from lapwing_collector.state import Delivery, Store

_MOST_MESSAGES: Final = 100_000

Walk = Iterator[tuple[datetime, Evaluation]]
"""A rule's evaluations, slot by slot."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Who was told up to a time.

    Attributes:
        targets: Those that were.
        suppressed: Those that were not, though an alert was meant for them, and why.
    """

    targets: frozenset[str]
    suppressed: Mapping[str, str]


def rehearse(
    policy: Policy, walks: Sequence[tuple[Rule, Walk]], start: datetime, times: Iterable[datetime]
) -> Iterator[Reached]:
    """Tell who has been told at each of `times`, which ascend; every target accepts what it is told."""
    moment = start
    with tempfile.TemporaryDirectory(prefix="lapwing-test-") as folder:
        store = Store.open(Path(folder) / "state.sqlite")
        dispatcher = Dispatcher(
            policy=policy, store=store, wake=lambda _: None, now=lambda: moment, caught_up=lambda: True
        )

        def look() -> None:
            dispatcher.look()
            for row in store.outbox_rows(Delivery.QUEUED, _MOST_MESSAGES):
                if store.mark_sending(row.message.key):
                    store.mark_sent(row.message.key, moment)

        try:
            steps = heapq.merge(
                *(((slot, rule, evaluation) for slot, evaluation in walk) for rule, walk in walks),
                key=lambda step: step[0],
            )
            following = next(steps, None)
            for until in times:
                while True:
                    due = store.next_look()
                    slot = None if following is None else following[0]
                    ahead = [at for at in (due, slot) if at is not None and at <= until]
                    if not ahead:
                        break
                    moment = max(moment, min(ahead))
                    if following is not None and slot == min(ahead):
                        _, rule, evaluation = following
                        changes = dispatcher.changes(evaluation.transitions, rule.condition)
                        store.commit(rule.id, evaluation.state, evaluation.transitions, changes, (), moment)
                        following = next(steps, None)
                    look()
                moment = max(moment, until)
                rows = store.outbox_rows(None, _MOST_MESSAGES)
                yield Reached(
                    frozenset(row.message.target for row in rows if row.delivery is Delivery.SENT),
                    {
                        row.message.target: row.last_error or ""
                        for row in rows
                        if row.delivery is Delivery.SUPPRESSED
                    },
                )
        finally:
            store.close()
