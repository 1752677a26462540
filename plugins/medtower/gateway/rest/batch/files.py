"""Whole files of a job, handled in a process without any secret (`child.py`)."""

from __future__ import annotations

import subprocess
import sys

from medtower.errors import FeatureInvalid, Unavailable
from medtower.gateway.rest.batch.child import Done, Task
from medtower.gateway.rest.batch.columns import Columns
from medtower.gateway.rest.batch.job import Folder, Job
from medtower.settings import Settings

# libraries that would each start a thread a core, and reserve memory far beyond what they use
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
SECONDS = 900
DECOMPRESSED = 8  # times the largest upload
LARGEST_RESULT = 8 << 30


def read(folder: Folder, job: Job, columns: Columns, settings: Settings) -> int:
    """Make the rows file of the upload and return how many rows it has. Raises FeatureInvalid when the file is refused."""
    return _run(
        Task(
            verb="read",
            source=folder.upload,
            target=folder.rows,
            format=job.format,
            columns=columns,
            most_rows=settings.batch_rows,
            most_bytes=DECOMPRESSED * settings.batch_bytes,
        )
    )


def write(folder: Folder, job: Job) -> int:
    """Make the result of the journal, and return how many rows it has."""
    return _run(
        Task(
            verb="write",
            source=folder.journal,
            target=folder.result,
            format=job.format,
            most_bytes=LARGEST_RESULT,
        )
    )


def _run(task: Task) -> int:
    command = [sys.executable, "-I", "-m", "medtower.gateway.rest.batch.child"]
    try:
        ended = subprocess.run(
            command,
            input=task.model_dump_json().encode(),
            capture_output=True,
            env=ENVIRONMENT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FeatureInvalid("body", f"takes longer than {SECONDS} s to be read") from None
    if (
        ended.returncode < 0 and task.verb == "read"
    ):  # a limit of the system, or a fault in a decoder that the file has met
        raise FeatureInvalid("body", "cannot be read within the limits on memory and time")
    if ended.returncode:
        raise Unavailable("the batch job's files", f"their process ended with code {ended.returncode}")
    done = Done.model_validate_json(ended.stdout)
    if done.rule:
        raise FeatureInvalid(done.field, done.rule)
    return done.rows
