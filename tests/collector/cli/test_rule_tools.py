"""`lapwing rules check`, `test` and `backtest` as commands: what the page says of them holds."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from helpers.contract_docs import ROOT, blocks
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError
from lapwing_collector.rules.cases import AlertCase, Case, CaseFile, NotifyCase, RecordCase

PAGE = "docs/alert-tools.md"
UNSEEN = "; models and fields were not looked up: there is no lake yet"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["rules", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that stand on the page."""
    monkeypatch.chdir(tmp_path)
    for block in [*blocks("yaml"), *blocks("csv")]:
        if block.page == PAGE:
            name, _, text = block.code.partition("\n")
            (tmp_path / name.removeprefix("# ")).write_text(text)
    return tmp_path


def test_the_example_of_the_page_passes_its_check_and_its_tests(page: Path) -> None:
    """Rules, test file and labels as they stand there."""
    checked = run("check", page / "rules.yaml", "--data", page / "none", "--lint-fatal")
    assert (checked.exit_code, checked.stdout) == (0, f"2 rules in 1 file are fine{UNSEEN}\n")
    tested = run("test", page / "rules_test.yaml")
    assert tested.exit_code == 0, tested.stdout
    assert tested.stdout.splitlines()[-1] == "2 tests passed"


def test_no_rule_file_is_no_fine_rule_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who checks in the wrong folder hears where no file is, and a script ends."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"^no file fits rules/\*\.yaml in {tmp_path}$"):
        run("check")
    (tmp_path / "lapwing.yaml").write_text("rules: ['a/*.yaml', 'b/*.yaml']\n")
    with pytest.raises(ConfigError, match=rf"^no file fits a/\*\.yaml, b/\*\.yaml in {tmp_path}$"):
        run("check")


def test_the_page_has_every_key() -> None:
    """Of test files, and of what is in them."""
    text = (ROOT / PAGE).read_text()
    for model in (CaseFile, Case, AlertCase, RecordCase, NotifyCase):
        for name in model.model_fields:
            assert f"`{name}`" in text, name


def test_a_test_that_fails_is_told_to_people_scripts_and_ci(page: Path) -> None:
    """The exit code is 1, and each has the difference."""
    file = page / "rules_test.yaml"
    file.write_text(file.read_text().replace("{version: v7, severity", "{version: v8, severity"))
    told = run("test", file, "--junit", page / "junit.xml")
    assert told.exit_code == 1
    shown = told.stdout.splitlines()
    assert "FAILED" in shown[0]
    # As the page shows it.
    on_page = (ROOT / PAGE).read_text()
    for line in shown[1:5]:
        assert line in on_page
    assert shown[-1] == "2 tests: 1 failed"
    (suite,) = ET.parse(page / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    first, second = suite
    assert first[0].text is not None
    assert "expected 'v8', got 'v7'" in first[0].text
    assert len(second) == 0
    answer = run("test", file, "--run", "accuracy", "--json")
    assert answer.exit_code == 0
    assert [each["name"] for each in json.loads(answer.stdout)] == ["accuracy of an hour"]


def test_check_tells_by_its_exit_code_what_it_found(page: Path) -> None:
    """Mistakes are 1, hints alone 3 where they are to count."""
    file = page / "rules.yaml"
    good = file.read_text()
    file.write_text(good.replace("        min_samples: 50\n", ""))
    nothing = ("--data", str(page / "none"))
    assert run("check", file, *nothing).exit_code == 0
    odd = run("check", file, "--lint-fatal", *nothing)
    assert (odd.exit_code, odd.stdout.splitlines()[-1]) == (3, f"2 rules in 1 file: 1 hint{UNSEEN}")
    assert run("check", file, "--lint-fatal", "--no-lint", *nothing).exit_code == 0
    file.write_text(good.replace("condition: value >", "condition: value > >"))
    wrong = run("check", file, "--json", *nothing)
    assert wrong.exit_code == 1
    (found,) = json.loads(wrong.stdout)["findings"]
    assert (found["kind"], found["line"]) == ("mistake", 13)
