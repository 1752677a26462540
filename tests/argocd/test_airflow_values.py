"""The values of Airflow's chart: no secret is written down or made, tasks find the other parts by names that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.argocd.checks import UNPRIVILEGED, Manifest, named, of_kind
from tests.argocd.conftest import ARGOCD, ROOT

from medtower.settings import Settings


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return dict(yaml.safe_load((ARGOCD / "airflow/values.yaml").read_text()))


@pytest.fixture(scope="module")
def many() -> dict[str, Any]:
    return dict(yaml.safe_load((ARGOCD / "overlays/cluster/airflow-values.yaml").read_text()))


def test_the_chart_has_no_secret_to_make(values: dict[str, Any]) -> None:
    assert values["data"]["metadataSecretName"]
    for name in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"):
        assert values[name] == "airflow-keys"
    for part in ("postgresql", "redis", "pgbouncer", "flower", "createUserJob"):
        assert values[part] == {"enabled": False}


def test_every_setting_is_one_that_the_program_reads_and_no_secret_is_written_down(
    values: dict[str, Any],
) -> None:
    known = {f"MEDTOWER_{field.upper()}" for field in Settings.model_fields}
    plain = {variable["name"] for variable in values["env"]}
    secret = {variable["envName"] for variable in values["secret"]}
    assert plain | secret <= known
    assert not [name for name in plain if re.search(r"KEY|TOKEN|DSN", name)]


def test_tasks_reach_services_by_their_names_in_the_other_namespace(
    values: dict[str, Any], tower: list[Manifest]
) -> None:
    for variable in values["env"]:
        if match := re.fullmatch(r"http://([a-z]+)\.medtower:(\d+)", variable["value"]):
            ports = named(tower, "Service", match[1])["spec"]["ports"]
            assert int(match[2]) in {port["port"] for port in ports}


def test_the_labels_of_the_pods_are_those_that_the_policies_let_in(
    values: dict[str, Any], tower: list[Manifest]
) -> None:
    for part, port in (("gateway", 8080), ("mlflow", 5000)):
        rules = named(tower, "NetworkPolicy", part)["spec"]["ingress"]
        assert any(
            "namespaceSelector" in peer
            and peer["podSelector"]["matchLabels"].items() <= values["labels"].items()
            and {"port": port, "protocol": "TCP"} in rule["ports"]
            for rule in rules
            for peer in rule["from"]
        )
    for policy in of_kind(tower, "NetworkPolicy"):
        if policy["metadata"]["name"] == "triton":
            assert "medtower/" not in str(policy["spec"]["ingress"])  # no task asks Triton past the gateway


def test_the_pods_are_unprivileged_and_bounded(values: dict[str, Any], many: dict[str, Any]) -> None:
    pod = values["securityContexts"]["pod"]
    assert pod["runAsNonRoot"] and pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert values["securityContexts"]["containers"]["capabilities"] == {"drop": ["ALL"]}
    for part in ("apiServer", "scheduler", "dagProcessor", "triggerer", "migrateDatabaseJob"):
        assert values[part]["resources"].keys() == {"requests", "limits"}
    mirrors = [*values["scheduler"]["extraContainers"], *many["workers"]["extraInitContainers"]]
    for mirror in mirrors:
        assert UNPRIVILEGED.items() <= mirror["securityContext"].items()
        assert mirror["image"] == f"medtower:{values['images']['airflow']['tag']}"
        names = {volume["name"] for volume in values["volumes"]}
        assert {mount["name"] for mount in mirror["volumeMounts"]} <= names


def test_the_database_is_migrated_by_argo_cd_and_not_by_helm(values: dict[str, Any]) -> None:
    job = values["migrateDatabaseJob"]
    assert (job["useHelmHooks"], job["applyCustomEnv"]) == (False, False)
    assert job["jobAnnotations"]["argocd.argoproj.io/hook"] == "Sync"


def test_the_image_holds_the_folders_and_the_version_that_the_values_name(values: dict[str, Any]) -> None:
    containerfile = (ROOT / "Containerfile").read_text()
    for folder in ("dags_folder", "plugins_folder"):
        path = Path(values["config"]["core"][folder])
        assert f"COPY {path.name} {path}" in containerfile
    assert f"/{Path(values['airflowHome']).name}" in containerfile
    assert f'"apache-airflow=={values["airflowVersion"]}"' in (ROOT / "pyproject.toml").read_text()


def test_one_node_runs_tasks_in_the_scheduler_and_many_nodes_in_pods(
    values: dict[str, Any], many: dict[str, Any]
) -> None:
    assert (values["executor"], many["executor"]) == ("LocalExecutor", "KubernetesExecutor")
    assert values["scheduler"]["priorityClassName"] == many["workers"]["priorityClassName"] == "batch"
