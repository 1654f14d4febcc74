"""The judge: holds what is in the lake against what was claimed and what was promised."""

import http.client
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from helpers.faults_claims import Claim, Claims, Outcome, Shape, expected_row
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim, wait_until
from lapwing_collector import engine
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.query import Session

_PREDICTION = """
    SELECT prediction_id AS id, time, inputs, output, version, tags['region'] AS region
    FROM predictions."{shape}" WHERE service = 'campaign'
"""
QUERIES = {
    Shape.NUMBERED: _PREDICTION.format(shape="numbered"),
    Shape.STOCK: _PREDICTION.format(shape="stock"),
    Shape.TABLE: _PREDICTION.format(shape="table"),
    Shape.LABEL: "SELECT prediction_id AS id, prediction_time, time, label, source FROM labels.label",
    Shape.LOG: """
        SELECT attributes->>'campaign.id' AS id, time_unix_nano, severity_number, body, attributes
        FROM logs WHERE event_name = 'campaign.log'
    """,
}
_FILES = """
    SELECT path FROM __ducklake_metadata_lake.ducklake_data_file
    UNION ALL SELECT path FROM __ducklake_metadata_lake.ducklake_delete_file
"""
_LIVE_FILES = "SELECT path FROM __ducklake_metadata_lake.ducklake_data_file WHERE end_snapshot IS NULL"
_DOOMED_FILES = "SELECT path FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion"


@dataclass
class Verdict:
    """What is wrong, by kind; ids, or files."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    missing_files: list[str] = field(default_factory=list)
    unreconciled: list[str] = field(default_factory=list)
    stored: int = 0
    """Rows in the lake."""

    @property
    def wrongs(self) -> dict[str, int]:
        """How many of each kind that occurs; empty when all is well."""
        kinds = {
            "lost": self.lost,
            "doubled": self.doubled,
            "invented": self.invented,
            "changed": self.changed,
            "leftovers": self.leftovers,
            "missing_files": self.missing_files,
            "unreconciled": self.unreconciled,
        }
        return {kind: len(found) for kind, found in kinds.items() if found}

    def __str__(self) -> str:
        return f"{self.wrongs}, such as {[getattr(self, kind)[:3] for kind in self.wrongs]}"


def probe(victim: Victim, claims: Claims) -> Claim:
    """Send a fresh record, which must be accepted and come to be in the lake behind everything before it."""
    claim = claims.make(Shape.NUMBERED, 1, "judge")
    client = HttpClient(victim.http)
    try:
        assert wait_until(lambda: _accepted(client, claim), "a fresh record is accepted")
    finally:
        client.close()
    (name,) = claim.ids
    sql = f"SELECT count(*) AS n FROM predictions.numbered WHERE prediction_id = '{name}'"
    session = Session.open(victim.data / "lake")
    try:
        wait_until(lambda: _count(session, sql) > 0, "a fresh record is in the lake")
    finally:
        session.close()
    return claim


def judge(victim: Victim, claims: Claims) -> Verdict:
    """Let a running collector drain, end it in good order, and look at everything that it left.

    Nobody may be sending any more.
    """
    probe(victim, claims)
    books = wait_until(lambda: _settled_books(victim), "no row waits any more")
    assert victim.stop() == 0, victim.said()
    verdict = compare(victim.data, claims)
    verdict.leftovers, verdict.missing_files = _files(victim.data)
    outcomes = ("stored", "deduplicated", "rejected", "dead_lettered")
    if books["received"] != sum(books[outcome] for outcome in outcomes):
        verdict.unreconciled.append(f"what was received is not what became of it: {books}")
    if books["rejected"] or books["dead_lettered"]:
        verdict.unreconciled.append(f"nothing of this campaign can be refused: {books}")
    if victim.launches == 1 and books["stored"] != verdict.stored:
        verdict.unreconciled.append(f"{verdict.stored} rows are in the lake: {books}")
    return verdict


def counters(victim: Victim) -> dict[str, float]:
    """What /metrics says now, by name and labels."""
    connection = http.client.HTTPConnection(victim.web, timeout=60)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _settled_books(victim: Victim) -> dict[str, float]:
    """The books in rows, since the worker's start; empty while rows wait."""
    found = counters(victim)
    if found["lapwing_rows_waiting"]:
        return {}
    mark = "lapwing_rows_total,outcome="
    return {name.removeprefix(mark): value for name, value in found.items() if name.startswith(mark)}


def compare(data: Path, claims: Claims) -> Verdict:
    """Hold the rows in the lake against the claims."""
    verdict = Verdict()
    session = Session.open(data / "lake")
    try:
        for shape in Shape:
            claimed = [claim for claim in tuple(claims.made) if claim.shape is shape]
            _compare_shape(_rows(session, shape), shape, claimed, verdict)
    finally:
        session.close()
    return verdict


def require_well(verdict: Verdict) -> None:
    """Fail with what is wrong."""
    assert not verdict.wrongs, str(verdict)


def _accepted(client: HttpClient, claim: Claim) -> bool:
    try:
        return send(client, claim) == 200
    except OSError:
        return False


def _count(session: Session, sql: str) -> int:
    try:
        count: int = session.run(sql).column("n")[0].as_py()
    except NotSeenYetError:
        return 0
    return count


def _rows(session: Session, shape: Shape) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = session.run(QUERIES[shape]).to_pylist()
    except NotSeenYetError:
        return []
    return rows


def _compare_shape(rows: list[dict[str, Any]], shape: Shape, claimed: list[Claim], verdict: Verdict) -> None:
    promised = {name for claim in claimed if claim.outcome is Outcome.PROMISED for name in claim.ids}
    issued = {name for claim in claimed for name in claim.ids}
    found = Counter(row["id"] for row in rows)
    verdict.stored += len(rows)
    verdict.lost += sorted(promised - found.keys())
    verdict.doubled += sorted(name for name, times in found.items() if times > 1)
    verdict.invented += sorted(str(name) for name in found.keys() - issued)
    verdict.changed += sorted(
        row["id"]
        for row in rows
        if row["id"] in issued and _plain(shape, row) != expected_row(shape, row["id"])
    )


def _plain(shape: Shape, row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if name != "id"}
    if shape is Shape.LOG:
        return plain | {name: json.loads(plain[name]) for name in ("body", "attributes")}
    if shape is not Shape.LABEL:
        plain["inputs"] = {"seldom": None} | plain["inputs"]
    return plain


def _files(data: Path) -> tuple[list[str], list[str]]:
    """Files that nobody will ever need again, and files that are needed and are not there."""
    unfinished = [str(path.relative_to(data)) for path in data.rglob("*.tmp")]
    there = {path.name: str(path.relative_to(data)) for path in (data / "lake" / "data").rglob("*.parquet")}
    connection = engine.connect()
    try:
        engine.attach(connection, (data / "lake").resolve(), read_only=True)
        known, live, doomed = (
            {Path(path).name for (path,) in connection.execute(sql).fetchall()}
            for sql in (_FILES, _LIVE_FILES, _DOOMED_FILES)
        )
    finally:
        connection.close()
    orphans = [there[name] for name in there.keys() - known - doomed]
    return sorted(unfinished + orphans), sorted(live - there.keys())
