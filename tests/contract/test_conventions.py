"""What the project says of itself is so: its tests, rooms, dependencies, names and settings."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pydantic import BaseModel

from helpers.contract_docs import ROOT, table
from helpers.contract_tests import all_said
from lapwing import semconv
from lapwing_collector.config import Settings, load_settings
from lapwing_collector.errors import ConfigError

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OTHER = {  # a value of each setting that is not its default
    "data": "elsewhere",
    "clock": "data",
    "rules": "a.yaml,b.yaml",
    "models": "c.yaml",
    "notify": "whom.yaml",
    "alerts.ingest_stalled": "false",
    "alerts.watchdog": "true",
    "state.url": "postgresql://lapwing@db.example.org/lapwing",
    "state.password": "a secret",
    "state.wait_for_collectors": "5m",
    "lake.catalog": "postgresql://lapwing@db.example.org/lake",
    "lake.password": "a secret",
    "lake.data": "s3://bucket/prefix",
    "lake.s3.endpoint": "minio.example.org:9000",
    "lake.s3.region": "eu-central-1",
    "lake.s3.access_key": "AKIA",
    "lake.s3.secret_key": "a secret",
    "lake.s3.session_token": "a secret",
    "lake.s3.url_style": "path",
    "lake.s3.use_ssl": "false",
    "delivery.allow_networks": "10.1.0.0/16,10.2.0.1",
    "web.dashboard": "https://lapwing.example.org",
    "redact": "what.yaml",
    "http.listen": "127.0.0.1:1",
    "http.max_request_bytes": "1",
    "query.max_bytes": "1",
    "query.max_rows": "1",
    "query.memory_bytes": "134217728",
    "query.queue": "0",
    "query.timeout": "1h",
    "query.workers": "1",
    "web.listen": "127.0.0.1:1",
    "durability": "os",
    "log.max_bytes": "1",
    "dedup.unnumbered": "false",
    "http.max_in_flight_bytes": "1",
    "http.max_connections": "1",
    "http.idle_timeout": "1h",
    "http.cors_origins": "https://a,https://b",
    "grpc.listen": "127.0.0.1:1",
    "auth.tokens": "tokens",
    "tls.certificate": "certificate.pem",
    "tls.key": "key.pem",
    "tls.client_authority": "authority.pem",
    "insecure": "true",
    "write.flush_interval": "1h",
    "write.max_pending_bytes": "1",
    "logging.format": "text",
    "logging.level": "debug",
    "maintenance.share": "1",
    "maintenance.longest_query": "1h",
    "maintenance.copy_interval": "2h",
    "retention.keep": "400d",
    "retention.alerts": "400d",
    "retention.messages": "400d",
    "retention.logs": "30d",
    "retention.profiles": "400d",
    "retention.max_bytes": "1",
    "retention.models": "churn: 90d, fraud: {keep: 30d, max_bytes: 1}",
}


def is_one_sentence(text: str) -> bool:
    """Whether a text ends as a sentence does, and no other sentence ends before."""
    return len(re.findall(r"[.!?][`'\")]*(?=\s|$)", text)) == 1 and text[-1] in ".!?"


def sleeps(call: ast.Call) -> bool:
    """Whether a call lets time pass, which takes a time alone; `sleep(0)` only lets other tasks run."""
    called = getattr(call.func, "attr", getattr(call.func, "id", None))
    return called == "sleep" and len(call.args) == 1 and ast.unparse(call.args[0]) != "0"


def words(cell: str) -> set[str]:
    return {word.strip(" `") for word in cell.split(",")}


def fields(schema: type[BaseModel], section: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every setting below a section: its dotted name, default and description."""
    for key, field in schema.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from fields(type(field.default), f"{section}{key}.")
        else:
            yield f"{section}{key}", field.default, field.description or ""


def shown(name: str, default: Any) -> str:
    """A default as the page writes it."""
    match default:
        case timedelta():
            return f"`{default.total_seconds():.0f}s`"
        case tuple():
            return f"`{json.dumps(default)}`"
        case _:
            return f"`{default}`" + (f" ({default >> 20} MiB)" if name.endswith("_bytes") and default else "")


def test_every_test_says_in_one_sentence_what_it_shows() -> None:
    """Each test function has a docstring of one sentence."""
    assert len(all_said()) > 2_000
    silent = [each.place for each in all_said() if not is_one_sentence(" ".join(each.text.split()))]
    assert silent == []


def test_no_test_sleeps() -> None:
    """No test file waits for time to pass: they wait for events, and pass times as arguments."""
    sleeping = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if "sleep" in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and sleeps(node)
    ]
    assert sleeping == []


def test_every_dependency_has_its_reason() -> None:
    """ARCHITECTURE.md names the dependencies of pyproject.toml, and no other, each with a reason."""
    extras = PROJECT["project"]["optional-dependencies"]
    asked = {
        "SDK": PROJECT["project"]["dependencies"],
        "grpc": extras["grpc"],
        "tables": extras["tables"],
        "postgres": extras["postgres"],
        "scale": extras["scale"],
        "collector": extras["collector"],
        "demo": extras["demo"] + extras["ml"],
        "deploy": extras["deploy"],
        "docs": extras["docs"],
        "dev": extras["dev"],
    }
    required = {
        where: {Requirement(line).name for line in lines} - {"lapwing"} for where, lines in asked.items()
    }
    told: dict[str, set[str]] = {}
    heading = ""
    for where, packages, reason in table("ARCHITECTURE.md", "Where"):
        heading = where or heading
        told.setdefault(heading, set()).update(words(packages))
        assert reason
    assert told == required


@pytest.mark.parametrize(
    ("package", "heading"), [("lapwing_collector", "Room"), ("lapwing_collector.app", "In `app`")]
)
def test_every_room_has_its_place(package: str, heading: str) -> None:
    """A table of ARCHITECTURE.md and the layers of import-linter name each room of a package and no other."""
    folder = ROOT.joinpath("collector", *package.split("."))
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    rooms |= {path.stem for path in folder.glob("*.py")} - {"__init__"}
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == [package]]
    assert {room.strip() for layer in layers for room in layer.split("|")} == rooms
    assert {room for row in table("ARCHITECTURE.md", heading) for room in words(row[0])} == rooms


def test_every_name_on_the_wire_is_published() -> None:
    """docs/conventions.md has each name of `lapwing.semconv`, and no name of ours that is not there."""
    values = [value for name, value in vars(semconv).items() if name.isupper()]
    names = {name for value in values for name in ([value] if isinstance(value, str) else value)}
    page = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([\w.]+)`", page)) - {"lapwing.semconv"}
    assert names - told == set()
    assert {name for name in told if name.startswith(("ml.", "lapwing."))} - names == set()


def test_every_setting_is_documented() -> None:
    """The table of docs/settings.md is the schema: names, defaults, environment variables, meanings."""
    expected = [
        [
            f"`{name}`",
            shown(name, default),
            f"`LAPWING_{name.upper().replace('.', '__')}`",
            meaning,
        ]
        for name, default, meaning in fields(Settings)
    ]
    assert table("docs/settings.md", "Setting") == expected


@pytest.mark.parametrize("row", table("docs/settings.md", "Setting"), ids=lambda row: row[0].strip("`"))
def test_every_variable_sets_its_setting(row: list[str]) -> None:
    """A variable of docs/settings.md changes the setting of its row, and only that."""
    name = row[0].strip("`")
    before = load_settings(None, environment={}).model_dump()
    after = load_settings(None, environment={row[2].strip("`"): OTHER[name]}).model_dump()
    *sections, key = name.split(".")
    changed = reduce(getitem, sections, after)
    kept = reduce(getitem, sections, before)
    assert changed[key] != kept[key]
    changed[key] = kept[key]
    assert after == before


def test_the_mistake_shown_is_the_one_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message in docs/settings.md is what a misspelt key gets."""
    monkeypatch.chdir(tmp_path)
    file = Path("lapwing.yaml")
    file.write_text("clock: wall\nhttp:\n  lisen: 127.0.0.1:4318\n")
    with pytest.raises(ConfigError) as told:
        load_settings(file, environment={})
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"```\n{told.value}\n```" in page
