"""Gitea and Forgejo over their REST API (v1). The token needs the scopes write:repository and write:issue.

The check is read as the status that Gitea Actions reports for the event pull_request_target, which it names since Gitea 1.23. Where an older one
or a Forgejo names it otherwise the check is missing, and nothing is merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from medtower.adapters.forge.pull_request import CHECK, EVENT, WORKFLOW, PullRequest
from medtower.adapters.forge.rest import Rest
from medtower.adapters.forge.rest_forge import RestForge
from medtower.adapters.git import MAIN
from medtower.errors import NotFound

CONTEXT = f"{WORKFLOW} / {CHECK} ({EVENT})"  # how Gitea Actions reports a job: "workflow / job (event)"


class _Status(BaseModel):
    id: int
    context: str
    status: str


class _Combined(BaseModel):
    sha: str
    statuses: list[_Status] | None


class Gitea(RestForge):
    """`url` is the forge's: https://HOST, or with its path below a host."""

    def __init__(self, url: str, repository: str, token: SecretStr, **options: Any) -> None:
        super().__init__(Rest("Gitea", f"{url.rstrip('/')}/api/v1", token, "token", **options), repository)

    def protect(self, settings: Mapping[str, Any]) -> None:
        self._rest.patch(self._at, settings["repository"])
        rules, wanted = f"{self._at}/branch_protections", settings["branch"]
        try:
            self._rest.patch(f"{rules}/{MAIN}", wanted)
        except NotFound:
            self._rest.post(rules, {"rule_name": MAIN, "branch_name": MAIN, **wanted})

    def _check_result(self, commit: str) -> str:
        found = self._as(_Combined, self._rest.get(f"{self._at}/commits/{commit}/status"))
        ours = [s for s in found.statuses or [] if s.context == CONTEXT]
        if found.sha != commit or not ours:
            return "missing"
        return max(ours, key=lambda s: s.id).status

    def _squash(self, pull: PullRequest) -> None:
        wanted = {
            "Do": "squash",
            "MergeTitleField": pull.title,
            "MergeMessageField": "",
            "head_commit_id": pull.head,
            "delete_branch_after_merge": True,
        }
        self._rest.post(f"{self._at}/pulls/{pull.number}/merge", wanted)
