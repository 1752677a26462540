"""After a deployment: does the version that should serve answer as it was signed?"""

from __future__ import annotations

from medtower.adapters.git import MAIN
from medtower.errors import NotFound
from medtower.serving import golden
from medtower.workflows import model_tree
from medtower.workflows.tower import Tower

GOLDEN = "golden.json"


def smoke(tower: Tower, name: str) -> str:
    """Ask Triton for the released version's golden rows and compare; one sentence. Raises ModelMisbehaved, Unavailable."""
    with tower.model(name) as model:
        release = model.release
    if release.version is None:
        return f"{name}: no model is released ({release.reason})"
    return (
        f"{name} {release.version} answers {check_golden(tower, name, release.version)} golden rows as signed"
    )


def check_golden(tower: Tower, name: str, version: int) -> int:
    """The number of golden rows that Triton's `version` answers as main has them signed. Raises ModelMisbehaved, NotFound, Unavailable."""
    place = model_tree.path(name, "dossiers", str(version), GOLDEN)
    content = tower.repository.read(MAIN, place)
    if content is None:
        raise NotFound(place, MAIN)
    signed = golden.Golden.model_validate_json(content)
    answers = tower.triton.infer(name, version, signed.rows)
    golden.check(signed.expected, answers, signed.tolerance, model=name, version=version)
    return len(answers)
