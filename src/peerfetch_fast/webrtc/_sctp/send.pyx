"""The sending half: messages, chunks in flight, what is lost and when to send it again.

A message stays in the caller's bytes object; its bytes are copied once, into the packet that is about
to leave. Chunks in flight are entries of a ring indexed by TSN: the message, an offset and a length.
Losses are found by time, as RFC 8985 (RACK-TLP) does for TCP: a chunk is lost when one sent
sufficiently later has been acknowledged, and the last packets of a burst are probed for. The
retransmission timer of RFC 9260 §6.3 is what remains when all else fails.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport INFINITY, fabs
from libc.stddef cimport size_t
from libc.stdint cimport UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample
from peerfetch_fast.webrtc._sctp.packet cimport (
    BEGIN,
    COMMON_HEADER,
    DATA,
    DATA_HEADER,
    END,
    FORWARD_TSN,
    FORWARD_TSN_HEADER,
    IMMEDIATE,
    PROTOCOL_VIOLATION,
    SACK_HEADER,
    UNORDERED,
    Packet,
    after,
    claim,
    load16,
    load32,
    padded,
    room,
    store16,
    store32,
)

from peerfetch_fast.webrtc._sctp.congestion import create
from peerfetch_fast.webrtc._sctp.errors import SendBufferFull
from peerfetch_fast.webrtc._sctp.events import BufferedAmountLow

# States of a chunk in the ring.
cdef enum:
    FLYING = 1      # sent, nothing heard of it
    LOST = 2        # to be sent again
    ACKED = 3       # by a gap block
    ABANDONED = 4   # given up (RFC 3758)

cdef enum:
    FIRST_RING = 64
    MAX_OUTSTANDING = 65535     # chunks: a gap block cannot speak of more
    # Shorter pieces of a long message are not worth a chunk header.
    MIN_FRAGMENT = 128
    # RFC 8985 §6.2, RFC 9002 §6.1.1: this many packets later, unless the path reorders.
    PACKET_THRESHOLD = 3
    # A SACK with so many gap blocks may have left out others: Chromium's never have more.
    LEAST_MAX_BLOCKS = 20
    MAX_REORDERING_STEPS = 16
    BURST_PACKETS = 4
    FIRST_BURST = 10
    # What a pacer waits for, if it comes within BURST_TIME: fewer timers. More than this would be hard
    # on a short queue, unless a tick of the timers is worth more.
    MAX_REFILL = 65_536
    # With a window this small a delayed SACK would stop the sender (RFC 7053 §4).
    SMALL_WINDOW_PACKETS = 4
    MAX_FORWARDED_STREAMS = 256
    # What a queued message costs besides its bytes: its struct, and the bytes object's header.
    MESSAGE_OVERHEAD = 128
    DCEP = 50                   # its messages are not the application's (RFC 8832 §8.1)

# Timers of event loops tick in milliseconds: a pacer must catch up that much at once.
cdef double BURST_TIME = 0.002      # seconds
cdef double MIN_PROBE_TIMEOUT = 0.01
cdef double PROBE_GAIN = 1.25
# A WebRTC path is watched by ICE; backing off further than to two packets a second protects nothing,
# and delays the healing of a path that comes back.
cdef double MAX_BACKOFF = 0.5
cdef double MIN_RTT_WINDOW = 10.0
# No path takes so long and stays up; a computer that slept does.
cdef double MAX_RTT = 10.0
# Sums of the same times in another order differ in their last bits.
cdef double ROUNDING = 1e-7


cdef inline uint32_t _size(Sent* sent) noexcept:
    return DATA_HEADER + <uint32_t>padded(sent.length)


cdef inline bint _is_idle(const OutboundStream* stream) noexcept:
    return stream.first == NULL and stream.chunks_unacked == 0


cdef class Sender:
    """What an association sends.

    :ivar congestion: its congestion controller.
    :ivar queued: memory of messages accepted and neither acknowledged nor given up, in bytes.
    :ivar in_flight: bytes of chunks in flight, headers included.
    :ivar delivered: bytes of chunks acknowledged.
    :ivar retransmitted: chunks sent again.
    :ivar timeouts: how often the retransmission timer expired.
    :ivar probes: how many tail-loss probes were sent.
    :ivar spurious: chunks that the peer reported to have received twice.
    :ivar undone: how often all that counted as lost turned out to have been late.
    :ivar failures: timeouts since something was last acknowledged.
    """

    def __cinit__(
        self, str congestion, uint32_t packet_size, uint64_t send_buffer, double rto_min,
        double rto_initial, double rto_max, double max_rate, uint32_t initial_tsn, list events
    ):
        self.packet_size = packet_size
        self.max_chunk = packet_size - COMMON_HEADER - DATA_HEADER
        self.congestion = create(congestion, packet_size - COMMON_HEADER, initial_tsn)
        self.send_buffer = send_buffer
        self.rto = rto_initial
        self.rto_min = rto_min
        self.rto_max = rto_max
        self.max_rate = max_rate
        self.events = events
        self.drained = []
        self.next_tsn = self.full_tsn = initial_tsn
        self.cumulative = self.highest_acked = initial_tsn - 1
        self.reordering_steps = 1
        self.max_blocks = LEAST_MAX_BLOCKS
        self.retransmit_deadline = INFINITY
        self.probe_deadline = INFINITY
        self.reordering_deadline = INFINITY
        self.pace_deadline = INFINITY
        self.min_rtt = INFINITY
        self.forwarded_at = -INFINITY
        self.ring = <Sent*>calloc(FIRST_RING, sizeof(Sent))
        self.mask = FIRST_RING - 1
        if self.ring == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.ring != NULL:
            self.clear()
            free(self.ring)
        while self.streams != NULL:
            self._free_stream(self.streams)

    cdef void clear(self) noexcept:
        """Let go of every message; the streams stay."""
        cdef OutboundStream* stream = self.streams
        cdef OutboundStream* following
        cdef uint32_t tsn
        cdef Message* message
        # Nobody waits for a stream to drain any more.
        while stream != NULL:
            stream.draining = False
            stream = stream.following
        stream = self.turn_first
        # A message with chunks in the ring goes with the last of them; of those still to be cut,
        # the ring may hold some too.
        while stream != NULL:
            following = stream.next
            while stream.first != NULL:
                message = stream.first
                stream.first = message.next
                message.whole = True
                if message.chunks_kept == 0:
                    self._free_message(message)
            stream.last = NULL
            stream.buffered = 0
            stream.active = False
            stream.next = NULL
            stream = following
        self.turn_first = self.turn_last = NULL
        for tsn in range(self.next_tsn - 1 - self.cumulative):
            self._release(self._entry(self.cumulative + 1 + tsn))
        self.cumulative = self.next_tsn - 1
        stream = self.streams
        while stream != NULL:
            following = stream.following
            if stream.owner == NULL:
                self._free_stream(stream)
            stream = following
        memset(&self.flying, 0, sizeof(Chain))
        memset(&self.lost, 0, sizeof(Chain))
        self.in_flight = self.unsent = self.repair_credit = 0
        self.forward_due = self.probe_due = False
        self.retransmit_deadline = self.probe_deadline = INFINITY
        self.reordering_deadline = self.pace_deadline = INFINITY

    cdef int start(self, uint64_t peer_window, double now) except -1:
        """The peer is known; it takes *peer_window* bytes."""
        self.peer_window = peer_window
        self.paced_at = self.drained_at = now
        self.pace_credit = FIRST_BURST * self.packet_size
        return 0

    # Streams and messages

    cdef OutboundStream* open_stream(self, uint16_t id, PyObject* owner) except NULL:
        cdef OutboundStream* stream = <OutboundStream*>calloc(1, sizeof(OutboundStream))
        if stream == NULL:
            raise MemoryError
        stream.id = id
        stream.owner = owner
        stream.following = self.streams
        if self.streams != NULL:
            self.streams.preceding = stream
        self.streams = stream
        return stream

    cdef void close_stream(self, OutboundStream* stream) noexcept:
        """Its owner is gone: the stream goes as soon as nothing on it is queued or unacknowledged."""
        stream.owner = NULL
        stream.draining = True
        if not _is_idle(stream):
            return
        self._free_stream(stream)

    cdef void discard_stream(self, OutboundStream* stream) noexcept:
        """Free a stream and what is queued on it, of which nothing was sent yet."""
        cdef OutboundStream* before = NULL
        cdef OutboundStream* at = self.turn_first
        cdef Message* message
        while at != NULL and at != stream:
            before = at
            at = at.next
        if at != NULL:
            if before == NULL:
                self.turn_first = at.next
            else:
                before.next = at.next
            if self.turn_last == at:
                self.turn_last = before
        while stream.first != NULL:
            message = stream.first
            stream.first = message.next
            self.unsent -= message.length
            self._free_message(message)
        self._free_stream(stream)

    cdef int drain_stream(self, OutboundStream* stream) except -1:
        """Nothing more is sent on it: its owner is in `drained` once all of it has arrived."""
        stream.draining = True
        if _is_idle(stream):
            self._drained(stream)
        return 0

    cdef void _drained(self, OutboundStream* stream) noexcept:
        """All that was sent on a draining stream has arrived, or was given up."""
        if stream.owner == NULL:
            self._free_stream(stream)
        else:
            stream.draining = False
            self.drained.append(<object>stream.owner)

    cdef void _free_stream(self, OutboundStream* stream) noexcept:
        if stream.preceding == NULL:
            self.streams = stream.following
        else:
            stream.preceding.following = stream.following
        if stream.following != NULL:
            stream.following.preceding = stream.preceding
        free(stream)

    cdef int send(
        self, OutboundStream* stream, uint32_t protocol, bytes head, bytes data, size_t start,
        size_t length, bint unordered, uint32_t max_retransmits, double expires
    ) except -1:
        """Queue a message of at least one byte: *head* (or None), then ``data[start:start+length]``.

        *max_retransmits* (UINT32_MAX: any number) and *expires* (infinite: never) limit what is
        done for it, if the peer understands that.

        :raises SendBufferFull: nothing was queued.
        """
        cdef Message* message
        cdef uint64_t size = length
        if head is not None:
            size += PyBytes_GET_SIZE(head)
        if protocol != DCEP and self.queued + size + MESSAGE_OVERHEAD > self.send_buffer:
            raise SendBufferFull(
                f"{self.queued} bytes wait to be sent and acknowledged, of {self.send_buffer}"
            )
        message = <Message*>malloc(sizeof(Message))
        if message == NULL:
            raise MemoryError
        memset(message, 0, sizeof(Message))
        if head is not None:
            Py_INCREF(head)
            message.head = <PyObject*>head
            message.head_length = <uint32_t>PyBytes_GET_SIZE(head)
        Py_INCREF(data)
        message.data = <PyObject*>data
        message.start = start
        message.stream = stream
        message.length = <uint32_t>size
        message.protocol = protocol
        message.unordered = unordered
        message.max_retransmits = max_retransmits
        message.expires = expires
        message.partial = max_retransmits != UINT32_MAX or expires != INFINITY
        if stream.last == NULL:
            stream.first = message
        else:
            stream.last.next = message
        stream.last = message
        self.queued += size + MESSAGE_OVERHEAD
        self.unsent += size
        if protocol != DCEP:
            stream.buffered += size
        if not stream.active:
            stream.active = True
            stream.next = NULL
            if self.turn_last == NULL:
                self.turn_first = stream
            else:
                self.turn_last.next = stream
            self.turn_last = stream
        return 0

    cdef bint idle(self) noexcept:
        """Whether everything has been sent and acknowledged."""
        return self.turn_first == NULL and self.cumulative + 1 == self.next_tsn

    cdef void _leave(self, OutboundStream* stream, uint64_t size) noexcept:
        cdef uint64_t before = stream.buffered
        stream.buffered -= size
        if stream.owner != NULL and before > stream.low_threshold >= stream.buffered:
            self.events.append(BufferedAmountLow(<object>stream.owner))

    cdef void _finish_cut(self, OutboundStream* stream) noexcept:
        """Nothing is left to cut of the stream's first message: the next stream has its turn."""
        stream.first.whole = True
        stream.first = stream.first.next
        if stream.first == NULL:
            stream.last = NULL
        elif self.turn_last == stream:
            return
        self.turn_first = stream.next
        stream.next = NULL
        if stream.first != NULL:
            self.turn_last.next = stream
            self.turn_last = stream
        else:
            stream.active = False
            if self.turn_first == NULL:
                self.turn_last = NULL

    cdef void _free_message(self, Message* message) noexcept:
        if message.data != NULL:
            self.queued -= message.length + MESSAGE_OVERHEAD
            Py_DECREF(<object>message.data)
        if message.head != NULL:
            Py_DECREF(<object>message.head)
        free(message)

    # The ring

    cdef inline Sent* _entry(self, uint32_t tsn) noexcept:
        return self.ring + (tsn & self.mask)

    cdef Sent* _new_entry(self) except NULL:
        """The entry of `next_tsn`, which is then counted up."""
        cdef Sent* ring
        cdef Sent* sent
        cdef uint32_t mask, tsn
        if self.next_tsn - self.cumulative - 1 > self.mask:
            mask = 2 * self.mask + 1
            ring = <Sent*>calloc(<size_t>mask + 1, sizeof(Sent))
            if ring == NULL:
                raise MemoryError
            tsn = self.cumulative + 1
            while tsn != self.next_tsn:
                ring[tsn & mask] = self.ring[tsn & self.mask]
                tsn += 1
            free(self.ring)
            self.ring = ring
            self.mask = mask
        sent = self._entry(self.next_tsn)
        sent.transmissions = 0
        self.next_tsn += 1
        return sent

    cdef void _link(self, Chain* chain, uint32_t tsn) noexcept:
        if chain.count == 0:
            chain.first = tsn
        else:
            self._entry(chain.last).next = tsn
            self._entry(tsn).previous = chain.last
        chain.last = tsn
        chain.count += 1

    cdef void _unlink(self, Chain* chain, uint32_t tsn) noexcept:
        cdef Sent* sent = self._entry(tsn)
        if tsn == chain.first:
            chain.first = sent.next
        else:
            self._entry(sent.previous).next = sent.next
        if tsn == chain.last:
            chain.last = sent.previous
        else:
            self._entry(sent.next).previous = sent.previous
        chain.count -= 1

    cdef void _fly(self, Sent* sent, uint32_t tsn, double now) noexcept:
        """The chunk is in a packet that leaves now."""
        if self.in_flight == 0:
            self.stretch_began = self.delivered_at = now
        sent.state = FLYING
        sent.sent_at = now
        sent.order = self.order
        sent.delivered = self.delivered
        sent.delivered_at = self.delivered_at
        sent.stretch_began = self.stretch_began
        sent.limits = (
            APP_LIMITED * (self.limited_until > self.delivered)
            | PEER_LIMITED * (self.closed_until > self.delivered)
            | CUT_SHORT * self.cut_short
        )
        if sent.transmissions < 0xFFFF:
            sent.transmissions += 1
        self.in_flight += _size(sent)
        self._link(&self.flying, tsn)

    cdef void _ground(self, Sent* sent, uint32_t tsn) noexcept:
        """The chunk is no longer in flight, or no longer to be sent again."""
        if sent.state == FLYING:
            self._unlink(&self.flying, tsn)
            self.in_flight -= _size(sent)
        elif sent.state == LOST:
            self._unlink(&self.lost, tsn)

    cdef void _release(self, Sent* sent) noexcept:
        """The chunk leaves the ring."""
        cdef Message* message = sent.message
        cdef OutboundStream* stream = message.stream
        if sent.state == ACKED:
            self.gap_acked -= 1
        sent.state = 0
        stream.chunks_unacked -= 1
        message.chunks_kept -= 1
        if message.chunks_kept == 0 and message.whole:
            self._free_message(message)
        if stream.draining and _is_idle(stream):
            self._drained(stream)

    # Giving up (RFC 3758)

    cdef int _abandon(self, Message* message) except -1:
        cdef OutboundStream* stream = message.stream
        cdef uint32_t tsn, index
        cdef uint32_t rest = message.length - message.offset
        cdef Sent* sent
        cdef bint cut = message.whole
        if not cut:
            self.unsent -= rest
            if message.protocol != DCEP:
                self._leave(stream, rest)
            if message.chunks:
                # The peer holds the beginning and waits for the end. That gets a TSN, which is
                # never sent, so that a FORWARD TSN can pass it.
                sent = self._new_entry()
                sent.message = message
                sent.offset = message.length
                sent.length = 0
                sent.flags = END
                sent.state = ABANDONED
                message.chunks += 1
                message.chunks_kept += 1
                stream.chunks_unacked += 1
            # The message is the first of the stream whose turn it is: no other can be half cut.
            self._finish_cut(stream)
        self.queued -= message.length + MESSAGE_OVERHEAD
        Py_DECREF(<object>message.data)
        message.data = NULL
        if message.chunks_kept == 0:
            self._free_message(message)
            if stream.draining and _is_idle(stream):
                self._drained(stream)
            return 0
        for index in range(message.chunks):
            tsn = message.first_tsn + index
            if after(tsn, self.cumulative):
                sent = self._entry(tsn)
                if sent.state != ACKED:
                    self._ground(sent, tsn)
                    sent.state = ABANDONED
        self.forward_due = True
        return 0

    cdef bint _can_forward(self) noexcept:
        """Whether the peer waits for a chunk that was given up."""
        return self.cumulative + 1 != self.next_tsn and (
            self._entry(self.cumulative + 1).state == ABANDONED
        )

    cdef int _write_forward(self, Packet* packet, double now) noexcept:
        """A FORWARD TSN chunk, if it has something to say."""
        cdef uint32_t tsn, index, count = 0
        cdef uint32_t advanced = self.cumulative    # Advanced.Peer.Ack.Point
        cdef uint16_t streams[MAX_FORWARDED_STREAMS]
        cdef uint16_t sequences[MAX_FORWARDED_STREAMS]
        cdef uint32_t most = MAX_FORWARDED_STREAMS
        cdef Sent* sent
        cdef uint8_t* out
        self.forward_due = room(packet) < FORWARD_TSN_HEADER + 4
        if self.forward_due:
            return 0
        most = min(most, <uint32_t>((room(packet) - FORWARD_TSN_HEADER) // 4))
        tsn = self.cumulative
        while tsn + 1 != self.next_tsn:
            tsn += 1
            sent = self._entry(tsn)
            if sent.state == ABANDONED:
                if not sent.message.unordered:
                    for index in range(count):
                        if streams[index] == sent.message.stream.id:
                            break
                    else:
                        index = count
                    if index == most:
                        break
                    if index == count:
                        count += 1
                    streams[index] = sent.message.stream.id
                    sequences[index] = sent.message.sequence
                advanced = tsn
            elif sent.state != ACKED:
                break
        if advanced == self.cumulative:
            return 0
        out = claim(packet, FORWARD_TSN_HEADER + 4 * count)
        if out == NULL:
            return 0
        out[0] = FORWARD_TSN
        out[1] = 0
        store16(out + 2, <uint16_t>(FORWARD_TSN_HEADER + 4 * count))
        store32(out + 4, advanced)
        for index in range(count):
            store16(out + FORWARD_TSN_HEADER + 4 * index, streams[index])
            store16(out + FORWARD_TSN_HEADER + 4 * index + 2, sequences[index])
        self.forwarded_at = now
        self._arm_retransmission(now)
        return 0

    # Packets

    cdef int write_chunks(self, Packet* packet, double now) except -1:
        """Fill a packet with what may leave now."""
        cdef size_t begin
        cdef bint forced = self.probe_due or self.fast_retransmit_due
        cdef bint full = self.in_flight >= self.congestion.window
        if self.forward_due:
            self._write_forward(packet, now)
        if self.lost.count == 0 and self.turn_first == NULL:
            if not full:
                self.limited_until = self.delivered + self.in_flight + 1
            self.pace_deadline = INFINITY
            return 0
        if forced:
            self.pace_deadline = INFINITY
        elif full and not (self.lost.count and self.repair_credit):
            self.full_tsn = self.next_tsn
            self.pace_deadline = INFINITY
            return 0
        elif self._paced_out(now):
            return 0
        if self.in_flight == 0:
            self.congestion.on_restart(now - self.drained_at, self.rto)
            self.drained_at = now
        begin = packet.length
        self.order += 1
        if self.lost.count:
            self._write_lost(packet, now)
        if self.lost.count == 0 and self.turn_first != NULL and (
            not full or (forced and packet.length == begin)
        ):
            self._write_new(packet, now)
        if packet.length == begin:
            self.order -= 1
            # Nothing left but what was given up just now.
            return self._write_forward(packet, now) if self.forward_due else 0
        if self.probe_due:
            self.probe_order = self.order
        self.probe_due = self.fast_retransmit_due = False
        self.pace_credit -= packet.length - begin
        self.repair_credit -= min(self.repair_credit, <uint64_t>(packet.length - begin))
        self._arm_retransmission(now)
        self._arm_probe(now)
        return 0

    cdef int _write_lost(self, Packet* packet, double now) except -1:
        cdef uint32_t tsn
        cdef Sent* sent
        while self.lost.count:
            tsn = self.lost.first
            sent = self._entry(tsn)
            if sent.message.partial and sent.message.expires <= now and self.peer_forwards:
                self._abandon(sent.message)
                continue
            sent.flags |= IMMEDIATE
            if not self._write_data(packet, sent, tsn):
                break
            self._unlink(&self.lost, tsn)
            self._fly(sent, tsn, now)
            self.retransmitted += 1
        return 0

    cdef int _write_new(self, Packet* packet, double now) except -1:
        cdef OutboundStream* stream
        cdef Message* message
        cdef Sent* sent
        cdef uint32_t tsn, rest, take
        cdef size_t left
        while self.turn_first != NULL:
            stream = self.turn_first
            message = stream.first
            if message.partial and message.expires <= now and self.peer_forwards:
                self._abandon(message)
                continue
            if room(packet) <= DATA_HEADER:
                break
            left = room(packet) - DATA_HEADER
            rest = take = message.length - message.offset
            if rest > left:
                # What fits a packet of its own is not torn apart.
                if rest <= self.max_chunk or left < MIN_FRAGMENT:
                    break
                take = <uint32_t>left & ~3u
            # A closed window is probed with one chunk (RFC 9260 §6.1 A).
            if self.in_flight and self.in_flight + DATA_HEADER + take > self.peer_window:
                self.closed_until = self.delivered + self.in_flight + 1
                break
            if self.next_tsn - self.cumulative > MAX_OUTSTANDING:
                break
            tsn = self.next_tsn
            sent = self._new_entry()
            sent.message = message
            sent.offset = message.offset
            sent.length = <uint16_t>take
            sent.flags = UNORDERED if message.unordered else 0
            if message.chunks == 0:
                sent.flags |= BEGIN
                message.first_tsn = tsn
                if not message.unordered:
                    message.sequence = stream.next_sequence
                    stream.next_sequence += 1
            message.chunks += 1
            message.chunks_kept += 1
            stream.chunks_unacked += 1
            message.offset += take
            self.unsent -= take
            if take == rest:
                sent.flags |= END
                self._finish_cut(stream)
            if self.turn_first == NULL or (
                self.congestion.window < SMALL_WINDOW_PACKETS * self.packet_size
            ):
                sent.flags |= IMMEDIATE
            self._write_data(packet, sent, tsn)
            self._fly(sent, tsn, now)
            if message.protocol != DCEP:
                self._leave(stream, take)
        return 0

    cdef bint _write_data(self, Packet* packet, Sent* sent, uint32_t tsn) noexcept:
        """A DATA chunk; False: the packet has no room for it."""
        cdef uint8_t* out = claim(packet, DATA_HEADER + <size_t>sent.length)
        cdef Message* message = sent.message
        cdef uint32_t offset = sent.offset, length = sent.length, part
        if out == NULL:
            return False
        out[0] = DATA
        out[1] = sent.flags
        store16(out + 2, DATA_HEADER + sent.length)
        store32(out + 4, tsn)
        store16(out + 8, message.stream.id)
        store16(out + 10, message.sequence)
        store32(out + 12, message.protocol)
        out += DATA_HEADER
        self.copied += length
        if offset < message.head_length:
            part = min(length, message.head_length - offset)
            memcpy(out, PyBytes_AS_STRING(<object>message.head) + offset, part)
            out += part
            offset += part
            length -= part
        memcpy(
            out,
            PyBytes_AS_STRING(<object>message.data)
            + message.start + (offset - message.head_length),
            length,
        )
        return True

    cdef bint _paced_out(self, double now) noexcept:
        cdef double rate = self.congestion.pacing_rate
        cdef double burst, late, most, refill
        if rate <= 0 or rate > self.max_rate:
            rate = self.max_rate
        elif self.congestion.window <= rate * BURST_TIME:
            # A whole window is one burst: a short path, on which timers would only be in the way.
            self.pace_credit = rate * BURST_TIME
            self.paced_at = now
            self.pace_deadline = INFINITY
            return False
        burst = max(rate * BURST_TIME, <double>BURST_PACKETS * self.packet_size)
        if now > self.paced_at:
            # A timer that is late, on a busy machine, must not cost the rate.
            late = 0 if self.pace_deadline == INFINITY else max(now - self.pace_deadline, 0.0)
            most = burst + rate * min(late, self.smoothed_rtt / 2)
            if self.in_flight == 0:
                # After a pause, as at the start: RFC 6928's ten packets.
                most = max(most, <double>FIRST_BURST * self.packet_size)
            self.pace_credit = min(self.pace_credit + rate * (now - self.paced_at), most)
            self.paced_at = now
        if self.pace_deadline != INFINITY and now + ROUNDING < self.pace_deadline:
            return True
        self.pace_deadline = INFINITY
        if self.pace_credit > 0:
            return False
        refill = max(min(rate * BURST_TIME, <double>MAX_REFILL), burst / 2)
        self.pace_deadline = now + (refill - self.pace_credit) / rate
        return True

    # Acknowledgements

    cdef int _violated(self, int cause, str what) noexcept:
        self.violation = what
        return cause

    cdef int on_sack(self, const uint8_t* chunk, size_t length, double now) except -1:
        """A SACK chunk of *length* bytes; 0, or the cause with which to abort."""
        cdef uint32_t cumulative, gaps, duplicates
        cdef const uint8_t* blocks = chunk + SACK_HEADER
        if length < SACK_HEADER:
            return self._violated(PROTOCOL_VIOLATION, "a SACK chunk that is too short")
        cumulative = load32(chunk + 4)
        gaps = load16(chunk + 12)
        duplicates = load16(chunk + 14)
        if length < SACK_HEADER + 4 * <size_t>(gaps + duplicates):
            return self._violated(PROTOCOL_VIOLATION, "a SACK chunk that is too short")
        if after(self.cumulative, cumulative):
            # Overtaken by a later one; or it speaks of data not sent yet, from half a TSN space
            # ahead, which cannot be told apart.
            return 0
        if not after(self.next_tsn, cumulative):
            return self._violated(PROTOCOL_VIOLATION, "a SACK for data never sent")
        self.peer_window = load32(chunk + 8)
        return self._acknowledge(
            cumulative, blocks, gaps, blocks + 4 * gaps, duplicates, now
        )

    cdef int on_cumulative(self, uint32_t tsn, double now) except -1:
        """A cumulative TSN without gap blocks, from a SHUTDOWN chunk."""
        if after(self.cumulative, tsn):
            return 0
        if not after(self.next_tsn, tsn):
            return self._violated(PROTOCOL_VIOLATION, "a SHUTDOWN for data never sent")
        return self._acknowledge(tsn, NULL, 0, NULL, 0, now)

    cdef int _acknowledge(
        self, uint32_t cumulative, const uint8_t* gaps, uint32_t gap_count,
        const uint8_t* duplicates, uint32_t duplicate_count, double now
    ) except -1:
        cdef Report report
        cdef uint32_t index, last_sent = self.next_tsn - 1
        # Nothing is believed of a SACK that speaks of data never sent.
        for index in range(gap_count):
            if (
                load16(gaps + 4 * index) > load16(gaps + 4 * index + 2)
                or load16(gaps + 4 * index + 2) > last_sent - cumulative
            ):
                return self._violated(PROTOCOL_VIOLATION, "a gap block for data never sent")
        memset(&report, 0, sizeof(Report))
        report.newest_tsn = cumulative
        report.delivered = self.delivered
        report.delivered_at = self.delivered_at
        report.recovering = self.recovering
        report.was_cut_short = self.cut_short
        report.was_unreported = self.unreported
        report.rtt = -1
        report.moved = cumulative != self.cumulative
        self._take_cumulative(&report, cumulative, now)
        self._take_gaps(&report, gaps, gap_count, duplicate_count, now)
        self._take_duplicates(duplicates, duplicate_count)
        if duplicate_count and not after(self.reordering_steps_end, cumulative):
            # Sent again for nothing: wait longer for what may only be late (RFC 8985 §6.2).
            self.reordering_steps = min(self.reordering_steps + 1, <uint32_t>MAX_REORDERING_STEPS)
            self.reordering_steps_end = last_sent
        if report.moved or self.delivered != report.delivered or self.peer_window == 0:
            self.failures = 0
        if report.any:
            self._measure(&report, now)
        self._end_probe(&report, duplicate_count != 0, now)
        self._undo_if_spurious()
        self._detect_losses(now)
        if self.recovering and not after(self.recovery_end, cumulative):
            self.recovering = False
        if self.delivered != report.delivered:
            self._tell_congestion(&report, now)
        # Where the peer's window is full of data that it cannot report, only what it lacks lets it
        # report more. Twice as much of that may leave as has arrived, as in slow start.
        self.repair_credit = 0 if not self.cut_short else min(
            self.repair_credit + 2 * (self.delivered - report.delivered), self.congestion.window
        )
        if self.in_flight == 0:
            self.drained_at = now
        if cumulative == last_sent:
            self.retransmit_deadline = INFINITY
        elif report.moved or self.delivered != report.delivered:
            self.retransmit_deadline = INFINITY
            self._arm_retransmission(now)
        self._arm_probe(now)
        if self._can_forward() and (report.moved or now - self.forwarded_at >= self.smoothed_rtt):
            self.forward_due = True
        return 0

    cdef inline void _note(self, Report* report, const Sent* sent, uint32_t tsn) noexcept:
        """A chunk was acknowledged for the first time: is it the newest of this SACK?"""
        # A copy, as giving up messages may move the ring.
        if not report.any or not after(report.newest.order, sent.order):
            report.any = True
            report.newest = sent[0]
            report.newest_tsn = tsn

    cdef int _take_cumulative(self, Report* report, uint32_t cumulative, double now) except -1:
        """All up to *cumulative* has arrived."""
        cdef Sent* sent
        cdef uint32_t tsn
        while self.cumulative != cumulative:
            tsn = self.cumulative + 1
            sent = self._entry(tsn)
            if self._ack(sent, tsn, now):
                self._note(report, sent, tsn)
            self._release(sent)
            self.cumulative = tsn
        return 0

    cdef void _take_gaps(
        self, Report* report, const uint8_t* gaps, uint32_t gap_count, uint32_t duplicate_count,
        double now
    ) noexcept:
        """Gap blocks, which were checked, behind the cumulative TSN."""
        cdef Sent* sent
        cdef uint32_t tsn, first, index, reported = 0
        cdef uint32_t cumulative = self.cumulative, stop = cumulative
        for index in range(gap_count):
            first = tsn = cumulative + load16(gaps + 4 * index)
            # Blocks come in order and apart; others would only make us walk the ring again.
            if not after(first, stop):
                continue
            stop = cumulative + load16(gaps + 4 * index + 2) + 1
            reported += stop - first
            while after(stop, tsn):
                sent = self._entry(tsn)
                tsn += 1
                if sent.state == ACKED:
                    tsn = sent.next
                else:
                    if self._ack(sent, tsn - 1, now):
                        self._note(report, sent, tsn - 1)
                    sent.state = ACKED
                    self.gap_acked += 1
                    sent.next = tsn
                # So that no later block that begins here walks this one again.
                if after(stop, sent.next):
                    sent.next = stop
        self.last_gap_reported = reported
        if gap_count > LEAST_MAX_BLOCKS:
            # It has as many as a packet holds.
            self.max_blocks = (self.packet_size - COMMON_HEADER - SACK_HEADER) // 4
        self.cut_short = gap_count + duplicate_count >= self.max_blocks and (
            gap_count >= LEAST_MAX_BLOCKS
        )
        if self.cut_short and not report.was_cut_short:
            self.reported_delivered = report.delivered
            self.reported_at = report.delivered_at
        self.unreported = stop

    cdef void _take_duplicates(self, const uint8_t* duplicates, uint32_t count) noexcept:
        """TSNs that have come twice."""
        cdef uint32_t index, tsn
        self.spurious += count
        for index in range(count):
            tsn = load32(duplicates + 4 * index)
            if self.doubted and after(tsn, self.doubted_from) and (
                not after(tsn, self.recovery_end)
            ):
                self.doubted_twice += 1

    cdef void _measure(self, Report* report, double now) noexcept:
        """The round trip of the newest chunk that was acknowledged."""
        cdef const Sent* newest = &report.newest
        report.rtt = now - newest.sent_at
        # A SACK that was cut short could not report it, and it may have come long ago.
        report.belated = report.was_cut_short and not after(report.was_unreported, report.newest_tsn)
        if newest.transmissions == 1 and not report.belated:
            self.add_rtt(report.rtt, now)
        # An acknowledgement sooner than any was the first transmission's (RFC 8985 §6.2). Of a
        # probe it does not matter: nothing left between the two, and what left before is older
        # than the probe's timeout. On a short path such answers are common.
        if report.rtt <= MAX_RTT and (
            newest.transmissions == 1 or report.rtt >= self.min_rtt
            or (self.probing and newest.order == self.probe_order)
        ):
            if not self.any_acked or after(newest.order, self.newest_order):
                self.any_acked = True
                self.newest_order = newest.order
                if not report.belated:
                    self.newest_rtt = report.rtt
        self.stretch_began = newest.sent_at

    cdef int _end_probe(self, Report* report, bint repeated, double now) except -1:
        """Whether a probe was answered, and what that says (RFC 8985 §7.4.2)."""
        if not self.probing or after(self.probe_end, self.cumulative):
            return 0
        self.probing = False
        if (
            self.probe_repeats and not repeated and report.any
            and report.newest.transmissions > 1 and report.rtt >= self.min_rtt
        ):
            # The probe repaired a loss that nothing else will ever show.
            self.congestion.on_lost(
                now, DATA_HEADER + report.newest.length, self._begin_recovery(self.probe_end, 1)
            )
        return 0

    cdef int _tell_congestion(self, Report* report, double now) except -1:
        """Something was delivered: give the congestion control a sample of the rate."""
        cdef AckSample sample
        cdef const Sent* newest = &report.newest
        sample.now = now
        sample.recovering = report.recovering
        sample.acked = self.delivered - report.delivered
        sample.in_flight = self.in_flight
        sample.delivered = self.delivered
        sample.prior_delivered = newest.delivered
        sample.interval = max(newest.sent_at - newest.stretch_began, now - newest.delivered_at)
        if newest.limits & CUT_SHORT:
            # Some of this had come before it left. The rate is no more than that since all was
            # known, if that was long enough ago to say anything.
            if now - self.reported_at < self.min_rtt:
                sample.interval = 0
            else:
                sample.interval = max(
                    sample.interval,
                    (self.delivered - newest.delivered) * (now - self.reported_at)
                    / (self.delivered - self.reported_delivered),
                )
        sample.rtt = report.rtt
        if newest.transmissions > 1 or report.belated or report.rtt > MAX_RTT:
            sample.rtt = -1
        sample.smoothed_rtt = self.smoothed_rtt
        sample.min_rtt = self.min_rtt
        sample.app_limited = newest.limits & APP_LIMITED
        sample.understated = (
            newest.limits & PEER_LIMITED or report.was_cut_short or self.cut_short
        )
        sample.window_limited = after(self.full_tsn, report.newest_tsn)
        self.congestion.on_acked(&sample)
        return 0

    cdef bint _ack(self, Sent* sent, uint32_t tsn, double now) noexcept:
        """Whether this is the first that is heard of a chunk that was sent."""
        if sent.state != FLYING and sent.state != LOST:
            return False
        if self.doubted and after(tsn, self.doubted_from) and (
            sent.state == LOST or (sent.transmissions > 1 and now - sent.sent_at < self.min_rtt)
        ):
            # No retransmission of it can have been acknowledged by now (RFC 5682, RFC 3522).
            self.doubted_early += 1
            self.doubted_twice += sent.state == LOST
        self._ground(sent, tsn)
        self.delivered += _size(sent)
        self.delivered_at = now
        if after(tsn, self.highest_acked):
            self.highest_acked = tsn
        if sent.transmissions == 1:
            if after(self.highest_acked, tsn):
                # It was overtaken, not lost.
                self.reordering_seen = True
        elif now - sent.sent_at < self.min_rtt:
            # So was this one: no acknowledgement of the second transmission could be here yet.
            self.reordering_seen = True
        return True

    cdef void add_rtt(self, double rtt, double now) noexcept:
        """A round trip took *rtt* seconds (RFC 9260 §6.3.1)."""
        if not 0 <= rtt <= MAX_RTT:
            return
        if self.smoothed_rtt == 0:
            self.smoothed_rtt = rtt
            self.rtt_variation = rtt / 2
        else:
            self.rtt_variation += (fabs(self.smoothed_rtt - rtt) - self.rtt_variation) / 4
            self.smoothed_rtt += (rtt - self.smoothed_rtt) / 8
        self.rto = min(max(self.smoothed_rtt + 4 * self.rtt_variation, self.rto_min), self.rto_max)
        if rtt <= self.min_rtt or now - self.min_rtt_at > MIN_RTT_WINDOW:
            self.min_rtt = rtt
            self.min_rtt_at = now

    # Losses

    cdef double _reordering_window(self) noexcept:
        if not self.reordering_seen and self.recovering:
            return 0
        return min(self.reordering_steps * self.min_rtt / 4, self.smoothed_rtt)

    cdef int _detect_losses(self, double now) except -1:
        cdef uint64_t lost = 0
        cdef uint32_t tsn, following, highest, left
        cdef Sent* sent
        cdef double patience, overdue
        cdef uint32_t count = 0
        self.reordering_deadline = INFINITY
        if not self.any_acked:
            return 0
        patience = self.newest_rtt + self._reordering_window()
        highest = self.cumulative
        tsn = self.flying.first
        left = self.flying.count
        while left:
            left -= 1
            sent = self._entry(tsn)
            following = sent.next
            if self.cut_short and not after(self.unreported, tsn):
                # The peer may have it.
                tsn = following
                continue
            if not after(self.newest_order, sent.order):
                # Nothing later that is acknowledged may ever show the loss of a retransmission: the
                # SACKs that come without it do.
                overdue = self.smoothed_rtt + max(4 * self.rtt_variation, patience / 4)
                if not self.cut_short or sent.sent_at + overdue > now:
                    break
            elif sent.sent_at + patience > now + ROUNDING and (
                self.reordering_seen or self.newest_order - sent.order < PACKET_THRESHOLD
            ):
                self.reordering_deadline = sent.sent_at + patience
                break
            # What shows late, by reports that were cut short, says nothing of the path as it is now.
            if sent.sent_at + 2 * self.smoothed_rtt > now:
                lost += _size(sent)
            self._lose(sent, tsn, now)
            count += 1
            if after(tsn, highest):
                highest = tsn
            tsn = following
            if left and self._entry(tsn).state != FLYING:
                # It was given up, with the one before.
                tsn = self.flying.first
                left = self.flying.count
        if count:
            self.fast_retransmit_due |= not self.recovering
            self.congestion.on_lost(now, lost, self._begin_recovery(highest, count))
            if self.in_flight == 0:
                self.drained_at = now
        return 0

    cdef bint _begin_recovery(self, uint32_t highest, uint32_t count) noexcept:
        """*count* more chunks up to the TSN *highest* are lost; whether these are the first of those
        that were in flight together."""
        if self.recovering and not after(highest, self.recovery_end):
            self.doubted += count if self.doubted else 0
            return False
        self.recovering = True
        self.recovery_end = self.next_tsn - 1
        self.doubted = count
        self.doubted_early = self.doubted_twice = 0
        self.doubted_from = self.cumulative
        return True

    cdef void _undo_if_spurious(self) noexcept:
        if self.doubted and max(self.doubted_early, self.doubted_twice) >= self.doubted:
            self.doubted = 0
            self.recovering = False
            self.undone += 1
            self.congestion.on_spurious()

    cdef int _lose(self, Sent* sent, uint32_t tsn, double now) except -1:
        cdef Message* message = sent.message
        if message.partial and self.peer_forwards and (
            sent.transmissions > message.max_retransmits or message.expires <= now
        ):
            return self._abandon(message)
        self._ground(sent, tsn)
        sent.state = LOST
        self._link_lost(tsn)
        return 0

    cdef void _link_lost(self, uint32_t tsn) noexcept:
        """Into the chain of lost chunks, by its TSN: what was sent first is needed first, though its
        second transmission was lost after the first one of what follows."""
        cdef Sent* sent = self._entry(tsn)
        cdef uint32_t following
        if self.lost.count == 0 or after(tsn, self.lost.last):
            self._link(&self.lost, tsn)
            return
        following = self.lost.first
        if (
            after(tsn, self.lost_last_put) and after(self.lost_last_put, self.cumulative)
            and self._entry(self.lost_last_put).state == LOST
        ):
            # Losses mostly show in the order of their TSNs: the place is behind the last one's.
            following = self._entry(self.lost_last_put).next
        self.lost_last_put = tsn
        while after(tsn, following):
            following = self._entry(following).next
        sent.next = following
        if following == self.lost.first:
            self.lost.first = tsn
        else:
            sent.previous = self._entry(following).previous
            self._entry(sent.previous).next = tsn
        self._entry(following).previous = tsn
        self.lost.count += 1

    # Timers

    cdef void _arm_retransmission(self, double now) noexcept:
        cdef double rto = self.rto
        cdef uint32_t failures
        if self.retransmit_deadline == INFINITY:
            for failures in range(self.failures):
                rto *= 2
                if rto >= MAX_BACKOFF:
                    break
            self.retransmit_deadline = now + max(self.rto, min(rto, MAX_BACKOFF))

    cdef void _arm_probe(self, double now) noexcept:
        cdef double timeout
        self.probe_deadline = INFINITY
        if (
            self.flying.count and self.lost.count == 0 and not self.probing
            and self.smoothed_rtt > 0 and self.failures == 0
        ):
            # RFC 8985 §7.2 has twice the round trip at any rate. Where it is steady less will do, as
            # what goes last asks for an immediate SACK (RFC 7053).
            timeout = max(PROBE_GAIN * self.smoothed_rtt, self.smoothed_rtt + 4 * self.rtt_variation)
            timeout = max(min(timeout, 2 * self.smoothed_rtt), MIN_PROBE_TIMEOUT)
            if now + timeout < self.retransmit_deadline:
                self.probe_deadline = now + timeout

    cdef double deadline(self) noexcept:
        """When :meth:`handle_timeout` is to be called, or there will be a packet to write."""
        return min(
            min(self.retransmit_deadline, self.probe_deadline),
            min(self.reordering_deadline, self.pace_deadline),
        )

    cdef int handle_timeout(self, double now) except -1:
        if self.reordering_deadline <= now + ROUNDING:
            self._detect_losses(now)
        if self.probe_deadline <= now + ROUNDING:
            self._probe(now)
        if self.retransmit_deadline <= now + ROUNDING:
            self._time_out(now)
        return 0

    cdef int path_changed(self, double now) except -1:
        """What is in flight went another way, and is lost; what the peer has of it, it will say."""
        if self.flying.count:
            self._time_out(now)
        self.failures = 0
        return 0

    cdef void _probe(self, double now) noexcept:
        """Nothing was heard for a while: make the peer say what it has (RFC 8985 §7.3)."""
        cdef uint32_t tsn
        cdef Sent* sent
        self.probe_deadline = INFINITY
        if self.flying.count == 0:
            return
        tsn = self.flying.last
        sent = self._entry(tsn)
        self.probe_repeats = (
            self.turn_first == NULL
            or self.in_flight + self.packet_size > self.peer_window
            or self.next_tsn - self.cumulative > MAX_OUTSTANDING
        )
        if (
            self.probe_repeats and self.peer_forwards
            and sent.transmissions > sent.message.max_retransmits
        ):
            return
        self.probes += 1
        self.probing = self.probe_due = True
        self.probe_end = self.next_tsn - 1
        if self.probe_repeats:
            self._ground(sent, tsn)
            sent.state = LOST
            self._link(&self.lost, tsn)

    cdef int _time_out(self, double now) except -1:
        """T3-rtx expired (RFC 9260 §6.3.3)."""
        cdef uint32_t tsn
        cdef Sent* sent
        # A peer that no longer reports what it once did has thrown it away (RFC 9260 §6.2.1 D iii),
        # or cannot report all of it: send that again too.
        cdef bint reneged = self.last_gap_reported < self.gap_acked
        self.retransmit_deadline = INFINITY
        self.probing = self.probe_due = False
        self.repair_credit = 0
        self.timeouts += 1
        self.failures += 1
        if self.failures == 1:
            self.congestion.on_timeout(now)
            self.recovery_end = self.next_tsn - 1
            self.doubted = self.flying.count
            self.doubted_early = self.doubted_twice = 0
            self.doubted_from = self.cumulative
        self.recovering = False
        memset(&self.lost, 0, sizeof(Chain))
        tsn = self.cumulative + 1
        while tsn != self.next_tsn:
            sent = self._entry(tsn)
            if sent.state == FLYING:
                self._ground(sent, tsn)
                sent.state = LOST
            elif sent.state == ACKED and reneged and sent.message.data != NULL:
                sent.state = LOST
                self.gap_acked -= 1
            elif sent.state == ACKED:
                sent.next = tsn + 1
            if sent.state == LOST:
                self._link(&self.lost, tsn)
            tsn += 1
        # Only now may messages be given up: that takes chunks out of the chain of lost ones.
        tsn = self.cumulative + 1
        while tsn != self.next_tsn:
            sent = self._entry(tsn)
            if sent.state == LOST and sent.message.partial and self.peer_forwards and (
                sent.transmissions > sent.message.max_retransmits or sent.message.expires <= now
            ):
                self._abandon(sent.message)
            tsn += 1
        self.drained_at = now
        self.reordering_deadline = self.probe_deadline = INFINITY
        if self._can_forward():
            self.forward_due = True
        # If what is lost cannot leave at once, the timer must still run.
        self._arm_retransmission(now)
        return 0
