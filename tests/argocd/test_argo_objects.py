"""The objects that Argo CD reads, against a strict model of what we use of them: an unknown key is a typing error, not a comment.

Fields: Argo CD's documentation of Application, ApplicationSet and AppProject (argoproj.io/v1alpha1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

ARGOCD = Path(__file__).resolve().parents[2] / "argocd"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metadata(Strict):
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    namespace: Literal["argocd"]


class Destination(Strict):
    server: Literal["https://kubernetes.default.svc"]
    namespace: Literal["medtower"]


class Source(Strict):
    repo_url: Literal["https://git.example.org/medtower.git"] = Field(alias="repoURL")
    target_revision: Literal["main"] = Field(alias="targetRevision")
    path: str


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
    sync_options: list[Literal["ServerSideApply=true"]] = Field(alias="syncOptions", min_length=1)


class ApplicationSpec(Strict):
    # Hardcoded: a project taken from a folder's name would let that folder choose its own rights.
    project: Literal["medtower"]
    source: Source
    destination: Destination
    sync_policy: SyncPolicy = Field(alias="syncPolicy")


class Application(Strict):
    api_version: Literal["argoproj.io/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Application"]
    metadata: Metadata
    spec: ApplicationSpec


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


class Template(Strict):
    metadata: TemplateMetadata
    spec: ApplicationSpec


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
    source_repos: tuple[Literal["https://git.example.org/medtower.git"]] = Field(alias="sourceRepos")
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
FILES = sorted([*(ARGOCD / "apps").glob("*.yaml"), *(ARGOCD / "projects").glob("*.yaml")])


def read(name: str) -> Application | ApplicationSet | AppProject:
    return ARGO_OBJECT.validate_python(yaml.safe_load((ARGOCD / name).read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_object_is_what_argo_cd_expects_and_nothing_more(path: Path) -> None:
    ARGO_OBJECT.validate_python(yaml.safe_load(path.read_text()))


def test_a_misspelt_key_is_refused() -> None:
    document = yaml.safe_load((ARGOCD / "apps/triton.yaml").read_text())
    document["spec"]["syncPolicy"]["retry"]["limits"] = 2
    with pytest.raises(ValidationError, match="limits"):
        ARGO_OBJECT.validate_python(document)


def test_a_project_from_a_template_is_refused() -> None:
    document = yaml.safe_load((ARGOCD / "apps/triton-models.appset.yaml").read_text())
    document["spec"]["template"]["spec"]["project"] = "{{ .path.basename }}"
    with pytest.raises(ValidationError, match="project"):
        ARGO_OBJECT.validate_python(document)


@pytest.mark.parametrize("name", ["triton", "gateway"])
def test_each_application_points_at_a_directory_that_can_be_rendered(name: str) -> None:
    application = read(f"apps/{name}.yaml")
    assert isinstance(application, Application)
    assert application.metadata.name == name
    assert (ARGOCD.parent / application.spec.source.path / "kustomization.yaml").is_file()


def test_each_model_is_synced_from_its_own_folder() -> None:
    models = read("apps/triton-models.appset.yaml")
    assert isinstance(models, ApplicationSet)
    assert models.spec.template.spec.source.path == "{{ .path.path }}"


def test_the_project_lets_git_touch_no_secret_and_nothing_cluster_wide() -> None:
    project = read("projects/medtower.yaml")
    assert isinstance(project, AppProject)
    assert project.spec.cluster_kinds == []
    assert "Secret" not in {kind.kind for kind in project.spec.namespace_kinds}


def test_the_project_allows_every_kind_that_is_rendered(rendered: list[dict[str, str]]) -> None:
    project = read("projects/medtower.yaml")
    assert isinstance(project, AppProject)
    allowed = {(kind.group, kind.kind) for kind in project.spec.namespace_kinds}
    group = {item["kind"]: item["apiVersion"].rpartition("/")[0] for item in rendered}
    assert {(group[kind], kind) for kind in group} == allowed
