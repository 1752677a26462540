"""Airflow over its REST API (v2): unpause a DAG, start a run, wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import httpx

from medtower.errors import DeadlineExceeded, MedtowerError, NotFound, Refused, Unavailable
from medtower.wait import wait_until

FINAL = ("success", "failed")


class Airflow:
    """The API server at `url`, as the user `username`; a run is looked at `every` so many seconds. Raises Unavailable when it does not answer,
    Refused when it refuses the password."""

    def __init__(self, url: str, username: str, password: str, *, every: float = 0.3) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._user = {"username": username, "password": password}
        self._token: str | None = None
        self._every = every

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def unpause(self, dag: str) -> None:
        self._call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, **params: Any) -> str:
        """Start a run now and return its id."""
        return str(
            self._call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": params})[
                "dag_run_id"
            ]
        )

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG, newest first: dag_run_id, state, run_type, start_date."""
        found: list[dict[str, Any]] = self._call(
            "GET", f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&limit=20"
        )["dag_runs"]
        return found

    def known(self, dag: str) -> bool:
        """True when the DAG was parsed and stands in the database."""
        try:
            self._call("GET", f"/api/v2/dags/{dag}")
        except NotFound:
            return False
        return True

    def wait(
        self, dag: str, run_id: str, *, deadline: float = 180, told: Callable[[str], None] = lambda _: None
    ) -> None:
        """Return when the run succeeded. Raises MedtowerError naming the failed task, DeadlineExceeded after `deadline` seconds."""
        state = ""

        def ended() -> bool:
            nonlocal state
            state = self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"]
            if state not in FINAL:
                told(f"{dag} {state}")
            return state in FINAL

        if not wait_until(ended, deadline, every=self._every):
            raise DeadlineExceeded(f"the Airflow run {dag} {run_id}", deadline)
        if state == "failed":
            raise MedtowerError(
                f"the Airflow run {dag} {run_id} failed in {self._failed_tasks(dag, run_id)}; its log is in Airflow"
            )

    def results(self, dag: str, run_id: str, task: str) -> list[Any]:
        """What the (mapped) task returned, by map index."""
        instances = self._instances(dag, run_id)
        indices = sorted(
            i["map_index"] for i in instances if i["task_id"] == task and i["state"] == "success"
        )
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
        return [self._call("GET", f"{path}?map_index={index}&deserialize=true")["value"] for index in indices]

    def _failed_tasks(self, dag: str, run_id: str) -> str:
        failed = [
            i["task_id"] for i in self._instances(dag, run_id) if i["state"] in ("failed", "upstream_failed")
        ]
        return ", ".join(sorted(set(failed))) or "no task"

    def _instances(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances"
        found: list[dict[str, Any]] = self._call("GET", path)["task_instances"]
        return found

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._asked(method, path, body)
            if answer.status_code == 401:  # the token has expired
                self._token = None
                answer = self._asked(method, path, body)
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable("Airflow", f"its API does not answer ({type(error).__name__})") from None
        if answer.status_code == 404:
            raise NotFound(path.removeprefix("/api/v2/"), "Airflow")
        if answer.status_code >= 400:
            raise MedtowerError(f"Airflow refused {method} {path} with {answer.status_code}")
        return found

    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        if self._token is None:
            login = self._http.post("/auth/token", json=self._user)
            if login.status_code in (401, 403):
                raise Refused("login", f"Airflow does not accept the password of {self._user['username']}")
            self._token = login.raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._http.request(method, path, json=body, headers=headers)
