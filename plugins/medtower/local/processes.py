"""Which processes make a tower, with what environment: each gets the settings and the one database role that it needs, no more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from medtower.local import postgres, prometheus, triton
from medtower.local.airflow import airflow_environment
from medtower.local.state import Credentials, TowerState
from medtower.local.supervisor import Process

BIN = Path(sys.executable).parent
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "TMPDIR", "PYTHONPATH")


def base_environment() -> dict[str, str]:
    """What every process inherits from this shell: where programs, home and certificates are, and nothing else."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **kept,
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # Airflow's process titles would be written over the environment that `down` knows its processes by
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def medtower_environment(state: TowerState, secrets: Credentials, role: str | None) -> dict[str, str]:
    """The `MEDTOWER_*` settings of a process that connects to Postgres as `role` (None: not at all)."""
    settings = {
        "HOME": str(state.home),
        "MLFLOW_URI": state.url("mlflow"),
        "TRITON_URL": f"127.0.0.1:{state.ports['triton_http']}",
        "TRITON_GRPC_URL": f"127.0.0.1:{state.ports['triton_grpc']}",
        "GATEWAY_URL": state.url("gateway"),
        "GATEWAY_PORT": str(state.ports["gateway"]),
        "GATEWAY_GRPC_PORT": str(state.ports["gateway_grpc"]),
        "RECONCILER_PORT": str(state.ports["reconciler"]),
    }
    if role is not None:
        settings["DSN"] = secrets.dsn(state, role)
    return {**base_environment(), **{f"MEDTOWER_{k}": v for k, v in settings.items()}}


def groups(state: TowerState, secrets: Credentials) -> dict[str, list[Process]]:
    """The processes of each group of this tower, in the order in which they start."""
    makers = {
        "postgres": _postgres,
        "triton": _triton,
        "mlflow": _registry,
        "serving": _serving,
        "watchers": _watchers,
        "airflow": _airflow,
    }
    return {name: makers[name](state, secrets) for name in state.groups}


def _postgres(state: TowerState, secrets: Credentials) -> list[Process]:
    command = postgres.command(state.home / "postgres", state.ports["postgres"])
    return [Process(name="postgres", argv=command, environment=medtower_environment(state, secrets, None))]


def _triton(state: TowerState, secrets: Credentials) -> list[Process]:
    ports = {name: state.ports[f"triton_{name}"] for name in ("http", "grpc", "metrics")}
    return [
        Process(
            name="triton",
            argv=triton.command(state.home, ports, secrets.triton_admin),
            environment={**medtower_environment(state, secrets, None), **triton.environment(state.home)},
            health=state.url("triton_http", "/v2/health/live"),
        )
    ]


def _registry(state: TowerState, secrets: Credentials) -> list[Process]:
    return [
        Process(
            name="mlflow",
            argv=_mlflow(state),
            environment={
                **medtower_environment(state, secrets, None),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_BACKEND_STORE_URI": secrets.url(state, "mlflow"),
            },
            health=state.url("mlflow", "/health"),
        )
    ]


def _serving(state: TowerState, secrets: Credentials) -> list[Process]:
    medtower = str(BIN / "medtower")
    return [
        Process(
            name="reconciler",
            argv=[medtower, "reconcile", "--watch"],
            environment={
                **medtower_environment(state, secrets, "medtower_reconciler"),
                "MEDTOWER_TRITON_ADMIN_KEY": secrets.triton_admin,
            },
            health=state.url("reconciler", "/metrics"),
        ),
        Process(
            name="gateway",
            argv=[medtower, "gateway"],
            environment={
                **medtower_environment(state, secrets, "medtower_gateway"),
                "MEDTOWER_SUBJECT_KEY": secrets.subject,
            },
            health=state.url("gateway", "/health/live"),
        ),
    ]


def _mlflow(state: TowerState) -> list[str]:
    # the database URL holds a password: it travels in the environment, never on the command line
    port = str(state.ports["mlflow"])
    artifacts = str(state.home / "artifacts")
    return [
        str(BIN / "mlflow"),
        *("server", "--host", "127.0.0.1", "--port", port, "--workers", "1"),
        *("--artifacts-destination", artifacts, "--serve-artifacts"),
    ]


def _watchers(state: TowerState, _: Credentials) -> list[Process]:
    environment = base_environment()
    return [
        Process(
            name="prometheus",
            argv=prometheus.command(state),
            environment=environment,
            health=state.url("prometheus", "/-/ready"),
        ),
        Process(
            name="alertmanager",
            argv=prometheus.alertmanager_command(state),
            environment=environment,
            health=state.url("alertmanager", "/-/ready"),
        ),
    ]


def _airflow(state: TowerState, secrets: Credentials) -> list[Process]:
    """Airflow's four processes. Its tasks act as the role `medtower_airflow`."""
    environment = {
        **medtower_environment(state, secrets, "medtower_airflow"),
        **airflow_environment(state, secrets),
    }
    program, health = str(BIN / "airflow"), state.url("airflow", "/api/v2/monitor/health")
    others = {
        "airflow-scheduler": (["scheduler", "--skip-serve-logs"], "scheduler"),
        "airflow-dags": (["dag-processor"], "dag_processor"),
        "airflow-triggerer": (["triggerer", "--skip-serve-logs"], "triggerer"),
    }
    return [
        Process(name="airflow-api", argv=[program, "api-server"], environment=environment, health=health),
        *(
            Process(
                name=name,
                argv=[program, *arguments],
                environment=environment,
                health=health,
                component=component,
            )
            for name, (arguments, component) in others.items()
        ),
    ]
