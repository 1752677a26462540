"""The HTTP client: `wrk` (https://github.com/wg/wrk), one thread, with a Lua script that posts the bodies in turn."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gateway_peers.load import Load, parse
from benchmarks.gateway_peers.process import Unusable

SCRIPT = """
local requests, turn = {}, 0

function init(args)
  for number = 1, tonumber(args[2]) do
    local file = assert(io.open(args[1] .. "/" .. number, "rb"))
    requests[number] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'measured {"requests": %d, "errors": %d, "seconds": %.6f, "p50": %.1f, "p95": %.1f, "p99": %.1f}\\n',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


def found() -> str:
    """Where wrk is. Raises Unusable that says how to get it."""
    program = shutil.which("wrk")
    if program is None:
        raise Unusable("wrk", "the client of the benchmark is missing; on Debian: apt-get install wrk")
    return program


def load(
    url: str, headers: Mapping[str, str], bodies: Sequence[bytes], *, callers: int, seconds: float
) -> Load:
    """Post `bodies` in turn to `url` over `callers` connections for `seconds`, each caller waiting for its answer. Raises Unusable."""
    with tempfile.TemporaryDirectory(prefix="medtower-wrk-") as name:
        folder = Path(name)
        (folder / "post.lua").write_text(SCRIPT)
        for number, body in enumerate(bodies, start=1):
            (folder / str(number)).write_bytes(body)
        options = [
            "-t1",
            f"-c{callers}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "10s",
            "-s",
            f"{folder}/post.lua",
        ]
        for header, value in headers.items():
            options += ["-H", f"{header}: {value}"]
        argv = [found(), *options, url, "--", str(folder), str(len(bodies))]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode:
        raise Unusable("wrk", (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1])
    return parse(done.stdout)
