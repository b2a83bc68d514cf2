"""The order of streams: messages wait for those before them on a stream (RFC 9260 §6.6)."""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, realloc

from peerfetch_fast.webrtc._sctp.packet cimport after
from peerfetch_fast.webrtc._sctp.receiving.fault cimport SOUND, TOO_MANY_STREAMS, Fault
from peerfetch_fast.webrtc._sctp.receiving.tracker cimport Tracker

cdef enum:
    FIRST_HEAP = 4              # messages
    STREAMS = 65536             # that ids can name
    PAGE = 256                  # streams


cdef inline bint _before(const Held* a, const Held* b) noexcept nogil:
    """By sequence number (RFC 1982), and where one was used twice by TSN. All numbers that wait on
    a stream are within half of their space."""
    if a.sequence != b.sequence:
        return <uint16_t>(b.sequence - a.sequence) < 0x8000
    return after(b.tsn, a.tsn)


cdef class MessageSink:
    """Takes whole messages in the order in which the streams allow them."""

    cdef size_t split(
        self, uint16_t stream, uint32_t protocol, const uint8_t* data, size_t length
    ) noexcept:
        """Of an unordered message in several fragments that begins with *data*: how many bytes to
        deliver apart, as its head; 0: none."""
        return 0

    cdef int deliver(
        self, uint16_t stream, uint32_t protocol, bytes head, bytes message
    ) except -1:
        raise NotImplementedError

    cdef bint is_open(self, uint16_t stream) noexcept:
        """Whether anybody waits for messages on the stream."""
        return True

    cdef int out_of_sequence(self, uint16_t stream) except -1:
        """An ordered message came whose turn never comes; it was dropped."""
        return 0


cdef class Ordering:
    """The peer's streams, and the messages that wait on them.

    :param sink: takes the messages in their order.
    :param max_streams: streams that may have sent something; beyond these, streams without a
        channel are forgotten.
    :ivar held: bytes of memory held for messages that wait.
    """

    def __cinit__(self, MessageSink sink not None, Tracker tracker not None, uint32_t max_streams):
        self.sink = sink
        self.tracker = tracker
        self.max_streams = max_streams
        self.pages = <InboundStream***>calloc(STREAMS // PAGE, sizeof(InboundStream**))
        if self.pages == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.reset_streams()
        free(self.pages)

    # Messages

    cdef Fault take(
        self, uint32_t tsn, uint16_t stream, uint16_t sequence, uint32_t protocol, bint unordered,
        bytes head, bytes message
    ) except *:
        """A message is whole, with the TSN *tsn* at its end."""
        cdef InboundStream* state
        cdef uint16_t ahead
        if unordered:
            self.sink.deliver(stream, protocol, head, message)
            return SOUND
        state = self._stream(stream)
        if state == NULL:
            return TOO_MANY_STREAMS
        ahead = sequence - state.expected
        if ahead == 0:
            state.expected += 1
            state.tsn = tsn
            state.sequence = sequence
            state.begun = True
            self.sink.deliver(stream, protocol, None, message)
            if state.count:
                self._release(stream, state)
            return SOUND
        if ahead >= 0x8000 or not after(tsn, self.tracker.cumulative):
            # Its number was used before, or everything that was sent before it has come and does
            # not have the number that is missing. The channel ends and not the association: aiortc
            # 1.9 goes on with its old numbers for a round trip after it has reset a stream.
            self.sink.out_of_sequence(stream)
            return SOUND
        self._hold(state, tsn, sequence, protocol, message)
        return SOUND

    cdef Fault forward(self, uint16_t stream, uint16_t sequence) except *:
        """The peer has given up messages up to the number *sequence* (RFC 3758 §3.6)."""
        cdef uint16_t expected = sequence + 1
        cdef InboundStream* state = self._stream(stream)
        if state == NULL:
            return TOO_MANY_STREAMS
        if <uint16_t>(expected - state.expected) < 0x8000:
            state.expected = expected
            self._release(stream, state)
        return SOUND

    # Messages that wait for their turn are in a binary heap for each stream: in whatever order
    # their numbers come, one more costs the logarithm of their count.

    cdef int _hold(
        self, InboundStream* state, uint32_t tsn, uint16_t sequence, uint32_t protocol,
        bytes message
    ) except -1:
        cdef Held held
        cdef uint32_t at = state.count, parent, capacity
        cdef Held* heap
        if at == state.capacity:
            capacity = 2 * at if at else FIRST_HEAP
            heap = <Held*>realloc(state.heap, capacity * sizeof(Held))
            if heap == NULL:
                raise MemoryError
            state.heap = heap
            state.capacity = capacity
        Py_INCREF(message)
        held.message = <PyObject*>message
        held.protocol = protocol
        held.tsn = tsn
        held.sequence = sequence
        if at == 0:
            self._link_waiting(state)
        state.count += 1
        self.held += OVERHEAD + PyBytes_GET_SIZE(message)
        while at:
            parent = (at - 1) // 2
            if not _before(&held, state.heap + parent):
                break
            state.heap[at] = state.heap[parent]
            at = parent
        state.heap[at] = held
        return 0

    cdef Held _take_first(self, InboundStream* state) noexcept:
        """The first of those that wait; the caller owns its message."""
        cdef Held* heap = state.heap
        cdef Held first = heap[0]
        cdef Held* last
        cdef uint32_t at = 0, child
        state.count -= 1
        last = heap + state.count
        while True:
            child = 2 * at + 1
            if child >= state.count:
                break
            if child + 1 < state.count and _before(heap + child + 1, heap + child):
                child += 1
            if not _before(heap + child, last):
                break
            heap[at] = heap[child]
            at = child
        heap[at] = last[0]
        self.held -= OVERHEAD + PyBytes_GET_SIZE(<object>first.message)
        if state.count == 0:
            self._unlink_waiting(state)
            free(state.heap)
            state.heap = NULL
            state.capacity = 0
        return first

    cdef int _release(self, uint16_t stream, InboundStream* state) except -1:
        """Deliver what waited for its turn and has it now."""
        cdef Held held
        cdef bytes message
        # A sequence number behind the expected one is a whole message that a FORWARD TSN passed.
        while state.count and (
            <uint16_t>(state.expected - state.heap[0].sequence) < 0x8000
        ):
            held = self._take_first(state)
            message = <bytes><object>held.message
            Py_DECREF(message)
            if state.begun:
                if not after(held.tsn, state.tsn):
                    # It was sent before what had its turn: a leftover of before a reset.
                    continue
                if held.sequence == state.sequence:
                    # A number used twice.
                    self.sink.out_of_sequence(stream)
                    continue
            if held.sequence == state.expected:
                state.expected += 1
            state.tsn = held.tsn
            state.sequence = held.sequence
            state.begun = True
            self.sink.deliver(stream, held.protocol, None, message)
        return 0

    cdef void _drop_held(self, InboundStream* state) noexcept:
        cdef Held held
        while state.count:
            held = self._take_first(state)
            Py_DECREF(<object>held.message)

    cdef int _drop_waiting(self) except -1:
        """Nothing is missing any more: what still waits does so for numbers that were left out."""
        cdef uint16_t stream
        while self.waiting != NULL:
            stream = self.waiting.id
            self._drop_held(self.waiting)
            self.sink.out_of_sequence(stream)
        return 0

    cdef void _link_waiting(self, InboundStream* state) noexcept:
        state.previous = NULL
        state.next = self.waiting
        if self.waiting != NULL:
            self.waiting.previous = state
        self.waiting = state

    cdef void _unlink_waiting(self, InboundStream* state) noexcept:
        if state.previous == NULL:
            self.waiting = state.next
        else:
            state.previous.next = state.next
        if state.next != NULL:
            state.next.previous = state.previous

    # Streams

    cdef InboundStream* _find_stream(self, uint16_t stream) noexcept:
        cdef InboundStream** page = self.pages[stream // PAGE]
        return NULL if page == NULL else page[stream % PAGE]

    cdef InboundStream* _stream(self, uint16_t stream) except? NULL:
        """The state of a stream, new if there is none yet; NULL: there are too many."""
        cdef InboundStream** page = self.pages[stream // PAGE]
        cdef InboundStream* state
        if page == NULL:
            page = <InboundStream**>calloc(PAGE, sizeof(InboundStream*))
            if page == NULL:
                raise MemoryError
            self.pages[stream // PAGE] = page
        state = page[stream % PAGE]
        if state == NULL:
            if self.live_streams >= self.max_streams and not self._forget_streams():
                return NULL
            state = <InboundStream*>calloc(1, sizeof(InboundStream))
            if state == NULL:
                raise MemoryError
            state.id = stream
            page[stream % PAGE] = state
            self.live_streams += 1
        return state

    cdef bint _forget_streams(self) noexcept:
        """Let go of streams on which nothing waits and no channel is; whether there were any."""
        cdef InboundStream* state
        cdef uint32_t before = self.live_streams
        cdef int page, index
        for page in range(STREAMS // PAGE):
            if self.pages[page] == NULL:
                continue
            for index in range(PAGE):
                state = self.pages[page][index]
                if state != NULL and state.count == 0 and not self.sink.is_open(state.id):
                    self.reset_stream(state.id)
        return self.live_streams < before

    cdef void reset_stream(self, uint16_t stream) noexcept:
        """The peer starts the stream's sequence numbers again (RFC 6525 §5.2.2)."""
        cdef InboundStream* state = self._find_stream(stream)
        if state != NULL:
            self._drop_held(state)
            free(state)
            self.pages[stream // PAGE][stream % PAGE] = NULL
            self.live_streams -= 1

    cdef void reset_streams(self) noexcept:
        """The same for every stream."""
        cdef int page, index
        if self.pages == NULL or self.live_streams == 0:
            return
        for page in range(STREAMS // PAGE):
            if self.pages[page] == NULL:
                continue
            for index in range(PAGE):
                if self.pages[page][index] != NULL:
                    self._drop_held(self.pages[page][index])
                    free(self.pages[page][index])
            free(self.pages[page])
            self.pages[page] = NULL
        self.live_streams = 0
