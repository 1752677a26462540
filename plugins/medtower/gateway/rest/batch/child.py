"""The part of a batch job that handles whole files, in a process of its own: `python -m medtower.gateway.rest.batch.child`.

What a caller uploaded is decoded by large libraries, may be made to exhaust them, and takes seconds of processor. So it happens where there is no key, no
connection and no live request, with limits on memory, time and the size of files. What it has to do is JSON on stdin; stdout is JSON again.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from medtower import atomic_file
from medtower.errors import FeatureInvalid
from medtower.gateway.rest.batch import csv_rows, parquet_rows, result_file
from medtower.gateway.rest.batch.columns import Columns, Format, Row

MEMORY, SECONDS, NICE = 640 << 20, 600, 10
LONGEST_ROW = 256 * 1024


class Task(BaseModel):
    """`read`: from the upload `source` the rows `target`. `write`: from the journal `source` the result `target`."""

    verb: Literal["read", "write"]
    source: Path
    target: Path
    format: Format
    columns: Columns | None = None
    most_rows: int = 0
    most_bytes: int


class Done(BaseModel):
    """`rows` that were written, or the `field` and `rule` that the whole file is refused by."""

    rows: int = 0
    field: str = ""
    rule: str = ""


def main() -> None:
    task = Task.model_validate_json(sys.stdin.buffer.read())
    _limited(task.most_bytes)
    try:
        done = Done(rows=(_read if task.verb == "read" else _write)(task))
    except FeatureInvalid as refused:
        done = Done(field=refused.field, rule=refused.rule)
    except MemoryError:
        done = Done(field="body", rule="needs too much memory to be read")
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        done = Done(field="body", rule=f"must not hold more than {task.most_bytes} bytes decompressed")
    sys.stdout.write(done.model_dump_json())


def _limited(most_bytes: int) -> None:
    os.nice(NICE)
    with suppress(OSError):  # where memory runs out, this process goes and not the gateway beside it
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(task: Task) -> int:
    """Rows as lines of JSON: the names of the columns first, then the cells of a row, or an object with the field and the rule that it is refused by."""
    count = -1
    with atomic_file.draft(task.target, mode=0o600) as draft, draft.open("wb") as file:
        for row in _source(task)():
            file.write(_line(row))
            count += 1
            if count > task.most_rows:
                raise FeatureInvalid("body", f"must not have more than {task.most_rows} rows")
    return count


def _source(task: Task) -> Callable[[], Iterator[Row]]:
    if task.columns is None:
        raise ValueError("to read a file, its columns must be known")
    columns = task.columns
    if task.format == "csv":
        return lambda: csv_rows.rows(task.source, columns)
    limits = {"most_rows": task.most_rows, "most_bytes": task.most_bytes}
    return lambda: parquet_rows.rows(task.source, columns, **limits)


def _line(row: Row) -> bytes:
    if not isinstance(row, FeatureInvalid):
        # as UTF-8, which is what a request's bytes are counted in; what was none is kept for the rule of its field to refuse
        line = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(line) <= LONGEST_ROW:
            return line + b"\n"
        row = FeatureInvalid("row", "is larger than 256 KiB")
    return json.dumps({"field": row.field, "rule": row.rule}).encode() + b"\n"


def _write(task: Task) -> int:
    with atomic_file.draft(task.target, mode=0o600) as draft:
        return result_file.write(task.source, draft, task.format)


if __name__ == "__main__":
    main()
