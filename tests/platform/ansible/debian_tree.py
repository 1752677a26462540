"""A Debian tree on disk, built once by debootstrap and kept in a cache directory.

Mirror, proxy and certificates are the host's own: they come from its apt configuration.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What systemd and Ansible need before the first role runs.
BOOT_PACKAGES = ("dbus", "iproute2", "python3", "python3-apt", "systemd", "systemd-sysv")


def cache_directory() -> Path:
    """Where trees are kept: MEDTOWER_TEST_CACHE, else ~/.cache/medtower-tests."""
    return Path(os.environ.get("MEDTOWER_TEST_CACHE") or "~/.cache/medtower-tests").expanduser()


def debian_mirror() -> tuple[str, str] | None:
    """Address and suite of the Debian archive in the host's apt sources; None where apt knows none."""
    if shutil.which("apt-get") is None:
        return None
    fields = "$(SITE) $(RELEASE)"
    filters = ("Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
    answer = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, *filters], capture_output=True, text=True, check=False
    )
    rows = [line.split() for line in answer.stdout.splitlines()]
    # Suites such as bookworm-updates hold no base system.
    return next(((row[0], row[1]) for row in rows if len(row) == 2 and "-" not in row[1]), None)


def debian_tree(mirror: str, suite: str, offline_packages: tuple[str, ...]) -> Path:
    """Root directory of a tree that boots and can install ``offline_packages`` without a network.

    Built at the first call (about a minute), found at the next. Never write to it: mount an overlay on it.
    """
    wanted = "\n".join((suite, *BOOT_PACKAGES, *sorted(offline_packages)))
    tree = cache_directory() / f"debian-{suite}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    tree.parent.mkdir(parents=True, exist_ok=True)
    with _locked(tree.with_suffix(".lock")):
        if not tree.exists():
            partial = tree.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="medtower-debian-") as scratch:
                built = Path(scratch) / "tree"  # dpkg waits for the disk after every file, where it is one
                _debootstrap(built, mirror, suite)
                _download(built, offline_packages)
                _run(["cp", "-a", str(built), str(partial)])
            partial.rename(tree)
    return tree


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _debootstrap(tree: Path, mirror: str, suite: str) -> None:
    include = f"--include={','.join(BOOT_PACKAGES)}"
    _run(["debootstrap", "--variant=minbase", include, suite, str(tree), mirror], env=os.environ | _proxies())
    # An empty machine-id gives every boot its own; without the file systemd would take it for a first boot.
    (tree / "etc/machine-id").write_text("")


def _download(tree: Path, packages: tuple[str, ...]) -> None:
    (tree / "etc/apt/apt.conf.d/00host").write_text(_apt_settings())
    for name in ("/etc/hosts", "/etc/resolv.conf", *_certificates()):
        copy = tree / name.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, copy)
    apt = ["chroot", str(tree), "apt-get", "-q", "-y", "--no-install-recommends"]
    _run([*apt, "update"])
    _run([*apt, "install", "--download-only", *packages])


def _proxies() -> dict[str, str]:
    """The proxies of apt's configuration as the environment that debootstrap's wget reads."""
    variables = ("http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy")
    text = subprocess.run(
        ["apt-config", "shell", *variables], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.split("=", 1) for line in text.splitlines())
    return {name: value.strip("'") for name, value in pairs}


def _apt_settings() -> str:
    """The host's settings of how archives are reached and checked, without anything else of its configuration."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = ("Acquire::http::", "Acquire::https::", "Acquire::Check-")
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(kept))


def _certificates() -> list[str]:
    """Certificate files that apt in the tree must find under the same names as on the host."""
    values = (
        line.split('"')[1] for line in _apt_settings().splitlines() if line.startswith("Acquire::https::")
    )
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    return sorted({name for name in (*values, bundle) if name.startswith("/") and Path(name).is_file()})


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:4])} exited {done.returncode}:\n{done.stdout[-3000:]}")
