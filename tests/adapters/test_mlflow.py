"""The model registry against a real MLflow server."""

from __future__ import annotations

import hashlib
import itertools
import time
from pathlib import Path

import httpx
import pytest
from tests.fixtures.onnx_models import linear
from tests.fixtures.proxy import Proxy
from tests.fixtures.registry import latest
from tests.fixtures.tower import RunningTower

from medtower.adapters import weights
from medtower.adapters.mlflow import TRIGGER, RegisteredVersion, Registry
from medtower.errors import NotFound, Refused, Unavailable

pytestmark = pytest.mark.tower
numbers = itertools.count(1)


@pytest.fixture
def registry(tower: RunningTower) -> Registry:
    return tower.tower.registry


@pytest.fixture
def model() -> str:
    """A name that no other test uses."""
    return f"registry_{next(numbers)}"


def log(registry: Registry, model: str, folder: Path, *, offset: float = 1, **tags: str) -> RegisteredVersion:
    network, note = folder / f"{offset}.onnx", folder / "evaluation.json"
    linear(network, 3, offset=offset)
    weights.generate(folder / "key.pem", folder / "pub.pem")
    note.write_text('{"n": 1}')
    return registry.log_version(
        model,
        onnx=network,
        files={note.name: note},
        parameters={"trainer": "logistic", "rows": 10},
        metrics={"auc_roc": 0.9},
        tags={"medtower.reason": "a test", **tags},
        key=folder / "key.pem",
    )


def test_versions_are_numbered_one_after_the_other(registry: Registry, model: str, tmp_path: Path) -> None:
    assert latest(registry, model) is None
    first, second = log(registry, model, tmp_path), log(registry, model, tmp_path, offset=2)
    assert (first.version, second.version) == (1, 2)
    assert latest(registry, model) == second
    assert registry.version(model, 1) == first


def test_the_weights_and_the_evidence_come_back_as_they_were(
    registry: Registry, model: str, tmp_path: Path
) -> None:
    import onnx

    made = log(registry, model, tmp_path)
    fetched = registry.fetch_weights(made.uri, tmp_path / "back")
    assert fetched.name == "model.onnx"
    assert onnx.load(str(fetched)) == onnx.load(str(tmp_path / "1.onnx"))
    assert registry.fetch_file(made.run_id, "evaluation.json", tmp_path / "back").read_text() == '{"n": 1}'


def test_what_mlflow_stores_is_signed_and_comes_back_also_from_the_middle(
    tower: RunningTower, registry: Registry, model: str, tmp_path: Path
) -> None:
    made = log(registry, model, tmp_path)
    content = registry.fetch_weights(made.uri, tmp_path / "back").read_bytes()
    size, sha256 = len(content), hashlib.sha256(content).hexdigest()
    for there in (0, 10, size):
        to = tmp_path / f"from-{there}"
        to.write_bytes(content[:there])
        signature = registry.complete_weights(made.uri, to, size=size, sha256=sha256)
        assert to.read_bytes() == content
        weights.verify(to, signature, tmp_path / "pub.pem")
    url = f"http://127.0.0.1:{tower.state.ports['mlflow']}/api/2.0/mlflow-artifacts/artifacts/"
    place = registry._source(made.uri).removeprefix("mlflow-artifacts:/")
    answer = httpx.get(f"{url}{place}/model.onnx", headers={"Range": "bytes=10-"}, trust_env=False)
    assert (answer.status_code, answer.content) == (206, content[10:])


def test_weights_without_a_signature_are_refused(
    registry: Registry, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(registry, model, tmp_path)
    content = registry.fetch_weights(made.uri, tmp_path / "back").read_bytes()
    monkeypatch.setattr(weights, "SIGNATURE", "nothing.sig")
    with pytest.raises(Refused, match="are not signed; train the version again"):
        sha256 = hashlib.sha256(content).hexdigest()
        registry.complete_weights(made.uri, tmp_path / "to", size=len(content), sha256=sha256)


def test_registering_prints_nothing(
    registry: Registry, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = log(registry, model, tmp_path)
    registry.fetch_weights(made.uri, tmp_path / "back")
    log(registry, model, tmp_path, offset=2)
    assert capfd.readouterr() == ("", "")


def test_the_version_that_a_trigger_made_is_found_by_it(
    registry: Registry, model: str, tmp_path: Path
) -> None:
    log(registry, model, tmp_path)
    made = log(registry, model, tmp_path, offset=2, **{TRIGGER: "drift/x/1"})
    assert registry.made_by(model, "drift/x/1") == made
    assert registry.made_by(model, "drift/x/2") is None
    assert registry.made_by("no_such_model", "drift/x/1") is None


def test_the_champion_s_alias_mirrors_and_can_be_taken_away(
    registry: Registry, model: str, tmp_path: Path
) -> None:
    import mlflow

    log(registry, model, tmp_path)
    registry.mark_champion(model, 1)
    assert mlflow.MlflowClient().get_model_version_by_alias(model, "champion").version == "1"
    registry.mark_champion(model, None)
    assert mlflow.MlflowClient().get_registered_model(model).aliases == {}


def test_a_version_that_is_not_there_says_how_to_make_one(registry: Registry, model: str) -> None:
    with pytest.raises(NotFound, match=f"medtower train {model}"):
        registry.version(model, 7)


def test_a_file_or_a_version_that_is_not_there_is_not_found(
    registry: Registry, model: str, tmp_path: Path
) -> None:
    made = log(registry, model, tmp_path)
    with pytest.raises(NotFound):
        registry.fetch_file(made.run_id, "no-such-file.json", tmp_path / "back")
    with pytest.raises(NotFound):
        registry.fetch_weights(f"models:/{model}/99", tmp_path / "back")


def test_what_mlflow_refuses_is_told_with_its_code(registry: Registry, model: str, tmp_path: Path) -> None:
    linear(tmp_path / "a.onnx", 3)
    key = tmp_path / "key.pem"
    weights.generate(key, tmp_path / "pub.pem")
    with pytest.raises(Refused, match="MLflow answered INVALID_PARAMETER_VALUE"):
        registry.log_version(
            model,
            onnx=tmp_path / "a.onnx",
            files={},
            parameters={"no*name?": 1},
            metrics={},
            tags={},
            key=key,
        )
    assert latest(registry, model) is None


def test_a_server_that_is_down_is_unavailable_before_long(
    tower: RunningTower, registry: Registry, model: str, tmp_path: Path
) -> None:
    made = log(registry, model, tmp_path)
    proxy = Proxy(tower.state.ports["mlflow"])
    shaky = Registry(f"http://{proxy.address}")
    assert shaky.version(model, made.version) == made
    with proxy.broken():
        started = time.monotonic()
        with pytest.raises(Unavailable, match="MLflow .*no version was registered"):
            shaky.version(model, made.version)
        assert time.monotonic() - started < 30
    assert shaky.version(model, made.version) == made
    proxy.cut()
