"""What the gateway says of itself and of its models, in the words of the protocol."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any

from medtower.domain.access import Caller
from medtower.domain.contract import Contract
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.domain.routing import Route, RoutingTable
from medtower.gateway.v2.requests import DATATYPE
from medtower.gateway.v2.types import MOST_ROWS

EXTENSIONS = ["binary_tensor_data", "model_configuration", "parameters"]
PLATFORM = "onnxruntime_onnx"


def server() -> dict[str, Any]:
    """The server's name, version and the extensions of the protocol that it has."""
    return {"name": "medtower", "version": installed("medtower"), "extensions": EXTENSIONS}


def model(route: Route, contract: Contract) -> dict[str, Any]:
    """The tensors that the model takes and gives, and the versions that answer."""
    return {
        "name": route.model,
        "versions": [str(arm.version) for arm in route.arms],
        "platform": PLATFORM,
        "inputs": [{"name": TENSOR_IN, "datatype": DATATYPE, "shape": [-1, contract.width]}],
        "outputs": [{"name": TENSOR_OUT, "datatype": DATATYPE, "shape": [-1, 1]}],
    }


def config(route: Route, contract: Contract) -> dict[str, Any]:
    """The model's configuration in Triton's JSON form: what `serving.config` renders, with as many rows as one request may have here."""
    return {
        "name": route.model,
        "backend": "onnxruntime",
        "platform": PLATFORM,
        "max_batch_size": MOST_ROWS,
        "input": [{"name": TENSOR_IN, "data_type": f"TYPE_{DATATYPE}", "dims": [contract.width]}],
        "output": [{"name": TENSOR_OUT, "data_type": f"TYPE_{DATATYPE}", "dims": [1]}],
        "version_policy": {"specific": {"versions": [arm.version for arm in route.arms]}},
        "dynamic_batching": {},
        "instance_group": [{"count": 1, "kind": "KIND_AUTO"}],
    }


def index(table: RoutingTable, caller: Caller, *, ready: bool) -> list[dict[str, str]]:
    """Every version that answers `caller`, and (unless only what is `ready` is wanted) the models of which none does, with the reason."""
    found = []
    for name, route in sorted(table.routes.items()):
        if not caller.sees(name):
            continue
        found += [
            {"name": name, "version": str(arm.version), "state": "READY", "reason": ""} for arm in route.arms
        ]
        if not route.arms and not ready:
            reason = route.reason or "no version of it is ready"
            found.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason})
    return found
