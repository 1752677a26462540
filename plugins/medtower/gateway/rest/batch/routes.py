"""Batch jobs: a file of rows in, a file of predictions out, each row on record like any other request."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import FileResponse, Response

from medtower.domain.access import Caller
from medtower.errors import Conflict, DiskFull, Forbidden, NotFound, RateLimited, Unavailable
from medtower.gateway.access.caller import may, must
from medtower.gateway.rest.batch.answers import BatchJob
from medtower.gateway.rest.batch.job import Folder, Job, Jobs
from medtower.gateway.rest.batch.runner import Runner
from medtower.gateway.rest.batch.upload import FORMATS, format_of, receive_into
from medtower.gateway.rest.refusals import refusals
from medtower.settings import Settings

OPEN_OF_A_CALLER, COMING, RETRY_SECONDS = 4, 4, 30.0
ROOM = 8  # times the largest upload: that much must be free, for the job's files and the durable record of everybody else
MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "one column `subject_id`, one for each input by its name, and `event_time` where there is one",
        "content": dict.fromkeys(FORMATS, BINARY),
    }
}


def api(settings: Settings) -> APIRouter:
    """The paths, and what works through the jobs for as long as the application runs."""

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        jobs = await asyncio.to_thread(Jobs, settings.path("batch"), settings.batch_days)
        app.state.batch = Runner(app.state.parts, jobs, settings)
        task = asyncio.create_task(app.state.batch.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    router = APIRouter(
        prefix="/api/v1/ml/batch", tags=["batch"], dependencies=[may("batch")], lifespan=working,
    )  # fmt: skip

    @router.post(
        "",
        summary="Ask a model about every row of a CSV or Parquet file",
        status_code=202,
        openapi_extra=BODY,
        responses=refusals(404, 408, 413, 415, 422, 503),
    )
    async def post_batch(request: Request, model: Annotated[str, Query(max_length=63)]) -> BatchJob:
        """The job is on the disk when this answers; whether its rows can be read shows in its state. A bad row gets an error in the result, the others go on."""
        runner, caller = _runner(request), must(request.scope, "batch", model)
        route = request.app.state.parts.routing.route(model)
        request.state.seen.model = route.model
        if not route.arms:
            raise Unavailable(route.model, route.reason)
        jobs = runner.jobs
        mine = sum(job.caller == caller.id for job in jobs.open()) + jobs.coming[caller.id]
        if mine >= OPEN_OF_A_CALLER or jobs.coming.total() >= COMING:
            raise RateLimited(RETRY_SECONDS)
        if (free := jobs.free()) < ROOM * settings.batch_bytes:
            raise DiskFull("the folder of batch jobs", ROOM * settings.batch_bytes >> 20, free >> 20)
        job = Job(
            id=uuid.uuid4().hex, model=route.model, format=format_of(request.scope), caller=caller.id, submitted_at=datetime.now(UTC)
        )  # fmt: skip
        await _taken_in(jobs, job, request, settings.batch_bytes)
        runner.wake()
        return _shown(runner, job)

    @router.get("/{id}", summary="How far a job is", responses=refusals(404))
    async def get_batch(id: str, request: Request) -> BatchJob:
        runner, job = _mine(request, id)
        return _shown(runner, job)

    @router.delete("/{id}", summary="Cancel a job, or delete its result", responses=refusals(404))
    async def delete_batch(id: str, request: Request) -> BatchJob:
        """Its files are deleted. What was answered of it stays on record."""
        runner, job = _mine(request, id)
        job.end("cancelled" if job.is_open or job.state == "cancelled" else "deleted", job.problem)
        await asyncio.to_thread(runner.jobs.settle, job)
        runner.wake()
        return _shown(runner, job)

    @router.get(
        "/{id}/result",
        summary="The result, as a file of the kind that was sent",
        response_class=Response,
        responses=refusals(404, 409)
        | {
            200: {
                "content": dict.fromkeys(MEDIA.values(), BINARY),
                "description": "a row for each row, in their order",
            }
        },
    )
    async def get_result(id: str, request: Request) -> Response:
        runner, job = _mine(request, id)
        if job.state != "done":
            raise Conflict(f"the batch job is {job.state}; there is a result when it is done")
        return FileResponse(
            runner.jobs.folder(job).result, media_type=MEDIA[job.format], filename=f"{job.id}.{job.format}"
        )

    return router


def _runner(request: Request) -> Runner:
    runner: Runner = request.app.state.batch
    return runner


def _mine(request: Request, identity: str) -> tuple[Runner, Job]:
    """The job when it is the caller's, or the caller an administrator. Raises NotFound, also for the job of somebody else."""
    runner, caller = _runner(request), must(request.scope, "batch")
    job = runner.jobs.get(identity)
    if job is None or not (caller.sees(job.model) and (job.caller == caller.id or _operates(caller))):
        raise NotFound("the batch job", "the jobs of this caller", "POST /api/v1/ml/batch starts one")
    return runner, job


def _operates(caller: Caller) -> bool:
    try:
        caller.must("operate")
    except Forbidden:
        return False
    return True


async def _taken_in(jobs: Jobs, job: Job, request: Request, most: int) -> None:
    draft: Folder = jobs.draft()
    jobs.coming[job.caller] += 1
    try:
        await receive_into(draft.upload, request.scope, request.receive, most)
        await asyncio.to_thread(jobs.add, draft, job)
    except OSError:
        raise Unavailable("the folder of batch jobs", "it cannot be written") from None
    finally:
        jobs.coming[job.caller] -= 1
        if draft.path.exists():
            await asyncio.to_thread(shutil.rmtree, draft.path, ignore_errors=True)


def _shown(runner: Runner, job: Job) -> BatchJob:
    rate = runner.rate.get(job.id) if job.is_open else None
    left = None if job.rows is None else job.rows - job.done
    return BatchJob(
        **job.model_dump(exclude={"caller"}),
        expires_at=runner.jobs.expires(job),
        rows_per_second=rate,
        eta_seconds=left / rate if rate and left is not None else None,
        waiting_for=runner.held.get(job.id) if job.is_open else None,
    )
