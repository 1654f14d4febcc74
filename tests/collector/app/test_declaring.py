"""References that files declare."""

from pathlib import Path
from typing import Any

from helpers.collector import project
from lapwing_collector.app.declaring import SOURCE, declare_references
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.keeping import orders, owning, set_reference
from lapwing_collector.app.maintenance import tell_nobody
from lapwing_collector.config import load_model
from lapwing_collector.lake import Lake

WEEK = {"kind": "same_hours", "seconds": 604_800}


def test_the_lake_has_the_references_that_files_declare(tmp_path: Path) -> None:
    """Each is set once, again when it changes, and removed with its line; others are left alone."""
    set_reference(None, {"data": tmp_path}, tell_nobody, model="m", name="mine", policy=WEEK)
    assert found(tmp_path) == [("mine", 1, "drift", "policy", "same_hours", 604_800)]
    for _ in range(2):
        declare(tmp_path, "{lately: {rolling: 28d}, week: {same_hours: 4w, role: conditions}}")
    assert found(tmp_path)[:-1] == [
        ("lately", 1, "drift", SOURCE, "rolling", 28 * 86_400),
        *found(tmp_path)[1:2],
    ]
    assert found(tmp_path)[2] == ("week", 1, "conditions", SOURCE, "same_hours", 28 * 86_400)
    declare(tmp_path, "{lately: {rolling: 7d}}")
    assert [row[:2] for row in found(tmp_path)] == [("lately", 1), ("lately", 2), ("mine", 1)]
    assert found(tmp_path)[1][-1] == 7 * 86_400
    declare(tmp_path, "{}")
    assert [row[:2] for row in found(tmp_path)] == [("mine", 1)]


def declare(data: Path, references: str) -> None:
    """Start with a file that declares references."""
    files = dict([load_model(f"model: m\nreferences: {references}", "m.yaml")])
    with owning(DataDirectory(data), project(data).settings) as maintenance:
        declare_references(maintenance._lake, orders(maintenance), files)


def found(data: Path) -> list[tuple[Any, ...]]:
    lake = Lake.open(DataDirectory(data).lake)
    rows = lake.catalog.rows(
        "SELECT reference, version, role, source, policy->>'kind', (policy->>'seconds')::BIGINT "
        "FROM reference_sets ORDER BY reference, version"
    )
    lake.close()
    return rows
