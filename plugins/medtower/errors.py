"""Every error that Medtower raises on purpose.

Each class writes its own message: what is wrong, where, and what to do. Callers at the edge (command, gateway, DAG)
map the class to an exit code or an HTTP status; nobody parses messages.

MedtowerError
├── InvalidInput                 the caller's data breaks a rule            exit 2, HTTP 422
│   ├── ContractInvalid          model.yaml or cohort.yaml, with file and line
│   ├── CohortInvalid            a data set that must not be trained on
│   ├── FeatureInvalid           one value of one request
│   ├── ProtocolInvalid          a message that does not follow its protocol                 HTTP 400
│   └── NameInvalid              a model name that is not one
├── NotFound                     a model, version, file or run that is not there   exit 3, HTTP 404
├── Refused                      a rule of release policy says no          exit 4, HTTP 403
│   ├── DigestMismatch           bytes differ from what was signed
│   ├── ApprovalMissing          quorum not reached
│   ├── ApprovalInvalid          a signature that does not count
│   ├── SignatureInvalid         bytes that are not a signature of this key over this text
│   └── GateFailed               evidence says no
├── Conflict                     somebody else was first, or it runs already     exit 5, HTTP 409
├── Unavailable                  a part is down; nothing was changed       exit 6, HTTP 503
│   ├── PortTaken
│   ├── DiskFull
│   ├── ProcessDied
│   ├── StillFetching            weights are on their way; the next look goes on
│   └── RecordUnavailable        the durable record cannot be kept
├── DeadlineExceeded             a part did not answer in time             exit 7, HTTP 504
├── Unauthorized                 no login, or one that does not count     exit 9, HTTP 401
├── Forbidden                    a caller whose role does not include it  exit 10, HTTP 403
├── RateLimited                  too much at once                         exit 11, HTTP 429
└── ModelMisbehaved              NaN, wrong shape, golden mismatch, parity lost   exit 8, HTTP 502
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class MedtowerError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command returns, `http_status` what the gateway does."""

    exit_code = 1
    http_status = 500


class InvalidInput(MedtowerError):
    exit_code = 2
    http_status = 422


class ContractInvalid(InvalidInput):
    """`problems` are finished lines, each naming file, line, what is wrong and what to write instead."""

    def __init__(self, path: Path | str, problems: Sequence[str]) -> None:
        self.path, self.problems = str(path), list(problems)
        super().__init__("\n".join([f"{self.path} is not valid:", *(f"  {p}" for p in self.problems)]))


class CohortInvalid(InvalidInput):
    """Names columns and rules, never values: a failing value may be PHI."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source, self.problems = source, list(problems)
        super().__init__("\n".join([f"cohort {source} was refused:", *(f"  {p}" for p in self.problems)]))


class FeatureInvalid(InvalidInput):
    """One input of one request breaks one rule. The value is never kept and never echoed."""

    def __init__(self, field: str, rule: str) -> None:
        self.field, self.rule = field, rule
        super().__init__(f"{field}: {rule}")


class ProtocolInvalid(InvalidInput):
    """A message that does not follow the Open Inference Protocol V2. `what` names the place and the rule, never what stands there."""

    http_status = 400


class NameInvalid(InvalidInput):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} is not a model name: use 2 to 63 characters a-z, 0-9 and _, starting with a letter"
        )


class NotFound(MedtowerError):
    exit_code = 3
    http_status = 404

    def __init__(self, what: str, where: str, hint: str = "") -> None:
        super().__init__(f"{what} not found in {where}" + (f"; {hint}" if hint else ""))


class Refused(MedtowerError):
    """`rule` is the policy's short name for the rule, `what` says what broke it and what would satisfy it."""

    exit_code = 4
    http_status = 403

    def __init__(self, rule: str, what: str) -> None:
        self.rule = rule
        super().__init__(f"refused by rule {rule}: {what}")


class DigestMismatch(Refused):
    def __init__(self, name: str, expected: str, actual: str) -> None:
        self.name = name
        super().__init__(
            "digest",
            f"{name} has sha256 {actual[:12]}…, the signed manifest says {expected[:12]}…; restore the signed file",
        )


class ApprovalMissing(Refused):
    def __init__(self, model: str, version: int, roles: Sequence[str]) -> None:
        self.roles = list(roles)
        super().__init__(
            "quorum",
            f"{model} {version} lacks the approval of {', '.join(roles)}; "
            f"run: medtower approve {model} {version} --role {roles[0]} --key KEY",
        )


class ApprovalInvalid(Refused):
    def __init__(self, role: str, why: str) -> None:
        self.role, self.why = role, why
        super().__init__("approval", f"the {role} approval does not count: {why}")


class SignatureInvalid(Refused):
    """`why` is a clause that begins with what is wrong, for a caller that knows whose signature it is."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__("signature", f"the signature does not count: {why}")


class GateFailed(Refused):
    def __init__(self, model: str, version: int, gates: Sequence[str]) -> None:
        self.gates = list(gates)
        super().__init__(
            "gates", f"{model} {version} failed {', '.join(gates)}; see gates.json of its run in MLflow"
        )


class Conflict(MedtowerError):
    exit_code = 5
    http_status = 409


class Unavailable(MedtowerError):
    """`part` is the thing that is down; `log` is where it said why."""

    exit_code = 6
    http_status = 503

    def __init__(self, part: str, why: str, log: Path | str | None = None) -> None:
        self.part, self.why = part, why
        super().__init__(f"{part} is unavailable: {why}" + (f"; see {log}" if log else ""))


class PortTaken(Unavailable):
    """`setting` is what names another port."""

    def __init__(
        self,
        part: str,
        port: int,
        *,
        address: str = "127.0.0.1",
        setting: str = "unset its MEDTOWER_PORT_* setting",
    ) -> None:
        super().__init__(part, f"port {port} on {address} is in use; stop what holds it or {setting}")


class DiskFull(Unavailable):
    def __init__(self, path: Path | str, needed_mb: int, free_mb: int) -> None:
        super().__init__(
            "disk",
            f"{path} has {free_mb} MB free and {needed_mb} MB are needed; free some space and run it again",
        )


class ProcessDied(Unavailable):
    def __init__(self, part: str, code: int | None, log: Path | str) -> None:
        super().__init__(part, f"the process ended with code {code}", log)


class StillFetching(Unavailable):
    def __init__(self, model: str, version: int) -> None:
        super().__init__(f"{model} {version}", "its weights are being fetched")


class RecordUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__("durable record", why)


class DeadlineExceeded(MedtowerError):
    exit_code = 7
    http_status = 504

    def __init__(self, part: str, seconds: float, log: Path | str | None = None) -> None:
        super().__init__(f"{part} did not answer within {seconds:g} s" + (f"; see {log}" if log else ""))


class Unauthorized(MedtowerError):
    """Never says whether a key is unknown, revoked or expired: that is nobody's business who has no login."""

    exit_code = 9
    http_status = 401

    def __init__(self) -> None:
        super().__init__("no login, or one that does not count; send the header X-API-Key or a bearer token")


class Forbidden(MedtowerError):
    """`action` is one of `medtower.domain.access.Action`."""

    exit_code = 10
    http_status = 403

    def __init__(self, action: str) -> None:
        self.action = action
        super().__init__(f"the role of this login does not include {action!r}; ask for one whose role does")


class RateLimited(MedtowerError):
    """`seconds` until the next try can succeed."""

    exit_code = 11
    http_status = 429

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__("too many requests at once; try again after the time that Retry-After says")


class ModelMisbehaved(MedtowerError):
    """`version` is None while the model has none yet (a file just exported)."""

    exit_code = 8
    http_status = 502

    def __init__(self, model: str, version: int | None, why: str) -> None:
        super().__init__(f"{model}{'' if version is None else f' {version}'}: {why}")
