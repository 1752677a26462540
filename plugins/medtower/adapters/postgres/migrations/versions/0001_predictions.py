"""Predictions by day, and the ground truth that comes later.

Forward only: a record is never taken away by a migration.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
create table medtower.requests (
    request_id text primary key,
    event_time timestamptz not null
);
comment on table medtower.requests is
    'One row a request: a partitioned table cannot keep request_id unique over all days by itself.';

create table medtower.predictions (
    request_id            text             not null,
    model                 text             not null,
    version               integer          not null check (version > 0),
    digest                text             not null,
    arm                   text             not null,
    subject               text             not null,
    event_time            timestamptz      not null,
    features              real[]           not null,
    prediction            double precision not null,
    confidence            double precision not null check (confidence between 0 and 1),
    requires_human_review boolean          not null,
    latency_ms            double precision not null check (latency_ms >= 0),
    body_sha256           text             not null,
    recorded_at           timestamptz      not null default now(),
    primary key (event_time, request_id)
) partition by range (event_time);
create index on medtower.predictions (model, event_time);
comment on column medtower.predictions.subject is 'Keyed pseudonym, never the identifier.';

create table medtower.outcomes (
    id          bigint generated always as identity primary key,
    request_id  text             not null,
    model       text             not null,
    value       double precision not null,
    observed_at timestamptz      not null,
    arrived_at  timestamptz      not null,
    source      text             not null,
    unique (request_id, model, arrived_at, source, value)
);
comment on table medtower.outcomes is 'Append-only: a correction is a later arrival for the same request.';
"""

APPEND_ONLY = """
create function medtower.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'medtower.% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

create trigger append_only before update or delete on medtower.outcomes
    for each row execute function medtower.refuse_change();
create trigger append_only_whole before truncate on medtower.outcomes
    for each statement execute function medtower.refuse_change();
"""

# Attaching an empty table blocks neither readers nor writers of the other days, unlike `create table … partition of`.
PARTITIONS = """
create function medtower.ensure_partitions(first_day date, last_day date) returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    day     date;
    name    text;
    created integer := 0;
begin
    if last_day - first_day > 400 then
        raise exception 'at most 400 days at once' using errcode = 'invalid_parameter_value';
    end if;
    for day in select generate_series(first_day, last_day, interval '1 day')::date loop
        name := 'predictions_' || to_char(day, 'YYYYMMDD');
        continue when exists (select from pg_tables where schemaname = 'medtower' and tablename = name);
        perform pg_advisory_xact_lock(hashtext('medtower.predictions'));
        -- asked again as a query, whose snapshot is new: to_regclass would answer from its cache
        continue when exists (select from pg_tables where schemaname = 'medtower' and tablename = name);
        execute format('create table medtower.%I (like medtower.predictions including defaults including constraints)', name);
        execute format(
            'alter table medtower.predictions attach partition medtower.%I for values from (%L) to (%L)',
            name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00'
        );
        created := created + 1;
    end loop;
    return created;
end $$;
revoke all on function medtower.ensure_partitions(date, date) from public;
"""

AS_OF = """
create function medtower.labelled(
    of_model text, of_version integer, from_time timestamptz, to_time timestamptz, as_of timestamptz
) returns table (
    request_id text, version integer, subject text, event_time timestamptz, features real[],
    prediction double precision, outcome double precision
) language sql stable as $$
    select p.request_id, p.version, p.subject, p.event_time, p.features, p.prediction, o.value
    from medtower.predictions p
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
comment on function medtower.labelled is
    'Predictions of [from_time, to_time) with the outcome that was known at as_of: the last arrival up to then, null when none.';
"""

GRANTS = """
grant usage on schema medtower to medtower_gateway, medtower_airflow, medtower_reconciler, medtower_reader;
grant insert on medtower.requests, medtower.predictions, medtower.outcomes to medtower_gateway;
grant select on medtower.requests to medtower_gateway;
grant execute on function medtower.ensure_partitions(date, date) to medtower_gateway;
grant select on medtower.requests, medtower.predictions, medtower.outcomes to medtower_airflow, medtower_reader;
"""


def upgrade() -> None:
    for statements in (TABLES, APPEND_ONLY, PARTITIONS, AS_OF, GRANTS):
        op.execute(statements)
