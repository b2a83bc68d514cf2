from __future__ import annotations

import dataclasses
import random
import struct

import pytest
from tests.webrtc._sctp.rawpeer import (
    ABORT,
    BEGIN,
    END,
    FORWARD_TSN,
    IMMEDIATE,
    SACK,
    STRING,
    UNORDERED,
    Chunk,
    RawPeer,
    encode,
)

from peerfetch_fast.webrtc._sctp.errors import PeerViolation
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

WHOLE = BEGIN | END


def connected(
    settings: AssociationSettings | None = None, *, tsn: int = 1_000
) -> tuple[RawPeer, list[bytes | str]]:
    """A peer with a channel on stream 1, opened by its first chunk, and what came on it."""
    peer = RawPeer(settings, tsn=tsn).connect()
    got: list[bytes | str] = []
    peer.association.on_channel = lambda channel: setattr(channel, "on_message", got.append)
    peer.exchange(peer.open_channel())
    peer.wait(0.1)
    return peer, got


def forward_tsn(peer: RawPeer, offset: int, *streams: tuple[int, int]) -> bytes:
    return encode(
        FORWARD_TSN,
        0,
        struct.pack(">I", (peer.tsn + offset) & 0xFFFFFFFF)
        + b"".join(struct.pack(">HH", *stream) for stream in streams),
    )


def sack_of(chunks: list[Chunk]) -> Chunk:
    (sack,) = [chunk for chunk in chunks if chunk.type == SACK]
    return sack


class TestSack:
    def test_every_second_packet_at_once_and_a_single_one_soon(self) -> None:
        peer, _ = connected()
        assert peer.exchange(peer.data(1, sequence=1)) == []
        assert sack_of(peer.exchange(peer.data(2, sequence=2))).tsn == peer.tsn + 2
        assert peer.exchange(peer.data(3, sequence=3)) == []
        assert sack_of(peer.wait(AssociationSettings().sack_delay)).tsn == peer.tsn + 3

    def test_at_once_with_the_i_bit(self) -> None:
        # RFC 7053.
        peer, _ = connected()
        assert sack_of(peer.exchange(peer.data(1, sequence=1, flags=WHOLE | IMMEDIATE)))

    def test_one_for_a_batch_of_packets(self) -> None:
        peer, _ = connected()
        for offset in range(1, 50):
            peer.send(peer.data(offset, sequence=offset))
        assert len(peer.packets()) == 1

    def test_gaps_and_duplicates_at_once(self) -> None:
        peer, _ = connected()
        sack = sack_of(peer.exchange(peer.data(3, flags=WHOLE | UNORDERED)))
        assert (sack.tsn, sack.gaps) == (peer.tsn, [(3, 3)])
        peer.send(peer.data(4, flags=WHOLE | UNORDERED), peer.data(7, flags=WHOLE | UNORDERED))
        sack = sack_of(peer.exchange(peer.data(3, flags=WHOLE | UNORDERED)))
        assert (sack.gaps, sack.duplicates) == ([(3, 4), (7, 7)], [peer.tsn + 3])
        sack = sack_of(peer.exchange(peer.data(1, sequence=1), peer.data(2, sequence=2)))
        assert (sack.tsn, sack.gaps, sack.duplicates) == (peer.tsn + 4, [(3, 3)], [])

    @pytest.mark.parametrize("tsn", [1_000, 2**32 - 5, 2**32 - 40_000])
    @pytest.mark.parametrize("seed", range(10))
    def test_any_set_of_holes_is_reported_exactly(self, tsn: int, seed: int) -> None:
        peer, _ = connected(tsn=tsn)
        chosen = sorted(random.Random(seed).sample(range(2, 3_000 if seed % 2 else 700), 400))
        order = chosen[:]
        random.Random(seed).shuffle(order)
        for offset in order:
            peer.send(peer.data(offset, flags=WHOLE | UNORDERED))
        sack = sack_of(peer.chunks())
        assert sack.tsn == peer.tsn
        blocks: list[tuple[int, int]] = []
        for offset in chosen:
            if blocks and blocks[-1][1] == offset - 1:
                blocks[-1] = (blocks[-1][0], offset)
            else:
                blocks.append((offset, offset))
        # As many as fit in the packet: the first, and the newest.
        room = (1_160 - 12 - 16) // 4
        if len(blocks) > room:
            blocks = blocks[: room // 2] + blocks[-(room - room // 2) :]
        assert sack.gaps == blocks

    def test_what_no_sack_could_name_is_not_taken(self) -> None:
        peer, got = connected()
        peer.send(peer.data(65_536, flags=WHOLE | UNORDERED))
        peer.send(peer.data(0x80000001, flags=WHOLE | UNORDERED))
        assert got == []
        peer.send(peer.data(65_535, flags=WHOLE | UNORDERED))
        assert got == [b"x"]
        assert sack_of(peer.chunks()).gaps == [(65_535, 65_535)]


class TestReassembly:
    @pytest.mark.parametrize("tsn", [1_000, 2**32 - 20])
    @pytest.mark.parametrize("unordered", [False, True])
    @pytest.mark.parametrize("seed", range(40))
    def test_fragments_in_any_order_and_repeated(
        self, seed: int, unordered: bool, tsn: int
    ) -> None:
        peer, got = connected(tsn=tsn)
        rng = random.Random(seed)
        chunks: list[bytes] = []
        expected: list[bytes | str] = []
        for sequence in range(20):
            parts = [rng.randbytes(rng.randint(1, 40)) for _ in range(rng.randint(1, 30))]
            expected.append(b"".join(parts))
            for index, part in enumerate(parts):
                flags = BEGIN * (index == 0) | END * (index == len(parts) - 1)
                chunks.append(
                    peer.data(
                        1 + len(chunks),
                        part,
                        sequence=1 + sequence,
                        flags=flags | UNORDERED * unordered,
                    )
                )
        order = chunks + rng.sample(chunks, 20)
        if seed % 4 == 0:
            order.reverse()
        elif seed % 4 == 1:
            order.sort(key=lambda chunk: chunk[-1])
        elif seed % 4 == 2:
            rng.shuffle(order)
        # Otherwise in order, with repetitions behind.
        for chunk in order:
            peer.send(chunk)
        if unordered:
            assert sorted(got, key=bytes) == sorted(expected, key=bytes)  # type: ignore[arg-type]
        else:
            assert got == expected
        assert peer.association.receiver.held_bytes == 0
        assert peer.association.receiver.duplicates == 20
        assert sack_of(peer.chunks()).tsn == (peer.tsn + len(chunks)) & 0xFFFFFFFF

    def test_text_that_is_no_utf8_is_replaced(self) -> None:
        peer, got = connected()
        peer.send(peer.data(1, b"a\xffb", sequence=1, protocol=STRING))
        assert got == ["a\ufffdb"]

    def test_streams_do_not_wait_for_one_another(self) -> None:
        peer, got = connected()
        peer.send(peer.open_channel(1, stream=3))
        peer.send(peer.data(3, b"third", sequence=2))
        peer.send(peer.data(4, b"other", stream=3, sequence=1))
        assert got == [b"other"]
        peer.send(peer.data(2, b"second", sequence=1))
        assert got == [b"other", b"second", b"third"]

    def test_sequence_numbers_wrap(self) -> None:
        peer, got = connected()
        for offset in range(1, 65_700):
            peer.send(peer.data(offset, sequence=offset))
        assert len(got) == 65_699
        assert peer.association.ready_state == "established"


class TestViolations:
    @pytest.mark.parametrize(
        "fragments",
        [
            pytest.param([(1, BEGIN, 1, 1), (2, WHOLE, 1, 2)], id="no end"),
            pytest.param([(2, WHOLE, 1, 2), (1, BEGIN, 1, 1)], id="no end, reversed"),
            pytest.param([(3, WHOLE, 1, 3), (2, BEGIN, 1, 2)], id="no end, before a hole"),
            pytest.param([(1, END, 1, 1)], id="no beginning"),
            pytest.param([(2, 0, 1, 1), (1, WHOLE, 1, 1)], id="no beginning, reversed"),
            pytest.param([(3, 0, 1, 2), (2, END, 1, 1)], id="no beginning behind an end"),
            pytest.param([(1, 0, 1, 1)], id="only a middle"),
            pytest.param([(1, BEGIN, 1, 1), (2, END, 3, 1)], id="another stream"),
            pytest.param([(1, BEGIN, 1, 1), (2, END, 1, 2)], id="another sequence number"),
            pytest.param([(2, END, 1, 2), (1, BEGIN, 1, 1)], id="the same, reversed"),
            pytest.param([(1, BEGIN, 1, 1), (2, END | UNORDERED, 1, 1)], id="half unordered"),
        ],
    )
    def test_fragments_that_do_not_belong_together(
        self, fragments: list[tuple[int, int, int, int]]
    ) -> None:
        peer, _ = connected()
        for offset, flags, stream, sequence in fragments:
            peer.send(peer.data(offset, flags=flags, stream=stream, sequence=sequence))
        assert isinstance(peer.association.error, PeerViolation)
        assert [chunk.type for chunk in peer.chunks()][-1] == ABORT
        assert peer.association.receiver.held_bytes == 0

    def test_a_stream_beyond_those_agreed_on(self) -> None:
        peer, _ = connected()
        peer.send(peer.data(1, stream=65_535))
        assert isinstance(peer.association.error, PeerViolation)
        assert peer.association.error.cause == 1

    def test_a_forward_tsn_far_beyond_the_window(self) -> None:
        peer, _ = connected()
        peer.send(forward_tsn(peer, 100_000))
        assert isinstance(peer.association.error, PeerViolation)


class TestForwardTsn:
    def test_what_was_skipped_is_not_waited_for(self) -> None:
        peer, got = connected()
        peer.send(peer.data(3, b"third", sequence=3))
        peer.send(peer.data(4, b"fourth", sequence=4))
        assert got == []
        sack = sack_of(peer.exchange(forward_tsn(peer, 2, (1, 2))))
        assert got == [b"third", b"fourth"]
        assert (sack.tsn, sack.gaps) == (peer.tsn + 4, [])

    def test_a_message_that_is_whole_is_delivered(self) -> None:
        # RFC 3758 §3.6: its place has come, as those before it never will.
        peer, got = connected()
        peer.send(peer.data(2, b"second", sequence=2))
        peer.send(forward_tsn(peer, 3, (1, 3)))
        assert got == [b"second"]
        peer.send(peer.data(4, b"fourth", sequence=4))
        assert got == [b"second", b"fourth"]

    def test_parts_of_what_was_skipped_are_thrown_away(self) -> None:
        peer, got = connected()
        peer.send(peer.data(1, b"a" * 500, flags=BEGIN, sequence=1))
        peer.send(peer.data(3, b"c" * 500, flags=END, sequence=1))
        peer.send(forward_tsn(peer, 3, (1, 1)))
        assert peer.association.receiver.held_bytes == 0
        peer.send(peer.data(4, b"next", sequence=2))
        assert got == [b"next"]

    def test_a_message_that_goes_on_behind_it_is_kept(self) -> None:
        peer, got = connected()
        peer.send(peer.data(2, b"ab", flags=BEGIN, sequence=2))
        peer.send(peer.data(3, b"cd", flags=0, sequence=2))
        peer.send(forward_tsn(peer, 2, (1, 1)))
        peer.send(peer.data(4, b"ef", flags=END, sequence=2))
        assert got == [b"abcdef"]

    def test_an_old_one_changes_nothing(self) -> None:
        peer, got = connected()
        peer.send(peer.data(1, b"first", sequence=1))
        peer.send(forward_tsn(peer, 0, (1, 7)))
        peer.send(peer.data(2, b"second", sequence=2))
        assert got == [b"first", b"second"]


class TestBounds:
    """A hostile peer cannot make the receiver hold more than its settings allow."""

    settings = AssociationSettings(receive_window=131_072, max_message_size=65_536)
    #: One packet may start below the limit, and a message being put together ends beyond it.
    most = 131_072 + 2 * 65_536

    def flood(self, make: str, count: int = 4_000) -> RawPeer:
        peer, _ = connected(self.settings)
        for index in range(count):
            peer.send(self.chunk(peer, make, index))
            assert peer.association.receiver.held_bytes <= self.most
            if peer.association.ready_state == "closed":
                break
        return peer

    @staticmethod
    def chunk(peer: RawPeer, make: str, index: int) -> bytes:
        if make == "tiny fragments with gaps":
            return peer.data(2 + 2 * index, b"x", flags=0)
        if make == "beginnings with gaps":
            return peer.data(2 + 2 * index, b"x" * 900, flags=BEGIN)
        if make == "messages with gaps":
            return peer.data(2 + index, b"x" * 900, sequence=2 + index)
        if make == "backwards":
            return peer.data(9_000 - index, b"x" * 900, flags=0, stream=1)
        return peer.data(2 + index, b"x" * 9, stream=index * 16 % 65_535, sequence=5)

    @pytest.mark.parametrize(
        "make",
        [
            "tiny fragments with gaps",
            "beginnings with gaps",
            "messages with gaps",
            "backwards",
            "streams",
        ],
    )
    def test_what_waits_is_counted_with_its_overhead(self, make: str) -> None:
        peer = self.flood(make)
        assert peer.association.receiver.held_bytes > 131_072 - 2_000
        sack = sack_of(peer.chunks())
        assert sack.window < 2_000

    def test_a_full_window_still_takes_what_is_missing(self) -> None:
        peer, got = connected(self.settings)
        count = 0
        while True:
            before = peer.association.receiver.held_bytes
            peer.send(peer.data(2 + count, b"x" * 900, sequence=2 + count))
            if peer.association.receiver.held_bytes == before:
                break
            count += 1
        assert got == []
        peer.send(peer.data(1, b"first", sequence=1))
        assert len(got) == 1 + count
        assert peer.association.receiver.held_bytes == 0

    @pytest.mark.parametrize("size", [1, 1_000])
    def test_a_message_without_end_ends_the_association(self, size: int) -> None:
        peer, _ = connected(self.settings)
        flags = BEGIN
        for offset in range(1, 70_000):
            peer.send(peer.data(offset, b"x" * size, flags=flags, sequence=1))
            flags = 0
            assert peer.association.receiver.held_bytes <= self.most
            if peer.association.ready_state == "closed":
                break
        assert isinstance(peer.association.error, PeerViolation)
        assert "longer than we take" in str(peer.association.error)

    def test_the_same_for_the_two_halves_around_a_hole(self) -> None:
        peer, _ = connected(self.settings)
        for offset in range(2, 68):
            peer.send(peer.data(offset, b"x" * 990, flags=0, sequence=1))
        assert peer.association.ready_state == "established"
        peer.send(peer.data(1, b"x" * 990, flags=BEGIN, sequence=1))
        assert isinstance(peer.association.error, PeerViolation)

    def test_a_message_that_is_too_long_is_cut_where_that_is_asked_for(self) -> None:
        settings = dataclasses.replace(self.settings, cut_messages=True)
        most = settings.max_message_size
        peer, got = connected(settings)
        size, offset = 1_000, 0
        for sequence, count in enumerate((5 * most // size, most // size), 1):
            for n in range(count):
                flags = BEGIN * (n == 0) | END * (n == count - 1)
                offset += 1
                peer.send(peer.data(offset, b"x" * size, flags=flags, sequence=sequence))
                assert peer.association.receiver.held_bytes <= most + 1_000
        peer.send(peer.data(offset + 1, b"next", sequence=3))
        sizes = [len(message) for message in got]
        assert sizes == [most, size * (most // size), 4]
        receiver = peer.association.receiver
        assert receiver.discarded == size * (5 * most // size) - most
        assert receiver.held_bytes == 0
        assert peer.association.error is None

    def test_the_same_for_what_came_before_its_beginning(self) -> None:
        settings = dataclasses.replace(self.settings, cut_messages=True)
        most = settings.max_message_size
        peer, got = connected(settings)
        count = 3 * most // 2 // 1_000
        for offset in range(2, count + 1):
            flags = END * (offset == count)
            peer.send(peer.data(offset, b"%d" % (offset % 10) * 1_000, flags=flags, sequence=1))
            assert peer.association.receiver.held_bytes <= self.most
        # What did not fit into the window beyond the hole is sent again.
        for offset in range(1, count + 1):
            flags = BEGIN * (offset == 1) | END * (offset == count)
            peer.send(peer.data(offset, b"%d" % (offset % 10) * 1_000, flags=flags, sequence=1))
        whole = b"".join(b"%d" % (offset % 10) * 1_000 for offset in range(1, count + 1))
        assert got == [whole[:most]]
        assert peer.association.receiver.held_bytes == 0

    def test_a_flood_of_duplicates_makes_no_large_answers(self) -> None:
        peer, _ = connected(self.settings)
        for _ in range(5_000):
            peer.send(peer.data(0))
        packets = peer.packets()
        assert len(packets) == 1
        assert len(packets[0][0].duplicates) == 32
