"""The audit trail: each row's digest covers the row before it, and no row changes once it is there.

`event` holds the RFC 8785 text that was hashed, which is why the database itself can refuse a row that does not continue the chain.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

TABLE = """
create table medtower.audit (
    sequence bigint primary key check (sequence > 0),
    event    json   not null,
    previous text   not null check (previous ~ '^[0-9a-f]{64}$'),
    digest   text   not null unique check (digest ~ '^[0-9a-f]{64}$')
);
"""

CHAIN = """
create function medtower.refuse_broken_chain() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    last_sequence bigint;
    last_digest   text;
    body          text;
begin
    perform pg_advisory_xact_lock(hashtext('medtower.audit'));
    select sequence, digest into last_sequence, last_digest from medtower.audit order by sequence desc limit 1;
    if not found then
        last_sequence := 0;
        last_digest := repeat('0', 64);
    end if;
    body := '{"event":' || new.event::text || ',"previous":"' || new.previous || '","sequence":' || new.sequence || '}';
    if new.sequence <> last_sequence + 1 or new.previous <> last_digest
        or new.digest <> encode(sha256(convert_to(body, 'UTF8')), 'hex') then
        raise exception 'the event does not continue the audit chain' using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end $$;

create trigger continues_the_chain before insert on medtower.audit
    for each row execute function medtower.refuse_broken_chain();
create trigger append_only before update or delete on medtower.audit
    for each row execute function medtower.refuse_change();
create trigger append_only_whole before truncate on medtower.audit
    for each statement execute function medtower.refuse_change();
"""

GRANTS = """
grant select, insert on medtower.audit to medtower_airflow, medtower_reconciler;
grant select on medtower.audit to medtower_reader;
"""


def upgrade() -> None:
    for statements in (TABLE, CHAIN, GRANTS):
        op.execute(statements)
