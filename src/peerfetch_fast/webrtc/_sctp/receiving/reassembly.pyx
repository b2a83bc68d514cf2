"""Reassembly: the fragments of messages are put together again.

**Copies.** A message that fits one packet is copied once, from the packet into its bytes object.
The fragments of a larger one are copied, as they come in order, straight into the bytes object that
will be delivered: it is as large as the last message was, grows by doubling and is cut to size at
the end. Fragments beyond a hole gather in buffers of their own, one per unbroken run, and are
copied a second time when the hole closes: never more than twice.

**Bounds.** Of a message that is too long nothing is held beyond the size at which it is cut, where
it does not end the association. A fragment costs work of the order of its own length, or of the
runs that it joins, which happens once.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from peerfetch_fast.webrtc._sctp.packet cimport BEGIN, END, UNORDERED, after
from peerfetch_fast.webrtc._sctp.receiving.fault cimport (
    MISPLACED,
    NO_BEGINNING,
    NO_END,
    SOUND,
    TOO_LONG,
    Fault,
)
from peerfetch_fast.webrtc._sctp.receiving.ordering cimport OVERHEAD, MessageSink, Ordering
from peerfetch_fast.webrtc._sctp.receiving.tracker cimport Tracker

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** object, Py_ssize_t size) except -1

cdef enum:
    FIRST_SLOTS = 256


cdef inline bint _is_same_message(
    const Run* run, uint16_t stream, uint16_t sequence, uint8_t flags
) noexcept nogil:
    """Whether a fragment or run behind *run* can be of the same message."""
    return run.stream == stream and not (run.flags ^ flags) & UNORDERED and (
        flags & UNORDERED or run.sequence == sequence
    )


cdef class Reassembly:
    """Runs of fragments, until they are messages.

    :param ordering: takes the whole messages.
    :param sink: says whether the beginning of a message is to be kept apart.
    :param max_message_size: bytes; a longer message is cut there if *cut_messages*, else a fault.
    :ivar held: bytes of memory held for messages that are not whole.
    :ivar copied: bytes copied out of packets and between runs.
    :ivar discarded: bytes of messages beyond the size at which these are cut.
    """

    def __cinit__(
        self, Tracker tracker not None, Ordering ordering not None, MessageSink sink not None,
        uint32_t max_message_size, bint cut_messages
    ):
        self.tracker = tracker
        self.ordering = ordering
        self.sink = sink
        self.max_message_size = max_message_size
        self.cut_messages = cut_messages
        self.slots = <Run**>calloc(FIRST_SLOTS, sizeof(Run*))
        self.slot_mask = FIRST_SLOTS - 1
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.clear()
        free(self.slots)

    cdef void clear(self) noexcept:
        """Let go of every run."""
        while self.runs != NULL:
            self._drop_run(self.runs)

    cdef Fault place(self, const Fragment* fragment) except *:
        """A fragment that the tracker has added."""
        cdef uint8_t flags = fragment.flags
        cdef uint32_t tsn = fragment.tsn
        cdef Run* run = NULL
        cdef Run* behind = NULL
        cdef Fault fault
        if self.run_count:
            fault = self._make_room(fragment, &run, &behind)
            if fault:
                return fault
        if flags & (BEGIN | END) == (BEGIN | END):
            self.copied += fragment.length
            return self.ordering.take(
                tsn, fragment.stream, fragment.sequence, fragment.protocol, flags & UNORDERED, None,
                PyBytes_FromStringAndSize(<const char*>fragment.data, fragment.length),
            )
        if not flags & END and behind == NULL and self.tracker.received(tsn + 1):
            # Another message follows, whole.
            if not self.forwards:
                return NO_END
            if run != NULL:
                self._drop_run(run)
            return SOUND
        if run != NULL:
            fault = self._continue_run(run, fragment)
            if fault:
                return fault
        else:
            if not flags & BEGIN and self.tracker.received(tsn - 1):
                # The fragments before it are of another message.
                return SOUND if self.forwards else NO_BEGINNING
            run = self._begin_run(fragment)
        if not run.flags & BEGIN:
            run = self._ending_at(run.first - 1)
            if run == NULL or not run.flags & BEGIN:
                return SOUND
        return self._absorb(run)

    cdef Fault _make_room(self, const Fragment* fragment, Run** before, Run** behind) noexcept:
        """Find the runs next to a fragment, and drop those whose rest will never come.

        A message without an end, then another one: only a sender that gave the first one up may do
        that (RFC 3758 §3.6), and has said so.
        """
        cdef Run* run = self._ending_at(fragment.tsn - 1)
        if run != NULL and not run.flags & END:
            if fragment.flags & BEGIN:
                if not self.forwards:
                    return NO_END
                self._drop_run(run)
            else:
                before[0] = run
        run = self._starting_at(fragment.tsn + 1)
        behind[0] = run
        if run != NULL and fragment.flags & END and not run.flags & BEGIN:
            if not self.forwards:
                return NO_BEGINNING
            self._drop_run(run)
        return SOUND

    cdef Fault _continue_run(self, Run* run, const Fragment* fragment) except *:
        """A fragment right behind a run."""
        cdef uint32_t length = fragment.length
        if not _is_same_message(run, fragment.stream, fragment.sequence, fragment.flags):
            return MISPLACED
        if run.length + length > self.max_message_size:
            if not self.cut_messages:
                return TOO_LONG
            length = self._cut(run, length)
        self._append(run, fragment.data, length)
        self._extend(run, fragment.tsn, fragment.flags)
        return SOUND

    cdef Run* _begin_run(self, const Fragment* fragment) except NULL:
        """A run of one fragment."""
        cdef const uint8_t* data = fragment.data
        cdef uint32_t length = fragment.length, capacity
        cdef size_t apart
        cdef bytes head
        cdef Run* run = <Run*>calloc(1, sizeof(Run))
        if run == NULL:
            raise MemoryError
        run.first = run.last = fragment.tsn
        run.stream = fragment.stream
        run.sequence = fragment.sequence
        run.protocol = fragment.protocol
        run.flags = fragment.flags & (BEGIN | END | UNORDERED)
        run.next = self.runs
        if self.runs != NULL:
            self.runs.previous = run
        self.runs = run
        self.run_count += 1
        self.held += OVERHEAD
        if run.flags & (BEGIN | UNORDERED) == (BEGIN | UNORDERED):
            apart = self.sink.split(run.stream, run.protocol, data, length)
            if 0 < apart < length:
                head = PyBytes_FromStringAndSize(<const char*>data, apart)
                Py_INCREF(head)
                run.head = <PyObject*>head
                self.held += apart
                self.copied += apart
                data += apart
                length -= <uint32_t>apart
        # Only the run at the front may expect to become a whole message soon; there is never
        # more than one.
        capacity = length
        if run.flags & BEGIN and not after(run.first, self.tracker.cumulative):
            capacity = max(length, self.length_hint)
        self._reserve(run, capacity)
        self._append(run, data, length)
        self._index(run.first, run)
        return run

    cdef Fault _absorb(self, Run* run) except *:
        """Join a run that has its beginning with those that follow; deliver it once whole."""
        cdef Run* following
        cdef Fault fault
        while not run.flags & END:
            following = self._starting_at(run.last + 1)
            if following == NULL:
                return SOUND
            if following.flags & BEGIN:
                if not self.forwards:
                    return NO_END
                self._drop_run(run)
                return SOUND
            fault = self._append_run(run, following)
            if fault:
                return fault
        return self._complete(run)

    cdef Fault _append_run(self, Run* run, Run* following) except *:
        """Copy a run behind the one before it, and drop it."""
        cdef uint32_t length = following.length, last = following.last
        cdef uint8_t flags = following.flags
        if not _is_same_message(run, following.stream, following.sequence, flags):
            return MISPLACED
        if run.length + length > self.max_message_size:
            if not self.cut_messages:
                return TOO_LONG
            length = self._cut(run, length)
        self._append(run, <const uint8_t*>PyBytes_AS_STRING(<object>following.buffer), length)
        self._drop_run(following)
        self._extend(run, last, flags)
        return SOUND

    cdef Fault _complete(self, Run* run) except *:
        """The run is a whole message."""
        cdef uint32_t last = run.last, protocol = run.protocol
        cdef uint16_t stream = run.stream, sequence = run.sequence
        cdef bint unordered = run.flags & UNORDERED
        cdef bytes head = None
        cdef bytes message
        self.length_hint = run.length
        if run.length != run.capacity:
            _PyBytes_Resize(&run.buffer, run.length)
        message = <bytes><object>run.buffer
        if run.head != NULL:
            head = <bytes><object>run.head
        self._drop_run(run)
        return self.ordering.take(last, stream, sequence, protocol, unordered, head, message)

    cdef int forward(self, uint32_t tsn) except -1:
        """Move the cumulative TSN to *tsn*, and drop the runs that will not be whole any more.

        Only what was received is looked at, and is then forgotten: the bitmap's words, and the runs
        by the TSN of their first fragment.
        """
        cdef Tracker tracker = self.tracker
        cdef uint32_t passed = tracker.cumulative
        cdef uint32_t stop = tsn if after(tracker.highest, tsn) else tracker.highest
        cdef Run* run = self._ending_at(passed)
        self.forwards = True
        if run != NULL:
            self._drop_run(run)
        while after(stop, passed):
            passed = tracker.next_with(passed + 1, True)
            if after(passed, stop):
                break
            tracker.forget(passed)
            run = self._starting_at(passed)
            # A run that has its beginning and goes on beyond the forwarded TSN lacks nothing.
            if run != NULL and not (run.flags & BEGIN and after(run.last, tsn)):
                self._drop_run(run)
        tracker.move_to(tsn)
        return 0

    # Buffers

    cdef uint32_t _cut(self, Run* run, uint32_t length) noexcept:
        """Of *length* bytes more, so many as the run may still take; the rest is discarded."""
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
        self.held += capacity - run.capacity
        run.capacity = capacity
        return 0

    cdef int _append(self, Run* run, const uint8_t* data, uint32_t length) except -1:
        if run.length + length > run.capacity:
            self._reserve(
                run,
                max(
                    run.length + length,
                    <uint32_t>min(<uint64_t>2 * run.capacity, <uint64_t>self.max_message_size),
                ),
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
        self.held -= OVERHEAD + run.capacity
        if run.head != NULL:
            self.held -= PyBytes_GET_SIZE(<object>run.head)
            Py_DECREF(<object>run.head)
        if run.buffer != NULL:
            Py_DECREF(<object>run.buffer)
        free(run)

    # A run is found by the TSN of its either end. An entry may be stale once the cumulative TSN
    # has passed it, so every look-up compares. Entries still ahead never share a slot: the slots
    # span more TSNs than are ahead.

    cdef inline Run* _ending_at(self, uint32_t tsn) noexcept:
        cdef Run* run = self.slots[tsn & self.slot_mask]
        return run if run != NULL and run.last == tsn else NULL

    cdef inline Run* _starting_at(self, uint32_t tsn) noexcept:
        cdef Run* run = self.slots[tsn & self.slot_mask]
        return run if run != NULL and run.first == tsn else NULL

    cdef inline int _index(self, uint32_t tsn, Run* run) except -1:
        if self.tracker.highest - self.tracker.cumulative + 2 > self.slot_mask:
            self._grow_slots()
        self.slots[tsn & self.slot_mask] = run
        return 0

    cdef int _grow_slots(self) except -1:
        cdef uint32_t span = self.tracker.highest - self.tracker.cumulative + 2
        cdef uint32_t size = 2 * (self.slot_mask + 1)
        cdef Run** slots
        cdef Run* run
        while span > size - 1:
            size *= 2
        slots = <Run**>calloc(size, sizeof(Run*))
        if slots == NULL:
            raise MemoryError
        free(self.slots)
        self.slots = slots
        self.slot_mask = size - 1
        run = self.runs
        while run != NULL:
            # A beginning that is behind is never looked for, and must not hide one ahead.
            if after(run.first, self.tracker.cumulative):
                slots[run.first & self.slot_mask] = run
            run = run.next
        run = self.runs
        while run != NULL:
            slots[run.last & self.slot_mask] = run
            run = run.next
        return 0

    cdef inline void _unindex(self, uint32_t tsn, Run* run) noexcept:
        if self.slots[tsn & self.slot_mask] == run:
            self.slots[tsn & self.slot_mask] = NULL

    cdef inline int _extend(self, Run* run, uint32_t last, uint8_t flags) except -1:
        """The run now ends at the TSN *last*."""
        if run.last != run.first:
            self._unindex(run.last, run)
        run.last = last
        run.flags |= flags & END
        return self._index(last, run)
