"""The site on a real booted Debian, and what its roles refuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from .booted_debian import BootedDebian, cgroup2_mount, wait_until
from .debian_tree import debian_mirror
from .playbook import ANSIBLE, PROGRAM, Playbook, ansible_playbook

RULES = ANSIBLE.parent / "monitoring/prometheus/rules"
SERVICES = {"prometheus": 9090, "prometheus-alertmanager": 9093, "prometheus-node-exporter": 9100}


def _missing() -> list[str]:
    parts = {
        "root": os.geteuid() == 0,
        "debootstrap (apt-get install debootstrap)": shutil.which("debootstrap") is not None,
        "unshare, nsenter and setpriv (util-linux)": all(
            map(shutil.which, ("unshare", "nsenter", "setpriv"))
        ),
        "a Debian mirror that apt knows (apt-get update)": debian_mirror() is not None,
        "a writable cgroup2 mount": cgroup2_mount() is not None,
    }
    return [name for name, present in parts.items() if not present]


MISSING = _missing()
needs_booted_debian = pytest.mark.skipif(bool(MISSING), reason=f"a booted Debian needs {', '.join(MISSING)}")
pytestmark = [
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs ansible-playbook (the extra `platform`)"),
    pytest.mark.timeout(600),  # the first test of a fresh machine builds the tree
]


@pytest.mark.parametrize("inventory", ["tower", "test"])
def test_the_site_parses_with_each_inventory(inventory: str) -> None:
    done = ansible_playbook("-i", f"inventories/{inventory}", "--syntax-check")
    assert done.returncode == 0, done.stderr


@needs_booted_debian
def test_every_service_is_active_and_starts_at_boot(tower: BootedDebian) -> None:
    for service in SERVICES:
        assert tower.run("systemctl", "is-active", service).stdout.strip() == "active"
        assert tower.run("systemctl", "is-enabled", service).stdout.strip() == "enabled"


@needs_booted_debian
def test_the_services_listen_on_loopback_and_nothing_else_listens(tower: BootedDebian) -> None:
    rows = tower.run("ss", "-H", "-ltn").stdout.splitlines()
    assert {row.split()[3] for row in rows} == {f"127.0.0.1:{port}" for port in SERVICES.values()}


@needs_booted_debian
def test_prometheus_scrapes_every_service_of_the_machine(tower: BootedDebian) -> None:
    expected = {
        "http://127.0.0.1:9090/metrics": ("prometheus", "up"),
        "http://127.0.0.1:9093/metrics": ("alertmanager", "up"),
        "http://127.0.0.1:9100/metrics": ("node", "up"),
        "http://127.0.0.1:8080/metrics": ("gateway", "down"),  # not of this machine's roles
        "http://127.0.0.1:8081/metrics": ("reconciler", "down"),
    }
    wait_until(lambda: _targets(tower) == expected, "Prometheus has scraped every target")
    assert "node_cpu_seconds_total" in tower.fetch("http://127.0.0.1:9100/metrics")


@needs_booted_debian
def test_prometheus_runs_the_rules_of_the_repository(tower: BootedDebian) -> None:
    assert _rule_files(tower) == {f"/etc/prometheus/rules/{path.name}" for path in RULES.glob("*.yml")}


@needs_booted_debian
def test_alertmanager_runs_the_configuration_of_the_repository(tower: BootedDebian) -> None:
    source = ANSIBLE.parent / "monitoring/alertmanager/alertmanager.yml"
    receivers = [receiver["name"] for receiver in yaml.safe_load(source.read_text())["receivers"]]
    assert _receivers(tower) == receivers
    assert tower.run("cat", "/etc/prometheus/alertmanager.yml").stdout == source.read_text()


@needs_booted_debian
def test_the_base_system_is_in_utc_with_a_closed_state_directory(tower: BootedDebian) -> None:
    assert tower.run("date", "+%Z").stdout.strip() == "UTC"
    modes = tower.run(
        "stat", "-c", "%n %a %U", "/etc/medtower", "/etc/medtower/allowed_signers", "/var/lib/medtower"
    )
    assert modes.stdout.splitlines() == [
        "/etc/medtower 755 root",
        "/etc/medtower/allowed_signers 644 root",
        "/var/lib/medtower 750 medtower",
    ]


@needs_booted_debian
def test_a_second_run_changes_nothing(playbook: Playbook) -> None:
    assert playbook.succeed() == 0


@needs_booted_debian
def test_a_broken_rule_file_is_refused_and_prometheus_keeps_its_rules(
    tower: BootedDebian, playbook: Playbook, tmp_path: Path
) -> None:
    before = _rule_files(tower)
    shutil.copytree(RULES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "a_new_good.yml").write_text("groups: [{name: new, rules: [{record: new, expr: up}]}]\n")
    (tmp_path / "z_broken.yml").write_text(
        "groups: [{name: broken, rules: [{record: broken, expr: 'sum('}]}]\n"
    )
    output = playbook.refuse("--tags", "prometheus", prometheus_rules_source=str(tmp_path))
    assert "z_broken.yml" in output and "parse error" in output
    assert _rule_files(tower) == before
    installed = tower.run("ls", "/etc/prometheus/rules").stdout.split()
    assert {f"/etc/prometheus/rules/{name}" for name in installed} == before


@needs_booted_debian
def test_a_rule_file_that_leaves_the_repository_leaves_the_tower(
    tower: BootedDebian, playbook: Playbook, tmp_path: Path
) -> None:
    before = _rule_files(tower)
    shutil.copytree(RULES, tmp_path, dirs_exist_ok=True)
    leaves = min(tmp_path.glob("*.yml"))
    leaves.rename(tmp_path / "comes.yml")
    tower.run("cp", "-a", "/etc/prometheus/rules", "/etc/prometheus/former")
    playbook.succeed("--tags", "prometheus", prometheus_rules_source=str(tmp_path))
    after = before - {f"/etc/prometheus/rules/{leaves.name}"} | {"/etc/prometheus/rules/comes.yml"}
    wait_until(lambda: _rule_files(tower) == after, "Prometheus runs the other files")
    assert {
        f"/etc/prometheus/rules/{name}" for name in tower.run("ls", "/etc/prometheus/rules").stdout.split()
    } == after
    tower.run("sh", "-ec", "cd /etc/prometheus; rm -r rules; mv former rules; systemctl reload prometheus")
    wait_until(lambda: _rule_files(tower) == before, "Prometheus runs the former files again")


@needs_booted_debian
def test_a_changed_alertmanager_configuration_is_loaded_and_a_broken_one_is_refused(
    tower: BootedDebian, playbook: Playbook, tmp_path: Path
) -> None:
    before = _receivers(tower)
    source = tmp_path / "alertmanager.yml"
    source.write_text("route: {receiver: nowhere}\nreceivers: [{name: somewhere}]\n")
    output = playbook.refuse("--tags", "alertmanager", alertmanager_config_source=str(source))
    assert 'undefined receiver "nowhere"' in output
    assert _receivers(tower) == before
    source.write_text("route: {receiver: somewhere}\nreceivers: [{name: somewhere}]\n")
    former = "/etc/prometheus/alertmanager.yml"
    tower.run("cp", "-a", former, f"{former}.former")
    playbook.succeed("--tags", "alertmanager", alertmanager_config_source=str(source))
    wait_until(lambda: _receivers(tower) == ["somewhere"], "Alertmanager runs the new configuration")
    tower.run("mv", f"{former}.former", former)
    tower.run("systemctl", "reload", "prometheus-alertmanager")
    wait_until(lambda: _receivers(tower) == before, "Alertmanager runs the former configuration again")


@needs_booted_debian
def test_signers_are_installed_in_order(tower: BootedDebian, signers: list[str]) -> None:
    assert _allowed_signers(tower) == signers


@needs_booted_debian
def test_lines_that_let_in_more_than_one_person_in_one_role_are_refused(
    tower: BootedDebian, playbook: Playbook, signers: list[str], signer_key: str
) -> None:
    good = f'bot@example.org namespaces="medtower-rollout" {signer_key}'
    bad = [
        f"clinical@example.org {signer_key}",
        f'clinical@example.org namespaces="git" {signer_key}',
        f'clinical@example.org namespaces="medtower-*" {signer_key}',
        f'clinical@example.org namespaces="medtower-owner" {signer_key}',
        f'clinical+x@example.org namespaces="medtower-clinical" {signer_key}',
        f'clinical@example.org namespaces="medtower-clinical",valid-before="20300101" {signer_key}',
        f'clinical@example.org namespaces="medtower-clinical,medtower-compliance" {signer_key}',
        f'*@example.org namespaces="medtower-clinical" {signer_key}',
        f'clinical@example.org,other@example.org namespaces="medtower-clinical" {signer_key}',
        f'clinical@example.org cert-authority,namespaces="medtower-clinical" {signer_key}',
        f'clinical@example.org namespaces="medtower-clinical" {signer_key}\n* {signer_key}',
    ]
    output = playbook.refuse("--tags", "base", base_allowed_signers=[good, *bad])
    assert "base_allowed_signers, line 1 is" not in output
    for number, line in enumerate(bad, start=2):
        assert f"base_allowed_signers, line {number} is refused: {line.splitlines()[0]}" in output
    assert _allowed_signers(tower) == signers


@needs_booted_debian
def test_revoked_keys_lie_beside_the_signers(
    tower: BootedDebian, playbook: Playbook, signer_key: str
) -> None:
    fingerprint = "SHA256:" + "A" * 43
    playbook.succeed("--tags", "base", base_revoked_keys=[f"{signer_key} lost", fingerprint])
    installed = tower.run("cat", "/etc/medtower/revoked_keys").stdout.splitlines()
    assert installed == [f"{signer_key} lost", fingerprint]
    output = playbook.refuse("--tags", "base", base_revoked_keys=[fingerprint, "SHA256:short"])
    assert "base_revoked_keys, line 2 is refused" in output
    playbook.succeed("--tags", "base")
    assert tower.run("cat", "/etc/medtower/revoked_keys").stdout == ""


@needs_booted_debian
def test_a_key_that_ssh_cannot_read_is_refused(
    tower: BootedDebian, playbook: Playbook, signers: list[str], signer_key: str
) -> None:
    lines = [
        'clinical@example.org namespaces="medtower-clinical" ssh-ed25519 AAAAgarbage',
        f'technical@example.org namespaces="medtower-technical" {signer_key}',
    ]
    assert "invalid key" in playbook.refuse("--tags", "base", base_allowed_signers=lines)
    assert _allowed_signers(tower) == signers


@needs_booted_debian
@pytest.mark.parametrize(
    ("tag", "variable", "value"),
    [
        ("base", "base_allowed_signers", {"clinical": "key"}),
        ("prometheus", "prometheus_port", "ninety"),
        ("alertmanager", "alertmanager_port", "ninety"),
        ("node_exporter", "node_exporter_port", "ninety"),
        ("prometheus", "prometheus_scrape_targets", [{"job": "gateway"}]),
    ],
)
def test_a_variable_of_the_wrong_type_is_refused(
    playbook: Playbook, tag: str, variable: str, value: object
) -> None:
    output = playbook.refuse("--tags", tag, **{variable: value})
    assert "Validation of arguments failed" in output and variable in output


@needs_booted_debian
@pytest.mark.parametrize("role", ["prometheus", "alertmanager", "node_exporter"])
def test_listening_on_every_address_is_refused(playbook: Playbook, role: str) -> None:
    output = playbook.refuse("--tags", role, **{f"{role}_listen_address": "0.0.0.0"})  # noqa: S104
    assert f"{role}_listen_address is a wildcard" in output


def _rule_files(tower: BootedDebian) -> set[str]:
    """Files of the rule groups that the running Prometheus evaluates."""
    groups = json.loads(tower.fetch("http://127.0.0.1:9090/api/v1/rules"))["data"]["groups"]
    return {group["file"] for group in groups}


def _receivers(tower: BootedDebian) -> list[str]:
    """Names of the receivers of the configuration that Alertmanager runs."""
    return [
        receiver["name"] for receiver in json.loads(tower.fetch("http://127.0.0.1:9093/api/v2/receivers"))
    ]


def _targets(tower: BootedDebian) -> dict[str, tuple[str, str]]:
    """Job and health of each address that Prometheus scrapes."""
    targets = json.loads(tower.fetch("http://127.0.0.1:9090/api/v1/targets"))["data"]["activeTargets"]
    return {target["scrapeUrl"]: (target["labels"]["job"], target["health"]) for target in targets}


def _allowed_signers(tower: BootedDebian) -> list[str]:
    return tower.run("cat", "/etc/medtower/allowed_signers").stdout.splitlines()
