"""The compose files say what their schema allows, and name what is there."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.deploying import DEPLOY, ROOT, read_image
from lapwing_collector.config import load_settings

FILES = sorted(DEPLOY.glob("compose/*/compose.yaml"))


def read(file: Path) -> dict[str, Any]:
    """A compose file."""
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def mounts(file: Path) -> list[tuple[str, str, str]]:
    """The service, the folder or volume and the place in the container of each mount."""
    return [
        (name, *mount.split(":")[:2])
        for name, service in read(file)["services"].items()
        for mount in service.get("volumes", [])
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_it_is_what_the_schema_of_compose_allows(file: Path) -> None:
    """The published schema of compose files has nothing against it."""
    schemas = pytest.importorskip("check_jsonschema.builtin_schemas", reason="pip install '.[deploy]'")
    jsonschema = pytest.importorskip("jsonschema")
    schema = schemas.get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(read(file))] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_whatever_it_names_is_there(file: Path) -> None:
    """Folders that are mounted exist, names are declared, and images have versions."""
    document = read(file)
    for _, source, _ in mounts(file):
        if source.startswith("."):
            assert (file.parent / source).exists(), source
        else:
            assert source in document["volumes"], source
    for name, service in document["services"].items():
        assert set(service.get("secrets", [])) <= set(document.get("secrets", {}))
        assert set(service.get("depends_on", {})) <= set(document["services"])
        if service["image"] != "lapwing":
            tag = service["image"].partition(":")[2]
            assert tag, name
            assert tag != "latest", name
        else:
            assert (file.parent / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).exists()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_ports_are_published_to_this_machine_only(file: Path) -> None:
    """Nothing is open to a network by default, and each port of Lapwing is one that it listens on."""
    exposed = set(read_image().told("EXPOSE").split())
    for service in read(file)["services"].values():
        for published in service.get("ports", []):
            address, _, inside = published.split(":")
            assert address == "127.0.0.1"
            assert service["image"] != "lapwing" or inside in exposed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_data_outlives_the_container(file: Path) -> None:
    """Where Lapwing keeps its data is a volume, and the rest of its file system cannot be written."""
    places = read_image().environment["LAPWING_DATA"]
    for name, service in read(file)["services"].items():
        if service["image"] != "lapwing":
            continue
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        mounted = {place: source for user, source, place in mounts(file) if user == name}
        assert not mounted[places].startswith(".")


@pytest.mark.parametrize(
    "file", sorted(DEPLOY.glob("compose/*/lapwing/lapwing.yaml")), ids=lambda file: file.parts[-3]
)
def test_settings_are_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings beside a compose file have no mistakes."""
    for name in ("WRITE_TOKEN", "QUERY_TOKEN", "DB_PASSWORD", "S3_SECRET"):
        monkeypatch.setenv(f"LAPWING_{name}", "x" * 32)
    assert load_settings(file, environment={}).auth.tokens is not None
