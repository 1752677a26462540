"""YAML that remembers the line of every key, and refuses what YAML would quietly accept: duplicate keys and aliases."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medtower.errors import ContractInvalid, NotFound

Place = tuple[str | int, ...]
DEEPEST = 16
DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class Document:
    """`value` is the file as plain Python; `lines` maps a place such as `("inputs", 3, "unit")` to its line, counted from 1."""

    path: Path
    value: dict[str, Any]
    lines: dict[Place, int] = field(repr=False)

    def line(self, place: Place) -> int:
        """The line of `place`, or of the nearest thing around it that is in the file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def problem(self, place: Place, what: str) -> str:
        """One finished line of an error: `model.yaml:17: inputs[3].unit: what`."""
        dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
        return f"{self.path.name}:{self.line(place)}: {dotted + ': ' if dotted else ''}{what}"


def load(path: Path, hint: str = "") -> Document:
    """Read a YAML mapping. Raises NotFound when the file is missing, ContractInvalid when it is not YAML, not a mapping, or ambiguous."""
    if not path.is_file():
        raise NotFound(path.name, str(path.parent), hint)
    try:
        text = path.read_text(encoding="utf-8")
        _check_shape(path, text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        reader = _Reader(path, loader)
        value = reader.read(node, ()) if node is not None else None
    except UnicodeDecodeError:
        raise ContractInvalid(path, [f"{path.name}:1: is not UTF-8 text; save it as UTF-8"]) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ContractInvalid(path, [f"{path.name}:{line}: is not YAML: {error.problem}"]) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # "\\UFFFFFFFF" is a ValueError of chr()
        raise ContractInvalid(path, [f"{path.name}:1: holds a character that YAML does not allow"]) from None
    if not isinstance(value, dict):
        raise ContractInvalid(path, [f"{path.name}:1: must be a mapping `key: value`"])
    if reader.problems:
        raise ContractInvalid(path, reader.problems)
    return Document(path, value, reader.lines)


def _check_shape(path: Path, text: str) -> None:
    """Event by event, before anything is built: building is recursive, and a tag may name a constructor that fails in any way."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        what = "a tag (`!…`) is not allowed; write the plain value" if getattr(event, "tag", None) else ""
        if depth > DEEPEST:
            what = "is nested too deeply; close the brackets"
        if what:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise ContractInvalid(path, [f"{path.name}:{line}: {what}"])


class _Reader:
    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self.path, self.loader = path, loader
        self.lines: dict[Place, int] = {}
        self.problems: list[str] = []
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if id(node) in self._seen:  # an alias: nested ones grow exponentially, and a reviewer must see values
            self._complain(node, "an alias (`*name`) is not allowed here; write the value out")
            return None
        self._seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*place, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, "a key must be one word")
                continue
            key = self._scalar(key_node)
            if key in found:
                first = self.lines[(*place, key)]
                self._complain(key_node, f"the key '{key}' stands here and on line {first}; keep one")
                continue
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            found[key] = self.read(child, (*place, key))
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError):  # 2026-13-45 looks like a date to YAML
            self._complain(node, "looks like a date or number and is none; put it in quotes")
            return None
        if type(value) is int and not DECIMAL.fullmatch(node.value):  # to YAML, 12:30 is 750 and 010 is 8
            self._complain(
                node, f"is read as the number {value}; write it in decimal digits, or put it in quotes"
            )
        return value

    def _complain(self, node: yaml.Node, what: str) -> None:
        self.problems.append(f"{self.path.name}:{node.start_mark.line + 1}: {what}")
