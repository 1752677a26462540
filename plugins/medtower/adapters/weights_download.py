"""Weights from MLflow's artifact store over HTTP: gone on with where a broken download stopped, hashed on the way, from this one server only."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from medtower import atomic_file
from medtower.errors import DigestMismatch, NotFound, Refused, Unavailable

log = logging.getLogger(__name__)
PART = "MLflow"
CHUNK = 1 << 18
NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
SOURCE = re.compile(rf"mlflow-artifacts:(?://[A-Za-z0-9._:-]+)?/(?P<path>{NAME}(?:/{NAME})*)")
SAY_SECONDS = 5.0
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
Advance = Callable[[int], None]


class Artifacts:
    """The artifact store behind the MLflow server at `uri`. `timeout` in seconds for a connection and for each read."""

    def __init__(self, uri: str, *, timeout: float = 20.0) -> None:
        self._base, self._timeout = uri.rstrip("/"), timeout

    def read(self, source: str, largest: int) -> bytes:
        """A small file. Raises NotFound, Refused for a source that is not allowed or more than `largest` bytes, Unavailable."""
        content = bytearray()
        with self._open(source, 0) as answer:
            for chunk in answer.iter_bytes(CHUNK):
                content += chunk
                if len(content) > largest:
                    raise Refused("source", f"{_shown(source)} has more than {largest} bytes")
        return bytes(content)

    def download(self, source: str, to: Path, *, size: int, sha256: str, label: str) -> None:
        """Complete the file `to`, of which a first part may be there, and have the disk keep it. It has `size` bytes with that `sha256`.

        Raises Unavailable with the part kept for the next time; DigestMismatch (also where there are more bytes) with the file removed; NotFound;
        Refused for a source that is not one of MLflow's own artifact store. `label` names it in progress.
        """
        digest, there = hashlib.sha256(), 0
        if to.exists() and to.stat().st_size <= size:
            there = to.stat().st_size
            with to.open("rb") as part:
                while chunk := part.read(CHUNK):
                    digest.update(chunk)
        if there < size or not to.exists():
            digest = self._rest(source, to, there, digest, size, label)
        if digest.hexdigest() != sha256 or to.stat().st_size != size:
            to.unlink()
            raise DigestMismatch(f"{label} as fetched", sha256, digest.hexdigest())
        atomic_file.sync(to)

    def _rest(
        self, source: str, to: Path, there: int, digest: hashlib._Hash, size: int, label: str
    ) -> hashlib._Hash:
        with self._open(source, there) as answer, _progress(label, size) as advance:
            start = _start(answer)
            if start != there:  # the server does not go on in the middle: from the beginning
                there, digest = 0, hashlib.sha256()
            advance(there)
            with to.open("r+b" if there else "wb") as stream:
                stream.seek(there)
                stream.truncate()
                for chunk in answer.iter_raw(CHUNK):
                    stream.write(chunk)
                    digest.update(chunk)
                    there += len(chunk)
                    advance(len(chunk))
                    if there > size:
                        break
        return digest

    @contextmanager
    def _open(self, source: str, start: int) -> Iterator[httpx.Response]:
        url = f"{self._base}/api/2.0/mlflow-artifacts/artifacts/{_path(source)}"
        # identity: what is counted and hashed are the file's own bytes
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with (
                httpx.Client(timeout=self._timeout, trust_env=False) as http,
                http.stream("GET", url, headers=headers) as answer,
            ):
                if answer.status_code == 404:
                    raise NotFound("the artifact", "MLflow", "the run, the version or its file was removed")
                if answer.status_code not in (200, 206):
                    raise Unavailable(PART, f"it answered {answer.status_code} for an artifact")
                yield answer
        except httpx.HTTPError as error:
            raise Unavailable(
                PART, f"the download broke off ({type(error).__name__}); it is gone on with"
            ) from None


def _path(source: str) -> str:
    """The path below the artifact store's root; MLflow's database says where weights lie, and must not send us anywhere else."""
    found = SOURCE.fullmatch(source)
    if found is None or ".." in source:
        raise Refused(
            "source", f"{_shown(source)} is not in MLflow's own artifact store (mlflow-artifacts:/…)"
        )
    return found["path"]


def _shown(source: str) -> str:
    return ascii(source[:120])[1:-1]


def _start(answer: httpx.Response) -> int:
    found = (
        CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status_code == 206
        else None
    )
    return int(found[1]) if found else 0


@contextmanager
def _progress(label: str, size: int) -> Iterator[Advance]:
    """A bar on a terminal, else a log line every few seconds; the function takes the bytes that came."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=size)
            yield lambda came: bar.update(task, advance=came)
        return
    done, said = 0, time.monotonic()

    def advance(came: int) -> None:
        nonlocal done, said
        done += came
        if time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            log.info("fetching %s: %d %% of %d MiB", label, 100 * done // max(1, size), size >> 20)

    yield advance
