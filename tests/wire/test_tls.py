"""Mutual TLS: who is let in, who is not, and certificates that change while calls go on."""

import asyncio
import dataclasses
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.api.tls import Transport
from control_plane.app import Running, control_plane
from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.client.lasting_channel import LastingChannel
from control_plane.client.tls import ClientTls
from control_plane.runtime.clock import SystemClock
from control_plane.runtime.development_ca import write_file
from control_plane.runtime.tls_files import TlsFiles, TlsPaths
from protos.directory.v1 import directory_pb2
from protos.lease.v1 import lease_pb2
from protos.tenancy.v1 import tenancy_pb2 as pb
from scim_gateway.token_watch import TokenWatch
from tests.fixtures.certificates import Certificates, client_of
from tests.fixtures.control_plane import ADMIN, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused

LIMIT_S = 5.0
UNAVAILABLE, UNAUTHENTICATED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
# Of docs/hardening.md.
pytestmark = pytest.mark.row(25)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certs")


@pytest_asyncio.fixture
async def running(database: Database, queue_url: str, certificates: Certificates) -> AsyncIterator[Running]:
    async with control_plane(settings(database, queue_url, **certificates.server())) as one:
        yield one


@asynccontextmanager
async def calling(running: Running, tls: ClientTls | None, token: str = "") -> AsyncIterator[ControlPlane]:
    async with open_channel(f"127.0.0.1:{running.port}", tls) as channel:
        yield ControlPlane(channel, token)


async def listed(api: ControlPlane) -> pb.ListTenantsResponse:
    return await api.tenants.ListTenants(pb.ListTenantsRequest(), metadata=api.metadata(), timeout=LIMIT_S)


async def discovered(api: ControlPlane, tenant: str) -> directory_pb2.GetDiscoveryResponse:
    request = directory_pb2.GetDiscoveryRequest(
        tenant_id=tenant, kind=directory_pb2.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG
    )
    return await api.schemas.GetDiscovery(request, metadata=api.metadata(), timeout=LIMIT_S)


async def health(channel: grpc.aio.Channel) -> None:
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)


async def test_certificates_say_who_calls(running: Running, certificates: Certificates) -> None:
    async with calling(running, certificates.client("admin/ada"), ADMIN) as admin:
        assert list((await listed(admin)).tenants) == []
    async with calling(running, certificates.client("gateway/1")) as gateway:
        verify = pb.VerifyTokenRequest(presented="no such token")
        answer = await refused(gateway.tokens.VerifyToken(verify, metadata=gateway.metadata(), timeout=LIMIT_S))
        assert answer.info.reason == "TOKEN_REFUSED"
        # A gateway's certificate is no worker's and no operator's, and the other way round.
        assert (await refused(leases(gateway))).code is DENIED
        assert (await refused(listed(gateway))).code is DENIED
    async with calling(running, certificates.client("worker/1")) as worker:
        assert (await refused(leases(worker))).info.reason == "LEASE_LOST"
        assert (await refused(worker.tokens.VerifyToken(verify, metadata=worker.metadata()))).code is DENIED


async def test_a_worker_goes_by_the_name_in_its_certificate(running: Running, certificates: Certificates) -> None:
    async with calling(running, certificates.client("worker/eu-1")) as worker:
        for name in ("eu-1", "eu-1-host-7", "eu-1/blue"):
            assert (await refused(leases(worker, name))).info.reason == "LEASE_LOST", name
        for name in ("eu-2", "eu-10", "", "worker"):
            answer = await refused(leases(worker, name))
            assert (answer.code, answer.info.reason) == (DENIED, "WORKER_ID"), name


def leases(api: ControlPlane, worker: str = "1") -> Any:
    lease = lease_pb2.Held(key=bytes(48), epoch=1, fence=1)
    request = lease_pb2.StreamLeaseMembersRequest(lease=lease, worker_id=worker)
    return api.leases.StreamLeaseMembers(request, metadata=api.metadata(), timeout=LIMIT_S)


async def test_who_is_not_known_is_refused(running: Running, certificates: Certificates, tmp_path: Path) -> None:
    stranger, foreign = Certificates(tmp_path / "stranger"), Certificates(tmp_path / "foreign", "elsewhere")
    ours = certificates.issue("gateway/1")
    cases = [
        # (who, what to call with, token, answer)
        ("plaintext", None, ADMIN, UNAVAILABLE),
        ("another authority's", client_of(stranger.issue("gateway/1"), ca=ours.ca), ADMIN, UNAVAILABLE),
        ("another trust domain's", client_of(foreign.issue("gateway/1"), ca=ours.ca), ADMIN, UNAVAILABLE),
        ("expired", certificates.client("gateway/2", age=timedelta(days=2)), ADMIN, UNAVAILABLE),
        # And the client refuses a server that another authority vouches for.
        ("trusts another authority", client_of(ours, ca=stranger.ca.ca_cert), ADMIN, UNAVAILABLE),
        ("an operator without a token", certificates.client("admin/ada"), "", UNAUTHENTICATED),
    ]
    for who, tls, token, code in cases:
        async with calling(running, tls, token) as api:
            assert (await refused(listed(api))).code is code, who
    # No certificate at all, but a token that would do.
    only_trust = grpc.ssl_channel_credentials(ours.ca.read_bytes())
    options = [*client_of(ours).options()]
    async with grpc.aio.secure_channel(f"127.0.0.1:{running.port}", only_trust, options=options) as channel:
        assert (await refused(listed(ControlPlane(channel, ADMIN)))).code is UNAVAILABLE


async def test_a_peer_of_another_trust_domain_is_nobody(
    database: Database, queue_url: str, certificates: Certificates
) -> None:
    # The same authority, which the certificate leads to; only the name is of somebody else's domain.
    chosen = settings(database, queue_url, **certificates.server(), tls_trust_domain="production")
    async with control_plane(chosen) as running:
        for name, token in (("gateway/1", ""), ("worker/1", ""), ("admin/ada", ADMIN)):
            async with calling(running, certificates.client(name), token) as api:
                assert (await refused(listed(api))).code is UNAUTHENTICATED, name


async def test_nobody_but_a_control_plane_is_taken_for_one(certificates: Certificates) -> None:
    ours = certificates.client("gateway/1")
    for name, answers in (("control-plane/2", True), ("worker/1", False), ("gateway/2", False), ("admin/ada", False)):
        async with serving(certificates, name) as port, open_channel(f"127.0.0.1:{port}", ours) as channel:
            if answers:
                await health(channel)
            else:
                assert (await refused(health(channel))).code is UNAVAILABLE, name
    # Nor is one of another name.
    other = dataclasses.replace(ours, server_name="control-plane.elsewhere")
    async with serving(certificates, "control-plane/2") as port, open_channel(f"127.0.0.1:{port}", other) as channel:
        assert (await refused(health(channel))).code is UNAVAILABLE


async def test_old_protocols_are_refused(certificates: Certificates) -> None:
    ours = certificates.issue("gateway/1")
    async with serving(certificates, "control-plane/1") as port:
        for version, agreed in (("TLSv1_1", None), ("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")):
            context = ssl.create_default_context(cafile=ours.ca)
            context.load_cert_chain(ours.cert, ours.key)
            context.set_alpn_protocols(["h2"])
            # OpenSSL itself would not offer the old ones.
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings(action="ignore"):
                context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
            assert await asyncio.to_thread(_handshake, context, port) == agreed


def _handshake(context: ssl.SSLContext, port: int) -> str | None:
    """Return the protocol version agreed on; None if there was no agreement."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname="control-plane.muster") as secure,
        ):
            return secure.version()
    except ssl.SSLError:
        return None


@asynccontextmanager
async def serving(certificates: Certificates, name: str) -> AsyncIterator[int]:
    """Serve health with the certificate of ``name``."""
    one = certificates.issue(name)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(_Healthy(), server)
    port = Transport(TlsFiles(TlsPaths(one.cert, one.key, one.ca))).add_port(server, "127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


class _Healthy(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    async def Check(self, request: Any, context: Any) -> Any:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


class Load:
    """Calls one after the other, in several lanes, and counts; a call that fails ends the test."""

    def __init__(self, call: Callable[[], Any], lanes: int = 4) -> None:
        self._call, self._lanes, self.done = call, lanes, 0

    async def __aenter__(self) -> "Load":
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(self._lane()) for _ in range(self._lanes)]
        return self

    async def __aexit__(self, *error: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(*error)

    async def _lane(self) -> None:
        while True:
            try:
                await self._call()
            except asyncio.CancelledError:
                # What gRPC says of a call whose channel was closed; a task group would take it for an orderly end.
                assert asyncio.current_task().cancelling(), "a call was cut"  # type: ignore[union-attr]  # we are one
                raise
            self.done += 1

    async def some_more(self, count: int = 60) -> None:
        """Wait until so many more calls were answered."""
        wanted = self.done + count
        while self.done < wanted:
            await self._call()
            self.done += 1


async def test_no_call_fails_while_certificates_and_authorities_change(
    running: Running, certificates: Certificates, tmp_path: Path
) -> None:
    successor = Certificates(tmp_path / "successor")
    server, gateway = certificates.issue("control-plane/1"), certificates.issue("gateway/1")
    async with calling(running, certificates.client("admin/ada"), ADMIN) as admin:
        request = pb.CreateTenantRequest(display_name="Acme")
        tenant = (await admin.tenants.CreateTenant(request, metadata=admin.metadata())).tenant.id
    old, new = certificates.ca.ca_cert.read_bytes(), successor.ca.ca_cert.read_bytes()

    def renewed(by: Certificates) -> None:
        for one, like in ((server, "control-plane/9"), (gateway, "gateway/9")):
            fresh = by.issue(like)
            write_file(one.cert, fresh.cert.read_bytes(), 0o600)
            write_file(one.key, fresh.key.read_bytes(), 0o600)

    def trusting(bundle: bytes) -> None:
        for one in (server, gateway):
            write_file(one.ca, bundle, 0o600)

    # As an authority is replaced: trusted besides the old one first, used then, and at last trusted alone.
    changes: tuple[Callable[[], None], ...] = (
        lambda: renewed(certificates),
        lambda: trusting(old + new),
        lambda: renewed(successor),
        lambda: trusting(new),
        lambda: renewed(successor),
    )
    tls = client_of(gateway)
    async with LastingChannel(f"127.0.0.1:{running.port}", tls, poll_s=3600, retire_s=LIMIT_S) as channel:
        api = ControlPlane(channel, "")
        async with Load(lambda: discovered(api, tenant)) as load:
            await load.some_more()
            for change in changes:
                change()
                # Whoever connects now meets the new files at the server; whoever is connected goes on.
                async with calling(running, tls) as another:
                    await discovered(another, tenant)
                await load.some_more()
                former = channel.current
                assert await channel.refresh()
                assert channel.current is not former
                assert not await channel.refresh()
                await load.some_more()
        assert load.done > 500
    # The first authority is trusted no more.
    async with calling(running, client_of(certificates.issue("gateway/old"), ca=server.ca)) as api:
        assert (await refused(discovered(api, tenant))).code is UNAVAILABLE


def unreadable_name(cert: bytes) -> bytes:
    """Return the certificate with a letter in its SPIFFE id that no such name can have: PEM, and yet of no use."""
    der = ssl.PEM_cert_to_DER_cert(cert.decode()).replace(b"spiffe://", b"spiff\xff://")
    return ssl.DER_cert_to_PEM_cert(der).encode()


async def test_files_that_do_not_fit_change_nothing(running: Running, certificates: Certificates) -> None:
    server, tls = certificates.issue("control-plane/1"), certificates.client("admin/ada")
    for path in (server.key, server.cert, server.ca):
        good = path.read_bytes()
        others = (unreadable_name(good),) if path == server.cert else ()
        for damaged in (b"", b"not PEM", certificates.issue("worker/9").key.read_bytes(), *others):
            write_file(path, damaged, 0o600)
            async with calling(running, tls, ADMIN) as api:
                await listed(api)
        path.unlink()
        async with calling(running, tls, ADMIN) as api:
            await listed(api)
        write_file(path, good, 0o600)


async def test_a_channel_that_cannot_connect_anew_keeps_the_former(
    running: Running, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.client.lasting_channel.CONNECT_S", 0.3)
    admin = certificates.issue("admin/ada")
    async with LastingChannel(f"127.0.0.1:{running.port}", client_of(admin), poll_s=3600) as channel:
        api = ControlPlane(channel, ADMIN)
        await listed(api)
        write_file(admin.ca, Certificates(tmp_path / "stranger").ca.ca_cert.read_bytes(), 0o600)
        assert not await channel.refresh()
        await listed(api)


class Verifier:
    """Counts what a token watch tells."""

    def __init__(self) -> None:
        # What happened on the stream that stands, and how many streams were cut.
        self.resets, self.cuts, self.changed = 0, 0, asyncio.Event()

    def on_reset(self) -> None:
        self.resets += 1
        self.changed.set()

    def on_heartbeat(self) -> None:
        pass

    def on_cut(self) -> None:
        self.resets, self.cuts = 0, self.cuts + 1
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


async def test_a_long_stream_is_opened_again_on_the_new_channel(running: Running, certificates: Certificates) -> None:
    tls = certificates.client("gateway/1")
    channel = LastingChannel(f"127.0.0.1:{running.port}", tls, poll_s=0.01, retire_s=0.01)
    async with channel, asyncio.TaskGroup() as group:
        verifier = Verifier()
        watch = TokenWatch(ControlPlane(channel, ""), verifier, SystemClock())  # type: ignore[arg-type]  # what it uses
        watching = group.create_task(watch.run())
        await verifier.until(lambda: verifier.resets > 0)
        certificates.issue("gateway/1")
        await verifier.until(lambda: verifier.cuts == 1 and verifier.resets > 0)
        watching.cancel()
