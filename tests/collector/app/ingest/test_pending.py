"""The queue between those who receive and the one who writes."""

import os
import subprocess
import sys

import pytest

from helpers.batches import START, predictions
from lapwing_collector.app.ingest import pending as pending_rows
from lapwing_collector.app.ingest.pending import LogEntry, Pending


def test_single_rows_are_charged_what_they_take() -> None:
    """Many requests of one row fill the queue when their memory does, not when their values would."""
    # In a process of its own: what others let go of would be taken again unseen.
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", MANY_ROWS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
    )
    charged_bytes, grown_bytes = map(int, done.stdout.split())
    assert grown_bytes / 3 < charged_bytes < grown_bytes * 3


MANY_ROWS = """
from helpers.batches import START, predictions
from helpers.memory import PeakMemory
from lapwing_collector.app.ingest.pending import LogEntry, Pending

pending = Pending(capacity_bytes=1 << 40)
predictions("m", [{"inputs.x": 1}])
row = {f"inputs.f{n}": float(n) for n in range(10)}
with PeakMemory() as memory:
    for position in range(2000):
        pending.put(LogEntry(position, START, (predictions("m", [row]),)))
print(pending.size_bytes, memory.grown_bytes)
"""


def test_what_is_dropped_is_given_back() -> None:
    """Dropping every entry leaves nothing charged, whatever became of the arrays meanwhile."""
    pending = Pending(capacity_bytes=1)
    entries = [LogEntry(n, START, (predictions("m", [{"inputs.x": n}]),)) for n in range(3)]
    for entry in entries:
        pending.put(entry)
    assert pending.full_with(0)
    assert pending.peek(1) == entries[:1]
    pending.drop(entries)
    assert (pending.size_bytes, pending.full_with(0), pending.oldest_received_at) == (0, False, None)


def test_rows_of_very_many_models_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One flush writes so many tables at most; but a request that has more is taken whole."""
    monkeypatch.setattr(pending_rows, "_TABLES_AT_ONCE", 3)
    pending = Pending(capacity_bytes=1 << 30)
    row = [{"inputs.x": 1}]
    models = ["ab", "bc", "cd", "efghi", "a"]
    entries = [LogEntry(n, START, tuple(predictions(m, row) for m in each)) for n, each in enumerate(models)]
    for entry in entries:
        pending.put(entry)
    taken = []
    while entries_at_once := pending.peek(1 << 30):
        taken.append([entry.position for entry in entries_at_once])
        pending.drop(entries_at_once)
    assert taken == [[0, 1], [2], [3], [4]]
