"""The texts that `medtower init-repo` writes. `@NAME@` is filled in; `${{ … }}` belongs to the forge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from medtower.adapters.forge.pull_request import CHECK, EVENT, WORKFLOW, run_title
from medtower.domain.contract import Role

Owners = Mapping[Role, Sequence[str]]

# (path, roles): the last pattern that fits decides on GitHub, every pattern that fits asks for a review on Gitea. A pull request
# that promotes touches one approval of each role, and so asks each role's owners
OWNED: list[tuple[str, tuple[Role, ...]]] = [
    ("/", ("technical",)),
    ("/triton_models/*/", ("technical",)),
    ("/triton_models/*/model.yaml", ("technical", "clinical")),
    ("/triton_models/*/release.yaml", ("final",)),
    ("/triton_models/*/traffic.yaml", ("final",)),
    ("/triton_models/*/traffic.sig", ("final",)),
    ("/triton_models/*/dossiers/*/approvals/technical.*", ("technical",)),
    ("/triton_models/*/dossiers/*/approvals/clinical.*", ("clinical",)),
    ("/triton_models/*/dossiers/*/approvals/compliance.*", ("compliance",)),
    ("/triton_models/*/dossiers/*/approvals/final.*", ("final",)),
    ("/argocd/", ("technical",)),
    ("/trust/", ("compliance", "final")),
    ("/.github/", ("compliance",)),
    ("/.gitea/", ("compliance",)),
]

JOB = """\
name: @WORKFLOW@
run-name: "@TITLE@"
# Required before a merge. On @EVENT@ this file and the code that judges are those of main: a pull request cannot change its own
# judge. What it proposes is fetched and read, and never run. (Gitea reports this event's check by name since 1.23.)
on:
  @EVENT@:
    branches: [main]
  # what the rollout bot pushes to main (a step, a rollback) passes here before. A push runs the file of the commit that is pushed, and so
  # convinces nobody but its pusher: `medtower merge` does not count it
  push:
    branches: ["rollout/**", "rollback/**"]
permissions:
  contents: read
concurrency:
  group: @WORKFLOW@-${{ github.event.pull_request.number || github.ref }}
  cancel-in-progress: true
jobs:
  check:
    name: @CHECK@
    runs-on: @RUNNER@
    timeout-minutes: 20
    steps:
      - name: Check out the base, with its history
        uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683  # v4.2.2
        with:
          ref: ${{ github.event.pull_request.base.sha || 'main' }}
          fetch-depth: 0
          persist-credentials: true
      - name: Fetch what is proposed, without running any of it
        env:
          NUMBER: ${{ github.event.pull_request.number }}
          PUSHED: ${{ github.sha }}
        run: |
          if [ -n "$NUMBER" ]; then git fetch --no-tags origin "+refs/pull/$NUMBER/head:refs/medtower/proposed"
          else git fetch --no-tags origin "+$PUSHED:refs/medtower/proposed"; fi
      - name: Set up Python
        uses: actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065  # v5.6.0
        with:
          python-version: "3.11"
      - name: Install Medtower from the base's own lock
        run: |
          python -m pip install --quiet --no-deps --require-hashes --requirement medtower.lock
          python -m pip install --quiet --no-deps .
      - name: Check the release policy
        env:
          NUMBER: ${{ github.event.pull_request.number }}
          BASE: ${{ github.event.pull_request.base.sha || 'origin/main' }}
          MEDTOWER_ENVIRONMENT: "@ENVIRONMENT@"
          MEDTOWER_APPROVAL_ROLES: '@ROLES@'
        run: |
          # a pull request is merged as one commit; what the bot pushes is pushed as it is
          if [ -n "$NUMBER" ]; then medtower check --base "$BASE" --head refs/medtower/proposed
          else medtower check --base "$BASE" --head refs/medtower/proposed --history; fi
"""

TEMPLATE = """\
<!-- A promotion's pull request is opened by `medtower propose MODEL VERSION`, which puts the approval page here. For every other change: -->
## What changes, and why


## Before it is merged

### Technical

- [ ] The tests pass, and a reader finds what changed where its name says.
- [ ] Inputs, units and ranges of every contract are unchanged, or the senders change with them.

### Clinical

- [ ] No contract's intended use, populations or thresholds change, or a clinician agreed to it here.
- [ ] What follows when the model is wrong has been thought through.

### Compliance

- [ ] Nothing here identifies a person, and no secret is in it.
- [ ] The trust root is untouched, or this changes nothing else and is signed as a change of its own.

### Final

- [ ] The other reviews are there and are about the last commit.
- [ ] The way back is clear: one `git revert` of the merge.
"""


def workflow(runner: str, environment: str, required: Sequence[Role]) -> str:
    """The required check, on a runner of that label, for the environment that approvals must name and the quorum asked for there."""
    filled = {
        "@WORKFLOW@": WORKFLOW,
        "@CHECK@": CHECK,
        "@EVENT@": EVENT,
        "@TITLE@": run_title("${{ github.event.pull_request.head.sha || github.sha }}"),
        "@RUNNER@": runner,
        "@ENVIRONMENT@": environment,
        "@ROLES@": json.dumps(list(required)),
    }
    text = JOB
    for mark, value in filled.items():
        text = text.replace(mark, value)
    return text


def code_owners(owners: Owners, *, regular_expressions: bool) -> str:
    """CODEOWNERS by role; Gitea's patterns are regular expressions, GitHub's those of gitignore."""
    lines = [
        "# Who reviews what, by role. Written by: medtower init-repo. What lets a version serve are the signatures, not these reviews.\n"
    ]
    for path, roles in OWNED:
        pattern = _expression(path) if regular_expressions else ("*" if path == "/" else path)
        people = dict.fromkeys(p for role in roles for p in owners[role])
        lines.append(f"{pattern} {' '.join(people)}\n")
    return "".join(lines)


def _expression(path: str) -> str:
    """A gitignore pattern as the Go regular expression that Gitea matches a whole path with."""
    escaped = path.removeprefix("/").replace(".", "[.]").replace("*", "[^/]*")
    return escaped + ".*" if path.endswith("/") else escaped
