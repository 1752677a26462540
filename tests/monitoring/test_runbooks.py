"""One runbook for each alert, found by the alert's name, and each answering the same five questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Rule = dict[str, Any]

# The one base under which every runbook lies, relative to the repository's root; a forge shows the file at that path.
BASE = "monitoring/runbooks"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "What to do", "How to know it is over"]


def test_the_link_of_an_alert_is_made_from_its_name(alerts: list[Rule]) -> None:
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"{BASE}/{alert['alert']}.md"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(alerts: list[Rule], monitoring: Path) -> None:
    written = {path.stem for path in (monitoring / "runbooks").glob("*.md")}
    assert written == {alert["alert"] for alert in alerts}


def test_every_runbook_answers_the_same_five_questions(monitoring: Path) -> None:
    for path in sorted((monitoring / "runbooks").glob("*.md")):
        lines = path.read_text().splitlines()
        assert lines[0] == f"# {path.stem}"
        assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS, path.name


def test_no_section_of_a_runbook_is_empty(monitoring: Path) -> None:
    for path in sorted((monitoring / "runbooks").glob("*.md")):
        bodies = [part.split("\n", 1)[1].strip() for part in path.read_text().split("\n## ")[1:]]
        assert all(bodies), path.name
