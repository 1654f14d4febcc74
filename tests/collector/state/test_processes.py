"""The store used by several processes at once, one of which may die at any moment."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from helpers.notify_alerts import NOON, alert, joining
from lapwing_collector.model.alerts import RuleId, RuleState
from lapwing_collector.state import PostgresServer, Store

SLOTS = 60

WRITER = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from lapwing_collector.model.alerts import Alert, Health, Instance, RuleId, RuleState, Status
from lapwing_collector.model.groups import GroupChange, Joining
from lapwing_collector.state import PostgresServer, Store

where, name, slots = sys.argv[1:]
sys.stdin.readline()
store = Store.open(PostgresServer(where) if "://" in where else Path(where))
for number in range(int(slots)):
    slot = datetime(2013, 3, 5, 12) + timedelta(minutes=number)
    instances = {f"f{n}": Instance(f"f{n}", {}, value=float(number)) for n in range(20)}
    alert = Alert(
        RuleId(name, "r"), f"f{number}", {}, {}, Status.FIRING, "", Health.OK,
        None, None, None, None, slot, slot, None, slot, slot, slot,
    )
    change = GroupChange(alert, (Joining(name, "team", "route", {}),))
    store.commit(RuleId(name, "r"), RuleState("d", slot, instances=instances), [], [change], [], slot)
    print(number, flush=True)
store.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where state is to be, in a word."""
    if request.param == "sqlite":
        return str(tmp_path / "state.sqlite")
    address: str = request.getfixturevalue("postgres").empty()
    return address


def opened(where: str) -> Store:
    """The state there."""
    return Store.open(PostgresServer(where) if "://" in where else Path(where))


def writer(where: str, name: str, slots: int = SLOTS) -> subprocess.Popen[str]:
    """A process that commits slots to the database once a line is written to it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, where, name, str(slots)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_processes_share_a_database(where: str) -> None:
    """Two processes make one new database at once and commit side by side; a third reads and writes too."""
    processes = [writer(where, name) for name in ("a", "b")]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert processes[0].stdout is not None
    processes[0].stdout.readline()
    store = opened(where)
    for number in range(SLOTS):
        store.save_watermarks({"m": NOON + timedelta(seconds=number)})
        assert store.load_watermarks() == {"m": NOON + timedelta(seconds=number)}
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    last = NOON + timedelta(minutes=SLOTS - 1)
    assert {rule.group: state.slot for rule, state in store.load_rules().items()} == {"a": last, "b": last}
    assert {group.key: len(group.members) for group in store.groups()} == {"a": SLOTS, "b": SLOTS}
    store.close()


def test_a_killed_writer_leaves_whole_slots(where: str) -> None:
    """After kill -9 in mid-stream all reported slots are there, and cursor, instances and groups agree."""
    process = writer(where, "a", slots=100_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    reported = [int(process.stdout.readline()) for _ in range(40)][-1]
    process.send_signal(signal.SIGKILL)
    process.communicate()

    store = opened(where)
    (state,) = store.load_rules().values()
    assert state.slot is not None
    newest = (state.slot - NOON) // timedelta(minutes=1)
    assert newest >= reported
    assert {instance.value for instance in state.instances.values()} == {float(newest)}
    assert [len(group.members) for group in store.groups()] == [newest + 1]
    slot = state.slot + timedelta(minutes=1)
    store.commit(RuleId("a", "r"), RuleState("d", slot), [], [joining(alert())], [], slot)
    store.close()
