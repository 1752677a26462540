"""A journal that is opened in a thread, and given up meanwhile, as at the end of the process."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from medtower.gateway.rest.batch.journal import Journal


def test_a_journal_that_is_closed_before_its_opening_comes_round_stays_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.close()
    journal.open()
    assert not (tmp_path / "journal").exists()
    with pytest.raises(ValueError, match="not open"):
        journal.append([{"row": 1}])


def test_a_journal_that_is_closed_while_it_opens_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, opened = threading.Event(), threading.Event(), []
    real = os.open

    def held(*arguments: Any) -> int:
        begun.set()
        go_on.wait(10)
        opened.append(real(*arguments))
        return opened[0]

    monkeypatch.setattr(os, "open", held)
    journal = Journal(tmp_path / "journal")
    opening, closing = threading.Thread(target=journal.open), threading.Thread(target=journal.close)
    opening.start()
    assert begun.wait(10)
    closing.start()
    go_on.set()
    opening.join(10)
    closing.join(10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
