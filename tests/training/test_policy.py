"""The policy on ONNX files: each rule broken once, by a file that breaks only it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from medtower.errors import NotFound, Refused
from medtower.training.policy import inspect

FLOAT = TensorProto.FLOAT


def model_with(
    weight: TensorProto | None = None,
    *,
    extra: list[onnx.NodeProto] | None = None,
    opset: int = 17,
    domains: tuple[str, ...] = (),
    answer: tuple[object, ...] = ("batch", 1),
    names: tuple[str, str] = ("features", "prediction"),
) -> ModelProto:
    """A linear model of two inputs, features · weight → prediction."""
    source, target = names
    weight = weight or numpy_helper.from_array(np.array([[1.0], [2.0]], dtype=np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", [source, "weight"], [target]), *(extra or [])],
        "linear",
        [helper.make_tensor_value_info(source, FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(target, FLOAT, list(answer))],
        [weight],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def saved(model: ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def constant(name: str, value: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=value)


def array(values: object, name: str = "weight", dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def branch(value: float) -> onnx.NodeProto:
    """An If whose branches hold a constant: the policy must look into subgraphs."""
    output = helper.make_tensor_value_info("inner", FLOAT, [1])
    bodies = [
        helper.make_graph([constant("inner", array([v], "hidden"))], name, [], [output])
        for name, v in (("then", 1.0), ("else", value))
    ]
    return helper.make_node("If", ["flag"], ["chosen"], then_branch=bodies[0], else_branch=bodies[1])


def flag() -> onnx.NodeProto:
    return constant("flag", array(True, "flag", np.bool_))


def external() -> TensorProto:
    tensor = array([[1.0], [2.0]])
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def sparse(value: float) -> onnx.NodeProto:
    tensor = helper.make_sparse_tensor(array([value], "values"), array([0], "indices", np.int64), [3])
    return helper.make_node("Constant", [], ["sparse"], sparse_value=tensor)


def with_function() -> ModelProto:
    model = model_with()
    body = [helper.make_node("Identity", ["a"], ["b"])]
    model.functions.append(
        helper.make_function("", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    return model


def with_ir(version: int) -> ModelProto:
    model = model_with()
    model.ir_version = version
    return model


def test_a_plain_model_is_accepted(tmp_path: Path) -> None:
    inspect(saved(model_with(extra=[flag(), branch(2.0), sparse(1.0)]), tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("rule", "build"),
    [
        ("onnx-external-data", lambda: model_with(external())),
        ("onnx-finite", lambda: model_with(array([[1.0], [np.nan]]))),
        ("onnx-finite", lambda: model_with(array([[1.0], [-np.inf]]))),
        ("onnx-finite", lambda: model_with(extra=[flag(), branch(np.nan)])),
        ("onnx-finite", lambda: model_with(extra=[sparse(np.inf)])),
        (
            "onnx-finite",
            lambda: model_with(extra=[helper.make_node("Constant", [], ["c"], value_float=np.nan)]),
        ),
        (
            "onnx-domain",
            lambda: model_with(
                extra=[helper.make_node("Shell", ["features"], ["x"], domain="evil")], domains=("evil",)
            ),
        ),
        ("onnx-domain", lambda: model_with(domains=("com.microsoft",))),
        ("onnx-domain", with_function),
        ("onnx-version", lambda: model_with(opset=21)),
        ("onnx-version", lambda: with_ir(11)),
        ("onnx-format", lambda: model_with(extra=[helper.make_node("NoSuchOperator", ["features"], ["x"])])),
        ("onnx-interface", lambda: model_with(names=("input", "prediction"))),
        ("onnx-interface", lambda: model_with(names=("features", "output"))),
        ("onnx-interface", lambda: model_with(answer=(4, 1))),
    ],
)
def test_each_rule_refuses_what_breaks_it(tmp_path: Path, rule: str, build: Callable[[], ModelProto]) -> None:
    with pytest.raises(Refused) as refused:
        inspect(saved(build(), tmp_path / "model.onnx"))
    assert refused.value.rule == rule
    assert "model.onnx" in str(refused.value)


def test_bytes_that_are_no_onnx_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(Refused, match="not an ONNX file"):
        inspect(path)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"model\.onnx"):
        inspect(tmp_path / "model.onnx")
