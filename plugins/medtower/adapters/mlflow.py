"""The model registry: runs, artifacts and integer versions in MLflow. Aliases mirror git and are never the authority."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtower.adapters import weights
from medtower.adapters.weights_download import Artifacts
from medtower.errors import MedtowerError, NotFound, Refused, Unavailable

REQUIREMENTS = ["onnxruntime"]
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
TRIGGER = "medtower.trigger"
LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version number in the registry and the run that made it."""

    model: str
    version: int
    run_id: str

    @property
    def uri(self) -> str:
        return f"models:/{self.model}/{self.version}"


class Registry:
    """MLflow at `uri`. Every method raises Unavailable when the server is down; nothing is half-registered then."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # MLflow retries for minutes by default; a DAG task or a reconciler retries by itself
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

    def log_version(
        self,
        model: str,
        *,
        onnx: Path,
        files: Mapping[str, Path],
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        key: Path,
    ) -> RegisteredVersion:
        """Log one training run with its network and evidence files, and register it; the registry gives the next integer version.

        The weights are signed with the private `key`, and the signature lies beside them. The version comes last: whoever finds one finds all
        of its files. `tags` stand on the run and on the version.
        """
        import onnx as onnx_library

        network = onnx_library.load(str(onnx))
        with self._session() as mlflow, _signed(network, key) as signature:
            mlflow.set_experiment(model)
            with mlflow.start_run(run_name=f"train {model}", tags=dict(tags)) as run:
                mlflow.log_params(dict(parameters))
                mlflow.log_metrics(dict(metrics))
                for name, path in files.items():
                    mlflow.log_artifact(
                        str(path), artifact_path=str(Path(name).parent) if "/" in name else None
                    )
                info = mlflow.onnx.log_model(
                    network,
                    name="model",
                    pip_requirements=REQUIREMENTS,
                    save_as_external_data=False,
                )
                mlflow.MlflowClient().log_model_artifact(info.model_id, str(signature))
                return _register(mlflow, model, run.info.run_id, info.model_id, tags)

    def version(self, model: str, version: int) -> RegisteredVersion:
        """The registered version; raises NotFound."""
        with self._session() as mlflow:
            try:
                found = mlflow.MlflowClient().get_model_version(model, str(version))
            except mlflow.exceptions.MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                raise NotFound(
                    f"{model} {version}", "MLflow", f"train one with `medtower train {model}`"
                ) from None
            return RegisteredVersion(model, version, found.run_id)

    def made_by(self, model: str, trigger: str) -> RegisteredVersion | None:
        """The version that `trigger` made, the first should there be several; None when it made none."""
        with self._session() as mlflow:
            versions = mlflow.MlflowClient().search_model_versions(f"name='{model}'")
            found = [v for v in versions if v.tags.get(TRIGGER) == trigger]
            first = min(found, key=lambda v: int(v.version), default=None)
            return RegisteredVersion(model, int(first.version), first.run_id) if first else None

    def fetch_weights(self, uri: str, to: Path) -> Path:
        """Download `model.onnx` of a `models:/name/version` URI into the folder `to`; return its path. The caller checks the digest."""
        return self._download(f"{uri}/model.onnx", to)

    def warm_up(self) -> None:
        """Import MLflow's client: seconds that no promotion should wait for."""
        with self._session():
            pass

    def complete_weights(self, uri: str, to: Path, *, size: int, sha256: str) -> bytes:
        """Complete the file `to` with the weights of a `models:/name/version` URI, `size` bytes with that `sha256`, and return their signature.

        A download that broke off leaves its part in `to`, and is gone on with. Raises what `Artifacts.download` does, and Refused when they are
        not signed. The caller verifies the signature.
        """
        source, artifacts = self._source(uri), Artifacts(self._uri)
        artifacts.download(
            f"{source}/model.onnx", to, size=size, sha256=sha256, label=uri.removeprefix("models:/")
        )
        try:
            return artifacts.read(f"{source}/{weights.SIGNATURE}", weights.LARGEST_SIGNATURE)
        except NotFound:
            raise Refused(
                weights.RULE, f"the weights of {uri} are not signed; train the version again"
            ) from None

    def _source(self, uri: str) -> str:
        """The folder in the artifact store where the logged model of a registered version lies."""
        name, _, version = uri.removeprefix("models:/").rpartition("/")
        with self._session() as mlflow:
            client = mlflow.MlflowClient()
            source = str(client.get_model_version(name, version).source)
            logged = LOGGED_MODEL.fullmatch(source)
            return str(client.get_logged_model(logged[1]).artifact_location) if logged else source

    def fetch_file(self, run_id: str, name: str, to: Path) -> Path:
        """Download one evidence file of a run into the folder `to`."""
        return self._download(f"runs:/{run_id}/{name}", to)

    def mark_champion(self, model: str, version: int | None) -> None:
        """Mirror what git says serves as the alias `champion`; None removes it."""
        with self._session() as mlflow:
            client = mlflow.MlflowClient()
            if version is None:
                client.delete_registered_model_alias(model, "champion")
            else:
                client.set_registered_model_alias(model, "champion", str(version))

    def _download(self, uri: str, to: Path) -> Path:
        to.mkdir(parents=True, exist_ok=True)
        with self._session() as mlflow:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(to)))

    @contextlib.contextmanager
    def _session(self) -> Iterator[Any]:
        import mlflow
        import mlflow.onnx
        import requests

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        try:
            yield mlflow
        except (requests.exceptions.RequestException, mlflow.exceptions.MlflowException) as error:
            raise self._translate(error) from None

    def _translate(self, error: Exception) -> MedtowerError:
        code = getattr(error, "error_code", None)
        response = getattr(error, "response", None)
        if code in ABSENT or getattr(response, "status_code", None) == 404:
            return NotFound("what was asked for", "MLflow", "the run, the version or its file was removed")
        if code in (None, "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            return Unavailable("MLflow", f"no answer from {self._uri}; no version was registered")
        return Refused("registry", f"MLflow answered {code}")


@contextlib.contextmanager
def _signed(network: Any, key: Path) -> Iterator[Path]:
    """The signature, in a file, over the bytes that MLflow will store of the ONNX `network`: it writes its own, not those that training wrote."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="medtower-sign-") as folder:
        stored, signature = Path(folder) / "model.onnx", Path(folder) / weights.SIGNATURE
        onnx.save_model(network, str(stored))
        signature.write_bytes(weights.sign(stored, key))
        yield signature


def _register(
    mlflow: Any, model: str, run_id: str, logged: str, tags: Mapping[str, str]
) -> RegisteredVersion:
    """What `registered_model_name=` of `log_model` does, without its printing."""
    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(model)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        model, f"models:/{logged}", run_id, tags=dict(tags), model_id=logged, await_creation_for=0
    )
    return RegisteredVersion(model, int(made.version), run_id)
