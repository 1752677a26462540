"""One row of a job: asked as one request is, under the request id `<job>.<row>`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from medtower.errors import FeatureInvalid
from medtower.gateway.answering.case import Ask, Case, case_of
from medtower.gateway.answering.predict import copied, predict
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.rest.batch.columns import SUBJECT, TIME
from medtower.gateway.rest.batch.job import Job
from medtower.gateway.rest.batch.journal import Line
from medtower.gateway.rest.batch.result_file import FIELDS
from medtower.gateway.rest.body import instant, subject


async def asked(parts: Parts, job: Job, number: int, header: bytes, line: bytes) -> Line:
    """The journal's line for row `number` (the first is 1) of the rows file. Raises what `predict` raises, but FeatureInvalid."""
    try:
        case = _case(parts.subject_key, job, number, header, line)
        answered = await predict(parts, case, Seen(model=job.model, caller=job.caller))
    except FeatureInvalid as refused:
        return failed(job, number, str(refused))
    await copied(parts, answered)
    said = [name for name in FIELDS if name != "disclaimer" and hasattr(answered.answer, name)]
    return {"row": number} | {name: getattr(answered.answer, name) for name in said}


def failed(job: Job, number: int, error: str) -> Line:
    """The line for a row that has no prediction; `error` names a field and a rule, or what the model did, and never a value."""
    return {"row": number, "request_id": f"{job.id}.{number}", "model": job.model, "error": error}


def _case(key: bytes, job: Job, number: int, header: bytes, line: bytes) -> Case:
    now = datetime.now(UTC)
    cells = json.loads(line)
    if isinstance(cells, dict):
        raise FeatureInvalid(cells["field"], cells["rule"])
    features: dict[str, Any] = dict(zip(json.loads(header), cells, strict=True))
    patient, moment = subject(features.pop(SUBJECT)), features.pop(TIME, None)
    question = Ask(
        request_id=f"{job.id}.{number}",
        repeatable=True,
        subject_id=patient,
        features=features,
        event_time=job.submitted_at if moment is None else instant(moment, TIME, now),
    )
    # the row as it stands in the file: after a restart it is the same request again, with the same answer
    return case_of(key, job.model, question, header + line, now)
