"""The receiving half: which TSNs have come, messages put together again, SACKs.

**Copies.** A message that fits one packet is copied once, from the packet into its bytes object. The
fragments of a larger one are copied, as they come in order, straight into the bytes object that will
be delivered: it is as large as the last message was, grows by doubling and is cut to size at the end.
Fragments beyond a hole gather in buffers of their own, one per unbroken run, and are copied a second
time when the hole closes: never more than twice.

**Bounds.** Everything held for a later delivery counts against the receive window with its overhead.
A chunk beyond a hole is taken only if it fits into the window; the next one in order always is, but
nothing is held for it besides the one message that it may be a fragment of. Of a message that is too
long nothing is held beyond the size at which it is cut, where it does not end the association. TSNs are tracked for
65,535 beyond the cumulative one, as far as a SACK can speak of them. Every chunk costs work of the
order of its own length, or of what was received and is let go of for it, which happens once.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport UINT16_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from peerfetch_fast.webrtc._sctp.packet cimport (
    BEGIN,
    DATA_HEADER,
    END,
    FORWARD_TSN_HEADER,
    IMMEDIATE,
    INVALID_STREAM,
    NO_USER_DATA,
    OUT_OF_RESOURCE,
    PROTOCOL_VIOLATION,
    SACK,
    SACK_HEADER,
    UNORDERED,
    Packet,
    after,
    claim,
    load16,
    load32,
    store16,
    store32,
)

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** object, Py_ssize_t size) except -1

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll"(unsigned long long value) noexcept nogil
    int count_leading_zeros "__builtin_clzll"(unsigned long long value) noexcept nogil

cdef enum:
    TRACKED = 65536             # TSNs, the cumulative one included
    # What a run or a held message costs besides its bytes: its struct, the header of a bytes
    # object and the allocator's rounding of both.
    OVERHEAD = 192
    FIRST_SLOTS = 256
    FIRST_HEAP = 4              # messages
    MAX_DUPLICATES = 32
    PAGE = 256                  # streams
    # RFC 9260 §6.2: a SACK for every second packet at the latest.
    PACKETS_PER_SACK = 2


cdef inline bint _before(const Held* a, const Held* b) noexcept nogil:
    """By sequence number (RFC 1982), and where one was used twice by TSN. All numbers that wait on a
    stream are within half of their space."""
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


cdef class Receiver:
    """What an association has received.

    Calls that read the peer's chunks return 0, or the error cause with which the association must
    be aborted; :attr:`violation` then says why.

    :ivar cumulative: the TSN up to which everything has come.
    :ivar held_bytes: memory held for messages that are not whole or not in turn.
    :ivar duplicates: TSNs received more than once.
    :ivar discarded: bytes of messages beyond the size at which these are cut.
    """

    def __cinit__(
        self, MessageSink sink, uint64_t window, uint32_t max_message_size, bint cut_messages,
        double sack_delay, uint32_t max_streams
    ):
        self.sink = sink
        self.max_streams = max_streams
        self.window = window
        self.max_message_size = max_message_size
        self.cut_messages = cut_messages
        self.sack_delay = sack_delay
        self.sack_deadline = INFINITY
        self.bitmap = <uint64_t*>calloc(TRACKED // 64, sizeof(uint64_t))
        self.pages = <InboundStream***>calloc(TRACKED // PAGE, sizeof(InboundStream**))
        self.slots = <Run**>calloc(FIRST_SLOTS, sizeof(Run*))
        self.slot_mask = FIRST_SLOTS - 1
        if self.bitmap == NULL or self.pages == NULL or self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.clear()
        free(self.bitmap)
        free(self.pages)
        free(self.slots)

    cdef void clear(self) noexcept:
        """Let go of everything held."""
        while self.runs != NULL:
            self._drop_run(self.runs)
        self.reset_streams()

    cdef int start(self, uint32_t initial_tsn, uint32_t stream_count) except -1:
        """The peer begins at *initial_tsn*, on streams below *stream_count*."""
        self.cumulative = self.highest = initial_tsn - 1
        self.stream_count = stream_count
        return 0

    # DATA

    cdef int on_data(self, const uint8_t* chunk, size_t length) except -1:
        """A DATA chunk, *length* bytes with its header and without padding."""
        cdef uint32_t tsn, ahead, size
        cdef uint8_t flags = chunk[1]
        cdef uint16_t stream
        cdef uint64_t* word
        cdef uint64_t bit
        cdef int cause
        if length <= DATA_HEADER:
            return self._violated(
                NO_USER_DATA if length == DATA_HEADER else PROTOCOL_VIOLATION,
                "a DATA chunk without data",
            )
        size = <uint32_t>length - DATA_HEADER
        tsn = load32(chunk + 4)
        stream = load16(chunk + 8)
        ahead = tsn - self.cumulative
        self.data_in_packet = True
        if flags & IMMEDIATE:
            self.urgent_in_packet = True
        word = self.bitmap + ((tsn & (TRACKED - 1)) >> 6)
        bit = <uint64_t>1 << (tsn & 63)
        if ahead - 1 >= TRACKED - 1:
            # Behind, or so far ahead that no SACK could name it.
            if ahead == 0 or ahead > 0x80000000u:
                self._duplicate(tsn)
            return 0
        if word[0] & bit:
            self._duplicate(tsn)
            return 0
        if stream >= self.stream_count:
            return self._violated(INVALID_STREAM, f"stream {stream} was not agreed on")
        # The next TSN is always taken, or a full window could never empty again.
        if ahead != 1 and self.held_bytes + size + OVERHEAD > self.window:
            self.urgent_in_packet = True
            return 0
        if ahead == 1 and self.highest == self.cumulative:
            self.cumulative = self.highest = tsn
        else:
            word[0] |= bit
            if after(tsn, self.highest):
                self.highest = tsn
            if ahead == 1:
                self._advance()
            self.urgent_in_packet = True
        cause = self._place(
            chunk + DATA_HEADER, size, tsn, stream, load16(chunk + 10), load32(chunk + 12), flags
        )
        if self.waiting != NULL and self.highest == self.cumulative:
            self._drop_waiting()
        return cause

    cdef void _duplicate(self, uint32_t tsn) noexcept:
        self.duplicates += 1
        self.urgent_in_packet = True
        if self.duplicate_count < MAX_DUPLICATES:
            self.duplicate_tsns[self.duplicate_count] = tsn
            self.duplicate_count += 1

    cdef void _advance(self) noexcept:
        cdef uint32_t tsn = self.cumulative + 1
        cdef uint64_t* word = self.bitmap + ((tsn & (TRACKED - 1)) >> 6)
        while word[0] & (<uint64_t>1 << (tsn & 63)):
            word[0] &= ~(<uint64_t>1 << (tsn & 63))
            tsn += 1
            word = self.bitmap + ((tsn & (TRACKED - 1)) >> 6)
        self.cumulative = tsn - 1

    cdef bint _received(self, uint32_t tsn) noexcept:
        if not after(tsn, self.cumulative):
            return True
        return not after(tsn, self.highest) and (
            self.bitmap[(tsn & (TRACKED - 1)) >> 6] >> (tsn & 63) & 1
        )

    cdef int _violated(self, int cause, str what) noexcept:
        self.violation = what
        return cause

    # Reassembly

    cdef int _place(
        self, const uint8_t* data, uint32_t length, uint32_t tsn, uint16_t stream,
        uint16_t sequence, uint32_t protocol, uint8_t flags
    ) except -1:
        cdef Run* run = NULL
        cdef Run* following = NULL
        cdef int cause
        if self.run_count:
            run = self._ending_at(tsn - 1)
            if run != NULL and run.flags & END:
                run = NULL
            if run != NULL and flags & BEGIN:
                # A message without an end, then another one. Only a sender that gave the first
                # one up may do that (RFC 3758 §3.6), and has said so.
                if not self.forwards:
                    return self._violated(PROTOCOL_VIOLATION, "a message without its end")
                self._drop_run(run)
                run = NULL
            following = self._starting_at(tsn + 1)
            if following != NULL and flags & END and not following.flags & BEGIN:
                if not self.forwards:
                    return self._violated(PROTOCOL_VIOLATION, "a message without its beginning")
                self._drop_run(following)
        if flags & (BEGIN | END) == (BEGIN | END):
            self.copied += length
            return self._complete(
                tsn, stream, sequence, protocol, flags & UNORDERED, None,
                PyBytes_FromStringAndSize(<const char*>data, length),
            )
        if not flags & END and following == NULL and self._received(tsn + 1):
            # Another message follows, whole.
            if not self.forwards:
                return self._violated(PROTOCOL_VIOLATION, "a message without its end")
            if run != NULL:
                self._drop_run(run)
            return 0
        if run != NULL:
            cause = self._continue_run(run, data, length, tsn, stream, sequence, flags)
            if cause:
                return cause
        else:
            if not flags & BEGIN and self._received(tsn - 1):
                # What came before it was no part of it.
                if self.forwards:
                    return 0
                return self._violated(PROTOCOL_VIOLATION, "a message without its beginning")
            run = self._begin_run(data, length, tsn, stream, sequence, protocol, flags)
        if not run.flags & BEGIN:
            run = self._ending_at(run.first - 1)
            if run == NULL or not run.flags & BEGIN:
                return 0
        return self._absorb(run)

    cdef int _continue_run(
        self, Run* run, const uint8_t* data, uint32_t length, uint32_t tsn, uint16_t stream,
        uint16_t sequence, uint8_t flags
    ) except -1:
        """A fragment right behind a run; 0, or the cause with which to abort."""
        if run.stream != stream or (run.flags ^ flags) & UNORDERED or (
            not flags & UNORDERED and run.sequence != sequence
        ):
            return self._violated(PROTOCOL_VIOLATION, "a fragment in another message's place")
        if run.length + length > self.max_message_size:
            if not self.cut_messages:
                return self._violated(OUT_OF_RESOURCE, "a message longer than we take")
            length = self._cut(run, length)
        self._append(run, data, length)
        self._extend(run, tsn, flags)
        return 0

    cdef Run* _begin_run(
        self, const uint8_t* data, uint32_t length, uint32_t tsn, uint16_t stream,
        uint16_t sequence, uint32_t protocol, uint8_t flags
    ) except NULL:
        """A run of one fragment."""
        cdef size_t apart
        cdef bytes head
        cdef Run* run = <Run*>malloc(sizeof(Run))
        if run == NULL:
            raise MemoryError
        memset(run, 0, sizeof(Run))
        run.first = run.last = tsn
        run.stream = stream
        run.sequence = sequence
        run.protocol = protocol
        run.flags = flags & (BEGIN | END | UNORDERED)
        run.next = self.runs
        if self.runs != NULL:
            self.runs.previous = run
        self.runs = run
        self.run_count += 1
        self.held_bytes += OVERHEAD
        if run.flags & (BEGIN | UNORDERED) == (BEGIN | UNORDERED):
            apart = self.sink.split(stream, protocol, data, length)
            if 0 < apart < length:
                head = PyBytes_FromStringAndSize(<const char*>data, apart)
                Py_INCREF(head)
                run.head = <PyObject*>head
                self.held_bytes += apart
                self.copied += apart
                data += apart
                length -= <uint32_t>apart
        # Only the run at the front may expect to become a whole message soon; there is never
        # more than one.
        run.capacity = 0
        self._reserve(
            run,
            self.length_hint
            if flags & BEGIN and not after(tsn, self.cumulative) and self.length_hint > length
            else length,
        )
        self._append(run, data, length)
        self._index(tsn, run)
        return run

    cdef int _absorb(self, Run* run) except -1:
        """Join a run that has its beginning with all that follow it; deliver it when it is whole."""
        cdef Run* following
        cdef bytes head = None
        cdef bytes message
        cdef uint32_t last, length
        cdef uint8_t flags
        while not run.flags & END:
            following = self._starting_at(run.last + 1)
            if following == NULL:
                return 0
            if following.flags & BEGIN:
                if not self.forwards:
                    return self._violated(PROTOCOL_VIOLATION, "a message without its end")
                self._drop_run(run)
                return 0
            if (
                following.stream != run.stream
                or (following.flags ^ run.flags) & UNORDERED
                or (not run.flags & UNORDERED and following.sequence != run.sequence)
            ):
                return self._violated(PROTOCOL_VIOLATION, "a fragment in another message's place")
            length = following.length
            if run.length + length > self.max_message_size:
                if not self.cut_messages:
                    return self._violated(OUT_OF_RESOURCE, "a message longer than we take")
                length = self._cut(run, length)
            self._append(
                run, <const uint8_t*>PyBytes_AS_STRING(<object>following.buffer), length
            )
            last = following.last
            flags = following.flags
            self._drop_run(following)
            self._extend(run, last, flags)
        self.length_hint = run.length
        if run.length != run.capacity:
            _PyBytes_Resize(&run.buffer, run.length)
        message = <bytes><object>run.buffer
        if run.head != NULL:
            head = <bytes><object>run.head
        cdef uint16_t stream = run.stream
        cdef uint16_t sequence = run.sequence
        cdef uint32_t protocol = run.protocol
        cdef bint unordered = run.flags & UNORDERED
        last = run.last
        self._drop_run(run)
        return self._complete(last, stream, sequence, protocol, unordered, head, message)

    cdef uint32_t _cut(self, Run* run, uint32_t length) noexcept:
        """Of *length* bytes more, so many as the run may still take; the rest is forgotten."""
        cdef uint32_t room = self.max_message_size - run.length
        self.discarded += length - room
        return room

    cdef int _reserve(self, Run* run, uint32_t capacity) except -1:
        if run.buffer == NULL:
            message = PyBytes_FromStringAndSize(NULL, capacity)
            Py_INCREF(message)
            run.buffer = <PyObject*>message
        else:
            _PyBytes_Resize(&run.buffer, capacity)
        self.held_bytes += capacity - run.capacity
        run.capacity = capacity
        return 0

    cdef int _append(self, Run* run, const uint8_t* data, uint32_t length) except -1:
        if run.length + length > run.capacity:
            self._reserve(
                run, max(run.length + length, min(2 * run.capacity, self.max_message_size))
            )
        memcpy(PyBytes_AS_STRING(<object>run.buffer) + run.length, data, length)
        run.length += length
        self.copied += length
        return 0

    cdef void _drop_run(self, Run* run) noexcept:
        self._unindex(run.first, run)
        self._unindex(run.last, run)
        if run.previous != NULL:
            run.previous.next = run.next
        else:
            self.runs = run.next
        if run.next != NULL:
            run.next.previous = run.previous
        self.run_count -= 1
        self.held_bytes -= OVERHEAD + run.capacity
        if run.head != NULL:
            self.held_bytes -= PyBytes_GET_SIZE(<object>run.head)
            Py_DECREF(<object>run.head)
        if run.buffer != NULL:
            Py_DECREF(<object>run.buffer)
        free(run)

    # A run is found by the TSN of its either end. An entry may be stale once the cumulative TSN
    # has passed it, so whoever finds one compares. Entries still ahead never share a slot: the
    # slots span more TSNs than are ahead.

    cdef Run* _ending_at(self, uint32_t tsn) noexcept:
        cdef Run* run = self.slots[tsn & self.slot_mask]
        return run if run != NULL and run.last == tsn else NULL

    cdef Run* _starting_at(self, uint32_t tsn) noexcept:
        cdef Run* run = self.slots[tsn & self.slot_mask]
        return run if run != NULL and run.first == tsn else NULL

    cdef int _index(self, uint32_t tsn, Run* run) except -1:
        cdef uint32_t size
        cdef Run** slots
        if self.highest - self.cumulative + 2 > self.slot_mask:
            size = 2 * (self.slot_mask + 1)
            while self.highest - self.cumulative + 2 > size - 1:
                size *= 2
            slots = <Run**>calloc(size, sizeof(Run*))
            if slots == NULL:
                raise MemoryError
            free(self.slots)
            self.slots = slots
            self.slot_mask = size - 1
            other = self.runs
            while other != NULL:
                # A beginning that is behind is never looked for, and must not hide one ahead.
                if after(other.first, self.cumulative):
                    slots[other.first & self.slot_mask] = other
                other = other.next
            other = self.runs
            while other != NULL:
                slots[other.last & self.slot_mask] = other
                other = other.next
        self.slots[tsn & self.slot_mask] = run
        return 0

    cdef void _unindex(self, uint32_t tsn, Run* run) noexcept:
        if self.slots[tsn & self.slot_mask] == run:
            self.slots[tsn & self.slot_mask] = NULL

    cdef int _extend(self, Run* run, uint32_t last, uint8_t flags) except -1:
        """The run now ends at the TSN *last*."""
        if run.last != run.first:
            self._unindex(run.last, run)
        run.last = last
        run.flags |= flags & END
        return self._index(last, run)

    # Delivery

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
        for page in range(TRACKED // PAGE):
            if self.pages[page] == NULL:
                continue
            for index in range(PAGE):
                state = self.pages[page][index]
                if state != NULL and state.count == 0 and not self.sink.is_open(state.id):
                    self.reset_stream(state.id)
        return self.live_streams < before

    cdef int _complete(
        self, uint32_t tsn, uint16_t stream, uint16_t sequence, uint32_t protocol, bint unordered,
        bytes head, bytes message
    ) except -1:
        """A message is whole, with the TSN *tsn* at its end."""
        cdef InboundStream* state
        cdef uint16_t ahead
        if unordered:
            self.sink.deliver(stream, protocol, head, message)
            return 0
        state = self._stream(stream)
        if state == NULL:
            return self._violated(OUT_OF_RESOURCE, "more streams than channels may be open")
        ahead = sequence - state.expected
        if ahead == 0:
            state.expected += 1
            state.tsn = tsn
            state.sequence = sequence
            state.begun = True
            self.sink.deliver(stream, protocol, None, message)
            return self._release(stream, state) if state.count else 0
        if ahead >= 0x8000 or not after(tsn, self.cumulative):
            # Its number was used before, or all that was sent before it has come and the number that
            # is missing was not in it. Not the peer's whole doing is in doubt: aiortc 1.9 goes on
            # with its old numbers for a round trip after it has reset a stream.
            return self.sink.out_of_sequence(stream)
        return self._hold(state, tsn, sequence, protocol, message)

    # What waits for its turn is in a binary heap for each stream: whatever the order in which numbers
    # come, one more costs the logarithm of how many there are.

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
        self.held_bytes += OVERHEAD + PyBytes_GET_SIZE(message)
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
        self.held_bytes -= OVERHEAD + PyBytes_GET_SIZE(<object>first.message)
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

    # What the peer gives up or resets

    cdef int on_forward_tsn(self, const uint8_t* chunk, size_t length) except -1:
        """A FORWARD TSN chunk, *length* bytes with its header (RFC 3758 §3.6)."""
        cdef uint32_t tsn
        cdef size_t at
        cdef uint16_t stream, expected
        cdef InboundStream* state
        if length < FORWARD_TSN_HEADER:
            return self._violated(PROTOCOL_VIOLATION, "a FORWARD TSN chunk that is too short")
        tsn = load32(chunk + 4)
        self.data_in_packet = True
        self.urgent_in_packet = True
        if not after(tsn, self.cumulative):
            return 0
        if tsn - self.cumulative >= TRACKED:
            return self._violated(PROTOCOL_VIOLATION, "a FORWARD TSN far beyond the window")
        self.forwards = True
        self._pass_runs(tsn)
        at = FORWARD_TSN_HEADER
        while at + 4 <= length:
            stream = load16(chunk + at)
            if stream >= self.stream_count:
                return self._violated(INVALID_STREAM, f"stream {stream} was not agreed on")
            expected = load16(chunk + at + 2) + 1
            state = self._stream(stream)
            if state == NULL:
                return self._violated(OUT_OF_RESOURCE, "more streams than channels may be open")
            if <uint16_t>(expected - state.expected) < 0x8000:
                state.expected = expected
                self._release(stream, state)
            at += 4
        if self.waiting != NULL and self.highest == self.cumulative:
            self._drop_waiting()
        return 0

    cdef int _pass_runs(self, uint32_t tsn) except -1:
        """Move the cumulative TSN to *tsn*, and drop the runs that will not be whole any more.

        Only what was received is looked at, and is then forgotten: the bitmap's words, and the runs
        by the TSN of their first fragment.
        """
        cdef uint32_t passed = self.cumulative
        cdef uint32_t stop = tsn if after(self.highest, tsn) else self.highest
        cdef Run* run = self._ending_at(passed)
        if run != NULL:
            self._drop_run(run)
        while after(stop, passed):
            passed = self._next_with(passed + 1, True)
            if after(passed, stop):
                break
            self.bitmap[(passed & (TRACKED - 1)) >> 6] &= ~(<uint64_t>1 << (passed & 63))
            run = self._starting_at(passed)
            # What goes on beyond the forwarded TSN from its beginning lacks nothing.
            if run != NULL and not (run.flags & BEGIN and after(run.last, tsn)):
                self._drop_run(run)
        self.cumulative = tsn
        if after(tsn, self.highest):
            self.highest = tsn
        self._advance()
        return 0

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
        for page in range(TRACKED // PAGE):
            if self.pages[page] == NULL:
                continue
            for index in range(PAGE):
                if self.pages[page][index] != NULL:
                    self._drop_held(self.pages[page][index])
                    free(self.pages[page][index])
            free(self.pages[page])
            self.pages[page] = NULL
        self.live_streams = 0

    # SACK

    cdef void end_packet(self, double now) noexcept:
        """All chunks of a packet were given: decide when to acknowledge (RFC 9260 §6.2)."""
        if not self.data_in_packet:
            return
        self.packets_unacknowledged += 1
        if (
            self.urgent_in_packet
            or self.highest != self.cumulative
            or self.owes_sack()
        ):
            self.sack_now = True
        elif self.sack_deadline == INFINITY:
            self.sack_deadline = now + self.sack_delay
        self.data_in_packet = self.urgent_in_packet = False

    cdef bint owes_sack(self) noexcept:
        """Whether so many packets came that a SACK is due even if more of them wait."""
        return self.packets_unacknowledged >= PACKETS_PER_SACK

    cdef bint write_sack(self, Packet* packet) noexcept:
        """A SACK chunk that says as much as the packet has room for; False: it has none."""
        cdef uint8_t* out = claim(packet, SACK_HEADER)
        cdef uint8_t* block
        cdef uint32_t gaps = 0, duplicates = 0
        cdef uint32_t tsn = self.cumulative + 1
        cdef uint64_t left = self.window - self.held_bytes if self.held_bytes < self.window else 0
        if out == NULL:
            return False
        while after(self.highest, tsn):
            block = claim(packet, 4)
            if block == NULL:
                # The oldest close the holes next to the cumulative TSN; the newest are news, by which
                # the sender finds what else is lost. Those between have been reported before.
                self._write_newest_gaps(out + SACK_HEADER, gaps // 2, gaps)
                break
            tsn = self._next_with(tsn, True)
            store16(block, <uint16_t>(tsn - self.cumulative))
            tsn = self._next_with(tsn, False)
            store16(block + 2, <uint16_t>(tsn - 1 - self.cumulative))
            gaps += 1
        while duplicates < self.duplicate_count:
            block = claim(packet, 4)
            if block == NULL:
                break
            store32(block, self.duplicate_tsns[duplicates])
            duplicates += 1
        out[0] = SACK
        out[1] = 0
        store16(out + 2, <uint16_t>(SACK_HEADER + 4 * (gaps + duplicates)))
        store32(out + 4, self.cumulative)
        store32(out + 8, <uint32_t>left)
        store16(out + 12, <uint16_t>gaps)
        store16(out + 14, <uint16_t>duplicates)
        self.duplicate_count = 0
        self.packets_unacknowledged = 0
        self.sack_now = False
        self.sack_deadline = INFINITY
        return True

    cdef void _write_newest_gaps(self, uint8_t* blocks, uint32_t first, uint32_t count) noexcept:
        """Of the *count* gap blocks at *blocks*, which do not reach the highest TSN, write those from
        *first* on again: with the newest that there are."""
        cdef uint32_t begin, end = self.highest
        while count > first:
            count -= 1
            begin = self._last_with(end, False) + 1
            store16(blocks + 4 * count, <uint16_t>(begin - self.cumulative))
            store16(blocks + 4 * count + 2, <uint16_t>(end - self.cumulative))
            end = self._last_with(begin - 1, True)

    cdef uint32_t _next_with(self, uint32_t tsn, bint received) noexcept:
        """The first TSN from *tsn* on that has been received, or has not; past the highest, none has."""
        cdef uint64_t word
        while True:
            word = self.bitmap[(tsn & (TRACKED - 1)) >> 6]
            if not received:
                word = ~word
            word >>= tsn & 63
            if word:
                return tsn + count_trailing_zeros(word)
            tsn += 64 - (tsn & 63)

    cdef uint32_t _last_with(self, uint32_t tsn, bint received) noexcept:
        """The last TSN up to *tsn*, and beyond the cumulative one, that has been received or has not:
        the caller knows that there is one."""
        cdef uint64_t word
        while True:
            word = self.bitmap[(tsn & (TRACKED - 1)) >> 6]
            if not received:
                word = ~word
            word <<= 63 - (tsn & 63)
            if word:
                return tsn - count_leading_zeros(word)
            tsn -= (tsn & 63) + 1
