"""A cohort of notes and traces, from one's own CSV to an answer of the gateway."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from tests.gateway.conftest import publish, started
from tests.gateway.conftest import settings as settings  # noqa: PLC0414
from tests.gateway.conftest import triton as triton  # noqa: PLC0414
from tests.gateway.conftest import triton_server as triton_server  # noqa: PLC0414
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.adapters.contracts import read, read_cohort
from medtower.cohorts.encode import decode, encode
from medtower.cohorts.expectations import validate
from medtower.cohorts.load import load
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.evaluation.metrics import estimates
from medtower.gateway.privacy import scan
from medtower.local.demo.client import named
from medtower.serving import config, golden
from medtower.settings import Settings
from medtower.training.export import export, inspect, parity
from medtower.training.fit import fit
from medtower.workflows.new_model import scaffold

BAD = ["chest", "pain", "sweating", "collapse", "pressure"]
GOOD = ["routine", "visit", "stable", "mild", "headache"]
BOTH = ["patient", "reports", "since", "today", "history", "and", "of"]


def emergency_notes(n: int = 900) -> pd.DataFrame:
    """Made-up triage notes and heart-rate traces; those who will collapse write and beat differently, most of the time."""
    random = np.random.default_rng(8)
    outcome = (random.random(n) < 0.4).astype(int)
    typical = random.random(n) < 0.85
    notes, traces = [], []
    for ill, clear in zip(outcome, typical, strict=True):
        words = BAD if ill == clear else GOOD
        notes.append(" ".join(random.permutation([*random.choice(words, 4), *random.choice(BOTH, 6)])))
        rates = random.normal(110 if ill else 85, 20, random.integers(3, 9)).round(1)
        traces.append(json.dumps(rates.tolist()))
    return pd.DataFrame(
        {
            "patient": [f"T-{i:04d}" for i in range(n)],
            "event_time": pd.date_range("2025-01-01", periods=n, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "age": random.integers(18, 95, n),
            "triage note": [None if i % 11 == 0 else note for i, note in enumerate(notes)],
            "heart_rate": traces,
            "outcome": outcome,
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = tmp_path / "triage.csv"
    emergency_notes().to_csv(table, index=False)
    return scaffold(tmp_path / "triton_models", "triage_collapse", "classification", table)


def test_a_table_with_notes_and_traces_becomes_a_contract(folder: Path) -> None:
    contract = read(folder)
    found = {i.name: (i.dtype, i.missing) for i in contract.inputs}
    assert found == {
        "age": ("integer", "refuse"),
        "triage_note": ("text", "impute"),
        "heart_rate": ("sequence", "refuse"),
    }
    assert contract.input("heart_rate").length == (3, 8)
    assert contract.width == 1 + 64 + 8


def test_it_trains_and_answers_from_end_to_end(
    folder: Path, tmp_path: Path, settings: Settings, triton: FakeTriton
) -> None:
    contract = read(folder)
    frame = load(contract, read_cohort(folder), folder)
    assert validate(frame, contract)
    x, y = encode(frame, contract), frame["outcome"].to_numpy()
    network, half = tmp_path / "model.onnx", len(x) // 2
    module = fit(contract, x[:half], y[:half], seed=1)
    export(module, contract.width, network)
    inspect(network)
    assert parity(module, network, x, contract.gates.parity_tolerance) < 1e-4
    assert f"dims: [ {contract.width} ]" in config.render(contract)
    assert config.width(config.render(contract)) == contract.width
    assert len(golden.make(contract, network).rows[0]) == contract.width

    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    scores = session.run([TENSOR_OUT], {TENSOR_IN: x[half:]})[0][:, 0]
    auc = next(e for e in estimates(contract, y[half:], scores, {}, seed=1) if e.metric == "auc_roc")
    assert auc.value is not None
    assert auc.value > 0.85  # on people it has not seen

    scan._built.cache_clear()
    with started(settings, triton) as gateway:
        publish(settings, {contract.name: contract}, triage_collapse={1: 100})
        assert gateway.http.get("/api/v1/ml/models").status_code == 200  # it has seen the new table
        wait_until(scan.prepared, 60)  # though nobody has sent a text yet
        for row in (half, half + 1, half + 2):
            triton.value = float(scores[row - half])
            answer = gateway.ask(contract.name, features=named(contract, frame.iloc[row].to_dict()))
            assert answer.json()["prediction"] == triton.value
            np.testing.assert_array_equal(np.float32(triton.rows[-1][1]), x[row])
        kept = gateway.recorded()
        np.testing.assert_array_equal(
            encode(decode([k.features for k in kept], contract), contract), x[half : half + 3]
        )
        assert [set(k.texts) for k in kept] == [
            {"triage_note"} if v else set() for v in frame["triage_note"][half : half + 3]
        ]
        long = gateway.ask(
            contract.name, features={"age": 50, "heart_rate": [80] * 3, "triage_note": "canary" * 500}
        )
        assert (long.status_code, long.json()["field"]) == (422, "triage_note")
        short = gateway.ask(contract.name, features={"age": 50, "heart_rate": [80]})
        assert (short.status_code, short.json()["field"]) == (422, "heart_rate")
        assert "canary" not in long.text
