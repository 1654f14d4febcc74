"""Reading back: replay, release, positions over restarts, and what damage costs."""

import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.wal_disk import (
    TIMEOUT_S,
    FailingSync,
    bodies,
    damage,
    legacy_record,
    read_log,
    segments,
    write_legacy_log,
    write_log,
)
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.wal import Damage, Log
from lapwing_collector.wal.record import HEADER_BYTES, MAGIC, Record


def encode(position: int, payload: bytes, seal: int = 0) -> bytes:
    """A record in a segment with this seal."""
    return b"".join(Record(position, b"", [payload]).encode(seal))


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


def first_of(segment: Path) -> int:
    """The position of the first record that a segment may hold."""
    return int(segment.name[:20])


def seal_of(segment: Path) -> int:
    """What the records of a segment are sealed with."""
    return int(segment.name.split("-")[2][:8], 16)


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
        for future in [log.append(b"", [payload]) for payload in payloads]:
            future.result(TIMEOUT_S)
        own = bodies(log, after)
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
            record = encode(position, payload, seal_of(path))
            if damaged[start : start + len(record)] == record:
                expected.append((position, payload))
            start += len(record)
    with Log.open(folder) as log:
        assert bodies(log) == expected
        new = log.append(b"", [b"new"]).result(TIMEOUT_S)
    assert new > (expected[-1][0] if expected else 0)
    assert read_log(folder) == [*expected, (new, b"new")]


def by_segment(folder: Path, payloads: list[bytes]) -> list[list[tuple[int, bytes]]]:
    """The numbered payloads of each segment, by the names of the segments."""
    firsts = [first_of(path) for path in segments(folder)]
    ends = [*firsts[1:], len(payloads) + 1]
    return [numbered(payloads)[first - 1 : end - 1] for first, end in zip(firsts, ends, strict=True)]


@pytest.mark.parametrize("lost", range(1, HEADER_BYTES + len(b"three") + 1))
def test_a_torn_tail(tmp_path: Path, lost: int) -> None:
    """Fault 7: wherever the last record is torn, the records before it are kept and the log goes on."""
    write_log(tmp_path, [b"one", b"two", b"three"])
    damage(segments(tmp_path)[0], lambda content: content[:-lost])
    with Log.open(tmp_path) as log:
        assert [body for _, body in bodies(log)] == [b"one", b"two"]
        assert len(log.damage) == (lost < HEADER_BYTES + len(b"three"))
        new = log.append(b"", [b"new"]).result(TIMEOUT_S)
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
        assert [body for _, body in bodies(log)] == [b"one", b"two"]
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
        log.append(b"", [b"four"]).result(TIMEOUT_S)
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
    """A payload that is a record of another log is lost with its header, and nothing is read in its place."""
    write_log(tmp_path / "other", [b"never appended"])
    write_log(tmp_path, [segments(tmp_path / "other")[0].read_bytes(), b"two"])
    damage(segments(tmp_path)[0], lambda content: b"?" + content[1:])
    assert read_log(tmp_path) == [(2, b"two")]


def hostile(size: int) -> bytes:
    """That many bytes full of beginnings of records, each with a head that goes nearly to the end."""
    return b"".join(
        struct.pack("<4sIIQII", MAGIC, size - at - 2 * HEADER_BYTES, 0, 2, 0, 0)
        for at in range(0, size - 2 * HEADER_BYTES, HEADER_BYTES)
    )


@pytest.mark.parametrize("torn", ["the header before", "the end"])
def test_bytes_made_to_look_like_records_cost_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: str
) -> None:
    """After damage beside a body full of forged records reading takes its length, and finds what follows."""
    body = hostile(1 << 20)
    if torn == "the end":
        write_log(tmp_path, [b"one", body], segment_bytes=4 << 20)
        damage(segments(tmp_path)[0], lambda content: content[:-1])
        expected = [(1, b"one")]
    else:
        write_log(tmp_path, [body, b"two", b"three"], segment_bytes=4 << 20)
        damage(segments(tmp_path)[0], lambda content: b"?" + content[1:])
        expected = [(2, b"two"), (3, b"three")]
    size = segments(tmp_path)[0].stat().st_size
    checked = 0

    def crc32(data: bytes | memoryview, value: int = 0) -> int:
        nonlocal checked
        checked += len(data)
        return zlib.crc32(data, value)

    monkeypatch.setattr("lapwing_collector.wal.record.zlib", SimpleNamespace(crc32=crc32))
    monkeypatch.setattr("lapwing_collector.wal.record._FREE_BYTES", 1 << 18)
    assert read_log(tmp_path) == expected
    assert checked <= 2 * ((1 << 18) + 10 * size)  # once when it is opened, once when it is read


def test_an_empty_log_replays_nothing(tmp_path: Path) -> None:
    """There is nothing to read in a log that was never written to."""
    assert read_log(tmp_path) == []


def test_replay_is_of_the_moment_it_is_asked_for(tmp_path: Path) -> None:
    """What is appended after replay was called is not part of it."""
    with Log.open(tmp_path) as log:
        log.append(b"", [b"before"]).result(TIMEOUT_S)
        replay = log.replay(0)
        log.append(b"", [b"after"]).result(TIMEOUT_S)
        assert [bytes(entry.body) for entry in replay] == [b"before"]


def test_release_deletes_whole_segments_only(tmp_path: Path) -> None:
    """A segment is deleted when nothing in it is needed, and only then."""
    with Log.open(tmp_path, segment_bytes=2 * (HEADER_BYTES + 1)) as log:
        for number in range(6):
            log.append(b"", [b"%d" % number]).result(TIMEOUT_S)
        for through, left in [(1, [1, 3, 5]), (2, [3, 5]), (3, [3, 5]), (4, [5]), (5, [5])]:
            log.release(through).result(TIMEOUT_S)
            assert [first_of(path) for path in segments(tmp_path)] == left
        held = log.bytes_held
        log.release(6).result(TIMEOUT_S)
        assert [first_of(path) for path in segments(tmp_path)] == [7]
        assert (held, log.bytes_held) == (2 * (HEADER_BYTES + 1), 0)
        assert log.append(b"", [b"6"]).result(TIMEOUT_S) == 7


def test_a_small_segment_in_use_is_kept(tmp_path: Path) -> None:
    """A segment that has just been started is not replaced for every release."""
    with Log.open(tmp_path) as log:
        for position in range(1, 6):
            log.append(b"", [b"x"]).result(TIMEOUT_S)
            log.release(position).result(TIMEOUT_S)
        assert [first_of(path) for path in segments(tmp_path)] == [1]


def test_a_wipe_leaves_nothing_of_what_was_given_up(tmp_path: Path) -> None:
    """Asked to wipe, a release replaces even a small segment, unless somebody needs what is in it."""
    with Log.open(tmp_path) as log:
        log.append(b"", [b"canary"]).result(TIMEOUT_S)
        log.append(b"", [b"needed"]).result(TIMEOUT_S)
        log.release(1, wipe=True).result(TIMEOUT_S)
        assert [first_of(path) for path in segments(tmp_path)] == [1]
        log.release(2, wipe=True).result(TIMEOUT_S)
        assert [(first_of(path), path.read_bytes()) for path in segments(tmp_path)] == [(3, b"")]
        assert log.append(b"", [b"next"]).result(TIMEOUT_S) == 3


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_positions_are_never_given_twice(tmp_path: Path, segment_bytes: int) -> None:
    """Positions go on over restarts, also when everything was released and nothing was appended between."""
    for expected in range(1, 5):
        with Log.open(tmp_path, segment_bytes=segment_bytes) as log:
            assert log.append(b"", [b"x"]).result(TIMEOUT_S) == expected
            log.release(expected).result(TIMEOUT_S)
        Log.open(tmp_path, segment_bytes=segment_bytes).close()


def test_positions_start_after_what_the_lake_covers(tmp_path: Path) -> None:
    """Positions that are known to be taken are not given again, though the log's files are lost."""
    with Log.open(tmp_path, after=41) as log:
        assert log.append(b"", [b"x"]).result(TIMEOUT_S) == 42


def test_a_damaged_durable_end_takes_no_positions_back(tmp_path: Path) -> None:
    """Positions of records that became unreadable are not given to others, which a replay would skip."""
    write_log(tmp_path, [b"x"] * 10)
    damage(segments(tmp_path)[0], lambda content: content[:HEADER_BYTES] + bytes(len(content) - HEADER_BYTES))
    with Log.open(tmp_path) as log:
        assert log.append(b"", [b"new"]).result(TIMEOUT_S) > 10


def test_a_failed_append_does_not_come_back_behind_a_later_one(tmp_path: Path) -> None:
    """Bytes that a failed sync left on the medium are not read once a later append is durable."""
    with Log.open(tmp_path, sync=FailingSync(None, OSError(5, "Input/output error"))) as log:
        log.append(b"", [b"one"]).result(TIMEOUT_S)
        (first,) = segments(tmp_path)
        log.append(b"", [b"failed"]).exception(TIMEOUT_S)
        log.append(b"", [b"three"]).result(TIMEOUT_S)
    with first.open("ab") as file:
        file.write(encode(2, b"failed", seal_of(first)))
    with Log.open(tmp_path) as log:
        assert bodies(log) == [(1, b"one"), (3, b"three")]
        assert not log.damage


def test_heads_are_read_without_bodies(tmp_path: Path) -> None:
    """Up to a position a damaged body costs nothing, since only heads are asked for; their sizes are told."""
    with Log.open(tmp_path) as log:
        for number in (b"1", b"2", b"3"):
            log.append(b"head " + number, [b"body ", number]).result(TIMEOUT_S)
    damage(segments(tmp_path)[0], lambda content: content.replace(b"body 1", b"B0dy 1"))
    with Log.open(tmp_path) as log:
        read = [(entry.head, bytes(entry.body), entry.size) for entry in log.replay(0, unread=2)]
    assert read == [(b"head 1", b"", 6), (b"head 2", b"", 6), (b"head 3", b"body 3", 6)]


def test_replay_can_end_at_a_position(tmp_path: Path) -> None:
    """Nothing beyond the position asked for is read."""
    write_log(tmp_path, [b"1", b"2", b"3"], segment_bytes=1)
    with Log.open(tmp_path) as log:
        assert [entry.position for entry in log.replay(1, through=2)] == [2]


@settings(deadline=None)
@given(payloads=PAYLOADS, data=st.data())
def test_logs_without_heads_are_read(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    """Fault 27: what an earlier Lapwing logged is read as far as it is whole; new entries follow."""
    folder = tmp_path_factory.mktemp("logs") / "log"
    write_legacy_log(folder, payloads)
    sizes = [len(legacy_record(position, payload)) for position, payload in numbered(payloads)]
    cut = data.draw(st.integers(0, sum(sizes)))
    damage(folder / f"{1:020}.log", lambda content: content[:cut])
    whole = sum(sum(sizes[: n + 1]) <= cut for n in range(len(sizes)))
    with Log.open(folder) as log:
        assert bodies(log) == numbered(payloads)[:whole]
        new = log.append(b"head", [b"new"]).result(TIMEOUT_S)
    assert read_log(folder) == [*numbered(payloads)[:whole], (new, b"new")]


def test_a_log_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """Fault 27: a file that a later Lapwing wrote is refused, and nothing is changed."""
    later = tmp_path / f"{1:020}-{0:020}-00000000.3.log"
    later.write_bytes(b"what will be")
    with pytest.raises(DataDirectoryError, match="start the version of Lapwing that wrote it"):
        Log.open(tmp_path)
    assert later.read_bytes() == b"what will be"
    assert list(tmp_path.iterdir()) == [later]


def test_what_is_read_back_was_synced_first(tmp_path: Path) -> None:
    """Fault 2: what a killed process wrote and did not sync is on the disk before anybody relies on it."""
    write_log(tmp_path, [b"one", b"two"], segment_bytes=1)
    sync = FailingSync()
    Log.open(tmp_path, sync=sync).close()
    assert sync.inodes == [path.stat().st_ino for path in segments(tmp_path)]
    with pytest.raises(DataDirectoryError, match="Input/output error"):
        Log.open(tmp_path, sync=FailingSync(OSError(5, "Input/output error")))


def test_segments_that_were_never_written_to_hide_nothing(tmp_path: Path) -> None:
    """A process that died right after it began a segment does not hide what the next one writes."""
    for seal in range(20):
        (tmp_path / f"{1:020}-{0:020}-{seal * 0x0D0D0D0D:08x}.2.log").touch()
    write_log(tmp_path, [b"one"])
    with Log.open(tmp_path) as log:
        assert bodies(log) == [(1, b"one")]
        assert log.append(b"", [b"two"]).result(TIMEOUT_S) == 2
