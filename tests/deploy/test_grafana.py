"""Provisioning of Grafana: files that name each other, and the data source that they are about."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.deploying import DEPLOY, ONE_MACHINE

GRAFANA = DEPLOY / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
SOURCES = yaml.safe_load((GRAFANA / "provisioning/datasources/lapwing.yaml").read_text())["datasources"]
WIDTH = 24


def read(file: Path) -> dict[str, Any]:
    """A dashboard."""
    board: dict[str, Any] = json.loads(file.read_text())
    return board


def named(document: Any) -> set[tuple[str, str]]:
    """Type and uid of each data source that is named anywhere in a document."""
    found: set[tuple[str, str]] = set()
    if isinstance(document, dict):
        if isinstance(document.get("datasource"), dict):
            found.add((document["datasource"]["type"], document["datasource"]["uid"]))
        document = list(document.values())
    if isinstance(document, list):
        found |= {source for each in document for source in named(each)}
    return found


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_a_dashboard_asks_sources_that_are_provisioned(file: Path) -> None:
    """Every panel and variable asks a source by a uid and type that the provisioning has."""
    provisioned = {(source["type"], source["uid"]) for source in SOURCES}
    asked = named(read(file))
    assert asked
    assert asked <= provisioned


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_panels_lie_side_by_side(file: Path) -> None:
    """Panels have ids of their own, stay within the width and do not lie over each other."""
    panels = read(file)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboards_have_names_of_their_own() -> None:
    """No two dashboards have one uid or title."""
    boards = [read(file) for file in BOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(BOARDS)


def test_compose_mounts_what_the_provisioning_reads() -> None:
    """The compose file gives Grafana the folders, variables and plugin that the provisioning names."""
    service = yaml.safe_load((ONE_MACHINE / "compose.yaml").read_text())["services"]["grafana"]
    mounted = {
        place: (ONE_MACHINE / source).resolve()
        for source, place, *_ in (mount.split(":") for mount in service["volumes"])
        if source.startswith(".")
    }
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/lapwing.yaml").read_text())["providers"]
    assert mounted[provider["options"]["path"]] == GRAFANA / "dashboards"
    assert mounted["/etc/grafana/provisioning"] == GRAFANA / "provisioning"
    variables = {
        word.removeprefix("$")
        for word in yaml.safe_dump(SOURCES).replace("[", " ").split()
        if word.startswith("$")
    }
    assert variables
    assert variables <= set(service["environment"])
    types = {source["type"] for source in SOURCES} - {"prometheus"}
    assert set(service["environment"]["GF_PLUGINS_PREINSTALL"].split(",")) == types
