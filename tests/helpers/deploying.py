"""The files of deploy/, read as the tools read them that start what they describe."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import yaml

from helpers.ports import free_port
from helpers.waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
ONE_MACHINE: Final = DEPLOY / "compose" / "one-machine"

COMMAND: Final = (sys.executable, "-P", "-m", "lapwing_collector.cli")
"""What `lapwing` is in an image or in /opt/lapwing."""


@dataclass(frozen=True)
class Image:
    """What the last stage of the Dockerfile makes.

    Attributes:
        instructions: Each instruction and what is told it, in order.
        environment: The variables that it sets.
    """

    instructions: tuple[tuple[str, str], ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def told(self, instruction: str) -> str:
        """What the only instruction of this name says."""
        (found,) = [rest for name, rest in self.instructions if name == instruction]
        return found

    def words(self, instruction: str) -> list[str]:
        """The words of a command that is written as a list."""
        text = self.told(instruction)
        return list(yaml.safe_load(text[text.index("[") :]))


def read_image(dockerfile: Path = DEPLOY / "docker" / "Dockerfile") -> Image:
    """Read a Dockerfile's last stage."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    instructions: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, whole.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            instructions.clear()
        instructions.append((name, rest.strip()))
    variables = dict(
        word.split("=", 1) for name, rest in instructions if name == "ENV" for word in shlex.split(rest)
    )
    return Image(tuple(instructions), variables)


def interpolated(document: Any, given: Mapping[str, str]) -> Any:
    """A compose file's document with `${NAME}`, `${NAME:-default}` and `${NAME:?why}` put in."""
    if isinstance(document, dict):
        return {key: interpolated(value, given) for key, value in document.items()}
    if isinstance(document, list):
        return [interpolated(value, given) for value in document]
    if not isinstance(document, str):
        return document

    def put_in(found: re.Match[str]) -> str:
        name, rule, text = found["name"], found["rule"], found["text"]
        if rule == ":-":
            return given.get(name) or text
        assert given.get(name), f"{name} is not given: {text}"
        return given[name]

    return re.sub(r"\$\{(?P<name>\w+)(?:(?P<rule>:[-?])(?P<text>[^}]*))?\}", put_in, document)


def as_here(text: str, moved: Mapping[str, str]) -> str:
    """A text in which addresses and paths of a container are those of this machine."""
    for there, here in moved.items():
        text = text.replace(there, here)
    return text


@dataclass(frozen=True)
class Service:
    """A service of a compose file, as a process on this machine.

    Attributes:
        moved: What is elsewhere here than in the container: ports, paths and hosts.
        said: The file that has what it says.
    """

    moved: Mapping[str, str]
    said: Path

    def call(self, port: int, path: str, token: str = "", body: bytes | None = None) -> tuple[int, bytes]:
        """Call a port, by the number that it has in the container; status and body of the answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/x-protobuf"
        url = as_here(f"http://127.0.0.1:{port}{path}", self.moved)
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def ask(self, sql: str, token: str, fmt: str = "json") -> Any:
        """What a query answers."""
        status, body = self.call(4319, f"/api/v1/sql?{urlencode({'sql': sql, 'format': fmt})}", token)
        assert status == 200, body.decode()
        return json.loads(body)

    @property
    def healthy(self) -> bool:
        """What the image's own health check says."""
        words = [as_here(word, self.moved) for word in read_image().words("HEALTHCHECK")]
        assert words[0] == "python"
        return not subprocess.run([sys.executable, *words[1:]], capture_output=True, check=False).returncode


@contextmanager
def as_process(
    file: Path, name: str, given: Mapping[str, str], folder: Path, hosts: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Run a service of Lapwing as its compose file and the image say, until it is healthy and the block ends.

    Args:
        file: The compose file.
        name: The service.
        given: What stands in the file `.env`.
        folder: An empty one for whatever it keeps and says.
        hosts: What stands here in the place of addresses of other services, in its settings.
    """
    image = read_image()
    service = interpolated(yaml.safe_load(file.read_text())["services"][name], given)
    mounted = {place: source for source, place, *_ in (mount.split(":") for mount in service["volumes"])}
    settings = folder / "etc"
    shutil.copytree(file.parent / mounted[image.told("WORKDIR")], settings)
    lapwing_yaml = settings / "lapwing.yaml"
    lapwing_yaml.write_text(as_here(lapwing_yaml.read_text(), hosts or {}))
    moved = {f":{port}": f":{free_port()}" for port in image.told("EXPOSE").split()}
    moved[image.environment["LAPWING_DATA"]] = str(folder / "data")
    environment = {
        variable: as_here(value, moved)
        for variable, value in {**image.environment, **service["environment"]}.items()
        if variable != "PATH"
    }
    words = [*image.words("ENTRYPOINT"), *service["command"]]
    assert words[0] == "lapwing"
    running = Service(moved, folder / "said")
    with started([*COMMAND, *words[1:]], environment, settings, running.said) as process:

        def healthy() -> bool:
            assert process.poll() is None, running.said.read_text()
            return running.healthy

        wait_until(healthy)
        yield running


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, said: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command with these variables alone, and end it with the block; what it says is in a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAPWING_", "OTEL_"))}
    with said.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=kept | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
