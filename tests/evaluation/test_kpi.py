from __future__ import annotations

import pytest

from medtower.domain.contract import Kpi
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import METRICS
from medtower.evaluation.kpi import judge, status

AUC = Kpi(target=0.90, warning=0.88, critical=0.85)
MAE = Kpi(target=0.13, warning=0.16, critical=0.20)


def seen(metric, lower, value, upper):
    return Estimate(metric=metric, n=500, value=value, lower=lower, upper=upper)


@pytest.mark.parametrize(
    ("lower", "value", "upper", "expected"),
    [
        (0.70, 0.78, 0.849, Status.CRITICAL),  # all of it below critical
        (0.70, 0.78, 0.850, Status.WARNING),  # touches critical, all of it below warning
        (0.80, 0.84, 0.879, Status.WARNING),
        (0.70, 0.80, 0.885, Status.OK),  # low, but it may as well be fine: no breach is shown
        (0.91, 0.95, 0.98, Status.OK),
    ],
)
def test_where_higher_is_better_the_upper_bound_must_be_beyond(lower, value, upper, expected):
    assert status(seen("auc_roc", lower, value, upper), AUC, METRICS["auc_roc"]) is expected


@pytest.mark.parametrize(
    ("lower", "value", "upper", "expected"),
    [
        (0.201, 0.25, 0.30, Status.CRITICAL),
        (0.200, 0.25, 0.30, Status.WARNING),
        (0.161, 0.18, 0.30, Status.WARNING),
        (0.150, 0.25, 0.40, Status.OK),
        (
            0.01,
            0.02,
            0.03,
            Status.OK,
        ),  # an error far below the threshold is good: a sign error would call it critical
    ],
)
def test_where_lower_is_better_the_lower_bound_must_be_beyond(lower, value, upper, expected):
    assert status(seen("mae", lower, value, upper), MAE, METRICS["mae"]) is expected


@pytest.mark.parametrize("metric", ["auc_roc", "mae"])
def test_what_is_not_known_is_insufficient_data_and_not_ok(metric):
    kpi = AUC if metric == "auc_roc" else MAE
    assert status(seen(metric, None, None, None), kpi, METRICS[metric]) is Status.INSUFFICIENT
    assert status(seen(metric, None, 0.5, None), kpi, METRICS[metric]) is Status.INSUFFICIENT


def test_a_metric_is_judged_by_the_promise_that_the_contract_makes_of_it(classifier):
    contract = classifier().model_copy(
        update={
            "kpis": {"auc_roc": AUC},
            "service_levels": {"latency_p95": Kpi(target=100, warning=200, critical=300)},
        }
    )
    assert judge(contract, seen("auc_roc", 0.70, 0.78, 0.849)) is Status.CRITICAL
    assert judge(contract, seen("latency_p95", 250, 260, 270)) is Status.WARNING
    assert judge(contract, seen("latency_p99", 2500, 2600, 2700)) is Status.OK
    assert judge(contract, seen("latency_p99", None, None, None)) is Status.INSUFFICIENT
