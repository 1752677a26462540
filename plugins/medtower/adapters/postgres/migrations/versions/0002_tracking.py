"""What tracking and drift detection found, what went wrong, and when each task last finished."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
create table medtower.performance (
    model        text             not null,
    version      integer          not null check (version > 0),
    kind         text             not null check (kind in ('tracking', 'benchmark')),
    window_start timestamptz      not null,
    window_end   timestamptz      not null,
    as_of        timestamptz      not null,
    metric       text             not null,
    population   text             not null,
    n            bigint           not null check (n >= 0),
    value        double precision,
    lower        double precision,
    upper        double precision,
    confidence   double precision not null,
    method       text             not null,
    status       text             not null check (status in ('ok', 'warning', 'critical', 'insufficient data')),
    coverage     double precision check (coverage between 0 and 1),
    computed_at  timestamptz      not null default now(),
    primary key (model, version, kind, window_start, window_end, as_of, metric, population),
    check (window_start < window_end),
    check (value is not null or status = 'insufficient data')
);
create index on medtower.performance (model, kind, as_of desc);
comment on column medtower.performance.coverage is 'Labelled predictions of the window, as a share of those that should have an outcome by as_of.';

create table medtower.drift (
    model        text        not null,
    version      integer     not null check (version > 0),
    window_start timestamptz not null,
    window_end   timestamptz not null,
    feature      text        not null,
    position     integer     not null,
    test         text        not null,
    statistic    double precision,
    p_value      double precision,
    q_value      double precision,
    effect       double precision,
    n_reference  bigint      not null,
    n_current    bigint      not null,
    severity     text        not null
        check (severity in ('none', 'moderate', 'severe', 'no variance', 'insufficient data')),
    primary key (model, version, window_end, feature)
);

create table medtower.incidents (
    key        text        primary key,
    model      text        not null,
    version    integer,
    kind       text        not null check (kind in ('kpi', 'drift', 'rollback', 'reconcile', 'availability')),
    severity   text        not null check (severity in ('warning', 'critical')),
    summary    text        not null,
    opened_at  timestamptz not null,
    closed_at  timestamptz,
    resolution text,
    check ((closed_at is null) = (resolution is null))
);
create index on medtower.incidents (model, opened_at);

create table medtower.health (
    task        text        not null,
    model       text        not null default '',
    finished_at timestamptz not null,
    primary key (task, model)
);
comment on table medtower.health is 'Last success of each task; model is empty where a task is about none.';
"""

# A day is computed again by taking its rows away and writing them anew; nothing else here is ever deleted.
GRANTS = """
grant select, insert, update on medtower.performance, medtower.drift, medtower.incidents, medtower.health
    to medtower_airflow;
grant delete on medtower.performance to medtower_airflow;
grant select on medtower.performance, medtower.drift, medtower.incidents, medtower.health
    to medtower_reconciler, medtower_reader;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(GRANTS)
