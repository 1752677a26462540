"""The rendered part of docs/guides/argocd.md. `python -m tests.argocd.guide` writes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/guides/argocd.md"
START, END = "<!-- rendered -->\n", "<!-- /rendered -->\n"
FOLDERS = (
    "argocd/triton",
    "argocd/gateway",
    "argocd/mlflow",
    "argocd/overlays/cluster/triton",
    "argocd/overlays/cluster/gateway",
    "argocd/overlays/cluster/mlflow",
    "argocd/overlays/tower/apps",
    "triton_models/als_risk",
)
SHOWN = "triton_models/als_risk"


def kustomize(folder: str) -> str:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    done = subprocess.run(
        [kubectl, "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def table() -> str:
    """One line a folder: its objects."""
    lines = ["| folder | objects |", "|---|---|"]
    for folder in FOLDERS:
        objects = [d for d in yaml.safe_load_all(kustomize(folder)) if d]
        names = ", ".join(f"{d['kind']} {d['metadata']['name']}" for d in objects)
        lines.append(f"| `{folder}` | {names} |")
    return "\n".join(lines) + "\n"


def rendered() -> str:
    return (
        f"{START}\n{table()}\n`{SHOWN}`, as the cluster receives it:\n\n```yaml\n{kustomize(SHOWN)}```\n{END}"
    )


def written() -> str:
    """The guide with its rendered part as it is now."""
    before, _, rest = GUIDE.read_text().partition(START)
    return before + rendered() + rest.partition(END)[2]


if __name__ == "__main__":
    GUIDE.write_text(written())
