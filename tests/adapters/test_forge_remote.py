"""The forge's git remote, over real HTTP with git's own server and a password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.adapters.forge_server import TOKEN, Reply, git_over_http, serving
from tests.fixtures.releases import World

from medtower.adapters import git_process
from medtower.adapters.forge.chosen import forge_of, hosted, remote_of
from medtower.adapters.forge.gitea import Gitea
from medtower.adapters.forge.local import LocalForge
from medtower.adapters.forge.remote import Remote
from medtower.adapters.git import Repository
from medtower.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from medtower.settings import Settings
from medtower.workflows.take_back import take_back
from medtower.workflows.tower import Tower

BRANCH = "promote/als_risk-1"


class Both:
    """A tower's repository `here`, the forge's `there`, and the way between."""

    def __init__(self, root: Path, url: str) -> None:
        self.world = World(root / "tower", "als_risk")
        self.here = self.world.repository
        self.there = Repository.create(root / "forge" / "hospital" / "models.git")
        self.url = f"{url}/hospital/models.git"
        self.remote = Remote(self.url, SecretStr(TOKEN), seconds=30)
        self.remote.push_main(self.here)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    (tmp_path / "tower").mkdir()
    with git_over_http(tmp_path / "forge") as (url, _):
        yield Both(tmp_path, url)


def test_a_proposal_is_pushed_and_fetched_with_the_token(both: Both) -> None:
    both.world.propose("als_risk", 1)
    both.remote.push(both.here, BRANCH, expected=None)
    assert both.there.head(BRANCH) == both.here.head(BRANCH) == both.remote.tip(both.here, BRANCH)
    assert both.there.head() == both.here.head()


def test_the_token_is_in_no_argument_of_git(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = git_process.subprocess.run

    def spy(command: list[str], **options: object) -> object:
        seen.extend(map(str, command))
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(git_process.subprocess, "run", spy)
    both.remote.fetch(both.here)
    assert any("hospital/models.git" in word for word in seen)
    assert not any(TOKEN in word or "Authorization" in word for word in seen)


def test_a_wrong_token_is_refused_and_not_shown(both: Both) -> None:
    with pytest.raises(Refused, match="token") as raised:
        Remote(both.url, SecretStr("a-wrong-token")).fetch(both.here)
    assert "a-wrong-token" not in str(raised.value)


def test_a_branch_that_somebody_else_changed_is_not_overwritten(both: Both) -> None:
    both.world.propose("als_risk", 1)
    both.remote.push(both.here, BRANCH, expected=None)
    first = both.here.head(BRANCH)
    both.world.approve("als_risk", 1, "clinical")
    both.remote.push(both.here, BRANCH, expected=first)
    signed = both.there.head(BRANCH)
    both.here.git("update-ref", f"refs/heads/{BRANCH}", str(first))  # another clone, which has not seen it
    both.world.approve("als_risk", 1, "final")
    for expected in (first, None):
        with pytest.raises(Conflict):
            both.remote.push(both.here, BRANCH, expected=expected)
    assert both.there.head(BRANCH) == signed


def test_a_branch_that_is_not_there_is_not_found(both: Both) -> None:
    assert both.remote.tip(both.here, "promote/als_risk-9") is None
    with pytest.raises(NotFound):
        both.remote.fetch(both.here, "promote/als_risk-9")


def test_main_only_moves_forward(both: Both) -> None:
    both.world.write("a.txt", "here")
    other = both.there.checkout()
    with other as work:
        (work.folder / "b.txt").write_text("there")
        work.commit("Another history")
        work.push(expected=work.tip)
    with pytest.raises(Conflict):
        both.remote.fetch(both.here)
    with pytest.raises(Conflict):
        both.remote.push_main(both.here)


def test_a_rollback_continues_what_the_forge_has_and_is_given_to_it(both: Both) -> None:
    for version in (1, 2):
        both.world.promote("als_risk", version)
    both.remote.push_main(both.here)
    with both.there.checkout() as work:
        (work.folder / "notes.md").write_text("merged on the forge meanwhile")
        on_the_forge = work.commit("Change something else")
        work.push(expected=work.tip)
    nowhere = "127.0.0.1:1"
    settings = Settings(
        home=both.world.root / "home",
        repository=both.here.path,
        forge="gitea",
        forge_url=both.url.removesuffix("/hospital/models.git"),
        forge_repository="hospital/models",
        forge_token=SecretStr(TOKEN),
        dsn=SecretStr("host=127.0.0.1 port=1 dbname=medtower user=medtower_airflow"),
        gateway_url=f"http://{nowhere}",
        triton_url=nowhere,
    )
    done = take_back(Tower(settings), "als_risk", "a test")
    assert both.there.head() == both.here.head() == done.commit
    assert both.there.is_ancestor(on_the_forge, done.commit)


def test_a_proposal_that_the_forge_no_longer_has_goes(both: Both) -> None:
    both.world.propose("als_risk", 1)
    both.remote.push(both.here, BRANCH, expected=None)
    both.there.git("update-ref", "-d", f"refs/heads/{BRANCH}")
    both.remote.fetch_all(both.here, "promote/")
    assert both.here.branches("promote/") == []


def test_a_redirect_of_git_is_not_followed(both: Both) -> None:
    with serving() as fake:
        path = "/hospital/models.git/info/refs"
        fake.on("GET", path, Reply(302, b"", {"Location": f"{both.url}/info/refs?service=git-upload-pack"}))
        with pytest.raises(Unavailable):
            Remote(f"{fake.url}/hospital/models.git", SecretStr(TOKEN)).fetch(both.here)


def test_the_settings_choose_the_forge(both: Both) -> None:
    local = Settings(repository=both.here.path)
    assert isinstance(forge_of(local), LocalForge)
    assert remote_of(local) is None
    gitea = local.model_copy(
        update={
            "forge": "gitea",
            "forge_url": "https://forge.example.org/",
            "forge_repository": "hospital/models",
        }
    )
    found = remote_of(gitea)
    assert isinstance(forge_of(gitea), Gitea)
    assert found is not None and found.url == "https://forge.example.org/hospital/models.git"


@pytest.mark.parametrize(
    ("url", "git"),
    [
        ("", "https://github.com/hospital/models.git"),
        ("https://git.example.org/api/v3", "https://git.example.org/hospital/models.git"),
    ],
)
def test_github_s_git_address_follows_from_its_api_s(url: str, git: str) -> None:
    found = remote_of(Settings(forge="github", forge_url=url, forge_repository="hospital/models"))
    assert found is not None and found.url == git


@pytest.mark.parametrize("forge", ["github", "gitea"])
@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("http://forge.example.org", False),
        ("https://somebody@forge.example.org", False),
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
        ("https://forge.example.org", True),
    ],
)
def test_git_s_address_is_held_to_the_rule_of_the_api_s(forge: str, url: str, taken: bool) -> None:
    settings = Settings(forge=forge, forge_url=url, forge_repository="a/b", forge_token=SecretStr(TOKEN))  # type: ignore[arg-type]
    for kind in (remote_of, hosted):
        if taken:
            assert kind(settings) is not None
        else:
            with pytest.raises(InvalidInput, match="MEDTOWER_FORGE_URL"):
                kind(settings)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"forge": "github", "forge_repository": "models"}, "MEDTOWER_FORGE_REPOSITORY"),
        ({"forge": "github", "forge_repository": "a/../b"}, "MEDTOWER_FORGE_REPOSITORY"),
        ({"forge": "gitea", "forge_repository": "a/b"}, "MEDTOWER_FORGE_URL"),
        ({"forge": "local"}, "MEDTOWER_FORGE"),
    ],
)
def test_a_setting_that_is_missing_is_named(changes: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        hosted(Settings(**changes))  # type: ignore[arg-type]
