"""Row 10 of the matrix for the store: no changed byte of a served or a warm version, nor of what Triton is told to load, is ever loaded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.fixtures.reconciler import Scene
from tests.fixtures.triton import TritonProcess

from medtower.adapters.triton import Triton
from medtower.errors import DigestMismatch
from medtower.serving import config, store
from medtower.workflows.reconcile import loading
from medtower.workflows.reconcile.memory import Verified
from medtower.workflows.reconcile.parts import Parts

SERVED, WARM, CONFIG = "2/model.onnx", "1/model.onnx", "config.pbtxt"
FILES = (SERVED, WARM, CONFIG)


class Place:
    """The store's folder of a model whose version 2 serves and whose version 1 is warm: the bytes that were signed, and those that lie there."""

    def __init__(self, scene: Scene) -> None:
        for version in (1, 2):
            scene.promote(version)
            assert scene.once() == "ok"
        self.scene, self.folder = scene, scene.process.store / scene.model
        self.parts: Parts = scene.reconciler._models._parts
        self.versions: list[Verified] = self.parts.memory.others(scene.model, ())
        self.signed = {name: (self.folder / name).read_bytes() for name in FILES}
        assert self.signed[CONFIG].decode() == config.with_versions(self.versions[0].config, (1, 2))

    def change(self, name: str, at: int, by: int) -> None:
        """Change one byte as someone with access to the disk could."""
        content = bytearray(self.signed[name])
        content[at % len(content)] ^= by
        self.write(name, bytes(content))

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).chmod(0o644)
        (self.folder / name).write_bytes(content)

    def assert_signed(self) -> None:
        """What a load would read now is what was signed, of every version that the config names."""
        text = (self.folder / CONFIG).read_text()
        named = [v for v in self.versions if str(v.version) in text.rpartition("versions:")[2]]
        assert named
        assert text == config.with_versions(self.versions[0].config, [v.version for v in named])
        for each in named:
            path = self.scene.process.store / self.scene.model / str(each.version) / "model.onnx"
            assert store.sha256(path) == each.manifest.weights.sha256

    @contextmanager
    def loads(self, monkeypatch: pytest.MonkeyPatch, *, really: bool) -> Iterator[list[str]]:
        """Every load is judged at the moment it is asked for; `really` does it then."""
        asked: list[str] = []
        real = self.scene.triton.load

        def load(model: str) -> None:
            self.assert_signed()
            asked.append(model)
            if really:
                real(model)

        with monkeypatch.context() as patch:
            patch.setattr(self.scene.triton, "load", load)
            yield asked


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, triton_process: TritonProcess, triton_client: Triton
) -> Place:
    return Place(Scene(tmp_path_factory.mktemp("place"), triton_process, triton_client))


@pytest.fixture
def place(made: Place) -> Iterator[Place]:
    """As it was signed, also when the test before failed half-way."""
    yield made
    for name in FILES:
        made.write(name, made.signed[name])


def test_10_of_a_thousand_changed_bytes_in_the_store_none_is_accepted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(20260110)
    hashes = {f"{v.version}/model.onnx": v.manifest.weights.sha256 for v in place.versions}
    refused = repaired = 0
    with place.loads(monkeypatch, really=False) as asked:
        for _ in range(1000):
            name = dice.choice(FILES)
            place.change(name, dice.randrange(1 << 30), dice.randrange(1, 256))
            if name == CONFIG:
                loading.serve_exactly(place.parts, place.versions[0], (), {1, 2})
                repaired += 1
                assert len(asked) == repaired
            else:
                version = int(name.partition("/")[0])
                for rehash in (True, False):
                    with pytest.raises(DigestMismatch, match=name):
                        place.parts.store.check(place.scene.model, version, hashes[name], rehash=rehash)
                refused += 1
                place.write(name, place.signed[name])
    assert refused + repaired == 1000 and min(refused, repaired) > 250


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("by", [1, 0x80])
def test_10_a_changed_byte_is_repaired_by_the_real_pass_and_not_loaded_before(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, by: int
) -> None:
    """0x80: of a text, what is no text any more."""
    place.change(name, random.Random(name).randrange(1 << 30), by)
    with place.loads(monkeypatch, really=True):
        for _ in range(2):  # a warm version that is being fetched is loaded again by the next pass
            assert place.scene.once() == "ok"
            assert place.scene.answer() == 2.0
    place.assert_signed()
    assert {n: (place.folder / n).read_bytes() for n in FILES} == place.signed


def test_10_a_number_of_inputs_changed_on_disk_stops_nothing_that_was_approved(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = place.signed[CONFIG].decode()
    place.write(CONFIG, text.replace("dims: [ 3 ]", "dims: [ 7 ]").encode())
    with place.loads(monkeypatch, really=True) as asked:
        assert place.scene.once() == "ok"
    assert (place.scene.answer(), len(asked)) == (2.0, 1)
    place.assert_signed()
