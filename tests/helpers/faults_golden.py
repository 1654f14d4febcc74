"""Writes the golden data directory: what an older version leaves behind when it is killed in the middle.

    python tests/helpers/faults_golden.py VERSION

Half of its records are in the lake, half in the log only. It is written once per format, by the version
that has the format, and kept: every later version has to make of it what the older one would have.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.faults_claims import Claims, Outcome, Shape
from helpers.faults_judge import probe
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def promise(claims: Claims, victim: Victim) -> None:
    """Send a request of each shape and expect a yes."""
    with HttpClient(victim.http) as client:
        for shape in Shape:
            assert send(client, claims.make(shape, 3, "golden")) == 200


def unpack_golden(file: Path, data: Path) -> Claims:
    """Lay a golden directory out at `data`; the claims that are promised in it, as `write` makes them."""
    with tarfile.open(file) as tar:
        tar.extractall(data.parent, filter="data")
    for shared in data.rglob("*-shm"):
        shared.unlink()  # memory shared by processes of another machine
    claims = Claims()
    for _ in range(2):
        for shape in Shape:
            claims.make(shape, 3, "golden")
        if len(claims.made) == len(Shape):
            claims.make(Shape.NUMBERED, 1, "judge")
    for claim in claims.made:
        claim.outcome = Outcome.PROMISED
    return claims


def write(version: str) -> Path:
    """Write the golden directory of this version, as a tar file."""
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder) / "data", {"write": {"flush_interval": "10ms"}})
        claims = Claims()
        try:
            victim.start()
            promise(claims, victim)
            probe(victim, claims)
            victim.kill()
            victim.settings = {"write": {"flush_interval": "1h"}}
            victim.start()
            promise(claims, victim)
            victim.kill()
        finally:
            victim.clear()
        GOLDEN.mkdir(exist_ok=True)
        file = GOLDEN / f"data-{version}.tar.xz"
        with tarfile.open(file, "w:xz") as tar:
            tar.add(victim.data, "data")
        return file


if __name__ == "__main__":
    sys.stdout.write(f"{write(sys.argv[1])}\n")
