"""Reading back: replay, release, positions over restarts, and what damage costs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.wal_disk import TIMEOUT_S, damage, read_log, segments, write_log
from lapwing_collector.wal import Damage, Log
from lapwing_collector.wal.record import HEADER_BYTES, MAGIC, encode

PAYLOADS = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, 3).map(lambda repeat: MAGIC * repeat),
        st.tuples(st.integers(1, 30), st.binary(max_size=20)).map(lambda record: encode(*record)),
        st.integers(1, 8).map(lambda end: encode(1, b"")[:end]),
    ),
    min_size=1,
    max_size=30,
)


def numbered(payloads: list[bytes]) -> list[tuple[int, bytes]]:
    """What reading should give of a log of `payloads`."""
    return list(enumerate(payloads, start=1))


@settings(deadline=None)
@given(payloads=PAYLOADS, segment_bytes=st.integers(1, 2000), data=st.data())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], segment_bytes: int, data: st.DataObject
) -> None:
    """Payloads come back as they were, in order, from any position on, also in the process that wrote."""
    folder = tmp_path_factory.mktemp("log")
    after = data.draw(st.integers(0, len(payloads) + 1))
    with Log.open(folder, segment_bytes=segment_bytes) as log:
        for future in [log.append(payload) for payload in payloads]:
            future.result(TIMEOUT_S)
        own = [(entry.position, entry.payload) for entry in log.replay(after)]
        assert log.bytes_held == sum(path.stat().st_size for path in segments(folder))
        assert not log.damage
    assert own == read_log(folder, after) == numbered(payloads)[after:]


@settings(deadline=None)
@given(payloads=PAYLOADS, segment_bytes=st.integers(1, 2000), data=st.data())
def test_damage_costs_only_the_records_it_hits(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], segment_bytes: int, data: st.DataObject
) -> None:
    """After flips and lost ends, every record whose bytes are still in place is read, and no other."""
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, payloads, segment_bytes)
    expected = []
    for path, records in zip(segments(folder), by_segment(folder, payloads), strict=True):
        content = bytearray(path.read_bytes())
        flips = data.draw(st.lists(st.integers(0, len(content) - 1), max_size=2, unique=True))
        for offset in flips:
            content[offset] ^= data.draw(st.integers(1, 255))
        keep = data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else len(content)
        damaged = bytes(content[:keep]) + data.draw(st.sampled_from([b"", bytes(64), MAGIC, b"garbage"]))
        path.write_bytes(damaged)
        start = 0
        for position, payload in records:
            record = encode(position, payload)
            if damaged[start : start + len(record)] == record:
                expected.append((position, payload))
            start += len(record)
    with Log.open(folder) as log:
        assert [(entry.position, entry.payload) for entry in log.replay(0)] == expected
        new = log.append(b"new").result(TIMEOUT_S)
    assert new > (expected[-1][0] if expected else 0)
    assert read_log(folder) == [*expected, (new, b"new")]


def by_segment(folder: Path, payloads: list[bytes]) -> list[list[tuple[int, bytes]]]:
    """The numbered payloads of each segment, by the names of the segments."""
    firsts = [int(path.stem) for path in segments(folder)]
    ends = [*firsts[1:], len(payloads) + 1]
    return [numbered(payloads)[first - 1 : end - 1] for first, end in zip(firsts, ends, strict=True)]


@pytest.mark.parametrize("lost", range(1, HEADER_BYTES + len(b"three") + 1))
def test_a_torn_tail(tmp_path: Path, lost: int) -> None:
    """Fault 7: wherever the last record is torn, the records before it are kept and the log goes on."""
    write_log(tmp_path, [b"one", b"two", b"three"])
    damage(segments(tmp_path)[0], lambda content: content[:-lost])
    with Log.open(tmp_path) as log:
        assert [entry.payload for entry in log.replay(0)] == [b"one", b"two"]
        assert len(log.damage) == (lost < HEADER_BYTES + len(b"three"))
        new = log.append(b"new").result(TIMEOUT_S)
    assert [payload for _, payload in read_log(tmp_path)] == [b"one", b"two", b"new"]
    assert new > 2


@pytest.mark.parametrize("tail", [bytes(4096), b"\xff" * 100, MAGIC, MAGIC * 40, encode(3, b"lost")[:-1]])
def test_a_tail_that_is_not_ours(tmp_path: Path, tail: bytes) -> None:
    """Fault 7: zeros or garbage at the end cost nothing but a note of where they are."""
    write_log(tmp_path, [b"one", b"two"])
    (path,) = segments(tmp_path)
    size = path.stat().st_size
    damage(path, lambda content: content + tail)
    with Log.open(tmp_path) as log:
        assert [entry.payload for entry in log.replay(0)] == [b"one", b"two"]
        assert log.damage == [Damage(path, size, f"{len(tail)} bytes at the end are not a whole record")]


def test_a_flipped_byte_in_the_middle(tmp_path: Path) -> None:
    """Fault 8: a record with a flipped byte is skipped, later ones are kept, and a copy of the file too."""
    write_log(tmp_path, [b"one", b"two", b"three"])
    (path,) = segments(tmp_path)
    damage(path, lambda content: content.replace(b"two", b"twO"))
    content = path.read_bytes()
    with Log.open(tmp_path) as log:
        assert [entry.position for entry in log.replay(0)] == [1, 3]
        assert [entry.position for entry in log.replay(0)] == [1, 3], "reading again changes nothing"
        offset = HEADER_BYTES + len(b"one")
        assert log.damage == [Damage(path, offset, f"{HEADER_BYTES + 3} bytes are not a whole record")]
        log.append(b"four").result(TIMEOUT_S)
        log.release(4).result(TIMEOUT_S)
    assert not path.exists()
    assert (tmp_path / "quarantine" / path.name).read_bytes() == content


def test_a_segment_that_is_gone_costs_only_itself(tmp_path: Path) -> None:
    """A file that cannot be read is told, and blocks neither the others nor new appends."""
    write_log(tmp_path, [b"one", b"two", b"three"], segment_bytes=1)
    middle = segments(tmp_path)[1]
    with Log.open(tmp_path) as log:
        middle.unlink()
        assert [entry.position for entry in log.replay(0)] == [1, 3]
        assert log.damage == [Damage(middle, 0, "cannot be read: No such file or directory")]


def test_a_logged_record_is_not_taken_for_one(tmp_path: Path) -> None:
    """A payload that is a record itself is lost with its own header, and nothing is read in its place."""
    write_log(tmp_path, [encode(1, b"never appended"), b"two"])
    damage(segments(tmp_path)[0], lambda content: b"?" + content[1:])
    assert read_log(tmp_path) == [(2, b"two")]


def test_an_empty_log_replays_nothing(tmp_path: Path) -> None:
    """There is nothing to read in a log that was never written to."""
    assert read_log(tmp_path) == []


def test_replay_is_of_the_moment_it_is_asked_for(tmp_path: Path) -> None:
    """What is appended after replay was called is not part of it."""
    with Log.open(tmp_path) as log:
        log.append(b"before").result(TIMEOUT_S)
        replay = log.replay(0)
        log.append(b"after").result(TIMEOUT_S)
        assert [entry.payload for entry in replay] == [b"before"]


def test_release_deletes_whole_segments_only(tmp_path: Path) -> None:
    """A segment is deleted when nothing in it is needed, and only then."""
    with Log.open(tmp_path, segment_bytes=2 * (HEADER_BYTES + 1)) as log:
        for number in range(6):
            log.append(b"%d" % number).result(TIMEOUT_S)
        for through, left in [(1, [1, 3, 5]), (2, [3, 5]), (3, [3, 5]), (4, [5]), (5, [5])]:
            log.release(through).result(TIMEOUT_S)
            assert [int(path.stem) for path in segments(tmp_path)] == left
        held = log.bytes_held
        log.release(6).result(TIMEOUT_S)
        assert [int(path.stem) for path in segments(tmp_path)] == [7]
        assert (held, log.bytes_held) == (2 * (HEADER_BYTES + 1), 0)
        assert log.append(b"6").result(TIMEOUT_S) == 7


def test_a_small_segment_in_use_is_kept(tmp_path: Path) -> None:
    """A segment that has just been started is not replaced for every release."""
    with Log.open(tmp_path) as log:
        for position in range(1, 6):
            log.append(b"x").result(TIMEOUT_S)
            log.release(position).result(TIMEOUT_S)
        assert [int(path.stem) for path in segments(tmp_path)] == [1]


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_positions_are_never_given_twice(tmp_path: Path, segment_bytes: int) -> None:
    """Positions go on over restarts, also when everything was released and nothing was appended between."""
    for expected in range(1, 5):
        with Log.open(tmp_path, segment_bytes=segment_bytes) as log:
            assert log.append(b"x").result(TIMEOUT_S) == expected
            log.release(expected).result(TIMEOUT_S)
        Log.open(tmp_path, segment_bytes=segment_bytes).close()


def test_positions_start_after_what_the_lake_covers(tmp_path: Path) -> None:
    """Positions that are known to be taken are not given again, though the log's files are lost."""
    with Log.open(tmp_path, after=41) as log:
        assert log.append(b"x").result(TIMEOUT_S) == 42


def test_a_damaged_durable_end_takes_no_positions_back(tmp_path: Path) -> None:
    """Positions of records that became unreadable are not given to others, which a replay would skip."""
    write_log(tmp_path, [b"x"] * 10)
    damage(segments(tmp_path)[0], lambda content: content[:HEADER_BYTES] + bytes(len(content) - HEADER_BYTES))
    with Log.open(tmp_path) as log:
        assert log.append(b"new").result(TIMEOUT_S) > 10
