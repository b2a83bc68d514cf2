# cython: freethreading_compatible=False
"""The stream engine: many byte streams over one channel (docs/protocol.md, sections 2 to 6).

Sans-I/O: messages and the time go in (:meth:`Engine.receive`, :meth:`Engine.handle_timeout`),
messages and a deadline come out (:meth:`Engine.next_message`, :meth:`Engine.deadline`). What
happened to which stream is told by :meth:`Engine.take_dirty`. The semantics are those of RFC 9000
sections 2 to 4, on a channel that is reliable and unordered.

A payload byte is not copied on channels that carry messages in two parts, and on others once on its
way out (from the writer's ``bytes`` into the message) and once on its way in (from the message into
the ``bytes`` that the reader gets). Small frames that share a message are copied on all of them,
and what queues up behind a slow reader in small pieces.

This file is longer than others, because Engine and EngineStream are C types that know each other,
and Cython can import such types from one another only within one module. What knows neither is in
``streams/``: the wire, the assembler, the outgoing queue, the scheduler and the keep-alive.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from peerfetch_fast.streams._assembler cimport Assembler
from peerfetch_fast.streams._liveness cimport Liveness
from peerfetch_fast.streams._outgoing cimport Outgoing
from peerfetch_fast.streams._scheduler cimport Scheduled, Scheduler
from peerfetch_fast.streams._wire cimport (
    ACCESS,
    GOAWAY,
    INITIAL_MAX_DATA,
    INITIAL_MAX_STREAMS,
    INITIAL_MAX_STREAM_DATA,
    MAX_DATA,
    MAX_STREAMS,
    MAX_STREAM_DATA,
    PAKE,
    PING,
    PONG,
    RESET_STREAM,
    RESUME_TIMEOUT,
    SETTINGS,
    STOP_SENDING,
    STREAM,
    STREAM_FIN,
    get_varint,
    put_varint,
    varint_size,
)

from peerfetch_fast.streams.access import PROOF_LENGTH
from peerfetch_fast.streams._wire import varint
from peerfetch_fast.streams.cpace import SHARE_LENGTH
from peerfetch_fast.errors import (
    AccessDenied,
    PeerUnresponsive,
    ProtocolError,
    SessionClosed,
    StreamReset,
    StreamStopped,
)
from peerfetch_fast.settings import DEFAULT_MAX_DATA, DEFAULT_MAX_STREAM_DATA, DEFAULT_MAX_STREAMS

# Session error codes (section 6), also for Python.
NO_ERROR = 0x00
INTERNAL_ERROR = 0x01
FLOW_CONTROL_ERROR = 0x03
STREAM_LIMIT_ERROR = 0x04
STREAM_STATE_ERROR = 0x05
FINAL_SIZE_ERROR = 0x06
FRAME_ENCODING_ERROR = 0x07
SETTINGS_ERROR = 0x08
PROTOCOL_VIOLATION = 0x0A
EXCESSIVE_LOAD = 0x10
ACCESS_DENIED = 0x20

# The one stream code that the engine itself uses.
REQUEST_REJECTED = 0x10B

# The flags of EngineStream.take_flags().
READABLE = 1
WRITABLE = 2
STOPPED = 4
CLOSED = 8
RESET = 16

cdef unsigned int _READABLE = 1, _WRITABLE = 2, _STOPPED = 4, _CLOSED = 8, _RESET = 16

# The flags of Engine.take_flags().
MORE_STREAMS = 1
GOAWAY_RECEIVED = 2
MORE_CREDIT = 4
PROOF_RECEIVED = 8
SILENCE = 16

cdef int64_t VARINT_MAX = (<int64_t> 1 << 62) - 1
cdef int64_t STREAMS_MAX = <int64_t> 1 << 60

# Small frames of several streams share a message up to this size, which one packet carries.
cdef Py_ssize_t PACKET = 1100
# The cost of a piece that waits for earlier ones, besides its bytes: its object's header and its
# place.
cdef int64_t FRAGMENT_COST = 100
# Type, length, stream id and offset of a STREAM frame, each at its longest.
cdef Py_ssize_t STREAM_OVERHEAD = 1 + 4 + 8 + 8
# The session's window is 4 times the largest stream window, up to max_data. Twice would do for a
# stream that is read no more to leave the others credit, as credit is granted at half of a window.
cdef int64_t SHARE = 4
cdef Py_ssize_t GOAWAY_REASON = 1024
cdef Py_ssize_t SCRATCH = 4096

MESSAGE_OVERHEAD = PACKET + STREAM_OVERHEAD
"""Bytes by which a message may exceed ``Settings.chunk_size``."""


cdef class EngineStream(Scheduled):
    """Both directions of one stream. Made by the engine; ``owner`` belongs to the caller."""

    def __init__(self):
        raise TypeError("streams are made by Engine.open() and by the other side")

    # -- sending ---------------------------------------------------------------------------------

    @property
    def unsent(self):
        """Bytes written and not yet put into a message."""
        return self.outgoing.length

    @property
    def can_write(self):
        """Whether write() and end() are still allowed."""
        return not (self.fin_wanted or self.reset_sent)

    cpdef int write(self, object data) except -1:
        """Queue ``data`` (bytes, kept by reference; any other buffer is copied).

        Raises StreamStopped when the other side no longer reads, SessionClosed after the end of the
        session, RuntimeError after end() or reset().
        """
        if type(data) is not bytes:
            data = bytes(data)
        if self.fin_wanted or self.reset_sent or self.engine is None:
            self.refuse_write()
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if length == 0:
            return 0
        self.outgoing.push(data)
        self.engine.unsent += length
        if not self.scheduled:
            self.schedule()
        return 0

    def refuse_write(self):
        if self.stopped_code >= 0:
            raise StreamStopped(
                f"the other side stopped reading (code {self.stopped_code:#x})", self.stopped_code
            )
        if self.lost is not None:
            raise self.lost
        raise RuntimeError("write() after end() or reset()")

    cpdef int end(self) except -1:
        """End this side's direction after what was written (FIN). Idempotent; raises as write()."""
        if self.fin_wanted:
            return 0
        if self.reset_sent or self.engine is None:
            self.refuse_write()
        self.fin_wanted = True
        if self.outgoing.length == 0:
            self.owes_fin = True
            self.owe()
        return 0

    cpdef int reset(self, int64_t code) except -1:
        """Give up sending: unsent data is dropped and the other side told ``code``. Idempotent;
        without effect once everything was sent."""
        if self.fin_sent or self.reset_sent or self.engine is None:
            return 0
        self.reset_sent = True
        self.reset_code = code
        self.owes_fin = False
        self.drop_unsent()
        self.owes_reset = True
        return self.owe()

    def set_priority(self, int urgency, bint incremental):
        """RFC 9218 §4: ``urgency`` 0 (first) to 7; ``incremental`` streams share, others do not."""
        if not 0 <= urgency <= 7:
            raise ValueError("urgency must be between 0 and 7")
        cdef bint scheduled = self.scheduled
        if scheduled:
            self.engine.scheduler.discard(self)
        self.urgency = urgency
        self.incremental = incremental
        if scheduled:
            self.schedule()

    cdef int schedule(self) except -1:
        if self.outgoing.length > 0 and self.send_limit > self.sent and not self.reset_sent:
            self.engine.scheduler.add(self)
        return 0

    cdef int drop_unsent(self) except -1:
        self.engine.scheduler.discard(self)
        self.engine.unsent -= self.outgoing.length
        self.outgoing.clear()
        return 0

    cdef int sent_bytes(self, Py_ssize_t length) except -1:
        """The next ``length`` bytes were put into a message."""
        self.sent += length
        self.engine.unsent -= length
        self.engine.sent += length
        return 0

    # -- receiving -------------------------------------------------------------------------------

    @property
    def at_end(self):
        """Whether the whole of the other side's direction, FIN included, was read."""
        return self.final_size >= 0 and self.consumed == self.final_size and not (
            self.reset_received or self.stop_sent
        )

    cpdef object read(self, Py_ssize_t most=-1):
        """The next bytes, in order: at most ``most`` of them, b"" at the end, None if none are
        there yet.

        Reading grants the other side credit. Raises StreamReset when it gave up, and what detach()
        was given once everything that came before is read.
        """
        cdef Py_ssize_t length
        cdef object data
        if self.reset_received:
            raise StreamReset(
                f"the other side gave up sending (code {self.reset_code:#x})", self.reset_code
            )
        if self.assembler.empty():
            if self.final_size >= 0 and self.consumed == self.final_size or self.stop_sent:
                return b""
            if self.lost is not None:
                raise self.lost
            return None
        if most == 0:
            return b""
        data = self.assembler.take(most)
        length = PyBytes_GET_SIZE(data)
        self.consumed += length
        if self.engine is not None:
            self.engine.consume(length)
            self.grant()
            if self.consumed == self.final_size:
                self.settle()
        return data

    cpdef int stop(self, int64_t code) except -1:
        """Give up reading: what is unread or still comes is thrown away, and the other side is
        asked to stop with ``code``. Idempotent; without effect once everything was read."""
        if self.stop_sent or self.reset_received or self.engine is None:
            return 0
        if self.final_size >= 0 and self.consumed == self.final_size:
            return 0
        self.stop_sent = True
        self.drop_unread()
        if self.final_size < 0 or self.assembler.received < self.final_size:
            self.owes_stop = True
            self.stop_code = code
            self.owe()
        self.settle()
        return 0

    cdef int drop_unread(self) except -1:
        """Throw away what was received and count it, and what is known to come, as read."""
        self.engine.fragment_total -= self.assembler.count
        self.assembler.drop()
        self.owes_credit = False
        self.engine.consume(self.highest - self.consumed)
        self.consumed = self.highest
        return 0

    cdef int grant(self) except -1:
        if self.final_size < 0 and not self.owes_credit and not self.stop_sent:
            if (self.consumed + self.window.size - self.receive_limit) * 2 >= self.window.size:
                self.owes_credit = True
                self.owe()
        return 0

    cdef int take_piece(self, bytes data, int64_t offset) except -1:
        """Put ``data`` where it belongs; overlaps were not excluded yet."""
        cdef Assembler assembler = self.assembler
        cdef Py_ssize_t waiting = assembler.count
        cdef bint in_order = offset == assembler.received
        if not in_order and self.engine.fragment_total >= self.engine.fragment_max:
            self.engine.fail(EXCESSIVE_LOAD, "too many pieces wait for earlier ones")
        if not assembler.put(offset, data):
            self.engine.fail(PROTOCOL_VIOLATION, f"stream {self.id}: bytes sent twice")
        self.engine.fragment_total += assembler.count - waiting
        return self.mark(_READABLE) if in_order else 0

    # -- both ------------------------------------------------------------------------------------

    cpdef unsigned int take_flags(self):
        """The flags since the last call: READABLE, WRITABLE, STOPPED, RESET, CLOSED."""
        cdef unsigned int flags = self.flags
        self.flags = 0
        self.dirty = False
        return flags

    cdef int mark(self, unsigned int flag) except -1:
        self.flags |= flag
        if not self.dirty:
            self.dirty = True
            self.engine.dirty.append(self)
        return 0

    cdef int owe(self) except -1:
        if not self.control:
            self.control = True
            self.engine.control.append(self)
        return 0

    cdef int settle(self) except -1:
        """Retire the stream once both directions are over and nothing is owed."""
        if (
            not self.closed
            and not self.control
            and (self.fin_sent or self.reset_sent)
            and self.final_size >= 0
            and self.consumed == self.final_size
        ):
            self.closed = True
            self.mark(_CLOSED)
            self.engine.retire(self)
        return 0

    def __repr__(self):
        return f"<EngineStream {self.id}>"


cdef class Engine:
    """One side of a ``peerfetch.2`` session.

    :param settings: a :class:`peerfetch_fast.settings.Settings`.
    :param opener: whether this side opened the channel (its stream ids are even).
    :param now: the time in seconds, of any monotonic clock; all later times are of the same clock.
    :param max_message_size: the largest message in bytes that the channel carries to the other
        side.
    :param access: a :class:`peerfetch_fast.streams.access.Access` if both sides must prove that
        they know the access token or a code: until the other side has, this one opens no stream.
    :param resumes: whether the channel looks after its path and can move to another one: a silent
        session is then kept for ``Settings.resume_timeout``, if the other side does so too, and one
        without streams asks for signs of life after ``Settings.idle_keep_alive`` only.
    """

    def __cinit__(self):
        self.scratch = <uint8_t *> malloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.scratch)

    def __init__(
        self, settings not None, *, bint opener, double now, Py_ssize_t max_message_size=65536,
        access=None, bint resumes=False
    ):
        if max_message_size < 2 * MESSAGE_OVERHEAD:
            raise ValueError(f"max_message_size must be at least {2 * MESSAGE_OVERHEAD} bytes")
        self.settings = settings
        self.opener = opener
        self.access = access
        self.proved = access is None or not access.required
        # The responder shows its proof only to who has shown one, so that not everybody who can
        # connect gets something to try tokens on.
        self.owes_access = opener and access is not None and access.share is None
        self.owes_share = opener and access is not None and access.share is not None
        self.streams = {}
        self.scheduler = Scheduler()
        self.dirty = []
        self.control = []
        self.pongs = []
        self.chunk_most = max_message_size - MESSAGE_OVERHEAD
        self.set_chunk_size(settings.chunk_size)
        self.window_most = settings.max_data
        self.window.size = self.receive_limit = min(settings.initial_max_data, settings.max_data)
        self.window.granted = -INFINITY
        self.stream_window_most = settings.max_stream_data
        self.stream_window = min(settings.initial_max_stream_data, settings.max_stream_data)
        self.accept_limit = settings.max_streams
        self.fragment_max = settings.fragments
        self.send_limit = DEFAULT_MAX_DATA
        self.peer_stream_limit = DEFAULT_MAX_STREAM_DATA
        self.open_limit = DEFAULT_MAX_STREAMS
        self.goaway_limit = self.peer_limit = VARINT_MAX
        self.goaway_reason = b""
        self.liveness = Liveness(settings, resumes, now)
        self.settings_deadline = now + <double> settings.settings_timeout
        self.access_deadline = now + <double> settings.access_timeout

    @property
    def rtt(self):
        """Seconds that the latest PING took; below 0: none was answered."""
        return self.liveness.rtt

    @property
    def silent(self):
        """Whether the other side gives no sign of life, though it was asked for one."""
        return self.liveness.silent

    @property
    def chunk_size(self):
        """Bytes of stream data in a message, at most."""
        return self.chunk

    cpdef int set_chunk_size(self, Py_ssize_t size) except -1:
        """From now on put at most ``size`` bytes of stream data into a message, or what the channel
        takes if that is less."""
        self.chunk = min(size, self.chunk_most)
        return 0

    # -- streams ---------------------------------------------------------------------------------

    @property
    def can_open(self):
        """Whether open() would succeed now."""
        return (
            self.proved and self.opened < self.open_limit and self.error is None
            and not self.ending()
        )

    cdef bint ending(self) noexcept:
        return self.goaway_received or self.goaway_sent

    def open(self):
        """Open a stream: an EngineStream, or None while the other side allows no more or has not
        proved that it knows the access token.

        Raises SessionClosed once either side has said GOAWAY.
        """
        if self.error is not None:
            raise self.error
        if self.ending():
            raise SessionClosed("the session is ending and opens no more streams")
        if not self.proved or self.opened >= self.open_limit:
            return None
        cdef EngineStream stream = self.make(self.opened * 2 + (0 if self.opener else 1))
        self.opened += 1
        return stream

    @property
    def open_streams(self):
        """The number of streams that are not closed."""
        return len(self.streams)

    cdef EngineStream make(self, int64_t stream_id):
        cdef EngineStream stream = EngineStream.__new__(EngineStream)
        stream.id = stream_id
        stream.engine = self
        stream.outgoing = Outgoing.__new__(Outgoing)
        stream.assembler = Assembler.__new__(Assembler)
        stream.urgency = 3
        stream.incremental = True
        stream.send_limit = self.peer_stream_limit
        stream.window.size = stream.receive_limit = self.stream_window
        stream.window.granted = -INFINITY
        stream.final_size = stream.stopped_code = stream.reset_code = -1
        self.streams[stream_id] = stream
        return stream

    cdef EngineStream find(self, int64_t stream_id):
        """The open stream of that id, made if the other side may open it; None if it is closed."""
        cdef int64_t number = stream_id >> 1
        cdef EngineStream refused
        if (stream_id & 1) == (0 if self.opener else 1):
            if number >= self.opened:
                self.fail(STREAM_STATE_ERROR, f"stream {stream_id} was never opened")
        elif number >= self.accepted:
            if number >= self.accept_limit:
                self.fail(STREAM_LIMIT_ERROR, f"stream {stream_id} is one more than allowed")
            while self.accepted <= number:
                refused = self.make(self.accepted * 2 + (1 if self.opener else 0))
                self.accepted += 1
                if refused.id >= self.goaway_limit:
                    # It was under way when this side said that it would open no more; our GOAWAY
                    # tells the other side all that RESET_STREAM and STOP_SENDING would.
                    refused.stop_sent = refused.reset_sent = True
            self.consider_stream_credit()
        return <EngineStream> self.streams.get(stream_id)

    cdef int retire(self, EngineStream stream) except -1:
        self.scheduler.discard(stream)
        del self.streams[stream.id]
        if (stream.id & 1) != (0 if self.opener else 1):
            self.accepted_closed += 1
            self.consider_stream_credit()
        return 0

    cdef int consider_stream_credit(self) except -1:
        """Raise the limit when that gives the other side as many streams as it has left, at least:
        a frame for every few streams, and none that waits for streams which stay open for long."""
        cdef int64_t more = (
            self.accepted_closed + <int64_t> self.settings.max_streams - self.accept_limit
        )
        if more > 0 and more >= self.accept_limit - self.accepted:
            self.owes_stream_credit = True
        return 0

    def take_dirty(self):
        """The streams to which something happened since the last call (EngineStream.take_flags
        tells what). One whose ``owner`` is None was opened by the other side."""
        cdef list dirty = self.dirty
        if dirty:
            self.dirty = []
        return dirty

    @property
    def held(self):
        """Bytes held for the other side: what it sent and nobody has read yet, what was written and
        has not left, and the bookkeeping of pieces that wait for earlier ones."""
        return self.highest - self.consumed + self.unsent + FRAGMENT_COST * self.fragment_total

    @property
    def unsettled(self):
        """Whether take_dirty() or take_flags() has something to tell, or next_message() control
        frames to send."""
        return bool(self.dirty) or self.flags != 0 or self.owes

    cpdef unsigned int take_flags(self):
        """The flags of the session since the last call: MORE_STREAMS, GOAWAY_RECEIVED,
        MORE_CREDIT when next_message() may have data to send that had no credit before,
        PROOF_RECEIVED when ``proved`` or ``proof_wrong`` was set, and SILENCE when ``silent`` has
        changed."""
        cdef unsigned int flags = self.flags
        self.flags = 0
        return flags

    # -- receiving -------------------------------------------------------------------------------

    cpdef int receive(self, bytes message, double now) except -1:
        """Take in one message. ``now`` in seconds.

        Raises ProtocolError when the other side broke the rules, SessionClosed when it ended the
        session with an error, and AccessDenied; next_message() then gives the last message to send,
        if any.
        """
        if PyBytes_GET_SIZE(message) == 0 and self.error is None:
            self.fail(FRAME_ENCODING_ERROR, "a message without frames")
        return self.receive_frames(message, None, now)

    cpdef int receive_parts(self, bytes head, bytes body, double now) except -1:
        """Take in one message that was cut in two where SPLITTER said; ``body`` is not copied.

        Raises as receive().
        """
        return self.receive_frames(head, body, now)

    cdef int receive_frames(self, bytes message, bytes body, double now) except -1:
        cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(message)
        cdef const uint8_t *end = at + PyBytes_GET_SIZE(message)
        cdef uint64_t kind = 0, length = 0
        cdef int64_t rest
        if self.error is not None:
            return 0
        self.heard(now)
        while at < end:
            at = get_varint(at, end, &kind)
            if at != NULL:
                at = get_varint(at, end, &length)
            if at == NULL:
                self.fail(FRAME_ENCODING_ERROR, "a frame runs past the end of its message")
            if length > <uint64_t> (end - at):
                rest = length - <uint64_t> (end - at)
                if body is None or rest > PyBytes_GET_SIZE(body) or kind & ~1 != STREAM:
                    self.fail(FRAME_ENCODING_ERROR, "a frame runs past the end of its message")
                if rest == PyBytes_GET_SIZE(body):
                    return self.on_stream(at, end, body, kind == STREAM_FIN)
                # Other frames follow its data.
                self.on_stream(at, end, body[:rest], kind == STREAM_FIN)
                return self.receive_frames(body[rest:], None, now)
            self.on_frame(kind, at, at + length, now)
            at += length
        if body is not None:
            return self.receive_frames(body, None, now)
        return 0

    def violation(self, str reason):
        """End the session because of something below the frames (a text message, say).

        Raises ProtocolError.
        """
        self.fail(PROTOCOL_VIOLATION, reason)

    cdef int on_frame(
        self, uint64_t kind, const uint8_t *at, const uint8_t *end, double now
    ) except -1:
        cdef uint64_t a = 0, b = 0, c = 0
        cdef EngineStream stream
        cdef int fields
        if kind == STREAM or kind == STREAM_FIN:
            return self.on_stream(at, end, None, kind == STREAM_FIN)
        if kind == PING or kind == PONG:
            if end - at != 8:
                self.fail(FRAME_ENCODING_ERROR, "PING and PONG carry 8 bytes")
            if kind == PING:
                if len(self.pongs) >= self.settings.pings:
                    self.fail(EXCESSIVE_LOAD, "PINGs come faster than they can be answered")
                self.pongs.append(PyBytes_FromStringAndSize(<const char *> at, 8))
            else:
                self.liveness.answered(PyBytes_FromStringAndSize(<const char *> at, 8), now)
            return 0
        if kind == SETTINGS:
            return self.on_settings(at, end)
        if kind == GOAWAY:
            return self.on_goaway(at, end)
        if kind == ACCESS:
            return self.on_access(at, end)
        if kind == PAKE:
            return self.on_share(at, end)
        if kind == MAX_DATA or kind == MAX_STREAMS:
            fields = 1
        elif kind == MAX_STREAM_DATA or kind == STOP_SENDING:
            fields = 2
        elif kind == RESET_STREAM:
            fields = 3
        else:
            return 0  # Unknown types are skipped, so that the protocol can grow.
        at = get_varint(at, end, &a)
        if at != NULL and fields > 1:
            at = get_varint(at, end, &b)
        if at != NULL and fields > 2:
            at = get_varint(at, end, &c)
        if at != end:
            self.fail(FRAME_ENCODING_ERROR, f"a frame of type {kind:#x} of the wrong length")
        if kind == MAX_DATA:
            return self.raise_session_limit(a)
        if kind == MAX_STREAMS:
            if <int64_t> a > STREAMS_MAX:
                self.fail(FRAME_ENCODING_ERROR, "MAX_STREAMS above 2^60")
            if <int64_t> a > self.open_limit:
                self.open_limit = a
                self.flags |= MORE_STREAMS
            return 0
        stream = self.find(a)
        if stream is None:
            return 0
        if kind == MAX_STREAM_DATA:
            return self.raise_stream_limit(stream, b)
        if kind == STOP_SENDING:
            if not stream.fin_sent and not stream.reset_sent:
                stream.stopped_code = b
                stream.reset(b)
                stream.mark(_STOPPED)
            return 0
        return self.on_reset(stream, b, c)

    cdef int on_stream(self, const uint8_t *at, const uint8_t *end, bytes data, bint fin) except -1:
        """A STREAM frame; its data is ``data``, or what stands behind its fields."""
        cdef uint64_t stream_id = 0, first = 0
        cdef int64_t offset, last
        cdef Py_ssize_t length
        cdef EngineStream stream
        at = get_varint(at, end, &stream_id)
        if at != NULL:
            at = get_varint(at, end, &first)
        if at == NULL or data is not None and at != end:
            self.fail(FRAME_ENCODING_ERROR, "a STREAM frame without id and offset")
        length = end - at if data is None else PyBytes_GET_SIZE(data)
        offset = first
        last = offset + length
        if last > VARINT_MAX:
            self.fail(FRAME_ENCODING_ERROR, "a stream longer than 2^62 bytes")
        stream = self.find(stream_id)
        if stream is None:
            return 0
        if stream.final_size >= 0:
            if last > stream.final_size or fin and last != stream.final_size:
                self.fail(
                    FINAL_SIZE_ERROR, f"stream {stream_id}: data past its end, or another end"
                )
        elif fin and last < stream.highest:
            self.fail(FINAL_SIZE_ERROR, f"stream {stream_id}: an end before data that has come")
        if last > stream.highest:
            self.count_highest(stream, last)
        if stream.reset_received:
            return 0
        if fin:
            stream.final_size = last
            stream.owes_credit = False
        if stream.stop_sent:
            stream.drop_unread()
            return stream.settle()
        if length:
            if offset < stream.assembler.received:
                self.fail(PROTOCOL_VIOLATION, f"stream {stream_id}: bytes sent twice")
            if data is None:
                data = PyBytes_FromStringAndSize(<const char *> at, length)
                self.copied_in += length
            stream.take_piece(data, offset)
        if fin or length == 0:
            stream.mark(_READABLE)
        if fin and stream.consumed == last:
            stream.settle()
        return 0

    cdef int count_highest(self, EngineStream stream, int64_t last) except -1:
        """RFC 9000 §4.1: both limits count the highest offset, not what has arrived."""
        if last > stream.receive_limit:
            self.fail(FLOW_CONTROL_ERROR, f"stream {stream.id}: more data than was granted")
        self.highest += last - stream.highest
        if self.highest > self.receive_limit:
            self.fail(FLOW_CONTROL_ERROR, "more data than was granted to the session")
        stream.highest = last
        return 0

    cdef int consume(self, int64_t length) except -1:
        self.consumed += length
        if (self.consumed + self.window.size - self.receive_limit) * 2 >= self.window.size:
            self.owes_data_credit = True
        return 0

    cdef int on_reset(self, EngineStream stream, int64_t code, int64_t final_size) except -1:
        if final_size < stream.highest or 0 <= stream.final_size != final_size:
            self.fail(FINAL_SIZE_ERROR, f"stream {stream.id}: RESET_STREAM moves its end")
        if final_size > stream.highest:
            self.count_highest(stream, final_size)
        if stream.reset_received or (
            stream.final_size >= 0 and stream.assembler.received == stream.final_size
        ):
            return 0  # RFC 9000 §3.2: everything has arrived; the reset changes nothing.
        stream.final_size = final_size
        stream.owes_stop = False
        stream.drop_unread()
        if not stream.stop_sent:
            stream.reset_received = True
            stream.reset_code = code
            stream.mark(_READABLE | _RESET)
        return stream.settle()

    cdef int raise_stream_limit(self, EngineStream stream, int64_t limit) except -1:
        if limit > stream.send_limit:
            stream.send_limit = limit
            if not stream.scheduled:
                stream.schedule()
                if stream.scheduled:
                    self.flags |= MORE_CREDIT
        return 0

    cdef int raise_session_limit(self, int64_t limit) except -1:
        if limit > self.send_limit:
            self.send_limit = limit
            if self.scheduler.busy:
                self.flags |= MORE_CREDIT
        return 0

    cdef int on_settings(self, const uint8_t *at, const uint8_t *end) except -1:
        cdef uint64_t name = 0, value = 0
        cdef EngineStream stream
        if self.settings_received:
            self.fail(SETTINGS_ERROR, "SETTINGS twice")
        self.settings_received = True
        seen = set()
        while at != end:
            at = get_varint(at, end, &name)
            if at != NULL:
                at = get_varint(at, end, &value)
            if at == NULL:
                self.fail(FRAME_ENCODING_ERROR, "SETTINGS ends inside a setting")
            if name in seen:
                self.fail(SETTINGS_ERROR, f"setting {name} twice")
            seen.add(name)
            if name == INITIAL_MAX_DATA:
                if value < DEFAULT_MAX_DATA:
                    self.fail(SETTINGS_ERROR, "INITIAL_MAX_DATA below its default")
                self.raise_session_limit(value)
            elif name == INITIAL_MAX_STREAM_DATA:
                if value < DEFAULT_MAX_STREAM_DATA:
                    self.fail(SETTINGS_ERROR, "INITIAL_MAX_STREAM_DATA below its default")
                self.peer_stream_limit = value
                for stream in self.streams.values():
                    self.raise_stream_limit(stream, value)
            elif name == INITIAL_MAX_STREAMS:
                if value < DEFAULT_MAX_STREAMS or <int64_t> value > STREAMS_MAX:
                    self.fail(SETTINGS_ERROR, "INITIAL_MAX_STREAMS below its default or above 2^60")
                if <int64_t> value > self.open_limit:
                    self.open_limit = value
                    self.flags |= MORE_STREAMS
            elif name == RESUME_TIMEOUT and self.liveness.resumes:
                self.liveness.patience = min(<double> self.settings.resume_timeout, value / 1000.0)
            if len(seen) > 64:
                self.fail(EXCESSIVE_LOAD, "SETTINGS of more than 64 settings")
        return 0

    cdef int on_access(self, const uint8_t *at, const uint8_t *end) except -1:
        if end - at != <Py_ssize_t> PROOF_LENGTH:
            self.fail(FRAME_ENCODING_ERROR, f"ACCESS carries {PROOF_LENGTH} bytes")
        if self.access_received:
            # A peer that guesses wrong has to connect anew to guess again.
            self.fail(PROTOCOL_VIOLATION, "ACCESS twice")
        self.access_received = True
        if self.access is None:
            return 0
        if self.access.admits((<const char *> at)[: end - at]):
            self.proved = True
            self.owes_access = not self.opener
            self.flags |= PROOF_RECEIVED | MORE_STREAMS
        elif self.opener:
            self.deny(
                f"the other side does not know the {self.access.called}, or somebody stands between"
            )
        else:
            # The user of this class ends the session, and does not hurry.
            self.proof_wrong = True
            self.flags |= PROOF_RECEIVED
        return 0

    cdef int on_share(self, const uint8_t *at, const uint8_t *end) except -1:
        if end - at != <Py_ssize_t> SHARE_LENGTH:
            self.fail(FRAME_ENCODING_ERROR, f"PAKE carries {SHARE_LENGTH} bytes")
        if self.share_received:
            # Each share costs two multiplications on the curve.
            self.fail(PROTOCOL_VIOLATION, "PAKE twice")
        self.share_received = True
        if self.access is None or self.access.share is None or self.access_received:
            return 0
        try:
            self.access.take_share((<const char *> at)[: end - at])
        except AccessDenied as error:
            self.deny(str(error))
        if self.opener:
            self.owes_access = True
        else:
            self.owes_share = True
        return 0

    cdef int deny(self, str reason) except -1:
        """The other side did not prove that it knows the token: end the session and raise."""
        self.abort(ACCESS_DENIED, reason)
        self.error = AccessDenied(f"no access: {reason}", ACCESS_DENIED)
        raise self.error

    cdef int on_goaway(self, const uint8_t *at, const uint8_t *end) except -1:
        cdef uint64_t limit = 0, code = 0
        cdef EngineStream stream
        at = get_varint(at, end, &limit)
        if at != NULL:
            at = get_varint(at, end, &code)
        if at == NULL or end - at > GOAWAY_REASON:
            self.fail(FRAME_ENCODING_ERROR, "a GOAWAY frame of the wrong length")
        if code != NO_ERROR:
            reason = (<const char *> at)[: end - at].decode("utf-8", "replace")
            if code == ACCESS_DENIED:
                self.error = AccessDenied(f"the other side refuses access: {reason}", code)
            else:
                self.error = SessionClosed(
                    f"the other side ended the session: {reason} (code {code:#x})", code
                )
            raise self.error
        if <int64_t> limit > self.peer_limit:
            self.fail(PROTOCOL_VIOLATION, "GOAWAY raises its limit")
        if self.goaway_received and <int64_t> limit == self.peer_limit:
            return 0  # Nothing new, however often it is said.
        self.peer_limit = limit
        self.goaway_received = True
        self.flags |= GOAWAY_RECEIVED
        for stream in list(self.streams.values()):
            if stream.id >= self.peer_limit and (stream.id & 1) == (0 if self.opener else 1):
                # Not processed at all: as if the other side had reset it at once. Our own end of it
                # is still told, so that the other side knows how much was under way.
                stream.reset(REQUEST_REJECTED)
                stream.owes_stop = False
                stream.drop_unread()
                stream.final_size = stream.highest
                if not stream.stop_sent:
                    stream.reset_received = True
                    stream.reset_code = REQUEST_REJECTED
                stream.stopped_code = REQUEST_REJECTED
                stream.mark(_READABLE | _STOPPED | _RESET)
                stream.settle()
        return 0

    # -- sending ---------------------------------------------------------------------------------

    cpdef object next_message(self, double now, bint in_parts=False):
        """The next message (bytes) for the channel, or None when nothing may be sent now.

        :param now: the time in seconds: credit that leaves now may come with a larger window.
        :param in_parts: give a message that ends with much data as a tuple (head, body, start,
            length): it is ``head + body[start:start+length]``, where ``body`` is what the writer
            wrote, not copied.
        """
        cdef EngineStream stream, small = None
        cdef Outgoing outgoing
        cdef Py_ssize_t room, length, header, total
        cdef uint8_t head[32]
        cdef uint8_t *target
        cdef bint fin, mixed = False
        cdef object message
        self.used = 0
        self.write_control(PACKET, now)
        if self.error is None:
            while self.scheduler.busy and self.send_limit > self.sent and self.used < PACKET:
                stream = <EngineStream> self.scheduler.head()
                outgoing = stream.outgoing
                room = min(
                    self.chunk, min(self.send_limit - self.sent, stream.send_limit - stream.sent)
                )
                length = outgoing.next_length(min(room, outgoing.length))
                fin = stream.fin_wanted and length == outgoing.length
                if self.used + STREAM_OVERHEAD + length <= PACKET:
                    self.used += self.stream_header(self.scratch + self.used, stream, length, fin)
                    outgoing.copy(self.scratch + self.used, length)
                    self.copied_out += length
                    self.used += length
                    mixed = mixed or small is not None and small is not stream
                    small = stream
                    self.sent_chunk(stream, length, fin)
                    continue
                if mixed or small is not None and small is not stream:
                    break  # Several small answers leave at once; the large chunk comes after them.
                header = self.stream_header(head, stream, length, fin)
                if in_parts and outgoing.head_left() >= length:
                    memcpy(self.scratch + self.used, head, header)
                    message = (
                        PyBytes_FromStringAndSize(<const char *> self.scratch, self.used + header),
                        outgoing.head(),
                        outgoing.offset,
                        length,
                    )
                    outgoing.skip(length)
                    self.sent_chunk(stream, length, fin)
                    return message
                total = self.used + header + length
                message = PyBytes_FromStringAndSize(NULL, total)
                target = <uint8_t *> PyBytes_AS_STRING(message)
                memcpy(target, self.scratch, self.used)
                memcpy(target + self.used, head, header)
                outgoing.copy(target + self.used + header, length)
                self.copied_out += length
                self.sent_chunk(stream, length, fin)
                return message
        if self.used == 0:
            return None
        return PyBytes_FromStringAndSize(<const char *> self.scratch, self.used)

    cdef int sent_chunk(self, EngineStream stream, Py_ssize_t length, bint fin) except -1:
        cdef int64_t low = <int64_t> self.settings.send_buffer // 2
        cdef int64_t unsent = stream.outgoing.length
        stream.sent_bytes(length)
        self.scheduler.advance(stream, unsent > 0 and stream.send_limit > stream.sent)
        if unsent <= low < unsent + length:
            stream.mark(_WRITABLE)
        if fin:
            stream.fin_sent = True
            stream.settle()
        return 0

    cdef Py_ssize_t stream_header(
        self, uint8_t *target, EngineStream stream, Py_ssize_t length, bint fin
    ) noexcept:
        cdef uint8_t *at = target
        at[0] = STREAM_FIN if fin else STREAM
        at = put_varint(at + 1, varint_size(stream.id) + varint_size(stream.sent) + length)
        at = put_varint(at, stream.id)
        return put_varint(at, stream.sent) - target

    cdef int put(self, uint64_t value) except -1:
        self.used = put_varint(self.scratch + self.used, value) - self.scratch
        return 0

    cdef int put_frame(
        self, uint64_t kind, int count, uint64_t a, uint64_t b, uint64_t c
    ) except -1:
        """Append a frame of ``count`` varint fields to the scratch buffer."""
        cdef Py_ssize_t length = varint_size(a)
        if count > 1:
            length += varint_size(b)
        if count > 2:
            length += varint_size(c)
        self.put(kind)
        self.put(length)
        self.put(a)
        if count > 1:
            self.put(b)
        if count > 2:
            self.put(c)
        return 0

    cdef int write_control(self, Py_ssize_t capacity, double now) except -1:
        """Owed control frames, into the scratch buffer while it holds less than ``capacity``."""
        cdef EngineStream stream
        cdef Py_ssize_t taken = 0
        if not self.settings_sent:
            self.settings_sent = True
            self.put_bytes(SETTINGS, self.announced())
        if self.owes_share:
            self.owes_share = False
            self.put_bytes(PAKE, self.access.share)
        if self.owes_access:
            self.owes_access = False
            self.put_bytes(ACCESS, self.access.proof)
        if self.owes_goaway:
            self.owes_goaway = False
            self.put_bytes(
                GOAWAY, varint(self.goaway_limit) + varint(self.goaway_code) + self.goaway_reason
            )
        if self.error is not None:
            return 0
        while self.pongs and self.used < capacity:
            self.put_bytes(PONG, self.pongs.pop())
        if self.owes_data_credit:
            self.owes_data_credit = False
            self.grow(&self.window, self.highest, self.window_most, now)
            self.receive_limit = self.consumed + self.window.size
            self.put_frame(MAX_DATA, 1, self.receive_limit, 0, 0)
        if self.owes_stream_credit:
            self.owes_stream_credit = False
            self.accept_limit = self.accepted_closed + <int64_t> self.settings.max_streams
            self.put_frame(MAX_STREAMS, 1, self.accept_limit, 0, 0)
        while taken < len(self.control) and self.used < capacity:
            stream = <EngineStream> self.control[taken]
            taken += 1
            stream.control = False
            self.write_stream_control(stream, now)
            stream.settle()
        if taken:
            del self.control[:taken]
        if self.liveness.owed is not None:
            self.put_bytes(PING, self.liveness.owed)
            self.liveness.owed = None
        return 0

    cdef int write_stream_control(self, EngineStream stream, double now) except -1:
        cdef int64_t least
        if stream.owes_reset:
            stream.owes_reset = False
            self.put_frame(RESET_STREAM, 3, stream.id, max(stream.reset_code, 0), stream.sent)
        if stream.owes_fin:
            stream.owes_fin = False
            if stream.outgoing.length == 0:
                self.used += self.stream_header(self.scratch + self.used, stream, 0, True)
                stream.fin_sent = True
        if stream.owes_stop:
            stream.owes_stop = False
            self.put_frame(STOP_SENDING, 2, stream.id, stream.stop_code, 0)
        if stream.owes_credit:
            stream.owes_credit = False
            self.grow(&stream.window, stream.highest, self.stream_window_most, now)
            stream.receive_limit = stream.consumed + stream.window.size
            self.put_frame(MAX_STREAM_DATA, 2, stream.id, stream.receive_limit, 0)
            least = min(SHARE * stream.window.size, self.window_most)
            if self.window.size < least:
                self.window.size = least
                self.consume(0)
        return 0

    cdef int grow(self, Window *window, int64_t highest, int64_t most, double now) except -1:
        """Credit is about to be granted for ``window``, of which ``highest`` bytes have come:
        double its size, up to ``most``, if half of it was used in less than two round trips, so
        that the other side may have waited for credit.

        By answering PINGs late the other side can have it grow sooner, but not beyond ``most``.
        Data must have come since the last grant: a reader that takes in gulps what waits for it
        needs no larger window.
        """
        if (
            now - window.granted < 2 * self.liveness.rtt
            and highest - window.highest >= window.size // 4
        ):
            window.size = min(2 * window.size, most)
        window.granted = now
        window.highest = highest
        if window.size < most and self.liveness.asked_at < 0 and now >= self.liveness.next_probe:
            self.liveness.ask(now)
        return 0

    cdef int put_bytes(self, uint64_t kind, bytes body) except -1:
        cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
        self.put(kind)
        self.put(length)
        memcpy(self.scratch + self.used, PyBytes_AS_STRING(body), length)
        self.used += length
        return 0

    # -- life and end ----------------------------------------------------------------------------

    cdef bytes announced(self):
        """The body of our SETTINGS."""
        cdef list pairs = [
            (INITIAL_MAX_DATA, self.window.size),
            (INITIAL_MAX_STREAM_DATA, self.stream_window),
            (INITIAL_MAX_STREAMS, self.settings.max_streams),
        ]
        if self.liveness.resumes and self.settings.resume_timeout > 0:
            pairs.append((RESUME_TIMEOUT, round(1000 * self.settings.resume_timeout)))
        return b"".join([varint(name) + varint(value) for name, value in pairs])

    cpdef int heard(self, double now) except -1:
        """The other side gave a sign of life below the frames (it acknowledged data, say)."""
        if self.liveness.heard(now):
            self.flags |= SILENCE
        return 0

    def deadline(self):
        """The time (seconds) at which handle_timeout() is due; None after an error."""
        if self.error is not None:
            return None
        cdef double due = self.liveness.deadline(bool(self.streams), self.ending())
        if not self.settings_received and self.settings_deadline < due:
            due = self.settings_deadline
        if not self.proved and self.access_deadline < due:
            due = self.access_deadline
        return due

    def handle_timeout(self, double now):
        """Do what is due at ``now``.

        Raises PeerUnresponsive when a PING found no answer in time, ProtocolError when SETTINGS did
        not come, AccessDenied when the proof of the access token did not.
        """
        if self.error is not None:
            return
        if not self.settings_received and now >= self.settings_deadline:
            self.fail(SETTINGS_ERROR, "no SETTINGS in time")
        if not self.proved and now >= self.access_deadline:
            self.deny(
                f"no proof of the {self.access.called} came in time: has the other side the same?"
            )
        try:
            if self.liveness.handle_timeout(now, bool(self.streams), self.ending()):
                self.flags |= SILENCE
        except PeerUnresponsive as error:
            self.error = error
            raise

    def goaway(self):
        """Begin an orderly end: streams that the other side opens from now on are not processed."""
        if self.goaway_sent or self.error is not None:
            return
        self.goaway_sent = self.owes_goaway = True
        self.limit_goaway()

    cdef int limit_goaway(self) except -1:
        # Accepted streams may have been acted upon: only later ones are certainly not processed.
        self.goaway_limit = min(self.goaway_limit, self.accepted * 2 + (1 if self.opener else 0))
        return 0

    @property
    def finished(self):
        """Whether the session has come to its orderly end on both sides, last message included."""
        return (
            self.goaway_sent
            and self.goaway_received
            and not self.owes_goaway
            and not self.streams
            and not self.control
        )

    def abort(self, int64_t code, str reason):
        """End the session at once, and tell the other side ``code`` (docs/protocol.md, 6)."""
        if self.error is None:
            self.error = SessionClosed(
                f"this side ended the session: {reason} (code {code:#x})", code
            )
            self.owes_goaway = self.goaway_sent = True
            self.goaway_code = code
            self.limit_goaway()
            self.goaway_reason = reason.encode()[:GOAWAY_REASON]

    cdef int fail(self, int64_t code, str reason) except -1:
        """The other side broke a rule: end the session and raise ProtocolError."""
        self.abort(code, reason)
        self.error = ProtocolError(
            code, f"the other side broke the protocol: {reason} (code {code:#x})"
        )
        raise self.error

    def detach(self, error not None):
        """Let go of all streams after the end. What arrived in order can still be read; then, and
        on every write, ``error`` is raised. Returns the streams."""
        cdef EngineStream stream
        cdef list streams = list(self.streams.values())
        if self.error is None:
            self.error = error
        for stream in streams:
            stream.drop_unsent()
            stream.lost = error
            stream.engine = None
        self.streams.clear()
        self.control.clear()
        self.dirty.clear()
        return streams

    @property
    def owes(self):
        """Whether next_message() has control frames to send."""
        return (
            bool(self.control) or self.owes_data_credit or self.owes_stream_credit
            or self.owes_goaway or self.owes_access or self.owes_share or bool(self.pongs)
            or self.liveness.owed is not None or not self.settings_sent
        )
