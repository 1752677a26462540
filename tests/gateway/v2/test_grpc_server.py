"""The gRPC port: TLS, a port that is taken, and none at all."""

from __future__ import annotations

import datetime
import ipaddress
import queue
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.fixtures.ports import free_port
from tests.gateway.conftest import KEY, Gateway, publish, started
from tests.gateway.fake_triton import FakeTriton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from medtower.errors import PortTaken
from medtower.gateway.app import create
from medtower.gateway.v2 import grpc_server, grpc_service
from medtower.settings import Settings


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def test_with_a_certificate_grpc_speaks_tls_only(
    settings: Settings, triton: FakeTriton, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    settings = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})
    address = f"127.0.0.1:{settings.gateway_grpc_port}"
    with started(settings, triton):
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(address, trusted) as channel:
            told = service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerMetadata(
                service_pb2.ServerMetadataRequest(), metadata=(("x-api-key", KEY),)
            )
            assert told.name == "medtower"
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerLive(
                service_pb2.ServerLiveRequest(), timeout=5
            )
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def _served(settings: Settings) -> None:
    parts = create(settings).state.parts
    try:
        async with grpc_server.serving(parts, settings):
            pass
    finally:
        parts.record.spool.close()


def test_a_port_that_somebody_holds_is_named(settings: Settings) -> None:
    import asyncio

    publish(settings)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = settings.model_copy(update={"gateway_grpc_port": holder.getsockname()[1]})
        with pytest.raises(PortTaken, match=str(taken.gateway_grpc_port)):
            asyncio.run(_served(taken))


def test_without_a_port_there_is_no_grpc(settings: Settings, triton: FakeTriton) -> None:
    port = free_port()
    with started(settings.model_copy(update={"gateway_grpc_port": 0}), triton) as gateway:
        assert gateway.http.get("/v2/health/live").status_code == 200
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def stream(channel: grpc.Channel, metadata: list[tuple[str, str]]) -> Any:
    """A ModelStreamInfer on which nothing is ever asked."""
    return channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(
        iter(queue.Queue().get, None), metadata=metadata
    )


def test_a_stream_without_a_login_ends_before_anything_is_asked(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.settings.gateway_grpc_port}") as channel:
        for metadata in ([], [("x-api-key", "mt_nobody_00")]):
            with pytest.raises(grpc.RpcError) as refused:
                next(stream(channel, metadata))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_on_which_nothing_is_asked_ends(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_service, "SILENCE_SECONDS", 0.05)
    address = f"127.0.0.1:{gateway.settings.gateway_grpc_port}"
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as ended:
        next(stream(channel, [("x-api-key", KEY)]))
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no request came" in ended.value.details()
