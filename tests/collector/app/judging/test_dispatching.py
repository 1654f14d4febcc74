"""What is told when: groups over a real store, with a clock that steps."""

import sqlite3
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from helpers.notify_alerts import NOON
from helpers.notify_desk import FILE, Desk
from lapwing_collector.model.groups import Ack, Looked
from lapwing_collector.notify.letters import dead_letters

HOUR = 3600

TIMELINES = {
    "a group is told after its wait, with all that came until then": (
        "0 fire a; 5 fire b; 12 end",
        ["10 chat first +ab"],
    ),
    "what comes later is told after the interval, the news first": (
        "0 fire b; 15 fire a; 20 fire c; 300 end",
        ["10 chat first +b", "70 chat changed +acb"],
    ),
    "after a quiet interval news waits for the wait alone": (
        "0 fire a; 200 fire b; 300 end",
        ["10 chat first +a", "210 chat changed +ba"],
    ),
    "a resolve is told with what fires on": (
        "0 fire ab; 100 resolve a; 300 end",
        ["10 chat first +ab", "110 chat changed +b -a"],
    ),
    "the last resolve ends the group": (
        "0 fire ab; 100 resolve a; 105 resolve b; 300 end",
        ["10 chat first +ab", "110 chat resolved -ab"],
    ),
    "resolves wait for the interval": (
        "0 fire a; 20 resolve a; 300 end",
        ["10 chat first +a", "70 chat resolved -a"],
    ),
    "what is over before its wait ended is not told": ("0 fire a; 5 resolve a; 300 end", []),
    "what shrinks and grows back within an interval is not told again": (
        "0 fire ab; 20 resolve a; 30 fire a; 300 end",
        ["10 chat first +ab"],
    ),
    "what fires again is told after the interval": (
        "0 fire a; 100 resolve a; 120 fire a; 300 end",
        ["10 chat first +a", "110 chat resolved -a", "170 chat first +a"],
    ),
    "what fires on is repeated": (
        f"0 fire ab; {2 * HOUR + 30} end",
        ["10 chat first +ab", f"{HOUR + 10} chat repeat +ab", f"{2 * HOUR + 10} chat repeat +ab"],
    ),
    "news begins the time to the next repeat": (
        f"0 fire a; 1800 fire b; {HOUR + 1820} end",
        ["10 chat first +a", "1810 chat changed +ba", f"{HOUR + 1810} chat repeat +ab"],
    ),
    "groups by all labels without waits tell each alert at once": (
        "0 fire ab each; 1 resolve a; 2 fire a each; 3 end",
        [
            "0 chat first +a",
            "0 chat first +b",
            "1 chat resolved -a",
            "2 chat first +a",
        ],
    ),
    "targets hear what they want of resolves": (
        "0 fire a page; 100 resolve a; 200 end",
        [
            "0 pager first +a",
            "0 mail first +a",
            "0 screen first +a",
            "100 pager resolved -a",
            "100 screen resolved -a",
        ],
    ),
    "what nobody acknowledges is escalated, and its resolve follows": (
        "0 fire a page; 1000 resolve a; 1200 end",
        [
            "0 pager first +a",
            "0 mail first +a",
            "0 screen first +a",
            "900 phone escalation +a",
            "1000 pager resolved -a",
            "1000 screen resolved -a",
            "1000 phone resolved -a",
        ],
    ),
    "an ack stops escalation and repeats, not the resolve": (
        f"0 fire a page; 60 ack a; {HOUR + 60} resolve a; {HOUR + 200} end",
        [
            "0 pager first +a",
            "0 mail first +a",
            "0 screen first +a",
            f"{HOUR + 60} pager resolved -a",
            f"{HOUR + 60} screen resolved -a",
        ],
    ),
    "an ack ends with its alert": (
        "0 fire a page; 60 ack a; 100 resolve a; 200 fire a page; 1100 end",
        [
            "0 pager first +a",
            "0 mail first +a",
            "0 screen first +a",
            "100 pager resolved -a",
            "100 screen resolved -a",
            "200 pager first +a",
            "200 mail first +a",
            "200 screen first +a",
            "1100 phone escalation +a",
        ],
    ),
    "an ack that is withdrawn is as if it had not been": (
        "0 fire a page; 60 ack a; 1000 unack a; 1001 end",
        ["0 pager first +a", "0 mail first +a", "0 screen first +a", "1000 phone escalation +a"],
    ),
    "what is acknowledged is not repeated beside what is not": (
        f"0 fire ab; 20 ack a; {HOUR + 20} end",
        ["10 chat first +ab", f"{HOUR + 10} chat repeat +ba"],
    ),
    "what is silenced is told when the silence ends": (
        "0 silence name=a 100; 5 fire ab; 200 end",
        ["15 chat first +b", "100 chat changed +ab"],
    ),
    "a silence that is ended early tells at once": (
        "0 silence name=a 1000; 5 fire a; 300 unsilence s0; 301 end",
        ["300 chat first +a"],
    ),
    "a resolve reaches who heard, silenced or not": (
        "0 fire a page; 10 silence name=a 1000; 100 resolve a; 200 end",
        ["0 pager first +a", "0 mail first +a", "0 screen first +a", "100 pager resolved -a"],
    ),
    "a silence stops repeats": (f"0 fire a; 20 silence name=a 4000; {HOUR + 30} end", ["10 chat first +a"]),
    "what fires on when a silence ends is repeated": (
        "0 fire a; 20 silence name=a 4000; 4100 end",
        ["10 chat first +a", "4020 chat repeat +a"],
    ),
    "what nobody acknowledged is escalated when a silence ends": (
        "0 fire a page; 20 silence name=a 1000; 1100 end",
        ["0 pager first +a", "0 mail first +a", "0 screen first +a", "1020 phone escalation +a"],
    ),
    "what ends and begins anew in one slot fires on": (
        f"0 fire a; 100 change a; {HOUR + 20} resolve a; {HOUR + 100} end",
        ["10 chat first +a", f"{HOUR + 10} chat repeat +a", f"{HOUR + 70} chat resolved -a"],
    ),
    "what begins anew in one slot with other labels is told where these lead": (
        "0 fire a; 100 change a page; 200 resolve a; 300 end",
        [
            "10 chat first +a",
            "100 pager first +a",
            "100 mail first +a",
            "100 screen first +a",
            "110 chat resolved -a",
            "200 pager resolved -a",
            "200 screen resolved -a",
        ],
    ),
    "what resolves while it is silenced is never told": (
        "0 silence name=a 1000; 5 fire a; 100 resolve a; 2000 end",
        [],
    ),
    "a silence until resolved ends with its alerts": (
        "0 fire ab; 20 silence name=~a|b until-resolved; 90 resolve a; 200 resolve b; 300 fire a; 400 end",
        ["10 chat first +ab", "100 chat changed +b -a", "210 chat resolved -b", "310 chat first +a"],
    ),
    "what another alert inhibits is told once that is over": (
        "0 fire s source; 0 fire a; 300 resolve s; 400 end",
        ["10 chat first +s", "300 chat changed +a -s"],
    ),
    "a muted route tells when the interval is over": (
        f"0 fire a ticket; {HOUR + 60} end",
        [f"{HOUR + 10} chat first +a"],
    ),
    "routes to one receiver tell by their own hours": (
        f"0 fire a; 0 fire b ticket; 100 resolve a; {HOUR + 60} end",
        ["10 chat first +a", "110 chat resolved -a", f"{HOUR + 10} chat first +b"],
    ),
    "a digest tells what came and went while rules caught up": (
        "0 replay ab; 1 replayed a; 20 end",
        ["10 chat first +b -a"],
    ),
    "a digest alone says that it is one": ("0 replay a; 1 replayed a; 200 end", ["11 chat digest -a"]),
    "a restart changes nothing of what is told": (
        "0 fire a; 5 restart; 6 fire b; 15 restart; 20 resolve a; 60 restart; 300 end",
        ["10 chat first +ab", "70 chat changed +b -a"],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), TIMELINES.values(), ids=TIMELINES.keys())
def test_timelines(tmp_path: Path, steps: str, expected: list[str]) -> None:
    """What is told when, case by case."""
    desk = Desk(tmp_path)
    desk.play(steps)
    assert desk.said() == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("0 silence name=a 100; 5 fire ab; 300 end", ["15 chat +a: silenced by ann (s0)"]),
        ("0 silence name=a 1000; 5 fire a; 300 unsilence s0; 400 end", ["15 chat +a: silenced by ann (s0)"]),
        ("0 fire s source; 0 fire ab; 300 end", ["10 chat +ab: inhibited by Drift (s)"]),
        (f"0 fire a ticket; {HOUR} end", ["10 chat +a: muted by the time interval afternoon"]),
        ("0 fire a; 5 ack a; 300 end", ["10 chat +a: acknowledged by ann"]),
        ("0 fire a; 5 resolve a; 300 end", ["5 chat -a: over before it was time to tell"]),
        ("0 silence name=a 99; 1 replay a; 2 replayed a; 300 end", ["2 chat -a: silenced by ann (s0)"]),
        ("0 silence name=a 99; 1 replay a; 20 replayed a; 300 end", ["11 chat +a: silenced by ann (s0)"]),
        (
            "0 fire a page; 10 silence name=a 1000; 100 resolve a; 200 end",
            ["100 screen -a: silenced by ann (s10); it wants no resolves of such alerts"],
        ),
        (
            "0 silence name=a 50; 0 fire a; 60 silence name=a 1000; 70 resolve a; 200 fire a; 300 end",
            ["10 chat +a: silenced by ann (s0)", "210 chat +a: silenced by ann (s60)"],
        ),
    ],
)
def test_what_is_not_told_is_kept_with_its_reason(tmp_path: Path, steps: str, expected: list[str]) -> None:
    """Each alert that somebody would have been told of by now stands in the outbox once, with the reason."""
    desk = Desk(tmp_path)
    desk.play(steps)
    assert desk.unsaid() == expected


def test_a_storm_is_one_message_for_each_group_and_interval(tmp_path: Path) -> None:
    """Of 5 000 alerts that begin at once, and of which most go, a target gets a message an interval."""
    desk = Desk(tmp_path)
    storm = [f"{number:04}" for number in range(5000)]
    begun = time.process_time()
    desk.fire_all(storm)
    desk.go_to(15)
    desk.resolve_all(storm[:4000])
    desk.go_to(400)
    assert time.process_time() - begun < 30  # seconds of CPU; it takes about two
    rows = desk.store.outbox_rows()[::-1]
    assert [(row.created_at - NOON).total_seconds() for row in rows] == [10, 70]
    spoken = desk.store.alerts_of([row.message.key for row in rows])
    assert [len(spoken[row.message.key]) for row in rows] == [5000, 5000]


OTHER_GROUPS = FILE.replace("group_by: [alertname]", "group_by: [kind]")
WIDER = FILE.replace("kind=page]", "kind=~page|call]")
MUTED = WIDER.replace("group_wait: 0s, escalate", "mute_time_intervals: [afternoon], escalate")


@pytest.mark.parametrize("restarts", [True, False])
def test_alerts_follow_other_routes(tmp_path: Path, restarts: bool) -> None:
    """After a change of the file an alert is in its new group: who knows of it hears nothing, others do."""
    desk = Desk(tmp_path)
    desk.play("0 fire ab page; 5 fire c; 20 end")
    said = desk.said()
    other = OTHER_GROUPS.replace("receiver: oncall", "receiver: team")
    if restarts:
        desk.restart(other)
    else:
        desk.use(other)
    desk.play("100 resolve a; 300 resolve bc; 500 end")
    assert sorted(desk.said()[len(said) :]) == [
        "100 chat changed +b -a",
        "100 pager changed +b -a",
        "100 screen changed +b -a",
        "20 chat first +ab",
        "300 chat resolved -b",
        "300 pager resolved -b",
        "300 screen resolved -b",
        "310 chat resolved -c",
    ]
    assert desk.unsaid() == []  # who knew is not said to have missed it


def test_routes_that_come_before_move_nothing(tmp_path: Path) -> None:
    """A route that is put before others, or other times, leave the groups of alerts as they are."""
    desk = Desk(tmp_path)
    desk.play("0 fire a page; 0 fire b ticket; 0 fire c; 20 end")
    before = {group.key: group.heard for group in desk.store.groups()}
    assert len(before) == 3
    more = FILE.replace("routes:\n", "routes:\n    - {matchers: [kind=none], receiver: lead}\n")
    desk.restart(more.replace("group_interval: 1m", "group_interval: 2m").replace("15m", "20m"))
    desk.dispatcher.look()
    assert {group.key: group.heard for group in desk.store.groups()} == before


@pytest.mark.parametrize("file", [WIDER, OTHER_GROUPS])
def test_alerts_that_move_are_repeated_and_escalated(tmp_path: Path, file: str) -> None:
    """Who knows of an alert that other routes lead elsewhere is reminded of it, as if it had not moved."""
    told = {}
    for name, other in (("stays", FILE), ("moves", file)):
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name)
        desk.play("0 fire a page; 20 end")
        desk.restart(other)
        desk.play(f"{HOUR + 1000} ack a; {2 * HOUR} unack a; {2 * HOUR + 10} resolve a; {3 * HOUR} end")
        told[name] = sorted(desk.said())
    assert told["moves"] == told["stays"]
    assert sum("repeat" in each for each in told["moves"]) == 7


def test_what_moved_is_repeated_when_its_new_route_may(tmp_path: Path) -> None:
    """Hours in which nothing is told are those of the route that leads an alert now."""
    desk = Desk(tmp_path)
    desk.play("0 fire a page; 1800 end")
    said = desk.said()
    desk.restart(MUTED.replace("13:00", "14:00"))
    desk.play(f"{2 * HOUR + 100} end")
    assert sorted(desk.said()[len(said) :]) == [
        f"{2 * HOUR} {name} repeat +a" for name in ("mail", "pager", "phone", "screen")
    ]


def test_who_is_no_receiver_any_more_hears_the_end_alone(tmp_path: Path) -> None:
    """A target that the route does not tell any more is not reminded of what it knows."""
    desk = Desk(tmp_path)
    desk.play("0 fire a; 20 end")
    moved = '{name: chat, url: "json://127.0.0.1/"}'
    spare = '{name: spare, url: "json://127.0.0.1/"}'
    old = f"  - {{name: old, apprise_configs: [{moved}]}}\n"
    desk.restart(FILE.replace(moved, spare).replace("inhibit_rules", f"{old}inhibit_rules"))
    desk.play(f"{2 * HOUR} resolve a; {3 * HOUR} end")
    assert desk.said()[1:] == [
        "20 spare first +a",
        f"{HOUR + 20} spare repeat +a",
        f"{2 * HOUR + 10} spare resolved -a",
        f"{2 * HOUR + 10} chat resolved -a",
    ]


def test_a_target_that_comes_back_hears_the_end(tmp_path: Path) -> None:
    """Who was taken out of the file, and put back, hears the end of what it heard begin."""
    desk = Desk(tmp_path)
    desk.play("0 fire a; 20 fire b; 100 end")
    desk.restart(FILE.replace("name: chat", "name: other"))
    desk.play("200 resolve b; 300 end")
    desk.restart(FILE)
    desk.play("400 resolve a; 600 end")
    assert [each for each in desk.said() if "chat" in each] == [
        "10 chat first +a",
        "70 chat changed +ba",
        "410 chat resolved -a",
    ]


def test_files_that_change_often_delay_nothing(tmp_path: Path) -> None:
    """What waits for its group to gather goes on waiting in another one."""
    desk = Desk(tmp_path)
    desk.fire("a")
    for second in range(4, 12, 4):
        desk.go_to(second)
        desk.use(OTHER_GROUPS if second % 8 else FILE)
    desk.go_to(60)
    assert desk.said() == ["10 chat first +a"]


def test_what_came_and_went_is_told_by_other_routes(tmp_path: Path) -> None:
    """A digest that nobody had heard yet is told where the new file leads."""
    desk = Desk(tmp_path)
    desk.play("0 replay b; 1 replayed b; 2 end")
    desk.use(OTHER_GROUPS.replace("receiver: team", "receiver: lead"))
    desk.go_to(60)
    assert desk.said() == ["11 phone digest -b"]


FALLBACK = FILE.replace("name: oncall\n", "name: oncall\n    fallback: team\n")


def refuse(desk: Desk, *targets: str) -> None:
    """Give up what waits for targets, as it is when these refuse it."""
    for target in targets:
        for row in desk.store.due_messages(target, desk.wall.now, 100):
            assert desk.store.mark_sending(row.message.key)
            letters = partial(dead_letters, row.message, "error=404", desk.policy.fallbacks().get(target, ()))
            desk.store.mark_dead(row.message.key, "error=404", letters, desk.wall.now)
    desk.dispatcher.look()


def test_who_heard_for_another_hears_the_end(tmp_path: Path) -> None:
    """A fallback that was told of a firing is told when it is over, once, and not reminded before."""
    desk = Desk(tmp_path, FALLBACK)
    desk.play("0 fire ab page; 5 end")
    refuse(desk, "pager", "mail")
    desk.play(f"100 resolve a; {2 * HOUR} resolve b; {3 * HOUR} end")
    assert [each for each in desk.said() if "chat" in each] == [
        "5 chat [UNDELIVERED to pager]",
        "5 chat [UNDELIVERED to mail]",
        "100 chat changed +b -a",
        f"{2 * HOUR} chat resolved -b",
    ]
    assert {row.message.group for row in desk.store.messages_about("a")} == {
        row.message.group for row in desk.store.messages_about("b")
    }
    assert desk.store.groups() == []


def test_a_letter_says_what_is_over(tmp_path: Path) -> None:
    """Of alerts that are over when their firing is given up, the letter itself says so."""
    desk = Desk(tmp_path, FALLBACK)
    desk.play("0 fire a page; 0 fire b page; 100 resolve a; 170 end")
    refuse(desk, "pager")  # the message about a
    refuse(desk, "pager")  # that about b, which names a, too
    desk.play("300 resolve b; 400 end")
    letters = [row.message for row in reversed(desk.store.outbox_rows()) if row.message.origin]
    assert [letter.status for letter in letters] == ["resolved", "firing"]
    assert "error=404\nIt is over.\n\n" in letters[0].body
    assert "error=404\n1 of the 2 alerts that it says fire are over.\n\n" in letters[1].body
    assert desk.said()[-3:] == ["300 pager resolved -b", "300 screen resolved -b", "300 chat resolved -b"]


@pytest.mark.parametrize(
    ("file", "seconds"),
    [(FILE.replace("[kind=page]", "[kind=p]"), 3600), (WIDER, 0)],
)
def test_what_was_decided_by_the_old_file_follows_the_new(tmp_path: Path, file: str, seconds: int) -> None:
    """An alert that is committed after the file changed comes where the new one leads."""
    desk = Desk(tmp_path)
    begun = desk.begun("a", "page")
    changes = desk.dispatcher.changes(begun, None)
    desk.use(file.replace("receiver: team", "receiver: lead"))
    desk.go_to(seconds)
    desk.commit(begun, changes)
    desk.go_to(seconds + 60)
    expected = [f"{seconds} {name} first +a" for name in ("pager", "mail", "screen")]
    assert desk.said() == (expected if file is WIDER else [f"{seconds + 10} phone first +a"])


def test_what_fired_before_there_was_a_file_is_told(tmp_path: Path) -> None:
    """Alerts that are in no group come into theirs at the next start."""
    desk = Desk(tmp_path)
    desk.fire("a")
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("DELETE FROM notification_groups")
        database.execute("DELETE FROM group_alerts")
    database.close()
    desk.restart()
    desk.go_to(60)
    assert desk.said() == ["10 chat first +a"]


@pytest.mark.parametrize(("caught_up_at", "told_at"), [(103, 103), (1000, 110)])
def test_nothing_old_is_told_before_rules_had_their_say(
    tmp_path: Path, caught_up_at: int, told_at: int
) -> None:
    """After a start a group waits for rules to be evaluated, but not longer than its `group_wait`."""
    desk = Desk(tmp_path)
    desk.play("0 fire a; 0 fire b page; 5 end")
    said = desk.said()
    desk.wall.now = NOON + timedelta(seconds=100)  # it was stopped meanwhile
    desk.caught_up = False
    desk.restart()
    desk.resolve("b")
    for second in range(100, 120):
        desk.go_to(second)
        desk.caught_up = second >= caught_up_at
        desk.dispatcher.look()
    assert desk.said()[len(said) :] == [
        "100 pager resolved -b",
        "100 screen resolved -b",
        f"{told_at} chat first +a",
    ]


def test_what_begins_at_a_slot_of_before_is_told(tmp_path: Path) -> None:
    """An alert of a rule that was deleted and written anew is news, though all else is as it was."""
    desk = Desk(tmp_path)
    desk.play("0 fire a; 100 resolve a; 300 end")
    desk.forget_rule()
    desk.play("400 fire a; 500 end")
    assert desk.said() == ["10 chat first +a", "110 chat resolved -a", "410 chat first +a"]


def test_a_look_that_began_before_a_silence_ended_does_not_count(tmp_path: Path) -> None:
    """What keeps alerts from being told may end while a group is looked at: it is looked at again."""
    desk = Desk(tmp_path)
    desk.play("0 silence name=a 1000; 5 fire a; 20 end")
    (group,) = desk.store.groups()
    assert desk.store.end_silence("s0", desk.wall.now)
    later = desk.wall.now + timedelta(hours=1)
    assert desk.store.save_looks([Looked(group, group, (), later)], desk.wall.now) == []
    desk.dispatcher.look()
    assert desk.said() == ["20 chat first +a"]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_clock_that_is_set_back_keeps_nothing_from_people(tmp_path: Path, restarts: bool) -> None:
    """What was told by a clock a year ahead is followed up once the clock is right, as if told then."""
    desk = Desk(tmp_path)
    desk.wall.now += timedelta(days=365)
    desk.fire("ab")
    desk.go_to(desk.seconds + 10)
    said = desk.said()
    desk.wall.now = NOON
    if restarts:
        desk.restart()
    desk.dispatcher.look()
    desk.resolve("a")
    desk.go_to(4000)
    assert [each for each in desk.said() if each not in said] == [
        "60 chat changed +b -a",
        "3660 chat repeat +b",
    ]


def test_what_is_over_cannot_be_acknowledged(tmp_path: Path) -> None:
    """An ack that comes when its alert has just resolved is refused, and so hides no firing to come."""
    desk = Desk(tmp_path)
    desk.play("0 fire a; 20 resolve a")
    assert not desk.store.acknowledge(Ack("a", "ann", "", desk.wall.now))
    desk.play("200 fire a; 300 end")
    assert desk.said() == ["10 chat first +a", "70 chat resolved -a", "210 chat first +a"]
