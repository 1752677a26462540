"""What the gateway is made of, put together once at the start."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from medtower.adapters import contracts as contract_files
from medtower.adapters.spool import Spool
from medtower.domain.contract import Contract
from medtower.errors import ContractInvalid, NotFound, Refused
from medtower.gateway.inference import Triton
from medtower.gateway.metrics import Metrics
from medtower.gateway.record import Record
from medtower.gateway.routing_file import RoutingFile
from medtower.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """Everything a request may touch."""

    contracts: Mapping[str, Contract]
    routing: RoutingFile
    triton: Triton
    record: Record
    metrics: Metrics
    api_key: bytes
    subject_key: bytes


def assemble(settings: Settings, contracts: Iterable[Contract] | None) -> Parts:
    """Open the spool and read the contracts of `settings.models` (or take `contracts`).

    Raises Refused when a key is not set, NotFound when there is no contract, RecordUnavailable when the spool cannot be opened.
    """
    api_key, subject_key = _secret(settings, "gateway_key"), _secret(settings, "subject_key")
    found = list(_read(settings.models) if contracts is None else contracts)
    if not found:
        raise NotFound(
            "a valid model.yaml", str(settings.models), "set MEDTOWER_MODELS to the models' folder"
        )
    return Parts(
        contracts={contract.name: contract for contract in found},
        routing=RoutingFile(settings.path("routing")),
        triton=Triton(settings.triton_url),
        record=Record(Spool(settings.path("spool"))),
        metrics=Metrics(),
        api_key=api_key,
        subject_key=subject_key,
    )


def _read(folder: Path) -> Iterable[Contract]:
    for path in sorted(folder.glob("*/model.yaml")):
        try:
            yield contract_files.read(path.parent)
        except ContractInvalid as error:  # one bad contract closes its own model and no other
            log.error(str(error), extra={"model": path.parent.name, "path": str(path)})


def _secret(settings: Settings, name: str) -> bytes:
    secret: SecretStr = getattr(settings, name)
    if not secret.get_secret_value():
        raise Refused("secrets", f"MEDTOWER_{name.upper()} is empty; generate one and set it")
    return secret.get_secret_value().encode()
