"""How much of git is read for one model: whoever can push chooses it, and nothing of it may cost the other models theirs."""

from __future__ import annotations

from medtower.adapters.git import Repository
from medtower.errors import Refused
from medtower.workflows import model_tree

LARGEST_BYTES = 16 << 20  # a dossier has some 20 KiB


def check_size(repository: Repository, commit: str, model: str, *names: str) -> None:
    """Raise Refused when the model's folder at `commit` (or the file `names` in it) holds more than 16 MiB. Its contents are not read."""
    path = model_tree.path(model, *names)
    lines = repository.git("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", path).split(b"\0")
    sizes = [line.partition(b"\t")[0].split()[-1] for line in lines if line]
    if sum(int(size) for size in sizes if size.isdigit()) > LARGEST_BYTES:
        what = f"{path} holds more than {LARGEST_BYTES >> 20} MiB; take what does not belong there out of it"
        raise Refused("tree", f"{what} (weights belong in MLflow)")
