"""One model in one pass: try, and whatever fails, keep what serves and say why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from medtower.domain.audit_event import AuditEvent
from medtower.domain.contract import MODEL_NAME
from medtower.domain.routing import shares
from medtower.domain.tree import TRUST_ROOT
from medtower.errors import MedtowerError, ModelMisbehaved, StillFetching, Unavailable
from medtower.workflows.reconcile import model as one_model
from medtower.workflows.reconcile.desired import Desired
from medtower.workflows.reconcile.parts import Parts
from medtower.workflows.reconcile.quarantine import Quarantine
from medtower.workflows.reconcile.report import ModelOutcome, failure_name, failure_text
from medtower.workflows.reconcile.routes import ACTOR, Routes

log = logging.getLogger(__name__)
Unsound = Callable[[str, int, MedtowerError], None]


class Passing:
    """Knows which failures were told already, and which versions are held back."""

    def __init__(
        self, parts: Callable[[Unsound], Parts], routes: Routes, tell: Callable[[AuditEvent], None]
    ) -> None:
        self._parts, self._routes, self._tell = parts(self._unsound), routes, tell
        self._quarantine = Quarantine()
        self._told: dict[object, str] = {}

    def one(self, commit: str, desired: Desired) -> ModelOutcome:
        """Bring the model to its desired state, or say why not."""
        if held := self._quarantine.holds(desired):
            return self._failed(desired, held)
        try:
            self._reconcile(commit, desired)
        except StillFetching as error:
            return self._fetching(desired, error)
        except MedtowerError as error:
            self._quarantine.failed(desired, error)
            return self._failed(desired, error)
        self._quarantine.passed(desired)
        if desired.doubt is not None:  # it serves, at the stage that is known
            return self._refused(desired, desired.doubt, failure_text(desired.doubt))
        self._told.pop(desired.model, None)
        return self._outcome(desired, reason=self._routes.by_model[desired.model].reason)

    def withdraw(self, commit: str, model: str) -> None:
        """The model is gone from git."""
        self._routes.withdraw(commit, model)
        try:
            one_model.withdraw(self._parts, model)
        except Exception as error:
            log.warning("could not unload", extra={"model": model, "reason": failure_text(error)})

    def dispute(self, error: MedtowerError | None) -> None:
        """Say it once when the trust root is not the one that git holds."""
        if error is None:
            self._told.pop(None, None)
        elif self._news(None, error):
            self._event("refuses the trust root", TRUST_ROOT, error, failure_text(error))

    def _reconcile(self, commit: str, desired: Desired) -> None:
        before = self._routes.by_model.get(desired.model)
        try:
            one_model.reconcile(
                self._parts, desired, before, lambda route: self._routes.publish(commit, route)
            )
        except OSError as error:
            raise Unavailable("disk", f"{error.strerror} ({desired.model})") from error
        except MedtowerError:
            raise
        except Exception as error:  # one model's surprise must not stop the others
            raise ModelMisbehaved(
                desired.model, desired.version, f"{type(error).__name__} while it was reconciled"
            ) from error

    def _fetching(self, desired: Desired, error: StillFetching) -> ModelOutcome:
        why = self._restored(desired.model) or failure_text(error)
        if not shares(self._routes.by_model.get(desired.model)):
            self._routes.explain(desired.model, f"version {desired.version} is being fetched")
        return self._outcome(desired, fetching=True, reason=why)

    def _failed(self, desired: Desired, error: MedtowerError) -> ModelOutcome:
        reason = failure_text(error)
        if second := self._restored(desired.model):
            reason = f"{reason}; and {second}"
        if not shares(self._routes.by_model.get(desired.model)) and MODEL_NAME.fullmatch(desired.model):
            why = f"version {desired.version} may not serve: {failure_text(error)}"
            self._routes.explain(desired.model, why)
        return self._refused(desired, error, reason)

    def _restored(self, model: str) -> str:
        """Have what is routed to loaded; return why that failed, empty when it did not."""
        try:
            one_model.restore(self._parts, model, self._routes.by_model.get(model))
        except StillFetching:
            return ""
        except Exception as error:
            return f"the incumbent could not be loaded: {failure_text(error)}"
        return ""

    def _refused(self, desired: Desired, error: MedtowerError, reason: str) -> ModelOutcome:
        if self._news(desired.model, error):
            self._event("refuses", f"{desired.model} {desired.version or ''}".strip(), error, reason)
        return self._outcome(desired, failure=failure_name(error), reason=reason)

    def _outcome(
        self, desired: Desired, *, failure: str | None = None, fetching: bool = False, reason: str = ""
    ) -> ModelOutcome:
        route = self._routes.by_model.get(desired.model)
        return ModelOutcome(
            model=desired.model,
            desired=desired.version,
            served=route.newest if route else None,
            shares=shares(route),
            stage=desired.stage if desired.verified else None,
            failure=failure,
            fetching=fetching,
            reason=reason,
        )

    def _unsound(self, model: str, version: int, error: MedtowerError) -> None:
        if self._news((model, version), error):
            self._event("refuses stored weights of", f"{model} {version}", error, failure_text(error))

    def _news(self, about: object, error: MedtowerError) -> bool:
        """True the first time that this is wrong with it."""
        known, self._told[about] = self._told.get(about), str(error)
        return known != str(error)

    def _event(self, action: str, subject: str, error: MedtowerError, reason: str) -> None:
        log.warning("%s %s", action, subject, extra={"reason": reason})
        details: dict[str, str | int | None] = {"reason": reason, "failure": failure_name(error)}
        self._tell(
            AuditEvent(
                at=datetime.now(UTC), actor=ACTOR, action=action, subject=subject, details=dict(details)
            )
        )
