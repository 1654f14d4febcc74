"""The queue's accounts, without any network."""

from hypothesis import given
from hypothesis import strategies as st

from lapwing._queue import QUEUE_BYTES, RECORD_BYTES, REQUEST_BYTES, Queue, Stats


def make(capacity: int = 8, batch_size: int = 4, delay_s: float = 60.0) -> Queue:
    """Make a small queue that drops when it is full, and never gives a batch because of time."""
    return Queue(capacity=capacity, batch_size=batch_size, delay_s=delay_s, wait_when_full=False)


ACTIONS = st.lists(
    st.sampled_from(["put", "put", "put", "encode_error", "settle", "reject"]) | st.integers(0, 4),
    max_size=60,
)


@given(ACTIONS)
def test_every_record_is_accounted_for(actions: list[str | int]) -> None:
    """Whatever happens, recorded = acknowledged + pending + dropped, and numbers run on without a gap."""
    queue = make(batch_size=1)
    recorded = lost = 0
    numbers: list[int] = []
    for action in actions:
        if action in ("put", "encode_error"):
            recorded += 1
            lost += (queue.put(b"r") if action == "put" else queue.drop("encode_error") or "") is not None
        elif queue.stats().pending:
            batch = queue.take()
            numbers += [number for number, _ in batch]
            queue.settle(batch, 0 if action == "reject" else 1, "rejected")
            lost += action == "reject"
        stats = queue.stats()
        assert stats.recorded == recorded == stats.acknowledged + stats.pending + sum(stats.dropped.values())
        assert sum(stats.dropped.values()) == lost
    assert numbers == sorted(set(numbers))
    assert queue.flush(0) == (queue.stats().acknowledged == recorded)


def test_a_full_queue_drops_the_newest() -> None:
    """Records beyond the capacity are dropped and counted; those before them stay."""
    queue = make()
    reasons = [queue.put(bytes([n])) for n in range(10)]
    assert reasons == [None] * 8 + ["queue_full"] * 2
    assert queue.take() == [(n + 1, bytes([n])) for n in range(4)]
    assert queue.stats() == Stats(10, 0, 8, {"queue_full": 2})


def test_requests_are_split_by_size() -> None:
    """A batch ends before it grows past the size requests aim for; a larger record goes alone."""
    queue = make()
    sizes = [REQUEST_BYTES // 2, REQUEST_BYTES // 2, 1, 2 * REQUEST_BYTES, 1]
    for size in sizes:
        queue.put(bytes(size))
    queue.close()
    batches = []
    while batch := queue.take():
        batches.append([len(record) for _, record in batch])
        queue.settle(batch, len(batch), "")
    assert batches == [sizes[:2], sizes[2:3], sizes[3:4], sizes[4:]]


def test_memory_is_bounded() -> None:
    """What no request can hold is dropped as too large; what the queue cannot hold, as for a full queue."""
    queue = make()
    assert queue.put(bytes(RECORD_BYTES + 1)) == "too_large"
    assert queue.put(bytes(RECORD_BYTES)) is None
    assert queue.put(bytes(QUEUE_BYTES - RECORD_BYTES + 1)) == "queue_full"
    assert queue.put(bytes(QUEUE_BYTES - RECORD_BYTES)) is None


def test_a_batch_is_due_by_count_by_time_and_by_flush() -> None:
    """A full batch is given at once, a smaller one when its time is up or someone flushes."""
    queue = make()
    for _ in range(4):
        queue.put(b"r")
    assert len(queue.take()) == 4

    impatient = make(delay_s=0.0)
    impatient.put(b"r")
    assert len(impatient.take()) == 1

    flushed = make()
    flushed.put(b"r")
    assert not flushed.flush(0)
    assert len(flushed.take()) == 1


def test_flush_speaks_of_what_was_recorded_before_it() -> None:
    """Rejected records make flush false for good; a record still pending makes it false for now."""
    queue = make(batch_size=1)
    queue.put(b"a")
    assert not queue.flush(0)
    queue.settle(queue.take(), 1, "")
    assert queue.flush(0)
    queue.put(b"b")
    queue.settle(queue.take(), 0, "rejected")
    assert not queue.flush(0)
    queue.put(b"c")
    queue.settle(queue.take(), 1, "")
    assert not queue.flush(0)


def test_a_closed_queue_takes_nothing() -> None:
    """After closing, records are dropped and counted, and what is left can still be taken or abandoned."""
    queue = make()
    queue.put(b"a")
    queue.close()
    assert queue.put(b"b") == "shutdown"
    assert queue.take() == [(1, b"a")]
    queue.abandon("undeliverable")
    assert queue.take() == []
    assert queue.stats() == Stats(2, 0, 0, {"shutdown": 1, "undeliverable": 1})
