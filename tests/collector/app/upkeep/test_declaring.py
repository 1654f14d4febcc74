"""References that files declare."""

from pathlib import Path
from typing import Any

from helpers.collector import project
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.upkeep.declaring import SOURCE, declare_references
from lapwing_collector.app.upkeep.keeping import orders, owning
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.config import load_model
from lapwing_collector.lake import Lake

WEEK = {"kind": "same_hours", "seconds": 604_800}


def test_the_lake_has_the_references_that_files_declare(tmp_path: Path) -> None:
    """Each is set once, again when it changes, and removed with its line; others are left alone."""
    with owning(DataDirectory(tmp_path), project(tmp_path).settings) as maintenance:
        lake, todo = maintenance._lake, orders(maintenance)
        mine = {"model": "m", "name": "mine", "role": "drift", "source": "policy", "policy": WEEK}
        todo["set-reference"](mine, tell_nobody)

        def declare(references: str) -> None:
            files = dict([load_model(f"model: m\nreferences: {references}", "m.yaml")])
            declare_references(lake, todo, files)

        for _ in range(2):
            declare("{lately: {rolling: 28d}, week: {same_hours: 4w, role: conditions}}")
        assert found(lake) == [
            ("lately", 1, "drift", SOURCE, "rolling", 28 * 86_400),
            ("mine", 1, "drift", "policy", "same_hours", 604_800),
            ("week", 1, "conditions", SOURCE, "same_hours", 28 * 86_400),
        ]
        declare("{lately: {rolling: 7d}}")
        assert [row[:2] for row in found(lake)] == [("lately", 1), ("lately", 2), ("mine", 1)]
        assert found(lake)[1][-1] == 7 * 86_400
        declare("{}")
        assert [row[:2] for row in found(lake)] == [("mine", 1)]


def found(lake: Lake) -> list[tuple[Any, ...]]:
    """The references that the lake has."""
    return lake.catalog.rows(
        "SELECT reference, version, role, source, policy->>'kind', (policy->>'seconds')::BIGINT "
        "FROM reference_sets ORDER BY reference, version"
    )
