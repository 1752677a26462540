"""GitHub's REST API, against a server that answers with the shapes of its documentation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from tests.adapters.forge_server import REPOSITORY, TOKEN, FakeForge, Reply, pull, serving

from medtower.adapters.forge.github import GitHub
from medtower.adapters.forge.protection import protection
from medtower.adapters.forge.pull_request import run_title
from medtower.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    MedtowerError,
    NotFound,
    Refused,
    Unavailable,
)

AT = f"/repos/{REPOSITORY}"
PULLS = f"{AT}/pulls"
RUNS = f"{AT}/actions/workflows/medtower.yml/runs"
BRANCH, HEAD, SQUASHED = "promote/als_risk-2", "a" * 40, "c" * 40
MERGED = {"state": "closed", "merged_at": "2026-03-01T12:00:00Z", "merge_commit_sha": SQUASHED}


@pytest.fixture
def fake() -> Iterator[FakeForge]:
    with serving() as found:
        yield found


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def github(fake: FakeForge, pauses: list[float]) -> GitHub:
    return GitHub(fake.url, REPOSITORY, SecretStr(TOKEN), deadline=5, pause=pauses.append)


def run(
    status: str,
    conclusion: str | None,
    number: int = 1,
    sha: str = HEAD,
    event: str = "pull_request_target",
    title: str = "",
) -> dict[str, Any]:
    return {
        "event": event,
        "display_title": title,
        "id": 30 + number,
        "name": "medtower",
        "run_number": number,
        "head_sha": sha,
        "status": status,
        "conclusion": conclusion,
    }


def runs(*found: dict[str, Any]) -> dict[str, Any]:
    return {"total_count": len(found), "workflow_runs": list(found)}


def test_a_new_pull_request_is_opened_with_the_token_and_the_version_of_the_api(
    fake: FakeForge, github: GitHub
) -> None:
    fake.on("GET", PULLS, [])
    fake.on("POST", PULLS, Reply(201, pull(7, BRANCH, HEAD, body="the page")))
    opened = github.open(BRANCH, "Promote als_risk to 2", "the page")
    assert (opened.number, opened.state, opened.head, opened.url[-2:]) == (7, "open", HEAD, "/7")
    looked, made = fake.asked
    assert looked.query["head"] == f"hospital:{BRANCH}"
    assert made.body == {"title": "Promote als_risk to 2", "body": "the page", "head": BRANCH, "base": "main"}
    assert made.headers["authorization"] == f"Bearer {TOKEN}"
    assert made.headers["x-github-api-version"] == "2022-11-28"


def test_an_open_pull_request_is_updated_once_and_never_doubled(fake: FakeForge, github: GitHub) -> None:
    fake.on("GET", PULLS, [pull(7, BRANCH, HEAD)], [pull(7, BRANCH, HEAD, body="new text")])
    fake.on("PATCH", f"{PULLS}/7", pull(7, BRANCH, HEAD, body="new text"))
    for _ in range(2):
        assert github.open(BRANCH, "Promote als_risk to 2", "new text").body == "new text"
    assert [a.body for a in fake.calls("PATCH")] == [{"title": "Promote als_risk to 2", "body": "new text"}]
    assert fake.calls("POST") == []


def test_a_pull_request_that_somebody_opened_meanwhile_is_taken(fake: FakeForge, github: GitHub) -> None:
    fake.on("GET", PULLS, [], [pull(7, BRANCH, HEAD, body="new text")])
    errors = [
        {"resource": "PullRequest", "code": "custom", "message": "A pull request already exists for hospital"}
    ]
    fake.on("POST", PULLS, Reply(422, {"message": "Validation Failed", "errors": errors}))
    assert github.open(BRANCH, "Promote als_risk to 2", "new text").number == 7


def test_a_branch_of_a_fork_with_the_same_name_is_another_branch(fake: FakeForge, github: GitHub) -> None:
    strange = pull(6, BRANCH, HEAD)
    strange["head"]["repo"] = {"id": 2, "full_name": "stranger/models"}
    gone = pull(5, BRANCH, HEAD)
    gone["head"]["repo"] = None
    fake.on("GET", PULLS, [strange, gone])
    assert github.list() == []


def test_a_text_that_is_too_long_is_cut_at_a_line_and_says_so(fake: FakeForge, github: GitHub) -> None:
    fake.on("GET", PULLS, [])
    fake.on("POST", PULLS, Reply(201, pull(7, BRANCH, HEAD)))
    github.open(BRANCH, "t", "a line of the page\n" * 10_000)
    body = fake.calls("POST")[0].body["body"]
    assert len(body) < 65_536
    assert "a line of the page\n\n(The page is longer" in body


def test_all_pages_are_read_and_no_address_of_an_answer_is_followed(fake: FakeForge, github: GitHub) -> None:
    elsewhere = {"Link": '<https://attacker.example.org/pulls?page=2>; rel="next"'}
    fake.on(
        "GET", PULLS, Reply(200, [pull(1, "promote/a-1", HEAD)], elsewhere), [pull(2, "promote/b-1", HEAD)]
    )
    assert [p.number for p in github.list("all")] == [1, 2]
    assert [a.query["page"] for a in fake.asked] == ["1", "2"]


def test_reviews_come_in_order_with_their_commit(fake: FakeForge, github: GitHub) -> None:
    given = [
        {
            "id": 2,
            "user": {"login": "b"},
            "state": "CHANGES_REQUESTED",
            "commit_id": HEAD,
            "submitted_at": "2026-03-02T00:00:00Z",
        },
        {
            "id": 1,
            "user": {"login": "a"},
            "state": "APPROVED",
            "commit_id": "b" * 40,
            "submitted_at": "2026-03-01T00:00:00Z",
        },
        {
            "id": 3,
            "user": None,
            "state": "DISMISSED",
            "commit_id": None,
            "submitted_at": "2026-03-03T00:00:00Z",
        },
        {"id": 4, "user": {"login": "c"}, "state": "PENDING", "commit_id": HEAD},
    ]
    fake.on("GET", f"{PULLS}/7/reviews", given)
    told = [(r.author, r.state, r.commit) for r in github.reviews(7)]
    assert told == [
        ("a", "approved", "b" * 40),
        ("b", "changes requested", HEAD),
        ("somebody whose account is gone", "dismissed", ""),
    ]


def test_a_comment_is_made_on_the_issue_of_the_pull_request(fake: FakeForge, github: GitHub) -> None:
    fake.on("POST", f"{AT}/issues/7/comments", Reply(201, {"id": 1, "body": "held"}))
    github.comment(7, "held")
    assert fake.asked[0].body == {"body": "held"}


def test_a_merge_is_one_squash_commit_of_the_head_that_was_checked(fake: FakeForge, github: GitHub) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD), pull(7, BRANCH, HEAD, **MERGED))
    fake.on("GET", RUNS, runs(run("completed", "failure", 1), run("completed", "success", 2)))
    fake.on(
        "PUT",
        f"{PULLS}/7/merge",
        {"sha": SQUASHED, "merged": True, "message": "Pull Request successfully merged"},
    )
    assert github.merge(7, HEAD) == SQUASHED
    wanted = {
        "merge_method": "squash",
        "commit_title": "Promote als_risk to 2",
        "commit_message": "",
        "sha": HEAD,
    }
    assert fake.calls("PUT")[0].body == wanted
    assert github.merge(7, HEAD) == SQUASHED  # again: the same commit, and nothing is asked of the forge
    assert len(fake.calls("PUT")) == 1


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (runs(), "missing"),
        (runs(run("completed", "success", sha="b" * 40)), "missing"),
        (runs(run("in_progress", None)), "in_progress"),
        (runs(run("completed", "success", 1), run("completed", "failure", 2)), "failure"),
        (runs(run("completed", "success", event="pull_request")), "missing"),
        (runs(run("completed", "failure", 1), run("completed", "success", 2, event="push")), "failure"),
        (
            runs(
                run("completed", "failure", 1),
                run("completed", "success", 2, "b" * 40, title=f"medtower check of {'b' * 40}"),
            ),
            "failure",
        ),
    ],
)
def test_nothing_is_merged_before_the_required_check_is_green(
    fake: FakeForge, github: GitHub, found: object, word: str
) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD))
    fake.on("GET", RUNS, found)
    with pytest.raises(Refused, match=f"medtower check.*{word}"):
        github.merge(7, HEAD)
    assert fake.calls("PUT") == []


def test_a_run_is_known_by_its_title_where_its_commit_is_the_base_s(fake: FakeForge, github: GitHub) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD), pull(7, BRANCH, HEAD, **MERGED))
    titled = run("completed", "success", 3, "0" * 40, title=run_title(HEAD))
    fake.on("GET", RUNS, runs(run("completed", "failure", 4, "b" * 40)), runs(titled), runs())
    fake.on("PUT", f"{PULLS}/7/merge", {"merged": True})
    assert github.merge(7, HEAD) == SQUASHED
    asked = [a.query for a in fake.asked if a.path == RUNS]
    assert [(q["event"], q["page"]) for q in asked] == [
        ("pull_request_target", "1"),
        ("pull_request_target", "2"),
    ]


@pytest.mark.parametrize("changed", [{"state": "closed"}, {"head": pull(7, BRANCH, "b" * 40)["head"]}])
def test_a_pull_request_that_is_closed_or_changed_is_not_merged(
    fake: FakeForge, github: GitHub, changed: dict[str, Any]
) -> None:
    fake.on("GET", f"{PULLS}/7", pull(7, BRANCH, HEAD, **changed))
    with pytest.raises(Conflict):
        github.merge(7, HEAD)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, Refused, "MEDTOWER_FORGE_TOKEN"),
        (403, Refused, "may not POST"),
        (404, NotFound, "MEDTOWER_FORGE_REPOSITORY"),
        (405, Conflict, "said the forge"),
        (409, Conflict, "said the forge"),
        (422, InvalidInput, "said the forge"),
        (500, Unavailable, "with 500"),
        (503, Unavailable, "with 503"),
    ],
)
def test_each_refusal_is_an_error_of_its_own_kind(
    fake: FakeForge,
    github: GitHub,
    status: int,
    error: type[MedtowerError],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.on("POST", f"{AT}/issues/7/comments", Reply(status, {"message": "said the forge"}))
    with caplog.at_level(logging.DEBUG), pytest.raises(error, match=words) as raised:
        github.comment(7, "x")
    assert len(fake.asked) == 1  # a comment may not be made twice, so it is not asked twice
    assert TOKEN not in str(raised.value) + caplog.text


def test_a_question_is_asked_again_after_a_failure_of_the_server(
    fake: FakeForge, github: GitHub, pauses: list[float]
) -> None:
    fake.on("GET", PULLS, Reply(500, b"oops"), Reply(502, b"<html>"), [])
    assert github.list() == []
    assert pauses == [0.5, 1.0]


def test_a_server_that_fails_all_the_time_is_given_up(
    fake: FakeForge, github: GitHub, pauses: list[float]
) -> None:
    fake.on("GET", PULLS, Reply(500, b"oops"))
    with pytest.raises(Unavailable):
        github.list()
    assert (len(fake.asked), pauses) == (4, [0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, {"message": "slow down"}, {"Retry-After": "2"}),
        Reply(403, {"message": "secondary rate limit"}, {"Retry-After": "2"}),
    ],
)
def test_a_short_rate_limit_is_waited_for(
    fake: FakeForge, github: GitHub, pauses: list[float], reply: Reply
) -> None:
    fake.on("GET", PULLS, reply, [])
    assert github.list() == []
    assert pauses == [2.0]


def test_a_long_rate_limit_is_told_and_not_taken_for_a_missing_right(fake: FakeForge, github: GitHub) -> None:
    limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4102444800"}
    fake.on("GET", PULLS, Reply(403, {"message": "API rate limit exceeded"}, limit))
    with pytest.raises(Unavailable, match=r"rate limit is reached; run it again after \d\d:\d\d"):
        github.list()
    assert len(fake.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_stays(fake: FakeForge, github: GitHub, status: int) -> None:
    with serving() as elsewhere:
        fake.on("GET", PULLS, Reply(status, b"", {"Location": f"{elsewhere.url}{PULLS}"}))
        with pytest.raises(Refused, match=r"127\.0\.0\.1.*MEDTOWER_FORGE_URL"):
            github.list()
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "body", [b"<html>a proxy's page</html>", {"not": "a list"}, [{"number": "seven"}], [None]]
)
def test_an_answer_that_is_none_of_this_api_is_said_to_be(fake: FakeForge, github: GitHub, body: Any) -> None:
    fake.on("GET", PULLS, Reply(200, body))
    with pytest.raises(Unavailable, match="MEDTOWER_FORGE_URL"):
        github.list()


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_nested_without_end_is_unavailable(
    fake: FakeForge, github: GitHub, status: int
) -> None:
    fake.on("GET", PULLS, Reply(status, b"[" * 200_000))
    with pytest.raises(Unavailable, match="MEDTOWER_FORGE_URL|with 500"):
        github.list()


@pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset"])
def test_a_limit_of_more_than_all_time_is_a_limit(fake: FakeForge, github: GitHub, name: str) -> None:
    fake.on("GET", PULLS, Reply(429, {}, {name: "9" * 400}))
    with pytest.raises(Unavailable, match="rate limit is reached"):
        github.list()


def test_a_forge_that_does_not_answer_exceeds_the_deadline(fake: FakeForge) -> None:
    fake.on("POST", f"{AT}/issues/7/comments", Reply(slow=True))
    slow = GitHub(fake.url, REPOSITORY, SecretStr(TOKEN), deadline=0.2, pause=lambda _: None)
    with pytest.raises(DeadlineExceeded, match="GitHub"):
        slow.comment(7, "x")


def test_no_answer_is_unavailable() -> None:
    nobody = GitHub("http://127.0.0.1:1", REPOSITORY, SecretStr(TOKEN), pause=lambda _: None)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer"):
        nobody.list()


@pytest.mark.parametrize(
    "url",
    [
        "http://forge.example.org",
        "https://somebody@forge.example.org",
        "forge.example.org",
        "https://forge.example.org/?x=1",
    ],
)
def test_an_address_that_would_show_the_token_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="MEDTOWER_FORGE_URL"):
        GitHub(url, REPOSITORY, SecretStr(TOKEN))


def test_branch_protection_is_set_for_merges_and_for_main(fake: FakeForge, github: GitHub) -> None:
    fake.on("PATCH", AT, {"full_name": REPOSITORY})
    fake.on("PUT", f"{AT}/branches/main/protection", {"url": "x"})
    github.protect(protection("github", ["tower-bot"]))
    repository, branch = (a.body for a in fake.asked)
    assert (
        repository["allow_squash_merge"]
        and not repository["allow_merge_commit"]
        and not repository["allow_rebase_merge"]
    )
    assert branch["required_status_checks"]["contexts"] == ["medtower check"]
    assert (branch["allow_force_pushes"], branch["allow_deletions"], branch["required_linear_history"]) == (
        False,
        False,
        True,
    )
    reviews = branch["required_pull_request_reviews"]
    assert reviews["require_code_owner_reviews"] and reviews["dismiss_stale_reviews"]
    assert reviews["bypass_pull_request_allowances"]["users"] == ["tower-bot"]
