"""The rows 10 to 16 and 25 of the matrix of faults and attacks, by real pushes to a real bare repository with the real hook at its door."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.fixtures.releases import (
    COMMAND,
    ENVIRONMENT,
    GRADUAL,
    STEP_VERDICT,
    World,
    contract_text,
    make_key,
    released,
    signer_line,
)

from medtower.adapters.git import Repository
from medtower.domain.contract import Role
from medtower.domain.rollout import Plan
from medtower.domain.verdict import Decision
from medtower.errors import Conflict, NameInvalid, NotFound, Refused
from medtower.releases import approvals, dossier, kustomization, release_file, traffic_file
from medtower.workflows import check, history, model_tree, trust
from medtower.workflows.deactivate import deactivate
from medtower.workflows.rollback import rollback

MODEL, OTHER = "sum_model", "other_model"
FOLDER = f"triton_models/{MODEL}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """sum_model 1 serves everybody and 2 begins a gradual rollout; other_model was never released. Not to be changed: copy it."""
    world = World(tmp_path_factory.mktemp("world"), MODEL, OTHER)
    world.promote(MODEL, 1)
    world.promote(MODEL, 2, plan=GRADUAL)
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    twin = template.copy(tmp_path / "world")
    twin.guard()
    return twin


@pytest.fixture
def fresh(tmp_path: Path) -> World:
    """Nothing is released; the hook is at the door."""
    world = World(tmp_path, MODEL, OTHER)
    world.guard()
    return world


def promotion(world: World, version: int) -> str:
    commits = world.repository.log("main", f"{FOLDER}/release.yaml")
    return next(c.id for c in commits if c.subject == f"Promote {MODEL} to {version}")


class Clone:
    """A pusher's clone, with a plain git and whatever the pusher likes to set."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.git("clone", "-q", str(world.repository.path), str(folder), at=folder.parent)

    def git(self, *arguments: str, at: Path | None = None, **environment: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=at or self.folder, env={**os.environ, **environment}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise PushError(done.stderr)
        return done.stdout.strip()

    def commit(self, message: str = "x") -> str:
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def push(self, *references: str, **environment: str) -> None:
        self.git("push", "-q", "origin", *(references or ("HEAD:main",)), **environment)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / name
        text = path.read_text()
        path.write_text(change(text))
        assert path.read_text() != text


class PushError(Exception):
    """What git said."""


@pytest.fixture
def clone(world: World, tmp_path: Path) -> Clone:
    return Clone(world, tmp_path / "clone")


@contextmanager
def refused(world: World, rule: str) -> Iterator[None]:
    """The push inside is refused by `rule`, and main stays where it was."""
    head = world.repository.head()
    with pytest.raises((PushError, Refused), match=f"refused by rule {rule}"):
        yield
    assert world.repository.head() == head


# -- 10: bytes and files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("dossiers/2/manifest.json", "release"),
        ("dossiers/1/golden.json", "release"),
        ("dossiers/2/approvals/final.sig", "release"),
        ("config.pbtxt", "release"),
        ("release.yaml", "release"),
    ],
)
def test_10_no_byte_of_what_is_released_changes_by_a_push(
    world: World, clone: Clone, name: str, rule: str
) -> None:
    clone.edit(f"{FOLDER}/{name}", lambda text: text + "\n")
    clone.commit()
    with refused(world, rule):
        clone.push()


def test_10_a_file_extra_missing_or_renamed_is_refused(world: World, clone: Clone) -> None:
    place = clone.folder / FOLDER
    (place / "notes.txt").write_text("x")
    clone.commit()
    with refused(world, "stray"):
        clone.push()
    clone.git("reset", "-q", "--hard", "origin/main")
    (place / "dossiers/2/gates.json").rename(place / "dossiers/2/gate.json")
    clone.commit()
    with refused(world, "release"):
        clone.push()


def test_10_a_link_is_refused_wherever_it_lies(world: World, clone: Clone) -> None:
    place = clone.folder / FOLDER / "cohort.yaml"
    place.symlink_to("/etc/hostname")
    clone.commit()
    with refused(world, "tree"):
        clone.push()
    clone.git("reset", "-q", "--hard", "origin/main")
    (clone.folder / "trust").symlink_to(FOLDER)
    clone.commit()
    with refused(world, "tree"):
        clone.push()


def test_10_a_link_inside_an_approved_dossier_is_refused(fresh: World) -> None:
    with fresh.unguarded():
        fresh.propose(MODEL, 1)
        fresh.approve(MODEL, 1)
    with fresh.repository.checkout("promote/sum_model-1") as work:
        card = work.folder / FOLDER / "dossiers/1/model_card.md"
        card.unlink()
        card.symlink_to("approval.md")
        work.commit("A link")
        work.push(expected=work.tip)
    with refused(fresh, "tree"):
        fresh.merge(MODEL, 1)


# -- 11, 12, 13: what was signed, and by whom ------------------------------------------------------------------------------------


def push_squashed(world: World, clone: Clone, branch: str, spoil: Callable[[Path], None]) -> None:
    """Squash a proposal by hand, change it, and push it to main: nothing of Medtower is asked but the hook."""
    clone.git("fetch", "-q")
    clone.git("merge", "-q", "--squash", f"origin/{branch}")
    spoil(clone.folder / FOLDER)
    clone.commit("Promote")
    clone.push()


@pytest.fixture(scope="module")
def proposal(tmp_path_factory: pytest.TempPathFactory) -> World:
    """sum_model 1 is proposed and approved. Not to be changed: copy it."""
    world = World(tmp_path_factory.mktemp("proposal"), MODEL, OTHER)
    world.propose(MODEL, 1)
    world.approve(MODEL, 1)
    return world


@pytest.fixture
def proposed(proposal: World, tmp_path: Path) -> tuple[World, Clone]:
    world = proposal.copy(tmp_path / "proposed")
    world.guard()
    return world, Clone(world, tmp_path / "clone-of-proposed")


def _swap_statement(folder: Path) -> None:
    place = folder / "dossiers/1/approvals"
    for end in (".json", ".sig"):
        shutil.copyfile(place / f"clinical{end}", place / f"compliance{end}")


def _no_signature(folder: Path) -> None:
    (folder / "dossiers/1/approvals/final.sig").unlink()


def _reason(folder: Path) -> None:
    path = folder / "release.yaml"
    path.write_text(path.read_text().replace("first version", "a better one"))


def _comment(folder: Path) -> None:
    path = folder / "release.yaml"
    path.write_text(path.read_text() + "# approved\n")


def _stranger(folder: Path) -> None:
    (folder / "traffic.yaml").write_text("x")


def _model_card(folder: Path) -> None:
    (folder / "dossiers/1/model_card.md").write_text("# Another card\n")


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        pytest.param(_swap_statement, "approval", id="13 a clinical signature shown as compliance"),
        pytest.param(_no_signature, "quorum", id="13 no signature"),
        pytest.param(_reason, "release", id="12 release edited after approval"),
        pytest.param(_comment, "release", id="12 a comment in the release"),
        pytest.param(_stranger, "scope", id="10 a file beside it"),
        pytest.param(_model_card, "digest", id="10 a page changed"),
    ],
)
def test_10_to_13_a_promotion_pushed_by_hand_must_be_what_was_approved(
    proposed: tuple[World, Clone], spoil: Callable[[Path], None], rule: str
) -> None:
    world, clone = proposed
    with refused(world, rule):
        push_squashed(world, clone, "promote/sum_model-1", spoil)


def test_what_the_cluster_obeys_follows_from_the_manifest_and_from_nobodys_hand(
    proposed: tuple[World, Clone],
) -> None:
    world, clone = proposed

    def spoil(folder: Path) -> None:
        manifest = dossier.read(folder / "dossiers/1")
        right = kustomization.render(MODEL, manifest)
        (folder / kustomization.NAME).write_bytes(right + b"      - extra=extra\n")

    with refused(world, "release"):
        push_squashed(world, clone, "promote/sum_model-1", spoil)
    manifest = dossier.read(clone.folder / FOLDER / "dossiers/1")
    (clone.folder / FOLDER / kustomization.NAME).write_bytes(kustomization.render(MODEL, manifest))
    clone.git("commit", "-q", "-a", "--amend", "--no-edit")
    clone.push()
    clone.edit(f"{FOLDER}/{kustomization.NAME}", lambda text: text + "# more\n")
    clone.commit()
    with refused(world, "release"):
        clone.push()


def test_a_promotion_squashed_by_hand_passes_as_it_stands(proposed: tuple[World, Clone]) -> None:
    world, clone = proposed
    push_squashed(world, clone, "promote/sum_model-1", lambda _: None)
    assert model_tree.release_at(world.repository, "main", MODEL).version == 1


def test_11_a_dossier_under_another_models_name_is_refused(proposed: tuple[World, Clone]) -> None:
    world, clone = proposed
    clone.git("merge", "-q", "--squash", "origin/promote/sum_model-1")
    target = clone.folder / "triton_models" / OTHER
    shutil.copytree(clone.folder / FOLDER, target, dirs_exist_ok=True)
    clone.git("rm", "-q", "-r", "--cached", FOLDER)
    shutil.rmtree(clone.folder / FOLDER)
    clone.git("checkout", "-q", "HEAD", "--", FOLDER)
    text = (target / "release.yaml").read_text()
    (target / "release.yaml").write_text(text.replace(MODEL, OTHER))
    (target / "model.yaml").unlink()
    clone.git("checkout", "-q", "HEAD", "--", f"triton_models/{OTHER}/model.yaml")
    clone.commit()
    with refused(world, "release.*another model than the signed manifest"):
        clone.push()


def test_11_an_approval_of_another_environment_is_refused(proposed: tuple[World, Clone]) -> None:
    world, _ = proposed
    rules = check.Rules("production", world.roles, world.trust_root)
    main, tip = world.repository.commit_id("main"), world.repository.commit_id("promote/sum_model-1")
    with pytest.raises(Refused, match="another environment"):
        check.check_squashed(world.repository, main, tip, rules)
    check.check_squashed(world.repository, main, tip, check.Rules(ENVIRONMENT, world.roles, world.trust_root))


def test_11_an_approval_of_a_former_proposal_is_not_replayed(fresh: World, tmp_path: Path) -> None:
    with fresh.unguarded():
        fresh.propose(MODEL, 1)
        fresh.approve(MODEL, 1)
    kept = tmp_path / "kept"
    fresh.repository.export(f"promote/sum_model-1:{FOLDER}/dossiers/1/approvals", kept)
    with fresh.unguarded():
        fresh.promote(MODEL, 2)
    fresh.propose(MODEL, 1)  # anew, because its base has moved
    with fresh.repository.checkout("promote/sum_model-1") as work:
        shutil.copytree(kept, work.folder / FOLDER / "dossiers/1/approvals", dirs_exist_ok=True)
        work.commit("Approve")
        work.push(expected=work.tip)
    with refused(fresh, "approval"):
        fresh.merge(MODEL, 1)


def test_13_a_revoked_approver_counts_no_more(proposed: tuple[World, Clone]) -> None:
    world, clone = proposed
    key = world.keys["clinical"].with_suffix(".pub").read_text()
    world.trust_root.with_name("revoked_keys").write_text(key)
    with refused(world, "approval"):
        push_squashed(world, clone, "promote/sum_model-1", lambda _: None)


def test_13_one_person_in_two_roles_is_refused(proposed: tuple[World, Clone], tmp_path: Path) -> None:
    world, clone = proposed
    key = make_key(tmp_path, "second")
    with world.trust_root.open("a") as lines:
        lines.write(signer_line("technical@example.org", "final", key))

    def sign_twice(folder: Path) -> None:
        place = folder / "dossiers/1"
        signed = approvals.statement(dossier.read(place), "final", "technical@example.org", ENVIRONMENT)
        content, signature = approvals.sign(signed, key)
        (place / "approvals/final.json").write_bytes(content)
        (place / "approvals/final.sig").write_bytes(signature)

    with refused(world, "approval: the final approval does not count: the same person"):
        push_squashed(world, clone, "promote/sum_model-1", sign_twice)


def test_a_clone_is_judged_as_the_one_commit_that_a_forge_would_make_of_it(
    proposed: tuple[World, Clone], tmp_path: Path
) -> None:
    world, clone = proposed
    environment = {
        "PATH": os.environ["PATH"],
        "MEDTOWER_HOME": str(tmp_path),
        "MEDTOWER_ENVIRONMENT": ENVIRONMENT,
        "MEDTOWER_TRUST_ROOT": str(world.trust_root),
    }
    command = [str(Path(sys.executable).with_name("medtower")), "check", "--head", "HEAD"]

    def judged() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=clone.folder, env=environment, capture_output=True, text=True, check=False
        )

    clone.git("merge", "-q", "--no-ff", "-m", "Merge", "origin/promote/sum_model-1")
    assert judged().stdout == "HEAD may follow origin/main\n"
    clone.edit(f"{FOLDER}/config.pbtxt", lambda text: text.replace("1024", "1025"))
    clone.commit()
    done = judged()
    assert (done.returncode, "refused by rule digest" in done.stderr) == (4, True)


# -- 14: history ----------------------------------------------------------------------------------------------------------------


def test_14_main_is_neither_rewritten_nor_deleted(world: World, clone: Clone) -> None:
    clone.git("reset", "-q", "--hard", "HEAD~1")
    with refused(world, "history"):
        clone.push("--force", "HEAD:main")
    clone.commit("Beside")
    with refused(world, "history"):
        clone.push("--force", "HEAD:main")
    with refused(world, "refs"):
        clone.push(":main")


def test_14_only_branches_are_accepted_and_only_proposals_go_away(world: World, clone: Clone) -> None:
    for reference in ("refs/tags/v1", "refs/replace/" + "a" * 40, "refs/notes/commits", "refs/grafts"):
        with refused(world, "refs"):
            clone.push(f"HEAD:{reference}")
    clone.push("HEAD:topic", "HEAD:promote/sum_model-9", "HEAD:trust/next")
    with refused(world, "refs"):
        clone.push(":topic")
    clone.git("checkout", "-q", "-b", "rewritten", "HEAD~1")
    clone.commit("Rewritten")
    with refused(world, "history"):
        clone.push("--force", "HEAD:topic")
    clone.push("--force", "HEAD:promote/sum_model-9")
    clone.push(":promote/sum_model-9", ":trust/next")
    assert sorted(world.repository.branches()) == ["main", "topic"]


def test_14_only_a_push_of_nothing_but_proposals_is_taken_without_the_judge(
    world: World, clone: Clone
) -> None:
    world.guard(["sh", "-c", "cat >&2; exit 1"])
    clone.push("HEAD:promote/sum_model-9", "HEAD:trust/next")
    clone.push(":trust/next")
    head = world.repository.head()
    for other in ("HEAD:main", "HEAD:topic", "HEAD:refs/tags/promote/a", "HEAD:refs/heads/a/promote/b"):
        clone.commit("Another")
        references = ["HEAD:promote/sum_model-9", other, "HEAD:promote/sum_model-8"]
        with pytest.raises(PushError) as told:
            clone.push(*references)
        for reference in references:  # the judge is told of all of them, so that it can refuse all
            assert f"/{reference.rpartition(':')[2].removeprefix('refs/')}" in str(told.value)
    assert world.repository.branches() == ["main", "promote/sum_model-9"]
    assert world.repository.head() == head


@pytest.mark.parametrize("how", ["merged", "fast-forwarded"])
def test_14_a_detour_through_another_branch_is_judged_when_it_reaches_main(
    world: World, clone: Clone, how: str
) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.edit(f"{FOLDER}/config.pbtxt", lambda text: text.replace("1024", "1025"))
    clone.commit("Innocent")
    clone.push("HEAD:topic")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", *(("--no-ff", "-m", "Merge") if how == "merged" else ("--ff-only",)), "topic")
    with refused(world, "release"):
        clone.push()


def test_14_a_detour_that_makes_main_the_second_parent_is_refused(world: World, clone: Clone) -> None:
    old = clone.git("rev-parse", "HEAD")
    clone.git("checkout", "-q", "-b", "topic", "HEAD~1")
    clone.commit("Beside")
    clone.git("merge", "-q", "-s", "ours", "-m", "Merge", old)
    with refused(world, "history"):
        clone.push()


def test_14_a_promotion_is_one_squashed_commit(proposed: tuple[World, Clone]) -> None:
    world, clone = proposed
    clone.git("merge", "-q", "--no-ff", "-m", "Merge", "origin/promote/sum_model-1")
    with refused(world, "squash"):
        clone.push()


def test_14_replacements_and_grafts_in_the_repository_itself_are_not_seen(world: World, clone: Clone) -> None:
    """The taken-back version would look as if it had never been released."""
    bad = promotion(world, 2)
    world.revert(bad)
    clone.git("pull", "-q")
    world.repository.git("replace", world.repository.commit_id("main"), f"{bad}~1")
    (world.repository.path / "info").mkdir(exist_ok=True)
    (world.repository.path / "info/grafts").write_text(
        f"{world.repository.head()} {world.repository.commit_id(bad + '~1')}\n"
    )
    clone.git("revert", "--no-edit", "HEAD")
    with refused(world, "taken-back"):
        clone.push()


def test_14_the_hook_is_not_switched_off_or_misled_by_the_pusher(
    world: World, clone: Clone, tmp_path: Path
) -> None:
    world.guard(COMMAND)
    clone.edit(f"{FOLDER}/config.pbtxt", lambda text: text.replace("1024", "1025"))
    clone.commit()
    (tmp_path / "gitconfig").write_text("[core]\n\thooksPath = /dev/null\n")
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(0)\n")
    (tmp_path / "env").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "env").chmod(0o755)
    attempts: list[dict[str, str]] = [
        {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")},
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": "/dev/null"},
        {"PYTHONPATH": str(tmp_path)},
        {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IFS": "/", "judged": "", "pushed": "x"},
        {"MEDTOWER_TRUST_ROOT": str(tmp_path / "mine"), "MEDTOWER_HOME": str(tmp_path)},
        {"GIT_NO_REPLACE_OBJECTS": "", "GIT_GRAFT_FILE": str(tmp_path / "grafts")},
    ]
    for environment in attempts:
        with refused(world, "release"):
            clone.push(**environment)
    with refused(world, "release"):
        clone.git("-c", "core.hooksPath=/dev/null", "push", "-q", "origin", "HEAD:main")


def test_14_where_history_is_cut_off_nothing_is_judged(world: World, tmp_path: Path) -> None:
    git = ["git", "clone", "-q", "--depth", "1", f"file://{world.repository.path}", str(tmp_path / "shallow")]
    subprocess.run(git, check=True)
    with pytest.raises(Refused, match="shallow"):
        history.ledger(Repository(tmp_path / "shallow"), "HEAD", MODEL)


# -- 15: taking back --------------------------------------------------------------------------------------------------------------


def test_15_a_revert_passes_and_its_revert_needs_fresh_approvals(world: World, clone: Clone) -> None:
    world.revert(promotion(world, 2))
    revert = str(world.repository.head())
    assert model_tree.release_at(world.repository, "main", MODEL).version == 1
    clone.git("pull", "-q")
    clone.git("revert", "--no-edit", revert)
    with refused(world, "taken-back"):
        clone.push()
    world.propose(MODEL, 2)
    with pytest.raises(Refused, match="lacks the approval"):
        world.merge(MODEL, 2)
    with world.unguarded():
        world.approve(MODEL, 2)
    world.merge(MODEL, 2)
    assert model_tree.release_at(world.repository, "main", MODEL).version == 2


def test_15_a_revert_needs_nobodys_key_that_is_still_valid(world: World) -> None:
    """The approvals of what comes back counted when it was promoted; a rollback does not wait for new ones."""
    bad = promotion(world, 2)
    world.trust_root.write_text("")
    world.revert(bad)
    assert model_tree.release_at(world.repository, "main", MODEL).version == 1


def test_15_a_revert_passes_at_every_step_of_the_rollout_and_leaves_the_traffic(world: World) -> None:
    bad = promotion(world, 2)
    for _ in range(2):
        world.advance(MODEL)
    done = rollback(world.repository, MODEL, "critical")
    assert (done.taken_back, done.to, done.reverted) == (2, 1, bad)
    assert history.traffic_at(world.repository, "main", MODEL) is not None


def test_15_reverts_down_to_no_model_pass_one_by_one_and_in_one_push(world: World, clone: Clone) -> None:
    first, second = promotion(world, 1), promotion(world, 2)
    clone.git("revert", "--no-edit", second, first)
    clone.push()
    assert model_tree.release_at(world.repository, "main", MODEL).version is None
    clone.git("revert", "--no-edit", "HEAD")
    with refused(world, "taken-back"):
        clone.push()


def test_15_a_rollback_that_is_not_exactly_the_inverse_is_refused(world: World, clone: Clone) -> None:
    for name in ("config.pbtxt", "dossiers/2/model_card.md", "dossiers/1/model_card.md", "model.yaml"):
        clone.git("revert", "--no-commit", promotion(world, 2))
        place = clone.folder / FOLDER / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("something else\n")
        clone.commit("Almost a revert")
        with refused(world, "(inverse|scope)"):
            clone.push()
        clone.git("reset", "-q", "--hard", "origin/main")
    clone.git("revert", "--no-commit", promotion(world, 2))
    (clone.folder / "README.md").write_text("x")
    clone.commit("A revert and more")
    with refused(world, "scope"):
        clone.push()


def test_15_a_deactivation_needs_no_approval_and_takes_everything_back(world: World, clone: Clone) -> None:
    commit = deactivate(world.repository, MODEL, "the laboratory changed\nits assay")
    release = model_tree.release_at(world.repository, "main", MODEL)
    assert (release.version, release.reason) == (None, "the laboratory changed its assay")
    with pytest.raises(Conflict, match="released as no model already"):
        deactivate(world.repository, MODEL, "once more")
    clone.git("pull", "-q")
    clone.git("revert", "--no-edit", commit)
    with refused(world, "taken-back"):
        clone.push()
    world.promote(MODEL, 3)
    assert [e.release.version for e in history.ledger(world.repository, "main", MODEL).stack] == [3]


def test_15_the_contract_comes_before_the_first_promotion_and_stays_after_its_revert(fresh: World) -> None:
    with pytest.raises(NotFound, match="run: medtower add-model"):
        fresh.propose("new_model", 1)
    fresh.write("triton_models/new_model/model.yaml", contract_text("new_model"))
    promoted = fresh.promote("new_model", 1)
    fresh.write("triton_models/new_model/model.yaml", contract_text("new_model") + "# edited\n")
    fresh.revert(promoted)
    assert [e.path for e in fresh.repository.entries("main:triton_models/new_model")] == ["model.yaml"]


def test_15_a_promotion_brings_no_contract(proposed: tuple[World, Clone]) -> None:
    world, clone = proposed
    with refused(world, "scope"):
        push_squashed(
            world, clone, "promote/sum_model-1", lambda folder: (folder / "model.yaml").write_text("x: 1\n")
        )


@pytest.mark.parametrize(
    "attributes",
    ["*.yaml working-tree-encoding=UTF-16\n", "* text eol=crlf ident\n", "* -merge filter=nonsense\n"],
)
def test_15_no_attributes_and_no_ignored_names_stop_a_step_or_a_rollback(
    world: World, attributes: str
) -> None:
    world.write(".gitattributes", attributes)
    world.write(".gitignore", "traffic.*\n")
    world.advance(MODEL)
    assert history.traffic_at(world.repository, "main", MODEL) is not None
    assert rollback(world.repository, MODEL, "a test").to == 1
    assert world.repository.read("main", ".gitignore") == b"traffic.*\n"


def test_15_what_no_disk_takes_outside_the_models_stops_no_rollback(world: World, clone: Clone) -> None:
    blob = clone.git("rev-parse", f"HEAD:{FOLDER}/model.yaml")
    for path, kept in (("/".join(["d" * 200] * 25), False), (f"docs/{'a' * 300}", True)):
        clone.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
        commit = clone.git("commit-tree", "-p", "HEAD", "-m", "x", clone.git("write-tree"))
        if kept:
            clone.push(f"{commit}:main")
        else:
            with refused(world, "tree: .*longer than 1000 bytes"):
                clone.push(f"{commit}:main")
        clone.git("reset", "-q")
    world.advance(MODEL)
    assert rollback(world.repository, MODEL, "a test").to == 1
    assert [e.path for e in world.repository.entries("main:docs")] == ["a" * 300]


def test_15_a_commits_own_words_stop_no_rollback(world: World, clone: Clone) -> None:
    who = "x <x@example.org>"
    head = f"tree {clone.git('rev-parse', 'HEAD^{tree}')}\nparent {clone.git('rev-parse', 'HEAD')}\n"
    raw = (
        f"{head}author {who} 1 +0000\ncommitter {who} 99999999999999 +0000\n\nlate ".encode()
        + b"\xff\x85\v\n"
    )
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"],
        cwd=clone.folder, input=raw, capture_output=True, check=True,
    )  # fmt: skip
    with world.unguarded():  # what a forge may have taken
        world.repository.git("fetch", "-q", str(clone.folder), "main")
        world.repository.git("config", "receive.fsckObjects", "false")
        clone.push(f"{done.stdout.decode().strip()}:main")
    newest = world.repository.log("main")[0]
    assert newest.at.year == 9999 and newest.subject.startswith("late")
    assert rollback(world.repository, MODEL, "a test").to == 1


# -- 16: races -------------------------------------------------------------------------------------------------------------------


def test_16_of_two_racing_promotions_the_second_must_be_approved_again(fresh: World, tmp_path: Path) -> None:
    with fresh.unguarded():
        for version in (1, 2):
            fresh.propose(MODEL, version)
            fresh.approve(MODEL, version)
    clone = Clone(fresh, tmp_path / "clone")
    fresh.merge(MODEL, 1)
    clone.git("pull", "-q")
    clone.git("checkout", "-q", "origin/promote/sum_model-2", "--", FOLDER)
    clone.commit("Rebased without a conflict")
    with refused(fresh, "base"):
        clone.push()
    with pytest.raises(Refused, match="rule base.*must be approved again"):
        fresh.merge(MODEL, 2)


def test_16_another_promotion_waits_for_the_rollout_under_way_unless_it_is_an_emergency(world: World) -> None:
    with world.unguarded():
        world.propose(MODEL, 3, plan=GRADUAL)
        world.approve(MODEL, 3)
    with refused(world, "rollout"):
        world.merge(MODEL, 3)
    world.advance(MODEL)
    with refused(world, "rollout: sum_model 2 is at 50 %"):
        world.merge(MODEL, 3)
    world.promote(MODEL, 4)
    assert model_tree.release_at(world.repository, "main", MODEL).version == 4


# -- traffic --------------------------------------------------------------------------------------------------------------------


def test_the_bot_advances_one_step_at_a_time_to_the_end(world: World) -> None:
    for _ in range(2):
        world.advance(MODEL)
    traffic = history.traffic_at(world.repository, "main", MODEL)
    assert traffic is not None and (traffic.step, traffic.completed) == (2, [traffic.digest])
    with refused(world, "traffic"):
        world.advance(MODEL)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"verdicts": [STEP_VERDICT.model_copy(update={"decision": Decision.HOLD})]}, "all say PROMOTE"),
        ({"verdicts": [STEP_VERDICT.model_copy(update={"kind": "gate"})]}, "needs rollout verdicts"),
        ({"digest": "f" * 64}, "of another release"),
        ({"completed": ["f" * 64]}, "by nothing else"),
    ],
    ids=["a verdict that says HOLD", "another kind of verdict", "another digest", "completed"],
)
def test_a_step_that_the_plan_or_the_verdict_does_not_allow_is_refused(
    world: World, changes: dict[str, object], why: str
) -> None:
    with refused(world, f"traffic: .*{why}"):
        world.advance(MODEL, **changes)


def test_two_steps_at_once_are_refused(world: World) -> None:
    last = {"step": 2, "completed": [world.next_step(MODEL).digest]}
    with refused(world, "traffic: .*one step at a time"):
        world.advance(MODEL, **last)


def test_a_step_by_another_key_is_refused(world: World, tmp_path: Path) -> None:
    for key in (make_key(tmp_path, "foreign"), world.keys["final"]):
        with refused(world, "signature"):
            world.advance(MODEL, key=key)


def test_a_step_before_its_hours_are_over_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, MODEL)
    world.promote(MODEL, 1)
    plan = Plan(strategy="gradual", steps=[10, 50, 100], hold_hours=24)
    world.promote(MODEL, 2, plan=plan)
    now = datetime.now(UTC).replace(microsecond=0)
    world.advance(MODEL, decided_at=now - timedelta(hours=24.5))
    world.guard()
    with refused(world, "traffic.*held for 23.8 h of 24 h"):
        world.advance(MODEL, decided_at=now - timedelta(minutes=45))
    with refused(world, "traffic.*decided in the future"):
        world.advance(MODEL, decided_at=now + timedelta(hours=1))
    world.advance(MODEL)


def test_the_first_stage_counts_from_the_promotion_on_main(tmp_path: Path) -> None:
    world = released(tmp_path, MODEL, promoted=(1,))
    world.promote(MODEL, 2, plan=Plan(strategy="staged", steps=[10, 100], hold_hours=0, shadow_hours=24))
    world.guard()
    with refused(world, "traffic.*held for 0.0 h of 24 h"):
        world.advance(MODEL)


def test_a_forges_check_has_a_clock_of_its_own(tmp_path: Path) -> None:
    """A step that is judged before it is merged is one of now; main's history, after an hour without the forge, holds none of the future."""
    world = released(tmp_path, MODEL, promoted=(1,))
    now = datetime.now(UTC).replace(microsecond=0)
    world.propose(MODEL, 2, plan=GRADUAL)
    world.approve(MODEL, 2)
    world.merge_by_hand(MODEL, 2, now - timedelta(days=3))

    def judged(*options: str) -> str:
        command = [str(Path(sys.executable).with_name("medtower")), "check", "--base", "main~1", *options]
        environment = {**os.environ, **world.settings()}
        place = world.repository.path
        done = subprocess.run(
            [*command, "--head", "main"],
            cwd=place,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        return "" if done.returncode == 0 else " ".join(done.stderr.split())

    assert judged() == judged("--history") == ""
    world.advance(MODEL, decided_at=now - timedelta(hours=3))
    assert "ago; look again" in judged()
    assert judged("--history") == ""
    world.advance(MODEL, decided_at=now + timedelta(hours=3))
    assert "decided in the future" in judged()
    assert "decided in the future" in judged("--history")


@pytest.mark.parametrize("date", ["2001-01-01T00:00:00Z", "2090-01-01T00:00:00Z"])
def test_a_promotion_is_dated_when_it_reaches_main(proposed: tuple[World, Clone], date: str) -> None:
    """The hours of the first stage count from the time that its commit says."""
    world, clone = proposed
    clone.git("merge", "-q", "--squash", "origin/promote/sum_model-1")
    clone.git("commit", "-q", "-m", "Promote", GIT_COMMITTER_DATE=date)
    with refused(world, "time"):
        clone.push()
    old, new = (Repository(clone.folder).commit_id(name) for name in ("HEAD~1", "HEAD"))
    check.check(Repository(clone.folder), old, new, rules(world))
    clone.git("commit", "-q", "--amend", "--no-edit")
    clone.push()


def test_nothing_travels_with_a_step_and_the_traffic_file_stays(world: World, clone: Clone) -> None:
    world.advance(MODEL)
    clone.git("pull", "-q")
    (clone.folder / FOLDER / "traffic.yaml").unlink()
    (clone.folder / FOLDER / "traffic.sig").unlink()
    clone.commit()
    with refused(world, "traffic"):
        clone.push()
    clone.git("reset", "-q", "--hard", "HEAD~1")
    clone.edit(f"{FOLDER}/traffic.yaml", lambda text: text + "# further\n")
    clone.commit()
    with refused(world, "signature"):
        clone.push()


def test_a_step_for_no_release_is_refused(world: World) -> None:
    step = world.next_step(MODEL).model_copy(update={"model": OTHER})
    with refused(world, "traffic"), world.repository.checkout() as work:
        traffic_file.write(work.folder / "triton_models" / OTHER, step, world.bot)
        work.commit("Advance what is not released")
        work.push(expected=work.tip)


# -- what people write, folders, names --------------------------------------------------------------------------------------------


def test_what_people_write_changes_without_approval_and_serves_nothing(world: World) -> None:
    world.write(f"{FOLDER}/cohort.yaml", "x: 1\n")
    world.write(f"{FOLDER}/model.yaml", "x: 1\n")
    world.write("docs/page.md", "x\n")
    world.write("triton_models/new_model/model.yaml", "name: new_model\n")
    world.write(
        "triton_models/new_model/release.yaml",
        release_file.render(model_tree.release_at(world.repository, "main", OTHER))
        .decode()
        .replace(OTHER, "new_model"),
    )


def test_a_models_folder_is_not_deleted_but_deactivated(world: World, clone: Clone) -> None:
    shutil.rmtree(clone.folder / "triton_models" / OTHER)
    clone.commit()
    with refused(world, "folder"):
        clone.push()
    clone.git("reset", "-q", "--hard", "HEAD~1")
    shutil.rmtree(clone.folder / FOLDER)
    clone.commit()
    with refused(world, "(folder|scope)"):
        clone.push()


def test_25_a_name_that_is_no_models_is_refused(world: World, clone: Clone) -> None:
    for name in ("..x", "Model", "x", "README.md"):
        place = clone.folder / "triton_models" / name
        if name.endswith(".md"):
            place.write_text("x")
        else:
            place.mkdir()
            (place / "model.yaml").write_text("x")
        clone.commit()
        with refused(world, "stray"):
            clone.push()
        clone.git("reset", "-q", "--hard", "HEAD~1")
    for verb in (rollback, deactivate):
        with pytest.raises(NameInvalid):
            verb(world.repository, "../x", "a reason")


def push_tree(clone: Clone, folder: str, entry: str) -> None:
    """Push a commit that adds one `git ls-tree` line to a folder."""

    def tree(lines: str) -> str:
        found = subprocess.run(
            ["git", "mktree"], cwd=clone.folder, input=lines, capture_output=True, text=True, check=True
        )
        return found.stdout.strip()

    name = entry.partition("\t")[2]
    lines = [
        line for line in clone.git("ls-tree", f"HEAD:{folder}").splitlines() if not line.endswith(f"\t{name}")
    ]
    inner = tree("\n".join([*lines, entry]) + "\n")
    while folder:
        folder, _, name = folder.rpartition("/")
        above = clone.git("ls-tree", f"HEAD:{folder}").splitlines()
        lines = [f"040000 tree {inner}\t{name}" if line.endswith(f"\t{name}") else line for line in above]
        inner = tree("\n".join(lines) + "\n")
    clone.push(f"{clone.git('commit-tree', '-p', 'HEAD', '-m', 'x', inner)}:main")


def test_25_an_empty_folder_with_a_name_that_is_no_models_is_refused(world: World, clone: Clone) -> None:
    """No file in it changes, but every reader of the folder's names would stumble."""
    empty = clone.git("hash-object", "-t", "tree", "-w", "/dev/null")
    with refused(world, "stray: 'BAD NAME'"):
        push_tree(clone, "triton_models", f"040000 tree {empty}\tBAD NAME")
    with world.unguarded():
        push_tree(clone, "triton_models", f"040000 tree {empty}\tBAD NAME")
    assert set(model_tree.released(world.repository)) == {MODEL, OTHER}
    assert rollback(world.repository, MODEL, "it stands there already").to == 1


def test_25_a_release_that_cannot_be_read_leaves_the_other_models(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with world.unguarded():
        world.write(f"triton_models/{OTHER}/release.yaml", "- rubbish\n")
    assert [r.version for r in model_tree.released(world.repository).values()] == [2]
    assert [r.message for r in caplog.records] == ["a release cannot be read"]


def test_25_a_folder_in_the_place_of_the_release_is_refused_by_its_name(world: World, clone: Clone) -> None:
    place = clone.git("rev-parse", f"HEAD:{FOLDER}/dossiers/1")
    with refused(world, "tree: .*release.yaml is a folder"):
        push_tree(clone, FOLDER, f"040000 tree {place}\trelease.yaml")


def test_what_the_cluster_obeys_is_nobodys_to_write_before_the_first_release_either(
    world: World, clone: Clone
) -> None:
    place = clone.folder / "triton_models" / OTHER / kustomization.NAME
    place.write_bytes(kustomization.render(OTHER, None) + b"resources: [https://example.org/job.yaml]\n")
    clone.commit()
    with refused(world, "release"):
        clone.push()
    place.write_bytes(kustomization.render(OTHER, None))
    clone.git("commit", "-q", "-a", "--amend", "--no-edit")
    clone.push()


def test_a_promotion_leaves_what_the_cluster_obeys_as_it_follows_from_it(
    proposed: tuple[World, Clone],
) -> None:
    world, clone = proposed
    with refused(world, "release"):
        push_squashed(
            world, clone, "promote/sum_model-1", lambda folder: (folder / kustomization.NAME).unlink()
        )


# -- the trust root ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rooted(world: World) -> World:
    """The installed trust root has its copy in git."""
    trust.init(world.repository, world.trust_root, world.roles)
    return world


def rules(world: World) -> check.Rules:
    return check.Rules(ENVIRONMENT, world.roles, world.trust_root)


def with_successor(world: World, tmp_path: Path) -> Path:
    """The same trust root with another person's key beside the final approver's."""
    new = tmp_path / "next"
    line = signer_line("successor@example.org", "final", make_key(tmp_path, "successor"))
    new.write_text(world.trust_root.read_text() + line)
    return new


def sign_trust(world: World, *roles: Role) -> None:
    for role in roles or world.roles:
        trust.approve(
            world.repository,
            role,
            key=world.keys[role],
            approver=world.person(role),
            environment=ENVIRONMENT,
        )


def test_the_first_trust_root_in_git_is_the_installed_one(world: World, tmp_path: Path) -> None:
    other = with_successor(world, tmp_path)
    with refused(world, "trust-root"):
        trust.init(world.repository, other, world.roles)
    trust.init(world.repository, world.trust_root, world.roles)
    with pytest.raises(Conflict, match="has trust/allowed_signers already"):
        trust.init(world.repository, world.trust_root, world.roles)


def test_the_trust_root_changes_by_the_quorum_of_the_old_one(rooted: World, tmp_path: Path) -> None:
    new = with_successor(rooted, tmp_path)
    trust.propose(rooted.repository, new, rooted.roles)
    sign_trust(rooted, "technical", "clinical", "compliance")
    with refused(rooted, "quorum.*lacks the approval of final"):
        trust.merge(rooted.repository, rules(rooted))
    sign_trust(rooted, "final")
    trust.merge(rooted.repository, rules(rooted))
    assert rooted.repository.read("main", "trust/allowed_signers") == new.read_bytes()
    assert rooted.repository.branches() == ["main"]


def test_no_attribute_hides_from_the_signer_how_the_trust_root_changes(rooted: World, tmp_path: Path) -> None:
    trust.propose(rooted.repository, with_successor(rooted, tmp_path), rooted.roles)
    attributes = rooted.repository.path / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* binary\n")
    shown: list[str] = []
    trust.approve(
        rooted.repository,
        "final",
        key=rooted.keys["final"],
        approver=rooted.person("final"),
        environment=ENVIRONMENT,
        confirm=shown.append,
    )
    added = [line for line in shown[0].splitlines() if line.startswith("+")]
    assert any('namespaces="medtower-final"' in line for line in added)


def test_a_trust_root_pushed_by_hand_or_signed_for_another_one_is_refused(
    rooted: World, tmp_path: Path
) -> None:
    clone = Clone(rooted, tmp_path / "clone")
    clone.edit(
        "trust/allowed_signers",
        lambda text: text + signer_line("evil@example.org", "final", make_key(tmp_path, "evil")),
    )
    clone.commit()
    with refused(rooted, "quorum"):
        clone.push()
    trust.propose(rooted.repository, with_successor(rooted, tmp_path), rooted.roles)
    sign_trust(rooted)
    clone.git("fetch", "-q")
    clone.git("checkout", "-q", "origin/trust/next", "--", "trust/approvals")
    clone.git("commit", "-q", "--amend", "--no-edit")
    with refused(rooted, "approval"):
        clone.push()


def test_an_undone_change_of_the_trust_root_comes_back_by_new_signatures_only(
    rooted: World, tmp_path: Path
) -> None:
    first, other = rooted.trust_root.read_bytes(), with_successor(rooted, tmp_path)

    def change(content: bytes) -> str:
        (tmp_path / "wanted").write_bytes(content)
        with rooted.unguarded():
            trust.propose(rooted.repository, tmp_path / "wanted", rooted.roles)
            sign_trust(rooted)
        commit = trust.merge(rooted.repository, rules(rooted))
        rooted.trust_root.write_bytes(content)
        return commit

    there = change(other.read_bytes())
    change(first)
    clone = Clone(rooted, tmp_path / "clone")
    clone.git("rm", "-r", "-q", "trust")
    clone.git("checkout", "-q", there, "--", "trust")
    clone.commit("Once more")
    with refused(rooted, "approval: .*was used for a former change"):
        clone.push()
    change(other.read_bytes())


def test_a_new_signer_cannot_vote_for_itself(rooted: World, tmp_path: Path) -> None:
    trust.propose(rooted.repository, with_successor(rooted, tmp_path), rooted.roles)
    sign_trust(rooted, "technical", "clinical", "compliance")
    trust.approve(
        rooted.repository,
        "final",
        key=tmp_path / "successor",
        approver="successor@example.org",
        environment=ENVIRONMENT,
    )
    with refused(rooted, "approval.*successor@example.org is not allowed"):
        trust.merge(rooted.repository, rules(rooted))


def test_a_change_of_the_trust_root_travels_alone(rooted: World, tmp_path: Path) -> None:
    trust.propose(rooted.repository, with_successor(rooted, tmp_path), rooted.roles)
    sign_trust(rooted)
    clone = Clone(rooted, tmp_path / "clone")
    clone.git("merge", "-q", "--squash", "origin/trust/next")
    clone.edit(f"{FOLDER}/model.yaml", lambda text: text + "# more\n")
    clone.commit()
    with refused(rooted, "scope"):
        clone.push()


def test_a_trust_root_under_which_nobody_could_release_is_refused(rooted: World, tmp_path: Path) -> None:
    (tmp_path / "next").write_text(
        rooted.trust_root.read_text().replace("medtower-final", "medtower-clinical")
    )
    with pytest.raises(Refused, match="nobody for final"):
        trust.propose(rooted.repository, tmp_path / "next", rooted.roles)


def test_the_copy_in_git_and_the_installed_trust_root_must_both_agree(rooted: World, tmp_path: Path) -> None:
    """Whoever could install a trust root alone, or push one alone, releases nothing."""
    rooted.trust_root.write_text(
        rooted.trust_root.read_text().replace("final@example.org", "other@example.org")
    )
    with rooted.unguarded():
        rooted.propose(MODEL, 4)
        rooted.approve(MODEL, 4)
    with refused(rooted, "approval"):
        rooted.merge(MODEL, 4)
