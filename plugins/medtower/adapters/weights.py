"""Signatures of weights: OpenSSF Model Signing (PyPI `model-signing`) with an elliptic-curve key, offline.

The signature is a Sigstore bundle with an in-toto statement over the one file `model.onnx`. It says nothing about the model's name or version:
the manifest binds those by sha256.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from medtower import atomic_file
from medtower.errors import NotFound, Refused

SIGNATURE = "model.onnx.sig"
LARGEST_SIGNATURE = 1 << 16
RULE = "weights-signature"


def generate(private: Path, public: Path) -> None:
    """Make an ECDSA P-256 key pair in PEM, where there is none: `private` (mode 600) signs at registration, `public` verifies before serving."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not private.exists():
        made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        atomic_file.write(private, made, mode=0o600)
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if not public.exists() or public.read_bytes() != pem:
        atomic_file.write(public, pem, mode=0o644)


def sign(weights: Path, key: Path) -> bytes:
    """The signature over the file `weights` by the private key. Raises NotFound, or Refused for a file that is no such key."""
    from model_signing import signing

    if not key.is_file():
        raise NotFound("the key that signs weights", str(key), "make one, and set MEDTOWER_WEIGHTS_KEY")
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise Refused(
            RULE, f"{key.name} is no elliptic-curve private key in PEM (P-256, P-384 or P-521)"
        ) from None
    with tempfile.TemporaryDirectory(prefix="medtower-sign-") as folder:
        signature = Path(folder) / SIGNATURE
        signer.sign(weights, signature)
        return signature.read_bytes()


def verify(weights: Path, signature: bytes, public: Path) -> None:
    """Raise Refused unless `signature` is one over exactly the bytes of the file `weights` by the key of `public`; NotFound without that key."""
    from model_signing import verifying

    if not public.is_file():
        raise NotFound(
            "the public key of the weights", str(public), "install it, and set MEDTOWER_WEIGHTS_PUB"
        )
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise Refused(RULE, f"{public.name} is no elliptic-curve public key in PEM") from None
    with tempfile.TemporaryDirectory(prefix="medtower-verify-") as folder:
        file = Path(folder) / SIGNATURE
        file.write_bytes(signature)
        try:
            # the library prints a warning for signatures of its first releases
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
                verifier.verify(weights, file)
        except Exception as error:
            # whoever stores weights chooses these bytes, and the library names no errors
            raise Refused(
                RULE,
                f"the signature in {SIGNATURE} is not one of our key over these weights ({type(error).__name__})",
            ) from None


def warm_up() -> None:
    """Import what verification needs: about a second, which no promotion should wait for."""
    import model_signing.verifying  # noqa: F401
