from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef class Association:
    # The face for a driver written in Cython. Times are seconds of any clock that does not go
    # back. Every call may leave events behind: `if association.has_events: take_events()`.
    cdef bint has_events

    cdef int receive(self, const uint8_t* packet, size_t length, double now) except -1
    cdef Py_ssize_t poll(self, uint8_t* buffer, size_t capacity, double now) except -1
    cdef double deadline(self) noexcept
    cdef int handle_timeout(self, double now) except -1
