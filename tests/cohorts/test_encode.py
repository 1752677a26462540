from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.cohorts.conftest import MODELS, spec_of

from medtower.adapters.contracts import read, read_cohort
from medtower.cohorts.encode import decode, encode, fingerprint, populations
from medtower.cohorts.load import load
from medtower.domain import inference
from medtower.domain.contract import Contract


@pytest.mark.parametrize("name", ["mortality_5y", "alzheimer_risk", "als_risk", "parkinsons_severity"])
def test_encoding_a_frame_equals_encoding_each_request(name: str) -> None:
    contract = read(MODELS / name)
    frame = load(contract, read_cohort(MODELS / name), MODELS / name).head(300)
    rows = (
        frame[contract.input_names]
        .astype(object)
        .where(frame[contract.input_names].notna(), None)
        .to_dict("records")
    )
    one_by_one = np.array([inference.encode(contract, row) for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(encode(frame, contract), one_by_one)


def test_what_the_gateway_would_refuse_is_missing(contract: Contract, folder: Path) -> None:
    frame = load(contract, spec_of(), folder).head(4)
    frame.loc[0, "age"], frame.loc[1, "age"], frame.loc[2, "sex"], frame.loc[3, "diabetes"] = (
        300,
        40.5,
        "Q",
        None,
    )
    features = encode(frame, contract)
    assert np.isnan(features[[0, 1, 2, 3], [0, 0, 1, 3]]).all()
    assert features.dtype == np.float32


def test_decode_is_the_reverse_of_encode(contract: Contract, folder: Path) -> None:
    frame = load(contract, spec_of(), folder)
    features = encode(frame, contract)
    as_recorded = [[None if math.isnan(v) else float(v) for v in row] for row in features]
    back = decode(as_recorded, contract)
    np.testing.assert_array_equal(encode(back, contract), features)
    assert back["sex"].tolist() == frame["sex"].tolist()
    assert back["diabetes"].tolist() == frame["diabetes"].tolist()
    assert decode([], contract).shape == (0, 4)


def test_every_patient_falls_into_one_population_of_a_split(contract: Contract, folder: Path) -> None:
    masks = populations(load(contract, spec_of(), folder), contract)
    assert list(masks) == [
        *(
            "sex=F",
            "sex=M",
            "age_band=<50",
            "age_band=50–70",
            "age_band=≥70",
            "diabetes=false",
            "diabetes=true",
        ),
    ]
    assert (masks["age_band=<50"].astype(int) + masks["age_band=50–70"] + masks["age_band=≥70"] == 1).all()
    assert (masks["sex=F"] ^ masks["sex=M"]).all()


def test_the_fingerprint_ignores_order_and_sees_the_last_bit(contract: Contract, folder: Path) -> None:
    frame = load(contract, spec_of(), folder)
    shuffled = frame.sample(frac=1, random_state=1)[sorted(frame.columns, reverse=True)]
    assert fingerprint(shuffled) == fingerprint(frame)
    changed = frame.copy()
    changed.loc[5, "creatinine"] = np.nextafter(changed.loc[5, "creatinine"], np.inf)
    assert fingerprint(changed) != fingerprint(frame)
    assert fingerprint(pd.concat([frame, frame.tail(1)])) != fingerprint(frame)
