"""The deployment that Ray Serve runs, and the process that starts Ray for it: `ray_served.py PORT FOLDER`."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import onnxruntime as ort
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Network:
    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    async def __call__(self, request: Request) -> dict[str, float]:
        features = (await request.json())["features"]
        (prediction,) = self._session.run(None, {"features": np.array([features], dtype=np.float32)})
        return {"prediction": float(prediction[0, 0])}


def main(port: int, folder: str) -> None:
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
    )
    quiet = LoggingConfig(enable_access_log=False, log_level="WARNING")
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port), logging_config=quiet)
    serve.run(Network.bind(os.environ["NETWORK"]), route_prefix="/predict", logging_config=quiet)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
