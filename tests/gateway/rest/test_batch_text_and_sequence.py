"""Free texts and sequences in the file of a batch job are what they are in a request of their own."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.gateway.conftest import FEATURES, RISK, Gateway, publish
from tests.gateway.rest.test_batch import BATCH, run

from medtower.domain.contract import Contract
from medtower.domain.prediction import Prediction
from medtower.gateway.rest.examples import table

LONGEST_TEXT, LENGTH = 20_000, 2000
CONTRACT = Contract.model_validate(
    RISK
    | {
        "inputs": [
            *RISK["inputs"],
            {"name": "note", "dtype": "text", "max_length": LONGEST_TEXT, "buckets": 8},
            {"name": "history", "dtype": "text", "max_length": LONGEST_TEXT, "buckets": 8},
            {"name": "trace", "dtype": "sequence", "range": [-1000, 1000], "length": [2, LENGTH]},
        ]
    }
)
LONG = [round(-999 + n * 0.612345678901, 12) for n in range(LENGTH)]
ROWS: list[dict[str, Any]] = [
    {"note": 'Says: "no pain", since Monday;\nsleeps, eats', "history": "none", "trace": [1.5, -2, 3]},
    {
        "note": "Schmerzen am Fuß, seit über 3 Wochen\tkeine Übelkeit",
        "history": "頭痛" * 10_000,
        "trace": LONG,
    },
    {"note": "𝒩" * LONGEST_TEXT, "history": "=1+1", "trace": [0.1, 1e-3]},
]
SPOILT: list[tuple[dict[str, Any], str]] = [
    ({"note": "x" * (LONGEST_TEXT + 1)}, "note: must be at most 20000 characters"),
    ({"trace": [1]}, "trace"),
    ({"trace": [1, 2000]}, "trace"),
    ({"trace": [1, None]}, "trace"),
    ({"trace": None}, "trace"),
    ({"note": None}, "note: "),
]


@pytest.fixture
def texts(gateway: Gateway) -> Gateway:
    publish(gateway.settings, {"demo_risk": CONTRACT}, demo_risk={1: 100})
    return gateway


def of_csv(rows: list[dict[str, Any]]) -> bytes:
    page = io.StringIO()
    names = ["subject_id", *FEATURES, "note", "history", "trace"]
    writer = csv.DictWriter(page, names)
    writer.writeheader()
    for n, row in enumerate(rows):
        cells = {"subject_id": f"s{n}"} | FEATURES | row
        writer.writerow(cells | {"trace": cells["trace"] and json.dumps(cells["trace"])})
    return page.getvalue().encode()


def of_parquet(rows: list[dict[str, Any]], trace: Any = None) -> bytes:
    page = io.BytesIO()
    whole = [{"subject_id": f"s{n}"} | FEATURES | row for n, row in enumerate(rows)]
    columns: dict[str, Any] = {name: [row[name] for row in whole] for name in whole[0]}
    columns["trace"] = trace if trace is not None else pa.array(columns["trace"], pa.list_(pa.float64()))
    pq.write_table(pa.table(columns), page)
    return page.getvalue()


FORMS = {"text/csv": of_csv, "application/vnd.apache.parquet": of_parquet}


def kept(gateway: Gateway, begin: str) -> list[Prediction]:
    found = [each for each in gateway.recorded() if each.request_id.startswith(begin)]
    return sorted(found, key=lambda each: each.request_id)


@pytest.mark.parametrize("kind", FORMS)
def test_a_row_of_a_file_is_what_the_same_question_alone_is(texts: Gateway, kind: str) -> None:
    job = run(texts, FORMS[kind](ROWS), kind)
    assert (job["state"], job["done"], job["failed"]) == ("done", len(ROWS), {})
    for n, row in enumerate(ROWS):
        question = {"request_id": f"alone-{n}", "subject_id": f"s{n}", "features": FEATURES | row}
        answer = texts.http.post("/api/v1/ml/predict/demo_risk", json=question)
        assert answer.status_code == 200, answer.text
    for batched, alone in zip(kept(texts, job["id"]), kept(texts, "alone-"), strict=True):
        assert batched.features == alone.features
        assert batched.texts == alone.texts
        assert batched.subject == alone.subject
    folder = texts.settings.path("batch") / job["id"]
    assert "Monday" not in "".join(file.read_text() for file in folder.iterdir() if file.name != "result")


def test_the_file_in_the_documentation_is_answered(texts: Gateway) -> None:
    job = run(texts, table(CONTRACT).encode())
    assert (job["state"], job["done"], job["failed"]) == ("done", 1, {})


@pytest.mark.parametrize("kind", FORMS)
def test_a_bad_text_or_sequence_is_its_rows_error(texts: Gateway, kind: str) -> None:
    job = run(texts, FORMS[kind]([ROWS[0] | change for change, _ in SPOILT] + [ROWS[0]]), kind)
    assert (job["state"], job["done"], sum(job["failed"].values())) == ("done", len(SPOILT) + 1, len(SPOILT))
    answer = texts.http.get(f"{BATCH}/{job['id']}/result")
    if kind == "text/csv":
        errors = [row["error"] for row in csv.DictReader(io.StringIO(answer.text))]
    else:
        errors = pq.read_table(io.BytesIO(answer.content)).to_pydict()["error"]
    for error, (_, wanted) in zip(errors, SPOILT, strict=False):
        assert error.startswith(wanted)
    assert not errors[-1]


def test_a_row_may_be_as_large_as_a_request_in_bytes_of_utf_8(texts: Gateway) -> None:
    most = {"note": "𝒩" * LONGEST_TEXT, "history": "𝒫" * LONGEST_TEXT, "trace": LONG}
    more = ROWS[0] | {"note": "é" * 100_000, "history": "é" * 100_000}
    job = run(texts, of_csv([most, more]))
    assert (job["done"], job["failed"]) == (2, {"row: is larger than 256 KiB": 1})


@pytest.mark.parametrize(
    "trace",
    [
        pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2),
        pa.array([[0, 1], [2, 3], [4, 5]], pa.large_list(pa.int16())),
        pa.array([[0, 1], [2, 3], [4, 5]], pa.list_(pa.decimal128(5, 2))),
    ],
)
def test_every_kind_of_list_that_parquet_writers_have_is_a_sequence(texts: Gateway, trace: pa.Array) -> None:
    job = run(texts, of_parquet([ROWS[0]] * 3, trace), "application/vnd.apache.parquet")
    assert (job["state"], job["failed"]) == ("done", {})
    assert [each.features[-LENGTH:][:2] for each in kept(texts, job["id"])] == [
        [0, 1], [2, 3], [4, 5],
    ]  # fmt: skip
