"""What an ONNX file must and must not contain to be served. ONNX's own checker first, then our rules; onnx is all it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import NotFound, Refused

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

DOMAINS = ("", "ai.onnx")
MAX_IR = 10
MAX_OPSET = 20


def inspect(path: Path) -> None:
    """Return when the file at `path` may be served; raise Refused naming the rule, NotFound when there is no such file.

    Rules: it parses and passes onnx.checker with shape inference; all tensors lie inside the file; operators of the standard domain
    only, no local functions; every constant is finite; IR ≤ 10 and opset ≤ 20; one input `features` [batch, inputs] and one output
    `prediction` [batch, 1], float32, batch dynamic.
    """
    import onnx

    if not path.is_file():
        raise NotFound(path.name, str(path.parent))
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError lives in a private module that moves between releases
        raise Refused("onnx-format", f"{path.name} is not an ONNX file; export the model again") from error
    _check_tensors(path.name, model)
    _check_domains(path.name, model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Refused("onnx-format", f"{path.name} fails onnx.checker; export the model again") from error
    _check_interface(path.name, model)


def _check_tensors(name: str, model: ModelProto) -> None:
    from onnx import TensorProto

    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise Refused(
                "onnx-external-data", f"{name} keeps {tensor.name!r} in another file; save it as one file"
            )
        if not _finite(tensor):
            raise Refused("onnx-finite", f"{name} holds NaN or infinity in {tensor.name!r}; train it again")
    for node in _nodes(model):
        if any(not np.isfinite([a.f, *a.floats]).all() for a in node.attribute):
            raise Refused("onnx-finite", f"{name} holds NaN or infinity in {node.op_type}; train it again")


def _check_domains(name: str, model: ModelProto) -> None:
    domains = {o.domain for o in model.opset_import} | {n.domain for n in _nodes(model)}
    if foreign := sorted(domains - set(DOMAINS)):
        raise Refused(
            "onnx-domain",
            f"{name} uses operators of {', '.join(foreign)}; only standard ONNX operators are served",
        )
    if model.functions:
        raise Refused("onnx-domain", f"{name} defines functions of its own; export it with them inlined")
    opset = max((o.version for o in model.opset_import), default=0)
    if model.ir_version > MAX_IR or opset > MAX_OPSET:
        raise Refused(
            "onnx-version",
            f"{name} has IR version {model.ir_version} and opset {opset}; at most {MAX_IR} and {MAX_OPSET} are served",
        )


def _check_interface(name: str, model: ModelProto) -> None:
    wanted = f"{TENSOR_IN} [batch, inputs] → {TENSOR_OUT} [batch, 1], float32, batch dynamic"
    inputs, outputs = list(model.graph.input), list(model.graph.output)
    if [i.name for i in inputs] != [TENSOR_IN] or [o.name for o in outputs] != [TENSOR_OUT]:
        raise Refused("onnx-interface", f"{name} must take and answer {wanted}")
    for value in (*inputs, *outputs):
        tensor = value.type.tensor_type
        sizes = [d.dim_value for d in tensor.shape.dim]  # 0 = dynamic
        if tensor.elem_type != 1 or len(sizes) != 2 or sizes[0] != 0:
            raise Refused("onnx-interface", f"{name}: {value.name} is not as in {wanted}")


def _finite(tensor: TensorProto) -> bool:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    # bfloat16 and float8 come as ml_dtypes arrays, whose kind is 'V': widen what is not an integer, boolean or string
    return values.dtype.kind in "iubSUO" or bool(np.isfinite(values.astype(np.float64)).all())


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from _held(attribute)


def _held(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = list(attribute.sparse_tensors)
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    for one in sparse:
        yield from (one.values, one.indices)


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The main graph, training graphs and every subgraph of If, Loop and Scan."""
    waiting = [model.graph]
    for training in model.training_info:
        waiting += [training.initialization, training.algorithm]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
