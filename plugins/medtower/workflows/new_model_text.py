"""The texts that `medtower new-model` fills in."""

from __future__ import annotations

from medtower.releases import kustomization

MODEL = """\
# yaml-language-server: $schema=../../docs/schemas/model.schema.json
# The contract: what this model promises. Check it with: medtower check-contract triton_models/{name}
schema: medtower/contract/v1
name: {name}
title: {title}
task: {task}
# read by clinicians and by everyone who approves a version
intended_use: Documentation of {title} for the team that owns this model.
out_of_scope:
  - any decision about one patient's treatment
owner: owner@example.org

# the order of the inputs is the order of the tensor's columns. `unit` is a UCUM code; a request outside `range` is refused.
# `missing: impute` lets the model see a gap, `refuse` makes it an error
inputs:
{inputs}
output:
  name: prediction
  unit: {output_unit}
  description: what the model answers
{output_extra}
# populations by which fairness is reported: levels of a category, or bands of a number
#   - {{name: age_band, input: age, edges: [50, 65, 80]}}
populations: []

# set these a little worse than the first validation's interval; a breach needs the whole interval beyond the bound
{kpis}
service_levels:
  latency_p95: {{target: 300, warning: 400, critical: 500}}
  latency_p99: {{target: 500, warning: 650, critical: 800}}
  error_rate: {{target: 0.005, warning: 0.01, critical: 0.02}}
  throughput: {{target: 100, warning: 80, critical: 50}}
  model_load: {{target: 5, warning: 8, critical: 12}}

gates:
  primary: {primary}

# `mlp`, `logistic` (classification), `linear` (regression), or a function of yours: package.module:function
training:
  trainer: mlp

# every role must sign a version before it may serve
approvals: [technical, clinical, compliance, final]
clinical_priority: routine
"""

KPIS = {
    "classification": """\
kpis:
  auc_roc: {target: 0.75, warning: 0.70, critical: 0.65}
  sensitivity: {target: 0.65, warning: 0.60, critical: 0.55}
  specificity: {target: 0.65, warning: 0.60, critical: 0.55}
""",
    "regression": """\
kpis:
  r2: {target: 0.50, warning: 0.40, critical: 0.30}
""",
}

COHORT = """\
# yaml-language-server: $schema=../../docs/schemas/cohort.schema.json
schema: medtower/cohort/v1
title: {title}
# a table with patients stays outside git: the path is absolute, or use `kind: sql` with `query:` and `dsn_env:`
source:
  kind: {kind}
  path: {path}
{columns}# 0 or 1 for a classification, a number for a regression; or `kind: survival` with follow_up, event and horizon_days
label:
  kind: column
  column: {outcome}
{subject}{time}rehearsal:
  per_day: 40
  label_delay_days: 5
"""

EXAMPLE_COHORT = """\
# yaml-language-server: $schema=../../docs/schemas/cohort.schema.json
# An example that trains at once. Your own: `kind: parquet` or `csv` with `path:`, or `sql` with `query:` and `dsn_env:`; then
# `label:`, `time:` and `subject:` name columns. See docs/guides/your-own-model.md
schema: medtower/cohort/v1
title: Synthetic example
source:
  kind: synthetic
  size: 2000
  seed: 1
  inputs:
    age: {{family: normal, parameters: [62, 12]}}
    sex: {{family: category, parameters: [0.5, 0.5]}}
    biomarker: {{family: lognormal, parameters: [2.0, 0.5], missing_rate: 0.1}}
  correlations:
    - [age, biomarker, 0.3]
  coefficients:
    age: 0.8
    biomarker: 1.5
  signal: 1.5
{noise}rehearsal:
  per_day: 40
  label_delay_days: 5
"""

RELEASE = """\
model: {name}
version: null
replaces: null
digest: null
reason: no version released yet
"""

KUSTOMIZATION = kustomization.text("{name}", "{suffix}")
