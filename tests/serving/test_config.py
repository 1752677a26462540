from __future__ import annotations

from tests.fixtures.releases import contract

from medtower.serving import config


def test_the_committed_form_has_no_version_policy_and_names_the_width() -> None:
    text = config.render(contract("sum_model", inputs=5))
    assert "version_policy" not in text
    assert 'name: "sum_model"' in text and "KIND_AUTO" in text and "dynamic_batching { }" in text
    assert config.width(text) == 5


def test_the_reconcilers_form_is_the_committed_one_and_a_sorted_policy() -> None:
    committed = config.render(contract("sum_model"))
    assert config.render(contract("sum_model"), versions=[7, 2, 7]) == (
        committed + "version_policy: { specific { versions: [ 2, 7 ] } }\n"
    )


def test_a_text_without_the_tensor_has_no_width() -> None:
    assert config.width("name: 'x'") is None
