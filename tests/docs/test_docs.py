"""What the docs say to type exists, what they link to is there, and they say what they are for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from medtower.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "ansible" / "README.md"])
LINK = re.compile(r"\]\(([^)#\s]+)")
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def commands(page: Path) -> list[str]:
    """The lines after `$ ` in the page's console blocks, without trailing comments."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [
        line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")
    ]
    return [line.split("  #")[0].strip() for line in lines]


ALL = [(page, line) for page in PAGES for line in commands(page)]


def test_there_is_something_to_check() -> None:
    assert len(ALL) >= 15
    assert {page.name for page, _ in ALL} >= {
        "README.md",
        "CONTRIBUTING.md",
        "embedded-tower.md",
        "your-own-model.md",
    }


@pytest.mark.parametrize(("page", "line"), ALL, ids=lambda v: v if isinstance(v, str) else v.name)
def test_a_command_in_the_docs_is_understood(page: Path, line: str) -> None:
    for part in line.split("&&"):
        words = [w for w in shlex.split(part) if "=" not in w or w.startswith("-")]
        program = Path(words[0]).name
        if program == "make":
            assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), line
        elif program == "medtower":
            verb = VERBS[words[1]]
            verb.make_context(words[1], words[2:])  # parses every argument and option, calls nothing
        else:
            assert words[0] == ".ci/run" or program in {"git", "ansible-playbook", "export", "cd", "cp"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_disclaimer_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "Administrative and documentation support only" in readme
    assert "Not medical advice" in readme


def test_every_decision_has_its_four_parts_and_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(p.name[:4]) for p in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert re.match(rf"# {int(page.name[:4])}\. \S", text), page.name
        for part in ("Status: ", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{page.name} lacks {part}"


def test_the_tree_in_the_readme_is_the_tree() -> None:
    for name in (
        "dags",
        "plugins/medtower",
        "triton_models",
        "argocd",
        "ansible",
        "monitoring",
        "tests",
        "docs",
    ):
        assert name in (ROOT / "README.md").read_text()
        assert (ROOT / name).is_dir()
