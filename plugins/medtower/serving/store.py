"""The model store, Triton's model repository: `<store>/<model>/config.pbtxt` and `<store>/<model>/<version>/model.onnx`, and nothing else.

A version directory appears whole by one rename and never changes. Triton reloads a version when a file's mtime is newer, so
symlinks are never flipped and files never edited in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from medtower import atomic_file
from medtower.domain.contract import check_model_name
from medtower.errors import DigestMismatch, DiskFull, NotFound, Refused

WEIGHTS = "model.onnx"
CONFIG = "config.pbtxt"
STAGED, QUARANTINE, UNFINISHED = "staged-", "quarantine-", "unfinished-"


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """The store at `root`. Staging and quarantine lie beside it: on the same disk for the rename, outside of what Triton looks at."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._beside = self.root.with_name(f"{self.root.name}.aside")
        self._known: dict[tuple[str, int], tuple[tuple[int, ...], str]] = {}
        self.root.mkdir(parents=True, exist_ok=True)
        self._beside.mkdir(mode=0o700, exist_ok=True)

    def folder(self, model: str) -> Path:
        """The directory of `model`; raises NameInvalid."""
        return self.root / check_model_name(model)

    def weights(self, model: str, version: int) -> Path:
        return self.folder(model) / str(version) / WEIGHTS

    def tidy(self) -> None:
        """Remove what a killed process left half-placed; what it half-fetched is gone on with. Only for the one holder of the reconciler's lock."""
        for leftover in self._beside.glob(f"{STAGED}*"):
            shutil.rmtree(leftover)
        for leftover in self._beside.glob(f".{CONFIG}.*"):
            leftover.unlink()

    def models(self) -> list[str]:
        return sorted(p.name for p in self.root.iterdir() if p.is_dir())

    def has(self, model: str, version: int) -> bool:
        """True when there is anything at the version's place, sound or not."""
        return os.path.lexists(self.folder(model) / str(version))

    def check(self, model: str, version: int, expected: str, *, rehash: bool = True) -> None:
        """Raise when the version is not there, is not exactly one plain file, or its bytes are not `expected` (sha256).

        `rehash=False` trusts an earlier hash while inode, size, mtime and ctime stand: for watching, never for loading.
        """
        path = self.weights(model, version)
        if not self.has(model, version):
            raise NotFound(f"version {version} of {model}", str(self.root))
        self._check_plain(path)
        seen = _identity(path)
        known = self._known.get((model, version))
        actual = known[1] if known and known[0] == seen and not rehash else sha256(path)
        if actual != expected:
            raise DigestMismatch(str(path.relative_to(self.root)), expected, actual)
        self._known[model, version] = (seen, actual)

    def _check_plain(self, path: Path) -> None:
        for folder in (path.parents[1], path.parent):
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise Refused("store", f"{folder.relative_to(self.root)} is not a plain directory; remove it")
        extra = sorted(p.name for p in path.parent.iterdir() if p.name != WEIGHTS)
        if extra:
            raise Refused(
                "store", f"{path.parent.relative_to(self.root)}/{extra[0]} does not belong there; remove it"
            )
        name = path.relative_to(self.root)
        if not os.path.lexists(path):
            raise Refused("store", f"{name} is missing")
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
            raise Refused("store", f"{name} is a link, not a plain file; remove it")

    def unfinished(self, model: str, version: int, expected: str, needed_bytes: int) -> Path:
        """The file to fetch weights with the sha256 `expected` into, outside of Triton's sight; it may hold a first part from before.

        Raises DiskFull when the disk has no room for `needed_bytes`.
        """
        path = self._beside / f"{UNFINISHED}{check_model_name(model)}-{version}-{expected[:16]}"
        there = path.stat().st_size if path.is_file() else 0
        free = shutil.disk_usage(self._beside).free
        if free < (needed_bytes - there) * 1.05 + 16 * 2**20:
            raise DiskFull(self.root, (needed_bytes - there) // 2**20 + 17, free // 2**20)
        return path

    def place(self, model: str, version: int, fetched: Path, expected: str) -> None:
        """Move the file `fetched` to the version's place, whole or not at all. Raises DigestMismatch; a directory in the way goes to quarantine."""
        staged = Path(tempfile.mkdtemp(prefix=STAGED, dir=self._beside)) / WEIGHTS
        try:
            fetched.rename(staged)
            self._check_staged(staged, f"{model}/{version}/{WEIGHTS} as fetched", expected)
            staged.chmod(0o444)
            staged.parent.chmod(0o755)
            atomic_file.sync(staged)
            atomic_file.sync(staged.parent)
            folder = self.folder(model)
            folder.mkdir(exist_ok=True)
            if self.has(model, version):
                self.quarantine(model, version)
            staged.parent.rename(folder / str(version))
        finally:
            shutil.rmtree(staged.parent, ignore_errors=True)
        atomic_file.sync(folder)
        self._known[model, version] = (_identity(self.weights(model, version)), expected)

    def remove(self, model: str, version: int) -> None:
        """Delete a version: out of Triton's sight by one rename, then for good."""
        gone = Path(tempfile.mkdtemp(prefix=STAGED, dir=self._beside))
        (self.folder(model) / str(version)).rename(gone / str(version))
        self._known.pop((model, version), None)
        shutil.rmtree(gone)

    def versions(self, model: str) -> list[int]:
        """The versions that have a place in the store, sound or not."""
        folder = self.folder(model)
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def aside(self, older_than: float) -> list[Path]:
        """What lies in quarantine, or half-fetched, untouched since `older_than` (seconds since the epoch)."""
        found = [p for kind in (QUARANTINE, UNFINISHED) for p in self._beside.glob(f"{kind}*")]
        return sorted(p for p in found if p.lstat().st_mtime < older_than)

    def _check_staged(self, staged: Path, name: str, expected: str) -> None:
        info = staged.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
            raise Refused("store", "what was fetched is not one plain file")
        if (actual := sha256(staged)) != expected:
            raise DigestMismatch(name, expected, actual)

    def quarantine(self, model: str, version: int) -> Path:
        """Move the version out of Triton's sight, for whoever investigates; return where it went."""
        place = Path(tempfile.mkdtemp(prefix=f"{QUARANTINE}{model}-{version}-", dir=self._beside)) / str(
            version
        )
        (self.folder(model) / str(version)).rename(place)
        self._known.pop((model, version), None)
        return place

    def config(self, model: str) -> str | None:
        """The config.pbtxt as Triton sees it; None when there is none."""
        path = self.folder(model) / CONFIG
        return path.read_text() if path.is_file() and not path.is_symlink() else None

    def write_config(self, model: str, text: str) -> None:
        """Replace config.pbtxt by a rename, with the current mtime also when the text is the same: only that makes Triton look again."""
        atomic_file.write(self.folder(model) / CONFIG, text, drafts=self._beside)


def _identity(path: Path) -> tuple[int, ...]:
    """Changes whenever the bytes do; ctime cannot be set back by a program."""
    info = path.lstat()
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
