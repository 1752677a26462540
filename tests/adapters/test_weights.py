"""Signatures of weights by an elliptic-curve key."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from medtower.adapters import weights
from medtower.errors import NotFound, Refused


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "key.pem", tmp_path / "pub.pem"
    weights.generate(*made)
    return made


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


def test_a_signature_verifies_for_these_bytes_under_any_file_name(
    keys: tuple[Path, Path], network: Path, tmp_path: Path
) -> None:
    signature = weights.sign(network, keys[0])
    weights.verify(network, signature, keys[1])
    weights.verify(network.rename(tmp_path / "unfinished-als_risk-1"), signature, keys[1])


def test_one_other_byte_in_weights_or_signature_is_refused(keys: tuple[Path, Path], network: Path) -> None:
    signature = weights.sign(network, keys[0])
    content = bytearray(network.read_bytes())
    content[77] ^= 1
    network.write_bytes(content)
    with pytest.raises(Refused, match="not one of our key over these weights"):
        weights.verify(network, signature, keys[1])
    for wrong in (b"", b"{}", signature[:-2], signature.replace(b'"sig":"M', b'"sig":"N'), b"\xff" * 100):
        with pytest.raises(Refused):
            weights.verify(network, wrong, keys[1])


def test_another_key_s_signature_is_refused(keys: tuple[Path, Path], network: Path, tmp_path: Path) -> None:
    weights.generate(tmp_path / "other.pem", tmp_path / "other_pub.pem")
    signature = weights.sign(network, tmp_path / "other.pem")
    with pytest.raises(Refused):
        weights.verify(network, signature, keys[1])


def test_a_missing_or_wrong_key_says_what_to_do(
    keys: tuple[Path, Path], network: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="MEDTOWER_WEIGHTS_KEY"):
        weights.sign(network, tmp_path / "none")
    signature = weights.sign(network, keys[0])
    with pytest.raises(NotFound, match="MEDTOWER_WEIGHTS_PUB"):
        weights.verify(network, signature, tmp_path / "none")
    (tmp_path / "text").write_text("x")
    with pytest.raises(Refused, match="no elliptic-curve private key"):
        weights.sign(network, tmp_path / "text")
    with pytest.raises(Refused, match="no elliptic-curve public key"):
        weights.verify(network, signature, tmp_path / "text")


def test_keys_are_made_once_and_nobody_else_reads_the_private_one(keys: tuple[Path, Path]) -> None:
    before = [k.read_bytes() for k in keys]
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    keys[1].unlink()
    weights.generate(*keys)
    assert [k.read_bytes() for k in keys] == before


def test_a_warm_verification_takes_a_fraction_of_a_second(keys: tuple[Path, Path], network: Path) -> None:
    weights.warm_up()
    signature = weights.sign(network, keys[0])
    started = time.process_time()
    weights.verify(network, signature, keys[1])
    assert time.process_time() - started < 0.3
