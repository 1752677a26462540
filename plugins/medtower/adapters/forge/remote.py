"""The forge's git remote. The token reaches git in its environment: never in an argument, an address, a file or a log."""

from __future__ import annotations

import base64
import os

from pydantic import SecretStr

from medtower.adapters.git import MAIN, Repository
from medtower.adapters.git_checkout import RACED
from medtower.adapters.git_process import attempt
from medtower.errors import Conflict, NotFound, Refused, Unavailable

SECONDS = 120.0
DENIED = (
    "authentication failed",
    "could not read username",
    "the requested url returned error: 403",
    "permission denied",
    "protected branch",
)
GONE = ("couldn't find remote ref", "could not find remote ref")


class Remote:
    """The repository at `url` (https://HOST/owner/name.git), as the account that `token` is of."""

    def __init__(self, url: str, token: SecretStr, *, seconds: float = SECONDS) -> None:
        self.url, self._token, self._seconds = url, token, seconds

    def within(self, seconds: float) -> Remote:
        """The same remote, given up after `seconds`."""
        return Remote(self.url, self._token, seconds=seconds)

    def tip(self, repository: Repository, branch: str) -> str | None:
        """The commit that the forge's `branch` points at, or None."""
        found = self._git(repository, "ls-remote", self.url, f"refs/heads/{branch}").split()
        return found[0].decode() if found else None

    def fetch(self, repository: Repository, branch: str = MAIN) -> None:
        """Make `branch` of `repository` what it is on the forge. Main only moves forward: raises Conflict when it cannot. Raises NotFound."""
        reference = f"refs/heads/{branch}:refs/heads/{branch}"
        forced = reference if branch == MAIN else f"+{reference}"
        self._git(repository, "fetch", "--no-tags", self.url, forced)

    def fetch_all(self, repository: Repository, prefix: str) -> None:
        """Make main and every branch under `prefix` what they are on the forge; what is not there any more goes."""
        self.fetch(repository)
        pattern = f"refs/heads/{prefix}*"
        self._git(repository, "fetch", "--no-tags", "--prune", self.url, f"+{pattern}:{pattern}")

    def push(self, repository: Repository, branch: str, *, expected: str | None) -> None:
        """Give the forge `branch` as it is here, if there it still points at `expected` (None: must not exist). Raises Conflict."""
        lease = f"--force-with-lease=refs/heads/{branch}:{expected or ''}"
        self._git(repository, "push", "-q", lease, self.url, f"refs/heads/{branch}:refs/heads/{branch}")

    def push_main(self, repository: Repository) -> None:
        """Give the forge the commits that main has here. Raises Conflict when it has others, Refused when this account may not."""
        self._git(repository, "push", "-q", self.url, f"refs/heads/{MAIN}:refs/heads/{MAIN}")

    def _git(self, repository: Repository, command: str, *arguments: str) -> bytes:
        environment = _way_out() | self._credential()
        done = attempt(repository.path, command, *arguments, environment=environment, seconds=self._seconds)
        if done.returncode == 0:
            return done.stdout
        words = " ".join(done.stderr.decode(errors="replace").split())[-300:]
        said = words.lower()
        if any(w in said for w in DENIED):
            raise Refused(
                "forge", "the forge's git remote does not let this token; it needs to write contents"
            )
        if any(w in said for w in GONE):
            raise NotFound("the branch", self.url)
        if any(w in said for w in (*RACED, "non-fast-forward")):
            raise Conflict(f"git {command}: the branch was changed by somebody else meanwhile; run it again")
        raise Unavailable("the forge's git remote", words)

    def _credential(self) -> dict[str, str]:
        """git's configuration from its environment (git-config(1), GIT_CONFIG_COUNT): the header for this address alone, and no redirects."""
        settings = {"http.followRedirects": "false", "advice.graftFileDeprecated": "false"}
        if secret := self._token.get_secret_value():
            basic = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
            settings[f"http.{self.url}.extraHeader"] = f"Authorization: Basic {basic}"
        numbered = {f"GIT_CONFIG_KEY_{i}": key for i, key in enumerate(settings)}
        numbered |= {f"GIT_CONFIG_VALUE_{i}": value for i, value in enumerate(settings.values())}
        return {"GIT_CONFIG_COUNT": str(len(settings)), **numbered}


def _way_out() -> dict[str, str]:
    """The proxy and the certificate authorities of this machine, as its environment names them."""
    names = {n: n for n in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")} | {
        "SSL_CERT_FILE": "GIT_SSL_CAINFO"
    }
    return {to: os.environ[name] for name, to in names.items() if name in os.environ}
