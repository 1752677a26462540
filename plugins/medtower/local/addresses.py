"""Where to look: the addresses of a tower's parts, and what its models serve."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from medtower.local import airflow
from medtower.local.state import TowerState
from medtower.releases import release_file
from medtower.serving import routing


def links(state: TowerState) -> dict[str, str]:
    """Address by what one finds there, of the groups that were started."""
    found = {}
    if "airflow" in state.groups:
        found["Airflow"] = state.url("airflow")
    if "mlflow" in state.groups:
        found["MLflow"] = state.url("mlflow")
    if "serving" in state.groups:
        found |= {
            "Gateway API": state.url("gateway", "/docs"),
            "Gateway gRPC": f"127.0.0.1:{state.ports['gateway_grpc']}",
            "Metrics": state.url("gateway", "/metrics"),
        }
    found["Reports"] = f"file://{_reports(state.home / 'reports')}"
    if state.watched:
        found |= {"Prometheus": state.url("prometheus"), "Alertmanager": state.url("alertmanager")}
    return found


def _reports(folder: Path) -> Path:
    """The index page where there is one; `medtower up` alone writes none."""
    index = folder / "index.html"
    return index if index.exists() else folder


def table(state: TowerState) -> Table:
    grid = Table("what", "address", title="Running", title_justify="left")
    for name, address in links(state).items():
        grid.add_row(name, address)
    grid.caption = (
        f"Airflow: user admin, password in {airflow.passwords_file(state.home)}. Stop with: make down"
    )
    return grid


def models(state: TowerState) -> Table:
    """What git says should serve, and what the routing table says serves."""
    from medtower.local import operator
    from medtower.workflows.tower import Tower

    grid = Table("model", "should serve", "serves", title="Models", title_justify="left")
    tower = Tower(operator.settings_of(state.home))
    routes = routing.current(tower.settings.path("routing"))
    with tower.models() as folder:
        for name in sorted(p.parent.name for p in folder.glob("*/model.yaml")):
            wanted = release_file.read(folder / name).version
            route = routes.routes.get(name) if routes else None
            served = ", ".join(str(a.version) for a in route.arms) if route and route.arms else "none"
            grid.add_row(name, str(wanted or "none"), served)
    return grid
