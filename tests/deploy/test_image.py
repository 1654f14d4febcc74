"""The image of a collector: what can be said of it without a container engine."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from helpers.deploying import DEPLOY, ROOT, read_image
from lapwing_collector.app.places.access import Access
from lapwing_collector.config import load_settings
from lapwing_collector.errors import ConfigError

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    """Hadolint has nothing to say about the Dockerfile."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: pip install '.[deploy]'")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_nobody_is_root() -> None:
    """It runs as a user by number, which Kubernetes can tell from root, and whose the data directory is."""
    image = read_image()
    uid, _, gid = image.told("USER").partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert f"--uid {uid}" in image.instructions[1][1]
    assert image.told("VOLUME") == image.environment["LAPWING_DATA"]


def test_its_variables_are_settings_that_ask_for_protection() -> None:
    """Variables of the image are settings; alone they are refused, for nobody has said who may send."""
    image = read_image()
    said = {name: value for name, value in image.environment.items() if name.startswith("LAPWING_")}
    settings = load_settings(None, environment=said)
    assert {settings.http.listen, settings.grpc.listen, settings.web.listen} == {
        "0.0.0.0:4318",
        "0.0.0.0:4317",
        "0.0.0.0:4319",
    }
    assert sorted(image.told("EXPOSE").split()) == ["4317", "4318", "4319"]
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        Access(settings)


def test_its_extras_are_those_of_the_package() -> None:
    """What is installed into the image is something that the package offers, and has the collector."""
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (line,) = [line for line in DOCKERFILE.read_text().splitlines() if line.startswith("ARG EXTRAS=")]
    wanted = set(line.removeprefix("ARG EXTRAS=").split(","))
    assert "collector" in wanted
    assert wanted <= set(offered)


def test_the_build_is_given_what_a_wheel_is_made_of() -> None:
    """Whatever a wheel is made of is let through to the build, and nothing else of the folder."""
    rules = (DOCKERFILE.with_name("Dockerfile.dockerignore")).read_text().splitlines()
    let_through = {rule[1:] for rule in rules if rule.startswith("!")}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = build["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        "constraints.txt",
        build["project"]["readme"],
        *build["project"]["license-files"],
        *(package.split("/")[0] for package in wheel["packages"]),
        *wheel["force-include"],
    }
    assert let_through == needed
    assert "*" in rules
    assert all((ROOT / path).exists() for path in let_through)
