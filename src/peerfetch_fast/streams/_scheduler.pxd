from libc.stdint cimport int64_t


cdef class Scheduled:
    cdef readonly int64_t id
    cdef readonly int urgency
    cdef readonly bint incremental
    cdef bint scheduled


cdef class Scheduler:
    cdef list sequential  # [urgency] -> heap of (stream id, stream)
    cdef list turns  # [urgency] -> deque of incremental streams; None: the sequential ones
    cdef unsigned int busy  # bit u: turns[u] is not empty

    cdef int add(self, Scheduled stream) except -1
    cdef int discard(self, Scheduled stream) except -1
    cdef Scheduled head(self)
    cdef int advance(self, Scheduled stream, bint more) except -1
