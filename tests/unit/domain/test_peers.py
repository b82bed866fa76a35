from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.domain.peers import Peer, PeerKind, UnknownPeer, peer_of

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*uris: str) -> bytes:
    now, nobody = datetime.now(UTC), x509.Name([])
    builder = x509.CertificateBuilder(nobody, nobody, KEY.public_key(), 1, now, now + timedelta(days=1))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


def shown(*spiffe_ids: str) -> dict[str, list[bytes]]:
    """What gRPC tells of a connection with a certificate."""
    return {"x509_pem_cert": [certificate(*spiffe_ids)], "peer_spiffe_id": [one.encode() for one in spiffe_ids]}


@pytest.mark.parametrize("context", [{}, {"transport_security_type": [b"insecure"]}])
def test_a_connection_without_a_certificate_has_no_peer(context: dict[str, list[bytes]]) -> None:
    assert peer_of(context, "muster") is None


@pytest.mark.parametrize("kind", PeerKind)
def test_a_certificate_names_its_owner_and_what_it_is_for(kind: PeerKind) -> None:
    spiffe_id = f"spiffe://muster/{kind.value}/one-2.eu_west"
    assert peer_of(shown(spiffe_id), "muster") == Peer(kind, "one-2.eu_west", spiffe_id)


@pytest.mark.parametrize(
    "spiffe_id",
    [
        "spiffe://other/gateway/one",
        "spiffe://muster.evil/gateway/one",
        "spiffe://musterevil/gateway/one",
        "spiffe://muster/control/one",
        "spiffe://muster/gateway",
        "spiffe://muster/gateway/",
        "spiffe://muster/gateway/one/two",
        "spiffe://muster/gateway/one\n",
        "spiffe://muster//gateway/one",
        "spiffe://muster/Gateway/one",
        "https://muster/gateway/one",
        "",
    ],
)
def test_any_other_name_is_unknown(spiffe_id: str) -> None:
    with pytest.raises(UnknownPeer):
        peer_of(shown(spiffe_id), "muster")


def test_a_certificate_with_no_name_or_several_is_unknown() -> None:
    for context in (shown(), shown("spiffe://muster/gateway/one", "spiffe://muster/worker/one")):
        with pytest.raises(UnknownPeer):
            peer_of(context, "muster")


@pytest.mark.parametrize("uris", [("spiffe://muster/worker/one\0.example",), ("spiffe://muster/worker/two",), ()])
def test_a_name_that_grpc_read_another_way_is_unknown(uris: tuple[str, ...]) -> None:
    context = {"x509_pem_cert": [certificate(*uris)], "peer_spiffe_id": [b"spiffe://muster/worker/one"]}
    with pytest.raises(UnknownPeer):
        peer_of(context, "muster")


def test_a_certificate_that_cannot_be_read_is_unknown() -> None:
    with pytest.raises(UnknownPeer):
        peer_of({"x509_pem_cert": [b"-----BEGIN"], "peer_spiffe_id": [b"spiffe://muster/worker/one"]}, "muster")
