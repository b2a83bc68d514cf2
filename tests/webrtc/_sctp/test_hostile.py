"""What a peer that means harm must not get: memory, work, or what others own."""

from __future__ import annotations

import contextlib
import random
import struct

import pytest
from tests.webrtc._sctp.rawpeer import (
    ABORT,
    BEGIN,
    COOKIE_ECHO,
    DCEP,
    END,
    FORWARD_TSN,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    UNORDERED,
    Chunk,
    RawPeer,
    encode,
    parameter,
)

from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.errors import (
    AssociationAborted,
    PeerViolation,
    TooManyChannels,
)
from peerfetch_fast.webrtc._sctp.events import ChannelClosing
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

WINDOW = 4 * 1024 * 1024
LARGEST = AssociationSettings(max_received_packet=65_535)


def listening(
    settings: AssociationSettings | None = None, *, client: bool = True
) -> tuple[RawPeer, list[Channel]]:
    peer = RawPeer(settings, client=client).connect()
    channels: list[Channel] = []
    peer.association.on_channel = channels.append
    return peer, channels


def reset(peer: RawPeer, request: int, streams: list[int], *, last: int) -> bytes:
    return encode(
        RE_CONFIG,
        0,
        parameter(
            13,
            struct.pack(">III", (peer.tsn + request) & 0xFFFFFFFF, 0, peer.tsn + last)
            + b"".join(struct.pack(">H", stream) for stream in streams),
        ),
    )


def requests(chunks: list[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk.type == RE_CONFIG and chunk.body[1] == 13]


def performed(request: Chunk) -> bytes:
    return encode(RE_CONFIG, 0, parameter(16, request.body[4:8] + bytes([0, 0, 0, 1])))


class TestWhatIsWritten:
    @pytest.mark.parametrize("size", [4, 1_100, 1_136, 1_140, 1_148, 1_200, 12_000, 65_000])
    @pytest.mark.parametrize("packet_size", [256, 1_163])
    def test_a_heartbeat_is_answered_only_within_a_packet(
        self, size: int, packet_size: int
    ) -> None:
        peer, _ = listening(
            AssociationSettings(max_received_packet=65_535, max_packet_size=packet_size)
        )
        answers = peer.exchange(encode(HEARTBEAT, 0, parameter(1, bytes(size))))
        fits = 12 + 4 + 4 + size + -size % 4 <= packet_size & ~3
        assert [chunk.type for chunk in answers] == [HEARTBEAT_ACK] * fits

    @pytest.mark.parametrize("packet_size", [256, 300, 1_163])
    def test_reports_of_what_is_unknown_fit_a_packet(self, packet_size: int) -> None:
        settings = AssociationSettings(max_packet_size=packet_size)
        peer = RawPeer(settings, parameters=parameter(0xC123, bytes(500)) * 3)
        peer.connect()
        for data in (encode(0xFF, 0, bytes(1_000)), encode(0x7F, 0, bytes(1_000))):
            peer.send(data)
            sent = peer.association.next_packet(peer.now)
            assert sent is not None
            assert len(sent) <= packet_size
            peer.chunks()

    def test_a_packet_beyond_all_measure_is_dropped(self) -> None:
        peer, _ = listening()
        dropped = peer.association.packets_dropped
        peer.send(encode(HEARTBEAT, 0, parameter(1, bytes(2_050))))
        assert peer.association.packets_dropped == dropped + 1
        assert peer.chunks() == []

    def test_one_shutdown_ack_for_a_flood_of_shutdowns(self) -> None:
        peer, _ = listening()
        shutdown = encode(SHUTDOWN, 0, struct.pack(">I", peer.their_tsn - 1))
        for _ in range(100):
            peer.send(shutdown * 200)
        assert [chunk.type for chunk in peer.chunks()].count(SHUTDOWN_ACK) == 1

    def test_stale_cookies_are_answered_within_bounds(self) -> None:
        peer = RawPeer()
        ack = peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)[0]
        assert ack.type == INIT_ACK
        peer.learn(ack)
        peer.now += 100
        for _ in range(1_000):
            peer.send(encode(COOKIE_ECHO, 0, peer.cookie(ack)))
        assert len(peer.packets()) <= 16


class TestTheLifeOfAnId:
    """The table over channels.pyx."""

    def test_a_refused_id_is_nobodys_until_it_was_reset(self) -> None:
        peer, channels = listening()
        peer.send(
            peer.data(0, b"\3", protocol=DCEP),
            peer.data(
                1, struct.pack(">BBHIHH", 3, 0, 0, 0, 1, 0) + b"c", sequence=1, protocol=DCEP
            ),
        )
        (request,) = requests(peer.chunks())
        assert channels == []
        peer.exchange(performed(request), reset(peer, 0, [1], last=1))
        peer.exchange(peer.open_channel(2))
        assert [channel.ready_state for channel in channels] == ["open"]

    def test_an_id_that_is_being_reset_is_not_handed_out(self) -> None:
        peer, _ = listening()
        peer.send(peer.data(0, b"\3", stream=0, protocol=DCEP))
        channel = peer.association.open_channel("mine")
        assert channel.id == 2
        with pytest.raises(ValueError, match="channel id 0 is in use"):
            peer.association.open_channel("agreed on", id=0)
        (request,) = requests(peer.chunks())
        peer.exchange(performed(request))
        assert peer.association.open_channel("another").id == 0

    @pytest.mark.parametrize("queued", [0, 5])
    def test_a_reset_that_was_never_asked_for_changes_nothing(self, queued: int) -> None:
        peer, channels = listening()
        peer.exchange(peer.open_channel())
        for _ in range(queued):
            channels[0].send(bytes(50_000), peer.now)
        peer.chunks()
        number = peer.their_tsn.to_bytes(4, "big")
        forged = encode(RE_CONFIG, 0, parameter(16, number + bytes([0, 0, 0, 1])))
        peer.exchange(reset(peer, 0, [1], last=0), forged)
        # The peer's reset closes the channel; ours waits for what is queued.
        assert channels[0].ready_state == "closing"
        for _ in range(400):
            peer.wait(0.2)
            sent = peer.association.sender.next_tsn - peer.their_tsn
            asked = requests(peer.exchange(peer.sack(sent)))
            if asked:
                peer.exchange(performed(asked[0]))
            if channels[0].ready_state == "closed":
                break
        assert channels[0].ready_state == "closed"
        assert peer.association.sender.queued == 0

    @pytest.mark.parametrize("seed", range(20))
    def test_a_peer_that_says_anything_of_resets(self, seed: int) -> None:
        # Opens, refusals, resets and answers of it, true and false, in any order, while we send.
        rng = random.Random(seed)
        peer, channels = listening(AssociationSettings(max_channels=8))
        at = number = 0
        sequences: dict[int, int] = {}
        asked: list[Chunk] = []
        for _ in range(400):
            stream = rng.choice([0, 1, 2, 3, 5, 7])
            match rng.randrange(8):
                case 0 | 1:
                    body = rng.choice(
                        [b"\3", struct.pack(">BBHIHH", 3, 0, 0, 0, 1, 0) + b"c", b"\2"]
                    )
                    sequence = sequences.get(stream, 0)
                    sequences[stream] = sequence + 1
                    peer.send(peer.data(at, body, stream=stream, sequence=sequence, protocol=DCEP))
                    at += 1
                case 2:
                    peer.send(reset(peer, number, [stream], last=at - 1))
                    number += 1
                    sequences[stream] = 0
                case 3 if asked:
                    peer.send(performed(rng.choice(asked)))
                case 4:
                    body = (peer.their_tsn + rng.randrange(8)).to_bytes(4, "big")
                    result = bytes([0, 0, 0, rng.randrange(7)])
                    peer.send(encode(RE_CONFIG, 0, parameter(16, body + result)))
                case 5:
                    peer.send(peer.sack(peer.association.sender.next_tsn - peer.their_tsn))
                case 6:
                    for channel in channels:
                        if channel.ready_state == "open" and rng.random() < 0.5:
                            channel.send(bytes(rng.choice([1, 3_000])), peer.now)
                case 7:
                    if channels and rng.random() < 0.5:
                        rng.choice(channels).close(peer.now)
                    elif rng.random() < 0.3:
                        with contextlib.suppress(TooManyChannels):
                            channels.append(peer.association.open_channel("ours"))
            asked += requests(peer.wait(rng.choice([0.0, 0.05, 1.0])))
            if peer.association.error is not None:
                break
        assert not isinstance(peer.association.error, PeerViolation)
        peer.association.abort("over", peer.now)
        assert {channel.ready_state for channel in channels} <= {"closed"}
        assert peer.association.sender.queued == 0

    def test_a_negotiated_channel_beyond_what_the_peer_takes_is_closed(self) -> None:
        peer = RawPeer()
        association = peer.association
        far, near = association.open_channel("far", id=50_000), association.open_channel("n", id=4)
        closing = association.open_channel("closing", id=50_002)
        far.send(b"lost", peer.now)
        closing.close(peer.now)
        body = struct.pack(">IIHHI", peer.tag, 1 << 20, 100, 100, peer.tsn) + peer.parameters
        ack = peer.exchange(encode(INIT, 0, body), tag=0)[0]
        peer.learn(ack)
        peer.exchange(encode(COOKIE_ECHO, 0, peer.cookie(ack)))
        assert [c.ready_state for c in (far, closing, near)] == ["closed", "closed", "open"]
        assert association.sender.queued == 0


class TestDataAfterAReset:
    def test_old_numbers_go_on_for_a_while(self) -> None:
        # aiortc 1.9 resets a stream while its queue still holds messages for it, goes on with the
        # old numbers until the answer comes, and then counts from 0.
        peer, channels = listening()
        got: list[bytes | str] = []
        peer.exchange(peer.open_channel())
        channels[0].on_message = got.append
        for n in range(1, 5):
            peer.send(peer.data(n, b"before", sequence=n))
        peer.exchange(reset(peer, 0, [1], last=4))
        at = 5
        for sequence in (5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8):
            peer.send(peer.data(at, b"after", sequence=sequence))
            at += 1
        peer.chunks()
        assert got == [b"before"] * 4
        assert peer.association.ready_state == "established"
        assert peer.association.receiver.held_bytes == 0

    def test_the_old_life_is_not_mistaken_for_the_new_one(self) -> None:
        peer, _ = listening()
        peer.exchange(peer.open_channel(), reset(peer, 0, [1], last=0))
        # A leftover of the old life beyond a hole; then the stream is opened anew, and comes to the
        # same number.
        peer.exchange(peer.data(2, b"old", sequence=2))
        (request,) = requests(peer.exchange(peer.sack(1)))
        peer.exchange(performed(request))
        got: list[bytes | str] = []
        peer.association.on_channel = lambda channel: setattr(channel, "on_message", got.append)
        peer.exchange(peer.open_channel(3))
        for n in (1, 2, 3):
            peer.send(peer.data(3 + n, b"new %d" % n, sequence=n))
        peer.exchange(peer.data(1, b"the hole", flags=BEGIN | END | UNORDERED))
        assert got == [b"new 1", b"new 2", b"new 3", b"the hole"]

    @pytest.mark.parametrize(
        "sequences",
        [
            pytest.param([1, 0], id="used before"),
            pytest.param([1, 3], id="left out"),
            pytest.param([0x9000], id="far behind"),
        ],
    )
    def test_numbers_that_cannot_be_cost_the_channel_only(self, sequences: list[int]) -> None:
        peer, channels = listening()
        peer.exchange(peer.open_channel(0), peer.open_channel(1, stream=3))
        for n, sequence in enumerate(sequences):
            peer.send(peer.data(2 + n, sequence=sequence))
        assert [channel.ready_state for channel in channels] == ["closing", "open"]
        assert ChannelClosing(channels[0]) in peer.association.take_events()
        assert peer.association.ready_state == "established"

    def test_a_number_used_twice_beyond_a_hole(self) -> None:
        peer, channels = listening()
        got: list[bytes | str] = []
        peer.exchange(peer.open_channel())
        channels[0].on_message = got.append
        peer.send(peer.data(2, b"a", sequence=2), peer.data(3, b"b", sequence=2))
        peer.send(peer.data(1, b"first", sequence=1))
        assert got == [b"first", b"a"]
        assert channels[0].ready_state == "closing"
        assert peer.association.receiver.held_bytes == 0


class TestMemory:
    def test_whole_messages_whose_turn_never_comes(self) -> None:
        peer, _ = listening(LARGEST)
        at = 0
        for stream in (1, 3, 5):
            for sequence in range(1, 1_000):
                peer.send(peer.data(at, bytes(15_000), stream=stream, sequence=sequence))
                at += 1
        assert peer.association.receiver.held_bytes == 0
        assert peer.association.ready_state == "established"

    @pytest.mark.parametrize("flags", [BEGIN | END, 0, BEGIN, BEGIN | UNORDERED])
    def test_what_is_beyond_a_hole_stays_within_the_window(self, flags: int) -> None:
        peer, _ = listening(LARGEST)
        peer.exchange(peer.open_channel())
        for n in range(1, 600):
            peer.send(peer.data(2 * n, bytes(15_000), flags=flags, sequence=n + 1))
        held = peer.association.receiver.held_bytes
        assert held <= WINDOW
        (sack,) = [chunk for chunk in peer.chunks() if chunk.type == SACK]
        assert sack.window <= WINDOW - held
        # The next in order is taken all the same.
        peer.send(peer.data(1, sequence=1))
        assert peer.association.receiver.cumulative == peer.tsn + 2

    def test_ever_more_streams_end_the_association(self) -> None:
        peer, _ = listening(AssociationSettings(max_channels=16))
        peer.exchange(peer.open_channel())
        for n in range(1, 1_000):
            peer.send(peer.data(1 + n, stream=2 * n + 1, sequence=1))
        assert isinstance(peer.association.error, PeerViolation)
        assert "more streams than channels" in str(peer.association.error)

    def test_streams_without_a_channel_are_forgotten(self) -> None:
        peer, _ = listening(AssociationSettings(max_channels=16))
        for n in range(5_000):
            peer.send(encode(FORWARD_TSN, 0, struct.pack(">IHH", peer.tsn + n, 2 * n + 1, 4)))
        assert peer.association.ready_state == "established"

    @pytest.mark.parametrize("size", [256, 257, 65_535])
    def test_a_label_longer_than_allowed_is_refused(self, size: int) -> None:
        peer, channels = listening(AssociationSettings(max_received_packet=65_535, max_label=256))
        body = struct.pack(">BBHIHH", 3, 0, 0, 0, size, 0) + b"l" * size
        parts = [body[n : n + 60_000] for n in range(0, len(body), 60_000)]
        for n, part in enumerate(parts):
            flags = BEGIN * (n == 0) | END * (n == len(parts) - 1)
            peer.send(peer.data(n, part, flags=flags, protocol=DCEP))
        assert len(channels) == (size <= 256)
        assert bool(requests(peer.chunks())) == (size > 256)

    def test_labels_are_charged_and_given_back(self) -> None:
        peer, channels = listening(AssociationSettings(label_memory=4 * 1_000))
        body = struct.pack(">BBHIHH", 3, 0, 0, 0, 400, 0) + b"l" * 400
        for n in range(4):
            peer.send(peer.data(n, body, stream=2 * n + 1, protocol=DCEP))
        assert [channel.id for channel in channels] == [1, 3]
        answers = peer.chunks()
        answers += peer.exchange(peer.sack(2), reset(peer, 0, [1], last=3))
        for _ in range(3):
            answers = peer.exchange(*map(performed, requests(answers)))
        assert channels[0].ready_state == "closed"
        peer.send(peer.data(4, body, stream=9, protocol=DCEP))
        assert [channel.id for channel in channels] == [1, 3, 9]


@pytest.mark.parametrize("said", range(16))
@pytest.mark.parametrize("cause", [3, 12, 13])
def test_an_abort_whose_cause_lies_about_its_length(cause: int, said: int) -> None:
    peer, _ = listening()
    peer.send(encode(ABORT, 0, struct.pack(">HH", cause, said) + b"why"))
    error = peer.association.error
    assert isinstance(error, AssociationAborted)
    # The text is taken where the length fits what came.
    assert ("'" in str(error)) == (cause != 3 and 5 <= said <= 7)


def test_parts_far_outside_of_a_body_are_refused() -> None:
    peer, _ = listening()
    channel = peer.association.open_channel("c", ordered=False)
    for start, length in ((2**63 - 2, 4), (0, 6), (5, 1), (-1, 2), (2, 0)):
        with pytest.raises(ValueError, match="outside"):
            channel.send_parts(b"head", b"body.", start, length, peer.now)


def test_a_callback_cannot_receive_another_packet() -> None:
    peer, channels = listening()
    caught: list[BaseException] = []

    def receive_again(_: bytes | str) -> None:
        try:
            peer.send(peer.data(5))
        except RuntimeError as error:
            caught.append(error)

    peer.exchange(peer.open_channel())
    channels[0].on_message = receive_again
    peer.send(peer.data(1, sequence=1))
    assert len(caught) == 1
