"""Writes the network as a model of MLflow's ONNX flavour: `mlflow_saved.py NETWORK FOLDER`."""

from __future__ import annotations

import sys

import mlflow.onnx
import onnx

mlflow.onnx.save_model(
    onnx.load(sys.argv[1]), sys.argv[2], pip_requirements=["mlflow", "onnx", "onnxruntime"]
)
