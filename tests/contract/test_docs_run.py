"""What the pages tell people to type works as it stands."""

import json
import os
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import duckdb
import pytest
import yaml

import lapwing
from helpers.collector import prediction, project, request, running
from helpers.contract_docs import Block, blocks, table
from helpers.sdk_receiver import receiver
from lapwing.testing import Record, capture
from lapwing_collector.config import load_model, load_settings
from lapwing_collector.lake import declared_type
from lapwing_collector.notify import read_notify_file
from lapwing_collector.query import check_select
from lapwing_collector.redact import read_policy
from lapwing_collector.rules import load_cases, load_rule_file

PYTHON = {
    page: list(found)
    for page, found in groupby(blocks("python"), key=lambda block: block.page)
    if page != "docs/tutorial.md"  # its files run in test_tutorial.py, as its reader runs them
}
QUERIES = [
    Block(block.page, block.line + number, query)
    for block in blocks("")
    for number, line in enumerate(block.code.splitlines())
    for query in re.findall(r'^lapwing sql "(.+?)"', line)
] + blocks("sql")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a collector answers SQL that has a prediction of the model on the pages."""
    with running(project(tmp_path_factory.mktemp("asked"))) as collector:
        assert collector.post(request([prediction("churn", "p", 10**18)]))[0] == 200
        yield f"http://{collector.web}"


def run_python(page: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Run a page's Python, its blocks one after the other; gives what examples that really send have sent."""
    with receiver() as collector, capture():
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        names: dict[str, object] = {"__name__": "page"}
        try:
            for block in PYTHON[page]:
                code = block.code.replace("http://localhost:4318", collector.endpoint)
                code = "\n" * (block.line - 1) + code.replace("http://localhost:4319", asked)
                exec(compile(code, page, "exec"), names)
        finally:
            lapwing.shutdown()
        return collector.records


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs(page: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, one after the other, run as they stand."""
    run_python(page, asked, monkeypatch)


def test_opentelemetrys_own_sdk_can_send(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example without Lapwing's SDK sends the prediction that is shown above it."""
    (sent,) = run_python("docs/conventions.md", asked, monkeypatch)
    assert (sent.event, sent.model, sent.attributes["lapwing.sequence"]) == ("ml.prediction", "churn", 1)
    assert sent.inputs == {"age": 31, "plan": "free", "referrer": None}
    assert sent.output == {"score": 0.25}
    assert sent.resource["lapwing.process.id"]


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_the_yaml_of_a_page_is_read(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any kind on a page are what their readers accept, their SQL included."""
    content = yaml.safe_load(block.code)
    if isinstance(content, list) or "groups" in content:
        read_rules(block, whole="groups" in content)
    elif "rule_files" in content:
        assert load_cases(block.code, str(block)).tests
    elif "route" in content:
        read_notify_file(with_secrets(block, tmp_path, monkeypatch))
    elif "model" in content:
        load_model(block.code, str(block), declared_type)
    elif "models" in content:
        file = tmp_path / "redact.yaml"
        file.write_text(re.sub(r"\$\{.+?\}", "0123456789abcdef", block.code))
        assert read_policy(file)
    else:
        file = tmp_path / "lapwing.yaml"
        file.write_text(block.code)
        for name in re.findall(r"\$\{env:(\w+)\}", block.code):
            monkeypatch.setenv(name, "secret")
        load_settings(file, environment={})


def read_rules(block: Block, *, whole: bool) -> None:
    """Read rules, of a whole file or of the list in a group."""
    group = "groups:\n  - name: page\n    rules:\n"
    text = block.code if whole else group + textwrap.indent(textwrap.dedent(block.code), "      ")
    with duckdb.connect(":memory:") as parser:
        read = load_rule_file(text, str(block), check_sql=lambda sql: check_select(parser, sql))
        assert read.rules or read.model_groups


def with_secrets(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a notify file, and set its variables: to an address, or to a login where they stand in one."""
    for before, name in re.findall(r"(\S?)\$\{env:(\w+)\}", block.code):
        monkeypatch.setenv(name, "json://localhost" if before in ("", '"') else "user:password")
    (folder / "secret").write_text("token")
    file = folder / "notify.yaml"
    file.write_text(re.sub(r"\$\{file:.+?\}", f"${{file:{folder / 'secret'}}}", block.code))
    return file


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_the_queries_of_a_page_may_run(query: Block) -> None:
    """A query on a page, alone or in a `lapwing sql` command, is one that the collector lets through."""
    with duckdb.connect(":memory:") as parser:
        check_select(parser, query.code)


def test_the_duties_of_the_page_are_those_there_are(asked: str) -> None:
    """docs/http-api.md lists what can be ordered over HTTP, and nothing else."""
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{asked}/api/v1/admin/none", b"{}", timeout=60)
    told = json.loads(refused.value.read())["detail"].partition("there are: ")[2].split(", ")
    assert [row[0].strip("`") for row in table("docs/http-api.md", "Duty")] == told


def test_the_examples_are_found() -> None:
    """The pages known to have examples are among those that the tests above look at."""
    assert PYTHON.keys() >= {"docs/conventions.md", "docs/sdk.md"}
    assert {block.page for block in blocks("yaml")} >= {
        "docs/notifications.md",
        "docs/rules.md",
        "docs/settings.md",
    }
    assert {query.page for query in QUERIES} >= {"docs/lake.md", "docs/sdk.md"}
