"""Real git: what the adapter promises about it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from medtower.adapters import git_history
from medtower.adapters.git import Repository, seed
from medtower.adapters.git_checkout import one_line
from medtower.errors import Conflict, NotFound, Refused, Unavailable


@pytest.fixture
def bare(tmp_path: Path) -> Repository:
    models = tmp_path / "models" / "als_risk"
    models.mkdir(parents=True)
    (models / "model.yaml").write_text("name: als_risk\n")
    return seed(tmp_path / "models.git", models.parent)


def write(repository: Repository, name: str, text: str, message: str) -> str:
    with repository.checkout() as work:
        path = work.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        commit = work.commit(message)
        work.push(expected=work.tip)
    return commit


def test_seeding_takes_the_models_once_and_leaves_the_source_alone(tmp_path: Path, bare: Repository) -> None:
    assert bare.read("main", "triton_models/als_risk/model.yaml") == b"name: als_risk\n"
    head = bare.head()
    (tmp_path / "models" / "als_risk" / "model.yaml").write_text("changed: true\n")
    assert seed(tmp_path / "models.git", tmp_path / "models").head() == head
    assert not (tmp_path / "models" / ".git").exists()


def test_seeding_takes_tracked_files_only(tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "models" / "m1").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    (source / "models" / "m1" / "model.yaml").write_text("name: m1\n")
    subprocess.run(["git", "-C", str(source), "add", "models"], check=True)
    (source / "models" / "m1" / "patients.csv").write_text("nobody's business\n")
    entries = seed(tmp_path / "bare.git", source / "models").entries("main", recursive=True)
    assert [e.path for e in entries] == ["triton_models/m1/model.yaml"]


def test_a_repository_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="git repository"):
        Repository(tmp_path)


def test_the_head_is_read_from_loose_and_packed_refs(bare: Repository) -> None:
    loose = bare.head()
    bare.git("pack-refs", "--all")
    assert not (bare.path / "refs" / "heads" / "main").exists()
    assert bare.head() == loose
    assert bare.head("nobody") is None


def test_a_push_over_somebody_elses_commit_is_a_conflict(bare: Repository) -> None:
    with bare.checkout() as slow:
        (slow.folder / "mine").write_text("1")
        slow.commit("Mine")
        theirs = write(bare, "theirs", "2", "Theirs")
        with pytest.raises(Conflict, match="somebody else"):
            slow.push(expected=slow.tip)
    assert bare.head() == theirs


def test_a_push_and_a_deletion_happen_together_or_not_at_all(bare: Repository) -> None:
    with bare.checkout() as work:
        work.push("topic", expected=None)
        assert work.tip is not None
        (work.folder / "x").write_text("1")
        work.commit("X")
        with pytest.raises(Conflict):
            work.push(expected=work.tip, delete=("topic", "0" * 39 + "1"))
        assert bare.head() == work.tip
        work.push(expected=work.tip, delete=("topic", work.tip))
    assert bare.branches() == ["main"]


def test_an_empty_commit_is_a_conflict(bare: Repository) -> None:
    with bare.checkout() as work, pytest.raises(Conflict, match="nothing to commit"):
        work.commit("Nothing")


def test_an_export_holds_the_bytes_and_refuses_links(tmp_path: Path, bare: Repository) -> None:
    bare.export("main:triton_models", tmp_path / "out")
    assert (tmp_path / "out" / "als_risk" / "model.yaml").read_bytes() == b"name: als_risk\n"
    with bare.checkout() as work:
        (work.folder / "triton_models" / "als_risk" / "link").symlink_to("/etc/hostname")
        work.commit("A link")
        work.push(expected=work.tip)
    with pytest.raises(Refused, match="als_risk/link is a link"):
        bare.export("main:triton_models", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def plant(bare: Repository, name: bytes, content: bytes = b"x") -> str:
    """A tree with one file called `name`, whatever a work tree could hold. Returns its id."""
    blob = bare.git("hash-object", "-w", "--stdin", stdin=content).decode().strip()
    return bare.git("mktree", "-z", stdin=f"100644 blob {blob}\t".encode() + name + b"\0").decode().strip()


@pytest.mark.parametrize("name", [b"\xff", b"n" * 300, b"two\nlines", "\u202erahc".encode()])
def test_a_name_that_no_disk_or_reader_would_take_is_listed_but_not_exported(
    tmp_path: Path, bare: Repository, name: bytes
) -> None:
    tree = plant(bare, name)
    (entry,) = bare.entries(tree, recursive=True)
    assert os.fsencode(entry.path) == name
    with pytest.raises(Refused, match="is not a name of printable text") as caught:
        bare.export(tree, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_more_than_a_release_ever_needs_is_neither_read_nor_exported(
    tmp_path: Path, bare: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medtower.adapters.git.LARGEST_EXPORT", 100)
    write(bare, "triton_models/als_risk/large", "x" * 101, "Large")
    with pytest.raises(Refused, match="weights belong in MLflow"):
        bare.export("main:triton_models", tmp_path / "out")
    with pytest.raises(Refused, match="weights belong in MLflow"):
        bare.read("main", "triton_models/als_risk/large")
    assert bare.read("main", "triton_models/als_risk/model.yaml") == b"name: als_risk\n"


@pytest.mark.parametrize("spoilt", ["all of it", "its end"])
def test_a_file_whose_object_is_damaged_is_neither_read_in_part_nor_taken_for_missing(
    bare: Repository, spoilt: str
) -> None:
    name = "triton_models/als_risk/noise"
    text = os.urandom(200_000).hex()
    write(bare, name, text, "What does not shrink much")
    (entry,) = [e for e in bare.entries("main:triton_models/als_risk") if e.path == "noise"]
    place = bare.path / "objects" / entry.id[:2] / entry.id[2:]
    stored = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(b"" if spoilt == "all of it" else stored[: len(stored) // 2])
    with pytest.raises(Unavailable, match="noise"):
        bare.read("main", name)
    place.write_bytes(stored)
    assert bare.read("main", name) == text.encode()


@pytest.mark.parametrize("how", ["damaged", "lost"])
def test_a_former_content_whose_object_is_gone_is_not_taken_for_a_removal(bare: Repository, how: str) -> None:
    name = "triton_models/als_risk/release.yaml"
    write(bare, name, "version: 1\n", "One")
    write(bare, name, "version: 2\n", "Two")
    one = bare.git("rev-parse", f"main~1:{name}").decode().strip()
    place = bare.path / "objects" / one[:2] / one[2:]
    stored = place.read_bytes()
    place.unlink()
    if how == "damaged":
        place.write_bytes(b"")
    with pytest.raises(Unavailable, match="release.yaml is damaged or lost"):
        git_history.revisions(bare, "main", name)
    place.write_bytes(stored)
    contents = [revision.content for revision in git_history.revisions(bare, "main", name)]
    assert contents == [b"version: 1\n", b"version: 2\n"]
    with bare.checkout() as work:
        (work.folder / name).unlink()
        work.commit("None")
        work.push(expected=work.tip)
    assert git_history.revisions(bare, "main", name)[-1].content is None


def test_a_tree_that_is_damaged_is_not_an_empty_one(bare: Repository) -> None:
    tree = bare.git("rev-parse", "main:triton_models").decode().strip()
    place = bare.path / "objects" / tree[:2] / tree[2:]
    place.chmod(0o644)
    place.write_bytes(b"")
    with pytest.raises(Unavailable):
        bare.entries("main:triton_models")
    assert bare.entries("main:nothing") == []


def test_attributes_in_the_tree_neither_hide_nor_change_exported_files(
    tmp_path: Path, bare: Repository
) -> None:
    write(bare, "triton_models/als_risk/.gitattributes", "* export-ignore\n* export-subst\n", "Attributes")
    bare.export("main:triton_models", tmp_path / "out")
    assert (tmp_path / "out" / "als_risk" / "model.yaml").exists()


def test_replacements_are_invisible(bare: Repository) -> None:
    tip = write(bare, "triton_models/als_risk/model.yaml", "name: als_risk\n# 2\n", "Second")
    bare.git("replace", tip, f"{tip}~1")
    assert bare.read(tip, "triton_models/als_risk/model.yaml") == b"name: als_risk\n# 2\n"


def test_the_users_configuration_and_hooks_are_not_obeyed(
    tmp_path: Path, bare: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text(
        "[user]\nname = Someone\nemail = s@example.org\n[commit]\ngpgsign = true\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", os.devnull)
    write(bare, "y", "1", "Yes")
    assert bare.git("log", "-1", "--format=%an <%ae>").decode().strip() == "Medtower <medtower@localhost>"


def test_the_receiving_repositorys_own_hook_is_obeyed(bare: Repository) -> None:
    hook = bare.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho the policy says no >&2\nexit 1\n")
    hook.chmod(0o755)
    before = bare.head()
    with pytest.raises(Refused, match="the policy says no"):
        write(bare, "z", "1", "No")
    assert bare.head() == before


def test_the_log_of_a_path_is_newest_first(bare: Repository) -> None:
    first = write(bare, "a", "1", "First")
    write(bare, "b", "1", "Other")
    second = write(bare, "a", "2", "Second")
    assert [c.id for c in bare.log(path="a")] == [second, first]
    assert bare.log(path="a", limit=1)[0].subject == "Second"


def test_a_message_is_one_line() -> None:
    assert one_line("a\nb\x00 c\u2028d" + "x" * 300) == ("a b c d" + "x" * 300)[:200]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another user")
def test_a_repository_of_another_user_is_read_as_in_a_cluster_where_it_is_the_git_server_s(
    tmp_path: Path, bare: Repository
) -> None:
    nobody = 65534
    for place in (bare.path, *bare.path.rglob("*")):
        os.chown(place, nobody, nobody)
    repository = Repository(bare.path)
    head = repository.head()
    assert [c.id for c in repository.log()] == [head]
    assert repository.read("main", "triton_models/als_risk/model.yaml") == b"name: als_risk\n"
    repository.export("main:triton_models", tmp_path / "out")
    assert (tmp_path / "out" / "als_risk" / "model.yaml").exists()


def test_the_commit_of_a_checkout_says_whether_its_files_were_changed(tmp_path: Path) -> None:
    bare = seed(tmp_path / "bare.git", _models(tmp_path))
    with bare.checkout() as work:
        inside = Repository(work.folder)
        assert inside.head_commit() == work.tip
        (work.folder / "triton_models" / "a.txt").write_text("changed")
        assert inside.head_commit() == f"{work.tip}-dirty"


def _models(place: Path) -> Path:
    folder = place / "models"
    folder.mkdir()
    (folder / "a.txt").write_text("as committed")
    return folder
