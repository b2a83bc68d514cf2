from __future__ import annotations

import itertools

import pytest
from tests.webrtc._sctp.rawpeer import (
    ABORT,
    BEGIN,
    DATA,
    END,
    FORWARD_TSN,
    IMMEDIATE,
    UNORDERED,
    Chunk,
    RawPeer,
)

from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.errors import AssociationLost, SendBufferFull
from peerfetch_fast.webrtc._sctp.events import BufferedAmountLow
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings, Congestion

#: What fits one packet of 1,160 bytes.
FULL = 1_132


def data_of(chunks: list[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk.type == DATA]


def connected(peer: RawPeer | None = None, **channel: object) -> tuple[RawPeer, Channel]:
    """A peer that has acknowledged our channel's OPEN; the next TSN is the second."""
    peer = peer or RawPeer()
    peer.connect()
    opened = peer.association.open_channel("c", **channel)  # type: ignore[arg-type]
    peer.chunks()
    peer.now += 0.1
    assert peer.exchange(peer.sack(1)) == []
    return peer, opened


def offsets(peer: RawPeer, chunks: list[Chunk]) -> list[int]:
    return [(chunk.tsn - peer.their_tsn) & 0xFFFFFFFF for chunk in data_of(chunks)]


def fill_window(peer: RawPeer, chunks: int) -> int:
    """Acknowledge everything until so many chunks are in flight; the TSN before them."""
    cumulative = 1
    for _ in range(20):
        sent = offsets(peer, peer.wait(0.1))
        if len(sent) >= chunks:
            return cumulative
        cumulative = 1 + sent[-1]
        peer.send(peer.sack(cumulative))
    raise AssertionError(f"never {chunks} chunks in flight")


class TestChunks:
    def test_small_messages_share_a_packet(self) -> None:
        peer, channel = connected()
        for number in range(10):
            channel.send(bytes([number]) * 50, peer.now)
        (chunks,) = peer.packets()
        assert [chunk.body[12:] for chunk in chunks] == [bytes([n]) * 50 for n in range(10)]
        assert all(chunk.flags & (BEGIN | END) == BEGIN | END for chunk in chunks)

    def test_a_large_message_is_cut_into_full_packets(self) -> None:
        peer, channel = connected()
        channel.send(bytes(2 * FULL + 5), peer.now)
        first, second, third = peer.packets()
        assert [len(chunk.body) - 12 for (chunk,) in (first, second, third)] == [FULL, FULL, 5]
        assert [chunk.flags for (chunk,) in (first, second, third)] == [BEGIN, 0, END | IMMEDIATE]

    def test_what_fits_a_packet_of_its_own_is_not_torn_apart(self) -> None:
        peer, channel = connected()
        channel.send(bytes(100), peer.now)
        channel.send(bytes(FULL), peer.now)
        assert [len(chunks) for chunks in peer.packets()] == [1, 1]

    def test_only_the_last_chunk_asks_for_a_sack_at_once(self) -> None:
        peer, channel = connected()
        for _ in range(5):
            channel.send(bytes(FULL), peer.now)
        flags = [chunk.flags & IMMEDIATE for chunk in peer.chunks()]
        assert flags == [0, 0, 0, 0, IMMEDIATE]

    def test_a_sack_goes_along_with_data(self) -> None:
        peer, channel = connected()
        peer.exchange(peer.data(0, b"x", stream=9))
        channel.send(b"data", peer.now)
        (chunks,) = peer.packets()
        assert [chunk.type for chunk in chunks] == [3, DATA]

    def test_streams_take_turns_message_by_message(self) -> None:
        peer, first = connected()
        second = peer.association.open_channel("d", id=100)
        for _ in range(3):
            first.send(bytes(2 * FULL), peer.now)
            second.send(bytes(2 * FULL), peer.now)
        streams = [int.from_bytes(chunk.body[4:6], "big") for chunk in peer.chunks()][:10]
        assert streams == [0, 0, 100, 100, 0, 0, 100, 100, 0, 0]

    def test_the_buffer_is_bounded(self) -> None:
        peer, channel = connected(RawPeer(AssociationSettings(send_buffer=10_000)))
        channel.send(bytes(6_000), peer.now)
        with pytest.raises(SendBufferFull):
            channel.send(bytes(6_000), peer.now)
        sent = peer.chunks()
        with pytest.raises(SendBufferFull):
            channel.send(bytes(6_000), peer.now)
        # What opens a channel is small, and must not fail halfway.
        peer.association.open_channel("d")
        peer.exchange(peer.sack(1 + len(sent)))
        channel.send(bytes(6_000), peer.now)

    def test_buffered_amount_falls_as_data_leaves(self) -> None:
        peer, channel = connected()
        channel.buffered_amount_low_threshold = FULL
        channel.send(bytes(3 * FULL), peer.now)
        assert channel.buffered_amount == 3 * FULL
        peer.association.take_events()
        levels = []
        while peer.association.next_packet(peer.now) is not None:
            levels.append((channel.buffered_amount, peer.association.take_events()))
        assert levels == [
            (2 * FULL, []),
            (FULL, [BufferedAmountLow(channel)]),
            (0, []),
        ]


class TestWindows:
    def test_no_more_than_the_congestion_window(self) -> None:
        peer, channel = connected()
        channel.send(bytes(60_000), peer.now)
        sent = peer.chunks()
        window = peer.association.sender.congestion.window
        assert window <= peer.association.sender.in_flight < window + 1_160
        assert len(sent) >= 10

    def test_no_more_than_the_peer_takes(self) -> None:
        peer, channel = connected(RawPeer(window=3_000))
        channel.send(bytes(60_000), peer.now)
        assert len(peer.chunks()) == 2

    def test_a_closed_window_is_probed_and_never_given_up(self) -> None:
        # RFC 9260 §6.1 A: a peer that answers is alive, however long its window stays closed.
        peer, channel = connected(RawPeer(AssociationSettings(max_retransmissions=3)))
        peer.send(peer.sack(1, window=0))
        channel.send(bytes(60_000), peer.now)
        assert len(peer.chunks()) == 1
        for _ in range(30):
            probes = data_of(peer.wait(0.8))
            assert {chunk.tsn for chunk in probes} == {peer.their_tsn + 1}
            peer.send(peer.sack(1, window=0))
        assert peer.association.ready_state == "established"
        peer.send(peer.sack(2, window=100_000))
        assert len(peer.chunks()) > 1

    def test_never_further_than_a_gap_block_can_speak(self) -> None:
        peer, channel = connected(RawPeer(window=1 << 30))
        for _ in range(70_000):
            channel.send(b"x", peer.now)
        acknowledged = 1
        highest = 0
        for _ in range(1_000):
            highest = max([highest, *offsets(peer, peer.wait(0.2))])
            # The first chunk is never acknowledged.
            peer.send(peer.sack(acknowledged, [(2, highest)]))
        assert highest == 65_535


class TestLosses:
    def test_three_later_packets_show_a_loss(self) -> None:
        peer, channel = connected()
        for _ in range(6):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        peer.now += 0.05
        assert offsets(peer, peer.exchange(peer.sack(1, [(2, 2)]))) == []
        assert offsets(peer, peer.exchange(peer.sack(1, [(2, 3)]))) == []
        assert offsets(peer, peer.exchange(peer.sack(1, [(2, 4)]))) == [1]
        assert peer.association.sender.timeouts == 0

    def test_time_shows_a_loss_where_fewer_packets_follow(self) -> None:
        # RFC 8985 §6.2: a quarter of the round trip after the next one was acknowledged.
        peer, channel = connected()
        for _ in range(2):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        peer.now += 0.1
        peer.send(peer.sack(1, [(2, 2)]))
        assert offsets(peer, peer.wait(0.02)) == []
        assert offsets(peer, peer.wait(0.01)) == [1]

    def test_gap_blocks_out_of_order_are_not_followed(self) -> None:
        peer, channel = connected()
        for _ in range(8):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        flying = peer.association.sender.in_flight
        peer.now += 0.05
        peer.send(peer.sack(1, [(5, 6), (2, 3), (5, 8)]))
        acknowledged = 2 * (FULL + 16)
        assert peer.association.sender.delivered == 32 + acknowledged
        assert peer.association.sender.in_flight < flying

    def test_what_a_sack_has_no_block_for_is_not_lost(self) -> None:
        """Chromium's have twenty: what comes after them may be there, and has been for long."""
        peer, channel = connected()
        for _ in range(4):
            channel.send(bytes(50 * FULL), peer.now)
        cumulative = fill_window(peer, 44)
        peer.send(peer.sack(cumulative, [(2 * block, 2 * block) for block in range(1, 21)]))
        resent = peer.wait(0.08)
        sender = peer.association.sender
        assert sender.retransmitted == 20
        assert cumulative in offsets(peer, resent)
        # The first hole is filled, so that a block of what came in the first place moves up.
        smoothed = sender.smoothed_rtt
        blocks = [(2 * block, 2 * block) for block in range(1, 20)]
        peer.send(peer.sack(cumulative + 2, [*blocks, (40, 41)]))
        peer.chunks()
        # Between the last block and that, one more was lost; after it, nothing is known to be.
        assert sender.retransmitted == 21
        assert sender.smoothed_rtt == smoothed

    def test_what_fills_the_window_unreported_does_not_hold_up_repairs(self) -> None:
        """Only they make such a peer report more; without them, only the timer was left."""
        peer, channel = connected(RawPeer(AssociationSettings(congestion="rfc9260")))
        for _ in range(12):
            channel.send(bytes(50 * FULL), peer.now)
        cumulative = fill_window(peer, 100)
        blocks = [(2 * block, 2 * block) for block in range(1, 21)]
        peer.send(peer.sack(cumulative, blocks))
        sender = peer.association.sender
        assert sender.in_flight > sender.congestion.window
        resent = offsets(peer, peer.wait(0.1))
        assert resent == [cumulative + 2 * block for block in range(20)]
        assert sender.timeouts == 0
        # Nothing comes any more: the window counts again.
        for _ in range(40):
            sent = peer.wait(0.05)
            if sender.timeouts:
                break
        assert offsets(peer, sent) == [cumulative]
        # And what repeats itself brings nothing, from a peer with a closed window neither.
        assert data_of(peer.exchange(peer.sack(cumulative, blocks))) == []
        assert data_of(peer.exchange(peer.sack(cumulative, blocks, window=0))) == []

    def test_a_peer_that_has_more_blocks_is_known_by_them(self) -> None:
        """Of one that reports all it has, what is in no block is lost."""
        peer, channel = connected(RawPeer(AssociationSettings(congestion="rfc9260")))
        for _ in range(12):
            channel.send(bytes(50 * FULL), peer.now)
        cumulative = fill_window(peer, 100)
        blocks = [(2 * block, 2 * block) for block in range(1, 31)]
        peer.send(peer.sack(cumulative, blocks))
        assert cumulative in offsets(peer, peer.wait(0.1))
        # The first hole is filled, and nothing came of all that left after the last block.
        peer.send(peer.sack(cumulative + 2, blocks[:-1]))
        assert max(offsets(peer, peer.wait(0.1))) > cumulative + 61
        assert peer.association.sender.timeouts == 0

    def test_a_lost_retransmission_is_sent_again_without_a_timeout(self) -> None:
        peer, channel = connected()
        for _ in range(30):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        highest = 10
        again = 0
        for _ in range(6):
            peer.now += 0.1
            sent = offsets(peer, peer.exchange(peer.sack(1, [(2, highest)])))
            again += sent.count(1)
            highest = max([highest, *sent])
        assert again >= 2
        assert peer.association.sender.timeouts == 0

    def test_what_is_lost_twice_is_still_sent_first(self) -> None:
        """A message that waits for it is older than what was lost meanwhile."""
        peer, channel = connected()
        for _ in range(60):
            channel.send(bytes(FULL), peer.now)
        first = offsets(peer, data_of(peer.chunks()))
        peer.now += 0.1
        then = offsets(peer, peer.exchange(peer.sack(5, [])))
        peer.now += 0.1
        others = (2, first[-1] - 4)
        again, *later = offsets(peer, peer.exchange(peer.sack(5, [others])))
        assert again == 5
        assert max(then) < min(later)
        peer.now += 0.1
        sent = offsets(peer, peer.exchange(peer.sack(5, [others, (later[0] - 4, later[-1] - 4)])))
        assert sent[: 1 + len(then)] == [5, *then]

    def test_a_lost_tail_is_probed_for_after_two_round_trips(self) -> None:
        peer, channel = connected()
        for _ in range(3):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        began = peer.now
        probe = data_of(peer.wait(0.21))
        assert offsets(peer, probe) == [3]
        assert peer.now - began < AssociationSettings().rto_min
        # The probe's acknowledgement shows that the others are lost.
        peer.now += 0.1
        peer.send(peer.sack(1, [(3, 3)]))
        assert sorted(offsets(peer, peer.wait(0.05))) == [1, 2]
        assert peer.association.sender.timeouts == 0

    def test_an_answer_to_a_probe_counts_however_quick_it_is(self) -> None:
        # Quicker than any before, it may be the first transmission's, held up on the way. In either
        # case it overtook all that is missing, as nothing left between the two.
        peer, channel = connected()
        for _ in range(5):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        assert offsets(peer, peer.wait(0.21)) == [5]
        peer.now += 0.001
        peer.send(peer.sack(1, [(5, 5)]))
        assert sorted(offsets(peer, peer.wait(0.05))) == [1, 2, 3, 4]
        assert peer.association.sender.timeouts == 0

    def test_a_probe_carries_new_data_if_there_is_some(self) -> None:
        peer, channel = connected()
        channel.send(bytes(40_000), peer.now)
        sent = offsets(peer, peer.chunks())
        assert offsets(peer, peer.wait(0.21)) == [sent[-1] + 1]

    def test_one_congestion_event_a_window(self) -> None:
        peer, channel = connected(RawPeer(AssociationSettings(congestion="rfc9260")))
        for _ in range(12):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        window = peer.association.sender.congestion.window
        peer.now += 0.05
        peer.send(peer.sack(1, [(2, 4)]))
        halved = peer.association.sender.congestion.window
        assert halved == max(window // 2, 4 * (1_160 - 12))
        peer.send(peer.sack(1, [(2, 4), (6, 9)]))
        assert peer.association.sender.congestion.window == halved

    def test_timeouts_back_off_and_end(self) -> None:
        peer, channel = connected(RawPeer(AssociationSettings(max_retransmissions=5)))
        channel.send(b"x", peer.now)
        began = peer.now
        times = [(peer.now, chunk) for chunk in peer.chunks()]
        while peer.association.ready_state != "closed":
            deadline = peer.association.next_deadline()
            assert deadline is not None
            times += [(deadline, chunk) for chunk in peer.wait(deadline - peer.now)]
        assert times[-1][1].type == ABORT
        assert isinstance(peer.association.error, AssociationLost)
        sent = [when - began for when, chunk in times if chunk.type == DATA]
        waits = [later - earlier for earlier, later in itertools.pairwise(sent)]
        # First the probe, then the timer, doubling as far as half a second.
        assert waits == pytest.approx([0.2, 0.2, 0.5, 0.5, 0.5, 0.5], abs=0.03)

    def test_what_a_timeout_resends_is_bounded_by_one_packet_at_first(self) -> None:
        peer, channel = connected()
        for _ in range(10):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        while peer.association.sender.timeouts == 0:
            deadline = peer.association.next_deadline()
            assert deadline is not None
            peer.now = deadline
            peer.association.handle_timeout(peer.now)
            resent = peer.chunks()
        assert offsets(peer, resent) == [1]

    def test_a_peer_that_takes_back_what_it_reported(self) -> None:
        # RFC 9260 §6.2.1 D iii: gap blocks are no promise.
        peer, channel = connected()
        for _ in range(4):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        peer.now += 0.01
        peer.exchange(peer.sack(1, [(2, 4)]))
        resent: list[int] = []
        for cumulative in range(1, 5):
            peer.send(peer.sack(cumulative))
            resent += offsets(peer, peer.wait(3.0))
        assert set(resent) == {1, 2, 3, 4}
        assert peer.association.ready_state == "established"

    def test_reordering_is_learnt(self) -> None:
        peer, channel = connected()
        acknowledged = 1
        for _ in range(20):
            for _ in range(6):
                channel.send(bytes(FULL), peer.now)
            peer.chunks()
            peer.now += 0.1
            peer.exchange(peer.sack(acknowledged, [(2, 5)]))
            peer.now += 0.01
            peer.exchange(peer.sack(acknowledged + 6))
            acknowledged += 6
        # After the first time, late is not lost.
        assert peer.association.sender.retransmitted == 1

    def test_splitting_acknowledgements_gains_nothing(self) -> None:
        windows = []
        for split in (False, True):
            peer, channel = connected()
            channel.send(bytes(60_000), peer.now)
            sent = len(peer.chunks())
            peer.now += 0.1
            for cumulative in range(2, 2 + sent) if split else [1 + sent]:
                for _ in range(3):
                    peer.send(peer.sack(cumulative))
            windows.append(peer.association.sender.congestion.window)
        assert windows[0] == windows[1]

    def test_acknowledging_what_never_came_gains_no_more_than_the_cap(self) -> None:
        # Optimistic acknowledgement: the peer answers everything at once, as if it had it.
        cap = 200_000.0
        peer, channel = connected(RawPeer(AssociationSettings(max_rate=cap), window=1 << 30))
        began, sent, highest = peer.now, 0, 1
        while peer.now < began + 3.0:
            while channel.buffered_amount < 1 << 20:
                channel.send(bytes(FULL), peer.now)
            for number in offsets(peer, peer.wait(0.001)):
                sent += FULL
                highest = max(highest, number)
            peer.send(peer.sack(highest + 1))
        # And ten packets, the first window.
        assert 0.9 * cap * 3.0 <= sent <= cap * 3.0 + 10 * 1_160

    def test_a_wrong_timeout_is_undone(self) -> None:
        # RFC 5682: what was not sent again is acknowledged after all.
        peer, channel = connected(RawPeer(AssociationSettings(congestion="rfc9260")))
        for _ in range(8):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        sender = peer.association.sender
        window = sender.congestion.window
        while sender.timeouts == 0:
            peer.wait(0.05)
        assert sender.congestion.window < window
        peer.send(peer.sack(9))
        assert sender.undone == 1
        assert sender.congestion.window >= window

    def test_a_right_timeout_is_not(self) -> None:
        peer, channel = connected()
        for _ in range(8):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        sender = peer.association.sender
        while sender.timeouts == 0:
            peer.wait(0.05)
        for cumulative in range(2, 10):
            peer.wait(0.15)
            peer.send(peer.sack(cumulative))
        assert sender.undone == 0

    @pytest.mark.parametrize("congestion", ["cubic", "rfc9260"])
    def test_a_reduction_for_a_packet_that_was_only_late_is_undone(
        self, congestion: Congestion
    ) -> None:
        # RFC 2883 and RFC 3708: the peer says that it got both.
        peer, channel = connected(RawPeer(AssociationSettings(congestion=congestion)))
        for _ in range(8):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        window = peer.association.sender.congestion.window
        peer.now += 0.1
        assert offsets(peer, peer.exchange(peer.sack(1, [(2, 8)]))) == [1]
        reduced = peer.association.sender.congestion.window
        assert reduced < window
        peer.now += 0.1
        peer.send(peer.sack(9, duplicates=[peer.their_tsn + 1]))
        assert peer.association.sender.undone == 1
        assert peer.association.sender.congestion.window >= window

    def test_duplicates_of_something_else_undo_nothing(self) -> None:
        peer, channel = connected()
        for _ in range(8):
            channel.send(bytes(FULL), peer.now)
        peer.chunks()
        peer.now += 0.1
        peer.exchange(peer.sack(1, [(3, 8)]))
        peer.now += 0.1
        peer.send(peer.sack(9, duplicates=[peer.their_tsn, peer.their_tsn - 1]))
        assert peer.association.sender.undone == 0


class TestRoundTrips:
    def test_measured_as_rfc_9260_says(self) -> None:
        peer, channel = connected()
        sender = peer.association.sender
        assert sender.smoothed_rtt == pytest.approx(0.1)
        assert sender.rtt_variation == pytest.approx(0.05)
        channel.send(b"x", peer.now)
        peer.chunks()
        peer.now += 0.15
        peer.send(peer.sack(2))
        assert sender.smoothed_rtt == pytest.approx(0.1 * 7 / 8 + 0.15 / 8)
        assert sender.rtt_variation == pytest.approx(0.05 * 3 / 4 + 0.05 / 4)
        assert sender.rto == AssociationSettings().rto_min

    def test_not_from_what_was_sent_twice(self) -> None:
        # Karn's rule.
        peer, channel = connected()
        channel.send(b"x", peer.now)
        peer.wait(5.0)
        peer.send(peer.sack(2))
        assert peer.association.sender.smoothed_rtt == pytest.approx(0.1)


class TestPartialReliability:
    def test_given_up_after_so_many_retransmissions(self) -> None:
        peer, channel = connected(ordered=False, max_retransmits=0)
        peer.exchange(peer.data(0, b"\x02", stream=0, protocol=50))
        peer.wait(0.1)
        channel.send(b"lost", peer.now)
        channel.send(bytes(FULL), peer.now)
        peer.chunks()
        peer.now += 0.1
        peer.send(peer.sack(1, [(2, 2)]))
        sent = peer.wait(0.1)
        assert offsets(peer, sent) == []
        (forward,) = [chunk for chunk in sent if chunk.type == FORWARD_TSN]
        # An unordered message has no sequence number to skip.
        assert forward.body == (peer.their_tsn + 1).to_bytes(4, "big")
        peer.send(peer.sack(3))
        assert peer.association.sender.queued == 0
        assert peer.wait(10.0) == []

    def test_an_ordered_one_names_the_stream(self) -> None:
        peer, channel = connected(max_retransmits=1)
        channel.send(b"x", peer.now)
        sent = peer.wait(5.0)
        assert offsets(peer, sent) == [1, 1]
        forwards = [chunk for chunk in sent if chunk.type == FORWARD_TSN]
        # Repeated until it is acknowledged.
        assert len(forwards) > 1
        assert forwards[0].body == (peer.their_tsn + 1).to_bytes(4, "big") + bytes([0, 0, 0, 1])
        peer.send(peer.sack(2))
        assert peer.wait(10.0) == []

    def test_given_up_when_its_time_is_over(self) -> None:
        peer, channel = connected(max_lifetime=0.3)
        channel.send(b"x", peer.now)
        sent = peer.wait(0.29) + peer.wait(2.0)
        assert {chunk.type for chunk in sent[2:]} == {FORWARD_TSN}
        assert peer.association.sender.queued == 0

    def test_what_never_left_is_dropped_without_a_trace(self) -> None:
        peer, channel = connected(max_lifetime=0.3)
        channel.send(b"late", peer.now)
        peer.now += 0.5
        assert peer.chunks() == []
        channel.send(b"next", peer.now)
        (chunk,) = peer.chunks()
        assert (chunk.tsn, chunk.body[6:8]) == (peer.their_tsn + 1, bytes([0, 1]))

    def test_a_message_half_sent_gets_an_end_to_be_skipped(self) -> None:
        peer, channel = connected(ordered=True, max_lifetime=0.3)
        channel.send(bytes(60_000), peer.now)
        sent = len(data_of(peer.chunks()))
        peer.now += 0.1
        peer.send(peer.sack(1 + sent))
        peer.now += 0.4
        (forward,) = peer.chunks()
        # TSNs 1 to `sent` were used, and one more for the end that never left.
        assert forward.type == FORWARD_TSN
        assert forward.tsn - peer.their_tsn == sent + 1
        assert channel.buffered_amount == 0
        assert peer.association.sender.queued == 0
        channel.send(b"next", peer.now)
        (chunk,) = peer.exchange(peer.sack(2 + sent))
        assert (chunk.tsn - peer.their_tsn, chunk.body[6:8]) == (sent + 2, bytes([0, 2]))

    def test_a_peer_without_forward_tsn_gets_everything(self) -> None:
        peer, channel = connected(RawPeer(extensions=b"\x82"), max_retransmits=0)
        channel.send(b"x", peer.now)
        assert len(data_of(peer.wait(3.0))) > 2

    def test_unordered_from_the_moment_that_the_peer_knows_the_channel(self) -> None:
        # RFC 8832 §6.
        peer, channel = connected(ordered=False)
        channel.send(b"a", peer.now)
        (chunk,) = peer.chunks()
        assert not chunk.flags & UNORDERED
        peer.send(peer.data(0, b"\x02", stream=0, protocol=50))
        channel.send(b"b", peer.now)
        assert data_of(peer.chunks())[0].flags & UNORDERED
