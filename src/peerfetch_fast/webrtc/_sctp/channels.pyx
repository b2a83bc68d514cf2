"""Data channels over an association: DCEP (RFC 8832), their streams and their closing (RFC 8831).

The life of an id, which is the number of a stream each way. An id is free only if nothing here
knows it: neither we nor the peer can open a channel on it before.

==========  =======  ======================  ============================================
the id is   channel  what is sent on it      what comes next
==========  =======  ======================  ============================================
CONNECTING  yes      all is queued           the association is up: OPEN
OPEN        yes      messages                we close, or the peer resets its stream:
                                             CLOSING and DRAINING
DRAINING    yes      what was queued before  all of it was acknowledged or given up: DUE
DUE         maybe    nothing                 our next request names it: ASKED
ASKED       maybe    nothing                 the peer has reset it: RESET; it will not: SPENT
RESET       yes      nothing                 the peer has reset its own stream: free
SPENT       no       nothing, ever           the end of the association
==========  =======  ======================  ============================================

An id without a channel is DUE because the peer's attempt to open one was refused. What the peer
says it has reset counts only where it was ASKED: nothing is queued there, and nothing
unacknowledged.

This file is longer than others, because the table above is one class, and a channel is part of it:
both change the state of an id.
"""

import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.receiving.ordering cimport MessageSink
from peerfetch_fast.webrtc._sctp.sending.queue cimport SendQueue

from peerfetch_fast.webrtc._sctp.errors import (
    ChannelClosed as ChannelClosedError,
    MessageTooLarge,
    TooManyChannels,
)
from peerfetch_fast.webrtc._sctp.events import ChannelClosed, ChannelClosing, ChannelOpen

# Payload protocol identifiers (RFC 8831 §8).
cdef enum:
    PPID_CONTROL = 50
    PPID_STRING = 51
    PPID_BINARY = 53
    PPID_STRING_EMPTY = 56
    PPID_BINARY_EMPTY = 57

# Messages and channel types of DCEP (RFC 8832 §5).
cdef enum:
    DCEP_ACK = 2
    DCEP_OPEN = 3
    TYPE_RELIABLE = 0
    TYPE_REXMIT = 1
    TYPE_TIMED = 2
    TYPE_UNORDERED = 0x80

cdef enum:
    NO_STREAM = 65535       # RFC 8832 §6 keeps it back
    # Resets of streams that the peer opened against the rules; more are not answered.
    MAX_REFUSED = 64
    # The widest character of a label, in memory: one of these makes all of them as wide.
    WIDEST = 4

_OPEN = struct.Struct(">BBHIHH")
_STATES = ("connecting", "open", "closing", "closed")


cdef class Channel:
    """A data channel. Made by ``Association.open_channel``, or by the peer.

    :ivar id: its stream.
    :ivar on_message: called with each message, ``bytes`` or ``str``; messages that come while it
        is None are dropped. What it raises goes to :func:`sys.unraisablehook`.
    """

    def __repr__(self):
        return f"<Channel {self.id} {self.label!r} {_STATES[self.state]}>"

    @property
    def ready_state(self):
        """``connecting``, ``open``, ``closing`` or ``closed``."""
        return _STATES[self.state]

    @property
    def max_retransmits(self):
        """The most retransmissions of a message; None: any number."""
        return None if self.retransmit_limit == UINT32_MAX else self.retransmit_limit

    @property
    def max_lifetime(self):
        """Seconds after which a message is given up; None: never."""
        return None if self.lifetime_limit == INFINITY else self.lifetime_limit

    @property
    def buffered_amount(self):
        """Bytes of accepted messages that have not left for the network yet."""
        return self.outbound.buffered if self.outbound != NULL else 0

    @property
    def buffered_amount_low_threshold(self):
        """Bytes: when the buffered amount falls to this, ``BufferedAmountLow`` follows."""
        return self.outbound.low_threshold if self.outbound != NULL else 0

    @buffered_amount_low_threshold.setter
    def buffered_amount_low_threshold(self, uint64_t value):
        if self.outbound != NULL:
            self.outbound.low_threshold = value

    cpdef int send(self, object data, double now) except -1:
        """Queue one message; the caller's ``bytes`` are kept until the peer has them, not copied.

        Raises ChannelClosed if the channel is closing or closed, MessageTooLarge if the peer takes
        no message of this size, SendBufferFull if too much is queued already.
        """
        cdef bytes message
        cdef uint32_t protocol
        if isinstance(data, bytes):
            message = <bytes>data
            protocol = PPID_BINARY
            if PyBytes_GET_SIZE(message) == 0:
                message, protocol = b"\0", PPID_BINARY_EMPTY
        elif isinstance(data, str):
            message = (<str>data).encode()
            protocol = PPID_STRING
            if PyBytes_GET_SIZE(message) == 0:
                message, protocol = b"\0", PPID_STRING_EMPTY
        else:
            raise TypeError(f"a message is bytes or str, not {type(data).__name__}")
        return self._send(None, message, 0, PyBytes_GET_SIZE(message), protocol, now)

    cpdef int send_parts(
        self, bytes head, bytes body, Py_ssize_t start, Py_ssize_t length, double now
    ) except -1:
        """Queue one binary message in two parts: *head*, then ``body[start:start+length]``.

        Neither is copied; both are kept until the peer has the message. Raises as :meth:`send`.
        """
        if start < 0 or length < 1 or length > PyBytes_GET_SIZE(body) - start:
            raise ValueError("the part lies outside of the body")
        return self._send(head, body, start, length, PPID_BINARY, now)

    cdef int _send(
        self, bytes head, bytes body, Py_ssize_t start, Py_ssize_t length, uint32_t protocol,
        double now
    ) except -1:
        cdef Py_ssize_t size = length + (0 if head is None else PyBytes_GET_SIZE(head))
        if self.state >= CLOSING or not self.table.accepting:
            raise ChannelClosedError(f"the data channel is {_STATES[self.state]}")
        if self.table.max_message_size and (
            <uint64_t>size > self.table.max_message_size
        ) or <uint64_t>size > UINT32_MAX:
            raise MessageTooLarge(
                f"{size} bytes are more than the {self.table.max_message_size} "
                "that the peer takes"
            )
        # Until the peer knows the channel, messages must arrive after its OPEN (RFC 8832 §6).
        return self.table.queue.add(
            self.outbound, protocol, head, body, start, length,
            not self.ordered and self.acknowledged, self.retransmit_limit,
            now + self.lifetime_limit,
        )

    def close(self, double now):
        """Close it: sent messages still arrive, received ones drop. ``ChannelClosed`` follows."""
        self.table.close(self)

    def take_parts(self, splitter, on_parts):
        """Have unordered binary messages of several packets given in two parts.

        :param splitter: a capsule named ``peerfetch.splitter`` that holds a C function
            ``size_t (*)(const uint8_t* data, size_t length)``: of a message that begins with
            *data*, how many of these bytes to keep apart (0: none). It must not touch Python.
        :param on_parts: called with both parts, ``bytes`` each, instead of ``on_message``.
        """
        self.splitter = <Splitter>PyCapsule_GetPointer(splitter, "peerfetch.splitter")
        self.splitter_owner = splitter
        self.on_parts = on_parts

    cdef int take(self, uint32_t protocol, bytes head, bytes message) except -1:
        """A message came."""
        cdef object data
        self.acknowledged = True
        if self.state != OPEN or self.on_message is None:
            return 0
        if head is not None:
            _call_parts(self.on_parts, head, message)
            return 0
        if protocol == PPID_BINARY:
            data = message
        elif protocol == PPID_STRING:
            # As the browsers decode it: what is no UTF-8 becomes U+FFFD.
            data = PyUnicode_DecodeUTF8(
                PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), "replace"
            )
        elif protocol == PPID_BINARY_EMPTY:
            data = b""
        elif protocol == PPID_STRING_EMPTY:
            data = ""
        else:
            return 0
        _call(self.on_message, data)
        return 0


cdef void _call(object callback, object argument) noexcept:
    """Call the owner. Its exceptions are not the peer's fault, and go to sys.unraisablehook."""
    callback(argument)


cdef void _call_parts(object callback, object head, object body) noexcept:
    callback(head, body)


cdef class ChannelTable(MessageSink):
    """The channels of an association, by stream."""

    def __cinit__(
        self, SendQueue queue not None, list events, bint client, uint32_t max_channels,
        uint64_t max_message_size, uint32_t max_label, uint64_t label_memory
    ):
        self.queue = queue
        self.events = events
        self.client = client
        self.max_channels = max_channels
        self.max_message_size = max_message_size
        self.max_label = max_label
        self.label_memory = label_memory
        self.channels = {}
        self.receiving = {}
        self.due = {}
        self.refused = {}
        self.stream_limit = NO_STREAM
        self.accepting = True

    cdef Channel open(
        self, str label, str protocol, bint ordered, object max_retransmits, object max_lifetime,
        object id
    ):
        """A channel of ours: announced to the peer, or agreed on beforehand if *id* is given."""
        cdef Channel channel = Channel.__new__(Channel)
        cdef bytes label_bytes = label.encode()
        cdef bytes protocol_bytes = protocol.encode()
        cdef int kind = TYPE_RELIABLE if ordered else TYPE_UNORDERED
        cdef uint32_t reliability = 0
        if not self.accepting:
            raise ChannelClosedError("the association is closing")
        if len(label_bytes) > 65535 or len(protocol_bytes) > 65535:
            raise ValueError("a label or protocol has at most 65,535 bytes")
        if max_retransmits is not None and max_lifetime is not None:
            raise ValueError("max_retransmits and max_lifetime exclude each other")
        channel.retransmit_limit = UINT32_MAX
        channel.lifetime_limit = INFINITY
        if max_retransmits is not None:
            if not 0 <= max_retransmits < <uint32_t>UINT32_MAX:
                raise ValueError("max_retransmits is out of range")
            channel.retransmit_limit = reliability = max_retransmits
            kind |= TYPE_REXMIT
        elif max_lifetime is not None:
            if not 0 <= max_lifetime <= <uint32_t>UINT32_MAX / 1000.0:
                raise ValueError("max_lifetime is out of range")
            channel.lifetime_limit = max_lifetime
            reliability = <uint32_t>(channel.lifetime_limit * 1000 + 0.5)
            kind |= TYPE_TIMED
        if <size_t>len(self.channels) >= self.max_channels:
            raise TooManyChannels(f"{self.max_channels} data channels are open")
        if id is None:
            channel.id = self._free_id()
        else:
            if not 0 <= id < self.stream_limit:
                raise ValueError(f"a channel's id is below {self.stream_limit}")
            if not self._is_free(id):
                raise ValueError(f"channel id {id} is in use")
            channel.id = id
            channel.negotiated = channel.acknowledged = True
        channel.label = label
        channel.protocol = protocol
        channel.ordered = ordered
        self._add(channel)
        if id is None:
            self._send_control(
                channel,
                _OPEN.pack(
                    DCEP_OPEN, kind, 0, reliability, len(label_bytes), len(protocol_bytes)
                ) + label_bytes + protocol_bytes,
            )
        if self.established:
            self._start(channel)
        return channel

    cdef int _start(self, Channel channel) except -1:
        channel.state = OPEN
        self.events.append(ChannelOpen(channel))
        return 0

    cdef int _free_id(self) except -1:
        # RFC 8832 §6: even for the DTLS client, odd for the server.
        cdef uint32_t id = 0 if self.client else 1
        while id < self.stream_limit and not self._is_free(id):
            id += 2
        if id >= self.stream_limit:
            raise TooManyChannels("no stream is free for another data channel")
        return id

    cdef bint _is_free(self, uint32_t id) except -1:
        return (
            id not in self.channels and id not in self.refused
            and not (self.spent is not None and self.spent[id >> 3] >> (id & 7) & 1)
        )

    cdef int _spend(self, uint32_t id) except -1:
        """The stream was not reset: its sequence numbers go on, so it cannot be used anew."""
        if self.spent is None:
            self.spent = bytearray((NO_STREAM >> 3) + 1)
        self.spent[id >> 3] |= 1 << (id & 7)
        return 0

    cdef int _add(self, Channel channel) except -1:
        channel.table = self
        channel.outbound = self.queue.open_stream(<uint16_t>channel.id, <PyObject*>channel)
        self.channels[channel.id] = self.receiving[channel.id] = channel
        return 0

    cdef int establish(self, uint32_t stream_limit, bint peer_resets) except -1:
        """The association is up; the peer takes streams below *stream_limit*."""
        cdef Channel channel
        self.established = True
        self.peer_resets = peer_resets
        self.stream_limit = min(stream_limit, <uint32_t>NO_STREAM)
        for channel in list(self.channels.values()):
            if channel.id >= <int>self.stream_limit:
                self._finish(channel)
            elif channel.state == CONNECTING:
                self._start(channel)
        return 0

    cdef int end(self) except -1:
        """The association is gone, and every channel with it; the sender has been cleared."""
        self.accepting = self.established = False
        self.queue.drained.clear()
        self.refused.clear()
        self.recent = None
        for channel in list(self.channels.values()):
            self._finish(channel)
        self.due.clear()
        return 0

    # Closing (RFC 8831 §6.7): each side resets its outgoing stream once all on it has arrived.

    cdef int close(self, Channel channel) except -1:
        if channel.state < CLOSING:
            channel.state = CLOSING
            channel.outgoing = DRAINING
            self.queue.drain_stream(channel.outbound)
        return 0

    cdef bint has_due(self) noexcept:
        """Whether there are streams to be reset."""
        return len(self.due) != 0 or len(self.queue.drained) != 0

    cdef list due_resets(self, Py_ssize_t most):
        """The ids of at most *most* streams of ours to be reset; they are then ASKED."""
        cdef Channel channel
        cdef list ids
        for channel in self.queue.drained:
            if channel.outgoing == DRAINING:
                channel.outgoing = DUE
                self.due[channel.id] = None
        self.queue.drained.clear()
        ids = list(self.due)[:most]
        for id in ids:
            del self.due[id]
            if id in self.refused:
                self.refused[id] = ASKED
            else:
                channel = self.channels[id]
                channel.outgoing = ASKED
        if ids and not self.peer_resets:
            self.outgoing_reset(ids, False)
            return []
        return ids

    cdef int outgoing_reset(self, list ids, bint done) except -1:
        """The peer has reset its side of the streams (*done*), or refuses to."""
        cdef Channel channel
        for id in ids:
            channel = self.channels.get(id)
            if channel is None:
                # We never sent on the stream: it is free, whatever the peer said.
                if self.refused.get(id) == ASKED:
                    del self.refused[id]
            elif channel.outgoing == ASKED:
                channel.outgoing = RESET
                if not done:
                    self._spend(id)
                    channel.inbound_reset = True
                if channel.inbound_reset:
                    self._finish(channel)
        return 0

    cdef int incoming_reset(self, uint16_t id) except -1:
        """The peer sends no more on the stream."""
        cdef Channel channel = self.receiving.pop(id, None)
        if channel is None:
            return 0
        channel.inbound_reset = True
        if channel.state < CLOSING:
            self.close(channel)
            self.events.append(ChannelClosing(channel))
        elif channel.outgoing == RESET:
            self._finish(channel)
        return 0

    cdef int incoming_resets(self) except -1:
        """The peer sends no more on any stream."""
        for id in list(self.receiving):
            self.incoming_reset(id)
        return 0

    cdef bint is_open(self, uint16_t stream) noexcept:
        return stream in self.channels

    cdef int out_of_sequence(self, uint16_t stream) except -1:
        """The peer's messages on the stream can no longer be put in order: close the channel."""
        cdef Channel channel = self.channels.get(stream)
        if channel is not None and channel.state < CLOSING:
            self.close(channel)
            self.events.append(ChannelClosing(channel))
        return 0

    cdef int _finish(self, Channel channel) except -1:
        channel.state = CLOSED
        if channel.outgoing == DUE:
            del self.due[channel.id]
        channel.outgoing = RESET
        if channel.id >= <int>self.stream_limit:
            self.queue.discard_stream(channel.outbound)
        else:
            self.queue.close_stream(channel.outbound)
        channel.outbound = NULL
        del self.channels[channel.id]
        self.receiving.pop(channel.id, None)
        self.label_memory += channel.label_memory
        if self.recent is channel:
            self.recent = None
        self.events.append(ChannelClosed(channel))
        return 0

    # Chunks and messages of the peer

    cdef int _send_control(self, Channel channel, bytes message) except -1:
        return self.queue.add(
            channel.outbound, PPID_CONTROL, None, message, 0, PyBytes_GET_SIZE(message), False,
            UINT32_MAX, INFINITY,
        )

    cdef Channel _find(self, uint16_t stream):
        cdef Channel channel = self.recent
        if channel is None or channel.id != stream:
            channel = self.channels.get(stream)
            if channel is not None:
                self.recent = channel
        return channel

    cdef size_t split(
        self, uint16_t stream, uint32_t protocol, const uint8_t* data, size_t length
    ) noexcept:
        cdef Channel channel
        if protocol != PPID_BINARY:
            return 0
        channel = self._find(stream)
        if channel is None or channel.splitter == NULL:
            return 0
        return channel.splitter(data, length)

    cdef int deliver(
        self, uint16_t stream, uint32_t protocol, bytes head, bytes message
    ) except -1:
        cdef Channel channel
        if not self.established:
            return 0
        if protocol == PPID_CONTROL:
            return self._control(stream, message)
        channel = self._find(stream)
        return 0 if channel is None else channel.take(protocol, head, message)

    cdef int _control(self, uint16_t stream, bytes message) except -1:
        cdef Channel channel
        if message[0] == DCEP_ACK:
            channel = self.channels.get(stream)
            if channel is not None:
                channel.acknowledged = True
        elif message[0] == DCEP_OPEN:
            return self._opened(stream, message)
        return 0

    cdef int _opened(self, uint16_t stream, bytes message) except -1:
        cdef Channel channel = self.channels.get(stream)
        cdef int kind
        cdef uint64_t memory
        if channel is not None and channel.outgoing == ASKED and channel.inbound_reset:
            # RFC 8831 §6.7: the peer uses the stream again, so it has reset it; its response is
            # late or lost.
            self.outgoing_reset([stream], True)
            channel = None
        if channel is not None:
            # RFC 8832 §6: an OPEN on a stream in use closes it.
            return self.close(channel)
        if (
            len(message) < _OPEN.size
            or stream % 2 == (0 if self.client else 1)
            or stream >= self.stream_limit
            or <size_t>len(self.channels) >= self.max_channels
            or not self.accepting
            or not self._is_free(stream)
        ):
            return self._refuse(stream)
        _, kind, _, reliability, label_size, protocol_size = _OPEN.unpack_from(message)
        memory = WIDEST * (label_size + protocol_size)
        if (
            len(message) != _OPEN.size + label_size + protocol_size
            or kind & ~TYPE_UNORDERED > TYPE_TIMED
            or label_size > self.max_label
            or protocol_size > self.max_label
            or memory > self.label_memory
        ):
            return self._refuse(stream)
        texts = message[_OPEN.size:]
        channel = Channel.__new__(Channel)
        channel.id = stream
        channel.label = texts[:label_size].decode(errors="replace")
        channel.protocol = texts[label_size:].decode(errors="replace")
        channel.label_memory = memory
        self.label_memory -= memory
        channel.ordered = not kind & TYPE_UNORDERED
        channel.retransmit_limit = UINT32_MAX
        channel.lifetime_limit = INFINITY
        if kind & ~TYPE_UNORDERED == TYPE_REXMIT:
            channel.retransmit_limit = reliability
        elif kind & ~TYPE_UNORDERED == TYPE_TIMED:
            channel.lifetime_limit = reliability / 1000
        channel.acknowledged = True
        channel.state = OPEN
        self._add(channel)
        self._send_control(channel, bytes((DCEP_ACK,)))
        if self.on_channel is not None:
            _call(self.on_channel, channel)
        return 0

    cdef int _refuse(self, uint16_t stream) except -1:
        if self._is_free(stream) and len(self.refused) < MAX_REFUSED:
            self.refused[stream] = DUE
            self.due[stream] = None
        return 0
