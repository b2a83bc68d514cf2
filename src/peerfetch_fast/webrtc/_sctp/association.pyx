"""An SCTP association as WebRTC uses it: its states, and the parts put together.

Sans-I/O: packets and the time go in; packets, events and the next deadline come out.

The states (RFC 9260 §4), in each what happens and the state that follows. Chunks that a state does
not name are ignored in it, but for ABORT, which ends any; a breach of the rules ends any with an
ABORT of ours.

=================  ==========================================  ===================================
state              what happens                                next state
=================  ==========================================  ===================================
IDLE               connect(): our INIT leaves                  COOKIE_WAIT
                   connect(), descriptions had both INITs      ESTABLISHED
                   COOKIE ECHO                                 ESTABLISHED
COOKIE_WAIT        INIT ACK: our COOKIE ECHO leaves            COOKIE_ECHOED
                   COOKIE ECHO: the peer began too             ESTABLISHED
                   T1 expired too often                        ENDED
COOKIE_ECHOED      COOKIE ACK, COOKIE ECHO or DATA             ESTABLISHED
                   ERROR: the cookie is stale                  COOKIE_WAIT
                   T1 expired too often                        ENDED
ESTABLISHED        shutdown()                                  SHUTDOWN_PENDING
                   SHUTDOWN                                    SHUTDOWN_RECEIVED
                   COOKIE ECHO: the peer has started over      ENDED
                   data, reset or HEARTBEAT repeated too often ENDED
SHUTDOWN_PENDING   all is acknowledged: our SHUTDOWN leaves    SHUTDOWN_SENT
                   SHUTDOWN                                    SHUTDOWN_RECEIVED
SHUTDOWN_SENT      SHUTDOWN: our SHUTDOWN ACK leaves           SHUTDOWN_ACK_SENT
                   SHUTDOWN ACK: our SHUTDOWN COMPLETE leaves  ENDED
                   T2 expired too often, or T5 expired         ENDED
SHUTDOWN_RECEIVED  all is acknowledged: our SHUTDOWN ACK       SHUTDOWN_ACK_SENT
                   leaves
SHUTDOWN_ACK_SENT  SHUTDOWN COMPLETE, or SHUTDOWN ACK          ENDED
                   T2 expired too often, or T5 expired         ENDED
ENDED              nothing: packets are answered by §8.4
=================  ==========================================  ===================================

An INIT is answered in every state but the last without a change: what it says comes back in a
cookie.

This file is longer than others, because the table above is one class: every state's transitions
stand in it, and nothing else does. Sending, receiving, channels, resets and cookies have modules of
their own.
"""

import hashlib

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from peerfetch_fast.webrtc._sctp.channels cimport ChannelTable
from peerfetch_fast.webrtc._sctp.handshake cimport (
    CAN_FORWARD,
    CAN_RESET,
    CAN_ZERO,
    STREAMS,
    Cookie,
    PeerInit,
    abilities,
    init_body,
    make_cookie,
    read_cookie,
    read_init,
    stale_cookie_error,
    unrecognized_error,
)
from peerfetch_fast.webrtc._sctp.heartbeat cimport Heartbeat
from peerfetch_fast.webrtc._sctp.outbox cimport Outbox, Repeater
from peerfetch_fast.webrtc._sctp.packet cimport (
    ABORT,
    CHUNK_HEADER,
    COMMON_HEADER,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    ERROR,
    FORWARD_TSN,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    MISSING_PARAMETER,
    PROTOCOL_VIOLATION,
    RE_CONFIG,
    RESTART,
    SACK,
    SACK_HEADER,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    STALE_COOKIE,
    STATE_COOKIE,
    TAG_REFLECTED,
    UNRECOGNIZED_CHUNK,
    USER_ABORT,
    Packet,
    chunk,
    claim,
    has_checksum,
    load16,
    load32,
    next_parameter,
    padded,
    parameter,
)
from peerfetch_fast.webrtc._sctp.receive cimport Receiver
from peerfetch_fast.webrtc._sctp.send cimport Sender
from peerfetch_fast.webrtc._sctp.stream_reset cimport StreamReset

from peerfetch_fast.webrtc._sctp.errors import (
    AssociationAborted,
    AssociationLost,
    PeerViolation,
)
from peerfetch_fast.webrtc._sctp.events import Connected, Disconnected
from peerfetch_fast.webrtc._sctp.handshake import is_init

cdef enum:
    # Streams beyond one for each channel on which something may have come: those that were refused,
    # or whose OPEN is still missing.
    SPARE_STREAMS = 256
    SMALLEST_PACKET = COMMON_HEADER + CHUNK_HEADER

# RFC 9260 §9.2's T5: a shutdown that is not through by then becomes an abort.
cdef double SHUTDOWN_GUARD = 60.0       # seconds

_STATES = (
    "closed", "cookie-wait", "cookie-echoed", "established", "shutdown-pending", "shutdown-sent",
    "shutdown-received", "shutdown-ack-sent", "closed",
)


cdef class Association:
    """One SCTP association.

    :param settings: an :class:`~peerfetch_fast.webrtc._sctp.settings.AssociationSettings`.
    :param seed: at least 32 unpredictable bytes, for tags, the initial TSN and the cookie's key.
    :param client: whether we are the DTLS client, which opens channels with even ids.
    :param peer_init: the peer's INIT, if its description had it and ours had :func:`init_chunk`:
        there is no handshake then (draft-hancke-tsvwg-snap).

    Raises ValueError if the peer's INIT makes no sense.

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
        self.packet_size = <uint32_t>settings.max_packet_size & ~<uint32_t>3
        self.max_received = settings.max_received_packet
        self.local_tag = int.from_bytes(secret[0:4], "big") or 1
        self.initial_tsn = int.from_bytes(secret[4:8], "big")
        self.restart_tag = int.from_bytes(secret[8:12], "big") or 1
        self.cookie_key = secret[32:]
        self.guard_deadline = INFINITY
        self.accept_zero = settings.zero_checksum
        self.sender = Sender(
            settings.congestion, self.packet_size, settings.send_buffer, settings.rto_min,
            settings.rto_initial, settings.rto_max, settings.max_rate, self.initial_tsn,
            self.events,
        )
        self.table = ChannelTable(
            self.sender.queue, self.events, client, settings.max_channels,
            settings.remote_max_message_size, settings.max_label, settings.label_memory,
        )
        self.receiver = Receiver(
            self.table, settings.receive_window, settings.max_message_size,
            settings.cut_messages, settings.sack_delay, settings.max_channels + SPARE_STREAMS,
        )
        self.outbox = Outbox(settings.local_port, settings.remote_port, self.packet_size)
        self.repeater = Repeater(self.sender.round_trips)
        self.heartbeat = Heartbeat(
            settings.heartbeat_interval or INFINITY, self.cookie_key, self.outbox,
            self.sender.round_trips,
        )
        self.resets = StreamReset(
            self.table, self.sender, self.receiver, self.outbox, self.initial_tsn
        )

    # The calls of the owner

    @property
    def ready_state(self):
        """RFC 9260's name of the state, in lower case: ``closed``, ``established``, …"""
        return _STATES[self.state]

    @property
    def packets_sent(self):
        return self.outbox.packets_sent

    @property
    def held(self):
        """Bytes of memory: received and not delivered, accepted and not acknowledged, and the
        peer's labels."""
        return (
            self.receiver.held() + self.sender.queue.held
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
            self._adopt(read_init(init, load16(init + 2), 0), now)
            self._establish(now)
            return
        self.state = COOKIE_WAIT
        self.repeater.begin(self._init(), now)

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

        Raises TooManyChannels if no stream is free, ChannelClosed if the association is closing or
        closed.
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

        Raises RuntimeError if called from inside of a callback.
        """
        self.receive(<const uint8_t*>PyBytes_AS_STRING(packet), PyBytes_GET_SIZE(packet), now)

    def next_packet(self, double now):
        """The next packet to send, or None."""
        cdef Py_ssize_t length
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

    cdef int receive(self, const uint8_t* packet, size_t length, double now) except -1:
        """One packet. Never raises for what the peer does."""
        cdef int kind
        if self.receiving:
            raise RuntimeError("a packet cannot be received while one is")
        self.packets_received += 1
        if not self._is_sound(packet, length):
            self.packets_dropped += 1
            return 0
        kind = packet[COMMON_HEADER]
        if self.state == ENDED:
            return self._after_the_end(load32(packet + 4), kind)
        if kind == INIT:
            return self._take_init(packet, length, now)
        if not self._is_tagged(packet):
            self.packets_dropped += 1
            return 0
        self.heartbeat.heard(now)
        self.receiving = True
        self.acknowledged = False
        self.resets.begin_packet()
        try:
            self._take_chunks(packet, length, now)
        finally:
            self.receiving = False
            if self.state == ENDED:
                self.receiver.clear()
        if self.state == ENDED:
            return 0
        if self.state == SHUTDOWN_SENT and self.receiver.tracker.data_in_packet:
            # RFC 9260 §9.2: the peer has not received our SHUTDOWN.
            self.receiver.tracker.urgent_in_packet = True
            self.repeater.repeat(self._shutdown_chunk(), now)
        self.receiver.tracker.end_packet(now)
        return self.resets.end_packet()

    cdef bint _is_sound(self, const uint8_t* packet, size_t length) noexcept:
        """Whether a packet has a possible size, our ports and the checksum that it must have."""
        cdef int kind
        if (
            length < SMALLEST_PACKET
            or length > self.max_received
            or load16(packet) != self.outbox.remote_port
            or load16(packet + 2) != self.outbox.local_port
        ):
            return False
        kind = packet[COMMON_HEADER]
        # RFC 9653 §5.3: the packets that agree on it are never without a checksum.
        return (
            load32(packet + 8) == 0 and self.accept_zero and kind != INIT and kind != COOKIE_ECHO
        ) or has_checksum(packet, length)

    cdef bint _is_tagged(self, const uint8_t* packet) noexcept:
        """Whether a packet has the verification tag that its first chunk needs (RFC 9260 §8.5)."""
        cdef uint32_t tag = load32(packet + 4)
        cdef int kind = packet[COMMON_HEADER]
        if tag == self.local_tag:
            return True
        if kind == ABORT or kind == SHUTDOWN_COMPLETE:
            return (
                packet[COMMON_HEADER + 1] & TAG_REFLECTED
                and tag == self.outbox.remote_tag and tag
            )
        return kind == COOKIE_ECHO and tag == self.restart_tag

    cdef int _take_init(self, const uint8_t* packet, size_t length, double now) except -1:
        """A packet that begins with an INIT, which must be alone in it (RFC 9260 §4.3)."""
        cdef size_t size = load16(packet + COMMON_HEADER + 2)
        if (
            load32(packet + 4) == 0 and size >= CHUNK_HEADER
            and COMMON_HEADER + padded(size) == length
        ):
            return self._on_init(packet + COMMON_HEADER, size, now)
        self.packets_dropped += 1
        return 0

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
                        self._violate(cause, self.receiver.violation)
            elif kind == SACK:
                # A packet has one: all others would only make us look through the same ring.
                if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED and not self.acknowledged:
                    self.acknowledged = True
                    cause = self.sender.on_sack(packet + at, size, now)
                    if cause:
                        self._violate(cause, self.sender.violation)
                    elif self.state != ESTABLISHED:
                        self._progress_shutdown(now)
            elif self._on_chunk(kind, packet + at, size, now):
                break
            at += padded(size)
        return 0

    cdef Py_ssize_t poll(self, uint8_t* buffer, size_t capacity, double now) except -1:
        """Write the next packet to *buffer*; its length, 0: there is none now.

        Raises ValueError if the buffer holds less than a largest packet.
        """
        cdef Packet packet, reserved
        if capacity < self.packet_size:
            raise ValueError(f"a buffer must hold {self.packet_size} bytes")
        packet.start = buffer
        packet.length = COMMON_HEADER
        packet.capacity = self.packet_size
        if self.repeater.due:
            return self.outbox.write_repeated(&packet, self.repeater)
        if self.outbox.waiting:
            return self.outbox.write_next(&packet)
        if not ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            return 0
        if self.resets.is_due() and self.resets.ask(now):
            return self.outbox.write_next(&packet)
        if self.receiver.tracker.sack_now or self.receiver.tracker.sack_deadline <= now:
            self.receiver.write_sack(&packet)
            self.sender.write_chunks(&packet, now)
        elif self.receiver.tracker.sack_deadline != INFINITY:
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
        return self.outbox.seal(&packet, self.outbox.remote_tag, self.outbox.send_zero)

    # Timers

    cdef double deadline(self) noexcept:
        """When :meth:`handle_timeout` must be called next; infinite: not on our account."""
        cdef double earliest
        if self.state == ENDED:
            return INFINITY
        earliest = min(self.repeater.deadline, self.guard_deadline)
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            earliest = min(
                min(earliest, min(self.heartbeat.deadline, self.resets.deadline)),
                min(self.receiver.tracker.sack_deadline, self.sender.deadline()),
            )
        return earliest

    cpdef int handle_timeout(self, double now) except -1:
        """Do what is due at the time *now*; calling it early does nothing."""
        if self.state == ENDED:
            return 0
        if self.guard_deadline <= now:
            self._send_abort(USER_ABORT, "the shutdown took too long")
            return self._end(AssociationLost("the peer did not take part in the shutdown"))
        if self.repeater.deadline <= now:
            self._repeater_expired(now)
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            if self.receiver.tracker.sack_deadline <= now:
                self.receiver.tracker.sack_now = True
            self.sender.handle_timeout(now)
            if self.sender.failures > self.settings.max_retransmissions:
                return self._lost("data")
            if self.resets.deadline <= now:
                self._reset_expired(now)
            if self.heartbeat.deadline <= now and self.state != ENDED:
                self._heartbeat_due(now)
            if self.state != ESTABLISHED and self.state != ENDED:
                self._progress_shutdown(now)
        return 0

    cpdef int path_changed(self, double now) except -1:
        """Packets take another way from now on: repeat at once what the old one may have lost."""
        self.heartbeat.unanswered = 0
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
            self.sender.path_changed(now)
            self.receiver.tracker.sack_now = True
            self.resets.path_changed(now)
        if self.repeater.deadline != INFINITY:
            self.repeater.tries = 0
            self.repeater.deadline = now
        return 0

    cdef int _lost(self, str what) except -1:
        self._send_abort(USER_ABORT, "no answer")
        return self._end(AssociationLost(f"the peer no longer answers: {what} went unacknowledged"))

    cdef int _repeater_expired(self, double now) except -1:
        cdef bint connecting = self.state < ESTABLISHED
        self.repeater.tries += 1
        if self.repeater.tries > (
            self.settings.max_init_retransmissions if connecting
            else self.settings.max_retransmissions
        ):
            return self._lost("the handshake" if connecting else "the shutdown")
        return self.repeater.repeat(
            self._shutdown_chunk() if self.state == SHUTDOWN_SENT else self.repeater.chunk, now
        )

    cdef int _reset_expired(self, double now) except -1:
        self.resets.tries += 1
        if self.resets.tries > self.settings.max_retransmissions:
            return self._lost("a stream reset")
        return self.resets.repeat(now)

    cdef int _heartbeat_due(self, double now) except -1:
        if not self.heartbeat.is_needed(now):
            return 0
        if self.heartbeat.unanswered > self.settings.max_retransmissions:
            return self._lost("a heartbeat")
        return self.heartbeat.send(now)

    # Handshake (RFC 9260 §5)

    cdef bytes _init(self):
        return chunk(
            INIT, 0,
            init_body(self.settings, self.local_tag, self.initial_tsn) + abilities(self.settings),
        )

    cdef int _on_init(self, const uint8_t* chunk_, size_t length, double now) except -1:
        """Answer with what we would need to know, and remember nothing (RFC 9260 §5.1)."""
        cdef uint32_t tag = self.local_tag
        cdef PeerInit peer = read_init(chunk_, length, self.outbox.report_limit)
        if peer is None:
            self.packets_dropped += 1
            return 0
        if self.state >= ESTABLISHED:
            if peer.tag != self.outbox.remote_tag:
                tag = self.restart_tag
            elif self.peer_init is None or self.heartbeat.heard_at:
                # A later packet has overtaken this INIT.
                return 0
            # Else our description has not reached the peer, though its own has reached us.
        cookie = make_cookie(
            self.cookie_key, now, tag, peer, self.local_tag, self.outbox.remote_tag
        )
        self.outbox.post(
            peer.tag,
            chunk(
                INIT_ACK, 0,
                init_body(self.settings, tag, self.initial_tsn) + parameter(STATE_COOKIE, cookie)
                + abilities(self.settings) + peer.unknown,
            ),
            True,
        )
        return 0

    cdef int _on_init_ack(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cdef PeerInit peer
        if self.state != COOKIE_WAIT:
            return 0
        peer = read_init(chunk_, length, self.outbox.report_limit)
        if peer is None:
            return self._violate(PROTOCOL_VIOLATION, "an INIT ACK that makes no sense")
        if not peer.cookie or <size_t>len(peer.cookie) > self.packet_size - SMALLEST_PACKET:
            return self._violate(MISSING_PARAMETER, "an INIT ACK without a usable cookie")
        self.repeater.answered(now)
        self._adopt(peer, now)
        self.state = COOKIE_ECHOED
        self.repeater.begin(chunk(COOKIE_ECHO, 0, peer.cookie), now)
        if peer.unknown:
            self.outbox.answer(unrecognized_error(peer.unknown))
        return 0

    cdef int _adopt(self, PeerInit peer, double now) except -1:
        """Take what the peer said of itself."""
        self.outbox.remote_tag = peer.tag
        self.outbox.send_zero = self.accept_zero and peer.can & CAN_ZERO
        self.resets.peer_number = peer.tsn
        self.receiver.start(peer.tsn, peer.outgoing)
        self.sender.start(peer.window, now)
        self.sender.outstanding.peer_forwards = peer.can & CAN_FORWARD
        self.peer_resets = peer.can & CAN_RESET
        self.table.stream_limit = min(<uint32_t>peer.incoming, <uint32_t>STREAMS)
        return 0

    cdef int _on_cookie_echo(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cdef Cookie cookie = read_cookie(self.cookie_key, chunk_[CHUNK_HEADER:length])
        cdef uint32_t peer_tag, remote_tag = self.outbox.remote_tag
        if cookie is None:
            self.packets_dropped += 1
            return 1
        peer_tag = cookie.peer.tag
        if self.state >= ESTABLISHED:
            # RFC 9260 §5.2.4, actions A, C and D.
            if cookie.tag == self.local_tag and peer_tag == remote_tag:
                if self.state == ESTABLISHED:
                    self.outbox.answer(chunk(COOKIE_ACK, 0, b""))
                return 0
            if cookie.tag == self.restart_tag and (
                cookie.own_tie == self.local_tag and cookie.peer_tie == remote_tag
            ):
                # The peer has forgotten its channels and our data: the association is over.
                self._end(AssociationAborted("the peer has started over", RESTART))
            return 1
        if cookie.is_stale(now) and (self.state == IDLE or peer_tag != remote_tag):
            self.outbox.post(peer_tag, stale_cookie_error(cookie, now), True)
            return 1
        self._adopt(cookie.peer, now)
        self.outbox.post(peer_tag, chunk(COOKIE_ACK, 0, b""), False)
        self._establish(now)
        return 0

    cdef int _establish(self, double now) except -1:
        self.state = ESTABLISHED
        # Our own INIT or COOKIE ECHO, if it still waits, is of no use any more.
        self.repeater.stop()
        self.heartbeat.start(now)
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
                    self._violate(cause, self.receiver.violation)
        elif kind == HEARTBEAT:
            if self.state >= COOKIE_ECHOED:
                self.outbox.answer(chunk(HEARTBEAT_ACK, 0, chunk_[CHUNK_HEADER:length]))
        elif kind == HEARTBEAT_ACK:
            self.heartbeat.on_ack(chunk_, length, now)
        elif kind == RE_CONFIG:
            if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED:
                self.resets.on_re_config(chunk_, length, now)
        elif kind == INIT_ACK:
            self._on_init_ack(chunk_, length, now)
        elif kind == COOKIE_ECHO:
            return self._on_cookie_echo(chunk_, length, now)
        elif kind == COOKIE_ACK:
            if self.state == COOKIE_ECHOED:
                self.repeater.answered(now)
                self._establish(now)
        elif kind == ABORT:
            self._on_abort(chunk_, length)
        elif kind == ERROR:
            self._on_error(chunk_, length, now)
        elif kind == SHUTDOWN:
            self._on_shutdown(chunk_, length, now)
        elif kind == SHUTDOWN_ACK:
            if self.state == SHUTDOWN_SENT or self.state == SHUTDOWN_ACK_SENT:
                self.outbox.post(self.outbox.remote_tag, chunk(SHUTDOWN_COMPLETE, 0, b""), False)
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
            length = min(length, self.outbox.report_limit)
            self.outbox.answer(chunk(ERROR, 0, parameter(UNRECOGNIZED_CHUNK, chunk_[:length])))
        return not kind & 0x80

    cdef int _on_abort(self, const uint8_t* chunk_, size_t length) except -1:
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
        # Of the errors that a peer can report, only a stale cookie needs an answer.
        if (
            self.state == COOKIE_ECHOED and length >= 2 * CHUNK_HEADER
            and load16(chunk_ + CHUNK_HEADER) == STALE_COOKIE
        ):
            self.state = COOKIE_WAIT
            self.repeater.repeat(self._init(), now)
        return 0

    # Ending (RFC 9260 §9)

    cdef int _on_shutdown(self, const uint8_t* chunk_, size_t length, double now) except -1:
        cdef int cause
        if length < CHUNK_HEADER + 4 or self.state < ESTABLISHED:
            return 0
        if self.state <= SHUTDOWN_RECEIVED:
            cause = self.sender.on_cumulative(load32(chunk_ + CHUNK_HEADER), now)
            if cause:
                return self._violate(cause, self.sender.violation)
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
                self.repeater.begin(self._shutdown_chunk(), now)
            elif self.state == SHUTDOWN_RECEIVED:
                self._acknowledge_shutdown(now)
        return 0

    cdef bytes _shutdown_chunk(self):
        """The SHUTDOWN of this moment: it says what has come."""
        return chunk(SHUTDOWN, 0, self.receiver.tracker.cumulative.to_bytes(4, "big"))

    cdef int _acknowledge_shutdown(self, double now) except -1:
        self.state = SHUTDOWN_ACK_SENT
        return self.repeater.begin(chunk(SHUTDOWN_ACK, 0, b""), now)

    cdef int _send_abort(self, int cause, str reason) except -1:
        self.outbox.waiting.clear()
        # Before the peer is known there is nobody to tell.
        if self.outbox.remote_tag:
            text = reason.encode()[:self.outbox.report_limit]
            self.outbox.post(
                self.outbox.remote_tag, chunk(ABORT, 0, parameter(cause, text)), False
            )
        return 0

    cdef int _violate(self, int cause, str what) except -1:
        """The peer broke the rules: that is the end of the association."""
        if self.state == ENDED:
            return 0
        self._send_abort(cause, what)
        return self._end(PeerViolation(f"the peer sent {what}", cause))

    cdef int _end(self, object error) except -1:
        self.state = ENDED
        self.error = error
        self.repeater.stop()
        self.resets.clear()
        self.sender.clear()
        self.table.end()
        if not self.receiving:
            self.receiver.clear()
        self.events.append(Disconnected())
        return 0

    cdef int _after_the_end(self, uint32_t tag, int kind) except -1:
        """A packet for an association that is no more (RFC 9260 §8.4)."""
        if self.outbox.remote_tag == 0 or tag != self.local_tag or self.outbox.is_full():
            return 0
        if kind == SHUTDOWN_ACK:
            self.outbox.answer(chunk(SHUTDOWN_COMPLETE, 0, b""))
        elif kind not in (ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK, ERROR, INIT, INIT_ACK):
            if self.error is not None:
                self.outbox.answer(chunk(ABORT, 0, b""))
        return 0


def init_chunk(settings, bytes seed not None):
    """The INIT of an association with these settings and this seed, for a description of it."""
    cdef Association association = Association(settings, seed, client=False)
    return association._init()
