"""The service of the compose file for one machine, as a process: same command, variables and settings."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from helpers.collector import label, prediction, request
from helpers.deploying import DEPLOY, ONE_MACHINE, Service, as_here, as_process
from helpers.ports import free_port
from helpers.waiting import wait_until
from lapwing_collector.app.upkeep.keeping import set_reference_in

WRITE, QUERY = "write-token-of-the-test", "query-token-of-the-test"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The collector, with some predictions of one model, a truth, and a reference."""
    folder = tmp_path_factory.mktemp("one-machine")
    given = {"LAPWING_WRITE_TOKEN": WRITE, "LAPWING_QUERY_TOKEN": QUERY}
    with as_process(ONE_MACHINE / "compose.yaml", "lapwing", given, folder) as service:
        now = time.time_ns()
        records = [
            prediction("churn", f"p{n}", now - n * 10**9, inputs={"age": n}, output={"value": n % 2})
            for n in range(1, 200)
        ]
        records.append(label("churn", "p1", now - 10**9, now, 1))
        assert service.call(4318, "/v1/logs", WRITE, request(records))[0] == 200
        wait_until(lambda: service.ask("SELECT count(*) AS n FROM models", QUERY)[0]["n"] == 1)
        set_reference_in(
            folder / "data",
            "churn",
            "train",
            pa.table({"inputs.age": list(range(200))}),
            window=None,
            rolling=None,
            same_hours=None,
            role="drift",
            keep_rows=True,
        )
        yield service


def test_a_token_is_needed_and_allows_what_its_file_says(collector: Service) -> None:
    """Without a token nothing is taken or told; services may send and not ask, people ask and not send."""
    empty = request([])
    for token, status in (("", 401), ("another-token-altogether", 401), (QUERY, 403), (WRITE, 200)):
        assert collector.call(4318, "/v1/logs", token, empty)[0] == status
    for token, status in (("", 401), (WRITE, 403), (QUERY, 200)):
        assert collector.call(4319, "/metrics", token)[0] == status
    assert collector.call(4318, "/healthz")[0] == 200


def test_a_health_check_fails_where_nobody_listens(collector: Service) -> None:
    """The image's health check tells a collector that runs from none."""
    assert collector.healthy
    assert not Service({":4319": f":{free_port()}"}, collector.said).healthy


def test_rules_of_every_model_are_judged(collector: Service) -> None:
    """The rule file beside the compose file has rules for a model that nobody named before."""

    def names() -> set[str]:
        status, body = collector.call(4319, "/api/v1/rules", QUERY)
        assert status == 200
        return {rule["rule"] for rule in json.loads(body)}

    wait_until(lambda: "every-model[churn]/PredictErrors" in names())


def asked_by_grafana() -> dict[str, dict[str, Any]]:
    """Each query of the dashboard over the lake, by the title of its panel."""
    board = json.loads((DEPLOY / "grafana/dashboards/models.json").read_text())
    found = {panel["title"]: target for panel in board["panels"] for target in panel["targets"]}
    found["the variable"] = board["templating"]["list"][0]["query"]["infinityQuery"]
    return found


@pytest.mark.parametrize("title", asked_by_grafana())
def test_a_panel_of_grafana_is_answered(title: str, collector: Service) -> None:
    """What a panel asks is answered, for any interval that one can choose, with the columns that it shows."""
    board = json.loads((DEPLOY / "grafana/dashboards/models.json").read_text())
    (every,) = [each for each in board["templating"]["list"] if each["name"] == "every"]
    target = asked_by_grafana()[title]
    assert target["url"] == "/api/v1/sql"
    (parameter,) = target["url_options"]["params"]
    assert parameter["key"] == "sql"
    now = int(time.time() * 1000)
    chosen = every["query"].split(",") if "${every}" in parameter["value"] else [""]
    for each in chosen:
        sql = as_here(
            parameter["value"],
            {
                "${model}": "churn",
                "${every}": each,
                "${__from}": str(now - 3_600_000),
                "${__to}": str(now + 60_000),
            },
        )
        assert "${" not in sql
        shown = [column["selector"] for column in target["columns"]]
        assert set(shown) <= set(collector.ask(sql, QUERY, "columns")["names"])
    if title != "What rules recorded":  # there is nothing yet
        assert collector.ask(sql, QUERY)
