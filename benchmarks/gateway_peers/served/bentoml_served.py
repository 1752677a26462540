"""The service that BentoML runs."""

from __future__ import annotations

import os

import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Network:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ["NETWORK"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api
    async def predict(self, features: list[float]) -> float:
        (prediction,) = self._session.run(None, {"features": np.array([features], dtype=np.float32)})
        return float(prediction[0, 0])
