"""Each fuzz target for a moment, with hypothesis: whole inputs, damaged ones, and arbitrary bytes."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.fuzz_targets import TARGETS, seeds

SEEDS = seeds()


def damaged(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes with some parts replaced by others."""
    found = bytearray(seed)
    for start, length, other in changes:
        at = start % (len(found) + 1)
        found[at : at + length] = other
    return bytes(found)


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Bytes for a target."""
    change = st.tuples(st.integers(0, 1 << 16), st.integers(0, 8), st.binary(max_size=8))
    near = st.builds(damaged, st.sampled_from(SEEDS[name]), st.lists(change, max_size=4))
    return near | st.binary(max_size=200)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds(name: str) -> None:
    """Whatever the bytes, the reader takes them or refuses them with its own error."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs(name))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    holds()


def test_the_log_target_finds_an_invented_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that took records without looking at their checksum would not pass."""
    import helpers.fuzz_targets as targets

    dice = random.Random(1)
    real = targets.zlib.crc32

    def careless(data: Any, value: int = 0) -> int:
        return real(b"", value)

    monkeypatch.setattr("lapwing_collector.wal.record.zlib.crc32", careless)
    monkeypatch.setattr(
        targets, "LOG", b"".join(part for record in targets.RECORDS for part in record.encode(targets.SEAL))
    )

    def find() -> None:
        for _ in range(200):
            targets.log(dice.randbytes(12))

    with pytest.raises(AssertionError):
        find()
