"""What a forge must be set to, so that main changes by one squash commit after the required check, and never backwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from medtower.adapters.forge.gitea import CONTEXT
from medtower.adapters.forge.pull_request import CHECK, Kind
from medtower.errors import InvalidInput

LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}(?:\[bot\])?")


def protection(forge: Kind, bots: Sequence[str] = ()) -> dict[str, Any]:
    """What the forge must be set to: `repository` (how merges are made) and `branch` (who may change main, and how).

    `bots` are the accounts that step rollouts and roll back: they push to main without a review, because a rollback never waits for one.
    """
    if wrong := [b for b in bots if not LOGIN.fullmatch(b)]:
        raise InvalidInput(f"bot: {wrong[0][:60]!r} is not the name of an account")
    return _github(bots) if forge == "github" else _gitea(bots)


def _github(bots: Sequence[str]) -> dict[str, Any]:
    """PATCH /repos/{owner}/{repo} and PUT /repos/{owner}/{repo}/branches/main/protection."""
    reviews = {
        "required_approving_review_count": 1,
        "require_code_owner_reviews": True,
        "dismiss_stale_reviews": True,
        "require_last_push_approval": True,
        "bypass_pull_request_allowances": {"users": list(bots), "teams": [], "apps": []},
    }
    return {
        "repository": {
            "allow_squash_merge": True,
            "allow_merge_commit": False,
            "allow_rebase_merge": False,
            "squash_merge_commit_title": "PR_TITLE",
            "squash_merge_commit_message": "BLANK",
            "delete_branch_on_merge": True,
        },
        "branch": {
            # not strict: other models' commits move main all day; the policy compares this model's base, and git its release.yaml
            "required_status_checks": {"strict": False, "contexts": [CHECK]},
            "enforce_admins": True,
            "required_pull_request_reviews": reviews,
            "restrictions": None,
            "required_linear_history": True,
            "allow_force_pushes": False,
            "allow_deletions": False,
            "required_conversation_resolution": True,
        },
    }


def _gitea(bots: Sequence[str]) -> dict[str, Any]:
    """PATCH /repos/{owner}/{repo} and POST /repos/{owner}/{repo}/branch_protections. A protected branch cannot be deleted."""
    return {
        "repository": {
            "allow_squash_merge": True,
            "allow_merge_commits": False,
            "allow_rebase": False,
            "allow_rebase_explicit": False,
            "default_merge_style": "squash",
            "default_delete_branch_after_merge": True,
        },
        "branch": {
            "enable_push": bool(bots),
            "enable_push_whitelist": bool(bots),
            "push_whitelist_usernames": list(bots),
            "enable_force_push": False,
            "enable_status_check": True,
            "status_check_contexts": [CONTEXT],
            "required_approvals": 1,
            "block_on_rejected_reviews": True,
            "block_on_official_review_requests": True,  # the owners of CODEOWNERS are asked, and waited for
            "block_on_outdated_branch": False,
            "dismiss_stale_approvals": True,
        },
    }
