"""A clock that jumps: faketime moves the collector's wall clock, and only that."""

from pathlib import Path

import pytest

from helpers.collector import ask
from helpers.faults_claims import Claims, Shape
from helpers.faults_judge import judge, probe, require_well
from helpers.faults_plan import long_only
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="needs faketime: apt-get install faketime")


@long_only
def test_a_clock_that_jumps_loses_nothing(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """Fault 14: ten years ahead, two hours back: everything is stored once, with the time the clock had."""
    offset = tmp_path / "offset"
    fake = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    offset.write_text("+0")
    victim.start(**fake)
    with HttpClient(victim.http) as client:
        for jump in ("+0", "+10y", "-2h"):
            offset.write_text(jump)
            for shape in Shape:
                assert send(client, claims.make(shape, 3, "late")) == 200
            probe(victim, claims)
    victim.kill()
    victim.start()
    require_well(judge(victim, claims))
    (seen,) = ask(
        victim.data,
        "SELECT max(received_at) - min(received_at) > INTERVAL 9 YEARS AS jumped FROM predictions.numbered",
    )
    assert seen == {"jumped": True}
