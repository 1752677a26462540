"""Where proposals are reviewed: the local bare repository, GitHub, or Gitea and Forgejo. `chosen.forge_of` says which."""
