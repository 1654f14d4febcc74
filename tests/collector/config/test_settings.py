"""Settings of file, variables and flags: what is wrong is told with its place, before anything starts."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from lapwing_collector.config import load_settings
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.given import Given


def told(folder: Path, text: str, **variables: str) -> str:
    """What is said of a settings file with this text, without its folder."""
    (folder / "lapwing.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(folder / "lapwing.yaml", environment=variables)
    return str(refused.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retention:\n  keep: 90\n", "lapwing.yaml:2: retention.keep: expected a duration such as 90s, "),
        ("retention:\n  keep: 90\n", "not '90': write 90s or 90d"),
        ("write: {flush_interval: 2}", "1: write.flush_interval: expected a duration such as 90s"),
        ("retention: {models: {churn: 7}}", "1: retention.models.churn.keep: expected a duration"),
        ("retention: {models: {churn: {keep: 7}}}", "1: retention.models.churn.keep: expected a duration"),
        ("state: {wait_for_collectors: 1.5}", "1: state.wait_for_collectors: expected a duration such as"),
        ("retention: {keep: 0}", "1: retention.keep: expected a duration longer than 0s"),
    ],
)
def test_a_number_is_no_duration(tmp_path: Path, text: str, said: str) -> None:
    """Nobody who leaves the unit out loses rows by a guess about what was meant."""
    assert said in told(tmp_path, text)


def test_a_duration_says_its_unit(tmp_path: Path) -> None:
    """What has a unit is read; for retention by model, too."""
    (tmp_path / "lapwing.yaml").write_text("retention: {keep: 90d, models: {churn: 7d, fraud: {keep: 1h}}}\n")
    settings = load_settings(tmp_path / "lapwing.yaml", environment={"LAPWING_WRITE__FLUSH_INTERVAL": "20ms"})
    assert settings.retention.keep == timedelta(days=90)
    kept: Mapping[str, timedelta | None] = {
        model: limits.keep for model, limits in settings.retention.models.items()
    }
    assert kept == {"churn": timedelta(days=7), "fraud": timedelta(hours=1)}
    assert settings.write.flush_interval == timedelta(milliseconds=20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state:\n  url: mysql://me:hush@db/x\n", "2: state.url: expected an address such as postgresql://"),
        (
            "state: {url: 'postgresql://me:hush@db'}",
            "1: state.url: expected an address such as postgresql://",
        ),
        ("state: {url: 'postgresql://me:hush@db:x/d'}", "1: state.url: expected an address such as"),
        ("state: {url: 'postgresql://me:hush@[db/d'}", "1: state.url: expected an address such as"),
        ("state: {url: 'postgresql://me:hush@db/d?tls=1'}", "1: state.url: tls is not known in an address"),
        ("state: {url: 'postgresql://me:hush@db/d?sslmode=on'}", "1: state.url: expected one of disable, "),
        ("lake: {catalog: 'sqlite://me:hush@db/d'}", "1: lake.catalog: expected an address such as"),
        ("lake: {data: 'az://container'}", "1: lake.data: expected a folder, or an address such as s3://"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """File, line and key are said of it, and never the password in it."""
    message = told(tmp_path, text)
    assert message.startswith(f"lapwing.yaml:{said}")
    assert "hush" not in message


def test_what_a_variable_says_is_told_once(tmp_path: Path) -> None:
    """The message names the variable and has the wrong value one time; an address is a secret there, too."""
    said = told(tmp_path, "", LAPWING_HTTP__LISTEN="nowhere").removeprefix("environment variable ")
    assert said == "LAPWING_HTTP__LISTEN: expected an address such as 127.0.0.1:4318, not 'nowhere'"
    assert told(tmp_path, "", LAPWING_RETENTION__MODELS="churn: 7").startswith(
        "environment variable LAPWING_RETENTION__MODELS: churn.keep: expected a duration"
    )
    assert "hush" not in told(tmp_path, "", LAPWING_STATE__URL="mysql://me:hush@db/x")


def test_a_flag_is_called_what_people_wrote() -> None:
    """What was given under a name is told by it, and its value once; a setting by its own name otherwise."""
    with pytest.raises(ConfigError) as refused:
        load_settings(None, flags={"query.timeout": Given("5", "--timeout")}, environment={})
    assert (
        str(refused.value)
        == "--timeout: expected a duration such as 90s, 1h30m or 7d, not '5': write 5s or 5d"
    )
    with pytest.raises(ConfigError, match=r"^web\.listen: expected an address such as .*, not 'x'$"):
        load_settings(None, flags={"web.listen": "x", "http.listen": Given(None, "--http")}, environment={})
