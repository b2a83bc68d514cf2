"""The send queue: streams and the messages that wait on them, in turn.

A message stays in the caller's ``bytes`` until the peer has all of it. The streams that have
something to send take turns, a message each.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport UINT32_MAX, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from peerfetch_fast.webrtc._sctp.errors import SendBufferFull
from peerfetch_fast.webrtc._sctp.events import BufferedAmountLow

cdef enum:
    # The cost of a queued message besides its bytes: its struct, and the bytes object's header.
    MESSAGE_OVERHEAD = 128


cdef inline bint _is_idle(const OutboundStream* stream) noexcept:
    return stream.first == NULL and stream.chunks_unacked == 0


cdef class SendQueue:
    """The streams of an association, and their messages until these are acknowledged or given up.

    :param limit: bytes of memory for messages, those of DCEP aside.
    :param events: gets a ``BufferedAmountLow`` when a stream's falls to its threshold.
    :ivar held: bytes of memory of messages neither acknowledged nor given up.
    """

    def __cinit__(self, uint64_t limit, list events):
        self.limit = limit
        self.events = events
        self.drained = []

    def __dealloc__(self):
        self.clear()
        while self.streams != NULL:
            self._free_stream(self.streams)

    cdef void clear(self) noexcept:
        """Let go of what is not in the ring; the streams that have an owner stay.

        A message with chunks in the ring goes with the last of these, and so does a stream without
        an owner.
        """
        cdef OutboundStream* stream = self.turn
        cdef OutboundStream* following
        cdef Message* message
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
        self.turn = self.turn_last = NULL
        stream = self.streams
        while stream != NULL:
            following = stream.following
            # No owner waits for a stream to drain any more.
            stream.draining = stream.owner == NULL
            if stream.draining and _is_idle(stream):
                self._free_stream(stream)
            stream = following

    # Streams

    cdef OutboundStream* open_stream(self, uint16_t id, PyObject* owner) except NULL:
        """A new stream; *owner* is borrowed until :meth:`close_stream`."""
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
        """The owner is gone: the stream goes once nothing on it is queued or unacknowledged."""
        stream.owner = NULL
        stream.draining = True
        if _is_idle(stream):
            self._free_stream(stream)

    cdef void discard_stream(self, OutboundStream* stream) noexcept:
        """Free a stream and what is queued on it. Nothing of that may have been sent."""
        cdef OutboundStream* before = NULL
        cdef OutboundStream* at = self.turn
        cdef Message* message
        while at != NULL and at != stream:
            before = at
            at = at.next
        if at != NULL:
            if before == NULL:
                self.turn = at.next
            else:
                before.next = at.next
            if self.turn_last == at:
                self.turn_last = before
        while stream.first != NULL:
            message = stream.first
            stream.first = message.next
            self._free_message(message)
        self._free_stream(stream)

    cdef int drain_stream(self, OutboundStream* stream) except -1:
        """No more messages follow: the owner is in `drained` once all of them have arrived."""
        stream.draining = True
        if _is_idle(stream):
            self._stream_drained(stream)
        return 0

    cdef void _stream_drained(self, OutboundStream* stream) noexcept:
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

    # Messages

    cdef int add(
        self, OutboundStream* stream, uint32_t protocol, bytes head, bytes data, size_t start,
        size_t length, bint unordered, uint32_t max_retransmits, double expires
    ) except -1:
        """Queue a message of a byte or more: *head* (or None), then ``data[start:start+length]``.

        *max_retransmits* (UINT32_MAX: any number) and *expires* (infinite: never) limit what is
        done for it, if the peer understands FORWARD TSN.

        Raises SendBufferFull if there is no room; then nothing was queued.
        """
        cdef Message* message
        cdef uint64_t size = length
        if head is not None:
            size += PyBytes_GET_SIZE(head)
        if protocol != DCEP and self.held + size + MESSAGE_OVERHEAD > self.limit:
            raise SendBufferFull(
                f"{self.held} bytes wait to be sent and acknowledged, of {self.limit}"
            )
        message = <Message*>calloc(1, sizeof(Message))
        if message == NULL:
            raise MemoryError
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
        self.held += size + MESSAGE_OVERHEAD
        if protocol != DCEP:
            stream.buffered += size
        if not stream.active:
            stream.active = True
            stream.next = NULL
            if self.turn_last == NULL:
                self.turn = stream
            else:
                self.turn_last.next = stream
            self.turn_last = stream
        return 0

    cdef void _tell_low(self, OutboundStream* stream) noexcept:
        self.events.append(BufferedAmountLow(<object>stream.owner))

    cdef void finish_cut(self, OutboundStream* stream) noexcept:
        """The stream that had its turn has nothing left to cut of its first message."""
        stream.first.whole = True
        stream.first = stream.first.next
        if stream.first == NULL:
            stream.last = NULL
        elif self.turn_last == stream:
            return
        self.turn = stream.next
        stream.next = NULL
        if stream.first != NULL:
            self.turn_last.next = stream
            self.turn_last = stream
        else:
            stream.active = False
            if self.turn == NULL:
                self.turn_last = NULL

    cdef void chunk_done(self, Message* message) noexcept:
        """A chunk of the message leaves the ring; the message goes with its last one."""
        cdef OutboundStream* stream = message.stream
        stream.chunks_unacked -= 1
        message.chunks_kept -= 1
        if message.chunks_kept == 0 and message.whole:
            self._free_message(message)
        if stream.draining and _is_idle(stream):
            self._stream_drained(stream)

    cdef bint drop_data(self, Message* message) noexcept:
        """The message is given up, and cut to its end; whether it is gone: it had no chunk left."""
        cdef OutboundStream* stream = message.stream
        self.held -= message.length + MESSAGE_OVERHEAD
        Py_DECREF(<object>message.data)
        message.data = NULL
        if message.chunks_kept:
            return False
        self._free_message(message)
        if stream.draining and _is_idle(stream):
            self._stream_drained(stream)
        return True

    cdef void _free_message(self, Message* message) noexcept:
        if message.data != NULL:
            self.held -= message.length + MESSAGE_OVERHEAD
            Py_DECREF(<object>message.data)
        if message.head != NULL:
            Py_DECREF(<object>message.head)
        free(message)
