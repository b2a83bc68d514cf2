# The driver: it joins UDP, DTLS and SCTP on an event loop, without Python code per packet.
"""One peer's data path on an asyncio event loop.

A :class:`Port` is the socket of a host candidate, and to aioice its transport. A :class:`DataPath`
is what all ports of a connection lead to: it opens DTLS records, hands SCTP its packets, and at the
end of every wake-up sends what SCTP has to say, so that acknowledgements and data leave in batches.

This file is longer than others, because ports and the path call each other for every batch, and
Cython can import C types from one another only within one module.
"""

import asyncio
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY, ceil
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from peerfetch_fast.webrtc._dtls cimport CONNECTING, NEW, DatagramSink, Dtls
from peerfetch_fast.webrtc._dtls cimport State as DtlsState
from peerfetch_fast.webrtc._sctp.association cimport Association
from peerfetch_fast.webrtc._sctp.channels cimport Channel
from peerfetch_fast.webrtc._udp cimport (
    DTLS,
    RTP,
    STUN,
    Address,
    Kind,
    Receiver,
    UdpSocket,
    address_tuple,
    classify,
    same_address,
    sockaddr_storage,
)

logger = logging.getLogger(__name__)

cdef enum:
    # Datagrams taken and sent in one turn of the event loop: about a millisecond's work.
    BUDGET = 512
    # RFC 9260 §6.2 wants a SACK for every second packet. A sender that keeps to §6.1's Max.Burst,
    # as Chromium's does, answers each SACK with at most four packets: a single SACK for a batch
    # would limit it to four packets a round trip. This many SACKs a turn do not limit it.
    SACKS_PER_TURN = 16
    # Datagrams kept for DTLS, and records for SCTP, that come before either has begun. The peer
    # may begin first, and would repeat itself only after a second.
    MAX_EARLY = 16
    PLAINTEXT = 16384
    # The size that an Ethernet frame carries: no datagram of ours or of a peer is longer.
    PACKET = 1500
    # Addresses of the peer, as in gate.py.
    SOURCES = 16

MAX_SOURCES = SOURCES

# Event loops count in milliseconds. uvloop rounds less than half of one down to zero, and would
# spin until the deadline.
cdef double TIMER_TICK = 0.001      # seconds
# Timers are not moved for less than this.
cdef double TIMER_SLACK = 0.0005


cdef double monotonic() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <double>time.tv_sec + 1e-9 * <double>time.tv_nsec


cdef class Output(DatagramSink):
    """Where records leave: a socket's queue, or for a relayed pair a function."""

    cdef UdpSocket socket
    cdef object relay
    cdef readonly uint64_t datagrams
    cdef readonly uint64_t bytes

    cdef void datagram_out(self, const uint8_t* data, size_t length) noexcept:
        if self.socket is not None:
            if not self.socket.put(data, length):
                return  # lost, as it would be in the network
        elif self.relay is not None:
            self.relay(PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>length))
        self.datagrams += 1
        self.bytes += length


cdef class Port(Receiver):
    """A host candidate's socket: a datagram transport to aioice, a batch of packets to the path.

    :param path: where all but STUN goes.
    :param socket: a bound UDP socket; the port owns it.
    :param protocol: aioice's, which gets the STUN messages.
    """

    cdef readonly UdpSocket socket
    cdef DataPath _path
    cdef object _protocol
    cdef bint _writing

    def __init__(self, DataPath path not None, socket not None, protocol not None):
        self._path = path
        self._protocol = protocol
        self.socket = UdpSocket(socket, self)
        path.loop.add_reader(self.socket.fileno(), self._on_readable)
        protocol.connection_made(self)

    def _on_readable(self):
        self._path._enter()
        try:
            self.socket.receive(BUDGET)
        except OSError as exc:
            self._lose(exc)
        finally:
            self._path._leave()

    def _on_writable(self):
        if self.socket.flush():
            self._stop_writing()
            self._path.flush()

    cdef int batch(self) except -1:
        # The datagrams may have arrived after the turn began. By the time of its beginning, a round
        # trip would measure shorter than the path.
        self._path._now = monotonic()
        return 0

    cdef int datagram(
        self, UdpSocket source, const uint8_t* data, size_t length, const sockaddr_storage* address
    ) except -1:
        # UdpSocket hands over no empty datagram.
        if length > PACKET:
            self._path.datagrams_refused += 1
        elif classify(data[0]) == STUN:
            self._protocol.datagram_received(
                PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>length),
                address_tuple(address),
            )
        elif self._path._is_source(address):
            self._path._datagram_in(data, length)
        elif self._path._sources_used == 0 and self._path.on_early is not None:
            self._path.on_early(
                PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>length),
                address_tuple(address),
            )
        else:
            self._path.datagrams_refused += 1
        return 0

    cdef int _start_writing(self) except -1:
        # The kernel has no room: the queue leaves once it has.
        if not self._writing and self.socket.fileno() >= 0:
            self._writing = True
            self._path.loop.add_writer(self.socket.fileno(), self._on_writable)
        return 0

    cdef int _stop_writing(self) except -1:
        if self._writing:
            self._writing = False
            self._path.loop.remove_writer(self.socket.fileno())
        return 0

    def _lose(self, exc):
        if self.socket.fileno() >= 0:
            self._stop_writing()
            self._path.loop.remove_reader(self.socket.fileno())
            self.socket.close()
            # aioice's close() waits for this.
            self._path.loop.call_soon(self._protocol.connection_lost, exc)

    # asyncio.DatagramTransport, as far as aioice uses it.

    def sendto(self, data, addr=None):
        """Send a datagram at once."""
        self.socket.sendto(data, addr)

    def close(self):
        """Close the socket; the protocol's ``connection_lost`` follows."""
        self._lose(None)

    def is_closing(self):
        return self.socket.fileno() < 0

    def get_extra_info(self, name, default=None):
        return self.socket.getsockname() if name == "sockname" else default


cdef class DataPath:
    """The way between one peer's DTLS and SCTP and the network.

    A port passes on DTLS and RTP of addresses that are admitted, and nothing else but STUN.

    :ivar on_rtp: called with each datagram of RTP or RTCP; None where no media was agreed.
    :ivar on_early: called with each datagram, and its ``(host, port)``, that a port gets before any
        address is admitted.
    :ivar on_dtls: called when the DTLS connection has changed its state.
    :ivar on_events: called with a list of the association's events.
    """

    cdef readonly object loop
    cdef public object on_rtp
    cdef public object on_early
    cdef public object on_dtls
    cdef public object on_events
    cdef readonly Dtls dtls
    cdef readonly Association association
    cdef readonly Output output
    cdef Port _port
    cdef DtlsState _told
    cdef list _early_datagrams
    cdef list _early_records
    cdef double _now
    cdef int _depth
    cdef int _sacks_left        # for this turn, apart from that at its end
    cdef bint _reading          # records of a datagram, into _plaintext
    cdef bint _woken
    cdef bint _owed             # it has been woken for something that has not left yet
    cdef bint _closed
    cdef object _timer
    cdef double _timer_at
    cdef readonly uint64_t datagrams_received
    cdef readonly uint64_t bytes_received
    cdef readonly uint64_t datagrams_refused
    cdef sockaddr_storage _sources[SOURCES]
    cdef int _sources_used
    cdef int _next_source       # which gives way to the next, once all are used
    cdef int _last_source       # the one that the last datagram was of
    cdef uint8_t _plaintext[PLAINTEXT]
    cdef uint8_t _packet[PACKET]

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.output = Output.__new__(Output)
        self._early_datagrams = []
        self._early_records = []
        self._told = NEW

    def now(self):
        """Seconds of the clock that the association is told."""
        return monotonic()

    # -- the two ends ----------------------------------------------------------------------------

    def select(self, transport, tuple address not None):
        """Send through this transport, to this address, from now on, and take what comes from
        there.

        :param transport: a :class:`Port`, or any other datagram transport, as of a TURN relay.
        """
        self.admit(address)
        if isinstance(transport, Port):
            self._port = <Port>transport
            self._port.socket.destination = Address(*address)
            self.output.socket = self._port.socket
            self.output.relay = None
        else:
            self._port = None
            self.output.socket = None
            self.output.relay = lambda data: transport.sendto(data, address)
        self.wake()

    def deselect(self):
        """Send nothing until something is selected again (RFC 7675 section 5.1)."""
        self._port = None
        self.output.socket = None
        self.output.relay = None

    def moved(self):
        """The selected pair is another path than before: repeat what the old one may have lost."""
        self._enter()
        try:
            if self.association is not None:
                self.association.path_changed(self._now)
        finally:
            self._leave()

    def admit(self, tuple address not None):
        """Take DTLS and RTP from this address too; of many, the oldest gives way.

        Raises ValueError as :class:`Address` does.
        """
        cdef Address source = Address(*address)
        if self._is_source(&source.storage):
            return
        self._sources[self._next_source] = source.storage
        self._next_source = (self._next_source + 1) % SOURCES
        self._sources_used = min(self._sources_used + 1, <int>SOURCES)

    def start_dtls(self, Dtls dtls not None):
        """Begin a handshake, whose datagrams leave through :attr:`output`."""
        cdef bytes data
        self.dtls = dtls
        self._enter()
        try:
            dtls.start()
            early, self._early_datagrams = self._early_datagrams, []
            for data in early:
                self._dtls_in(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        finally:
            self._leave()

    def start_sctp(self, Association association not None):
        """Begin an association over DTLS, which must be connected."""
        cdef bytes data
        self.association = association
        self._enter()
        try:
            association.connect(self._now)
            early, self._early_records = self._early_records, []
            for data in early:
                association.receive(
                    <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), self._now
                )
        finally:
            self._leave()

    def send(self, Channel channel not None, data):
        """Queue a message on a channel of the association.

        Raises what :meth:`Channel.send` does.
        """
        channel.send(data, monotonic())
        self.wake()

    def send_parts(
        self, Channel channel not None, bytes head, bytes body not None, Py_ssize_t start,
        Py_ssize_t length,
    ):
        """Queue a message in two parts, as :meth:`Channel.send_parts` does."""
        channel.send_parts(head, body, start, length, monotonic())
        self.wake()

    def send_datagrams(self, list datagrams not None):
        """Send these where the path sends now; what has no room is lost, as in the network."""
        cdef bytes data
        if self._closed:
            return
        self._enter()
        try:
            for data in datagrams:
                self.output.datagram_out(
                    <const uint8_t*>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
                )
        finally:
            self._leave()

    def receive(self, bytes data not None):
        """Take a datagram of the peer that came some other way, as from a relay."""
        self._enter()
        try:
            if 0 < PyBytes_GET_SIZE(data) <= PACKET:
                self._datagram_in(
                    <const uint8_t*>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
                )
        finally:
            self._leave()

    def receive_embedded(self, bytes data not None):
        """Take a datagram of the handshake that a connectivity check of a known sender has carried.

        Listeners hear of the outcome when the turn ends: the caller is still reading the check.
        """
        if self._closed or not 0 < PyBytes_GET_SIZE(data) <= PACKET:
            return
        if self.dtls is None:
            if len(self._early_datagrams) < MAX_EARLY:
                self._early_datagrams.append(data)
        elif not self._reading:
            self._reading = True
            try:
                self.dtls.feed(
                    <const uint8_t*>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
                )
                # Application data has no place in a check, and is dropped.
                while self.dtls.read(self._plaintext, PLAINTEXT):
                    self.datagrams_refused += 1
            finally:
                self._reading = False
            self.wake()

    def send_flight(self, list datagrams not None):
        """Send what DTLS has sent while nothing was selected."""
        cdef bytes data
        if self.dtls is None or self._closed:
            return
        if self.dtls.timeout() == 0:
            self.dtls.handle_timeout()  # the timer has expired, and repeats the flight
        else:
            for data in datagrams:
                self.output.datagram_out(
                    <const uint8_t*>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
                )
        self.wake()

    def close(self):
        """Send what there is to send, such as a farewell, and stop. May be called again."""
        if self._closed:
            return
        self._enter()
        try:
            if self.dtls is not None:
                self._pump()
                self.dtls.close()
        finally:
            self._leave()
            self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._early_datagrams.clear()
        self._early_records.clear()
        # Ports and paths hold on to each other.
        self._port = None
        self.output.socket = None
        self.output.relay = None

    # -- from the network ------------------------------------------------------------------------

    cdef bint _is_source(self, const sockaddr_storage* address) noexcept:
        cdef int index
        if self._sources_used and same_address(&self._sources[self._last_source], address):
            return True
        for index in range(self._sources_used):
            if same_address(&self._sources[index], address):
                self._last_source = index
                return True
        return False

    cdef int _datagram_in(self, const uint8_t* data, size_t length) except -1:
        self.datagrams_received += 1
        self.bytes_received += length
        cdef Kind kind = classify(data[0])
        if kind == DTLS:
            if self.dtls is not None:
                return self._dtls_in(data, length)
            if len(self._early_datagrams) < MAX_EARLY and not self._closed:
                self._early_datagrams.append(data[:length])
        elif kind == RTP and self.on_rtp is not None:
            self._call(self.on_rtp, data[:length])
        else:
            self.datagrams_refused += 1
        return 0

    cdef int _dtls_in(self, const uint8_t* data, size_t length) except -1:
        if self._reading:
            # A listener has called back while SCTP reads the one plaintext buffer.
            self.datagrams_refused += 1
            return 0
        self._reading = True
        try:
            self.dtls.feed(data, length)
            self._read_records()
        finally:
            self._reading = False
        if self.dtls._state != self._told:
            self._tell_dtls()
        return 0

    cdef int _read_records(self) except -1:
        cdef Py_ssize_t size
        while True:
            size = self.dtls.read(self._plaintext, PLAINTEXT)
            if size == 0:
                break
            if self.association is not None:
                self.association.receive(self._plaintext, <size_t>size, self._now)
                if self._sacks_left > 0 and self.association.owes_sack():
                    self._sacks_left -= 1
                    self._send_packet()
                if self.association.has_events():
                    self._tell_events()
            elif len(self._early_records) < MAX_EARLY:
                self._early_records.append(self._plaintext[:size])
        return 0

    # -- to the network --------------------------------------------------------------------------

    def wake(self):
        """There is something to send: it leaves at the end of this turn, with all else."""
        if self._depth == 0 and not self._closed:
            self._owe()

    cdef int _owe(self) except -1:
        self._owed = True
        if not self._woken:
            self._woken = True
            self.loop.call_soon(self._on_woken)
        return 0

    def flush(self):
        """Send what there is to send now."""
        self._enter()
        self._leave()

    def _on_woken(self):
        self._woken = False
        if self._owed:  # nobody has asked for it to leave at once
            self.flush()

    cdef int _enter(self) except -1:
        if self._depth == 0:
            self._now = monotonic()
            self._sacks_left = SACKS_PER_TURN
        self._depth += 1
        return 0

    cdef int _leave(self) except -1:
        # The end of a batch: all that it led to goes out now.
        try:
            if self._depth == 1 and not self._closed:
                if self.dtls is not None and self.dtls._state != self._told:
                    self._tell_dtls()
                self._pump()
                if self.dtls is not None and self.dtls._state != self._told:
                    self._tell_dtls()
                self._arm()
        finally:
            self._depth -= 1
        return 0

    cdef bint _send_packet(self) except -1:
        # Send the association's next packet; False: there is none, or the socket has no room.
        cdef Py_ssize_t length
        if self._port is not None and not self._port.socket.has_room():
            return False
        length = self.association.poll(self._packet, PACKET, self._now)
        if length:
            self.dtls.write(self._packet, <size_t>length)
        if self.association.has_events():
            self._tell_events()
        return length != 0

    cdef int _pump(self) except -1:
        cdef int left = BUDGET
        self._owed = False
        if self.association is not None:
            while left > 0 and self._send_packet():
                left -= 1
        if self._port is not None and not self._port.socket.flush():
            self._port._start_writing()
        elif left == 0:
            # Others have their turn, then we go on.
            self._owe()
        return 0

    # -- time ------------------------------------------------------------------------------------

    cdef bint _has_way(self) noexcept:
        # Until a pair is selected only checks carry the handshake, and they repeat it themselves.
        return self.output.socket is not None or self.output.relay is not None

    cdef int _arm(self) except -1:
        cdef double deadline = INFINITY
        if self.association is not None:
            deadline = self.association.deadline()
        elif self.dtls is not None and self.dtls._state == CONNECTING and self._has_way():
            left = self.dtls.timeout()
            if left is not None:
                deadline = self._now + <double>left
        # A timer that is too early fires for nothing and is set again, which costs less than
        # moving it with every packet.
        if deadline == INFINITY or (
            self._timer is not None and deadline > self._timer_at - TIMER_SLACK
        ):
            return 0
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_later(
            max(ceil((deadline - self._now) / TIMER_TICK), 1.0) * TIMER_TICK, self._on_timer
        )
        return 0

    def _on_timer(self):
        self._timer = None
        self._enter()
        try:
            if self.association is not None:
                if self.association.deadline() <= self._now:
                    self.association.handle_timeout(self._now)
                    if self.association.has_events():
                        self._tell_events()
            elif self.dtls is not None and self._has_way():
                self.dtls.handle_timeout()
        finally:
            self._leave()

    # -- what the owner is told ------------------------------------------------------------------

    cdef int _tell_dtls(self) except -1:
        self._told = self.dtls._state
        self._call(self.on_dtls)
        return 0

    cdef int _tell_events(self) except -1:
        self._call(self.on_events, self.association.take_events())
        return 0

    def _call(self, callback, *arguments):
        try:
            if callback is not None:
                callback(*arguments)
        except Exception as exc:
            # A listener that fails must not stop the packets.
            self.loop.call_exception_handler(
                {"message": "a listener of a peer connection failed", "exception": exc}
            )
