"""Several collectors over one alert state: whatever becomes of who leads, each alert is told as if by one."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.faults_alerts import CALM, TURNING
from helpers.faults_telling import judge, notify, settle, wait_for_message, wait_for_slots
from helpers.faults_victim import Victim, wait_until
from helpers.notify_receivers import webhook
from lapwing_collector.state import PostgresServer

if TYPE_CHECKING:
    from helpers.postgres import Server

pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")


@contextmanager
def replicas(folder: Path, postgres: "Server", count: int) -> Iterator[list[Victim]]:
    """Collectors that are not started yet; none of their processes outlive the block."""
    settings = {
        "alerts": {"ingest_stalled": False},
        "state": {"url": postgres.url},
        "lake": {"catalog": postgres.database(), "data": str(folder / "files")},
    }
    made = [Victim(folder / f"data{number}", settings) for number in range(count)]
    try:
        yield made
    finally:
        for victim in made:
            victim.clear()


def leader_of(victims: Sequence[Victim]) -> Victim:
    """Who leads, once one does."""
    return wait_until(lambda: next(iter(leading(victims)), None), "one leads")


def leading(victims: Sequence[Victim]) -> list[Victim]:
    """Those that say that they lead."""
    return [victim for victim in victims if victim.told("/readyz")["leads"]]


def told_of(victim: Victim) -> dict[str, bool]:
    """Who is there as one of them says, by address, and whether it leads."""
    replicas = victim.told("/api/v1/replicas")["replicas"]
    return {each["address"]: each["leads"] for each in replicas if not each["gone"]}


@pytest.mark.timeout(300)
def test_the_lead_is_handed_over(tmp_path: Path, postgres: "Server") -> None:
    """After a kill -9, a stop that ends, and SIGTERM, all was told, and once."""
    place = PostgresServer(postgres.empty())
    rules = tmp_path / "rules" / "kills.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)

    with webhook() as receiver, replicas(tmp_path, postgres, 3) as victims:
        notify(tmp_path / "notify.yaml", receiver)
        for victim in victims:
            victim.launch()
        for victim in victims:
            wait_until(lambda: victim.ready, "it is ready")  # noqa: B023  # it is called here
        first = leader_of(victims)
        wait_for_slots(postgres)

        # It dies while a message is under way.
        wait_for_message(receiver)
        first.kill()
        receiver.gate.set()
        left = [victim for victim in victims if victim is not first]
        second = leader_of(left)
        wait_for_slots(postgres)

        # It is stopped for longer than others wait, again while a message is under way, and goes on.
        wait_for_message(receiver)
        second.signal_all(signal.SIGSTOP)
        receiver.gate.set()
        third = leader_of([victim for victim in left if victim is not second])
        wait_for_slots(postgres)
        second.signal_all(signal.SIGCONT)
        wait_until(lambda: not second.told("/readyz")["leads"], "it stands down")
        wait_until(lambda: second.ready, "it is there")
        wait_for_slots(postgres)
        assert leading(left) == [third]
        there = {f"http://{victim.web}": victim is third for victim in left}
        wait_until(lambda: told_of(second) == there, "it is known who is there, and who leads")

        # It is told to end. Who leads next has the files as they are by then.
        rules.write_text(CALM)
        assert third.stop() == 0
        assert leader_of([second]) is second
        settle(place)
        assert second.stop() == 0
        judge(place, receiver, blows=3)
