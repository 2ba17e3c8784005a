"""The manifests of deploy/kubernetes: valid by their schemas, in agreement with each other and with the code."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.observe.prometheus_rule import MANIFEST, RULES, render
from services.edge.configuration import from_environ as edge_settings
from services.metrics.answers import CapacityAnswer
from services.metrics.plan_catalog import PLAN_SERIES
from services.metrics.settings import from_environ as metrics_settings
from services.sessions.settings import from_environ as sessions_settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
SCHEMAS = Path(__file__).with_name("schemas")
FILES = [*(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml"), *FOLDER.glob("*/*.yaml")]
SCALERS = sorted((FOLDER / "autoscaling").glob("*.yaml"))
SERIES = "fairlead_cluster_recommended_edges"


def documents(path: Path) -> list[Any]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


OBJECTS = [one for path in FILES for one in documents(path)]
DEPLOYMENTS = {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == "Deployment"}
KUSTOMIZATION: Any = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())


@cache
def schema_of(kind: str) -> Any:
    """The schema of an apiVersion and kind; a field that it does not have is an error."""
    own = {
        "keda.sh/v1alpha1 ScaledObject": "keda-2.21.json",
        "monitoring.coreos.com/v1 PodMonitor": "prometheus-operator-0.85.json",
        "monitoring.coreos.com/v1 PrometheusRule": "prometheus-operator-0.85-rules.json",
    }
    if kind in own:
        return _strict(json.loads((SCHEMAS / own[kind]).read_text()))
    found = json.loads((SCHEMAS / "kubernetes-1.37.json").read_text())
    return {**found["kinds"][kind], "definitions": found["definitions"]}


def _strict(schema: Any) -> Any:
    if isinstance(schema, dict):
        closed = {"additionalProperties": False} if "properties" in schema and schema.get("type") == "object" else {}
        return {**closed, **{key: _strict(value) for key, value in schema.items()}}
    return [_strict(one) for one in schema] if isinstance(schema, list) else schema


def check(document: Any) -> None:
    kind = f"{document['apiVersion']} {document['kind']}"
    jsonschema.validate(document, schema_of(kind), jsonschema.Draft202012Validator)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_manifest_is_valid(path: Path) -> None:
    found = documents(path)
    assert found
    for document in found:
        check(document)


def test_the_schemas_refuse_what_is_misspelt() -> None:
    for path in (
        "edges.yaml",
        "autoscaling/hpa.yaml",
        "autoscaling/keda-prometheus.yaml",
        "monitoring.yaml",
        "rules.yaml",
    ):
        document = documents(FOLDER / path)[0]
        document["spec"]["minReplica"] = 1
        with pytest.raises(jsonschema.ValidationError, match="minReplica"):
            check(document)


def test_the_kustomization_has_every_file_but_those_of_which_one_is_chosen() -> None:
    listed = {
        *KUSTOMIZATION["resources"],
        *(file for one in KUSTOMIZATION["configMapGenerator"] for file in one["files"]),
    }
    there = {path.name for path in FOLDER.iterdir() if path.suffix in (".yaml", ".toml")}
    assert there - listed == {"kustomization.yaml", "monitoring.yaml", "rules.yaml"}
    assert listed <= there
    guide = (FOLDER / "README.md").read_text()
    assert all(f"`{path.relative_to(FOLDER)}`" in guide for path in FILES if path.name not in listed)


def test_the_operator_reads_the_rules_that_prometheus_reads() -> None:
    assert MANIFEST.read_text() == render(), "run: python -m deploy.observe.prometheus_rule"
    (manifest,) = documents(MANIFEST)
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    assert manifest["spec"]["groups"] == groups


def test_the_configuration_is_taken_by_every_service_and_has_the_namespaces_of_the_containers() -> None:
    environ: dict[str, str] = {}
    for document in OBJECTS:
        if document["kind"] == "ConfigMap":
            environ |= document["data"]
    assert environ["FAIRLEAD_CONFIG"] == "/etc/fairlead/fairlead.toml"
    environ["FAIRLEAD_CONFIG"] = str(FOLDER / "fairlead.toml")
    environ |= {"FAIRLEAD_POSTGRES_URL": "postgresql://a:b@c/d", "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "x" * 32}
    edge_settings(environ)
    sessions_settings(environ)
    capacity = metrics_settings(environ).capacity
    files = (FOLDER / "fairlead.toml", ROOT / "deploy/containers.toml")
    first, second = (tomllib.loads(path.read_text()) for path in files)
    assert first == second
    for path in SCALERS:
        assert bounds(path) == (capacity.min_edges, capacity.max_edges)


def containers(deployment: str) -> list[Any]:
    return list(DEPLOYMENTS[deployment]["spec"]["template"]["spec"]["containers"])


def bounds(path: Path) -> tuple[int, int]:
    (document,) = documents(path)
    spec = document["spec"]
    return spec.get("minReplicas", spec.get("minReplicaCount")), spec.get("maxReplicas", spec.get("maxReplicaCount"))


def test_an_edge_is_given_the_time_to_drain_and_the_autoscaler_its_number() -> None:
    spec = DEPLOYMENTS["edge"]["spec"]
    pod = spec["template"]["spec"]
    (edge,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= edge["lifecycle"]["preStop"]["sleep"]["seconds"] + 15
    assert edge["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert edge["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert "replicas" not in spec, "each apply would take the autoscaler's number back"
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_pods_are_started_again_whatever_happens_and_only_a_process_that_hangs_is_killed() -> None:
    assert {"Job", "CronJob", "Pod"}.isdisjoint(one["kind"] for one in OBJECTS), "a job gives up"
    for name, deployment in DEPLOYMENTS.items():
        pod = deployment["spec"]["template"]["spec"]
        assert pod.get("restartPolicy", "Always") == "Always" and "initContainers" not in pod
        for container in containers(name):
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_told_no_ports_by_services(name: str) -> None:
    """Kubernetes would set FAIRLEAD_..._PORT to tcp://... for a Service of such a name."""
    assert DEPLOYMENTS[name]["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_services_and_budgets_select_the_pods_and_their_ports(name: str) -> None:
    spec = DEPLOYMENTS[name]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (service,) = (
        one for one in OBJECTS if one["kind"] == "Service" and one["spec"]["selector"].items() <= labels.items()
    )
    answers_unready = service["spec"].get("publishNotReadyAddresses", False)
    assert answers_unready == (name == "sessions"), "it answers queries while it cannot fold; an edge takes no clients"
    ports = {one["name"]: one["containerPort"] for one in containers(name)[0]["ports"]}
    assert [(one["targetPort"], one["port"]) for one in service["spec"]["ports"]] == list(ports.items())
    defaults = {"edge": 8101, "sessions": 8201, "metrics": 8301}
    assert ports == {"http": defaults[name]}
    secrets = {
        one["valueFrom"]["secretKeyRef"]["key"]
        for one in containers(name)[0]["env"]
        if "secretKeyRef" in one.get("valueFrom", {})
    }
    guide = (FOLDER / "README.md").read_text()
    assert all(f"--from-literal={key}=" in guide for key in secrets)


@pytest.mark.parametrize("path", SCALERS, ids=lambda path: path.name)
def test_scale_in_takes_one_edge_at_a_time_and_waits_longer_than_its_drain(path: Path) -> None:
    (document,) = documents(path)
    spec = document["spec"]
    behavior = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    (policy,) = behavior["scaleDown"]["policies"]
    grace = DEPLOYMENTS["edge"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert policy["type"] == "Pods" and policy["value"] == 1 and policy["periodSeconds"] > grace
    assert behavior["scaleDown"]["tolerance"] == behavior["scaleUp"]["tolerance"] == "0"
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "edge"}


def test_each_autoscaler_asks_for_what_there_is() -> None:
    assert SERIES in PLAN_SERIES
    (hpa,), (prometheus,), (metrics_api,) = (documents(FOLDER / f"autoscaling/{name}.yaml")
                                             for name in ("hpa", "keda-prometheus", "keda-metrics-api"))  # fmt: skip
    external = hpa["spec"]["metrics"][0]["external"]
    assert external == {"metric": {"name": SERIES}, "target": {"type": "AverageValue", "averageValue": "1"}}
    (trigger,) = prometheus["spec"]["triggers"]
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")
    assert SERIES in trigger["metadata"]["query"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    (trigger,) = metrics_api["spec"]["triggers"]
    assert (trigger["metricType"], trigger["metadata"]["targetValue"]) == ("AverageValue", "1")
    assert trigger["metadata"]["valueLocation"] in CapacityAnswer.__struct_fields__
    assert trigger["metadata"]["url"] == f"http://metrics.{KUSTOMIZATION['namespace']}.svc:8301/capacity"
