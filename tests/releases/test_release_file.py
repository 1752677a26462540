"""release.yaml is read from whoever can push: every wrong way is one refusal."""

from __future__ import annotations

import pytest

from medtower.domain.release import Release
from medtower.errors import Refused
from medtower.releases import release_file

BOMB = "a0: &a0 [x,x,x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1},*a{i - 1}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    "content",
    [
        b"model: sum_model\nversion: null\nreason: 2026-13-45\n",
        b"model: sum_model\nversion: null\nreason: 2026-01-01\n",
        b'model: sum_model\nversion: null\nreason: "\\ud800"\n',
        b'model: sum_model\nversion: null\nreason: "two\\nlines"\n',
        b'model: sum_model\nreason: "\\UFFFFFFFF"\n',
        b"model: sum_model\nreason: " + b"x" * 501,
        b"model: sum_model\nreason: x\nversion: " + b"9" * 5000,
        b"model: sum_model\nreason: x\nversion: 9007199254740992\ndigest: " + b"a" * 64,
        b"model: sum_model\nreason: x\nversion: 0x1\ndigest: " + b"a" * 64,
        b"model: sum_model\nreason: x\nversion: true\ndigest: " + b"a" * 64,
        b"model: sum_model\nreason: [x]\n",
        b"model: sum_model\nversion: 1\nversion: 2\nreason: x\n",
        b"version: !!int x\n",
        b"version: !!float x\n",
        b"version: !!bool x\n",
        b"reason: !!timestamp x\n",
        b'reason: !!binary "a"\n',
        b"!!seq x: 1\n",
        b"<<: 5\n",
        b"=: 5\n",
        b"&x\nmodel: *x\nreason: *x\n",
        BOMB.encode(),
        b"[" * 3000,
        b"{a: " * 100_000,
        b"[1, 2]: 3\n",
        b"\xff\xfe\x00",
        b"\x00",
        b"%YAML 1." + b"9" * 5000 + b"\n--- x\n",
        b"- 1\n",
        b"",
        b"'" + b"\xe2\x80\xa8" * 100,
        b"a: 1\n---\nb: 2\n",
        b"? " * 2000,
        b"'\\' : \n\t- x",
    ],
    ids=lambda c: ascii(c[:40]),
)
def test_what_is_no_plain_release_is_refused_and_nothing_else_happens(content: bytes) -> None:
    with pytest.raises(Refused, match=r"sum_model/release\.yaml is not a release") as caught:
        release_file.parse(content, "sum_model")
    assert str(caught.value).isprintable()


def test_every_release_that_is_written_is_read_back() -> None:
    for reason in ("1.5", "2026-01-01", "null", "yes: no", "äöü „quoted“ #1", "0x10", "", "x" * 500):
        release = Release(model="sum_model", version=2**53 - 1, replaces=1, digest="1" * 64, reason=reason)
        assert release_file.parse(release_file.render(release), "sum_model") == release
