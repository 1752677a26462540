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
from medtower.workflows import mirror_routing

# made by hand in the namespace airflow: Secret -> its keys
SECRETS_OF_AIRFLOW = {
    "airflow-metadata": {"connection"},
    "airflow-keys": {"fernet-key", "api-secret-key", "jwt-secret"},
    "airflow-users": {"passwords.json"},
    "medtower-airflow": {"dsn", "gateway-key", "forge-url", "forge-repository", "forge-token"},
    "medtower-git": {"url", "credentials"},
    "medtower-trust": {"allowed_signers"},
    "medtower-signing": {"rollout", "weights_key.pem"},
}


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
    written = {v["name"]: v["value"] for v in values["env"] if re.search(r"KEY|TOKEN|DSN", v["name"])}
    assert all(value.startswith("/etc/medtower/signing/") for value in written.values())


def test_tasks_reach_services_by_their_names_in_the_other_namespace(
    values: dict[str, Any], tower: list[Manifest]
) -> None:
    for variable in values["env"]:
        if match := re.fullmatch(r"http://([a-z]+)\.medtower:(\d+)", variable["value"]):
            ports = named(tower, "Service", match[1])["spec"]["ports"]
            assert int(match[2]) in {port["port"] for port in ports}


def test_22_the_labels_of_the_pods_are_those_that_the_policies_let_in(
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


TASKS = {"tower": "scheduler", "cluster": "workers"}


def part_with_tasks(where: str, values: dict[str, Any], many: dict[str, Any]) -> dict[str, Any]:
    """The part of the chart whose pods run tasks, as the values of that place make it."""
    part = TASKS[where]
    return {**values.get(part, {}), **(many[part] if where == "cluster" else {})}


@pytest.mark.parametrize("where", TASKS)
def test_tasks_find_the_files_that_their_settings_name(
    values: dict[str, Any], many: dict[str, Any], where: str
) -> None:
    """Each of these is read by a DAG: without one, no rollout goes on, nothing is signed, every model seems not to serve."""
    part = part_with_tasks(where, values, many)
    said = {variable["name"]: variable["value"] for variable in values["env"]}
    mounts = [*values["volumeMounts"], *part["extraVolumeMounts"]]
    volumes = {v["name"]: v for v in [*values["volumes"], *part["extraVolumes"]]}
    for field, key in {
        "repository": None,
        "routing": None,
        "trust_root": ("medtower-trust", "allowed_signers"),
        "rollout_key": ("medtower-signing", "rollout"),
        "weights_key": ("medtower-signing", "weights_key.pem"),
    }.items():
        path = Path(said[f"MEDTOWER_{field.upper()}"])
        mount = next(m for m in mounts if Path(m["mountPath"]) in path.parents)
        volume = volumes[mount["name"]]
        if key is None:
            assert "emptyDir" in volume
        else:
            assert (volume["secret"]["secretName"], path.name) == key
            assert mount["readOnly"] and path.name in SECRETS_OF_AIRFLOW[key[0]]


def test_only_the_pods_that_run_tasks_have_keys_that_sign(
    values: dict[str, Any], many: dict[str, Any]
) -> None:
    assert "medtower-signing" not in str([values["volumes"], values["apiServer"], values["dagProcessor"]])
    assert many["scheduler"]["extraVolumes"] == many["scheduler"]["extraVolumeMounts"] == []
    assert many["scheduler"]["extraContainers"] == []
    assert "TRITON_ADMIN_KEY" not in str([values, many])  # a task loads and unloads nothing


@pytest.mark.parametrize("where", TASKS)
def test_the_routing_table_is_copied_beside_the_tasks(
    values: dict[str, Any], many: dict[str, Any], where: str
) -> None:
    part = part_with_tasks(where, values, many)
    beside = [*part.get("extraContainers", []), *part.get("extraInitContainers", [])]
    copier = next(c for c in beside if c["name"] == "routing")
    assert copier["args"][1:] == ["-m", mirror_routing.__name__]
    assert where == "tower" or copier["restartPolicy"] == "Always"
    said = {v["name"]: v.get("value") for v in copier["env"]}
    tasks = {v["name"]: v["value"] for v in values["env"]}
    for name in ("MEDTOWER_ROUTING", "MEDTOWER_GATEWAY_URL"):
        assert said[name] == tasks[name]
    (mount,) = copier["volumeMounts"]
    assert not mount.get("readOnly") and Path(said["MEDTOWER_ROUTING"]).parent == Path(mount["mountPath"])


def test_the_guide_names_every_secret_of_airflow_and_its_keys(values: dict[str, Any]) -> None:
    guide = (ROOT / "docs/guides/argocd.md").read_text()
    for name, keys in SECRETS_OF_AIRFLOW.items():
        (row,) = [line for line in guide.splitlines() if line.startswith(f"| `airflow`, `{name}` |")]
        assert all(f"`{key}`" in row for key in keys)
        assert f"create secret generic {name}" in guide
    for variable in values["secret"]:
        assert variable["secretKey"] in SECRETS_OF_AIRFLOW[variable["secretName"]]


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
        extra = [*values["scheduler"]["extraVolumes"], *many["workers"]["extraVolumes"]]
        names = {volume["name"] for volume in [*values["volumes"], *extra]}
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
