# cython: freethreading_compatible=False
"""Which stream sends next: RFC 9218 urgency first, equals in turn (docs/protocol.md, section 4)."""

from collections import deque
from heapq import heapify, heappop, heappush


cdef class Scheduled:
    """The scheduler's part of a stream. Its maker sets ``id`` and the priority."""


cdef class Scheduler:
    """The streams that have something to send.

    Within an urgency the incremental streams and the oldest sequential one take turns.
    """

    def __cinit__(self):
        self.sequential = [[] for _ in range(8)]
        self.turns = [deque() for _ in range(8)]

    cdef int add(self, Scheduled stream) except -1:
        """``stream`` has something to send."""
        cdef list heap
        if stream.scheduled:
            return 0
        stream.scheduled = True
        turns = self.turns[stream.urgency]
        if stream.incremental:
            turns.append(stream)
        else:
            heap = <list> self.sequential[stream.urgency]
            if not heap:
                turns.append(None)
            heappush(heap, (stream.id, stream))
        self.busy |= 1 << stream.urgency
        return 0

    cdef int discard(self, Scheduled stream) except -1:
        """``stream`` has nothing to send any more."""
        cdef list heap
        if not stream.scheduled:
            return 0
        stream.scheduled = False
        turns = self.turns[stream.urgency]
        if stream.incremental:
            turns.remove(stream)
        else:
            heap = <list> self.sequential[stream.urgency]
            heap.remove((stream.id, stream))
            heapify(heap)
            if not heap:
                turns.remove(None)
        if not turns:
            self.busy &= ~(1 << stream.urgency)
        return 0

    cdef Scheduled head(self):
        """The stream whose turn it is, or None."""
        cdef int urgency = 0
        if self.busy == 0:
            return None
        while not self.busy >> urgency & 1:
            urgency += 1
        first = self.turns[urgency][0]
        if first is None:
            return <Scheduled> (<list> self.sequential[urgency])[0][1]
        return <Scheduled> first

    cdef int advance(self, Scheduled stream, bint more) except -1:
        """``stream``, the head, has sent a chunk; it has ``more`` or leaves the queue."""
        cdef list heap
        turns = self.turns[stream.urgency]
        if more:
            if len(turns) > 1:
                turns.rotate(-1)
            return 0
        stream.scheduled = False
        if stream.incremental:
            turns.popleft()
        else:
            heap = <list> self.sequential[stream.urgency]
            heappop(heap)
            if heap:
                turns.rotate(-1)
            else:
                turns.popleft()
        if not turns:
            self.busy &= ~(1 << stream.urgency)
        return 0
