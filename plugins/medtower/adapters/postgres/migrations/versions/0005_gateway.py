"""What the gateway says of a prediction beside its number, and the columns of the record that it may show again."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

COLUMNS = """
alter table medtower.predictions
    add column caller  text    not null default '',
    add column part_of text    not null default '',
    add column cached  boolean not null default false,
    add column texts   jsonb   not null default '{}';
comment on column medtower.predictions.caller is 'The id of the key, or the pseudonym of the person, that asked.';
comment on column medtower.predictions.part_of is 'Request id of the composition that this was a part of, else empty.';
comment on column medtower.predictions.cached is 'The same release had answered the same row before.';
comment on column medtower.predictions.texts is 'Free texts by field: the redacted form and the keyed hash of what came.';
"""

# `predictions` has a partition for every day that a case was of, so a question about when requests came in would open them all. This table has one part:
# it finds the requests, and their days name the few partitions to open.
FOUND = """
alter table medtower.requests add column received_at timestamptz, add column model text;
update medtower.requests r set received_at = p.received_at, model = p.model
from medtower.predictions p where p.event_time = r.event_time and p.request_id = r.request_id;
update medtower.requests set received_at = event_time, model = '' where received_at is null;
alter table medtower.requests alter column received_at set not null, alter column model set not null;
create index on medtower.requests (received_at, request_id);
create index on medtower.requests (model, received_at, request_id);
create index on medtower.failures (received_at);
"""

# The gateway shows what was answered and whether an outcome came: never the features, the texts, a hash of a body or the outcome's value.
GRANTS = """
grant select (
    request_id, model, version, digest, arm, subject, event_time, received_at, prediction, confidence, requires_human_review, latency_ms,
    recorded_at, caller, part_of, cached
) on medtower.predictions to medtower_gateway;
grant select (request_id, model) on medtower.outcomes to medtower_gateway;
grant select (model, version, arm, code, received_at) on medtower.failures to medtower_gateway;
grant select on medtower.performance, medtower.health to medtower_gateway;
"""


def upgrade() -> None:
    for statements in (COLUMNS, FOUND, GRANTS):
        op.execute(statements)
