"""What the cluster receives: valid Kubernetes objects, pods without privileges, and a Triton that only the gateway reaches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from medtower.settings import Settings

Manifest = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def test_every_object_fits_its_kubernetes_schema(rendered: list[Manifest]) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="install the PyPI package `kubernetes-validate`"
    )
    for item in rendered:
        validator.validate(item, validator.latest_version(), strict=True)


def test_no_pod_runs_as_root_or_without_seccomp(pods: dict[str, Manifest]) -> None:
    for name, pod in pods.items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name


def test_every_container_is_unprivileged_and_writes_only_where_a_volume_is(
    containers: dict[str, Manifest],
) -> None:
    for name, container in containers.items():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name


def test_every_container_has_a_user_that_is_not_root(pods: dict[str, Manifest]) -> None:
    for name, pod in pods.items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            user = {**pod["securityContext"], **container["securityContext"]}.get("runAsUser", 0)
            assert user > 0, f"{name}/{container['name']}"


def test_every_container_has_requests_and_limits(containers: dict[str, Manifest]) -> None:
    for name, container in containers.items():
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys(), name


def test_every_image_is_named_by_a_fixed_tag(containers: dict[str, Manifest]) -> None:
    for name, container in containers.items():
        _, _, tag = container["image"].partition(":")
        assert re.match(r"\d", tag), name


def test_no_volume_comes_from_the_node_itself(pods: dict[str, Manifest]) -> None:
    assert not [volume for pod in pods.values() for volume in pod["volumes"] if "hostPath" in volume]


def test_every_claim_that_a_pod_mounts_exists(rendered: list[Manifest], pods: dict[str, Manifest]) -> None:
    volumes = [volume for pod in pods.values() for volume in pod["volumes"]]
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }
    made = {item["metadata"]["name"] for item in rendered if item["kind"] == "PersistentVolumeClaim"}
    assert used == made


def test_no_claim_is_deleted_by_a_sync(rendered: list[Manifest]) -> None:
    for claim in (item for item in rendered if item["kind"] == "PersistentVolumeClaim"):
        options = claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        assert options == "Prune=false,Delete=false"


def test_secrets_are_referred_to_and_never_written(
    rendered: list[Manifest], containers: dict[str, Manifest]
) -> None:
    assert not [item for item in rendered if item["kind"] == "Secret"]
    for name, container in containers.items():
        for variable in container.get("env", []):
            if re.search(r"KEY$|DSN$", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], name


def test_every_setting_in_a_manifest_is_one_that_the_program_reads(containers: dict[str, Manifest]) -> None:
    known = {f"MEDTOWER_{field.upper()}" for field in Settings.model_fields}
    set_here = {
        v["name"] for c in containers.values() for v in c.get("env", []) if v["name"].startswith("MEDTOWER_")
    }
    assert set_here - known == set()


def test_a_new_pod_never_waits_for_the_only_gpu_or_the_only_spool(rendered: list[Manifest]) -> None:
    for name in ("triton", "gateway"):
        assert named(rendered, "Deployment", name)["spec"]["strategy"] == {"type": "Recreate"}


def test_only_the_gateway_reaches_triton(rendered: list[Manifest]) -> None:
    policy = named(rendered, "NetworkPolicy", "triton")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "triton"}}
    assert policy["ingress"] == [
        {
            "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}],
            "ports": [{"port": 8000, "protocol": "TCP"}],
        }
    ]


def test_a_pod_without_a_policy_of_its_own_is_reached_by_nobody(rendered: list[Manifest]) -> None:
    policy = named(rendered, "NetworkPolicy", "nobody-by-default")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_the_reconciler_talks_to_triton_on_the_loopback_of_their_pod(containers: dict[str, Manifest]) -> None:
    reconciler = containers["triton/reconciler"]
    assert reconciler["args"] == ["reconcile", "--watch"]
    assert {"name": "MEDTOWER_TRITON_URL", "value": "127.0.0.1:8000"} in reconciler["env"]


def test_triton_loads_nothing_by_itself_and_its_control_is_locked(containers: dict[str, Manifest]) -> None:
    arguments = containers["triton/triton"]["args"]
    assert "--model-control-mode=explicit" in arguments
    assert "--http-restricted-api=model-repository:X-Admin=$(TRITON_ADMIN_KEY)" in arguments
    (store,) = [m for m in containers["triton/triton"]["volumeMounts"] if m["name"] == "store"]
    assert store["readOnly"] is True


def test_the_gateway_reads_the_routing_table_that_the_reconciler_writes(
    containers: dict[str, Manifest],
) -> None:
    def routing(name: str) -> tuple[Manifest, Manifest]:
        (variable,) = [v for v in containers[name]["env"] if v["name"] == "MEDTOWER_ROUTING"]
        (mount,) = [m for m in containers[name]["volumeMounts"] if m["name"] == "routing"]
        return variable, mount

    written, writer = routing("triton/reconciler")
    read, reader = routing("gateway/gateway")
    assert written == read
    assert reader == {**writer, "readOnly": True}


def test_services_and_probes_name_ports_that_exist(
    rendered: list[Manifest], pods: dict[str, Manifest]
) -> None:
    for name in ("triton", "gateway"):
        ports = {port["name"] for c in pods[name]["containers"] for port in c["ports"]}
        service = named(rendered, "Service", name)
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        probes = [c[key] for c in pods[name]["containers"] for key in c if key.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= ports


def test_the_gateway_is_asked_for_its_health_on_its_own_loopback(containers: dict[str, Manifest]) -> None:
    # From anywhere else it wants the key, which a probe has no way to send without writing it down.
    gateway = containers["gateway/gateway"]
    (port,) = [v["value"] for v in gateway["env"] if v["name"] == "MEDTOWER_GATEWAY_PORT"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f"http://127.0.0.1:{port}/health/live" in gateway[probe]["exec"]["command"][-1]


def test_the_image_runs_as_the_user_that_the_pods_expect(containers: dict[str, Manifest]) -> None:
    lines = (ROOT / "Containerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert any("--require-hashes --requirement medtower.lock" in line for line in lines)
    assert lines[-1] == 'ENTRYPOINT ["medtower"]'
    # The pods give arguments only; the verb is the image's.
    assert all(
        "command" not in c
        for n, c in containers.items()
        if n.endswith(("/gateway", "/reconciler", "/verify", "/smoke"))
    )
