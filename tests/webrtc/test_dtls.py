from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import time
import weakref
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate

_dtls = pytest.importorskip("peerfetch_fast.webrtc._dtls")

ALICE = generate_certificate()
BOB = generate_certificate()
PROFILES = "SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80"
ALGORITHMS = ("sha-256", "sha-384", "sha-512")


def fingerprints(certificate: Certificate, *algorithms: str) -> list[tuple[str, bytes]]:
    return [
        (name, hashlib.new(name.replace("-", ""), certificate.der).digest())
        for name in algorithms or ALGORITHMS
    ]


def key_of(certificate: Certificate) -> ec.EllipticCurvePrivateKey:
    key = load_der_private_key(certificate.private_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def make(*, server: bool, own: Certificate, peer: Any, **options: Any) -> tuple[Any, list[bytes]]:
    sink = _dtls.ListSink()
    connection = _dtls.Dtls(
        server=server,
        certificate=own.der,
        private_key=own.private_key,
        fingerprints=fingerprints(peer) if isinstance(peer, Certificate) else peer,
        **{"srtp_profiles": PROFILES, "sink": sink, **options},
    )
    return connection, sink.datagrams


def test_the_openssl_that_is_loaded_is_told() -> None:
    assert re.match(r"OpenSSL \d+\.\d+\.\d+\S* ", _dtls.LIBRARY)


class Pair:
    """A client and a server that hear each other."""

    def __init__(
        self, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None
    ) -> None:
        self.client, self.from_client = make(
            **{"server": False, "own": ALICE, "peer": BOB, **(client or {})}
        )
        self.server, self.from_server = make(
            **{"server": True, "own": BOB, "peer": ALICE, **(server or {})}
        )
        self.sizes: list[int] = []
        self.client.start()
        self.server.start()

    def settle(self) -> None:
        """Deliver what was sent until nobody has more to say."""
        while self.from_client or self.from_server:
            for source, sink in (
                (self.from_client, self.server),
                (self.from_server, self.client),
            ):
                datagrams, source[:] = source[:], []
                for datagram in datagrams:
                    self.sizes.append(len(datagram))
                    assert sink.receive(datagram) == []

    @property
    def states(self) -> tuple[str, str]:
        return self.client.state, self.server.state


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    made.settle()
    assert made.states == ("connected", "connected")
    return made


def test_carries_data_both_ways(pair: Pair) -> None:
    for source, datagrams, sink in (
        (pair.client, pair.from_client, pair.server),
        (pair.server, pair.from_server, pair.client),
    ):
        for data in (b"x", bytes(range(256)) * 4, bytes(source.max_plaintext)):
            assert source.send(data)
            (datagram,) = datagrams
            datagrams.clear()
            assert sink.receive(datagram) == [data]


def test_no_datagram_is_too_long(pair: Pair) -> None:
    assert max(pair.sizes) <= _dtls.DATAGRAM_SIZE
    # Header, explicit nonce and tag of AES-GCM; ChaCha20-Poly1305 has no explicit nonce.
    overhead = 13 + 16 + (8 if "GCM" in pair.client.cipher else 0)
    assert pair.client.max_plaintext == _dtls.DATAGRAM_SIZE - overhead
    pair.client.send(bytes(pair.client.max_plaintext))
    assert len(pair.from_client[0]) == _dtls.DATAGRAM_SIZE
    assert pair.client.send(bytes(pair.client.max_plaintext + 1)) is False
    assert len(pair.from_client) == 1


@pytest.mark.parametrize("we_are_server", [True, False])
@pytest.mark.parametrize("profiles", [PROFILES, "SRTP_AES128_CM_SHA1_80"])
def test_it_speaks_with_aiortc_until_either_closes(we_are_server: bool, profiles: str) -> None:
    aiortc = pytest.importorskip("aiortc", reason="not everywhere a dependency")
    dtls = pytest.importorskip("aiortc.rtcdtlstransport")
    bob = aiortc.RTCCertificate(key_of(BOB), x509.load_der_x509_certificate(BOB.der))
    context = bob._create_ssl_context(srtp_profiles=dtls.SRTP_PROFILES)
    theirs = SSL.Connection(context)
    ours, datagrams = make(server=we_are_server, own=ALICE, peer=BOB, srtp_profiles=profiles)
    if we_are_server:
        theirs.set_connect_state()
    else:
        theirs.set_accept_state()
    with pytest.raises(RuntimeError, match="handshake"):
        _ = ours.peer_fingerprint
    ours.start()

    def from_them() -> list[bytes]:
        plaintexts = []
        while True:
            try:
                datagram = theirs.bio_read(1500)
            except SSL.WantReadError:
                return plaintexts
            plaintexts += ours.receive(datagram)

    for _ in range(10):
        try:
            theirs.do_handshake()
        except SSL.WantReadError:
            from_them()
            for datagram in datagrams:
                theirs.bio_write(datagram)
            datagrams.clear()
        else:
            break
    from_them()
    assert ours.state == "connected"

    assert ours.peer_fingerprint == BOB.fingerprint

    ours.send(b"to aiortc")
    theirs.bio_write(datagrams.pop())
    assert theirs.recv(1500) == b"to aiortc"
    theirs.send(b"from aiortc")
    assert from_them() == [b"from aiortc"]

    assert ours.srtp_profile.encode() == theirs.get_selected_srtp_profile()
    assert ours.export_keying_material("EXTRACTOR-dtls_srtp", 60) == (
        theirs.export_keying_material(b"EXTRACTOR-dtls_srtp", 60)
    )

    ours.close()
    theirs.bio_write(datagrams.pop())
    with pytest.raises(SSL.ZeroReturnError):
        theirs.recv(1500)


def test_peer_without_srtp_connects() -> None:
    sink = SSL.Context(SSL.DTLS_METHOD)
    sink.use_certificate(x509.load_der_x509_certificate(BOB.der))
    sink.use_privatekey(key_of(BOB))
    sink.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    theirs = SSL.Connection(sink)
    theirs.set_accept_state()
    ours, datagrams = make(server=False, own=ALICE, peer=BOB)
    ours.start()
    for _ in range(10):
        for datagram in datagrams:
            theirs.bio_write(datagram)
        datagrams.clear()
        with contextlib.suppress(SSL.WantReadError):
            theirs.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            while True:
                ours.receive(theirs.bio_read(1500))
    assert ours.state == "connected"
    assert ours.srtp_profile is None


@pytest.mark.parametrize("deceived", ["client", "server"])
@pytest.mark.parametrize(
    "expected",
    [
        fingerprints(generate_certificate(), "sha-256"),
        [*fingerprints(ALICE, "sha-256"), *fingerprints(BOB, "sha-256"), ("sha-512", bytes(64))],
        [("sha-1", bytes(20))],
        [],
        [("sha-256", b"")],
    ],
    ids=["other", "one of several", "only unknown", "none", "short"],
)
def test_stranger_is_refused(deceived: str, expected: list[tuple[str, bytes]]) -> None:
    pair = Pair(**{deceived: {"peer": expected}})
    pair.settle()
    assert getattr(pair, deceived).state == "failed"
    assert getattr(pair, deceived).error == "the handshake failed: certificate verify failed"
    # The other side gets an alert instead of a connection that nobody listens to.
    other = pair.server if deceived == "client" else pair.client
    assert other.state == "failed"
    with pytest.raises(RuntimeError):
        getattr(pair, deceived).export_keying_material("EXTRACTOR-dtls_srtp", 60)


@pytest.mark.parametrize(
    "expected",
    [
        fingerprints(BOB, "sha-512"),
        fingerprints(BOB),
        [*fingerprints(BOB, "sha-256"), ("md5", bytes(16))],
    ],
    ids=["another algorithm", "several", "one unknown"],
)
def test_friend_is_recognized(expected: list[tuple[str, bytes]]) -> None:
    pair = Pair(client={"peer": expected})
    pair.settle()
    assert pair.states == ("connected", "connected")


def test_garbage_does_not_take_good_records_along(pair: Pair) -> None:
    pair.client.send(b"good")
    (good,) = pair.from_client
    for bad in (b"\x17\xfe\xfd garbage", b"\x00", bytes(2000), good[:-1] + b"\x00", good[:20]):
        assert pair.server.receive(bad) == []
    assert pair.server.receive(good) == [b"good"]
    assert pair.states == ("connected", "connected")


def test_several_records_in_a_datagram(pair: Pair) -> None:
    for data in (b"one", b"two", b"three"):
        pair.client.send(data)
    assert pair.server.receive(b"".join(pair.from_client)) == [b"one", b"two", b"three"]


def test_replayed_records_are_dropped(pair: Pair) -> None:
    pair.client.send(b"once")
    (datagram,) = pair.from_client
    assert pair.server.receive(datagram) == [b"once"]
    assert pair.server.receive(datagram) == []


def test_reordered_records_are_taken_within_the_window(pair: Pair) -> None:
    """OpenSSL remembers 64 records, and before 3.2 a machine word of them: an older one counts as a
    replay, and is lost.
    """
    version = tuple(map(int, _dtls.LIBRARY.split()[1].split(".")[:2]))
    window = 64 if version >= (3, 2) or sys.maxsize > 1 << 32 else 32
    for i in range(window + 1):
        pair.client.send(b"%d" % i)
    newest = pair.from_client.pop()
    assert pair.server.receive(newest) == [b"%d" % window]
    arrived = [pair.server.receive(datagram) for datagram in reversed(pair.from_client)]
    assert arrived == [[b"%d" % i] for i in range(window - 1, 0, -1)] + [[]]


@pytest.mark.parametrize("closer", ["client", "server"])
def test_close_notify_closes_both_sides(pair: Pair, closer: str) -> None:
    side, other = (pair.client, pair.server) if closer == "client" else (pair.server, pair.client)
    side.close()
    pair.settle()
    assert pair.states == ("closed", "closed")
    assert side.send(b"no") is False
    assert other.send(b"no") is False
    side.close()
    assert pair.from_client == pair.from_server == []


@pytest.mark.parametrize("lost", ["from_client", "from_server"])
def test_lost_flight_is_sent_again(lost: str) -> None:
    pair = Pair()
    if lost == "from_server":
        for datagram in pair.from_client:
            pair.server.receive(datagram)
        pair.from_client.clear()
    getattr(pair, lost).clear()
    side = pair.client if lost == "from_client" else pair.server
    due = side.timeout()
    assert 0 < due <= 0.25
    side.handle_timeout()
    assert getattr(pair, lost) == []
    time.sleep(due)
    side.handle_timeout()
    assert getattr(pair, lost)
    assert 0.25 < side.timeout() <= 0.5
    pair.settle()
    assert pair.states == ("connected", "connected")
    assert pair.client.timeout() is None


def test_nothing_is_due_before_the_start() -> None:
    connection, datagrams = make(server=False, own=ALICE, peer=BOB)
    assert connection.state == "new"
    assert connection.timeout() is None
    connection.handle_timeout()
    assert connection.receive(b"\x16\xfe\xfd early") == []
    assert connection.send(b"early") is False
    assert datagrams == []
    connection.close()
    assert connection.state == "closed"
    connection.start()
    assert datagrams == []


@pytest.mark.parametrize("aes_in_hardware", [True, False])
def test_server_insists_on_its_order(aes_in_hardware: bool) -> None:
    pair = Pair(
        client={"cipher_list": _dtls.ciphers(not aes_in_hardware)},
        server={"cipher_list": _dtls.ciphers(aes_in_hardware)},
    )
    pair.settle()
    expected = "AES128-GCM-SHA256" if aes_in_hardware else "CHACHA20-POLY1305"
    assert pair.client.cipher == pair.server.cipher == f"ECDHE-ECDSA-{expected}"


def rsa_certificate() -> Certificate:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old browser")])
    template = x509.load_der_x509_certificate(ALICE.der)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(template.not_valid_before_utc)
        .not_valid_after(template.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(Encoding.DER),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )


def test_peer_with_an_rsa_certificate_connects() -> None:
    old = rsa_certificate()
    pair = Pair(client={"peer": old}, server={"own": old})
    pair.settle()
    assert pair.states == ("connected", "connected")


def test_arguments_that_cannot_be_used_are_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    key = other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    good: dict[str, Any] = {
        "server": True,
        "certificate": ALICE.der,
        "private_key": ALICE.private_key,
        "fingerprints": [],
        "srtp_profiles": PROFILES,
        "sink": _dtls.ListSink(),
    }
    _dtls.Dtls(**good)
    for name, value in {
        "certificate": b"none",
        "private_key": b"none",
        "srtp_profiles": "SRTP_NONE",
        "cipher_list": "NONE",
    }.items():
        with pytest.raises(ValueError, match=r"OpenSSL|cannot be used"):
            _dtls.Dtls(**{**good, name: value})
    with pytest.raises(ValueError, match="not the certificate's"):
        _dtls.Dtls(**{**good, "private_key": key})


@given(
    st.integers(0, 8),
    st.lists(st.binary(max_size=300), max_size=5),
    st.floats(0, 1, exclude_max=True, allow_subnormal=False),
    st.integers(0, 7),
)
def test_any_bytes_at_any_time(moment: int, garbage: list[bytes], where: float, bit: int) -> None:
    """Garbage, and real datagrams with a byte changed, at every stage of the handshake: nothing
    but a state comes of them, and never a plaintext."""
    pair = Pair()
    step = 0
    while pair.from_client or pair.from_server:
        for source, sink in ((pair.from_client, pair.server), (pair.from_server, pair.client)):
            datagrams, source[:] = source[:], []
            for datagram in datagrams:
                if step == moment:
                    changed = bytearray(datagram)
                    changed[int(where * len(changed))] ^= 1 << bit
                    for data in [*garbage, bytes(changed)]:
                        assert sink.receive(data) == []
                assert sink.receive(datagram) == []
                step += 1
    for side in (pair.client, pair.server):
        assert side.state in ("connecting", "connected", "failed")
        assert (side.state == "failed") == (side.error is not None)


def test_connections_of_one_certificate_expect_each_its_own_peer() -> None:
    """They share OpenSSL's context."""
    stranger = generate_certificate()
    right, wrong = Pair(), Pair(client={"peer": stranger})
    for pair in (right, wrong):
        pair.settle()
    assert right.states == ("connected", "connected")
    assert wrong.client.state == "failed"


def test_a_context_is_let_go_of_with_the_last_of_its_connections() -> None:
    own = generate_certificate()
    parameters = own.der, own.private_key, PROFILES
    context = _dtls.shared_context(*parameters)
    assert _dtls.shared_context(*parameters) is context
    gone = weakref.ref(context)
    connection, _ = make(server=False, own=own, peer=BOB)
    del context
    assert gone() is not None
    del connection
    assert gone() is None
