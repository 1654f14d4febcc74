"""Late rows and labels: the windows that they touch are evaluated again, and no others."""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers.late_bench import LateBench, hours, late_bench
from lapwing_collector.app.places.project import load_project
from lapwing_collector.errors import ConfigError, QueryError, StateUnavailableError
from lapwing_collector.model.alerts import RuleId

START = datetime(2026, 1, 1)
DAY = timedelta(days=1)

ACCURACY = """
          SELECT
            inputs.region AS region,
            count(output.late = label) AS sample_count,
            avg((output.late = label)::INT) AS value,
            count(label) / count(*) AS label_coverage
          FROM labeled.m WHERE time >= $window_start AND time < $window_end GROUP BY ALL
"""
COUNT = """
          SELECT count(*) AS value FROM predictions.m WHERE time >= $window_start AND time < $window_end
"""


def rules(interval: str, *records: str) -> str:
    return f"groups:\n  - name: g\n    interval: {interval}\n    rules:\n" + "".join(records)


def record(name: str, expr: str, keys: str = "") -> str:
    return f"      - record: {name}\n        model: m\n{keys}        expr: |{expr}"


def daily() -> str:
    sliding = "        window: 3d\n        query_offset: 6h\n"
    return rules(
        "1d", record("daily", ACCURACY), record("sliding", ACCURACY, sliding), record("traffic", COUNT)
    )


def hourly_predictions(days: int) -> list[dict[str, Any]]:
    return [
        {
            "time": START + hours(i),
            "prediction_id": f"p{i}",
            "request_id": f"r{i}",
            "inputs.region": "eu" if i % 2 else "us",
            "output.late": i % 3 == 0,
        }
        for i in range(24 * days)
    ]


def label_of(row: Mapping[str, Any], value: bool, time: datetime, **more: Any) -> dict[str, Any]:
    return {
        "prediction_id": row["prediction_id"],
        "prediction_time": row["time"],
        "time": time,
        "label": value,
    } | more


def latest(bench: LateBench) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What is known now, by metric, region and window."""
    return {
        (row["metric"], row["series"].get("region"), row["window_start"], row["window_end"]): (
            row["value"],
            row["sample_count"],
            row["label_coverage"],
        )
        for row in bench.ask("FROM metric_values_latest")
    }


def newer_than(bench: LateBench, as_of: datetime) -> set[tuple[str, str | None, datetime]]:
    """Metric, region and end of the window of each row that was stored since."""
    return {
        (row["metric"], row["series"].get("region"), row["window_end"])
        for row in bench.ask("FROM metric_values WHERE as_of > $as_of", as_of=as_of)
    }


def play_days(bench: LateBench, days: int, late: Sequence[str]) -> list[dict[str, Any]]:
    """Let `days` of predictions come, each labelled an hour later but for `late`."""
    rows = hourly_predictions(days)
    for day in range(days):
        today = rows[24 * day : 24 * day + 24]
        bench.reach(START + day * DAY + hours(23.5))
        on_time = [row for row in today if row["prediction_id"] not in late]
        bench.receive(today, [label_of(row, True, row["time"] + hours(1)) for row in on_time])
        bench.reach(START + (day + 1) * DAY + timedelta(minutes=2))
        bench.work()
    return rows


def test_a_label_thirty_days_late_changes_the_windows_it_touches(tmp_path: Path) -> None:
    """A label that lands 30 days later makes new rows for the windows of its prediction, for no others."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p30", "p6", "p41"])
        bench.reach(START + 32 * DAY + hours(1))
        bench.work()
        before, asked, then = latest(bench), bench.evaluated, bench.now
        bench.clock.step(60)
        bench.receive([], [label_of(rows[30], True, bench.now)])
        bench.clock.step(1)
        bench.work()
        day = START + 2 * DAY
        touched = {("daily", "us", day)} | {("sliding", "us", day + n * DAY - hours(6)) for n in (0, 1, 2)}
        assert newer_than(bench, then) == touched
        assert bench.evaluated - asked == 4  # the rule of predictions alone is not even asked
        after = latest(bench)
        changed = {key for key in after if after[key] != before[key]}
        assert {(metric, region, end) for metric, region, _, end in changed} == touched
        assert after["daily", "us", START + DAY, day] == (4 / 12, 12, 1.0)
        assert before["daily", "us", START + DAY, day] == (3 / 11, 11, 11 / 12)
        as_known_then = bench.ask(
            "SELECT value FROM metric_values WHERE metric = 'daily' AND series['region'] = 'us' "
            "AND window_end = $day AND as_of <= $then QUALIFY row_number() OVER (ORDER BY as_of DESC) = 1",
            day=day,
            then=then,
        )
        assert as_known_then == [{"value": 3 / 11}]
        for place, region, end, known_by in (
            (6, "us", day - DAY, {"prediction_time": None}),
            (41, "eu", day, {"prediction_time": None, "prediction_id": None, "request_id": "r41"}),
        ):
            bench.clock.step(3600)  # windows rest
            then = bench.now
            bench.clock.step(1)
            bench.receive([], [label_of(rows[place], True, bench.now, **known_by)])
            bench.clock.step(1)
            bench.work()
            daily_windows = {touch for touch in newer_than(bench, then) if touch[0] == "daily"}
            assert daily_windows == {("daily", region, end)}


def test_a_late_row_changes_the_windows_it_touches(tmp_path: Path) -> None:
    """A prediction that comes days late, after its label, counts in the windows of its own time."""
    with late_bench(tmp_path, daily(), START) as bench:
        play_days(bench, 3, late=[])
        bench.reach(START + 5 * DAY + hours(1))
        bench.work()
        then = bench.now
        row = {
            "time": START + hours(1.5),
            "prediction_id": "x",
            "inputs.region": "eu",
            "output.late": True,
        }
        bench.clock.step(1)
        bench.receive([], [label_of(row, True, bench.now)])  # the label first
        bench.clock.step(1)
        bench.work()
        assert newer_than(bench, then) == set()
        bench.receive([row])
        bench.clock.step(3600)  # the slots rest: the label touched them before
        bench.work()
        ends = [START + n * DAY - hours(6) for n in (1, 2, 3)]
        touched = {("traffic", None, START + DAY), ("daily", "eu", START + DAY)}
        assert newer_than(bench, then) == touched | {("sliding", "eu", end) for end in ends}
        assert latest(bench)["traffic", None, START, START + DAY] == (25.0, None, None)


def test_a_series_that_is_gone_is_known_no_more(tmp_path: Path) -> None:
    """Where a correction leaves no row of a series, the newest row says nothing, and only history has it."""
    by_truth = """
          SELECT label::VARCHAR AS truth, count(*) AS value FROM labeled.m
          WHERE label IS NOT NULL AND time >= $window_start AND time < $window_end GROUP BY ALL
    """
    with late_bench(tmp_path, rules("1d", record("truths", by_truth)), START) as bench:
        (row,) = hourly_predictions(1)[:1]
        bench.receive([row], [label_of(row, True, START + hours(1))])
        bench.reach(START + DAY + hours(1))
        bench.work()
        bench.receive([], [label_of(row, False, START + hours(2))])
        bench.clock.step(1)
        bench.work()
        stored = bench.ask("SELECT series, value FROM metric_values ORDER BY as_of, series::VARCHAR")
        assert stored == [
            {"series": {"truth": "true"}, "value": 1.0},
            {"series": {"truth": "false"}, "value": 1.0},
            {"series": {"truth": "true"}, "value": None},
        ]
        known = bench.ask("SELECT series, value FROM metric_values_latest")
        assert known == [{"series": {"truth": "false"}, "value": 1.0}]


def test_what_changes_nothing_adds_no_row(tmp_path: Path) -> None:
    """A label that says what is known, or is older than that, adds nothing to what is stored."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=[])
        bench.reach(START + 4 * DAY)
        bench.work()
        then = bench.now
        bench.clock.step(1)
        again = label_of(rows[3], True, rows[3]["time"] + hours(1))
        older = label_of(rows[4], False, rows[4]["time"] + hours(0.5))
        bench.receive([], [again, older])
        bench.clock.step(1)
        bench.work()
        assert bench.evaluated
        assert newer_than(bench, then) == set()
        assert bench.store.late_backlog().waiting == 0


def test_labels_that_trickle_in_are_gathered(tmp_path: Path) -> None:
    """A window that changed is left alone, longer each time; then one evaluation takes in what came."""
    with late_bench(tmp_path, rules("1d", record("daily", ACCURACY)), START) as bench:
        rows = play_days(bench, 1, late=[f"p{i}" for i in range(24)])
        for row in rows[:5]:
            bench.clock.step(60)
            bench.receive([], [label_of(row, True, bench.now)])
            bench.clock.step(1)
            bench.work()
        assert bench.evaluated == 3  # at once, after a minute, and after two
        bench.clock.step(240)
        bench.work()
        assert bench.evaluated == 4
        values = latest(bench)
        assert sum(count for _, count, _ in values.values()) == 5


def test_a_window_that_cannot_be_evaluated_again_fails_alone(tmp_path: Path) -> None:
    """It is kept with its reason and tried again later, while others go on."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p3"])
        bench.broken.append(QueryError("out of memory"))
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.clock.step(1)
        bench.work()
        backlog = bench.store.late_backlog()
        assert (backlog.waiting, backlog.failing, backlog.error) == (1, 1, "out of memory")
        assert bench.late.counts() == {"changed": 2, "unchanged": 0, "failed": 1}
        bench.clock.step(61)
        bench.work()
        assert bench.store.late_backlog().waiting == 0
        assert bench.late.counts()["changed"] == 3


def test_a_crash_loses_no_late_label(tmp_path: Path) -> None:
    """What came before a process died, and what it had queued, is evaluated again by the next one."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p3", "p30"])
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.clock.step(1)
        bench.late._look()  # queued, not evaluated
        bench.receive([], [label_of(rows[30], True, bench.now)])  # not looked at
        now, queued = bench.now, bench.store.late_backlog().waiting
    with late_bench(tmp_path, daily(), now + hours(1)) as bench:
        bench.work()
        known = latest(bench)
        assert queued
        assert known["daily", "eu", START, START + DAY][2] == 1.0
        assert known["daily", "us", START + DAY, START + 2 * DAY][2] == 1.0


def test_a_rule_that_is_switched_off_for_a_while_misses_nothing(tmp_path: Path) -> None:
    """Slots that were touched before, and labels that come meanwhile, are evaluated once it is on again."""
    text = rules("1d", record("daily", ACCURACY))
    with late_bench(tmp_path, text, START) as bench:
        rows = play_days(bench, 2, late=["p3", "p30"])
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.clock.step(1)
        bench.late._look()  # queued, not evaluated
        now = bench.now
    off = text.replace("model: m", "model: m\n        enabled: false")
    with late_bench(tmp_path, off, now) as bench:
        bench.work()
        assert (bench.store.late_backlog().waiting, bench.late.backlog().waiting) == (1, 0)
        bench.receive([], [label_of(rows[30], True, bench.now)])
        bench.clock.step(1)
        bench.work()
        now = bench.now
    with late_bench(tmp_path, text, now) as bench:
        bench.work()
        known = latest(bench)
        assert known["daily", "eu", START, START + DAY][2] == 1.0
        assert known["daily", "us", START + DAY, START + 2 * DAY][2] == 1.0


def test_only_windows_that_can_have_rows_are_asked_for(tmp_path: Path) -> None:
    """The past of a rule begins with the rows of its tables, labels too; others are bounded in number."""
    labelled = """
          SELECT count(*) AS value FROM labels.m WHERE time >= $window_start AND time < $window_end
"""
    alone = """
          SELECT count(*) AS value FROM logs WHERE time >= $window_start AND time < $window_end
"""
    text = rules("1m", record("traffic", COUNT), record("labelled", labelled), record("alone", alone))
    with late_bench(tmp_path, text, START) as bench:
        traffic, labels, logs = load_project(tmp_path / "lapwing.yaml", {}).rules
        bench.work()
        bench.reach(START + hours(1))
        bench.work()
        assert bench.late.backfill(traffic, datetime(1970, 1, 1), START) == 0
        row = {"prediction_id": "x", "time": START - hours(1)}
        bench.receive(
            [row], [label_of(row, True, START - hours(0.5)) | {"prediction_time": START - hours(2)}]
        )
        assert bench.late.backfill(traffic, datetime(1970, 1, 1), START) == 60
        assert bench.late.backfill(labels, datetime(1970, 1, 1), START) == 120
        with pytest.raises(ConfigError, match=r"g/alone: these are more than [\d,]+ windows"):
            bench.late.backfill(logs, datetime(1970, 1, 1), START)


def test_rows_that_are_not_in_the_lake_yet_are_looked_for_later(tmp_path: Path) -> None:
    """While a request of an earlier time waits to be written, nothing after it counts as looked through."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p3"])
        received = bench.now
        bench.waiting = received  # came, and is not in the lake
        bench.clock.step(60)
        bench.late.saw(["m"])
        bench.work()
        bench.clock.step(-60)
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.waiting = None
        bench.clock.step(61)
        bench.work()
        assert latest(bench)["daily", "eu", START, START + DAY][2] == 1.0


def test_a_look_that_fails_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is looked for again where the state database or the lake failed meanwhile."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p3", "p5"])

        def refuse(*_: Any) -> None:
            raise OSError("disk I/O error")

        parts: list[tuple[Any, str]] = [(bench.store, "touch"), (bench.late, "_kept_from")]
        for row, (part, does) in zip((rows[3], rows[5]), parts, strict=True):
            bench.receive([], [label_of(row, True, bench.now)])
            bench.clock.step(3600)
            with monkeypatch.context() as broken:
                broken.setattr(part, does, refuse)
                with pytest.raises(OSError, match="disk"):
                    bench.late.work()
            bench.clock.step(1)
            bench.work()
        assert latest(bench)["daily", "eu", START, START + DAY] == (4 / 12, 12, 1.0)


@pytest.mark.parametrize("away", [False, True])
def test_new_rules_are_looked_for_once_it_is_kept_from_when_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """A look while rules are exchanged, or after the state went away in that, is one at those of before."""
    with late_bench(tmp_path, rules("1h", record("traffic", COUNT)), START) as bench:
        (tmp_path / "rules.yaml").write_text(rules("1h", record("traffic", COUNT), record("new", COUNT)))
        again = load_project(tmp_path / "lapwing.yaml", {"data": tmp_path / "data"})
        keep = bench.store.looked_through

        def keep_late(cursors: Mapping[RuleId, datetime], now: datetime) -> None:
            monkeypatch.undo()
            bench.late.work()
            if away:
                raise StateUnavailableError("away")
            keep(cursors, now)

        monkeypatch.setattr(bench.store, "looked_through", keep_late)
        with suppress(StateUnavailableError):
            bench.late.use(again.rules, again.sources)
        bench.late.work()
        assert {rule.name for rule in bench.store.late_cursors()} == {"traffic", *([] if away else ["new"])}
        bench.late.use(again.rules, again.sources)
        bench.late.work()
        assert {rule.name for rule in bench.store.late_cursors()} == {"traffic", "new"}


def test_rows_that_are_committed_and_wait_still_are_looked_for_later(tmp_path: Path) -> None:
    """A look between a commit and the moment its rows count as waiting no more does not pass over them."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p3"])
        bench.waiting = bench.now
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.work()
        bench.waiting = None
        bench.clock.step(1)
        bench.work()
        assert latest(bench)["daily", "eu", START, START + DAY] == (4 / 12, 12, 1.0)


def test_windows_that_retention_took_a_part_of_stay_as_they_were(tmp_path: Path) -> None:
    """A label for rows that are kept no longer does not spoil what was computed from them."""
    with late_bench(tmp_path, daily(), START) as bench:
        rows = play_days(bench, 2, late=["p3", "p30"])
        bench.kept_from = START + DAY
        bench.receive([], [label_of(rows[n], True, bench.now) for n in (3, 30)])
        then = bench.now
        bench.clock.step(1)
        bench.work()
        assert newer_than(bench, then) == {("daily", "us", START + 2 * DAY)}


def test_slots_before_a_rule_began_are_left_alone(tmp_path: Path) -> None:
    """A late label gives no values to windows that a rule never judged."""
    traffic = rules("1d", record("traffic", COUNT))
    with late_bench(tmp_path, traffic, START) as bench:
        rows = play_days(bench, 2, late=["p3"])
        now = bench.now
    with late_bench(tmp_path, daily(), now) as bench:
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.reach(now + 2 * DAY)
        bench.work()
        starts = bench.ask("SELECT min(window_start) AS first FROM metric_values WHERE metric = 'daily'")
        assert starts == [{"first": None}] or starts[0]["first"] >= START + 2 * DAY


def test_a_skipped_window_is_judged_once_its_labels_are_in(tmp_path: Path) -> None:
    """`on_timeout: skip` keeps a value from being stored until what was waited for has come."""
    wait = """        wait_for:
          expr: |
            SELECT count(label) = count(*) FROM labeled.m
            WHERE time >= $window_start AND time < $window_end
          timeout: 1h
          on_timeout: skip
"""
    with late_bench(tmp_path, rules("1d", record("daily", ACCURACY, wait)), START) as bench:
        rows = play_days(bench, 1, late=["p3", "p5"])
        bench.reach(START + DAY + hours(2))
        bench.work()
        assert latest(bench) == {}
        bench.receive([], [label_of(rows[3], True, bench.now)])
        bench.clock.step(1)
        bench.work()
        assert latest(bench) == {}
        bench.receive([], [label_of(rows[5], True, bench.now)])
        bench.clock.step(3601)
        bench.work()
        assert latest(bench)["daily", "eu", START, START + DAY] == (4 / 12, 12, 1.0)


def paired(name: str, expr: str) -> str:
    return f"      - record: {name}\n        model: m\n        expr: {expr}\n"


def pairs(interval: str) -> str:
    span = "'m', $window_start, $window_end"
    return rules(
        interval,
        paired("disagreement", f"SELECT value, sample_count FROM shadow_disagreement({span})"),
        paired(
            "better", f"SELECT value, sample_count, label_coverage FROM shadow_accuracy_difference({span})"
        ),
        paired(
            "shadows", f"SELECT value, sample_count, label_coverage FROM accuracy({span}, stage := 'shadow')"
        ),
        paired("own", f"SELECT value, sample_count, label_coverage FROM accuracy({span})"),
    )


def test_a_late_partner_touches_the_windows_of_the_others(tmp_path: Path) -> None:
    """What comes late of a challenger, or as a label of the champion, touches where its partner is."""
    champion = {"time": START + hours(0.9), "prediction_id": "c", "request_id": "r", "output.value": "yes"}
    shadow = champion | {"time": START + hours(1.1), "prediction_id": "s", "stage": "shadow"}
    shadow["output.value"] = "no"
    with late_bench(tmp_path, pairs("1h"), START) as bench:
        bench.reach(START + hours(1.2))
        bench.receive([champion])
        bench.reach(START + hours(2.5))
        bench.work()
        assert {key[0] for key in latest(bench)} == {"own"}
        then, asked = bench.now, bench.evaluated
        bench.clock.step(1)
        bench.receive([shadow])
        bench.clock.step(1)
        bench.work()
        one, two = START + hours(1), START + hours(2)
        touched = {("disagreement", None, one), ("better", None, one), ("shadows", None, two)}
        assert newer_than(bench, then) == touched
        # Each rule where the row itself is, and those that pair where its partner is.
        assert bench.evaluated - asked == 4 + 3
        assert latest(bench)["disagreement", None, START, one] == (1.0, 1, None)
        bench.clock.step(3600)  # windows rest
        bench.work()
        then = bench.now
        bench.clock.step(1)
        bench.receive([], [label_of(champion, True, bench.now, label="no")])
        bench.clock.step(1)
        bench.work()
        touched = {("own", None, one), ("better", None, one), ("shadows", None, two)}
        assert newer_than(bench, then) == touched
        assert latest(bench)["better", None, START, one] == (1.0, 1, 1.0)
        assert latest(bench)["shadows", None, one, two] == (1.0, 1, 1.0)


def requests(dice: random.Random) -> list[tuple[datetime, str, dict[str, Any]]]:
    """Hours of champions, of challengers up to an hour away, and of labels: when each would arrive."""
    found: list[tuple[datetime, str, dict[str, Any]]] = []
    for i in range(6):
        at = START + timedelta(minutes=dice.randrange(60, 240))
        for stage in ("production", "shadow"):
            made = at if stage == "production" else at + timedelta(minutes=dice.randrange(-59, 60))
            row = {"time": made, "prediction_id": f"{stage}{i}", "request_id": f"r{i}", "stage": stage}
            row["output.value"] = dice.choice(["yes", "no"])
            found.append((made, "prediction", row))
            for _ in range(dice.choice([0, 1, 2]) if stage == "production" else dice.choice([0, 0, 1])):
                known = made + timedelta(minutes=dice.randrange(1, 90))
                label = label_of(row, True, known, label=dice.choice(["yes", "no"]))
                if dice.random() < 0.3:
                    label["prediction_time"] = None
                found.append((known, "label", label))
    return sorted(found, key=lambda event: event[0])


def test_pairs_end_the_same_in_any_order_of_arrival(tmp_path: Path) -> None:
    """Windows of what compares two stages end as if all of both, and all labels, had come in time."""
    dice = random.Random(5)
    mess = requests(dice)
    ends = []
    for name in ("ordered", "shuffled"):
        folder = tmp_path / name
        folder.mkdir()
        arriving = [(kind, row) for _, kind, row in mess]
        with late_bench(folder, pairs("1h"), START) as bench:
            if name == "shuffled":
                dice.shuffle(arriving)
                bench.reach(START + hours(6))
                while arriving:  # first many, at last one by one: each touches few windows
                    count = max(1, len(arriving) - 3)
                    part, arriving = arriving[:count], arriving[count:]
                    deliver(bench, part)
                    bench.clock.step(160)  # as long as a window rests at most
                    bench.work()
            else:
                deliver(bench, arriving)
            bench.reach(max(bench.now, START + hours(7)))
            bench.work()
            bench.clock.step(3600)
            bench.work()
            ends.append(latest(bench))
    known, shuffled = ends
    assert shuffled == known
    assert {metric for metric, *_ in known} == {"disagreement", "better", "shadows", "own"}


def events(dice: random.Random) -> list[tuple[datetime, str, dict[str, Any]]]:
    """Predictions and labels of half a day, duplicates and corrections among them: when each would arrive."""
    found: list[tuple[datetime, str, dict[str, Any]]] = []
    for i in range(60):
        at = START + timedelta(minutes=dice.randrange(720))
        row = {
            "time": at,
            "prediction_id": f"p{i}",
            "request_id": f"r{i}",
            "inputs.region": dice.choice(["eu", "us"]),
            "output.late": dice.random() < 0.5,
        }
        found.append((at, "prediction", row))
        for _ in range(dice.choice([0, 1, 1, 1, 2, 3])):
            known = at + timedelta(minutes=dice.randrange(1, 600))
            label = label_of(row, dice.random() < 0.5, known)
            match dice.randrange(3):
                case 0:
                    label["prediction_time"] = None
                case 1:
                    label |= {"prediction_id": None, "prediction_time": None, "request_id": f"r{i}"}
            found += [(known, "label", label)] * dice.choice([1, 1, 2])
    return sorted(found, key=lambda event: event[0])


def deliver(bench: LateBench, arriving: Sequence[tuple[str, dict[str, Any]]]) -> None:
    bench.receive(
        [row for kind, row in arriving if kind == "prediction"],
        [row for kind, row in arriving if kind == "label"],
    )


def tables(bench: LateBench) -> tuple[list[dict[str, Any]], dict[tuple[Any, ...], tuple[Any, ...]]]:
    """The joined table and what is known of the metrics, without when things arrived."""
    joined = bench.ask(
        "SELECT * EXCLUDE (received_at, label_received_at) FROM labeled.m ORDER BY prediction_id"
    )
    return joined, latest(bench)


@pytest.mark.parametrize("seed", [7])
def test_any_order_of_arrival_ends_with_the_same_tables(tmp_path: Path, seed: int) -> None:
    """Late, duplicate and corrected labels and late rows, in any order, end as if all had come in time."""
    dice = random.Random(seed)
    mess = events(dice)
    sliding = "        window: 10h\n        query_offset: 30m\n"
    text = rules(
        "4h", record("tumbling", ACCURACY), record("sliding", ACCURACY, sliding), record("traffic", COUNT)
    )
    ends = []
    for name in ("ordered", "shuffled"):
        folder = tmp_path / name
        folder.mkdir()
        with late_bench(folder, text, START) as bench:
            if name == "ordered":
                for step in range(0, len(mess), 60):
                    part = mess[step : step + 60]
                    bench.reach(part[-1][0] + timedelta(seconds=1))
                    deliver(bench, [(kind, row) for _, kind, row in part])
                    bench.work()
            else:
                arriving = [(kind, row) for _, kind, row in mess]
                dice.shuffle(arriving)
                bench.reach(START + hours(3))
                while arriving:
                    count = dice.randrange(10, 60)
                    part, arriving = arriving[:count], arriving[count:]
                    deliver(bench, part)
                    bench.clock.step(dice.randrange(1, 15_000))
                    dice.choice([bench.work, bench.live_only])()
            bench.reach(max(bench.now, START + hours(26)))
            bench.work()
            bench.clock.step(3600)
            bench.work()
            assert bench.store.late_backlog().waiting == 0
            ends.append(tables(bench))
    (ordered, known), (shuffled, known_too) = ends
    assert shuffled == ordered
    assert known_too == known
    assert len(known) > 12


@pytest.mark.parametrize(
    ("keys", "again"),
    [("        model: m\n", 1), ("        labels: {model: M}\n", 1), ("", 0)],
)
def test_what_is_recorded_of_profiles_is_touched_by_the_rows_of_its_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, keys: str, again: int
) -> None:
    """A late row touches the window of its hour; one that does not say whose profile is warned of."""
    expr = "SELECT count(*) AS value FROM profile_bins WHERE time >= $window_start AND time < $window_end"
    rule = f"      - record: profiled\n{keys}        expr: {expr}\n"
    with late_bench(tmp_path, rules("1d", rule), START) as bench:
        rows = play_days(bench, 2, late=[])
        evaluated = bench.evaluated
        bench.clock.step(60)
        bench.receive([{**rows[30], "prediction_id": "late"}])
        bench.clock.step(1)
        bench.work()
        assert bench.evaluated - evaluated == again
    assert ("does not say whose" in caplog.text) == (not again)
