"""Reads `model.yaml` and `cohort.yaml`: errors name file and line, and say what to write instead."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medtower.adapters.cohort_fit import misfits
from medtower.adapters.yaml_lines import Document, Place, load
from medtower.domain.cohort import CohortSpec
from medtower.domain.contract import MODEL_NAME, Contract
from medtower.domain.metric import METRICS
from medtower.domain.unit import UNITS
from medtower.errors import ContractInvalid

M = TypeVar("M", bound=BaseModel)

PLAIN = {
    "missing": "is required; add it",
    "string_type": "must be text; put it in quotes",
    "union_tag_not_found": "needs `kind:` to say what it is",
}


def read(folder: Path) -> Contract:
    """The contract in `folder`/model.yaml. Raises NotFound, or ContractInvalid with one line a problem; the folder must carry its name."""
    document = load(folder / "model.yaml", "make one with: medtower new-model NAME")
    contract = _parse(Contract, document)
    if contract.name != folder.resolve().name:
        what = f"'{contract.name}' lies in the folder '{folder.resolve().name}'; give both the same name"
        raise ContractInvalid(document.path, [document.problem(("name",), what)])
    return contract


def read_cohort(folder: Path) -> CohortSpec:
    """The cohort in `folder`/cohort.yaml, checked against the contract beside it. Raises NotFound or ContractInvalid."""
    contract = read(folder)
    document = load(folder / "cohort.yaml", "say where the data come from; see docs/guides/your-own-model.md")
    spec = _parse(CohortSpec, document)
    if problems := [document.problem(place, what) for place, what in misfits(contract, spec)]:
        raise ContractInvalid(document.path, problems)
    return spec


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas (2020-12) for editors: `model` and `cohort`, with the known units and metrics as choices."""
    schemas: dict[str, dict[str, Any]] = {}
    models: dict[str, type[BaseModel]] = {"model": Contract, "cohort": CohortSpec}
    for name, model in models.items():
        schema = model.model_json_schema(by_alias=True)
        schemas[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    parts = schemas["model"]["$defs"]
    for part in ("Input", "Output"):
        parts[part]["properties"]["unit"]["enum"] = sorted(UNITS)
    for section in ("kpis", "service_levels"):
        schemas["model"]["properties"][section]["propertyNames"] = {"enum": sorted(METRICS)}
    for properties in (schemas["model"]["properties"], parts["Input"]["properties"]):
        properties["name"]["pattern"] = f"^{MODEL_NAME.pattern}$"
    return schemas


def _parse(model: type[M], document: Document) -> M:
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        schema = model.model_json_schema(by_alias=True)
        problems = [_problem(document, schema, e) for e in error.errors(include_url=False)]
    raise ContractInvalid(document.path, problems)


def _problem(document: Document, schema: dict[str, Any], error: ErrorDetails) -> str:
    place = _in_document(document.value, error["loc"])
    what = _message(schema, error)
    if not place:  # a rule over the whole file: its message starts with the part it is about
        place = _mentioned(document, what)
        what = what.removeprefix(f"{place[-1]}: ") if place else what
    return document.problem(place, what)


def _in_document(value: Any, loc: tuple[int | str, ...]) -> Place:
    """Pydantic's location without the steps that are not in the file (tags of unions, `[key]`)."""
    place: Place = ()
    for step in loc:
        inside = isinstance(value, dict) and step in value
        if inside or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            place, value = (*place, step), value[step]
        elif step == loc[-1] and step != "[key]" and isinstance(value, dict):
            place = (*place, step)  # a key that is missing: the line is its parent's
    return place


def _mentioned(document: Document, message: str) -> Place:
    for word in re.findall(r"[a-z][a-z0-9_]*", message):
        for place in (("kpis", word), ("service_levels", word), (word,)):
            if place in document.lines:
                return place
    return ()


def _message(schema: dict[str, Any], error: ErrorDetails) -> str:
    kind, loc, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(_allowed(schema, loc[:-1]), str(loc[-1]))
    if kind == "literal_error":
        return f"'{error['input']}' is not allowed; write {context['expected']}"
    if kind == "union_tag_invalid":
        return f"kind '{context['tag']}' is unknown; write one of {context['expected_tags']}"
    if kind == "value_error":
        return str(context["error"])
    said = error["msg"][:1].lower() + error["msg"][1:]
    return PLAIN.get(kind, said)


def _unknown_key(allowed: list[str], key: str) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f"write '{close[0]}'" if close else f"write one of {', '.join(allowed)}"
    return f"this key is unknown; {hint}, or remove it"


def _allowed(schema: dict[str, Any], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that JSON Schema `schema` allows at `loc`."""
    part = schema
    for step in loc:
        part = _step(schema, part, step)
    return sorted(_resolve(schema, part).get("properties", {}))


def _resolve(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        return schema["$defs"][part["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
    return part


def _step(schema: dict[str, Any], part: dict[str, Any], step: int | str) -> dict[str, Any]:
    part = _resolve(schema, part)
    mapping = part.get("discriminator", {}).get("mapping", {})
    if step in mapping:
        return {"$ref": mapping[step]}
    if "anyOf" in part:  # an optional part: the alternative that is not null
        part = _resolve(schema, part["anyOf"][0])
        if step in part.get("discriminator", {}).get("mapping", {}):
            return {"$ref": part["discriminator"]["mapping"][step]}
    if isinstance(step, int):
        return part.get("items", {})  # type: ignore[no-any-return]
    found = part.get("properties", {}).get(step, part.get("additionalProperties", {}))
    return found if isinstance(found, dict) else {}
