from __future__ import annotations

import ctypes
import struct
import sys

import pytest
from tests.webrtc._sctp.rawpeer import DATA, DCEP, RE_CONFIG, Chunk, RawPeer, encode, parameter
from tests.webrtc._sctp.simulation import Path, Simulation

from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.errors import (
    ChannelClosed as ChannelClosedError,
)
from peerfetch_fast.webrtc._sctp.errors import (
    MessageTooLarge,
    TooManyChannels,
)
from peerfetch_fast.webrtc._sctp.events import ChannelClosed, ChannelClosing, ChannelOpen
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings


def pair(**options: object) -> tuple[Simulation, Channel, Channel]:
    """A channel opened by the client, and what the server has of it."""
    sim = Simulation()
    channel = sim.client.watch(
        sim.client.association.open_channel("label", "proto", **options)  # type: ignore[arg-type]
    )
    sim.connect()
    sim.settle()
    return sim, channel, sim.server.channels[0]


class TestOpening:
    @pytest.mark.parametrize("ordered", [False, True])
    @pytest.mark.parametrize(
        "limit", [{}, {"max_retransmits": 0}, {"max_retransmits": 7}, {"max_lifetime": 1.25}]
    )
    def test_the_peer_learns_all_of_it(self, ordered: bool, limit: dict[str, float]) -> None:
        _, ours, theirs = pair(ordered=ordered, **limit)
        for channel in (ours, theirs):
            assert (channel.label, channel.protocol) == ("label", "proto")
            assert channel.ordered == ordered
            assert channel.max_retransmits == limit.get("max_retransmits")
            assert channel.max_lifetime == limit.get("max_lifetime")
            assert channel.ready_state == "open"
            assert channel.id == 0
            assert not channel.negotiated

    def test_ids_by_dtls_role(self) -> None:
        sim = Simulation()
        ids = [[peer.association.open_channel().id for _ in range(3)] for peer in sim.peers]
        assert ids == [[0, 2, 4], [1, 3, 5]]

    def test_messages_of_every_kind(self) -> None:
        sim, ours, theirs = pair()
        messages: list[bytes | str] = [b"", "", b"\0", "\0", b"abc", "grüße", b"x" * 65_535]
        for message in messages:
            ours.send(message, sim.now)
            theirs.send(message, sim.now)
        sim.settle()
        assert sim.server.received[0] == sim.client.received[0] == messages

    def test_negotiated_channels_need_no_message(self) -> None:
        sim = Simulation()
        channels = [
            peer.watch(peer.association.open_channel("n", id=7, ordered=False))
            for peer in sim.peers
        ]
        sim.connect()
        channels[0].send("there", sim.now)
        channels[1].send("back", sim.now)
        sim.settle()
        assert (sim.server.received, sim.client.received) == ({7: ["there"]}, {7: ["back"]})
        assert sim.server.channels == []
        assert ChannelOpen(channels[0]) in sim.client.events

    def test_an_id_is_used_once(self) -> None:
        sim = Simulation()
        sim.client.association.open_channel(id=2)
        with pytest.raises(ValueError, match="in use"):
            sim.client.association.open_channel(id=2)
        assert sim.client.association.open_channel().id == 0
        assert sim.client.association.open_channel().id == 4
        with pytest.raises(ValueError, match="below"):
            sim.client.association.open_channel(id=65_535)

    def test_so_many_and_no_more(self) -> None:
        sim = Simulation(settings=AssociationSettings(max_channels=3))
        for _ in range(3):
            sim.client.association.open_channel()
        with pytest.raises(TooManyChannels):
            sim.client.association.open_channel()

    def test_limits_exclude_each_other(self) -> None:
        with pytest.raises(ValueError, match="exclude"):
            Simulation().client.association.open_channel(max_retransmits=1, max_lifetime=1.0)

    def test_a_message_that_the_peer_would_not_take(self) -> None:
        sim, ours, _ = pair()
        with pytest.raises(MessageTooLarge):
            ours.send(bytes(65_537), sim.now)
        with pytest.raises(TypeError):
            ours.send(bytearray(5), sim.now)  # type: ignore[arg-type]

    def test_messages_in_the_packet_of_the_open_are_not_missed(self) -> None:
        peer = RawPeer().connect()
        got: list[bytes | str] = []
        peer.association.on_channel = lambda channel: setattr(channel, "on_message", got.append)
        peer.send(peer.open_channel(), peer.data(1, b"at once", sequence=1))
        assert got == [b"at once"]

    def test_an_error_of_the_owner_is_reported_and_harms_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reported: list[object] = []
        monkeypatch.setattr("sys.unraisablehook", lambda info: reported.append(info.exc_value))
        sim, ours, theirs = pair()

        def fail(message: bytes | str) -> None:
            raise RuntimeError(message)

        theirs.on_message = fail
        ours.send("one", sim.now)
        ours.send("two", sim.now)
        sim.settle()
        assert [str(error) for error in reported] == ["one", "two"]
        assert sim.server.association.ready_state == "established"


@ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)
def split_by_first_byte(data: ctypes._Pointer[ctypes.c_uint8], length: int) -> int:
    """The first byte says how many to keep apart."""
    return data[0]


def splitter() -> object:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.cast(split_by_first_byte, ctypes.c_void_p), b"peerfetch.splitter", None)


class TestParts:
    @pytest.mark.parametrize("body_bytes", [1, 500, 1_128, 1_129, 3_000, 20_000])
    def test_two_parts_are_one_message(self, body_bytes: int) -> None:
        sim, ours, _ = pair(ordered=False)
        body = bytes(range(256)) * 100
        ours.send_parts(b"head", body, 7, body_bytes, sim.now)
        ours.send_parts(None, body, 0, len(body), sim.now)
        sim.settle()
        expected = [b"head" + body[7 : 7 + body_bytes], body]
        assert sorted(sim.server.received[0], key=len) == expected  # type: ignore[arg-type]

    @pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0), (0, 11), (8, 3)])
    def test_a_part_lies_within_the_body(self, start: int, length: int) -> None:
        sim, ours, _ = pair()
        with pytest.raises(ValueError, match="outside"):
            ours.send_parts(b"head", bytes(10), start, length, sim.now)

    @pytest.mark.parametrize("seed", range(10))
    def test_the_head_comes_apart_whatever_the_link_does(self, seed: int) -> None:
        sim, ours, theirs = pair(ordered=False)
        got: list[bytes] = []
        whole: list[bytes] = []
        theirs.on_message = whole.append
        theirs.take_parts(splitter(), lambda head, body: got.append(head + b"|" + body))
        sim.random.seed(seed)
        sim.paths = dict.fromkeys(sim.paths, Path(loss=0.1, jitter=0.01))
        heads = [bytes([size]) * size for size in (1, 5, 200)]
        for head in heads:
            ours.send_parts(head, bytes(30_000), 0, 30_000, sim.now)
        # What fits one packet, or is not to be split, comes as it is.
        ours.send_parts(b"\x02\x02", bytes(20), 0, 20, sim.now)
        ours.send(bytes(5_000), sim.now)
        sim.settle()
        assert sorted(got) == [head + b"|" + bytes(30_000) for head in heads]
        assert sorted(whole) == [bytes(5_000), b"\x02\x02" + bytes(20)]
        assert sim.server.association.receiver.held_bytes == 0


class TestClosing:
    @pytest.mark.parametrize("who", ["client", "server", "both"])
    @pytest.mark.parametrize("loss", [0.0, 0.25])
    @pytest.mark.parametrize("seed", range(5))
    def test_what_was_sent_arrives_and_the_id_is_free(
        self, who: str, loss: float, seed: int
    ) -> None:
        sim = Simulation(there=Path(loss=loss, jitter=0.03), seed=seed)
        sim.connect()
        for round_number in range(3):
            channel = sim.client.association.open_channel("c")
            assert channel.id == 0
            channel.send(bytes([round_number]) * 20_000, sim.now)
            sim.settle()
            remote = sim.server.channels[-1]
            remote.send(b"back", sim.now)
            channel.send(b"last", sim.now)
            if who in ("client", "both"):
                channel.close(sim.now)
            if who in ("server", "both"):
                remote.close(sim.now)
            sim.run_until(
                lambda: {channel.ready_state, remote.ready_state} == {"closed"},  # noqa: B023
                60.0,
            )
            assert sim.client.events.count(ChannelClosed(channel)) == 1
            assert sim.server.events.count(ChannelClosed(remote)) == 1
            expected = [bytes([round_number]) * 20_000]
            if who == "client":
                expected.append(b"last")
                assert sim.server.events.count(ChannelClosing(remote)) == 1
            assert sim.server.received.pop(0)[:2] == expected

    def test_a_closing_channel_sends_no_more(self) -> None:
        sim, ours, theirs = pair()
        ours.close(sim.now)
        assert ours.ready_state == "closing"
        with pytest.raises(ChannelClosedError):
            ours.send(b"x", sim.now)
        sim.run_for(1.0)
        assert theirs.ready_state == "closed"
        with pytest.raises(ChannelClosedError):
            theirs.send(b"x", sim.now)
        assert theirs.buffered_amount == 0

    def test_the_request_waits_for_the_last_acknowledgement(self) -> None:
        peer = RawPeer().connect()
        channel = peer.association.open_channel("c")
        channel.send(b"x" * 3_000, peer.now)
        channel.close(peer.now)
        sent = peer.chunks()
        assert {chunk.type for chunk in sent} == {DATA}
        (request,) = peer.exchange(peer.sack(len(sent)))
        assert request.type == RE_CONFIG
        kind, length, number, _, last_tsn, stream = struct.unpack(">HHIIIH", request.body[:18])
        assert (kind, length, stream) == (13, 18, 0)
        assert number == peer.their_tsn
        assert last_tsn == peer.their_tsn + len(sent) - 1

    def test_a_stream_opened_again_has_been_reset(self) -> None:
        # RFC 8831 §6.7: the peer takes an id again only once it has done what we asked of it. Its
        # answer may come later, or be lost.
        peer = RawPeer().connect()
        channels: list[Channel] = []
        peer.association.on_channel = channels.append
        peer.exchange(peer.open_channel())
        (request,) = [
            chunk
            for chunk in peer.exchange(peer.sack(1), self.reset(peer, 0, [1], last=0))
            if chunk.type == RE_CONFIG and chunk.body[:2] == b"\0\x0d"
        ]
        peer.exchange(peer.open_channel(1))
        assert [channel.ready_state for channel in channels] == ["closed", "open"]
        got: list[bytes | str] = []
        channels[1].on_message = got.append
        answer = encode(RE_CONFIG, 0, parameter(16, request.body[4:8] + bytes([0, 0, 0, 1])))
        peer.exchange(answer, peer.data(2, b"hello", sequence=1), peer.sack(2))
        assert got == [b"hello"]
        assert channels[1].ready_state == "open"
        # And closes like any other.
        channels[1].close(peer.now)
        (request,) = peer.chunks()
        assert request.type == RE_CONFIG
        number = (peer.their_tsn + 1).to_bytes(4, "big")
        assert request.body[4:8] == number
        answer = encode(RE_CONFIG, 0, parameter(16, number + bytes([0, 0, 0, 1])))
        peer.exchange(answer, self.reset(peer, 1, [1], last=2))
        assert channels[1].ready_state == "closed"

    def test_a_request_in_progress_is_asked_again(self) -> None:
        # RFC 6525 §5.2.7.
        peer = RawPeer().connect()
        channel = peer.association.open_channel("c")
        peer.chunks()
        channel.close(peer.now)
        (request,) = peer.exchange(peer.sack(1))
        progress = encode(RE_CONFIG, 0, parameter(16, request.body[4:8] + bytes([0, 0, 0, 6])))
        assert peer.exchange(progress) == []
        again = [chunk for chunk in peer.wait(1.5) if chunk.type == RE_CONFIG]
        assert again[0] == request
        done = encode(RE_CONFIG, 0, parameter(16, request.body[4:8] + bytes([0, 0, 0, 1])))
        peer.send(done)
        assert channel.ready_state == "closing"
        peer.send(self.reset(peer, 0, [0]))
        assert channel.ready_state == "closed"

    @staticmethod
    def reset(peer: RawPeer, request: int, streams: list[int], *, last: int = -1) -> bytes:
        return encode(
            RE_CONFIG,
            0,
            parameter(
                13,
                struct.pack(
                    ">III",
                    (peer.tsn + request) & 0xFFFFFFFF,
                    peer.their_tsn,
                    (peer.tsn + last) & 0xFFFFFFFF,
                )
                + b"".join(struct.pack(">H", stream) for stream in streams),
            ),
        )

    @staticmethod
    def results(chunks: list[Chunk]) -> list[int]:
        return [
            int.from_bytes(chunk.body[8:12], "big")
            for chunk in chunks
            if chunk.type == RE_CONFIG and chunk.body[1] == 16
        ]

    def test_a_reset_waits_for_the_data_before_it(self) -> None:
        peer = RawPeer().connect()
        got: list[bytes | str] = []
        peer.association.on_channel = lambda channel: setattr(channel, "on_message", got.append)
        peer.send(peer.open_channel())
        assert self.results(peer.exchange(self.reset(peer, 0, [1], last=2))) == [6]
        assert self.results(peer.exchange(self.reset(peer, 0, [1], last=2))) == [6]
        peer.send(peer.data(2, b"b", sequence=2))
        assert self.results(peer.exchange(peer.data(1, b"a", sequence=1))) == [1]
        assert got == [b"a", b"b"]
        # Repeated, it is answered again and not done again.
        assert self.results(peer.exchange(self.reset(peer, 0, [1], last=2))) == [1]
        assert self.results(peer.exchange(self.reset(peer, 5, [1], last=2))) == [5]

    def test_an_empty_list_means_every_stream(self) -> None:
        peer = RawPeer().connect()
        channels: list[Channel] = []
        peer.association.on_channel = channels.append
        peer.send(peer.open_channel(0), peer.open_channel(1, stream=3))
        peer.exchange(self.reset(peer, 0, [], last=1))
        assert [channel.ready_state for channel in channels] == ["closing", "closing"]

    def test_other_requests_are_denied_but_more_streams_granted(self) -> None:
        peer = RawPeer().connect()
        number = peer.tsn
        for kind, body, result in (
            (14, struct.pack(">H", 0), 2),
            (15, b"", 2),
            (17, struct.pack(">HH", 5, 0), 2),
            (18, struct.pack(">HH", 5, 0), 2),
        ):
            request = encode(RE_CONFIG, 0, parameter(kind, number.to_bytes(4, "big") + body))
            assert self.results(peer.exchange(request)) == [result]
            assert self.results(peer.exchange(request)) == [result]
            number += 1

    def test_a_flood_of_resets_is_answered_within_bounds(self) -> None:
        peer = RawPeer().connect()
        for request in range(10_000):
            peer.send(self.reset(peer, request, list(range(400))))
        answers = peer.chunks()
        assert len(answers) <= 16
        assert peer.association.ready_state == "established"

    def test_a_peer_without_resets_loses_the_channel_but_not_the_id(self) -> None:
        peer = RawPeer(extensions=b"\xc0").connect()
        channel = peer.association.open_channel("c")
        peer.chunks()
        channel.close(peer.now)
        assert peer.exchange(peer.sack(1)) == []
        assert channel.ready_state == "closed"
        # Its sequence numbers were not reset, so the id must not come again.
        assert peer.association.open_channel("d").id == 2


class TestHostile:
    @pytest.mark.parametrize(
        "message",
        [
            b"\x03",
            struct.pack(">BBHIHH", 3, 0, 0, 0, 5, 0) + b"four",
            struct.pack(">BBHIHH", 3, 0, 0, 0, 1, 0) + b"12",
            struct.pack(">BBHIHH", 3, 3, 0, 0, 0, 0),
            struct.pack(">BBHIHH", 3, 0x83, 0, 0, 0, 0),
        ],
    )
    def test_an_open_that_makes_no_sense_is_answered_with_a_reset(self, message: bytes) -> None:
        peer = RawPeer().connect()
        channels: list[Channel] = []
        peer.association.on_channel = channels.append
        replies = peer.exchange(peer.data(0, message, protocol=DCEP))
        assert RE_CONFIG in [chunk.type for chunk in replies]
        assert channels == []

    def test_an_open_of_our_own_parity(self) -> None:
        peer = RawPeer().connect()
        channels: list[Channel] = []
        peer.association.on_channel = channels.append
        replies = peer.exchange(peer.open_channel(stream=4))
        assert RE_CONFIG in [chunk.type for chunk in replies]
        assert channels == []

    def test_an_open_on_a_channel_closes_it(self) -> None:
        peer = RawPeer().connect()
        channels: list[Channel] = []
        peer.association.on_channel = channels.append
        peer.send(peer.open_channel())
        again = struct.pack(">BBHIHH", 3, 0, 0, 0, 0, 0)
        peer.send(peer.data(1, again, protocol=DCEP, sequence=1))
        assert [channel.ready_state for channel in channels] == ["closing"]

    def test_too_many_channels_are_refused(self) -> None:
        peer = RawPeer(AssociationSettings(max_channels=10)).connect()
        channels: list[Channel] = []
        peer.association.on_channel = channels.append
        for index in range(1_000):
            peer.send(peer.open_channel(index, stream=2 * index + 1))
        assert len(channels) == 10
        assert peer.association.ready_state == "established"

    def test_messages_for_no_channel_or_of_no_known_kind_are_dropped(self) -> None:
        peer = RawPeer().connect()
        got: list[bytes | str] = []
        peer.association.on_channel = lambda channel: setattr(channel, "on_message", got.append)
        peer.send(peer.data(0, b"early", stream=9), peer.open_channel(1))
        peer.send(peer.data(2, b"?", protocol=99, sequence=1))
        peer.send(peer.data(3, b"\x02", protocol=DCEP, stream=77))
        peer.send(peer.data(4, b"\x09", protocol=DCEP, stream=78))
        assert got == []
        assert peer.association.ready_state == "established"


@pytest.mark.parametrize("ending", ["acknowledged", "aborted"])
def test_the_callers_bytes_are_borrowed_and_let_go(ending: str) -> None:
    sim, ours, theirs = pair()
    theirs.on_message = None
    message = bytes(bytearray(60_000))
    before = sys.getrefcount(message)
    ours.send(message, sim.now)
    assert sys.getrefcount(message) == before + 1
    sim.run_for(0.015)
    assert sys.getrefcount(message) == before + 1
    if ending == "aborted":
        sim.client.association.abort("done", sim.now)
    else:
        sim.settle()
    assert sys.getrefcount(message) == before
