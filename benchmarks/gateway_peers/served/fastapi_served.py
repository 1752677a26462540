"""What the bare FastAPI serves."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["NETWORK"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Question(BaseModel):
    features: list[float]


class Answer(BaseModel):
    prediction: float


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/predict")
async def predict(question: Question) -> Answer:
    (prediction,) = session.run(None, {"features": np.array([question.features], dtype=np.float32)})
    return Answer(prediction=prediction[0, 0])
