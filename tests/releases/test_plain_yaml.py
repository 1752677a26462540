"""YAML from hands that nobody has checked: what is too much is refused before it costs anything."""

from __future__ import annotations

import pytest
from tests.fixtures.releases import contract_text

from medtower.releases import plain_yaml
from medtower.releases.plain_yaml import MOST_NODES, NotPlain


@pytest.mark.untraced
@pytest.mark.parametrize("document", [b"[" + b"[]," * 340_000 + b"]", b"--- a\n" * MOST_NODES + b"--- a\n"])
def test_more_values_than_anybody_needs_are_refused(document: bytes) -> None:
    with pytest.raises(NotPlain, match=f"more than {MOST_NODES} values"):
        plain_yaml.load(document)


@pytest.mark.untraced
def test_a_contract_of_as_many_inputs_as_one_may_have_is_read() -> None:
    assert len(plain_yaml.load(contract_text("wide", 4096).encode())["inputs"]) == 4096
