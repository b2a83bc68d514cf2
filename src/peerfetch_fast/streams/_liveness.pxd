cdef class Liveness:
    cdef object settings
    cdef bint resumes
    cdef double patience  # seconds for which both sides keep a silent session
    cdef double last_heard
    cdef double asked_at  # when the PING was sent that is not answered yet; below 0: none is
    cdef double next_probe
    cdef double rtt  # of the latest PING, in seconds; below 0: none was answered
    cdef unsigned long long number
    cdef bytes owed
    cdef bint silent

    cdef bint heard(self, double now) noexcept
    cdef int ask(self, double now) except -1
    cdef int answered(self, bytes data, double now) except -1
    cdef double deadline(self, bint busy, bint leaving) except? -1
    cdef bint handle_timeout(self, double now, bint busy, bint leaving) except -1
    cdef bint unanswered(self) noexcept
    cdef double keep_alive(self, bint busy) except -1
    cdef double lost_after(self, bint busy, bint leaving) except -1
    cdef double unanswered_until(self, double silence) except? -1
