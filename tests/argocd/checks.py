"""Rules over all objects of a deployment. Each takes the objects and returns its complaints; none means that the rule holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medtower.settings import Settings

Manifest = dict[str, Any]
Check = Callable[[list[Manifest]], list[str]]
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
UNPRIVILEGED = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
# made by hand, because the projects let git make none: Secret -> its keys
SECRETS = {
    "medtower-access": {"access.json"},
    "medtower-trust": {"allowed_signers", "revoked_keys", "weights_pub.pem"},
    "medtower-git": {"url", "credentials"},
    "triton-admin": {"key"},
    "medtower-reconciler": {"dsn"},
    "medtower-gateway": {"dsn", "key", "subject-key"},
    "medtower-mlflow": {"dsn"},
}


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [item for item in objects if item["kind"] in kinds]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def pods(objects: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each workload's name and pod template."""
    for item in of_kind(objects, *WORKLOADS):
        yield item["metadata"]["name"], item["spec"]["template"]


def containers(objects: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """`<object>/<container>`, the pod's specification and the container's, init containers included."""
    for name, template in pods(objects):
        pod = template["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", pod, container


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def pods_are_unprivileged(objects: list[Manifest]) -> list[str]:
    found = []
    for name, template in pods(objects):
        pod = template["spec"]
        context = pod.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("seccompProfile") != {
            "type": "RuntimeDefault"
        }:
            found.append(f"{name}: may run as root, or without seccomp")
        if pod.get("automountServiceAccountToken") is not False:
            found.append(f"{name}: has a token of the Kubernetes API")
        if {"hostNetwork", "hostPID", "hostIPC"} & pod.keys() or any("hostPath" in v for v in pod["volumes"]):
            found.append(f"{name}: reaches into the node")
    return found


def containers_are_unprivileged(objects: list[Manifest]) -> list[str]:
    found = []
    for name, pod, container in containers(objects):
        context = container.get("securityContext", {})
        if not UNPRIVILEGED.items() <= context.items() or "privileged" in context:
            found.append(f"{name}: is privileged or writes outside its volumes")
        if {**pod.get("securityContext", {}), **context}.get("runAsUser", 0) == 0:
            found.append(f"{name}: has no user of its own")
    return found


def resources_are_bounded(objects: list[Manifest]) -> list[str]:
    return [
        f"{name}: has no {bound} of {resource}"
        for name, _, container in containers(objects)
        for bound in ("requests", "limits")
        for resource in ("cpu", "memory")
        if resource not in container.get("resources", {}).get(bound, {})
    ]


def images_are_pinned(objects: list[Manifest]) -> list[str]:
    pinned = re.compile(r"[^:@\s]+(:\d[\w.-]*|@sha256:[0-9a-f]{64})")
    return [name for name, _, container in containers(objects) if not pinned.fullmatch(container["image"])]


def servers_have_probes(objects: list[Manifest]) -> list[str]:
    """Whatever listens is asked whether it lives. The reconciler has no readiness: without it the incumbents go on answering."""
    found = []
    for name, _, container in containers(of_kind_not(objects, "Job")):
        if container.get("ports"):
            found += [f"{name}: no {p}Probe" for p in ("startup", "liveness") if f"{p}Probe" not in container]
            if ("readinessProbe" in container) == name.endswith("/reconciler"):
                found.append(f"{name}: readiness")
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in (container[key] for key in container if key.endswith("Probe")):
            if "httpGet" in probe and probe["httpGet"]["port"] not in ports:
                found.append(f"{name}: a probe asks a port that is not there")
    return found


def of_kind_not(objects: list[Manifest], kind: str) -> list[Manifest]:
    return [item for item in objects if item["kind"] != kind]


def volumes_agree(objects: list[Manifest]) -> list[str]:
    """Every mount has its volume, every volume its claim, ConfigMap or Secret, and every claim is somebody's."""
    found, used = [], set()
    made = {i["metadata"]["name"] for i in of_kind(objects, "PersistentVolumeClaim")}
    maps = {i["metadata"]["name"] for i in of_kind(objects, "ConfigMap")}
    for item in of_kind(objects, *WORKLOADS):
        name, pod = item["metadata"]["name"], item["spec"]["template"]["spec"]
        templates = {t["metadata"]["name"] for t in item["spec"].get("volumeClaimTemplates", [])}
        volumes = {v["name"]: v for v in pod["volumes"]}
        mounts = {
            m["name"]
            for c in [*pod.get("initContainers", []), *pod["containers"]]
            for m in c.get("volumeMounts", [])
        }
        found += [f"{name}: {m}" for m in mounts ^ (volumes.keys() | templates)]
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            used |= {claim} - {None}
            found += [f"{name}: claim {claim} is not made"] if claim and claim not in made else []
            config = volume.get("configMap", {}).get("name")
            found += [f"{name}: ConfigMap {config} is not made"] if config and config not in maps else []
            secret = volume.get("secret", {}).get("secretName")
            found += [f"{name}: Secret {secret} is unknown"] if secret and secret not in SECRETS else []
    return found + [f"nobody mounts {claim}" for claim in made - used]


def claims_outlive_applications(objects: list[Manifest]) -> list[str]:
    option = "argocd.argoproj.io/sync-options"
    found = [
        item["metadata"]["name"]
        for item in of_kind(objects, "PersistentVolumeClaim")
        if item["metadata"].get("annotations", {}).get(option) != "Prune=false,Delete=false"
    ]
    keep = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    return found + [
        item["metadata"]["name"]
        for item in of_kind(objects, "StatefulSet")
        if item["spec"].get("persistentVolumeClaimRetentionPolicy") != keep
    ]


def secrets_are_references(objects: list[Manifest]) -> list[str]:
    found = [item["metadata"]["name"] for item in of_kind(objects, "Secret")]
    for name, _, container in containers(objects):
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference is None and re.search(r"_KEY$|DSN$|TOKEN$|STORE_URI$", variable["name"]):
                found.append(f"{name}: {variable['name']} is written down")
            if reference and reference["key"] not in SECRETS.get(reference["name"], ()):
                found.append(f"{name}: no key {reference['key']} in Secret {reference['name']}")
    return found


def settings_are_known(objects: list[Manifest]) -> list[str]:
    known = {f"MEDTOWER_{field.upper()}" for field in Settings.model_fields}
    return [
        f"{name}: {variable['name']}"
        for name, _, container in containers(objects)
        for variable in container.get("env", [])
        if variable["name"].startswith("MEDTOWER_") and variable["name"] not in known
    ]


def services_find_their_pods(objects: list[Manifest]) -> list[str]:
    found = []
    for service in of_kind(objects, "Service"):
        name, wanted = service["metadata"]["name"], {"matchLabels": service["spec"]["selector"]}
        behind = [t for _, t in pods(of_kind_not(objects, "Job")) if selects(wanted, t["metadata"]["labels"])]
        if len(behind) != 1:
            found.append(f"{name}: selects {len(behind)} workloads")
            continue
        ports = {p["name"] for c in behind[0]["spec"]["containers"] for p in c.get("ports", [])}
        found += [
            f"{name}: no port {p['targetPort']}"
            for p in service["spec"]["ports"]
            if p["targetPort"] not in ports
        ]
    return found


def selectors_agree(objects: list[Manifest]) -> list[str]:
    """A workload selects its own pods and nobody else's; accounts, budgets, autoscalers and governing services exist."""
    found = []
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for item in of_kind(objects, "Deployment", "StatefulSet"):
        name, spec = item["metadata"]["name"], item["spec"]
        mine = [n for n, t in pods(objects) if selects(spec["selector"], t["metadata"]["labels"])]
        found += [f"{name}: selects {mine}"] if mine != [name] else []
        account = spec["template"]["spec"].get("serviceAccountName")
        found += [] if ("ServiceAccount", account) in names else [f"{name}: account {account} is not made"]
        if "serviceName" in spec and ("Service", spec["serviceName"]) not in names:
            found.append(f"{name}: service {spec['serviceName']} is not made")
    for item in of_kind(objects, "HorizontalPodAutoscaler"):
        target = item["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) not in names:
            found.append(f"autoscaler of {target['name']}: nothing to scale")
        elif "replicas" in named(objects, target["kind"], target["name"])["spec"]:
            found.append(f"{target['name']}: git and the autoscaler both say how many")
    for item in of_kind(objects, "PodDisruptionBudget"):
        if not any(selects(item["spec"]["selector"], t["metadata"]["labels"]) for _, t in pods(objects)):
            found.append(f"budget {item['metadata']['name']}: protects nothing")
    return found


def policies_select_and_match_ports(objects: list[Manifest]) -> list[str]:
    """Every policy but the default selects pods; what it lets in goes to ports that these have; every server has a policy."""
    found = []
    covered = set()
    for policy in of_kind(objects, "NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if sorted(spec["policyTypes"]) != ["Egress", "Ingress"]:
            found.append(f"{name}: does not bind both directions")
        if spec["podSelector"] == {}:
            found += (
                [f"{name}: the default lets something through"] if {"ingress", "egress"} & spec.keys() else []
            )
            continue
        chosen = {n: t for n, t in pods(objects) if selects(spec["podSelector"], t["metadata"]["labels"])}
        covered |= chosen.keys()
        ports = {
            p["containerPort"]
            for t in chosen.values()
            for c in t["spec"]["containers"]
            for p in c.get("ports", [])
        }
        allowed = {p["port"] for rule in spec.get("ingress", []) for p in rule["ports"]}
        found += [f"{name}: selects nothing"] if not chosen else []
        found += [f"{name}: lets in to {allowed - ports}"] if not allowed <= ports else []
        found += [
            f"{name}: lets in from anywhere" for rule in spec.get("ingress", []) if not rule.get("from")
        ]
    if not any(p["spec"]["podSelector"] == {} for p in of_kind(objects, "NetworkPolicy")):
        found.append("no policy by default")
    servers = {i["metadata"]["name"] for i in of_kind(objects, "Deployment", "StatefulSet")}
    return found + [f"{name}: has no policy" for name in servers - covered]


def reaches(objects: list[Manifest], source: str, target: str, port: int) -> bool:
    """Whether, by the policies of both ends, pods of the workload `source` may open `port` of the workload `target`."""
    labels = {name: template["metadata"]["labels"] for name, template in pods(objects)}

    def let(direction: str, mine: str, other: str) -> bool:
        rules = [
            rule
            for policy in of_kind(objects, "NetworkPolicy")
            if selects(policy["spec"]["podSelector"], labels[mine])
            for rule in policy["spec"].get(direction, [])
        ]
        side = "from" if direction == "ingress" else "to"
        return any(
            port in {p["port"] for p in rule["ports"]}
            and any(
                _local(peer) and selects(peer["podSelector"], labels[other]) for peer in rule.get(side, [])
            )
            for rule in rules
        )

    return let("egress", source, target) and let("ingress", target, source)


def _local(peer: Manifest) -> bool:
    namespaces = peer.get("namespaceSelector")
    return namespaces is None or namespaces == {}


def only_the_gateway_reaches_triton(objects: list[Manifest]) -> list[str]:
    names = [name for name, _ in pods(objects)]
    wanted = {
        ("gateway", "triton", 8000),
        ("triton", "mlflow", 5000),
        ("smoke-als-risk", "gateway", 8080),
    }
    every = {
        (s, t, p)
        for s in names
        for t, p in (
            ("triton", 8000),
            ("triton", 8002),
            ("triton", 9180),
            ("gateway", 8080),
            ("gateway", 9080),
            ("mlflow", 5000),
        )
    }
    return [
        f"{s} -> {t}:{p}"
        for s, t, p in every
        if s != t and reaches(objects, s, t, p) != ((s, t, p) in wanted)
    ]


def addresses_name_services(objects: list[Manifest]) -> list[str]:
    """`http://mlflow:5000` and the like: the service exists and has the port."""
    services = {
        i["metadata"]["name"]: {p["port"] for p in i["spec"]["ports"]} for i in of_kind(objects, "Service")
    }
    found = []
    for name, _, container in containers(objects):
        for variable in container.get("env", []):
            match = re.fullmatch(r"(?:http://)?([a-z0-9-]+):(\d+)", variable.get("value", ""))
            if (
                variable["name"].endswith(("_URL", "_URI"))
                and match
                and int(match[2]) not in services.get(match[1], ())
            ):
                found.append(f"{name}: {variable['name']} = {variable['value']}")
    return found


def hooks_are_short(objects: list[Manifest]) -> list[str]:
    """A running or retrying hook blocks the revert; a deleted one takes its log along."""
    found = []
    for job in of_kind(objects, "Job"):
        spec, notes = job["spec"], job["metadata"].get("annotations", {})
        if spec.get("activeDeadlineSeconds") != 120 or spec.get("backoffLimit") != 0:
            found.append(f"{job['metadata']['name']}: may run or retry for too long")
        if (
            "ttlSecondsAfterFinished" in spec
            or notes.get("argocd.argoproj.io/hook-delete-policy") != "BeforeHookCreation"
        ):
            found.append(f"{job['metadata']['name']}: is deleted before it can be read")
    return found


def one_owner_of_gpu_spool_and_store(objects: list[Manifest]) -> list[str]:
    triton = named(objects, "Deployment", "triton")["spec"]
    found = (
        []
        if (triton["replicas"], triton["strategy"]) == (1, {"type": "Recreate"})
        else ["triton: a second pod waits for the GPU"]
    )
    server = next(c for n, _, c in containers(objects) if n == "triton/triton")
    gpus = [server["resources"][bound].get("nvidia.com/gpu") for bound in ("requests", "limits")]
    found += [] if gpus == [1, 1] else ["triton: has no GPU"]
    gateway = named(objects, "StatefulSet", "gateway")["spec"]
    templates = {t["metadata"]["name"] for t in gateway["volumeClaimTemplates"]}
    return found + ([] if "spool" in templates else ["gateway: replicas share a spool"])


ALL: tuple[Check, ...] = (
    pods_are_unprivileged,
    containers_are_unprivileged,
    resources_are_bounded,
    images_are_pinned,
    servers_have_probes,
    volumes_agree,
    claims_outlive_applications,
    secrets_are_references,
    settings_are_known,
    services_find_their_pods,
    selectors_agree,
    policies_select_and_match_ports,
    only_the_gateway_reaches_triton,
    addresses_name_services,
    hooks_are_short,
    one_owner_of_gpu_spool_and_store,
)
