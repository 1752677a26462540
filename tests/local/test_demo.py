"""A demo starts empty, and takes nothing away that no demo made."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtower.errors import Conflict
from medtower.local.demo import story


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    (tmp_path / "spool").mkdir()
    with pytest.raises(Conflict, match="holds what no demo made"):
        story.clear(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secrets.json", "spool"]


def test_what_an_earlier_demo_left_is_removed(tmp_path: Path) -> None:
    story.clear(tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("old")
    (tmp_path / "state.json").write_text("{}")
    story.clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [story.MARKER]


def test_an_empty_folder_becomes_a_demos(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    story.clear(tmp_path)
    assert (tmp_path / story.MARKER).exists()
    assert (tmp_path / ".lock").exists()
