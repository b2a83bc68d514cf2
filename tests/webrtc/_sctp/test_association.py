from __future__ import annotations

import base64
import dataclasses
import struct

import pytest
from tests.webrtc._sctp.rawpeer import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    ERROR,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    RawPeer,
    decode,
    encode,
    packet,
    parameter,
)
from tests.webrtc._sctp.simulation import Path, Simulation

from peerfetch_fast.webrtc._sctp.association import Association, init_chunk
from peerfetch_fast.webrtc._sctp.errors import (
    AssociationAborted,
    AssociationLost,
    PeerViolation,
)
from peerfetch_fast.webrtc._sctp.events import Connected, Disconnected
from peerfetch_fast.webrtc._sctp.handshake import is_init
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

BOTH = ("client", "server")


def types(chunks: list) -> list[int]:
    return [chunk.type for chunk in chunks]


class TestHandshake:
    def test_an_association_that_one_side_begins_is_established_on_both(self) -> None:
        sim = Simulation()
        sim.client.association.connect(sim.now)
        sim.run_until(lambda: sim.client.association.ready_state == "established", 1.0)
        assert sim.server.association.ready_state == "established"
        assert sim.client.events == sim.server.events == [Connected()]

    def test_from_both_sides_at_once(self) -> None:
        # RFC 9260 §5.2.1; WebRTC does it always (RFC 8841 §9.3).
        sim = Simulation()
        sim.connect()
        assert sim.client.events == sim.server.events == [Connected()]
        sim.client.association.open_channel("c").send("hello", sim.now)
        sim.run_for(1.0)
        assert sim.server.received == {0: ["hello"]}

    @pytest.mark.parametrize("seed", range(30))
    def test_over_a_link_that_loses_every_third_packet_and_reorders(self, seed: int) -> None:
        sim = Simulation(there=Path(loss=0.33, jitter=0.1, duplication=0.2), seed=seed)
        channel = sim.client.association.open_channel("c")
        channel.send("early", sim.now)
        sim.connect()
        sim.settle()
        assert sim.server.received == {0: ["early"]}

    def test_nobody_answers(self) -> None:
        settings = AssociationSettings(max_init_retransmissions=3)
        sim = Simulation(settings=settings)
        sim.cut = True
        sim.client.association.connect(sim.now)
        sim.run_until(lambda: sim.client.association.ready_state == "closed", 30.0)
        assert isinstance(sim.client.association.error, AssociationLost)
        assert sim.client.packets == 1 + settings.max_init_retransmissions
        assert sim.client.events == [Disconnected()]
        assert sim.client.association.next_deadline() is None

    def test_the_initiator_remembers_nothing_until_the_cookie_returns(self) -> None:
        peer = RawPeer()
        for _ in range(100):
            assert types(peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)) == [INIT_ACK]
        assert peer.association.ready_state == "closed"

    def test_a_forged_cookie_is_ignored(self) -> None:
        peer = RawPeer()
        ack = peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)[0]
        peer.learn(ack)
        cookie = bytearray(peer.cookie(ack))
        cookie[10] ^= 1
        assert peer.exchange(encode(COOKIE_ECHO, 0, bytes(cookie))) == []
        assert peer.association.ready_state == "closed"

    def test_a_stale_cookie_is_refused(self) -> None:
        peer = RawPeer()
        ack = peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)[0]
        peer.learn(ack)
        peer.now += 61.0
        replies = peer.exchange(encode(COOKIE_ECHO, 0, peer.cookie(ack)))
        assert types(replies) == [ERROR]
        assert replies[0].body[:2] == b"\x00\x03"
        assert peer.association.ready_state == "closed"

    def test_a_lost_cookie_ack_is_sent_again(self) -> None:
        peer = RawPeer()
        ack = peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)[0]
        peer.learn(ack)
        echo = encode(COOKIE_ECHO, 0, peer.cookie(ack))
        assert types(peer.exchange(echo)) == [COOKIE_ACK]
        assert types(peer.exchange(echo)) == [COOKIE_ACK]
        assert peer.association.take_events() == [Connected()]

    def test_data_stands_for_a_lost_cookie_ack(self) -> None:
        sim = Simulation()
        sim.filter = lambda name, data: data[12] != COOKIE_ACK
        channel = sim.server.association.open_channel("c")
        channel.send(b"x", sim.now)
        sim.client.association.connect(sim.now)
        sim.run_for(0.2)
        assert sim.client.association.ready_state == "established"
        assert sim.client.received == {1: [b"x"]}

    def test_a_restarted_peer_ends_the_association(self) -> None:
        peer = RawPeer().connect()
        peer.tag = 0x77777777
        ack = peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)[0]
        assert types([ack]) == [INIT_ACK]
        assert peer.association.ready_state == "established"
        peer.learn(ack)
        peer.send(encode(COOKIE_ECHO, 0, peer.cookie(ack)))
        assert isinstance(peer.association.error, AssociationAborted)

    @pytest.mark.parametrize("field", ["tag", "outgoing", "incoming"])
    def test_an_init_with_zeros_is_discarded(self, field: str) -> None:
        peer = RawPeer()
        values = {"tag": 5, "window": 5000, "outgoing": 10, "incoming": 10, "tsn": 1, field: 0}
        body = struct.pack(">IIHHI", *values.values())
        assert peer.exchange(encode(INIT, 0, body), tag=0) == []

    def test_an_init_must_come_alone(self) -> None:
        peer = RawPeer()
        init = encode(INIT, 0, peer.init_body())
        assert peer.exchange(init, encode(HEARTBEAT, 0, b""), tag=0) == []

    def test_unknown_parameters_are_reported_or_skipped_by_their_highest_bits(self) -> None:
        reported = parameter(0xC123, b"reported")
        skipped = parameter(0x8123, b"skip")
        stopping = parameter(0x4123, b"stop")
        peer = RawPeer(parameters=reported + skipped + stopping + parameter(0xC124, b"after"))
        ack = peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)[0]
        assert parameter(8, reported) in ack.body
        assert b"skip" not in ack.body
        assert parameter(8, stopping) in ack.body
        assert b"after" not in ack.body

    def test_a_data_channel_may_be_used_before_the_handshake(self) -> None:
        sim = Simulation()
        channel = sim.client.association.open_channel("c")
        assert channel.ready_state == "connecting"
        channel.send(b"x", sim.now)
        sim.connect()
        sim.settle()
        assert channel.ready_state == "open"
        assert sim.server.received == {0: [b"x"]}


class TestDescribed:
    """Associations whose INITs were in the descriptions (draft-hancke-tsvwg-snap)."""

    #: Chromium 156's, and the example of the draft.
    CHROMIUM = base64.b64decode("AQAAHols3R0AUAAA/////+B5ZR3AAAAEgAgABoLA")

    def test_no_handshake_is_needed(self) -> None:
        sim = Simulation(described=BOTH)
        seen = []
        sim.filter = lambda name, data: seen.append(data[12]) is None
        channel = sim.client.association.open_channel("c")
        channel.send("first", sim.now)
        for peer in sim.peers:
            peer.association.connect(sim.now)
        assert [peer.association.ready_state for peer in sim.peers] == ["established"] * 2
        # Half a round trip.
        sim.run_for(sim.paths["client"].delay + 0.001)
        assert sim.server.received == {0: ["first"]}
        sim.settle()
        assert not {INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK} & set(seen)

    @pytest.mark.parametrize("seed", range(10))
    def test_over_a_link_that_loses_every_third_packet_and_reorders(self, seed: int) -> None:
        sim = Simulation(
            there=Path(loss=0.33, jitter=0.1, duplication=0.2), seed=seed, described=BOTH
        )
        channels = [peer.association.open_channel("c") for peer in sim.peers]
        for channel in channels:
            for number in range(20):
                channel.send(str(number), sim.now)
        sim.connect()
        sim.settle()
        for peer, channel in zip(reversed(sim.peers), channels, strict=True):
            assert peer.received[channel.id] == [str(number) for number in range(20)]

    @pytest.mark.parametrize("zero", [True, False])
    def test_what_the_peer_can_is_taken_from_its_description(self, zero: bool) -> None:
        sim = Simulation(
            settings=AssociationSettings(zero_checksum=zero),
            server_settings=AssociationSettings(),
            described=BOTH,
        )
        checksums = []
        sim.filter = lambda name, data: checksums.append(data[8:12]) is None
        channel = sim.client.association.open_channel("c", ordered=False, max_retransmits=0)
        sim.connect()
        sim.settle()
        assert ({bytes(4)} == set(checksums)) is zero
        channel.close(sim.now)
        sim.run_until(lambda: channel.ready_state == "closed", 5.0)

    @pytest.mark.parametrize("name", ["client", "server"])
    def test_who_does_not_know_the_others_description_shakes_hands(self, name: str) -> None:
        """Somebody has taken it out of the description on its way."""
        sim = Simulation(described=[other for other in BOTH if other != name])
        channels = [peer.association.open_channel("c") for peer in sim.peers]
        for channel in channels:
            channel.send("hello", sim.now)
        sim.connect()
        sim.settle()
        for peer, channel in zip(reversed(sim.peers), channels, strict=True):
            assert peer.received[channel.id] == ["hello"]

    def test_an_init_that_comes_late_changes_nothing(self) -> None:
        peer = RawPeer(described=True)
        peer.association.connect(peer.now)
        assert types(peer.exchange(encode(INIT, 0, peer.init_body()), tag=0)) == [INIT_ACK]
        peer.exchange(peer.open_channel())
        assert peer.exchange(encode(INIT, 0, peer.init_body()), tag=0) == []
        assert peer.association.ready_state == "established"

    def test_it_begins_when_it_is_told_to(self) -> None:
        peer = RawPeer(described=True)
        assert peer.association.ready_state == "closed"
        assert peer.association.next_deadline() is None
        assert peer.chunks() == []

    def test_what_is_described_is_what_would_be_sent(self) -> None:
        settings = AssociationSettings()
        association = Association(settings, bytes(32), client=True)
        association.connect(0.0)
        _, (sent,) = decode(association.next_packet(0.0) or b"")
        assert init_chunk(settings, bytes(32)) == encode(INIT, 0, sent.body)

    def test_an_init_is_told_from_other_bytes(self) -> None:
        ours = init_chunk(AssociationSettings(), bytes(32))
        assert is_init(ours)
        assert is_init(self.CHROMIUM)
        assert is_init(self.CHROMIUM + bytes(2))  # padded
        for wrong in (
            b"",
            b"\1",
            b"CookieMonster",
            ours[:-1],
            ours + bytes(4),
            b"\2" + ours[1:],  # an INIT ACK
            ours[:4] + bytes(4) + ours[8:],  # no tag
            ours[:12] + bytes(2) + ours[14:],  # no streams
            ours[:14] + bytes(2) + ours[16:],
            ours[:20] + b"\xc0\0\0\3" + ours[24:],  # a parameter shorter than its header
            ours[:20] + b"\xc0\0\0\xff" + ours[24:],  # and one longer than the chunk
        ):
            assert not is_init(wrong)
            with pytest.raises(ValueError, match="no INIT"):
                Association(AssociationSettings(), bytes(32), client=True, peer_init=wrong)


class TestPackets:
    def test_a_wrong_checksum_tag_or_port_is_discarded(self) -> None:
        peer = RawPeer().connect()
        good = packet(peer.their_tag, encode(HEARTBEAT, 0, parameter(1, b"info")))
        for index in range(12):
            bad = bytearray(good)
            bad[index] ^= 0x10
            peer.association.receive_packet(bytes(bad), peer.now)
        wrong_tag = packet(peer.their_tag ^ 1, encode(HEARTBEAT, 0, parameter(1, b"info")))
        peer.association.receive_packet(wrong_tag, peer.now)
        assert peer.chunks() == []
        assert peer.association.packets_dropped == 13
        peer.association.receive_packet(good, peer.now)
        assert types(peer.chunks()) == [HEARTBEAT_ACK]

    def test_a_heartbeat_is_answered_with_what_it_carries(self) -> None:
        peer = RawPeer().connect()
        (reply,) = peer.exchange(encode(HEARTBEAT, 0, parameter(1, b"opaque")))
        assert (reply.type, reply.body) == (HEARTBEAT_ACK, parameter(1, b"opaque"))

    @pytest.mark.parametrize(
        ("type", "goes_on", "reported"),
        [(0x3F, False, False), (0x7F, False, True), (0xBF, True, False), (0xFE, True, True)],
    )
    def test_unknown_chunks_follow_their_highest_bits(
        self, type: int, goes_on: bool, reported: bool
    ) -> None:
        peer = RawPeer().connect()
        replies = types(peer.exchange(encode(type, 0, b"?"), encode(HEARTBEAT, 0, b"")))
        assert (HEARTBEAT_ACK in replies) == goes_on
        assert (ERROR in replies) == reported

    @pytest.mark.parametrize("size", range(64))
    def test_every_truncation_is_survived(self, size: int) -> None:
        peer = RawPeer().connect()
        chunks = peer.data(0, b"0123456789" * 4)[: max(size - 12, 0)]
        peer.association.receive_packet(packet(peer.their_tag, chunks)[:size], peer.now)
        assert peer.association.ready_state == "established"

    def test_full_packets_are_as_large_as_allowed(self) -> None:
        settings = AssociationSettings(max_packet_size=1_163)
        sim = Simulation(settings=settings)
        sizes: list[int] = []
        sim.filter = lambda name, data: (
            name == "server" or data[12] != DATA or sizes.append(len(data)) is None
        )
        sim.connect()
        sim.client.association.open_channel("c").send(bytes(60_000), sim.now)
        sim.settle()
        # Chunks are padded, so packets are a multiple of four long.
        assert max(sizes) == 1_160
        assert sizes.count(1_160) == len(sizes) - 1


class TestZeroChecksum:
    def test_used_where_both_offer_it(self) -> None:
        sim = Simulation()
        seen: list[tuple[int, int]] = []

        def look(name: str, data: bytes) -> bool:
            seen.append((data[12], int.from_bytes(data[8:12], "little")))
            return True

        sim.filter = look
        sim.connect()
        sim.client.association.open_channel("c").send(bytes(5_000), sim.now)
        sim.settle()
        assert {checksum for type, checksum in seen if type in (DATA, SACK)} == {0}
        # RFC 9653 §5.2: never those that agree on it.
        assert all(checksum for type, checksum in seen if type in (INIT, COOKIE_ECHO))

    @pytest.mark.parametrize("who", ["client", "server"])
    def test_not_used_where_one_does_not(self, who: str) -> None:
        plain = AssociationSettings(zero_checksum=False)
        offering = AssociationSettings()
        sim = Simulation(
            settings=plain if who == "client" else offering,
            server_settings=offering if who == "client" else plain,
        )
        sim.filter = lambda name, data: data[8:12] != bytes(4)
        sim.connect()
        sim.client.association.open_channel("c").send(bytes(5_000), sim.now)
        sim.settle()
        assert sim.server.received == {0: [bytes(5_000)]}

    def test_not_believed_where_it_was_not_offered(self) -> None:
        peer = RawPeer(AssociationSettings(zero_checksum=False)).connect()
        chunk = encode(HEARTBEAT, 0, b"")
        peer.association.receive_packet(packet(peer.their_tag, chunk, checksum=False), peer.now)
        assert peer.chunks() == []


class TestHeartbeat:
    def test_a_silent_peer_is_asked_and_then_given_up(self) -> None:
        settings = AssociationSettings(heartbeat_interval=5.0, max_retransmissions=4)
        sim = Simulation(settings=settings)
        sim.connect()
        sim.run_for(20.0)
        assert sim.client.association.ready_state == "established"
        sim.cut = True
        sim.run_for(30.0)
        for peer in sim.peers:
            assert isinstance(peer.association.error, AssociationLost)

    def test_none_while_the_peer_is_heard(self) -> None:
        sim = Simulation(settings=AssociationSettings(heartbeat_interval=5.0))
        heartbeats: list[bytes] = []
        sim.filter = lambda name, data: data[12] != HEARTBEAT or heartbeats.append(data) is None
        sim.connect()
        channel = sim.client.association.open_channel("c")
        for _ in range(20):
            channel.send(b"x", sim.now)
            sim.run_for(1.0)
        assert heartbeats == []

    def test_it_measures_the_round_trip(self) -> None:
        settings = AssociationSettings(heartbeat_interval=1.0)
        sim = Simulation(settings=settings, there=Path(delay=0.05))
        sim.connect()
        sim.paths = dict.fromkeys(sim.paths, Path(delay=0.2))
        sim.run_for(60.0)
        assert sim.client.association.sender.smoothed_rtt == pytest.approx(0.4, abs=0.02)

    def test_a_late_timer_sends_it_beside_a_stream_reset(self) -> None:
        # Both are due after a pause, as of a suspended laptop: one call does all that is.
        sim = Simulation(settings=AssociationSettings(heartbeat_interval=5.0))
        channel = sim.client.association.open_channel("c")
        sim.connect()
        sim.settle()
        channel.close(sim.now)
        sent: list[int] = []
        sim.filter = lambda name, data: name == "client" and sent.append(data[12])
        sim.run_for(0.01)
        assert sent == [RE_CONFIG]
        sim.now += 60.0
        sim.run_for(0.01)
        assert sent == [RE_CONFIG, RE_CONFIG, HEARTBEAT]
        assert sim.client.association.next_deadline() > sim.now


class TestShutdown:
    @pytest.mark.parametrize("both", [False, True])
    @pytest.mark.parametrize("seed", range(20))
    def test_what_was_sent_arrives_and_both_ends_agree(self, both: bool, seed: int) -> None:
        sim = Simulation(there=Path(loss=0.2, jitter=0.02), seed=seed)
        channel = sim.client.association.open_channel("c")
        sim.connect()
        sim.settle()
        back = sim.server.channels[0]
        sim.client.watch(channel)
        for number in range(20):
            channel.send(bytes([number]) * 5_000, sim.now)
            back.send(bytes([number]) * 5_000, sim.now)
        sim.client.association.shutdown(sim.now)
        if both:
            sim.server.association.shutdown(sim.now)
        sim.run_until(
            lambda: all(peer.association.ready_state == "closed" for peer in sim.peers), 60.0
        )
        expected = [bytes([number]) * 5_000 for number in range(20)]
        assert sim.client.received[0] == sim.server.received[0] == expected
        for peer in sim.peers:
            assert peer.association.error is None
            assert peer.events[-1] == Disconnected()
            assert peer.association.next_deadline() is None

    def test_nothing_is_accepted_once_it_has_begun(self) -> None:
        from peerfetch_fast.webrtc._sctp.errors import ChannelClosed

        sim = Simulation()
        channel = sim.client.association.open_channel("c")
        sim.connect()
        sim.client.association.shutdown(sim.now)
        with pytest.raises(ChannelClosed):
            channel.send(b"late", sim.now)
        with pytest.raises(ChannelClosed):
            sim.client.association.open_channel("late")

    def test_a_peer_that_does_not_take_part_is_aborted(self) -> None:
        peer = RawPeer().connect()
        peer.association.shutdown(peer.now)
        sent = types(peer.wait(61.0))
        assert sent[0] == SHUTDOWN
        assert set(sent[:-1]) <= {SHUTDOWN, HEARTBEAT}
        assert sent[-1] == ABORT
        assert isinstance(peer.association.error, AssociationLost)

    def test_data_after_our_shutdown_is_acknowledged_with_another(self) -> None:
        # RFC 9260 §9.2.
        peer = RawPeer().connect()
        peer.association.shutdown(peer.now)
        assert types(peer.chunks()) == [SHUTDOWN]
        replies = peer.exchange(peer.data(0))
        assert sorted(types(replies)) == [SACK, SHUTDOWN]
        shutdown = next(chunk for chunk in replies if chunk.type == SHUTDOWN)
        assert shutdown.tsn == peer.tsn

    def test_a_lost_shutdown_complete_is_sent_again(self) -> None:
        peer = RawPeer().connect()
        peer.association.shutdown(peer.now)
        peer.chunks()
        assert types(peer.exchange(encode(SHUTDOWN_ACK))) == [SHUTDOWN_COMPLETE]
        assert peer.association.ready_state == "closed"
        assert types(peer.exchange(encode(SHUTDOWN_ACK))) == [SHUTDOWN_COMPLETE]

    def test_before_the_handshake_it_just_ends(self) -> None:
        sim = Simulation()
        sim.client.association.shutdown(sim.now)
        assert sim.client.association.ready_state == "closed"
        assert sim.client.association.error is None


class TestAbort:
    def test_the_peer_is_told_why(self) -> None:
        sim = Simulation()
        channel = sim.client.association.open_channel("c")
        sim.connect()
        channel.send(bytes(60_000), sim.now)
        sim.client.association.abort("enough", sim.now)
        sim.run_for(1.0)
        for peer in sim.peers:
            assert isinstance(peer.association.error, AssociationAborted)
            assert "enough" in str(peer.association.error)
            assert peer.association.ready_state == "closed"
            assert peer.association.sender.queued == 0
        assert channel.ready_state == "closed"

    def test_with_the_t_bit_and_our_own_tag(self) -> None:
        # RFC 9260 §8.5.1: a peer that lost its state reflects the tag that it was sent.
        peer = RawPeer().connect()
        peer.send(encode(ABORT, 1), tag=peer.tag ^ 1)
        assert peer.association.ready_state == "established"
        peer.send(encode(ABORT, 1), tag=peer.tag)
        assert peer.association.ready_state == "closed"

    def test_a_peer_that_missed_it_is_told_again(self) -> None:
        peer = RawPeer().connect()
        peer.association.abort("bye", peer.now)
        assert types(peer.chunks()) == [ABORT]
        assert types(peer.exchange(peer.data(0))) == [ABORT]

    def test_from_inside_a_message(self) -> None:
        sim = Simulation()
        channel = sim.client.association.open_channel("c", ordered=True)
        sim.connect()
        sim.settle()
        got: list[bytes | str] = []

        def on_message(data: bytes | str) -> None:
            got.append(data)
            sim.server.association.abort("seen enough", sim.now)

        sim.server.channels[0].on_message = on_message
        dropped: list[int] = []
        # The first is lost, so that the others wait for it and come all at once.
        sim.filter = lambda name, data: data[12] != DATA or bool(dropped) or dropped.append(1) or 0
        for number in range(5):
            channel.send(bytes([number]) * 2_000, sim.now)
        sim.filter = None
        sim.run_for(2.0)
        assert got == [bytes([0]) * 2_000]
        assert sim.server.association.receiver.held_bytes == 0


class TestViolations:
    def violates(self, peer: RawPeer, *chunks: bytes) -> str:
        replies = peer.exchange(*chunks)
        assert types(replies) == [ABORT]
        assert isinstance(peer.association.error, PeerViolation)
        assert peer.association.ready_state == "closed"
        assert Disconnected() in peer.association.take_events()
        return str(peer.association.error)

    def test_a_sack_for_data_never_sent(self) -> None:
        peer = RawPeer().connect()
        assert "never sent" in self.violates(peer, peer.sack(1))

    def test_a_gap_block_for_data_never_sent(self) -> None:
        peer = RawPeer().connect()
        peer.association.open_channel("c")
        peer.chunks()
        assert "never sent" in self.violates(peer, peer.sack(0, [(2, 3)]))

    def test_a_gap_block_that_ends_before_it_begins(self) -> None:
        peer = RawPeer().connect()
        channel = peer.association.open_channel("c")
        channel.send(bytes(5_000), peer.now)
        peer.chunks()
        self.violates(peer, peer.sack(0, [(3, 2)]))

    def test_a_sack_that_is_too_short_for_its_blocks(self) -> None:
        peer = RawPeer().connect()
        body = struct.pack(">IIHH", peer.their_tsn - 1, 1000, 9, 0)
        self.violates(peer, encode(SACK, 0, body))

    def test_a_data_chunk_without_data_violates_the_protocol(self) -> None:
        peer = RawPeer().connect()
        self.violates(peer, peer.data(0, b""))
        assert peer.association.error is not None
        assert peer.association.error.cause == 9

    def test_shutdown_for_data_never_sent(self) -> None:
        peer = RawPeer().connect()
        self.violates(peer, encode(SHUTDOWN, 0, struct.pack(">I", peer.their_tsn + 5)))


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"max_packet_size": 100},
            {"receive_window": 1000},
            {"max_message_size": 4 * 1024 * 1024},
            {"rto_min": 0.0},
            {"sack_delay": 0.6},
            {"local_port": 0},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong)) + "|receive_window"):
            dataclasses.replace(AssociationSettings(), **wrong)

    def test_an_unknown_congestion_controller(self) -> None:
        with pytest.raises(ValueError, match="nonsense"):
            Association(AssociationSettings(congestion="nonsense"), bytes(32), client=True)

    def test_a_short_seed_is_refused(self) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            Association(AssociationSettings(), bytes(31), client=True)

    def test_the_seed_decides_everything(self) -> None:
        packets = []
        for _ in range(2):
            association = Association(AssociationSettings(), b"s" * 32, client=True)
            association.connect(1.0)
            packets.append(association.next_packet(1.0))
        assert packets[0] == packets[1]
        assert packets[0] is not None
        assert decode(packets[0])[1][0].type == INIT
