"""A model's application: verified before, smoked after, never in the way of a revert."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(path.parent for path in (ROOT / "triton_models").glob("*/kustomization.yaml"))
HOOK = "argocd.argoproj.io/hook"


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def test_a_model_directory_renders_to_two_config_maps_and_two_jobs(model_objects: list[Manifest]) -> None:
    assert {(item["kind"], item["metadata"]["name"]) for item in model_objects} == {
        ("ConfigMap", "candidate-als-risk"),
        ("ConfigMap", "release-als-risk"),
        ("Job", "verify-als-risk"),
        ("Job", "smoke-als-risk"),
    }


def test_verification_sees_the_release_of_this_sync_and_not_the_one_before(
    model_objects: list[Manifest],
) -> None:
    candidate = named(model_objects, "ConfigMap", "candidate-als-risk")
    verify = named(model_objects, "Job", "verify-als-risk")
    assert candidate["metadata"]["annotations"] == {
        HOOK: "PreSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        "argocd.argoproj.io/sync-wave": "-1",
    }
    assert verify["metadata"]["annotations"][HOOK] == "PreSync"
    volumes = verify["spec"]["template"]["spec"]["volumes"]
    assert {"name": "configmap", "configMap": {"name": "candidate-als-risk"}} in volumes
    assert candidate["data"] == named(model_objects, "ConfigMap", "release-als-risk")["data"]


def test_the_jobs_run_the_verbs_on_this_model(model_objects: list[Manifest]) -> None:
    for name, arguments, source in (
        ("verify", ["verify", "/candidate/triton_models/$(MODEL)"], "candidate-als-risk"),
        ("smoke", ["smoke", "$(MODEL)"], "release-als-risk"),
    ):
        (container,) = named(model_objects, "Job", f"{name}-als-risk")["spec"]["template"]["spec"][
            "containers"
        ]
        assert container["args"] == arguments
        reference = {"configMapKeyRef": {"name": source, "key": "model"}}
        assert container["env"][0] == {"name": "MODEL", "valueFrom": reference}
    assert named(model_objects, "ConfigMap", "release-als-risk")["data"]["model"] == "als_risk"


def test_a_hook_ends_within_two_minutes_and_leaves_its_log(model_objects: list[Manifest]) -> None:
    for job in (item for item in model_objects if item["kind"] == "Job"):
        assert job["spec"]["activeDeadlineSeconds"] == 120
        assert job["spec"]["backoffLimit"] == 0
        assert "ttlSecondsAfterFinished" not in job["spec"]
        assert job["metadata"]["annotations"]["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_the_smoke_test_may_reach_the_gateway(
    model_objects: list[Manifest], rendered: list[Manifest]
) -> None:
    (rule,) = named(rendered, "NetworkPolicy", "gateway")["spec"]["ingress"]
    wanted = rule["from"][0]["podSelector"]["matchLabels"]
    labels = named(model_objects, "Job", "smoke-als-risk")["spec"]["template"]["metadata"]["labels"]
    assert wanted.items() <= labels.items()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is missing: install the Debian package `git`")
def test_the_candidate_is_the_model_of_main_with_the_release_of_this_sync(
    model_objects: list[Manifest], tmp_path: Path
) -> None:
    (tmp_path / "configmap").mkdir()
    (tmp_path / "configmap/release.yaml").write_text("version: 3\n")
    result = assemble(model_objects, tmp_path, bare_repository(tmp_path))
    assert result.returncode == 0, result.stderr
    tree = tmp_path / "candidate/triton_models/als_risk"
    files = {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}
    assert files == {"release.yaml": "version: 3\n", "dossiers/3/manifest.json": "{}\n"}
    assert [path.name for path in (tmp_path / "candidate").iterdir()] == ["triton_models"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is missing: install the Debian package `git`")
def test_a_model_that_main_does_not_have_yet_is_not_verified(
    model_objects: list[Manifest], tmp_path: Path
) -> None:
    (tmp_path / "configmap").mkdir()
    (tmp_path / "configmap/release.yaml").write_text("version: 3\n")
    result = assemble(model_objects, tmp_path, bare_repository(tmp_path), model="unknown")
    assert result.returncode != 0
    assert "triton_models/unknown" in result.stderr


def bare_repository(folder: Path) -> Path:
    """A bare repository whose `main` holds version 2 as the release of als_risk, and the dossier of version 3."""
    work = folder / "work"
    model = work / "triton_models/als_risk"
    (model / "dossiers/3").mkdir(parents=True)
    (model / "dossiers/3/manifest.json").write_text("{}\n")
    (model / "release.yaml").write_text("version: 2\n")
    author = ["-c", "user.name=release", "-c", "user.email=release@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (
        ["init", "--quiet", "--initial-branch=main", "."],
        ["add", "."],
        [*author, "commit", "--quiet", "--message=Release"],
        ["clone", "--quiet", "--bare", ".", str(folder / "models.git")],
    ):
        subprocess.run(["git", *arguments], cwd=work, check=True, timeout=60)
    return folder / "models.git"


def assemble(
    objects: list[Manifest], folder: Path, repository: Path, model: str = "als_risk"
) -> subprocess.CompletedProcess[str]:
    """Run the init container's own script on this machine, its two mount points put under `folder`."""
    (container,) = named(objects, "Job", "verify-als-risk")["spec"]["template"]["spec"]["initContainers"]
    (folder / "candidate").mkdir()
    (script,) = container["args"]
    for mount in ("/candidate", "/configmap"):
        script = script.replace(mount, f"{folder}{mount}")
    environment = {"PATH": os.environ["PATH"], "MODEL": model, "GIT_DIR": str(repository)}
    command = [*container["command"], script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_every_model_of_the_repository_has_the_kustomization_that_the_readme_gives(
    model: Path, render: Callable[[Path], list[Manifest]], kustomization_example: str
) -> None:
    expected = kustomization_example.replace("als_risk", model.name)
    expected = expected.replace("als-risk", model.name.replace("_", "-"))
    assert yaml.safe_load((model / "kustomization.yaml").read_text()) == yaml.safe_load(expected)
    assert f"verify-{model.name.replace('_', '-')}" in {item["metadata"]["name"] for item in render(model)}
