"""What every DAG file must be: parseable fast, without heavy imports, in UTC, retried, one run at a time, documented."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DAGS = sorted((Path(__file__).parents[2] / "dags").glob("*.py"))
TAGS = {"performance", "drift", "training", "benchmark", "serving"}
MEASURE = """
import json, pathlib, sys, time
import airflow.sdk, airflow.sdk.exceptions
found = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    started, before = time.process_time(), set(sys.modules)
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "measured"})
    seconds = time.process_time() - started
    found[path.stem] = {"seconds": seconds, "modules": sorted({m.split(".")[0] for m in set(sys.modules) - before})}
print(json.dumps(found))
"""
INSPECT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"errors": bag.import_errors, "dags": {d.dag_id: {
    "max_active_runs": d.max_active_runs, "catchup": d.catchup, "tags": sorted(d.tags), "doc": d.doc_md or "",
    "timezone": str(d.timezone), "retries": [t.retries for t in d.tasks], "params": sorted(d.params),
    "timetable": type(d.timetable).__name__, "schedule": getattr(d.timetable, "expression", None),
    "form": {n: vars(d.params.get_param(n)) for n in d.params},
} for d in bag.dags.values()}}, default=str))
"""


@pytest.fixture(scope="module")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("airflow")
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }


def _python(script: str, argument: Path, environment: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", script, str(argument)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def dags(airflow_environment: dict[str, str]) -> dict[str, dict[str, object]]:
    found = _python(INSPECT, DAGS[0].parent, airflow_environment)
    assert found["errors"] == {}
    return found["dags"]


def test_these_dags_are_there_and_no_others(dags: dict[str, dict[str, object]]) -> None:
    assert set(dags) == {
        "track_performance",
        "detect_drift",
        "retrain",
        "benchmark",
        "reconcile_health",
        "advance_rollout",
        "rollback",
        "rollback_drill",
    }


def test_a_dag_file_costs_less_than_half_a_second_beyond_airflow(airflow_environment: dict[str, str]) -> None:
    heavy = {"torch", "mlflow", "pandas", "evidently", "great_expectations", "sklearn", "medtower"}
    measured = _python(MEASURE, DAGS[0].parent, airflow_environment)
    assert set(measured) == {p.stem for p in DAGS}
    for name, found in measured.items():
        assert found["seconds"] < 0.5, name
        assert not heavy & set(found["modules"]), name


@pytest.mark.parametrize("path", DAGS, ids=lambda p: p.stem)
def test_a_dag_file_imports_airflow_and_workflows_only_and_is_short(path: Path) -> None:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module or "")
    assert all(r.startswith(("airflow.sdk", "medtower.workflows", "__future__", "datetime")) for r in roots)
    assert len(path.read_text().splitlines()) <= 85


def test_every_dag_runs_once_at_a_time_in_utc_with_retries_and_a_page_of_its_own(
    dags: dict[str, dict[str, object]],
) -> None:
    for name, dag in dags.items():
        assert dag["max_active_runs"] == 1, name
        assert dag["catchup"] is False, name
        assert dag["timezone"] == "UTC", name
        assert all(r >= 1 for r in dag["retries"]), name
        assert len(dag["doc"]) > 100, name
        assert dag["tags"] and set(dag["tags"]) <= TAGS, name


def test_retrain_is_woken_by_drift_or_monday_and_has_a_form(dags: dict[str, dict[str, object]]) -> None:
    assert dags["retrain"]["params"] == ["model", "reason", "window_days"]
    assert "AssetOrTime" in str(dags["retrain"]["timetable"])


def test_rollback_is_started_by_hand_only_and_its_form_asks_for_model_version_and_reason(
    dags: dict[str, dict[str, object]],
) -> None:
    assert dags["rollback"]["params"] == ["model", "reason", "version"]
    assert dags["rollback"]["timetable"] == "NullTimetable"
    form = dags["rollback"]["form"]
    assert form["version"]["schema"]["minimum"] == 1
    assert form["model"]["schema"]["minLength"] == 1
    assert form["reason"]["schema"]["minLength"] >= 3
    assert all(field["schema"]["title"] and field["description"] for field in form.values())


def test_the_drill_is_quarterly(dags: dict[str, dict[str, object]]) -> None:
    _, _, day, months, _ = str(dags["rollback_drill"]["schedule"]).split()
    assert day.isdecimal()
    assert len(months.split(",")) == 4
