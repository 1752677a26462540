"""Detached signatures of SSH keys: the format of OpenSSH's PROTOCOL.sshsig, as `ssh-keygen -Y sign` writes it, without ssh-keygen.

Verification is this module alone. Where Python cannot use a private key (in an agent, on a security key, with a passphrase) signing asks
ssh-keygen, which talks to the agent, the device or the person.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from medtower.errors import Conflict, NotFound, Refused, SignatureInvalid, Unavailable
from medtower.releases import ssh_public_key
from medtower.releases.ssh_public_key import CURVES, Wire, fingerprint, low, mpint, string

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAGIC, VERSION = b"SSHSIG", 1
HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def verify(content: bytes, armoured: bytes, namespace: str, public_key_line: str) -> str:
    """Return the fingerprint `SHA256:…` of the key in `public_key_line` when it signed `content` in `namespace`.

    Raises SignatureInvalid for anything else. One signature has one form: what OpenSSH would read past (white space, bytes after the end,
    a reserved field that is not empty, the higher s of ECDSA) is refused.
    """
    key = ssh_public_key.parse(public_key_line)
    wire = _open(armoured)
    if wire.string() != key.blob:
        raise SignatureInvalid("another key made it")
    if (found := wire.text()) != namespace:
        raise SignatureInvalid(f"it was made in the namespace {found[:80]}, not {namespace}")
    if wire.string():
        raise SignatureInvalid("its reserved field is not empty")
    if (algorithm := wire.text()) not in HASHES:
        raise SignatureInvalid(f"it hashes with {algorithm[:40]}, not {' or '.join(HASHES)}")
    raw = wire.string()
    wire.end()
    key.verify(raw, _message(content, namespace, algorithm))
    return key.fingerprint


def canonical(armoured: bytes) -> bytes:
    """The one form of a signature that OpenSSH wrote: with the lower s where it is one of ECDSA. Raises SignatureInvalid."""
    wire = _open(armoured)
    fields = [wire.string() for _ in range(5)]
    wire.end()
    raw = Wire(fields[4])
    algorithm, numbers = raw.string(), raw.string()
    curve = algorithm.decode("ascii", errors="replace").removeprefix("sk-").removeprefix("ecdsa-sha2-")
    found = CURVES.get(curve.removesuffix("@openssh.com"))
    if found:
        both = Wire(numbers)
        r, s = both.mpint(), both.mpint()
        fields[4] = string(algorithm) + _numbers(r, low(s, found[0]())) + raw.rest()
    return _armour(MAGIC + struct.pack(">I", VERSION) + b"".join(map(string, fields)))


def claimed(armoured: bytes) -> str:
    """The fingerprint of the key that a signature says it is of; nothing is verified. Raises SignatureInvalid."""
    return fingerprint(_open(armoured).string())


def sign(content: bytes, private_key: Path, namespace: str) -> bytes:
    """Return the armoured signature by a private key file, or by the agent's key of a .pub file.

    Raises NotFound, Refused for a file that is no key or that others can read, Unavailable when only ssh-keygen could and it is not there.
    """
    if not private_key.is_file():
        raise NotFound("the signing key", str(private_key), "make one, such as: ssh-keygen -t ed25519 -f KEY")
    if private_key.suffix == ".pub":
        return _ssh_keygen(content, private_key, namespace, "is in an agent")
    try:
        key = _load(private_key)
    except TypeError:
        return _ssh_keygen(content, private_key, namespace, "has a passphrase")
    except UnsupportedAlgorithm:
        return _ssh_keygen(content, private_key, namespace, "is on a security key or of a rare kind")
    return _armour(_blob(content, private_key.name, key, namespace))


def generate(path: Path, comment: str) -> None:
    """Make an Ed25519 key pair: the private key in `path` (mode 600, no passphrase), the public one beside it in .pub (644).

    Raises Conflict when there is a key already.
    """
    if path.exists():
        raise Conflict(f"{path} is there already; name another file, or remove it if nothing trusts its key")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = path.with_name(path.name + ".pub")
    public.write_text(f"{_public_line(key)} {comment}\n")
    public.chmod(0o644)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(secret)


def _open(armoured: bytes) -> Wire:
    """What follows magic and version. Only the exact armour that ssh-keygen writes: every byte of a dossier counts."""
    lines = armoured.decode("ascii", errors="replace").split("\n")
    try:
        raw = base64.b64decode("".join(lines[1:-2]), validate=True)
    except ValueError:
        raw = b""
    if _armour(raw) != armoured:
        raise SignatureInvalid("it is not in the form that ssh-keygen -Y sign writes")
    wire = Wire(raw)
    if wire.take(len(MAGIC)) != MAGIC or wire.uint32() != VERSION:
        raise SignatureInvalid(f"it is not an SSH signature of version {VERSION}")
    return wire


def _armour(raw: bytes) -> bytes:
    encoded = base64.b64encode(raw).decode()
    wrapped = [encoded[i : i + 70] for i in range(0, len(encoded), 70)]
    return "\n".join([BEGIN, *wrapped, END, ""]).encode()


def _message(content: bytes, namespace: str, algorithm: str) -> bytes:
    """PROTOCOL.sshsig, section 3: what the key signs."""
    hashed = HASHES[algorithm](content).digest()
    return MAGIC + b"".join(map(string, (namespace.encode(), b"", algorithm.encode(), hashed)))


def _blob(content: bytes, name: str, key: PrivateKey, namespace: str) -> bytes:
    """PROTOCOL.sshsig, section 2."""
    try:
        public = ssh_public_key.parse(_public_line(key))
    except (SignatureInvalid, ValueError) as error:
        why = error.why if isinstance(error, SignatureInvalid) else "SSH has no keys on its curve"
        raise Refused("signing-key", f"{name} cannot sign: {why}") from None
    signature = _raw(key, _message(content, namespace, "sha512"))
    fields = (public.blob, namespace.encode(), b"", b"sha512", signature)
    return MAGIC + struct.pack(">I", VERSION) + b"".join(map(string, fields))


def _raw(key: PrivateKey, message: bytes) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.sign(message))
    if isinstance(key, rsa.RSAPrivateKey):
        return string(b"rsa-sha2-512") + string(key.sign(message, padding.PKCS1v15(), hashes.SHA512()))
    name, hashed = next((n, h) for n, (c, h) in CURVES.items() if isinstance(key.curve, c))
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashed())))
    return string(f"ecdsa-sha2-{name}".encode()) + _numbers(r, low(s, key.curve))


def _numbers(r: int, s: int) -> bytes:
    return string(string(mpint(r)) + string(mpint(s)))


def _public_line(key: PrivateKey) -> str:
    encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(encoding, form).decode()


def _load(path: Path) -> PrivateKey:
    """Raises TypeError when it has a passphrase, UnsupportedAlgorithm for a kind that is not in a file, Refused for what is no key."""
    status = path.stat()
    # the group of a file that is not ours was chosen by its owner: a Secret that is mounted into a pod is root's, and its group's to read
    if status.st_mode & (0o077 if status.st_uid == os.getuid() else 0o007):
        raise Refused("signing-key", f"others can read {path.name}; run: chmod 600 {path}")
    data = path.read_bytes()
    openssh = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except ValueError:
        raise Refused("signing-key", f"{path.name} is not a private key as ssh-keygen writes it") from None
    if not isinstance(key, PrivateKey):
        raise UnsupportedAlgorithm(path.name)
    return key


def _ssh_keygen(content: bytes, key: Path, namespace: str, why: str) -> bytes:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise Unavailable(
            "ssh-keygen",
            f"the key of {key.name} {why}, which only ssh-keygen can use, and it is not installed; "
            f"install the package openssh-client, or sign with a key file without a passphrase",
        )
    command = [program, "-Y", "sign", "-q", "-n", namespace, "-f", str(key)]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise Refused("signing-key", f"ssh-keygen could not sign with {key.name}: {words}")
    return canonical(done.stdout)
