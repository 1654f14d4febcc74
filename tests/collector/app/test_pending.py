"""The queue between those who receive and the one who writes."""

from helpers.batches import START, predictions
from helpers.memory import PeakMemory
from lapwing_collector.app.pending import LogEntry, Pending


def test_single_rows_are_charged_what_they_take() -> None:
    """Many requests of one row fill the queue when their memory does, not when their values would."""
    pending = Pending(capacity_bytes=1 << 40)
    predictions("m", [{"inputs.x": 1}])
    row = {f"inputs.f{n}": float(n) for n in range(10)}
    with PeakMemory() as memory:
        for position in range(2000):
            pending.put(LogEntry(position, START, (predictions("m", [row]),)))
    assert memory.grown_bytes / 3 < pending.size_bytes < memory.grown_bytes * 3


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
