"""Whatever happens: who heard that an alert fires hears that it is over, and nobody hears too often."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.notify_desk import FILE, Desk

UNWILLING = {"mail", "screen"}
"""Targets that do not want to hear of every end."""
NAMES = "abcd"
KINDS = ("", "page", "ticket", "source")
OTHER_ROUTES = FILE.replace("group_by: [alertname]", "group_by: [kind]").replace(
    "receiver: oncall", "receiver: lead"
)

names = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("fire"), st.sets(names, min_size=1).map(sorted), st.sampled_from(KINDS)),
    st.tuples(st.just("resolve"), st.sets(names, min_size=1).map(sorted)),
    st.tuples(st.just("wait"), st.sampled_from([1, 9, 10, 30, 61, 900, 4000])),
    st.tuples(st.just("silence"), names, st.sampled_from([30, 2000])),
    st.tuples(st.just("ack"), names),
    st.tuples(st.just("restart")),
    st.tuples(st.just("reroute")),
)


@contextmanager
def desk() -> Iterator[Desk]:
    """A desk in memory where there is some: nothing here is about disks."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        made = Desk(Path(folder))
        yield made
        made.store.close()


class Watched:
    """Takes steps at a desk, and remembers which alerts fire."""

    def __init__(self, at: Desk) -> None:
        self.desk = at
        self.fires: set[str] = set()
        self._kinds: dict[str, str] = {}
        self._rerouted = False

    def take(self, step: tuple[Any, ...]) -> None:
        """Do it."""
        match step:
            case ("fire", [*some], kind):
                new = [name for name in some if name not in self.fires]
                for name in new:  # an alert keeps its labels
                    self.desk.fire(name, self._kinds.setdefault(name, kind))
                self.fires |= set(new)
            case ("resolve", [*some]):
                self.desk.resolve("".join(name for name in some if name in self.fires))
                self.fires -= set(some)
            case ("wait", seconds):
                self.desk.go_to(self.desk.seconds + seconds)
            case ("silence", name, seconds):
                self.desk.go_to(self.desk.seconds + 1)
                self.desk.silence(f"name={name}", seconds)
            case ("ack", name):
                if name in self.fires:
                    self.desk.ack(name)
            case ("restart",):
                self.desk.restart()
            case ("reroute",):
                self._rerouted = not self._rerouted
                self.desk.restart(OTHER_ROUTES if self._rerouted else FILE)


@settings(max_examples=12, deadline=None)
@given(st.lists(steps, max_size=14))
def test_who_heard_of_a_firing_hears_of_its_end(script: list[tuple[Any, ...]]) -> None:
    """In the end all is over for everybody who was told otherwise, and nobody hears of an end unasked."""
    with desk() as at:
        watched = Watched(at)
        for step in script:
            watched.take(step)
        watched.take(("resolve", list(NAMES)))
        at.go_to(at.seconds + 10_000)
        firing: dict[tuple[str, str], int] = {}
        for row in reversed(at.store.outbox_rows(limit=None)):
            if row.delivery == "suppressed":
                continue
            target = row.message.target
            for name, status, new in at.told(row):
                if status == "firing" and new:
                    firing[target, name] = firing.get((target, name), 0) + 1
                elif status == "resolved":
                    firing[target, name] = firing.get((target, name), 0) - 1
                    assert firing[target, name] >= 0, (target, name)
        assert {key for key, count in firing.items() if count and key[0] not in UNWILLING} == set()
        assert at.store.groups() == []


@settings(max_examples=12, deadline=None)
@given(st.lists(steps, max_size=14))
def test_no_group_is_told_of_twice_in_an_interval(script: list[tuple[Any, ...]]) -> None:
    """To a target, two messages about a group are at least `group_interval` apart, restarts or not."""
    with desk() as at:
        watched = Watched(at)
        for step in script:
            watched.take(step)
        at.go_to(at.seconds + 10_000)
        last: dict[tuple[str, str], Any] = {}
        for row in reversed(at.store.outbox_rows(limit=None)):
            if row.delivery == "suppressed":
                continue
            key = (row.message.target, row.message.group)
            if key in last:
                assert row.created_at - last[key] >= timedelta(minutes=1)
            last[key] = row.created_at


@settings(max_examples=6, deadline=None)
@given(st.lists(steps.filter(lambda step: step[0] not in {"restart", "reroute"}), max_size=12))
def test_restarts_change_nothing(script: list[tuple[Any, ...]]) -> None:
    """A collector that stops and starts after every step tells what one tells that never stopped."""
    said = []
    for restarts in (False, True):
        with desk() as at:
            watched = Watched(at)
            for step in script:
                watched.take(step)
                if restarts:
                    at.restart()
            at.go_to(at.seconds + 10_000)
            said.append([(row.created_at, row.message) for row in at.store.outbox_rows(limit=None)])
    assert said[0] == said[1]
