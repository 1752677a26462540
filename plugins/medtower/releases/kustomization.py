"""`kustomization.yaml` of a model: what Argo CD hands to the verification before a release. Written by a proposal, never by hand.

The hook that verifies a release has no network: the evidence comes to it as a ConfigMap, whose generator must name every file. So this file
changes with a promotion and with its revert, and with nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtower.domain.release import Manifest
from medtower.errors import Refused
from medtower.releases import dossier, release_file

NAME = "kustomization.yaml"
LARGEST_BYTES = 1_000_000  # Kubernetes takes 1 MiB in one ConfigMap; the rest is for names
APPROVAL_BYTES = 2048  # a statement or a signature has a few hundred

TEMPLATE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
nameSuffix: -SUFFIX
resources: [../../argocd/model-release]
labels:
  - includeTemplates: true
    pairs:
      medtower/model: MODEL
# A hash in the names would leave a ConfigMap behind at each promotion.
generatorOptions:
  disableNameSuffixHash: true
configMapGenerator:
  - name: release
    files: [release.yaml]
  # The same with its evidence, as a hook: a PreSync job runs before the ConfigMap above is applied and would read the release before.
  - name: candidate
    options:
      disableNameSuffixHash: true
      annotations:
        argocd.argoproj.io/hook: PreSync
        argocd.argoproj.io/hook-delete-policy: BeforeHookCreation
        argocd.argoproj.io/sync-wave: "-1"
    files:
      - release.yaml
"""


def text(model: str, suffix: str, evidence: Sequence[str] = ()) -> str:
    """The file for `model`. `suffix` is its name as a Kubernetes object may have it; `evidence` are paths below the model's folder. A key of a
    ConfigMap has no slash, so two underscores stand for one."""
    keys = "".join(f"      - {path.replace('/', '__')}={path}\n" for path in evidence)
    return TEMPLATE.replace("SUFFIX", suffix).replace("MODEL", model) + keys


def render(model: str, manifest: Manifest | None) -> bytes:
    """The bytes of kustomization.yaml for the release of `manifest`; None is the release of no model.

    Raises Refused when the evidence is more than a ConfigMap holds.
    """
    if manifest is None:
        return text(model, model.replace("_", "-")).encode()
    _check_size(manifest)
    signed = [f"{role}{end}" for role in manifest.approvals for end in (".json", ".sig")]
    inside = [dossier.MANIFEST, *dossier.BOUND, *(f"{dossier.APPROVALS}/{name}" for name in signed)]
    folder = f"dossiers/{manifest.version}"
    evidence = ["config.pbtxt", *(f"{folder}/{name}" for name in sorted(inside))]
    return text(model, model.replace("_", "-"), evidence).encode()


def check(folder: Path, manifest: Manifest | None) -> None:
    """Raise Refused unless the file of the model's `folder` is the one that follows from `manifest`, to the byte: the cluster obeys it."""
    path = folder / NAME
    if not path.is_file() or path.read_bytes() != render(folder.name, manifest):
        raise Refused(
            "release", f"{folder.name}/{NAME} is not the one that follows from the release; propose it again"
        )


def _check_size(manifest: Manifest) -> None:
    # not in the manifest's list: itself, release.yaml and config.pbtxt in the model's folder
    beside = 2 * release_file.LARGEST_BYTES + len(dossier.render(manifest))
    total = sum(b.bytes for b in manifest.files) + 2 * len(manifest.approvals) * APPROVAL_BYTES + beside
    if total > LARGEST_BYTES:
        largest = max(manifest.files, key=lambda bound: bound.bytes)
        raise Refused(
            "dossier",
            f"the evidence of {manifest.model} {manifest.version} has {total} bytes, the cluster's verification takes {LARGEST_BYTES}; "
            f"shorten {largest.name} ({largest.bytes} bytes)",
        )
