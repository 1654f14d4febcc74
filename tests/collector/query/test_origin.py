"""Where query processes are forked from, as the operating system sees it: what it has, and when it ends."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.query_lake import LIMITS, Readers, make_lake, readers
from helpers.waiting import wait_until
from lapwing_collector.model.queries import Ask
from lapwing_collector.query import QueryProcess, origin
from lapwing_collector.query.child import Spawned
from lapwing_collector.query.origin import Forked, Origin

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture
def held() -> Iterator[Origin]:
    held = Origin()
    held.hold()
    yield held
    held.let_go()


def start(shared: Readers, held: Origin) -> QueryProcess:
    return QueryProcess(shared.folder, LIMITS, start=held.start)


def answers(process: QueryProcess) -> bool:
    with process.ask(Ask("SELECT count(*) AS n FROM predictions.churn"), 30) as answer:
        return answer.table().to_pylist() == [{"n": 10}]


def test_it_has_one_thread_and_nothing_of_a_lake(shared: Readers, held: Origin) -> None:
    """Nothing that a fork would lose is in it, nothing of who started it, and no file but of packages."""
    process = start(shared, held)
    assert isinstance(process._child, Forked)
    assert answers(process)
    assert held._process is not None
    its = Path(f"/proc/{held._process.pid}")
    assert "\nThreads:\t1\n" in (its / "status").read_text()
    assert not {b"PATH", b"PYTEST_CURRENT_TEST"} & {
        variable.partition(b"=")[0] for variable in (its / "environ").read_bytes().split(b"\0")
    }
    opened = {int(file.name): str(file.readlink()).partition(":")[0] for file in (its / "fd").iterdir()}
    opened.pop(2)  # ours, whatever it is
    assert [*opened.values()] == ["/dev/null", "/dev/null", "socket"]
    assert str(shared.folder) not in (its / "maps").read_text()
    process.close()


def test_it_ends_with_the_last_who_holds_it(shared: Readers) -> None:
    """It is there as long as anybody wants it, and what was forked off it ends with it."""
    held = Origin()
    held.hold()
    held.hold()
    process = start(shared, held)
    held.let_go()
    assert answers(process)
    assert held._process is not None
    its = Path(f"/proc/{held._process.pid}")
    held.let_go()
    process._child.wait()
    assert not process.alive
    assert not its.exists()
    process.close()


def test_where_nobody_holds_it_there_is_none(shared: Readers) -> None:
    """Who wants one query process, and is alone, gets it the way that is shorter for one."""
    alone = Origin()
    process = start(shared, alone)
    assert isinstance(process._child, Spawned)
    assert alone._process is None
    assert answers(process)
    process.close()


def test_where_it_dies_there_is_another(
    shared: Readers, held: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    """Its death costs what was forked off it; the next starts the long way, the one after from another."""
    lost = start(shared, held)
    assert held._process is not None
    held._process.kill()
    wait_until(lambda: not lost.alive)
    with caplog.at_level(logging.WARNING):
        spawned, forked = start(shared, held), start(shared, held)
    assert [record.action for record in caplog.records] == ["query_process_not_forked"]  # type: ignore[attr-defined]
    assert isinstance(spawned._child, Spawned)
    assert isinstance(forked._child, Forked)
    for process in (spawned, forked):
        assert answers(process)
        process.close()
    lost.close()


def test_one_with_threads_is_not_forked(
    shared: Readers, held: Origin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If ever a library begins a thread as it is imported, query processes are interpreters again."""
    begun = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    monkeypatch.setattr(origin, "_SCRIPT", begun + origin._SCRIPT)
    with caplog.at_level(logging.WARNING):
        processes = [start(shared, held) for _ in range(2)]
    assert ["2 threads" in record.getMessage() for record in caplog.records] == [True]
    for process in processes:
        assert isinstance(process._child, Spawned)
        assert answers(process)
        process.close()


def test_who_has_ended_is_buried(shared: Readers, held: Origin) -> None:
    """What is killed leaves no entry in the table of processes, and may be killed and waited for again."""
    process = start(shared, held)
    its = Path(f"/proc/{process._child.pid}")
    process.kill("enough")
    wait_until(lambda: not its.exists())
    for _ in range(2):
        process.close()
    assert not process.alive
