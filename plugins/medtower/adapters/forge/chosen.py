"""Which forge the settings name."""

from __future__ import annotations

import re

from medtower.adapters.forge import github
from medtower.adapters.forge.gitea import Gitea
from medtower.adapters.forge.github import GitHub
from medtower.adapters.forge.local import LocalForge
from medtower.adapters.forge.pull_request import Forge
from medtower.adapters.forge.remote import Remote
from medtower.adapters.forge.rest import on_loopback
from medtower.adapters.git import Repository
from medtower.errors import InvalidInput
from medtower.settings import Settings

HOSTED: dict[str, type[GitHub] | type[Gitea]] = {"github": GitHub, "gitea": Gitea}
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def forge_of(settings: Settings) -> Forge:
    """The forge of MEDTOWER_FORGE. Raises InvalidInput naming the setting that is missing or wrong, NotFound without the local repository."""
    return (
        LocalForge(Repository(settings.path("repository"))) if settings.forge == "local" else hosted(settings)
    )


def hosted(settings: Settings) -> GitHub | Gitea:
    """The forge on a server. Raises InvalidInput when the settings name none."""
    if settings.forge not in HOSTED:
        raise InvalidInput(f"MEDTOWER_FORGE: set it to {' or '.join(HOSTED)}")
    return HOSTED[settings.forge](_url(settings), _repository(settings), settings.forge_token)


def remote_of(settings: Settings) -> Remote | None:
    """The forge's git remote; None for the local repository, which is its own. Raises InvalidInput as `hosted` does."""
    if settings.forge == "local":
        return None
    url = _url(settings)
    on_loopback(url)  # the token goes to git's address, too
    place = github.web(url) if settings.forge == "github" else url.rstrip("/")
    return Remote(f"{place}/{_repository(settings)}.git", settings.forge_token)


def _url(settings: Settings) -> str:
    if settings.forge_url:
        return settings.forge_url
    if settings.forge == "github":
        return github.PUBLIC
    raise InvalidInput("MEDTOWER_FORGE_URL: set it to the address of the forge, https://HOST")


def _repository(settings: Settings) -> str:
    if not REPOSITORY.fullmatch(settings.forge_repository):
        raise InvalidInput("MEDTOWER_FORGE_REPOSITORY: set it to OWNER/NAME of the repository on the forge")
    return settings.forge_repository
