"""Looking whether a file was replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtower.gateway import watched
from medtower.gateway.watched import Watched


def test_a_file_has_changed_until_it_was_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = Watched(path)
    assert not file.changed()
    path.write_text("one")
    assert file.changed()
    assert file.changed()
    file.look()
    assert not file.changed()
    path.unlink()
    assert file.changed()


def test_those_who_come_together_share_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(watched, "SHARED_SECONDS", 0.0005)
    monkeypatch.setattr(watched.time, "monotonic", lambda: now[0])
    path = tmp_path / "file"
    file = Watched(path)
    assert not file.changed()
    path.write_text("one")
    now[0] += 0.0004
    assert not file.changed()
    now[0] += 0.0002
    assert file.changed()
