from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from medtower.errors import DigestMismatch, DiskFull, NameInvalid, NotFound, Refused
from medtower.serving.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def place(store: Store, content: bytes = b"weights") -> str:
    digest = hashlib.sha256(content).hexdigest()
    fetched = store.unfinished("als_risk", 1, digest, len(content))
    fetched.write_bytes(content)
    store.place("als_risk", 1, fetched, digest)
    return digest


def test_placed_weights_are_whole_plain_and_checked(store: Store) -> None:
    digest = place(store)
    store.check("als_risk", 1, digest)
    assert store.weights("als_risk", 1).read_bytes() == b"weights"
    assert [p.name for p in store.folder("als_risk").iterdir()] == ["1"]
    assert store.models() == ["als_risk"]


def test_one_changed_byte_is_found_with_and_without_rehashing(store: Store) -> None:
    digest = place(store)
    store.check("als_risk", 1, digest, rehash=False)
    path = store.weights("als_risk", 1)
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"weightz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for rehash in (True, False):
        with pytest.raises(DigestMismatch, match=r"als_risk/1/model\.onnx"):
            store.check("als_risk", 1, digest, rehash=rehash)


def test_what_was_fetched_wrong_never_reaches_the_store(store: Store) -> None:
    fetched = store.unfinished("als_risk", 1, "0" * 64, 1)
    fetched.write_bytes(b"other")
    with pytest.raises(DigestMismatch, match="as fetched"):
        store.place("als_risk", 1, fetched, "0" * 64)
    assert not store.has("als_risk", 1)
    with pytest.raises(NotFound):
        store.check("als_risk", 1, "0" * 64)


def test_links_and_extra_files_are_refused_by_name(store: Store, tmp_path: Path) -> None:
    digest = place(store)
    path = store.weights("als_risk", 1)
    os.link(path, tmp_path / "second-name")
    with pytest.raises(Refused, match=r"model\.onnx is a link"):
        store.check("als_risk", 1, digest)
    (tmp_path / "second-name").unlink()
    (path.parent / "labels.txt").write_text("x")
    with pytest.raises(Refused, match=r"1/labels\.txt does not belong"):
        store.check("als_risk", 1, digest)
    (path.parent / "labels.txt").unlink()
    path.rename(tmp_path / "moved")
    with pytest.raises(Refused, match=r"model\.onnx is missing"):
        store.check("als_risk", 1, digest)
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(Refused, match=r"model\.onnx is a link"):
        store.check("als_risk", 1, digest)


def test_a_linked_version_directory_is_refused(store: Store, tmp_path: Path) -> None:
    digest = place(store)
    place_ = store.folder("als_risk") / "1"
    place_.rename(tmp_path / "1")
    place_.symlink_to(tmp_path / "1")
    with pytest.raises(Refused, match="als_risk/1 is not a plain directory"):
        store.check("als_risk", 1, digest)


def test_placing_over_something_puts_it_aside_for_whoever_investigates(store: Store, tmp_path: Path) -> None:
    place(store, b"first")
    digest = place(store, b"second")
    store.check("als_risk", 1, digest)
    (kept,) = (tmp_path / "store.aside").glob("quarantine-als_risk-1-*/1/model.onnx")
    assert kept.read_bytes() == b"first"


def test_a_killed_fetch_leaves_nothing_after_tidying(store: Store, tmp_path: Path) -> None:
    leftover = tmp_path / "store.aside" / "staged-killed"
    leftover.mkdir()
    (leftover / "model.onnx").write_bytes(b"half")
    store.tidy()
    assert not leftover.exists()


def test_a_full_disk_is_said_before_anything_is_fetched(store: Store) -> None:
    with pytest.raises(DiskFull, match="free some space"):
        store.unfinished("als_risk", 1, "0" * 64, 2**60)


def test_writing_the_same_config_again_gives_it_a_newer_mtime(store: Store) -> None:
    store.write_config("als_risk", "a")
    path = store.folder("als_risk") / "config.pbtxt"
    os.utime(path, ns=(0, 0))
    store.write_config("als_risk", "a")
    assert path.stat().st_mtime_ns > 10**18
    assert store.config("als_risk") == "a"
    assert store.config("nobody_yet") is None


def test_a_path_is_no_model_name(store: Store) -> None:
    with pytest.raises(NameInvalid):
        store.weights("../x", 1)
