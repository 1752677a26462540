"""YAML from hands that nobody has checked yet: plain values only, bounded, and every way to be wrong is one error.

`yaml.safe_load` is safe from code, but not from what a pusher may write: dates that are none, integers of thousands of digits, nesting
that exhausts the stack, aliases that grow exponentially, a key twice of which reviewers see one. libyaml parses: one promotion reads some
thirty documents, and PyYAML's own parser takes sixteen times as long for a contract.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

LARGEST_BYTES = 1 << 20
DEEPEST = 16
MOST_NODES = 100_000  # a contract of 4,096 inputs fits; a MiB of `[],` has 350,000
KINDS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")


class NotPlain(ValueError):
    """`str(error)` is why, without the document's own words."""


def load(content: bytes, *, largest: int = LARGEST_BYTES) -> Any:
    """The value of `content`: mappings, lists, text, numbers, true/false and null. Raises NotPlain and nothing else."""
    if len(content) > largest:
        raise NotPlain(f"is larger than {largest} bytes")
    try:
        text = content.decode()
        _check_shape(text)
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        return None if node is None else _value(loader, node)
    except NotPlain:
        raise
    except UnicodeDecodeError:
        raise NotPlain("is not UTF-8 text") from None
    except Exception:  # PyYAML leaks IndexError, KeyError, AttributeError… for words it half understands
        raise NotPlain("is not YAML") from None


def _check_shape(text: str) -> None:
    """Event by event, before anything is built: how many nodes, how deep, aliases and tags."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise NotPlain("has an anchor or an alias")
        if getattr(event, "tag", None):
            raise NotPlain("has a tag (`!…`)")
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > MOST_NODES:
            raise NotPlain(f"has more than {MOST_NODES} values")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise NotPlain("is nested too deeply")


def _value(loader: yaml.CSafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if node.tag not in KINDS:
        raise NotPlain("has a value that looks like a date or another special form; put it in quotes")
    if node.tag.endswith(":int") and not INTEGER.fullmatch(node.value):
        raise NotPlain("has a whole number that is not written in at most 19 decimal digits")
    return loader.construct_object(node)


def _mapping(loader: yaml.CSafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, child in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise NotPlain("has a key that is not one word")
        key = _value(loader, key_node)
        if key in found:
            raise NotPlain("has a key twice")
        found[key] = _value(loader, child)
    return found
