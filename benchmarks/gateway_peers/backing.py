"""What stands behind the gateway: a real Triton with the network in its store, a real Postgres with the schema, and a routing table.

Everything lies in one folder. Triton and Postgres can be stopped and started again on the same ports, as the soak does.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.gateway_peers.network import MODEL, Network, contract
from benchmarks.gateway_peers.process import ROOT, STOP_SECONDS, Served, free_ports

from medtower.adapters.postgres.cluster import ROLES
from medtower.adapters.postgres.migrate import migrate
from medtower.adapters.triton import Triton
from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.errors import NotFound
from medtower.local import postgres
from medtower.local import triton as local_triton
from medtower.serving import config, routing
from medtower.serving.store import Store, sha256

VERSION = 1


class Backing:
    """`home` is the folder, `network` what is served as version 1, under a contract with the `emergency` given. Nothing runs before `start_triton` and `start_postgres`; leaving the block stops
    both and removes Postgres's data."""

    def __init__(self, home: Path, network: Network, emergency: Mapping[str, object] | None = None) -> None:
        self.home, self.network, self._contract = home, network, contract(emergency)
        http, grpc, metrics, self._postgres_port = free_ports(4)
        self.triton_ports = {"http": http, "grpc": grpc, "metrics": metrics}
        self._admin_key, self._superuser = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self._passwords = {role: secrets.token_urlsafe(16) for role in ROLES}
        self._server: subprocess.Popen[bytes] | None = None
        self.triton: Served | None = None
        self.home.chmod(0o711)  # Postgres's own user, when this is root, passes through
        self._publish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.stop_triton()
        self.stop_postgres()
        if (self.home / "postgres").exists():
            postgres.remove(self.home / "postgres")

    @property
    def triton_url(self) -> str:
        return f"127.0.0.1:{self.triton_ports['http']}"

    @property
    def triton_grpc_url(self) -> str:
        return f"127.0.0.1:{self.triton_ports['grpc']}"

    def start_triton(self) -> Served:
        """Start the server and load the network, as the reconciler would."""
        environment = ROOT / ".venv-triton"
        if not environment.is_dir():
            raise NotFound("the Triton environment", str(environment), "make it with: make setup")
        local_triton.prepare(self.home, environment)
        argv = local_triton.command(self.home, self.triton_ports, self._admin_key)
        self.triton = Served("triton", argv, local_triton.environment(self.home), self.home)
        self.triton.wait(f"http://{self.triton_url}/v2/health/ready")
        with Triton(self.triton_url, self._admin_key, grpc_url=self.triton_grpc_url) as control:
            control.load(MODEL)
            if not control.ready(MODEL, VERSION):
                raise NotFound(f"{MODEL} {VERSION}", "Triton", "its log says why")
        return self.triton

    def stop_triton(self) -> None:
        if self.triton:
            self.triton.end()
            self.triton = None

    def restart_triton(self) -> None:
        self.stop_triton()
        self.start_triton()

    def start_postgres(self) -> None:
        """Start the server; make the cluster, the roles and the schema when they are not there."""
        data = self.home / "postgres"
        postgres.prepare(data, superuser_password=self._superuser)
        superuser = postgres.dsn(self._postgres_port, "postgres", self._superuser, "postgres")
        with (self.home / "postgres.log").open("ab") as log:
            server = subprocess.Popen(
                postgres.command(data, self._postgres_port), stderr=log, start_new_session=True
            )
        self._server = server
        postgres.wait(superuser, data=data, alive=lambda: server.poll() is None)
        postgres.create(superuser, passwords=self._passwords)
        migrate(self.dsn("medtower_owner"))

    def stop_postgres(self) -> None:
        if self._server:
            self._server.terminate()
            self._server.wait(STOP_SECONDS)
            self._server = None

    def dsn(self, role: str) -> str:
        return postgres.dsn(self._postgres_port, role, self._passwords[role], "medtower")

    def _publish(self) -> None:
        """Put the network into the store as a released version, and route everybody to it."""
        store, digest = Store(self.home / "store"), sha256(self.network.path)
        fetched = self.home / "fetched.onnx"
        shutil.copy(self.network.path, fetched)
        store.place(MODEL, VERSION, fetched, digest)
        store.write_config(MODEL, config.render(self._contract, versions=[VERSION]))
        arm = Arm(name="current", version=VERSION, digest=digest, weight=100, contract=self._contract)
        table = RoutingTable(
            commit="benchmark", published_at=datetime.now(UTC), routes={MODEL: Route(model=MODEL, arms=[arm])}
        )
        routing.publish(self.home / "routing.json", table)
