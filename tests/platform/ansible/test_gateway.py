"""The gateway as a service of a machine without a cluster: its ports, folders and firewall. A program that only listens stands in for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from medtower.settings import Settings

from .booted_debian import BootedDebian, booted
from .playbook import ANSIBLE, Playbook
from .test_site import needs_booted_debian, pytestmark  # noqa: F401  (the marks of this folder)

HERE: dict[str, Any] = {
    "gateway_in_cluster": False,
    "gateway_bind": "0.0.0.0",  # noqa: S104
    "gateway_tls_certificate": "/etc/medtower/gateway.pem",
    "gateway_tls_key": "/etc/medtower/gateway.key",
    "gateway_callers": ["10.20.0.0/16", "fd00:20::/32"],
    "gateway_settings": {"MEDTOWER_CALLER_RATE": 50},
}
LISTENS = """#!/usr/bin/python3
import os, signal, socket
held = [socket.create_server((os.environ["MEDTOWER_BIND"], int(os.environ[name]))) for name in ("MEDTOWER_GATEWAY_PORT", "MEDTOWER_GATEWAY_GRPC_PORT")]
signal.pause()
"""


@pytest.fixture(scope="module")
def tower(tree: Path, signers: list[str]) -> Iterator[BootedDebian]:
    """A system that runs the gateway itself, and nothing else of the site."""
    with booted(tree) as system:
        system.run("mkdir", "-p", "/opt/medtower/bin", "/etc/medtower", "/var/lib/medtower")
        system.run("python3", "-c", f"open('/opt/medtower/bin/medtower', 'w').write({LISTENS!r})")
        system.run("chmod", "755", "/opt/medtower/bin/medtower")
        system.run("sh", "-c", "echo MEDTOWER_SUBJECT_KEY=of-this-test > /etc/medtower/gateway.secrets")
        system.run("sh", "-c", "echo '{}' > /var/lib/medtower/access.json")
        Playbook(system.pid, signers).succeed("--tags", "base,gateway", **HERE)
        yield system


@needs_booted_debian
def test_the_gateway_listens_on_both_ports_behind_its_firewall(
    tower: BootedDebian, playbook: Playbook
) -> None:
    listening = {row.split()[3] for row in tower.run("ss", "-H", "-ltn").stdout.splitlines()}
    assert {"0.0.0.0:8080", "0.0.0.0:9080"} <= listening
    rules = tower.run("nft", "list", "table", "inet", "medtower").stdout
    assert "ip saddr 10.20.0.0/16 accept" in rules
    assert "ip6 saddr fd00:20::/32 accept" in rules
    assert rules.split("}\n")[0].count("accept") and "tcp dport { 8080, 9080 } drop" in rules
    tower.run("systemctl", "stop", "medtower-firewall")
    with pytest.raises(Exception, match="systemctl"):
        tower.run("systemctl", "is-active", "medtower-gateway")
    assert playbook.succeed("--tags", "gateway", **HERE) == 1  # started again, and nothing else changes


@needs_booted_debian
def test_record_batches_and_keys_are_closed_to_others(tower: BootedDebian) -> None:
    paths = [f"/var/lib/medtower/{name}" for name in ("spool", "batch", "access.json")]
    modes = tower.run("stat", "-c", "%a %U", *paths, "/etc/medtower/gateway.secrets").stdout.splitlines()
    assert modes == ["700 medtower", "700 medtower", "600 medtower", "600 root"]


@needs_booted_debian
def test_every_setting_of_the_service_is_one_that_the_gateway_knows(tower: BootedDebian) -> None:
    said = tower.run("cat", "/etc/medtower/gateway.env").stdout.splitlines()
    names = [line.partition("=")[0].removeprefix("MEDTOWER_").lower() for line in said]
    assert set(names) <= set(Settings.model_fields)
    assert {"gateway_grpc_port", "batch", "access", "tls_key", "caller_rate"} <= set(names)


@needs_booted_debian
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"gateway_callers": ["0.0.0.0/0"]}, "not everybody"),
        ({"gateway_callers": ["ward-7"]}, "write networks"),
        ({"gateway_tls_key": ""}, "set gateway_tls_certificate"),
        ({"gateway_grpc_port": 8080}, "name two ports"),
        ({"gateway_secrets": "/etc/medtower/other"}, "/etc/medtower/other is missing"),
    ],
)
def test_a_gateway_that_would_be_open_or_half_set_up_is_refused(
    playbook: Playbook, wrong: dict[str, Any], why: str
) -> None:
    assert why in playbook.refuse("--tags", "gateway", **HERE | wrong)


def test_the_machine_and_the_cluster_have_the_gateway_at_the_same_ports() -> None:
    said = yaml.safe_load((ANSIBLE / "group_vars/all.yml").read_text())
    service = yaml.safe_load((ANSIBLE.parent / "argocd/gateway/service.yaml").read_text())
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {"http": said["gateway_port"], "grpc": said["gateway_grpc_port"]}
