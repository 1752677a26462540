"""The throw-away model of the rollback drill: a contract about no patient, on numbers that an equation made."""

from __future__ import annotations

MODEL = "rollback_drill"
CONTRACT = {
    "schema": "medtower/contract/v1",
    "name": MODEL,
    "title": "Throw-away model of the rollback drill",
    "task": "regression",
    "intended_use": "Rehearsing rollbacks. Its answers mean nothing.",
    "out_of_scope": ["every patient"],
    "owner": "platform@example.org",
    "inputs": [{"name": name, "dtype": "float", "range": [-10, 10]} for name in ("first", "second")],
    "output": {
        "name": "sum",
        "unit": "{score}",
        "description": "roughly the sum of both inputs",
        "range": [-60, 60],
    },
    "kpis": {"mae": {"target": 2.0, "warning": 4.0, "critical": 8.0}},
    "gates": {"primary": "mae", "margin": 1.0, "max_memorisation": 1.0},
    "rollout": {"steps": [100], "hold_hours": 0},
    "training": {"trainer": "linear"},
}
COHORT = {
    "schema": "medtower/cohort/v1",
    "title": "Numbers for the rollback drill",
    "citation": "Made by an equation; no person stands behind a row.",
    "source": {
        "kind": "synthetic",
        "size": 3000,
        "seed": 20260104,
        "inputs": {name: {"family": "normal", "parameters": [0, 2]} for name in ("first", "second")},
        "coefficients": {"first": 1.0, "second": 1.0},
        "intercept": 0.0,
        "noise": 0.25,
        "scale": 4.0,
    },
}
