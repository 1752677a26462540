"""What was answered, each case once: a composition's own weights are a row of the record, and no answer of its model."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

# The gateway gives a part the request id `<composition's>~<part's name>`. No caller can write a `~`, and no other part is called own.
OWN = """
create function medtower.is_own_part(request_id text) returns boolean
    language sql immutable parallel safe as $$ select request_id like '%~own' $$;
comment on function medtower.is_own_part is
    'Whether the request is what a composition asked its own weights: a share of one answer, on record under the name of the same model.';
"""

# The columns of `predictions`. A column that comes later must be added to the view as well.
ANSWERS = """
create view medtower.answers as select * from medtower.predictions where not medtower.is_own_part(request_id);
comment on view medtower.answers is
    'Predictions as readers count them: history, statistics, performance, tracking, drift, verdicts. The table has the parts of compositions beside them.';
"""

LABELLED = """
create or replace function medtower.labelled(
    of_model text, of_version integer, from_time timestamptz, to_time timestamptz, as_of timestamptz
) returns table (
    request_id text, version integer, subject text, event_time timestamptz, features real[],
    prediction double precision, outcome double precision
) language sql stable as $$
    select p.request_id, p.version, p.subject, p.event_time, p.features, p.prediction, o.value
    from medtower.answers p
    left join lateral (
        select value from medtower.outcomes
        where outcomes.request_id = p.request_id and outcomes.model = p.model and outcomes.arrived_at <= as_of
        order by outcomes.arrived_at desc, outcomes.id desc
        limit 1
    ) o on true
    where p.model = of_model and (of_version is null or p.version = of_version)
      and p.event_time >= from_time and p.event_time < to_time
    order by p.event_time, p.request_id
$$;
"""

# As in 0004, over the answers.
ARM = """
create or replace function medtower.arm(
    of_model text, of_version integer, from_time timestamptz, to_time timestamptz, as_of timestamptz
) returns table (
    request_id text, subject text, received_at timestamptz, failed boolean, latency_ms double precision,
    prediction double precision, outcome double precision
) language sql stable as $$
    select a.request_id, a.subject, a.received_at, a.failed, a.latency_ms, a.prediction, o.value
    from (
        select p.request_id, p.subject, p.received_at, false as failed, p.latency_ms, p.prediction
        from medtower.answers p
        where p.model = of_model and p.version = of_version and p.arm in ('current', 'candidate')
          and p.received_at >= from_time and p.received_at < to_time
        union all
        select f.request_id, f.subject, f.received_at, true, f.latency_ms, null
        from medtower.failures f
        where f.model = of_model and f.version = of_version
          and f.received_at >= from_time and f.received_at < to_time
    ) a
    left join lateral (
        select value from medtower.outcomes
        where not a.failed
          and outcomes.request_id = a.request_id and outcomes.model = of_model and outcomes.arrived_at <= as_of
        order by outcomes.arrived_at desc, outcomes.id desc
        limit 1
    ) o on true
    where not exists (
        select from medtower.failures c
        where c.request_id = a.request_id and c.model = of_model and c.arm = 'candidate' and c.version <> of_version
    )
    order by a.received_at, a.request_id, a.failed
$$;
"""

# The gateway shows of the answers what it may show of the predictions (0005).
GRANTS = """
grant execute on function medtower.is_own_part(text) to medtower_gateway, medtower_airflow, medtower_reader;
grant select on medtower.answers to medtower_airflow, medtower_reader;
grant select (
    request_id, model, version, digest, arm, subject, event_time, received_at, prediction, confidence, requires_human_review, latency_ms,
    recorded_at, caller, part_of, cached
) on medtower.answers to medtower_gateway;
"""


def upgrade() -> None:
    for statements in (OWN, ANSWERS, LABELLED, ARM, GRANTS):
        op.execute(statements)
