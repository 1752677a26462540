"""The parts a workflow joins, made from the settings: one place that knows which adapter serves which purpose."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medtower.adapters import contracts
from medtower.adapters.git import MAIN, Repository
from medtower.adapters.mlflow import Registry
from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.adapters.triton import Triton
from medtower.domain.cohort import CohortSpec
from medtower.domain.contract import Contract, check_model_name
from medtower.domain.release import Release
from medtower.domain.tree import MODELS
from medtower.errors import NotFound
from medtower.releases import release_file
from medtower.settings import Settings, settings


@dataclass(frozen=True)
class Model:
    """One model as `main` has it: its folder (a temporary copy), contract, cohort and release."""

    folder: Path
    contract: Contract
    cohort: CohortSpec
    release: Release


class Tower:
    """The parts behind `settings`, each opened at its first use."""

    def __init__(self, chosen: Settings | None = None) -> None:
        self.settings = chosen or settings()

    @cached_property
    def repository(self) -> Repository:
        return Repository(self.settings.path("repository"))

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.settings.mlflow_uri)

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.dsn.get_secret_value())

    @cached_property
    def predictions(self) -> PredictionStore:
        return PredictionStore(self.settings.dsn.get_secret_value())

    @cached_property
    def triton(self) -> Triton:
        key = self.settings.triton_admin_key.get_secret_value()
        return Triton(self.settings.triton_url, key, grpc_url=self.settings.triton_grpc_url)

    @property
    def trust_root(self) -> Path:
        return self.settings.path("trust_root")

    @contextlib.contextmanager
    def models(self) -> Iterator[Path]:
        """A temporary copy of `triton_models/` at the head of `main`."""
        with tempfile.TemporaryDirectory(prefix="medtower-") as folder:
            models = Path(folder) / MODELS
            self.repository.export(f"{MAIN}:{MODELS}", models)
            yield models

    @contextlib.contextmanager
    def model(self, name: str) -> Iterator[Model]:
        """One model as `main` has it; raises NotFound and ContractInvalid."""
        with self.models() as models:
            yield read_model(models, name)

    def names(self) -> list[str]:
        """The names of all models on `main`, sorted."""
        with self.models() as models:
            return sorted(p.parent.name for p in models.glob("*/model.yaml"))


def read_model(models: Path, name: str) -> Model:
    folder = models / check_model_name(name)
    if not (folder / "model.yaml").exists():
        known = ", ".join(sorted(p.parent.name for p in models.glob("*/model.yaml")))
        raise NotFound(
            f"the model {name}", MODELS, f"known: {known}; make one with `medtower new-model {name}`"
        )
    return Model(folder, contracts.read(folder), contracts.read_cohort(folder), release_file.read(folder))
