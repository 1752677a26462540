"""SSH public keys and the raw signatures they make, read as strictly as they are written: one encoding of each, no bytes to spare.

RFC 4251 (wire types), RFC 4253 and 8332 (RSA with SHA-2), RFC 5656 (ECDSA), RFC 8709 (Ed25519), OpenSSH's PROTOCOL.u2f (security keys).
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from medtower.errors import SignatureInvalid

CURVES: dict[str, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm]]] = {
    "nistp256": (ec.SECP256R1, hashes.SHA256),
    "nistp384": (ec.SECP384R1, hashes.SHA384),
    "nistp521": (ec.SECP521R1, hashes.SHA512),
}
RSA_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "rsa-sha2-512": hashes.SHA512,
    "rsa-sha2-256": hashes.SHA256,
}
SECURITY_KEYS = {
    "sk-ssh-ed25519@openssh.com": "ssh-ed25519",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sha2-nistp256",
}
KINDS = ("ssh-ed25519", *(f"ecdsa-sha2-{c}" for c in CURVES), "ssh-rsa", *SECURITY_KEYS)
RSA_BITS = range(2048, 16385)  # the upper bound is OpenSSH's own
USER_PRESENT = 0x01
# Curve25519's points of order 1, 2, 4 and 8 by their y (RFC 8032, 5.1): with such a key anybody could write signatures.
FIELD = 2**255 - 19
ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
SMALL_ORDER = frozenset({0, 1, FIELD - 1, ORDER_8, FIELD - ORDER_8})


class Wire:
    """Reads RFC 4251's types from `data`. Every method raises SignatureInvalid where the bytes are anything else."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise SignatureInvalid("it ends too early")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def uint32(self) -> int:
        return int.from_bytes(self.take(4))

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        return self.string().decode("ascii", errors="backslashreplace")

    def mpint(self) -> int:
        """A number that is not negative, in its shortest form."""
        raw = self.string()
        number = int.from_bytes(raw, signed=True)
        if number < 0 or raw != mpint(number):
            raise SignatureInvalid("a number in it is not in its one canonical form")
        return number

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def end(self) -> None:
        if self._data:
            raise SignatureInvalid("bytes follow its end")


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def mpint(number: int) -> bytes:
    """RFC 4251's mpint of a number that is not negative, without its length."""
    return number.to_bytes(number.bit_length() // 8 + 1) if number else b""


@dataclass(frozen=True)
class PublicKey:
    """`blob` is the key as SSH sends it; `application` is a security key's, None for the others."""

    kind: str
    blob: bytes
    key: Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    application: bytes | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise SignatureInvalid unless `signature` (algorithm, signature, and a security key's flags and counter) is over `message`."""
        wire = Wire(signature)
        algorithm = wire.text()
        if algorithm not in (RSA_HASHES if self.kind == "ssh-rsa" else [self.kind]):
            raise SignatureInvalid(
                f"its algorithm {algorithm[:40]} is not one of a key of the kind {self.kind}"
            )
        raw = wire.string()
        if self.application is not None:
            message = _touched(wire, self.application, message)
        wire.end()
        try:
            self._verify(algorithm, raw, message)
        except InvalidSignature:
            raise SignatureInvalid("the signed text or the signature was changed") from None

    def _verify(self, algorithm: str, raw: bytes, message: bytes) -> None:
        if isinstance(self.key, Ed25519PublicKey):
            self.key.verify(raw, message)
        elif isinstance(self.key, rsa.RSAPublicKey):
            self.key.verify(raw, message, padding.PKCS1v15(), RSA_HASHES[algorithm]())
        else:
            wire = Wire(raw)
            r, s = wire.mpint(), wire.mpint()
            wire.end()
            if s != low(s, self.key.curve):
                raise SignatureInvalid(
                    "its s is the higher of two that verify alike; sign with: medtower approve"
                )
            _, hashed = CURVES[_curve(self.kind)]
            self.key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashed()))


def fingerprint(blob: bytes) -> str:
    """`SHA256:…` as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def parse(line: str) -> PublicKey:
    """Read `KIND BASE64 [comment]`, the line of a .pub file. Raises SignatureInvalid, also for a key that is too weak."""
    kind, _, rest = line.strip().partition(" ")
    encoded = rest.partition(" ")[0]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        blob = b""
    wire = Wire(blob)
    if kind not in KINDS or base64.b64encode(blob).decode() != encoded or wire.text() != kind:
        raise SignatureInvalid(f"its public key is not a line KIND KEY with KIND one of {', '.join(KINDS)}")
    try:
        key = _key(SECURITY_KEYS.get(kind, kind), wire)
    except ValueError:
        raise SignatureInvalid(f"its public key is not one of the kind {kind}") from None
    application = wire.string() if kind in SECURITY_KEYS else None
    wire.end()
    return PublicKey(kind, blob, key, application)


def _key(kind: str, wire: Wire) -> Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Raises ValueError where the numbers are no key."""
    if kind == "ssh-ed25519":
        return _ed25519(wire.string())
    if kind == "ssh-rsa":
        exponent, modulus = wire.mpint(), wire.mpint()
        if modulus.bit_length() not in RSA_BITS:
            raise SignatureInvalid(
                f"its RSA key has {modulus.bit_length()} bits; use one of 3072, or Ed25519"
            )
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    curve, point = wire.text(), wire.string()
    if curve != _curve(kind) or point[:1] != b"\x04":  # 4: both coordinates; SSH has no other form
        raise ValueError
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve][0](), point)


def _ed25519(point: bytes) -> Ed25519PublicKey:
    y = int.from_bytes(point, "little") & (1 << 255) - 1  # the highest bit is the sign of x
    if y % FIELD in SMALL_ORDER:
        raise SignatureInvalid("its Ed25519 key is a point of small order, under which anybody could sign")
    return Ed25519PublicKey.from_public_bytes(point)


def low(s: int, curve: ec.EllipticCurve) -> int:
    """The lower of the two `s` that verify alike: one signature has one form."""
    return min(s, curve.group_order - s)


def _curve(kind: str) -> str:
    return kind.removeprefix("sk-").removeprefix("ecdsa-sha2-").removesuffix("@openssh.com")


def _touched(wire: Wire, application: bytes, message: bytes) -> bytes:
    """What a security key signs in the place of `message`; somebody must have touched it."""
    flags, counter = wire.take(1), wire.take(4)
    if not flags[0] & USER_PRESENT:
        raise SignatureInvalid("nobody touched the security key (no user presence); sign with touch required")
    return hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(message).digest()
