"""TLS by the certificate that is set: 1.2 and later, with HSTS, or one clear line and no service."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from tests.gateway.access.process import serving

from medtower.errors import Refused
from medtower.gateway import serve
from medtower.gateway.access.headers import HSTS
from medtower.gateway.access.tls import context
from medtower.gateway.app import create
from medtower.settings import Settings


def certificate(folder: Path, name: str = "gateway", password: bytes | None = None) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example.org")])
    made = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    return paths


def handshake(port: int, trusted: Path, highest: ssl.TLSVersion) -> str | None:
    """The version that is agreed on."""
    client = ssl.create_default_context(cafile=str(trusted))
    client.minimum_version, client.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, highest
    client.set_ciphers("DEFAULT:@SECLEVEL=0")  # else the client itself refuses what is old
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.version()


@pytest.mark.filterwarnings("ignore:.*TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*TLSVersion.MINIMUM_SUPPORTED:DeprecationWarning")
def test_the_gateway_speaks_tls_1_2_and_later_and_nothing_else(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = certificate(tmp_path)
    chosen = settings.model_copy(
        update={"tls_certificate": public, "tls_key": private, "gateway_port": 0, "gateway_grpc_port": 0}
    )
    with serving(create(chosen), chosen, monkeypatch) as port:
        trusting = ssl.create_default_context(cafile=str(public))
        with httpx.Client(verify=trusting, base_url=f"https://127.0.0.1:{port}") as http:
            live, closed = http.get("/health/live"), http.get("/api/v1/ml/models")
        assert (live.status_code, closed.status_code) == (200, 401)
        for answer in (live, closed):
            assert answer.headers[HSTS[0].decode()] == HSTS[1].decode()
        assert handshake(port, public, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        assert handshake(port, public, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(port, public, ssl.TLSVersion.TLSv1_1)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/health/live")


def test_without_a_certificate_there_is_no_tls() -> None:
    assert context(Settings()) is None


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_half_of_a_pair_is_refused(tmp_path: Path, name: str) -> None:
    public, _ = certificate(tmp_path)
    with pytest.raises(Refused, match="go together"):
        context(Settings(**{name: public}))


def test_what_cannot_be_used_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    public, private = certificate(tmp_path)
    _, another = certificate(tmp_path, "another")
    _, locked = certificate(tmp_path, "locked", password=b"secret")
    (tmp_path / "empty").touch()
    for chosen, key, told in (
        (tmp_path / "missing.pem", private, "missing.pem"),
        (public, tmp_path / "missing.key", "missing.key"),
        (tmp_path, private, str(tmp_path)),
        (tmp_path / "empty", private, "empty"),
        (public, another, "another.key"),
        (public, locked, "locked.key"),
        (private, public, "gateway.key"),
    ):
        with pytest.raises(Refused) as refusal:
            context(Settings(tls_certificate=chosen, tls_key=key))
        assert told in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_a_gateway_with_a_broken_certificate_does_not_serve_without_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    broken = Settings(tls_certificate=tmp_path / "empty", tls_key=tmp_path / "empty", gateway_port=0)
    with pytest.raises(Refused):
        serve.serve(FastAPI(), broken)
