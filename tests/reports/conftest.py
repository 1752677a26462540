"""One model's evidence, as the pages take it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from medtower.domain.check import Check
from medtower.domain.cohort import CohortSpec
from medtower.domain.contract import Contract
from medtower.domain.drift import DriftFinding, DriftReport, Severity
from medtower.domain.estimate import CalibrationReport, Estimate, EvaluationReport, Status
from medtower.domain.rollout import Plan
from medtower.domain.verdict import Decision, Verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def contract(**changes: Any) -> Contract:
    values: dict[str, Any] = {
        "name": "als_risk",
        "title": "Risk of ALS within a year",
        "task": "classification",
        "intended_use": "Order the waiting list of a neurology clinic.",
        "out_of_scope": ["Screening people without symptoms", "Any decision without a clinician"],
        "owner": "clinical@example.org",
        "inputs": [
            {"name": "age", "dtype": "float", "unit": "a", "range": [18, 100]},
            {"name": "sex", "dtype": "category", "categories": ["F", "M"]},
            {
                "name": "nfl",
                "dtype": "float",
                "unit": "pg/mL",
                "range": [0, 500],
                "missing": "impute",
                "absent_means": "not measured",
            },
            {"name": "smoker", "dtype": "boolean"},
        ],
        "output": {
            "name": "risk",
            "unit": "{probability}",
            "description": "ALS within a year",
            "confidence_floor": 0.6,
        },
        "populations": [{"name": "sex", "input": "sex"}],
        "kpis": {
            "auc_roc": {"target": 0.9, "warning": 0.88, "critical": 0.85},
            "sensitivity": {"target": 0.88, "warning": 0.85, "critical": 0.82},
            "f1": {"target": 0.87, "warning": 0.84, "critical": 0.81},
        },
        "gates": {"primary": "auc_roc"},
    }
    return Contract.model_validate(values | changes)


def estimate(metric: str, value: float | None, half: float = 0.02, **changes: Any) -> Estimate:
    bounds = (None, None) if value is None else (value - half, value + half)
    given = {"n": 600, "method": "bootstrap"} | changes
    return Estimate(metric=metric, value=value, lower=bounds[0], upper=bounds[1], **given)


def evaluation(shift: float = 0.0, **changes: Any) -> EvaluationReport:
    bins = [
        {"n": 150, "predicted": p, "observed": o, "lower": o - 0.06, "upper": o + 0.06}
        for p, o in ((0.1, 0.13), (0.35, 0.31), (0.6, 0.64), (0.85, 0.83))
    ]
    values: dict[str, Any] = {
        "model": "als_risk",
        "n": 600,
        "positives": 210,
        "estimates": [
            estimate("auc_roc", 0.92 + shift, 0.015),
            estimate("sensitivity", 0.86 + shift, 0.03),
            estimate("f1", 0.8 + shift, 0.01),
            estimate("brier", 0.11),
            estimate("auc_roc", 0.93, 0.02, population="sex=F", n=320),
            estimate("auc_roc", None, population="sex=M", n=12),
        ],
        "calibration": CalibrationReport(n=600, ece=0.031, slope=1.04, intercept=-0.02, bins=bins),
        "holdout_sha256": "c" * 64,
        "evaluated_at": NOON,
        "notes": ["Follow-up ended in 2003."],
    }
    return EvaluationReport.model_validate(values | changes)


@pytest.fixture
def dossier() -> dict[str, Any]:
    """The context of approval.md.j2, model_card.md.j2 and evaluation.html.j2."""
    return {
        "contract": contract(),
        "cohort": CohortSpec.model_validate(
            {
                "title": "Made patients",
                "citation": "None",
                "source": {"kind": "parquet", "path": "patients.parquet"},
            }
        ),
        "version": 4,
        "replaces": 3,
        "evaluation": evaluation(),
        "champion": evaluation(-0.03),
        "gates": [
            Verdict(
                kind="gate",
                name="regression",
                decision=Decision.PROMOTE,
                reason="gain 0.03",
                evidence={"n": 600},
            ),
            Verdict(kind="gate", name="calibration", decision=Decision.HOLD, reason="error above 0.08"),
        ],
        "training": {
            "source": "cohort",
            "rows": 2400,
            "sha256": "a" * 64,
            "reason": "monthly",
            "expectations": [{"name": "in range", "column": "age", "n": 2400}],
            "parity": 3.2e-7,
            "seed": 20260101,
            "trainer": "mlp",
        },
        "provenance": SimpleNamespace(
            mlflow_run="b" * 32,
            label="1.3.0",
            training_data_sha256="a" * 64,
            code_commit="f" * 40,
            dependencies={"torch": "2"},
            reason="drift in nfl",
            created_at=NOON,
        ),
        "plan": Plan(strategy="staged", steps=[5, 50, 100], hold_hours=24, shadow_hours=12),
        "why_plan": "It scores in the incumbent's shadow first: sensitivity is warning.",
    }


@pytest.fixture
def signing() -> dict[str, Any]:
    """The context of _signing.md.j2."""
    told = {"model": "als_risk", "version": 4, "approvals": ["technical", "clinical"], "proposed_at": NOON}
    return {"manifest": SimpleNamespace(**told), "digest": "d" * 64}


@pytest.fixture
def rolled_back() -> dict[str, Any]:
    """The context of rollback.html.j2."""
    done = SimpleNamespace(
        model="als_risk",
        commit="c" * 40,
        at=NOON,
        subject="Roll back als_risk from 4 to 3: sensitivity",
        versions=(4,),
        to=3,
        promoted_by="a" * 40,
    )
    seen = {
        "routed": (True, "version 3 at 100 %"),
        "version loaded": (False, "Triton says absent"),
        "no errors": (None, "no request came lately"),
    }
    found = [Check(name=name, passed=passed, told=said) for name, (passed, said) in seen.items()]
    return {"done": done, "checks": found, "at": NOON}


@pytest.fixture
def tracked() -> dict[str, Any]:
    """The context of performance.html.j2."""
    return {
        "contract": contract(),
        "version": 4,
        "judged": [
            (estimate("auc_roc", 0.93), Status.OK),
            (estimate("sensitivity", 0.83, 0.01), Status.WARNING),
            (estimate("f1", 0.78, 0.01), Status.CRITICAL),
            (estimate("brier", None, n=3), Status.INSUFFICIENT),
            (estimate("auc_roc", 0.92, population="sex=F"), Status.OK),
            (estimate("auc_roc", None, n=7, population="sex=M"), Status.INSUFFICIENT),
        ],
        "coverage": 0.813,
        "window_start": NOON - timedelta(days=14),
        "window_end": NOON,
        "as_of": NOON,
    }


def finding(feature: str, severity: Severity, effect: float | None) -> DriftFinding:
    known = effect is not None
    return DriftFinding(
        feature=feature,
        test="Kolmogorov–Smirnov",
        statistic=0.1 if known else None,
        p_value=0.00012 if known else None,
        q_value=0.0004 if known else None,
        effect=effect,
        n_reference=2400,
        n_current=280,
        severity=severity,
    )


@pytest.fixture
def drifted() -> dict[str, Any]:
    """The context of drift.html.j2."""
    findings = [
        finding("age", Severity.SEVERE, 0.41),
        finding("sex", Severity.NONE, 0.01),
        finding("nfl", Severity.MODERATE, 0.13),
        finding("smoker", Severity.NO_VARIANCE, None),
        finding("prediction", Severity.INSUFFICIENT, None),
    ]
    report = DriftReport(
        model="als_risk", version=4, window_start=NOON - timedelta(days=7), window_end=NOON, findings=findings
    )
    return {"contract": contract(), "report": report, "detail": "drift-detail-2026-03-01T12.html"}


@pytest.fixture
def told() -> dict[str, Any]:
    """The context of demo_summary.html.j2."""
    model = {
        "versions": {"1": "champion", "2": "retrained"},
        "predictions": 3600,
        "labels": 3400,
        "status": "critical",
    }
    return {
        "result": {
            "seconds": 187.3,
            "revert_seconds": 1.234,
            "failed_requests": 0,
            "requests": 4120,
            "models": {
                "als_risk": model | {"drifted_features": 2},
                "mortality_5y": model | {"status": "", "drifted_features": 0},
            },
            "steps": [
                {"title": "Champions", "seconds": 41.2, "result": "4 models trained"},
                {"title": "Ninety days", "seconds": 63.9, "result": "14,400 predictions"},
                {"title": "Revert", "seconds": 1.2, "result": "version 2 answers again"},
            ],
        },
        "links": {"Airflow": "http://127.0.0.1:8080/", "Gateway API": "http://127.0.0.1:8000/docs"},
    }
