"""Files that are replaced whole: what a reader, another user and a power cut may see of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtower import atomic_file


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_written_in_a_folder_that_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    atomic_file.write(path, "größer")
    atomic_file.write(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("asked", "expected"), [(None, 0o644), (0o600, 0o600), (0o666, 0o666)])
def test_permissions_are_those_asked_for_or_the_umask_s(
    tmp_path: Path, loose_umask: None, asked: int | None, expected: int
) -> None:
    atomic_file.write(tmp_path / "file", "x", mode=asked)
    assert mode(tmp_path / "file") == expected


def test_a_draft_is_never_open_to_more_than_the_file_and_the_old_file_stands_until_the_end(
    tmp_path: Path, loose_umask: None
) -> None:
    path = tmp_path / "file"
    atomic_file.write(path, "old")
    with atomic_file.draft(path, mode=0o600) as draft:
        draft.write_text("new")
        assert (mode(draft), draft.parent, path.read_text()) == (0o600, tmp_path, "old")
        assert draft.name.startswith(".file.")
    assert path.read_text() == "new"


def test_a_draft_that_is_given_up_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_file.write(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_file.draft(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_may_lie_in_another_folder(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    with atomic_file.draft(tmp_path / "there" / "file", drafts=aside) as draft:
        assert draft.parent == aside
    assert list(aside.iterdir()) == []
    assert (tmp_path / "there" / "file").exists()


def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    real = os.fsync

    def watched(descriptor: int) -> None:
        seen.append((os.stat(descriptor).st_ino, path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    atomic_file.write(path, "x")
    assert seen == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
