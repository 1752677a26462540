"""Export: the ONNX file answers as the module does, on every kind of row and in every batch size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from medtower.domain.contract import Contract
from medtower.errors import InvalidInput, ModelMisbehaved, Refused
from medtower.training.export import OPSET, export, inspect, parity
from medtower.training.fit import fit

from .conftest import Floats, contract_of, outcomes, rows

Problem = tuple[Contract, Floats, Floats]


@pytest.fixture(
    scope="module",
    params=[
        ("classification", "mlp", None),
        ("classification", "logistic", None),
        ("regression", "mlp", (20.0, 60.0)),
    ],
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[torch.nn.Module, Path]:
    task, trainer, bounds = request.param
    x = rows(1000, seed=1)
    module = fit(contract_of(task, bounds=bounds, trainer=trainer), x, outcomes(x, task, seed=2), seed=3)
    path = tmp_path_factory.mktemp("store") / "1" / "model.onnx"
    export(module, x.shape[1], path)
    return module, path


def test_the_file_is_one_file_in_the_agreed_form(exported: tuple[torch.nn.Module, Path]) -> None:
    _, path = exported
    model = onnx.load(path, load_external_data=False)
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert model.ir_version == 8
    assert b"site-packages" not in path.read_bytes()
    inspect(path)


def test_onnx_runtime_agrees_on_gaps_and_on_every_category(exported: tuple[torch.nn.Module, Path]) -> None:
    module, path = exported
    x = rows(3000, seed=4)
    gaps = np.isnan(x[:, [1, 3, 4]])
    assert gaps.all(axis=1).any()
    assert {0.0, 1.0, 2.0} <= set(x[:, 3])
    assert parity(module, path, x, 1e-4) < 1e-4


@pytest.mark.parametrize("n", [1, 1000])
def test_any_batch_size_is_answered(exported: tuple[torch.nn.Module, Path], n: int) -> None:
    module, path = exported
    assert parity(module, path, rows(n, seed=5), 1e-4) < 1e-4


def test_a_refused_gap_is_nan_in_the_file_too(exported: tuple[torch.nn.Module, Path]) -> None:
    module, path = exported
    x = rows(40, seed=6)
    x[7, 2] = np.nan
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(["prediction"], {"features": x.astype(np.float32)})
    assert np.flatnonzero(np.isnan(answer)).tolist() == [7]
    with pytest.raises(ModelMisbehaved, match="NaN or infinity"):
        parity(module, path, x, 1e-4)


def test_the_same_weights_give_the_same_bytes(exported: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    module, path = exported
    export(module, 5, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_another_model_s_file_loses_parity(
    exported: tuple[torch.nn.Module, Path], regression: Problem
) -> None:
    _, path = exported
    contract, x, y = regression
    other = fit(contract, x, y + 100, seed=1)
    with pytest.raises(ModelMisbehaved, match="differs from the trained module by"):
        parity(other, path, x, 1e-4)


def test_parity_needs_rows(exported: tuple[torch.nn.Module, Path]) -> None:
    module, path = exported
    with pytest.raises(InvalidInput, match="n ≥ 1"):
        parity(module, path, np.empty((0, 5)), 1e-4)


class TwoColumns(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2]


def test_parity_refuses_an_answer_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(TwoColumns(), 5, path)
    with pytest.raises(ModelMisbehaved, match=r"answers \(8, 2\) to \(8, 5\)"):
        parity(TwoColumns(), path, np.zeros((8, 5)), 1e-4)


def test_a_module_with_a_nan_weight_is_not_exported(classification: Problem, tmp_path: Path) -> None:
    contract, x, y = classification
    module = fit(contract, x, y, seed=1)
    with torch.no_grad():
        module.head[0].weight[0, 0] = float("nan")
    with pytest.raises(Refused, match="onnx-finite"):
        export(module, 5, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
