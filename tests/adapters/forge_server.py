"""A small HTTP server that answers as a forge does, with the fields that its API documents; and a git server behind a password."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "token-of-a-test"
REPOSITORY = "hospital/models"


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    slow: bool = False


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class FakeForge:
    """Answers each (method, path) with its list of replies one after the other, the last one for ever; keeps what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.replies: dict[tuple[str, str], list[Reply]] = {}
        self.over = threading.Event()

    def on(self, method: str, path: str, *replies: Reply | Any) -> None:
        self.replies[method, path] = [r if isinstance(r, Reply) else Reply(200, r) for r in replies]

    def calls(self, method: str) -> list[Asked]:
        return [a for a in self.asked if a.method == method]

    def reply(self, method: str, path: str) -> Reply:
        found = self.replies.get((method, path), [Reply(404, {"message": "Not Found"})])
        return found.pop(0) if len(found) > 1 else found[0]


@contextmanager
def serving() -> Iterator[FakeForge]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            given = {k.lower(): v for k, v in self.headers.items()}
            found.asked.append(Asked(self.command, parts.path, dict(parse_qsl(parts.query)), body, given))
            reply = found.reply(self.command, parts.path)
            if reply.slow:
                found.over.wait(20)
                return
            raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is for the test."""

    with _running(Handler) as url:
        found = FakeForge(url)
        yield found
        found.over.set()


@contextmanager
def git_over_http(root: Path) -> Iterator[tuple[str, list[str]]]:
    """The bare repositories below `root` by git's own http-backend(1), for whoever has TOKEN. Yields the address and the paths asked."""
    wanted = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            asked.append(self.path)
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="forge"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.answer(self.backend())

        def backend(self) -> bytes:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": "tower",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(length),
                "GIT_CONFIG_COUNT": "2",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "GIT_CONFIG_KEY_1": "http.receivepack",
                "GIT_CONFIG_VALUE_1": "true",
            }
            if self.headers.get("Content-Encoding") == "gzip":
                environment["HTTP_CONTENT_ENCODING"] = "gzip"
            command = ["git", "http-backend"]
            return subprocess.run(
                command, input=self.rfile.read(length), env=environment, capture_output=True, check=True
            ).stdout

        def answer(self, told: bytes) -> None:
            head, _, content = told.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is for the test."""

    with _running(Handler) as url:
        yield url, asked


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def pull(number: int, branch: str, sha: str, **changes: Any) -> dict[str, Any]:
    """A pull request with the fields that GitHub's and Gitea's documentation both have, and a few more."""
    return {
        "id": 1000 + number,
        "number": number,
        "state": "open",
        "locked": False,
        "title": "Promote als_risk to 2",
        "body": "old text",
        "html_url": f"https://forge.example.org/{REPOSITORY}/pull/{number}",
        "user": {"login": "tower", "id": 7, "type": "User"},
        "head": {
            "label": f"hospital:{branch}",
            "ref": branch,
            "sha": sha,
            "repo": {"id": 1, "full_name": REPOSITORY},
        },
        "base": {
            "label": "hospital:main",
            "ref": "main",
            "sha": "0" * 40,
            "repo": {"id": 1, "full_name": REPOSITORY},
        },
        "merged_at": None,
        "merge_commit_sha": "f" * 40,
        "draft": False,
        **changes,
    }
