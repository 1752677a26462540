"""What the cluster receives: valid objects that keep every rule of checks.py. Each rule is also seen to bite."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.argocd import checks
from tests.argocd.checks import SECRETS, Check, Manifest, containers, named
from tests.argocd.conftest import ROOT

Break = Callable[[list[Manifest]], Any]


@pytest.fixture(params=["tower", "cluster"])
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    found: list[Manifest] = request.getfixturevalue(request.param)
    return found


def test_every_object_fits_its_kubernetes_schema(objects: list[Manifest]) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="install the PyPI package `kubernetes-validate`"
    )
    for item in objects:
        validator.validate(item, validator.latest_version(), strict=True)


def test_a_misspelt_field_fails_its_kubernetes_schema(tower: list[Manifest]) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="install the PyPI package `kubernetes-validate`"
    )
    broken = deepcopy(named(tower, "Deployment", "triton"))
    broken["spec"]["replica"] = broken["spec"].pop("replicas")
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, validator.latest_version(), strict=True)


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_the_rule_holds(check: Check, objects: list[Manifest]) -> None:
    assert check(objects) == []


def pod(objects: list[Manifest], name: str) -> Manifest:
    found: Manifest = dict(checks.pods(objects))[name]["spec"]
    return found


def container(objects: list[Manifest], name: str) -> Manifest:
    return next(c for n, _, c in checks.containers(objects) if n == name)


def policy(objects: list[Manifest], name: str) -> Manifest:
    found: Manifest = named(objects, "NetworkPolicy", name)["spec"]
    return found


def set_env(objects: list[Manifest], name: str, variable: str, value: Manifest) -> None:
    env = container(objects, name)["env"]
    env[:] = [v for v in env if v["name"] != variable] + [{"name": variable, **value}]


def drop(objects: list[Manifest], kind: str, name: str) -> None:
    objects.remove(named(objects, kind, name))


# one small mistake each, and the rule that must see it
MISTAKES: list[tuple[Check, Break]] = [
    (checks.pods_are_unprivileged, lambda o: pod(o, "triton")["securityContext"].pop("runAsNonRoot")),
    (checks.pods_are_unprivileged, lambda o: pod(o, "gateway")["securityContext"].pop("seccompProfile")),
    (checks.pods_are_unprivileged, lambda o: pod(o, "verify-als-risk").pop("automountServiceAccountToken")),
    (checks.pods_are_unprivileged, lambda o: pod(o, "mlflow")["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    (checks.containers_are_unprivileged, lambda o: container(o, "triton/mirror")["securityContext"].pop("capabilities")),
    (checks.containers_are_unprivileged, lambda o: container(o, "triton/triton")["securityContext"].pop("runAsUser")),
    (checks.resources_are_bounded, lambda o: container(o, "mlflow/mlflow")["resources"]["limits"].pop("memory")),
    (checks.resources_are_bounded, lambda o: container(o, "smoke-als-risk/smoke").pop("resources")),
    (checks.images_are_pinned, lambda o: container(o, "gateway/gateway").update(image="medtower")),
    (checks.images_are_pinned, lambda o: container(o, "gateway/gateway").update(image="medtower:latest")),
    (checks.servers_have_probes, lambda o: container(o, "triton/triton").pop("livenessProbe")),
    (checks.servers_have_probes, lambda o: container(o, "triton/reconciler").update(readinessProbe={"exec": {"command": ["true"]}})),
    (checks.servers_have_probes, lambda o: container(o, "mlflow/mlflow")["readinessProbe"]["httpGet"].update(port="htp")),
    (checks.volumes_agree, lambda o: drop(o, "PersistentVolumeClaim", "routing")),
    (checks.volumes_agree, lambda o: drop(o, "ConfigMap", "candidate-als-risk")),
    (checks.volumes_agree, lambda o: pod(o, "verify-als-risk")["volumes"][1]["secret"].update(secretName="trust")),
    (checks.volumes_agree, lambda o: container(o, "gateway/gateway")["volumeMounts"].pop()),
    (checks.claims_outlive_applications, lambda o: named(o, "PersistentVolumeClaim", "model-store")["metadata"].pop("annotations")),
    (checks.claims_outlive_applications, lambda o: named(o, "StatefulSet", "gateway")["spec"].pop("persistentVolumeClaimRetentionPolicy")),
    (checks.secrets_are_references, lambda o: set_env(o, "gateway/gateway", "MEDTOWER_DSN", {"value": "host=db"})),
    (checks.secrets_are_references, lambda o: set_env(o, "gateway/gateway", "X", {"valueFrom": {"secretKeyRef": {"name": "triton-admin", "key": "kee"}}})),
    (checks.settings_are_known, lambda o: set_env(o, "gateway/gateway", "MEDTOWER_ROUTNG", {"value": "x"})),
    (checks.services_find_their_pods, lambda o: named(o, "Service", "triton")["spec"]["selector"].update({"app.kubernetes.io/name": "trition"})),
    (checks.services_find_their_pods, lambda o: named(o, "Service", "gateway")["spec"]["ports"][0].update(targetPort="https")),
    (checks.services_find_their_pods, lambda o: container(o, "gateway/gateway")["ports"].pop()),
    (checks.selectors_agree, lambda o: named(o, "Deployment", "mlflow")["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "gateway"})),
    (checks.selectors_agree, lambda o: drop(o, "ServiceAccount", "gateway")),
    (checks.policies_select_and_match_ports, lambda o: policy(o, "gateway")["podSelector"]["matchLabels"].update({"app.kubernetes.io/name": "gatevay"})),
    (checks.policies_select_and_match_ports, lambda o: policy(o, "triton")["ingress"][0]["ports"][0].update(port=8001)),
    (checks.policies_select_and_match_ports, lambda o: policy(o, "nobody-by-default")["policyTypes"].remove("Egress")),
    (checks.policies_select_and_match_ports, lambda o: policy(o, "mlflow")["ingress"][0].pop("from")),
    (checks.policies_select_and_match_ports, lambda o: drop(o, "NetworkPolicy", "nobody-by-default")),
    (checks.only_the_gateway_reaches_triton, lambda o: policy(o, "triton")["ingress"][0].update({"from": [{"podSelector": {}}]}) or policy(o, "smoke")["egress"][1].update({"to": [{"podSelector": {}}], "ports": [{"port": 8000}]})),
    (checks.only_the_gateway_reaches_triton, lambda o: policy(o, "gateway").pop("egress")),
    (checks.only_the_gateway_reaches_triton, lambda o: policy(o, "smoke")["egress"].pop()),
    (checks.only_the_gateway_reaches_triton, lambda o: policy(o, "smoke")["egress"][1]["ports"].append({"port": 9080})),
    (checks.addresses_name_services, lambda o: set_env(o, "triton/reconciler", "MEDTOWER_MLFLOW_URI", {"value": "http://mlflow:5001"})),
    (checks.addresses_name_services, lambda o: drop(o, "Service", "triton")),
    (checks.hooks_are_short, lambda o: named(o, "Job", "smoke-als-risk")["spec"].update(activeDeadlineSeconds=600)),
    (checks.hooks_are_short, lambda o: named(o, "Job", "verify-als-risk")["spec"].update(ttlSecondsAfterFinished=60)),
    (checks.one_owner_of_gpu_spool_and_store, lambda o: named(o, "Deployment", "triton")["spec"].update(strategy={"type": "RollingUpdate"})),
    (checks.one_owner_of_gpu_spool_and_store, lambda o: container(o, "triton/triton")["resources"]["limits"].pop("nvidia.com/gpu")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "mistake"), MISTAKES, ids=lambda value: value.__name__)
def test_the_rule_sees_a_mistake(check: Check, mistake: Break, tower: list[Manifest]) -> None:
    broken = deepcopy(tower)
    mistake(broken)
    assert check(broken)


def test_every_rule_is_seen_to_bite() -> None:
    assert {check for check, _ in MISTAKES} == set(checks.ALL)


def test_the_reconciler_talks_to_triton_on_the_loopback_of_their_pod(tower: list[Manifest]) -> None:
    reconciler = container(tower, "triton/reconciler")
    assert reconciler["args"] == ["medtower", "reconcile", "--watch"]
    assert {"name": "MEDTOWER_TRITON_URL", "value": "127.0.0.1:8000"} in reconciler["env"]


def test_triton_only_reads_what_the_reconciler_writes(tower: list[Manifest]) -> None:
    def data(name: str) -> Manifest:
        (mount,) = [m for m in container(tower, name)["volumeMounts"] if m["name"] == "data"]
        return dict(mount)

    assert data("triton/triton") == {**data("triton/reconciler"), "readOnly": True}


def test_what_the_reconciler_keeps_beside_the_store_is_on_the_same_volume(tower: list[Manifest]) -> None:
    # the lock, the memory and the staging are siblings of the store; a rename must not cross volumes, and the root is read-only
    reconciler = container(tower, "triton/reconciler")
    (store,) = [v["value"] for v in reconciler["env"] if v["name"] == "MEDTOWER_STORE"]
    assert str(Path(store).parent) in {mount["mountPath"] for mount in reconciler["volumeMounts"]}
    assert f"--model-repository={store}" in container(tower, "triton/triton")["args"]


def test_the_gateway_reads_the_routing_table_that_the_reconciler_writes(tower: list[Manifest]) -> None:
    def routing(name: str) -> tuple[Manifest, Manifest]:
        (variable,) = [v for v in container(tower, name)["env"] if v["name"] == "MEDTOWER_ROUTING"]
        (mount,) = [m for m in container(tower, name)["volumeMounts"] if m["name"] == "routing"]
        return variable, mount

    written, writer = routing("triton/reconciler")
    for name in ("gateway/gateway", "smoke-als-risk/smoke"):
        assert routing(name) == (written, {**writer, "readOnly": True})


def test_the_gateway_is_asked_for_its_health_on_its_own_loopback(tower: list[Manifest]) -> None:
    # From anywhere else it wants the key, which a probe has no way to send without writing it down.
    gateway = container(tower, "gateway/gateway")
    (port,) = [v["value"] for v in gateway["env"] if v["name"] == "MEDTOWER_GATEWAY_PORT"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f"http://127.0.0.1:{port}/health/live" in gateway[probe]["exec"]["command"][-1]


def test_clients_reach_both_protocols_of_the_gateway_and_prometheus_its_metrics_only(
    objects: list[Manifest],
) -> None:
    said = {v["name"]: v.get("value") for v in container(objects, "gateway/gateway")["env"]}
    ports = [int(said[name]) for name in ("MEDTOWER_GATEWAY_PORT", "MEDTOWER_GATEWAY_GRPC_PORT")]
    assert [port["port"] for port in named(objects, "Service", "gateway")["spec"]["ports"]] == ports
    let_in = {
        next(iter(rule["from"][0]["podSelector"]["matchLabels"])): [port["port"] for port in rule["ports"]]
        for rule in policy(objects, "gateway")["ingress"]
    }
    assert let_in == {"medtower/gateway-client": ports, "app.kubernetes.io/name": ports[:1]}


def test_mlflow_answers_to_the_names_that_its_callers_use(tower: list[Manifest]) -> None:
    # it compares the Host header with each name as a whole, port included
    (option,) = [a for a in container(tower, "mlflow/mlflow")["args"] if a.startswith("--allowed-hosts=")]
    values = yaml.safe_load((ROOT / "argocd/airflow/values.yaml").read_text())
    callers = [*container(tower, "triton/reconciler")["env"], *values["env"]]
    hosts = {v["value"].removeprefix("http://") for v in callers if v["name"] == "MEDTOWER_MLFLOW_URI"}
    assert len(hosts) == 2
    assert hosts <= set(option.partition("=")[2].split(","))


def test_a_cluster_shares_its_volumes_and_spreads_its_gateways(cluster: list[Manifest]) -> None:
    for claim in checks.of_kind(cluster, "PersistentVolumeClaim"):
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert pod(cluster, "gateway")["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert named(cluster, "HorizontalPodAutoscaler", "gateway")["spec"]["minReplicas"] >= 2
    assert named(cluster, "Service", "gateway")["spec"]["sessionAffinity"] == "ClientIP"


def test_two_overlays_differ_in_size_and_not_in_what_runs(
    tower: list[Manifest], cluster: list[Manifest]
) -> None:
    def what_runs(objects: list[Manifest]) -> dict[str, tuple[str, list[str] | None]]:
        return {name: (c["image"], c.get("args")) for name, _, c in checks.containers(objects)}

    assert what_runs(tower) == what_runs(cluster)


def test_the_reconciler_finds_what_it_verifies_signatures_with(tower: list[Manifest]) -> None:
    """Without the key of the weights no version is ever loaded."""
    reconciler = next(c for name, _, c in containers(tower) if name == "triton/reconciler")
    said = {variable["name"]: variable.get("value") for variable in reconciler["env"]}
    place = next(m["mountPath"] for m in reconciler["volumeMounts"] if m["name"] == "trust")
    for name, key in (
        ("MEDTOWER_TRUST_ROOT", "allowed_signers"),
        ("MEDTOWER_WEIGHTS_PUB", "weights_pub.pem"),
    ):
        assert said.get(name) == f"{place}/{key}"
        assert key in SECRETS["medtower-trust"]
