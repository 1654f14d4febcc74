"""More than it can write, for long: it takes what it can, refuses the rest soon, and grows no further."""

import itertools
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from helpers.collector import ask
from helpers.decode_requests import request
from helpers.decode_tables import predictions
from helpers.faults_judge import counters
from helpers.faults_plan import LONG
from helpers.faults_producer import HttpClient
from helpers.faults_victim import Victim

SENDERS = 200
MOST_BYTES = 600_000_000
"""145 MiB of it are libraries, mapped from their files."""
SPREAD_BYTES = 150 << 20
"""Between the least and the most, once it has been busy for a while: a group of requests or two, as rows."""
SECONDS = 300 if LONG else 4
REFUSED_WITHIN_S = 3.0
PATIENCE = 2
"""Test machines do much else."""
ROWS = 20_000
ROW_NUMBERS = pa.array(range(ROWS))


def resident_bytes(pid: int) -> int:
    """Memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


NUMBERS = itertools.count()


def body(number: int) -> bytes:
    """A table of predictions; each knows which request it came in."""
    inputs = pa.StructArray.from_arrays([pa.repeat(number, ROWS), ROW_NUMBERS], ["request", "row"])
    table = pa.table({"inputs": inputs})
    attributes = {"ml.model.name": "burst", "ml.batch.rows": ROWS, "lapwing.sequence": number + 1}
    return request(predictions(table, attributes), resource={"lapwing.process.id": "overload"})


class Sender(threading.Thread):
    """Sends large requests one after the other, as fast as answers come, and no request twice."""

    def __init__(self, address: str, until: float) -> None:
        super().__init__(daemon=True)
        self.accepted: dict[int, float] = {}
        self.refused_s: dict[int, float] = {}
        self.failures: list[str] = []
        self._client = HttpClient(address)
        self._until = until

    def run(self) -> None:
        try:
            self._send_until_the_end()
        finally:
            self._client.close()

    def _send_until_the_end(self) -> None:
        while time.monotonic() < self._until:
            number = next(NUMBERS)
            payload = body(number)
            began = time.monotonic()
            try:
                status, _ = self._client.post(payload)
            except OSError as error:
                self.failures.append(str(error))
                continue
            if status == 200:
                self.accepted[number] = time.monotonic()
            elif status == 503:
                self.refused_s[number] = time.monotonic() - began
            else:
                self.failures.append(f"status {status}")


@pytest.mark.timeout(SECONDS * 3 + 200)
def test_overload_is_bounded_and_told(victim: Victim) -> None:
    """Fault 19: refusals come in time and are counted, memory has bounds, each yes is stored once, whole."""
    if not LONG:  # a short overload needs less room to fill
        victim.settings = {"write": {"flush_interval": "50ms", "max_pending_bytes": 200_000}}
    victim.start()
    began = time.monotonic()
    senders = [Sender(victim.http, began + SECONDS) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    worker = victim.worker()
    memory = []
    pause = threading.Event()
    while any(sender.is_alive() for sender in senders):
        memory.append(resident_bytes(worker))
        pause.wait(SECONDS / 40)
    for sender in senders:
        sender.join()
    told = counters(victim)
    assert victim.stop() == 0
    assert [failure for sender in senders for failure in sender.failures] == []
    refused = {number: took for sender in senders for number, took in sender.refused_s.items()}
    accepted = {number: moment - began for sender in senders for number, moment in sender.accepted.items()}
    assert len(refused) > (SENDERS if LONG else 3), "this was no overload"
    assert told["lapwing_requests_total,status=503,transport=http"] == len(refused)
    assert told["lapwing_requests_total,status=200,transport=http"] == len(accepted)
    assert max(refused.values()) < REFUSED_WITHIN_S * PATIENCE
    if LONG:
        early = sum(moment < SECONDS / 2 for moment in accepted.values())
        assert len(accepted) - early > early / 2, "the rate at which it accepts collapses"
        settled = memory[len(memory) // 4 :]
        assert max(settled) - min(settled) < SPREAD_BYTES
    assert max(memory) < MOST_BYTES
    victim.start()
    assert victim.stop() == 0
    stored = ask(
        victim.data,
        "SELECT inputs.request AS number, count(*) AS rows, sum(inputs.row) AS total, "
        "sum(inputs.row * inputs.row) AS squares FROM predictions.burst GROUP BY ALL",
    )
    # What became durable too late for its client may be there, too.
    assert accepted.keys() <= {row["number"] for row in stored} <= accepted.keys() | refused.keys()
    whole = (ROWS, sum(range(ROWS)), sum(row * row for row in range(ROWS)))
    assert {(row["rows"], row["total"], row["squares"]) for row in stored} == {whole}
