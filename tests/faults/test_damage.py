"""Files with flipped bits and torn ends: each costs its bad part, is told, and blocks nothing else."""

import random
from pathlib import Path

import pytest

from helpers.faults_claims import Claim, Claims, Outcome, Shape
from helpers.faults_judge import judge, probe, require_well
from helpers.faults_plan import LONG, SEED, long_only
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim, wait_until

LATER = {"write": {"flush_interval": "1h"}}
SOON = {"write": {"flush_interval": "50ms"}}


TORN = [
    (b"torn", b""),
    (bytes(4096), b"\x00" * 64),
    (b"\xffLW\x01garbage" * 20, b"no checkpoint at all"),
    (b"\xffLW", None),
]
"""What stands at the end of the log, and instead of its checkpoint."""


def promise(victim: Victim, claims: Claims, rounds: int = 1) -> list[Claim]:
    """Get a yes for each shape, `rounds` times."""
    with HttpClient(victim.http) as client:
        made = [claims.make(shape, 4, "damaged") for _ in range(rounds) for shape in Shape]
        assert all(send(client, claim) == 200 for claim in made)
    return made


def segments(victim: Victim) -> list[Path]:
    """Files of the log that hold something."""
    return [file for file in sorted((victim.data / "log").glob("*.log")) if file.stat().st_size]


@pytest.mark.parametrize("turn", range(20 if LONG else 1))
def test_a_log_with_a_flipped_byte_and_a_torn_end_costs_one_request(
    turn: int, victim: Victim, claims: Claims
) -> None:
    """Only the request that the flipped byte is in is lost; a copy of the file is kept, and it is told."""
    dice = random.Random(f"{SEED} {turn}")
    victim.settings = LATER
    victim.start()
    made = promise(victim, claims, rounds=3)
    victim.kill()
    (segment,) = segments(victim)
    whole = segment.read_bytes()
    offset = dice.randrange(len(whole))
    tail = dice.choice([b"", bytes(500), dice.randbytes(300), whole[:150]])
    bad = bytearray(whole)
    bad[offset] ^= 1 << dice.randrange(8)
    segment.write_bytes(bytes(bad) + tail)
    victim.settings = SOON
    victim.start()
    verdict = judge(victim, claims)
    hurt = [claim for claim in made if set(claim.ids) & set(verdict.lost)]
    assert len(hurt) == 1, str(verdict)
    assert sorted(verdict.lost) == sorted(hurt[0].ids)
    assert set(verdict.wrongs) == {"lost"}
    assert (victim.data / "log" / "quarantine" / segment.name).read_bytes() == bytes(bad) + tail
    assert "quarantine" in victim.output.read_text()


def test_torn_ends_and_broken_checkpoints_cost_nothing(victim: Victim, claims: Claims) -> None:
    """What stands behind the last whole record was never acknowledged; a checkpoint is not the truth."""
    victim.settings = LATER
    victim.start()
    promise(victim, claims)
    victim.kill()
    for tail, checkpoint in TORN if LONG else TORN[:2]:
        with segments(victim)[-1].open("ab") as file:
            file.write(tail)
        if checkpoint is not None:
            (victim.data / "log" / "checkpoint").write_bytes(checkpoint)
        victim.settings = SOON
        victim.start()
        promise(victim, claims)
        probe(victim, claims)
        victim.kill()
    victim.start()
    require_well(judge(victim, claims))


@long_only
def test_a_torn_record_of_the_log_is_the_only_one_lost(victim: Victim, claims: Claims) -> None:
    """When the disk lost the end of a record that it said it had, the records before it are kept."""
    victim.settings = LATER
    victim.start()
    made = promise(victim, claims)
    victim.kill()
    (segment,) = segments(victim)
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 3)
    made[-1].outcome = Outcome.UNKNOWN  # its bytes are gone
    victim.settings = SOON
    victim.start()
    promise(victim, claims)
    require_well(judge(victim, claims))


@long_only
def test_a_missing_checkpoint_costs_no_row(victim: Victim, claims: Claims) -> None:
    """Without a checkpoint the log is read from its beginning, and every row is stored once."""
    victim.start()
    promise(victim, claims)
    probe(victim, claims)
    victim.kill()
    (victim.data / "log" / "checkpoint").unlink()
    victim.start()
    promise(victim, claims)
    require_well(judge(victim, claims))


@long_only
@pytest.mark.parametrize("harm", ["cut", "emptied", "flipped"])
def test_a_damaged_parquet_file_costs_its_own_rows(harm: str, victim: Victim, claims: Claims) -> None:
    """Fault 9: a scrub finds it and sets it aside; queries answer from the rest, and nothing else is lost."""
    victim.start()
    promise(victim, claims)
    probe(victim, claims)
    before = set((victim.data / "lake").rglob("*.parquet"))
    promise(victim, claims)
    probe(victim, claims)
    victim.kill()
    stock = (victim.data / "lake" / "data" / "predictions_all" / "stock").glob("*.parquet")
    file = next(each for each in stock if each not in before)
    whole = file.read_bytes()
    flipped = bytes(byte ^ 16 for byte in whole[1000:1064])
    file.write_bytes(
        {
            "cut": whole[:-100],
            "emptied": b"",
            "flipped": whole[:1000] + flipped + whole[1064:],
        }[harm]
    )
    victim.start()
    assert victim.run("doctor", "--scrub").returncode in {0, 1}
    verdict = judge(victim, claims)
    assert set(verdict.wrongs) <= {"lost"}
    assert {name.split("-")[0] for name in verdict.lost} <= {"stock"}
    assert len(verdict.lost) <= 4
    (aside,) = (victim.data / "lake" / "quarantine").rglob("*.parquet")
    assert aside.name.endswith(file.name)


@long_only
def test_a_catalog_that_is_none_is_told_and_brought_back(victim: Victim, claims: Claims) -> None:
    """Faults 10 and 11: it is told in one line; the last copy and the log bring rows back, none twice."""
    victim.settings = {"write": {"flush_interval": "50ms"}, "maintenance": {"copy_interval": "1s"}}
    victim.start()
    promise(victim, claims)
    probe(victim, claims)
    copy = victim.data / "catalog-copy" / "catalog.sqlite"
    copied_at = copy.stat().st_mtime_ns if copy.exists() else 0
    wait_until(lambda: copy.exists() and copy.stat().st_mtime_ns > copied_at, "the catalog is copied")
    promise(victim, claims)
    victim.kill()
    catalog = victim.data / "lake" / "catalog.sqlite"
    catalog.write_bytes(b"no catalog" * 1000)
    victim.launch()
    assert victim.died() != 0
    assert "doctor" in victim.said()
    assert victim.run("doctor", "--rebuild-catalog").returncode in {0, 1}
    victim.start()
    verdict = judge(victim, claims)
    assert set(verdict.wrongs) <= {"lost"}, str(verdict)
