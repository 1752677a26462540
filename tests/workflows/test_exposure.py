"""Who was exposed to what, from git and from the reconciler's events: real git, real keys, a real reconciler and Triton, a real trail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from tests.fixtures.postgres import Cluster
from tests.fixtures.reconciler import Scene
from tests.fixtures.releases import GRADUAL, World
from tests.fixtures.triton import TritonProcess

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.adapters.triton import Triton
from medtower.audit import chain
from medtower.domain.audit_event import GENESIS, AuditEvent
from medtower.domain.rollout import Plan
from medtower.domain.routing import Share
from medtower.errors import NotFound, Refused
from medtower.wait import wait_until
from medtower.workflows import exposure, history
from medtower.workflows.rollback import rollback

STAGED = Plan(strategy="staged", steps=[10, 100], hold_hours=0, shadow_hours=1)
Looks = list[tuple[datetime, exposure.Exposure]]


@dataclass
class Story:
    """What was done to `model` in `world`, what the reconciler said of it, and what was true at each look."""

    world: World
    model: str
    events: list[AuditEvent]
    looks: Looks
    database: Database

    def compare(
        self, since: datetime, until: datetime, **allowance: timedelta
    ) -> list[exposure.Disagreement]:
        return exposure.compare(self.world.repository, self.database, self.model, since, until, **allowance)


def second() -> None:
    """A commit's time is in whole seconds: go on in the next one."""
    now = datetime.now(UTC).replace(microsecond=0)
    assert wait_until(lambda: datetime.now(UTC) >= now + timedelta(seconds=1), 5)


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, triton_process: TritonProcess, triton_client: Triton
) -> tuple[Scene, Looks]:
    """A first version, a rollout of the second in steps, its completion, and the third taken back; a look after each."""
    scene, looks = Scene(tmp_path_factory.mktemp("exposure"), triton_process, triton_client), Looks()

    def look(expected: exposure.Exposure) -> None:
        assert scene.once() == "ok"
        looks.append((datetime.now(UTC), expected))
        second()

    scene.promote(1)
    look([(1, 100)])
    scene.promote(2, GRADUAL)
    look([(1, 90), (2, 10)])
    scene.advance()
    look([(1, 50), (2, 50)])
    scene.advance()
    look([(2, 100)])
    third = scene.promote(3, STAGED)
    look([(2, 100), (3, 0)])
    scene.advance()
    look([(2, 90), (3, 10)])
    scene.world.revert(third)
    look([(2, 100)])
    return scene, looks


@pytest.fixture
def story(told: tuple[Scene, Looks], tmp_path: Path, clean_postgres: Cluster) -> Story:
    """The same for each test to change: a copy of the repository, and the events in a trail of its own."""
    scene, looks = told
    database = Database(clean_postgres.dsn("medtower_airflow"))
    for event in scene.events:
        rows.append(database, event, chain.link)
    return Story(scene.world.copy(tmp_path), scene.model, scene.events, looks, database)


def test_git_and_the_trail_tell_the_same_at_every_moment_of_a_rollout_and_its_revert(story: Story) -> None:
    for moment, expected in story.looks:
        assert exposure.at(story.world.repository, story.model, moment) == expected
        assert exposure.from_trail(story.database, story.model, moment) == expected
        assert story.compare(moment, moment, allowance=timedelta(0)) == []
    before = story.looks[0][0] - timedelta(days=1)
    assert story.compare(before, story.looks[-1][0]) == []
    assert exposure.at(story.world.repository, story.model, before) == []
    assert exposure.from_trail(story.database, story.model, before) == []


def test_without_an_allowance_the_seconds_of_each_change_are_seen(story: Story) -> None:
    found = story.compare(story.looks[0][0], story.looks[-1][0], allowance=timedelta(0))
    assert [(len(d.git), len(d.trail)) for d in found] == [(2, 1), (2, 2), (1, 2), (2, 1), (2, 2), (1, 2)]


def test_an_event_that_somebody_changed_is_a_disagreement_even_in_a_chain_made_anew(
    story: Story, clean_postgres: Cluster
) -> None:
    moment, since, until = story.looks[2][0], story.looks[0][0], story.looks[-1][0]
    tamper(clean_postgres, "@50,", "@99,", "@50", "@1")
    assert chain.verify(rows.read(story.database)) == len(story.events)
    assert exposure.at(story.world.repository, story.model, moment) == [(1, 50), (2, 50)]
    assert exposure.from_trail(story.database, story.model, moment) == [(1, 99), (2, 1)]
    (found,) = story.compare(since, until)
    assert found.start < moment < found.end
    assert found.trail == (Share("current", 1, 99), Share("candidate", 2, 1))
    assert str(found).endswith("the audit trail current:1@99,candidate:2@1")
    assert [(d.start, d.end) for d in story.compare(moment, moment)] == [(moment, moment)]


def test_what_the_reconciler_never_did_is_a_disagreement_once_the_allowance_is_over(story: Story) -> None:
    rollback(story.world.repository, story.model, "a test")
    said = datetime.now(UTC)
    (found,) = story.compare(story.looks[0][0], said + timedelta(minutes=5))
    assert (found.git, found.trail) == ((Share("current", 1, 100),), (Share("current", 2, 100),))
    assert found.end == said + timedelta(minutes=5)
    assert abs(found.start - said - exposure.ALLOWANCE) < timedelta(seconds=5)


def test_an_event_that_nobody_writes_so_is_refused_by_its_number(
    story: Story, clean_postgres: Cluster
) -> None:
    tamper(clean_postgres, "current:1@50", "everybody")
    with pytest.raises(Refused, match="event 3 does not say its shares"):
        exposure.from_trail(story.database, story.model, datetime.now(UTC))


def test_a_release_that_is_none_and_a_traffic_file_that_is_none_change_nothing(story: Story) -> None:
    for name in ("release.yaml", "traffic.yaml"):
        story.world.write(f"triton_models/{story.model}/{name}", "nonsense: [")
    assert exposure.at(story.world.repository, story.model, datetime.now(UTC)) == [(2, 100)]


def test_a_clock_that_was_behind_does_not_put_a_commit_before_the_one_it_follows(story: Story) -> None:
    promoted = history.ledger(story.world.repository, "main", story.model).stack[-1].commit
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
        story.world.revert(promoted)
    assert exposure.at(story.world.repository, story.model, datetime.now(UTC)) == [(1, 100)]
    assert exposure.at(story.world.repository, story.model, story.looks[2][0]) == [(1, 50), (2, 50)]


def test_a_clock_that_was_ahead_moves_its_own_commit_and_no_later_one(story: Story) -> None:
    """A revert by hand needs nobody's leave, so its date may say anything; that of a promotion must be true."""
    second()
    reverted = datetime.now(UTC)
    promoted = history.ledger(story.world.repository, "main", story.model).stack[-1].commit
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", "2090-01-01T00:00:00Z")
        story.world.revert(promoted)
    now = datetime.now(UTC)
    assert exposure.at(story.world.repository, story.model, now + timedelta(seconds=1)) == [(1, 100)]
    for later in ("plain", "promotion"):
        second()
        if later == "plain":
            story.world.write(f"triton_models/{story.model}/cohort.yaml", "x: 1\n")
        else:
            story.world.promote(story.model, 5)
        second()
        assert exposure.at(story.world.repository, story.model, reverted - timedelta(seconds=1)) == [(2, 100)]
        said = exposure.from_git(story.world.repository, story.model)
        assert said[-1 if later == "plain" else -2].at < datetime.now(UTC) - timedelta(seconds=1)
    assert exposure.at(story.world.repository, story.model, datetime.now(UTC)) == [(5, 100)]


def test_a_model_that_main_never_had_is_not_found(tmp_path: Path) -> None:
    world = World(tmp_path, "known_model")
    with pytest.raises(NotFound, match="unknown_model"):
        exposure.at(world.repository, "unknown_model", datetime.now(UTC))
    assert exposure.at(world.repository, "known_model", datetime.now(UTC)) == []


def tamper(cluster: Cluster, *words: str) -> None:
    """As somebody with the superuser's rights could: change words in the events' `arms`, then chain all of them anew."""
    reader = Database(cluster.dsn("medtower_airflow"))
    events = [e.event for e in rows.read(reader)]
    changed = []
    for event in events:
        arms = str(event.details["arms"])
        if words[0] in arms:
            for old, new in zip(words[::2], words[1::2], strict=True):
                arms = arms.replace(old, new)
        changed.append(event.model_copy(update={"details": {**event.details, "arms": arms}}))
    connection = psycopg2.connect(cluster.superuser.rsplit("/", 1)[0] + "/medtower")
    with connection, connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        cursor.execute("truncate medtower.audit")
        previous = GENESIS
        for sequence, event in enumerate(changed, 1):
            linked = chain.link(previous, sequence, event)
            cursor.execute(
                "insert into medtower.audit (sequence, event, previous, digest) values (%s, %s, %s, %s)",
                (sequence, event.model_dump_json(), linked.previous, linked.digest),
            )
            previous = linked.digest
    connection.close()
