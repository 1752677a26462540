"""A model's application: verified before from the ConfigMap alone, waited for after, never in the way of a revert."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.argocd.checks import Manifest, named
from tests.argocd.conftest import ARGOCD, ROOT, Render
from tests.fixtures.releases import ENVIRONMENT, World

from medtower.domain.release import Manifest as ReleaseManifest
from medtower.errors import Refused
from medtower.releases import dossier, kustomization
from medtower.workflows import model_tree
from medtower.workflows.new_model import scaffold

HOOK = "argocd.argoproj.io/hook"
MODELS = sorted(path.parent for path in (ROOT / "triton_models").glob("*/model.yaml"))


def test_a_model_directory_renders_to_two_config_maps_and_two_jobs(model_objects: list[Manifest]) -> None:
    assert {(item["kind"], item["metadata"]["name"]) for item in model_objects} == {
        ("ConfigMap", "candidate-als-risk"),
        ("ConfigMap", "release-als-risk"),
        ("Job", "verify-als-risk"),
        ("Job", "smoke-als-risk"),
    }


def test_the_candidate_is_there_before_the_hook_that_reads_it(model_objects: list[Manifest]) -> None:
    candidate = named(model_objects, "ConfigMap", "candidate-als-risk")
    assert candidate["metadata"]["annotations"] == {
        HOOK: "PreSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        "argocd.argoproj.io/sync-wave": "-1",
    }
    verify = named(model_objects, "Job", "verify-als-risk")
    assert verify["metadata"]["annotations"][HOOK] == "PreSync"
    assert {"name": "configmap", "configMap": {"name": "candidate-als-risk"}} in verify["spec"]["template"][
        "spec"
    ]["volumes"]
    assert named(model_objects, "Job", "smoke-als-risk")["metadata"]["annotations"][HOOK] == "PostSync"
    assert HOOK not in named(model_objects, "ConfigMap", "release-als-risk")["metadata"].get(
        "annotations", {}
    )


def test_the_hooks_learn_their_model_from_their_own_label(model_objects: list[Manifest]) -> None:
    for name in ("verify-als-risk", "smoke-als-risk"):
        template = named(model_objects, "Job", name)["spec"]["template"]
        assert template["metadata"]["labels"]["medtower/model"] == "als_risk"
        for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            source = {"fieldRef": {"fieldPath": "metadata.labels['medtower/model']"}}
            assert container["env"][0] == {"name": "MODEL", "valueFrom": source}


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_every_model_of_the_repository_has_the_kustomization_that_a_new_one_gets(
    model: Path, render: Render
) -> None:
    assert (model / kustomization.NAME).read_bytes() == kustomization.render(model.name, None)
    assert named(render(model), "Job", f"verify-{model.name.replace('_', '-')}")


def test_a_new_model_is_an_application_from_its_first_moment(tmp_path: Path, render: Render) -> None:
    shutil.copytree(ARGOCD / "model-release", tmp_path / "argocd/model-release")
    folder = scaffold(tmp_path / "triton_models", "kidney_risk", "classification", None)
    assert (folder / kustomization.NAME).read_bytes() == kustomization.render("kidney_risk", None)
    assert named(render(folder), "Job", "smoke-kidney-risk")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, ReleaseManifest]:
    """The folder `triton_models/als_risk` below the world's root: version 1 promoted, its kustomization as a proposal writes it."""
    world = World(tmp_path_factory.mktemp("world"), "als_risk")
    world.promote("als_risk", 1)
    shutil.copytree(ARGOCD / "model-release", world.root / "argocd/model-release")
    with model_tree.exported(world.repository, "main", "als_risk") as folder:
        shutil.copytree(folder, world.root / "triton_models/als_risk")
    manifest = dossier.read(world.root / "triton_models/als_risk/dossiers/1")
    path = world.root / "triton_models/als_risk" / kustomization.NAME
    path.write_bytes(kustomization.render("als_risk", manifest))
    return world, manifest


def test_the_candidate_holds_the_whole_evidence_and_nothing_else(
    released: tuple[World, ReleaseManifest], render: Render
) -> None:
    world, _ = released
    folder = world.root / "triton_models/als_risk"
    data = named(render(folder), "ConfigMap", "candidate-als-risk")["data"]
    beside = {kustomization.NAME, "model.yaml", "cohort.yaml"}
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - beside
    assert {key.replace("__", "/"): text for key, text in data.items()} == {
        f: (folder / f).read_text() for f in files
    }
    assert named(render(folder), "ConfigMap", "release-als-risk")["data"].keys() == {"release.yaml"}


def test_a_signed_release_is_verified_from_the_config_map_and_the_public_keys_alone(
    released: tuple[World, ReleaseManifest], render: Render, tmp_path: Path
) -> None:
    world, _ = released
    result = run_hook(render(world.root / "triton_models/als_risk"), world, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "als_risk 1 (1.0.0) may serve" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    "key", ["dossiers__1__golden.json", "dossiers__1__approvals__clinical.json", "release.yaml"]
)
def test_one_changed_character_of_the_candidate_is_refused(
    key: str, released: tuple[World, ReleaseManifest], render: Render, tmp_path: Path
) -> None:
    world, _ = released
    objects = render(world.root / "triton_models/als_risk")
    data = named(objects, "ConfigMap", "candidate-als-risk")["data"]
    data[key] = data[key].replace("1", "2", 1)
    result = run_hook(objects, world, tmp_path)
    assert result.returncode != 0
    assert "medtower:" in result.stderr


def test_a_release_whose_evidence_is_not_in_the_config_map_is_refused(
    released: tuple[World, ReleaseManifest], render: Render, tmp_path: Path
) -> None:
    world, _ = released
    objects = render(world.root / "triton_models/als_risk")
    data = named(objects, "ConfigMap", "candidate-als-risk")["data"]
    data.pop("dossiers__1__approvals__clinical.sig")
    result = run_hook(objects, world, tmp_path)
    assert result.returncode != 0
    assert "clinical" in result.stderr


def test_a_key_that_leads_out_of_the_folder_is_refused(
    released: tuple[World, ReleaseManifest], render: Render, tmp_path: Path
) -> None:
    world, _ = released
    objects = render(world.root / "triton_models/als_risk")
    named(objects, "ConfigMap", "candidate-als-risk")["data"]["a__..__..__b"] = "x"
    result = run_hook(objects, world, tmp_path)
    assert result.returncode != 0
    assert "leads out of the folder" in result.stderr


def run_hook(objects: list[Manifest], world: World, place: Path) -> subprocess.CompletedProcess[str]:
    """Both containers of the verify job on this machine, their mount points put under `place`; the ConfigMap is mounted as Kubernetes
    does it: links into a folder of another name."""
    data = named(objects, "ConfigMap", "candidate-als-risk")["data"]
    (place / "configmap/..data").mkdir(parents=True)
    for key, content in data.items():
        (place / "configmap/..data" / key).write_text(content)
        (place / "configmap" / key).symlink_to(f"..data/{key}")
    (place / "candidate").mkdir()
    pod = named(objects, "Job", "verify-als-risk")["spec"]["template"]["spec"]
    result = None
    for container in [*pod["initContainers"], *pod["containers"]]:
        environment = {v["name"]: v.get("value", "als_risk") for v in container["env"]}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MEDTOWER_ENVIRONMENT": ENVIRONMENT,
            "MEDTOWER_TRUST_ROOT": str(world.trust_root),
            "COLUMNS": "500",
        }
        arguments = [a.replace("$(MODEL)", "als_risk") for a in container["args"]]
        for mount in ("/candidate", "/configmap"):
            arguments = [a.replace(mount, f"{place}{mount}") for a in arguments]
        result = subprocess.run(
            arguments, env=environment, cwd=place, capture_output=True, text=True, timeout=60, check=False
        )
        if result.returncode:
            break
    assert result is not None
    return result


def test_a_dossier_beyond_a_config_map_is_refused_when_it_is_proposed(
    released: tuple[World, ReleaseManifest],
) -> None:
    _, manifest = released
    large = [
        b.model_copy(update={"bytes": 990_000}) if b.name == "evaluation.json" else b for b in manifest.files
    ]
    with pytest.raises(Refused, match=r"shorten evaluation.json \(990000 bytes\)"):
        kustomization.render("als_risk", manifest.model_copy(update={"files": large}))


def test_a_model_that_is_taken_back_has_the_kustomization_of_a_new_one() -> None:
    document = yaml.safe_load(kustomization.render("als_risk", None))
    assert [generator["files"] for generator in document["configMapGenerator"]] == [
        ["release.yaml"],
        ["release.yaml"],
    ]
