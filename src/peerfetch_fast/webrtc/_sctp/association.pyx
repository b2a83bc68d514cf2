"""An SCTP association as WebRTC uses it: handshake, timers, shutdown, and the parts put together.

Sans-I/O: packets and the time go in; packets, events and the next deadline come out.
"""

import hashlib
import hmac
import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from peerfetch_fast.webrtc._sctp.checksum cimport sctp_crc32c_init, sctp_packet_checksum
from peerfetch_fast.webrtc._sctp.packet cimport (
    ABORT,
    ADD_INCOMING_STREAMS,
    ADD_OUTGOING_STREAMS,
    ASSOCIATION_RESET,
    CHUNK_HEADER,
    COMMON_HEADER,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    ERROR,
    FORWARD_TSN,
    FORWARD_TSN_SUPPORTED,
    HEARTBEAT,
    HEARTBEAT_ACK,
    HEARTBEAT_INFO,
    INCOMING_RESET,
    INIT,
    INIT_ACK,
    INVALID_PARAMETER,
    MISSING_PARAMETER,
    OUTGOING_RESET,
    PROTOCOL_VIOLATION,
    RE_CONFIG,
    RECONFIG_RESPONSE,
    RESTART,
    SACK,
    SACK_HEADER,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    STALE_COOKIE,
    STATE_COOKIE,
    SUPPORTED_EXTENSIONS,
    TAG_REFLECTED,
    UNRECOGNIZED_CHUNK,
    UNRECOGNIZED_PARAMETER,
    UNRECOGNIZED_PARAMETERS,
    USER_ABORT,
    ZERO_CHECKSUM_ACCEPTABLE,
    Packet,
    after,
    chunk,
    claim,
    load16,
    load32,
    next_parameter,
    padded,
    parameter,
    store16,
    store32,
    write_bytes,
)

from peerfetch_fast.webrtc._sctp.errors import (
    AssociationAborted,
    AssociationError,
    AssociationLost,
    PeerViolation,
)
from peerfetch_fast.webrtc._sctp.events import Connected, Disconnected

sctp_crc32c_init()

cdef enum:
    STREAMS = 65535
    DTLS = 1                    # as the reason why a zero checksum will do (RFC 9653 §8)
    MAX_OUTBOX = 16             # packets beyond which answers to the peer's requests are dropped
    # Bytes of a chunk or parameter that we do not know, reported to the peer: at most so many, and a
    # fraction of a packet, which must hold an INIT ACK with its cookie too.
    MAX_UNKNOWN_REPORTED = 512
    UNKNOWN_FRACTION = 4
    MAX_RESET_IDS = 64          # in a request
    # Parameters of reconfiguration that are read of one packet: a chunk has at most two (RFC 6525
    # §3.1), and there is one with a request and one with a response.
    MAX_RECONFIGURATION = 4
    # Streams beyond one for each channel on which something may have come: those that were refused,
    # or whose OPEN is still missing.
    SPARE_STREAMS = 256
    SMALLEST_PACKET = COMMON_HEADER + CHUNK_HEADER

# Results of a reconfiguration (RFC 6525 §4.4).
cdef enum:
    NOTHING_TO_DO = 0
    PERFORMED = 1
    DENIED = 2
    ANOTHER_IN_PROGRESS = 4
    BAD_NUMBER = 5
    IN_PROGRESS = 6

cdef double COOKIE_LIFETIME = 60.0      # seconds (RFC 9260 §15)
# RFC 9260 §9.2's T5: a shutdown that is not through by then becomes an abort.
cdef double SHUTDOWN_GUARD = 60.0
# As with data (send.pyx): backing off further protects nothing.
cdef double MAX_CONTROL_BACKOFF = 0.5

# When, tags of both sides, the peer's initial TSN, window and streams, what it can, and the tags of
# the association that exists already (RFC 9260 §5.2.2's tie-tags).
_COOKIE = struct.Struct(">dIIIIHHBII")
_COOKIE_MAC = 32
_INIT = struct.Struct(">IIHHI")
_RESET = struct.Struct(">III")

cdef enum:
    CAN_FORWARD = 1
    CAN_RESET = 2
    CAN_ZERO = 4

_STATES = (
    "closed", "cookie-wait", "cookie-echoed", "established", "shutdown-pending", "shutdown-sent",
    "shutdown-received", "shutdown-ack-sent", "closed",
)


cdef inline uint32_t _swapped(uint32_t value) noexcept:
    """The checksum is the one field in little-endian order (RFC 9260 appendix A)."""
    return (
        value >> 24 | (value >> 8 & 0xFF00u) | (value << 8 & 0xFF0000u) | <uint32_t>(value << 24)
    )


cdef class Association:
    """One SCTP association.

    :param settings: an :class:`~peerfetch_fast.webrtc._sctp.settings.AssociationSettings`.
    :param seed: at least 32 unpredictable bytes, for tags, the initial TSN and the cookie's key.
    :param client: whether we are the DTLS client, which opens channels with even ids.
    :param peer_init: the peer's INIT, if its description had it and ours had :func:`init_chunk`:
        there is no handshake then (draft-hancke-tsvwg-snap).
    :raises ValueError: the peer's INIT makes no sense.

    After every call, take :meth:`next_packet` until it returns None, then :meth:`take_events`.
    Times are seconds of one clock that does not go back. The peer cannot make a call raise: what it
    does wrong ends the association, and :attr:`error` tells.

    :ivar error: why the association ended; None: it has not, or was shut down in order.
    """

    def __cinit__(
        self, settings, bytes seed not None, *, bint client, bytes peer_init=None
    ):
        cdef bytes secret
        if len(seed) < 32:
            raise ValueError("the seed must have at least 32 bytes")
        if peer_init is not None and not is_init(peer_init):
            raise ValueError("that is no INIT of a peer")
        self.peer_init = peer_init
        secret = hashlib.sha512(seed).digest()
        self.settings = settings
        self.events = []
        self.outbox = []
        self.local_port = settings.local_port
        self.remote_port = settings.remote_port
        self.packet_size = settings.max_packet_size & ~3
        self.local_tag = int.from_bytes(secret[0:4], "big") or 1
        self.initial_tsn = int.from_bytes(secret[4:8], "big")
        self.restart_tag = int.from_bytes(secret[8:12], "big") or 1
        self.cookie_key = secret[32:]
        self.request_number = self.initial_tsn
        self.accept_zero = settings.zero_checksum
        self.sender = Sender(
            settings.congestion, self.packet_size, settings.send_buffer, settings.rto_min,
            settings.rto_initial, settings.rto_max, settings.max_rate, self.initial_tsn,
            self.events,
        )
        self.table = ChannelTable(
            self.sender, self.events, client, settings.max_channels,
            settings.remote_max_message_size, settings.max_label, settings.label_memory,
        )
        self.receiver = Receiver(
            self.table, settings.receive_window, settings.max_message_size,
            settings.cut_messages, settings.sack_delay, settings.max_channels + SPARE_STREAMS,
        )
        self.max_received = settings.max_received_packet
        self.report_limit = min(
            <size_t>MAX_UNKNOWN_REPORTED, <size_t>self.packet_size // UNKNOWN_FRACTION
        )
        self.heartbeat_interval = settings.heartbeat_interval or INFINITY
        self.control_deadline = self.guard_deadline = INFINITY
        self.heartbeat_deadline = self.request_deadline = INFINITY

    # What the owner calls

    @property
    def ready_state(self):
        """RFC 9260's name of the state, in lower case: ``closed``, ``established``, …"""
        return _STATES[self.state]

    @property
    def held(self):
        """Bytes of memory: received and not delivered, accepted and not acknowledged, and the peer's
        labels."""
        return (
            self.receiver.held_bytes + self.sender.queued
            + self.settings.label_memory - self.table.label_memory
        )

    @property
    def on_channel(self):
        """Called with each :class:`Channel` that the peer opens, before its first message."""
        return self.table.on_channel

    @on_channel.setter
    def on_channel(self, callback):
        self.table.on_channel = callback

    def connect(self, double now):
        """Begin the handshake, if there is to be one. Both sides may."""
        cdef const uint8_t* init
        if self.state != IDLE:
            return
        if self.peer_init is not None:
            init = <const uint8_t*>PyBytes_AS_STRING(self.peer_init)
            (tag, window, outgoing, incoming, tsn), can, _, _ = _read_init(
                init, load16(init + 2), 0
            )
            self._adopt(tag, tsn, window, outgoing, incoming, can, now)
            self._establish(now)
            return
        self.state = COOKIE_WAIT
        self.control_tries = 0
        self._repeat(self._init(), now)

    def shutdown(self, double now):
        """End the association once all that was sent has arrived. ``Disconnected`` follows."""
        self.table.accepting = False
        if self.state < ESTABLISHED:
            self._end(None)
        elif self.state == ESTABLISHED:
            self.state = SHUTDOWN_PENDING
            self.guard_deadline = now + SHUTDOWN_GUARD
            self._progress_shutdown(now)

    def abort(self, str reason not None, double now):
        """End the association at once; what has not arrived is lost."""
        if self.state == ENDED:
            return
        self._send_abort(USER_ABORT, reason)
        self._end(AssociationAborted(f"aborted by us: {reason}", USER_ABORT))

    def open_channel(
        self, str label not None="", str protocol not None="", *, bint ordered=True,
        max_retransmits=None, max_lifetime=None, id=None
    ):
        """A new data channel; messages may be sent on it at once.

        :param max_retransmits: give a message up after as many retransmissions.
        :param max_lifetime: give a message up after so many seconds.
        :param id: the stream, if both sides agreed on the channel beforehand ("negotiated").
        :raises TooManyChannels: no stream is free.
        :raises ChannelClosed: the association is closing or closed.
        """
        return self.table.open(label, protocol, ordered, max_retransmits, max_lifetime, id)

    def take_events(self):
        """The events since the last call, oldest first."""
        if not self.events:
            return []
        events = self.events[:]
        # The list is shared with those who add to it.
        self.events.clear()
        return events

    def receive_packet(self, bytes packet not None, double now):
        """Take one SCTP packet, as it came out of DTLS.

        :raises RuntimeError: called from inside of a callback.
        """
        self.receive(<const uint8_t*>PyBytes_AS_STRING(packet), PyBytes_GET_SIZE(packet), now)

    def next_packet(self, double now):
        """The next packet to send, or None."""
        cdef Py_ssize_t length
        cdef bytes packet
        if self.scratch is None:
            self.scratch = PyBytes_FromStringAndSize(NULL, self.packet_size)
        length = self.poll(<uint8_t*>PyBytes_AS_STRING(self.scratch), self.packet_size, now)
        if length == 0:
            return None
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.scratch), length)

    def next_deadline(self):
        """When :meth:`handle_timeout` must be called next, or None."""
        cdef double deadline = self.deadline()
        return None if deadline == INFINITY else deadline

    # Packets

    cdef bint has_events(self) noexcept:
        return len(self.events) != 0

    cdef int receive(self, const uint8_t* packet, size_t length, double now) except -1:
        """One packet. Never raises for what the peer does."""
        cdef uint32_t tag
        cdef int kind
        cdef size_t size
        if self.receiving:
            raise RuntimeError("a packet cannot be received while one is")
        self.packets_received += 1
        if not self._is_sound(packet, length):
            self.packets_dropped += 1
            return 0
        kind = packet[COMMON_HEADER]
        tag = load32(packet + 4)
        if self.state == ENDED:
            return self._after_the_end(tag, kind)
        if kind == INIT:
            if tag == 0:
                size = load16(packet + COMMON_HEADER + 2)
                # RFC 9260 §4.3: it comes alone.
                if size >= CHUNK_HEADER and COMMON_HEADER + padded(size) == length:
                    return self._on_init(packet + COMMON_HEADER, size, now)
            self.packets_dropped += 1
            return 0
        if tag != self.local_tag and not (
            # RFC 9260 §8.5.1.
            (
                (kind == ABORT or kind == SHUTDOWN_COMPLETE)
                and packet[COMMON_HEADER + 1] & TAG_REFLECTED
                and tag == self.remote_tag and self.remote_tag
            )
            or (kind == COOKIE_ECHO and tag == self.restart_tag)
        ):
            self.packets_dropped += 1
            return 0
        self.heard_at = now
        self.heartbeats_unanswered = 0
        self.receiving = True
        self.acknowledged = False
        self.parameters_left = MAX_RECONFIGURATION
        try:
            self._take_chunks(packet, length, now)
        finally:
            self.receiving = False
            if self.state == ENDED:
                self.receiver.clear()
        if self.state == ENDED:
            return 0
        if self.state == SHUTDOWN_SENT and self.receiver.data_in_packet:
            # RFC 9260 §9.2: it has not heard of our SHUTDOWN.
            self.receiver.urgent_in_packet = True
            self._send_shutdown(now)
        self.receiver.end_packet(now)
        if self.deferred_ids is not None:
            self._do_deferred()
        return 0

    cdef bint _is_sound(self, const uint8_t* packet, size_t length) noexcept:
        """Whether a packet is of a size, between our ports, and has the checksum that it must have."""
        cdef uint32_t stored
        cdef int first
        if (
            length < SMALLEST_PACKET
            or length > self.max_received
            or load16(packet) != self.remote_port
            or load16(packet + 2) != self.local_port
        ):
            return False
        first = packet[COMMON_HEADER]
        memcpy(&stored, packet + 8, 4)
        # RFC 9653 §5.3: the packets that agree on it are never without a checksum.
        return (
            stored == 0 and self.accept_zero and first != INIT and first != COOKIE_ECHO
        ) or load32(packet + 8) == _swapped(sctp_packet_checksum(packet, length))

    cdef int _take_chunks(self, const uint8_t* packet, size_t length, double now) except -1:
        """The chunks of a packet that is the peer's."""
        cdef int kind, cause
        cdef size_t at = COMMON_HEADER, size
        while at + CHUNK_HEADER <= length and self.state != ENDED:
            kind = packet[at]
            size = load16(packet + at + 2)
            if size < CHUNK_HEADER or at + size > length:
                break
            if kind == DATA:
                if self.state == COOKIE_ECHOED:
                    # Only a peer that took our cookie sends data: its COOKIE ACK was lost.
                    self._establish(now)
                # RFC 9260 §6.
                if ESTABLISHED <= self.state <= SHUTDOWN_SENT:
                    cause = self.receiver.on_data(packet + at, size)
                    if cause:
                        self._violate(cause, self.receiver.violation, now)
            elif kind == SACK:
                # A packet has one: all others would only make us look through the same ring.
                if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED and not self.acknowledged:
                    self.acknowledged = True
                    cause = self.sender.on_sack(packet + at, size, now)
                    if cause:
                        self._violate(cause, self.sender.violation, now)
                    elif self.state != ESTABLISHED:
                        self._progress_shutdown(now)
            elif self._on_chunk(kind, packet + at, size, now):
                break
            at += padded(size)
        return 0

    cdef Py_ssize_t poll(self, uint8_t* buffer, size_t capacity, double now) except -1:
        """Write the next packet to *buffer*; its length, 0: there is none now.

        :raises ValueError: the buffer holds less than a largest packet.
        """
        cdef Packet packet, reserved
        if capacity < self.packet_size:
            raise ValueError(f"a buffer must hold {self.packet_size} bytes")
        packet.start = buffer
        packet.length = COMMON_HEADER
        packet.capacity = self.packet_size
        if self.control_due:
            return self._write_control(&packet)
        if self.outbox:
            return self._write_outbox(&packet)
        if not ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            return 0
        if self.request is None and self.table.has_due() and self._request_resets(now):
            return self._write_outbox(&packet)
        if self.receiver.sack_now or self.receiver.sack_deadline <= now:
            self.receiver.write_sack(&packet)
            self.sender.write_chunks(&packet, now)
        elif self.receiver.sack_deadline != INFINITY:
            # A SACK can wait, but goes along with data (RFC 9260 §6.2). Nothing is missing and
            # nothing came twice, or it would not wait: it is a header only.
            reserved.start = claim(&packet, SACK_HEADER)
            reserved.length = 0
            reserved.capacity = SACK_HEADER
            self.sender.write_chunks(&packet, now)
            if packet.length == COMMON_HEADER + SACK_HEADER:
                packet.length = COMMON_HEADER
                self.sender.write_chunks(&packet, now)
            else:
                self.receiver.write_sack(&reserved)
        else:
            self.sender.write_chunks(&packet, now)
        if packet.length == COMMON_HEADER:
            return 0
        return self._seal(&packet, self.remote_tag, self.send_zero)

    cdef Py_ssize_t _write_control(self, Packet* packet) except -1:
        """The chunk that T1 or T2 watches."""
        cdef int kind = self.control[0]
        self.control_due = False
        write_bytes(
            packet, <const uint8_t*>PyBytes_AS_STRING(self.control),
            PyBytes_GET_SIZE(self.control),
        )
        # An INIT carries no tag (RFC 9260 §8.5.1), and what agrees on it no zero checksum.
        return self._seal(
            packet, 0 if kind == INIT else self.remote_tag,
            self.send_zero and kind != INIT and kind != COOKIE_ECHO,
        )

    cdef Py_ssize_t _write_outbox(self, Packet* packet) except -1:
        cdef uint32_t tag
        cdef bytes chunks
        cdef int kind
        tag, chunks = self.outbox.pop(0)
        write_bytes(packet, <const uint8_t*>PyBytes_AS_STRING(chunks), PyBytes_GET_SIZE(chunks))
        kind = chunks[0]
        return self._seal(packet, tag, self.send_zero and kind != INIT_ACK)

    cdef Py_ssize_t _seal(self, Packet* packet, uint32_t tag, bint zero) noexcept:
        """Write the common header, for which every packet begins with room."""
        cdef uint8_t* out = packet.start
        cdef uint32_t checksum = 0
        store16(out, self.local_port)
        store16(out + 2, self.remote_port)
        store32(out + 4, tag)
        if not zero:
            checksum = _swapped(sctp_packet_checksum(out, packet.length))
        store32(out + 8, checksum)
        self.packets_sent += 1
        return packet.length

    cdef bint _post(self, uint32_t tag, bytes chunks, bint droppable) except -1:
        """Send chunks in a packet of their own; whether they will be. What is longer than a packet
        is not, and of the answers that only the peer wants no more than a few wait."""
        if COMMON_HEADER + PyBytes_GET_SIZE(chunks) > <Py_ssize_t>self.packet_size or (
            droppable and len(self.outbox) >= MAX_OUTBOX
        ):
            return False
        self.outbox.append((tag, chunks))
        return True

    cdef int _repeat(self, bytes control, double now) except -1:
        """Send a chunk now, and again whenever T1 or T2 expires. It is shorter than any packet."""
        cdef uint32_t doubling
        cdef double timeout = self.sender.rto
        self.control = control
        self.control_due = True
        if self.control_tries == 0:
            self.control_sent_at = now
        for doubling in range(min(self.control_tries, <uint32_t>8)):
            timeout *= 2
        self.control_deadline = now + max(self.sender.rto, min(timeout, MAX_CONTROL_BACKOFF))
        return 0

    cdef int _stop_repeating(self) except -1:
        self.control = None
        self.control_due = False
        self.control_deadline = INFINITY
        return 0

    # Timers

    cdef double deadline(self) noexcept:
        """When :meth:`handle_timeout` must be called next; infinite: not on our account."""
        cdef double earliest
        if self.state == ENDED:
            return INFINITY
        earliest = min(self.control_deadline, self.guard_deadline)
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            earliest = min(
                min(earliest, min(self.heartbeat_deadline, self.request_deadline)),
                min(self.receiver.sack_deadline, self.sender.deadline()),
            )
        return earliest

    cpdef int handle_timeout(self, double now) except -1:
        """Do what is due at the time *now*; calling it early does nothing."""
        if self.state == ENDED:
            return 0
        if self.guard_deadline <= now:
            self._send_abort(USER_ABORT, "the shutdown took too long")
            return self._end(AssociationLost("the peer did not take part in the shutdown"))
        if self.control_deadline <= now:
            self._control_expired(now)
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            if self.receiver.sack_deadline <= now:
                self.receiver.sack_now = True
            self.sender.handle_timeout(now)
            if self.sender.failures > self.settings.max_retransmissions:
                self._lost("data")
            elif self.request_deadline <= now:
                self._request_expired(now)
            elif self.heartbeat_deadline <= now:
                self._heartbeat_due(now)
            if self.state != ESTABLISHED and self.state != ENDED:
                self._progress_shutdown(now)
        return 0

    cpdef int path_changed(self, double now) except -1:
        """Packets take another way from now on: repeat at once what the old one may have lost."""
        self.heartbeats_unanswered = 0
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            self.sender.path_changed(now)
            self.receiver.sack_now = True
            self.request_tries = 0
            if self.request_deadline != INFINITY:
                self.request_deadline = now
        if self.control_deadline != INFINITY:
            self.control_tries = 0
            self.control_deadline = now
        return 0

    def _lost(self, str what):
        self._send_abort(USER_ABORT, "no answer")
        self._end(AssociationLost(f"the peer no longer answers: {what} went unacknowledged"))

    def _control_expired(self, double now):
        self.control_tries += 1
        if self.control_tries > (
            self.settings.max_init_retransmissions if self.state < ESTABLISHED
            else self.settings.max_retransmissions
        ):
            self._lost("the handshake" if self.state < ESTABLISHED else "the shutdown")
        elif self.state == SHUTDOWN_SENT:
            self._send_shutdown(now)
        else:
            self._repeat(self.control, now)

    def _request_expired(self, double now):
        self.request_tries += 1
        if self.request_tries > self.settings.max_retransmissions:
            self._lost("a stream reset")
            return
        self._post(self.remote_tag, self.request, True)
        self.request_deadline = now + max(
            self.sender.rto,
            min(self.sender.rto * 2.0 ** min(self.request_tries, 8), MAX_CONTROL_BACKOFF),
        )

    def _heartbeat_due(self, double now):
        if self.heartbeats_unanswered == 0 and now < self.heard_at + self.heartbeat_interval:
            self.heartbeat_deadline = self.heard_at + self.heartbeat_interval
            return
        if self.heartbeats_unanswered > self.settings.max_retransmissions:
            self._lost("a heartbeat")
            return
        self.heartbeats_unanswered += 1
        self.heartbeat = struct.pack(">d", now) + hmac.digest(
            self.cookie_key, struct.pack(">dQ", now, self.packets_sent), "sha256"
        )[:8]
        self._post(self.remote_tag, chunk(HEARTBEAT, 0, parameter(HEARTBEAT_INFO, self.heartbeat)), True)
        self.heartbeat_deadline = now + max(self.sender.rto, MAX_CONTROL_BACKOFF)

    # Handshake (RFC 9260 §5)

    cdef bytes _init(self):
        return chunk(INIT, 0, self._init_body(self.local_tag) + self._abilities())

    def _init_body(self, uint32_t tag):
        return _INIT.pack(tag, self.settings.receive_window, STREAMS, STREAMS, self.initial_tsn)

    def _abilities(self):
        abilities = parameter(FORWARD_TSN_SUPPORTED, b"") + parameter(
            SUPPORTED_EXTENSIONS, bytes((RE_CONFIG, FORWARD_TSN))
        )
        if self.accept_zero:
            abilities += parameter(ZERO_CHECKSUM_ACCEPTABLE, DTLS.to_bytes(4, "big"))
        return abilities

    cdef int _on_init(self, const uint8_t* chunk_, size_t length, double now) except -1:
        """Answer with what we would need to know, and remember nothing (RFC 9260 §5.1)."""
        cdef uint32_t tag = self.local_tag
        read = _read_init(chunk_, length, self.report_limit)
        if read is None:
            self.packets_dropped += 1
            return 0
        (peer_tag, window, outgoing, incoming, tsn), can, _, unknown = read
        if self.state >= ESTABLISHED:
            if peer_tag != self.remote_tag:
                tag = self.restart_tag
            elif self.peer_init is None or self.heard_at:
                # An old one, overtaken.
                return 0
            # Else our description has not reached the peer, though its own has reached us.
        cookie = _COOKIE.pack(
            now, tag, peer_tag, tsn, window, outgoing, incoming, can,
            self.local_tag, self.remote_tag,
        )
        cookie += hmac.digest(self.cookie_key, cookie, "sha256")
        self._post(
            peer_tag,
            chunk(
                INIT_ACK, 0,
                self._init_body(tag) + parameter(STATE_COOKIE, cookie) + self._abilities()
                + unknown,
            ),
            True,
        )
        return 0

    cdef int _on_init_ack(self, const uint8_t* chunk_, size_t length, double now) except -1:
        if self.state != COOKIE_WAIT:
            return 0
        read = _read_init(chunk_, length, self.report_limit)
        if read is None:
            return self._violate(PROTOCOL_VIOLATION, "an INIT ACK that makes no sense", now)
        (tag, window, outgoing, incoming, tsn), can, cookie, unknown = read
        if not cookie or len(cookie) > self.packet_size - SMALLEST_PACKET:
            return self._violate(MISSING_PARAMETER, "an INIT ACK without a usable cookie", now)
        if self.control_tries == 0:
            self.sender.add_rtt(now - self.control_sent_at, now)
        self._adopt(tag, tsn, window, outgoing, incoming, can, now)
        self.state = COOKIE_ECHOED
        self.control_tries = 0
        self._repeat(chunk(COOKIE_ECHO, 0, cookie), now)
        if unknown:
            self._post(
                self.remote_tag,
                chunk(ERROR, 0, parameter(UNRECOGNIZED_PARAMETERS, _unwrapped(unknown))), True
            )
        return 0

    def _adopt(
        self, uint32_t tag, uint32_t tsn, uint32_t window, uint32_t outgoing, uint32_t incoming,
        int can, double now
    ):
        """What the peer said of itself."""
        self.remote_tag = tag
        self.peer_initial_tsn = self.peer_request_number = tsn
        self.receiver.start(tsn, outgoing)
        self.sender.start(window, now)
        self.sender.peer_forwards = can & CAN_FORWARD
        self.peer_resets = can & CAN_RESET
        self.send_zero = self.accept_zero and can & CAN_ZERO
        self.table.stream_limit = min(incoming, <uint32_t>STREAMS)

    cdef int _on_cookie_echo(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cookie = chunk_[CHUNK_HEADER:length]
        if len(cookie) != _COOKIE.size + _COOKIE_MAC or not hmac.compare_digest(
            hmac.digest(self.cookie_key, cookie[:_COOKIE.size], "sha256"), cookie[_COOKIE.size:]
        ):
            self.packets_dropped += 1
            return 1
        made, tag, peer_tag, tsn, window, outgoing, incoming, can, own_tie, peer_tie = (
            _COOKIE.unpack_from(cookie)
        )
        if self.state >= ESTABLISHED:
            # RFC 9260 §5.2.4, actions A, C and D.
            if tag == self.local_tag and peer_tag == self.remote_tag:
                if self.state == ESTABLISHED:
                    self._post(self.remote_tag, chunk(COOKIE_ACK, 0, b""), True)
                return 0
            if tag == self.restart_tag and (own_tie, peer_tie) == (
                self.local_tag, self.remote_tag
            ):
                # Its channels and all it had of our data are gone, and so are ours.
                self._end(AssociationAborted("the peer has started over", RESTART))
            return 1
        if now - made > COOKIE_LIFETIME and (self.state == IDLE or peer_tag != self.remote_tag):
            self._post(
                peer_tag,
                chunk(
                    ERROR, 0,
                    parameter(
                        STALE_COOKIE,
                        min(int((now - made - COOKIE_LIFETIME) * 1e6), 0xFFFFFFFF).to_bytes(
                            4, "big"
                        ),
                    ),
                ),
                True,
            )
            return 1
        self._adopt(peer_tag, tsn, window, outgoing, incoming, can, now)
        self._post(self.remote_tag, chunk(COOKIE_ACK, 0, b""), False)
        self._establish(now)
        return 0

    cdef int _establish(self, double now) except -1:
        self.state = ESTABLISHED
        # Our own INIT or COOKIE ECHO, if it still waits, is of no use any more.
        self._stop_repeating()
        self.heartbeat_deadline = now + self.heartbeat_interval
        self.events.append(Connected())
        return self.table.establish(self.table.stream_limit, self.peer_resets)

    # The other chunks

    cdef int _on_chunk(
        self, int kind, const uint8_t* chunk_, size_t length, double now
    ) except -1:
        """Any but DATA and SACK; whether the rest of the packet is to be discarded."""
        cdef int cause
        if kind == FORWARD_TSN:
            if ESTABLISHED <= self.state <= SHUTDOWN_SENT:
                cause = self.receiver.on_forward_tsn(chunk_, length)
                if cause:
                    self._violate(cause, self.receiver.violation, now)
        elif kind == HEARTBEAT:
            if self.state >= COOKIE_ECHOED:
                self._post(self.remote_tag, chunk(HEARTBEAT_ACK, 0, chunk_[CHUNK_HEADER:length]), True)
        elif kind == HEARTBEAT_ACK:
            self._on_heartbeat_ack(chunk_, length, now)
        elif kind == RE_CONFIG:
            if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
                self._on_re_config(chunk_, length, now)
        elif kind == INIT_ACK:
            self._on_init_ack(chunk_, length, now)
        elif kind == COOKIE_ECHO:
            return self._on_cookie_echo(chunk_, length, now)
        elif kind == COOKIE_ACK:
            if self.state == COOKIE_ECHOED:
                if self.control_tries == 0:
                    self.sender.add_rtt(now - self.control_sent_at, now)
                self._establish(now)
        elif kind == ABORT:
            self._on_abort(chunk_, length, now)
        elif kind == ERROR:
            self._on_error(chunk_, length, now)
        elif kind == SHUTDOWN:
            self._on_shutdown(chunk_, length, now)
        elif kind == SHUTDOWN_ACK:
            if self.state == SHUTDOWN_SENT or self.state == SHUTDOWN_ACK_SENT:
                self._post(self.remote_tag, chunk(SHUTDOWN_COMPLETE, 0, b""), False)
                self._end(None)
        elif kind == SHUTDOWN_COMPLETE:
            if self.state == SHUTDOWN_ACK_SENT:
                self._end(None)
        elif kind != INIT:
            return self._on_unknown(kind, chunk_, length)
        return 0

    cdef int _on_unknown(self, int kind, const uint8_t* chunk_, size_t length) except -1:
        """RFC 9260 §3.2: the two highest bits say whether to go on and whether to report."""
        if kind & 0x40 and self.state >= COOKIE_ECHOED:
            self._post(
                self.remote_tag,
                chunk(
                    ERROR, 0,
                    parameter(
                        UNRECOGNIZED_CHUNK, chunk_[:min(length, self.report_limit)]
                    ),
                ),
                True,
            )
        return not kind & 0x80

    cdef int _on_heartbeat_ack(self, const uint8_t* chunk_, size_t length, double now) except -1:
        if self.heartbeat is not None and chunk_[CHUNK_HEADER:length] == parameter(
            HEARTBEAT_INFO, self.heartbeat
        ):
            self.sender.add_rtt(now - struct.unpack_from(">d", self.heartbeat)[0], now)
            self.heartbeat = None
            self.heartbeat_deadline = now + self.heartbeat_interval
        return 0

    cdef int _on_abort(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cdef uint16_t cause = 0
        cdef size_t at = CHUNK_HEADER
        cdef size_t size
        reason = ""
        if next_parameter(chunk_, length, &at, &cause, &size) > 0:
            if cause == USER_ABORT or cause == PROTOCOL_VIOLATION:
                reason = chunk_[2 * CHUNK_HEADER:CHUNK_HEADER + size].decode(errors="replace")
        return self._end(AssociationAborted(
            f"aborted by the peer: {reason!r}" if reason
            else f"aborted by the peer with error cause {cause}",
            cause,
        ))

    cdef int _on_error(self, const uint8_t* chunk_, size_t length, double now) except -1:
        # Of all that can be reported, only a cookie that took too long asks for something.
        if (
            self.state == COOKIE_ECHOED and length >= 2 * CHUNK_HEADER
            and load16(chunk_ + CHUNK_HEADER) == STALE_COOKIE
        ):
            self.state = COOKIE_WAIT
            self._repeat(self._init(), now)
        return 0

    # Ending (RFC 9260 §9)

    cdef int _on_shutdown(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cdef int cause
        if length < CHUNK_HEADER + 4 or self.state < ESTABLISHED:
            return 0
        if self.state <= SHUTDOWN_RECEIVED:
            cause = self.sender.on_cumulative(load32(chunk_ + CHUNK_HEADER), now)
            if cause:
                return self._violate(cause, self.sender.violation, now)
        if self.state == ESTABLISHED or self.state == SHUTDOWN_PENDING:
            self.state = SHUTDOWN_RECEIVED
            self.table.accepting = False
            self.guard_deadline = min(self.guard_deadline, now + SHUTDOWN_GUARD)
        elif self.state == SHUTDOWN_SENT or self.state == SHUTDOWN_ACK_SENT:
            self._acknowledge_shutdown(now)
        return self._progress_shutdown(now)

    cdef int _progress_shutdown(self, double now) except -1:
        """Once all has been acknowledged, take the next step."""
        if self.sender.idle():
            if self.state == SHUTDOWN_PENDING:
                self.state = SHUTDOWN_SENT
                self.control_tries = 0
                self._send_shutdown(now)
            elif self.state == SHUTDOWN_RECEIVED:
                self._acknowledge_shutdown(now)
        return 0

    def _send_shutdown(self, double now):
        self._repeat(chunk(SHUTDOWN, 0, self.receiver.cumulative.to_bytes(4, "big")), now)

    def _acknowledge_shutdown(self, double now):
        self.state = SHUTDOWN_ACK_SENT
        self.control_tries = 0
        self._repeat(chunk(SHUTDOWN_ACK, 0, b""), now)

    def _send_abort(self, int cause, str reason):
        self.outbox.clear()
        # Before the peer is known there is nobody to tell.
        if self.remote_tag:
            text = reason.encode()[:self.report_limit]
            self._post(self.remote_tag, chunk(ABORT, 0, parameter(cause, text)), False)

    cdef int _violate(self, int cause, str what, double now) except -1:
        """The peer broke the rules: that is the end of the association."""
        if self.state == ENDED:
            return 0
        self._send_abort(cause, what)
        return self._end(PeerViolation(f"the peer sent {what}", cause))

    cdef int _end(self, object error) except -1:
        self.state = ENDED
        self.error = error
        self._stop_repeating()
        self.request = self.deferred_ids = None
        self.sender.clear()
        self.table.end()
        if not self.receiving:
            self.receiver.clear()
        self.events.append(Disconnected())
        return 0

    def _after_the_end(self, uint32_t tag, int kind):
        """A packet for an association that is no more (RFC 9260 §8.4)."""
        if self.remote_tag == 0 or tag != self.local_tag or len(self.outbox) >= MAX_OUTBOX:
            return 0
        if kind == SHUTDOWN_ACK:
            self._post(self.remote_tag, chunk(SHUTDOWN_COMPLETE, 0, b""), True)
        elif kind not in (ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK, ERROR, INIT, INIT_ACK):
            if self.error is not None:
                self._post(self.remote_tag, chunk(ABORT, 0, b""), True)
        return 0

    # Stream reset (RFC 6525)

    cdef int _request_resets(self, double now) except -1:
        """Ask the peer to reset the streams that are through; whether there was one."""
        cdef list ids = self.table.due_resets(MAX_RESET_IDS)
        if not ids:
            return 0
        body = parameter(
            OUTGOING_RESET,
            _RESET.pack(
                self.request_number, (self.peer_request_number - 1) & 0xFFFFFFFF,
                (self.sender.next_tsn - 1) & 0xFFFFFFFF,
            ) + b"".join([id.to_bytes(2, "big") for id in ids]),
        )
        self.request = chunk(RE_CONFIG, 0, body)
        self.request_ids = ids
        self.request_tries = 0
        self.request_deadline = now + self.sender.rto
        self._post(self.remote_tag, self.request, False)
        return 1

    cdef int _on_re_config(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cdef size_t at = CHUNK_HEADER
        cdef size_t begin, size
        cdef uint16_t kind
        while self.state != ENDED and self.parameters_left:
            begin = at
            if next_parameter(chunk_, length, &at, &kind, &size) <= 0:
                break
            self.parameters_left -= 1
            if kind == RECONFIG_RESPONSE:
                self._on_response(chunk_ + begin, size, now)
            elif kind == OUTGOING_RESET:
                self._on_reset(chunk_ + begin, size)
            elif size >= CHUNK_HEADER + 4 and INCOMING_RESET <= kind <= ADD_INCOMING_STREAMS:
                self._on_other_request(kind, chunk_[begin:begin + size])
        return 0

    cdef bint _is_new(self, uint32_t number) except -1:
        """Whether a request is the next one; if it is not, it has been answered."""
        if number == self.peer_request_number:
            if self.deferred_ids is not None:
                # RFC 6525 §5.1.1: one at a time.
                self._respond(number, ANOTHER_IN_PROGRESS)
                return False
            self.peer_request_number += 1
            return True
        if number + 1 == self.peer_request_number:
            self._respond(number, self.peer_request_result)
        else:
            self._respond(number, BAD_NUMBER)
        return False

    def _respond(self, uint32_t number, uint32_t result):
        self._post(
            self.remote_tag,
            chunk(
                RE_CONFIG, 0,
                parameter(
                    RECONFIG_RESPONSE, number.to_bytes(4, "big") + result.to_bytes(4, "big")
                ),
            ),
            True,
        )

    cdef int _on_reset(self, const uint8_t* request, size_t length) except -1:
        cdef uint32_t number
        if length < CHUNK_HEADER + 12:
            return 0
        number = load32(request + CHUNK_HEADER)
        if not self._is_new(number):
            return 0
        self.deferred_number = number
        self.deferred_tsn = load32(request + CHUNK_HEADER + 8)
        self.deferred_ids = request[CHUNK_HEADER + 12:length & ~<size_t>1]
        self.peer_request_result = IN_PROGRESS
        self._do_deferred()
        if self.peer_request_result == IN_PROGRESS:
            self._respond(number, IN_PROGRESS)
        return 0

    cdef int _do_deferred(self) except -1:
        """Reset the peer's streams once all that it sent on them has come (RFC 6525 §5.2.2)."""
        cdef bytes ids = self.deferred_ids
        cdef Py_ssize_t at
        cdef const uint8_t* id
        if after(self.deferred_tsn, self.receiver.cumulative):
            return 0
        self.deferred_ids = None
        self.peer_request_result = PERFORMED
        if not ids:
            # None named: all are meant.
            self.receiver.reset_streams()
            self.table.incoming_resets()
        for at in range(0, len(ids), 2):
            id = <const uint8_t*>PyBytes_AS_STRING(ids) + at
            self.receiver.reset_stream(load16(id))
            self.table.incoming_reset(load16(id))
        self._respond(self.deferred_number, PERFORMED)
        return 0

    def _on_other_request(self, int kind, bytes request):
        cdef uint32_t number = int.from_bytes(request[4:8], "big")
        cdef uint32_t added
        if not self._is_new(number):
            return
        self.peer_request_result = DENIED
        if kind == ADD_OUTGOING_STREAMS and len(request) >= 12:
            added = int.from_bytes(request[8:10], "big")
            if self.receiver.stream_count + added <= STREAMS:
                self.receiver.stream_count += added
                self.peer_request_result = PERFORMED
        self._respond(number, self.peer_request_result)

    cdef int _on_response(self, const uint8_t* response, size_t length, double now) except -1:
        cdef uint32_t result
        cdef list ids
        if length < CHUNK_HEADER + 8 or self.request is None:
            return 0
        if load32(response + CHUNK_HEADER) != self.request_number:
            return 0
        result = load32(response + CHUNK_HEADER + 4)
        if result == IN_PROGRESS:
            # Ask again later; it does not count as a failure (RFC 6525 §5.2.7).
            self.request_tries = 0
            self.request_deadline = now + self.sender.rto
            return 0
        ids = self.request_ids
        self.request = self.request_ids = None
        self.request_deadline = INFINITY
        self.request_number += 1
        return self.table.outgoing_reset(ids, result == PERFORMED or result == NOTHING_TO_DO)


def init_chunk(settings, bytes seed not None):
    """The INIT of an association with these settings and this seed, for a description of it."""
    cdef Association association = Association(settings, seed, client=False)
    return association._init()


def is_init(bytes data not None):
    """Whether the peer's description may have this for its INIT: one whole chunk that makes sense."""
    cdef const uint8_t* chunk_ = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data)
    cdef size_t length
    if size < CHUNK_HEADER or chunk_[0] != INIT:
        return False
    length = load16(chunk_ + 2)
    # With padding behind it or without.
    return (
        length <= size <= padded(length) and _read_init(chunk_, length, 0) is not None
    )


def _unwrapped(bytes unknown):
    """The parameters inside Unrecognized Parameter ones, for an ERROR (RFC 9260 §3.3.10.8)."""
    found = b""
    at = 0
    while at < len(unknown):
        size = int.from_bytes(unknown[at + 2:at + 4], "big")
        inner = unknown[at + 4:at + size]
        found += inner + bytes(-len(inner) & 3)
        at += size + (-size & 3)
    return found


cdef object _read_init(const uint8_t* data, size_t length, size_t report_limit):
    """The fixed fields, abilities, cookie and unknown parameters to report of an INIT or INIT ACK;
    None if it makes no sense."""
    cdef size_t at = CHUNK_HEADER + 16
    cdef size_t begin, size
    cdef uint16_t kind
    cdef int more
    cdef int can = 0
    cdef const uint8_t* value
    if length < at:
        return None
    fields = _INIT.unpack(data[CHUNK_HEADER:CHUNK_HEADER + 16])
    if fields[0] == 0 or fields[2] == 0 or fields[3] == 0:
        return None
    cookie = None
    unknown = b""
    while True:
        begin = at
        more = next_parameter(data, length, &at, &kind, &size)
        if more < 0:
            return None
        if more == 0:
            break
        value = data + begin + CHUNK_HEADER
        size -= CHUNK_HEADER
        if kind == STATE_COOKIE:
            cookie = value[:size]
        elif kind == FORWARD_TSN_SUPPORTED:
            can |= CAN_FORWARD
        elif kind == SUPPORTED_EXTENSIONS:
            if memchr(value, FORWARD_TSN, size) != NULL:
                can |= CAN_FORWARD
            if memchr(value, RE_CONFIG, size) != NULL:
                can |= CAN_RESET
        elif kind == ZERO_CHECKSUM_ACCEPTABLE:
            if size >= 4 and load32(value) == DTLS:
                can |= CAN_ZERO
        elif 5 <= kind <= 12 or kind == UNRECOGNIZED_PARAMETER or kind & 0xC000 == 0xC000:
            # Addresses and lifetimes, which mean nothing over DTLS; and other extensions that
            # say so if they are to be skipped.
            if kind & 0xC000 == 0xC000 and len(unknown) + size < report_limit:
                unknown += parameter(
                    UNRECOGNIZED_PARAMETER, data[begin:begin + CHUNK_HEADER + size]
                )
        else:
            # RFC 9260 §3.2.1: the two highest bits say whether to go on and whether to report.
            if kind & 0x4000 and len(unknown) + size < report_limit:
                unknown += parameter(
                    UNRECOGNIZED_PARAMETER, data[begin:begin + CHUNK_HEADER + size]
                )
            if not kind & 0x8000:
                break
    return fields, can, cookie, unknown
