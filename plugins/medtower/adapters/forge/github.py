"""GitHub and GitHub Enterprise Server over their REST API (version 2022-11-28).

A fine-grained token needs, on the one repository: Contents and Pull requests (write), Actions (read); to set branch protection also
Administration (write). Such tokens cannot be given the permission Checks, which is why the check is read as the workflow's run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from medtower.adapters.forge.pull_request import EVENT, WORKFLOW, PullRequest, run_title
from medtower.adapters.forge.rest import Rest
from medtower.adapters.forge.rest_forge import RestForge
from medtower.adapters.git import MAIN

PUBLIC = "https://api.github.com"
MOST_PAGES = 10  # of a hundred runs


class _Run(BaseModel):
    run_number: int
    event: str
    head_sha: str
    display_title: str
    status: str
    conclusion: str | None


class _Runs(BaseModel):
    workflow_runs: list[_Run]


class GitHub(RestForge):
    """`url` is the API's: https://api.github.com, or https://HOST/api/v3 of an Enterprise Server."""

    def __init__(self, url: str, repository: str, token: SecretStr, **options: Any) -> None:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        super().__init__(Rest("GitHub", url, token, "Bearer", headers=headers, **options), repository)

    def protect(self, settings: Mapping[str, Any]) -> None:
        self._rest.patch(self._at, settings["repository"])
        self._rest.put(f"{self._at}/branches/{MAIN}/protection", settings["branch"], repeatable=True)

    def _open_one(self, branch: str, base: str, **query: str | int) -> PullRequest | None:
        owner = self._repository.split("/", maxsplit=1)[0]
        return super()._open_one(branch, base, head=f"{owner}:{branch}", **query)

    def _check_result(self, commit: str) -> str:
        for page in range(1, MOST_PAGES + 1):
            runs = self._runs(page)
            if ours := [r for r in runs if _is_of(r, commit)]:
                newest = max(ours, key=lambda r: r.run_number)
                return newest.conclusion or newest.status
            if not runs:
                break
        return "missing"

    def _runs(self, page: int) -> list[_Run]:
        """The check's runs for pull requests, newest first. Not asked for by commit: whether `head_sha` of such a run is the pull request's or
        the base's differs between GitHub's versions, and so its title names the commit, too."""
        path = f"{self._at}/actions/workflows/{WORKFLOW}.yml/runs"
        return self._as(_Runs, self._rest.get(path, event=EVENT, per_page=100, page=page)).workflow_runs

    def _squash(self, pull: PullRequest) -> None:
        wanted = {
            "merge_method": "squash",
            "commit_title": pull.title,
            "commit_message": "",
            "sha": pull.head,
        }
        self._rest.put(f"{self._at}/pulls/{pull.number}/merge", wanted, repeatable=False)


def _is_of(run: _Run, commit: str) -> bool:
    return run.event == EVENT and (run.head_sha == commit or run.display_title == run_title(commit))


def web(url: str) -> str:
    """The address that git and people use, from the API's."""
    return "https://github.com" if url.rstrip("/") == PUBLIC else url.rstrip("/").removesuffix("/api/v3")
