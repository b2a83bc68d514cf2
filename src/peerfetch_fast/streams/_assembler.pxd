from libc.stdint cimport int64_t


cdef struct Fragment:
    int64_t offset
    void *data  # an owned reference to bytes


cdef class Assembler:
    cdef list ready
    cdef Py_ssize_t index, offset
    cdef int64_t received  # bytes that have come in order
    cdef Fragment *fragments
    cdef Py_ssize_t first, count, room  # of the fragments

    cdef bint put(self, int64_t offset, bytes data) except -1
    cdef bint empty(self) noexcept
    cdef object take(self, Py_ssize_t most)
    cdef int drop(self) except -1
    cdef int append(self, bytes data) except -1
    cdef Fragment *fragment(self, Py_ssize_t index) noexcept
    cdef bint insert(self, int64_t offset, bytes data) except -1
    cdef int open_gap(self, Py_ssize_t at) except -1
    cdef int splice(self) except -1
