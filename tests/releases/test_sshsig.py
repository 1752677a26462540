"""Signatures against OpenSSH itself where it is installed, and against every byte that could be another."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from medtower.errors import Conflict, NotFound, Refused, SignatureInvalid, Unavailable
from medtower.releases import ssh_public_key, sshsig

from .security_key import SecurityKey

NAMESPACE, CONTENT = "medtower-clinical", b'{"role": "clinical"}\n'
KINDS = [
    ("ed25519",),
    ("ecdsa", "-b", "256"),
    ("ecdsa", "-b", "384"),
    ("ecdsa", "-b", "521"),
    ("rsa", "-b", "2048"),
]
FORMS = ("RFC4716", "PEM", "PKCS8")
needs_openssh = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="compares with OpenSSH: apt-get install openssh-client"
)

WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505  it must be refused

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def keygen(*arguments: object, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)], input=content, capture_output=True, check=False
    )


def openssh_key(folder: Path, *kind: str, form: str = "RFC4716", passphrase: str = "") -> Path:
    key = folder / "key"
    done = keygen("-q", "-t", *kind, "-m", form, "-N", passphrase, "-C", "x", "-f", key)
    assert done.returncode == 0, done.stderr
    return key


def public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


def write_key(path: Path, key: PrivateKey, passphrase: bytes = b"") -> Path:
    """`key` as a PKCS #8 file, its public half beside it where SSH has one."""
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    path.chmod(0o600)
    return path


def public_line(key: PrivateKey) -> str:
    encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(encoding, form).decode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A good signature over CONTENT in NAMESPACE and the line of its key."""
    key = tmp_path_factory.mktemp("made") / "key"
    sshsig.generate(key, "clinical@example.org")
    return sshsig.sign(CONTENT, key, NAMESPACE), public(key)


def blob(made: tuple[bytes, str]) -> bytes:
    return base64.b64decode("".join(made[0].decode().split("\n")[1:-2]))


def armour(raw: bytes) -> bytes:
    text = base64.b64encode(raw).decode()
    return "\n".join(
        [sshsig.BEGIN, *(text[i : i + 70] for i in range(0, len(text), 70)), sshsig.END, ""]
    ).encode()


@needs_openssh
@pytest.mark.parametrize("kind", KINDS, ids="".join)
@pytest.mark.parametrize("form", FORMS)
def test_what_this_module_signs_openssh_verifies(tmp_path: Path, kind: tuple[str, ...], form: str) -> None:
    key = openssh_key(tmp_path, *kind, form=form)
    (tmp_path / "sig").write_bytes(sshsig.sign(CONTENT, key, NAMESPACE))
    (tmp_path / "signers").write_text(f'a@example.org namespaces="{NAMESPACE}" {public(key)}')
    arguments = ("-Y", "verify", "-f", tmp_path / "signers", "-I", "a@example.org", "-s", tmp_path / "sig")
    done = keygen(*arguments, "-n", NAMESPACE, content=CONTENT)
    assert done.returncode == 0, done.stderr
    assert sshsig.verify(CONTENT, (tmp_path / "sig").read_bytes(), NAMESPACE, public(key)) in str(done.stdout)
    assert keygen(*arguments, "-n", NAMESPACE, content=CONTENT + b" ").returncode != 0


@needs_openssh
@pytest.mark.parametrize("kind", KINDS, ids="".join)
@pytest.mark.parametrize("hashed", ["sha512", "sha256"])
def test_what_openssh_signs_this_module_verifies(tmp_path: Path, kind: tuple[str, ...], hashed: str) -> None:
    key = openssh_key(tmp_path, *kind)
    done = keygen("-Y", "sign", "-n", NAMESPACE, "-O", f"hashalg={hashed}", "-f", key, content=CONTENT)
    signature = sshsig.canonical(done.stdout)
    assert signature == done.stdout or kind[0] == "ecdsa"
    fingerprint = sshsig.verify(CONTENT, signature, NAMESPACE, public(key))
    assert fingerprint in keygen("-l", "-f", key).stdout.decode()
    assert sshsig.claimed(signature) == fingerprint
    with pytest.raises(SignatureInvalid, match="was changed"):
        sshsig.verify(CONTENT + b" ", signature, NAMESPACE, public(key))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_an_ecdsa_signature_has_one_form(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    """Whoever turns s around makes other bytes that the same key signed."""
    private = ec.generate_private_key(curve)
    key = write_key(tmp_path / "key", private)
    for _ in range(5):
        made = sshsig.sign(CONTENT, key, NAMESPACE)
        line = public_line(private)
        assert sshsig.verify(CONTENT, made, NAMESPACE, line)
        turned = _turned(made, curve.group_order)
        with pytest.raises(SignatureInvalid, match="the higher of two"):
            sshsig.verify(CONTENT, turned, NAMESPACE, line)
        assert sshsig.canonical(turned) == made


def _turned(armoured: bytes, order: int) -> bytes:
    string, mpint = ssh_public_key.string, ssh_public_key.mpint
    raw = base64.b64decode("".join(armoured.decode().split("\n")[1:-2]))
    wire = ssh_public_key.Wire(raw[10:])
    fields = [wire.string() for _ in range(5)]
    inner = ssh_public_key.Wire(fields[4])
    algorithm, both = inner.string(), ssh_public_key.Wire(inner.string())
    r, s = both.mpint(), both.mpint()
    fields[4] = string(algorithm) + string(string(mpint(r)) + string(mpint(order - s)))
    return armour(raw[:10] + b"".join(map(string, fields)))


FIELD = 2**255 - 19


def _eight_times(y: int) -> tuple[int, int] | None:
    """Eight times the point of Curve25519 with this y (RFC 8032, 5.1.4); None where there is none."""
    d = -121665 * pow(121666, -1, FIELD) % FIELD
    square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if (x * x - square) % FIELD:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    if (x * x - square) % FIELD:
        return None
    y %= FIELD
    for _ in range(3):
        t = d * x * x * y * y
        x, y = (
            2 * x * y * pow(1 + t, -1, FIELD) % FIELD,
            (y * y + x * x) * pow(1 - t, -1, FIELD) % FIELD,
        )
    return x, y


def test_a_key_of_small_order_is_no_key() -> None:
    """With such a key a signature that nobody made is good for one text in eight. Each of them is refused in every way to write it."""
    small = [y for y in (*range(19), *ssh_public_key.SMALL_ORDER) if _eight_times(y) == (0, 1)]
    assert len(set(small)) == 5
    for y in {*small, *(y + FIELD for y in small if y + FIELD < 2**255)}:
        for sign in (0, 1 << 255):
            point = (y | sign).to_bytes(32, "little")
            encoded = ssh_public_key.string(b"ssh-ed25519") + ssh_public_key.string(point)
            with pytest.raises(SignatureInvalid, match="small order"):
                ssh_public_key.parse(f"ssh-ed25519 {base64.b64encode(encoded).decode()}")


@needs_openssh
def test_the_bytes_are_those_that_openssh_writes(tmp_path: Path) -> None:
    """Ed25519 and RSA signatures are deterministic, so armour and blob can be compared whole."""
    for number, kind in enumerate([("ed25519",), ("rsa", "-b", "2048")]):
        (tmp_path / str(number)).mkdir()
        key = openssh_key(tmp_path / str(number), *kind)
        theirs = keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", key, content=CONTENT).stdout
        assert sshsig.sign(CONTENT, key, NAMESPACE) == theirs


@needs_openssh
def test_openssh_signs_with_a_key_that_is_made_here(tmp_path: Path) -> None:
    key = tmp_path / "key"
    sshsig.generate(key, "a@example.org")
    signature = keygen("-Y", "sign", "-n", NAMESPACE, "-f", key, content=CONTENT).stdout
    assert sshsig.verify(CONTENT, signature, NAMESPACE, public(key)).startswith("SHA256:")
    assert keygen("-y", "-f", key).stdout.split()[:2] == public(key).encode().split()[:2]


@needs_openssh
def test_a_passphrase_is_asked_for_by_openssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = openssh_key(tmp_path, "ed25519", passphrase="of a test")
    answer = tmp_path / "answer"
    answer.write_text("#!/bin/sh\necho of a test\n")
    answer.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(answer))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    assert sshsig.verify(CONTENT, sshsig.sign(CONTENT, key, NAMESPACE), NAMESPACE, public(key))
    answer.write_text("#!/bin/sh\necho something else\n")
    with pytest.raises(Refused, match="ssh-keygen could not sign with key: .*incorrect passphrase"):
        sshsig.sign(CONTENT, key, NAMESPACE)


@pytest.mark.parametrize("passphrase", [b"", b"of a test"], ids=["agent", "passphrase"])
def test_what_only_openssh_can_sign_with_says_so_where_it_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: bytes
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = write_key(
        tmp_path / ("key" if passphrase else "key.pub"), Ed25519PrivateKey.generate(), passphrase
    )
    why = "has a passphrase" if passphrase else "is in an agent"
    with pytest.raises(Unavailable, match=f"{why}, which only ssh-keygen can use.*openssh-client"):
        sshsig.sign(CONTENT, path, NAMESPACE)


def test_a_key_on_a_security_key_is_left_to_openssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text(SecurityKey("sk-ssh-ed25519@openssh.com").private_file())
    path.chmod(0o600)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="is on a security key"):
        sshsig.sign(CONTENT, path, NAMESPACE)


KEYS = {
    "ed25519": Ed25519PrivateKey.generate,
    "nistp256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "nistp384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "nistp521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_signing_needs_no_program(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    key = KEYS[kind]()
    path = write_key(tmp_path / "key", key)
    for number in range(20):  # r and s of ECDSA differ in length from one signature to the next
        content = CONTENT + bytes([number])
        signature = sshsig.sign(content, path, NAMESPACE)
        assert sshsig.verify(content, signature, NAMESPACE, public_line(key)).startswith("SHA256:")
    with pytest.raises(SignatureInvalid, match="was changed"):
        sshsig.verify(CONTENT, signature, NAMESPACE, public_line(key))


def test_a_key_pair_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    key = tmp_path / "key"
    sshsig.generate(key, "a@example.org")
    assert [p.stat().st_mode & 0o777 for p in (key, key.with_suffix(".pub"))] == [0o600, 0o644]
    assert public(key).endswith(" a@example.org\n")
    before = public(key)
    with pytest.raises(Conflict, match="is there already"):
        sshsig.generate(key, "b@example.org")
    assert public(key) == before


def test_a_private_key_of_somebody_else_may_be_read_by_the_group_it_was_given_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted Secret is root's, and readable by the pod's group: it cannot be otherwise."""
    key = tmp_path / "key"
    sshsig.generate(key, "")
    monkeypatch.setattr("os.getuid", lambda: key.stat().st_uid + 1)
    key.chmod(0o440)
    sshsig.verify(CONTENT, sshsig.sign(CONTENT, key, NAMESPACE), NAMESPACE, public(key))
    key.chmod(0o444)
    with pytest.raises(Refused, match="others can read key"):
        sshsig.sign(CONTENT, key, NAMESPACE)


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    sshsig.generate(key, "")
    key.chmod(0o640)
    with pytest.raises(Refused, match="others can read key; run: chmod 600"):
        sshsig.sign(CONTENT, key, NAMESPACE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        b"ssh-rsa A",
    ],
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, content: bytes) -> None:
    key = tmp_path / "key"
    key.write_bytes(content)
    key.chmod(0o600)
    with pytest.raises(Refused, match="key is not a private key"):
        sshsig.sign(CONTENT, key, NAMESPACE)
    with pytest.raises(NotFound, match="signing key"):
        sshsig.sign(CONTENT, tmp_path / "nowhere", NAMESPACE)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (WEAK, "has 1024 bits"),
        (ec.generate_private_key(ec.SECP256K1()), "no keys on its curve"),
    ],
    ids=["rsa", "curve"],
)
def test_a_weak_or_foreign_key_does_not_sign(tmp_path: Path, key: PrivateKey, why: str) -> None:
    with pytest.raises(Refused, match=f"key cannot sign: .*{why}"):
        sshsig.sign(CONTENT, write_key(tmp_path / "key", key), NAMESPACE)


def test_rsa_with_sha1_or_too_few_bits_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="1024 bits"):
        ssh_public_key.parse(public_line(WEAK))
    key = ssh_public_key.parse(public_line(rsa.generate_private_key(65537, 2048)))
    signature = ssh_public_key.string(b"ssh-rsa") + ssh_public_key.string(bytes(256))
    with pytest.raises(SignatureInvalid, match="algorithm ssh-rsa is not one"):
        key.verify(signature, CONTENT)


def test_another_key_namespace_or_content_is_refused(made: tuple[bytes, str], tmp_path: Path) -> None:
    signature, line = made
    assert sshsig.verify(CONTENT, signature, NAMESPACE, line) == sshsig.claimed(signature)
    sshsig.generate(tmp_path / "other", "")
    with pytest.raises(SignatureInvalid, match="another key made it"):
        sshsig.verify(CONTENT, signature, NAMESPACE, public(tmp_path / "other"))
    with pytest.raises(SignatureInvalid, match="in the namespace medtower-clinical, not medtower-final"):
        sshsig.verify(CONTENT, signature, "medtower-final", line)
    with pytest.raises(SignatureInvalid, match="was changed"):
        sshsig.verify(CONTENT + b"\n", signature, NAMESPACE, line)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"SSHSIG\0\0\0\1", b"SSHSOG\0\0\0\1", "not an SSH signature of version 1"),
        (b"SSHSIG\0\0\0\1", b"SSHSIG\0\0\0\2", "not an SSH signature of version 1"),
        (b"\0\0\0\0\0\0\0\6sha512", b"\0\0\0\1x\0\0\0\6sha512", "reserved field"),
        (b"\0\0\0\6sha512", b"\0\0\0\6sha999", "hashes with sha999"),
        (b"\0\0\0\6sha512", b"\0\0\0\4sha1", "hashes with sha1"),
        (b"\0\0\0\6sha512", b"\xff\0\0\6sha512", "ends too early"),
        (b"\0\0\0\6sha512", b"\0\0\0\6sha256", "was changed"),
        (b"\0\0\0\x40", b"\0\0\0\x41", "ends too early"),
    ],
)
def test_any_other_field_is_refused(made: tuple[bytes, str], old: bytes, new: bytes, why: str) -> None:
    raw = blob(made)
    assert raw.count(old) == 1
    with pytest.raises(SignatureInvalid, match=why):
        sshsig.verify(CONTENT, armour(raw.replace(old, new)), NAMESPACE, made[1])


def test_bytes_after_the_end_are_refused(made: tuple[bytes, str]) -> None:
    raw = blob(made)
    with pytest.raises(SignatureInvalid, match="bytes follow its end"):
        sshsig.verify(CONTENT, armour(raw + b"\0"), NAMESPACE, made[1])
    inner = raw[-(4 + 11 + 4 + 64) :]  # the signature field's string
    longer = raw[: -len(inner) - 4] + ssh_public_key.string(inner + b"\0")
    with pytest.raises(SignatureInvalid, match="bytes follow its end"):
        sshsig.verify(CONTENT, armour(longer), NAMESPACE, made[1])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a + b"\n",
        lambda a: b"\n" + a,
        lambda a: a[:-1],
        lambda a: a.replace(b"\n", b"\r\n"),
        lambda a: a.replace(b"SIGNATURE-----\n", b"SIGNATURE-----\nHash: x\n", 1),
        lambda a: a.replace(b"-----\n", b"-----\n ", 1),
        lambda a: armour(blob((a, ""))).replace(b"\n", b"", 2).replace(b"-----U", b"-----\nU", 1),
        lambda a: a[:0],
        lambda a: b"\xff" + a,
    ],
)
def test_any_other_armour_is_refused(made: tuple[bytes, str], spoil: object) -> None:
    with pytest.raises(SignatureInvalid, match="not in the form"):
        sshsig.verify(CONTENT, spoil(made[0]), NAMESPACE, made[1])  # type: ignore[operator]


@pytest.mark.parametrize("number", [b"\x00\x01", b"\xff", b"\x00"])
def test_a_number_has_one_form(number: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="canonical form"):
        ssh_public_key.Wire(ssh_public_key.string(number)).mpint()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 2**255, 2**256 - 1])
def test_numbers_survive_the_wire(value: int) -> None:
    assert ssh_public_key.Wire(ssh_public_key.string(ssh_public_key.mpint(value))).mpint() == value


@pytest.mark.parametrize("kind", ssh_public_key.SECURITY_KEYS)
def test_a_touched_security_key_signs(kind: str) -> None:
    device = SecurityKey(kind)
    signature = device.sign(CONTENT, NAMESPACE)
    assert sshsig.verify(CONTENT, signature, NAMESPACE, device.line) == sshsig.claimed(signature)
    with pytest.raises(SignatureInvalid, match="was changed"):
        sshsig.verify(CONTENT + b" ", signature, NAMESPACE, device.line)
    pinned = device.sign(CONTENT, NAMESPACE, flags=0x05)  # user verified by PIN as well
    assert sshsig.verify(CONTENT, pinned, NAMESPACE, device.line)


@pytest.mark.parametrize("kind", ssh_public_key.SECURITY_KEYS)
def test_an_untouched_security_key_does_not_count(kind: str) -> None:
    device = SecurityKey(kind)
    with pytest.raises(SignatureInvalid, match="nobody touched the security key"):
        sshsig.verify(CONTENT, device.sign(CONTENT, NAMESPACE, flags=0x04), NAMESPACE, device.line)
    # the flag is signed: it cannot be added afterwards
    forged = device.sign(CONTENT, NAMESPACE, flags=0x00, claimed_flags=0x01)
    with pytest.raises(SignatureInvalid, match="was changed"):
        sshsig.verify(CONTENT, forged, NAMESPACE, device.line)


@needs_openssh
@pytest.mark.parametrize("kind", ssh_public_key.SECURITY_KEYS)
def test_openssh_agrees_on_the_hand_made_security_key(tmp_path: Path, kind: str) -> None:
    device = SecurityKey(kind)
    (tmp_path / "sig").write_bytes(device.sign(CONTENT, NAMESPACE))
    (tmp_path / "signers").write_text(f"a@example.org {device.line}\n")
    arguments = ("-f", tmp_path / "signers", "-I", "a@example.org", "-s", tmp_path / "sig")
    done = keygen("-Y", "verify", "-n", NAMESPACE, *arguments, content=CONTENT)
    assert done.returncode == 0, done.stderr
    assert sshsig.claimed((tmp_path / "sig").read_bytes()) in str(done.stdout)


@given(st.data())
def test_no_changed_byte_is_accepted_and_none_is_an_accident(
    made: tuple[bytes, str], data: st.DataObject
) -> None:
    raw = bytearray(blob(made))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureInvalid):
        sshsig.verify(CONTENT, armour(bytes(raw)), NAMESPACE, made[1])


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(made: tuple[bytes, str], content: bytes) -> None:
    for attempt in (content, armour(content), armour(b"SSHSIG\0\0\0\1" + content)):
        with pytest.raises(SignatureInvalid):
            sshsig.verify(CONTENT, attempt, NAMESPACE, made[1])


@given(st.sampled_from(ssh_public_key.KINDS), st.binary(max_size=200), st.text(max_size=80))
def test_any_key_line_is_refused_by_name(kind: str, content: bytes, text: str) -> None:
    framed = ssh_public_key.string(kind.encode()) + content
    for line in (text, f"{kind} {text}", f"{kind} {base64.b64encode(framed).decode()}"):
        try:
            ssh_public_key.parse(line)
        except SignatureInvalid:
            continue
        assert kind == "ssh-ed25519" and len(content) == 36  # any 32 bytes are an Ed25519 key


@given(st.sampled_from(sorted(KEYS)), st.binary(max_size=200))
def test_any_raw_signature_is_refused_by_name(kind: str, content: bytes) -> None:
    key = ssh_public_key.parse(LINES[kind])
    algorithm = b"rsa-sha2-512" if kind == "rsa" else key.kind.encode()
    string = ssh_public_key.string
    numbers = string(content[:70]) + string(content[70:])
    for raw in (content, string(algorithm) + string(content), string(algorithm) + string(numbers)):
        with pytest.raises(SignatureInvalid):
            key.verify(raw, CONTENT)


LINES = {kind: public_line(make()) for kind, make in KEYS.items()}
