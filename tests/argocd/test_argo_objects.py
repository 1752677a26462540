"""The objects that Argo CD reads, against a strict model of what we use of them: an unknown key is a typing error, not a comment.

Fields: Argo CD's documentation of Application, ApplicationSet and AppProject (argoproj.io/v1alpha1).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from tests.argocd.conftest import Manifest, Render

ARGOCD = Path(__file__).resolve().parents[2] / "argocd"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metadata(Strict):
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    namespace: Literal["argocd"]


class Destination(Strict):
    server: Literal["https://kubernetes.default.svc"]
    namespace: Literal["medtower", "airflow"]


class Source(Strict):
    repo_url: Literal["https://git.example.org/medtower.git"] = Field(alias="repoURL")
    target_revision: Literal["main"] = Field(alias="targetRevision")
    path: str


class Helm(Strict):
    release_name: str = Field(alias="releaseName")
    value_files: list[str] = Field(alias="valueFiles", min_length=1)


class ChartSource(Strict):
    repo_url: Literal["https://airflow.apache.org"] = Field(alias="repoURL")
    chart: Literal["airflow"]
    target_revision: str = Field(alias="targetRevision", pattern=r"^\d+\.\d+\.\d+$")
    helm: Helm


class ValuesSource(Strict):
    repo_url: Literal["https://git.example.org/medtower.git"] = Field(alias="repoURL")
    target_revision: Literal["main"] = Field(alias="targetRevision")
    ref: Literal["values"]


class Automated(Strict):
    prune: Literal[True]
    self_heal: Literal[True] = Field(alias="selfHeal")


class Backoff(Strict):
    duration: str = Field(pattern=r"^\d+s$")
    factor: int
    max_duration: str = Field(alias="maxDuration", pattern=r"^\d+s$")


class Retry(Strict):
    # More, or without refresh, and a failing sync holds up the revert that would end it.
    limit: Literal[2]
    refresh: Literal[True]
    backoff: Backoff


class SyncPolicy(Strict):
    automated: Automated
    retry: Retry
    sync_options: tuple[Literal["ServerSideApply=true"], Literal["FailOnSharedResource=true"]] = Field(
        alias="syncOptions"
    )


class ApplicationSpec(Strict):
    # Hardcoded: a project taken from a folder's name would let that folder choose its own rights.
    project: Literal["medtower", "medtower-models"]
    source: Source
    destination: Destination
    sync_policy: SyncPolicy = Field(alias="syncPolicy")


class ChartSpec(Strict):
    project: Literal["airflow"]
    sources: tuple[ChartSource, ValuesSource]
    destination: Destination
    sync_policy: SyncPolicy = Field(alias="syncPolicy")


class Application(Strict):
    api_version: Literal["argoproj.io/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Application"]
    metadata: Metadata
    spec: ApplicationSpec | ChartSpec


class GitDirectory(Strict):
    path: Literal["triton_models/*"]


class GitGenerator(Strict):
    repo_url: Literal["https://git.example.org/medtower.git"] = Field(alias="repoURL")
    revision: Literal["main"]
    directories: list[GitDirectory] = Field(min_length=1, max_length=1)


class Generator(Strict):
    git: GitGenerator


class Preserve(Strict):
    preserve: Literal[True] = Field(alias="preserveResourcesOnDeletion")


class TemplateMetadata(Strict):
    name: Literal["triton-models-{{ .path.basenameNormalized }}"]


class ModelSpec(ApplicationSpec):
    project: Literal["medtower-models"]


class Template(Strict):
    metadata: TemplateMetadata
    spec: ModelSpec


class ApplicationSetSpec(Strict):
    go_template: Literal[True] = Field(alias="goTemplate")
    go_template_options: tuple[Literal["missingkey=error"]] = Field(alias="goTemplateOptions")
    generators: tuple[Generator]
    sync_policy: Preserve = Field(alias="syncPolicy")
    template: Template


class ApplicationSet(Strict):
    api_version: Literal["argoproj.io/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["ApplicationSet"]
    metadata: Metadata
    spec: ApplicationSetSpec


class Kind(Strict):
    group: str
    kind: str


class ProjectSpec(Strict):
    description: str
    # The first is the site's own, replaced from apps/site.yaml. No sync windows: a closed one blocks the revert too.
    source_repos: list[str] = Field(alias="sourceRepos", min_length=1, max_length=2)
    destinations: tuple[Destination]
    cluster_kinds: list[Kind] = Field(alias="clusterResourceWhitelist")
    namespace_kinds: list[Kind] = Field(alias="namespaceResourceWhitelist")


class AppProject(Strict):
    api_version: Literal["argoproj.io/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["AppProject"]
    metadata: Metadata
    spec: ProjectSpec


ArgoObject = Annotated[Application | ApplicationSet | AppProject, Field(discriminator="kind")]
ARGO_OBJECT: TypeAdapter[Application | ApplicationSet | AppProject] = TypeAdapter(ArgoObject)
FILES = sorted(
    path
    for folder in ("apps", "projects")
    for path in (ARGOCD / folder).glob("*.yaml")
    if path.name not in ("kustomization.yaml", "site.yaml")
)


def read(name: str) -> Application | ApplicationSet | AppProject:
    return ARGO_OBJECT.validate_python(yaml.safe_load((ARGOCD / name).read_text()))


def set_at(document: Manifest, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_object_is_what_argo_cd_expects_and_nothing_more(path: Path) -> None:
    ARGO_OBJECT.validate_python(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("apps/triton.yaml", "spec.syncPolicy.retry.limits", 2),
        ("apps/triton.yaml", "spec.syncPolicy.retry.limit", 10),
        ("apps/triton.yaml", "spec.syncPolicy.retry.refresh", False),
        ("apps/triton.yaml", "spec.syncPolicy.automated.selfHeal", False),
        ("apps/triton.yaml", "spec.source.targetRevision", "HEAD"),
        ("apps/airflow.yaml", "spec.project", "medtower"),
        ("apps/triton-models.appset.yaml", "spec.template.spec.project", "{{ .path.basename }}"),
        ("apps/triton-models.appset.yaml", "spec.template.spec.project", "medtower"),
        ("apps/triton-models.appset.yaml", "spec.syncPolicy", {}),
        (
            "projects/medtower.yaml",
            "spec.syncWindows",
            [{"kind": "deny", "schedule": "* 22 * * *", "duration": "1h"}],
        ),
    ],
)
def test_a_mistake_is_refused(name: str, path: str, value: object) -> None:
    document = yaml.safe_load((ARGOCD / name).read_text())
    set_at(document, path, value)
    with pytest.raises(ValidationError):
        ARGO_OBJECT.validate_python(document)


@pytest.mark.parametrize("overlay", ["tower", "cluster"])
def test_each_application_points_at_a_directory_that_can_be_rendered(overlay: str, render: Render) -> None:
    for item in render(ARGOCD / "overlays" / overlay / "apps"):
        found = ARGO_OBJECT.validate_python(item)
        if isinstance(found, Application) and isinstance(found.spec, ApplicationSpec):
            assert render(ARGOCD.parent / found.spec.source.path)
        if isinstance(found, Application) and isinstance(found.spec, ChartSpec):
            for file in found.spec.sources[0].helm.value_files:
                assert (ARGOCD.parent / file.removeprefix("$values/")).is_file()


def test_every_application_of_the_cluster_is_one_of_the_tower(render: Render) -> None:
    def names(overlay: str) -> list[tuple[str, str]]:
        return [(i["kind"], i["metadata"]["name"]) for i in render(ARGOCD / "overlays" / overlay / "apps")]

    assert names("tower") == names("cluster")
    assert len(names("tower")) == len(FILES)


def test_a_site_names_its_repository_in_one_line(render: Render, tmp_path: Path) -> None:
    shutil.copytree(ARGOCD, tmp_path / "argocd")
    site, mine = tmp_path / "argocd/apps/site.yaml", "https://git.hospital.example.org/ml/medtower.git"
    example = "https://git.example.org/medtower.git"
    site.write_text(site.read_text().replace(example, mine))
    text = yaml.safe_dump_all(render(tmp_path / "argocd/overlays/tower/apps"))
    assert example not in text
    assert (
        text.count(mine) == 5 + 1 + 3
    )  # five applications and the set's template, its generator, three projects


def test_the_set_makes_one_application_for_each_model() -> None:
    models = read("apps/triton-models.appset.yaml")
    assert isinstance(models, ApplicationSet)
    (pattern,) = models.spec.generators[0].git.directories
    made = {}
    for folder in sorted(ARGOCD.parent.glob(pattern.path)):
        basename = folder.name  # basenameNormalized: what may not stand in a DNS name becomes a hyphen
        values = {
            "{{ .path.basenameNormalized }}": basename.lower().replace("_", "-"),
            "{{ .path.path }}": f"triton_models/{basename}",
        }
        text = models.spec.template.model_dump_json(by_alias=True)
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        assert "{{" not in text
        document = json.loads(text)
        application = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **document}
        application["metadata"]["namespace"] = "argocd"
        found = ARGO_OBJECT.validate_python(application)
        assert isinstance(found, Application)
        assert isinstance(found.spec, ApplicationSpec)
        made[found.metadata.name] = found.spec.source.path
    assert made["triton-models-als-risk"] == "triton_models/als_risk"
    assert len(made) == len(list((ARGOCD.parent / "triton_models").iterdir()))


@pytest.mark.parametrize("name", ["medtower", "medtower-models", "airflow"])
def test_no_project_lets_git_touch_a_secret_or_anything_cluster_wide(name: str) -> None:
    project = read(f"projects/{name}.yaml")
    assert isinstance(project, AppProject)
    assert project.spec.cluster_kinds == []
    assert not {"Secret", "ClusterRole", "Namespace"} & {kind.kind for kind in project.spec.namespace_kinds}


def test_the_projects_allow_exactly_what_is_rendered(
    tower: list[Manifest], cluster: list[Manifest], model_objects: list[Manifest]
) -> None:
    def allowed(name: str) -> set[tuple[str, str]]:
        project = read(f"projects/{name}.yaml")
        assert isinstance(project, AppProject)
        return {(kind.group, kind.kind) for kind in project.spec.namespace_kinds}

    def kinds(objects: list[Manifest]) -> set[tuple[str, str]]:
        return {(i["apiVersion"].rpartition("/")[0], i["kind"]) for i in objects}

    assert allowed("medtower-models") == kinds(model_objects)
    assert allowed("medtower") == kinds([i for i in [*tower, *cluster] if i not in model_objects])
