"""A FIDO security key in software: what a device with a touch sensor would sign (OpenSSH's PROTOCOL.u2f)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

APPLICATION = b"ssh:"
COUNTER = (7).to_bytes(4)


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1))


class SecurityKey:
    """`kind` is the SSH name of the key's kind, `line` its public key as in a .pub file."""

    def __init__(self, kind: str) -> None:
        self.kind = kind.encode()
        raw, point = serialization.Encoding.Raw, serialization.Encoding.X962
        if "ed25519" in kind:
            self.ed25519: Ed25519PrivateKey | None = Ed25519PrivateKey.generate()
            public = _string(self.ed25519.public_key().public_bytes(raw, serialization.PublicFormat.Raw))
        else:
            self.ed25519 = None
            self.ecdsa = ec.generate_private_key(ec.SECP256R1())
            form = serialization.PublicFormat.UncompressedPoint
            public = _string(b"nistp256") + _string(self.ecdsa.public_key().public_bytes(point, form))
        self.blob = _string(self.kind) + public + _string(APPLICATION)
        self.line = f"{kind} {base64.b64encode(self.blob).decode()}"

    def sign(
        self, content: bytes, namespace: str, *, flags: int = 0x01, claimed_flags: int | None = None
    ) -> bytes:
        """An armoured signature; bit 0 of `flags` is the touch, and `claimed_flags` what is written in their place."""
        head = _string(namespace.encode()) + _string(b"") + _string(b"sha512")
        message = b"SSHSIG" + head + _string(hashlib.sha512(content).digest())
        digest = hashlib.sha256(message).digest()
        raw = self._raw(hashlib.sha256(APPLICATION).digest() + bytes([flags]) + COUNTER + digest)
        shown = bytes([flags if claimed_flags is None else claimed_flags])
        signature = _string(_string(self.kind) + _string(raw) + shown + COUNTER)
        whole = b"SSHSIG\0\0\0\1" + _string(self.blob) + head + signature
        return self._framed("SSH SIGNATURE", whole).encode()

    def private_file(self) -> str:
        """What ssh-keygen would write for the device's key handle: it holds no secret."""
        public = _string(b"none") * 2 + _string(b"") + (1).to_bytes(4) + _string(self.blob)
        return self._framed("OPENSSH PRIVATE KEY", b"openssh-key-v1\0" + public + _string(bytes(64)))

    def _raw(self, message: bytes) -> bytes:
        if self.ed25519:
            return self.ed25519.sign(message)
        r, s = decode_dss_signature(self.ecdsa.sign(message, ec.ECDSA(hashes.SHA256())))
        return _mpint(r) + _mpint(min(s, self.ecdsa.curve.group_order - s))

    @staticmethod
    def _framed(name: str, content: bytes) -> str:
        text = base64.b64encode(content).decode()
        lines = [text[i : i + 70] for i in range(0, len(text), 70)]
        return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", ""])
