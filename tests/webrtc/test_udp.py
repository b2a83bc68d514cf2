from __future__ import annotations

import contextlib
import ipaddress
import itertools
import select
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import ifaddr
import pytest

_udp = pytest.importorskip("peerfetch_fast.webrtc._udp")

Received = list[tuple[bytes, tuple[str, int]]]
LINUX = sys.platform == "linux"
V6 = socket.has_ipv6


@contextlib.contextmanager
def udp(
    host: str = "127.0.0.1", callback: Callable[..., object] = lambda *_: None
) -> Iterator[Any]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_DGRAM)
    plain.bind((host, 0))
    sock = _udp.UdpSocket(plain, _udp.CallbackReceiver(callback))
    try:
        yield sock
    finally:
        sock.close()


def aim(source: Any, sink: Any) -> None:
    source.destination = _udp.Address(*sink.getsockname()[:2])


def readable(sock: Any) -> None:
    assert select.select([sock], [], [], 5)[0], "nothing came"


def receive_all(sock: Any, received: Received, count: int) -> None:
    while len(received) < count:
        readable(sock)
        sock.receive(1000)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not V6, reason="no IPv6"))]
)
@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [1200],
        [1500] * 43 + [7],
        [100, 100, 100, 101, 101, 50, 50, 1200, 1],
        list(range(1, 200)),
        list(range(200, 0, -1)),
        [1200] * 200,
    ],
    ids=["byte", "one", "segments", "mixed", "growing", "shrinking", "many"],
)
def test_datagrams_keep_their_bounds(host: str, gso: bool, sizes: list[int]) -> None:
    received: Received = []
    with (
        udp(host) as source,
        udp(host, lambda data, address: received.append((data, address))) as sink,
    ):
        aim(source, sink)
        source.gso = source.gso and gso
        sent = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
        for datagram in sent:
            assert source.queue(datagram)
        assert source.flush()
        receive_all(sink, received, len(sent))
        assert [data for data, _ in received] == sent
        assert {address for _, address in received} == {source.getsockname()[:2]}
        assert source.datagrams_sent == sink.datagrams_received == len(sent)
        assert source.bytes_sent == sink.bytes_received == sum(sizes)


@pytest.mark.skipif(not LINUX, reason="batches are Linux's")
def test_a_burst_takes_few_system_calls() -> None:
    received: Received = []
    with udp() as source, udp(callback=lambda *a: received.append(a)) as sink:
        aim(source, sink)
        for _ in range(256):
            source.queue(bytes(1200))
        source.flush()
        receive_all(sink, received, 256)
        assert source.send_calls <= 8
        if source.gso and sink.gro:
            assert sink.receive_calls <= 8


def test_queue_is_held_until_flush() -> None:
    with udp() as source, udp() as sink:
        aim(source, sink)
        source.queue(b"kept")
        assert source.pending == 1
        assert not select.select([sink], [], [], 0)[0]
        source.flush()
        assert source.pending == 0
        readable(sink)


def test_changing_the_destination_sends_what_waits_to_the_old_one() -> None:
    first: Received = []
    second: Received = []
    with (
        udp() as source,
        udp(callback=lambda *a: first.append(a)) as one,
        udp(callback=lambda *a: second.append(a)) as two,
    ):
        aim(source, one)
        source.queue(b"to one")
        aim(source, two)
        source.queue(b"to two")
        source.flush()
        receive_all(one, first, 1)
        receive_all(two, second, 1)
        assert (first[0][0], second[0][0]) == (b"to one", b"to two")


def test_budget_bounds_a_call() -> None:
    received: Received = []
    with udp() as source, udp(callback=lambda *a: received.append(a)) as sink:
        aim(source, sink)
        source.gso = False
        for i in range(100):
            source.queue(bytes([i]) * (1 + i % 2))
        source.flush()
        readable(sink)
        more = sink.receive(10)
        # A batch of 16 buffers at most; none of the equal neighbours can have been coalesced.
        assert more
        assert 10 <= len(received) <= 26 or sink.gro
        while len(received) < 100:
            more = sink.receive(10)
        assert not sink.receive(10)


def test_receiving_nothing_is_no_error() -> None:
    with udp() as sock:
        assert sock.receive(10) is False
        assert sock.datagrams_received == 0


def test_empty_datagrams_are_passed_over() -> None:
    received: Received = []
    with udp() as source, udp(callback=lambda *a: received.append(a)) as sink:
        source.sendto(b"", sink.getsockname())
        source.sendto(b"x", sink.getsockname())
        receive_all(sink, received, 1)
        assert [data for data, _ in received] == [b"x"]


def test_sendto_passes_what_waits() -> None:
    received: Received = []
    with udp() as source, udp(callback=lambda *a: received.append(a)) as sink:
        aim(source, sink)
        source.queue(b"second")
        source.sendto(b"first", sink.getsockname())
        source.flush()
        receive_all(sink, received, 2)
        assert [data for data, _ in received] == [b"first", b"second"]


def test_a_port_that_nobody_listens_on_does_no_harm() -> None:
    received: Received = []
    with udp() as source, udp() as gone, udp(callback=lambda *a: received.append(a)) as sink:
        address = gone.getsockname()
        gone.close()
        source.destination = _udp.Address(*address)
        for _ in range(3):
            source.queue(b"lost")
            assert source.flush()
        source.sendto(b"lost", address)
        source.receive(10)
        aim(source, sink)
        source.queue(b"arrives")
        source.flush()
        receive_all(sink, received, 1)


def test_no_way_to_the_destination_is_a_loss() -> None:
    with udp() as source:
        # From the loopback address there is no way out of this machine.
        source.destination = _udp.Address("203.0.113.1", 9)
        source.queue(b"lost")
        source.queue(b"lost")
        assert source.flush()
        assert source.pending == 0
        assert source.send_drops == 2
        source.sendto(b"lost", ("203.0.113.1", 9))
        assert source.send_drops == 3


@pytest.mark.skipif(not LINUX, reason="counted by Linux only")
def test_kernel_drops_are_counted() -> None:
    received: Received = []
    with udp() as source, udp(callback=lambda *a: received.append(a)) as sink:
        aim(source, sink)
        source.gso = False
        lost = 50
        room = sink.receive_buffer // 1200 + lost
        for _ in range(room):
            source.queue(bytes(1200))
        source.flush()
        while sink.receive(1000):
            pass
        # The count comes with the next datagram.
        source.queue(b"x")
        source.flush()
        receive_all(sink, received, len(received) + 1)
        assert sink.kernel_drops == room + 1 - len(received) > 0


def unresolved_neighbour() -> tuple[str, str] | None:
    """An address of ours and one beside it that nobody has, so that the kernel holds on to what
    is sent there while it asks for it."""
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str) and not ip.ip.startswith("127.") and ip.network_prefix <= 24:
                network = ipaddress.ip_network(f"{ip.ip}/{ip.network_prefix}", strict=False)
                return ip.ip, str(network[-7])
    return None


@pytest.mark.skipif(unresolved_neighbour() is None, reason="no network to fill a queue on")
def test_a_full_send_buffer_holds_the_queue() -> None:
    addresses = unresolved_neighbour()
    assert addresses is not None
    with udp(addresses[0]) as source:
        plain = socket.socket(fileno=socket.dup(source.fileno()))
        with plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        source.destination = _udp.Address(addresses[1], 9)
        source.gso = False
        accepted = next(n for n in itertools.count() if n > 10_000 or not source.queue(bytes(1200)))
        if accepted > 10_000:
            pytest.skip("this network takes everything")
        assert source.flush() is False
        assert source.send_drops == 0
        assert source.datagrams_sent + source.pending == accepted
        assert source.queue(bytes(1200)) is False


@pytest.mark.skipif(unresolved_neighbour() is None, reason="no network that is too narrow")
def test_segments_that_do_not_fit_the_path_leave_one_by_one() -> None:
    addresses = unresolved_neighbour()
    assert addresses is not None
    with udp(addresses[0]) as source:
        if not source.gso:
            pytest.skip("this kernel does not segment")
        source.destination = _udp.Address(addresses[1], 9)
        for _ in range(3):
            # With the headers, more than the 1,500 bytes of an Ethernet frame.
            source.queue(bytes(1500))
        assert source.flush()
        assert source.datagrams_sent == 3
        assert source.gso is False


def test_a_closed_socket_drops_what_is_sent() -> None:
    with udp() as source, udp() as sink:
        aim(source, sink)
        source.queue(b"dropped")
        source.close()
        source.close()
        assert source.fileno() == -1
        assert source.pending == 0
        assert source.queue(b"no") is False
        assert source.flush()
        assert source.receive(1) is False
        source.sendto(b"no", sink.getsockname())


def test_closing_from_within_a_callback_ends_the_batch() -> None:
    received: Received = []
    with udp() as source:

        def close(*arguments: Any) -> None:
            received.append(arguments)
            sink.close()

        with udp(callback=close) as sink:
            aim(source, sink)
            for _ in range(5):
                source.queue(b"same size")
            source.flush()
            readable(sink)
            assert sink.receive(100) is False
            assert len(received) == 1


def test_receiving_from_within_a_callback() -> None:
    inner: Received = []
    outer: Received = []
    with udp() as source, udp(callback=lambda *a: inner.append(a)) as second:

        def nested(*arguments: Any) -> None:
            outer.append(arguments)
            receive_all(second, inner, len(outer))

        with udp(callback=nested) as first:
            source.gso = False
            for sink in (first, second):
                aim(source, sink)
                for i in range(3):
                    source.queue(b"%d" % i * (i + 1))
                source.flush()
            receive_all(first, outer, 3)
            assert [data for data, _ in outer] == [b"0", b"11", b"222"]
            assert [data for data, _ in inner] == [b"0", b"11", b"222"]


def test_what_a_callback_raises_comes_out() -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("from the callback")

    with udp() as source, udp(callback=fail) as sink:
        source.sendto(b"x", sink.getsockname())
        readable(sink)
        with pytest.raises(RuntimeError, match="from the callback"):
            sink.receive(1)


@pytest.mark.parametrize("length", [0, _udp.MAX_SENT_DATAGRAM + 1])
def test_lengths_that_cannot_be_queued(length: int) -> None:
    with udp() as source, udp() as sink:
        aim(source, sink)
        with pytest.raises(ValueError, match=f"{length} bytes"):
            source.queue(bytes(length))


@pytest.mark.parametrize(
    ("host", "port"),
    [("localhost", 1), ("", 1), ("127.0.0.1", 0), ("127.0.0.1", 65536), ("127.0.0.1", -1)],
)
def test_addresses_that_are_none(host: str, port: int) -> None:
    with pytest.raises(ValueError, match="no"):
        _udp.Address(host, port)


def test_address_shows_itself() -> None:
    assert repr(_udp.Address("::1", 80)) == "Address('::1', 80)"
    assert repr(_udp.Address("192.0.2.1", 80)) == "Address('192.0.2.1', 80)"


def test_datagrams_are_told_apart_as_rfc_7983_says() -> None:
    """RFC 7983 section 7, figure 3."""
    ranges = {
        "stun": range(4),
        "zrtp": range(16, 20),
        "dtls": range(20, 64),
        "turn-channel": range(64, 80),
        "rtp": range(128, 192),
    }
    for first in range(256):
        expected = next((name for name, r in ranges.items() if first in r), "unknown")
        assert _udp.kind(first) == expected
