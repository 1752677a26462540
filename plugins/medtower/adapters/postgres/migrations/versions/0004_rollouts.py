"""What a rollout is judged by beside the predictions: attempts that failed, and what a version said in the shadow."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

# Of what is there already, the time at which the database got it is the nearest to it that no caller chose.
RECEIVED = """
alter table medtower.predictions add column received_at timestamptz;
update medtower.predictions set received_at = recorded_at;
alter table medtower.predictions alter column received_at set not null;
create index on medtower.predictions (model, version, received_at);
comment on column medtower.predictions.event_time is 'When the case was, as the caller says: for tracking and drift.';
comment on column medtower.predictions.received_at is 'When the request came in, by the gateway''s clock: for verdicts.';
"""

# The events of a release without reading the whole trail. The text is looked at as it stands there: Postgres refuses to take anything out of a
# JSON document that has a \u0000 somewhere.
ROUTED = """
create index on medtower.audit (substring(event::text from '"digest":"([0-9a-f]{64})"'));
"""

TABLES = """
create table medtower.failures (
    request_id  text             not null,
    model       text             not null,
    version     integer          not null check (version > 0),
    digest      text             not null,
    arm         text             not null check (arm in ('current', 'candidate')),
    subject     text             not null,
    event_time  timestamptz      not null,
    received_at timestamptz      not null,
    code        integer          not null check (code in (422, 502, 503, 504)),
    latency_ms  double precision not null check (latency_ms >= 0),
    opened      boolean          not null,
    recorded_at timestamptz      not null default now(),
    primary key (request_id, model, version)
);
create index on medtower.failures (model, version, received_at);
create index on medtower.failures (model, digest) where opened;
comment on table medtower.failures is 'Attempts at which a version gave no usable answer; another version may have answered the request.';
comment on column medtower.failures.opened is 'With this failure the circuit breaker opened: no patient came to the version any more.';

create table medtower.shadows (
    request_id         text             not null,
    model              text             not null,
    version            integer          not null check (version > 0),
    digest             text             not null,
    subject            text             not null,
    event_time         timestamptz      not null,
    received_at        timestamptz      not null,
    prediction         double precision,
    latency_ms         double precision not null check (latency_ms >= 0),
    current_version    integer          not null check (current_version > 0),
    current_prediction double precision not null,
    current_latency_ms double precision not null check (current_latency_ms >= 0),
    disagrees          boolean          not null,
    recorded_at        timestamptz      not null default now(),
    reviewed_at        timestamptz,
    reviewed_by        text             check (length(reviewed_by) between 1 and 200),
    review             text             check (review in ('current', 'candidate', 'either', 'neither')),
    primary key (request_id, model, version),
    check (prediction is not null or not disagrees),
    check ((reviewed_at is null) = (reviewed_by is null) and (reviewed_at is null) = (review is null))
);
create index on medtower.shadows (model, version, received_at);
create index on medtower.shadows (model, received_at) where disagrees and reviewed_at is null;
comment on column medtower.shadows.prediction is 'Null: the version failed at it.';
comment on column medtower.shadows.review is 'Whose answer a person found right.';
"""

# A review is written once, and is all that ever changes in a shadow.
APPEND_ONLY = """
create trigger append_only before update or delete on medtower.failures
    for each row execute function medtower.refuse_change();
create trigger append_only_whole before truncate on medtower.failures
    for each statement execute function medtower.refuse_change();

create trigger reviewed_once before update on medtower.shadows
    for each row when (
        old.reviewed_at is not null
        or (old.request_id, old.model, old.version, old.digest, old.subject, old.event_time, old.received_at, old.prediction, old.latency_ms,
            old.current_version, old.current_prediction, old.current_latency_ms, old.disagrees, old.recorded_at)
        is distinct from
           (new.request_id, new.model, new.version, new.digest, new.subject, new.event_time, new.received_at, new.prediction, new.latency_ms,
            new.current_version, new.current_prediction, new.current_latency_ms, new.disagrees, new.recorded_at)
    ) execute function medtower.refuse_change();
create trigger append_only before delete on medtower.shadows
    for each row execute function medtower.refuse_change();
create trigger append_only_whole before truncate on medtower.shadows
    for each statement execute function medtower.refuse_change();
"""

# The gateway may not read predictions; this tells it the one thing it must know of them.
REUSED = """
create function medtower.reused(request_ids text[], bodies text[]) returns setof text
    language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select sent.request_id
    from unnest(request_ids, bodies) as sent (request_id, body_sha256)
    join medtower.requests kept on kept.request_id = sent.request_id
    join medtower.predictions p on p.event_time = kept.event_time and p.request_id = kept.request_id
    where p.body_sha256 <> sent.body_sha256
$$;
comment on function medtower.reused is 'Which of the request ids are on record for another body.';
revoke all on function medtower.reused(text[], text[]) from public;
"""

# What the arm `version` was asked in [from_time, to_time) by the gateway's clock, with the outcome known at as_of. A request that the candidate failed at and its
# incumbent then took belongs to the candidate alone: counted with the incumbent too, the arms would no longer be two groups of patients.
ARM = """
create function medtower.arm(
    of_model text, of_version integer, from_time timestamptz, to_time timestamptz, as_of timestamptz
) returns table (
    request_id text, subject text, received_at timestamptz, failed boolean, latency_ms double precision,
    prediction double precision, outcome double precision
) language sql stable as $$
    select a.request_id, a.subject, a.received_at, a.failed, a.latency_ms, a.prediction, o.value
    from (
        select p.request_id, p.subject, p.received_at, false as failed, p.latency_ms, p.prediction
        from medtower.predictions p
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

GRANTS = """
grant insert on medtower.failures, medtower.shadows to medtower_gateway;
grant execute on function medtower.reused(text[], text[]) to medtower_gateway;
grant select on medtower.failures, medtower.shadows to medtower_airflow, medtower_reader;
grant update (reviewed_at, reviewed_by, review) on medtower.shadows to medtower_airflow;
"""


def upgrade() -> None:
    for statements in (RECEIVED, ROUTED, TABLES, APPEND_ONLY, REUSED, ARM, GRANTS):
        op.execute(statements)
