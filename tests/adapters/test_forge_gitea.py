"""Where Gitea and Forgejo differ from GitHub, against a server that answers with the shapes of their documentation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from tests.adapters.forge_server import REPOSITORY, TOKEN, FakeForge, Reply, pull, serving

from medtower.adapters.forge.gitea import Gitea
from medtower.adapters.forge.protection import protection
from medtower.errors import Conflict, InvalidInput, Refused

AT = f"/api/v1/repos/{REPOSITORY}"
PULLS = f"{AT}/pulls"
BRANCH, HEAD, SQUASHED = "promote/als_risk-2", "a" * 40, "c" * 40
STATUS = f"{AT}/commits/{HEAD}/status"
MERGED = {
    "state": "closed",
    "merged": True,
    "merged_at": "2026-03-01T12:00:00Z",
    "merge_commit_sha": SQUASHED,
}


@pytest.fixture
def fake() -> Iterator[FakeForge]:
    with serving() as found:
        yield found


@pytest.fixture
def gitea(fake: FakeForge) -> Gitea:
    return Gitea(fake.url, REPOSITORY, SecretStr(TOKEN), deadline=5, pause=lambda _: None)


def combined(*statuses: tuple[int, str, str]) -> dict[str, object]:
    told = [{"id": i, "context": c, "status": s, "target_url": "", "description": ""} for i, c, s in statuses]
    return {"state": "success", "sha": HEAD, "total_count": len(told), "statuses": told or None}


def test_a_pull_request_is_found_among_all_and_updated(fake: FakeForge, gitea: Gitea) -> None:
    next_page = {"Link": '<http://forge.example.org/api/v1/x?page=2>; rel="next"'}
    fake.on("GET", PULLS, Reply(200, [pull(3, "other", HEAD)], next_page), [pull(7, BRANCH, HEAD)])
    fake.on("PATCH", f"{PULLS}/7", Reply(201, pull(7, BRANCH, HEAD, body="new")))
    assert gitea.open(BRANCH, "Promote als_risk to 2", "new").body == "new"
    assert fake.asked[0].headers["authorization"] == f"token {TOKEN}"


def test_the_conflict_of_opening_one_twice_is_no_failure(fake: FakeForge, gitea: Gitea) -> None:
    fake.on("GET", PULLS, [], [pull(7, BRANCH, HEAD, body="new")])
    fake.on("POST", PULLS, Reply(409, {"message": "pull request already exists for these targets"}))
    assert gitea.open(BRANCH, "Promote als_risk to 2", "new").number == 7


def test_its_words_for_reviews_are_the_same_reviews(fake: FakeForge, gitea: Gitea) -> None:
    base = {"commit_id": HEAD, "submitted_at": "2026-03-01T00:00:00Z", "stale": False, "official": True}
    given = [
        {"id": 1, "user": {"login": "a"}, "state": "APPROVED", "dismissed": False, **base},
        {"id": 2, "user": {"login": "b"}, "state": "REQUEST_CHANGES", "dismissed": False, **base},
        {"id": 3, "user": {"login": "c"}, "state": "APPROVED", "dismissed": True, **base},
        {"id": 4, "user": {"login": "d"}, "state": "REQUEST_REVIEW", "dismissed": False, **base},
    ]
    fake.on("GET", f"{PULLS}/7/reviews", given)
    assert [(r.author, r.state) for r in gitea.reviews(7)] == [
        ("a", "approved"),
        ("b", "changes requested"),
        ("c", "dismissed"),
    ]


def test_a_merge_squashes_the_head_that_was_checked(fake: FakeForge, gitea: Gitea) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD), pull(7, BRANCH, HEAD, **MERGED))
    fake.on(
        "GET",
        STATUS,
        combined(
            (1, "medtower / medtower check (pull_request_target)", "failure"),
            (2, "medtower / medtower check (pull_request_target)", "success"),
        ),
    )
    fake.on("POST", f"{PULLS}/7/merge", Reply(200, b""))
    assert gitea.merge(7, HEAD) == SQUASHED
    body = fake.calls("POST")[0].body
    assert (body["Do"], body["MergeTitleField"], body["head_commit_id"]) == (
        "squash",
        "Promote als_risk to 2",
        HEAD,
    )


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        ((), "missing"),
        (((1, "another / check (push)", "success"),), "missing"),
        (((1, "medtower / medtower check (pull_request)", "success"),), "missing"),  # its own workflow
        (
            (
                (1, "medtower / medtower check (pull_request_target)", "failure"),
                (2, "medtower / medtower checkers of my own (push)", "success"),
                (3, "medtower / medtower check (push)", "success"),
                (4, "medtower / medtower check (pull_request_target) too", "success"),
            ),
            "failure",
        ),
        (((1, "medtower / medtower check (pull_request_target)", "pending"),), "pending"),
        (
            (
                (1, "medtower / medtower check (pull_request_target)", "success"),
                (2, "medtower / medtower check (pull_request_target)", "failure"),
            ),
            "failure",
        ),
    ],
)
def test_nothing_is_merged_before_the_check_is_green(
    fake: FakeForge, gitea: Gitea, statuses: tuple[tuple[int, str, str], ...], word: str
) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD))
    fake.on("GET", STATUS, combined(*statuses))
    with pytest.raises(Refused, match=word):
        gitea.merge(7, HEAD)
    assert fake.calls("POST") == []


def test_a_merge_that_the_forge_does_not_do_is_a_conflict(fake: FakeForge, gitea: Gitea) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD))
    fake.on("GET", STATUS, combined((1, "medtower / medtower check (pull_request_target)", "success")))
    fake.on("POST", f"{PULLS}/7/merge", Reply(405, {"message": "Please try again later"}))
    with pytest.raises(Conflict, match="Please try again later"):
        gitea.merge(7, HEAD)


def test_protection_is_changed_where_it_is_and_made_where_it_is_not(fake: FakeForge, gitea: Gitea) -> None:
    rules = f"{AT}/branch_protections"
    fake.on("PATCH", AT, {"full_name": REPOSITORY})
    fake.on("POST", rules, Reply(201, {"rule_name": "main"}))
    gitea.protect(protection("gitea"))
    made = fake.calls("POST")[0].body
    assert (
        made["rule_name"] == "main"
        and made["dismiss_stale_approvals"]
        and not made["enable_force_push"]
        and not made["enable_push"]
    )
    assert made["status_check_contexts"] == ["medtower / medtower check (pull_request_target)"]
    fake.on("PATCH", f"{rules}/main", {"rule_name": "main"})
    gitea.protect(protection("gitea", ["tower-bot"]))
    assert len(fake.calls("POST")) == 1
    assert fake.calls("PATCH")[-1].body["push_whitelist_usernames"] == ["tower-bot"]


def test_a_bot_that_is_no_account_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bot"):
        protection("gitea", ["two words"])
