"""Works through the jobs, one at a time and a few rows at once, behind the live requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path

from medtower.domain.contract import Contract
from medtower.errors import (
    Conflict,
    DeadlineExceeded,
    FeatureInvalid,
    MedtowerError,
    ModelMisbehaved,
    Unavailable,
)
from medtower.gateway.parts import Parts
from medtower.gateway.problems import UNFORESEEN
from medtower.gateway.rest.batch import files
from medtower.gateway.rest.batch.columns import columns_of
from medtower.gateway.rest.batch.job import Job, Jobs
from medtower.gateway.rest.batch.journal import Journal, Line
from medtower.gateway.rest.batch.row import asked, failed
from medtower.settings import Settings

log = logging.getLogger(__name__)
AT_ONCE, CHUNK = 8, 64
SHORT = 2  # live requests that wait for Triton: when there are more, rows wait
PATIENCE, LOOK = 1.0, 0.01
TRIES, FIRST_PAUSE, LONGEST_PAUSE = 4, 0.1, 30.0
REPORT_SECONDS = 10.0
IDLE_SECONDS = 600.0


class _Ended(Exception):
    """Somebody cancelled the job."""


class Runner:
    """`held` says what a job waits for when it cannot go on, `rate` how many rows of the running one come a second."""

    def __init__(self, parts: Parts, jobs: Jobs, settings: Settings) -> None:
        self._parts, self.jobs, self._settings = parts, jobs, settings
        self._woken = asyncio.Event()
        self.held: dict[str, str] = {}
        self.rate: dict[str, float] = {}
        self._halts: dict[str, int] = {}

    def wake(self) -> None:
        """There is a new job."""
        self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled; what is under way then goes on at the next start."""
        while True:
            self._woken.clear()
            for job in self.jobs.forget(datetime.now(UTC)):
                await asyncio.to_thread(self.jobs.remove, job)
                log.info(
                    "a batch job was deleted: its time is over", extra={"task": job.id, "model": job.model}
                )
            # a job that came to a halt stands behind the others
            waiting = sorted(self.jobs.open(), key=lambda job: self._halts.get(job.id, 0))
            if waiting and await self._one(waiting[0]):
                continue
            pause = _pause(max(self._halts.values(), default=0)) if waiting else IDLE_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)

    async def _one(self, job: Job) -> bool:
        """Whether the job has ended; else it came to a halt, because a part is down."""
        try:
            await self._work(job)
        except _Ended:
            await asyncio.to_thread(self.jobs.settle, job)
        except FeatureInvalid as refused:
            await self._end(job, str(refused))
        except Exception as error:  # the other jobs go on; a message that is not ours may hold a value, so only its kind is logged
            reason = str(error) if isinstance(error, MedtowerError) else type(error).__name__
            if job.is_open and isinstance(error, OSError | MedtowerError):
                return self._halted(job, reason)
            log.error("a batch job failed", extra={"task": job.id, "model": job.model, "reason": reason})
            await self._end(job, UNFORESEEN.message)
        finally:
            self.rate.pop(job.id, None)
        self.held.pop(job.id, None)
        self._halts.pop(job.id, None)
        return True

    def _halted(self, job: Job, reason: str) -> bool:
        self.held[job.id] = reason
        self._halts[job.id] = self._halts.get(job.id, 0) + 1
        extra = {"task": job.id, "model": job.model, "reason": reason}
        log.warning("a batch job waits for a part that is down", extra=extra)
        return False

    async def _end(self, job: Job, problem: str | None = None) -> None:
        if job.is_open:  # else it was cancelled a moment ago
            job.end("failed" if problem else "done", problem)
            _report(job)
        await asyncio.to_thread(self.jobs.settle, job)

    async def _work(self, job: Job) -> None:
        self._still(job)
        folder = self.jobs.folder(job)
        if job.state == "waiting":
            job.state, job.started_at = "running", datetime.now(UTC)
        if job.rows is None or not folder.rows.exists():
            columns = columns_of(self._contract(job))
            job.rows = await asyncio.to_thread(files.read, folder, job, columns, self._settings)
            await asyncio.to_thread(self.jobs.settle, job)
            folder.upload.unlink(missing_ok=True)  # one copy of the patients' data is enough
        with ExitStack() as stack:
            journal = Journal(folder.journal)
            stack.callback(journal.close)
            await asyncio.to_thread(journal.open)
            job.done, job.failed = journal.rows, journal.failed
            _report(job)
            await self._rows(job, folder.rows, journal)
        await asyncio.to_thread(files.write, folder, job)
        await self._end(job)

    def _contract(self, job: Job) -> Contract:
        route = self._parts.routing.route(job.model)
        if not route.arms:
            raise Unavailable(job.model, route.reason)
        return route.arms[0].contract

    async def _rows(self, job: Job, path: Path, journal: Journal) -> None:
        begun, start, reported = journal.rows, time.monotonic(), time.monotonic()
        with path.open("rb") as file:
            header = file.readline()
            rest = enumerate(islice(file, begun, None), start=begun + 1)
            while chunk := await asyncio.to_thread(_take, rest):
                lines: list[Line] = []
                for at in range(0, len(chunk), AT_ONCE):
                    lines += await self._group(job, header, chunk[at : at + AT_ONCE])
                await asyncio.to_thread(journal.append, lines)
                self.held.pop(job.id, None)
                self._halts.pop(job.id, None)
                job.done = journal.rows
                self.rate[job.id] = (journal.rows - begun) / max(time.monotonic() - start, 1e-9)
                if time.monotonic() - reported > REPORT_SECONDS:
                    reported = time.monotonic()
                    _report(job)

    async def _group(self, job: Job, header: bytes, group: list[tuple[int, bytes]]) -> list[Line]:
        self._still(job)
        await self._room()
        rows = (self._row(job, number, header, line) for number, line in group)
        found = await asyncio.gather(
            *rows, return_exceptions=True
        )  # none is left running when another raises
        for line in found:
            if isinstance(line, BaseException):
                raise line
        return [line for line in found if not isinstance(line, BaseException)]

    def _still(self, job: Job) -> None:
        """Raises when the job is not to go on: somebody cancelled it, or its time is over."""
        if not job.is_open:
            raise _Ended
        if self.jobs.expires(job) <= datetime.now(UTC):
            raise FeatureInvalid("job", f"was not done within {self._settings.batch_days:g} days")

    async def _room(self) -> None:
        """Return when few live requests wait, after a second at the latest: a job is slow under load, and does not stand still."""
        until = time.monotonic() + PATIENCE
        while self._parts.triton.batches.depth() > SHORT and time.monotonic() < until:
            await asyncio.sleep(LOOK)

    async def _row(self, job: Job, number: int, header: bytes, line: bytes) -> Line:
        """The row's line. A part that is down is waited for; what only this row meets becomes its error. Raises what it still meets after `TRIES`."""
        for attempt in count(1):
            try:
                return await asked(self._parts, job, number, header, line)
            except (ModelMisbehaved, Conflict) as error:
                return failed(job, number, str(error))
            except MedtowerError as error:
                if attempt < TRIES:
                    self.held[job.id] = str(error)
                elif isinstance(error, DeadlineExceeded):
                    return failed(job, number, str(error))
                else:
                    raise
            await asyncio.sleep(_pause(attempt))
            self._still(job)
        raise AssertionError("it counts without end")


def _take(rest: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return list(islice(rest, CHUNK))


def _pause(attempt: int) -> float:
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 20))


def _report(job: Job) -> None:
    extra = {"task": job.id, "model": job.model, "status": job.state, "count": job.done, "n": job.rows}
    log.info("batch job", extra=extra)
