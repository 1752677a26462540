"""A batch job and the folder that it lives in: everything of it is there, so that a process that is killed takes up where it was."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from medtower import atomic_file
from medtower.gateway.rest.batch.columns import Format

ID = re.compile(r"[0-9a-f]{32}")
State = Literal["waiting", "running", "done", "failed", "cancelled", "deleted"]
OPEN: frozenset[State] = frozenset({"waiting", "running"})


class Job(BaseModel):
    """`rows` is None until the file was read. `done` counts the rows with a result, `failed` those of them that have an error instead of a prediction, by
    what it says. `problem` is why the whole job failed."""

    id: str
    model: str
    format: Format
    caller: str
    submitted_at: datetime
    state: State = "waiting"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    rows: int | None = None
    done: int = 0
    failed: dict[str, int] = {}
    problem: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def end(self, state: State, problem: str | None = None) -> None:
        """It is at its end; `Jobs.settle` has the disk know."""
        self.state, self.problem, self.ended_at = state, problem, self.ended_at or datetime.now(UTC)


class Folder:
    """The files of one job, mode 600 in a folder of mode 700: `upload`, its `rows`, the `journal` of what came of them, the `result`, and `job.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.upload, self.rows, self.journal, self.result = (
            path / name for name in ("upload", "rows", "journal", "result")
        )

    def save(self, job: Job) -> None:
        atomic_file.write(self.path / "job.json", job.model_dump_json(), mode=0o600)

    def read(self) -> Job | None:
        """The job; None when it cannot be read."""
        try:
            return Job.model_validate_json((self.path / "job.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def tidy(self, job: Job) -> None:
        """Delete what a job that has ended does not need: the patients' data first of all."""
        kept = {"job.json"} | ({"result"} if job.state == "done" else set())
        for file in self.path.iterdir():
            if file.name not in kept:
                file.unlink(missing_ok=True)


class Jobs:
    """The jobs under `root`, which is made when it is missing. In memory with what a poll needs, on the disk with all the rest. `coming` are uploads on their way,
    by caller."""

    def __init__(self, root: Path, days: float) -> None:
        self._root, self._kept = root, timedelta(days=days)
        self._jobs: dict[str, Job] = {}
        self._settling = threading.Lock()
        self.coming: Counter[str] = Counter()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        for path in sorted(root.iterdir()):
            self._load(path)

    def _load(self, path: Path) -> None:
        if path.name.startswith("."):  # an upload that did not come to its end
            shutil.rmtree(path, ignore_errors=True)
        elif ID.fullmatch(path.name) and (job := Folder(path).read()):
            self._jobs[job.id] = job
            if not job.is_open:
                Folder(path).tidy(job)

    def folder(self, job: Job) -> Folder:
        return Folder(self._root / job.id)

    def draft(self) -> Folder:
        """A new folder for an upload on its way. It becomes a job's by `add`; whoever made it removes it otherwise."""
        path = self._root / f".{secrets.token_hex(16)}"
        path.mkdir(mode=0o700)
        return Folder(path)

    def add(self, draft: Folder, job: Job) -> None:
        """Take in a job whose upload is in `draft`. It is on the disk when this returns."""
        draft.save(job)
        atomic_file.sync(draft.upload)
        draft.path.rename(self._root / job.id)
        atomic_file.sync(self._root)
        self._jobs[job.id] = job

    def get(self, identity: str) -> Job | None:
        return self._jobs.get(identity)

    def open(self) -> list[Job]:
        """The jobs that are not at their end, those that came first before the others."""
        return sorted(
            (job for job in list(self._jobs.values()) if job.is_open), key=lambda job: job.submitted_at
        )

    def settle(self, job: Job) -> None:
        """Have the disk know how the job stands; when it has ended, its files go as well. For a thread: deleting large files takes a while."""
        with self._settling:
            self.folder(job).save(job)
            if not job.is_open:
                self.folder(job).tidy(job)

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self._root).free

    def expires(self, job: Job) -> datetime:
        return job.submitted_at + self._kept

    def forget(self, now: datetime) -> list[Job]:
        """Forget the jobs whose time is over, and return them for `remove`. A job that is still open is kept until it ends."""
        over = [job for job in list(self._jobs.values()) if not job.is_open and self.expires(job) <= now]
        for job in over:
            del self._jobs[job.id]
        return over

    def remove(self, job: Job) -> None:
        shutil.rmtree(self.folder(job).path, ignore_errors=True)
