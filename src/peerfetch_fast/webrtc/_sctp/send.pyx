"""The sending half: packets filled with chunks, SACKs taken, and the timers between.

Its parts are in `sending/`: the queue of messages, the ring of chunks outstanding, SACKs, round
trips, losses and recovery, the tail probe, the pacer and the delivery rate. A message's bytes are
copied once, from the caller's bytes object into the packet that is about to leave. Losses are found
by time (RFC 8985); the retransmission timer of RFC 9260 §6.3 is what remains when all else fails.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample
from peerfetch_fast.webrtc._sctp.packet cimport (
    COMMON_HEADER,
    DATA,
    DATA_HEADER,
    IMMEDIATE,
    PROTOCOL_VIOLATION,
    SACK_HEADER,
    Packet,
    after,
    claim,
    load16,
    load32,
    room,
    store16,
    store32,
)
from peerfetch_fast.webrtc._sctp.sending.delivery_rate cimport DeliveryRate
from peerfetch_fast.webrtc._sctp.sending.losses cimport Losses
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding, Sent
from peerfetch_fast.webrtc._sctp.sending.pacer cimport Pacer
from peerfetch_fast.webrtc._sctp.sending.probe cimport TailProbe
from peerfetch_fast.webrtc._sctp.sending.queue cimport DCEP, Message, OutboundStream, SendQueue
from peerfetch_fast.webrtc._sctp.sending.recovery cimport Recovery
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips
from peerfetch_fast.webrtc._sctp.sending.sacks cimport Blocks, Sacks

from peerfetch_fast.webrtc._sctp.congestion import create

cdef enum:
    # Shorter pieces of a long message are not worth a chunk header.
    MIN_FRAGMENT = 128
    # With a window this small a delayed SACK would stop the sender (RFC 7053 §4).
    SMALL_WINDOW_PACKETS = 4

# Sums of the same times in another order differ in their last bits.
cdef double ROUNDING = 1e-7


cdef class Sender:
    """The sending half of an association.

    Calls that read the peer's chunks return 0, or the error cause with which the association must
    be aborted; :attr:`violation` then says why.

    :ivar congestion: its congestion controller.
    :ivar copied: bytes of messages copied into packets.
    :ivar retransmitted: chunks sent again.
    :ivar timeouts: how often the retransmission timer expired.
    :ivar failures: timeouts since something was last acknowledged.
    """

    def __cinit__(
        self, str congestion, uint32_t packet_size, uint64_t send_buffer, double rto_min,
        double rto_initial, double rto_max, double max_rate, uint32_t initial_tsn, list events
    ):
        self.packet_size = packet_size
        self.max_chunk = packet_size - COMMON_HEADER - DATA_HEADER
        self.congestion = create(congestion, packet_size - COMMON_HEADER, initial_tsn)
        self.queue = SendQueue(send_buffer, events)
        self.outstanding = Outstanding(self.queue, initial_tsn)
        self.round_trips = RoundTrips(rto_min, rto_initial, rto_max)
        self.pacer = Pacer(packet_size, max_rate)
        self.rate = DeliveryRate()
        self.recovery = Recovery(self.outstanding)
        self.losses = Losses(self.outstanding, self.recovery, self.round_trips, self.congestion)
        self.probe = TailProbe(self.outstanding, self.round_trips)
        self.sacks = Sacks(
            self.outstanding, self.round_trips, self.rate, self.losses, self.recovery, packet_size
        )
        self.full_tsn = initial_tsn
        self.retransmit_deadline = INFINITY
        self.forwarded_at = -INFINITY

    # Counters of its parts

    @property
    def queued(self):
        """Memory of messages accepted and neither acknowledged nor given up, in bytes."""
        return self.queue.held

    @property
    def in_flight(self):
        """Bytes of chunks in flight, headers included."""
        return self.outstanding.in_flight

    @property
    def next_tsn(self):
        """The TSN of the next new chunk."""
        return self.outstanding.next_tsn

    @property
    def cumulative(self):
        """The TSN up to which the peer has acknowledged everything."""
        return self.outstanding.cumulative

    @property
    def delivered(self):
        """Bytes of chunks acknowledged."""
        return self.rate.delivered

    @property
    def probes(self):
        """The number of tail-loss probes that were sent."""
        return self.probe.sent

    @property
    def spurious(self):
        """Chunks that the peer reported to have received twice."""
        return self.sacks.spurious

    @property
    def undone(self):
        """The number of times that all reported losses turned out to be spurious."""
        return self.recovery.undone

    @property
    def smoothed_rtt(self):
        """Seconds; 0: unknown."""
        return self.round_trips.smoothed

    @property
    def rtt_variation(self):
        """Seconds."""
        return self.round_trips.variation

    @property
    def min_rtt(self):
        """Seconds, the shortest of the last few; infinite: unknown."""
        return self.round_trips.shortest

    @property
    def rto(self):
        """The retransmission timeout in seconds, not backed off."""
        return self.round_trips.timeout

    # Beginning and end

    cdef int start(self, uint64_t peer_window, double now) except -1:
        """The peer is known; it takes *peer_window* bytes."""
        self.peer_window = peer_window
        self.drained_at = now
        self.pacer.start(now)
        return 0

    cdef bint idle(self) noexcept:
        """Whether everything has been sent and acknowledged."""
        return self.queue.turn == NULL and (
            self.outstanding.cumulative + 1 == self.outstanding.next_tsn
        )

    cdef void clear(self) noexcept:
        """Let go of every message; the streams that have an owner stay."""
        self.queue.clear()
        self.outstanding.clear()
        self.probe.cancel()
        self.repair_credit = 0
        self.retransmit_deadline = self.losses.deadline = self.pacer.deadline = INFINITY

    # Packets

    cdef int write_chunks(self, Packet* packet, double now) except -1:
        """Fill a packet with what may leave now."""
        cdef Outstanding outstanding = self.outstanding
        cdef size_t begin
        cdef bint forced = self.probe.due or self.losses.fast_retransmit_due
        cdef bint full = outstanding.in_flight >= self.congestion.window
        if outstanding.forward_due:
            self._write_forward(packet, now)
        if outstanding.lost.count == 0 and self.queue.turn == NULL:
            if not full:
                self.rate.limited_by_app(outstanding.in_flight)
            self.pacer.deadline = INFINITY
            return 0
        if forced:
            self.pacer.deadline = INFINITY
        elif full and not (outstanding.lost.count and self.repair_credit):
            self.full_tsn = outstanding.next_tsn
            self.pacer.deadline = INFINITY
            return 0
        elif self.pacer.holds_back(
            self.congestion.pacing_rate, self.congestion.window, outstanding.in_flight,
            self.round_trips.smoothed, now,
        ):
            return 0
        if outstanding.in_flight == 0:
            self.congestion.on_restart(now - self.drained_at, self.round_trips.timeout)
            self.drained_at = now
        begin = packet.length
        self.losses.order += 1
        if outstanding.lost.count:
            self._write_lost(packet, now)
        if outstanding.lost.count == 0 and self.queue.turn != NULL and (
            not full or (forced and packet.length == begin)
        ):
            self._write_new(packet, now)
        if packet.length == begin:
            self.losses.order -= 1
            if outstanding.forward_due:
                # Nothing was left but what has just been given up.
                self._write_forward(packet, now)
            return 0
        if self.probe.due:
            self.probe.order = self.losses.order
        self.probe.due = self.losses.fast_retransmit_due = False
        self.pacer.spend(packet.length - begin)
        self.repair_credit -= min(self.repair_credit, <uint64_t>(packet.length - begin))
        self._arm_retransmission(now)
        self._arm_probe(now)
        return 0

    cdef void _write_forward(self, Packet* packet, double now) noexcept:
        if self.outstanding.write_forward(packet):
            self.forwarded_at = now
            self._arm_retransmission(now)

    cdef int _write_lost(self, Packet* packet, double now) except -1:
        cdef Outstanding outstanding = self.outstanding
        cdef uint32_t tsn
        cdef Sent* sent
        while outstanding.lost.count:
            tsn = outstanding.lost.first
            sent = outstanding.entry(tsn)
            if outstanding.has_expired(sent.message, now):
                outstanding.give_up(sent.message)
                continue
            sent.flags |= IMMEDIATE
            if not self._write_data(packet, sent, tsn):
                break
            outstanding.settle(sent, tsn)
            self._fly(sent, tsn, now)
            self.retransmitted += 1
        return 0

    cdef int _write_new(self, Packet* packet, double now) except -1:
        cdef Outstanding outstanding = self.outstanding
        cdef Message* message
        cdef OutboundStream* stream
        cdef Sent* sent
        cdef uint32_t tsn, size
        while self.queue.turn != NULL:
            stream = self.queue.turn
            message = stream.first
            if outstanding.has_expired(message, now):
                outstanding.give_up(message)
                continue
            size = self._next_size(packet, message.length - message.offset)
            if size == 0:
                break
            # A closed window is probed with one chunk (RFC 9260 §6.1 A).
            if outstanding.in_flight and (
                outstanding.in_flight + DATA_HEADER + size > self.peer_window
            ):
                self.rate.limited_by_peer(outstanding.in_flight)
                break
            if outstanding.is_full():
                break
            tsn = outstanding.next_tsn
            sent = outstanding.cut(message, size)
            if self.queue.turn == NULL or (
                self.congestion.window < SMALL_WINDOW_PACKETS * self.packet_size
            ):
                sent.flags |= IMMEDIATE
            self._write_data(packet, sent, tsn)
            self._fly(sent, tsn, now)
            if message.protocol != DCEP:
                self.queue.leave(stream, size)
        return 0

    cdef inline uint32_t _next_size(self, const Packet* packet, uint32_t rest) noexcept:
        """Of the *rest* bytes of a message, how many the packet takes; 0: none."""
        cdef size_t left
        if room(packet) <= DATA_HEADER:
            return 0
        left = room(packet) - DATA_HEADER
        if rest <= left:
            return rest
        # A message that fits a packet of its own is not fragmented.
        if rest <= self.max_chunk or left < MIN_FRAGMENT:
            return 0
        return <uint32_t>left & ~3u

    cdef inline void _fly(self, Sent* sent, uint32_t tsn, double now) noexcept:
        """The chunk is in a packet that leaves now."""
        if self.outstanding.in_flight == 0:
            self.rate.restart(now)
        self.rate.stamp(sent, self.sacks.cut_short, now)
        sent.order = self.losses.order
        self.outstanding.fly(sent, tsn)

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

    # Acknowledgements

    cdef int _violated(self, int cause, str what) noexcept:
        self.violation = what
        return cause

    cdef int on_sack(self, const uint8_t* chunk, size_t length, double now) except -1:
        """A SACK chunk of *length* bytes."""
        cdef Blocks blocks
        cdef uint32_t cumulative
        if length < SACK_HEADER:
            return self._violated(PROTOCOL_VIOLATION, "a SACK chunk that is too short")
        cumulative = load32(chunk + 4)
        blocks.gap_count = load16(chunk + 12)
        blocks.duplicate_count = load16(chunk + 14)
        if length < SACK_HEADER + 4 * <size_t>(blocks.gap_count + blocks.duplicate_count):
            return self._violated(PROTOCOL_VIOLATION, "a SACK chunk that is too short")
        blocks.gaps = chunk + SACK_HEADER
        blocks.duplicates = blocks.gaps + 4 * blocks.gap_count
        if after(self.outstanding.cumulative, cumulative):
            # Overtaken by a later one; or it speaks of data not sent yet, from half a TSN space
            # ahead, which cannot be told apart.
            return 0
        if not after(self.outstanding.next_tsn, cumulative):
            return self._violated(PROTOCOL_VIOLATION, "a SACK for data never sent")
        self.peer_window = load32(chunk + 8)
        if not self.sacks.is_sound(cumulative, &blocks):
            return self._violated(PROTOCOL_VIOLATION, "a gap block for data never sent")
        return self._acknowledge(cumulative, &blocks, now)

    cdef int on_cumulative(self, uint32_t tsn, double now) except -1:
        """A cumulative TSN without gap blocks, from a SHUTDOWN chunk."""
        cdef Blocks blocks
        if after(self.outstanding.cumulative, tsn):
            return 0
        if not after(self.outstanding.next_tsn, tsn):
            return self._violated(PROTOCOL_VIOLATION, "a SHUTDOWN for data never sent")
        memset(&blocks, 0, sizeof(Blocks))
        return self._acknowledge(tsn, &blocks, now)

    cdef int _acknowledge(self, uint32_t cumulative, const Blocks* blocks, double now) except -1:
        """Take what was acknowledged out of the ring, and draw the conclusions."""
        cdef Report report
        self.sacks.take(&report, cumulative, blocks, now)
        if report.repeated:
            self.losses.on_duplicates(cumulative)
        if report.moved or self.rate.delivered != report.delivered or self.peer_window == 0:
            self.failures = 0
        if report.any:
            if report.newest.transmissions == 1 and not report.belated:
                self.round_trips.add(report.rtt, now)
            self.losses.on_newest(&report, self.probe.is_carrier(&report.newest))
            self.rate.stretch_began = report.newest.sent_at
        self._judge(&report, now)
        # A peer whose SACKs are cut short reports more once it gets the chunks that it lacks. Twice
        # as many bytes of those may leave as have arrived, as in slow start.
        self.repair_credit = 0 if not report.cut_short else min(
            self.repair_credit + 2 * (self.rate.delivered - report.delivered),
            self.congestion.window,
        )
        if self.outstanding.in_flight == 0:
            self.drained_at = now
        self._arm_timers(&report, now)
        if self.outstanding.can_forward() and (
            report.moved or now - self.forwarded_at >= self.round_trips.smoothed
        ):
            self.outstanding.forward_due = True
        return 0

    cdef int _judge(self, const Report* report, double now) except -1:
        """Tell the congestion control of losses, of spurious ones and of what was acknowledged."""
        cdef AckSample sample
        if self.probe.answered(report):
            # The probe repaired a loss that nothing else will ever show.
            self.congestion.on_lost(
                now, DATA_HEADER + report.newest.length, self.recovery.begin(self.probe.end, 1)
            )
        if self.recovery.was_spurious():
            self.congestion.on_spurious()
        self.losses.detect(self.sacks.cut_short, self.sacks.unreported, now)
        self.recovery.end_at(self.outstanding.cumulative)
        if self.rate.delivered != report.delivered:
            self.rate.sample(&sample, report, self.round_trips, now)
            sample.in_flight = self.outstanding.in_flight
            sample.window_limited = after(self.full_tsn, report.newest_tsn)
            self.congestion.on_acked(&sample)
        return 0

    # Timers

    cdef void _arm_timers(self, const Report* report, double now) noexcept:
        """A SACK came: T3 starts anew if it acknowledged anything (RFC 9260 §6.3.2 R3)."""
        if self.outstanding.cumulative == self.outstanding.next_tsn - 1:
            self.retransmit_deadline = INFINITY
        elif report.moved or self.rate.delivered != report.delivered:
            self.retransmit_deadline = INFINITY
            self._arm_retransmission(now)
        self._arm_probe(now)

    cdef void _arm_retransmission(self, double now) noexcept:
        if self.retransmit_deadline == INFINITY:
            self.retransmit_deadline = now + self.round_trips.backed_off(self.failures)

    cdef void _arm_probe(self, double now) noexcept:
        # After a timeout, which has stopped the probe, the timeouts that follow take its place.
        if self.failures == 0:
            self.probe.arm(self.retransmit_deadline, now)

    cdef double deadline(self) noexcept:
        """When :meth:`handle_timeout` is to be called, or there will be a packet to write."""
        return min(
            min(self.retransmit_deadline, self.probe.deadline),
            min(self.losses.deadline, self.pacer.deadline),
        )

    cdef int handle_timeout(self, double now) except -1:
        """Do what is due at the time *now*."""
        cdef bint has_new
        if self.losses.deadline <= now + ROUNDING and (
            self.losses.detect(self.sacks.cut_short, self.sacks.unreported, now)
            and self.outstanding.in_flight == 0
        ):
            self.drained_at = now
        if self.probe.deadline <= now + ROUNDING:
            has_new = (
                self.queue.turn != NULL
                and self.outstanding.in_flight + self.packet_size <= self.peer_window
                and not self.outstanding.is_full()
            )
            self.probe.expire(has_new)
        if self.retransmit_deadline <= now + ROUNDING:
            self._time_out(now)
        return 0

    cdef int path_changed(self, double now) except -1:
        """Chunks in flight went by the old path and count as lost; SACKs tell which arrived."""
        if self.outstanding.flying.count:
            self._time_out(now)
        self.failures = 0
        return 0

    cdef int _time_out(self, double now) except -1:
        """T3-rtx expired (RFC 9260 §6.3.3)."""
        # A peer that no longer reports what it once did has thrown it away (RFC 9260 §6.2.1 D iii),
        # or cannot report all of it: send that again too.
        cdef bint reneged = self.sacks.last_gap_reported < self.outstanding.gap_acked
        self.retransmit_deadline = self.losses.deadline = INFINITY
        self.probe.cancel()
        self.repair_credit = 0
        self.timeouts += 1
        self.failures += 1
        if self.failures == 1:
            self.congestion.on_timeout(now)
            self.recovery.begin_anew(self.outstanding.flying.count)
        self.recovery.recovering = False
        self.outstanding.lose_all(reneged, now)
        self.drained_at = now
        if self.outstanding.can_forward():
            self.outstanding.forward_due = True
        # If what is lost cannot leave at once, the timer must still run.
        self._arm_retransmission(now)
        return 0
