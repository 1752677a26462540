"""Runs the repository's site.yml as a user would, against a booted system or with --syntax-check."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSIBLE = Path(__file__).resolve().parents[3] / "ansible"
PROGRAM = Path(sys.executable).with_name("ansible-playbook")
RECAP = re.compile(r"^\S+\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0", re.MULTILINE)


@dataclass(frozen=True)
class Playbook:
    """site.yml with the test inventory; ``pid`` is the systemd of the system it runs on."""

    pid: int
    signers: list[str]

    def run(self, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        extra = json.dumps(
            {"ansible_nsenter_pid": self.pid, "base_allowed_signers": self.signers, **variables}
        )
        return ansible_playbook("-i", "inventories/test", "-e", extra, *options)

    def succeed(self, *options: str, **variables: Any) -> int:
        """Number of changed tasks; AssertionError with Ansible's output when the run fails."""
        done = self.run(*options, **variables)
        recap = RECAP.search(done.stdout)
        assert done.returncode == 0 and recap is not None, done.stdout[-6000:] + done.stderr
        return int(recap.group(1))

    def refuse(self, *options: str, **variables: Any) -> str:
        """Ansible's output; AssertionError when the run succeeds."""
        done = self.run(*options, **variables)
        assert done.returncode != 0, done.stdout[-6000:]
        return done.stdout + done.stderr


def ansible_playbook(*options: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *options, "site.yml"]
    env = os.environ | {
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "1000",
    }
    return subprocess.run(
        command, cwd=ANSIBLE, env=env, capture_output=True, text=True, check=False, timeout=300
    )
