"""kill -9 of the collector while flights are replayed: nothing acknowledged is lost, nothing is stored twice.

The points are drawn from a seed, which the test's name shows; LAPWING_FAULT_RUNS asks for more seeds.
"""

import os
import random
import threading
from pathlib import Path

import pandas as pd
import pytest

import lapwing
from helpers.collector import ask
from helpers.faults_plan import long_only
from helpers.ports import free_port
from lapwing_collector.demo.flights import events, load_flights, replayed, training
from lapwing_collector.demo.model import Service, compile_service, train
from lapwing_collector.demo.process import CollectorProcess
from lapwing_collector.demo.replay import Replayed, replay
from lapwing_collector.demo.run import example_folder

FLIGHTS, KILLS = 15_000, 6


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return load_flights()


@pytest.fixture(scope="module")
def service(flights: pd.DataFrame) -> Service:
    return compile_service(train(training(flights).head(5000)))


class Victim:
    """A collector that is killed and started again, at the same address, whenever told."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._http = f"127.0.0.1:{free_port()}"
        self._process = self._start()
        self._thread: threading.Thread | None = None
        self.endpoint = self._process.endpoint

    def _start(self) -> CollectorProcess:
        ports = {"LAPWING_DEMO_HTTP_PORT": "9", "LAPWING_DEMO_SMTP_PORT": "9"}
        return CollectorProcess.start(
            self._data, config=example_folder() / "lapwing.yaml", environment=ports, http=self._http
        )

    def kill_and_restart(self) -> None:
        """Kill it now and start another, while the replay goes on."""
        self.settle()
        self._process.kill()
        self._thread = threading.Thread(target=self._restart)
        self._thread.start()

    def _restart(self) -> None:
        self._process = self._start()

    def settle(self) -> None:
        """Wait until a restart under way is done."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> int:
        """End it in good order."""
        self.settle()
        return self._process.stop()


@long_only
@pytest.mark.parametrize("seed", range(int(os.environ.get("LAPWING_FAULT_RUNS", "1"))))
def test_killed_at_random_points(seed: int, tmp_path: Path, flights: pd.DataFrame, service: Service) -> None:
    """Every flight is stored once and every label joined, whenever the collector died."""
    dice = random.Random(seed)
    points = sorted(dice.sample(range(1000, FLIGHTS), KILLS), reverse=True)
    victim = Victim(tmp_path)
    lapwing.init(endpoint=victim.endpoint, on_full="wait", retry_for_s=60)

    def tell(done: Replayed) -> None:
        if points and done.predictions >= points[-1]:
            points.pop()
            victim.kill_and_restart()

    try:
        some = replayed(flights).head(FLIGHTS)
        done = replay(events(some), service, tell)
        victim.settle()
        assert lapwing.flush(timeout_s=60)
        assert not points
    finally:
        lapwing.shutdown(timeout_s=1)
        assert victim.stop() == 0
    (found,) = ask(
        tmp_path,
        "SELECT count(*) AS rows, count(DISTINCT prediction_id) AS ids, "
        "count(DISTINCT inputs.flight) AS flights, count(label) AS labels, "
        "count(inputs.temp) AS temps, count(error_type) AS errors FROM labeled.flights",
    )
    assert done.predictions == len(some)
    assert found == {
        "rows": done.predictions,
        "ids": done.predictions,
        "flights": done.predictions,
        "labels": done.labels,
        "temps": int(some["temp"].notna().sum()),
        "errors": done.failures,
    }
    assert ask(tmp_path, "SELECT count(*) AS n FROM labels.flights") == [{"n": done.labels}]
