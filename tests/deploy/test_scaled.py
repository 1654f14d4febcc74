"""The parts of the compose file with PostgreSQL and object storage, as processes with the same settings."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from helpers.collector import prediction, request
from helpers.deploying import DEPLOY, ONE_MACHINE, Service, as_here, as_process, read_image
from helpers.waiting import wait_until

if TYPE_CHECKING:
    from helpers.objects import ObjectStore
    from helpers.postgres import Server

pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")

SCALED = DEPLOY / "compose" / "scaled"
WRITE, QUERY = "write-token-of-the-test", "query-token-of-the-test"
SERVICES = yaml.safe_load((SCALED / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def parts(
    tmp_path_factory: pytest.TempPathFactory, postgres: "Server", objects: "ObjectStore"
) -> Iterator[dict[str, Service]]:
    """One of the collectors, and what answers people; database and store are those of the tests."""
    lake = objects.empty()
    keys = objects.settings(lake)["s3"]
    assert isinstance(keys, dict)
    given = {
        "LAPWING_WRITE_TOKEN": WRITE,
        "LAPWING_QUERY_TOKEN": QUERY,
        "LAPWING_DB_PASSWORD": "none-is-asked-for",
        "LAPWING_S3_SECRET": str(keys["secret_key"]),
    }
    hosts = {
        "postgresql://lapwing@database/lake": postgres.database(),
        "postgresql://lapwing@database/alerts": postgres.database(),
        "s3://lapwing/lake": lake,
        "store:7070": objects.endpoint,
        "access_key: lapwing": f"access_key: {keys['access_key']}",
    }
    with ExitStack() as running:
        yield {
            name: running.enter_context(
                as_process(SCALED / "compose.yaml", name, given, tmp_path_factory.mktemp(name), hosts)
            )
            for name in ("collector-1", "web")
        }


def test_what_one_part_receives_another_answers(parts: dict[str, Service]) -> None:
    """A prediction that a collector acknowledged is in the lake that the other process answers from."""
    now = time.time_ns()
    body = request([prediction("churn", "p", now, inputs={"age": 3})])
    assert parts["collector-1"].call(4318, "/v1/logs", WRITE, body)[0] == 200
    asked = "SELECT count(*) AS n FROM models"
    wait_until(lambda: parts["web"].ask(asked, QUERY) == [{"n": 1}])
    assert parts["web"].ask("SELECT inputs.age AS age FROM predictions.churn", QUERY) == [{"age": 3}]
    assert parts["collector-1"].call(4319, "/metrics", QUERY)[0] == 200
    assert parts["collector-1"].call(4319, "/metrics", WRITE)[0] == 403


def test_both_shapes_have_the_same_tokens_and_rules() -> None:
    """Who goes from one shape to the other finds the same files."""
    for name in ("tokens", "rules/every-model.yaml"):
        assert (SCALED / "lapwing" / name).read_text() == (ONE_MACHINE / "lapwing" / name).read_text()


def test_the_balancer_leads_to_parts_that_there_are() -> None:
    """Each server behind nginx is a service of the file, and each part of Lapwing is behind it."""
    text = (SCALED / "nginx.conf").read_text()
    behind = re.findall(r"^\s*server ([\w-]+):(\d+);", text, re.MULTILINE)
    exposed = set(read_image().told("EXPOSE").split())
    assert {port for _, port in behind} == exposed
    lapwings = {name for name, service in SERVICES.items() if service["image"] == "lapwing"}
    assert {name for name, _ in behind} == lapwings
    assert set(re.findall(r"^\s*listen (\d+);", text, re.MULTILINE)) == exposed


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    """Nginx itself finds nothing wrong with it, but for names that only the containers' network has."""
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("needs nginx")
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    parts = tuple(map(int, re.findall(r"nginx/(\d+)\.(\d+)\.(\d+)", version)[0]))
    text = re.sub(r"server ([\w-]+):", "server 127.0.0.1:", (SCALED / "nginx.conf").read_text())
    if parts < (1, 25, 1):  # where this was an option of `listen`
        text = as_here(text, {"listen 4317;": "listen 4317 http2;", "http2 on;": ""})
    kept = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{each}_temp_path {tmp_path / each};" for each in kept)
    text = text.replace("\nhttp {", f"\nhttp {{ {places}")
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/pid; error_log stderr;\n{text}")
    done = subprocess.run(
        [nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
