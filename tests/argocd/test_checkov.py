"""checkov over everything that is rendered, and over the Containerfile. It runs in an environment of its own: its requirements and ours exclude each other."""

from __future__ import annotations

import json
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from tests.argocd.checks import Manifest, named
from tests.argocd.conftest import ROOT

CHECKOV = shutil.which("checkov", path=str(ROOT / ".venv-checkov/bin")) or shutil.which("checkov")
pytestmark = pytest.mark.skipif(
    CHECKOV is None, reason="checkov is missing: install the PyPI package `checkov` into .venv-checkov"
)
# what is accepted, and why; whatever is no longer found must leave this list
ACCEPTED = {
    "CKV_K8S_8": "Deployment.medtower.triton: of its containers, the mirror serves nothing",
    "CKV_K8S_9": "Deployment.medtower.triton: without the reconciler the incumbents go on answering",
    "CKV_K8S_15": "tags are fixed, and a node without the registry must start its pods",
    "CKV_K8S_21": "the namespace of a model's objects is the destination of its application",
    "CKV_K8S_35": "the settings are read from the environment",
    "CKV_K8S_40": "Deployment.medtower.triton: 1000 is the user of NVIDIA's image",
    "CKV_K8S_43": "pinned by tag; a site pins by digest where its registry knows it",
    "CKV_DOCKER_2": "each pod has probes of its own",
    "CKV_DOCKER_7": "the tag of the base is an argument",
}


@pytest.fixture(scope="module")
def findings(
    tower: list[Manifest], cluster: list[Manifest], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[tuple[str, str]]]:
    """Failed checks as (id, resource), by file: tower, cluster, one broken on purpose, and the Containerfile."""
    place = tmp_path_factory.mktemp("checkov")
    broken = deepcopy(named(tower, "Deployment", "mlflow"))
    broken["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    for name, objects in (
        ("tower", tower),
        ("cluster", [o for o in cluster if o not in tower]),
        ("broken", [broken]),
    ):
        (place / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
    shutil.copyfile(ROOT / "Containerfile", place / "Dockerfile")
    command = [
        str(CHECKOV),
        "-d",
        ".",
        "--framework",
        "kubernetes",
        "dockerfile",
        "--skip-download",
        "--compact",
        "--quiet",
        "-o",
        "json",
    ]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=200, check=False)
    found: dict[str, set[tuple[str, str]]] = {}
    for report in json.loads(done.stdout):
        for failed in report["results"]["failed_checks"]:
            name = Path(failed["file_path"]).stem
            found.setdefault(name, set()).add((failed["check_id"], failed["resource"]))
    return found


def test_nothing_is_found_that_was_not_weighed(findings: dict[str, set[tuple[str, str]]]) -> None:
    unexpected = []
    for name in ("tower", "cluster", "Dockerfile"):
        for identity, resource in sorted(findings[name]):
            reason = ACCEPTED.get(identity, "")
            where, _, told = reason.partition(": ")
            if not reason or (told and where != resource):
                unexpected.append((name, identity, resource))
    assert unexpected == []


def test_what_is_accepted_is_still_found(findings: dict[str, set[tuple[str, str]]]) -> None:
    assert set(ACCEPTED) == {
        identity for name, found in findings.items() if name != "broken" for identity, _ in found
    }


def test_a_privileged_container_is_found(findings: dict[str, set[tuple[str, str]]]) -> None:
    assert ("CKV_K8S_16", "Deployment.medtower.mlflow") in findings["broken"]
