"""Weights are fetched beside the passes: a slow download of one model never holds up another model's rollback."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path

from medtower.domain.release import Manifest
from medtower.errors import DigestMismatch, StillFetching
from medtower.serving.store import WEIGHTS, Store, sha256
from medtower.training import policy as onnx_policy

Fetch = Callable[[Manifest, Path], None]
AT_ONCE = 4


class Downloads:
    """`fetch(manifest, file)` completes the file, which may hold a first part from before. `finished` is set whenever a download ended.

    The threads write outside of the store only; whoever calls `get` puts the file at its place.
    """

    def __init__(self, store: Store, fetch: Fetch) -> None:
        self._store, self._fetch = store, fetch
        self._slots = threading.Semaphore(AT_ONCE)
        self._jobs: dict[tuple[str, int, str], Future[Path]] = {}
        self.finished = threading.Event()

    def get(self, manifest: Manifest) -> Path:
        """The fetched file, whose bytes are those of the manifest and keep the rules for ONNX files.

        Raises StillFetching until it is there, then once what the download failed with; asked again, it is fetched again.
        """
        key = (manifest.model, manifest.version, manifest.weights.sha256)
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = Future()
            # a daemon: a process that is told to stop does not wait for what the next one goes on with
            threading.Thread(target=self._run, args=(manifest, job), daemon=True).start()
        if not job.done():
            raise StillFetching(manifest.model, manifest.version)
        del self._jobs[key]
        return job.result()

    def wait(self) -> None:
        """Return when everything under way has ended."""
        wait(list(self._jobs.values()))

    @property
    def under_way(self) -> set[tuple[str, int]]:
        """The (model, version) of every download that nobody has taken yet."""
        return {(model, version) for model, version, _ in self._jobs}

    def _run(self, manifest: Manifest, job: Future[Path]) -> None:
        with self._slots:
            try:
                job.set_result(self._complete(manifest))
            except Exception as error:
                job.set_exception(error)
        self.finished.set()

    def _complete(self, manifest: Manifest) -> Path:
        expected = manifest.weights.sha256
        file = self._store.unfinished(manifest.model, manifest.version, expected, manifest.weights.bytes)
        self._fetch(manifest, file)
        actual = sha256(file)
        if actual != expected:
            file.unlink()  # nothing of it is worth going on with
            raise DigestMismatch(
                f"{manifest.model}/{manifest.version}/{WEIGHTS} as fetched", expected, actual
            )
        onnx_policy.inspect(file)
        return file
