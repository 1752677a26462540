"""After a deployment: does the version that should serve answer as it was signed?"""

from __future__ import annotations

from medtower.serving import golden
from medtower.workflows.tower import Tower


def smoke(tower: Tower, name: str) -> str:
    """Ask Triton for the released version's golden rows and compare; one sentence. Raises ModelMisbehaved, Unavailable."""
    with tower.model(name) as model:
        version = model.release.version
        if version is None:
            return f"{name}: no model is released ({model.release.reason})"
        path = model.folder / "dossiers" / str(version) / "golden.json"
        signed = golden.Golden.model_validate_json(path.read_text())
        answers = tower.triton.infer(name, version, signed.rows)
        golden.check(signed.expected, answers, signed.tolerance, model=name, version=version)
        return f"{name} {version} answers {len(answers)} golden rows as signed"
