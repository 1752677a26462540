"""Adding to the audit trail: who did what to which model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.audit import chain
from medtower.domain.audit_event import AuditEvent, ChainedEvent


def note(database: Database, actor: str, action: str, subject: str, **details: Any) -> ChainedEvent:
    """Append one event to the chain, now. `details` are ids and numbers, never a patient's data."""
    event = AuditEvent(at=datetime.now(UTC), actor=actor, action=action, subject=subject, details=details)
    return rows.append(database, event, chain.link)
