"""The chart, rendered by Helm, is what Kubernetes accepts, and its settings are what Lapwing accepts."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

import lapwing
from helpers.deploying import DEPLOY, read_image
from lapwing_collector.cli.main import PANELS
from lapwing_collector.config import load_settings
from lapwing_collector.query import check_select
from lapwing_collector.rules import load_rule_file

CHART = DEPLOY / "helm" / "lapwing"
VERSIONS = ("1.25", "1.31", "1.37")
"""The oldest that the chart allows, one in between, and the newest whose schemas are at hand."""

TOKENS = {"auth": {"existingSecret": "lapwing-tokens"}}
SHARED = {
    "lake": {"catalog": "postgresql://lapwing@db/lake", "data": "s3://bucket/lake"},
    "state": {"url": "postgresql://lapwing@db/alerts"},
}
CASES: dict[str, Mapping[str, Any]] = {
    "scaled": {**TOKENS, "shape": "scaled", "config": SHARED},
    "scaled by hand": {
        **TOKENS,
        "shape": "scaled",
        "config": SHARED,
        "collectors": {"replicas": 5},
        "web": {"autoscaling": {"enabled": False}, "replicas": 3},
        "tls": {"existingSecret": "lapwing-tls"},
    },
    "tokens": TOKENS,
    "insecure": {"auth": {"insecure": True}},
    "everything": {
        **TOKENS,
        "tls": {"existingSecret": "lapwing-tls"},
        "imagePullSecrets": [{"name": "registry"}],
        "notify": "route: {receiver: team}\nreceivers: []\n",
        "models": {"churn.yaml": "model: churn\n"},
        "environment": [{"name": "SLACK", "valueFrom": {"secretKeyRef": {"name": "slack", "key": "url"}}}],
        "environmentFrom": [{"secretRef": {"name": "more"}}],
        "persistence": {"size": "1Ti", "storageClassName": "fast", "annotations": {"a": "b"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "ml"},
        "priorityClassName": "high",
        "serviceAccount": {"annotations": {"a": "b"}},
        "networkPolicy": {
            "senders": [{"namespaceSelector": {"matchLabels": {"team": "ml"}}}],
            "people": [{"podSelector": {}}],
            "egressPorts": [],
            "egress": [{"to": [{"podSelector": {}}]}],
        },
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"a": "b"}, "tokenSecret": {"name": "q"}}},
    },
}


class RefusedError(Exception):
    """Helm does not render the chart with these values."""


def render(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What Helm itself makes of some values: the program where it is, else its library for Python."""
    return [json.loads(each) for each in _rendered(json.dumps(values))]


@cache
def _rendered(values: str) -> list[str]:
    texts = _by_program(values) if shutil.which("helm") else _by_library(values)
    documents = [document for text in texts for document in yaml.safe_load_all(text)]
    return [json.dumps(document) for document in documents if document]


def _by_program(values: str) -> Iterator[str]:
    done = subprocess.run(
        ["helm", "template", "watch", str(CHART), "--namespace", "ml", "--values", "-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise RefusedError(done.stderr)
    yield done.stdout


def _by_library(values: str) -> Iterator[str]:
    helm = pytest.importorskip("helm_python", reason="needs helm, or pip install '.[deploy]'")
    try:
        with helm.Chart.load(str(CHART)) as chart:
            given = json.loads(values)
            chart.validate_schema(given)
            rendered = chart.render(given, name="watch", namespace="ml")
    except helm.HelmError as error:
        raise RefusedError(str(error)) from error
    for name, text in rendered.items():
        if name.endswith(".yaml"):
            yield text


def one(documents: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """The only document of a kind, and of a name where one is given."""
    (found,) = [each for each in documents if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_accepts_what_it_makes(case: str, version: str) -> None:
    """Every document is valid by Kubernetes' own schema, in which nothing unknown is allowed."""
    validate = pytest.importorskip("kubernetes_validate", reason="pip install '.[deploy]'")
    for document in render(CASES[case]):
        if not document["apiVersion"].startswith("monitoring.coreos.com/"):
            validate.validate(document, version, strict=True)


def test_nobody_may_send_by_oversight() -> None:
    """Without tokens, and without saying that none are wanted, the chart refuses and says what to do."""
    with pytest.raises(RefusedError, match=r"kubectl create secret generic lapwing-tokens"):
        render({})


def test_a_shape_of_several_needs_what_they_share() -> None:
    """Several pods without a lake and a state in common are refused."""
    for config in ({}, {"lake": SHARED["lake"]}, {"state": SHARED["state"]}):
        with pytest.raises(RefusedError, match=r"config\.lake\.catalog"):
            render({**TOKENS, "shape": "scaled", "config": config})


def test_shapes_run_commands_that_there_are() -> None:
    """One pod does everything; of several, collectors receive and others answer, as many as asked for."""
    told = {
        case: {
            (each["kind"], *each["spec"]["template"]["spec"]["containers"][0]["args"]): each["spec"].get(
                "replicas"
            )
            for each in render(CASES[case])
            if each["kind"] in {"StatefulSet", "Deployment"}
        }
        for case in ("tokens", "scaled", "scaled by hand")
    }
    assert told == {
        "tokens": {("StatefulSet", "up"): 1},
        "scaled": {("StatefulSet", "collect"): 2, ("Deployment", "serve"): None},
        "scaled by hand": {("StatefulSet", "collect"): 5, ("Deployment", "serve"): 3},
    }
    scaler = one(render(CASES["scaled"]), "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == one(render(CASES["scaled"]), "Deployment")["metadata"]["name"]
    assert {"up", "collect", "serve"} <= {*chain(*PANELS.values())}


@pytest.mark.parametrize(
    "wrong",
    [
        {"persistance": {"size": "1Gi"}},
        {"persistence": {"size": "big"}},
        {"config": {"data": "/elsewhere"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"rules": {"no-ending": "groups: []"}},
    ],
    ids=json.dumps,
)
def test_a_mistake_in_values_is_refused(wrong: Mapping[str, Any]) -> None:
    """Values that the chart does not know, or that cannot be, are refused by its schema."""
    with pytest.raises(RefusedError, match=r"(?i)additional|propertyname|pattern|must"):
        render({**TOKENS, **wrong})


def test_its_files_are_read_by_lapwing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid out as the volume lays them out, its settings and rules have no mistakes."""
    documents = render(TOKENS)
    content = one(documents, "ConfigMap")["data"]
    spec = one(documents, "StatefulSet")["spec"]["template"]["spec"]
    (files,) = [volume["projected"] for volume in spec["volumes"] if volume["name"] == "files"]
    for source in files["sources"]:
        for item in source.get("configMap", {}).get("items", []):
            path = tmp_path / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(content[item["key"]])
    (tmp_path / "tokens").write_text("a write token-of-the-test-of-the-chart\n")
    (container,) = spec["containers"]
    monkeypatch.chdir(tmp_path)
    said = {name: value for name, value in read_image().environment.items() if name.startswith("LAPWING_")}
    said |= {each["name"]: each["value"] for each in container["env"]}
    settings = load_settings(tmp_path / "lapwing.yaml", environment=said)
    assert settings.data == Path("/var/lib/lapwing/data")
    assert settings.auth.tokens == Path("/etc/lapwing/tokens")
    with duckdb.connect(":memory:") as parser:
        for rule_file in (tmp_path / "rules").glob("*.yaml"):
            read = load_rule_file(
                rule_file.read_text(), str(rule_file), check_sql=lambda sql: check_select(parser, sql)
            )
            assert read.model_groups


def test_the_chart_has_the_version_of_the_package() -> None:
    """A chart starts the image of the version that it was released with."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {str(chart["version"]), str(chart["appVersion"])} == {lapwing.__version__}


def test_rules_are_those_of_compose() -> None:
    """Rules of every model are the same however Lapwing is deployed."""
    ours = yaml.safe_load((DEPLOY / "compose/one-machine/lapwing/rules/every-model.yaml").read_text())
    (alert, *_) = ours["groups"][0]["rules"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    (group,) = yaml.safe_load(values["rules"]["every-model.yaml"])["groups"]
    assert group["rules"] == [alert]
    assert {**group, "rules": []} == {**ours["groups"][0], "rules": []}


@pytest.mark.parametrize("case", CASES)
def test_pods_may_do_as_little_as_the_image_needs(case: str) -> None:
    """Containers are not root, cannot write but where they must, and ports and user are the image's."""
    image = read_image()
    for document in render(CASES[case]):
        template = document["spec"].get("template", document) if "spec" in document else {}
        spec = template.get("spec", {})
        if "containers" not in spec:
            continue
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert f"{spec['securityContext']['runAsUser']}" == image.told("USER").partition(":")[0]
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            exposed = {str(port["containerPort"]) for port in container.get("ports", [])}
            assert exposed <= set(image.told("EXPOSE").split())


@pytest.mark.parametrize("case", CASES)
def test_services_reach_the_ports_of_pods(case: str) -> None:
    """Each service selects the labels of a pod and names ports that it has; so do probes and policies."""
    documents = render(CASES[case])
    pods = [each["spec"]["template"] for each in documents if each["kind"] in {"StatefulSet", "Deployment"}]
    for service in [each for each in documents if each["kind"] == "Service"]:
        selected = [
            pod for pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        assert selected, service["metadata"]["name"]
        for pod in selected:
            names = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        names = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in names
            assert container[probe]["httpGet"]["path"] == (
                "/readyz" if probe == "readinessProbe" else "/healthz"
            )
