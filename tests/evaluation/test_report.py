from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.estimate import EvaluationReport
from medtower.evaluation.calibration import calibrate
from medtower.evaluation.report import evaluate

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_report_holds_estimates_calibration_and_what_it_does_not_know(classifier, patients):
    y, score, _ = patients(400, 1)
    y[:7] = np.nan
    few = np.arange(400) < 12
    report = evaluate(
        classifier(), y, score, {"sex=F": few, "sex=M": ~few}, holdout_sha256="ab" * 32, at=AT, seed=1
    )
    assert (report.model, report.n, report.positives) == ("some_risk", 393, int(np.nansum(y)))
    assert report.get("auc_roc").known
    assert not report.get("auc_roc", "sex=F").known
    assert report.calibration == calibrate(y, score)
    assert report.notes[0] == "7 rows have no known outcome and were left out"
    assert "auc_roc on sex=F: insufficient data: 5 rows, 30 needed" in report.notes
    assert report.notes[-1] == DISCLAIMER
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report


def test_a_regression_has_neither_positives_nor_a_calibration(regressor):
    y = np.random.default_rng(2).normal(50, 10, 100)
    report = evaluate(regressor(), y, y + 1, {}, holdout_sha256="ab" * 32, at=AT, seed=1)
    assert (report.positives, report.calibration, report.notes) == (None, None, [DISCLAIMER])
    assert report.get("mae").value == 1
