"""The last chapter: a version that only looks good on a stale holdout goes live, tracking sees it, and one revert takes it back."""

from __future__ import annotations

import math
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from medtower.errors import MedtowerError, Unavailable
from medtower.local import health
from medtower.local.demo.steps import headline
from medtower.workflows.track import track
from medtower.workflows.train import Trained, train

if TYPE_CHECKING:
    from medtower.local.demo.chapters import Story

ANSWERS = 300


def tell(story: Story) -> None:
    """Train on the stale cohort, promote, watch it fail on today's patients, revert, and see that the old version does well again."""
    made, promotion = _promote(story)
    _see(story, made)
    with story.telling.step("git revert") as step:
        story.revert_seconds = _revert(story, promotion)
        step.result = f"{story.revert_seconds:.2f} s from the revert to the old version's first answer"
    with story.telling.step("The version that serves again, on the same patients") as step:
        _report_outcomes(story, story.retrained, at_least=ANSWERS // 2)
        story.client.stop()
        story.failed_requests, story.requests = story.client.failed, len(story.client.answers)
        status = str(track(story.hero, story.tower)["status"])
        story.models[story.hero].status = status
        step.result = (
            f"tracking says {status}; {story.failed_requests} of {story.requests} live requests failed"
        )


def _promote(story: Story) -> tuple[Trained, str]:
    with story.telling.step("A version trained on the stale cohort passes its gates and goes live") as step:
        made = train(story.tower, story.hero, reason="routine refresh", progress=story.telling.now)
        story.models[story.hero].versions[made.version] = "stale, reverted"
        promotion = story.promote(story.hero, made.version, "routine refresh")
        story.wait_served(story.hero, made.version)
        step.result = headline(made)
    return made, promotion


def _see(story: Story, made: Trained) -> None:
    with story.telling.step(
        "Today's patients are answered by it, their outcomes arrive, tracking sees it"
    ) as step:
        _report_outcomes(story, made.version, at_least=ANSWERS)
        found = next(r for r in story.run_dag("track_performance", "track") if r["model"] == story.hero)
        if found["status"] != "critical":
            raise MedtowerError(f"tracking did not see the bad version: {found['status']}")
        step.result = f"critical: {', '.join(found['critical'])} (n={found['labelled']})"


def _report_outcomes(story: Story, version: int, *, at_least: int) -> None:
    """Wait for answers by `version`, report the ground truth of those patients, and wait until it is on record."""
    since = datetime.now(UTC) - timedelta(days=1)
    health.poll(
        lambda: sum(a.version == version for a in story.client.answers) >= at_least,
        part="live traffic",
        deadline=60,
    )
    told = story.client.report_outcomes(version)
    story.telling.now(f"{told} outcomes reported")

    def on_record() -> bool:
        now = datetime.now(UTC)
        rows = story.tower.predictions.labelled(story.hero, version, since, now, now)
        return sum(not math.isnan(v) for v in rows["outcome"]) >= told

    log = story.state.home / "logs" / "gateway.log"
    health.poll(on_record, part="the gateway's shipper", deadline=60, log=log)


def _revert(story: Story, promotion: str) -> float:
    """By hand, as anybody would: a clone, `git revert`, a push. Nothing of Medtower is called. Returns the seconds until the old
    version's first answer."""
    with tempfile.TemporaryDirectory(prefix="medtower-revert-") as place:
        git("clone", "--quiet", str(story.tower.repository.path), place)
        reverted = time.monotonic()
        git("-C", place, "revert", "--no-edit", promotion)
        git("-C", place, "push", "--quiet", "origin", "main")
        health.poll(
            lambda: story.client.first_after(reverted, story.retrained) is not None,
            part="the old version",
            deadline=60,
            log=story.state.home / "logs" / "reconciler.log",
        )
    answer = story.client.first_after(reverted, story.retrained)
    return answer.at - reverted if answer else math.inf


def git(*arguments: str) -> None:
    """Run git as the demo's operator. Raises Unavailable with git's own words."""
    identity = ("-c", "user.name=Operator", "-c", "user.email=technical@example.org")
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable("git", done.stderr.strip())
