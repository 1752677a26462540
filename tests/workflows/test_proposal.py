"""From a registered version to a pull request, without a forge and with one: real git, real keys, a shelf in the registry's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.adapters.forge_server import REPOSITORY, TOKEN, FakeForge, Reply, git_over_http, pull, serving
from tests.fixtures.releases import ENVIRONMENT, PROMOTE, World, contract_text

from medtower.adapters.forge.remote import Remote
from medtower.adapters.git import Repository
from medtower.adapters.mlflow import RegisteredVersion
from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.estimate import Estimate, EvaluationReport
from medtower.errors import ApprovalMissing, Conflict, Refused, Unavailable
from medtower.settings import Settings
from medtower.workflows import model_tree, pull_request
from medtower.workflows.approve import approve
from medtower.workflows.proposal import open_proposal
from medtower.workflows.rollback import rollback
from medtower.workflows.tower import Tower

NAME, BRANCH = "als_risk", "promote/als_risk-1"
API = f"/api/v1/repos/{REPOSITORY}"
COHORT = """\
schema: medtower/cohort/v1
title: Made rows
source: {kind: parquet, path: rows.parquet}
label: {kind: column, column: outcome}
"""


@dataclass
class Shelf:
    """The registry of one world: what a training would have registered; `champion` is what its gates compared with."""

    world: World
    mae: float = 0.05
    champion: int | None = None

    def version(self, model: str, version: int) -> RegisteredVersion:
        return RegisteredVersion(model, version, "0" * 32)

    def fetch_file(self, _run: str, name: str, to: Path) -> Path:
        to.mkdir(parents=True, exist_ok=True)
        mae = Estimate(
            metric="mae",
            n=500,
            value=self.mae,
            lower=self.mae - 0.01,
            upper=self.mae + 0.01,
            method="bootstrap",
        )
        at = datetime(2026, 1, 1, tzinfo=UTC)
        evaluation = EvaluationReport(
            model=NAME,
            n=500,
            positives=None,
            estimates=[mae],
            calibration=None,
            holdout_sha256="2" * 64,
            evaluated_at=at,
        )
        training = {
            "source": "cohort",
            "rows": 2000,
            "sha256": "1" * 64,
            "reason": "first version",
            "champion": self.champion,
            "expectations": [],
            "parity": 1e-7,
            "seed": 1,
            "trainer": "linear",
            "created_at": at.isoformat(),
            "code_commit": "3" * 40,
            "dependencies": {"onnx": "1"},
        }
        texts = {
            "evaluation.json": evaluation.model_dump_json(),
            "gates.json": PROMOTE.decode(),
            "model.yaml": contract_text(NAME),
            "training.json": json.dumps(training),
        }
        (to / name).write_text(texts[name])
        return to / name

    def fetch_weights(self, uri: str, to: Path) -> Path:
        version = int(uri.rsplit("/", 1)[1])
        (to / "model.onnx").write_bytes(self.world.weights(NAME, version).read_bytes())
        return to / "model.onnx"


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "tower").mkdir()
    found = World(tmp_path / "tower", NAME)
    found.write(f"triton_models/{NAME}/cohort.yaml", COHORT)
    return found


def tower_of(world: World, **changes: object) -> Tower:
    settings = Settings(
        environment=ENVIRONMENT, repository=world.repository.path, trust_root=world.trust_root
    )
    tower = Tower(settings.model_copy(update=changes))
    tower.__dict__["registry"] = Shelf(world)
    return tower


def test_a_proposal_opens_a_pull_request_whose_text_is_the_approval_page(world: World) -> None:
    tower = tower_of(world)
    assert open_proposal(tower, NAME, 1) == BRANCH
    opened = pull_request.find(tower, NAME, 1)
    assert (opened.title, opened.state) == ("Promote als_risk to 1", "open")
    page = world.repository.read(BRANCH, f"triton_models/{NAME}/dossiers/1/approval.md")
    assert page is not None and opened.body.endswith(page.decode())
    release = model_tree.release_at(world.repository, BRANCH, NAME)
    assert str(release.digest) in opened.body
    assert [f"### {r.capitalize()}" in opened.body for r in world.roles] == [True] * 4
    assert f"medtower approve {NAME} 1 --role clinical" in opened.body
    assert DISCLAIMER in opened.body


def test_proposing_again_changes_nothing_and_opens_no_second_one(world: World) -> None:
    tower = tower_of(world)
    open_proposal(tower, NAME, 1)
    world.approve(NAME, 1, "clinical")
    before = world.repository.git("for-each-ref")
    open_proposal(tower, NAME, 1)
    assert world.repository.git("for-each-ref") == before


def test_an_emergency_fix_serves_everybody_and_the_page_says_so(world: World) -> None:
    world.promote(NAME, 1)
    tower = tower_of(world)
    tower.__dict__["registry"].champion = 1
    world.write(f"triton_models/{NAME}/dossiers/1/evaluation.json", _evaluation(world))
    open_proposal(tower, NAME, 2)
    assert model_tree.release_at(world.repository, "promote/als_risk-2", NAME).rollout.strategy == "gradual"  # type: ignore[union-attr]
    open_proposal(tower, NAME, 2, emergency=True)
    assert model_tree.release_at(world.repository, "promote/als_risk-2", NAME).rollout.strategy == "immediate"  # type: ignore[union-attr]
    assert "It is an emergency fix" in pull_request.find(tower, NAME, 2).body


def test_a_doubt_in_the_evidence_sends_it_through_the_shadow_and_the_page_names_it(world: World) -> None:
    world.promote(NAME, 1)
    world.write(f"triton_models/{NAME}/dossiers/1/evaluation.json", _evaluation(world))
    tower = tower_of(world)
    tower.__dict__["registry"] = Shelf(world, mae=0.25, champion=1)
    open_proposal(tower, NAME, 2)
    body = pull_request.find(tower, NAME, 2).body
    assert "in the incumbent's shadow" in body
    assert "mae is warning" in body


def test_a_version_that_was_compared_with_another_champion_is_not_proposed(world: World) -> None:
    tower = tower_of(world)
    tower.__dict__["registry"].champion = 4
    with pytest.raises(Conflict, match="train again"):
        open_proposal(tower, NAME, 1)
    assert world.repository.branches("promote/") == []


def _evaluation(world: World) -> bytes:
    place = world.root / "champion"
    return Shelf(world).fetch_file("", "evaluation.json", place).read_bytes()


class Forged:
    """A tower before a forge: its API answers as Gitea's does, its git is git's own server."""

    def __init__(
        self,
        world: World,
        fake: FakeForge,
        there: Repository,
        remote: Remote,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.world, self.fake, self.there = world, fake, there
        self.tower = tower_of(
            world,
            forge="gitea",
            forge_url=fake.url,
            forge_repository=REPOSITORY,
            forge_token=SecretStr(TOKEN),
        )
        monkeypatch.setattr(pull_request, "remote_of", lambda _: remote)
        remote.push_main(world.repository)

    def sign(self, *roles: str) -> None:
        for role in roles:
            with pull_request.synchronised(self.tower, NAME, 1):
                approve(
                    self.world.repository,
                    NAME,
                    1,
                    role,  # type: ignore[arg-type]
                    key=self.world.keys[role],  # type: ignore[index]
                    approver=self.world.person(role),
                    environment=ENVIRONMENT,
                )

    def has(self, **changes: object) -> None:
        """From now on the forge's API tells of the proposal's pull request as its branch is."""
        told = pull(7, BRANCH, str(self.there.head(BRANCH)), **changes)
        self.fake.on("GET", f"{API}/pulls", [told])
        self.fake.on("GET", f"{API}/pulls/7", told)

    def green(self) -> None:
        head = self.there.head(BRANCH)
        status = {"id": 1, "context": "medtower / medtower check (pull_request_target)", "status": "success"}
        self.fake.on(
            "GET", f"{API}/commits/{head}/status", {"sha": head, "state": "success", "statuses": [status]}
        )


@pytest.fixture
def forged(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forged]:
    there = Repository.create(tmp_path / "forge" / "hospital" / "models.git")
    with serving() as fake, git_over_http(tmp_path / "forge") as (url, _):
        remote = Remote(f"{url}/hospital/models.git", SecretStr(TOKEN), seconds=30)
        yield Forged(world, fake, there, remote, monkeypatch)


def propose(forged: Forged) -> None:
    forged.fake.on("GET", f"{API}/pulls", [])
    forged.fake.on("POST", f"{API}/pulls", Reply(201, pull(7, BRANCH, "a" * 40)))
    open_proposal(forged.tower, NAME, 1)


def test_on_a_forge_the_branch_is_pushed_and_then_its_pull_request_opened(forged: Forged) -> None:
    propose(forged)
    assert forged.there.head(BRANCH) == forged.world.repository.head(BRANCH)
    (made,) = forged.fake.calls("POST")
    assert (made.body["head"], made.body["title"]) == (BRANCH, "Promote als_risk to 1")
    assert "## What changes" in made.body["body"]


def test_signatures_made_on_two_machines_come_together_on_the_forge(forged: Forged) -> None:
    propose(forged)
    forged.sign("clinical")
    first = forged.world.repository.head(BRANCH)
    forged.sign("final")
    # the machine of the third signer never saw what happened meanwhile
    forged.world.repository.git(
        "update-ref", "-d", f"refs/heads/{BRANCH}", str(forged.world.repository.head(BRANCH))
    )
    forged.sign("technical")
    names = {e.path for e in forged.there.entries(f"{BRANCH}:triton_models/{NAME}/dossiers/1/approvals")}
    assert names == {f"{r}{end}" for r in ("clinical", "final", "technical") for end in (".json", ".sig")}
    assert first != forged.there.head(BRANCH)


def test_a_merge_on_the_forge_waits_for_every_signature(forged: Forged) -> None:
    propose(forged)
    forged.sign("clinical")
    forged.has()
    forged.green()
    with pytest.raises(ApprovalMissing, match="technical, compliance, final"):
        pull_request.merge(forged.tower, NAME, 1)
    assert [a.path for a in forged.fake.calls("POST")] == [f"{API}/pulls"]


def test_a_merge_on_the_forge_waits_for_the_required_check(forged: Forged) -> None:
    propose(forged)
    forged.sign(*forged.world.roles)
    forged.has()
    head = forged.there.head(BRANCH)
    forged.fake.on("GET", f"{API}/commits/{head}/status", {"sha": head, "state": "pending", "statuses": []})
    with pytest.raises(Refused, match="required check"):
        pull_request.merge(forged.tower, NAME, 1)


@pytest.mark.parametrize("told", ["closed", "open"])
def test_a_pull_request_that_is_opened_again_behind_our_back_is_not_merged_unverified(
    forged: Forged, told: str
) -> None:
    """The list says one thing and a moment later the pull request is open: whoever asks for a merge has checked the policy."""
    propose(forged)
    forged.sign("clinical")
    forged.has()
    forged.green()
    head = str(forged.there.head(BRANCH))
    merged = {"merged_at": "2026-03-01T00:00:00Z", "merge_commit_sha": "e" * 40}
    forged.fake.on("GET", f"{API}/pulls", [pull(7, BRANCH, head, state=told)])
    forged.fake.on("GET", f"{API}/pulls/7", pull(7, BRANCH, head), pull(7, BRANCH, head, **merged))
    forged.fake.on("POST", f"{API}/pulls/7/merge", Reply(200, b""))
    with pytest.raises(Conflict if told == "closed" else ApprovalMissing, match="closed|technical"):
        pull_request.merge(forged.tower, NAME, 1)
    assert [a.path for a in forged.fake.calls("POST")] == [f"{API}/pulls"]


def test_what_is_merged_already_is_told_again_without_asking_for_a_merge(forged: Forged) -> None:
    propose(forged)
    head = str(forged.there.head(BRANCH))
    merged = pull(
        7, BRANCH, head, state="closed", merged_at="2026-03-01T00:00:00Z", merge_commit_sha="e" * 40
    )
    forged.fake.on("GET", f"{API}/pulls", [merged])
    assert pull_request.merge(forged.tower, NAME, 1) == "e" * 40
    assert [a.path for a in forged.fake.calls("POST")] == [f"{API}/pulls"]


def test_the_forge_s_squash_commit_is_the_promotion_and_its_revert_the_rollback(forged: Forged) -> None:
    propose(forged)
    forged.sign(*forged.world.roles)
    forged.has()
    forged.green()
    squashed = _squash(forged.there)
    merged = pull(
        7, BRANCH, "a" * 40, state="closed", merged_at="2026-03-01T00:00:00Z", merge_commit_sha=squashed
    )
    forged.fake.on("GET", f"{API}/pulls/7", pull(7, BRANCH, str(forged.there.head(BRANCH))), merged)
    forged.fake.on("POST", f"{API}/pulls/7/merge", Reply(200, b""))
    assert pull_request.merge(forged.tower, NAME, 1) == squashed
    here = forged.world.repository
    assert (here.head(), here.head(BRANCH)) == (squashed, None)
    assert model_tree.release_at(here, "main", NAME).version == 1
    rollback(here, NAME, "a test")
    pull_request.share(forged.tower)
    assert model_tree.release_at(forged.there, "main", NAME).version is None


def _squash(there: Repository) -> str:
    """What a forge does: one commit on main with the tree of the merge."""
    tree = there.git("merge-tree", "--write-tree", "main", BRANCH).decode().split()[0]
    commit = there.git("commit-tree", "-p", "main", "-m", "Promote als_risk to 1", tree).decode().strip()
    there.git("update-ref", "refs/heads/main", commit)
    return commit


def test_without_the_forge_nothing_is_proposed_and_nothing_is_left_behind(
    forged: Forged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pull_request, "remote_of", lambda _: Remote("http://127.0.0.1:1/x/y.git", SecretStr(TOKEN))
    )
    with pytest.raises(Unavailable):
        open_proposal(forged.tower, NAME, 1)
    assert forged.world.repository.branches("promote/") == []
