"""The reports folder: its index, and what is too old to stay."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from medtower.domain.disclaimer import DISCLAIMER
from medtower.reports.publish import publish_index, remove_old

THEN = datetime(2026, 3, 1, tzinfo=UTC)


def page(path: Path, written: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<html></html>")
    os.utime(path, (THEN.timestamp() + written,) * 2)


def test_the_index_lists_every_page_but_itself_and_no_draft(tmp_path: Path) -> None:
    for name in ("demo.html", "als_risk/drift-2026-03-01T12.html", "als_risk/.drift.html.77"):
        page(tmp_path / name)
    for _ in range(2):
        index = publish_index(tmp_path)
    text = index.read_text()
    assert index == tmp_path / "index.html"
    assert text.count("<li>") == 2
    assert 'href="demo.html"' in text
    assert 'href="als_risk/drift-2026-03-01T12.html"' in text
    assert DISCLAIMER in text


def test_the_index_of_an_empty_folder_says_so(tmp_path: Path) -> None:
    assert "No report has been written yet." in publish_index(tmp_path / "reports").read_text()


def test_old_pages_and_drafts_go_and_everything_else_stays(tmp_path: Path) -> None:
    page(tmp_path / "old.html", -1)
    page(tmp_path / ".old.html.77", -1)
    page(tmp_path / "new.html")
    page(tmp_path / "notes.txt", -1)
    page(tmp_path / "below" / "old.html", -1)
    assert remove_old(tmp_path, THEN) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"new.html", "notes.txt", "below"}
    assert remove_old(tmp_path, THEN) == 0
    assert remove_old(tmp_path / "not-there", THEN) == 0
