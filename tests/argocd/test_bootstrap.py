"""What is applied by hand before git is asked: our patches fit the pinned install, and nobody anonymous gets in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.argocd.checks import Manifest, named
from tests.argocd.conftest import ARGOCD, Render


def workload(kind: str, name: str) -> Manifest:
    container = {"name": name, "image": "quay.io/argoproj/argocd:v3.5.1"}
    labels = {"app.kubernetes.io/name": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def config(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


# the objects of the pinned install.yaml that we patch, as it names them; the whole has 2 MB of definitions
INSTALL = [
    config("argocd-cm"),
    config("argocd-cmd-params-cm"),
    config("argocd-rbac-cm"),
    workload("StatefulSet", "argocd-application-controller"),
    workload("Deployment", "argocd-repo-server"),
]


@pytest.fixture(scope="module")
def bootstrap(render: Render, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    place = tmp_path_factory.mktemp("site") / "bootstrap"
    shutil.copytree(ARGOCD / "bootstrap", place)
    (place / "argocd/install.yaml").write_text(yaml.safe_dump_all(INSTALL))
    return render(place)


def test_a_stuck_sync_ends_after_the_hooks_had_their_time(bootstrap: list[Manifest]) -> None:
    data = named(bootstrap, "ConfigMap", "argocd-cmd-params-cm")["data"]
    assert data["controller.sync.timeout.seconds"] == "300"
    assert int(data["controller.sync.timeout.seconds"]) > 2 * 120


def test_nobody_anonymous_and_nobody_without_a_group_may_do_anything(bootstrap: list[Manifest]) -> None:
    assert named(bootstrap, "ConfigMap", "argocd-cm")["data"]["users.anonymous.enabled"] == "false"
    rbac = named(bootstrap, "ConfigMap", "argocd-rbac-cm")["data"]
    assert rbac["policy.default"] == ""
    actions = {line.split(", ")[3] for line in rbac["policy.csv"].splitlines() if line.startswith("p,")}
    assert actions == {"get"}


def test_git_is_polled_within_a_minute_when_the_hook_does_not_come_through(bootstrap: list[Manifest]) -> None:
    assert named(bootstrap, "ConfigMap", "argocd-cm")["data"]["timeout.reconciliation"] == "60s"


def test_every_patched_workload_is_bounded_and_in_its_namespace(bootstrap: list[Manifest]) -> None:
    for original in INSTALL:
        item = named(bootstrap, original["kind"], original["metadata"]["name"])
        assert item["metadata"]["namespace"] == "argocd"
        if "spec" in item:
            (container,) = item["spec"]["template"]["spec"]["containers"]
            assert {"requests", "limits"} == container["resources"].keys()
            assert container["image"].endswith(":v3.5.1")


def test_the_namespaces_keep_their_names_and_admit_no_privileged_pod(bootstrap: list[Manifest]) -> None:
    labels = {n["metadata"]["name"]: n["metadata"]["labels"] for n in bootstrap if n["kind"] == "Namespace"}
    assert {name: found["pod-security.kubernetes.io/enforce"] for name, found in labels.items()} == {
        "argocd": "baseline",
        "medtower": "restricted",
        "airflow": "restricted",
    }


def test_every_priority_that_a_pod_asks_for_exists(bootstrap: list[Manifest], tower: list[Manifest]) -> None:
    made = {item["metadata"]["name"] for item in bootstrap if item["kind"] == "PriorityClass"}
    asked = {
        item["spec"]["template"]["spec"].get("priorityClassName", "clinical-serving")
        for item in tower
        if item["kind"] in ("Deployment", "StatefulSet")
    }
    values = yaml.safe_load((ARGOCD / "airflow/values.yaml").read_text())
    assert asked | {values["scheduler"]["priorityClassName"]} == made


def test_every_object_fits_its_kubernetes_schema(bootstrap: list[Manifest]) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="install the PyPI package `kubernetes-validate`"
    )
    for item in (
        i for i in bootstrap if i["kind"] != "StatefulSet"
    ):  # the stand-in lacks what we do not patch
        validator.validate(item, validator.latest_version(), strict=True)


def test_the_install_is_pinned_and_not_in_git() -> None:
    pin = yaml.safe_load((ARGOCD / "bootstrap/argocd/pin.yaml").read_text())
    assert f"/{pin['version']}/" in pin["url"]
    assert not Path(ARGOCD / "bootstrap/argocd/install.yaml").exists()
